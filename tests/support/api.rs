//! The external system's status API, scripted answer by answer.

use super::http::{Answer, Reply, Request, Server, lock};
use super::percent_decoded;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

/// `GET {base}/workflows/{id}`, with the base path `/risk`.
pub struct FakeApi {
    pub server: Server,
    scripts: Scripts,
}

type Scripts = Arc<Mutex<HashMap<String, Script>>>;

struct Script {
    polls: usize,
    last_step: usize,
    rule: Rule,
}

/// The answer to the n-th poll, counted from 0.
type Rule = Box<dyn FnMut(usize, &Request) -> Reply + Send>;

const PREFIX: &str = "/risk/workflows/";

impl FakeApi {
    pub fn start() -> Self {
        let mut api = FakeApi::stopped(IpAddr::V4(Ipv4Addr::LOCALHOST));
        api.server.resume();
        api
    }

    /// At another address of the loopback network, unreachable until it is resumed.
    pub fn stopped(host: IpAddr) -> Self {
        let scripts = Scripts::default();
        let handler = {
            let scripts = scripts.clone();
            move |request: &Request| match workflow_id(&request.target) {
                Some(id) => answer(&scripts, &id, request),
                None => Answer::new(404).into(),
            }
        };
        FakeApi {
            server: Server::stopped(host, handler),
            scripts,
        }
    }

    /// The value of `FARSPAN_API_BASE_URL`.
    pub fn base_url(&self) -> String {
        format!("{}/risk", self.server.url())
    }

    /// The answers for one workflow, one a poll; the last one stands for ever.
    pub fn script(&self, id: &str, replies: impl IntoIterator<Item = Reply>) {
        let replies: Vec<Reply> = replies.into_iter().collect();
        let last = replies.len().checked_sub(1).expect("at least one reply");
        self.insert(id, last, move |poll, _| replies[poll.min(last)].clone());
    }

    /// The answers for one workflow by any rule; polls are counted from 0.
    pub fn decide(&self, id: &str, rule: impl FnMut(usize, &Request) -> Reply + Send + 'static) {
        self.insert(id, 0, rule);
    }

    /// How often this workflow was polled.
    pub fn polls(&self, id: &str) -> usize {
        lock(&self.scripts).get(id).map_or(0, |script| script.polls)
    }

    /// Whether the last answer of the workflow's script was given.
    pub fn told_all(&self, id: &str) -> bool {
        lock(&self.scripts)
            .get(id)
            .is_some_and(|script| script.polls > script.last_step)
    }

    /// The requests for one workflow.
    pub fn requests_for(&self, id: &str) -> Vec<Request> {
        let mut requests = self.server.requests();
        requests.retain(|request| workflow_id(&request.target).as_deref() == Some(id));
        requests
    }

    /// Panics if anything was requested but scripted workflows, each as one path segment, by GET.
    #[track_caller]
    pub fn assert_nothing_stray(&self) {
        let scripts = lock(&self.scripts);
        for request in self.server.requests() {
            let id = workflow_id(&request.target);
            let known = id.as_ref().is_some_and(|id| scripts.contains_key(id));
            assert!(
                known && request.method == "GET" && request.body.is_empty(),
                "stray: {} {}",
                request.method,
                request.target
            );
        }
    }

    fn insert(
        &self,
        id: &str,
        last_step: usize,
        rule: impl FnMut(usize, &Request) -> Reply + Send + 'static,
    ) {
        let script = Script {
            polls: 0,
            last_step,
            rule: Box::new(rule),
        };
        lock(&self.scripts).insert(id.to_owned(), script);
    }
}

fn answer(scripts: &Scripts, id: &str, request: &Request) -> Reply {
    match lock(scripts).get_mut(id) {
        Some(script) => {
            let poll = script.polls;
            script.polls += 1;
            (script.rule)(poll, request)
        }
        None => Answer::new(404).into(),
    }
}

/// The id in a request's target, where the target is what it should be: one segment, nothing behind it.
fn workflow_id(target: &str) -> Option<String> {
    let segment = target.strip_prefix(PREFIX)?;
    let one_segment = !segment.is_empty()
        && segment != "."
        && segment != ".."
        && !segment.contains(['/', '?', '#', '\\']);
    one_segment.then(|| percent_decoded(segment)).flatten()
}

/// 200 with this JSON.
pub fn ok(body: &Value) -> Reply {
    json_answer(body).into()
}

pub fn json_answer(body: &Value) -> Answer {
    Answer::new(200).body("application/json", body.to_string())
}

pub fn status(code: u16) -> Reply {
    Answer::new(code).into()
}

/// A status body in the API's default shape.
#[derive(Clone)]
pub struct Body {
    fields: Map<String, Value>,
    stages: Map<String, Value>,
}

impl Body {
    pub fn new(id: &str, status: &str) -> Self {
        let mut body = Body {
            fields: Map::new(),
            stages: Map::new(),
        };
        body.set("workflowId", id);
        body.set("workflowStatus", status);
        body.fields.insert(
            "isComplete".into(),
            json!(matches!(status, "Completed" | "Failed")),
        );
        body
    }

    pub fn start(mut self, time: &str) -> Self {
        self.set("workflowStartTime", time);
        self
    }

    pub fn end(mut self, time: &str) -> Self {
        self.set("workflowEndTime", time);
        self
    }

    pub fn error(mut self, message: &str) -> Self {
        self.set("workflowErrorMessage", message);
        self
    }

    /// A stage; an empty text is an absent key.
    pub fn stage(mut self, kind: &str, status: &str, start: &str, end: &str, error: &str) -> Self {
        let mut stage = Map::new();
        for (key, value) in [
            ("entityType", kind),
            ("entityId", &format!("{kind}-1")),
            ("entityStatus", status),
            ("entityStartTime", start),
            ("entityEndTime", end),
            ("entityErrorMessage", error),
        ] {
            if !value.is_empty() {
                stage.insert(key.into(), json!(value));
            }
        }
        let complete = matches!(status, "Completed" | "Failed");
        stage.insert("isComplete".into(), json!(complete));
        self.stages.insert(kind.into(), stage.into());
        self
    }

    pub fn json(&self) -> Value {
        let mut fields = self.fields.clone();
        fields.insert("workflowEntities".into(), self.stages.clone().into());
        fields.into()
    }

    pub fn reply(&self) -> Reply {
        ok(&self.json())
    }

    fn set(&mut self, key: &str, value: &str) {
        self.fields.insert(key.into(), json!(value));
    }
}

/// Stages of the standard workflow, and when they ran.
pub const STAGES: [(&str, &str, &str); 3] = [
    (
        "DataLoader",
        "2024-07-05T06:57:57.0000001Z",
        "2024-07-05T07:01:00.7654321Z",
    ),
    (
        "Processor",
        "2024-07-05T07:01:01.1000000Z",
        "2024-07-05T08:31:12.0000009Z",
    ),
    (
        "OutputGenerator",
        "2024-07-05T08:31:13.5Z",
        "2024-07-05T08:59:59.9999999Z",
    ),
];
pub const START: &str = "2024-07-05T06:57:56.1234567Z";
pub const END: &str = "2024-07-05T09:00:00.0000001Z";

/// The standard workflow when it has completed: three stages.
pub fn completed(id: &str) -> Body {
    STAGES.iter().fold(
        Body::new(id, "Completed").start(START).end(END),
        |body, (kind, start, end)| body.stage(kind, "Completed", start, end, ""),
    )
}

/// The standard workflow while it runs: the first stage at work.
pub fn processing(id: &str) -> Body {
    Body::new(id, "Processing")
        .start(START)
        .stage("DataLoader", "Processing", STAGES[0].1, "", "")
}

/// The standard workflow in two polls.
pub fn short_story(id: &str) -> Vec<Reply> {
    vec![processing(id).reply(), completed(id).reply()]
}
