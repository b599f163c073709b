//! The report of a probe, as text.

use super::shape::{excerpt, nearest, report_shape, there_instead};
use super::{Findings, ProbedMonitor};
use crate::api::poller::Exchange;
use crate::core::event::{StartEvent, Value};
use crate::core::ids::SpanId;
use crate::core::limits;
use crate::core::limits::cut;
use crate::core::outcome::Abandoned;
use crate::core::sampler::Sampler;
use crate::core::snapshot::{Progress, Snapshot, StageView, State};
use crate::core::span::Span;
use crate::core::time::Wall;
use crate::core::workflow::{Verdict, Workflow};
use crate::mapping::{Mapping, Missing, Oddity, OddityKind};
use crate::os::clock;
use crate::syntax::mend::value_of;
use crate::syntax::mistake::Path;
use crate::syntax::text::{escape, without_byte_order_mark};
use crate::terminal::line::Style;
use crate::terminal::waterfall;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

/// The whole report.
pub(super) fn of(findings: &Findings, subject: &ProbedMonitor, style: Style) -> String {
    let mut out = String::new();
    for exchange in &findings.exchanges {
        report_exchange(&mut out, exchange);
    }
    match &findings.reading {
        Some(reading) => report_trace(&mut out, findings, subject, &reading.snapshot, style),
        None => line(&mut out, format_args!("monitor {}", subject.name)),
    }
    report_oddities(&mut out, findings, subject);
    for note in &findings.notes {
        line(&mut out, format_args!("note: {note}"));
    }
    for failure in &findings.failures {
        line(&mut out, format_args!("FAIL: {failure}"));
    }
    let unfit = |source| findings.unfit.contains(source);
    for body in findings.bodies.iter().filter(|body| unfit(&body.source)) {
        report_shape(&mut out, body);
    }
    report_missing(&mut out, findings, &subject.mapping);
    out
}

/// The snapshot, and the trace that it would give.
fn report_trace(
    out: &mut String,
    findings: &Findings,
    subject: &ProbedMonitor,
    snapshot: &Snapshot,
    style: Style,
) {
    let id = &findings.id;
    line(
        out,
        format_args!("monitor {}, workflow {}", subject.name, escape(id)),
    );
    report_snapshot(out, snapshot);
    out.push('\n');
    let at = instant_of(findings, snapshot);
    let (spans, running) = trace_of(subject, id, snapshot, at);
    out.push_str(&waterfall::render(&spans, &running, style));
    out.push('\n');
}

/// Unknown statuses by their words, the other oddities as they are.
fn report_oddities(out: &mut String, findings: &Findings, subject: &ProbedMonitor) {
    const SHOWN_MAX: usize = 20;
    let odd = findings.oddities(&subject.mapping);
    let reading = findings.reading.as_ref();
    let words = reading.map_or(Vec::new(), |reading| {
        unknown_words(subject, &reading.snapshot, &odd)
    });
    let is_word = |odd: &&Oddity| matches!(odd.kind, OddityKind::UnknownStatus(_));
    let rest = odd.iter().filter(|odd| words.is_empty() || !is_word(odd));
    let rest = rest.map(|odd| escape(&odd.to_string()));
    // The poll's own oddity may be beyond what was recorded of a long body.
    let whole = reading.and_then(|reading| reading.oddity.as_deref());
    let whole = whole.filter(|whole| odd.iter().all(|odd| *odd.text() != **whole));
    let whole = whole.map(escape);
    let lines: Vec<String> = words.iter().cloned().chain(rest).chain(whole).collect();
    for text in lines.iter().take(SHOWN_MAX) {
        line(out, format_args!("odd: {text}"));
    }
    if let Some(more @ 1..) = lines.len().checked_sub(SHOWN_MAX) {
        line(out, format_args!("odd: and {more} more"));
    }
}

/// The pointers that led nowhere, below what is there instead.
fn report_missing(out: &mut String, findings: &Findings, mapping: &Mapping) {
    let mut bodies: HashMap<&str, Vec<serde_json::Value>> = HashMap::new();
    for body in &findings.bodies {
        if let Ok(json) = value_of(without_byte_order_mark(&body.bytes)) {
            bodies.entry(&body.request).or_default().push(json);
        }
    }
    if findings.missing.is_empty() || bodies.is_empty() {
        return;
    }
    let mut lines = String::new();
    let mut told = String::new();
    for missing in &findings.missing {
        let bodies = bodies.get(&*missing.request).map_or(&[][..], Vec::as_slice);
        let used: Vec<_> = mapping.pointers().collect();
        let used = used.iter().filter(|used| used.request == missing.request);
        let used: HashSet<&str> = used.map(|used| &*used.pointer).collect();
        // It may be there, in a body that does not fit.
        let Some((there, meant)) = there_instead(&missing.pointer, bodies, &used) else {
            continue;
        };
        if there != told {
            add_there(&mut lines, &std::mem::replace(&mut told, there));
        }
        let of = match &*missing.request {
            "" => String::new(),
            name => format!(" (requests.{name})"),
        };
        let (place, pointer) = (&missing.place, escape(&missing.pointer));
        let root = mapping.definition().workflow.root.to_string();
        let meant = beside_root(missing, &root, bodies).or(meant);
        let meant = meant.map_or(String::new(), |key| format!("; is {} meant?", escape(&key)));
        line(&mut lines, format_args!("  {place}: {pointer}{of}{meant}"));
    }
    add_there(&mut lines, &told);
    if lines.is_empty() {
        return;
    }
    if !out.is_empty() && !out.ends_with("\n\n") {
        out.push('\n');
    }
    out.push_str(
        "Led nowhere (as it should be where the API leaves out what it has nothing for):\n",
    );
    out.push_str(&lines);
}

fn add_there(out: &mut String, there: &str) {
    if !there.is_empty() {
        line(out, format_args!("      {there}"));
    }
}

pub(super) fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A String takes everything.
    let _ = writeln!(out, "{text}");
}

fn report_exchange(out: &mut String, exchange: &Exchange) {
    let Exchange {
        method, url, took, ..
    } = exchange;
    let answer = match exchange.status {
        Some(status) => format!("HTTP {status}, {} bytes", exchange.bytes),
        None => "no answer".to_owned(),
    };
    let took = waterfall::humanise(*took);
    line(
        out,
        format_args!("{method} {}: {answer} after {took}", escape(url)),
    );
    for (name, value) in &exchange.headers {
        let value = value.as_deref().unwrap_or("(redacted)");
        line(out, format_args!("    {name}: {}", escape(value)));
    }
    if let Some(sent) = &exchange.sent {
        line(out, format_args!("    {}", excerpt(sent)));
    }
    let refused = exchange.status.is_some_and(|status| status >= 300);
    if refused && !exchange.body.is_empty() {
        line(
            out,
            format_args!("    it says: {}", excerpt(&exchange.body)),
        );
    }
    out.push('\n');
}

fn report_snapshot(out: &mut String, snapshot: &Snapshot) {
    let mut rows = progress_rows(snapshot.progress.view());
    rows.insert(0, ("status", status_of(snapshot.progress.view())));
    rows.extend(
        snapshot
            .attempt
            .map(|attempt| ("attempt", attempt.to_string())),
    );
    rows.extend(snapshot.url.as_deref().map(|url| ("url", escape(url))));
    report_rows(out, 2, &rows, &snapshot.attributes);
    let count = snapshot.stages.len();
    line(
        out,
        format_args!("  {count} stages{}", if count > 0 { ":" } else { "" }),
    );
    let mut within: BTreeMap<&str, Vec<StageView<'_>>> = BTreeMap::new();
    let paths: HashSet<&str> = snapshot.stages.iter().map(|s| s.path).collect();
    let mut top = Vec::new();
    for stage in &snapshot.stages {
        match stage.parent.filter(|parent| paths.contains(parent)) {
            Some(parent) => within.entry(parent).or_default().push(stage),
            None => top.push(stage),
        }
    }
    const SHOWN_MAX: usize = 500;
    let mut shown = 0;
    top.reverse();
    let mut stack: Vec<(usize, StageView<'_>)> = top.into_iter().map(|s| (0, s)).collect();
    while let Some((depth, stage)) = stack.pop() {
        if shown == SHOWN_MAX {
            line(out, format_args!("    ... and {} more", count - shown));
            break;
        }
        shown += 1;
        report_stage(out, depth, &stage);
        // Its parts stand below its first attempt.
        let below = within.remove(stage.path).unwrap_or_default();
        stack.extend(below.into_iter().rev().map(|child| (depth + 1, child)));
    }
}

fn report_stage(out: &mut String, depth: usize, stage: &StageView<'_>) {
    let indent = 4 + 2 * depth.min(16);
    let kind = escape(stage.kind);
    let attempt = match stage.attempt {
        0 | 1 => String::new(),
        attempt => format!(", attempt {attempt}"),
    };
    let path = if stage.path == stage.kind {
        String::new()
    } else {
        format!(" [{}]", escape(stage.path))
    };
    let status = status_of(stage.progress);
    line(
        out,
        format_args!("{:indent$}{kind}{path}{attempt}: {status}", ""),
    );
    let mut rows = progress_rows(stage.progress);
    rows.extend(stage.id.map(|id| ("id", escape(id))));
    rows.extend(stage.url.map(|url| ("url", escape(url))));
    report_rows(out, indent + 4, &rows, stage.attributes);
}

fn status_of(progress: Progress<&str>) -> String {
    let meaning = progress.state.as_str();
    match progress.status {
        Some(status) => format!("\"{}\", which means {meaning}", escape(status)),
        None => format!("none, which means {meaning}"),
    }
}

fn progress_rows(progress: Progress<&str>) -> Vec<(&'static str, String)> {
    let time = |name: &'static str, time: Option<Wall>| time.map(|time| (name, time.to_string()));
    let times = [
        time("queued", progress.queued),
        time("start", progress.start),
        time("end", progress.end),
    ];
    let mut rows: Vec<_> = times.into_iter().flatten().collect();
    if let (Some((_, end)), true, None) = (rows.last_mut(), progress.end.is_some(), ended(progress))
    {
        end.push_str(" (planned; not taken while it runs)");
    }
    rows.extend(progress.error.map(|error| ("error", escape(error))));
    rows
}

fn report_rows(
    out: &mut String,
    indent: usize,
    rows: &[(&str, String)],
    attributes: &[(Box<str>, Value)],
) {
    for (name, value) in rows {
        line(out, format_args!("{:indent$}{name} {value}", ""));
    }
    for (name, value) in attributes {
        let value = match value {
            Value::Str(text) => format!("\"{}\"", escape(text)),
            Value::Int(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
        };
        line(
            out,
            format_args!("{:indent$}{} = {value}", "", escape(name)),
        );
    }
}

/// Where a pointer leads that is meant to begin at `workflow.root` though it begins at the answer, or the other way
/// round.
fn beside_root(missing: &Missing, root: &str, bodies: &[serde_json::Value]) -> Option<String> {
    if root.is_empty() || !missing.request.is_empty() {
        return None;
    }
    let pointer = &*missing.pointer;
    let from_answer = pointer
        .strip_prefix(root)
        .filter(|rest| rest.starts_with('/'));
    let from_root = format!("{root}{pointer}");
    let mut meant = [Some(&*from_root), from_answer].into_iter().flatten();
    let found = meant.find(|pointer| there_instead(pointer, bodies, &HashSet::new()).is_none());
    found.map(str::to_owned)
}

/// The progress of the workflow and of each stage.
fn every_progress(snapshot: &Snapshot) -> impl Iterator<Item = Progress<&str>> {
    let stages = snapshot.stages.iter().map(|stage| stage.progress);
    std::iter::once(snapshot.progress.view()).chain(stages)
}

fn times(snapshot: &Snapshot) -> impl Iterator<Item = Wall> {
    every_progress(snapshot).flat_map(|progress| {
        [progress.queued, progress.start, progress.end]
            .into_iter()
            .flatten()
    })
}

/// A line for each status that the monitor does not have: the key, the word, and the known words.
fn unknown_words(subject: &ProbedMonitor, snapshot: &Snapshot, odd: &[Oddity]) -> Vec<String> {
    let table: Vec<&str> = (subject.mapping.definition().statuses.iter())
        .map(|(word, _)| &**word)
        .collect();
    let names = &subject.mapping.definition().status_names;
    let mut told: Vec<&str> = Vec::new();
    for progress in every_progress(snapshot) {
        let Some(word) = progress.status else {
            continue;
        };
        let is_name = names.iter().any(|(_, name)| **name == *word);
        let is_known = is_name || table.iter().any(|known| known.eq_ignore_ascii_case(word));
        if !is_known && !told.contains(&word) {
            told.push(word);
        }
    }
    let line = |word: &&str| {
        let meant = nearest(word, &table);
        let meant = meant.map_or(String::new(), |known| {
            format!("; is \"{}\" meant?", escape(known))
        });
        let known: Vec<String> = table.iter().map(|known| escape(known)).collect();
        let kind = OddityKind::UnknownStatus(cut(word, 64).into());
        let places = odd.iter().filter(|odd| odd.kind == kind);
        let places = places.filter_map(|odd| odd.place.as_ref());
        let mut keys: Vec<String> = places.map(Path::to_string).collect();
        keys.dedup();
        let keys = match &*keys {
            [] => String::new(),
            keys => format!("{}: ", keys.join(", ")),
        };
        format!(
            "{keys}\"{}\" is not among the monitor's statuses ({}){meant}",
            escape(word),
            known.join(", ")
        )
    };
    told.iter().map(line).collect()
}

/// The end, where it has ended. Before, the API may say a planned end.
fn ended(progress: Progress<&str>) -> Option<Wall> {
    let has_ended = matches!(progress.state, State::Ended(_));
    progress.end.filter(|_| has_ended)
}

/// The last time at which something happened.
fn latest(snapshot: &Snapshot) -> Option<Wall> {
    let happened = |p: Progress<&str>| [p.queued, p.start, ended(p)].into_iter().flatten();
    every_progress(snapshot).flat_map(happened).max()
}

/// The time of the answer, as far as it is known.
pub(super) fn instant_of(findings: &Findings, snapshot: &Snapshot) -> Wall {
    let at = findings.at.or_else(|| latest(snapshot));
    at.unwrap_or_else(|| clock::now().wall)
}

/// The spans that the core would make if each answer were this one, and which of them would still be open.
pub(super) fn trace_of(
    subject: &ProbedMonitor,
    id: &str,
    snapshot: &Snapshot,
    at: Wall,
) -> (Vec<Span>, HashSet<SpanId>) {
    let begun = times(snapshot).min().unwrap_or(at);
    let mut workflow = Workflow::new(
        StartEvent::new(0, id),
        &subject.naming,
        &Sampler::AlwaysOn,
        begun,
    );
    let mut spans = Vec::new();
    for _ in 0..=limits::SETTLE_POLLS {
        let verdict = workflow.observe(
            snapshot.clone(),
            at,
            &subject.naming,
            &mut spans,
            &mut Vec::new(),
        );
        if matches!(verdict, Verdict::Ended(..)) {
            return (spans, HashSet::new());
        }
    }
    let ended = spans.len();
    workflow.abandon(Abandoned::TimedOut, at, &subject.naming, &mut spans);
    let running = spans[ended..].iter().map(|span| span.span_id).collect();
    (spans, running)
}
