//! What the commits of a store were.

use crate::Change;
use crate::lane::LaneItem;
use crate::lateness::Histogram;
use std::time::Duration;

/// The commits since the start.
#[derive(Clone, Debug, Default)]
pub struct CommitCounts {
    /// Those that succeeded.
    pub stored: u64,
    /// Those that failed.
    pub failed: u64,
    /// The changes in those that succeeded.
    pub changes: u64,
    /// The bytes of these changes, without what the store adds to them.
    pub bytes: u64,
    /// How long each commit took, failed ones too.
    pub duration: Histogram,
}

impl CommitCounts {
    /// Counts one commit.
    pub(crate) fn count(&mut self, changes: &[Change], took: Duration, is_stored: bool) {
        self.duration.record(took);
        if !is_stored {
            self.failed += 1;
            return;
        }
        self.stored += 1;
        self.changes += changes.len() as u64;
        self.bytes += changes.iter().map(bytes_of).sum::<usize>() as u64;
    }
}

/// What is removed costs no more than its key.
fn bytes_of(change: &Change) -> usize {
    match change {
        Change::PutWorkflow { record, .. } => record.len(),
        Change::PutItem(it) => it.stored_bytes(),
        Change::PutNotification(it) => it.stored_bytes(),
        Change::PutFinished(..)
        | Change::RemoveFinished(_)
        | Change::RemoveWorkflow(_)
        | Change::RemoveItems(_)
        | Change::RemoveNotifications(_) => 0,
    }
}
