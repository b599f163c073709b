//! Stored runs that cannot be watched, because of what their records hold or what is configured. Their records stay for
//! an instance that can read them.

use super::ids::RunKey;
use super::limits;
use std::collections::HashMap;
use std::sync::Arc;

/// At most as many runs as may be watched.
#[derive(Debug, Default)]
pub(super) struct UnreadableRuns {
    runs: HashMap<RunKey, UnreadableRun>,
}

#[derive(Debug)]
struct UnreadableRun {
    why: Arc<str>,
    /// Whether an event of the run was noted.
    is_noted: bool,
}

impl UnreadableRuns {
    /// A run cannot be watched, for this reason.
    pub(super) fn insert(&mut self, run: RunKey, why: Arc<str>) {
        if self.runs.len() < limits::WORKFLOWS_MAX {
            let is_noted = false;
            self.runs.insert(run, UnreadableRun { why, is_noted });
        }
    }

    /// A run is watched, or another instance has it.
    pub(super) fn remove(&mut self, run: RunKey) {
        self.runs.remove(&run);
    }

    /// Whether the record of a run cannot be read.
    pub(super) fn contains(&self, run: RunKey) -> bool {
        self.runs.contains_key(&run)
    }

    /// An event of such a run has come. Returns the reason if it is the first one.
    pub(super) fn reason_if_new(&mut self, run: RunKey) -> Option<Box<str>> {
        let known = self.runs.get_mut(&run)?;
        let is_new = !std::mem::replace(&mut known.is_noted, true);
        is_new.then(|| (*known.why).into())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.runs.len()
    }

    /// The runs.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = RunKey> {
        self.runs.keys().copied()
    }
}
