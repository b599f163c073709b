//! The connections of one source to Redis, one after another: the pauses between them, what the log says of them, and
//! what the loop hears.

use super::source_state::SourceState;
use crate::core::backoff::Jitter;
use crate::core::time::Mono;
use crate::os::clock;
use crate::redis_client::{self, Closer, Connection};
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, select};
use redis::{RedisError, RedisResult};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

const PAUSE_BASE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A connection that lasted so long has worked: only then does the next pause begin at [`PAUSE_BASE`] again. A call that
/// Redis refuses fails each connection after calls that succeeded.
const STEADY_AFTER: Duration = Duration::from_secs(30);

/// The loop's side of a source: at the stop, the source must not wait for a message any longer.
#[derive(Debug)]
pub struct Ender(Receiver<Closer>);

impl Ender {
    /// Closes the connection. To be called once the source's `stopped` is disconnected.
    pub fn end(&self) {
        for closer in self.0.try_iter() {
            closer.close();
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Connecting {
    source: Arc<str>,
    /// Host and port, for the log.
    place: Box<str>,
    states: Sender<SourceState>,
    stopped: Receiver<Infallible>,
    /// Where the loop finds what closes the connection, and the other end, to take it back.
    closers: (Sender<Closer>, Receiver<Closer>),
    jitter: Jitter,
    /// When the last connection was begun.
    begun: Mono,
    /// Failures in a row.
    failures: u32,
    /// What the loop heard last. `None`: nothing yet, or that the source hears.
    trouble: Option<Box<str>>,
    hears: bool,
}

impl Connecting {
    /// Nothing is connected yet. `source`: what the log calls the source.
    pub(super) fn new(
        source: Arc<str>,
        place: Box<str>,
        states: Sender<SourceState>,
        stopped: Receiver<Infallible>,
    ) -> Self {
        let now = clock::now();
        Connecting {
            source,
            place,
            states,
            stopped,
            closers: bounded(1),
            jitter: Jitter::new(now.wall.as_unix_ns() as u64),
            begun: now.mono,
            failures: 0,
            trouble: None,
            hears: false,
        }
    }

    /// A connection is begun.
    pub(super) fn begin(&mut self) {
        self.begun = clock::now().mono;
    }

    /// What ends the wait of this source.
    pub(super) fn ender(&self) -> Ender {
        Ender(self.closers.1.clone())
    }

    /// The connection is open, and the loop may close it. Returns whether it is of use: otherwise the stop has begun.
    ///
    /// # Errors
    /// The system gives no second handle to the socket.
    pub(super) fn opened(&self, connection: &mut Connection) -> RedisResult<bool> {
        let _ = self.closers.0.try_send(connection.closer()?);
        Ok(!self.is_stopped())
    }

    /// The connection is of no use any more. Returns whether the stop has begun, which closes it.
    pub(super) fn lost(&self) -> bool {
        // With it the socket would stay open.
        let _ = self.closers.1.try_recv();
        self.is_stopped()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// The source hears events now. Returns whether this is news.
    pub(super) fn hears(&mut self) -> bool {
        let is_news = !self.hears;
        if is_news {
            self.hears = true;
            self.trouble = None;
            self.report();
        }
        is_news
    }

    /// The connection has failed. `words` say why. Returns the pause before the next one.
    pub(super) fn failed(&mut self, error: &RedisError, words: &str) -> Duration {
        if clock::now().mono.since(self.begun) >= STEADY_AFTER {
            self.failures = 0;
        }
        self.failures += 1;
        let pause = self.jitter.pause(PAUSE_BASE, PAUSE_MAX, self.failures);
        let (source, place) = (&self.source, &self.place);
        let is_known = self.trouble.as_deref() == Some(words);
        if redis_client::is_refusal(error) || redis_client::is_too_old(error) {
            // No further try succeeds before an operator has changed something.
            if !is_known {
                log::error!("{source} on Redis at {place}: {words}; farspan goes on trying");
            }
        } else if self.failures <= 2 || self.failures.is_power_of_two() {
            log::warn!("{source} on Redis at {place}: {words}; trying again in {pause:.1?}");
        }
        self.hears = false;
        if !is_known {
            self.trouble = Some(words.into());
            self.report();
        }
        pause
    }

    fn report(&self) {
        let state = SourceState {
            source: self.source.clone(),
            trouble: self.trouble.clone(),
        };
        select! {
            send(self.states, state) -> _ => {}
            recv(self.stopped) -> _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{bounded, never};
    use redis::{ErrorKind, ServerErrorKind};

    #[test]
    fn calls_that_succeed_before_one_that_is_refused_do_not_shorten_the_pause() {
        let (states, reported) = bounded(64);
        let mut it = Connecting::new("stream s".into(), "host".into(), states, never());
        let refusal = (ErrorKind::Server(ServerErrorKind::NoPerm), "no XACK").into();
        let pauses: Vec<Duration> = (0..8)
            .map(|_| {
                it.begin();
                assert!(it.hears());
                it.failed(&refusal, "no XACK")
            })
            .collect();
        assert!(pauses[0] <= PAUSE_BASE, "{pauses:?}");
        assert!(pauses[7] >= PAUSE_MAX / 2, "{pauses:?}");
        let troubles: Vec<_> = reported.try_iter().map(|it| it.trouble).collect();
        assert_eq!(troubles[..3], [None, Some("no XACK".into()), None]);
    }
}
