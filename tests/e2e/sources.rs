//! Several monitors, each with a channel, a stream and places of its own; and who an event is for.

use crate::support::api::{completed, processing, short_story};
use crate::support::files::Files;
use crate::support::folder::Folder;
use crate::support::program::{Call, Farspan};
use crate::support::redis::CHANNEL;
use crate::support::rig::Rig;
use crate::support::spans::Trace;
use crate::support::{SOON, eventually, free_port, within};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

const BATCH: &str = "batch.runs";
const BATCH_STREAM: &str = "batch|runs";
const STREAM: &str = "workflows";

/// `etl` has sources of its own; `plain` takes the events that no other monitor takes.
fn monitors(rig: &Rig) -> Value {
    let base_url = rig.api.base_url();
    json!({ "monitors": [
        { "name": "plain", "preset": "farspan", "api": { "base_url": base_url } },
        { "name": "etl", "preset": "farspan", "api": { "base_url": base_url },
          "id": "{dag}/{run}", "slashes_in_ids": true, "request": { "path": "/workflows/{id}" },
          "spans": { "workflow": "Etl" },
          "trace_context": { "baggage": ["tenant"] },
          "events": {
              "redis_channel": BATCH, "redis_stream": BATCH_STREAM,
              "id": { "dag": "/dag/name", "run": "/run" },
              "submitted_at": "/meta/at", "context": "/meta/trace"
          } },
    ]})
}

/// The file goes with the test.
fn call(rig: &Rig, files: &Files) -> Call {
    let file = files.write("farspan.json", monitors(rig).to_string());
    rig.call()
        .env("FARSPAN_CONFIG", file)
        .env("FARSPAN_REDIS_STREAM", STREAM)
        .env("FARSPAN_INSTANCE", "one")
        .without("FARSPAN_API_BASE_URL")
}

/// As `etl`'s own senders write it.
fn event(dag: &str, run: u32) -> String {
    json!({ "dag": { "name": dag }, "run": run, "meta": {
        "at": "2024-07-05T06:57:50Z",
        "trace": { "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "baggage": "tenant=A%20B,secret=x" }
    }})
    .to_string()
}

#[track_caller]
fn await_sources(rig: &Rig, farspan: &Farspan) {
    for channel in [CHANNEL, BATCH] {
        rig.redis.await_subscribers(channel, 1);
    }
    eventually("it reads both streams", SOON, || {
        farspan.stderr().matches("reading stream").count() == 2
    });
}

#[track_caller]
fn await_pending(rig: &Rig, stream: &str, count: usize) {
    eventually(
        &format!("{count} pending in {stream}"),
        SOON,
        || match rig.redis.pending(stream) {
            pending if pending == count => Ok(()),
            pending => Err(format!("{pending} pending")),
        },
    );
}

#[track_caller]
fn assert_etl(trace: &Trace) {
    assert_eq!(trace.root.span.name, "Etl");
    assert_eq!(trace.root.attribute("tenant"), "A B");
    assert_eq!(trace.root.find("secret"), None);
    let trace_id = crate::support::spans::hex(&trace.root.span.trace_id);
    assert_eq!(trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
}

#[test]
fn a_channel_that_redis_forbids_makes_no_other_one_deaf() {
    let (rig, files) = (Rig::new(), Files::new());
    let rule = format!("&{BATCH}");
    rig.redis
        .ask::<()>(&["ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", &rule]);
    let url = rig.redis.url().replace("redis://", "redis://app:pw@");
    let farspan = call(&rig, &files).env("FARSPAN_REDIS_URL", url).start();
    rig.redis.await_subscribers(BATCH, 1);
    farspan.await_log("ACL SETUSER app +subscribe &event.workflow.started");
    rig.api.script("etl/1", short_story("etl/1"));
    rig.redis.publish(BATCH, event("etl", 1).as_bytes());
    assert_etl(&rig.trace("etl/1"));
}

#[test]
fn each_monitor_hears_its_own_channel_and_stream_beside_those_for_all() {
    let (rig, files) = (Rig::new(), Files::new());
    for id in ["a", "b", "etl/1", "etl/2", "etl/3", "etl/4"] {
        rig.api.script(id, short_story(id));
    }
    let farspan = call(&rig, &files).start();
    await_sources(&rig, &farspan);
    rig.redis.publish(BATCH, event("etl", 1).as_bytes());
    rig.redis.add(BATCH_STREAM, &event("etl", 2));
    rig.redis.publish(CHANNEL, br#"{"WorkflowId": "a"}"#);
    rig.redis.add(STREAM, r#"{"WorkflowId": "b"}"#);
    for id in ["etl/1", "etl/2"] {
        assert_etl(&rig.trace(id));
    }
    for id in ["a", "b"] {
        assert_eq!(rig.trace(id).root.span.name, "Workflow");
    }
    // An event that names its monitor is for that one, wherever it comes from.
    let named = |dag: &str, run: u32| {
        let mut event: Value = serde_json::from_str(&event(dag, run)).unwrap();
        event["Monitor"] = json!("etl");
        event.to_string()
    };
    rig.redis.publish(CHANNEL, named("etl", 3).as_bytes());
    let _: String = rig.redis.ask(&[
        "XADD",
        STREAM,
        "*",
        "message",
        &event("etl", 4),
        "monitor",
        "etl",
    ]);
    for id in ["etl/3", "etl/4"] {
        assert_etl(&rig.trace(id));
    }
    await_pending(&rig, STREAM, 0);
    await_pending(&rig, BATCH_STREAM, 0);
    farspan.stop();
    rig.receiver.assert_each_span_once();
}

#[test]
fn an_event_for_no_monitor_is_malformed_and_said() {
    let (rig, files) = (Rig::new(), Files::new());
    rig.api.script("etl/1", short_story("etl/1"));
    let farspan = call(&rig, &files).start();
    await_sources(&rig, &farspan);
    rig.redis
        .add(STREAM, r#"{"WorkflowId": "w", "monitor": "nobody"}"#);
    rig.redis
        .add(BATCH_STREAM, r#"{"WorkflowId": "without a slash"}"#);
    rig.redis.add(BATCH_STREAM, &event("e/t/l", 1));
    rig.redis.publish(BATCH, br#"{"dag": {"name": "etl"}}"#);
    rig.redis.add(BATCH_STREAM, &event("etl", 1));
    assert_etl(&rig.trace("etl/1"));
    await_pending(&rig, STREAM, 0);
    await_pending(&rig, BATCH_STREAM, 0);
    let reasons = |stream: &str| -> Vec<String> {
        let dead = format!("{stream}.dead");
        let dead: Vec<(String, Vec<(String, String)>)> =
            rig.redis.ask(&["XRANGE", &dead, "-", "+"]);
        dead.into_iter()
            .map(|(_, fields)| fields[0].1.clone())
            .collect()
    };
    assert_eq!(reasons(STREAM), [r#"there is no monitor "nobody""#]);
    let parts = r#"WorkflowId is not made of the parts that the monitor's "id" names"#;
    assert_eq!(reasons(BATCH_STREAM), [parts, parts]);
    farspan.await_log("ignored: no WorkflowId");
    farspan.stop();
}

/// Each entry is acknowledged in its own stream, also by a farspan that only has the record of its workflow; equal entry
/// ids in two streams are two entries.
#[test]
fn after_a_kill_each_entry_is_acknowledged_in_its_own_stream() {
    let (rig, files, state) = (Rig::new(), Files::new(), Folder::new());
    let call = call(&rig, &files)
        .env("FARSPAN_STATE", "file")
        .env("FARSPAN_STATE_DIR", state.path().display());
    for id in ["a", "etl/1", "etl/2"] {
        rig.api.script(id, [processing(id).reply()]);
    }
    let farspan = call.start();
    await_sources(&rig, &farspan);
    let add = |stream: &str, id: &str, message: &str| {
        let _: String = rig.redis.ask(&["XADD", stream, id, "message", message]);
    };
    add(STREAM, "1-1", r#"{"WorkflowId": "a"}"#);
    add(BATCH_STREAM, "1-1", &event("etl", 1));
    add(BATCH_STREAM, "1-2", &event("etl", 2));
    eventually("all are polled", SOON, || {
        ["a", "etl/1", "etl/2"]
            .iter()
            .all(|id| rig.api.polls(id) > 1)
    });
    farspan.kill();
    await_pending(&rig, STREAM, 1);
    await_pending(&rig, BATCH_STREAM, 2);
    rig.api.script("etl/1", [completed("etl/1").reply()]);
    let farspan = call.start();
    rig.trace("etl/1");
    await_pending(&rig, BATCH_STREAM, 1);
    assert_eq!(rig.redis.pending(STREAM), 1, "the same id, another stream");
    for id in ["a", "etl/2"] {
        rig.api.script(id, [completed(id).reply()]);
        rig.trace(id);
    }
    await_pending(&rig, STREAM, 0);
    await_pending(&rig, BATCH_STREAM, 0);
    farspan.stop();
    rig.receiver.assert_each_span_once();
}

#[test]
fn standard_input_and_requests_name_monitors_too() {
    let (rig, files) = (Rig::new(), Files::new());
    for id in ["line", "etl/1", "posted", "etl/2", "etl/3"] {
        rig.api.script(id, short_story(id));
    }
    let port = free_port();
    let call = call(&rig, &files)
        .with_arguments(&["run", "--events", "-"])
        .with_stdin()
        .env("FARSPAN_ADMIN_LISTEN", format!("127.0.0.1:{port}"));
    let mut farspan = call.start();
    let for_etl = |run: u32| {
        let mut event: Value = serde_json::from_str(&event("etl", run)).unwrap();
        event["monitor"] = json!("etl");
        event
    };
    farspan.write(format!("{{\"WorkflowId\": \"line\"}}\n{}\n", for_etl(1)));
    let post = |headers: &str, body: &Value| -> String {
        let body = body.to_string();
        let request = format!(
            "POST /api/workflows HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut connection = eventually("it listens", SOON, || {
            TcpStream::connect(("127.0.0.1", port)).map_err(|e| e.to_string())
        });
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    };
    let both = post("", &json!([{ "WorkflowId": "posted" }, for_etl(2)]));
    assert!(both.starts_with("HTTP/1.1 202"), "{both}");
    let binary = "ce-specversion: 1.0\r\nce-id: 1\r\nce-monitor: etl\r\n";
    let binary = post(binary, &serde_json::from_str(&event("etl", 3)).unwrap());
    assert!(binary.starts_with("HTTP/1.1 202"), "{binary}");
    let unknown = post("", &json!({ "WorkflowId": "posted", "monitor": "nobody" }));
    assert!(unknown.starts_with("HTTP/1.1 400"), "{unknown}");
    assert!(unknown.contains("unknown_monitor"), "{unknown}");
    for id in ["etl/1", "etl/2", "etl/3"] {
        assert_etl(&rig.trace(id));
    }
    for id in ["line", "posted"] {
        assert_eq!(rig.trace(id).root.span.name, "Workflow");
    }
    farspan.stop();
}

/// Two monitors without sources of their own: an event that names no monitor could be for either.
#[test]
fn where_no_monitor_is_the_one_for_all_events_have_to_name_theirs() {
    let (rig, files) = (Rig::new(), Files::new());
    for id in ["a", "b"] {
        rig.api.script(id, short_story(id));
    }
    let base_url = rig.api.base_url();
    let monitor = |name: &str| json!({ "name": name, "preset": "farspan", "api": { "base_url": base_url }, "spans": { "workflow": name } });
    let config = json!({ "monitors": [monitor("One"), monitor("Two")] });
    let call = rig
        .call()
        .env(
            "FARSPAN_CONFIG",
            files.write("farspan.json", config.to_string()),
        )
        .without("FARSPAN_API_BASE_URL");
    let farspan = rig.start_call(&call);
    rig.publish(&json!({ "WorkflowId": "c" }));
    rig.publish(&json!({ "WorkflowId": "a", "monitor": "One" }));
    rig.publish(&json!({ "WorkflowId": "b", "monitor": "Two" }));
    assert_eq!(rig.trace("a").root.span.name, "One");
    assert_eq!(rig.trace("b").root.span.name, "Two");
    assert!(farspan.stderr().contains("it names no monitor"));
    farspan.stop();
}

/// The admin endpoint may be there for the metrics alone.
#[test]
fn standard_input_that_ends_ends_farspan_whether_or_not_the_admin_endpoint_is_asked_for() {
    let rig = Rig::new();
    for id in ["none", "some"] {
        rig.api.script(id, [completed(id).reply()]);
    }
    let call = rig
        .call()
        .with_arguments(&["run", "--events", "-"])
        .without("FARSPAN_REDIS_URL")
        .with_stdin();
    let address = format!("127.0.0.1:{}", free_port());
    for (id, listen) in [("none", "none"), ("some", &address)] {
        let mut farspan = call.clone().env("FARSPAN_ADMIN_LISTEN", listen).start();
        farspan.write(format!("{{\"WorkflowId\": \"{id}\"}}\n"));
        farspan.end_input();
        let ended = farspan.wait(SOON);
        assert_eq!(ended.code(), Some(0), "{listen}: {ended:?}");
        let said = "when it has ended and everything is traced, farspan ends";
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
}

/// 9464 is also the port of exporters for Prometheus.
#[test]
fn a_default_port_that_is_taken_is_a_warning_where_events_come_from_elsewhere() {
    // Taken by this test, or for good by another program of this host.
    let _taken = within(SOON, || {
        TcpListener::bind("127.0.0.1:9464").map_err(|error| error.to_string())
    });
    let rig = Rig::new();
    rig.api.script("w", [completed("w").reply()]);
    let call = rig.call().without("FARSPAN_ADMIN_LISTEN");
    let farspan = rig.start_call(&call);
    farspan.await_log("farspan goes on without the admin endpoint");
    rig.submit("w");
    rig.trace("w");
    let log = farspan.stop().stderr;
    assert!(log.contains("cannot listen on 127.0.0.1:9464"), "{log}");

    let alone = call.without("FARSPAN_REDIS_URL").output();
    assert_eq!(alone.code(), Some(1), "{alone:?}");
    let asked = rig
        .call()
        .env("FARSPAN_ADMIN_LISTEN", "127.0.0.1:9464")
        .output();
    assert_eq!(asked.code(), Some(1), "{asked:?}");
}
