//! The numbers of the metrics: a copy of them for each question, and `GET /metrics`.
//!
//! The admin endpoint and the exporter of the metrics ask the loop by a channel. It answers with a copy and never waits for
//! either.

use super::Loop;
use crate::config::Config;
use crate::core::event::Origin;
use crate::core::time::{Now, Wall};
use crate::metrics::{FleetNumbers, Numbers, OutboxNumbers, StoreNumbers};
use crate::os::process::ProcessNumbers;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "admin")]
use crate::admin::Route;
#[cfg(feature = "admin")]
use crate::http::server::Response;
#[cfg(feature = "admin")]
use crate::metrics::families::families;
#[cfg(feature = "admin")]
use crate::metrics::text::TextFormat;

/// A question to the loop. It takes one answer.
pub(super) type NumbersAsked = Sender<Numbers>;

/// Questions that wait for the loop.
const QUESTIONS_MAX: usize = 4;
/// How long a question waits for the loop, and then for its answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks the loop.
#[derive(Clone, Debug)]
pub(super) struct NumbersAsker {
    asks: Sender<NumbersAsked>,
}

/// The two ends of the channel to the loop.
pub(super) fn channel() -> (NumbersAsker, Receiver<NumbersAsked>) {
    let (asks, asked) = bounded(QUESTIONS_MAX);
    (NumbersAsker { asks }, asked)
}

impl NumbersAsker {
    /// All numbers of now. `None`: the loop has not answered in time, or it has ended.
    pub(super) fn ask(&self) -> Option<Numbers> {
        let (answer, answered) = bounded(1);
        self.asks.send_timeout(answer, PATIENCE).ok()?;
        answered.recv_timeout(PATIENCE).ok().map(completed)
    }
}

/// Adds what is known without the loop.
pub(super) fn completed(numbers: Numbers) -> Numbers {
    Numbers {
        malformed: Origin::ALL.map(crate::intake::malformed),
        process: crate::os::process::numbers(),
        ..numbers
    }
}

/// `GET /metrics`. It needs the token: names of workflows and stages are data.
#[cfg(feature = "admin")]
pub(super) fn route(asker: NumbersAsker) -> Route {
    Route {
        method: "GET",
        path: "/metrics",
        is_open: false,
        handler: Box::new(move |request| {
            let Some(numbers) = asker.ask() else {
                return Response::text(
                    503,
                    "the loop has not answered in time, or farspan is stopping",
                );
            };
            let format = TextFormat::accepted(request.header("accept").unwrap_or_default());
            let text = format.render(&families(&numbers));
            Response::new(200, format.content_type(), text.into_bytes())
        }),
    }
}

/// What the numbers need that does not change.
#[derive(Clone, Debug)]
pub(super) struct Numbered {
    /// When the process started.
    pub(super) since: Wall,
    /// The names of the monitors, in their order.
    pub(super) monitors: Arc<[Box<str>]>,
    pub(super) workflows_max: usize,
}

impl Numbered {
    /// Of a process that started then.
    pub(super) fn new(config: &Config, since: Wall) -> Self {
        let monitors = config.monitors.iter();
        Numbered {
            since,
            monitors: monitors
                .map(|monitor| monitor.name.as_str().into())
                .collect(),
            workflows_max: config.workflows_max,
        }
    }
}

impl Loop {
    /// All numbers of now, but for those that are known without the loop.
    pub(super) fn numbers(&self, now: Now) -> Numbers {
        let core = &self.core;
        let (outbox_bytes, oldest) = core.outbox();
        Numbers {
            since: self.numbered.since,
            counters: core.counters().clone(),
            monitors: self.numbered.monitors.clone(),
            workflows_max: self.numbered.workflows_max,
            polls_in_flight: core.polls_in_flight(),
            polls_waiting: core.polls_waiting(),
            polls_held: core.polls_held(),
            refused: core.monitors_refused().collect(),
            outbox: OutboxNumbers {
                spans: core.spans_waiting(),
                bytes: outbox_bytes,
                log_records: core.log_records_waiting(),
                oldest: oldest.map_or(Duration::ZERO, |since| now.mono.since(since)),
            },
            finished_events_waiting: core.notifications_waiting(),
            store: self.store.as_ref().map(|_| StoreNumbers {
                commits: self.turn.commits().clone(),
                bytes_max: core.state_bytes_max(),
                is_full: core.state_is_full(),
                is_troubled: self.turn.is_troubled(),
            }),
            fleet: (self.store.as_ref()).and_then(|store| {
                let lapses = store.lapses()?;
                let is_held = store.may_export(now);
                Some(FleetNumbers { is_held, lapses })
            }),
            sources: (self.feed.sources())
                .map(|(name, hears)| (name.clone(), hears))
                .collect(),
            malformed: [0; Origin::ALL.len()],
            process: ProcessNumbers::default(),
        }
    }
}
