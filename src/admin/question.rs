//! The questions of viewers to the loop. Each takes one answer, and is dropped without one when farspan stops before.

use crate::core::view::{ChangedRuns, ListQuestion, RunDetail, RunPage, RunQuestion};
use crossbeam_channel::Sender;
use std::sync::Weak;
use std::time::Duration;

/// One question, and where its answer goes.
#[derive(Debug)]
pub enum ViewQuestion {
    /// A page of runs.
    List(Box<ListQuestion>, Sender<RunPage>),
    /// One run; `None` if it is not known.
    Run(RunQuestion, Sender<Option<Box<RunDetail>>>),
    /// What has changed since this version.
    Changes(u64, Sender<ChangedRuns>),
    /// To hear of the next change.
    Await(ChangeAwaited),
}

/// A viewer that waits for a change.
#[derive(Debug)]
pub struct ChangeAwaited {
    /// The version that the viewer knows.
    pub since: u64,
    /// How long it waits.
    pub within: Duration,
    /// Gets a message at the change.
    pub answer: Sender<()>,
    /// Dropped when the viewer waits no more.
    pub viewer: Weak<()>,
}
