//! What the core reports: notes for the log and counters for the metrics.

use super::ids::{RunKey, TraceId};
use super::lateness::Histogram;
use super::outcome::{Abandoned, Outcome};
use super::poll_failure::PollFailureReason;
use std::sync::Arc;
use std::time::Duration;

/// What somebody who runs farspan wants to read, once for each change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// What was stored is under watch again.
    Restored {
        /// Workflows.
        workflows: usize,
        /// Spans that wait for the collector.
        spans: usize,
        /// Finished events that wait for their receivers.
        notifications: usize,
    },
    /// Stored finished events have no receiver in the configuration; they stay.
    Stranded {
        /// The monitor that had one.
        monitor: Arc<str>,
        /// How many.
        notifications: usize,
    },
    /// Stored workflows cannot be watched; their records stay.
    NotRestored {
        /// How many.
        workflows: usize,
        /// Why, and what to do about it.
        why: Box<str>,
    },
    /// An event was of a run whose record stays because it cannot be watched: neither can the run.
    NotOurs {
        /// Which.
        workflow_id: Box<str>,
        /// Why, and what to do about it.
        why: Box<str>,
    },
    /// A workflow is under watch.
    Watching {
        /// Which.
        workflow_id: Arc<str>,
        /// Its trace.
        trace_id: TraceId,
    },
    /// An event was of a workflow that is under watch or was lately.
    Duplicate {
        /// Which.
        workflow_id: Box<str>,
    },
    /// An event was of a monitor that there is not, or there was no room.
    Shed {
        /// Which.
        workflow_id: Box<str>,
    },
    /// So many runs are other instances', or done already.
    Refused {
        /// Another instance has them.
        elsewhere: usize,
        /// They are done.
        done: usize,
    },
    /// A workflow has ended.
    Ended {
        /// Which.
        workflow_id: Arc<str>,
        /// Its trace.
        trace_id: TraceId,
        /// How.
        outcome: Outcome,
        /// Why the watch was given up, if it was.
        abandoned: Option<Abandoned>,
    },
    /// A host is in another kind of trouble than before, or a monitor has trouble of its own with it.
    HostTroubled {
        /// The monitor, or one that asks the host.
        monitor: u16,
        /// The kind.
        reason: PollFailureReason,
        /// More about it.
        detail: Box<str>,
    },
    /// A host answers again, or what a monitor asks of it is answered.
    HostRecovered {
        /// A monitor that asks it.
        monitor: u16,
    },
    /// A host asked to be left alone.
    HostPaused {
        /// A monitor that asks it.
        monitor: u16,
        /// For how long.
        pause: Duration,
    },
    /// An answer held something that was not understood.
    Odd {
        /// The monitor.
        monitor: u16,
        /// What.
        what: Box<str>,
    },
    /// So much waits to be delivered that polls wait too, or no more.
    PollsHeld(bool),
    /// A receiver of finished events does not take them now.
    NotifyTroubled {
        /// Whose.
        monitor: u16,
        /// Why.
        reason: Box<str>,
    },
    /// It does again.
    NotifyRecovered {
        /// Whose.
        monitor: u16,
    },
    /// A receiver will never take an event, which is dropped. Told once a minute at most; the counter has them all.
    NotifyRefused {
        /// Whose.
        monitor: u16,
        /// The run that it was about.
        run: RunKey,
        /// Its words.
        message: Box<str>,
    },
    /// The store holds so much that new workflows have to wait, or no more.
    StateFull {
        /// Whether they wait.
        full: bool,
        /// What it holds.
        bytes: u64,
        /// [`super::Settings::state_bytes_max`].
        bytes_max: u64,
    },
    /// The collector does not take spans now.
    ExportTroubled {
        /// Why.
        reason: Box<str>,
        /// How many spans wait.
        waiting: usize,
    },
    /// It does again.
    ExportRecovered,
    /// The collector took a batch and threw spans of it away, or warns.
    ExportPartial {
        /// Spans thrown away.
        rejected: u64,
        /// Its words.
        message: Box<str>,
    },
    /// The collector will never take these.
    SpansRefused {
        /// How many spans.
        spans: usize,
        /// Its words.
        message: Box<str>,
    },
    /// A request was too large and goes in halves.
    ExportSplit,
}

/// What has happened so far. Nothing here ever goes down but where it says so.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Events taken in.
    pub events_accepted: u64,
    /// Events of workflows already known.
    pub events_duplicate: u64,
    /// Runs that were given up because another instance has them, or has had them.
    pub runs_refused: u64,
    /// Events for which there was no room or no monitor.
    pub events_shed: u64,
    /// Events of runs whose stored record cannot be watched.
    pub events_not_ours: u64,
    /// Polls answered, in whichever way.
    pub polls: u64,
    /// Polls whose answer was "not found".
    pub polls_not_found: u64,
    /// Polls that brought nothing, in the order of [`PollFailureReason::ALL`].
    pub polls_failed: [u64; PollFailureReason::ALL.len()],
    /// Answers that came for a watch that had ended.
    pub answers_stale: u64,
    /// Workflows that ended.
    pub workflows_ended: u64,
    /// Of those, given up at the poll timeout.
    pub workflows_timed_out: u64,
    /// Of those, given up as not found.
    pub workflows_not_found: u64,
    /// Of those, given up because of a later attempt.
    pub workflows_superseded: u64,
    /// Of those, ended with their API.
    pub workflows_gone: u64,
    /// Spans finished.
    pub spans_finished: u64,
    /// Spans that the collector has acknowledged.
    pub spans_delivered: u64,
    /// Spans that the collector refused.
    pub spans_rejected: u64,
    /// Export attempts that are to be repeated.
    pub exports_retried: u64,
    /// Finished events that their receivers have taken.
    pub notifications_delivered: u64,
    /// Finished events that their receivers refused for good.
    pub notifications_refused: u64,
    /// How often the state was full, so that new workflows had to wait.
    pub state_filled: u64,
    /// What the store holds, in bytes: see [`super::Core::state_bytes`]. It goes up and down.
    pub state_bytes: u64,
    /// How long after its due time each poll was sent.
    pub lateness: Histogram,
    /// How long the answers took.
    pub latency: Histogram,
}
