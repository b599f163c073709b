//! What one poll said, in words that no longer depend on whose API it was.

mod stages;

pub use super::outcome::Outcome;
pub use stages::{Mark, Stages};

use super::event::{Attributes, Value};
use super::time::Wall;

/// A workflow as its API described it in one answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The id in the answer, if it has one: the core refuses an answer for another workflow.
    pub workflow_id: Option<Box<str>>,
    /// The workflow's own progress.
    pub progress: Progress,
    /// The attempt at the run, if the answer has one.
    pub attempt: Option<u32>,
    /// A page for people about the run.
    pub url: Option<Box<str>>,
    /// Further attributes of the workflow's span.
    pub attributes: Attributes,
    /// The stages in the order of the answer. If a path and attempt appear twice, the later one counts.
    pub stages: Stages,
}

impl Snapshot {
    /// Whether the workflow has ended.
    pub fn has_ended(&self) -> bool {
        matches!(self.progress.state, State::Ended(_))
    }
}

/// One attempt at a stage of a workflow in one answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageSnapshot<Text = Box<str>, List = Attributes> {
    /// What identifies this stage within the run: its key or its name, after those of its ancestors.
    pub path: Text,
    /// The path of its parent. `None`: the workflow.
    pub parent: Option<Text>,
    /// The attempt at the stage; 1 if the API has none.
    pub attempt: u32,
    /// The stage's type; it names the span.
    pub kind: Text,
    /// The id that the API gives this stage.
    pub id: Option<Text>,
    /// A page for people about the stage.
    pub url: Option<Text>,
    /// Further attributes of the stage's span.
    pub attributes: List,
    /// How far the stage is.
    pub progress: Progress<Text>,
}

/// A stage in borrowed form.
pub type StageView<'a> = StageSnapshot<&'a str, &'a [(Box<str>, Value)]>;

impl<Text: Default, List: Default> Default for StageSnapshot<Text, List> {
    fn default() -> Self {
        StageSnapshot {
            path: Text::default(),
            parent: None,
            attempt: 1,
            kind: Text::default(),
            id: None,
            url: None,
            attributes: List::default(),
            progress: Progress::default(),
        }
    }
}

/// How far a workflow or a stage is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress<Text = Box<str>> {
    /// The status in the API's word, which names the status event. `None`: none yet.
    pub status: Option<Text>,
    /// What that word means.
    pub state: State,
    /// The time from which it waits for its start, as reported.
    pub queued: Option<Wall>,
    /// Start as reported.
    pub start: Option<Wall>,
    /// End as reported.
    pub end: Option<Wall>,
    /// The error text as reported.
    pub error: Option<Text>,
}

impl<Text> Default for Progress<Text> {
    fn default() -> Self {
        Progress {
            status: None,
            state: State::default(),
            queued: None,
            start: None,
            end: None,
            error: None,
        }
    }
}

impl<Text: AsRef<str>> Progress<Text> {
    /// In borrowed form.
    pub fn view(&self) -> Progress<&str> {
        Progress {
            status: self.status.as_ref().map(AsRef::as_ref),
            error: self.error.as_ref().map(AsRef::as_ref),
            state: self.state,
            queued: self.queued,
            start: self.start,
            end: self.end,
        }
    }
}

impl From<Progress<&str>> for Progress {
    fn from(view: Progress<&str>) -> Self {
        Progress {
            status: view.status.map(Into::into),
            error: view.error.map(Into::into),
            state: view.state,
            queued: view.queued,
            start: view.start,
            end: view.end,
        }
    }
}

impl From<StageView<'_>> for StageSnapshot {
    fn from(view: StageView<'_>) -> Self {
        StageSnapshot {
            path: view.path.into(),
            parent: view.parent.map(Into::into),
            attempt: view.attempt,
            kind: view.kind.into(),
            id: view.id.map(Into::into),
            url: view.url.map(Into::into),
            attributes: view.attributes.into(),
            progress: view.progress.into(),
        }
    }
}

/// What a status means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Not started.
    #[default]
    Pending,
    /// Started, not ended.
    Running,
    /// Ended with this outcome.
    Ended(Outcome),
}

impl State {
    /// `pending`, `running` or the outcome.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Running => "running",
            State::Ended(outcome) => outcome.as_str(),
        }
    }
}
