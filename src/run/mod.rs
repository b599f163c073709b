//! The loop: one thread that owns all state, and the threads around it.
//!
//! ```text
//! intake ──events──▶ ┌──────┐ ──polls────▶ pollers ──answers──▶ ┐
//! signals ─stop────▶ │ loop │ ──batches──▶ exporter ─outcomes─▶ ├─▶ the loop again
//!                    │ core │ ──spans────▶ console, demo
//!                    └──────┘
//! ```
//!
//! SIGHUP comes by way of [`living`], which reads the configuration anew and tells the service manager how things are.
//!
//! Every channel is bounded, and the core knows how much room there is, so that the loop never waits on a send. It
//! waits in one place, the `select!`, for an answer or for the core's next deadline.

mod build;
mod living;
mod notifying;
mod report;
mod resource;
mod sources;
mod start;
mod stopping;

use crate::api::poller::{Ask, Target};
use crate::core::event::StartEvent;
use crate::core::outbox::{Batch, ExportOutcome};
use crate::core::span::Span;
use crate::core::time::Mono;
use crate::core::turn::{Step, StoreTerms, Turn};
use crate::core::{Action, Change, Core, Encoders, Input, Note, Outgoing, Poll, Polled};
use crate::deliver::notify;
use crate::deliver::otlp;
use crate::http::client::NameCache;
use crate::intake::posted::{Admission, Posted};
use crate::os::clock;
use crate::os::systemd::State;
use crate::store::{Store, View};
pub use build::{collector_trust, naming, target, trust};
use crossbeam_channel::{Receiver, Sender, TrySendError, never, select};
use living::Living;
use notifying::Receivers;
pub use report::Report;
use report::{log_note, log_report, log_store, touched};
use sources::{Feed, Settled};
pub use start::{SPANS_QUEUE, run, source_missing, watch, watch_seen};
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
pub use stopping::STOP_MAX;

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

/// When polls are always due, answers gather for so long: woken for each, the loop would cost more than its work.
const GATHER: Duration = Duration::from_micros(100);

/// The state and the ways out of the loop.
struct Loop {
    core: Core,
    polls: Sender<Ask>,
    /// The other end, to take back what no poller has begun with.
    polls_at_hand: Receiver<Ask>,
    pollers: usize,
    /// The API, with the token that is in force.
    /// In the order of the monitors.
    targets: Vec<Arc<Target>>,
    /// What the log calls them, in the same order.
    apis: Vec<String>,
    /// For token requests of targets yet to come.
    names: NameCache,
    /// `None`: spans go to no collector.
    batches: Option<Sender<Batch>>,
    spans: Vec<Sender<Arc<Span>>>,
    /// Spans that nobody could show in time. They are exported all the same.
    spans_unshown: u64,
    onlooker: Option<Onlooker>,
    store: Option<Box<dyn Store>>,
    turn: Turn,
    /// When the turn goes on though nothing happens.
    turn_due: Option<Mono>,
    receivers: Receivers,
    living: Living,
    /// Acknowledgements that their source had no room for yet.
    unsettled: VecDeque<Settled>,
    feed: Feed,
    posted: Receiver<Posted>,
    /// HTTP requests whose start events are not stored yet, by number.
    unanswered: HashMap<u64, Sender<Admission>>,
    /// How many HTTP requests there were.
    requests: u64,
    /// Disconnects when no more events are to come: then what is heard is brought to its end, and that is all.
    ended: Receiver<Infallible>,
}

/// Inputs that share a turn, and so a commit.
const TURN_INPUTS_MAX: usize = 256;
/// OTLP for the collector, JSON for the receivers of finished events.
const ENCODERS: Encoders = Encoders {
    span: otlp::encode,
    finished_event: notify::encode,
};
const SETTLE_AGAIN_AFTER: Duration = Duration::from_millis(50);

struct Finished {
    report: Report,
    polls_in_flight: usize,
    is_telling: bool,
}

impl Loop {
    fn turn_until(
        &mut self,
        stopped: &Receiver<Infallible>,
        events: &Receiver<StartEvent>,
        answers: &Receiver<Polled>,
        outcomes: &Receiver<(u64, ExportOutcome)>,
    ) {
        let (nobody, no_reload, nothing, endless) = (never(), never(), never(), never());
        let mut source = events;
        let (posted, ended) = (self.posted.clone(), self.ended.clone());
        let notified = self.receivers.notified.clone();
        let (mut posted, mut ended) = (&posted, &ended);
        let mut ends = false;
        let reloads = self.living.reloads();
        let mut reloads = &reloads;
        let listings = self.feed.listings();
        let mut listings = &listings;
        let no_listing = never();
        self.living.say(State::Ready);
        loop {
            let patience = self.patience().min(self.tell());
            let events = if self.core.has_room() {
                source
            } else {
                &nobody
            };
            let input = select! {
                recv(answers) -> answer => answer.map(Input::Polled).ok(),
                recv(outcomes) -> outcome => outcome.map(exported).ok(),
                recv(notified) -> notified => notified.map(Input::Notified).ok(),
                recv(events) -> event => match event {
                    Ok(event) => Some(Input::Started(event)),
                    Err(_) => {
                        source = &nobody;
                        None
                    }
                },
                recv(reloads) -> reload => match reload {
                    Ok(reload) => self.reload(reload),
                    Err(_) => {
                        reloads = &no_reload;
                        None
                    }
                },
                recv(listings) -> listing => match listing {
                    Ok(listing) => Some(Input::Listing(listing)),
                    Err(_) => {
                        listings = &no_listing;
                        None
                    }
                },
                recv(posted) -> more => {
                    match more {
                        Ok(more) => self.admit(more),
                        Err(_) => posted = &nothing,
                    }
                    None
                }
                recv(ended) -> _ => {
                    (ends, ended) = (true, &endless);
                    None
                }
                recv(stopped) -> _ => return,
                default(patience) => None,
            };
            self.handle(input.unwrap_or(Input::Tick));
            if self.polls.len() >= self.pollers {
                // Every poller has enough to do; nothing but a stop ends this early.
                let _ = stopped.recv_timeout(GATHER);
            }
            // What is there already shares the commit.
            for _ in 0..TURN_INPUTS_MAX {
                let input = match (answers.try_recv(), outcomes.try_recv()) {
                    (Ok(answer), Err(_)) => Input::Polled(answer),
                    (Err(_), Ok(outcome)) => exported(outcome),
                    (Ok(answer), Ok(outcome)) => {
                        self.handle(exported(outcome));
                        Input::Polled(answer)
                    }
                    (Err(_), Err(_)) if !self.core.has_room() => break,
                    (Err(_), Err(_)) => match source.try_recv() {
                        Ok(event) => Input::Started(event),
                        Err(_) => break,
                    },
                };
                self.handle(input);
            }
            for more in posted.try_iter().take(TURN_INPUTS_MAX) {
                self.admit(more);
            }
            self.end_turn();
            if ends && self.is_idle(source) && posted.is_empty() {
                return log::info!("all that was heard of is traced");
            }
        }
    }

    /// How long the core can wait if nothing happens.
    fn patience(&self) -> Duration {
        const LONG: Duration = Duration::from_secs(3600);
        let deadlines = [self.core.next_deadline(), self.turn_due];
        let deadline = deadlines.into_iter().flatten().min();
        let patience = deadline.map_or(LONG, |at| at.since(clock::now().mono));
        if self.unsettled.is_empty() {
            patience
        } else {
            patience.min(SETTLE_AGAIN_AFTER)
        }
    }

    fn handle(&mut self, input: Input) {
        let now = clock::now();
        if let Input::Polled(polled) = &input {
            self.let_see(Sight::Answered(polled));
        }
        self.core.handle(input, now);
        self.act();
    }

    /// Does what the core wants done at once, and keeps the rest for the turn.
    fn act(&mut self) {
        while let Some(action) = self.core.next_action() {
            match action {
                // The core never has more polls under way than there are places.
                Action::Poll(poll) => {
                    self.let_see(Sight::Asks(&poll));
                    let target = self.targets[usize::from(poll.monitor)].clone();
                    drop(self.polls.try_send(Ask { poll, target }));
                }
                Action::Finished(span) => {
                    self.let_see(Sight::Finished(&span));
                    self.show(span.into());
                }
                Action::List(monitor) => self.feed.let_list(monitor),
                Action::Send(outgoing) => self.turn.hold(outgoing),
                Action::Note(note) => {
                    if let Note::HostPaused { .. } = note {
                        self.recall();
                    }
                    self.let_see(Sight::Noted(&note));
                    log_note(note, &self.apis);
                }
            }
        }
    }

    fn restore(&mut self) -> Result<(), String> {
        if let Some(store) = &mut self.store {
            let stored = store.load().map_err(|e| e.to_string())?;
            self.core.restore(stored, clock::now());
            self.handle(Input::Tick);
            self.end_turn();
        }
        Ok(())
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
                Step::Commit(changes) => self.commit(&changes),
                Step::Leave(outgoing) => self.send(outgoing),
                Step::Report(news) => log_store(&news),
                Step::Wait(until) => {
                    self.turn_due = until;
                    break;
                }
            }
            self.act();
        }
        self.settle();
    }

    fn commit(&mut self, changes: &[Change]) {
        let Some(store) = &mut self.store else { return };
        let now = clock::now();
        let view = View {
            everything: &|| self.core.everything(now),
            room: self.core.room(),
        };
        let result = store.commit(changes, &view);
        let result = result.map_err(|error| error.to_string().into());
        if let Some(news) = self.turn.committed(&mut self.core, result, clock::now()) {
            log_store(&news);
        }
    }

    fn send(&mut self, outgoing: Outgoing) {
        match outgoing {
            // One at a time, and there is one place.
            Outgoing::Export(batch) => drop(self.batches.as_ref().map(|to| to.try_send(batch))),
            Outgoing::Notify(notify) => self.receivers.send(notify),
            Outgoing::Acknowledge(source) => self.unsettled.push_back(Settled::Release(source)),
            Outgoing::LeavePending(source) => self.unsettled.push_back(Settled::Leave(source)),
            Outgoing::Accept(request) => {
                if let Some(answer) = self.unanswered.remove(&request) {
                    // The client may have gone.
                    let _ = answer.try_send(Admission::Accepted);
                }
            }
        }
    }

    fn settle(&mut self) {
        while let Some(settled) = self.unsettled.front()
            && self.feed.try_settle(settled)
        {
            self.unsettled.pop_front();
        }
    }

    /// Takes back the polls that no poller has begun with; the core knows better by now.
    fn recall(&mut self) {
        let now = clock::now();
        let asks: Vec<Ask> = self.polls_at_hand.try_iter().collect();
        for ask in asks.into_iter().rev() {
            self.core.handle(Input::Recalled(ask.poll), now);
        }
    }

    fn let_see(&mut self, sight: Sight<'_>) {
        if let Some(onlooker) = &mut self.onlooker {
            onlooker(sight);
        }
    }

    fn show(&mut self, span: Arc<Span>) {
        for spans in &self.spans {
            if let Err(TrySendError::Full(_)) = spans.try_send(span.clone()) {
                self.spans_unshown += 1;
                if self.spans_unshown.is_power_of_two() {
                    let unshown = self.spans_unshown;
                    log::warn!("the console is too slow: {unshown} spans not shown so far");
                }
            }
        }
    }

    fn finish(mut self) -> (Finished, Receivers) {
        if let Some(store) = &mut self.store {
            store.leave();
        }
        let counters = self.core.counters().clone();
        let undelivered = self.core.spans_waiting();
        let untold = self.core.notifications_waiting();
        let unstored = self.turn.unstored().count();
        let (runs_lost, spans_lost) = touched(self.turn.unstored());
        let report = Report {
            unfinished: self.core.watched(),
            undelivered,
            untold,
            lost: match self.store {
                Some(_) => unstored,
                None => undelivered + untold,
            },
            spans_lost,
            runs_lost,
            state_bytes_max: self.core.state_bytes_max(),
            counters,
        };
        log_report(&report, self.store.is_some());
        self.settle();
        self.feed.finish();
        let finished = Finished {
            report,
            polls_in_flight: self.core.polls_in_flight(),
            is_telling: self.core.notifications_in_flight(),
        };
        (finished, self.receivers)
    }
}

fn exported((batch, outcome): (u64, ExportOutcome)) -> Input {
    Input::Exported { batch, outcome }
}

#[cfg(test)]
mod tests;
