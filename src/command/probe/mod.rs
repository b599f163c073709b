//! `farspan probe`: one poll, or saved answers, and what the mapping makes of them.
//!
//! It is for a person who writes a mapping. It prints the snapshot, the trace that it would give, the oddities, and the
//! pointers that led nowhere with what is there instead. Text that comes from outside is escaped.

mod json;
mod report;
mod shape;

use crate::api::exchange::PathTold;
use crate::api::poller::{self, Exchange};
use crate::cli::ProbeOptions;
use crate::config::Config;
use crate::config::monitor::MonitorConfig;
use crate::core::Answer;
use crate::core::answers::about_another_workflow;
use crate::core::limits;
use crate::core::time::Wall;
use crate::core::workflow::Naming;
use crate::http::client::Network;
use crate::mapping::definition::{Request, StageList};
use crate::mapping::{Gather, Mapping, Missing, Oddity, Reading, UnreadableBody};
use crate::os::environment::Environment;
use crate::run;
use crate::syntax::text::{escape, shown};
use crate::terminal::console::{self, say};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::process::ExitCode;
use std::sync::Arc;

/// Polls once, or reads saved bodies, and prints what the mapping makes of them. Fails where the mapping does not fit.
///
/// # Errors
/// What is wrong with the command line, or that a body cannot be read.
pub fn run(options: &ProbeOptions, config: &Config, env: &Environment) -> Result<ExitCode, String> {
    let monitor = match (config.monitors.is_empty(), &options.monitor) {
        (true, None) => None,
        (_, wanted) => Some(&config.monitors[config.monitor(wanted.as_deref())?]),
    };
    let subject = ProbedMonitor::new(monitor, config);
    let mut findings = match (&options.id, monitor) {
        (Some(id), Some(monitor)) if options.bodies.is_empty() => ask(monitor, id, config)?,
        _ => read(&subject, options)?,
    };
    let lists = &subject.mapping.definition().stages;
    findings.notes.extend(wildcards(lists, "stages"));
    if options.json {
        say(&format!("{:#}", json::of(&findings, &subject)));
    } else {
        let style = console::style(env, options.colours);
        say(report::of(&findings, &subject, style).trim_end());
    }
    Ok(if findings.fits {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is wrong with lists that are written as with JSONPath.
fn wildcards(lists: &[StageList], place: &str) -> Vec<String> {
    let mut notes = Vec::new();
    for (number, list) in lists.iter().enumerate() {
        let place = format!("{place}[{number}]");
        let pointer = list.list.to_string();
        if pointer.split('/').any(|token| token == "*") {
            notes.push(format!(
                "{place}.list: {}: a JSON Pointer has no wildcard, and * is a key of this name; a list names an array \
                 whose elements are objects, and a list within it is in {place}.stages",
                escape(&pointer)
            ));
        }
        notes.extend(wildcards(&list.stages, &format!("{place}.stages")));
    }
    notes
}

/// The monitor whose answers are read.
struct ProbedMonitor {
    name: String,
    mapping: Arc<Mapping>,
    naming: Naming,
}

impl ProbedMonitor {
    /// Without a monitor: the default shape.
    fn new(monitor: Option<&MonitorConfig>, config: &Config) -> Self {
        let limits = config.trace.limits;
        match monitor {
            Some(monitor) => ProbedMonitor {
                name: monitor.name.clone(),
                mapping: monitor.mapping.clone(),
                naming: Naming {
                    // The trace is not exported, and needs no resource.
                    service: None,
                    ..run::naming(monitor, config)
                },
            },
            None => ProbedMonitor {
                name: "default".to_owned(),
                mapping: Arc::new(Mapping::original()),
                naming: Naming::new("default", "Workflow", limits),
            },
        }
    }
}

/// The body of an answer.
struct Body {
    request: Box<str>,
    /// The file or the URL that it came from.
    source: String,
    bytes: Vec<u8>,
}

/// What the report is made of.
struct Findings {
    id: String,
    /// The time of the answer in the API's clock. `None`: it may be long ago.
    at: Option<Wall>,
    exchanges: Vec<Exchange>,
    bodies: Vec<Body>,
    reading: Option<Reading>,
    missing: Vec<Missing>,
    /// What went wrong, a line each.
    failures: Vec<String>,
    /// The sources of the bodies that do not fit.
    unfit: Vec<String>,
    /// What else to know, a line each.
    notes: Vec<String>,
    fits: bool,
}

impl Findings {
    fn new(id: &str) -> Self {
        Findings {
            id: id.to_owned(),
            at: None,
            exchanges: Vec::new(),
            bodies: Vec::new(),
            reading: None,
            missing: Vec::new(),
            failures: Vec::new(),
            unfit: Vec::new(),
            notes: Vec::new(),
            fits: false,
        }
    }

    /// The oddities of each body, and those of all bodies together; each once.
    fn oddities(&self, mapping: &Mapping) -> Vec<Oddity> {
        let mut all: Vec<Oddity> = Vec::new();
        for body in &self.bodies {
            let mut names = mapping.requests().map(|(name, _)| name);
            let number = names.position(|name| *name == *body.request);
            let odd = number.map(|number| mapping.oddities(number, &body.bytes));
            all.extend(odd.into_iter().flatten());
        }
        let together = self.reading.iter().flat_map(|reading| &reading.together);
        all.extend(together.cloned());
        let mut known = HashSet::new();
        all.retain(|oddity| known.insert(oddity.clone()));
        all
    }
}

fn ask(monitor: &MonitorConfig, id: &str, config: &Config) -> Result<Findings, String> {
    let network = Network::start(config.proxies.clone())?;
    let target = run::target(monitor, &network);
    let target = target.map_err(|trouble| format!("monitor {}: {trouble}", monitor.name))?;
    let probed = poller::probe(&target, &run::trust(monitor), &network, id)?;
    let mut findings = Findings {
        at: Some(probed.polled.date.unwrap_or(probed.polled.received.wall)),
        bodies: bodies_of(&probed.exchanges),
        exchanges: probed.exchanges,
        missing: probed.found_nothing,
        ..Findings::new(id)
    };
    match probed.polled.answer {
        Answer::Snapshot { snapshot, oddity } => {
            let refusal = about_another_workflow(&snapshot, id);
            findings.fits = refusal.is_none();
            findings.failures.extend(refusal.map(|refusal| {
                format!(
                    "{}: either workflow.id leads to something else than the id, or the API answers for another \
                     workflow; farspan run would refuse it",
                    escape(&refusal.detail)
                )
            }));
            let snapshot = *snapshot;
            findings.reading = Some(Reading {
                snapshot,
                oddity,
                together: probed.together,
            });
        }
        Answer::NotFound => findings.failures.push(match probed.path {
            PathTold::Known(unknown) => format!(
                "the API does not know this workflow (HTTP 404); the path is known: {} is answered differently",
                escape(&unknown)
            ),
            PathTold::Doubtful(why) => why,
            PathTold::Nothing => {
                "the API does not know this workflow (HTTP 404), or request.path is wrong".to_owned()
            }
        }),
        Answer::Failed(failure) | Answer::Partial { failure, .. } => {
            let remedy = monitor.api_keys().remedy(failure.reason);
            findings.failures.push(format!(
                "the poll failed ({}): {}{remedy}",
                failure.reason.as_str(),
                escape(&failure.detail)
            ));
            // The bodies before the last one were read.
            let last = findings.exchanges.last().filter(|e| !e.body.is_empty());
            findings.unfit.extend(last.map(|last| last.url.clone()));
        }
    }
    Ok(findings)
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

/// Puts saved bodies together as a poll does.
fn read(subject: &ProbedMonitor, options: &ProbeOptions) -> Result<Findings, String> {
    let mapping = &*subject.mapping;
    let bodies = saved(&options.bodies, mapping)?;
    let id = options.id.clone().unwrap_or_else(|| {
        let pattern = mapping.definition().id.as_ref();
        pattern.map_or_else(|| "example".to_owned(), |pattern| pattern.example())
    });
    let gather = mapping.gather(&id);
    let mut gather = gather.map_err(|why| format!("the id '{}' {why}", shown(&id)))?;
    gather.gather_oddities();
    let mut findings = Findings::new(&id);
    for (number, (name, request)) in mapping.requests().enumerate() {
        let answers: Vec<&Body> = bodies.iter().filter(|b| *b.request == *name).collect();
        read_answers(
            &mut findings,
            &mut gather,
            mapping,
            (number, name, request),
            &answers,
        );
    }
    let given: HashSet<&str> = bodies.iter().map(|body| &*body.request).collect();
    findings.missing = gather.found_nothing();
    findings
        .missing
        .retain(|missing| given.contains(&*missing.request));
    if findings.unfit.is_empty() {
        match gather.finish() {
            Ok(reading) => findings.reading = Some(reading),
            Err(unreadable) => findings.failures.push(reason(&unreadable)),
        }
    }
    if let (None, Some(reading)) = (&options.id, &findings.reading)
        && let Some(id) = &reading.snapshot.workflow_id
    {
        findings.id = id.to_string();
    }
    findings.fits = findings.failures.is_empty();
    findings.bodies = bodies;
    Ok(findings)
}

/// Reads the saved answers to one request.
fn read_answers(
    findings: &mut Findings,
    gather: &mut Gather<'_>,
    mapping: &Mapping,
    (number, name, request): (usize, &str, &Request),
    answers: &[&Body],
) {
    let each = gather.each(number).map_or(1, |each| each.len());
    if answers.is_empty() && each > 0 {
        findings.notes.push(match name {
            "" => "no answer to the main request: give one with --body FILE".to_owned(),
            name => format!(
                "requests.{name} was left out, and so was what its answer has: give it with --body {name}=FILE"
            ),
        });
    }
    for (place, body) in answers.iter().enumerate() {
        let element = if request.for_each.is_some() { place } else { 0 };
        if element >= each {
            let why = match each {
                0 => "no element needs it".to_owned(),
                _ => format!("only {each} elements need one"),
            };
            findings
                .notes
                .push(format!("{}: left out, {why}", body.source));
            continue;
        }
        match mapping.read_slice(number, &body.bytes) {
            Ok(part) => gather.put(element, part),
            Err(unreadable) => {
                let why = reason(&unreadable);
                findings.failures.push(format!("{}: {why}", body.source));
                findings.unfit.push(body.source.clone());
            }
        }
    }
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
                    shown(name)
                ),
                _ => String::new(),
            };
            format!("--body: {}: {error}{hint}", shown(path))
        })?;
        if bytes.len() as u64 > most {
            return Err(format!("--body: {} has over {most} bytes", shown(path)));
        }
        bodies.push(Body {
            request: request.into(),
            source: shown(path),
            bytes,
        });
    }
    Ok(bodies)
}

fn reason(unreadable: &UnreadableBody) -> String {
    match unreadable {
        UnreadableBody::Io(error) => error.to_string(),
        UnreadableBody::Garbage(what) => format!("not JSON: {}", escape(what)),
        UnreadableBody::Shape(what) => format!("of another shape: {}", escape(what)),
    }
}
