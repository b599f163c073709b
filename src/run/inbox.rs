//! What the loop hears, and the one place where it waits.

use super::health::HealthCheck;
use super::living::Reload;
use super::numbers::NumbersAsked;
use crate::admin::question::ViewQuestion;
use crate::api::poller::PollerReport;
use crate::core::event::StartEvent;
use crate::core::finished::Notified;
use crate::core::outbox::Exported;
use crate::core::{Input, Listing};
use crate::intake::posted::Posted;
use crate::intake::source_state::SourceState;
use crossbeam_channel::{Receiver, never, select};
use std::convert::Infallible;
use std::time::Duration;

/// The channels to the loop. Each has room for a message, also where none ever comes: a thread that waits at a channel without
/// room allocates.
pub(super) struct Inbox {
    pub(super) events: Receiver<StartEvent>,
    pub(super) reports: Receiver<PollerReport>,
    pub(super) outcomes: Receiver<Exported>,
    pub(super) notified: Receiver<Notified>,
    /// What discoveries say about their requests.
    pub(super) listings: Receiver<Listing>,
    /// What sources report of themselves.
    pub(super) states: Receiver<SourceState>,
    pub(super) posted: Receiver<Posted>,
    /// Who wants to know how farspan is.
    pub(super) health_checks: Receiver<HealthCheck>,
    /// Who wants the numbers of the metrics.
    pub(super) numbers: Receiver<NumbersAsked>,
    /// What viewers want to see.
    pub(super) questions: Receiver<ViewQuestion>,
    pub(super) reloads: Receiver<Reload>,
    /// Gets a message when the store has an answer.
    pub(super) store: Receiver<()>,
    /// Disconnects when no more start events can come.
    pub(super) ended: Receiver<Infallible>,
    /// Disconnects at the stop.
    pub(super) stopped: Receiver<Infallible>,
    /// Has a message if the stop has a deadline: how long it may take.
    pub(super) stop_within: Receiver<Duration>,
}

/// One thing that the loop has heard.
pub(super) enum Heard {
    Input(Input),
    /// A poller has answers.
    Report(PollerReport),
    SourceState(SourceState),
    Posted(Posted),
    HealthCheck(HealthCheck),
    Numbers(NumbersAsked),
    Question(ViewQuestion),
    Reload(Reload),
    /// The store has an answer.
    Store,
    /// No more start events can come.
    Ended,
    /// The stop.
    Stopped,
    /// Time has passed, or a channel is closed.
    Nothing,
}

type Close = fn(&mut Inbox);

impl Inbox {
    /// Waits for the next message. `takes_events`: otherwise start events wait in their channel, and their sources with
    /// them.
    pub(super) fn next(&mut self, takes_events: bool, patience: Duration) -> Heard {
        let no_events = never();
        let events = if takes_events {
            &self.events
        } else {
            &no_events
        };
        let heard: Result<Heard, Close> = select! {
            recv(self.reports) -> it => it.map(Heard::Report).map_err(|_| closing(|it| it.reports = never())),
            recv(self.outcomes) -> it => it.map(Input::Exported).map(Heard::Input).map_err(|_| closing(|it| it.outcomes = never())),
            recv(self.notified) -> it => it.map(|it| Heard::Input(Input::Notified(it))).map_err(|_| closing(|it| it.notified = never())),
            recv(events) -> it => it.map(|it| Heard::Input(Input::Started(it))).map_err(|_| closing(|it| it.events = never())),
            recv(self.listings) -> it => it.map(|it| Heard::Input(Input::Listing(it))).map_err(|_| closing(|it| it.listings = never())),
            recv(self.states) -> it => it.map(Heard::SourceState).map_err(|_| closing(|it| it.states = never())),
            recv(self.posted) -> it => it.map(Heard::Posted).map_err(|_| closing(|it| it.posted = never())),
            recv(self.health_checks) -> it => it.map(Heard::HealthCheck).map_err(|_| closing(|it| it.health_checks = never())),
            recv(self.numbers) -> it => it.map(Heard::Numbers).map_err(|_| closing(|it| it.numbers = never())),
            recv(self.questions) -> it => it.map(Heard::Question).map_err(|_| closing(|it| it.questions = never())),
            recv(self.reloads) -> it => it.map(Heard::Reload).map_err(|_| closing(|it| it.reloads = never())),
            recv(self.store) -> it => it.map(|()| Heard::Store).map_err(|_| closing(|it| it.store = never())),
            recv(self.ended) -> _ => Ok(Heard::Ended),
            recv(self.stopped) -> _ => Ok(Heard::Stopped),
            default(patience) => Ok(Heard::Nothing),
        };
        if let Ok(Heard::Ended) = heard {
            self.ended = never();
        }
        heard.unwrap_or_else(|close| {
            close(self);
            Heard::Nothing
        })
    }

    /// A message that is there already.
    pub(super) fn try_next(&self, takes_events: bool) -> Option<Heard> {
        let outcome = self.outcomes.try_recv().ok().map(Input::Exported);
        let report = || self.reports.try_recv().ok().map(Heard::Report);
        let heard = outcome.map(Heard::Input).or_else(report);
        heard.or_else(|| {
            let event = if takes_events {
                self.events.try_recv().ok()
            } else {
                None
            };
            event.map(Input::Started).map(Heard::Input)
        })
    }

    /// At the stop: from now on only what was begun is heard of.
    pub(super) fn close_sources(&mut self) {
        // A client that posts from now on is refused at once.
        self.posted = never();
        self.health_checks = never();
        self.numbers = never();
        self.questions = never();
        self.listings = never();
        self.states = never();
        self.reloads = never();
        (self.ended, self.stopped) = (never(), never());
    }
}

/// A closed channel is always ready: it is replaced by one that never is.
fn closing(close: Close) -> Close {
    close
}
