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
    /// About what is stored.
    State(StateNote),
    /// About one run.
    Run {
        /// Its monitor.
        monitor: u16,
        /// The workflow's id.
        workflow_id: Arc<str>,
        /// What happened to it.
        what: RunNote,
    },
    /// About the API of a monitor.
    Api {
        /// The monitor whose request it was.
        monitor: u16,
        /// What the API does.
        what: ApiNote,
    },
    /// About the receiver of a monitor's finished events.
    Receiver {
        /// The monitor.
        monitor: u16,
        /// What the receiver does.
        what: ReceiverNote,
    },
    /// About the collector.
    Collector {
        /// What it was sent.
        signal: Signal,
        /// What it does.
        what: CollectorNote,
    },
    /// Whether so much waits to be delivered that polls wait too.
    PollsHeld(bool),
}

/// A note about what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateNote {
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
    Unreadable {
        /// How many workflows.
        workflows: usize,
        /// The reason, and what to do about it.
        why: Box<str>,
    },
    /// The store has refused runs.
    Refused {
        /// How many are owned by other instances.
        elsewhere: usize,
        /// How many have finished already.
        done: usize,
    },
    /// Whether the store holds so much that new workflows have to wait.
    Full {
        /// Whether they wait.
        full: bool,
        /// What the store holds.
        bytes: u64,
        /// [`Settings::state_bytes_max`](super::Settings::state_bytes_max).
        bytes_max: u64,
    },
}

/// A note about one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunNote {
    /// It is under watch, and this is its trace.
    Watching(TraceId),
    /// An event announced it again, while it is under watch or soon after its end.
    Duplicate,
    /// It began before others that were traced and forgotten. It may have been traced itself, so it is not traced.
    Forgotten,
    /// Its start event was dropped: its monitor is not configured, or the table is full.
    Shed,
    /// An event announced it, and its stored record cannot be watched: the reason, and what to do about it. Its source
    /// keeps the event.
    Unreadable(Box<str>),
    /// Its watch has ended.
    Ended {
        /// The run.
        run: RunKey,
        /// Its trace.
        trace_id: TraceId,
        /// How the workflow has ended.
        outcome: Outcome,
        /// Why the watch ended early, if it did.
        abandoned: Option<Abandoned>,
        /// From its start to its end, without the wait before.
        duration: Duration,
    },
}

/// A note about the API of a monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiNote {
    /// Its host is in another kind of trouble than before, or the monitor alone is in trouble with its host.
    Troubled {
        /// The kind of trouble.
        reason: PollFailureReason,
        /// More about it.
        detail: Box<str>,
    },
    /// It answers again.
    Recovered,
    /// It asked for a pause.
    Paused {
        /// The pause that it asked for.
        asked: Duration,
        /// For how long no request is sent to its host.
        pause: Duration,
        /// Whether it is the first one for a while: a host may ask for one with each answer.
        is_news: bool,
    },
    /// An answer held this, which the mapping has not understood.
    Odd(Box<str>),
}

/// A note about a receiver of finished events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiverNote {
    /// It accepts nothing now, for this reason.
    Troubled(Box<str>),
    /// It accepts events again.
    Recovered,
    /// It will never accept an event, which is dropped. Noted once a minute at most; the counter counts all.
    Refused {
        /// The run that the event is about.
        run: RunKey,
        /// The receiver's reason.
        message: Box<str>,
    },
}

/// A note about the collector. All but the first two are noted once a minute at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectorNote {
    /// It takes nothing now.
    Troubled {
        /// The reason.
        reason: Box<str>,
        /// How many items wait.
        waiting: usize,
    },
    /// It takes items again.
    Recovered,
    /// It took a batch and dropped items of it, or warns (OTLP partial success).
    Partial {
        /// How many items it dropped since the last note.
        rejected: u64,
        /// Its message.
        message: Box<str>,
    },
    /// It will never take these items. They are dropped.
    Refused {
        /// How many items since the last note.
        items: u64,
        /// Its message.
        message: Box<str>,
    },
    /// A request was too large for it. Its halves are sent one by one.
    Split,
}
