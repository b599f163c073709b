//! The store of a fleet: Redis, shared by all instances.
//!
//! ```text
//! farspan:{<namespace>/<service>}:instance:<name>   <token>/<link>, PX = lease   who is alive
//!                                :run:<run>         o = owner, w = record, s:<sequence>[:<monitor>] = spans,
//!                                                   n:<sequence>:<monitor> = its finished event
//!                                :done:<run>        EX = a day, or a longer      delivered lately
//!                                                   lookback
//!                                :runs:<owner>      the runs of an owner        for takeovers
//!                                :owners            all owners                  for takeovers
//!                                :share:<owner>     PX = lease                  runs that each heir takes of a dead one
//! ```
//!
//! An owner is `<name>/<token>`, one life of an instance. A run belongs to one owner, and the commit is the claim: a
//! run that another has, dead or alive, is refused. What belongs to an owner whose instance does not hold its token any
//! more is free for whoever finds it. Every commit, renewal and claim is a script, so nothing comes between its check
//! and its writes; each names the link it was sent by, so that what an earlier link delivers late does nothing.
//! `ARCHITECTURE.md`, *Fleet*, has the reasoning.

use super::{Committed, PATIENCE_MAX, Store, StoreError, View};
use crate::core::finished::Notification;
use crate::core::ids::RunKey;
use crate::core::outbox::EncodedSpan;
use crate::core::time::{Mono, Now};
use crate::core::workflow::record;
use crate::core::{Change, Refusal, Stored};
use crate::os::clock;
use crate::redis_client;
use redis::{Client, Cmd, Connection, RedisError, RedisResult, Value};
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// Which fleet, and who in it.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// The Redis URL, password and all.
    pub url: String,
    /// `service.namespace`.
    pub namespace: Option<String>,
    /// `service.name`. Instances with the same namespace and name share their work.
    pub service: String,
    /// This instance's name, unlike all others'.
    pub instance: String,
    /// An instance that is silent for so long is dead.
    pub lease: Duration,
    /// How long a run may come again after its end, from a list. It is known to be done for so long at least.
    pub listed_for: Duration,
}

/// How long a run is known to be done at least: longer than anybody is frozen or cut off who then comes back with it.
const DONE_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Runs in one script.
const RUNS_MAX: usize = 256;
/// Bytes in one script, about.
const SCRIPT_BYTES_MAX: usize = 1024 * 1024;
/// Runs that are looked at for a takeover by one script, about, and by one commit.
const CLAIM_AT_ONCE: usize = 64;
const CLAIM_MAX: usize = 1024;
/// After a commit that has looked at so many, the next comes so soon.
const CLAIM_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// A commit that has taken so long asks Redis for nothing more; what is left is for the next. With the answer it waits
/// for then, and a new connection before it, the loop is still back in time for the service manager's watchdog.
const COMMIT_TIME_MAX: Duration = Duration::from_secs(5);

/// `KEYS[1]`: the instance. `ARGV`: token and link, lease in ms, prefix, owner, whether to push another life of the same
/// name aside. From now on no other link of this life counts.
const REGISTER: &str = r"
local held = redis.call('GET', KEYS[1])
if held and held:match('^[^/]*') ~= ARGV[1]:match('^[^/]*') and ARGV[5] ~= '1' then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SADD', ARGV[3] .. 'owners', ARGV[4])
return 1";

/// `KEYS[1]`: the instance. `ARGV`: token and link, lease in ms, prefix, owner, seconds a done run is remembered; then
/// for each run its name, its mode, how many fields to set and they with their values, how many to remove and they.
///
/// The modes: `new`, a run that is to become ours; `known`, one of ours; `whole`, one that is written anew with
/// all there is; `held`, the same, but one that is gone was done long ago. An answer of `nil`: the lease is lost and
/// nothing was written; else pairs of a run and why it was refused, or that it is over.
const COMMIT: &str = r"
local token, lease, prefix, owner, done_kept = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if redis.call('GET', KEYS[1]) ~= token then return false end
redis.call('PEXPIRE', KEYS[1], lease)
local mine, refused, at = prefix .. 'runs:' .. owner, {}, 6
while at <= #ARGV do
  local run, mode, sets = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local first = at + 3
  local removals = tonumber(ARGV[first + 2 * sets])
  local first_removal = first + 2 * sets + 1
  at = first_removal + removals
  local key, done = prefix .. 'run:' .. run, prefix .. 'done:' .. run
  local has = redis.call('HGET', key, 'o')
  local why = nil
  if has then
    if has ~= owner then why = 'elsewhere' end
  elseif sets > 0 and redis.call('EXISTS', done) == 1 then
    why = 'done'
  elseif sets > 0 and mode == 'held' then
    why = 'done'
  elseif sets > 0 and mode == 'known' then
    why = 'gone'
  end
  if why then
    refused[#refused + 1] = run
    refused[#refused + 1] = why
  else
    if mode == 'whole' or mode == 'held' then redis.call('DEL', key) end
    for i = 0, sets - 1 do
      redis.call('HSET', key, ARGV[first + 2 * i], ARGV[first + 2 * i + 1])
    end
    for i = 0, removals - 1 do
      redis.call('HDEL', key, ARGV[first_removal + i])
    end
    if sets == 0 and redis.call('HLEN', key) - redis.call('HEXISTS', key, 'o') == 0 then
      redis.call('DEL', key)
      redis.call('SREM', mine, run)
      redis.call('SET', done, '1', 'EX', done_kept)
      refused[#refused + 1] = run
      refused[#refused + 1] = 'over'
    else
      redis.call('HSET', key, 'o', owner)
      redis.call('SADD', mine, run)
      redis.call('SADD', prefix .. 'owners', owner)
    end
  end
end
return refused";

/// `KEYS[1]`: the instance. `ARGV`: token and link, lease in ms, prefix, owner. Renews the lease and looks for the dead.
/// The answer is `nil` as above; else triples of a dead owner, how many runs an heir takes, and how many there are.
///
/// The first to find a dead owner divides its runs by the instances that live, and writes down what came of it for those
/// that look later. One that is back under its name has all that its former life had.
const LOOK: &str = r"
local token, lease, prefix, owner = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('GET', KEYS[1]) ~= token then return false end
redis.call('PEXPIRE', KEYS[1], lease)
local owners, living, dead, found = prefix .. 'owners', 1, {}, {}
for _, other in ipairs(redis.call('SMEMBERS', owners)) do
  local name, life = other:match('^(.*)/([^/]*)$')
  local held = name and redis.call('GET', prefix .. 'instance:' .. name)
  if other ~= owner then
    if held and held:match('^[^/]*') == life then
      living = living + 1
    else
      dead[#dead + 1] = other
    end
  end
end
for _, other in ipairs(dead) do
  local share_key, runs = prefix .. 'share:' .. other, redis.call('SCARD', prefix .. 'runs:' .. other)
  if runs == 0 then
    redis.call('SREM', owners, other)
    redis.call('DEL', share_key)
  else
    local share = runs
    if other:match('^(.*)/') ~= owner:match('^(.*)/') then
      share = tonumber(redis.call('GET', share_key))
      if not share then
        share = math.ceil(runs / living)
        redis.call('SET', share_key, share, 'PX', lease)
      end
    end
    found[#found + 1] = other
    found[#found + 1] = share
    found[#found + 1] = runs
  end
end
return found";

/// `KEYS[1]`: the instance. `ARGV`: token and link, lease in ms, prefix, owner, the dead owner, where to go on in its
/// runs, about how many to look at, how many to take at most, and the latest version of a record that we can read.
/// Renews the lease and takes runs over. The answer is `nil` as above; else where to go on, how many runs were left
/// because a later farspan has written them, and pairs of a run and its fields.
const CLAIM: &str = r"
local token, lease, prefix, owner, other = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local room, version = tonumber(ARGV[8]), tonumber(ARGV[9])
if redis.call('GET', KEYS[1]) ~= token then return false end
redis.call('PEXPIRE', KEYS[1], lease)
local name, life = other:match('^(.*)/([^/]*)$')
local held = name and redis.call('GET', prefix .. 'instance:' .. name)
if held and held:match('^[^/]*') == life then return {'0', 0} end
local mine, theirs = prefix .. 'runs:' .. owner, prefix .. 'runs:' .. other
local step = redis.call('SSCAN', theirs, ARGV[6], 'COUNT', ARGV[7])
local answer, later = {step[1], 0}, 0
for _, run in ipairs(step[2]) do
  local key = prefix .. 'run:' .. run
  if redis.call('HGET', key, 'o') ~= other then
    redis.call('SREM', theirs, run)
  elseif room > 0 then
    local record = redis.call('HGET', key, 'w')
    if record and #record > 0 and record:byte(1) > version then
      later = later + 1
    else
      redis.call('SREM', theirs, run)
      redis.call('HSET', key, 'o', owner)
      redis.call('SADD', mine, run)
      answer[#answer + 1] = run
      answer[#answer + 1] = redis.call('HGETALL', key)
      room = room - 1
    end
  end
end
answer[2] = later
return answer";

/// `KEYS[1]`: the instance. `ARGV`: token and link. Ends this life at once.
const LEAVE: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0";

/// See the module.
#[derive(Debug)]
pub struct RedisStore {
    client: Client,
    place: String,
    prefix: String,
    instance: String,
    token: String,
    lease: Duration,
    /// How long a run is known to be done.
    done_kept: Duration,
    link: Option<Link>,
    /// How many links there were; the last one's number is part of what Redis knows us by.
    links: u64,
    /// The latest version of a record that can be read here.
    version: u8,
    /// Whether this life has ever been registered. Until then another life of the same name is pushed aside.
    is_born: bool,
    /// Whether all that is ours has been written since the connection was made.
    is_whole: bool,
    /// What is being written anew over several commits.
    rejoining: Option<Rejoining>,
    /// When a commit is to leave the rest to the next, and how long after its begin that is.
    until: Mono,
    time_max: Duration,
    mine: HashSet<RunKey>,
    /// Just before the last request that has renewed the lease.
    renewed: Option<Now>,
    /// The same, of the last one while all that is ours was there.
    sure: Option<Now>,
    /// Runs that were refused, and a commit that went wrong later has told nobody.
    untold: Vec<(RunKey, Refusal)>,
    /// When to renew and to look for what is free.
    due: Mono,
    /// What is still to be taken of the dead.
    estates: Vec<Estate>,
    /// The dead whose runs are all in records of a later version, and how many there were.
    unread: HashMap<String, usize>,
}

/// How far we are in writing everything anew, in the order of the runs; and then what has changed meanwhile, which may be
/// as much.
#[derive(Clone, Copy, Debug)]
struct Rejoining {
    /// The last run that was written.
    behind: Option<RunKey>,
    /// The first change that is to be written. `None`: everything is.
    from: Option<usize>,
    /// Changes that there were when this part began. Those that have come since are written behind it.
    until: usize,
}

/// Our share in what a dead owner has left.
#[derive(Debug)]
struct Estate {
    owner: String,
    share: usize,
    /// Where to go on.
    cursor: String,
    /// Runs in records of a later version, so far.
    later: usize,
}

struct Link {
    connection: Connection,
    register: String,
    commit: String,
    look: String,
    claim: String,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Link")
    }
}

/// Why a commit did not work out.
enum Trouble {
    Redis(RedisError),
    /// The lease has lapsed, or what is stored is not what we stored: everything has to be written anew.
    Lapsed,
    /// Another process has our name.
    Twin,
    /// It takes longer than one commit may; it got to this run.
    Unfinished(RunKey),
}

impl From<RedisError> for Trouble {
    fn from(error: RedisError) -> Self {
        Trouble::Redis(error)
    }
}

impl RedisStore {
    /// A store that is not connected yet.
    ///
    /// # Errors
    /// The URL is none.
    pub fn new(fleet: Fleet) -> Result<Self, StoreError> {
        let client = Client::open(fleet.url.as_str())
            .map_err(|e| StoreError::new(redis_client::told(&e)))?;
        // One hash tag, so that a cluster keeps all keys in one place.
        let plain = |text: &str| text.replace(['{', '}'], "_");
        let tag = match &fleet.namespace {
            Some(namespace) => format!("{}/{}", plain(namespace), plain(&fleet.service)),
            None => plain(&fleet.service),
        };
        Ok(RedisStore {
            place: client.get_connection_info().addr().to_string(),
            client,
            prefix: format!("farspan:{{{tag}}}:"),
            instance: fleet.instance,
            token: new_token(),
            lease: fleet.lease,
            done_kept: fleet.listed_for.max(DONE_KEPT),
            link: None,
            links: 0,
            version: record::VERSION,
            is_born: false,
            is_whole: false,
            rejoining: None,
            until: clock::now().mono,
            time_max: COMMIT_TIME_MAX,
            mine: HashSet::new(),
            renewed: None,
            sure: None,
            untold: Vec::new(),
            due: clock::now().mono,
            estates: Vec::new(),
            unread: HashMap::new(),
        })
    }

    fn owner(&self) -> String {
        format!("{}/{}", self.instance, self.token)
    }

    fn instance_key(&self) -> String {
        format!("{}instance:{}", self.prefix, self.instance)
    }

    fn patience(&self) -> Duration {
        PATIENCE_MAX.min(self.lease / 4)
    }

    fn connect(&mut self) -> RedisResult<()> {
        let mut connection = redis_client::connect(&self.client, self.patience())?;
        redis_client::require_version(&mut connection)?;
        let [register, commit, look, claim] = [REGISTER, COMMIT, LOOK, CLAIM]
            .map(|text| redis_client::load_script(&mut connection, text));
        self.link = Some(Link {
            register: register?,
            commit: commit?,
            look: look?,
            claim: claim?,
            connection,
        });
        self.links += 1;
        Ok(())
    }

    /// A call of a script on our instance, with what all of them begin with.
    fn script(&self, name: impl Fn(&Link) -> &String) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(self.link.as_ref().map(|l| name(l).as_str()));
        command.arg(1).arg(self.instance_key());
        command.arg(self.held()).arg(self.lease.as_millis() as u64);
        command.arg(&self.prefix).arg(self.owner());
        command
    }

    /// What our instance's key holds while we live.
    fn held(&self) -> String {
        format!("{}/{}", self.token, self.links)
    }

    fn ask(&mut self, command: &Cmd) -> Result<Value, Trouble> {
        let asked = clock::now();
        let Some(link) = &mut self.link else {
            return Err(Trouble::Lapsed);
        };
        let answer: Value = command.query(&mut link.connection)?;
        if answer == Value::Nil {
            return Err(Trouble::Lapsed);
        }
        self.renewed = Some(asked);
        if self.is_whole {
            self.sure = self.renewed;
        }
        Ok(answer)
    }

    fn try_commit(&mut self, changes: &[Change], view: &View<'_>) -> Result<Committed, Trouble> {
        if self.link.is_none() {
            self.connect()?;
            self.is_whole = false;
            self.rejoining = None;
        }
        let mut committed = Committed::default();
        let tried = self.write_and_claim(changes, view, &mut committed);
        if tried.is_err() {
            // Nobody will hear of these: they are found again.
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

    fn write_and_claim(
        &mut self,
        changes: &[Change],
        view: &View<'_>,
        committed: &mut Committed,
    ) -> Result<(), Trouble> {
        if self.is_whole {
            self.write(by_run(changes), "known", "new")?;
        } else {
            self.rejoin(changes, view, committed)?;
        }
        if clock::now().mono >= self.due {
            self.take_over(view.room, committed)?;
        }
        Ok(())
    }

    /// After a new connection and after a lapse nothing is sure of what Redis has: it may have been restarted from an
    /// old copy or from none, and others may have taken what was ours. So everything is written anew; what others have
    /// is refused.
    fn rejoin(
        &mut self,
        changes: &[Change],
        view: &View<'_>,
        committed: &mut Committed,
    ) -> Result<(), Trouble> {
        let mut it = match self.rejoining {
            // Were the lease to lapse in between, the next part would say so: nobody registers anew here.
            Some(it) => it,
            None => {
                self.register()?;
                Rejoining {
                    behind: None,
                    from: None,
                    until: changes.len(),
                }
            }
        };
        loop {
            let written = self.write_part(&it, changes, view);
            if let Err(Trouble::Unfinished(behind)) = written {
                it.behind = Some(behind);
                self.rejoining = Some(it);
            }
            written?;
            if it.until >= changes.len() {
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
        self.find_own(committed)
    }

    fn write_part(
        &mut self,
        it: &Rejoining,
        changes: &[Change],
        view: &View<'_>,
    ) -> Result<(), Trouble> {
        let is_left = |run: &RunKey| Some(*run) > it.behind;
        if let Some(from) = it.from {
            let mut runs = by_run(changes.get(from..it.until).unwrap_or(changes));
            runs.retain(|run, _| is_left(run));
            return self.write(runs, "known", "new");
        }
        let mut runs = by_run(&(view.everything)());
        for run in by_run(changes).into_keys() {
            // What is not there any more is delivered.
            if self.mine.contains(&run) {
                runs.entry(run).or_default();
            }
        }
        runs.retain(|run, _| is_left(run));
        // Since a try that failed midway nothing is sure either.
        let now = clock::now();
        let known = match self.sure.map(|sure| silence(sure, now)) {
            Some(silent) if silent >= self.done_kept => "held",
            _ => "whole",
        };
        self.write(runs, known, "whole")
    }

    fn register(&mut self) -> Result<(), Trouble> {
        self.estates.clear();
        let before = self.renewed;
        let mut register = self.script(|link| &link.register);
        register.arg(if self.is_born { "0" } else { "1" });
        if self.ask(&register)? == Value::Int(0) {
            self.renewed = before;
            return Err(Trouble::Twin);
        }
        self.is_born = true;
        Ok(())
    }

    /// Runs that were claimed by a script whose answer never came.
    fn find_own(&mut self, committed: &mut Committed) -> Result<(), Trouble> {
        let index = format!("{}runs:{}", self.prefix, self.owner());
        let members = redis::cmd("SMEMBERS").arg(index).to_owned();
        let members = self.query(&members)?;
        let runs = redis_client::elements(members)
            .into_iter()
            .filter_map(redis_client::text);
        let unknown: Vec<String> = runs
            .filter(|hex| run_of(hex).is_some_and(|run| !self.mine.contains(&run)))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let mut all = redis::pipe();
        for hex in &unknown {
            all.cmd("HGETALL").arg(format!("{}run:{hex}", self.prefix));
        }
        let Some(link) = &mut self.link else {
            return Err(Trouble::Lapsed);
        };
        let fields: Vec<Value> = all.query(&mut link.connection)?;
        for (hex, fields) in unknown.iter().zip(fields) {
            self.adopt(hex, fields, committed);
        }
        Ok(())
    }

    fn query(&mut self, command: &Cmd) -> Result<Value, Trouble> {
        match &mut self.link {
            Some(link) => Ok(command.query(&mut link.connection)?),
            None => Err(Trouble::Lapsed),
        }
    }

    fn write(
        &mut self,
        runs: BTreeMap<RunKey, Changed>,
        mode_of_mine: &str,
        mode_of_others: &str,
    ) -> Result<(), Trouble> {
        let untold: HashSet<RunKey> = self.untold.iter().map(|(run, _)| *run).collect();
        let runs = runs.into_iter().filter(|(run, _)| !untold.contains(run));
        let mut runs = runs.peekable();
        while runs.peek().is_some() {
            let mut command = self.script(|link| &link.commit);
            command.arg(self.done_kept.as_secs());
            let (mut count, mut bytes) = (0, 0);
            let mut written = Vec::new();
            while let Some((run, changed)) = runs.peek()
                && count < RUNS_MAX
                && bytes < SCRIPT_BYTES_MAX
            {
                let is_mine = self.mine.contains(run);
                // What was refused is nothing to us.
                if is_mine || changed.sets() > 0 || mode_of_others == "whole" {
                    let mode = if is_mine {
                        mode_of_mine
                    } else {
                        mode_of_others
                    };
                    bytes += changed.tell(*run, mode, &mut command);
                    written.push(*run);
                    count += 1;
                }
                runs.next();
            }
            if count == 0 {
                return Ok(());
            }
            let mut refused = redis_client::elements(self.ask(&command)?).into_iter();
            let last = written.last().copied();
            self.mine.extend(written);
            while let (Some(run), Some(why)) = (refused.next(), refused.next()) {
                let run = redis_client::text(run).and_then(|hex| run_of(&hex));
                let (Some(run), Some(why)) = (run, redis_client::text(why)) else {
                    continue;
                };
                if why == "gone" {
                    // Somebody has deleted it, or Redis has for want of memory.
                    return Err(Trouble::Lapsed);
                }
                self.mine.remove(&run);
                match why.as_str() {
                    "elsewhere" => self.untold.push((run, Refusal::Elsewhere)),
                    "done" => self.untold.push((run, Refusal::Done)),
                    _ => {}
                }
            }
            if let Some(last) = last
                && runs.peek().is_some()
                && clock::now().mono >= self.until
            {
                return Err(Trouble::Unfinished(last));
            }
        }
        Ok(())
    }

    /// Renews the lease and takes our share of what the dead have left.
    fn take_over(&mut self, room: usize, committed: &mut Committed) -> Result<(), Trouble> {
        if self.estates.is_empty() {
            self.look()?;
        }
        let mut room = room;
        let mut looked_at = 0;
        while looked_at < CLAIM_MAX
            && room > 0
            && let Some(mut estate) = self.estates.pop()
        {
            let (claimed, later) = self.claim(&mut estate, room, committed)?;
            room -= claimed.min(room);
            estate.share -= claimed.min(estate.share);
            estate.later += later;
            looked_at += (claimed + later).max(1);
            match estate.cursor.as_str() {
                _ if estate.share == 0 => {}
                "0" => self.leave_to_later(estate),
                _ => self.estates.push(estate),
            }
            if clock::now().mono >= self.until {
                break;
            }
        }
        let pause = match self.estates.is_empty() || room == 0 {
            true => {
                self.estates.clear();
                self.lease / 3
            }
            false => CLAIM_AGAIN_AFTER,
        };
        self.due = clock::now().mono + pause;
        Ok(())
    }

    fn look(&mut self) -> Result<(), Trouble> {
        let look = self.script(|link| &link.look);
        let mut found = redis_client::elements(self.ask(&look)?).into_iter();
        let mut dead = HashSet::new();
        while let (Some(owner), Some(Value::Int(share)), Some(Value::Int(runs))) =
            (found.next(), found.next(), found.next())
        {
            let (Some(owner), Ok(share), Ok(runs)) =
                (redis_client::text(owner), share.try_into(), runs.try_into())
            else {
                continue;
            };
            dead.insert(owner.clone());
            if self.unread.get(&owner) != Some(&runs) {
                self.estates.push(Estate {
                    owner,
                    share,
                    cursor: "0".into(),
                    later: 0,
                });
            }
        }
        self.unread.retain(|owner, _| dead.contains(owner));
        Ok(())
    }

    /// Answers with how many were claimed, and how many left to a later version.
    fn claim(
        &mut self,
        estate: &mut Estate,
        room: usize,
        committed: &mut Committed,
    ) -> Result<(usize, usize), Trouble> {
        let mut command = self.script(|link| &link.claim);
        command.arg(&estate.owner).arg(&estate.cursor);
        command.arg(CLAIM_AT_ONCE).arg(estate.share.min(room));
        command.arg(self.version);
        let mut answer = redis_client::elements(self.ask(&command)?).into_iter();
        estate.cursor = answer
            .next()
            .and_then(redis_client::text)
            .unwrap_or("0".into());
        let later = match answer.next() {
            Some(Value::Int(later)) => usize::try_from(later).unwrap_or_default(),
            _ => 0,
        };
        let mut claimed = 0;
        while let (Some(run), Some(fields)) = (answer.next(), answer.next()) {
            if let Some(hex) = redis_client::text(run) {
                self.adopt(&hex, fields, committed);
            }
            claimed += 1;
        }
        Ok((claimed, later))
    }

    /// Whoever can read a record takes its run. Until their number changes, those that we cannot are not looked at again.
    fn leave_to_later(&mut self, estate: Estate) {
        let Estate { owner, later, .. } = estate;
        if later > 0 && self.unread.get(&owner) != Some(&later) {
            log::warn!(
                "{later} workflows that {owner} had were stored by a later farspan; they wait for one that can read them"
            );
            self.unread.insert(owner, later);
        }
    }

    fn adopt(&mut self, hex: &str, fields: Value, committed: &mut Committed) {
        let Some(run) = run_of(hex) else { return };
        self.mine.insert(run);
        let claimed = &mut committed.claimed;
        let mut has_record = false;
        let mut fields = redis_client::elements(fields)
            .into_iter()
            .filter_map(redis_client::bytes);
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            if name == b"w" {
                claimed.workflows.push((run, value));
                has_record = true;
            } else if let Some((sequence, monitor)) = numbered(&name, SPAN) {
                claimed.spans.push(EncodedSpan {
                    sequence,
                    run,
                    monitor,
                    bytes: Arc::from(value),
                });
            } else if let Some((sequence, Some(monitor))) = numbered(&name, NOTIFICATION) {
                claimed.notifications.push(Notification {
                    sequence,
                    run,
                    monitor,
                    bytes: Arc::from(value),
                });
            }
        }
        if !has_record {
            claimed.finished.push((run, clock::now().wall));
        }
    }

    fn told(&self, trouble: &Trouble) -> StoreError {
        let (place, instance) = (&self.place, &self.instance);
        match trouble {
            Trouble::Redis(error) => StoreError::new(format_args!(
                "Redis at {place}: {}",
                redis_client::told(error)
            )),
            Trouble::Lapsed => StoreError::new(format_args!(
                "Redis at {place}: the lease has lapsed; what nobody has taken is written anew"
            )),
            Trouble::Unfinished(_) => StoreError::new(format_args!(
                "Redis at {place} is slow: what is held here is written anew, part by part"
            )),
            Trouble::Twin => StoreError::new(format_args!(
                "Redis at {place}: another farspan is {instance} now; give each its own FARSPAN_INSTANCE"
            )),
        }
    }
}

impl Store for RedisStore {
    fn load(&mut self) -> Result<Stored, StoreError> {
        match self.connect() {
            Err(error) if redis_client::is_refusal(&error) => Err(self.told(&error.into())),
            // The first commit connects, registers and takes over.
            _ => Ok(Stored::default()),
        }
    }

    fn commit(&mut self, changes: &[Change], view: &View<'_>) -> Result<Committed, StoreError> {
        self.until = clock::now().mono + self.time_max;
        let mut tried = self.try_commit(changes, view);
        if matches!(tried, Err(Trouble::Lapsed)) {
            log::warn!("{}", self.told(&Trouble::Lapsed));
            self.is_whole = false;
            self.rejoining = None;
            tried = self.try_commit(changes, view);
        }
        tried.map_err(|trouble| {
            self.is_whole = false;
            if !matches!(trouble, Trouble::Unfinished(_)) {
                self.rejoining = None;
            }
            if let Trouble::Redis(_) = trouble {
                self.link = None;
            }
            self.told(&trouble)
        })
    }

    fn next_deadline(&self) -> Option<Mono> {
        Some(self.due)
    }

    fn may_export(&self, now: Now) -> bool {
        let margin = self.lease / 10;
        self.renewed
            .is_some_and(|renewed| silence(renewed, now) + margin < self.lease)
    }

    fn leave(&mut self) {
        let (key, held) = (self.instance_key(), self.held());
        if let Some(link) = &mut self.link {
            let left: RedisResult<Value> = redis::cmd("EVAL")
                .arg(LEAVE)
                .arg(1)
                .arg(key)
                .arg(held)
                .query(&mut link.connection);
            if let Err(error) = left {
                log::debug!("the lease ends by itself: {}", redis_client::told(&error));
            }
        }
    }
}

/// The wall clock goes on while the whole machine sleeps, the other one while the wall clock is set back.
fn silence(since: Now, now: Now) -> Duration {
    let by_wall = now.wall.since(since.wall);
    now.mono.since(since.mono).max(by_wall)
}

/// What is to become of one run.
#[derive(Debug, Default)]
struct Changed {
    /// `Some(None)`: it goes.
    record: Option<Option<Vec<u8>>>,
    /// Spans and the finished event, by their fields.
    items: BTreeMap<String, Option<Arc<[u8]>>>,
}

impl Changed {
    fn sets(&self) -> usize {
        let record = matches!(self.record, Some(Some(_)));
        self.items.values().flatten().count() + usize::from(record)
    }

    /// Writes itself into a call of [`COMMIT`]; answers with its size.
    fn tell(&self, run: RunKey, mode: &str, command: &mut Cmd) -> usize {
        let mut bytes = 64;
        command.arg(run.to_string()).arg(mode).arg(self.sets());
        if let Some(Some(record)) = &self.record {
            bytes += record.len();
            command.arg("w").arg(&**record);
        }
        for (field, item) in &self.items {
            if let Some(item) = item {
                bytes += item.len();
                command.arg(field).arg(&**item);
            }
        }
        let gone = self.items.iter().filter(|(_, item)| item.is_none());
        let gone: Vec<&String> = gone.map(|(field, _)| field).collect();
        let record_goes = self.record == Some(None);
        command.arg(gone.len() + usize::from(record_goes));
        if record_goes {
            command.arg("w");
        }
        for field in gone {
            command.arg(field);
        }
        bytes
    }
}

/// The changes of each run, later ones over earlier ones: a script takes or refuses a run as a whole.
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
            // It is done when nothing of it is left.
            Change::PutFinished(run, _) => drop(runs.entry(*run).or_default()),
            // Redis forgets by itself.
            Change::RemoveFinished(_) => {}
        }
    }
    runs
}

fn run_of(hex: &str) -> Option<RunKey> {
    let mut bytes = [0; 16];
    if hex.len() != 2 * bytes.len() || !hex.is_ascii() {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(RunKey::from_bytes(bytes))
}

/// What fields of spans and of finished events begin with.
const SPAN: &str = "s:";
const NOTIFICATION: &str = "n:";

/// A span's field: its sequence, and the monitor under whose resource it goes where that is not the process's.
fn field_of_span(span: &EncodedSpan) -> String {
    let sequence = span.sequence;
    match &span.monitor {
        None => format!("{SPAN}{sequence}"),
        Some(monitor) => format!("{SPAN}{sequence}:{monitor}"),
    }
}

fn field_of_notification(it: &Notification) -> String {
    format!("{NOTIFICATION}{}:{}", it.sequence, it.monitor)
}

/// The sequence and the monitor in a field of that kind.
fn numbered(field: &[u8], kind: &str) -> Option<(u64, Option<Arc<str>>)> {
    let rest = std::str::from_utf8(field).ok()?.strip_prefix(kind)?;
    match rest.split_once(':') {
        None => Some((rest.parse().ok()?, None)),
        Some((sequence, monitor)) => Some((sequence.parse().ok()?, Some(monitor.into()))),
    }
}

/// Unlike any other: the standard library seeds each of these from the system's randomness.
fn new_token() -> String {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.write_i64(clock::now().wall.as_unix_ns());
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::Wall;
    use std::io::{BufRead, BufReader};
    use std::path::PathBuf;
    use std::process::{Child, ChildStdout, Command, Stdio};
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A redis-server at a socket of its own; gone with the test.
    struct Server {
        child: Child,
        /// Open, so that what it says goes somewhere.
        _says: BufReader<ChildStdout>,
        socket: PathBuf,
    }

    impl Server {
        fn start() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("farspan-store-{}-{number}.sock", std::process::id());
            let socket = std::env::temp_dir().join(name);
            let mut child = Command::new("redis-server")
                .args(["--port", "0", "--save", "", "--unixsocket"])
                .arg(&socket)
                .current_dir(std::env::temp_dir())
                .stdout(Stdio::piped())
                .spawn()
                .expect("redis-server is there; run tests/run");
            let mut says = BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            while !line.contains("eady to accept connections") {
                line.clear();
                let count = says.read_line(&mut line).unwrap();
                assert!(count > 0, "redis-server has ended");
            }
            Server {
                child,
                _says: says,
                socket,
            }
        }

        fn url(&self) -> String {
            format!("unix://{}", self.socket.display())
        }

        fn client(&self) -> Client {
            Client::open(self.url()).unwrap()
        }

        fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
            let mut connection = self.client().get_connection().unwrap();
            let mut command = redis::cmd(words[0]);
            command.arg(&words[1..]).query(&mut connection).unwrap()
        }

        fn store(&self, instance: &str, lease: Duration) -> RedisStore {
            self.store_of_lists(instance, lease, Duration::ZERO)
        }

        fn store_of_lists(
            &self,
            instance: &str,
            lease: Duration,
            listed_for: Duration,
        ) -> RedisStore {
            RedisStore::new(Fleet {
                url: self.url(),
                namespace: Some("test".into()),
                service: "farspan".into(),
                instance: instance.into(),
                lease,
                listed_for,
            })
            .unwrap()
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            drop(self.child.kill());
            drop(self.child.wait());
            drop(std::fs::remove_file(&self.socket));
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    fn key(n: u8) -> RunKey {
        RunKey::from_bytes([n; 16])
    }

    fn put(n: u8, record: &[u8]) -> Change {
        put_of_version(record::VERSION, n, record)
    }

    fn put_of_version(version: u8, n: u8, record: &[u8]) -> Change {
        Change::PutWorkflow {
            run: key(n),
            record: [&[version], record].concat(),
        }
    }

    fn encoded(n: u8, sequence: u64) -> EncodedSpan {
        EncodedSpan {
            sequence,
            run: key(n),
            monitor: (sequence % 2 == 1).then(|| "a:b".into()),
            bytes: vec![n; 3].into(),
        }
    }

    fn notification(n: u8, sequence: u64) -> Notification {
        Notification {
            sequence,
            run: key(n),
            monitor: "a:b".into(),
            bytes: vec![n; 3].into(),
        }
    }

    fn span(n: u8, sequence: u64) -> Change {
        Change::PutSpan(encoded(n, sequence))
    }

    fn commit(store: &mut RedisStore, changes: &[Change]) -> Committed {
        commit_of(store, changes, changes)
    }

    fn commit_of(store: &mut RedisStore, changes: &[Change], all: &[Change]) -> Committed {
        let view = View {
            everything: &|| all.to_vec(),
            room: 1000,
        };
        store.commit(changes, &view).unwrap()
    }

    #[test]
    fn the_commit_is_the_claim() {
        let server = Server::start();
        let (mut a, mut b) = (server.store("a", LONG), server.store("b", LONG));
        assert!(commit(&mut a, &[put(1, b"a's")]).is_plain());
        let committed = commit(&mut b, &[put(1, b"b's"), put(2, b"b's")]);
        assert_eq!(committed.refused, [(key(1), Refusal::Elsewhere)]);
        // A record that ends, its span delivered: done, for everybody.
        let end = [Change::RemoveWorkflow(key(1)), span(1, 7)];
        assert!(commit(&mut a, &end).is_plain());
        assert!(commit(&mut a, &[Change::RemoveSpans(vec![encoded(1, 7)])]).is_plain());
        assert!(a.mine.is_empty());
        let committed = commit(&mut b, &[put(1, b"b's")]);
        assert_eq!(committed.refused, [(key(1), Refusal::Done)]);
        let keys: Vec<String> = server.ask(&["KEYS", "*:run:*"]);
        assert_eq!(keys.len(), 1, "{keys:?}");
        assert!(
            keys[0].starts_with("farspan:{test/farspan}:run:02"),
            "{keys:?}"
        );
    }

    #[test]
    fn what_the_dead_had_is_taken_once_and_whole() {
        let server = Server::start();
        let mut a = server.store("a", LONG);
        let all: Vec<Change> = (0..200).map(|n| put(n, &[n; 10])).collect();
        commit(&mut a, &all);
        commit(
            &mut a,
            &[Change::RemoveWorkflow(key(3)), span(3, 5), span(4, 6)],
        );
        // Of this one only who is to be told of its end is left.
        let told = notification(5, 9);
        let ended = [
            Change::RemoveWorkflow(key(5)),
            Change::PutNotification(told.clone()),
        ];
        commit(&mut a, &ended);
        let mut b = server.store("b", LONG);
        assert!(commit(&mut b, &[]).is_plain(), "a is alive");
        a.leave();
        b.due = clock::now().mono;
        let claimed = commit(&mut b, &[]).claimed;
        assert_eq!(claimed.workflows.len(), 198);
        assert_eq!(claimed.notifications, std::slice::from_ref(&told));
        let mut spans = claimed.spans;
        spans.sort_unstable_by_key(|span| span.sequence);
        assert_eq!(spans, [encoded(3, 5), encoded(4, 6)]);
        assert_eq!(claimed.finished.len(), 2);
        b.due = clock::now().mono;
        assert!(commit(&mut b, &[]).is_plain());
        let gone = [Change::RemoveNotifications(vec![told])];
        assert!(commit(&mut b, &gone).is_plain());
        let committed = commit(&mut b, &[put(5, b"again")]);
        assert_eq!(committed.refused, [(key(5), Refusal::Done)]);
        // One that comes back finds it gone, and keeps what is new.
        let more = [put(1, b"stale"), put(201, b"new")];
        let committed = commit(&mut a, &more);
        assert_eq!(committed.refused, [(key(1), Refusal::Elsewhere)]);
        let record: Vec<u8> = server.ask(&["HGET", &format!("{}run:{}", b.prefix, key(1)), "w"]);
        assert_eq!(record, [&[record::VERSION][..], &[1; 10]].concat());
    }

    /// Commits as when it is due.
    fn look(store: &mut RedisStore) -> Committed {
        store.due = clock::now().mono;
        commit(store, &[])
    }

    #[test]
    fn the_heirs_share_what_the_dead_had() {
        let server = Server::start();
        let [mut a, mut b, mut c] = ["a", "b", "c"].map(|name| server.store(name, LONG));
        let all: Vec<Change> = (0..201).map(|n| put(n, b"")).collect();
        commit(&mut a, &all);
        // They live, though they have nothing.
        assert!(commit(&mut b, &[]).is_plain());
        assert!(commit(&mut c, &[]).is_plain());
        a.leave();
        let counts = [&mut b, &mut c].map(|heir| look(heir).claimed.workflows.len());
        assert_eq!(counts, [101, 100]);
        // Nothing is left, and nobody's place is kept.
        assert!(look(&mut b).is_plain());
        let owners: Vec<String> = server.ask(&["SMEMBERS", &format!("{}owners", b.prefix)]);
        let shares: Vec<String> = server.ask(&["KEYS", "*:share:*"]);
        assert_eq!(
            (owners.len(), shares.len()),
            (2, 0),
            "{owners:?} {shares:?}"
        );
    }

    #[test]
    fn what_an_heir_does_not_take_others_do() {
        let server = Server::start();
        let [mut a, mut b, mut c] = ["a", "b", "c"].map(|name| server.store(name, LONG));
        let all: Vec<Change> = (0..10).map(|n| put(n, b"")).collect();
        commit(&mut a, &all);
        commit(&mut b, &[]);
        commit(&mut c, &[]);
        a.leave();
        let full = View {
            everything: &Vec::new,
            room: 0,
        };
        c.due = clock::now().mono;
        assert!(c.commit(&[], &full).unwrap().is_plain(), "c has no room");
        let counts = [(); 3].map(|()| look(&mut b).claimed.workflows.len());
        assert_eq!(counts, [5, 5, 0]);
    }

    /// Each commit takes a bounded number, never more than there is room for, and the next one goes on soon.
    #[test]
    fn a_large_estate_takes_several_commits() {
        const COUNT: u16 = 3000;
        let server = Server::start();
        let (mut a, mut b) = (server.store("a", LONG), server.store("b", LONG));
        let put = |n: u16| Change::PutWorkflow {
            run: RunKey::from_bytes(u128::from(n).to_be_bytes()),
            record: vec![record::VERSION],
        };
        let all: Vec<Change> = (0..COUNT).map(put).collect();
        commit(&mut a, &all);
        commit(&mut b, &[]);
        a.leave();
        let mut claim = |room| {
            let view = View {
                everything: &Vec::new,
                room,
            };
            b.due = clock::now().mono;
            let claimed = b.commit(&[], &view).unwrap().claimed.workflows;
            (claimed, b.due.since(clock::now().mono) <= CLAIM_AGAIN_AFTER)
        };
        let (mut claimed, soon_again) = claim(10);
        assert_eq!((claimed.len(), soon_again), (10, false), "it is full");
        assert_eq!(claim(0), (vec![], false), "not before there is room");
        let mut counts = Vec::new();
        loop {
            let (more, soon_again) = claim(100_000);
            counts.push(more.len());
            claimed.extend(more);
            if !soon_again {
                break;
            }
        }
        let most = CLAIM_MAX..CLAIM_MAX + 2 * CLAIM_AT_ONCE;
        assert!(
            most.contains(&counts[0]) && most.contains(&counts[1]),
            "{counts:?}"
        );
        let runs: HashSet<RunKey> = claimed.iter().map(|(run, _)| *run).collect();
        assert_eq!((runs.len(), claimed.len()), (COUNT.into(), COUNT.into()));
    }

    #[test]
    fn who_comes_back_has_all_its_own_again() {
        let server = Server::start();
        let (mut a, mut b) = (server.store("a", LONG), server.store("b", LONG));
        let all: Vec<Change> = (0..9).map(|n| put(n, b"")).collect();
        commit(&mut a, &all);
        commit(&mut b, &[]);
        let again = commit(&mut server.store("a", LONG), &[]);
        assert_eq!(again.claimed.workflows.len(), 9);
    }

    #[test]
    fn what_a_later_farspan_stored_is_left_to_one_that_can_read_it() {
        let server = Server::start();
        let [mut a, mut b, mut later] = ["a", "b", "c"].map(|name| server.store(name, LONG));
        later.version = record::VERSION + 1;
        let newer = |n| put_of_version(record::VERSION + 1, n, b"newer");
        commit(&mut a, &[newer(1), put(2, b"old"), newer(3)]);
        a.leave();
        let claimed = look(&mut b).claimed;
        let runs: Vec<RunKey> = claimed.workflows.iter().map(|(run, _)| *run).collect();
        assert_eq!(runs, [key(2)]);
        // They are looked at once, and not until something changes.
        assert_eq!(b.unread.values().collect::<Vec<_>>(), [&2]);
        let scans = || -> String { server.ask(&["INFO", "commandstats"]) };
        let count = |stats: &str| {
            let line = stats.lines().find(|l| l.starts_with("cmdstat_sscan:"));
            line.map(|l| l.split(',').next().unwrap().to_owned())
        };
        let before = count(&scans());
        assert!(before.is_some());
        assert!(look(&mut b).is_plain());
        assert_eq!(count(&scans()), before);
        let claimed = look(&mut later).claimed;
        assert_eq!(claimed.workflows.len(), 2);
        assert!(look(&mut b).is_plain());
        assert!(b.unread.is_empty());
    }

    /// A network that heals delivers what was given up long ago.
    #[test]
    fn what_an_earlier_link_delivers_late_does_nothing() {
        let server = Server::start();
        let mut a = server.store("a", LONG);
        commit(&mut a, &[put(1, b"first")]);
        let mut stale = a.script(|link| &link.commit);
        let old = by_run(&[put(1, b"stale")]);
        stale.arg(a.done_kept.as_secs());
        old[&key(1)].tell(key(1), "known", &mut stale);
        a.link = None;
        assert!(commit(&mut a, &[put(1, b"second")]).is_plain());
        let mut other = server.client().get_connection().unwrap();
        assert_eq!(stale.query::<Value>(&mut other).unwrap(), Value::Nil);
        let record: Vec<u8> = server.ask(&["HGET", &format!("{}run:{}", a.prefix, key(1)), "w"]);
        assert_eq!(&record[1..], b"second");
        // The link that counts goes on.
        assert!(commit(&mut a, &[put(1, b"third")]).is_plain());
    }

    #[test]
    fn a_redis_that_has_forgotten_everything_is_told_again() {
        let server = Server::start();
        let mut a = server.store("a", LONG);
        commit(&mut a, &[put(1, b"one"), put(2, b"two"), span(2, 9)]);
        let _: () = server.ask(&["FLUSHALL"]);
        let all = [put(2, b"two"), span(2, 9), put(3, b"three")];
        let delivered = [Change::RemoveWorkflow(key(1)), put(3, b"three")];
        assert!(commit_of(&mut a, &delivered, &all).is_plain());
        a.leave();
        let claimed = commit(&mut server.store("b", LONG), &[]).claimed;
        let mut runs: Vec<RunKey> = claimed.workflows.iter().map(|(run, _)| *run).collect();
        runs.sort_unstable();
        assert_eq!((runs, claimed.spans.len()), (vec![key(2), key(3)], 1));
    }

    /// However much is held and however slow Redis is, the loop has its turns; what changes meanwhile is written too.
    #[test]
    fn everything_is_written_anew_over_several_commits() {
        const COUNT: u16 = 1000;
        let server = Server::start();
        let run = |n: u16| RunKey::from_bytes(u128::from(n).to_be_bytes());
        let put = |n: u16, record: &[u8]| Change::PutWorkflow {
            run: run(n),
            record: [&[record::VERSION], record].concat(),
        };
        let old: Vec<Change> = (0..COUNT).map(|n| put(n, b"old")).collect();
        let (mut a, mut b) = (server.store("a", LONG), server.store("b", LONG));
        commit(&mut a, &old);
        let _: () = server.ask(&["FLUSHALL"]);
        commit(&mut b, &[put(3, b"b's")]);
        // One part each, as if each answer took that long.
        a.time_max = Duration::ZERO;
        let mut all = old.clone();
        let mut changes = vec![put(2, b"before")];
        all[2] = changes[0].clone();
        let mut commits = 0;
        let committed = loop {
            commits += 1;
            assert!(commits < 20, "it comes to an end");
            let view = View {
                everything: &|| all.clone(),
                room: 0,
            };
            match a.commit(&changes, &view) {
                Ok(committed) => break committed,
                Err(error) => assert!(error.to_string().contains("part by part"), "{error}"),
            }
            if commits == 2 {
                // Behind, ahead, and over.
                changes.extend([put(1, b"new"), put(COUNT - 1, b"new")]);
                changes.push(Change::RemoveWorkflow(run(0)));
                all[1] = put(1, b"new");
                all[usize::from(COUNT) - 1] = put(COUNT - 1, b"new");
                all.remove(0);
            }
        };
        assert!(commits > 3, "{commits}");
        assert_eq!(committed.refused, [(run(3), Refusal::Elsewhere)]);
        assert_eq!(a.mine.len(), usize::from(COUNT) - 2);
        a.leave();
        b.due = clock::now().mono;
        let claimed: BTreeMap<RunKey, Vec<u8>> =
            commit(&mut b, &[]).claimed.workflows.into_iter().collect();
        let told = |n: u16| claimed.get(&run(n)).map(|record| &record[1..]);
        let expected: [(u16, Option<&[u8]>); 6] = [
            (0, None),
            (1, Some(b"new")),
            (2, Some(b"before")),
            (3, None),
            (4, Some(b"old")),
            (COUNT - 1, Some(b"new")),
        ];
        for (n, record) in expected {
            assert_eq!(told(n), record, "{n}");
        }
        assert_eq!(claimed.len(), usize::from(COUNT) - 2);
    }

    /// What changes meanwhile may be more than one commit can write.
    #[test]
    fn whatever_changes_while_everything_is_written_anew_it_comes_to_an_end() {
        const COUNT: u16 = 1000;
        let server = Server::start();
        let run = |n: u16| RunKey::from_bytes(u128::from(n).to_be_bytes());
        let put = |n: u16, record: &[u8]| Change::PutWorkflow {
            run: run(n),
            record: [&[record::VERSION], record].concat(),
        };
        let (mut a, mut b) = (server.store("a", LONG), server.store("b", LONG));
        let mut all: Vec<Change> = (0..COUNT).map(|n| put(n, b"old")).collect();
        commit(&mut a, &all);
        let _: () = server.ask(&["FLUSHALL"]);
        a.time_max = Duration::ZERO;
        let mut changes = vec![put(2, b"old")];
        for commits in 1.. {
            assert!(commits < 20, "it comes to an end");
            let view = View {
                everything: &|| all.clone(),
                room: 0,
            };
            if a.commit(&changes, &view).is_ok() {
                break;
            }
            let record: &[u8] = match commits {
                1 => b"new",
                // Some change once more while the changes are written.
                6 => b"last",
                _ => continue,
            };
            let is_all = commits == 1;
            let those = (0..COUNT).filter(|n| is_all || n % 100 == 0);
            changes.extend(those.map(|n| put(n, record)));
            for n in (0..COUNT).filter(|n| is_all || n % 100 == 0) {
                all[usize::from(n)] = put(n, record);
            }
        }
        a.leave();
        b.due = clock::now().mono;
        let mut told = BTreeMap::new();
        while told.len() < usize::from(COUNT) {
            b.due = clock::now().mono;
            told.extend(commit(&mut b, &[]).claimed.workflows);
        }
        for n in 0..COUNT {
            let record: &[u8] = if n % 100 == 0 { b"last" } else { b"new" };
            assert_eq!(&told[&run(n)][1..], record, "{n}");
        }
    }

    /// Who loses the lease in the middle of it begins anew, and is refused what others have taken meanwhile.
    #[test]
    fn a_lapse_while_everything_is_written_anew_is_noticed() {
        let server = Server::start();
        let all: Vec<Change> = (0..=u8::MAX)
            .flat_map(|n| [put(n, b""), span(n, 1), span(n, 2)])
            .chain([span(7, 3)])
            .chain((0..9).map(|n| Change::PutWorkflow {
                run: RunKey::from_bytes([[u8::MAX; 8], [n; 8]].concat().try_into().unwrap()),
                record: vec![record::VERSION],
            }))
            .collect();
        let (mut a, mut b) = (server.store("a", LONG), server.store("b", LONG));
        commit(&mut a, &all);
        a.time_max = Duration::ZERO;
        a.link = None;
        let view = View {
            everything: &|| all.clone(),
            room: 0,
        };
        assert!(a.commit(&[], &view).is_err(), "there is more than one part");
        assert!(a.rejoining.is_some());
        // The lease ends, and another takes what was written first.
        let _: u8 = server.ask(&["DEL", &a.instance_key()]);
        b.due = clock::now().mono;
        assert_eq!(commit(&mut b, &[]).claimed.workflows.len(), 265);
        let mut refused = 0;
        let committed = loop {
            refused += 1;
            assert!(refused < 9, "it comes to an end");
            if let Ok(committed) = a.commit(&[], &view) {
                break committed;
            }
        };
        assert_eq!(committed.refused.len(), 265);
        assert!(a.mine.is_empty());
    }

    #[test]
    fn what_is_gone_after_a_day_is_done_though_the_machine_slept_meanwhile() {
        let server = Server::start();
        let mut a = server.store("a", LONG);
        commit(&mut a, &[put(1, b"one"), put(2, b"two")]);
        let _: () = server.ask(&["FLUSHALL"]);
        // The monotonic clock stood still; and a first try to come back has renewed the lease, and failed then.
        let sure = a.sure.unwrap();
        let day_ago = Wall::from_unix_ns(sure.wall.as_unix_ns() - DONE_KEPT.as_nanos() as i64);
        a.sure = Some(Now {
            wall: day_ago,
            ..sure
        });
        let committed = commit(&mut a, &[put(1, b"one"), put(2, b"two")]);
        let done = |n| (key(n), Refusal::Done);
        assert_eq!(committed.refused, [done(1), done(2)]);
    }

    /// A list tells of it for as long, and who starts then must not trace it again.
    #[test]
    fn what_is_done_is_known_for_as_long_as_a_list_may_tell_of_it() {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let server = Server::start();
        for (n, listed_for, kept) in [(1, DAY / 24, DAY), (2, DAY * 3, DAY * 3)] {
            let name = format!("{n}");
            let mut store = server.store_of_lists(&name, LONG, listed_for);
            commit(&mut store, &[put(n, b"one")]);
            commit(&mut store, &[Change::RemoveWorkflow(key(n))]);
            let done = format!("{}done:{}", store.prefix, key(n));
            let left: u64 = server.ask(&["TTL", &done]);
            assert!(kept.as_secs() - left < 60, "{left} s of {kept:?}");
            // Whoever was away for less would hear of it: what is gone is not done, Redis has lost it.
            commit(&mut store, &[put(n + 10, b"two")]);
            let _: () = server.ask(&["FLUSHALL"]);
            for (away, is_done) in [(kept - DAY / 24, false), (kept, true)] {
                let sure = clock::now();
                let wall = Wall::from_unix_ns(sure.wall.as_unix_ns() - away.as_nanos() as i64);
                store.sure = Some(Now { wall, ..sure });
                store.is_whole = false;
                store.link = None;
                let refused = commit(&mut store, &[put(n + 10, b"two")]).refused;
                assert_eq!(!refused.is_empty(), is_done, "{away:?} of {kept:?}");
                let _: () = server.ask(&["FLUSHALL"]);
            }
        }
    }

    #[test]
    fn a_lapsed_lease_is_felt_before_it_lapses() {
        let server = Server::start();
        let mut a = server.store("a", Duration::from_secs(10));
        let now = clock::now();
        assert!(
            !a.may_export(now),
            "before the first commit nothing is ours"
        );
        commit(&mut a, &[]);
        let after = |seconds: f64| Now {
            mono: now.mono + Duration::from_secs_f64(seconds),
            wall: now.wall,
        };
        assert!(a.may_export(after(8.0)));
        assert!(!a.may_export(after(9.5)));
        let slept = Now {
            mono: now.mono,
            wall: now.wall + Duration::from_secs(10),
        };
        assert!(!a.may_export(slept), "the machine slept");
        let set_back = Now {
            mono: now.mono,
            wall: Wall::from_unix_ns(0),
        };
        assert!(a.may_export(set_back));
    }

    #[test]
    fn the_newer_of_two_with_one_name_stays() {
        let server = Server::start();
        let (mut older, mut newer) = (server.store("a", LONG), server.store("a", LONG));
        commit(&mut older, &[put(1, b"one")]);
        assert_eq!(commit(&mut newer, &[]).claimed.workflows.len(), 1);
        let view = View {
            everything: &Vec::new,
            room: 0,
        };
        let error = older
            .commit(&[put(1, b"1")], &view)
            .unwrap_err()
            .to_string();
        assert!(error.contains("FARSPAN_INSTANCE"), "{error}");
        assert!(commit(&mut newer, &[put(1, b"again")]).is_plain());
    }

    #[test]
    fn names_are_read_back() {
        assert_eq!(run_of(&key(0xa7).to_string()), Some(key(0xa7)));
        for wrong in ["", "é", &"g".repeat(32), &"+1".repeat(16), &"0".repeat(33)] {
            let _ = run_of(wrong);
        }
        let span = |field: &[u8]| numbered(field, SPAN);
        assert_eq!(span(b"s:18446744073709551615"), Some((u64::MAX, None)));
        assert_eq!(span(b"s:7:etl"), Some((7, Some("etl".into()))));
        let told = Some((7, Some("a:b".into())));
        assert_eq!(numbered(b"n:7:a:b", NOTIFICATION), told);
        for wrong in [
            &b"w"[..],
            b"\xff",
            b"s:",
            b"s::etl",
            b"s:7:\xff",
            b"s:x:etl",
            b"n:7:etl",
        ] {
            assert_eq!(span(wrong), None);
        }
    }
}
