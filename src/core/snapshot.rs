//! What one poll said, in words that no longer depend on whose API it was.

use super::event::Attributes;
use super::time::Wall;

/// A workflow as its API described it in one answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The id in the answer, where there is one: the core refuses an answer for another workflow.
    pub workflow_id: Option<Box<str>>,
    /// The workflow's own progress.
    pub progress: Progress,
    /// Which attempt at the run this is, where the answer says so.
    pub attempt: Option<u32>,
    /// Where somebody can look at the run.
    pub url: Option<Box<str>>,
    /// What else is to stand on the workflow's span.
    pub attributes: Attributes,
    /// The stages in the order of the answer. Of a path and attempt that stand twice, the later one counts.
    pub stages: Vec<StageSnapshot>,
}

/// One attempt at a stage of a workflow in one answer.
#[derive(Clone, Debug, PartialEq)]
pub struct StageSnapshot {
    /// What tells this stage from all others for the length of the run: its key or its name, behind those of the
    /// stages that it is part of.
    pub path: Box<str>,
    /// The path of the stage that it is part of. `None`: of the workflow.
    pub parent: Option<Box<str>>,
    /// Which attempt at the stage this is; 1 where the API has none.
    pub attempt: u32,
    /// The stage's type; it names the span.
    pub kind: Box<str>,
    /// The id that the API gives this stage.
    pub id: Option<Box<str>>,
    /// Where somebody can look at the stage.
    pub url: Option<Box<str>>,
    /// What else is to stand on the stage's span.
    pub attributes: Attributes,
    /// How far the stage is.
    pub progress: Progress,
}

impl Default for StageSnapshot {
    fn default() -> Self {
        StageSnapshot {
            path: Box::default(),
            parent: None,
            attempt: 1,
            kind: Box::default(),
            id: None,
            url: None,
            attributes: Attributes::default(),
            progress: Progress::default(),
        }
    }
}

/// How far a workflow or a stage is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// The API's own word for the status, which names the span's event. `None`: none yet.
    pub status: Option<Box<str>>,
    /// What that word means.
    pub state: State,
    /// Since when it has waited for its start, as reported.
    pub queued: Option<Wall>,
    /// Start as reported.
    pub start: Option<Wall>,
    /// End as reported.
    pub end: Option<Wall>,
    /// The error text as reported.
    pub error: Option<Box<str>>,
}

/// What a status means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Not started.
    #[default]
    Pending,
    /// Started, not ended.
    Running,
    /// Ended so.
    Ended(Outcome),
}

/// How a workflow or a stage ended, in the words of `cicd.pipeline.result`.
/// <https://opentelemetry.io/docs/specs/semconv/registry/attributes/cicd/>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it was to do.
    Success,
    /// The work failed.
    Failure,
    /// The system failed.
    Error,
    /// It took too long.
    Timeout,
    /// Somebody called it off.
    Cancellation,
    /// It never ran, on purpose.
    Skip,
}

impl Outcome {
    /// Whether somebody would want to know why.
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
