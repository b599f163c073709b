//! farspan to try out: the scripted external system, the load on it, and finished traces as text.
//!
//! The same pieces are the commands `api` and `load`, the demo in one process, and the tests' counterpart.

pub mod api;
pub mod load;
pub mod script;
pub mod waterfall;

use crate::clock;
use std::io::{self, Write};
use std::time::Duration;

/// What `farspan api` can be told.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiOptions {
    /// `host:port`; port 0 takes a free one.
    pub listen: String,
    /// Every planned duration is divided by this.
    pub speed: f64,
    /// The same seed gives the same plan to the same id.
    pub seed: Option<u64>,
    /// How long each answer is held back.
    pub latency: Duration,
    /// The chance of each stage to fail, 0 to 1.
    pub fail_rate: f64,
}

/// What `farspan load` can be told.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadOptions {
    /// Where Redis is; else `FARSPAN_REDIS_URL`, else this host.
    pub redis_url: Option<String>,
    /// The channel; else `FARSPAN_REDIS_CHANNEL`, else `event.workflow.started`.
    pub channel: Option<String>,
    /// How many workflows start.
    pub workflows: u32,
    /// How many of them in one batch.
    pub batch: u32,
    /// From the start of one batch to the start of the next.
    pub batch_wait: Duration,
    /// Over how long a batch is spread; else a tenth of `batch_wait`, at most 10 s.
    pub spread: Option<Duration>,
    /// Whether each event carries a `traceparent` of its own.
    pub with_parent: bool,
    /// The same seed gives the same ids.
    pub seed: Option<u64>,
}

/// A seed that differs from run to run.
fn fresh_seed() -> u64 {
    let now = clock::now().wall.as_unix_ns() as u64;
    now ^ u64::from(std::process::id()).rotate_left(32)
}

/// One line on standard output. That nobody reads it is no reason to stop.
fn say(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// One line on standard error, for what the user has to see whatever the log's level.
fn complain(line: &str) {
    let _ = writeln!(io::stderr().lock(), "farspan: {line}");
}
