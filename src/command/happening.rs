//! What `farspan trace` says about a workflow: as a line for people, or as a line of JSON, the definition `trace` in
//! `docs/output.schema.json`.

use super::json;
use crate::core::ids::TraceId;
use crate::core::snapshot::{Progress, StageView};
use crate::core::span::Span;
use crate::core::time::Wall;
use crate::syntax::text::escape;
use crate::terminal::line::Style;
use crate::terminal::waterfall;
use serde_json::{Value, json};
use std::collections::HashSet;

/// One thing that happened.
pub(super) enum Happening<'a> {
    /// A workflow is under watch.
    Watching { id: &'a str, trace_id: TraceId },
    /// The API does not find it.
    NotFound { id: &'a str, at: Wall },
    /// A status has changed: that of the stage, or without one that of the workflow.
    Status {
        id: &'a str,
        at: Wall,
        stage: Option<&'a StageView<'a>>,
        progress: Progress<&'a str>,
    },
    /// farspan has given it up.
    GivenUp { id: &'a str, why: &'a str },
    /// A trace is whole.
    Trace {
        trace_id: TraceId,
        spans: &'a [Span],
    },
    /// All is over.
    End(Totals),
}

/// How it went.
pub(super) struct Totals {
    /// For people.
    pub(super) text: String,
    pub(super) succeeded: usize,
    pub(super) failed: usize,
    pub(super) unknown: usize,
    /// Why it is not known of some how they ended.
    pub(super) why: Option<String>,
    pub(super) spans_delivered: u64,
    pub(super) spans_refused: u64,
    pub(super) spans_undelivered: u64,
}

impl Happening<'_> {
    /// For people.
    pub(super) fn text(&self, style: Style) -> String {
        match self {
            Happening::Watching { id, trace_id } => format!("{}: trace {trace_id}", escape(id)),
            Happening::NotFound { id, at } => {
                format!(
                    "{}  {}: the API does not know it",
                    clock_time(*at),
                    escape(id)
                )
            }
            Happening::Status {
                id,
                at,
                stage,
                progress,
            } => {
                let stage = stage.map_or(String::new(), |stage| match stage.attempt {
                    0 | 1 => format!("{}: ", escape(stage.kind)),
                    attempt => format!("{} (attempt {attempt}): ", escape(stage.kind)),
                });
                let status = status_of(*progress);
                format!("{}  {}: {stage}{status}", clock_time(*at), escape(id))
            }
            Happening::GivenUp { id, why } => format!("{}: {why}", escape(id)),
            Happening::Trace { spans, .. } => waterfall::render(spans, &HashSet::new(), style),
            Happening::End(end) => end.text.clone(),
        }
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        match self {
            Happening::Watching { id, trace_id } => {
                json!({"event": "watching", "workflow_id": id, "trace_id": trace_id.to_string()})
            }
            Happening::NotFound { id, at } => {
                json!({"event": "not_found", "time": at.to_string(), "workflow_id": id})
            }
            Happening::Status {
                id,
                at,
                stage,
                progress,
            } => json!({
                "event": "status",
                "time": at.to_string(),
                "workflow_id": id,
                "stage": stage.map(|stage| stage.kind),
                "path": stage.map(|stage| stage.path),
                "attempt": stage.map(|stage| stage.attempt),
                "status": progress.status,
                "state": progress.state.as_str(),
            }),
            Happening::GivenUp { id, why } => {
                json!({"event": "given_up", "workflow_id": id, "why": why})
            }
            Happening::Trace { trace_id, spans } => {
                let spans: Vec<Value> = spans.iter().map(|span| json::span(span, false)).collect();
                json!({"event": "trace", "trace_id": trace_id.to_string(), "spans": spans})
            }
            Happening::End(end) => json!({
                "event": "end",
                "succeeded": end.succeeded,
                "failed": end.failed,
                "unknown": end.unknown,
                "why": end.why,
                "spans_delivered": end.spans_delivered,
                "spans_refused": end.spans_refused,
                "spans_undelivered": end.spans_undelivered,
            }),
        }
    }
}

/// A status with what it means.
pub(super) fn status_of(progress: Progress<&str>) -> String {
    let meaning = progress.state.as_str();
    match progress.status {
        Some(status) if status.eq_ignore_ascii_case(meaning) => meaning.to_owned(),
        Some(status) => format!("{meaning} ({})", escape(status)),
        None => meaning.to_owned(),
    }
}

/// The time of the day, UTC.
fn clock_time(at: Wall) -> String {
    let whole = at.to_string();
    match whole.get(11..19) {
        Some(time) => format!("{time}Z"),
        None => whole,
    }
}
