//! Finished spans as OTLP: core [`Span`] -> `SpanData` -> protobuf, and the envelope around them.
//!
//! A span is encoded once, when it is finished. A request is those bytes within an envelope of resource and scope, put
//! together anew for each attempt: so a span that is sent again, in whichever company, is the same to the byte.
//!
//! Pure: no I/O. <https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md>

use crate::core::event::Value;
use crate::core::outbox::EncodedSpan;
use crate::core::span::{self, Span, SpanEvent, SpanStatus};
use crate::core::time::Wall;
use opentelemetry::trace::{
    Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::common;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as proto;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The name of the instrumentation scope.
pub const SCOPE: &str = "farspan";

/// The span as it goes onto the wire: one `opentelemetry.proto.trace.v1.Span`.
pub fn encode(span: &Span) -> Arc<[u8]> {
    let mut sent = proto::Span::from(span_data(span));
    sent.trace_state = trace_state(span.trace_state.as_deref());
    for (sent, link) in sent.links.iter_mut().zip(&span.links) {
        sent.trace_state = trace_state(link.context.trace_state.as_deref());
    }
    sent.encode_to_vec().into()
}

/// As it came. The SDK's type would put it together anew, and refuse some of what the specification allows.
fn trace_state(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

/// The span as the SDK's exporters know it, but for the trace state.
fn span_data(span: &Span) -> SpanData {
    let mut events = SpanEvents::default();
    events.events = span.events.iter().map(event).collect();
    events.dropped_count = span.dropped_events;
    let mut links = SpanLinks::default();
    links.links = span.links.iter().map(link).collect();
    links.dropped_count = span.dropped_links;
    SpanData {
        span_context: SpanContext::new(
            TraceId::from_bytes(span.trace_id.to_bytes()),
            SpanId::from_bytes(span.span_id.to_bytes()),
            TraceFlags::new(span.trace_flags),
            false,
            TraceState::NONE,
        ),
        parent_span_id: match span.parent {
            Some(parent) => SpanId::from_bytes(parent.span_id.to_bytes()),
            None => SpanId::INVALID,
        },
        parent_span_is_remote: span.parent.is_some_and(|p| p.remote),
        span_kind: SpanKind::Internal,
        name: span.name.to_string().into(),
        start_time: system_time(span.start),
        end_time: system_time(span.end),
        attributes: span.attributes.iter().map(attribute).collect(),
        dropped_attributes_count: span.dropped_attributes,
        events,
        links,
        status: match &span.status {
            SpanStatus::Unset => Status::Unset,
            SpanStatus::Ok => Status::Ok,
            SpanStatus::Error(message) => Status::error(message.to_string()),
        },
        instrumentation_scope: InstrumentationScope::builder(SCOPE).build(),
    }
}

fn attribute((key, value): &(Box<str>, Value)) -> KeyValue {
    let value = match value {
        Value::Str(text) => opentelemetry::Value::String(text.to_string().into()),
        Value::Int(number) => opentelemetry::Value::I64(*number),
        Value::Float(number) => opentelemetry::Value::F64(*number),
        Value::Bool(truth) => opentelemetry::Value::Bool(*truth),
    };
    KeyValue::new(key.to_string(), value)
}

fn event(event: &SpanEvent) -> Event {
    Event::new(event.name.to_string(), system_time(event.time), vec![], 0)
}

fn link(link: &span::Link) -> Link {
    let context = &link.context;
    let context = SpanContext::new(
        TraceId::from_bytes(context.trace_id.to_bytes()),
        SpanId::from_bytes(context.span_id.to_bytes()),
        TraceFlags::new(context.trace_flags),
        link.remote,
        TraceState::NONE,
    );
    Link::new(context, vec![], 0)
}

/// OTLP's times begin in 1970.
fn system_time(wall: Wall) -> SystemTime {
    let ns = u64::try_from(wall.as_unix_ns()).unwrap_or(0);
    UNIX_EPOCH + Duration::from_nanos(ns)
}

/// What stands around the spans of every request: who we are.
#[derive(Clone, Debug)]
pub struct Envelope {
    resource: Vec<u8>,
    scope: Vec<u8>,
}

// Field numbers of the messages that the envelope nests.
const REQUEST_RESOURCE_SPANS: u32 = 1;
const RESOURCE_SPANS_RESOURCE: u32 = 1;
const RESOURCE_SPANS_SCOPE_SPANS: u32 = 2;
const SCOPE_SPANS_SCOPE: u32 = 1;
const SCOPE_SPANS_SPANS: u32 = 2;

impl Envelope {
    /// The envelope of this resource.
    pub fn new(resource: &[(String, String)]) -> Self {
        let attribute = |(key, value): &(String, String)| common::v1::KeyValue {
            key: key.clone(),
            value: Some(common::v1::AnyValue {
                value: Some(common::v1::any_value::Value::StringValue(value.clone())),
            }),
            ..Default::default()
        };
        let resource = Resource {
            attributes: resource.iter().map(attribute).collect(),
            ..Default::default()
        };
        let scope = common::v1::InstrumentationScope {
            name: SCOPE.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            ..Default::default()
        };
        Envelope {
            resource: resource.encode_to_vec(),
            scope: scope.encode_to_vec(),
        }
    }

    /// An `ExportTraceServiceRequest` with these spans.
    pub fn request(&self, spans: &[EncodedSpan]) -> Vec<u8> {
        let spans_len: usize = spans
            .iter()
            .map(|s| field_len(SCOPE_SPANS_SPANS, s.bytes.len()))
            .sum();
        let scope_spans = field_len(SCOPE_SPANS_SCOPE, self.scope.len()) + spans_len;
        let resource_spans = field_len(RESOURCE_SPANS_RESOURCE, self.resource.len())
            + field_len(RESOURCE_SPANS_SCOPE_SPANS, scope_spans);
        let mut request = Vec::with_capacity(field_len(REQUEST_RESOURCE_SPANS, resource_spans));
        open_field(&mut request, REQUEST_RESOURCE_SPANS, resource_spans);
        put_field(&mut request, RESOURCE_SPANS_RESOURCE, &self.resource);
        open_field(&mut request, RESOURCE_SPANS_SCOPE_SPANS, scope_spans);
        put_field(&mut request, SCOPE_SPANS_SCOPE, &self.scope);
        for span in spans {
            put_field(&mut request, SCOPE_SPANS_SPANS, &span.bytes);
        }
        request
    }
}

fn field_len(number: u32, len: usize) -> usize {
    key_len(number) + encoded_len_varint(len as u64) + len
}

fn open_field(message: &mut Vec<u8>, number: u32, len: usize) {
    encode_key(number, WireType::LengthDelimited, message);
    encode_varint(len as u64, message);
}

fn put_field(message: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    open_field(message, number, bytes.len());
    message.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::{self, TraceContext};
    use crate::core::span::Parent;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

    fn span() -> Span {
        let context = TraceContext::from_w3c(
            "00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-03",
            Some("vendor=1,other=2"),
        )
        .unwrap();
        Span {
            trace_id: context.trace_id,
            span_id: ids::SpanId::from_bytes([7; 8]).unwrap(),
            parent: Some(Parent {
                span_id: context.span_id,
                remote: true,
            }),
            trace_flags: context.trace_flags,
            trace_state: context.trace_state.clone(),
            name: "DataLoader".into(),
            start: Wall::parse_rfc3339("2024-07-05T06:57:58.0000001Z").unwrap(),
            end: Wall::parse_rfc3339("2024-07-05T07:01:02.7654321Z").unwrap(),
            status: SpanStatus::Error("no such file".into()),
            attributes: vec![
                ("type".into(), "DataLoader".into()),
                ("count".into(), Value::Int(-7)),
                ("share".into(), Value::Float(0.5)),
                ("farspan.incomplete".into(), Value::Bool(true)),
            ],
            dropped_attributes: 1,
            events: vec![SpanEvent {
                time: Wall::parse_rfc3339("2024-07-05T06:58:00Z").unwrap(),
                name: "Processing".into(),
            }],
            dropped_events: 2,
            links: vec![link(context.clone(), true), link(context, false)],
            dropped_links: 3,
        }
    }

    fn link(context: TraceContext, remote: bool) -> span::Link {
        span::Link { context, remote }
    }

    #[test]
    fn every_field_of_a_span_reaches_the_wire() {
        let decoded = proto::Span::decode(&*encode(&span())).unwrap();
        expect_test::expect![[r#"
            Span {
                trace_id: [
                    85,
                    49,
                    157,
                    12,
                    74,
                    68,
                    162,
                    204,
                    62,
                    240,
                    46,
                    67,
                    17,
                    117,
                    40,
                    203,
                ],
                span_id: [
                    7,
                    7,
                    7,
                    7,
                    7,
                    7,
                    7,
                    7,
                ],
                trace_state: "vendor=1,other=2",
                parent_span_id: [
                    184,
                    126,
                    154,
                    16,
                    26,
                    9,
                    7,
                    53,
                ],
                flags: 771,
                name: "DataLoader",
                kind: Internal,
                start_time_unix_nano: 1720162678000000100,
                end_time_unix_nano: 1720162862765432100,
                attributes: [
                    KeyValue {
                        key: "type",
                        value: Some(
                            AnyValue {
                                value: Some(
                                    StringValue(
                                        "DataLoader",
                                    ),
                                ),
                            },
                        ),
                        key_strindex: 0,
                    },
                    KeyValue {
                        key: "count",
                        value: Some(
                            AnyValue {
                                value: Some(
                                    IntValue(
                                        -7,
                                    ),
                                ),
                            },
                        ),
                        key_strindex: 0,
                    },
                    KeyValue {
                        key: "share",
                        value: Some(
                            AnyValue {
                                value: Some(
                                    DoubleValue(
                                        0.5,
                                    ),
                                ),
                            },
                        ),
                        key_strindex: 0,
                    },
                    KeyValue {
                        key: "farspan.incomplete",
                        value: Some(
                            AnyValue {
                                value: Some(
                                    BoolValue(
                                        true,
                                    ),
                                ),
                            },
                        ),
                        key_strindex: 0,
                    },
                ],
                dropped_attributes_count: 1,
                events: [
                    Event {
                        time_unix_nano: 1720162680000000000,
                        name: "Processing",
                        attributes: [],
                        dropped_attributes_count: 0,
                    },
                ],
                dropped_events_count: 2,
                links: [
                    Link {
                        trace_id: [
                            85,
                            49,
                            157,
                            12,
                            74,
                            68,
                            162,
                            204,
                            62,
                            240,
                            46,
                            67,
                            17,
                            117,
                            40,
                            203,
                        ],
                        span_id: [
                            184,
                            126,
                            154,
                            16,
                            26,
                            9,
                            7,
                            53,
                        ],
                        trace_state: "vendor=1,other=2",
                        attributes: [],
                        dropped_attributes_count: 0,
                        flags: 771,
                    },
                    Link {
                        trace_id: [
                            85,
                            49,
                            157,
                            12,
                            74,
                            68,
                            162,
                            204,
                            62,
                            240,
                            46,
                            67,
                            17,
                            117,
                            40,
                            203,
                        ],
                        span_id: [
                            184,
                            126,
                            154,
                            16,
                            26,
                            9,
                            7,
                            53,
                        ],
                        trace_state: "vendor=1,other=2",
                        attributes: [],
                        dropped_attributes_count: 0,
                        flags: 259,
                    },
                ],
                dropped_links_count: 3,
                status: Some(
                    Status {
                        message: "no such file",
                        code: Error,
                    },
                ),
            }
        "#]]
        .assert_debug_eq(&decoded);
    }

    /// The SDK's own type refuses the first two, which the specification's second level allows, and changes the third.
    #[test]
    fn a_trace_state_is_passed_on_as_it_came() {
        const PARENT: &str = "00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-01";
        let empty_members = format!("{}a=1", ",".repeat(40));
        for state in [
            "a@b@c=1",
            "a@a-system-of-a-long-name=1",
            "a=1 ,\tb=2",
            &empty_members,
        ] {
            let context = TraceContext::from_w3c(PARENT, Some(state)).unwrap();
            let span = Span {
                trace_state: context.trace_state.clone(),
                links: vec![link(context, true)],
                ..span()
            };
            let sent = proto::Span::decode(&*encode(&span)).unwrap();
            assert_eq!(sent.trace_state, state);
            assert_eq!(sent.links[0].trace_state, state);
        }
    }

    #[test]
    fn a_request_is_what_prost_would_have_made_of_it() {
        let resource = [("service.name".to_owned(), "farspan".to_owned())];
        let envelope = Envelope::new(&resource);
        for count in [1, 2, 300] {
            let encoded = |sequence| EncodedSpan {
                sequence,
                run: ids::RunKey::of("default", "w"),
                bytes: encode(&span()),
            };
            let spans: Vec<_> = (0..count).map(encoded).collect();
            let bytes = envelope.request(&spans);
            let request = ExportTraceServiceRequest::decode(&*bytes).unwrap();
            assert_eq!(request.encode_to_vec(), bytes);
            let [resource_spans] = &request.resource_spans[..] else {
                panic!("one resource");
            };
            let attributes = &resource_spans.resource.as_ref().unwrap().attributes;
            assert_eq!(attributes[0].key, "service.name");
            let [scope_spans] = &resource_spans.scope_spans[..] else {
                panic!("one scope");
            };
            assert_eq!(scope_spans.scope.as_ref().unwrap().name, "farspan");
            let expected = proto::Span::decode(&*spans[0].bytes).unwrap();
            assert_eq!(scope_spans.spans.len() as u64, count);
            assert!(scope_spans.spans.iter().all(|s| *s == expected));
        }
    }

    #[test]
    fn a_span_before_1970_is_put_at_its_beginning() {
        let early = Span {
            start: Wall::from_unix_ns(i64::MIN),
            end: Wall::from_unix_ns(-1),
            ..span()
        };
        let decoded = proto::Span::decode(&*encode(&early)).unwrap();
        assert_eq!(
            (decoded.start_time_unix_nano, decoded.end_time_unix_nano),
            (0, 0)
        );
    }
}
