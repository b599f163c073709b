//! Looks at a workflow: what viewers see of it while it is watched.

use super::observed::Observed;
use super::spans::{AttributeList, Ending, Run};
use super::stage::{Fate, OpenStage, Stage};
use super::{Naming, Workflow};
use crate::event::Value;
use crate::ids::SpanId;
use crate::outcome::Outcome;
use crate::snapshot::State;
use crate::span::{SpanEvent, SpanStatus};
use crate::time::Wall;
use crate::view::{RunState, StageCounts, StageDetail};

/// A workflow in short, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Glance<'a> {
    /// The last state that the API reported.
    pub state: State,
    /// Whether its watch has ended, and its spans are finished.
    pub is_over: bool,
    /// How it ended. `None` while it is watched.
    pub result: Option<Outcome>,
    /// The API's latest status; empty before the first answer.
    pub status: &'a str,
    /// The error that the API reported, or why the watch ended early.
    pub error: Option<&'a str>,
    /// When its start event arrived.
    pub received: Wall,
    /// Since when it waited for its start, as reported.
    pub queued: Option<Wall>,
    /// When it started, as reported or else as observed.
    pub started: Option<Wall>,
    /// When it ended. `None` while it is watched.
    pub ended: Option<Wall>,
    /// The attempt at the run, if its start event or its API numbers it.
    pub attempt: Option<u32>,
}

/// What is copied of a workflow.
#[derive(Debug)]
pub struct WorkflowCopy {
    /// The stages whose span is not finished, and where finished spans are missing, the others too.
    pub stages: Vec<StageDetail>,
    /// How many stages there was no room for.
    pub left_out: usize,
    /// Its status events.
    pub events: Vec<SpanEvent>,
    /// Its attributes.
    pub attributes: Vec<(Box<str>, Value)>,
}

/// How a workflow ended: what viewers see of it when its span is finished.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LastGlance {
    pub(super) outcome: Option<Outcome>,
    pub(super) status: Box<str>,
    pub(super) error: Option<Box<str>>,
    pub(super) queued: Option<Wall>,
    pub(super) started: Wall,
    pub(super) ended: Wall,
}

impl LastGlance {
    /// It ended so, and ran from `started` to `ended`.
    pub(super) fn new(observed: &Observed, ending: &Ending, started: Wall, ended: Wall) -> Self {
        LastGlance {
            outcome: ending.outcome,
            status: observed.status().into(),
            error: match &ending.status {
                SpanStatus::Error(message) if !message.is_empty() => Some(message.clone()),
                _ => None,
            },
            queued: observed.queued(),
            started,
            ended,
        }
    }
}

impl Workflow {
    /// It in short.
    pub fn glance(&self) -> Glance<'_> {
        let extra = self.extra.as_deref();
        let attempt = self.attempt.or(extra.and_then(|extra| extra.attempt));
        let observed = &self.observed;
        let live = Glance {
            state: observed.state,
            is_over: false,
            result: None,
            status: observed.status(),
            error: observed.error(),
            received: self.received_at,
            queued: observed.queued(),
            // As its span will have it.
            started: (observed.start)
                .or((observed.started_seen).map(|seen| seen.min(self.announced_at()))),
            ended: None,
            attempt,
        };
        match extra.and_then(|extra| extra.last.as_deref()) {
            None => live,
            Some(last) => Glance {
                is_over: true,
                result: last.outcome,
                status: &last.status,
                error: last.error.as_deref(),
                queued: last.queued,
                started: Some(last.started),
                ended: Some(last.ended),
                ..live
            },
        }
    }

    /// Whether its spans are recorded.
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// The id of its own span.
    pub fn root_span_id(&self, naming: &Naming) -> SpanId {
        self.run(naming).span_id(None)
    }

    /// Its stages by their state.
    pub fn count_stages(&self) -> StageCounts {
        let mut counts = StageCounts::default();
        for stage in &self.stages.all {
            match state_of(stage) {
                RunState::Waiting => counts.waiting += 1,
                RunState::Running => counts.running += 1,
                RunState::Ended => counts.ended += 1,
            }
            counts.failed += u32::from(result_of(stage).is_some_and(Outcome::is_failure));
        }
        counts
    }

    /// Whether a span of it is finished.
    pub fn has_finished_stages(&self) -> bool {
        self.stages.all.iter().any(Stage::is_finished)
    }

    /// A copy of what its spans would show now, of at most so many stages. `has_all_spans`: its finished spans are known
    /// elsewhere.
    pub fn look(&self, naming: &Naming, has_all_spans: bool, stages_max: usize) -> WorkflowCopy {
        let run = self.run(naming);
        let is_needed = |stage: &&Stage| !(has_all_spans && stage.fate == Fate::Finished);
        let mut needed = self.stages.all.iter().filter(is_needed);
        let stages = needed.by_ref().take(stages_max);
        let stages: Vec<StageDetail> = stages.map(|stage| self.detail(stage, run)).collect();
        let left_out = needed.count();
        let mut events = self.observed.events.clone();
        if let Some(time) = self.submitted_at {
            let index = events.partition_point(|event| event.time < time);
            let name = "Submitted".into();
            events.insert(index, SpanEvent { time, name });
        }
        let mut attributes = AttributeList::new(&naming.limits);
        run.add_to(&mut attributes);
        attributes.add_times(&self.observed);
        if let Some(extra) = self.extra.as_deref() {
            attributes.add_some(super::KEYS.url, extra.reported.url.as_deref());
            attributes.add_all(extra.reported.attributes.clone(), super::KEYS.is_taken);
        }
        attributes.add_all(self.attributes.clone(), super::KEYS.is_taken);
        WorkflowCopy {
            stages,
            left_out,
            events,
            attributes: attributes.into_inner(),
        }
    }

    /// A copy of the stages that have ended without a span, of at most so many.
    pub fn left_out_stages(&self, naming: &Naming, stages_max: usize) -> Vec<StageDetail> {
        let run = self.run(naming);
        let left_out = self.stages.all.iter();
        let left_out = left_out.filter(|stage| stage.fate == Fate::LeftOut);
        left_out
            .take(stages_max)
            .map(|stage| self.detail(stage, run))
            .collect()
    }

    fn detail(&self, stage: &Stage, run: Run<'_>) -> StageDetail {
        let parent = stage.parent().map(|parent| &self.stages.all[parent]);
        let parent = parent.map(|parent| (&*parent.path, parent.attempt));
        let mut detail = StageDetail {
            span_id: run.span_id(Some((&stage.path, stage.attempt))),
            parent: run.span_id(parent),
            name: (*stage.path).into(),
            attempt: stage.attempt,
            state: state_of(stage),
            status: Box::default(),
            result: result_of(stage),
            error: None,
            queued: None,
            started: None,
            ended: None,
            events: Vec::new(),
            attributes: Vec::new(),
        };
        if let Some(open) = &stage.open {
            open.fill(&mut detail, run);
        }
        detail
    }
}

impl OpenStage {
    fn fill(&self, detail: &mut StageDetail, run: Run<'_>) {
        let observed: &Observed = &self.observed;
        if let Some(kind) = &self.kind {
            detail.name = (**kind).into();
        }
        detail.status = observed.status().into();
        detail.error = observed.error().map(Into::into);
        detail.queued = observed.queued();
        detail.started = observed.start.or(observed.started_seen);
        detail.ended = observed.plausible_end().or(observed.ended_seen);
        detail.events = observed.events.clone();
        let mut attributes = AttributeList::new(&run.naming.limits);
        attributes.add("type", &*detail.name);
        attributes.add_some("id", self.id.as_deref());
        attributes.add_times(observed);
        if let Some(extra) = &self.extra {
            let keys = &super::stages::KEYS;
            attributes.add_some(keys.url, extra.reported.url.as_deref());
            attributes.add_all(extra.reported.attributes.clone(), keys.is_taken);
        }
        detail.attributes = attributes.into_inner();
    }
}

fn state_of(stage: &Stage) -> RunState {
    if stage.is_finished() {
        return RunState::Ended;
    }
    match stage.open.as_ref().map(|open| open.observed.state) {
        None | Some(State::Pending) => RunState::Waiting,
        Some(State::Running) => RunState::Running,
        Some(State::Ended(_)) => RunState::Ended,
    }
}

fn result_of(stage: &Stage) -> Option<Outcome> {
    match (stage.fate, &stage.open) {
        (Fate::Finished, _) => stage.failed.then_some(Outcome::Failure),
        (Fate::LeftOut, _) => Some(Outcome::Skip),
        (Fate::Unfinished, Some(open)) => match open.observed.state {
            State::Ended(outcome) => Some(outcome),
            State::Pending | State::Running => None,
        },
        (Fate::Unfinished, None) => None,
    }
}
