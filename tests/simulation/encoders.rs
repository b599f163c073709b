//! How the cores under test encode: as debug text, which tells everything apart and is the same each time.

use farspan::core::Encoders;
use farspan::core::finished::FinishedEvent;
use std::cell::RefCell;
use std::collections::VecDeque;

pub const ENCODERS: Encoders = Encoders {
    span: |span| format!("{span:?}").into_bytes().into(),
    finished_event: |event| format!("{event:?}").into_bytes().into(),
};

/// As [`ENCODERS`], and keeps finished events for [`next_finished_event`].
pub const RECORDING: Encoders = Encoders {
    finished_event: |event| {
        FINISHED_EVENTS.with_borrow_mut(|events| events.push_back(event.clone()));
        (ENCODERS.finished_event)(event)
    },
    ..ENCODERS
};

thread_local! {
    static FINISHED_EVENTS: RefCell<VecDeque<FinishedEvent>> = const { RefCell::new(VecDeque::new()) };
}

/// The finished events that a core of this thread has encoded, in their order.
pub fn next_finished_event() -> Option<FinishedEvent> {
    FINISHED_EVENTS.with_borrow_mut(VecDeque::pop_front)
}
