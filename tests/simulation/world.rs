//! One run: a clock that jumps from one happening to the next, and what must hold at each.

use crate::api::{self, Rate};
use crate::collector::{self, Collector, Item};
use crate::disk::Disk;
use crate::encoders::{ENCODERS, RECORDING, next_finished_event, next_log_record};
use crate::random::Random;
use crate::receivers::{self, Receivers};
use crate::scenario::{
    BEGIN, Crash, CrashPoint, DistortionKind, HOUR, MINUTE, MS, SECOND, Scenario,
};
use crate::trace::{self, Ids, Part, Told, hold_exact, hold_span, sampled};
use farspan::core::event::Value;
use farspan::core::finished::{FinishedEvent, Notified, Notify};
use farspan::core::ids::{RunKey, SpanId};
use farspan::core::limits;
use farspan::core::outbox::{Batch, Exported, Signal};
use farspan::core::outcome::Abandoned;
use farspan::core::snapshot::{Snapshot, State};
use farspan::core::span::{Span, SpanStatus};
use farspan::core::time::{Mono, Now, Wall};
use farspan::core::turn::{Step, StoreTerms, Turn, TurnPolicy};
use farspan::core::workflow::keys_of;
use farspan::core::{
    Action, Answer, ApiNote, Change, Committed, Core, Input, Monitor, Note, Outgoing, Pace, Poll,
    PollGroup, Polled, RunNote, Settings, StateNote,
};
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub runs: u64,
    pub polls: u64,
    pub spans: u64,
    pub exact: u64,
    pub simulated_ns: u64,
    pub timed_out: u64,
    pub not_found: u64,
    pub stale: u64,
    pub retried: u64,
    pub rejected: u64,
    /// Workflows of whose end somebody was told, and times that it was told again.
    pub announced: u64,
    pub announced_again: u64,
    /// Ends and starts of farspan.
    pub restarts: u64,
    /// At each [`CrashPoint`].
    pub crashes: [u64; 6],
    /// Times that an event had to wait for room.
    pub waited: u64,
    /// Workflows that were taken over from an earlier life.
    pub restored: u64,
    /// Spans that an earlier life has finished.
    pub spans_restored: u64,
    /// Times the pace has changed.
    pub reloads: u64,
    /// Polls of hosts that are asked so often at most.
    pub rated: u64,
    /// Polls under way when a later attempt ended their watch.
    pub strays: u64,
    /// Polls that went with others to a poller, and polls that were taken back.
    pub grouped: u64,
    pub recalled: u64,
    /// Workflows that a later attempt has ended.
    pub superseded: u64,
    /// Spans of stages that are part of stages, and of later attempts at stages.
    pub nested: u64,
    pub attempts: u64,
    /// Spans that show a wait.
    pub waits: u64,
    pub started: u64,
    pub log_records: u64,
    /// Of all that the core did, in its order.
    pub digest: u64,
}

/// A disk is never due, and no other instance takes its runs.
const TERMS: StoreTerms = StoreTerms {
    due: None,
    may_export: true,
};

struct World {
    scenario: Arc<Scenario>,
    /// At the pace that is in force.
    monitors: Vec<Monitor>,
    reloaded_at: u64,
    core: Core,
    now: u64,
    random: Random,
    happenings: BinaryHeap<Reverse<(u64, u64)>>,
    by_number: BTreeMap<u64, Happening>,
    next_number: u64,
    /// One for each plan.
    watches: Vec<Watched>,
    /// The first attempt at each workflow.
    by_id: BTreeMap<Box<str>, usize>,
    parts: BTreeMap<SpanId, (usize, Part)>,
    /// Polls under way for watches that a later attempt has ended.
    strays: BTreeSet<(u32, u32)>,
    rates: Vec<Rate>,
    /// What was asked of each host beyond its rate, and as of when.
    asked_of: Vec<(f64, u64)>,
    paused_until: Vec<u64>,
    collector: Collector,
    log_collector: Collector,
    /// The status in each log record that `log_collector` expects, with its span.
    logged: Vec<(SpanId, Box<str>)>,
    receivers: Receivers,
    pollers: Vec<SimulatedPoller>,
    /// Pollers whose polls are to be taken back.
    recalls: Vec<u16>,
    in_flight: usize,
    watched: usize,
    watched_max: usize,
    draining: bool,
    stale: u64,
    /// Since when nothing that is left of the faults holds anything up.
    calm_since: Option<u64>,
    tally: Tally,
    /// When the monotonic clock was at zero.
    clock_base: u64,
    /// Nobody is there.
    down: bool,
    /// When the last life ended.
    down_since: u64,
    disk: Disk,
    /// As `disk` has them.
    watches_stored: Vec<Watched>,
    /// Where that may differ from `watches`.
    unstored_watches: BTreeSet<usize>,
    turn: Turn,
    /// When the turn goes on though nothing happens.
    turn_due: Option<u64>,
    turn_open: bool,
    commit: Option<Commit>,
    /// Nobody starts it again.
    stopped_for_good: bool,
    /// Strikes at its point.
    armed: Option<Crash>,
    /// Events that came while nobody was there.
    unheard: Vec<usize>,
}

/// A commit that farspan has begun and that has not been answered.
struct Commit {
    changes: Arc<[Change]>,
    /// How everything was when it began.
    watches: Vec<(usize, Watched)>,
    delivery: (collector::Mark, collector::Mark, receivers::Mark),
    /// Whether the disk has it.
    is_durable: bool,
}

enum Happening {
    Started(usize),
    /// An answer that comes once more, or too late.
    Answered(usize, Polled),
    /// A poller has an answer.
    PollDone(u16, usize, Polled),
    Exported(Exported),
    Notified(Notified),
    EndTurn,
    /// The commit under way is on the disk.
    Durable,
    /// Its answer is there.
    Committed,
    Crash(Crash),
    Gone(Crash),
    Restart,
    Reload(Vec<Pace>),
    Drain,
}

impl Happening {
    /// Whether it is over with farspan's life.
    fn is_of_this_life(&self) -> bool {
        match self {
            Happening::Answered(..)
            | Happening::PollDone(..)
            | Happening::Exported(..)
            | Happening::Notified(_)
            | Happening::EndTurn
            | Happening::Durable
            | Happening::Committed
            | Happening::Gone(_) => true,
            Happening::Started(_)
            | Happening::Crash(_)
            | Happening::Restart
            | Happening::Reload(_)
            | Happening::Drain => false,
        }
    }
}

#[derive(Clone, Default)]
struct Watched {
    event_at: Option<u64>,
    /// When the poll timeout strikes; the same as farspan wrote it down.
    deadline: u64,
    /// It may be so much later: an adaptive interval is known within its bounds.
    deadline_slack: u64,
    deadline_wall: Option<Wall>,
    /// Its end, by farspan's clock.
    ended_wall: Option<Wall>,
    /// When farspan was last told of its end.
    remembered_at: u64,
    /// So long ago that its event would be news.
    forgotten: bool,
    told: Told,
    asked: Option<Asked>,
    last: Option<Last>,
    polls: u64,
    /// No later than this the next poll is due.
    due_most: u64,
    /// No earlier.
    due_least: u64,
    /// Since when it is "not found".
    missing_since: Option<u64>,
    /// The last snapshot that arrived.
    seen: Option<Box<Snapshot>>,
    /// When, by the API's clock, each snapshot was there.
    seen_at: Vec<Wall>,
    /// Snapshots in a row in which it had ended.
    over_for: u32,
    /// A later attempt is there.
    superseded: bool,
    ended: bool,
}

/// A poller with a group of polls.
#[derive(Default)]
struct SimulatedPoller {
    not_begun: VecDeque<Poll>,
    is_polling: bool,
    /// Answers, of which plan, and when they came.
    kept: Vec<(usize, Polled, u64)>,
}

impl SimulatedPoller {
    fn is_idle(&self) -> bool {
        self.not_begun.is_empty() && !self.is_polling && self.kept.is_empty()
    }

    fn not_begun_of(&self, workflow_id: &str) -> Option<&Poll> {
        let mut polls = self.not_begun.iter();
        polls.find(|poll| &*poll.workflow_id == workflow_id)
    }
}

#[derive(Clone)]
struct Asked {
    slot: u32,
    generation: u32,
    sent: u64,
}

#[derive(Clone)]
struct Last {
    at: u64,
    failed: bool,
}

impl Watched {
    fn see(&mut self, snapshot: &Snapshot, at: Wall) {
        let over = matches!(snapshot.progress.state, State::Ended(_));
        self.over_for = if over { self.over_for + 1 } else { 0 };
        self.told.see(snapshot);
        self.seen_at.push(at);
        self.seen = Some(Box::new(snapshot.clone()));
    }

    /// The shortest and the longest interval that may be in force.
    fn intervals(&self, pace: &Pace) -> (u64, u64) {
        let of = |age| nanos(pace.interval_of(self.told.status(), age));
        match self.event_at {
            Some(_) => (of(Duration::ZERO), of(Duration::MAX)),
            None => (0, 0),
        }
    }

    /// What only farspan's memory knew is gone.
    fn outlive(&mut self) {
        (self.asked, self.last, self.missing_since) = (None, None, None);
    }
}

pub fn run(scenario: Scenario) -> Tally {
    let mut world = World::new(Arc::new(scenario));
    while world.step() {}
    world.hold_at_the_end();
    world.tally
}

/// The least of those that ask the host.
fn rate_of(monitors: &[Monitor], host: usize) -> Option<f64> {
    let of_host = monitors.iter().filter(|m| usize::from(m.host) == host);
    of_host
        .filter_map(|m| m.requests_per_second)
        .min_by(f64::total_cmp)
}

fn most_of(pace: &Pace) -> u64 {
    let by_status = pace
        .interval_by_status
        .iter()
        .map(|(_, interval)| *interval);
    let otherwise = pace.interval_of("", Duration::MAX);
    nanos(by_status.fold(otherwise, Duration::max))
}

fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

impl World {
    fn new(scenario: Arc<Scenario>) -> Self {
        let watches = vec![Watched::default(); scenario.plans.len()];
        let parts = trace::parts(&scenario);
        let mut world = World {
            monitors: scenario.settings.monitors.clone(),
            reloaded_at: 0,
            core: Core::new(
                scenario.settings.clone(),
                RECORDING,
                clock(&scenario, BEGIN, 0),
            ),
            now: BEGIN,
            random: Random::new(!scenario.seed),
            happenings: BinaryHeap::new(),
            by_number: BTreeMap::new(),
            next_number: 0,
            watches_stored: watches.clone(),
            watches,
            by_id: scenario.firsts(),
            parts,
            strays: BTreeSet::new(),
            rates: scenario.hosts.iter().map(|_| Rate::default()).collect(),
            asked_of: vec![(0.0, 0); scenario.hosts.len()],
            paused_until: vec![0; scenario.hosts.len()],
            collector: Collector::default(),
            log_collector: Collector::default(),
            logged: Vec::new(),
            receivers: Receivers::default(),
            pollers: (0..scenario.settings.pollers)
                .map(|_| SimulatedPoller::default())
                .collect(),
            recalls: Vec::new(),
            in_flight: 0,
            watched: 0,
            watched_max: 0,
            draining: false,
            stale: 0,
            calm_since: None,
            tally: Tally::default(),
            clock_base: 0,
            down: false,
            down_since: 0,
            disk: Disk::default(),
            unstored_watches: BTreeSet::new(),
            turn: turn(&scenario),
            turn_due: None,
            turn_open: false,
            commit: None,
            stopped_for_good: false,
            armed: None,
            unheard: Vec::new(),
            scenario,
        };
        for &(at, plan) in &world.scenario.clone().events {
            world.plan(at, Happening::Started(plan));
        }
        if let Some(at) = world.scenario.drain_at {
            world.plan(at, Happening::Drain);
        }
        for (at, paces) in &world.scenario.clone().reloads {
            world.plan(*at, Happening::Reload(paces.clone()));
        }
        for crash in &world.scenario.clone().crashes {
            world.plan(crash.at, Happening::Crash(*crash));
        }
        world
    }

    fn plan(&mut self, at: u64, happening: Happening) {
        self.happenings.push(Reverse((at, self.next_number)));
        self.by_number.insert(self.next_number, happening);
        self.next_number += 1;
    }

    /// Goes on to what is next. False when all is over.
    fn step(&mut self) -> bool {
        let next = self.happenings.peek().map(|Reverse((at, _))| *at);
        let deadline = self.core.next_deadline().filter(|_| !self.down);
        let deadline = deadline.map(|at| at.as_ns() + self.clock_base);
        if let Some(deadline) = deadline {
            assert!(deadline > self.now, "the core asks for the past");
        }
        let items = self.collector.waiting() + self.log_collector.waiting();
        let undelivered = items + self.receivers.waiting();
        let stopped = self.draining && self.in_flight == 0 && undelivered == 0;
        let ticks = deadline.filter(|_| !stopped || next.is_some());
        let late = ticks.map(|at| at + self.random.between(0, self.scenario.lag_max));
        match (next, late) {
            (None, None) => return false,
            (Some(next), late) if late.is_none_or(|late| next <= late) => {
                let Some(Reverse((at, number))) = self.happenings.pop() else {
                    return false;
                };
                self.now = self.now.max(at);
                if let Some(happening) = self.by_number.remove(&number) {
                    self.happen(happening);
                }
                // Not everything that happens is an input.
                let deadline = self.core.next_deadline().filter(|_| !self.down);
                if deadline.is_some_and(|at| at.as_ns() + self.clock_base <= self.now) {
                    self.feed(Input::Tick);
                }
            }
            (_, late) => {
                self.now = late.unwrap_or(self.now);
                self.feed(Input::Tick);
            }
        }
        self.look_for_calm();
        let settling = u64::from(limits::SETTLE_POLLS) * self.longest_interval();
        let end = self.scenario.faults_end.max(self.last_event()) + 65 * HOUR + settling;
        assert!(
            self.now < end,
            "it does not come to an end: {} watched, {} spans and {} finished events wait",
            self.watched,
            self.collector.waiting(),
            self.receivers.waiting()
        );
        true
    }

    fn longest_interval(&self) -> u64 {
        let of = |pace: &Pace| {
            let by_status = pace
                .interval_by_status
                .iter()
                .map(|(_, interval)| *interval);
            let adaptive = pace.adaptive.map(|adaptive| adaptive.max);
            let all = by_status.chain(adaptive).chain([pace.interval]);
            nanos(all.max().unwrap_or_default())
        };
        let paces = self.monitors.iter().map(|monitor| of(&monitor.pace));
        paces.max().unwrap_or(0)
    }

    fn last_event(&self) -> u64 {
        let times = self.scenario.events.iter().map(|(at, _)| *at);
        times.max().unwrap_or(BEGIN)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Started(plan) if self.down => self.unheard.push(plan),
            Happening::Started(plan) => self.start(plan),
            Happening::Answered(plan, mut polled) => {
                polled.received = clock(&self.scenario, self.now, self.clock_base);
                self.answered(plan, polled, self.now);
            }
            Happening::PollDone(poller, plan, polled) => self.poll_done(poller, plan, polled),
            Happening::Exported(exported) => {
                let now = self.now;
                let collector = self.collector_of(exported.signal);
                collector.settle(exported.batch, &exported.outcome, now);
                self.feed(Input::Exported(exported));
                self.strike(CrashPoint::BeforeDeletion);
            }
            Happening::Notified(notified) => {
                self.receivers.settle(&notified, self.now);
                self.feed(Input::Notified(notified));
                self.strike(CrashPoint::BeforeDeletion);
            }
            Happening::EndTurn => self.end_turn(),
            Happening::Durable => self.make_durable(),
            Happening::Committed => {
                self.answer_commit(Ok(Committed::default()));
                self.end_turn();
            }
            Happening::Crash(_) if self.draining || self.down => {}
            Happening::Crash(crash) => self.arm(crash),
            Happening::Gone(crash) => self.end_life(crash),
            Happening::Restart => self.restart(),
            Happening::Reload(paces) => self.reload(paces),
            Happening::Drain if self.down => {
                let soon = self.now + 2 * HOUR;
                self.plan(soon, Happening::Drain);
            }
            Happening::Drain => {
                (self.stopped_for_good, self.armed) = (true, None);
                self.by_number
                    .retain(|_, h| !matches!(h, Happening::Gone(_)));
                self.draining = true;
                self.feed(Input::Drain);
                self.recall_all();
            }
        }
    }

    fn start(&mut self, plan: usize) {
        let watch = &self.watches[plan];
        let remembered = watch.remembered_at + nanos(limits::FINISHED_KEPT);
        if watch.forgotten || (watch.ended && self.now >= remembered) {
            return;
        }
        if !self.core.has_room() {
            assert!(
                self.draining || self.turn.is_troubled() || self.core.state_is_full(),
                "it waits for no reason"
            );
            self.tally.waited += u64::from(self.core.state_is_full());
            if self.stopped_for_good {
                return self.feed(Input::Tick);
            }
            return self.plan(self.now + SECOND, Happening::Started(plan));
        }
        let scenario = self.scenario.clone();
        let event = scenario.plans[plan].event.clone();
        let monitor = self.monitors[usize::from(event.monitor)].clone();
        let spread = RunKey::of(&monitor.naming.monitor, &event.workflow_id).spread();
        let is_late = self.watch_of(&event.workflow_id).is_some_and(|n| n > plan);
        let earlier = self.watch_of(&event.workflow_id).filter(|n| *n < plan);
        let watch = &mut self.watches[plan];
        let duplicate = watch.event_at.is_some() || is_late;
        if !duplicate {
            let interval = monitor.pace.interval_of("", Duration::ZERO);
            let delay = nanos(monitor.pace.initial_delay) + spread % nanos(interval);
            watch.event_at = Some(self.now);
            watch.missing_since = Some(self.now);
            watch.deadline = self.now + nanos(monitor.pace.timeout);
            let wall = clock(&scenario, self.now, 0).wall;
            watch.deadline_wall = Some(wall + monitor.pace.timeout);
            (watch.due_least, watch.due_most) = (self.now + delay, self.now + delay);
            self.watched += 1;
            self.watched_max = self.watched_max.max(self.watched);
            self.unstored_watches.insert(plan);
            if let Some(earlier) = earlier {
                self.watches[earlier].superseded = true;
            }
        }
        let before = self.core.counters().events_duplicate();
        self.feed(Input::Started(event));
        let counted = self.core.counters().events_duplicate() - before;
        assert_eq!(counted, u64::from(duplicate));
    }

    /// The attempt at a workflow that is watched: the first of them that is not over.
    fn watch_of(&self, workflow_id: &str) -> Option<usize> {
        let first = self.by_id[workflow_id];
        let attempts = std::iter::successors(Some(first), |n| self.scenario.plans[*n].later);
        let watched = |n: &usize| self.watches[*n].event_at.is_some() && !self.watches[*n].ended;
        attempts.into_iter().find(watched)
    }

    /// Deadlines move with the timeout; whoever would wait for longer than the new pace has it waits less.
    fn reload(&mut self, paces: Vec<Pace>) {
        let (now, base) = (self.now, self.clock_base);
        let is_watching = !self.down && !self.stopped_for_good;
        for (plan, watch) in self.scenario.plans.iter().zip(&mut self.watches) {
            let (monitor, pace) = (&self.monitors[plan.monitor], &paces[plan.monitor]);
            let is_watched = is_watching && watch.event_at.is_some() && !watch.ended;
            let Some(wall) = watch.deadline_wall.filter(|_| is_watched) else {
                continue;
            };
            let (before, after) = (nanos(monitor.pace.timeout), nanos(pace.timeout));
            let deadline = (watch.deadline + after).saturating_sub(before).max(base);
            watch.deadline_wall = Some(wall.shifted(deadline as i64 - watch.deadline as i64));
            watch.deadline = deadline;
            watch.last = None;
            if watch.asked.is_some() {
                continue;
            }
            let first = watch.missing_since.map_or(0, |_| nanos(pace.initial_delay));
            let key = RunKey::of(&monitor.naming.monitor, &plan.event.workflow_id);
            let (least, most) = watch.intervals(pace);
            let soon = match least == most {
                true => now + first + key.spread() % least,
                false => now + first,
            };
            watch.due_least = watch.due_least.min(soon);
            watch.due_most = now + first + most;
        }
        for (monitor, pace) in self.monitors.iter_mut().zip(&paces) {
            monitor.pace = pace.clone();
        }
        self.reloaded_at = now;
        self.tally.reloads += 1;
        if is_watching {
            self.unstored_watches.extend(0..self.watches.len());
            self.feed(Input::Reloaded(paces));
        }
    }

    /// `at`: when the answer came.
    fn answered(&mut self, plan: usize, polled: Polled, at: u64) {
        let scenario = self.scenario.clone();
        let (truth, watch) = (&scenario.plans[plan], &mut self.watches[plan]);
        let pace = &self.monitors[truth.monitor].pace;
        let asked = watch
            .asked
            .take_if(|asked| asked.slot == polled.slot && asked.generation == polled.generation);
        let Some(asked) = asked else {
            self.stale += 1;
            self.strays.remove(&(polled.slot, polled.generation));
            self.feed(Input::Polled(polled));
            assert_eq!(self.core.counters().answers_stale, self.stale);
            return;
        };
        self.in_flight -= 1;
        self.unstored_watches.insert(plan);
        let failed = matches!(polled.answer, Answer::Failed(_));
        watch.last = Some(Last {
            at: self.now,
            failed,
        });
        match &polled.answer {
            Answer::Snapshot { snapshot, .. } => {
                watch.missing_since = None;
                let skew_ns = scenario.hosts[truth.host].skew_ns;
                let attempts = truth.event.attempt.zip(snapshot.attempt);
                match attempts.map_or(Ordering::Equal, |(ours, theirs)| theirs.cmp(&ours)) {
                    Ordering::Less => {}
                    Ordering::Equal => watch.see(snapshot, api::wall(at, skew_ns)),
                    Ordering::Greater => watch.superseded = true,
                }
            }
            Answer::Partial { .. } => unreachable!("no request of the model is a further one"),
            Answer::NotFound => {
                // It was missing when it was asked for.
                watch.missing_since.get_or_insert(asked.sent);
            }
            Answer::Failed(failure) => {
                watch.missing_since = None;
                if let Some(asked) = failure.retry_after {
                    let until = self.now + nanos(asked.min(limits::RETRY_AFTER_MAX));
                    let paused = &mut self.paused_until[truth.host];
                    *paused = (*paused).max(until);
                }
            }
        }
        // As what was just seen has it.
        let (least, most) = watch.intervals(pace);
        (watch.due_least, watch.due_most) = match failed {
            false => (
                (watch.due_least + least).max(self.now + least / 2),
                (asked.sent + most).max(self.now + most / 2),
            ),
            true => (self.now + least, self.now + most.max(MINUTE)),
        };
        self.feed(Input::Polled(polled));
    }

    /// Hands an input to the core and does what comes of it, before long for good.
    fn feed(&mut self, input: Input) {
        self.take_in(input);
        match self.scenario.turn_max {
            0 => self.end_turn(),
            _ if self.turn_open => {}
            longest => {
                self.turn_open = true;
                let at = self.now + self.random.between(0, longest);
                self.plan(at, Happening::EndTurn);
            }
        }
    }

    fn take_in(&mut self, input: Input) {
        self.handle(input);
        self.act();
    }

    fn act(&mut self) {
        while let Some(action) = self.core.next_action() {
            self.digest(&action);
            match action {
                Action::Poll(polls) => {
                    let group = self.turn.admit_polls(&self.core, polls);
                    self.begin(group.expect("events wait"));
                }
                Action::Recall(poller) => self.recalls.push(poller),
                Action::Note(note) => {
                    if let Note::Api {
                        what: ApiNote::Paused { .. },
                        ..
                    } = note
                    {
                        self.recalls.extend(0..self.pollers.len() as u16);
                    }
                    self.noted(note);
                }
                Action::List(monitor) => panic!("nobody lists for {monitor}"),
                Action::Send(outgoing) => self.turn.hold(outgoing),
                Action::Finished(span) => {
                    self.note_log_records();
                    self.finished(&span);
                    self.collector.expect(Item {
                        id: span.span_id.to_bytes().into(),
                        service: span.service.clone(),
                        bytes: (ENCODERS.span)(&span),
                    });
                }
            }
        }
        self.note_log_records();
        assert_eq!(self.core.watched(), self.watched);
        assert_eq!(self.core.spans_waiting(), self.collector.waiting());
        let log_records = self.log_collector.waiting();
        assert_eq!(self.core.log_records_waiting(), log_records);
        assert_eq!(self.core.notifications_waiting(), self.receivers.waiting());
        assert_eq!(self.core.polls_in_flight(), self.in_flight);
        let recalls = std::mem::take(&mut self.recalls);
        recalls.into_iter().for_each(|poller| self.recall(poller));
    }

    /// A poller gets a group of polls.
    fn begin(&mut self, group: PollGroup) {
        let now = clock(&self.scenario, self.now, self.clock_base);
        self.core.group_begun(group.poller, now.mono);
        self.in_flight += group.polls.len();
        self.tally.grouped += group.polls.len() as u64 - 1;
        let poller = &mut self.pollers[usize::from(group.poller)];
        assert!(poller.is_idle(), "it is busy");
        assert!(!group.polls.is_empty() && group.polls.len() <= limits::GROUP_POLLS_MAX);
        poller.not_begun.extend(group.polls);
        self.next_poll(group.poller);
    }

    /// A poller sends its next poll, or reports.
    fn next_poll(&mut self, poller: u16) {
        let state = &mut self.pollers[usize::from(poller)];
        match state.not_begun.pop_front() {
            Some(poll) => {
                state.is_polling = true;
                self.polled(poller, poll);
            }
            None => self.report(poller),
        }
    }

    fn poll_done(&mut self, poller: u16, plan: usize, mut polled: Polled) {
        polled.received = clock(&self.scenario, self.now, self.clock_base);
        let pauses = matches!(&polled.answer, Answer::Failed(f) if f.retry_after.is_some());
        let state = &mut self.pollers[usize::from(poller)];
        state.is_polling = false;
        state.kept.push((plan, polled, self.now));
        if pauses {
            self.recall(poller);
        } else {
            self.next_poll(poller);
        }
    }

    /// What a poller has kept reaches the core.
    fn report(&mut self, poller: u16) {
        for (plan, polled, at) in std::mem::take(&mut self.pollers[usize::from(poller)].kept) {
            if !self.down {
                self.answered(plan, polled, at);
            }
        }
    }

    /// Takes back what a poller has not begun, with what it has kept.
    fn recall(&mut self, poller: u16) {
        let not_begun = std::mem::take(&mut self.pollers[usize::from(poller)].not_begun);
        self.report(poller);
        if self.down || not_begun.is_empty() {
            return;
        }
        for poll in &not_begun {
            self.in_flight -= usize::from(!self.strays.remove(&(poll.slot, poll.generation)));
            self.tally.recalled += 1;
        }
        self.feed(Input::Recalled(not_begun.into()));
    }

    fn recall_all(&mut self) {
        (0..self.pollers.len() as u16).for_each(|poller| self.recall(poller));
    }

    /// Takes in the log records that the core has encoded. Two may be the same: a clock that was set back shows the same
    /// time again.
    fn note_log_records(&mut self) {
        while let Some(record) = next_log_record() {
            let status = (record.attributes.iter()).find(|(key, _)| **key == *"farspan.status");
            let Some((_, Value::Str(status))) = status else {
                panic!("without a status: {record:?}");
            };
            let (index, part) = &self.parts[&record.span_id];
            let plan = &self.scenario.plans[*index];
            let naming = &self.scenario.settings.monitors[plan.monitor].naming;
            assert!(naming.status_events.are_logged() && sampled(plan, &self.scenario));
            assert!(matches!(part, Part::Workflow | Part::Stage(_)), "{part:?}");
            assert!(!self.watches[*index].ended, "after its end: {record:?}");
            self.unstored_watches.insert(*index);
            self.tally.log_records += 1;
            self.logged.push((record.span_id, status.clone()));
            self.log_collector.expect(Item {
                id: (self.logged.len() as u64).to_be_bytes().into(),
                service: record.service.clone(),
                bytes: (ENCODERS.log_record)(&record),
            });
        }
    }

    fn collector_of(&mut self, signal: Signal) -> &mut Collector {
        match signal {
            Signal::Traces => &mut self.collector,
            Signal::Logs => &mut self.log_collector,
        }
    }

    /// What the turn decides is done, until it waits or a crash comes.
    fn end_turn(&mut self) {
        self.turn_open = false;
        while !self.down {
            let now = clock(&self.scenario, self.now, self.clock_base);
            match self.turn.next(&mut self.core, TERMS, now) {
                Step::Commit(changes) => self.begin_commit(changes),
                Step::Send(outgoing) => self.send(outgoing),
                Step::Poll(polls) => panic!("they were not kept: {polls:?}"),
                Step::Report(_) => {}
                Step::Wait(until) => return self.wait(until),
            }
            if !self.down {
                self.act();
            }
        }
    }

    fn wait(&mut self, until: Option<Mono>) {
        if self.turn.unstored().next().is_none() {
            assert_eq!(self.core.state_bytes(), self.disk.bytes());
        }
        let until = until.map(|at| at.as_ns() + self.clock_base);
        if let Some(at) = until.filter(|_| until != self.turn_due) {
            self.plan(at, Happening::EndTurn);
        }
        self.turn_due = until;
    }

    fn send(&mut self, outgoing: Outgoing) {
        if self.strike(CrashPoint::AfterCommit) {
            return;
        }
        match outgoing {
            Outgoing::Notify(notify) => self.notified(notify),
            Outgoing::Export(batch) => {
                self.exported(batch);
                self.strike(CrashPoint::BatchInFlight);
            }
            other => panic!("nobody waits for {other:?}"),
        }
    }

    fn begin_commit(&mut self, changes: Arc<[Change]>) {
        if self.strike(CrashPoint::BeforeCommit) {
            return;
        }
        let watches = std::mem::take(&mut self.unstored_watches).into_iter();
        self.commit = Some(Commit {
            changes,
            watches: watches.map(|n| (n, self.watches[n].clone())).collect(),
            delivery: (
                self.collector.mark(),
                self.log_collector.mark(),
                self.receivers.mark(),
            ),
            is_durable: false,
        });
        let out = |(from, to): &(u64, u64)| (*from..*to).contains(&self.now);
        if self.now < self.scenario.faults_end && self.scenario.store_outages.iter().any(out) {
            return self.answer_commit(Err("it is out of order".into()));
        }
        let latency = if self.now < self.scenario.faults_end {
            self.random.between(0, commit_latency_max(&self.scenario))
        } else {
            0
        };
        if latency == 0 {
            self.make_durable();
            return self.answer_commit(Ok(Committed::default()));
        }
        let durable_after = self.random.between(0, latency);
        self.plan(self.now + durable_after, Happening::Durable);
        self.plan(self.now + latency, Happening::Committed);
    }

    fn make_durable(&mut self) {
        let Some(commit) = &mut self.commit else {
            return;
        };
        commit.is_durable = true;
        self.disk.commit(commit.changes.iter().cloned());
        self.collector.store(commit.delivery.0.clone());
        self.log_collector.store(commit.delivery.1.clone());
        self.receivers.store(commit.delivery.2.clone());
        for (index, watched) in &commit.watches {
            self.watches_stored[*index] = watched.clone();
        }
    }

    fn answer_commit(&mut self, result: Result<Committed, Box<str>>) {
        let Some(commit) = self.commit.take() else {
            return;
        };
        assert_eq!(result.is_ok(), commit.is_durable);
        if result.is_err() {
            let again = commit.watches.into_iter().map(|(index, _)| index);
            self.unstored_watches.extend(again);
        }
        let now = clock(&self.scenario, self.now, self.clock_base);
        self.turn.committed(&mut self.core, result, now);
        self.act();
    }

    fn arm(&mut self, crash: Crash) {
        match crash.point {
            CrashPoint::Anywhere => self.end_life(crash),
            CrashPoint::Stop => {
                self.armed = None;
                self.draining = true;
                self.feed(Input::Drain);
                self.recall_all();
                let at = self.now + self.random.between(0, 20 * SECOND);
                self.plan(at, Happening::Gone(crash));
            }
            _ => self.armed = Some(crash),
        }
    }

    /// The crash that waits for this point, if one does.
    fn strike(&mut self, point: CrashPoint) -> bool {
        let Some(crash) = self.armed.take_if(|crash| crash.point == point) else {
            return false;
        };
        self.end_life(crash);
        true
    }

    /// farspan is gone, with whatever its store does not have.
    fn end_life(&mut self, crash: Crash) {
        self.by_number.retain(|_, h| !h.is_of_this_life());
        let of_commit = self.commit.take().into_iter().flat_map(|it| it.watches);
        let of_commit: Vec<usize> = of_commit.map(|(index, _)| index).collect();
        for index in std::mem::take(&mut self.unstored_watches)
            .into_iter()
            .chain(of_commit)
        {
            self.watches[index] = self.watches_stored[index].clone();
        }
        self.watches.iter_mut().for_each(Watched::outlive);
        self.collector.forget();
        self.log_collector.forget();
        let (kept, _) = self.log_collector.mark();
        self.logged.truncate(kept);
        self.receivers.forget();
        self.turn = turn(&self.scenario);
        (self.turn_due, self.turn_open, self.armed) = (None, false, None);
        (self.in_flight, self.stale, self.draining) = (0, 0, false);
        self.pollers.fill_with(SimulatedPoller::default);
        self.recalls.clear();
        self.strays.clear();
        self.calm_since = None;
        self.paused_until.fill(0);
        self.asked_of.fill((0.0, self.now));
        self.tally.crashes[crash.point as usize] += 1;
        (self.down, self.down_since) = (true, self.now);
        self.plan(self.now + crash.down, Happening::Restart);
    }

    fn restart(&mut self) {
        let scenario = self.scenario.clone();
        self.down = false;
        self.clock_base = self.now - self.random.between(0, SECOND);
        let now = clock(&scenario, self.now, self.clock_base);
        let settings = Settings {
            monitors: self.monitors.clone(),
            ..scenario.settings.clone()
        };
        self.core = Core::new(settings, RECORDING, now);
        self.core.restore(self.disk.stored(), now);
        self.watched = 0;
        for (plan, watch) in scenario.plans.iter().zip(&mut self.watches) {
            let monitor = &self.monitors[plan.monitor];
            if watch.ended_wall.is_some() {
                let (_, run) = keys_of(&plan.event, &monitor.naming);
                let old = self.down_since >= watch.remembered_at + nanos(limits::FINISHED_KEPT);
                let kept = self.disk.has_finished(run);
                assert!(kept || old || watch.forgotten, "forgotten for being away");
                watch.forgotten = !kept;
                watch.remembered_at = self.now;
            } else if let Some(deadline) = watch.deadline_wall {
                let (least, most) = watch.intervals(&monitor.pace);
                let left = deadline.since(now.wall).min(monitor.pace.timeout);
                let left = left.max(Duration::from_nanos(2 * least));
                watch.deadline = self.now + nanos(left);
                watch.deadline_slack = 2 * (most - least);
                watch.due_least = self.now;
                watch.due_most = self.now + most;
                self.watched += 1;
            }
        }
        self.watched_max = self.watched_max.max(self.watched);
        self.watches_stored.clone_from(&self.watches);
        self.tally.restarts += 1;
        self.tally.restored += self.watched as u64;
        self.tally.spans_restored += self.collector.waiting() as u64;
        self.feed(Input::Tick);
        // Whoever publishes an event tries again until it is heard.
        let unheard = std::mem::take(&mut self.unheard);
        let lost = scenario
            .events
            .iter()
            .filter(|(at, plan)| *at <= self.now && self.watches[*plan].event_at.is_none());
        // As does a stream whose entry was not acknowledged any more.
        let unacknowledged = (0..).zip(&self.watches).filter(|(_, w)| w.ended);
        let again: BTreeSet<usize> = (lost.map(|(_, plan)| *plan))
            .chain(unheard)
            .chain(unacknowledged.map(|(plan, _)| plan))
            .collect();
        for plan in again {
            let at = self.now + self.random.between(0, MINUTE);
            self.plan(at, Happening::Started(plan));
        }
    }

    fn handle(&mut self, input: Input) {
        let queue_max = self.scenario.settings.batch.queue_max;
        let waiting = (self.collector.waiting()).max(self.log_collector.waiting());
        let held = waiting >= queue_max;
        let answered = u64::from(matches!(&input, Input::Polled(_)));
        let before = (self.core.polls_in_flight(), self.core.counters().polls());
        self.core
            .handle(input, clock(&self.scenario, self.now, self.clock_base));
        let polls = self.core.counters().polls() - before.1;
        assert!(polls <= answered);
        // One of a watch that a later attempt has ended is under way no more.
        let started = (self.core.polls_in_flight() + polls as usize).saturating_sub(before.0);
        assert!(started == 0 || !held, "polls go on with a full outbox");
    }

    fn digest(&mut self, action: &Action) {
        let (kind, number) = match action {
            Action::Poll(group) => {
                let first = &group.polls[0];
                (1, u64::from(first.slot) << 32 | u64::from(first.generation))
            }
            Action::Recall(poller) => (6, u64::from(*poller)),
            Action::Send(outgoing) => digest_of(outgoing),
            Action::Finished(span) => (3, u64::from_be_bytes(span.span_id.to_bytes())),
            Action::Note(_) => (4, 0),
            Action::List(_) => (5, 0),
        };
        for word in [kind, number, self.now] {
            let mixed = self.tally.digest.rotate_left(5) ^ word;
            self.tally.digest = mixed.wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }

    fn polled(&mut self, poller: u16, poll: Poll) {
        let scenario = self.scenario.clone();
        let first = self.by_id[&*poll.workflow_id];
        if self.strays.contains(&(poll.slot, poll.generation)) {
            // Its watch has ended since it went to the poller.
            let sent = clock(&scenario, self.now, self.clock_base);
            let polled = Polled {
                slot: poll.slot,
                generation: poll.generation,
                sent,
                received: sent,
                date: None,
                requests: 1,
                not_modified: 0,
                pause: None,
                answer: Answer::NotFound,
            };
            return self.plan(self.now + MS, Happening::PollDone(poller, first, polled));
        }
        let index = self.watch_of(&poll.workflow_id).expect("nobody's poll");
        let (plan, now) = (&scenario.plans[index], self.now);
        let watch = &mut self.watches[index];
        let (interval, _) = watch.intervals(&self.monitors[plan.monitor].pace);
        assert_eq!(usize::from(poll.monitor), plan.monitor);
        assert!(!self.draining, "a poll while draining");
        assert!(watch.event_at.is_some() && !watch.ended, "nobody's poll");
        assert!(watch.asked.is_none(), "a poll while one is under way");
        assert!(now >= self.paused_until[plan.host], "the host is paused");
        let moved_to_the_grid = now + nanos(limits::GRID_SHIFT_MAX);
        assert!(
            moved_to_the_grid >= watch.due_least,
            "a poll before its time"
        );
        if let Some(last) = &watch.last {
            let least = if last.failed { interval } else { interval / 2 };
            assert!(now - last.at >= least, "a poll on the heels of another");
        }
        watch.asked = Some(Asked {
            slot: poll.slot,
            generation: poll.generation,
            sent: now,
        });
        watch.polls += 1;
        self.hold_no_workflow_starves(index);
        self.tally.polls += 1;
        let rate = &mut self.rates[plan.host];
        let reply = api::reply(&scenario, first, rate, now, &mut self.random);
        self.hold_rate(plan.host, reply.requests);
        let sent = clock(&scenario, now, self.clock_base);
        let polled = |answer| Polled {
            slot: poll.slot,
            generation: poll.generation,
            sent,
            received: sent,
            date: reply.date,
            requests: reply.requests,
            not_modified: 0,
            pause: None,
            answer,
        };
        let at = now + reply.latency;
        if let Some(later) = reply.again_after {
            let again = polled(reply.answer.clone());
            self.plan(at + later, Happening::Answered(index, again));
        }
        if let Some((later, answer)) = reply.late {
            self.plan(at + later + 1, Happening::Answered(index, polled(answer)));
        }
        self.plan(at, Happening::PollDone(poller, index, polled(reply.answer)));
    }

    /// A due poll waits no longer than for each of the others once.
    fn hold_no_workflow_starves(&self, index: usize) {
        let Some(calm_since) = self.calm_since else {
            return;
        };
        let (plan, watch) = (&self.scenario.plans[index], &self.watches[index]);
        let due = watch.due_most;
        let (_, interval) = watch.intervals(&self.monitors[plan.monitor].pace);
        let put_off = match self.paused_until[plan.host] {
            0 => 0,
            until => until + interval + self.wait_max(),
        };
        let most = due.max(calm_since).max(put_off) + self.wait_max();
        assert!(
            self.now <= most,
            "starved for {} ms",
            (self.now - most) / MS
        );
    }

    /// Where there are several hosts, each is sure of one poller.
    fn wait_max(&self) -> u64 {
        let pollers = match self.scenario.settings.monitors.iter().map(|m| m.host).max() {
            Some(0) => self.scenario.settings.pollers,
            _ => 1,
        };
        let strays = usize::from(self.scenario.plans.iter().any(|plan| plan.later.is_some()));
        let turns = (self.watched_max + strays).div_ceil(pollers) as u64;
        let polls = self.watched_max + self.scenario.settings.pollers;
        let paid = (0..).zip(&self.scenario.hosts).map(|(host, of)| {
            let rate = rate_of(&self.monitors, host).unwrap_or(f64::INFINITY);
            (polls * of.requests_max as usize) as f64 / rate * SECOND as f64
        });
        let paid = paid.fold(0.0, f64::max) as u64;
        let latencies = self.scenario.hosts.iter().map(|h| h.latency_max);
        let latency = latencies.max().unwrap_or(0) + self.scenario.lag_max;
        let turn = latency + 2 * self.scenario.lag_max + nanos(limits::GROUP_PATIENCE);
        let grid = nanos(limits::GRID_SHIFT_MAX);
        turns * turn + paid + grid + self.scenario.lag_max + 2 * MS
    }

    /// Over any time a host is asked no more than its rate allows, a burst, and what the polls under way cost more than
    /// was to be expected.
    fn hold_rate(&mut self, host: usize, requests: u32) {
        let Some(rate) = rate_of(&self.monitors, host) else {
            return;
        };
        let most = f64::from(self.scenario.hosts[host].requests_max);
        let under_way = self.scenario.settings.pollers as f64;
        let (level, at) = &mut self.asked_of[host];
        let passed = (self.now - *at) as f64 / SECOND as f64;
        *level = (*level - passed * rate).max(0.0) + f64::from(requests);
        *at = self.now;
        let bound = rate.max(1.0) + most + under_way * (most - 1.0);
        assert!(*level <= bound + 1e-3, "{level} of {bound} requests");
        self.tally.rated += 1;
    }

    fn look_for_calm(&mut self) {
        let faults_end = self.scenario.faults_end;
        let held = self.core.polls_held();
        let out = self.down || self.turn.is_troubled() || !self.strays.is_empty();
        if self.now < faults_end || held || out || self.draining {
            self.calm_since = None;
        } else if self.calm_since.is_none() {
            let paused = self.paused_until.iter().any(|until| *until > self.now);
            let asked = self.watches.iter().filter_map(|w| w.asked.as_ref());
            if !paused && asked.map(|a| a.sent).all(|sent| sent >= faults_end) {
                self.calm_since = Some(self.now);
            }
        }
    }

    fn exported(&mut self, batch: Batch) {
        let scenario = self.scenario.clone();
        let (id, signal) = (batch.id, batch.signal);
        let collector = match signal {
            Signal::Traces => &mut self.collector,
            Signal::Logs => &mut self.log_collector,
        };
        let response = collector.receive(batch, &scenario, self.now, &mut self.random);
        let at = self.now + response.latency;
        let exported = Exported {
            signal,
            batch: id,
            outcome: response.outcome,
        };
        if let Some(later) = response.again_after {
            self.plan(at + later, Happening::Exported(exported.clone()));
        }
        self.plan(at, Happening::Exported(exported));
    }

    fn notified(&mut self, notify: Notify) {
        let scenario = self.scenario.clone();
        let response = self
            .receivers
            .receive(notify, &scenario, self.now, &mut self.random);
        let at = self.now + response.latency;
        if let Some(later) = response.again_after {
            let again = Happening::Notified(response.notified.clone());
            self.plan(at + later, again);
        }
        self.plan(at, Happening::Notified(response.notified));
    }

    /// What is told of an end is what its span says, if it has one.
    fn announced(&mut self, event: &FinishedEvent) {
        let scenario = self.scenario.clone();
        let index = self
            .watch_of(&event.workflow_id)
            .expect("told after its end");
        let plan = &scenario.plans[index];
        let (naming, ids) = (
            &self.monitors[plan.monitor].naming,
            Ids::of(plan, &scenario),
        );
        assert!(naming.notifies, "nobody wants to know");
        assert_eq!(*event.monitor, *naming.monitor);
        assert_eq!(event.run, keys_of(&plan.event, naming).1);
        assert_eq!(event.context.span_id, ids.span(&Part::Workflow));
        assert_eq!(event.context.trace_id, ids.trace);
        assert_eq!(event.context.sampled(), sampled(plan, &scenario));
        assert_eq!(event.attributes, plan.event.attributes);
        assert_eq!(event.submitted_at, plan.event.submitted_at);
        let watch = &self.watches[index];
        assert!(event.finish.start <= event.finish.end);
        if let Some(root) = watch.told.root() {
            assert!(root.start <= event.finish.start && event.finish.end == root.end);
            let message = match &root.status {
                SpanStatus::Error(message) => &**message,
                SpanStatus::Ok | SpanStatus::Unset => "",
            };
            assert_eq!(*event.finish.error, *message);
        }
        self.tally.announced += 1;
        self.unstored_watches.insert(index);
        self.receivers.expect(plan.monitor as u16, event);
    }

    fn finished(&mut self, span: &Span) {
        let scenario = self.scenario.clone();
        let known = self.parts.get(&span.span_id).cloned();
        let (index, part) = known.unwrap_or_else(|| panic!("a span of nothing: {span:?}"));
        let plan = &scenario.plans[index];
        self.unstored_watches.insert(index);
        let watch = &mut self.watches[index];
        assert!(watch.event_at.is_some() && !watch.ended);
        assert!(sampled(plan, &scenario), "an unsampled span: {span:?}");
        hold_span(span, &part, plan, &scenario);
        if scenario.faults.dateless == 0.0 || scenario.faults_end == 0 {
            let latency = scenario.hosts[plan.host].latency_max;
            hold_seen(span, &watch.seen_at, latency + SECOND);
        }
        if let Part::Stage(key) | Part::Wait(Some(key)) | Part::Started(Some(key)) = &part {
            let stage = plan.stages.iter().find(|stage| stage.key == *key);
            let course = stage.map(|stage| stage.course);
            let began = course.is_none_or(|c| c.is_some_and(|c| c.start <= self.now));
            let has_parts = watch.told.has_parts(span.span_id);
            assert!(began || has_parts, "a span of what never began: {span:?}");
        }
        let ids = Ids::of(plan, &scenario);
        let is_hurried = watch.over_for > u32::from(limits::SETTLE_POLLS)
            || self.now >= watch.deadline
            || watch.missing_since.is_some()
            || watch.superseded;
        let is_root = part == Part::Workflow;
        let nested = span
            .parent
            .is_some_and(|p| p.span_id != ids.span(&Part::Workflow));
        match &part {
            Part::Workflow => {}
            Part::Wait(_) => self.tally.waits += 1,
            Part::Started(_) => self.tally.started += 1,
            Part::Stage(_) => {
                self.tally.nested += u64::from(nested);
                self.tally.attempts += u64::from(!span.links.is_empty());
            }
        }
        let logged = self.logged.iter().filter(|(id, _)| *id == span.span_id);
        let logged: Vec<&str> = logged.map(|(_, status)| &**status).collect();
        (watch.told).finish(part, span, &logged, is_hurried, plan, &scenario);
        if is_root {
            watch.told.hold(plan, &scenario);
        }
        self.tally.spans += 1;
    }

    fn noted(&mut self, note: Note) {
        if let Note::State(StateNote::Unreadable { why, .. }) = &note {
            panic!("not restored: {why}");
        }
        let Note::Run {
            workflow_id,
            what: RunNote::Ended {
                abandoned, outcome, ..
            },
            ..
        } = note
        else {
            return;
        };
        let scenario = self.scenario.clone();
        let index = self.watch_of(&workflow_id).expect("ended twice");
        if self.monitors[scenario.plans[index].monitor].naming.notifies {
            let event = next_finished_event().expect("a finished event");
            assert_eq!(event.workflow_id, workflow_id);
            self.announced(&event);
        }
        let plan = &scenario.plans[index];
        self.unstored_watches.insert(index);
        let watch = &mut self.watches[index];
        watch.ended = true;
        if let Some(asked) = watch.asked.take() {
            assert!(watch.superseded, "ended while it is asked after");
            self.strays.insert((asked.slot, asked.generation));
            self.in_flight -= 1;
            self.tally.strays += 1;
        } else if let Some(poll) = self
            .pollers
            .iter()
            .find_map(|it| it.not_begun_of(&workflow_id))
        {
            assert!(watch.superseded, "ended while its poll is with a poller");
            self.strays.insert((poll.slot, poll.generation));
            self.in_flight -= 1;
        }
        watch.remembered_at = self.now;
        watch.ended_wall = Some(clock(&scenario, self.now, 0).wall);
        self.watched -= 1;
        assert_eq!(watch.told.has_root(), sampled(plan, &scenario));
        let naming = &self.monitors[plan.monitor].naming;
        let (_, run) = keys_of(&plan.event, naming);
        assert_eq!(self.receivers.is_announced(run), naming.notifies);
        let mut timed_out_after = None;
        match abandoned {
            Some(Abandoned::TimedOut) => {
                assert!(self.now >= watch.deadline);
                timed_out_after = Some((watch.deadline, watch.deadline_slack));
            }
            Some(Abandoned::NotFound) => {
                let since = watch.missing_since.expect("it is missing");
                assert!(self.now >= since + nanos(limits::NOT_FOUND_TOLERATED));
            }
            Some(Abandoned::Superseded) => assert!(watch.superseded, "no later attempt"),
            None => {
                assert!(self.now >= plan.course.end);
                let endless = watch.seen.as_ref().is_none_or(|s| s.progress.end.is_none());
                let given_up = self.now >= watch.deadline || watch.missing_since.is_some();
                let given_up = given_up || watch.superseded;
                let waited = watch.over_for > u32::from(limits::SETTLE_POLLS);
                assert!(
                    !endless || waited || given_up,
                    "its end might still have come"
                );
            }
        }
        if let Some(abandoned) = abandoned {
            assert_eq!(watch.over_for, 0, "{abandoned:?}, though it was over");
            if let Some(root) = watch.told.root() {
                assert_eq!(root.status, SpanStatus::Error(abandoned.message().into()));
            }
        }
        let honest = plan
            .distortion
            .is_none_or(|d| d.kind == DistortionKind::Lost);
        if abandoned.is_none() && honest {
            assert_eq!(outcome, plan.course.outcome);
            self.tally.exact += 1;
            let spans = watch.told.spans();
            match spans.is_empty() {
                true => assert!(!sampled(plan, &scenario)),
                false => hold_exact(&spans, plan, &scenario),
            }
        }
        self.hold_in_time(index);
        if let (Some((deadline, slack)), Some(calm_since)) = (timed_out_after, self.calm_since) {
            let since = deadline.max(calm_since).max(self.reloaded_at);
            let most = since + slack + 2 * self.wait_max() + SECOND;
            assert!(self.now <= most, "timed out late");
        }
    }

    /// In calm, an end is seen soon after it was reported.
    fn hold_in_time(&self, index: usize) {
        let (plan, watch) = (&self.scenario.plans[index], &self.watches[index]);
        let Some(calm_since) = self.calm_since.filter(|_| plan.exists) else {
            return;
        };
        let monitor = &self.monitors[plan.monitor];
        // A status that has an interval of its own may just have been left.
        let interval = most_of(&monitor.pace);
        let polls = 2 * u64::from(limits::SETTLE_POLLS) + 2;
        let since = plan.course.end.max(watch.due_most).max(calm_since);
        let since = since.max(self.reloaded_at);
        let most = since
            .max(self.paused_until[plan.host] + interval)
            .saturating_add(interval.max(MINUTE) + polls * (2 * interval + self.wait_max()));
        assert!(
            self.now <= most,
            "ended late: {} s",
            (self.now - most) / SECOND
        );
    }

    fn hold_at_the_end(&mut self) {
        assert!(self.log_collector.is_idle() && self.log_collector.has_all());
        assert_eq!(self.core.log_records_waiting(), 0);
        assert_eq!(self.log_collector.waiting(), 0);
        assert!(self.collector.is_idle());
        assert_eq!(self.core.spans_waiting(), 0);
        assert_eq!(self.collector.waiting(), 0);
        assert!(self.collector.has_all());
        assert!(self.receivers.is_idle() && self.receivers.have_all());
        assert_eq!(self.core.notifications_waiting(), 0);
        self.tally.announced_again = self.receivers.again;
        assert!(self.disk.is_settled(self.watched));
        let counters = self.core.counters();
        self.tally.timed_out = counters.workflows_timed_out;
        self.tally.not_found = counters.workflows_not_found;
        self.tally.superseded = counters.workflows_superseded;
        self.tally.stale = counters.answers_stale;
        self.tally.retried = counters.exports_retried();
        self.tally.rejected = counters.spans_rejected;
        self.tally.runs = 1;
        self.tally.simulated_ns = self.now - BEGIN;
        if !self.draining {
            assert_eq!(self.core.next_deadline(), None);
            assert_eq!(self.watched, 0);
            // The event of an attempt that came after that of a later one is of no use.
            let mut all = self.scenario.plans.iter().zip(&self.watches);
            let is_late = |w: &Watched| w.event_at.is_none();
            assert!(all.all(|(plan, w)| w.ended || (plan.later.is_some() && is_late(w))));
        }
        if self.tally.restarts > 0 {
            return;
        }
        let delivered = counters.spans_delivered + counters.spans_rejected;
        assert_eq!(delivered, self.tally.spans);
        assert_eq!(counters.spans_finished, self.tally.spans);
        assert_eq!(counters.spans_rejected, self.collector.rejected);
        let log_records = counters.log_records_delivered + counters.log_records_rejected;
        assert_eq!(log_records, self.tally.log_records);
        assert_eq!(counters.log_records_made, self.tally.log_records);
        let polls = self.tally.polls - self.tally.strays;
        assert_eq!(counters.polls(), polls);
        assert_eq!(counters.lateness().total(), polls);
        if !self.draining {
            let begun = self.watches.iter().filter(|w| w.event_at.is_some()).count();
            assert_eq!(counters.workflows_ended, begun as u64);
            assert_eq!(counters.events_accepted(), begun as u64);
        }
    }
}

fn turn(scenario: &Scenario) -> Turn {
    Turn::new(TurnPolicy {
        stores: true,
        commit_delay: commit_delay(scenario),
        events_wait: true,
    })
}

/// How long a commit may take while there are faults. With every fourth disk it is long enough to be trouble.
fn commit_latency_max(scenario: &Scenario) -> u64 {
    [0, 0, 50 * MS, 5 * SECOND][scenario.seed as usize % 4]
}

/// With every third farspan changes share their commits.
fn commit_delay(scenario: &Scenario) -> Duration {
    if scenario.seed.is_multiple_of(3) {
        limits::COMMIT_DELAY
    } else {
        Duration::ZERO
    }
}

fn digest_of(outgoing: &Outgoing) -> (u64, u64) {
    match outgoing {
        Outgoing::Export(batch) => (
            2 + 10 * u64::from(batch.signal == Signal::Logs),
            batch.id << 32 | batch.items.len() as u64,
        ),
        Outgoing::Notify(notify) => (6, notify.batch << 32 | notify.notifications.len() as u64),
        other => panic!("nobody waits for {other:?}"),
    }
}

fn clock(scenario: &Scenario, at: u64, base: u64) -> Now {
    Now {
        mono: Mono::from_ns(at - base),
        wall: api::wall(at, scenario.wall_offset(at)),
    }
}

/// What is told of a change is when it was seen, by the API's clock as well as a header in seconds shows it.
fn hold_seen(span: &Span, seen_at: &[Wall], off_max: u64) {
    for event in &span.events {
        let clamped = event.time <= span.start || event.time >= span.end;
        let near = |at: &Wall| at.as_unix_ns().abs_diff(event.time.as_unix_ns()) <= off_max;
        let seen = clamped || *event.name == *"Submitted" || seen_at.iter().any(near);
        assert!(seen, "{event:?} of {span:?}");
    }
}
