//! What comes after a workflow: waits for its finished event, and goes on in a span that is the child of the workflow's.
//!
//! `cargo run --example consumer -- 3` ends after three events, without the number after one.
#![allow(clippy::print_stdout, reason = "it is for people")]

mod export;

use export::{provider, setting};
use opentelemetry::KeyValue;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Span, SpanKind, Tracer, TracerProvider};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use serde_json::Value;
use std::collections::HashMap;
use std::error::Error;

const STREAM: &str = "event.workflow.finished";
const GROUP: &str = "reports";

/// What XREADGROUP answers: streams of entries of fields.
type Streams = Vec<(String, Vec<(String, HashMap<String, String>)>)>;

fn main() -> Result<(), Box<dyn Error>> {
    let count = std::env::args().nth(1).map_or(Ok(1), |it| it.parse())?;
    let redis = setting("FARSPAN_REDIS_URL", "redis://127.0.0.1:6399");
    let mut redis = redis::Client::open(redis)?.get_connection()?;
    let provider = provider("reports");
    let tracer = provider.tracer("consumer");

    // A group hears of what finished while nobody listened, too. It may be there already.
    let mut group = redis::cmd("XGROUP");
    group.arg("CREATE").arg(STREAM).arg(GROUP).arg("0");
    match group.arg("MKSTREAM").exec(&mut redis) {
        Err(error) if error.code() != Some("BUSYGROUP") => return Err(error.into()),
        _ => {}
    }
    for _ in 0..count {
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP")
            .arg(GROUP)
            .arg("consumer")
            .arg("COUNT")
            .arg(1);
        read.arg("BLOCK").arg(0).arg("STREAMS").arg(STREAM).arg(">");
        let streams: Streams = read.query(&mut redis)?;
        for (entry, fields) in streams.into_iter().flat_map(|(_, entries)| entries) {
            let message = fields.get("message").ok_or("no message")?;
            let event: Value = serde_json::from_str(message)?;
            let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            let (id, result) = (text("WorkflowId"), text("Result"));

            // `traceparent` and `tracestate` are fields of the entry: the context of the workflow's span.
            let workflow = TraceContextPropagator::new().extract(&fields);
            let span = tracer.span_builder("report").with_kind(SpanKind::Consumer);
            let mut span = span.start_with_context(&tracer, &workflow);
            span.set_attribute(KeyValue::new("workflowId", id.clone()));
            span.set_attribute(KeyValue::new("result", result.clone()));
            println!("{id} has finished: {result}");
            span.end();
            redis::cmd("XACK")
                .arg(STREAM)
                .arg(GROUP)
                .arg(entry)
                .exec(&mut redis)?;
        }
    }
    provider.shutdown()?;
    Ok(())
}
