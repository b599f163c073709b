//! A start event: what is accepted keeps to the bounds, and written out again it reads as the same event.
#![no_main]

use farspan::core::event::{Sampling, StartEvent, Value};
use farspan::core::limits;
use farspan::intake::carrier::Formats;
use farspan::intake::message::{self, Dialects, Malformed, Message};
use farspan::syntax::text::without_byte_order_mark;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value as Json, json};

fuzz_target!(|bytes: &[u8]| {
    let read = message::read(bytes, &Dialects::new(7, Formats::ALL));
    let without_parent = message::read(bytes, &Dialects::new(7, Formats::NONE));
    match (read, without_parent) {
        (Ok(message), Ok(without_parent)) => {
            check(&message);
            let alone = StartEvent {
                parent: None,
                sampling: Sampling::AsParent,
                // Ids that had to be hashed are attributes too.
                attributes: without_parent.event.attributes.clone(),
                ..message.event.clone()
            };
            for attribute in &alone.attributes {
                assert!(message.event.attributes.contains(attribute));
            }
            assert_eq!(alone, without_parent.event);
            reads_back(&message.event);
        }
        (Err(malformed), Err(same)) => {
            assert_eq!(malformed, same);
            check_refusal(bytes, &malformed);
        }
        (read, without_parent) => panic!("{read:?}, without the parent {without_parent:?}"),
    }
});

fn check(message: &Message) {
    let event = &message.event;
    assert_eq!(event.monitor, 7);
    assert!((1..=limits::WORKFLOW_ID_BYTES_MAX).contains(&event.workflow_id.len()));
    assert!(event.attributes.len() <= limits::EVENT_ATTRIBUTES_MAX);
    for (at, (key, value)) in event.attributes.iter().enumerate() {
        assert!((1..=limits::NAME_BYTES_MAX).contains(&key.len()));
        assert!(event.attributes[..at].iter().all(|(other, _)| other != key));
        match value {
            Value::Str(text) => assert!(text.len() <= limits::ATTRIBUTE_BYTES_MAX),
            Value::Float(number) => assert!(number.is_finite()),
            Value::Int(_) | Value::Bool(_) => {}
        }
    }
}

fn check_refusal(bytes: &[u8], malformed: &Malformed) {
    assert!(!malformed.reason().is_empty());
    // The reason goes into a log line and a dead-letter stream.
    assert!(malformed.to_string().len() <= limits::NAME_BYTES_MAX + "not JSON: ".len());
    // serde_json refuses more than we do: it builds the fields that we skip.
    let unmarked = without_byte_order_mark(bytes);
    let json: Option<Json> = serde_json::from_slice(unmarked).ok();
    let object = json.as_ref().and_then(Json::as_object);
    match malformed {
        Malformed::TooLong(_) => assert!(bytes.len() > limits::EVENT_BYTES_MAX),
        Malformed::NotJson(_) => assert!(json.is_none()),
        Malformed::NotAnObject => assert!(object.is_none()),
        Malformed::NoId(_) => {
            let is_id = |key: &str| key.replace('_', "").eq_ignore_ascii_case("workflowid");
            let mut fields = object.into_iter().flatten();
            assert!(fields.all(|(key, value)| !is_id(key) || value.is_null()));
        }
        Malformed::IdOfWrongType
        | Malformed::EmptyId
        | Malformed::IdTooLong
        | Malformed::IdNotOfParts
        | Malformed::UnsafeId(..)
        | Malformed::UnknownMonitor(_)
        | Malformed::NoMonitor => {}
    }
}

fn reads_back(event: &StartEvent) {
    // serde_json reads a float to the nearest but one, so what it writes of it may read as its neighbour.
    let exact = |value: &Value| !matches!(value, Value::Float(_));
    let attributes = event.attributes.iter().filter(|(_, value)| exact(value));
    let attributes: Box<[_]> = attributes.cloned().collect();
    let mut object = Map::new();
    for (key, value) in &attributes {
        let value = match value {
            Value::Str(text) => json!(text),
            Value::Int(number) => json!(number),
            Value::Bool(truth) => json!(truth),
            Value::Float(_) => unreachable!(),
        };
        object.insert(key.to_string(), value);
    }
    let parent = event.parent.as_deref();
    let traceparent =
        parent.map(|p| format!("00-{}-{}-{:02x}", p.trace_id, p.span_id, p.trace_flags));
    let text = json!({
        "workflow_id": event.workflow_id,
        "submitted_at": event.submitted_at.map(|at| at.to_string()),
        "attempt": event.attempt,
        "traceparent": traceparent,
        "tracestate": parent.and_then(|p| p.trace_state.as_deref()),
        "attributes": object,
    });
    let text = text.to_string();
    if text.len() > limits::EVENT_BYTES_MAX {
        return;
    }
    let expected = Message {
        event: StartEvent {
            attributes,
            // A traceparent has a flag for the decision, wherever it is made.
            sampling: Sampling::AsParent,
            ..event.clone()
        },
        oddity: None,
    };
    assert_eq!(
        message::read(text.as_bytes(), &Dialects::new(7, Formats::ALL)),
        Ok(expected)
    );
}
