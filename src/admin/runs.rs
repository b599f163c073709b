//! The routes of runs: a page of them, one in full, and what has changed.

use super::endpoint::Route;
use super::parameters::{Parameters, last_segment};
use super::question::{self, Asker, ViewQuestion};
use super::run_json::{Cursors, JsonTexts};
use crate::core::ids::{RunKey, TraceId};
use crate::core::limits;
use crate::core::outcome::Outcome;
use crate::core::view::{ListQuestion, RunQuestion, RunState, SortBy, StateFilter};
use crate::http::server::{HttpRequest, Response};
use crate::os::clock;
use crossbeam_channel::Sender;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// What viewers see of the configuration.
#[derive(Clone, Debug)]
pub struct ViewedConfig {
    /// In the order of the configuration.
    pub monitors: Vec<ViewedMonitor>,
    /// The page of a trace in its backend, with `{trace_id}` in the place of the id, and maybe `{span_id}` for the workflow's
    /// span.
    pub trace_url: Option<String>,
}

/// What viewers see of a monitor.
#[derive(Clone, Debug)]
pub struct ViewedMonitor {
    /// Its name.
    pub name: String,
    /// The name of a workflow's span.
    pub workflow: String,
    /// Where its API is, without secrets.
    pub url: String,
}

/// Answers the requests for runs.
struct RunRoutes {
    config: ViewedConfig,
    loop_asker: Asker,
}

/// So long a request waits for a change at most.
const WAIT_S_MAX: u64 = 25;
/// What a 503 asks for, in seconds.
const RETRY_AFTER: &str = "1";
/// Runs on a page, unless told otherwise.
const PAGE: usize = 100;

/// The routes.
pub fn routes(config: ViewedConfig, questions: Sender<ViewQuestion>) -> Vec<Route> {
    let loop_asker = Asker::new(questions);
    let runs = Arc::new(RunRoutes { config, loop_asker });
    let route = |path, answer: fn(&RunRoutes, &HttpRequest) -> Result<Response, RunsError>| {
        let runs = runs.clone();
        Route {
            method: "GET",
            path,
            is_open: false,
            handler: Box::new(move |request| {
                answer(&runs, request).unwrap_or_else(RunsError::into_response)
            }),
        }
    };
    vec![
        route("/api/workflows", RunRoutes::list),
        route("/api/workflows/{run}", RunRoutes::show),
        route("/api/changes", RunRoutes::changes),
    ]
}

/// Why a request gets no answer.
enum RunsError {
    Bad(String),
    NotFound(String),
    Later(question::Unanswered),
}

impl From<String> for RunsError {
    fn from(why: String) -> Self {
        RunsError::Bad(why)
    }
}

impl From<question::Unanswered> for RunsError {
    fn from(why: question::Unanswered) -> Self {
        RunsError::Later(why)
    }
}

impl RunsError {
    fn into_response(self) -> Response {
        let (status, why) = match self {
            RunsError::Bad(why) => (400, why),
            RunsError::NotFound(why) => (404, why),
            RunsError::Later(why) => (503, why.to_string()),
        };
        let response = Response::json(status, json!({ "error": why }).to_string() + "\n");
        if status == 503 {
            response.with_header("Retry-After", RETRY_AFTER)
        } else {
            response
        }
    }
}

const SORTS: &[(&str, (SortBy, bool))] = &[
    ("started", (SortBy::Started, false)),
    ("-started", (SortBy::Started, true)),
    ("duration", (SortBy::Duration, false)),
    ("-duration", (SortBy::Duration, true)),
    ("name", (SortBy::Name, false)),
    ("-name", (SortBy::Name, true)),
    ("state", (SortBy::State, false)),
    ("-state", (SortBy::State, true)),
    ("next_poll", (SortBy::NextPoll, false)),
    ("-next_poll", (SortBy::NextPoll, true)),
];

const STATES: &[(&str, StateFilter)] = &[
    ("all", StateFilter::All),
    ("live", StateFilter::Live),
    ("waiting", StateFilter::Only(RunState::Waiting)),
    ("running", StateFilter::Only(RunState::Running)),
    ("ended", StateFilter::Only(RunState::Ended)),
];

const RESULTS: &[(&str, Outcome)] = &[
    ("success", Outcome::Success),
    ("failure", Outcome::Failure),
    ("error", Outcome::Error),
    ("timeout", Outcome::Timeout),
    ("cancellation", Outcome::Cancellation),
    ("skip", Outcome::Skip),
];

impl RunRoutes {
    fn list(&self, request: &HttpRequest) -> Result<Response, RunsError> {
        let given = Parameters::of(request)?;
        let (sort, descending) = given
            .word("sort", SORTS)?
            .unwrap_or((SortBy::Started, true));
        let text = given.get("q");
        let question = ListQuestion {
            state: given.word("state", STATES)?.unwrap_or_default(),
            monitor: self.monitor(&given)?,
            result: given.word("result", RESULTS)?,
            trace: text.and_then(trace_id),
            text: text.map(Into::into),
            sort,
            descending,
            limit: (given.number("limit", (1, limits::VIEW_RUNS_MAX))?).unwrap_or(PAGE),
            after: given.get("after").map(Cursors::read).transpose()?,
        };
        let page = (self.loop_asker).ask(|to| ViewQuestion::List(Box::new(question), to))?;
        let texts = JsonTexts::new(&self.config, clock::now().wall);
        Ok(json_response(&texts.page(&page)))
    }

    fn show(&self, request: &HttpRequest) -> Result<Response, RunsError> {
        let given = Parameters::of(request)?;
        let id = last_segment(request).ok_or("the id is not UTF-8".to_owned())?;
        let question = RunQuestion {
            run: hex(&id).map(RunKey::from_bytes),
            trace: trace_id(&id),
            workflow_id: id.into(),
            monitor: self.monitor(&given)?,
        };
        let run = (self.loop_asker).ask(|to| ViewQuestion::Run(question, to))?;
        let Some(run) = run else {
            let why = "this run is not watched, and did not end lately";
            return Err(RunsError::NotFound(why.to_owned()));
        };
        let texts = JsonTexts::new(&self.config, clock::now().wall);
        Ok(json_response(&texts.detail(&run)))
    }

    fn changes(&self, request: &HttpRequest) -> Result<Response, RunsError> {
        let given = Parameters::of(request)?;
        let since = (given.number("since", (0, u64::MAX))?).unwrap_or(0);
        let wait = given.number("wait", (0, WAIT_S_MAX))?.unwrap_or(0);
        let ask = || (self.loop_asker).ask(|to| ViewQuestion::Changes(since, to));
        let mut changed = ask()?;
        if !changed.reset && changed.overview.version == since && wait > 0 {
            let (within, client) = (Duration::from_secs(wait), &request.client);
            (self.loop_asker).wait_for_change(since, within, || client.has_hung_up())?;
            changed = ask()?;
        }
        let texts = JsonTexts::new(&self.config, clock::now().wall);
        Ok(json_response(&texts.changes(&changed)))
    }

    /// The index of the monitor that is named.
    fn monitor(&self, given: &Parameters) -> Result<Option<u16>, RunsError> {
        let Some(name) = given.get("monitor") else {
            return Ok(None);
        };
        let mut monitors = (0..).zip(&self.config.monitors);
        let found = monitors.find(|(_, monitor)| monitor.name == name);
        let (index, _) = found.ok_or_else(|| {
            let name = crate::syntax::text::shown(name);
            format!("there is no monitor {name}")
        })?;
        Ok(Some(index))
    }
}

fn json_response(body: &str) -> Response {
    Response::json(200, body)
}

fn trace_id(text: &str) -> Option<TraceId> {
    TraceId::from_bytes(hex(text)?)
}

/// 32 hexadecimal digits.
pub(super) fn hex(text: &str) -> Option<[u8; 16]> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| is_hex)?;
    Some(number.to_be_bytes())
}
