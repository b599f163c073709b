//! Sends finished events: one thread for each monitor that has a receiver.
//!
//! ```text
//! FinishedEvent ─encode─▶ JSON ─(core, store)─▶ Notify ─▶ PUBLISH, XADD or POST ─▶ Notified
//! ```
//!
//! The thread never retries and never drops an event: that is decided in the core.

use crate::api::exchange::{Api, Asking, Reply, Tally};
use crate::core::PollFailureReason;
use crate::core::event::Value;
use crate::core::finished::{FinishedEvent, Notification, Notified, Notify, NotifyTrouble};
use crate::core::limits;
use crate::core::limits::cut;
use crate::core::outcome::Abandoned;
use crate::core::time::Wall;
use crate::deliver::is_final;
use crate::deliver::refused::RefusedPlace;
use crate::os::clock;
use crate::os::threads;
#[cfg(feature = "redis")]
use crate::redis_client;
use crossbeam_channel::{Receiver, Sender};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use ureq::Agent;

/// Who gets the finished events of a monitor, and how.
pub enum EventReceiver {
    /// Through a Redis channel or stream.
    #[cfg(feature = "redis")]
    Redis(Box<RedisReceiver>),
    /// Through one POST for each event.
    Http(Box<HttpReceiver>),
}

/// The notifier's thread. It ends when the channel of finished events is closed, and is joined when this is dropped.
#[derive(Debug)]
pub struct Notifier {
    thread: Option<JoinHandle<()>>,
}

impl Notifier {
    /// Starts to send what comes from `notifications`; the results go to `outcomes`. What the receiver refuses for good is
    /// kept in `refused`. `number` names the thread.
    ///
    /// # Errors
    /// A text that says why it cannot be started.
    pub fn start(
        number: usize,
        mut receiver: EventReceiver,
        refused: RefusedPlace,
        notifications: Receiver<Notify>,
        outcomes: Sender<Notified>,
    ) -> Result<Self, String> {
        let run = move || {
            for notify in notifications {
                if outcomes
                    .send(send_all(&mut receiver, &refused, notify))
                    .is_err()
                {
                    break;
                }
            }
        };
        let thread = threads::spawn(format!("notify-{number}"), threads::STACK_BYTES, run);
        let thread = thread
            .map_err(|e| format!("cannot start the thread that sends finished events: {e}"))?;
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

/// How long one batch may take. What is not sent by then goes again: the core must soon know what was taken, and whether
/// the other runs still belong to this instance.
const BATCH_TIME_MAX: Duration = Duration::from_secs(1);

/// Sends a batch in order, up to the first event that has to go again.
fn send_all(receiver: &mut EventReceiver, place: &RefusedPlace, notify: Notify) -> Notified {
    let mut notified = Notified {
        monitor: notify.monitor,
        batch: notify.batch,
        taken: Vec::new(),
        refused: Vec::new(),
        trouble: None,
    };
    let begun = clock::now().mono;
    for notification in notify.notifications {
        if clock::now().mono.since(begun) >= BATCH_TIME_MAX {
            break;
        }
        match receiver.send(&notification) {
            Ok(()) => notified.taken.push(notification.run),
            Err(NotifyFailure::Refused(message)) => {
                let (monitor, bytes) = (&notification.monitor, &notification.bytes);
                let kept = place.keep_event(monitor, bytes, &message);
                let message = format!("{message}; {kept}").into();
                notified.refused.push((notification.run, message));
            }
            Err(NotifyFailure::Retry(trouble)) => {
                notified.trouble = Some(trouble);
                break;
            }
        }
    }
    notified
}

/// Why the receiver did not take an event.
enum NotifyFailure {
    Refused(Box<str>),
    Retry(NotifyTrouble),
}

impl EventReceiver {
    fn send(&mut self, notification: &Notification) -> Result<(), NotifyFailure> {
        match self {
            #[cfg(feature = "redis")]
            EventReceiver::Redis(receiver) => receiver.send(notification).map_err(|error| {
                receiver.connection = None;
                retry(&receiver.told(&error), None)
            }),
            EventReceiver::Http(receiver) => receiver.send(notification),
        }
    }
}

fn retry(reason: &str, retry_after: Option<Duration>) -> NotifyFailure {
    NotifyFailure::Retry(NotifyTrouble {
        reason: cut(reason, limits::NAME_BYTES_MAX).into(),
        retry_after,
    })
}

/// A channel or a stream in Redis.
#[cfg(feature = "redis")]
pub struct RedisReceiver {
    client: redis::Client,
    connection: Option<redis_client::Connection>,
    name: String,
    /// About how many entries the stream keeps. `None`: it is a channel.
    length_max: Option<u32>,
}

/// How long to wait for one answer of Redis.
#[cfg(feature = "redis")]
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(feature = "redis")]
impl RedisReceiver {
    /// `name`: a channel, or a stream if there is a `length_max`, about how many entries it may have.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub fn new(url: &str, name: String, length_max: Option<u32>) -> Result<Self, String> {
        Ok(RedisReceiver {
            client: redis::Client::open(url).map_err(|e| redis_client::told(&e))?,
            connection: None,
            name,
            length_max,
        })
    }

    /// Asks whether the user of this URL may send there, for `farspan check`.
    ///
    /// # Errors
    /// What Redis forbids, or why it cannot be asked.
    pub fn ask_rights(&self) -> Result<(), String> {
        let mut call = redis::cmd(if self.length_max.is_some() {
            "XADD"
        } else {
            "PUBLISH"
        });
        call.arg(&self.name).arg("");
        if self.length_max.is_some() {
            call.arg("message").arg("");
        }
        let connection = redis_client::connect(&self.client, PATIENCE);
        let asked = connection.and_then(|mut it| redis_client::ask_rights(&mut it, &[call]));
        asked.map_err(|error| self.told(&error))
    }

    fn told(&self, error: &redis::RedisError) -> String {
        let rule = match self.length_max {
            Some(_) => format!("+xadd ~{}", self.name),
            None => format!("+publish &{}", self.name),
        };
        redis_client::told_with_rule(error, &self.client, &rule)
    }

    fn send(&mut self, notification: &Notification) -> redis::RedisResult<()> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(redis_client::connect(&self.client, PATIENCE)?),
        };
        let Some(length_max) = self.length_max else {
            let mut publish = redis::cmd("PUBLISH");
            return publish
                .arg(&self.name)
                .arg(&*notification.bytes)
                .exec(connection);
        };
        let carrier = EventContext::of(&notification.bytes);
        let mut add = redis::cmd("XADD");
        add.arg(&self.name).arg("MAXLEN").arg("~").arg(length_max);
        add.arg("*").arg("message").arg(&*notification.bytes);
        for (name, value) in carrier.fields() {
            add.arg(name).arg(value);
        }
        add.exec(connection)
    }
}

/// An HTTP endpoint.
pub struct HttpReceiver {
    /// The agent that keeps its connection.
    pub agent: Agent,
    /// The endpoint: its `base_url` is the whole URL.
    pub api: Api,
}

impl HttpReceiver {
    /// After a failure that [`is_final`] the receiver has refused the event; after any other one it goes again.
    fn send(&self, notification: &Notification) -> Result<(), NotifyFailure> {
        let carrier = EventContext::of(&notification.bytes);
        let asking = Asking {
            traceparent: carrier.traceparent.as_deref(),
            tracestate: carrier.tracestate.as_deref(),
            body: Some(&notification.bytes),
            ..Asking::plain(&self.agent, &self.api)
        };
        let mut tally = Tally::default();
        let failed = match asking.ask(&self.api.base_url, &mut tally) {
            Ok(Reply::Found(response)) => {
                tally.let_go(response);
                return Ok(());
            }
            Ok(Reply::Unchanged) => return Err(retry("HTTP 304", None)),
            Ok(Reply::NotFound) => return Err(retry("HTTP 404 Not Found", None)),
            Err(failed) => failed,
        };
        let is_about_the_answer = matches!(
            failed.reason,
            PollFailureReason::Status | PollFailureReason::ServerError
        );
        Err(
            if is_about_the_answer && tally.status.is_some_and(is_final) {
                NotifyFailure::Refused(failed.detail)
            } else {
                retry(&failed.detail, failed.retry_after)
            },
        )
    }
}

/// The trace context in an encoded event.
#[derive(Debug, Default, Deserialize)]
struct EventContext<'a> {
    #[serde(borrow)]
    traceparent: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tracestate: Option<Cow<'a, str>>,
}

impl<'a> EventContext<'a> {
    /// Reads it from the stored bytes, which may be anything.
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

/// A finished event as [`encode`] writes it. A name that the start event has too means the same here.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FinishedMessage<'a> {
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
    attributes: BTreeMap<&'a str, serde_json::Value>,
}

/// The event as JSON.
pub fn encode(event: &FinishedEvent) -> Arc<[u8]> {
    let time = |at: Wall| at.to_string();
    let scalar = |value: &'_ Value| match value {
        Value::Str(text) => serde_json::Value::from(&**text),
        Value::Int(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Bool(truth) => (*truth).into(),
    };
    let attributes = event.attributes.iter();
    let message = FinishedMessage {
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
    serde_json::to_vec(&message).unwrap_or_default().into()
}

/// The `MessageType` of finished events.
pub const MESSAGE_TYPE: &str = "event.workflow.finished";

fn word_of(abandoned: Abandoned) -> &'static str {
    match abandoned {
        Abandoned::TimedOut => "timed_out",
        Abandoned::NotFound => "not_found",
        Abandoned::Superseded => "superseded",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::finished::Finish;
    use crate::core::ids::{RunKey, TraceContext};
    use crate::core::outcome::Outcome;
    use expect_test::{Expect, expect};

    fn event() -> FinishedEvent {
        FinishedEvent {
            run: RunKey::from_bytes([7; 16]),
            monitor: "risk".into(),
            workflow_id: "w \"1\"".into(),
            attempt: None,
            outcome: Outcome::Success,
            abandoned: None,
            submitted_at: None,
            finish: Finish {
                start: Wall::from_unix_ns(1_720_162_671_073_740_700),
                end: Wall::from_unix_ns(1_720_162_672_000_000_000),
                error: "".into(),
                error_type: "".into(),
            },
            url: None,
            context: context(None),
            attributes: Box::default(),
        }
    }

    fn context(trace_state: Option<&str>) -> TraceContext {
        let traceparent = "00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-01";
        TraceContext::from_w3c(traceparent, trace_state).unwrap()
    }

    fn check(event: &FinishedEvent, expected: &Expect) {
        let bytes = encode(event);
        expected.assert_eq(std::str::from_utf8(&bytes).unwrap());
        assert_eq!(encode(event), bytes, "a re-send is the same");
        let carrier = EventContext::of(&bytes);
        let told = TraceContext::from_w3c(
            carrier.traceparent.as_deref().unwrap(),
            carrier.tracestate.as_deref(),
        );
        assert_eq!(told.as_ref(), Some(&event.context));
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        check(
            &event(),
            &expect![[
                r#"{"MessageType":"event.workflow.finished","MessageId":"07070707070707070707070707070707","WorkflowId":"w \"1\"","Monitor":"risk","Result":"success","StartTime":"2024-07-05T06:57:51.0737407Z","EndTime":"2024-07-05T06:57:52Z","traceparent":"00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-01"}"#
            ]],
        );
    }

    #[test]
    fn everything_that_is_known_is_told() {
        let attributes: [(&str, Value); 4] = [
            ("desk", "rates".into()),
            ("lots", Value::Int(-3)),
            ("share", Value::Float(0.5)),
            ("urgent", Value::Bool(true)),
        ];
        let told = FinishedEvent {
            attempt: Some(2),
            outcome: Outcome::Timeout,
            abandoned: Some(Abandoned::TimedOut),
            submitted_at: Some(Wall::from_unix_ns(1_720_162_670_000_000_000)),
            finish: Finish {
                error: "Monitor timed out".into(),
                error_type: "timeout".into(),
                ..event().finish
            },
            url: Some("https://risk.test/1".into()),
            context: context(Some("a=b")),
            attributes: attributes.map(|(key, value)| (key.into(), value)).into(),
            ..event()
        };
        check(
            &told,
            &expect![[
                r#"{"MessageType":"event.workflow.finished","MessageId":"07070707070707070707070707070707","WorkflowId":"w \"1\"","Attempt":2,"Monitor":"risk","Result":"timeout","Abandoned":"timed_out","Error":"Monitor timed out","ErrorType":"timeout","SubmittedAt":"2024-07-05T06:57:50Z","StartTime":"2024-07-05T06:57:51.0737407Z","EndTime":"2024-07-05T06:57:52Z","Url":"https://risk.test/1","traceparent":"00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-01","tracestate":"a=b","attributes":{"desk":"rates","lots":-3,"share":0.5,"urgent":true}}"#
            ]],
        );
    }

    #[test]
    fn what_was_stored_may_be_anything() {
        for stored in ["", "{", "[]", r#"{"traceparent": 7}"#, "\u{0}"] {
            let carrier = EventContext::of(stored.as_bytes());
            assert!(carrier.traceparent.is_none() && carrier.tracestate.is_none());
        }
    }
}
