//! Finished events that their receivers have not accepted.
//!
//! ```text
//! FinishedEvent -> (encoded) -> Notification -> waiting -> with the notifier -> accepted
//!                                                  ^             |   |
//!                                                  +--- again ---+   +-> refused for good
//! ```
//!
//! There is one for each run, stored like a span until its receiver has accepted it. Each monitor has a [`Lane`] of its
//! own, in the order in which its workflows finished, so that a receiver that is down delays no other. An event may
//! arrive twice, when farspan ended between the answer and the commit; it is then the same bytes.

use super::backoff::Jitter;
use super::finished::{Notification, Notified, Notify};
use super::ids::RunKey;
use super::lane::{Lane, LaneItem, Sequence};
use super::limits;
use super::time::Mono;
use super::trouble::{ReceiverNews, Repeated};
use std::collections::HashSet;
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub(super) struct Notifications {
    /// In the order of the monitors; `None` for a monitor without a receiver.
    receivers: Vec<Option<Receiver>>,
    /// Stored events whose receiver is not configured any more. They stay stored.
    stranded: Lane<Notification>,
    sequence: Sequence,
}

/// What was noted of one receiver.
#[derive(Debug, Default)]
pub(super) struct NotifyNews {
    pub(super) trouble: ReceiverNews,
    pub(super) refusals: Repeated,
}

#[derive(Debug)]
struct Receiver {
    /// The monitor's name.
    monitor: Arc<str>,
    lane: Lane<Notification>,
    news: NotifyNews,
}

impl LaneItem for Notification {
    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn run(&self) -> RunKey {
        self.run
    }

    fn stored_bytes(&self) -> usize {
        self.bytes.len() + self.monitor.len() + limits::STORED_SEQUENCE_BYTES
    }
}

impl Notifications {
    /// None yet. `receivers`: the name of each monitor that has a receiver. Events are numbered from `first_sequence`.
    pub(super) fn new(
        receivers: impl Iterator<Item = Option<Arc<str>>>,
        first_sequence: u64,
    ) -> Self {
        let receiver = |monitor| Receiver {
            monitor,
            lane: Lane::new(),
            news: NotifyNews::default(),
        };
        Notifications {
            receivers: receivers.map(|name| name.map(receiver)).collect(),
            stranded: Lane::new(),
            sequence: Sequence::from(first_sequence),
        }
    }

    /// The name of a monitor, if it has a receiver.
    pub(super) fn name_of(&self, monitor: u16) -> Option<&Arc<str>> {
        let receiver = self.receivers.get(usize::from(monitor))?.as_ref();
        receiver.map(|receiver| &receiver.monitor)
    }

    /// Takes an encoded finished event and gives it its place.
    pub(super) fn push(
        &mut self,
        run: RunKey,
        monitor: Arc<str>,
        bytes: Arc<[u8]>,
        now: Mono,
    ) -> Notification {
        let notification = Notification {
            sequence: self.sequence.next(),
            run,
            monitor,
            bytes,
        };
        self.restore(notification.clone(), now);
        notification
    }

    /// Takes an event that was stored, by an earlier start or another instance, to its place in the order. False: it has
    /// no receiver.
    pub(super) fn restore(&mut self, notification: Notification, now: Mono) -> bool {
        self.sequence.seen(notification.sequence);
        let mut receivers = self.receivers.iter_mut().flatten();
        let receiver = receivers.find(|receiver| receiver.monitor == notification.monitor);
        let has_receiver = receiver.is_some();
        let lane = receiver.map_or(&mut self.stranded, |receiver| &mut receiver.lane);
        lane.insert(notification, now);
        has_receiver
    }

    /// Forgets the events of runs that another instance owns.
    pub(super) fn forget(&mut self, is_lost: impl Fn(RunKey) -> bool) {
        for receiver in self.receivers.iter_mut().flatten() {
            receiver.lane.forget(&is_lost);
        }
        self.stranded.forget(is_lost);
    }

    /// All events, those without a receiver too.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Notification> {
        self.lanes().chain([&self.stranded]).flat_map(Lane::iter)
    }

    /// How many events there are.
    pub(super) fn len(&self) -> usize {
        self.waiting() + self.stranded.len()
    }

    /// How many events have a receiver.
    pub(super) fn waiting(&self) -> usize {
        self.lanes().map(Lane::len).sum()
    }

    /// Their bytes, as they are stored.
    pub(super) fn bytes(&self) -> usize {
        self.waiting_bytes() + self.stranded.bytes()
    }

    /// Whether so much waits for receivers that nothing should be added.
    pub(super) fn is_full(&self) -> bool {
        self.waiting_bytes() >= limits::NOTIFICATIONS_BYTES_MAX
    }

    /// Whether enough has gone for polls to go on.
    pub(super) fn has_room_again(&self) -> bool {
        self.waiting_bytes() <= limits::NOTIFICATIONS_BYTES_MAX / 2
    }

    /// Whether events are with a notifier.
    pub(super) fn any_in_flight(&self) -> bool {
        self.lanes().any(Lane::is_in_flight)
    }

    /// The next events for a notifier, if there are any. `hurry`: between two attempts wait for no longer than after the
    /// first failure, unless the receiver asked for it.
    pub(super) fn next(&mut self, now: Mono, hurry: bool) -> Option<Notify> {
        let mut receivers = (0..).zip(&mut self.receivers);
        receivers.find_map(|(monitor, receiver)| {
            let lane = &mut receiver.as_mut()?.lane;
            // At a stop each goes alone: what is under way at the deadline goes again after the next start.
            let len_max = if hurry {
                1
            } else {
                limits::NOTIFICATIONS_AT_ONCE
            };
            let new_len = |lane: &mut Lane<Notification>| lane.len().min(len_max);
            let (batch, notifications) = lane.next(now, hurry, new_len)?;
            Some(Notify {
                monitor,
                batch,
                notifications,
            })
        })
    }

    /// When [`next`](Self::next) has something after a pause.
    pub(super) fn next_deadline(&self, hurry: bool) -> Option<Mono> {
        let lanes = self.lanes().filter(|lane| lane.len() > 0);
        lanes.filter_map(|lane| lane.again_at(hurry)).min()
    }

    /// Takes in what became of a [`Notify`]. Returns the events that were accepted or refused for good. `None`: it was
    /// not under way.
    pub(super) fn settle(
        &mut self,
        notified: &Notified,
        now: Mono,
        jitter: &mut Jitter,
    ) -> Option<Vec<Notification>> {
        let receiver = self.receivers.get_mut(usize::from(notified.monitor))?;
        let lane = &mut receiver.as_mut()?.lane;
        let len = lane.end_batch(notified.batch)?;
        let refused = notified.refused.iter().map(|(run, _)| *run);
        let done: HashSet<RunKey> = notified.taken.iter().copied().chain(refused).collect();
        if done.is_empty() && notified.trouble.is_none() {
            // Its runs were all forgotten on the way, and the receiver has heard nothing.
            return Some(Vec::new());
        }
        let gone = lane.take(len, |event| done.contains(&event.run));
        if !done.is_empty() {
            // A receiver that accepts some of them is recovering.
            lane.succeeded();
        }
        if let Some(trouble) = &notified.trouble {
            lane.failed(0, trouble.retry_after, now, jitter);
        }
        Some(gone)
    }

    /// What was noted of a receiver.
    pub(super) fn news_mut(&mut self, monitor: u16) -> Option<&mut NotifyNews> {
        let receiver = self.receivers.get_mut(usize::from(monitor))?;
        receiver.as_mut().map(|receiver| &mut receiver.news)
    }

    /// Holds what must always be true.
    pub(super) fn check_invariants(&self) {
        for lane in self.lanes().chain([&self.stranded]) {
            lane.check_invariants();
        }
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane<Notification>> {
        self.receivers
            .iter()
            .flatten()
            .map(|receiver| &receiver.lane)
    }

    fn waiting_bytes(&self) -> usize {
        self.lanes().map(Lane::bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finished::NotifyTrouble;
    use std::time::Duration;

    fn secs(secs: u64) -> Mono {
        Mono::from_duration(Duration::from_secs(secs))
    }

    fn run(n: u8) -> RunKey {
        RunKey::from_bytes([n; 16])
    }

    /// The first and the third of three monitors have a receiver.
    fn none_yet() -> Notifications {
        let receivers = [Some("a".into()), None, Some("c".into())];
        Notifications::new(receivers.into_iter(), 100)
    }

    fn told(all: &mut Notifications, monitor: u16, n: u8) -> Option<Notification> {
        let name = all.name_of(monitor)?.clone();
        let told = all.push(run(n), name, vec![n; 3].into(), secs(0));
        all.check_invariants();
        Some(told)
    }

    fn runs(notify: &Notify) -> Vec<RunKey> {
        notify.notifications.iter().map(|it| it.run).collect()
    }

    fn settled(
        all: &mut Notifications,
        notify: &Notify,
        taken: &[u8],
        trouble: Option<Option<Duration>>,
        at: u64,
    ) -> Option<usize> {
        let notified = Notified {
            monitor: notify.monitor,
            batch: notify.batch,
            taken: taken.iter().map(|n| run(*n)).collect(),
            refused: Vec::new(),
            trouble: trouble.map(|retry_after| NotifyTrouble {
                reason: "no".into(),
                retry_after,
            }),
        };
        let settled = all.settle(&notified, secs(at), &mut Jitter::new(1));
        all.check_invariants();
        settled.map(|gone| gone.len())
    }

    #[test]
    fn each_receiver_is_told_in_order_and_by_itself() {
        let mut all = none_yet();
        for (monitor, n) in [(0, 1), (2, 2), (0, 3)] {
            assert!(told(&mut all, monitor, n).is_some());
        }
        assert!(told(&mut all, 1, 4).is_none(), "it has no receiver");
        let a = all.next(secs(0), false).unwrap();
        let c = all.next(secs(0), false).unwrap();
        assert_eq!((a.monitor, runs(&a)), (0, vec![run(1), run(3)]));
        assert_eq!((c.monitor, runs(&c)), (2, vec![run(2)]));
        assert_eq!(all.next(secs(0), true), None, "one at a time");
        // The one in trouble holds up no other.
        assert_eq!(settled(&mut all, &c, &[], Some(None), 0), Some(0));
        assert_eq!(settled(&mut all, &a, &[1, 3], None, 0), Some(2));
        assert!(told(&mut all, 0, 5).is_some());
        assert_eq!(runs(&all.next(secs(0), false).unwrap()), [run(5)]);
        let again = all.next_deadline(false).unwrap();
        assert!(again <= secs(1) && again >= Mono::from_duration(Duration::from_millis(500)));
        assert_eq!(runs(&all.next(secs(1), false).unwrap()), [run(2)]);
    }

    #[test]
    fn what_was_not_taken_goes_again_as_it_was() {
        let mut all = none_yet();
        for n in 1..=3 {
            told(&mut all, 0, n);
        }
        let first = all.next(secs(0), false).unwrap();
        assert_eq!(settled(&mut all, &first, &[1], Some(None), 0), Some(1));
        assert_eq!(
            settled(&mut all, &first, &[2], None, 0),
            None,
            "it was settled"
        );
        let again = all.next(secs(1), false).unwrap();
        assert_eq!(again.notifications, first.notifications[1..]);
        assert_eq!(settled(&mut all, &again, &[2, 3], None, 1), Some(2));
        assert_eq!(all.len(), 0);
        assert_eq!((all.bytes(), all.next_deadline(false)), (0, None));
    }

    #[test]
    fn a_receiver_is_left_alone_for_as_long_as_it_asks() {
        let mut all = none_yet();
        told(&mut all, 0, 1);
        let hour = Duration::from_secs(3600);
        let notify = all.next(secs(0), false).unwrap();
        settled(&mut all, &notify, &[], Some(Some(hour)), 0);
        assert_eq!(all.next(secs(3599), true), None);
        assert_eq!(all.next_deadline(true), Some(secs(3600)));
        let notify = all.next(secs(3600), false).unwrap();
        // Its own pauses grow, and are cut short in a hurry.
        for at in 0..10 {
            settled(&mut all, &notify, &[], Some(None), 3600 + at);
        }
        let notify = all.next(secs(4000), false).unwrap();
        settled(&mut all, &notify, &[], Some(None), 4000);
        assert!(all.next_deadline(false) > Some(secs(4001)));
        assert!(all.next(secs(4001), true).is_some());
    }

    #[test]
    fn what_was_stored_finds_its_place_or_waits_for_its_receiver() {
        let mut all = none_yet();
        told(&mut all, 0, 1);
        let stored = |sequence, n, monitor: &str| Notification {
            sequence,
            run: run(n),
            monitor: monitor.into(),
            bytes: vec![n].into(),
        };
        assert!(all.restore(stored(7, 7, "a"), secs(0)));
        assert!(!all.restore(stored(8, 8, "gone"), secs(0)));
        assert_eq!((all.len(), all.waiting()), (3, 2));
        assert_eq!(runs(&all.next(secs(0), false).unwrap()), [run(7), run(1)]);
        assert_eq!(all.iter().count(), 3, "it stays stored");
        all.forget(|lost| lost == run(7) || lost == run(8));
        all.check_invariants();
        assert_eq!(all.iter().map(|it| it.run).collect::<Vec<_>>(), [run(1)]);
    }
}
