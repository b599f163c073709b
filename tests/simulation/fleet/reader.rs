//! An instance's side of the stream: the bookkeeping of `src/intake/entries.rs`, over the wire to the model of Redis.

use super::wire::{NoAnswer, Wire};
use farspan::core::event::StartEvent;
use farspan::core::time::Mono;
use farspan::intake::entries::{Entries, EntryId, StreamCall};
use std::collections::VecDeque;
use std::time::Duration;

pub struct Reader {
    pub entries: Entries,
    consumer: usize,
    lease: Duration,
    is_connected: bool,
    again_at: Mono,
}

/// Entries in one read: few, so that the fleet shares a burst.
const COUNT: usize = 8;

impl Reader {
    pub fn new(consumer: usize, lease: Duration, now: Mono) -> Self {
        Reader {
            entries: Entries::new(Some(lease), false, now),
            consumer,
            lease,
            is_connected: false,
            again_at: now,
        }
    }

    pub fn next_deadline(&self) -> Mono {
        if self.is_connected {
            self.entries.next_deadline()
        } else {
            self.again_at
        }
    }

    /// Makes calls until there is a read.
    pub fn work(&mut self, wire: &mut Wire<'_>, now: Mono, to: &mut VecDeque<StartEvent>) {
        if !self.is_connected && now < self.again_at {
            return;
        }
        if self.try_work(wire, now, to).is_err() {
            self.is_connected = false;
            self.again_at = now + Duration::from_secs(1);
        }
    }

    fn try_work(
        &mut self,
        wire: &mut Wire<'_>,
        now: Mono,
        to: &mut VecDeque<StartEvent>,
    ) -> Result<(), NoAnswer> {
        if !self.is_connected {
            wire.call(|redis, _| redis.stream.make_group())?;
            self.is_connected = true;
            self.entries.connected();
        }
        loop {
            let call = self.entries.next_call(now);
            let is_read = call == StreamCall::Read;
            self.make(call, wire, to)?;
            if is_read {
                return Ok(());
            }
        }
    }

    fn make(
        &mut self,
        call: StreamCall,
        wire: &mut Wire<'_>,
        to: &mut VecDeque<StartEvent>,
    ) -> Result<(), NoAnswer> {
        let consumer = self.consumer;
        match call {
            StreamCall::ReadPending(_) => {
                let pending = wire.call(|redis, _| redis.stream.read_pending(consumer))?;
                self.take(pending, to);
                self.entries.read_pending(None);
            }
            StreamCall::Read => {
                let entries = wire.call(|redis, at| redis.stream.read(consumer, at, COUNT))?;
                self.take(entries.ok_or(NoAnswer)?, to);
            }
            StreamCall::Acknowledge(ids) => {
                let numbers: Vec<u64> = ids.iter().map(|id| number(id)).collect();
                wire.call(|redis, _| redis.stream.acknowledge(&numbers))?;
                self.entries.acknowledged(ids.len());
            }
            StreamCall::Renew(ids) => {
                let numbers = ids.iter().map(|id| number(id)).collect();
                let lost = wire.call(|redis, at| redis.stream.renew(consumer, &numbers, at))?;
                let lost: Vec<EntryId> = lost.into_iter().map(id).collect();
                self.entries.lost(&lost);
            }
            StreamCall::Claim(_) => {
                let idle_min = self.lease.as_nanos() as u64;
                let claimed = wire.call(|redis, at| redis.stream.claim(consumer, idle_min, at))?;
                self.take(claimed.ok_or(NoAnswer)?, to);
                self.entries.claimed("0-0");
            }
            StreamCall::Trim => panic!("nothing is to be trimmed"),
        }
        Ok(())
    }

    fn take(&mut self, entries: Vec<(u64, StartEvent)>, to: &mut VecDeque<StartEvent>) {
        for (number, mut event) in entries {
            let id = id(number);
            if self.entries.is_new(&id) {
                event.source = Some(id.clone());
                to.push_back(event);
                self.entries.hold(id);
            }
        }
    }

    /// At the stop.
    pub fn acknowledge(&mut self, wire: &mut Wire<'_>) -> Result<(), NoAnswer> {
        while let Some(acknowledge) = self.entries.next_acknowledgement() {
            self.make(acknowledge, wire, &mut VecDeque::new())?;
        }
        Ok(())
    }
}

fn id(number: u64) -> EntryId {
    number.to_string().into()
}

fn number(id: &str) -> u64 {
    id.parse().expect("an entry's id")
}
