//! An instance's side of the store: `RedisStore` of `src/store/redis.rs` step by step, on a wire that may be cut and
//! may lose answers.

use super::redis::{Field, Mode, Owner, Part, Redis, Run, Why};
use farspan::core::ids::RunKey;
use farspan::core::outbox::EncodedSpan;
use farspan::core::time::{Mono, Now};
use farspan::core::{Change, Refusal, Stored};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub const DONE_KEPT: Duration = Duration::from_secs(24 * 3600);

/// The way to Redis.
pub struct Wire<'a> {
    pub redis: &'a mut Redis,
    /// By Redis's clock.
    pub at: u64,
    pub is_cut: bool,
    /// The so-manieth call from now on is made and its answer lost.
    pub loses: &'a mut Option<u32>,
    /// Whether one was.
    pub has_lost: &'a mut bool,
    /// The next claim that takes something is made, and its answer lost.
    pub loses_claim: &'a mut bool,
}

impl Wire<'_> {
    pub fn call<T>(&mut self, what: impl FnOnce(&mut Redis, u64) -> T) -> Result<T, Trouble> {
        if self.is_cut {
            return Err(Trouble::Redis);
        }
        let answer = what(self.redis, self.at);
        match self.loses {
            None => return Ok(answer),
            Some(0) => {}
            Some(calls) => {
                *calls -= 1;
                return Ok(answer);
            }
        }
        (*self.loses, *self.has_lost) = (None, true);
        Err(Trouble::Redis)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Redis,
    Lapsed,
    Twin,
}

/// What a commit came to.
#[derive(Default)]
pub struct Committed {
    pub refused: Vec<(RunKey, Refusal)>,
    pub claimed: Stored,
}

impl Committed {
    pub fn is_plain(&self) -> bool {
        let claimed = &self.claimed;
        self.refused.is_empty() && claimed.workflows.is_empty() && claimed.spans.is_empty()
    }
}

pub struct View<'a> {
    pub everything: &'a dyn Fn() -> Vec<Change>,
    pub room: usize,
}

pub struct Client {
    pub owner: Owner,
    lease: Duration,
    is_connected: bool,
    is_born: bool,
    pub is_whole: bool,
    pub mine: BTreeSet<RunKey>,
    renewed: Option<Now>,
    /// The last renewal while all that is ours was there.
    sure: Option<Now>,
    untold: Vec<(RunKey, Refusal)>,
    due: Mono,
    /// Runs in one script.
    runs_max: usize,
    /// Times that everything was written anew.
    pub rejoined: u64,
}

impl Client {
    pub fn new(owner: Owner, lease: Duration, runs_max: usize, now: Now) -> Self {
        Client {
            owner,
            lease,
            is_connected: false,
            is_born: false,
            is_whole: false,
            mine: BTreeSet::new(),
            renewed: None,
            sure: None,
            untold: Vec::new(),
            due: now.mono,
            runs_max,
            rejoined: 0,
        }
    }

    fn lease_ns(&self) -> u64 {
        self.lease.as_nanos() as u64
    }

    pub fn next_deadline(&self) -> Mono {
        self.due
    }

    pub fn may_export(&self, now: Now) -> bool {
        let margin = self.lease / 10;
        self.renewed
            .is_some_and(|renewed| silence(renewed, now) + margin < self.lease)
    }

    pub fn commit(
        &mut self,
        changes: &[Change],
        view: &View<'_>,
        wire: &mut Wire<'_>,
        now: Now,
    ) -> Result<Committed, Trouble> {
        let mut tried = self.try_commit(changes, view, wire, now);
        if matches!(tried, Err(Trouble::Lapsed)) {
            self.is_whole = false;
            tried = self.try_commit(changes, view, wire, now);
        }
        if let Err(trouble) = &tried {
            self.is_whole = false;
            self.is_connected &= *trouble != Trouble::Redis;
        }
        tried
    }

    fn try_commit(
        &mut self,
        changes: &[Change],
        view: &View<'_>,
        wire: &mut Wire<'_>,
        now: Now,
    ) -> Result<Committed, Trouble> {
        if !self.is_connected {
            wire.call(|_, _| ())?;
            (self.is_connected, self.is_whole) = (true, false);
        }
        let mut committed = Committed::default();
        let tried = self.write_and_claim(changes, view, &mut committed, wire, now);
        if tried.is_err() {
            let claimed = &committed.claimed;
            let with_record = claimed.workflows.iter().map(|(run, _)| run);
            for run in with_record.chain(claimed.finished.iter().map(|(run, _)| run)) {
                self.mine.remove(run);
            }
        }
        tried.map(|()| {
            committed.refused = std::mem::take(&mut self.untold);
            committed
        })
    }

    fn renew(&mut self, now: Now) {
        self.renewed = Some(now);
        if self.is_whole {
            self.sure = self.renewed;
        }
    }

    fn write_and_claim(
        &mut self,
        changes: &[Change],
        view: &View<'_>,
        committed: &mut Committed,
        wire: &mut Wire<'_>,
        now: Now,
    ) -> Result<(), Trouble> {
        if self.is_whole {
            self.write(by_run(changes), Mode::Known, Mode::New, wire, now)?;
        } else {
            self.rejoin(changes, view, committed, wire, now)?;
        }
        if now.mono >= self.due {
            self.take_over(view.room, committed, wire, now)?;
        }
        Ok(())
    }

    fn rejoin(
        &mut self,
        changes: &[Change],
        view: &View<'_>,
        committed: &mut Committed,
        wire: &mut Wire<'_>,
        now: Now,
    ) -> Result<(), Trouble> {
        let (owner, lease, is_new) = (self.owner, self.lease_ns(), !self.is_born);
        if !wire.call(|redis, at| redis.register(owner, lease, is_new, at))? {
            return Err(Trouble::Twin);
        }
        self.renewed = Some(now);
        self.is_born = true;
        self.rejoined += 1;
        let mut runs = by_run(&(view.everything)());
        for run in by_run(changes).into_keys() {
            if self.mine.contains(&run) {
                runs.entry(run).or_default();
            }
        }
        let known = match self.sure.map(|sure| silence(sure, now)) {
            Some(silent) if silent >= DONE_KEPT => Mode::Held,
            _ => Mode::Whole,
        };
        self.write(runs, known, Mode::Whole, wire, now)?;
        self.is_whole = true;
        self.sure = self.renewed;
        self.find_own(committed, wire, now)
    }

    /// Runs that were claimed by a script whose answer never came.
    fn find_own(
        &mut self,
        committed: &mut Committed,
        wire: &mut Wire<'_>,
        now: Now,
    ) -> Result<(), Trouble> {
        let owner = self.owner;
        let members = wire.call(|redis, _| redis.runs_of.get(&owner).cloned())?;
        for run in members.unwrap_or_default() {
            if !self.mine.contains(&run)
                && let Some(there) = wire.call(|redis, _| redis.runs.get(&run).cloned())?
            {
                self.adopt(run, there, committed, now);
            }
        }
        Ok(())
    }

    fn write(
        &mut self,
        runs: BTreeMap<RunKey, Changed>,
        mode_of_mine: Mode,
        mode_of_others: Mode,
        wire: &mut Wire<'_>,
        now: Now,
    ) -> Result<(), Trouble> {
        let mut parts = Vec::new();
        let untold: BTreeSet<RunKey> = self.untold.iter().map(|(run, _)| *run).collect();
        for (run, changed) in runs.into_iter().filter(|(run, _)| !untold.contains(run)) {
            let is_mine = self.mine.contains(&run);
            if is_mine || changed.sets() > 0 || mode_of_others == Mode::Whole {
                let mode = if is_mine {
                    mode_of_mine
                } else {
                    mode_of_others
                };
                parts.push(changed.part(run, mode));
            }
        }
        let (owner, lease) = (self.owner, self.lease_ns());
        for parts in parts.chunks(self.runs_max) {
            let answer = wire.call(|redis, at| redis.commit(owner, lease, parts, at))?;
            let refused = answer.ok_or(Trouble::Lapsed)?;
            self.renew(now);
            self.mine.extend(parts.iter().map(|part| part.run));
            for (run, why) in refused {
                if why == Why::Gone {
                    return Err(Trouble::Lapsed);
                }
                self.mine.remove(&run);
                match why {
                    Why::Elsewhere => self.untold.push((run, Refusal::Elsewhere)),
                    Why::Done => self.untold.push((run, Refusal::Done)),
                    Why::Gone | Why::Over => {}
                }
            }
        }
        Ok(())
    }

    fn take_over(
        &mut self,
        room: usize,
        committed: &mut Committed,
        wire: &mut Wire<'_>,
        now: Now,
    ) -> Result<(), Trouble> {
        let (owner, lease) = (self.owner, self.lease_ns());
        let at_once = room.min(64);
        let claimed = wire.call(|redis, at| redis.claim(owner, lease, at_once, at))?;
        let claimed = claimed.ok_or(Trouble::Lapsed)?;
        if !claimed.is_empty() && std::mem::take(wire.loses_claim) {
            *wire.has_lost = true;
            return Err(Trouble::Redis);
        }
        self.renew(now);
        let all = claimed.len() < at_once || room == 0;
        for (run, there) in claimed {
            self.adopt(run, there, committed, now);
        }
        self.due = now.mono
            + match all {
                true => self.lease / 3,
                false => Duration::from_millis(100),
            };
        Ok(())
    }

    fn adopt(&mut self, run: RunKey, there: Run, committed: &mut Committed, now: Now) {
        self.mine.insert(run);
        let claimed = &mut committed.claimed;
        match there.record {
            Some(record) => claimed.workflows.push((run, record)),
            None => claimed.finished.push((run, now.wall)),
        }
        for ((sequence, monitor), bytes) in there.spans {
            claimed.spans.push(EncodedSpan {
                sequence,
                run,
                monitor,
                bytes,
            });
        }
    }
}

fn silence(since: Now, now: Now) -> Duration {
    let by_wall = now.wall.since(since.wall);
    now.mono.since(since.mono).max(by_wall)
}

#[derive(Default)]
struct Changed {
    /// `Some(None)`: it goes.
    record: Option<Option<Vec<u8>>>,
    spans: BTreeMap<Field, Option<Arc<[u8]>>>,
}

impl Changed {
    fn sets(&self) -> usize {
        let record = matches!(self.record, Some(Some(_)));
        self.spans.values().flatten().count() + usize::from(record)
    }

    fn part(self, run: RunKey, mode: Mode) -> Part {
        let mut part = Part {
            run,
            mode,
            record_goes: self.record == Some(None),
            record: self.record.flatten(),
            spans: Vec::new(),
            spans_gone: Vec::new(),
        };
        for (field, span) in self.spans {
            match span {
                Some(span) => part.spans.push((field, span)),
                None => part.spans_gone.push(field),
            }
        }
        part
    }
}

fn field_of(span: &EncodedSpan) -> Field {
    (span.sequence, span.monitor.clone())
}

fn by_run(changes: &[Change]) -> BTreeMap<RunKey, Changed> {
    let mut runs: BTreeMap<RunKey, Changed> = BTreeMap::new();
    for change in changes {
        match change {
            Change::PutWorkflow { run, record } => {
                runs.entry(*run).or_default().record = Some(Some(record.clone()));
            }
            Change::RemoveWorkflow(run) => runs.entry(*run).or_default().record = Some(None),
            Change::PutSpan(span) => {
                let spans = &mut runs.entry(span.run).or_default().spans;
                spans.insert(field_of(span), Some(span.bytes.clone()));
            }
            Change::RemoveSpans(spans) => {
                for span in spans {
                    let run = runs.entry(span.run).or_default();
                    run.spans.insert(field_of(span), None);
                }
            }
            Change::PutFinished(run, _) => drop(runs.entry(*run).or_default()),
            Change::RemoveFinished(_) => {}
        }
    }
    runs
}
