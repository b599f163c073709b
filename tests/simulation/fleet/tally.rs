//! What the runs of a fleet came to.

use crate::scenario::HOUR;

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FleetTally {
    pub runs: u64,
    pub simulated_ns: u64,
    pub workflows: u64,
    pub exact: u64,
    pub spans: u64,
    /// Spans that arrived again, the same.
    pub again: u64,
    /// Log records that arrived, and how often one arrived again, the same.
    pub log_records: u64,
    pub log_records_again: u64,
    /// Finished events that a receiver has taken, and how often one was taken again.
    pub announced: u64,
    pub announced_again: u64,
    /// At each point, the stops last.
    pub crashes: [u64; 7],
    pub freezes: u64,
    pub sleeps: u64,
    pub cuts: u64,
    pub flushes: u64,
    pub answers_lost: u64,
    /// Scripts that came after they were given up, in time to do something and too late.
    pub late_scripts: u64,
    pub stale_scripts: u64,
    pub refused: u64,
    pub claimed: u64,
    pub rejoined: u64,
    /// Batches that were held back because the lease was not fresh, or that left before and arrived after.
    pub late_batches: u64,
    /// Runs that Redis has lost for good.
    pub excused: u64,
    /// Of all that happened, in its order.
    pub digest: u64,
}

impl FleetTally {
    pub fn add(&mut self, other: FleetTally) {
        let others = other.numbers();
        for (sum, other) in self.numbers_mut().into_iter().zip(others) {
            *sum += other;
        }
        for (sum, crashes) in self.crashes.iter_mut().zip(other.crashes) {
            *sum += crashes;
        }
    }

    fn numbers(mut self) -> [u64; 22] {
        self.numbers_mut().map(|n| *n)
    }

    fn numbers_mut(&mut self) -> [&mut u64; 22] {
        [
            &mut self.runs,
            &mut self.simulated_ns,
            &mut self.workflows,
            &mut self.exact,
            &mut self.spans,
            &mut self.again,
            &mut self.log_records,
            &mut self.log_records_again,
            &mut self.announced,
            &mut self.announced_again,
            &mut self.freezes,
            &mut self.sleeps,
            &mut self.cuts,
            &mut self.flushes,
            &mut self.answers_lost,
            &mut self.late_scripts,
            &mut self.stale_scripts,
            &mut self.refused,
            &mut self.claimed,
            &mut self.rejoined,
            &mut self.late_batches,
            &mut self.excused,
        ]
    }

    pub fn met_everything(&self) -> bool {
        let numbers = self.numbers();
        numbers.iter().chain(&self.crashes).all(|n| *n > 0)
    }
}

impl std::fmt::Display for FleetTally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} runs of a fleet, {} hours, {} workflows, {} of them to the nanosecond, {} spans, {} arrived again; {} log records, {} arrived again; {} ends told, {} told again; \
             {} crashes, {} stops, {} freezes, {} sleeps, {} partitions, {} FLUSHALLs, {} answers lost, {} scripts late and {} too late; {} runs \
             refused, {} taken over, {} rewrites, {} late batches, {} runs excused",
            self.runs,
            self.simulated_ns / HOUR,
            self.workflows,
            self.exact,
            self.spans,
            self.again,
            self.log_records,
            self.log_records_again,
            self.announced,
            self.announced_again,
            self.crashes[..6].iter().sum::<u64>(),
            self.crashes[6],
            self.freezes,
            self.sleeps,
            self.cuts,
            self.flushes,
            self.answers_lost,
            self.late_scripts,
            self.stale_scripts,
            self.refused,
            self.claimed,
            self.rejoined,
            self.late_batches,
            self.excused
        )
    }
}
