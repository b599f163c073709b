//! What the loop does while the store is in trouble, and does not do while it is stuck.

use super::build;
use super::report::{what_happened, what_is_left};
use super::*;
use crate::config::Config;
use crate::core::event::{Origin, StartEvent};
use crate::core::ids::RunKey;
use crate::core::limits;
use crate::core::metrics::{EventFate, ExportResult, MonitorCounters};
use crate::core::outbox::BatchPolicy;
use crate::core::sampler::{Sampler, SpanLimits};
use crate::core::time::Now;
use crate::core::turn::TurnPolicy;
use crate::core::workflow::Naming;
use crate::core::{
    Change, Committed, Counters, Monitor, Pace, PollFailureReason, Settings, Stored,
};
use crate::deliver::refused::RefusedPlace;
use crate::http::client::Network;
use crate::http::proxies::Proxies;
use crate::os::environment::Environment;
use crate::os::systemd::Supervisor;
use crate::store::StoreError;
use crate::store::thread::StoreThread;
use crossbeam_channel::{Receiver, bounded, never};
use std::cell::RefCell;
use std::collections::HashSet;
use std::convert::Infallible;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

/// A store that refuses as often as it is told to.
#[derive(Clone, Default)]
struct Moody(Rc<RefCell<Mood>>);

#[derive(Default)]
struct Mood {
    begun: Option<Arc<[Change]>>,
    refusals: u32,
    workflows: usize,
    spans: HashSet<u64>,
}

impl Store for Moody {
    fn begin_load(&mut self) {}

    fn loaded(&mut self) -> Option<Result<Stored, StoreError>> {
        Some(Ok(Stored::default()))
    }

    fn begin_commit(&mut self, changes: Arc<[Change]>) {
        self.0.borrow_mut().begun = Some(changes);
    }

    fn proceed(&mut self, _: &View<'_>, _: Now) -> Option<Result<Committed, StoreError>> {
        let mut mood = self.0.borrow_mut();
        let changes = mood.begun.take()?;
        if mood.refusals > 0 {
            mood.refusals -= 1;
            return Some(Err(StoreError::new("no room")));
        }
        for change in changes.iter() {
            match change {
                Change::PutWorkflow { .. } => mood.workflows += 1,
                Change::PutItem(span) => {
                    mood.spans.insert(span.sequence);
                }
                _ => {}
            }
        }
        Some(Ok(Committed::default()))
    }

    fn woken(&self) -> Receiver<()> {
        never()
    }
}

fn watcher(store: &Moody, timeout: Duration) -> (Loop, Receiver<Batch>) {
    watcher_with(Box::new(store.clone()), timeout)
}

fn watcher_with(store: Box<dyn Store>, timeout: Duration) -> (Loop, Receiver<Batch>) {
    let (batches, batches_received) = bounded(1);
    let settings = Settings {
        monitors: vec![Monitor {
            naming: Naming::new("default", "Workflow", SpanLimits::default()),
            host: 0,
            pace: Pace::new(Duration::from_secs(3600), Duration::from_secs(10), timeout),
            requests_per_second: None,
            send_traceparent: false,
        }],
        pollers: 1,
        workflows_max: 10,
        sampler: Sampler::default(),
        batch: BatchPolicy {
            schedule_delay: Duration::ZERO,
            spans_max: 10,
            queue_max: 100,
        },
        stores: true,
        state_bytes_max: limits::STATE_BYTES_DEFAULT,
        exports: true,
        exports_logs: true,
        buckets: Arc::default(),
        seed: 1,
    };
    let policy = TurnPolicy {
        stores: true,
        commit_delay: limits::COMMIT_DELAY,
        events_wait: false,
    };
    let receivers = Receivers::start(vec![None], &RefusedPlace::Nowhere).unwrap();
    let watcher = Loop {
        core: Core::new(settings, ENCODERS, clock::now()),
        turn: Turn::new(policy),
        turn_due: None,
        inbox: Inbox {
            events: never(),
            reports: never(),
            outcomes: never(),
            notified: receivers.notified.clone(),
            listings: never(),
            states: never(),
            posted: never(),
            health_checks: never(),
            numbers: never(),
            questions: never(),
            reloads: never(),
            store: store.woken(),
            ended: never(),
            stopped: never(),
            stop_within: never(),
        },
        store: Some(store),
        polling: Polling {
            queues: vec![Arc::default()],
            targets: build::targets(&config(), &Network::start(Proxies::default()).unwrap())
                .unwrap(),
            network: Network::start(Proxies::default()).unwrap(),
        },
        batches: Some(batches),
        log_batches: None,
        receivers,
        feed: Feed::default(),
        admissions: Admissions::default(),
        living: Living::new(&config(), Supervisor::default(), never()),
        displays: Displays::default(),
        viewing: Viewing::default(),
        numbered: Numbered {
            since: clock::now().wall,
            monitors: [].into(),
            workflows_max: 0,
        },
        stop_by: None,
        names: vec![MonitorNames::default()],
    };
    (watcher, batches_received)
}

/// Until the store has taken all changes after a refusal.
fn turn_until_recovered(watcher: &mut Loop) {
    while watcher.turn.unstored().next().is_some() {
        let _ = never::<()>().recv_timeout(watcher.patience());
        watcher.end_turn();
    }
}

fn config() -> Config {
    let nothing = Environment::from_pairs([("OTEL_TRACES_EXPORTER", "none")]);
    Config::for_api(&nothing, "http://127.0.0.1").unwrap()
}

fn started() -> Input {
    Input::Started(start_event())
}

fn start_event() -> StartEvent {
    StartEvent::new(0, "w")
}

#[test]
fn what_ends_while_the_store_comes_back_is_stored_before_it_is_exported() {
    let store = Moody::default();
    let timeout = Duration::from_millis(50);
    let (mut watcher, batches) = watcher(&store, timeout);
    store.0.borrow_mut().refusals = 1;
    watcher.handle(started());
    watcher.end_turn();
    // The poll timeout passes, and the loop hears of it when the store takes changes again.
    let passed = clock::now().mono + timeout * 2;
    while clock::now().mono < passed {
        watcher.end_turn();
    }
    assert_eq!(store.0.borrow().workflows, 0, "it was refused");
    turn_until_recovered(&mut watcher);
    let batch = batches.try_recv().expect("the workflow's span");
    let stored = &store.0.borrow().spans;
    assert!(batch.items.iter().all(|s| stored.contains(&s.sequence)));
}

#[test]
fn a_stop_waits_for_a_store_that_comes_back() {
    let store = Moody::default();
    let (mut watcher, _batches) = watcher(&store, Duration::from_secs(3600));
    store.0.borrow_mut().refusals = 2;
    watcher.handle(started());
    watcher.stop();
    assert_eq!(watcher.finish().0.report.lost, 0);
    assert_eq!(store.0.borrow().workflows, 1);
}

/// Posts these; whether the sender has heard of it is in the channel.
fn post_all(watcher: &mut Loop, ids: impl Iterator<Item = Box<str>>) -> Receiver<Admission> {
    let (answer, answered) = bounded(1);
    let event = |workflow_id| StartEvent {
        workflow_id,
        ..start_event()
    };
    let events = ids.map(event).collect();
    watcher.admit(Posted { events, answer });
    watcher.end_turn();
    answered
}

fn post(watcher: &mut Loop, id: &str) -> Receiver<Admission> {
    post_all(watcher, std::iter::once(id.into()))
}

#[test]
fn what_is_posted_together_is_accepted_together_or_not_at_all() {
    let store = Moody::default();
    let (mut watcher, _batches) = watcher(&store, Duration::from_secs(3600));
    let room = watcher.core.room();
    let too_many = (0..=room).map(|n| n.to_string().into());
    let answered = post_all(&mut watcher, too_many);
    assert_eq!(answered.try_recv(), Ok(Admission::NoRoom));
    assert_eq!(watcher.core.watched(), 0);
    let answered = post_all(&mut watcher, (0..3).map(|n| n.to_string().into()));
    assert_eq!(answered.try_recv(), Ok(Admission::Accepted));
    assert_eq!(store.0.borrow().workflows, 3);
}

#[test]
fn what_is_posted_is_answered_when_it_is_stored_and_waits_for_no_company() {
    let store = Moody::default();
    let (mut watcher, _batches) = watcher(&store, Duration::from_secs(3600));
    watcher.turn = Turn::new(TurnPolicy {
        stores: true,
        commit_delay: Duration::from_secs(3600),
        events_wait: true,
    });
    assert_eq!(post(&mut watcher, "a").try_recv(), Ok(Admission::Accepted));
    assert_eq!(store.0.borrow().workflows, 1);
    // Again: it is stored already.
    assert_eq!(post(&mut watcher, "a").try_recv(), Ok(Admission::Accepted));

    store.0.borrow_mut().refusals = 1;
    let waits = post(&mut watcher, "b");
    assert!(waits.try_recv().is_err(), "it is not stored");
    assert_eq!(post(&mut watcher, "c").try_recv(), Ok(Admission::NoRoom));
    turn_until_recovered(&mut watcher);
    assert_eq!(waits.try_recv(), Ok(Admission::Accepted));
    assert_eq!(store.0.borrow().workflows, 2);
    assert_eq!(post(&mut watcher, "c").try_recv(), Ok(Admission::Accepted));
}

/// A store whose thread hangs in its first commit until it is released.
struct Hanging(StoreThread<Arc<[Change]>, ()>);

impl Hanging {
    /// With the channel that hears of the commit and the one that releases it when it is dropped.
    fn new() -> (Self, Receiver<()>, Sender<Infallible>) {
        let ((begun, commit), (release, released)) = (bounded(1), bounded(0));
        let thread = StoreThread::start(move |_: Arc<[Change]>| {
            let _ = begun.try_send(());
            let _ = released.recv();
        });
        (Hanging(thread.unwrap()), commit, release)
    }
}

impl Store for Hanging {
    fn begin_load(&mut self) {}

    fn loaded(&mut self) -> Option<Result<Stored, StoreError>> {
        Some(Ok(Stored::default()))
    }

    fn begin_commit(&mut self, changes: Arc<[Change]>) {
        self.0.send(changes);
    }

    fn proceed(&mut self, _: &View<'_>, _: Now) -> Option<Result<Committed, StoreError>> {
        let answer = self.0.answer()?;
        Some(answer.map(|()| Committed::default()))
    }

    fn woken(&self) -> Receiver<()> {
        self.0.woken().clone()
    }
}

const WATCHDOG: Duration = Duration::from_millis(100);
const SOON: Duration = Duration::from_secs(30);

/// A service manager that listens to a farspan of this environment.
struct ServiceManager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl ServiceManager {
    fn new(name: &str) -> (Self, Supervisor) {
        let path = std::env::temp_dir().join(format!("farspan-{name}-{}", std::process::id()));
        drop(std::fs::remove_file(&path));
        let socket = UnixDatagram::bind(&path).unwrap();
        let env = Environment::from_pairs([
            ("NOTIFY_SOCKET", path.to_str().unwrap()),
            ("WATCHDOG_USEC", &WATCHDOG.as_micros().to_string()),
        ]);
        let supervisor = Supervisor::of(&env).unwrap();
        (ServiceManager { socket, path }, supervisor)
    }

    fn heard_within(&self, patience: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let mut bytes = [0; 512];
        let count = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..count]).into_owned())
    }

    fn forget_what_was_said(&self) {
        while self.heard_within(Duration::from_millis(1)).is_some() {}
    }

    fn await_feeding(&self) {
        while self.heard_within(SOON).expect("it is fed") != "WATCHDOG=1" {}
    }
}

impl Drop for ServiceManager {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

#[test]
fn a_store_that_hangs_holds_up_neither_the_watchdog_nor_answers_nor_the_stop() {
    let (manager, supervisor) = ServiceManager::new("hanging");
    let (store, commit, release) = Hanging::new();
    let (stop, stopped) = bounded(0);
    let (events, received) = bounded(1);
    let (posts, posted) = bounded(1);
    let turning = std::thread::spawn(move || {
        let (mut watcher, _batches) = watcher_with(Box::new(store), SOON);
        watcher.living = Living::new(&config(), supervisor, never());
        (watcher.inbox.events, watcher.inbox.posted) = (received, posted);
        watcher.inbox.stopped = stopped;
        watcher.run_until_stopped();
        // Whatever the commit comes to.
        watcher.turn.unstored().count()
    });
    events.send(start_event()).unwrap();
    commit.recv_timeout(SOON).expect("a commit");
    manager.forget_what_was_said();
    manager.await_feeding();
    manager.await_feeding();
    // What is heard meanwhile is answered once the commit counts as trouble.
    let refused = loop {
        let (answer, answered) = bounded(1);
        let events = vec![];
        posts.send(Posted { events, answer }).unwrap();
        match answered.recv_timeout(Duration::from_millis(200)) {
            Ok(admission) => break admission,
            Err(_) => continue,
        }
    };
    assert_eq!(refused, Admission::NoRoom);
    drop::<Sender<Infallible>>(stop);
    assert_eq!(turning.join().unwrap(), 1, "the commit is not answered");
    drop::<Sender<Infallible>>(release);
}

#[test]
fn a_store_that_answers_late_is_well_again() {
    let (store, commit, release) = Hanging::new();
    let (mut watcher, _batches) = watcher_with(Box::new(store), SOON);
    watcher.handle(started());
    watcher.end_turn();
    commit.recv_timeout(SOON).expect("a commit");
    while !watcher.turn.is_troubled() {
        let heard = watcher.next_heard();
        watcher.take(heard);
        watcher.end_turn();
    }
    assert!(!watcher.core.has_room());
    drop::<Sender<Infallible>>(release);
    while watcher.turn.is_troubled() {
        let heard = watcher.next_heard();
        watcher.take(heard);
        watcher.end_turn();
    }
    assert!(watcher.core.has_room() && watcher.turn.is_done());
}

#[test]
fn a_loop_that_is_stuck_feeds_no_watchdog() {
    let (manager, supervisor) = ServiceManager::new("stuck");
    let ((begun, stuck), (release, released)) = (bounded(1), bounded::<Infallible>(0));
    let (stop, stopped) = bounded(0);
    let (events, received) = bounded(1);
    let turning = std::thread::spawn(move || {
        let (mut watcher, _batches) = watcher_with(Box::new(Moody::default()), SOON);
        watcher.living = Living::new(&config(), supervisor, never());
        let onlooker: Onlooker = Box::new(move |_| {
            let _ = begun.try_send(());
            let _ = released.recv();
        });
        watcher.displays = Displays::new(Vec::new(), Some(onlooker));
        (watcher.inbox.events, watcher.inbox.stopped) = (received, stopped);
        watcher.run_until_stopped();
    });
    manager.await_feeding();
    manager.await_feeding();
    events.send(start_event()).unwrap();
    stuck.recv_timeout(SOON).expect("a note of the workflow");
    manager.forget_what_was_said();
    assert_eq!(manager.heard_within(WATCHDOG * 10), None, "it is stuck");
    drop::<Sender<Infallible>>(release);
    manager.await_feeding();
    manager.await_feeding();
    drop::<Sender<Infallible>>(stop);
    turning.join().unwrap();
}

/// What is kept and what is lost are never said of the same thing.
#[test]
fn the_last_line_says_what_the_next_start_finds() {
    let run = |n: u8| RunKey::from_bytes([n; 16]);
    let span = |n: u8, sequence: u64| crate::core::outbox::OutboxItem {
        signal: Signal::Traces,
        sequence,
        run: run(n),
        monitor: None,
        bytes: vec![n].into(),
    };
    let unstored = [
        Change::PutWorkflow {
            run: run(1),
            record: vec![1],
        },
        Change::PutItem(span(1, 1)),
        Change::PutItem(span(2, 2)),
        Change::PutItem(span(2, 3)),
        Change::RemoveItems(vec![span(2, 2), span(3, 7)]),
    ];
    assert_eq!(touched(unstored.iter()), (3, 2));
    assert_eq!(touched([].iter()), (0, 0));
    let store = Moody::default();
    let (mut watcher, _batches) = watcher(&store, Duration::from_secs(3600));
    store.0.borrow_mut().refusals = u32::MAX;
    watcher.handle(started());
    watcher.end_turn();
    let report = watcher.finish().0.report;
    assert_eq!(
        (report.lost, report.runs_lost, report.spans_lost),
        (1, 1, 0)
    );
    let (level, line) = what_is_left(&report, true).expect("something is left");
    assert_eq!(level, log::Level::Error);
    assert_eq!(
        line,
        "the state could not be written: 1 workflows were watched, 0 spans were to be delivered; 0 of the spans and \
         the last changes of 1 workflows are lost, and the next start goes on from what was written before"
    );
}

/// What seldom happens does not make the report longer where it did not.
#[test]
fn the_report_tells_of_what_happened() {
    let polled = MonitorCounters {
        polls: 20,
        ..MonitorCounters::default()
    };
    let mut quiet = Counters {
        workflows_ended: 3,
        spans_finished: 12,
        spans_delivered: 12,
        monitors: vec![polled.clone()],
        ..Counters::default()
    };
    for _ in 0..3 {
        quiet.events.count(Origin::Http, EventFate::Accepted);
    }
    let mut failed = [0; PollFailureReason::ALL.len()];
    failed[PollFailureReason::Timeout.index()] = 2;
    failed[PollFailureReason::Unauthorized.index()] = 1;
    let troubled = MonitorCounters {
        not_found: 11,
        failed,
        ..polled
    };
    let mut exports = [0; ExportResult::ALL.len()];
    exports[ExportResult::Retry as usize] = 10;
    let mut eventful = Counters {
        runs_refused: 4,
        workflows_timed_out: 5,
        workflows_not_found: 6,
        workflows_gone: 7,
        workflows_superseded: 8,
        spans_rejected: 9,
        exports,
        monitors: vec![troubled],
        answers_stale: 12,
        ..quiet.clone()
    };
    for (origin, fate) in [
        (Origin::Stdin, EventFate::Duplicate),
        (Origin::Stream, EventFate::Shed),
        (Origin::Channel, EventFate::Shed),
        (Origin::Stream, EventFate::Unreadable),
        (Origin::Stream, EventFate::Unreadable),
        (Origin::Discovery, EventFate::Unreadable),
    ] {
        eventful.events.count(origin, fate);
    }
    let nothing = Counters::default();
    let lines = [nothing, quiet, eventful].map(|counters| what_happened(&counters).join("\n"));
    let text = lines.join("\n\n");
    expect_test::expect![[r#"
        0 events, 0 duplicates; 0 workflows ended, 0 timed out, 0 not found; 0 spans finished
        0 polls, 0 failed

        3 events, 0 duplicates; 3 workflows ended, 0 timed out, 0 not found; 12 spans finished, 12 delivered
        20 polls, 0 failed; lateness p50 0.0ns, p99 0.0ns, longest 0.0ns; latency p50 0.0ns, p99 0.0ns

        3 events, 1 duplicates, 2 without room or monitor, 3 of runs whose record cannot be used, 4 of runs that other instances own; 3 workflows ended, 5 timed out, 6 not found, 7 ended with their API, 8 superseded; 12 spans finished, 12 delivered, 9 rejected, 10 exports retried
        20 polls, 3 failed (2 timeout, 1 unauthorized), 11 not found, 12 answered too late; lateness p50 0.0ns, p99 0.0ns, longest 0.0ns; latency p50 0.0ns, p99 0.0ns"#]].assert_eq(&text);
}
