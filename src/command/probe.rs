//! `farspan probe`: one poll, or saved answers, and what the mapping makes of them.
//!
//! What it prints is for whoever writes a mapping: the snapshot, the trace that it would give, what led nowhere, and what
//! was there instead. Everything that comes from outside is escaped.

use crate::api::poller::{self, Exchange};
use crate::cli::ProbeOptions;
use crate::config::Config;
use crate::config::monitor::Monitor;
use crate::core::event::{Sampling, StartEvent, Value};
use crate::core::ids::SpanId;
use crate::core::limits;
use crate::core::outcome::Abandoned;
use crate::core::sampler::Sampler;
use crate::core::snapshot::{Progress, Snapshot, StageView, State};
use crate::core::span::Span;
use crate::core::time::Wall;
use crate::core::workflow::{Naming, Verdict, Workflow};
use crate::core::{Answer, PollFailureReason};
use crate::http::client::NameCache;
use crate::mapping::{Mapping, Missing, Oddity, Reading, Unreadable};

use crate::os::clock;
use crate::os::environment::Environment;
use crate::run;
use crate::syntax::values;
use crate::terminal::console::say;
use crate::terminal::waterfall;
use crate::text::{cut, escape, without_byte_order_mark};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::process::ExitCode;
use std::sync::Arc;

/// Polls once, or reads the saved bodies, and prints what comes of it. Fails where the mapping does not fit.
///
/// # Errors
/// What is wrong with the command line, or that a body cannot be read.
pub fn run(options: &ProbeOptions, config: &Config, env: &Environment) -> Result<ExitCode, String> {
    let monitor = match (config.monitors.is_empty(), &options.monitor) {
        (true, None) => None,
        (_, wanted) => Some(&config.monitors[config.monitor(wanted.as_deref())?]),
    };
    let subject = Subject::new(monitor, config);
    let seen = match (&options.id, monitor) {
        (Some(id), Some(monitor)) if options.bodies.is_empty() => ask(monitor, id)?,
        _ => read(&subject, options)?,
    };
    let fits = seen.fits;
    say(seen.report(&subject, env).trim_end());
    Ok(match fits {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Whose answers they are.
struct Subject {
    name: String,
    mapping: Arc<Mapping>,
    naming: Naming,
}

impl Subject {
    /// Without a configuration that of the default shape.
    fn new(monitor: Option<&Monitor>, config: &Config) -> Self {
        let limits = config.trace.limits;
        match monitor {
            Some(monitor) => Subject {
                name: monitor.name.clone(),
                mapping: monitor.mapping.clone(),
                naming: Naming {
                    // It is not exported, so that it goes under no resource.
                    service: None,
                    ..run::naming(monitor, config)
                },
            },
            None => Subject {
                name: "default".to_owned(),
                mapping: Arc::new(Mapping::original()),
                naming: Naming::new("default", "Workflow", limits),
            },
        }
    }
}

/// A body, and whence it came.
struct Body {
    request: Box<str>,
    /// The file or the URL.
    source: String,
    bytes: Vec<u8>,
}

/// All there is to tell.
struct Seen {
    id: String,
    /// When it was seen, in the API's clock. `None`: long ago, perhaps.
    at: Option<Wall>,
    exchanges: Vec<Exchange>,
    bodies: Vec<Body>,
    reading: Option<Reading>,
    missing: Vec<Missing>,
    /// What went wrong, a line each.
    troubles: Vec<String>,
    /// The sources of the bodies that do not fit.
    unfit: Vec<String>,
    /// What else to know, a line each.
    notes: Vec<String>,
    fits: bool,
}

fn ask(monitor: &Monitor, id: &str) -> Result<Seen, String> {
    let target = run::target(monitor, &NameCache::default());
    let target = target.map_err(|trouble| format!("monitor {}: {trouble}", monitor.name))?;
    let probed = poller::probe(&target, &run::trust(monitor), id)?;
    let mut seen = Seen {
        id: id.to_owned(),
        at: Some(probed.polled.date.unwrap_or(probed.polled.received.wall)),
        bodies: bodies_of(&probed.exchanges),
        exchanges: probed.exchanges,
        reading: None,
        missing: probed.found_nothing,
        troubles: Vec::new(),
        unfit: Vec::new(),
        notes: Vec::new(),
        fits: false,
    };
    match probed.polled.answer {
        Answer::Snapshot { snapshot, oddity } => {
            let theirs = snapshot.workflow_id.as_deref();
            seen.fits = theirs.is_none_or(|theirs| theirs == id);
            if let Some(theirs) = theirs.filter(|theirs| *theirs != id) {
                seen.troubles.push(format!(
                    "the answer is about \"{}\": either workflow.id leads to something else than the id, or the API \
                     answers for another workflow; farspan run would refuse it",
                    escape(theirs)
                ));
            }
            let snapshot = *snapshot;
            seen.reading = Some(Reading {
                snapshot,
                oddity,
                together: probed.together,
            });
        }
        Answer::NotFound => {
            let trouble =
                "the API does not know this workflow (HTTP 404), or request.path is wrong";
            seen.troubles.push(trouble.to_owned());
        }
        Answer::Failed(failure) => {
            let remedy = match failure.reason {
                PollFailureReason::Unauthorized => {
                    format!("; is {} right?", monitor.credential_key())
                }
                PollFailureReason::Connect | PollFailureReason::Protocol => {
                    format!("; is api.base_url right? It is {}", monitor.api.base_url)
                }
                PollFailureReason::Tls => "; api.certificate_file names the roots to trust".into(),
                _ => String::new(),
            };
            seen.troubles.push(format!(
                "the poll failed ({}): {}{remedy}",
                failure.reason.as_str(),
                escape(&failure.detail)
            ));
            // Of those before it the mapping has made something.
            let last = seen.exchanges.last().filter(|e| !e.body.is_empty());
            seen.unfit.extend(last.map(|last| last.url.clone()));
        }
    }
    Ok(seen)
}

fn bodies_of(exchanges: &[Exchange]) -> Vec<Body> {
    let with_body = exchanges.iter().filter(|e| !e.body.is_empty());
    let body = |exchange: &Exchange| Body {
        request: exchange.request.clone(),
        source: exchange.url.clone(),
        bytes: exchange.body.clone(),
    };
    with_body.map(body).collect()
}

/// Puts saved bodies together as a poll would.
fn read(subject: &Subject, options: &ProbeOptions) -> Result<Seen, String> {
    let mapping = &*subject.mapping;
    let bodies = saved(&options.bodies, mapping)?;
    let id = options.id.clone().unwrap_or_else(|| {
        let pattern = mapping.definition().id.as_ref();
        pattern.map_or_else(|| "example".to_owned(), |pattern| pattern.example())
    });
    let Some(mut gather) = mapping.gather(&id) else {
        return Err(format!(
            "the id '{}' is not made of the parts that the monitor's \"id\" names",
            values::shown(&id)
        ));
    };
    gather.tell_all();
    let mut seen = Seen {
        id: id.clone(),
        at: None,
        exchanges: Vec::new(),
        bodies: Vec::new(),
        reading: None,
        missing: Vec::new(),
        troubles: Vec::new(),
        unfit: Vec::new(),
        notes: Vec::new(),
        fits: false,
    };
    for (number, (name, request)) in mapping.requests().enumerate() {
        let each = gather.each(number).len();
        let these: Vec<&Body> = bodies.iter().filter(|b| *b.request == *name).collect();
        if these.is_empty() && each > 0 {
            let note = match name {
                "" => "no answer to the main request: give one with --body FILE".to_owned(),
                name => format!(
                    "requests.{name} was left out, and what it would tell with it: give its answer with --body {name}=FILE"
                ),
            };
            seen.notes.push(note);
        }
        for (place, body) in these.into_iter().enumerate() {
            let element = match request.for_each {
                Some(_) => place,
                None => 0,
            };
            if element >= each {
                let asked = match each {
                    0 => "no element asks for it".to_owned(),
                    _ => format!("only {each} elements ask for one"),
                };
                seen.notes
                    .push(format!("{}: left out, {asked}", body.source));
                continue;
            }
            match mapping.read_slice(number, &body.bytes) {
                Ok(part) => gather.put(element, part),
                Err(unreadable) => {
                    seen.troubles
                        .push(format!("{}: {}", body.source, told(&unreadable)));
                    seen.unfit.push(body.source.clone());
                }
            }
        }
    }
    let given: HashSet<&str> = bodies.iter().map(|body| &*body.request).collect();
    seen.missing = gather.found_nothing();
    seen.missing
        .retain(|missing| given.contains(&*missing.request));
    if seen.unfit.is_empty() {
        match gather.finish() {
            Ok(reading) => seen.reading = Some(reading),
            Err(unreadable) => seen.troubles.push(told(&unreadable)),
        }
    }
    if let (None, Some(reading)) = (&options.id, &seen.reading)
        && let Some(id) = &reading.snapshot.workflow_id
    {
        seen.id = id.to_string();
    }
    seen.fits = seen.troubles.is_empty();
    seen.bodies = bodies;
    Ok(seen)
}

fn saved(written: &[String], mapping: &Mapping) -> Result<Vec<Body>, String> {
    let names: Vec<&str> = mapping.requests().map(|(name, _)| name).collect();
    let mut bodies = Vec::new();
    let mut has_stdin = false;
    for text in written {
        let named = text.split_once('=');
        let named = named.filter(|(name, _)| names.contains(name) && !name.is_empty());
        let (request, path) = named.unwrap_or(("", text));
        let mut bytes = Vec::new();
        let most = limits::BODY_BYTES_MAX;
        let read = match path {
            "-" if std::mem::replace(&mut has_stdin, true) => {
                return Err("--body: there is one standard input".to_owned());
            }
            "-" => io::stdin().lock().take(most + 1).read_to_end(&mut bytes),
            path => File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes)),
        };
        read.map_err(|error| {
            let others: Vec<_> = names.iter().filter(|name| !name.is_empty()).collect();
            let hint = match text.split_once('=') {
                Some((name, _)) if named.is_none() => format!(
                    "; the monitor has no request '{}', only {others:?}",
                    values::shown(name)
                ),
                _ => String::new(),
            };
            format!("--body: {}: {error}{hint}", values::shown(path))
        })?;
        if bytes.len() as u64 > most {
            return Err(format!(
                "--body: {} has over {most} bytes",
                values::shown(path)
            ));
        }
        bodies.push(Body {
            request: request.into(),
            source: values::shown(path),
            bytes,
        });
    }
    Ok(bodies)
}

fn told(unreadable: &Unreadable) -> String {
    match unreadable {
        Unreadable::Io(error) => error.to_string(),
        Unreadable::Garbage(what) => format!("not JSON: {}", escape(what)),
        Unreadable::Shape(what) => format!("of another shape: {}", escape(what)),
    }
}

impl Seen {
    fn report(&self, subject: &Subject, env: &Environment) -> String {
        let mut out = String::new();
        for exchange in &self.exchanges {
            tell_exchange(&mut out, exchange);
        }
        if let Some(Reading { snapshot, .. }) = &self.reading {
            let id = escape(&self.id);
            line(
                &mut out,
                format_args!("monitor {}, workflow {id}", subject.name),
            );
            tell_snapshot(&mut out, snapshot);
            out.push('\n');
            let at = self.at.or_else(|| latest(snapshot));
            let at = at.unwrap_or_else(|| clock::now().wall);
            let (spans, running) = trace_of(subject, &self.id, snapshot, at);
            // <https://no-color.org>
            let colour = io::stdout().is_terminal() && env.text("NO_COLOR").is_none();
            let width = env.text("COLUMNS").and_then(|c| c.parse().ok());
            out.push_str(&waterfall::render(
                &spans,
                &running,
                width.unwrap_or(100),
                colour,
            ));
            out.push('\n');
        } else {
            line(&mut out, format_args!("monitor {}", subject.name));
        }
        self.tell_oddities(subject, &mut out);
        for note in &self.notes {
            line(&mut out, format_args!("note: {note}"));
        }
        for trouble in &self.troubles {
            let keys = keys_in(&subject.mapping, trouble);
            line(&mut out, format_args!("FAIL: {trouble}{keys}"));
        }
        for body in self
            .bodies
            .iter()
            .filter(|b| self.unfit.contains(&b.source))
        {
            tell_shape(&mut out, body);
        }
        self.tell_missing(&subject.mapping, &mut out);
        out
    }

    /// All that was not understood: statuses by their words, the rest by what was found.
    fn tell_oddities(&self, subject: &Subject, out: &mut String) {
        const SHOWN_MAX: usize = 20;
        let odd = self.oddities(&subject.mapping);
        let is_word = |odd: &Oddity| odd.what.contains(UNKNOWN_STATUS);
        let snapshot = self.reading.as_ref().map(|reading| &reading.snapshot);
        let words = snapshot.map_or(Vec::new(), |s| unknown_words(subject, s, &odd));
        let known_by_words = !words.is_empty();
        let rest = odd.iter().filter(|odd| !(known_by_words && is_word(odd)));
        let rest = rest.map(|odd| {
            let keys = match &odd.place {
                Some(_) => String::new(),
                None => keys_in(&subject.mapping, &odd.what),
            };
            format!("{}{keys}", escape(&odd.to_string()))
        });
        let lines: Vec<String> = words.into_iter().chain(rest).collect();
        for text in lines.iter().take(SHOWN_MAX) {
            line(out, format_args!("odd: {text}"));
        }
        if let Some(more @ 1..) = lines.len().checked_sub(SHOWN_MAX) {
            line(out, format_args!("odd: and {more} more"));
        }
    }

    /// Those of each body, and those of all together; each once.
    fn oddities(&self, mapping: &Mapping) -> Vec<Oddity> {
        let numbers: HashMap<&str, usize> = (mapping.requests().enumerate())
            .map(|(number, (name, _))| (name, number))
            .collect();
        let (mut all, mut known) = (Vec::new(), HashSet::new());
        let mut add = |odd: Oddity| {
            let is_new = known.insert(odd.clone());
            let is_why = self.troubles.iter().any(|why| why.contains(&*odd.what));
            if is_new && !is_why {
                all.push(odd);
            }
        };
        for body in &self.bodies {
            if let Some(number) = numbers.get(&*body.request) {
                mapping
                    .oddities(*number, &body.bytes)
                    .into_iter()
                    .for_each(&mut add);
            }
        }
        if let Some(reading) = &self.reading {
            let together = reading.together.iter().cloned();
            let whole = reading.oddity.iter();
            let whole = whole.map(|what| Oddity::from(what.to_string()));
            for odd in together.chain(whole) {
                let told = odd.to_string();
                if !all.iter().any(|known| known.to_string() == told) {
                    all.push(odd);
                }
            }
        }
        all
    }

    fn tell_missing(&self, mapping: &Mapping, out: &mut String) {
        let mut bodies: HashMap<&str, Vec<serde_json::Value>> = HashMap::new();
        for body in &self.bodies {
            if let Ok(json) = serde_json::from_slice(without_byte_order_mark(&body.bytes)) {
                bodies.entry(&body.request).or_default().push(json);
            }
        }
        if self.missing.is_empty() || bodies.is_empty() {
            return;
        }
        let mut lines = String::new();
        let mut told = String::new();
        for missing in &self.missing {
            let bodies = bodies.get(&*missing.request).map_or(&[][..], Vec::as_slice);
            let used: Vec<_> = mapping.pointers().collect();
            let used = used.iter().filter(|used| used.request == missing.request);
            let used: HashSet<&str> = used.map(|used| &*used.pointer).collect();
            // It may be there, in a body that does not fit.
            let Some((there, meant)) = there_instead(&missing.pointer, bodies, &used) else {
                continue;
            };
            if there != told {
                tell_there(&mut lines, &std::mem::replace(&mut told, there));
            }
            let of = match &*missing.request {
                "" => String::new(),
                name => format!(" (requests.{name})"),
            };
            let (place, pointer) = (&missing.place, escape(&missing.pointer));
            let meant = meant.map_or(String::new(), |key| format!("; is {} meant?", escape(&key)));
            line(&mut lines, format_args!("  {place}: {pointer}{of}{meant}"));
        }
        tell_there(&mut lines, &told);
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
}

/// A String takes everything.
fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{text}");
}

fn tell_exchange(out: &mut String, exchange: &Exchange) {
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

/// The beginning of a text, escaped.
fn excerpt(bytes: &[u8]) -> String {
    const CHARACTERS: usize = 300;
    let text = String::from_utf8_lossy(bytes);
    let mut shown: String = text.chars().take(CHARACTERS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    escape(&shown)
}

fn tell_snapshot(out: &mut String, snapshot: &Snapshot) {
    let mut rows = progress_rows(snapshot.progress.view());
    rows.insert(0, ("status", status_of(snapshot.progress.view())));
    rows.extend(
        snapshot
            .attempt
            .map(|attempt| ("attempt", attempt.to_string())),
    );
    rows.extend(snapshot.url.as_deref().map(|url| ("url", escape(url))));
    tell_rows(out, 2, &rows, &snapshot.attributes);
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
        tell_stage(out, depth, &stage);
        // Below the first of its attempts.
        let below = within.remove(stage.path).unwrap_or_default();
        stack.extend(below.into_iter().rev().map(|child| (depth + 1, child)));
    }
}

fn tell_stage(out: &mut String, depth: usize, stage: &StageView<'_>) {
    let indent = 4 + 2 * depth.min(16);
    let kind = escape(stage.kind);
    let attempt = match stage.attempt {
        0 | 1 => String::new(),
        attempt => format!(", attempt {attempt}"),
    };
    let path = match stage.path == stage.kind {
        true => String::new(),
        false => format!(" [{}]", escape(stage.path)),
    };
    let status = status_of(stage.progress);
    line(
        out,
        format_args!("{:indent$}{kind}{path}{attempt}: {status}", ""),
    );
    let mut rows = progress_rows(stage.progress);
    rows.extend(stage.id.map(|id| ("id", escape(id))));
    rows.extend(stage.url.map(|url| ("url", escape(url))));
    tell_rows(out, indent + 4, &rows, stage.attributes);
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

fn tell_rows(
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

/// The workflow's and those of its stages.
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

/// The keys of the pointers that a text names.
fn keys_in(mapping: &Mapping, text: &str) -> String {
    let words: HashSet<&str> = (text.split_whitespace())
        .map(|word| word.trim_end_matches([':', ',']))
        .collect();
    let named = mapping.pointers().filter(|p| words.contains(&*p.pointer));
    let keys: Vec<String> = named.map(|pointer| pointer.place.to_string()).collect();
    match keys.is_empty() {
        true => String::new(),
        false => format!(" ({})", keys.join(", ")),
    }
}

/// What a reading says of such a status, before the word.
const UNKNOWN_STATUS: &str = ": unknown status ";

/// The statuses that the table does not have, each with where it stands and what is known of it.
fn unknown_words(subject: &Subject, snapshot: &Snapshot, odd: &[Oddity]) -> Vec<String> {
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
        let says = format!("{UNKNOWN_STATUS}{:?}", cut(word, 64));
        let places = odd.iter().filter(|odd| odd.what.ends_with(&says));
        let keys: Vec<String> = places
            .filter_map(|odd| odd.place.as_ref().map(ToString::to_string))
            .collect();
        let keys = match keys.is_empty() {
            true => String::new(),
            false => format!("{}: ", keys.join(", ")),
        };
        format!(
            "{keys}\"{}\" is not among the monitor's statuses ({}){meant}",
            escape(word),
            known.join(", ")
        )
    };
    told.iter().map(line).collect()
}

/// The end of what has ended; of what has not it is somebody's plan.
fn ended(progress: Progress<&str>) -> Option<Wall> {
    let has_ended = matches!(progress.state, State::Ended(_));
    progress.end.filter(|_| has_ended)
}

/// The last of what has happened.
fn latest(snapshot: &Snapshot) -> Option<Wall> {
    let happened = |p: Progress<&str>| [p.queued, p.start, ended(p)].into_iter().flatten();
    every_progress(snapshot).flat_map(happened).max()
}

/// The spans that the core would make of it if every answer were this one; and those of them that would still be open.
fn trace_of(
    subject: &Subject,
    id: &str,
    snapshot: &Snapshot,
    at: Wall,
) -> (Vec<Span>, HashSet<SpanId>) {
    let event = StartEvent {
        monitor: 0,
        workflow_id: id.into(),
        submitted_at: None,
        attempt: None,
        parent: None,
        sampling: Sampling::default(),
        attributes: Box::default(),
        source: None,
    };
    let begun = times(snapshot).min().unwrap_or(at);
    let mut workflow = Workflow::new(event, &subject.naming, &Sampler::AlwaysOn, begun);
    let mut spans = Vec::new();
    for _ in 0..=limits::SETTLE_POLLS {
        let verdict = workflow.observe(snapshot.clone(), at, &subject.naming, &mut spans);
        if matches!(verdict, Verdict::Ended(..)) {
            return (spans, HashSet::new());
        }
    }
    let ended = spans.len();
    workflow.abandon(Abandoned::TimedOut, at, &subject.naming, &mut spans);
    let running = spans[ended..].iter().map(|span| span.span_id).collect();
    (spans, running)
}

fn tell_there(out: &mut String, there: &str) {
    if !there.is_empty() {
        line(out, format_args!("      {there}"));
    }
}

/// What is there where the pointer ends; and what may be meant, which no pointer of `used` leads to. `None` where it
/// leads to something.
fn there_instead(
    pointer: &str,
    bodies: &[serde_json::Value],
    used: &HashSet<&str>,
) -> Option<(String, Option<String>)> {
    let tokens: Vec<Cow<'_, str>> = pointer
        .split('/')
        .skip(1)
        .map(|token| match token.contains('~') {
            true => token.replace("~1", "/").replace("~0", "~").into(),
            false => token.into(),
        })
        .collect();
    let ends = bodies.iter().map(|body| end_of(body, &tokens));
    let Some((steps, found)) = ends.max_by_key(|(steps, _)| *steps) else {
        return Some(Default::default());
    };
    let token = tokens.get(steps)?;
    let mut way = String::new();
    for token in &tokens[..steps] {
        let _ = write!(
            way,
            "/{}",
            escape(&token.replace('~', "~0").replace('/', "~1"))
        );
    }
    let place = if way.is_empty() { "the answer" } else { &way };
    let mut keys: Vec<&str> = Vec::new();
    for value in &found {
        for key in value
            .as_object()
            .into_iter()
            .flat_map(|object| object.keys())
        {
            if !keys.contains(&&**key) {
                keys.push(key);
            }
        }
    }
    if keys.is_empty() {
        let kind = found
            .first()
            .map_or_else(|| "nothing".to_owned(), |value| kind_of(value));
        return Some((format!("{place} is {kind}"), None));
    }
    const KEYS_MAX: usize = 12;
    let mut listed: Vec<String> = keys.iter().take(KEYS_MAX).map(|key| escape(key)).collect();
    if keys.len() > KEYS_MAX {
        listed.push(format!("{} more", keys.len() - KEYS_MAX));
    }
    let there = format!("{place} has {}", listed.join(", "));
    let to = |key: &str| format!("{way}/{}", key.replace('~', "~0").replace('/', "~1"));
    keys.retain(|key| !used.contains(to(key).as_str()));
    Some((there, nearest(token, &keys).map(to)))
}

/// One that is almost the same, or that has it in it.
fn nearest<'k>(token: &str, keys: &[&'k str]) -> Option<&'k str> {
    let plain = |text: &str| text.replace(['_', '-'], "").to_lowercase();
    let wanted = plain(token);
    let same = keys.iter().find(|key| plain(key) == wanted).copied();
    let near = || values::nearest(token, keys.iter().copied());
    let within = || {
        let mut keys = keys.iter().copied();
        keys.find(|key| {
            let key = plain(key);
            key.len() > 2 && wanted.len() > 2 && (key.contains(&wanted) || wanted.contains(&key))
        })
    };
    same.or_else(near).or_else(within)
}

/// The values at the end of the way, and how many steps it has.
fn end_of<'v>(
    body: &'v serde_json::Value,
    tokens: &[Cow<'_, str>],
) -> (usize, Vec<&'v serde_json::Value>) {
    const VALUES_MAX: usize = 1000;
    let mut at = vec![body];
    for (steps, token) in tokens.iter().enumerate() {
        let mut next = Vec::new();
        for value in &at {
            match value {
                serde_json::Value::Array(elements) if &**token == "*" => next.extend(elements),
                serde_json::Value::Object(members) if &**token == "*" => {
                    next.extend(members.values());
                }
                serde_json::Value::Array(elements) => {
                    let index = token.parse().ok().and_then(|at: usize| elements.get(at));
                    next.extend(index);
                }
                serde_json::Value::Object(members) => next.extend(members.get(&**token)),
                _ => {}
            }
            if next.len() > VALUES_MAX {
                break;
            }
        }
        if next.is_empty() {
            return (steps, at);
        }
        at = next;
    }
    (tokens.len(), at)
}

fn tell_shape(out: &mut String, body: &Body) {
    let source = escape(&body.source);
    let Ok(json) =
        serde_json::from_slice::<serde_json::Value>(without_byte_order_mark(&body.bytes))
    else {
        let excerpt = excerpt(&body.bytes);
        line(out, format_args!("{source} begins with: {excerpt}"));
        return;
    };
    line(out, format_args!("{source} is {}", kind_of(&json)));
    let mut lines_left = 40;
    tell_members(out, "", &json, 3, &mut lines_left);
}

/// What is in an array or an object, by its pointer; of an array the first element.
fn tell_members(
    out: &mut String,
    pointer: &str,
    value: &serde_json::Value,
    depth: usize,
    lines_left: &mut usize,
) {
    let members: Vec<(String, &serde_json::Value)> = match value {
        serde_json::Value::Object(members) => {
            let members = members.iter();
            let escaped = |key: &str| escape(&key.replace('~', "~0").replace('/', "~1"));
            members.map(|(key, value)| (escaped(key), value)).collect()
        }
        serde_json::Value::Array(elements) => {
            let first = elements.first();
            first
                .map(|first| ("0".to_owned(), first))
                .into_iter()
                .collect()
        }
        _ => return,
    };
    for (key, value) in members {
        if *lines_left == 0 {
            return;
        }
        *lines_left -= 1;
        let pointer = format!("{pointer}/{key}");
        line(out, format_args!("  {pointer}: {}", kind_of(value)));
        if depth > 1 {
            tell_members(out, &pointer, value, depth - 1, lines_left);
        }
    }
}

fn kind_of(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "null".to_owned(),
        serde_json::Value::Bool(truth) => truth.to_string(),
        serde_json::Value::Number(number) => format!("the number {number}"),
        serde_json::Value::String(text) => {
            let mut shown: String = text.chars().take(60).collect();
            if shown.len() < text.len() {
                shown.push('…');
            }
            format!("the text \"{}\"", escape(&shown))
        }
        serde_json::Value::Array(elements) => format!("an array of {}", elements.len()),
        serde_json::Value::Object(members) => format!("an object of {}", members.len()),
    }
}
