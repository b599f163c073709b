//! Recorded status APIs, played back: each poll of farspan's gets the answers of the next recorded poll.

use super::http::{Answer, Reply, Request, Server, lock};
use super::percent_decoded;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// A server that says what was recorded. It moves on when the recording's main target is asked for, and all the answers
/// of one recorded poll belong together. After the last it says that for ever.
pub struct Playback {
    pub server: Server,
    polls: Vec<Recorded>,
    state: Arc<Mutex<State>>,
}

/// One recorded poll: by target, its path and where its body is.
type Recorded = BTreeMap<String, Exchange>;

#[derive(Clone)]
struct Exchange {
    /// Decoded, without the query.
    path: String,
    body: Arc<[u8]>,
    headers: Vec<(String, String)>,
}

#[derive(Default)]
struct State {
    /// Recorded polls that were begun.
    told: usize,
    /// It goes no further than to this one.
    held_at: Option<usize>,
    stray: Vec<String>,
}

/// What stands before the recording: an answer to a request that it does not let through.
type Gate = Box<dyn Fn(&Request) -> Option<Reply> + Send + Sync>;

impl Playback {
    /// Of `tests/captures/CASE`, whose polls begin with the target `main`.
    pub fn of(case: &str, main: &'static str) -> Self {
        Playback::behind(case, main, Box::new(|_| None))
    }

    /// The same, behind a gate.
    pub fn behind(case: &str, main: &'static str, gate: Gate) -> Self {
        Playback::edited(case, main, gate, |_, _| {})
    }

    /// The same, with another word here and there: of each target, what is in its bodies.
    pub fn edited(
        case: &str,
        main: &'static str,
        gate: Gate,
        edit: impl Fn(&str, &mut Value),
    ) -> Self {
        let case = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/captures")
            .join(case);
        let mut polls = recorded(&case);
        assert!(polls.len() > 5, "{}: {} polls", case.display(), polls.len());
        for (target, exchange) in polls.iter_mut().flatten() {
            let before: Value = serde_json::from_slice(&exchange.body).expect("JSON");
            let mut body = before.clone();
            edit(target, &mut body);
            if body != before {
                exchange.body = body.to_string().into_bytes().into();
            }
        }
        Playback::telling(polls, main, gate)
    }

    /// What documentation has for it: of each poll, the paths and the bodies, the main one's first.
    pub fn scripted(polls: &[&[(&str, Value)]]) -> Self {
        let exchange = |(path, body): &(&str, Value)| {
            let exchange = Exchange {
                path: (*path).to_owned(),
                body: body.to_string().into_bytes().into(),
                headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
            };
            ((*path).to_owned(), exchange)
        };
        let main = polls[0][0].0.to_owned();
        let polls = polls.iter().map(|poll| poll.iter().map(exchange).collect());
        Playback::telling(polls.collect(), &main, Box::new(|_| None))
    }

    fn telling(polls: Vec<Recorded>, main: &str, gate: Gate) -> Self {
        let main = main.to_owned();
        let state = Arc::new(Mutex::new(State::default()));
        let handler = {
            let (polls, state) = (polls.clone(), state.clone());
            move |request: &Request| {
                gate(request).unwrap_or_else(|| answer(&polls, &main, &mut lock(&state), request))
            }
        };
        Playback {
            server: Server::start(handler),
            polls,
            state,
        }
    }

    /// How many polls were recorded.
    pub fn count(&self) -> usize {
        self.polls.len()
    }

    /// Stays at that poll, counted from 1, until it is told to go on.
    pub fn hold_at(&self, poll: usize) {
        lock(&self.state).held_at = Some(poll);
    }

    pub fn go_on(&self) {
        lock(&self.state).held_at = None;
    }

    /// How many recorded polls were begun.
    pub fn told(&self) -> usize {
        lock(&self.state).told
    }

    /// The last recorded body of a target.
    #[track_caller]
    pub fn last(&self, target: &str) -> Value {
        self.body(self.polls.len(), target)
    }

    /// The body of a target in that poll, counted from 1.
    #[track_caller]
    pub fn body(&self, poll: usize, target: &str) -> Value {
        let exchange = &self.polls[poll - 1][target];
        serde_json::from_slice(&exchange.body).expect("JSON")
    }

    /// The recorded header of the first answer of a target.
    #[track_caller]
    pub fn header(&self, target: &str, name: &str) -> Option<&str> {
        let headers = &self.polls[0][target].headers;
        let found = headers.iter().find(|(known, _)| is(known, name));
        found.map(|(_, value)| value.as_str())
    }

    /// Panics if anything was asked for that was not recorded.
    #[track_caller]
    pub fn assert_nothing_stray(&self) {
        let stray = &lock(&self.state).stray;
        assert!(stray.is_empty(), "never recorded: {stray:#?}");
    }
}

fn recorded(case: &Path) -> Vec<Recorded> {
    let index = std::fs::read_to_string(case.join("index.jsonl")).expect("an index");
    let mut polls: Vec<Recorded> = Vec::new();
    // Of what had been seen before, only the body's name was recorded.
    let mut headers: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for line in index.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        // The connection was refused: what that is like is for the test to say.
        let (Some(number), Some(file)) = (line["poll"].as_u64(), line["file"].as_str()) else {
            continue;
        };
        assert_eq!(line["status"], 200, "{line}");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        if let Some(pairs) = line["headers"].as_array() {
            let pairs = pairs.iter().map(|pair| (text(&pair[0]), text(&pair[1])));
            // The length is that of the body, which was kept as it is without compression, and now is now.
            let ours = ["Content-Length", "Content-Encoding", "Date"];
            let kept = pairs.filter(|(name, _)| !ours.iter().any(|own| is(name, own)));
            headers.insert(file.to_owned(), kept.collect());
        }
        let exchange = Exchange {
            path: path_of(&text(&line["url"])),
            body: std::fs::read(case.join(file))
                .expect("a recorded body")
                .into(),
            headers: headers[file].clone(),
        };
        if polls.len() < usize::try_from(number).expect("small") {
            polls.push(Recorded::new());
        }
        let poll = polls.last_mut().expect("pushed");
        poll.insert(text(&line["target"]), exchange);
    }
    polls
}

fn is(name: &str, other: &str) -> bool {
    name.eq_ignore_ascii_case(other)
}

/// The path of a URL or a request's target, decoded.
fn path_of(url: &str) -> String {
    let target = match url.strip_prefix("http://") {
        Some(rest) => &rest[rest.find('/').expect("a path")..],
        None => url,
    };
    let path = target.split('?').next().unwrap_or_default();
    percent_decoded(path).expect("UTF-8")
}

/// Airflow says the same of a task that is not mapped by either path; one was recorded. Its source has
/// `map_index: int = -1` for the shorter one.
const NOT_MAPPED: (&str, &str) = ("/-1/tries", "/tries");

fn answer(polls: &[Recorded], main: &str, state: &mut State, request: &Request) -> Reply {
    let path = path_of(&request.target).replace(NOT_MAPPED.0, NOT_MAPPED.1);
    if path == polls[0][main].path {
        let last = state.held_at.unwrap_or(polls.len());
        state.told = (state.told + 1).min(last);
    }
    let poll = &polls[state.told.max(1) - 1];
    let found = poll.values().find(|exchange| exchange.path == path);
    match found {
        Some(exchange) if request.method == "GET" => {
            let mut answer = Answer::new(200);
            answer.headers = exchange.headers.clone();
            answer.body = exchange.body.to_vec();
            let chunked = |(name, _): &(String, String)| is(name, "Transfer-Encoding");
            match exchange.headers.iter().any(chunked) {
                true => {
                    answer.headers.retain(|header| !chunked(header));
                    Reply::Chunked(answer, 1000)
                }
                false => answer.into(),
            }
        }
        _ => {
            let what = format!("{} {}", request.method, request.target);
            state.stray.push(what);
            Answer::new(404).into()
        }
    }
}
