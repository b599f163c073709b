//! One workflow under watch: snapshots in, finished spans out.
//!
//! ```text
//! Pending -> Running -> Ended -> (its stages and times settle) -> finished
//! ```
//!
//! A stage's span is finished when the stage has ended and its times are known, the workflow's when everything is; a
//! finished span never changes, whatever the API says later. What the API does not say, or says differently from
//! answer to answer, is filled in from the best observation.
//!
//! Pure. The times given here are in the API's clock already.

pub mod record;

use super::event::{self, Sampling, StartEvent, Value};
use super::ids::{Edition, RANDOM, RunKey, SAMPLED, SpanId, TraceContext, TraceId};
use super::limits;
use super::sampler::{Sampler, SpanLimits};
use super::snapshot::{Outcome, Progress, Snapshot, StageSnapshot, State};
use super::span::{Parent, Span, SpanEvent, SpanStatus};
use super::time::Wall;
use std::collections::HashMap;
use std::sync::Arc;

/// What is the same for all workflows of a monitor.
#[derive(Clone, Debug, PartialEq)]
pub struct Naming {
    /// The monitor's name. It is part of every id.
    pub monitor: Box<str>,
    /// The name of a workflow's span, and `cicd.pipeline.name`.
    pub workflow: Box<str>,
    /// What a span may hold.
    pub limits: SpanLimits,
}

/// A workflow under watch.
#[derive(Clone, Debug)]
pub struct Workflow {
    id: Arc<str>,
    attempt: Option<u32>,
    trace_id: TraceId,
    parent: Option<Box<TraceContext>>,
    sampled: bool,
    submitted_at: Option<Wall>,
    received_at: Wall,
    attributes: event::Attributes,
    source: Option<Box<str>>,
    seen: Seen,
    stages: Vec<Stage>,
    settling: u8,
    /// Earliest start and latest end of the stages' spans that are finished.
    finished_within: Option<(Wall, Wall)>,
    /// Whether its record is not what it was.
    changed: bool,
}

/// Small where there is nothing to know: most stages of most workflows wait, or are finished.
#[derive(Clone, Debug)]
struct Stage {
    path: Box<str>,
    finished: bool,
    /// From the first word about it to its end.
    open: Option<Box<OpenStage>>,
}

#[derive(Clone, Debug, Default)]
struct OpenStage {
    /// Where it is not the path.
    kind: Option<Box<str>>,
    id: Option<Box<str>>,
    seen: Seen,
    /// Whether the answer at hand names it. A flag, because it may do so again and again.
    answered: bool,
    /// Answers that named it ended without its times.
    settling: u8,
}

/// The best observation so far.
#[derive(Clone, Debug, Default)]
struct Seen {
    state: State,
    start: Option<Wall>,
    end: Option<Wall>,
    error: Option<Box<str>>,
    /// When it was first seen running or ended.
    started_seen: Option<Wall>,
    /// When it was first seen ended.
    ended_seen: Option<Wall>,
    /// The last one's name is the status, unless there is one that was dropped.
    events: Vec<SpanEvent>,
    dropped: Option<Box<DroppedEvents>>,
}

#[derive(Clone, Debug)]
struct DroppedEvents {
    count: u32,
    last: Box<str>,
}

/// How far a workflow is after a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on, or something about it has to settle.
    Watching,
    /// All its spans are finished.
    Ended(Outcome),
}

/// Why a watch ends before the workflow is known to have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abandoned {
    /// The poll timeout has passed.
    TimedOut,
    /// The API does not know the workflow.
    NotFound,
}

impl Abandoned {
    /// The message on the spans.
    pub fn message(self) -> &'static str {
        match self {
            Abandoned::TimedOut => "Monitor timed out",
            Abandoned::NotFound => "Workflow not found",
        }
    }

    fn outcome(self) -> Outcome {
        match self {
            Abandoned::TimedOut => Outcome::Timeout,
            Abandoned::NotFound => Outcome::Error,
        }
    }

    /// For `error.type`.
    fn error_type(self) -> &'static str {
        match self {
            Abandoned::TimedOut => "timeout",
            Abandoned::NotFound => "not_found",
        }
    }
}

impl Workflow {
    /// A workflow that was announced and not yet asked after.
    pub fn new(event: StartEvent, naming: &Naming, sampler: &Sampler, received_at: Wall) -> Self {
        let edition = edition_of(&event);
        let trace_id = match &event.parent {
            Some(parent) => parent.trace_id,
            None => TraceId::of_run(&naming.monitor, &event.workflow_id, edition),
        };
        let parent_sampled = match event.sampling {
            Sampling::AsParent => event.parent.as_ref().map(|p| p.sampled()),
            Sampling::Undecided => None,
            Sampling::Dropped => Some(false),
        };
        Workflow {
            id: event.workflow_id.into(),
            attempt: event.attempt,
            trace_id,
            sampled: sampler.sampled(trace_id, parent_sampled),
            parent: event.parent,
            submitted_at: event.submitted_at,
            received_at,
            attributes: event.attributes,
            source: event.source,
            seen: Seen::default(),
            stages: Vec::new(),
            settling: 0,
            finished_within: None,
            changed: true,
        }
    }

    /// Whether its record has changed since this was asked last.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Something about its record has changed that it does not know itself.
    pub fn touch(&mut self) {
        self.changed = true;
    }

    /// What is to be acknowledged when its spans are delivered.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// The same, from now on.
    pub fn set_source(&mut self, source: Box<str>) {
        self.changed |= self.source.as_ref() != Some(&source);
        self.source = Some(source);
    }

    /// The same, for the last time.
    pub fn take_source(&mut self) -> Option<Box<str>> {
        self.source.take()
    }

    /// Its id.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn edition(&self) -> Edition {
        edition(self.attempt, self.submitted_at)
    }

    /// What finds its run, made from what finds itself.
    pub fn run_key(&self, key: RunKey) -> RunKey {
        key.of_edition(self.edition())
    }

    /// The trace that its spans belong to.
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// Takes in an answer that was given at `at`, and adds the spans that it finishes.
    pub fn observe(
        &mut self,
        snapshot: Snapshot,
        at: Wall,
        naming: &Naming,
        spans: &mut Vec<Span>,
    ) -> Verdict {
        let mut room = EventRoom {
            of_span: naming.limits.events,
            of_workflow: limits::OBSERVED_EVENTS_MAX.saturating_sub(self.observed_events()),
        };
        self.changed |= self.seen.observe(snapshot.progress, at, &mut room);
        self.observe_stages(snapshot.stages, at, &mut room);
        self.finish_stages(naming, spans);
        let State::Ended(outcome) = self.seen.state else {
            self.settling = 0;
            return Verdict::Watching;
        };
        if !self.settled(outcome) && self.settling < limits::SETTLE_POLLS {
            self.settling += 1;
            return Verdict::Watching;
        }
        self.finish_ended(outcome, at, naming, spans);
        Verdict::Ended(outcome)
    }

    /// Ends the watch at `at`: every span still open is finished, so that nothing shows as running for ever. A
    /// workflow that has ended only had to settle: it ended as it did, and `None` comes back with that.
    pub fn abandon(
        &mut self,
        why: Abandoned,
        at: Wall,
        naming: &Naming,
        spans: &mut Vec<Span>,
    ) -> (Outcome, Option<Abandoned>) {
        if let State::Ended(outcome) = self.seen.state {
            self.finish_ended(outcome, at, naming, spans);
            return (outcome, None);
        }
        self.finish_open_stages(at, Some(why), naming, spans);
        let status = SpanStatus::Error(why.message().into());
        self.finish_self(at, why.outcome(), status, why.error_type(), naming, spans);
        (why.outcome(), Some(why))
    }

    /// Holds what must always be true.
    pub fn check_invariants(&self) {
        assert!(self.stages.len() <= limits::STAGES_MAX);
        assert!(self.settling <= limits::SETTLE_POLLS);
        if let Some((start, end)) = self.finished_within {
            assert!(start <= end);
            assert!(self.stages.iter().any(|s| s.finished));
        }
    }

    /// Changes of status that wait for their spans.
    fn observed_events(&self) -> usize {
        let open = self.stages.iter().filter_map(|stage| stage.open.as_ref());
        open.map(|open| open.seen.events.len()).sum::<usize>() + self.seen.events.len()
    }

    fn observe_stages(&mut self, stages: Vec<StageSnapshot>, at: Wall, room: &mut EventRoom) {
        // Most APIs keep the order from answer to answer: then the next is where the last one was.
        let mut expected = 0;
        if self.stages.is_empty() {
            self.stages.reserve_exact(stages.len());
        }
        let mut by_path: Option<HashMap<Box<str>, usize>> = None;
        for stage in stages {
            let here = self.stages.get(expected);
            let index = if here.is_some_and(|s| s.path == stage.path) {
                Some(expected)
            } else {
                let all = &self.stages;
                let by_path = by_path
                    .get_or_insert_with(|| all.iter().map(|s| s.path.clone()).zip(0..).collect());
                by_path.get(&stage.path).copied()
            };
            let index = match index {
                Some(index) => index,
                None if self.stages.len() >= limits::STAGES_MAX => continue,
                None => {
                    if let Some(by_path) = &mut by_path {
                        by_path.insert(stage.path.clone(), self.stages.len());
                    }
                    self.stages.push(Stage {
                        path: stage.path.clone(),
                        finished: false,
                        open: None,
                    });
                    self.stages.len() - 1
                }
            };
            expected = index + 1;
            let known = &mut self.stages[index];
            if known.finished {
                continue;
            }
            let says_nothing = stage.id.is_none() && stage.progress == Progress::default();
            if known.open.is_none() && says_nothing {
                continue;
            }
            self.changed |= known.open.is_none();
            let known = known.open.get_or_insert_default();
            let kind = Some(stage.kind).filter(|kind| *kind != stage.path);
            let id = stage.id.or_else(|| known.id.clone());
            self.changed |= known.kind != kind || known.id != id;
            (known.kind, known.id) = (kind, id);
            self.changed |= known.seen.observe(stage.progress, at, room);
            known.answered = true;
        }
    }

    /// Finishes the stages that have ended and whose times are known, or will not be.
    fn finish_stages(&mut self, naming: &Naming, spans: &mut Vec<Span>) {
        for index in 0..self.stages.len() {
            let Some(stage) = &mut self.stages[index].open else {
                continue;
            };
            let answered = std::mem::take(&mut stage.answered);
            match stage.seen.state {
                State::Ended(_) if !stage.seen.has_times() => stage.settling += u8::from(answered),
                _ => stage.settling = 0,
            }
            let waited = stage.settling > limits::SETTLE_POLLS;
            // What never ran has no times, and gets no span that would need them.
            let skipped = stage.seen.state == State::Ended(Outcome::Skip);
            if let State::Ended(outcome) = stage.seen.state
                && (stage.seen.has_times() || waited || skipped)
            {
                self.finish_ended_stage(index, outcome, naming, spans);
            }
        }
    }

    fn finish_ended_stage(
        &mut self,
        index: usize,
        outcome: Outcome,
        naming: &Naming,
        spans: &mut Vec<Span>,
    ) {
        let Some(stage) = self.stages[index].finish() else {
            return;
        };
        self.changed = true;
        if outcome == Outcome::Skip {
            return;
        }
        let seen = &stage.seen;
        let message = seen.error.clone().unwrap_or_default();
        let error_type = seen.status().to_owned();
        // A stage that has ended was seen so.
        let end = seen.best_end(seen.ended_seen.unwrap_or(self.received_at));
        let ending = Ending {
            end,
            status: status_of(outcome, &message),
            outcome: Some(outcome),
            error_type: &error_type,
            incomplete: false,
        };
        self.finish_stage(index, stage, ending, naming, spans);
    }

    /// Finishes all of a workflow that the API has said to have ended so.
    fn finish_ended(&mut self, outcome: Outcome, at: Wall, naming: &Naming, spans: &mut Vec<Span>) {
        let message = self.seen.error.clone().unwrap_or_default();
        let status = status_of(outcome, &message);
        let error_type = self.seen.status().to_owned();
        let end = self.seen.best_end(at);
        self.finish_open_stages(end, None, naming, spans);
        self.finish_self(end, outcome, status, &error_type, naming, spans);
    }

    /// Finishes every stage that is not, because the workflow is.
    fn finish_open_stages(
        &mut self,
        end: Wall,
        why: Option<Abandoned>,
        naming: &Naming,
        spans: &mut Vec<Span>,
    ) {
        for index in 0..self.stages.len() {
            let stage = &mut self.stages[index];
            let state = stage.open.as_ref().map(|open| open.seen.state);
            if let Some(State::Ended(outcome)) = state {
                self.finish_ended_stage(index, outcome, naming, spans);
                continue;
            }
            match stage.finish() {
                Some(stage) if stage.seen.has_run() => {
                    let timed_out = why == Some(Abandoned::TimedOut);
                    let ending = Ending {
                        end,
                        status: match why {
                            Some(why) => SpanStatus::Error(why.message().into()),
                            None => SpanStatus::Unset,
                        },
                        outcome: why.map(Abandoned::outcome),
                        error_type: why.map_or("", Abandoned::error_type),
                        incomplete: !timed_out,
                    };
                    self.finish_stage(index, stage, ending, naming, spans);
                }
                _ => {}
            }
        }
    }

    fn finish_stage(
        &mut self,
        index: usize,
        stage: OpenStage,
        ending: Ending<'_>,
        naming: &Naming,
        spans: &mut Vec<Span>,
    ) {
        let path = &self.stages[index].path;
        let OpenStage { kind, id, seen, .. } = stage;
        let kind = kind.unwrap_or_else(|| path.clone());
        let reported = (seen.start, seen.end);
        // An end before the start says nothing, about stages neither.
        let latest = match (self.seen.state, self.seen.end) {
            (State::Ended(_), Some(end)) if self.seen.start.is_none_or(|s| s <= end) => Some(end),
            _ => None,
        };
        // Jaeger warns of a child outside its parent; the reported times stay on the attributes.
        let start = seen.best_start(ending.end);
        let start = self.seen.start.map_or(start, |from| start.max(from));
        let end = latest
            .map_or(ending.end, |to| ending.end.min(to))
            .max(start);
        self.finished_within = Some(match self.finished_within {
            None => (start, end),
            Some((first, last)) => (first.min(start), last.max(end)),
        });
        if !self.sampled {
            return;
        }
        let mut attributes = Attributes::new(&naming.limits);
        attributes.add("type", &*kind);
        attributes.add_some("id", id.as_deref());
        attributes.add_times(reported);
        self.add_run(&mut attributes, naming);
        attributes.add("cicd.pipeline.task.name", &*kind);
        let task_id = id.as_deref().unwrap_or(path);
        attributes.add("cicd.pipeline.task.run.id", task_id);
        let result = ending.outcome.map(Outcome::as_str);
        attributes.add_some("cicd.pipeline.task.run.result", result);
        attributes.add_ending(&ending);
        let edition = self.edition();
        let (trace_id, path) = (self.trace_id, Some((&**path, 1)));
        let (attributes, dropped_attributes) = attributes.finish();
        spans.push(Span {
            trace_id,
            span_id: SpanId::of_span(trace_id, &naming.monitor, &self.id, edition, path),
            parent: Some(Parent {
                span_id: self.span_id(naming),
                remote: false,
            }),
            trace_flags: self.trace_flags(),
            trace_state: self.trace_state(),
            name: kind,
            start,
            end,
            status: ending.status,
            attributes,
            dropped_attributes,
            dropped_events: seen.dropped_events(),
            events: clamped(seen.events, start, end),
            links: Vec::new(),
        });
    }

    fn finish_self(
        &mut self,
        end: Wall,
        outcome: Outcome,
        status: SpanStatus,
        error_type: &str,
        naming: &Naming,
        spans: &mut Vec<Span>,
    ) {
        if !self.sampled {
            return;
        }
        let seen = std::mem::take(&mut self.seen);
        let reported = (seen.start, seen.end);
        let announced = self.submitted_at.unwrap_or(self.received_at);
        let start = match (seen.start, seen.started_seen) {
            (Some(start), _) => start,
            // It ran before it was first seen, and after it was announced.
            (None, Some(seen)) => announced.min(seen),
            (None, None) => announced,
        };
        // A parent holds its children, also those that were finished before their parent's times were known.
        let (first, last) = self.finished_within.unwrap_or((start, end));
        let start = match seen.start {
            Some(_) => start.min(first),
            None => start.min(first).min(end),
        };
        let end = end.max(last).max(start);
        let mut attributes = Attributes::new(&naming.limits);
        self.add_run(&mut attributes, naming);
        attributes.add_times(reported);
        attributes.add("cicd.pipeline.result", outcome.as_str());
        attributes.add_ending(&Ending {
            end,
            status: SpanStatus::Unset,
            outcome: Some(outcome),
            error_type,
            incomplete: false,
        });
        for (key, value) in std::mem::take(&mut self.attributes) {
            if !is_ours(&key) {
                attributes.add(&key, value);
            }
        }
        let dropped_events = seen.dropped_events();
        let mut events = clamped(seen.events, start, end);
        if let Some(time) = self.submitted_at {
            let name = "Submitted".into();
            // The submitter's clock may be ahead of the API's.
            let time = time.min(end);
            let place = events.partition_point(|event| event.time < time);
            events.insert(place, SpanEvent { time, name });
        }
        let dropped = events.len().saturating_sub(naming.limits.events);
        events.truncate(naming.limits.events);
        let (attributes, dropped_attributes) = attributes.finish();
        spans.push(Span {
            trace_id: self.trace_id,
            span_id: self.span_id(naming),
            parent: self.parent.as_ref().map(|parent| Parent {
                span_id: parent.span_id,
                remote: true,
            }),
            trace_flags: self.trace_flags(),
            trace_state: self.trace_state(),
            name: naming.workflow.clone(),
            start,
            end,
            status,
            attributes,
            dropped_attributes,
            events,
            dropped_events: dropped_events + dropped as u32,
            links: Vec::new(),
        });
    }

    /// Whether nothing more is to be expected of an ended workflow.
    fn settled(&self, outcome: Outcome) -> bool {
        // After a failure the stages that were still to come never start; after a success one that has not started
        // is an answer that lags.
        let has_run = |stage: &Stage| stage.open.as_ref().is_some_and(|open| open.seen.has_run());
        let open = |stage: &Stage| has_run(stage) || outcome == Outcome::Success;
        self.seen.has_times() && !self.stages.iter().any(|s| !s.finished && open(s))
    }

    /// What identifies the run stands on each of its spans: a trace of hours is cut into fragments by its backend.
    fn add_run(&self, attributes: &mut Attributes<'_>, naming: &Naming) {
        attributes.add("workflowId", &*self.id);
        attributes.add("cicd.pipeline.name", &*naming.workflow);
        attributes.add("cicd.pipeline.run.id", &*self.id);
    }

    fn span_id(&self, naming: &Naming) -> SpanId {
        SpanId::of_span(
            self.trace_id,
            &naming.monitor,
            &self.id,
            self.edition(),
            None,
        )
    }

    fn trace_flags(&self) -> u8 {
        let inherited = self.parent.as_ref().map_or(0, |p| p.trace_flags);
        (inherited & RANDOM) | if self.sampled { SAMPLED } else { 0 }
    }

    fn trace_state(&self) -> Option<Box<str>> {
        self.parent.as_ref()?.trace_state.clone()
    }
}

/// What tells an event's run from other runs of its workflow id.
pub fn edition_of(event: &StartEvent) -> Edition {
    edition(event.attempt, event.submitted_at)
}

fn edition(attempt: Option<u32>, submitted_at: Option<Wall>) -> Edition {
    match (attempt, submitted_at) {
        (Some(attempt), _) => Edition::Attempt(attempt),
        (None, Some(at)) => Edition::Submitted(at),
        (None, None) => Edition::Only,
    }
}

/// What finds an event's workflow, and its run.
pub fn keys_of(event: &StartEvent, naming: &Naming) -> (RunKey, RunKey) {
    let key = RunKey::of(&naming.monitor, &event.workflow_id);
    (key, key.of_edition(edition_of(event)))
}

/// `text` cut to a bound, at a character's boundary.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// A key that only the API, or farspan itself, may speak under: an event's `endTime` would pass for the API's where it
/// reported none.
fn is_ours(key: &str) -> bool {
    matches!(key, "workflowId" | "startTime" | "endTime" | "error.type")
        || key.starts_with("cicd.pipeline.")
        || key.starts_with("farspan.")
}

struct Ending<'a> {
    end: Wall,
    status: SpanStatus,
    outcome: Option<Outcome>,
    error_type: &'a str,
    incomplete: bool,
}

/// How many more changes of status are kept.
struct EventRoom {
    /// Of one span, in all.
    of_span: usize,
    /// Of the workflow and its stages together, from now on.
    of_workflow: usize,
}

impl Stage {
    /// Keeps only what tells it from its siblings, and gives the rest away.
    fn finish(&mut self) -> Option<OpenStage> {
        self.finished = true;
        self.open.take().map(|open| *open)
    }
}

impl Seen {
    /// Whether this changed anything.
    fn observe(&mut self, progress: Progress, at: Wall, room: &mut EventRoom) -> bool {
        let told = |seen: &Seen| {
            (
                (seen.state, seen.start, seen.end),
                (seen.started_seen, seen.ended_seen),
                (seen.events.len(), seen.dropped_events()),
            )
        };
        let before = told(self);
        if let Some(status) = progress.status
            && *status != *self.status()
        {
            // The observer's clock may have been set back.
            let time = self.events.last().map_or(at, |last| at.max(last.time));
            if self.events.len() < room.of_span && room.of_workflow > 0 {
                room.of_workflow -= 1;
                // There are few, and for long: growing by doubling would cost more than it saves.
                self.events.reserve_exact(1);
                self.events.push(SpanEvent { time, name: status });
            } else {
                let count = self.dropped_events().saturating_add(1);
                let last = status;
                self.dropped = Some(Box::new(DroppedEvents { count, last }));
            }
        }
        self.state = progress.state;
        if self.state != State::Pending {
            self.started_seen.get_or_insert(at);
        }
        if let State::Ended(_) = self.state {
            self.ended_seen.get_or_insert(at);
        } else {
            self.ended_seen = None;
        }
        self.start = progress.start.or(self.start);
        // An end reported of something that still runs is a projection.
        self.end = match self.state {
            State::Ended(_) => progress.end.or(self.end),
            State::Pending | State::Running => None,
        };
        let has_new_error = progress.error.is_some() && progress.error != self.error;
        if has_new_error {
            self.error = progress.error;
        }
        has_new_error || told(self) != before
    }

    /// The API's last word for it; empty before the first.
    fn status(&self) -> &str {
        match (&self.dropped, self.events.last()) {
            (Some(dropped), _) => &dropped.last,
            (None, Some(event)) => &event.name,
            (None, None) => "",
        }
    }

    fn dropped_events(&self) -> u32 {
        self.dropped.as_ref().map_or(0, |dropped| dropped.count)
    }

    /// Whether it was ever seen running, whatever is said of it now.
    fn has_run(&self) -> bool {
        self.started_seen.is_some()
    }

    fn has_times(&self) -> bool {
        self.start.is_some() && self.end.is_some()
    }

    /// As reported, else as first seen. Never before the start.
    fn best_end(&self, seen: Wall) -> Wall {
        let end = self.end.unwrap_or(self.ended_seen.unwrap_or(seen));
        self.start.map_or(end, |start| end.max(start))
    }

    /// As reported, else as first seen, but not after the end.
    fn best_start(&self, end: Wall) -> Wall {
        self.start
            .unwrap_or_else(|| self.started_seen.unwrap_or(end).min(end))
    }
}

/// A span's attributes while they are gathered: unique keys, bounded values, a bounded number.
struct Attributes<'a> {
    limits: &'a SpanLimits,
    all: Vec<(Box<str>, Value)>,
    dropped: u32,
}

impl<'a> Attributes<'a> {
    fn new(limits: &'a SpanLimits) -> Self {
        Attributes {
            limits,
            all: Vec::with_capacity(12),
            dropped: 0,
        }
    }

    fn add(&mut self, key: &str, value: impl Into<Value>) {
        if self.all.iter().any(|(known, _)| **known == *key) {
            return;
        }
        if self.all.len() >= self.limits.attributes {
            self.dropped += 1;
            return;
        }
        let value = match value.into() {
            Value::Str(text) => Value::Str(shortened(text, self.limits.attribute_value_chars)),
            other => other,
        };
        self.all.push((key.into(), value));
    }

    fn add_some(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(key, value);
        }
    }

    fn add_times(&mut self, (start, end): (Option<Wall>, Option<Wall>)) {
        if let Some(start) = start {
            self.add("startTime", start.to_string());
        }
        if let Some(end) = end {
            self.add("endTime", end.to_string());
        }
    }

    fn add_ending(&mut self, ending: &Ending<'_>) {
        let failed = matches!(
            ending.outcome,
            Some(Outcome::Failure | Outcome::Error | Outcome::Timeout)
        );
        if failed && !ending.error_type.is_empty() {
            self.add("error.type", ending.error_type);
        }
        if ending.incomplete {
            self.add("farspan.incomplete", Value::Bool(true));
        }
    }

    fn finish(self) -> (Vec<(Box<str>, Value)>, u32) {
        (self.all, self.dropped)
    }
}

fn shortened(text: Box<str>, chars_max: usize) -> Box<str> {
    let bound = match text.char_indices().nth(chars_max) {
        Some((bytes, _)) => bytes.min(limits::ATTRIBUTE_BYTES_MAX),
        None => limits::ATTRIBUTE_BYTES_MAX,
    };
    if text.len() <= bound {
        text
    } else {
        cut(&text, bound).into()
    }
}

fn status_of(outcome: Outcome, message: &str) -> SpanStatus {
    match outcome {
        Outcome::Success => SpanStatus::Ok,
        Outcome::Failure | Outcome::Error | Outcome::Timeout => {
            SpanStatus::Error(cut(message, limits::ATTRIBUTE_BYTES_MAX).into())
        }
        Outcome::Cancellation | Outcome::Skip => SpanStatus::Unset,
    }
}

fn clamped(mut events: Vec<SpanEvent>, start: Wall, end: Wall) -> Vec<SpanEvent> {
    for event in &mut events {
        event.time = event.time.clamp(start, end);
    }
    events
}

#[cfg(test)]
mod tests;
