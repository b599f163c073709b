//! What comes in from Redis: good events among bad ones, any id, duplicates, outages.

use crate::support::api::{END, START, completed, processing, short_story};
use crate::support::redis::{CHANNEL, RedisServer};
use crate::support::rig::Rig;
use crate::support::spans::{assert_whole, hex};
use crate::support::{SOON, eventually, ns, percent_decoded};
use serde_json::json;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

#[test]
fn malformed_events_by_the_hundred_stop_nothing() {
    let rig = Rig::new();
    let bad = malformed();
    let good: Vec<String> = (0..bad.len() * 5).map(|n| format!("good-{n}")).collect();
    for id in &good {
        rig.api.script(id, [completed(id).reply()]);
    }
    let events: Vec<Vec<u8>> = good
        .iter()
        .zip(bad.iter().cycle())
        .flat_map(|(id, bad)| {
            [
                bad.clone(),
                json!({ "WorkflowId": id }).to_string().into_bytes(),
            ]
        })
        .collect();
    let mut farspan = rig.start();
    rig.redis
        .publish_all(CHANNEL, events.iter().map(Vec::as_slice));

    eventually("all good ones", 2 * SOON, || {
        match rig.receiver.count_roots(|_| true) {
            roots if roots == good.len() => Ok(()),
            roots => Err(format!("{roots} of {}", good.len())),
        }
    });
    assert!(farspan.is_running());
    farspan.stop();
    let traces = assert_whole(&rig.receiver.spans());
    assert_eq!(traces.len(), good.len());
    for trace in traces.values() {
        trace.root.assert_times(START, END);
        assert_eq!(trace.stages.len(), 3);
    }
    rig.receiver.assert_each_span_once();
    rig.api.assert_nothing_stray();
}

/// Messages that start nothing.
fn malformed() -> Vec<Vec<u8>> {
    let event = |rest: &str| format!(r#"{{"SubmittedAt": "2024-07-05T06:57:51Z"{rest}}}"#);
    let padded = |length: usize| {
        let bare = r#"{"WorkflowId": "stray", "pad": ""}"#.len();
        format!(
            r#"{{"WorkflowId": "stray", "pad": "{}"}}"#,
            "x".repeat(length - bare)
        )
    };
    let nested = |depth: usize| format!(r#"{{"WorkflowId": "stray", "x": {}"#, "[".repeat(depth));
    let texts = [
        String::new(),
        " ".into(),
        "not JSON".into(),
        "{".into(),
        "{}".into(),
        "[]".into(),
        "null".into(),
        "17".into(),
        "\"stray\"".into(),
        r#"["WorkflowId", "stray"]"#.into(),
        r#"{"WorkflowId": "stray""#.into(),
        r#"{"WorkflowId": "stray",}"#.into(),
        r#"{"WorkflowId": "stray"} {"WorkflowId": "stray"}"#.into(),
        r#"{'WorkflowId': 'stray'}"#.into(),
        event(""),
        event(r#", "WorkflowId": null"#),
        event(r#", "WorkflowId": """#),
        event(r#", "WorkflowId": true"#),
        event(r#", "WorkflowId": ["stray"]"#),
        event(r#", "WorkflowId": {"id": "stray"}"#),
        event(r#", "WorkflowId": 1e999"#),
        event(&format!(r#", "WorkflowId": "{}""#, "x".repeat(513))),
        event(&format!(r#", "WorkflowId": "{}""#, "ü".repeat(257))),
        padded((1 << 20) + 1),
        nested(60_000),
        nested(100_000),
        "[".repeat(60_000),
        r#"{"a":"#.repeat(12_000),
    ];
    let mut all: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    all.push(b"{\"WorkflowId\": \"stray\xff\xfe\"}".to_vec());
    all.push(b"\xef\xbf\x00\x01\x02".to_vec());
    all.push(vec![0; 100]);
    all.push((0..=255).collect());
    all
}

/// The bounds themselves are allowed.
#[test]
fn the_largest_event_and_the_longest_id_are_good() {
    let rig = Rig::new();
    let id = "x".repeat(512);
    let bare = json!({"WorkflowId": id, "pad": ""}).to_string().len();
    let event = json!({"WorkflowId": id, "pad": "y".repeat((1 << 20) - bare)});
    assert_eq!(event.to_string().len(), 1 << 20);
    rig.api.script(&id, short_story(&id));
    let _farspan = rig.start();
    rig.publish(&event);
    rig.trace(&id).root.assert_times(START, END);
}

/// What is wrong beside the id costs only itself.
#[test]
fn a_bad_carrier_is_ignored_and_the_workflow_traced_all_the_same() {
    let rig = Rig::new();
    let carriers = [
        json!("garbage"),
        json!(""),
        json!(17),
        json!(null),
        json!({"traceparent": 1}),
        json!("00-00000000000000000000000000000000-b87e9a101a090735-01"),
        json!("00-55319d0c4a44a2cc3ef02e43117528cb-0000000000000000-01"),
        json!("ff-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-01"),
        json!("00-55319D0C4A44A2CC3EF02E43117528CB-b87e9a101a090735-01"),
        json!("00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-01-extra"),
    ];
    let farspan = rig.start();
    for (n, carrier) in carriers.iter().enumerate() {
        let id = format!("carrier-{n}");
        rig.api.script(&id, short_story(&id));
        rig.publish(&json!({"WorkflowId": id, "traceparent": carrier}));
    }
    for (n, carrier) in carriers.iter().enumerate() {
        let trace = rig.trace(&format!("carrier-{n}"));
        let parent = &trace.root.span.parent_span_id;
        assert!(parent.is_empty(), "{carrier}: a parent {}", hex(parent));
    }
    // A submitter that gets it wrong gets it wrong in every event.
    let log = farspan.stop().stderr;
    let lines = log.matches("traceparent is not").count();
    assert_eq!(lines, 1, "{log}");
}

#[test]
fn no_id_leaves_its_path() {
    let rig = Rig::new();
    let ids = [
        "...",
        "a b",
        "a+b",
        "ü",
        "%",
        "50%25",
        "@example.com:80",
        "x?y#z",
        ";x=1&y=2",
        "\"'<>`{}|^",
        " ",
    ];
    // A proxy that decodes them, once or twice, could ask for another path with farspan's token.
    let refused = [
        "../../../admin/delete",
        ".",
        "..",
        "..;/x",
        "%2F",
        "%2e%2E",
        "..%252Fx",
        "a/b",
        "a\\b",
        "http://example.com/x",
        "//example.com",
        "line\r\nHost: example.com\r\n\r\n",
        "\u{0}",
    ];
    for id in ids.into_iter().chain(refused) {
        rig.api.script(id, short_story(id));
    }
    rig.api.script("42", short_story("42"));
    let farspan = rig.start();
    for id in refused.into_iter().chain(ids) {
        rig.submit(id);
    }
    rig.publish(&json!({"WorkflowId": 42}));

    for id in ids.into_iter().chain(["42"]) {
        let trace = rig.trace(id);
        assert_eq!(trace.root.workflow_id(), id);
        trace.root.assert_times(START, END);
    }
    let log = farspan.stop().stderr;
    let why = "ignored: WorkflowId '../../../admin/delete' has a slash or a backslash";
    assert!(log.contains(why), "{log}");
    for request in rig.api.server.requests() {
        let segment = request.target.strip_prefix("/risk/workflows/");
        let segment = segment.unwrap_or_else(|| panic!("left its path: {}", request.target));
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:@%".contains(&byte);
        assert!(segment.bytes().all(safe), "{segment}");
        let id = percent_decoded(segment).expect("well encoded");
        assert!(ids.contains(&&*id) || id == "42", "stray: {segment}");
    }
    rig.api.assert_nothing_stray();
}

#[test]
fn an_event_that_comes_again_is_one_workflow() {
    let rig = Rig::new();
    rig.api.script("twin", short_story("twin"));
    let farspan = rig.start();
    let event = json!({"WorkflowId": "twin", "SubmittedAt": "2024-07-05T06:57:51.0737407Z"});
    for _ in 0..3 {
        rig.publish(&event);
    }
    rig.trace("twin");
    let polls = rig.api.polls("twin");
    for _ in 0..3 {
        rig.publish(&event);
    }
    // What is heard later and ends shows that the duplicates were heard before it.
    rig.api.script("later", short_story("later"));
    rig.submit("later");
    rig.trace("later");
    farspan.stop();
    assert_eq!(rig.api.polls("twin"), polls, "not watched again");
    assert_eq!(polls, 2, "and never watched twice");
    assert_eq!(assert_whole(&rig.receiver.spans()).len(), 2);
    rig.receiver.assert_each_span_once();
}

#[test]
fn field_names_may_be_written_in_three_ways() {
    let rig = Rig::new();
    let parent = "00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-01";
    let (at, offset) = (
        "2024-07-05T06:57:51.0737407Z",
        "2024-07-05T08:57:51.0737407+02:00",
    );
    let events = [
        (
            "pascal",
            json!({"WorkflowId": "pascal", "SubmittedAt": at, "TraceParent": parent}),
        ),
        (
            "camel",
            json!({"workflowId": "camel", "submittedAt": offset, "traceParent": parent}),
        ),
        (
            "snake",
            json!({"workflow_id": "snake", "submitted_at": at, "TRACEPARENT": parent}),
        ),
        (
            "seconds",
            json!({"workflowId": "seconds", "submittedAt": 1_720_162_671, "traceparent": parent}),
        ),
        (
            "millis",
            json!({"workflowId": "millis", "submittedAt": 1_720_162_671_073_u64, "traceparent": parent}),
        ),
        (
            "micros",
            json!({"workflowId": "micros", "submittedAt": 1_720_162_671_073_740_u64, "traceparent": parent}),
        ),
        // As GitLab's webhooks have it.
        (
            "utc",
            json!({"workflowId": "utc", "submittedAt": "2024-07-05 06:57:51 UTC", "traceparent": parent}),
        ),
        (
            "rfc-1123",
            json!({"workflowId": "rfc-1123", "submittedAt": "Fri, 05 Jul 2024 06:57:51 GMT", "traceparent": parent}),
        ),
        (
            "basic",
            json!({"workflowId": "basic", "submittedAt": "20240705T065751+0000", "traceparent": parent}),
        ),
        (
            "unset",
            json!({"workflowId": "unset", "submittedAt": 0, "traceparent": parent}),
        ),
        (
            "1970",
            json!({"workflowId": "1970", "submittedAt": "1970-01-01T00:00:00Z", "traceparent": parent}),
        ),
    ];
    let _farspan = rig.start();
    for (id, event) in &events {
        rig.api.script(id, short_story(id));
        rig.publish(event);
    }
    for (id, _) in &events {
        let trace = rig.trace(id);
        let submitted = match *id {
            "seconds" | "utc" | "rfc-1123" | "basic" => Some("2024-07-05T06:57:51Z"),
            "millis" => Some("2024-07-05T06:57:51.073Z"),
            "micros" => Some("2024-07-05T06:57:51.07374Z"),
            "unset" | "1970" => None,
            _ => Some(at),
        };
        let has_submitted = trace.root.event_names().contains(&"Submitted");
        assert_eq!(has_submitted, submitted.is_some(), "{id}");
        if let Some(submitted) = submitted {
            assert_eq!(trace.root.event_time("Submitted"), ns(submitted), "{id}");
        }
        assert_eq!(hex(&trace.root.span.trace_id), &parent[3..35], "{id}");
        assert_eq!(
            hex(&trace.root.span.parent_span_id),
            &parent[36..52],
            "{id}"
        );
    }
}

#[test]
fn many_workflows_may_share_one_parent() {
    let rig = Rig::new();
    let parent = "00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-01";
    let ids: Vec<String> = (0..10).map(|n| format!("shared-{n}")).collect();
    let farspan = rig.start();
    for id in &ids {
        rig.api.script(id, short_story(id));
        rig.publish(&json!({"WorkflowId": id, "traceparent": parent}));
    }
    for id in &ids {
        rig.trace(id);
    }
    farspan.stop();
    let traces = assert_whole(&rig.receiver.spans());
    assert_eq!(traces.len(), ids.len());
    for trace in traces.values() {
        assert_eq!(hex(&trace.root.span.trace_id), &parent[3..35]);
        assert_eq!(trace.stages.len(), 3);
    }
}

#[test]
fn the_channel_may_be_another_one() {
    let rig = Rig::new();
    rig.api.script("elsewhere", short_story("elsewhere"));
    let call = rig.call().env("FARSPAN_REDIS_CHANNEL", "risk.started");
    let _farspan = call.start();
    rig.redis.await_subscribers("risk.started", 1);
    assert_eq!(rig.redis.subscribers(CHANNEL), 0);
    rig.redis
        .publish("risk.started", br#"{"WorkflowId": "elsewhere"}"#);
    rig.trace("elsewhere");
}

#[test]
fn a_redis_that_restarts_is_subscribed_again_and_watching_goes_on() {
    let mut rig = Rig::new();
    rig.api.script("before", [processing("before").reply()]);
    rig.api.script("after", short_story("after"));
    let mut farspan = rig.start();
    rig.submit("before");
    eventually("it is watched", SOON, || rig.api.polls("before") >= 2);

    rig.redis.stop();
    let polls = rig.api.polls("before");
    eventually("watched without Redis", SOON, || {
        rig.api.polls("before") > polls + 5
    });
    rig.api.script("before", [completed("before").reply()]);
    rig.trace("before");

    rig.redis.resume();
    rig.redis.await_subscribers(CHANNEL, 1);
    rig.submit("after");
    rig.trace("after");
    assert!(farspan.is_running());
}

#[test]
fn a_redis_that_fell_silent_is_missed_since_it_did() {
    let rig = Rig::new();
    let farspan = rig.start();
    rig.redis.signal("STOP");
    let patience = Duration::from_secs(60);
    eventually("the silence is noticed", patience, || {
        farspan.stderr().contains("trying again")
    });
    rig.redis.signal("CONT");
    const GAP: &str = "what was published in the last ";
    eventually("it is told", SOON, || farspan.stderr().contains(GAP));
    let log = farspan.stop().stderr;
    let (gap, _) = log.split_once(GAP).unwrap().1.split_once("s ").unwrap();
    let gap_s: f64 = gap.parse().unwrap_or_else(|e| panic!("{gap:?} {e}: {log}"));
    // So long farspan waits before it asks, and then for the answer.
    assert!(gap_s >= 20.0, "{log}");
}

#[test]
fn a_redis_that_is_down_at_the_start_is_waited_for() {
    let mut rig = Rig::new();
    rig.redis = RedisServer::stopped();
    rig.api.script("first", short_story("first"));
    let mut farspan = rig.call().start();
    eventually("it says that Redis is down", SOON, || {
        if farspan.stderr().to_lowercase().contains("redis") {
            Ok(())
        } else {
            Err(farspan.stderr())
        }
    });
    assert!(farspan.is_running());
    rig.redis.resume();
    rig.redis.await_subscribers(CHANNEL, 1);
    rig.submit("first");
    rig.trace("first");
}

#[test]
fn a_redis_that_refuses_the_password_is_tried_again() {
    let rig = Rig::new();
    rig.api.script("w", short_story("w"));
    rig.redis.set_password("right");
    let mut farspan = rig
        .call()
        .env("FARSPAN_REDIS_URL", rig.redis.url_with_password("wrong"))
        .start();
    farspan.await_log("is the password right?");
    assert!(farspan.is_running());
    rig.redis.set_password("wrong");
    rig.redis.await_subscribers(CHANNEL, 1);
    rig.submit("w");
    rig.trace("w");
    let log = farspan.stop().stderr;
    assert_eq!(log.matches("is the password right?").count(), 1, "{log}");
    assert!(!log.contains("wrong"), "no log holds a secret");
}

/// A read that waits with a timeout ends early at SIGCONT.
#[test]
fn a_farspan_that_is_stopped_and_continued_stays_subscribed() {
    let rig = Rig::new();
    let farspan = rig.start();
    for n in 0..5 {
        farspan.signal("STOP");
        farspan.signal("CONT");
        let id = format!("w{n}");
        rig.api.script(&id, short_story(&id));
        rig.submit(&id);
        rig.trace(&id);
    }
    let log = farspan.stop().stderr;
    assert_eq!(log.matches("subscribed to").count(), 1, "{log}");
}

/// A listener that gives up a read now and then to hear of a stop must not lose the half of a message that it has.
#[test]
fn an_event_that_comes_in_pieces_is_whole() {
    let rig = Rig::new();
    for id in ["slow-1", "slow-2"] {
        rig.api.script(id, [completed(id).reply()]);
    }
    let port = slow_way_to(rig.redis.url().rsplit(':').next().unwrap());
    let call = rig.call();
    let farspan =
        rig.start_call(&call.env("FARSPAN_REDIS_URL", format!("redis://127.0.0.1:{port}")));
    rig.submit("slow-1");
    rig.submit("slow-2");
    rig.trace("slow-1");
    rig.trace("slow-2");
    let ended = farspan.stop();
    assert!(!ended.stderr.contains("malformed"), "{}", ended.stderr);
    assert!(!ended.stderr.contains(" again;"), "{}", ended.stderr);
}

/// A port that leads to the server on another one, and hands on what it says of workflows in three pieces, each long
/// after the one before.
fn slow_way_to(port: &str) -> u16 {
    const PAUSE: Duration = Duration::from_millis(400);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own_port = listener.local_addr().unwrap().port();
    let server = format!("127.0.0.1:{port}");
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let (mut to_client, mut from_client) = (client.try_clone().unwrap(), client);
            let mut from_server = TcpStream::connect(&server).unwrap();
            let mut to_server = from_server.try_clone().unwrap();
            thread::spawn(move || io::copy(&mut from_client, &mut to_server));
            thread::spawn(move || {
                let pause = crossbeam_channel::never::<()>();
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = from_server.read(&mut bytes) {
                    let said = &bytes[..count];
                    let third = if said.windows(8).any(|w| w == b"Workflow") {
                        count / 3
                    } else {
                        count
                    };
                    for piece in said.chunks(third) {
                        if third < count {
                            pause.recv_timeout(PAUSE).unwrap_err();
                        }
                        if to_client.write_all(piece).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    own_port
}

/// A URL of a user who may do all but what `rules` take away.
fn user(redis: &RedisServer, rules: &[&str]) -> String {
    let words = ["ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all"];
    let _: String = redis.ask(&[&words, rules].concat());
    redis.url().replace("redis://", "redis://app:pw@")
}

/// Redis 7 gives a new user no channel.
#[test]
fn a_channel_that_redis_forbids_is_named_once_with_its_rule_and_tried_again() {
    const RULE: &str = "ACL SETUSER app +subscribe &event.workflow.started";
    for protocol in ["", "?protocol=resp3"] {
        let rig = Rig::new();
        rig.receiver.relaxed();
        let url = user(&rig.redis, &[]) + protocol;
        let call = || rig.call().env("FARSPAN_REDIS_URL", &url);
        let check = call().with_arguments(&["check"]).output();
        assert_eq!(check.code(), Some(1), "{check:?}");
        assert!(check.stdout.contains(RULE), "{}", check.stdout);
        let farspan = call().start();
        farspan.await_log(RULE);
        assert!(!farspan.stderr().contains("subscribed to"));
        rig.redis
            .ask::<()>(&["ACL", "SETUSER", "app", &format!("&{CHANNEL}")]);
        rig.redis.await_subscribers(CHANNEL, 1);
        rig.api.script("a", short_story("a"));
        rig.submit("a");
        rig.trace("a");
        // Taken away while it listens: Redis closes the connection.
        rig.redis
            .ask::<()>(&["ACL", "SETUSER", "app", "resetchannels"]);
        eventually("it is named again", SOON, || {
            farspan.stderr().matches(RULE).count() == 2
        });
        rig.redis
            .ask::<()>(&["ACL", "SETUSER", "app", "allchannels"]);
        rig.redis.await_subscribers(CHANNEL, 1);
        let log = farspan.stop().stderr;
        assert_eq!(log.matches(RULE).count(), 2, "{log}");
    }
}

#[test]
fn a_missing_password_for_redis_is_named() {
    for protocol in ["", "?protocol=resp3"] {
        let rig = Rig::new();
        let url = rig.redis.url() + "/" + protocol;
        rig.redis.set_password("right");
        let farspan = rig.call().env("FARSPAN_REDIS_URL", url).start();
        farspan.await_log("write the password into FARSPAN_REDIS_URL");
        assert!(!farspan.stderr().contains("subscribed to"));
    }
}

/// Redis would close the connection itself, unless it is configured to keep everything.
#[test]
fn a_message_of_any_length_takes_a_bounded_memory_and_later_ones_are_heard() {
    let rig = Rig::new();
    let limit = [
        "CONFIG",
        "SET",
        "client-output-buffer-limit",
        "pubsub 0 0 0",
    ];
    rig.redis.ask::<()>(&limit);
    let farspan = rig.start();
    rig.redis.publish(CHANNEL, &vec![b'x'; 300 << 20]);
    farspan.await_log("an answer of Redis is longer than 33554432 bytes");
    rig.redis.await_subscribers(CHANNEL, 1);
    rig.api.script("w", short_story("w"));
    rig.submit("w");
    rig.trace("w");
    let peak = farspan.memory_kib("VmHWM");
    assert!(peak < 160 << 10, "{peak} KiB at the most");
}
