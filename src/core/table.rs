//! The table: every workflow under watch, found by its slot or by its key.
//!
//! A slot is used again and again; its generation tells one use, and one poll, from the next, so that an answer that
//! comes too late finds that it is stale.

use super::ids::RunKey;
use super::limits;
use super::time::{Mono, Wall};
use super::wheel::Timer;
use super::workflow::Workflow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

/// A workflow with what the core needs to watch it.
#[derive(Debug)]
pub struct Watch {
    /// The workflow.
    pub workflow: Workflow,
    /// Which monitor's it is.
    pub monitor: u16,
    /// Finds this watch by workflow id.
    pub key: RunKey,
    /// Whether a poll is coming, queued or under way.
    pub phase: Phase,
    /// When the poll timeout strikes.
    pub deadline: Mono,
    /// The same by the wall clock, for whoever takes the watch over.
    pub deadline_wall: Wall,
    /// Whether its record waits to be written.
    pub dirty: bool,
    /// How long its record was when it was written last.
    pub record_bytes: u32,
    /// Failed polls in a row.
    pub failures: u32,
    /// What polls have brought in the place of the workflow.
    pub silence: Silence,
}

/// What every poll brings, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// None: an answer, or something that passes.
    None,
    /// The API says "not found": at first since the event came, later since it first said so again.
    NotFound(Mono),
    /// An API that goes away with its workflow takes no connection.
    Refused(Mono),
}

impl Watch {
    /// Finds its run in the table, among those lately finished and in the store. Made anew each time, to keep a watch
    /// small.
    pub fn run(&self) -> RunKey {
        self.workflow.run_key(self.key)
    }
}

/// Where a watch stands between two polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The timer rings when the poll is due.
    Waiting {
        /// In the wheel.
        timer: Timer,
        /// When the poll is due.
        due: Mono,
    },
    /// Due, and in the queue for a free poller.
    Ready {
        /// Since when.
        due: Mono,
    },
    /// With a poller.
    InFlight {
        /// When it was due.
        due: Mono,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_key: HashMap<RunKey, u32>,
    by_run: HashMap<RunKey, u32>,
    finished: HashSet<RunKey>,
    finished_order: VecDeque<(Mono, RunKey)>,
    /// For so long, as long as they are not too many.
    finished_kept: Duration,
}

impl Default for Table {
    fn default() -> Self {
        Table {
            slots: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            by_run: HashMap::new(),
            finished: HashSet::new(),
            finished_order: VecDeque::new(),
            finished_kept: limits::FINISHED_KEPT,
        }
    }
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    watch: Option<Box<Watch>>,
}

impl Table {
    /// How many workflows are under watch.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Whether this workflow is under watch, or this run of it was until lately.
    pub fn knows(&self, key: RunKey, run: RunKey) -> bool {
        self.by_key.contains_key(&key) || self.finished.contains(&run)
    }

    /// The slot that [`insert`](Self::insert) will use.
    pub fn next_slot(&self) -> u32 {
        self.free.last().copied().unwrap_or(self.slots.len() as u32)
    }

    /// Puts a workflow under watch.
    pub fn insert(&mut self, watch: Watch) -> u32 {
        let slot = self.next_slot();
        if self.free.pop().is_none() {
            self.slots.push(Slot::default());
        }
        self.by_key.insert(watch.key, slot);
        self.by_run.insert(watch.run(), slot);
        self.slots[slot as usize].watch = Some(Box::new(watch));
        slot
    }

    /// The watch of a workflow.
    pub fn find(&mut self, key: RunKey) -> Option<(u32, &mut Watch)> {
        let slot = *self.by_key.get(&key)?;
        Some((slot, self.get_mut(slot)?))
    }

    /// The slot of a run that is under watch.
    pub fn slot_of(&self, run: RunKey) -> Option<u32> {
        self.by_run.get(&run).copied()
    }

    /// The watch in a slot.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Watch> {
        self.slots.get_mut(slot as usize)?.watch.as_deref_mut()
    }

    /// The same, to look at.
    pub fn get(&self, slot: u32) -> Option<&Watch> {
        self.slots.get(slot as usize)?.watch.as_deref()
    }

    /// The slot's generation, which the next [`new_generation`](Self::new_generation) ends.
    pub fn generation(&self, slot: u32) -> Option<u32> {
        Some(self.slots.get(slot as usize)?.generation)
    }

    /// Makes every answer that is still on its way to this slot stale.
    pub fn new_generation(&mut self, slot: u32) -> u32 {
        let slot = &mut self.slots[slot as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.generation
    }

    /// Remembers a run that finished before farspan started.
    pub fn remember(&mut self, run: RunKey, since: Mono) {
        if self.finished.insert(run) {
            self.finished_order.push_back((since, run));
        }
    }

    /// Remembers finished runs for that long, if it is longer than they are remembered anyway.
    pub fn keep_finished(&mut self, kept: Duration) {
        self.finished_kept = self.finished_kept.max(kept);
    }

    /// Ends the watch in a slot and remembers its run for a while.
    pub fn finish(&mut self, slot: u32, now: Mono) -> Option<Box<Watch>> {
        let watch = self.remove(slot)?;
        self.remember(watch.run(), now);
        Some(watch)
    }

    /// Whether this run finished lately.
    pub fn has_finished(&self, run: RunKey) -> bool {
        self.finished.contains(&run)
    }

    /// Takes a watch out as if it had never been.
    pub fn remove(&mut self, slot: u32) -> Option<Box<Watch>> {
        let watch = self.slots.get_mut(slot as usize)?.watch.take()?;
        self.new_generation(slot);
        self.free.push(slot);
        self.by_key.remove(&watch.key);
        self.by_run.remove(&watch.run());
        Some(watch)
    }

    /// Remembers those runs no more.
    pub fn forget_all(&mut self, runs: impl Iterator<Item = RunKey>) {
        let known = self.finished.len();
        for run in runs {
            self.finished.remove(&run);
        }
        if self.finished.len() < known {
            let finished = &self.finished;
            self.finished_order
                .retain(|(_, run)| finished.contains(run));
        }
    }

    /// How many runs finished lately.
    pub fn finished_len(&self) -> usize {
        self.finished.len()
    }

    /// Runs that finished lately.
    pub fn finished(&self) -> impl Iterator<Item = RunKey> {
        self.finished_order.iter().map(|(_, run)| *run)
    }

    /// The next run that finished long enough ago to be forgotten.
    pub fn forget(&mut self, now: Mono) -> Option<RunKey> {
        let &(since, run) = self.finished_order.front()?;
        let enough = self.finished_order.len() > limits::FINISHED_MAX
            || now.since(since) >= self.finished_kept;
        enough.then(|| {
            self.finished_order.pop_front();
            self.finished.remove(&run);
            run
        })
    }

    /// The watches, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Watch)> {
        let numbered = (0..).zip(&self.slots);
        numbered.filter_map(|(slot, s)| Some((slot, s.watch.as_deref()?)))
    }

    /// Holds what must always be true.
    pub fn check_invariants(&self) {
        assert!(self.len() <= limits::WORKFLOWS_HELD_MAX);
        assert_eq!(self.slots.len(), self.len() + self.free.len());
        assert_eq!(self.by_run.len(), self.len());
        assert!(self.by_run.values().all(|slot| self.get(*slot).is_some()));
        // Hashing all of them each time would be most of what the tests do.
        if let Some((slot, watch)) = self.iter().next() {
            assert_eq!(self.by_run.get(&watch.run()), Some(&slot));
        }
        for (slot, watch) in self.iter() {
            assert_eq!(self.by_key.get(&watch.key), Some(&slot));
            watch.workflow.check_invariants();
        }
        assert_eq!(self.finished.len(), self.finished_order.len());
        assert!(self.finished.len() <= limits::FINISHED_MAX);
    }
}
