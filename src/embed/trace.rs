//! A finished trace, as a program gets it.

use super::{RunSummary, Value};
use crate::core::ids;
use crate::core::view::RunDetail;
use crate::deliver::otlp;
use opentelemetry::trace::{Event, SpanContext, Status};
use opentelemetry_sdk::trace::SpanData;
use std::fmt;
use std::time::SystemTime;

/// The trace of one run that has ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FinishedTrace {
    /// The run.
    pub run: RunSummary,
    /// Its spans in the order in which they were finished; the workflow's own is the last one. They are those that are
    /// exported, to the byte. Empty if the run is not sampled.
    pub spans: Vec<Span>,
    /// Whether no finished span is missing. Spans are missing of a run that a restart has interrupted, and of very many
    /// runs at once: spans of live runs and what ended lately are kept in 8 MiB.
    pub has_all_spans: bool,
}

/// A finished span.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Span {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// The span that it is part of. Of the workflow's span: the one that submitted the workflow, if the start event had a
    /// trace context.
    pub parent_span_id: Option<SpanId>,
    /// Its name.
    pub name: String,
    /// When it started.
    pub start: SystemTime,
    /// When it ended; never before its start.
    pub end: SystemTime,
    /// How it ended.
    pub status: SpanStatus,
    /// Keys are unique.
    pub attributes: Vec<(String, Value)>,
    /// In the order of their times.
    pub events: Vec<SpanEvent>,
    /// To spans of other traces.
    pub links: Vec<Link>,
}

/// The status of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpanStatus {
    /// Not set.
    Unset,
    /// It succeeded.
    Ok,
    /// It failed, with the API's message where there is one.
    Error(String),
}

/// A change of status within a span.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpanEvent {
    /// When it was.
    pub time: SystemTime,
    /// `Submitted`, or a status of the API.
    pub name: String,
}

/// A link to another span.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// The trace of the other span.
    pub trace_id: TraceId,
    /// The other span.
    pub span_id: SpanId,
}

/// The id of a trace. It is shown as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId([u8; 16]);

/// The id of a span. It is shown as 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId([u8; 8]);

impl TraceId {
    pub(super) fn of(id: ids::TraceId) -> Self {
        TraceId(id.to_bytes())
    }

    /// Big-endian bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl SpanId {
    pub(super) fn of(id: ids::SpanId) -> Self {
        SpanId(id.to_bytes())
    }

    /// Big-endian bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        self.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanId({self})")
    }
}

/// 32 hexadecimal digits.
pub(super) fn bytes_of_hex(text: &str) -> Option<[u8; 16]> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| is_hex)?;
    Some(number.to_be_bytes())
}

impl FinishedTrace {
    pub(super) fn of(detail: &RunDetail, monitors: &[Box<str>]) -> Self {
        let decoded = detail.finished.iter().map(|bytes| otlp::decode(bytes));
        let spans: Vec<Span> = decoded.flatten().map(Span::of).collect();
        FinishedTrace {
            has_all_spans: detail.has_all_spans && spans.len() == detail.finished.len(),
            run: RunSummary::of(&detail.summary, monitors),
            spans,
        }
    }
}

impl Span {
    fn of(span: SpanData) -> Self {
        let parent = span.parent_span_id;
        let has_parent = parent != opentelemetry::trace::SpanId::INVALID;
        let attributes = span.attributes.into_iter();
        let links = span.links.links.iter();
        Span {
            trace_id: TraceId(span.span_context.trace_id().to_bytes()),
            span_id: SpanId(span.span_context.span_id().to_bytes()),
            parent_span_id: has_parent.then(|| SpanId(parent.to_bytes())),
            name: span.name.into_owned(),
            start: span.start_time,
            end: span.end_time,
            status: match span.status {
                Status::Unset => SpanStatus::Unset,
                Status::Ok => SpanStatus::Ok,
                Status::Error { description } => SpanStatus::Error(description.into_owned()),
            },
            attributes: attributes
                .map(|it| (it.key.to_string(), value_of(&it.value)))
                .collect(),
            events: span.events.events.into_iter().map(event_of).collect(),
            links: links.map(|link| link_of(&link.span_context)).collect(),
        }
    }
}

fn value_of(value: &opentelemetry::Value) -> Value {
    match value {
        opentelemetry::Value::Bool(truth) => Value::Bool(*truth),
        opentelemetry::Value::I64(number) => Value::Integer(*number),
        opentelemetry::Value::F64(number) => Value::Float(*number),
        // farspan makes no lists.
        other => Value::Text(other.to_string()),
    }
}

fn event_of(event: Event) -> SpanEvent {
    SpanEvent {
        time: event.timestamp,
        name: event.name.into_owned(),
    }
}

fn link_of(context: &SpanContext) -> Link {
    Link {
        trace_id: TraceId(context.trace_id().to_bytes()),
        span_id: SpanId(context.span_id().to_bytes()),
    }
}
