//! The fleet's store: the protocol on the loop's side, its calls on the thread of the store.

use super::call::{CallError, FleetCall, FleetCommand, FleetReply};
use super::redis::Caller;
use super::{CommitFailure, Fleet, FleetNotice, Next, Protocol, UnreadRuns};
use crate::core::Committed;
use crate::core::time::{Mono, Now};
use crate::core::workflow::record;
use crate::core::{Change, Stored};
use crate::os::clock;
use crate::redis_client;
use crate::store::thread::StoreThread;
use crate::store::{PATIENCE_MAX, Store, StoreError, View};
use crossbeam_channel::Receiver;
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub struct RedisStore {
    protocol: Protocol,
    thread: StoreThread<FleetCall, Result<FleetReply, CallError>>,
    /// Host and port of Redis, for the log.
    place: String,
    instance: String,
    lapses: u64,
}

impl RedisStore {
    /// A store that is not connected yet.
    ///
    /// # Errors
    /// What is wrong with the URL, or that the system gives no more threads.
    pub fn new(fleet: &Fleet) -> Result<Self, StoreError> {
        let caller = Caller::new(fleet);
        let mut caller = caller.map_err(|e| StoreError::new(redis_client::told(&e)))?;
        let place = caller.place().to_owned();
        let thread = StoreThread::start(move |call: FleetCall| caller.make(&call));
        Ok(RedisStore {
            protocol: Protocol::new(fleet.protocol(record::VERSION), clock::now()),
            thread: thread.map_err(StoreError::new)?,
            place,
            instance: fleet.instance.clone(),
            lapses: 0,
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
        let (place, instance) = (&self.place, &self.instance);
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
    /// The first commit connects, registers and takes over. This only hears whether Redis refuses us.
    fn begin_load(&mut self) {
        self.thread.send(FleetCall {
            connection: 0,
            command: FleetCommand::Connect,
        });
    }

    fn loaded(&mut self) -> Option<Result<Stored, StoreError>> {
        Some(match self.thread.answer()? {
            Ok(Err(error)) if error.is_final => Err(StoreError::new(error.words)),
            Err(error) => Err(error),
            Ok(_) => Ok(Stored::default()),
        })
    }

    fn begin_commit(&mut self, changes: Arc<[Change]>) {
        self.protocol.begin_commit(changes);
    }

    fn proceed(&mut self, view: &View<'_>, now: Now) -> Option<Result<Committed, StoreError>> {
        if let Some(answer) = self.thread.answer() {
            let ended = |error: StoreError| CallError {
                words: error.to_string(),
                is_final: false,
            };
            let answer = answer.unwrap_or_else(|error| Err(ended(error)));
            self.protocol.take_answer(answer, now);
        }
        let next = self.protocol.next(view, now);
        while let Some(notice) = self.protocol.next_notice() {
            self.lapses += u64::from(notice == FleetNotice::Lapsed);
            self.log(&notice);
        }
        match next {
            Next::Call(call) => {
                self.thread.send(call);
                None
            }
            Next::Done(result) => Some(result.map_err(|failure| self.error(failure))),
            Next::Nothing => None,
        }
    }

    fn woken(&self) -> Receiver<()> {
        self.thread.woken().clone()
    }

    fn next_deadline(&self) -> Option<Mono> {
        Some(self.protocol.next_deadline())
    }

    fn may_export(&self, now: Now) -> bool {
        self.protocol.may_export(now)
    }

    fn lapses(&self) -> Option<u64> {
        Some(self.lapses)
    }

    fn leave(&mut self) {
        let Some(call) = self.protocol.leave().filter(|_| !self.thread.is_busy()) else {
            return;
        };
        self.thread.send(call);
        // An earlier message may wake this.
        let woken = self.thread.woken().clone();
        let mut answer = None;
        for _ in 0..2 {
            if answer.is_none() && woken.recv_timeout(PATIENCE_MAX).is_ok() {
                answer = self.thread.answer();
            }
        }
        if !matches!(answer, Some(Ok(Ok(_)))) {
            log::debug!("the lease runs out by itself: {answer:?}");
        }
    }
}
