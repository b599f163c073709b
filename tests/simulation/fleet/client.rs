//! An instance's side of the store: `RedisStore` of `src/store/redis.rs` step by step, on a wire that may be cut and
//! may lose answers.

use super::redis::{Claim, Field, Kind, Late, Mode, Owner, Part, Redis, Run, Script, Sender, Why};
use farspan::core::finished::Notification;
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
    /// The so-manieth commit or claim from now on is given up, and may come later.
    pub gives_up: &'a mut Option<u32>,
    pub late: &'a mut Vec<Late>,
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

    /// Sends a script, into a black hole perhaps.
    fn send(&mut self, sender: Sender, script: impl FnOnce() -> Script) -> Result<(), Trouble> {
        match self.gives_up {
            None | Some(0) if self.is_cut => {}
            None => return Ok(()),
            Some(0) => {}
            Some(scripts) => {
                *scripts -= 1;
                return Ok(());
            }
        }
        *self.gives_up = None;
        self.late.push(Late {
            sender,
            script: script(),
        });
        Err(Trouble::Redis)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Redis,
    Lapsed,
    Twin,
    Unfinished(RunKey),
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
        let waits = claimed.spans.len() + claimed.notifications.len();
        self.refused.is_empty() && claimed.workflows.is_empty() && waits == 0
    }
}

pub struct View<'a> {
    pub everything: &'a dyn Fn() -> Vec<Change>,
    pub room: usize,
}

/// How far one is in writing everything anew, in the order of the runs, or the changes that came meanwhile.
#[derive(Clone, Copy)]
struct Rejoining {
    behind: Option<RunKey>,
    /// `None`: everything.
    from: Option<usize>,
    until: usize,
}

pub struct Client {
    pub owner: Owner,
    lease: Duration,
    pub is_connected: bool,
    links: u64,
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
    /// Scripts after which a commit leaves the rest to the next, and those that it has left.
    parts_max: usize,
    parts_left: usize,
    /// The last run that was written anew, and how many changes there were when it began.
    rejoining: Option<Rejoining>,
    /// Commits that left something to the next.
    pub unfinished: u64,
    estates: Vec<Estate>,
    /// Times that everything was written anew.
    pub rejoined: u64,
}

/// Our share in what a dead owner has left.
struct Estate {
    owner: Owner,
    share: usize,
    cursor: Option<RunKey>,
}

/// Scripts of claims in one commit, about.
const CLAIMS_MAX: usize = 4;

impl Client {
    pub fn new(owner: Owner, lease: Duration, runs_max: usize, parts_max: usize, now: Now) -> Self {
        Client {
            owner,
            lease,
            is_connected: false,
            links: 0,
            is_born: false,
            is_whole: false,
            mine: BTreeSet::new(),
            renewed: None,
            sure: None,
            untold: Vec::new(),
            due: now.mono,
            runs_max,
            parts_max,
            parts_left: parts_max,
            rejoining: None,
            unfinished: 0,
            estates: Vec::new(),
            rejoined: 0,
        }
    }

    pub fn sender(&self) -> Sender {
        Sender {
            owner: self.owner,
            link: self.links,
            lease: self.lease.as_nanos() as u64,
        }
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
        self.parts_left = self.parts_max;
        let mut tried = self.try_commit(changes, view, wire, now);
        if matches!(tried, Err(Trouble::Lapsed)) {
            (self.is_whole, self.rejoining) = (false, None);
            tried = self.try_commit(changes, view, wire, now);
        }
        if let Err(trouble) = &tried {
            self.is_whole = false;
            self.is_connected &= *trouble != Trouble::Redis;
            match trouble {
                Trouble::Unfinished(_) => self.unfinished += 1,
                _ => self.rejoining = None,
            }
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
            self.links += 1;
            self.rejoining = None;
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
        let mut it = match self.rejoining {
            Some(it) => it,
            None => {
                self.register(wire, now)?;
                let until = changes.len();
                Rejoining {
                    behind: None,
                    from: None,
                    until,
                }
            }
        };
        loop {
            let (mut runs, modes) = match it.from {
                None => {
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
                    (runs, (known, Mode::Whole))
                }
                Some(from) => (by_run(&changes[from..it.until]), (Mode::Known, Mode::New)),
            };
            runs.retain(|run, _| Some(*run) > it.behind);
            let written = self.write(runs, modes.0, modes.1, wire, now);
            if let Err(Trouble::Unfinished(behind)) = written {
                it.behind = Some(behind);
                self.rejoining = Some(it);
            }
            written?;
            if it.until == changes.len() {
                break;
            }
            it = Rejoining {
                behind: None,
                from: Some(it.until),
                until: changes.len(),
            };
        }
        self.rejoining = None;
        self.is_whole = true;
        self.sure = self.renewed;
        self.find_own(committed, wire, now)
    }

    fn register(&mut self, wire: &mut Wire<'_>, now: Now) -> Result<(), Trouble> {
        self.estates.clear();
        let (sender, is_new) = (self.sender(), !self.is_born);
        if !wire.call(|redis, at| redis.register(sender, is_new, at))? {
            return Err(Trouble::Twin);
        }
        self.renewed = Some(now);
        self.is_born = true;
        self.rejoined += 1;
        Ok(())
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
        let sender = self.sender();
        let mut chunks = parts.chunks(self.runs_max).peekable();
        while let Some(parts) = chunks.next() {
            wire.send(sender, || Script::Commit(parts.to_vec()))?;
            let answer = wire.call(|redis, at| redis.commit(sender, parts, at))?;
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
            self.parts_left = self.parts_left.saturating_sub(1);
            if self.parts_left == 0
                && chunks.peek().is_some()
                && let Some(last) = parts.last()
            {
                return Err(Trouble::Unfinished(last.run));
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
        let sender = self.sender();
        if self.estates.is_empty() {
            let found = wire.call(|redis, at| redis.look(sender, at))?;
            self.renew_if(&found, now)?;
            self.estates = (found.into_iter().flatten())
                .map(|left| Estate {
                    owner: left.owner,
                    share: left.share,
                    cursor: None,
                })
                .collect();
        }
        let (mut room, mut looked_at) = (room, 0);
        while looked_at < CLAIMS_MAX * self.runs_max
            && room > 0
            && let Some(mut estate) = self.estates.pop()
        {
            let claim = Claim {
                of: estate.owner,
                cursor: estate.cursor,
                count: self.runs_max,
                room: estate.share.min(room),
            };
            wire.send(sender, || Script::Claim(claim))?;
            let answer = wire.call(|redis, at| redis.claim(sender, claim, at))?;
            self.renew_if(&answer, now)?;
            let Some((cursor, claimed)) = answer else {
                continue;
            };
            if !claimed.is_empty() && std::mem::take(wire.loses_claim) {
                *wire.has_lost = true;
                return Err(Trouble::Redis);
            }
            estate.cursor = cursor;
            room -= claimed.len();
            estate.share -= claimed.len();
            looked_at += claimed.len().max(1);
            for (run, there) in claimed {
                self.adopt(run, there, committed, now);
            }
            if estate.share > 0 && estate.cursor.is_some() {
                self.estates.push(estate);
            }
        }
        let pause = match self.estates.is_empty() || room == 0 {
            true => {
                self.estates.clear();
                self.lease / 3
            }
            false => Duration::from_millis(100),
        };
        self.due = now.mono + pause;
        Ok(())
    }

    /// An answer renews the lease; none at all says that it is lost.
    fn renew_if<T>(&mut self, answer: &Option<T>, now: Now) -> Result<(), Trouble> {
        if answer.is_none() {
            return Err(Trouble::Lapsed);
        }
        self.renew(now);
        Ok(())
    }

    fn adopt(&mut self, run: RunKey, there: Run, committed: &mut Committed, now: Now) {
        self.mine.insert(run);
        let claimed = &mut committed.claimed;
        match there.record {
            Some(record) => claimed.workflows.push((run, record)),
            None => claimed.finished.push((run, now.wall)),
        }
        for ((kind, sequence, monitor), bytes) in there.items {
            match (kind, monitor) {
                (Kind::Span, monitor) => claimed.spans.push(EncodedSpan {
                    sequence,
                    run,
                    monitor,
                    bytes,
                }),
                (Kind::Notification, Some(monitor)) => claimed.notifications.push(Notification {
                    sequence,
                    run,
                    monitor,
                    bytes,
                }),
                (Kind::Notification, None) => panic!("nobody's notification"),
            }
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
    items: BTreeMap<Field, Option<Arc<[u8]>>>,
}

impl Changed {
    fn sets(&self) -> usize {
        let record = matches!(self.record, Some(Some(_)));
        self.items.values().flatten().count() + usize::from(record)
    }

    fn part(self, run: RunKey, mode: Mode) -> Part {
        let mut part = Part {
            run,
            mode,
            record_goes: self.record == Some(None),
            record: self.record.flatten(),
            items: Vec::new(),
            items_gone: Vec::new(),
        };
        for (field, item) in self.items {
            match item {
                Some(item) => part.items.push((field, item)),
                None => part.items_gone.push(field),
            }
        }
        part
    }
}

fn field_of_span(span: &EncodedSpan) -> Field {
    (Kind::Span, span.sequence, span.monitor.clone())
}

fn field_of_notification(it: &Notification) -> Field {
    (Kind::Notification, it.sequence, Some(it.monitor.clone()))
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
                let items = &mut runs.entry(span.run).or_default().items;
                items.insert(field_of_span(span), Some(span.bytes.clone()));
            }
            Change::RemoveSpans(spans) => {
                for span in spans {
                    let run = runs.entry(span.run).or_default();
                    run.items.insert(field_of_span(span), None);
                }
            }
            Change::PutNotification(it) => {
                let items = &mut runs.entry(it.run).or_default().items;
                items.insert(field_of_notification(it), Some(it.bytes.clone()));
            }
            Change::RemoveNotifications(notifications) => {
                for it in notifications {
                    let run = runs.entry(it.run).or_default();
                    run.items.insert(field_of_notification(it), None);
                }
            }
            Change::PutFinished(run, _) => drop(runs.entry(*run).or_default()),
            Change::RemoveFinished(_) => {}
        }
    }
    runs
}
