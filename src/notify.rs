//! Tells others that a workflow has finished: a thread for each monitor that has a receiver.
//!
//! ```text
//! FinishedEvent ─encode─▶ JSON ─(core, store)─▶ Notify ─▶ PUBLISH, XADD or POST ─▶ Notified
//! ```
//!
//! It never retries and never drops: the core does the one, and nobody the other.

use crate::core::event::Value;
use crate::core::limits;
use crate::core::notification::{FinishedEvent, Notification, Notified, Notify, NotifyTrouble};
use crate::core::time::Wall;
use crate::core::workflow::{Abandoned, cut};
use crate::core::{PollFailure, PollFailureReason};
use crate::exchange::{Api, Asking, Reply, Tally, failure};
#[cfg(feature = "redis")]
use crate::link;
use crossbeam_channel::{Receiver, Sender};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use ureq::Agent;

/// Where to tell.
#[derive(Debug)]
pub enum Destination {
    /// In a pub/sub channel.
    #[cfg(feature = "redis")]
    RedisChannel {
        /// The server's URL, password and all.
        url: String,
        /// The channel.
        channel: String,
    },
    /// In a stream.
    #[cfg(feature = "redis")]
    RedisStream {
        /// The server's URL, password and all.
        url: String,
        /// The stream's key.
        key: String,
        /// About how many entries the stream may have.
        length_max: u64,
    },
    /// By a POST for each event.
    Http {
        /// The connection.
        agent: Agent,
        /// `base_url` is where to.
        api: Api,
    },
}

/// A thread that tells. It ends when the channel of what is to be told is closed, and is joined when this is dropped.
#[derive(Debug)]
pub struct Notifier {
    thread: Option<JoinHandle<()>>,
}

impl Notifier {
    /// Starts to tell what comes from `told`, and what became of it to `outcomes`. `number` names the thread.
    ///
    /// # Errors
    /// A text that says why it cannot be started.
    pub fn start(
        number: usize,
        destination: Destination,
        told: Receiver<Notify>,
        outcomes: Sender<Notified>,
    ) -> Result<Self, String> {
        let mut way = Way::new(destination)?;
        let run = move || {
            for notify in told {
                if outcomes.send(tell_all(&mut way, notify)).is_err() {
                    break;
                }
            }
        };
        let builder = std::thread::Builder::new().name(format!("notify-{number}"));
        let thread = builder.stack_size(512 * 1024).spawn(run);
        let thread =
            thread.map_err(|e| format!("cannot start to tell of finished workflows: {e}"))?;
        Ok(Notifier {
            thread: Some(thread),
        })
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // If it panicked, it has said so on standard error.
            drop(thread.join());
        }
    }
}

/// In their order, up to the first that has to wait.
fn tell_all(way: &mut Way, notify: Notify) -> Notified {
    let mut notified = Notified {
        monitor: notify.monitor,
        batch: notify.batch,
        taken: Vec::new(),
        refused: Vec::new(),
        trouble: None,
    };
    for notification in notify.notifications {
        match way.tell(&notification) {
            Ok(()) => notified.taken.push(notification.run),
            Err(Untold::Refused(message)) => notified.refused.push((notification.run, message)),
            Err(Untold::Later(trouble)) => {
                notified.trouble = Some(trouble);
                break;
            }
        }
    }
    notified
}

/// Why a receiver does not have an event.
enum Untold {
    Refused(Box<str>),
    Later(NotifyTrouble),
}

enum Way {
    #[cfg(feature = "redis")]
    Redis(RedisWay),
    Http {
        agent: Agent,
        api: Api,
    },
}

impl Way {
    fn new(destination: Destination) -> Result<Self, String> {
        Ok(match destination {
            #[cfg(feature = "redis")]
            Destination::RedisChannel { url, channel } => {
                Way::Redis(RedisWay::new(&url, channel, None)?)
            }
            #[cfg(feature = "redis")]
            Destination::RedisStream {
                url,
                key,
                length_max,
            } => Way::Redis(RedisWay::new(&url, key, Some(length_max))?),
            Destination::Http { agent, api } => Way::Http { agent, api },
        })
    }

    fn tell(&mut self, notification: &Notification) -> Result<(), Untold> {
        match self {
            #[cfg(feature = "redis")]
            Way::Redis(way) => way.tell(notification).map_err(|error| {
                way.connection = None;
                later(&link::told(&error), None)
            }),
            Way::Http { agent, api } => post(agent, api, notification),
        }
    }
}

fn later(reason: &str, retry_after: Option<Duration>) -> Untold {
    Untold::Later(NotifyTrouble {
        reason: cut(reason, limits::NAME_BYTES_MAX).into(),
        retry_after,
    })
}

#[cfg(feature = "redis")]
struct RedisWay {
    client: redis::Client,
    connection: Option<redis::Connection>,
    name: String,
    /// Of a stream.
    length_max: Option<u64>,
}

/// For one answer.
#[cfg(feature = "redis")]
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(feature = "redis")]
impl RedisWay {
    fn new(url: &str, name: String, length_max: Option<u64>) -> Result<Self, String> {
        Ok(RedisWay {
            client: redis::Client::open(url).map_err(|e| link::told(&e))?,
            connection: None,
            name,
            length_max,
        })
    }

    fn tell(&mut self, notification: &Notification) -> redis::RedisResult<()> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(link::connect(&self.client, PATIENCE)?),
        };
        let Some(length_max) = self.length_max else {
            let mut publish = redis::cmd("PUBLISH");
            return publish
                .arg(&self.name)
                .arg(&*notification.bytes)
                .exec(connection);
        };
        let carrier = Carrier::of(&notification.bytes);
        let mut add = redis::cmd("XADD");
        add.arg(&self.name).arg("MAXLEN").arg("~").arg(length_max);
        add.arg("*").arg("message").arg(&*notification.bytes);
        for (name, value) in carrier.fields() {
            add.arg(name).arg(value);
        }
        add.exec(connection)
    }
}

/// A receiver that does not know us now may do so soon; what it calls a bad request is one for ever.
fn post(agent: &Agent, api: &Api, notification: &Notification) -> Result<(), Untold> {
    let carrier = Carrier::of(&notification.bytes);
    let asking = Asking {
        agent,
        api,
        title: None,
        traceparent: carrier.traceparent.as_deref(),
        tracestate: carrier.tracestate.as_deref(),
        body: Some(&notification.bytes),
        conditions: &[],
    };
    let mut tally = Tally::default();
    let failed = match asking.ask(&api.base_url, &mut tally) {
        Ok(Reply::Found(response)) => {
            tally.let_go(response);
            return Ok(());
        }
        Ok(Reply::Unchanged) => failure(PollFailureReason::Protocol, "HTTP 304"),
        Ok(Reply::NotFound) => failure(PollFailureReason::ServerError, "HTTP 404 Not Found"),
        Err(failed) => failed,
    };
    let PollFailure {
        reason,
        detail,
        retry_after,
    } = failed;
    Err(match reason {
        PollFailureReason::Status => Untold::Refused(detail),
        _ => later(&detail, retry_after),
    })
}

/// The trace context within an event.
#[derive(Debug, Default, Deserialize)]
struct Carrier<'a> {
    #[serde(borrow)]
    traceparent: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tracestate: Option<Cow<'a, str>>,
}

impl<'a> Carrier<'a> {
    /// What is stored may be anything.
    fn of(event: &'a [u8]) -> Self {
        serde_json::from_slice(event).unwrap_or_default()
    }

    #[cfg(feature = "redis")]
    fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let fields = [
            ("traceparent", &self.traceparent),
            ("tracestate", &self.tracestate),
        ];
        fields
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }
}

/// What [`encode`] writes: the names are those of the start event where it has the same.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Told<'a> {
    message_type: &'static str,
    message_id: String,
    workflow_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    monitor: &'a str,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    abandoned: Option<&'static str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    error_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    submitted_at: Option<String>,
    start_time: String,
    end_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(rename = "traceparent")]
    traceparent: String,
    #[serde(rename = "tracestate", skip_serializing_if = "Option::is_none")]
    tracestate: Option<&'a str>,
    #[serde(rename = "attributes", skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<&'a str, Scalar<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Scalar<'a> {
    Text(&'a str),
    Int(i64),
    Float(f64),
    Bool(bool),
}

/// The event as JSON.
pub fn encode(event: &FinishedEvent) -> Arc<[u8]> {
    let time = |at: Wall| at.to_string();
    let scalar = |value| match value {
        &Value::Str(ref text) => Scalar::Text(text),
        &Value::Int(number) => Scalar::Int(number),
        &Value::Float(number) => Scalar::Float(number),
        &Value::Bool(truth) => Scalar::Bool(truth),
    };
    let attributes = event.attributes.iter();
    let told = Told {
        message_type: MESSAGE_TYPE,
        message_id: event.run.to_string(),
        workflow_id: &event.workflow_id,
        attempt: event.attempt,
        monitor: &event.monitor,
        result: event.outcome.as_str(),
        abandoned: event.abandoned.map(word_of),
        error: &event.finish.error,
        error_type: &event.finish.error_type,
        submitted_at: event.submitted_at.map(time),
        start_time: time(event.finish.start),
        end_time: time(event.finish.end),
        url: event.url.as_deref(),
        traceparent: event.context.traceparent(),
        tracestate: event.context.trace_state.as_deref(),
        attributes: attributes
            .map(|(key, value)| (&**key, scalar(value)))
            .collect(),
    };
    // It has text keys and finite numbers, and is written to memory.
    serde_json::to_vec(&told).unwrap_or_default().into()
}

/// `MessageType` of what is told.
pub const MESSAGE_TYPE: &str = "event.workflow.finished";

fn word_of(abandoned: Abandoned) -> &'static str {
    match abandoned {
        Abandoned::TimedOut => "timed_out",
        Abandoned::NotFound => "not_found",
        Abandoned::Superseded => "superseded",
    }
}
