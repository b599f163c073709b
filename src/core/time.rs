//! Time as the core knows it: deadlines by a monotonic clock, spans by a wall clock, and the texts APIs write.
//!
//! Pure: nothing here reads a clock.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on the monotonic clock, in nanoseconds since the process started. For deadlines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(u64);

/// A point on a wall clock, in nanoseconds since the Unix epoch, UTC. For spans. Reaches from 1677 to 2262.
///
/// The first nanosecond of all is missing, and the sign is inverted so that the order is kept: then `Option<Wall>` takes
/// no more room than `Wall`, and a workflow under watch has a dozen of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(NonZeroU64);

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For deadlines.
    pub mono: Mono,
    /// For spans, where the API gives no time of its own.
    pub wall: Wall,
}

impl Mono {
    /// That long after the process started; some 580 years at most.
    pub const fn from_duration(since_start: Duration) -> Self {
        Mono(clamped_ns(since_start))
    }

    /// Nanoseconds since the process started.
    pub const fn as_ns(self) -> u64 {
        self.0
    }

    /// Nanoseconds since the process started.
    pub const fn from_ns(ns: u64) -> Self {
        Mono(ns)
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;

    fn add(self, duration: Duration) -> Mono {
        Mono(self.0.saturating_add(clamped_ns(duration)))
    }
}

const SIGN: u64 = 1 << 63;

impl fmt::Debug for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wall({self})")
    }
}

impl Wall {
    /// Nanoseconds since the Unix epoch.
    pub const fn from_unix_ns(ns: i64) -> Self {
        const FIRST: NonZeroU64 = NonZeroU64::MIN;
        Wall(match NonZeroU64::new(ns as u64 ^ SIGN) {
            Some(number) => number,
            None => FIRST,
        })
    }

    /// Nanoseconds since the Unix epoch; negative before 1970.
    pub const fn as_unix_ns(self) -> i64 {
        (self.0.get() ^ SIGN) as i64
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Wall) -> Duration {
        let ns = i128::from(self.as_unix_ns()) - i128::from(earlier.as_unix_ns());
        Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
    }

    /// This time put into a clock that is `skew_ns` ahead of this one.
    pub const fn shifted(self, skew_ns: i64) -> Wall {
        Wall::from_unix_ns(self.as_unix_ns().saturating_add(skew_ns))
    }

    /// Reads an RFC 3339 timestamp: any number of fraction digits (those after the ninth are cut off, as spans have
    /// nanoseconds), any offset, and `T`, `t` or a space between date and time. `offset_s` is that of a time without one,
    /// in seconds east of UTC; `None`: it must have one.
    ///
    /// `None` for anything else, and for times that [`Wall`] cannot hold.
    pub fn parse(text: &str, offset_s: Option<i32>) -> Option<Wall> {
        parse_rfc3339(text.as_bytes(), offset_s)
    }

    /// The same, where a time without an offset is in UTC.
    pub fn parse_rfc3339(text: &str) -> Option<Wall> {
        Wall::parse(text, Some(0))
    }
}

/// RFC 3339 in UTC with as many fraction digits as are needed: `2024-07-05T06:57:51.0737407Z`.
impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.as_unix_ns())) {
            Ok(timestamp) => write!(f, "{timestamp}"),
            // Cannot happen: jiff reaches from the year -9999 to 9999.
            Err(_) => write!(f, "{} ns", self.as_unix_ns()),
        }
    }
}

impl Sub<Duration> for Wall {
    type Output = Wall;

    fn sub(self, duration: Duration) -> Wall {
        Wall::from_unix_ns(
            self.as_unix_ns()
                .saturating_sub_unsigned(clamped_ns(duration)),
        )
    }
}

impl Add<Duration> for Wall {
    type Output = Wall;

    fn add(self, duration: Duration) -> Wall {
        Wall::from_unix_ns(
            self.as_unix_ns()
                .saturating_add_unsigned(clamped_ns(duration)),
        )
    }
}

const fn clamped_ns(duration: Duration) -> u64 {
    let ns = duration.as_nanos();
    if ns > u64::MAX as u128 {
        u64::MAX
    } else {
        ns as u64
    }
}

/// Not jiff's own parser: it refuses more than nine fraction digits and a missing offset. Nor its calendar, which would
/// cost more than all the rest: a large body has tens of thousands of times.
fn parse_rfc3339(text: &[u8], offset_s: Option<i32>) -> Option<Wall> {
    let mut rest = text;
    let year = take_digits(&mut rest, 4)?;
    take_byte(&mut rest, b"-")?;
    let month = take_digits(&mut rest, 2)?;
    take_byte(&mut rest, b"-")?;
    let day = take_digits(&mut rest, 2)?;
    take_byte(&mut rest, b"Tt ")?;
    let hour = take_digits(&mut rest, 2)?;
    take_byte(&mut rest, b":")?;
    let minute = take_digits(&mut rest, 2)?;
    take_byte(&mut rest, b":")?;
    let second = take_digits(&mut rest, 2)?;
    let fraction_ns = if take_byte(&mut rest, b".,").is_some() {
        take_fraction_ns(&mut rest)?
    } else {
        0
    };
    let offset_s = match take_offset_s(&mut rest)? {
        Some(offset_s) => offset_s,
        None => i64::from(offset_s?),
    };
    // A leap second is the first moment of the next minute, as POSIX counts.
    if !rest.is_empty() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let minutes = (days_since_1970(year, month, day)? * 24 + i64::from(hour)) * 60;
    let seconds = (minutes + i64::from(minute)) * 60 + i64::from(second) - offset_s;
    // In 128 bits: the first second begins before what 64 hold.
    let ns = i128::from(seconds) * 1_000_000_000 + i128::from(fraction_ns);
    i64::try_from(ns).ok().map(Wall::from_unix_ns)
}

/// `None`: there is no such day. By Howard Hinnant's `days_from_civil`: the year begins in March, so that the leap day is
/// its last, and the months until then have 30.6 days each.
fn days_since_1970(year: u32, month: u32, day: u32) -> Option<i64> {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 => 28 + u32::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days).contains(&day) {
        return None;
    }
    // The year 0 begins before its first March.
    let (year, month) = match month {
        3.. => (year + 400, month - 3),
        _ => (year + 399, month + 9),
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leap_days + (153 * month + 2) / 5 + day - 1;
    const MARCH_OF_MINUS_400_TO_1970: i64 = 719_468 + 146_097;
    Some(i64::from(days) - MARCH_OF_MINUS_400_TO_1970)
}

fn take_byte(rest: &mut &[u8], any_of: &[u8]) -> Option<u8> {
    let (&first, after) = rest.split_first()?;
    any_of.contains(&first).then(|| {
        *rest = after;
        first
    })
}

fn take_digits(rest: &mut &[u8], count: usize) -> Option<u32> {
    let (digits, after) = rest.split_at_checked(count)?;
    let mut number = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number * 10 + u32::from(digit - b'0');
    }
    *rest = after;
    Some(number)
}

fn take_fraction_ns(rest: &mut &[u8]) -> Option<i64> {
    let count = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    let (digits, after) = rest.split_at(count);
    *rest = after;
    let nine = digits
        .iter()
        .copied()
        .chain(std::iter::repeat(b'0'))
        .take(9);
    Some(nine.fold(0, |ns, digit| ns * 10 + i64::from(digit - b'0')))
}

/// `Z`, `+02:00`, `-0530`, `+01` or nothing.
fn take_offset_s(rest: &mut &[u8]) -> Option<Option<i64>> {
    let Some(sign) = take_byte(rest, b"Zz+-") else {
        return Some(None);
    };
    if matches!(sign, b'Z' | b'z') {
        return Some(Some(0));
    }
    let hours = take_digits(rest, 2)?;
    let colon = take_byte(rest, b":").is_some();
    let minutes = match take_digits(rest, 2) {
        Some(minutes) => minutes,
        None if colon => return None,
        None => 0,
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = i64::from(hours * 3600 + minutes * 60);
    Some(Some(if sign == b'-' { -seconds } else { seconds }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ns(text: &str) -> Option<i64> {
        Wall::parse_rfc3339(text).map(Wall::as_unix_ns)
    }

    #[test]
    fn times_as_apis_write_them() {
        let seven = 1_720_162_671_073_740_700;
        assert_eq!(ns("2024-07-05T06:57:51.0737407Z"), Some(seven));
        assert_eq!(ns("2024-07-05T06:57:51.0737407"), Some(seven));
        assert_eq!(ns("2024-07-05 06:57:51.0737407z"), Some(seven));
        assert_eq!(ns("2024-07-05T08:57:51.0737407+02:00"), Some(seven));
        assert_eq!(ns("2024-07-05T01:27:51.0737407-0530"), Some(seven));
        assert_eq!(ns("2024-07-05T07:57:51.0737407+01"), Some(seven));
        assert_eq!(ns("2024-07-05T06:57:51.07374070099999999999Z"), Some(seven));
        assert_eq!(ns("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(ns("1969-12-31T23:59:59.999Z"), Some(-1_000_000));
        assert_eq!(ns("2016-12-31T23:59:60Z"), ns("2017-01-01T00:00:00Z"));
    }

    /// The first second begins before what [`Wall`] holds, and the moment within it does not.
    #[test]
    fn reads_what_it_holds_to_the_very_ends() {
        for end in [i64::MIN + 1, i64::MAX] {
            assert_eq!(ns(&Wall::from_unix_ns(end).to_string()), Some(end));
        }
        assert_eq!(ns("1677-09-21T00:12:43.145224191Z"), None);
        assert_eq!(ns("2262-04-11T23:47:16.854775808Z"), None);
    }

    #[test]
    fn what_is_not_a_time_is_none() {
        for text in [
            "",
            "2024",
            "2024-07-05",
            "2024-02-30T00:00:00Z",
            "2024-07-05T24:00:00Z",
            "2024-07-05T06:57:61Z",
            "2024-07-05T06:57:51.Z",
            "2024-07-05T06:57:51Zx",
            "2024-07-05T06:57:51+2",
            "2024-07-05T06:57:51+02:",
            "2024-07-05T06:57:51+25:00",
            "+2024-07-05T06:57:51Z",
            "２０２４-07-05T06:57:51Z",
            // .NET's unset time: Wall begins in 1677.
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.9999999Z",
        ] {
            assert_eq!(ns(text), None, "{text}");
        }
    }

    /// The model is jiff's parser, which knows what we know up to nine fraction digits.
    #[test]
    fn agrees_with_jiff_on_every_timestamp() {
        arbtest::arbtest(|u| {
            let ns: i64 = u.arbitrary()?;
            let written = jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap();
            let offset_minutes: i32 = u.int_in_range(-23 * 60..=23 * 60)?;
            let offset = jiff::tz::Offset::from_seconds(offset_minutes * 60).unwrap();
            let text = written.display_with_offset(offset).to_string();
            assert_eq!(
                Wall::parse_rfc3339(&text),
                Some(Wall::from_unix_ns(ns)),
                "{text}"
            );
            assert_eq!(
                Wall::parse_rfc3339(&Wall::from_unix_ns(ns).to_string()),
                Some(Wall::from_unix_ns(ns))
            );
            Ok(())
        });
    }

    /// Those that do not exist too. Every seventh year is of every kind in 400 that there is.
    #[test]
    fn agrees_with_jiff_on_every_day() {
        let date = |year: u32, month: u32, day: u32| {
            jiff::civil::Date::new(year as i16, month as i8, day as i8).ok()
        };
        let first = date(1970, 1, 1).unwrap();
        for year in (0..=9999).step_by(7) {
            for (month, day) in (0..=13).flat_map(|month| (0..=32).map(move |day| (month, day))) {
                let days = date(year, month, day).map(|date| (date - first).get_days().into());
                let found = days_since_1970(year, month, day);
                assert_eq!(found, days, "{year}-{month}-{day}");
            }
        }
    }

    #[test]
    fn never_panics_on_text() {
        arbtest::arbtest(|u| {
            let mut text = "2024-07-05T06:57:51.0737407+02:00".as_bytes().to_vec();
            for _ in 0..u.int_in_range(0..=4)? {
                let at = u.choose_index(text.len())?;
                text[at] = *u.choose(b"0123456789:-+.TZ \xff")?;
            }
            if let Ok(text) = std::str::from_utf8(&text)
                && let Some(wall) = Wall::parse_rfc3339(text)
            {
                assert_eq!(Wall::parse_rfc3339(&wall.to_string()), Some(wall));
            }
            Ok(())
        });
    }
}
