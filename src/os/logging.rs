//! farspan's log: lines on standard error. The facade is the crate `log`; nothing else writes there while farspan runs.

use crate::core::time::Wall;
use crate::os::clock;
use crate::text::{escape, escape_json};
use log::{Level, LevelFilter, Metadata, Record};
use serde::Serialize;
use std::io::Write as _;

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// This level and the graver ones.
    pub level: LevelFilter,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Takes the log over, for the whole process. A second call changes nothing.
pub fn start(log: &Log) {
    if log::set_boxed_logger(Box::new(Stderr(log.format))).is_ok() {
        set_level(log.level);
    }
}

/// From now on this and what is graver is logged.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

struct Stderr(LogFormat);

impl log::Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_logged(log::max_level(), metadata.level(), metadata.target())
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (level, target) = (record.level(), record.target());
        let line = line(
            self.0,
            clock::now().wall,
            level,
            target,
            &record.args().to_string(),
        );
        // Standard error is closed: there is no place to report it.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// What others write in farspan's log has to be a warning: `info` from a TLS library is no news to farspan's user.
fn is_logged(most: LevelFilter, level: Level, target: &str) -> bool {
    let is_ours = target == "farspan" || target.starts_with("farspan::");
    if is_ours || most == LevelFilter::Trace {
        level <= most
    } else {
        level <= most.min(LevelFilter::Warn)
    }
}

/// One line with its end, written at once so that the lines of two threads never mix.
fn line(format: LogFormat, time: Wall, level: Level, target: &str, message: &str) -> String {
    let target = target.strip_prefix("farspan::").unwrap_or(target);
    let time = milliseconds(time);
    match format {
        LogFormat::Text => {
            // A line break in a message from elsewhere would pass for a line of this log.
            format!("{time} {level:<5} {target}: {}\n", escape(message))
        }
        LogFormat::Json => {
            #[derive(Serialize)]
            struct JsonLine<'a> {
                time: &'a str,
                level: &'a str,
                target: &'a str,
                message: &'a str,
            }
            let level = level.as_str().to_ascii_lowercase();
            let line = JsonLine {
                time: &time,
                level: &level,
                target,
                message,
            };
            // Strings alone: serde_json has no reason to fail.
            let line = serde_json::to_string(&line).unwrap_or_default();
            escape_json(&line) + "\n"
        }
    }
}

/// Always three fraction digits, so that the columns stand.
fn milliseconds(time: Wall) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(time.as_unix_ns())) {
        Ok(timestamp) => format!("{timestamp:.3}"),
        Err(_) => time.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(format: LogFormat, messages: &[&str], expected: Expect) {
        let time = Wall::from_unix_ns(1_795_168_621_123_999_999);
        let lines: String = messages
            .iter()
            .map(|message| line(format, time, Level::Info, "farspan::api::poller", message))
            .collect();
        expected.assert_eq(&lines);
    }

    #[test]
    fn text_keeps_to_its_line() {
        let messages = [
            "500 from api.test",
            "a\nb\r\u{1b}[31m \"q\" \\ ä\u{2028}\u{202e}",
            "",
        ];
        check(
            LogFormat::Text,
            &messages,
            expect![[r#"
                2026-11-20T09:57:01.123Z INFO  api::poller: 500 from api.test
                2026-11-20T09:57:01.123Z INFO  api::poller: a\nb\r\u{1b}[31m "q" \ ä\u{2028}\u{202e}
                2026-11-20T09:57:01.123Z INFO  api::poller: 
            "#]],
        );
    }

    #[test]
    fn json_is_escaped() {
        check(
            LogFormat::Json,
            &["500 from api.test", "a\nb\u{1b} \"q\" \\ ä\u{202e}"],
            expect![[r#"
                {"time":"2026-11-20T09:57:01.123Z","level":"info","target":"api::poller","message":"500 from api.test"}
                {"time":"2026-11-20T09:57:01.123Z","level":"info","target":"api::poller","message":"a\nb\u001b \"q\" \\ ä\u202e"}
            "#]],
        );
    }

    #[test]
    fn a_whole_second_has_its_digits() {
        assert_eq!(
            milliseconds(Wall::from_unix_ns(0)),
            "1970-01-01T00:00:00.000Z"
        );
        assert_eq!(
            milliseconds(Wall::from_unix_ns(-1_000_000)),
            "1969-12-31T23:59:59.999Z"
        );
    }

    #[test]
    fn others_are_heard_from_warnings_on() {
        for (most, level, target, logged) in [
            (LevelFilter::Info, Level::Info, "farspan::run", true),
            (LevelFilter::Info, Level::Debug, "farspan", false),
            (LevelFilter::Debug, Level::Info, "rustls::client", false),
            (LevelFilter::Debug, Level::Info, "farspanner", false),
            (LevelFilter::Info, Level::Warn, "redis", true),
            (LevelFilter::Error, Level::Warn, "redis", false),
            (LevelFilter::Trace, Level::Trace, "ureq", true),
        ] {
            assert_eq!(
                is_logged(most, level, target),
                logged,
                "{most} {level} {target}"
            );
        }
    }
}
