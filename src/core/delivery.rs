//! Delivery: spans and log records on their way to the collector and finished events on their way to their receivers.
//!
//! ```text
//! push_spans, push_log_records, push_event -> (encoded, stored) -> send_due -> settle_export, settle_events
//!                                                                       |
//!                              the run has ended and its last item is delivered: its source is acknowledged
//! ```

use super::api::{Action, Change, Encoders, Outgoing, Settings};
use super::backoff::Jitter;
use super::finished::{FinishedEvent, Notification, Notified};
use super::give_back::GiveBack;
use super::ids::RunKey;
use super::log_record::LogRecord;
use super::metrics::ExportResult;
use super::note::{CollectorNote, Note, ReceiverNote, StateNote};
use super::notification::Notifications;
use super::out::Decisions;
use super::outbox::{ExportOutcome, Exported, Outbox, OutboxItem, Signal};
use super::span::Span;
use super::time::{Mono, Now};
use super::trouble::{ReceiverNews, Repeated};
use super::view::Views;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub(super) struct Delivery {
    encoders: Encoders,
    /// Whether there is a collector for spans.
    exports: bool,
    /// Whether there is a collector for log records.
    exports_logs: bool,
    outbox: Outbox,
    collector_news: CollectorNews,
    /// The outbox of the log records.
    log_outbox: Outbox,
    log_collector_news: CollectorNews,
    notifications: Notifications,
    /// Runs with a span or a finished event that is not delivered.
    runs: HashMap<RunKey, Undelivered>,
    /// Whether polls wait because too many spans or log records wait.
    is_full_of_items: bool,
    /// Whether polls wait because too many finished events wait.
    is_full_of_events: bool,
}

/// What was noted of the collector about one signal.
#[derive(Debug, Default)]
struct CollectorNews {
    trouble: ReceiverNews,
    warnings: Repeated,
    rejections: Repeated,
    refusals: Repeated,
    splits: Repeated,
}

impl CollectorNews {
    /// What became of a batch, if it is time for a note. `gone` items have left the outbox with it, and `waiting` are
    /// still there.
    fn note_of(
        &mut self,
        outcome: ExportOutcome,
        (gone, waiting): (u64, usize),
        now: Mono,
    ) -> Option<CollectorNote> {
        Some(match outcome {
            ExportOutcome::Delivered { rejected, message } => {
                let rejected = match (rejected, message.is_empty()) {
                    (0, true) => return None,
                    (0, false) => self.warnings.note(0, now)?,
                    (rejected, _) => self.rejections.note(rejected, now)?,
                };
                CollectorNote::Partial { rejected, message }
            }
            ExportOutcome::Retry { reason, .. } => {
                let is_news = self.trouble.trouble_is_news(now);
                return is_news.then_some(CollectorNote::Troubled { reason, waiting });
            }
            ExportOutcome::TooLarge { .. } if gone == 0 => {
                self.splits.note(1, now)?;
                CollectorNote::Split
            }
            ExportOutcome::TooLarge { message } | ExportOutcome::Rejected { message } => {
                let items = self.refusals.note(gone, now)?;
                CollectorNote::Refused { items, message }
            }
        })
    }
}

/// What is not delivered of one run.
#[derive(Debug, Default)]
struct Undelivered {
    /// Its spans and log records, and its finished event.
    items: usize,
    ended: bool,
    /// The source that waits to be acknowledged.
    source: Option<Box<str>>,
}

impl Delivery {
    /// Nothing is under way yet.
    pub(super) fn new(settings: &Settings, encoders: Encoders, now: Now) -> Self {
        let receivers = settings.monitors.iter().map(|monitor| {
            let naming = &monitor.naming;
            naming.notifies.then(|| (*naming.monitor).into())
        });
        // Greater than the numbers of an earlier start, and different among instances.
        let first_sequence = now.wall.as_unix_ns().unsigned_abs();
        Delivery {
            encoders,
            exports: settings.exports,
            exports_logs: settings.exports_logs,
            outbox: Outbox::new(Signal::Traces, settings.batch, first_sequence),
            collector_news: CollectorNews::default(),
            log_outbox: Outbox::new(Signal::Logs, settings.batch, first_sequence),
            log_collector_news: CollectorNews::default(),
            notifications: Notifications::new(receivers, first_sequence),
            runs: HashMap::new(),
            is_full_of_items: false,
            is_full_of_events: false,
        }
    }

    /// Takes in finished spans of a run.
    ///
    /// Returns whether viewers have them all.
    pub(super) fn push_spans(
        &mut self,
        run: RunKey,
        spans: Vec<Span>,
        now: Mono,
        views: &mut Views,
        out: &mut Decisions,
    ) -> bool {
        out.counters.spans_finished += spans.len() as u64;
        let mut are_kept = true;
        for span in spans {
            if self.exports || views.are_wanted() {
                let bytes = (self.encoders.span)(&span);
                let sequence = self.exports.then(|| {
                    self.runs.entry(run).or_default().items += 1;
                    let monitor = span.service.as_ref().map(|s| s.monitor.clone());
                    let encoded = self.outbox.push(run, monitor, bytes.clone(), now);
                    let sequence = encoded.sequence;
                    out.change(Change::PutItem(encoded));
                    sequence
                });
                if !span.shows_start() {
                    are_kept &= views.keep_span(run, bytes, sequence);
                }
            }
            out.act(Action::Finished(Box::new(span)));
        }
        are_kept
    }

    /// Takes in log records of a run.
    pub(super) fn push_log_records(
        &mut self,
        run: RunKey,
        records: &[LogRecord],
        now: Mono,
        out: &mut Decisions,
    ) {
        if !self.exports_logs {
            return;
        }
        out.counters.log_records_made += records.len() as u64;
        for record in records {
            self.runs.entry(run).or_default().items += 1;
            let monitor = record.service.as_ref().map(|s| s.monitor.clone());
            let bytes = (self.encoders.log_record)(record);
            let encoded = self.log_outbox.push(run, monitor, bytes, now);
            out.change(Change::PutItem(encoded));
        }
    }

    /// The name of a monitor, if its finished events have a receiver.
    pub(super) fn receiver(&self, monitor: u16) -> Option<&Arc<str>> {
        self.notifications.name_of(monitor)
    }

    /// Takes in the finished event of a run.
    pub(super) fn push_event(&mut self, event: &FinishedEvent, now: Mono, out: &mut Decisions) {
        let run = event.run;
        self.runs.entry(run).or_default().items += 1;
        let bytes = (self.encoders.finished_event)(event);
        let monitor = event.monitor.clone();
        let notification = self.notifications.push(run, monitor, bytes, now);
        out.change(Change::PutNotification(notification));
    }

    /// A run has ended. Its source is acknowledged once all of it is delivered.
    pub(super) fn end_run(&mut self, run: RunKey, source: Option<Box<str>>, out: &mut Decisions) {
        let undelivered = self.runs.entry(run).or_default();
        undelivered.ended = true;
        undelivered.source = source;
        self.done_with(run, 0, out);
    }

    /// The source of a run that has ended announces it again, as after a restart. True: it will be acknowledged with the
    /// run.
    pub(super) fn hold_source(&mut self, run: RunKey, source: &str) -> bool {
        let Some(undelivered) = self.runs.get_mut(&run) else {
            return false;
        };
        let known = undelivered.source.get_or_insert_with(|| source.into());
        **known == *source
    }

    /// Whether something of a run is not delivered.
    pub(super) fn has(&self, run: RunKey) -> bool {
        self.runs.contains_key(&run)
    }

    /// Sends what is due. `hurry`: wait for no other spans, and keep our own pauses short.
    pub(super) fn send_due(&mut self, now: Mono, hurry: bool, out: &mut Decisions) {
        for outbox in [&mut self.outbox, &mut self.log_outbox] {
            if let Some(batch) = outbox.next_batch(now, hurry) {
                out.act(Action::Send(Outgoing::Export(batch)));
            }
        }
        while let Some(notify) = self.notifications.next(now, hurry) {
            out.act(Action::Send(Outgoing::Notify(notify)));
        }
    }

    /// When [`send_due`](Self::send_due) has something next, as far as is known now.
    pub(super) fn next_deadline(&self, hurry: bool) -> Option<Mono> {
        let deadlines = [
            self.outbox.next_deadline(hurry),
            self.log_outbox.next_deadline(hurry),
            self.notifications.next_deadline(hurry),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Takes in what became of a batch.
    pub(super) fn settle_export(
        &mut self,
        exported: Exported,
        now: Mono,
        jitter: &mut Jitter,
        views: &mut Views,
        out: &mut Decisions,
    ) {
        let Exported {
            signal,
            batch,
            outcome,
        } = exported;
        let (outbox, news) = match signal {
            Signal::Traces => (&mut self.outbox, &mut self.collector_news),
            Signal::Logs => (&mut self.log_outbox, &mut self.log_collector_news),
        };
        let Some(gone) = outbox.settle(batch, &outcome, now, jitter) else {
            return;
        };
        if !outbox.is_failing() && news.trouble.ends() {
            let what = CollectorNote::Recovered;
            out.note(Note::Collector { signal, what });
        }
        let items = gone.len() as u64;
        let rejected = match &outcome {
            ExportOutcome::Delivered { rejected, .. } => items.min(*rejected),
            _ => items,
        };
        out.counters
            .count_exported(signal, items - rejected, rejected);
        if signal == Signal::Traces {
            out.counters.exports[ExportResult::of(&outcome) as usize] += 1;
            if matches!(outcome, ExportOutcome::Retry { .. }) {
                out.counters.spans_sent_again += outbox.batch_len() as u64;
            }
            // Which spans a partial success leaves out is not known.
            for span in gone.iter().filter(|_| rejected < items) {
                views.delivered(span.run, span.sequence);
            }
        }
        let waiting = outbox.len();
        if let Some(what) = news.note_of(outcome, (items, waiting), now) {
            out.note(Note::Collector { signal, what });
        }
        if !gone.is_empty() {
            for item in &gone {
                self.done_with(item.run, 1, out);
            }
            out.change(Change::RemoveItems(gone));
        }
    }

    /// Takes in what became of finished events.
    pub(super) fn settle_events(
        &mut self,
        notified: Notified,
        now: Mono,
        jitter: &mut Jitter,
        out: &mut Decisions,
    ) {
        let settled = self.notifications.settle(&notified, now, jitter);
        let Some(gone) = settled else {
            return;
        };
        let monitor = notified.monitor;
        let has_answered = !(notified.taken.is_empty() && notified.refused.is_empty());
        out.counters.notifications_delivered += notified.taken.len() as u64;
        out.counters.notifications_refused += notified.refused.len() as u64;
        if let Some(news) = self.notifications.news_mut(monitor) {
            for (run, message) in notified.refused {
                if news.refusals.note(1, now).is_some() {
                    let what = ReceiverNote::Refused { run, message };
                    out.note(Note::Receiver { monitor, what });
                }
            }
            let what = match notified.trouble {
                Some(trouble) => (news.trouble.trouble_is_news(now))
                    .then_some(ReceiverNote::Troubled(trouble.reason)),
                None => (has_answered && news.trouble.ends()).then_some(ReceiverNote::Recovered),
            };
            if let Some(what) = what {
                out.note(Note::Receiver { monitor, what });
            }
        }
        if !gone.is_empty() {
            for event in &gone {
                self.done_with(event.run, 1, out);
            }
            out.change(Change::RemoveNotifications(gone));
        }
    }

    /// Forgets runs that another instance owns or has delivered. Returns the sources that waited for them.
    pub(super) fn disown(&mut self, runs: &[RunKey]) -> Vec<(RunKey, Box<str>)> {
        let (mut sources, mut lost) = (Vec::new(), HashSet::new());
        for run in runs {
            if let Some(undelivered) = self.runs.remove(run) {
                if undelivered.items > 0 {
                    lost.insert(*run);
                }
                sources.extend(undelivered.source.map(|source| (*run, source)));
            }
        }
        self.runs.give_back();
        if !lost.is_empty() {
            self.outbox.forget(|run| lost.contains(&run));
            self.log_outbox.forget(|run| lost.contains(&run));
            self.notifications.forget(|run| lost.contains(&run));
        }
        sources
    }

    /// Goes on with items that were stored. `services`: the names of the monitors with a service of their own.
    pub(super) fn restore_items(
        &mut self,
        mut items: Vec<OutboxItem>,
        services: impl Iterator<Item = Arc<str>>,
        now: Mono,
    ) {
        items.sort_unstable_by_key(|item| item.sequence);
        // Each name is in memory once, those of monitors that are not configured any more too.
        let mut names: HashSet<Arc<str>> = services.collect();
        for mut item in items {
            item.monitor = item.monitor.map(|name| {
                let known = names.get(&name).cloned();
                known.unwrap_or_else(|| {
                    names.insert(name.clone());
                    name
                })
            });
            self.runs.entry(item.run).or_default().items += 1;
            match item.signal {
                Signal::Traces => self.outbox.restore(item, now),
                Signal::Logs => self.log_outbox.restore(item, now),
            }
        }
    }

    /// Goes on with finished events that were stored.
    pub(super) fn restore_events(
        &mut self,
        mut events: Vec<Notification>,
        now: Mono,
        out: &mut Decisions,
    ) {
        events.sort_unstable_by_key(|event| event.sequence);
        let mut stranded: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        for event in events {
            self.runs.entry(event.run).or_default().items += 1;
            let monitor = event.monitor.clone();
            if !self.notifications.restore(event, now) {
                *stranded.entry(monitor).or_default() += 1;
            }
        }
        for (monitor, notifications) in stranded {
            out.note(Note::State(StateNote::Stranded {
                monitor,
                notifications,
            }));
        }
    }

    /// Runs that are not watched have ended: the collector may be down for longer than a finished run is remembered.
    pub(super) fn end_unwatched(&mut self, is_watched: impl Fn(RunKey) -> bool) {
        for (run, undelivered) in &mut self.runs {
            undelivered.ended |= !is_watched(*run);
        }
    }

    /// Looks again whether so much waits that polls have to wait too, and notes when that changes.
    pub(super) fn update_hold(&mut self, out: &mut Decisions) {
        let before = self.holds_polls();
        self.is_full_of_items = if self.is_full_of_items {
            !(self.outbox.has_room_again() && self.log_outbox.has_room_again())
        } else {
            self.outbox.is_full() || self.log_outbox.is_full()
        };
        self.is_full_of_events = if self.is_full_of_events {
            !self.notifications.has_room_again()
        } else {
            self.notifications.is_full()
        };
        if self.holds_polls() != before {
            out.note(Note::PollsHeld(!before));
        }
    }

    /// Whether so much waits that polls wait too.
    pub(super) fn holds_polls(&self) -> bool {
        self.is_full_of_items || self.is_full_of_events
    }

    /// Spans and log records that the collector has not acknowledged, each in order.
    pub(super) fn items(&self) -> impl Iterator<Item = &OutboxItem> {
        self.outbox.iter().chain(self.log_outbox.iter())
    }

    /// The bytes of these spans, as they are stored.
    pub(super) fn spans_bytes(&self) -> usize {
        self.outbox.bytes()
    }

    /// Since when the first of these spans waits.
    pub(super) fn spans_since(&self) -> Option<Mono> {
        self.outbox.first_since()
    }

    /// How many spans the collector has not acknowledged.
    pub(super) fn spans_len(&self) -> usize {
        self.outbox.len()
    }

    /// How many log records the collector has not acknowledged.
    pub(super) fn log_records_len(&self) -> usize {
        self.log_outbox.len()
    }

    /// Finished events that no receiver has accepted.
    pub(super) fn events(&self) -> impl Iterator<Item = &Notification> {
        self.notifications.iter()
    }

    /// How many finished events wait for a receiver that is configured.
    pub(super) fn events_waiting(&self) -> usize {
        self.notifications.waiting()
    }

    /// Whether finished events are with a notifier.
    pub(super) fn events_in_flight(&self) -> bool {
        self.notifications.any_in_flight()
    }

    /// How many items are stored.
    pub(super) fn stored_items(&self) -> usize {
        self.outbox.len() + self.log_outbox.len() + self.notifications.len()
    }

    /// Their bytes, as they are stored.
    pub(super) fn stored_bytes(&self) -> usize {
        self.outbox.bytes() + self.log_outbox.bytes() + self.notifications.bytes()
    }

    /// Holds what must always be true.
    pub(super) fn check_invariants(&self) {
        self.outbox.check_invariants();
        self.log_outbox.check_invariants();
        self.notifications.check_invariants();
    }

    /// So many items of a run are done with. After the last one of a run that has ended its source is acknowledged.
    fn done_with(&mut self, run: RunKey, done: usize, out: &mut Decisions) {
        let Some(undelivered) = self.runs.get_mut(&run) else {
            return;
        };
        undelivered.items = undelivered.items.saturating_sub(done);
        if undelivered.items > 0 {
            return;
        }
        let undelivered = self.runs.remove(&run);
        self.runs.give_back();
        if let Some(undelivered) = undelivered
            && undelivered.ended
            && let Some(source) = undelivered.source
        {
            out.act(Action::Send(Outgoing::Acknowledge(source)));
        }
    }
}
