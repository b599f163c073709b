//! A finished span: what the core exports of a workflow or a stage.

use super::event::Value;
use super::ids::{SpanId, TraceContext, TraceId};
use super::time::Wall;
use std::sync::Arc;

/// A span that will not change. It is exported once, and when it is sent again its bytes are the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// The parent span.
    pub parent: Option<Parent>,
    /// The W3C trace flags of this span's context.
    pub trace_flags: u8,
    /// The W3C `tracestate`, passed on from the submitter unchanged.
    pub trace_state: Option<Box<str>>,
    /// Not empty.
    pub name: Box<str>,
    /// As reported by the API, or else as observed.
    pub start: Wall,
    /// Never before `start`.
    pub end: Wall,
    /// How it ended.
    pub status: SpanStatus,
    /// Keys are unique.
    pub attributes: Vec<(Box<str>, Value)>,
    /// How many attributes a limit cut off.
    pub dropped_attributes: u32,
    /// In the order of their times.
    pub events: Vec<SpanEvent>,
    /// How many events a limit cut off.
    pub dropped_events: u32,
    /// Links to other spans.
    pub links: Vec<Link>,
    /// How many links a limit cut off.
    pub dropped_links: u32,
    /// The service of the span, if it is not farspan itself.
    pub service: Option<Arc<Service>>,
}

/// The attribute of a span that shows a start.
pub const STARTED: &str = "farspan.started";

impl Span {
    /// Whether it only shows that something has started. The span that is exported at its end is another one.
    pub fn shows_start(&self) -> bool {
        self.attributes.iter().any(|(key, _)| **key == *STARTED)
    }
}

/// The service of a monitor's spans, if the monitor configures one: their resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The monitor's name; stored spans refer to the service by it.
    pub monitor: Arc<str>,
    /// The service for people to read: `service.name`, after `service.namespace` if there is one.
    pub name: Box<str>,
}

/// A link to another span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The context of the other span.
    pub context: TraceContext,
    /// Whether another process made it.
    pub remote: bool,
}

/// A span's parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The parent's span id.
    pub span_id: SpanId,
    /// Whether the parent was made by another process (OTLP `flags`, bit 0x200).
    pub remote: bool,
}

/// An event within a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanEvent {
    /// The time of the event.
    pub time: Wall,
    /// `Submitted`, or a status of the API.
    pub name: Arc<str>,
}

/// The span's status. Only an error has a message.
/// <https://opentelemetry.io/docs/specs/otel/trace/api/#set-status>
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpanStatus {
    /// Not set.
    Unset,
    /// Validated as successful.
    Ok,
    /// Failed, with the API's message where there is one.
    Error(Box<str>),
}
