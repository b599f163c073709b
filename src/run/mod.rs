//! The loop: one thread that owns all state, and the threads around it.
//!
//! ```text
//! intake ──events──▶ ┌──────┐ ──polls────▶ pollers ──answers──▶ ┐
//! signals ─stop────▶ │ loop │ ──batches──▶ exporter ─outcomes─▶ ├─▶ the loop again
//!                    │ core │ ──spans────▶ console, demo
//!                    └──────┘
//! ```
//!
//! SIGHUP comes by way of [`living`], which reads the configuration again and sends the status to the service manager.
//!
//! Every channel is bounded, and the core knows how much room there is, so that the loop never waits on a send. It
//! waits in one place, the `select!`, for an answer or for the core's next deadline.

mod admissions;
mod beside;
mod build;
mod displays;
mod endpoint;
mod health;
mod inbox;
mod living;
mod notifying;
mod numbers;
mod polling;
mod report;
mod resource;
mod sources;
mod start;
mod stopping;
mod viewing;

use crate::api::poller::PollerReport;
use crate::core::outbox::{Batch, Signal};
use crate::core::span::Span;
use crate::core::time::Mono;
use crate::core::turn::{Step, StoreTerms, Turn};
use crate::core::{
    Action, ApiNote, Core, Encoders, Input, Note, Outgoing, Poll, PollGroup, Polled, RunNote,
    Stored,
};
use crate::deliver::notify;
use crate::deliver::otlp;
use crate::intake::entries::Settled;
use crate::intake::posted::{Admission, Posted};
use crate::os::clock;
use crate::os::systemd::{ServiceState, ServiceStatus, StateRoom};
use crate::store::{Store, View};
use admissions::Admissions;
pub use beside::{Beside, BesideEnd};
pub use build::{collector_trust, naming, refused_place, target, trust};
#[cfg(feature = "redis")]
pub use build::{streams, subscriptions};
use crossbeam_channel::Sender;
use displays::Displays;
pub use endpoint::Endpoint;
use health::Health;
use inbox::{Heard, Inbox};
use living::{Living, Reload};
use notifying::Receivers;
use numbers::Numbered;
use polling::Polling;
pub use report::Report;
use report::{MonitorNames, log_note, log_report, log_store, touched};
use sources::Feed;
pub use start::{SPANS_QUEUE, run, source_missing, watch, watch_seen};
use std::time::Duration;
#[cfg(feature = "internals")]
pub use stopping::STOP_MAX;
use viewing::Viewing;

/// What an onlooker sees of the loop.
#[derive(Debug)]
pub enum Sight<'a> {
    /// A poll is due.
    Asks(&'a Poll),
    /// A poll was answered.
    Answered(&'a Polled),
    /// A span is finished.
    Finished(&'a Span),
    /// What the log is told.
    Noted(&'a Note),
}

/// Sees everything as it happens, on the loop's thread: it may not wait for anything.
pub type Onlooker = Box<dyn FnMut(Sight<'_>)>;

/// The state and the ways out of the loop.
struct Loop {
    core: Core,
    turn: Turn,
    /// When the turn goes on though nothing happens.
    turn_due: Option<Mono>,
    store: Option<Box<dyn Store>>,
    inbox: Inbox,
    polling: Polling,
    /// `None`: spans go to no collector.
    batches: Option<Sender<Batch>>,
    /// `None`: there are no log records.
    log_batches: Option<Sender<Batch>>,
    receivers: Receivers,
    feed: Feed,
    admissions: Admissions,
    living: Living,
    displays: Displays,
    viewing: Viewing,
    numbered: Numbered,
    /// When the stop has to be over, if it has such a deadline.
    stop_by: Option<Mono>,
    /// The names of the monitors and of their workflows, for the log.
    names: Vec<MonitorNames>,
}

/// Inputs that share a turn, and so a commit.
const TURN_INPUTS_MAX: usize = 256;
/// OTLP for the collector, JSON for the receivers of finished events.
const ENCODERS: Encoders = Encoders {
    span: otlp::encode,
    log_record: otlp::encode_log_record,
    finished_event: notify::encode,
};
const ACKNOWLEDGE_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What is left when the loop has ended.
struct LoopEnd {
    report: Report,
    polls_in_flight: usize,
    /// Whether a receiver is still being sent finished events.
    notifies: bool,
}

impl Loop {
    fn run_until_stopped(&mut self) {
        self.living.say(ServiceState::Ready);
        let mut ends = false;
        loop {
            let heard = self.next_heard();
            match heard {
                Heard::Stopped => return,
                Heard::Ended => ends = true,
                heard => self.take(heard),
            }
            self.take_what_is_there();
            self.end_turn();
            self.serve_viewers();
            if ends && self.is_idle() {
                return log::info!("all that was heard of is traced");
            }
        }
    }

    fn next_heard(&mut self) -> Heard {
        let patience = self.patience().min(self.supervise());
        self.inbox.next(self.core.has_room(), patience)
    }

    fn take(&mut self, heard: Heard) {
        match heard {
            Heard::Input(input) => return self.handle(input),
            Heard::Report(report) => return self.take_report(report),
            Heard::SourceState(state) => self.feed.note_state(state),
            Heard::Posted(posted) => self.admit(posted),
            // Who asked may have gone.
            Heard::HealthCheck(answer) => drop(answer.try_send(self.health())),
            // Who asked may have gone.
            Heard::Numbers(answer) => drop(answer.try_send(self.numbers(clock::now()))),
            Heard::Question(question) => self.answer(question),
            Heard::Reload(reload) => self.reload(reload),
            Heard::Store => self.proceed(),
            Heard::Ended | Heard::Stopped | Heard::Nothing => {}
        }
        self.handle(Input::Tick);
    }

    /// What is there already shares the commit.
    fn take_what_is_there(&mut self) {
        for _ in 0..TURN_INPUTS_MAX {
            match self.inbox.try_next(self.core.has_room()) {
                Some(heard) => self.take(heard),
                None => break,
            }
        }
        for _ in 0..TURN_INPUTS_MAX {
            match self.inbox.posted.try_recv() {
                Ok(posted) => self.admit(posted),
                Err(_) => break,
            }
        }
    }

    /// How long the core can wait if nothing happens.
    fn patience(&self) -> Duration {
        const LONG: Duration = Duration::from_secs(3600);
        if self.viewing.is_listing() {
            return Duration::ZERO;
        }
        let deadlines = [self.core.next_deadline(), self.turn_due];
        let deadline = deadlines.into_iter().flatten().min();
        let patience = deadline.map_or(LONG, |at| at.since(clock::now().mono));
        if self.feed.has_unsettled() {
            patience.min(ACKNOWLEDGE_AGAIN_AFTER)
        } else {
            patience
        }
    }

    fn handle(&mut self, input: Input) {
        self.core.handle(input, clock::now());
        self.act();
    }

    /// Answers of a poller, and the polls that it has not begun.
    fn take_report(&mut self, report: PollerReport) {
        let now = clock::now();
        for polled in report.answers {
            self.displays.see(Sight::Answered(&polled));
            self.core.handle(Input::Polled(polled), now);
        }
        if !report.not_begun.is_empty() {
            self.core.handle(Input::Recalled(report.not_begun), now);
        }
        self.act();
    }

    /// Does what the core wants done at once, and keeps the rest for the turn.
    fn act(&mut self) {
        while let Some(action) = self.core.next_action() {
            match action {
                Action::Poll(polls) => {
                    if let Some(polls) = self.turn.admit_polls(&self.core, polls) {
                        self.poll(polls);
                    }
                }
                Action::Recall(poller) => self.take_report(self.polling.recall(poller)),
                Action::Finished(span) => self.displays.show(*span),
                Action::List(monitor) => self.feed.let_list(monitor),
                Action::Send(outgoing) => self.turn.hold(outgoing),
                Action::Note(note) => {
                    self.displays.see(Sight::Noted(&note));
                    match note {
                        Note::Api {
                            what: ApiNote::Paused { .. },
                            ..
                        } => self.recall(),
                        Note::Run {
                            what: RunNote::Ended { run, .. },
                            ..
                        } => self.tell_followers(run),
                        _ => {}
                    }
                    log_note(note, &self.names);
                }
            }
        }
    }

    /// Goes on with what the store held.
    fn restore(&mut self, stored: Stored) {
        self.core.restore(stored, clock::now());
        self.handle(Input::Tick);
        self.end_turn();
    }

    /// What the turn decides is done, until it waits.
    fn end_turn(&mut self) {
        loop {
            let now = clock::now();
            let terms = StoreTerms {
                due: self.store.as_ref().and_then(|store| store.next_deadline()),
                may_export: self
                    .store
                    .as_ref()
                    .is_none_or(|store| store.may_export(now)),
            };
            match self.turn.next(&mut self.core, terms, now) {
                Step::Commit(changes) => {
                    if let Some(store) = &mut self.store {
                        store.begin_commit(changes);
                    }
                    self.proceed();
                }
                Step::Send(outgoing) => self.send(outgoing),
                Step::Poll(polls) => self.poll(polls),
                Step::Report(news) => log_store(&news),
                Step::Wait(until) => {
                    self.turn_due = until;
                    break;
                }
            }
            self.act();
        }
        self.feed.settle();
    }

    /// Goes on with the commit under way, if there is one.
    fn proceed(&mut self) {
        let Some(store) = &mut self.store else { return };
        let now = clock::now();
        let view = View {
            everything: &|| self.core.everything(),
            room: self.core.room(),
        };
        let Some(result) = store.proceed(&view, now) else {
            return;
        };
        let result = result.map_err(|error| error.to_string().into());
        if let Some(news) = self.turn.committed(&mut self.core, result, now) {
            log_store(&news);
        }
        self.act();
    }

    fn poll(&mut self, group: PollGroup) {
        for poll in &group.polls {
            self.displays.see(Sight::Asks(poll));
        }
        self.core.group_begun(group.poller, clock::now().mono);
        self.polling.send(group);
    }

    fn send(&mut self, outgoing: Outgoing) {
        match outgoing {
            // One at a time, and there is one place.
            Outgoing::Export(batch) => {
                let to = match batch.signal {
                    Signal::Traces => &self.batches,
                    Signal::Logs => &self.log_batches,
                };
                drop(to.as_ref().map(|to| to.try_send(batch)));
            }
            Outgoing::Notify(notify) => self.receivers.send(notify),
            Outgoing::Acknowledge(source) => self.feed.push(Settled::Acknowledge(source)),
            Outgoing::LeavePending(source) => self.feed.push(Settled::LeavePending(source)),
            Outgoing::Accept(request) => self.admissions.accept(request),
        }
    }

    /// Takes back the polls that no poller has begun, and the answers that pollers keep. The polls may not be due any more.
    fn recall(&mut self) {
        let now = clock::now();
        self.core.handle(Input::Recalled(self.turn.recall()), now);
        let reports: Vec<PollerReport> = self.polling.recall_all().collect();
        for report in reports {
            self.take_report(report);
        }
    }

    /// Takes in all start events of a request, or none. The answer waits for their commit.
    fn admit(&mut self, posted: Posted) {
        if !self.core.has_room() || self.core.room() < posted.events.len() {
            // The client may have gone.
            let _ = posted.answer.try_send(Admission::NoRoom);
            return;
        }
        for event in posted.events {
            self.handle(Input::Started(event));
        }
        let request = self.admissions.insert(posted.answer);
        self.turn.hold(Outgoing::Accept(request));
    }

    fn reload(&mut self, reload: Reload) {
        let Some(config) = self.living.reload(reload) else {
            return;
        };
        match self.polling.renew(config) {
            Ok(targets) => self.feed.renew(targets),
            Err(trouble) => log::error!("the credentials of the APIs stay as they were: {trouble}"),
        }
        let paces = build::paces(config);
        self.handle(Input::Reloaded(paces));
    }

    /// Reports to the service manager. Returns how long the loop may wait before it does so again.
    fn supervise(&mut self) -> Duration {
        let core = &self.core;
        let room = || {
            if core.state_is_full() {
                StateRoom::Full
            } else {
                StateRoom::of(core.state_bytes(), core.state_bytes_max())
            }
        };
        let status = ServiceStatus {
            activity: self.living.activity,
            mistakes: self.living.mistakes,
            deaf: self.feed.troubles().count(),
            watched: core.watched(),
            ended: core.counters().workflows_ended,
            waiting: core.spans_waiting(),
            untold: core.notifications_waiting(),
            state: self.store.as_ref().map(|_| room()),
        };
        self.living.supervise(status)
    }

    fn health(&self) -> Health {
        let sources = self.feed.troubles();
        let sources = sources.map(|(source, why)| format!("{source}: {why}"));
        let state = self.turn.is_troubled();
        let state = state.then(|| "the state cannot be written".to_owned());
        let apis = self.core.monitors_refused().map(|monitor| {
            let api = self.names[usize::from(monitor)].title();
            format!("{api} refuses the credentials")
        });
        Health {
            troubles: sources.chain(state).chain(apis).collect(),
        }
    }

    /// Spans, log records and finished events that are not delivered.
    fn undelivered(&self) -> usize {
        let log_records = self.core.log_records_waiting();
        self.core.spans_waiting() + log_records + self.core.notifications_waiting()
    }

    /// Whether nothing is left to be done.
    fn is_idle(&self) -> bool {
        self.inbox.events.is_empty()
            && self.inbox.posted.is_empty()
            && self.core.watched() == 0
            && self.undelivered() == 0
            && self.turn.is_done()
    }

    fn finish(mut self) -> (LoopEnd, Receivers) {
        if let Some(store) = &mut self.store {
            store.leave();
        }
        let counters = self.core.counters().clone();
        let undelivered = self.core.spans_waiting();
        let log_records_undelivered = self.core.log_records_waiting();
        let untold = self.core.notifications_waiting();
        let unstored = self.turn.unstored().count();
        let (runs_lost, spans_lost) = touched(self.turn.unstored());
        let report = Report {
            unfinished: self.core.watched(),
            undelivered,
            log_records_undelivered,
            untold,
            lost: match self.store {
                Some(_) => unstored,
                None => undelivered + log_records_undelivered + untold,
            },
            spans_lost,
            runs_lost,
            state_bytes_max: self.core.state_bytes_max(),
            counters,
        };
        log_report(&report, self.store.is_some());
        self.feed.settle();
        self.feed
            .finish(stopping::cut(stopping::ACKNOWLEDGED, self.stop_by));
        let finished = LoopEnd {
            report,
            polls_in_flight: self.core.polls_in_flight(),
            notifies: self.core.notifications_in_flight(),
        };
        (finished, self.receivers)
    }
}

#[cfg(test)]
mod tests;
