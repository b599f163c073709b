//! The pure core: every decision farspan takes, and nothing else.
//!
//! ```text
//! StartEvent -> table + wheel -> Poll -> Snapshot -> Span -> Batch -> ExportOutcome
//! ```
//!
//! Pure: no clock, no I/O, no channels, no threads, no serde. Time comes in as an argument, trouble comes in as an
//! [`Input`], what is to be done goes out as an [`Action`]; nothing here fails, blocks or looks anything up. The loop
//! drives it in production and a simulation drives it through thousands of hours, and neither can tell.

mod api;
pub mod backoff;
pub mod event;
pub mod finished;
mod hosts;
pub mod ids;
pub mod lateness;
pub mod limits;
mod listing;
mod note;
pub mod notification;
pub mod outbox;
pub mod outcome;
pub mod pace;
pub(crate) mod pieces;
pub mod poll_failure;
pub mod rate;
pub mod sampler;
pub mod snapshot;
pub mod span;
pub mod table;
pub mod time;
mod trouble;
pub mod wheel;
pub mod workflow;

pub use api::{
    Action, Answer, Change, Encoders, Input, Listing, Monitor, Poll, Polled, Refusal, Settings,
    Stored,
};
use backoff::Jitter;
use event::StartEvent;
use finished::{Notification, Notified};
use hosts::{Gate, Hosts, PollTurn};
use ids::{RunKey, RunsBy};
pub use note::{Counters, Note};
use notification::Notifications;
use outbox::{EncodedSpan, ExportOutcome, Outbox, Settled};
use outcome::{Abandoned, Outcome};
pub use pace::{Adaptive, Pace};
pub use poll_failure::{PollFailure, PollFailureReason};
use snapshot::Snapshot;
use span::Span;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use table::{Phase, Silence, Table, Watch};
use time::{Mono, Now, Wall};
use wheel::Wheel;
use workflow::record::{self, Record};
use workflow::{Verdict, Workflow};

/// See the module.
#[derive(Debug)]
pub struct Core {
    settings: Settings,
    encoders: Encoders,
    table: Table,
    wheel: Wheel,
    hosts: Hosts,
    outbox: Outbox,
    notifications: Notifications,
    jitter: Jitter,
    draining: bool,
    /// Whether polls wait because so many spans do, and because so many finished events do.
    held_for_spans: bool,
    held_for_events: bool,
    store_troubled: bool,
    state_full: bool,
    /// What the records of all watches take in the store, without their keys.
    record_bytes: u64,
    /// Slots whose record is to be written.
    dirty: Vec<u32>,
    changes: Vec<Change>,
    /// Runs with spans on their way to the collector, or with a finished event on its way to its receiver.
    leaving: HashMap<RunKey, Leaving>,
    /// Runs whose stored record cannot be watched: whoever can read it will. At most as many as may be watched.
    not_restored: HashMap<RunKey, NotRestored>,
    actions: VecDeque<Action>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Leaving {
    /// Spans, and the finished event.
    items: usize,
    ended: bool,
    source: Option<Box<str>>,
}

#[derive(Debug)]
struct NotRestored {
    why: Arc<str>,
    /// Whether an event of it was noted.
    noted: bool,
}

impl Core {
    /// A core that watches nothing yet.
    pub fn new(settings: Settings, encoders: Encoders, now: Now) -> Self {
        let receiver = |m: &Monitor| m.naming.notifies.then(|| (*m.naming.monitor).into());
        let receivers = settings.monitors.iter().map(receiver);
        // Unique among instances too, and after whatever an earlier run has left.
        let first_sequence = now.wall.as_unix_ns().unsigned_abs();
        Core {
            table: Table::default(),
            wheel: Wheel::new(now.mono),
            hosts: Hosts::new(&settings.monitors, settings.pollers, now.mono),
            outbox: Outbox::new(settings.batch, first_sequence),
            notifications: Notifications::new(receivers, first_sequence),
            jitter: Jitter::new(settings.seed),
            draining: false,
            held_for_spans: false,
            held_for_events: false,
            store_troubled: false,
            state_full: false,
            record_bytes: 0,
            dirty: Vec::new(),
            changes: Vec::new(),
            leaving: HashMap::new(),
            not_restored: HashMap::new(),
            actions: VecDeque::new(),
            counters: Counters::default(),
            encoders,
            settings,
        }
    }

    /// Remembers finished runs for at least that long, as far as there is room: a source that tells of runs which have
    /// ended tells of them again after a restart. To be said before [`restore`](Self::restore).
    pub fn keep_finished(&mut self, kept: Duration) {
        self.table.keep_finished(kept);
    }

    /// Takes in what happened. What is to be done about it comes from [`next_action`](Self::next_action).
    pub fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::Started(event) => self.start(event, now),
            Input::Polled(polled) => self.take_answer(polled, now),
            Input::Recalled(poll) => self.take_back(&poll),
            Input::Listing(listing) => self.take_listing(listing, now),
            Input::Notified(notified) => self.take_notified(notified, now),
            Input::Exported { batch, outcome } => self.settle(batch, outcome, now),
            Input::StoreTroubled(troubled) => self.store_troubled = troubled,
            Input::Reloaded(paces) => self.change_pace(paces, now),
            Input::Refused(runs) => self.give_up(&runs, now),
            Input::Tick => {}
            Input::Drain => self.draining = true,
        }
        self.ring(now);
        self.dispatch(now);
        if let Some(batch) = self.outbox.next_batch(now.mono, self.draining) {
            self.actions.push_back(Action::Export(batch));
        }
        while let Some(notify) = self.notifications.next(now.mono, self.draining) {
            self.actions.push_back(Action::Notify(notify));
        }
        self.weigh();
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    /// Goes on with what a store held: at the start, and whenever it hands over what another instance has left.
    pub fn restore(&mut self, mut stored: Stored, now: Now) {
        stored.spans.sort_unstable_by_key(|span| span.sequence);
        stored.notifications.sort_unstable_by_key(|it| it.sequence);
        let (mut workflows, spans) = (0, stored.spans.len());
        let notifications = stored.notifications.len();
        let services = self.settings.monitors.iter();
        let services = services.filter_map(|m| Some(m.naming.service.as_ref()?.monitor.clone()));
        let mut names: HashSet<Arc<str>> = services.collect();
        for mut span in stored.spans {
            // Each name once in memory, those of monitors that there are no more too: whoever has them may take the span.
            span.monitor = span.monitor.map(|name| match names.get(&name) {
                Some(known) => known.clone(),
                None => {
                    names.insert(name.clone());
                    name
                }
            });
            self.leaving.entry(span.run).or_default().items += 1;
            self.outbox.restore(span, now.mono);
        }
        self.restore_notifications(stored.notifications);
        // However old: the entry of its event may not be acknowledged yet, and comes again now.
        for (run, _) in stored.finished {
            self.table.remember(run, now.mono);
        }
        self.forget_finished(now);
        let mut reasons: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        for (run, bytes) in stored.workflows {
            let restored = record::decode(&bytes).map_err(|why| why.to_string());
            let restore = |record| self.restore_workflow(record, bytes.len(), now);
            match restored.and_then(restore) {
                Ok(()) => {
                    workflows += 1;
                    self.not_restored.remove(&run);
                }
                Err(why) => {
                    let why: Arc<str> = why.into();
                    *reasons.entry(why.clone()).or_default() += 1;
                    self.leave_alone(run, why);
                }
            }
        }
        for (why, workflows) in reasons {
            let why = (*why).into();
            self.note(Note::NotRestored { workflows, why });
        }
        if spans + notifications > 0 {
            // A collector may be down for longer than a finished run is remembered.
            for (run, leaving) in &mut self.leaving {
                leaving.ended |= self.table.slot_of(*run).is_none();
            }
        }
        if workflows + spans + notifications > 0 {
            self.note(Note::Restored {
                workflows,
                spans,
                notifications,
            });
        }
    }

    fn restore_notifications(&mut self, stored: Vec<Notification>) {
        let mut stranded: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        for notification in stored {
            self.leaving.entry(notification.run).or_default().items += 1;
            let monitor = notification.monitor.clone();
            if !self.notifications.restore(notification) {
                *stranded.entry(monitor).or_default() += 1;
            }
        }
        for (monitor, notifications) in stranded {
            self.note(Note::Stranded {
                monitor,
                notifications,
            });
        }
    }

    /// The changes that would bring an empty store to where things stand.
    pub fn everything(&self, now: Now) -> Vec<Change> {
        let finished = self.table.finished();
        let finished = finished.map(|run| Change::PutFinished(run, now.wall));
        let watches = self.table.iter().map(|(_, watch)| self.put(watch));
        let spans = self.outbox.iter().cloned().map(Change::PutSpan);
        let notifications = self.notifications.iter().cloned();
        let notifications = notifications.map(Change::PutNotification);
        let delivered = finished.chain(watches).chain(spans);
        delivered.chain(notifications).collect()
    }

    /// Whether [`take_changes`](Self::take_changes) has something.
    pub fn has_changes(&self) -> bool {
        !self.changes.is_empty() || !self.dirty.is_empty()
    }

    /// What has changed since this was asked last, for the store.
    pub fn take_changes(&mut self) -> Vec<Change> {
        for slot in std::mem::take(&mut self.dirty) {
            let Some(watch) = self.table.get_mut(slot) else {
                continue;
            };
            if !std::mem::take(&mut watch.dirty) {
                continue;
            }
            let Some(watch) = self.table.get(slot) else {
                continue;
            };
            let record = self.record(watch);
            let run = watch.run();
            self.weigh_record(slot, record.len());
            self.changes.push(Change::PutWorkflow { run, record });
        }
        // Records may have grown.
        self.weigh();
        std::mem::take(&mut self.changes)
    }

    /// What is to be done next. Call it until it says `None`.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`handle`](Self::handle) wants to be called again, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Mono> {
        let poll = self.wheel.next_deadline();
        let outbox = self.outbox.next_deadline(self.draining);
        let notifications = self.notifications.next_deadline(self.draining);
        [poll, self.hosts.next_deadline(), outbox, notifications]
            .into_iter()
            .flatten()
            .min()
    }

    /// Workflows under watch.
    pub fn watched(&self) -> usize {
        self.table.len()
    }

    /// Whether another workflow can be taken under watch. While not, events are to be left where they are.
    pub fn has_room(&self) -> bool {
        let places = self.settings.workflows_max.saturating_sub(self.table.len());
        places > 0 && !self.draining && !self.store_troubled && self.state_has_room()
    }

    /// How many workflows can be taken over from others.
    pub fn room(&self) -> usize {
        match self.draining || !self.state_has_room() {
            true => 0,
            false => {
                let places = self.settings.workflows_max.saturating_sub(self.table.len());
                places.saturating_sub(self.not_restored.len())
            }
        }
    }

    /// Runs of the store that are not watched, because their records cannot be.
    pub fn not_restored(&self) -> impl Iterator<Item = RunKey> {
        self.not_restored.keys().copied()
    }

    /// What the store holds of ours, in bytes: records as they were written last, spans that wait for the collector,
    /// finished runs, and the keys of all these. Records that cannot be read are not counted: nothing that happens
    /// here would free their room.
    pub fn state_bytes(&self) -> u64 {
        if !self.settings.stores {
            return 0;
        }
        let delivered = self.outbox.len() + self.notifications.len();
        let items = self.table.len() + delivered + self.table.finished_len();
        let bytes = (self.outbox.bytes() + self.notifications.bytes()) as u64;
        self.record_bytes + bytes + items as u64 * limits::STORED_KEYS_BYTES
    }

    /// Whether new workflows wait because the store holds so much.
    pub fn state_is_full(&self) -> bool {
        self.state_full
    }

    /// [`Settings::state_bytes_max`].
    pub fn state_bytes_max(&self) -> u64 {
        self.settings.state_bytes_max
    }

    fn state_has_room(&self) -> bool {
        !self.state_full && self.state_bytes() < self.settings.state_bytes_max
    }

    /// Polls under way.
    pub fn polls_in_flight(&self) -> usize {
        self.hosts.in_flight()
    }

    /// Whether polls wait because so much waits to be delivered.
    pub fn polls_held(&self) -> bool {
        self.held_for_spans || self.held_for_events
    }

    /// Spans that the collector has not acknowledged.
    pub fn spans_waiting(&self) -> usize {
        self.outbox.len()
    }

    /// Finished events that wait for receivers that there are.
    pub fn notifications_waiting(&self) -> usize {
        self.notifications.waiting()
    }

    /// Whether a receiver of finished events is being told something.
    pub fn notifications_in_flight(&self) -> bool {
        self.notifications.any_in_flight()
    }

    /// What has happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Holds what must always be true. Debug builds call it after every input.
    pub fn check_invariants(&self) {
        self.hosts.check_invariants();
        let ready = self.hosts.ready();
        assert!(ready <= self.table.len());
        assert!(self.not_restored.len() <= limits::WORKFLOWS_MAX);
        self.outbox.check_invariants();
        self.notifications.check_invariants();
        // Looking at every watch after every input is quadratic; a sample of the turns finds what is wrong as well.
        if self.table.len() > 32 && !self.counters.polls.is_multiple_of(64) {
            return;
        }
        self.table.check_invariants();
        let records = self.table.iter().map(|(_, w)| u64::from(w.record_bytes));
        assert_eq!(
            records.sum::<u64>(),
            self.record_bytes,
            "records are weighed"
        );
        let count = |wanted: fn(&Phase) -> bool| {
            self.table.iter().filter(|(_, w)| wanted(&w.phase)).count()
        };
        assert_eq!(
            count(|p| matches!(p, Phase::InFlight { .. })),
            self.hosts.in_flight()
        );
        assert_eq!(count(|p| matches!(p, Phase::Ready { .. })), ready);
        assert_eq!(
            count(|p| matches!(p, Phase::Waiting { .. })),
            self.wheel.len(),
            "every other watch has one timer"
        );
    }

    fn put(&self, watch: &Watch) -> Change {
        Change::PutWorkflow {
            run: watch.run(),
            record: self.record(watch),
        }
    }

    fn record(&self, watch: &Watch) -> Vec<u8> {
        let monitor = &self.settings.monitors[watch.monitor as usize];
        let name = &monitor.naming.monitor;
        record::encode(name, watch.deadline_wall, &watch.workflow)
    }

    /// Takes note of how long a watch's record is now; 0 when it goes.
    fn weigh_record(&mut self, slot: u32, bytes: usize) {
        if let Some(watch) = self.table.get_mut(slot) {
            // `limits::RECORD_BYTES_MAX` is far below.
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            let before = std::mem::replace(&mut watch.record_bytes, bytes);
            self.record_bytes = self.record_bytes + u64::from(bytes) - u64::from(before);
        }
    }

    /// Whether new workflows have to wait, and whether that is news. It is over well below the bound, or it would come
    /// and go with every end.
    fn weigh(&mut self) {
        let (bytes, bytes_max) = (self.state_bytes(), self.settings.state_bytes_max);
        let full = match self.state_full {
            false => bytes >= bytes_max,
            true => bytes > bytes_max / 10 * 9,
        };
        self.counters.state_bytes = bytes;
        if full != self.state_full {
            self.state_full = full;
            self.counters.state_filled += u64::from(full);
            self.note(Note::StateFull {
                full,
                bytes,
                bytes_max,
            });
        }
    }

    /// Forgets runs that are not ours. Nothing of them is sent any more.
    fn give_up(&mut self, runs: &[(RunKey, Refusal)], now: Now) {
        let refused: HashMap<RunKey, Refusal> = runs.iter().copied().collect();
        let (mut sources, mut unready, mut has_items) = (Vec::new(), HashSet::new(), false);
        for (run, _) in runs {
            self.not_restored.remove(run);
            if let Some(leaving) = self.leaving.remove(run) {
                has_items |= leaving.items > 0;
                sources.extend(leaving.source.map(|s| (*run, s)));
            }
            let Some(slot) = self.table.slot_of(*run) else {
                continue;
            };
            self.weigh_record(slot, 0);
            let generation = self.table.generation(slot).unwrap_or_default();
            let Some(mut watch) = self.table.remove(slot) else {
                continue;
            };
            match watch.phase {
                Phase::Waiting { timer, .. } => drop(self.wheel.cancel(timer)),
                Phase::Ready { .. } => drop(unready.insert(slot)),
                Phase::InFlight { .. } => self.hosts.orphan(slot, generation),
            }
            sources.extend(watch.workflow.take_source().map(|s| (*run, s)));
        }
        if !unready.is_empty() {
            self.hosts.withdraw(|slot| unready.contains(&slot));
        }
        if has_items {
            self.outbox.forget(|run| refused.contains_key(&run));
            self.notifications.forget(|run| refused.contains_key(&run));
        }
        // What was finished here is finished; what another has may come back.
        let is_elsewhere = |run: &RunKey| refused.get(run) == Some(&Refusal::Elsewhere);
        let all = || runs.iter().map(|(run, _)| *run);
        self.table.forget_all(all().filter(is_elsewhere));
        for run in all().filter(|run| !is_elsewhere(run)) {
            self.table.remember(run, now.mono);
        }
        self.forget_finished(now);
        for (run, source) in sources {
            self.actions.push_back(match is_elsewhere(&run) {
                true => Action::Leave(source),
                false => Action::Release(source),
            });
        }
        let elsewhere = refused.keys().filter(|run| is_elsewhere(run)).count();
        self.counters.runs_refused += refused.len() as u64;
        self.note(Note::Refused {
            elsewhere,
            done: refused.len() - elsewhere,
        });
    }

    fn start(&mut self, event: StartEvent, now: Now) {
        self.forget_finished(now);
        let Some(monitor) = self.settings.monitors.get(event.monitor as usize) else {
            return self.shed(event);
        };
        let runs_by = monitor.naming.runs_by;
        let (key, run) = workflow::keys_of(&event, &monitor.naming);
        let runs = [run, workflow::former_run_of(&event, key)];
        if let Some(run) = runs.iter().find(|run| self.not_restored.contains_key(run)) {
            return self.leave(event, *run);
        }
        let is_done = |run| self.table.has_finished(run) || self.leaving.contains_key(&run);
        let done = runs.into_iter().any(is_done);
        if !done && let Some(slot) = self.superseded_by(key, event.attempt, runs_by) {
            self.supersede(slot, now);
        }
        if done || self.table.knows(key, run) {
            return self.note_duplicate(event, key, run);
        }
        let Some(monitor) = self.settings.monitors.get(event.monitor as usize) else {
            return self.shed(event);
        };
        let most = match self.draining {
            true => limits::WORKFLOWS_HELD_MAX,
            false => self.settings.workflows_max,
        };
        if self.table.len() >= most {
            return self.shed(event);
        }
        let monitor_index = event.monitor;
        let sampler = &self.settings.sampler;
        let received_at = self.hosts.clock(monitor_index, now.wall);
        let workflow = Workflow::new(event, &monitor.naming, sampler, received_at);
        let spread = spread(key, monitor.interval_of(&workflow, received_at));
        let deadline = now.mono + monitor.pace.timeout;
        let due = now.mono + monitor.pace.initial_delay + spread;
        let slot = self.table.next_slot();
        let timer = self.wheel.insert(due.min(deadline), slot);
        let note = Note::Watching {
            workflow_id: workflow.id().clone(),
            trace_id: workflow.trace_id(),
        };
        self.table.insert(Watch {
            workflow,
            monitor: monitor_index,
            key,
            phase: Phase::Waiting { timer, due },
            deadline,
            deadline_wall: now.wall + monitor.pace.timeout,
            dirty: false,
            record_bytes: 0,
            failures: 0,
            silence: Silence::NotFound(now.mono),
        });
        self.mark(slot);
        // It counts at once, though it is not written yet: a burst of events comes in one turn.
        if self.settings.stores
            && let Some(watch) = self.table.get(slot)
        {
            let bytes = self.record(watch).len();
            self.weigh_record(slot, bytes);
        }
        self.counters.events_accepted += 1;
        self.note(note);
    }

    /// The watch of an earlier attempt at the same run, where both are known to be attempts. The API answers about the
    /// later one from now on, so nothing more can be learned about the earlier one.
    fn superseded_by(&mut self, key: RunKey, attempt: Option<u32>, runs_by: RunsBy) -> Option<u32> {
        let (slot, watch) = self.table.find(key)?;
        let earlier = runs_by.is_earlier(watch.workflow.attempt(), attempt);
        earlier.then_some(slot)
    }

    fn supersede(&mut self, slot: u32, now: Now) {
        let Some(watch) = self.table.get_mut(slot) else {
            return;
        };
        let (monitor, phase) = (watch.monitor, watch.phase);
        let generation = self.table.generation(slot).unwrap_or_default();
        match phase {
            Phase::Waiting { .. } => {}
            Phase::Ready { .. } => self.hosts.withdraw(|ready| ready == slot),
            Phase::InFlight { .. } => self.hosts.orphan(slot, generation),
        }
        let at = self.hosts.clock(monitor, now.wall);
        self.abandon(slot, Abandoned::Superseded, at, now);
    }

    /// A run whose record is there for somebody else is not begun anew: that would be over the record, and tell again
    /// what it says was told.
    fn leave(&mut self, event: StartEvent, run: RunKey) {
        self.counters.events_not_ours += 1;
        if let Some(source) = event.source {
            self.actions.push_back(Action::Leave(source));
        }
        let Some(known) = self.not_restored.get_mut(&run) else {
            return;
        };
        if !std::mem::replace(&mut known.noted, true) {
            let why = (*known.why).into();
            let workflow_id = event.workflow_id;
            self.note(Note::NotOurs { workflow_id, why });
        }
    }

    fn leave_alone(&mut self, run: RunKey, why: Arc<str>) {
        let is_watched = self.table.slot_of(run).is_some();
        if !is_watched && self.not_restored.len() < limits::WORKFLOWS_MAX {
            let noted = false;
            self.not_restored.insert(run, NotRestored { why, noted });
        }
    }

    fn note_duplicate(&mut self, event: StartEvent, key: RunKey, run: RunKey) {
        self.counters.events_duplicate += 1;
        if let Some((slot, watch)) = self.table.find(key)
            && watch.run() == run
        {
            watch.workflow.announced_again(&event);
            self.mark(slot);
        }
        let workflow_id = event.workflow_id;
        self.note(Note::Duplicate { workflow_id });
        let Some(source) = event.source else {
            return;
        };
        // The same entry once more, as after a restart, waits for its spans as before.
        if let Some((slot, watch)) = self.table.find(key) {
            if watch
                .workflow
                .source()
                .is_none_or(|known| *known == *source)
            {
                watch.workflow.set_source(source);
                return self.mark(slot);
            }
        } else if let Some(leaving) = self.leaving.get_mut(&run)
            && (leaving.source.as_ref()).is_none_or(|known| *known == source)
        {
            leaving.source = Some(source);
            return;
        }
        self.actions.push_back(Action::Release(source));
    }

    fn forget_finished(&mut self, now: Now) {
        while let Some(run) = self.table.forget(now.mono) {
            self.change(Change::RemoveFinished(run));
        }
    }

    fn restore_workflow(
        &mut self,
        record: Record,
        record_bytes: usize,
        now: Now,
    ) -> Result<(), String> {
        let mut named = self.settings.monitors.iter();
        let index = named.position(|m| m.naming.monitor == record.monitor);
        let index = index.ok_or_else(|| {
            format!(
                "there is no monitor {:?}, configure it as it was",
                record.monitor
            )
        })?;
        if self.table.len() >= limits::WORKFLOWS_HELD_MAX {
            return Err("there is no room".into());
        }
        let key = RunKey::of(&record.monitor, record.workflow.id());
        let run = record.workflow.run_key(key);
        if self.table.has_finished(run) {
            // A store that lost its last changes tells of what was finished since.
            self.change(Change::RemoveWorkflow(run));
            return Ok(());
        }
        let attempt = record.workflow.attempt();
        let runs_by = self.settings.monitors[index].naming.runs_by;
        if let Some(slot) = self.superseded_by(key, attempt, runs_by) {
            self.supersede(slot, now);
        } else if let Some((_, watch)) = self.table.find(key) {
            if !runs_by.is_earlier(attempt, watch.workflow.attempt()) {
                return Err("it is watched already".into());
            }
            let monitor = &self.settings.monitors[index];
            let at = self.hosts.clock(index as u16, now.wall);
            let (mut workflow, naming) = (record.workflow, &monitor.naming);
            let mut spans = Vec::new();
            let why = Abandoned::Superseded;
            let (outcome, abandoned) = workflow.abandon(why, at, naming, &mut spans);
            self.finish(run, spans, now);
            self.table.remember(run, now.mono);
            self.conclude(workflow, run, index as u16, (outcome, abandoned), now);
            return Ok(());
        }
        let monitor = &self.settings.monitors[index];
        let at = self.hosts.clock(index as u16, now.wall);
        let interval = monitor.interval_of(&record.workflow, at);
        let due = now.mono + spread(key, interval);
        // A clock that was set back, or a machine that boots in 1970, would put the timeout off for as long. And what
        // passed it while nobody watched may have ended meanwhile: it is asked after once more.
        let left = record.deadline.since(now.wall).min(monitor.pace.timeout);
        let left = left.max(interval * 2);
        let deadline = now.mono + left;
        let slot = self.table.next_slot();
        let timer = self.wheel.insert(due.min(deadline), slot);
        self.table.insert(Watch {
            workflow: record.workflow,
            monitor: index as u16,
            key,
            phase: Phase::Waiting { timer, due },
            deadline,
            deadline_wall: record.deadline,
            dirty: false,
            record_bytes: 0,
            failures: 0,
            silence: Silence::None,
        });
        self.weigh_record(slot, record_bytes);
        Ok(())
    }

    fn shed(&mut self, event: StartEvent) {
        self.counters.events_shed += 1;
        let workflow_id = event.workflow_id;
        self.note(Note::Shed { workflow_id });
    }

    fn take_answer(&mut self, polled: Polled, now: Now) {
        if !(self.hosts).back(polled.slot, polled.generation, polled.requests) {
            self.counters.answers_stale += 1;
            return;
        }
        let Some(watch) = self.table.get_mut(polled.slot) else {
            return;
        };
        let Phase::InFlight { due } = watch.phase else {
            return;
        };
        let monitor = watch.monitor;
        if !matches!(polled.answer, Answer::Failed(_)) {
            self.hosts.learn_requests(monitor, polled.requests);
        }
        self.counters.polls += 1;
        let lateness = polled.sent.mono.since(due);
        self.counters.lateness.record(lateness);
        let latency = polled.received.mono.since(polled.sent.mono);
        self.counters.latency.record(latency);
        if let Some(skew_ns) = skew_ns(&polled) {
            self.hosts.set_skew(monitor, skew_ns);
        }
        let at = self.hosts.clock(monitor, polled.received.wall);
        if let Some(pause) = polled.pause {
            self.pause_host(monitor, pause, now);
        }
        let Some(watch) = self.table.get_mut(polled.slot) else {
            return;
        };
        // From here on every path gives the watch a timer or ends it.
        match polled.answer {
            Answer::Snapshot { snapshot, oddity } => {
                if let Some(failure) = mistaken(&snapshot, watch.workflow.id()) {
                    return self.fail(polled.slot, failure, polled.sent.mono, at, now);
                }
                self.host_answers(monitor);
                if let Some(what) = oddity {
                    self.note_oddity(monitor, what);
                }
                self.observe(polled.slot, *snapshot, due, at, now);
            }
            Answer::NotFound => {
                self.host_answers(monitor);
                self.miss(polled.slot, due, polled.sent.mono, at, now);
            }
            Answer::Failed(failure) => {
                self.fail(polled.slot, failure, polled.sent.mono, at, now);
            }
        }
    }

    /// To the front of the queue, where it came from.
    fn take_back(&mut self, poll: &Poll) {
        if self.hosts.back(poll.slot, poll.generation, 0)
            && let Some(watch) = self.table.get_mut(poll.slot)
            && let Phase::InFlight { due } = watch.phase
        {
            watch.phase = Phase::Ready { due };
            self.hosts.queue_first(poll.slot, watch.monitor, due);
        }
    }

    fn take_listing(&mut self, listing: Listing, now: Now) {
        let (Listing::Due { monitor } | Listing::Done { monitor, .. }) = listing;
        if usize::from(monitor) >= self.settings.monitors.len() {
            return;
        }
        match listing {
            Listing::Due { .. } => self.hosts.list_due(monitor, now.mono),
            Listing::Done {
                requests, pause, ..
            } => {
                self.hosts.list_done(monitor, requests);
                if let Some(pause) = pause {
                    self.pause_host(monitor, pause, now);
                }
            }
        }
    }

    fn observe(&mut self, slot: u32, snapshot: Snapshot, due: Mono, at: Wall, now: Now) {
        let Some(watch) = self.table.get_mut(slot) else {
            return;
        };
        watch.failures = 0;
        watch.silence = Silence::None;
        let monitor = &self.settings.monitors[watch.monitor as usize];
        let mut spans = Vec::new();
        let naming = &monitor.naming;
        if monitor.pace.gone_after.is_some() {
            watch.workflow.set_answered(at);
        }
        let verdict = watch.workflow.observe(snapshot, at, naming, &mut spans);
        let run = watch.run();
        self.mark(slot);
        self.finish(run, spans, now);
        match verdict {
            Verdict::Ended(outcome, why) => self.end(slot, outcome, why, now),
            Verdict::Watching => self.poll_again(slot, due, at, now),
        }
    }

    /// The API did not know the workflow when it was asked; it may by now.
    fn miss(&mut self, slot: u32, due: Mono, asked: Mono, at: Wall, now: Now) {
        self.counters.polls_not_found += 1;
        let Some(watch) = self.table.get_mut(slot) else {
            return;
        };
        watch.failures = 0;
        let since = match watch.silence {
            Silence::NotFound(since) => since,
            Silence::None | Silence::Refused(_) => asked,
        };
        watch.silence = Silence::NotFound(since);
        if asked.since(since) >= limits::NOT_FOUND_TOLERATED {
            self.abandon(slot, Abandoned::NotFound, at, now);
        } else {
            self.poll_again(slot, due, at, now);
        }
    }

    fn fail(&mut self, slot: u32, failure: PollFailure, asked: Mono, at: Wall, now: Now) {
        self.counters.polls_failed[failure.reason.index()] += 1;
        let Some(watch) = self.table.get_mut(slot) else {
            return;
        };
        watch.failures = watch.failures.saturating_add(1);
        let (failures, monitor_index) = (watch.failures, watch.monitor);
        let refused = failure.reason == PollFailureReason::Connect;
        let monitor = &self.settings.monitors[monitor_index as usize];
        let interval = monitor.interval_of(&watch.workflow, at);
        if (self.hosts).failure_is_news(monitor_index, failure.reason, now.mono) {
            self.note(Note::HostTroubled {
                monitor: monitor_index,
                reason: failure.reason,
                detail: failure.detail,
            });
        }
        if let Some(asked) = failure.retry_after {
            self.pause_host(monitor_index, asked, now);
        }
        if self.is_going(slot, refused, asked, interval, at, now) {
            return;
        }
        let max = limits::BACKOFF_MAX.max(interval);
        // The first failure doubles the interval already, so that half of it taken off is still no less.
        let doubled = interval.saturating_mul(2);
        let pause = self.jitter.pause(doubled, max, failures).max(interval);
        self.wait(slot, now.mono + pause, at, now);
    }

    /// Of a workflow whose API goes away with it, and that was seen: whether it may be going, and so is asked after at
    /// the normal interval. When that has lasted, it has ended.
    fn is_going(
        &mut self,
        slot: u32,
        refused: bool,
        asked: Mono,
        interval: Duration,
        at: Wall,
        now: Now,
    ) -> bool {
        let Some(watch) = self.table.get_mut(slot) else {
            return false;
        };
        let pace = &self.settings.monitors[watch.monitor as usize].pace;
        let Some(after) = pace
            .gone_after
            .filter(|_| refused && watch.workflow.was_seen())
        else {
            watch.silence = Silence::None;
            return false;
        };
        let (is_first, since) = match watch.silence {
            Silence::Refused(since) => (false, since),
            Silence::None | Silence::NotFound(_) => (true, asked),
        };
        watch.silence = Silence::Refused(since);
        if asked.since(since) >= after {
            self.vanish(slot, at, now);
            return true;
        }
        if is_first {
            // From now on its record has to have when it was last seen.
            watch.workflow.touch();
            self.mark(slot);
        }
        self.wait(slot, now.mono + interval.min(after), at, now);
        true
    }

    /// The API of a workflow is gone, and so is the workflow.
    fn vanish(&mut self, slot: u32, at: Wall, now: Now) {
        let Some(watch) = self.table.get_mut(slot) else {
            return;
        };
        let naming = &self.settings.monitors[watch.monitor as usize].naming;
        let mut spans = Vec::new();
        let outcome = watch.workflow.vanish(at, naming, &mut spans);
        let run = watch.run();
        self.finish(run, spans, now);
        self.counters.workflows_gone += 1;
        self.end(slot, outcome, None, now);
    }

    /// The next poll an interval after the last one was due, so that polls keep their place between one another; but
    /// never on the heels of a slow one.
    fn poll_again(&mut self, slot: u32, due: Mono, at: Wall, now: Now) {
        let Some(watch) = self.table.get_mut(slot) else {
            return;
        };
        let monitor = &self.settings.monitors[watch.monitor as usize];
        let interval = monitor.interval_of(&watch.workflow, at);
        let next = (due + interval).max(now.mono + interval / 2);
        self.wait(slot, next, at, now);
    }

    /// Sets the watch's timer to `due`, or to its timeout if that comes first; a timeout that has passed ends it.
    fn wait(&mut self, slot: u32, due: Mono, at: Wall, now: Now) {
        let Some(watch) = self.table.get_mut(slot) else {
            return;
        };
        if now.mono >= watch.deadline {
            return self.abandon(slot, Abandoned::TimedOut, at, now);
        }
        if let Phase::Waiting { timer, .. } = watch.phase {
            self.wheel.cancel(timer);
        }
        let timer = self.wheel.insert(due.min(watch.deadline), slot);
        watch.phase = Phase::Waiting { timer, due };
    }

    /// Whoever would wait longer than the new pace has it is asked after sooner, spread over an interval like a burst.
    fn change_pace(&mut self, paces: Vec<Pace>, now: Now) {
        self.hosts.set_paces(&paces);
        let mut timeouts_before = Vec::with_capacity(paces.len());
        for (monitor, pace) in self.settings.monitors.iter_mut().zip(paces) {
            timeouts_before.push(monitor.pace.timeout);
            monitor.pace = pace;
        }
        let slots: Vec<u32> = self.table.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let Some(watch) = self.table.get_mut(slot) else {
                continue;
            };
            let index = watch.monitor as usize;
            let monitor = &self.settings.monitors[index];
            let Some(timeout_before) = timeouts_before.get(index) else {
                continue;
            };
            let pace = &monitor.pace;
            let at = self.hosts.clock(watch.monitor, now.wall);
            let interval = monitor.interval_of(&watch.workflow, at);
            let before = watch.deadline;
            watch.deadline = moved(before, *timeout_before, pace.timeout);
            watch.deadline_wall =
                watch.deadline_wall - before.since(watch.deadline) + watch.deadline.since(before);
            watch.workflow.touch();
            let Phase::Waiting { timer, due } = watch.phase else {
                self.mark(slot);
                continue;
            };
            let first = match watch.silence {
                // It may not have been asked after yet.
                Silence::NotFound(_) => pace.initial_delay,
                Silence::None | Silence::Refused(_) => Duration::ZERO,
            };
            let due = if due > now.mono + first + interval {
                now.mono + first + spread(watch.key, interval)
            } else {
                due
            };
            self.wheel.cancel(timer);
            let timer = self.wheel.insert(due.min(watch.deadline), slot);
            watch.phase = Phase::Waiting { timer, due };
            self.mark(slot);
        }
    }

    /// Moves what is due from the wheel into the queue.
    fn ring(&mut self, now: Now) {
        let mut rung = Vec::new();
        self.wheel.advance(now.mono, |slot| rung.push(slot));
        for slot in rung {
            let Some(watch) = self.table.get_mut(slot) else {
                continue;
            };
            let Phase::Waiting { due, .. } = watch.phase else {
                continue;
            };
            watch.phase = Phase::Ready { due };
            if now.mono >= watch.deadline {
                self.time_out(slot, now);
                continue;
            }
            self.hosts.queue(slot, watch.monitor, due);
        }
    }

    /// Hands due polls to free pollers: the host with the fewest under way first, and of each host the most overdue. Lists
    /// go between them.
    fn dispatch(&mut self, now: Now) {
        let before = self.polls_held();
        self.held_for_spans = match self.held_for_spans {
            false => self.outbox.is_full(),
            true => !self.outbox.has_room_again(),
        };
        self.held_for_events = match self.held_for_events {
            false => self.notifications.is_full(),
            true => !self.notifications.has_room_again(),
        };
        let held = self.polls_held();
        if held != before {
            self.note(Note::PollsHeld(held));
        }
        self.hosts.set_gate(if self.draining {
            Gate::Shut
        } else if held || self.store_troubled {
            Gate::NoPolls
        } else {
            Gate::Open
        });
        loop {
            while let Some(monitor) = self.hosts.next_list(now.mono, &mut self.jitter) {
                self.actions.push_back(Action::List(monitor));
            }
            let Some(turn) = self.hosts.next_poll(now.mono) else {
                break;
            };
            let (PollTurn::Send { slot } | PollTurn::Defer { slot, .. }) = turn;
            if self
                .table
                .get(slot)
                .is_none_or(|watch| now.mono >= watch.deadline)
            {
                self.time_out(slot, now);
                continue;
            }
            match turn {
                PollTurn::Send { slot } => self.send_poll(slot, now),
                PollTurn::Defer { slot, until } => self.put_off(slot, until, now),
            }
        }
    }

    fn send_poll(&mut self, slot: u32, now: Now) {
        let generation = self.table.new_generation(slot);
        let Some(watch) = self.table.get_mut(slot) else {
            return;
        };
        let Phase::Ready { due } = watch.phase else {
            return;
        };
        watch.phase = Phase::InFlight { due };
        self.hosts.sent(slot, generation, watch.monitor, now.mono);
        let monitor = &self.settings.monitors[watch.monitor as usize];
        let traceparent = monitor.send_traceparent;
        let traceparent = traceparent.then(|| watch.workflow.traceparent(&monitor.naming).into());
        self.actions.push_back(Action::Poll(Poll {
            slot,
            generation,
            monitor: watch.monitor,
            workflow_id: watch.workflow.id().clone(),
            traceparent,
        }));
    }

    /// Back into the wheel until the host may be asked again, spread over up to an interval: at random, for a host
    /// that answers a few and then asks for a pause would else answer the same few after each.
    fn put_off(&mut self, slot: u32, until: Mono, now: Now) {
        let Some(watch) = self.table.get_mut(slot) else {
            return;
        };
        let monitor = &self.settings.monitors[watch.monitor as usize];
        let at = self.hosts.clock(watch.monitor, now.wall);
        let interval = monitor.interval_of(&watch.workflow, at);
        let spread_max = interval.min(until.since(now.mono));
        let due = until + self.jitter.up_to(spread_max);
        let timer = self.wheel.insert(due.min(watch.deadline), slot);
        watch.phase = Phase::Waiting { timer, due };
    }

    fn pause_host(&mut self, monitor: u16, asked: Duration, now: Now) {
        if let Some(pause) = self.hosts.pause(monitor, asked, now.mono) {
            self.note(Note::HostPaused { monitor, pause });
        }
    }

    fn host_answers(&mut self, monitor: u16) {
        if self.hosts.answer_is_news(monitor) {
            self.note(Note::HostRecovered { monitor });
        }
    }

    fn note_oddity(&mut self, monitor: u16, what: Box<str>) {
        if self.hosts.oddity_is_news(monitor, &what) {
            self.note(Note::Odd { monitor, what });
        }
    }

    fn time_out(&mut self, slot: u32, now: Now) {
        let Some(watch) = self.table.get_mut(slot) else {
            return;
        };
        let at = self.hosts.clock(watch.monitor, now.wall);
        self.abandon(slot, Abandoned::TimedOut, at, now);
    }

    fn abandon(&mut self, slot: u32, why: Abandoned, at: Wall, now: Now) {
        let Some(watch) = self.table.get_mut(slot) else {
            return;
        };
        let naming = &self.settings.monitors[watch.monitor as usize].naming;
        let mut spans = Vec::new();
        let (outcome, abandoned) = watch.workflow.abandon(why, at, naming, &mut spans);
        let run = watch.run();
        self.finish(run, spans, now);
        self.end(slot, outcome, abandoned, now);
    }

    fn end(&mut self, slot: u32, outcome: Outcome, abandoned: Option<Abandoned>, now: Now) {
        self.weigh_record(slot, 0);
        let Some(watch) = self.table.finish(slot, now.mono) else {
            return;
        };
        if let Phase::Waiting { timer, .. } = watch.phase {
            self.wheel.cancel(timer);
        }
        let (run, monitor) = (watch.run(), watch.monitor);
        self.conclude(watch.workflow, run, monitor, (outcome, abandoned), now);
    }

    /// What is left to do about a run that has ended.
    fn conclude(
        &mut self,
        mut workflow: Workflow,
        run: RunKey,
        monitor: u16,
        (outcome, abandoned): (Outcome, Option<Abandoned>),
        now: Now,
    ) {
        self.change(Change::RemoveWorkflow(run));
        self.change(Change::PutFinished(run, now.wall));
        self.forget_finished(now);
        self.announce(&mut workflow, run, monitor, (outcome, abandoned));
        let leaving = self.leaving.entry(run).or_default();
        leaving.ended = true;
        leaving.source = workflow.take_source();
        self.let_go(run, 0);
        self.counters.workflows_ended += 1;
        match abandoned {
            Some(Abandoned::TimedOut) => self.counters.workflows_timed_out += 1,
            Some(Abandoned::NotFound) => self.counters.workflows_not_found += 1,
            Some(Abandoned::Superseded) => self.counters.workflows_superseded += 1,
            None => {}
        }
        self.note(Note::Ended {
            workflow_id: workflow.id().clone(),
            trace_id: workflow.trace_id(),
            outcome,
            abandoned,
        });
    }

    /// Somebody wants to know that it has finished.
    fn announce(
        &mut self,
        workflow: &mut Workflow,
        run: RunKey,
        monitor: u16,
        (outcome, abandoned): (Outcome, Option<Abandoned>),
    ) {
        let Some(name) = self.notifications.receiver(monitor).cloned() else {
            return;
        };
        let naming = &self.settings.monitors[usize::from(monitor)].naming;
        let Some(event) = workflow.take_finished(run, name, naming, (outcome, abandoned)) else {
            return;
        };
        let bytes = (self.encoders.finished_event)(&event);
        self.leaving.entry(run).or_default().items += 1;
        let notification = self.notifications.push(run, event.monitor, bytes);
        self.change(Change::PutNotification(notification));
    }

    fn take_notified(&mut self, notified: Notified, now: Now) {
        let settled = self
            .notifications
            .settle(&notified, now.mono, &mut self.jitter);
        let Some((gone, was_troubled)) = settled else {
            return;
        };
        let monitor = notified.monitor;
        for (run, message) in notified.refused {
            self.counters.notifications_refused += 1;
            if self.notifications.refusal_is_news(monitor, now.mono) {
                self.note(Note::NotifyRefused {
                    monitor,
                    run,
                    message,
                });
            }
        }
        self.counters.notifications_delivered += notified.taken.len() as u64;
        match notified.trouble {
            Some(trouble) => {
                let reason = trouble.reason;
                let queues = &mut self.notifications;
                if queues.trouble_is_news(monitor, &reason, was_troubled, now.mono) {
                    self.note(Note::NotifyTroubled { monitor, reason });
                }
            }
            None if was_troubled => self.note(Note::NotifyRecovered { monitor }),
            _ => {}
        }
        for notification in &gone {
            self.let_go(notification.run, 1);
        }
        if !gone.is_empty() {
            self.change(Change::RemoveNotifications(gone));
        }
    }

    fn finish(&mut self, run: RunKey, spans: Vec<Span>, now: Now) {
        self.counters.spans_finished += spans.len() as u64;
        for span in spans {
            if self.settings.exports {
                self.leaving.entry(run).or_default().items += 1;
                let monitor = span.service.as_ref().map(|s| s.monitor.clone());
                let bytes = (self.encoders.span)(&span);
                let encoded = self.outbox.push(run, monitor, bytes, now.mono);
                self.change(Change::PutSpan(encoded));
            }
            self.actions.push_back(Action::Finished(Box::new(span)));
        }
    }

    /// The record of a watch may have changed.
    fn mark(&mut self, slot: u32) {
        if let Some(watch) = self.table.get_mut(slot)
            && watch.workflow.take_changed()
            && self.settings.stores
            && !std::mem::replace(&mut watch.dirty, true)
        {
            self.dirty.push(slot);
        }
    }

    fn change(&mut self, change: Change) {
        if self.settings.stores {
            self.changes.push(change);
        }
    }

    /// So much of a run is delivered, or refused. When the run has ended and that was the last, what announced it can be
    /// acknowledged.
    fn let_go(&mut self, run: RunKey, items: usize) {
        let Some(leaving) = self.leaving.get_mut(&run) else {
            return;
        };
        leaving.items = leaving.items.saturating_sub(items);
        if leaving.items > 0 {
            return;
        }
        if let Some(leaving) = self.leaving.remove(&run)
            && leaving.ended
            && let Some(source) = leaving.source
        {
            self.actions.push_back(Action::Release(source));
        }
    }

    fn forget_spans(&mut self, spans: Vec<EncodedSpan>) {
        for span in &spans {
            self.let_go(span.run, 1);
        }
        self.change(Change::RemoveSpans(spans));
    }

    fn settle(&mut self, batch: u64, outcome: ExportOutcome, now: Now) {
        let failing = self.outbox.failures() > 0;
        let settled = self
            .outbox
            .settle(batch, &outcome, now.mono, &mut self.jitter);
        if failing && self.outbox.failures() == 0 {
            self.note(Note::ExportRecovered);
        }
        match (settled, outcome) {
            (Settled::Delivered(spans), ExportOutcome::Delivered { rejected, message }) => {
                let rejected_here = rejected.min(spans.len() as u64);
                self.counters.spans_delivered += spans.len() as u64 - rejected_here;
                self.counters.spans_rejected += rejected_here;
                self.forget_spans(spans);
                if rejected > 0 || !message.is_empty() {
                    self.note(Note::ExportPartial { rejected, message });
                }
            }
            (
                Settled::SetAside(spans),
                ExportOutcome::Rejected { message } | ExportOutcome::TooLarge { message },
            ) => {
                let count = spans.len();
                self.forget_spans(spans);
                self.counters.spans_rejected += count as u64;
                let spans = count;
                self.note(Note::SetAside { spans, message });
            }
            (Settled::Later(_), ExportOutcome::Retry { reason, .. }) => {
                self.counters.exports_retried += 1;
                if !failing {
                    let waiting = self.outbox.len();
                    self.note(Note::ExportTroubled { reason, waiting });
                }
            }
            (Settled::Split, _) => self.note(Note::ExportSplit),
            _ => {}
        }
    }

    fn note(&mut self, note: Note) {
        self.actions.push_back(Action::Note(note));
    }
}

/// A workflow's own share of an interval.
fn spread(key: RunKey, interval: Duration) -> Duration {
    let interval_ns = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(key.spread() % interval_ns.max(1))
}

/// A deadline that was set with one timeout, as another would have set it.
fn moved(deadline: Mono, timeout_before: Duration, timeout: Duration) -> Mono {
    match timeout.checked_sub(timeout_before) {
        Some(longer) => deadline + longer,
        None => {
            let since_start = deadline.since(Mono::default());
            Mono::from_duration(since_start.saturating_sub(timeout_before.saturating_sub(timeout)))
        }
    }
}

/// A body about another workflow would make a wrong trace, which nobody could take back: it says nothing. Systems write
/// one id with and without braces, hyphens and capitals.
fn mistaken(snapshot: &Snapshot, asked: &str) -> Option<PollFailure> {
    let answered = snapshot.workflow_id.as_deref()?;
    let essence = |id: &str| -> Vec<char> {
        let essential = id.chars().filter(|c| c.is_alphanumeric());
        essential.flat_map(char::to_lowercase).collect()
    };
    let same = answered == asked || {
        let essence_asked = essence(asked);
        !essence_asked.is_empty() && essence(answered) == essence_asked
    };
    (!same).then(|| PollFailure {
        reason: PollFailureReason::OtherWorkflow,
        detail: format!("asked after {asked:?}, the answer is about {answered:?}").into(),
        retry_after: None,
    })
}

/// How far the API's clock is ahead of ours, as far as its `Date` header shows: that header has whole seconds, so a
/// clock that agrees within one is taken to agree.
fn skew_ns(polled: &Polled) -> Option<i64> {
    const SECOND_NS: i64 = 1_000_000_000;
    let date = polled.date?.as_unix_ns();
    // Our wall clock may have been set since the request was sent; the other one was not.
    let received = polled.received.wall.as_unix_ns();
    let latency = polled.received.mono.since(polled.sent.mono).as_nanos();
    let latency_ns = i64::try_from(latency).unwrap_or(i64::MAX);
    let least = date.saturating_sub(received);
    let most = least.saturating_add(SECOND_NS).saturating_add(latency_ns);
    if least <= 0 && most >= 0 {
        Some(0)
    } else {
        Some(least / 2 + most / 2)
    }
}

#[cfg(test)]
mod tests;
