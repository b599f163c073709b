//! The timer wheel: which watch is due when.
//!
//! Six levels of 64 slots, each with a bitmap of the slots in use; a slot is a doubly linked list through one slab, so
//! that insert and cancel are O(1) and time that holds nothing costs nothing. A tick is a millisecond; deadlines are
//! rounded up to it, so that a timer is never early. A deadline further away than the top level reaches (2 years) goes
//! round again.
//!
//! Pure: the time is an argument.

use super::time::Mono;
use std::time::Duration;

/// A handle to cancel a timer by. The handle of a timer that has fired or was cancelled does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    index: u32,
    generation: u32,
}

/// A set of timers, each with a key that it fires with.
#[derive(Debug)]
pub struct Wheel {
    /// Everything due up to this tick has fired.
    elapsed: u64,
    heads: [[u32; SLOTS]; LEVELS],
    /// No timer of a slot in use is due before this tick.
    earliest: [[u64; SLOTS]; LEVELS],
    /// Bit `s` of level `l` is set where `heads[l][s]` is not empty.
    occupied: [u64; LEVELS],
    nodes: Vec<TimerNode>,
    first_free: u32,
    len: usize,
}

#[derive(Debug)]
struct TimerNode {
    deadline: u64,
    key: u32,
    generation: u32,
    next: u32,
    prev: u32,
    /// `FREE`, or `level * SLOTS + slot`.
    place: u16,
}

const LEVELS: usize = 6;
const SLOT_BITS: usize = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const REACH: u64 = 1 << (SLOT_BITS * LEVELS);
const NONE: u32 = u32::MAX;
const FREE: u16 = u16::MAX;
/// The resolution of deadlines.
pub const TICK: Duration = Duration::from_millis(1);
const TICK_NS: u64 = TICK.as_nanos() as u64;

const _: () = assert!(SLOTS == u64::BITS as usize);
const _: () = assert!(LEVELS * SLOTS < FREE as usize);

impl Wheel {
    /// An empty wheel that stands at `now`.
    pub fn new(now: Mono) -> Self {
        Wheel {
            elapsed: now.as_ns() / TICK_NS,
            heads: [[NONE; SLOTS]; LEVELS],
            earliest: [[0; SLOTS]; LEVELS],
            occupied: [0; LEVELS],
            nodes: Vec::new(),
            first_free: NONE,
            len: 0,
        }
    }

    /// How many timers are set.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no timer is set.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets a timer. One whose deadline has passed already fires at the next tick.
    pub fn insert(&mut self, deadline: Mono, key: u32) -> Timer {
        let deadline = deadline.as_ns().div_ceil(TICK_NS).max(self.elapsed + 1);
        let index = self.take_node();
        let node = &mut self.nodes[index as usize];
        node.deadline = deadline;
        node.key = key;
        let generation = node.generation;
        self.link(index);
        self.len += 1;
        Timer { index, generation }
    }

    /// Takes a timer back. False if it has fired or was cancelled before.
    pub fn cancel(&mut self, timer: Timer) -> bool {
        match self.nodes.get(timer.index as usize) {
            Some(node) if node.generation == timer.generation && node.place != FREE => {
                self.unlink(timer.index);
                self.give_back(timer.index);
                true
            }
            _ => false,
        }
    }

    /// Fires what is due at `now`, the earliest tick first.
    pub fn advance(&mut self, now: Mono, mut fire: impl FnMut(u32)) {
        let target = now.as_ns() / TICK_NS;
        while let Some((level, slot, at)) = self.next_slot()
            && at <= target
        {
            self.elapsed = self.elapsed.max(at);
            let mut index = std::mem::replace(&mut self.heads[level][slot], NONE);
            self.occupied[level] &= !(1 << slot);
            while index != NONE {
                let node = &mut self.nodes[index as usize];
                let next = node.next;
                let (due, key) = (node.deadline <= self.elapsed, node.key);
                if due {
                    self.give_back(index);
                    fire(key);
                } else {
                    self.link(index);
                }
                index = next;
            }
        }
        self.elapsed = self.elapsed.max(target);
    }

    /// When [`advance`](Self::advance) has something to do next: the earliest deadline. It is earlier where the earliest
    /// timer was cancelled, and where all timers are so far away that they have to be sorted first.
    pub fn next_deadline(&self) -> Option<Mono> {
        let (level, slot, begins) = self.next_slot()?;
        let width = 1_u64 << (SLOT_BITS * level);
        let earliest = self.earliest[level][slot];
        let is_sorted = earliest < begins.saturating_add(width);
        let tick = if is_sorted { earliest } else { begins };
        Some(Mono::from_ns(tick.saturating_mul(TICK_NS)))
    }

    /// The next slot in use, and the tick at which it begins. A lower level's timers all lie before a higher one's.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|&bits| bits != 0)?;
        let width = 1_u64 << (SLOT_BITS * level);
        let current = (self.elapsed / width) as usize % SLOTS;
        let ahead = self.occupied[level]
            .rotate_right(current as u32)
            .trailing_zeros();
        let slot = (current + ahead as usize) % SLOTS;
        let turn = width * SLOTS as u64;
        let mut at = self.elapsed - self.elapsed % turn + slot as u64 * width;
        if at <= self.elapsed {
            // Only the top level goes round: below it, a timer lies in the turn under way.
            at += turn;
        }
        Some((level, slot, at))
    }

    fn link(&mut self, index: u32) {
        let deadline = self.nodes[index as usize].deadline;
        let shown = deadline.min(self.elapsed + REACH - 1);
        let differs = (self.elapsed ^ shown) | (SLOTS as u64 - 1);
        let level = (differs.ilog2() as usize / SLOT_BITS).min(LEVELS - 1);
        let slot = (shown >> (SLOT_BITS * level)) as usize % SLOTS;
        let head = std::mem::replace(&mut self.heads[level][slot], index);
        self.occupied[level] |= 1 << slot;
        let earliest = &mut self.earliest[level][slot];
        *earliest = if head == NONE {
            deadline
        } else {
            deadline.min(*earliest)
        };
        let node = &mut self.nodes[index as usize];
        node.place = (level * SLOTS + slot) as u16;
        node.prev = NONE;
        node.next = head;
        if head != NONE {
            self.nodes[head as usize].prev = index;
        }
    }

    fn unlink(&mut self, index: u32) {
        let TimerNode {
            next, prev, place, ..
        } = self.nodes[index as usize];
        let (level, slot) = (place as usize / SLOTS, place as usize % SLOTS);
        if next != NONE {
            self.nodes[next as usize].prev = prev;
        }
        if prev != NONE {
            self.nodes[prev as usize].next = next;
        } else {
            self.heads[level][slot] = next;
            if next == NONE {
                self.occupied[level] &= !(1 << slot);
            }
        }
    }

    fn take_node(&mut self) -> u32 {
        if self.first_free == NONE {
            self.nodes.push(TimerNode {
                deadline: 0,
                key: 0,
                generation: 0,
                next: NONE,
                prev: NONE,
                place: FREE,
            });
            return (self.nodes.len() - 1) as u32;
        }
        let index = self.first_free;
        self.first_free = self.nodes[index as usize].next;
        index
    }

    fn give_back(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        node.generation = node.generation.wrapping_add(1);
        node.place = FREE;
        node.next = self.first_free;
        self.first_free = index;
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Mono {
        Mono::from_duration(Duration::from_millis(ms))
    }

    fn fired(wheel: &mut Wheel, now: Mono) -> Vec<u32> {
        let mut keys = Vec::new();
        wheel.advance(now, |key| keys.push(key));
        keys
    }

    #[test]
    fn fires_at_the_deadline_rounded_up_and_not_before() {
        let mut wheel = Wheel::new(ms(0));
        wheel.insert(Mono::from_ns(5_000_001), 1);
        assert!(fired(&mut wheel, Mono::from_ns(5_999_999)).is_empty());
        assert_eq!(fired(&mut wheel, ms(6)), [1]);
        assert!(wheel.is_empty());
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_the_next_tick() {
        let mut wheel = Wheel::new(ms(1000));
        wheel.insert(ms(3), 1);
        assert_eq!(wheel.next_deadline(), Some(ms(1001)));
        assert_eq!(fired(&mut wheel, ms(1001)), [1]);
    }

    #[test]
    fn cancels_once_and_never_another_timer() {
        let mut wheel = Wheel::new(ms(0));
        let first = wheel.insert(ms(10), 1);
        assert!(wheel.cancel(first));
        assert!(!wheel.cancel(first));
        let second = wheel.insert(ms(10), 2);
        assert!(!wheel.cancel(first), "its node belongs to the second now");
        assert_eq!(fired(&mut wheel, ms(10)), [2]);
        assert!(!wheel.cancel(second));
    }

    #[test]
    fn years_go_round_again() {
        let mut wheel = Wheel::new(ms(7));
        let far = Duration::from_secs(5 * 365 * 24 * 3600);
        wheel.insert(ms(7) + far, 1);
        let mut wakes = 0;
        while let Some(at) = wheel.next_deadline() {
            wakes += 1;
            assert!(at <= ms(7) + far);
            if !fired(&mut wheel, at).is_empty() {
                assert_eq!(at, ms(7) + far);
            }
        }
        assert!(wakes < 20, "{wakes} wake-ups for one timer");
    }

    /// The model is a sorted list.
    #[test]
    fn does_what_a_sorted_list_does() {
        arbtest::arbtest(|u| {
            let start = u.int_in_range(0..=1 << 40)?;
            let mut now = start * TICK_NS;
            let mut wheel = Wheel::new(Mono::from_ns(now));
            let mut model: Vec<(u64, u32, Timer)> = Vec::new();
            let mut key = 0;
            let mut has_cancelled = false;
            for _ in 0..u.int_in_range(0..=200)? {
                match u.int_in_range(0..=3)? {
                    0 | 1 => {
                        let scale = u.int_in_range(0..=50)?;
                        let deadline =
                            (now + u.int_in_range(0..=1_u64 << scale)?).saturating_sub(500);
                        key += 1;
                        let tick = deadline.div_ceil(TICK_NS).max(now / TICK_NS + 1);
                        model.push((tick, key, wheel.insert(Mono::from_ns(deadline), key)));
                    }
                    2 if !model.is_empty() => {
                        let (_, _, timer) = model.swap_remove(u.choose_index(model.len())?);
                        assert!(wheel.cancel(timer));
                        has_cancelled = true;
                    }
                    _ => {
                        let step = u.int_in_range(0..=45)?;
                        now += u.int_in_range(0..=1_u64 << step)?;
                        let mut expected: Vec<_> = model
                            .extract_if(.., |(tick, ..)| *tick <= now / TICK_NS)
                            .map(|(tick, key, _)| (tick, key))
                            .collect();
                        let mut got = Vec::new();
                        let mut last = 0;
                        wheel.advance(Mono::from_ns(now), |key| {
                            let at = expected.iter().find(|(_, k)| *k == key).expect("due").0;
                            assert!(at >= last, "the earliest tick first");
                            last = at;
                            got.push((at, key));
                        });
                        expected.sort_unstable();
                        got.sort_unstable();
                        assert_eq!(got, expected);
                    }
                }
                assert_eq!(wheel.len(), model.len());
                let earliest = model.iter().map(|(tick, ..)| *tick).min();
                match (wheel.next_deadline(), earliest) {
                    (Some(next), Some(earliest)) => {
                        assert!(next.as_ns() / TICK_NS <= earliest && next.as_ns() > now);
                        let is_near = earliest - now / TICK_NS < REACH / 2;
                        let is_exact = next.as_ns() / TICK_NS == earliest;
                        assert!(
                            is_exact || has_cancelled || !is_near,
                            "a wake-up for nothing"
                        );
                    }
                    (next, earliest) => assert_eq!(next.is_some(), earliest.is_some()),
                }
            }
            Ok(())
        });
    }
}
