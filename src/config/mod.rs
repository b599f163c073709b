//! File and environment in, one checked [`Config`] out, or all mistakes at once.

#[cfg(test)]
#[cfg(all(
    feature = "admin",
    feature = "file",
    feature = "redis",
    feature = "tls"
))]
mod documents;
mod embedded;
#[cfg(test)]
#[cfg(all(
    feature = "admin",
    feature = "file",
    feature = "redis",
    feature = "tls"
))]
mod keys;
mod load;
mod metrics;
pub mod monitor;
mod otel;
mod redis_url;
mod reload;
mod resolver;
mod secrets;
mod settings;
mod show;

use crate::api::credentials::SecretSource;
#[cfg(doc)]
use crate::core::limits;
use crate::core::outbox::BatchPolicy;
use crate::core::sampler::{Sampler, SpanLimits};
use crate::deliver::export::CollectorKeys;
use crate::http::proxies::Proxies;
use crate::intake::carrier::Formats;
use crate::os::logging::Log;
use crate::syntax::mistake::Mistake;
use crate::syntax::text::shown;
use monitor::MonitorConfig;
use resolver::SettingRow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use crate::api::credentials::Secret;
pub use embedded::ConfigKeys;
pub use reload::ConfigOrigin;
pub(crate) use settings::{environment_file, help, settings};

/// The schema of the configuration file.
pub(crate) const SCHEMA: &str = include_str!("../../docs/farspan.schema.json");
/// A start for a configuration file.
pub(crate) const START: &str = include_str!("start.json");

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The API of the monitors that name none.
    pub api: Option<DefaultApi>,
    /// The enabled monitors, at least one after [`Config::load_to_watch`].
    pub monitors: Vec<MonitorConfig>,
    /// The Redis that start events come from, if there is one.
    pub redis: Option<Redis>,
    /// When and how much to poll.
    pub poll: PollConfig,
    /// Workflows under watch at once, 1 to [`WORKFLOWS_MAX`](limits::WORKFLOWS_MAX).
    pub workflows_max: usize,
    /// Where spans are sent.
    pub export: Export,
    /// Which traces are recorded, and how much of them.
    pub trace: Trace,
    /// The attributes of the resource; keys are unique, `service.name` is there.
    pub resource: Vec<(String, String)>,
    /// What is logged.
    pub log: Log,
    /// Where the state is stored.
    pub state: StateConfig,
    /// The admin endpoint, if there is one.
    pub admin: Option<AdminConfig>,
    /// How the metrics are made.
    pub metrics: MetricsConfig,
    /// The proxies for APIs, collector and receivers.
    pub proxies: Proxies,
    /// With this many bytes of state, new workflows wait; 1 MiB or more.
    pub state_bytes_max: u64,
    /// The name of this instance in its fleet.
    pub instance: String,
    /// What was ignored and why, for the log.
    pub warnings: Vec<String>,
    /// What is odd about the sources of start events, for the log of a command that listens to them.
    pub source_warnings: Vec<String>,
    rows: Vec<SettingRow>,
}

/// The API of the monitors that name none.
#[derive(Clone, Debug)]
pub struct DefaultApi {
    /// Absolute, http or https, without a slash at its end: `http://host:8080/base`.
    pub base_url: String,
    /// Goes behind `Authorization: Bearer `; fit for a header.
    pub token: Option<SecretSource>,
}

/// The Redis that start events come from.
#[derive(Clone, Debug)]
pub struct Redis {
    /// `redis://`, `rediss://` or `unix://`; the Redis client takes it.
    pub url: Secret,
    /// The pub/sub channel.
    pub channel: String,
    /// The stream, if there is one.
    pub stream: Option<String>,
    /// Entries of the stream to keep. `None`: nothing is trimmed.
    pub stream_length_max: Option<u64>,
}

/// The admin endpoint.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// `host:port`. Without a token it is an address that only this host reaches.
    pub listen: String,
    /// The bearer token that a caller has to send.
    pub token: Option<Secret>,
    /// The page of a trace in its backend, with `{trace_id}` in the place of the id.
    pub trace_url: Option<String>,
    /// Whether the address was configured; else it is the default.
    pub is_asked_for: bool,
}

/// The admin endpoint of a running farspan, as a command asks it.
#[derive(Clone, Debug)]
pub struct AdminTarget {
    /// `http://host:port`, without a slash at its end.
    pub url: String,
    /// The bearer token to send.
    pub token: Option<Secret>,
    /// The proxies for it. This host is asked without one.
    pub proxies: Proxies,
}

/// How the metrics are made.
#[derive(Clone, Debug)]
pub struct MetricsConfig {
    /// The upper bounds of the buckets for the durations of runs and stages: ascending, at least one, at most
    /// [`METRIC_BUCKETS_MAX`](limits::METRIC_BUCKETS_MAX).
    pub buckets: Arc<[Duration]>,
    /// Whether the admin endpoint has `GET /metrics`.
    pub is_served: bool,
    /// The export to a collector, if there is one.
    pub otlp: Option<MetricsExport>,
}

/// The metrics over OTLP.
#[derive(Clone, Debug)]
pub struct MetricsExport {
    /// The collector of the metrics.
    pub collector: CollectorConfig,
    /// From one export to the next; never zero.
    pub interval: Duration,
    /// How long one export may take at most; never zero.
    pub attempt_max: Duration,
}

/// When and how much to poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollConfig {
    /// From the start event to the first poll; up to 24 h.
    pub initial_delay: Duration,
    /// From one poll of a workflow to the next; 10 ms to 24 h.
    pub interval: Duration,
    /// How long a workflow is watched at most; 10 ms to 10,000 days.
    pub timeout: Duration,
    /// Threads that poll, 1 to [`POLLERS_MAX`](limits::POLLERS_MAX).
    pub pollers: usize,
}

/// Where spans are sent. Without an exporter they are dropped.
#[derive(Clone, Debug)]
pub struct Export {
    /// Spans to a collector.
    pub otlp: Option<CollectorConfig>,
    /// Log records of status events to a collector. `None` too if no monitor has such.
    pub logs: Option<CollectorConfig>,
    /// To standard output, for people.
    pub console: bool,
    /// How spans share requests (`OTEL_BSP_*`).
    pub batch: BatchPolicy,
    /// How long one attempt to export may take at most (`OTEL_BSP_EXPORT_TIMEOUT`); never zero.
    pub attempt_max: Duration,
}

/// OTLP over HTTP, protobuf. <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>
#[derive(Clone, Debug)]
pub struct CollectorConfig {
    /// The whole URL, with its path.
    pub endpoint: String,
    /// Lower-case names, each once; both fit for HTTP. The headers that farspan sets itself are not among them.
    pub headers: Vec<(String, Secret)>,
    /// One attempt at most; never zero, at most an hour.
    pub timeout: Duration,
    /// Of the request's body.
    pub compression: Compression,
    /// The roots to check the collector's certificate against, in the place of the system's.
    pub certificate: Option<Pem>,
    /// farspan's own certificate chain; there if and only if `client_key` is.
    pub client_certificate: Option<Pem>,
    /// The key to `client_certificate`.
    pub client_key: Option<Pem>,
    /// The variables that say all this.
    pub keys: CollectorKeys,
}

/// How the body of a request is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// It is not.
    None,
    /// gzip.
    Gzip,
}

/// Which traces are recorded, and how much of them.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Which traces.
    pub sampler: Sampler,
    /// How much of a span.
    pub limits: SpanLimits,
    /// The trace contexts of start events that are read (`OTEL_PROPAGATORS`).
    pub formats: Formats,
}

/// Where the state is stored, so that it survives a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateConfig {
    /// It is not stored.
    None,
    /// In a file in this directory.
    File(PathBuf),
    /// In [`Config::redis`], which is there then, shared with the other instances of a fleet.
    Redis {
        /// An instance that has not renewed its lease for this long loses its runs to the others; 1 s to 1 h.
        lease: Duration,
    },
}

/// A file in PEM form, read at the start.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// Where it was read.
    pub path: PathBuf,
    /// At least one item of the right kind is in it.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({})", self.path.display())
    }
}

/// All mistakes in a configuration. Never empty. It is displayed with one mistake in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(Vec<Mistake>);

impl Errors {
    /// The mistakes.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.0.iter()
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, mistake) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

impl Config {
    /// Replaces the pace of all monitors, for commands that watch what no configuration names.
    pub fn poll_at(&mut self, poll: PollConfig) {
        self.poll = poll;
        for monitor in &mut self.monitors {
            monitor.poll.initial_delay = poll.initial_delay;
            monitor.poll.interval = poll.interval;
            monitor.poll.timeout = poll.timeout;
        }
    }

    /// The index of the monitor of this name; without a name, of the only monitor.
    ///
    /// # Errors
    /// There is no such monitor, or there are several and none was named.
    pub fn monitor(&self, name: Option<&str>) -> Result<usize, String> {
        let names: Vec<&str> = self.monitors.iter().map(|m| &*m.name).collect();
        match (name, names.len()) {
            (None, 1) => Ok(0),
            (None, 0) => Err("no monitor is configured".to_owned()),
            (None, _) => Err(format!("--monitor: say which: {}", names.join(", "))),
            (Some(name), _) => names
                .iter()
                .position(|known| *known == name)
                .ok_or_else(|| {
                    let known = names.join(", ");
                    let name = shown(name);
                    format!("--monitor: no monitor '{name}' is enabled; there are: {known}")
                }),
        }
    }
}

#[cfg(test)]
#[cfg(all(feature = "admin", feature = "redis", feature = "tls"))]
mod tests;
