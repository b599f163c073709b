//! Pollers as the core sees them: which of them is free, and how many polls each one has.
//!
//! ```text
//! free -> take -> add, add .. -> begun -> returned, returned .. -> free
//! ```
//!
//! A poller gets a group of polls of one host and sends them one after another. It is woken once for all of them, and the
//! loop is woken once for all their answers. So a group costs far less than its polls alone, and a later poll of it waits
//! for the earlier ones. A group is only as large as the host's latency lets it be.

use super::limits;
use super::time::Mono;
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(super) struct PollerStates {
    pollers: Vec<PollerState>,
    /// The poller that became free last is the next one that is taken: its connections are warm.
    free: Vec<u16>,
}

#[derive(Clone, Copy, Debug, Default)]
struct PollerState {
    /// The index of the host of its polls.
    host: usize,
    /// Polls of its group that are not back.
    left: u32,
    /// When the polls that it has not begun are taken back.
    recall_at: Option<Mono>,
}

impl PollerStates {
    /// Pollers that are all free.
    pub(super) fn new(count: usize) -> Self {
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        PollerStates {
            pollers: vec![PollerState::default(); usize::from(count)],
            free: (0..count).rev().collect(),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.pollers.len()
    }

    /// How many of them are free.
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// How many of them have polls of this host.
    pub(super) fn of_host(&self, host: usize) -> usize {
        let is_busy_with = |it: &&PollerState| it.left > 0 && it.host == host;
        self.pollers.iter().filter(is_busy_with).count()
    }

    /// Takes a free poller for polls of this host. Call [`add`](Self::add) for each of them.
    pub(super) fn take(&mut self, host: usize) -> Option<u16> {
        let poller = self.free.pop()?;
        self.pollers[usize::from(poller)] = PollerState {
            host,
            ..PollerState::default()
        };
        Some(poller)
    }

    /// The poller gets one more poll.
    pub(super) fn add(&mut self, poller: u16) {
        self.pollers[usize::from(poller)].left += 1;
    }

    /// The poller has its group.
    pub(super) fn begun(&mut self, poller: u16, now: Mono) {
        if let Some(poller) = self.pollers.get_mut(usize::from(poller))
            && poller.left > 1
        {
            poller.recall_at = Some(now + limits::GROUP_PATIENCE);
        }
    }

    /// A poll is back. Returns the index of its host if the poller is free now.
    pub(super) fn returned(&mut self, poller: u16) -> Option<usize> {
        let state = &mut self.pollers[usize::from(poller)];
        state.left -= 1;
        if state.left > 0 {
            return None;
        }
        state.recall_at = None;
        self.free.push(poller);
        Some(state.host)
    }

    /// The next poller that is stuck in its group: its index, and its host's.
    pub(super) fn next_overdue(&mut self, now: Mono) -> Option<(u16, usize)> {
        let mut pollers = (0..).zip(&mut self.pollers);
        let (poller, state) =
            pollers.find(|(_, state)| state.recall_at.is_some_and(|at| at <= now))?;
        state.recall_at = None;
        Some((poller, state.host))
    }

    /// When a poller is stuck in its group, if nothing comes back before.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.pollers.iter().filter_map(|it| it.recall_at).min()
    }

    /// How many polls the pollers have.
    pub(super) fn polls(&self) -> usize {
        self.pollers.iter().map(|it| it.left as usize).sum()
    }
}

/// How long a poll of one host takes: the longest of its last polls, so that a host that is slow at times counts as slow.
#[derive(Debug, Default)]
pub(super) struct Latency(Option<Duration>);

impl Latency {
    /// A poll took so long.
    pub(super) fn learn(&mut self, took: Duration) {
        let fallen = self.0.map(|known| known - known.saturating_sub(took) / 8);
        self.0 = Some(fallen.map_or(took, |fallen| fallen.max(took)));
    }

    /// A poller was stuck in a group.
    pub(super) fn overrun(&mut self) {
        self.learn(limits::GROUP_TIME);
    }

    /// How many polls make a group.
    pub(super) fn group_size(&self) -> usize {
        let Some(latency) = self.0 else { return 1 };
        let fit = limits::GROUP_TIME.as_nanos() / latency.as_nanos().max(1);
        usize::try_from(fit)
            .unwrap_or(usize::MAX)
            .clamp(1, limits::GROUP_POLLS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Mono {
        Mono::from_duration(Duration::from_millis(ms))
    }

    #[test]
    fn the_poller_that_was_busy_last_is_taken_first() {
        let mut pollers = PollerStates::new(3);
        let (first, second) = (pollers.take(0).unwrap(), pollers.take(1).unwrap());
        assert_eq!((first, second, pollers.free()), (0, 1, 1));
        for poller in [first, first, second] {
            pollers.add(poller);
        }
        assert_eq!((pollers.of_host(0), pollers.of_host(1)), (1, 1));
        assert_eq!(pollers.returned(first), None, "it has another poll");
        assert_eq!(pollers.returned(first), Some(0));
        assert_eq!(pollers.returned(second), Some(1));
        assert_eq!(pollers.take(7), Some(second));
        pollers.add(second);
        assert_eq!((pollers.of_host(7), pollers.of_host(1)), (1, 0));
        assert_eq!((pollers.take(0), pollers.take(0)), (Some(0), Some(2)));
        assert_eq!(pollers.take(0), None);
    }

    #[test]
    fn a_poller_that_is_stuck_is_overdue_once() {
        let mut pollers = PollerStates::new(2);
        let (alone, group) = (pollers.take(0).unwrap(), pollers.take(1).unwrap());
        for poller in [alone, group, group, group] {
            pollers.add(poller);
        }
        assert_eq!(pollers.next_deadline(), None, "none has begun");
        pollers.begun(alone, ms(5));
        assert_eq!(pollers.next_deadline(), None, "nobody waits behind it");
        pollers.begun(group, ms(5));
        let deadline = ms(5) + limits::GROUP_PATIENCE;
        assert_eq!(pollers.next_deadline(), Some(deadline));
        assert_eq!(pollers.returned(group), None);
        assert_eq!(pollers.next_overdue(ms(5)), None);
        assert_eq!(pollers.next_overdue(deadline), Some((group, 1)));
        assert_eq!(pollers.next_overdue(deadline), None);
        assert_eq!(pollers.next_deadline(), None);
    }

    #[test]
    fn a_group_is_as_large_as_the_latency_lets_it_be() {
        let mut latency = Latency::default();
        assert_eq!(latency.group_size(), 1, "nothing is known");
        let sizes = [0, 100, 300, 5_000, 10_000, 200_000].map(|us| {
            let mut latency = Latency::default();
            latency.learn(Duration::from_micros(us));
            latency.group_size()
        });
        assert_eq!(sizes, [32, 32, 32, 2, 1, 1]);
        latency.learn(Duration::from_micros(100));
        latency.learn(Duration::from_millis(200));
        assert_eq!(latency.group_size(), 1, "it rises at once");
        let quick = |latency: &mut Latency| {
            latency.learn(Duration::from_micros(100));
            latency.group_size()
        };
        let after = (1..).find(|_| quick(&mut latency) >= 10).unwrap();
        assert!((30..60).contains(&after), "and falls slowly: {after}");
    }
}
