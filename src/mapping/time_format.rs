//! Times as APIs write them.

use super::definition::{TimeFormat, Times, UnsetTime};
use crate::core::time::Wall;
use std::io::Write;

/// A value read as a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParsedTime {
    At(Wall),
    /// A time when no workflow was running: the count may be of another unit.
    Unlikely(Wall),
    Unset,
    /// It is not a time.
    Nonsense,
}

impl ParsedTime {
    fn time(self) -> Option<Wall> {
        match self {
            ParsedTime::At(time) | ParsedTime::Unlikely(time) => Some(time),
            ParsedTime::Unset | ParsedTime::Nonsense => None,
        }
    }
}

/// Seconds at the beginnings of 1973 and of 2200. Counts of units of 1 s, 1 ms, 1 µs and 1 ns between them are all different.
const LIKELY_S: std::ops::Range<i64> = 94_694_400..7_258_118_400;

impl Times {
    /// The time in a text. `None`: it is unset or not a time.
    pub fn in_text(&self, text: &str) -> Option<Wall> {
        self.of_text(text).time()
    }

    /// The time in a number. `None`: it is unset or not a time.
    pub fn in_number(&self, number: &serde_json::Number) -> Option<Wall> {
        let told = match (number.as_i64(), number.as_f64()) {
            (Some(count), _) => self.of_int(count),
            (None, Some(count)) => self.of_float(count),
            (None, None) => ParsedTime::Nonsense,
        };
        told.time()
    }

    pub(super) fn of_text(&self, text: &str) -> ParsedTime {
        let text = text.trim_ascii();
        // .NET's unset time.
        if text.is_empty() || begins(text, "0001-01-01") || self.is_unset_text(text) {
            return ParsedTime::Unset;
        }
        let written = match self.format {
            TimeFormat::Auto | TimeFormat::Rfc3339 => rfc3339(text),
            _ => None,
        };
        match (written, self.format) {
            (Some(time), _) => ParsedTime::At(time),
            (None, TimeFormat::Rfc3339) => ParsedTime::Nonsense,
            (None, _) => self.of_decimal(text),
        }
    }

    /// The format by which a count would be a likely time, where it is not that by this one.
    pub(super) fn meant(&self, count: f64) -> Option<&'static str> {
        let units = [
            ("epoch_s", 1.0),
            ("epoch_ms", 1e3),
            ("epoch_us", 1e6),
            ("epoch_ns", 1e9),
        ];
        let likely = LIKELY_S.start as f64..LIKELY_S.end as f64;
        let mut units = units.iter();
        let (name, _) = units.find(|(_, of_a_second)| likely.contains(&(count / of_a_second)))?;
        Some(name)
    }

    pub(super) fn of_int(&self, count: i64) -> ParsedTime {
        if self.unset_numbers().any(|unset| unset == count) {
            return ParsedTime::Unset;
        }
        match unit_ns(self.format, count) {
            Some(unit_ns) => told(i128::from(count) * i128::from(unit_ns)),
            None => ParsedTime::Nonsense,
        }
    }

    /// By its shortest decimal, which is what the API has written: a float of seconds is off by a quarter of a
    /// microsecond.
    pub(super) fn of_float(&self, count: f64) -> ParsedTime {
        const DIGITS_MAX: usize = 48;
        let mut digits = [0; DIGITS_MAX];
        let mut rest = &mut digits[..];
        if write!(rest, "{count}").is_err() {
            return ParsedTime::Nonsense;
        }
        let free = rest.len();
        match std::str::from_utf8(&digits[..DIGITS_MAX - free]) {
            Ok(text) => self.of_decimal(text),
            Err(_) => ParsedTime::Nonsense,
        }
    }

    /// `[-]digits[.digits]`, exactly.
    fn of_decimal(&self, text: &str) -> ParsedTime {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = fraction.bytes().all(|b| b.is_ascii_digit());
        let count = whole.parse::<i64>().ok().filter(|_| digits);
        let Some(count) = count.filter(|_| !whole.starts_with('+')) else {
            return ParsedTime::Nonsense;
        };
        if fraction.bytes().all(|b| b == b'0') {
            return self.of_int(count);
        }
        let Some(unit_ns) = unit_ns(self.format, count) else {
            return ParsedTime::Nonsense;
        };
        let mut fraction_ns = 0;
        let mut digit_ns = unit_ns;
        for digit in fraction.bytes() {
            digit_ns /= 10;
            fraction_ns += digit_ns * i64::from(digit - b'0');
        }
        let signed = match whole.starts_with('-') {
            true => -fraction_ns,
            false => fraction_ns,
        };
        told(i128::from(count) * i128::from(unit_ns) + i128::from(signed))
    }

    fn is_unset_text(&self, text: &str) -> bool {
        self.unset.iter().any(|unset| match unset {
            UnsetTime::Text(unset) => begins(text, unset),
            UnsetTime::Number(_) => false,
        })
    }

    fn unset_numbers(&self) -> impl Iterator<Item = i64> {
        self.unset.iter().filter_map(|unset| match unset {
            UnsetTime::Number(unset) => Some(*unset),
            UnsetTime::Text(_) => None,
        })
    }
}

/// As `starts_with`, which is called for each time, and whose answer the first byte mostly has.
fn begins(text: &str, with: &str) -> bool {
    let (text, with) = (text.as_bytes(), with.as_bytes());
    match (text, with) {
        ([first, ..], [other, ..]) => first == other && text.starts_with(with),
        _ => with.is_empty(),
    }
}

fn told(ns: i128) -> ParsedTime {
    match i64::try_from(ns) {
        Ok(ns) if LIKELY_S.contains(&ns.div_euclid(1_000_000_000)) => {
            ParsedTime::At(Wall::from_unix_ns(ns))
        }
        Ok(ns) => ParsedTime::Unlikely(Wall::from_unix_ns(ns)),
        Err(_) => ParsedTime::Nonsense,
    }
}

/// Nanoseconds of one. Where nothing else is said, a count is of the unit that puts it between 1973 and 5138.
fn unit_ns(format: TimeFormat, count: i64) -> Option<i64> {
    Some(match (format, count.unsigned_abs()) {
        (TimeFormat::Rfc3339, _) => return None,
        (TimeFormat::EpochSeconds, _) | (TimeFormat::Auto, ..100_000_000_000) => 1_000_000_000,
        (TimeFormat::EpochMillis, _) | (TimeFormat::Auto, ..100_000_000_000_000) => 1_000_000,
        (TimeFormat::EpochMicros, _) | (TimeFormat::Auto, ..100_000_000_000_000_000) => 1_000,
        (TimeFormat::EpochNanos | TimeFormat::Auto, _) => 1,
    })
}

/// Also with a space before the offset.
fn rfc3339(text: &str) -> Option<Wall> {
    let text = without_zone(text);
    Wall::parse_rfc3339(text).or_else(|| {
        let (time, offset) = text.rsplit_once(' ')?;
        let is_offset = offset.starts_with(['+', '-', 'Z']);
        let joined = || [time.trim_ascii_end(), offset].concat();
        Wall::parse_rfc3339(&is_offset.then(joined)?)
    })
}

/// Without a zone's name where it means UTC, or stands behind an offset (RFC 9557): what is left is RFC 3339, or nothing
/// that is known.
fn without_zone(text: &str) -> &str {
    if text.ends_with('Z') {
        return text;
    }
    let text = match text.split_once('[') {
        Some((before, zone)) if zone.ends_with(']') => before,
        _ => text,
    };
    let text = ["GMT", "UTC"]
        .iter()
        .find_map(|zone| text.strip_suffix(zone))
        .unwrap_or(text);
    text.trim_ascii_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(told: ParsedTime) -> String {
        match told {
            ParsedTime::At(time) => time.to_string(),
            ParsedTime::Unlikely(time) => format!("{time}?"),
            other => format!("{other:?}"),
        }
    }

    fn times(format: TimeFormat) -> Times {
        Times {
            format,
            ..Times::default()
        }
    }

    #[test]
    fn texts_are_rfc_3339_and_what_is_near_it() {
        let auto = Times::default();
        for (text, expected) in [
            ("2026-11-20T09:20:48.043GMT", "2026-11-20T09:20:48.043Z"),
            ("2026-11-20 09:20:48 UTC", "2026-11-20T09:20:48Z"),
            (
                "2026-11-20T10:20:48+01:00[Europe/Zurich]",
                "2026-11-20T09:20:48Z",
            ),
            (
                "2026-11-20T09:20:48.0431234567Z",
                "2026-11-20T09:20:48.043123456Z",
            ),
            ("2026-11-20T09:20:48", "2026-11-20T09:20:48Z"),
            ("2026-11-20T10:20:48+0100", "2026-11-20T09:20:48Z"),
            ("2026-11-20T04:20:48 -0500", "2026-11-20T09:20:48Z"),
            ("2026-11-20 10:20:48.5 +01:00", "2026-11-20T09:20:48.5Z"),
            ("2026-11-20 09:20:48 Z", "2026-11-20T09:20:48Z"),
            (
                "2026-11-20T10:20:48 +01:00[Europe/Zurich]",
                "2026-11-20T09:20:48Z",
            ),
            ("2026-11-20 -0500", "Nonsense"),
            ("2026-11-20T04:20:48Z -0500", "Nonsense"),
            ("2026-11-20T04:20:48 -", "Nonsense"),
            (" 1795166448.043123 ", "2026-11-20T09:20:48.043123Z"),
            ("1795166448043", "2026-11-20T09:20:48.043Z"),
            ("", "Unset"),
            ("0", "Unset"),
            ("-1", "Unset"),
            ("0.000", "Unset"),
            ("0001-01-01T00:00:00", "Unset"),
            ("1969-12-31T23:59:59.999GMT", "Unset"),
            ("1970-01-01T00:00:00Z", "Unset"),
            ("soon", "Nonsense"),
            ("GMT", "Nonsense"),
            ("1.2.3", "Nonsense"),
            ("+7", "Nonsense"),
            ("inf", "Nonsense"),
            ("99999999999999999999999", "Nonsense"),
            ("9999-12-31T23:59:59Z", "Nonsense"),
        ] {
            assert_eq!(at(auto.of_text(text)), expected, "{text}");
        }
    }

    #[test]
    fn of_a_number_its_size_or_the_format_tells_the_unit() {
        use TimeFormat::{Auto, EpochMicros, EpochMillis, EpochNanos, EpochSeconds, Rfc3339};
        let second = 1_795_166_448;
        let expected = "2026-11-20T09:20:48Z";
        for (format, unit) in [
            (EpochSeconds, 1),
            (EpochMillis, 1_000),
            (EpochMicros, 1_000_000),
            (EpochNanos, 1_000_000_000),
        ] {
            assert_eq!(at(times(format).of_int(second * unit)), expected);
            assert_eq!(at(times(Auto).of_int(second * unit)), expected);
            assert_eq!(
                at(times(format).of_text("2026-11-20T09:20:48Z")),
                "Nonsense"
            );
            assert_eq!(at(times(format).of_int(-1)), "Unset");
        }
        assert_eq!(
            at(times(EpochMillis).of_int(12)),
            "1970-01-01T00:00:00.012Z?"
        );
        assert_eq!(at(times(EpochSeconds).of_int(i64::MAX)), "Nonsense");
        assert_eq!(at(times(Rfc3339).of_int(second)), "Nonsense");
        assert_eq!(at(times(Rfc3339).of_text("1795166448")), "Nonsense");
    }

    #[test]
    fn floats_are_taken_as_they_were_written() {
        let auto = Times::default();
        for (float, expected) in [
            (1_795_166_811.955_817, "2026-11-20T09:26:51.955817Z"),
            (1_795_166_811_955.5, "2026-11-20T09:26:51.9555Z"),
            (-1.5, "1969-12-31T23:59:58.5Z?"),
            (-0.5, "1969-12-31T23:59:59.5Z?"),
            (0.0, "Unset"),
            (-1.0, "Unset"),
            (f64::NAN, "Nonsense"),
            (f64::INFINITY, "Nonsense"),
            (1e300, "Nonsense"),
            (1e20, "Nonsense"),
            (1e-300, "Nonsense"),
        ] {
            assert_eq!(at(auto.of_float(float)), expected, "{float}");
        }
    }

    #[test]
    fn only_what_is_said_to_be_unset_is() {
        let strict = Times {
            unset: vec![UnsetTime::Text("never".into())],
            ..Times::default()
        };
        assert_eq!(at(strict.of_int(0)), "1970-01-01T00:00:00Z?");
        assert_eq!(at(strict.of_text("never ended")), "Unset");
        assert_eq!(
            at(strict.of_text("1969-12-31T23:59:59Z")),
            "1969-12-31T23:59:59Z"
        );
    }

    /// Whole numbers and floats as today's default shape has them.
    #[test]
    fn agrees_with_the_core_on_seconds_and_milliseconds() {
        let strict = Times {
            unset: Vec::new(),
            ..Times::default()
        };
        arbtest::arbtest(|u| {
            let count: i64 = u.int_in_range(-99_999_999_999_999..=99_999_999_999_999)?;
            let expected = Wall::from_epoch_integer(count);
            assert_eq!(strict.of_int(count).time(), expected);
            assert_eq!(strict.of_text(&count.to_string()).time(), expected);
            Ok(())
        });
    }

    #[test]
    fn a_count_is_likely_by_one_format_at_most() {
        use TimeFormat::{Auto, EpochMicros, EpochMillis, EpochNanos, EpochSeconds};
        let formats = [
            ("epoch_s", EpochSeconds, 1),
            ("epoch_ms", EpochMillis, 1_000),
            ("epoch_us", EpochMicros, 1_000_000),
            ("epoch_ns", EpochNanos, 1_000_000_000),
        ];
        let likely = |format, count| matches!(times(format).of_int(count), ParsedTime::At(_));
        for second in [
            94_694_399,
            94_694_400,
            1_795_166_448,
            7_258_118_399,
            7_258_118_400,
        ] {
            let within = (94_694_400..7_258_118_400).contains(&second);
            for (name, format, unit) in formats {
                let count = second * unit;
                assert_eq!(likely(format, count), within, "{name} {count}");
                let meant = times(Auto).meant(count as f64);
                assert_eq!(meant, within.then_some(name), "{count}");
                let others = formats.iter().filter(|(other, ..)| *other != name);
                assert!(others.clone().all(|(_, other, _)| !likely(*other, count)));
            }
        }
        let text = "1795166448.5";
        assert_eq!(
            at(times(EpochMillis).of_text(text)),
            "1970-01-21T18:39:26.4485Z?"
        );
        assert_eq!(times(EpochMillis).meant(1_795_166_448.5), Some("epoch_s"));
    }
}
