//! A log record: a status event that leaves at once, rather than with its span.

use super::event::Value;
use super::ids::{SpanId, TraceId};
use super::span::Service;
use super::time::Wall;
use std::sync::Arc;

/// A status event as a log record. It is made in the turn that observes the event, and never changes.
/// <https://opentelemetry.io/docs/specs/otel/logs/data-model/>
#[derive(Clone, Debug, PartialEq)]
pub struct LogRecord {
    /// The trace of the run.
    pub trace_id: TraceId,
    /// The span of the workflow or the stage. It is exported at its end.
    pub span_id: SpanId,
    /// The W3C trace flags of that span's context.
    pub trace_flags: u8,
    /// When the status was observed, in the API's clock.
    pub time: Wall,
    /// `Error` for a status that says that something failed, else `Info`.
    pub severity: Severity,
    /// For people: what has the status, the status, and its error.
    pub body: Box<str>,
    /// Keys are unique.
    pub attributes: Vec<(Box<str>, Value)>,
    /// How many attributes a limit cut off.
    pub dropped_attributes: u32,
    /// The service of the record, if it is not farspan itself.
    pub service: Option<Arc<Service>>,
}

/// How grave it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Work goes on, or has ended well.
    Info,
    /// Work has failed.
    Error,
}
