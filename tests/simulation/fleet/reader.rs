//! An instance's side of the stream: the `Reader` of `src/intake/stream.rs`, step by step.

use super::wire::{NoAnswer, Wire};
use farspan::core::event::StartEvent;
use farspan::core::time::Mono;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

pub struct Reader {
    consumer: usize,
    lease: Duration,
    is_connected: bool,
    again_at: Mono,
    pub held: BTreeSet<u64>,
    pub releases: Vec<u64>,
    renew_at: Mono,
    claim_at: Mono,
}

/// A read's most entries: few, so that the fleet shares a burst.
const COUNT: usize = 8;

impl Reader {
    pub fn new(consumer: usize, lease: Duration, now: Mono) -> Self {
        Reader {
            consumer,
            lease,
            is_connected: false,
            again_at: now,
            held: BTreeSet::new(),
            releases: Vec::new(),
            renew_at: now,
            claim_at: now,
        }
    }

    pub fn next_deadline(&self) -> Mono {
        match self.is_connected {
            true => self.renew_at.min(self.claim_at),
            false => self.again_at,
        }
    }

    pub fn release(&mut self, source: &str) {
        let id = number(source);
        self.held.remove(&id);
        self.releases.push(id);
    }

    pub fn leave(&mut self, source: &str) {
        self.held.remove(&number(source));
    }

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
        let consumer = self.consumer;
        if !self.is_connected {
            wire.call(|redis, _| redis.stream.make_group())?;
            self.is_connected = true;
            let pending = wire.call(|redis, _| redis.stream.read_pending(consumer))?;
            self.take(pending, to);
        }
        self.acknowledge(wire)?;
        if now >= self.renew_at {
            self.renew_at = now + self.lease / 3;
            let held = &self.held;
            let lost = wire.call(|redis, at| redis.stream.renew(consumer, held, at))?;
            for id in lost {
                self.held.remove(&id);
            }
        }
        if now >= self.claim_at {
            self.claim_at = now + self.lease / 2;
            let idle_min = self.lease.as_nanos() as u64;
            let claimed = wire.call(|redis, at| redis.stream.claim(consumer, idle_min, at))?;
            self.take(claimed.ok_or(NoAnswer)?, to);
        }
        let entries = wire.call(|redis, at| redis.stream.read(consumer, at, COUNT))?;
        self.take(entries.ok_or(NoAnswer)?, to);
        Ok(())
    }

    fn take(&mut self, entries: Vec<(u64, StartEvent)>, to: &mut VecDeque<StartEvent>) {
        for (id, mut event) in entries {
            if self.held.contains(&id) || self.releases.contains(&id) {
                continue;
            }
            event.source = Some(id.to_string().into());
            to.push_back(event);
            self.held.insert(id);
        }
    }

    pub fn acknowledge(&mut self, wire: &mut Wire<'_>) -> Result<(), NoAnswer> {
        if !self.releases.is_empty() {
            wire.call(|redis, _| redis.stream.acknowledge(&self.releases))?;
            self.releases.clear();
        }
        Ok(())
    }
}

fn number(source: &str) -> u64 {
    source.parse().expect("an entry's id")
}
