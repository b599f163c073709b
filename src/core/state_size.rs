//! How much the store holds, and whether new workflows have to wait for that.

use super::note::{Note, StateNote};

/// See the module.
#[derive(Debug)]
pub(super) struct StateSize {
    bytes_max: u64,
    is_full: bool,
}

impl StateSize {
    /// Room for so many bytes.
    pub(super) fn new(bytes_max: u64) -> Self {
        StateSize {
            bytes_max,
            is_full: false,
        }
    }

    /// [`Settings::state_bytes_max`](super::Settings::state_bytes_max).
    pub(super) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Whether new workflows wait.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Whether there is room for another workflow beside so many bytes.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        !self.is_full && bytes < self.bytes_max
    }

    /// The store holds so many bytes now. Returns a note when that begins or ends the wait. The wait ends well below the
    /// bound, or it would begin again with every new workflow.
    pub(super) fn update(&mut self, bytes: u64) -> Option<Note> {
        let bytes_max = self.bytes_max;
        let full = if self.is_full {
            bytes > bytes_max / 10 * 9
        } else {
            bytes >= bytes_max
        };
        let is_news = std::mem::replace(&mut self.is_full, full) != full;
        is_news.then_some(Note::State(StateNote::Full {
            full,
            bytes,
            bytes_max,
        }))
    }
}
