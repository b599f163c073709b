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
    /// When trouble was noted last.
    noted: Option<Mono>,
    /// Whether trouble was noted and its end was not.
    lasts: bool,
}

impl ReceiverNews {
    /// The receiver accepts nothing now. Whether that is worth a note: when it begins, and once a minute while it lasts,
    /// because a log may be read long after it began.
    pub(super) fn trouble_is_news(&mut self, now: Mono) -> bool {
        let is_known = |at| now.since(at) < SAME_TROUBLE_NOTED_EVERY;
        if self.noted.is_some_and(is_known) {
            return false;
        }
        self.noted = Some(now);
        self.lasts = true;
        true
    }

    /// The receiver accepts what it is sent. Whether that is worth a note.
    pub(super) fn ends(&mut self) -> bool {
        std::mem::take(&mut self.lasts)
    }
}

/// What happens with each batch while nothing changes, as refusals do, and is noted once a minute at most.
#[derive(Debug, Default)]
pub(super) struct Repeated {
    noted: Option<Mono>,
    unsaid: u64,
}

impl Repeated {
    /// It has happened to so many more. `Some`: it is worth a note now, and has happened to so many since the last one.
    pub(super) fn note(&mut self, more: u64, now: Mono) -> Option<u64> {
        self.unsaid += more;
        let is_known = |at| now.since(at) < SAME_TROUBLE_NOTED_EVERY;
        if self.noted.is_some_and(is_known) {
            return None;
        }
        self.noted = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Mono {
        Mono::from_duration(Duration::from_secs(secs))
    }

    #[test]
    fn each_kind_of_failure_is_news_once_a_minute_however_many_polls_fail() {
        for reason in PollFailureReason::ALL {
            let mut news = TroubleNews::default();
            let noted = (0..600).filter(|n| news.is_news(reason, secs(n / 10)));
            assert_eq!(noted.count(), 1, "{reason:?}");
            assert!(news.is_news(reason, secs(60)), "{reason:?}");
        }
    }

    #[test]
    fn kinds_that_alternate_with_good_answers_are_news_once_a_minute() {
        let mut news = TroubleNews::default();
        let (mut noted, mut ended) = (0, 0);
        for n in 0..500 {
            let reason = PollFailureReason::ALL[n % 2];
            noted += u32::from(news.is_news(reason, secs(n as u64 / 10)));
            ended += u32::from(news.ends());
        }
        assert_eq!((noted, ended), (2, 2));
    }

    #[test]
    fn a_receiver_that_goes_up_and_down_is_news_once_a_minute() {
        let mut news = ReceiverNews::default();
        assert!(news.trouble_is_news(secs(0)));
        assert!(!news.trouble_is_news(secs(1)));
        assert!(news.ends());
        assert!(!news.trouble_is_news(secs(10)));
        assert!(!news.ends(), "its beginning was not noted");
        assert!(!news.trouble_is_news(secs(59)));
        assert!(
            news.trouble_is_news(secs(60)),
            "it lasts, and was never noted"
        );
        assert!(!news.trouble_is_news(secs(119)));
        assert!(news.trouble_is_news(secs(120)), "it still lasts");
        assert!(news.ends());
    }

    #[test]
    fn what_is_repeated_is_counted_until_it_is_noted() {
        let mut repeated = Repeated::default();
        assert_eq!(repeated.note(3, secs(0)), Some(3));
        assert_eq!(repeated.note(2, secs(1)), None);
        assert_eq!(repeated.note(4, secs(59)), None);
        assert_eq!(repeated.note(1, secs(60)), Some(7));
    }
}
