//! How the cores under test encode: as debug text, which tells everything apart and is the same each time.

use farspan::core::Encoders;
use farspan::core::finished::FinishedEvent;
use farspan::core::log_record::LogRecord;
use std::cell::RefCell;
use std::collections::VecDeque;

pub const ENCODERS: Encoders = Encoders {
    span: |span| format!("{span:?}").into_bytes().into(),
    log_record: |record| format!("{record:?}").into_bytes().into(),
    finished_event: |event| format!("{event:?}").into_bytes().into(),
};

/// As [`ENCODERS`], and keeps log records for [`next_log_record`] and finished events for [`next_finished_event`].
pub const RECORDING: Encoders = Encoders {
    log_record: |record| {
        LOG_RECORDS.with_borrow_mut(|records| records.push_back(record.clone()));
        (ENCODERS.log_record)(record)
    },
    finished_event: |event| {
        FINISHED_EVENTS.with_borrow_mut(|events| events.push_back(event.clone()));
        (ENCODERS.finished_event)(event)
    },
    ..ENCODERS
};

thread_local! {
    static LOG_RECORDS: RefCell<VecDeque<LogRecord>> = const { RefCell::new(VecDeque::new()) };
    static FINISHED_EVENTS: RefCell<VecDeque<FinishedEvent>> = const { RefCell::new(VecDeque::new()) };
}

/// The finished events that a core of this thread has encoded, in their order.
pub fn next_finished_event() -> Option<FinishedEvent> {
    FINISHED_EVENTS.with_borrow_mut(VecDeque::pop_front)
}

/// The log records that a core of this thread has encoded, in their order.
pub fn next_log_record() -> Option<LogRecord> {
    LOG_RECORDS.with_borrow_mut(VecDeque::pop_front)
}
