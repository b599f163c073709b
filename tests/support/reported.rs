//! Traces held against what the scripted API says of their workflows.

use super::spans::{Seen, Trace};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A trace against the API's last word on its workflow.
#[track_caller]
pub fn assert_as_reported(trace: &Trace, body: &Value) {
    assert_reported(&trace.root, body, "workflow");
    let entities = body["workflowEntities"].as_object().expect("stages");
    let ran: BTreeMap<&str, &Value> = entities
        .values()
        .filter(|entity| {
            entity["entityStatus"]
                .as_str()
                .is_some_and(|status| status != "Null")
        })
        .map(|entity| (entity["entityType"].as_str().expect("a type"), entity))
        .collect();
    let names: Vec<&str> = ran.keys().copied().collect();
    assert_eq!(trace.stage_names(), names, "{body}");
    for (name, entity) in ran {
        let stage = trace.stage(name);
        assert_reported(stage, entity, "entity");
        assert_eq!(
            stage.attribute("id"),
            entity["entityId"].as_str().expect("an id")
        );
        assert_eq!(stage.find("farspan.incomplete"), None);
    }
}

/// One span against the fields that begin with `prefix`.
#[track_caller]
fn assert_reported(span: &Seen, fields: &Value, prefix: &str) {
    let field = |name: &str| fields[format!("{prefix}{name}")].as_str();
    let (start, end) = (field("StartTime"), field("EndTime"));
    span.assert_times(start.expect("a start"), end.expect("an end"));
    let last = span.event_names().last().copied();
    assert_eq!(last, field("Status"), "the last event is the last status");
    match field("Status") {
        Some("Completed") => assert_eq!(span.error(), None, "{fields}"),
        Some("Failed") => assert_eq!(span.error(), field("ErrorMessage"), "{fields}"),
        other => panic!("not ended: {other:?}: {fields}"),
    }
}

/// A GET by hand, so that nothing stands between the API and the comparison.
pub fn get(address: &str, path: &str) -> Value {
    let mut stream = TcpStream::connect(address).expect("the API");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let text = String::from_utf8(answer).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {text}"))
}
