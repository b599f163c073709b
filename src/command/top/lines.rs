//! `top` without a terminal: a line for each workflow, then one for each change.

use super::client::{self, AdminClient, Heard};
use super::view::{date, sign};
use super::words::{LastPollWords, RunsPage, StageTally, StateWord, Summary};
use crate::core::time::{Now, Wall};
use crate::os::redaction::without_secrets;
use crate::os::{clock, signals};
use crate::syntax::text::escape;
use crate::terminal::line::{Line, Look, Style};
use crate::terminal::waterfall::humanise;
use crossbeam_channel::{bounded, select};
use std::collections::{HashMap, HashSet};
use std::io::{self, Write as _};

/// Prints the listed workflows, the oldest first. Unless it is `once`, it goes on with the changes until a signal comes
/// or the reader has gone.
///
/// # Errors
/// A thread or a signal handler cannot be had.
pub(super) fn show(
    client: AdminClient,
    listing: RunsPage,
    once: bool,
    style: Style,
) -> Result<(), String> {
    // Before the first line: its reader may send a signal at once.
    let stopped = signals::stop().map_err(|error| format!("cannot listen to signals: {error}"))?;
    let mut printed = Printed::new(style);
    let version = listing.version;
    if !printed.list(listing, clock::now()) || once {
        return Ok(());
    }
    let (news, heard) = bounded(1);
    let (_stop, stopping) = bounded(0);
    client::follow(client, version, news, stopping)
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    loop {
        let goes_on = select! {
            recv(stopped) -> _ => return Ok(()),
            recv(heard) -> heard => match heard {
                Ok(heard) => printed.hear(heard, clock::now()),
                Err(_) => return Err("the thread that asks farspan has ended".to_owned()),
            },
        };
        if !goes_on {
            return Ok(());
        }
    }
}

/// What a line says of a run, but its times. A poll that changes nothing of it is no news.
type SaidOfRun = (
    StateWord,
    Option<String>,
    Option<String>,
    Option<String>,
    StageTally,
);

/// The lines so far.
struct Printed {
    style: Style,
    shown: HashMap<String, SaidOfRun>,
    is_lost: bool,
}

impl Printed {
    fn new(style: Style) -> Printed {
        Printed {
            style,
            shown: HashMap::new(),
            is_lost: false,
        }
    }

    /// Whether there is still a reader.
    fn hear(&mut self, heard: Heard, now: Now) -> bool {
        match heard {
            Heard::Listed(listing) => {
                self.is_lost = false;
                let known = listing.workflows.iter().map(|run| &run.run);
                let known: HashSet<&String> = known.collect();
                self.shown.retain(|run, _| known.contains(run));
                self.list(*listing, now)
            }
            Heard::Changed(changes) => {
                self.is_lost = false;
                for run in &changes.gone {
                    self.shown.remove(run);
                }
                let at = changes.now.unwrap_or(now.wall);
                changes.workflows.iter().all(|run| self.print(run, at))
            }
            Heard::Lost(error, _) => {
                if !std::mem::replace(&mut self.is_lost, true) {
                    let error = escape(&without_secrets(&error));
                    let _ = writeln!(io::stderr().lock(), "farspan: {error}; trying again");
                }
                true
            }
            Heard::Detailed(..) => true,
        }
    }

    fn list(&mut self, listing: RunsPage, now: Now) -> bool {
        let at = listing.now.unwrap_or(now.wall);
        let mut runs = listing.workflows;
        runs.sort_by_key(Summary::begun);
        runs.iter().all(|run| self.print(run, at))
    }

    fn print(&mut self, run: &Summary, at: Wall) -> bool {
        let shown = (
            run.state,
            run.status.clone(),
            run.result.clone(),
            run.error.clone(),
            run.stages,
        );
        if self.shown.get(&run.run) == Some(&shown) {
            return true;
        }
        self.shown.insert(run.run.clone(), shown);
        let line = line(run, at).render(self.style);
        writeln!(io::stdout().lock(), "{}", without_secrets(&line)).is_ok()
    }
}

/// One line for a run: when, which, how far, how long, and what went wrong.
fn line(run: &Summary, at: Wall) -> Line {
    let (sign, look) = sign(run.word());
    let time = date(at);
    let mut line = Line::of(format!("{time}  "), Look::Plain);
    line.push(format!("{sign} {}", escape(run.word())), look);
    let (name, id) = (escape(&run.name), escape(&run.workflow_id));
    line.push(format!("  {name} {id}"), Look::Plain);
    if let Some(status) = &run.status {
        line.push(format!("  {}", escape(status)), Look::Plain);
    }
    if run.stages.total > 0 {
        let StageTally {
            total,
            ended,
            failed,
        } = run.stages;
        line.push(format!("  {ended}/{total} stages"), Look::Plain);
        if failed > 0 {
            line.push(format!(", {failed} failed"), Look::Error);
        }
    }
    if let Some(duration) = run.duration(at) {
        line.push(format!("  {}", humanise(duration)), Look::Plain);
    }
    line.push(format!("  monitor {}", escape(&run.monitor)), Look::Plain);
    line.push(
        format!("  trace {}", escape(&run.trace.trace_id)),
        Look::Dim,
    );
    if let Some(error) = &run.error {
        line.push(format!("  {}", escape(error)), Look::Error);
    }
    let polled = run.last_poll.as_ref().filter(|_| run.ended.is_none());
    if let Some(trouble) = polled.and_then(LastPollWords::trouble) {
        line.push(format!("  last poll: {trouble}"), Look::Error);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_it_all_and_hides_no_control_character() {
        let run = r#"{"run": "a", "workflow_id": "7\u001b[2J", "monitor": "m", "name": "W", "state": "ended",
            "status": "Failed", "result": "failure", "error": "no\nroom", "started": "2024-07-05T06:57:51Z",
            "ended": "2024-07-05T06:59:51Z", "stages": {"total": 3, "ended": 2, "failed": 1, "waiting": 1},
            "trace": {"trace_id": "abab"}, "unknown": []}"#;
        let run: Summary = serde_json::from_str(run).unwrap();
        let at = Wall::parse_rfc3339("2024-07-05T07:00:00Z").unwrap();
        expect_test::expect![[r#"07-05 07:00:00  ✗ failure  W 7\u{1b}[2J  Failed  2/3 stages, 1 failed  2m 00s  monitor m  trace abab  no\nroom"#]].assert_eq(&line(&run, at).text());
        let waits = r#"{"run": "b", "workflow_id": "8", "monitor": "m", "name": "W", "state": "waiting",
            "last_poll": {"at": "2024-07-05T06:59:51Z", "result": "connect", "error": "Connection refused"},
            "trace": {"trace_id": "cdcd"}}"#;
        let waits: Summary = serde_json::from_str(waits).unwrap();
        let waits = line(&waits, at).text();
        assert!(
            waits.ends_with("trace cdcd  last poll: Connection refused"),
            "{waits}"
        );
    }
}
