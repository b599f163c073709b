//! The admin endpoint, as `top` asks it. One thread hears of changes, another one asks for the run that is open.

use super::words::{Changes, Details, RunsPage, Summary};
use crate::http::client::{self, Network, Timeouts, Trust};
use crate::os::threads;
use crate::syntax::text::{escape, segment, shown};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::io;
use std::time::Duration;
use ureq::Agent;

/// Runs that are listed at most. Those that are left out are the oldest ones.
pub(super) const RUNS_MAX: usize = 20_000;

/// How long farspan may wait for a change. Short, because an answer is also the sign that the connection lives.
const WAIT: Duration = Duration::from_secs(5);
/// No more than one answer in this time.
const PACE: Duration = Duration::from_secs(1);
/// The pause after a failure grows to this.
const PAUSE_MAX: Duration = Duration::from_secs(8);
const BODY_BYTES_MAX: u64 = 16 * 1024 * 1024;
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    read: Duration::from_secs(15),
    total: Duration::from_secs(30),
};

/// What was heard.
#[derive(Debug)]
pub(super) enum Heard {
    /// All runs.
    Listed(Box<RunsPage>),
    /// The runs that have changed.
    Changed(Box<Changes>),
    /// One run, by its key.
    Detailed(String, Result<Box<Details>, String>),
    /// There was no usable answer, and when the next request is made.
    Lost(String, Duration),
}

/// A client of one admin endpoint.
#[derive(Clone, Debug)]
pub(super) struct AdminClient {
    agent: Agent,
    url: String,
    authorization: Option<String>,
}

impl AdminClient {
    /// `url` has no slash at its end.
    ///
    /// # Errors
    /// What is wrong with the URL or the network.
    pub(super) fn new(url: &str, token: Option<&str>, network: &Network) -> Result<Self, String> {
        Ok(AdminClient {
            agent: client::agent(TIMEOUTS, url, &Trust::default(), network)?,
            url: url.to_owned(),
            authorization: token.map(|token| format!("Bearer {token}")),
        })
    }

    /// All runs, the newest first, [`RUNS_MAX`] at most.
    ///
    /// # Errors
    /// Why there is no answer, and what could help.
    pub(super) fn list(&self) -> Result<RunsPage, String> {
        const PAGE: &str = "/api/workflows?state=all&sort=-started&limit=1000";
        let mut listing: RunsPage = self.get(PAGE)?;
        while let Some(next) = listing.next.take() {
            if listing.workflows.len() >= RUNS_MAX {
                break;
            }
            let page: RunsPage = self.get(&format!("{PAGE}&after={}", segment(&next)))?;
            if page.workflows.is_empty() {
                break;
            }
            listing.workflows.extend(page.workflows);
            listing.next = page.next;
        }
        listing.workflows.truncate(RUNS_MAX);
        Ok(listing)
    }

    fn changes(&self, since: u64) -> Result<Changes, String> {
        let wait = WAIT.as_secs();
        self.get(&format!("/api/changes?since={since}&wait={wait}"))
    }

    fn details(&self, run: &Summary) -> Result<Details, String> {
        let (run, monitor) = (segment(&run.run), segment(&run.monitor));
        self.get(&format!("/api/workflows/{run}?monitor={monitor}"))
    }

    fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, String> {
        let url = &self.url;
        let mut request = self.agent.get(format!("{url}{target}"));
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let mut response = request.call().map_err(|error| unreachable(url, &error))?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(BODY_BYTES_MAX);
        let body = body
            .read_to_vec()
            .map_err(|error| format!("the answer of {url} broke off: {error}"))?;
        if status != 200 {
            return Err(refusal(url, status, &body));
        }
        serde_json::from_slice(&body).map_err(|error| {
            let error = escape(&error.to_string());
            format!("the answer of {url} is not that of a farspan ({error}): is the address right?")
        })
    }
}

/// Hears of changes since `version` until `stopped`, or until no one takes them.
pub(super) fn follow(
    client: AdminClient,
    version: u64,
    heard: Sender<Heard>,
    stopped: Receiver<Infallible>,
) -> io::Result<()> {
    let follow = move || {
        let mut known = Some(version);
        let mut pause = PACE;
        loop {
            let (next, wait) = match ask(&client, known) {
                Ok((version, news)) => {
                    pause = PACE;
                    known = version;
                    (news, PACE)
                }
                Err(error) => {
                    let wait = pause;
                    pause = (pause * 2).min(PAUSE_MAX);
                    // What was missed is listed.
                    known = None;
                    (Heard::Lost(error, wait), wait)
                }
            };
            let is_over = heard.send(next).is_err()
                || stopped.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected);
            if is_over {
                return;
            }
        }
    };
    // Not joined: it may wait for an answer.
    threads::spawn("changes", threads::STACK_BYTES, follow).map(drop)
}

/// The news since a version, and the version to ask for next; without one, everything.
fn ask(client: &AdminClient, known: Option<u64>) -> Result<(Option<u64>, Heard), String> {
    let Some(version) = known else {
        let listing = client.list()?;
        return Ok((Some(listing.version), Heard::Listed(listing.into())));
    };
    let changes = client.changes(version)?;
    let version = (!changes.reset).then_some(changes.version);
    Ok((version, Heard::Changed(changes.into())))
}

/// Asks for each run that comes, the latest one first; those before it are skipped.
pub(super) fn detail(
    client: AdminClient,
    wanted: Receiver<Summary>,
    heard: Sender<Heard>,
) -> io::Result<()> {
    let detail = move || {
        while let Ok(run) = wanted.recv() {
            let run = wanted.try_iter().last().unwrap_or(run);
            let details = client.details(&run).map(Box::new);
            if heard.send(Heard::Detailed(run.run, details)).is_err() {
                return;
            }
        }
    };
    // Not joined: it may wait for an answer.
    threads::spawn("details", threads::STACK_BYTES, detail).map(drop)
}

fn unreachable(url: &str, error: &ureq::Error) -> String {
    format!(
        "{url} does not answer ({error}): is farspan running there, and is FARSPAN_ADMIN_LISTEN neither none nor another \
         address? --admin names another one"
    )
}

fn refusal(url: &str, status: u16, body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct ErrorBody {
        error: String,
    }
    let says = match serde_json::from_slice::<ErrorBody>(body) {
        Ok(refusal) => format!(": {}", shown(&refusal.error)),
        Err(_) => String::new(),
    };
    match status {
        401 => format!(
            "{url} wants its token (401): set FARSPAN_ADMIN_TOKEN or FARSPAN_ADMIN_TOKEN_FILE as farspan has it"
        ),
        404 => format!("{url} does not know this (404){says}"),
        _ => format!("{url} answers {status}{says}"),
    }
}
