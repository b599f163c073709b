//! The report of a probe as JSON: the definition `probe` in `docs/output.schema.json`.

use super::report::{instant_of, trace_of};
use super::{Findings, ProbedMonitor};
use crate::api::poller::Exchange;
use crate::command::json;
use crate::core::snapshot::{Snapshot, StageView};
use crate::mapping::Missing;
use serde_json::{Value, json};

/// The whole report.
pub(super) fn of(findings: &Findings, subject: &ProbedMonitor) -> Value {
    let snapshot = findings.reading.as_ref().map(|reading| &reading.snapshot);
    let oddities = findings.oddities(&subject.mapping);
    let oddities: Vec<String> = oddities.iter().map(ToString::to_string).collect();
    json!({
        "monitor": subject.name,
        "workflow_id": findings.id,
        "fits": findings.fits,
        "requests": findings.exchanges.iter().map(request).collect::<Vec<_>>(),
        "snapshot": snapshot.map(snapshot_json),
        "trace": snapshot.map(|snapshot| trace(findings, subject, snapshot)),
        "oddities": oddities,
        "led_nowhere": findings.missing.iter().map(missing).collect::<Vec<_>>(),
        "notes": findings.notes,
        "failures": findings.failures,
    })
}

fn request(exchange: &Exchange) -> Value {
    json!({
        "name": exchange.request,
        "method": exchange.method,
        "url": exchange.url,
        "status": exchange.status,
        "bytes": exchange.bytes,
        "took_s": exchange.took.as_secs_f64(),
    })
}

fn snapshot_json(snapshot: &Snapshot) -> Value {
    let mut value = json::progress(snapshot.progress.view());
    value["workflow_id"] = json!(snapshot.workflow_id);
    value["attempt"] = json!(snapshot.attempt);
    value["url"] = json!(snapshot.url);
    value["attributes"] = json::attributes(&snapshot.attributes);
    let stages: Vec<Value> = snapshot.stages.iter().map(|it| stage(&it)).collect();
    value["stages"] = stages.into();
    value
}

fn stage(stage: &StageView<'_>) -> Value {
    let mut value = json::progress(stage.progress);
    value["path"] = json!(stage.path);
    value["parent"] = json!(stage.parent);
    value["kind"] = json!(stage.kind);
    value["attempt"] = json!(stage.attempt);
    value["id"] = json!(stage.id);
    value["url"] = json!(stage.url);
    value["attributes"] = json::attributes(stage.attributes);
    value
}

/// The trace that the answer would give, with the spans that would still be open.
fn trace(findings: &Findings, subject: &ProbedMonitor, snapshot: &Snapshot) -> Value {
    let at = instant_of(findings, snapshot);
    let (spans, running) = trace_of(subject, &findings.id, snapshot, at);
    let all: Vec<Value> = spans
        .iter()
        .map(|span| json::span(span, running.contains(&span.span_id)))
        .collect();
    json!({"trace_id": spans.first().map(|span| span.trace_id.to_string()), "spans": all})
}

fn missing(missing: &Missing) -> Value {
    json!({
        "key": missing.place.to_string(),
        "pointer": missing.pointer,
        "request": missing.request,
    })
}
