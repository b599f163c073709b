//! The words of the core: what happens to it, what it wants done, what it wants stored.

use super::event::StartEvent;
use super::finished::{FinishedEvent, Notification, Notified, Notify};
use super::ids::RunKey;
use super::note::Note;
use super::outbox::{Batch, BatchPolicy, EncodedSpan, ExportOutcome};
use super::pace::Pace;
use super::poll_failure::PollFailure;
use super::sampler::Sampler;
use super::snapshot::Snapshot;
use super::span::Span;
use super::time::{Now, Wall};
use super::workflow::{Naming, Workflow};
use std::sync::Arc;
use std::time::Duration;

/// What the core is to know from the start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// One for each monitor; an event names its monitor by the place in this list.
    pub monitors: Vec<Monitor>,
    /// How many polls may be under way at once, or at a poller's hand.
    pub pollers: usize,
    /// How many workflows are watched at once, at most [`WORKFLOWS_MAX`](super::limits::WORKFLOWS_MAX).
    pub workflows_max: usize,
    /// Which traces are recorded.
    pub sampler: Sampler,
    /// When batches are sent.
    pub batch: BatchPolicy,
    /// Whether there is a store: only then are there [`Change`]s.
    pub stores: bool,
    /// From how many bytes in the store on no new workflow is taken under watch.
    pub state_bytes_max: u64,
    /// Whether there is a collector: without one a finished span is done with.
    pub exports: bool,
    /// Seeds the jitter.
    pub seed: u64,
}

/// How spans and finished events become bytes. Pure functions: the same value gives the same bytes.
#[derive(Clone, Copy, Debug)]
pub struct Encoders {
    /// A span as the collector gets it.
    pub span: fn(&Span) -> Arc<[u8]>,
    /// A finished event as its receiver gets it.
    pub finished_event: fn(&FinishedEvent) -> Arc<[u8]>,
}

/// How one kind of workflow is watched.
#[derive(Clone, Debug)]
pub struct Monitor {
    /// What its spans are called.
    pub naming: Naming,
    /// Monitors with the same number ask the same host: they leave it alone together when it asks for that, and share
    /// its rate, for polls and for lists of runs.
    pub host: u16,
    /// When it polls.
    pub pace: Pace,
    /// Requests to its host at most; the least of all monitors that ask the same host counts.
    pub requests_per_second: Option<f64>,
    /// Whether polls carry the workflow's `traceparent`.
    pub send_traceparent: bool,
}

impl Monitor {
    /// The interval in force for a workflow, when the API's clock says `at`.
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
    /// A poll was taken back before anybody began with it.
    Recalled(Poll),
    /// A discovery asks for lists.
    Listing(Listing),
    /// A receiver of finished events was told, or was not.
    Notified(Notified),
    /// A batch's export has ended.
    Exported {
        /// Which batch.
        batch: u64,
        /// How.
        outcome: ExportOutcome,
    },
    /// The store takes nothing, or takes again: meanwhile nothing is polled, for what it would bring could not be kept.
    StoreTroubled(bool),
    /// The configuration was read anew: from now on each monitor polls at this pace, in the order of
    /// [`Settings::monitors`]. It holds for what is under watch too, and cuts short a pause after failures, for what is
    /// new may be what mends them.
    Reloaded(Vec<Pace>),
    /// The store refused what was changed about these runs, because they are not ours.
    Refused(Vec<(RunKey, Refusal)>),
    /// Time has passed.
    Tick,
    /// Stop: start no poll, send what there is without waiting for more. Events that were heard by then are still taken
    /// in, a full table or not.
    Drain,
}

/// An answer to an [`Action::Poll`].
#[derive(Clone, Debug)]
pub struct Polled {
    /// As in the poll.
    pub slot: u32,
    /// As in the poll.
    pub generation: u32,
    /// When the request was sent.
    pub sent: Now,
    /// When the answer was there.
    pub received: Now,
    /// The answer's `Date` header.
    pub date: Option<Wall>,
    /// How many requests it took.
    pub requests: u32,
    /// How long the host asks to be left alone though it has answered.
    pub pause: Option<Duration>,
    /// The answer.
    pub answer: Answer,
}

/// What a poll brought.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The workflow's state.
    Snapshot {
        /// What the body said.
        snapshot: Box<Snapshot>,
        /// Something in it that the mapping did not understand and went on without.
        oddity: Option<Box<str>>,
    },
    /// The API does not know the workflow.
    NotFound,
    /// Nothing that helps.
    Failed(PollFailure),
}

/// What a discovery says about each of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// It has one to make, and waits for its [`Action::List`]. One at a time.
    Due {
        /// Whose discovery.
        monitor: u16,
    },
    /// It has made it.
    Done {
        /// Whose discovery.
        monitor: u16,
        /// How many requests it took, with those that were redirected.
        requests: u32,
        /// The pause that the host asks for.
        pause: Option<Duration>,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Ask the API; answer with [`Input::Polled`]. Never more of them under way than [`Settings::pollers`].
    Poll(Poll),
    /// The discovery of this monitor may make the request that it has said to be due.
    List(u16),
    /// A span is finished: show it. It is exported whether it is shown or not.
    Finished(Box<Span>),
    /// Send this to the collector, once all changes so far are stored; answer with [`Input::Exported`]. One at a time.
    Export(Batch),
    /// Tell a receiver this, once all changes so far are stored; answer with [`Input::Notified`]. One at a time for each
    /// monitor.
    Notify(Notify),
    /// Acknowledge this where it came from, once all changes so far are stored: its spans are delivered, and whoever is
    /// to be told of its end was.
    Release(Box<str>),
    /// This stays unacknowledged where it came from: another instance sees to it.
    Leave(Box<str>),
    /// Worth a line in the log.
    Note(Note),
}

/// Why a run is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another instance has it.
    Elsewhere,
    /// It was finished lately, and all its spans are delivered.
    Done,
}

/// Something to store. A [`Change`] that comes later counts over one that came before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A watched workflow is now so.
    PutWorkflow {
        /// Names its run.
        run: RunKey,
        /// See [`workflow::record`].
        record: Vec<u8>,
    },
    /// It is watched no more.
    RemoveWorkflow(RunKey),
    /// A span waits for the collector.
    PutSpan(EncodedSpan),
    /// These wait no more.
    RemoveSpans(Vec<EncodedSpan>),
    /// Somebody is to be told that a workflow has finished.
    PutNotification(Notification),
    /// They were.
    RemoveNotifications(Vec<Notification>),
    /// A run has finished at that time.
    PutFinished(RunKey, Wall),
    /// That is long ago.
    RemoveFinished(RunKey),
}

/// What a store holds, at the start or of another instance that is gone.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// Records of watched workflows, by run.
    pub workflows: Vec<(RunKey, Vec<u8>)>,
    /// Spans that wait for the collector, in the order of their sequence.
    pub spans: Vec<EncodedSpan>,
    /// What nobody has taken yet of who is to be told of finished workflows.
    pub notifications: Vec<Notification>,
    /// Runs that have finished, and when.
    pub finished: Vec<(RunKey, Wall)>,
}

/// One request to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// Names the watch, in the answer.
    pub slot: u32,
    /// Names this poll of it, in the answer.
    pub generation: u32,
    /// Whose API.
    pub monitor: u16,
    /// Which workflow.
    pub workflow_id: Arc<str>,
    /// What the request is to carry of the workflow's trace, in the W3C's form.
    pub traceparent: Option<Box<str>>,
}
