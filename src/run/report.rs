//! What the log says of the loop: a line for each note of the core, and the report at the end.

use crate::config::monitor::{self, ApiKeys, MonitorConfig};
use crate::core::outbox::Signal;
use crate::core::outcome::Abandoned;
use crate::core::turn::StoreNews;
use crate::core::{
    ApiNote, Change, CollectorNote, Counters, Note, PollFailureReason, ReceiverNote, RunNote,
    StateNote, limits,
};
use log::Level;
use std::collections::HashSet;
use std::time::Duration;

/// What the loop did, and what it left undone.
#[derive(Clone, Debug)]
pub struct Report {
    /// The counters at the end.
    pub counters: Counters,
    /// Workflows that were watched at the end.
    pub unfinished: usize,
    /// Spans that the collector had not acknowledged.
    pub undelivered: usize,
    /// Log records that the collector had not acknowledged.
    pub log_records_undelivered: usize,
    /// Finished events that their receivers had not accepted.
    pub untold: usize,
    /// Changes that no store has. Without a store: spans, log records and finished events that were not delivered.
    pub lost: usize,
    /// Undelivered spans among the lost changes.
    pub spans_lost: usize,
    /// Runs that the lost changes belong to.
    pub runs_lost: usize,
    /// The limit of the state, in bytes.
    pub state_bytes_max: u64,
}

/// What the log calls a monitor and its workflows.
#[derive(Clone, Debug, Default)]
pub(super) struct MonitorNames {
    monitor: Box<str>,
    workflow: Box<str>,
    api: ApiKeys,
}

impl MonitorNames {
    pub(super) fn new(monitor: &MonitorConfig) -> Self {
        MonitorNames {
            monitor: monitor.name.as_str().into(),
            workflow: monitor.spans.workflow.as_str().into(),
            api: monitor.api_keys(),
        }
    }

    /// The API in a text that has no field for the monitor.
    pub(super) fn title(&self) -> String {
        match &*self.monitor {
            monitor::ONLY_NAME => "the API".to_owned(),
            name => format!("the API of monitor {name}"),
        }
    }
}

/// Logs a note of the core. `names` are those of the monitors.
pub(super) fn log_note(note: Note, names: &[MonitorNames]) {
    let unknown = MonitorNames::default();
    let of = |monitor: u16| names.get(usize::from(monitor)).unwrap_or(&unknown);
    match note {
        Note::State(what) => log_state(what),
        Note::Run {
            monitor,
            workflow_id,
            what,
        } => log_run(of(monitor), &workflow_id, what),
        Note::Api { monitor, what } => log_api(of(monitor), what),
        Note::Receiver { monitor, what } => log_receiver(&of(monitor).monitor, what),
        Note::Collector { signal, what } => log_collector(signal.items(), what),
        Note::PollsHeld(true) => log::error!(
            "the outbox is full, because the collector or a receiver of finished events accepts nothing: polls wait, \
             nothing is lost"
        ),
        Note::PollsHeld(false) => log::info!("the outbox has room again: polls go on"),
    }
}

fn log_state(what: StateNote) {
    match what {
        StateNote::Restored {
            workflows,
            spans,
            log_records,
            notifications,
        } => {
            let more = beside_spans(log_records, notifications);
            log::info!("restored {workflows} workflows and {spans} spans{more} from the store");
        }
        StateNote::Stranded {
            monitor,
            notifications,
        } => log::error!(
            monitor = &*monitor;
            "{notifications} stored finished events have no receiver: restore the `finished` setting of their monitor to \
             deliver them; they stay stored until then"
        ),
        StateNote::Unreadable { workflows, why } => log::error!(
            "{workflows} stored workflows cannot be watched: {why}; their records stay stored"
        ),
        StateNote::Refused { elsewhere, done } => {
            log::debug!("{elsewhere} runs belong to other instances, {done} runs are done already");
        }
        StateNote::Full {
            full: true,
            bytes,
            bytes_max,
        } => log::error!(
            "the state is full, {bytes} bytes of {bytes_max} (FARSPAN_STATE_MAX_BYTES): new workflows wait until \
             others have ended; watched workflows go on"
        ),
        StateNote::Full { bytes, .. } => {
            log::info!("the state has room again ({bytes} bytes): new workflows are watched");
        }
    }
}

fn log_run(names: &MonitorNames, workflow_id: &str, what: RunNote) {
    let monitor = &*names.monitor;
    match what {
        RunNote::Watching(trace_id) => log::debug!(
            monitor, workflow_id, trace_id:% = trace_id;
            "watching the workflow"
        ),
        RunNote::Duplicate => log::debug!(
            monitor, workflow_id;
            "duplicate start event; ignored"
        ),
        RunNote::Forgotten => log::warn!(
            monitor, workflow_id;
            "the workflow is not traced: it began before workflows whose traces farspan has forgotten, so it may have a \
             trace already, and a second one would have the same ids"
        ),
        RunNote::Shed => log::error!(
            monitor, workflow_id;
            "no room for the workflow; it is not traced"
        ),
        RunNote::Unreadable(why) => log::error!(
            monitor, workflow_id;
            "the workflow is not watched, because its stored record cannot be used: {why}; the record stays stored, and \
             the start event stays in its source"
        ),
        RunNote::Ended {
            run: _,
            trace_id,
            outcome,
            abandoned,
            duration,
        } => {
            let level = if abandoned.is_some() {
                Level::Warn
            } else {
                Level::Info
            };
            let why = match abandoned {
                None => "workflow ended",
                Some(Abandoned::NotFound) => {
                    "Workflow not found: the API has answered 404 for a minute; if that is so for each workflow, is the \
                     path of its URL right? farspan check asks it"
                }
                Some(why) => why.message(),
            };
            log::log!(
                level,
                monitor,
                workflow_id,
                name = &*names.workflow,
                result = outcome.as_str(),
                duration_s = milliseconds(duration),
                trace_id:% = trace_id;
                "{why}"
            );
        }
    }
}

fn log_api(names: &MonitorNames, what: ApiNote) {
    let monitor = &*names.monitor;
    match what {
        ApiNote::Troubled { reason, detail } => log_trouble(names, reason, &detail),
        ApiNote::Recovered => log::info!(monitor; "the API answers again"),
        ApiNote::Paused {
            asked,
            pause,
            is_news,
        } => {
            let level = if is_news { Level::Warn } else { Level::Debug };
            let held = if asked > pause {
                format!(" (held to {pause:.0?} by poll.pause_max)")
            } else {
                String::new()
            };
            log::log!(
                level,
                monitor;
                "the API asked for a pause of {asked:.1?}{held}; its host gets no request until then"
            );
        }
        ApiNote::Odd(what) => log::warn!(monitor; "in an answer of the API: {what}"),
    }
}

fn log_receiver(monitor: &str, what: ReceiverNote) {
    match what {
        ReceiverNote::Troubled(reason) => log::warn!(
            monitor;
            "the receiver of finished events accepts nothing: {reason}; the events wait"
        ),
        ReceiverNote::Recovered => {
            log::info!(monitor; "the receiver of finished events accepts them again");
        }
        ReceiverNote::Refused { run, message } => log::error!(
            monitor;
            "the receiver of finished events refused event {run} for good: {message}"
        ),
    }
}

fn log_collector(items: &str, what: CollectorNote) {
    match what {
        CollectorNote::Troubled { reason, waiting } => {
            log::warn!("the collector accepts no {items}: {reason}; {waiting} {items} wait");
        }
        CollectorNote::Recovered => log::info!("the collector accepts {items} again"),
        CollectorNote::Partial {
            rejected: 0,
            message,
        } => log::warn!("the collector accepted a batch with a warning: {message}"),
        CollectorNote::Partial { rejected, message } => log::error!(
            "the collector accepted a batch but rejected {rejected} of its {items}: {message}"
        ),
        CollectorNote::Refused {
            items: count,
            message,
        } => log::error!("the collector refused {count} {items} for good: {message}"),
        CollectorNote::Split => log::warn!(
            "a batch was too large for the collector (413); its halves are sent one by one"
        ),
    }
}

/// In seconds, to the millisecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}

/// Logs what happened to the store.
pub(super) fn log_store(news: &StoreNews) {
    match news {
        StoreNews::Slow => log::error!(
            "the state is slow: a commit has had no answer for {:?}; polls and exports wait, nothing is lost",
            limits::COMMIT_PATIENCE
        ),
        StoreNews::Failed(why) => log::error!(
            "the state cannot be written: {why}; polls and exports wait, nothing is lost; trying again"
        ),
        StoreNews::StillFailing(why) => log::error!("the state still cannot be written: {why}"),
        StoreNews::Recovered => log::info!("the state can be written again: polls go on"),
    }
}

fn log_trouble(names: &MonitorNames, reason: PollFailureReason, detail: &str) {
    let MonitorNames { monitor, api, .. } = names;
    let remedy = api.remedy(reason);
    if reason == PollFailureReason::Unauthorized {
        return log::error!(
            monitor = &**monitor;
            "the API refuses the credentials: {detail}; farspan keeps trying{remedy}"
        );
    }
    let (reason, url) = (reason.as_str(), &api.url);
    log::warn!(
        monitor = &**monitor;
        "the API cannot be polled ({reason}): {detail}, at {url}; farspan keeps trying{remedy}"
    );
}

/// How a sentence goes on that has named workflows and spans.
fn beside_spans(log_records: usize, finished_events: usize) -> String {
    let counts = [
        (log_records, "log records"),
        (finished_events, "finished events"),
    ];
    let some = counts.into_iter().filter(|(count, _)| *count > 0);
    some.map(|(count, what)| format!(" and {count} {what}"))
        .collect()
}

pub(super) fn log_report(report: &Report, stored: bool) {
    let counters = &report.counters;
    for line in what_happened(counters) {
        log::info!("{line}");
    }
    if stored {
        log::info!(
            "the state has {} bytes of at most {}; it was full {} times",
            counters.state_bytes,
            report.state_bytes_max,
            counters.state_filled,
        );
    }
    if let Some((level, line)) = what_is_left(report, stored) {
        log::log!(level, "{line}");
    }
}

/// Two lines: events, workflows and spans; then polls. A rare count is named only if it is not zero.
pub(super) fn what_happened(counters: &Counters) -> [String; 2] {
    let some = |counts: &[(u64, &str)]| -> String {
        let some = counts.iter().filter(|(count, _)| *count > 0);
        some.map(|(count, what)| format!(", {count} {what}"))
            .collect()
    };
    let events = some(&[
        (counters.events_shed(), "without room or monitor"),
        (
            counters.events_unreadable(),
            "of runs whose record cannot be used",
        ),
        (counters.runs_refused, "of runs that other instances own"),
        (
            counters.runs_forgotten,
            "of runs that may have a trace already",
        ),
    ]);
    let workflows = some(&[
        (counters.workflows_gone, "ended with their API"),
        (counters.workflows_superseded, "superseded"),
    ]);
    let exports = some(&[
        (counters.spans_delivered, "delivered"),
        (counters.spans_rejected, "rejected"),
        (counters.log_records_delivered, "log records delivered"),
        (counters.log_records_rejected, "log records rejected"),
        (counters.exports_retried(), "exports retried"),
        (
            counters.notifications_delivered,
            "finished events delivered",
        ),
        (counters.notifications_refused, "finished events refused"),
    ]);
    let spans = format!(
        "{} events, {} duplicates{events}; {} workflows ended, {} timed out, {} not found{workflows}; \
         {} spans finished{exports}",
        counters.events_accepted(),
        counters.events_duplicate(),
        counters.workflows_ended,
        counters.workflows_timed_out,
        counters.workflows_not_found,
        counters.spans_finished,
    );
    let reasons = PollFailureReason::ALL.iter().zip(counters.polls_failed());
    let reasons: Vec<_> = reasons
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| format!("{count} {}", reason.as_str()))
        .collect();
    let reasons = if reasons.is_empty() {
        String::new()
    } else {
        format!(" ({})", reasons.join(", "))
    };
    let answers = some(&[
        (counters.polls_not_found(), "not found"),
        (counters.answers_stale, "answered too late"),
    ]);
    let polls = format!(
        "{} polls, {} failed{reasons}{answers}{}",
        counters.polls(),
        counters.polls_failed().iter().sum::<u64>(),
        how_fast(counters)
    );
    [spans, polls]
}

/// The rest of the line about polls; empty if there was none.
fn how_fast(counters: &Counters) -> String {
    if counters.polls() == 0 {
        return String::new();
    }
    let (lateness, latency) = (counters.lateness(), counters.latency());
    format!(
        "; lateness p50 {:.1?}, p99 {:.1?}, longest {:.1?}; latency p50 {:.1?}, p99 {:.1?}",
        lateness.quantile(0.5),
        lateness.quantile(0.99),
        lateness.longest(),
        latency.quantile(0.5),
        latency.quantile(0.99),
    )
}

/// What the next start will find, or what is lost.
pub(super) fn what_is_left(report: &Report, stored: bool) -> Option<(Level, String)> {
    let (unfinished, undelivered) = (report.unfinished, report.undelivered);
    let log_records = report.log_records_undelivered;
    let events = beside_spans(log_records, report.untold);
    if stored && report.lost > 0 {
        let (runs, spans) = (report.runs_lost, report.spans_lost);
        let line = format!(
            "the state could not be written: {unfinished} workflows were watched, {undelivered} spans{events} were to be \
             delivered; {spans} of the spans and the last changes of {runs} workflows are lost, and the next start \
             goes on from what was written before"
        );
        return Some((Level::Error, line));
    }
    if unfinished + undelivered + log_records + report.untold == 0 {
        return None;
    }
    Some(if stored {
        let line = format!(
            "kept for the next start: {unfinished} workflows, {undelivered} spans{events} to deliver"
        );
        (Level::Info, line)
    } else {
        let line = format!(
            "{unfinished} workflows are no longer watched, and {undelivered} spans{events} were not delivered: without a state \
             the next start does not know of them"
        );
        (Level::Warn, line)
    })
}

/// How many runs these changes belong to, and how many spans they leave undelivered.
pub(super) fn touched<'a>(changes: impl Iterator<Item = &'a Change>) -> (usize, usize) {
    let (mut runs, mut spans) = (HashSet::new(), HashSet::new());
    for change in changes {
        match change {
            Change::PutItem(item) => {
                runs.insert(item.run);
                if item.signal == Signal::Traces {
                    spans.insert((item.run, item.sequence));
                }
            }
            Change::RemoveItems(gone) => {
                for item in gone {
                    runs.insert(item.run);
                    if item.signal == Signal::Traces {
                        spans.remove(&(item.run, item.sequence));
                    }
                }
            }
            Change::PutWorkflow { run, .. }
            | Change::RemoveWorkflow(run)
            | Change::PutFinished(run, _) => drop(runs.insert(*run)),
            Change::PutNotification(it) => drop(runs.insert(it.run)),
            Change::RemoveNotifications(gone) => runs.extend(gone.iter().map(|it| it.run)),
            // A finished run is stored only to recognise a late duplicate.
            Change::RemoveFinished(_) => {}
        }
    }
    (runs.len(), spans.len())
}
