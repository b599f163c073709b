//! Start events from a Redis stream, read as one consumer of the group `farspan`.
//!
//! ```text
//! XADD -> (undelivered) -> XREADGROUP -> pending, held -> [its spans are delivered] -> XACK
//!                                           |   |
//!                                           |   +-> [its run is another's] -> pending, left -> XAUTOCLAIM by any consumer
//!                                           +-> malformed -> `<stream>.dead`, and XACK once it is there
//! ```
//!
//! An entry is pending from its reading until all spans of its workflow are with the collector, so no event that was
//! published is lost with farspan. Pending entries come first, at the start and after each new connection. While the loop has
//! no room, nothing is read: Redis keeps the entries. Which call is next decides `entries.rs` (pure).

use super::connecting::{Connecting, Ender};
use super::entries::{Entries, EntryId, Settled, StreamCall};
use super::malformed_log::MalformedLog;
use super::message::{self, Malformed};
use super::source_state::SourceState;
use crate::core::event::{Origin, StartEvent};
use crate::core::limits;
use crate::os::clock;
use crate::os::threads;
use crate::redis_client::{self, Connection};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use redis::{Client, RedisError, RedisResult, Value};
use std::convert::Infallible;
use std::sync::Arc;
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
    pub dialects: message::Dialects,
    /// Whether its events name the stream: `<stream>|<entry id>`. Events of the common stream have the plain entry id.
    pub is_named: bool,
    /// In a fleet: entries that no consumer has renewed for so long are claimed. `None`: entries wait for their own
    /// consumer, because its file alone has their history.
    pub lease: Option<Duration>,
    /// Entries to keep; older ones are trimmed, but none that any group still has to read or acknowledge.
    pub length_max: Option<u64>,
}

impl Stream {
    /// Asks whether the stream may be read, for `farspan check`.
    ///
    /// # Errors
    /// What Redis forbids, without the password.
    pub fn ask_rights(&self) -> Result<(), String> {
        let client = Client::open(&*self.url).map_err(|e| redis_client::told(&e))?;
        let call = |name: &str, words: &[&str]| {
            let mut call = redis::cmd(name);
            call.arg(words);
            call
        };
        let key = &*self.key;
        let dead = format!("{key}.dead");
        let mut calls = vec![
            call("XGROUP", &["CREATE", key, GROUP, "0", "MKSTREAM"]),
            call(
                "XREADGROUP",
                &["GROUP", GROUP, &self.consumer, "STREAMS", key, ">"],
            ),
            call("XACK", &[key, GROUP, "0-0"]),
            call("EVAL", &["return 0", "1", key]),
            call("XADD", &[&dead, "*", "reason", "none"]),
        ];
        if self.lease.is_some() {
            calls.push(call(
                "XAUTOCLAIM",
                &[key, GROUP, &self.consumer, "0", "0-0"],
            ));
        }
        let connection = redis_client::connect(&client, PATIENCE);
        let asked = connection.and_then(|mut it| redis_client::ask_rights(&mut it, &calls));
        asked.map_err(|error| redis_client::told_with_rule(&error, &client, &self.rule()))
    }

    /// The ACL rule of a user that may read it.
    fn rule(&self) -> String {
        let fleet = if self.lease.is_some() {
            " +xautoclaim +xpending +xclaim"
        } else {
            ""
        };
        let trims = if self.length_max.is_some() {
            " +xlen +xrange +xinfo +xpending +xtrim"
        } else {
            ""
        };
        let key = &self.key;
        format!("~{key} ~{key}.dead +xgroup +xreadgroup +xack +xadd +eval{fleet}{trims}")
    }

    /// What the log calls it.
    pub fn title(&self) -> Arc<str> {
        format!("stream {}", self.key).into()
    }
}

/// The reading thread.
#[derive(Debug)]
pub struct Listening {
    ended: Receiver<Infallible>,
    ender: Ender,
}

impl Listening {
    /// Ends the wait for an entry, at the stop. What is settled from then on is still acknowledged.
    pub fn end(&self) {
        self.ender.end();
    }

    /// Waits until all released entries are acknowledged, once the channel of settled entries is closed. Waits no longer than
    /// `patience`.
    pub fn finish(self, patience: Duration) {
        if self.ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            log::warn!("entries of the stream could not be acknowledged: they will be read again");
        }
    }
}

/// Entries of one read.
const COUNT: usize = 64;
/// Bytes of one answer, about: no further entry is read beyond them.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// How long a read waits for an entry at most, and so how soon an acknowledgement leaves when no entry comes. Well below
/// [`PATIENCE`], in which Redis must have answered.
const BLOCK: Duration = Duration::from_millis(2500);
/// How soon the loop is asked again whether it has room.
const FULL_PAUSE: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(5);
/// Malformed entries that are kept, about.
const DEAD_MAX: usize = 10_000;
/// Fields of a malformed entry that are kept.
const DEAD_FIELDS_MAX: usize = 64;

const READ: &str = include_str!("stream/read.lua");
const RENEW: &str = include_str!("stream/renew.lua");
const TRIM: &str = include_str!("stream/trim.lua");

/// Reads until `stopped` disconnects or the channel of events is closed, and acknowledges until `settled` is closed.
///
/// # Errors
/// A text that says what is wrong with the URL, or that there is no thread to be had.
pub fn listen(
    stream: Stream,
    events: Sender<StartEvent>,
    settled: Receiver<Settled>,
    states: Sender<SourceState>,
    stopped: Receiver<Infallible>,
) -> Result<Listening, String> {
    let client = Client::open(stream.url.as_str()).map_err(|e| redis_client::told(&e))?;
    let (ended, listening) = bounded(0);
    let trims = stream.length_max.is_some();
    let place: Box<str> = client.get_connection_info().addr().to_string().into();
    let connecting = Connecting::new(stream.title(), place.clone(), states, stopped);
    let ender = connecting.ender();
    let mut reader = StreamReader {
        connecting,
        place,
        client,
        entries: Entries::new(stream.lease, trims, clock::now().mono),
        stream,
        events,
        settled,
        is_quiet: false,
        pending: 0,
        untrimmed: None,
        malformed: MalformedLog::new(Origin::Stream),
    };
    let thread = threads::spawn("redis-stream", threads::STACK_BYTES, move || {
        reader.run();
        drop(ended);
    });
    thread
        .map(|_| Listening {
            ended: listening,
            ender,
        })
        .map_err(|e| format!("cannot start the reader of the Redis stream: {e}"))
}

struct StreamReader {
    client: Client,
    /// Host and port, for the log.
    place: Box<str>,
    connecting: Connecting,
    stream: Stream,
    events: Sender<StartEvent>,
    settled: Receiver<Settled>,
    entries: Entries,
    /// Whether the last wait for an entry brought none.
    is_quiet: bool,
    /// Entries that were pending for this consumer when the connection was made.
    pending: usize,
    /// Why Redis does not let us trim the stream, as it was logged.
    untrimmed: Option<String>,
    malformed: MalformedLog,
}

/// Why reading has ended: the loop has closed its channels, or the connection is lost.
enum ReadingEnd {
    Closed,
    Lost(RedisError),
}

impl From<RedisError> for ReadingEnd {
    fn from(error: RedisError) -> Self {
        ReadingEnd::Lost(error)
    }
}

/// An entry as Redis has it. Without fields: it was trimmed while it was pending.
struct Entry {
    id: Box<str>,
    fields: Option<Vec<(Vec<u8>, Vec<u8>)>>,
}

impl StreamReader {
    fn run(&mut self) {
        let mut stops = false;
        while let Err(ReadingEnd::Lost(error)) = self.work() {
            if self.connecting.lost() && !std::mem::replace(&mut stops, true) {
                // The stop has ended the wait for an entry. What is settled from now on is still acknowledged.
                continue;
            }
            let words = redis_client::told_with_rule(&error, &self.client, &self.stream.rule());
            let pause = self.connecting.failed(&error, &words);
            let until = clock::now().mono + pause;
            loop {
                let left = until.since(clock::now().mono);
                if left.is_zero() {
                    break;
                } else if self.take_settled(left).is_err() {
                    return;
                }
            }
        }
    }

    fn work(&mut self) -> Result<(), ReadingEnd> {
        self.connecting.begin();
        let mut connection = redis_client::connect(&self.client, PATIENCE)?;
        let connection = &mut connection;
        // An entry that is longer than all that is read is pending afterwards, and then read by the script that cuts it.
        connection.limit_answers(ANSWER_BYTES + 2 * limits::ENTRY_BYTES_MAX);
        self.connecting.opened(connection)?;
        redis_client::require_version(connection)?;
        self.make_group(connection)?;
        self.entries.connected();
        self.pending = 0;
        self.is_quiet = false;
        while !self.connecting.is_stopped() {
            self.take_settled(Duration::ZERO)?;
            let call = self.entries.next_call(clock::now().mono);
            self.make(connection, call)?;
        }
        loop {
            let more = self.take_settled(BLOCK);
            while let Some(acknowledge) = self.entries.next_acknowledgement() {
                self.make(connection, acknowledge)?;
            }
            more?;
        }
    }

    fn make(&mut self, connection: &mut Connection, call: StreamCall) -> Result<(), ReadingEnd> {
        match call {
            StreamCall::ReadPending(behind) => {
                let (_, entries) = self.read(connection, &behind, None)?;
                let last = entries.last().map(|entry| entry.id.clone());
                self.pending += entries.len();
                if last.is_none() && self.pending > 0 {
                    let (pending, key) = (self.pending, &self.stream.key);
                    log::info!("{pending} entries of stream {key} were pending for this consumer");
                }
                self.entries.read_pending(last);
                self.take(connection, entries)
            }
            StreamCall::Read => {
                // A wait takes what is there already, so a quiet stream needs one call.
                let mut entries = Vec::new();
                if !self.is_quiet {
                    (_, entries) = self.read(connection, ">", None)?;
                }
                if entries.is_empty() {
                    entries = self.await_entry(connection)?;
                    self.is_quiet = entries.is_empty();
                }
                self.take(connection, entries)
            }
            StreamCall::Acknowledge(ids) => {
                let mut command = redis::cmd("XACK");
                command.arg(&self.stream.key).arg(GROUP);
                add_ids(&mut command, &ids);
                let _: i64 = command.query(connection)?;
                self.entries.acknowledged(ids.len());
                Ok(())
            }
            StreamCall::Renew(ids) => {
                let mut command = redis::cmd("EVAL");
                command.arg(RENEW).arg(1).arg(&self.stream.key);
                command.arg(GROUP).arg(&self.stream.consumer);
                add_ids(&mut command, &ids);
                let lost: Vec<String> = command.query(connection)?;
                let lost: Vec<EntryId> = lost.into_iter().map(Into::into).collect();
                self.entries.lost(&lost);
                Ok(())
            }
            // Ours too: an entry that was left because another instance has its run is tried again.
            StreamCall::Claim(cursor) => {
                let idle = self.stream.lease.unwrap_or_default();
                let (cursor, entries) = self.read(connection, &cursor, Some(idle))?;
                self.entries.claimed(&cursor);
                self.take(connection, entries)
            }
            StreamCall::Trim => {
                let mut command = redis::cmd("EVAL");
                command.arg(TRIM).arg(1).arg(&self.stream.key);
                command.arg(self.stream.length_max);
                match command.query::<i64>(connection) {
                    Err(error) if redis_client::is_refusal(&error) => self.log_untrimmed(&error),
                    trimmed => drop(trimmed?),
                }
                Ok(())
            }
        }
    }

    /// A stream that Redis does not let us trim is read all the same.
    fn log_untrimmed(&mut self, error: &RedisError) {
        let rule = self.stream.rule();
        let words = redis_client::told_with_rule(error, &self.client, &rule);
        if self.untrimmed.as_deref() != Some(&words) {
            let (key, place) = (&self.stream.key, &self.place);
            log::error!("stream {key} on Redis at {place} cannot be trimmed and grows: {words}");
            self.untrimmed = Some(words);
        }
    }

    /// The name of an entry in its event. It is kept in the workflow's record, so that the owner of the run, whichever
    /// instance it is then, knows what to acknowledge.
    fn source(&self, entry: &str) -> Box<str> {
        if self.stream.is_named {
            format!("{}|{entry}", self.stream.key).into()
        } else {
            entry.into()
        }
    }

    fn make_group(&self, connection: &mut Connection) -> RedisResult<()> {
        // From the beginning: what was published before the first farspan started is traced too.
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

    /// Reads or claims entries. Returns where to go on, and the entries.
    fn read(
        &mut self,
        connection: &mut Connection,
        behind: &str,
        idle: Option<Duration>,
    ) -> RedisResult<(String, Vec<Entry>)> {
        let mut command = redis::cmd("EVAL");
        command.arg(READ).arg(1).arg(&self.stream.key);
        command.arg(GROUP).arg(&self.stream.consumer).arg(COUNT);
        command.arg(limits::ENTRY_BYTES_MAX).arg(ANSWER_BYTES);
        command.arg(behind);
        command.arg(idle.map(|idle| idle.as_millis() as u64));
        let answer: Value = command.query(connection)?;
        if self.connecting.hears() {
            let (Stream { key, consumer, .. }, place) = (&self.stream, &self.place);
            log::info!(
                "reading stream {key} on Redis at {place} as consumer {consumer} of group {GROUP}"
            );
        }
        let mut answer = redis_client::elements(answer).into_iter();
        let behind = answer.next().and_then(redis_client::text);
        let entries = answer.next().map(read_entries);
        Ok((behind.unwrap_or_default(), entries.unwrap_or_default()))
    }

    /// Waits for one new entry. Redis wakes the consumer that waits longest, so that each has a share; a script cannot
    /// wait.
    fn await_entry(&self, connection: &mut Connection) -> RedisResult<Vec<Entry>> {
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(GROUP).arg(&self.stream.consumer);
        command.arg("COUNT").arg(1);
        command.arg("BLOCK").arg(self.block().as_millis() as u64);
        command.arg("STREAMS").arg(&self.stream.key).arg(">");
        let answer: Value = command.query(connection)?;
        // One stream: its name, its entries.
        let stream = redis_client::elements(answer).into_iter().next();
        let entries = stream.and_then(|stream| redis_client::elements(stream).pop());
        Ok(entries.map(read_entries).unwrap_or_default())
    }

    /// How long to wait for an entry: in a fleet not beyond the next renewal. Redis takes 0 for ever.
    fn block(&self) -> Duration {
        match self.stream.lease {
            Some(_) => {
                let left = self.entries.next_deadline().since(clock::now().mono);
                left.clamp(Duration::from_millis(1), BLOCK)
            }
            None => BLOCK,
        }
    }

    fn take(&mut self, connection: &mut Connection, entries: Vec<Entry>) -> Result<(), ReadingEnd> {
        for entry in entries {
            if !self.entries.is_new(&entry.id) {
                continue;
            }
            let Some(fields) = entry.fields else {
                let id = &entry.id;
                let trimmed = || format!("entry {id} was trimmed before it was read");
                self.malformed.note("trimmed", None, trimmed);
                self.entries.release(entry.id);
                continue;
            };
            match message::read_fields(&fields, &self.stream.dialects) {
                Ok(message) => {
                    self.malformed.note_oddity(&message);
                    let mut event = message.event;
                    event.origin = Origin::Stream;
                    event.source = Some(self.source(&entry.id));
                    self.hand_over(connection, event)?;
                    self.entries.hold(entry.id);
                }
                Err(malformed) => self.bury(connection, &entry.id, &fields, &malformed)?,
            }
        }
        Ok(())
    }

    /// Hands an event to the loop, and waits until the loop has room. Meanwhile entries are acknowledged and renewed.
    fn hand_over(
        &mut self,
        connection: &mut Connection,
        mut event: StartEvent,
    ) -> Result<(), ReadingEnd> {
        loop {
            event = match self.events.try_send(event) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(ReadingEnd::Closed),
                Err(TrySendError::Full(event)) => event,
            };
            self.take_settled(FULL_PAUSE)?;
            while let Some(upkeep) = self.entries.next_upkeep(clock::now().mono) {
                self.make(connection, upkeep)?;
            }
            if self.connecting.is_stopped() {
                // The entry stays pending, and is read again.
                return Ok(());
            }
        }
    }

    /// Takes in what became of entries. Waits so long for the first one.
    fn take_settled(&mut self, patience: Duration) -> Result<(), ReadingEnd> {
        let mut next = match self.settled.recv_timeout(patience) {
            Ok(settled) => Some(settled),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Err(ReadingEnd::Closed),
        };
        while let Some(settled) = next {
            self.entries.settle(&settled);
            next = self.settled.try_recv().ok();
        }
        Ok(())
    }

    /// Moves a malformed entry to `<stream>.dead`, where an operator can look at it. It is acknowledged only when it is
    /// there; after a crash between the two it is there twice.
    fn bury(
        &mut self,
        connection: &mut Connection,
        id: &str,
        fields: &[(Vec<u8>, Vec<u8>)],
        malformed: &Malformed,
    ) -> RedisResult<()> {
        let dead = format!("{}.dead", self.stream.key);
        let mut add = redis::cmd("XADD");
        add.arg(&dead).arg("MAXLEN").arg("~").arg(DEAD_MAX).arg("*");
        add.arg("reason").arg(malformed.to_string());
        add.arg("id").arg(id);
        for (name, value) in fields.iter().take(DEAD_FIELDS_MAX) {
            add.arg(start(name)).arg(start(value));
        }
        match add.exec(connection) {
            Ok(()) => {
                let moved = || format!("entry {id}, moved to {dead}: {malformed}");
                self.malformed.count();
                self.malformed.note(malformed.reason(), None, moved);
                let mut acknowledge = redis::cmd("XACK");
                acknowledge.arg(&self.stream.key).arg(GROUP).arg(id);
                acknowledge.exec(connection)
            }
            // The others are read.
            Err(error) if error.code().is_some() => {
                let rule = self.stream.rule();
                let why = redis_client::told_with_rule(&error, &self.client, &rule);
                let stays = || {
                    format!(
                        "entry {id}, cannot be moved to {dead}, and stays pending: {why}; {malformed}"
                    )
                };
                self.malformed.count();
                self.malformed.note("not_movable", None, stays);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

fn add_ids(command: &mut redis::Cmd, ids: &[EntryId]) {
    for id in ids {
        command.arg(&**id);
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
