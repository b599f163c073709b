//! Spans as the receiver saw them: readable, and held against the invariants of a whole trace.

use super::{ns, rfc3339};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use prost::Message;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;

const SAMPLED: u32 = 0x1;
const REMOTENESS_KNOWN: u32 = 0x100;
const PARENT_IS_REMOTE: u32 = 0x200;

/// A span with the resource and the scope it came under.
#[derive(Clone, Debug)]
pub struct Seen {
    pub resource: BTreeMap<String, String>,
    pub scope: InstrumentationScope,
    pub span: Span,
}

impl Seen {
    /// An attribute's value as text; panics where it is absent.
    #[track_caller]
    pub fn attribute(&self, key: &str) -> String {
        self.find(key)
            .unwrap_or_else(|| panic!("no attribute {key}: {self:?}"))
    }

    /// An attribute's value as text.
    pub fn find(&self, key: &str) -> Option<String> {
        let found = self.span.attributes.iter().find(|pair| pair.key == key)?;
        Some(text(found.value.as_ref()))
    }

    /// Empty where the attribute is missing, which `assert_whole` does not forgive.
    pub fn workflow_id(&self) -> String {
        self.find("workflowId").unwrap_or_default()
    }

    /// Whether this is a workflow's own span: it has no parent, or a remote one.
    pub fn is_root(&self) -> bool {
        self.span.parent_span_id.is_empty() || self.span.flags & PARENT_IS_REMOTE != 0
    }

    pub fn start(&self) -> u64 {
        self.span.start_time_unix_nano
    }

    pub fn end(&self) -> u64 {
        self.span.end_time_unix_nano
    }

    /// The message of an error; `None` for Ok, panics for Unset.
    #[track_caller]
    pub fn error(&self) -> Option<&str> {
        let status = self.span.status.as_ref().expect("a status");
        match status.code() {
            StatusCode::Error => Some(&status.message),
            StatusCode::Ok => {
                assert_eq!(status.message, "", "a message stands only with an error");
                None
            }
            StatusCode::Unset => panic!("status Unset: {self:?}"),
        }
    }

    /// Panics unless the span starts and ends to the nanosecond as the API said, and its attributes say so too.
    #[track_caller]
    pub fn assert_times(&self, start: &str, end: &str) {
        let name = &self.span.name;
        assert_eq!(rfc3339(self.start()), rfc3339(ns(start)), "{name}: start");
        assert_eq!(rfc3339(self.end()), rfc3339(ns(end)), "{name}: end");
        assert_eq!(self.attribute("startTime"), rfc3339(ns(start)), "{name}");
        assert_eq!(self.attribute("endTime"), rfc3339(ns(end)), "{name}");
    }

    /// The names of the events in their order.
    pub fn event_names(&self) -> Vec<&str> {
        let events = self.span.events.iter();
        events.map(|event| event.name.as_str()).collect()
    }

    /// The time of the only event of that name.
    #[track_caller]
    pub fn event_time(&self, name: &str) -> u64 {
        let mut times = self.span.events.iter().filter(|event| event.name == name);
        let time = times.next().unwrap_or_else(|| panic!("no event {name}"));
        assert!(times.next().is_none(), "two events {name}");
        time.time_unix_nano
    }

    /// The span alone, encoded.
    pub fn bytes(&self) -> Vec<u8> {
        self.span.encode_to_vec()
    }
}

/// The spans of one request.
pub fn seen(request: &ExportTraceServiceRequest) -> Vec<Seen> {
    let mut seen = Vec::new();
    for resource_spans in &request.resource_spans {
        let resource = resource_spans.resource.iter().flat_map(|resource| {
            let attributes = resource.attributes.iter();
            attributes.map(|pair| (pair.key.clone(), text(pair.value.as_ref())))
        });
        let resource: BTreeMap<String, String> = resource.collect();
        for scope_spans in &resource_spans.scope_spans {
            seen.extend(scope_spans.spans.iter().map(|span| Seen {
                resource: resource.clone(),
                scope: scope_spans.scope.clone().unwrap_or_default(),
                span: span.clone(),
            }));
        }
    }
    seen
}

/// One workflow's spans.
#[derive(Clone, Debug)]
pub struct Trace {
    pub root: Seen,
    pub stages: Vec<Seen>,
}

impl Trace {
    /// The stage of this name; panics unless there is exactly one.
    #[track_caller]
    pub fn stage(&self, name: &str) -> &Seen {
        let mut stages = self.stages.iter().filter(|stage| stage.span.name == name);
        let stage = stages.next();
        assert!(stages.next().is_none(), "two spans for stage {name}");
        stage.unwrap_or_else(|| panic!("no span for stage {name}: {:#?}", self.stages))
    }

    /// The names of the stages, sorted.
    pub fn stage_names(&self) -> Vec<&str> {
        let stages = self.stages.iter();
        let mut names: Vec<&str> = stages.map(|stage| stage.span.name.as_str()).collect();
        names.sort_unstable();
        names
    }
}

/// Holds every span against the invariants; answers with the traces by workflow id.
#[track_caller]
pub fn assert_whole(spans: &[Seen]) -> BTreeMap<String, Trace> {
    let mut ids = HashSet::new();
    let mut by_workflow: BTreeMap<String, Vec<&Seen>> = BTreeMap::new();
    for span in spans {
        assert_sound(span);
        assert!(
            ids.insert(span.span.span_id.clone()),
            "a span id twice: {span:?}"
        );
        by_workflow
            .entry(span.workflow_id())
            .or_default()
            .push(span);
    }
    by_workflow
        .into_iter()
        .map(|(id, spans)| {
            let trace = assert_trace(&id, &spans);
            (id, trace)
        })
        .collect()
}

/// Holds the spans of one run, stages in stages as well, against what makes them one trace: one root, each span inside
/// its parent, no id twice.
#[track_caller]
pub fn assert_nested(spans: &[Seen]) {
    let by_id: HashMap<&[u8], &Seen> = spans.iter().map(|s| (&*s.span.span_id, s)).collect();
    assert_eq!(by_id.len(), spans.len(), "a span twice: {spans:#?}");
    assert_eq!(spans.iter().filter(|span| span.is_root()).count(), 1);
    for seen in spans {
        assert_sound(seen);
        assert_eq!(seen.span.trace_id, spans[0].span.trace_id, "{seen:?}");
        if !seen.is_root() {
            let parent = by_id[&*seen.span.parent_span_id];
            assert!(
                parent.start() <= seen.start() && seen.end() <= parent.end(),
                "outside its parent: {seen:?}"
            );
        }
    }
}

/// What holds for any span by itself.
#[track_caller]
fn assert_sound(seen: &Seen) {
    let span = &seen.span;
    assert!(is_id(&span.trace_id, 16), "trace id: {seen:?}");
    assert!(is_id(&span.span_id, 8), "span id: {seen:?}");
    assert!(
        span.parent_span_id.is_empty() || is_id(&span.parent_span_id, 8),
        "parent id: {seen:?}"
    );
    assert_ne!(
        span.parent_span_id, span.span_id,
        "its own parent: {seen:?}"
    );
    assert!(!span.name.is_empty(), "no name: {seen:?}");
    assert!(
        span.start_time_unix_nano > 0 && span.end_time_unix_nano >= span.start_time_unix_nano,
        "times: {seen:?}"
    );
    let wanted = SAMPLED | REMOTENESS_KNOWN;
    assert_eq!(span.flags & wanted, wanted, "flags: {seen:?}");
    assert!(
        span.flags & PARENT_IS_REMOTE == 0 || !span.parent_span_id.is_empty(),
        "no parent, yet remote: {seen:?}"
    );
    assert_eq!(seen.scope.name, "farspan", "scope: {seen:?}");
    assert_eq!(
        seen.scope.version,
        env!("CARGO_PKG_VERSION"),
        "scope: {seen:?}"
    );
    let service = seen.resource.get("service.name");
    assert!(service.is_some_and(|name| !name.is_empty()), "{seen:?}");
    let id = seen.workflow_id();
    assert!(!id.is_empty(), "no workflowId: {seen:?}");
    assert_eq!(seen.attribute("cicd.pipeline.run.id"), id);
    let keys: HashSet<&str> = span.attributes.iter().map(|pair| &*pair.key).collect();
    assert_eq!(
        keys.len(),
        span.attributes.len(),
        "a key twice: {:?}",
        span.attributes
    );
    let times = span.events.iter().map(|event| event.time_unix_nano);
    assert!(times.is_sorted(), "events out of order: {:?}", span.events);
    for event in &span.events {
        let inside = span.start_time_unix_nano..=span.end_time_unix_nano;
        assert!(
            event.name == "Submitted" || inside.contains(&event.time_unix_nano),
            "event {event:?} outside: {seen:?}"
        );
    }
    for key in ["startTime", "endTime"] {
        if let Some(text) = seen.find(key) {
            assert_eq!(text, rfc3339(ns(&text)), "{key} is not canonical");
        }
    }
}

#[track_caller]
fn assert_trace(id: &str, spans: &[&Seen]) -> Trace {
    let (roots, stages): (Vec<&&Seen>, Vec<&&Seen>) = spans.iter().partition(|span| span.is_root());
    assert_eq!(
        roots.len(),
        1,
        "workflow {id:?} has {} roots: {spans:#?}",
        roots.len()
    );
    let root = roots[0];
    let mut seen_stages = HashMap::new();
    for stage in &stages {
        let of = &stage.span;
        assert_eq!(of.trace_id, root.span.trace_id, "another trace: {stage:?}");
        assert_eq!(
            of.parent_span_id, root.span.span_id,
            "no child of the root: {stage:?}"
        );
        assert!(
            stage.start() >= root.start() && stage.end() <= root.end(),
            "outside its parent: {stage:?}"
        );
        let key = (of.name.clone(), stage.find("id"));
        let twice = seen_stages.insert(key, of);
        assert!(twice.is_none(), "a stage twice: {stage:?}");
    }
    Trace {
        root: (*root).clone(),
        stages: stages.into_iter().map(|stage| (*stage).clone()).collect(),
    }
}

/// Everything about some spans as text, for goldens. Span ids appear as names, farspan's version as `<version>`; a
/// trace id only where the start event chose it.
pub fn trace_text(spans: &[Seen]) -> String {
    let mut count: HashMap<(String, &str), usize> = HashMap::new();
    for seen in spans {
        let name = (seen.workflow_id(), &*seen.span.name);
        *count.entry(name).or_default() += 1;
    }
    let labels: HashMap<&[u8], String> = spans
        .iter()
        .map(|seen| {
            let is_unique = count[&(seen.workflow_id(), &*seen.span.name)] == 1;
            (&*seen.span.span_id, label(seen, is_unique))
        })
        .collect();
    let label = |id: &[u8]| labels.get(id).cloned().unwrap_or_else(|| hex(id));
    let continued: HashSet<&[u8]> = spans
        .iter()
        .filter(|seen| seen.span.flags & PARENT_IS_REMOTE != 0)
        .map(|seen| &*seen.span.trace_id)
        .collect();

    let mut order: Vec<&Seen> = spans.iter().collect();
    order.sort_by_cached_key(|seen| {
        let times = (seen.start(), seen.end());
        (
            seen.workflow_id(),
            !seen.is_root(),
            times,
            seen.span.name.clone(),
        )
    });
    let mut heads = Vec::new();
    let mut out = String::new();
    for seen in order {
        let head = head_text(seen);
        if heads.last() != Some(&head) {
            out += &head;
            heads.push(head);
        }
        out += &span_text(&seen.span, &continued, label);
    }
    out
}

/// The spans of `trace_text` alone, without what is the same in all of them.
pub fn brief_text(spans: &[Seen]) -> String {
    let text = trace_text(spans);
    let (_, text) = text.split_once("\nscope ").expect("a scope");
    let (_, text) = text.split_once('\n').expect("spans");
    let mut out = String::new();
    let mut is_root = false;
    for line in text.lines() {
        is_root = line == "  parent: none" || is_root && line.starts_with("  ");
        let is_left_out = match line.trim_start().split_once(['=', ' ']) {
            Some(("trace:", "own") | ("flags:", _)) => true,
            Some(("attribute:", of)) if of.starts_with("cicd.pipeline.run.id=") => true,
            Some(("attribute:", of)) if of.starts_with("workflowId=") => !is_root,
            _ => false,
        };
        if !is_left_out {
            let _ = writeln!(out, "{line}");
        }
    }
    out
}

/// A span's name, and what tells it from others of that name.
fn label(seen: &Seen, is_unique: bool) -> String {
    let name = seen.span.name.clone();
    if is_unique {
        return name;
    }
    let with = |text: String, key: &str| match seen.find(key) {
        Some(value) => format!("{text} {key}={value}"),
        None => text,
    };
    ["id", "attempt"].into_iter().fold(name, with)
}

fn head_text(seen: &Seen) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut out = String::from("resource\n");
    for (key, value) in &seen.resource {
        let value = value.replace(version, "<version>");
        let _ = writeln!(out, "  {key}={value}");
    }
    let scope = &seen.scope;
    let scope_version = scope.version.replace(version, "<version>");
    let _ = writeln!(out, "scope {} {scope_version}", scope.name);
    out
}

fn span_text(span: &Span, continued: &HashSet<&[u8]>, label: impl Fn(&[u8]) -> String) -> String {
    let trace = if continued.contains(&*span.trace_id) {
        hex(&span.trace_id)
    } else {
        "own".to_owned()
    };
    let parent = if span.parent_span_id.is_empty() {
        "none".to_owned()
    } else {
        label(&span.parent_span_id)
    };
    let mut out = format!("{} {}\n", span.name, span.kind().as_str_name());
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(out, "  {key}: {value}");
    };
    line("trace", &trace);
    line("parent", &parent);
    line("flags", &format!("{:#05x}", span.flags));
    if !span.trace_state.is_empty() {
        line("tracestate", &span.trace_state);
    }
    line("start", &rfc3339(span.start_time_unix_nano));
    line("end", &rfc3339(span.end_time_unix_nano));
    if let Some(status) = &span.status {
        let text = format!("{} {}", status.code().as_str_name(), status.message);
        line("status", text.trim_end());
    }
    for attribute in sorted(&span.attributes) {
        line("attribute", &attribute);
    }
    for event in &span.events {
        let attributes = sorted(&event.attributes).join(" ");
        let text = format!(
            "{} {} {attributes}",
            rfc3339(event.time_unix_nano),
            event.name
        );
        line("event", text.trim_end());
    }
    for link in &span.links {
        let trace = if link.trace_id == span.trace_id {
            "own".to_owned()
        } else {
            hex(&link.trace_id)
        };
        line("link", &format!("{trace} {}", label(&link.span_id)));
    }
    for (what, count) in [
        ("attributes", span.dropped_attributes_count),
        ("events", span.dropped_events_count),
        ("links", span.dropped_links_count),
    ] {
        if count > 0 {
            line("dropped", &format!("{count} {what}"));
        }
    }
    out
}

fn sorted(attributes: &[KeyValue]) -> Vec<String> {
    let mut lines: Vec<String> = attributes
        .iter()
        .map(|pair| format!("{}={}", pair.key, text(pair.value.as_ref())))
        .collect();
    lines.sort();
    lines
}

/// A value as text; whatever is no string says its type.
fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => format!("{number} (int)"),
        Some(any_value::Value::DoubleValue(number)) => format!("{number} (double)"),
        Some(any_value::Value::BoolValue(truth)) => format!("{truth} (bool)"),
        other => format!("{other:?}"),
    }
}

fn is_id(bytes: &[u8], length: usize) -> bool {
    bytes.len() == length && bytes.iter().any(|byte| *byte != 0)
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
