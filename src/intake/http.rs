//! Start events that are posted: `POST /api/workflows`.
//!
//! The body is an event, an array of events or lines of events (`application/x-ndjson`); an event may be a CloudEvent,
//! structured, batched or binary (`ce-` headers). <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>
//! A trace context in the request's headers counts for each event that has none.
//!
//! 202 says that the events are stored. A client that gets another answer, or none, posts again: an event that came twice
//! is one.

use super::carrier::Carrier;
use super::malformed_log::MalformedLog;
use super::message::{self, Beside, Dialects, Malformed, Message};
use super::posted::{self, Posted};
use crate::core::event::{Origin, StartEvent};
use crate::http::server::{HttpRequest, Response};
use crate::os::threads::lock;
use crate::syntax::text::percent_decoded_lossy;
use crossbeam_channel::Sender;
use serde_json::json;
use std::sync::{Mutex, MutexGuard};

/// What a 503 asks for, in seconds.
const RETRY_AFTER: &str = "5";

/// Where requests come in.
#[derive(Debug)]
pub struct Entrance {
    dialects: Dialects,
    posted: Sender<Posted>,
    /// Each connection has a thread of its own.
    malformed: Mutex<MalformedLog>,
}

impl Entrance {
    /// Events are read so, and go to the loop by this channel.
    pub fn new(dialects: Dialects, posted: Sender<Posted>) -> Self {
        Entrance {
            dialects,
            posted,
            malformed: Mutex::new(MalformedLog::new(Origin::Http)),
        }
    }

    /// Answers a request.
    pub fn post(&self, request: &HttpRequest) -> Response {
        let messages = match self.read(request) {
            Ok(messages) => messages,
            Err((at, malformed)) => {
                self.malformed().note_malformed(&malformed);
                return refused(at, &malformed);
            }
        };
        for message in &messages.events {
            self.malformed().note_oddity(message);
        }
        if messages.events.is_empty() {
            return trouble(400, "no event in it");
        }
        let accepted: Vec<_> = messages.events.iter().map(accepted).collect();
        let events = messages.events.into_iter().map(|message| StartEvent {
            origin: Origin::Http,
            ..message.event
        });
        match posted::post(&self.posted, events.collect()) {
            Ok(()) => {
                let body = match accepted.as_slice() {
                    [one] if !messages.many => one.to_string(),
                    all => json!(all).to_string(),
                };
                Response::json(202, body + "\n")
            }
            Err(unaccepted) => later(&unaccepted.to_string()),
        }
    }

    fn malformed(&self) -> MutexGuard<'_, MalformedLog> {
        lock(&self.malformed)
    }

    fn read(&self, request: &HttpRequest) -> Result<Messages, (Option<usize>, Malformed)> {
        let media_type = media_type(request);
        let attribute = |name: &str| request.header(name).map(percent_decoded_lossy);
        let mut beside = Beside::default();
        let mut body = request.body.as_slice();
        // Binary mode: the attributes are headers, and the body is the data.
        if request.header("ce-specversion").is_some() {
            let attributes = request.headers().filter_map(|(name, value)| {
                let name = name
                    .get(..3)
                    .filter(|it| it.eq_ignore_ascii_case("ce-"))
                    .and(name.get(3..))?;
                Some((name, percent_decoded_lossy(value)))
            });
            beside.carriers.push(Carrier::of(attributes));
            beside.subject = attribute("ce-subject");
            beside.time = attribute("ce-time");
            beside.monitor = attribute("ce-monitor");
            if !media_type.is_empty() && !media_type.contains("json") {
                // Data of another kind has no fields.
                body = &[];
            }
        }
        beside.carriers.push(Carrier::of(request.headers()));
        let is_array = body.trim_ascii_start().first() == Some(&b'[');
        if media_type.ends_with("ndjson") || media_type.ends_with("jsonl") {
            let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            let lines = lines.enumerate().filter(|(_, line)| !line.is_empty());
            let read = |(at, line)| {
                let read = message::read_beside(line, &beside, &self.dialects);
                read.map_err(|malformed| (Some(at), malformed))
            };
            let events = lines.map(read).collect::<Result<_, _>>()?;
            Ok(Messages { events, many: true })
        } else if is_array {
            let read = message::read_all(body, &beside, &self.dialects);
            let events = read.map_err(|(at, malformed)| (Some(at), malformed))?;
            Ok(Messages { events, many: true })
        } else {
            let read = message::read_beside(body, &beside, &self.dialects);
            let events = vec![read.map_err(|malformed| (None, malformed))?];
            Ok(Messages {
                events,
                many: false,
            })
        }
    }
}

struct Messages {
    events: Vec<Message>,
    /// Whether the answer is a list too.
    many: bool,
}

/// Without its parameters, in lower case; empty where there is none.
fn media_type(request: &HttpRequest) -> String {
    let header = request.header("content-type").unwrap_or_default();
    let media_type = header.split(';').next().unwrap_or_default();
    media_type.trim().to_ascii_lowercase()
}

fn accepted(message: &Message) -> serde_json::Value {
    let mut answer = json!({ "workflowId": message.event.workflow_id, "accepted": true });
    if let Some(oddity) = message.oddity {
        answer["ignored"] = json!(oddity);
    }
    answer
}

fn refused(at: Option<usize>, malformed: &Malformed) -> Response {
    let mut answer = json!({ "error": malformed.to_string(), "reason": malformed.reason() });
    if let Some(at) = at {
        answer["event"] = json!(at);
    }
    Response::json(400, answer.to_string() + "\n")
}

fn trouble(status: u16, why: &str) -> Response {
    Response::json(status, json!({ "error": why }).to_string() + "\n")
}

fn later(why: &str) -> Response {
    trouble(503, why).with_header("Retry-After", RETRY_AFTER)
}
