//! What a collector or a receiver has refused for good: kept where a person can look at it and send it again.
//!
//! ```text
//! spans, finished event ─▶ one line of JSON ─▶ a file in the state directory, or an item of a list in Redis
//! ```
//!
//! The oldest go when there are too many, by count or by bytes.

use crate::core::limits::cut;
use crate::core::outbox::{Batch, Signal};
use crate::core::time::Wall;
use crate::os::clock;
#[cfg(feature = "redis")]
use crate::redis_client;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AttributeValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1 as logs;
use opentelemetry_proto::tonic::trace::v1 as proto;
use prost::Message;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
#[cfg(feature = "redis")]
use std::time::Duration;
use std::{fs, io};

/// Refusals that are kept.
const COUNT_MAX: usize = 256;
/// Their bytes. The newest one is kept even if it is larger.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The folder in the state directory.
const FOLDER: &str = "refused";
/// Said in the log instead of a place.
const NOT_KEPT: &str = "not kept, because there is no state (FARSPAN_STATE)";
/// How long to wait for one answer of Redis.
#[cfg(feature = "redis")]
const PATIENCE: Duration = Duration::from_secs(2);

/// Where refusals are kept.
#[derive(Clone, Debug)]
pub enum RefusedPlace {
    /// Without a state they are not kept.
    Nowhere,
    /// In a folder, a file each.
    Folder(PathBuf),
    /// In a list in Redis.
    #[cfg(feature = "redis")]
    Redis {
        /// The server.
        client: Box<redis::Client>,
        /// The key of the list.
        key: String,
    },
}

/// One refusal, as it is stored.
#[derive(Debug, Deserialize, Serialize)]
pub struct Refused {
    /// When it was refused, RFC 3339.
    pub at: String,
    /// Who refused it.
    pub by: String,
    /// The answer.
    pub reason: String,
    /// In words, what was refused.
    pub what: String,
    /// What can be sent again: an OTLP/JSON request with spans or with log records, or a finished event.
    pub content: Box<RawValue>,
}

impl RefusedPlace {
    /// The folder in this state directory.
    pub fn in_directory(state: &Path) -> Self {
        RefusedPlace::Folder(state.join(FOLDER))
    }

    /// Keeps a batch that the collector has refused with this resource. Returns, for the log, where it is.
    pub fn keep_items(&self, resource: &[(String, String)], batch: &Batch, reason: &str) -> String {
        if self.is_nowhere() {
            return NOT_KEPT.to_owned();
        }
        let (names, content) = match batch.signal {
            Signal::Traces => {
                let spans: Vec<proto::Span> = decoded(batch);
                let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
                (names.join(", "), request(resource, &spans))
            }
            Signal::Logs => {
                let records: Vec<logs::LogRecord> = decoded(batch);
                let bodies = records.iter().filter_map(|it| text_of(it.body.as_ref()));
                let bodies: Vec<&str> = bodies.collect();
                (bodies.join(", "), log_request(resource, &records))
            }
        };
        let (count, items) = (batch.items.len(), batch.signal.items());
        let what = format!("{count} {items}: {}", cut(&names, 200));
        self.keep("the collector", reason, &what, || content.to_string())
    }

    /// Keeps a finished event that a monitor's receiver has refused. Returns, for the log, where it is.
    pub fn keep_event(&self, monitor: &str, event: &[u8], reason: &str) -> String {
        if self.is_nowhere() {
            return NOT_KEPT.to_owned();
        }
        let by = format!("the receiver of monitor {monitor}");
        self.keep(&by, reason, "1 finished event", || {
            String::from_utf8_lossy(event).into_owned()
        })
    }

    /// All refusals that are kept, oldest first, each with its file or its key.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn all(&self) -> Result<Vec<(String, Refused)>, String> {
        if self.is_nowhere() {
            return Ok(Vec::new());
        }
        match self {
            RefusedPlace::Nowhere => Ok(Vec::new()),
            RefusedPlace::Folder(folder) => {
                let at = |error| format!("{}: {error}", folder.display());
                let files = files(folder).map_err(at)?;
                let read = files.iter().map(|(path, _)| {
                    let text = fs::read_to_string(path).map_err(at)?;
                    parsed(path.display().to_string(), &text)
                });
                read.collect()
            }
            #[cfg(feature = "redis")]
            RefusedPlace::Redis { client, key } => {
                let connected = redis_client::connect(client, PATIENCE);
                let read = connected.and_then(|mut connection| {
                    let mut all = redis::cmd("LRANGE");
                    all.arg(key).arg(0).arg(-1);
                    all.query::<Vec<String>>(&mut connection)
                });
                let read = read.map_err(|error| redis_client::told(&error))?;
                let numbered = read.iter().enumerate();
                (numbered.map(|(n, text)| parsed(format!("{key} {n}"), text))).collect()
            }
        }
    }

    /// A build that has no state needs no code that keeps anything.
    fn is_nowhere(&self) -> bool {
        matches!(self, RefusedPlace::Nowhere) || cfg!(not(any(feature = "file", feature = "redis")))
    }

    fn keep(&self, by: &str, reason: &str, what: &str, content: impl FnOnce() -> String) -> String {
        let content =
            RawValue::from_string(content()).or_else(|_| RawValue::from_string("null".to_owned()));
        let now = clock::now().wall;
        let kept = content.map_err(|e| e.to_string()).and_then(|content| {
            let refused = Refused {
                at: now.to_string(),
                by: by.to_owned(),
                reason: reason.to_owned(),
                what: what.to_owned(),
                content,
            };
            let line = serde_json::to_string(&refused).map_err(|e| e.to_string())?;
            self.store(now, &line)
        });
        match kept {
            Ok(place) => format!("kept in {place}: farspan refused shows it"),
            Err(error) => format!("it cannot be kept: {error}"),
        }
    }

    fn store(&self, now: Wall, line: &str) -> Result<String, String> {
        match self {
            RefusedPlace::Nowhere => Err("there is no state".to_owned()),
            RefusedPlace::Folder(folder) => {
                let stored = write(folder, now, line.as_bytes());
                let path = stored.map_err(|error| format!("{}: {error}", folder.display()))?;
                Ok(path.display().to_string())
            }
            #[cfg(feature = "redis")]
            RefusedPlace::Redis { client, key } => {
                let mut push = redis::cmd("EVAL");
                push.arg(PUSH).arg(2).arg(key).arg(format!("{key}:bytes"));
                push.arg(line).arg(COUNT_MAX).arg(BYTES_MAX);
                let connected = redis_client::connect(client, PATIENCE);
                let pushed = connected.and_then(|mut connection| push.exec(&mut connection));
                pushed.map_err(|error| redis_client::told(&error))?;
                Ok(format!("Redis under {key}"))
            }
        }
    }
}

/// Appends an item to the list, and removes the oldest ones that are too many.
#[cfg(feature = "redis")]
const PUSH: &str = "\
local list, bytes = KEYS[1], KEYS[2]
if redis.call('LLEN', list) == 0 then redis.call('DEL', bytes) end
redis.call('RPUSH', list, ARGV[1])
local sum = redis.call('INCRBY', bytes, #ARGV[1])
local len = redis.call('LLEN', list)
while len > 1 and (len > tonumber(ARGV[2]) or sum > tonumber(ARGV[3])) do
  sum = redis.call('DECRBY', bytes, #redis.call('LPOP', list))
  len = len - 1
end
";

/// Writes a file of its own, after the oldest ones have made room.
fn write(folder: &Path, now: Wall, line: &[u8]) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let files = files(folder)?;
    let mut bytes: u64 = files.iter().map(|(_, bytes)| bytes).sum::<u64>() + line.len() as u64;
    let mut count = files.len() + 1;
    for (oldest, its_bytes) in &files {
        if count <= COUNT_MAX && bytes <= BYTES_MAX {
            break;
        }
        fs::remove_file(oldest)?;
        count -= 1;
        bytes -= its_bytes;
    }
    let mut number = now.as_unix_ns().unsigned_abs();
    loop {
        let path = folder.join(format!("{number:020}.json"));
        match fs::File::create_new(&path) {
            Ok(mut file) => {
                io::Write::write_all(&mut file, line)?;
                return Ok(path);
            }
            // Another thread of this process was there in the same nanosecond.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

/// The files of refusals, oldest first, and their lengths.
fn files(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "json") {
            // Another thread may have removed it.
            let bytes = fs::metadata(&path).map_or(0, |file| file.len());
            files.push((path, bytes));
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn parsed(place: String, text: &str) -> Result<(String, Refused), String> {
    let refused = serde_json::from_str(text).map_err(|error| format!("{place}: {error}"))?;
    Ok((place, refused))
}

/// A trace request as OTLP/JSON.
/// <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>
fn request(resource: &[(String, String)], spans: &[proto::Span]) -> Value {
    let attribute = |(key, value)| json!({"key": key, "value": {"stringValue": value}});
    let resource = resource.iter().map(|(key, value)| (key, value));
    json!({"resourceSpans": [{
        "resource": {"attributes": resource.map(attribute).collect::<Vec<_>>()},
        "scopeSpans": [{
            "scope": {"name": super::otlp::SCOPE, "version": crate::VERSION},
            "spans": spans.iter().map(span).collect::<Vec<_>>(),
        }],
    }]})
}

/// A request with log records as OTLP/JSON.
fn log_request(resource: &[(String, String)], records: &[logs::LogRecord]) -> Value {
    let attribute = |(key, value)| json!({"key": key, "value": {"stringValue": value}});
    let resource = resource.iter().map(|(key, value)| (key, value));
    json!({"resourceLogs": [{
        "resource": {"attributes": resource.map(attribute).collect::<Vec<_>>()},
        "scopeLogs": [{
            "scope": {"name": super::otlp::SCOPE, "version": crate::VERSION},
            "logRecords": records.iter().map(log_record).collect::<Vec<_>>(),
        }],
    }]})
}

fn log_record(record: &logs::LogRecord) -> Value {
    json!({
        "timeUnixNano": record.time_unix_nano.to_string(),
        "observedTimeUnixNano": record.observed_time_unix_nano.to_string(),
        "severityNumber": record.severity_number,
        "severityText": record.severity_text,
        "body": {"stringValue": text_of(record.body.as_ref()).unwrap_or_default()},
        "attributes": attributes(&record.attributes),
        "droppedAttributesCount": record.dropped_attributes_count,
        "flags": record.flags,
        "traceId": hex(&record.trace_id),
        "spanId": hex(&record.span_id),
        "eventName": record.event_name,
    })
}

fn text_of(value: Option<&AnyValue>) -> Option<&str> {
    match value?.value.as_ref()? {
        AttributeValue::StringValue(text) => Some(text),
        _ => None,
    }
}

/// The items of a batch, but for those that cannot be decoded.
fn decoded<M: Message + Default>(batch: &Batch) -> Vec<M> {
    let items = batch.items.iter();
    items
        .filter_map(|item| M::decode(&*item.bytes).ok())
        .collect()
}

fn span(span: &proto::Span) -> Value {
    let status = span.status.as_ref();
    let event = |event: &proto::span::Event| {
        json!({
            "timeUnixNano": event.time_unix_nano.to_string(),
            "name": event.name,
            "attributes": attributes(&event.attributes),
        })
    };
    let link = |link: &proto::span::Link| {
        json!({
            "traceId": hex(&link.trace_id),
            "spanId": hex(&link.span_id),
            "traceState": link.trace_state,
            "flags": link.flags,
            "attributes": attributes(&link.attributes),
        })
    };
    json!({
        "traceId": hex(&span.trace_id),
        "spanId": hex(&span.span_id),
        "parentSpanId": hex(&span.parent_span_id),
        "traceState": span.trace_state,
        "flags": span.flags,
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": span.start_time_unix_nano.to_string(),
        "endTimeUnixNano": span.end_time_unix_nano.to_string(),
        "attributes": attributes(&span.attributes),
        "droppedAttributesCount": span.dropped_attributes_count,
        "events": span.events.iter().map(event).collect::<Vec<_>>(),
        "droppedEventsCount": span.dropped_events_count,
        "links": span.links.iter().map(link).collect::<Vec<_>>(),
        "droppedLinksCount": span.dropped_links_count,
        "status": {
            "code": status.map_or(0, |status| status.code),
            "message": status.map_or("", |status| &*status.message),
        },
    })
}

fn attributes(attributes: &[KeyValue]) -> Vec<Value> {
    let value = |value: Option<&AnyValue>| match value.and_then(|it| it.value.as_ref()) {
        Some(AttributeValue::StringValue(text)) => json!({"stringValue": text}),
        Some(AttributeValue::IntValue(number)) => json!({"intValue": number.to_string()}),
        Some(AttributeValue::DoubleValue(number)) => json!({"doubleValue": number}),
        Some(AttributeValue::BoolValue(truth)) => json!({"boolValue": truth}),
        // farspan makes no others.
        _ => json!({}),
    };
    let json = |it: &KeyValue| json!({"key": it.key, "value": value(it.value.as_ref())});
    attributes.iter().map(json).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::RunKey;
    use crate::core::outbox::OutboxItem;
    use crate::os::files::tests::Folder;

    #[test]
    fn a_refused_span_can_be_sent_again_as_json() {
        let folder = Folder::new();
        let place = RefusedPlace::in_directory(folder.path());
        let attribute = |key: &str, value| KeyValue {
            key: key.into(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        };
        let span = proto::Span {
            trace_id: vec![0xab; 16],
            span_id: vec![1; 8],
            name: "load".into(),
            start_time_unix_nano: 1_720_162_678_000_000_001,
            attributes: vec![
                attribute("n", AttributeValue::IntValue(-7)),
                attribute("share", AttributeValue::DoubleValue(0.5)),
            ],
            ..proto::Span::default()
        };
        let encoded = OutboxItem {
            signal: Signal::Traces,
            sequence: 1,
            run: RunKey::from_bytes([7; 16]),
            monitor: None,
            bytes: span.encode_to_vec().into(),
        };
        let resource = [("service.name".to_owned(), "etl".to_owned())];
        let batch = |item: OutboxItem| Batch {
            signal: item.signal,
            id: 0,
            items: vec![item],
        };
        let told = place.keep_items(&resource, &batch(encoded), "HTTP 400: no");
        let kept = place.all().unwrap();
        let [(path, refused)] = &kept[..] else {
            panic!("{kept:?}");
        };
        assert!(
            told.contains(path) && told.contains("farspan refused"),
            "{told}"
        );
        assert_eq!(
            (&*refused.reason, &*refused.what),
            ("HTTP 400: no", "1 spans: load")
        );
        let content: Value = serde_json::from_str(refused.content.get()).unwrap();
        let of = &content["resourceSpans"][0];
        assert_eq!(
            of["resource"]["attributes"][0]["value"]["stringValue"],
            "etl"
        );
        let span = &of["scopeSpans"][0]["spans"][0];
        assert_eq!(span["traceId"], "ab".repeat(16));
        assert_eq!(span["startTimeUnixNano"], "1720162678000000001");
        assert_eq!(span["attributes"][0]["value"], json!({"intValue": "-7"}));
        assert_eq!(span["attributes"][1]["value"], json!({"doubleValue": 0.5}));
    }

    #[test]
    fn the_oldest_make_room() {
        let folder = Folder::new();
        let place = RefusedPlace::in_directory(folder.path());
        let event = |n: usize| format!("{{\"n\":{n}}}");
        for n in 0..COUNT_MAX + 3 {
            place.keep_event("etl", event(n).as_bytes(), "HTTP 422");
        }
        let kept = place.all().unwrap();
        assert_eq!(kept.len(), COUNT_MAX);
        assert_eq!(kept[0].1.content.get(), event(3));
        // By bytes: half of the bound twice leaves room for one.
        let large = format!("\"{}\"", "x".repeat(BYTES_MAX as usize / 2));
        place.keep_event("etl", large.as_bytes(), "HTTP 413");
        place.keep_event("etl", large.as_bytes(), "HTTP 413");
        assert_eq!(place.all().unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_json_is_named_all_the_same() {
        let folder = Folder::new();
        let place = RefusedPlace::in_directory(folder.path());
        place.keep_event("etl", b"no JSON", "HTTP 400");
        assert_eq!(place.all().unwrap()[0].1.content.get(), "null");
        let nowhere = RefusedPlace::Nowhere.keep_event("etl", b"{}", "HTTP 400");
        assert!(nowhere.contains("not kept"), "{nowhere}");
    }
}
