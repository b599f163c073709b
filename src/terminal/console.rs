//! Standard output, for people: finished spans as text (the console exporter), and the lines of the commands.

use crate::core::event::Value;
use crate::core::span::{Span, SpanStatus};
use crate::os::environment::Environment;
use crate::os::redaction::without_secrets;
use crate::os::threads;
use crate::os::tty;
use crate::syntax::text::escape;
use crate::terminal::line::Style;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::convert::Infallible;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write as _};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Writes one line to standard output. A closed output is no reason to stop.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{}", without_secrets(line));
}

/// Whether what farspan prints is coloured: the option `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colours {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Also in a file or a pipe.
    Always,
    /// Nowhere.
    Never,
}

/// How lines are written to standard output.
pub(crate) fn style(env: &Environment, colours: Colours) -> Style {
    let is_terminal = io::stdout().is_terminal();
    style_of(env, colours, is_terminal, tty::size().map(|size| size.0))
}

fn style_of(
    env: &Environment,
    colours: Colours,
    is_terminal: bool,
    terminal_width: Option<usize>,
) -> Style {
    const WIDTH: usize = 100;
    let columns = env.text("COLUMNS").and_then(|columns| columns.parse().ok());
    let is_dumb = is_terminal && env.text("TERM") == Some("dumb");
    Style {
        width: columns.or(terminal_width).unwrap_or(WIDTH),
        colour: match colours {
            // <https://no-color.org>
            Colours::Auto => is_terminal && !is_dumb && env.text("NO_COLOR").is_none(),
            Colours::Always => true,
            Colours::Never => false,
        },
        ascii: is_dumb || !has_utf_8(env),
    }
}

/// Whether the locale has UTF-8. An environment without a locale, as in many containers, says nothing against it.
/// <https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/V1_chap08.html#tag_08_02>
fn has_utf_8(env: &Environment) -> bool {
    let mut names = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter();
    let Some(locale) = names.find_map(|name| env.text(name)) else {
        return true;
    };
    let codeset = locale.split_once('.').map_or("", |(_, codeset)| codeset);
    let codeset = codeset.split('@').next().unwrap_or_default();
    ["utf-8", "utf8"]
        .iter()
        .any(|utf_8| codeset.eq_ignore_ascii_case(utf_8))
}

/// The thread that writes. It ends when the channel of spans is closed and everything is written.
#[derive(Debug)]
pub struct Console {
    thread: JoinHandle<()>,
    /// Disconnects when the thread ends.
    ended: Receiver<Infallible>,
}

impl Console {
    /// Starts to write what comes from `spans`. A reader that has gone away ends it, and nothing else.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(spans: Receiver<Arc<Span>>) -> io::Result<Self> {
        let (end, ended) = bounded(0);
        let write = move || {
            let _end: Sender<Infallible> = end;
            for span in spans {
                let text = render(&span);
                let text = without_secrets(&text);
                if io::stdout().lock().write_all(text.as_bytes()).is_err() {
                    break;
                }
            }
        };
        let thread = threads::spawn("console", threads::STACK_BYTES, write)?;
        Ok(Console { thread, ended })
    }

    /// Waits until everything is written, once the channel of spans is closed. False if that took longer: a reader that
    /// has stopped to read must not hold farspan's end up.
    pub fn ends_within(self, timeout: Duration) -> bool {
        let ended = self.ended.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected);
        if ended {
            // If it panicked, it has said so on standard error.
            drop(self.thread.join());
        }
        ended
    }
}

/// A span in a few lines.
pub fn render(span: &Span) -> String {
    let mut text = String::new();
    // A String takes everything.
    let _ = write(&mut text, span);
    text
}

fn write(text: &mut String, span: &Span) -> fmt::Result {
    let status = match &span.status {
        SpanStatus::Unset => "unset".to_owned(),
        SpanStatus::Ok => "ok".to_owned(),
        SpanStatus::Error(message) if message.is_empty() => "error".to_owned(),
        SpanStatus::Error(message) => format!("error: {}", escape(message)),
    };
    let duration = span.end.since(span.start);
    writeln!(text, "{}  {duration:?}  {status}", escape(&span.name))?;
    write!(text, "    trace {}  span {}", span.trace_id, span.span_id)?;
    if let Some(parent) = span.parent {
        let remote = if parent.remote { " (remote)" } else { "" };
        write!(text, "  parent {}{remote}", parent.span_id)?;
    }
    writeln!(text, "\n    {} to {}", span.start, span.end)?;
    if let Some(service) = &span.service {
        writeln!(text, "    service {}", escape(&service.name))?;
    }
    for (key, value) in &span.attributes {
        let key = escape(key);
        match value {
            Value::Str(value) => writeln!(text, "    {key}: {}", escape(value))?,
            Value::Int(value) => writeln!(text, "    {key}: {value}")?,
            Value::Float(value) => writeln!(text, "    {key}: {value}")?,
            Value::Bool(value) => writeln!(text, "    {key}: {value}")?,
        }
    }
    for event in &span.events {
        writeln!(text, "    @ {}  {}", event.time, escape(&event.name))?;
    }
    writeln!(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::{SpanId, TraceId};
    use crate::core::span::{Parent, Service, SpanEvent};
    use crate::core::time::Wall;

    #[test]
    fn the_style_follows_the_terminal_and_the_environment() {
        use Colours::{Always, Auto, Never};
        let style = |variables: &[(&str, &str)], colours, terminal_width: Option<usize>| {
            let env = Environment::from_pairs(variables.iter().copied());
            let style = style_of(&env, colours, terminal_width.is_some(), terminal_width);
            (style.width, style.colour, style.ascii)
        };
        assert_eq!(style(&[], Auto, None), (100, false, false));
        assert_eq!(style(&[], Always, None), (100, true, false));
        assert_eq!(style(&[], Auto, Some(80)), (80, true, false));
        assert_eq!(style(&[], Never, Some(80)), (80, false, false));
        assert_eq!(style(&[("COLUMNS", "132")], Auto, Some(80)).0, 132);
        assert_eq!(style(&[("COLUMNS", "wide")], Auto, Some(80)).0, 80);
        let no_color = [("NO_COLOR", "1")];
        assert!(!style(&no_color, Auto, Some(80)).1);
        assert!(style(&no_color, Always, Some(80)).1);
        let dumb = [("TERM", "dumb"), ("LANG", "C.UTF-8")];
        assert_eq!(style(&dumb, Auto, Some(80)), (80, false, true));
        assert_eq!(style(&dumb, Auto, None), (100, false, false));
        for (locale, ascii) in [
            (&[("LANG", "de_DE.UTF-8")][..], false),
            (&[("LANG", "C.utf8")], false),
            (&[("LANG", "POSIX")], true),
            (&[("LANG", "de_DE.ISO-8859-15@euro")], true),
            (&[("LANG", "C.UTF-8"), ("LC_ALL", "C")], true),
            (&[("LANG", "C"), ("LC_CTYPE", "C.UTF-8")], false),
        ] {
            assert_eq!(style(locale, Auto, None).2, ascii, "{locale:?}");
        }
    }

    #[test]
    fn a_span_reads_well_and_hides_no_control_character() {
        let at = |text| Wall::parse_rfc3339(text).unwrap();
        let span = Span {
            trace_id: TraceId::from_bytes([7; 16]).unwrap(),
            span_id: SpanId::from_bytes([8; 8]).unwrap(),
            parent: Some(Parent {
                span_id: SpanId::from_bytes([9; 8]).unwrap(),
                remote: true,
            }),
            trace_flags: 1,
            trace_state: None,
            name: "Data\u{1b}Loader".into(),
            start: at("2024-07-05T06:57:58.0000001Z"),
            end: at("2024-07-05T07:01:02.7654321Z"),
            status: SpanStatus::Error("no\nsuch file".into()),
            attributes: vec![
                ("type".into(), "DataLoader".into()),
                ("farspan.incomplete".into(), Value::Bool(true)),
            ],
            dropped_attributes: 0,
            events: vec![SpanEvent {
                time: at("2024-07-05T06:58:00Z"),
                name: "Processing".into(),
            }],
            dropped_events: 0,
            links: vec![],
            dropped_links: 0,
            service: Some(Arc::new(Service {
                monitor: "airflow".into(),
                name: "data/etl".into(),
            })),
        };
        expect_test::expect![[r#"
            Data\u{1b}Loader  184.765432s  error: no\nsuch file
                trace 07070707070707070707070707070707  span 0808080808080808  parent 0909090909090909 (remote)
                2024-07-05T06:57:58.0000001Z to 2024-07-05T07:01:02.7654321Z
                service data/etl
                type: DataLoader
                farspan.incomplete: true
                @ 2024-07-05T06:58:00Z  Processing

        "#]].assert_eq(&render(&span));
    }
}
