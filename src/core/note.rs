//! What the core reports: notes for the log and counters for the metrics.

use super::ids::{RunKey, TraceId};
use super::lateness::Histogram;
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

/// Counts since the start. They only grow, unless a field says otherwise.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Events taken in.
    pub events_accepted: u64,
    /// Events of workflows that are known already.
    pub events_duplicate: u64,
    /// Runs that were not traced, because they may have been traced and forgotten.
    pub runs_forgotten: u64,
    /// Runs that the store has refused.
    pub runs_refused: u64,
    /// Events that were dropped: no room, or no such monitor.
    pub events_shed: u64,
    /// Events of runs whose stored record cannot be watched.
    pub events_unreadable: u64,
    /// Polls that have come back, failed ones too.
    pub polls: u64,
    /// Polls whose answer was "not found".
    pub polls_not_found: u64,
    /// Polls that have failed, in the order of [`PollFailureReason::ALL`].
    pub polls_failed: [u64; PollFailureReason::ALL.len()],
    /// Answers whose watch had ended.
    pub answers_stale: u64,
    /// Watches that have ended.
    pub workflows_ended: u64,
    /// Of the ended watches: those whose poll timeout has passed.
    pub workflows_timed_out: u64,
    /// Of the ended watches: those whose workflow the API does not know.
    pub workflows_not_found: u64,
    /// Of the ended watches: those of an earlier attempt.
    pub workflows_superseded: u64,
    /// Of the ended watches: those whose API has gone with the workflow.
    pub workflows_gone: u64,
    /// Finished spans.
    pub spans_finished: u64,
    /// Spans that the collector has acknowledged.
    pub spans_delivered: u64,
    /// Spans that the collector refused.
    pub spans_rejected: u64,
    /// Log records that were made.
    pub log_records_made: u64,
    /// Log records that the collector has acknowledged.
    pub log_records_delivered: u64,
    /// Log records that the collector refused.
    pub log_records_rejected: u64,
    /// Exports that have failed and are repeated.
    pub exports_retried: u64,
    /// Finished events that their receivers have accepted.
    pub notifications_delivered: u64,
    /// Finished events that their receivers refused for good.
    pub notifications_refused: u64,
    /// How often the state was full, so that new workflows had to wait.
    pub state_filled: u64,
    /// What the store holds, in bytes: see [`Core::state_bytes`](super::Core::state_bytes). It grows and shrinks.
    pub state_bytes: u64,
    /// How long after it was due each poll was sent.
    pub lateness: Histogram,
    /// How long each answer took.
    pub latency: Histogram,
}

impl Counters {
    /// The collector has taken so many items of a batch and refused so many.
    pub(super) fn count_exported(&mut self, signal: Signal, delivered: u64, rejected: u64) {
        let (all_delivered, all_rejected) = match signal {
            Signal::Traces => (&mut self.spans_delivered, &mut self.spans_rejected),
            Signal::Logs => (
                &mut self.log_records_delivered,
                &mut self.log_records_rejected,
            ),
        };
        *all_delivered += delivered;
        *all_rejected += rejected;
    }

    /// A watch has ended; why it ended early, if it did.
    pub(super) fn count_end(&mut self, abandoned: Option<Abandoned>) {
        self.workflows_ended += 1;
        match abandoned {
            Some(Abandoned::TimedOut) => self.workflows_timed_out += 1,
            Some(Abandoned::NotFound) => self.workflows_not_found += 1,
            Some(Abandoned::Superseded) => self.workflows_superseded += 1,
            None => {}
        }
    }
}
