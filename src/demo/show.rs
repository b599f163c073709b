//! `farspan demo`: the scripted API, the load and the watcher in one process, and each trace as it becomes whole.
//!
//! Nothing is installed or left behind, and nothing is taken on trust: every trace is compared with the API's plan.

use super::{api, complain, fresh_seed, load, say};
use crate::cli::{ApiOptions, DemoOptions, LoadOptions};
use crate::config::{Config, Errors, PollConfig};
use crate::core::event::{StartEvent, Value};
use crate::core::ids::TraceId;
use crate::core::limits;
use crate::core::span::{Span, SpanStatus};
use crate::core::time::Wall;
use crate::demo::script::WorkflowPlan;
use crate::os::environment::Environment;
use crate::os::signals;
use crate::os::{browser, clock};
use crate::run::{self, Endpoint, Report, SPANS_QUEUE};
use crate::syntax::values::redacted_url;
use crate::terminal::progress::ProgressLine;
use crate::terminal::{console, line, waterfall};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select};
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const POLL_INITIAL_DELAY: Duration = Duration::from_millis(100);
const POLL_INTERVAL: Duration = Duration::from_millis(250);
const POLL_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// The starts are spread over this.
const SPREAD: Duration = Duration::from_secs(3);
/// The exit code of a wrong use.
const MISUSED: u8 = 2;
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// Runs the demo to its end, or with `serve` until SIGTERM or SIGINT. Fails if a trace is not whole and exact.
///
/// # Errors
/// What is wrong with the `OTEL_*` variables.
pub fn run(options: &DemoOptions, env: &Environment) -> Result<ExitCode, Errors> {
    let seed = options.seed.unwrap_or_else(fresh_seed);
    let api = api::start(&ApiOptions {
        listen: "127.0.0.1:0".into(),
        speed: options.speed,
        seed: Some(seed),
        latency: Duration::ZERO,
        fail_rate: 0.1,
    });
    let api = match api {
        Ok(api) => api,
        Err(error) => {
            complain(&format!("cannot start the scripted API: {error}"));
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut config = Config::for_api(env, &api.base_url())?;
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    config.export.console = false;
    config.poll_at(PollConfig {
        initial_delay: POLL_INITIAL_DELAY,
        interval: POLL_INTERVAL,
        timeout: POLL_TIMEOUT,
        ..config.poll
    });
    say(&format!(
        "{} workflows start on the scripted API at {}.\n\
         They run {} times as fast as in real life; farspan asks for them every {POLL_INTERVAL:?}.",
        options.workflows,
        api.base_url(),
        options.speed
    ));
    if options.open && config.admin.is_none() {
        complain(
            "--open: there is no live page, because FARSPAN_ADMIN_LISTEN is none: set an address",
        );
        return Ok(ExitCode::from(MISUSED));
    }
    let endpoint = match offer_page(options, &mut config) {
        Ok(endpoint) => endpoint,
        Err(trouble) => {
            complain(&trouble);
            return Ok(ExitCode::FAILURE);
        }
    };
    match show(
        options,
        &config,
        endpoint,
        seed,
        Audience::new(options, &api, env),
    ) {
        Ok(code) => Ok(code),
        Err(trouble) => {
            complain(&trouble);
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Takes the address of the live page, says it, and opens the page if that is asked for. If the default address is
/// taken, as it is beside `farspan run`, a free port will do.
fn offer_page(options: &DemoOptions, config: &mut Config) -> Result<Endpoint, String> {
    let endpoint = match (Endpoint::bind(config), &mut config.admin) {
        (Err(_), Some(admin)) if !admin.is_asked_for => {
            admin.listen = "127.0.0.1:0".into();
            Endpoint::bind(config)?
        }
        (bound, _) => bound?,
    };
    let Some(address) = endpoint.address() else {
        return Ok(endpoint);
    };
    let url = format!("http://{address}/");
    let how_long = if options.serve {
        "until you stop this"
    } else {
        "while this runs (--serve keeps it up)"
    };
    say(&format!("The live page, {how_long}: {url}"));
    if options.open {
        let page = url.clone();
        let found_none = move |opener: &str| {
            complain(&format!("{opener} finds no browser: open {page} in yours"));
        };
        if let Err(error) = browser::open(&url, found_none) {
            complain(&format!(
                "cannot open a browser ({error}): open {url} in yours"
            ));
        }
    }
    Ok(endpoint)
}

fn show(
    options: &DemoOptions,
    config: &Config,
    endpoint: Endpoint,
    seed: u64,
    mut audience: Audience<'_>,
) -> Result<ExitCode, String> {
    let interrupted = signals::stop().map_err(|e| format!("cannot listen to signals: {e}"))?;
    let (events_sent, events) = bounded(limits::INTAKE_QUEUE);
    let (spans_sent, spans) = bounded(SPANS_QUEUE);
    let (stop, stopped) = bounded(0);
    let load = LoadOptions {
        redis_url: None,
        channel: None,
        workflows: options.workflows,
        batch: options.workflows,
        batch_wait: SPREAD,
        spread: Some(SPREAD),
        with_parent: false,
        seed: Some(seed),
    };
    let (audience, report) = std::thread::scope(|scope| {
        let feeding = stopped.clone();
        scope.spawn(move || feed(&load, seed, &events_sent, &feeding));
        let audience = scope.spawn(move || {
            audience.watch(&spans, &interrupted);
            drop(stop);
            audience
        });
        let report = run::watch(config, endpoint, events, stopped, vec![spans_sent]);
        (audience.join(), report)
    });
    let mut audience = audience.map_err(|_| "the demo's audience panicked")?;
    let report = report?;
    let summary = audience.summary(&report, config);
    audience.progress.say(&summary);
    let well = audience.whole == options.workflows && spans_missing(&report) == 0;
    Ok(if well || options.serve {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Starts the workflows, each at its time.
fn feed(
    load: &LoadOptions,
    seed: u64,
    events: &Sender<StartEvent>,
    stopped: &Receiver<Infallible>,
) {
    let begin = clock::now().mono;
    for event in load::events(load, seed) {
        let wait = (begin + event.at).since(clock::now().mono);
        let over = stopped.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected);
        if over
            || events
                .send(event.to_start_event(clock::now().wall))
                .is_err()
        {
            return;
        }
    }
}

/// Gathers spans into traces, and shows each when its workflow's span is there.
struct Audience<'a> {
    api: &'a api::ScriptedApi,
    workflows: u32,
    serve: bool,
    style: line::Style,
    progress: ProgressLine,
    open: HashMap<TraceId, Vec<Span>>,
    spans: u32,
    failed: u32,
    whole: u32,
    wrong: u32,
}

impl<'a> Audience<'a> {
    fn new(options: &DemoOptions, api: &'a api::ScriptedApi, env: &Environment) -> Self {
        let style = console::style(env, options.colours);
        Audience {
            api,
            workflows: options.workflows,
            serve: options.serve,
            style,
            progress: ProgressLine::new(env, style),
            open: HashMap::new(),
            spans: 0,
            failed: 0,
            whole: 0,
            wrong: 0,
        }
    }

    fn watch(&mut self, spans: &Receiver<Arc<Span>>, interrupted: &Receiver<Infallible>) {
        let ticks = crossbeam_channel::tick(PROGRESS_EVERY);
        while self.serve || self.whole + self.wrong < self.workflows {
            select! {
                recv(spans) -> span => match span {
                    Ok(span) => {
                        self.take(&span);
                        self.say_that_it_goes_on(&span);
                    }
                    Err(_) => return,
                },
                recv(interrupted) -> _ => return,
                recv(ticks) -> _ => self.show_progress(),
            }
        }
    }

    fn take(&mut self, span: &Span) {
        self.spans += 1;
        let spans = self.open.entry(span.trace_id).or_default();
        spans.push(span.clone());
        if span.parent.is_some() {
            return;
        }
        let spans = self.open.remove(&span.trace_id).unwrap_or_default();
        let trace = waterfall::render(&spans, &HashSet::new(), self.style);
        self.progress.say(&trace);
        self.failed += u32::from(matches!(span.status, SpanStatus::Error(_)));
        let plan = text(span, "workflowId").and_then(|id| self.api.plan(id));
        match plan.map(|plan| difference(&spans, &plan)) {
            Some(None) => self.whole += 1,
            Some(Some(difference)) => {
                self.wrong += 1;
                complain(&format!(
                    "trace {} is not what the API did: {difference}",
                    span.trace_id
                ));
            }
            None => {
                self.wrong += 1;
                complain(&format!(
                    "trace {} is of no workflow of the API",
                    span.trace_id
                ));
            }
        }
    }

    /// Behind the last trace of a demo that serves: else it would seem to hang.
    fn say_that_it_goes_on(&mut self, span: &Span) {
        let all = self.workflows;
        if self.serve && span.parent.is_none() && self.whole + self.wrong == all {
            let line = format!("All {all} workflows are traced. Ctrl-C ends the demo.");
            self.progress.say(&line);
        }
    }

    fn show_progress(&mut self) {
        let (done, all) = (self.whole + self.wrong, self.workflows);
        if done < all {
            let stages = self.spans - done;
            let line = format!("{done} of {all} workflows and {stages} stages have ended");
            self.progress.show(&line);
        }
    }

    fn what_was_traced(&self) -> String {
        let (whole, wrong, all) = (self.whole, self.wrong, self.workflows);
        let done = whole + wrong;
        let stopped = if done < all { "Stopped: " } else { "" };
        let failed = match self.failed {
            _ if done == 0 => String::new(),
            0 => "; none failed".to_owned(),
            failed => format!("; {failed} failed, as planned"),
        };
        let mut text = format!("{stopped}{done} of {all} workflows traced{failed}.");
        if whole > 0 {
            let _ = write!(
                text,
                "\n{whole} traces have each stage and each time as the API has them."
            );
        }
        if wrong > 0 {
            let _ = write!(text, "\n{wrong} traces do not, as said above.");
        }
        text
    }

    fn summary(&self, report: &Report, config: &Config) -> String {
        let mut text = self.what_was_traced();
        let _ = write!(
            text,
            "\n{} spans from {} polls.",
            self.spans,
            report.counters.polls()
        );
        let delivered = report.counters.spans_delivered;
        let missing = spans_missing(report);
        let _ = match config
            .export
            .otlp
            .as_ref()
            .map(|it| redacted_url(&it.endpoint))
        {
            Some(url) if missing > 0 => write!(
                text,
                "\n{delivered} spans delivered to {url};\nit did not take {missing}, and the log above says why."
            ),
            Some(url) => write!(text, "\n{delivered} spans delivered to {url}."),
            None => write!(
                text,
                "\nTo see them in Tempo or Jaeger:\n  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 farspan demo"
            ),
        };
        text
    }
}

/// The spans that the collector did not take.
fn spans_missing(report: &Report) -> u64 {
    report.undelivered as u64 + report.counters.spans_rejected
}

fn text<'s>(span: &'s Span, key: &str) -> Option<&'s str> {
    let found = span.attributes.iter().find(|(k, _)| **k == *key);
    match &found?.1 {
        Value::Str(text) => Some(text),
        _ => None,
    }
}

/// The first way in which a trace is not what the plan says.
fn difference(spans: &[Span], plan: &WorkflowPlan) -> Option<String> {
    let stages = plan.stages.iter();
    let planned = stages.filter_map(|s| Some((s.kind, s.run.as_ref()?.start, s.run.as_ref()?.end)));
    let root = ("Workflow", plan.start, plan.end);
    let mut expected: Vec<(&str, Wall, Wall)> = planned.chain([root]).collect();
    let mut found: Vec<(&str, Wall, Wall)> =
        spans.iter().map(|s| (&*s.name, s.start, s.end)).collect();
    expected.sort_unstable();
    found.sort_unstable();
    if expected != found {
        return Some(format!("expected {expected:?}, found {found:?}"));
    }
    None
}
