//! Time as the core knows it: deadlines by a monotonic clock, spans by a wall clock, and the texts APIs write.
//!
//! Pure: nothing here reads a clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on the monotonic clock, in nanoseconds since the process started. For deadlines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(u64);

/// A point on a wall clock, in nanoseconds since the Unix epoch, UTC. For spans. Reaches from 1677 to 2262.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(i64);

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

impl Wall {
    /// Nanoseconds since the Unix epoch.
    pub const fn from_unix_ns(ns: i64) -> Self {
        Wall(ns)
    }

    /// Nanoseconds since the Unix epoch; negative before 1970.
    pub const fn as_unix_ns(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Wall) -> Duration {
        let ns = i128::from(self.0) - i128::from(earlier.0);
        Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
    }

    /// This time put into a clock that is `skew_ns` ahead of this one.
    pub const fn shifted(self, skew_ns: i64) -> Wall {
        Wall(self.0.saturating_add(skew_ns))
    }

    /// Reads an RFC 3339 timestamp: any number of fraction digits (those after the ninth are cut off, as spans have
    /// nanoseconds), any offset, `T`, `t` or a space between date and time, and no offset at all meaning UTC.
    ///
    /// `None` for anything else, and for times that [`Wall`] cannot hold.
    pub fn parse_rfc3339(text: &str) -> Option<Wall> {
        parse_rfc3339(text.as_bytes())
    }

    /// Reads a count since the Unix epoch: seconds up to 100,000,000,000 (the year 5138), milliseconds from there on
    /// (March 1973).
    pub fn from_epoch_number(count: f64) -> Option<Wall> {
        const MILLISECONDS_FROM: f64 = 1e11;
        let ns = if count.abs() < MILLISECONDS_FROM {
            count * 1e9
        } else {
            count * 1e6
        };
        // 2^63 as a float; `as` saturates, so an out-of-range value has to be caught before.
        (ns.abs() < 9_223_372_036_854_775_808.0).then_some(Wall(ns as i64))
    }

    /// The same for a whole number, exactly.
    pub fn from_epoch_integer(count: i64) -> Option<Wall> {
        const MILLISECONDS_FROM: u64 = 100_000_000_000;
        let ns_per_unit = if count.unsigned_abs() < MILLISECONDS_FROM {
            1_000_000_000
        } else {
            1_000_000
        };
        count.checked_mul(ns_per_unit).map(Wall)
    }
}

/// RFC 3339 in UTC with as many fraction digits as are needed: `2024-07-05T06:57:51.0737407Z`.
impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(timestamp) => write!(f, "{timestamp}"),
            // Cannot happen: jiff reaches from the year -9999 to 9999.
            Err(_) => write!(f, "{} ns", self.0),
        }
    }
}

impl Sub<Duration> for Wall {
    type Output = Wall;

    fn sub(self, duration: Duration) -> Wall {
        Wall(self.0.saturating_sub_unsigned(clamped_ns(duration)))
    }
}

impl Add<Duration> for Wall {
    type Output = Wall;

    fn add(self, duration: Duration) -> Wall {
        Wall(self.0.saturating_add_unsigned(clamped_ns(duration)))
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

/// Digits, not jiff: jiff refuses more than nine fraction digits, and this runs for every time of every poll.
fn parse_rfc3339(_text: &[u8]) -> Option<Wall> {
    None
}
