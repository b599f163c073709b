//! Malformed events: all are counted, and each kind is logged at most once a minute.

use super::message::{Malformed, Message};
use crate::core::event::Origin;
use crate::core::time::Mono;
use crate::os::clock;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Malformed events of this process, in the order of [`Origin::ALL`]. They end at their source: the loop hears of none.
static MALFORMED: [AtomicU64; Origin::ALL.len()] = [const { AtomicU64::new(0) }; Origin::ALL.len()];

/// How many malformed events a kind of source has had since the start.
pub fn malformed(origin: Origin) -> u64 {
    MALFORMED[origin as usize].load(Ordering::Relaxed)
}

/// The malformed events of one source: when each kind of mistake was logged last, and how often it occurred. There are
/// few kinds.
#[derive(Debug)]
pub(super) struct MalformedLog {
    origin: Origin,
    kinds: HashMap<&'static str, (Mono, u64)>,
}

/// The shortest time between two log lines of one kind.
const EVERY: Duration = Duration::from_secs(60);

impl MalformedLog {
    pub(super) fn new(origin: Origin) -> Self {
        MalformedLog {
            origin,
            kinds: HashMap::new(),
        }
    }

    /// Counts a malformed event for the metrics.
    pub(super) fn count(&self) {
        MALFORMED[self.origin as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_malformed(&mut self, malformed: &Malformed) {
        self.count();
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
        let (logged, count) = self.kinds.entry(kind).or_insert_with(|| {
            is_first = true;
            (now, 0)
        });
        *count += 1;
        if is_first || now.since(*logged) >= EVERY {
            *logged = now;
            let mistake = mistake();
            log::warn!(
                workflow_id = workflow_id;
                "malformed start event ({}), number {count} of its kind, {mistake}",
                self.origin.as_str()
            );
        }
    }
}
