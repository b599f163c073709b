//! A trace context, `traceparent` in the first line and `tracestate` in the second: what is accepted reads back, and
//! reaches the wire as OpenTelemetry reads it.
#![no_main]

use farspan::core::ids::TraceContext;
use farspan::core::limits;
use farspan::core::span::{Link, Parent, Span, SpanStatus};
use farspan::core::time::Wall;
use farspan::deliver::otlp;
use libfuzzer_sys::fuzz_target;
use opentelemetry::trace::TraceState;
use opentelemetry_proto::tonic::trace::v1 as proto;
use prost::Message;

fuzz_target!(|text: &str| {
    let (parent, state) = match text.split_once('\n') {
        Some((parent, state)) => (parent, Some(state)),
        None => (text, None),
    };
    let context = TraceContext::from_w3c(parent, state);
    let alone = TraceContext::from_w3c(parent, None);
    assert_eq!(context.is_some(), alone.is_some());
    let Some(context) = context else { return };
    assert!(parent.contains(&format!("{}-{}-", context.trace_id, context.span_id)));
    let written = format!(
        "00-{}-{}-{:02x}",
        context.trace_id, context.span_id, context.trace_flags
    );
    let kept = context.trace_state.as_deref();
    assert_eq!(
        TraceContext::from_w3c(&written, kept).as_ref(),
        Some(&context)
    );
    if let Some(kept) = kept {
        assert!(state.is_some_and(|state| state.contains(kept)));
        assert!((1..=limits::TRACE_STATE_BYTES_MAX).contains(&kept.len()));
        let members = kept
            .split(',')
            .map(|member| member.trim_matches([' ', '\t']));
        let members = members.filter(|member| !member.is_empty()).count();
        assert!((1..=32).contains(&members), "{kept:?}");
    }
    reaches_the_wire(&context);
});

fn reaches_the_wire(context: &TraceContext) {
    let span = Span {
        trace_id: context.trace_id,
        span_id: context.span_id,
        parent: Some(Parent {
            span_id: context.span_id,
            remote: true,
        }),
        trace_flags: context.trace_flags,
        trace_state: context.trace_state.clone(),
        name: "Workflow".into(),
        start: Wall::from_unix_ns(0),
        end: Wall::from_unix_ns(0),
        status: SpanStatus::Unset,
        attributes: Vec::new(),
        dropped_attributes: 0,
        events: Vec::new(),
        dropped_events: 0,
        links: vec![Link {
            context: context.clone(),
            remote: true,
        }],
        dropped_links: 0,
        service: None,
    };
    let sent = proto::Span::decode(&*otlp::encode(&span)).unwrap();
    let state = context.trace_state.as_deref().unwrap_or_default();
    // As OpenTelemetry's own type reads it.
    let state = state.parse::<TraceState>().unwrap_or_default().header();
    assert_eq!(sent.trace_state, state);
    assert_eq!(sent.links[0].trace_state, state);
    assert_eq!(sent.trace_id, context.trace_id.to_bytes());
    assert_eq!(sent.parent_span_id, context.span_id.to_bytes());
    assert_eq!(sent.flags & 0xff, u32::from(context.trace_flags));
}
