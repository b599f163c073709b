//! The wall clock is set: waiting times do not change, and exported times stay true.

use crate::support::api::{Body, END, START, completed, json_answer, processing};
use crate::support::clock::WallClock;
use crate::support::folder::Folder;
use crate::support::rig::Rig;
use crate::support::{SOON, eventually, wall_ns};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// How far times may be off that an API's `Date` has told: it has whole seconds.
const DATE_SLACK: Duration = Duration::from_secs(4);

/// Answers with the bodies that stand for the phases, and with the true time as its `Date`, as servers do.
fn dated(rig: &Rig, id: &str, bodies: Vec<Body>) -> Arc<AtomicUsize> {
    let phase = Arc::new(AtomicUsize::new(0));
    let current = phase.clone();
    rig.api.decide(id, move |_, _| {
        let body = &bodies[current.load(Ordering::SeqCst).min(bodies.len() - 1)];
        json_answer(&body.json()).header("Date", date()).into()
    });
    phase
}

fn date() -> String {
    let seconds = i64::try_from(wall_ns() / 1_000_000_000).expect("a time");
    let now = jiff::Timestamp::from_second(seconds).expect("a time");
    now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// One whose times the API never tells.
fn timeless(id: &str, status: &str) -> Body {
    Body::new(id, status).stage("DataLoader", status, "", "", "")
}

#[test]
fn a_clock_that_is_set_while_it_watches_changes_nothing() {
    const TIMEOUT: Duration = Duration::from_secs(40);
    let (rig, clock, directory) = (Rig::new(), WallClock::new(), Folder::new());
    let known = dated(&rig, "known", vec![processing("known"), completed("known")]);
    let bodies = ["Processing", "Completed"].map(|status| timeless("timeless", status));
    let observed = dated(&rig, "timeless", bodies.into());
    dated(&rig, "slow", vec![processing("slow")]);
    let call = rig
        .call()
        .env("FARSPAN_STATE", "file")
        .env("FARSPAN_STATE_DIR", directory.path().display())
        .env("FARSPAN_POLL_INTERVAL", "100ms")
        .env("FARSPAN_POLL_TIMEOUT", format!("{}s", TIMEOUT.as_secs()));
    let farspan = rig.start_call(&clock.given_to(call));
    let submitted = wall_ns();
    for id in ["known", "timeless", "slow"] {
        rig.submit(id);
        eventually("a poll", SOON, || rig.api.polls(id) >= 2);
    }
    for (step, seconds) in [3 * DAY, -2 * DAY, HOUR, -3 * HOUR, 5 * HOUR]
        .into_iter()
        .enumerate()
    {
        clock.set(seconds);
        // A workflow that is new shows by its line of the log that the clock is set, and gets its trace too.
        let id = format!("new-{step}");
        dated(&rig, &id, vec![processing(&id), completed(&id)]).store(1, Ordering::SeqCst);
        rig.submit(&id);
        clock.assert_read_by(
            &farspan,
            &format!("watching the workflow monitor=default workflow_id={id} "),
            seconds,
        );
        rig.trace(&id).root.assert_times(START, END);
        let polls = rig.api.polls("slow");
        eventually("polls go on", SOON, || rig.api.polls("slow") >= polls + 5);
    }
    known.store(1, Ordering::SeqCst);
    observed.store(1, Ordering::SeqCst);
    rig.trace("known").root.assert_times(START, END);
    let trace = rig.trace("timeless");
    let watched = submitted - nanos(DATE_SLACK)..wall_ns() + nanos(DATE_SLACK);
    for span in [&trace.root, trace.stage("DataLoader")] {
        assert!(watched.contains(&span.start()), "{span:?}");
        assert!(watched.contains(&span.end()), "{span:?}");
        for event in &span.span.events {
            assert!(watched.contains(&event.time_unix_nano), "{span:?}");
        }
    }
    assert_eq!(trace.root.error(), None);
    assert!(!rig.receiver.has_root("slow"), "no timeout came early");

    let trace = rig.trace_within("slow", TIMEOUT + SOON);
    assert_eq!(trace.root.error(), Some("Monitor timed out"));
    let after = Duration::from_nanos(trace.root.end() - submitted);
    let right = TIMEOUT - DATE_SLACK..TIMEOUT + 2 * DATE_SLACK;
    assert!(right.contains(&after), "by the true time: {after:?}");
    let times: Vec<_> = rig.api.requests_for("slow").iter().map(|r| r.at).collect();
    for pair in times.windows(2) {
        let pause = pair[1] - pair[0];
        let right = Duration::from_millis(40)..Duration::from_secs(4);
        assert!(right.contains(&pause), "polls keep their pace: {pause:?}");
    }
    farspan.stop();
    rig.receiver.assert_each_span_once();
    rig.api.assert_nothing_stray();
}

/// The lease of a fleet is held against both clocks.
#[test]
fn a_clock_that_is_set_holds_up_no_fleet_for_longer_than_a_lease() {
    let (rig, clock) = (Rig::new(), WallClock::new());
    let call = rig
        .call()
        .env("FARSPAN_STATE", "redis")
        .env("FARSPAN_LEASE", "3s")
        .env("FARSPAN_INSTANCE", "one");
    let farspan = rig.start_call(&clock.given_to(call));
    for (step, seconds) in [DAY, -DAY, 0].into_iter().enumerate() {
        clock.set(seconds);
        let id = format!("new-{step}");
        dated(&rig, &id, vec![completed(&id)]);
        rig.submit(&id);
        clock.assert_read_by(
            &farspan,
            &format!("watching the workflow monitor=default workflow_id={id} "),
            seconds,
        );
        rig.trace(&id).root.assert_times(START, END);
    }
    let log = farspan.stop().stderr;
    assert!(!log.contains("lapsed"), "{log}");
    rig.receiver.assert_each_span_once();
}

#[test]
fn a_clock_that_is_set_between_two_lives_moves_no_deadline_out_and_no_id() {
    const TIMEOUT: Duration = Duration::from_secs(10);
    let (rig, clock, directory) = (Rig::new(), WallClock::new(), Folder::new());
    let second = Body::new("w", "Processing")
        .start(START)
        .stage("DataLoader", "Completed", START, END, "")
        .stage("Processor", "Processing", "", "", "");
    let third = Body::new("w", "Completed")
        .start(START)
        .end(END)
        .stage("DataLoader", "Completed", START, END, "")
        .stage("Processor", "Completed", START, END, "");
    let phase = dated(&rig, "w", vec![processing("w"), second, third]);
    dated(&rig, "slow", vec![processing("slow")]);
    let call = rig
        .call()
        .env("FARSPAN_STATE", "file")
        .env("FARSPAN_STATE_DIR", directory.path().display());
    let patient = clock.given_to(call.clone());
    let hasty = call.env("FARSPAN_POLL_TIMEOUT", format!("{}s", TIMEOUT.as_secs()));
    let hasty = clock.given_to(hasty);

    let farspan = rig.start_call(&hasty);
    for id in ["w", "slow"] {
        rig.submit(id);
        eventually("a poll", SOON, || rig.api.polls(id) >= 2);
    }
    phase.store(1, Ordering::SeqCst);
    eventually("the first stage", SOON, || rig.receiver.spans().len() == 1);
    farspan.stop();

    clock.set(-DAY);
    let again = wall_ns();
    let farspan = rig.start_call(&hasty);
    clock.assert_read_by(&farspan, "restored 2 workflows", -DAY);
    phase.store(2, Ordering::SeqCst);
    let trace = rig.trace("w");
    trace.root.assert_times(START, END);
    assert_eq!(trace.stage_names(), ["DataLoader", "Processor"]);
    let trace = rig.trace_within("slow", 2 * SOON);
    assert_eq!(trace.root.error(), Some("Monitor timed out"));
    let after = Duration::from_nanos(wall_ns() - again);
    assert!(after < 2 * TIMEOUT, "not out by a day: {after:?}");
    let ended = again..wall_ns() + nanos(DATE_SLACK);
    assert!(ended.contains(&trace.root.end()), "by the API's clock");
    farspan.stop();
    let spans = rig.receiver.spans().len();

    // Two days on, the deadline of what is left has passed; but it has ended well, and is asked after before it is judged.
    let fresh = dated(&rig, "fresh", vec![processing("fresh"), completed("fresh")]);
    clock.set(0);
    let farspan = rig.start_call(&patient);
    rig.submit("fresh");
    eventually("a poll", SOON, || rig.api.polls("fresh") >= 2);
    farspan.stop();
    fresh.store(1, Ordering::SeqCst);
    clock.set(2 * DAY);
    let farspan = rig.start_call(&patient);
    let trace = rig.trace("fresh");
    trace.root.assert_times(START, END);
    assert_eq!(trace.root.error(), None);
    farspan.stop();
    assert_eq!(rig.receiver.spans().len(), spans + 4);
    rig.receiver.assert_each_span_once();
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("a short time")
}
