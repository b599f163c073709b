//! Status bodies, and what becomes of them: each reads the same as a slice and as a stream, and one after the other
//! they drive a workflow whose spans must hold whatever they said.
//!
//! An input is a start event and the bodies that follow it, with 0x1E (RFC 7464's record separator, which JSON cannot
//! contain) between them. A body may have the time of its answer before it; else ten seconds have passed. After the
//! last one the watch is given up: as not found where that body is no JSON at all, else as timed out.
#![no_main]

use farspan::core::event::{StartEvent, Value};
use farspan::core::limits;
use farspan::core::outcome::Abandoned;
use farspan::core::sampler::{Sampler, SpanLimits};
use farspan::core::snapshot::{Outcome, Snapshot};
use farspan::core::span::{Span, SpanStatus};
use farspan::core::time::Wall;
use farspan::core::workflow::{Naming, Verdict, Workflow};
use farspan::deliver::otlp;
use farspan::intake::carrier::Formats;
use farspan::intake::message;
use farspan::mapping::definition::{ChildLinks, Definition, ParentLink, StageList, Times};
use farspan::mapping::{Mapping, Part, Reading, UnreadableBody};
use farspan::syntax::pointer::Pointer;
use farspan::syntax::text::without_byte_order_mark;
use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::trace::v1 as proto;
use prost::Message;
use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::LazyLock;
use std::time::Duration;

const SEPARATOR: u8 = 0x1e;
const BODIES_MAX: usize = 16;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.split(|b| *b == SEPARATOR);
    let event = start_event(parts.next().unwrap_or_default());
    let mut at = Wall::from_unix_ns(1_720_162_676_000_000_000);
    let received_at = at;
    let mut answers = Vec::new();
    let mut garbage_last = false;
    for part in parts.take(BODIES_MAX) {
        let (time, body) = split_time(part);
        at = time.unwrap_or(at + Duration::from_secs(10));
        let snapshot = read(body);
        read_widely(body);
        read_damaged(body);
        garbage_last = matches!(snapshot, Err(UnreadableBody::Garbage(_)));
        if let Ok(reading) = snapshot {
            answers.push((at, reading.snapshot));
        }
    }
    let why = if garbage_last {
        Abandoned::NotFound
    } else {
        Abandoned::TimedOut
    };
    let scant = SpanLimits {
        attributes: 5,
        events: 2,
        links: 0,
        attribute_value_chars: 7,
    };
    for limits in [SpanLimits::default(), scant] {
        watch(&event, received_at, &answers, (at, why), limits);
    }
});

fn start_event(bytes: &[u8]) -> StartEvent {
    match message::read(bytes, &message::Dialects::new(0, Formats::ALL)) {
        Ok(message) => message.event,
        Err(_) => StartEvent::new(0, "w"),
    }
}

fn split_time(part: &[u8]) -> (Option<Wall>, &[u8]) {
    let end = part.iter().position(|b| *b == b'{').unwrap_or(0);
    let (before, body) = part.split_at(end);
    let time = std::str::from_utf8(before).ok();
    match time.and_then(|text| Wall::parse_rfc3339(text.trim())) {
        Some(time) => (Some(time), body),
        None => (None, part),
    }
}

fn read(body: &[u8]) -> Result<Reading, UnreadableBody> {
    static ORIGINAL: LazyLock<Mapping> = LazyLock::new(Mapping::original);
    let mapping = &*ORIGINAL;
    let reading = |part: Result<Part, UnreadableBody>| mapping.reading("w", part?);
    let sliced = reading(mapping.read_slice(0, body));
    let body = without_byte_order_mark(body);
    let streamed = reading(mapping.read_stream(0, body));
    let broken = reading(mapping.read_stream(0, body.chain(Broken)));
    match (&sliced, &streamed) {
        (Ok(reading), Ok(same)) => {
            assert_eq!(reading, same);
            check_reading(reading);
            // A stream is read to its end, so one that breaks after the body is noticed.
            assert!(matches!(broken, Err(UnreadableBody::Io(_))), "{broken:?}");
        }
        (Err(UnreadableBody::Garbage(what)), Err(UnreadableBody::Garbage(_)))
        | (Err(UnreadableBody::Shape(what)), Err(UnreadableBody::Shape(_))) => {
            assert!(what.len() <= limits::NAME_BYTES_MAX);
        }
        _ => panic!("as a slice {sliced:?}, as a stream {streamed:?}"),
    }
    // What serde_json takes for a value may be of another shape, but it is no garbage.
    if serde_json::from_slice::<serde_json::Value>(body).is_ok() {
        assert!(
            !matches!(sliced, Err(UnreadableBody::Garbage(_))),
            "{sliced:?}"
        );
    }
    sliced
}

/// Reads the body by a definition that uses every key.
fn read_widely(body: &[u8]) {
    static WIDE: LazyLock<Mapping> = LazyLock::new(|| Mapping::compile(wide()).unwrap());
    let sliced = WIDE.read_slice(0, body);
    let body = without_byte_order_mark(body);
    match (sliced, WIDE.read_stream(0, body)) {
        (Ok(part), Ok(same)) => {
            assert_eq!(part, same);
            let mut gather = WIDE.gather("w").unwrap();
            // As two pages.
            gather.put(0, part);
            gather.put(0, same);
            let reading = gather.finish().unwrap();
            check_reading(&reading);
            let stages = &reading.snapshot.stages;
            let runs: HashSet<_> = stages.iter().map(|s| (s.path, s.attempt)).collect();
            assert_eq!(runs.len(), stages.len(), "two of one path and attempt");
            let paths: HashSet<_> = stages.iter().map(|s| s.path).collect();
            let mut parents = stages.iter().filter_map(|s| s.parent);
            assert!(parents.all(|parent| paths.contains(parent)), "{stages:#?}");
        }
        (Err(UnreadableBody::Garbage(_)), Err(UnreadableBody::Garbage(_)))
        | (Err(UnreadableBody::Shape(_)), Err(UnreadableBody::Shape(_))) => {}
        (sliced, streamed) => panic!("as a slice {sliced:?}, as a stream {streamed:?}"),
    }
}

/// Half a character in the place of a letter that JSON has only in texts: what was JSON is read all the same.
fn read_damaged(body: &[u8]) {
    const HALF: &[u8] = br"\ud83d";
    let parts: Vec<&[u8]> = body.split(|byte| *byte == b'x').collect();
    let is_escaped = |part: &&[u8]| part.iter().rev().take_while(|b| **b == b'\\').count() % 2 == 1;
    if parts.len() == 1 || parts.iter().any(is_escaped) {
        return;
    }
    let damaged = parts.join(HALF);
    read_widely(&damaged);
    if serde_json::from_slice::<serde_json::Value>(without_byte_order_mark(body)).is_ok() {
        let read = read(&damaged);
        assert!(!matches!(read, Err(UnreadableBody::Garbage(_))), "{read:?}");
    }
}

fn wide() -> Definition {
    let at = |text: &str| Pointer::parse(text).unwrap();
    let original = Definition::original();
    let mut stages = original.stages[0].clone();
    stages.name = Some("stages".into());
    stages.fields.attempt = vec![at("/attempt")];
    stages.fields.attributes = vec![("pool".into(), vec![at("/pool/name"), at("/pool")])];
    stages.number_attempts_by = vec![at("/entityStartTime"), at("/number")];
    stages.parent = Some(ParentLink {
        key: vec![at("/parent")],
        list: None,
    });
    stages.stages = vec![StageList {
        list: at("/steps"),
        key: vec![at("/name"), at("/number")],
        ..stages.clone()
    }];
    stages.stages[0].name = None;
    stages.stages[0].parent = None;
    let jobs = StageList {
        list: at("/jobs"),
        key: vec![at("/name")],
        fields: stages.fields.clone(),
        children: Some(ChildLinks {
            list: "stages".into(),
            ids: at("/ids"),
        }),
        ..StageList::default()
    };
    let mut workflow = original.workflow.clone();
    workflow.fields.status.push(at("/jobs/0/entityStatus"));
    workflow.fields.url = vec![at("/workflowEntities/DataLoader/steps/1/name")];
    Definition {
        workflow,
        stages: vec![stages, jobs],
        times: Times::default(),
        ..original
    }
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

fn check_reading(reading: &Reading) {
    let snapshot = &reading.snapshot;
    let short = |text: Option<&str>, max| text.is_none_or(|t| t.len() <= max);
    assert!(short(
        snapshot.workflow_id.as_deref(),
        limits::WORKFLOW_ID_BYTES_MAX
    ));
    assert!(short(reading.oddity.as_deref(), 3 * limits::NAME_BYTES_MAX));
    assert!(snapshot.stages.len() <= limits::STAGES_MAX);
    for stage in &snapshot.stages {
        assert!((1..=limits::NAME_BYTES_MAX).contains(&stage.path.len()));
        assert!((1..=limits::NAME_BYTES_MAX).contains(&stage.kind.len()));
        assert!(short(stage.id, limits::WORKFLOW_ID_BYTES_MAX));
    }
    let stages = snapshot.stages.iter().map(|s| s.progress);
    for progress in stages.chain([snapshot.progress.view()]) {
        assert!(short(progress.status, limits::NAME_BYTES_MAX));
        assert!(short(progress.error, limits::ATTRIBUTE_BYTES_MAX));
    }
}

/// A whole watch, as the core drives it.
fn watch(
    event: &StartEvent,
    received_at: Wall,
    answers: &[(Wall, Snapshot)],
    (given_up_at, why): (Wall, Abandoned),
    limits: SpanLimits,
) {
    let naming = Naming::new("default", "Workflow", limits);
    let mut workflow = Workflow::new(event.clone(), &naming, &Sampler::default(), received_at);
    let mut spans = Vec::new();
    let mut ended = None;
    for (at, snapshot) in answers {
        let records = &mut Vec::new();
        let verdict = workflow.observe(snapshot.clone(), *at, &naming, &mut spans, records);
        workflow.check_invariants();
        if let Verdict::Ended(outcome, _) = verdict {
            ended = Some(outcome);
            break;
        }
        assert!(spans.iter().all(|s| !is_root(s)), "the root came early");
    }
    let outcome = ended.unwrap_or_else(|| {
        let (outcome, _) = workflow.abandon(why, given_up_at, &naming, &mut spans);
        workflow.check_invariants();
        outcome
    });
    let sampled = event.parent.as_ref().is_none_or(|p| p.sampled());
    assert_eq!(!spans.is_empty(), sampled);
    let Some(root) = spans.last().filter(|_| sampled) else {
        return;
    };
    check_trace(event, outcome, root, &spans);
    for span in &spans {
        check_span(span, &limits);
        check_encoded(span);
    }
}

fn is_root(span: &Span) -> bool {
    span.parent.is_none_or(|parent| parent.remote)
}

fn check_trace(event: &StartEvent, outcome: Outcome, root: &Span, spans: &[Span]) {
    assert!(is_root(root) && spans.iter().filter(|s| is_root(s)).count() == 1);
    match &event.parent {
        Some(parent) => {
            assert_eq!(root.trace_id, parent.trace_id);
            assert_eq!(root.parent.map(|p| p.span_id), Some(parent.span_id));
        }
        None => assert_eq!(root.parent, None),
    }
    match outcome {
        Outcome::Success => assert_eq!(root.status, SpanStatus::Ok),
        Outcome::Failure | Outcome::Error | Outcome::Timeout => {
            assert!(matches!(root.status, SpanStatus::Error(_)));
        }
        Outcome::Cancellation | Outcome::Skip => assert_eq!(root.status, SpanStatus::Unset),
    }
    let mut ids: Vec<_> = spans.iter().map(|s| s.span_id).collect();
    ids.sort_unstable();
    assert!(
        ids.windows(2).all(|two| two[0] != two[1]),
        "two spans of one id"
    );
    for stage in &spans[..spans.len() - 1] {
        assert_eq!(stage.trace_id, root.trace_id);
        assert_eq!(stage.parent.map(|p| p.span_id), Some(root.span_id));
        assert!(
            root.start <= stage.start && stage.end <= root.end,
            "{stage:#?} {root:#?}"
        );
        let within =
            |e: &farspan::core::span::SpanEvent| stage.start <= e.time && e.time <= stage.end;
        assert!(stage.events.iter().all(within));
    }
}

fn check_span(span: &Span, limits: &SpanLimits) {
    assert!(span.start <= span.end, "{span:#?}");
    assert!((1..=limits::NAME_BYTES_MAX).contains(&span.name.len()));
    assert!(span.attributes.len() <= limits.attributes && span.events.len() <= limits.events);
    assert!(
        span.events.is_sorted_by_key(|event| event.time),
        "{span:#?}"
    );
    assert!(span.events.iter().all(|event| event.time <= span.end));
    assert!(
        span.events
            .iter()
            .all(|event| (1..=limits::NAME_BYTES_MAX).contains(&event.name.len()))
    );
    if let SpanStatus::Error(message) = &span.status {
        assert!(message.len() <= limits::ATTRIBUTE_BYTES_MAX);
    }
    for (at, (key, value)) in span.attributes.iter().enumerate() {
        assert!((1..=limits::NAME_BYTES_MAX).contains(&key.len()));
        assert!(
            span.attributes[..at].iter().all(|(other, _)| other != key),
            "two of {key}"
        );
        match value {
            Value::Str(text) => {
                assert!(text.len() <= limits::ATTRIBUTE_BYTES_MAX);
                assert!(text.chars().count() <= limits.attribute_value_chars);
            }
            Value::Float(number) => assert!(number.is_finite()),
            Value::Int(_) | Value::Bool(_) => {}
        }
    }
}

fn check_encoded(span: &Span) {
    let bytes = otlp::encode(span);
    let sent = proto::Span::decode(&*bytes).unwrap();
    assert_eq!(
        sent.encode_to_vec(),
        &*bytes,
        "a re-send is the same to the byte"
    );
    assert_eq!(sent.trace_id, span.trace_id.to_bytes());
    assert_eq!(sent.span_id, span.span_id.to_bytes());
    assert_eq!(sent.name, &*span.name);
    let since_1970 = |time: Wall| u64::try_from(time.as_unix_ns()).unwrap_or(0);
    assert_eq!(sent.start_time_unix_nano, since_1970(span.start));
    assert_eq!(sent.end_time_unix_nano, since_1970(span.end));
    assert_eq!(sent.attributes.len(), span.attributes.len());
    assert_eq!(sent.dropped_attributes_count, span.dropped_attributes);
    assert_eq!(sent.events.len(), span.events.len());
    assert_eq!(sent.dropped_events_count, span.dropped_events);
    assert_eq!(
        sent.trace_state,
        span.trace_state.as_deref().unwrap_or_default()
    );
}
