//! What leaves the core: actions, changes for the store, counters.

use super::api::{Action, Change};
use super::give_back::GiveBack;
use super::metrics::Counters;
use super::note::Note;
use std::collections::VecDeque;

/// See the module.
#[derive(Debug)]
pub(super) struct Decisions {
    actions: VecDeque<Action>,
    changes: Vec<Change>,
    /// Whether there is a store. Without one there are no changes.
    stores: bool,
    pub(super) counters: Counters,
}

impl Decisions {
    /// Nothing yet.
    pub(super) fn new(stores: bool, counters: Counters) -> Self {
        Decisions {
            actions: VecDeque::new(),
            changes: Vec::new(),
            stores,
            counters,
        }
    }

    /// This is to be done.
    pub(super) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    /// This is worth a log line.
    pub(super) fn note(&mut self, note: Note) {
        self.act(Action::Note(note));
    }

    /// This is to be stored.
    pub(super) fn change(&mut self, change: Change) {
        if self.stores {
            self.changes.push(change);
        }
    }

    /// The first action that was not taken yet.
    pub(super) fn next_action(&mut self) -> Option<Action> {
        let action = self.actions.pop_front();
        self.actions.give_back();
        action
    }

    /// Whether there is a change that was not taken yet.
    #[cfg(any(test, feature = "internals"))]
    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// All changes that were not taken yet.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }
}
