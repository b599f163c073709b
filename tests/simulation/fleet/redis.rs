//! Redis, as far as a fleet uses it: the scripts of `src/store/redis.rs` and the stream commands of
//! `src/intake/stream.rs`, branch by branch. What it holds goes with [`Redis::flush_all`].

use farspan::core::event::StartEvent;
use farspan::core::ids::RunKey;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One life of an instance: its name and its token.
pub type Owner = (usize, u64);

#[derive(Default)]
pub struct Redis {
    /// Token and expiry of each name's key.
    instances: BTreeMap<usize, (u64, u64)>,
    pub runs: BTreeMap<RunKey, Run>,
    /// Expiry of each.
    done: BTreeMap<RunKey, u64>,
    pub runs_of: BTreeMap<Owner, BTreeSet<RunKey>>,
    pub owners: BTreeSet<Owner>,
    pub stream: Stream,
    pub ledger: Ledger,
}

#[derive(Clone)]
pub struct Run {
    pub owner: Owner,
    pub record: Option<Vec<u8>>,
    pub spans: BTreeMap<Field, Arc<[u8]>>,
}

/// A span's: its sequence, and its monitor.
pub type Field = (u64, Option<Arc<str>>);

/// What the simulation knows of Redis and nobody else.
#[derive(Default)]
pub struct Ledger {
    /// Runs that were stored once, and when first.
    pub accepted: BTreeMap<RunKey, u64>,
    /// Spans that were stored once.
    pub stored: BTreeSet<Arc<[u8]>>,
    /// Runs that are over.
    over: BTreeSet<RunKey>,
    /// Runs that Redis has lost, with the lives that can write them anew.
    pub exposed: BTreeMap<RunKey, BTreeSet<Owner>>,
    /// Runs that Redis has lost, and nobody who knew them was there to write them anew before another began with them.
    pub excused: BTreeSet<RunKey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    New,
    Known,
    Whole,
    Held,
}

/// What is to become of one run, as one part of a call.
#[derive(Clone)]
pub struct Part {
    pub run: RunKey,
    pub mode: Mode,
    pub record: Option<Vec<u8>>,
    pub spans: Vec<(Field, Arc<[u8]>)>,
    pub record_goes: bool,
    pub spans_gone: Vec<Field>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Elsewhere,
    Done,
    Gone,
    Over,
}

const DONE_KEPT: u64 = super::client::DONE_KEPT.as_nanos() as u64;

impl Redis {
    fn token_of(&self, name: usize, now: u64) -> Option<u64> {
        let (token, expires) = self.instances.get(&name)?;
        (now < *expires).then_some(*token)
    }

    pub fn holds(&self, (name, token): Owner, now: u64) -> bool {
        self.token_of(name, now) == Some(token)
    }

    pub fn register(
        &mut self,
        (name, token): Owner,
        lease: u64,
        pushes_aside: bool,
        now: u64,
    ) -> bool {
        let held = self.token_of(name, now);
        if held.is_some_and(|held| held != token) && !pushes_aside {
            return false;
        }
        self.instances.insert(name, (token, now + lease));
        true
    }

    fn renew(&mut self, owner: Owner, lease: u64, now: u64) -> bool {
        let holds = self.holds(owner, now);
        if holds {
            self.instances.insert(owner.0, (owner.1, now + lease));
        }
        holds
    }

    pub fn commit(
        &mut self,
        owner: Owner,
        lease: u64,
        parts: &[Part],
        now: u64,
    ) -> Option<Vec<(RunKey, Why)>> {
        if !self.renew(owner, lease, now) {
            return None;
        }
        let mut refused = Vec::new();
        for part in parts {
            if let Some(why) = self.commit_part(owner, part, now) {
                refused.push((part.run, why));
            }
        }
        Some(refused)
    }

    fn commit_part(&mut self, owner: Owner, part: &Part, now: u64) -> Option<Why> {
        let run = part.run;
        let sets = part.spans.len() + usize::from(part.record.is_some());
        let done = self.done.get(&run).is_some_and(|expires| now < *expires);
        let is_new = !self.runs.contains_key(&run);
        match self.runs.get(&run) {
            Some(there) if there.owner != owner => return Some(Why::Elsewhere),
            Some(_) => {}
            None if sets > 0 && done => return Some(Why::Done),
            None if sets > 0 && part.mode == Mode::Held => return Some(Why::Done),
            None if sets > 0 && part.mode == Mode::Known => return Some(Why::Gone),
            None => {}
        }
        if matches!(part.mode, Mode::Whole | Mode::Held) {
            self.runs.remove(&run);
        }
        let mut there = self.runs.remove(&run).unwrap_or(Run {
            owner,
            record: None,
            spans: BTreeMap::new(),
        });
        if let Some(record) = &part.record {
            there.record = Some(record.clone());
            self.ledger.accepted.entry(run).or_insert(now);
        }
        for (field, span) in &part.spans {
            there.spans.insert(field.clone(), span.clone());
            self.ledger.stored.insert(span.clone());
        }
        if part.record_goes {
            there.record = None;
        }
        for field in &part.spans_gone {
            there.spans.remove(field);
        }
        self.ledger.written(run, owner);
        if sets == 0 && there.record.is_none() && there.spans.is_empty() {
            self.runs_of.entry(owner).or_default().remove(&run);
            self.done.insert(run, now + DONE_KEPT);
            self.ledger.over.insert(run);
            return Some(Why::Over);
        }
        let again = is_new && self.ledger.over.contains(&run);
        assert!(
            !again || self.ledger.excused.contains(&run),
            "what is over begins again"
        );
        self.runs.insert(run, there);
        self.runs_of.entry(owner).or_default().insert(run);
        self.owners.insert(owner);
        None
    }

    pub fn claim(
        &mut self,
        owner: Owner,
        lease: u64,
        mut room: usize,
        now: u64,
    ) -> Option<Vec<(RunKey, Run)>> {
        if !self.renew(owner, lease, now) {
            return None;
        }
        let mut claimed = Vec::new();
        for other in self.owners.clone() {
            if room == 0 {
                break;
            }
            if other == owner || self.holds(other, now) {
                continue;
            }
            let theirs = self.runs_of.entry(other).or_default();
            let taken: Vec<RunKey> = theirs.iter().copied().take(room).collect();
            theirs.retain(|run| !taken.contains(run));
            if theirs.is_empty() {
                self.owners.remove(&other);
            }
            for run in taken {
                let Some(there) = self.runs.get_mut(&run).filter(|r| r.owner == other) else {
                    continue;
                };
                there.owner = owner;
                claimed.push((run, there.clone()));
                self.runs_of.entry(owner).or_default().insert(run);
                self.owners.insert(owner);
                room -= 1;
            }
        }
        Some(claimed)
    }

    pub fn leave(&mut self, owner: Owner, now: u64) {
        if self.holds(owner, now) {
            self.instances.remove(&owner.0);
        }
    }

    /// Everything goes. Of each run the living who know it are told apart from what nobody knows any more.
    pub fn flush_all(&mut self, known_by: impl Fn(RunKey) -> BTreeSet<Owner>, now: u64) {
        let (runs, done) = (self.runs.keys(), self.done.iter());
        let done = done.filter(|(_, expires)| now < **expires);
        let lost: Vec<RunKey> = runs.chain(done.map(|(run, _)| run)).copied().collect();
        for run in lost {
            let mut knowing = known_by(run);
            if let Some(there) = self.runs.get(&run) {
                knowing.retain(|owner| *owner == there.owner);
            }
            self.ledger.expose(run, knowing);
        }
        self.instances.clear();
        self.runs.clear();
        self.done.clear();
        self.runs_of.clear();
        self.owners.clear();
        self.stream = Stream {
            next_id: self.stream.next_id,
            ..Stream::default()
        };
    }

    /// What must always be so: a run stands in its owner's index, and the owner among the owners.
    pub fn check(&self) {
        for (run, there) in &self.runs {
            let index = self.runs_of.get(&there.owner);
            assert!(index.is_some_and(|index| index.contains(run)));
            assert!(self.owners.contains(&there.owner));
        }
    }
}

impl Ledger {
    fn expose(&mut self, run: RunKey, knowing: BTreeSet<Owner>) {
        if knowing.is_empty() {
            self.exposed.remove(&run);
            self.excused.insert(run);
        } else {
            self.exposed.insert(run, knowing);
        }
    }

    /// Whoever knew it has written it anew, or somebody else has begun with it.
    fn written(&mut self, run: RunKey, by: Owner) {
        if self
            .exposed
            .remove(&run)
            .is_some_and(|knowing| !knowing.contains(&by))
        {
            self.excused.insert(run);
        }
    }

    pub fn died(&mut self, owner: Owner) {
        let excused = &mut self.excused;
        self.exposed.retain(|run, knowing| {
            knowing.remove(&owner);
            if knowing.is_empty() {
                excused.insert(*run);
            }
            !knowing.is_empty()
        });
    }
}

/// A stream with its group.
#[derive(Default)]
pub struct Stream {
    next_id: u64,
    entries: BTreeMap<u64, StartEvent>,
    has_group: bool,
    last_delivered: u64,
    /// Consumer, and when it was delivered or claimed last.
    pub pending: BTreeMap<u64, (usize, u64)>,
}

impl Stream {
    pub fn add(&mut self, event: StartEvent) {
        self.next_id += 1;
        self.entries.insert(self.next_id, event);
    }

    pub fn make_group(&mut self) {
        self.has_group = true;
    }

    pub fn is_read(&self) -> bool {
        self.entries.keys().all(|id| *id <= self.last_delivered)
    }

    /// `None`: there is no such group.
    pub fn read(
        &mut self,
        consumer: usize,
        now: u64,
        most: usize,
    ) -> Option<Vec<(u64, StartEvent)>> {
        if !self.has_group {
            return None;
        }
        let new = self.entries.range(self.last_delivered + 1..).take(most);
        let new: Vec<_> = new.map(|(id, event)| (*id, event.clone())).collect();
        for (id, _) in &new {
            self.last_delivered = *id;
            self.pending.insert(*id, (consumer, now));
        }
        Some(new)
    }

    pub fn read_pending(&self, consumer: usize) -> Vec<(u64, StartEvent)> {
        let ours = self.pending.iter().filter(|(_, (of, _))| *of == consumer);
        ours.map(|(id, _)| (*id, self.entries[id].clone()))
            .collect()
    }

    /// Answers with those that are another's.
    pub fn renew(&mut self, consumer: usize, ids: &BTreeSet<u64>, now: u64) -> Vec<u64> {
        let mut lost = Vec::new();
        for id in ids {
            match self.pending.get_mut(id).filter(|(of, _)| *of == consumer) {
                Some((_, since)) => *since = now,
                None => lost.push(*id),
            }
        }
        lost
    }

    pub fn claim(
        &mut self,
        consumer: usize,
        idle_min: u64,
        now: u64,
    ) -> Option<Vec<(u64, StartEvent)>> {
        if !self.has_group {
            return None;
        }
        let mut claimed = Vec::new();
        for (id, pending) in &mut self.pending {
            if now >= pending.1 + idle_min {
                *pending = (consumer, now);
                claimed.push((*id, self.entries[id].clone()));
            }
        }
        Some(claimed)
    }

    pub fn acknowledge(&mut self, ids: &[u64]) {
        for id in ids {
            self.pending.remove(id);
        }
    }
}
