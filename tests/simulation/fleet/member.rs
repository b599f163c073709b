//! An instance's side of the fleet: the protocol of `src/store/fleet`, over the wire to the model of Redis.

use super::redis::{Owner, Sender};
use super::scenario::FleetScenario;
use super::wire::Wire;
use farspan::core::Change;
use farspan::core::Committed;
use farspan::core::time::Now;
use farspan::store::View;
use farspan::store::fleet::{
    ClaimLimits, CommitFailure, FleetCall, FleetReply, Next, Protocol, ProtocolSettings,
};
use std::sync::Arc;

pub struct Member {
    pub owner: Owner,
    pub protocol: Protocol,
    lease: u64,
    /// How often everything was written.
    pub rewrites: u64,
}

impl Member {
    pub fn new(owner: Owner, scenario: &FleetScenario, now: Now) -> Self {
        let settings = ProtocolSettings {
            lease: scenario.lease,
            done_kept: super::instance::DONE_KEPT,
            version: u8::MAX,
            runs_per_call: scenario.runs_max,
            bytes_per_call: usize::MAX,
            claims: ClaimLimits {
                per_call: scenario.runs_max,
                per_commit: 4 * scenario.runs_max,
            },
        };
        Member {
            owner,
            protocol: Protocol::new(settings, now),
            lease: scenario.lease.as_nanos() as u64,
            rewrites: 0,
        }
    }

    /// A commit, every call of which is answered at once.
    pub fn commit(
        &mut self,
        changes: Arc<[Change]>,
        view: &View<'_>,
        wire: &mut Wire<'_>,
        now: Now,
    ) -> Result<Committed, CommitFailure> {
        self.protocol.begin_commit(changes);
        loop {
            match self.protocol.next(view, now) {
                Next::Call(call) => {
                    let answer = wire.make(self.sender(&call), &call.command);
                    self.rewrites += u64::from(answer == Ok(FleetReply::Registered(true)));
                    self.protocol.take_answer(answer, now);
                }
                Next::Done(result) => return result,
                Next::Nothing => panic!("a commit is under way"),
            }
        }
    }

    pub fn leave(&mut self, wire: &mut Wire<'_>) {
        // Cut off, the lease ends by itself.
        if let Some(call) = self.protocol.leave() {
            let _ = wire.make(self.sender(&call), &call.command);
        }
    }

    fn sender(&self, call: &FleetCall) -> Sender {
        Sender {
            owner: self.owner,
            link: call.connection,
            lease: self.lease,
        }
    }
}
