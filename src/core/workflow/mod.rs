//! One workflow under watch: snapshots in, finished spans out.
//!
//! ```text
//! Pending -> Running -> Ended -> (its stages and times settle) -> finished
//! ```
//!
//! The span of a stage is finished when the stage has ended, its times are known and its children are finished; the span
//! of the workflow when all stages are. A finished span never changes, whatever the API reports later. Times that the
//! API does not report are those of the answers that showed the change.
//!
//! Pure. The times given here are in the API's clock already.

mod early;
mod look;
mod observed;
pub mod record;
mod spans;
mod stage;
mod stages;

use super::event::{self, Sampling, StartEvent, Value};
use super::finished::{Finish, FinishedEvent};
use super::ids::{RANDOM, RunIdentity, RunKey, RunVersion, SAMPLED, TraceContext, TraceId};
use super::limits;
use super::log_record::LogRecord;
use super::outcome::{Abandoned, Ended, Outcome};
use super::sampler::{Sampler, SpanLimits};
use super::shared_texts::SharedTexts;
use super::snapshot::{Snapshot, State};
use super::span::{Link, Parent, Service, Span, SpanEvent};
use super::time::Wall;
pub use look::Glance;
use look::LastGlance;
use observed::{EventRoom, Observed, Reported};
use spans::{AttributeList, Ending, PIPELINE_NAME, ReportedKeys, Run, Unfinished, clamped};
use stages::StageTree;
use std::sync::Arc;
use std::time::Duration;

const KEYS: ReportedKeys = ReportedKeys {
    url: "cicd.pipeline.run.url.full",
    result: "cicd.pipeline.result",
    is_taken: |_| false,
};

/// How a monitor identifies runs and builds spans.
#[derive(Clone, Debug, PartialEq)]
pub struct Naming {
    /// The monitor's name. It is part of every id.
    pub monitor: Box<str>,
    /// The rule that tells the runs of one workflow id apart.
    pub run_identity: RunIdentity,
    /// The name of a workflow's span, and `cicd.pipeline.name`.
    pub workflow: Box<str>,
    /// What a span may hold.
    pub limits: SpanLimits,
    /// Whether a success has the span status Ok. Otherwise it is Unset, as the semantic conventions ask.
    pub ok: bool,
    /// Whether a skipped stage gets a span.
    pub skipped: bool,
    /// Whether the wait for the start gets a span of its own.
    pub queued: bool,
    /// How the trace context of a start event is used.
    pub context: ContextUse,
    /// The service of its spans, if it is not farspan itself.
    pub service: Option<Arc<Service>>,
    /// Whether a finished event is sent when a workflow has finished.
    pub notifies: bool,
    /// Whether the start of a workflow and of each stage gets a span of its own, at once.
    pub started: bool,
    /// Where status events go.
    pub status_events: StatusEvents,
}

/// Where status events go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StatusEvents {
    /// Onto the span, which is exported at its end.
    #[default]
    Span,
    /// Into log records, each exported when the status was observed.
    Log,
    /// Both.
    Both,
}

impl StatusEvents {
    /// Whether they stand on the span.
    pub fn are_on_span(self) -> bool {
        self != StatusEvents::Log
    }

    /// Whether they are log records.
    pub fn are_logged(self) -> bool {
        self != StatusEvents::Span
    }
}

/// How the trace context of a start event is used.
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
    /// The defaults.
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
            started: false,
            status_events: StatusEvents::Span,
        }
    }
}

/// A watched workflow.
#[derive(Clone, Debug)]
pub struct Workflow {
    id: Arc<str>,
    /// The rule of its monitor when the run was announced. Ids stay when the configuration changes.
    run_identity: RunIdentity,
    attempt: Option<u32>,
    trace_id: TraceId,
    parent: Option<Box<TraceContext>>,
    sampled: bool,
    submitted_at: Option<Wall>,
    received_at: Wall,
    attributes: event::Attributes,
    source: Option<Box<str>>,
    observed: Observed,
    stages: StageTree,
    settling: u8,
    extra: Option<Box<Extra>>,
    /// Whether the stored record is out of date.
    changed: bool,
}

/// The parts of a [`Workflow`] that few have.
#[derive(Clone, Debug, Default, PartialEq)]
struct Extra {
    /// The submitter's trace context, if it becomes a link.
    submitter: Option<TraceContext>,
    /// Whether the attempt before has a trace.
    follows: bool,
    /// The attempt in the answers.
    attempt: Option<u32>,
    reported: Reported,
    /// When the last good answer was given, for an API that goes away with its workflow.
    answered_at: Option<Wall>,
    /// How it has ended. It is never stored.
    finish: Option<Finish>,
    /// How it ended, for viewers. It is never stored.
    last: Option<Box<LastGlance>>,
    unknown: record::Unknown,
}

/// Whether a workflow is watched on after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on, or some of its times or stages have to settle.
    Watching,
    /// All its spans are finished. The second value says why the watch ended early, if it did.
    Ended(Outcome, Option<Abandoned>),
}

impl Workflow {
    /// A workflow that was announced and has not been polled.
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
        // The trace of the attempt before is known only if it was the run's own. A link needs it to be sampled.
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
            observed: Observed::default(),
            stages: StageTree::default(),
            settling: 0,
            extra: (extra != Extra::default()).then(|| Box::new(extra)),
            changed: true,
        }
    }

    /// Whether its record has changed since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Marks the record as changed, for a change outside this type.
    pub fn touch(&mut self) {
        self.changed = true;
    }

    /// The stream entry to acknowledge when its spans are delivered.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Sets the stream entry to acknowledge.
    pub fn set_source(&mut self, source: Box<str>) {
        self.changed |= self.source.as_ref() != Some(&source);
        self.source = Some(source);
    }

    /// Takes the stream entry to acknowledge.
    pub fn take_source(&mut self) -> Option<Box<str>> {
        self.source.take()
    }

    /// What its texts have in common with those of other workflows is in memory once from now on.
    pub(super) fn share_texts(&mut self, texts: &mut SharedTexts) {
        self.observed.share_texts(texts);
        self.stages.share_texts(texts);
    }

    /// The workflow's id.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The API's latest status; empty before the first answer.
    pub fn status(&self) -> &str {
        self.observed.status()
    }

    /// Where it stands, as the latest answer says.
    pub fn state(&self) -> State {
        self.observed.state
    }

    /// What has ended since the last call: stages, and in the end the workflow itself.
    pub fn take_ended(&mut self) -> Option<Vec<Ended>> {
        self.stages.ended.take().map(|ended| ended.0)
    }

    /// The reported start, else the time when its start event arrived.
    pub fn began(&self) -> Wall {
        self.observed.start.unwrap_or(self.received_at)
    }

    /// The W3C `traceparent` of its span.
    /// <https://www.w3.org/TR/trace-context/#traceparent-header>
    pub fn traceparent(&self, naming: &Naming) -> String {
        self.run(naming).context(None).traceparent()
    }

    fn version(&self) -> RunVersion {
        self.run_identity.version(self.attempt, self.submitted_at)
    }

    /// Takes in another start event of the same run, which may know more.
    pub fn announced_again(&mut self, event: &StartEvent) {
        // By any other rule these are part of its ids.
        if self.run_identity != RunIdentity::Attempt {
            return;
        }
        let known = (self.attempt, self.submitted_at);
        self.attempt = self.attempt.or(event.attempt);
        self.submitted_at = self.submitted_at.or(event.submitted_at);
        self.changed |= known != (self.attempt, self.submitted_at);
    }

    /// The key of its run; `key` is that of its workflow.
    pub fn run_key(&self, key: RunKey) -> RunKey {
        key.of_version(self.version())
    }

    /// The attempt in its start event.
    pub fn attempt(&self) -> Option<u32> {
        self.attempt
    }

    /// The trace that its spans belong to.
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// Takes in an answer that was given at `at`, and adds the spans that it finishes to `spans`, and its status events to
    /// `log_records` if the monitor wants them there.
    pub fn observe(
        &mut self,
        snapshot: Snapshot,
        at: Wall,
        naming: &Naming,
        spans: &mut Vec<Span>,
        log_records: &mut Vec<LogRecord>,
    ) -> Verdict {
        match (self.attempt, snapshot.attempt) {
            // The answer is older than the start event.
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
            of_workflow: limits::OBSERVED_EVENTS_MAX
                .saturating_sub(self.observed.events.len() + self.stages.events()),
        };
        let mut room = self.attribute_room();
        self.observe_run(&snapshot, &mut room);
        let of_run = (self.observed).observe(snapshot.progress.view(), at, &mut events);
        let (stages, mut of_stages) = (&snapshot.stages, Vec::new());
        self.changed |= of_run.changed;
        self.changed |= (self.stages).observe(stages, at, &mut events, &mut room, &mut of_stages);
        if self.sampled && (of_run.is_news() || !of_stages.is_empty()) {
            self.show_early((of_run, &of_stages), naming, spans, log_records);
        }
        self.finish_settled_stages(naming, spans);
        let State::Ended(outcome) = self.observed.state else {
            self.changed |= self.settling != 0;
            self.settling = 0;
            return Verdict::Watching;
        };
        if !self.has_settled(outcome) && self.settling < limits::SETTLE_POLLS {
            self.settling += 1;
            self.changed = true;
            return Verdict::Watching;
        }
        self.finish_ended(outcome, at, naming, spans);
        Verdict::Ended(outcome, None)
    }

    /// Ends the watch at `at` and finishes every span. A workflow that had ended and only had to settle keeps its
    /// outcome, and `None` is returned with it.
    pub fn abandon(
        &mut self,
        why: Abandoned,
        at: Wall,
        naming: &Naming,
        spans: &mut Vec<Span>,
    ) -> (Outcome, Option<Abandoned>) {
        if let State::Ended(outcome) = self.observed.state {
            self.finish_ended(outcome, at, naming, spans);
            return (outcome, None);
        }
        self.finish_open_stages(at, Some(why), naming, spans);
        self.finish_self(Ending::open(at, Some(why)), naming, spans);
        (why.outcome(), Some(why))
    }

    /// Notes a good answer of an API that goes away with its workflow.
    pub fn set_answered(&mut self, at: Wall) {
        // This alone is no reason to store the record: the time counts only when the API is gone, which is stored.
        self.extra.get_or_insert_default().answered_at = Some(at);
    }

    /// The time of the last good answer, else of the last status event.
    fn answered_at(&self) -> Option<Wall> {
        let answered = self.extra.as_ref().and_then(|extra| extra.answered_at);
        let changed = self.observed.events.last().map(|event| event.time);
        answered.or(changed).or(self.observed.started_seen)
    }

    /// Whether there was a good answer.
    pub fn was_seen(&self) -> bool {
        self.answered_at().is_some()
    }

    /// Ends the watch because the API is gone: the workflow has ended, and its outcome follows from what was seen. `at` is
    /// the time when the API was found to be gone.
    pub fn vanish(&mut self, at: Wall, naming: &Naming, spans: &mut Vec<Span>) -> Outcome {
        if let State::Ended(outcome) = self.observed.state {
            self.finish_ended(outcome, at, naming, spans);
            return outcome;
        }
        let (outcome, message) = if self.stages.has_failed() {
            (Outcome::Failure, "A stage failed")
        } else {
            (Outcome::Success, "")
        };
        let message = self.observed.error().unwrap_or(message).to_owned();
        let end = self.stages.latest_end().or(self.answered_at());
        let end = self.observed.best_end(end.unwrap_or(at));
        self.finish_open_stages(end, None, naming, spans);
        let ending = Ending {
            gone: true,
            ..Ending::new(end, outcome, &message, "stage_failed", naming)
        };
        self.finish_self(ending, naming, spans);
        outcome
    }

    /// The finished event, if the monitor has a receiver. Call it once, after the end.
    pub fn take_finished(
        &mut self,
        run: RunKey,
        monitor: Arc<str>,
        naming: &Naming,
        (outcome, abandoned): (Outcome, Option<Abandoned>),
    ) -> Option<FinishedEvent> {
        let context = self.run(naming).context(None);
        let extra = self.extra.as_mut()?;
        Some(FinishedEvent {
            run,
            monitor,
            finish: extra.finish.take()?,
            url: extra.reported.url.clone(),
            attempt: self.attempt.or(extra.attempt),
            workflow_id: self.id.clone(),
            outcome,
            abandoned,
            submitted_at: self.submitted_at,
            context,
            attributes: std::mem::take(&mut self.attributes),
        })
    }

    /// How long it ran, without the wait before. Zero before its end.
    pub fn duration(&self) -> Duration {
        let finish = self.extra.as_ref().and_then(|extra| extra.finish.as_ref());
        finish.map_or(Duration::ZERO, |finish| finish.end.since(finish.start))
    }

    /// Asserts what must always hold.
    pub fn check_invariants(&self) {
        assert!(self.settling <= limits::SETTLE_POLLS);
        self.stages.check_invariants();
    }

    /// How many more bytes of attributes and URLs may be kept.
    fn attribute_room(&self) -> usize {
        let own = self
            .extra
            .as_ref()
            .map_or(0, |extra| extra.reported.bytes());
        limits::ANSWERED_ATTRIBUTE_BYTES_MAX.saturating_sub(own + self.stages.reported_bytes())
    }

    /// Takes in what an answer says of the run itself, besides its progress.
    fn observe_run(&mut self, snapshot: &Snapshot, room: &mut usize) {
        let (url, attributes) = (snapshot.url.as_deref(), &snapshot.attributes);
        if snapshot.attempt.is_none() && url.is_none() && attributes.is_empty() {
            return;
        }
        let extra = self.extra.get_or_insert_default();
        self.changed |= snapshot.attempt.is_some() && snapshot.attempt != extra.attempt;
        extra.attempt = snapshot.attempt.or(extra.attempt);
        self.changed |= extra.reported.observe(url, attributes, room);
    }

    /// What its spans have in common.
    fn run<'a>(&'a self, naming: &'a Naming) -> Run<'a> {
        Run {
            naming,
            workflow_id: &self.id,
            version: self.version(),
            trace_id: self.trace_id,
            trace_flags: self.trace_flags(),
            trace_state: self.parent.as_ref().and_then(|p| p.trace_state.as_deref()),
            pipeline_name: self.pipeline_name(naming),
            is_sampled: self.sampled,
            received_at: self.received_at,
            observed: &self.observed,
        }
    }

    fn finish_settled_stages(&mut self, naming: &Naming, spans: &mut Vec<Span>) {
        let mut stages = std::mem::take(&mut self.stages);
        self.changed |= stages.finish_settled(self.run(naming), spans);
        self.stages = stages;
    }

    fn finish_open_stages(
        &mut self,
        end: Wall,
        why: Option<Abandoned>,
        naming: &Naming,
        spans: &mut Vec<Span>,
    ) {
        let mut stages = std::mem::take(&mut self.stages);
        stages.finish_open(end, why, self.run(naming), spans);
        self.stages = stages;
        self.changed = true;
    }

    /// Finishes every span of a workflow that the API has reported as ended with this outcome.
    fn finish_ended(&mut self, outcome: Outcome, at: Wall, naming: &Naming, spans: &mut Vec<Span>) {
        let end = self.observed.skipped_at(self.announced_at());
        let end = end.unwrap_or(self.observed.best_end(at));
        self.finish_open_stages(end, None, naming, spans);
        let message = self.observed.error().unwrap_or_default();
        let ending = Ending::new(end, outcome, message, self.observed.status(), naming);
        self.finish_self(ending, naming, spans);
    }

    fn finish_self(&mut self, ending: Ending, naming: &Naming, spans: &mut Vec<Span>) {
        self.count_end(&ending, naming);
        let (began, start, end) = self.times(&self.observed, ending.end);
        let last = LastGlance::new(&self.observed, &ending, began, end);
        let extra = self.extra.get_or_insert_default();
        extra.last = Some(Box::new(last));
        extra.finish = Some(ending.finish(start, end));
        if !self.sampled {
            return;
        }
        let observed = std::mem::take(&mut self.observed);
        let run = self.run(naming);
        let extra = self.extra.as_deref().cloned().unwrap_or_default();
        let wait = run.wait(observed.queued(), began.min(end));
        let start = wait.map_or(start, |(queued, _)| queued.min(start));
        let mut attributes = AttributeList::new(&naming.limits);
        run.add_to(&mut attributes);
        attributes.add_times(&observed);
        let attempt = self.attempt.or(extra.attempt);
        attributes.add_reported(&KEYS, extra.reported, attempt, &ending);
        attributes.add_all(self.attributes.clone(), KEYS.is_taken);
        let submitter = extra.submitter.map(|context| Link {
            context,
            remote: true,
        });
        let before = extra.follows.then(|| self.link_to_attempt_before(naming));
        let (events, dropped_events) = run.status_events(observed);
        let mut events = clamped(events, start, end);
        if let Some(submitted_at) = self.submitted_at {
            // The submitter's clock may be ahead of the API's.
            let time = submitted_at.min(end);
            let index = events.partition_point(|event| event.time < time);
            let name = "Submitted".into();
            events.insert(index, SpanEvent { time, name });
        }
        let span = Unfinished {
            stage: None,
            parent: self.parent.as_ref().map(|parent| Parent {
                span_id: parent.span_id,
                remote: true,
            }),
            name: naming.workflow.clone(),
            start,
            end,
            wait,
            status: ending.status,
            attributes,
            events,
            dropped_events,
            links: submitter.into_iter().chain(before.flatten()).collect(),
        };
        run.finish(span, spans);
    }

    /// The metrics count its end.
    fn count_end(&mut self, ending: &Ending, naming: &Naming) {
        let observed = &self.observed;
        let (began, _, end) = self.times(observed, ending.end);
        let began = began.min(end);
        let queued = observed.queued().or(self.submitted_at);
        let has_run = observed.has_run() && observed.skipped_at(end).is_none();
        let waited = if has_run {
            queued.map(|queued| began.since(queued))
        } else {
            // It never started, and its wait is all that is known of it.
            Some(end.since(queued.unwrap_or(self.received_at)))
        };
        let is_failure = ending.outcome.is_some_and(Outcome::is_failure);
        let ended = Ended {
            stage: None,
            outcome: ending.outcome,
            error_type: ending.counted_error_type(),
            is_error: is_failure && !self.stages.has_failed(),
            waited,
            ran: has_run.then(|| end.since(began)),
            span_id: (self.sampled).then(|| self.run(naming).span_id(None)),
        };
        self.stages.count(ended);
    }

    /// When it was submitted, else when its start event arrived.
    fn announced_at(&self) -> Wall {
        self.submitted_at.unwrap_or(self.received_at)
    }

    /// When it started, and start and end of its span, which contains the spans of the stages, also of those that were
    /// finished before its own times were known.
    fn times(&self, observed: &Observed, end: Wall) -> (Wall, Wall, Wall) {
        let announced = self.announced_at();
        let began = match (observed.start, observed.started_seen) {
            (Some(start), _) => start,
            (None, _) if observed.skipped_at(announced).is_some() => end,
            // It started after it was announced and before it was first seen running.
            (None, Some(seen)) => announced.min(seen),
            (None, None) => announced,
        };
        let (first, last) = self.stages.finished_within.unwrap_or((began, end));
        let start = began.min(first);
        let start = if observed.start.is_some() {
            start
        } else {
            start.min(end)
        };
        (began, start, end.max(last).max(start))
    }

    fn link_to_attempt_before(&self, naming: &Naming) -> Option<Link> {
        let version = self.run_identity.before(self.attempt?)?;
        let before = Run {
            version,
            trace_id: TraceId::of_run(&naming.monitor, &self.id, version),
            trace_flags: SAMPLED,
            trace_state: None,
            ..self.run(naming)
        };
        let context = before.context(None);
        let remote = false;
        Some(Link { context, remote })
    }

    /// Whether the workflow, which has ended, has all its times and no stage goes on.
    fn has_settled(&self, outcome: Outcome) -> bool {
        // What was skipped has no times and needs none.
        let has_times = self.observed.has_times() || outcome == Outcome::Skip;
        has_times && self.stages.are_settled(outcome)
    }

    /// The pipeline name that the mapping reads from answers, else the workflow's name.
    pub fn pipeline_name<'a>(&'a self, naming: &'a Naming) -> &'a str {
        let extra = self.extra.as_deref();
        let mut answered = extra.iter().flat_map(|extra| &extra.reported.attributes);
        match answered.find(|(key, _)| **key == *PIPELINE_NAME) {
            Some((_, Value::Str(name))) if !name.is_empty() => name,
            _ => &naming.workflow,
        }
    }

    fn trace_flags(&self) -> u8 {
        let inherited = self.parent.as_ref().map_or(0, |p| p.trace_flags);
        (inherited & RANDOM) | if self.sampled { SAMPLED } else { 0 }
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

#[cfg(test)]
mod tests;
