//! The timer wheel: nanoseconds for each insert, cancel and expiry, with few timers and with very many.
#![allow(
    clippy::restriction,
    clippy::disallowed_methods,
    reason = "a bench may fail loudly"
)]

mod support;

use farspan::core::limits::WORKFLOWS_MAX;
use farspan::core::time::Mono;
use farspan::core::wheel::{Timer, Wheel};
use std::hint::black_box;
use std::time::{Duration, Instant};
use support::{median, row};

const ROUNDS: usize = 5;
/// Each round works on at least so many timers, so that a clock read costs nothing.
const TIMERS_MIN: usize = 1_000_000;

/// How deadlines lie.
struct Spread {
    name: &'static str,
    width: Duration,
}

/// Over one interval, by hash.
const POLLS: Spread = Spread {
    name: "polls (10 s)",
    width: Duration::from_secs(10),
};
/// Over a day, as workflows come.
const TIMEOUTS: Spread = Spread {
    name: "timeouts (24 h)",
    width: Duration::from_secs(24 * 3600),
};

#[derive(Default)]
struct Figures {
    insert: Vec<f64>,
    cancel: Vec<f64>,
    expire: Vec<f64>,
}

fn main() {
    // The one in the middle is as many as farspan ever watches.
    for count in [1_000, WORKFLOWS_MAX, 1_000_000] {
        for spread in [POLLS, TIMEOUTS] {
            let mut figures = Figures::default();
            for _ in 0..ROUNDS {
                round(count, spread.width, &mut figures);
            }
            let [insert, cancel, expire] =
                [figures.insert, figures.cancel, figures.expire].map(median);
            row(
                &format!("wheel, {count} timers, {}", spread.name),
                "< 100 ns each",
                format!("insert {insert:.0} ns, cancel {cancel:.0} ns, expire {expire:.0} ns"),
            );
        }
    }
}

fn round(count: usize, width: Duration, figures: &mut Figures) {
    let start = Mono::from_duration(Duration::from_secs(1000));
    let wheels = TIMERS_MIN.div_ceil(count);
    let operations = (wheels * count) as f64;
    let width_ns = width.as_nanos() as u64;
    let deadlines: Vec<Mono> = (0..count as u64)
        .map(|key| start + Duration::from_nanos(hash(key) % width_ns))
        .collect();
    // Workflows end in another order than they came.
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|&place| hash(!(place as u64)));

    let (mut insert, mut cancel, mut expire) = Default::default();
    for _ in 0..wheels {
        let mut wheel = Wheel::new(start);
        // The first fill makes the slab, which a wheel does once in its life.
        let timers = fill(&mut wheel, &deadlines);
        cancel += timed(|| {
            for &place in &order {
                assert!(wheel.cancel(timers[place]));
            }
        });
        assert!(wheel.is_empty());
        insert += timed(|| drop(black_box(fill(&mut wheel, &deadlines))));
        assert_eq!(wheel.len(), count);
        let mut fired = 0;
        expire += timed(|| {
            while let Some(at) = wheel.next_deadline() {
                wheel.advance(at, |key| fired += usize::from(black_box(key) < u32::MAX));
            }
        });
        assert_eq!(fired, count, "every timer fires once");
    }
    let each = |time: Duration| time.as_nanos() as f64 / operations;
    figures.insert.push(each(insert));
    figures.cancel.push(each(cancel));
    figures.expire.push(each(expire));
}

fn fill(wheel: &mut Wheel, deadlines: &[Mono]) -> Vec<Timer> {
    let timers = deadlines.iter().zip(0..);
    timers.map(|(at, key)| wheel.insert(*at, key)).collect()
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// SplitMix64's last step.
fn hash(key: u64) -> u64 {
    let key = key.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ (key >> 31)
}
