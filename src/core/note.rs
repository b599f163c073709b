//! What the core reports: notes for the log.

use super::ids::{RunKey, TraceId};
use super::outbox::Signal;
use super::outcome::{Abandoned, Outcome};
use super::poll_failure::PollFailureReason;
use std::sync::Arc;
use std::time::Duration;

/// Something worth a log line. Each is noted once for each change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// What was stored is watched and delivered again.
    Restored {
        /// Workflows under watch.
        workflows: usize,
        /// Spans that wait for the collector.
        spans: usize,
        /// Log records that wait for the collector.
        log_records: usize,
        /// Finished events that wait for their receivers.
        notifications: usize,
    },
    /// Stored finished events have no receiver in the configuration. They stay stored.
    Stranded {
        /// The name of the monitor that had a receiver.
        monitor: Arc<str>,
        /// How many events.
        notifications: usize,
    },
    /// Stored workflows cannot be watched. Their records stay stored.
    RecordsUnreadable {
        /// How many workflows.
        workflows: usize,
        /// The reason, and what to do about it.
        why: Box<str>,
    },
    /// An event announced a run whose stored record cannot be watched. Its source keeps the event.
    RunUnreadable {
        /// The monitor of the event.
        monitor: u16,
        /// The workflow's id.
        workflow_id: Box<str>,
        /// The reason, and what to do about it.
        why: Box<str>,
    },
    /// A workflow is under watch.
    Watching {
        /// Its monitor.
        monitor: u16,
        /// The workflow's id.
        workflow_id: Arc<str>,
        /// Its trace.
        trace_id: TraceId,
    },
    /// An event announced a workflow that is under watch or was lately.
    Duplicate {
        /// The monitor of the event.
        monitor: u16,
        /// The workflow's id.
        workflow_id: Box<str>,
    },
    /// A workflow began before others that were traced and forgotten. It may have been traced itself, so it is not traced.
    Forgotten {
        /// Its monitor.
        monitor: u16,
        /// The workflow's id.
        workflow_id: Box<str>,
    },
    /// An event was dropped: its monitor is not configured, or the table is full.
    Shed {
        /// The monitor of the event.
        monitor: u16,
        /// The workflow's id.
        workflow_id: Box<str>,
    },
    /// The store has refused runs.
    Refused {
        /// How many are owned by other instances.
        elsewhere: usize,
        /// How many have finished already.
        done: usize,
    },
    /// A watch has ended.
    Ended {
        /// The run.
        run: RunKey,
        /// Its monitor.
        monitor: u16,
        /// The workflow's id.
        workflow_id: Arc<str>,
        /// Its trace.
        trace_id: TraceId,
        /// How the workflow has ended.
        outcome: Outcome,
        /// Why the watch ended early, if it did.
        abandoned: Option<Abandoned>,
        /// From its start to its end, without the wait before.
        duration: Duration,
    },
    /// A host is in another kind of trouble than before, or one monitor is in trouble with its host.
    HostTroubled {
        /// The monitor whose poll failed.
        monitor: u16,
        /// The kind of trouble.
        reason: PollFailureReason,
        /// More about it.
        detail: Box<str>,
    },
    /// A host answers again.
    HostRecovered {
        /// The monitor whose poll was answered.
        monitor: u16,
    },
    /// A host asked for a pause.
    HostPaused {
        /// The monitor whose request was answered so.
        monitor: u16,
        /// The pause that it asked for.
        asked: Duration,
        /// For how long no request is sent to the host.
        pause: Duration,
        /// Whether it is the first one for a while: a host may ask for one with each answer.
        is_news: bool,
    },
    /// An answer held something that the mapping has not understood.
    Odd {
        /// The monitor whose answer it was.
        monitor: u16,
        /// The oddity.
        what: Box<str>,
    },
    /// Whether so much waits to be delivered that polls wait too.
    PollsHeld(bool),
    /// A receiver of finished events accepts nothing now.
    NotifyTroubled {
        /// The monitor of the receiver.
        monitor: u16,
        /// The reason.
        reason: Box<str>,
    },
    /// A receiver of finished events accepts them again.
    NotifyRecovered {
        /// The monitor of the receiver.
        monitor: u16,
    },
    /// A receiver will never accept an event, which is dropped. Noted once a minute at most; the counter counts all.
    NotifyRefused {
        /// The monitor of the receiver.
        monitor: u16,
        /// The run that the event is about.
        run: RunKey,
        /// The receiver's reason.
        message: Box<str>,
    },
    /// Whether the store holds so much that new workflows have to wait.
    StateFull {
        /// Whether they wait.
        full: bool,
        /// What the store holds.
        bytes: u64,
        /// [`Settings::state_bytes_max`](super::Settings::state_bytes_max).
        bytes_max: u64,
    },
    /// The collector takes no spans, or no log records, now.
    ExportTroubled {
        /// Which of the two.
        signal: Signal,
        /// The reason.
        reason: Box<str>,
        /// How many items wait.
        waiting: usize,
    },
    /// The collector takes them again.
    ExportRecovered(Signal),
    /// The collector took a batch and dropped items of it, or warns (OTLP partial success). This and what follows is
    /// noted once a minute at most.
    ExportPartial {
        /// What the batch was of.
        signal: Signal,
        /// How many items it dropped since the last note.
        rejected: u64,
        /// The collector's message.
        message: Box<str>,
    },
    /// The collector will never take these items. They are dropped.
    ExportRefused {
        /// What they are.
        signal: Signal,
        /// How many items since the last note.
        items: u64,
        /// The collector's message.
        message: Box<str>,
    },
    /// A request was too large for the collector. Its halves are sent one by one.
    ExportSplit,
}
