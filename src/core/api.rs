//! The words of the core: what happens to it, what it wants done, what it wants stored.

use super::event::StartEvent;
use super::finished::{FinishedEvent, Notification, Notified, Notify};
use super::ids::RunKey;
use super::log_record::LogRecord;
use super::note::Note;
use super::outbox::{Batch, BatchPolicy, Exported, OutboxItem};
use super::pace::Pace;
use super::poll_failure::PollFailure;
use super::sampler::Sampler;
use super::snapshot::Snapshot;
use super::span::Span;
use super::time::{Now, Wall};
use super::workflow::{Naming, Workflow};
use std::sync::Arc;
use std::time::Duration;

/// What the core has to know from the start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// All monitors. A monitor is named by its index in this list.
    pub monitors: Vec<Monitor>,
    /// How many pollers there are.
    pub pollers: usize,
    /// The largest number of workflows under watch at once, at most [`WORKFLOWS_MAX`](super::limits::WORKFLOWS_MAX).
    pub workflows_max: usize,
    /// Which traces are recorded.
    pub sampler: Sampler,
    /// When batches of spans are sent.
    pub batch: BatchPolicy,
    /// Whether there is a store. Without one there are no [`Change`]s.
    pub stores: bool,
    /// With so many bytes in the store no new workflow is taken under watch.
    pub state_bytes_max: u64,
    /// Whether there is a collector for spans. Without one a finished span is only shown.
    pub exports: bool,
    /// Whether there is a collector for log records. Without one there are none.
    pub exports_logs: bool,
    /// The upper bounds of the buckets for the durations of runs and stages, ascending, at most
    /// [`METRIC_BUCKETS_MAX`](super::limits::METRIC_BUCKETS_MAX).
    pub buckets: Arc<[Duration]>,
    /// The seed of the jitter.
    pub seed: u64,
}

/// How spans, log records and finished events become bytes. These are pure functions: the same value gives the same
/// bytes.
#[derive(Clone, Copy, Debug)]
pub struct Encoders {
    /// A span as the collector gets it.
    pub span: fn(&Span) -> Arc<[u8]>,
    /// A log record as the collector gets it.
    pub log_record: fn(&LogRecord) -> Arc<[u8]>,
    /// A finished event as its receiver gets it.
    pub finished_event: fn(&FinishedEvent) -> Arc<[u8]>,
}

/// How one kind of workflow is watched.
#[derive(Clone, Debug)]
pub struct Monitor {
    /// What its spans are called, and how its runs are told apart.
    pub naming: Naming,
    /// The index of its host. Monitors with the same host share its pause and its rate, for polls and for listings.
    pub host: u16,
    /// When its workflows are polled.
    pub pace: Pace,
    /// The rate limit of its host. The lowest of all monitors with the same host counts.
    pub requests_per_second: Option<f64>,
    /// Whether polls carry the workflow's `traceparent`.
    pub send_traceparent: bool,
}

impl Monitor {
    /// The interval in force for a workflow, when the API's clock shows `at`.
    pub(super) fn interval_of(&self, workflow: &Workflow, at: Wall) -> Duration {
        let age = at.since(workflow.began());
        self.pace.interval_of(workflow.status(), age)
    }
}

/// What happens to the core.
#[derive(Clone, Debug)]
pub enum Input {
    /// A workflow has started.
    Started(StartEvent),
    /// A poll was answered.
    Polled(Polled),
    /// Polls come back, in their order, from pollers that have not begun them.
    Recalled(Vec<Poll>),
    /// A discovery wants to make a listing, or has made one.
    Listing(Listing),
    /// A receiver has answered to finished events, or has not.
    Notified(Notified),
    /// A batch's export has ended.
    Exported(Exported),
    /// Whether the store is in trouble. While it is, nothing is polled, because the answers could not be stored.
    StoreTroubled(bool),
    /// The configuration was reloaded. The paces are in the order of [`Settings::monitors`]. They hold for workflows under
    /// watch too, and shorten a pause after failures, because the new configuration may have ended their cause.
    Reloaded(Vec<Pace>),
    /// The store has refused the changes of these runs.
    Refused(Vec<(RunKey, Refusal)>),
    /// Time has passed.
    Tick,
    /// Begin to stop: send no poll, and send spans without waiting for others. Events that were heard by then are still
    /// taken in, even if the table is full.
    Drain,
}

/// An answer to an [`Action::Poll`].
#[derive(Clone, Debug)]
pub struct Polled {
    /// [`Poll::slot`].
    pub slot: u32,
    /// [`Poll::generation`].
    pub generation: u32,
    /// When the first request was sent.
    pub sent: Now,
    /// When the answer was complete.
    pub received: Now,
    /// The answer's `Date` header.
    pub date: Option<Wall>,
    /// How many requests it took, with redirects and further pages.
    pub requests: u32,
    /// How many of them were answered with "304 Not Modified".
    pub not_modified: u32,
    /// The pause that the host asks for although it has answered.
    pub pause: Option<Duration>,
    /// What it has brought.
    pub answer: Answer,
}

/// What a poll brought.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The workflow's state.
    Snapshot {
        /// What the mapping has read in the body.
        snapshot: Box<Snapshot>,
        /// What the mapping has not understood and left out, as text for the log.
        oddity: Option<Box<str>>,
    },
    /// The main request was answered, and the workflow has ended. A further request has failed.
    Partial {
        /// What the mapping has read in the bodies that came.
        snapshot: Box<Snapshot>,
        /// The failure of the further request.
        failure: PollFailure,
    },
    /// The API does not know the workflow.
    NotFound,
    /// The poll has failed.
    Failed(PollFailure),
}

/// What a discovery reports about each of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// A request is due, and waits for its permit ([`Action::List`]). One at a time.
    Due {
        /// The monitor of the discovery.
        monitor: u16,
    },
    /// The request has ended.
    Done {
        /// The monitor of the discovery.
        monitor: u16,
        /// How many requests it took, with redirects.
        requests: u32,
        /// The pause that the host asks for.
        pause: Option<Duration>,
    },
}

/// What the core wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Give these polls to their poller, which is free, and call [`Core::group_begun`](super::Core::group_begun) then.
    Poll(PollGroup),
    /// Take back the polls that this poller has not begun ([`Input::Recalled`]), with the answers that it has kept.
    Recall(u16),
    /// The permit for the discovery of this monitor to make the request that is due.
    List(u16),
    /// Show a finished span. It is exported whether it is shown or not.
    Finished(Box<Span>),
    /// Send this, once all changes so far are stored: see [`turn`](super::turn).
    Send(Outgoing),
    /// Write this to the log.
    Note(Note),
}

/// Something that leaves only after the changes before it are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// Send this batch to the collector and answer with [`Input::Exported`]. One at a time for each signal.
    Export(Batch),
    /// Send these finished events to their receiver and answer with [`Input::Notified`]. One at a time for each monitor.
    Notify(Notify),
    /// Acknowledge this start event at its source: its run has ended and everything about it is delivered.
    Acknowledge(Box<str>),
    /// Leave this start event pending at its source: its run is another instance's.
    LeavePending(Box<str>),
    /// Answer the HTTP request with this number: its start events are stored.
    Accept(u64),
}

/// Why the store has refused the changes of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another instance owns it.
    Elsewhere,
    /// It has finished lately, and all its spans are delivered.
    Done,
}

/// One write to the store. A later change of the same key replaces an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The record of a watched workflow has changed.
    PutWorkflow {
        /// The key of the record.
        run: RunKey,
        /// Encoded; see [`crate::workflow::record`].
        record: Vec<u8>,
    },
    /// A workflow is watched no more.
    RemoveWorkflow(RunKey),
    /// A span or a log record waits for the collector.
    PutItem(OutboxItem),
    /// Spans or log records are delivered, or refused for good.
    RemoveItems(Vec<OutboxItem>),
    /// A finished event waits for its receiver.
    PutNotification(Notification),
    /// Finished events are delivered, or refused for good.
    RemoveNotifications(Vec<Notification>),
    /// A run has finished that began at this time.
    PutFinished(RunKey, Wall),
    /// A run has finished so long ago that it is forgotten.
    RemoveFinished(RunKey),
}

/// What a store holds: at the start, or of an expired owner.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// Records of watched workflows, by run.
    pub workflows: Vec<(RunKey, Vec<u8>)>,
    /// Spans and log records that wait for the collector, each in the order of their sequence.
    pub items: Vec<OutboxItem>,
    /// Finished events that no receiver has accepted yet.
    pub notifications: Vec<Notification>,
    /// Runs that have finished, and when they began.
    pub finished: Vec<(RunKey, Wall)>,
}

impl Stored {
    /// Every run that something is stored of. A run may come several times.
    pub fn runs(&self) -> impl Iterator<Item = RunKey> {
        let workflows = self.workflows.iter().map(|(run, _)| *run);
        let items = self.items.iter().map(|item| item.run);
        let notifications = self.notifications.iter().map(|it| it.run);
        let finished = self.finished.iter().map(|(run, _)| *run);
        (workflows.chain(items))
            .chain(notifications)
            .chain(finished)
    }
}

/// What a commit changed beyond storing its changes.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// The runs that are not ours. Nothing of them was written.
    pub refused: Vec<(RunKey, Refusal)>,
    /// What was taken over from other instances.
    pub claimed: Stored,
}

impl Committed {
    /// Whether no run was refused or claimed.
    pub fn is_plain(&self) -> bool {
        let claimed = &self.claimed;
        let waits = claimed.items.len() + claimed.notifications.len();
        self.refused.is_empty() && claimed.workflows.is_empty() && waits == 0
    }
}

/// Polls that one poller sends one after another. Each is answered with an [`Input::Polled`], or comes back as an
/// [`Input::Recalled`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollGroup {
    /// The index of the poller.
    pub poller: u16,
    /// At least one, and at most [`GROUP_POLLS_MAX`](super::limits::GROUP_POLLS_MAX). All are of one host.
    pub polls: Vec<Poll>,
}

/// One poll of one workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// The watch in the table. The answer repeats it.
    pub slot: u32,
    /// Tells this poll from other polls of the slot. The answer repeats it.
    pub generation: u32,
    /// The index of the monitor.
    pub monitor: u16,
    /// The workflow's id, as its API knows it.
    pub workflow_id: Arc<str>,
    /// The `traceparent` header of the request (W3C Trace Context).
    pub traceparent: Option<Box<str>>,
}
