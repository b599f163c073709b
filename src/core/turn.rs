//! The turn: when changes are committed, and what may leave after which commit.
//!
//! ```text
//! changes ──gather──▶ unstored ──Step::Commit──▶ under way ──committed──▶ stored
//! outgoing ──hold───▶ waits until the changes before it are stored ──Step::Send──▶ leaves
//! ```
//!
//! **Persist, then export, then acknowledge, then delete.** Each outgoing remembers how many changes there were before
//! it, and leaves only when that many are stored. At most one commit is under way. Inputs are handled meanwhile: their
//! changes gather for the next commit, and their outgoing waits for it.
//!
//! Pure: the driver makes the commits and sends what leaves. The loop and both simulations are such drivers:
//!
//! ```text
//! loop {
//!     match turn.next(..) {
//!         Step::Commit(changes)  => begin the commit; when its result is there: turn.committed(result)
//!         Step::Send(outgoing)  => send it
//!         Step::Report(news)     => log it
//!         Step::Wait(until)      => handle the next input, or go on at that time
//!     }
//! }
//! ```

use super::api::{Change, Committed, Input, Outgoing, Poll, PollGroup, Refusal};
use super::give_back::GiveBack;
use super::ids::RunKey;
use super::metrics::CommitCounts;
use super::time::{Mono, Now};
use super::{Core, limits};
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How changes are committed.
#[derive(Clone, Copy, Debug)]
pub struct TurnPolicy {
    /// Whether there is a store. Without one everything leaves at once.
    pub stores: bool,
    /// How long a change waits for others to share its commit, if nothing that leaves depends on it. A commit costs more
    /// than the poll that caused it, and a change that is lost in a crash is observed again by
    /// the next poll.
    pub commit_delay: Duration,
    /// Whether a start event may wait for a shared commit too. True in two cases: the first poll comes so late that the
    /// event is stored by then, or the store is in trouble and nothing is polled.
    pub events_wait: bool,
}

/// What the store says of itself now.
#[derive(Clone, Copy, Debug)]
pub struct StoreTerms {
    /// When it wants a commit although nothing has changed.
    pub due: Option<Mono>,
    /// Whether exports and finished events may leave: false while another instance may own the runs.
    pub may_export: bool,
}

/// What the driver does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Make these changes durable. The commit is under way until [`Turn::committed`] gets its result. It may have no
    /// changes: then the store does what is due.
    Commit(Arc<[Change]>),
    /// Send this.
    Send(Outgoing),
    /// Give these polls to their poller. They were kept by [`Turn::admit_polls`].
    Poll(PollGroup),
    /// Log this.
    Report(StoreNews),
    /// Nothing is to be done before the next input, the result of the commit under way, or this time.
    Wait(Option<Mono>),
}

/// What the log says about the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreNews {
    /// A commit has had no answer for [`limits::COMMIT_PATIENCE`].
    Slow,
    /// A commit failed, for this reason. It is tried again.
    Failed(Box<str>),
    /// It failed again, for this other reason.
    StillFailing(Box<str>),
    /// Commits succeed again.
    Recovered,
}

/// So many changes are kept as they are. Beyond it a record goes when a later one of the same run replaces it, so that a
/// store that takes nothing does not cost memory with every change of a workflow.
const KEPT_WHOLE: usize = 1024;

/// The changes that are not stored yet, and what waits for them.
#[derive(Debug)]
pub struct Turn {
    policy: TurnPolicy,
    /// Changes that no commit has yet, in their order.
    unstored: Vec<Change>,
    /// How many of them were left when records that a later one replaces were last dropped.
    unstored_pruned: usize,
    /// How many changes were gathered so far, and how many of them are stored.
    gathered: u64,
    stored: u64,
    commit: Option<CommitUnderWay>,
    commits: CommitCounts,
    /// When the unstored changes are committed at the latest. Of no meaning while there are none.
    commit_at: Mono,
    /// Whether they are committed at once.
    is_urgent: bool,
    /// Start events among the gathered changes, and among the stored ones.
    events_gathered: u64,
    events_stored: u64,
    /// Each with the number of start events that have to be stored before it is sent.
    polls: VecDeque<(u64, PollGroup)>,
    health: StoreHealth,
    /// Held since the last changes were gathered.
    held: Vec<Outgoing>,
    /// In their order, each with the number of changes that have to be stored before it leaves.
    waiting: VecDeque<(u64, Outgoing)>,
}

#[derive(Debug)]
struct CommitUnderWay {
    changes: Arc<[Change]>,
    begun: Mono,
    /// How many changes are stored when it succeeds, and how many start events.
    stores: u64,
    stores_events: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum StoreHealth {
    Well,
    /// The commit under way has no answer yet.
    Slow,
    Failing {
        again_at: Mono,
        why: Box<str>,
    },
}

impl Turn {
    /// A turn without changes.
    pub fn new(policy: TurnPolicy) -> Self {
        Turn {
            policy,
            unstored: Vec::new(),
            unstored_pruned: 0,
            gathered: 0,
            stored: 0,
            commit: None,
            commits: CommitCounts::default(),
            commit_at: Mono::default(),
            is_urgent: false,
            events_gathered: 0,
            events_stored: 0,
            polls: VecDeque::new(),
            health: StoreHealth::Well,
            held: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Keeps this until all changes that the core has made so far are stored.
    pub fn hold(&mut self, outgoing: Outgoing) {
        self.held.push(outgoing);
    }

    /// Gives polls back if they may be sent at once. Otherwise they are kept until their runs are certainly stored: before
    /// that a run may be another instance's, and nothing outside shows that farspan has its start event.
    pub fn admit_polls(&mut self, core: &Core, polls: PollGroup) -> Option<PollGroup> {
        let accepted = core.counters().events_accepted();
        if !self.policy.stores || self.policy.events_wait || accepted == self.events_stored {
            return Some(polls);
        }
        self.polls.push_back((accepted, polls));
        None
    }

    /// Takes back the polls that are kept, in their order.
    pub fn recall(&mut self) -> Vec<Poll> {
        let groups = std::mem::take(&mut self.polls).into_iter();
        groups.flat_map(|(_, group)| group.polls).collect()
    }

    /// From now on no change waits for others.
    pub fn hurry(&mut self) {
        self.policy.commit_delay = Duration::ZERO;
        self.is_urgent = true;
    }

    /// Takes the core's changes and says what is to be done next. Call it until it says [`Step::Wait`].
    pub fn next(&mut self, core: &mut Core, store: StoreTerms, now: Now) -> Step {
        self.gather(core, now.mono);
        if self.commit.is_none() && self.unstored.is_empty() {
            self.events_stored = self.events_gathered;
        }
        let events_stored = self.events_stored;
        let may_go = |(needed, _): &mut (u64, PollGroup)| *needed <= events_stored;
        if self.health == StoreHealth::Well
            && let Some((_, polls)) = self.polls.pop_front_if(may_go)
        {
            self.polls.give_back();
            return Step::Poll(polls);
        }
        if let Some(commit) = &self.commit {
            let slow_at = commit.begun + limits::COMMIT_PATIENCE;
            if self.health != StoreHealth::Well {
                return Step::Wait(None);
            }
            if now.mono < slow_at {
                return Step::Wait(Some(slow_at));
            }
            self.health = StoreHealth::Slow;
            core.handle(Input::StoreTroubled(true), now);
            return Step::Report(StoreNews::Slow);
        }
        if let Some(outgoing) = self.next_leaving(store.may_export) {
            return Step::Send(outgoing);
        }
        match self.next_commit(store.due) {
            Some(at) if at <= now.mono => Step::Commit(self.begin_commit(now.mono)),
            at => Step::Wait(at),
        }
    }

    /// Takes the result of the commit under way. The core may have more to do then.
    pub fn committed(
        &mut self,
        core: &mut Core,
        result: Result<Committed, Box<str>>,
        now: Now,
    ) -> Option<StoreNews> {
        let commit = self.commit.take()?;
        let took = now.mono.since(commit.begun);
        self.commits.count(&commit.changes, took, result.is_ok());
        let was_well = self.health == StoreHealth::Well;
        match result {
            Ok(committed) => {
                (self.stored, self.events_stored) = (commit.stores, commit.stores_events);
                self.health = StoreHealth::Well;
                if !committed.is_plain() {
                    self.take_committed(core, committed, now);
                }
                if was_well {
                    return None;
                }
                core.handle(Input::StoreTroubled(false), now);
                Some(StoreNews::Recovered)
            }
            Err(why) => {
                // The same changes again, and behind them those that have come since.
                let since = std::mem::take(&mut self.unstored);
                self.unstored = commit.changes.to_vec();
                self.unstored.extend(since);
                let failing = StoreHealth::Failing {
                    again_at: now.mono + limits::COMMIT_AGAIN_AFTER,
                    why: why.clone(),
                };
                match std::mem::replace(&mut self.health, failing) {
                    StoreHealth::Failing { why: known, .. } if known == why => None,
                    StoreHealth::Failing { .. } => Some(StoreNews::StillFailing(why)),
                    StoreHealth::Slow => Some(StoreNews::Failed(why)),
                    StoreHealth::Well => {
                        core.handle(Input::StoreTroubled(true), now);
                        Some(StoreNews::Failed(why))
                    }
                }
            }
        }
    }

    /// The changes that are not known to be stored, in their order.
    pub fn unstored(&self) -> impl Iterator<Item = &Change> {
        let under_way = self.commit.iter().flat_map(|commit| commit.changes.iter());
        under_way.chain(&self.unstored)
    }

    /// Whether all changes are stored and nothing waits to leave.
    pub fn is_done(&self) -> bool {
        self.commit.is_none()
            && self.unstored.is_empty()
            && self.held.is_empty()
            && self.waiting.is_empty()
    }

    /// The commits since the start.
    pub fn commits(&self) -> &CommitCounts {
        &self.commits
    }

    /// Whether a commit has not been answered yet.
    #[cfg(any(test, feature = "internals"))]
    pub fn is_committing(&self) -> bool {
        self.commit.is_some()
    }

    /// Whether the store is in trouble.
    pub fn is_troubled(&self) -> bool {
        self.health != StoreHealth::Well
    }

    fn gather(&mut self, core: &mut Core, now: Mono) {
        let changes = core.take_changes();
        let accepted = core.counters().events_accepted();
        if self.policy.stores {
            if self.unstored.is_empty() {
                self.commit_at = now + self.policy.commit_delay;
            }
            let has_events = accepted > self.events_gathered && !self.policy.events_wait;
            self.is_urgent |= has_events || changes.iter().any(is_acknowledgement);
            self.gathered += changes.len() as u64;
            self.unstored.extend(changes);
            if self.unstored.len() > KEPT_WHOLE + 2 * self.unstored_pruned {
                drop_replaced_records(&mut self.unstored);
                self.unstored_pruned = self.unstored.len();
            }
            self.is_urgent |= self.held.iter().any(is_awaited);
            self.is_urgent &= !self.unstored.is_empty();
        }
        self.events_gathered = accepted;
        let gathered = self.gathered;
        self.waiting
            .extend(self.held.drain(..).map(|outgoing| (gathered, outgoing)));
    }

    /// While the store is in trouble nothing leaves: the runs may be another instance's by now.
    fn next_leaving(&mut self, may_export: bool) -> Option<Outgoing> {
        if self.health != StoreHealth::Well {
            return None;
        }
        let stored = self.stored;
        let mut ready = self
            .waiting
            .iter()
            .take_while(|(needed, _)| *needed <= stored);
        let place = ready.position(|(_, outgoing)| may_export || !is_fenced(outgoing))?;
        let left = self.waiting.remove(place);
        self.waiting.give_back();
        left.map(|(_, outgoing)| outgoing)
    }

    /// When the next commit begins, as far as is known now.
    fn next_commit(&self, store_due: Option<Mono>) -> Option<Mono> {
        if !self.policy.stores {
            return None;
        }
        if let StoreHealth::Failing { again_at, .. } = self.health {
            return Some(again_at);
        }
        let for_changes = if self.unstored.is_empty() {
            None
        } else if self.is_urgent {
            Some(Mono::default())
        } else {
            Some(self.commit_at)
        };
        for_changes.into_iter().chain(store_due).min()
    }

    fn begin_commit(&mut self, now: Mono) -> Arc<[Change]> {
        let changes: Arc<[Change]> = std::mem::take(&mut self.unstored).into();
        self.unstored_pruned = 0;
        self.is_urgent = false;
        self.commit = Some(CommitUnderWay {
            changes: changes.clone(),
            begun: now,
            stores: self.gathered,
            stores_events: self.events_gathered,
        });
        changes
    }

    /// Forgets the runs that the store refused, and takes those that it claimed.
    fn take_committed(&mut self, core: &mut Core, committed: Committed, now: Now) {
        let Committed {
            mut refused,
            claimed,
        } = committed;
        self.gather(core, now.mono);
        // A start event that came during the commit may have begun a run that the commit has claimed. What was stored of
        // the run counts.
        let begun: HashSet<RunKey> = self.unstored.iter().flat_map(runs_of).collect();
        let twice = claimed.runs().filter(|run| begun.contains(run));
        let twice: BTreeSet<RunKey> = twice.collect();
        refused.extend(twice.into_iter().map(|run| (run, Refusal::Elsewhere)));
        if !refused.is_empty() {
            let lost = refused.iter().map(|(run, _)| *run).collect();
            self.forget(&lost);
            core.handle(Input::Refused(refused), now);
            // Those of the other runs come again.
            core.handle(Input::Recalled(self.recall()), now);
        }
        core.take_over(claimed, now);
        core.handle(Input::Tick, now);
    }

    /// Nothing of these runs leaves or is stored any more.
    fn forget(&mut self, lost: &HashSet<RunKey>) {
        self.waiting.retain_mut(|(_, outgoing)| match outgoing {
            Outgoing::Export(batch) => {
                batch.items.retain(|span| !lost.contains(&span.run));
                !batch.items.is_empty()
            }
            // The core waits for the result of each, though it may be empty now.
            Outgoing::Notify(notify) => {
                notify.notifications.retain(|it| !lost.contains(&it.run));
                true
            }
            Outgoing::Acknowledge(_) | Outgoing::LeavePending(_) | Outgoing::Accept(_) => true,
        });
        self.unstored.retain_mut(|change| match change {
            Change::RemoveItems(spans) => {
                spans.retain(|span| !lost.contains(&span.run));
                !spans.is_empty()
            }
            Change::RemoveNotifications(removed) => {
                removed.retain(|it| !lost.contains(&it.run));
                !removed.is_empty()
            }
            change => !runs_of(change).any(|run| lost.contains(&run)),
        });
        if self.unstored.is_empty() {
            self.stored = self.gathered;
        }
    }
}

/// Drops each record that a later one of the same run replaces. The order of the others stays.
fn drop_replaced_records(changes: &mut Vec<Change>) {
    let mut replaced = HashSet::new();
    let mut keep: Vec<bool> = changes
        .iter()
        .rev()
        .map(|change| match change {
            Change::PutWorkflow { run, .. } => replaced.insert(*run),
            Change::RemoveWorkflow(run) => {
                replaced.remove(run);
                true
            }
            _ => true,
        })
        .collect();
    changes.retain(|_| keep.pop().unwrap_or(true));
}

/// After a crash before such a change is stored, what was acknowledged would be sent again.
fn is_acknowledgement(change: &Change) -> bool {
    matches!(
        change,
        Change::RemoveItems(_) | Change::RemoveNotifications(_)
    )
}

/// Whether someone waits for it. The source of an event does not: it offers what is pending again much later.
fn is_awaited(outgoing: &Outgoing) -> bool {
    is_fenced(outgoing) || matches!(outgoing, Outgoing::Accept(_))
}

/// Whether only the owner of a run may send it.
fn is_fenced(outgoing: &Outgoing) -> bool {
    matches!(outgoing, Outgoing::Export(_) | Outgoing::Notify(_))
}

fn runs_of(change: &Change) -> impl Iterator<Item = RunKey> {
    let (one, spans, notifications) = match change {
        Change::PutWorkflow { run, .. }
        | Change::RemoveWorkflow(run)
        | Change::PutFinished(run, _)
        | Change::RemoveFinished(run) => (Some(*run), &[][..], &[][..]),
        Change::PutItem(span) => (Some(span.run), &[][..], &[][..]),
        Change::PutNotification(it) => (Some(it.run), &[][..], &[][..]),
        Change::RemoveItems(spans) => (None, spans.as_slice(), &[][..]),
        Change::RemoveNotifications(removed) => (None, &[][..], removed.as_slice()),
    };
    let spans = spans.iter().map(|span| span.run);
    let notifications = notifications.iter().map(|it| it.run);
    one.into_iter().chain(spans).chain(notifications)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::StartEvent;
    use crate::outbox::{BatchPolicy, ExportOutcome, Exported, Signal};
    use crate::sampler::{Sampler, SpanLimits};
    use crate::time::Wall;
    use crate::workflow::Naming;
    use crate::{Action, Encoders, Monitor, Pace, Settings, Stored};

    const DELAY: Duration = Duration::from_millis(200);
    const SECOND: Duration = Duration::from_secs(1);
    const TIMEOUT: Duration = Duration::from_secs(60);
    const FREE: StoreTerms = StoreTerms {
        due: None,
        may_export: true,
    };
    const FENCED: StoreTerms = StoreTerms {
        due: None,
        may_export: false,
    };

    /// A core whose workflows end at their timeout, with its turn.
    struct Rig {
        core: Core,
        turn: Turn,
        now: Now,
    }

    fn rig(stores: bool, events_wait: bool) -> Rig {
        let settings = Settings {
            monitors: vec![Monitor {
                naming: Naming::new("default", "Workflow", SpanLimits::default()),
                host: 0,
                pace: Pace::new(TIMEOUT * 2, TIMEOUT * 2, TIMEOUT),
                requests_per_second: None,
                send_traceparent: false,
            }],
            pollers: 1,
            workflows_max: 10,
            sampler: Sampler::default(),
            batch: BatchPolicy {
                schedule_delay: Duration::ZERO,
                spans_max: 10,
                queue_max: 100,
            },
            stores,
            state_bytes_max: limits::STATE_BYTES_DEFAULT,
            exports: true,
            exports_logs: true,
            buckets: Arc::default(),
            seed: 1,
        };
        let encoders = Encoders {
            span: |span| format!("{span:?}").into_bytes().into(),
            log_record: |record| format!("{record:?}").into_bytes().into(),
            finished_event: |event| format!("{event:?}").into_bytes().into(),
        };
        let now = Now {
            mono: Mono::default(),
            wall: Wall::from_unix_ns(1_720_000_000_000_000_000),
        };
        Rig {
            core: Core::new(settings, encoders, now),
            turn: Turn::new(TurnPolicy {
                stores,
                commit_delay: DELAY,
                events_wait,
            }),
            now,
        }
    }

    impl Rig {
        fn handle(&mut self, input: Input) {
            self.core.handle(input, self.now);
            self.act();
        }

        fn act(&mut self) {
            while let Some(action) = self.core.next_action() {
                if let Action::Send(outgoing) = action {
                    self.turn.hold(outgoing);
                }
            }
        }

        fn start(&mut self, workflow_id: &str) {
            self.handle(Input::Started(StartEvent {
                source: Some(format!("entry of {workflow_id}").into()),
                ..StartEvent::new(0, workflow_id)
            }));
        }

        fn pass(&mut self, time: Duration) {
            self.now.mono = self.now.mono + time;
            self.now.wall = self.now.wall + time;
            self.handle(Input::Tick);
        }

        fn next(&mut self) -> Step {
            self.next_on(FREE)
        }

        fn next_on(&mut self, terms: StoreTerms) -> Step {
            self.turn.next(&mut self.core, terms, self.now)
        }

        /// The changes of the commit that has to begin now.
        fn commit(&mut self) -> Arc<[Change]> {
            match self.next() {
                Step::Commit(changes) => changes,
                other => panic!("no commit: {other:?}"),
            }
        }

        fn answer(&mut self, result: Result<Committed, Box<str>>) -> Option<StoreNews> {
            let news = self.turn.committed(&mut self.core, result, self.now);
            self.act();
            news
        }

        fn succeed(&mut self) {
            assert_eq!(self.answer(Ok(Committed::default())), None);
        }

        /// The spans of the batch that leaves now.
        fn export(&mut self) -> (u64, usize) {
            match self.next() {
                Step::Send(Outgoing::Export(batch)) => (batch.id, batch.items.len()),
                other => panic!("no export: {other:?}"),
            }
        }

        fn deliver(&mut self, batch: u64) {
            let outcome = ExportOutcome::Delivered {
                rejected: 0,
                message: "".into(),
            };
            self.handle(Input::Exported(Exported {
                signal: Signal::Traces,
                batch,
                outcome,
            }));
        }

        fn at(&self, after: Duration) -> Step {
            Step::Wait(Some(self.now.mono + after))
        }
    }

    fn run_of(change: &Change) -> RunKey {
        runs_of(change).next().expect("one run")
    }

    fn spans_of(changes: &[Change]) -> usize {
        let spans = changes.iter().filter(|c| matches!(c, Change::PutItem(_)));
        spans.count()
    }

    #[test]
    fn a_span_is_stored_then_exported_then_deleted_and_then_its_event_is_acknowledged() {
        let mut rig = rig(true, true);
        rig.start("a");
        rig.pass(TIMEOUT);
        assert_eq!(spans_of(&rig.commit()), 1);
        assert_eq!(rig.next(), rig.at(limits::COMMIT_PATIENCE));
        rig.succeed();
        let (batch, spans) = rig.export();
        assert_eq!((spans, rig.next()), (1, Step::Wait(None)));
        rig.deliver(batch);
        assert!(matches!(&*rig.commit(), [Change::RemoveItems(_)]));
        rig.succeed();
        let acknowledged = Outgoing::Acknowledge("entry of a".into());
        assert_eq!(rig.next(), Step::Send(acknowledged));
        assert!(rig.turn.is_done());
    }

    #[test]
    fn what_comes_during_a_commit_waits_for_the_next_one() {
        let mut rig = rig(true, false);
        rig.start("a");
        rig.commit();
        rig.turn.hold(Outgoing::Accept(1));
        rig.pass(TIMEOUT);
        rig.turn.hold(Outgoing::Accept(2));
        assert_eq!(rig.next(), Step::Report(StoreNews::Slow));
        assert_eq!(rig.next(), Step::Wait(None), "one commit at a time");
        assert_eq!(
            rig.answer(Ok(Committed::default())),
            Some(StoreNews::Recovered)
        );
        assert_eq!(spans_of(&rig.commit()), 1);
        rig.succeed();
        assert_eq!(rig.next(), Step::Send(Outgoing::Accept(1)));
        rig.export();
        assert_eq!(rig.next(), Step::Send(Outgoing::Accept(2)));
    }

    /// Each reload changes the timeout, and with it every record.
    #[test]
    fn while_the_store_takes_nothing_a_record_is_kept_a_few_times_at_most() {
        let mut rig = rig(true, false);
        for n in 0..10 {
            rig.start(&format!("w{n}"));
        }
        rig.commit();
        let reload = |rig: &mut Rig, n: u64| {
            let timeout = TIMEOUT + Duration::from_secs(n);
            let pace = Pace::new(TIMEOUT * 2, TIMEOUT * 2, timeout);
            rig.handle(Input::Reloaded(vec![pace]));
            rig.next();
            assert!(rig.turn.unstored().count() <= KEPT_WHOLE + 40, "{n}");
        };
        // While a commit is under way, and while commits fail.
        (0..1000).for_each(|n| reload(&mut rig, n));
        for n in 1000..2000 {
            rig.answer(Err("away".into()));
            reload(&mut rig, n);
            rig.pass(limits::COMMIT_AGAIN_AFTER);
            rig.commit();
        }
        rig.answer(Ok(Committed::default()));
        reload(&mut rig, 2000);
        rig.pass(DELAY);
        assert_eq!(rig.commit().len(), 10);
    }

    #[test]
    fn only_a_record_that_a_later_one_replaces_is_dropped() {
        let put = |n, record: &[u8]| Change::PutWorkflow {
            run: RunKey::from_bytes([n; 16]),
            record: record.to_vec(),
        };
        let remove = |n| Change::RemoveWorkflow(RunKey::from_bytes([n; 16]));
        let mut changes = vec![
            put(1, b"a"),
            put(2, b"b"),
            put(1, b"c"),
            remove(1),
            put(1, b"d"),
            put(3, b"e"),
            put(1, b"f"),
        ];
        drop_replaced_records(&mut changes);
        let left = [
            put(2, b"b"),
            put(1, b"c"),
            remove(1),
            put(3, b"e"),
            put(1, b"f"),
        ];
        assert_eq!(changes, left);
    }

    #[test]
    fn an_outgoing_without_changes_of_its_own_waits_for_those_before_it_only() {
        let mut rig = rig(true, true);
        rig.start("a");
        rig.next();
        rig.turn.hold(Outgoing::Accept(1));
        rig.commit();
        rig.start("b");
        rig.next();
        rig.succeed();
        assert_eq!(rig.next(), Step::Send(Outgoing::Accept(1)));
        assert_eq!(rig.next(), rig.at(DELAY), "the other change still waits");
    }

    #[test]
    fn changes_share_a_commit_for_a_short_time() {
        let mut rig = rig(true, true);
        rig.start("a");
        assert_eq!(rig.next(), rig.at(DELAY));
        rig.pass(DELAY / 2);
        rig.start("b");
        assert_eq!(rig.next(), rig.at(DELAY / 2));
        rig.pass(DELAY / 2);
        assert_eq!(rig.commit().len(), 2);
        rig.succeed();
        assert_eq!(rig.next(), Step::Wait(None));
        // In a hurry they do not wait.
        rig.turn.hurry();
        rig.start("c");
        assert_eq!(rig.commit().len(), 1);
    }

    #[test]
    fn an_event_that_may_not_wait_is_committed_at_once() {
        let mut rig = rig(true, false);
        rig.start("a");
        assert_eq!(rig.commit().len(), 1);
    }

    /// Otherwise the API would be polled for a run that is another instance's.
    #[test]
    fn no_run_is_polled_before_it_is_stored() {
        let mut rig = rig(true, false);
        let poll = |slot| Poll {
            slot,
            generation: 1,
            monitor: 0,
            workflow_id: "a".into(),
            traceparent: None,
        };
        let polls = |slot| PollGroup {
            poller: 0,
            polls: vec![poll(slot), poll(slot + 10)],
        };
        assert_eq!(rig.turn.admit_polls(&rig.core, polls(1)), Some(polls(1)));
        rig.start("a");
        assert_eq!(rig.turn.admit_polls(&rig.core, polls(2)), None);
        rig.commit();
        rig.start("b");
        assert_eq!(rig.turn.admit_polls(&rig.core, polls(3)), None);
        rig.succeed();
        assert_eq!(rig.next(), Step::Poll(polls(2)));
        rig.commit();
        rig.succeed();
        assert_eq!(rig.next(), Step::Poll(polls(3)));
        assert_eq!(rig.turn.admit_polls(&rig.core, polls(4)), Some(polls(4)));
        // What is kept is taken back at a stop, and when a run was refused.
        rig.start("c");
        assert_eq!(rig.turn.admit_polls(&rig.core, polls(5)), None);
        assert_eq!(rig.turn.recall(), [poll(5), poll(15)]);
        assert_eq!(rig.turn.admit_polls(&rig.core, polls(6)), None);
        let lost = run_of(&rig.commit()[0]);
        let committed = Committed {
            refused: vec![(lost, Refusal::Elsewhere)],
            ..Committed::default()
        };
        rig.answer(Ok(committed));
        assert!(matches!(rig.next(), Step::Send(Outgoing::LeavePending(_))));
        assert_eq!(rig.next(), Step::Wait(None));
    }

    #[test]
    fn a_client_that_waits_for_its_answer_is_not_kept_waiting() {
        let mut rig = rig(true, true);
        rig.start("a");
        rig.turn.hold(Outgoing::Accept(1));
        assert_eq!(rig.commit().len(), 1);
        rig.succeed();
        assert_eq!(rig.next(), Step::Send(Outgoing::Accept(1)));
    }

    #[test]
    fn a_store_that_is_due_gets_a_commit_and_all_changes_with_it() {
        let mut rig = rig(true, true);
        let due = StoreTerms {
            due: Some(rig.now.mono + DELAY / 2),
            ..FREE
        };
        assert_eq!(rig.next_on(due), rig.at(DELAY / 2));
        rig.start("a");
        rig.pass(DELAY / 2);
        let Step::Commit(changes) = rig.next_on(due) else {
            panic!("no commit");
        };
        assert_eq!(changes.len(), 1);
        rig.succeed();
        assert_eq!(rig.next_on(due), Step::Commit([].into()), "it is still due");
    }

    #[test]
    fn a_commit_that_failed_is_made_again_with_what_came_since() {
        let mut rig = rig(true, false);
        rig.start("a");
        let first = rig.commit();
        rig.turn.hold(Outgoing::Accept(1));
        rig.start("b");
        let full = || Err("disk full".into());
        let failed = Some(StoreNews::Failed("disk full".into()));
        assert_eq!(rig.answer(full()), failed);
        assert!(!rig.core.has_room(), "the core has been told");
        assert_eq!(rig.next(), rig.at(limits::COMMIT_AGAIN_AFTER));
        rig.pass(limits::COMMIT_AGAIN_AFTER);
        let second = rig.commit();
        assert_eq!((first.len(), second.len()), (1, 2));
        assert_eq!(second[..1], first[..]);
        assert_eq!(rig.answer(full()), None, "it is no news");
        rig.pass(SECOND);
        rig.commit();
        let other = Some(StoreNews::StillFailing("no such device".into()));
        assert_eq!(rig.answer(Err("no such device".into())), other);
        assert!(rig.turn.is_troubled());
        assert_eq!(rig.turn.unstored().count(), 2);
        rig.pass(SECOND);
        assert_eq!(rig.commit(), second);
        let recovered = rig.answer(Ok(Committed::default()));
        assert_eq!(recovered, Some(StoreNews::Recovered));
        assert!(rig.core.has_room());
        assert_eq!(rig.next(), Step::Send(Outgoing::Accept(1)));
        assert!(rig.turn.is_done());
    }

    #[test]
    fn a_commit_without_an_answer_is_trouble_until_it_is_answered() {
        let mut rig = rig(true, false);
        rig.start("a");
        rig.commit();
        rig.pass(limits::COMMIT_PATIENCE - DELAY);
        assert_eq!(rig.next(), rig.at(DELAY));
        rig.pass(DELAY);
        assert_eq!(rig.next(), Step::Report(StoreNews::Slow));
        assert!(!rig.core.has_room() && rig.turn.is_committing());
        rig.pass(SECOND);
        assert_eq!(rig.next(), Step::Wait(None), "it is said once");
        let failed = Some(StoreNews::Failed("gone".into()));
        assert_eq!(rig.answer(Err("gone".into())), failed);
        rig.pass(SECOND);
        rig.commit();
        rig.pass(limits::COMMIT_PATIENCE);
        assert_eq!(rig.next(), Step::Wait(None), "it is in trouble already");
        let recovered = rig.answer(Ok(Committed::default()));
        assert_eq!(recovered, Some(StoreNews::Recovered));
        assert_eq!(rig.answer(Ok(Committed::default())), None, "no commit");
    }

    #[test]
    fn what_belongs_to_a_refused_run_neither_leaves_nor_is_stored() {
        let mut rig = rig(true, false);
        rig.start("a");
        rig.start("b");
        let lost = run_of(&rig.commit()[0]);
        // Both end while their start is committed, and only one of them is ours.
        rig.pass(TIMEOUT);
        rig.next();
        let committed = Committed {
            refused: vec![(lost, Refusal::Elsewhere)],
            ..Committed::default()
        };
        rig.answer(Ok(committed));
        let changes = rig.commit();
        assert_eq!(spans_of(&changes), 1);
        let mut runs = changes.iter().flat_map(runs_of);
        assert!(runs.all(|run| run != lost));
        rig.succeed();
        assert_eq!(rig.export().1, 1);
        let left = Outgoing::LeavePending("entry of a".into());
        assert_eq!(rig.next(), Step::Send(left));
    }

    #[test]
    fn a_refused_run_that_was_all_there_was_leaves_nothing_behind() {
        let mut rig = rig(true, false);
        rig.start("a");
        let lost = run_of(&rig.commit()[0]);
        rig.pass(TIMEOUT);
        rig.next();
        let committed = Committed {
            refused: vec![(lost, Refusal::Done)],
            ..Committed::default()
        };
        rig.answer(Ok(committed));
        let acknowledged = Outgoing::Acknowledge("entry of a".into());
        assert_eq!(rig.next(), Step::Send(acknowledged));
        assert!(rig.turn.is_done());
    }

    /// The start event comes again, here, while the commit takes the run over from the owner that has heard it first.
    #[test]
    fn what_was_stored_of_a_claimed_run_counts_over_what_was_begun_meanwhile() {
        let mut other = rig(true, false);
        other.start("a");
        let Change::PutWorkflow { run, record } = other.commit()[0].clone() else {
            panic!("no record");
        };
        let mut rig = rig(true, false);
        rig.start("b");
        rig.pass(SECOND);
        rig.commit();
        rig.start("a");
        rig.next();
        let claimed = Stored {
            workflows: vec![(run, record)],
            ..Stored::default()
        };
        rig.answer(Ok(Committed {
            refused: Vec::new(),
            claimed,
        }));
        assert_eq!(rig.core.watched(), 2);
        let left = Outgoing::LeavePending("entry of a".into());
        assert_eq!(rig.next(), Step::Send(left));
        assert_eq!(rig.next(), Step::Wait(None), "its record is stored already");
    }

    #[test]
    fn a_lapsed_lease_holds_spans_back_and_nothing_else() {
        let mut rig = rig(true, false);
        rig.start("a");
        rig.pass(TIMEOUT);
        rig.turn.hold(Outgoing::Accept(1));
        rig.commit();
        rig.succeed();
        assert_eq!(rig.next_on(FENCED), Step::Send(Outgoing::Accept(1)));
        assert_eq!(rig.next_on(FENCED), Step::Wait(None));
        rig.export();
    }

    #[test]
    fn without_a_store_everything_leaves_at_once() {
        let mut rig = rig(false, false);
        rig.start("a");
        rig.pass(TIMEOUT);
        let (batch, spans) = rig.export();
        assert_eq!((spans, rig.next()), (1, Step::Wait(None)));
        rig.deliver(batch);
        let acknowledged = Outgoing::Acknowledge("entry of a".into());
        assert_eq!(rig.next(), Step::Send(acknowledged));
    }
}
