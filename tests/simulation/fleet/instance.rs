//! One farspan of the fleet: the loop of `src/run/mod.rs` around the real core, its store, and its sources of events.

use super::member::Member;
use super::reader::Reader;
use super::redis::{Late, Redis};
use super::scenario::{CrashPoint, FleetScenario};
use super::wire::Wire;
use crate::api;
use crate::encoders::ENCODERS;
use crate::random::Random;
use farspan::core::event::StartEvent;
use farspan::core::finished::Notify;
use farspan::core::ids::RunKey;
use farspan::core::outbox::Batch;
use farspan::core::span::Span;
use farspan::core::time::{Mono, Now};
use farspan::core::{Action, Change, Core, Input, Note, Poll, Settings};
use farspan::store::fleet::CommitFailure;
use farspan::store::{Committed, View};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// What an instance has done that others notice, in its order.
pub enum Effect {
    Poll(Poll),
    Send(Batch),
    Finished(Box<Span>),
    Tell(Notify),
    Note(Note),
}

/// What an instance finds around it.
pub struct Around<'a> {
    pub redis: &'a mut Redis,
    pub at: u64,
    pub effects: Vec<Effect>,
}

/// Faults of the store's scripts, for a wire that carries none.
#[derive(Default)]
struct Unused {
    loses_claim: bool,
    gives_up: Option<u32>,
    late: Vec<Late>,
}

/// Runs that it has, and that it knows to be done.
#[derive(Default)]
pub struct Known {
    pub held: BTreeSet<RunKey>,
    pub done: BTreeSet<RunKey>,
}

pub struct Instance {
    pub core: Core,
    pub member: Member,
    pub reader: Option<Reader>,

    /// Between the sources and the loop.
    pub events: VecDeque<StartEvent>,
    /// When its monotonic clock was at zero.
    clock_base: u64,
    wall_ahead_ns: i64,
    /// It is stopped, or its machine sleeps.
    pub asleep_until: Option<u64>,
    pub cut_until: u64,
    /// The so-manieth call of the store, and of the stream, whose answer is lost.
    pub loses: Option<u32>,
    pub loses_reading: Option<u32>,
    /// The next claim that takes something is made, and its answer lost.
    pub loses_claim: bool,
    /// The so-manieth script of the store that is given up, and those that were.
    pub gives_up: Option<u32>,
    pub late: Vec<Late>,
    /// What came while it was asleep.
    pub deferred: Vec<Input>,
    /// Strikes at its point.
    pub armed: Option<CrashPoint>,
    /// Which has struck.
    pub struck: Option<CrashPoint>,
    /// The stop has come, and will not wait longer than this.
    pub stops_at: Option<u64>,
    unstored: Vec<Change>,
    commit_at: Option<Mono>,
    store_again_at: Option<Mono>,
    events_stored: u64,
    events_wait: bool,
    exports: Vec<Batch>,
    notifies: Vec<Notify>,
    settled: Vec<Action>,
    /// Runs refused.
    pub refused: u64,
    pub claimed: u64,
}

const COMMIT_DELAY: Duration = Duration::from_millis(200);
const STORE_AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Instance {
    pub fn start(
        name: usize,
        token: u64,
        scenario: &FleetScenario,
        at: u64,
        r: &mut Random,
    ) -> Self {
        let clock_base = at - r.between(0, crate::scenario::SECOND);
        let wall_ahead_ns = r.between(0, 4 * crate::scenario::SECOND) as i64 - 2_000_000_000;
        let now = Now {
            mono: Mono::from_ns(at - clock_base),
            wall: api::wall(at, wall_ahead_ns),
        };
        let settings = Settings {
            seed: r.next(),
            ..scenario.base.settings.clone()
        };
        let monitors = &settings.monitors;
        let shortest = monitors
            .iter()
            .map(|monitor| monitor.pace.initial_delay)
            .min();
        Instance {
            events_wait: shortest.is_some_and(|delay| delay >= COMMIT_DELAY * 2),
            core: Core::new(settings, ENCODERS, now),
            member: Member::new((name, token), scenario, now),
            reader: (scenario.has_stream).then(|| Reader::new(name, scenario.lease, now.mono)),

            events: VecDeque::new(),
            clock_base,
            wall_ahead_ns,
            asleep_until: None,
            cut_until: 0,
            loses: None,
            loses_reading: None,
            loses_claim: false,
            gives_up: None,
            late: Vec::new(),
            deferred: Vec::new(),
            armed: None,
            struck: None,
            stops_at: None,
            unstored: Vec::new(),
            commit_at: None,
            store_again_at: None,
            events_stored: 0,
            exports: Vec::new(),
            notifies: Vec::new(),
            settled: Vec::new(),
            refused: 0,
            claimed: 0,
        }
    }

    pub fn clock(&self, at: u64) -> Now {
        Now {
            mono: Mono::from_ns(at - self.clock_base),
            wall: api::wall(at, self.wall_ahead_ns),
        }
    }

    /// The machine slept for so long: its monotonic clock has not.
    pub fn oversleep(&mut self, ns: u64) {
        self.clock_base += ns;
    }

    /// When it acts though nothing happens, unless it is asleep.
    pub fn next_deadline(&self) -> u64 {
        let store = match self.store_again_at {
            Some(at) => Some(at),
            None => {
                let due = Some(self.member.protocol.next_deadline());
                [self.commit_at, due].into_iter().flatten().min()
            }
        };
        // At the stop nothing more is read.
        let reader = self.reader.as_ref().filter(|_| self.stops_at.is_none());
        let reader = reader.map(Reader::next_deadline);
        let deadlines = [self.core.next_deadline(), store, reader];
        let mono = deadlines.into_iter().flatten().min();
        let at = mono.map_or(u64::MAX, |mono| mono.as_ns() + self.clock_base);
        at.min(self.stops_at.unwrap_or(u64::MAX))
    }

    /// Whether it has nothing left to do but to live.
    pub fn is_idle(&self) -> bool {
        let reader = self.reader.as_ref();
        self.core.watched() == 0
            && self.core.spans_waiting() + self.core.notifications_waiting() == 0
            && self.events.is_empty()
            && self.unstored.is_empty()
            && self.exports.is_empty()
            && self.member.protocol.owned() == 0
            && reader.is_none_or(|reader| reader.entries.held() + reader.entries.released() == 0)
    }

    /// Whether its loop, at the stop, waits for nothing any more.
    pub fn has_stopped(&self, at: u64) -> bool {
        let undelivered = self.core.spans_waiting() + self.core.notifications_waiting();
        let left = self.core.polls_in_flight() + undelivered + self.unstored.len();
        self.stops_at
            .is_some_and(|latest| left == 0 || at >= latest)
    }

    pub fn has_stored_all(&self) -> bool {
        self.unstored.is_empty() && self.events.is_empty() && !self.core.has_changes()
    }

    pub fn is_unfenced(&self, at: u64) -> bool {
        self.member.protocol.may_export(self.clock(at))
    }

    pub fn is_sure(&self) -> bool {
        self.member.protocol.is_complete() && self.store_again_at.is_none()
    }

    pub fn knows(&self, at: u64) -> Known {
        let mut known = Known::default();
        for change in self.core.everything(self.clock(at)) {
            match change {
                Change::PutWorkflow { run, .. } => known.held.insert(run),
                Change::PutSpan(span) => known.held.insert(span.run),
                Change::PutNotification(it) => known.held.insert(it.run),
                Change::PutFinished(run, _) => known.done.insert(run),
                _ => false,
            };
        }
        known
    }

    /// One turn of the loop; with nothing to take in, whatever is due. What is there shares the turn.
    pub fn turn(&mut self, inputs: Vec<Input>, around: &mut Around<'_>) {
        let mut is_outcome = false;
        for input in inputs {
            is_outcome |= matches!(input, Input::Exported { .. } | Input::Notified(_));
            self.handle(input, around);
        }
        self.handle(Input::Tick, around);
        while self.core.has_room()
            && let Some(event) = self.events.pop_front()
        {
            self.handle(Input::Started(event), around);
        }
        if is_outcome && self.strike(CrashPoint::BeforeDeletion) {
            return;
        }
        self.end_turn(around);
        if self.struck.is_none() && self.stops_at.is_none() {
            self.read(around);
        }
    }

    /// The thread of the stream: what it reads is handled in the next turn.
    fn read(&mut self, around: &mut Around<'_>) {
        let now = self.clock(around.at).mono;
        let Some(mut reader) = self.reader.take() else {
            return;
        };
        let before = self.events.len();
        let mut events = std::mem::take(&mut self.events);
        let (mut loses, mut has_lost) = (self.loses_reading.take(), false);
        let mut unused = Unused::default();
        let mut wire = self.wire(around, &mut loses, &mut has_lost, &mut unused);
        reader.work(&mut wire, now, &mut events);
        self.loses_reading = loses;
        let is_more = events.len() > before;
        (self.events, self.reader) = (events, Some(reader));
        if is_more && self.core.has_room() {
            self.turn(Vec::new(), around);
        }
    }

    fn wire<'a>(
        &self,
        around: &'a mut Around<'_>,
        loses: &'a mut Option<u32>,
        has_lost: &'a mut bool,
        unused: &'a mut Unused,
    ) -> Wire<'a> {
        Wire {
            redis: around.redis,
            at: around.at,
            is_cut: around.at < self.cut_until,
            loses,
            has_lost,
            loses_claim: &mut unused.loses_claim,
            gives_up: &mut unused.gives_up,
            late: &mut unused.late,
        }
    }

    fn handle(&mut self, input: Input, around: &mut Around<'_>) {
        let now = self.clock(around.at);
        self.core.handle(input, now);
        while let Some(action) = self.core.next_action() {
            match action {
                Action::Poll(poll) => around.effects.push(Effect::Poll(poll)),
                Action::Finished(span) => around.effects.push(Effect::Finished(span)),
                Action::Export(batch) => self.exports.push(batch),
                Action::Notify(notify) => self.notifies.push(notify),
                Action::List(monitor) => panic!("nobody lists for {monitor}"),
                Action::Release(_) | Action::Leave(_) => self.settled.push(action),
                Action::Note(note) => around.effects.push(Effect::Note(note)),
            }
        }
    }

    /// Persist, then export and acknowledge.
    fn end_turn(&mut self, around: &mut Around<'_>) {
        loop {
            self.unstored.append(&mut self.core.take_changes());
            if self.may_wait(around.at) || !self.persist(around) {
                return;
            }
            if !self.core.has_changes() {
                break;
            }
        }
        for settled in std::mem::take(&mut self.settled) {
            match (&mut self.reader, settled) {
                (Some(reader), Action::Release(source)) => reader.entries.release(source),
                (Some(reader), Action::Leave(source)) => reader.entries.leave(&source),
                _ => panic!("nobody gave it"),
            }
        }
        if !self.member.protocol.may_export(self.clock(around.at)) {
            return;
        }
        let leaves = !self.exports.is_empty() || !self.notifies.is_empty();
        if leaves && self.strike(CrashPoint::AfterCommit) {
            return;
        }
        for notify in std::mem::take(&mut self.notifies) {
            around.effects.push(Effect::Tell(notify));
        }
        for batch in std::mem::take(&mut self.exports) {
            around.effects.push(Effect::Send(batch));
            self.strike(CrashPoint::BatchInFlight);
        }
    }

    fn may_wait(&mut self, at: u64) -> bool {
        if self.unstored.is_empty() {
            return false;
        }
        let delay = match self.stops_at {
            Some(_) => Duration::ZERO,
            None => COMMIT_DELAY,
        };
        let now = self.clock(at).mono;
        let commit_at = *self.commit_at.get_or_insert(now + delay);
        let accepted = self.core.counters().events_accepted;
        let events_wait = self.events_wait || accepted == self.events_stored;
        let acknowledged = |change: &Change| {
            matches!(
                change,
                Change::RemoveSpans(_) | Change::RemoveNotifications(_)
            )
        };
        now < commit_at
            && now < self.member.protocol.next_deadline()
            && self.exports.is_empty()
            && self.notifies.is_empty()
            && events_wait
            && !self.unstored.iter().any(acknowledged)
    }

    /// Whether the store has taken the changes.
    fn persist(&mut self, around: &mut Around<'_>) -> bool {
        let now = self.clock(around.at);
        let is_due = self.member.protocol.next_deadline() <= now.mono;
        if self.unstored.is_empty() && !is_due && self.store_again_at.is_none() {
            return true;
        }
        if self.store_again_at.is_some_and(|at| now.mono < at) {
            return false;
        }
        if !self.unstored.is_empty() && self.strike(CrashPoint::BeforeCommit) {
            return false;
        }
        let troubled = self.store_again_at.is_some();
        let (mut loses, mut has_lost) = (self.loses.take(), false);
        let mut wire = Wire {
            redis: around.redis,
            at: around.at,
            is_cut: around.at < self.cut_until,
            loses: &mut loses,
            has_lost: &mut has_lost,
            loses_claim: &mut self.loses_claim,
            gives_up: &mut self.gives_up,
            late: &mut self.late,
        };
        let view = View {
            everything: &|| self.core.everything(now),
            room: self.core.room(),
        };
        let tried = (self.member).commit(self.unstored.as_slice().into(), &view, &mut wire, now);
        self.loses = loses;
        if has_lost && self.strike(CrashPoint::WithinCommit) {
            return false;
        }
        match tried {
            Ok(committed) => {
                self.unstored.clear();
                self.commit_at = None;
                self.events_stored = self.core.counters().events_accepted;
                self.store_again_at = None;
                if !committed.is_plain() {
                    self.take_committed(committed, around);
                }
                if troubled {
                    self.handle(Input::StoreTroubled(false), around);
                }
                true
            }
            Err(trouble) => {
                assert_ne!(
                    trouble,
                    CommitFailure::NameTaken,
                    "nobody else has its name"
                );
                self.store_again_at = Some(now.mono + STORE_AGAIN_AFTER);
                if !troubled {
                    self.handle(Input::StoreTroubled(true), around);
                }
                false
            }
        }
    }

    fn take_committed(&mut self, committed: Committed, around: &mut Around<'_>) {
        if !committed.refused.is_empty() {
            let lost: BTreeSet<RunKey> = committed.refused.iter().map(|(run, _)| *run).collect();
            self.refused += lost.len() as u64;
            for batch in &mut self.exports {
                batch.spans.retain(|span| !lost.contains(&span.run));
            }
            self.exports.retain(|batch| !batch.spans.is_empty());
            for notify in &mut self.notifies {
                notify.notifications.retain(|it| !lost.contains(&it.run));
            }
            self.handle(Input::Refused(committed.refused), around);
        }
        self.claimed += committed.claimed.workflows.len() as u64;
        let now = self.clock(around.at);
        self.core.restore(committed.claimed, now);
        self.handle(Input::Tick, around);
    }

    /// The end that somebody asked for.
    pub fn leave(&mut self, around: &mut Around<'_>) {
        let mut reader = self.reader.take();
        let (mut loses, mut has_lost) = (None, false);
        let mut unused = Unused::default();
        let mut wire = Wire {
            redis: around.redis,
            at: around.at,
            is_cut: around.at < self.cut_until,
            loses: &mut loses,
            has_lost: &mut has_lost,
            loses_claim: &mut unused.loses_claim,
            gives_up: &mut unused.gives_up,
            late: &mut unused.late,
        };
        self.member.leave(&mut wire);
        if let Some(reader) = &mut reader {
            let _ = reader.acknowledge(&mut wire);
        }
    }

    /// Whether the crash that waits for this point has come.
    fn strike(&mut self, point: CrashPoint) -> bool {
        let strikes = self.armed == Some(point);
        if strikes {
            self.struck = self.armed.take();
        }
        strikes
    }
}

pub const DONE_KEPT: Duration = Duration::from_secs(24 * 3600);
