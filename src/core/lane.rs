//! A lane: items on their way to one receiver, in order, one batch at a time.
//!
//! ```text
//! insert -> waiting -> the batch under way -> taken
//!              ^                 |
//!              +----- again -----+
//! ```
//!
//! A batch is the front of the lane and stays there until its receiver has taken it, so that what goes again is the same
//! items, encoded once, byte for byte.

use super::backoff::{Again, Jitter};
use super::give_back::GiveBack;
use super::ids::RunKey;
use super::time::Mono;
use std::collections::VecDeque;
use std::time::Duration;

/// What travels in a lane.
pub(super) trait LaneItem: Clone {
    /// Its place in the order.
    fn sequence(&self) -> u64;
    /// The run that it is about.
    fn run(&self) -> RunKey;
    /// What it takes in the store, beside [`STORED_KEYS_BYTES`](super::limits::STORED_KEYS_BYTES).
    fn stored_bytes(&self) -> usize;
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lane<T> {
    queue: VecDeque<Waiting<T>>,
    bytes: usize,
    next_batch: u64,
    front: Front,
    /// Attempts in a row that failed.
    failures: u32,
}

#[derive(Debug)]
struct Waiting<T> {
    item: T,
    since: Mono,
}

/// What the first items of a lane are doing.
#[derive(Clone, Copy, Debug)]
enum Front {
    /// They wait like the others.
    Idle,
    /// The first `len` are under way. None is left of a batch whose runs were all forgotten.
    InFlight { batch: u64, len: usize },
    /// The first `len` go again, as one batch. 0: the next batch is a new one.
    Again { len: usize, again: Again },
}

impl<T: LaneItem> Lane<T> {
    /// An empty lane.
    pub(super) fn new() -> Self {
        Lane {
            queue: VecDeque::new(),
            bytes: 0,
            next_batch: 0,
            front: Front::Idle,
            failures: 0,
        }
    }

    /// Takes an item to its place in the order, behind the batch.
    pub(super) fn insert(&mut self, item: T, now: Mono) {
        self.bytes += item.stored_bytes();
        let batch = self.batch_len();
        let mut place = self.queue.len();
        while place > batch && self.queue[place - 1].item.sequence() > item.sequence() {
            place -= 1;
        }
        self.queue.insert(place, Waiting { item, since: now });
    }

    /// Forgets the items of these runs, those of the batch too. Its receiver may have them all the same.
    pub(super) fn forget(&mut self, is_lost: impl Fn(RunKey) -> bool) {
        let (batch, mut place, mut left) = (self.batch_len(), 0, 0);
        self.queue.retain(|waiting| {
            let kept = !is_lost(waiting.item.run());
            left += usize::from(kept && place < batch);
            place += 1;
            kept
        });
        self.queue.give_back();
        self.bytes = self.iter().map(LaneItem::stored_bytes).sum();
        self.front = match self.front {
            Front::InFlight { batch, .. } => Front::InFlight { batch, len: left },
            Front::Again { again, .. } if left > 0 || batch == 0 => {
                Front::Again { len: left, again }
            }
            Front::Again { .. } | Front::Idle => Front::Idle,
        };
    }

    /// All items, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.queue.iter().map(|waiting| &waiting.item)
    }

    /// How many items there are.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Their bytes, as they are stored.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Since when the first item waits.
    pub(super) fn first_since(&self) -> Option<Mono> {
        self.queue.front().map(|waiting| waiting.since)
    }

    /// Attempts in a row that failed.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether a batch is under way.
    pub(super) fn is_in_flight(&self) -> bool {
        matches!(self.front, Front::InFlight { .. })
    }

    /// Items at the front that are a batch.
    pub(super) fn batch_len(&self) -> usize {
        match self.front {
            Front::Idle => 0,
            Front::InFlight { len, .. } | Front::Again { len, .. } => len,
        }
    }

    /// The next batch and its number, if one may go. `len_of`: how many items a new batch has, 0 if none is due. `hurry`
    /// makes our own pauses after failures short.
    pub(super) fn next(
        &mut self,
        now: Mono,
        hurry: bool,
        len_of: impl FnOnce(&mut Self) -> usize,
    ) -> Option<(u64, Vec<T>)> {
        let len = match self.front {
            Front::InFlight { .. } => return None,
            Front::Again { again, .. } if now < again.at(hurry) => return None,
            Front::Again { len, .. } if len > 0 => len,
            Front::Again { .. } | Front::Idle => len_of(self),
        };
        if len == 0 {
            return None;
        }
        let batch = self.next_batch;
        self.next_batch += 1;
        self.front = Front::InFlight { batch, len };
        let items = self.iter().take(len).cloned();
        Some((batch, items.collect()))
    }

    /// Moves items that belong with the first one to the front, in their order, until `count_max` of them stand there.
    /// Returns how many do. Not while a batch is under way or goes again.
    pub(super) fn bring_forward(
        &mut self,
        count_max: usize,
        belongs: impl Fn(&T, &T) -> bool,
    ) -> usize {
        let mut count = 0;
        for place in 0..self.queue.len() {
            if count == count_max {
                break;
            }
            if belongs(&self.queue[0].item, &self.queue[place].item) {
                if place > count
                    && let Some(item) = self.queue.remove(place)
                {
                    self.queue.insert(count, item);
                }
                count += 1;
            }
        }
        count
    }

    /// When the pause after a failure ends.
    pub(super) fn again_at(&self, hurry: bool) -> Option<Mono> {
        match self.front {
            Front::Again { again, .. } => Some(again.at(hurry)),
            Front::Idle | Front::InFlight { .. } => None,
        }
    }

    /// The batch of this number is under way no more: how many items are left of it. `None`: it was not under way.
    pub(super) fn end_batch(&mut self, batch: u64) -> Option<usize> {
        match self.front {
            Front::InFlight { batch: id, len } if id == batch => {
                self.front = Front::Idle;
                Some(len)
            }
            _ => None,
        }
    }

    /// Gives up the batch under way if nothing is left of it.
    pub(super) fn end_empty_batch(&mut self) {
        if let Front::InFlight { len: 0, .. } = self.front {
            self.front = Front::Idle;
        }
    }

    /// Takes those of the first `len` items out that are done.
    pub(super) fn take(&mut self, len: usize, is_done: impl Fn(&T) -> bool) -> Vec<T> {
        let front = self.queue.drain(..len);
        let (done, left): (Vec<_>, Vec<_>) = front.partition(|waiting| is_done(&waiting.item));
        let is_part = !left.is_empty();
        for waiting in left.into_iter().rev() {
            self.queue.push_front(waiting);
        }
        if is_part {
            self.sort(0);
        }
        self.queue.give_back();
        let done: Vec<T> = done.into_iter().map(|waiting| waiting.item).collect();
        self.bytes -= done.iter().map(LaneItem::stored_bytes).sum::<usize>();
        done
    }

    /// The receiver takes items.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// The receiver takes nothing now: the first `len` items go again together after a pause, which may be `asked` for.
    pub(super) fn failed(
        &mut self,
        len: usize,
        asked: Option<Duration>,
        now: Mono,
        jitter: &mut Jitter,
    ) {
        self.failures = self.failures.saturating_add(1);
        let again = Again::after(asked, self.failures, now, jitter);
        self.front = Front::Again { len, again };
    }

    /// The first `len` items go again at once; what was behind them in their batch is no batch any more.
    pub(super) fn shorten(&mut self, len: usize, now: Mono) {
        // What was inserted meanwhile stands behind the whole batch.
        self.sort(len);
        let again = Again::at_once(now);
        self.front = Front::Again { len, again };
    }

    /// Holds what must always be true.
    pub(super) fn check_invariants(&self) {
        let bytes = self.iter().map(LaneItem::stored_bytes);
        assert_eq!(bytes.sum::<usize>(), self.bytes, "the bytes are counted");
        let batch = self.batch_len();
        assert!(batch <= self.queue.len(), "a batch is the front");
        // Two instances may have given the same number, to items of two runs.
        let sequences = || self.iter().skip(batch).map(LaneItem::sequence);
        assert!(sequences().zip(sequences().skip(1)).all(|(a, b)| a <= b));
    }

    fn sort(&mut self, from: usize) {
        self.queue.make_contiguous()[from..].sort_by_key(|waiting| waiting.item.sequence());
    }
}

/// Numbers for the items of one or more lanes: each is greater than all before it.
#[derive(Debug)]
pub(super) struct Sequence(u64);

impl Sequence {
    /// The first number.
    pub(super) fn from(first: u64) -> Self {
        Sequence(first)
    }

    /// The next number. It counts once it was [`seen`](Self::seen).
    pub(super) fn next(&self) -> u64 {
        self.0
    }

    /// An item has this number.
    pub(super) fn seen(&mut self, number: u64) {
        self.0 = self.0.max(number.saturating_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Parcel {
        sequence: u64,
        run: u8,
        bytes: usize,
    }

    impl LaneItem for Parcel {
        fn sequence(&self) -> u64 {
            self.sequence
        }

        fn run(&self) -> RunKey {
            RunKey::from_bytes([self.run; 16])
        }

        fn stored_bytes(&self) -> usize {
            self.bytes
        }
    }

    /// What a lane should hold: the batch, and what waits behind it in the order of the numbers.
    #[derive(Default)]
    struct Model {
        batch: Vec<Parcel>,
        behind: Vec<Parcel>,
        in_flight: Option<u64>,
    }

    impl Model {
        fn new_batch(&mut self, len: usize) -> Vec<Parcel> {
            if self.batch.is_empty() {
                self.batch = self.behind.drain(..len).collect();
            }
            self.batch.clone()
        }

        /// The batch is no batch beyond its first `len` items.
        fn shorten(&mut self, len: usize) {
            let mut rest = self.batch.split_off(len);
            rest.append(&mut self.behind);
            rest.sort_by_key(|parcel| parcel.sequence);
            self.behind = rest;
        }

        fn all(&self) -> Vec<&Parcel> {
            self.batch.iter().chain(&self.behind).collect()
        }
    }

    fn secs(secs: u64) -> Mono {
        Mono::from_duration(Duration::from_secs(secs))
    }

    /// Whatever a receiver answers, and whatever is inserted and forgotten meanwhile, every item leaves once, a batch
    /// that goes again is the same, and the order is that of the numbers.
    #[test]
    fn a_lane_does_what_its_model_does() {
        arbtest::arbtest(|u| {
            let (mut lane, mut model) = (Lane::new(), Model::default());
            let (mut now, mut jitter) = (0, Jitter::new(u.arbitrary()?));
            for _ in 0..u.int_in_range(0..=60)? {
                match u.int_in_range(0..=4)? {
                    0 | 1 => {
                        let parcel = Parcel {
                            sequence: u.int_in_range(0..=20)?,
                            run: u.int_in_range(0..=3)?,
                            bytes: u.int_in_range(0..=9)?,
                        };
                        lane.insert(parcel.clone(), secs(now));
                        model.behind.push(parcel);
                        model.behind.sort_by_key(|it| it.sequence);
                    }
                    2 => {
                        let lost = u.int_in_range(0..=3)?;
                        lane.forget(|run| run == RunKey::from_bytes([lost; 16]));
                        model.batch.retain(|it| it.run != lost);
                        model.behind.retain(|it| it.run != lost);
                    }
                    3 => {
                        // Beyond every pause.
                        now += 60;
                        let len = u.int_in_range(0..=4)?.min(model.behind.len());
                        let next = lane.next(secs(now), u.arbitrary()?, |_| len);
                        if model.in_flight.is_some() {
                            assert_eq!(next, None, "one at a time");
                        } else {
                            let expected = model.new_batch(len);
                            let (id, parcels) = next.unzip();
                            assert_eq!(parcels.unwrap_or_default(), expected);
                            model.in_flight = id;
                        }
                    }
                    _ => {
                        let Some(id) = model.in_flight.take() else {
                            assert_eq!(lane.end_batch(u.int_in_range(0..=9)?), None);
                            continue;
                        };
                        assert_eq!(lane.end_batch(id + 1), None);
                        let len = lane.end_batch(id).unwrap();
                        assert_eq!(len, model.batch.len());
                        match u.int_in_range(0..=2)? {
                            0 if len > 0 => {
                                lane.failed(len, None, secs(now), &mut jitter);
                                assert_eq!(lane.next(secs(now), true, |_| 1), None, "a pause");
                            }
                            1 if len > 1 => {
                                lane.shorten(len / 2, secs(now));
                                model.shorten(len / 2);
                            }
                            _ => {
                                let taken = u.int_in_range(0..=3)?;
                                let done = lane.take(len, |it| it.run <= taken);
                                let expected = model.batch.extract_if(.., |it| it.run <= taken);
                                assert_eq!(done, expected.collect::<Vec<_>>());
                                model.shorten(0);
                            }
                        }
                    }
                }
                lane.check_invariants();
                assert_eq!(lane.iter().collect::<Vec<_>>(), model.all());
            }
            Ok(())
        });
    }
}
