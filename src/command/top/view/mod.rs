//! What `top` shows, as lines for a screen of some size. Pure; what comes from outside is escaped here.

mod run;
mod table;

use super::state::Top;
use crate::core::time::{Now, Wall};
use crate::syntax::text::escape;
use crate::terminal::line::{Line, Look};
use crate::terminal::waterfall::humanise;
use std::time::Duration;

/// A whole screen.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    /// One for each row of the screen at most.
    pub(super) lines: Vec<Line>,
    /// Where the cursor is shown, if it is: column and row, counted from 1.
    pub(super) cursor: Option<(usize, usize)>,
}

/// Columns and rows of a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// Draws the screen. What is selected comes into sight.
pub(super) fn draw(top: &mut Top, size: Size, now: Now) -> Frame {
    let mut lines = vec![header(top, now)];
    lines.extend(trouble(top, now));
    // A row for the keys, and at least one for the rest.
    let height = size.rows.saturating_sub(lines.len() + 1).max(1);
    let body = Size {
        rows: height,
        ..size
    };
    let farspans = top.farspans(now);
    lines.extend(if top.has_help {
        help()
    } else if top.open.is_some() {
        run::lines(top, body, farspans)
    } else {
        table::lines(top, body, farspans)
    });
    lines.truncate(size.rows.saturating_sub(1).max(1));
    lines.resize_with(size.rows.saturating_sub(1), Line::default);
    let (keys, column) = keys(top);
    lines.push(keys);
    let lines: Vec<Line> = lines
        .into_iter()
        .take(size.rows)
        .map(|line| line.fitted(size.columns))
        .collect();
    let cursor = column.map(|column| (column.min(size.columns), size.rows));
    Frame { lines, cursor }
}

fn header(top: &Top, now: Now) -> Line {
    let url = escape(&top.url);
    let address = url.strip_prefix("http://").unwrap_or(&url);
    let mut line = Line::of("farspan top", Look::Strong)
        .with(format!("  {address}  "), Look::Plain)
        .with(
            format!("{} live, {} ended  ", top.live, top.ended),
            Look::Plain,
        );
    match (&top.link.lost, top.link.heard) {
        (Some(_), _) => line.push("NO CONNECTION", Look::Error),
        (None, None) => line.push("connecting", Look::Warning),
        (None, Some(heard)) => {
            let age = age(now.mono.since(heard.mono));
            line.push(format!("connected, data {age} old"), Look::Ok);
        }
    }
    line
}

/// Why what is shown is old, or does not move.
fn trouble(top: &Top, now: Now) -> Option<Line> {
    if let Some((since, error, wait)) = &top.link.lost {
        let lost = age(now.mono.since(since.mono));
        let data = match top.link.heard {
            Some(heard) => format!("data {} old", age(now.mono.since(heard.mono))),
            None => "no data yet".to_owned(),
        };
        let text = format!(
            "no answer for {lost}, {data}, tried every {}: {}",
            age(*wait),
            escape(error)
        );
        return Some(Line::of(text, Look::Error));
    }
    let held = top.held.as_ref()?;
    let text = format!("no workflow is polled now: {}", escape(held));
    Some(Line::of(text, Look::Warning))
}

/// The last line, and the column of the cursor in it.
fn keys(top: &Top) -> (Line, Option<usize>) {
    if top.has_help {
        return (Line::of("any key: back", Look::Dim), None);
    }
    if top.is_typing {
        let line = Line::of("filter: ", Look::Strong).with(escape(&top.filter), Look::Plain);
        let column = line.width() + 1;
        let hint = "  (Enter: keep, Esc: none)";
        return (line.with(hint, Look::Dim), Some(column));
    }
    let follow = if top.follows {
        "f unfollow"
    } else {
        "f follow"
    };
    let keys = match &top.open {
        Some(_) => format!("Esc back  jk select  {follow}  ? help  q quit"),
        None => {
            format!("Enter open  / filter  s sort  r reverse  t which  {follow}  ? help  q quit")
        }
    };
    (Line::of(keys, Look::Dim), None)
}

fn help() -> Vec<Line> {
    const KEYS: [(&str, &str); 14] = [
        (
            "Up Down, k j",
            "select a workflow, or a stage of the open one",
        ),
        ("PgUp PgDn, Space", "a page up or down"),
        ("Home End, g G", "the first, the last"),
        ("Enter", "open the selected workflow"),
        ("Esc", "back to the table; in the table: no filter"),
        (
            "/",
            "filter by words: id, name, monitor, state, error, trace id",
        ),
        ("s", "sort by start, duration, workflow, state, next poll"),
        ("r", "reverse the order"),
        ("t", "which workflows: all, live, ended, failed"),
        (
            "f",
            "follow: select the first row; in a workflow, what runs",
        ),
        ("?, h", "this"),
        ("Ctrl-Z", "suspend"),
        ("q, Ctrl-C", "quit"),
        ("", "Times are UTC. ╌ waits in a queue, ━ runs or ran."),
    ];
    let keys = KEYS
        .iter()
        .map(|(key, what)| Line::of(format!("  {key:18}"), Look::Strong).with(*what, Look::Plain));
    std::iter::once(Line::default()).chain(keys).collect()
}

/// A duration in one or two units, without fractions of a second.
fn age(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        _ => humanise(duration),
    }
}

/// When a poll is due, as seen from now.
fn due(at: Wall, now: Wall) -> String {
    /// What is due is sent within this time, if nothing is wrong.
    const SOON: Duration = Duration::from_secs(2);
    match now.since(at) {
        Duration::ZERO => format!("next in {}", age(at.since(now))),
        late if late < SOON => "due now".to_owned(),
        late => format!("due for {}", age(late)),
    }
}

/// `07-05 06:57:51`, in UTC.
pub(super) fn date(at: Wall) -> String {
    let whole = at.to_string();
    match (whole.get(5..10), whole.get(11..19)) {
        (Some(day), Some(time)) => format!("{day} {time}"),
        _ => whole,
    }
}

/// The sign in front of a state or result, and how both look.
pub(super) fn sign(word: &str) -> (&'static str, Look) {
    match word {
        "success" => ("✓", Look::Ok),
        "running" => ("…", Look::Running),
        "waiting" | "skip" | "ended" => ("·", Look::Dim),
        _ => ("✗", Look::Error),
    }
}

#[cfg(test)]
mod tests;
