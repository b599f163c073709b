//! The store: what must survive a restart.
//!
//! It holds records of watched workflows, encoded spans that the collector has not acknowledged, finished events that no
//! receiver has accepted, and for some time the runs that have finished. [`turn`](crate::core::turn) decides what is
//! committed when.
//!
//! A store has two sides. The loop's side ([`Store`]) never waits. The calls that may take long are made by a thread of
//! its own ([`thread`]), which wakes the loop after each answer.

#[cfg(feature = "file")]
pub mod file;
pub mod fleet;
pub mod thread;

use crate::core::time::{Mono, Now};
use crate::core::{Change, Committed, Stored};
use crossbeam_channel::Receiver;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How long a store waits for one answer of a server at most.
pub const PATIENCE_MAX: Duration = Duration::from_secs(2);

/// Where records are kept, as the loop sees it. Nothing here waits but [`leave`](Self::leave).
pub trait Store {
    /// Begins to load everything that is stored, before the first commit.
    fn begin_load(&mut self);

    /// What was stored, once it is there. A store that cannot be reached now loads nothing; its commits hand over later
    /// what it has.
    ///
    /// # Errors
    /// Why farspan cannot go on with this store.
    fn loaded(&mut self) -> Option<Result<Stored, StoreError>>;

    /// Begins to make these changes durable, those of one run all or none. A later change of one thing counts over an
    /// earlier one. Without changes the store does what is due. One commit is under way at a time.
    fn begin_commit(&mut self, changes: Arc<[Change]>);

    /// Goes on with the commit under way: after it has begun, and each time that the loop is woken. Its result, once it
    /// is there.
    ///
    /// # Errors
    /// Why the commit failed. The changes may be committed again.
    fn proceed(&mut self, view: &View<'_>, now: Now) -> Option<Result<Committed, StoreError>>;

    /// Gets a message each time that there is something to go on with.
    fn woken(&self) -> Receiver<()>;

    /// When the store wants a commit although nothing has changed.
    fn next_deadline(&self) -> Option<Mono> {
        None
    }

    /// Whether what is stored is certainly still ours, so that it may be sent.
    fn may_export(&self, now: Now) -> bool {
        let _ = now;
        true
    }

    /// How often our own lease has expired, in a fleet.
    fn lapses(&self) -> Option<u64> {
        None
    }

    /// Gives back the runs that have not ended, at the stop. Waits for [`PATIENCE_MAX`] at most.
    fn leave(&mut self) {}
}

/// What a store may ask the core.
pub struct View<'a> {
    /// The changes that would bring an empty store to the present state, the ones to be committed among them.
    pub everything: &'a dyn Fn() -> Vec<Change>,
    /// How many more workflows can be watched.
    pub room: usize,
}

/// Why a call of a store failed, in words for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError(String);

impl StoreError {
    /// With these words.
    pub fn new(words: impl fmt::Display) -> Self {
        StoreError(words.to_string())
    }
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View(room: {})", self.room)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StoreError {}
