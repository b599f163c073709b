//! farspan's own programs together: the scripted API, the load, the watcher, and the demo that is all of them.

use crate::support::program::farspan;
use crate::support::receiver::Receiver;
use crate::support::redis::{CHANNEL, RedisServer};
use crate::support::spans::{Seen, Trace, assert_whole};
use crate::support::{SOON, eventually, free_port};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const WORKFLOWS: usize = 150;

#[test]
fn a_burst_through_the_real_programs_is_whole_and_exact() {
    let redis = RedisServer::start();
    let receiver = Receiver::start();
    let address = format!("127.0.0.1:{}", free_port());
    // At this speed a workflow takes between half a second and six.
    let _api = farspan(&[
        "api", "--listen", &address, "--speed", "3600", "--seed", "7",
    ])
    .start();
    eventually("the API listens", SOON, || {
        TcpStream::connect(&address).map_err(|error| error.to_string())
    });
    let watcher = farspan(&["run"])
        .env("FARSPAN_API_BASE_URL", format!("http://{address}"))
        .env("FARSPAN_REDIS_URL", redis.url())
        .env("FARSPAN_POLL_INITIAL_DELAY", "50ms")
        .env("FARSPAN_POLL_INTERVAL", "300ms")
        .env("FARSPAN_STATE", "none")
        .env("FARSPAN_ADMIN_LISTEN", "none")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.server.url())
        .env("OTEL_BSP_SCHEDULE_DELAY", "200")
        .start();
    redis.await_subscribers(CHANNEL, 1);

    let count = WORKFLOWS.to_string();
    let load = farspan(&[
        "load",
        "--workflows",
        &count,
        "--batch",
        "50",
        "--batch-wait",
        "500ms",
        "--with-parent",
    ])
    .env("FARSPAN_REDIS_URL", redis.url())
    .start();
    let ended = load.wait(SOON);
    assert_eq!(ended.code(), Some(0), "{ended:?}");

    eventually("every workflow's end", 3 * SOON, || {
        match receiver.count_roots(|_| true) {
            WORKFLOWS => Ok(()),
            roots => Err(format!("{roots} roots")),
        }
    });
    watcher.stop();

    let traces = assert_whole(&receiver.spans());
    assert_eq!(traces.len(), WORKFLOWS);
    receiver.assert_each_span_once();
    let parents: HashSet<_> = traces
        .values()
        .map(|trace| &trace.root.span.parent_span_id)
        .collect();
    assert!(
        parents.iter().all(|parent| !parent.is_empty()),
        "--with-parent"
    );

    let mut failed = 0;
    for (id, trace) in &traces {
        let body = get(&address, &format!("/workflows/{id}"));
        assert_as_reported(trace, &body);
        failed += usize::from(trace.root.error().is_some());
    }
    // About one stage in ten fails, so about a quarter of the workflows.
    assert!((5..WORKFLOWS / 2).contains(&failed), "{failed} failed");
}

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

#[test]
fn the_demo_shows_whole_traces_and_ends() {
    let receiver = Receiver::start();
    let ended = farspan(&["demo", "--workflows", "6", "--speed", "3600"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.server.url())
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .env("FARSPAN_STATE", "none")
        .env("FARSPAN_ADMIN_LISTEN", "none")
        .start()
        .wait(2 * SOON);
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    let shown = ended.stdout.matches("DataLoader").count();
    assert!(shown >= 6, "a waterfall for each: {}", ended.stdout);
    assert!(ended.stdout.contains('6'), "a summary: {}", ended.stdout);
    let traces = assert_whole(&receiver.spans());
    assert_eq!(traces.len(), 6, "a collector gets them too");
}

#[test]
fn the_demo_needs_nothing() {
    let ended = farspan(&["demo", "--workflows", "3", "--speed", "3600"])
        .start()
        .wait(2 * SOON);
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert!(ended.stdout.contains("Workflow"), "{}", ended.stdout);
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
