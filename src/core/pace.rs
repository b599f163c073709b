//! How often a workflow is polled.

use super::ids::RunKey;
use super::limits;
use super::time::Mono;
use std::time::Duration;

/// When a monitor polls. A reload of the configuration can change all of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
    /// The time from the start event to the first poll.
    pub initial_delay: Duration,
    /// Whether up to an interval is added to it, to spread a burst of events.
    pub spreads_first_polls: bool,
    /// The time from poll to poll, unless a field below replaces it.
    pub interval: Duration,
    /// The time from the start event to the end of the watch, if the workflow has not ended by then.
    pub timeout: Duration,
    /// Intervals for statuses, compared without case. They replace the interval.
    pub interval_by_status: Vec<(Box<str>, Duration)>,
    /// An interval that grows with the workflow's age. It replaces the interval for all other statuses.
    pub adaptive: Option<Adaptive>,
    /// For an API that goes away with its workflow: after connections were refused for so long, the workflow has ended.
    pub gone_after: Option<Duration>,
    /// The longest pause that the host may ask for.
    pub pause_max: Duration,
}

/// An interval that grows with the workflow's age.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adaptive {
    /// The share of the age.
    pub share: f64,
    /// The shortest interval.
    pub min: Duration,
    /// The longest interval.
    pub max: Duration,
}

impl Pace {
    /// A pace whose interval never changes.
    #[cfg(any(test, feature = "internals"))]
    pub fn new(initial_delay: Duration, interval: Duration, timeout: Duration) -> Self {
        Pace {
            initial_delay,
            spreads_first_polls: true,
            interval,
            timeout,
            interval_by_status: Vec::new(),
            adaptive: None,
            gone_after: None,
            pause_max: limits::RETRY_AFTER_MAX,
        }
    }

    /// The interval in force for a workflow of this status and age.
    pub fn interval_of(&self, status: &str, age: Duration) -> Duration {
        let mut by_status = self.interval_by_status.iter();
        if let Some((_, interval)) = by_status.find(|(of, _)| is_same(of, status)) {
            return *interval;
        }
        match self.adaptive {
            Some(Adaptive { share, min, max }) => {
                let grown = age.as_secs_f64() * share;
                // An age times a share may be more than a duration holds. Both bounds are durations.
                let grown = Duration::try_from_secs_f64(grown).unwrap_or(max);
                grown.min(max).max(min)
            }
            None => self.interval,
        }
    }
}

fn is_same(one: &str, other: &str) -> bool {
    let lower = |text: &str| -> Vec<char> { text.chars().flat_map(char::to_lowercase).collect() };
    one.eq_ignore_ascii_case(other)
        || (!(one.is_ascii() && other.is_ascii()) && lower(one) == lower(other))
}

/// A workflow's place within an interval: what starts together is not polled together.
pub(super) fn spread(key: RunKey, interval: Duration) -> Duration {
    let interval_ns = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(key.spread() % interval_ns.max(1))
}

/// The time from one point of the grid to the next. Polls are due at points of the grid, so that several are due
/// together: a group of polls costs far less than its polls alone. It is a fiftieth of the interval and at most
/// [`GRID_MAX`](limits::GRID_MAX), and less where so many workflows are watched that polls have company anyway.
fn grid(interval: Duration, watched: usize) -> Duration {
    let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    let (most, shift_max) = (ms(limits::GRID_MAX), ms(limits::GRID_SHIFT_MAX));
    let mut grid_ms = (interval_ms / 50).min(most);
    // From point to point of its grid a poll keeps its interval. Otherwise each poll is moved, and always later.
    if !interval_ms.is_multiple_of(grid_ms.max(1)) {
        grid_ms = grid_ms.min(shift_max);
    }
    while grid_ms > 1 && watched as u64 * grid_ms > limits::GRID_POLLS.saturating_mul(interval_ms) {
        grid_ms /= 2;
    }
    Duration::from_millis(grid_ms)
}

/// When a poll is due that is asked for at `asked`, and not before `earliest`: at a point of the grid, at most
/// [`GRID_SHIFT_MAX`](limits::GRID_SHIFT_MAX) earlier or later.
pub(super) fn in_company(asked: Mono, earliest: Mono, interval: Duration, watched: usize) -> Mono {
    let grid = grid(interval, watched);
    let earlier = grid.saturating_sub(limits::GRID_SHIFT_MAX).as_nanos() as u64;
    let due = on_grid(Mono::from_ns(asked.as_ns().saturating_sub(earlier)), grid);
    if due >= earliest {
        due
    } else {
        on_grid(asked.max(earliest), grid.min(limits::GRID_SHIFT_MAX))
    }
}

/// The first point of the grid that is no earlier.
fn on_grid(due: Mono, grid: Duration) -> Mono {
    // At most `GRID_MAX`.
    let grid_ns = grid.as_nanos() as u64;
    match due.as_ns().checked_next_multiple_of(grid_ns) {
        Some(ns) => Mono::from_ns(ns),
        None => due,
    }
}

/// Of a limit, which is far shorter than 2^64 ms.
fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

/// A deadline that was set with one timeout, as another timeout would have set it.
pub(super) fn moved(deadline: Mono, timeout_before: Duration, timeout: Duration) -> Mono {
    match timeout.checked_sub(timeout_before) {
        Some(longer) => deadline + longer,
        None => {
            let since_start = deadline.since(Mono::default());
            Mono::from_duration(since_start.saturating_sub(timeout_before.saturating_sub(timeout)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn the_grid_is_a_share_of_the_interval_and_finer_for_many() {
        let mut text = String::new();
        for interval in [0, 40, 99, 500, 5_000, 7_333, 10_000, 10_100, 3_600_000] {
            let of = |watched| grid(Duration::from_millis(interval), watched).as_millis();
            text += &format!(
                "{interval:7} {:?}\n",
                [1, 500, 5_000, 50_000, 100_000].map(of)
            );
        }
        expect![[r#"
                  0 [0, 0, 0, 0, 0]
                 40 [0, 0, 0, 0, 0]
                 99 [1, 1, 1, 1, 1]
                500 [10, 10, 2, 1, 1]
               5000 [100, 100, 25, 3, 1]
               7333 [100, 100, 25, 3, 1]
              10000 [200, 200, 50, 6, 3]
              10100 [100, 100, 50, 6, 3]
            3600000 [200, 200, 200, 200, 200]
        "#]]
        .assert_eq(&text);
    }

    #[test]
    fn a_poll_is_moved_by_a_tenth_of_a_second_at_most() {
        let at = |ms| Mono::from_duration(Duration::from_millis(ms));
        let slow = Duration::from_secs(10);
        let due = |asked, earliest| in_company(at(asked), at(earliest), slow, 500);
        assert_eq!(due(10_001, 0), at(10_000));
        assert_eq!(due(10_100, 0), at(10_000));
        assert_eq!(due(10_101, 0), at(10_200));
        assert_eq!(due(20_200, 10_200), at(20_200), "it keeps its interval");
        assert_eq!(due(10_001, 10_001), at(10_100), "not before");
        assert_eq!(due(10_001, 10_300), at(10_300));
        let quick =
            |asked, interval| in_company(at(asked), at(0), Duration::from_millis(interval), 500);
        assert_eq!(quick(10_001, 500), at(10_010));
        assert_eq!(
            quick(10_001, 7_333),
            at(10_100),
            "never sooner than asked for"
        );
        assert_eq!(quick(10_001, 40), at(10_001), "no grid");
        let last = Mono::from_ns(u64::MAX);
        assert_eq!(in_company(last, last, slow, 500), last);
    }

    #[test]
    fn by_status_beats_adaptive_beats_the_interval() {
        let secs = Duration::from_secs;
        let plain = Pace::new(secs(1), secs(10), secs(3600));
        let adaptive = Pace {
            adaptive: Some(Adaptive {
                share: 0.05,
                min: secs(5),
                max: secs(300),
            }),
            ..plain.clone()
        };
        let by_status = Pace {
            interval_by_status: vec![("queued".into(), secs(60)), ("GELÖSCHT".into(), secs(900))],
            ..adaptive.clone()
        };
        let mut text = String::new();
        for (name, pace) in [
            ("plain", plain),
            ("adaptive", adaptive),
            ("by status", by_status),
        ] {
            for status in ["", "running", "QUEUED", "gelöscht"] {
                let of = |age| pace.interval_of(status, age);
                let ages = [secs(0), secs(200), secs(3600), secs(7200), Duration::MAX];
                text += &format!("{name:9} {status:8} {:?}\n", ages.map(of));
            }
        }
        expect![[r#"
            plain              [10s, 10s, 10s, 10s, 10s]
            plain     running  [10s, 10s, 10s, 10s, 10s]
            plain     QUEUED   [10s, 10s, 10s, 10s, 10s]
            plain     gelöscht [10s, 10s, 10s, 10s, 10s]
            adaptive           [5s, 10s, 180s, 300s, 300s]
            adaptive  running  [5s, 10s, 180s, 300s, 300s]
            adaptive  QUEUED   [5s, 10s, 180s, 300s, 300s]
            adaptive  gelöscht [5s, 10s, 180s, 300s, 300s]
            by status          [5s, 10s, 180s, 300s, 300s]
            by status running  [5s, 10s, 180s, 300s, 300s]
            by status QUEUED   [60s, 60s, 60s, 60s, 60s]
            by status gelöscht [900s, 900s, 900s, 900s, 900s]
        "#]]
        .assert_eq(&text);
    }
}
