//! The metrics: one copy of all numbers in, the texts that Prometheus reads and the message of OTLP out.
//!
//! ```text
//! Numbers (copied by the loop) -> families -> text (OpenMetrics, 0.0.4) or otlp
//! ```
//!
//! Pure. [`table`] says what each metric is; [`families`] fills it.

pub mod families;
pub mod otlp;
pub mod table;
pub mod text;

use crate::core::event::Origin;
use crate::core::metrics::{CommitCounts, Counters};
use crate::core::time::Wall;
use crate::os::process::ProcessNumbers;
use std::sync::Arc;
use std::time::Duration;

/// All numbers of one moment.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// When the process started.
    pub since: Wall,
    /// What the core has counted.
    pub counters: Counters,
    /// The names of the monitors, in their order.
    pub monitors: Arc<[Box<str>]>,
    /// Workflows that may be under watch.
    pub workflows_max: usize,
    /// Polls with the pollers.
    pub polls_in_flight: usize,
    /// Polls that are due and wait.
    pub polls_waiting: usize,
    /// Whether all polls wait because too much waits to be delivered.
    pub polls_held: bool,
    /// The monitors whose API refuses the credentials.
    pub refused: Vec<u16>,
    /// What waits for the collector.
    pub outbox: OutboxNumbers,
    /// Finished events that wait.
    pub finished_events_waiting: usize,
    /// The store, if there is one.
    pub store: Option<StoreNumbers>,
    /// The fleet, if this is an instance of one.
    pub fleet: Option<FleetNumbers>,
    /// Channels and streams, and whether each hears.
    pub sources: Vec<(Arc<str>, bool)>,
    /// Malformed start events, in the order of [`Origin::ALL`].
    pub malformed: [u64; Origin::ALL.len()],
    /// What the system says of the process, as far as it says it.
    pub process: ProcessNumbers,
}

/// The spans and the log records that the collector has not acknowledged.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutboxNumbers {
    /// How many spans.
    pub spans: usize,
    /// Their bytes.
    pub bytes: usize,
    /// How many log records wait beside them.
    pub log_records: usize,
    /// For how long the first span has waited.
    pub oldest: Duration,
}

/// What the store did, and how it is.
#[derive(Clone, Debug, Default)]
pub struct StoreNumbers {
    /// Its commits.
    pub commits: CommitCounts,
    /// With so many bytes new workflows wait.
    pub bytes_max: u64,
    /// Whether they wait.
    pub is_full: bool,
    /// Whether it cannot be written.
    pub is_troubled: bool,
}

/// What an instance knows of its lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FleetNumbers {
    /// Whether it is certainly held.
    pub is_held: bool,
    /// How often it has expired.
    pub lapses: u64,
}
