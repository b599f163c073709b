//! A time as an API writes it. The model is jiff's parser, where the two languages meet.
#![no_main]

use farspan::core::time::Wall;
use libfuzzer_sys::fuzz_target;
use std::ops::RangeInclusive;

const HELD: RangeInclusive<i128> = i64::MIN as i128..=i64::MAX as i128;

fuzz_target!(|text: &str| {
    let wall = Wall::parse_rfc3339(text);
    if let Some(wall) = wall {
        let written = wall.to_string();
        assert_eq!(Wall::parse_rfc3339(&written), Some(wall), "{written}");
        assert_eq!(wall.since(wall).as_nanos(), 0);
        assert_eq!(wall.shifted(0), wall);
    }
    // Outside of the common language nothing is a time.
    let model = in_both_languages(text).and_then(|(text, leap_ns)| {
        let timestamp: jiff::Timestamp = text.parse().ok()?;
        Some(timestamp.as_nanosecond() + leap_ns)
    });
    let held = model.filter(|ns| HELD.contains(ns));
    let held = held.map(|ns| Wall::from_unix_ns(ns as i64));
    assert_eq!(wall, held);
});

/// The text in a form that jiff reads too, and the nanoseconds to add, if it is one that we promise to read: jiff's
/// timestamps want an offset, have no more than nine digits of a fraction, and take a leap second for the one before.
fn in_both_languages(text: &str) -> Option<(String, i128)> {
    let bytes = text.as_bytes();
    let shape = |at: usize, like: u8| match like {
        b'd' => bytes[at].is_ascii_digit(),
        b'T' => matches!(bytes[at], b'T' | b't' | b' '),
        _ => bytes[at] == like,
    };
    const LIKE: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    if bytes.len() < LIKE.len() || !LIKE.iter().enumerate().all(|(at, like)| shape(at, *like)) {
        return None;
    }
    let (to_second, rest) = text.split_at(LIKE.len());
    let (fraction, offset) = match rest.strip_prefix(['.', ',']) {
        None => ("", rest),
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit());
            let (fraction, offset) = rest.split_at(end.unwrap_or(rest.len()));
            if fraction.is_empty() {
                return None;
            }
            (fraction, offset)
        }
    };
    let offset = match offset {
        "" | "Z" | "z" => "Z".to_owned(),
        _ => {
            let (sign, digits) = offset.split_at_checked(1)?;
            let digits = match digits.split_once(':') {
                Some((hours, minutes)) if hours.len() == 2 && minutes.len() == 2 => {
                    format!("{hours}{minutes}")
                }
                Some(_) => return None,
                None => digits.to_owned(),
            };
            if !matches!(sign, "+" | "-")
                || !matches!(digits.len(), 2 | 4)
                || !digits.bytes().all(|b| b.is_ascii_digit())
                || &digits[..2] > "23"
            {
                return None;
            }
            format!("{sign}{digits}")
        }
    };
    let (to_second, leap_ns) = match to_second.strip_suffix(":60") {
        Some(to_minute) => (format!("{to_minute}:59"), 1_000_000_000),
        None => (to_second.to_owned(), 0),
    };
    let fraction = &fraction[..fraction.len().min(9)];
    let point = if fraction.is_empty() { "" } else { "." };
    let text = format!("{to_second}{point}{fraction}{offset}");
    Some((text, leap_ns))
}
