//! Finished spans as OTLP: core [`Span`] -> `SpanData` -> protobuf, and back to `SpanData` for the exporter. Log records as
//! OTLP: core [`LogRecord`] -> protobuf.
//!
//! ```text
//! Span -encode-> opentelemetry.proto.trace.v1.Span (stored, waits) -decode-> SpanData -exporter-> the same bytes
//! ```
//!
//! A span is encoded once, when it is finished, and these bytes are what the outbox and the store keep. The exporter
//! encodes what [`decode`] returns, and a property test holds it to the stored bytes: a span that is sent again is the
//! same to the byte.
//!
//! Pure: no I/O. <https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md>

use crate::core::event::Value;
use crate::core::log_record::{LogRecord, Severity};
use crate::core::outbox::OutboxItem;
use crate::core::span::{self, Span, SpanEvent, SpanStatus};
use crate::core::time::Wall;
use opentelemetry::trace::{
    Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common;
use opentelemetry_proto::tonic::logs::v1 as logs;
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::tonic::trace::v1 as proto;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use prost::Message;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The name of the instrumentation scope.
pub const SCOPE: &str = "farspan";
/// The event name of each log record: all are of one kind.
const EVENT_NAME: &str = "farspan.status";

/// The span as it is stored and sent: one `opentelemetry.proto.trace.v1.Span`.
pub fn encode(span: &Span) -> Arc<[u8]> {
    proto::Span::from(span_data(span)).encode_to_vec().into()
}

/// The log record as it is stored and sent: one `opentelemetry.proto.logs.v1.LogRecord`.
pub fn encode_log_record(record: &LogRecord) -> Arc<[u8]> {
    let (number, text) = match record.severity {
        Severity::Info => (logs::SeverityNumber::Info, "INFO"),
        Severity::Error => (logs::SeverityNumber::Error, "ERROR"),
    };
    let time = u64::try_from(record.time.as_unix_ns()).unwrap_or(0);
    let text_value = |text: &str| common::v1::AnyValue {
        value: Some(common::v1::any_value::Value::StringValue(text.into())),
    };
    let encoded = logs::LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: time,
        severity_number: number.into(),
        severity_text: text.into(),
        body: Some(text_value(&record.body)),
        attributes: record.attributes.iter().map(stored_attribute).collect(),
        dropped_attributes_count: record.dropped_attributes,
        flags: record.trace_flags.into(),
        trace_id: record.trace_id.to_bytes().to_vec(),
        span_id: record.span_id.to_bytes().to_vec(),
        event_name: EVENT_NAME.into(),
    };
    encoded.encode_to_vec().into()
}

/// The request with these log records, all of one resource, and how many of them cannot be decoded: a store may be
/// damaged.
pub fn log_request(resource: &[(String, String)], items: &[OutboxItem]) -> (Vec<u8>, usize) {
    let log_records: Vec<_> = (items.iter())
        .filter_map(|item| logs::LogRecord::decode(&*item.bytes).ok())
        .collect();
    let unreadable = items.len() - log_records.len();
    let attribute = |(key, value): &(String, String)| {
        stored_attribute(&(key.as_str().into(), Value::Str(value.as_str().into())))
    };
    let request = ExportLogsServiceRequest {
        resource_logs: vec![logs::ResourceLogs {
            resource: Some(ProtoResource {
                attributes: resource.iter().map(attribute).collect(),
                ..Default::default()
            }),
            scope_logs: vec![logs::ScopeLogs {
                scope: Some(common::v1::InstrumentationScope {
                    name: SCOPE.into(),
                    version: crate::VERSION.into(),
                    ..Default::default()
                }),
                log_records,
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    };
    (request.encode_to_vec(), unreadable)
}

/// The span that [`encode`] made these bytes of. `None` for bytes that it never makes: a store may be damaged.
pub fn decode(bytes: &[u8]) -> Option<SpanData> {
    let stored = proto::Span::decode(bytes).ok()?;
    let mut events = SpanEvents::default();
    events.events = (stored.events.into_iter())
        .map(decoded_event)
        .collect::<Option<_>>()?;
    events.dropped_count = stored.dropped_events_count;
    let mut links = SpanLinks::default();
    links.links = (stored.links.into_iter())
        .map(decoded_link)
        .collect::<Option<_>>()?;
    links.dropped_count = stored.dropped_links_count;
    let parent_span_id = match &stored.parent_span_id[..] {
        [] => SpanId::INVALID,
        id => SpanId::from_bytes(id.try_into().ok()?),
    };
    let status = stored.status.unwrap_or_default();
    Some(SpanData {
        span_context: decoded_context(
            &stored.trace_id,
            &stored.span_id,
            &stored.trace_state,
            stored.flags,
            false,
        )?,
        parent_span_id,
        parent_span_is_remote: is_remote(stored.flags),
        span_kind: SpanKind::Internal,
        name: stored.name.into(),
        start_time: unix_time(stored.start_time_unix_nano),
        end_time: unix_time(stored.end_time_unix_nano),
        attributes: decoded_attributes(stored.attributes)?,
        dropped_attributes_count: stored.dropped_attributes_count,
        events,
        links,
        status: match status.code() {
            proto::status::StatusCode::Unset => Status::Unset,
            proto::status::StatusCode::Ok => Status::Ok,
            proto::status::StatusCode::Error => Status::error(status.message),
        },
        instrumentation_scope: scope(),
    })
}

fn decoded_context(
    trace_id: &[u8],
    span_id: &[u8],
    trace_state: &str,
    flags: u32,
    is_remote: bool,
) -> Option<SpanContext> {
    Some(SpanContext::new(
        TraceId::from_bytes(trace_id.try_into().ok()?),
        SpanId::from_bytes(span_id.try_into().ok()?),
        TraceFlags::new((flags & proto::SpanFlags::TraceFlagsMask as u32) as u8),
        is_remote,
        trace_state.parse().ok()?,
    ))
}

fn is_remote(flags: u32) -> bool {
    flags & proto::SpanFlags::ContextIsRemoteMask as u32 != 0
}

fn decoded_event(event: proto::span::Event) -> Option<Event> {
    let attributes = decoded_attributes(event.attributes)?;
    let time = unix_time(event.time_unix_nano);
    Some(Event::new(
        event.name,
        time,
        attributes,
        event.dropped_attributes_count,
    ))
}

fn decoded_link(link: proto::span::Link) -> Option<Link> {
    let remote = is_remote(link.flags);
    let context = decoded_context(
        &link.trace_id,
        &link.span_id,
        &link.trace_state,
        link.flags,
        remote,
    )?;
    let attributes = decoded_attributes(link.attributes)?;
    Some(Link::new(
        context,
        attributes,
        link.dropped_attributes_count,
    ))
}

fn decoded_attributes(attributes: Vec<common::v1::KeyValue>) -> Option<Vec<KeyValue>> {
    use common::v1::any_value::Value as Stored;
    let decoded = |attribute: common::v1::KeyValue| {
        let value = match attribute.value?.value? {
            Stored::StringValue(text) => opentelemetry::Value::String(text.into()),
            Stored::IntValue(number) => opentelemetry::Value::I64(number),
            Stored::DoubleValue(number) => opentelemetry::Value::F64(number),
            Stored::BoolValue(truth) => opentelemetry::Value::Bool(truth),
            _ => return None,
        };
        Some(KeyValue::new(attribute.key, value))
    };
    attributes.into_iter().map(decoded).collect()
}

/// The span as the SDK's exporters know it.
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
            trace_state(span.trace_state.as_deref()),
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
        instrumentation_scope: scope(),
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(SCOPE)
        .with_version(crate::VERSION)
        .build()
}

/// A carrier's trace state has been read by the SDK's type before ([`carrier`](crate::intake::carrier)), so nothing is
/// lost here.
fn trace_state(text: Option<&str>) -> TraceState {
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
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

fn stored_attribute((key, value): &(Box<str>, Value)) -> common::v1::KeyValue {
    use common::v1::any_value::Value as Stored;
    let value = match value {
        Value::Str(text) => Stored::StringValue(text.to_string()),
        Value::Int(number) => Stored::IntValue(*number),
        Value::Float(number) => Stored::DoubleValue(*number),
        Value::Bool(truth) => Stored::BoolValue(*truth),
    };
    common::v1::KeyValue {
        key: key.to_string(),
        value: Some(common::v1::AnyValue { value: Some(value) }),
        ..Default::default()
    }
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
        trace_state(context.trace_state.as_deref()),
    );
    Link::new(context, vec![], 0)
}

/// OTLP has no time before 1970.
fn system_time(wall: Wall) -> SystemTime {
    unix_time(u64::try_from(wall.as_unix_ns()).unwrap_or(0))
}

fn unix_time(ns: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(ns)
}

/// The resources of all spans.
#[derive(Clone, Debug)]
pub struct Resources {
    /// Each once; the first is the process's.
    all: Vec<Vec<(String, String)>>,
    /// Which resource the spans of a monitor have, where it is not the process's.
    of_monitors: HashMap<Box<str>, usize>,
}

impl Resources {
    /// The process's resource alone.
    pub fn new(process: &[(String, String)]) -> Self {
        Resources {
            all: vec![process.to_vec()],
            of_monitors: HashMap::new(),
        }
    }

    /// Gives the spans of this monitor a resource of their own.
    pub fn add(&mut self, monitor: &str, resource: Vec<(String, String)>) {
        let known = self.all.iter().position(|known| *known == resource);
        let index = known.unwrap_or_else(|| {
            self.all.push(resource);
            self.all.len() - 1
        });
        self.of_monitors.insert(monitor.into(), index);
    }

    /// The place of a monitor's resource in [`all`](Self::all). A monitor that the configuration does not have any more
    /// has the process's.
    pub fn index_of(&self, monitor: Option<&str>) -> usize {
        let known = |monitor| self.of_monitors.get(monitor).copied();
        monitor.and_then(known).unwrap_or(0)
    }

    /// The attributes of a monitor's resource.
    pub fn attributes_of(&self, monitor: Option<&str>) -> &[(String, String)] {
        &self.all[self.index_of(monitor)]
    }

    /// Every resource once, as the SDK knows it.
    pub fn all(&self) -> impl Iterator<Item = Resource> {
        self.all.iter().map(|attributes| {
            let attributes = attributes.iter().cloned();
            let attributes = attributes.map(|(key, value)| KeyValue::new(key, value));
            Resource::builder_empty()
                .with_attributes(attributes)
                .build()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::{self, RunKey, TraceContext};
    use crate::core::outbox::Signal;
    use crate::core::span::Parent;
    use crate::intake::carrier::{Carrier, Formats};
    use arbtest::arbitrary::{self, Unstructured};

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
    fn every_field_of_a_log_record_reaches_the_wire_and_a_request_has_its_bytes() {
        let span = span();
        let record = LogRecord {
            trace_id: span.trace_id,
            span_id: span.span_id,
            trace_flags: 3,
            time: span.start,
            severity: Severity::Error,
            body: "DataLoader: Failed: no such file".into(),
            attributes: span.attributes,
            dropped_attributes: 2,
            service: None,
        };
        let bytes = encode_log_record(&record);
        let sent = logs::LogRecord::decode(&*bytes).unwrap();
        assert_eq!(sent.trace_id, span.trace_id.to_bytes());
        assert_eq!(sent.span_id, [7; 8]);
        assert_eq!((sent.flags, sent.severity_number), (3, 17));
        assert_eq!(sent.time_unix_nano, 1_720_162_678_000_000_100);
        assert_eq!(sent.observed_time_unix_nano, sent.time_unix_nano);
        assert_eq!(
            (&*sent.severity_text, &*sent.event_name),
            ("ERROR", "farspan.status")
        );
        let spans = proto::Span::decode(&*encode(&self::span())).unwrap();
        assert_eq!(sent.attributes, spans.attributes, "as those of spans");
        assert_eq!(sent.dropped_attributes_count, 2);
        let item = |bytes| OutboxItem {
            signal: Signal::Logs,
            sequence: 0,
            run: RunKey::from_bytes([0; 16]),
            monitor: None,
            bytes,
        };
        let items = [
            item(bytes.clone()),
            item([0xff; 3].as_slice().into()),
            item(bytes.clone()),
        ];
        let resource = [("service.name".to_owned(), "etl".to_owned())];
        let (request, unreadable) = log_request(&resource, &items);
        assert_eq!(unreadable, 1);
        let twice = request.windows(bytes.len()).filter(|it| **it == *bytes);
        assert_eq!(twice.count(), 2, "what leaves is what was stored");
        let request = ExportLogsServiceRequest::decode(&*request).unwrap();
        let [group] = &*request.resource_logs else {
            panic!("{request:?}");
        };
        assert_eq!(
            group.resource.as_ref().unwrap().attributes[0].key,
            "service.name"
        );
        assert_eq!(group.scope_logs[0].scope.as_ref().unwrap().name, SCOPE);
    }

    #[test]
    fn every_field_of_a_span_reaches_the_wire() {
        let attribute = |key: &str, value| common::v1::KeyValue {
            key: key.into(),
            value: Some(common::v1::AnyValue { value: Some(value) }),
            ..Default::default()
        };
        let trace_id: u128 = 0x5531_9d0c_4a44_a2cc_3ef0_2e43_1175_28cb;
        let trace_id = trace_id.to_be_bytes().to_vec();
        let parent_span_id = vec![0xb8, 0x7e, 0x9a, 0x10, 0x1a, 0x09, 0x07, 0x35];
        let link = |flags| proto::span::Link {
            trace_id: trace_id.clone(),
            span_id: parent_span_id.clone(),
            trace_state: "vendor=1,other=2".into(),
            flags,
            ..Default::default()
        };
        use common::v1::any_value::Value as Sent;
        let expected = proto::Span {
            trace_id: trace_id.clone(),
            span_id: vec![7; 8],
            trace_state: "vendor=1,other=2".into(),
            parent_span_id: parent_span_id.clone(),
            flags: 0x303,
            name: "DataLoader".into(),
            kind: proto::span::SpanKind::Internal.into(),
            start_time_unix_nano: 1_720_162_678_000_000_100,
            end_time_unix_nano: 1_720_162_862_765_432_100,
            attributes: vec![
                attribute("type", Sent::StringValue("DataLoader".into())),
                attribute("count", Sent::IntValue(-7)),
                attribute("share", Sent::DoubleValue(0.5)),
                attribute("farspan.incomplete", Sent::BoolValue(true)),
            ],
            dropped_attributes_count: 1,
            events: vec![proto::span::Event {
                time_unix_nano: 1_720_162_680_000_000_000,
                name: "Processing".into(),
                ..Default::default()
            }],
            dropped_events_count: 2,
            links: vec![link(0x303), link(0x103)],
            dropped_links_count: 3,
            status: Some(proto::Status {
                message: "no such file".into(),
                code: proto::status::StatusCode::Error.into(),
            }),
        };
        assert_eq!(proto::Span::decode(&*encode(&span())).unwrap(), expected);
    }

    #[test]
    fn every_span_comes_out_of_the_exporter_as_it_was_stored() {
        arbtest::arbtest(|u| {
            let span = any_span(u)?;
            let stored = encode(&span);
            let data = decode(&stored).expect("it was encoded here");
            assert_eq!(proto::Span::from(data).encode_to_vec(), *stored);
            Ok(())
        });
    }

    fn any_span(u: &mut Unstructured<'_>) -> arbitrary::Result<Span> {
        let context = any_context(u)?;
        Ok(Span {
            trace_id: context.trace_id,
            span_id: ids::SpanId::from_bytes([u.int_in_range(1..=255)?; 8]).unwrap(),
            parent: u.arbitrary::<bool>()?.then_some(Parent {
                span_id: context.span_id,
                remote: u.arbitrary()?,
            }),
            trace_flags: u.arbitrary()?,
            trace_state: context.trace_state,
            name: u.arbitrary::<&str>()?.into(),
            start: Wall::from_unix_ns(u.arbitrary()?),
            end: Wall::from_unix_ns(u.arbitrary()?),
            status: match u.int_in_range(0..=2)? {
                0 => SpanStatus::Unset,
                1 => SpanStatus::Ok,
                _ => SpanStatus::Error(u.arbitrary::<&str>()?.into()),
            },
            attributes: u
                .arbitrary_iter::<(&str, u8, i64, f64)>()?
                .map(|attribute| {
                    let (key, kind, int, float) = attribute?;
                    let value = match kind % 4 {
                        0 => Value::Str(key.into()),
                        1 => Value::Int(int),
                        2 => Value::Float(float),
                        _ => Value::Bool(int > 0),
                    };
                    Ok((key.into(), value))
                })
                .collect::<arbitrary::Result<_>>()?,
            dropped_attributes: u.arbitrary()?,
            events: u
                .arbitrary_iter::<(i64, &str)>()?
                .map(|event| {
                    let (ns, name) = event?;
                    let (time, name) = (Wall::from_unix_ns(ns), name.into());
                    Ok(SpanEvent { time, name })
                })
                .collect::<arbitrary::Result<_>>()?,
            dropped_events: u.arbitrary()?,
            links: (0..u.int_in_range(0..=3)?)
                .map(|_| Ok(link(any_context(u)?, u.arbitrary()?)))
                .collect::<arbitrary::Result<_>>()?,
            dropped_links: u.arbitrary()?,
            service: None,
        })
    }

    /// With a trace state that a carrier brought.
    fn any_context(u: &mut Unstructured<'_>) -> arbitrary::Result<TraceContext> {
        let text: String = match u.int_in_range(0..=2)? {
            0 => u.arbitrary()?,
            1 => format!("a={},b@c= x", u.arbitrary::<u32>()?),
            _ => " vendor=1 ,\tother==2,,".to_owned(),
        };
        let w3c = format!(
            "00-{:032x}-{:016x}-01",
            u.int_in_range(1..=u128::MAX)?,
            u.int_in_range(1..=u64::MAX)?
        );
        let carrier = Carrier::of([("traceparent", w3c), ("tracestate", text)]);
        let (inherited, _) = carrier.read(Formats::ALL);
        Ok(inherited.unwrap().parent.unwrap())
    }

    #[test]
    fn bytes_that_are_no_span_of_ours_are_refused() {
        assert!(decode(b"garbage").is_none());
        assert!(decode(b"").is_none(), "without ids");
        let mut sent = proto::Span::decode(&*encode(&span())).unwrap();
        sent.trace_id.pop();
        assert!(decode(&sent.encode_to_vec()).is_none());
        arbtest::arbtest(|u| {
            let _ = decode(u.arbitrary()?);
            Ok(())
        });
    }

    #[test]
    fn each_monitor_has_its_resource() {
        let service = |name: &str| vec![("service.name".to_owned(), name.to_owned())];
        let mut resources = Resources::new(&service("farspan"));
        resources.add("etl", service("etl"));
        resources.add("etl too", service("etl"));
        resources.add("same as the process", service("farspan"));
        let index = |monitor| resources.index_of(monitor);
        assert_eq!(index(None), 0);
        assert_eq!(index(Some("etl")), 1);
        assert_eq!(index(Some("etl too")), 1);
        assert_eq!(index(Some("same as the process")), 0);
        assert_eq!(index(Some("was removed")), 0);
        let names = resources.all().map(|it| it.get(&"service.name".into()));
        let names: Vec<String> = names.map(|name| name.unwrap().to_string()).collect();
        assert_eq!(names, ["farspan", "etl"]);
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
