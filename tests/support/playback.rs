//! Recorded status APIs, played back: each poll that farspan makes gets the answers of the next recorded poll.
//! `tests/captures/README.md` describes the format.

use super::http::{Answer, Reply, Request, Server, lock};
use super::percent_decoded;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// A server that answers from a recording. The first request of a recorded poll that is not for a list begins the poll;
/// a list is that of the poll which comes next, if it has one, or else the one before. After the last poll its answers stay.
pub struct Playback {
    pub server: Server,
    folder: PathBuf,
    polls: Vec<Poll>,
    state: Arc<Mutex<State>>,
}

/// The exchanges of one recorded poll, in their order. A target has one exchange for each of its pages.
type Poll = Vec<Exchange>;

#[derive(Clone)]
struct Exchange {
    target: String,
    method: String,
    /// Scheme, host and port that were recorded.
    base: String,
    /// Decoded.
    path: String,
    /// Decoded; empty where the recording says nothing about it. A value that ends in `*` stands for every value that
    /// begins so.
    query: Vec<(String, String)>,
    /// Headers that a request must have.
    wanted: Vec<(String, String)>,
    status: u16,
    headers: Vec<(String, String)>,
    body: Arc<[u8]>,
}

#[derive(Default)]
struct State {
    /// Recorded polls that were begun.
    begun: usize,
    /// The last poll that may begin.
    held_at: Option<usize>,
    stray: Vec<String>,
}

/// Stands before the recording: it may answer a request itself.
pub type Gate = Box<dyn Fn(&Request) -> Option<Reply> + Send + Sync>;

/// Targets that are lists of runs, for discovery.
const LISTS: [&str; 2] = ["list", "apps"];

impl Playback {
    /// Plays `tests/CASE`.
    pub fn of(case: &str) -> Self {
        Playback::behind(case, Box::new(|_| None))
    }

    pub fn behind(case: &str, gate: Gate) -> Self {
        Playback::edited(case, gate, |_, _| {})
    }

    /// With bodies that `edit` changes; it gets each body with its target.
    pub fn edited(case: &str, gate: Gate, edit: impl Fn(&str, &mut Value)) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests")
            .join(case);
        let mut polls = recorded(&folder);
        for exchange in polls.iter_mut().flatten() {
            let before: Value = serde_json::from_slice(&exchange.body).expect("JSON");
            let mut body = before.clone();
            edit(&exchange.target, &mut body);
            if body != before {
                exchange.body = body.to_string().into_bytes().into();
            }
        }
        let state = Arc::new(Mutex::new(State::default()));
        let handler = {
            let (polls, state) = (polls.clone(), state.clone());
            move |request: &Request| {
                gate(request).unwrap_or_else(|| answer(&polls, &mut lock(&state), request))
            }
        };
        Playback {
            server: Server::start(handler),
            folder,
            polls,
            state,
        }
    }

    /// The file with the trace that is expected.
    pub fn trace_file(&self) -> PathBuf {
        self.folder.join("trace.txt")
    }

    /// How many polls were recorded.
    pub fn count(&self) -> usize {
        self.polls.len()
    }

    /// Stays at that poll, counted from 1, until `go_on`.
    pub fn hold_at(&self, poll: usize) {
        lock(&self.state).held_at = Some(poll);
    }

    pub fn go_on(&self) {
        lock(&self.state).held_at = None;
    }

    /// How many recorded polls were begun.
    pub fn begun(&self) -> usize {
        lock(&self.state).begun
    }

    /// The last recorded body of a target.
    #[track_caller]
    pub fn last(&self, target: &str) -> Value {
        self.body(self.polls.len(), target)
    }

    /// The bodies of a target, poll by poll.
    #[track_caller]
    pub fn bodies(&self, target: &str) -> Vec<Value> {
        let polls = 1..=self.polls.len();
        polls.map(|poll| self.body(poll, target)).collect()
    }

    /// The body of a target in that poll, counted from 1.
    #[track_caller]
    pub fn body(&self, poll: usize, target: &str) -> Value {
        let exchange = found(&self.polls[poll - 1], target);
        serde_json::from_slice(&exchange.body).expect("JSON")
    }

    /// A header of the first recorded answer of a target.
    #[track_caller]
    pub fn header(&self, target: &str, name: &str) -> Option<&str> {
        header(&found(&self.polls[0], target).headers, name)
    }

    /// Panics if there was a request that the recording does not have.
    #[track_caller]
    pub fn assert_nothing_stray(&self) {
        let stray = &lock(&self.state).stray;
        assert!(stray.is_empty(), "never recorded: {stray:#?}");
    }
}

#[track_caller]
fn found<'a>(poll: &'a Poll, target: &str) -> &'a Exchange {
    let found = poll.iter().find(|exchange| exchange.target == target);
    found.unwrap_or_else(|| panic!("no {target}"))
}

fn recorded(folder: &Path) -> Vec<Poll> {
    let index = folder.join("index.jsonl");
    let index = std::fs::read_to_string(&index)
        .unwrap_or_else(|error| panic!("{}: {error}", index.display()));
    let mut polls: Vec<Poll> = Vec::new();
    // Where a body comes again, the captures have its name only.
    let mut headers: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for line in index.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        // Without a file the connection was refused. The tests do that themselves.
        let (Some(number), Some(file)) = (line["poll"].as_u64(), line["file"].as_str()) else {
            continue;
        };
        if line["headers"].is_array() {
            // The body is stored without compression, and its length and the time are those of this answer.
            let ours = ["Content-Length", "Content-Encoding", "Date"];
            let mut pairs = pairs(&line["headers"]);
            pairs.retain(|(name, _)| !ours.iter().any(|own| is(name, own)));
            headers.insert(file.to_owned(), pairs);
        }
        if polls.len() < usize::try_from(number).expect("small") {
            polls.push(Poll::new());
        }
        let poll = polls.last_mut().expect("pushed");
        poll.push(exchange(&line, &headers[file], folder));
    }
    assert!(!polls.is_empty(), "{}", folder.display());
    polls
}

fn exchange(line: &Value, headers: &[(String, String)], folder: &Path) -> Exchange {
    let text = |key: &str| line[key].as_str().expect("a text").to_owned();
    let url = text("url");
    let host = url.find("://").expect("a URL") + 3;
    let (base, target) = url.split_at(host + url[host..].find('/').expect("a path"));
    let (path, query) = parts(target);
    let body = std::fs::read(folder.join(text("file"))).expect("a recorded body");
    Exchange {
        target: text("target"),
        method: text("method"),
        base: base.to_owned(),
        path,
        query,
        wanted: pairs(&line["req_headers"]),
        status: u16::try_from(line["status"].as_u64().expect("a status")).expect("a status"),
        headers: headers.to_vec(),
        body: body.into(),
    }
}

fn pairs(value: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let pairs = value.as_array().into_iter().flatten();
    pairs.map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(known, _)| is(known, name));
    found.map(|(_, value)| value.as_str())
}

fn is(name: &str, other: &str) -> bool {
    name.eq_ignore_ascii_case(other)
}

/// Path and query of a request's target, decoded.
fn parts(target: &str) -> (String, Vec<(String, String)>) {
    let decoded = |text: &str| percent_decoded(text).expect("UTF-8");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let query = pairs.map(|(key, value)| (decoded(key), decoded(value)));
    (decoded(path), query.collect())
}

/// Airflow answers the same for a task that is not mapped under both paths; one was recorded. Its source has
/// `map_index: int = -1` for the shorter one.
const NOT_MAPPED: (&str, &str) = ("/-1/tries", "/tries");

fn answer(polls: &[Poll], state: &mut State, request: &Request) -> Reply {
    let (path, query) = parts(&request.target);
    let path = path.replace(NOT_MAPPED.0, NOT_MAPPED.1);
    let fits = |exchange: &&Exchange| {
        let is_asked = request.method == exchange.method && path == exchange.path;
        let mut wanted = exchange.wanted.iter();
        is_asked
            && fits_query(&exchange.query, &query)
            && wanted.all(|(name, value)| request.header(name) == Some(value))
    };
    let is_list = |exchange: &&Exchange| LISTS.contains(&exchange.target.as_str());
    let last = state.held_at.unwrap_or(polls.len());
    let known = &polls[..=state.begun.min(last - 1)];
    let list = known.iter().rev().flatten().filter(is_list).find(fits);
    let first = polls[0].iter().find(|exchange| !is_list(exchange));
    if first.is_some_and(|first| fits(&first)) {
        state.begun = (state.begun + 1).min(last);
    }
    let now = &polls[state.begun.max(1) - 1];
    match list.or_else(|| now.iter().find(fits)) {
        Some(exchange) => reply(exchange, request),
        None => {
            let (method, target) = (&request.method, &request.target);
            let what = format!("{method} {target} {:?}", request.headers);
            state.stray.push(what);
            Answer::new(404).into()
        }
    }
}

fn fits_query(recorded: &[(String, String)], asked: &[(String, String)]) -> bool {
    let fits = |(recorded, asked): (&(String, String), &(String, String))| {
        let is_value = match recorded.1.strip_suffix('*') {
            Some(start) => asked.1.starts_with(start),
            None => asked.1 == recorded.1,
        };
        asked.0 == recorded.0 && is_value
    };
    let is_as_long = recorded.len() == asked.len();
    recorded.is_empty() || is_as_long && recorded.iter().zip(asked).all(fits)
}

/// The recorded answer, with links that lead to this server.
fn reply(exchange: &Exchange, request: &Request) -> Reply {
    let here = format!("http://{}", request.header("Host").expect("a host"));
    let mut answer = Answer::new(exchange.status);
    answer.body = exchange.body.to_vec();
    for (name, value) in &exchange.headers {
        if !is(name, "Transfer-Encoding") {
            answer = answer.header(name, value.replace(&exchange.base, &here));
        }
    }
    if header(&exchange.headers, "Transfer-Encoding").is_some() {
        Reply::Chunked(answer, 1000)
    } else {
        answer.into()
    }
}
