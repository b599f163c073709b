//! `farspan trace`: these workflows are watched to their end by the loop itself, and each trace is shown when it is whole.
//!
//! Nothing is kept and nothing else is heard of. What changes is a line each, written by a thread of its own, for the
//! loop never waits for a reader.

use super::happening::{Happening, Totals, status_of};
use crate::cli::TraceOptions;
use crate::config::{Config, StateConfig};
use crate::core::answers::about_another_workflow;
use crate::core::event::StartEvent;
use crate::core::ids::TraceId;
use crate::core::snapshot::{Outcome, Snapshot, State};
use crate::core::span::Span;
use crate::core::time::{Mono, Wall};
use crate::core::{Answer, Note, Polled, RunNote};
use crate::os::environment::Environment;
use crate::os::signals;
use crate::os::threads;
use crate::run::{self, Report, Sight};
use crate::syntax::text::escape;
use crate::syntax::values::redacted_url;
use crate::terminal::console::{self, say};
use crate::terminal::line;
use crossbeam_channel::{Sender, bounded, select};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// It could not be told how the workflows ended.
const UNKNOWN: u8 = 2;
/// However short the patience is.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Lines that a slow reader may be behind.
const LINES_QUEUE: usize = 4096;

/// Watches the workflows until each has ended, the API has been silent for too long, or a signal comes.
///
/// # Errors
/// What is wrong with the command line or the configuration.
pub fn run(
    options: &TraceOptions,
    mut config: Config,
    env: &Environment,
) -> Result<ExitCode, String> {
    let monitor = config.monitor(options.monitor.as_deref())?;
    let mapping = config.monitors[monitor].mapping.clone();
    for id in &options.ids {
        let name = &config.monitors[monitor].name;
        let wrong = |why| format!("monitor {name}: the id '{}' {why}", escape(id));
        mapping.ids().variables(id).map_err(wrong)?;
    }
    config.state = StateConfig::None;
    config.redis = None;
    config.admin = None;
    for monitor in &mut config.monitors {
        // They have begun already, and a person waits for the answer.
        monitor.poll.initial_delay = Duration::ZERO;
        monitor.poll.spreads_first_polls = false;
        // Patience that is shorter than the interval would end a poll later.
        let soon = (options.patience / 2).max(INTERVAL_MIN);
        monitor.poll.interval = monitor.poll.interval.min(soon);
        monitor.discovery = None;
        // Looking at a workflow must not start the steps that follow its end.
        monitor.finished = None;
    }
    config.workflows_max = config.workflows_max.max(options.ids.len());
    let watched = watch(options, &config, monitor, env);
    Ok(watched.unwrap_or_else(|trouble| {
        log::error!("{trouble}");
        ExitCode::FAILURE
    }))
}

fn watch(
    options: &TraceOptions,
    config: &Config,
    monitor: usize,
    env: &Environment,
) -> Result<ExitCode, String> {
    let monitor = u16::try_from(monitor).map_err(|_| "too many monitors")?;
    let interrupted = signals::stop().map_err(|e| format!("cannot listen to signals: {e}"))?;
    let (events, received) = bounded(options.ids.len());
    for id in &options.ids {
        // There is a place for each.
        drop(events.try_send(StartEvent::new(monitor, id)));
    }
    let (lines, to_print) = bounded::<String>(LINES_QUEUE);
    let printing = threads::spawn("progress", threads::STACK_BYTES, move || {
        to_print.iter().for_each(|line| say(&line));
    });
    let printing = printing.map_err(|e| format!("cannot start the thread that prints: {e}"))?;
    let (done, all_done) = bounded::<Infallible>(0);
    let (stop, stopped) = bounded::<Infallible>(0);
    threads::spawn("ends", threads::STACK_BYTES, move || {
        select! {
            recv(all_done) -> _ => {}
            recv(interrupted) -> _ => {}
        }
        drop(stop);
    })
    .map_err(|e| format!("cannot start the thread that waits for the end: {e}"))?;
    let follower = Rc::new(RefCell::new(Follower {
        lines,
        lost: 0,
        done: Some(done),
        open: options.ids.iter().map(|id| id.as_str().into()).collect(),
        polled: HashMap::new(),
        known: HashMap::new(),
        spans: HashMap::new(),
        silent_since: None,
        patience: options.patience,
        gave_up: false,
        last_failure: String::new(),
        style: (!options.json).then(|| console::style(env, options.colours)),
        succeeded: 0,
        failed: 0,
        unknown: 0,
    }));
    let sees = follower.clone();
    let report = run::watch_seen(
        config,
        received,
        stopped,
        Box::new(move |sight| sees.borrow_mut().see(sight)),
    )?;
    drop(events);
    // The loop has ended, and its onlooker with it.
    let follower = Rc::into_inner(follower).ok_or("the loop still holds the trace")?;
    let code = follower.into_inner().finish(&report, config);
    // If it panicked, it has said so on standard error.
    drop(printing.join());
    Ok(code)
}

/// Prints a line for each change that the loop sees.
struct Follower {
    lines: Sender<String>,
    lost: usize,
    /// Dropped when there is nothing more to wait for.
    done: Option<Sender<Infallible>>,
    open: HashSet<Arc<str>>,
    /// The workflow that each poll under way is about, by slot and generation.
    polled: HashMap<(u32, u32), Arc<str>>,
    known: HashMap<Arc<str>, ShownStatuses>,
    spans: HashMap<TraceId, Vec<Span>>,
    /// Since when every poll has failed.
    silent_since: Option<Mono>,
    patience: Duration,
    gave_up: bool,
    /// Why the last poll brought nothing.
    last_failure: String,
    /// `None`: JSON is printed.
    style: Option<line::Style>,
    succeeded: usize,
    failed: usize,
    unknown: usize,
}

/// The statuses of one workflow that were printed last.
#[derive(Default)]
struct ShownStatuses {
    workflow: Option<String>,
    stages: HashMap<(Box<str>, u32), String>,
    is_missing: bool,
}

impl Follower {
    fn see(&mut self, sight: Sight<'_>) {
        match sight {
            Sight::Asks(poll) => {
                let asked = (poll.slot, poll.generation);
                self.polled.insert(asked, poll.workflow_id.clone());
            }
            Sight::Answered(polled) => self.answered(polled),
            Sight::Noted(Note::Run {
                workflow_id, what, ..
            }) => self.noted(workflow_id, what),
            Sight::Noted(_) => {}
            Sight::Finished(span) => self.finished(span),
        }
    }

    fn noted(&mut self, workflow_id: &Arc<str>, what: &RunNote) {
        match what {
            RunNote::Watching(trace_id) => self.tell(&Happening::Watching {
                id: workflow_id,
                trace_id: *trace_id,
            }),
            RunNote::Ended {
                outcome, abandoned, ..
            } => {
                match (abandoned, outcome) {
                    (Some(why), _) => {
                        self.unknown += 1;
                        self.tell(&Happening::GivenUp {
                            id: workflow_id,
                            why: why.message(),
                        });
                    }
                    (None, Outcome::Success | Outcome::Skip) => self.succeeded += 1,
                    (None, _) => self.failed += 1,
                }
                self.open.remove(workflow_id);
                self.known.remove(workflow_id);
                if self.open.is_empty() {
                    self.done = None;
                }
            }
            _ => {}
        }
    }

    fn answered(&mut self, polled: &Polled) {
        let Some(id) = self.polled.remove(&(polled.slot, polled.generation)) else {
            return;
        };
        let received = polled.received;
        match &polled.answer {
            Answer::Failed(failure) | Answer::Partial { failure, .. } => {
                self.is_silent(polled, escape(&failure.detail));
            }
            Answer::Snapshot { snapshot, .. }
                if about_another_workflow(snapshot, &id).is_some() =>
            {
                self.is_silent(polled, "the answer is about another workflow".to_owned());
            }
            Answer::NotFound => {
                self.silent_since = None;
                let known = self.known.entry(id.clone()).or_default();
                if !std::mem::replace(&mut known.is_missing, true) {
                    self.tell(&Happening::NotFound {
                        id: &id,
                        at: received.wall,
                    });
                }
            }
            Answer::Snapshot { snapshot, .. } => {
                self.silent_since = None;
                self.changes(&id, snapshot, received.wall);
            }
        }
    }

    /// The poll brought nothing that the core takes.
    fn is_silent(&mut self, polled: &Polled, why: String) {
        self.last_failure = why;
        let since = *self.silent_since.get_or_insert(polled.sent.mono);
        if polled.received.mono.since(since) >= self.patience && !self.gave_up {
            self.gave_up = true;
            self.done = None;
        }
    }

    fn changes(&mut self, id: &Arc<str>, snapshot: &Snapshot, at: Wall) {
        // The answer after the end only settles something.
        if !self.open.contains(id) {
            return;
        }
        let mut known = self.known.remove(id).unwrap_or_default();
        let progress = snapshot.progress.view();
        let status = status_of(progress);
        if known.workflow.as_ref() != Some(&status) {
            known.workflow = Some(status);
            self.tell(&Happening::Status {
                id,
                at,
                stage: None,
                progress,
            });
        }
        for stage in &snapshot.stages {
            let status = status_of(stage.progress);
            let key = (stage.path.into(), stage.attempt);
            let before = known.stages.get(&key);
            // That it is there and does nothing is no news.
            let is_news = before.map_or(stage.progress.state != State::Pending, |b| *b != status);
            if is_news {
                self.tell(&Happening::Status {
                    id,
                    at,
                    stage: Some(&stage),
                    progress: stage.progress,
                });
            }
            if before != Some(&status) {
                known.stages.insert(key, status);
            }
        }
        self.known.insert(id.clone(), known);
    }

    fn finished(&mut self, span: &Span) {
        let spans = self.spans.entry(span.trace_id).or_default();
        spans.push(span.clone());
        if span.parent.is_some() {
            return;
        }
        let spans = self.spans.remove(&span.trace_id).unwrap_or_default();
        self.tell(&Happening::Trace {
            trace_id: span.trace_id,
            spans: &spans,
        });
    }

    fn tell(&mut self, what: &Happening<'_>) {
        let line = match self.style {
            Some(style) => what.text(style),
            None => what.json().to_string(),
        };
        self.lost += usize::from(self.lines.try_send(line).is_err());
    }

    fn finish(mut self, report: &Report, config: &Config) -> ExitCode {
        let open = self.open.len();
        self.unknown += open;
        let why = match (open, self.gave_up) {
            (0, _) => String::new(),
            (_, true) => format!(
                "; the API gave no usable answer for {:?}, given up ({})",
                self.patience, self.last_failure
            ),
            (_, false) => "; interrupted before the end".to_owned(),
        };
        let (delivered, undelivered) = (report.counters.spans_delivered, report.undelivered);
        let rejected = report.counters.spans_rejected;
        let any = delivered + rejected + undelivered as u64 > 0;
        let sent = match &config.export.otlp {
            Some(otlp) if any => format!(
                "; {delivered} spans delivered to {}",
                redacted_url(&otlp.endpoint)
            ),
            _ => String::new(),
        };
        let (succeeded, failed, unknown) = (self.succeeded, self.failed, self.unknown);
        self.tell(&Happening::End(Totals {
            text: format!(
                "{succeeded} succeeded, {failed} failed, {unknown} could not be told{why}{sent}"
            ),
            succeeded,
            failed,
            unknown,
            why: why.strip_prefix("; ").map(str::to_owned),
            spans_delivered: delivered,
            spans_refused: rejected,
            spans_undelivered: undelivered as u64,
        }));
        if self.lost > 0 {
            log::warn!(
                "{} lines were not shown: the reader was too slow",
                self.lost
            );
        }
        if let Some(trouble) = not_taken(undelivered, rejected) {
            log::error!("{trouble}");
        }
        match (failed, unknown) {
            (1.., _) => ExitCode::FAILURE,
            (0, 1..) => ExitCode::from(UNKNOWN),
            (0, 0) if undelivered > 0 || rejected > 0 => ExitCode::from(UNKNOWN),
            (0, 0) => ExitCode::SUCCESS,
        }
    }
}

/// What the collector did with spans that it does not have.
fn not_taken(undelivered: usize, rejected: u64) -> Option<String> {
    match (undelivered, rejected) {
        (0, 0) => None,
        (0, _) => Some(format!("the collector refused {rejected} spans")),
        (_, 0) => Some(format!(
            "the collector did not take {undelivered} spans in time"
        )),
        _ => Some(format!(
            "the collector refused {rejected} spans, and did not take {undelivered} more in time"
        )),
    }
}
