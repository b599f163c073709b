//! The entries of a Redis stream that one consumer has read: which are held, which are to be acknowledged, and which call
//! to Redis is next. Pure: no clock, no I/O.
//!
//! ```text
//! Read, ReadPending, Claim ──▶ held ──▶ released ──▶ Acknowledge ──▶ forgotten
//!                               │  └──▶ left: pending in Redis, claimed again a lease later
//!                               └─────▶ Renew says that another consumer has claimed it: forgotten
//! ```

use crate::core::time::Mono;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// Ids in one call.
const IDS_MAX: usize = 500;
const TRIM_EVERY: Duration = Duration::from_secs(5);
/// The first of all ids, and the cursor of a claim that begins or has ended.
const BEGIN: &str = "0-0";

/// The id of an entry.
pub type EntryId = Box<str>;

/// What became of a start event in a source that keeps its events, with the event's
/// [`source`](crate::core::event::StartEvent::source).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Its spans are delivered: acknowledge it.
    Acknowledge(Box<str>),
    /// Its run is another instance's: leave it pending, so that others can claim it.
    LeavePending(Box<str>),
}

impl Settled {
    /// The stream, if the source names it, and the entry's id, which contains no `|`.
    pub fn stream_and_entry(&self) -> (Option<&str>, &str) {
        let (Settled::Acknowledge(source) | Settled::LeavePending(source)) = self;
        match source.rsplit_once('|') {
            Some((stream, entry)) => (Some(stream), entry),
            None => (None, source),
        }
    }
}

/// What to ask of Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamCall {
    /// Read entries that this consumer has read before and not acknowledged, behind this one.
    ReadPending(EntryId),
    /// Read new entries, and wait for some.
    Read,
    /// Acknowledge these entries.
    Acknowledge(Vec<EntryId>),
    /// Keep these entries from being claimed by other consumers.
    Renew(Vec<EntryId>),
    /// Claim entries that no consumer has renewed for a lease, from this cursor on.
    Claim(Box<str>),
    /// Trim the stream.
    Trim,
}

/// See the module.
#[derive(Debug)]
pub struct Entries {
    /// In a fleet: how long an entry stays with its consumer without a renewal.
    lease: Option<Duration>,
    trims: bool,
    /// Behind which entry to go on reading what was pending; `None`: all of it has been read.
    pending_behind: Option<EntryId>,
    /// Entries whose events the loop has.
    /// In order, so that what is renewed together does not depend on chance.
    held: BTreeSet<EntryId>,
    /// Entries to acknowledge.
    released: VecDeque<EntryId>,
    /// Entries to renew now.
    renewing: Vec<EntryId>,
    /// Where a claim goes on.
    claiming: Option<Box<str>>,
    renew_at: Mono,
    claim_at: Mono,
    trim_at: Mono,
}

impl Entries {
    /// None yet. `lease`: in a fleet. `trims`: whether the stream is to be trimmed.
    pub fn new(lease: Option<Duration>, trims: bool, now: Mono) -> Self {
        Entries {
            lease,
            trims,
            pending_behind: None,
            held: BTreeSet::new(),
            released: VecDeque::new(),
            renewing: Vec::new(),
            claiming: None,
            renew_at: now,
            claim_at: now,
            trim_at: now,
        }
    }

    /// There is a new connection: what is pending is read first.
    pub fn connected(&mut self) {
        self.pending_behind = Some("0".into());
        self.renewing.clear();
        self.claiming = None;
    }

    /// The next call.
    pub fn next_call(&mut self, now: Mono) -> StreamCall {
        if let Some(upkeep) = self.next_upkeep(now) {
            return upkeep;
        }
        if let Some(behind) = &self.pending_behind {
            return StreamCall::ReadPending(behind.clone());
        }
        if let Some(lease) = self.lease.filter(|_| now >= self.claim_at) {
            self.claim_at = now + lease / 3;
            self.claiming = Some(BEGIN.into());
        }
        if let Some(cursor) = &self.claiming {
            return StreamCall::Claim(cursor.clone());
        }
        if self.trims && now >= self.trim_at {
            self.trim_at = now + TRIM_EVERY;
            return StreamCall::Trim;
        }
        StreamCall::Read
    }

    /// The next call that has to be made although the loop has no room for events.
    pub fn next_upkeep(&mut self, now: Mono) -> Option<StreamCall> {
        if let Some(acknowledge) = self.next_acknowledgement() {
            return Some(acknowledge);
        }
        if let Some(lease) = self.lease.filter(|_| now >= self.renew_at) {
            self.renew_at = now + lease / 3;
            self.renewing = self.held.iter().cloned().collect();
        }
        if self.renewing.is_empty() {
            return None;
        }
        let rest = self.renewing.len().saturating_sub(IDS_MAX);
        Some(StreamCall::Renew(self.renewing.split_off(rest)))
    }

    /// The next entries to acknowledge.
    pub fn next_acknowledgement(&self) -> Option<StreamCall> {
        let ids: Vec<EntryId> = self.released.iter().take(IDS_MAX).cloned().collect();
        (!ids.is_empty()).then_some(StreamCall::Acknowledge(ids))
    }

    /// So many entries were acknowledged, the first ones to be so.
    pub fn acknowledged(&mut self, count: usize) {
        self.released.drain(..count.min(self.released.len()));
    }

    /// Entries that were to be renewed, and that another consumer has by now.
    pub fn lost(&mut self, ids: &[EntryId]) {
        for id in ids {
            self.held.remove(id);
        }
    }

    /// What was pending has been read up to this entry; `None`: there is no more.
    pub fn read_pending(&mut self, last: Option<EntryId>) {
        self.pending_behind = last;
    }

    /// A claim has got to this cursor.
    pub fn claimed(&mut self, cursor: &str) {
        let is_over = cursor.is_empty() || cursor == BEGIN;
        self.claiming = (!is_over).then(|| cursor.into());
    }

    /// Whether an entry that was read is neither held nor to be acknowledged.
    pub fn is_new(&self, id: &str) -> bool {
        !self.held.contains(id) && !self.released.iter().any(|released| &**released == id)
    }

    /// The loop has the event of this entry.
    pub fn hold(&mut self, id: EntryId) {
        self.held.insert(id);
    }

    /// Takes in what became of an entry.
    pub fn settle(&mut self, settled: &Settled) {
        let (_, entry) = settled.stream_and_entry();
        match settled {
            Settled::Acknowledge(_) => self.release(entry.into()),
            Settled::LeavePending(_) => self.leave(entry),
        }
    }

    /// The entry is done with: it is to be acknowledged.
    pub fn release(&mut self, id: EntryId) {
        self.held.remove(&id);
        self.released.push_back(id);
    }

    /// The run of this entry is another instance's: it stays pending, and others may claim it.
    pub fn leave(&mut self, id: &str) {
        self.held.remove(id);
    }

    /// When a renewal or a claim is due.
    pub fn next_deadline(&self) -> Mono {
        self.renew_at.min(self.claim_at)
    }

    /// How many entries are held.
    #[cfg(feature = "internals")]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// How many entries are to be acknowledged.
    #[cfg(feature = "internals")]
    pub fn released(&self) -> usize {
        self.released.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Mono {
        Mono::from_ns(seconds * 1_000_000_000)
    }

    fn id(n: u64) -> EntryId {
        format!("{n}-0").into()
    }

    fn acknowledge(ids: &[u64]) -> StreamCall {
        StreamCall::Acknowledge(ids.iter().copied().map(id).collect())
    }

    #[test]
    fn a_new_connection_reads_what_is_pending_then_claims_trims_and_reads() {
        let mut entries = Entries::new(Some(LEASE), true, at(0));
        entries.connected();
        assert_eq!(
            entries.next_call(at(1)),
            StreamCall::ReadPending("0".into())
        );
        entries.read_pending(Some(id(7)));
        assert_eq!(entries.next_call(at(1)), StreamCall::ReadPending(id(7)));
        entries.read_pending(None);
        assert_eq!(entries.next_call(at(1)), StreamCall::Claim("0-0".into()));
        entries.claimed("9-0");
        assert_eq!(entries.next_call(at(1)), StreamCall::Claim("9-0".into()));
        entries.claimed("0-0");
        assert_eq!(entries.next_call(at(1)), StreamCall::Trim);
        assert_eq!(entries.next_call(at(1)), StreamCall::Read);
        assert_eq!(entries.next_call(at(2)), StreamCall::Read);
        assert_eq!(entries.next_call(at(6)), StreamCall::Trim);
        assert_eq!(entries.next_call(at(11)), StreamCall::Claim("0-0".into()));
    }

    #[test]
    fn without_a_fleet_nothing_is_renewed_or_claimed() {
        let mut entries = Entries::new(None, false, at(0));
        entries.hold(id(1));
        assert_eq!(entries.next_call(at(1000)), StreamCall::Read);
    }

    #[test]
    fn what_is_held_is_renewed_and_what_another_consumer_has_is_forgotten() {
        let mut entries = Entries::new(Some(LEASE), false, at(0));
        assert_eq!(entries.next_upkeep(at(0)), None);
        for n in [1, 2] {
            entries.hold(id(n));
        }
        assert_eq!(entries.next_upkeep(at(9)), None);
        let Some(StreamCall::Renew(mut ids)) = entries.next_upkeep(at(10)) else {
            panic!("a renewal is due")
        };
        ids.sort_unstable();
        assert_eq!(ids, [id(1), id(2)]);
        assert_eq!(entries.next_upkeep(at(10)), None);
        entries.lost(&[id(2)]);
        assert!(!entries.is_new(&id(1)));
        assert!(entries.is_new(&id(2)));
    }

    #[test]
    fn what_is_released_is_acknowledged_until_redis_says_so() {
        let mut entries = Entries::new(None, false, at(0));
        for n in [1, 2, 3] {
            entries.hold(id(n));
        }
        entries.release(id(1));
        entries.release(id(2));
        entries.leave(&id(3));
        assert_eq!(entries.next_call(at(0)), acknowledge(&[1, 2]));
        // The connection is lost before the answer.
        entries.connected();
        assert_eq!(entries.next_call(at(0)), acknowledge(&[1, 2]));
        assert!(!entries.is_new(&id(2)), "it is not read once more");
        assert!(
            entries.is_new(&id(3)),
            "an entry that was left may come again"
        );
        entries.acknowledged(2);
        assert_eq!((entries.held(), entries.released()), (0, 0));
    }

    #[test]
    fn a_call_has_a_bounded_number_of_ids() {
        let mut entries = Entries::new(Some(LEASE), false, at(0));
        for n in 0..1200 {
            entries.hold(id(n));
        }
        let mut renewed = Vec::new();
        while let Some(StreamCall::Renew(ids)) = entries.next_upkeep(at(0)) {
            renewed.push(ids.len());
        }
        assert_eq!(renewed, [500, 500, 200]);
        for n in 0..1200 {
            entries.release(id(n));
        }
        let mut acknowledged = Vec::new();
        while let Some(StreamCall::Acknowledge(ids)) = entries.next_acknowledgement() {
            entries.acknowledged(ids.len());
            acknowledged.push(ids.len());
        }
        assert_eq!(acknowledged, [500, 500, 200]);
    }
}
