//! One line of the log: its message, and its fields (monitor, workflow, trace id and so on).
//!
//! No clock and no I/O.

use crate::core::time::Wall;
use crate::os::redaction::without_secrets;
use crate::syntax::text::{escape, escape_json};
use log::kv::{Error, Key, Value, VisitSource, VisitValue};
use log::{Level, Record};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::fmt::Write;

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How and where lines are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct LineStyle {
    pub(super) format: LogFormat,
    /// Whether the journal of systemd reads them. It takes a priority from the front of a line (`man 3 sd-daemon`), and
    /// has its own times.
    pub(super) is_for_journal: bool,
}

/// A line before it is formatted. It holds no secret.
#[derive(Debug)]
pub(super) struct LogLine {
    time: Wall,
    level: Level,
    target: String,
    message: String,
    fields: Fields,
}

/// In the order in which the log call has them.
#[derive(Debug, Default)]
struct Fields(Vec<(String, FieldValue)>);

#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum FieldValue {
    Text(String),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
}

impl LogLine {
    /// Of a call of the facade.
    pub(super) fn of(record: &Record<'_>, time: Wall) -> Self {
        let mut fields = Fields::default();
        // The visitor has no reason to fail.
        let _ = record.key_values().visit(&mut fields);
        let message = record.args().to_string();
        LogLine {
            fields,
            ..LogLine::new(record.level(), record.target(), &message, time)
        }
    }

    /// Without fields.
    pub(super) fn new(level: Level, target: &str, message: &str, time: Wall) -> Self {
        LogLine {
            time,
            level,
            target: target.strip_prefix("farspan::").unwrap_or(target).into(),
            message: without_secrets(message).into_owned(),
            fields: Fields::default(),
        }
    }

    /// The line with its end.
    pub(super) fn formatted(&self, style: LineStyle) -> String {
        let mut line = if style.is_for_journal {
            format!("<{}>", priority(self.level))
        } else {
            String::new()
        };
        match style.format {
            LogFormat::Text => self.put_text(!style.is_for_journal, &mut line),
            // Texts and numbers alone: serde_json has no reason to fail.
            LogFormat::Json => {
                line += &escape_json(&serde_json::to_string(self).unwrap_or_default());
            }
        }
        line.push('\n');
        line
    }

    fn put_text(&self, has_time: bool, line: &mut String) {
        if has_time {
            line.push_str(&milliseconds(self.time));
            line.push(' ');
        }
        // A line break in a message from elsewhere would pass for a line of this log.
        let (level, message) = (self.level, escape(&self.message));
        let _ = write!(line, "{level:<5} {}: {message}", self.target);
        for (key, value) in &self.fields.0 {
            let _ = write!(line, " {key}={}", value.as_word());
        }
    }
}

impl Serialize for LogLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("time", &milliseconds(self.time))?;
        map.serialize_entry("level", &self.level.as_str().to_ascii_lowercase())?;
        map.serialize_entry("target", &self.target)?;
        map.serialize_entry("message", &self.message)?;
        for (key, value) in &self.fields.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl FieldValue {
    /// One word: a text that would not pass for one is in quotation marks.
    fn as_word(&self) -> String {
        let text = match self {
            FieldValue::Text(text) => escape(text),
            FieldValue::Unsigned(number) => return number.to_string(),
            FieldValue::Signed(number) => return number.to_string(),
            FieldValue::Float(number) => return number.to_string(),
            FieldValue::Bool(truth) => return truth.to_string(),
        };
        let breaks_word = |c: char| c.is_whitespace() || matches!(c, '"' | '=' | '\\');
        if text.is_empty() || text.contains(breaks_word) {
            format!("\"{}\"", text.replace('"', "\\\""))
        } else {
            text
        }
    }
}

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let mut known = Known(None);
        value.visit(&mut known)?;
        // A field without a value is left out.
        self.0.extend(known.0.map(|value| (key.to_string(), value)));
        Ok(())
    }
}

/// The value of a field, as far as it is known.
struct Known(Option<FieldValue>);

impl<'v> VisitValue<'v> for Known {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), Error> {
        self.visit_str(&value.to_string())
    }

    fn visit_null(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn visit_str(&mut self, text: &str) -> Result<(), Error> {
        self.0 = Some(FieldValue::Text(without_secrets(text).into_owned()));
        Ok(())
    }

    fn visit_u64(&mut self, number: u64) -> Result<(), Error> {
        self.0 = Some(FieldValue::Unsigned(number));
        Ok(())
    }

    fn visit_i64(&mut self, number: i64) -> Result<(), Error> {
        self.0 = Some(FieldValue::Signed(number));
        Ok(())
    }

    fn visit_f64(&mut self, number: f64) -> Result<(), Error> {
        self.0 = Some(FieldValue::Float(number));
        Ok(())
    }

    fn visit_bool(&mut self, truth: bool) -> Result<(), Error> {
        self.0 = Some(FieldValue::Bool(truth));
        Ok(())
    }
}

/// The priority of `man 3 syslog`.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
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
    use crate::os::redaction;
    use expect_test::{Expect, expect};
    use log::kv::ToValue;

    const TEXT: LineStyle = LineStyle {
        format: LogFormat::Text,
        is_for_journal: false,
    };
    const JSON: LineStyle = LineStyle {
        format: LogFormat::Json,
        is_for_journal: false,
    };

    fn time() -> Wall {
        Wall::from_unix_ns(1_795_168_621_123_999_999)
    }

    fn check(style: LineStyle, messages: &[&str], expected: Expect) {
        let line = |message: &&str| {
            LogLine::new(Level::Info, "farspan::api::poller", message, time()).formatted(style)
        };
        let lines: String = messages.iter().map(line).collect();
        expected.assert_eq(&lines);
    }

    fn check_fields(style: LineStyle, fields: &[(&str, Value<'_>)], expected: Expect) {
        let mut record = Record::builder();
        record.level(Level::Warn).target("farspan::run::report");
        record.key_values(&fields);
        let record = record.args(format_args!("it ended")).build();
        expected.assert_eq(&LogLine::of(&record, time()).formatted(style));
    }

    #[test]
    fn text_keeps_to_its_line() {
        let messages = [
            "500 from api.test",
            "a\nb\r\u{1b}[31m \"q\" \\ ä\u{2028}\u{202e}",
            "",
        ];
        check(
            TEXT,
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
            JSON,
            &["500 from api.test", "a\nb\u{1b} \"q\" \\ ä\u{202e}"],
            expect![[r#"
                {"time":"2026-11-20T09:57:01.123Z","level":"info","target":"api::poller","message":"500 from api.test"}
                {"time":"2026-11-20T09:57:01.123Z","level":"info","target":"api::poller","message":"a\nb\u001b \"q\" \\ ä\u202e"}
            "#]],
        );
    }

    #[test]
    fn fields_are_words_behind_the_message_or_keys_of_the_object() {
        let id = "a b=\"c\"\n\u{202e}";
        let fields = [
            ("monitor", "ci".to_value()),
            ("workflow_id", id.to_value()),
            ("name", "".to_value()),
            ("duration_s", 12.5.to_value()),
            ("spans", 3_u64.to_value()),
            ("none", None::<u64>.to_value()),
        ];
        check_fields(
            TEXT,
            &fields,
            expect![[r#"
                2026-11-20T09:57:01.123Z WARN  run::report: it ended monitor=ci workflow_id="a b=\"c\"\n\u{202e}" name="" duration_s=12.5 spans=3
            "#]],
        );
        check_fields(
            JSON,
            &fields,
            expect![[r#"
                {"time":"2026-11-20T09:57:01.123Z","level":"warn","target":"run::report","message":"it ended","monitor":"ci","workflow_id":"a b=\"c\"\n\u202e","name":"","duration_s":12.5,"spans":3}
            "#]],
        );
    }

    #[test]
    fn a_line_for_the_journal_begins_with_its_priority_and_has_no_time() {
        let journal = |style: LineStyle| LineStyle {
            is_for_journal: true,
            ..style
        };
        let line = |level, style| LogLine::new(level, "farspan::run", "m", time()).formatted(style);
        let levels = [
            (Level::Error, "<3>ERROR run: m\n"),
            (Level::Warn, "<4>WARN  run: m\n"),
            (Level::Info, "<6>INFO  run: m\n"),
            (Level::Debug, "<7>DEBUG run: m\n"),
            (Level::Trace, "<7>TRACE run: m\n"),
        ];
        for (level, expected) in levels {
            assert_eq!(line(level, journal(TEXT)), expected);
        }
        let json = line(Level::Warn, journal(JSON));
        assert!(json.starts_with("<4>{\"time\":\"2026"), "{json}");
    }

    #[test]
    fn no_field_shows_a_secret() {
        redaction::hide("s3cret \"of a field");
        let shown = "it has s3cret \"of a field in it";
        let display = format_args!("{shown}").to_string();
        let fields = [
            ("workflow_id", shown.to_value()),
            ("displayed", Value::from_display(&display)),
        ];
        for style in [TEXT, JSON] {
            let mut record = Record::builder();
            record.key_values(&fields);
            let line = LogLine::of(&record.args(format_args!("m")).build(), time());
            let line = line.formatted(style);
            assert_eq!(line.matches("it has (redacted) in it").count(), 2, "{line}");
            assert!(!line.contains("s3cret"), "{line}");
        }
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
}
