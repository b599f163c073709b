//! The store: what must survive a restart.
//!
//! Two kinds of records: watched workflows, and encoded spans that the collector has not acknowledged; and, for a
//! while, the runs that have finished. **Persist, then export, then acknowledge, then delete**: the loop commits the
//! changes of a turn in one transaction before anything of that turn leaves.

pub mod file;

use crate::core::{Change, Stored};
use std::fmt;

/// Where records are kept.
pub trait Store {
    /// Everything that is kept.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn load(&mut self) -> Result<Stored, StoreError>;

    /// Makes all these changes or none of them, durably. In their order: a later one counts.
    ///
    /// # Errors
    /// Why they were not made. They may be tried again.
    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError>;
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

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StoreError {}
