//! Who is told that a workflow has finished, and what.
//!
//! ```text
//! FinishedEvent -> encoded -> Notification -> waiting -> with the notifier -> taken
//!                                                  ^             |   |
//!                                                  +--- again ---+   +-> refused for good
//! ```
//!
//! One for each run, kept like a span until its receiver has taken it. Each monitor has a queue of its own, in the order
//! in which its workflows finished, so a receiver that is down holds up no other. Whoever is told twice, because farspan
//! ended between the answer and the commit, is told the same bytes.

use super::backoff::{Again, Jitter};
use super::finished::{Notification, Notified, Notify};
use super::ids::RunKey;
use super::limits;
use super::time::Mono;
use super::trouble::SAME_TROUBLE_NOTED_EVERY;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// All that wait for their receivers.
#[derive(Debug)]
pub struct Notifications {
    /// In the order of the monitors; of those that have a receiver.
    queues: Vec<Option<Queue>>,
    /// What was stored for a receiver that there is not any more. It stays stored.
    stranded: Vec<Notification>,
    len: usize,
    bytes: usize,
    /// Of these, those of the stranded.
    stranded_bytes: usize,
    next_sequence: u64,
    next_batch: u64,
}

#[derive(Debug)]
struct Queue {
    monitor: Arc<str>,
    waiting: VecDeque<Notification>,
    state: State,
    failures: u32,
    /// When it was noted last that it refuses some, and what trouble there was.
    refusal_noted: Option<Mono>,
    trouble_noted: Option<(Mono, Box<str>)>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Idle,
    InFlight { batch: u64 },
    Again(Again),
}

impl Notifications {
    /// None yet. `receivers`: the name of each monitor that has a receiver. They are numbered from `first_sequence`.
    pub fn new(receivers: impl Iterator<Item = Option<Arc<str>>>, first_sequence: u64) -> Self {
        let queue = |monitor| Queue {
            monitor,
            waiting: VecDeque::new(),
            state: State::Idle,
            failures: 0,
            refusal_noted: None,
            trouble_noted: None,
        };
        Notifications {
            queues: receivers.map(|receiver| receiver.map(queue)).collect(),
            stranded: Vec::new(),
            len: 0,
            bytes: 0,
            stranded_bytes: 0,
            next_sequence: first_sequence,
            next_batch: 0,
        }
    }

    /// The name of a monitor that has a receiver.
    pub fn receiver(&self, monitor: u16) -> Option<&Arc<str>> {
        Some(&self.queue(monitor)?.monitor)
    }

    /// Takes an encoded event and gives it its place in the order. It has to be stored.
    pub fn push(&mut self, run: RunKey, monitor: Arc<str>, bytes: Arc<[u8]>) -> Notification {
        let notification = Notification {
            sequence: self.next_sequence,
            run,
            monitor,
            bytes,
        };
        self.restore(notification.clone());
        notification
    }

    /// Takes one that was stored, by an earlier life or another instance, to its place in the order. Whether there is a
    /// receiver for it.
    pub fn restore(&mut self, notification: Notification) -> bool {
        self.next_sequence = self
            .next_sequence
            .max(notification.sequence.saturating_add(1));
        self.len += 1;
        self.bytes += notification.stored_bytes();
        let mut queues = self.queues.iter_mut().flatten();
        let Some(queue) = queues.find(|q| q.monitor == notification.monitor) else {
            self.stranded_bytes += notification.stored_bytes();
            self.stranded.push(notification);
            return false;
        };
        let mut place = queue.waiting.len();
        while place > 0 && queue.waiting[place - 1].sequence > notification.sequence {
            place -= 1;
        }
        queue.waiting.insert(place, notification);
        true
    }

    /// Forgets those of runs that are another's now.
    pub fn forget(&mut self, is_lost: impl Fn(RunKey) -> bool) {
        for queue in self.queues.iter_mut().flatten() {
            queue.waiting.retain(|it| !is_lost(it.run));
        }
        self.stranded.retain(|it| !is_lost(it.run));
        self.count();
    }

    /// All that nobody has taken.
    pub fn iter(&self) -> impl Iterator<Item = &Notification> {
        let waiting = self.queues.iter().flatten().flat_map(|q| &q.waiting);
        waiting.chain(&self.stranded)
    }

    /// How many nobody has taken.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many wait for a receiver that there is.
    pub fn waiting(&self) -> usize {
        self.len - self.stranded.len()
    }

    /// Their bytes, as they are stored.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether so much waits for receivers that nothing should be added.
    pub fn is_full(&self) -> bool {
        self.bytes - self.stranded_bytes >= limits::NOTIFICATIONS_BYTES_MAX
    }

    /// Whether enough has gone for polls to go on.
    pub fn has_room_again(&self) -> bool {
        self.bytes - self.stranded_bytes <= limits::NOTIFICATIONS_BYTES_MAX / 2
    }

    /// Whether a receiver is being told something.
    pub fn any_in_flight(&self) -> bool {
        let mut queues = self.queues.iter().flatten();
        queues.any(|queue| matches!(queue.state, State::InFlight { .. }))
    }

    /// What is to be told next. `hurry`: wait no longer between two attempts than after the first failure, unless the
    /// receiver asked for it.
    pub fn next(&mut self, now: Mono, hurry: bool) -> Option<Notify> {
        let may_go = |queue: &Queue| match queue.state {
            _ if queue.waiting.is_empty() => false,
            State::Idle => true,
            State::InFlight { .. } => false,
            State::Again(again) => now >= again.at(hurry),
        };
        let mut queues = self.queues.iter_mut().zip(0..);
        let (queue, monitor) = queues
            .find_map(|(queue, monitor)| Some((queue.as_mut().filter(|q| may_go(q))?, monitor)))?;
        let batch = self.next_batch;
        self.next_batch += 1;
        queue.state = State::InFlight { batch };
        let first = queue.waiting.iter().take(limits::NOTIFICATIONS_AT_ONCE);
        Some(Notify {
            monitor,
            batch,
            notifications: first.cloned().collect(),
        })
    }

    /// When [`next`](Self::next) has something, as far as is known now.
    pub fn next_deadline(&self, hurry: bool) -> Option<Mono> {
        let deadlines = self.queues.iter().flatten().filter_map(|q| match q.state {
            _ if q.waiting.is_empty() => None,
            // It has by now.
            State::Idle | State::InFlight { .. } => None,
            State::Again(again) => Some(again.at(hurry)),
        });
        deadlines.min()
    }

    /// Takes in what became of a [`Notify`]. What comes back is done with: taken, or refused for good; and whether its
    /// receiver was in trouble before. `None`: nobody waited for that.
    pub fn settle(
        &mut self,
        notified: &Notified,
        now: Mono,
        jitter: &mut Jitter,
    ) -> Option<(Vec<Notification>, bool)> {
        let queue = self
            .queues
            .get_mut(usize::from(notified.monitor))?
            .as_mut()?;
        match queue.state {
            State::InFlight { batch } if batch == notified.batch => {}
            _ => return None,
        }
        let refused = notified.refused.iter().map(|(run, _)| *run);
        let done: HashSet<RunKey> = notified.taken.iter().copied().chain(refused).collect();
        let was_troubled = queue.failures > 0;
        if done.is_empty() && notified.trouble.is_none() {
            // All of it was forgotten on its way, and its receiver has heard nothing.
            queue.state = State::Idle;
            return Some((Vec::new(), false));
        }
        let (mut gone, mut passed) = (Vec::with_capacity(done.len()), Vec::new());
        // It was the front; what was restored meanwhile may stand between.
        while gone.len() < done.len()
            && let Some(first) = queue.waiting.pop_front()
        {
            match done.contains(&first.run) {
                true => gone.push(first),
                false => passed.push(first),
            }
        }
        for first in passed.into_iter().rev() {
            queue.waiting.push_front(first);
        }
        queue.state = match &notified.trouble {
            None => {
                queue.failures = 0;
                State::Idle
            }
            Some(trouble) => {
                // Who takes some of them is getting on.
                let so_far = if done.is_empty() { queue.failures } else { 0 };
                queue.failures = so_far.saturating_add(1);
                let asked = trouble.retry_after;
                State::Again(Again::after(asked, queue.failures, now, jitter))
            }
        };
        self.len -= gone.len();
        self.bytes -= gone.iter().map(Notification::stored_bytes).sum::<usize>();
        Some((gone, was_troubled))
    }

    /// Whether it is worth a note that a receiver refuses an event: once in a while, for it may refuse them all.
    pub fn refusal_is_news(&mut self, monitor: u16, now: Mono) -> bool {
        let queue = self.queues.get_mut(usize::from(monitor));
        let Some(queue) = queue.and_then(Option::as_mut) else {
            return false;
        };
        let is_old = |at: Mono| now.since(at) >= SAME_TROUBLE_NOTED_EVERY;
        let is_news = queue.refusal_noted.is_none_or(is_old);
        if is_news {
            queue.refusal_noted = Some(now);
        }
        is_news
    }

    /// The same of a receiver that takes nothing now: when that begins, and when there is another reason.
    pub fn trouble_is_news(
        &mut self,
        monitor: u16,
        reason: &str,
        was_troubled: bool,
        now: Mono,
    ) -> bool {
        let queue = self.queues.get_mut(usize::from(monitor));
        let Some(queue) = queue.and_then(Option::as_mut) else {
            return false;
        };
        let is_other = |(at, known): &(Mono, Box<str>)| {
            **known != *reason && now.since(*at) >= SAME_TROUBLE_NOTED_EVERY
        };
        let is_news = !was_troubled || queue.trouble_noted.as_ref().is_none_or(is_other);
        if is_news {
            queue.trouble_noted = Some((now, reason.into()));
        }
        is_news
    }

    /// Holds what must always be true.
    pub fn check_invariants(&self) {
        assert_eq!(self.iter().count(), self.len, "they are counted");
        let bytes = self.iter().map(Notification::stored_bytes);
        assert_eq!(bytes.sum::<usize>(), self.bytes, "their bytes are counted");
        let stranded = self.stranded.iter().map(Notification::stored_bytes);
        assert_eq!(stranded.sum::<usize>(), self.stranded_bytes);
        for queue in self.queues.iter().flatten() {
            let mut pairs = queue.waiting.iter().zip(queue.waiting.iter().skip(1));
            // Two instances may have given the same number, to two runs.
            assert!(pairs.all(|(a, b)| a.sequence <= b.sequence));
        }
    }

    fn count(&mut self) {
        let (len, bytes) = self.iter().fold((0, 0), |(len, bytes), it| {
            (len + 1, bytes + it.stored_bytes())
        });
        (self.len, self.bytes) = (len, bytes);
        let stranded = self.stranded.iter().map(Notification::stored_bytes);
        self.stranded_bytes = stranded.sum();
    }

    fn queue(&self, monitor: u16) -> Option<&Queue> {
        self.queues.get(usize::from(monitor))?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::finished::NotifyTrouble;
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
        let name = all.receiver(monitor)?.clone();
        let told = all.push(run(n), name, vec![n; 3].into());
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
    ) -> Option<(usize, bool)> {
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
        settled.map(|(gone, troubled)| (gone.len(), troubled))
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
        assert_eq!(settled(&mut all, &c, &[], Some(None), 0), Some((0, false)));
        assert_eq!(settled(&mut all, &a, &[1, 3], None, 0), Some((2, false)));
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
        assert_eq!(
            settled(&mut all, &first, &[1], Some(None), 0),
            Some((1, false))
        );
        assert_eq!(
            settled(&mut all, &first, &[2], None, 0),
            None,
            "it was settled"
        );
        let again = all.next(secs(1), false).unwrap();
        assert_eq!(again.notifications, first.notifications[1..]);
        assert_eq!(settled(&mut all, &again, &[2, 3], None, 1), Some((2, true)));
        assert!(all.is_empty());
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
        assert!(all.restore(stored(7, 7, "a")));
        assert!(!all.restore(stored(8, 8, "gone")));
        assert_eq!((all.len(), all.waiting()), (3, 2));
        assert_eq!(runs(&all.next(secs(0), false).unwrap()), [run(7), run(1)]);
        assert_eq!(all.iter().count(), 3, "it stays stored");
        all.forget(|lost| lost == run(7) || lost == run(8));
        all.check_invariants();
        assert_eq!(all.iter().map(|it| it.run).collect::<Vec<_>>(), [run(1)]);
    }
}
