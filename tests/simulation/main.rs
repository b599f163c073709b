//! The core in a world made up from a seed: an API, a collector and clocks that do whatever such things do. Hours pass
//! in milliseconds.
//!
//! farspan's loop is here too, in its simplest form: persist, then export. It ends at the worst moments and starts again
//! from what a store has.
//!
//! First all faults are on, and nothing may ever be wrong; then they are off, and everything must come to its end.
//!
//! ```text
//! FARSPAN_SIM_SEED=42 cargo test --test simulation       replays one run
//! FARSPAN_SIM_SEEDS=20000 cargo test --test simulation   runs more of them
//! ```

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a test: what is not so ends it"
)]

mod api;
mod collector;
mod disk;
mod random;
mod scenario;
mod world;

use scenario::{HOUR, Scenario};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use world::Tally;

const SEEDS: u64 = 500;

#[test]
fn whatever_happens_every_workflow_becomes_one_trace() {
    if let Some(seed) = number("FARSPAN_SIM_SEED") {
        return tell(run(seed, &AtomicU64::new(0)));
    }
    let seeds = number("FARSPAN_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let several = || {
        let mut sum = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return sum;
            }
            add(&mut sum, run(seed, &next));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut sum = Tally::default();
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(several)).collect();
        for thread in running {
            add(
                &mut sum,
                thread.join().expect("a run failed: its seed is above"),
            );
        }
    });
    tell(sum);
    if seeds >= SEEDS {
        let rare = [
            sum.exact,
            sum.timed_out,
            sum.not_found,
            sum.stale,
            sum.retried,
            sum.rejected,
            sum.restored,
            sum.spans_restored,
            sum.waited,
        ];
        let rare = rare.iter().chain(&sum.crashes);
        assert!(
            rare.into_iter().all(|n| *n > 0),
            "not every fault was met: {sum:?}"
        );
    }
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    for seed in 0..10 {
        let next = AtomicU64::new(0);
        assert_eq!(run(seed, &next), run(seed, &next));
    }
}

fn run(seed: u64, next: &AtomicU64) -> Tally {
    let replay = Replay { seed, next };
    let tally = world::run(Scenario::new(seed));
    std::mem::forget(replay);
    tally
}

/// Says how to see a failure again, and lets no other run begin.
struct Replay<'a> {
    seed: u64,
    next: &'a AtomicU64,
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        self.next.store(u64::MAX / 2, Ordering::Relaxed);
        let _ = writeln!(
            std::io::stderr(),
            "\nFARSPAN_SIM_SEED={} cargo test --test simulation\n",
            self.seed
        );
    }
}

fn add(sum: &mut Tally, tally: Tally) {
    sum.runs += tally.runs;
    sum.polls += tally.polls;
    sum.spans += tally.spans;
    sum.exact += tally.exact;
    sum.simulated_ns += tally.simulated_ns;
    sum.timed_out += tally.timed_out;
    sum.not_found += tally.not_found;
    sum.stale += tally.stale;
    sum.retried += tally.retried;
    sum.rejected += tally.rejected;
    sum.restarts += tally.restarts;
    for (sum, crashes) in sum.crashes.iter_mut().zip(tally.crashes) {
        *sum += crashes;
    }
    sum.waited += tally.waited;
    sum.restored += tally.restored;
    sum.spans_restored += tally.spans_restored;
}

/// Past the capture of the test's output: this is what the run was worth.
fn tell(tally: Tally) {
    let _ = writeln!(
        std::io::stderr(),
        "simulation: {} runs, {} hours, {} polls, {} spans; {} workflows to the nanosecond, {} timed out, {} not found; \
         {} stale answers, {} exports retried, {} spans rejected; {} restarts, which took over {} workflows and {} spans",
        tally.runs,
        tally.simulated_ns / HOUR,
        tally.polls,
        tally.spans,
        tally.exact,
        tally.timed_out,
        tally.not_found,
        tally.stale,
        tally.retried,
        tally.rejected,
        tally.restarts,
        tally.restored,
        tally.spans_restored
    );
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect(variable))
}
