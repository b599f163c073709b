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
use std::collections::HashMap;
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

/// What stands around the spans of every request: whose they are, and who tells of them.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Encoded, each once; the first is the process's.
    resources: Vec<Vec<u8>>,
    /// The monitors that have another, and which.
    of_monitors: HashMap<Box<str>, usize>,
    scope: Vec<u8>,
}

// Field numbers of the messages that the envelope nests.
const REQUEST_RESOURCE_SPANS: u32 = 1;
const RESOURCE_SPANS_RESOURCE: u32 = 1;
const RESOURCE_SPANS_SCOPE_SPANS: u32 = 2;
const SCOPE_SPANS_SCOPE: u32 = 1;
const SCOPE_SPANS_SPANS: u32 = 2;

impl Envelope {
    /// The envelope of the process's resource.
    pub fn new(resource: &[(String, String)]) -> Self {
        let scope = common::v1::InstrumentationScope {
            name: SCOPE.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            ..Default::default()
        };
        Envelope {
            resources: vec![encode_resource(resource)],
            of_monitors: HashMap::new(),
            scope: scope.encode_to_vec(),
        }
    }

    /// Has this monitor's spans under a resource of their own.
    pub fn add(&mut self, monitor: &str, resource: &[(String, String)]) {
        let encoded = encode_resource(resource);
        let known = self.resources.iter().position(|known| *known == encoded);
        let index = known.unwrap_or_else(|| {
            self.resources.push(encoded);
            self.resources.len() - 1
        });
        self.of_monitors.insert(monitor.into(), index);
    }

    /// The process's for what another configuration has left, of a monitor that there is no more.
    fn resource_of(&self, span: &EncodedSpan) -> usize {
        let known = |monitor: &Arc<str>| self.of_monitors.get(&**monitor).copied();
        span.monitor.as_ref().and_then(known).unwrap_or(0)
    }

    /// An `ExportTraceServiceRequest` with these spans: by resource, in the order in which the first of each stands,
    /// and within one in theirs.
    pub fn request(&self, spans: &[EncodedSpan]) -> Vec<u8> {
        let mut groups: Vec<(usize, Vec<&EncodedSpan>)> = Vec::new();
        for span in spans {
            let resource = self.resource_of(span);
            match groups.iter_mut().find(|(known, _)| *known == resource) {
                Some((_, group)) => group.push(span),
                None => groups.push((resource, vec![span])),
            }
        }
        let lens = groups.iter().map(|(resource, spans)| {
            let (len, _) = self.resource_spans_len(*resource, spans);
            field_len(REQUEST_RESOURCE_SPANS, len)
        });
        let mut request = Vec::with_capacity(lens.sum());
        for (resource, spans) in groups {
            self.put_resource_spans(&mut request, resource, &spans);
        }
        request
    }

    fn put_resource_spans(&self, request: &mut Vec<u8>, resource: usize, spans: &[&EncodedSpan]) {
        let (resource_spans, scope_spans) = self.resource_spans_len(resource, spans);
        open_field(request, REQUEST_RESOURCE_SPANS, resource_spans);
        put_field(request, RESOURCE_SPANS_RESOURCE, &self.resources[resource]);
        open_field(request, RESOURCE_SPANS_SCOPE_SPANS, scope_spans);
        put_field(request, SCOPE_SPANS_SCOPE, &self.scope);
        for span in spans {
            put_field(request, SCOPE_SPANS_SPANS, &span.bytes);
        }
    }

    /// The length of a `ResourceSpans`, and of the `ScopeSpans` in it.
    fn resource_spans_len(&self, resource: usize, spans: &[&EncodedSpan]) -> (usize, usize) {
        let spans = spans.iter();
        let spans_len: usize = spans
            .map(|s| field_len(SCOPE_SPANS_SPANS, s.bytes.len()))
            .sum();
        let scope_spans = field_len(SCOPE_SPANS_SCOPE, self.scope.len()) + spans_len;
        let resource_len = self.resources[resource].len();
        let resource_spans = field_len(RESOURCE_SPANS_RESOURCE, resource_len)
            + field_len(RESOURCE_SPANS_SCOPE_SPANS, scope_spans);
        (resource_spans, scope_spans)
    }
}

fn encode_resource(attributes: &[(String, String)]) -> Vec<u8> {
    let attribute = |(key, value): &(String, String)| common::v1::KeyValue {
        key: key.clone(),
        value: Some(common::v1::AnyValue {
            value: Some(common::v1::any_value::Value::StringValue(value.clone())),
        }),
        ..Default::default()
    };
    let resource = Resource {
        attributes: attributes.iter().map(attribute).collect(),
        ..Default::default()
    };
    resource.encode_to_vec()
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
            service: None,
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

    fn service(name: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let pairs = [("service.name", name)];
        let pairs = pairs.iter().chain(more);
        let pairs = pairs.map(|(key, value)| (key.to_string(), value.to_string()));
        pairs.collect()
    }

    fn encoded(sequence: u64, monitor: Option<&str>, bytes: Arc<[u8]>) -> EncodedSpan {
        EncodedSpan {
            sequence,
            run: ids::RunKey::of("default", "w"),
            monitor: monitor.map(Arc::from),
            bytes,
        }
    }

    /// Each resource's `service.name`, with the names of its spans.
    fn told(request: &ExportTraceServiceRequest) -> Vec<(String, Vec<String>)> {
        let told = |resource_spans: &proto::ResourceSpans| {
            let [scope_spans] = &resource_spans.scope_spans[..] else {
                panic!("one scope");
            };
            assert_eq!(scope_spans.scope.as_ref().unwrap().name, "farspan");
            let attribute = &resource_spans.resource.as_ref().unwrap().attributes[0];
            assert_eq!(attribute.key, "service.name");
            let value = attribute.value.clone().unwrap().value;
            let Some(common::v1::any_value::Value::StringValue(name)) = value else {
                panic!("{attribute:?}");
            };
            let spans = scope_spans.spans.iter();
            (name, spans.map(|span| span.name.clone()).collect())
        };
        request.resource_spans.iter().map(told).collect()
    }

    #[test]
    fn each_span_goes_under_the_resource_of_its_monitor() {
        let mut envelope = Envelope::new(&service("farspan", &[]));
        envelope.add("etl", &service("etl", &[("team", "risk")]));
        envelope.add("ci", &service("ci", &[]));
        envelope.add("etl too", &service("etl", &[("team", "risk")]));
        envelope.add("same as the process", &service("farspan", &[]));
        let monitors = [
            Some("ci"),
            None,
            Some("etl"),
            Some("ci"),
            Some("etl too"),
            Some("was removed"),
            Some("same as the process"),
        ];
        let spans = monitors.iter().enumerate().map(|(n, monitor)| {
            let name = format!("{n}").into();
            let bytes = encode(&Span { name, ..span() });
            encoded(n as u64, *monitor, bytes)
        });
        let spans: Vec<EncodedSpan> = spans.collect();
        let request = ExportTraceServiceRequest::decode(&*envelope.request(&spans)).unwrap();
        let expected = [("ci", "03"), ("farspan", "156"), ("etl", "24")];
        let told = told(&request);
        let told: Vec<(&str, String)> = (told.iter())
            .map(|(name, spans)| (name.as_str(), spans.concat()))
            .collect();
        assert_eq!(told, expected.map(|(name, spans)| (name, spans.to_owned())));
    }

    #[test]
    fn a_request_is_what_prost_would_have_made_of_it() {
        arbtest::arbtest(|u| {
            let mut envelope = Envelope::new(&service("farspan", &[]));
            let names = ["a", "b", "c"];
            for name in names {
                // Around the lengths at which a varint grows.
                let long = "x".repeat(*u.choose(&[0, 1, 80, 127, 128, 17_000])?);
                let more = [("team", long.as_str())];
                envelope.add(name, &service(name, &more[..u.int_in_range(0..=1)?]));
            }
            let mut spans = Vec::new();
            for sequence in 0..*u.choose(&[1, 2, 5, 300])? {
                let monitor = u.choose(&[None, Some("a"), Some("b"), Some("c"), Some("gone")])?;
                let long = "x".repeat(*u.choose(&[1, 100, 17_000])?);
                let name = format!("{sequence} {long}").into();
                let bytes = encode(&Span { name, ..span() });
                spans.push(encoded(sequence, *monitor, bytes));
            }
            let bytes = envelope.request(&spans);
            let request = ExportTraceServiceRequest::decode(&*bytes).unwrap();
            assert!(
                request.encode_to_vec() == bytes,
                "prost encodes it otherwise"
            );
            assert_eq!(bytes.len(), bytes.capacity(), "it was measured");
            let groups = told(&request);
            let mut count = 0;
            for (name, told) in &groups {
                let mine = spans.iter().filter(|span| {
                    let named = span.monitor.as_deref().filter(|name| names.contains(name));
                    named.unwrap_or("farspan") == name
                });
                let mine = mine.map(|span| proto::Span::decode(&*span.bytes).unwrap().name);
                assert!(mine.eq(told.iter().cloned()), "all of {name}, in order");
                count += told.len();
            }
            assert_eq!(count, spans.len());
            Ok(())
        });
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
