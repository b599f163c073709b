//! What `probe` and `trace` have in common in their JSON: times in RFC 3339, what is not there as null.

use crate::core::event::Value as Attribute;
use crate::core::snapshot::Progress;
use crate::core::span::{Span, SpanStatus};
use crate::core::time::Wall;
use serde_json::{Map, Value, json};

pub(super) fn progress(progress: Progress<&str>) -> Value {
    let time = |time: Option<Wall>| time.map(|time| time.to_string());
    json!({
        "status": progress.status,
        "state": progress.state.as_str(),
        "queued": time(progress.queued),
        "started": time(progress.start),
        "ended": time(progress.end),
        "error": progress.error,
    })
}

pub(super) fn attributes(attributes: &[(Box<str>, Attribute)]) -> Value {
    let value = |attribute: &Attribute| match attribute {
        Attribute::Str(text) => json!(text),
        Attribute::Int(number) => json!(number),
        Attribute::Float(number) => json!(number),
        Attribute::Bool(truth) => json!(truth),
    };
    let members = attributes.iter();
    Value::Object(
        members
            .map(|(name, it)| (name.to_string(), value(it)))
            .collect::<Map<_, _>>(),
    )
}

/// A span that is open has no end and no result: those that it has are of a workflow that is given up at the time of the
/// answer.
pub(super) fn span(span: &Span, is_open: bool) -> Value {
    let (status, error) = match &span.status {
        _ if is_open => ("unset", None),
        SpanStatus::Unset => ("unset", None),
        SpanStatus::Ok => ("ok", None),
        SpanStatus::Error(why) => ("error", Some(why)),
    };
    let events: Vec<Value> = (span.events.iter())
        .map(|event| json!({"time": event.time.to_string(), "name": *event.name}))
        .collect();
    let is_result = |name: &str| name.ends_with(".result") || name == "error.type";
    let mut attributes = attributes(&span.attributes);
    if let Some(attributes) = attributes.as_object_mut().filter(|_| is_open) {
        attributes.retain(|name, _| !is_result(name));
    }
    json!({
        "span_id": span.span_id.to_string(),
        "parent_span_id": span.parent.map(|parent| parent.span_id.to_string()),
        "name": span.name,
        "start": span.start.to_string(),
        "end": (!is_open).then(|| span.end.to_string()),
        "status": status,
        "error": error,
        "attributes": attributes,
        "events": events,
    })
}
