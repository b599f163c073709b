//! Redis, as far as a fleet uses it: the scripts of `src/store/redis.rs` and the stream commands of
//! `src/intake/stream.rs`, branch by branch. What it holds goes with [`Redis::flush_all`].

use farspan::core::Refusal;
use farspan::core::event::StartEvent;
use farspan::core::ids::RunKey;
use farspan::store::fleet::{
    CLAIM_BEGIN, ClaimCall, Claimed, ExpiredOwner, FleetCommand, FleetReply, Owner as OwnerName,
    RunField, RunWrite, StoredRun, WriteMode, WriteVerdict,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One incarnation of an instance: its name and its token.
pub type Owner = (usize, u64);

#[derive(Default)]
pub struct Redis {
    /// Token, connection number and expiry of each name's key.
    instances: BTreeMap<usize, (u64, u64, u64)>,
    pub runs: BTreeMap<RunKey, Run>,
    /// Expiry of each.
    done: BTreeMap<RunKey, u64>,
    pub runs_of: BTreeMap<Owner, BTreeSet<RunKey>>,
    pub owners: BTreeSet<Owner>,
    /// How many runs of an expired owner each instance claims, and until when that is stored.
    shares: BTreeMap<Owner, (usize, u64)>,
    pub stream: Stream,
    pub ledger: Ledger,
}

#[derive(Clone)]
pub struct Run {
    pub owner: Owner,
    pub fields: BTreeMap<RunField, Arc<[u8]>>,
}

/// What the simulation knows of Redis and no instance does.
#[derive(Default)]
pub struct Ledger {
    /// Runs that were stored once.
    pub accepted: BTreeSet<RunKey>,
    /// Spans and finished events that were stored once.
    pub stored: BTreeSet<Arc<[u8]>>,
    /// Runs that are over.
    over: BTreeSet<RunKey>,
    /// Runs that Redis has lost, with the owners that can write them again.
    pub exposed: BTreeMap<RunKey, BTreeSet<Owner>>,
    /// Runs that Redis has lost, and that no owner who knew them could write again before another instance began them.
    pub excused: BTreeSet<RunKey>,
}

/// Who sends a call: an owner, over which of its connections, and with which lease.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    pub owner: Owner,
    pub connection: u64,
    pub lease: u64,
}

/// A call on its way after its sender has given it up.
pub struct Late {
    pub sender: Sender,
    pub command: FleetCommand,
}

const DONE_KEPT: u64 = super::instance::DONE_KEPT.as_nanos() as u64;

impl Redis {
    fn held(&self, name: usize, now: u64) -> Option<(u64, u64)> {
        let (token, connection, expires) = self.instances.get(&name)?;
        (now < *expires).then_some((*token, *connection))
    }

    pub fn is_valid(&self, (name, token): Owner, now: u64) -> bool {
        self.held(name, now).is_some_and(|(held, _)| held == token)
    }

    fn set(
        &mut self,
        Sender {
            owner,
            connection,
            lease,
        }: Sender,
        now: u64,
    ) {
        let (name, token) = owner;
        self.instances
            .insert(name, (token, connection, now + lease));
    }

    fn register(&mut self, sender: Sender, pushes_aside: bool, now: u64) -> bool {
        let held = self.held(sender.owner.0, now);
        if held.is_some_and(|(token, _)| token != sender.owner.1) && !pushes_aside {
            return false;
        }
        self.set(sender, now);
        self.owners.insert(sender.owner);
        true
    }

    fn renew(&mut self, sender: Sender, now: u64) -> bool {
        let holds = self.held(sender.owner.0, now) == Some((sender.owner.1, sender.connection));
        if holds {
            self.set(sender, now);
        }
        holds
    }

    /// Executes a call of that sender. `None`: the lease has lapsed, or belongs to a later connection.
    pub fn execute(&mut self, sender: Sender, command: &FleetCommand, now: u64) -> FleetReply {
        let reply = match command {
            FleetCommand::Connect => Some(FleetReply::Connected),
            FleetCommand::Register { replaces } => Some(FleetReply::Registered(
                self.register(sender, *replaces, now),
            )),
            FleetCommand::Commit(writes) => self.commit(sender, writes, now),
            FleetCommand::Look => self.look(sender, now),
            FleetCommand::Claim(claim) => self.claim(sender, claim, now),
            FleetCommand::OwnRuns => {
                let runs = self.runs_of.get(&sender.owner).cloned().unwrap_or_default();
                Some(FleetReply::OwnRuns(runs.into_iter().collect()))
            }
            FleetCommand::Read(runs) => {
                let there = runs.iter().filter_map(|run| self.stored(*run));
                Some(FleetReply::Runs(there.collect()))
            }
            FleetCommand::EndLease => {
                self.leave(sender, now);
                Some(FleetReply::LeaseEnded)
            }
        };
        reply.unwrap_or(FleetReply::Lapsed)
    }

    fn stored(&self, run: RunKey) -> Option<StoredRun> {
        let fields = self.runs.get(&run)?.fields.clone();
        Some(StoredRun {
            run,
            fields: fields.into_iter().collect(),
        })
    }

    fn commit(&mut self, sender: Sender, writes: &[RunWrite], now: u64) -> Option<FleetReply> {
        if !self.renew(sender, now) {
            return None;
        }
        let mut verdicts = Vec::new();
        for write in writes {
            if let Some(verdict) = self.write(sender.owner, write, now) {
                verdicts.push((write.run, verdict));
            }
        }
        Some(FleetReply::Committed(verdicts))
    }

    fn write(&mut self, owner: Owner, write: &RunWrite, now: u64) -> Option<WriteVerdict> {
        let run = write.run;
        let sets = !write.set.is_empty();
        let done = self.done.get(&run).is_some_and(|expires| now < *expires);
        let is_new = !self.runs.contains_key(&run);
        let refused = |why| Some(WriteVerdict::Refused(why));
        match self.runs.get(&run) {
            Some(there) if there.owner != owner => return refused(Refusal::Elsewhere),
            Some(_) => {}
            None if sets && done => return refused(Refusal::Done),
            None if sets && write.mode == WriteMode::LateRewrite => return refused(Refusal::Done),
            None if sets && write.mode == WriteMode::Owned => return Some(WriteVerdict::Missing),
            None => {}
        }
        if matches!(write.mode, WriteMode::Rewrite | WriteMode::LateRewrite) {
            self.runs.remove(&run);
        }
        let mut there = self.runs.remove(&run).unwrap_or(Run {
            owner,
            fields: BTreeMap::new(),
        });
        // One that a later attempt ends at once has no record, only spans.
        if sets {
            self.ledger.accepted.insert(run);
        }
        for (field, value) in &write.set {
            there.fields.insert(field.clone(), value.clone());
            self.ledger.stored.insert(value.clone());
        }
        for field in &write.removed {
            there.fields.remove(field);
        }
        self.ledger.written(run, owner);
        if !sets && there.fields.is_empty() {
            self.runs_of.entry(owner).or_default().remove(&run);
            self.done.insert(run, now + DONE_KEPT);
            self.ledger.over.insert(run);
            return Some(WriteVerdict::Over);
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

    fn look(&mut self, sender: Sender, now: u64) -> Option<FleetReply> {
        if !self.renew(sender, now) {
            return None;
        }
        let others = self.owners.iter().copied();
        let others = others.filter(|other| *other != sender.owner);
        let (valid, expired): (Vec<Owner>, Vec<Owner>) =
            others.partition(|other| self.is_valid(*other, now));
        let mut found = Vec::new();
        for other in expired {
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
                    let share = runs.div_ceil(valid.len() + 1);
                    self.shares.insert(other, (share, now + sender.lease));
                    share
                }
            };
            found.push(ExpiredOwner {
                owner: name_of(other),
                share,
                runs,
            });
        }
        Some(FleetReply::Expired(found))
    }

    fn claim(&mut self, sender: Sender, claim: &ClaimCall, now: u64) -> Option<FleetReply> {
        if !self.renew(sender, now) {
            return None;
        }
        let expired = owner_of(&claim.owner);
        let mut claimed = Claimed {
            cursor: CLAIM_BEGIN.into(),
            unread: 0,
            runs: Vec::new(),
        };
        if self.is_valid(expired, now) {
            return Some(FleetReply::Claimed(claimed));
        }
        let behind = run_of_cursor(&claim.cursor);
        let theirs = self.runs_of.entry(expired).or_default();
        let rest = theirs.iter().filter(|run| Some(**run) > behind);
        let mut rest = rest.copied().peekable();
        let looked_at: Vec<RunKey> = rest.by_ref().take(claim.count).collect();
        if let (Some(_), Some(last)) = (rest.peek(), looked_at.last()) {
            claimed.cursor = last.to_string().into();
        }
        for run in looked_at {
            match self.runs.get_mut(&run).filter(|r| r.owner == expired) {
                None => drop(theirs.remove(&run)),
                Some(there) if claimed.runs.len() < claim.room => {
                    theirs.remove(&run);
                    there.owner = sender.owner;
                    claimed.runs.push(StoredRun {
                        run,
                        fields: there.fields.clone().into_iter().collect(),
                    });
                }
                Some(_) => {}
            }
        }
        let ours = self.runs_of.entry(sender.owner).or_default();
        ours.extend(claimed.runs.iter().map(|it| it.run));
        Some(FleetReply::Claimed(claimed))
    }

    /// What was given up comes after all; the answer goes nowhere. Whether it did something.
    pub fn arrives_late(&mut self, late: &Late, now: u64) -> bool {
        self.execute(late.sender, &late.command, now) != FleetReply::Lapsed
    }

    fn leave(&mut self, sender: Sender, now: u64) {
        if self.held(sender.owner.0, now) == Some((sender.owner.1, sender.connection)) {
            self.instances.remove(&sender.owner.0);
        }
    }

    /// Everything goes. Of each run it is noted which owners know it.
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

/// The name and the token of an owner, as the protocol writes it.
pub fn name_of((name, token): Owner) -> OwnerName {
    OwnerName::new(&name.to_string(), &token.to_string())
}

fn owner_of(name: &OwnerName) -> Owner {
    let parts = name.0.split_once('/');
    let numbers = parts.map(|(name, token)| (name.parse().ok(), token.parse().ok()));
    match numbers {
        Some((Some(name), Some(token))) => (name, token),
        _ => panic!("not an owner: {name}"),
    }
}

/// The run that a cursor stands behind.
fn run_of_cursor(cursor: &str) -> Option<RunKey> {
    if cursor == CLAIM_BEGIN {
        return None;
    }
    let number = u128::from_str_radix(cursor, 16).expect("a cursor is a run");
    Some(RunKey::from_bytes(number.to_be_bytes()))
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

    /// An owner who knew the run has written it again, or another has begun it.
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
