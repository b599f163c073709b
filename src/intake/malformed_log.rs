//! Malformed events in the log: each kind is counted, and logged at most once a minute.

use super::message::{Malformed, Message};
use crate::core::time::Mono;
use crate::os::clock;
use std::collections::HashMap;
use std::time::Duration;

/// When each kind of mistake was logged last, and how often it occurred. There are few kinds.
#[derive(Debug, Default)]
pub(super) struct MalformedLog(HashMap<&'static str, (Mono, u64)>);

/// The shortest time between two log lines of one kind.
const EVERY: Duration = Duration::from_secs(60);

impl MalformedLog {
    pub(super) fn note_malformed(&mut self, malformed: &Malformed) {
        self.note(malformed.reason(), None, || format!("ignored: {malformed}"));
    }

    pub(super) fn note_oddity(&mut self, message: &Message) {
        if let Some(oddity) = message.oddity {
            let id = &message.event.workflow_id;
            self.note(oddity, Some(id), || format!("left out: {oddity}"));
        }
    }

    /// Counts a mistake of this kind. `mistake` says what it is and what becomes of the event.
    pub(super) fn note(
        &mut self,
        kind: &'static str,
        workflow_id: Option<&str>,
        mistake: impl Fn() -> String,
    ) {
        let now = clock::now().mono;
        let mut is_first = false;
        let (logged, count) = self.0.entry(kind).or_insert_with(|| {
            is_first = true;
            (now, 0)
        });
        *count += 1;
        if is_first || now.since(*logged) >= EVERY {
            *logged = now;
            let mistake = mistake();
            log::warn!(
                workflow_id = workflow_id;
                "malformed start event, number {count} of its kind, {mistake}"
            );
        }
    }
}
