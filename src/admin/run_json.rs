//! Runs as JSON: times in RFC 3339 with milliseconds, what is not there as null, no secret.

use super::runs::{ViewedConfig, hex};
use crate::core::event::Value;
use crate::core::ids::RunKey;
use crate::core::outcome::Outcome;
use crate::core::span::SpanEvent;
use crate::core::time::Wall;
use crate::core::view::{
    ChangedRuns, Cursor, Held, Overview, PollResult, RunDetail, RunPage, RunState, RunSummary,
    SortKey, StageDetail, Waits,
};
use crate::os::redaction::without_secrets;
use crate::syntax::text::shown;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};
use std::collections::HashMap;

type Json = serde_json::Value;

/// Makes texts of answers.
pub(super) struct JsonTexts<'a> {
    config: &'a ViewedConfig,
    now: Wall,
}

#[derive(Serialize)]
struct RunJson<'a> {
    run: String,
    workflow_id: &'a str,
    monitor: &'a str,
    name: &'a str,
    attempt: Option<u32>,
    state: &'static str,
    status: &'a str,
    result: Option<&'static str>,
    error: Option<&'a str>,
    received: String,
    queued: Option<String>,
    started: Option<String>,
    ended: Option<String>,
    stages: StagesJson,
    last_poll: Option<LastPollJson<'a>>,
    next_poll: Option<NextPollJson>,
    trace: TraceJson,
}

#[derive(Serialize)]
struct StagesJson {
    total: usize,
    waiting: u32,
    running: u32,
    ended: u32,
    failed: u32,
}

#[derive(Serialize)]
struct LastPollJson<'a> {
    at: String,
    result: &'static str,
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct NextPollJson {
    at: String,
    why: Option<&'static str>,
}

#[derive(Serialize)]
struct TraceJson {
    trace_id: String,
    root_span_id: String,
    sampled: bool,
    exported: bool,
    url: Option<String>,
}

/// The fields of an answer that all lists have.
#[derive(Serialize)]
struct OverviewJson<'a> {
    now: String,
    version: u64,
    live: usize,
    ended: usize,
    held: Option<&'static str>,
    monitors: Vec<MonitorJson<'a>>,
}

#[derive(Serialize)]
struct MonitorJson<'a> {
    name: &'a str,
    workflow: &'a str,
    url: &'a str,
    paused_until: Option<String>,
    refuses_credentials: bool,
}

#[derive(Serialize)]
struct PageJson<'a> {
    #[serde(flatten)]
    overview: OverviewJson<'a>,
    matching: usize,
    workflows: Vec<RunJson<'a>>,
    next: Option<String>,
}

#[derive(Serialize)]
struct ChangesJson<'a> {
    #[serde(flatten)]
    overview: OverviewJson<'a>,
    reset: bool,
    workflows: Vec<RunJson<'a>>,
    gone: Vec<String>,
}

#[derive(Serialize)]
struct DetailJson<'a> {
    now: String,
    #[serde(flatten)]
    run: RunJson<'a>,
    spans: Vec<SpanJson>,
    left_out: usize,
    events: Vec<EventJson>,
    attributes: Map<String, Json>,
}

#[derive(Serialize)]
struct SpanJson {
    id: String,
    parent: Option<String>,
    name: String,
    kind: &'static str,
    state: &'static str,
    status: String,
    result: Option<String>,
    attempt: u32,
    queued: Option<String>,
    started: Option<String>,
    ended: Option<String>,
    error: Option<String>,
    attributes: Map<String, Json>,
    events: Vec<EventJson>,
}

#[derive(Serialize)]
struct EventJson {
    at: String,
    name: String,
    attributes: Map<String, Json>,
}

impl<'a> JsonTexts<'a> {
    /// Texts of answers that are given now.
    pub(super) fn new(config: &'a ViewedConfig, now: Wall) -> Self {
        JsonTexts { config, now }
    }

    /// A page of runs.
    pub(super) fn page(&self, page: &RunPage) -> String {
        text_of(&PageJson {
            overview: self.overview(&page.overview),
            matching: page.matching,
            workflows: page.runs.iter().map(|run| self.run(run)).collect(),
            next: page.next.as_ref().map(Cursors::write),
        })
    }

    /// What has changed.
    pub(super) fn changes(&self, changed: &ChangedRuns) -> String {
        text_of(&ChangesJson {
            overview: self.overview(&changed.overview),
            reset: changed.reset,
            workflows: changed.runs.iter().map(|run| self.run(run)).collect(),
            gone: changed.gone.iter().map(RunKey::to_string).collect(),
        })
    }

    /// One run in full.
    pub(super) fn detail(&self, detail: &RunDetail) -> String {
        let finished = Finished::of(detail);
        let known: Vec<&str> = finished.spans.iter().map(|span| &*span.id).collect();
        let open = detail.stages.iter().map(stage);
        let open = open.filter(|span| !known.contains(&&*span.id));
        let mut spans: Vec<SpanJson> = open.collect();
        spans.extend(finished.spans);
        let begin = |span: &SpanJson| span.queued.clone().or(span.started.clone());
        spans.sort_by_cached_key(|span| (begin(span).is_none(), begin(span)));
        let (events, attributes) = finished
            .root
            .unwrap_or_else(|| (events(&detail.events), attributes(&detail.attributes)));
        text_of(&DetailJson {
            now: time(self.now),
            run: self.run(&detail.summary),
            spans,
            left_out: detail.left_out,
            events,
            attributes,
        })
    }

    fn overview(&self, overview: &Overview) -> OverviewJson<'a> {
        let monitors = self.config.monitors.iter().zip(&overview.monitors);
        let monitors = monitors.map(|(monitor, state)| MonitorJson {
            name: &monitor.name,
            workflow: &monitor.workflow,
            url: &monitor.url,
            paused_until: state.paused_until.map(time),
            refuses_credentials: state.refuses_credentials,
        });
        OverviewJson {
            now: time(self.now),
            version: overview.version,
            live: overview.live,
            ended: overview.ended,
            held: overview.held.map(held),
            monitors: monitors.collect(),
        }
    }

    fn run<'r>(&self, run: &'r RunSummary) -> RunJson<'r>
    where
        'a: 'r,
    {
        let monitor = self.config.monitors.get(usize::from(run.monitor));
        let (trace_id, root_span_id) = (run.trace_id.to_string(), run.root_span_id.to_string());
        RunJson {
            run: run.run.to_string(),
            workflow_id: &run.workflow_id,
            monitor: monitor.map_or("", |monitor| &monitor.name),
            name: monitor.map_or("", |monitor| &monitor.workflow),
            attempt: run.attempt,
            state: state(run.state),
            status: &run.status,
            result: run.result.map(Outcome::as_str),
            error: run.error.as_deref(),
            received: time(run.received),
            queued: run.queued.map(time),
            started: run.started.map(time),
            ended: run.ended.map(time),
            stages: StagesJson {
                total: run.stages.total(),
                waiting: run.stages.waiting,
                running: run.stages.running,
                ended: run.stages.ended,
                failed: run.stages.failed,
            },
            last_poll: run.last_poll.as_ref().map(|poll| LastPollJson {
                at: time(poll.at),
                result: poll_result(poll.result),
                error: poll.error.as_deref(),
            }),
            next_poll: run.next_poll.map(|poll| NextPollJson {
                at: time(poll.at),
                why: poll.why.map(waits),
            }),
            trace: TraceJson {
                url: self.trace_url(&trace_id, &root_span_id),
                trace_id,
                root_span_id,
                sampled: run.sampled,
                exported: run.exported,
            },
        }
    }
}

impl JsonTexts<'_> {
    fn trace_url(&self, trace_id: &str, span_id: &str) -> Option<String> {
        let url = self.config.trace_url.as_ref()?;
        let url = url.replace("{trace_id}", trace_id);
        Some(url.replace("{span_id}", span_id))
    }
}

/// Finished spans, decoded.
#[derive(Default)]
struct Finished {
    spans: Vec<SpanJson>,
    /// The events and the attributes of the workflow's own span.
    root: Option<(Vec<EventJson>, Map<String, Json>)>,
}

impl Finished {
    fn of(detail: &RunDetail) -> Self {
        let decoded = detail.finished.iter();
        let decoded: Vec<Span> = decoded
            .filter_map(|bytes| Span::decode(&**bytes).ok())
            .collect();
        let root_id = detail.summary.root_span_id.to_string();
        let mut finished = Finished::default();
        // The wait for the start is a span of its own, if the monitor has it so.
        let mut waits = HashMap::new();
        for span in &decoded {
            if attribute(span, "type").is_none() && hex_of(&span.span_id) != root_id {
                waits.insert(span.parent_span_id.clone(), span.end_time_unix_nano);
            }
        }
        for span in decoded {
            if hex_of(&span.span_id) == root_id {
                finished.root = Some((span_events(&span), span_attributes(&span.attributes)));
            } else if attribute(&span, "type").is_some() {
                let waited_until = waits.get(&span.span_id).copied();
                finished.spans.push(finished_stage(&span, waited_until));
            }
        }
        finished
    }
}

fn finished_stage(span: &Span, waited_until: Option<u64>) -> SpanJson {
    let events = span_events(span);
    let started = waited_until.unwrap_or(span.start_time_unix_nano);
    let attempt = attribute(span, "attempt").and_then(|value| match value {
        any_value::Value::IntValue(number) => u32::try_from(*number).ok(),
        _ => None,
    });
    let text = |key| match attribute(span, key) {
        Some(any_value::Value::StringValue(text)) => Some(text.clone()),
        _ => None,
    };
    let status = span.status.as_ref();
    let failed = status.filter(|status| status.code == i32::from(StatusCode::Error));
    SpanJson {
        id: hex_of(&span.span_id),
        parent: (!span.parent_span_id.is_empty()).then(|| hex_of(&span.parent_span_id)),
        name: span.name.clone(),
        kind: STAGE,
        state: state(RunState::Ended),
        status: (events.last()).map_or_else(String::new, |event| event.name.clone()),
        result: text("cicd.pipeline.task.run.result"),
        attempt: attempt.unwrap_or(1),
        queued: text("queuedTime").and_then(|text| Some(time(Wall::parse_rfc3339(&text)?))),
        started: Some(time(wall(started))),
        ended: Some(time(wall(span.end_time_unix_nano))),
        error: failed.map(|status| status.message.clone()),
        attributes: span_attributes(&span.attributes),
        events,
    }
}

fn stage(stage: &StageDetail) -> SpanJson {
    SpanJson {
        id: stage.span_id.to_string(),
        parent: Some(stage.parent.to_string()),
        name: stage.name.to_string(),
        kind: STAGE,
        state: state(stage.state),
        status: stage.status.to_string(),
        result: stage.result.map(|result| result.as_str().to_owned()),
        attempt: stage.attempt,
        queued: stage.queued.map(time),
        started: stage.started.map(time),
        ended: stage.ended.map(time),
        error: stage.error.as_ref().map(ToString::to_string),
        attributes: attributes(&stage.attributes),
        events: events(&stage.events),
    }
}

/// What a span of the detail is.
const STAGE: &str = "stage";

fn events(events: &[SpanEvent]) -> Vec<EventJson> {
    let event = |event: &SpanEvent| EventJson {
        at: time(event.time),
        name: event.name.to_string(),
        attributes: Map::new(),
    };
    events.iter().map(event).collect()
}

fn span_events(span: &Span) -> Vec<EventJson> {
    let events = span.events.iter().map(|event| EventJson {
        at: time(wall(event.time_unix_nano)),
        name: event.name.clone(),
        attributes: span_attributes(&event.attributes),
    });
    events.collect()
}

fn attributes(attributes: &[(Box<str>, Value)]) -> Map<String, Json> {
    let value = |value: &Value| match value {
        Value::Str(text) => json!(text),
        Value::Int(number) => json!(number),
        Value::Float(number) => json!(number),
        Value::Bool(truth) => json!(truth),
    };
    let pairs = attributes.iter();
    pairs
        .map(|(key, it)| (key.to_string(), value(it)))
        .collect()
}

fn span_attributes(attributes: &[KeyValue]) -> Map<String, Json> {
    let value = |it: &KeyValue| match it.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(json!(text)),
        any_value::Value::IntValue(number) => Some(json!(number)),
        any_value::Value::DoubleValue(number) => Some(json!(number)),
        any_value::Value::BoolValue(truth) => Some(json!(truth)),
        _ => None,
    };
    let pairs = attributes.iter();
    pairs
        .filter_map(|it| Some((it.key.clone(), value(it)?)))
        .collect()
}

fn attribute<'s>(span: &'s Span, key: &str) -> Option<&'s any_value::Value> {
    let found = span.attributes.iter().find(|it| it.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

/// Places in lists, as texts that say nothing to a viewer.
pub(super) struct Cursors;

#[derive(Deserialize, Serialize)]
struct CursorJson {
    at: i64,
    number: i64,
    text: Box<str>,
    run: String,
}

impl Cursors {
    /// # Errors
    /// A text that says what is wrong with the parameter.
    pub(super) fn read(text: &str) -> Result<Cursor, String> {
        let read = || {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
            let cursor: CursorJson = serde_json::from_slice(&bytes).ok()?;
            Some(Cursor {
                at: Wall::from_unix_ns(cursor.at),
                key: SortKey {
                    number: cursor.number,
                    text: cursor.text,
                },
                run: RunKey::from_bytes(hex(&cursor.run)?),
            })
        };
        read().ok_or_else(|| {
            let text = shown(text);
            format!("after={text} is not the `next` of a page")
        })
    }

    /// The text of a place.
    pub(super) fn write(cursor: &Cursor) -> String {
        let SortKey { number, text } = &cursor.key;
        let json = text_of(&CursorJson {
            at: cursor.at.as_unix_ns(),
            number: *number,
            text: text.clone(),
            run: cursor.run.to_string(),
        });
        URL_SAFE_NO_PAD.encode(json)
    }
}

/// Every value here has only texts for keys.
pub(super) fn text_of(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    match without_secrets(&text) {
        std::borrow::Cow::Borrowed(_) => text,
        std::borrow::Cow::Owned(without) => without,
    }
}

/// RFC 3339 in UTC with milliseconds, cut off rather than rounded.
pub(super) fn time(at: Wall) -> String {
    let ms = at.as_unix_ns().div_euclid(1_000_000);
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(at) => at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
        // Cannot happen: jiff reaches further than `Wall`.
        Err(_) => "1970-01-01T00:00:00.000Z".into(),
    }
}

fn wall(unix_ns: u64) -> Wall {
    Wall::from_unix_ns(i64::try_from(unix_ns).unwrap_or(i64::MAX))
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn state(state: RunState) -> &'static str {
    match state {
        RunState::Waiting => "waiting",
        RunState::Running => "running",
        RunState::Ended => "ended",
    }
}

fn poll_result(result: PollResult) -> &'static str {
    match result {
        PollResult::None => "none",
        PollResult::News => "ok",
        PollResult::Unchanged => "unchanged",
        PollResult::NotFound => "not_found",
        PollResult::Failed(reason) => reason.as_str(),
    }
}

fn waits(waits: Waits) -> &'static str {
    match waits {
        Waits::UnderWay => "under way",
        Waits::HostPaused => "host paused",
        Waits::Rate => "rate",
        Waits::NoPollerFree => "no poller free",
        Waits::Backoff => "backoff",
        Waits::Held(why) => held(why),
    }
}

fn held(held: Held) -> &'static str {
    match held {
        Held::StoreTroubled => "store in trouble",
        Held::OutboxFull => "outbox full",
        Held::Stopping => "stopping",
    }
}
