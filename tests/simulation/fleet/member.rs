//! An instance's side of the fleet: the protocol of `src/store/fleet`, over the wire to the model of Redis.

use super::redis::{Owner, Sender};
use super::scenario::FleetScenario;
use farspan::core::time::Now;
use farspan::store::fleet::{ClaimLimits, FleetCall, Protocol, ProtocolSettings};

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

    pub fn sender(&self, call: &FleetCall) -> Sender {
        Sender {
            owner: self.owner,
            connection: call.connection,
            lease: self.lease,
        }
    }
}
