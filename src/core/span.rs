//! A finished span: the core's last word on a workflow or a stage.

use super::event::Value;
use super::ids::{SpanId, TraceContext, TraceId};
use super::time::Wall;
use std::sync::Arc;

/// A span that will not change any more. It is exported once, and any re-send is the same to the byte.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// The parent, and whether it belongs to somebody else's process.
    pub parent: Option<Parent>,
    /// The W3C trace flags of this span's context.
    pub trace_flags: u8,
    /// The W3C `tracestate`, passed on from the submitter unchanged.
    pub trace_state: Option<Box<str>>,
    /// Not empty.
    pub name: Box<str>,
    /// As reported by the API, or the best observation.
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
    /// Other spans that this one has to do with.
    pub links: Vec<Link>,
    /// How many links a limit cut off.
    pub dropped_links: u32,
    /// Whose it is, where that is not farspan.
    pub service: Option<Arc<Service>>,
}

/// The service that a monitor's spans are of, where it has one of its own: their resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The monitor; where spans are stored, it names the service.
    pub monitor: Arc<str>,
    /// `service.name`, behind `service.namespace` where there is one: for people.
    pub name: Box<str>,
}

/// Another span that a span has to do with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Which.
    pub context: TraceContext,
    /// Whether it was made by another process.
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

/// Something that happened within a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanEvent {
    /// When.
    pub time: Wall,
    /// What: `Submitted`, or the API's word for a status.
    pub name: Box<str>,
}

/// The span's status. A message stands only with an error.
/// <https://opentelemetry.io/docs/specs/otel/trace/api/#set-status>
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpanStatus {
    /// Nobody said.
    Unset,
    /// Validated as successful.
    Ok,
    /// Failed, with the API's message where there is one.
    Error(Box<str>),
}
