//! When the core polls, which hosts it leaves alone, and what it notes.

mod notifications;

use super::finished::{FinishedEvent, Notified, Notify};
use super::ids::RunKey;
use super::outbox::{Batch, BatchPolicy, ExportOutcome, Exported, OutboxItem, Signal};
use super::sampler::Sampler;
use super::snapshot::{Progress, Snapshot, StageSnapshot, State};
use super::workflow::Naming;
use super::*;
use expect_test::{Expect, expect};
use sampler::SpanLimits;
use std::cell::RefCell;
use std::collections::VecDeque;

mod announced;
mod counted;
mod listing;
mod shared;
mod trouble;
mod unchanged;
mod views;

const INTERVAL: Duration = Duration::from_secs(10);
const EPOCH_NS: i64 = 1_720_000_000_000_000_000;

/// Different values have different debug texts.
const ENCODERS: Encoders = Encoders {
    span: |span| format!("{span:?}").into_bytes().into(),
    log_record: |record| format!("{record:?}").into_bytes().into(),
    finished_event: |event| {
        FINISHED_EVENTS.with_borrow_mut(|events| events.push(event.clone()));
        format!("{event:?}").into_bytes().into()
    },
};

thread_local! {
    /// The finished events that were encoded and that no [`Rig`] has taken yet.
    static FINISHED_EVENTS: RefCell<Vec<FinishedEvent>> = const { RefCell::new(Vec::new()) };
}

/// A core with a clock, and everything that it wanted done.
struct Rig {
    core: Core,
    now: Now,
    polls: Vec<(Mono, Poll)>,
    /// The latency that answers are given.
    latency: Duration,
    groups: Vec<PollGroup>,
    recalled: Vec<u16>,
    lists: Vec<(Mono, u16)>,
    batches: Vec<(Mono, Batch)>,
    spans: Vec<Span>,
    notes: Vec<Note>,
    settled: Vec<String>,
    announced: Vec<FinishedEvent>,
    notified: Vec<Notify>,
}

fn monitor(host: u16) -> Monitor {
    Monitor {
        naming: Naming::new(&format!("monitor{host}"), "Workflow", SpanLimits::default()),
        host,
        pace: Pace::new(Duration::from_secs(5), INTERVAL, Duration::from_secs(3600)),
        requests_per_second: None,
        send_traceparent: false,
    }
}

fn settings(monitors: Vec<Monitor>) -> Settings {
    Settings {
        monitors,
        pollers: 4,
        workflows_max: 1000,
        sampler: Sampler::default(),
        batch: BatchPolicy {
            schedule_delay: Duration::from_secs(5),
            spans_max: 10,
            queue_max: 20,
        },
        stores: true,
        state_bytes_max: limits::STATE_BYTES_DEFAULT,
        exports: true,
        exports_logs: true,
        buckets: Arc::default(),
        seed: 1,
    }
}

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn mono(seconds: f64) -> Mono {
    Mono::from_duration(secs(seconds))
}

impl Rig {
    fn new(settings: Settings) -> Self {
        let now = Now {
            mono: Mono::default(),
            wall: Wall::from_unix_ns(EPOCH_NS),
        };
        Rig {
            core: Core::new(settings, ENCODERS, now),
            now,
            polls: Vec::new(),
            // Each poll goes alone.
            latency: limits::GROUP_TIME,
            groups: Vec::new(),
            recalled: Vec::new(),
            lists: Vec::new(),
            batches: Vec::new(),
            spans: Vec::new(),
            notes: Vec::new(),
            settled: Vec::new(),
            announced: Vec::new(),
            notified: Vec::new(),
        }
    }

    /// One monitor.
    fn plain() -> Self {
        Rig::new(settings(vec![monitor(0)]))
    }

    fn handle(&mut self, input: Input) {
        self.core.handle(input, self.now);
        self.announced.extend(FINISHED_EVENTS.take());
        while let Some(action) = self.core.next_action() {
            match action {
                Action::Poll(group) => {
                    self.core.group_begun(group.poller, self.now.mono);
                    self.groups.push(group.clone());
                    let polls = group.polls.into_iter();
                    self.polls.extend(polls.map(|poll| (self.now.mono, poll)));
                }
                Action::Recall(poller) => self.recalled.push(poller),
                Action::List(monitor) => self.lists.push((self.now.mono, monitor)),
                Action::Note(note) => self.notes.push(note),
                Action::Finished(span) => self.spans.push(*span),
                Action::Send(outgoing) => self.send(outgoing),
            }
        }
    }

    fn send(&mut self, outgoing: Outgoing) {
        match outgoing {
            Outgoing::Export(batch) => self.batches.push((self.now.mono, batch)),
            Outgoing::Notify(notify) => self.notified.push(notify),
            Outgoing::Acknowledge(source) => self.settled.push(format!("acknowledge {source}")),
            Outgoing::LeavePending(source) => self.settled.push(format!("leave {source}")),
            Outgoing::Accept(request) => panic!("the core has no request {request}"),
        }
    }

    /// Lets time pass, ticking whenever the core wants to.
    fn pass(&mut self, time: Duration) {
        let end = self.now.mono + time;
        while let Some(next) = self.core.next_deadline()
            && next <= end
        {
            assert!(next > self.now.mono, "the core asks for the past");
            self.step_to(next);
            self.handle(Input::Tick);
        }
        self.step_to(end);
    }

    fn step_to(&mut self, mono: Mono) {
        let passed_ns = mono.as_ns() - self.now.mono.as_ns();
        self.now.mono = mono;
        self.now.wall = self.now.wall.shifted(passed_ns as i64);
    }

    fn start(&mut self, monitor: u16, workflow_id: &str) {
        self.handle(Input::Started(event(monitor, workflow_id)));
    }

    /// The groups of polls of so many workflows, all due together, of a host with this latency.
    fn polls_together(&mut self, latency: Duration, count: usize) -> Vec<PollGroup> {
        self.latency = latency;
        self.start(0, "first");
        let (_, poll) = self.next_poll();
        self.answer(&poll, completed());
        self.handle(Input::StoreTroubled(true));
        for n in 0..count {
            self.start(0, &format!("w{n}"));
        }
        self.pass(secs(20.0));
        self.groups.clear();
        self.handle(Input::StoreTroubled(false));
        self.groups.clone()
    }

    /// The polls since the last call.
    fn polls(&mut self) -> Vec<(Mono, Poll)> {
        std::mem::take(&mut self.polls)
    }

    fn notes(&mut self) -> Vec<Note> {
        let mut notes = std::mem::take(&mut self.notes);
        notes.retain(|n| {
            !matches!(
                n,
                Note::Run {
                    what: RunNote::Watching(_),
                    ..
                }
            )
        });
        notes
    }

    /// Waits for the next poll.
    fn next_poll(&mut self) -> (Mono, Poll) {
        while self.polls.is_empty() {
            let next = self.core.next_deadline().expect("a poll comes");
            self.step_to(next.max(self.now.mono));
            self.handle(Input::Tick);
        }
        self.polls.remove(0)
    }

    fn answer(&mut self, poll: &Poll, answer: Answer) {
        self.answer_after(poll, 1, answer);
    }

    fn answer_after(&mut self, poll: &Poll, requests: u32, answer: Answer) {
        self.handle(Input::Polled(Polled {
            slot: poll.slot,
            generation: poll.generation,
            sent: self.now,
            received: Now {
                mono: self.now.mono + self.latency,
                ..self.now
            },
            date: None,
            requests,
            not_modified: 0,
            pause: None,
            answer,
        }));
    }

    /// Answers each poll after `latency` until `time` has passed.
    fn answer_all(&mut self, time: Duration, latency: Duration, answer: &Answer) -> Vec<Mono> {
        let (end, mut sent, mut open) = (self.now.mono + time, Vec::new(), VecDeque::new());
        loop {
            open.extend(self.polls());
            let next = self.core.next_deadline();
            let answered = open.front().map(|(at, _)| *at + latency);
            let Some(step) = [next, answered].into_iter().flatten().min() else {
                break;
            };
            if step > end {
                break;
            }
            self.step_to(step);
            if answered == Some(step)
                && let Some((at, poll)) = open.pop_front()
            {
                sent.push(at);
                self.answer(&poll, answer.clone());
            } else {
                self.handle(Input::Tick);
            }
        }
        self.polls.extend(open);
        sent
    }
}

fn event(monitor: u16, workflow_id: &str) -> StartEvent {
    StartEvent::new(monitor, workflow_id)
}

fn answer_of(state: State, stages: usize) -> Answer {
    let progress = |state| Progress {
        status: Some("Status".into()),
        state,
        start: Some(Wall::from_unix_ns(EPOCH_NS)),
        end: Some(Wall::from_unix_ns(EPOCH_NS + 1)),
        error: None,
        ..Progress::default()
    };
    let stages = (0..stages).map(|n| StageSnapshot {
        path: n.to_string().into(),
        kind: "Stage".into(),
        id: None,
        progress: progress(State::Ended(Outcome::Success)),
        ..StageSnapshot::default()
    });
    let snapshot = Snapshot {
        workflow_id: None,
        progress: progress(state),
        stages: stages.collect(),
        ..Snapshot::default()
    };
    Answer::Snapshot {
        snapshot: Box::new(snapshot),
        oddity: None,
    }
}

fn running() -> Answer {
    answer_of(State::Running, 0)
}

fn completed() -> Answer {
    answer_of(State::Ended(Outcome::Success), 0)
}

fn failed(reason: PollFailureReason, retry_after: Option<f64>) -> Answer {
    Answer::Failed(PollFailure {
        reason,
        detail: reason.as_str().into(),
        retry_after: retry_after.map(secs),
    })
}

fn unreachable() -> Answer {
    failed(PollFailureReason::Connect, None)
}

fn delivered() -> ExportOutcome {
    ExportOutcome::Delivered {
        rejected: 0,
        message: "".into(),
    }
}

fn check(notes: &[Note], expected: &Expect) {
    let lines: Vec<String> = notes.iter().map(|n| format!("{n:?}\n")).collect();
    expected.assert_eq(&lines.concat());
}

#[test]
fn first_polls_of_a_burst_are_spread_over_the_interval() {
    let mut settings = settings(vec![monitor(0)]);
    settings.pollers = 500;
    let mut rig = Rig::new(settings);
    for n in 0..500 {
        rig.start(0, &format!("w{n}"));
    }
    rig.pass(secs(15.001));
    let polls = rig.polls();
    assert_eq!(polls.len(), 500);
    for tenth in 0..10 {
        let from = mono(5.0 + f64::from(tenth));
        let within = polls.iter().filter(|(at, _)| at.since(from) < secs(1.0));
        let count = within.filter(|(at, _)| *at >= from).count();
        assert!((25..=75).contains(&count), "{count} in one tenth");
    }
}

#[test]
fn first_polls_that_are_not_spread_are_at_once() {
    let mut settings = settings(vec![monitor(0)]);
    let pace = &mut settings.monitors[0].pace;
    (pace.initial_delay, pace.spreads_first_polls) = (Duration::ZERO, false);
    let mut rig = Rig::new(settings);
    for n in 0..3 {
        rig.start(0, &format!("w{n}"));
    }
    rig.pass(wheel::TICK);
    assert_eq!(rig.polls().len(), 3);
}

#[test]
fn polls_keep_their_place_between_one_another() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    let sent = rig.answer_all(secs(1000.0), secs(0.2), &running());
    assert!(sent.len() >= 99);
    for (n, at) in (0..).zip(&sent) {
        let drift = at.since(sent[0] + INTERVAL * n);
        assert!(drift <= wheel::TICK, "{drift:?} after {n} polls");
    }
}

#[test]
fn a_slow_answer_is_not_followed_on_its_heels() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    let sent = rig.answer_all(secs(100.0), secs(8.0), &running());
    for two in sent.windows(2) {
        let apart = two[1].since(two[0]);
        assert!(apart >= secs(13.0) && apart <= secs(13.0) + wheel::TICK);
    }
}

/// How long after the initial delay the first poll of a workflow is due.
fn first_due(workflow_id: &str) -> Duration {
    pace::spread(RunKey::of("monitor0", workflow_id), INTERVAL)
}

#[test]
fn polls_of_a_quick_host_go_in_groups_and_those_of_a_slow_one_alone() {
    for (latency_ms, expected) in [
        (0.1, vec![32, 32, 16]),
        (1.0, vec![10, 10, 10, 10]),
        (4.0, vec![2, 2, 2, 2]),
        (10.0, vec![1, 1, 1, 1]),
        (200.0, vec![1, 1, 1, 1]),
    ] {
        let mut rig = Rig::plain();
        let groups = rig.polls_together(secs(latency_ms / 1000.0), 80);
        let sizes: Vec<usize> = groups.iter().map(|group| group.polls.len()).collect();
        assert_eq!(sizes, expected, "at {latency_ms} ms");
    }
}

#[test]
fn what_waits_behind_a_poll_that_hangs_goes_to_other_pollers_alone() {
    let mut rig = Rig::plain();
    let groups = rig.polls_together(secs(0.001), 10);
    assert_eq!(groups.len(), 1);
    let began = rig.now.mono;
    rig.pass(limits::GROUP_PATIENCE);
    assert_eq!(rig.recalled, [groups[0].poller]);
    // The first poll is answered and the second one hangs.
    rig.answer(&groups[0].polls[0], running());
    rig.handle(Input::Recalled(groups[0].polls[2..].to_vec()));
    let waited = rig.groups.split_off(1);
    let ids = |polls: &[Poll]| -> Vec<Arc<str>> {
        polls.iter().map(|poll| poll.workflow_id.clone()).collect()
    };
    let again: Vec<Poll> = (waited.iter())
        .flat_map(|group| group.polls.clone())
        .collect();
    assert_eq!(
        ids(&again),
        ids(&groups[0].polls[2..5]),
        "one for each free poller"
    );
    assert!(waited.iter().all(|group| group.poller != groups[0].poller));
    rig.pass(secs(1.0));
    assert_eq!(
        rig.recalled.len(),
        1,
        "a poll that is alone holds up no other: {began:?}"
    );
}

#[test]
fn pollers_are_the_limit_and_the_most_overdue_goes_first() {
    let mut rig = Rig::plain();
    for n in 0..10 {
        rig.start(0, &format!("w{n}"));
    }
    rig.pass(secs(30.0));
    let first = rig.polls();
    assert_eq!(first.len(), 4);
    assert_eq!(rig.core.polls_in_flight(), 4);
    let mut asked: Vec<_> = first.iter().map(|(_, p)| p.workflow_id.clone()).collect();
    for (_, poll) in &first {
        rig.answer(poll, running());
    }
    for (_, poll) in rig.polls() {
        asked.push(poll.workflow_id.clone());
        rig.answer(&poll, running());
    }
    for (_, poll) in rig.polls() {
        asked.push(poll.workflow_id.clone());
    }
    // Ten workflows are polled once each before one is polled twice, in the order of their first due times.
    assert!(asked.is_sorted_by_key(|id| first_due(id)));
    assert_eq!(asked.len(), 10);
}

#[test]
fn failures_back_off_up_to_a_minute_and_a_success_forgets_them() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    let (mut last, poll) = rig.next_poll();
    rig.answer(&poll, unreachable());
    for most in [20, 40, 60, 60, 60, 60] {
        let (at, poll) = rig.next_poll();
        let pause = at.since(last);
        let most = Duration::from_secs(most);
        assert!(pause >= INTERVAL && pause >= most / 2, "{pause:?}");
        assert!(pause <= most + wheel::TICK, "{pause:?}");
        rig.answer(&poll, unreachable());
        last = at;
    }
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, running());
    let (good, poll) = rig.next_poll();
    rig.answer(&poll, unreachable());
    let pause = rig.next_poll().0.since(good);
    assert!(pause <= INTERVAL * 2 + wheel::TICK, "{pause:?}");
}

#[test]
fn backoff_is_never_shorter_than_the_interval() {
    let mut slow = monitor(0);
    slow.pace.interval = secs(300.0);
    let mut rig = Rig::new(settings(vec![slow]));
    rig.start(0, "w");
    let (mut last, poll) = rig.next_poll();
    rig.answer(&poll, unreachable());
    for _ in 0..5 {
        let (at, poll) = rig.next_poll();
        assert!(at.since(last) >= secs(300.0));
        rig.answer(&poll, unreachable());
        last = at;
    }
}

#[test]
fn retry_after_leaves_the_whole_host_alone_and_no_other() {
    let mut other = monitor(0);
    other.naming.monitor = "same host".into();
    let mut rig = Rig::new(settings(vec![monitor(0), other, monitor(1)]));
    for monitor in 0..3 {
        rig.start(monitor, "w");
    }
    let (mut paused_at, mut asked) = (None, [0, 0, 0]);
    while rig.now.mono < mono(200.0) {
        let (at, poll) = rig.next_poll();
        match paused_at {
            None if poll.monitor != 2 => {
                rig.answer(
                    &poll,
                    failed(PollFailureReason::TooManyRequests, Some(90.0)),
                );
                paused_at = Some(at);
            }
            Some(since) if poll.monitor != 2 => {
                assert!(at.since(since) >= secs(90.0));
                asked[usize::from(poll.monitor)] += 1;
                rig.answer(&poll, running());
            }
            _ => {
                asked[2] += 1;
                rig.answer(&poll, running());
            }
        }
    }
    assert!(asked.iter().all(|&asked| asked > 5), "{asked:?}");
    check(
        &rig.notes(),
        &expect![[r#"
            Api { monitor: 0, what: Troubled { reason: TooManyRequests, detail: "too_many_requests" } }
            Api { monitor: 0, what: Paused { asked: 90s, pause: 90s, is_news: true } }
            Api { monitor: 1, what: Recovered }
        "#]],
    );
}

/// The loop takes back polls that no poller has begun.
#[test]
fn a_poll_that_is_taken_back_waits_for_the_host_and_its_answer_is_stale() {
    let mut rig = Rig::plain();
    for number in 0..6 {
        rig.start(0, &format!("w{number}"));
    }
    rig.pass(secs(20.0));
    let under_way = rig.polls();
    assert_eq!(rig.core.polls_in_flight(), 4);
    let reason = PollFailureReason::TooManyRequests;
    rig.answer(&under_way[0].1, failed(reason, Some(60.0)));
    for (_, poll) in under_way[1..].iter().rev() {
        rig.handle(Input::Recalled(vec![poll.clone()]));
        rig.answer(poll, running());
        rig.handle(Input::Recalled(vec![poll.clone()]));
    }
    assert_eq!(rig.core.polls_in_flight(), 0);
    assert_eq!(rig.core.counters().answers_stale, 3);
    let peace = rig.now.mono + secs(60.0);
    for _ in 0..6 {
        let (at, poll) = rig.next_poll();
        assert!(at >= peace, "{poll:?} at {at:?}");
        rig.answer(&poll, completed());
    }
}

#[test]
fn what_is_taken_back_at_the_end_stays_back() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    rig.handle(Input::Drain);
    rig.handle(Input::Recalled(vec![poll]));
    assert_eq!(rig.core.polls_in_flight(), 0);
    assert!(rig.polls().is_empty());
}

/// A host that answers a few polls and then asks for a pause must not answer the same few after each pause.
#[test]
fn a_rate_limit_leaves_no_workflow_without_polls() {
    let mut settings = settings(vec![monitor(0)]);
    settings.monitors[0].pace.timeout = secs(1e6);
    let mut rig = Rig::new(settings);
    for n in 0..20 {
        rig.start(0, &format!("w{n}"));
    }
    let (mut allowed, mut window, mut seen) = (3, mono(0.0), HashSet::new());
    while rig.now.mono < mono(3600.0) {
        let (at, poll) = rig.next_poll();
        if at.since(window) >= secs(60.0) {
            (allowed, window) = (3, at);
        }
        if allowed > 0 {
            allowed -= 1;
            seen.insert(poll.workflow_id.clone());
            rig.answer(&poll, running());
        } else {
            let retry_after = 60.0 - at.since(window).as_secs_f64();
            let reason = PollFailureReason::TooManyRequests;
            rig.answer(&poll, failed(reason, Some(retry_after)));
        }
    }
    assert_eq!(seen.len(), 20, "an hour is three turns for each");
}

#[test]
fn not_found_is_tolerated_for_a_minute_after_the_event() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    while rig.core.watched() > 0 {
        let (at, poll) = rig.next_poll();
        rig.answer(&poll, Answer::NotFound);
        assert_eq!(rig.core.watched() == 0, at >= mono(60.0), "{at:?}");
    }
    assert_eq!(rig.core.counters().workflows_not_found, 1);
    assert_eq!(&*rig.spans[0].name, "Workflow");
}

#[test]
fn not_found_in_the_middle_is_tolerated_for_a_minute_too() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    rig.answer_all(secs(300.0), secs(0.1), &running());
    let (first, poll) = rig.next_poll();
    rig.answer(&poll, Answer::NotFound);
    while rig.core.watched() > 0 {
        let (at, poll) = rig.next_poll();
        rig.answer(&poll, Answer::NotFound);
        let over = at.since(first) >= secs(60.0);
        assert_eq!(rig.core.watched() == 0, over, "{at:?}");
    }
}

/// However long no poll was sent: one "not found" does not last for a minute.
#[test]
fn one_not_found_in_the_middle_never_ends_a_watch() {
    let mut slow = monitor(0);
    slow.pace.interval = secs(300.0);
    let mut rig = Rig::new(settings(vec![slow]));
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, running());
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, Answer::NotFound);
    assert_eq!(rig.core.watched(), 1);

    let mut rig = Rig::plain();
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, failed(PollFailureReason::ServerError, Some(600.0)));
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, Answer::NotFound);
    assert_eq!(rig.core.watched(), 1);
}

#[test]
fn answers_that_come_twice_or_too_late_are_dropped() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    let (_, first) = rig.next_poll();
    rig.answer(&first, running());
    rig.answer(&first, completed());
    assert_eq!(rig.core.watched(), 1);
    let (_, second) = rig.next_poll();
    rig.answer(&first, completed());
    assert_eq!((rig.core.watched(), rig.core.polls_in_flight()), (1, 1));
    rig.answer(&second, completed());
    rig.start(0, "w2");
    let (_, third) = rig.next_poll();
    assert_eq!(third.slot, second.slot, "the slot is used again");
    rig.answer(&second, completed());
    assert_eq!((rig.core.watched(), rig.core.polls_in_flight()), (1, 1));
    assert_eq!(rig.core.counters().answers_stale, 3);
    assert_eq!(rig.spans.len(), 1);
}

#[test]
fn finished_runs_are_remembered_as_long_as_their_source_may_tell_of_them() {
    let mut rig = Rig::plain();
    rig.core.keep_finished(limits::FINISHED_KEPT * 2);
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, completed());
    exported(&mut rig, delivered());
    rig.pass(limits::FINISHED_KEPT * 2 - secs(60.0));
    rig.start(0, "w");
    assert_eq!(rig.core.watched(), 0);
    rig.pass(secs(60.0));
    rig.start(0, "w");
    assert_eq!(rig.core.watched(), 1);
}

#[test]
fn an_event_that_comes_twice_counts_once() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, completed());
    rig.start(0, "w");
    rig.pass(limits::FINISHED_KEPT - secs(1.0));
    rig.start(0, "w");
    assert_eq!(rig.core.watched(), 0);
    let mut again = event(0, "w");
    again.attempt = Some(2);
    rig.handle(Input::Started(again));
    assert_eq!(rig.core.watched(), 1, "another attempt is another run");
    rig.start(7, "w");
    check(
        &rig.notes(),
        &expect![[r#"
            Run { monitor: 0, workflow_id: "w", what: Duplicate }
            Run { monitor: 0, workflow_id: "w", what: Ended { run: RunKey([53, 20, 120, 254, 113, 19, 247, 39, 223, 88, 204, 206, 174, 35, 208, 100]), trace_id: TraceId(0720c7aaa48b50d5e26a1f33addb1efc), outcome: Success, abandoned: None, duration: 1ns } }
            Run { monitor: 0, workflow_id: "w", what: Duplicate }
            Run { monitor: 0, workflow_id: "w", what: Duplicate }
            Run { monitor: 7, workflow_id: "w", what: Shed }
        "#]],
    );
}

fn attempt(number: u32) -> Input {
    let mut event = event(0, "w");
    event.attempt = Some(number);
    event.source = Some(format!("{number}-0").into());
    Input::Started(event)
}

/// Attempts are different runs, each with its own trace. The API reports the latest attempt only.
#[test]
fn a_later_attempt_ends_the_watch_of_an_earlier_one_in_every_phase() {
    let mut text = String::new();
    for phase in ["waiting", "ready", "in flight"] {
        let mut settings = settings(vec![monitor(0)]);
        settings.pollers = 1;
        let mut rig = Rig::new(settings);
        if phase == "ready" {
            rig.start(0, "another");
            rig.pass(secs(5.0) + INTERVAL);
        }
        rig.handle(attempt(1));
        if phase != "waiting" {
            rig.pass(secs(5.0) + INTERVAL);
        }
        let asked = rig.polls();
        rig.handle(attempt(2));
        rig.handle(attempt(2));
        rig.handle(attempt(1));
        let notes: Vec<String> = (rig.notes().iter().rev().take(5).rev())
            .map(|note| format!("{note:?}"))
            .collect();
        text += &(notes.join(
            "
",
        ) + "
");
        assert_eq!(rig.core.counters().workflows_superseded, 1);
        assert_eq!(rig.core.watched(), 1 + usize::from(phase == "ready"));
        for (_, poll) in asked {
            rig.answer(&poll, running());
        }
        let stale = rig.core.counters().answers_stale;
        assert_eq!(stale, u64::from(phase == "in flight"), "{phase}");
        assert_eq!(rig.core.counters().workflows_ended, 1);
    }
    expect![[r#"
        Run { monitor: 0, workflow_id: "w", what: Ended { run: RunKey([193, 72, 187, 136, 130, 192, 57, 80, 49, 151, 188, 209, 42, 108, 220, 98]), trace_id: TraceId(5948520d8015059c9d343ed7485ce035), outcome: Error, abandoned: Some(Superseded), duration: 0ns } }
        Run { monitor: 0, workflow_id: "w", what: Duplicate }
        Run { monitor: 0, workflow_id: "w", what: Duplicate }
        Run { monitor: 0, workflow_id: "w", what: Ended { run: RunKey([193, 72, 187, 136, 130, 192, 57, 80, 49, 151, 188, 209, 42, 108, 220, 98]), trace_id: TraceId(5948520d8015059c9d343ed7485ce035), outcome: Error, abandoned: Some(Superseded), duration: 15s } }
        Run { monitor: 0, workflow_id: "w", what: Duplicate }
        Run { monitor: 0, workflow_id: "w", what: Duplicate }
        Run { monitor: 0, workflow_id: "w", what: Ended { run: RunKey([193, 72, 187, 136, 130, 192, 57, 80, 49, 151, 188, 209, 42, 108, 220, 98]), trace_id: TraceId(5948520d8015059c9d343ed7485ce035), outcome: Error, abandoned: Some(Superseded), duration: 15s } }
        Run { monitor: 0, workflow_id: "w", what: Duplicate }
        Run { monitor: 0, workflow_id: "w", what: Duplicate }
    "#]].assert_eq(&text);
}

#[test]
fn an_answer_about_a_later_attempt_ends_the_watch_and_one_about_an_earlier_one_says_nothing() {
    let mut rig = Rig::plain();
    rig.handle(attempt(2));
    let about = |attempt, state| {
        let Answer::Snapshot {
            mut snapshot,
            oddity,
        } = answer_of(state, 1)
        else {
            unreachable!();
        };
        snapshot.attempt = Some(attempt);
        Answer::Snapshot { snapshot, oddity }
    };
    for answer in [
        about(1, State::Ended(Outcome::Failure)),
        about(2, State::Running),
        about(3, State::Running),
    ] {
        assert_eq!(rig.core.counters().workflows_ended, 0);
        let (_, poll) = rig.next_poll();
        rig.answer(&poll, answer);
    }
    check(
        &rig.notes(),
        &expect![[r#"
            Run { monitor: 0, workflow_id: "w", what: Ended { run: RunKey([84, 125, 127, 23, 13, 97, 198, 25, 171, 3, 63, 142, 74, 249, 197, 184]), trace_id: TraceId(1449b286b59e5fb780b7d6281d0ab264), outcome: Error, abandoned: Some(Superseded), duration: 1ns } }
        "#]],
    );
}

/// Two instances may each have watched one attempt, and a third takes over both.
#[test]
fn of_two_attempts_that_are_restored_the_earlier_one_ends() {
    let mut settings = settings(vec![monitor(0)]);
    settings.stores = true;
    let stored = |number| {
        let mut rig = Rig::new(settings.clone());
        rig.handle(attempt(number));
        let put = |change| match change {
            Change::PutWorkflow { run, record } => (run, record),
            other => panic!("{other:?}"),
        };
        put(rig.core.take_changes().remove(0))
    };
    let (first, second) = (stored(1), stored(2));
    let mut text = String::new();
    for order in [[&first, &second], [&second, &first]] {
        let mut rig = Rig::new(settings.clone());
        let stored = Stored {
            workflows: order.into_iter().cloned().collect(),
            ..Stored::default()
        };
        rig.core.restore(stored, rig.now);
        rig.handle(Input::Tick);
        let notes: Vec<String> = rig.notes().iter().map(|note| format!("{note:?}")).collect();
        text += &(notes.join(
            "
",
        ) + "
");
        assert_eq!(rig.core.watched(), 1);
        let watched = rig.core.everything().into_iter().find_map(|c| match c {
            Change::PutWorkflow { run, .. } => Some(run),
            _ => None,
        });
        assert_eq!(watched, Some(second.0));
        let changes = rig.core.take_changes();
        assert!(changes.contains(&Change::RemoveWorkflow(first.0)));
    }
    expect![[r#"
        Run { monitor: 0, workflow_id: "w", what: Ended { run: RunKey([193, 72, 187, 136, 130, 192, 57, 80, 49, 151, 188, 209, 42, 108, 220, 98]), trace_id: TraceId(5948520d8015059c9d343ed7485ce035), outcome: Error, abandoned: Some(Superseded), duration: 0ns } }
        State(Restored { workflows: 2, spans: 0, log_records: 0, notifications: 0 })
        Run { monitor: 0, workflow_id: "w", what: Ended { run: RunKey([193, 72, 187, 136, 130, 192, 57, 80, 49, 151, 188, 209, 42, 108, 220, 98]), trace_id: TraceId(5948520d8015059c9d343ed7485ce035), outcome: Error, abandoned: Some(Superseded), duration: 0ns } }
        State(Restored { workflows: 2, spans: 0, log_records: 0, notifications: 0 })
    "#]].assert_eq(&text);
}

#[test]
fn the_timeout_strikes_while_waiting_and_while_asking() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    rig.answer_all(secs(3599.0), secs(0.1), &running());
    while rig.core.watched() > 0 {
        let next = rig.core.next_deadline().unwrap();
        rig.step_to(next);
        rig.handle(Input::Tick);
        for (_, poll) in rig.polls() {
            rig.pass(secs(30.0));
            rig.answer(&poll, running());
        }
    }
    assert!(rig.now.mono >= mono(3600.0) && rig.now.mono <= mono(3635.0));
    assert_eq!(rig.core.counters().workflows_timed_out, 1);
    assert_eq!(rig.spans.len(), 1);
}

/// The last answer counts, however late it is.
#[test]
fn an_answer_after_the_timeout_may_still_be_the_end() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    rig.pass(secs(4000.0));
    rig.answer(&poll, completed());
    assert_eq!(rig.core.watched(), 0);
    assert_eq!(rig.core.counters().workflows_timed_out, 0);
}

#[test]
fn a_full_outbox_holds_the_polls() {
    let mut rig = Rig::plain();
    rig.start(0, "a");
    rig.start(0, "b");
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, answer_of(State::Running, 20));
    assert_eq!(rig.core.spans_waiting(), 20);
    rig.pass(secs(100.0));
    assert_eq!(rig.polls().len(), 0);
    let (_, batch) = rig.batches.remove(0);
    rig.handle(Input::Exported(Exported {
        signal: Signal::Traces,
        batch: batch.id,
        outcome: delivered(),
    }));
    assert_eq!(rig.polls().len(), 2);
    check(
        &rig.notes(),
        &expect![[r#"
        PollsHeld(true)
        PollsHeld(false)
    "#]],
    );
}

fn with_state_of(state_bytes_max: u64) -> Rig {
    Rig::new(Settings {
        state_bytes_max,
        ..settings(vec![monitor(0)])
    })
}

/// Starts workflows as the loop does: while there is no room, it leaves events in their source.
fn start_while_there_is_room(rig: &mut Rig) -> usize {
    let before = rig.core.watched();
    while rig.core.has_room() {
        rig.start(0, &format!("w{}", rig.core.watched()));
    }
    rig.core.watched() - before
}

#[test]
fn a_full_state_holds_the_events_until_it_is_well_below() {
    let mut rig = with_state_of(2000);
    let count = start_while_there_is_room(&mut rig);
    assert!((5..50).contains(&count), "{count}");
    assert!(rig.core.state_is_full() && rig.core.room() == 0);
    let mut polls = Vec::new();
    while polls.len() < count {
        rig.pass(secs(1.0));
        for (_, poll) in rig.polls() {
            polls.push(poll.clone());
            if polls.len() == 1 {
                rig.answer(&poll, completed());
                assert!(!rig.core.has_room(), "its span is not delivered yet");
            } else {
                rig.answer(&poll, running());
            }
        }
    }
    // The end of one workflow makes no room for the next: its run is remembered, and the other records have grown.
    exported(&mut rig, delivered());
    assert!(rig.core.state_is_full(), "{}", rig.core.state_bytes());
    rig.answer_all(secs(60.0), secs(0.1), &completed());
    assert!(!rig.core.has_room(), "their spans wait");
    while rig.core.spans_waiting() > 0 {
        exported(&mut rig, delivered());
    }
    assert!(rig.core.has_room() && !rig.core.state_is_full());
    assert!(rig.core.room() > 0 && rig.core.state_bytes() <= 1800);
    let notes = rig.notes();
    let full = notes.iter().filter_map(|note| match note {
        Note::State(StateNote::Full {
            full,
            bytes,
            bytes_max: 2000,
        }) => Some((*full, *bytes >= 2000, *bytes <= 1800)),
        _ => None,
    });
    assert!(
        full.eq([(true, true, false), (false, false, true)]),
        "{notes:?}"
    );
    let counters = rig.core.counters();
    assert_eq!(counters.state_filled, 1);
    assert_eq!(counters.state_bytes, rig.core.state_bytes());
    assert_eq!(counters.events_shed(), 0);
}

/// Events that were heard before the state was full, and are in the channel, are taken in.
#[test]
fn a_full_state_sheds_nothing() {
    let mut rig = with_state_of(300);
    for id in ["a", "b", "c"] {
        rig.start(0, id);
    }
    assert_eq!(
        (rig.core.watched(), rig.core.counters().events_shed()),
        (3, 0)
    );
}

#[test]
fn a_full_outbox_and_a_full_state_empty_one_after_the_other() {
    let mut rig = with_state_of(3000);
    let count = start_while_there_is_room(&mut rig);
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, answer_of(State::Running, 20));
    rig.pass(secs(100.0));
    assert!(rig.core.polls_held() && rig.core.state_is_full());
    assert_eq!(rig.polls().len(), 0, "nothing goes on but the export");
    for _ in 0..100 {
        if !rig.batches.is_empty() {
            exported(&mut rig, delivered());
        }
        rig.answer_all(secs(10.0), secs(0.1), &completed());
    }
    assert_eq!((rig.core.watched(), rig.core.spans_waiting()), (0, 0));
    assert!(!rig.core.polls_held() && rig.core.has_room());
    assert_eq!(rig.core.counters().workflows_ended, count as u64);
}

/// The records of watched workflows grow, and fill the state too.
#[test]
fn a_state_that_fills_as_records_grow_is_full_when_they_are_written() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    let bytes_max = rig.core.state_bytes() + 1;
    let mut rig = with_state_of(bytes_max);
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    rig.core.take_changes();
    assert!(rig.core.has_room());
    rig.answer(&poll, timeless(State::Running));
    rig.core.take_changes();
    assert!(rig.core.state_is_full() && !rig.core.has_room());
    rig.handle(Input::Tick);
    let told = |note: &Note| matches!(note, Note::State(StateNote::Full { full: true, .. }));
    assert_eq!(rig.notes().iter().filter(|note| told(note)).count(), 1);
}

/// New workflows wait too after the bound was lowered, or after the runs of others were taken over, until enough has ended.
#[test]
fn what_is_restored_counts() {
    let mut rig = Rig::plain();
    for n in 0..20 {
        rig.start(0, &format!("w{n}"));
    }
    let kept = stored(&mut rig);
    let bytes = rig.core.state_bytes();
    let mut next = with_state_of(1000);
    next.core.restore(kept, next.now);
    assert_eq!(next.core.state_bytes(), bytes);
    assert!(!next.core.has_room(), "before anything else happens");
    next.handle(Input::Tick);
    assert!(next.core.state_is_full());
    let runs = runs_of(&next)
        .into_iter()
        .map(|run| (run, Refusal::Elsewhere));
    next.handle(Input::Refused(runs.collect()));
    assert_eq!(next.core.state_bytes(), 0);
    assert!(next.core.has_room());
}

#[test]
fn without_a_store_there_is_no_state_to_fill() {
    let mut settings = settings(vec![monitor(0)]);
    (settings.stores, settings.state_bytes_max) = (false, 1);
    let mut rig = Rig::new(settings);
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, answer_of(State::Running, 3));
    assert_eq!(rig.core.state_bytes(), 0);
    assert!(rig.core.has_room());
}

#[test]
fn at_the_limit_there_is_no_room_until_one_ends_or_it_stops() {
    let mut settings = settings(vec![monitor(0)]);
    settings.workflows_max = 2;
    let mut rig = Rig::new(settings);
    rig.start(0, "a");
    assert_eq!((rig.core.has_room(), rig.core.room()), (true, 1));
    rig.start(0, "b");
    assert_eq!((rig.core.has_room(), rig.core.room()), (false, 0));
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, completed());
    assert!(rig.core.has_room());
    rig.start(0, "c");
    rig.start(0, "nobody asked whether there is room");
    assert_eq!(rig.core.counters().events_shed(), 1);
    // An event that was heard before the stop is nowhere else.
    rig.handle(Input::Drain);
    rig.start(0, "d");
    assert_eq!(
        (rig.core.watched(), rig.core.counters().events_shed()),
        (3, 1)
    );
}

#[test]
fn draining_starts_no_poll_and_waits_for_no_company() {
    let mut rig = Rig::plain();
    rig.start(0, "a");
    rig.start(0, "b");
    let (_, poll) = rig.next_poll();
    rig.handle(Input::Drain);
    assert!(!rig.core.has_room());
    rig.answer(&poll, completed());
    assert_eq!(rig.batches.len(), 1, "at once");
    rig.pass(secs(100.0));
    assert_eq!((rig.polls().len(), rig.core.watched()), (0, 1));
}

#[test]
fn draining_waits_out_no_backoff_but_what_the_collector_asked_for() {
    let failed = |retry_after| ExportOutcome::Retry {
        reason: "refused".into(),
        retry_after,
    };
    for (retry_after, attempts) in [(None, 9..=10), (Some(secs(3600.0)), 0..=0)] {
        let mut rig = Rig::plain();
        rig.start(0, "w");
        let (_, poll) = rig.next_poll();
        rig.answer(&poll, completed());
        // The pause has grown to its longest.
        for _ in 0..8 {
            exported(&mut rig, failed(None));
        }
        exported(&mut rig, failed(retry_after));
        rig.pass(secs(1.0));
        assert_eq!(rig.batches.len(), 0, "it is left alone");
        rig.handle(Input::Drain);
        let mut made = 0;
        for _ in 0..100 {
            made += rig.batches.len();
            if !rig.batches.is_empty() {
                exported(&mut rig, failed(retry_after));
            }
            rig.pass(secs(0.1));
        }
        assert!(attempts.contains(&made), "{retry_after:?}: {made}");
    }
}

fn polled(rig: &Rig, poll: &Poll, sent: Now, ahead_ns: i64, answer: Answer) -> Polled {
    const SECOND_NS: i64 = 1_000_000_000;
    let api = rig.now.wall.as_unix_ns() + ahead_ns;
    Polled {
        slot: poll.slot,
        generation: poll.generation,
        sent,
        received: rig.now,
        date: Some(Wall::from_unix_ns(api.div_euclid(SECOND_NS) * SECOND_NS)),
        requests: 1,
        not_modified: 0,
        pause: None,
        answer,
    }
}

/// Answers without times: the core takes them from the clock.
fn timeless(state: State) -> Answer {
    let mut answer = answer_of(state, 0);
    if let Answer::Snapshot { snapshot, .. } = &mut answer {
        snapshot.progress.start = None;
        snapshot.progress.end = None;
    }
    answer
}

/// When the root span ended, in seconds since our clock began.
fn ended(rig: &Rig) -> f64 {
    (rig.spans[0].end.as_unix_ns() - EPOCH_NS) as f64 / 1e9
}

const TWO_HOURS_NS: i64 = 7_200_000_000_000;

#[test]
fn times_seen_are_put_into_the_apis_clock() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    let mut first = None;
    while rig.core.watched() > 0 {
        let (at, poll) = rig.next_poll();
        first.get_or_insert(at);
        let sent = rig.now;
        rig.pass(secs(0.3));
        let answer = timeless(State::Ended(Outcome::Success));
        let polled = polled(&rig, &poll, sent, TWO_HOURS_NS, answer);
        rig.handle(Input::Polled(polled));
    }
    let seen = first.unwrap().as_ns() as f64 / 1e9 + 7200.3;
    assert!((ended(&rig) - seen).abs() <= 1.0, "{} {seen}", ended(&rig));
}

#[test]
fn a_clock_that_agrees_within_a_second_is_left_as_it_is() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    let mut first = None;
    while rig.core.watched() > 0 {
        let (at, poll) = rig.next_poll();
        first.get_or_insert(at);
        let answer = timeless(State::Ended(Outcome::Success));
        let polled = polled(&rig, &poll, rig.now, 0, answer);
        rig.handle(Input::Polled(polled));
    }
    assert_eq!(ended(&rig), first.unwrap().as_ns() as f64 / 1e9);
}

#[test]
fn a_failure_without_a_date_does_not_make_the_clocks_agree() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    let polled = polled(&rig, &poll, rig.now, TWO_HOURS_NS, running());
    rig.handle(Input::Polled(polled));
    rig.answer_all(secs(3600.0), secs(0.1), &unreachable());
    assert!((ended(&rig) - 10_800.0).abs() <= 1.0, "{}", ended(&rig));
}

#[test]
fn our_clock_set_during_a_poll_is_not_the_apis_skew() {
    for step_ns in [-TWO_HOURS_NS, TWO_HOURS_NS] {
        let mut rig = Rig::plain();
        rig.start(0, "w");
        while rig.core.watched() > 0 {
            let (_, poll) = rig.next_poll();
            let sent = rig.now;
            rig.pass(secs(0.2));
            rig.now.wall = rig.now.wall.shifted(step_ns);
            let answer = timeless(State::Ended(Outcome::Success));
            let polled = polled(&rig, &poll, sent, 0, answer);
            rig.handle(Input::Polled(polled));
            assert_eq!(rig.core.hosts.clock(0, rig.now.wall), rig.now.wall);
        }
    }
}

#[test]
fn trouble_is_noted_once_for_all_workflows_and_so_is_its_end() {
    let mut rig = Rig::plain();
    for n in 0..4 {
        rig.start(0, &format!("w{n}"));
    }
    let unauthorized = failed(PollFailureReason::Unauthorized, None);
    rig.answer_all(secs(50.0), secs(0.1), &unauthorized);
    rig.answer_all(secs(100.0), secs(0.1), &running());
    check(
        &rig.notes(),
        &expect![[r#"
        Api { monitor: 0, what: Troubled { reason: Unauthorized, detail: "unauthorized" } }
        Api { monitor: 0, what: Recovered }
    "#]],
    );
}

#[test]
fn troubles_that_take_turns_do_not_fill_the_log() {
    let mut rig = Rig::plain();
    for n in 0..4 {
        rig.start(0, &format!("w{n}"));
    }
    for n in 0..40 {
        let (_, poll) = rig.next_poll();
        let reason = PollFailureReason::ALL[n % 2];
        rig.answer(&poll, failed(reason, None));
    }
    let minutes = rig.now.mono.as_ns() / 60_000_000_000 + 1;
    let notes = rig.notes().len() as u64;
    assert!(notes <= 2 * minutes, "{notes} notes in {minutes} min");
}

#[test]
fn an_oddity_is_noted_once() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    for _ in 0..3 {
        let (_, poll) = rig.next_poll();
        let Answer::Snapshot { mut snapshot, .. } = running() else {
            continue;
        };
        snapshot.workflow_id = Some("{W}".into());
        let oddity = Some("odd".into());
        rig.answer(&poll, Answer::Snapshot { snapshot, oddity });
    }
    check(
        &rig.notes(),
        &expect![[r#"
        Api { monitor: 0, what: Odd("odd") }
    "#]],
    );
}

#[test]
fn an_answer_about_another_workflow_says_nothing() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    let Answer::Snapshot { mut snapshot, .. } = running() else {
        panic!("a snapshot");
    };
    snapshot.workflow_id = Some("other".into());
    snapshot.progress.state = State::Ended(Outcome::Success);
    rig.answer(
        &poll,
        Answer::Snapshot {
            snapshot,
            oddity: None,
        },
    );
    assert_eq!(rig.core.watched(), 1);
    let reason = PollFailureReason::OtherWorkflow.index();
    assert_eq!(rig.core.counters().polls_failed()[reason], 1);
    check(
        &rig.notes(),
        &expect![[r#"
        Api { monitor: 0, what: Troubled { reason: OtherWorkflow, detail: "asked after \"w\", the answer is about \"other\"" } }
    "#]],
    );
}

fn exported(rig: &mut Rig, outcome: ExportOutcome) {
    while rig.batches.is_empty() {
        let next = rig.core.next_deadline().expect("a batch comes");
        rig.step_to(next.max(rig.now.mono));
        rig.handle(Input::Tick);
        for (_, poll) in rig.polls() {
            rig.answer(&poll, running());
        }
    }
    let (_, batch) = rig.batches.remove(0);
    rig.handle(Input::Exported(Exported {
        signal: Signal::Traces,
        batch: batch.id,
        outcome,
    }));
}

fn retry(retry_after: Option<Duration>) -> ExportOutcome {
    ExportOutcome::Retry {
        reason: "503".into(),
        retry_after,
    }
}

fn rejected() -> ExportOutcome {
    ExportOutcome::Rejected {
        message: "400".into(),
    }
}

#[test]
fn the_collectors_trouble_is_noted_once_and_so_is_its_end() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, answer_of(State::Running, 12));
    exported(&mut rig, retry(None));
    exported(&mut rig, retry(None));
    exported(&mut rig, delivered());
    exported(&mut rig, retry(None));
    exported(&mut rig, rejected());
    check(
        &rig.notes(),
        &expect![[r#"
            Collector { signal: Traces, what: Troubled { reason: "503", waiting: 12 } }
            Collector { signal: Traces, what: Recovered }
            Collector { signal: Traces, what: Refused { items: 2, message: "400" } }
        "#]],
    );
    assert_eq!(rig.core.counters().spans_delivered, 10);
    assert_eq!(rig.core.counters().spans_rejected, 2);
    assert_eq!(rig.core.counters().exports_retried(), 3);
}

/// A collector that was down may come back with a refusal that only a person can end, and the log may be read late.
#[test]
fn trouble_of_the_collector_is_noted_once_a_minute_while_it_lasts() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, answer_of(State::Running, 12));
    exported(&mut rig, retry(None));
    exported(&mut rig, retry(None));
    rig.pass(secs(61.0));
    let reason = "HTTP 401".into();
    let retry_after = None;
    exported(
        &mut rig,
        ExportOutcome::Retry {
            reason,
            retry_after,
        },
    );
    let notes = rig.notes();
    let reasons = notes.iter().filter_map(|note| match note {
        Note::Collector {
            what: CollectorNote::Troubled { reason, .. },
            ..
        } => Some(&**reason),
        _ => None,
    });
    assert_eq!(reasons.collect::<Vec<_>>(), ["503", "HTTP 401"]);
}

/// Even a collector that answers "Retry-After: 0" gets a pause.
#[test]
fn a_collector_is_never_asked_without_a_pause() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, completed());
    exported(&mut rig, retry(Some(Duration::ZERO)));
    assert!(rig.batches.is_empty());
}

#[test]
fn what_the_collector_threw_away_is_counted_and_told() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, answer_of(State::Ended(Outcome::Success), 2));
    let outcome = ExportOutcome::Delivered {
        rejected: 2,
        message: "too old".into(),
    };
    exported(&mut rig, outcome.clone());
    rig.handle(Input::Exported(Exported {
        signal: Signal::Traces,
        batch: 0,
        outcome,
    }));
    check(
        &rig.notes(),
        &expect![[r#"
            Run { monitor: 0, workflow_id: "w", what: Ended { run: RunKey([53, 20, 120, 254, 113, 19, 247, 39, 223, 88, 204, 206, 174, 35, 208, 100]), trace_id: TraceId(0720c7aaa48b50d5e26a1f33addb1efc), outcome: Success, abandoned: None, duration: 1ns } }
            Collector { signal: Traces, what: Partial { rejected: 2, message: "too old" } }
        "#]],
    );
    let counters = rig.core.counters();
    assert_eq!((counters.spans_delivered, counters.spans_rejected), (1, 2));
}

#[test]
fn reasons_are_counted_where_they_stand() {
    for (place, reason) in PollFailureReason::ALL.iter().enumerate() {
        assert_eq!(reason.index(), place);
    }
}

fn pace(initial_delay: f64, interval: f64, timeout: f64) -> Input {
    Input::Reloaded(vec![Pace::new(
        secs(initial_delay),
        secs(interval),
        secs(timeout),
    )])
}

#[test]
fn a_reload_stores_only_what_it_changes() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    assert!(!rig.core.take_changes().is_empty());
    rig.handle(pace(5.0, 10.0, 3600.0));
    rig.core.take_changes();
    rig.handle(pace(1.0, 2.0, 3600.0));
    assert_eq!(rig.core.take_changes(), [], "the record has no interval");
    rig.handle(pace(1.0, 2.0, 60.0));
    let changes = rig.core.take_changes();
    assert!(
        matches!(&*changes, [Change::PutWorkflow { .. }]),
        "its deadline has changed: {changes:?}"
    );
}

#[test]
fn a_shorter_interval_holds_at_once_and_spreads() {
    let mut settings = settings(vec![monitor(0)]);
    (settings.monitors[0].pace.interval, settings.pollers) = (secs(1800.0), 200);
    let mut rig = Rig::new(settings);
    for n in 0..200 {
        rig.start(0, &format!("w{n}"));
    }
    rig.answer_all(secs(1900.0), secs(0.1), &running());
    rig.handle(pace(5.0, 10.0, 1e6));
    let reloaded = rig.now.mono;
    let sent = rig.answer_all(secs(20.0), secs(0.1), &running());
    assert!((390..=400).contains(&sent.len()), "{} polls", sent.len());
    for half in 0..4 {
        let from = reloaded + secs(5.0) * half;
        let within = sent.iter().filter(|at| **at >= from);
        let count = within.filter(|at| at.since(from) < secs(5.0)).count();
        assert!((70..=130).contains(&count), "{count} in one half");
    }
}

#[test]
fn a_longer_interval_holds_from_the_next_poll_on() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    let sent = rig.answer_all(secs(30.0), secs(0.1), &running());
    let due = *sent.last().unwrap() + INTERVAL;
    rig.handle(pace(5.0, 100.0, 3600.0));
    let sent = rig.answer_all(secs(250.0), secs(0.1), &running());
    let late: Vec<_> = (0..)
        .zip(&sent)
        .map(|(n, at)| at.since(due + secs(100.0) * n))
        .collect();
    assert!(
        late.len() == 3 && late.iter().all(|late| *late <= wheel::TICK),
        "{late:?}"
    );
}

#[test]
fn a_new_initial_delay_holds_for_who_waits_for_it() {
    let mut settings = settings(vec![monitor(0)]);
    settings.monitors[0].pace.initial_delay = secs(1000.0);
    let mut rig = Rig::new(settings);
    rig.start(0, "w");
    rig.pass(secs(100.0));
    rig.handle(pace(5.0, 10.0, 3600.0));
    let (at, _) = rig.next_poll();
    assert!(at >= mono(105.0) && at <= mono(115.001), "{at:?}");
}

#[test]
fn a_reload_ends_a_pause_after_failures_but_not_the_one_a_host_asked_for() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    rig.answer_all(
        secs(300.0),
        secs(0.1),
        &failed(PollFailureReason::Unauthorized, None),
    );
    let reloaded = rig.now.mono;
    rig.handle(pace(5.0, 10.0, 3600.0));
    let (at, poll) = rig.next_poll();
    assert!(at.since(reloaded) <= INTERVAL + wheel::TICK);
    rig.answer(
        &poll,
        failed(PollFailureReason::TooManyRequests, Some(300.0)),
    );
    let asked = rig.now.mono;
    rig.handle(pace(5.0, 10.0, 3600.0));
    let (at, _) = rig.next_poll();
    assert!(at.since(asked) >= secs(300.0));
}

#[test]
fn a_new_timeout_counts_from_the_event() {
    for (timeout, ends) in [(100.0, 100.0), (7200.0, 7200.0), (10.0, 50.0)] {
        let mut rig = Rig::plain();
        let until = |rig: &mut Rig, end: f64| {
            let time = mono(end).since(rig.now.mono);
            rig.answer_all(time, secs(0.1), &running());
        };
        rig.start(0, "w");
        until(&mut rig, 50.0);
        rig.handle(pace(5.0, 10.0, timeout));
        if timeout > 50.0 {
            until(&mut rig, ends - 0.5);
            assert_eq!(rig.core.counters().workflows_timed_out, 0, "{timeout}");
        }
        until(&mut rig, ends + 0.5);
        assert_eq!(rig.core.counters().workflows_timed_out, 1, "{timeout}");
        assert_eq!(rig.core.watched(), 0);
    }
}

fn from_entry(workflow_id: &str) -> Input {
    Input::Started(StartEvent {
        source: Some(format!("entry of {workflow_id}").into()),
        ..event(0, workflow_id)
    })
}

fn runs_of(rig: &Rig) -> Vec<RunKey> {
    rig.core
        .table
        .iter()
        .map(|(_, watch)| watch.run())
        .collect()
}

#[test]
fn a_run_that_another_has_is_forgotten_in_every_phase() {
    for polled in [false, true] {
        let mut rig = Rig::plain();
        rig.handle(from_entry("a"));
        let poll = polled.then(|| rig.next_poll().1);
        let runs = runs_of(&rig);
        rig.handle(Input::Refused(vec![(runs[0], Refusal::Elsewhere)]));
        assert_eq!((rig.core.watched(), rig.core.polls_in_flight()), (0, 0));
        assert_eq!(std::mem::take(&mut rig.settled), ["leave entry of a"]);
        if let Some(poll) = poll {
            assert_eq!(rig.core.hosts.orphans(), 1, "its poller is not free yet");
            rig.answer(&poll, answer_of(State::Ended(Outcome::Success), 3));
            assert_eq!(rig.core.hosts.orphans(), 0);
        }
        assert!(rig.spans.is_empty(), "nothing of it is told");
        // It may come back: its owner may expire.
        rig.handle(from_entry("a"));
        assert_eq!(rig.core.watched(), 1);
        // A run that is done stays done: the next event is a duplicate.
        rig.handle(Input::Refused(vec![(runs[0], Refusal::Done)]));
        rig.handle(from_entry("a"));
        assert_eq!(
            rig.settled,
            ["acknowledge entry of a", "acknowledge entry of a"]
        );
        assert_eq!(rig.core.watched(), 0);
    }
}

/// Each in the phase that it is in. The other runs go on as before.
#[test]
fn many_runs_are_given_up_at_once() {
    let mut rig = Rig::plain();
    for n in 0..30 {
        rig.handle(from_entry(&format!("w{n}")));
    }
    rig.pass(secs(11.0));
    let phases = |rig: &Rig| {
        let count = |wanted: fn(&Phase) -> bool| {
            let of_it = rig.core.table.iter().filter(|(_, w)| wanted(&w.phase));
            of_it.count()
        };
        (
            count(|p| matches!(p, Phase::Waiting { .. })),
            count(|p| matches!(p, Phase::Ready { .. })),
            count(|p| matches!(p, Phase::InFlight { .. })),
        )
    };
    let (waiting, ready, in_flight) = phases(&rig);
    assert!(
        waiting > 4 && ready > 4 && in_flight == 4,
        "{:?}",
        phases(&rig)
    );
    let order = rig.core.hosts.ready_slots(0);
    let lost: Vec<(RunKey, Refusal)> = runs_of(&rig)
        .into_iter()
        .step_by(2)
        .map(|run| (run, Refusal::Elsewhere))
        .collect();
    rig.handle(Input::Refused(lost.clone()));
    rig.core.check_invariants();
    assert_eq!((rig.core.watched(), rig.settled.len()), (15, 15));
    assert!(
        runs_of(&rig)
            .iter()
            .all(|run| lost.iter().all(|(gone, _)| gone != run))
    );
    let mut kept = order
        .into_iter()
        .filter(|slot| rig.core.table.get(*slot).is_some());
    assert!(
        (rig.core.hosts.ready_slots(0).iter()).all(|slot| kept.any(|k| k == *slot)),
        "in their order"
    );
    while !rig.polls.is_empty() {
        for (_, poll) in rig.polls() {
            rig.answer(&poll, completed());
        }
    }
    rig.answer_all(secs(100.0), secs(0.1), &completed());
    assert_eq!(rig.core.watched(), 0);
}

/// What a store would hold of this core now.
fn stored(rig: &mut Rig) -> Stored {
    let mut stored = Stored::default();
    for change in rig.core.take_changes() {
        match change {
            Change::PutWorkflow { run, record } => {
                stored.workflows.retain(|(known, _)| *known != run);
                stored.workflows.push((run, record));
            }
            Change::RemoveWorkflow(run) => stored.workflows.retain(|(known, _)| *known != run),
            Change::PutItem(span) => stored.items.push(span),
            Change::PutFinished(run, at) => stored.finished.push((run, at)),
            Change::RemoveItems(gone) => stored.items.retain(|span| !gone.contains(span)),
            other => panic!("not here: {other:?}"),
        }
    }
    stored
}

/// A core that goes on with what was stored, so much later.
fn restarted(stored: Stored, after: Duration) -> Rig {
    let mut next = Rig::plain();
    next.now.wall = next.now.wall + after;
    next.core.restore(stored, next.now);
    next.handle(Input::Tick);
    next
}

#[test]
fn what_passed_its_timeout_while_farspan_was_down_is_polled_once_more() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    let mut rig = restarted(stored(&mut rig), Duration::from_secs(90_000));
    let (_, poll) = rig.next_poll();
    assert_eq!(&*poll.workflow_id, "w");
    assert!(rig.spans.is_empty());
    rig.answer(&poll, running());
    rig.answer_all(INTERVAL * 3, secs(0.1), &unreachable());
    assert_eq!(rig.spans.len(), 1, "it has timed out");
}

#[test]
fn an_entry_is_released_though_its_run_is_forgotten_before_its_spans_are_delivered() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, completed());
    assert_eq!(rig.spans.len(), 1);
    let mut stored = stored(&mut rig);
    stored.finished.clear();
    let mut rig = restarted(stored, Duration::from_secs(7200));
    let again = StartEvent {
        source: Some("1-0".into()),
        ..event(0, "w")
    };
    rig.core.handle(Input::Started(again), rig.now);
    assert_eq!(rig.core.watched(), 0, "its span waits");
    rig.pass(Duration::from_secs(10));
    let (_, batch) = rig.batches.pop().expect("its span");
    let delivered = ExportOutcome::Delivered {
        rejected: 0,
        message: "".into(),
    };
    let outcome = Input::Exported(Exported {
        signal: Signal::Traces,
        batch: batch.id,
        outcome: delivered,
    });
    rig.core.handle(outcome, rig.now);
    let released = std::iter::from_fn(|| rig.core.next_action());
    let released =
        released.filter(|action| matches!(action, Action::Send(Outgoing::Acknowledge(_))));
    assert_eq!(released.count(), 1);
}

/// farspan ends between the commit of a delivery and the acknowledgement of its entry, and starts much later: the entry
/// comes again, and its run is not traced again.
#[test]
fn an_entry_that_comes_again_after_a_long_downtime_is_done() {
    let mut rig = Rig::plain();
    rig.handle(from_entry("w"));
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, completed());
    exported(&mut rig, delivered());
    assert_eq!(rig.settled, ["acknowledge entry of w"]);
    let mut kept = stored(&mut rig);
    let lens = (kept.workflows.len(), kept.items.len(), kept.finished.len());
    assert_eq!(lens, (0, 0, 1));

    let away = limits::FINISHED_KEPT * 30;
    let mut rig = restarted(kept.clone(), away);
    rig.handle(from_entry("w"));
    assert_eq!(rig.settled, ["acknowledge entry of w"]);
    assert_eq!(rig.core.watched(), 0);
    assert_eq!(rig.core.take_changes(), []);
    // From here on it ages as if it had finished just now.
    rig.pass(limits::FINISHED_KEPT - secs(1.0));
    rig.handle(from_entry("w"));
    assert_eq!(rig.core.watched(), 0);
    rig.pass(secs(1.0));
    rig.handle(from_entry("w"));
    assert_eq!(rig.core.watched(), 1);

    // However many are remembered, the oldest are forgotten first.
    let many = (1..limits::FINISHED_MAX as u128 + 4).map(|n| {
        let run = RunKey::from_bytes(n.to_be_bytes());
        (run, Wall::from_unix_ns(EPOCH_NS + n as i64))
    });
    kept.finished = many.collect();
    let mut rig = restarted(kept.clone(), away);
    let forgotten = &kept.finished[..3];
    let mut changes: Vec<Change> = forgotten
        .iter()
        .map(|(run, _)| Change::RemoveFinished(*run))
        .collect();
    let marker = RunKey::from_bytes([0; 16]);
    changes.push(Change::PutFinished(marker, forgotten[2].1));
    assert_eq!(rig.core.take_changes(), changes);
}

#[test]
fn a_run_that_may_have_been_traced_and_forgotten_is_not_traced_again() {
    let mut rig = Rig::plain();
    let (_, mut kept) = (rig.start(0, "first"), Stored::default());
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, completed());
    exported(&mut rig, delivered());
    rig.core.take_changes();
    rig.pass(limits::FINISHED_KEPT);
    // Its run has gone on under the same id, and is announced again.
    rig.handle(from_entry("first"));
    let (_, poll) = rig.next_poll();
    rig.notes();
    rig.answer(&poll, answer_of(State::Running, 3));
    assert_eq!((rig.core.watched(), rig.spans.len()), (0, 1));
    assert_eq!(rig.settled, ["acknowledge entry of first"]);
    check(
        &rig.notes(),
        &expect![[r#"
            Run { monitor: 0, workflow_id: "first", what: Forgotten }
        "#]],
    );
    assert_eq!(rig.core.counters().runs_forgotten, 1);
    // What was forgotten is stored.
    for change in rig.core.take_changes() {
        if let Change::PutFinished(run, began) = change {
            kept.finished.push((run, began));
        }
    }
    let mut rig = restarted(kept, limits::FINISHED_KEPT);
    let submitted = |nanos| {
        let mut event = event(0, "submitted");
        event.submitted_at = Some(Wall::from_unix_ns(EPOCH_NS + nanos));
        Input::Started(event)
    };
    rig.handle(submitted(0));
    assert_eq!(rig.core.watched(), 0, "it began before what is forgotten");
    rig.handle(submitted(1));
    assert_eq!(rig.core.watched(), 1);
}

#[test]
fn without_a_store_nothing_is_remembered_and_so_nothing_is_refused() {
    let mut settings = settings(vec![monitor(0)]);
    settings.stores = false;
    let mut rig = Rig::new(settings);
    for traces in 1..3 {
        rig.start(0, "w");
        let (_, poll) = rig.next_poll();
        rig.answer(&poll, completed());
        assert_eq!(rig.spans.len(), traces);
        exported(&mut rig, delivered());
        rig.pass(limits::FINISHED_KEPT);
    }
}

/// A later version has left records that this one cannot read. The later version must find them unchanged.
#[test]
fn a_run_whose_record_cannot_be_read_is_not_begun_anew() {
    let mut rig = Rig::plain();
    for id in ["newer", "damaged", "whole"] {
        rig.handle(from_entry(id));
    }
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, answer_of(State::Running, 1));
    let mut kept = stored(&mut rig);
    let names: Vec<(RunKey, String)> = (rig.core.table.iter())
        .map(|(_, watch)| (watch.run(), watch.workflow.id().to_string()))
        .collect();
    for (run, record) in &mut kept.workflows {
        let name = names.iter().find(|(known, _)| known == run);
        match &*name.expect("it was stored").1 {
            "newer" => record[0] = 99,
            "damaged" => record.truncate(9),
            _ => {}
        }
    }
    assert_eq!((kept.workflows.len(), kept.items.len()), (3, 1));
    let mut rig = restarted(kept.clone(), Duration::from_secs(60));
    assert_eq!(rig.core.watched(), 1);
    let mut left: Vec<RunKey> = rig.core.unreadable_runs().collect();
    left.sort_unstable();
    let mut expected: Vec<RunKey> = (names.iter())
        .filter(|(_, name)| name != "whole")
        .map(|(run, _)| *run)
        .collect();
    expected.sort_unstable();
    assert_eq!(left, expected);
    assert_eq!(rig.core.room(), rig.core.settings.workflows_max - 3);
    // The span that waited is delivered. Its run's entry is not acknowledged for that.
    rig.handle(from_entry("newer"));
    exported(&mut rig, delivered());
    for id in ["newer", "damaged", "whole", "other"] {
        rig.handle(from_entry(id));
    }
    rig.start(0, "newer");
    assert_eq!(
        rig.settled,
        [
            "leave entry of newer",
            "leave entry of newer",
            "leave entry of damaged"
        ]
    );
    assert_eq!(rig.core.watched(), 2);
    assert_eq!(rig.core.counters().events_unreadable(), 4);
    rig.answer_all(secs(100.0), secs(0.1), &completed());
    let untouched = rig
        .core
        .take_changes()
        .into_iter()
        .all(|change| match change {
            Change::PutWorkflow { run, .. } | Change::RemoveWorkflow(run) => !left.contains(&run),
            _ => true,
        });
    assert!(untouched);
    let mut notes = rig.notes();
    notes.retain(|note| {
        !matches!(
            note,
            Note::Run {
                what: RunNote::Ended { .. },
                ..
            }
        )
    });
    check(
        &notes,
        &expect![[r#"
            State(Unreadable { workflows: 1, why: "a later farspan wrote it (version 99), start that one again" })
            State(Unreadable { workflows: 1, why: "it is damaged" })
            State(Restored { workflows: 1, spans: 1, log_records: 0, notifications: 0 })
            Run { monitor: 0, workflow_id: "newer", what: Unreadable("a later farspan wrote it (version 99), start that one again") }
            Run { monitor: 0, workflow_id: "damaged", what: Unreadable("it is damaged") }
            Run { monitor: 0, workflow_id: "whole", what: Duplicate }
        "#]],
    );
    // Once the store has said that it is another's, or done, it is like any other run.
    let given: Vec<(RunKey, Refusal)> = left.iter().map(|run| (*run, Refusal::Elsewhere)).collect();
    rig.handle(Input::Refused(given));
    assert_eq!(rig.core.unreadable_runs().count(), 0);
}

#[test]
fn a_record_of_a_run_that_is_watched_is_no_reason_to_leave_it_alone() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    let kept = stored(&mut rig);
    rig.core.restore(kept, rig.now);
    rig.handle(Input::Tick);
    assert_eq!(
        (rig.core.watched(), rig.core.unreadable_runs().count()),
        (1, 0)
    );
}

#[test]
fn a_second_entry_does_not_take_the_place_of_the_first_while_its_spans_leave() {
    let mut rig = Rig::plain();
    let entry = |id: &str| {
        Input::Started(StartEvent {
            source: Some(id.into()),
            ..event(0, "w")
        })
    };
    rig.handle(entry("1-0"));
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, completed());
    for id in ["2-0", "1-0"] {
        rig.handle(entry(id));
        assert_eq!(
            rig.settled,
            ["acknowledge 2-0"],
            "the first waits for its span"
        );
    }
    rig.pass(Duration::from_secs(10));
    let (_, batch) = rig.batches.pop().expect("its span");
    rig.handle(Input::Exported(Exported {
        signal: Signal::Traces,
        batch: batch.id,
        outcome: ExportOutcome::Delivered {
            rejected: 0,
            message: "".into(),
        },
    }));
    assert_eq!(rig.settled, ["acknowledge 2-0", "acknowledge 1-0"]);
}

#[test]
fn an_answer_that_brings_nothing_new_changes_nothing_in_the_store() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    for expected in [1, 0, 0] {
        let (_, poll) = rig.next_poll();
        rig.core.take_changes();
        rig.answer(&poll, answer_of(State::Running, 2));
        let changes = rig.core.take_changes();
        let records = changes
            .iter()
            .filter(|c| matches!(c, Change::PutWorkflow { .. }));
        assert_eq!(records.count(), expected, "{changes:?}");
    }
}

#[test]
fn a_poll_of_a_run_given_up_that_is_taken_back_frees_its_poller() {
    let mut rig = Rig::plain();
    rig.start(0, "a");
    let poll = rig.next_poll().1;
    let runs = runs_of(&rig);
    rig.handle(Input::Refused(vec![(runs[0], Refusal::Elsewhere)]));
    assert_eq!(rig.core.hosts.orphans(), 1);
    rig.handle(Input::Recalled(vec![poll]));
    assert_eq!(
        (rig.core.hosts.orphans(), rig.core.polls_in_flight()),
        (0, 0)
    );
}

#[test]
fn a_batch_under_way_is_less_what_was_lost() {
    let mut rig = Rig::plain();
    for id in ["a", "b"] {
        rig.handle(from_entry(id));
    }
    let mut polls = [rig.next_poll().1, rig.next_poll().1];
    polls.sort_by_key(|poll| poll.workflow_id.clone());
    for poll in polls {
        rig.answer(&poll, answer_of(State::Ended(Outcome::Success), 1));
    }
    rig.pass(secs(6.0));
    let (_, batch) = rig.batches.remove(0);
    assert_eq!(batch.items.len(), 4);
    let lost = batch.items[0].run;
    rig.handle(Input::Refused(vec![(lost, Refusal::Elsewhere)]));
    assert_eq!(rig.core.spans_waiting(), 2);
    let outcome = ExportOutcome::Retry {
        reason: "503".into(),
        retry_after: None,
    };
    rig.handle(Input::Exported(Exported {
        signal: Signal::Traces,
        batch: batch.id,
        outcome,
    }));
    rig.pass(secs(5.0));
    let (_, again) = rig.batches.remove(0);
    assert_eq!(
        again.items,
        batch.items[2..],
        "only what is ours goes again"
    );
    let outcome = ExportOutcome::Delivered {
        rejected: 0,
        message: "".into(),
    };
    rig.handle(Input::Exported(Exported {
        signal: Signal::Traces,
        batch: again.id,
        outcome,
    }));
    assert_eq!(rig.settled, ["leave entry of a", "acknowledge entry of b"]);
}

#[test]
fn what_another_left_is_taken_over_at_any_time() {
    let mut other = Rig::plain();
    other.handle(from_entry("a"));
    other.handle(from_entry("b"));
    let poll = other.next_poll().1;
    other.answer(&poll, answer_of(State::Ended(Outcome::Success), 2));
    let mut stored = Stored::default();
    for change in other.core.everything() {
        match change {
            Change::PutWorkflow { run, record } => stored.workflows.push((run, record)),
            Change::PutItem(span) => stored.items.push(span),
            Change::PutFinished(run, at) => stored.finished.push((run, at)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((stored.workflows.len(), stored.items.len()), (1, 3));
    let spans = stored.items.clone();
    let mut rig = Rig::plain();
    rig.handle(from_entry("c"));
    rig.pass(secs(30.0));
    rig.core.restore(stored, rig.now);
    rig.handle(Input::Tick);
    assert_eq!(rig.core.watched(), 2);
    rig.pass(secs(6.0));
    assert_eq!(rig.batches[0].1.items, spans, "to the byte");
}

#[test]
fn each_span_names_the_monitor_whose_service_it_is_of() {
    let service = |monitor: &str| {
        Some(Arc::new(span::Service {
            monitor: monitor.into(),
            name: "etl".into(),
        }))
    };
    let mut monitors = vec![monitor(0), monitor(1)];
    monitors[1].naming.service = service("monitor1");
    let mut rig = Rig::new(settings(monitors));
    for (monitor, id) in [(0, "a"), (1, "b")] {
        rig.handle(Input::Started(event(monitor, id)));
    }
    for _ in 0..2 {
        let poll = rig.next_poll().1;
        rig.answer(&poll, answer_of(State::Ended(Outcome::Success), 1));
    }
    let named: Vec<Option<Arc<str>>> = rig
        .core
        .delivery
        .items()
        .map(|s| s.monitor.clone())
        .collect();
    assert_eq!(named.iter().flatten().count(), 2, "{named:?}");
    assert_eq!(named.len(), 4);
    let bytes: usize = rig.core.delivery.items().map(|s| s.bytes.len()).sum();
    let names = 2 * ("monitor1".len() + limits::STORED_SEQUENCE_BYTES);
    assert_eq!(rig.core.delivery.stored_bytes(), bytes + names);
    let spans: Vec<Change> = (rig.core.everything().into_iter())
        .filter(|change| matches!(change, Change::PutItem(_)))
        .collect();

    // The name stays, whatever monitors are configured by then. It is in memory once.
    let mut monitors = vec![monitor(1)];
    monitors[0].naming.service = service("monitor1");
    let interned = monitors[0].naming.service.clone().unwrap();
    for (monitors, is_known) in [(monitors, true), (vec![monitor(0)], false)] {
        let mut later = Rig::new(settings(monitors));
        let stored = spans.iter().map(|change| match change {
            Change::PutItem(span) => OutboxItem {
                monitor: span.monitor.as_deref().map(Arc::from),
                ..span.clone()
            },
            other => panic!("{other:?}"),
        });
        let stored = Stored {
            items: stored.collect(),
            ..Stored::default()
        };
        later.core.restore(stored, later.now);
        let kept: Vec<&OutboxItem> = later.core.delivery.items().collect();
        assert!(kept.iter().map(|s| &s.monitor).eq(&named));
        let names: Vec<&Arc<str>> = kept.iter().filter_map(|s| s.monitor.as_ref()).collect();
        assert!(Arc::ptr_eq(names[0], names[1]));
        assert_eq!(Arc::ptr_eq(names[0], &interned.monitor), is_known);
    }
}
/// When a workflow that started at 0 is polled, in whole seconds.
fn asked_at(pace: Pace, answer: &Answer, polls: usize) -> Vec<u64> {
    let mut settings = settings(vec![monitor(0)]);
    settings.monitors[0].pace = pace;
    let mut rig = Rig::new(settings);
    rig.start(0, "w");
    let asked = (0..polls).map(|_| {
        let (at, poll) = rig.next_poll();
        rig.answer(&poll, answer.clone());
        at.since(Mono::default()).as_secs()
    });
    asked.collect()
}

#[test]
fn intervals_by_status_and_by_age() {
    let plain = Pace::new(Duration::ZERO, INTERVAL, secs(1e6));
    let adaptive = Pace {
        adaptive: Some(Adaptive {
            share: 0.5,
            min: secs(2.0),
            max: secs(100.0),
        }),
        ..plain.clone()
    };
    let by_status = Pace {
        interval_by_status: vec![("STATUS".into(), secs(33.0))],
        ..adaptive.clone()
    };
    let mut text = String::new();
    for (name, pace, answer) in [
        ("plain", plain, running()),
        ("adaptive", adaptive.clone(), running()),
        ("adaptive, never seen", adaptive, Answer::NotFound),
        ("by status", by_status.clone(), running()),
        ("by status, unreachable", by_status, unreachable()),
    ] {
        text += &format!("{name}: {:?}\n", asked_at(pace, &answer, 9));
    }
    expect![[r#"
        plain: [1, 11, 21, 31, 41, 51, 61, 71, 81]
        adaptive: [1, 3, 5, 7, 11, 16, 25, 38, 57]
        adaptive, never seen: [1, 3, 5, 7, 11, 16, 25, 38, 57]
        by status: [1, 34, 67, 100, 133, 166, 199, 232, 265]
        by status, unreachable: [1, 3, 8, 27, 73, 120, 180, 271, 371]
    "#]]
    .assert_eq(&text);
}

#[test]
fn an_interval_that_is_new_holds_for_what_is_watched() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, running());
    let pace = Pace {
        interval_by_status: vec![("status".into(), secs(1.0))],
        ..Pace::new(Duration::ZERO, INTERVAL, secs(3600.0))
    };
    let reloaded = rig.now.mono;
    rig.handle(Input::Reloaded(vec![pace]));
    let (mut last, mut poll) = rig.next_poll();
    assert!(last.since(reloaded) <= secs(1.0) + wheel::TICK);
    for _ in 0..3 {
        rig.answer(&poll, running());
        let (at, next) = rig.next_poll();
        assert!(at.since(last) <= secs(1.0) + wheel::TICK);
        (last, poll) = (at, next);
    }
}

/// Which monitor polled when, while each poll takes so many requests and is answered at once.
fn asked_with_requests(rig: &mut Rig, requests: u32, time: Duration) -> Vec<(f64, u16)> {
    let (end, mut asked) = (rig.now.mono + time, Vec::new());
    loop {
        for (at, poll) in rig.polls() {
            asked.push((at.as_ns() as f64 / 1e9, poll.monitor));
            rig.answer_after(&poll, requests, running());
        }
        let next = rig.core.next_deadline().expect("somebody is watched");
        if !rig.polls.is_empty() {
            continue;
        }
        if next > end {
            return asked;
        }
        assert!(next > rig.now.mono, "the core asks for the past");
        rig.step_to(next);
        rig.handle(Input::Tick);
    }
}

#[test]
fn a_host_is_asked_no_more_often_than_the_least_of_its_monitors_says_and_no_other_waits() {
    let mut monitors = vec![monitor(0), monitor(0), monitor(1)];
    monitors[1].naming.monitor = "same host".into();
    monitors[0].requests_per_second = Some(7.0);
    monitors[1].requests_per_second = Some(2.0);
    let mut rig = Rig::new(settings(monitors));
    for n in 0..100 {
        for monitor in 0..3 {
            rig.start(monitor, &format!("w{n}"));
        }
    }
    rig.pass(secs(14.9));
    let asked = asked_with_requests(&mut rig, 3, secs(600.0));
    let of = |hosts: [bool; 3], from: f64, to: f64| {
        let within = asked.iter().filter(|(at, _)| (from..to).contains(at));
        within.filter(|(_, m)| hosts[usize::from(*m)]).count()
    };
    // 2 a second of which each poll takes 3.
    let limited = of([true, true, false], 100.0, 400.0);
    assert!((199..=201).contains(&limited), "{limited}");
    let each = [
        of([true, false, false], 20.0, 600.0),
        of([false, true, false], 20.0, 600.0),
    ];
    assert!(each[0].abs_diff(each[1]) <= 20, "{each:?}");
    let free = of([false, false, true], 20.0, 600.0);
    assert!(free.abs_diff(100 * 58) <= 100, "{free}");
    // The lateness of the polls that waited.
    assert!(rig.core.counters().lateness().quantile(0.99) > secs(100.0));
}

#[test]
fn what_waits_for_its_rate_is_spread_and_the_most_overdue_goes_first() {
    let mut settings = settings(vec![monitor(0)]);
    settings.monitors[0].requests_per_second = Some(2.0);
    let mut rig = Rig::new(settings);
    for n in 0..12 {
        rig.start(0, &format!("w{n}"));
    }
    // All are due by then, and no poll was sent: the collector held the polls.
    rig.handle(Input::StoreTroubled(true));
    rig.pass(secs(16.0));
    rig.handle(Input::StoreTroubled(false));
    let mut order = Vec::new();
    while order.len() < 12 {
        let (at, poll) = rig.next_poll();
        order.push((at.since(mono(16.0)).as_millis(), poll.workflow_id.clone()));
        rig.answer(&poll, running());
    }
    assert!(order.is_sorted_by_key(|(_, id)| first_due(id)), "{order:?}");
    let times: Vec<u128> = order.iter().map(|(at, _)| *at).collect();
    expect!["[0, 0, 0, 500, 1000, 1500, 2000, 2500, 3000, 3500, 4000, 4500]"]
        .assert_eq(&format!("{times:?}"));
}

#[test]
fn a_host_that_hangs_leaves_pollers_for_the_others() {
    let mut settings = settings(vec![monitor(0), monitor(1), monitor(2)]);
    settings.pollers = 16;
    let mut rig = Rig::new(settings);
    for n in 0..100 {
        rig.start(0, &format!("w{n}"));
    }
    rig.pass(secs(20.0));
    assert_eq!(rig.polls().len(), 12, "a quarter is for others");
    for n in 0..100 {
        rig.start(1, &format!("w{n}"));
    }
    rig.pass(secs(20.0));
    let of_second = rig.polls();
    assert_eq!(of_second.len(), 3, "one is for the third");
    rig.start(2, "w");
    rig.pass(secs(20.0));
    let of_third = rig.polls();
    assert_eq!(of_third.len(), 1);
    // The host with the fewest polls under way is next.
    rig.answer(&of_second[0].1, running());
    let polls = rig.polls();
    assert_eq!(polls.len(), 1);
    assert_eq!(polls[0].1.monitor, 1);
    rig.answer(&of_third[0].1, running());
    assert_eq!(rig.polls(), [], "that one's own");
}

#[test]
fn the_host_with_the_fewest_polls_under_way_goes_first() {
    let mut settings = settings(vec![monitor(0), monitor(1)]);
    settings.pollers = 8;
    let mut rig = Rig::new(settings);
    let mut under_way = Vec::new();
    for monitor in 0..2 {
        for n in 0..10 {
            rig.start(monitor, &format!("w{n}"));
        }
        rig.pass(secs(20.0));
        under_way.push(rig.polls());
    }
    assert_eq!((under_way[0].len(), under_way[1].len()), (6, 2));
    // The other polls of the first host have waited for longer.
    for (_, poll) in &under_way[0][..2] {
        rig.answer(poll, running());
        let next = rig.polls();
        assert_eq!(next.len(), 1);
        assert_eq!(next[0].1.monitor, 1);
    }
    // Both hosts have four polls under way now.
    for host in 0..2 {
        rig.answer(&under_way[host][4 - 4 * host].1, running());
        let next = rig.polls();
        assert_eq!(usize::from(next[0].1.monitor), host, "three against four");
    }
}

#[test]
fn with_fewer_pollers_than_hosts_each_host_has_one_at_most() {
    let mut settings = settings((0..5).map(monitor).collect());
    settings.pollers = 2;
    let mut rig = Rig::new(settings);
    for monitor in 0..5 {
        for n in 0..5 {
            rig.start(monitor, &format!("w{n}"));
        }
    }
    rig.pass(secs(20.0));
    let mut asked = [0; 5];
    let mut under_way: VecDeque<_> = rig.polls().into();
    for _ in 0..50 {
        let (_, poll) = under_way.pop_front().expect("there is always one");
        asked[usize::from(poll.monitor)] += 1;
        assert!(
            under_way
                .iter()
                .all(|(_, other)| other.monitor != poll.monitor)
        );
        rig.step_to(rig.now.mono + secs(1.0));
        rig.answer(&poll, running());
        under_way.extend(rig.polls());
    }
    assert!(asked.iter().all(|asked| *asked >= 8), "{asked:?}");
}

fn going(after: f64) -> Settings {
    let mut settings = settings(vec![monitor(0)]);
    settings.monitors[0].pace.gone_after = Some(secs(after));
    settings
}

/// When a workflow was polled and refused, until it ended or was polled so often.
fn refused(rig: &mut Rig, polls: usize) -> Vec<u64> {
    let (since, mut asked) = (rig.now.mono, Vec::new());
    while asked.len() < polls && rig.core.watched() > 0 {
        let (at, poll) = rig.next_poll();
        asked.push(at.since(since).as_secs());
        rig.answer(&poll, unreachable());
    }
    asked
}

#[test]
fn a_workflow_whose_api_has_gone_away_has_ended() {
    let mut rig = Rig::new(going(30.0));
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, running());
    assert_eq!(refused(&mut rig, 10), [10, 20, 30, 40]);
    assert_eq!(rig.core.counters().workflows_gone, 1);
    let root = rig.spans.last().expect("its span");
    assert!(
        root.attributes
            .iter()
            .any(|(key, _)| **key == *"farspan.gone")
    );
    assert_eq!(root.status, span::SpanStatus::Ok);
}

#[test]
fn what_was_never_seen_has_not_gone_away() {
    let mut rig = Rig::new(going(30.0));
    rig.start(0, "w");
    assert_eq!(refused(&mut rig, 8).len(), 8);
    assert_eq!(rig.core.watched(), 1);
}

#[test]
fn only_refused_connections_without_anything_between_them_count() {
    for answer in [
        running(),
        Answer::NotFound,
        failed(PollFailureReason::Timeout, None),
    ] {
        let mut rig = Rig::new(going(30.0));
        rig.start(0, "w");
        let (_, poll) = rig.next_poll();
        rig.answer(&poll, running());
        assert_eq!(refused(&mut rig, 3).len(), 3);
        let (_, poll) = rig.next_poll();
        rig.answer(&poll, answer);
        assert_eq!(refused(&mut rig, 3).len(), 3);
        assert_eq!(rig.core.watched(), 1);
        assert_eq!(refused(&mut rig, 9).len(), 1);
        assert_eq!(rig.core.watched(), 0);
    }
    let mut rig = Rig::plain();
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, running());
    assert_eq!(
        refused(&mut rig, 9).len(),
        9,
        "nobody said that it goes away"
    );
}

/// The interval may be a day, though the time is short.
#[test]
fn whether_an_api_is_gone_is_known_in_twice_the_time() {
    let mut settings = going(30.0);
    settings.monitors[0].pace.interval = secs(86400.0);
    settings.monitors[0].pace.timeout = secs(1e6);
    let mut rig = Rig::new(settings);
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, running());
    assert_eq!(refused(&mut rig, 9), [86400, 86430]);
    assert_eq!(rig.core.watched(), 0);
}

#[test]
fn an_api_that_goes_away_while_farspan_does_too() {
    let mut rig = Rig::new(going(30.0));
    let mut stored = Stored::default();
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, running());
    assert!(!rig.core.take_changes().is_empty());
    let (seen, poll) = rig.next_poll();
    rig.answer(&poll, running());
    assert_eq!(rig.core.take_changes(), [], "the same again is not stored");
    assert_eq!(refused(&mut rig, 2).len(), 2);
    for change in rig.core.take_changes() {
        if let Change::PutWorkflow { run, record } = change {
            stored.workflows = vec![(run, record)];
        }
    }
    let mut next = Rig::new(going(30.0));
    next.now.wall = rig.now.wall;
    next.core.restore(stored, next.now);
    next.handle(Input::Tick);
    // The time begins again: no poll was sent meanwhile.
    assert_eq!(refused(&mut next, 9).len(), 4);
    let end = next.spans.last().expect("its span").end;
    assert_eq!(end, Wall::from_unix_ns(EPOCH_NS + seen.as_ns() as i64));
}

#[test]
fn polls_carry_the_workflows_span_where_the_monitor_wants_it() {
    let mut monitors = vec![monitor(0), monitor(1)];
    monitors[1].send_traceparent = true;
    let mut rig = Rig::new(settings(monitors));
    let mut carried = Vec::new();
    for monitor in 0..2 {
        rig.start(monitor, "w");
        let (_, poll) = rig.next_poll();
        carried.push(poll.traceparent.clone());
        rig.answer(&poll, completed());
    }
    let root = rig.spans.last().expect("the second's span");
    let (trace_id, span_id) = (root.trace_id, root.span_id);
    let expected = format!("00-{trace_id}-{span_id}-01");
    assert_eq!(carried, [None, Some(expected.into())]);
}
