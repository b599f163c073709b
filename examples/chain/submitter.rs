//! What comes before a workflow: submits one and says so in a start event, which carries the context of the span that
//! it submits it in. The workflow's span is that span's child.
//!
//! `cargo run --example submitter`, with examples/chain/farspan.json.
#![allow(clippy::print_stdout, reason = "it is for people")]

mod export;

use export::{provider, setting};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanKind, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use serde_json::Value;
use std::collections::HashMap;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let api = setting("FARSPAN_API_BASE_URL", "http://127.0.0.1:8081");
    let redis = setting("FARSPAN_REDIS_URL", "redis://127.0.0.1:6399");
    let provider = provider("desk");
    let tracer = provider.tracer("submitter");
    let span = tracer.span_builder("submit").with_kind(SpanKind::Producer);
    let context = Context::new().with_span(span.start(&tracer));

    // The external system knows nothing of traces.
    let mut answer = ureq::post(format!("{api}/workflows")).send_empty()?;
    let workflow: Value = serde_json::from_reader(answer.body_mut().as_reader())?;
    let id = workflow["workflowId"].as_str().ok_or("no workflowId")?;
    let attribute = KeyValue::new("workflowId", id.to_owned());
    context.span().set_attribute(attribute);

    // `WorkflowId`, and from the propagator `traceparent` and `tracestate`.
    let mut event = HashMap::from([("WorkflowId".to_owned(), id.to_owned())]);
    TraceContextPropagator::new().inject_context(&context, &mut event);
    redis::cmd("XADD")
        .arg("event.workflow.started")
        .arg("*")
        .arg(&event)
        .exec(&mut redis::Client::open(redis)?.get_connection()?)?;
    println!("submitted {id}");
    context.span().end();
    provider.shutdown()?;
    Ok(())
}
