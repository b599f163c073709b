//! What the log says of the loop: a line for each note of the core, and the report at the end.

use crate::core::turn::StoreNews;
use crate::core::{Change, Counters, Note, PollFailureReason, limits};
use log::Level;
use std::collections::HashSet;

/// What the loop did, and what it left undone.
#[derive(Clone, Debug)]
pub struct Report {
    /// The counters at the end.
    pub counters: Counters,
    /// Workflows that were watched at the end.
    pub unfinished: usize,
    /// Spans that the collector had not acknowledged.
    pub undelivered: usize,
    /// Finished events that their receivers had not accepted.
    pub untold: usize,
    /// Changes that no store has. Without a store: spans and finished events that were not delivered.
    pub lost: usize,
    /// Undelivered spans among the lost changes.
    pub spans_lost: usize,
    /// Runs that the lost changes belong to.
    pub runs_lost: usize,
    /// The limit of the state, in bytes.
    pub state_bytes_max: u64,
}

/// Logs a note of the core. `titles`: what the log calls each monitor's API.
pub(super) fn log_note(note: Note, titles: &[String]) {
    let (level, line) = line_of(note, titles);
    log::log!(level, "{line}");
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

/// The level and the text of a note.
///
/// Longer than other functions on purpose: one arm for each note, and the compiler names a missing one.
fn line_of(note: Note, titles: &[String]) -> (Level, String) {
    use Level::{Debug, Error, Info, Warn};
    let api = |monitor: u16| (titles.get(usize::from(monitor))).map_or("the API", String::as_str);
    match note {
        Note::Restored {
            workflows,
            spans,
            notifications,
        } => {
            let events = finished_events(notifications);
            let line = format!("restored {workflows} workflows and {spans} spans{events}");
            (Info, line + " from the store")
        }
        Note::Stranded {
            monitor,
            notifications,
        } => (
            Error,
            format!(
                "{notifications} stored finished events of monitor {monitor} have no receiver: restore the monitor's \
                 `finished` setting to deliver them; they stay stored until then"
            ),
        ),
        Note::RecordsUnreadable { workflows, why } => (
            Error,
            format!(
                "{workflows} stored workflows cannot be watched: {why}; their records stay stored"
            ),
        ),
        Note::RunUnreadable { workflow_id, why } => (
            Error,
            format!(
                "workflow {workflow_id:?} is not watched, because its stored record cannot be used: {why}; the record \
                 stays stored, and the start event stays in its source"
            ),
        ),
        Note::StateFull {
            full: true,
            bytes,
            bytes_max,
        } => (
            Error,
            format!(
                "the state is full, {bytes} bytes of {bytes_max} (FARSPAN_STATE_MAX_BYTES): new workflows wait until \
                 others have ended; watched workflows go on"
            ),
        ),
        Note::StateFull { bytes, .. } => (
            Info,
            format!("the state has room again ({bytes} bytes): new workflows are watched"),
        ),
        Note::Watching {
            workflow_id,
            trace_id,
        } => (
            Debug,
            format!("watching workflow {workflow_id:?}, trace {trace_id}"),
        ),
        Note::Duplicate { workflow_id } => (
            Debug,
            format!("duplicate start event of workflow {workflow_id:?}; ignored"),
        ),
        Note::Refused { elsewhere, done } => (
            Debug,
            format!("{elsewhere} runs belong to other instances, {done} runs are done already"),
        ),
        Note::Shed { workflow_id } => (
            Error,
            format!("no room for workflow {workflow_id:?}; it is not traced"),
        ),
        Note::Ended {
            workflow_id,
            trace_id,
            outcome,
            abandoned,
        } => match abandoned {
            None => (
                Debug,
                format!(
                    "workflow {workflow_id:?} ended: {}, trace {trace_id}",
                    outcome.as_str()
                ),
            ),
            Some(why) => (
                Warn,
                format!(
                    "workflow {workflow_id:?}: {}, trace {trace_id}",
                    why.message()
                ),
            ),
        },
        Note::HostTroubled {
            monitor,
            reason,
            detail,
        } => line_of_trouble(api(monitor), reason, &detail, titles.len()),
        Note::HostRecovered { monitor } => (Info, format!("{} answers again", api(monitor))),
        Note::HostPaused { monitor, pause } => (
            Warn,
            format!(
                "{} asked for a pause of {pause:?}; its host gets no request until then",
                api(monitor)
            ),
        ),
        Note::Odd { monitor, what } => (Warn, format!("in an answer of {}: {what}", api(monitor))),
        Note::PollsHeld(true) => (
            Error,
            "the outbox is full, because the collector or a receiver of finished events accepts nothing: polls wait, \
             nothing is lost"
                .to_owned(),
        ),
        Note::PollsHeld(false) => (
            Info,
            "the outbox has room again: polls go on".to_owned(),
        ),
        Note::NotifyTroubled { monitor, reason } => (
            Warn,
            format!(
                "the receiver of finished events about {} accepts nothing: {reason}; the events wait",
                api(monitor)
            ),
        ),
        Note::NotifyRecovered { monitor } => (
            Info,
            format!(
                "the receiver of finished events about {} accepts them again",
                api(monitor)
            ),
        ),
        Note::NotifyRefused {
            monitor,
            run,
            message,
        } => (
            Error,
            format!(
                "the receiver of finished events about {} refused event {run} for good: {message}; farspan drops the event",
                api(monitor)
            ),
        ),
        Note::ExportTroubled { reason, waiting } => (
            Warn,
            format!("the collector accepts no spans: {reason}; {waiting} spans wait"),
        ),
        Note::ExportRecovered => (Info, "the collector accepts spans again".to_owned()),
        Note::ExportPartial {
            rejected: 0,
            message,
        } => (
            Warn,
            format!("the collector accepted a batch with a warning: {message}"),
        ),
        Note::ExportPartial { rejected, message } => (
            Error,
            format!("the collector accepted a batch but rejected {rejected} of its spans: {message}"),
        ),
        Note::SpansRefused { spans, message } => (
            Error,
            format!("the collector refused {spans} spans for good: {message}; they are not sent again"),
        ),
        Note::ExportSplit => (
            Warn,
            "a batch was too large for the collector (413); its halves are sent one by one"
                .to_owned(),
        ),
    }
}

fn line_of_trouble(
    api: &str,
    reason: PollFailureReason,
    detail: &str,
    monitors: usize,
) -> (Level, String) {
    if reason == PollFailureReason::Unauthorized {
        let setting = match monitors {
            1 => "FARSPAN_API_TOKEN (or the monitor's api.auth)",
            _ => "the monitor's api.auth",
        };
        let line = format!("{api} refuses the credentials: {detail}; check {setting}");
        return (Level::Error, line + "; farspan keeps trying");
    }
    let reason = reason.as_str();
    let line = format!("{api} cannot be polled ({reason}): {detail}; farspan keeps trying");
    (Level::Warn, line)
}

/// How a sentence goes on that has named workflows and spans.
fn finished_events(count: usize) -> String {
    match count {
        0 => String::new(),
        count => format!(" and {count} finished events"),
    }
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
        (counters.events_shed, "without room or monitor"),
        (
            counters.events_unreadable,
            "of runs whose record cannot be used",
        ),
        (counters.runs_refused, "of runs that other instances own"),
    ]);
    let workflows = some(&[
        (counters.workflows_gone, "ended with their API"),
        (counters.workflows_superseded, "superseded"),
    ]);
    let exports = some(&[
        (counters.exports_retried, "exports retried"),
        (
            counters.notifications_delivered,
            "finished events delivered",
        ),
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
    let reasons = if reasons.is_empty() {
        String::new()
    } else {
        format!(" ({})", reasons.join(", "))
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

/// What the next start will find, or what is lost.
pub(super) fn what_is_left(report: &Report, stored: bool) -> Option<(Level, String)> {
    let (unfinished, undelivered) = (report.unfinished, report.undelivered);
    let events = finished_events(report.untold);
    if stored && report.lost > 0 {
        let (runs, spans) = (report.runs_lost, report.spans_lost);
        let line = format!(
            "the state could not be written: {unfinished} workflows were watched, {undelivered} spans{events} were to be \
             delivered; {spans} of the spans and the last changes of {runs} workflows are lost, and the next start \
             goes on from what was written before"
        );
        return Some((Level::Error, line));
    }
    if unfinished + undelivered + report.untold == 0 {
        return None;
    }
    Some(if stored {
        let line = format!(
            "kept for the next start: {unfinished} workflows, {undelivered} spans{events} to deliver"
        );
        (Level::Info, line)
    } else {
        let line = format!(
            "forgotten, because FARSPAN_STATE=none: {unfinished} workflows, {undelivered} spans{events} that were not \
             delivered in time"
        );
        (Level::Warn, line)
    })
}

/// How many runs these changes belong to, and how many spans they leave undelivered.
pub(super) fn touched<'a>(changes: impl Iterator<Item = &'a Change>) -> (usize, usize) {
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
            // A finished run is stored only to recognise a late duplicate.
            Change::RemoveFinished(_) => {}
        }
    }
    (runs.len(), spans.len())
}
