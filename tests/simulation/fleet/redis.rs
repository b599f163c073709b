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
    /// Token, link and expiry of each name's key.
    instances: BTreeMap<usize, (u64, u64, u64)>,
    pub runs: BTreeMap<RunKey, Run>,
    /// Expiry of each.
    done: BTreeMap<RunKey, u64>,
    pub runs_of: BTreeMap<Owner, BTreeSet<RunKey>>,
    pub owners: BTreeSet<Owner>,
    /// What each heir takes of a dead owner, and until when that is written down.
    shares: BTreeMap<Owner, (usize, u64)>,
    pub stream: Stream,
    pub ledger: Ledger,
}

#[derive(Clone)]
pub struct Run {
    pub owner: Owner,
    pub record: Option<Vec<u8>>,
    pub items: BTreeMap<Field, Arc<[u8]>>,
}

/// A span's or a finished event's: its sequence, and its monitor.
pub type Field = (Kind, u64, Option<Arc<str>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Span,
    Notification,
}

/// What the simulation knows of Redis and nobody else.
#[derive(Default)]
pub struct Ledger {
    /// Runs that were stored once.
    pub accepted: BTreeSet<RunKey>,
    /// Spans and finished events that were stored once.
    pub stored: BTreeSet<Arc<[u8]>>,
    /// Runs that are over.
    over: BTreeSet<RunKey>,
    /// Runs that Redis has lost, with the lives that can write them anew.
    pub exposed: BTreeMap<RunKey, BTreeSet<Owner>>,
    /// Runs that Redis has lost, and nobody who knew them was there to write them anew before another began with them.
    pub excused: BTreeSet<RunKey>,
}

/// Who sends a script: a life, over which of its links, and with which lease.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    pub owner: Owner,
    pub link: u64,
    pub lease: u64,
}

/// A dead owner, and an heir's share of what it has left.
#[derive(Clone, Copy)]
pub struct Left {
    pub owner: Owner,
    pub share: usize,
}

/// What one script takes of the dead.
#[derive(Clone, Copy)]
pub struct Claim {
    pub of: Owner,
    /// Behind which run to go on.
    pub cursor: Option<RunKey>,
    /// How many to look at.
    pub count: usize,
    pub room: usize,
}

/// A script on its way after its sender has given it up.
pub struct Late {
    pub sender: Sender,
    pub script: Script,
}

pub enum Script {
    Commit(Vec<Part>),
    Claim(Claim),
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
    pub items: Vec<(Field, Arc<[u8]>)>,
    pub record_goes: bool,
    pub items_gone: Vec<Field>,
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
    fn held(&self, name: usize, now: u64) -> Option<(u64, u64)> {
        let (token, link, expires) = self.instances.get(&name)?;
        (now < *expires).then_some((*token, *link))
    }

    pub fn lives(&self, (name, life): Owner, now: u64) -> bool {
        self.held(name, now).is_some_and(|(token, _)| token == life)
    }

    fn set(&mut self, Sender { owner, link, lease }: Sender, now: u64) {
        let (name, token) = owner;
        self.instances.insert(name, (token, link, now + lease));
    }

    pub fn register(&mut self, sender: Sender, pushes_aside: bool, now: u64) -> bool {
        let held = self.held(sender.owner.0, now);
        if held.is_some_and(|(token, _)| token != sender.owner.1) && !pushes_aside {
            return false;
        }
        self.set(sender, now);
        self.owners.insert(sender.owner);
        true
    }

    fn renew(&mut self, sender: Sender, now: u64) -> bool {
        let holds = self.held(sender.owner.0, now) == Some((sender.owner.1, sender.link));
        if holds {
            self.set(sender, now);
        }
        holds
    }

    pub fn commit(
        &mut self,
        sender: Sender,
        parts: &[Part],
        now: u64,
    ) -> Option<Vec<(RunKey, Why)>> {
        if !self.renew(sender, now) {
            return None;
        }
        let mut refused = Vec::new();
        for part in parts {
            if let Some(why) = self.commit_part(sender.owner, part, now) {
                refused.push((part.run, why));
            }
        }
        Some(refused)
    }

    fn commit_part(&mut self, owner: Owner, part: &Part, now: u64) -> Option<Why> {
        let run = part.run;
        let sets = part.items.len() + usize::from(part.record.is_some());
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
            items: BTreeMap::new(),
        });
        if let Some(record) = &part.record {
            there.record = Some(record.clone());
        }
        // One that a later attempt ends at once has no record, only spans.
        if sets > 0 {
            self.ledger.accepted.insert(run);
        }
        for (field, item) in &part.items {
            there.items.insert(field.clone(), item.clone());
            self.ledger.stored.insert(item.clone());
        }
        if part.record_goes {
            there.record = None;
        }
        for field in &part.items_gone {
            there.items.remove(field);
        }
        self.ledger.written(run, owner);
        if sets == 0 && there.record.is_none() && there.items.is_empty() {
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

    pub fn look(&mut self, sender: Sender, now: u64) -> Option<Vec<Left>> {
        if !self.renew(sender, now) {
            return None;
        }
        let others = self.owners.iter().copied();
        let others = others.filter(|other| *other != sender.owner);
        let (living, dead): (Vec<Owner>, Vec<Owner>) =
            others.partition(|other| self.lives(*other, now));
        let mut found = Vec::new();
        for other in dead {
            let runs = self.runs_of.get(&other).map_or(0, BTreeSet::len);
            if runs == 0 {
                self.owners.remove(&other);
                self.shares.remove(&other);
                continue;
            }
            let written = self.shares.get(&other);
            let share = match written.filter(|(_, expires)| now < *expires) {
                _ if other.0 == sender.owner.0 => runs,
                Some((share, _)) => *share,
                None => {
                    let share = runs.div_ceil(living.len() + 1);
                    self.shares.insert(other, (share, now + sender.lease));
                    share
                }
            };
            found.push(Left {
                owner: other,
                share,
            });
        }
        Some(found)
    }

    /// Answers with where to go on.
    #[expect(clippy::type_complexity, reason = "the answer of a script")]
    pub fn claim(
        &mut self,
        sender: Sender,
        claim: Claim,
        now: u64,
    ) -> Option<(Option<RunKey>, Vec<(RunKey, Run)>)> {
        if !self.renew(sender, now) {
            return None;
        }
        if self.lives(claim.of, now) {
            return Some((None, Vec::new()));
        }
        let theirs = self.runs_of.entry(claim.of).or_default();
        let rest = theirs.iter().filter(|run| Some(**run) > claim.cursor);
        let mut rest = rest.copied().peekable();
        let looked_at: Vec<RunKey> = rest.by_ref().take(claim.count).collect();
        let cursor = rest.peek().and(looked_at.last().copied());
        let mut claimed = Vec::new();
        for run in looked_at {
            match self.runs.get_mut(&run).filter(|r| r.owner == claim.of) {
                None => drop(theirs.remove(&run)),
                Some(there) if claimed.len() < claim.room => {
                    theirs.remove(&run);
                    there.owner = sender.owner;
                    claimed.push((run, there.clone()));
                }
                Some(_) => {}
            }
        }
        let mine = self.runs_of.entry(sender.owner).or_default();
        mine.extend(claimed.iter().map(|(run, _)| *run));
        Some((cursor, claimed))
    }

    /// What was given up comes after all; nobody hears the answer. Whether it did something.
    pub fn arrives_late(&mut self, late: Late, now: u64) -> bool {
        match late.script {
            Script::Claim(claim) => self.claim(late.sender, claim, now).is_some(),
            Script::Commit(parts) => self.commit(late.sender, &parts, now).is_some(),
        }
    }

    pub fn leave(&mut self, sender: Sender, now: u64) {
        if self.held(sender.owner.0, now) == Some((sender.owner.1, sender.link)) {
            self.instances.remove(&sender.owner.0);
        }
    }

    /// Everything goes. Of each run the living who know it are told apart from what nobody knows any more.
    /// What is done is known to those who know that.
    pub fn flush_all(&mut self, known_by: impl Fn(RunKey, bool) -> BTreeSet<Owner>, now: u64) {
        let (runs, done) = (self.runs.keys(), self.done.iter());
        let done = done.filter(|(_, expires)| now < **expires);
        let lost: Vec<RunKey> = runs.chain(done.map(|(run, _)| run)).copied().collect();
        for run in lost {
            let mut knowing = known_by(run, !self.runs.contains_key(&run));
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
        self.shares.clear();
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
