//! Takeover: claiming our share of the runs of owners whose lease has expired. Pure.
//!
//! ```text
//! due ──▶ Look ──▶ Claim, Claim, ... ──▶ nothing left, or no room: due again in a third of the lease
//!                                  └───▶ enough for one commit:    due again in 100 ms, without Look
//! ```

use super::call::{CLAIM_BEGIN, ClaimCall, Claimed, ExpiredOwner, FleetCommand, Owner};
use crate::core::time::Mono;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// How much is claimed at once.
#[derive(Clone, Copy, Debug)]
pub struct ClaimLimits {
    /// About how many runs one call looks at.
    pub per_call: usize,
    /// After how many runs a commit leaves the rest to the next commit.
    pub per_commit: usize,
}

/// If a commit left runs of expired owners unclaimed, the next commit follows after this time.
pub(super) const CLAIM_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What is known of expired owners.
#[derive(Debug)]
pub(super) struct Takeover {
    limits: ClaimLimits,
    /// The latest version of a record that we can read.
    version: u8,
    /// When to look for expired owners, which also renews the lease.
    due: Mono,
    /// What is still to be claimed.
    shares: Vec<Share>,
    /// Expired owners all of whose runs were written by a later version, and how many runs each has.
    unread: HashMap<Owner, usize>,
}

/// Our share of one expired owner's runs.
#[derive(Debug)]
pub(super) struct Share {
    owner: Owner,
    left: usize,
    cursor: Box<str>,
    /// Runs with a record of a later version so far.
    unread: usize,
}

/// How far one commit has got with claiming.
#[derive(Debug, Default)]
pub(super) struct Round {
    has_looked: bool,
    looked_at: usize,
}

/// An expired owner has runs that only a later version of farspan can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadRuns {
    /// The expired owner.
    pub owner: Owner,
    /// How many runs.
    pub runs: usize,
}

impl Takeover {
    pub(super) fn new(limits: ClaimLimits, version: u8, due: Mono) -> Self {
        Takeover {
            limits,
            version,
            due,
            shares: Vec::new(),
            unread: HashMap::new(),
        }
    }

    pub(super) fn due(&self) -> Mono {
        self.due
    }

    /// Forgets what was to be claimed: it is looked for again.
    pub(super) fn begin_again(&mut self) {
        self.shares.clear();
    }

    /// The next command of this round, and the share that a claim is made for. `room`: how many more runs can be watched.
    pub(super) fn next(
        &mut self,
        round: &mut Round,
        room: usize,
    ) -> Option<(FleetCommand, Option<Share>)> {
        if self.shares.is_empty() && !round.has_looked {
            round.has_looked = true;
            return Some((FleetCommand::Look, None));
        }
        round.has_looked = true;
        if round.looked_at >= self.limits.per_commit || room == 0 {
            return None;
        }
        let share = self.shares.pop()?;
        let claim = ClaimCall {
            owner: share.owner.clone(),
            cursor: share.cursor.clone(),
            count: self.limits.per_call,
            room: share.left.min(room),
            version: self.version,
        };
        Some((FleetCommand::Claim(claim), Some(share)))
    }

    pub(super) fn found(&mut self, expired: Vec<ExpiredOwner>) {
        let owners: HashSet<&Owner> = expired.iter().map(|it| &it.owner).collect();
        self.unread.retain(|owner, _| owners.contains(owner));
        for it in expired {
            // Until their number changes, runs that we cannot read are not looked at again.
            if self.unread.get(&it.owner) != Some(&it.runs) {
                self.shares.push(Share {
                    owner: it.owner,
                    left: it.share,
                    cursor: CLAIM_BEGIN.into(),
                    unread: 0,
                });
            }
        }
    }

    /// Notes what a claim took; answers with the runs that we cannot read when that is news.
    pub(super) fn claimed(
        &mut self,
        round: &mut Round,
        mut share: Share,
        claimed: &Claimed,
    ) -> Option<UnreadRuns> {
        let runs = claimed.runs.len();
        round.looked_at += (runs + claimed.unread).max(1);
        share.left -= runs.min(share.left);
        share.unread += claimed.unread;
        share.cursor.clone_from(&claimed.cursor);
        if share.left == 0 {
            return None;
        }
        if &*share.cursor != CLAIM_BEGIN {
            self.shares.push(share);
            return None;
        }
        let Share { owner, unread, .. } = share;
        if unread == 0 || self.unread.insert(owner.clone(), unread) == Some(unread) {
            return None;
        }
        Some(UnreadRuns {
            owner,
            runs: unread,
        })
    }

    /// Ends a round.
    pub(super) fn end(&mut self, room: usize, lease: Duration, now: Mono) {
        if room == 0 {
            self.shares.clear();
        }
        let pause = if self.shares.is_empty() {
            lease / 3
        } else {
            CLAIM_AGAIN_AFTER
        };
        self.due = now + pause;
    }
}
