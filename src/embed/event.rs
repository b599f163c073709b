//! What a program tells a watcher: that a workflow has started.

use super::times::wall;
use crate::intake::message::Message;
use serde_json::{Map, json};
use std::time::SystemTime;

/// A workflow has started.
///
/// It says the same as a start event from any other source (`docs/events.md`), and is held to the same rules.
///
/// ```
/// use farspan::StartEvent;
/// use std::time::SystemTime;
///
/// let event = StartEvent::new("704c0b60")
///     .with_submitted_at(SystemTime::now())
///     .with_traceparent("00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-01")
///     .with_attribute("desk", "rates");
/// let same_rules = StartEvent::from_json(r#"{"WorkflowId": "704c0b60", "attributes": {"desk": "rates"}}"#);
/// # let _ = (event, same_rules);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct StartEvent(EventForm);

#[derive(Clone, Debug, PartialEq)]
enum EventForm {
    /// The members of the message.
    Members(Map<String, serde_json::Value>),
    Json(String),
}

/// A start event that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted {
    /// The id of its workflow.
    pub workflow_id: String,
    /// The first thing in the event that was wrong and was left out, such as a trace context that is none. The workflow is
    /// traced without it.
    pub ignored: Option<String>,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction. One that is not finite is left out of a start event.
    Float(f64),
    /// A truth value.
    Bool(bool),
}

impl StartEvent {
    /// The workflow with this id, as its API knows it: 1 to 512 bytes.
    pub fn new(workflow_id: impl Into<String>) -> Self {
        let mut members = Map::new();
        members.insert("WorkflowId".to_owned(), json!(workflow_id.into()));
        StartEvent(EventForm::Members(members))
    }

    /// The event as JSON, in any of the shapes that `POST /api/workflows` takes for one event.
    pub fn from_json(text: impl Into<String>) -> Self {
        StartEvent(EventForm::Json(text.into()))
    }

    /// The monitor that watches it, by its name. It need not be said where there is one monitor.
    pub fn with_monitor(self, name: impl Into<String>) -> Self {
        self.with("monitor", json!(name.into()))
    }

    /// When the workflow was submitted. It tells two runs of one id apart, unless the attempt does.
    pub fn with_submitted_at(self, time: SystemTime) -> Self {
        self.with("SubmittedAt", json!(wall(time).to_string()))
    }

    /// Which attempt at the workflow it is, from 1.
    pub fn with_attempt(self, attempt: u32) -> Self {
        self.with("Attempt", json!(attempt))
    }

    /// The trace context that the workflow's trace continues, as the header `traceparent` has it.
    /// <https://www.w3.org/TR/trace-context/>
    pub fn with_traceparent(self, traceparent: impl Into<String>) -> Self {
        self.with("traceparent", json!(traceparent.into()))
    }

    /// The header `tracestate` that belongs to the `traceparent`.
    pub fn with_tracestate(self, tracestate: impl Into<String>) -> Self {
        self.with("tracestate", json!(tracestate.into()))
    }

    /// An attribute of the workflow's span.
    pub fn with_attribute(self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        let mut event = self;
        if let Some(members) = event.members() {
            let attributes = members.entry("attributes").or_insert_with(|| json!({}));
            if let Some(attributes) = attributes.as_object_mut() {
                attributes.insert(key.into(), value.into().into_json());
            }
        }
        event
    }

    /// One member more. Where the event is JSON that is no object, it is left as it is, and refused as that.
    fn with(mut self, name: &str, value: serde_json::Value) -> Self {
        if let Some(members) = self.members() {
            members.insert(name.to_owned(), value);
        }
        self
    }

    fn members(&mut self) -> Option<&mut Map<String, serde_json::Value>> {
        if let EventForm::Json(text) = &self.0
            && let Ok(members) = serde_json::from_str(text)
        {
            self.0 = EventForm::Members(members);
        }
        match &mut self.0 {
            EventForm::Members(members) => Some(members),
            EventForm::Json(_) => None,
        }
    }

    pub(super) fn as_json(&self) -> String {
        match &self.0 {
            EventForm::Members(members) => json!(members).to_string(),
            EventForm::Json(text) => text.clone(),
        }
    }
}

impl Accepted {
    pub(super) fn of(message: &Message) -> Self {
        Accepted {
            workflow_id: message.event.workflow_id.to_string(),
            ignored: message.oddity.map(str::to_owned),
        }
    }
}

impl Value {
    fn into_json(self) -> serde_json::Value {
        match self {
            Value::Text(text) => json!(text),
            Value::Integer(number) => json!(number),
            Value::Float(number) => json!(number),
            Value::Bool(truth) => json!(truth),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Integer(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Float(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Value::Bool(truth)
    }
}
