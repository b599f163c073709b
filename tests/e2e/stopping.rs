//! How farspan ends.

use crate::support::api::{END, START, completed, processing, short_story};
use crate::support::http::Reply;
use crate::support::redis::CHANNEL;
use crate::support::rig::Rig;
use crate::support::spans::assert_whole;
use crate::support::{SOON, eventually};
use std::time::Duration;

#[test]
fn a_stop_lets_the_poll_end_and_exports_what_it_finished() {
    for signal in ["TERM", "INT"] {
        let rig = Rig::new();
        let late = Reply::Late(Duration::from_secs(1), Box::new(completed("slow").reply()));
        rig.api.script("slow", [late]);
        rig.api.script("endless", [processing("endless").reply()]);
        let farspan = rig.start();
        rig.submit("endless");
        eventually("it is watched", SOON, || rig.api.polls("endless") >= 1);
        rig.submit("slow");
        eventually("the poll is under way", SOON, || rig.api.polls("slow") == 1);
        farspan.signal(signal);
        let ended = farspan.wait(SOON);
        assert_eq!(ended.code(), Some(0), "{signal}: {}", ended.stderr);

        let traces = assert_whole(&only(&rig, "slow"));
        let trace = &traces["slow"];
        trace.root.assert_times(START, END);
        assert_eq!(trace.stages.len(), 3);
        assert!(!rig.receiver.has_root("endless"), "it has not ended");
        assert_eq!(rig.api.polls("slow"), 1);
    }
}

#[test]
fn a_stop_flushes_what_waits_for_a_batch() {
    let rig = Rig::new();
    rig.api.script("waiting", short_story("waiting"));
    let call = rig.call().env("OTEL_BSP_SCHEDULE_DELAY", "60000");
    let farspan = rig.start_call(&call);
    rig.submit("waiting");
    eventually("the workflow's end", SOON, || rig.api.told_all("waiting"));
    assert!(!rig.receiver.has_root("waiting"), "the batch is not due");
    farspan.stop();
    assert_eq!(
        assert_whole(&rig.receiver.spans())["waiting"].stages.len(),
        3
    );
}

#[test]
fn a_stop_when_idle_is_quick() {
    let rig = Rig::new();
    let farspan = rig.start();
    farspan.signal("TERM");
    let ended = farspan.wait(Duration::from_secs(2));
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let rig = Rig::new();
    rig.api.script("hangs", [Reply::Hang]);
    let mut farspan = rig.start();
    rig.submit("hangs");
    eventually("the poll that hangs", SOON, || rig.api.polls("hangs") == 1);
    farspan.signal("TERM");
    rig.redis.await_subscribers(CHANNEL, 0);
    assert!(farspan.is_running(), "the poll is let end");
    farspan.signal("TERM");
    farspan.wait(Duration::from_secs(3));
}

#[test]
fn a_reader_that_has_stopped_to_read_holds_up_no_stop() {
    let rig = Rig::new();
    let call = rig.call().env("OTEL_TRACES_EXPORTER", "otlp,console");
    let farspan = rig.start_call(&call.with_stdout_unread());
    // Far more than a pipe holds.
    let ids: Vec<String> = (0..300).map(|n| format!("w{n}")).collect();
    for id in &ids {
        rig.api.script(id, [completed(id).reply()]);
        rig.submit(id);
    }
    eventually("all are delivered", SOON, || {
        ids.iter().all(|id| rig.receiver.has_root(id))
    });
    farspan.signal("TERM");
    let ended = farspan.wait(SOON);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let given_up = "nobody has read standard output for 2s; given up";
    assert!(ended.stderr.contains(given_up), "{}", ended.stderr);
}

fn only(rig: &Rig, id: &str) -> Vec<crate::support::spans::Seen> {
    let mut spans = rig.receiver.spans();
    spans.retain(|span| span.workflow_id() == id);
    spans
}
