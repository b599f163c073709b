//! The load generator: start events as the external system publishes them, in batches.
//!
//! [`events`] is pure and needs no Redis; [`run`] waits for each event's time and publishes it.

#[cfg(feature = "redis")]
pub use publisher::run;

use super::script::{DotNetTime, Rng, on_tick};
use crate::cli::LoadOptions;
use crate::core::event::StartEvent;
use crate::core::ids::{SpanId, TraceContext, TraceId};
use crate::core::time::Wall;
use serde::Serialize;
use std::time::Duration;

/// A batch is spread over at most this long unless it is told otherwise.
pub const SPREAD_DEFAULT_MAX: Duration = Duration::from_secs(10);

/// One event to come.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedEvent {
    /// When, from the beginning of the load.
    pub at: Duration,
    /// The batch it belongs to, from 0.
    pub batch: u32,
    /// A GUID.
    pub workflow_id: String,
    /// A GUID.
    pub correlation_id: String,
    /// The submitter's trace, one for each event.
    pub parent: Option<TraceContext>,
}

/// The whole load in the order of its times. The seed decides the ids; [`LoadOptions::seed`] is not looked at.
///
/// A batch of 0 counts as 1, and a spread longer than the wait between batches puts the batches off accordingly.
pub fn events(options: &LoadOptions, seed: u64) -> impl Iterator<Item = PlannedEvent> + use<> {
    let (workflows, batch_size, with_parent) =
        (options.workflows, options.batch.max(1), options.with_parent);
    let spread = options
        .spread
        .unwrap_or_else(|| (options.batch_wait / 10).min(SPREAD_DEFAULT_MAX));
    let period = options.batch_wait.max(spread);
    let mut rng = Rng::new(seed, "load");
    (0..workflows).map(move |number| {
        let (batch, place) = (number / batch_size, number % batch_size);
        let in_batch = batch_size.min(workflows - batch * batch_size);
        let within = spread.checked_mul(place).unwrap_or(Duration::MAX) / in_batch;
        let (workflow_id, correlation_id) = (rng.guid(), rng.guid());
        PlannedEvent {
            at: period
                .checked_mul(batch)
                .unwrap_or(Duration::MAX)
                .saturating_add(within),
            batch,
            workflow_id,
            correlation_id,
            parent: with_parent.then(|| draw_parent(&mut rng)),
        }
    })
}

impl PlannedEvent {
    /// The message, submitted and sent at that time (cut to whole ticks).
    pub fn to_json(&self, now: Wall) -> String {
        let now = DotNetTime(on_tick(now));
        let message = StartMessage {
            workflow_id: &self.workflow_id,
            submitted_at: now,
            message_type: "event.workflow.started",
            correlation_id: &self.correlation_id,
            timestamp: now,
            traceparent: self.parent.as_ref().map(TraceContext::traceparent),
        };
        // Cannot fail: no maps, and writing to memory succeeds.
        serde_json::to_string(&message).unwrap_or_default()
    }

    /// What an intake makes of [`Self::to_json`], for the first monitor.
    pub fn to_start_event(&self, now: Wall) -> StartEvent {
        StartEvent {
            submitted_at: Some(on_tick(now)),
            parent: self.parent.clone().map(Box::new),
            ..StartEvent::new(0, &self.workflow_id)
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct StartMessage<'a> {
    workflow_id: &'a str,
    submitted_at: DotNetTime,
    message_type: &'a str,
    correlation_id: &'a str,
    timestamp: DotNetTime,
    #[serde(rename = "traceparent", skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
}

fn draw_parent(rng: &mut Rng) -> TraceContext {
    const SAMPLED: u8 = 1;
    loop {
        let mut trace_id = [0; 16];
        trace_id[..8].copy_from_slice(&rng.u64().to_be_bytes());
        trace_id[8..].copy_from_slice(&rng.u64().to_be_bytes());
        let ids = (
            TraceId::from_bytes(trace_id),
            SpanId::from_bytes(rng.u64().to_be_bytes()),
        );
        // All zeros are drawn once in 2^64 times.
        if let (Some(trace_id), Some(span_id)) = ids {
            return TraceContext {
                trace_id,
                span_id,
                trace_flags: SAMPLED,
                trace_state: None,
            };
        }
    }
}

#[cfg(feature = "redis")]
mod publisher {
    use super::super::{complain, fresh_seed, say};
    use super::{LoadOptions, events};
    use crate::config;
    use crate::os::clock;
    use crossbeam_channel::{Receiver, RecvTimeoutError};
    use redis::{Client, Connection, RedisResult};
    use std::convert::Infallible;
    use std::process::ExitCode;
    use std::time::Duration;

    const TIMEOUT: Duration = Duration::from_secs(5);
    /// For how long Redis and a listener are waited for: they may have been started together with the load.
    const PATIENCE: Duration = Duration::from_secs(5);
    const TRY_EVERY: Duration = Duration::from_millis(100);

    /// Publishes the whole load, or what SIGTERM and SIGINT leave of it; says on standard output what it did.
    ///
    /// Fails when Redis cannot be reached or is lost on the way.
    pub fn run(options: &LoadOptions, redis: &config::Redis) -> ExitCode {
        let stopped = match crate::os::signals::stop() {
            Ok(stopped) => stopped,
            Err(error) => {
                complain(&format!("cannot listen to signals: {error}"));
                return ExitCode::FAILURE;
            }
        };
        match publish(options, redis, &stopped) {
            Ok(()) => ExitCode::SUCCESS,
            Err(trouble) => {
                complain(&trouble);
                ExitCode::FAILURE
            }
        }
    }

    fn publish(
        options: &LoadOptions,
        redis: &config::Redis,
        stopped: &Receiver<Infallible>,
    ) -> Result<(), String> {
        let channel = &redis.channel;
        // The URL itself is never shown: it may have a password in it.
        let client = Client::open(redis.url.expose())
            .map_err(|error| format!("the Redis URL is not one: {error}"))?;
        let place = client.get_connection_info().addr().to_string();
        let connected = connect_with_patience(&client, &place, stopped);
        let mut connection = connected.map_err(|error| {
            format!("cannot reach Redis at {place}: {error} (FARSPAN_REDIS_URL says where it is)")
        })?;
        await_listener(&mut connection, channel, stopped);

        let seed = options.seed.unwrap_or_else(fresh_seed);
        let mut batches = Batches::new(options, channel);
        let begin = clock::now().mono;
        for event in events(options, seed) {
            let wait = (begin + event.at).since(clock::now().mono);
            if stopped.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
                batches.end();
                say("stopped");
                return Ok(());
            }
            let receivers: u64 = redis::cmd("PUBLISH")
                .arg(channel)
                .arg(event.to_json(clock::now().wall))
                .query(&mut connection)
                .map_err(|error| {
                    format!(
                        "lost Redis at {place} after {} events: {error}",
                        batches.published
                    )
                })?;
            batches.count(event.batch, receivers);
        }
        batches.end();
        Ok(())
    }

    fn connect_with_patience(
        client: &Client,
        place: &str,
        stopped: &Receiver<Infallible>,
    ) -> RedisResult<Connection> {
        let begin = clock::now().mono;
        let mut has_said = false;
        loop {
            let error = match connect(client) {
                Err(error) if error.is_io_error() => error,
                connected => return connected,
            };
            if !std::mem::replace(&mut has_said, true) {
                say(&format!(
                    "Redis at {place} does not answer yet ({error}): waiting for {PATIENCE:?}"
                ));
            }
            let is_stopped = stopped.recv_timeout(TRY_EVERY) == Err(RecvTimeoutError::Disconnected);
            if is_stopped || clock::now().mono.since(begin) > PATIENCE {
                return Err(error);
            }
        }
    }

    /// Waits until an event would be heard. Whether it was is known of each event, so that it may be in vain.
    fn await_listener(connection: &mut Connection, channel: &str, stopped: &Receiver<Infallible>) {
        let begin = clock::now().mono;
        let mut has_said = false;
        // Without the right to ask there is nothing to wait for.
        while let Ok((_, 0)) = count_listeners(connection, channel)
            && clock::now().mono.since(begin) < PATIENCE
        {
            if !std::mem::replace(&mut has_said, true) {
                say(&format!(
                    "no farspan listens to {channel} yet: waiting for {PATIENCE:?}"
                ));
            }
            if stopped.recv_timeout(TRY_EVERY) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    /// <https://redis.io/docs/latest/commands/pubsub-numsub/>
    fn count_listeners(connection: &mut Connection, channel: &str) -> RedisResult<(String, u64)> {
        redis::cmd("PUBSUB")
            .arg("NUMSUB")
            .arg(channel)
            .query(connection)
    }

    fn connect(client: &Client) -> RedisResult<Connection> {
        let connection = client.get_connection_with_timeout(TIMEOUT)?;
        connection.set_read_timeout(Some(TIMEOUT))?;
        connection.set_write_timeout(Some(TIMEOUT))?;
        Ok(connection)
    }

    /// Says a line when a batch is done.
    struct Batches<'a> {
        options: &'a LoadOptions,
        channel: &'a str,
        published: u32,
        batch: u32,
        in_batch: u32,
        unheard: u32,
        has_warned: bool,
    }

    impl<'a> Batches<'a> {
        fn new(options: &'a LoadOptions, channel: &'a str) -> Batches<'a> {
            Batches {
                options,
                channel,
                published: 0,
                batch: 0,
                in_batch: 0,
                unheard: 0,
                has_warned: false,
            }
        }

        fn count(&mut self, batch: u32, receivers: u64) {
            if batch != self.batch {
                self.end();
                self.batch = batch;
            }
            self.published += 1;
            self.in_batch += 1;
            if receivers == 0 {
                self.unheard += 1;
                self.warn_once();
            }
            let is_last_of_batch = self.in_batch == self.options.batch.max(1);
            if is_last_of_batch || self.published == self.options.workflows {
                self.end();
            }
        }

        fn warn_once(&mut self) {
            if !std::mem::replace(&mut self.has_warned, true) {
                complain(&format!(
                    "no farspan listens to {0}, so events are lost: start `farspan run` first, with the same \
                     FARSPAN_REDIS_URL and FARSPAN_REDIS_CHANNEL={0}",
                    self.channel
                ));
            }
        }

        fn end(&mut self) {
            if self.in_batch == 0 {
                return;
            }
            let (batch, count, channel) = (self.batch + 1, self.in_batch, self.channel);
            let (published, workflows) = (self.published, self.options.workflows);
            let lost = match self.unheard {
                0 => String::new(),
                unheard => format!(" ({unheard} lost, because no farspan listened)"),
            };
            say(&format!(
                "batch {batch}: {count} events on {channel}{lost}, {published} of {workflows} so far"
            ));
            (self.in_batch, self.unheard) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn options() -> LoadOptions {
        LoadOptions {
            redis_url: None,
            channel: None,
            workflows: 5,
            batch: 2,
            batch_wait: Duration::from_secs(20),
            spread: None,
            with_parent: false,
            seed: None,
        }
    }

    fn times_ms(options: &LoadOptions) -> Vec<u128> {
        events(options, 1)
            .map(|event| event.at.as_millis())
            .collect()
    }

    #[test]
    fn batches_are_spread_in_time() {
        assert_eq!(times_ms(&options()), [0, 1_000, 20_000, 21_000, 40_000]);
        let at_once = LoadOptions {
            spread: Some(Duration::ZERO),
            ..options()
        };
        assert_eq!(times_ms(&at_once), [0, 0, 20_000, 20_000, 40_000]);
        let overlong = LoadOptions {
            spread: Some(Duration::from_secs(60)),
            ..options()
        };
        assert_eq!(times_ms(&overlong), [0, 30_000, 60_000, 90_000, 120_000]);
        let one_by_one = LoadOptions {
            batch: 0,
            batch_wait: Duration::MAX,
            ..options()
        };
        assert_eq!(times_ms(&one_by_one)[4], Duration::MAX.as_millis());
        let slow = LoadOptions {
            batch: 5,
            batch_wait: Duration::from_secs(86_400),
            ..options()
        };
        assert_eq!(times_ms(&slow), [0, 2_000, 4_000, 6_000, 8_000]);
    }

    #[test]
    fn a_message_looks_like_the_originals() {
        let options = LoadOptions {
            with_parent: true,
            ..options()
        };
        let event = events(&options, 1).next().unwrap();
        let now = Wall::from_unix_ns(1_720_162_671_073_740_789);
        expect![[r#"{"WorkflowId":"7af6ae4b-87da-43ba-8a66-3d37eeda668b","SubmittedAt":"2024-07-05T06:57:51.0737407Z","MessageType":"event.workflow.started","CorrelationId":"30f9a634-1829-4f06-960b-3caae124ccd3","Timestamp":"2024-07-05T06:57:51.0737407Z","traceparent":"00-09ed9be1dbb44ac1ac0944fd2e652bc9-baa80a0a4ec29ab0-01"}"#]].assert_eq(&event.to_json(now));
        assert_eq!(
            event.to_start_event(now).submitted_at,
            Some(Wall::from_unix_ns(1_720_162_671_073_740_700))
        );
        assert!(
            !events(&self::options(), 1)
                .next()
                .unwrap()
                .to_json(now)
                .contains("traceparent")
        );
    }

    #[test]
    fn seeds_decide_the_ids() {
        let ids = |seed| {
            events(&options(), seed)
                .map(|event| event.workflow_id)
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(1), ids(1));
        assert_ne!(ids(1), ids(2));
        assert_ne!(ids(1)[0], ids(1)[1]);
    }
}
