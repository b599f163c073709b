//! The pure core: every decision farspan takes, and nothing else.
//!
//! ```text
//! StartEvent -> table + wheel -> Poll -> Snapshot -> Span -> Batch -> ExportOutcome
//! ```
//!
//! Pure: no clock, no I/O, no channels, no threads, no serde. Time comes in as an argument, trouble comes in as an
//! [`Input`], what is to be done goes out as an [`Action`]; nothing here fails, blocks or looks anything up. The loop
//! drives it in production and a simulation drives it through thousands of hours, and neither can tell.

pub mod answers;
mod api;
pub mod backoff;
mod counting;
mod delivery;
pub mod event;
pub mod finished;
mod finished_runs;
mod give_back;
mod hosts;
pub mod ids;
mod lane;
pub mod lateness;
pub mod limits;
mod listing;
pub mod log_record;
pub mod metrics;
mod note;
mod notification;
mod out;
pub mod outbox;
pub mod outcome;
pub mod pace;
pub mod pieces;
pub mod poll_failure;
mod pollers;
mod polls;
pub mod rate;
pub mod sampler;
mod shared_texts;
mod slot_index;
pub mod snapshot;
pub mod span;
mod state_size;
mod table;
pub mod time;
mod trouble;
pub mod turn;
mod unreadable;
pub mod view;
mod watch;
pub mod wheel;
pub mod workflow;

pub use api::{
    Action, Answer, Change, Committed, Encoders, Input, Listing, Monitor, Outgoing, Poll,
    PollGroup, Polled, Refusal, Settings, Stored,
};
pub use metrics::Counters;
pub use note::{ApiNote, CollectorNote, Note, ReceiverNote, RunNote, StateNote};
pub use pace::{Adaptive, Pace};
pub use poll_failure::{PollFailure, PollFailureReason};

use backoff::Jitter;
use counting::count_ended;
use delivery::Delivery;
use event::StartEvent;
use finished_runs::FinishedRuns;
use hosts::Hosts;
use ids::{RunIdentity, RunKey};
use metrics::EventFate;
use out::Decisions;
use outbox::{OutboxItem, Signal};
use outcome::{Abandoned, Outcome};
use shared_texts::SharedTexts;
use span::Span;
use state_size::StateSize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use table::Table;
use time::{Mono, Now, Wall};
use unreadable::UnreadableRuns;
use view::Views;
use watch::{Phase, Watch};
use workflow::record::{self, Record};
use workflow::{Naming, Workflow};

/// See the module.
#[derive(Debug)]
pub struct Core {
    settings: Settings,
    table: Table,
    finished: FinishedRuns,
    unreadable: UnreadableRuns,
    hosts: Hosts,
    delivery: Delivery,
    state_size: StateSize,
    jitter: Jitter,
    draining: bool,
    store_troubled: bool,
    views: Views,
    texts: SharedTexts,
    out: Decisions,
}

/// One answer to a poll.
#[derive(Clone, Copy, Debug)]
struct Answered {
    slot: u32,
    monitor: u16,
    /// When the poll was due.
    due: Mono,
    /// When the request was sent.
    asked: Mono,
    /// When the answer came, by the API's clock.
    at: Wall,
    now: Now,
}

/// How a run has ended, and why its watch ended early, if it did.
type End = (Outcome, Option<Abandoned>);

impl Core {
    /// A core that watches nothing yet.
    pub fn new(settings: Settings, encoders: Encoders, now: Now) -> Self {
        Core {
            table: Table::new(now.mono),
            finished: FinishedRuns::new(),
            unreadable: UnreadableRuns::default(),
            hosts: Hosts::new(&settings.monitors, settings.pollers, now.mono),
            delivery: Delivery::new(&settings, encoders, now),
            state_size: StateSize::new(settings.state_bytes_max),
            jitter: Jitter::new(settings.seed),
            draining: false,
            store_troubled: false,
            views: Views::new(now),
            texts: SharedTexts::default(),
            out: Decisions::new(
                settings.stores,
                Counters::new(settings.monitors.len(), settings.buckets.clone()),
            ),
            settings,
        }
    }

    /// Remembers finished runs for at least so long, as far as there is room: a source that lists runs which have ended
    /// lists them again after a restart. Call it before [`restore`](Self::restore).
    pub fn keep_finished(&mut self, kept: Duration) {
        self.finished.keep_for(kept);
    }

    /// From now on there are viewers: so many bytes of ended runs and finished spans are kept for them.
    pub fn keep_views(&mut self, bytes_max: usize) {
        self.views.keep(bytes_max);
    }

    /// Takes in what happened. What is to be done about it comes from [`next_action`](Self::next_action).
    pub fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::Started(event) => self.start(event, now),
            Input::Polled(polled) => self.take_answer(polled, now),
            Input::Recalled(polls) => self.recall(&polls),
            Input::Listing(listing) => self.take_listing(listing, now),
            Input::Notified(notified) => {
                (self.delivery).settle_events(notified, now.mono, &mut self.jitter, &mut self.out);
            }
            Input::Exported(exported) => {
                let (views, out) = (&mut self.views, &mut self.out);
                (self.delivery).settle_export(exported, now.mono, &mut self.jitter, views, out);
            }
            Input::StoreTroubled(troubled) => {
                self.store_troubled = troubled;
                self.views.touch_all();
            }
            Input::Reloaded(paces) => self.change_paces(paces, now),
            Input::Refused(runs) => self.disown(&runs, now),
            Input::Tick => {}
            Input::Drain => self.draining = true,
        }
        self.queue_due_polls(now);
        self.send_requests(now);
        (self.delivery).send_due(now.mono, self.draining, &mut self.out);
        self.weigh();
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    /// A poller has got its group of polls. The polls that it does not begin in time are taken back.
    pub fn group_begun(&mut self, poller: u16, now: Mono) {
        self.hosts.group_begun(poller, now);
    }

    /// Goes on with what a store held at the start.
    pub fn restore(&mut self, stored: Stored, now: Now) {
        let (items, notifications) = (stored.items.len(), stored.notifications.len());
        let is_span = |item: &&OutboxItem| item.signal == Signal::Traces;
        let spans = stored.items.iter().filter(is_span).count();
        let services = (self.settings.monitors.iter())
            .filter_map(|monitor| Some(monitor.naming.service.as_ref()?.monitor.clone()));
        (self.delivery).restore_items(stored.items, services, now.mono);
        (self.delivery).restore_events(stored.notifications, now.mono, &mut self.out);
        // However old: the source of its event may not be acknowledged yet, and announces it again now.
        for (run, began) in stored.finished {
            self.finished.restore(run, began, now);
        }
        self.forget_finished(now);
        let workflows = self.restore_workflows(stored.workflows, now);
        if items + notifications > 0 {
            (self.delivery).end_unwatched(|run| self.table.slot_of(run).is_some());
        }
        if workflows + items + notifications > 0 {
            self.out.note(Note::State(StateNote::Restored {
                workflows,
                spans,
                log_records: items - spans,
                notifications,
            }));
        }
    }

    /// The changes that would bring an empty store to the present state.
    pub fn everything(&self) -> Vec<Change> {
        let finished = self.finished.iter();
        let finished = finished.map(|(run, began)| Change::PutFinished(run, began));
        let watches = self.table.iter().map(|(_, watch)| Change::PutWorkflow {
            run: watch.run(),
            record: self.record(watch),
        });
        let items = self.delivery.items().cloned().map(Change::PutItem);
        let events = self.delivery.events().cloned();
        let events = events.map(Change::PutNotification);
        finished.chain(watches).chain(items).chain(events).collect()
    }

    /// Whether [`take_changes`](Self::take_changes) has something.
    #[cfg(any(test, feature = "internals"))]
    pub fn has_changes(&self) -> bool {
        self.out.has_changes() || self.table.is_dirty()
    }

    /// The changes since the last call, for the store.
    pub fn take_changes(&mut self) -> Vec<Change> {
        for slot in self.table.take_dirty() {
            if let Some(watch) = self.table.get(slot) {
                let (run, record) = (watch.run(), self.record(watch));
                self.table.set_record_bytes(slot, record.len());
                self.out.change(Change::PutWorkflow { run, record });
            }
        }
        // Records may have grown.
        self.weigh();
        self.out.take_changes()
    }

    /// What is to be done next. Call it until it returns `None`.
    pub fn next_action(&mut self) -> Option<Action> {
        self.out.next_action()
    }

    /// When [`handle`](Self::handle) is to be called again, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Mono> {
        let deadlines = [
            self.table.next_deadline(),
            self.hosts.next_deadline(),
            self.delivery.next_deadline(self.draining),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// The monitors whose API refused the credentials with its last answer: their indexes.
    pub fn monitors_refused(&self) -> impl Iterator<Item = u16> {
        self.hosts.refusing_credentials()
    }

    /// Workflows under watch.
    pub fn watched(&self) -> usize {
        self.table.len()
    }

    /// Whether another workflow can be taken under watch. If not, events have to wait in their source.
    pub fn has_room(&self) -> bool {
        let places = self.settings.workflows_max.saturating_sub(self.watched());
        places > 0 && !self.draining && !self.store_troubled && self.state_has_room()
    }

    /// How many workflows can be taken over from expired owners.
    pub fn room(&self) -> usize {
        if self.draining || !self.state_has_room() {
            return 0;
        }
        let taken = self.watched() + self.unreadable.len();
        self.settings.workflows_max.saturating_sub(taken)
    }

    /// Runs of the store that are not watched, because their records cannot be.
    #[cfg(test)]
    pub fn unreadable_runs(&self) -> impl Iterator<Item = RunKey> {
        self.unreadable.iter()
    }

    /// What the store holds of ours, in bytes: records as they were written last, spans and finished events that wait,
    /// finished runs, and the keys of all these. Records that cannot be read are not counted: nothing that happens here
    /// would free their room.
    pub fn state_bytes(&self) -> u64 {
        if !self.settings.stores {
            return 0;
        }
        let items = self.table.len() + self.delivery.stored_items() + self.finished.len();
        let keys = items as u64 * limits::STORED_KEYS_BYTES;
        self.table.record_bytes() + self.delivery.stored_bytes() as u64 + keys
    }

    /// Whether new workflows wait because the store holds so much.
    pub fn state_is_full(&self) -> bool {
        self.state_size.is_full()
    }

    /// [`Settings::state_bytes_max`].
    pub fn state_bytes_max(&self) -> u64 {
        self.state_size.bytes_max()
    }

    /// Polls under way.
    pub fn polls_in_flight(&self) -> usize {
        self.hosts.in_flight()
    }

    /// Whether polls wait because so much waits to be delivered.
    pub fn polls_held(&self) -> bool {
        self.delivery.holds_polls()
    }

    /// Spans that the collector has not acknowledged.
    pub fn spans_waiting(&self) -> usize {
        self.delivery.spans_len()
    }

    /// Log records that the collector has not acknowledged.
    pub fn log_records_waiting(&self) -> usize {
        self.delivery.log_records_len()
    }

    /// Finished events that wait for a receiver that is configured.
    pub fn notifications_waiting(&self) -> usize {
        self.delivery.events_waiting()
    }

    /// Whether finished events are with a notifier.
    pub fn notifications_in_flight(&self) -> bool {
        self.delivery.events_in_flight()
    }

    /// What has happened so far.
    pub fn counters(&self) -> &Counters {
        &self.out.counters
    }

    /// Holds what must always be true. Debug builds call it after every input.
    pub fn check_invariants(&self) {
        self.hosts.check_invariants();
        self.delivery.check_invariants();
        self.finished.check_invariants();
        assert!(self.unreadable.len() <= limits::WORKFLOWS_MAX);
        // Looking at every watch after every input is quadratic; a sample of the turns finds what is wrong as well.
        if self.table.len() > 32 && !self.counters().polls().is_multiple_of(64) {
            return;
        }
        self.table.check_invariants();
        self.check_live_runs();
        let (ready, in_flight) = self.table.count_phases();
        assert_eq!(ready, self.hosts.ready());
        assert_eq!(in_flight, self.hosts.in_flight());
    }

    fn state_has_room(&self) -> bool {
        self.state_size.has_room(self.state_bytes())
    }

    fn record(&self, watch: &Watch) -> Vec<u8> {
        let name = &self.monitor(watch.monitor).naming.monitor;
        record::encode(name, watch.deadline_wall, &watch.workflow)
    }

    /// Looks again whether new workflows have to wait.
    fn weigh(&mut self) {
        let bytes = self.state_bytes();
        self.out.counters.state_bytes = bytes;
        if let Some(note) = self.state_size.update(bytes) {
            self.out.counters.state_filled += u64::from(self.state_size.is_full());
            self.out.note(note);
        }
    }

    fn monitor(&self, monitor: u16) -> &Monitor {
        &self.settings.monitors[usize::from(monitor)]
    }

    /// The interval in force for a watch, when the API's clock shows `at`.
    fn interval(&self, watch: &Watch, at: Wall) -> Duration {
        self.monitor(watch.monitor).interval_of(&watch.workflow, at)
    }

    /// Forgets runs that the store has refused. Nothing of them is sent any more.
    fn disown(&mut self, refused: &[(RunKey, Refusal)], now: Now) {
        let runs: Vec<RunKey> = refused.iter().map(|(run, _)| *run).collect();
        let mut sources = self.delivery.disown(&runs);
        let mut unready = HashSet::new();
        for run in &runs {
            self.unreadable.remove(*run);
            let Some(slot) = self.table.slot_of(*run) else {
                continue;
            };
            let generation = self.table.generation(slot).unwrap_or_default();
            let Some(mut watch) = self.remove(slot) else {
                continue;
            };
            self.views.leave(slot);
            match watch.phase {
                Phase::Waiting { .. } => {}
                Phase::Ready { .. } => drop(unready.insert(slot)),
                Phase::InFlight { .. } => self.hosts.orphan(slot, generation),
            }
            sources.extend(watch.workflow.take_source().map(|source| (*run, source)));
        }
        if !unready.is_empty() {
            self.hosts.withdraw(|slot| unready.contains(&slot));
        }
        // A run that is another instance's may come back. One that is done may not.
        for run in &runs {
            self.views.forget(*run);
        }
        let refusals: HashMap<RunKey, Refusal> = refused.iter().copied().collect();
        let is_elsewhere = |run: &RunKey| refusals.get(run) == Some(&Refusal::Elsewhere);
        let (elsewhere, done): (Vec<RunKey>, Vec<RunKey>) =
            runs.into_iter().partition(is_elsewhere);
        self.finished.remove_all(elsewhere.into_iter());
        for run in done {
            self.finished.insert(run, now.wall, now);
        }
        self.forget_finished(now);
        for (run, source) in sources {
            self.out.act(if is_elsewhere(&run) {
                Action::Send(Outgoing::LeavePending(source))
            } else {
                Action::Send(Outgoing::Acknowledge(source))
            });
        }
        self.out.counters.runs_refused += refusals.len() as u64;
        let elsewhere = refusals.keys().filter(|run| is_elsewhere(run)).count();
        let done = refusals.len() - elsewhere;
        let refused = StateNote::Refused { elsewhere, done };
        self.out.note(Note::State(refused));
    }

    fn start(&mut self, event: StartEvent, now: Now) {
        self.forget_finished(now);
        let Some(monitor) = self.settings.monitors.get(usize::from(event.monitor)) else {
            return self.shed(event);
        };
        let run_identity = monitor.naming.run_identity;
        let (key, run) = workflow::keys_of(&event, &monitor.naming);
        let runs = [run, workflow::run_by_event(&event, key)];
        if let Some(run) = runs.iter().find(|run| self.unreadable.contains(**run)) {
            return self.skip_unreadable(event, *run);
        }
        let is_done = |run| self.finished.contains(run) || self.delivery.has(run);
        if runs.into_iter().any(is_done) {
            return self.take_duplicate(event, key, run);
        }
        if let Some(slot) = self.superseded_by(key, event.attempt, run_identity) {
            self.supersede(slot, now);
        }
        if self.table.contains(key) || self.finished.contains(run) {
            return self.take_duplicate(event, key, run);
        }
        let watched_max = if self.draining {
            limits::WORKFLOWS_HELD_MAX
        } else {
            self.settings.workflows_max
        };
        if self.table.len() >= watched_max {
            return self.shed(event);
        }
        if event.submitted_at.is_some_and(|at| self.may_be_traced(at)) {
            let counters = &mut self.out.counters;
            counters.events.count(event.origin, EventFate::Forgotten);
            self.note_forgotten(event.monitor, event.workflow_id);
            if let Some(source) = event.source {
                self.out.act(Action::Send(Outgoing::Acknowledge(source)));
            }
            return;
        }
        self.watch(event, key, now);
    }

    /// Whether a run that began then may have been traced, and forgotten since.
    fn may_be_traced(&self, began: Wall) -> bool {
        self.settings.stores && self.finished.may_have_forgotten(began)
    }

    /// Ends the watch of a run that may have been traced: its spans would have the ids of the earlier ones.
    fn leave_untraced(&mut self, slot: u32, now: Now) {
        let Some(mut watch) = self.remove(slot) else {
            return;
        };
        let (run, began) = (watch.run(), watch.workflow.began());
        self.views.leave(slot);
        self.views.forget(run);
        self.note_forgotten(watch.monitor, watch.workflow.id().clone());
        self.finished.insert(run, began, now);
        self.out.change(Change::RemoveWorkflow(run));
        self.out.change(Change::PutFinished(run, began));
        self.forget_finished(now);
        let source = watch.workflow.take_source();
        self.delivery.end_run(run, source, &mut self.out);
    }

    fn note_forgotten(&mut self, monitor: u16, workflow_id: impl Into<Arc<str>>) {
        self.out.counters.runs_forgotten += 1;
        self.note_run(monitor, workflow_id, RunNote::Forgotten);
    }

    /// Takes a new workflow under watch.
    fn watch(&mut self, event: StartEvent, key: RunKey, now: Now) {
        let received_at = self.hosts.clock(event.monitor, now.wall);
        let monitor = &self.settings.monitors[usize::from(event.monitor)];
        let (sampler, origin) = (&self.settings.sampler, event.origin);
        let (watch, due) = Watch::started(event, key, monitor, sampler, received_at, now);
        let interval = monitor.interval_of(&watch.workflow, received_at);
        let earliest = now.mono + monitor.pace.initial_delay;
        let due = self.in_company(watch.monitor, due, earliest, interval);
        self.out.counters.events.count(origin, EventFate::Accepted);
        let workflow = &watch.workflow;
        let what = RunNote::Watching(workflow.trace_id());
        self.note_run(watch.monitor, workflow.id().clone(), what);
        // Its record counts at once, though it is not written yet: a burst of events comes in one turn.
        let record_bytes = if self.settings.stores {
            self.record(&watch).len()
        } else {
            0
        };
        let slot = self.insert(watch, due);
        self.table.set_record_bytes(slot, record_bytes);
        self.views.touch(slot);
        self.mark(slot);
    }

    /// The watch of an earlier attempt at the same run. The API answers about the later attempt from now on, so nothing
    /// more can be learned about the earlier one.
    fn superseded_by(
        &mut self,
        key: RunKey,
        attempt: Option<u32>,
        run_identity: RunIdentity,
    ) -> Option<u32> {
        let (slot, watch) = self.table.find(key)?;
        let earlier = run_identity.is_earlier(watch.workflow.attempt(), attempt);
        earlier.then_some(slot)
    }

    fn supersede(&mut self, slot: u32, now: Now) {
        let Some(watch) = self.table.get(slot) else {
            return;
        };
        let at = self.hosts.clock(watch.monitor, now.wall);
        match watch.phase {
            Phase::Waiting { .. } => {}
            Phase::Ready { .. } => self.hosts.withdraw(|ready| ready == slot),
            Phase::InFlight { .. } => {
                let generation = self.table.generation(slot).unwrap_or_default();
                self.hosts.orphan(slot, generation);
            }
        }
        self.end_early(slot, Abandoned::Superseded, at, now);
    }

    /// A run whose record cannot be read is not begun again: that would overwrite the record, and repeat the spans that
    /// it says are exported.
    fn skip_unreadable(&mut self, event: StartEvent, run: RunKey) {
        (self.out.counters.events).count(event.origin, EventFate::Unreadable);
        if let Some(source) = event.source {
            self.out.act(Action::Send(Outgoing::LeavePending(source)));
        }
        if let Some(why) = self.unreadable.reason_if_new(run) {
            self.note_run(event.monitor, event.workflow_id, RunNote::Unreadable(why));
        }
    }

    fn take_duplicate(&mut self, event: StartEvent, key: RunKey, run: RunKey) {
        (self.out.counters.events).count(event.origin, EventFate::Duplicate);
        let mut source = event.source.clone();
        // The source of a run that announces it again, as after a restart, waits for its spans as before.
        if let Some((slot, watch)) = self.table.find(key) {
            if watch.run() == run {
                watch.workflow.announced_again(&event);
            }
            let known = watch.workflow.source();
            if known.is_none_or(|known| Some(known) == event.source.as_deref())
                && let Some(source) = source.take()
            {
                watch.workflow.set_source(source);
            }
            self.mark(slot);
        } else if (source.as_deref()).is_some_and(|it| self.delivery.hold_source(run, it)) {
            source = None;
        }
        self.note_run(event.monitor, event.workflow_id, RunNote::Duplicate);
        if let Some(source) = source {
            self.out.act(Action::Send(Outgoing::Acknowledge(source)));
        }
    }

    fn shed(&mut self, event: StartEvent) {
        (self.out.counters.events).count(event.origin, EventFate::Shed);
        self.note_run(event.monitor, event.workflow_id, RunNote::Shed);
    }

    fn note_run(&mut self, monitor: u16, workflow_id: impl Into<Arc<str>>, what: RunNote) {
        let workflow_id = workflow_id.into();
        self.out.note(Note::Run {
            monitor,
            workflow_id,
            what,
        });
    }

    fn forget_finished(&mut self, now: Now) {
        let known = self.finished.forgotten();
        while let Some(run) = self.finished.forget(now.mono) {
            self.out.change(Change::RemoveFinished(run));
        }
        if let Some((forgotten, until)) = self.finished.forgotten().filter(|it| known != Some(*it))
        {
            self.out.change(Change::PutFinished(forgotten, until));
        }
    }

    /// How many of these records are watched again.
    fn restore_workflows(&mut self, records: Vec<(RunKey, Vec<u8>)>, now: Now) -> usize {
        let mut restored = 0;
        let mut reasons: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        for (run, bytes) in records {
            let record = record::decode(&bytes).map_err(|why| why.to_string());
            match record.and_then(|record| self.restore_workflow(record, bytes.len(), now)) {
                Ok(()) => {
                    restored += 1;
                    self.unreadable.remove(run);
                }
                Err(why) => {
                    let why: Arc<str> = why.into();
                    *reasons.entry(why.clone()).or_default() += 1;
                    if self.table.slot_of(run).is_none() {
                        self.unreadable.insert(run, why);
                    }
                }
            }
        }
        for (why, workflows) in reasons {
            let why = (*why).into();
            self.out
                .note(Note::State(StateNote::Unreadable { workflows, why }));
        }
        restored
    }

    fn restore_workflow(
        &mut self,
        mut record: Record,
        record_bytes: usize,
        now: Now,
    ) -> Result<(), String> {
        let mut monitors = (0..).zip(&self.settings.monitors);
        let monitor = monitors.find(|(_, m)| m.naming.monitor == record.monitor);
        let (index, monitor) = monitor.ok_or_else(|| {
            let name = &record.monitor;
            format!("there is no monitor {name:?}, configure it as it was")
        })?;
        if self.table.len() >= limits::WORKFLOWS_HELD_MAX {
            return Err("there is no room".into());
        }
        let key = RunKey::of(&record.monitor, record.workflow.id());
        let run = record.workflow.run_key(key);
        if self.finished.contains(run) {
            // A store that lost its last changes holds runs that have finished since.
            self.out.change(Change::RemoveWorkflow(run));
            return Ok(());
        }
        let at = self.hosts.clock(index, now.wall);
        let run_identity = monitor.naming.run_identity;
        let attempt = record.workflow.attempt();
        if let Some(slot) = self.superseded_by(key, attempt, run_identity) {
            self.supersede(slot, now);
        } else if let Some((_, watch)) = self.table.find(key) {
            if !run_identity.is_earlier(attempt, watch.workflow.attempt()) {
                return Err("it is watched already".into());
            }
            self.end_superseded(record.workflow, index, run, now);
            return Ok(());
        }
        let monitor = &self.settings.monitors[usize::from(index)];
        record.workflow.share_texts(&mut self.texts);
        let (watch, due) = Watch::restored(record, key, (index, monitor), at, now);
        let due = self.in_company(
            index,
            due,
            now.mono,
            monitor.interval_of(&watch.workflow, at),
        );
        let slot = self.insert(watch, due);
        self.table.set_record_bytes(slot, record_bytes);
        self.views.touch(slot);
        Ok(())
    }

    /// Ends a run that was stored, because a later attempt at it is watched already.
    fn end_superseded(&mut self, mut workflow: Workflow, monitor: u16, run: RunKey, now: Now) {
        let at = self.hosts.clock(monitor, now.wall);
        let naming = &self.settings.monitors[usize::from(monitor)].naming;
        let mut spans = Vec::new();
        let end = workflow.abandon(Abandoned::Superseded, at, naming, &mut spans);
        count_ended(&mut workflow, naming, monitor, now, &mut self.out);
        let (views, out) = (&mut self.views, &mut self.out);
        (self.delivery).push_spans(run, spans, now.mono, views, out);
        self.conclude(workflow, run, monitor, end, now);
    }

    fn take_answer(&mut self, polled: Polled, now: Now) {
        let is_awaited = (self.hosts).back(polled.slot, polled.generation, polled.requests);
        let Some(watch) = self.table.get(polled.slot).filter(|_| is_awaited) else {
            self.out.counters.answers_stale += 1;
            return;
        };
        let (monitor, due) = (watch.monitor, watch.due());
        let asked = polled.sent.mono;
        let took = polled.received.mono.since(asked);
        let counters = self.out.counters.monitor(monitor);
        counters.polls += 1;
        counters.requests += u64::from(polled.requests);
        counters.not_modified += u64::from(polled.not_modified);
        counters.lateness.record(asked.since(due));
        counters.latency.record(took);
        self.hosts.learn_latency(monitor, took);
        if matches!(polled.answer, Answer::Snapshot { .. } | Answer::NotFound) {
            self.hosts.learn_requests(monitor, polled.requests);
        }
        if let Some(skew_ns) = answers::skew_ns(&polled) {
            self.hosts.set_skew(monitor, skew_ns);
        }
        if let Some(pause) = polled.pause {
            self.pause_host(monitor, pause, now);
        }
        let answered = Answered {
            slot: polled.slot,
            monitor,
            due,
            asked,
            at: self.hosts.clock(monitor, polled.received.wall),
            now,
        };
        // From here on every path gives the watch a timer or ends it.
        match polled.answer {
            Answer::Snapshot { snapshot, oddity } => {
                self.take_snapshot(*snapshot, oddity, answered)
            }
            Answer::Partial { snapshot, failure } => {
                self.take_partial(*snapshot, failure, answered)
            }
            Answer::NotFound => self.take_not_found(answered),
            Answer::Failed(failure) => self.take_failure(failure, answered),
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

    fn note_answer(&mut self, monitor: u16) {
        if self.hosts.answer_is_news(monitor) {
            let what = ApiNote::Recovered;
            self.out.note(Note::Api { monitor, what });
        }
    }

    fn time_out(&mut self, slot: u32, now: Now) {
        if let Some(watch) = self.table.get(slot) {
            let at = self.hosts.clock(watch.monitor, now.wall);
            self.end_early(slot, Abandoned::TimedOut, at, now);
        }
    }

    /// Ends a watch though no answer said that the workflow has ended.
    fn end_early(&mut self, slot: u32, why: Abandoned, at: Wall, now: Now) {
        let abandon = |workflow: &mut Workflow, naming: &Naming, spans: &mut Vec<Span>| {
            workflow.abandon(why, at, naming, spans)
        };
        if let Some(end) = self.change_workflow(slot, now, abandon) {
            self.end(slot, end, now);
        }
    }

    /// Changes a workflow, and takes in the spans that are finished by that.
    fn change_workflow<T>(
        &mut self,
        slot: u32,
        now: Now,
        change: impl FnOnce(&mut Workflow, &Naming, &mut Vec<Span>) -> T,
    ) -> Option<T> {
        let watch = self.table.get_mut(slot)?;
        let naming = &self.settings.monitors[usize::from(watch.monitor)].naming;
        let mut spans = Vec::new();
        let result = change(&mut watch.workflow, naming, &mut spans);
        let (monitor, out) = (watch.monitor, &mut self.out);
        count_ended(&mut watch.workflow, naming, monitor, now, out);
        if !spans.is_empty() {
            let (run, views, out) = (watch.run(), &mut self.views, &mut self.out);
            let are_kept = (self.delivery).push_spans(run, spans, now.mono, views, out);
            watch.has_all_spans &= are_kept;
        }
        Some(result)
    }

    fn end(&mut self, slot: u32, end: End, now: Now) {
        if let Some(watch) = self.remove(slot) {
            let (run, monitor) = (watch.run(), watch.monitor);
            self.views.leave(slot);
            if self.views.are_wanted() {
                let naming = &self.settings.monitors[usize::from(monitor)].naming;
                let max = limits::VIEW_STAGES_MAX;
                let left_out = watch.workflow.left_out_stages(naming, max);
                let has_all_spans = watch.has_all_spans;
                (self.views).end(self.summary(&watch, run), left_out, has_all_spans);
            }
            self.conclude(watch.workflow, run, monitor, end, now);
        }
    }

    /// What is left to do about a run that has ended and whose spans are finished.
    fn conclude(&mut self, mut workflow: Workflow, run: RunKey, monitor: u16, end: End, now: Now) {
        let (began, duration) = (workflow.began(), workflow.duration());
        self.finished.insert(run, began, now);
        self.out.change(Change::RemoveWorkflow(run));
        self.out.change(Change::PutFinished(run, began));
        self.forget_finished(now);
        if let Some(name) = self.delivery.receiver(monitor).cloned()
            && let Some(event) =
                workflow.take_finished(run, name, &self.monitor(monitor).naming, end)
        {
            (self.delivery).push_event(&event, now.mono, &mut self.out);
        }
        let source = workflow.take_source();
        self.delivery.end_run(run, source, &mut self.out);
        let (outcome, abandoned) = end;
        self.out.counters.count_end(abandoned);
        let what = RunNote::Ended {
            run,
            trace_id: workflow.trace_id(),
            outcome,
            abandoned,
            duration,
        };
        self.note_run(monitor, workflow.id().clone(), what);
    }
}

#[cfg(test)]
mod tests;
