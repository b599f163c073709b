//! Finished events: what they say, how they are sent, and that none is lost.

use crate::support::api::{END, START, completed, processing, short_story};
use crate::support::files::Files;
use crate::support::folder::Folder;
use crate::support::http::{Answer, Reply, Request, Server};
use crate::support::monitored::Monitored;
use crate::support::program::{Call, farspan, lines_about};
use crate::support::redis::CHANNEL;
use crate::support::rig::Rig;
use crate::support::spans::{Seen, hex};
use crate::support::{SOON, eventually, free_port, pause};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::time::Duration;

const PARENT: &str = "00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-01";

/// One monitor of the original's API, whose ends are told so.
fn telling(rig: &Rig, finished: Value) -> Value {
    json!([{ "name": "risk", "preset": "farspan", "api": { "base_url": rig.api.base_url() }, "finished": finished }])
}

/// The rig's call with this file.
fn monitored(finished: Value) -> Monitored {
    let monitored = Monitored::by(json!([]));
    let monitors = telling(&monitored.rig, finished);
    with(monitored, monitors)
}

/// With its state in a file there.
fn kept_in(directory: &Folder, call: Call) -> Call {
    call.env("FARSPAN_STATE", "file")
        .env("FARSPAN_STATE_DIR", directory.path().display())
}

fn with(monitored: Monitored, monitors: Value) -> Monitored {
    let Monitored { rig, files, call } = monitored;
    let mut monitors = monitors;
    for monitor in monitors.as_array_mut().unwrap() {
        monitor["poll"] = json!({ "initial_delay": "10ms", "interval": "20ms" });
    }
    let config = json!({ "monitors": monitors }).to_string();
    let call = call.env("FARSPAN_CONFIG", files.write("farspan.json", config));
    Monitored { rig, files, call }
}

/// The parent that an event carries is the workflow's own span.
#[track_caller]
fn assert_goes_on(event: &Value, root: &Seen) {
    let (trace_id, span_id) = (hex(&root.span.trace_id), hex(&root.span.span_id));
    assert_eq!(event["traceparent"], format!("00-{trace_id}-{span_id}-01"));
}

fn root_of(monitored: &Monitored, id: &str) -> Seen {
    let mut spans = monitored.spans(id);
    spans.retain(|span| span.span.name == "Workflow");
    assert_eq!(spans.len(), 1);
    spans.remove(0)
}

fn told(server: &Server) -> Vec<Value> {
    let requests = server.requests();
    let bodies = requests.iter().map(|it| serde_json::from_slice(&it.body));
    bodies.map(Result::unwrap).collect()
}

#[track_caller]
fn await_told(server: &Server, count: usize) -> Vec<Value> {
    eventually(&format!("{count} are told"), SOON, || {
        match told(server).len() {
            told if told >= count => Ok(()),
            told => Err(format!("{told}")),
        }
    });
    told(server)
}

fn ids(events: &[Value]) -> Vec<&str> {
    let ids = events.iter().map(|event| event["WorkflowId"].as_str());
    ids.map(Option::unwrap).collect()
}

fn receiver() -> Server {
    Server::start(|_| Answer::new(204).into())
}

#[test]
fn a_channel_hears_of_an_end_in_the_trace_that_it_belongs_to() {
    let monitored = monitored(json!({ "redis_channel": "workflow.done" }));
    let rig = &monitored.rig;
    rig.api.script("w", short_story("w"));
    let client = redis::Client::open(rig.redis.url()).unwrap();
    let mut listener = client.get_connection().unwrap();
    let mut listener = listener.as_pubsub();
    listener.subscribe("workflow.done").unwrap();
    listener.set_read_timeout(Some(SOON)).unwrap();
    let farspan = monitored.start();
    rig.publish(
        &json!({ "WorkflowId": "w", "SubmittedAt": "2024-07-05T06:57:00Z", "traceparent": PARENT,
        "tracestate": "vendor=1", "attributes": { "desk": "rates", "lots": 3 } }),
    );
    let message = listener.get_message().expect("an event");
    let event: Value = serde_json::from_slice(message.get_payload_bytes()).unwrap();
    let root = root_of(&monitored, "w");
    assert_goes_on(&event, &root);
    let mut event = event;
    let identity = event["MessageId"].take();
    assert_eq!(identity.as_str().map(str::len), Some(32));
    assert!(
        event["traceparent"]
            .as_str()
            .unwrap()
            .starts_with(&PARENT[..36])
    );
    assert_eq!(
        event,
        json!({ "MessageType": "event.workflow.finished", "MessageId": null, "WorkflowId": "w", "Monitor": "risk",
            "Result": "success", "SubmittedAt": "2024-07-05T06:57:00Z", "StartTime": START, "EndTime": END,
            "traceparent": event["traceparent"], "tracestate": "vendor=1",
            "attributes": { "desk": "rates", "lots": 3 } })
    );
    root.assert_times(START, END);
    let log = farspan.stop().stderr;
    assert!(log.contains("1 finished events delivered"), "{log}");
}

#[test]
fn a_stream_has_an_entry_for_each_end_with_its_context_beside_it() {
    let monitored = monitored(json!({ "redis_stream": "done", "redis_stream_maxlen": 1000 }));
    let rig = &monitored.rig;
    rig.api.script("a", short_story("a"));
    rig.api.script("b", [completed("b").error("x").reply()]);
    let _farspan = monitored.start();
    rig.submit("a");
    monitored.spans("a");
    rig.submit("b");
    monitored.spans("b");
    let entries = || -> Vec<(String, HashMap<String, String>)> {
        rig.redis.ask(&["XRANGE", "done", "-", "+"])
    };
    eventually("two entries", SOON, || entries().len() == 2);
    for ((_, entry), id) in entries().iter().zip(["a", "b"]) {
        let event: Value = serde_json::from_str(&entry["message"]).unwrap();
        assert_eq!(event["WorkflowId"], id);
        assert_goes_on(&event, &root_of(&monitored, id));
        assert_eq!(event["traceparent"], entry["traceparent"]);
    }
}

#[test]
fn a_post_carries_the_context_among_its_headers_and_says_who_farspan_is() {
    let server = receiver();
    let files = Files::new();
    let token = files.write("token", "s3cr3t\n");
    let url = format!("{}/hooks/done?for=risk", server.url());
    let auth = json!({ "type": "bearer", "token_file": token });
    let monitored = monitored(json!({ "url": url, "auth": auth }));
    let rig = &monitored.rig;
    rig.api.decide("w", |_, _| {
        completed("w").error("Entity failed: DataLoader").reply()
    });
    let farspan = monitored.start();
    rig.publish(&json!({ "WorkflowId": "w", "traceparent": PARENT, "tracestate": "vendor=1" }));
    let event = await_told(&server, 1).remove(0);
    assert_goes_on(&event, &root_of(&monitored, "w"));
    let request = server.requests().remove(0);
    assert_eq!(
        (&*request.method, &*request.target),
        ("POST", "/hooks/done?for=risk")
    );
    for (name, value) in [
        ("content-type", "application/json"),
        ("authorization", "Bearer s3cr3t"),
        ("tracestate", "vendor=1"),
        ("traceparent", event["traceparent"].as_str().unwrap()),
    ] {
        assert_eq!(request.header(name), Some(value));
    }
    assert!(!farspan.stop().stderr.contains("s3cr3t"));
}

/// Workflows that ended in other ways, and workflows whose end the API never reported.
#[test]
fn failures_and_what_was_given_up_say_so() {
    let server = receiver();
    let monitored = monitored(json!({ "url": server.url() }));
    let rig = &monitored.rig;
    let failed = crate::support::api::Body::new("failed", "Failed")
        .start(START)
        .end(END)
        .error("Entity failed: DataLoader");
    rig.api.script("failed", [failed.reply()]);
    rig.api.decide("again", |_, _| processing("again").reply());
    let _farspan = monitored.start();
    rig.submit("failed");
    rig.publish(&json!({ "WorkflowId": "again", "Attempt": 1 }));
    eventually("a poll", SOON, || rig.api.polls("again") > 0);
    rig.publish(&json!({ "WorkflowId": "again", "Attempt": 2 }));
    let mut events = await_told(&server, 2);
    events.sort_by_key(|event| event["WorkflowId"].to_string());
    let said = |event: &Value, keys: &[&str]| -> Vec<Value> {
        keys.iter().map(|key| event[*key].clone()).collect()
    };
    let keys = [
        "WorkflowId",
        "Attempt",
        "Result",
        "Abandoned",
        "Error",
        "ErrorType",
    ];
    assert_eq!(
        said(&events[0], &keys),
        [
            json!("again"),
            json!(1),
            json!("error"),
            json!("superseded"),
            json!("Superseded by a later attempt"),
            json!("superseded")
        ]
    );
    assert_eq!(
        said(&events[1], &keys),
        [
            json!("failed"),
            json!(null),
            json!("failure"),
            json!(null),
            json!("Entity failed: DataLoader"),
            json!("Failed")
        ]
    );
}

#[test]
fn a_receiver_that_is_down_hears_everything_in_order_once_it_is_up() {
    let up = receiver();
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut down = Server::stopped(localhost, |_| Answer::new(200).into());
    let monitored = Monitored::by(json!([]));
    let base_url = monitored.rig.api.base_url();
    let monitor = |name: &str, url: String| json!({ "name": name, "preset": "farspan", "api": { "base_url": base_url }, "finished": { "url": url } });
    let monitors = json!([monitor("down", down.url()), monitor("up", up.url())]);
    let monitored = with(monitored, monitors);
    let farspan = monitored.start();
    let all: Vec<String> = (0..5).map(|n| format!("w{n}")).collect();
    for id in &all {
        for monitor in ["down", "up"] {
            let id = format!("{id}-{monitor}");
            monitored.rig.api.script(&id, short_story(&id));
            monitored
                .rig
                .publish(&json!({ "WorkflowId": id, "Monitor": monitor }));
            monitored.spans(&id);
        }
    }
    assert_eq!(await_told(&up, 5).len(), 5, "the other holds up nothing");
    down.resume();
    let events = await_told(&down, 5);
    let expected: Vec<String> = all.iter().map(|id| format!("{id}-down")).collect();
    assert_eq!(ids(&events), expected);
    let log = farspan.stop().stderr;
    for what in ["accepts nothing", "accepts them again"] {
        let said = format!("the receiver of finished events {what}");
        assert_eq!(lines_about(&log, "down", &said), 1, "{log}");
    }
    assert_eq!(told(&down).len(), 5, "each once");
}

#[test]
fn what_a_receiver_answers_decides_whether_it_is_told_again() {
    let answers = Mutex::new(vec![
        Answer::new(503).header("retry-after", 1),
        Answer::new(401),
        Answer::new(404),
        Answer::new(302).header("location", "http://elsewhere.test/"),
        Answer::new(300),
        Answer::new(202),
    ]);
    let server = Server::start(move |request: &Request| {
        let event: Value = serde_json::from_slice(&request.body).unwrap();
        let mut answers = answers.lock().unwrap();
        if event["WorkflowId"] == "bad" {
            return Answer::new(422).body("text/plain", "no such desk").into();
        }
        if answers.is_empty() {
            Answer::new(200).into()
        } else {
            answers.remove(0).into()
        }
    });
    let monitored = monitored(json!({ "url": server.url() }));
    let folder = Folder::new();
    let monitored = Monitored {
        call: kept_in(&folder, monitored.call.clone()),
        ..monitored
    };
    let rig = &monitored.rig;
    for id in ["bad", "again"] {
        rig.api.script(id, short_story(id));
    }
    let farspan = monitored.start();
    rig.submit("bad");
    monitored.spans("bad");
    await_told(&server, 1);
    rig.submit("again");
    await_told(&server, 7);
    let requests = server.requests();
    let of = |id: &str| -> Vec<&Request> {
        let id = format!("\"WorkflowId\":\"{id}\"");
        let about = |it: &&Request| String::from_utf8_lossy(&it.body).contains(&id);
        requests.iter().filter(about).collect()
    };
    assert_eq!(
        of("bad").len(),
        1,
        "what is refused for good holds up nothing"
    );
    let again = of("again");
    assert_eq!(again.len(), 6);
    assert!(
        again.iter().all(|it| it.body == again[0].body),
        "the same bytes"
    );
    assert!(
        again[1].at - again[0].at >= Duration::from_secs(1),
        "Retry-After"
    );
    let log = farspan.stop().stderr;
    assert!(
        log.contains("for good: HTTP 422 Unprocessable Entity: \"no such desk\"; kept in "),
        "{log}"
    );
    assert!(
        log.contains("1 finished events delivered, 1 finished events refused"),
        "{log}"
    );
    let shown = monitored
        .call
        .with_arguments(&["refused", "--json"])
        .output();
    let refused: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(refused["content"]["WorkflowId"], "bad", "{refused}");
}

#[test]
fn killed_before_the_notification_it_notifies_after_the_restart() {
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut server = Server::stopped(localhost, |_| Answer::new(200).into());
    let directory = Folder::new();
    let mut monitored = monitored(json!({ "url": server.url() }));
    monitored.call = kept_in(&directory, monitored.call);
    let rig = &monitored.rig;
    for id in ["a", "b"] {
        rig.api.script(id, short_story(id));
    }
    let farspan = monitored.start();
    for id in ["a", "b"] {
        rig.submit(id);
        monitored.spans(id);
    }
    farspan.await_log("accepts nothing");
    // That the delivered spans are deleted has no sign outside.
    pause(Duration::from_millis(500));
    farspan.kill();
    // A stop keeps the events that no receiver took.
    let farspan = monitored.start();
    let ended = farspan.stop();
    let kept = "kept for the next start: 0 workflows, 0 spans and 2 finished events to deliver";
    assert!(ended.stderr.contains(kept), "{}", ended.stderr);
    assert!(
        ended
            .stderr
            .contains("0 spans and 2 finished events from the store")
    );
    server.resume();
    let farspan = monitored.start();
    let events = await_told(&server, 2);
    assert_eq!(ids(&events), ["a", "b"]);
    for (event, id) in events.iter().zip(["a", "b"]) {
        assert_goes_on(event, &root_of(&monitored, id));
    }
    // Each event was sent once.
    farspan.stop();
    let farspan = monitored.start();
    rig.api.script("c", short_story("c"));
    rig.submit("c");
    assert_eq!(ids(&await_told(&server, 3)), ["a", "b", "c"]);
    drop(farspan);
}

#[test]
fn an_event_whose_answer_was_lost_is_told_again_with_the_same_bytes() {
    let server = {
        let first = Mutex::new(true);
        Server::start(move |_| {
            if std::mem::take(&mut *first.lock().unwrap()) {
                Reply::Close
            } else {
                Answer::new(200).into()
            }
        })
    };
    let monitored = monitored(json!({ "url": server.url() }));
    monitored.rig.api.script("w", short_story("w"));
    let _farspan = monitored.start();
    monitored.rig.submit("w");
    await_told(&server, 2);
    let requests = server.requests();
    assert_eq!(requests[0].body, requests[1].body);
}

/// What was taken by the stop is not told again, however slow the receiver.
#[test]
fn a_slow_receiver_is_told_nothing_twice_because_of_a_stop() {
    let server = Server::start(|_| {
        let answer = Answer::new(204).into();
        Reply::Late(Duration::from_millis(300), Box::new(answer))
    });
    let directory = Folder::new();
    let mut monitored = monitored(json!({ "url": server.url() }));
    monitored.call = kept_in(&directory, monitored.call);
    let rig = &monitored.rig;
    let all: Vec<String> = (0..45).map(|n| format!("w{n}")).collect();
    for id in &all {
        rig.api.script(id, short_story(id));
    }
    let farspan = monitored.start();
    for id in &all {
        rig.submit(id);
    }
    for id in &all {
        eventually("its trace", SOON, || rig.receiver.has_root(id));
    }
    let log = farspan.stop().stderr;
    assert!(log.contains("finished events to deliver"), "{log}");
    let _farspan = monitored.start();
    let contents = || -> HashSet<Vec<u8>> {
        let requests = server.requests().into_iter();
        requests.map(|it| it.body).collect()
    };
    eventually("all are told", 2 * SOON, || contents().len() == all.len());
    let tellings = server.requests().len();
    // One may have been under way at the stop.
    assert!(tellings <= all.len() + 1, "{tellings}");
}

#[test]
fn an_entry_is_acknowledged_when_its_finished_event_was_delivered() {
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut server = Server::stopped(localhost, |_| Answer::new(200).into());
    let mut monitored = monitored(json!({ "url": server.url() }));
    monitored.call = monitored.call.env("FARSPAN_REDIS_STREAM", "starts");
    let rig = &monitored.rig;
    rig.api.script("w", short_story("w"));
    let farspan = monitored.start();
    farspan.await_log("reading stream");
    rig.redis.add("starts", r#"{"WorkflowId": "w"}"#);
    monitored.spans("w");
    farspan.await_log("accepts nothing");
    assert_eq!(rig.redis.pending("starts"), 1);
    server.resume();
    await_told(&server, 1);
    eventually("it is acknowledged", SOON, || {
        rig.redis.pending("starts") == 0
    });
}

#[test]
fn what_the_dead_had_to_tell_the_others_do() {
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut server = Server::stopped(localhost, |_| Answer::new(200).into());
    let monitored = monitored(json!({ "url": server.url() }));
    let rig = &monitored.rig;
    let call = |name: &str| {
        let call = monitored.call.clone().env("FARSPAN_STATE", "redis");
        call.env("FARSPAN_LEASE", "2s")
            .env("FARSPAN_INSTANCE", name)
    };
    let (first, second) = (call("one").start(), call("two").start());
    rig.redis.await_subscribers(CHANNEL, 2);
    let all: Vec<String> = (0..8).map(|n| format!("w{n}")).collect();
    for id in &all {
        rig.api.script(id, short_story(id));
        let event = json!({ "WorkflowId": id }).to_string();
        assert_eq!(rig.redis.publish(CHANNEL, event.as_bytes()), 2);
    }
    for id in &all {
        eventually("its trace", SOON, || rig.receiver.has_root(id));
    }
    first.kill();
    server.resume();
    eventually("all are told", 4 * SOON, || {
        let events = told(&server);
        let mut told = ids(&events);
        told.sort_unstable();
        told.dedup();
        told.len() == all.len()
    });
    let mut contents: Vec<Vec<u8>> = server.requests().into_iter().map(|it| it.body).collect();
    contents.sort_unstable();
    contents.dedup();
    assert_eq!(contents.len(), all.len(), "whoever tells, says the same");
    let runs = || -> Vec<String> { rig.redis.ask(&["KEYS", "farspan:*:run:*"]) };
    eventually("nothing is left", SOON, || runs().is_empty());
    drop(second);
}

#[test]
fn trace_sends_no_finished_event() {
    let server = receiver();
    let monitored = monitored(json!({ "url": server.url() }));
    monitored.rig.api.script("w", short_story("w"));
    let file = monitored.files.write(
        "trace.json",
        json!({ "monitors": telling(&monitored.rig, json!({ "url": server.url() })) }).to_string(),
    );
    let ended = farspan(&["trace", "w"])
        .env("FARSPAN_CONFIG", file)
        .env("FARSPAN_POLL_INTERVAL", "50ms")
        .env("OTEL_TRACES_EXPORTER", "none")
        .output();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert!(server.requests().is_empty());
}

#[test]
fn check_tries_the_way_to_the_receiver() {
    let server = Server::start(|_| Answer::new(405).into());
    let nobody = format!("http://127.0.0.1:{}/hook", free_port());
    for (url, expected) in [
        (server.url(), "reachable (HTTP 405 to a GET)".to_owned()),
        (nobody.clone(), "is finished.url right".to_owned()),
    ] {
        let monitored = monitored(json!({ "url": url }));
        monitored.rig.receiver.relaxed();
        let ended = monitored.call.clone().with_arguments(&["check"]).output();
        let line = format!("monitor risk, finished events to {url}: ");
        let line = ended.stdout.lines().find(|it| it.contains(&line));
        assert!(line.is_some_and(|it| it.contains(&expected)), "{ended:?}");
    }
    assert!(server.requests().iter().all(|it| it.method == "GET"));
}

#[test]
fn a_receiver_in_redis_that_the_acl_forbids_is_named_with_its_rule() {
    for (finished, rule) in [
        (json!({ "redis_channel": "done" }), "+publish &done"),
        (json!({ "redis_stream": "done" }), "+xadd ~done"),
    ] {
        let mut monitored = monitored(finished);
        let rig = &monitored.rig;
        let user = ["ACL", "SETUSER", "app", "on", ">pw", "~x", "+@all"];
        rig.redis.ask::<()>(&user);
        rig.redis
            .ask::<()>(&["ACL", "SETUSER", "app", &format!("&{CHANNEL}")]);
        rig.receiver.relaxed();
        let url = rig.redis.url().replace("redis://", "redis://app:pw@");
        monitored.call = monitored.call.env("FARSPAN_REDIS_URL", url);
        let rule = format!("ACL SETUSER app {rule}");
        let check = monitored.call.clone().with_arguments(&["check"]).output();
        assert_eq!(check.code(), Some(1), "{check:?}");
        assert!(check.stdout.contains(&rule), "{}", check.stdout);
        monitored.rig.api.script("w", short_story("w"));
        let farspan = monitored.start();
        monitored.rig.submit("w");
        farspan.await_log(&rule);
        monitored
            .rig
            .redis
            .ask::<()>(&["ACL", "SETUSER", "app", "~*", "&*"]);
        farspan.await_log("accepts them again");
    }
}

/// The state has finished events, and the configuration has no receiver any more.
#[test]
fn a_notification_whose_receiver_is_gone_is_logged_and_stays() {
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut server = Server::stopped(localhost, |_| Answer::new(200).into());
    let directory = Folder::new();
    let mut telling = monitored(json!({ "url": server.url() }));
    telling.call = kept_in(&directory, telling.call);
    telling.rig.api.script("w", short_story("w"));
    let farspan = telling.start();
    telling.rig.submit("w");
    telling.spans("w");
    farspan.kill();
    let mut plain: Value = json!([{ "name": "risk", "preset": "farspan" }]);
    plain[0]["api"] = json!({ "base_url": telling.rig.api.base_url() });
    let file = telling
        .files
        .write("plain.json", json!({ "monitors": plain }).to_string());
    let without = telling.call.clone().env("FARSPAN_CONFIG", file);
    let ended = telling.rig.start_call(&without).stop();
    let said = "1 stored finished events have no receiver";
    let said = lines_about(&ended.stderr, "risk", said);
    assert_eq!(said, 1, "{}", ended.stderr);
    server.resume();
    let _farspan = telling.start();
    assert_eq!(ids(&await_told(&server, 1)), ["w"]);
}
