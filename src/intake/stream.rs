//! Start events from a Redis stream, read as one consumer of the group `farspan`.
//!
//! ```text
//! XADD -> (undelivered) -> XREADGROUP -> pending, held -> [its spans are delivered] -> XACK
//!                                           |   |
//!                                           |   +-> [another has its run] -> pending, let go -> XAUTOCLAIM by anyone
//!                                           +-> malformed -> `<stream>.dead` and XACK, in one transaction
//! ```
//!
//! An entry is pending from the moment it is read until all spans of its workflow are with the collector, so nothing
//! that was published is lost with farspan. What is pending from before comes first, at the start and after each new
//! connection. While the loop has no room nothing is read: Redis keeps it.

use super::message::{self, Malformed};
use super::mistakes::Mistakes;
use crate::core::backoff::Jitter;
use crate::core::event::StartEvent;
use crate::core::limits;
use crate::core::time::Mono;
use crate::os::clock;
use crate::os::threads;
use crate::redis_client;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};
use redis::{Client, Connection, RedisError, RedisResult, Value};
use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Duration;

/// The consumer group.
pub const GROUP: &str = "farspan";

/// What to read.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The Redis URL, password and all.
    pub url: String,
    /// The stream's key.
    pub key: String,
    /// Our name in the group.
    pub consumer: String,
    /// How its entries are read.
    pub reading: message::Reading,
    /// Whether its events name it: `<stream>|<entry id>`. Those of one stream have the plain id.
    pub is_named: bool,
    /// In a fleet: entries that nobody has renewed for so long are taken over. `None`: entries wait for their own
    /// consumer, whose store alone has their history.
    pub lease: Option<Duration>,
    /// Entries to keep; older ones are trimmed, but none that any group still has to read or acknowledge.
    pub length_max: Option<u64>,
}

/// The stream, where a source names it, and the entry's id, in which no `|` is.
pub fn stream_and_entry(source: &str) -> (Option<&str>, &str) {
    match source.rsplit_once('|') {
        Some((stream, entry)) => (Some(stream), entry),
        None => (None, source),
    }
}

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Its spans are delivered: acknowledge it.
    Release(Box<str>),
    /// Its run is another instance's: leave it pending, and do not keep it from others.
    Leave(Box<str>),
}

/// The reading thread.
#[derive(Debug)]
pub struct Listening(Receiver<Infallible>);

impl Listening {
    /// Waits until all that was settled is acknowledged, once the channel it comes by is closed; not longer than that.
    pub fn finish(self, patience: Duration) {
        if self.0.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            log::warn!("entries of the stream could not be acknowledged; they come again");
        }
    }
}

/// Entries of one read.
const COUNT: usize = 64;
/// So long a read waits for entries; also how soon an acknowledgement or a stop is heard.
const BLOCK: Duration = Duration::from_millis(100);
/// The loop is asked again so soon whether it has room.
const FULL_PAUSE: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(5);
const RECONNECT_BASE: Duration = Duration::from_millis(200);
const RECONNECT_MAX: Duration = Duration::from_secs(10);
const TRIM_EVERY: Duration = Duration::from_secs(5);
/// Ids in one command.
const IDS_MAX: usize = 500;
/// Malformed entries that are kept, about.
const DEAD_MAX: usize = 10_000;
/// Fields of a malformed entry that are kept.
const DEAD_FIELDS_MAX: usize = 64;

/// Sets the idle time of those entries to nothing that are still ours, and answers with the others.
const RENEW: &str = r"
local lost = {}
for i = 3, #ARGV do
  local id = ARGV[i]
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1, ARGV[2])
  if #pending == 1 then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id, 'JUSTID')
  else
    lost[#lost + 1] = id
  end
end
return lost";

/// Trims up to 200 of the oldest entries beyond `ARGV[1]`, but none that a group has yet to read or to acknowledge.
const TRIM: &str = r"
local excess = redis.call('XLEN', KEYS[1]) - tonumber(ARGV[1])
if excess <= 0 then return 0 end
local function before(a, b)
  local a1, a2 = a:match('^(%d+)%-(%d+)$')
  local b1, b2 = b:match('^(%d+)%-(%d+)$')
  a1, a2, b1, b2 = tonumber(a1), tonumber(a2), tonumber(b1), tonumber(b2)
  return a1 < b1 or (a1 == b1 and a2 < b2)
end
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', math.min(excess, 200) + 1)
local cut = oldest[#oldest][1]
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local about = {}
  for i = 1, #group, 2 do about[group[i]] = group[i + 1] end
  if before(about['last-delivered-id'], cut) then cut = about['last-delivered-id'] end
  local pending = redis.call('XPENDING', KEYS[1], about['name'])
  if pending[2] and before(pending[2], cut) then cut = pending[2] end
end
return redis.call('XTRIM', KEYS[1], 'MINID', '=', cut)";

/// Reads until `stopped` disconnects or the channel of events is closed, and acknowledges until `settled` is closed.
///
/// # Errors
/// A text that says what is wrong with the URL, or that there is no thread to be had.
pub fn listen(
    stream: Stream,
    events: Sender<StartEvent>,
    settled: Receiver<Settled>,
    stopped: Receiver<Infallible>,
) -> Result<Listening, String> {
    let client = Client::open(stream.url.as_str()).map_err(|e| redis_client::told(&e))?;
    let (ended, listening) = bounded(0);
    let now = clock::now().mono;
    let mut reader = Reader {
        place: client.get_connection_info().addr().to_string(),
        client,
        stream,
        events,
        settled,
        stopped,
        held: HashSet::new(),
        releases: Vec::new(),
        renew_at: now,
        claim_at: now,
        trim_at: now,
        mistakes: Mistakes::default(),
    };
    let thread = threads::spawn("redis-stream", threads::STACK_BYTES, move || {
        reader.run();
        drop(ended);
    });
    thread
        .map(|_| Listening(listening))
        .map_err(|e| format!("cannot start the reader of the Redis stream: {e}"))
}

struct Reader {
    client: Client,
    /// Host and port, for the log.
    place: String,
    stream: Stream,
    events: Sender<StartEvent>,
    settled: Receiver<Settled>,
    stopped: Receiver<Infallible>,
    /// Entries that the loop has.
    held: HashSet<Box<str>>,
    /// Entries to acknowledge.
    releases: Vec<Box<str>>,
    renew_at: Mono,
    claim_at: Mono,
    trim_at: Mono,
    mistakes: Mistakes,
}

/// Nobody wants anything any more, or Redis is away.
enum Ended {
    Closed,
    Lost(RedisError),
}

impl From<RedisError> for Ended {
    fn from(error: RedisError) -> Self {
        Ended::Lost(error)
    }
}

/// An entry as Redis tells it. No fields: it was trimmed away while it was pending.
struct Entry {
    id: Box<str>,
    fields: Option<Vec<(Vec<u8>, Vec<u8>)>>,
}

impl Reader {
    fn run(&mut self) {
        let mut jitter = Jitter::new(clock::now().wall.as_unix_ns() as u64);
        let mut failures = 0;
        let mut said = String::new();
        loop {
            let Err(Ended::Lost(error)) = self.work(&mut failures) else {
                return;
            };
            failures += 1;
            let pause = jitter.pause(RECONNECT_BASE, RECONNECT_MAX, failures);
            let (place, key, words) = (&self.place, &self.stream.key, redis_client::told(&error));
            if redis_client::is_too_old(&error) {
                if words != said {
                    log::error!("stream {key} on Redis at {place}: {words}; still trying");
                }
            } else if failures <= 2 || failures.is_power_of_two() {
                log::warn!(
                    "stream {key} on Redis at {place}: {words}; trying again in {pause:.1?}"
                );
            }
            said = words;
            let until = clock::now().mono + pause;
            while clock::now().mono < until {
                if self.take_settled(FULL_PAUSE).is_err() {
                    return;
                }
            }
        }
    }

    fn work(&mut self, failures: &mut u32) -> Result<(), Ended> {
        let mut connection = redis_client::connect(&self.client, PATIENCE)?;
        let connection = &mut connection;
        redis_client::require_version(connection)?;
        self.make_group(connection)?;
        *failures = 0;
        log::info!(
            "reading stream {} on Redis at {} as consumer {} of group {GROUP}",
            self.stream.key,
            self.place,
            self.stream.consumer
        );
        self.take_pending(connection)?;
        while !self.is_stopped() {
            self.do_chores(connection)?;
            let entries = self.read(connection, ">", true)?;
            self.take(connection, entries)?;
        }
        loop {
            let more = self.take_settled(BLOCK);
            self.acknowledge(connection)?;
            more?;
        }
    }

    /// What tells an event's entry from all others. It is in the workflow's record, so that whoever reads that later
    /// knows where to acknowledge.
    fn source(&self, entry: &str) -> Box<str> {
        match self.stream.is_named {
            true => format!("{}|{entry}", self.stream.key).into(),
            false => entry.into(),
        }
    }

    fn make_group(&self, connection: &mut Connection) -> RedisResult<()> {
        // From the beginning: what was published before the first farspan came is for it too.
        let made: RedisResult<()> = redis::cmd("XGROUP")
            .arg("CREATE")
            .arg(&self.stream.key)
            .arg(GROUP)
            .arg("0")
            .arg("MKSTREAM")
            .query(connection);
        match made {
            Err(error) if error.code() == Some("BUSYGROUP") => Ok(()),
            made => made,
        }
    }

    /// What this consumer has read and not acknowledged.
    fn take_pending(&mut self, connection: &mut Connection) -> Result<(), Ended> {
        let mut after: Box<str> = "0".into();
        let mut count = 0;
        loop {
            let entries = self.read(connection, &after, false)?;
            let Some(last) = entries.last() else { break };
            after = last.id.clone();
            count += entries.len();
            self.take(connection, entries)?;
            self.do_chores(connection)?;
        }
        if count > 0 {
            log::info!("{count} entries of the stream were pending for this consumer");
        }
        Ok(())
    }

    fn read(
        &self,
        connection: &mut Connection,
        after: &str,
        block: bool,
    ) -> RedisResult<Vec<Entry>> {
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(GROUP).arg(&self.stream.consumer);
        command.arg("COUNT").arg(COUNT);
        if block {
            command.arg("BLOCK").arg(BLOCK.as_millis() as u64);
        }
        command.arg("STREAMS").arg(&self.stream.key).arg(after);
        let answer: Value = command.query(connection)?;
        // One stream: its name, its entries.
        let mut stream = redis_client::elements(answer).into_iter();
        let entries = match stream.next() {
            Some(Value::Array(mut name_and_entries)) => name_and_entries.pop(),
            _ => stream.next(),
        };
        Ok(entries.map(read_entries).unwrap_or_default())
    }

    fn take(&mut self, connection: &mut Connection, entries: Vec<Entry>) -> Result<(), Ended> {
        for entry in entries {
            if self.held.contains(&entry.id) || self.releases.contains(&entry.id) {
                continue;
            }
            let Some(fields) = entry.fields else {
                let id = &entry.id;
                let trimmed = || format!("entry {id} was trimmed before it was read");
                self.mistakes.note("trimmed", trimmed);
                self.releases.push(entry.id);
                continue;
            };
            match message::read_fields(&fields, &self.stream.reading) {
                Ok(message) => {
                    self.mistakes.note_oddity(&message);
                    let mut event = message.event;
                    event.source = Some(self.source(&entry.id));
                    self.hand_over(connection, event)?;
                    self.held.insert(entry.id);
                }
                Err(malformed) => self.bury(connection, &entry.id, &fields, &malformed)?,
            }
        }
        Ok(())
    }

    /// Waits for room. Meanwhile what is delivered is acknowledged, and what is held stays ours.
    fn hand_over(
        &mut self,
        connection: &mut Connection,
        mut event: StartEvent,
    ) -> Result<(), Ended> {
        loop {
            event = match self.events.try_send(event) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(Ended::Closed),
                Err(TrySendError::Full(event)) => event,
            };
            self.take_settled(FULL_PAUSE)?;
            self.acknowledge(connection)?;
            self.renew(connection)?;
            if self.is_stopped() {
                // It stays pending, and comes again.
                return Ok(());
            }
        }
    }

    /// Hears what became of entries, for so long if nothing comes.
    fn take_settled(&mut self, patience: Duration) -> Result<(), Ended> {
        let mut next = match self.settled.recv_timeout(patience) {
            Ok(settled) => Some(settled),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Err(Ended::Closed),
        };
        while let Some(settled) = next {
            match settled {
                Settled::Release(id) => {
                    self.held.remove(&id);
                    self.releases.push(id);
                }
                Settled::Leave(id) => {
                    self.held.remove(&id);
                }
            }
            next = self.settled.try_recv().ok();
        }
        Ok(())
    }

    fn acknowledge(&mut self, connection: &mut Connection) -> RedisResult<()> {
        while !self.releases.is_empty() {
            let count = self.releases.len().min(IDS_MAX);
            let mut command = redis::cmd("XACK");
            command.arg(&self.stream.key).arg(GROUP);
            self.releases[..count].iter().for_each(|id| {
                command.arg(&**id);
            });
            let _: i64 = command.query(connection)?;
            self.releases.drain(..count);
        }
        Ok(())
    }

    fn do_chores(&mut self, connection: &mut Connection) -> Result<(), Ended> {
        self.take_settled(Duration::ZERO)?;
        self.acknowledge(connection)?;
        self.renew(connection)?;
        let now = clock::now().mono;
        if let Some(lease) = self.stream.lease
            && now >= self.claim_at
        {
            self.claim_at = now + lease / 3;
            self.claim(connection, lease)?;
        }
        if let Some(length_max) = self.stream.length_max
            && now >= self.trim_at
        {
            self.trim_at = now + TRIM_EVERY;
            let _: i64 = redis::cmd("EVAL")
                .arg(TRIM)
                .arg(1)
                .arg(&self.stream.key)
                .arg(length_max)
                .query(connection)?;
        }
        Ok(())
    }

    /// In a fleet an entry that is not renewed is anybody's.
    fn renew(&mut self, connection: &mut Connection) -> RedisResult<()> {
        let now = clock::now().mono;
        let Some(lease) = self.stream.lease.filter(|_| now >= self.renew_at) else {
            return Ok(());
        };
        self.renew_at = now + lease / 3;
        let held: Vec<Box<str>> = self.held.iter().cloned().collect();
        for ids in held.chunks(IDS_MAX) {
            let mut command = redis::cmd("EVAL");
            command.arg(RENEW).arg(1).arg(&self.stream.key);
            command.arg(GROUP).arg(&self.stream.consumer);
            ids.iter().for_each(|id| {
                command.arg(&**id);
            });
            let lost: Vec<String> = command.query(connection)?;
            for id in lost {
                self.held.remove(&*id);
            }
        }
        Ok(())
    }

    /// Entries that nobody has renewed, ours too: one that was let go because another has its run is tried again.
    fn claim(&mut self, connection: &mut Connection, lease: Duration) -> Result<(), Ended> {
        let mut cursor = "0-0".to_owned();
        loop {
            let answer: Value = redis::cmd("XAUTOCLAIM")
                .arg(&self.stream.key)
                .arg(GROUP)
                .arg(&self.stream.consumer)
                .arg(lease.as_millis() as u64)
                .arg(&cursor)
                .arg("COUNT")
                .arg(COUNT)
                .query(connection)?;
            let mut answer = redis_client::elements(answer).into_iter();
            cursor = answer
                .next()
                .and_then(redis_client::text)
                .unwrap_or_default();
            let entries = answer.next().map(read_entries).unwrap_or_default();
            self.take(connection, entries)?;
            if cursor.is_empty() || cursor == "0-0" || self.is_stopped() {
                return Ok(());
            }
        }
    }

    /// Keeps a malformed entry where somebody can look at it.
    fn bury(
        &mut self,
        connection: &mut Connection,
        id: &str,
        fields: &[(Vec<u8>, Vec<u8>)],
        malformed: &Malformed,
    ) -> RedisResult<()> {
        let key = &self.stream.key;
        let moved = || format!("entry {id}, moved to {key}.dead: {malformed}");
        self.mistakes.note(malformed.reason(), moved);
        let mut add = redis::cmd("XADD");
        add.arg(format!("{}.dead", self.stream.key));
        add.arg("MAXLEN").arg("~").arg(DEAD_MAX).arg("*");
        add.arg("reason").arg(malformed.to_string());
        add.arg("id").arg(id);
        for (name, value) in fields.iter().take(DEAD_FIELDS_MAX) {
            add.arg(start(name)).arg(start(value));
        }
        let mut acknowledge = redis::cmd("XACK");
        acknowledge.arg(&self.stream.key).arg(GROUP).arg(id);
        let mut both = redis::pipe();
        both.atomic().add_command(add).add_command(acknowledge);
        match both.query::<Value>(connection) {
            // It stays pending: one bad entry is no reason to read no other.
            Err(error) if error.code().is_some() => {
                log::error!(
                    "entry {id} is malformed and cannot be moved to {}.dead: {}",
                    self.stream.key,
                    redis_client::told(&error)
                );
                Ok(())
            }
            done => done.map(drop),
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.try_recv() == Err(TryRecvError::Disconnected)
    }
}

fn start(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(limits::EVENT_BYTES_MAX)]
}

fn read_entries(value: Value) -> Vec<Entry> {
    let read = |entry: Value| {
        let mut id_and_fields = redis_client::elements(entry).into_iter();
        let id = id_and_fields.next().and_then(redis_client::text)?.into();
        let fields = match id_and_fields.next() {
            None | Some(Value::Nil) => None,
            Some(fields) => {
                let mut parts = redis_client::elements(fields)
                    .into_iter()
                    .filter_map(redis_client::bytes);
                let mut pairs = Vec::new();
                while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                    pairs.push((name, value));
                }
                Some(pairs)
            }
        };
        Some(Entry { id, fields })
    };
    redis_client::elements(value)
        .into_iter()
        .filter_map(read)
        .collect()
}
