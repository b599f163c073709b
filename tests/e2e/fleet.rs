//! Several farspans share the work: the others finish what one loses, and no span is sent in two versions.

use crate::support::api::{STAGES, completed, processing, short_story};
use crate::support::files::Files;
use crate::support::old_redis::OldRedis;
use crate::support::program::{Call, Farspan, farspan};
use crate::support::proxy::Proxy;
use crate::support::receiver::{Export, Receiver};
use crate::support::redis::{CHANNEL, RedisServer};
use crate::support::rig::Rig;
use crate::support::spans::{Seen, assert_whole};
use crate::support::systemd::ServiceManager;
use crate::support::{SOON, eventually, wall_ns, within};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
        if u128::from(now - first) < lasts.as_nanos() {
            processing(&name).reply()
        } else {
            completed(&name).reply()
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
    steady.await_log("from the store");
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
        steady.stop().stderr.contains("from the store"),
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
    older.await_log("give each its own FARSPAN_INSTANCE");
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
    ended.assert_says("is the password right?");
    assert!(!ended.stderr.contains("wrong@"), "{}", ended.stderr);
    let ended = call(&rig, "a").without("FARSPAN_REDIS_URL").output();
    assert_eq!(ended.code(), Some(2));
    ended.assert_says("needs FARSPAN_REDIS_URL");
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
    ended.assert_says("the ACL of farspan's user");
}

/// A user that may not ask for the version.
#[test]
fn a_redis_that_does_not_tell_its_version_will_do() {
    let rig = Rig::new();
    let _: String = rig.redis.ask(&[
        "ACL", "SETUSER", "limited", "on", ">pw", "~*", "&*", "+@all", "-info",
    ]);
    let url = rig.redis.url().replace("redis://", "redis://limited:pw@");
    let farspan = call(&rig, "a")
        .env("FARSPAN_REDIS_URL", url)
        .env("FARSPAN_REDIS_STREAM", STREAM)
        .start();
    rig.api.script("w", short_story("w"));
    rig.redis.add(STREAM, &event("w"));
    rig.trace("w");
    farspan.stop();
}

#[test]
fn one_that_starts_before_its_redis_waits_for_it() {
    let mut rig = Rig::new();
    rig.redis.stop();
    rig.api.script("w", short_story("w"));
    let farspan = call(&rig, "a").env("FARSPAN_REDIS_STREAM", STREAM).start();
    farspan.await_log("the state cannot be written");
    rig.redis.resume();
    rig.redis.add(STREAM, &event("w"));
    rig.trace("w");
    await_nothing_pending(&rig);
    farspan.stop();
}

/// Two monitors, each with a stream of its own, and equal entry ids in both. What the dead had read of either stream is
/// finished by the other, and is acknowledged where it was read.
#[test]
fn one_killed_and_each_monitors_stream_is_acknowledged_for_itself() {
    const EACH: usize = 30;
    let (rig, files) = (Rig::new(), Files::new());
    let monitor = |name: &str| {
        json!({ "name": name, "preset": "farspan", "api": { "base_url": rig.api.base_url() },
            "spans": { "workflow": format!("Run of {name}") }, "events": { "redis_stream": format!("{name}.runs") } })
    };
    let file = json!({ "monitors": [monitor("early"), monitor("late")] }).to_string();
    let file = files.write("farspan.json", file);
    let start = |instance| {
        let call = call(&rig, instance).env("FARSPAN_CONFIG", &file);
        let farspan = call.without("FARSPAN_API_BASE_URL").start();
        eventually("it reads both streams", SOON, || {
            farspan.stderr().matches("reading stream").count() == 2
        });
        farspan
    };
    let (killed, heir) = (start("killed"), start("heir"));
    // Redis wakes the reader that waits longest, so that each of two that wait has a share.
    eventually("both wait for entries of both streams", SOON, || {
        let clients: String = rig.redis.ask(&["INFO", "clients"]);
        clients.contains("blocked_clients:4")
    });
    let ids = |name: &str| names(&format!("{name}-"), EACH);
    for name in ["early", "late"] {
        for (number, id) in ids(name).iter().enumerate() {
            rig.api.script(id, [processing(id).reply()]);
            let entry = format!("1-{}", number + 1);
            let stream = format!("{name}.runs");
            let _: String = rig
                .redis
                .ask(&["XADD", &stream, &entry, "message", &event(id)]);
        }
    }
    let all: Vec<String> = ["early", "late"].into_iter().flat_map(ids).collect();
    eventually("all are watched", SOON, || {
        all.iter().all(|id| rig.api.polls(id) > 1)
    });
    // The summary's consumers: each has its share of either stream.
    let shares = |stream: &str| -> BTreeMap<String, usize> {
        type Summary = (usize, String, String, Vec<(String, String)>);
        let (.., shares): Summary = rig.redis.ask(&["XPENDING", stream, "farspan"]);
        let share = |(name, count): (String, String)| (name, count.parse().expect("a number"));
        shares.into_iter().map(share).collect()
    };
    for stream in ["early.runs", "late.runs"] {
        let shares = shares(stream);
        assert_eq!(
            (shares.len(), shares.values().sum::<usize>()),
            (2, EACH),
            "{shares:?}"
        );
    }
    killed.kill();
    ids("early")
        .iter()
        .for_each(|id| rig.api.script(id, [completed(id).reply()]));
    await_traces(&rig, EACH);
    eventually("those of one stream are acknowledged", SOON, || {
        rig.redis.pending("early.runs") == 0
    });
    assert_eq!(
        rig.redis.pending("late.runs"),
        EACH,
        "the same ids, another stream"
    );
    ids("late")
        .iter()
        .for_each(|id| rig.api.script(id, [completed(id).reply()]));
    await_traces(&rig, 2 * EACH);
    eventually("all are", SOON, || rig.redis.pending("late.runs") == 0);
    await_nothing_stored(&rig);
    let log = heir.stop().stderr;
    assert!(
        log.contains("from the store"),
        "it took nothing over: {log}"
    );
    let spans = unique(&rig.receiver);
    assert_eq!(spans.len(), 2 * EACH * (1 + STAGES.len()));
    let traces = assert_whole(&spans);
    assert_eq!(traces.keys().collect::<BTreeSet<_>>(), all.iter().collect());
    for (id, trace) in traces {
        let (monitor, _) = id.split_once('-').expect("ours");
        assert_eq!(trace.root.span.name, format!("Run of {monitor}"));
    }
    for stream in ["early.runs.dead", "late.runs.dead"] {
        assert_eq!(rig.redis.ask::<usize>(&["XLEN", stream]), 0);
    }
}

/// How many runs each instance has.
fn owned(rig: &Rig) -> BTreeMap<String, usize> {
    let owners: Vec<String> = rig.redis.ask(&["SMEMBERS", "farspan:{farspan}:owners"]);
    let counted = owners.into_iter().map(|owner| {
        let runs = format!("farspan:{{farspan}}:runs:{owner}");
        let (name, _) = owner.split_once('/').expect("name/token");
        (name.to_owned(), rig.redis.ask(&["SCARD", &runs]))
    });
    counted.collect()
}

/// An instance reads all entries and is killed before its first commit: the store has no record of the runs.
#[test]
fn entries_of_one_that_died_before_its_first_commit_are_taken_over() {
    let rig = Rig::new();
    let ids = names("w", 70);
    for id in &ids {
        rig.api.script(id, short_story(id));
    }
    let messages: Vec<String> = ids.iter().map(|id| event(id)).collect();
    rig.redis.add_all(STREAM, &messages);
    let _: String = rig.redis.ask(&["XGROUP", "CREATE", STREAM, "farspan", "0"]);
    let read_at = wall_ns();
    let _: redis::Value = rig.redis.ask(&[
        "XREADGROUP",
        "GROUP",
        "farspan",
        "gone",
        "COUNT",
        "1000",
        "STREAMS",
        STREAM,
        ">",
    ]);
    let farspan = call(&rig, "heir")
        .env("FARSPAN_REDIS_STREAM", STREAM)
        .start();
    eventually("it takes them", SOON, || rig.api.polls("w0") > 0);
    assert!(wall_ns() - read_at >= 2_000_000_000, "not before the lease");
    await_traces(&rig, ids.len());
    await_nothing_pending(&rig);
    farspan.stop();
    assert_eq!(assert_whole(&rig.receiver.spans()).len(), ids.len());
    rig.receiver.assert_each_span_once();
}

#[test]
fn the_survivors_share_what_the_dead_had() {
    const LEASE: Duration = Duration::from_secs(3);
    const SLACK: Duration = Duration::from_secs(3);
    let rig = Rig::new();
    let ids = names("w", 151);
    for id in &ids {
        rig.api.script(id, [processing(id).reply()]);
    }
    let start = |name| call(&rig, name).env("FARSPAN_LEASE", "3s").start();
    let doomed = start("doomed");
    rig.redis.await_subscribers(CHANNEL, 1);
    ids.iter().for_each(|id| rig.submit(id));
    eventually("all are stored", SOON, || match owned(&rig).get("doomed") {
        Some(151) => Ok(()),
        count => Err(format!("{count:?}")),
    });
    let survivors = ["a", "b"].map(start);
    eventually("all three live", SOON, || owned(&rig).len() == 3);
    doomed.kill();
    let shared = eventually("they are shared out", LEASE * 4 / 3 + SLACK, || {
        let owned = owned(&rig);
        if owned.contains_key("doomed") {
            Err(format!("{owned:?}"))
        } else {
            Ok(owned)
        }
    });
    let mut counts: Vec<usize> = shared.into_values().collect();
    counts.sort_unstable();
    assert_eq!(counts, [75, 76]);
    for id in &ids {
        rig.api.script(id, [completed(id).reply()]);
    }
    await_traces(&rig, ids.len());
    await_nothing_stored(&rig);
    survivors.into_iter().for_each(|it| drop(it.stop()));
    rig.receiver.assert_each_span_once();
}

/// As after a step back to an older release while a newer one's work is not done.
#[test]
fn what_a_later_farspan_stored_waits_for_one_that_can_read_it() {
    let rig = Rig::new();
    let run = "farspan:{farspan}:run:00112233445566778899aabbccddeeff";
    let _: usize = rig.redis.ask(&[
        "HSET",
        run,
        "o",
        "later/1",
        "w",
        "\x7f what nobody knows yet",
    ]);
    let key = |name: &str| format!("farspan:{{farspan}}:{name}");
    let _: usize = rig.redis.ask(&[
        "SADD",
        &key("runs:later/1"),
        "00112233445566778899aabbccddeeff",
    ]);
    let _: usize = rig.redis.ask(&["SADD", &key("owners"), "later/1"]);
    let farspan = call(&rig, "older").env("FARSPAN_LEASE", "1s").start();
    const LINE: &str = "1 workflows that later/1 had were stored by a later farspan";
    eventually("it says so", SOON, || farspan.stderr().contains(LINE));
    rig.api.script("w", short_story("w"));
    rig.redis.await_subscribers(CHANNEL, 1);
    rig.submit("w");
    rig.trace("w");
    // It has looked some more times.
    let looks = || -> usize {
        let stats: String = rig.redis.ask(&["INFO", "commandstats"]);
        let line = stats
            .lines()
            .find(|line| line.starts_with("cmdstat_smembers:calls="));
        let calls = line.and_then(|line| line.split(['=', ',']).nth(1));
        calls.expect("it looks").parse().expect("a number")
    };
    let before = looks();
    eventually("it looks again", SOON, || looks() > before + 3);
    assert_eq!(farspan.stop().stderr.matches(LINE).count(), 1);
    let owner: String = rig.redis.ask(&["HGET", run, "o"]);
    assert_eq!(owner, "later/1");
}

#[test]
fn a_redis_that_is_too_old_is_named_and_waited_for() {
    const WORDS: &str =
        "Redis 5.0.7 is too old: a stream and FARSPAN_STATE=redis need 6.2 or later";
    let mut rig = Rig::new();
    rig.redis.stop();
    let old = OldRedis::start(rig.redis.port(), "5.0.7");
    let check = |state: &str| {
        farspan(&["check"])
            .env("FARSPAN_API_BASE_URL", rig.api.base_url())
            .env("FARSPAN_REDIS_URL", old.url())
            .env("FARSPAN_STATE", state)
            .env("OTEL_TRACES_EXPORTER", "none")
            .output()
    };
    let ended = check("redis");
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert!(
        ended.stdout.contains("FAIL  Redis: 127.0.0.1:"),
        "{ended:?}"
    );
    assert!(ended.stdout.contains(WORDS), "{ended:?}");
    // Pub/sub is as old as Redis.
    let ended = check("none");
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert!(ended.stdout.contains("version 5.0.7"), "{ended:?}");

    let running = call(&rig, "a").env("FARSPAN_REDIS_STREAM", STREAM).start();
    for line in [
        "the state cannot be written: Redis at ",
        "stream workflows on Redis at ",
    ] {
        eventually("it says so", SOON, || {
            let stderr = running.stderr();
            stderr
                .lines()
                .any(|l| l.contains(line) && l.contains(WORDS))
        });
    }
    drop(old);
    let newer = OldRedis::start(rig.redis.port(), "6.0.20");
    eventually("the change is told", SOON, || {
        running.stderr().matches("Redis 6.0.20 is too old").count() == 2
    });
    drop(newer);
    rig.redis.resume();
    rig.api.script("w", short_story("w"));
    rig.redis.add(STREAM, &event("w"));
    rig.trace("w");
    await_nothing_pending(&rig);
    let stderr = running.stop().stderr;
    assert_eq!(
        stderr.matches(WORDS).count(),
        2,
        "the store and the stream: {stderr}"
    );
}

fn proxy_to_redis(rig: &Rig) -> Proxy {
    Proxy::to(("127.0.0.1", rig.redis.port()))
}

fn sender(export: &Export) -> &str {
    let span = export.spans.first().expect("a span");
    &span.resource["service.instance.id"]
}

/// Cut off from Redis by a network that drops everything, while the API and the collector are there.
#[test]
fn cut_off_from_redis_it_is_silent_after_its_lease_and_refused_when_it_is_back() {
    const LEASE: Duration = Duration::from_secs(2);
    let rig = Rig::new();
    let ids = names("w", 60);
    for (n, id) in ids.iter().enumerate() {
        script(&rig, id, Duration::from_millis(1500 + 60 * n as u64));
    }
    let proxy = proxy_to_redis(&rig);
    let start = |name: &str, redis: String| {
        call(&rig, name)
            .env("FARSPAN_REDIS_URL", redis)
            .env("FARSPAN_REDIS_STREAM", STREAM)
            .env("FARSPAN_API_TOKEN", name)
            .start()
    };
    let cut = start("cut", format!("redis://{}", proxy.address()));
    rig.redis.await_subscribers(CHANNEL, 1);
    let messages: Vec<String> = ids.iter().map(|id| event(id)).collect();
    rig.redis.add_all(STREAM, &messages);
    eventually("all are watched", SOON, || {
        ids.iter().all(|id| rig.api.polls(id) > 0)
    });
    let steady = start("steady", rig.redis.url());
    eventually("it has exported", SOON, || {
        rig.receiver.count_roots(|_| true) > 3
    });
    proxy.black_hole();
    let cut_at = wall_ns();
    await_traces(&rig, ids.len());
    let silent = |what: &str, at: u64| {
        let late = Duration::from_nanos(at.saturating_sub(cut_at));
        assert!(late <= LEASE, "{what} {late:?} after it was cut off");
    };
    let exports = rig.receiver.exports();
    exports
        .iter()
        .filter(|export| sender(export) == "cut")
        .for_each(|export| silent("an export", export.http.at_wall_ns));
    let polls = |rig: &Rig, name: &str| {
        let mut requests = rig.api.server.requests();
        let token = format!("Bearer {name}");
        requests.retain(|request| request.header("authorization") == Some(&token));
        requests
    };
    polls(&rig, "cut")
        .iter()
        .for_each(|request| silent("a poll", request.at_wall_ns));
    assert!(
        exports.iter().any(|export| sender(export) == "cut"),
        "before"
    );
    let before = (exports.len(), polls(&rig, "cut").len());
    proxy.restore();
    eventually("it is refused", SOON, || {
        cut.stderr().contains("workflows are with other instances")
            || cut.stderr().contains(" are done")
    });
    cut.await_log("the state can be written again");
    await_nothing_pending(&rig);
    await_nothing_stored(&rig);
    let after = (rig.receiver.exports().len(), polls(&rig, "cut").len());
    assert_eq!(before, after, "it had nothing to tell and nothing to ask");
    let traces = assert_whole(&unique(&rig.receiver));
    assert_eq!(traces.len(), ids.len());
    // Both work.
    rig.api.script("last", short_story("last"));
    rig.redis.add(STREAM, &event("last"));
    rig.trace("last");
    cut.stop();
    steady.stop();
    assert_eq!(assert_whole(&unique(&rig.receiver)).len(), ids.len() + 1);
}

/// Cut off from the collector alone: its lease is valid, so its runs stay its own, and no other instance exports them.
#[test]
fn cut_off_from_the_collector_alone_it_keeps_its_runs() {
    const LEASE: Duration = Duration::from_secs(2);
    let rig = Rig::new();
    let ids = names("w", 20);
    for id in &ids {
        script(&rig, id, Duration::from_millis(1000));
    }
    let proxy = Proxy::to(rig.receiver.server.address());
    let cut = call(&rig, "cut")
        .env("FARSPAN_REDIS_STREAM", STREAM)
        .env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("http://{}", proxy.address()),
        )
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", 500)
        .start();
    rig.redis.await_subscribers(CHANNEL, 1);
    let messages: Vec<String> = ids.iter().map(|id| event(id)).collect();
    rig.redis.add_all(STREAM, &messages);
    eventually("all are watched", SOON, || {
        ids.iter().all(|id| rig.api.polls(id) > 0)
    });
    proxy.black_hole();
    let steady = call(&rig, "steady")
        .env("FARSPAN_REDIS_STREAM", STREAM)
        .start();
    rig.redis.await_subscribers(CHANNEL, 2);
    cut.await_log("the collector accepts no spans");
    let taken = within(LEASE * 2, || {
        !rig.receiver.exports().is_empty() || owned(&rig)["steady"] > 0
    });
    assert!(taken.is_err(), "the other one has told of them");
    assert_eq!(owned(&rig)["cut"], ids.len());
    proxy.restore();
    await_traces(&rig, ids.len());
    await_nothing_pending(&rig);
    await_nothing_stored(&rig);
    cut.stop();
    steady.stop();
    assert!(
        rig.receiver
            .exports()
            .iter()
            .all(|export| sender(export) == "cut")
    );
    assert_eq!(assert_whole(&unique(&rig.receiver)).len(), ids.len());
}

/// With the default lease each try to reach Redis holds the loop for two seconds: the watchdog is fed between them, and
/// a stop ends in its time.
#[test]
fn in_a_black_hole_the_watchdog_is_fed_and_a_stop_ends() {
    const WATCHDOG: Duration = Duration::from_secs(8);
    let rig = Rig::new();
    let proxy = proxy_to_redis(&rig);
    let manager = ServiceManager::listen();
    let call = call(&rig, "a")
        .env("FARSPAN_REDIS_URL", format!("redis://{}", proxy.address()))
        .env("FARSPAN_REDIS_STREAM", STREAM)
        .env("FARSPAN_LEASE", "30s");
    let farspan = manager.supervise(&call, WATCHDOG).start();
    rig.redis.await_subscribers(CHANNEL, 1);
    rig.api.script("w", [processing("w").reply()]);
    rig.redis.add(STREAM, &event("w"));
    eventually("it is watched", SOON, || rig.api.polls("w") > 2);
    proxy.black_hole();
    // Its end must be stored.
    rig.api.script("w", [completed("w").reply()]);
    eventually("it is noticed", SOON, || {
        let stderr = farspan.stderr();
        stderr.contains("the state cannot be written: Redis at ")
            && stderr.contains(": no answer in time;")
    });
    for _ in 0..2 {
        let before = manager.count("WATCHDOG=1");
        eventually("it is fed", WATCHDOG, || {
            manager.count("WATCHDOG=1") > before
        });
    }
    let stopped_at = wall_ns();
    farspan.signal("TERM");
    let ended = farspan.wait(SOON);
    let took = Duration::from_nanos(wall_ns() - stopped_at);
    // Nothing was under way. The store has 10 s, each attempt 2 s, acknowledgements 3 s.
    assert!(took < Duration::from_secs(16), "{took:?}: {}", ended.stderr);
    assert!(
        !ended.stderr.contains("still cannot be written"),
        "once is enough: {}",
        ended.stderr
    );
    assert_eq!(
        ended.code(),
        Some(1),
        "something could not be stored: {}",
        ended.stderr
    );
    // How far it got is chance; nothing is said to be kept.
    assert!(
        ended.stderr.contains(
            "the last changes of 1 workflows are lost, and the next start goes on from what was written before"
        ),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("kept for"), "{}", ended.stderr);
}
