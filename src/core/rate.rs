//! The rate limit of a host, in requests per second.
//!
//! A token bucket that may go into debt: a poll takes what it is expected to need, and is corrected when it has come back.
//! The bucket is kept as one time: the time at which its balance is zero.

use super::time::Mono;
use std::time::Duration;

/// One request, in thousandths.
pub const REQUEST: u32 = 1000;

/// See the module.
#[derive(Clone, Debug)]
pub struct Rate {
    ns_per_request: i64,
    /// The balance of a full bucket: a second's requests, at least one.
    burst_ns: i64,
    /// When the balance is, or was, zero.
    even_at_ns: i64,
}

impl Rate {
    /// A full bucket.
    pub fn new(requests_per_second: f64, now: Mono) -> Self {
        let second_ns = Duration::from_secs(1).as_nanos() as f64;
        // A cast of a number that is too large gives the bound; a cast of NaN gives zero.
        let ns_per_request = (second_ns / requests_per_second) as i64;
        let ns_per_request = ns_per_request.clamp(1, i64::MAX / 1024);
        let burst_ns = ns_per_request.max(second_ns as i64);
        Rate {
            ns_per_request,
            burst_ns,
            even_at_ns: ns(now) - burst_ns,
        }
    }

    /// Whether the balance is positive.
    pub fn has_some(&self, now: Mono) -> bool {
        ns(now) > self.even_at_ns
    }

    /// When the balance is positive, if nothing is taken until then.
    pub fn has_some_at(&self) -> Mono {
        let after = self.even_at_ns.saturating_add(1);
        Mono::from_ns(u64::try_from(after).unwrap_or(0))
    }

    /// Takes what a poll is expected to need, in thousandths of a request.
    pub fn take(&mut self, expected: u32, now: Mono) {
        let full = ns(now) - self.burst_ns;
        self.even_at_ns = self
            .even_at_ns
            .max(full)
            .saturating_add(self.cost(expected));
    }

    /// Corrects what was taken for a poll: it has needed so many requests.
    pub fn correct(&mut self, expected: u32, requests: u32) {
        let needed = self.ns_per_request.saturating_mul(requests.into());
        let more = needed.saturating_sub(self.cost(expected));
        self.even_at_ns = self.even_at_ns.saturating_add(more);
    }

    fn cost(&self, expected: u32) -> i64 {
        let ns = i128::from(self.ns_per_request) * i128::from(expected) / i128::from(REQUEST);
        i64::try_from(ns).unwrap_or(i64::MAX)
    }
}

fn ns(at: Mono) -> i64 {
    i64::try_from(at.as_ns()).unwrap_or(i64::MAX)
}

/// How many requests a poll of a monitor needs: an average in which the last poll counts a quarter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Estimate(Option<u32>);

impl Estimate {
    /// What the next poll is expected to need, in thousandths of a request.
    pub fn expected(self) -> u32 {
        self.0.unwrap_or(REQUEST)
    }

    /// A poll has needed so many requests.
    pub fn learn(&mut self, requests: u32) {
        let needed = requests.saturating_mul(REQUEST);
        self.0 = Some(match self.0 {
            None => needed,
            Some(known) => known - known / 4 + needed / 4,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn mono(seconds: f64) -> Mono {
        Mono::from_duration(Duration::from_secs_f64(seconds))
    }

    /// When a caller that always wants a poll, of so many requests each, gets it.
    fn taken(rate: f64, requests: u32, count: usize) -> Vec<f64> {
        let mut now = mono(100.0);
        let (mut rate, mut estimate) = (Rate::new(rate, now), Estimate::default());
        let mut taken = Vec::new();
        for _ in 0..count {
            if !rate.has_some(now) {
                now = rate.has_some_at();
                assert!(rate.has_some(now), "the promised time");
            }
            taken.push((now.as_ns() as f64 / 1e7).round() / 100.0 - 100.0);
            let expected = estimate.expected();
            rate.take(expected, now);
            rate.correct(expected, requests);
            estimate.learn(requests);
        }
        taken
    }

    #[test]
    fn after_a_burst_it_is_the_rate() {
        let round = |all: Vec<f64>| -> Vec<String> {
            all.into_iter().map(|at| format!("{at:.2}")).collect()
        };
        let mut text = String::new();
        for (rate, requests) in [(2.0, 1), (0.5, 1), (4.0, 3), (0.1, 2)] {
            let taken = round(taken(rate, requests, 7)).join(" ");
            text += &format!("{requests} at {rate}/s: {taken}\n");
        }
        expect![[r#"
            1 at 2/s: 0.00 0.00 0.00 0.50 1.00 1.50 2.00
            1 at 0.5/s: 0.00 0.00 2.00 4.00 6.00 8.00 10.00
            3 at 4/s: 0.00 0.00 0.50 1.25 2.00 2.75 3.50
            2 at 0.1/s: 0.00 10.00 30.00 50.00 70.00 90.00 110.00
        "#]]
        .assert_eq(&text);
    }

    #[test]
    fn an_estimate_follows_what_was_needed() {
        let mut estimate = Estimate::default();
        let mut text = format!("{}", estimate.expected());
        for requests in [8, 8, 4, 4, 4, 0, u32::MAX] {
            estimate.learn(requests);
            text += &format!(" {}", estimate.expected());
        }
        expect!["1000 8000 8000 7000 6250 5688 4266 1073745023"].assert_eq(&text);
    }

    #[test]
    fn no_rate_is_too_small_or_too_large() {
        let now = mono(1.0);
        for rate in [1e-30, 1e30, 0.001, 1e5] {
            let mut rate = Rate::new(rate, now);
            for _ in 0..100 {
                rate.take(u32::MAX, now);
                rate.correct(1, u32::MAX);
            }
            assert!(!rate.has_some(now) && rate.has_some_at() > now);
            rate.correct(u32::MAX, 0);
            assert_eq!(rate.has_some(now), rate.has_some_at() <= now);
        }
    }
}
