//! Discovery: start events of runs that no message announces. One thread for each monitor that has a list asks the API
//! for the list at intervals.
//!
//! ```text
//! the list since then, page by page -> the runs that count -> those that are new -> StartEvent
//! ```
//!
//! Each request waits for a permit from the core, because it counts against the rate limit of its host.
//!
//! Every round asks for the runs of the last `lookback`: a run may be listed late, match the filter late, or be run again.
//! The runs that were passed on are remembered, so that a round passes on only new ones. After a restart the core
//! recognises the runs that it has watched.

use super::document::Json;
use super::list::{ListPage, ListPaths};
use super::malformed_log::MalformedLog;
use super::message::{self, Malformed};
use crate::api::exchange::{
    self, Api, Asking, Filled, PAGES_MAX, Paging, Reply, Tally, failure, failure_of_io,
    failure_of_variable,
};
use crate::core::backoff::Jitter;
use crate::core::event::{Origin, StartEvent};
use crate::core::ids::RunKey;
use crate::core::limits;
use crate::core::time::{Mono, Wall};
use crate::core::{Listing, PollFailure, PollFailureReason};
use crate::http::client::{self, Network, Trust};
use crate::mapping::Page;
use crate::mapping::definition::{Pages, Request, Times};
use crate::mapping::template::{BodyTemplate, IdRule, Variables};
use crate::os::clock;
use crate::os::threads;
use crate::syntax::pointer::Pointer;
use crate::syntax::text::{BYTE_ORDER_MARK, without_byte_order_mark};
use crossbeam_channel::{Receiver, Sender, TryRecvError, select};
use log::Level;
use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::http::Response;

/// A discovery, ready to run.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// The monitor of the runs.
    pub monitor: u16,
    /// Its name.
    pub name: Box<str>,
    /// Which ids the monitor can ask its API about.
    pub ids: IdRule,
    /// The configured list.
    pub list: RunList,
    /// The number that the API gives to the first attempt; 1 where this is `None`. A smaller number counts as the first.
    pub first_attempt: Option<u32>,
    /// How the API writes times.
    pub times: Times,
}

/// A list endpoint of an API, and how its answers are read.
#[derive(Clone, Debug, PartialEq)]
pub struct RunList {
    /// The request; `{since}`, `{since_epoch}` and `{since_epoch_ms}` are the time from which on runs are wanted.
    pub request: Request,
    /// Where the answer has the array of runs.
    pub runs: Pointer,
    /// Where an element has the id, or its parts by their names in the id's pattern.
    pub id: Vec<(Box<str>, Pointer)>,
    /// Where an element has the time of submission.
    pub submitted_at: Vec<Pointer>,
    /// Where an element has the attempt.
    pub attempt: Vec<Pointer>,
    /// Only elements that have one of these values at each pointer.
    pub only: Vec<(Pointer, Vec<Box<str>>)>,
    /// The time between two listings.
    pub interval: Duration,
    /// Runs that began longer ago are not looked for.
    pub lookback: Duration,
}

/// The request's place in the configuration, for errors.
const TITLE: &str = "discovery.request";
/// The most runs of one round.
const RUNS_MAX: usize = 10_000;
/// The most runs that are remembered. Beyond that, runs that are no longer listed are forgotten.
const KNOWN_MAX: usize = 40_000;

/// The channels between a discovery and the loop.
#[derive(Debug)]
pub struct Channels {
    /// Takes the start events.
    pub events: Sender<StartEvent>,
    /// Takes a report of each request.
    pub listings: Sender<Listing>,
    /// Brings the permit for the request that is due.
    pub permits: Receiver<()>,
    /// Brings the API after a reload.
    pub apis: Receiver<Arc<Api>>,
    /// Disconnects when farspan stops.
    pub stopped: Receiver<Infallible>,
}

/// Asks until `stopped` disconnects or the loop has gone. The thread is not joined: nothing ends a request but its
/// timeout.
///
/// # Errors
/// A text that says what is wrong with the trust, or that there is no thread to be had.
pub fn start(
    discovery: Discovery,
    api: Arc<Api>,
    (trust, network): (&Trust, &Network),
    channels: Channels,
) -> Result<(), String> {
    let agent = client::agent(exchange::TIMEOUTS, &api.base_url, trust, network)?;
    let mut discoverer = Discoverer {
        paths: discovery.paths(),
        names_since: discovery.names_since(),
        discovery,
        agent,
        network: network.clone(),
        api,
        channels,
        known: HashMap::new(),
        round: 0,
        complete_at: None,
        malformed: MalformedLog::new(Origin::Discovery),
        links_elsewhere: false,
    };
    let name = format!("discovery-{}", discoverer.discovery.monitor);
    let thread = threads::spawn(name, threads::STACK_BYTES, move || discoverer.run());
    thread
        .map(drop)
        .map_err(|e| format!("cannot start the discovery: {e}"))
}

impl Discovery {
    /// What counts in an answer.
    fn paths(&self) -> ListPaths {
        let list = &self.list;
        let ids = list.id.iter().map(|(_, pointer)| pointer);
        let only = list.only.iter().map(|(pointer, _)| pointer);
        let of_run = ids.chain(&list.submitted_at).chain(&list.attempt);
        let of_page = match &list.request.pages {
            Some(Pages::Offset { total, .. } | Pages::Page { total, .. }) => total.as_ref(),
            Some(Pages::Cursor { next, .. }) => Some(next),
            Some(Pages::Link) | None => None,
        };
        ListPaths::new(&list.runs, of_run.chain(only), of_page.into_iter())
    }

    /// Whether the API is told from when on runs are wanted.
    fn names_since(&self) -> bool {
        let in_body = self.list.request.body.iter().flat_map(BodyTemplate::names);
        let mut in_path = self.list.request.path.names();
        in_path.any(|name| name.starts_with("since"))
            || in_body.into_iter().any(|name| name.starts_with("since"))
    }

    /// Whether a run is one of those that are wanted.
    fn counts(&self, run: &Json) -> bool {
        self.list.only.iter().all(|(pointer, wanted)| {
            let value = match run.at(pointer) {
                Some(Json::Bool(truth)) => Some(truth.to_string().into()),
                Some(value) => value.header(),
                None => None,
            };
            value.is_some_and(|value| wanted.iter().any(|wanted| **wanted == *value))
        })
    }

    /// What an answer says of itself, and how many runs it had.
    fn page(&self, json: &Json, elements: usize) -> Page {
        let page = match &self.list.request.pages {
            Some(Pages::Offset { total, .. } | Pages::Page { total, .. }) => Page {
                total: total.as_ref().and_then(|total| match json.at(total)? {
                    Json::Number(number) => number.as_u64(),
                    Json::Text(text) => text.parse().ok(),
                    _ => None,
                }),
                ..Page::default()
            },
            Some(Pages::Cursor { next, .. }) => Page {
                next: json.at(next).and_then(Json::header).map(Into::into),
                ..Page::default()
            },
            Some(Pages::Link) | None => Page::default(),
        };
        Page { elements, ..page }
    }

    /// The start event of a run, if the run counts and was not submitted before `oldest`.
    fn event(&self, run: &Json, oldest: Option<Wall>) -> Result<Option<StartEvent>, Malformed> {
        if !self.counts(run) {
            return Ok(None);
        }
        let submitted_at = self.submitted_at(run);
        // An API that cannot be asked for the runs since a time lists all of them.
        if oldest.is_some_and(|oldest| submitted_at.is_some_and(|at| at < oldest)) {
            return Ok(None);
        }
        let id = message::id_at(&self.list.id, &self.ids, run)
            .ok_or_else(|| Malformed::NoId("".into()))??;
        Ok(Some(StartEvent {
            submitted_at,
            attempt: self.attempt(run),
            origin: Origin::Discovery,
            ..StartEvent::new(self.monitor, &message::fitting(id, &self.ids)?)
        }))
    }

    fn submitted_at(&self, run: &Json) -> Option<Wall> {
        let mut pointers = self.list.submitted_at.iter();
        pointers.find_map(|pointer| run.at(pointer)?.time(&self.times).time())
    }

    /// From 1 on, as answers about it are read.
    fn attempt(&self, run: &Json) -> Option<u32> {
        let mut pointers = self.list.attempt.iter();
        let number: u32 = pointers.find_map(|pointer| match run.at(pointer)? {
            Json::Text(text) => text.parse().ok(),
            Json::Number(number) => number.as_u64()?.try_into().ok(),
            _ => None,
        })?;
        let from_one = number.saturating_add(1);
        let from_one = from_one.saturating_sub(self.first_attempt.unwrap_or(1));
        Some(from_one.max(1))
    }
}

struct Discoverer {
    discovery: Discovery,
    /// What counts in an answer.
    paths: ListPaths,
    names_since: bool,
    agent: Agent,
    network: Network,
    api: Arc<Api>,
    channels: Channels,
    /// The runs that were passed on, and when each was listed last.
    known: HashMap<RunKey, PassedOn>,
    round: u64,
    /// When the last round began that saw the whole list.
    complete_at: Option<Wall>,
    malformed: MalformedLog,
    /// Whether it was logged that a next page is on another host.
    links_elsewhere: bool,
}

struct PassedOn {
    attempt: Option<u32>,
    round: u64,
}

/// Why a round ended early: farspan stops, or a request failed.
enum Ended {
    Closed,
    Failed(PollFailure),
}

impl From<PollFailure> for Ended {
    fn from(failure: PollFailure) -> Self {
        Ended::Failed(failure)
    }
}

/// What a round has found.
#[derive(Debug, Default)]
struct RoundCount {
    runs: usize,
    new: usize,
    is_cut: bool,
}

impl Discoverer {
    fn run(&mut self) {
        let mut jitter = Jitter::new(clock::now().wall.as_unix_ns() as u64);
        let mut failures = 0;
        loop {
            if self.await_permit().is_err() {
                return;
            }
            match self.channels.apis.try_recv() {
                Ok(api) => self.api = api,
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return,
            }
            let begun = clock::now();
            let pause = match self.ask(begun.wall) {
                Ok(found) => {
                    self.log_round(&found, std::mem::take(&mut failures));
                    self.complete_at = Some(begun.wall);
                    self.pause(begun.mono)
                }
                Err(Ended::Closed) => return,
                Err(Ended::Failed(failure)) => {
                    failures += 1;
                    if failure.reason == PollFailureReason::Connect {
                        self.network.forget_names();
                    }
                    let interval = self.discovery.list.interval;
                    let max = limits::BACKOFF_MAX.max(interval);
                    // The first failure doubles the interval already, as with polls.
                    let pause = jitter.pause(interval.saturating_mul(2), max, failures);
                    let pause = pause.max(interval);
                    if failures <= 2 || failures.is_power_of_two() {
                        let detail = &failure.detail;
                        let reason = failure.reason.as_str();
                        // No monitor asks the host for that long.
                        let asked = failure.retry_after.unwrap_or_default();
                        let pause = pause.max(asked.min(limits::RETRY_AFTER_MAX));
                        log::warn!(
                            monitor = self.monitor();
                            "discovery: {reason}: {detail}; trying again in {pause:.1?}"
                        );
                    }
                    pause
                }
            };
            select! {
                recv(self.channels.stopped) -> _ => return,
                recv(self.channels.apis) -> api => match api {
                    Ok(api) => self.api = api,
                    Err(_) => return,
                },
                default(pause) => {}
            }
        }
    }

    /// The next round an interval after this one, but never on the heels of a slow one.
    fn pause(&self, begun: Mono) -> Duration {
        let interval = self.discovery.list.interval;
        let took = clock::now().mono.since(begun);
        interval.saturating_sub(took).max(interval / 2)
    }

    fn monitor(&self) -> &str {
        &self.discovery.name
    }

    fn log_round(&self, found: &RoundCount, failures: u32) {
        let monitor = self.monitor();
        let RoundCount { runs, new, is_cut } = found;
        if failures > 0 {
            log::info!(monitor = monitor; "discovery: the API answers again");
        }
        let level = match self.round {
            1 => Some(Level::Info),
            _ => (*new > 0).then_some(Level::Debug),
        };
        if let Some(level) = level {
            log::log!(
                level, monitor = monitor;
                "discovery: {runs} runs are listed, {new} of them new"
            );
        }
        if *is_cut && self.round.is_power_of_two() {
            log::warn!(
                monitor = monitor;
                "discovery: more than {PAGES_MAX} pages or {RUNS_MAX} runs are listed; the rest is left out"
            );
        }
    }

    /// Waits for the permit to make a request.
    fn await_permit(&self) -> Result<(), Ended> {
        let monitor = self.discovery.monitor;
        self.report(Listing::Due { monitor })?;
        select! {
            recv(self.channels.permits) -> permit => permit.map_err(|_| Ended::Closed),
            recv(self.channels.stopped) -> _ => Err(Ended::Closed),
        }
    }

    fn report(&self, listing: Listing) -> Result<(), Ended> {
        select! {
            send(self.channels.listings, listing) -> sent => sent.map_err(|_| Ended::Closed),
            recv(self.channels.stopped) -> _ => Err(Ended::Closed),
        }
    }

    /// Makes a request, for which there is a permit, and reports what it took.
    fn request(&self, asking: &Asking<'_>, url: &str) -> Result<Response<ureq::Body>, Ended> {
        let mut tally = Tally::default();
        let reply = asking.ask(url, &mut tally);
        let asked = reply.as_ref().err().and_then(|failure| failure.retry_after);
        self.report(Listing::Done {
            monitor: self.discovery.monitor,
            requests: tally.requests,
            pause: tally.pause.max(asked),
        })?;
        match reply? {
            Reply::Found(response) => Ok(response),
            Reply::Unchanged | Reply::NotFound => {
                let why = format!("{TITLE}: HTTP 404 Not Found");
                Err(failure(PollFailureReason::Status, &why).into())
            }
        }
    }

    /// One round. There is a permit for its first request.
    fn ask(&mut self, now: Wall) -> Result<RoundCount, Ended> {
        self.round += 1;
        let since = self.complete_at.map_or(now, |at| at.min(now)) - self.discovery.list.lookback;
        let variables = variables(since);
        let api = self.api.clone();
        let request = self.discovery.list.request.clone();
        let filled = Filled::new(&api, &request, &variables, String::new());
        let filled = filled.map_err(|why| failure_of_variable(TITLE, why))?;
        let mut paging = Paging::new(&filled, request.pages.as_ref());
        let mut at = paging.first();
        let mut found = RoundCount::default();
        for page in 0..PAGES_MAX {
            if page > 0 {
                self.await_permit()?;
            }
            let asking = Asking {
                title: Some(TITLE),
                body: at.body.as_deref(),
                ..Asking::plain(&self.agent, &api)
            };
            let (parts, body) = self.request(&asking, &at.url)?.into_parts();
            let body = body
                .into_with_config()
                .limit(limits::BODY_BYTES_MAX)
                .reader();
            let body = without_mark(body).map_err(|e| failure_of_io(&e))?;
            let page = self.take(body, since, &mut found)?;
            if found.is_cut {
                break;
            }
            let next = paging.next(&page, &at.url, &parts.headers)?;
            if let Some(host) = paging.elsewhere()
                && !std::mem::replace(&mut self.links_elsewhere, true)
            {
                log::warn!(
                    monitor = self.monitor();
                    "discovery: the next page is on {host}; its path is followed on the host of api.base_url"
                );
            }
            match next {
                Some(next) => at = next,
                None => {
                    self.forget();
                    return Ok(found);
                }
            }
        }
        found.is_cut = true;
        self.forget();
        Ok(found)
    }

    /// Passes on the runs of a page that are new. They are passed on once the page has been read to its end: then no wait
    /// for room keeps the API's connection.
    fn take(
        &mut self,
        page: impl Read,
        since: Wall,
        found: &mut RoundCount,
    ) -> Result<Page, Ended> {
        let discovery = &self.discovery;
        let oldest = (!self.names_since).then_some(since);
        let mut events = Vec::new();
        let mut collect = |run: &Json| {
            if found.runs >= RUNS_MAX {
                found.is_cut = true;
                return;
            }
            found.runs += 1;
            match discovery.event(run, oldest) {
                Ok(event) => events.extend(event),
                Err(malformed) => self.malformed.note_malformed(&malformed),
            }
        };
        let read = self.paths.read(page, &mut collect);
        let ListPage { json, runs } = read.map_err(failure_of_json)?;
        let Some(elements) = runs else {
            let why = format!(
                "{TITLE}: there is no array at {:?}",
                discovery.list.runs.to_string()
            );
            return Err(failure(PollFailureReason::Shape, &why).into());
        };
        let page = discovery.page(&json, elements);
        for event in events {
            found.new += usize::from(self.hand_over(event)?);
        }
        Ok(page)
    }

    /// Passes on the start event of a run that is new, and waits for room. Returns whether it is new.
    fn hand_over(&mut self, event: StartEvent) -> Result<bool, Ended> {
        let key = RunKey::of(&self.discovery.name, &event.workflow_id);
        let (attempt, round) = (event.attempt, self.round);
        if let Some(known) = self.known.get_mut(&key) {
            known.round = round;
            if known.attempt >= attempt {
                return Ok(false);
            }
        }
        select! {
            send(self.channels.events, event) -> sent => sent.map_err(|_| Ended::Closed)?,
            recv(self.channels.stopped) -> _ => return Err(Ended::Closed),
        }
        self.known.insert(key, PassedOn { attempt, round });
        Ok(true)
    }

    /// Forgets the runs that are no longer listed when too many are remembered.
    fn forget(&mut self) {
        let round = self.round;
        if self.known.len() > KNOWN_MAX {
            self.known.retain(|_, known| known.round == round);
        }
    }
}

/// What follows a byte order mark, or all of it.
fn without_mark(body: impl Read) -> io::Result<impl Read> {
    let mut body = BufReader::new(body);
    let mut begun = Vec::with_capacity(BYTE_ORDER_MARK.len());
    let mark = (&mut body).take(BYTE_ORDER_MARK.len() as u64);
    { mark }.read_to_end(&mut begun)?;
    let begun = without_byte_order_mark(&begun).to_vec();
    Ok(io::Cursor::new(begun).chain(body))
}

fn failure_of_json(error: serde_json::Error) -> PollFailure {
    if error.is_io() {
        return failure_of_io(&error.into());
    }
    let why = format!("the answer is not JSON: {error}");
    failure(PollFailureReason::Garbage, &why)
}

/// The time from which on runs are wanted, in whole seconds: not every API reads fractions.
fn variables(since: Wall) -> Variables<'static> {
    const SECOND_NS: i64 = 1_000_000_000;
    let seconds = since.as_unix_ns().max(0) / SECOND_NS;
    let whole = Wall::from_unix_ns(seconds * SECOND_NS);
    let mut variables = Variables::default();
    variables.set("since", &whole.to_string());
    variables.set("since_epoch", &seconds.to_string());
    variables.set("since_epoch_ms", &(seconds * 1000).to_string());
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::credentials::{Auth, Credentials};
    use crate::http::proxies::Proxies;
    use crossbeam_channel::{bounded, never, unbounded};

    fn discoverer(events: Sender<StartEvent>) -> Discoverer {
        let pointer = |text: &str| Pointer::parse(text).unwrap();
        let (trust, network) = (
            Trust::default(),
            Network::start(Proxies::default()).unwrap(),
        );
        let credentials = Credentials::new(Auth::None, &trust, &network).unwrap();
        let base_url = "http://127.0.0.1:9";
        let discovery = Discovery {
            monitor: 0,
            name: "default".into(),
            ids: IdRule::default(),
            list: RunList {
                request: Request::default(),
                runs: pointer("/runs"),
                id: vec![("id".into(), pointer("/id"))],
                submitted_at: vec![pointer("/at")],
                attempt: vec![pointer("/n")],
                only: Vec::new(),
                interval: Duration::from_secs(30),
                lookback: Duration::from_secs(3600),
            },
            first_attempt: None,
            times: Times::default(),
        };
        Discoverer {
            paths: discovery.paths(),
            names_since: discovery.names_since(),
            discovery,
            agent: client::agent(exchange::TIMEOUTS, base_url, &trust, &network).unwrap(),
            network,
            api: Arc::new(Api::new(base_url.to_owned(), Vec::new(), credentials)),
            channels: Channels {
                events,
                listings: bounded(0).0,
                permits: never(),
                apis: never(),
                stopped: never(),
            },
            known: HashMap::new(),
            round: 0,
            complete_at: None,
            malformed: MalformedLog::new(Origin::Discovery),
            links_elsewhere: false,
        }
    }

    /// A round that lists runs of these numbers. How many there were, and how many of them were new.
    fn round(it: &mut Discoverer, ids: impl Iterator<Item = usize>) -> (usize, usize, bool) {
        let runs: Vec<_> = ids.map(|id| format!(r#"{{"id": {id}}}"#)).collect();
        let text = format!(r#"{{"runs": [{}]}}"#, runs.join(","));
        let mut found = RoundCount::default();
        it.round += 1;
        assert!(
            it.take(text.as_bytes(), Wall::from_unix_ns(0), &mut found)
                .is_ok()
        );
        it.forget();
        (found.runs, found.new, found.is_cut)
    }

    #[test]
    fn a_round_and_what_is_known_have_their_bounds() {
        let (events, received) = unbounded();
        let mut it = discoverer(events);
        assert_eq!(round(&mut it, 0..10), (10, 10, false));
        assert_eq!(round(&mut it, 5..12), (7, 2, false));
        let all = round(&mut it, 0..RUNS_MAX + 1);
        assert_eq!(all, (RUNS_MAX, RUNS_MAX - 12, true));
        for n in 1..=KNOWN_MAX / RUNS_MAX {
            assert_eq!(it.known.len(), n * RUNS_MAX);
            round(&mut it, n * RUNS_MAX..(n + 1) * RUNS_MAX);
        }
        assert_eq!(it.known.len(), RUNS_MAX, "only those that are listed");
        assert_eq!(received.len(), KNOWN_MAX + RUNS_MAX);
        assert_eq!(round(&mut it, KNOWN_MAX..KNOWN_MAX + 5).1, 0);
    }

    #[test]
    fn any_bytes_for_a_list_are_read_or_refused() {
        const LIST: &str = r#"{"runs": [{"id": 7, "at": "2024-07-05T06:57:51Z", "n": 2}, {"id": "b", "at": 1720162671, "n": "3"}]}"#;
        let (events, received) = unbounded();
        let mut it = discoverer(events);
        let since = Wall::from_unix_ns(0);
        assert!(
            it.take(LIST.as_bytes(), since, &mut RoundCount::default())
                .is_ok()
        );
        let told = received.try_iter().map(|event| {
            let at = event.submitted_at.map(|at| at.to_string());
            (event.workflow_id.to_string(), at.unwrap(), event.attempt)
        });
        let at = "2024-07-05T06:57:51Z".to_owned();
        let expected = [("7".into(), at.clone(), Some(2)), ("b".into(), at, Some(3))];
        assert_eq!(told.collect::<Vec<_>>(), expected);
        // The same attempts, of an API that counts from 0.
        it.known.clear();
        it.discovery.first_attempt = Some(0);
        assert!(
            it.take(LIST.as_bytes(), since, &mut RoundCount::default())
                .is_ok()
        );
        let attempts: Vec<_> = received.try_iter().map(|event| event.attempt).collect();
        assert_eq!(attempts, [Some(3), Some(4)]);
        arbtest::arbtest(|u| {
            let mut bytes = LIST.as_bytes().to_vec();
            for _ in 0..u.int_in_range(0..=3)? {
                let at = u.choose_index(bytes.len())?;
                bytes[at] = u.arbitrary()?;
            }
            let _ = it.take(&bytes[..], since, &mut RoundCount::default());
            for event in received.try_iter() {
                let len = event.workflow_id.len();
                assert!((1..=limits::WORKFLOW_ID_BYTES_MAX).contains(&len));
            }
            Ok(())
        });
    }

    #[test]
    fn a_stop_ends_the_wait_for_room() {
        let (events, _full) = bounded(0);
        let mut it = discoverer(events);
        let (stop, stopped) = bounded(0);
        it.channels.stopped = stopped;
        drop::<Sender<Infallible>>(stop);
        let list = br#"{"runs": [{"id": 7}]}"#;
        let taken = it.take(&list[..], Wall::from_unix_ns(0), &mut RoundCount::default());
        assert!(matches!(taken, Err(Ended::Closed)));
        assert!(it.known.is_empty(), "it was not told");
    }

    #[test]
    fn the_time_from_which_on_is_in_whole_seconds() {
        let since = variables(Wall::from_unix_ns(1_720_162_671_999_999_999));
        assert_eq!(since.get("since"), Some("2024-07-05T06:57:51Z"));
        assert_eq!(since.get("since_epoch"), Some("1720162671"));
        assert_eq!(since.get("since_epoch_ms"), Some("1720162671000"));
        assert_eq!(
            variables(Wall::from_unix_ns(-5)).get("since_epoch"),
            Some("0")
        );
    }
}
