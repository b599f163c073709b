//! One workflow under watch: snapshots in, finished spans out.
//!
//! ```text
//! Pending -> Running -> Ended -> (its stages and times settle) -> finished
//! ```
//!
//! A stage's span is finished when the stage has ended, its times are known and so is everything within it; the
//! workflow's when everything is. A finished span never changes, whatever the API says later. What the API does not
//! say, or says differently from answer to answer, is filled in from the best observation.
//!
//! Pure. The times given here are in the API's clock already.

pub mod record;
mod stages;

use super::event::{self, Sampling, StartEvent, Value};
use super::finished::{Finish, FinishedEvent};
use super::ids::{RANDOM, RunIdentity, RunKey, RunVersion, SAMPLED, SpanId, TraceContext, TraceId};
use super::limits;
use super::outcome::Abandoned;
use super::sampler::{Sampler, SpanLimits};
use super::snapshot::{Outcome, Progress, Snapshot, State};
use super::span::{Link, Parent, Service, Span, SpanEvent, SpanStatus};
use super::time::Wall;
use crate::text::cut;
use stages::{Stage, limited};
use std::sync::Arc;

/// What is the same for all workflows of a monitor.
#[derive(Clone, Debug, PartialEq)]
pub struct Naming {
    /// The monitor's name. It is part of every id.
    pub monitor: Box<str>,
    /// What tells runs of one workflow id apart.
    pub run_identity: RunIdentity,
    /// The name of a workflow's span, and `cicd.pipeline.name`.
    pub workflow: Box<str>,
    /// What a span may hold.
    pub limits: SpanLimits,
    /// Whether success is status Ok; else it is Unset, as the convention has it.
    pub ok: bool,
    /// Whether a skipped stage gets a span.
    pub skipped: bool,
    /// Whether the wait for a start gets a span of its own.
    pub queued: bool,
    /// What the submitter's trace context is for.
    pub context: ContextUse,
    /// Whose its spans are, where that is not farspan.
    pub service: Option<Arc<Service>>,
    /// Whether somebody is told when a workflow has finished.
    pub notifies: bool,
}

/// What becomes of the trace context that a start event carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContextUse {
    /// The workflow's span is a child of the submitter's, in its trace, and recorded as that trace is.
    #[default]
    Parent,
    /// The workflow has a trace of its own, and its span a link to the submitter's.
    Link,
    /// The workflow has a trace of its own.
    Ignore,
}

impl Naming {
    /// What is so unless somebody asks for something else.
    pub fn new(monitor: &str, workflow: &str, limits: SpanLimits) -> Self {
        Naming {
            monitor: monitor.into(),
            run_identity: RunIdentity::Event,
            workflow: workflow.into(),
            limits,
            ok: true,
            skipped: false,
            queued: false,
            context: ContextUse::Parent,
            service: None,
            notifies: false,
        }
    }
}

/// A workflow under watch.
#[derive(Clone, Debug)]
pub struct Workflow {
    id: Arc<str>,
    /// As its monitor had it when the run was announced: ids stay when a configuration changes.
    run_identity: RunIdentity,
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
    extra: Option<Box<Extra>>,
    /// Whether its record is not what it was.
    changed: bool,
}

/// What few workflows have.
#[derive(Clone, Debug, Default, PartialEq)]
struct Extra {
    /// The submitter's context, where it is no parent.
    submitter: Option<TraceContext>,
    /// Whether there is a trace of the attempt before.
    follows: bool,
    /// Which attempt the answers are about.
    attempt: Option<u32>,
    url: Option<Box<str>>,
    /// As the answers have them.
    attributes: event::Attributes,
    dropped_attributes: u32,
    /// When the last good answer was given, of an API that goes away with its workflow.
    answered_at: Option<Wall>,
    /// Its last state, for the finished event. It is never stored.
    finish: Option<Finish>,
    unknown: record::Unknown,
}

/// The best observation so far.
#[derive(Clone, Debug, Default)]
struct Seen {
    state: State,
    start: Option<Wall>,
    end: Option<Wall>,
    /// When it was first seen running or ended.
    started_seen: Option<Wall>,
    /// When it was first seen ended.
    ended_seen: Option<Wall>,
    /// The last one's name is the status, unless there is one that was dropped.
    events: Vec<SpanEvent>,
    extra: Option<Box<SeenExtra>>,
}

/// What few of them have.
#[derive(Clone, Debug, Default, PartialEq)]
struct SeenExtra {
    queued: Option<Wall>,
    error: Option<Box<str>>,
    dropped: Option<DroppedEvents>,
    unknown: record::Unknown,
}

#[derive(Clone, Debug, PartialEq)]
struct DroppedEvents {
    count: u32,
    last: Box<str>,
}

/// How far a workflow is after a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on, or something about it has to settle.
    Watching,
    /// All its spans are finished; and why the watch was given up, if it was.
    Ended(Outcome, Option<Abandoned>),
}

impl Workflow {
    /// A workflow that was announced and not yet asked after.
    pub fn new(event: StartEvent, naming: &Naming, sampler: &Sampler, received_at: Wall) -> Self {
        let version = run_version_of(&event, naming);
        let (parent, submitter) = match naming.context {
            ContextUse::Parent => (event.parent, None),
            ContextUse::Link => (None, event.parent.map(|context| *context)),
            ContextUse::Ignore => (None, None),
        };
        let own_trace = |version| TraceId::of_run(&naming.monitor, &event.workflow_id, version);
        let trace_id = match &parent {
            Some(parent) => parent.trace_id,
            None => own_trace(version),
        };
        let parent_sampled = parent.as_ref().map(|p| p.sampled());
        // Another submitter's trace cannot be known, and nobody looks for one that was not recorded.
        let follows = parent.is_none()
            && (event
                .attempt
                .and_then(|attempt| naming.run_identity.before(attempt)))
            .is_some_and(|before| sampler.sampled(own_trace(before), None));
        let extra = Extra {
            submitter,
            follows,
            ..Extra::default()
        };
        let parent_sampled = match event.sampling {
            Sampling::AsParent => parent_sampled,
            Sampling::Dropped if naming.context == ContextUse::Parent => Some(false),
            Sampling::Undecided | Sampling::Dropped => None,
        };
        Workflow {
            id: event.workflow_id.into(),
            run_identity: naming.run_identity,
            attempt: event.attempt,
            trace_id,
            sampled: sampler.sampled(trace_id, parent_sampled),
            parent,
            submitted_at: event.submitted_at,
            received_at,
            attributes: event.attributes,
            source: event.source,
            seen: Seen::default(),
            stages: Vec::new(),
            settling: 0,
            finished_within: None,
            extra: (extra != Extra::default()).then(|| Box::new(extra)),
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

    /// The API's last word for its state; empty before the first.
    pub fn status(&self) -> &str {
        self.seen.status()
    }

    /// When it started, as the API reports it, else when it was first heard of.
    pub fn began(&self) -> Wall {
        self.seen.start.unwrap_or(self.received_at)
    }

    /// What names its span to others.
    /// <https://www.w3.org/TR/trace-context/#traceparent-header>
    pub fn traceparent(&self, naming: &Naming) -> String {
        self.context(naming).traceparent()
    }

    /// Its span, for others.
    fn context(&self, naming: &Naming) -> TraceContext {
        TraceContext {
            trace_id: self.trace_id,
            span_id: self.span_id(naming),
            trace_flags: self.trace_flags(),
            trace_state: self.trace_state(),
        }
    }

    fn version(&self) -> RunVersion {
        self.run_identity.version(self.attempt, self.submitted_at)
    }

    /// Its run was announced once more, perhaps by something that knows more of it.
    pub fn announced_again(&mut self, event: &StartEvent) {
        // Elsewhere these are part of its ids.
        if self.run_identity != RunIdentity::Attempt {
            return;
        }
        let known = (self.attempt, self.submitted_at);
        self.attempt = self.attempt.or(event.attempt);
        self.submitted_at = self.submitted_at.or(event.submitted_at);
        self.changed |= known != (self.attempt, self.submitted_at);
    }

    /// What finds its run, made from what finds itself.
    pub fn run_key(&self, key: RunKey) -> RunKey {
        key.of_version(self.version())
    }

    /// Which attempt it is, where its event said so.
    pub fn attempt(&self) -> Option<u32> {
        self.attempt
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
        match (self.attempt, snapshot.attempt) {
            // The answer lags behind the event.
            (ours @ Some(_), theirs @ Some(_)) if self.run_identity.is_earlier(theirs, ours) => {
                return Verdict::Watching;
            }
            (ours @ Some(_), theirs @ Some(_)) if self.run_identity.is_earlier(ours, theirs) => {
                let began = snapshot.progress.queued.or(snapshot.progress.start);
                let end = began.map_or(at, |began| began.min(at));
                let (outcome, why) = self.abandon(Abandoned::Superseded, end, naming, spans);
                return Verdict::Ended(outcome, why);
            }
            _ => {}
        }
        let mut events = EventRoom {
            of_span: naming.limits.events,
            of_workflow: limits::OBSERVED_EVENTS_MAX.saturating_sub(self.observed_events()),
        };
        let mut room = self.attribute_room();
        self.observe_extra(
            snapshot.attempt,
            snapshot.url.as_deref(),
            &snapshot.attributes,
            &mut room,
        );
        self.changed |= self.seen.observe(snapshot.progress.view(), at, &mut events);
        self.observe_stages(&snapshot.stages, at, &mut events, &mut room);
        self.finish_stages(naming, spans);
        let State::Ended(outcome) = self.seen.state else {
            self.changed |= self.settling != 0;
            self.settling = 0;
            return Verdict::Watching;
        };
        if !self.settled(outcome) && self.settling < limits::SETTLE_POLLS {
            self.settling += 1;
            self.changed = true;
            return Verdict::Watching;
        }
        self.finish_ended(outcome, at, naming, spans);
        Verdict::Ended(outcome, None)
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
        let ending = Ending {
            end: at,
            status: SpanStatus::Error(why.message().into()),
            outcome: Some(why.outcome()),
            error_type: why.error_type(),
            incomplete: false,
            gone: false,
        };
        self.finish_self(ending, naming, spans);
        (why.outcome(), Some(why))
    }

    /// An API that goes away with its workflow has given a good answer.
    pub fn set_answered(&mut self, at: Wall) {
        // Not a change: it counts once the API is gone, and that is one.
        self.extra.get_or_insert_default().answered_at = Some(at);
    }

    /// When there was a good answer last, as far as that is known: else, when something was last seen to change.
    fn answered_at(&self) -> Option<Wall> {
        let told = self.extra.as_ref().and_then(|extra| extra.answered_at);
        let changed = self.seen.events.last().map(|event| event.time);
        told.or(changed).or(self.seen.started_seen)
    }

    /// Whether there ever was a good answer.
    pub fn was_seen(&self) -> bool {
        self.answered_at().is_some()
    }

    /// Ends the watch because the API is gone, which says that the workflow has ended, and not how: that is made of
    /// what was seen. `at`: when this was found, which is later.
    pub fn vanish(&mut self, at: Wall, naming: &Naming, spans: &mut Vec<Span>) -> Outcome {
        if let State::Ended(outcome) = self.seen.state {
            self.finish_ended(outcome, at, naming, spans);
            return outcome;
        }
        let (outcome, message) = match self.has_failed_stage() {
            true => (Outcome::Failure, "A stage failed"),
            false => (Outcome::Success, ""),
        };
        let message = self.seen.error().unwrap_or(message).to_owned();
        let end = self.latest_stage_end().or(self.answered_at());
        let end = self.seen.best_end(end.unwrap_or(at));
        self.finish_open_stages(end, None, naming, spans);
        let ending = Ending {
            end,
            status: status_of(outcome, &message, naming),
            outcome: Some(outcome),
            error_type: "stage_failed",
            incomplete: false,
            gone: true,
        };
        self.finish_self(ending, naming, spans);
        outcome
    }

    /// What is to be told of it now that its span is finished, where somebody wants to know.
    pub fn take_finished(
        &mut self,
        run: RunKey,
        monitor: Arc<str>,
        naming: &Naming,
        (outcome, abandoned): (Outcome, Option<Abandoned>),
    ) -> Option<FinishedEvent> {
        let context = self.context(naming);
        let extra = self.extra.as_mut()?;
        Some(FinishedEvent {
            run,
            monitor,
            finish: extra.finish.take()?,
            url: extra.url.clone(),
            attempt: self.attempt.or(extra.attempt),
            workflow_id: self.id.clone(),
            outcome,
            abandoned,
            submitted_at: self.submitted_at,
            context,
            attributes: std::mem::take(&mut self.attributes),
        })
    }

    /// Holds what must always be true.
    pub fn check_invariants(&self) {
        assert!(self.stages.len() <= limits::STAGES_MAX);
        assert!(self.settling <= limits::SETTLE_POLLS);
        if let Some((start, end)) = self.finished_within {
            assert!(start <= end);
            assert!(self.stages.iter().any(|s| s.is_finished()));
        }
        self.check_stages();
    }

    fn observe_extra(
        &mut self,
        attempt: Option<u32>,
        url: Option<&str>,
        attributes: &[(Box<str>, Value)],
        room: &mut usize,
    ) {
        if attempt.is_none() && url.is_none() && attributes.is_empty() {
            return;
        }
        let extra = self.extra.get_or_insert_default();
        self.changed |= attempt.is_some() && attempt != extra.attempt;
        extra.attempt = attempt.or(extra.attempt);
        self.changed |= merge(
            (url, attributes),
            (&mut extra.url, &mut extra.attributes),
            &mut extra.dropped_attributes,
            room,
        );
    }

    /// Changes of status that wait for their spans.
    fn observed_events(&self) -> usize {
        let open = self.stages.iter().filter_map(|stage| stage.open.as_ref());
        open.map(|open| open.seen.events.len()).sum::<usize>() + self.seen.events.len()
    }

    /// How many more bytes of attributes and URLs may be kept.
    fn attribute_room(&self) -> usize {
        let own = (self.extra.iter()).map(|e| kept_bytes(e.url.as_deref(), &e.attributes));
        let extras = self.stages.iter().filter_map(Stage::extra);
        let stages = extras.map(|e| kept_bytes(e.url.as_deref(), &e.attributes));
        limits::ANSWERED_ATTRIBUTE_BYTES_MAX.saturating_sub(own.chain(stages).sum())
    }

    /// Finishes all of a workflow that the API has said to have ended so.
    fn finish_ended(&mut self, outcome: Outcome, at: Wall, naming: &Naming, spans: &mut Vec<Span>) {
        let status = status_of(outcome, self.seen.error().unwrap_or_default(), naming);
        let error_type = self.seen.status().to_owned();
        let end = self.seen.best_end(at);
        self.finish_open_stages(end, None, naming, spans);
        let ending = Ending {
            end,
            status,
            outcome: Some(outcome),
            error_type: &error_type,
            incomplete: false,
            gone: false,
        };
        self.finish_self(ending, naming, spans);
    }

    fn finish_self(&mut self, ending: Ending<'_>, naming: &Naming, spans: &mut Vec<Span>) {
        if !self.sampled && !naming.notifies {
            return;
        }
        let end = ending.end;
        let seen = std::mem::take(&mut self.seen);
        let announced = self.submitted_at.unwrap_or(self.received_at);
        let start = match (seen.start, seen.started_seen) {
            (Some(start), _) => start,
            // It ran before it was first seen, and after it was announced.
            (None, Some(seen)) => announced.min(seen),
            (None, None) => announced,
        };
        let began = start;
        // A parent holds its children, also those that were finished before their parent's times were known.
        let (first, last) = self.finished_within.unwrap_or((start, end));
        let start = match seen.start {
            Some(_) => start.min(first),
            None => start.min(first).min(end),
        };
        let end = end.max(last).max(start);
        if naming.notifies {
            self.extra.get_or_insert_default().finish = Some(ending.finish(start, end));
        }
        if !self.sampled {
            return;
        }
        let extra = self.extra.as_deref().cloned().unwrap_or_default();
        let queued = seen.queued().filter(|_| naming.queued);
        let wait = queued.map(|queued| (queued, began.min(end)));
        let wait = wait.filter(|(queued, began)| queued < began);
        if let Some(wait) = wait {
            let (name, parent) = (&naming.workflow, self.span_id(naming));
            spans.push(self.wait_span(name, wait, None, parent, naming));
        }
        let start = wait.map_or(start, |(queued, _)| queued.min(start));
        let mut attributes = Attributes::new(&naming.limits);
        self.add_run(&mut attributes, naming);
        attributes.add_times(&seen);
        attributes.add_some("cicd.pipeline.run.url.full", extra.url.as_deref());
        if let Some(attempt) = self.attempt.or(extra.attempt) {
            attributes.add("attempt", Value::Int(attempt.into()));
        }
        let result = ending.outcome.map(Outcome::as_str);
        attributes.add_some("cicd.pipeline.result", result);
        attributes.add_ending(&ending);
        attributes.add_all(extra.attributes, |_| false);
        attributes.add_all(self.attributes.clone(), |_| false);
        attributes.dropped += extra.dropped_attributes;
        let mut links = Vec::new();
        if let Some(context) = extra.submitter {
            let remote = true;
            links.push(Link { context, remote });
        }
        if extra.follows {
            links.extend(self.link_to_attempt_before(naming));
        }
        let (links, dropped_links) = limited(links, naming);
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
            status: ending.status,
            attributes,
            dropped_attributes,
            events,
            dropped_events: dropped_events + dropped as u32,
            links,
            dropped_links,
            service: naming.service.clone(),
        });
    }

    /// The wait of the workflow or of a stage, which is `parent`, for its start.
    fn wait_span(
        &self,
        name: &str,
        (start, end): (Wall, Wall),
        stage: Option<(&str, u32)>,
        parent: SpanId,
        naming: &Naming,
    ) -> Span {
        let mut attributes = Attributes::new(&naming.limits);
        self.add_run(&mut attributes, naming);
        let (attributes, dropped_attributes) = attributes.finish();
        let (trace_id, version) = (self.trace_id, self.version());
        Span {
            trace_id,
            span_id: SpanId::of_wait(trace_id, &naming.monitor, &self.id, version, stage),
            parent: Some(Parent {
                span_id: parent,
                remote: false,
            }),
            trace_flags: self.trace_flags(),
            trace_state: self.trace_state(),
            name: format!("{name} queued").into(),
            start,
            end,
            status: SpanStatus::Unset,
            attributes,
            dropped_attributes,
            events: Vec::new(),
            dropped_events: 0,
            links: Vec::new(),
            dropped_links: 0,
            service: naming.service.clone(),
        }
    }

    fn link_to_attempt_before(&self, naming: &Naming) -> Option<Link> {
        let version = self.run_identity.before(self.attempt?)?;
        let trace_id = TraceId::of_run(&naming.monitor, &self.id, version);
        let context = TraceContext {
            trace_id,
            span_id: SpanId::of_span(trace_id, &naming.monitor, &self.id, version, None),
            trace_flags: SAMPLED,
            trace_state: None,
        };
        let remote = false;
        Some(Link { context, remote })
    }

    /// Whether nothing more is to be expected of an ended workflow.
    fn settled(&self, outcome: Outcome) -> bool {
        // After a failure the stages that were still to come never start; after a success one that has not started
        // is an answer that lags.
        let takes_part = |s: &Stage| s.open.as_ref().is_some_and(|open| open.takes_part());
        let open = |s: &Stage| takes_part(s) || outcome == Outcome::Success;
        self.seen.has_times() && !self.stages.iter().any(|s| !s.is_finished() && open(s))
    }

    /// What identifies the run stands on each of its spans: a trace of hours is cut into fragments by its backend.
    fn add_run(&self, attributes: &mut Attributes<'_>, naming: &Naming) {
        attributes.add("workflowId", &*self.id);
        attributes.add(PIPELINE_NAME, self.pipeline_name(naming));
        attributes.add("cicd.pipeline.run.id", &*self.id);
    }

    /// As the answers have it, where the mapping asks for it.
    fn pipeline_name<'a>(&'a self, naming: &'a Naming) -> &'a str {
        let extra = self.extra.as_deref();
        let mut answered = extra.iter().flat_map(|extra| &extra.attributes);
        match answered.find(|(key, _)| **key == *PIPELINE_NAME) {
            Some((_, Value::Str(name))) if !name.is_empty() => name,
            _ => &naming.workflow,
        }
    }

    fn span_id(&self, naming: &Naming) -> SpanId {
        SpanId::of_span(
            self.trace_id,
            &naming.monitor,
            &self.id,
            self.version(),
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

/// The run version of a start event.
pub fn run_version_of(event: &StartEvent, naming: &Naming) -> RunVersion {
    naming
        .run_identity
        .version(event.attempt, event.submitted_at)
}

/// The keys of a start event's workflow and of its run.
pub fn keys_of(event: &StartEvent, naming: &Naming) -> (RunKey, RunKey) {
    let key = RunKey::of(&naming.monitor, &event.workflow_id);
    (key, key.of_version(run_version_of(event, naming)))
}

/// The key of a start event's run by [`RunIdentity::Event`]. A monitor that gets a discovery changes to
/// [`RunIdentity::Attempt`]; its stored runs keep the keys they had.
pub fn run_by_event(event: &StartEvent, key: RunKey) -> RunKey {
    key.of_version(RunIdentity::Event.version(event.attempt, event.submitted_at))
}

/// A key that only the API, or farspan itself, may speak under: an event's `endTime` would pass for the API's where it
/// reported none.
const PIPELINE_NAME: &str = "cicd.pipeline.name";

fn is_ours(key: &str) -> bool {
    matches!(
        key,
        "workflowId" | "queuedTime" | "startTime" | "endTime" | "attempt" | "error.type"
    ) || key.starts_with("cicd.pipeline.")
        || key.starts_with("farspan.")
}

struct Ending<'a> {
    end: Wall,
    status: SpanStatus,
    outcome: Option<Outcome>,
    error_type: &'a str,
    incomplete: bool,
    /// Nobody said so: its API went away.
    gone: bool,
}

impl Ending<'_> {
    fn finish(&self, start: Wall, end: Wall) -> Finish {
        let failed = self.outcome.is_some_and(Outcome::is_failure);
        Finish {
            start,
            end,
            error: match &self.status {
                SpanStatus::Error(message) => message.clone(),
                SpanStatus::Ok | SpanStatus::Unset => Box::default(),
            },
            error_type: if failed { self.error_type } else { "" }.into(),
        }
    }
}

/// How many more changes of status are kept.
struct EventRoom {
    /// Of one span, in all.
    of_span: usize,
    /// Of the workflow and its stages together, from now on.
    of_workflow: usize,
}

impl Seen {
    /// Whether this changed anything.
    fn observe(&mut self, progress: Progress<&str>, at: Wall, room: &mut EventRoom) -> bool {
        let told = |seen: &Seen| {
            (
                (seen.state, seen.start, seen.end),
                (seen.started_seen, seen.ended_seen, seen.queued()),
                (seen.events.len(), seen.dropped_events()),
            )
        };
        let before = told(self);
        if let Some(status) = progress.status
            && status != self.status()
        {
            // The observer's clock may have been set back.
            let time = self.events.last().map_or(at, |last| at.max(last.time));
            if self.events.len() < room.of_span && room.of_workflow > 0 {
                room.of_workflow -= 1;
                // There are few, and for long: growing by doubling would cost more than it saves.
                self.events.reserve_exact(1);
                self.events.push(SpanEvent {
                    time,
                    name: status.into(),
                });
            } else {
                let count = self.dropped_events().saturating_add(1);
                let last = status.into();
                self.extra.get_or_insert_default().dropped = Some(DroppedEvents { count, last });
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
        if progress.queued.is_some() {
            self.extra.get_or_insert_default().queued = progress.queued;
        }
        let has_new_error = progress.error.is_some() && progress.error != self.error();
        if has_new_error {
            self.extra.get_or_insert_default().error = progress.error.map(Into::into);
        }
        has_new_error || told(self) != before
    }

    /// The API's last word for it; empty before the first.
    fn status(&self) -> &str {
        match (self.dropped(), self.events.last()) {
            (Some(dropped), _) => &dropped.last,
            (None, Some(event)) => &event.name,
            (None, None) => "",
        }
    }

    fn dropped_events(&self) -> u32 {
        self.dropped().map_or(0, |dropped| dropped.count)
    }

    fn dropped(&self) -> Option<&DroppedEvents> {
        self.extra.as_ref()?.dropped.as_ref()
    }

    fn queued(&self) -> Option<Wall> {
        self.extra.as_ref()?.queued
    }

    fn error(&self) -> Option<&str> {
        self.extra.as_ref()?.error.as_deref()
    }

    fn is_skipped_timelessly(&self) -> bool {
        let timeless = self.start.is_none() && self.end.is_none();
        timeless && self.state == State::Ended(Outcome::Skip)
    }

    /// The end of what has ended. One before the start says nothing, about what is within neither.
    fn plausible_end(&self) -> Option<Wall> {
        let State::Ended(_) = self.state else {
            return None;
        };
        self.end
            .filter(|end| self.start.is_none_or(|start| start <= *end))
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

    fn add_times(&mut self, reported: &Seen) {
        let times = [
            ("queuedTime", reported.queued()),
            ("startTime", reported.start),
            ("endTime", reported.end),
        ];
        for (key, time) in times {
            if let Some(time) = time {
                self.add(key, time.to_string());
            }
        }
    }

    /// Those of somebody else.
    fn add_all(&mut self, others: event::Attributes, is_taken: fn(&str) -> bool) {
        for (key, value) in others {
            if !is_ours(&key) && !is_taken(&key) {
                self.add(&key, value);
            }
        }
    }

    fn add_ending(&mut self, ending: &Ending<'_>) {
        let failed = ending.outcome.is_some_and(Outcome::is_failure);
        if failed && !ending.error_type.is_empty() {
            self.add("error.type", ending.error_type);
        }
        if ending.incomplete {
            self.add("farspan.incomplete", Value::Bool(true));
        }
        if ending.gone {
            self.add("farspan.gone", Value::Bool(true));
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

/// Takes in a URL and attributes as an answer has them. What it does not name stays as it was, and what there is no
/// room for is left out. Whether this changed anything.
fn merge(
    (new_url, new): (Option<&str>, &[(Box<str>, Value)]),
    (url, attributes): (&mut Option<Box<str>>, &mut event::Attributes),
    dropped: &mut u32,
    room: &mut usize,
) -> bool {
    let mut changed = false;
    if let Some(new_url) = new_url.filter(|new| Some(*new) != url.as_deref()) {
        let bytes = url.as_ref().map_or(0, |url| url.len());
        let new_url = cut(new_url, limits::ATTRIBUTE_BYTES_MAX);
        if new_url.len() <= *room + bytes && Some(new_url) != url.as_deref() {
            *room = *room + bytes - new_url.len();
            *url = Some(new_url.into());
            changed = true;
        }
    }
    if *new == **attributes {
        return changed;
    }
    let mut all = std::mem::take(attributes).into_vec();
    let mut left_out = 0;
    for (key, value) in new.iter().cloned() {
        let value = match value {
            Value::Str(text) => Value::Str(shortened(text, limits::ATTRIBUTE_BYTES_MAX)),
            other => other,
        };
        let known = all.iter().position(|(known, _)| *known == key);
        let before = known.map_or(0, |place| attribute_bytes(&all[place]));
        let attribute = (key, value);
        let bytes = attribute_bytes(&attribute);
        if bytes > *room + before
            || (known.is_none() && all.len() >= limits::ANSWERED_ATTRIBUTES_MAX)
        {
            left_out += 1;
            continue;
        }
        match known {
            Some(place) if all[place] == attribute => continue,
            Some(place) => all[place] = attribute,
            None => all.push(attribute),
        }
        *room = *room + before - bytes;
        changed = true;
    }
    changed |= *dropped < left_out;
    *dropped = (*dropped).max(left_out);
    *attributes = all.into();
    changed
}

fn kept_bytes(url: Option<&str>, attributes: &event::Attributes) -> usize {
    let all = attributes.iter().map(attribute_bytes);
    url.map_or(0, str::len) + all.sum::<usize>()
}

fn attribute_bytes((key, value): &(Box<str>, Value)) -> usize {
    let value = match value {
        Value::Str(text) => text.len(),
        Value::Int(_) | Value::Float(_) | Value::Bool(_) => size_of::<Value>(),
    };
    // A record has their lengths and the kind of the value besides.
    8 + key.len() + value
}

fn status_of(outcome: Outcome, message: &str, naming: &Naming) -> SpanStatus {
    match outcome {
        Outcome::Success if naming.ok => SpanStatus::Ok,
        Outcome::Success => SpanStatus::Unset,
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
