//! The face: farspan inside another program. What is public here is all that is public.
//!
//! ```text
//! Configuration ──▶ Watcher ◀──submit── StartEvent
//!                      ├── runs, changes ──▶ RunSummary        copies that the loop makes when it is asked
//!                      └── traces ─────────▶ FinishedTrace     a bounded queue for each subscriber
//! ```
//!
//! Its types are its own and hold nothing of other crates, so that the inside is free to change.

mod configuration;
mod error;
mod event;
mod following;
mod run_summary;
mod times;
mod trace;

pub use configuration::Configuration;
pub use error::{Error, ErrorKind};
pub use event::{Accepted, StartEvent, Value};
pub use following::{Change, Changes, Runs, Traces};
pub use run_summary::{Outcome, RunState, RunSummary, StageCounts};
pub use trace::{FinishedTrace, Link, Span, SpanEvent, SpanId, SpanStatus, TraceId};

use crate::admin::question::{Asker, Follower, ViewQuestion};
use crate::core::event::Origin;
use crate::core::ids;
use crate::core::view::RunQuestion;
use crate::intake::message::{self, Malformed};
use crate::intake::posted;
use crate::os::redaction::without_secrets;
use crate::run::{Beside, BesideEnd};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Watches workflows from inside a program.
///
/// It does what `farspan run` does, on threads of its own, and takes nothing that belongs to the program: no signal
/// handler, no logger, no standard input or output, no exit of the process. A port and a directory are taken only if the
/// [`Configuration`] asks for them. Several watchers may run in one process.
///
/// ```
/// # // A status API: its workflow is at work in the first answer, and has ended in each later one.
/// # use std::io::{Read, Write};
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let api = format!("http://{}", listener.local_addr()?);
/// # std::thread::spawn(move || {
/// #     for (poll, connection) in listener.incoming().enumerate() {
/// #         let Ok(mut connection) = connection else { continue };
/// #         let _ = connection.read(&mut [0; 4096]);
/// #         let (status, end) = if poll == 0 { ("Processing", "null") } else { ("Completed", "\"2024-07-05T07:10:00Z\"") };
/// #         let body = format!(
/// #             r#"{{"workflowId": "704c0b60", "workflowStatus": "{status}", "isComplete": {},
/// #                 "workflowStartTime": "2024-07-05T07:00:00Z", "workflowEndTime": {end}, "workflowEntities": {{}}}}"#,
/// #             poll > 0
/// #         );
/// #         let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n";
/// #         let _ = write!(connection, "{head}Content-Length: {}\r\n\r\n{body}", body.len());
/// #     }
/// # });
/// use farspan::{Configuration, Outcome, StartEvent, Watcher};
/// use std::time::Duration;
///
/// let configuration = Configuration::new()
///     .with_variable("FARSPAN_API_BASE_URL", &api)
///     .with_variable("FARSPAN_POLL_INITIAL_DELAY", "0s")
///     .with_variable("FARSPAN_POLL_INTERVAL", "50ms")
///     .with_variable("OTEL_TRACES_EXPORTER", "none");
/// let watcher = Watcher::start(&configuration)?;
///
/// // Before the start event, so that the trace is not missed.
/// let mut traces = watcher.traces()?;
/// watcher.submit(&StartEvent::new("704c0b60").with_attribute("desk", "rates"))?;
///
/// let trace = traces.next().ok_or("the watcher has stopped")?;
/// assert_eq!(trace.run.outcome, Some(Outcome::Success));
/// let span = trace.spans.last().ok_or("no span")?;
/// assert_eq!(span.name, "Workflow");
/// assert_eq!(span.end.duration_since(span.start)?, Duration::from_secs(600));
///
/// let stopped = watcher.stop(Duration::from_secs(20))?;
/// assert_eq!(stopped.unfinished, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Watcher {
    /// `None` once it has been stopped.
    beside: Option<Beside>,
    asker: Asker,
    monitors: Arc<[Box<str>]>,
}

/// What a [`Watcher`] left undone when it was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stopped {
    /// Workflows that had not ended. With a state the next start goes on with them.
    pub unfinished: usize,
    /// Spans that the collector had not acknowledged. With a state the next start sends them.
    pub undelivered_spans: usize,
    /// Changes that the state does not have. Without a state: spans, log records and finished events that were not
    /// delivered.
    pub lost: usize,
    /// Whether a thread still has a request under way. It ends with the request, within 30 seconds.
    pub has_unended_threads: bool,
}

/// So long a watcher that is dropped may take to stop.
const DROPPED_WITHIN: Duration = Duration::from_secs(10);

impl Watcher {
    /// Starts a watcher, which goes on with what is in its state. Returns when it is ready to take start events.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] with all mistakes, or [`ErrorKind::Start`] if a part cannot be started, such as a state
    /// that another process has open.
    pub fn start(configuration: &Configuration) -> Result<Watcher, Error> {
        let config = configuration.load()?;
        for warning in &config.warnings {
            log::warn!(target: "farspan::config", "{warning}");
        }
        let monitors = config.monitors.iter();
        let monitors = monitors.map(|it| it.name.as_str().into()).collect();
        let beside = Beside::start(config).map_err(|why| Error::new(ErrorKind::Start, why))?;
        Ok(Watcher {
            asker: Asker::new(beside.questions.clone()),
            beside: Some(beside),
            monitors,
        })
    }

    /// Hands over one start event, and waits until it is accepted: stored, if there is a state. From then on nothing but the
    /// end of its workflow takes it away. An event about a run that is watched already, or was lately, is accepted and
    /// changes nothing, so that an event may always be submitted again.
    ///
    /// It waits 15 seconds at most.
    ///
    /// # Errors
    /// [`ErrorKind::Event`] if the event can never be accepted; [`NoRoom`](ErrorKind::NoRoom), [`Busy`](ErrorKind::Busy) or
    /// [`NotStored`](ErrorKind::NotStored) if it may be later; [`Stopped`](ErrorKind::Stopped).
    pub fn submit(&self, event: &StartEvent) -> Result<Accepted, Error> {
        let mut accepted = self.submit_all(std::slice::from_ref(event))?;
        accepted
            .pop()
            .ok_or_else(|| Error::new(ErrorKind::Event, "no event in it"))
    }

    /// Hands over several start events, which are accepted together or not at all. The answers have the order of the events.
    ///
    /// # Errors
    /// As [`submit`](Self::submit). The message of [`ErrorKind::Event`] says which event it is.
    pub fn submit_all(&self, events: &[StartEvent]) -> Result<Vec<Accepted>, Error> {
        let Some(beside) = &self.beside else {
            return Err(Error::stopped());
        };
        let (mut messages, mut accepted) = (Vec::new(), Vec::new());
        for (at, event) in events.iter().enumerate() {
            let read = message::read(event.as_json().as_bytes(), &beside.reading);
            let read = read.map_err(|why| malformed(at, events.len(), &why))?;
            accepted.push(Accepted::of(&read));
            messages.push(crate::core::event::StartEvent {
                origin: Origin::Program,
                ..read.event
            });
        }
        posted::post(&beside.posted, messages)?;
        Ok(accepted)
    }

    /// The state of one run: of the workflow with this id the live run, else the one that ended last. A run's id and a trace
    /// id, 32 hexadecimal digits each, are understood too. `None`: it is not watched, and did not end lately.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] or [`ErrorKind::Stopped`].
    pub fn run(&self, id: &str) -> Result<Option<RunSummary>, Error> {
        let bytes = trace::bytes_of_hex(id);
        let question = RunQuestion {
            run: bytes.map(ids::RunKey::from_bytes),
            trace: bytes.and_then(ids::TraceId::from_bytes),
            workflow_id: id.into(),
            monitor: None,
        };
        let found = (self.asker).ask(|to| ViewQuestion::Run(question, to))?;
        Ok(found.map(|run| RunSummary::of(&run.summary, &self.monitors)))
    }

    /// The runs that are watched and those that ended lately, the latest start first. They are asked for page by page, 1,000
    /// at a time, while the iterator is read.
    pub fn runs(&self) -> Runs {
        Runs::new(self.asker.clone(), self.monitors.clone())
    }

    /// A subscription to the states of runs as they change, from now on.
    ///
    /// Nothing waits for its reader: a state that has changed again before it is read is skipped, and the newest one is
    /// read.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] or [`ErrorKind::Stopped`].
    pub fn changes(&self) -> Result<Changes, Error> {
        Changes::new(self.asker.clone(), self.monitors.clone())
    }

    /// A subscription to the traces of runs that end from now on, each once and whole. A program that wants the trace of a
    /// workflow subscribes before it submits the start event.
    ///
    /// Nothing waits for its reader: 8 MiB of traces and one more, or 4,096 traces, wait to be read. A trace that finds no
    /// room is exported all the same, and [`Traces::missed`] counts it. After the stop, what waits can still be read.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`], also if there are 32 of them already, or [`ErrorKind::Stopped`].
    pub fn traces(&self) -> Result<Traces, Error> {
        let (follower, followed) = Follower::new();
        let follows = (self.asker).ask(|to| ViewQuestion::Follow(follower, to));
        follows.map_err(|why| self.turned_away(why))?;
        Ok(Traces::new(followed, self.monitors.clone()))
    }

    /// Stops in the order of the data: no start event is taken any more, the requests under way end, spans are delivered,
    /// and the state is stored. Returns after `within` at the latest, but for the state: a disk that hangs may take 2
    /// seconds more.
    ///
    /// # Errors
    /// [`ErrorKind::Stopped`] if the watcher has ended by itself, which only a panic does.
    pub fn stop(mut self, within: Duration) -> Result<Stopped, Error> {
        let ended = self.beside.take().and_then(|it| it.stop(within, false));
        ended.map(Stopped::of).ok_or_else(Error::panicked)
    }

    /// A question that is dropped has found no room, unless there is no loop any more.
    fn turned_away(&self, why: crate::admin::question::Unanswered) -> Error {
        let is_running = self.asker.ask(|to| ViewQuestion::Changes(0, to)).is_ok();
        if is_running {
            Error::new(ErrorKind::Busy, "there are 32 subscriptions already")
        } else {
            why.into()
        }
    }
}

/// Stops within 10 seconds, and then waits for the requests that are still under way: no thread is left.
impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(beside) = self.beside.take() {
            beside.stop(DROPPED_WITHIN, true);
        }
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("monitors", &self.monitors)
            .finish_non_exhaustive()
    }
}

impl Stopped {
    fn of(end: BesideEnd) -> Self {
        Stopped {
            unfinished: end.report.unfinished,
            undelivered_spans: end.report.undelivered,
            lost: end.report.lost,
            has_unended_threads: end.has_unended_threads,
        }
    }
}

/// The text without the secrets of all configurations that this process has used.
///
/// farspan logs by the crate `log`, to the logger of the program. Its lines hold no setting that is a secret, but they may
/// quote what a server has answered. A logger that writes them where others read passes each line through here.
#[must_use]
pub fn redacted(text: &str) -> String {
    without_secrets(text).into_owned()
}

fn malformed(at: usize, of: usize, why: &Malformed) -> Error {
    let text = if of == 1 {
        why.to_string()
    } else {
        format!("event {at}: {why}")
    };
    Error::new(ErrorKind::Event, text)
}
