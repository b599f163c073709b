//! Several farspans share the work: what one loses the others finish, and nothing is told in two ways.

use crate::support::api::{STAGES, completed, processing, short_story};
use crate::support::program::{Call, Farspan};
use crate::support::receiver::Receiver;
use crate::support::redis::{CHANNEL, RedisServer};
use crate::support::rig::Rig;
use crate::support::spans::{Seen, assert_whole};
use crate::support::{SOON, eventually, wall_ns};
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;

const STREAM: &str = "workflows";
const LEASE: &str = "2s";

fn call(rig: &Rig, name: &str) -> Call {
    rig.call()
        .env("FARSPAN_STATE", "redis")
        .env("FARSPAN_LEASE", LEASE)
        .env("FARSPAN_INSTANCE", name)
        .env("FARSPAN_POLL_INTERVAL", "100ms")
        // Who exported a span is no part of it.
        .env(
            "OTEL_RESOURCE_ATTRIBUTES",
            format!("service.instance.id={name}"),
        )
}

fn event(id: &str) -> String {
    json!({ "WorkflowId": id }).to_string()
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

/// Polls answer "processing" until so long after the first, then "completed".
fn script(rig: &Rig, id: &str, lasts: Duration) {
    let (name, mut first) = (id.to_owned(), None);
    rig.api.decide(id, move |_, _| {
        let now = wall_ns();
        let first = *first.get_or_insert(now);
        match u128::from(now - first) < lasts.as_nanos() {
            true => processing(&name).reply(),
            false => completed(&name).reply(),
        }
    });
}

#[track_caller]
fn await_traces(rig: &Rig, count: usize) {
    eventually(&format!("{count} traces"), 4 * SOON, || {
        let mut roots: Vec<_> = rig.receiver.spans();
        roots.retain(Seen::is_root);
        let mut ids: Vec<_> = roots.iter().map(Seen::workflow_id).collect();
        ids.sort();
        ids.dedup();
        match ids.len() {
            traces if traces == count => Ok(()),
            traces => Err(format!("{traces}")),
        }
    });
}

/// Each span id has one content, however often and by whomever it was sent.
#[track_caller]
fn unique(receiver: &Receiver) -> Vec<Seen> {
    let mut shapes: HashMap<Vec<u8>, Seen> = HashMap::new();
    for export in receiver.exports() {
        for span in export.spans {
            let first = shapes
                .entry(span.span.span_id.clone())
                .or_insert(span.clone());
            assert!(
                first.bytes() == span.bytes(),
                "two contents:\n{first:?}\n{span:?}"
            );
        }
    }
    let delivered = receiver.spans();
    shapes.retain(|id, _| delivered.iter().any(|span| span.span.span_id == *id));
    shapes.into_values().collect()
}

#[track_caller]
fn await_nothing_pending(rig: &Rig) {
    eventually("nothing is pending", SOON, || {
        match rig.redis.pending(STREAM) {
            0 => Ok(()),
            pending => Err(format!("{pending} pending")),
        }
    });
}

#[track_caller]
fn await_nothing_stored(rig: &Rig) {
    eventually("no run is stored", SOON, || {
        let runs: Vec<String> = rig.redis.ask(&["KEYS", "farspan:*:run:*"]);
        match runs.len() {
            0 => Ok(()),
            runs => Err(format!("{runs} runs")),
        }
    });
}

#[test]
fn one_killed_one_frozen_and_nothing_lost() {
    let rig = Rig::new();
    let ids = names("w", 120);
    for (n, id) in ids.iter().enumerate() {
        script(&rig, id, Duration::from_millis(1500 + 50 * n as u64));
    }
    let start = |name| call(&rig, name).env("FARSPAN_REDIS_STREAM", STREAM).start();
    let killed = start("killed");
    let frozen = start("frozen");
    let steady = start("steady");
    rig.redis.await_subscribers(CHANNEL, 3);
    let messages: Vec<String> = ids.iter().map(|id| event(id)).collect();
    rig.redis.add_all(STREAM, &messages);
    eventually("all are watched", SOON, || {
        ids.iter().all(|id| rig.api.polls(id) > 0)
    });
    frozen.signal("STOP");
    killed.kill();
    eventually("most are done while it is frozen", 2 * SOON, || {
        rig.receiver.count_roots(|_| true) > ids.len() * 3 / 4
    });
    frozen.signal("CONT");
    await_traces(&rig, ids.len());
    await_nothing_pending(&rig);
    await_nothing_stored(&rig);
    let traces = assert_whole(&unique(&rig.receiver));
    assert_eq!(traces.len(), ids.len());
    for trace in traces.values() {
        assert_eq!(trace.stage_names().len(), STAGES.len());
    }
    assert!(frozen.stop().stderr.contains("the lease has lapsed"));
    assert!(
        steady.stop().stderr.contains("that were stored"),
        "it took nothing over"
    );
}

#[test]
fn an_event_that_all_hear_is_one_instances_work() {
    let rig = Rig::new();
    let ids = names("w", 60);
    for id in &ids {
        script(&rig, id, Duration::from_millis(300));
    }
    let all = ["a", "b", "c"].map(|name| call(&rig, name).start());
    rig.redis.await_subscribers(CHANNEL, 3);
    for id in &ids {
        assert_eq!(rig.redis.publish(CHANNEL, event(id).as_bytes()), 3);
    }
    await_traces(&rig, ids.len());
    await_nothing_stored(&rig);
    // And again: everybody knows that they are done.
    let polls: usize = ids.iter().map(|id| rig.api.polls(id)).sum();
    for id in &ids {
        rig.redis.publish(CHANNEL, event(id).as_bytes());
    }
    rig.api.script("last", short_story("last"));
    rig.redis.publish(CHANNEL, event("last").as_bytes());
    rig.trace("last");
    assert_eq!(polls, ids.iter().map(|id| rig.api.polls(id)).sum::<usize>());
    all.into_iter().for_each(|farspan| drop(farspan.stop()));
    assert_eq!(assert_whole(&rig.receiver.spans()).len(), ids.len() + 1);
    rig.receiver.assert_each_span_once();
}

/// What one has seen is in the spans of the other.
#[test]
fn a_takeover_keeps_what_was_observed() {
    let rig = Rig::new();
    let body = crate::support::api::Body::new;
    rig.api.script(
        "w",
        [body("w", "Initializing").reply(), processing("w").reply()],
    );
    let first = call(&rig, "first").start();
    rig.redis.await_subscribers(CHANNEL, 1);
    rig.submit("w");
    eventually("it is seen processing", SOON, || rig.api.polls("w") > 3);
    let second = call(&rig, "second").start();
    rig.redis.await_subscribers(CHANNEL, 2);
    first.kill();
    let killed_at = wall_ns();
    rig.api.script("w", [completed("w").reply()]);
    let trace = rig.trace("w");
    let root = &trace.root;
    assert!(
        wall_ns() - killed_at > 1_000_000_000,
        "not before the lease"
    );
    assert_eq!(root.resource["service.instance.id"], "second");
    assert!(
        root.event_names().contains(&"Initializing"),
        "{:?}",
        root.event_names()
    );
    second.stop();
    rig.receiver.assert_each_span_once();
}

#[test]
fn one_that_stops_leaves_its_work_at_once_and_one_that_restarts_has_its_own_again() {
    let rig = Rig::new();
    rig.api.script("w", [processing("w").reply()]);
    let lease = |name| call(&rig, name).env("FARSPAN_LEASE", "1h");
    let first = lease("first").start();
    rig.redis.await_subscribers(CHANNEL, 1);
    rig.submit("w");
    eventually("it is watched", SOON, || rig.api.polls("w") > 1);
    first.kill();
    let polls = rig.api.polls("w");
    let first = lease("first").start();
    eventually("it is watched again", SOON, || rig.api.polls("w") > polls);
    first.stop();
    let polls = rig.api.polls("w");
    let second = lease("second").start();
    eventually("the other watches it", SOON, || rig.api.polls("w") > polls);
    rig.api.script("w", [completed("w").reply()]);
    rig.trace("w");
    second.stop();
    rig.receiver.assert_each_span_once();
}

fn a_bounced_redis(server: RedisServer) {
    let mut rig = Rig::new();
    rig.redis = server;
    let ids = names("w", 40);
    for (n, id) in ids.iter().enumerate() {
        script(&rig, id, Duration::from_millis(500 + 100 * n as u64));
    }
    let all: Vec<Farspan> = ["a", "b"]
        .map(|name| call(&rig, name).env("FARSPAN_REDIS_STREAM", STREAM).start())
        .into();
    rig.redis.await_subscribers(CHANNEL, 2);
    let messages: Vec<String> = ids.iter().map(|id| event(id)).collect();
    rig.redis.add_all(STREAM, &messages);
    eventually("all are watched", SOON, || {
        ids.iter().all(|id| rig.api.polls(id) > 0)
    });
    for _ in 0..2 {
        eventually("some are traced", SOON, || {
            rig.receiver.count_roots(|_| true) > 2
        });
        rig.redis.stop();
        eventually("it is noticed", SOON, || {
            all.iter()
                .any(|f| f.stderr().contains("the state cannot be written"))
        });
        rig.redis.resume();
    }
    await_traces(&rig, ids.len());
    await_nothing_stored(&rig);
    assert_eq!(assert_whole(&unique(&rig.receiver)).len(), ids.len());
    all.into_iter().for_each(|farspan| drop(farspan.stop()));
}

#[test]
fn redis_bounced_and_everything_kept() {
    a_bounced_redis(RedisServer::durable());
}

#[test]
fn redis_bounced_and_everything_forgotten() {
    a_bounced_redis(RedisServer::start());
}

#[test]
fn two_of_one_name_do_not_fight() {
    let rig = Rig::new();
    rig.api.script("w", [processing("w").reply()]);
    let older = call(&rig, "same").start();
    rig.redis.await_subscribers(CHANNEL, 1);
    rig.submit("w");
    eventually("it is watched", SOON, || rig.api.polls("w") > 1);
    let newer = call(&rig, "same").start();
    eventually("the older one says so", SOON, || {
        older
            .stderr()
            .contains("give each its own FARSPAN_INSTANCE")
    });
    rig.api.script("w", [completed("w").reply()]);
    rig.trace("w");
    newer.stop();
    drop(older);
    assert_eq!(assert_whole(&unique(&rig.receiver)).len(), 1);
}

#[test]
fn a_wrong_password_is_told_at_once() {
    let mut rig = Rig::new();
    rig.redis = RedisServer::with_password("right");
    let url = rig.redis.url().replace("redis://", "redis://:wrong@");
    let ended = call(&rig, "a").env("FARSPAN_REDIS_URL", url).output();
    assert_eq!(ended.code(), Some(1));
    assert!(
        ended.stderr.contains("is the password right?"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("wrong@"), "{}", ended.stderr);
    let ended = call(&rig, "a").without("FARSPAN_REDIS_URL").output();
    assert_eq!(ended.code(), Some(2));
    assert!(
        ended.stderr.contains("needs FARSPAN_REDIS_URL"),
        "{}",
        ended.stderr
    );
}

#[test]
fn what_the_acl_forbids_is_told_at_once() {
    let rig = Rig::new();
    let _: String = rig.redis.ask(&[
        "ACL", "SETUSER", "limited", "on", ">pw", "~*", "&*", "+@all", "-evalsha", "-script",
    ]);
    let url = rig.redis.url().replace("redis://", "redis://limited:pw@");
    let ended = call(&rig, "a").env("FARSPAN_REDIS_URL", url).output();
    assert_eq!(ended.code(), Some(1));
    assert!(
        ended.stderr.contains("the ACL of farspan's user"),
        "{}",
        ended.stderr
    );
}

#[test]
fn one_that_starts_before_its_redis_waits_for_it() {
    let mut rig = Rig::new();
    rig.redis.stop();
    rig.api.script("w", short_story("w"));
    let farspan = call(&rig, "a").env("FARSPAN_REDIS_STREAM", STREAM).start();
    eventually("it says so", SOON, || {
        farspan.stderr().contains("the state cannot be written")
    });
    rig.redis.resume();
    rig.redis.add(STREAM, &event("w"));
    rig.trace("w");
    await_nothing_pending(&rig);
    farspan.stop();
}
