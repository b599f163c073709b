//! The sources of start events: Redis, lists of runs and standard input, and how each is read.

use super::build::{DiscoveryPart, Sources};
use crate::api::exchange::Api;
use crate::api::poller::Target;
use crate::config::Config;
use crate::core::Listing;
use crate::core::event::StartEvent;
#[cfg(feature = "redis")]
use crate::core::limits;
use crate::http::client::Network;
#[cfg(feature = "redis")]
use crate::intake;
use crate::intake::discovery::Channels;
use crate::intake::entries::Settled;
use crate::intake::message::Dialects;
#[cfg(feature = "redis")]
use crate::intake::redis::Subscription;
use crate::intake::source_state::SourceState;
#[cfg(feature = "redis")]
use crate::intake::stream::{self, Stream};
use crate::intake::{discovery, lines};
#[cfg(feature = "redis")]
use crate::os::clock;
#[cfg(feature = "redis")]
use crossbeam_channel::TrySendError;
use crossbeam_channel::{Receiver, Sender, bounded, never};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// The way back to the sources of events.
#[derive(Default)]
pub(super) struct Feed {
    /// Each with its key; the stream for all monitors has the key `None`.
    #[cfg(feature = "redis")]
    streams: Vec<ReadStream>,
    #[cfg(feature = "redis")]
    subscriptions: Vec<intake::connecting::Ender>,
    discoveries: Discoveries,
    /// What sources report of themselves; `None` if none does.
    states: Option<Receiver<SourceState>>,
    /// Why a source hears nothing, by its name in the log; `None`: it hears.
    troubles: BTreeMap<Arc<str>, Option<Box<str>>>,
    /// What a stream had no room for yet, in its order.
    unsettled: VecDeque<Settled>,
}

/// The monitors that ask for lists of runs.
#[derive(Default)]
struct Discoveries {
    all: Vec<Discovering>,
    /// What they say about their requests; `None` if there are none.
    listings: Option<Receiver<Listing>>,
}

/// A stream that is read: its key, what becomes of its entries, and its thread.
#[cfg(feature = "redis")]
type ReadStream = (Option<String>, Sender<Settled>, stream::Listening);

/// A monitor that asks for lists of runs.
struct Discovering {
    /// The monitor's place in the configuration.
    monitor: u16,
    /// How it hears that it may make a request. The channel holds one permit at most.
    permits: Sender<()>,
    /// How it hears of newer credentials.
    apis: Sender<Arc<Api>>,
    /// The other end, to take back what it has not heard yet.
    unheard: Receiver<Arc<Api>>,
}

impl Feed {
    /// Keeps this for its source.
    pub(super) fn push(&mut self, settled: Settled) {
        self.unsettled.push_back(settled);
    }

    /// Hands over what was kept, as far as the sources have room.
    pub(super) fn settle(&mut self) {
        while let Some(settled) = self.unsettled.front()
            && self.try_settle(settled)
        {
            self.unsettled.pop_front();
        }
    }

    /// Whether a source had no room for something.
    pub(super) fn has_unsettled(&self) -> bool {
        !self.unsettled.is_empty()
    }

    /// Whether it was taken; a source that keeps nothing takes everything.
    fn try_settle(&self, settled: &Settled) -> bool {
        #[cfg(feature = "redis")]
        {
            let (stream, _) = settled.stream_and_entry();
            let mut streams = self.streams.iter();
            let found = streams.find(|(key, ..)| key.as_deref() == stream);
            // A stream of an earlier configuration has its entries pending until a configuration has it again.
            if let Some((_, stream, _)) = found {
                return !matches!(stream.try_send(settled.clone()), Err(TrySendError::Full(_)));
            }
        }
        let _ = settled;
        true
    }

    /// Ends what waits for start events. To be called when the stop has begun.
    pub(super) fn stop(&self) {
        #[cfg(feature = "redis")]
        {
            for (_, _, listening) in &self.streams {
                listening.end();
            }
            for ender in &self.subscriptions {
                ender.end();
            }
        }
    }

    /// Waits until what was settled is acknowledged, for this long at most.
    pub(super) fn finish(self, within: Duration) {
        #[cfg(not(feature = "redis"))]
        let _ = within;
        #[cfg(feature = "redis")]
        {
            let begun = clock::now().mono;
            let (settling, listening): (Vec<_>, Vec<_>) = self
                .streams
                .into_iter()
                .map(|(_, settle, listening)| (settle, listening))
                .unzip();
            drop(settling);
            for listening in listening {
                let passed = clock::now().mono.since(begun);
                listening.finish(within.saturating_sub(passed));
            }
        }
    }

    /// From now on lists are asked for with these credentials.
    pub(super) fn renew(&self, targets: &[Arc<Target>]) {
        for discovering in &self.discoveries.all {
            if let Some(target) = targets.get(usize::from(discovering.monitor)) {
                let _ = discovering.unheard.try_recv();
                // It may have ended.
                let _ = discovering.apis.try_send(target.api.clone());
            }
        }
    }

    /// What discoveries say about their requests.
    pub(super) fn listings(&self) -> Receiver<Listing> {
        self.discoveries.listings.clone().unwrap_or_else(never)
    }

    /// The discovery of this monitor may make the request that it waits with.
    pub(super) fn let_list(&self, monitor: u16) {
        let mut all = self.discoveries.all.iter();
        if let Some(discovering) = all.find(|it| it.monitor == monitor) {
            // It may have ended.
            let _ = discovering.permits.try_send(());
        }
    }

    /// What sources report of themselves.
    pub(super) fn states(&self) -> Receiver<SourceState> {
        self.states.clone().unwrap_or_else(never)
    }

    /// Remembers what a source reported.
    pub(super) fn note_state(&mut self, state: SourceState) {
        self.troubles.insert(state.source, state.trouble);
    }

    /// The channels and streams, and whether each hears.
    pub(super) fn sources(&self) -> impl Iterator<Item = (&Arc<str>, bool)> {
        let all = self.troubles.iter();
        all.map(|(source, trouble)| (source, trouble.is_none()))
    }

    /// The sources that hear nothing now, and why.
    pub(super) fn troubles(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.troubles.iter();
        all.filter_map(|(source, trouble)| Some((&**source, trouble.as_deref()?)))
    }

    /// Starts the threads of all `sources`. They end when `stopped` disconnects.
    ///
    /// # Errors
    /// A text that says what cannot be started.
    pub(super) fn listen(
        sources: Sources,
        events: Sender<StartEvent>,
        stopped: &Receiver<Infallible>,
        network: &Network,
    ) -> Result<Self, String> {
        let feed = Feed {
            discoveries: Discoveries::start(sources.discoveries, &events, stopped, network)?,
            ..Feed::default()
        };
        #[cfg(feature = "redis")]
        let feed = feed.with_redis(sources.subscriptions, sources.streams, &events, stopped)?;
        Ok(feed)
    }

    #[cfg(feature = "redis")]
    fn with_redis(
        mut self,
        subscriptions: Vec<Subscription>,
        streams: Vec<Stream>,
        events: &Sender<StartEvent>,
        stopped: &Receiver<Infallible>,
    ) -> Result<Self, String> {
        let titles = subscriptions.iter().map(Subscription::title);
        for title in titles.chain(streams.iter().map(Stream::title)) {
            self.troubles
                .insert(title, Some("not connected yet".into()));
        }
        let (said, states) = bounded(2 * self.troubles.len());
        self.states = (!self.troubles.is_empty()).then_some(states);
        for stream in streams {
            let read = read_stream(stream, events, said.clone(), stopped)?;
            self.streams.push(read);
        }
        for subscription in subscriptions {
            let events = events.clone();
            let ender = intake::redis::listen(subscription, events, said.clone(), stopped.clone())?;
            self.subscriptions.push(ender);
        }
        Ok(self)
    }
}

#[cfg(feature = "redis")]
fn read_stream(
    stream: Stream,
    events: &Sender<StartEvent>,
    states: Sender<SourceState>,
    stopped: &Receiver<Infallible>,
) -> Result<ReadStream, String> {
    let key = stream.is_named.then(|| stream.key.clone());
    let (settle, settled) = bounded(limits::INTAKE_QUEUE);
    let listening = stream::listen(stream, events.clone(), settled, states, stopped.clone())?;
    Ok((key, settle, listening))
}

impl Discoveries {
    fn start(
        parts: Vec<DiscoveryPart>,
        events: &Sender<StartEvent>,
        stopped: &Receiver<Infallible>,
        network: &Network,
    ) -> Result<Self, String> {
        // Each discovery says that it has made a request, and that the next one is due.
        let (said, listings) = bounded(2 * parts.len());
        let mut all = Vec::with_capacity(parts.len());
        for part in parts {
            let ((apis, received), (permits, granted)) = (bounded(1), bounded(1));
            let discovering = Discovering {
                monitor: part.discovery.monitor,
                permits,
                apis,
                unheard: received.clone(),
            };
            let channels = Channels {
                events: events.clone(),
                listings: said.clone(),
                permits: granted,
                apis: received,
                stopped: stopped.clone(),
            };
            let name = part.discovery.name.clone();
            discovery::start(
                part.discovery,
                part.api.into(),
                (&part.trust, network),
                channels,
            )
            .map_err(|trouble| format!("monitor {name}: {trouble}"))?;
            all.push(discovering);
        }
        let listings = (!all.is_empty()).then_some(listings);
        Ok(Discoveries { all, listings })
    }
}

/// Starts to read standard input. The returned channel disconnects when standard input has ended, unless Redis or a list of
/// runs brings start events too. The admin endpoint does not count: it may be there for the metrics alone.
pub(super) fn read_stdin(
    config: &Config,
    reading: Dialects,
    events: Sender<StartEvent>,
) -> Result<Receiver<Infallible>, String> {
    let ended = lines::listen(reading, std::io::stdin(), events)
        .map_err(|error| format!("cannot start the reader of standard input: {error}"))?;
    if has_lasting_source(config) {
        log::info!("start events come on standard input too; farspan goes on when it has ended");
        return Ok(never());
    }
    log::info!(
        "start events come on standard input; when it has ended and everything is traced, farspan ends"
    );
    Ok(ended)
}

/// Whether start events come from Redis or from a list of runs.
pub(super) fn has_lasting_source(config: &Config) -> bool {
    let discovers = config.monitors.iter().any(|it| it.discovery.is_some());
    config.redis.is_some() || discovers
}
