//! A limit on workflows under watch: what is beyond it waits where it came from, and nothing is dropped.

use crate::support::api::{completed, processing};
use crate::support::folder::Folder;
use crate::support::program::Call;
use crate::support::redis::CHANNEL;
use crate::support::rig::Rig;
use crate::support::spans::assert_whole;
use crate::support::{SOON, eventually, within};
use serde_json::json;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const STREAM: &str = "workflows";
const LIMIT: usize = 10;
const COUNT: usize = 60;

/// Workflows that the API counts as under watch: asked after, and not told to have ended.
#[derive(Clone, Default)]
struct Watched {
    now_and_most: Arc<Mutex<(HashSet<String>, usize)>>,
    may_end: Arc<AtomicBool>,
}

impl Watched {
    fn script(&self, rig: &Rig) -> Vec<String> {
        let ids: Vec<String> = (0..COUNT).map(|n| format!("w{n}")).collect();
        for id in &ids {
            let (it, name) = (self.clone(), id.clone());
            rig.api.decide(id, move |poll, _| {
                let mut watched = it.now_and_most.lock().expect("nobody panics");
                if poll == 0 {
                    watched.0.insert(name.clone());
                    watched.1 = watched.1.max(watched.0.len());
                }
                if poll < 2 || !it.may_end.load(Ordering::SeqCst) {
                    return processing(&name).reply();
                }
                watched.0.remove(&name);
                completed(&name).reply()
            });
        }
        ids
    }

    fn now(&self) -> usize {
        self.now_and_most.lock().expect("nobody panics").0.len()
    }

    fn most(&self) -> usize {
        self.now_and_most.lock().expect("nobody panics").1
    }

    /// As many as may be, and no more for some polls.
    #[track_caller]
    fn await_limit(&self) {
        eventually("as many as may be", SOON, || self.now() == LIMIT);
        let more = within(Duration::from_millis(500), || self.now() > LIMIT);
        assert!(more.is_err(), "{} under watch", self.now());
    }

    fn let_end(&self) {
        self.may_end.store(true, Ordering::SeqCst);
    }
}

fn call(rig: &Rig) -> Call {
    rig.call().env("FARSPAN_WORKFLOWS_MAX", LIMIT)
}

fn message(id: &str) -> String {
    json!({ "WorkflowId": id }).to_string()
}

#[track_caller]
fn await_all(rig: &Rig) {
    eventually("all are traced", 2 * SOON, || {
        match rig.receiver.count_roots(|_| true) {
            COUNT => Ok(()),
            count => Err(format!("{count} of {COUNT}")),
        }
    });
}

#[track_caller]
fn assert_all_once(rig: &Rig) {
    assert_eq!(assert_whole(&rig.receiver.spans()).len(), COUNT);
    rig.receiver.assert_each_span_once();
}

#[test]
fn entries_beyond_the_limit_stay_in_the_stream() {
    let (rig, watched) = (Rig::new(), Watched::default());
    let ids = watched.script(&rig);
    let messages: Vec<String> = ids.iter().map(|id| message(id)).collect();
    rig.redis.add_all(STREAM, &messages);
    let farspan = call(&rig).env("FARSPAN_REDIS_STREAM", STREAM).start();
    watched.await_limit();
    assert_eq!(rig.redis.pending(STREAM), COUNT, "none is acknowledged");
    watched.let_end();
    await_all(&rig);
    assert_eq!(watched.most(), LIMIT);
    eventually("nothing is pending", SOON, || {
        rig.redis.pending(STREAM) == 0
    });
    let stderr = farspan.stop().stderr;
    assert!(!stderr.contains("no room"), "{stderr}");
    assert_all_once(&rig);
}

#[test]
fn events_beyond_the_limit_wait_for_room() {
    let (rig, watched) = (Rig::new(), Watched::default());
    let ids = watched.script(&rig);
    let farspan = rig.start_call(&call(&rig));
    ids.iter().for_each(|id| rig.submit(id));
    watched.await_limit();
    watched.let_end();
    await_all(&rig);
    assert_eq!(watched.most(), LIMIT);
    let stderr = farspan.stop().stderr;
    assert!(!stderr.contains("no room"), "{stderr}");
    assert_all_once(&rig);
}

/// Pub/sub does not keep events, so farspan keeps them, even before their first poll.
#[test]
fn events_that_wait_for_room_outlive_a_stop() {
    let (rig, watched, directory) = (Rig::new(), Watched::default(), Folder::new());
    let ids = watched.script(&rig);
    let call = call(&rig)
        .env("FARSPAN_STATE", "file")
        .env("FARSPAN_STATE_DIR", directory.path().display());
    let farspan = rig.start_call(&call);
    ids.iter().for_each(|id| rig.submit(id));
    rig.redis.publish(CHANNEL, b"the last one");
    farspan.await_log("malformed start event");
    watched.await_limit();
    let stderr = farspan.stop().stderr;
    let kept = format!("kept for the next start: {COUNT} workflows");
    assert!(stderr.contains(&kept), "{stderr}");
    watched.let_end();
    let farspan = rig.start_call(&call);
    await_all(&rig);
    farspan.stop();
    assert_all_once(&rig);
}
