//! A run in short, as a program gets it.

use super::times::system_time;
use super::{SpanId, TraceId};
use crate::core::outcome;
use crate::core::view::{self, PollResult};
use crate::os::redaction::without_secrets;
use std::fmt;
use std::time::SystemTime;

/// A run in short: how far one execution of a workflow is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunSummary {
    /// What tells the run from all others: 32 hexadecimal digits.
    pub run: String,
    /// The workflow's id.
    pub workflow_id: String,
    /// The name of its monitor.
    pub monitor: String,
    /// The attempt at the run, if its start event or its API numbers it.
    pub attempt: Option<u32>,
    /// How far it is.
    pub state: RunState,
    /// The API's latest status; empty before the first answer.
    pub status: String,
    /// How it ended, as far as is known.
    pub outcome: Option<Outcome>,
    /// The error that the API reported, or why the watch ended early.
    pub error: Option<String>,
    /// When its start event arrived.
    pub received: SystemTime,
    /// Since when it waited for its start, as reported.
    pub queued: Option<SystemTime>,
    /// When it started, as reported or else as observed.
    pub started: Option<SystemTime>,
    /// When it ended.
    pub ended: Option<SystemTime>,
    /// Its stages by their state.
    pub stages: StageCounts,
    /// Why the last poll has failed, if it has.
    pub poll_error: Option<String>,
    /// Its trace.
    pub trace_id: TraceId,
    /// The span of the workflow.
    pub root_span_id: SpanId,
    /// Whether its spans are recorded.
    pub is_sampled: bool,
    /// Whether the collector has acknowledged the span of the workflow.
    pub is_exported: bool,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RunState {
    /// It has not started, as far as is known.
    Waiting,
    /// It runs.
    Running,
    /// Its watch has ended.
    Ended,
}

/// How a run has ended, in the words of `cicd.pipeline.result`.
/// <https://opentelemetry.io/docs/specs/semconv/registry/attributes/cicd/>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The work succeeded.
    Success,
    /// The work failed.
    Failure,
    /// The system failed.
    Error,
    /// It took too long.
    Timeout,
    /// It was cancelled.
    Cancellation,
    /// It was skipped: it never ran.
    Skip,
}

/// The stages of a run by their state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StageCounts {
    /// Those that have not started.
    pub waiting: u32,
    /// Those that run.
    pub running: u32,
    /// Those that have ended.
    pub ended: u32,
    /// Of the ended ones, those that have failed.
    pub failed: u32,
}

/// The convention's word.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Outcome::Success => outcome::Outcome::Success,
            Outcome::Failure => outcome::Outcome::Failure,
            Outcome::Error => outcome::Outcome::Error,
            Outcome::Timeout => outcome::Outcome::Timeout,
            Outcome::Cancellation => outcome::Outcome::Cancellation,
            Outcome::Skip => outcome::Outcome::Skip,
        };
        f.write_str(word.as_str())
    }
}

impl Outcome {
    fn of(outcome: outcome::Outcome) -> Self {
        match outcome {
            outcome::Outcome::Success => Outcome::Success,
            outcome::Outcome::Failure => Outcome::Failure,
            outcome::Outcome::Error => Outcome::Error,
            outcome::Outcome::Timeout => Outcome::Timeout,
            outcome::Outcome::Cancellation => Outcome::Cancellation,
            outcome::Outcome::Skip => Outcome::Skip,
        }
    }
}

impl RunSummary {
    /// `monitors` are the names of the monitors.
    pub(super) fn of(run: &view::RunSummary, monitors: &[Box<str>]) -> Self {
        let shown = |text: &str| without_secrets(text).into_owned();
        let monitor = monitors.get(usize::from(run.monitor));
        let poll = (run.last_poll.as_ref())
            .filter(|poll| matches!(poll.result, PollResult::Failed(_) | PollResult::NotFound));
        RunSummary {
            run: run.run.to_string(),
            workflow_id: run.workflow_id.to_string(),
            monitor: monitor.map(|name| name.to_string()).unwrap_or_default(),
            attempt: run.attempt,
            state: match run.state {
                view::RunState::Waiting => RunState::Waiting,
                view::RunState::Running => RunState::Running,
                view::RunState::Ended => RunState::Ended,
            },
            status: run.status.to_string(),
            outcome: run.result.map(Outcome::of),
            error: run.error.as_deref().map(shown),
            received: system_time(run.received),
            queued: run.queued.map(system_time),
            started: run.started.map(system_time),
            ended: run.ended.map(system_time),
            stages: StageCounts {
                waiting: run.stages.waiting,
                running: run.stages.running,
                ended: run.stages.ended,
                failed: run.stages.failed,
            },
            poll_error: poll.map(|poll| match (&poll.error, poll.result) {
                (Some(error), _) => shown(error),
                (None, PollResult::Failed(reason)) => reason.as_str().to_owned(),
                (None, _) => "the API does not know the workflow".to_owned(),
            }),
            trace_id: TraceId::of(run.trace_id),
            root_span_id: SpanId::of(run.root_span_id),
            is_sampled: run.sampled,
            is_exported: run.exported,
        }
    }
}
