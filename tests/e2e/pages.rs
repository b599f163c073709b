//! Answers in pages, of several requests, and by POST.

use crate::support::files::Files;
use crate::support::http::{Answer, Reply, Request, Server, lock};
use crate::support::monitored::Monitored;
use crate::support::percent_decoded;
use crate::support::program::farspan;
use crate::support::spans::Seen;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// What the steps of these APIs are called.
fn name(number: usize) -> String {
    format!("step-{number:03}")
}

fn step(number: usize) -> Value {
    json!({"name": name(number), "state": "success", "start": "2026-11-20T09:00:01Z", "end": "2026-11-20T09:00:02Z"})
}

fn run(id: &str, state: &str) -> Value {
    json!({"id": id, "state": state, "start": "2026-11-20T09:00:00Z", "end": "2026-11-20T09:00:03Z"})
}

fn ok(body: &Value) -> Answer {
    Answer::new(200).body("application/json", body.to_string())
}

fn parts(request: &Request) -> (String, HashMap<String, String>) {
    let (path, query) = request
        .target
        .split_once('?')
        .unwrap_or((&request.target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let decoded = |text: &str| percent_decoded(text).unwrap();
    let pairs = pairs.map(|(key, value)| (decoded(key), decoded(value)));
    (decoded(path), pairs.collect())
}

/// A run is at `/runs/ID`, its steps are wherever `steps` has them: called with the query, it answers.
fn api(steps: impl Fn(&HashMap<String, String>) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |request| {
        let (path, query) = parts(request);
        match path.strip_prefix("/runs/").map(|rest| rest.split_once('/')) {
            Some(None) => ok(&run(&path["/runs/".len()..], "success")).into(),
            Some(Some((_, "steps"))) => steps(&query),
            _ => Answer::new(404).into(),
        }
    })
}

fn monitor(server: &Server, pages: Value) -> Value {
    json!({
        "name": "paged",
        "api": {"base_url": server.url()},
        "request": {"path": "/runs/{id}"},
        "requests": {"steps": {"path": "/runs/{id}/steps", "pages": pages}},
        "workflow": {"id": "/id", "status": "/state", "start": "/start", "end": "/end"},
        "stages": [{"name": "steps", "from": "steps", "list": "/items", "key": "/name", "status": "/state",
            "start": "/start", "end": "/end"}],
        "statuses": {"running": "running", "success": "success", "failed": "failure"},
    })
}

/// All steps, by name, and the queries that were asked for them by the one poll that it takes.
#[track_caller]
fn watched(server: &Server, pages: Value) -> (Vec<String>, Vec<String>, String) {
    let it = Monitored::by(json!([monitor(server, pages)]));
    let (spans, log) = it.watch("w 1");
    (steps_of(&spans), queries(server), log)
}

fn steps_of(spans: &[Seen]) -> Vec<String> {
    let steps = spans.iter().filter(|span| !span.is_root());
    let mut names: Vec<String> = steps.map(|span| span.span.name.clone()).collect();
    names.sort();
    names
}

fn queries(server: &Server) -> Vec<String> {
    let requests = server.requests().into_iter();
    let steps = requests.filter(|r| r.target.starts_with("/runs/w%201/steps"));
    let query = |r: Request| r.target.split_once('?').map(|(_, query)| query.to_owned());
    steps.map(|r| query(r).unwrap_or_default()).collect()
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(name).collect()
}

fn number(query: &HashMap<String, String>, key: &str) -> usize {
    query.get(key).map_or(0, |text| text.parse().unwrap())
}

#[test]
fn by_offset() {
    let server = api(|query| {
        let (offset, limit) = (number(query, "offset"), number(query, "limit"));
        let items: Vec<Value> = (offset..7.min(offset + limit)).map(step).collect();
        ok(&json!({"items": items, "total": 7})).into()
    });
    let pages = json!({"by": "offset", "size": 3, "total": "/total"});
    let (steps, queries, _) = watched(&server, pages);
    assert_eq!(steps, names(7));
    assert_eq!(queries, ["limit=3", "limit=3&offset=3", "limit=3&offset=6"]);
}

/// An API behind a proxy names the host that it knows itself by. Credentials stay on the host that was asked.
#[test]
fn a_link_to_another_host_is_followed_on_the_host_that_was_asked() {
    let elsewhere = Server::start(|_| ok(&json!({"items": [step(9)]})).into());
    let link = format!(
        "<{}/runs/w%201/steps?page=1>; rel=\"next\"",
        elsewhere.url()
    );
    let server = api(move |query| match number(query, "page") {
        0 => ok(&json!({"items": [step(0)]}))
            .header("Link", link.clone())
            .into(),
        page => ok(&json!({"items": [step(page)]})).into(),
    });
    let mut monitor = monitor(&server, json!({"by": "link"}));
    monitor["api"]["auth"] = json!({"type": "bearer", "token": "s3cret-token"});
    let it = Monitored::by(json!([monitor]));
    let (spans, log) = it.watch("w 1");
    assert_eq!(steps_of(&spans), names(2));
    assert_eq!(elsewhere.requests().len(), 0, "nothing left its host");
    let said = format!("requests.steps: the next page is on {}", elsewhere.url());
    assert_eq!(log.matches(&said).count(), 1, "{log}");
    assert!(!log.contains("s3cret-token"));
}

#[test]
fn a_cursor_that_never_ends_does_not_hold_up_the_poll() {
    // Always the same, or always another one.
    for (always_new, asked) in [(false, 2), (true, 100)] {
        let count = Arc::new(Mutex::new(0));
        let server = api(move |_| {
            let mut count = lock(&count);
            *count += usize::from(always_new);
            ok(&json!({"items": [step(0)], "next": format!("cursor-{count}")})).into()
        });
        let pages = json!({"by": "cursor", "param": "token", "next": "/next"});
        let (steps, queries, log) = watched(&server, pages);
        assert_eq!(steps, names(1));
        assert_eq!(queries.len(), asked);
        assert_eq!(log.contains("more than 100 pages"), always_new, "{log}");
    }
}

/// A page that fails fails the poll: half of the stages would look like all of them.
#[test]
fn a_page_that_fails_is_asked_for_again_with_the_whole_poll() {
    let failed = Arc::new(Mutex::new(false));
    let server = api(move |query| {
        let (offset, limit) = (number(query, "offset"), number(query, "limit"));
        if offset > 0 && !std::mem::replace(&mut *lock(&failed), true) {
            return Answer::new(500).into();
        }
        let items: Vec<Value> = (offset..7.min(offset + limit)).map(step).collect();
        ok(&json!({"items": items, "total": 7})).into()
    });
    let pages = json!({"by": "offset", "size": 5, "total": "/total"});
    let (steps, queries, log) = watched(&server, pages);
    assert_eq!(steps, names(7));
    assert_eq!(queries.len(), 4, "{queries:?}");
    assert!(log.contains("requests.steps: HTTP 500"), "{log}");
}

// Further requests.

/// The main answer says that it failed, and further requests are refused for ever or miss a variable.
#[test]
fn a_further_request_that_fails_does_not_hide_the_end() {
    let server = api(|_| Answer::new(403).into());
    let (spans, log) = Monitored::by(json!([monitor(&server, Value::Null)])).watch("w 1");
    assert_eq!(steps_of(&spans), names(0));
    let root = spans.iter().find(|span| span.is_root()).unwrap();
    assert_eq!(root.error(), None);
    let said = "requests.steps: HTTP 403 Forbidden: the workflow has ended, and its trace is without what this request brings";
    assert!(log.contains(said), "{log}");
    assert_eq!(
        queries(&server).len(),
        3,
        "it may be answered the next time"
    );
}

const QUERY: &str = "query($run: ID!) { run(ref: $run) { state } }";

/// A monitor that asks by GraphQL, with one body for the run and its steps.
fn graphql(server: &Server, body: Value) -> Value {
    let mut monitor = monitor(server, Value::Null);
    monitor["request"] = json!({"method": "POST", "path": "/graphql", "body": body});
    monitor["requests"] = Value::Null;
    monitor["workflow"]["root"] = json!("/data/run");
    monitor["stages"][0]["from"] = Value::Null;
    monitor["stages"][0]["list"] = json!("/data/run/items");
    monitor
}

#[test]
fn an_id_goes_as_a_variable_of_a_query() {
    let server = Server::start(|request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let mut run = run(body["variables"]["run"].as_str().unwrap(), "success");
        run["items"] = json!((0..3).map(step).collect::<Vec<_>>());
        ok(&json!({"data": {"run": run}})).into()
    });
    let body = json!({"query": QUERY, "variables": {"run": "{id}", "not": [null, true, 1.5]}});
    let it = Monitored::by(json!([graphql(&server, body)]));
    let id = r#"x") { secret } other: run(ref: "y\ {id} ü"#;
    let (spans, _) = it.watch(id);
    assert_eq!(steps_of(&spans), names(3));
    let request = &server.requests()[0];
    assert_eq!(request.method, "POST");
    assert_eq!(request.header("Content-Type"), Some("application/json"));
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let expected = json!({"query": QUERY, "variables": {"run": id, "not": [null, true, 1.5]}});
    assert_eq!(body, expected);
}

#[test]
fn an_id_does_not_break_out_of_a_query() {
    let server = Server::start(|_| ok(&json!({"data": {"run": run("w", "success")}})).into());
    let files = Files::new();
    let within = json!({"query": r#"query { run(ref: "{id}") { {message} } }"#});
    let config = json!({"monitors": [graphql(&server, within)]}).to_string();
    let config = files.write("farspan.json", config);
    let ended = farspan(&["check", "--config", &config]).output();
    assert_eq!(ended.code(), Some(2), "{ended:?}");
    let said = &ended.stderr;
    assert!(said.contains(r#"{"name": "{id}"}"#), "{said}");
    assert!(said.contains("for a field write { message }"), "{said}");

    let beside = json!({"sql": "SELECT * FROM runs WHERE ref = '{id}'"});
    let it = Monitored::by(json!([graphql(&server, beside)]));
    let farspan = it.start();
    it.rig.submit("x' OR 'a'='a");
    it.rig.submit("w");
    it.spans("w");
    let log = farspan.stop().stderr;
    let why = "WorkflowId 'x' OR 'a'='a' could change the text that it is put into";
    assert!(log.contains(why), "{log}");
    let bodies = server
        .requests()
        .into_iter()
        .map(|r| String::from_utf8(r.body).unwrap());
    assert!(bodies.into_iter().all(|body| body.contains("ref = 'w'")));
}

/// The steps are named by one list, and each has its attempts elsewhere.
#[test]
fn a_request_for_each_of_a_list() {
    let names = ["build & test", "deploy?", "100%"];
    let server = Server::start(move |request| {
        let (path, _) = parts(request);
        let raw = request.target.clone();
        let step = |name: &str, attempt: u32, state: &str| {
            let mut step = step(0);
            step["name"] = json!(name);
            step["attempt"] = json!(attempt);
            step["state"] = json!(state);
            step
        };
        if path == "/runs/w" {
            return ok(&run("w", "success")).into();
        }
        if path == "/runs/w/steps" {
            let items = names.map(|name| step(name, if name == "100%" { 1 } else { 2 }, "success"));
            return ok(&json!({"items": items})).into();
        }
        let known = names
            .iter()
            .find(|name| path == format!("/runs/w/steps/{name}/tries"));
        match known {
            // Each name is one segment.
            Some(name) if raw.matches('/').count() == 5 => {
                ok(&json!({"items": [step(name, 1, "failed"), step(name, 2, "success")]})).into()
            }
            _ => Answer::new(404).into(),
        }
    });
    let mut monitor = monitor(&server, Value::Null);
    monitor["requests"]["tries"] = json!({"path": "/runs/{id}/steps/{stage.key}/tries", "for_each": "steps", "when_attempt_above": 1});
    monitor["stages"][0]["attempt"] = json!("/attempt");
    let mut tries = monitor["stages"][0].clone();
    tries["name"] = json!("tries");
    tries["from"] = json!("tries");
    monitor["stages"] = json!([monitor["stages"][0], tries]);
    let it = Monitored::by(json!([monitor]));
    let (spans, _) = it.watch("w");
    assert_eq!(
        steps_of(&spans),
        ["100%", "build & test", "build & test", "deploy?", "deploy?"]
    );
    let failed = spans.iter().filter(|span| span.error().is_some());
    assert_eq!(failed.count(), 2);
    let again = spans.iter().filter(|span| !span.span.links.is_empty());
    assert_eq!(again.count(), 2, "an attempt links to the one before");
    let tries = server.requests().into_iter();
    let tries = tries.filter(|r| r.target.ends_with("/tries"));
    assert_eq!(tries.count(), 2, "one was never tried again");
}
