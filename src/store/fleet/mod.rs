//! The store of a fleet: Redis, shared by all instances.
//!
//! ```text
//! farspan:{<namespace>/<service>}:instance:<name>   <token>/<connection number>, PX = lease
//!                                :run:<run>         o = owner, w = record, s:<sequence>[:<monitor>] = spans,
//!                                                   l:<sequence>[:<monitor>] = log records,
//!                                                   n:<sequence>:<monitor> = its finished event
//!                                :done:<run>        EX = 7 days, or a longer    a finished run
//!                                                   lookback
//!                                :runs:<owner>      the runs of an owner         for takeovers
//!                                :owners            all owners                   for takeovers
//!                                :refused           what was refused for good    for `farspan refused`
//!                                :share:<owner>     PX = lease                   how many of an expired owner's runs
//!                                                                                one instance claims
//! ```
//!
//! Namespace and service are percent-encoded. An owner is `<name>/<token>`: one incarnation of an instance. A run
//! belongs to one owner, and the commit is the claim: a run of another owner is refused, also when that owner's lease
//! has expired. The runs of an owner whose instance does not hold its token any more can be claimed. Every commit,
//! renewal and claim is one script, so nothing comes between its check and its writes. Each script names the connection
//! that sends it, so a script that an earlier connection delivers late changes nothing. `docs/design/fleet.md` has the
//! reasoning.
//!
//! `protocol.rs` decides (pure), `redis.rs` makes the calls, the `.lua` files are the scripts.

mod call;
mod protocol;
#[cfg(feature = "redis")]
mod redis;
mod runs;
#[cfg(feature = "redis")]
mod store;
mod takeover;
#[cfg(feature = "redis")]
#[cfg(test)]
mod tests;

#[cfg(feature = "internals")]
pub use call::{
    CLAIM_BEGIN, CallError, ClaimCall, Claimed, ExpiredOwner, FleetCall, FleetCommand, FleetReply,
    Owner, RunField, RunWrite, StoredRun, WriteMode, WriteVerdict,
};
pub use protocol::{CommitFailure, FleetNotice, Next, Protocol, ProtocolSettings};
#[cfg(feature = "redis")]
pub use store::RedisStore;
#[cfg(all(test, feature = "redis"))]
use takeover::CLAIM_AGAIN_AFTER;
pub use takeover::{ClaimLimits, UnreadRuns};

use crate::core::limits;
use crate::syntax::text::segment;
use std::time::Duration;

/// Runs in one call.
const RUNS_PER_CALL: usize = 256;
/// Bytes in one call, about.
const BYTES_PER_CALL: usize = 1024 * 1024;
/// Runs that one claim looks at, and one commit.
const CLAIMS: ClaimLimits = ClaimLimits {
    per_call: 64,
    per_commit: 1024,
};

/// Which fleet, and which instance of it.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// The Redis URL with its password.
    pub url: String,
    /// `service.namespace`.
    pub namespace: Option<String>,
    /// `service.name`. Instances with the same namespace and name share their work.
    pub service: String,
    /// The name of this instance, different from all others'.
    pub instance: String,
    /// How long an incarnation stays valid without a renewal.
    pub lease: Duration,
    /// How long after its start a discovery may still list a run. Redis remembers for so long at least that it is done.
    pub listed_for: Duration,
}

impl Fleet {
    /// What the protocol has to know, where a record of this version can be read.
    pub fn protocol(&self, version: u8) -> ProtocolSettings {
        ProtocolSettings {
            lease: self.lease,
            done_kept: self.done_kept(),
            version,
            runs_per_call: RUNS_PER_CALL,
            bytes_per_call: BYTES_PER_CALL,
            claims: CLAIMS,
        }
    }

    /// How the keys of this fleet begin. They have one hash tag, so that a cluster keeps all keys in one place. A slash and a
    /// brace in a name are encoded: no two fleets have one key.
    pub fn prefix(&self) -> String {
        let service = segment(&self.service);
        let tag = match &self.namespace {
            Some(namespace) => format!("{}/{service}", segment(namespace)),
            None => service,
        };
        format!("farspan:{{{tag}}}:")
    }

    /// How long Redis remembers that a run is done: longer than an instance is frozen or cut off that then comes back
    /// with the run.
    fn done_kept(&self) -> Duration {
        self.listed_for.max(limits::FINISHED_KEPT)
    }
}
