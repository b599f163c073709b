//! Runs that have finished: remembered for a while, so that a late duplicate of their event is recognised.
//!
//! Memory has a bound, and ids are computed: a forgotten run that is announced again would get the ids of its first trace,
//! with other contents if it has gone on since. So the latest begin of a forgotten run is remembered too, for ever. A run
//! that began later was certainly not forgotten.

use super::ids::RunKey;
use super::limits;
use super::time::{Mono, Now, Wall};
use std::collections::{HashSet, VecDeque};
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(super) struct FinishedRuns {
    runs: HashSet<RunKey>,
    /// In the order in which they finished.
    order: VecDeque<FinishedRun>,
    kept: Duration,
    /// The latest begin of a run that was forgotten.
    forgotten_until: Option<Wall>,
}

#[derive(Clone, Copy, Debug)]
struct FinishedRun {
    run: RunKey,
    /// When it began, as its API has it.
    began: Wall,
    /// Since when it is remembered.
    since: Mono,
}

/// Stands in the store for all runs that were forgotten: no run has this key.
const FORGOTTEN: RunKey = RunKey::from_bytes([0; 16]);

impl FinishedRuns {
    /// None yet.
    pub(super) fn new() -> Self {
        FinishedRuns {
            runs: HashSet::new(),
            order: VecDeque::new(),
            kept: limits::FINISHED_KEPT,
            forgotten_until: None,
        }
    }

    /// Remembers runs for so long, if that is longer than before.
    pub(super) fn keep_for(&mut self, kept: Duration) {
        self.kept = self.kept.max(kept);
    }

    /// A run has finished that began then. One that is known keeps its time.
    pub(super) fn insert(&mut self, run: RunKey, began: Wall, now: Now) {
        if self.runs.insert(run) {
            let since = now.mono;
            self.order.push_back(FinishedRun { run, began, since });
        }
    }

    /// Takes in what a store held.
    pub(super) fn restore(&mut self, run: RunKey, began: Wall, now: Now) {
        if run == FORGOTTEN {
            self.forgotten_until = self.forgotten_until.max(Some(began));
        } else {
            self.insert(run, began, now);
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
            self.order.retain(|it| self.runs.contains(&it.run));
        }
    }

    /// Whether a run that began then may have finished and been forgotten.
    pub(super) fn may_have_forgotten(&self, began: Wall) -> bool {
        self.forgotten_until.is_some_and(|until| began <= until)
    }

    /// Forgets the next run that finished long enough ago, or for which there is no room.
    pub(super) fn forget(&mut self, now: Mono) -> Option<RunKey> {
        let &FinishedRun { run, began, since } = self.order.front()?;
        if self.order.len() <= limits::FINISHED_MAX && now.since(since) < self.kept {
            return None;
        }
        self.order.pop_front();
        self.runs.remove(&run);
        self.forgotten_until = self.forgotten_until.max(Some(began));
        Some(run)
    }

    /// What stands in the store for all runs that were forgotten.
    pub(super) fn forgotten(&self) -> Option<(RunKey, Wall)> {
        self.forgotten_until.map(|until| (FORGOTTEN, until))
    }

    /// How many runs are remembered.
    pub(super) fn len(&self) -> usize {
        self.runs.len()
    }

    /// What the store holds: the runs in the order in which they finished, each with its begin.
    pub(super) fn iter(&self) -> impl Iterator<Item = (RunKey, Wall)> {
        let runs = self.order.iter().map(|it| (it.run, it.began));
        self.forgotten().into_iter().chain(runs)
    }

    /// Holds what must always be true.
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.runs.len(), self.order.len());
        assert!(self.runs.len() <= limits::FINISHED_MAX);
    }
}
