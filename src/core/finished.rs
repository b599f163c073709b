//! Finished events: the messages that a workflow has finished, and what becomes of them.

use super::event::Attributes;
use super::ids::{RunKey, TraceContext};
use super::outcome::{Abandoned, Outcome};
use super::time::Wall;
use std::sync::Arc;
use std::time::Duration;

/// A workflow has finished.
#[derive(Clone, Debug, PartialEq)]
pub struct FinishedEvent {
    /// Its run: what is told twice is told apart by it.
    pub run: RunKey,
    /// Its monitor's name.
    pub monitor: Arc<str>,
    /// Its id.
    pub workflow_id: Arc<str>,
    /// Which attempt at the run it was, where anybody said so.
    pub attempt: Option<u32>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why the watch was given up, if it was: then nobody has said that it ended.
    pub abandoned: Option<Abandoned>,
    /// When it was submitted, where its start event said so.
    pub submitted_at: Option<Wall>,
    /// What is known of its end.
    pub finish: Finish,
    /// Where somebody can look at the run.
    pub url: Option<Box<str>>,
    /// Its span, for whoever goes on in its trace.
    pub context: TraceContext,
    /// What its start event said that its span is to have.
    pub attributes: Attributes,
}

/// How a workflow was when its span was finished.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// As its span has it, less a wait that has a span of its own.
    pub start: Wall,
    /// As its span has it.
    pub end: Wall,
    /// The message of a failure; may be empty.
    pub error: Box<str>,
    /// `error.type` of a failure; may be empty.
    pub error_type: Box<str>,
}

/// An encoded [`FinishedEvent`]. It never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Its place in the order.
    pub sequence: u64,
    /// The run that it is about.
    pub run: RunKey,
    /// The monitor whose receiver is told.
    pub monitor: Arc<str>,
    /// What it is told.
    pub bytes: Arc<[u8]>,
}

/// What a receiver is to be told now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Whose receiver: an index into the configured monitors.
    pub monitor: u16,
    /// Which [`Notified`] is about it.
    pub batch: u64,
    /// In their order. Only where runs were given up after it was made it may have come to be empty.
    pub notifications: Vec<Notification>,
}

/// What became of a [`Notify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notified {
    /// As in the [`Notify`].
    pub monitor: u16,
    /// As in the [`Notify`].
    pub batch: u64,
    /// The receiver has them.
    pub taken: Vec<RunKey>,
    /// The receiver will never take these, in its words.
    pub refused: Vec<(RunKey, Box<str>)>,
    /// Why the others have to wait.
    pub trouble: Option<NotifyTrouble>,
}

/// Why a receiver takes nothing now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifyTrouble {
    /// For people.
    pub reason: Box<str>,
    /// When the receiver wants to be told again.
    pub retry_after: Option<Duration>,
}
