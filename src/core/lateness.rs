//! A histogram of durations: small, exact to an eighth, of a fixed size.

use std::time::Duration;

/// Counts of durations by their magnitude: eight steps for each doubling, from a microsecond to some eleven days.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Box<[u32; STEPS]>,
    total: u64,
    longest: Duration,
}

const STEPS_PER_DOUBLING: usize = 8;
const DOUBLINGS: usize = 40;
const STEPS: usize = STEPS_PER_DOUBLING * DOUBLINGS;

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            counts: Box::new([0; STEPS]),
            total: 0,
            longest: Duration::ZERO,
        }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let step = step_of(duration);
        self.counts[step] = self.counts[step].saturating_add(1);
        self.total += 1;
        self.longest = self.longest.max(duration);
    }

    /// How many durations were counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The longest of them.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// The duration that a share (0 to 1) of all durations does not exceed, rounded up by an eighth at most.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (step, &count) in self.counts.iter().enumerate() {
            seen += u64::from(count);
            if seen >= wanted && seen > 0 {
                return upper_bound(step).min(self.longest);
            }
        }
        self.longest
    }
}

fn step_of(duration: Duration) -> usize {
    let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    if us < STEPS_PER_DOUBLING as u64 {
        return us as usize;
    }
    let doubling = us.ilog2() as usize;
    let eighth = (us >> (doubling - 3)) as usize % STEPS_PER_DOUBLING;
    ((doubling - 2) * STEPS_PER_DOUBLING + eighth).min(STEPS - 1)
}

fn upper_bound(step: usize) -> Duration {
    if step < STEPS_PER_DOUBLING {
        return Duration::from_micros(step as u64);
    }
    let (doubling, eighth) = (step / STEPS_PER_DOUBLING + 2, step % STEPS_PER_DOUBLING);
    let width = 1_u64 << (doubling - 3);
    Duration::from_micros((8 + eighth as u64 + 1) * width - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_exact_to_an_eighth() {
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
                    told >= exact && told <= exact + exact / 8 + 1,
                    "{share}: {exact}, {told}"
                );
            }
            Ok(())
        });
    }

    #[test]
    fn an_empty_one_says_zero() {
        assert_eq!(Histogram::default().quantile(0.99), Duration::ZERO);
    }
}
