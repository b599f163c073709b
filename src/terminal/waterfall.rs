//! A trace as text: one row for each span, its bar where it lay in time.
//!
//! Pure. Names and messages come from outside: whatever could move the cursor or reorder the line is escaped.

use super::line::{Line, Look, Style, columns, cut, fit};
use crate::core::event::Value;
use crate::core::ids::SpanId;
use crate::core::span::{Span, SpanStatus};
use crate::core::time::Wall;
use crate::syntax::text::escape;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

/// No line is shorter than it takes to show anything.
pub const WIDTH_MIN: usize = 40;

const INDENT: usize = 2;
const GAP: usize = 2;

/// A row of the waterfall: one span, ended or not.
#[derive(Clone, Debug)]
pub struct Bar {
    /// How deep it stands in the tree.
    pub depth: usize,
    /// Its name, escaped.
    pub name: String,
    /// Since when it waited, if that is known.
    pub queued: Option<Wall>,
    /// When it started. `None`: it waits; without `queued` too, its times are not known and it has no bar.
    pub start: Option<Wall>,
    /// When it ended; the time now, if it has not.
    pub end: Wall,
    /// Of the bar and the status.
    pub look: Look,
    /// Its status in words, escaped.
    pub status: String,
}

/// The time that a waterfall shows.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    /// At the left edge.
    pub from: Wall,
    /// At the right edge.
    pub to: Wall,
}

/// What a span has that decides where it stands in the tree.
#[derive(Clone, Copy, Debug)]
pub struct Node<I> {
    /// The span's id.
    pub id: I,
    /// Its parent's; `None` for a root.
    pub parent: Option<I>,
    /// Siblings stand in the order of their times.
    pub times: (Wall, Wall),
}

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
    let nodes: Vec<Node<SpanId>> = spans.iter().map(node_of).collect();
    let ordered = in_tree_order(&nodes);
    let bars: Vec<Bar> = ordered
        .into_iter()
        .map(|(depth, index)| bar_of(depth, &spans[index], running))
        .collect();
    let axis = Axis {
        from: root.start,
        to: root.end,
    };
    let mut text = String::new();
    for line in head(root, running, width)
        .into_iter()
        .chain(rows(&bars, axis, width))
    {
        text.push_str(&line.render(style));
        text.push('\n');
    }
    text
}

/// A line for each bar, at most `width` columns wide: its name, the bar, its duration and its status.
pub fn rows(bars: &[Bar], axis: Axis, width: usize) -> Vec<Line> {
    let names: Vec<String> = bars.iter().map(Bar::indented_name).collect();
    let durations = bars.iter().map(|bar| bar.duration().map(humanise));
    let durations: Vec<String> = durations.map(Option::unwrap_or_default).collect();
    let widths = Widths::new(&names, &durations, bars, width);
    let texts = names.iter().zip(&durations).zip(bars);
    texts
        .map(|((name, duration), bar)| {
            let mut line = Line::of(fit(name, widths.name) + "  ", Look::Plain);
            bar.draw(&mut line, axis, widths.bar);
            let duration = format!("  {duration:>width$}  ", width = widths.duration);
            line.push(duration, Look::Plain);
            line.push(cut(&bar.status, widths.status), bar.look);
            line
        })
        .collect()
}

/// Depth first, siblings by their times. Each node once, even if the parents' ids make no tree. A node whose parent is
/// missing stands under the root.
pub fn in_tree_order<I: Copy + Ord>(nodes: &[Node<I>]) -> Vec<(usize, usize)> {
    let mut by_time: Vec<usize> = (0..nodes.len()).collect();
    // Latest first: the stack below pops from the end.
    by_time.sort_unstable_by_key(|index| (std::cmp::Reverse(nodes[*index].times), *index));
    let ids: BTreeSet<I> = nodes.iter().map(|node| node.id).collect();
    let mut children: BTreeMap<I, Vec<usize>> = BTreeMap::new();
    let (mut roots, mut orphans) = (Vec::new(), Vec::new());
    for index in by_time {
        match nodes[index].parent {
            None => roots.push(index),
            Some(parent) if ids.contains(&parent) => {
                children.entry(parent).or_default().push(index)
            }
            Some(_) => orphans.push(index),
        }
    }
    let depth_of_orphans = usize::from(!roots.is_empty());
    let orphans = orphans.into_iter().map(|index| (depth_of_orphans, index));
    let mut stack: Vec<(usize, usize)> = orphans.collect();
    stack.extend(roots.into_iter().map(|index| (0, index)));
    let mut ordered = Vec::with_capacity(nodes.len());
    loop {
        while let Some((depth, index)) = stack.pop() {
            ordered.push((depth, index));
            let below = children.remove(&nodes[index].id).unwrap_or_default();
            stack.extend(below.into_iter().map(|child| (depth + 1, child)));
        }
        // What is left hangs on itself in a ring.
        match children.pop_first() {
            Some((_, ring)) => stack.extend(ring.into_iter().map(|index| (1, index))),
            None => return ordered,
        }
    }
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

/// How wide the columns are.
struct Widths {
    name: usize,
    bar: usize,
    duration: usize,
    status: usize,
}

impl Widths {
    /// What the texts need, but a quarter each for names and statuses; the bars have the rest.
    fn new(names: &[String], durations: &[String], bars: &[Bar], width: usize) -> Widths {
        let widest = |texts: &mut dyn Iterator<Item = &String>| {
            texts.map(|text| columns(text)).max().unwrap_or(0)
        };
        let name = widest(&mut names.iter()).min(width / 4);
        let duration = widest(&mut durations.iter());
        let status = widest(&mut bars.iter().map(|bar| &bar.status)).min(width / 4);
        let bar = width.saturating_sub(name + duration + status + 3 * GAP);
        Widths {
            name,
            bar: bar.max(1),
            duration,
            status,
        }
    }
}

impl Bar {
    /// How long it ran; how long it has waited, if it never ran.
    fn duration(&self) -> Option<Duration> {
        Some(self.end.since(self.start.or(self.queued)?))
    }

    fn indented_name(&self) -> String {
        let indent = self.depth.min(8) * INDENT;
        format!("{:indent$}{}", "", self.name)
    }

    /// The time in the queue, then the time that it ran; each where it lay.
    fn draw(&self, line: &mut Line, axis: Axis, width: usize) {
        let (before, waited, ran) = match (self.queued, self.start) {
            (None, None) => (width, 0, 0),
            (Some(queued), None) => {
                let (before, waited) = axis.cells(queued, self.end, width);
                (before, waited, 0)
            }
            (queued, Some(start)) => {
                let (first, ran) = axis.cells(start, self.end, width);
                let queued = queued.map_or(start, |queued| queued.min(start));
                let before = axis.cells(queued, start, width).0.min(first);
                (before, first - before, ran)
            }
        };
        line.push(" ".repeat(before), Look::Plain);
        line.push("╌".repeat(waited), Look::Dim);
        line.push("━".repeat(ran), self.look);
        line.push(" ".repeat(width - before - waited - ran), Look::Plain);
    }
}

impl Axis {
    /// Cells before a bar and in it: at least one, and none beyond the axis.
    fn cells(self, start: Wall, end: Wall, width: usize) -> (usize, usize) {
        let total = self.to.since(self.from).as_nanos();
        if total == 0 {
            return (0, width);
        }
        let cells = |time: Wall| time.since(self.from).as_nanos().min(total) * width as u128;
        // Both fit: the quotient is at most `width`.
        let first = (cells(start) / total) as usize;
        let last = cells(end).div_ceil(total) as usize;
        let first = first.min(width - 1);
        (first, last.clamp(first + 1, width) - first)
    }
}

fn is_root(span: &Span) -> bool {
    span.parent.is_none_or(|parent| parent.remote)
}

fn node_of(span: &Span) -> Node<SpanId> {
    let parent = span.parent.filter(|parent| !parent.remote);
    Node {
        id: span.span_id,
        parent: parent.map(|parent| parent.span_id),
        times: (span.start, span.end),
    }
}

fn bar_of(depth: usize, span: &Span, running: &HashSet<SpanId>) -> Bar {
    let (look, status) = status_of(span, running);
    Bar {
        depth,
        name: escape(&span.name),
        queued: None,
        start: Some(span.start),
        end: span.end,
        look,
        status,
    }
}

fn head(root: &Span, running: &HashSet<SpanId>, width: usize) -> [Line; 2] {
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
        status_of(root, running).1
    );
    let trace = format!("trace {}", root.trace_id);
    [what, trace].map(|text| Line::of(cut(&text, width), Look::Plain))
}

/// How a span ended, in words that start with a sign.
fn status_of(span: &Span, running: &HashSet<SpanId>) -> (Look, String) {
    const ERROR: &str = "✗ error";
    match &span.status {
        _ if running.contains(&span.span_id) => (Look::Running, "… running".into()),
        SpanStatus::Ok => (Look::Ok, "✓ ok".into()),
        SpanStatus::Unset => (Look::Dim, "· unset".into()),
        SpanStatus::Error(message) if message.is_empty() => (Look::Error, ERROR.into()),
        SpanStatus::Error(message) => (Look::Error, format!("{ERROR}: {}", escape(message))),
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
        render(
            spans,
            running,
            Style {
                width,
                colour,
                ascii: false,
            },
        )
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
