//! One run of a fleet: a clock that jumps from one happening to the next, and what must hold at each.

use super::instance::{Answer, Around, Effect, Instance, Known};
use super::redis::{Late, Owner, Redis, Sender};
use super::scenario::{CrashPoint, Fault, FleetScenario};
use super::tally::FleetTally;
use crate::api::{self, Rate};
use crate::encoders::ENCODERS;
use crate::random::Random;
use crate::scenario::{BEGIN, HOUR, MINUTE, MS, Plan, SECOND};
use crate::trace::{self, Ids, Part, Spans, hold_exact, hold_span, hold_whole, sampled};
use farspan::core::event::Value;
use farspan::core::finished::{Notified, Notify, NotifyTrouble};
use farspan::core::ids::{RunKey, SpanId, TraceId};
use farspan::core::log_record::LogRecord;
use farspan::core::outbox::{Batch, ExportOutcome, Exported, OutboxItem, Signal};
use farspan::core::outcome::Abandoned;
use farspan::core::span::{Span, SpanStatus};
use farspan::core::workflow::{StatusEvents, keys_of};
use farspan::core::{Input, Note, Poll, Polled, RunNote, StateNote};
use farspan::store::fleet::{FleetCall, FleetCommand, RunField};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

struct World {
    scenario: Arc<FleetScenario>,
    now: u64,
    random: Random,
    happenings: BinaryHeap<Reverse<(u64, u64)>>,
    by_number: BTreeMap<u64, Happening>,
    next_number: u64,
    next_token: u64,
    redis: Redis,
    /// `None`: the instance is down.
    instances: Vec<Option<Instance>>,
    /// Whether it is down for good.
    gone: Vec<bool>,
    /// How long after a stop it starts again.
    stopping: Vec<Option<u64>>,
    rates: Vec<Rate>,
    /// The first attempt at each workflow.
    by_id: BTreeMap<Box<str>, usize>,
    parts: BTreeMap<SpanId, (usize, Part)>,
    by_run: BTreeMap<RunKey, usize>,
    /// When an instance heard of it first, which may be long before it is stored.
    heard: BTreeMap<RunKey, u64>,
    /// What each encoded span says.
    spans: BTreeMap<Arc<[u8]>, Span>,
    /// What the collector has.
    arrived: BTreeMap<SpanId, Arc<[u8]>>,
    /// What each encoded log record says, and those that the collector has.
    log_records: BTreeMap<Arc<[u8]>, LogRecord>,
    arrived_records: BTreeSet<Arc<[u8]>>,
    /// What was told of the ends of runs.
    told: BTreeMap<RunKey, Arc<[u8]>>,
    /// What everybody waits for at the latest.
    latest: u64,
    quiet_since: Option<u64>,
    /// Steps since time has passed.
    standing: u64,
    tally: FleetTally,
}

enum Happening {
    Publish(usize),
    /// An instance may find new entries in the stream.
    Look(usize),
    Answered(Owner, Polled),
    Arrives(Owner, Batch),
    Exported(Owner, Exported),
    Told(Owner, Notify),
    Notified(Owner, Notified),
    Fault(Fault),
    Late(Late),
    /// A call of the store arrives at Redis.
    Called(Owner, FleetCall),
    /// Its answer arrives.
    CallAnswered(Owner, Answer),
    Wake(Owner, Option<u64>),
    Start(usize),
    /// Events that no instance has taken are published again.
    Again,
}

pub fn run(scenario: FleetScenario) -> FleetTally {
    let mut world = World::new(Arc::new(scenario));
    while world.step() {}
    world.hold_at_the_end();
    world.tally
}

impl World {
    fn new(scenario: Arc<FleetScenario>) -> Self {
        let base = &scenario.base;
        let plans = base.plans.iter().zip(0..);
        let run = |plan: &Plan| {
            let monitor = &base.settings.monitors[plan.monitor];
            keys_of(&plan.event, &monitor.naming).1
        };
        let ends = base.plans.iter().map(|plan| plan.course.end);
        let comings = base.events.iter().map(|(at, _)| *at);
        let latest = ends.chain(comings).chain([base.faults_end]).max();
        let mut world = World {
            now: BEGIN,
            random: Random::new(!base.seed),
            happenings: BinaryHeap::new(),
            by_number: BTreeMap::new(),
            next_number: 0,
            next_token: 0,
            redis: Redis::default(),
            instances: (0..scenario.instances).map(|_| None).collect(),
            gone: vec![false; scenario.instances],
            stopping: vec![None; scenario.instances],
            rates: base.hosts.iter().map(|_| Rate::default()).collect(),
            parts: trace::parts(base),
            by_id: base.firsts(),
            heard: BTreeMap::new(),
            by_run: plans.map(|(plan, n)| (run(plan), n)).collect(),
            spans: BTreeMap::new(),
            arrived: BTreeMap::new(),
            log_records: BTreeMap::new(),
            arrived_records: BTreeSet::new(),
            told: BTreeMap::new(),
            latest: latest.unwrap_or(BEGIN),
            quiet_since: None,
            standing: 0,
            tally: FleetTally::default(),
            scenario: scenario.clone(),
        };
        for who in 0..scenario.instances {
            let at = BEGIN + world.random.between(0, 3 * SECOND);
            world.plan(at, Happening::Start(who));
        }
        for &(at, plan) in &base.events {
            world.plan(at, Happening::Publish(plan));
        }
        for &(at, fault) in &scenario.faults {
            world.plan(at, Happening::Fault(fault));
        }
        world.plan(base.faults_end, Happening::Again);
        world
    }

    fn plan(&mut self, at: u64, happening: Happening) {
        self.happenings.push(Reverse((at, self.next_number)));
        self.by_number.insert(self.next_number, happening);
        self.next_number += 1;
    }

    /// Goes on to what is next. False when all is over.
    fn step(&mut self) -> bool {
        let before = self.now;
        let next = self.happenings.peek().map(|Reverse((at, _))| *at);
        let awake = self.instances.iter().enumerate().filter_map(|(who, it)| {
            let it = it.as_ref().filter(|it| it.asleep_until.is_none())?;
            Some((it.next_deadline(), who))
        });
        let deadline = awake.min();
        match (next, deadline) {
            (None, None) => panic!("no instance is left"),
            (Some(next), deadline) if deadline.is_none_or(|(at, _)| next <= at) => {
                let Some(Reverse((at, number))) = self.happenings.pop() else {
                    return false;
                };
                self.now = self.now.max(at);
                if let Some(happening) = self.by_number.remove(&number) {
                    self.happen(happening);
                }
            }
            (_, Some((at, who))) => {
                self.now = self.now.max(at);
                self.turn(who, Vec::new());
            }
            (Some(_), None) => {}
        }
        self.standing = match before == self.now {
            true => self.standing + 1,
            false => 0,
        };
        assert!(
            self.standing < 10_000,
            "time stands still: {}",
            self.state()
        );
        assert!(
            self.now < self.latest + 3 * HOUR + 8 * nanos(self.scenario.lease),
            "it does not come to an end: {}",
            self.state()
        );
        !self.is_over()
    }

    fn state(&self) -> String {
        let of = |it: &Instance| {
            let reader = it.reader.as_ref();
            format!(
                "{:?}: {} watched, {} spans wait, {} mine, {} entries held, asleep {:?}; ",
                it.member.owner,
                it.core.watched(),
                it.core.spans_waiting(),
                it.member.protocol.owned(),
                reader.map_or(0, |reader| reader.entries.held()),
                it.asleep_until
            )
        };
        let instances: String = self.instances.iter().flatten().map(of).collect();
        format!(
            "{instances}{} runs, {} entries pending",
            self.redis.runs.len(),
            self.redis.stream.pending.len()
        )
    }

    fn is_over(&mut self) -> bool {
        let now = self.now;
        let idle = |it: &Instance| {
            let is_well = it.asleep_until.is_none() && it.cut_until <= now && it.is_unfenced(now);
            is_well && it.is_idle()
        };
        // Leases are renewed for ever.
        let is_call =
            |h: &Happening| matches!(h, Happening::Called(..) | Happening::CallAnswered(..));
        let quiet = self.by_number.values().all(is_call)
            && self.instances.iter().flatten().all(idle)
            && self.redis.runs.is_empty()
            && self.redis.stream.pending.is_empty()
            && self.redis.stream.is_read();
        if !quiet {
            self.quiet_since = None;
            return false;
        }
        let since = *self.quiet_since.get_or_insert(self.now);
        self.now >= since + 3 * nanos(self.scenario.lease)
    }

    fn of_owner(&self, owner: Owner) -> Option<&Instance> {
        let there = self.instances[owner.0].as_ref();
        there.filter(|it| it.member.owner == owner)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Publish(plan) => self.publish(plan),
            Happening::Look(who) => self.turn(who, Vec::new()),
            Happening::Answered(owner, mut polled) => {
                if let Some(it) = self.of_owner(owner) {
                    polled.received = it.clock(self.now);
                    self.hear(owner.0, Input::Polled(polled));
                }
            }
            Happening::Exported(owner, exported) => {
                if self.of_owner(owner).is_some() {
                    self.hear(owner.0, Input::Exported(exported));
                }
            }
            Happening::Arrives(owner, batch) => self.arrive(owner, batch),
            Happening::Told(owner, notify) => self.tell(owner, notify),
            Happening::Notified(owner, notified) => {
                if self.of_owner(owner).is_some() {
                    self.hear(owner.0, Input::Notified(notified));
                }
            }
            Happening::Fault(fault) => self.fault(fault),
            Happening::Late(late) => match self.redis.arrives_late(&late, self.now) {
                true => self.tally.late_scripts += 1,
                false => self.tally.stale_scripts += 1,
            },
            Happening::Called(owner, call) => self.called(owner, &call),
            Happening::CallAnswered(owner, answer) => self.call_answered(owner, answer),
            Happening::Wake(owner, slept) => {
                if self.of_owner(owner).is_some()
                    && let Some(it) = &mut self.instances[owner.0]
                {
                    it.asleep_until = None;
                    it.oversleep(slept.unwrap_or(0));
                    let mut inputs = std::mem::take(&mut it.deferred);
                    if let Some(answer) = it.deferred_answer.take() {
                        it.take_answer(answer, self.now);
                    }
                    // It reads its clock now.
                    let received = it.clock(self.now);
                    for input in &mut inputs {
                        if let Input::Polled(polled) = input {
                            polled.received = received;
                        }
                    }
                    self.turn(owner.0, inputs);
                }
            }
            Happening::Start(who) => self.start(who),
            Happening::Again => self.publish_again(),
        }
    }

    fn hear(&mut self, who: usize, input: Input) {
        match &mut self.instances[who] {
            Some(it) if it.asleep_until.is_some() => it.deferred.push(input),
            _ => self.turn(who, vec![input]),
        }
    }

    fn start(&mut self, who: usize) {
        assert!(self.instances[who].is_none());
        self.next_token += 1;
        let token = self.next_token;
        let it = Instance::start(who, token, &self.scenario, self.now, &mut self.random);
        self.instances[who] = Some(it);
        self.stopping[who] = None;
        self.turn(who, Vec::new());
    }

    fn publish(&mut self, plan: usize) {
        let scenario = self.scenario.clone();
        let event = &scenario.base.plans[plan].event;
        if scenario.has_stream {
            self.redis.stream.add(event.clone());
            for who in 0..scenario.instances {
                let at = self.now + self.random.between(0, 100 * MS);
                self.plan(at, Happening::Look(who));
            }
        }
        if !scenario.has_channel {
            return;
        }
        for who in 0..scenario.instances {
            let now = self.now;
            let Some(it) = &mut self.instances[who] else {
                continue;
            };
            // What comes while it is stopped may wait in its socket, for a while.
            let asleep = it.asleep_until.is_some_and(|until| until > now + HOUR);
            if now >= it.cut_until && !asleep && !self.random.chance(scenario.deaf) {
                it.events.push_back(event.clone());
                self.turn(who, Vec::new());
            }
        }
    }

    fn publish_again(&mut self) {
        let scenario = self.scenario.clone();
        let by_run = self.by_run.clone();
        let mut all = true;
        for (run, plan) in by_run {
            if !self.is_taken(run, plan) {
                self.publish(plan);
                all = false;
            }
        }
        let is_coming = self.by_number.values().any(|h| {
            matches!(
                h,
                Happening::Publish(_) | Happening::Start(_) | Happening::Wake(..)
            )
        });
        if !all || is_coming || !scenario.base.events.iter().all(|(at, _)| *at <= self.now) {
            self.plan(self.now + 2 * MINUTE, Happening::Again);
        }
    }

    /// Whether an instance has it. One that is not sampled and that a later attempt has ended at once need not be
    /// anywhere.
    fn is_taken(&self, run: RunKey, plan: usize) -> bool {
        let base = &self.scenario.base;
        let plan = &base.plans[plan];
        let naming = &base.settings.monitors[plan.monitor].naming;
        let may_lack = plan.later.is_some() && !sampled(plan, base) && !naming.notifies;
        // One that is superseded in the turn that hears of it has no record.
        let is_told = self.told.contains_key(&run);
        may_lack || is_told || self.redis.ledger.accepted.contains(&run)
    }

    /// What an instance does with this input, or with the time that has passed.
    fn turn(&mut self, who: usize, inputs: Vec<Input>) {
        let Some(it) = &mut self.instances[who] else {
            return;
        };
        if it.asleep_until.is_some() {
            return;
        }
        let mut around = Around {
            redis: &mut self.redis,
            at: self.now,
            effects: Vec::new(),
        };
        it.turn(inputs, &mut around);
        let (owner, struck, stopped) = (it.member.owner, it.struck, it.has_stopped(self.now));
        let effects = around.effects;
        for effect in effects {
            self.take(owner, effect);
        }
        if let Some(point) = struck {
            self.tally.crashes[point as usize] += 1;
            self.end_instance(who);
        } else if stopped {
            let mut around = Around {
                redis: &mut self.redis,
                at: self.now,
                effects: Vec::new(),
            };
            if let Some(it) = &mut self.instances[who] {
                it.leave(&mut around);
            }
            self.tally.crashes[6] += 1;
            self.end_instance(who);
        }
        self.redis.check();
    }

    fn end_instance(&mut self, who: usize) {
        let Some(it) = self.instances[who].take() else {
            return;
        };
        self.count(&it);
        self.redis.ledger.died(it.member.owner);
        let last = self.gone.iter().filter(|gone| !**gone).count() == 1;
        match self.stopping[who].take() {
            Some(down) => self.plan(self.now + down, Happening::Start(who)),
            None if last => self.plan(self.now + MINUTE, Happening::Start(who)),
            None => self.gone[who] = true,
        }
    }

    fn count(&mut self, it: &Instance) {
        self.tally.refused += it.refused;
        self.tally.claimed += it.claimed;
        self.tally.rejoined += it.member.rewrites.saturating_sub(1);
    }

    fn fault(&mut self, fault: Fault) {
        if self.now >= self.scenario.base.faults_end {
            return;
        }
        // Redis losing writes while their owner ends too is excluded: owners write them again first.
        if !self.redis.ledger.exposed.is_empty() {
            return self.plan(self.now + SECOND, Happening::Fault(fault));
        }
        let now = self.now;
        let (who, later) = match fault {
            Fault::Flush => return self.flush(),
            Fault::Crash(who, _, down) | Fault::Stop(who, down) => (who, down),
            Fault::Freeze(who, length) | Fault::Sleep(who, length) | Fault::Cut(who, length) => {
                (who, Some(length))
            }
            Fault::LoseAnswer(who, ..) | Fault::LoseClaim(who) | Fault::GiveUp(who, _) => {
                (who, None)
            }
        };
        let Some(it) = &mut self.instances[who] else {
            return;
        };
        let owner = it.member.owner;
        if it.stops_at.is_some() {
            return;
        }
        match fault {
            Fault::Crash(_, CrashPoint::Anywhere, _) => {
                self.stopping[who] = later;
                self.tally.crashes[CrashPoint::Anywhere as usize] += 1;
                self.end_instance(who);
            }
            Fault::Crash(_, point, _) => {
                it.armed = Some(point);
                if point == CrashPoint::WithinCommit {
                    it.loses = Some(self.random.between(0, 3) as u32);
                }
                self.stopping[who] = later;
            }
            Fault::Stop(..) if it.asleep_until.is_none() => {
                (it.stops_at, it.armed) = (Some(now + 20 * SECOND), None);
                self.stopping[who] = later;
                self.turn(who, vec![Input::Drain]);
            }
            // Done runs are known for a day: what was heard and not stored before a longer silence is taken for new.
            Fault::Freeze(_, length) | Fault::Sleep(_, length)
                if length > DAY && !it.has_stored_all() =>
            {
                self.plan(now + 10 * MS, Happening::Fault(fault));
            }
            Fault::Freeze(_, length) | Fault::Sleep(_, length) if it.asleep_until.is_none() => {
                it.asleep_until = Some(now + length);
                let slept = matches!(fault, Fault::Sleep(..)).then_some(length);
                match slept {
                    Some(_) => self.tally.sleeps += 1,
                    None => self.tally.freezes += 1,
                }
                self.latest = self.latest.max(now + length);
                self.plan(now + length, Happening::Wake(owner, slept));
            }
            Fault::Cut(_, length) => {
                it.cut_until = now + length;
                self.tally.cuts += 1;
            }
            Fault::GiveUp(_, scripts) => it.gives_up = Some(scripts),
            Fault::LoseClaim(_) => {
                it.loses_claim = true;
                self.tally.answers_lost += 1;
            }
            Fault::LoseAnswer(_, calls, of_stream) => {
                let loses = match of_stream {
                    true => &mut it.loses_reading,
                    false => &mut it.loses,
                };
                *loses = Some(calls);
                self.tally.answers_lost += 1;
            }
            _ => {}
        }
    }

    fn flush(&mut self) {
        let now = self.now;
        let well = |it: &Instance| {
            it.asleep_until.is_none() && it.is_sure() && it.cut_until <= now && it.is_unfenced(now)
        };
        if !self.instances.iter().flatten().all(well) {
            return self.plan(now + SECOND, Happening::Fault(Fault::Flush));
        }
        let mut known: Vec<(Owner, Known)> = Vec::new();
        for it in self.instances.iter_mut().flatten() {
            (it.armed, it.loses, it.loses_reading) = (None, None, None);
            (it.loses_claim, it.gives_up) = (false, None);
            known.push((it.member.owner, it.knows()));
        }
        let known_by = |run: RunKey, is_done: bool| {
            let knows = |known: &Known| match is_done {
                true => known.done.contains(&run),
                false => known.held.contains(&run) || known.done.contains(&run),
            };
            let knowing = known.iter().filter(|(_, known)| knows(known));
            knowing.map(|(owner, _)| *owner).collect()
        };
        self.redis.flush_all(known_by, now);
        self.tally.flushes += 1;
    }

    fn take(&mut self, owner: Owner, effect: Effect) {
        match effect {
            Effect::Call(call) => {
                let at = self.now + self.call_latency();
                self.plan(at, Happening::Called(owner, call));
            }
            Effect::Poll(poll) => self.polled(owner, poll),
            Effect::Finished(span) => self.finished(*span),
            Effect::Logged(record) => self.logged(record),
            Effect::Send(batch) => self.sent(owner, batch),
            Effect::Tell(notify) => self.leaves(owner, notify),
            Effect::Note(note) => self.noted(&note),
        }
    }

    /// How long a call or its answer is on its way.
    fn call_latency(&mut self) -> u64 {
        self.random.between(0, self.scenario.call_latency_max)
    }

    fn called(&mut self, owner: Owner, call: &FleetCall) {
        let lease = nanos(self.scenario.lease);
        let it = self.instances[owner.0].as_mut();
        let Some(it) = it.filter(|it| it.member.owner == owner) else {
            // Its sender ended while the call was on its way.
            let is_write = matches!(
                call.command,
                FleetCommand::Commit(_) | FleetCommand::Claim(_)
            );
            if is_write && self.random.chance(0.5) {
                let sender = Sender {
                    owner,
                    connection: call.connection,
                    lease,
                };
                self.redis.execute(sender, &call.command, self.now);
            }
            return;
        };
        let answer = it.call(call, &mut self.redis, self.now);
        let struck = it.struck;
        for late in std::mem::take(&mut it.late) {
            let at = self.now + self.random.magnitude(MS, 2 * lease);
            self.plan(at, Happening::Late(late));
        }
        self.redis.check();
        if let Some(point) = struck {
            self.tally.crashes[point as usize] += 1;
            return self.end_instance(owner.0);
        }
        let latency = match answer {
            Ok(_) => self.call_latency(),
            Err(_) => self.random.between(0, PATIENCE.min(lease / 4)),
        };
        self.plan(self.now + latency, Happening::CallAnswered(owner, answer));
    }

    fn call_answered(&mut self, owner: Owner, answer: Answer) {
        let now = self.now;
        let it = self.instances[owner.0].as_mut();
        let Some(it) = it.filter(|it| it.member.owner == owner) else {
            return;
        };
        if it.asleep_until.is_some() {
            it.deferred_answer = Some(answer);
        } else {
            it.take_answer(answer, now);
            self.turn(owner.0, Vec::new());
        }
    }

    fn digest(&mut self, kind: u64, number: u64) {
        for word in [kind, number, self.now] {
            let mixed = self.tally.digest.rotate_left(5) ^ word;
            self.tally.digest = mixed.wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }

    fn polled(&mut self, owner: Owner, poll: Poll) {
        self.digest(1, owner.1 << 32 | u64::from(poll.slot));
        let scenario = self.scenario.clone();
        let Some(sent) = self.of_owner(owner).map(|it| it.clock(self.now)) else {
            return;
        };
        let plan = self.by_id[&*poll.workflow_id];
        let rate = &mut self.rates[scenario.base.plans[plan].host];
        let reply = api::reply(&scenario.base, plan, rate, self.now, &mut self.random);
        let polled = |answer| Polled {
            slot: poll.slot,
            generation: poll.generation,
            sent,
            received: sent,
            date: reply.date,
            requests: 1,
            not_modified: 0,
            pause: None,
            answer,
        };
        let at = self.now + reply.latency;
        if let Some((later, answer)) = reply.late {
            self.plan(at + later + 1, Happening::Answered(owner, polled(answer)));
        }
        self.plan(at, Happening::Answered(owner, polled(reply.answer)));
    }

    fn finished(&mut self, span: Span) {
        let scenario = self.scenario.clone();
        let known = self.parts.get(&span.span_id);
        let (plan, part) = known.unwrap_or_else(|| panic!("a span of nothing: {span:?}"));
        let plan = &scenario.base.plans[*plan];
        hold_span(&span, part, plan, &scenario.base);
        assert!(sampled(plan, &scenario.base));
        self.spans.insert((ENCODERS.span)(&span), span);
    }

    fn logged(&mut self, record: LogRecord) {
        let scenario = self.scenario.clone();
        let (plan, part) = &self.parts[&record.span_id];
        let plan = &scenario.base.plans[*plan];
        let naming = &scenario.base.settings.monitors[plan.monitor].naming;
        assert!(naming.status_events.are_logged() && sampled(plan, &scenario.base));
        assert!(matches!(part, Part::Workflow | Part::Stage(_)), "{part:?}");
        assert_eq!(record.trace_id, Ids::of(plan, &scenario.base).trace);
        self.log_records
            .insert((ENCODERS.log_record)(&record), record);
    }

    /// A batch is handed to the exporter.
    fn sent(&mut self, owner: Owner, batch: Batch) {
        let kind = 2 + 10 * u64::from(batch.signal == Signal::Logs);
        self.digest(kind, owner.1 << 32 | batch.items.len() as u64);
        assert!(!batch.items.is_empty());
        for item in &batch.items {
            assert_eq!(item.signal, batch.signal);
            self.hold_sent(owner, item);
        }
        let latency = self.scenario.base.collector.latency_max / 2;
        let at = self.now + self.random.between(0, latency);
        self.plan(at, Happening::Arrives(owner, batch));
    }

    /// It was made, it is stored, and its sender owns it.
    fn hold_sent(&self, owner: Owner, item: &OutboxItem) {
        let shown = String::from_utf8_lossy(&item.bytes);
        let service = match item.signal {
            Signal::Traces => &self.spans[&item.bytes].service,
            Signal::Logs => &self.log_records[&item.bytes].service,
        };
        let monitor = service.as_ref().map(|s| s.monitor.clone());
        assert_eq!(item.monitor, monitor);
        let ledger = &self.redis.ledger;
        assert!(
            ledger.stored.contains(&item.bytes),
            "exported before it was stored: {shown}"
        );
        let is_lost = ledger.exposed.contains_key(&item.run) || ledger.excused.contains(&item.run);
        let there = self.redis.runs.get(&item.run);
        // Of two incarnations of one name the newer has replaced the older.
        let is_ours = there.is_some_and(|there| {
            let field = RunField::Item {
                signal: item.signal,
                sequence: item.sequence,
                monitor: item.monitor.clone(),
            };
            there.owner == owner && there.fields.get(&field) == Some(&item.bytes)
        });
        assert!(
            is_ours || is_lost,
            "exported, and in the store it is of {:?}: {shown}",
            there.map(|there| there.owner),
        );
    }

    /// Finished events are handed to the notifier.
    fn leaves(&mut self, owner: Owner, notify: Notify) {
        self.digest(3, owner.1 << 32 | notify.notifications.len() as u64);
        let ledger = &self.redis.ledger;
        for it in &notify.notifications {
            let plan = &self.scenario.base.plans[self.by_run[&it.run]];
            let naming = &self.scenario.base.settings.monitors[plan.monitor].naming;
            assert!(naming.notifies, "its monitor sends no finished events");
            assert_eq!(*it.monitor, *naming.monitor);
            assert!(
                ledger.stored.contains(&it.bytes),
                "told before it was stored"
            );
            let lost = ledger.exposed.contains_key(&it.run) || ledger.excused.contains(&it.run);
            let is_ours = self.redis.runs.get(&it.run).is_some_and(|there| {
                let field = RunField::FinishedEvent {
                    sequence: it.sequence,
                    monitor: it.monitor.clone(),
                };
                there.owner == owner && there.fields.get(&field) == Some(&it.bytes)
            });
            assert!(is_ours || lost, "told, and in the store it is another's");
        }
        let latency = self.scenario.base.collector.latency_max / 2;
        let at = self.now + self.random.between(0, latency);
        self.plan(at, Happening::Told(owner, notify));
    }

    /// They are with the receiver, unless their sender's end was first.
    fn tell(&mut self, owner: Owner, notify: Notify) {
        let asleep_until = self.of_owner(owner).and_then(|it| it.asleep_until);
        let is_gone = self.of_owner(owner).is_none();
        if let Some(until) = asleep_until
            && self.random.chance(0.5)
        {
            return self.plan(until + 1, Happening::Told(owner, notify));
        }
        if is_gone && self.random.chance(0.5) {
            return;
        }
        let scenario = self.scenario.clone();
        let (base, faults) = (&scenario.base, &scenario.base.collector);
        let faulty = self.now < base.faults_end;
        let down = |(from, to): &(u64, u64)| (*from..*to).contains(&self.now);
        let is_down = faulty && faults.outages.iter().any(down);
        let mut notified = Notified {
            monitor: notify.monitor,
            batch: notify.batch,
            taken: Vec::new(),
            refused: Vec::new(),
            trouble: None,
        };
        for it in notify.notifications {
            let fails = is_down || (faulty && self.random.chance(faults.retry));
            if !fails || self.random.chance(faults.unacknowledged) {
                self.told(it.run, it.bytes);
            }
            if fails {
                notified.trouble = Some(NotifyTrouble {
                    reason: "503".into(),
                    retry_after: None,
                });
                break;
            }
            notified.taken.push(it.run);
        }
        let at = self.now + self.random.between(0, faults.latency_max / 2);
        self.plan(at, Happening::Notified(owner, notified));
    }

    fn told(&mut self, run: RunKey, bytes: Arc<[u8]>) {
        let is_excused = self.redis.ledger.excused.contains(&run);
        match self.told.insert(run, bytes.clone()) {
            None => self.tally.announced += 1,
            Some(known) => {
                assert!(is_excused || known == bytes, "a run with two ends");
                self.tally.announced_again += 1;
            }
        }
    }

    /// It is at the collector, unless its sender's end was first.
    fn arrive(&mut self, owner: Owner, batch: Batch) {
        let scenario = self.scenario.clone();
        let (base, faults) = (&scenario.base, &scenario.base.collector);
        let sender = self.of_owner(owner);
        let asleep_until = sender.and_then(|it| it.asleep_until);
        let is_gone = sender.is_none();
        if let Some(until) = asleep_until
            && self.random.chance(0.5)
        {
            // It had not left, and leaves when the sender wakes.
            return self.plan(until + 1, Happening::Arrives(owner, batch));
        }
        if is_gone && self.random.chance(0.5) {
            return;
        }
        let r = &mut self.random;
        let faulty = self.now < base.faults_end;
        let down = |(from, to): &(u64, u64)| (*from..*to).contains(&self.now);
        let retry = ExportOutcome::Retry {
            reason: "503".into(),
            retry_after: None,
        };
        let delivered = ExportOutcome::Delivered {
            rejected: 0,
            message: "".into(),
        };
        let (arrives, outcome) = if faulty && faults.outages.iter().any(down) {
            (false, retry)
        } else if faulty && batch.items.len() > faults.spans_max.max(1) {
            let message = "413".into();
            (false, ExportOutcome::TooLarge { message })
        } else if faulty && r.chance(faults.retry) {
            (r.chance(faults.unacknowledged), retry)
        } else {
            (true, delivered)
        };
        let at = self.now + r.between(0, faults.latency_max / 2);
        let exported = Exported {
            signal: batch.signal,
            batch: batch.id,
            outcome,
        };
        self.plan(at, Happening::Exported(owner, exported));
        if !arrives {
            return;
        }
        let is_late = !self
            .of_owner(owner)
            .is_some_and(|it| it.is_unfenced(self.now));
        self.tally.late_batches += u64::from(is_late);
        if batch.signal == Signal::Logs {
            return self.take_log_records(batch);
        }
        for span in batch.items {
            let Some(id) = self.spans.get(&span.bytes).map(|span| span.span_id) else {
                panic!("this span was never finished");
            };
            if self.redis.ledger.excused.contains(&span.run) {
                self.arrived.insert(id, span.bytes);
                continue;
            }
            match self.arrived.get(&id) {
                None => drop(self.arrived.insert(id, span.bytes)),
                Some(known) => {
                    let spans = (self.spans.get(known), self.spans.get(&span.bytes));
                    assert_eq!(spans.0, spans.1, "a span id with two contents");
                    assert_eq!(*known, span.bytes);
                    self.tally.again += 1;
                }
            }
        }
    }

    fn take_log_records(&mut self, batch: Batch) {
        for item in batch.items {
            let is_new = self.arrived_records.insert(item.bytes);
            self.tally.log_records += u64::from(is_new);
            self.tally.log_records_again += u64::from(!is_new);
        }
    }

    fn noted(&mut self, note: &Note) {
        let (workflow_id, what) = match note {
            Note::State(StateNote::Unreadable { why, .. }) => panic!("not restored: {why}"),
            Note::Run {
                workflow_id, what, ..
            } => (workflow_id, what),
            _ => return,
        };
        match what {
            RunNote::Watching(trace_id) => {
                for plan in self.attempts(workflow_id, *trace_id) {
                    let run = self.run_of(&self.scenario.base.plans[plan]);
                    self.heard.entry(run).or_insert(self.now);
                }
            }
            RunNote::Shed => panic!("{workflow_id} was shed"),
            RunNote::Ended {
                trace_id,
                abandoned,
                ..
            } => {
                let attempts = self.attempts(workflow_id, *trace_id);
                let plans = attempts.iter().map(|plan| &self.scenario.base.plans[*plan]);
                let may_end = |plan: &Plan| self.may_end(plan, *abandoned);
                assert!(
                    plans.into_iter().any(may_end),
                    "{workflow_id}: {abandoned:?}"
                );
            }
            _ => {}
        }
    }

    /// The attempts at a workflow that this trace may be of: several where they share a parent's.
    fn attempts(&self, workflow_id: &str, trace_id: TraceId) -> Vec<usize> {
        let plans = &self.scenario.base.plans;
        let first = self.by_id[workflow_id];
        std::iter::successors(Some(first), |plan| plans[*plan].later)
            .filter(|plan| Ids::of(&plans[*plan], &self.scenario.base).trace == trace_id)
            .collect()
    }

    /// Whether it may end like that now.
    fn may_end(&self, plan: &Plan, abandoned: Option<Abandoned>) -> bool {
        let monitor = &self.scenario.base.settings.monitors[plan.monitor];
        match abandoned {
            Some(Abandoned::NotFound) => !plan.exists,
            Some(Abandoned::TimedOut) => self.heard.get(&self.run_of(plan)).is_some_and(|first| {
                // The deadline is by the wall clock of the instance that heard of it first.
                self.now + 5 * SECOND - first >= nanos(monitor.pace.timeout)
            }),
            Some(Abandoned::Superseded) => plan.later.is_some(),
            None => self.now >= plan.course.end,
        }
    }

    fn run_of(&self, plan: &Plan) -> RunKey {
        let monitor = &self.scenario.base.settings.monitors[plan.monitor];
        keys_of(&plan.event, &monitor.naming).1
    }

    fn hold_at_the_end(&mut self) {
        for it in std::mem::take(&mut self.instances).into_iter().flatten() {
            self.count(&it);
            let owner = it.member.owner;
            assert!(
                self.redis.is_valid(owner, self.now),
                "the lease of {owner:?} is valid"
            );
            self.redis.owners.remove(&owner);
        }
        assert!(self.redis.owners.is_empty(), "expired owners own nothing");
        assert!(self.redis.runs_of.values().all(BTreeSet::is_empty));
        let scenario = self.scenario.clone();
        for (index, plan) in scenario.base.plans.iter().enumerate() {
            let run = self.run_of(plan);
            assert!(self.is_taken(run, index));
            self.tally.workflows += 1;
            if self.redis.ledger.excused.contains(&run) {
                self.tally.excused += 1;
            } else {
                self.hold_trace(index);
            }
        }
        self.hold_log_records();
        self.tally.runs = 1;
        self.tally.simulated_ns = self.now - BEGIN;
        self.tally.spans = self.arrived.len() as u64;
    }

    /// The collector has each log record that was stored.
    fn hold_log_records(&self) {
        let ledger = &self.redis.ledger;
        for (bytes, record) in &self.log_records {
            let (plan, _) = self.parts[&record.span_id];
            let run = self.run_of(&self.scenario.base.plans[plan]);
            let is_due = ledger.stored.contains(bytes) && !ledger.excused.contains(&run);
            assert!(
                !is_due || self.arrived_records.contains(bytes),
                "it is lost: {record:?}"
            );
        }
    }

    /// The collector has one whole trace of it.
    fn hold_trace(&mut self, index: usize) {
        let scenario = self.scenario.clone();
        let base = &scenario.base;
        let plan = &base.plans[index];
        let of_plan = |(id, (of, part)): (&SpanId, &(usize, Part))| {
            let bytes = self.arrived.get(id).filter(|_| *of == index)?;
            Some((part.clone(), &self.spans[bytes]))
        };
        let naming = &base.settings.monitors[plan.monitor].naming;
        let is_told = self.told.contains_key(&self.run_of(plan));
        assert_eq!(is_told, naming.notifies, "its end");
        let spans: Spans<'_> = self.parts.iter().filter_map(of_plan).collect();
        assert_eq!(!spans.is_empty(), sampled(plan, base), "its trace");
        if spans.is_empty() {
            return;
        }
        hold_whole(&spans, plan, base);
        for (part, span) in &spans {
            if matches!(part, Part::Workflow | Part::Stage(_)) {
                self.hold_told(span, naming.status_events);
            }
        }
        let root = spans[&Part::Workflow];
        let given_up = [
            Abandoned::TimedOut,
            Abandoned::NotFound,
            Abandoned::Superseded,
        ]
        .map(|why| SpanStatus::Error(why.message().into()));
        if !given_up.contains(&root.status) {
            hold_exact(&spans, plan, base);
            self.tally.exact += 1;
            let statuses = self.logged_of(root.span_id);
            let on_span = root.events.iter().map(|event| &*event.name);
            let mut all = statuses.into_iter().chain(on_span);
            assert!(
                all.any(|status| status == "Ended"),
                "its last status: {root:?}"
            );
        }
    }

    /// Each change of status is told once, where the monitor wants it.
    fn hold_told(&self, span: &Span, wanted: StatusEvents) {
        let names = span.events.iter().map(|event| &*event.name);
        let mut on_span: Vec<&str> = names.filter(|name| *name != "Submitted").collect();
        let mut logged = self.logged_of(span.span_id);
        on_span.sort_unstable();
        logged.sort_unstable();
        for told in [&on_span, &logged] {
            let is_twice = told.windows(2).any(|pair| pair[0] == pair[1]);
            assert!(!is_twice, "a status told twice, {logged:?}: {span:?}");
        }
        assert!(wanted.are_on_span() || on_span.is_empty(), "{span:?}");
        assert!(wanted.are_logged() || logged.is_empty(), "{logged:?}");
        if wanted.are_on_span() && wanted.are_logged() {
            assert_eq!(on_span, logged, "{span:?}");
        }
    }

    /// The statuses in the log records that the collector has of this span.
    fn logged_of(&self, span: SpanId) -> Vec<&str> {
        let records = self.arrived_records.iter();
        let records = records.map(|bytes| &self.log_records[bytes]);
        let of_span = records.filter(|record| record.span_id == span);
        of_span
            .map(|record| {
                let mut attributes = record.attributes.iter();
                match attributes.find(|(key, _)| **key == *"farspan.status") {
                    Some((_, Value::Str(status))) => &**status,
                    _ => panic!("without a status: {record:?}"),
                }
            })
            .collect()
    }
}

const DAY: u64 = 24 * HOUR;
/// How long a call waits for its answer at most.
const PATIENCE: u64 = 2 * SECOND;

fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}
