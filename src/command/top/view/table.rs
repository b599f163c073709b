//! The table of workflows.

use super::{Size, age, date, due, sign};
use crate::command::top::state::{Sort, Top, scrolled};
use crate::command::top::words::{LastPollWords, StateWord, Summary};
use crate::core::time::Wall;
use crate::syntax::text::escape;
use crate::terminal::line::{self, Line, Look, cut, fit};
use crate::terminal::waterfall::humanise;

/// What stands in a column.
#[derive(Clone, Copy, PartialEq)]
enum Column {
    Sign,
    State,
    Workflow,
    Monitor,
    Status,
    Stages,
    Started,
    Duration,
    Note,
}

const GAP: usize = 2;

pub(super) fn lines(top: &mut Top, size: Size, now: Wall) -> Vec<Line> {
    let columns = columns(size.columns);
    // The line above the table, and that of the titles.
    let height = size.rows.saturating_sub(2).max(1);
    top.page_rows = height;
    let rows = top.rows().len();
    top.top_row = scrolled(top.top_row, top.row, rows, height);
    let mut lines = vec![summary(top), titles(&columns, top)];
    let rows = top.rows().enumerate().skip(top.top_row).take(height);
    lines.extend(rows.map(|(index, run)| {
        let mut line = row(run, &columns, now);
        line.is_selected = index == top.row;
        line
    }));
    if top.rows().len() == 0 {
        let text = match (top.known(), top.link.heard) {
            (_, None) => "",
            (0, _) => "  farspan watches no workflow, and has watched none lately",
            _ => "  no workflow is like that: Esc removes the filter, t shows others",
        };
        lines.push(Line::of(text, Look::Dim));
    }
    lines
}

/// Which workflows are shown, in which order.
fn summary(top: &Top) -> Line {
    let order = if top.is_reversed { ", reversed" } else { "" };
    let mut line = Line::of(
        format!(
            "{} of {} workflows: {}, by {}{order}",
            top.rows().len(),
            top.live + top.ended,
            top.shown.title(),
            top.sort.title(),
        ),
        Look::Plain,
    );
    if top.follows {
        line.push(", following", Look::Plain);
    }
    if !top.filter.is_empty() {
        line.push(format!("  filter: {}", escape(&top.filter)), Look::Warning);
    }
    line
}

/// The columns that there is room for, and their widths.
fn columns(width: usize) -> Vec<(Column, usize)> {
    use Column::{Duration, Monitor, Note, Sign, Stages, Started, State, Status, Workflow};
    const UUID: usize = 36;
    const NOTE_MIN: usize = 18;
    const NOTE_MAX: usize = 60;
    // Those of the width 0 share what is left.
    let mut columns = match width {
        ..50 => vec![(Sign, 1), (Workflow, 0), (Duration, 10)],
        50..80 => vec![(State, 9), (Workflow, 0), (Stages, 8), (Duration, 10)],
        80..100 => vec![
            (State, 9),
            (Workflow, 0),
            (Stages, 8),
            (Duration, 11),
            (Note, 0),
        ],
        100..130 => vec![
            (State, 9),
            (Workflow, 0),
            (Stages, 8),
            (Started, 14),
            (Duration, 11),
            (Note, 0),
        ],
        _ => vec![
            (State, 14),
            (Workflow, 0),
            (Monitor, 12),
            (Status, 13),
            (Stages, 10),
            (Started, 14),
            (Duration, 11),
            (Note, 0),
        ],
    };
    let fixed: usize = columns.iter().map(|(_, width)| width).sum();
    let gaps = GAP * (columns.len() - 1);
    let left = width.saturating_sub(fixed + gaps);
    let has_note = columns.iter().any(|(column, _)| *column == Note);
    let workflow = if has_note {
        // An id is a UUID often.
        (left.saturating_sub(NOTE_MIN).min(UUID)).max(left.saturating_sub(NOTE_MAX))
    } else {
        left
    };
    for (column, width) in &mut columns {
        match column {
            Workflow => *width = workflow,
            Note => *width = left - workflow,
            _ => {}
        }
    }
    columns
}

fn titles(columns: &[(Column, usize)], top: &Top) -> Line {
    let mut line = Line::default();
    for (column, width) in columns {
        let (title, sort) = match column {
            Column::Sign => ("", Some(Sort::State)),
            Column::State => ("STATE", Some(Sort::State)),
            Column::Workflow => ("WORKFLOW", Some(Sort::Workflow)),
            Column::Monitor => ("MONITOR", None),
            Column::Status => ("STATUS", None),
            Column::Stages => ("STAGES", None),
            Column::Started => ("STARTED", Some(Sort::Started)),
            Column::Duration => ("DURATION", Some(Sort::Duration)),
            Column::Note => ("POLLS, ERROR", Some(Sort::NextPoll)),
        };
        let mark = match (sort == Some(top.sort), top.is_reversed) {
            (false, _) => "",
            (true, false) => "▼",
            (true, true) => "▲",
        };
        let is_right = matches!(column, Column::Duration | Column::Stages);
        add(
            &mut line,
            &format!("{title}{mark}"),
            Look::Strong,
            *width,
            is_right,
        );
    }
    line
}

fn row(run: &Summary, columns: &[(Column, usize)], now: Wall) -> Line {
    let mut line = Line::default();
    for (column, width) in columns {
        let (text, look) = cell(run, *column, now);
        let is_right = matches!(column, Column::Duration | Column::Stages);
        add(&mut line, &text, look, *width, is_right);
    }
    line
}

fn cell(run: &Summary, column: Column, now: Wall) -> (String, Look) {
    let word = run.word();
    let (sign, look) = sign(word);
    match column {
        Column::Sign => (sign.to_owned(), look),
        Column::State => (format!("{sign} {}", escape(word)), look),
        Column::Workflow => (escape(&run.workflow_id), Look::Plain),
        Column::Monitor => (escape(&run.monitor), Look::Plain),
        Column::Status => {
            let status = run.status.as_deref().unwrap_or_default();
            (escape(status), Look::Plain)
        }
        Column::Stages => match run.stages {
            stages if stages.total == 0 => (String::new(), Look::Plain),
            stages if stages.failed > 0 => (
                format!("{}/{} {}✗", stages.ended, stages.total, stages.failed),
                Look::Error,
            ),
            stages => (format!("{}/{}", stages.ended, stages.total), Look::Plain),
        },
        Column::Started => {
            let begun = run.begun().map(date).unwrap_or_default();
            (begun, Look::Plain)
        }
        Column::Duration => {
            let duration = run.duration(now).map(humanise).unwrap_or_default();
            (duration, Look::Plain)
        }
        Column::Note => note(run, now),
    }
}

/// The error of what has ended, and of what has not, when it is polled and why it is not.
fn note(run: &Summary, now: Wall) -> (String, Look) {
    if run.state == StateWord::Ended {
        let error = run.error.as_deref().unwrap_or_default();
        return (escape(error), Look::Error);
    }
    let (last, next) = (run.last_poll.as_ref(), run.next_poll.as_ref());
    let trouble = last.and_then(LastPollWords::trouble);
    let why = next.and_then(|next| next.why.as_deref());
    let look = match (trouble.is_some(), why) {
        (true, _) => Look::Error,
        (false, None | Some("under way")) => Look::Dim,
        (false, Some(_)) => Look::Warning,
    };
    let ago = last.and_then(|last| last.at);
    let ago = ago.map(|at| format!("{} ago", age(now.since(at))));
    let first = trouble.or(why.map(escape)).or(ago);
    // What is under way is not due.
    let at = next
        .and_then(|next| next.at)
        .filter(|_| why != Some("under way"));
    let parts = [first, at.map(|at| due(at, now))];
    let text: Vec<String> = parts.into_iter().flatten().collect();
    (text.join(", "), look)
}

/// Adds a cell, and the gap before it.
fn add(row: &mut Line, text: &str, look: Look, width: usize, is_right: bool) {
    if row.width() > 0 {
        row.push(" ".repeat(GAP), Look::Plain);
    }
    let text = cut(text, width);
    if is_right {
        let before = width - line::columns(&text);
        row.push(" ".repeat(before), Look::Plain);
        row.push(text, look);
    } else {
        row.push(fit(&text, width), look);
    }
}
