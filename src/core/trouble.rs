//! Which trouble, and which oddity of an answer, is worth a note.

use super::poll_failure::PollFailureReason;
use super::time::Mono;
use std::collections::HashSet;
use std::time::Duration;

/// How often the same trouble is noted at most. One workflow in trouble among many that are not would fill the log, and
/// so would an outage that shows as refused connections and as timeouts in turn.
pub(super) const SAME_TROUBLE_NOTED_EVERY: Duration = Duration::from_secs(60);
/// Different oddities of one monitor that are noted.
const ODDITIES_MAX: usize = 64;

/// What was noted of the trouble of one host, or of one monitor with its host.
#[derive(Debug, Default)]
pub(super) struct TroubleNews {
    /// When each kind was noted last, in the order of [`PollFailureReason::ALL`].
    noted: [Option<Mono>; PollFailureReason::ALL.len()],
    /// Whether trouble was noted and its end was not.
    lasts: bool,
    /// Whether the credentials were refused, and no poll was answered since.
    refuses_credentials: bool,
}

impl TroubleNews {
    /// A poll has failed. Whether that is worth a note.
    pub(super) fn is_news(&mut self, reason: PollFailureReason, now: Mono) -> bool {
        self.refuses_credentials |= reason == PollFailureReason::Unauthorized;
        let noted = &mut self.noted[reason.index()];
        if noted.is_some_and(|at| now.since(at) < SAME_TROUBLE_NOTED_EVERY) {
            return false;
        }
        *noted = Some(now);
        self.lasts = true;
        true
    }

    /// A poll was answered. Whether that is worth a note.
    pub(super) fn ends(&mut self) -> bool {
        self.refuses_credentials = false;
        std::mem::take(&mut self.lasts)
    }

    /// Whether the credentials were refused, and no poll was answered since.
    pub(super) fn refuses_credentials(&self) -> bool {
        self.refuses_credentials
    }
}

/// The oddities that were noted of one monitor.
#[derive(Debug, Default)]
pub(super) struct OddityNews {
    /// At most [`ODDITIES_MAX`].
    noted: HashSet<Box<str>>,
}

impl OddityNews {
    /// Whether an oddity is worth a note: each is noted once, and not without end.
    pub(super) fn is_news(&mut self, what: &str) -> bool {
        self.noted.len() < ODDITIES_MAX && self.noted.insert(what.into())
    }
}

/// What was noted of the trouble of the collector, or of one receiver of finished events.
#[derive(Debug, Default)]
pub(super) struct ReceiverNews {
    refusal: Option<Mono>,
    trouble: Option<(Mono, Box<str>)>,
}

impl ReceiverNews {
    /// The receiver has refused an item for good. Whether that is worth a note: it may refuse them all.
    pub(super) fn refusal_is_news(&mut self, now: Mono) -> bool {
        let is_news = self
            .refusal
            .is_none_or(|at| now.since(at) >= SAME_TROUBLE_NOTED_EVERY);
        if is_news {
            self.refusal = Some(now);
        }
        is_news
    }

    /// The receiver accepts nothing now. Whether that is worth a note: when it begins, and when there is another reason.
    pub(super) fn trouble_is_news(&mut self, reason: &str, was_troubled: bool, now: Mono) -> bool {
        let is_other = |(at, known): &(Mono, Box<str>)| {
            **known != *reason && now.since(*at) >= SAME_TROUBLE_NOTED_EVERY
        };
        let is_news = !was_troubled || self.trouble.as_ref().is_none_or(is_other);
        if is_news {
            self.trouble = Some((now, reason.into()));
        }
        is_news
    }
}
