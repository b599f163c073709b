//! What is left when farspan ends, in whichever way, and what the next start makes of it.

use crate::carriers::Door;
use crate::support::api::{Body, END, START, completed, processing, short_story};
use crate::support::folder::Folder;
use crate::support::http::{Answer, Reply};
use crate::support::program::{Call, Farspan, farspan};
use crate::support::receiver::Receiver;
use crate::support::redis::CHANNEL;
use crate::support::rig::Rig;
use crate::support::spans::assert_whole;
use crate::support::{SOON, eventually, ns, rfc3339, wall_ns, within};
use serde_json::{Map, Value, json};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn kept_in(rig: &Rig, directory: &Path) -> Call {
    rig.call()
        .env("FARSPAN_STATE", "file")
        .env("FARSPAN_STATE_DIR", directory.display())
        .env("FARSPAN_ADMIN_LISTEN", "127.0.0.1:0")
}

/// Answers about one workflow that stand until the test goes on to the next.
fn phases(rig: &Rig, id: &str, replies: Vec<Reply>) -> Arc<AtomicUsize> {
    let phase = Arc::new(AtomicUsize::new(0));
    let current = phase.clone();
    rig.api.decide(id, move |_, _| {
        replies[current.load(Ordering::SeqCst)].clone()
    });
    phase
}

/// What is posted is accepted when it is stored, and everything that was handled before it with it. Two polls of something
/// else later, everything that was answered before has been handled.
#[track_caller]
pub fn await_commits(rig: &Rig, farspan: &Farspan, clockwork: &str) {
    await_polls(rig, clockwork);
    let log = farspan.stderr();
    let (_, address) = log
        .split_once("POST /api/workflows are at http://")
        .unwrap();
    let address = address.split('/').next().unwrap().to_owned();
    let known = json!({ "WorkflowId": clockwork }).to_string();
    let answer = Door { address }.post(&[], &known);
    assert_eq!(answer.status, 202, "{answer:?}");
}

#[track_caller]
fn await_polls(rig: &Rig, clockwork: &str) {
    let polls = rig.api.polls(clockwork);
    eventually("two more polls", SOON, || {
        rig.api.polls(clockwork) >= polls + 2
    });
}

#[test]
fn killed_between_two_stages_it_goes_on_with_the_same_trace() {
    let (rig, directory) = (Rig::new(), Folder::new());
    // The true times lie around now, so that observed ones stand as they are.
    let at = |seconds: i64| rfc3339(wall_ns().wrapping_add_signed(seconds * 1_000_000_000));
    let (start, middle, end) = (at(-600), at(600), at(1200));
    let first = Body::new("w", "Processing").start(&start);
    let first = first.stage("DataLoader", "Processing", &start, "", "");
    let second = Body::new("w", "Processing").start(&start);
    let second = second
        .stage("DataLoader", "Completed", &start, &middle, "")
        .stage("Processor", "Processing", &middle, "", "");
    let third = Body::new("w", "Completed").start(&start).end(&end);
    let third = third
        .stage("DataLoader", "Completed", &start, &middle, "")
        .stage("Processor", "Completed", &middle, &end, "");
    let replies = vec![first.reply(), second.reply(), third.reply()];
    let phase = phases(&rig, "w", replies);

    let call = kept_in(&rig, directory.path());
    let farspan = rig.start_call(&call);
    rig.publish(&json!({
        "WorkflowId": "w",
        "SubmittedAt": at(-700),
        "traceparent": "00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-01",
        "attributes": { "desk": "rates" },
    }));
    eventually("a poll", SOON, || rig.api.polls("w") >= 2);
    phase.store(1, Ordering::SeqCst);
    eventually("the first stage", SOON, || rig.receiver.spans().len() == 1);
    await_commits(&rig, &farspan, "w");
    let killed = wall_ns();
    farspan.kill();

    phase.store(2, Ordering::SeqCst);
    let farspan = rig.start_call(&call);
    let trace = rig.trace("w");
    assert_eq!(trace.stage_names(), ["DataLoader", "Processor"]);
    rig.receiver.assert_each_span_once();
    assert_eq!(trace.root.attribute("desk"), "rates");
    let seen = trace.stage("DataLoader").event_time("Processing");
    assert!(seen < killed);
    // One poll has shown both, and only one of them was exported before the kill.
    assert_eq!(trace.root.event_time("Processing"), seen);
    assert!(trace.root.event_time("Completed") > killed);
    let began = trace.stage("Processor").event_time("Processing");
    assert!((seen..killed).contains(&began) || began == ns(&middle));
    farspan.stop();
}

#[test]
fn killed_while_the_collector_is_down_it_delivers_what_waited_once() {
    let (rig, directory) = (Rig::new(), Folder::new());
    rig.receiver.rule(|_| Some(Answer::new(503).into()));
    for id in ["a", "b"] {
        rig.api.script(id, short_story(id));
    }
    rig.api.script("goes on", [processing("goes on").reply()]);
    let call = kept_in(&rig, directory.path());
    let farspan = rig.start_call(&call);
    for id in ["goes on", "a", "b"] {
        rig.submit(id);
    }
    eventually("both ends", SOON, || {
        rig.api.told_all("a") && rig.api.told_all("b")
    });
    await_commits(&rig, &farspan, "goes on");
    eventually("a refused export", SOON, || {
        !rig.receiver.exports().is_empty()
    });
    let refused = rig.receiver.exports().len();
    let polls = rig.api.polls("a");
    farspan.kill();

    rig.receiver.behave();
    let farspan = rig.start_call(&call);
    eventually("everything", SOON, || rig.receiver.spans().len() == 8);
    await_commits(&rig, &farspan, "goes on");
    rig.receiver.assert_each_span_once();
    assert!(rig.receiver.exports().len() > refused);
    for trace in assert_whole(&rig.receiver.spans()).values() {
        trace.root.assert_times(START, END);
    }
    assert_eq!(rig.api.polls("a"), polls, "it had ended");
    let log = farspan.stop().stderr;
    assert!(log.contains("restored 1 workflows and 8 spans"), "{log}");
}

#[test]
fn what_was_acknowledged_is_not_sent_again() {
    let (rig, directory) = (Rig::new(), Folder::new());
    rig.api.script("w", short_story("w"));
    rig.api.script("goes on", [processing("goes on").reply()]);
    let call = kept_in(&rig, directory.path());
    let farspan = rig.start_call(&call);
    rig.submit("goes on");
    rig.submit("w");
    rig.trace("w");
    await_commits(&rig, &farspan, "goes on");
    farspan.kill();
    let farspan = rig.start_call(&call);
    await_commits(&rig, &farspan, "goes on");
    farspan.stop();
    rig.receiver.assert_each_span_once();
}

#[test]
fn an_event_that_comes_again_after_a_restart_is_ignored() {
    let (rig, directory) = (Rig::new(), Folder::new());
    rig.api.script("lives", [processing("lives").reply()]);
    rig.api.script("ended", short_story("ended"));
    let call = kept_in(&rig, directory.path());
    let farspan = rig.start_call(&call);
    rig.submit("lives");
    rig.submit("ended");
    rig.trace("ended");
    await_commits(&rig, &farspan, "lives");
    farspan.kill();

    let polls = rig.api.polls("ended");
    let farspan = rig.start_call(&call);
    rig.submit("lives");
    rig.submit("ended");
    eventually("both are ignored", SOON, || {
        farspan.stderr().matches("duplicate start event").count() == 2
    });
    await_commits(&rig, &farspan, "lives");
    let log = farspan.stop().stderr;
    // The third is what `await_commits` posts.
    assert!(log.contains("0 events, 3 duplicates"), "{log}");
    assert_eq!(rig.api.polls("ended"), polls);
    rig.receiver.assert_each_span_once();
}

#[test]
fn after_a_stop_it_goes_on() {
    let (rig, directory) = (Rig::new(), Folder::new());
    let replies = vec![processing("w").reply(), completed("w").reply()];
    let phase = phases(&rig, "w", replies);
    let call = kept_in(&rig, directory.path());
    let farspan = rig.start_call(&call);
    rig.submit("w");
    eventually("a poll", SOON, || rig.api.polls("w") >= 1);
    let log = farspan.stop().stderr;
    assert!(
        log.contains("kept for the next start: 1 workflows, 0 spans to deliver"),
        "{log}"
    );
    phase.store(1, Ordering::SeqCst);
    let farspan = rig.start_call(&call);
    rig.trace("w").root.assert_times(START, END);
    let log = farspan.stop().stderr;
    assert!(log.contains("restored 1 workflows"), "{log}");
    rig.receiver.assert_each_span_once();
}

#[test]
fn a_stop_keeps_what_no_collector_took() {
    let (rig, directory) = (Rig::new(), Folder::new());
    rig.receiver.rule(|_| Some(Answer::new(503).into()));
    rig.api.script("w", short_story("w"));
    let call = kept_in(&rig, directory.path());
    let farspan = rig.start_call(&call);
    rig.submit("w");
    eventually("a refused export", SOON, || {
        rig.api.told_all("w") && !rig.receiver.exports().is_empty()
    });
    let log = farspan.stop().stderr;
    assert!(log.contains("4 spans to deliver"), "{log}");
    rig.receiver.behave();
    let farspan = rig.start_call(&call);
    rig.trace("w");
    farspan.stop();
    rig.receiver.assert_each_span_once();
}

#[test]
fn the_poll_timeout_counts_on_while_farspan_is_down() {
    let (rig, directory) = (Rig::new(), Folder::new());
    rig.api.script("slow", [processing("slow").reply()]);
    let call = kept_in(&rig, directory.path()).env("FARSPAN_POLL_TIMEOUT", "6s");
    let farspan = rig.start_call(&call);
    let submitted = wall_ns();
    rig.submit("slow");
    eventually("a third of the time", SOON, || {
        rig.api.polls("slow") > 0 && wall_ns() - submitted > 3_000_000_000
    });
    farspan.kill();
    let farspan = rig.start_call(&call);
    let trace = rig.trace("slow");
    assert_eq!(trace.root.error(), Some("Monitor timed out"));
    let after = Duration::from_nanos(trace.root.end() - submitted);
    let expected = Duration::from_secs(6)..Duration::from_secs(9);
    assert!(expected.contains(&after), "{after:?}");
    farspan.stop();
}

#[test]
fn a_second_instance_on_the_same_directory_is_refused() {
    let (rig, directory) = (Rig::new(), Folder::new());
    let call = kept_in(&rig, directory.path());
    let first = rig.start_call(&call);
    let second = call.output();
    assert_eq!(second.code(), Some(1));
    for part in ["another farspan", "FARSPAN_STATE_DIR", "farspan.redb"] {
        assert!(second.stderr.contains(part), "{}", second.stderr);
    }
    rig.api.script("w", short_story("w"));
    rig.submit("w");
    rig.trace("w");
    first.stop();
}

#[test]
fn a_damaged_file_is_set_aside_and_watching_goes_on() {
    let (rig, directory) = (Rig::new(), Folder::new());
    fs::write(directory.path().join("farspan.redb"), "no database").unwrap();
    let farspan = rig.start_call(&kept_in(&rig, directory.path()));
    rig.api.script("w", short_story("w"));
    rig.submit("w");
    rig.trace("w");
    let log = farspan.stop().stderr;
    let told = log.lines().find(|line| line.contains("is damaged"));
    assert!(told.is_some_and(|line| line.contains("ERROR")), "{log}");
    let names = fs::read_dir(directory.path()).unwrap();
    let aside = names.filter(|name| {
        let name = name.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("farspan.redb.damaged-")
    });
    assert_eq!(aside.count(), 1);
}

#[test]
fn a_file_that_is_removed_under_farspan_loses_nothing() {
    let (rig, directory) = (Rig::new(), Folder::new());
    let call = kept_in(&rig, directory.path());
    let file = directory.path().join("farspan.redb");
    for id in ["before", "after"] {
        rig.api.script(id, [processing(id).reply()]);
    }
    rig.api.script("clock", [processing("clock").reply()]);
    let farspan = rig.start_call(&call);
    rig.submit("clock");
    rig.submit("before");
    await_commits(&rig, &farspan, "clock");
    fs::remove_file(&file).unwrap();
    rig.submit("after");
    eventually("a poll", SOON, || rig.api.polls("after") > 0);
    await_commits(&rig, &farspan, "clock");
    assert!(farspan.stderr().contains("was removed or replaced"));
    farspan.kill();
    for id in ["before", "after"] {
        rig.api.script(id, short_story(id));
    }
    let farspan = rig.start_call(&call);
    for id in ["before", "after"] {
        rig.trace(id);
    }
    farspan.kill();
    // As a file system leaves it that has crashed.
    fs::write(&file, "").unwrap();
    let log = rig.start_call(&call).stop().stderr;
    let told = log.lines().find(|line| line.contains("has lost the last"));
    assert!(told.is_some_and(|line| line.contains("ERROR")), "{log}");
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let (rig, directory) = (Rig::new(), Folder::new());
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    for place in [&*file, Path::new("/proc/farspan"), &file.join("below")] {
        let ended = kept_in(&rig, place).output();
        assert_eq!(ended.code(), Some(1), "{}", place.display());
        for part in ["FARSPAN_STATE_DIR", place.to_str().unwrap()] {
            assert!(ended.stderr.contains(part), "{}", ended.stderr);
        }
    }
}

#[test]
fn without_a_store_it_says_so() {
    let rig = Rig::new();
    rig.api.script("w", [processing("w").reply()]);
    let farspan = rig.start();
    rig.submit("w");
    eventually("a poll", SOON, || rig.api.polls("w") >= 1);
    let log = farspan.stop().stderr;
    assert!(
        log.contains("FARSPAN_STATE=none: what is watched is forgotten at the end"),
        "{log}"
    );
    assert!(
        log.contains(
            "1 workflows are no longer watched, and 0 spans were not delivered: without a state"
        ),
        "{log}"
    );
}

/// A place for farspan's file that can be made full: a file system of a few pages, for which it takes root; or a limit on
/// the size of the files that farspan writes, which needs no root. The one gives `ENOSPC`, the other `EFBIG`.
struct Disk {
    folder: Folder,
    mounted: bool,
}

impl Disk {
    /// A file system, where we may mount one; else as [`limited`](Disk::limited).
    fn small() -> Self {
        let folder = Folder::new();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=32m", "farspan-test"]);
        let mounted = mount.arg(folder.path()).stderr(Stdio::null()).status();
        let mounted = mounted.is_ok_and(|status| status.success());
        Disk { folder, mounted }
    }

    fn limited() -> Self {
        Disk {
            folder: Folder::new(),
            mounted: false,
        }
    }

    fn call(&self, rig: &Rig) -> Call {
        // A process that writes beyond the limit is killed, unless it ignores SIGXFSZ.
        kept_in(rig, self.folder.path()).by(&["env", "--ignore-signal=XFSZ"])
    }

    /// A start with the disk full.
    fn call_full(&self, rig: &Rig) -> Call {
        if self.mounted {
            self.fill();
            self.call(rig)
        } else {
            let limit = format!("--fsize={}:", self.size());
            kept_in(rig, self.folder.path()).by(&["prlimit", &limit, "env", "--ignore-signal=XFSZ"])
        }
    }

    /// From now on nothing more goes in.
    fn fill_for(&self, farspan: &Farspan) {
        if self.mounted {
            self.fill()
        } else {
            limit(farspan, &self.size().to_string())
        }
    }

    fn free_for(&self, farspan: &Farspan) {
        if self.mounted {
            self.free()
        } else {
            limit(farspan, "unlimited")
        }
    }

    fn fill(&self) {
        let mut ballast = fs::File::create(self.ballast()).unwrap();
        for piece in [64 * 1024, 512] {
            while ballast.write_all(&vec![7; piece]).is_ok() {}
        }
    }

    /// What a full one has room for again.
    fn free(&self) {
        let _ = fs::remove_file(self.ballast());
    }

    fn ballast(&self) -> PathBuf {
        self.folder.path().join("ballast")
    }

    fn size(&self) -> u64 {
        let file = self.folder.path().join("farspan.redb");
        fs::metadata(file).unwrap().len()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            let mut umount = Command::new("umount");
            let _ = umount.arg("-l").arg(self.folder.path()).status();
        }
    }
}

fn limit(farspan: &Farspan, bytes: &str) {
    let mut prlimit = Command::new("prlimit");
    prlimit.args(["--pid", &farspan.id().to_string()]);
    let status = prlimit.arg(format!("--fsize={bytes}:")).status();
    assert!(status.is_ok_and(|status| status.success()), "prlimit");
}

#[test]
fn with_a_full_disk_everything_waits_and_nothing_is_lost() {
    a_full_disk(&Disk::small());
}

#[test]
fn with_a_file_that_may_not_grow_everything_waits_and_nothing_is_lost() {
    a_full_disk(&Disk::limited());
}

/// Events that redb has no room for in the file it has.
fn large_events(rig: &Rig) -> Vec<(String, String)> {
    let attributes = (0..25).map(|n| (format!("a{n}"), json!("x".repeat(2_000))));
    let attributes: Value = attributes.collect::<Map<String, Value>>().into();
    let events = (0..60).map(|n| {
        let id = format!("w{n}");
        rig.api.script(&id, short_story(&id));
        let event = json!({ "WorkflowId": id, "attributes": attributes });
        (id, event.to_string())
    });
    events.collect()
}

/// Neither polls nor exports go on, once nothing at all goes into the file any more.
#[track_caller]
fn assert_all_waits(rig: &Rig, farspan: &Farspan, clockwork: &str) {
    farspan.await_log("the state cannot be written");
    eventually("polls and exports wait", SOON, || {
        let done = || (rig.api.polls(clockwork), rig.receiver.exports().len());
        let before = done();
        let moved = within(Duration::from_secs(3), || done() != before);
        match moved {
            Ok(()) => Err(format!("{before:?}, then {:?}", done())),
            Err(_) => Ok(()),
        }
    });
    let (told, again) = troubles(&farspan.stderr());
    assert_eq!(told, again + 1);
}

/// How often the log says that the state cannot be written or is slow, and that it can be written again.
fn troubles(log: &str) -> (usize, usize) {
    let count = |text| log.matches(text).count();
    (
        count("the state cannot be written") + count("the state is slow"),
        count("the state can be written again"),
    )
}

fn a_full_disk(disk: &Disk) {
    let rig = Rig::new();
    let farspan = rig.start_call(&disk.call(&rig));
    rig.api.script("early", [processing("early").reply()]);
    rig.submit("early");
    eventually("a poll", SOON, || rig.api.polls("early") >= 1);
    disk.fill_for(&farspan);
    let events = large_events(&rig);
    let messages = events.iter().map(|(_, event)| event.as_bytes());
    rig.redis.publish_all(CHANNEL, messages);
    assert_all_waits(&rig, &farspan, "early");

    disk.free_for(&farspan);
    for (id, _) in &events {
        rig.trace(id);
    }
    rig.receiver.assert_each_span_once();
    let log = farspan.stop().stderr;
    let (told, again) = troubles(&log);
    // What is smaller may find some room yet; but it is no line for each attempt.
    assert!(told == again && told < 5, "{log}");
}

/// What was read and could not be kept was not acknowledged.
#[test]
fn killed_with_a_full_disk_it_loses_nothing_of_a_stream() {
    const STREAM: &str = "workflows";
    let (rig, disk) = (Rig::new(), Disk::limited());
    let call = disk.call(&rig).env("FARSPAN_REDIS_STREAM", STREAM);
    let farspan = rig.start_call(&call);
    let replies = vec![processing("early").reply(), completed("early").reply()];
    let phase = phases(&rig, "early", replies);
    rig.submit("early");
    eventually("a poll", SOON, || rig.api.polls("early") >= 1);
    await_commits(&rig, &farspan, "early");
    disk.fill_for(&farspan);
    let events = large_events(&rig);
    let messages: Vec<String> = events.iter().map(|(_, event)| event.clone()).collect();
    rig.redis.add_all(STREAM, &messages);
    assert_all_waits(&rig, &farspan, "early");
    farspan.kill();

    phase.store(1, Ordering::SeqCst);
    let farspan = rig.start_call(&call);
    for (id, _) in &events {
        rig.trace(id);
    }
    rig.trace("early").root.assert_times(START, END);
    eventually("nothing is pending", SOON, || {
        rig.redis.pending(STREAM) == 0
    });
    farspan.stop();
    rig.receiver.assert_each_span_once();
}

#[test]
fn with_a_full_state_the_events_wait_in_their_stream() {
    const STREAM: &str = "workflows";
    let (rig, directory) = (Rig::new(), Folder::new());
    let call = kept_in(&rig, directory.path())
        .env("FARSPAN_STATE_MAX_BYTES", "1MiB")
        .env("FARSPAN_REDIS_STREAM", STREAM);
    let farspan = rig.start_call(&call);
    let ids: Vec<String> = (0..100).map(|n| format!("w{n}")).collect();
    // Each record takes some 40 KB.
    let text = "x".repeat(2000);
    let attributes: Map<_, _> = (0..20).map(|n| (format!("a{n}"), json!(text))).collect();
    for id in &ids {
        rig.api.script(id, [processing(id).reply()]);
        let event = json!({ "WorkflowId": id, "attributes": attributes });
        rig.redis.add(STREAM, &event.to_string());
    }
    farspan.await_log("the state is full");
    let watched = || ids.iter().filter(|id| rig.api.polls(id) > 0).count();
    eventually("what fits is polled", SOON, || watched() >= 20);
    await_polls(&rig, "w0");
    assert!(watched() < 30, "{} are watched", watched());

    for id in &ids {
        rig.api.script(id, [completed(id).reply()]);
    }
    for id in &ids {
        rig.trace(id);
    }
    eventually("every entry is acknowledged", SOON, || {
        rig.redis.pending(STREAM) == 0
    });
    rig.receiver.assert_each_span_once();
    let log = farspan.stop().stderr;
    let full = log.matches("the state is full").count();
    let room = log.matches("the state has room again").count();
    assert!(
        full > 0 && full == room,
        "{full} times full, {room} times room: {log}"
    );
    assert!(log.contains(&format!("it was full {full} times")), "{log}");
}

#[test]
fn a_start_with_a_full_disk_is_an_error_and_keeps_what_there_is() {
    for disk in [Disk::small(), Disk::limited()] {
        let rig = Rig::new();
        let replies = vec![processing("w").reply(), completed("w").reply()];
        let phase = phases(&rig, "w", replies);
        let farspan = rig.start_call(&disk.call(&rig));
        rig.submit("w");
        eventually("polls", SOON, || rig.api.polls("w") >= 3);
        farspan.kill();
        let mut full = disk.call_full(&rig).start();
        // Whether redb needs more room to start is its own business.
        let ended = within(Duration::from_secs(2), || !full.is_running());
        if ended.is_ok() {
            let ended = full.wait(SOON);
            assert_eq!(ended.code(), Some(1));
            assert!(!ended.stderr.contains("damaged"), "{}", ended.stderr);
        } else {
            full.kill();
        }
        disk.free();
        phase.store(1, Ordering::SeqCst);
        let farspan = rig.start_call(&disk.call(&rig));
        rig.trace("w").root.assert_times(START, END);
        farspan.stop();
    }
}

/// Root may write to read-only files, unless it gives up that capability.
fn without_privileges(call: Call) -> Call {
    let id = Command::new("id").arg("-u").output().unwrap();
    match id.stdout.trim_ascii() {
        b"0" => call.by(&["setpriv", "--bounding-set=-all", "--inh-caps=-all"]),
        _ => call,
    }
}

#[test]
fn what_may_not_be_written_is_an_error_and_stays_as_it_is() {
    let (rig, directory) = (Rig::new(), Folder::new());
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let refused = |place: &Path| {
        let ended = without_privileges(kept_in(&rig, place)).output();
        assert_eq!(ended.code(), Some(1), "{ended:?}");
        for part in [
            "Permission denied",
            "FARSPAN_STATE_DIR",
            place.to_str().unwrap(),
        ] {
            assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
        }
        assert!(!ended.stderr.contains("damaged"), "{}", ended.stderr);
    };
    // A directory that nothing can be made in.
    set_mode(directory.path(), 0o555);
    refused(directory.path());
    refused(&directory.path().join("below"));
    set_mode(directory.path(), 0o755);

    // A file that can only be read: what it holds is not lost.
    let replies = vec![processing("w").reply(), completed("w").reply()];
    let phase = phases(&rig, "w", replies);
    let call = without_privileges(kept_in(&rig, directory.path()));
    let farspan = rig.start_call(&call);
    rig.submit("w");
    eventually("a poll", SOON, || rig.api.polls("w") >= 1);
    farspan.stop();
    let file = directory.path().join("farspan.redb");
    let before = fs::read(&file).unwrap();
    set_mode(&file, 0o444);
    refused(directory.path());
    assert!(fs::read(&file).unwrap() == before);
    set_mode(&file, 0o644);
    phase.store(1, Ordering::SeqCst);
    let farspan = rig.start_call(&call);
    rig.trace("w").root.assert_times(START, END);
    farspan.stop();
    rig.receiver.assert_each_span_once();
}

#[test]
fn a_collector_that_is_not_there_at_any_start_gets_everything_in_the_end() {
    let (mut rig, directory) = (Rig::new(), Folder::new());
    rig.receiver = Receiver::stopped();
    let call = kept_in(&rig, directory.path());
    let ids = ["a", "b", "c"];
    rig.api.script("goes on", [processing("goes on").reply()]);
    for id in ids {
        rig.api.script(id, short_story(id));
        let farspan = rig.start_call(&call);
        rig.submit("goes on");
        rig.submit(id);
        eventually("its end", SOON, || rig.api.told_all(id));
        await_commits(&rig, &farspan, "goes on");
        farspan.kill();
    }
    rig.receiver.server.resume();
    let farspan = rig.start_call(&call);
    eventually("everything", SOON, || rig.receiver.spans().len() == 12);
    let order: Vec<String> = rig
        .receiver
        .spans()
        .into_iter()
        .filter(|span| span.is_root())
        .map(|root| root.workflow_id())
        .collect();
    assert_eq!(order, ids, "in the order of completion");
    farspan.stop();
    rig.receiver.assert_each_span_once();
}

#[test]
fn an_unknown_kind_of_state_is_a_mistake() {
    let ended = farspan(&["run"])
        .env("FARSPAN_API_BASE_URL", "http://127.0.0.1:1")
        .env("FARSPAN_REDIS_URL", "redis://127.0.0.1:1")
        .env("FARSPAN_STATE", "memory")
        .output();
    assert_eq!(ended.code(), Some(2));
    assert!(ended.stderr.contains("FARSPAN_STATE"), "{}", ended.stderr);
}
