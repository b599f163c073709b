//! The questions of viewers to the loop. Each takes one answer, and is dropped without one when farspan stops before.

use crate::core::view::{ChangedRuns, ListQuestion, RunDetail, RunPage, RunQuestion};
use crossbeam_channel::Sender;
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
    /// To hear of the next change after this version, within this time.
    Await(u64, Duration, Sender<()>),
}
