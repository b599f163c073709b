//! What viewers see of the runs: which ask, from outside the loop, how far each run is.
//!
//! ```text
//! question -> Core::list_runs, Core::look_at, Core::changed_runs -> a bounded copy
//! ```
//!
//! A live run is copied from its watch at the moment of the question. A run that has ended is kept for a while, within a
//! bound in bytes, and so are the finished spans of live runs. Each change of a run has a version, so that a viewer asks
//! for what has changed since its last question.
//!
//! Pure: questions and answers come and go by the loop, and who makes text of them is not in here.

mod kept;
mod list;
mod look;
mod order;

pub use list::{Cursor, ListJob, ListQuestion, SortBy, SortKey, StateFilter};
pub use look::RunQuestion;

use super::event::Value;
use super::ids::{RunKey, SpanId, TraceId};
use super::limits;
use super::outbox::ExportOutcome;
use super::outcome::Outcome;
use super::poll_failure::PollFailureReason;
use super::span::SpanEvent;
use super::time::{Now, Wall};
use kept::Kept;
use order::ChangeOrder;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A run in short.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSummary {
    /// The run.
    pub run: RunKey,
    /// The workflow's id.
    pub workflow_id: Arc<str>,
    /// The index of its monitor.
    pub monitor: u16,
    /// The attempt at the run, if its start event or its API numbers it.
    pub attempt: Option<u32>,
    /// How far it is.
    pub state: RunState,
    /// The API's latest status; empty before the first answer.
    pub status: Box<str>,
    /// How it ended, as far as is known.
    pub result: Option<Outcome>,
    /// The error that the API reported, or why the watch ended early.
    pub error: Option<Box<str>>,
    /// When its start event arrived.
    pub received: Wall,
    /// Since when it waited for its start, as reported.
    pub queued: Option<Wall>,
    /// When it started, as reported or else as observed.
    pub started: Option<Wall>,
    /// When it ended.
    pub ended: Option<Wall>,
    /// Its stages by their state.
    pub stages: StageCounts,
    /// The last poll that was answered or has failed.
    pub last_poll: Option<LastPoll>,
    /// The next poll. `None`: there will be none.
    pub next_poll: Option<NextPoll>,
    /// Its trace.
    pub trace_id: TraceId,
    /// The span of the workflow.
    pub root_span_id: SpanId,
    /// Whether its spans are recorded.
    pub sampled: bool,
    /// Whether the collector has acknowledged the span of the workflow.
    pub exported: bool,
    /// The version of its last change.
    pub version: u64,
}

impl RunSummary {
    /// What it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let poll = self.last_poll.as_ref();
        let poll_error = poll.and_then(|poll| poll.error.as_deref());
        let errors = [self.error.as_deref(), poll_error].into_iter().flatten();
        let errors: usize = errors.map(str::len).sum();
        size_of::<Self>() + self.workflow_id.len() + self.status.len() + errors
    }
}

/// How far a run or a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunState {
    /// It runs.
    Running,
    /// It has not started, as far as is known.
    Waiting,
    /// It has ended. A run has ended when its watch has.
    Ended,
}

/// The stages of a run by their state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageCounts {
    /// Those that have not started.
    pub waiting: u32,
    /// Those that run.
    pub running: u32,
    /// Those that have ended.
    pub ended: u32,
    /// Of the ended ones, those that have failed.
    pub failed: u32,
}

impl StageCounts {
    /// All of them.
    pub fn total(&self) -> usize {
        (self.waiting + self.running + self.ended) as usize
    }
}

/// A poll that came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastPoll {
    /// When it came back, by our clock.
    pub at: Wall,
    /// What it brought.
    pub result: PollResult,
    /// Details of a failure.
    pub error: Option<Box<str>>,
}

/// What a poll brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PollResult {
    /// There was none yet.
    #[default]
    None,
    /// Something new.
    News,
    /// The same as before.
    Unchanged,
    /// The API does not know the workflow.
    NotFound,
    /// The poll has failed.
    Failed(PollFailureReason),
}

/// The poll to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextPoll {
    /// When it is due, or was, by our clock.
    pub at: Wall,
    /// Why it does not go now or comes later than its pace says.
    pub why: Option<Waits>,
}

/// Why a poll waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// It does not: it is with a poller.
    UnderWay,
    /// Its host has asked to be left alone.
    HostPaused,
    /// The rate limit of its host.
    Rate,
    /// All pollers that its host may have are busy.
    NoPollerFree,
    /// Its last polls have failed.
    Backoff,
    /// No workflow is polled.
    Held(Held),
}

/// Why no workflow is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The state cannot be written.
    StoreTroubled,
    /// Too much waits to be delivered.
    OutboxFull,
    /// farspan stops.
    Stopping,
}

/// A run in full.
#[derive(Clone, Debug, PartialEq)]
pub struct RunDetail {
    /// The run in short.
    pub summary: RunSummary,
    /// The finished spans that are kept, encoded, in the order in which they were finished. Of a run that has ended the
    /// workflow's own span is among them.
    pub finished: Vec<Arc<[u8]>>,
    /// Whether no finished span is missing there.
    pub has_all_spans: bool,
    /// The other stages, in the order in which they were first seen. If finished spans are missing, the stages of all
    /// finished spans are among them, without their details.
    pub stages: Vec<StageDetail>,
    /// How many stages there was no room for.
    pub left_out: usize,
    /// The status events of a live run.
    pub events: Vec<SpanEvent>,
    /// The attributes of a live run.
    pub attributes: Vec<(Box<str>, Value)>,
}

impl RunDetail {
    /// What one of a run that has ended takes, in bytes.
    pub fn bytes(&self) -> usize {
        let spans: usize = self.finished.iter().map(|span| span.len()).sum();
        let stages: usize = self.stages.iter().map(StageDetail::bytes).sum();
        self.summary.bytes() + spans + stages
    }
}

/// One attempt at a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct StageDetail {
    /// The id of its span, should it get one.
    pub span_id: SpanId,
    /// The span that it is part of.
    pub parent: SpanId,
    /// The name of its span.
    pub name: Box<str>,
    /// The number of the attempt.
    pub attempt: u32,
    /// How far it is.
    pub state: RunState,
    /// The API's latest status; may be empty.
    pub status: Box<str>,
    /// How it ended, as far as is known.
    pub result: Option<Outcome>,
    /// The error that the API reported.
    pub error: Option<Box<str>>,
    /// Since when it waited for its start, as reported.
    pub queued: Option<Wall>,
    /// When it started, as reported or else as observed.
    pub started: Option<Wall>,
    /// When it ended.
    pub ended: Option<Wall>,
    /// Its status events.
    pub events: Vec<SpanEvent>,
    /// Its attributes.
    pub attributes: Vec<(Box<str>, Value)>,
}

impl StageDetail {
    /// What one without times, events and attributes takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let error = self.error.as_deref().map_or(0, str::len);
        size_of::<Self>() + self.name.len() + self.status.len() + error
    }
}

/// What is the same for all runs at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overview {
    /// The version of the last change.
    pub version: u64,
    /// Runs under watch.
    pub live: usize,
    /// Runs that have ended and are kept.
    pub ended: usize,
    /// Why no workflow is polled, if none is.
    pub held: Option<Held>,
    /// In the order of the configuration.
    pub monitors: Vec<MonitorState>,
}

/// How a monitor stands with its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonitorState {
    /// Until when the host has asked to be left alone, by our clock.
    pub paused_until: Option<Wall>,
    /// Whether the API refuses the credentials.
    pub refuses_credentials: bool,
}

/// A page of runs.
#[derive(Clone, Debug, PartialEq)]
pub struct RunPage {
    /// As of the moment when the page was begun: what has changed since then may be missing.
    pub overview: Overview,
    /// How many runs match, on all pages.
    pub matching: usize,
    /// The runs, in the order that was asked for.
    pub runs: Vec<RunSummary>,
    /// Where the next page begins. `None`: there is none.
    pub next: Option<Cursor>,
}

/// What has changed since a version.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangedRuns {
    /// As of now, but for its version: that of the last change in here. If there was no room for all, a question with
    /// that version brings the rest.
    pub overview: Overview,
    /// Whether the changes since that version are not known. Then nothing is in here, and the viewer begins again.
    pub reset: bool,
    /// The runs that have changed, the oldest change first.
    pub runs: Vec<RunSummary>,
    /// Runs that are not shown any more.
    pub gone: Vec<RunKey>,
}

/// A request to the collector that has ended, as viewers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportReport {
    /// When it was sent.
    pub at: Wall,
    /// How long it took.
    pub took: Duration,
    /// How many spans it had.
    pub spans: usize,
    /// The bytes of its body, as they were sent. 0: it was not sent.
    pub bytes: usize,
    /// The HTTP status of the answer. `None`: there was none.
    pub status: Option<u16>,
    /// What became of it.
    pub outcome: ExportOutcome,
    /// Where it went, without secrets.
    pub url: Arc<str>,
}

/// What the core keeps for viewers.
#[derive(Debug)]
pub(super) struct Views {
    /// Of the last change. It begins with the time of the start, in microseconds: a version of an earlier process is
    /// known by that, and a JavaScript number holds it.
    version: u64,
    first_version: u64,
    /// The live runs by their last change.
    order: ChangeOrder,
    kept: Kept,
    /// The runs that are not shown any more, by the version of that change.
    gone: VecDeque<(u64, RunKey)>,
    /// The version of the last one that was forgotten of these.
    gone_forgotten: u64,
    /// The run of the span that was finished last, and the sequence of that span in the outbox.
    last_span: Option<(RunKey, u64)>,
}

impl Views {
    /// Keeps nothing, and knows no version: there are no viewers.
    pub(super) fn new(now: Now) -> Self {
        let started_us = now.wall.as_unix_ns() / 1000;
        let version = u64::try_from(started_us).unwrap_or(0);
        Views {
            version,
            first_version: version,
            order: ChangeOrder::default(),
            kept: Kept::default(),
            gone: VecDeque::new(),
            gone_forgotten: version,
            last_span: None,
        }
    }

    /// From now on there are viewers, for whom so many bytes of ended runs and finished spans are kept.
    pub(super) fn keep(&mut self, bytes_max: usize) {
        self.kept.set_bytes_max(bytes_max);
    }

    /// What is kept, in bytes.
    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept.bytes()
    }

    /// Whether there are viewers.
    pub(super) fn are_wanted(&self) -> bool {
        self.kept.bytes_max() > 0
    }

    /// Something has changed that all runs share.
    pub(super) fn touch_all(&mut self) {
        self.version += 1;
    }

    /// A live run has changed.
    pub(super) fn touch(&mut self, slot: u32) {
        if self.are_wanted() {
            self.version += 1;
            self.order.touch(slot, self.version);
        }
    }

    /// A run has left its slot. It has ended, or is not ours any more.
    pub(super) fn leave(&mut self, slot: u32) {
        self.order.remove(slot);
    }

    /// Keeps a finished span of a run, encoded; `sequence` is its place in the outbox. False: there is no room for it.
    pub(super) fn keep_span(
        &mut self,
        run: RunKey,
        span: Arc<[u8]>,
        sequence: Option<u64>,
    ) -> bool {
        self.last_span = sequence.map(|sequence| (run, sequence));
        let is_kept = self.kept.push_span(run, span);
        self.note_evicted();
        is_kept
    }

    /// A run has ended. Its last finished span was that of the workflow, if it has spans. `left_out`: its stages without
    /// a span. `has_all_spans`: its finished spans were all kept.
    pub(super) fn end(
        &mut self,
        mut summary: RunSummary,
        left_out: Vec<StageDetail>,
        has_all_spans: bool,
    ) {
        if !self.are_wanted() {
            return;
        }
        self.version += 1;
        summary.version = self.version;
        let (run, sampled) = (summary.run, summary.sampled);
        let last = self.last_span.filter(|(of, _)| *of == run && sampled);
        self.kept.end(
            summary,
            left_out,
            has_all_spans,
            last.map(|(_, sequence)| sequence),
        );
        self.note_evicted();
    }

    /// A run is not shown any more.
    pub(super) fn forget(&mut self, run: RunKey) {
        if self.are_wanted() {
            self.kept.remove(run);
            self.note_gone(run);
        }
    }

    /// The collector has acknowledged the span of a run with this sequence.
    pub(super) fn delivered(&mut self, run: RunKey, sequence: u64) {
        if self.kept.deliver(run, sequence, self.version + 1) {
            self.version += 1;
        }
    }

    fn note_evicted(&mut self) {
        while let Some(run) = self.kept.evict() {
            self.note_gone(run);
        }
    }

    fn note_gone(&mut self, run: RunKey) {
        self.version += 1;
        self.gone.push_back((self.version, run));
        if self.gone.len() > limits::VIEW_GONE_MAX
            && let Some((version, _)) = self.gone.pop_front()
        {
            self.gone_forgotten = version;
        }
    }
}
