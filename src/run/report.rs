//! What the log says of the loop: a line for each note of the core, and the report at the end.

use crate::core::{Change, Counters, Note, PollFailureReason};
use std::collections::HashSet;

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

/// `apis`: what the API of each monitor is called.
pub(super) fn log_note(note: Note, apis: &[String]) {
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

pub(super) fn log_report(report: &Report, stored: bool) {
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
pub(super) fn what_happened(counters: &Counters) -> [String; 2] {
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
pub(super) fn what_is_left(report: &Report, stored: bool) -> Option<(log::Level, String)> {
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
pub(super) fn touched(changes: &[Change]) -> (usize, usize) {
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
