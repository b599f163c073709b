//! Start events from a Redis stream: nothing is acknowledged before its spans are delivered, nothing is lost with
//! farspan, and what is malformed is kept.

use crate::support::api::{completed, processing, short_story};
use crate::support::folder::Folder;
use crate::support::http::Answer;
use crate::support::program::{Call, Farspan};
use crate::support::rig::Rig;
use crate::support::spans::assert_whole;
use crate::support::{SOON, eventually, wall_ns};
use serde_json::json;

const STREAM: &str = "workflows";

fn call(rig: &Rig) -> Call {
    rig.call()
        .env("FARSPAN_REDIS_STREAM", STREAM)
        .env("FARSPAN_INSTANCE", "one")
}

fn event(id: &str) -> String {
    json!({ "WorkflowId": id }).to_string()
}

#[track_caller]
fn await_pending(rig: &Rig, count: usize) {
    eventually(&format!("{count} pending"), SOON, || {
        match rig.redis.pending(STREAM) {
            pending if pending == count => Ok(()),
            pending => Err(format!("{pending} pending")),
        }
    });
}

#[track_caller]
fn await_group(rig: &Rig, farspan: &Farspan) {
    let _ = rig;
    farspan.await_log("reading stream");
}

#[test]
fn an_entry_is_pending_until_its_spans_are_acknowledged() {
    let rig = Rig::new();
    rig.receiver.rule(|_| Some(Answer::new(503).into()));
    rig.api.script("w", short_story("w"));
    // Published before the first farspan ever came.
    rig.redis.add(STREAM, &event("w"));
    let farspan = call(&rig).start();
    eventually("it was told to the collector", SOON, || {
        rig.receiver.exports().iter().any(|e| e.is_about("w"))
    });
    await_pending(&rig, 1);
    rig.receiver.behave();
    rig.trace("w");
    await_pending(&rig, 0);
    farspan.stop();
    rig.receiver.assert_each_span_once();
}

#[test]
fn an_entry_of_fields_and_one_with_a_message_and_a_duplicate() {
    let rig = Rig::new();
    rig.api.script("fields", short_story("fields"));
    rig.api.script("42", short_story("42"));
    let farspan = call(&rig).start();
    await_group(&rig, &farspan);
    let _: String = rig.redis.ask(&[
        "XADD",
        STREAM,
        "*",
        "WorkflowId",
        "fields",
        "SubmittedAt",
        "2024-07-05T06:57:51Z",
        "attributes",
        r#"{"team": "risk", "n": 3}"#,
        "Attempt",
        "2",
    ]);
    let _: String = rig.redis.ask(&["XADD", STREAM, "*", "workflow_id", "42"]);
    let _: String = rig.redis.ask(&["XADD", STREAM, "*", "workflow_id", "42"]);
    let trace = rig.trace("fields");
    assert_eq!(trace.root.attribute("team"), "risk");
    assert_eq!(trace.root.attribute("n"), "3 (int)");
    rig.trace("42");
    await_pending(&rig, 0);
    farspan.stop();
    rig.receiver.assert_each_span_once();
}

#[test]
fn a_killed_farspan_goes_on_with_what_it_had_read() {
    let rig = Rig::new();
    let folder = Folder::new();
    let call = call(&rig)
        .env("FARSPAN_STATE", "file")
        .env("FARSPAN_STATE_DIR", folder.path().display());
    let ids: Vec<String> = (0..20).map(|n| format!("w{n}")).collect();
    for id in &ids {
        rig.api.script(id, [processing(id).reply()]);
        rig.redis.add(STREAM, &event(id));
    }
    let farspan = call.start();
    eventually("all are polled", SOON, || {
        ids.iter().all(|id| rig.api.polls(id) > 1)
    });
    await_pending(&rig, ids.len());
    farspan.kill();
    for id in &ids {
        rig.api.script(id, [completed(id).reply()]);
    }
    let farspan = call.start();
    for id in &ids {
        rig.trace(id);
    }
    await_pending(&rig, 0);
    farspan.stop();
    assert_eq!(assert_whole(&rig.receiver.spans()).len(), ids.len());
    rig.receiver.assert_each_span_once();
}

#[test]
fn malformed_entries_are_kept_apart_and_stop_nothing() {
    let rig = Rig::new();
    rig.api.script("good", short_story("good"));
    let farspan = call(&rig).start();
    await_group(&rig, &farspan);
    let first = rig.redis.add(STREAM, "no JSON");
    rig.redis.add(STREAM, "{}");
    rig.redis.add(STREAM, &"[".repeat(70_000));
    let _: String = rig.redis.ask(&["XADD", STREAM, "*", "neither", "nor"]);
    rig.redis.add(STREAM, &event("good"));
    rig.trace("good");
    await_pending(&rig, 0);
    let dead: Vec<(String, Vec<(String, String)>)> =
        rig.redis
            .ask(&["XRANGE", &format!("{STREAM}.dead"), "-", "+"]);
    assert_eq!(dead.len(), 4);
    let (_, fields) = &dead[0];
    let field = |name: &str| &fields.iter().find(|(n, _)| n == name).unwrap().1;
    assert!(field("reason").starts_with("not JSON"), "{fields:?}");
    assert_eq!(
        (field("id"), field("message").as_str()),
        (&first, "no JSON")
    );
    assert_eq!(dead[3].1[2], ("neither".into(), "nor".into()));
    farspan.stop();
}

#[test]
fn what_is_acknowledged_is_trimmed_and_what_is_pending_never() {
    let rig = Rig::new();
    let ids: Vec<String> = (0..40).map(|n| format!("w{n}")).collect();
    for id in &ids {
        rig.api.script(id, short_story(id));
    }
    // The eleventh is not done for long.
    rig.api.script("w10", [processing("w10").reply()]);
    for id in &ids {
        rig.redis.add(STREAM, &event(id));
    }
    let farspan = call(&rig).env("FARSPAN_REDIS_STREAM_MAXLEN", "5").start();
    await_group(&rig, &farspan);
    let length = || rig.redis.ask::<usize>(&["XLEN", STREAM]);
    eventually("all before it are gone", SOON, || match length() {
        30 => Ok(()),
        length => Err(format!("{length} entries")),
    });
    rig.api.script("w10", [completed("w10").reply()]);
    await_pending(&rig, 0);
    eventually("five are left", SOON, || match length() {
        5 => Ok(()),
        length => Err(format!("{length} entries")),
    });
    farspan.stop();
    assert_eq!(assert_whole(&rig.receiver.spans()).len(), ids.len());
}

/// The stream and its group may be deleted under farspan, and Redis may go away and come back with nothing.
#[test]
fn a_stream_that_is_gone_is_made_anew() {
    let mut rig = Rig::new();
    rig.api.script("a", short_story("a"));
    rig.api.script("b", short_story("b"));
    let farspan = call(&rig).start();
    await_group(&rig, &farspan);
    let _: usize = rig.redis.ask(&["DEL", STREAM]);
    rig.redis.add(STREAM, &event("a"));
    rig.trace("a");
    rig.redis.stop();
    rig.redis.resume();
    rig.redis.add(STREAM, &event("b"));
    rig.trace("b");
    farspan.stop();
}

/// More entries than there is room for on their way: they stay in Redis until there is, and none is lost.
#[test]
fn a_burst_larger_than_the_queues_is_traced_whole() {
    let rig = Rig::new();
    let ids: Vec<String> = (0..1500).map(|n| format!("w{n}")).collect();
    let messages: Vec<String> = ids.iter().map(|id| event(id)).collect();
    for id in &ids {
        rig.api.script(id, [completed(id).reply()]);
    }
    rig.redis.add_all(STREAM, &messages);
    let farspan = call(&rig).env("FARSPAN_POLL_INTERVAL", "500ms").start();
    eventually("all are traced", 4 * SOON, || {
        match rig.receiver.count_roots(|_| true) {
            roots if roots == ids.len() => Ok(()),
            roots => Err(format!("{roots} of {}", ids.len())),
        }
    });
    await_pending(&rig, 0);
    farspan.stop();
    rig.receiver.assert_each_span_once();
}

/// A call that Redis refuses, after others that succeed, is tried at growing pauses, and its rule is named.
#[test]
fn a_call_that_redis_forbids_is_named_with_its_rule_and_tried_ever_more_rarely() {
    const RULE: &str = "ACL SETUSER app ~workflows ~workflows.dead +xgroup +xreadgroup +xack";
    for (call_name, event_is_traced) in [("xreadgroup", false), ("xack", true)] {
        let rig = Rig::new();
        let forbidden = format!("-{call_name}");
        rig.redis.ask::<()>(&[
            "ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", &forbidden,
        ]);
        let url = rig.redis.url().replace("redis://", "redis://app:pw@");
        rig.api.script("w", short_story("w"));
        rig.receiver.relaxed();
        let call = || call(&rig).env("FARSPAN_REDIS_URL", &url);
        let check = call().with_arguments(&["check"]).output();
        assert_eq!(check.code(), Some(1), "{check:?}");
        assert!(check.stdout.contains(RULE), "{}", check.stdout);
        let farspan = call().start();
        if event_is_traced {
            await_group(&rig, &farspan);
        }
        rig.redis.add(STREAM, &event("w"));
        farspan.await_log(RULE);
        let begun = wall_ns();
        eventually("it is tried six times after the check", SOON, || {
            let stats: String = rig.redis.ask(&["INFO", "commandstats"]);
            let stat = format!("cmdstat_{call_name}:");
            let calls = stats.lines().find(|line| line.starts_with(&stat));
            let rejected = calls.and_then(|line| line.split("rejected_calls=").nth(1));
            let rejected = rejected.and_then(|text| text.split(',').next()?.parse().ok());
            rejected.is_some_and(|rejected: u32| rejected >= 7)
        });
        // Pauses of half of 0.2, 0.4, 0.8, 1.6 and 3.2 s at least.
        assert!(wall_ns() - begun >= 3_000_000_000, "too often");
        let allowed = format!("+{call_name}");
        rig.redis.ask::<()>(&["ACL", "SETUSER", "app", &allowed]);
        rig.trace("w");
        await_pending(&rig, 0);
        let log = farspan.stop().stderr;
        let lines = log
            .lines()
            .filter(|line| line.contains("stream workflows on Redis"))
            .count();
        assert!(lines <= 4, "{log}");
    }
}

/// The key for malformed entries is of another type: nothing can be kept there.
#[test]
fn a_malformed_entry_that_cannot_be_moved_stays_pending() {
    let rig = Rig::new();
    rig.redis.ask::<()>(&["SET", "workflows.dead", "text"]);
    rig.api.script("w", short_story("w"));
    let farspan = call(&rig).start();
    rig.redis.add(STREAM, "no event");
    rig.redis.add(STREAM, &event("w"));
    rig.trace("w");
    await_pending(&rig, 1);
    let log = farspan.stop().stderr;
    assert!(
        log.contains("cannot be moved to workflows.dead, and stays pending"),
        "{log}"
    );
    assert!(!log.contains("moved to workflows.dead: not JSON"), "{log}");
    rig.redis.ask::<()>(&["DEL", "workflows.dead"]);
    let _farspan = call(&rig).start();
    await_pending(&rig, 0);
    assert_eq!(rig.redis.ask::<usize>(&["XLEN", "workflows.dead"]), 1);
}

/// Entries of a size that no event has, which are pending at every start.
#[test]
fn entries_of_megabytes_take_no_memory_and_are_named() {
    let rig = Rig::new();
    rig.api.script("w", short_story("w"));
    let pad = "x".repeat(4 << 20);
    for n in 0..40 {
        let event = json!({ "WorkflowId": format!("long-{n}"), "z": pad }).to_string();
        rig.redis.add(STREAM, &event);
    }
    rig.redis.add(STREAM, &event("w"));
    let farspan = call(&rig).start();
    rig.trace("w");
    await_pending(&rig, 0);
    // One that comes while the reader waits.
    let event = json!({ "WorkflowId": "late", "z": "x".repeat(30 << 20) }).to_string();
    rig.redis.add(STREAM, &event);
    eventually("it is kept apart", SOON, || {
        rig.redis.ask::<usize>(&["XLEN", "workflows.dead"]) == 41
    });
    await_pending(&rig, 0);
    let peak = farspan.memory_kib("VmHWM");
    assert!(peak < 48 << 10, "{peak} KiB at the most");
    let log = farspan.stop().stderr;
    assert!(
        log.contains(r#"longer than 1048576 bytes; its WorkflowId is "long-0""#),
        "{log}"
    );
}
