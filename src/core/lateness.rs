//! A histogram of durations: small, exact to a tenth, of a fixed size.

use std::time::Duration;

/// Counts of durations by their magnitude: ninety steps for each power of ten, from a microsecond to some eleven days.
/// Every duration of two decimal digits is the end of a step, so that the buckets of a metric can be read exactly.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Box<[u64; STEPS]>,
    total: u64,
    sum: Duration,
    longest: Duration,
}

/// The steps up to ten microseconds: one for each microsecond, and one for zero.
const FIRST: usize = 11;
const STEPS_PER_DECADE: usize = 90;
const DECADES: usize = 11;
const STEPS: usize = FIRST + STEPS_PER_DECADE * DECADES;

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            counts: Box::new([0; STEPS]),
            total: 0,
            sum: Duration::ZERO,
            longest: Duration::ZERO,
        }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        self.counts[step_of(duration)] += 1;
        self.total += 1;
        self.sum = self.sum.saturating_add(duration);
        self.longest = self.longest.max(duration);
    }

    /// Counts what `other` has counted.
    pub fn add(&mut self, other: &Histogram) {
        for (count, more) in self.counts.iter_mut().zip(other.counts.iter()) {
            *count += more;
        }
        self.total += other.total;
        self.sum = self.sum.saturating_add(other.sum);
        self.longest = self.longest.max(other.longest);
    }

    /// How many durations were counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// All durations together.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// The longest of them.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// How many durations were at most `bound`, which has two decimal digits: `250 ms`, not `255 ms`.
    pub fn up_to(&self, bound: Duration) -> u64 {
        self.counts[..=step_of(bound)].iter().sum()
    }

    /// The duration that a share (0 to 1) of all durations does not exceed, rounded up by a tenth at most.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (step, &count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return upper_bound(step).min(self.longest);
            }
        }
        self.longest
    }
}

fn step_of(duration: Duration) -> usize {
    const SECOND_US: u64 = 1_000_000;
    // A part of a microsecond counts as a whole one: a step includes its upper bound.
    let part = u64::from(duration.subsec_nanos().div_ceil(1000));
    let us = duration.as_secs().saturating_mul(SECOND_US);
    let us = us.saturating_add(part);
    if us < FIRST as u64 {
        return us as usize;
    }
    let decade = (us - 1).ilog10();
    let width = 10_u64.pow(decade - 1);
    let within = us.div_ceil(width) as usize - 10;
    (FIRST - 1 + (decade as usize - 1) * STEPS_PER_DECADE + within).min(STEPS - 1)
}

fn upper_bound(step: usize) -> Duration {
    if step < FIRST {
        return Duration::from_micros(step as u64);
    }
    let (decade, within) = (
        (step - FIRST) / STEPS_PER_DECADE,
        (step - FIRST) % STEPS_PER_DECADE + 1,
    );
    Duration::from_micros((10 + within as u64) * 10_u64.pow(decade as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_exact_to_a_tenth() {
        arbtest::arbtest(|u| {
            let mut all = Vec::new();
            let mut histogram = Histogram::default();
            for _ in 0..u.int_in_range(1..=100)? {
                let doublings = u.int_in_range(0..=39)?;
                let us = u.int_in_range(0..=1_u64 << doublings)?;
                all.push(us);
                histogram.record(Duration::from_micros(us));
            }
            all.sort_unstable();
            for share in [0.5, 0.9, 0.99, 1.0] {
                let rank = ((all.len() as f64 * share).ceil() as usize).max(1) - 1;
                let (exact, told) = (all[rank], histogram.quantile(share).as_micros() as u64);
                assert!(
                    told >= exact && told <= exact + exact / 10 + 1,
                    "{share}: {exact}, {told}"
                );
            }
            Ok(())
        });
    }

    #[test]
    fn what_is_at_most_a_bound_of_two_digits_is_counted_exactly() {
        let bounds = [0, 1, 9, 10, 11, 25, 100, 2500, 10_000, 250_000, 1_000_000];
        for bound in bounds.map(Duration::from_micros) {
            let mut histogram = Histogram::default();
            histogram.record(bound);
            assert_eq!(histogram.up_to(bound), 1, "{bound:?}");
            histogram.record(bound + Duration::from_nanos(1));
            assert_eq!(histogram.up_to(bound), 1, "a nanosecond over {bound:?}");
            histogram.record(Duration::MAX);
            assert_eq!((histogram.up_to(bound), histogram.total()), (1, 3));
        }
    }

    #[test]
    fn two_together_are_as_one() {
        let [mut one, mut other, mut both] = [(); 3].map(|()| Histogram::default());
        for ms in 0..200 {
            let (some, duration) = (&mut one, Duration::from_millis(ms * ms));
            (if ms % 3 == 0 { some } else { &mut other }).record(duration);
            both.record(duration);
        }
        one.add(&other);
        assert_eq!(one.counts, both.counts);
        let facts = |h: &Histogram| (h.total(), h.sum(), h.longest(), h.quantile(0.5));
        assert_eq!(facts(&one), facts(&both));
    }

    #[test]
    fn an_empty_one_says_zero() {
        assert_eq!(Histogram::default().quantile(0.99), Duration::ZERO);
    }
}
