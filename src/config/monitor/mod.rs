//! The monitors of the configuration file: which APIs are polled, and how their answers are read.
//!
//! A monitor may name a preset, which is a monitor too: the monitor's own keys are merged over it as RFC 7396 says. A
//! key that neither has takes its value from the settings for all monitors (`poll.interval` and so on).
//!
//! An event is for the monitor that it names. An event that names none is for the monitor whose own channel or stream
//! it came from; else for the only monitor that has neither, nor discovery.

mod auth;
mod contradictions;
mod presets;
mod read;
mod reload;
mod show;

use super::{Pem, Secret};
use crate::api::credentials::Auth;
use crate::core::Pace;
use crate::core::workflow::{ContextUse, StatusEvents};
use crate::intake::discovery::RunList;
use crate::mapping::Mapping;
use crate::syntax::mistake::{Place, Within};
use crate::syntax::pointer::Pointer;
use crate::syntax::values;
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;

pub(super) use auth::Directories;
pub use presets::ONLY_NAME;
#[cfg(test)]
pub(super) use presets::PRESETS;
pub(super) use read::{Defaults, read};
pub use show::ApiKeys;

/// The configuration of one kind of workflow.
#[derive(Clone, Debug)]
pub struct MonitorConfig {
    /// Unique; part of every id.
    pub name: String,
    /// The API, and how it is reached.
    pub api: MonitorApi,
    /// Its own sources of start events.
    pub events: Events,
    /// When to poll.
    pub poll: Pace,
    /// What to request, and how the answers are read.
    pub mapping: Arc<Mapping>,
    /// How its spans look.
    pub spans: Spans,
    /// How its resource differs from the process's.
    pub service: ServiceConfig,
    /// How the trace context of its start events is used.
    pub context: Context,
    /// How runs are found that no start event announces.
    pub discovery: Option<RunList>,
    /// Where its finished events are sent.
    pub finished: Option<ReceiverConfig>,
    written: Written,
}

impl MonitorConfig {
    /// For the log: `monitors[0] (airflow)`.
    pub(super) fn title(&self) -> String {
        self.written.place.monitor()
    }

    /// As the file has it, merged over its preset. It has its secrets.
    pub(super) fn members(&self) -> &Map<String, Value> {
        &self.written.members
    }
}

/// Where and how to ask.
#[derive(Clone, Debug)]
pub struct MonitorApi {
    /// Absolute, http or https, without a slash at its end.
    pub base_url: String,
    /// Sent with every request: lower-case names, each once.
    pub headers: Vec<(String, Secret)>,
    /// How farspan authenticates to it.
    pub auth: Auth,
    /// The roots to check its certificate against, in the place of the system's.
    pub certificate: Option<Pem>,
    /// farspan's own certificate chain; there if and only if `client_key` is.
    pub client_certificate: Option<Pem>,
    /// The key to `client_certificate`.
    pub client_key: Option<Pem>,
    /// Requests to this host at most, from this farspan.
    pub requests_per_second: Option<f64>,
    /// Whether polls carry the workflow's `traceparent`.
    pub send_traceparent: bool,
}

/// The start events of one monitor: its own sources, and where its events have the id, the time and the context.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Events {
    /// A pub/sub channel of the configured Redis.
    pub redis_channel: Option<String>,
    /// A stream of the configured Redis.
    pub redis_stream: Option<String>,
    /// Where an event has the id, or its parts by their names in the id's pattern. Empty: in the usual place.
    pub id: Vec<(Box<str>, Pointer)>,
    /// Where it has the time of submission.
    pub submitted_at: Option<Pointer>,
    /// Where it has the trace context.
    pub context: Option<Pointer>,
}

/// What spans are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spans {
    /// What a workflow's span is called.
    pub workflow: String,
    /// Whether the status of a success is Ok; else it is Unset, as the CI/CD conventions have it.
    pub status_ok: bool,
    /// Whether skipped stages have spans.
    pub skipped: bool,
    /// Whether time in a queue is a span.
    pub queued: bool,
    /// Whether starts are spans.
    pub started: bool,
    /// Where status events go.
    pub status_events: StatusEvents,
}

/// The attributes in which the resource of a monitor's spans differs from the process's resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceConfig {
    /// `service.name`.
    pub name: Option<String>,
    /// `service.namespace`.
    pub namespace: Option<String>,
    /// Other attributes.
    pub attributes: Vec<(String, String)>,
}

/// How the trace context of a start event is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// As parent, as link, or not at all.
    pub used_as: ContextUse,
    /// The keys of baggage that become attributes.
    pub baggage: Vec<String>,
}

/// Where finished events are sent.
#[derive(Clone, Debug, PartialEq)]
pub enum ReceiverConfig {
    /// A pub/sub channel of the configured Redis.
    RedisChannel(String),
    /// A stream of the configured Redis.
    RedisStream {
        /// The stream's key.
        key: String,
        /// About how many entries it keeps.
        length_max: u32,
    },
    /// A POST.
    Http {
        /// Absolute, http or https.
        url: String,
        /// How farspan authenticates to it.
        auth: Auth,
    },
}

impl ReceiverConfig {
    /// A URL without what may be secret in it.
    pub fn redacted(url: &str) -> String {
        values::redacted_url(url)
    }
}

/// A monitor as the file has it, merged over its preset.
#[derive(Clone)]
struct Written {
    place: Place,
    preset: Option<String>,
    /// With its secrets.
    members: Map<String, Value>,
}

impl Written {
    /// Whether farspan added the monitor because the file has none.
    fn is_added(&self) -> bool {
        !matches!(self.place.within, Within::Monitor { file: Some(_), .. })
    }

    fn has_in_api(&self, key: &str) -> bool {
        let api = self.members.get("api");
        api.is_some_and(|api| api.get(key).is_some())
    }
}

/// Without the members, which have secrets.
impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

/// The monitor of events that name no monitor and come from a source for all monitors.
pub fn default_of(monitors: &[MonitorConfig]) -> Option<usize> {
    match without_source(monitors).as_slice() {
        [one] => Some(*one),
        [] if monitors.len() == 1 => Some(0),
        _ => None,
    }
}

/// The monitors that get start events only from the sources for all monitors.
pub(super) fn without_source(monitors: &[MonitorConfig]) -> Vec<usize> {
    let has_none = |monitor: &MonitorConfig| {
        let Events {
            redis_channel,
            redis_stream,
            ..
        } = &monitor.events;
        redis_channel.is_none() && redis_stream.is_none() && monitor.discovery.is_none()
    };
    let numbered = monitors.iter().enumerate();
    numbered
        .filter(|(_, monitor)| has_none(monitor))
        .map(|(number, _)| number)
        .collect()
}

#[cfg(test)]
#[cfg(all(feature = "redis", feature = "tls"))]
mod tests;
