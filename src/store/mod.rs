//! The store: what must survive a restart.
//!
//! Three kinds of records: watched workflows, encoded spans that the collector has not acknowledged, and finished events
//! that nobody has taken yet; and, for a while, the runs that have finished. **Persist, then export, then acknowledge, then delete**: the loop commits the
//! changes of a turn in one transaction before anything of that turn leaves.

#[cfg(feature = "file")]
pub mod file;
pub mod fleet;

use crate::core::time::{Mono, Now};
use crate::core::{Change, Committed, Stored};
use std::fmt;
use std::time::Duration;

/// How long a store lets the loop wait for one answer at most.
pub const PATIENCE_MAX: Duration = Duration::from_secs(2);

/// Where records are kept.
pub trait Store {
    /// Everything that is kept and can be had now. A store that is out of reach for the moment has nothing to say; it
    /// hands over by [`commit`](Self::commit) what it has once it is there.
    ///
    /// # Errors
    /// Why farspan cannot go on with this store.
    fn load(&mut self) -> Result<Stored, StoreError>;

    /// Makes all these changes durably; those of one run all or none. In their order: a later one counts. Without any,
    /// sees to what is due.
    ///
    /// # Errors
    /// Why they were not made. They may be tried again.
    fn commit(&mut self, changes: &[Change], view: &View<'_>) -> Result<Committed, StoreError>;

    /// When the store wants [`commit`](Self::commit) to be called though nothing has changed.
    fn next_deadline(&self) -> Option<Mono> {
        None
    }

    /// Whether what is stored is certainly still ours, so that it may be sent.
    fn may_export(&self, now: Now) -> bool {
        let _ = now;
        true
    }

    /// Gives back what is not finished, at the end.
    fn leave(&mut self) {}
}

/// What a store may want to know of the core.
pub struct View<'a> {
    /// The changes that would bring an empty store to where things stand, the ones to be committed among them.
    pub everything: &'a dyn Fn() -> Vec<Change>,
    /// How many more workflows can be taken under watch.
    pub room: usize,
}

/// Why a store does not do what it is to.
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
