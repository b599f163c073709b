//! Idle means idle: no thread is woken but for a poll, a lease, a watchdog or a message.

use crate::support::folder::Folder;
use crate::support::program::Farspan;
use crate::support::redis::CHANNEL;
use crate::support::rig::Rig;
use crate::support::threads::Threads;
use crate::support::{SOON, eventually, free_port, pause};
use serde_json::json;
use std::time::Duration;

const LOOK: Duration = Duration::from_secs(5);
/// Fewer than one a second, in all threads together. What remains is a ping to Redis each 15 s: two for each connection.
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
