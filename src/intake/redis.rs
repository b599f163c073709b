//! Start events from Redis pub/sub channels, all over one connection.
//!
//! Pub/sub keeps nothing: an event that is published while no subscriber is connected is lost. So the connection is checked
//! with a ping, replaced as soon as it fails, and each gap is logged with its length.

use super::malformed_log::MalformedLog;
use super::message;
use crate::core::backoff::Jitter;
use crate::core::event::StartEvent;
use crate::core::time::Mono;
use crate::os::clock;
use crate::os::threads;
use crate::redis_client::{self, told};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use redis::{Client, RedisResult};
use std::convert::Infallible;
use std::time::Duration;

/// What to listen to.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// The Redis URL, password and all.
    pub url: String,
    /// The channels, each once, and how their messages are read.
    pub channels: Vec<(String, message::Dialects)>,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After so long without a message a ping checks the connection.
const QUIET_MAX: Duration = Duration::from_secs(15);
/// Only its timeout ends a read, so this is how soon a stop is noticed.
const READ_TIMEOUT: Duration = Duration::from_millis(250);
const RECONNECT_BASE: Duration = Duration::from_millis(200);
const RECONNECT_MAX: Duration = Duration::from_secs(10);

/// Listens until `stopped` disconnects or the channel of events is closed. The thread is not joined: a stop does not wait for
/// its read to end.
///
/// # Errors
/// A text that says what is wrong with the URL, or that there is no thread to be had.
pub fn listen(
    subscription: Subscription,
    events: Sender<StartEvent>,
    stopped: Receiver<Infallible>,
) -> Result<(), String> {
    let client = Client::open(subscription.url.as_str()).map_err(|e| told(&e))?;
    let mut listener = Listener {
        place: client.get_connection_info().addr().to_string(),
        client,
        subscription,
        events,
        malformed: MalformedLog::default(),
    };
    let run = move || listener.run(&stopped);
    let thread = threads::spawn("redis-pubsub", threads::STACK_BYTES, run);
    thread
        .map(drop)
        .map_err(|e| format!("cannot start the Redis listener: {e}"))
}

struct Listener {
    client: Client,
    /// Host and port, for the log.
    place: String,
    subscription: Subscription,
    events: Sender<StartEvent>,
    malformed: MalformedLog,
}

impl Listener {
    fn run(&mut self, stopped: &Receiver<Infallible>) {
        let mut jitter = Jitter::new(clock::now().wall.as_unix_ns() as u64);
        let mut failures = 0;
        let mut deaf_since = None;
        while let Err(error) = self.hear(&mut failures, &mut deaf_since, stopped) {
            failures += 1;
            deaf_since.get_or_insert_with(|| clock::now().mono);
            let pause = jitter.pause(RECONNECT_BASE, RECONNECT_MAX, failures);
            let (place, error) = (&self.place, told(&error));
            if failures <= 2 || failures.is_power_of_two() {
                log::warn!("Redis at {place}: {error}; trying again in {pause:.1?}");
            }
            if stopped.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    /// Listens until farspan stops.
    ///
    /// # Errors
    /// The connection to Redis failed.
    fn hear(
        &mut self,
        failures: &mut u32,
        deaf_since: &mut Option<Mono>,
        stopped: &Receiver<Infallible>,
    ) -> RedisResult<()> {
        let mut connection = redis_client::connect(&self.client, CONNECT_TIMEOUT)?;
        let mut pubsub = connection.as_pubsub();
        let channels = self.subscription.channels.iter();
        let channels: Vec<&str> = channels.map(|(channel, _)| &**channel).collect();
        pubsub.subscribe(&channels)?;
        *failures = 0;
        let (channels, place) = (channels.join(", "), &self.place);
        match deaf_since.take() {
            None => log::info!("subscribed to {channels} on Redis at {place}"),
            Some(since) => {
                let gap = clock::now().mono.since(since);
                log::warn!(
                    "subscribed to {channels} on Redis at {place} again; what was published in the last {gap:.1?} may not have been heard"
                );
            }
        }
        let mut heard = clock::now().mono;
        loop {
            pubsub.set_read_timeout(Some(READ_TIMEOUT))?;
            let message = match pubsub.get_message() {
                Ok(message) => message,
                Err(error) if error.is_timeout() => {
                    if is_over(stopped) {
                        return Ok(());
                    }
                    if clock::now().mono.since(heard) >= QUIET_MAX {
                        pubsub.set_read_timeout(Some(CONNECT_TIMEOUT))?;
                        // Without an answer the connection may have been dead since the last message.
                        *deaf_since = Some(heard);
                        let _: redis::Value = pubsub.ping()?;
                        *deaf_since = None;
                        heard = clock::now().mono;
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            heard = clock::now().mono;
            let mut channels = self.subscription.channels.iter();
            let channel = channels.find(|(name, _)| *name == message.get_channel_name());
            // Redis sends no messages of other channels.
            let Some((_, reading)) = channel else {
                continue;
            };
            let read = message::read(message.get_payload_bytes(), reading);
            match read {
                Ok(message) => {
                    self.malformed.note_oddity(&message);
                    if is_over(stopped) || self.events.send(message.event).is_err() {
                        return Ok(());
                    }
                }
                Err(malformed) => self.malformed.note_malformed(&malformed),
            }
        }
    }
}

fn is_over(stopped: &Receiver<Infallible>) -> bool {
    stopped.try_recv() == Err(TryRecvError::Disconnected)
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
        let _: redis::Value = redis::cmd("PING").query(&mut connection)?;
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
