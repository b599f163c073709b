//! From the configuration to the running parts, once.

use super::living::{self, Living};
use super::notifying::Receivers;
use super::sources::{self, Feed};
use super::{COMMIT_DELAY, Loop, Onlooker, Report, services, stopping, targets};
use crate::api::poller::Pollers;
use crate::config::{self, Config, Source};
use crate::core::event::StartEvent;
use crate::core::limits;
use crate::core::outbox::BatchPolicy;
use crate::core::span::Span;
use crate::core::{Core, Settings};
use crate::deliver::export::{Destination, Exporter};
use crate::http::client::{NameCache, Trust};
use crate::intake::posted::Posted;
use crate::os::clock;
use crate::os::signals;
use crate::os::systemd::Supervisor;
use crate::store::Store;
use crate::terminal::console::Console;
use crossbeam_channel::{Receiver, Sender, bounded, never};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;

/// `farspan run`: watches until SIGTERM or SIGINT; on SIGHUP reads the configuration anew from where it came from.
///
/// `reads_stdin`: start events come on standard input too; when it has ended, all is traced and nothing else is there to
/// tell of workflows, that is the end.
///
/// Fails when something cannot be started, and when something is left that neither the collector nor a store took.
/// Whether anybody could tell it of workflows, [`source_missing`] says before.
pub fn run(config: &Config, source: Source, reads_stdin: bool) -> ExitCode {
    match start_and_watch(config, source, reads_stdin) {
        Ok(report) if report.lost == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(trouble) => {
            log::error!("{trouble}");
            ExitCode::FAILURE
        }
    }
}

fn start_and_watch(config: &Config, source: Source, reads_stdin: bool) -> Result<Report, String> {
    let signals = signals::stop_and_reload();
    let (stopped, hangups) = signals.map_err(|e| format!("cannot listen to signals: {e}"))?;
    let supervisor = Supervisor::of(&source.env).unwrap_or_else(|trouble| {
        log::warn!("the service manager is told nothing: {trouble}");
        Supervisor::default()
    });
    let reloads = living::read_anew(source, hangups)
        .map_err(|e| format!("cannot start the reader of the configuration: {e}"))?;
    let living = Living::new(config, supervisor, reloads);
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
    let endpoint = sources::Endpoint::bind(config)?;
    let (events, received) = bounded(limits::INTAKE_QUEUE);
    let reading = sources::reading(config);
    let ended = match reads_stdin {
        true => sources::read_stdin(config, reading.clone(), events.clone())?,
        false => never(),
    };
    let feed = Feed::listen(config, events, &stopped)?;
    let (answering, posted) = endpoint.start(config, reading)?;
    let intake = Intake {
        events: received,
        posted,
        ended,
        feed,
    };
    let report = watch_source(config, intake, stopped, spans, living, None)?;
    answering.end();
    if let Some(console) = console {
        stopping::end_console(console);
    }
    Ok(report)
}

/// Why no start event could ever come, if that is so: a mistake in the configuration that no start mends.
pub fn source_missing(config: &Config, reads_stdin: bool) -> Option<&'static str> {
    let by_redis = cfg!(feature = "redis") && config.redis.is_some();
    let discovers = config.monitors.iter().any(|m| m.discovery.is_some());
    let is_there = by_redis || discovers || config.admin.is_some() || reads_stdin;
    (!is_there).then_some(NO_SOURCE)
}

const NO_SOURCE: &str = "nothing would tell farspan of workflows: set FARSPAN_REDIS_URL or FARSPAN_ADMIN_LISTEN, or use --events -";

/// Where the loop hears of workflows.
struct Intake {
    events: Receiver<StartEvent>,
    posted: Receiver<Posted>,
    /// Disconnects when no more is to come.
    ended: Receiver<Infallible>,
    feed: Feed,
}

/// Finished spans between the loop and whoever shows them.
pub const SPANS_QUEUE: usize = 4096;

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
    watch_source(
        config,
        heard_from(events),
        stopped,
        spans,
        quiet(config),
        None,
    )
}

/// As [`watch`], for somebody who wants to see more than spans.
///
/// # Errors
/// A text that says what could not be started.
pub fn watch_seen(
    config: &Config,
    events: Receiver<StartEvent>,
    stopped: Receiver<Infallible>,
    onlooker: Onlooker,
) -> Result<Report, String> {
    let (intake, living) = (heard_from(events), quiet(config));
    watch_source(config, intake, stopped, vec![], living, Some(onlooker))
}

fn heard_from(events: Receiver<StartEvent>) -> Intake {
    Intake {
        events,
        posted: never(),
        ended: never(),
        feed: Feed::default(),
    }
}

/// Nothing is read anew, and no service manager is told.
fn quiet(config: &Config) -> Living {
    Living::new(config, Supervisor::default(), never())
}

fn watch_source(
    config: &Config,
    intake: Intake,
    stopped: Receiver<Infallible>,
    spans: Vec<Sender<Arc<Span>>>,
    living: Living,
    onlooker: Option<Onlooker>,
) -> Result<Report, String> {
    let Intake {
        events,
        posted,
        ended,
        feed,
    } = intake;
    let names = NameCache::default();
    let targets = targets::targets(config, &names)?;
    // First, for it is the likeliest to fail.
    let store = open_store(config)?;
    let (polls, polls_received) = bounded(under_way_max(config));
    let (answers_sent, answers) = bounded(under_way_max(config));
    let monitors = config.monitors.iter();
    let apis = monitors.map(|m| (m.api.base_url.clone(), targets::trust(m)));
    let apis: Vec<_> = apis.collect();
    let pollers = Pollers::start(
        config.poll.pollers,
        &apis,
        &names,
        &polls_received,
        &answers_sent,
    )?;
    // What is declared later is dropped sooner: threads end when their channel is closed, and are joined then.
    let polls = polls;
    let (outcomes_sent, outcomes) = bounded(1);
    let (exporter, batches) = match &config.export.otlp {
        Some(otlp) => {
            let (batches, received) = bounded(1);
            let destination = destination(otlp, &config.export.batch);
            let envelope = services::envelope(config);
            let exporter = Exporter::start(&destination, envelope, received, outcomes_sent.clone());
            let exporter = exporter.map_err(|e| format!("the OTLP exporter: {e}"))?;
            (Some(exporter), Some(batches))
        }
        None => (None, None),
    };
    let receivers = Receivers::start(config, &names)?;
    let now = clock::now();
    let mut core = Core::new(settings(config, now.wall.as_unix_ns() as u64), now);
    core.keep_finished(sources::listed_for(config));
    let mut watcher = Loop {
        core,
        polls,
        targets,
        apis: targets::apis(config),
        names,
        polls_at_hand: polls_received,
        pollers: config.poll.pollers,
        batches,
        spans,
        spans_unshown: 0,
        onlooker,
        store,
        unstored: Vec::new(),
        commit_at: None,
        commit_delay: COMMIT_DELAY,
        events_stored: 0,
        events_wait: (config.monitors.iter())
            .all(|monitor| monitor.poll.initial_delay >= COMMIT_DELAY * 2),
        store_again_at: None,
        store_error: None,
        exports: Vec::new(),
        receivers,
        living,
        settled: VecDeque::new(),
        stored_settled: VecDeque::new(),
        feed,
        posted,
        unanswered: Vec::new(),
        ended,
    };
    watcher.restore()?;
    watcher.turn_until(&stopped, &events, &answers, &outcomes);
    watcher.stop(&events, &answers, &outcomes);
    let (report, receivers) = watcher.finish();
    if report.report.untold > 0 || report.is_telling {
        receivers.abandon();
    }
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
/// are always due. Where there are several hosts none are: what lay there would wait behind another host's.
fn under_way_max(config: &Config) -> usize {
    match targets::hosts(config) {
        0 | 1 => 3 * config.poll.pollers,
        _ => config.poll.pollers,
    }
}

fn open_store(config: &Config) -> Result<Option<Box<dyn Store>>, String> {
    match &config.state {
        config::State::None => Ok(None),
        #[cfg(feature = "file")]
        config::State::File(directory) => {
            let store = crate::store::file::FileStore::open(directory);
            Ok(Some(Box::new(store.map_err(|e| e.to_string())?)))
        }
        #[cfg(not(feature = "file"))]
        config::State::File(_) => Err("built without the feature `file`".into()),
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
                listed_for: sources::listed_for(config),
            };
            let store = crate::store::redis::RedisStore::new(fleet).map_err(|e| e.to_string())?;
            Ok(Some(Box::new(store)))
        }
        #[cfg(not(feature = "redis"))]
        config::State::Redis { .. } => Err("built without the feature `redis`".into()),
    }
}

fn settings(config: &Config, seed: u64) -> Settings {
    let batch = &config.export.batch;
    Settings {
        monitors: targets::monitors(config),
        pollers: under_way_max(config),
        workflows_max: config.workflows_max,
        sampler: config.trace.sampler.clone(),
        batch: BatchPolicy {
            schedule_delay: batch.schedule_delay,
            spans_max: batch.max_export_batch_size,
            queue_max: batch.max_queue_size.unwrap_or(usize::MAX),
        },
        stores: config.state != config::State::None,
        state_bytes_max: config.state_bytes_max,
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
