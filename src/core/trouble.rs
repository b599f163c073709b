//! What is news: trouble that polls meet, and what is odd in answers.

use super::poll_failure::PollFailureReason;
use super::time::Mono;
use std::collections::HashSet;
use std::time::Duration;

/// One workflow in trouble among many that are not would fill the log, and so would an outage that shows as refused
/// connections and time-outs by turns: each kind of trouble is news once in this time.
pub(super) const SAME_TROUBLE_NOTED_EVERY: Duration = Duration::from_secs(60);
/// Different oddities of one monitor that are noted before it is enough.
const ODDITIES_MAX: usize = 64;

/// The trouble that a host is in, or that one monitor has with it.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// When each kind was noted last, in the order of [`PollFailureReason::ALL`].
    noted: [Option<Mono>; PollFailureReason::ALL.len()],
    /// Whether a note still waits for its recovery.
    lasts: bool,
}

impl Trouble {
    pub(super) fn is_news(&mut self, reason: PollFailureReason, now: Mono) -> bool {
        let noted = &mut self.noted[reason.index()];
        if noted.is_some_and(|at| now.since(at) < SAME_TROUBLE_NOTED_EVERY) {
            return false;
        }
        *noted = Some(now);
        self.lasts = true;
        true
    }

    /// There is an answer. Whether that is news.
    pub(super) fn ends(&mut self) -> bool {
        std::mem::take(&mut self.lasts)
    }
}

/// What was noted of one monitor alone.
#[derive(Debug, Default)]
pub(super) struct Noted {
    pub(super) trouble: Trouble,
    /// At most [`ODDITIES_MAX`].
    oddities: HashSet<Box<str>>,
}

impl Noted {
    /// Each is once, and not without end.
    pub(super) fn is_odd_news(&mut self, what: &str) -> bool {
        self.oddities.len() < ODDITIES_MAX && self.oddities.insert(what.into())
    }
}
