//! The loop: one thread that owns all state, and the threads around it.
//!
//! ```text
//! intake ──events──▶ ┌──────┐ ──polls────▶ pollers ──answers──▶ ┐
//! signals ─stop────▶ │ loop │ ──batches──▶ exporter ─outcomes─▶ ├─▶ the loop again
//!                    │ core │ ──spans────▶ console, demo
//!                    └──────┘
//! ```
//!
//! SIGHUP comes by way of [`living`], which reads the configuration anew and tells the service manager how things are.
//!
//! Every channel is bounded, and the core knows how much room there is, so that the loop never waits on a send. It
//! waits in one place, the `select!`, for an answer or for the core's next deadline.

mod living;
mod notifying;
mod services;
mod sources;
mod stopping;
pub mod targets;

use crate::api::poller::{Ask, Pollers, Target};
use crate::config::{self, Config, Source};
use crate::core::event::StartEvent;
use crate::core::ids::RunKey;
use crate::core::limits;
use crate::core::outbox::{Batch, BatchPolicy, ExportOutcome};
use crate::core::span::Span;
use crate::core::time::{Mono, Now};
use crate::core::{
    Action, Change, Core, Counters, Input, Note, Poll, PollFailureReason, Polled, Settings,
};
use crate::deliver::export::{Destination, Exporter};
use crate::deliver::notify;
use crate::deliver::otlp;
use crate::http::client::{NameCache, Trust};
use crate::intake::posted::{Admission, Posted};
use crate::os::clock;
use crate::os::signals;
use crate::os::systemd::{State, Supervisor};
use crate::store::{Committed, Store, StoreError, View};
use crate::terminal::console::Console;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, never, select};
use living::Living;
use notifying::Receivers;
use sources::{Feed, Settled};
use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
pub use stopping::STOP_MAX;

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

/// What was watched, and what is left.
#[derive(Clone, Debug)]
pub struct Report {
    /// All that happened.
    pub counters: Counters,
    /// Workflows that were under watch at the end.
    pub unfinished: usize,
    /// Spans that the collector had not acknowledged at the end.
    pub undelivered: usize,
    /// Finished events that nobody had taken at the end.
    pub untold: usize,
    /// Changes that no store has; without a store, what was not delivered.
    pub lost: usize,
    /// Spans among them that are not delivered either.
    pub spans_lost: usize,
    /// Runs that they are of.
    pub runs_lost: usize,
    /// How many bytes the state may have.
    pub state_bytes_max: u64,
}

/// Finished spans between the loop and whoever shows them.
pub const SPANS_QUEUE: usize = 4096;
/// When polls are always due, answers gather for so long: woken for each, the loop would cost more than its work.
const GATHER: Duration = Duration::from_micros(100);

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

/// What an onlooker sees of the loop.
#[derive(Debug)]
pub enum Sight<'a> {
    /// A poll is due.
    Asks(&'a Poll),
    /// A poll was answered.
    Answered(&'a Polled),
    /// A span is finished.
    Finished(&'a Span),
    /// What the log is told.
    Noted(&'a Note),
}

/// Sees everything as it happens, on the loop's thread: it may not wait for anything.
pub type Onlooker = Box<dyn FnMut(Sight<'_>)>;

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

/// The state and the ways out of the loop.
struct Loop {
    core: Core,
    polls: Sender<Ask>,
    /// The other end, to take back what no poller has begun with.
    polls_at_hand: Receiver<Ask>,
    pollers: usize,
    /// The API, with the token that is in force.
    /// In the order of the monitors.
    targets: Vec<Arc<Target>>,
    /// What the log calls them, in the same order.
    apis: Vec<String>,
    /// For token requests of targets yet to come.
    names: NameCache,
    /// `None`: spans go to no collector.
    batches: Option<Sender<Batch>>,
    spans: Vec<Sender<Arc<Span>>>,
    /// Spans that nobody could show in time. They are exported all the same.
    spans_unshown: u64,
    onlooker: Option<Onlooker>,
    store: Option<Box<dyn Store>>,
    /// Changes that the store has not taken yet, in their order.
    unstored: Vec<Change>,
    /// When they are to be committed at the latest.
    commit_at: Option<Mono>,
    commit_delay: Duration,
    /// Events whose workflows the store has.
    events_stored: u64,
    /// Whether an event may wait for company too: it is stored long before anybody is asked after its workflow. Whoever
    /// publishes it hears nothing of farspan either way, and the API is its only sign that somebody has.
    events_wait: bool,
    /// When the store is tried again, after it has failed.
    store_again_at: Option<Mono>,
    /// Why it has.
    store_error: Option<StoreError>,
    /// Batches that wait for the changes before them to be stored.
    exports: Vec<Batch>,
    receivers: Receivers,
    living: Living,
    /// The same for what the source is to be told.
    settled: VecDeque<Settled>,
    /// What the source had no room for yet.
    stored_settled: VecDeque<Settled>,
    feed: Feed,
    posted: Receiver<Posted>,
    /// Who wait to hear that what they posted is stored.
    unanswered: Vec<Sender<Admission>>,
    /// Disconnects when no more events are to come: then what is heard is brought to its end, and that is all.
    ended: Receiver<Infallible>,
}

/// Inputs that share a turn, and so a commit.
const TURN_INPUTS_MAX: usize = 256;
/// How long what was observed may wait for company before it is committed, if nothing that is exported depends on it:
/// a commit costs more than the poll that caused it, and what a crash takes is observed again. What the collector has
/// acknowledged does not wait.
const COMMIT_DELAY: Duration = Duration::from_millis(200);
const STORE_AGAIN_AFTER: Duration = Duration::from_secs(1);
const SETTLE_AGAIN_AFTER: Duration = Duration::from_millis(50);

struct Finished {
    report: Report,
    polls_in_flight: usize,
    is_telling: bool,
}

impl Loop {
    fn turn_until(
        &mut self,
        stopped: &Receiver<Infallible>,
        events: &Receiver<StartEvent>,
        answers: &Receiver<Polled>,
        outcomes: &Receiver<(u64, ExportOutcome)>,
    ) {
        let (nobody, no_reload, nothing, endless) = (never(), never(), never(), never());
        let mut source = events;
        let (posted, ended) = (self.posted.clone(), self.ended.clone());
        let notified = self.receivers.notified.clone();
        let (mut posted, mut ended) = (&posted, &ended);
        let mut ends = false;
        let reloads = self.living.reloads();
        let mut reloads = &reloads;
        let listings = self.feed.listings();
        let mut listings = &listings;
        let no_listing = never();
        self.living.say(State::Ready);
        loop {
            let patience = self.patience().min(self.tell());
            let events = if self.core.has_room() {
                source
            } else {
                &nobody
            };
            let input = select! {
                recv(answers) -> answer => answer.map(Input::Polled).ok(),
                recv(outcomes) -> outcome => outcome.map(exported).ok(),
                recv(notified) -> notified => notified.map(Input::Notified).ok(),
                recv(events) -> event => match event {
                    Ok(event) => Some(Input::Started(event)),
                    Err(_) => {
                        source = &nobody;
                        None
                    }
                },
                recv(reloads) -> reload => match reload {
                    Ok(reload) => self.reload(reload),
                    Err(_) => {
                        reloads = &no_reload;
                        None
                    }
                },
                recv(listings) -> listing => match listing {
                    Ok(listing) => Some(Input::Listing(listing)),
                    Err(_) => {
                        listings = &no_listing;
                        None
                    }
                },
                recv(posted) -> more => {
                    match more {
                        Ok(more) => self.admit(more),
                        Err(_) => posted = &nothing,
                    }
                    None
                }
                recv(ended) -> _ => {
                    (ends, ended) = (true, &endless);
                    None
                }
                recv(stopped) -> _ => return,
                default(patience) => None,
            };
            self.handle(input.unwrap_or(Input::Tick));
            if self.polls.len() >= self.pollers {
                // Every poller has enough to do; nothing but a stop ends this early.
                let _ = stopped.recv_timeout(GATHER);
            }
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
            for more in posted.try_iter().take(TURN_INPUTS_MAX) {
                self.admit(more);
            }
            self.end_turn();
            if ends && self.is_idle(source) && posted.is_empty() {
                return log::info!("all that was heard of is traced");
            }
        }
    }

    /// How long the core can wait if nothing happens.
    fn patience(&self) -> Duration {
        const LONG: Duration = Duration::from_secs(3600);
        let store = match self.store_again_at {
            Some(at) => Some(at),
            None => {
                let due = self.store.as_ref().and_then(|s| s.next_deadline());
                [self.commit_at, due].into_iter().flatten().min()
            }
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
        if let Input::Polled(polled) = &input {
            self.let_see(Sight::Answered(polled));
        }
        self.core.handle(input, now);
        while let Some(action) = self.core.next_action() {
            match action {
                // The core never has more polls under way than there are places.
                Action::Poll(poll) => {
                    self.let_see(Sight::Asks(&poll));
                    let target = self.targets[usize::from(poll.monitor)].clone();
                    drop(self.polls.try_send(Ask { poll, target }));
                }
                Action::Finished(span) => {
                    self.let_see(Sight::Finished(&span));
                    let bytes = otlp::encode(&span);
                    self.show(span.into());
                    if self.batches.is_some() {
                        self.core.handle(Input::Encoded(bytes), now);
                    }
                }
                Action::List(monitor) => self.feed.let_list(monitor),
                Action::Export(batch) => self.exports.push(batch),
                Action::Announce(event) => {
                    let bytes = notify::encode(&event);
                    self.core.handle(Input::EncodedEvent(bytes), now);
                }
                Action::Notify(notify) => self.receivers.waiting.push(notify),
                Action::Release(source) => self.settled.push_back(Settled::Release(source)),
                Action::Leave(source) => self.settled.push_back(Settled::Leave(source)),
                Action::Note(note) => {
                    if let Note::HostPaused { .. } = note {
                        self.recall(now);
                    }
                    self.let_see(Sight::Noted(&note));
                    log_note(note, &self.apis);
                }
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
            if self.may_wait() || !self.persist() {
                return;
            }
            // What the store had to say may have changed something, as may that it takes changes again.
            if !self.core.has_changes() {
                break;
            }
        }
        self.answer_posted();
        self.stored_settled.append(&mut self.settled);
        while let Some(settled) = self.stored_settled.front()
            && self.feed.try_settle(settled)
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
        self.receivers.tell();
    }

    /// Whether the changes so far may wait for others to share their commit.
    fn may_wait(&mut self) -> bool {
        if self.unstored.is_empty() {
            return false;
        }
        let now = clock::now().mono;
        let commit_at = *self.commit_at.get_or_insert(now + self.commit_delay);
        let accepted = self.core.counters().events_accepted;
        let events_wait = self.events_wait || accepted == self.events_stored;
        // A crash before the deletion would send again what the collector has.
        let acknowledged = |change: &Change| {
            matches!(
                change,
                Change::RemoveSpans(_) | Change::RemoveNotifications(_)
            )
        };
        let store_due = self.store.as_ref().and_then(|s| s.next_deadline());
        now < commit_at
            && store_due.is_none_or(|at| now < at)
            && self.exports.is_empty()
            && self.receivers.waiting.is_empty()
            && self.unanswered.is_empty()
            && events_wait
            && !self.unstored.iter().any(acknowledged)
    }

    /// Whether the store has taken the changes, or there is none.
    fn persist(&mut self) -> bool {
        let Some(store) = &mut self.store else {
            self.unstored.clear();
            self.commit_at = None;
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
                self.commit_at = None;
                self.events_stored = self.core.counters().events_accepted;
                self.store_again_at = None;
                self.store_error = None;
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
                } else if self.store_error.as_ref() != Some(&error) {
                    log::error!("the state still cannot be written: {error}");
                }
                self.store_error = Some(error);
                false
            }
        }
    }

    /// Takes back the polls that no poller has begun with; the core knows better by now.
    fn recall(&mut self, now: Now) {
        let asks: Vec<Ask> = self.polls_at_hand.try_iter().collect();
        for ask in asks.into_iter().rev() {
            self.core.handle(Input::Recalled(ask.poll), now);
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
            self.receivers.forget(&lost);
            self.handle(Input::Refused(committed.refused));
        }
        self.core.restore(committed.claimed, now);
        self.handle(Input::Tick);
    }

    fn let_see(&mut self, sight: Sight<'_>) {
        if let Some(onlooker) = &mut self.onlooker {
            onlooker(sight);
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

    fn finish(mut self) -> (Finished, Receivers) {
        if let Some(store) = &mut self.store {
            store.leave();
        }
        let counters = self.core.counters().clone();
        let undelivered = self.core.spans_waiting();
        let untold = self.core.notifications_waiting();
        let unstored = self.unstored.len();
        let (runs_lost, spans_lost) = touched(&self.unstored);
        let report = Report {
            unfinished: self.core.watched(),
            undelivered,
            untold,
            lost: match self.store {
                Some(_) => unstored,
                None => undelivered + untold,
            },
            spans_lost,
            runs_lost,
            state_bytes_max: self.core.state_bytes_max(),
            counters,
        };
        log_report(&report, self.store.is_some());
        while let Some(settled) = self.stored_settled.pop_front()
            && self.feed.try_settle(&settled)
        {}
        self.feed.finish();
        let finished = Finished {
            report,
            polls_in_flight: self.core.polls_in_flight(),
            is_telling: self.core.notifications_in_flight(),
        };
        (finished, self.receivers)
    }
}

fn exported((batch, outcome): (u64, ExportOutcome)) -> Input {
    Input::Exported { batch, outcome }
}

/// `apis`: what the API of each monitor is called.
fn log_note(note: Note, apis: &[String]) {
    let api = |monitor: u16| apis.get(usize::from(monitor)).map_or("the API", |api| api);
    match note {
        Note::Restored {
            workflows,
            spans,
            notifications,
        } => {
            let events = match notifications {
                0 => String::new(),
                some => format!(" and {some} finished events"),
            };
            log::info!(
                "going on with {workflows} workflows and {spans} spans{events} that were stored"
            );
        }
        Note::Stranded {
            monitor,
            notifications,
        } => log::error!(
            "{notifications} finished events of monitor {monitor} are stored and nobody is told of them: give it its `finished` back; they stay until then"
        ),
        Note::NotRestored { workflows, why } => {
            log::error!(
                "{workflows} stored workflows cannot be watched: {why}; their records stay"
            );
        }
        Note::NotOurs { workflow_id, why } => {
            log::error!(
                "workflow {workflow_id:?} is not watched, because its stored record cannot be: {why}; the record stays, and so does the event where it is kept"
            );
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
            monitor,
            reason: PollFailureReason::Unauthorized,
            detail,
        } => {
            let what = match apis.len() {
                1 => "FARSPAN_API_TOKEN (or the monitor's api.auth)",
                _ => "its api.auth",
            };
            log::error!(
                "{} refuses farspan: {detail}; is {what} right? Still trying",
                api(monitor)
            );
        }
        Note::HostTroubled {
            monitor,
            reason,
            detail,
        } => {
            let (api, reason) = (api(monitor), reason.as_str());
            log::warn!("{api} is in trouble ({reason}): {detail}; still trying");
        }
        Note::HostRecovered { monitor } => log::info!("{} answers again", api(monitor)),
        Note::HostPaused { monitor, pause } => {
            log::warn!("{} asks to be left alone for {pause:?}", api(monitor));
        }
        Note::Odd { monitor, what } => log::warn!("in an answer of {}: {what}", api(monitor)),
        Note::PollsHeld(true) => log::error!(
            "the outbox is full because the collector, or a receiver of finished events, takes nothing: polls wait, nothing is lost"
        ),
        Note::PollsHeld(false) => log::info!("the outbox has room again: polls go on"),
        Note::NotifyTroubled { monitor, reason } => log::warn!(
            "nobody takes the finished events about {} now: {reason}; they wait",
            api(monitor)
        ),
        Note::NotifyRecovered { monitor } => {
            log::info!("the finished events about {} are taken again", api(monitor));
        }
        Note::NotifyRefused {
            monitor,
            run,
            message,
        } => log::error!(
            "the finished event {run} about {} is refused for good: {message}; it is dropped",
            api(monitor)
        ),
        Note::StateFull {
            full: true,
            bytes,
            bytes_max,
        } => log::error!(
            "the state is full, {bytes} bytes of {bytes_max} (FARSPAN_STATE_MAX_BYTES): new workflows wait until others have ended; what is watched goes on"
        ),
        Note::StateFull { bytes, .. } => {
            log::info!("the state has room again, it is {bytes} bytes: new workflows are taken in");
        }
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
    for line in what_happened(counters) {
        log::info!("{line}");
    }
    if stored {
        log::info!(
            "the state is {} bytes of {} at most; it was full {} times",
            counters.state_bytes,
            report.state_bytes_max,
            counters.state_filled,
        );
    }
    if let Some((level, line)) = what_is_left(report, stored) {
        log::log!(level, "{line}");
    }
}

/// In two lines. What seldom happens is there where it did.
fn what_happened(counters: &Counters) -> [String; 2] {
    let some = |counts: &[(u64, &str)]| -> String {
        let some = counts.iter().filter(|(count, _)| *count > 0);
        some.map(|(count, what)| format!(", {count} {what}"))
            .collect()
    };
    let events = some(&[
        (counters.events_shed, "without room or monitor"),
        (counters.events_not_ours, "of runs whose record stays"),
        (counters.runs_refused, "of other instances' runs"),
    ]);
    let workflows = some(&[
        (counters.workflows_gone, "with their API"),
        (counters.workflows_superseded, "superseded"),
    ]);
    let exports = some(&[
        (counters.exports_retried, "exports tried again"),
        (counters.notifications_delivered, "finished events told"),
        (counters.notifications_refused, "finished events refused"),
    ]);
    let spans = format!(
        "{} events, {} duplicates{events}; {} workflows ended, {} timed out, {} not found{workflows}; \
         {} spans finished, {} delivered, {} rejected{exports}",
        counters.events_accepted,
        counters.events_duplicate,
        counters.workflows_ended,
        counters.workflows_timed_out,
        counters.workflows_not_found,
        counters.spans_finished,
        counters.spans_delivered,
        counters.spans_rejected,
    );
    let reasons = PollFailureReason::ALL.iter().zip(counters.polls_failed);
    let reasons: Vec<_> = reasons
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| format!("{count} {}", reason.as_str()))
        .collect();
    let reasons = match reasons.is_empty() {
        true => String::new(),
        false => format!(" ({})", reasons.join(", ")),
    };
    let answers = some(&[
        (counters.polls_not_found, "not found"),
        (counters.answers_stale, "answered too late"),
    ]);
    let polls = format!(
        "{} polls, {} failed{reasons}{answers}; lateness p50 {:.1?}, p99 {:.1?}, longest {:.1?}; latency p50 {:.1?}, p99 {:.1?}",
        counters.polls,
        counters.polls_failed.iter().sum::<u64>(),
        counters.lateness.quantile(0.5),
        counters.lateness.quantile(0.99),
        counters.lateness.longest(),
        counters.latency.quantile(0.5),
        counters.latency.quantile(0.99),
    );
    [spans, polls]
}

/// What the next start finds, and what it does not.
fn what_is_left(report: &Report, stored: bool) -> Option<(log::Level, String)> {
    let (unfinished, undelivered) = (report.unfinished, report.undelivered);
    let events = match report.untold {
        0 => String::new(),
        untold => format!(" and {untold} finished events"),
    };
    if stored && report.lost > 0 {
        let (runs, spans) = (report.runs_lost, report.spans_lost);
        return Some((
            log::Level::Error,
            format!(
                "the state could not be written: there are {unfinished} workflows under watch and {undelivered} spans{events} \
                 to deliver; {spans} of the spans and the last changes of {runs} workflows are lost, and the next \
                 start goes on from what was written before"
            ),
        ));
    }
    match (stored, unfinished, undelivered + report.untold) {
        (_, 0, 0) => None,
        (true, ..) => Some((
            log::Level::Info,
            format!(
                "kept for the next start: {unfinished} workflows under watch, {undelivered} spans{events} to deliver"
            ),
        )),
        (false, ..) => Some((
            log::Level::Warn,
            format!(
                "forgotten, because FARSPAN_STATE=none: {unfinished} workflows under watch, {undelivered} spans{events} not \
                 delivered in time"
            ),
        )),
    }
}

/// How many runs these changes are of, and how many spans they leave to deliver.
fn touched(changes: &[Change]) -> (usize, usize) {
    let (mut runs, mut spans) = (HashSet::new(), HashSet::new());
    for change in changes {
        match change {
            Change::PutSpan(span) => {
                runs.insert(span.run);
                spans.insert((span.run, span.sequence));
            }
            Change::RemoveSpans(gone) => {
                for span in gone {
                    runs.insert(span.run);
                    spans.remove(&(span.run, span.sequence));
                }
            }
            Change::PutWorkflow { run, .. }
            | Change::RemoveWorkflow(run)
            | Change::PutFinished(run, _) => drop(runs.insert(*run)),
            Change::PutNotification(it) => drop(runs.insert(it.run)),
            Change::RemoveNotifications(gone) => runs.extend(gone.iter().map(|it| it.run)),
            // It was kept against a late duplicate only.
            Change::RemoveFinished(_) => {}
        }
    }
    (runs.len(), spans.len())
}

#[cfg(test)]
mod tests;
