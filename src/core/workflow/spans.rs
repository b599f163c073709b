//! How the spans of one run are built: what they have in common, their attributes, and the span itself.

use super::Naming;
use super::observed::{Observed, Reported};
use crate::event::{self, Value};
use crate::finished::Finish;
use crate::ids::{RunVersion, SpanId, SpanShows, TraceContext, TraceId};
use crate::limits;
use crate::limits::cut;
use crate::outcome::{Abandoned, Outcome};
use crate::sampler::SpanLimits;
use crate::span::{Link, Parent, Span, SpanEvent, SpanStatus};
use crate::time::Wall;

/// What the spans of one run have in common.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) naming: &'a Naming,
    pub(super) workflow_id: &'a str,
    pub(super) version: RunVersion,
    pub(super) trace_id: TraceId,
    pub(super) trace_flags: u8,
    pub(super) trace_state: Option<&'a str>,
    pub(super) pipeline_name: &'a str,
    pub(super) is_sampled: bool,
    /// When the start event arrived.
    pub(super) received_at: Wall,
    /// The progress of the workflow itself.
    pub(super) observed: &'a Observed,
}

/// The path and the attempt of a stage.
pub(super) type StageName<'a> = (&'a str, u32);

impl Run<'_> {
    /// The id of a stage's span, or of the workflow's.
    pub(super) fn span_id(&self, stage: Option<StageName<'_>>) -> SpanId {
        self.id_of(stage, SpanShows::Work)
    }

    fn id_of(&self, stage: Option<StageName<'_>>, shows: SpanShows) -> SpanId {
        let (monitor, workflow_id) = (&self.naming.monitor, self.workflow_id);
        SpanId::of_span(
            self.trace_id,
            monitor,
            workflow_id,
            self.version,
            stage,
            shows,
        )
    }

    /// The context of a stage's span, or of the workflow's.
    pub(super) fn context(&self, stage: Option<StageName<'_>>) -> TraceContext {
        TraceContext {
            trace_id: self.trace_id,
            span_id: self.span_id(stage),
            trace_flags: self.trace_flags,
            trace_state: self.trace_state.map(Into::into),
        }
    }

    /// The attributes that identify the run. Every span has them: backends cut a trace of many hours into fragments.
    pub(super) fn add_to(&self, attributes: &mut AttributeList<'_>) {
        attributes.add("workflowId", self.workflow_id);
        attributes.add(PIPELINE_NAME, self.pipeline_name);
        attributes.add("cicd.pipeline.run.id", self.workflow_id);
    }

    /// The status events that stand on the span, and how many there was no room for.
    pub(super) fn status_events(&self, observed: Observed) -> (Vec<SpanEvent>, u32) {
        if self.naming.status_events.are_on_span() {
            let dropped = observed.dropped_events();
            (observed.events, dropped)
        } else {
            (Vec::new(), 0)
        }
    }

    /// From when to when something waited for its start, if that gets a span.
    pub(super) fn wait(&self, queued: Option<Wall>, start: Wall) -> Option<(Wall, Wall)> {
        let queued = queued.filter(|queued| self.naming.queued && *queued < start)?;
        Some((queued, start))
    }

    /// Finishes a span, and before it the span of its wait.
    pub(super) fn finish(&self, span: Unfinished<'_>, spans: &mut Vec<Span>) {
        let naming = self.naming;
        let span_id = self.span_id(span.stage);
        if let Some(wait) = span.wait {
            let mut attributes = AttributeList::new(&naming.limits);
            self.add_to(&mut attributes);
            let subject = (span.stage, &*span.name);
            spans.push(self.span_beside(subject, SpanShows::Wait, span_id, wait, attributes));
        }
        let mut events = span.events;
        let events_max = naming.limits.events;
        let dropped_events = events.len().saturating_sub(events_max) as u32;
        events.truncate(events_max);
        let mut links = span.links;
        let dropped_links = links.len().saturating_sub(naming.limits.links) as u32;
        links.truncate(naming.limits.links);
        spans.push(Span {
            trace_id: self.trace_id,
            span_id,
            parent: span.parent,
            trace_flags: self.trace_flags,
            trace_state: self.trace_state.map(Into::into),
            name: span.name,
            start: span.start,
            end: span.end,
            status: span.status,
            attributes: span.attributes.all,
            dropped_attributes: span.attributes.dropped,
            events,
            dropped_events: span.dropped_events + dropped_events,
            links,
            dropped_links,
            service: naming.service.clone(),
        });
    }

    /// A span that shows one side of the run (the stage is `None`) or of the stage of this name.
    pub(super) fn span_beside(
        &self,
        (stage, name): (Option<StageName<'_>>, &str),
        shows: SpanShows,
        parent: SpanId,
        (start, end): (Wall, Wall),
        attributes: AttributeList<'_>,
    ) -> Span {
        Span {
            trace_id: self.trace_id,
            span_id: self.id_of(stage, shows),
            parent: Some(Parent {
                span_id: parent,
                remote: false,
            }),
            trace_flags: self.trace_flags,
            trace_state: self.trace_state.map(Into::into),
            name: format!("{name} {}", shows.word()).into(),
            start,
            end,
            status: SpanStatus::Unset,
            attributes: attributes.all,
            dropped_attributes: attributes.dropped,
            events: Vec::new(),
            dropped_events: 0,
            links: Vec::new(),
            dropped_links: 0,
            service: self.naming.service.clone(),
        }
    }
}

/// A span before limits and ids.
pub(super) struct Unfinished<'a> {
    /// `None`: it is the workflow's span.
    pub(super) stage: Option<StageName<'a>>,
    pub(super) parent: Option<Parent>,
    pub(super) name: Box<str>,
    pub(super) start: Wall,
    pub(super) end: Wall,
    /// From when to when it waited for its start, if that gets a span.
    pub(super) wait: Option<(Wall, Wall)>,
    pub(super) status: SpanStatus,
    pub(super) attributes: AttributeList<'a>,
    pub(super) events: Vec<SpanEvent>,
    pub(super) dropped_events: u32,
    pub(super) links: Vec<Link>,
}

/// How a workflow or a stage ended.
pub(super) struct Ending {
    pub(super) end: Wall,
    pub(super) status: SpanStatus,
    pub(super) outcome: Option<Outcome>,
    /// `error.type` of a failure; may be empty.
    pub(super) error_type: Box<str>,
    /// Whether it had not ended when its span was finished.
    pub(super) incomplete: bool,
    /// Whether its API went away with it, so that its end was not reported.
    pub(super) gone: bool,
}

impl Ending {
    /// It ended at `end` with this outcome.
    pub(super) fn new(
        end: Wall,
        outcome: Outcome,
        message: &str,
        error_type: &str,
        naming: &Naming,
    ) -> Self {
        Ending {
            end,
            status: status_of(outcome, message, naming),
            outcome: Some(outcome),
            error_type: error_type.into(),
            incomplete: false,
            gone: false,
        }
    }

    /// The watch ends at `end`, for this reason if there is one, and before the end was reported.
    pub(super) fn open(end: Wall, why: Option<Abandoned>) -> Self {
        Ending {
            end,
            status: why.map_or(SpanStatus::Unset, |why| {
                SpanStatus::Error(why.message().into())
            }),
            outcome: why.map(Abandoned::outcome),
            error_type: why.map_or("", Abandoned::error_type).into(),
            incomplete: false,
            gone: false,
        }
    }

    /// `error.type` as the metrics count it: only a failure has one.
    pub(super) fn counted_error_type(&self) -> Box<str> {
        if self.outcome.is_some_and(Outcome::is_failure) {
            self.error_type.clone()
        } else {
            Box::default()
        }
    }

    /// For the finished event, with the times of the span.
    pub(super) fn finish(&self, start: Wall, end: Wall) -> Finish {
        Finish {
            start,
            end,
            error: match &self.status {
                SpanStatus::Error(message) => message.clone(),
                SpanStatus::Ok | SpanStatus::Unset => Box::default(),
            },
            error_type: self.counted_error_type(),
        }
    }
}

/// The status of a span with this outcome. The message counts only for a failure.
pub(super) fn status_of(outcome: Outcome, message: &str, naming: &Naming) -> SpanStatus {
    match outcome {
        Outcome::Success if naming.ok => SpanStatus::Ok,
        Outcome::Success => SpanStatus::Unset,
        Outcome::Failure | Outcome::Error | Outcome::Timeout => {
            SpanStatus::Error(cut(message, limits::ATTRIBUTE_BYTES_MAX).into())
        }
        Outcome::Cancellation | Outcome::Skip => SpanStatus::Unset,
    }
}

/// `events` within the times of their span.
pub(super) fn clamped(mut events: Vec<SpanEvent>, start: Wall, end: Wall) -> Vec<SpanEvent> {
    for event in &mut events {
        event.time = event.time.clamp(start, end);
    }
    events
}

pub(super) const PIPELINE_NAME: &str = "cicd.pipeline.name";

/// Whether only the API or farspan may set this attribute: the `endTime` of a start event, for instance, would pass for
/// the API's if the API reported none.
fn is_ours(key: &str) -> bool {
    matches!(
        key,
        "workflowId" | "queuedTime" | "startTime" | "endTime" | "attempt" | "error.type"
    ) || key.starts_with("cicd.pipeline.")
        || key.starts_with("farspan.")
}

/// The names of the attributes for what answers report.
pub(super) struct ReportedKeys {
    pub(super) url: &'static str,
    pub(super) result: &'static str,
    /// Further names that a reported attribute must not have.
    pub(super) is_taken: fn(&str) -> bool,
}

/// The attributes of a span that is being built: unique keys, bounded values, a bounded number.
pub(super) struct AttributeList<'a> {
    limits: &'a SpanLimits,
    all: Vec<(Box<str>, Value)>,
    dropped: u32,
}

impl<'a> AttributeList<'a> {
    pub(super) fn new(limits: &'a SpanLimits) -> Self {
        AttributeList {
            limits,
            all: Vec::with_capacity(12),
            dropped: 0,
        }
    }

    /// The attributes.
    pub(super) fn into_inner(self) -> Vec<(Box<str>, Value)> {
        self.all
    }

    pub(super) fn add(&mut self, key: &str, value: impl Into<Value>) {
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

    /// The attributes, and how many a limit cut off.
    pub(super) fn into_parts(self) -> (Vec<(Box<str>, Value)>, u32) {
        (self.all, self.dropped)
    }

    pub(super) fn add_some(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(key, value);
        }
    }

    pub(super) fn add_times(&mut self, observed: &Observed) {
        let times = [
            ("queuedTime", observed.queued()),
            ("startTime", observed.start),
            ("endTime", observed.end),
        ];
        for (key, time) in times {
            if let Some(time) = time {
                self.add(key, time.to_string());
            }
        }
    }

    /// Adds attributes of a start event or an answer, except those that farspan sets itself.
    pub(super) fn add_all(&mut self, others: event::Attributes, is_taken: fn(&str) -> bool) {
        for (key, value) in others {
            if !is_ours(&key) && !is_taken(&key) {
                self.add(&key, value);
            }
        }
    }

    fn add_ending(&mut self, ending: &Ending) {
        let failed = ending.outcome.is_some_and(Outcome::is_failure);
        if failed && !ending.error_type.is_empty() {
            self.add("error.type", &*ending.error_type);
        }
        if ending.incomplete {
            self.add("farspan.incomplete", Value::Bool(true));
        }
        if ending.gone {
            self.add("farspan.gone", Value::Bool(true));
        }
    }

    /// Adds what the API reported in answers, and how the workflow or stage ended.
    pub(super) fn add_reported(
        &mut self,
        keys: &ReportedKeys,
        reported: Reported,
        attempt: Option<u32>,
        ending: &Ending,
    ) {
        self.add_some(keys.url, reported.url.as_deref());
        if let Some(attempt) = attempt {
            self.add("attempt", Value::Int(attempt.into()));
        }
        self.add_some(keys.result, ending.outcome.map(Outcome::as_str));
        self.add_ending(ending);
        self.add_all(reported.attributes, keys.is_taken);
        self.dropped += reported.dropped;
    }
}

/// `text` cut to a number of characters and to the most bytes of an attribute.
pub(super) fn shortened(text: Box<str>, chars_max: usize) -> Box<str> {
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
