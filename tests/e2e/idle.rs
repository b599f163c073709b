//! Calm costs nothing: no thread is woken but for a poll, a lease, a watchdog or a message, and a poll without news
//! writes nothing.

use crate::support::api::{Body, START};
use crate::support::folder::Folder;
use crate::support::program::Farspan;
use crate::support::redis::CHANNEL;
use crate::support::rig::Rig;
use crate::support::threads::Threads;
use crate::support::{SOON, eventually, free_port, pause, wall_ns};
use serde_json::json;
use std::time::Duration;

const LOOK: Duration = Duration::from_secs(5);
/// Fewer than one a second, in all threads together. What remains: a ping to Redis each 15 s, which makes two for each
/// channel, and the end of a read of a stream each 2.5 s.
const WAKEUPS_MAX: u64 = 4;

/// Waits for a time in which hardly any thread is woken. A thread that ticks leaves no such time, and what happens once,
/// such as a commit or an export, is over soon.
#[track_caller]
fn assert_calm(farspan: &Farspan) {
    eventually("a calm time", SOON, || {
        let before = Threads::of(farspan.id());
        pause(LOOK);
        let used = Threads::of(farspan.id()).since(&before);
        let waits: u64 = used.iter().map(|thread| thread.waits).sum();
        let woken = used.iter().filter(|thread| thread.waits > 0);
        let woken: Vec<_> = woken.map(|it| (&*it.name, it.waits)).collect();
        if waits <= WAKEUPS_MAX {
            Ok(())
        } else {
            Err(format!("{waits} wake-ups in {LOOK:?}: {woken:?}"))
        }
    });
}

fn admin() -> String {
    format!("127.0.0.1:{}", free_port())
}

#[test]
fn with_nothing_to_watch_no_thread_ticks() {
    let (rig, state) = (Rig::new(), Folder::new());
    let call = rig.call().env("FARSPAN_ADMIN_LISTEN", admin());
    let call = call.env("FARSPAN_STATE", "file");
    let call = call.env("FARSPAN_STATE_DIR", state.path().display());
    let with_redis = rig.start_call(&call);
    let alone = Folder::new();
    let call = call.without("FARSPAN_REDIS_URL");
    let call = call.env("FARSPAN_ADMIN_LISTEN", admin());
    let call = call.env("FARSPAN_STATE_DIR", alone.path().display());
    let without_redis = call.start();
    assert_calm(&with_redis);
    assert_calm(&without_redis);
}

#[test]
fn workflows_that_wait_for_their_first_poll_wake_no_thread() {
    const WORKFLOWS: usize = 500;
    let (rig, state) = (Rig::new(), Folder::new());
    let call = rig.call().env("FARSPAN_ADMIN_LISTEN", admin());
    let call = call.env("FARSPAN_POLL_INITIAL_DELAY", "1h");
    let call = call.env("FARSPAN_STATE", "file");
    let call = call.env("FARSPAN_STATE_DIR", state.path().display());
    let farspan = rig.start_call(&call);
    let events: Vec<String> = (0..WORKFLOWS)
        .map(|number| json!({ "WorkflowId": format!("w{number}") }).to_string())
        .collect();
    let events = events.iter().map(String::as_bytes);
    rig.redis.publish_all(CHANNEL, events);
    assert_calm(&farspan);
    let ended = farspan.stop();
    let watched = format!("stopping: {WORKFLOWS} workflows under watch");
    assert!(ended.stderr.contains(&watched), "{}", ended.stderr);
}

#[test]
fn a_quiet_stream_whose_workflows_wait_wakes_no_thread() {
    const WORKFLOWS: usize = 20;
    let rig = Rig::new();
    let call = rig.call().env("FARSPAN_POLL_INITIAL_DELAY", "1h");
    let call = call.env("FARSPAN_REDIS_STREAM", "workflows");
    let call = call.env("FARSPAN_STATE", "redis");
    // Its renewals would wake threads.
    let farspan = rig.start_call(&call.env("FARSPAN_LEASE", "1h"));
    farspan.await_log("reading stream");
    for number in 0..WORKFLOWS {
        let event = json!({ "WorkflowId": format!("w{number}") });
        rig.redis.add("workflows", &event.to_string());
    }
    eventually("all are read", SOON, || {
        rig.redis.pending("workflows") == WORKFLOWS
    });
    assert_calm(&farspan);
    // A read that waits for an entry holds up no stop.
    let begun = wall_ns();
    let ended = farspan.stop();
    assert!(wall_ns() - begun < 2_000_000_000, "{}", ended.stderr);
    let watched = format!("stopping: {WORKFLOWS} workflows under watch");
    assert!(ended.stderr.contains(&watched), "{}", ended.stderr);
}

#[test]
fn a_poll_without_news_writes_nothing() {
    const POLLS: usize = 20;
    let (rig, state) = (Rig::new(), Folder::new());
    let body = Body::new("w", "Processing").start(START);
    let body = body.stage("DataLoader", "Processing", START, "", "");
    rig.api.script("w", [body.reply()]);
    let call = rig.call().env("FARSPAN_STATE", "file");
    let farspan = rig.start_call(&call.env("FARSPAN_STATE_DIR", state.path().display()));
    rig.submit("w");
    let written = || {
        let threads = Threads::of(farspan.id());
        let calls: Vec<u64> = threads.named("store").map(|it| it.waits).collect();
        assert_eq!(calls.len(), 1, "one thread makes all calls of the store");
        let mut files: Vec<_> = std::fs::read_dir(state.path())
            .expect("the state's directory")
            .map(|entry| {
                let path = entry.expect("a file of the state").path();
                let bytes = std::fs::read(&path).expect("a file of the state");
                (path, bytes)
            })
            .collect();
        files.sort();
        (calls, files)
    };
    let mark = state.path().join("farspan.commits");
    eventually("the first commit", SOON, || mark.exists());
    // The first answer is news, as the event was.
    eventually("polls that write nothing", SOON, || {
        let (polls, before) = (rig.api.polls("w"), written());
        eventually("polls", SOON, || rig.api.polls("w") >= polls + POLLS);
        let after = written();
        if before == after && polls > 0 {
            Ok(())
        } else {
            Err(format!("calls of the store: {:?}, {:?}", before.0, after.0))
        }
    });
}
