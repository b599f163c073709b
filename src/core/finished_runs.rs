//! Runs that have finished: remembered for a while, so that a late duplicate of their event is recognised.

use super::ids::RunKey;
use super::limits;
use super::time::Mono;
use std::collections::{HashSet, VecDeque};
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(super) struct FinishedRuns {
    runs: HashSet<RunKey>,
    /// In the order in which they finished.
    order: VecDeque<(Mono, RunKey)>,
    kept: Duration,
}

impl FinishedRuns {
    /// None yet.
    pub(super) fn new() -> Self {
        FinishedRuns {
            runs: HashSet::new(),
            order: VecDeque::new(),
            kept: limits::FINISHED_KEPT,
        }
    }

    /// Remembers runs for so long, if that is longer than before.
    pub(super) fn keep_for(&mut self, kept: Duration) {
        self.kept = self.kept.max(kept);
    }

    /// A run has finished. One that is known keeps its time.
    pub(super) fn insert(&mut self, run: RunKey, now: Mono) {
        if self.runs.insert(run) {
            self.order.push_back((now, run));
        }
    }

    /// Whether a run has finished lately.
    pub(super) fn contains(&self, run: RunKey) -> bool {
        self.runs.contains(&run)
    }

    /// Forgets these runs.
    pub(super) fn remove_all(&mut self, runs: impl Iterator<Item = RunKey>) {
        let before = self.runs.len();
        for run in runs {
            self.runs.remove(&run);
        }
        if self.runs.len() < before {
            self.order.retain(|(_, run)| self.runs.contains(run));
        }
    }

    /// Forgets the next run that finished long enough ago, or for which there is no room.
    pub(super) fn forget(&mut self, now: Mono) -> Option<RunKey> {
        let &(since, run) = self.order.front()?;
        if self.order.len() <= limits::FINISHED_MAX && now.since(since) < self.kept {
            return None;
        }
        self.order.pop_front();
        self.runs.remove(&run);
        Some(run)
    }

    /// How many runs are remembered.
    pub(super) fn len(&self) -> usize {
        self.runs.len()
    }

    /// The runs, in the order in which they finished.
    pub(super) fn iter(&self) -> impl Iterator<Item = RunKey> {
        self.order.iter().map(|(_, run)| *run)
    }

    /// Holds what must always be true.
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.runs.len(), self.order.len());
        assert!(self.runs.len() <= limits::FINISHED_MAX);
    }
}
