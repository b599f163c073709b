//! The table: every workflow under watch, found by its slot or by its key, and when its next poll is due.
//!
//! ```text
//! insert -> Waiting -> collect_due -> Ready -> send -> InFlight -> wait -> Waiting
//! ```
//!
//! A slot is used again and again. Its generation tells one use, and one poll, from the next, so that an answer that
//! comes too late is recognised.

use super::ids::RunKey;
use super::limits;
use super::slot_index::SlotIndex;
use super::time::Mono;
use super::watch::{Phase, Watch};
use super::wheel::Wheel;

/// See the module.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_key: SlotIndex,
    by_run: SlotIndex,
    wheel: Wheel,
    /// Slots whose record is to be written.
    dirty: Vec<u32>,
    /// What the records of all watches take in the store, without their keys.
    record_bytes: u64,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    watch: Option<Box<Watch>>,
}

impl Table {
    /// An empty table.
    pub(super) fn new(now: Mono) -> Self {
        Table {
            slots: Vec::new(),
            free: Vec::new(),
            by_key: SlotIndex::default(),
            by_run: SlotIndex::default(),
            wheel: Wheel::new(now),
            dirty: Vec::new(),
            record_bytes: 0,
        }
    }

    /// How many workflows are under watch.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Puts a workflow under watch. Its first poll is due then.
    pub(super) fn insert(&mut self, watch: Watch, due: Mono) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        self.by_key.insert(watch.key, slot);
        self.by_run.insert(watch.run(), slot);
        self.slots[slot as usize].watch = Some(Box::new(watch));
        self.wait(slot, due);
        slot
    }

    /// The watch of a workflow.
    pub(super) fn find(&mut self, key: RunKey) -> Option<(u32, &mut Watch)> {
        let slot = self.slot_of_key(key)?;
        Some((slot, self.get_mut(slot)?))
    }

    /// Whether a workflow is under watch.
    pub(super) fn contains(&self, key: RunKey) -> bool {
        self.slot_of_key(key).is_some()
    }

    /// The slot of a run that is under watch.
    pub(super) fn slot_of(&self, run: RunKey) -> Option<u32> {
        let is_it = |slot| self.get(slot).is_some_and(|watch| watch.run() == run);
        self.by_run.find(run, is_it)
    }

    /// The watch of a workflow, to look at.
    pub(super) fn watch_of(&self, key: RunKey) -> Option<&Watch> {
        self.get(self.slot_of_key(key)?)
    }

    fn slot_of_key(&self, key: RunKey) -> Option<u32> {
        let is_it = |slot| self.get(slot).is_some_and(|watch| watch.key == key);
        self.by_key.find(key, is_it)
    }

    /// How many slots there are: one more than the number of the last one.
    pub(super) fn slots_len(&self) -> u32 {
        self.slots.len() as u32
    }

    /// The watch in a slot.
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Watch> {
        self.slots.get_mut(slot as usize)?.watch.as_deref_mut()
    }

    /// The watch in a slot, to look at.
    pub(super) fn get(&self, slot: u32) -> Option<&Watch> {
        self.slots.get(slot as usize)?.watch.as_deref()
    }

    /// The generation of the slot's last poll.
    pub(super) fn generation(&self, slot: u32) -> Option<u32> {
        Some(self.slots.get(slot as usize)?.generation)
    }

    /// The next poll of a watch is due then. Its timer is set to that, or to its deadline if that comes first.
    pub(super) fn wait(&mut self, slot: u32, due: Mono) {
        let watch = self.slots.get_mut(slot as usize);
        if let Some(watch) = watch.and_then(|slot| slot.watch.as_deref_mut()) {
            if let Phase::Waiting { timer, .. } = watch.phase {
                self.wheel.cancel(timer);
            }
            let timer = self.wheel.insert(due.min(watch.deadline), slot);
            watch.phase = Phase::Waiting { timer, due };
        }
    }

    /// Makes the watches ready whose poll is due, or whose deadline has passed.
    pub(super) fn collect_due(&mut self, now: Mono) -> Vec<u32> {
        let mut slots = Vec::new();
        self.wheel.advance(now, |slot| slots.push(slot));
        for slot in &slots {
            if let Some(watch) = self.get_mut(*slot) {
                let due = watch.due();
                watch.phase = Phase::Ready { due };
            }
        }
        slots
    }

    /// When the next watch is due.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.wheel.next_deadline()
    }

    /// The poll of a ready watch goes to a poller. Returns its generation, which makes every earlier poll of the slot
    /// stale.
    pub(super) fn send(&mut self, slot: u32) -> u32 {
        if let Some(watch) = self.get_mut(slot) {
            let due = watch.due();
            watch.phase = Phase::InFlight { due };
        }
        self.new_generation(slot)
    }

    /// The poll of a watch comes back from a poller that has not begun it.
    pub(super) fn recall(&mut self, slot: u32) -> Option<&Watch> {
        let watch = self.get_mut(slot)?;
        let due = watch.due();
        watch.phase = Phase::Ready { due };
        Some(watch)
    }

    /// Ends the watch in a slot.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Box<Watch>> {
        let watch = self.slots.get_mut(slot as usize)?.watch.take()?;
        if let Phase::Waiting { timer, .. } = watch.phase {
            self.wheel.cancel(timer);
        }
        self.record_bytes -= u64::from(watch.record_bytes);
        self.new_generation(slot);
        self.free.push(slot);
        self.by_key.remove(watch.key, slot);
        self.by_run.remove(watch.run(), slot);
        Some(watch)
    }

    /// The record of a watch has changed. It is to be written.
    pub(super) fn mark(&mut self, slot: u32) {
        if let Some(watch) = self.get_mut(slot)
            && !std::mem::replace(&mut watch.is_dirty, true)
        {
            self.dirty.push(slot);
        }
    }

    /// Whether a record is to be written.
    #[cfg(any(test, feature = "internals"))]
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The slots whose record is to be written.
    pub(super) fn take_dirty(&mut self) -> Vec<u32> {
        let mut slots = std::mem::take(&mut self.dirty);
        slots.retain(|slot| {
            let watch = self.get_mut(*slot);
            watch.is_some_and(|watch| std::mem::take(&mut watch.is_dirty))
        });
        slots
    }

    /// The record of a watch is so long now.
    pub(super) fn set_record_bytes(&mut self, slot: u32, bytes: usize) {
        if let Some(watch) = self.get_mut(slot) {
            // `limits::RECORD_BYTES_MAX` is far below.
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            let before = std::mem::replace(&mut watch.record_bytes, bytes);
            self.record_bytes = self.record_bytes + u64::from(bytes) - u64::from(before);
        }
    }

    /// What the records of all watches take in the store, without their keys.
    pub(super) fn record_bytes(&self) -> u64 {
        self.record_bytes
    }

    /// The watches, in no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Watch)> {
        let numbered = (0..).zip(&self.slots);
        numbered.filter_map(|(slot, s)| Some((slot, s.watch.as_deref()?)))
    }

    /// How many watches are ready, and how many in flight.
    pub(super) fn count_phases(&self) -> (usize, usize) {
        self.iter()
            .fold((0, 0), |(ready, in_flight), (_, watch)| match watch.phase {
                Phase::Waiting { .. } => (ready, in_flight),
                Phase::Ready { .. } => (ready + 1, in_flight),
                Phase::InFlight { .. } => (ready, in_flight + 1),
            })
    }

    /// Holds what must always be true.
    pub(super) fn check_invariants(&self) {
        assert!(self.len() <= limits::WORKFLOWS_HELD_MAX);
        assert_eq!(self.slots.len(), self.len() + self.free.len());
        assert_eq!(self.by_run.len(), self.len());
        // Hashing all of them each time would be most of what the tests do.
        if let Some((slot, watch)) = self.iter().next() {
            assert_eq!(self.slot_of(watch.run()), Some(slot));
        }
        for (slot, watch) in self.iter() {
            assert_eq!(self.slot_of_key(watch.key), Some(slot));
            watch.workflow.check_invariants();
        }
        let (ready, in_flight) = self.count_phases();
        assert_eq!(
            self.len() - ready - in_flight,
            self.wheel.len(),
            "every other watch has one timer"
        );
        let records = self.iter().map(|(_, w)| u64::from(w.record_bytes));
        assert_eq!(
            records.sum::<u64>(),
            self.record_bytes,
            "records are weighed"
        );
    }

    fn new_generation(&mut self, slot: u32) -> u32 {
        let slot = &mut self.slots[slot as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.generation
    }
}
