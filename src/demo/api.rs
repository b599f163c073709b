//! The scripted external system: a status API whose workflows do what their plan says.
//!
//! A request for an unknown id starts that workflow, so that a load generator and a watcher are enough.

use super::script::{DotNetTime, Rng, ScriptPace, ScriptedStatus, WorkflowPlan};
use super::{complain, fresh_seed, say};
use crate::cli::ApiOptions;
use crate::core::limits::{POLLERS_MAX, WORKFLOW_ID_BYTES_MAX, WORKFLOWS_MAX};
use crate::core::time::{Mono, Now};
use crate::http::server::{HttpRequest, Response, Server, Serving};
use crate::os::clock;
use crate::os::signals;
use crate::os::threads::lock;
use crate::syntax::text::{percent_decoded, segment};
use crossbeam_channel::{Receiver, Sender, bounded};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// How many workflows `GET /workflows` lists, the latest first.
pub const LISTED_MAX: usize = 1000;

/// The scripted API at work. Dropping it stops it and logs what it was asked.
#[derive(Debug)]
pub struct ScriptedApi {
    // In the order in which they are to go: the waits of the latency first, else the server would wait for them.
    _stop: Sender<Infallible>,
    serving: Serving,
    system: Arc<System>,
}

/// Serves until SIGTERM or SIGINT. Says on standard output where.
pub fn run(options: &ApiOptions) -> ExitCode {
    let served = signals::stop().and_then(|stopped| Ok((stopped, start(options)?)));
    let (stopped, api) = match served {
        Ok(served) => served,
        Err(error) => {
            complain(&format!("cannot listen on {}: {error}", options.listen));
            return ExitCode::FAILURE;
        }
    };
    say(&format!(
        "scripted API at {}/workflows/{{id}}",
        api.base_url()
    ));
    let _ = stopped.recv();
    ExitCode::SUCCESS
}

/// Serves until the result is dropped. Without a seed each start makes its own plans.
///
/// # Errors
/// When the address cannot be had.
pub fn start(options: &ApiOptions) -> io::Result<ScriptedApi> {
    let server = Server::bind(&options.listen)?.with_connections(2 * POLLERS_MAX);
    let seed = options.seed.unwrap_or_else(fresh_seed);
    let system = Arc::new(System {
        seed,
        pace: ScriptPace {
            speed: options.speed,
            fail_rate: options.fail_rate,
        },
        requests: AtomicU64::new(0),
        workflows: Mutex::new(Workflows::new(seed, WORKFLOWS_MAX)),
    });
    let (stop, stopped) = bounded(0);
    let (handler, latency) = (Arc::clone(&system), options.latency);
    let serving = server.start(move |request| {
        hold_back(latency, &stopped);
        handler.answer(request, clock::now())
    })?;
    Ok(ScriptedApi {
        _stop: stop,
        serving,
        system,
    })
}

impl ScriptedApi {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.serving.local_addr()
    }

    /// `http://host:port`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.local_addr())
    }

    /// What was planned for a workflow that has started and is not forgotten.
    pub fn plan(&self, workflow_id: &str) -> Option<Arc<WorkflowPlan>> {
        self.system
            .workflows()
            .find(workflow_id)
            .map(|run| Arc::clone(&run.plan))
    }

    /// Requests so far, of any kind.
    #[cfg(test)]
    pub fn requests(&self) -> u64 {
        self.system.requests.load(Ordering::Relaxed)
    }
}

/// The answer takes that long, unless the server stops.
fn hold_back(latency: Duration, stopped: &Receiver<Infallible>) {
    if !latency.is_zero() {
        let _ = stopped.recv_timeout(latency);
    }
}

#[derive(Debug)]
struct System {
    seed: u64,
    pace: ScriptPace,
    requests: AtomicU64,
    workflows: Mutex<Workflows>,
}

/// What is kept, in the order of starting.
#[derive(Debug)]
struct Workflows {
    kept_max: usize,
    /// Also the next workflow's number.
    started: u64,
    by_number: BTreeMap<u64, ScriptedRun>,
    number_by_id: HashMap<String, u64>,
    /// Plans are known, so which workflow ends first is too.
    ends: BinaryHeap<Reverse<(Mono, u64)>>,
    ids: Rng,
}

#[derive(Clone, Debug)]
struct ScriptedRun {
    plan: Arc<WorkflowPlan>,
    /// By the monotonic clock: no clock step makes a status go back.
    started: Mono,
}

/// The body of `POST /workflows`; whatever else it has is ignored.
#[derive(Default, Deserialize)]
struct Submission {
    #[serde(
        default,
        rename = "workflowId",
        alias = "WorkflowId",
        alias = "workflow_id"
    )]
    workflow_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    workflow_id: &'a str,
    workflow_status: ScriptedStatus,
    workflow_start_time: DotNetTime,
    is_complete: bool,
}

/// When the last of the server's threads and the [`ScriptedApi`] are gone, so that every request is counted.
impl Drop for System {
    fn drop(&mut self) {
        let workflows = self.workflows().started;
        let requests = self.requests.load(Ordering::Relaxed);
        log::info!(
            "the scripted API answered {requests} requests and started {workflows} workflows"
        );
    }
}

impl System {
    fn answer(&self, request: &HttpRequest, now: Now) -> Response {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let segments: Vec<&str> = request.path.split('/').skip(1).collect();
        match (request.method.as_str(), segments.as_slice()) {
            ("GET" | "HEAD", [""]) => Response::text(
                200,
                "A scripted external system: GET /workflows/{id}, GET /workflows, POST /workflows.",
            ),
            ("GET" | "HEAD", ["workflows"]) => self.list(now.mono),
            ("POST", ["workflows"]) => self.submit(&request.body, now),
            ("GET" | "HEAD", ["workflows", id]) if !id.is_empty() => self.status(id, now),
            (_, ["workflows"]) => not_allowed("GET, HEAD, POST"),
            (_, [""]) => not_allowed("GET, HEAD"),
            (_, ["workflows", id]) if !id.is_empty() => not_allowed("GET, HEAD"),
            _ => error(404, "there is nothing here"),
        }
    }

    fn status(&self, segment: &str, now: Now) -> Response {
        match percent_decoded(segment) {
            Some(id) if id.len() <= WORKFLOW_ID_BYTES_MAX => match self.find_or_start(&id, now) {
                Some((run, _)) => Response::json(200, run.body(now.mono)),
                None => full(),
            },
            Some(_) => error(400, "the workflow id is too long"),
            None => error(400, "the workflow id is not percent-encoded UTF-8"),
        }
    }

    fn submit(&self, body: &[u8], now: Now) -> Response {
        let submission = match body.trim_ascii() {
            b"" => Ok(Submission::default()),
            json => serde_json::from_slice(json),
        };
        let id = match submission {
            Ok(submission) => submission
                .workflow_id
                .unwrap_or_else(|| self.workflows().ids.guid()),
            Err(_) => {
                return error(
                    400,
                    "the body is not a JSON object with a string workflowId, or none",
                );
            }
        };
        if id.is_empty() || id.len() > WORKFLOW_ID_BYTES_MAX {
            return error(400, "the workflow id is empty or too long");
        }
        match self.find_or_start(&id, now) {
            Some((run, is_new)) => {
                Response::json(if is_new { 201 } else { 200 }, run.body(now.mono))
                    .with_header("Location", format!("/workflows/{}", segment(&id)))
            }
            None => full(),
        }
    }

    fn list(&self, now: Mono) -> Response {
        let runs: Vec<ScriptedRun> = {
            let workflows = self.workflows();
            workflows
                .by_number
                .values()
                .rev()
                .take(LISTED_MAX)
                .cloned()
                .collect()
        };
        let listed: Vec<Listed<'_>> = runs.iter().map(|run| run.listed(now)).collect();
        Response::json(200, serde_json::json!({ "workflows": listed }).to_string())
    }

    /// The workflow, and whether it has just started. `None`: no more room.
    fn find_or_start(&self, id: &str, now: Now) -> Option<(ScriptedRun, bool)> {
        let mut workflows = self.workflows();
        if let Some(run) = workflows.find(id) {
            return Some((run.clone(), false));
        }
        let run = ScriptedRun {
            plan: Arc::new(WorkflowPlan::new(self.seed, id, now.wall, self.pace)),
            started: now.mono,
        };
        if !workflows.keep(run.clone(), now.mono) {
            return None;
        }
        drop(workflows);
        log::info!("planned: {}", run.plan);
        Some((run, true))
    }

    fn workflows(&self) -> MutexGuard<'_, Workflows> {
        lock(&self.workflows)
    }
}

impl Workflows {
    fn new(seed: u64, kept_max: usize) -> Workflows {
        Workflows {
            kept_max,
            started: 0,
            by_number: BTreeMap::new(),
            number_by_id: HashMap::new(),
            ends: BinaryHeap::new(),
            ids: Rng::new(seed, "workflow ids"),
        }
    }

    fn find(&self, id: &str) -> Option<&ScriptedRun> {
        self.by_number.get(self.number_by_id.get(id)?)
    }

    /// Takes up a new workflow; where there is no room, the one that ended first is forgotten. `false`: none has ended.
    fn keep(&mut self, run: ScriptedRun, now: Mono) -> bool {
        if self.by_number.len() >= self.kept_max {
            let number = match self.ends.peek() {
                Some(&Reverse((end, number))) if end <= now => number,
                _ => return false,
            };
            self.ends.pop();
            if let Some(forgotten) = self.by_number.remove(&number) {
                self.number_by_id.remove(&forgotten.plan.workflow_id);
            }
        }
        let number = self.started;
        self.started += 1;
        self.number_by_id
            .insert(run.plan.workflow_id.clone(), number);
        self.ends
            .push(Reverse((run.started + run.plan.duration(), number)));
        self.by_number.insert(number, run);
        true
    }
}

impl ScriptedRun {
    fn body(&self, now: Mono) -> Vec<u8> {
        self.plan.body_at(now.since(self.started))
    }

    fn listed(&self, now: Mono) -> Listed<'_> {
        let status = self.plan.status_at(now.since(self.started));
        Listed {
            workflow_id: &self.plan.workflow_id,
            workflow_status: status,
            workflow_start_time: DotNetTime(self.plan.start),
            is_complete: status >= ScriptedStatus::Completed,
        }
    }
}

fn error(status: u16, why: &str) -> Response {
    Response::json(status, serde_json::json!({ "error": why }).to_string())
}

fn not_allowed(allow: &str) -> Response {
    error(405, "this method is not allowed here").with_header("Allow", allow)
}

fn full() -> Response {
    error(503, "too many workflows are running").with_header("Retry-After", "10")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::Wall;
    use serde_json::Value;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    fn options() -> ApiOptions {
        ApiOptions {
            listen: "127.0.0.1:0".into(),
            speed: 60.0,
            seed: Some(1),
            latency: Duration::ZERO,
            fail_rate: 0.1,
        }
    }

    /// Status, head and JSON body.
    fn ask(api: &ScriptedApi, method: &str, path: &str, body: &str) -> (u16, String, Value) {
        let mut stream = TcpStream::connect(api.local_addr()).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream
            .write_all(format!("{head}{body}").as_bytes())
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (
            head[9..12].parse().unwrap(),
            head.into(),
            serde_json::from_str(body).unwrap_or(Value::Null),
        )
    }

    #[test]
    fn an_unknown_id_starts_a_workflow_once() {
        let api = start(&options()).unwrap();
        let (status, _, first) = ask(&api, "GET", "/workflows/..%2F..%2fx%3Fy%23z?q=1", "");
        assert_eq!((status, &first["workflowId"]), (200, &"../../x?y#z".into()));
        let plan = api.plan("../../x?y#z").unwrap();
        assert_eq!(
            first["workflowStartTime"],
            DotNetTime(plan.start).to_string()
        );
        let (_, _, second) = ask(&api, "GET", "/workflows/%2e%2E%2F%2E%2E%2Fx%3Fy%23z", "");
        assert_eq!(first["workflowStartTime"], second["workflowStartTime"]);
        let (_, _, list) = ask(&api, "GET", "/workflows", "");
        assert_eq!(list["workflows"].as_array().unwrap().len(), 1);
        assert_eq!(api.requests(), 3);
    }

    #[test]
    fn workflows_can_be_submitted() {
        let api = start(&options()).unwrap();
        let (status, head, body) = ask(
            &api,
            "POST",
            "/workflows",
            r#"{"workflowId": "a b", "submittedAt": 1}"#,
        );
        assert_eq!((status, &body["workflowId"]), (201, &"a b".into()));
        assert!(head.contains("\r\nLocation: /workflows/a%20b"), "{head}");
        assert_eq!(
            ask(&api, "POST", "/workflows", r#"{"WorkflowId": "a b"}"#).0,
            200
        );
        let (status, _, drawn) = ask(&api, "POST", "/workflows", "");
        assert_eq!(
            (status, drawn["workflowId"].as_str().unwrap().len()),
            (201, 36)
        );
        for bad in [
            "[",
            "[]x",
            "\"a\"",
            r#"{"workflowId": 5}"#,
            r#"{"workflowId": ""}"#,
        ] {
            assert_eq!(ask(&api, "POST", "/workflows", bad).0, 400, "{bad}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let api = start(&options()).unwrap();
        let long = format!("/workflows/{}", "x".repeat(513));
        let statuses = [
            ("GET", "/", 200),
            ("GET", "/other", 404),
            ("GET", "/workflows/", 404),
            ("GET", "/workflows/a/b", 404),
            ("GET", "/workflows/%", 400),
            ("GET", "/workflows/%zz", 400),
            ("GET", "/workflows/%+1", 400),
            ("GET", "/workflows/%FF", 400),
            ("GET", &long, 400),
            ("PUT", "/workflows/a", 405),
            ("DELETE", "/workflows", 405),
        ];
        for (method, path, status) in statuses {
            let (got, head, _) = ask(&api, method, path, "");
            assert_eq!(got, status, "{method} {path}");
            assert_eq!(
                head.contains("\r\nAllow: GET, HEAD"),
                status == 405,
                "{head}"
            );
        }
        assert!(api.plan("a").is_none());
    }

    #[test]
    fn a_stop_does_not_wait_for_the_latency() {
        let api = start(&ApiOptions {
            latency: Duration::from_secs(600),
            ..options()
        })
        .unwrap();
        let mut stream = TcpStream::connect(api.local_addr()).unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        let before = clock::now().mono;
        drop(api);
        assert!(clock::now().mono.since(before) < Duration::from_secs(10));
    }

    #[test]
    fn ended_workflows_make_room() {
        let pace = ScriptPace {
            speed: 1.0,
            fail_rate: 0.0,
        };
        let mut workflows = Workflows::new(1, 2);
        let mut keep = |id: &str, seconds: u64| {
            let started = Mono::from_duration(Duration::from_secs(seconds));
            let plan = Arc::new(WorkflowPlan::new(1, id, Wall::from_unix_ns(0), pace));
            let kept = workflows.keep(ScriptedRun { plan, started }, started);
            (
                kept,
                workflows.find("a").is_some(),
                workflows.find("b").is_some(),
            )
        };
        assert_eq!(keep("a", 0), (true, true, false));
        assert_eq!(keep("b", 1), (true, true, true));
        assert_eq!(keep("c", 2), (false, true, true));
        let (kept, a, b) = keep("c", 100_000);
        assert!(kept && a != b);
    }
}
