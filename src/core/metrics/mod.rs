//! The core's numbers since the start: one set, which the metrics, the report in the log and the status are made from.
//!
//! Plain numbers without a lock: the core counts, and the loop gives a copy to whatever asks. On the way of an unchanged
//! poll there are only a few additions, found by the index of the monitor.

mod commits;
mod live;
mod series;

pub use commits::CommitCounts;
pub use live::{Counted, LiveRuns};
pub use series::{Durations, ErrorLabels, Exemplar, OutsideLabels, RunLabels, Series, StageLabels};

use super::event::Origin;
use super::ids::TraceId;
use super::lateness::Histogram;
use super::outbox::{ExportOutcome, Signal};
use super::outcome::{Abandoned, Ended, Outcome};
use super::poll_failure::PollFailureReason;
use super::time::Wall;
use std::sync::Arc;
use std::time::Duration;

/// Counts since the start. They only grow, unless a field says otherwise.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Start events by their source and what became of them.
    pub events: EventCounts,
    /// Runs that were not traced, because they may have been traced and forgotten.
    pub runs_forgotten: u64,
    /// Runs that the store has refused.
    pub runs_refused: u64,
    /// What is counted for each monitor, in their order.
    pub monitors: Vec<MonitorCounters>,
    /// Answers whose watch had ended.
    pub answers_stale: u64,
    /// The runs under watch now. They come and go.
    pub live: LiveRuns,
    /// Watches that have ended.
    pub workflows_ended: u64,
    /// Of the ended watches: those whose poll timeout has passed.
    pub workflows_timed_out: u64,
    /// Of the ended watches: those whose workflow the API does not know.
    pub workflows_not_found: u64,
    /// Of the ended watches: those of an earlier attempt.
    pub workflows_superseded: u64,
    /// Of the ended watches: those whose API has gone with the workflow.
    pub workflows_gone: u64,
    /// How long runs and stages took.
    pub took: Took,
    /// Failures in runs: stages that failed, and runs that failed although no stage did.
    pub errors: Series<ErrorLabels, u64>,
    /// Finished spans.
    pub spans_finished: u64,
    /// Spans that the collector has acknowledged.
    pub spans_delivered: u64,
    /// Spans that the collector refused.
    pub spans_rejected: u64,
    /// Log records that were made.
    pub log_records_made: u64,
    /// Log records that the collector has acknowledged.
    pub log_records_delivered: u64,
    /// Log records that the collector refused.
    pub log_records_rejected: u64,
    /// Spans of exports that have failed and are repeated, once for each repetition.
    pub spans_sent_again: u64,
    /// Exports by their result, in the order of [`ExportResult::ALL`].
    pub exports: [u64; ExportResult::ALL.len()],
    /// Finished events that their receivers have accepted.
    pub notifications_delivered: u64,
    /// Finished events that their receivers refused for good.
    pub notifications_refused: u64,
    /// Takeovers that have brought something, and the runs under watch that they have brought.
    pub takeovers: u64,
    /// See `takeovers`.
    pub runs_taken_over: u64,
    /// How often the state was full, so that new workflows had to wait.
    pub state_filled: u64,
    /// What the store holds, in bytes: see [`Core::state_bytes`](super::Core::state_bytes). It grows and shrinks.
    pub state_bytes: u64,
}

/// What is counted of the polls of one monitor.
#[derive(Clone, Debug, Default)]
pub struct MonitorCounters {
    /// Polls that have come back, failed ones too.
    pub polls: u64,
    /// Polls whose answer was "not found".
    pub not_found: u64,
    /// Polls that have failed, in the order of [`PollFailureReason::ALL`].
    pub failed: [u64; PollFailureReason::ALL.len()],
    /// Requests that the polls took, with redirects and further pages.
    pub requests: u64,
    /// Requests that were answered with "304 Not Modified", so that the API sent no body.
    pub not_modified: u64,
    /// How long after it was due each poll was sent.
    pub lateness: Histogram,
    /// How long each answer took.
    pub latency: Histogram,
}

/// How long runs and stages took, in buckets.
#[derive(Clone, Debug, Default)]
pub struct Took {
    /// The upper bounds of the buckets, ascending.
    pub bounds: Arc<[Duration]>,
    /// Runs: the time before the start, and the time from start to end.
    pub runs: Series<RunLabels, Arc<Durations>>,
    /// Stages, from start to end.
    pub stages: Series<StageLabels, Arc<Durations>>,
    /// Stages, from the time that the API reports as queued to the start.
    pub stage_waits: Series<StageLabels, Arc<Durations>>,
}

/// What became of a start event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventFate {
    /// Its workflow is under watch.
    Accepted,
    /// Its workflow is known already.
    Duplicate,
    /// Its run may have been traced and forgotten.
    Forgotten,
    /// The stored record of its run cannot be watched.
    Unreadable,
    /// It was dropped: no room, or no such monitor.
    Shed,
}

/// Start events by their source and fate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventCounts([[u64; EventFate::ALL.len()]; Origin::ALL.len()]);

/// The result of one export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportResult {
    /// The collector has all spans.
    Delivered,
    /// The collector has the batch and dropped spans of it.
    Partial,
    /// The collector will never take the batch.
    Rejected,
    /// The request was too large.
    TooLarge,
    /// The same spans are sent again.
    Retry,
}

impl EventFate {
    /// All of them, in the order of their counts.
    pub const ALL: [EventFate; 5] = [
        EventFate::Accepted,
        EventFate::Duplicate,
        EventFate::Forgotten,
        EventFate::Unreadable,
        EventFate::Shed,
    ];

    /// The word for labels.
    pub fn as_str(self) -> &'static str {
        match self {
            EventFate::Accepted => "accepted",
            EventFate::Duplicate => "duplicate",
            EventFate::Forgotten => "forgotten",
            EventFate::Unreadable => "unreadable",
            EventFate::Shed => "no_room",
        }
    }
}

impl EventCounts {
    /// Counts one event.
    pub fn count(&mut self, origin: Origin, fate: EventFate) {
        self.0[origin as usize][fate as usize] += 1;
    }

    /// The events of one source with this fate.
    pub fn of(&self, origin: Origin, fate: EventFate) -> u64 {
        self.0[origin as usize][fate as usize]
    }

    /// The events of all sources with this fate.
    pub fn all(&self, fate: EventFate) -> u64 {
        self.0.iter().map(|counts| counts[fate as usize]).sum()
    }
}

impl ExportResult {
    /// All of them, in the order of their counts.
    pub const ALL: [ExportResult; 5] = [
        ExportResult::Delivered,
        ExportResult::Partial,
        ExportResult::Rejected,
        ExportResult::TooLarge,
        ExportResult::Retry,
    ];

    /// The result that an outcome is.
    pub fn of(outcome: &ExportOutcome) -> Self {
        match outcome {
            ExportOutcome::Delivered { rejected: 0, .. } => ExportResult::Delivered,
            ExportOutcome::Delivered { .. } => ExportResult::Partial,
            ExportOutcome::Rejected { .. } => ExportResult::Rejected,
            ExportOutcome::TooLarge { .. } => ExportResult::TooLarge,
            ExportOutcome::Retry { .. } => ExportResult::Retry,
        }
    }

    /// The word for labels.
    pub fn as_str(self) -> &'static str {
        match self {
            ExportResult::Delivered => "delivered",
            ExportResult::Partial => "partial",
            ExportResult::Rejected => "rejected",
            ExportResult::TooLarge => "too_large",
            ExportResult::Retry => "retry",
        }
    }
}

impl Counters {
    /// Nothing yet, for so many monitors. `bounds`: the buckets of the durations of runs and stages.
    pub fn new(monitors: usize, bounds: Arc<[Duration]>) -> Self {
        Counters {
            monitors: vec![MonitorCounters::default(); monitors],
            took: Took {
                bounds,
                ..Took::default()
            },
            ..Counters::default()
        }
    }

    /// The counts of one monitor.
    pub(super) fn monitor(&mut self, monitor: u16) -> &mut MonitorCounters {
        &mut self.monitors[usize::from(monitor)]
    }

    /// Polls that have come back, failed ones too.
    pub fn polls(&self) -> u64 {
        self.monitors.iter().map(|it| it.polls).sum()
    }

    /// Polls whose answer was "not found".
    pub fn polls_not_found(&self) -> u64 {
        self.monitors.iter().map(|it| it.not_found).sum()
    }

    /// Polls that have failed, in the order of [`PollFailureReason::ALL`].
    pub fn polls_failed(&self) -> [u64; PollFailureReason::ALL.len()] {
        PollFailureReason::ALL.map(|reason| {
            self.monitors
                .iter()
                .map(|it| it.failed[reason.index()])
                .sum()
        })
    }

    /// How long after it was due each poll was sent.
    pub fn lateness(&self) -> Histogram {
        together(self.monitors.iter().map(|it| &it.lateness))
    }

    /// How long each answer took.
    pub fn latency(&self) -> Histogram {
        together(self.monitors.iter().map(|it| &it.latency))
    }

    /// Events taken in.
    pub fn events_accepted(&self) -> u64 {
        self.events.all(EventFate::Accepted)
    }

    /// Events of workflows that are known already.
    pub fn events_duplicate(&self) -> u64 {
        self.events.all(EventFate::Duplicate)
    }

    /// Events that were dropped: no room, or no such monitor.
    pub fn events_shed(&self) -> u64 {
        self.events.all(EventFate::Shed)
    }

    /// Events of runs whose stored record cannot be watched.
    pub fn events_unreadable(&self) -> u64 {
        self.events.all(EventFate::Unreadable)
    }

    /// Exports that have failed and are repeated.
    pub fn exports_retried(&self) -> u64 {
        self.exports[ExportResult::Retry as usize]
    }

    /// The collector has taken so many items of a batch and refused so many.
    pub(super) fn count_exported(&mut self, signal: Signal, delivered: u64, rejected: u64) {
        let (all_delivered, all_rejected) = match signal {
            Signal::Traces => (&mut self.spans_delivered, &mut self.spans_rejected),
            Signal::Logs => (
                &mut self.log_records_delivered,
                &mut self.log_records_rejected,
            ),
        };
        *all_delivered += delivered;
        *all_rejected += rejected;
    }

    /// A watch has ended; why it ended early, if it did.
    pub(super) fn count_end(&mut self, abandoned: Option<Abandoned>) {
        self.workflows_ended += 1;
        match abandoned {
            Some(Abandoned::TimedOut) => self.workflows_timed_out += 1,
            Some(Abandoned::NotFound) => self.workflows_not_found += 1,
            Some(Abandoned::Superseded) => self.workflows_superseded += 1,
            None => {}
        }
    }

    /// A run or a stage of it has ended, which farspan has seen at `seen`.
    pub fn count_ended(&mut self, ended: Ended, of: &EndedRun, seen: Wall) {
        let (monitor, workflow) = (of.monitor, of.workflow.clone());
        if ended.is_error {
            let labels = ErrorLabels {
                monitor,
                workflow: workflow.clone(),
                error_type: ended.error_type.clone(),
            };
            *self.errors.entry(labels, || 0) += 1;
        }
        let exemplar = |duration| {
            let span_id = ended.span_id?;
            Some(Exemplar {
                trace_id: of.trace_id,
                span_id,
                duration,
                seen,
            })
        };
        let took = &mut self.took;
        let bounds = took.bounds.clone();
        let record = |to: &mut Arc<Durations>, duration| {
            Arc::make_mut(to).record(&bounds, duration, exemplar(duration));
        };
        let new = || Arc::new(Durations::new(&bounds));
        if let Some(stage) = ended.stage {
            let labels = StageLabels {
                monitor,
                workflow,
                stage: (*stage).into(),
                outcome: ended.outcome,
            };
            if let Some(waited) = ended.waited {
                record(took.stage_waits.entry(labels.clone(), new), waited);
            }
            if let Some(ran) = ended.ran {
                record(took.stages.entry(labels, new), ran);
            }
            return;
        }
        let labels = |is_wait, outcome: Option<Outcome>, error_type| RunLabels {
            monitor,
            workflow: workflow.clone(),
            is_wait,
            outcome,
            error_type,
        };
        // The result is that of the last state: a run that never started has it with its wait.
        let (none, error_type) = (Box::default(), ended.error_type);
        match (ended.waited, ended.ran) {
            (waited, Some(ran)) => {
                if let Some(waited) = waited {
                    record(took.runs.entry(labels(true, None, none), new), waited);
                }
                let labels = labels(false, ended.outcome, error_type);
                record(took.runs.entry(labels, new), ran);
            }
            (Some(waited), None) => {
                let labels = labels(true, ended.outcome, error_type);
                record(took.runs.entry(labels, new), waited);
            }
            (None, None) => {}
        }
    }
}

/// The run whose parts have ended.
#[derive(Clone, Debug)]
pub struct EndedRun {
    /// The index of its monitor.
    pub monitor: u16,
    /// `cicd.pipeline.name`.
    pub workflow: Arc<str>,
    /// Its trace.
    pub trace_id: TraceId,
}

fn together<'a>(all: impl Iterator<Item = &'a Histogram>) -> Histogram {
    all.fold(Histogram::default(), |mut sum, histogram| {
        sum.add(histogram);
        sum
    })
}
