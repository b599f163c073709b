//! One workflow: how it stands, its waterfall, and the selected stage.

use super::{Size, age, date, due, sign};
use crate::command::top::state::{Open, Top, scrolled};
use crate::command::top::words::{Details, Event, StageDetails, StateWord, Summary};
use crate::core::time::Wall;
use crate::syntax::text::escape;
use crate::terminal::line::{Line, Look};
use crate::terminal::waterfall::{self, Axis, Bar, Node, WIDTH_MIN, humanise, in_tree_order};
use std::collections::{BTreeMap, HashSet};

pub(super) fn lines(top: &mut Top, size: Size, now: Wall) -> Vec<Line> {
    let Some(mut open) = top.open.take() else {
        return Vec::new();
    };
    let listed = top.run(&open.run).cloned();
    let details = open.details.take();
    let lines = match (listed, &details) {
        // The list is newer: it hears of each change.
        (Some(run), Some(details)) => shown(top, &mut open, &run, details, size, now),
        (None, Some(details)) => shown(top, &mut open, &details.summary, details, size, now),
        (Some(run), None) => shown(top, &mut open, &run, &Details::default(), size, now),
        (None, None) => Vec::new(),
    };
    open.details = details;
    top.open = Some(open);
    lines
}

fn shown(
    top: &mut Top,
    open: &mut Open,
    run: &Summary,
    details: &Details,
    size: Size,
    now: Wall,
) -> Vec<Line> {
    let mut lines = head(run, now);
    if let Some(trouble) = &open.trouble {
        lines.push(Line::of(escape(trouble), Look::Error));
    }
    lines.push(Line::default());
    let ordered = in_order(&details.spans);
    let mut bars = vec![bar_of_run(run, now)];
    bars.extend(
        ordered
            .iter()
            .map(|(depth, stage)| bar_of(*depth + 1, stage, now)),
    );
    open.rows = bars.len();
    if top.follows {
        let last = bars.iter().rposition(|bar| bar.look == Look::Running);
        open.row = last.unwrap_or(0);
    }
    open.row = open.row.min(bars.len() - 1);
    let panel = match open.row.checked_sub(1) {
        None => panel_of_run(run, details, now),
        Some(index) => panel_of(ordered[index].1, now),
    };
    // The waterfall has what it needs, but a third of the room is the panel's.
    let room = size.rows.saturating_sub(lines.len() + 1);
    let height = bars.len().min(room - (room / 3).min(panel.len())).max(1);
    top.page_rows = height;
    open.top_row = scrolled(open.top_row, open.row, bars.len(), height);
    let rows = waterfall::rows(&bars, axis(&bars, run, now), size.columns.max(WIDTH_MIN));
    let rows = rows.into_iter().enumerate();
    lines.extend(rows.skip(open.top_row).take(height).map(|(index, row)| {
        let mut row = row.fitted(size.columns);
        row.is_selected = index == open.row;
        row
    }));
    lines.push(Line::of("─".repeat(size.columns), Look::Dim));
    let room = size.rows.saturating_sub(lines.len());
    let hidden = panel.len().saturating_sub(room);
    lines.extend(panel.into_iter().take(room));
    if hidden > 0 && room > 0 {
        lines.pop();
        lines.push(Line::of(format!("… {} more", hidden + 1), Look::Dim));
    }
    lines
}

fn head(run: &Summary, now: Wall) -> Vec<Line> {
    let word = run.word();
    let (sign, look) = sign(word);
    let mut title = Line::of(
        format!("{} {}  ", escape(&run.name), escape(&run.workflow_id)),
        Look::Strong,
    );
    title.push(format!("{sign} {}", escape(word)), look);
    if let Some(duration) = run.duration(now) {
        title.push(format!("  {}", humanise(duration)), Look::Plain);
    }
    if let Some(begun) = run.begun() {
        title.push(format!("  since {}", date(begun)), Look::Dim);
    }
    let trace = &run.trace;
    let export = match (trace.sampled, trace.exported) {
        (false, _) => "not sampled",
        (true, true) => "the collector has it",
        (true, false) => "not exported yet",
    };
    let where_from = format!(
        "monitor {}  trace {}, {export}",
        escape(&run.monitor),
        escape(&trace.trace_id)
    );
    let mut lines = vec![title, Line::of(where_from, Look::Plain)];
    if let Some(url) = &trace.url {
        lines.push(Line::of(escape(url), Look::Plain));
    }
    if let Some(error) = &run.error {
        lines.push(Line::of(escape(error), Look::Error));
    }
    if run.state != StateWord::Ended {
        lines.push(polls(run, now));
    }
    lines
}

/// When it was polled, when it is polled next, and why not.
fn polls(run: &Summary, now: Wall) -> Line {
    let mut line = Line::default();
    match &run.last_poll {
        None => line.push("not polled yet", Look::Plain),
        Some(last) => {
            let ago = last.at.map(|at| format!("{} ago", age(now.since(at))));
            line.push(format!("polled {}: ", ago.unwrap_or_default()), Look::Plain);
            match last.trouble() {
                Some(trouble) => line.push(trouble, Look::Error),
                None => line.push(escape(&last.result), Look::Plain),
            }
        }
    }
    let Some(next) = &run.next_poll else {
        return line;
    };
    let is_under_way = next.why.as_deref() == Some("under way");
    if let Some(at) = next.at.filter(|_| !is_under_way) {
        line.push(format!("; {}", due(at, now)), Look::Plain);
    }
    if let Some(why) = &next.why {
        line.push(format!("; {}", escape(why)), Look::Warning);
    }
    line
}

/// The stages in the order of the tree, each with its depth.
fn in_order(stages: &[StageDetails]) -> Vec<(usize, &StageDetails)> {
    let ids: HashSet<&str> = stages.iter().map(|stage| stage.id.as_str()).collect();
    let last = Wall::from_unix_ns(i64::MAX);
    let nodes: Vec<Node<&str>> = stages
        .iter()
        .map(|stage| Node {
            id: stage.id.as_str(),
            // The workflow's own span is not among them.
            parent: stage
                .parent
                .as_deref()
                .filter(|parent| ids.contains(parent)),
            times: (
                stage.queued.or(stage.started).unwrap_or(last),
                stage.ended.unwrap_or(last),
            ),
        })
        .collect();
    let ordered = in_tree_order(&nodes).into_iter();
    ordered
        .map(|(depth, index)| (depth, &stages[index]))
        .collect()
}

fn bar_of_run(run: &Summary, now: Wall) -> Bar {
    Bar {
        depth: 0,
        name: escape(&run.name),
        queued: run.queued,
        start: run.started,
        end: run.ended.unwrap_or(now),
        look: sign(run.word()).1,
        status: status(run.word(), run.error.as_deref()),
    }
}

fn bar_of(depth: usize, stage: &StageDetails, now: Wall) -> Bar {
    let word = stage.state.word(stage.result.as_deref());
    let end = match stage.state {
        // Its end is not known any more.
        StateWord::Ended => stage.ended.or(stage.started).or(stage.queued),
        _ => None,
    };
    let name = match stage.attempt {
        0 | 1 => escape(&stage.name),
        attempt => format!("{} #{attempt}", escape(&stage.name)),
    };
    Bar {
        depth,
        name,
        queued: stage.queued,
        start: stage.started,
        end: end.unwrap_or(now),
        look: sign(word).1,
        status: status(word, stage.error.as_deref()),
    }
}

fn status(word: &str, error: Option<&str>) -> String {
    let error = error.map_or(String::new(), |error| format!(": {}", escape(error)));
    format!("{} {}{error}", sign(word).0, escape(word))
}

/// From the earliest time to the latest one: now, while it runs.
fn axis(bars: &[Bar], run: &Summary, now: Wall) -> Axis {
    let begins = bars.iter().filter_map(|bar| bar.queued.or(bar.start));
    let from = begins.chain(run.begun()).min().unwrap_or(now);
    let ends = bars.iter().filter(|bar| bar.start.or(bar.queued).is_some());
    let to = ends.map(|bar| bar.end).max().unwrap_or(now);
    Axis {
        from,
        to: to.max(from),
    }
}

fn panel_of_run(run: &Summary, details: &Details, now: Wall) -> Vec<Line> {
    let mut lines = times(
        run.status.as_deref(),
        [run.queued, run.started, run.ended],
        now,
    );
    if details.left_out > 0 {
        let text = format!("{} stages are not listed", details.left_out);
        lines.push(Line::of(text, Look::Warning));
    }
    add_events(&mut lines, &details.events);
    add_attributes(&mut lines, &details.attributes);
    lines
}

fn panel_of(stage: &StageDetails, now: Wall) -> Vec<Line> {
    let mut lines = times(
        stage.status.as_deref(),
        [stage.queued, stage.started, stage.ended],
        now,
    );
    if let Some(error) = &stage.error {
        lines.push(Line::of(escape(error), Look::Error));
    }
    add_events(&mut lines, &stage.events);
    add_attributes(&mut lines, &stage.attributes);
    lines
}

/// The status, and when it was queued, started and ended.
fn times(
    status: Option<&str>,
    [queued, started, ended]: [Option<Wall>; 3],
    now: Wall,
) -> Vec<Line> {
    let mut words = vec![match status {
        Some(status) => format!("status {}", escape(status)),
        None => "no status".to_owned(),
    }];
    if let Some(queued) = queued {
        let wait = humanise(started.or(ended).unwrap_or(now).since(queued));
        words.push(format!("queued {} for {wait}", date(queued)));
    }
    words.extend(started.map(|started| format!("started {}", date(started))));
    words.extend(ended.map(|ended| format!("ended {}", date(ended))));
    vec![Line::of(words.join("  "), Look::Plain)]
}

fn add_events(lines: &mut Vec<Line>, events: &[Event]) {
    lines.extend(events.iter().map(|event| {
        let at = event.at.map(date).unwrap_or_default();
        Line::of(format!("@ {at}  "), Look::Dim).with(escape(&event.name), Look::Plain)
    }));
}

fn add_attributes(lines: &mut Vec<Line>, attributes: &BTreeMap<String, serde_json::Value>) {
    lines.extend(attributes.iter().map(|(key, value)| {
        let value = match value {
            serde_json::Value::String(text) => escape(text),
            other => escape(&other.to_string()),
        };
        Line::of(format!("{}: ", escape(key)), Look::Dim).with(value, Look::Plain)
    }));
}
