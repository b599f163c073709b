//! The fleet's protocol and its calls on one thread.

use super::call::{FleetCall, FleetCommand};
use super::redis::Caller;
use super::{CommitFailure, Fleet, FleetNotice, Next, Protocol, UnreadRuns};
use crate::core::Committed;
use crate::core::time::{Mono, Now};
use crate::core::workflow::record;
use crate::core::{Change, Stored};
use crate::os::clock;
use crate::redis_client;
use crate::store::{Store, StoreError, View};

/// See the module.
#[derive(Debug)]
pub struct RedisStore {
    protocol: Protocol,
    caller: Caller,
    instance: String,
}

impl RedisStore {
    /// A store that is not connected yet.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub fn new(fleet: &Fleet) -> Result<Self, StoreError> {
        let caller = Caller::new(fleet).map_err(|e| StoreError::new(redis_client::told(&e)))?;
        Ok(RedisStore {
            protocol: Protocol::new(fleet.protocol(record::VERSION), clock::now()),
            caller,
            instance: fleet.instance.clone(),
        })
    }

    fn log(&self, notice: &FleetNotice) {
        match notice {
            FleetNotice::Lapsed => log::warn!("{}", self.error(CommitFailure::Lapsed)),
            FleetNotice::Unread(UnreadRuns { owner, runs }) => log::warn!(
                "{runs} workflows that {owner} had were stored by a later farspan; they wait for an instance that can read them"
            ),
        }
    }

    fn error(&self, failure: CommitFailure) -> StoreError {
        let (place, instance) = (self.caller.place(), &self.instance);
        match failure {
            CommitFailure::Call(error) => StoreError::new(error.words),
            CommitFailure::Lapsed => StoreError::new(format_args!(
                "Redis at {place}: the lease has lapsed; the workflows that no other instance has claimed are written again"
            )),
            CommitFailure::NameTaken => StoreError::new(format_args!(
                "Redis at {place}: another farspan runs as {instance}; give each its own FARSPAN_INSTANCE"
            )),
        }
    }
}

impl Store for RedisStore {
    fn load(&mut self) -> Result<Stored, StoreError> {
        // The first commit connects, registers and takes over. This only hears whether Redis refuses us.
        let connect = FleetCall {
            connection: 0,
            command: FleetCommand::Connect,
        };
        match self.caller.make(&connect) {
            Err(error) if error.is_final => Err(StoreError::new(error.words)),
            _ => Ok(Stored::default()),
        }
    }

    fn commit(&mut self, changes: &[Change], view: &View<'_>) -> Result<Committed, StoreError> {
        self.protocol.begin_commit(changes.into());
        loop {
            let next = self.protocol.next(view, clock::now());
            while let Some(notice) = self.protocol.next_notice() {
                self.log(&notice);
            }
            match next {
                Next::Call(call) => {
                    let answer = self.caller.make(&call);
                    self.protocol.take_answer(answer, clock::now());
                }
                Next::Done(result) => return result.map_err(|failure| self.error(failure)),
                Next::Nothing => return Ok(Committed::default()),
            }
        }
    }

    fn next_deadline(&self) -> Option<Mono> {
        Some(self.protocol.next_deadline())
    }

    fn may_export(&self, now: Now) -> bool {
        self.protocol.may_export(now)
    }

    fn leave(&mut self) {
        if let Some(call) = self.protocol.leave()
            && let Err(error) = self.caller.make(&call)
        {
            log::debug!("the lease runs out by itself: {}", error.words);
        }
    }
}
