//! The core in a world made up from a seed: an API, a collector and clocks that do whatever such things do. Hours pass
//! in milliseconds.
//!
//! farspan's loop is here too, in its simplest form: persist, then export. It ends at the worst moments and starts again
//! from what a store has. Several of them share their work in [`fleet`].
//!
//! First all faults are on, and nothing may ever be wrong; then they are off, and everything must come to its end.
//!
//! ```text
//! FARSPAN_SIM_SEED=42 cargo test --test simulation fleet    replays one run
//! FARSPAN_SIM_SEEDS=20000 cargo test --test simulation      runs more of them
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
mod encoders;
mod fleet;
mod pacing;
mod random;
mod receivers;
mod scenario;
mod trace;
mod world;

use fleet::{FleetScenario, FleetTally};
use scenario::{HOUR, Scenario};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use world::Tally;

const SEEDS: u64 = 450;
const FLEET_SEEDS: u64 = 700;

#[test]
fn whatever_happens_every_workflow_becomes_one_trace() {
    let Some(sum) = run_seeds(SEEDS, "every_workflow", one, add) else {
        return;
    };
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
        sum.reloads,
        sum.rated,
        sum.announced,
        sum.announced_again,
        sum.strays,
        sum.superseded,
        sum.nested,
        sum.attempts,
        sum.waits,
        sum.started,
        sum.log_records,
    ];
    let rare = rare.iter().chain(&sum.crashes);
    assert!(
        rare.into_iter().all(|n| *n > 0),
        "not every fault was met: {sum:?}"
    );
}

#[test]
fn whatever_happens_to_a_fleet_nothing_is_lost_and_nothing_is_told_twice() {
    let Some(sum) = run_seeds(FLEET_SEEDS, "fleet", fleet, FleetTally::add) else {
        return;
    };
    assert!(sum.met_everything(), "not every fault was met: {sum:?}");
    assert!(
        sum.excused * 50 <= sum.workflows,
        "too much is excused: {sum:?}"
    );
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    for seed in 0..10 {
        assert_eq!(one(seed), one(seed));
        assert_eq!(fleet(seed), fleet(seed));
    }
}

fn one(seed: u64) -> Tally {
    world::run(Scenario::new(seed))
}

fn fleet(seed: u64) -> FleetTally {
    fleet::run(FleetScenario::new(seed))
}

/// Runs them on all processors. The sum is there if they were so many that everything rare has to be in it.
fn run_seeds<T: Default + Send + std::fmt::Display>(
    enough: u64,
    test: &'static str,
    run: fn(u64) -> T,
    add: fn(&mut T, T),
) -> Option<T> {
    if let Some(seed) = number("FARSPAN_SIM_SEED") {
        tell(&run_seed(seed, test, run, &AtomicU64::new(0)));
        return None;
    }
    let seeds = number("FARSPAN_SIM_SEEDS").unwrap_or(enough);
    let next = AtomicU64::new(0);
    let several = || {
        let mut sum = T::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return sum;
            }
            add(&mut sum, run_seed(seed, test, run, &next));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut sum = T::default();
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(several)).collect();
        for thread in running {
            let done = thread.join().expect("a run failed: its seed is above");
            add(&mut sum, done);
        }
    });
    tell(&sum);
    (seeds >= enough).then_some(sum)
}

fn run_seed<T>(seed: u64, test: &'static str, run: fn(u64) -> T, next: &AtomicU64) -> T {
    let replay = Replay { seed, test, next };
    let tally = run(seed);
    std::mem::forget(replay);
    tally
}

/// Says how to see a failure again, and lets no other run begin.
struct Replay<'a> {
    seed: u64,
    test: &'static str,
    next: &'a AtomicU64,
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        self.next.store(u64::MAX / 2, Ordering::Relaxed);
        let _ = writeln!(
            std::io::stderr(),
            "\nFARSPAN_SIM_SEED={} cargo test --test simulation {}\n",
            self.seed,
            self.test
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
    sum.reloads += tally.reloads;
    sum.rated += tally.rated;
    sum.announced += tally.announced;
    sum.announced_again += tally.announced_again;
    sum.strays += tally.strays;
    sum.grouped += tally.grouped;
    sum.recalled += tally.recalled;
    sum.superseded += tally.superseded;
    sum.nested += tally.nested;
    sum.attempts += tally.attempts;
    sum.waits += tally.waits;
    sum.started += tally.started;
    sum.log_records += tally.log_records;
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} runs, {} hours, {} polls ({} in company, {} taken back), {} spans; {} workflows to the nanosecond, {} timed out, {} not found; \
             {} stale answers, {} exports retried, {} spans rejected; {} restarts, which took over {} workflows and {} \
             spans; {} reloads, {} polls at a rate; {} ends told, {} told again; {} workflows superseded, {} spans nested, {} of \
             later attempts, {} waits, {} starts, {} log records",
            self.runs,
            self.simulated_ns / HOUR,
            self.polls,
            self.grouped,
            self.recalled,
            self.spans,
            self.exact,
            self.timed_out,
            self.not_found,
            self.stale,
            self.retried,
            self.rejected,
            self.restarts,
            self.restored,
            self.spans_restored,
            self.reloads,
            self.rated,
            self.announced,
            self.announced_again,
            self.superseded,
            self.nested,
            self.attempts,
            self.waits,
            self.started,
            self.log_records
        )
    }
}

/// Past the capture of the test's output: this is what the runs were worth.
fn tell(sum: &impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "simulation: {sum}");
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect(variable))
}
