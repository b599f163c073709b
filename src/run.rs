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
use crate::core::ids::RunKey;
use crate::core::limits;
use crate::core::outbox::{Batch, BatchPolicy, ExportOutcome};
use crate::core::span::Span;
use crate::core::time::{Mono, Now};
use crate::core::workflow::Naming;
use crate::core::{
    Action, Change, Core, Counters, Input, Monitor, Note, Poll, PollFailureReason, Polled, Settings,
};
use crate::export::{Destination, Exporter};
use crate::http::Trust;
#[cfg(feature = "redis")]
use crate::intake;
use crate::otlp::{self, Envelope};
use crate::poller::{Pollers, Target};
use crate::signals;
use crate::store::file::FileStore;
use crate::store::{Committed, Store, View};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, never, select};
use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// `farspan run`: watches until SIGTERM or SIGINT.
///
/// Fails when something cannot be started, and when something is left that neither the collector nor a store took.
pub fn run(config: &Config) -> ExitCode {
    match start_and_watch(config) {
        Ok(report) if report.lost == 0 => ExitCode::SUCCESS,
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
        "farspan {} starts; {}",
        crate::VERSION,
        match &config.state {
            config::State::File(directory) => format!("its state is in {}", directory.display()),
            config::State::Redis { lease } => format!(
                "its state is in Redis, where it is {} with a lease of {lease:?}",
                config.instance
            ),
            config::State::None =>
                "FARSPAN_STATE=none: what is watched is forgotten at the end".to_owned(),
        }
    );
    let (events, received) = bounded(limits::INTAKE_QUEUE);
    let source = listen(config, events, &stopped)?;
    let report = watch_source(config, received, source, stopped, spans)?;
    drop(console);
    Ok(report)
}

/// What a source of events that keeps them is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Settled {
    Release(Box<str>),
    Leave(Box<str>),
}

/// The way back to the sources of events.
#[derive(Default)]
struct Source {
    #[cfg(feature = "redis")]
    stream: Option<(Sender<intake::stream::Settled>, intake::stream::Listening)>,
}

impl Source {
    /// Whether it was taken; a source that keeps nothing takes everything.
    fn try_settle(&self, settled: &Settled) -> bool {
        #[cfg(feature = "redis")]
        if let Some((stream, _)) = &self.stream {
            let settled = match settled.clone() {
                Settled::Release(id) => intake::stream::Settled::Release(id),
                Settled::Leave(id) => intake::stream::Settled::Leave(id),
            };
            return !matches!(stream.try_send(settled), Err(TrySendError::Full(_)));
        }
        let _ = settled;
        true
    }

    /// Waits until what was settled is acknowledged.
    fn finish(self) {
        #[cfg(feature = "redis")]
        if let Some((stream, listening)) = self.stream {
            const PATIENCE: Duration = Duration::from_secs(3);
            drop(stream);
            listening.finish(PATIENCE);
        }
    }
}

#[cfg(feature = "redis")]
fn listen(
    config: &Config,
    events: Sender<StartEvent>,
    stopped: &Receiver<Infallible>,
) -> Result<Source, String> {
    let redis = config.redis.as_ref().ok_or(NO_SOURCE)?;
    let stream = match &redis.stream {
        None => None,
        Some(key) => {
            let stream = intake::stream::Stream {
                url: redis.url.expose().to_owned(),
                key: key.clone(),
                consumer: config.instance.clone(),
                monitor: 0,
                read_parent: config.trace.read_parent,
                lease: match config.state {
                    config::State::Redis { lease } => Some(lease),
                    _ => None,
                },
                length_max: redis.stream_length_max,
            };
            let (settle, settled) = bounded(limits::INTAKE_QUEUE);
            let listening =
                intake::stream::listen(stream, events.clone(), settled, stopped.clone())?;
            Some((settle, listening))
        }
    };
    let subscription = intake::redis::Subscription {
        url: redis.url.expose().to_owned(),
        channel: redis.channel.clone(),
        monitor: 0,
        read_parent: config.trace.read_parent,
    };
    intake::redis::listen(subscription, events, stopped.clone())?;
    Ok(Source { stream })
}

#[cfg(not(feature = "redis"))]
fn listen(_: &Config, _: Sender<StartEvent>, _: &Receiver<Infallible>) -> Result<Source, String> {
    Err(
        "this farspan was built without the feature `redis`, its only source of start events"
            .into(),
    )
}

#[cfg(feature = "redis")]
const NO_SOURCE: &str = "nothing would tell farspan of workflows: set FARSPAN_REDIS_URL";

/// What was watched, and what is left.
#[derive(Clone, Debug)]
pub struct Report {
    /// All that happened.
    pub counters: Counters,
    /// Workflows that were under watch at the end.
    pub unfinished: usize,
    /// Spans that the collector had not acknowledged at the end.
    pub undelivered: usize,
    /// Those of them, and of the workflows that have ended, that no store has either.
    pub lost: usize,
}

/// Finished spans between the loop and whoever shows them.
pub const SPANS_QUEUE: usize = 4096;
/// From the stop to the end of the polls under way.
const DRAIN_POLLS: Duration = Duration::from_secs(10);
/// From the end of the polls to the end of the exports.
const DRAIN_EXPORTS: Duration = Duration::from_secs(10);

/// Watches the workflows that `events` tells of, and those of the store, until `stopped` disconnects; shows finished
/// spans to `spans` too.
///
/// # Errors
/// A text that says what could not be started.
pub fn watch(
    config: &Config,
    events: Receiver<StartEvent>,
    stopped: Receiver<Infallible>,
    spans: Vec<Sender<Arc<Span>>>,
) -> Result<Report, String> {
    watch_source(config, events, Source::default(), stopped, spans)
}

fn watch_source(
    config: &Config,
    events: Receiver<StartEvent>,
    source: Source,
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
    let (polls, polls_received) = bounded(config.poll.pollers);
    let (answers_sent, answers) = bounded(config.poll.pollers);
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
    let store = open_store(config)?;
    let now = clock::now();
    let mut watcher = Loop {
        core: Core::new(settings(config, now.wall.as_unix_ns() as u64), now),
        polls,
        batches,
        spans,
        spans_unshown: 0,
        store,
        unstored: Vec::new(),
        store_again_at: None,
        exports: Vec::new(),
        settled: VecDeque::new(),
        stored_settled: VecDeque::new(),
        source,
    };
    watcher.restore()?;
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

fn open_store(config: &Config) -> Result<Option<Box<dyn Store>>, String> {
    match &config.state {
        config::State::None => Ok(None),
        config::State::File(directory) => {
            let store = FileStore::open(directory).map_err(|e| e.to_string())?;
            Ok(Some(Box::new(store)))
        }
        #[cfg(feature = "redis")]
        config::State::Redis { lease } => {
            let redis = config.redis.as_ref().ok_or(NO_SOURCE)?;
            let attribute = |name: &str| {
                let mut resource = config.resource.iter();
                let found = resource.find(|(key, _)| key == name);
                found.map(|(_, value)| value.clone())
            };
            let fleet = crate::store::redis::Fleet {
                url: redis.url.expose().to_owned(),
                namespace: attribute("service.namespace"),
                service: attribute("service.name").unwrap_or_default(),
                instance: config.instance.clone(),
                lease: *lease,
            };
            let store = crate::store::redis::RedisStore::new(fleet).map_err(|e| e.to_string())?;
            Ok(Some(Box::new(store)))
        }
        #[cfg(not(feature = "redis"))]
        config::State::Redis { .. } => Err("built without the feature `redis`".into()),
    }
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
        pollers: config.poll.pollers,
        sampler: config.trace.sampler.clone(),
        batch: BatchPolicy {
            schedule_delay: batch.schedule_delay,
            spans_max: batch.max_export_batch_size,
            queue_max: batch.max_queue_size.unwrap_or(usize::MAX),
        },
        stores: config.state != config::State::None,
        exports: config.export.otlp.is_some(),
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
    /// `None`: spans go to no collector.
    batches: Option<Sender<Batch>>,
    spans: Vec<Sender<Arc<Span>>>,
    /// Spans that nobody could show in time. They are exported all the same.
    spans_unshown: u64,
    store: Option<Box<dyn Store>>,
    /// Changes that the store has not taken yet, in their order.
    unstored: Vec<Change>,
    /// When the store is tried again, after it has failed.
    store_again_at: Option<Mono>,
    /// Batches that wait for the changes before them to be stored.
    exports: Vec<Batch>,
    /// The same for what the source is to be told.
    settled: VecDeque<Settled>,
    /// What the source had no room for yet.
    stored_settled: VecDeque<Settled>,
    source: Source,
}

/// Inputs that share a turn, and so a commit.
const TURN_INPUTS_MAX: usize = 256;
const STORE_AGAIN_AFTER: Duration = Duration::from_secs(1);
const SETTLE_AGAIN_AFTER: Duration = Duration::from_millis(50);

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
            // What is there already shares the commit.
            for _ in 0..TURN_INPUTS_MAX {
                let input = match (answers.try_recv(), outcomes.try_recv()) {
                    (Ok(answer), Err(_)) => Input::Polled(answer),
                    (Err(_), Ok(outcome)) => exported(outcome),
                    (Ok(answer), Ok(outcome)) => {
                        self.handle(exported(outcome));
                        Input::Polled(answer)
                    }
                    (Err(_), Err(_)) if !self.core.has_room() => break,
                    (Err(_), Err(_)) => match source.try_recv() {
                        Ok(event) => Input::Started(event),
                        Err(_) => break,
                    },
                };
                self.handle(input);
            }
            self.end_turn();
        }
    }

    /// No new poll, no new event; what is under way may end, then what is finished is sent.
    fn drain(&mut self, answers: &Receiver<Polled>, outcomes: &Receiver<(u64, ExportOutcome)>) {
        log::info!(
            "stopping: {} polls under way, {} spans to send",
            self.core.polls_in_flight(),
            self.core.spans_waiting()
        );
        self.handle(Input::Drain);
        self.end_turn();
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
        self.end_turn();
    }

    /// How long the core can wait if nothing happens.
    fn patience(&self) -> Duration {
        const LONG: Duration = Duration::from_secs(3600);
        let store = match self.store_again_at {
            Some(at) => Some(at),
            None => self.store.as_ref().and_then(|s| s.next_deadline()),
        };
        let deadlines = [self.core.next_deadline(), store];
        let deadline = deadlines.into_iter().flatten().min();
        let patience = deadline.map_or(LONG, |at| at.since(clock::now().mono));
        match self.stored_settled.is_empty() {
            true => patience,
            false => patience.min(SETTLE_AGAIN_AFTER),
        }
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
                Action::Export(batch) => self.exports.push(batch),
                Action::Release(source) => self.settled.push_back(Settled::Release(source)),
                Action::Leave(source) => self.settled.push_back(Settled::Leave(source)),
                Action::Note(note) => log_note(note),
            }
        }
    }

    fn restore(&mut self) -> Result<(), String> {
        if let Some(store) = &mut self.store {
            let stored = store.load().map_err(|e| e.to_string())?;
            self.core.restore(stored, clock::now());
            self.handle(Input::Tick);
            self.end_turn();
        }
        Ok(())
    }

    /// Persist, then export and acknowledge.
    fn end_turn(&mut self) {
        loop {
            self.unstored.append(&mut self.core.take_changes());
            if !self.persist() {
                return;
            }
            // What the store had to say may have changed something.
            if !self.core.has_changes() {
                break;
            }
        }
        self.stored_settled.append(&mut self.settled);
        while let Some(settled) = self.stored_settled.front()
            && self.source.try_settle(settled)
        {
            self.stored_settled.pop_front();
        }
        let now = clock::now();
        if self.store.as_ref().is_some_and(|s| !s.may_export(now)) {
            return;
        }
        if let Some(batches) = &self.batches {
            for batch in self.exports.drain(..) {
                // One at a time, and there is one place.
                drop(batches.try_send(batch));
            }
        }
    }

    /// Whether the store has all changes.
    fn persist(&mut self) -> bool {
        let Some(store) = &mut self.store else {
            self.unstored.clear();
            return true;
        };
        let now = clock::now();
        let is_due = store.next_deadline().is_some_and(|at| at <= now.mono);
        if self.unstored.is_empty() && !is_due && self.store_again_at.is_none() {
            return true;
        }
        if self.store_again_at.is_some_and(|at| now.mono < at) {
            return false;
        }
        let troubled = self.store_again_at.is_some();
        let view = View {
            everything: &|| self.core.everything(now),
            room: self.core.room(),
        };
        match store.commit(&self.unstored, &view) {
            Ok(committed) => {
                self.unstored.clear();
                self.store_again_at = None;
                self.take_committed(committed, now);
                if troubled {
                    log::info!("the state can be written again: polls go on");
                    self.handle(Input::StoreTroubled(false));
                }
                true
            }
            Err(error) => {
                self.store_again_at = Some(clock::now().mono + STORE_AGAIN_AFTER);
                if !troubled {
                    log::error!(
                        "the state cannot be written: {error}; polls and exports wait, nothing is lost; trying again"
                    );
                    self.handle(Input::StoreTroubled(true));
                }
                false
            }
        }
    }

    fn take_committed(&mut self, committed: Committed, now: Now) {
        if committed.is_plain() {
            return;
        }
        if !committed.refused.is_empty() {
            let lost: HashSet<RunKey> = committed.refused.iter().map(|(run, _)| *run).collect();
            for batch in &mut self.exports {
                batch.spans.retain(|span| !lost.contains(&span.run));
            }
            self.exports.retain(|batch| !batch.spans.is_empty());
            self.handle(Input::Refused(committed.refused));
        }
        self.core.restore(committed.claimed, now);
        self.handle(Input::Tick);
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

    fn finish(mut self) -> Finished {
        if let Some(store) = &mut self.store {
            store.leave();
        }
        let counters = self.core.counters().clone();
        let undelivered = self.core.spans_waiting();
        let unstored = self.unstored.len();
        let report = Report {
            unfinished: self.core.watched(),
            undelivered,
            lost: match self.store {
                Some(_) => unstored,
                None => undelivered,
            },
            counters,
        };
        log_report(&report, self.store.is_some());
        while let Some(settled) = self.stored_settled.pop_front()
            && self.source.try_settle(&settled)
        {}
        self.source.finish();
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
        Note::Restored { workflows, spans } => {
            log::info!("going on with {workflows} workflows and {spans} spans that were stored");
        }
        Note::NotRestored { why } => {
            log::error!("a stored workflow cannot be watched: {why}; its record stays");
        }
        Note::Watching {
            workflow_id,
            trace_id,
        } => {
            log::debug!("watching workflow {workflow_id:?}, trace {trace_id}");
        }
        Note::Duplicate { workflow_id } => {
            log::debug!("start event of workflow {workflow_id:?} again; ignored");
        }
        Note::Refused { elsewhere, done } => {
            log::debug!("{elsewhere} workflows are with other instances, {done} are done");
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

fn log_report(report: &Report, stored: bool) {
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
    match (stored, report.unfinished, report.undelivered) {
        (_, 0, 0) => {}
        (true, unfinished, undelivered) => log::info!(
            "kept for the next start: {unfinished} workflows under watch, {undelivered} spans to deliver"
        ),
        (false, unfinished, undelivered) => log::warn!(
            "forgotten, because FARSPAN_STATE=none: {unfinished} workflows under watch, {undelivered} spans not delivered in time"
        ),
    }
    if stored && report.lost > 0 {
        log::error!(
            "the state could not be written: {} changes are lost",
            report.lost
        );
    }
}
