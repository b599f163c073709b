//! The words for finished events: what they say, how they are sent, and what their receivers answer.

use super::event::Attributes;
use super::ids::{RunKey, TraceContext};
use super::outcome::{Abandoned, Outcome};
use super::time::Wall;
use std::sync::Arc;
use std::time::Duration;

/// The message that a workflow has finished.
#[derive(Clone, Debug, PartialEq)]
pub struct FinishedEvent {
    /// The run. An event that arrives twice has the same run.
    pub run: RunKey,
    /// The monitor's name.
    pub monitor: Arc<str>,
    /// The workflow's id.
    pub workflow_id: Arc<str>,
    /// The attempt, if the start event or the API numbered it.
    pub attempt: Option<u32>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why the watch ended although no answer said that the workflow has ended.
    pub abandoned: Option<Abandoned>,
    /// When the workflow was submitted, if its start event said so.
    pub submitted_at: Option<Wall>,
    /// Its times and its error.
    pub finish: Finish,
    /// The URL of the run in the monitored system.
    pub url: Option<Box<str>>,
    /// The context of its span, so that a consumer can continue the trace.
    pub context: TraceContext,
    /// The attributes that its start event gave to its span.
    pub attributes: Attributes,
}

/// How a workflow has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// When it began to run: the start of its span, or the end of the wait before it.
    pub start: Wall,
    /// The end of its span.
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
    /// The name of the monitor to whose receiver it goes.
    pub monitor: Arc<str>,
    /// The encoded event.
    pub bytes: Arc<[u8]>,
}

/// Finished events that go to a receiver now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// The index of the monitor to whose receiver they go.
    pub monitor: u16,
    /// The number of this batch. The answer repeats it.
    pub batch: u64,
    /// In order. Empty only if all its runs were disowned after the batch was made.
    pub notifications: Vec<Notification>,
}

/// What became of a [`Notify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notified {
    /// [`Notify::monitor`].
    pub monitor: u16,
    /// [`Notify::batch`].
    pub batch: u64,
    /// The receiver has accepted the events of these runs.
    pub taken: Vec<RunKey>,
    /// The receiver will never accept the events of these runs, and its reasons.
    pub refused: Vec<(RunKey, Box<str>)>,
    /// Why the other events have to wait.
    pub trouble: Option<NotifyTrouble>,
}

/// Why a receiver accepts nothing now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifyTrouble {
    /// The reason, for the log.
    pub reason: Box<str>,
    /// The pause that the receiver asks for.
    pub retry_after: Option<Duration>,
}
