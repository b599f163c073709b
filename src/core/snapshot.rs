//! What one poll said, in words that no longer depend on whose API it was.

use super::time::Wall;

/// A workflow as its API described it in one answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The id in the answer, where there is one: the core refuses an answer for another workflow.
    pub workflow_id: Option<Box<str>>,
    /// The workflow's own progress.
    pub progress: Progress,
    /// The stages in the order of the answer. Of a path that stands twice, the later one counts.
    pub stages: Vec<StageSnapshot>,
}

/// One stage of a workflow in one answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageSnapshot {
    /// What tells this stage from its siblings for the length of the run: its key, or its name.
    pub path: Box<str>,
    /// The stage's type; it names the span.
    pub kind: Box<str>,
    /// The id that the API gives this stage.
    pub id: Option<Box<str>>,
    /// How far the stage is.
    pub progress: Progress,
}

/// How far a workflow or a stage is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// The API's own word for the status, which names the span's event. `None`: none yet.
    pub status: Option<Box<str>>,
    /// What that word means.
    pub state: State,
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
