//! A finished trace as text: one row for each span, its bar where it lay in time.
//!
//! Pure. Names and messages come from outside: whatever could move the cursor or reorder the line is escaped.

use crate::core::event::Value;
use crate::core::ids::SpanId;
use crate::core::span::{Span, SpanStatus};
use crate::core::time::Wall;
use crate::text::escape;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// No line is shorter than it takes to show anything.
pub const WIDTH_MIN: usize = 40;

/// How a trace is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// In columns.
    pub width: usize,
    /// Whether results are coloured.
    pub colour: bool,
}

const INDENT: usize = 2;
const GAP: usize = 2;
const OK: &str = "✓ ok";
const UNSET: &str = "· unset";
const ERROR: &str = "✗ error";
const RUNNING: &str = "… running";

/// The spans of one trace, at most `style.width` columns wide (but [`WIDTH_MIN`]), each line with its end.
///
/// Two lines of head (what ran, for how long and how it ended; the trace id), then the root, the span whose parent is
/// none or remote, and below each span its children by start. Spans whose parent is missing stand under the root. Those
/// that are `running` have not ended, whatever they say.
pub fn render(spans: &[Span], running: &HashSet<SpanId>, style: Style) -> String {
    let Some(root) = spans.iter().find(|span| is_root(span)).or(spans.first()) else {
        return String::new();
    };
    let width = style.width.max(WIDTH_MIN);
    let rows: Vec<SpanRow<'_>> = in_tree_order(spans)
        .into_iter()
        .map(|(depth, span)| SpanRow::new(depth, span, running))
        .collect();
    let columns = Columns::new(&rows, width);
    let mut text = head(root, running, width);
    for row in &rows {
        text.push_str(&row.line(root, &columns, style.colour));
    }
    text
}

/// A duration as people say it: `850ms`, `12.3s`, `4m 01s`, `1h 12m 03s`, `2d 03h 04m`.
pub fn humanise(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0 if millis == 0 => format!("{}µs", duration.subsec_micros()),
        0 => format!("{millis}ms"),
        1..60 => format!("{seconds}.{}s", millis / 100),
        60..3600 => format!("{minutes}m {:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h {:02}m {:02}s", minutes % 60, seconds % 60),
        _ => format!("{days}d {:02}h {:02}m", hours % 24, minutes % 60),
    }
}

fn is_root(span: &Span) -> bool {
    span.parent.is_none_or(|parent| parent.remote)
}

/// Depth first, siblings by start. Each span once, even if the parents' ids make no tree.
fn in_tree_order(spans: &[Span]) -> Vec<(usize, &Span)> {
    let mut by_start: Vec<&Span> = spans.iter().collect();
    // Latest first: the stack below pops from the end.
    by_start.sort_by_key(|span| std::cmp::Reverse((span.start, span.end)));
    let ids: HashSet<SpanId> = spans.iter().map(|span| span.span_id).collect();
    let mut children: BTreeMap<SpanId, Vec<&Span>> = BTreeMap::new();
    let (mut roots, mut orphans) = (Vec::new(), Vec::new());
    for span in by_start {
        match span.parent {
            _ if is_root(span) => roots.push(span),
            Some(parent) if ids.contains(&parent.span_id) => {
                children.entry(parent.span_id).or_default().push(span)
            }
            _ => orphans.push(span),
        }
    }
    let depth_of_orphans = usize::from(!roots.is_empty());
    let mut stack: Vec<(usize, &Span)> = orphans
        .into_iter()
        .map(|span| (depth_of_orphans, span))
        .collect();
    stack.extend(roots.into_iter().map(|span| (0, span)));
    let mut ordered = Vec::with_capacity(spans.len());
    loop {
        while let Some((depth, span)) = stack.pop() {
            ordered.push((depth, span));
            let below = children.remove(&span.span_id).unwrap_or_default();
            stack.extend(below.into_iter().map(|child| (depth + 1, child)));
        }
        // What is left hangs on itself in a ring.
        match children.pop_first() {
            Some((_, ring)) => stack.extend(ring.into_iter().map(|span| (1, span))),
            None => return ordered,
        }
    }
}

struct SpanRow<'a> {
    span: &'a Span,
    is_running: bool,
    name: String,
    duration: String,
    status: String,
}

/// How wide the columns are.
struct Columns {
    name: usize,
    bar: usize,
    duration: usize,
    status: usize,
}

impl Columns {
    /// What the texts need, but a quarter each for names and statuses; the bars have the rest.
    fn new(rows: &[SpanRow<'_>], width: usize) -> Columns {
        let widest = |texts: &mut dyn Iterator<Item = &str>| texts.map(columns).max().unwrap_or(0);
        let name = widest(&mut rows.iter().map(|row| row.name.as_str())).min(width / 4);
        let duration = widest(&mut rows.iter().map(|row| row.duration.as_str()));
        let status = widest(&mut rows.iter().map(|row| row.status.as_str())).min(width / 4);
        let bar = width
            .saturating_sub(name + duration + status + 3 * GAP)
            .max(1);
        Columns {
            name,
            bar,
            duration,
            status,
        }
    }
}

impl<'a> SpanRow<'a> {
    fn new(depth: usize, span: &'a Span, running: &HashSet<SpanId>) -> SpanRow<'a> {
        SpanRow {
            span,
            is_running: running.contains(&span.span_id),
            name: format!(
                "{:indent$}{}",
                "",
                escape(&span.name),
                indent = depth.min(8) * INDENT
            ),
            duration: humanise(span.end.since(span.start)),
            status: status_text(span, running),
        }
    }

    fn line(&self, root: &Span, columns: &Columns, colour: bool) -> String {
        let (before, cells) = bar(self.span.start, self.span.end, root, columns.bar);
        let after = columns.bar - before - cells;
        let (on, off) = match &self.span.status {
            _ if !colour => ("", ""),
            _ if self.is_running => ("\x1b[2m", "\x1b[0m"),
            SpanStatus::Ok => ("\x1b[32m", "\x1b[0m"),
            SpanStatus::Error(_) => ("\x1b[31m", "\x1b[0m"),
            SpanStatus::Unset => ("\x1b[2m", "\x1b[0m"),
        };
        let name = pad(&cut(&self.name, columns.name), columns.name);
        let bar = format!("{:before$}{on}{}{off}{:after$}", "", "━".repeat(cells), "");
        let duration = format!("{:>width$}", self.duration, width = columns.duration);
        let status = cut(&self.status, columns.status);
        format!("{name}  {bar}  {duration}  {on}{status}{off}\n")
    }
}

fn head(root: &Span, running: &HashSet<SpanId>, width: usize) -> String {
    let workflow_id = root.attributes.iter().find_map(|(key, value)| match value {
        Value::Str(id) if &**key == "workflowId" => Some(format!(" {}", escape(id))),
        _ => None,
    });
    let service = root.service.as_ref();
    let service = service.map(|service| format!("{}: ", escape(&service.name)));
    let what = format!(
        "{}{}{}  {}  {}",
        service.unwrap_or_default(),
        escape(&root.name),
        workflow_id.unwrap_or_default(),
        humanise(root.end.since(root.start)),
        status_text(root, running)
    );
    format!(
        "{}\n{}\n",
        cut(&what, width),
        cut(&format!("trace {}", root.trace_id), width)
    )
}

fn status_text(span: &Span, running: &HashSet<SpanId>) -> String {
    match &span.status {
        _ if running.contains(&span.span_id) => RUNNING.into(),
        SpanStatus::Ok => OK.into(),
        SpanStatus::Unset => UNSET.into(),
        SpanStatus::Error(message) if message.is_empty() => ERROR.into(),
        SpanStatus::Error(message) => format!("{ERROR}: {}", escape(message)),
    }
}

/// Cells before the bar and in it: at least one, and none beyond the root's own.
fn bar(start: Wall, end: Wall, root: &Span, width: usize) -> (usize, usize) {
    let total = root.end.since(root.start).as_nanos();
    if total == 0 {
        return (0, width);
    }
    let cells = |time: Wall| time.since(root.start).as_nanos().min(total) * width as u128;
    // Both fit: the quotient is at most `width`.
    let first = (cells(start) / total) as usize;
    let last = cells(end).div_ceil(total) as usize;
    let first = first.min(width - 1);
    (first, last.clamp(first + 1, width) - first)
}

/// At most that many columns, with an ellipsis where something was cut.
fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.into();
    }
    let mut left = width.saturating_sub(1);
    let kept = text.chars().take_while(|c| {
        let fits = column_count(*c) <= left;
        left = left.saturating_sub(column_count(*c));
        fits
    });
    kept.chain(['…']).collect()
}

fn pad(text: &str, width: usize) -> String {
    format!(
        "{text}{:missing$}",
        "",
        missing = width.saturating_sub(columns(text))
    )
}

fn columns(text: &str) -> usize {
    text.chars().map(column_count).sum()
}

/// East Asian wide characters and emoji take two columns (the blocks of Unicode's EastAsianWidth.txt, coarsely).
fn column_count(c: char) -> usize {
    match u32::from(c) {
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60 => 2,
        0xffe0..=0xffe6 | 0x1f300..=0x1f64f | 0x1f680..=0x1f9ff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::TraceId;
    use crate::core::span::{Parent, Service};
    use arbtest::arbtest;
    use expect_test::{Expect, expect};
    use std::sync::Arc;

    fn span(
        id: u8,
        parent: Option<(u8, bool)>,
        name: &str,
        from_s: i64,
        to_s: i64,
        status: SpanStatus,
    ) -> Span {
        let span_id = |id: u8| SpanId::from_bytes([id; 8]).unwrap();
        Span {
            trace_id: TraceId::from_bytes([0xab; 16]).unwrap(),
            span_id: span_id(id),
            parent: parent.map(|(id, remote)| Parent {
                span_id: span_id(id),
                remote,
            }),
            trace_flags: 1,
            trace_state: None,
            name: name.into(),
            start: Wall::from_unix_ns(from_s * 1_000_000_000),
            end: Wall::from_unix_ns(to_s * 1_000_000_000),
            status,
            attributes: vec![("workflowId".into(), Value::Str("704c0b60-109f".into()))],
            dropped_attributes: 0,
            events: Vec::new(),
            dropped_events: 0,
            links: Vec::new(),
            dropped_links: 0,
            service: None,
        }
    }

    fn check(spans: &[Span], width: usize, expected: Expect) {
        let text = drawn(spans, &HashSet::new(), width, false);
        assert!(text.lines().all(|line| columns(line) <= width), "{text}");
        expected.assert_eq(&text);
    }

    fn drawn(spans: &[Span], running: &HashSet<SpanId>, width: usize, colour: bool) -> String {
        render(spans, running, Style { width, colour })
    }

    #[test]
    fn a_success() {
        let spans = [
            span(3, Some((1, false)), "Processor", 305, 8000, SpanStatus::Ok),
            span(2, Some((1, false)), "DataLoader", 12, 290, SpanStatus::Ok),
            span(
                4,
                Some((1, false)),
                "OutputGenerator",
                8010,
                9000,
                SpanStatus::Ok,
            ),
            span(1, Some((9, true)), "Workflow", 0, 9001, SpanStatus::Ok),
        ];
        check(
            &spans,
            80,
            expect![[r#"
            Workflow 704c0b60-109f  2h 30m 01s  ✓ ok
            trace abababababababababababababababab
            Workflow           ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  2h 30m 01s  ✓ ok
              DataLoader       ━━                                               4m 38s  ✓ ok
              Processor         ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━      2h 08m 15s  ✓ ok
              OutputGenerator                                        ━━━━━     16m 30s  ✓ ok
        "#]],
        );
    }

    #[test]
    fn the_service_stands_first_where_it_is_not_farspan() {
        let mut root = span(1, None, "Workflow", 0, 100, SpanStatus::Ok);
        root.service = Some(Arc::new(Service {
            monitor: "airflow".into(),
            name: "data/etl\n".into(),
        }));
        let text = drawn(&[root], &HashSet::new(), 60, false);
        let head = text.lines().next();
        assert_eq!(
            head,
            Some(r"data/etl\n: Workflow 704c0b60-109f  1m 40s  ✓ ok")
        );
    }

    #[test]
    fn a_failure_in_little_room() {
        let spans = [
            span(
                1,
                None,
                "Workflow",
                0,
                100,
                SpanStatus::Error("Entity failed: DataLoader".into()),
            ),
            span(
                2,
                Some((1, false)),
                "Data\x1b[31mLoader\u{202e}",
                99,
                100,
                SpanStatus::Error("".into()),
            ),
            span(3, Some((2, false)), "子の段階", 99, 99, SpanStatus::Unset),
            span(5, Some((7, false)), "orphan", -50, 500, SpanStatus::Ok),
        ];
        check(
            &spans,
            60,
            expect![[r#"
            Workflow 704c0b60-109f  1m 40s  ✗ error: Entity failed: Dat…
            trace abababababababababababababababab
            Workflow         ━━━━━━━━━━━━━━━━━━  1m 40s  ✗ error: Entit…
              Data\u{1b}[3…                   ━    1.0s  ✗ error
                子の段階                      ━     0µs  · unset
              orphan         ━━━━━━━━━━━━━━━━━━  9m 10s  ✓ ok
        "#]],
        );
    }

    #[test]
    fn what_has_not_ended_is_shown_as_running() {
        let failed = SpanStatus::Error("Monitor timed out".into());
        let spans = [
            span(1, None, "W", 0, 9, failed.clone()),
            span(2, Some((1, false)), "A", 0, 3, SpanStatus::Ok),
            span(3, Some((1, false)), "B", 3, 9, failed),
        ];
        let running = HashSet::from([spans[0].span_id, spans[2].span_id]);
        expect![[r#"
            W 704c0b60-109f  9.0s  … running
            trace abababababababababababababababab
            W    ━━━━━━━━━━━━━━━━━━  9.0s  … running
              A  ━━━━━━              3.0s  ✓ ok
              B        ━━━━━━━━━━━━  6.0s  … running
        "#]]
        .assert_eq(&drawn(&spans, &running, 40, false));
    }

    #[test]
    fn colours_are_closed() {
        let spans = [span(1, None, "W", 0, 0, SpanStatus::Ok)];
        let text = drawn(&spans, &HashSet::new(), 40, true);
        assert_eq!(
            text.matches("\x1b[32m").count(),
            text.matches("\x1b[0m").count()
        );
        assert_eq!(drawn(&[], &HashSet::new(), 80, true), "");
    }

    #[test]
    fn any_spans_fit_and_none_is_lost() {
        arbtest(|u| {
            let mut spans = Vec::new();
            for id in 1..=u.int_in_range(1..=12_u8)? {
                let parent = if u.arbitrary()? {
                    Some((u.int_in_range(1..=14)?, u.arbitrary()?))
                } else {
                    None
                };
                let start = u.int_in_range(0..=1_000_000)?;
                let status = SpanStatus::Error(u.arbitrary::<&str>()?.into());
                let end = start + u.int_in_range(0..=1_000_000)?;
                spans.push(span(id, parent, u.arbitrary()?, start, end, status));
            }
            let width = u.int_in_range(WIDTH_MIN..=200)?;
            let text = drawn(&spans, &HashSet::new(), width, false);
            assert_eq!(text.lines().count(), spans.len() + 2);
            assert!(
                text.lines()
                    .all(|line| columns(line) <= width && line.chars().all(|c| !c.is_control())),
                "{text}"
            );
            assert!(
                text.lines().skip(2).all(|line| line.contains('━')),
                "{text}"
            );
            Ok(())
        });
    }

    #[test]
    fn durations_are_humanised() {
        let millis = [0, 850, 12_345, 59_999, 241_000, 4_323_000, 184_440_000];
        let texts: Vec<String> = millis.map(|ms| humanise(Duration::from_millis(ms))).into();
        assert_eq!(
            texts,
            [
                "0µs",
                "850ms",
                "12.3s",
                "59.9s",
                "4m 01s",
                "1h 12m 03s",
                "2d 03h 14m"
            ]
        );
    }
}
