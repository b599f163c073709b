//! Starts the threads around the loop, runs the loop, and ends the threads.

use super::admissions::Admissions;
use super::build::{self, Parts, Sources};
use super::displays::Displays;
use super::endpoint::{Answering, Asking, Endpoint};
use super::health::{self, HealthCheck};
use super::inbox::Inbox;
use super::living::{self, Living};
use super::notifying::Receivers;
use super::numbers::{self, Numbered, NumbersAsked, NumbersAsker};
use super::polling::Polling;
use super::sources::{self, Feed};
use super::viewing::{self, Viewing};
use super::{Loop, LoopEnd, Onlooker, Report, stopping};
use crate::admin::question::ViewQuestion;
use crate::api::poller::{PollerReport, Pollers};
use crate::config::{self, Config, ConfigOrigin};
use crate::core::event::StartEvent;
use crate::core::outbox::{Batch, Exported, Signal};
use crate::core::span::Span;
use crate::core::time::Now;
use crate::core::turn::Turn;
use crate::core::{Core, Settings, Stored, limits};
use crate::deliver::export::{Destination, Exporter};
use crate::deliver::export_log::ExportLog;
use crate::deliver::metrics::MetricsExporter;
use crate::deliver::notify::Notifier;
use crate::deliver::otlp::Resources;
use crate::deliver::refused::RefusedPlace;
use crate::http::client::Network;
use crate::intake::message::Dialects;
use crate::intake::posted::Posted;
use crate::os::clock;
use crate::os::signals;
use crate::os::systemd::Supervisor;
use crate::store::Store;
use crate::syntax::values::redacted_url;
use crate::terminal::console::Console;
use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// `farspan run`: watches until SIGTERM or SIGINT, and reads the configuration again on SIGHUP.
///
/// `reads_stdin`: start events come on standard input too. The command ends when standard input has ended, all that was
/// heard is traced, and no other source is configured.
///
/// The exit code is a failure if a part cannot be started, or if something is left that neither the collector nor a
/// store has. Call [`source_missing`] first: it reports a configuration without any source of start events.
pub fn run(config: &Config, source: ConfigOrigin, reads_stdin: bool) -> ExitCode {
    match start_and_watch(config, source, reads_stdin) {
        Ok(report) if report.lost == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(trouble) => {
            log::error!("{trouble}");
            ExitCode::FAILURE
        }
    }
}

/// Why no start event can ever arrive; `None` if one can.
pub fn source_missing(config: &Config, reads_stdin: bool) -> Option<&'static str> {
    let by_redis = cfg!(feature = "redis") && config.redis.is_some();
    let discovers = config.monitors.iter().any(|m| m.discovery.is_some());
    let is_there = by_redis || discovers || config.admin.is_some() || reads_stdin;
    (!is_there).then_some(NO_SOURCE)
}

const NO_SOURCE: &str = if cfg!(all(feature = "redis", feature = "admin")) {
    "no source of start events is configured: set FARSPAN_REDIS_URL or FARSPAN_ADMIN_LISTEN, use --events -, or give a \
     monitor a `discovery`"
} else if cfg!(feature = "redis") {
    "no source of start events is configured: set FARSPAN_REDIS_URL, use --events -, or give a monitor a \
     `discovery`"
} else if cfg!(feature = "admin") {
    "no source of start events is configured: set FARSPAN_ADMIN_LISTEN, use --events -, or give a monitor a \
     `discovery`"
} else {
    "no source of start events is configured: use --events -, or give a monitor a `discovery`"
};

/// Finished spans that may wait for the console or the demo.
pub const SPANS_QUEUE: usize = 4096;

/// Watches the workflows that `events` starts, those that come by the endpoint, and those in the store, until `stopped`
/// disconnects. Sends finished spans to each of `spans` too.
///
/// # Errors
/// A text that says what cannot be started.
pub fn watch(
    config: &Config,
    endpoint: Endpoint,
    events: Receiver<StartEvent>,
    stopped: Receiver<Infallible>,
    spans: Vec<Sender<Arc<Span>>>,
) -> Result<Report, String> {
    let around = Surroundings {
        network: Network::start(config.proxies.clone())?,
        spans,
        living: unsupervised(config),
        onlooker: None,
    };
    let (asked, reading) = (numbers::channel(), build::reading(config));
    let (intake, answering, _) = Intake::with(endpoint, config, reading, events, asked)?;
    let running = Running::start(config, intake, stopped, around)?;
    let (report, unended) = running.run();
    unended.leave();
    answering.end();
    Ok(report)
}

/// As [`watch`], with an `onlooker` that sees polls, answers, spans and notes.
///
/// # Errors
/// A text that says what cannot be started.
pub fn watch_seen(
    config: &Config,
    events: Receiver<StartEvent>,
    stopped: Receiver<Infallible>,
    onlooker: Onlooker,
) -> Result<Report, String> {
    let around = Surroundings {
        network: Network::start(config.proxies.clone())?,
        spans: Vec::new(),
        living: unsupervised(config),
        onlooker: Some(onlooker),
    };
    let running = Running::start(config, Intake::only(events), stopped, around)?;
    let (report, unended) = running.run();
    unended.leave();
    Ok(report)
}

fn start_and_watch(
    config: &Config,
    source: ConfigOrigin,
    reads_stdin: bool,
) -> Result<Report, String> {
    let signals = signals::stop_and_reload();
    let (stopped, hangups) = signals.map_err(|e| format!("cannot listen to signals: {e}"))?;
    let supervisor = Supervisor::of(&source.env).unwrap_or_else(|trouble| {
        log::warn!("no message goes to the service manager: {trouble}");
        Supervisor::default()
    });
    let reloads = living::read_anew(source, hangups)
        .map_err(|e| format!("cannot start the thread that reloads the configuration: {e}"))?;
    let (console, spans) = if config.export.console {
        let (spans, received) = bounded(SPANS_QUEUE);
        let console = Console::start(received);
        let console = console.map_err(|e| format!("cannot start the console: {e}"))?;
        (Some(console), vec![spans])
    } else {
        (None, Vec::new())
    };
    log::info!(
        "farspan {} starts; {}",
        crate::VERSION,
        where_state_is(config)
    );
    log::info!("{}", where_spans_go(config));
    let network = Network::start(config.proxies.clone())?;
    let (intake, answering, _) = start_intake(config, &network, &stopped, reads_stdin)?;
    let around = Surroundings {
        network,
        spans,
        living: Living::new(config, supervisor, reloads),
        onlooker: None,
    };
    let running = Running::start(config, intake, stopped, around)?;
    let (report, unended) = running.run();
    unended.leave();
    answering.end();
    if let Some(console) = console {
        stopping::end_console(console);
    }
    Ok(report)
}

fn where_state_is(config: &Config) -> String {
    match &config.state {
        config::StateConfig::File(directory) => format!("its state is in {}", directory.display()),
        config::StateConfig::Redis { lease } => format!(
            "its state is in Redis, where it is instance {} with a lease of {lease:?}",
            config.instance
        ),
        config::StateConfig::None => {
            "FARSPAN_STATE=none: what is watched is forgotten at the end".to_owned()
        }
    }
}

fn where_spans_go(config: &Config) -> String {
    let export = &config.export;
    let collector = (export.otlp.as_ref()).map(|it| redacted_url(&it.endpoint));
    match (collector, export.console) {
        (Some(url), false) => format!("spans go to {url}"),
        (Some(url), true) => format!("spans go to {url} and to standard output"),
        (None, true) => "spans go to standard output".to_owned(),
        (None, false) => {
            "spans go nowhere, because OTEL_TRACES_EXPORTER is none or OTEL_SDK_DISABLED is true"
                .to_owned()
        }
    }
}

/// Requests between their senders and the loop.
const POSTED_QUEUE: usize = 16;

/// The ways to the loop that a program beside it has.
pub(super) struct Ways {
    pub(super) posted: Sender<Posted>,
    pub(super) questions: Sender<ViewQuestion>,
}

/// Where the loop hears of workflows.
pub(super) struct Intake {
    events: Receiver<StartEvent>,
    posted: Receiver<Posted>,
    health_checks: Receiver<HealthCheck>,
    numbers: Receiver<NumbersAsked>,
    /// `farspan run` has one if a collector gets the metrics. The numbers of another command would be taken for its own.
    metrics: Option<MetricsExporter>,
    questions: Receiver<ViewQuestion>,
    /// Whether there may be viewers.
    pub(super) is_viewed: bool,
    /// What they see of the requests to the collector.
    export_log: ExportLog,
    /// Disconnects when no more start events can come.
    ended: Receiver<Infallible>,
    /// See [`Inbox`].
    pub(super) stop_within: Receiver<Duration>,
    feed: Feed,
}

impl Intake {
    fn only(events: Receiver<StartEvent>) -> Self {
        Intake {
            events,
            posted: never(),
            health_checks: never(),
            numbers: never(),
            metrics: None,
            questions: never(),
            is_viewed: false,
            export_log: ExportLog::default(),
            ended: never(),
            stop_within: never(),
            feed: Feed::default(),
        }
    }

    /// These, and what comes by the endpoint, which answers from now on.
    fn with(
        endpoint: Endpoint,
        config: &Config,
        reading: Dialects,
        events: Receiver<StartEvent>,
        (asker, numbers): (NumbersAsker, Receiver<NumbersAsked>),
    ) -> Result<(Self, Answering, Ways), String> {
        let is_viewed = endpoint.address().is_some();
        let (asked, health_checks) = health::channel();
        let (viewers, questions) = viewing::channel();
        let (posters, posted) = bounded(POSTED_QUEUE);
        let export_log = ExportLog::default();
        let ways = Ways {
            posted: posters,
            questions: viewers,
        };
        let asking = Asking {
            health_checks: asked,
            posted: ways.posted.clone(),
            numbers: config.metrics.is_served.then_some(asker),
            questions: ways.questions.clone(),
            export_log: export_log.clone(),
        };
        let answering = endpoint.start(config, reading, asking)?;
        let intake = Intake {
            posted,
            health_checks,
            numbers,
            questions,
            is_viewed,
            export_log,
            ..Intake::only(events)
        };
        Ok((intake, answering, ways))
    }
}

/// All configured sources. `reads_stdin`: standard input is one.
pub(super) fn start_intake(
    config: &Config,
    network: &Network,
    stopped: &Receiver<Infallible>,
    reads_stdin: bool,
) -> Result<(Intake, Answering, Ways), String> {
    // Before the other sources: a second farspan on this machine fails here.
    let has_other_source = reads_stdin || sources::has_lasting_source(config);
    let endpoint = Endpoint::bind_if_free(config, has_other_source)?;
    if let Some(address) = endpoint.address() {
        log::info!("the live page and POST /api/workflows are at http://{address}/");
    }
    let (events_sent, events) = bounded(limits::INTAKE_QUEUE);
    let reading = build::reading(config);
    let ended = if reads_stdin {
        sources::read_stdin(config, reading.clone(), events_sent.clone())?
    } else {
        never()
    };
    let feed = Feed::listen(Sources::of(config, network)?, events_sent, stopped, network)?;
    let (asker, numbers) = numbers::channel();
    let asked = (asker.clone(), numbers);
    let (intake, answering, ways) = Intake::with(endpoint, config, reading, events, asked)?;
    let metrics = build::metrics_destination(config)
        .map(|destination| MetricsExporter::start(destination, network, move || asker.ask()))
        .transpose()?;
    let intake = Intake {
        metrics,
        ended,
        feed,
        ..intake
    };
    Ok((intake, answering, ways))
}

/// What shows, supervises and looks on.
pub(super) struct Surroundings {
    pub(super) network: Network,
    pub(super) spans: Vec<Sender<Arc<Span>>>,
    pub(super) living: Living,
    pub(super) onlooker: Option<Onlooker>,
}

/// Without reloads and without a service manager.
pub(super) fn unsupervised(config: &Config) -> Living {
    Living::new(config, Supervisor::default(), never())
}

/// The loop with all its threads, before its first turn.
pub(super) struct Running {
    watcher: Loop,
    metrics: Option<MetricsExporter>,
    threads: PollingThreads,
    exporting: Exporting,
}

impl Running {
    /// Starts everything around the loop, and goes on with what the store held.
    ///
    /// # Errors
    /// A text that says what cannot be started.
    pub(super) fn start(
        config: &Config,
        intake: Intake,
        stopped: Receiver<Infallible>,
        around: Surroundings,
    ) -> Result<Self, String> {
        let now = clock::now();
        let network = around.network;
        let seed = now.wall.as_unix_ns() as u64;
        let parts = Parts::of(config, &network, &intake.export_log, seed)?;
        // Before any thread starts, because a store is the likeliest part to fail.
        let mut store = open_store(config)?;
        let stored = store.as_mut().map(|store| load(&mut **store, &stopped));
        let stored = stored.transpose()?.unwrap_or_default();
        let threads = PollingThreads::start(&parts, &network)?;
        let receivers = Receivers::start(parts.receivers, &parts.refused)?;
        let mut exporting = Exporting::start(
            (parts.destination.as_ref(), parts.log_destination.as_ref()),
            &network,
            &parts.resources,
            &parts.refused,
        )?;
        let mut watcher = Loop {
            core: core(parts.settings, parts.finished_kept, intake.is_viewed, now),
            turn: Turn::new(parts.turn),
            turn_due: None,
            inbox: Inbox {
                events: intake.events,
                reports: threads.reports.clone(),
                outcomes: exporting.outcomes.clone(),
                notified: receivers.notified.clone(),
                listings: intake.feed.listings(),
                states: intake.feed.states(),
                posted: intake.posted,
                health_checks: intake.health_checks,
                numbers: intake.numbers,
                questions: intake.questions,
                reloads: around.living.reloads(),
                store: (store.as_ref()).map_or_else(never, |store| store.woken()),
                ended: intake.ended,
                stopped,
                stop_within: intake.stop_within,
            },
            store,
            polling: Polling {
                queues: threads.pollers.queues().to_vec(),
                targets: parts.targets,
                network,
            },
            batches: exporting.batches.take(),
            log_batches: exporting.log_batches.take(),
            receivers,
            feed: intake.feed,
            admissions: Admissions::default(),
            living: around.living,
            displays: Displays::new(around.spans, around.onlooker),
            viewing: Viewing::default(),
            numbered: Numbered::new(config, now.wall),
            stop_by: None,
            names: parts.names,
        };
        watcher.restore(stored);
        Ok(Running {
            watcher,
            metrics: intake.metrics,
            threads,
            exporting,
        })
    }

    /// Runs the loop until its stop is over.
    pub(super) fn run(self) -> (Report, Unended) {
        let Running {
            mut watcher,
            metrics,
            threads,
            exporting,
        } = self;
        watcher.run_until_stopped();
        let (finished, receivers) = end(watcher, metrics);
        let mut unended = Unended::default();
        if finished.report.untold > 0 || finished.notifies {
            unended.notifiers = receivers.into_notifiers();
        }
        if finished.polls_in_flight > 0 {
            unended.pollers = Some(threads.pollers);
        }
        if finished.report.undelivered > 0 {
            unended.exporters.extend(exporting.exporter);
        }
        if finished.report.log_records_undelivered > 0 {
            unended.exporters.extend(exporting.log_exporter);
        }
        (finished.report, unended)
    }
}

fn core(settings: Settings, finished_kept: Duration, is_viewed: bool, now: Now) -> Core {
    let mut core = Core::new(settings, super::ENCODERS, now);
    core.keep_finished(finished_kept);
    if is_viewed {
        core.keep_views(limits::VIEW_BYTES_MAX);
    }
    core
}

/// Threads that have a request under way when the stop is over. Dropping them waits for these requests.
#[derive(Default)]
pub(super) struct Unended {
    notifiers: Vec<Notifier>,
    pollers: Option<Pollers>,
    exporters: Vec<Exporter>,
}

impl Unended {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.notifiers.is_empty() && self.pollers.is_none() && self.exporters.is_empty()
    }

    /// Leaves them to the end of the process.
    pub(super) fn leave(self) {
        std::mem::forget(self);
    }
}

/// The stop. The metrics leave after the spans, while the state is given back.
fn end(mut watcher: Loop, metrics: Option<MetricsExporter>) -> (LoopEnd, Receivers) {
    watcher.stop();
    let stop_by = watcher.stop_by;
    if let Some(metrics) = &metrics {
        metrics.send_last(numbers::completed(watcher.numbers(clock::now())));
    }
    let ended = watcher.finish();
    if let Some(metrics) = metrics {
        stopping::end_metrics(metrics, stop_by);
    }
    ended
}

/// The pollers and their channel. Fields are dropped in their order: the channel closes before the threads are joined.
struct PollingThreads {
    reports: Receiver<PollerReport>,
    pollers: Pollers,
}

impl PollingThreads {
    fn start(parts: &Parts, network: &Network) -> Result<Self, String> {
        let pollers = parts.settings.pollers;
        let (reports_sent, reports) = bounded(pollers);
        let pollers = Pollers::start(pollers, &parts.apis, network, &reports_sent)?;
        Ok(PollingThreads { reports, pollers })
    }
}

/// The exporters and their channels, in the order in which they are dropped.
struct Exporting {
    batches: Option<Sender<Batch>>,
    log_batches: Option<Sender<Batch>>,
    outcomes: Receiver<Exported>,
    exporter: Option<Exporter>,
    log_exporter: Option<Exporter>,
    /// Keeps `outcomes` open where there is no exporter: a closed channel is always ready.
    _outcomes_sent: Sender<Exported>,
}

impl Exporting {
    fn start(
        (destination, log_destination): (Option<&Destination>, Option<&Destination>),
        network: &Network,
        resources: &Resources,
        refused: &RefusedPlace,
    ) -> Result<Self, String> {
        // One of each exporter.
        let (outcomes_sent, outcomes) = bounded(2);
        let start = |signal, destination: Option<&Destination>| {
            let Some(destination) = destination else {
                return Ok((None, None));
            };
            let (sent, received) = bounded(1);
            let started = Exporter::start(
                signal,
                destination,
                network,
                (resources.clone(), refused.clone()),
                received,
                outcomes_sent.clone(),
            );
            let exporter = started.map_err(|e| format!("the OTLP exporter: {e}"))?;
            Ok::<_, String>((Some(sent), Some(exporter)))
        };
        let (batches, exporter) = start(Signal::Traces, destination)?;
        let (log_batches, log_exporter) = start(Signal::Logs, log_destination)?;
        Ok(Exporting {
            batches,
            log_batches,
            outcomes,
            exporter,
            log_exporter,
            _outcomes_sent: outcomes_sent,
        })
    }
}

/// Loads what is stored. A stop does not wait for it for long.
fn load(store: &mut dyn Store, stopped: &Receiver<Infallible>) -> Result<Stored, String> {
    let woken = store.woken();
    store.begin_load();
    select! {
        recv(woken) -> _ => {}
        recv(stopped) -> _ => {
            let _ = woken.recv_timeout(limits::COMMIT_PATIENCE);
        }
    }
    let loaded = store
        .loaded()
        .ok_or("the state was not read before the stop")?;
    loaded.map_err(|error| error.to_string())
}

fn open_store(config: &Config) -> Result<Option<Box<dyn Store>>, String> {
    match &config.state {
        config::StateConfig::None => Ok(None),
        #[cfg(feature = "file")]
        config::StateConfig::File(directory) => {
            let store = crate::store::file::FileStore::start(directory);
            Ok(Some(Box::new(store.map_err(|e| e.to_string())?)))
        }
        #[cfg(not(feature = "file"))]
        config::StateConfig::File(_) => Err("built without the feature 'file'".into()),
        #[cfg(feature = "redis")]
        config::StateConfig::Redis { lease } => {
            let redis = config.redis.as_ref().ok_or(NO_SOURCE)?;
            let fleet = build::fleet(config, redis, *lease);
            let store = crate::store::fleet::RedisStore::new(&fleet).map_err(|e| e.to_string())?;
            Ok(Some(Box::new(store)))
        }
        #[cfg(not(feature = "redis"))]
        config::StateConfig::Redis { .. } => Err("built without the feature 'redis'".into()),
    }
}
