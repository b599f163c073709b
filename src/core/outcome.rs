//! How workflows, stages and watches end.

use super::ids::SpanId;
use std::sync::Arc;
use std::time::Duration;

/// How a workflow or a stage ended, in the words of `cicd.pipeline.result`.
/// <https://opentelemetry.io/docs/specs/semconv/registry/attributes/cicd/>
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

impl Outcome {
    /// Whether its span is an error.
    pub fn is_failure(self) -> bool {
        matches!(self, Outcome::Failure | Outcome::Error | Outcome::Timeout)
    }

    /// The convention's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Success => "success",
            Outcome::Failure => "failure",
            Outcome::Error => "error",
            Outcome::Timeout => "timeout",
            Outcome::Cancellation => "cancellation",
            Outcome::Skip => "skip",
        }
    }
}

/// A run or a stage that has ended, as the metrics count it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// The stage's type. `None`: it is the run itself.
    pub stage: Option<Arc<str>>,
    /// `None`: the run ended, and no answer said how the stage did.
    pub outcome: Option<Outcome>,
    /// `error.type` of a failure; else empty.
    pub error_type: Box<str>,
    /// Whether it counts as an error. A run that failed does only if no stage of it has failed.
    pub is_error: bool,
    /// How long it waited for its start, as far as that is known.
    pub waited: Option<Duration>,
    /// From its start to its end, if it has started.
    pub ran: Option<Duration>,
    /// Its span, if it has one.
    pub span_id: Option<SpanId>,
}

/// Why a watch ends though no answer said that the workflow has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abandoned {
    /// The poll timeout has passed.
    TimedOut,
    /// The API does not know the workflow.
    NotFound,
    /// The API reports only a later attempt.
    Superseded,
}

impl Abandoned {
    /// The message on the spans.
    pub fn message(self) -> &'static str {
        match self {
            Abandoned::TimedOut => "Monitor timed out",
            Abandoned::NotFound => "Workflow not found",
            Abandoned::Superseded => "Superseded by a later attempt",
        }
    }

    pub(super) fn outcome(self) -> Outcome {
        match self {
            Abandoned::TimedOut => Outcome::Timeout,
            Abandoned::NotFound | Abandoned::Superseded => Outcome::Error,
        }
    }

    /// The value of `error.type` on the spans.
    pub(super) fn error_type(self) -> &'static str {
        match self {
            Abandoned::TimedOut => "timeout",
            Abandoned::NotFound => "not_found",
            Abandoned::Superseded => "superseded",
        }
    }
}
