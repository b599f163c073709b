//! The protocol of one incarnation with the fleet's Redis: which call is next, and what an answer means.
//!
//! ```text
//! commit begins ──▶ Connect ──▶ Register ──▶ OwnRuns, Read ──▶ rewrite ──────────┐
//!        │        (if there is no                       (Commit calls with       │
//!        │         connection)                           everything)             ▼
//!        └─ everything owned is written: Commit calls with the changes ─▶ takeover, if due ──▶ done
//! ```
//!
//! One call is under way at a time. If Redis answers that our lease has expired, the commit begins once more with
//! `Register`; if that happens a second time, it fails. After a commit that failed, everything that is owned is written
//! again, because what Redis has is not known: this is the *rewrite*.
//!
//! Pure: no clock, no I/O, no log. In scope: lease, connection numbers, owned runs, rewrite, takeover, fencing. Out of
//! scope: how a call is made (`redis.rs`), when a commit begins (the loop).

use super::call::{
    CallError, FleetCall, FleetCommand, FleetReply, RunWrite, StoredRun, WriteMode, WriteVerdict,
};
use super::runs::{ChangedRuns, by_run, restore_into, sets_something, write_of};
use super::takeover::{ClaimLimits, Round, Share, Takeover, UnreadRuns};
use crate::core::Committed;
use crate::core::ids::RunKey;
use crate::core::time::{Mono, Now};
use crate::core::{Change, Refusal};
use crate::store::View;
use std::collections::{HashSet, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

/// What the protocol has to know.
#[derive(Clone, Debug)]
pub struct ProtocolSettings {
    /// How long an incarnation stays valid without a renewal.
    pub lease: Duration,
    /// How long Redis remembers that a run is done.
    pub done_kept: Duration,
    /// The latest version of a record that we can read.
    pub version: u8,
    /// Runs in one call at most.
    pub runs_per_call: usize,
    /// Bytes in one call, about.
    pub bytes_per_call: usize,
    /// How much is claimed at once.
    pub claims: ClaimLimits,
}

/// What is to be done next.
#[derive(Debug)]
pub enum Next {
    /// Make this call, and give its answer to [`Protocol::take_answer`].
    Call(FleetCall),
    /// The commit has ended.
    Done(Result<Committed, CommitFailure>),
    /// No commit is under way, or a call is.
    Nothing,
}

/// Why a commit failed. It may be tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitFailure {
    /// A call has no answer.
    Call(CallError),
    /// The lease has expired, or Redis has lost one of our runs, twice within one commit.
    Lapsed,
    /// Another living process has our instance's name.
    NameTaken,
}

/// Something worth a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FleetNotice {
    /// The lease has lapsed; what is owned is written again.
    Lapsed,
    /// An expired owner has runs that only a later version can read.
    Unread(UnreadRuns),
}

/// See the module.
#[derive(Debug)]
pub struct Protocol {
    settings: ProtocolSettings,
    is_connected: bool,
    /// The number of the last connection.
    connection: u64,
    /// Until this incarnation has registered once, it replaces another one of its name.
    has_registered: bool,
    /// Whether everything that is owned has been written since the last failure.
    is_complete: bool,
    /// Runs that are ours, or may be: a call that would make them ours got no answer.
    owned: HashSet<RunKey>,
    /// When we sent the last call that renewed the lease.
    renewed: Option<Now>,
    /// When we sent the last call that renewed the lease while everything that we own was stored.
    last_complete: Option<Now>,
    /// Runs that were refused. The next commit that succeeds reports them.
    refused: Vec<(RunKey, Refusal)>,
    takeover: Takeover,
    commit: Option<FleetCommit>,
    notices: VecDeque<FleetNotice>,
}

#[derive(Debug)]
struct FleetCommit {
    changes: Arc<[Change]>,
    step: CommitStep,
    sent: Option<CallSent>,
    committed: Committed,
    /// Runs claimed so far.
    claimed: Vec<RunKey>,
    has_lapsed: bool,
}

#[derive(Debug)]
enum CommitStep {
    Begin,
    Register,
    OwnRuns,
    Read(Vec<RunKey>),
    BeginRewrite,
    Write(Writing),
    TakeOver(Round),
    Done,
    Failed(CommitFailure),
}

/// The call under way.
#[derive(Debug)]
struct CallSent {
    at: Now,
    /// What it claims.
    share: Option<Share>,
}

/// What is left to write, in the order of the runs.
#[derive(Debug)]
struct Writing {
    runs: ChangedRuns,
    mode_of_owned: WriteMode,
    mode_of_others: WriteMode,
}

impl Protocol {
    /// For a new incarnation, which has no connection yet.
    pub fn new(settings: ProtocolSettings, now: Now) -> Self {
        Protocol {
            takeover: Takeover::new(settings.claims, settings.version, now.mono),
            settings,
            is_connected: false,
            connection: 0,
            has_registered: false,
            is_complete: false,
            owned: HashSet::new(),
            renewed: None,
            last_complete: None,
            refused: Vec::new(),
            commit: None,
            notices: VecDeque::new(),
        }
    }

    /// Begins a commit. Without changes it does what is due: renewing the lease, and takeovers.
    pub fn begin_commit(&mut self, changes: Arc<[Change]>) {
        debug_assert!(self.commit.is_none(), "one commit at a time");
        self.commit = Some(FleetCommit {
            changes,
            step: CommitStep::Begin,
            sent: None,
            committed: Committed::default(),
            claimed: Vec::new(),
            has_lapsed: false,
        });
    }

    /// What is to be done next.
    pub fn next(&mut self, view: &View<'_>, now: Now) -> Next {
        let Some(mut commit) = self.commit.take() else {
            return Next::Nothing;
        };
        let next = if commit.sent.is_some() {
            Next::Nothing
        } else {
            self.advance(&mut commit, view, now)
        };
        if !matches!(next, Next::Done(_)) {
            self.commit = Some(commit);
        }
        next
    }

    /// Takes the answer to the call under way.
    pub fn take_answer(&mut self, answer: Result<FleetReply, CallError>, now: Now) {
        let Some(mut commit) = self.commit.take() else {
            return;
        };
        if let Some(sent) = commit.sent.take() {
            let taken = match answer {
                Ok(FleetReply::Lapsed) => Err(CommitFailure::Lapsed),
                Ok(reply) => self.take_reply(&mut commit, sent, reply, now),
                Err(error) => Err(CommitFailure::Call(error)),
            };
            if let Err(failure) = taken {
                self.fail(&mut commit, failure);
            }
        }
        self.commit = Some(commit);
    }

    /// When a commit is due although nothing has changed.
    pub fn next_deadline(&self) -> Mono {
        self.takeover.due()
    }

    /// Whether what is stored is certainly still ours: the lease is fresh, and everything owned is stored.
    pub fn may_export(&self, now: Now) -> bool {
        let margin = self.settings.lease / 10;
        let is_fresh = |renewed| silence(renewed, now) + margin < self.settings.lease;
        self.is_complete && self.renewed.is_some_and(is_fresh)
    }

    /// The call that ends the lease at a stop, if there is a connection to send it over.
    pub fn leave(&self) -> Option<FleetCall> {
        self.is_connected.then(|| self.call(FleetCommand::EndLease))
    }

    /// The next thing for the log.
    pub fn next_notice(&mut self) -> Option<FleetNotice> {
        self.notices.pop_front()
    }

    /// How many runs we own.
    #[cfg(feature = "internals")]
    pub fn owned(&self) -> usize {
        self.owned.len()
    }

    /// Whether everything that is owned has been written since the last failure.
    #[cfg(feature = "internals")]
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    fn advance(&mut self, commit: &mut FleetCommit, view: &View<'_>, now: Now) -> Next {
        loop {
            match &mut commit.step {
                CommitStep::Begin if !self.is_connected => {
                    self.connection += 1;
                    return self.send(commit, FleetCommand::Connect, now);
                }
                CommitStep::Begin => {
                    commit.step = if self.is_complete {
                        CommitStep::Write(self.changed(&commit.changes))
                    } else {
                        CommitStep::Register
                    };
                }
                CommitStep::Register => {
                    self.takeover.begin_again();
                    let replaces = !self.has_registered;
                    return self.send(commit, FleetCommand::Register { replaces }, now);
                }
                CommitStep::BeginRewrite => {
                    let claimed = &commit.claimed;
                    let writing = self.rewrite(&commit.changes, claimed, view, now);
                    commit.step = CommitStep::Write(writing);
                }
                CommitStep::Write(writing) => {
                    let writes = self.next_writes(writing);
                    if writes.is_empty() {
                        commit.step = self.after_write(now);
                        continue;
                    }
                    // Without an answer they may be ours too.
                    self.owned.extend(writes.iter().map(|write| write.run));
                    return self.send(commit, FleetCommand::Commit(writes), now);
                }
                CommitStep::OwnRuns => return self.send(commit, FleetCommand::OwnRuns, now),
                CommitStep::Read(runs) => {
                    let count = runs.len().min(self.settings.runs_per_call);
                    let some: Vec<RunKey> = runs.drain(..count).collect();
                    if some.is_empty() {
                        commit.step = CommitStep::BeginRewrite;
                        continue;
                    }
                    return self.send(commit, FleetCommand::Read(some), now);
                }
                CommitStep::TakeOver(round) => {
                    let room = view.room.saturating_sub(commit.claimed.len());
                    let Some((command, share)) = self.takeover.next(round, room) else {
                        self.takeover.end(room, self.settings.lease, now.mono);
                        commit.step = CommitStep::Done;
                        continue;
                    };
                    let next = self.send(commit, command, now);
                    if let Some(sent) = &mut commit.sent {
                        sent.share = share;
                    }
                    return next;
                }
                CommitStep::Done => {
                    let mut committed = mem::take(&mut commit.committed);
                    committed.refused = mem::take(&mut self.refused);
                    return Next::Done(Ok(committed));
                }
                CommitStep::Failed(failure) => return Next::Done(Err(failure.clone())),
            }
        }
    }

    fn call(&self, command: FleetCommand) -> FleetCall {
        FleetCall {
            connection: self.connection,
            command,
        }
    }

    fn send(&self, commit: &mut FleetCommit, command: FleetCommand, at: Now) -> Next {
        commit.sent = Some(CallSent { at, share: None });
        Next::Call(self.call(command))
    }

    /// What the changes make of the runs that are not refused.
    fn changed(&self, changes: &[Change]) -> Writing {
        let mut runs = by_run(changes);
        self.leave_out_refused(&mut runs);
        Writing {
            runs,
            mode_of_owned: WriteMode::Owned,
            mode_of_others: WriteMode::New,
        }
    }

    /// Everything that is owned, to be written in place of whatever Redis has. Redis may have been restarted from an old
    /// copy or from none, and other instances may have taken runs of ours.
    ///
    /// `claimed`: runs that an earlier claim took although its answer was lost. The core may have begun such a run since.
    /// What is stored of it counts: the core is refused its own, and goes on with that.
    fn rewrite(
        &mut self,
        changes: &[Change],
        claimed: &[RunKey],
        view: &View<'_>,
        now: Now,
    ) -> Writing {
        let mut runs = by_run(&(view.everything)());
        for run in by_run(changes).into_keys() {
            // A run of which nothing is left has been delivered.
            if self.owned.contains(&run) {
                runs.entry(run).or_default();
            }
        }
        self.leave_out_refused(&mut runs);
        for run in claimed {
            if runs.remove(run).is_some_and(|it| sets_something(&it)) {
                self.refused.push((*run, Refusal::Elsewhere));
            }
        }
        let silent = self.last_complete.map(|since| silence(since, now));
        let is_late = silent.is_some_and(|silent| silent >= self.settings.done_kept);
        Writing {
            runs,
            mode_of_owned: if is_late {
                WriteMode::LateRewrite
            } else {
                WriteMode::Rewrite
            },
            mode_of_others: WriteMode::Rewrite,
        }
    }

    fn leave_out_refused(&self, runs: &mut ChangedRuns) {
        for (run, _) in &self.refused {
            runs.remove(run);
        }
    }

    /// The next runs to write, as many as one call may hold.
    fn next_writes(&self, writing: &mut Writing) -> Vec<RunWrite> {
        let (mut writes, mut bytes) = (Vec::new(), 0);
        while writes.len() < self.settings.runs_per_call
            && bytes < self.settings.bytes_per_call
            && let Some((run, fields)) = writing.runs.pop_first()
        {
            let is_owned = self.owned.contains(&run);
            // Changes that set nothing in a run of another owner are changes to a run that was refused.
            if !is_owned && !sets_something(&fields) && !writing.is_rewrite() {
                continue;
            }
            let mode = if is_owned {
                writing.mode_of_owned
            } else {
                writing.mode_of_others
            };
            let (write, size) = write_of(run, mode, fields);
            bytes += size;
            writes.push(write);
        }
        writes
    }

    fn after_write(&mut self, now: Now) -> CommitStep {
        if !self.is_complete {
            self.is_complete = true;
            self.last_complete = self.renewed;
        }
        if now.mono >= self.takeover.due() {
            CommitStep::TakeOver(Round::default())
        } else {
            CommitStep::Done
        }
    }

    fn take_reply(
        &mut self,
        commit: &mut FleetCommit,
        sent: CallSent,
        reply: FleetReply,
        now: Now,
    ) -> Result<(), CommitFailure> {
        match (reply, &mut commit.step) {
            (FleetReply::Connected, _) => {
                self.is_connected = true;
                self.is_complete = false;
            }
            (FleetReply::Registered(false), _) => return Err(CommitFailure::NameTaken),
            (FleetReply::Registered(true), _) => {
                self.has_registered = true;
                self.renew(sent.at);
                commit.step = CommitStep::OwnRuns;
            }
            (FleetReply::Committed(verdicts), _) => {
                self.renew(sent.at);
                self.take_verdicts(verdicts)?;
            }
            (FleetReply::OwnRuns(mut runs), _) => {
                // Claimed by a call whose answer was lost.
                runs.retain(|run| !self.owned.contains(run));
                commit.step = CommitStep::Read(runs);
            }
            (FleetReply::Runs(runs), _) => self.adopt(commit, runs, now),
            (FleetReply::Expired(expired), _) => {
                self.renew(sent.at);
                self.takeover.found(expired);
            }
            (FleetReply::Claimed(claimed), CommitStep::TakeOver(round)) => {
                self.renew(sent.at);
                if let Some(share) = sent.share
                    && let Some(unread) = self.takeover.claimed(round, share, &claimed)
                {
                    self.notices.push_back(FleetNotice::Unread(unread));
                }
                self.adopt(commit, claimed.runs, now);
            }
            (FleetReply::Claimed(_) | FleetReply::LeaseEnded | FleetReply::Lapsed, _) => {}
        }
        Ok(())
    }

    fn renew(&mut self, sent: Now) {
        self.renewed = Some(sent);
        if self.is_complete {
            self.last_complete = self.renewed;
        }
    }

    fn take_verdicts(
        &mut self,
        verdicts: Vec<(RunKey, WriteVerdict)>,
    ) -> Result<(), CommitFailure> {
        for (run, verdict) in verdicts {
            match verdict {
                // An operator has deleted it, or Redis has, for want of memory.
                WriteVerdict::Missing => return Err(CommitFailure::Lapsed),
                WriteVerdict::Refused(why) => {
                    self.owned.remove(&run);
                    self.refused.push((run, why));
                }
                WriteVerdict::Over => {
                    self.owned.remove(&run);
                }
            }
        }
        Ok(())
    }

    fn adopt(&mut self, commit: &mut FleetCommit, runs: Vec<StoredRun>, now: Now) {
        for it in runs {
            self.owned.insert(it.run);
            commit.claimed.push(it.run);
            restore_into(&mut commit.committed.claimed, it, now.wall);
        }
    }

    fn fail(&mut self, commit: &mut FleetCommit, failure: CommitFailure) {
        // The core does not hear of these: they are found again by `OwnRuns`.
        for run in commit.claimed.drain(..) {
            self.owned.remove(&run);
        }
        commit.committed = Committed::default();
        self.is_complete = false;
        self.is_connected &= !matches!(failure, CommitFailure::Call(_));
        if failure == CommitFailure::Lapsed && !commit.has_lapsed {
            self.notices.push_back(FleetNotice::Lapsed);
            commit.has_lapsed = true;
            commit.step = CommitStep::Begin;
        } else {
            commit.step = CommitStep::Failed(failure);
        }
    }
}

impl Writing {
    fn is_rewrite(&self) -> bool {
        self.mode_of_others == WriteMode::Rewrite
    }
}

/// How long ago that was. The wall clock goes on while the machine sleeps; the monotonic clock goes on while the wall clock
/// is set back.
fn silence(since: Now, now: Now) -> Duration {
    let by_wall = now.wall.since(since.wall);
    now.mono.since(since.mono).max(by_wall)
}

#[cfg(test)]
mod tests;
