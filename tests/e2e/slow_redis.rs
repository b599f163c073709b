//! The way to Redis is slow, drips, or swallows everything: what is watched goes on, nothing is lost, and it heals by
//! itself.

use crate::support::api::{completed, processing, short_story};
use crate::support::folder::Folder;
use crate::support::program::{Call, Farspan};
use crate::support::proxy::Proxy;
use crate::support::redis::CHANNEL;
use crate::support::rig::Rig;
use crate::support::systemd::ServiceManager;
use crate::support::{SOON, eventually, wall_ns, within};
use serde_json::json;
use std::time::Duration;

const STREAM: &str = "workflows";
/// Farspan asks after 15 s of silence and waits 5 s for the answer; twice that on a busy machine.
const NOTICED: Duration = Duration::from_secs(60);

struct Slow {
    rig: Rig,
    proxy: Proxy,
    directory: Folder,
}

impl Slow {
    fn new() -> Self {
        let rig = Rig::new();
        let proxy = Proxy::to(("127.0.0.1", rig.redis.port()));
        rig.api.script("goes on", [processing("goes on").reply()]);
        Slow {
            rig,
            proxy,
            directory: Folder::new(),
        }
    }

    fn call(&self) -> Call {
        let url = format!("redis://127.0.0.1:{}", self.proxy.port());
        self.rig
            .call()
            .env("FARSPAN_REDIS_URL", url)
            .env("FARSPAN_STATE", "file")
            .env("FARSPAN_STATE_DIR", self.directory.path().display())
    }

    /// What is watched is asked after at its pace for this long.
    #[track_caller]
    fn assert_goes_on(&self, time: Duration) {
        let from = wall_ns();
        let until = from + u64::try_from(time.as_nanos()).unwrap();
        eventually("polls go on", time + SOON, || {
            let polls = self.rig.api.requests_for("goes on");
            polls.last().is_some_and(|poll| poll.at_wall_ns > until)
        });
        let polls = self.rig.api.requests_for("goes on");
        let mut last = from;
        for poll in polls.iter().filter(|poll| poll.at_wall_ns > from) {
            let pause = Duration::from_nanos(poll.at_wall_ns - last);
            assert!(pause < Duration::from_secs(3), "nobody asked for {pause:?}");
            last = poll.at_wall_ns;
        }
    }

    #[track_caller]
    fn await_log(&self, farspan: &Farspan, text: &str) {
        eventually(text, NOTICED, || match farspan.stderr() {
            log if log.contains(text) => Ok(()),
            log => Err(log),
        });
    }

    fn add(&self, id: &str) {
        self.rig.api.script(id, short_story(id));
        let event = json!({ "WorkflowId": id }).to_string();
        self.rig.redis.add(STREAM, &event);
    }

    fn submit(&self, id: &str) {
        self.rig.api.script(id, short_story(id));
        self.rig.submit(id);
    }

    #[track_caller]
    fn end(&self, farspan: Farspan) -> String {
        let goes_on = completed("goes on").reply();
        self.rig.api.script("goes on", [goes_on]);
        self.rig.trace("goes on");
        let log = farspan.stop().stderr;
        self.rig.receiver.assert_each_span_once();
        log
    }
}

#[test]
fn a_channel_that_is_slow_silent_or_cut_off() {
    let slow = Slow::new();
    let (rig, proxy) = (&slow.rig, &slow.proxy);
    let farspan = rig.start_call(&slow.call());
    rig.submit("goes on");
    eventually("a poll", SOON, || rig.api.polls("goes on") >= 1);

    proxy.delay(Duration::from_millis(700));
    slow.submit("late");
    slow.assert_goes_on(Duration::from_millis(500));
    rig.trace("late");
    proxy.drip(3, Duration::from_millis(20));
    slow.submit("dripped");
    slow.submit("dripped behind it");
    rig.trace("dripped");
    rig.trace("dripped behind it");

    // A network that drops everything for a while: TCP brings it later.
    proxy.black_hole();
    slow.submit("held up");
    slow.assert_goes_on(Duration::from_secs(2));
    assert_eq!(rig.api.polls("held up"), 0);
    proxy.restore();
    rig.trace("held up");

    // For too long: the connection is given up, and new ones lead nowhere.
    proxy.black_hole();
    let before = proxy.connections();
    slow.await_log(&farspan, "trying again");
    eventually("another attempt", NOTICED, || {
        proxy.connections() >= before + 2
    });
    slow.assert_goes_on(Duration::from_secs(2));
    proxy.restore();
    slow.await_log(&farspan, "what was published in the last ");
    rig.redis.await_subscribers(CHANNEL, 1);
    slow.submit("after the dark");
    rig.trace("after the dark");

    proxy.cut();
    slow.assert_goes_on(Duration::from_secs(1));
    proxy.restore();
    rig.redis.await_subscribers(CHANNEL, 1);
    slow.submit("after the cut");
    rig.trace("after the cut");
    let log = slow.end(farspan);
    assert_eq!(log.matches("may not have been heard").count(), 2, "{log}");
}

#[test]
fn a_stream_that_is_slow_silent_or_cut_off_loses_nothing() {
    let slow = Slow::new();
    let (rig, proxy) = (&slow.rig, &slow.proxy);
    let call = slow.call().env("FARSPAN_REDIS_STREAM", STREAM);
    let farspan = rig.start_call(&call);
    rig.submit("goes on");
    eventually("a poll", SOON, || rig.api.polls("goes on") >= 1);

    proxy.delay(Duration::from_millis(700));
    slow.add("late");
    slow.assert_goes_on(Duration::from_millis(500));
    rig.trace("late");
    proxy.drip(5, Duration::from_millis(10));
    slow.add("dripped");
    slow.add("dripped behind it");
    rig.trace("dripped");
    rig.trace("dripped behind it");

    proxy.black_hole();
    for n in 0..20 {
        slow.add(&format!("dark-{n}"));
    }
    eventually("the silence is noticed", NOTICED, || {
        let log = farspan.stderr();
        let mut lines = log
            .lines()
            .filter(|line| line.contains("stream workflows on Redis"));
        lines.any(|line| line.contains("trying again"))
    });
    slow.assert_goes_on(Duration::from_secs(2));
    proxy.restore();
    for n in 0..20 {
        rig.trace(&format!("dark-{n}"));
    }
    // Delivered while Redis is away; acknowledged when Redis is back.
    rig.receiver
        .rule(|_| Some(crate::support::http::Answer::new(503).into()));
    slow.add("unacknowledged");
    eventually("its end", SOON, || rig.api.told_all("unacknowledged"));
    proxy.cut();
    rig.receiver.behave();
    rig.trace_within("unacknowledged", 2 * SOON);
    assert_eq!(rig.redis.pending(STREAM), 1);
    proxy.restore();
    eventually("nothing is pending", SOON, || {
        rig.redis.pending(STREAM) == 0
    });
    slow.end(farspan);
}

#[test]
fn a_store_that_is_slow_silent_or_cut_off_loses_nothing() {
    let slow = Slow::new();
    let (rig, proxy) = (&slow.rig, &slow.proxy);
    let call = slow
        .call()
        .env("FARSPAN_REDIS_STREAM", STREAM)
        .env("FARSPAN_STATE", "redis")
        .env("FARSPAN_INSTANCE", "one")
        .env("FARSPAN_LEASE", "8s");
    let farspan = rig.start_call(&call);
    rig.submit("goes on");
    eventually("a poll", SOON, || rig.api.polls("goes on") >= 1);

    // Each commit takes half a second, and everything goes on at that pace.
    proxy.delay(Duration::from_millis(250));
    slow.submit("late");
    slow.add("late in the stream");
    rig.trace("late");
    rig.trace("late in the stream");
    // Signals and pauses of the process come while it waits for Redis, and end no call.
    slow.submit("signalled");
    slow.add("signalled in the stream");
    for id in ["signalled", "signalled in the stream"] {
        eventually("its end", SOON, || {
            for signal in ["HUP", "STOP", "CONT"] {
                farspan.signal(signal);
            }
            rig.api.told_all(id)
        });
        rig.trace(id);
    }
    proxy.drip(100, Duration::from_millis(5));
    slow.submit("dripped");
    rig.trace("dripped");
    proxy.restore();
    let calm = farspan.stderr();
    assert!(!calm.contains("the state cannot be written"), "{calm}");
    assert!(!calm.contains("trying again"), "{calm}");

    proxy.black_hole();
    slow.add("in the dark");
    slow.await_log(&farspan, "the state cannot be written");
    let polls = rig.api.polls("goes on");
    let exports = rig.receiver.exports().len();
    let still = within(Duration::from_secs(3), || {
        rig.api.polls("goes on") > polls + 1 || rig.receiver.exports().len() > exports
    });
    assert!(still.is_err(), "what cannot be kept is not done");
    proxy.restore();
    rig.trace_within("in the dark", 2 * SOON);
    slow.await_log(&farspan, "the state can be written again");
    slow.assert_goes_on(Duration::from_secs(1));

    proxy.cut();
    slow.add("while cut off");
    eventually("it is said again", SOON, || {
        farspan
            .stderr()
            .matches("the state cannot be written")
            .count()
            == 2
    });
    proxy.restore();
    rig.trace_within("while cut off", 2 * SOON);
    eventually("nothing is pending", SOON, || {
        rig.redis.pending(STREAM) == 0
    });
    slow.end(farspan);
}

#[test]
fn a_silent_redis_holds_up_no_stop() {
    for state in ["file", "redis"] {
        let slow = Slow::new();
        let call = slow
            .call()
            .env("FARSPAN_REDIS_STREAM", STREAM)
            .env("FARSPAN_STATE", state)
            .env("FARSPAN_INSTANCE", "one");
        let farspan = slow.rig.start_call(&call);
        slow.rig.submit("goes on");
        eventually("a poll", SOON, || slow.rig.api.polls("goes on") >= 1);
        slow.proxy.black_hole();
        let asked = wall_ns();
        farspan.signal("TERM");
        farspan.wait(2 * SOON);
        let took = Duration::from_nanos(wall_ns() - asked);
        // The unit's TimeoutStopSec.
        assert!(took < Duration::from_secs(25), "{state}: {took:?}");
    }
}

/// A byte a second: each read has its byte, and the answer would take minutes.
#[test]
fn a_redis_that_drips_holds_up_neither_answers_nor_the_watchdog_nor_the_stop() {
    const WATCHDOG: Duration = Duration::from_millis(400);
    let slow = Slow::new();
    let (rig, manager) = (&slow.rig, ServiceManager::listen());
    let call = slow
        .call()
        .env("FARSPAN_STATE", "redis")
        .env("FARSPAN_INSTANCE", "one")
        .env("FARSPAN_LEASE", "60s")
        .env("OTEL_TRACES_EXPORTER", "otlp,console");
    let farspan = rig.start_call(&manager.supervise(&call, WATCHDOG));
    rig.submit("goes on");
    eventually("a poll", SOON, || rig.api.polls("goes on") >= 1);
    let begun = wall_ns();
    slow.proxy.drip(1, Duration::from_secs(1));

    // The answer to the next poll is taken, and ends the workflow.
    rig.api.script("goes on", [completed("goes on").reply()]);
    eventually("its root span is shown", SOON, || {
        farspan.stdout().contains("Workflow")
    });
    slow.await_log(&farspan, "no answer in time");
    let fed = manager.count("WATCHDOG=1");
    manager.await_count("WATCHDOG=1", fed + 10);
    // Persist, then export.
    assert_eq!(rig.receiver.exports().len(), 0);

    let asked = wall_ns();
    farspan.signal("TERM");
    farspan.wait(2 * SOON);
    let took = Duration::from_nanos(wall_ns() - asked);
    // The unit's TimeoutStopSec.
    assert!(took < Duration::from_secs(25), "{took:?}");
    let all = Duration::from_nanos(wall_ns() - begun);
    assert!(all < Duration::from_secs(60), "{all:?}: it was held up");

    slow.proxy.restore();
    let again = rig.start_call(&call);
    rig.trace("goes on");
    again.stop();
    rig.receiver.assert_each_span_once();
}
