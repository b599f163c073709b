//! The loop: one thread that owns all state, and the threads around it.
//!
//! ```text
//! intake ──events──▶ ┌──────┐ ──polls────▶ pollers ──answers──▶ ┐
//! signals ─stop────▶ │ loop │ ──batches──▶ exporter ─outcomes─▶ ├─▶ the loop again
//!                    │ core │ ──spans────▶ console, demo
//!                    └──────┘
//! ```
//!
//! Every channel is bounded, and the core knows how much room there is, so that the loop never waits on a send. It
//! waits in one place, the `select!`, for an answer or for the core's next deadline.

use crate::clock;
use crate::config::{self, Config};
use crate::console::Console;
use crate::core::event::StartEvent;
use crate::core::limits;
use crate::core::outbox::{Batch, BatchPolicy, ExportOutcome};
use crate::core::span::Span;
use crate::core::time::{Mono, Now};
use crate::core::workflow::Naming;
use crate::core::{
    Action, Core, Counters, Input, Monitor, Note, Poll, PollFailureReason, Polled, Settings,
};
use crate::export::{Destination, Exporter};
use crate::http::Trust;
#[cfg(feature = "redis")]
use crate::intake;
use crate::otlp::{self, Envelope};
use crate::poller::{Pollers, Target};
use crate::signals;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, never, select};
use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// `farspan run`: watches until SIGTERM or SIGINT.
///
/// Fails when something cannot be started, and when spans are left that the collector did not take in time. Whether
/// anybody could tell it of workflows, [`source_missing`] says before.
pub fn run(config: &Config) -> ExitCode {
    match start_and_watch(config) {
        Ok(report) if report.undelivered == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(trouble) => {
            log::error!("{trouble}");
            ExitCode::FAILURE
        }
    }
}

fn start_and_watch(config: &Config) -> Result<Report, String> {
    let stopped = signals::stop().map_err(|e| format!("cannot listen to signals: {e}"))?;
    let console = match config.export.console {
        true => Some(bounded(SPANS_QUEUE)),
        false => None,
    };
    let (spans, console) = match console {
        Some((spans, received)) => {
            let console = Console::start(received);
            (
                vec![spans],
                Some(console.map_err(|e| format!("cannot start the console: {e}"))?),
            )
        }
        None => (vec![], None),
    };
    log::info!(
        "farspan {} starts; FARSPAN_STATE=none: what is watched is forgotten at the end",
        crate::VERSION
    );
    let (events, received) = bounded(limits::INTAKE_QUEUE);
    listen(config, events, &stopped)?;
    let report = watch(config, received, stopped, spans)?;
    drop(console);
    Ok(report)
}

/// Why no start event could ever come, if that is so: a mistake in the configuration that no start mends.
pub fn source_missing(config: &Config) -> Option<&'static str> {
    if !cfg!(feature = "redis") {
        return Some(
            "this farspan was built without the feature `redis`, its only source of start events",
        );
    }
    let is_set = config.redis.is_some();
    (!is_set).then_some("nothing would tell farspan of workflows: set FARSPAN_REDIS_URL")
}

#[cfg(feature = "redis")]
fn listen(
    config: &Config,
    events: Sender<StartEvent>,
    stopped: &Receiver<Infallible>,
) -> Result<(), String> {
    let Some(redis) = &config.redis else {
        return Ok(());
    };
    let subscription = intake::redis::Subscription {
        url: redis.url.expose().to_owned(),
        channel: redis.channel.clone(),
        monitor: 0,
        read_parent: config.trace.read_parent,
    };
    intake::redis::listen(subscription, events, stopped.clone())
}

#[cfg(not(feature = "redis"))]
fn listen(_: &Config, _: Sender<StartEvent>, _: &Receiver<Infallible>) -> Result<(), String> {
    Ok(())
}

/// What was watched, and what is left.
#[derive(Clone, Debug)]
pub struct Report {
    /// All that happened.
    pub counters: Counters,
    /// Workflows that were under watch at the end.
    pub unfinished: usize,
    /// Spans that the collector had not acknowledged at the end.
    pub undelivered: usize,
}

/// Finished spans between the loop and whoever shows them.
pub const SPANS_QUEUE: usize = 4096;
/// When polls are always due, answers gather for so long: woken for each, the loop would cost more than its work.
const GATHER: Duration = Duration::from_micros(100);
/// From the stop to the end of the polls under way.
const DRAIN_POLLS: Duration = Duration::from_secs(10);
/// From the end of the polls to the end of the exports.
const DRAIN_EXPORTS: Duration = Duration::from_secs(10);

/// Watches the workflows that `events` tells of, until `stopped` disconnects; shows finished spans to `spans` too.
///
/// # Errors
/// A text that says what could not be started.
pub fn watch(
    config: &Config,
    events: Receiver<StartEvent>,
    stopped: Receiver<Infallible>,
    spans: Vec<Sender<Arc<Span>>>,
) -> Result<Report, String> {
    let api = config
        .api
        .as_ref()
        .ok_or("FARSPAN_API_BASE_URL is not set")?;
    let target = Target::new(
        &api.base_url,
        api.token.as_ref().map(config::Secret::expose),
    )?;
    let (polls, polls_received) = bounded(under_way_max(config));
    let (answers_sent, answers) = bounded(under_way_max(config));
    let pollers = Pollers::start(
        config.poll.pollers,
        &[target],
        &Trust::default(),
        &polls_received,
        &answers_sent,
    )?;
    let (outcomes_sent, outcomes) = bounded(1);
    let (batches, exporter) = match &config.export.otlp {
        Some(otlp) => {
            let (batches, received) = bounded(1);
            let destination = destination(otlp, &config.export.batch);
            let envelope = Envelope::new(&config.resource);
            let exporter = Exporter::start(&destination, envelope, received, outcomes_sent.clone());
            let exporter = exporter.map_err(|e| format!("the OTLP exporter: {e}"))?;
            (Some(batches), Some(exporter))
        }
        None => (None, None),
    };
    let now = clock::now();
    let mut watcher = Loop {
        core: Core::new(settings(config, now.wall.as_unix_ns() as u64), now),
        polls,
        polls_at_hand: polls_received,
        pollers: config.poll.pollers,
        batches,
        spans,
        spans_unshown: 0,
    };
    watcher.turn_until(&stopped, &events, &answers, &outcomes);
    watcher.drain(&answers, &outcomes);
    let report = watcher.finish();
    // What did not end in time is left to the end of the process.
    if report.polls_in_flight > 0 {
        std::mem::forget(pollers);
    }
    if report.report.undelivered > 0 {
        std::mem::forget(exporter);
    }
    Ok(report.report)
}

/// Twice as many polls again as there are pollers are at their hand, so that none of them waits for the loop when polls
/// are always due.
fn under_way_max(config: &Config) -> usize {
    3 * config.poll.pollers
}

fn settings(config: &Config, seed: u64) -> Settings {
    const MONITOR: &str = "default";
    const WORKFLOW: &str = "Workflow";
    let batch = &config.export.batch;
    Settings {
        monitors: vec![Monitor {
            naming: Naming {
                monitor: MONITOR.into(),
                workflow: WORKFLOW.into(),
                limits: config.trace.limits,
            },
            host: 0,
            initial_delay: config.poll.initial_delay,
            interval: config.poll.interval,
            timeout: config.poll.timeout,
        }],
        pollers: under_way_max(config),
        sampler: config.trace.sampler.clone(),
        batch: BatchPolicy {
            schedule_delay: batch.schedule_delay,
            spans_max: batch.max_export_batch_size,
            queue_max: batch.max_queue_size.unwrap_or(usize::MAX),
        },
        seed,
    }
}

fn destination(otlp: &config::Otlp, batch: &config::Batch) -> Destination {
    let header =
        |(name, value): &(String, config::Secret)| (name.clone(), value.expose().to_owned());
    Destination {
        endpoint: otlp.endpoint.clone(),
        headers: otlp.headers.iter().map(header).collect(),
        timeout: otlp.timeout.min(batch.export_timeout),
        gzip: otlp.compression == config::Compression::Gzip,
        trust: trust(otlp),
    }
}

/// Whom the collector's certificate is checked against, and who farspan is to it.
pub fn trust(otlp: &config::Otlp) -> Trust {
    let pem = |pem: &config::Pem| pem.bytes.clone();
    let chain = otlp.client_certificate.as_ref().map(pem);
    Trust {
        authorities: otlp.certificate.as_ref().map(pem),
        identity: chain.zip(otlp.client_key.as_ref().map(pem)),
    }
}

/// The state and the ways out of the loop.
struct Loop {
    core: Core,
    polls: Sender<Poll>,
    /// The other end, to take back what no poller has begun with.
    polls_at_hand: Receiver<Poll>,
    pollers: usize,
    /// `None`: spans go to no collector.
    batches: Option<Sender<Batch>>,
    spans: Vec<Sender<Arc<Span>>>,
    /// Spans that nobody could show in time. They are exported all the same.
    spans_unshown: u64,
}

struct Finished {
    report: Report,
    polls_in_flight: usize,
}

impl Loop {
    fn turn_until(
        &mut self,
        stopped: &Receiver<Infallible>,
        events: &Receiver<StartEvent>,
        answers: &Receiver<Polled>,
        outcomes: &Receiver<(u64, ExportOutcome)>,
    ) {
        let nobody = never();
        let mut source = events;
        loop {
            let events = if self.core.has_room() {
                source
            } else {
                &nobody
            };
            let input = select! {
                recv(answers) -> answer => answer.map(Input::Polled).ok(),
                recv(outcomes) -> outcome => outcome.map(exported).ok(),
                recv(events) -> event => match event {
                    Ok(event) => Some(Input::Started(event)),
                    Err(_) => {
                        source = &nobody;
                        None
                    }
                },
                recv(stopped) -> _ => return,
                default(self.patience()) => None,
            };
            self.handle(input.unwrap_or(Input::Tick));
            if self.polls.len() >= self.pollers {
                // Every poller has enough to do; nothing but a stop ends this early.
                let _ = stopped.recv_timeout(GATHER);
            }
            for answer in answers.try_iter().take(answers.len()) {
                self.handle(Input::Polled(answer));
            }
        }
    }

    /// No new poll, no new event; what is under way may end, then what is finished is sent.
    fn drain(&mut self, answers: &Receiver<Polled>, outcomes: &Receiver<(u64, ExportOutcome)>) {
        self.handle(Input::Drain);
        self.recall(clock::now());
        log::info!(
            "stopping: {} polls under way, {} spans to send",
            self.core.polls_in_flight(),
            self.core.spans_waiting()
        );
        let polls_until = clock::now().mono + DRAIN_POLLS;
        while self.core.polls_in_flight() > 0 && clock::now().mono < polls_until {
            self.take_until(polls_until, answers, outcomes);
        }
        let exports_until = clock::now().mono + DRAIN_EXPORTS;
        while self.core.spans_waiting() > 0 && clock::now().mono < exports_until {
            self.take_until(exports_until, answers, outcomes);
        }
    }

    fn take_until(
        &mut self,
        until: Mono,
        answers: &Receiver<Polled>,
        outcomes: &Receiver<(u64, ExportOutcome)>,
    ) {
        let patience = self.patience().min(until.since(clock::now().mono));
        let input = select! {
            recv(answers) -> answer => answer.map(Input::Polled).ok(),
            recv(outcomes) -> outcome => outcome.map(exported).ok(),
            default(patience) => None,
        };
        self.handle(input.unwrap_or(Input::Tick));
    }

    /// How long the core can wait if nothing happens.
    fn patience(&self) -> Duration {
        const LONG: Duration = Duration::from_secs(3600);
        let deadline = self.core.next_deadline();
        deadline.map_or(LONG, |at| at.since(clock::now().mono))
    }

    fn handle(&mut self, input: Input) {
        let now = clock::now();
        self.core.handle(input, now);
        while let Some(action) = self.core.next_action() {
            match action {
                // The core never has more polls under way than there are places.
                Action::Poll(poll) => drop(self.polls.try_send(poll)),
                Action::Finished(span) => {
                    let bytes = otlp::encode(&span);
                    self.show(span.into());
                    if self.batches.is_some() {
                        self.core.handle(Input::Encoded(bytes), now);
                    }
                }
                Action::Export(batch) => {
                    if let Some(batches) = &self.batches {
                        // One at a time, and there is one place.
                        drop(batches.try_send(batch));
                    }
                }
                Action::Note(note) => {
                    if let Note::HostPaused { .. } = note {
                        self.recall(now);
                    }
                    log_note(note);
                }
            }
        }
    }

    /// Takes back the polls that no poller has begun with; the core knows better by now.
    fn recall(&mut self, now: Now) {
        let polls: Vec<Poll> = self.polls_at_hand.try_iter().collect();
        for poll in polls.into_iter().rev() {
            self.core.handle(Input::Recalled(poll), now);
        }
    }

    fn show(&mut self, span: Arc<Span>) {
        for spans in &self.spans {
            if let Err(TrySendError::Full(_)) = spans.try_send(span.clone()) {
                self.spans_unshown += 1;
                if self.spans_unshown.is_power_of_two() {
                    let unshown = self.spans_unshown;
                    log::warn!("the console is too slow: {unshown} spans not shown so far");
                }
            }
        }
    }

    fn finish(self) -> Finished {
        let counters = self.core.counters().clone();
        let report = Report {
            unfinished: self.core.watched(),
            undelivered: self.core.spans_waiting(),
            counters,
        };
        log_report(&report);
        Finished {
            report,
            polls_in_flight: self.core.polls_in_flight(),
        }
    }
}

fn exported((batch, outcome): (u64, ExportOutcome)) -> Input {
    Input::Exported { batch, outcome }
}

fn log_note(note: Note) {
    match note {
        Note::Watching {
            workflow_id,
            trace_id,
        } => {
            log::debug!("watching workflow {workflow_id:?}, trace {trace_id}");
        }
        Note::Duplicate { workflow_id } => {
            log::debug!("start event of workflow {workflow_id:?} again; ignored");
        }
        Note::Shed { workflow_id } => {
            log::error!("no room for workflow {workflow_id:?}; it is not traced");
        }
        Note::Ended {
            workflow_id,
            trace_id,
            outcome,
            abandoned,
        } => match abandoned {
            None => log::debug!(
                "workflow {workflow_id:?} ended: {}, trace {trace_id}",
                outcome.as_str()
            ),
            Some(why) => log::warn!(
                "workflow {workflow_id:?}: {}, trace {trace_id}",
                why.message()
            ),
        },
        Note::HostTroubled {
            reason: PollFailureReason::Unauthorized,
            detail,
            ..
        } => {
            log::error!(
                "the API refuses farspan: {detail}; is FARSPAN_API_TOKEN right? Still trying"
            );
        }
        Note::HostTroubled { reason, detail, .. } => {
            log::warn!(
                "the API is in trouble ({}): {detail}; still trying",
                reason.as_str()
            );
        }
        Note::HostRecovered { .. } => log::info!("the API answers again"),
        Note::HostPaused { pause, .. } => {
            log::warn!("the API asks to be left alone for {pause:?}");
        }
        Note::Odd { what, .. } => log::warn!("in an answer of the API: {what}"),
        Note::PollsHeld(true) => log::error!(
            "the outbox is full because the collector takes nothing: polls wait, nothing is lost"
        ),
        Note::PollsHeld(false) => log::info!("the outbox has room again: polls go on"),
        Note::ExportTroubled { reason, waiting } => {
            log::warn!("the collector does not take spans now: {reason}; {waiting} wait");
        }
        Note::ExportRecovered => log::info!("the collector takes spans again"),
        Note::ExportPartial {
            rejected: 0,
            message,
        } => log::warn!("the collector warns: {message}"),
        Note::ExportPartial { rejected, message } => {
            log::error!("the collector threw {rejected} spans away: {message}");
        }
        Note::SetAside { spans, message } => {
            log::error!("the collector refused {spans} spans for good: {message}; set aside");
        }
        Note::ExportSplit => {
            log::warn!("a request was too large for the collector; it goes in halves")
        }
    }
}

fn log_report(report: &Report) {
    let counters = &report.counters;
    let failed: u64 = counters.polls_failed.iter().sum();
    log::info!(
        "{} events, {} duplicates; {} workflows ended, {} timed out, {} not found; {} spans finished, {} delivered, {} rejected",
        counters.events_accepted,
        counters.events_duplicate,
        counters.workflows_ended,
        counters.workflows_timed_out,
        counters.workflows_not_found,
        counters.spans_finished,
        counters.spans_delivered,
        counters.spans_rejected,
    );
    log::info!(
        "{} polls, {failed} failed; lateness p50 {:.1?}, p99 {:.1?}, longest {:.1?}; latency p50 {:.1?}, p99 {:.1?}",
        counters.polls,
        counters.lateness.quantile(0.5),
        counters.lateness.quantile(0.99),
        counters.lateness.longest(),
        counters.latency.quantile(0.5),
        counters.latency.quantile(0.99),
    );
    if report.unfinished > 0 {
        log::warn!(
            "{} workflows were still under watch; with FARSPAN_STATE=none they are forgotten",
            report.unfinished
        );
    }
    if report.undelivered > 0 {
        log::error!(
            "{} spans were not delivered in time and are lost",
            report.undelivered
        );
    }
}
