//! What a fleet's protocol asks of Redis, and what Redis answers, as types. Pure.

use crate::core::Refusal;
use crate::core::ids::RunKey;
use crate::core::outbox::Signal;
use std::fmt;
use std::sync::Arc;

/// The owner of a run: one incarnation of an instance, written `<instance>/<token>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(pub Arc<str>);

/// One call. A call that was sent over an earlier connection of the same incarnation changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetCall {
    /// The number of the connection that sends it. [`FleetCommand::Connect`] makes the connection of this number.
    pub connection: u64,
    /// What is asked.
    pub command: FleetCommand,
}

/// What one call asks. `Commit`, `Look` and `Claim` renew the lease too, or answer [`FleetReply::Lapsed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FleetCommand {
    /// Make a connection. Answer: `Connected`.
    Connect,
    /// Make this connection the one that counts for our instance. Answer: `Registered`.
    Register {
        /// Whether to replace another incarnation that has our instance's name.
        replaces: bool,
    },
    /// Write these runs; each as a whole or not at all. Answer: `Committed`.
    Commit(Vec<RunWrite>),
    /// Find the owners whose lease has expired. Answer: `Expired`.
    Look,
    /// Take runs of an expired owner. Answer: `Claimed`.
    Claim(ClaimCall),
    /// Which runs are ours? Answer: `OwnRuns`.
    OwnRuns,
    /// What is stored of these runs? Answer: `Runs`.
    Read(Vec<RunKey>),
    /// End our lease now. Answer: `Left`.
    EndLease,
}

/// What Redis answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FleetReply {
    /// The connection is made.
    Connected,
    /// Whether we are registered. `false`: another incarnation has the name.
    Registered(bool),
    /// The runs that were refused, are missing or are over. All others were written.
    Committed(Vec<(RunKey, WriteVerdict)>),
    /// The owners whose lease has expired and that still own runs.
    Expired(Vec<ExpiredOwner>),
    /// What a claim took.
    Claimed(Claimed),
    /// Every run of which Redis says that it is ours.
    OwnRuns(Vec<RunKey>),
    /// What is stored of the runs that were asked for.
    Runs(Vec<StoredRun>),
    /// The lease is ended, or was not ours any more.
    LeaseEnded,
    /// The lease has lapsed or belongs to a later connection. Nothing was written.
    Lapsed,
}

/// A call without an answer: its connection cannot be used any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// What went wrong.
    pub words: String,
    /// Redis refuses us (password, ACL): the next try fails too, until the configuration of one side is changed.
    pub is_final: bool,
}

/// What is to be written of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunWrite {
    /// The run.
    pub run: RunKey,
    /// What Redis has to know of the run for the write to be made.
    pub mode: WriteMode,
    /// Fields to set, with their values.
    pub set: Vec<(RunField, Arc<[u8]>)>,
    /// Fields to remove.
    pub removed: Vec<RunField>,
}

/// What a write expects of the run that it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// The run is to become ours.
    New,
    /// The run is ours. If Redis does not know it: [`WriteVerdict::Missing`].
    Owned,
    /// All of a run, in place of whatever Redis has of it.
    Rewrite,
    /// The same as `Rewrite`, after a silence so long that Redis may have forgotten that the run is done. If Redis
    /// does not know the run, it is done.
    LateRewrite,
}

/// Why a run was not written as asked, or that nothing of it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteVerdict {
    /// The run is another owner's, or done.
    Refused(Refusal),
    /// Redis has lost a run that is ours.
    Missing,
    /// The last field of the run was removed: the run is done.
    Over,
}

/// A field of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunField {
    /// The stored watch.
    Record,
    /// A span or a log record that the collector has not acknowledged.
    Item {
        /// Which of the two.
        signal: Signal,
        /// Its place in the order of export.
        sequence: u64,
        /// The monitor with whose resource it is exported; `None`: the process's resource.
        monitor: Option<Arc<str>>,
    },
    /// A finished event that its receiver has not acknowledged.
    FinishedEvent {
        /// Its place in the order of sending.
        sequence: u64,
        /// The monitor whose receiver gets it.
        monitor: Arc<str>,
    },
}

/// A run with all its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRun {
    /// The run.
    pub run: RunKey,
    /// Its fields and their values.
    pub fields: Vec<(RunField, Arc<[u8]>)>,
}

/// An owner whose lease has expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiredOwner {
    /// The owner.
    pub owner: Owner,
    /// How many of its runs one instance claims.
    pub share: usize,
    /// How many runs it has.
    pub runs: usize,
}

/// Which runs of an expired owner to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimCall {
    /// The expired owner.
    pub owner: Owner,
    /// Where to go on among its runs; [`CLAIM_BEGIN`] at first.
    pub cursor: Box<str>,
    /// About how many runs to look at.
    pub count: usize,
    /// How many runs to take at most.
    pub room: usize,
    /// The latest version of a record that we can read. Runs with a later one are left.
    pub version: u8,
}

/// The cursor of the first claim, and of the answer after which nothing is left (as in Redis's SCAN).
pub const CLAIM_BEGIN: &str = "0";

/// What a claim took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Where the next claim goes on; [`CLAIM_BEGIN`]: nothing is left.
    pub cursor: Box<str>,
    /// How many runs were left because a later version of farspan has written their record.
    pub unread: usize,
    /// The runs that are ours now.
    pub runs: Vec<StoredRun>,
}

impl Owner {
    /// The owner that an incarnation is.
    pub fn new(instance: &str, token: &str) -> Self {
        Owner(format!("{instance}/{token}").into())
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
