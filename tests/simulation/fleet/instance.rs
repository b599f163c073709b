//! One farspan of the fleet: the loop of `src/run/mod.rs` around the real core, its store, and its sources of events.

use super::member::Member;
use super::reader::Reader;
use super::redis::{Late, Redis};
use super::scenario::{CrashPoint, FleetScenario};
use super::wire::Wire;
use crate::api;
use crate::encoders::{ENCODERS, RECORDING, next_log_record};
use crate::random::Random;
use farspan::core::Encoders;
use farspan::core::event::StartEvent;
use farspan::core::finished::Notify;
use farspan::core::ids::RunKey;
use farspan::core::log_record::LogRecord;
use farspan::core::outbox::Batch;
use farspan::core::span::Span;
use farspan::core::time::{Mono, Now};
use farspan::core::turn::{Step, StoreTerms, Turn, TurnPolicy};
use farspan::core::{
    Action, Change, Core, Input, Note, Outgoing, Poll, PollGroup, Settings, limits,
};
use farspan::store::View;
use farspan::store::fleet::{CallError, CommitFailure, FleetCall, FleetReply, Next};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// What an instance has done that others notice, in its order.
pub enum Effect {
    /// A call of the fleet's protocol is sent.
    Call(FleetCall),
    Poll(Poll),
    Send(Batch),
    Finished(Box<Span>),
    Logged(LogRecord),
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

/// Its spans it shows as they are finished.
const FLEET_ENCODERS: Encoders = Encoders {
    log_record: RECORDING.log_record,
    ..ENCODERS
};

/// What a call of the fleet's protocol brought.
pub type Answer = Result<FleetReply, CallError>;

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
    pub deferred_answer: Option<Answer>,
    /// Strikes at its point.
    pub armed: Option<CrashPoint>,
    /// Which has struck.
    pub struck: Option<CrashPoint>,
    /// The stop has come, and will not wait longer than this.
    pub stops_at: Option<u64>,
    turn: Turn,
    /// When the turn goes on though nothing happens.
    turn_due: Option<Mono>,
    /// Runs refused.
    pub refused: u64,
    pub claimed: u64,
}

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
        let policy = TurnPolicy {
            stores: true,
            commit_delay: limits::COMMIT_DELAY,
            events_wait: shortest
                .is_some_and(|delay| delay >= limits::COMMIT_DELAY + limits::COMMIT_PATIENCE),
        };
        Instance {
            turn: Turn::new(policy),
            turn_due: None,
            core: Core::new(settings, FLEET_ENCODERS, now),
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
            deferred_answer: None,
            armed: None,
            struck: None,
            stops_at: None,
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
        // At the stop nothing more is read.
        let reader = self.reader.as_ref().filter(|_| self.stops_at.is_none());
        let reader = reader.map(Reader::next_deadline);
        let deadlines = [self.core.next_deadline(), self.turn_due, reader];
        let mono = deadlines.into_iter().flatten().min();
        let at = mono.map_or(u64::MAX, |mono| mono.as_ns() + self.clock_base);
        at.min(self.stops_at.unwrap_or(u64::MAX))
    }

    /// Whether it has nothing left to do but to live.
    pub fn is_idle(&self) -> bool {
        let reader = self.reader.as_ref();
        self.core.watched() == 0
            && self.undelivered() == 0
            && self.events.is_empty()
            && self.turn.unstored().next().is_none()
            && self.member.protocol.owned() == 0
            && reader.is_none_or(|reader| reader.entries.held() + reader.entries.released() == 0)
    }

    /// Whether its loop, at the stop, waits for nothing any more.
    pub fn has_stopped(&self, at: u64) -> bool {
        let left = self.core.polls_in_flight() + self.undelivered() + self.turn.unstored().count();
        let is_left = left > 0 || self.turn.is_committing();
        self.stops_at.is_some_and(|latest| !is_left || at >= latest)
    }

    fn undelivered(&self) -> usize {
        let items = self.core.spans_waiting() + self.core.log_records_waiting();
        items + self.core.notifications_waiting()
    }

    pub fn has_stored_all(&self) -> bool {
        let is_stored = self.turn.unstored().next().is_none();
        is_stored && self.events.is_empty() && !self.core.has_changes()
    }

    pub fn is_unfenced(&self, at: u64) -> bool {
        self.member.protocol.may_export(self.clock(at))
    }

    pub fn is_sure(&self) -> bool {
        self.member.protocol.is_complete() && !self.turn.is_troubled()
    }

    pub fn knows(&self) -> Known {
        let mut known = Known::default();
        for change in self.core.everything() {
            match change {
                Change::PutWorkflow { run, .. } => known.held.insert(run),
                Change::PutItem(span) => known.held.insert(span.run),
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
            is_outcome |= matches!(input, Input::Exported(_) | Input::Notified(_));
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
        self.core.handle(input, self.clock(around.at));
        let logged = std::iter::from_fn(next_log_record);
        around.effects.extend(logged.map(Effect::Logged));
        self.act(around);
    }

    fn act(&mut self, around: &mut Around<'_>) {
        while let Some(action) = self.core.next_action() {
            match action {
                Action::Poll(polls) => {
                    if let Some(polls) = self.turn.admit_polls(&self.core, polls) {
                        self.poll(polls, around);
                    }
                }
                // Its pollers begin all polls of a group at once.
                Action::Recall(_) => {}
                Action::Finished(span) => around.effects.push(Effect::Finished(span)),
                Action::List(monitor) => panic!("monitor {monitor} has no discovery"),
                Action::Send(outgoing) => self.turn.hold(outgoing),
                Action::Note(note) => around.effects.push(Effect::Note(note)),
            }
        }
    }

    /// What the turn decides is done, until it waits or a crash comes.
    fn end_turn(&mut self, around: &mut Around<'_>) {
        if self.stops_at.is_some() {
            self.turn.hurry();
        }
        loop {
            self.go_on(around);
            let now = self.clock(around.at);
            let terms = StoreTerms {
                due: Some(self.member.protocol.next_deadline()),
                may_export: self.member.protocol.may_export(now),
            };
            match self.turn.next(&mut self.core, terms, now) {
                Step::Commit(changes) => self.commit(changes),
                Step::Send(outgoing) => self.send(outgoing, around),
                Step::Poll(polls) => self.poll(polls, around),
                Step::Report(_) => {}
                Step::Wait(until) => {
                    self.turn_due = until;
                    return;
                }
            }
            if self.struck.is_some() {
                return;
            }
            self.act(around);
        }
    }

    fn poll(&mut self, group: PollGroup, around: &mut Around<'_>) {
        self.core
            .group_begun(group.poller, self.clock(around.at).mono);
        around
            .effects
            .extend(group.polls.into_iter().map(Effect::Poll));
    }

    fn send(&mut self, outgoing: Outgoing, around: &mut Around<'_>) {
        let reader = self.reader.as_mut();
        match outgoing {
            Outgoing::Acknowledge(source) => reader.expect("a stream").entries.release(source),
            Outgoing::LeavePending(source) => reader.expect("a stream").entries.leave(&source),
            Outgoing::Accept(request) => panic!("there is no request {request}"),
            Outgoing::Export(_) | Outgoing::Notify(_) if self.strike(CrashPoint::AfterCommit) => {}
            Outgoing::Notify(notify) => around.effects.push(Effect::Tell(notify)),
            Outgoing::Export(batch) => {
                around.effects.push(Effect::Send(batch));
                self.strike(CrashPoint::BatchInFlight);
            }
        }
    }

    fn commit(&mut self, changes: Arc<[Change]>) {
        if changes.is_empty() || !self.strike(CrashPoint::BeforeCommit) {
            self.member.protocol.begin_commit(changes);
        }
    }

    /// Sends the next call of the commit under way, or ends the commit.
    fn go_on(&mut self, around: &mut Around<'_>) {
        let now = self.clock(around.at);
        let view = View {
            everything: &|| self.core.everything(),
            room: self.core.room(),
        };
        match self.member.protocol.next(&view, now) {
            Next::Call(call) => around.effects.push(Effect::Call(call)),
            Next::Done(result) => {
                if let Ok(committed) = &result {
                    self.refused += committed.refused.len() as u64;
                    self.claimed += committed.claimed.workflows.len() as u64;
                }
                let result = result.map_err(|failure| {
                    assert_ne!(
                        failure,
                        CommitFailure::NameTaken,
                        "no other process has its name"
                    );
                    format!("{failure:?}").into()
                });
                self.turn.committed(&mut self.core, result, now);
                self.act(around);
            }
            Next::Nothing => {}
        }
    }

    /// A call arrives at Redis, unless a fault prevents it.
    pub fn call(&mut self, call: &FleetCall, redis: &mut Redis, at: u64) -> Answer {
        let sender = self.member.sender(call);
        let mut has_lost = false;
        let mut wire = Wire {
            redis,
            at,
            is_cut: at < self.cut_until,
            loses: &mut self.loses,
            has_lost: &mut has_lost,
            loses_claim: &mut self.loses_claim,
            gives_up: &mut self.gives_up,
            late: &mut self.late,
        };
        let answer = wire.make(sender, &call.command);
        if has_lost {
            self.strike(CrashPoint::WithinCommit);
        }
        answer
    }

    pub fn take_answer(&mut self, answer: Answer, at: u64) {
        let now = self.clock(at);
        self.member.rewrites += u64::from(answer == Ok(FleetReply::Registered(true)));
        self.member.protocol.take_answer(answer, now);
    }

    /// The end of a stop.
    pub fn leave(&mut self, around: &mut Around<'_>) {
        let mut reader = self.reader.take();
        // Cut off, the lease ends by itself and the entries come again.
        if !self.turn.is_committing()
            && around.at >= self.cut_until
            && let Some(call) = self.member.protocol.leave()
        {
            let sender = self.member.sender(&call);
            around.redis.execute(sender, &call.command, around.at);
        }
        let (mut loses, mut has_lost) = (None, false);
        let mut unused = Unused::default();
        let mut wire = self.wire(around, &mut loses, &mut has_lost, &mut unused);
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
