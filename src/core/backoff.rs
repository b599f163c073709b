//! How long to wait after a failure.

use super::limits;
use super::time::Mono;
use std::time::Duration;

/// A source of random numbers (SplitMix64). It has a seed, so that a simulation can be repeated.
/// <https://prng.di.unimi.it/splitmix64.c>
#[derive(Clone, Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Jitter(seed)
    }

    /// A pause after so many failures in a row: `base`, doubled with each further failure, at most `max`, less up to half
    /// of it at random, so that requests which failed together are not repeated together.
    pub fn pause(&mut self, base: Duration, max: Duration, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let pause = base.saturating_mul(1 << doublings).min(max);
        pause - pause.mul_f64(self.fraction() / 2.0)
    }

    /// A random duration from zero to `max`.
    pub fn up_to(&mut self, max: Duration) -> Duration {
        max.mul_f64(self.fraction())
    }

    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// When a failed delivery is tried again.
#[derive(Clone, Copy, Debug)]
pub struct Again {
    at: Mono,
    at_in_hurry: Mono,
}

/// The pause after the first failure.
const RETRY_BASE: Duration = Duration::from_secs(1);

impl Again {
    /// At once.
    pub fn at_once(now: Mono) -> Self {
        Again {
            at: now,
            at_in_hurry: now,
        }
    }

    /// After so many failures in a row, or after the pause that the other side has `asked` for.
    pub fn after(asked: Option<Duration>, failures: u32, now: Mono, jitter: &mut Jitter) -> Self {
        let pause = match asked {
            // Some servers in trouble answer "Retry-After: 0". They would be asked in a tight loop.
            Some(asked) => asked.clamp(RETRY_BASE, limits::RETRY_AFTER_MAX),
            None => jitter.pause(RETRY_BASE, limits::EXPORT_BACKOFF_MAX, failures),
        };
        let pause_in_hurry = match asked {
            Some(_) => pause,
            None => pause.min(RETRY_BASE),
        };
        Again {
            at: now + pause,
            at_in_hurry: now + pause_in_hurry,
        }
    }

    /// The time of the next attempt. With `hurry` a pause that was not asked for is no longer than the first one.
    pub fn at(self, hurry: bool) -> Mono {
        if hurry { self.at_in_hurry } else { self.at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_limit_with_half_of_it_random() {
        let mut jitter = Jitter::new(1);
        let (base, max) = (Duration::from_secs(1), Duration::from_secs(60));
        for failures in 0_u32..100 {
            let full = Duration::from_secs(1 << failures.saturating_sub(1).min(6)).min(max);
            let pause = jitter.pause(base, max, failures);
            assert!(pause <= full && pause >= full / 2, "{failures}: {pause:?}");
        }
        let huge = jitter.pause(Duration::MAX, Duration::MAX, u32::MAX);
        assert!(huge >= Duration::MAX / 3);
    }
}
