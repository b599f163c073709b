//! Times as APIs write them.

use super::definition::{TimeFormat, Times, UnsetTime};
use farspan_core::time::Wall;
use std::io::Write;

/// A value read as a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParsedTime {
    /// A time.
    At(Wall),
    /// A time when no workflow was running: the count may be of another unit.
    Unlikely(Wall),
    /// No time, as the API writes it.
    Unset,
    /// It is not a time.
    Nonsense,
}

impl ParsedTime {
    /// The time, where it is one.
    pub fn time(self) -> Option<Wall> {
        match self {
            ParsedTime::At(time) | ParsedTime::Unlikely(time) => Some(time),
            ParsedTime::Unset | ParsedTime::Nonsense => None,
        }
    }
}

/// Seconds at the beginnings of 1973 and of 2200. Counts of units of 1 s, 1 ms, 1 µs and 1 ns between them are all different.
const LIKELY_S: std::ops::Range<i64> = 94_694_400..7_258_118_400;

impl Times {
    /// How the start events of a monitor are read: they need not come from the API, so their times may be in any format.
    pub fn of_events(&self) -> Times {
        Times {
            format: TimeFormat::Auto,
            ..self.clone()
        }
    }

    /// Reads a JSON number.
    pub fn of_number(&self, number: &serde_json::Number) -> ParsedTime {
        match (number.as_i64(), number.as_f64()) {
            (Some(count), _) => self.of_int(count),
            (None, Some(count)) => self.of_float(count),
            (None, None) => ParsedTime::Nonsense,
        }
    }

    /// Reads a text.
    pub fn of_text(&self, text: &str) -> ParsedTime {
        let text = text.trim_ascii();
        // .NET's unset time.
        if text.is_empty() || begins(text, "0001-01-01") || self.is_unset_text(text) {
            return ParsedTime::Unset;
        }
        let is_written = !self.are_numbers();
        if is_written && let Some(time) = self.rfc3339(text) {
            return self.of_written(time);
        }
        let count = match self.format {
            TimeFormat::Rfc3339 => ParsedTime::Nonsense,
            _ => self.of_decimal(text),
        };
        match as_rfc3339(text).filter(|_| is_written && count == ParsedTime::Nonsense) {
            Some(text) => self.of_text(&text),
            None => count,
        }
    }

    /// A time in a text, which may be unset by its moment: there are many ways to write it.
    fn of_written(&self, time: Wall) -> ParsedTime {
        let is_likely = LIKELY_S.contains(&time.as_unix_ns().div_euclid(1_000_000_000));
        if !is_likely && self.is_unset_text(&time.to_string()) {
            ParsedTime::Unset
        } else {
            ParsedTime::At(time)
        }
    }

    /// Also with a space before the offset, or with the name of a zone that means UTC or stands behind an offset
    /// (RFC 9557).
    fn rfc3339(&self, text: &str) -> Option<Wall> {
        let (text, offset_s) = match without_zone(text) {
            Some((text, Zone::Utc)) => (text, Some(0)),
            Some((text, Zone::Another)) => (text, None),
            None => (text, Some(self.offset_s)),
        };
        Wall::parse(text, offset_s).or_else(|| {
            let (time, offset) = text.rsplit_once(' ')?;
            let is_offset = offset.starts_with(['+', '-', 'Z']);
            let joined = || [time.trim_ascii_end(), offset].concat();
            Wall::parse_rfc3339(&is_offset.then(joined)?)
        })
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

    /// Reads a whole number.
    pub fn of_int(&self, count: i64) -> ParsedTime {
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
    pub fn of_float(&self, count: f64) -> ParsedTime {
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

    /// `[-]digits[.digits][e[+|-]digits]`, exactly.
    fn of_decimal(&self, text: &str) -> ParsedTime {
        if text.contains(['e', 'E']) {
            return match without_exponent(text) {
                Some(plain) => self.of_decimal(&plain),
                None => ParsedTime::Nonsense,
            };
        }
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

/// `1.5e3` as `1500`. `None`: it is no such number, or has more digits than a time.
fn without_exponent(text: &str) -> Option<String> {
    const DIGITS_MAX: usize = 64;
    const EXPONENT_MAX: i32 = 32;
    let (mantissa, exponent) = text.split_once(['e', 'E'])?;
    let exponent: i32 = exponent.parse().ok()?;
    let (sign, digits) = match mantissa.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", mantissa),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut digits = [whole, fraction].concat();
    let are_digits = !whole.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !are_digits || digits.len() > DIGITS_MAX || exponent.abs() > EXPONENT_MAX {
        return None;
    }
    let mut point = whole.len() as i32 + exponent;
    while point < 1 {
        digits.insert(0, '0');
        point += 1;
    }
    while (digits.len() as i32) < point {
        digits.push('0');
    }
    digits.insert(point as usize, '.');
    Some(format!("{sign}{digits}0"))
}

/// What the name of a zone behind a time says.
enum Zone {
    Utc,
    /// It says nothing without a table of zones.
    Another,
}

/// The time before the name of a zone.
fn without_zone(text: &str) -> Option<(&str, Zone)> {
    if text.ends_with('Z') {
        return None;
    }
    let bracketed = text.strip_suffix(']').and_then(|text| text.split_once('['));
    if let Some((time, zone)) = bracketed {
        let is_utc = ["UTC", "GMT", "Etc/UTC", "Etc/GMT", "Z"].contains(&zone);
        let zone = if is_utc { Zone::Utc } else { Zone::Another };
        return Some((time.trim_ascii_end(), zone));
    }
    let mut names = ["GMT", "UTC"].iter();
    let time = names.find_map(|name| text.strip_suffix(name))?;
    Some((time.trim_ascii_end(), Zone::Utc))
}

/// A time of RFC 1123 (`Fri, 20 Nov 2026 09:20:48 GMT`) or of ISO 8601's basic format (`20261120T092048+0000`) as RFC 3339
/// writes it.
fn as_rfc3339(text: &str) -> Option<String> {
    const LIKE: &[u8; 15] = b"ddddddddTdddddd";
    let is_like = |(byte, like): (&u8, &u8)| match like {
        b'd' => byte.is_ascii_digit(),
        _ => byte.eq_ignore_ascii_case(like),
    };
    let bytes = text.as_bytes();
    if bytes.len() >= LIKE.len() && bytes.iter().zip(LIKE).all(is_like) {
        let [date, time] = [&text[..8], &text[9..15]];
        let date = [&date[..4], &date[4..6], &date[6..]].join("-");
        let time = [&time[..2], &time[2..4], &time[4..]].join(":");
        return Some(format!("{date}T{time}{}", &text[15..]));
    }
    let time = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(time.timestamp().to_string())
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
            ("2026-11-20T10:20:48[Etc/UTC]", "2026-11-20T10:20:48Z"),
            ("Fri, 20 Nov 2026 09:20:48 GMT", "2026-11-20T09:20:48Z"),
            ("Fri, 20 Nov 2026 10:20:48 +0100", "2026-11-20T09:20:48Z"),
            ("20261120T092048+0000", "2026-11-20T09:20:48Z"),
            ("20261120T092048.5Z", "2026-11-20T09:20:48.5Z"),
            // No offset, and no table of zones to look it up in.
            ("2026-11-20T10:20:48[Europe/Zurich]", "Nonsense"),
            ("Sat, 20 Nov 2026 09:20:48 GMT", "Nonsense"),
            ("20261320T092048Z", "Nonsense"),
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
            ("1970-01-01 00:00:00 UTC", "Unset"),
            ("1970-01-01T01:00:00+01:00", "Unset"),
            ("19700101T000000Z", "Unset"),
            ("Thu, 01 Jan 1970 00:00:00 GMT", "Unset"),
            ("Mon, 01 Jan 0001 00:00:00 GMT", "Unset"),
            ("1.795166448043123456e18", "2026-11-20T09:20:48.043123456Z"),
            ("1.795166448043123456E9", "2026-11-20T09:20:48.043123456Z"),
            ("179516644804312.3456e-5", "2026-11-20T09:20:48.043123456Z"),
            ("-1e0", "Unset"),
            ("1e-9", "1970-01-01T00:00:00.000000001Z?"),
            ("e9", "Nonsense"),
            ("1e", "Nonsense"),
            ("1e99", "Nonsense"),
            ("1e9e9", "Nonsense"),
            ("1.2.3e1", "Nonsense"),
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

    #[test]
    fn a_time_without_an_offset_has_that_of_the_monitor() {
        let zurich = Times {
            offset_s: 3600,
            ..Times::default()
        };
        for (text, expected) in [
            ("2026-11-20T10:20:48", "2026-11-20T09:20:48Z"),
            ("2026-11-20 10:20:48.5", "2026-11-20T09:20:48.5Z"),
            ("20261120T102048", "2026-11-20T09:20:48Z"),
            ("2026-11-20T09:20:48Z", "2026-11-20T09:20:48Z"),
            ("2026-11-20 09:20:48 UTC", "2026-11-20T09:20:48Z"),
            ("2026-11-20T09:20:48[UTC]", "2026-11-20T09:20:48Z"),
            ("2026-11-20 04:20:48 -0500", "2026-11-20T09:20:48Z"),
            ("Fri, 20 Nov 2026 09:20:48 GMT", "2026-11-20T09:20:48Z"),
            ("1970-01-01T01:00:00", "Unset"),
        ] {
            assert_eq!(at(zurich.of_text(text)), expected, "{text}");
        }
        assert_eq!(at(zurich.of_int(1_795_166_448)), "2026-11-20T09:20:48Z");
    }

    #[test]
    fn any_count_of_seconds_or_milliseconds_is_read_as_a_number_and_as_a_text() {
        let strict = Times {
            unset: Vec::new(),
            ..Times::default()
        };
        arbtest::arbtest(|u| {
            let count: i64 = u.int_in_range(-99_999_999_999_999..=99_999_999_999_999)?;
            let unit_ns = if count.abs() < 100_000_000_000 {
                1_000_000_000
            } else {
                1_000_000
            };
            let expected = count.checked_mul(unit_ns).map(Wall::from_unix_ns);
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
