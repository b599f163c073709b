//! Start events from a Redis pub/sub channel. Each channel has a thread and a connection of its own: one that Redis forbids
//! makes no other one deaf.
//!
//! Pub/sub keeps nothing: an event that is published while no subscriber is connected is lost. So the connection is checked
//! with a ping, replaced as soon as it fails, and each gap is logged with its length.

use super::connecting::{Connecting, Ender};
use super::malformed_log::MalformedLog;
use super::message;
use super::source_state::SourceState;
use crate::core::event::{Origin, StartEvent};
use crate::core::time::Mono;
use crate::os::clock;
use crate::os::threads;
use crate::redis_client::{self, Connection, bytes, elements, told};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use redis::{Client, RedisError, RedisResult, Value};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// What to listen to.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// The Redis URL, password and all.
    pub url: String,
    /// The channel.
    pub channel: String,
    /// How its messages are read.
    pub dialects: message::Dialects,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After so long without a message a ping checks the connection.
const QUIET_MAX: Duration = Duration::from_secs(15);

/// The longest message that is received at all: as long as Redis keeps one for a subscriber, unless configured otherwise
/// (`client-output-buffer-limit`).
const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

impl Subscription {
    /// What the log calls it.
    pub fn title(&self) -> Arc<str> {
        format!("channel {}", self.channel).into()
    }
}

/// Listens until `stopped` disconnects or the channel of events is closed. The thread is not joined: a stop does not wait for
/// it.
///
/// # Errors
/// A text that says what is wrong with the URL, or that there is no thread to be had.
pub fn listen(
    subscription: Subscription,
    events: Sender<StartEvent>,
    states: Sender<SourceState>,
    stopped: Receiver<Infallible>,
) -> Result<Ender, String> {
    let client = Client::open(subscription.url.as_str()).map_err(|e| told(&e))?;
    let place: Box<str> = client.get_connection_info().addr().to_string().into();
    let title = subscription.title();
    let connecting = Connecting::new(title, place.clone(), states, stopped.clone());
    let ender = connecting.ender();
    let mut listener = Listener {
        connecting,
        place,
        client,
        subscription,
        events,
        stopped,
        deaf_since: None,
        malformed: MalformedLog::new(Origin::Channel),
    };
    threads::spawn("redis-pubsub", threads::STACK_BYTES, move || listener.run())
        .map(|_| ender)
        .map_err(|e| format!("cannot start the Redis listener: {e}"))
}

struct Listener {
    client: Client,
    /// Host and port, for the log.
    place: Box<str>,
    subscription: Subscription,
    events: Sender<StartEvent>,
    stopped: Receiver<Infallible>,
    connecting: Connecting,
    /// Since when nothing may have been heard.
    deaf_since: Option<Mono>,
    malformed: MalformedLog,
}

impl Listener {
    fn run(&mut self) {
        while let Err(error) = self.hear() {
            if self.connecting.lost() {
                return;
            }
            self.deaf_since.get_or_insert_with(|| clock::now().mono);
            let words = told_of_channel(&error, &self.client, &self.subscription.channel);
            let pause = self.connecting.failed(&error, &words);
            if self.stopped.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    /// Listens until farspan stops.
    ///
    /// # Errors
    /// The connection to Redis failed, or Redis refuses the subscription.
    fn hear(&mut self) -> RedisResult<()> {
        self.connecting.begin();
        let mut connection = redis_client::connect(&self.client, CONNECT_TIMEOUT)?;
        connection.limit_answers(MESSAGE_BYTES_MAX);
        if !self.connecting.opened(&mut connection)? {
            return Ok(());
        }
        subscribe(&mut connection, &self.subscription.channel)?;
        self.connecting.hears();
        self.log_subscribed();
        let mut heard = clock::now().mono;
        let mut is_pinged = false;
        loop {
            let patience = if is_pinged {
                CONNECT_TIMEOUT
            } else {
                QUIET_MAX
            };
            let value = match connection.receive(patience) {
                Ok(value) => value,
                Err(error) if error.is_timeout() && is_pinged => {
                    // The connection may have been dead since the last message.
                    self.deaf_since = Some(heard);
                    return Err(error);
                }
                Err(error) if error.is_timeout() => {
                    connection.send(&redis::cmd("PING"))?;
                    is_pinged = true;
                    continue;
                }
                // A ping may be forbidden, and a refusal is an answer too.
                Err(error) if is_pinged && error.code().is_some() => Value::Nil,
                Err(error) => return Err(error),
            };
            (heard, is_pinged) = (clock::now().mono, false);
            let Some(payload) = payload_of(value) else {
                continue;
            };
            match message::read(&payload, &self.subscription.dialects) {
                Ok(mut message) => {
                    self.malformed.note_oddity(&message);
                    message.event.origin = Origin::Channel;
                    if self.connecting.is_stopped() || self.events.send(message.event).is_err() {
                        return Ok(());
                    }
                }
                Err(malformed) => self.malformed.note_malformed(&malformed),
            }
        }
    }

    fn log_subscribed(&mut self) {
        let (channel, place) = (&self.subscription.channel, &self.place);
        match self.deaf_since.take() {
            None => log::info!("subscribed to {channel} on Redis at {place}"),
            Some(since) => {
                let gap = clock::now().mono.since(since);
                log::warn!(
                    "subscribed to {channel} on Redis at {place} again; what was published in the last {gap:.1?} may not have been heard"
                );
            }
        }
    }
}

/// Subscribes, and waits for Redis's answer to it. The crate's own call takes a refusal for a success.
fn subscribe(connection: &mut Connection, channel: &str) -> RedisResult<()> {
    connection.send(redis::cmd("SUBSCRIBE").arg(channel))?;
    connection.receive(CONNECT_TIMEOUT).map(drop)
}

/// The payload of a message. `None`: it is the answer to a ping.
fn payload_of(value: Value) -> Option<Vec<u8>> {
    let mut parts = elements(value).into_iter().filter_map(bytes);
    let (kind, _channel, payload) = (parts.next()?, parts.next()?, parts.next()?);
    (kind == b"message").then_some(payload)
}

fn told_of_channel(error: &RedisError, client: &Client, channel: &str) -> String {
    redis_client::told_with_rule(error, client, &format!("+subscribe &{channel}"))
}

/// Connects and subscribes once, for `farspan check`.
///
/// # Errors
/// Why Redis does not let us subscribe, without the password.
pub fn try_to_subscribe(url: &str, channel: &str) -> Result<(), String> {
    let client = Client::open(url).map_err(|e| told(&e))?;
    let connection = redis_client::connect(&client, CONNECT_TIMEOUT);
    let subscribed = connection.and_then(|mut it| subscribe(&mut it, channel));
    subscribed.map_err(|error| told_of_channel(&error, &client, channel))
}

/// Connects once and sends a ping, for `farspan check`. Returns the address and the version. `keeps`: whether Redis is to keep
/// a stream or a fleet's state, which an old version cannot.
///
/// # Errors
/// What went wrong, without the password.
pub fn ping(url: &str, keeps: bool) -> Result<String, String> {
    let client = Client::open(url).map_err(|e| told(&e))?;
    let place = client.get_connection_info().addr().to_string();
    let pong = || -> RedisResult<Option<String>> {
        let mut connection = redis_client::connect(&client, CONNECT_TIMEOUT)?;
        let _: Value = redis::cmd("PING").query(&mut connection)?;
        if keeps {
            redis_client::require_version(&mut connection)
        } else {
            redis_client::version(&mut connection)
        }
    };
    match pong() {
        Ok(Some(version)) => Ok(format!("{place}, version {version}")),
        Ok(None) => Ok(place),
        Err(error) => Err(format!("{place}: {}", told(&error))),
    }
}
