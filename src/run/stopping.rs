//! The end, in stages that follow the data, each with its deadline and its line in the log.
//!
//! ```text
//! 1. what was heard is taken in; no new poll     at once
//! 2. the polls under way end                     10 s
//! 3. what is finished is delivered               10 s
//! 4. what was delivered last is stored             2 s
//! 5. the source's entries are acknowledged        3 s
//! 6. the last metrics are sent                    2 s
//! 7. the console writes what it has               2 s
//! 8. the log is written                           1 s
//! ```
//!
//! A stage that has nothing to do takes no time. What is not done at its deadline is left, and the log says so. A store
//! that shares its runs gives them back behind stage 4, within 2 s.

use super::Loop;
use crate::core::Input;
use crate::core::limits;
use crate::core::time::Mono;
use crate::deliver::metrics::MetricsExporter;
use crate::os::clock;
use crate::os::systemd::{Activity, ServiceState};
use crate::terminal::console::Console;
use std::time::Duration;

const POLLS_END: Duration = Duration::from_secs(10);
const DELIVERY: Duration = Duration::from_secs(10);
/// A commit that is under way at the deadline before would count as lost, and its spans would be sent again.
const STORED: Duration = Duration::from_secs(2);
pub(super) const ACKNOWLEDGED: Duration = Duration::from_secs(3);
const LAST_METRICS: Duration = Duration::from_secs(2);
const CONSOLE_ENDS: Duration = Duration::from_secs(2);
/// With a deadline for the whole stop, polls have this part of the time at most. What they bring has to be delivered.
const POLLS_PART: u32 = 2;

/// From the signal to the end at most, but for what takes no noticeable time. A service manager has to wait longer.
#[cfg(feature = "internals")]
pub const STOP_MAX: Duration = POLLS_END
    .saturating_add(DELIVERY)
    .saturating_add(STORED)
    .saturating_add(crate::store::PATIENCE_MAX)
    .saturating_add(ACKNOWLEDGED)
    .saturating_add(LAST_METRICS)
    .saturating_add(CONSOLE_ENDS)
    .saturating_add(crate::os::logging::ENDS_WITHIN);

/// The time of a stage, if the whole stop has a deadline.
pub(super) fn cut(within: Duration, deadline: Option<Mono>) -> Duration {
    deadline.map_or(within, |deadline| {
        within.min(deadline.since(clock::now().mono))
    })
}

/// One stage of the loop's.
struct Wait {
    what: &'static str,
    within: Duration,
    left: fn(&Loop) -> usize,
    activity: fn(usize, Duration) -> Activity,
}

const WAIT_POLLS: Wait = Wait {
    what: "polls under way",
    within: POLLS_END,
    left: |it| it.core.polls_in_flight(),
    activity: |left, within| Activity::EndingPolls { left, within },
};

const WAIT_DELIVERY: Wait = Wait {
    what: "spans and finished events to deliver",
    within: DELIVERY,
    // What a store in trouble does not take yet is not done either.
    left: |it| it.undelivered() + it.turn.unstored().count(),
    activity: |_, within| Activity::Delivering { within },
};

const WAIT_STORED: Wait = Wait {
    what: "changes to store",
    within: STORED,
    left: |it| it.turn.unstored().count(),
    activity: |_, within| Activity::Delivering { within },
};

/// Stage 6. The request was begun behind stage 4.
pub(super) fn end_metrics(metrics: MetricsExporter, deadline: Option<Mono>) {
    let within = cut(LAST_METRICS, deadline);
    if !metrics.ends_within(within) {
        log::warn!(
            "stopping: the collector has not answered to the last metrics after {within:?}; given up"
        );
    }
}

/// Stage 7, once nothing sends spans to it any more.
pub(super) fn end_console(console: Console) {
    if !console.ends_within(CONSOLE_ENDS) {
        log::warn!("stopping: nobody has read standard output for {CONSOLE_ENDS:?}; given up");
    }
}

impl Loop {
    /// Stages 1 to 4.
    pub(super) fn stop(&mut self) {
        self.living.say(ServiceState::Stopping);
        let (begun, within) = (clock::now().mono, self.inbox.stop_within.try_recv().ok());
        self.stop_by = within.map(|within| begun + within);
        let until_polls = within.map(|within| begun + within / POLLS_PART);
        self.inbox.close_sources();
        self.viewing.end();
        self.feed.stop();
        self.turn.hurry();
        self.handle(Input::Drain);
        // What was heard is as good as accepted, whether there is room or not: pub/sub has it no more. More of it comes
        // only from a source that does not hear the stop.
        for _ in 0..limits::INTAKE_QUEUE {
            match self.inbox.events.try_recv() {
                Ok(event) => self.handle(Input::Started(event)),
                Err(_) => break,
            }
        }
        log::info!(
            "stopping: {} workflows under watch, {} polls under way, {} spans to deliver, {} finished events to tell",
            self.core.watched(),
            self.core.polls_in_flight(),
            self.core.spans_waiting(),
            self.core.notifications_waiting()
        );
        self.recall();
        self.end_turn();
        self.living.activity = Activity::EndingPolls {
            left: self.core.polls_in_flight(),
            within: POLLS_END,
        };
        // Even if there is nothing to wait for.
        self.supervise();
        self.wait(&WAIT_POLLS, until_polls);
        self.wait(&WAIT_DELIVERY, self.stop_by);
        self.wait(&WAIT_STORED, self.stop_by);
    }

    fn wait(&mut self, wait: &Wait, deadline: Option<Mono>) {
        let what = wait.what;
        let within = cut(wait.within, deadline);
        let begun = clock::now().mono;
        let until = begun + within;
        let count = (wait.left)(self);
        if count == 0 {
            return;
        }
        log::info!("stopping: {count} {what}; waiting for {within:?} at most");
        loop {
            let left = (wait.left)(self);
            let now = clock::now().mono;
            if left == 0 {
                let took = now.since(begun);
                return log::info!("stopping: no {what} any more after {took:.1?}");
            }
            if now >= until {
                return log::warn!(
                    "stopping: still {left} {what} after {within:?}; waiting no longer"
                );
            }
            self.living.activity = (wait.activity)(left, within);
            let patience = self.patience().min(self.supervise());
            let heard = self.inbox.next(false, patience.min(until.since(now)));
            self.take(heard);
            self.end_turn();
        }
    }
}
