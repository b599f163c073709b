//! A watch: one workflow with what the core needs to watch it.

use super::api::Monitor;
use super::event::StartEvent;
use super::ids::RunKey;
use super::metrics::Counted;
use super::pace;
use super::poll_failure::PollFailure;
use super::sampler::Sampler;
use super::time::{Mono, Now, Wall};
use super::view::PollResult;
use super::wheel::Timer;
use super::workflow::Workflow;
use super::workflow::record::Record;
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) workflow: Workflow,
    pub(super) monitor: u16,
    /// Its workflow id and monitor; finds this watch in the table.
    pub(super) key: RunKey,
    pub(super) phase: Phase,
    /// When the poll timeout ends the watch.
    pub(super) deadline: Mono,
    /// The deadline by the wall clock, for an instance that takes the watch over.
    pub(super) deadline_wall: Wall,
    /// Whether its record waits to be written. The [`Table`](super::table::Table) sets it, as it does the phase and the
    /// size of the record.
    pub(super) is_dirty: bool,
    /// How long its record was when it was written last.
    pub(super) record_bytes: u32,
    /// Failed polls in a row.
    pub(super) failures: u32,
    pub(super) silence: Silence,
    /// When the last poll came back, by our clock, and what it brought.
    pub(super) polled_at: Wall,
    pub(super) polled: PollResult,
    /// Whether viewers have all of its finished spans.
    pub(super) has_all_spans: bool,
    /// The failure of the last poll.
    pub(super) trouble: Option<Box<PollFailure>>,
    /// As what the metrics count it.
    pub(super) counted: Option<Counted>,
}

/// What every poll brings in the place of an answer, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// There was an answer, or a failure that passes.
    None,
    /// The API says "not found": since the event came, or since it first said so again.
    NotFound(Mono),
    /// An API that goes away with its workflow takes no connection.
    Refused(Mono),
}

/// Where a watch stands between two polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its poll will be due.
    Waiting {
        /// Set to `due`, or to the deadline if that comes first.
        timer: Timer,
        /// When the poll is due.
        due: Mono,
    },
    /// Its poll is due, and waits for its host and for a poller.
    Ready {
        /// Since when.
        due: Mono,
    },
    /// Its poll is with a poller.
    InFlight {
        /// When it was due.
        due: Mono,
    },
}

impl Watch {
    /// Watches a workflow that an event has announced. Returns when its first poll is due, too.
    pub(super) fn started(
        event: StartEvent,
        key: RunKey,
        monitor: &Monitor,
        sampler: &Sampler,
        received_at: Wall,
        now: Now,
    ) -> (Self, Mono) {
        let index = event.monitor;
        let workflow = Workflow::new(event, &monitor.naming, sampler, received_at);
        let pace = &monitor.pace;
        let spread = if pace.spreads_first_polls {
            pace::spread(key, monitor.interval_of(&workflow, received_at))
        } else {
            Duration::ZERO
        };
        let watch = Watch {
            workflow,
            monitor: index,
            key,
            phase: Phase::Ready { due: now.mono },
            deadline: now.mono + pace.timeout,
            deadline_wall: now.wall + pace.timeout,
            is_dirty: false,
            record_bytes: 0,
            failures: 0,
            silence: Silence::NotFound(now.mono),
            polled_at: now.wall,
            polled: PollResult::None,
            has_all_spans: true,
            trouble: None,
            counted: None,
        };
        (watch, now.mono + pace.initial_delay + spread)
    }

    /// Watches a workflow that was stored, when the API's clock shows `at`. Returns when its next poll is due, too.
    pub(super) fn restored(
        record: Record,
        key: RunKey,
        (index, monitor): (u16, &Monitor),
        at: Wall,
        now: Now,
    ) -> (Self, Mono) {
        let interval = monitor.interval_of(&record.workflow, at);
        // A clock that was set back, or a machine that boots in 1970, would move the timeout far away. A workflow whose
        // timeout has passed while it was not watched may have ended meanwhile: it is polled once more.
        let left = record.deadline.since(now.wall).min(monitor.pace.timeout);
        let has_all_spans = !record.workflow.has_finished_stages();
        let watch = Watch {
            workflow: record.workflow,
            monitor: index,
            key,
            phase: Phase::Ready { due: now.mono },
            deadline: now.mono + left.max(interval * 2),
            deadline_wall: record.deadline,
            is_dirty: false,
            record_bytes: 0,
            failures: 0,
            silence: Silence::None,
            polled_at: now.wall,
            polled: PollResult::None,
            has_all_spans,
            trouble: None,
            counted: None,
        };
        (watch, now.mono + pace::spread(key, interval))
    }

    /// Its run: its key in the store. Computed each time, to keep a watch small.
    pub(super) fn run(&self) -> RunKey {
        self.workflow.run_key(self.key)
    }

    /// When its poll is due, or was.
    pub(super) fn due(&self) -> Mono {
        let (Phase::Waiting { due, .. } | Phase::Ready { due } | Phase::InFlight { due }) =
            self.phase;
        due
    }

    /// A poll has come back.
    pub(super) fn polled(&mut self, result: PollResult, at: Wall) {
        (self.polled, self.polled_at, self.trouble) = (result, at, None);
    }

    /// A poll has failed.
    pub(super) fn failed(&mut self, failure: PollFailure, at: Wall) {
        self.polled(PollResult::Failed(failure.reason), at);
        self.trouble = Some(Box::new(failure));
        self.failures = self.failures.saturating_add(1);
    }

    /// The API knows the workflow.
    pub(super) fn answered(&mut self) {
        self.failures = 0;
        self.silence = Silence::None;
    }

    /// The API did not know the workflow when it was asked. Returns for how long that has lasted.
    pub(super) fn not_found(&mut self, asked: Mono) -> Duration {
        self.failures = 0;
        let since = match self.silence {
            Silence::NotFound(since) => since,
            Silence::None | Silence::Refused(_) => asked,
        };
        self.silence = Silence::NotFound(since);
        asked.since(since)
    }

    /// The API took no connection when it was asked. Returns for how long that has lasted: zero at first.
    pub(super) fn refused(&mut self, asked: Mono) -> Duration {
        let since = match self.silence {
            Silence::Refused(since) => since,
            Silence::None | Silence::NotFound(_) => asked,
        };
        self.silence = Silence::Refused(since);
        asked.since(since)
    }

    /// The monitor polls at another pace. Returns when the next poll is due now, if one is planned: a watch that would
    /// wait longer than its new pace allows is polled sooner, spread over an interval like a burst.
    pub(super) fn change_pace(
        &mut self,
        timeout_before: Duration,
        monitor: &Monitor,
        at: Wall,
        now: Mono,
    ) -> Option<Mono> {
        let pace = &monitor.pace;
        if pace.timeout != timeout_before {
            let before = self.deadline;
            self.deadline = pace::moved(before, timeout_before, pace.timeout);
            self.deadline_wall =
                self.deadline_wall - before.since(self.deadline) + self.deadline.since(before);
            self.workflow.touch();
        }
        let Phase::Waiting { due, .. } = self.phase else {
            return None;
        };
        let interval = monitor.interval_of(&self.workflow, at);
        let earliest = match self.silence {
            // It may not have been polled yet.
            Silence::NotFound(_) => now + pace.initial_delay,
            Silence::None | Silence::Refused(_) => now,
        };
        Some(if due > earliest + interval {
            earliest + pace::spread(self.key, interval)
        } else {
            due
        })
    }
}
