//! Polls of an API whose answers a closure gives: no network.

use super::requests::Poller;
use super::unchanged::Unchanged;
use super::{Probed, Target};
use crate::api::credentials::{Auth, Credentials};
use crate::api::exchange::{Api, words_without};
use crate::core::snapshot::Snapshot;
use crate::core::{Answer, Poll};
use crate::http::client::{Network, Trust};
use crate::http::proxies::Proxies;
use crate::mapping::Mapping;
use crate::mapping::definition::Definition;
use expect_test::{Expect, expect};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Read as _;
use std::sync::{Arc, Mutex};
use ureq::http::{Request, Response};
use ureq::middleware::MiddlewareNext;
use ureq::{Agent, Body, SendBody};

/// A request as the API sees it.
struct Asked {
    path: String,
    query: HashMap<String, String>,
    body: String,
}

impl Asked {
    fn number(&self, parameter: &str) -> usize {
        let text = self.query.get(parameter);
        text.map_or(0, |text| text.parse().unwrap())
    }
}

type Reply = Response<String>;

fn ok(body: &Value) -> Reply {
    Response::new(body.to_string())
}

fn status(code: u16, body: &str) -> Reply {
    let response = Response::builder().status(code);
    response.body(body.to_owned()).unwrap()
}

/// A target that is never asked.
pub(super) fn scripted_target() -> Target {
    let definition = json!({
        "request": {"path": "/{id}"},
        "workflow": {"status": "/state"},
        "statuses": {"done": "success"}
    });
    Scripted::new(&definition, |_| status(500, "")).target
}

/// A monitor and its API.
struct Scripted {
    poller: Poller,
    target: Target,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    fn new(definition: &Value, script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = requests.clone();
        let answer = move |request: Request<SendBody<'_>>, _: MiddlewareNext<'_>| {
            let (parts, body) = request.into_parts();
            let mut sent = String::new();
            body.into_reader().read_to_string(&mut sent).unwrap();
            let target = parts.uri.path_and_query().unwrap().as_str();
            noted
                .lock()
                .unwrap()
                .push(format!("{target} {sent}").trim_end().to_owned());
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let reply = script(&Asked {
                path: path.to_owned(),
                query: pairs
                    .map(|(name, value)| (name.into(), value.into()))
                    .collect(),
                body: sent,
            });
            Ok(reply.map(|body| Body::builder().data(body)))
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .middleware(answer)
            .build();
        let (trust, network) = (
            Trust::default(),
            Network::start(Proxies::default()).unwrap(),
        );
        let api = Api::new(
            "http://api:8080/base".into(),
            Vec::new(),
            Credentials::new(Auth::None, &trust, &network).unwrap(),
        );
        let mapping = Mapping::compile(Definition::from_json(definition).unwrap()).unwrap();
        Scripted {
            poller: Poller::new(vec![config.into()], network, Arc::new(Unchanged::default())),
            target: Target {
                api: Arc::new(api),
                mapping: Arc::new(mapping),
            },
            requests,
        }
    }

    fn poll(&mut self, workflow_id: &str) -> Probed {
        let poll = Poll {
            slot: 0,
            generation: 0,
            monitor: 0,
            workflow_id: workflow_id.into(),
            traceparent: None,
        };
        self.poller.probe(&poll, &self.target)
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    /// Polls `w 1` and compares the requests and the answer.
    #[track_caller]
    fn check(&mut self, expected: &Expect) {
        let answer = self.poll("w 1").polled.answer;
        let requests = self.requests().join("\n");
        expected.assert_eq(&format!("{requests}\n-> {}\n", shown(&answer)));
    }
}

fn shown(answer: &Answer) -> String {
    match answer {
        Answer::Snapshot { snapshot, oddity } => {
            let odd = oddity.as_ref().map(|oddity| format!("; odd: {oddity}"));
            format!("{}{}", of_snapshot(snapshot), odd.unwrap_or_default())
        }
        Answer::NotFound => "not found".to_owned(),
        Answer::Partial { snapshot, failure } => {
            let failed = shown(&Answer::Failed(failure.clone()));
            format!("{} without {failed}", of_snapshot(snapshot))
        }
        Answer::Failed(failure) => {
            let pause = failure.retry_after.map(|pause| format!("; {pause:?}"));
            let reason = failure.reason.as_str();
            format!("{reason}: {}{}", failure.detail, pause.unwrap_or_default())
        }
    }
}

fn of_snapshot(snapshot: &Snapshot) -> String {
    let mut text = snapshot.progress.state.as_str().to_owned();
    let stages = snapshot.stages.iter();
    let stages = stages.map(|stage| format!("{}={}", stage.path, stage.progress.state.as_str()));
    let mut stages: Vec<_> = stages.collect();
    if stages.len() > 8 {
        let count = stages.len() - 2;
        stages.splice(1..=count, [format!("({count} more)")]);
    }
    for stage in stages {
        text += &format!(" {stage}");
    }
    text
}

/// A run at `/runs/ID`, whose steps are at `/runs/ID/steps`.
fn definition(pages: &Value) -> Value {
    json!({
        "request": {"path": "/runs/{id}"},
        "requests": {"steps": {"path": "/runs/{id}/steps", "pages": pages}},
        "workflow": {"id": "/id", "status": "/state"},
        "stages": [{"name": "steps", "from": "steps", "list": "/items", "key": "/name", "status": "/state"}],
        "statuses": {"DONE": "success", "BAD": "failure"},
    })
}

fn steps(numbers: impl IntoIterator<Item = usize>) -> Vec<Value> {
    let step = |number| json!({"name": format!("s{number}"), "state": "DONE"});
    numbers.into_iter().map(step).collect()
}

/// The API of [`definition`]: `steps` answers for the steps.
fn paged(pages: &Value, steps: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Scripted {
    Scripted::new(&definition(pages), move |asked| {
        if asked.path.ends_with("/steps") {
            steps(asked)
        } else {
            ok(&json!({"id": "w 1", "state": "DONE"}))
        }
    })
}

#[test]
fn pages_by_offset_follow_the_elements_that_came() {
    let pages = json!({"by": "offset", "size": 3, "total": "/total"});
    // The API gives fewer than it is asked for.
    let mut api = paged(&pages, |asked| {
        let offset = asked.number("offset");
        ok(&json!({"items": steps(offset..5.min(offset + 2)), "total": 5}))
    });
    api.check(&expect![[r#"
        /base/runs/w%201
        /base/runs/w%201/steps?limit=3
        /base/runs/w%201/steps?limit=3&offset=2
        /base/runs/w%201/steps?limit=3&offset=4
        -> success s0=success s1=success s2=success s3=success s4=success
    "#]]);
}

#[test]
fn pages_by_number_end_with_a_page_that_is_not_full() {
    let pages = json!({"by": "page", "limit": "per_page", "size": 2});
    let mut api = paged(&pages, |asked| {
        let from = (asked.number("page") - 1) * 2;
        ok(&json!({"items": steps(from..3.min(from + 2))}))
    });
    api.check(&expect![[r#"
        /base/runs/w%201
        /base/runs/w%201/steps?per_page=2&page=1
        /base/runs/w%201/steps?per_page=2&page=2
        -> success s0=success s1=success s2=success
    "#]]);
}

#[test]
fn pages_by_cursor_end_with_an_empty_one() {
    let pages = json!({"by": "cursor", "param": "token", "next": "/next"});
    let mut api = paged(&pages, |asked| match asked.query.get("token") {
        None => ok(&json!({"items": steps([0]), "next": "a +/="})),
        Some(_) => ok(&json!({"items": steps([1]), "next": ""})),
    });
    api.check(&expect![[r#"
        /base/runs/w%201
        /base/runs/w%201/steps
        /base/runs/w%201/steps?token=a%20%2B%2F%3D
        -> success s0=success s1=success
    "#]]);
}

#[test]
fn pages_by_link_follow_the_header() {
    let mut api = paged(&json!({"by": "link"}), |asked| {
        let page = asked.number("page");
        let mut answer = ok(&json!({"items": steps([page])}));
        if page < 2 {
            let next = format!("</base/runs/w%201/steps?page={}>; rel=next", page + 1);
            answer.headers_mut().insert("link", next.parse().unwrap());
        }
        answer
    });
    api.check(&expect![[r#"
        /base/runs/w%201
        /base/runs/w%201/steps
        /base/runs/w%201/steps?page=1
        /base/runs/w%201/steps?page=2
        -> success s0=success s1=success s2=success
    "#]]);
}

#[test]
fn of_more_pages_than_the_bound_the_first_hundred_count() {
    let by_offset = json!({"by": "offset", "size": 1});
    let mut endless = paged(&by_offset, |asked| {
        ok(&json!({"items": steps([asked.number("offset")])}))
    });
    let answer = endless.poll("w 1").polled.answer;
    assert_eq!(endless.requests().len(), 101);
    let expected = "success s0=success (98 more) s99=success; odd: requests.steps: more than 100 pages, the rest is left out";
    assert_eq!(shown(&answer), expected);
}

#[test]
fn a_cursor_that_never_changes_is_the_last_page() {
    let pages = json!({"by": "cursor", "param": "token", "next": "/next"});
    let mut api = paged(&pages, |_| {
        ok(&json!({"items": steps([0]), "next": "same"}))
    });
    let answer = api.poll("w 1").polled.answer;
    assert_eq!(api.requests().len(), 3);
    assert_eq!(shown(&answer), "success s0=success");
}

/// With half of its pages, an answer would look whole.
#[test]
fn a_page_that_fails_is_not_taken_for_the_last() {
    let pages = json!({"by": "offset", "size": 2});
    let mut api = paged(&pages, |asked| match asked.number("offset") {
        0 => ok(&json!({"items": steps(0..2)})),
        _ => status(500, ""),
    });
    api.check(&expect![[r#"
        /base/runs/w%201
        /base/runs/w%201/steps?limit=2
        /base/runs/w%201/steps?limit=2&offset=2
        -> success s0=success s1=success without server_error: requests.steps: HTTP 500 Internal Server Error
    "#]]);
}

#[test]
fn a_further_request_that_is_not_found_counts_as_nothing_there_yet() {
    let mut api = paged(&Value::Null, |_| status(404, ""));
    api.check(&expect![[r#"
        /base/runs/w%201
        /base/runs/w%201/steps
        -> success; odd: requests.steps: HTTP 404, which counts as nothing there yet
    "#]]);
}

#[test]
fn a_list_that_is_too_long_has_a_request_for_each_of_its_first_hundred() {
    let mut api = with_more("/runs/{id}/more/{stage.key}", |asked| {
        let items = match &*asked.path {
            "/base/runs/w%201" => return ok(&json!({"id": "w 1", "state": "DONE"})),
            "/base/runs/w%201/steps" => steps(0..120),
            _ => Vec::new(),
        };
        ok(&json!({ "items": items }))
    });
    let answer = shown(&api.poll("w 1").polled.answer);
    assert_eq!(api.requests().len(), 102);
    assert!(
        answer.ends_with("requests.more: only the first 100 of 120"),
        "{answer}"
    );
}

/// A later poll asks whether the answer has changed, page by page.
#[test]
fn an_answer_that_has_not_changed_is_the_one_before() {
    let seen: Arc<Mutex<u32>> = Arc::default();
    let mut api = paged(&Value::Null, move |_| {
        let mut seen = seen.lock().unwrap();
        *seen += 1;
        let mut answer = if *seen == 1 {
            ok(&json!({"items": steps([7])}))
        } else {
            status(304, "")
        };
        answer
            .headers_mut()
            .insert("etag", "\"1\"".parse().unwrap());
        answer
    });
    for _ in 0..2 {
        assert_eq!(shown(&api.poll("w 1").polled.answer), "success s7=success");
    }
    // 304 without an answer before it, for another URL.
    let answer = shown(&api.poll("w 2").polled.answer);
    assert!(answer.starts_with("success without status: "), "{answer}");
}

/// The steps of [`definition`], each of which has a further request.
fn with_more(path: &str, script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Scripted {
    let mut definition = definition(&Value::Null);
    definition["requests"]["more"] = json!({"path": path, "for_each": "steps"});
    definition["stages"][0]["id"] = json!("/id");
    let mut more = definition["stages"][0].clone();
    more["name"] = json!("more");
    more["from"] = json!("more");
    definition["stages"] = json!([definition["stages"][0], more]);
    Scripted::new(&definition, script)
}

#[test]
fn an_element_whose_field_is_empty_or_leaves_the_path_has_no_request() {
    let mut api = with_more("/more/{stage.id}", |asked| match &*asked.path {
        "/base/runs/w%201" => ok(&json!({"id": "w 1", "state": "BAD"})),
        "/base/runs/w%201/steps" => ok(&json!({"items": [
            {"name": "a", "id": "7", "state": "BAD"}, {"name": "b", "state": "DONE"},
            {"name": "c", "id": "..", "state": "DONE"}]})),
        _ => ok(&json!({"items": []})),
    });
    api.check(&expect![[r#"
        /base/runs/w%201
        /base/runs/w%201/steps
        /base/more/7
        -> failure a=failure b=success c=success; odd: requests.more: not made for an element: {stage.id} has no value
    "#]]);
}

/// The side request of one element is refused: the others have theirs, and the end is not hidden.
#[test]
fn a_further_request_that_fails_does_not_hide_the_end() {
    let main = |state| ok(&json!({"id": "w 1", "state": state}));
    let script = move |state, code| {
        move |asked: &Asked| match &*asked.path {
            "/base/runs/w%201" => main(state),
            "/base/runs/w%201/steps" => ok(&json!({"items": steps(1..4)})),
            "/base/more/s1" => status(code, ""),
            _ => ok(&json!({"items": []})),
        }
    };
    let refused = with_more("/more/{stage.key}", script("BAD", 403));
    { refused }.check(&expect![[r#"
        /base/runs/w%201
        /base/runs/w%201/steps
        /base/more/s1
        /base/more/s2
        /base/more/s3
        -> failure s1=success s2=success s3=success without unauthorized: requests.more: HTTP 403 Forbidden
    "#]]);
    let down = with_more("/more/{stage.key}", script("BAD", 500));
    { down }.check(&expect![[r#"
        /base/runs/w%201
        /base/runs/w%201/steps
        /base/more/s1
        -> failure s1=success s2=success s3=success without server_error: requests.more: HTTP 500 Internal Server Error
    "#]]);
    let running = with_more("/more/{stage.key}", script("", 403));
    { running }.check(&expect![[r#"
        /base/runs/w%201
        /base/runs/w%201/steps
        /base/more/s1
        /base/more/s2
        /base/more/s3
        -> unauthorized: requests.more: HTTP 403 Forbidden
    "#]]);
}

/// The API's own words are in the failure, without what farspan sent.
#[test]
fn a_refusal_has_the_words_of_the_api() {
    let refused = |code: u16, body: &'static str| {
        let api = Scripted::new(&definition(&Value::Null), move |_| status(code, body));
        { api }.poll("w 1").polled.answer
    };
    for (code, body, expected) in [
        (
            400,
            r#"{"error_code": "X", "message": "Run 1 does\nnot exist."}"#,
            "status: HTTP 400 Bad Request: \"Run 1 does not exist.\"",
        ),
        (
            403,
            "<html><head><title>403</title></head><body>go away</body>",
            "unauthorized: HTTP 403 Forbidden: \"403 go away\"",
        ),
        (500, "", "server_error: HTTP 500 Internal Server Error"),
        (404, "nothing", "not found"),
    ] {
        assert_eq!(shown(&refused(code, body)), expected);
    }
    let echo = br#"{"message": "no s3cr3t, czNjcjN0Og==, me or t\u0030ken"}"#;
    let secrets = ["Bearer s3cr3t", "Basic czNjcjN0Og==", "t0ken", "me"];
    let words = words_without(echo, secrets.into_iter());
    assert_eq!(words, "no (redacted), (redacted), me or (redacted)");
}

#[test]
fn a_mapping_says_what_not_found_and_an_error_look_like() {
    let poll = |refusals: Value, code: u16, body: &'static str| {
        let mut definition = definition(&Value::Null);
        definition["refusals"] = refusals;
        let api = Scripted::new(&definition, move |asked| {
            if asked.path.ends_with("/steps") {
                ok(&json!({"items": []}))
            } else {
                status(code, body)
            }
        });
        shown(&{ api }.poll("w 1").polled.answer)
    };
    let by_status = json!({"not_found_status": 400, "not_found": {"/code": ["NO_RUN", 7]}});
    assert_eq!(poll(by_status.clone(), 400, r#"{"code": 7}"#), "not found");
    assert_eq!(
        poll(by_status, 400, r#"{"code": 8}"#),
        "status: HTTP 400 Bad Request"
    );
    let by_body = json!({"not_found": {"/run": "null"}, "error": "/errors"});
    assert_eq!(
        poll(by_body.clone(), 200, r#"{"run": null, "errors": ["x"]}"#),
        "not found"
    );
    let error =
        r#"{"id": "w 1", "state": "DONE", "run": {}, "errors": [{"message": "no access"}]}"#;
    let said = "status: request: the answer is an error: \"no access\"";
    assert_eq!(poll(by_body.clone(), 200, error), said);
    let fine = r#"{"id": "w 1", "state": "DONE", "errors": []}"#;
    assert_eq!(poll(by_body, 200, fine), "success");
}

/// The body of the issue: `limit` and `offset` are in it. GraphQL has its own in `variables`.
#[test]
fn a_body_that_names_the_page_has_it() {
    let post = |body: Value, pages: Value, script: fn(&Value) -> Value| {
        let mut definition = definition(&pages);
        definition["requests"]["steps"]["method"] = json!("POST");
        definition["requests"]["steps"]["body"] = body;
        Scripted::new(&definition, move |asked| match &*asked.body {
            "" => ok(&json!({"id": "w 1", "state": "DONE"})),
            body => ok(&script(&serde_json::from_str(body).unwrap())),
        })
    };
    let body = json!({"limit": 200, "offset": 0, "id": "{id}"});
    let by_offset = json!({"by": "offset", "size": 2});
    let items = |body: &Value| {
        let offset = body["offset"].as_u64().unwrap() as usize;
        json!({"items": steps(offset..3.min(offset + 2))})
    };
    post(body, by_offset, items).check(&expect![[r#"
        /base/runs/w%201
        /base/runs/w%201/steps {"id":"w 1","limit":2,"offset":0}
        /base/runs/w%201/steps {"id":"w 1","limit":2,"offset":2}
        -> success s0=success s1=success s2=success
    "#]]);
    let body = json!({"query": "query($after: ID) { a }", "variables": {"after": null}});
    let by_cursor = json!({"by": "cursor", "param": "after", "next": "/next"});
    let items = |body: &Value| match body["variables"]["after"].as_str() {
        None => json!({"items": steps([0]), "next": "c1"}),
        Some(_) => json!({"items": steps([1])}),
    };
    post(body, by_cursor, items).check(&expect![[r#"
        /base/runs/w%201
        /base/runs/w%201/steps {"query":"query($after: ID) { a }","variables":{"after":null}}
        /base/runs/w%201/steps {"query":"query($after: ID) { a }","variables":{"after":"c1"}}
        -> success s0=success s1=success
    "#]]);
    // A page as a text stays one; what the body does not name is in the URL.
    let body = json!({"page": "1"});
    let by_page = json!({"by": "page", "limit": "n", "size": 2});
    let items = |body: &Value| json!({"items": steps([body["page"].as_str().unwrap().len()])});
    post(body, by_page, items).check(&expect![[r#"
        /base/runs/w%201
        /base/runs/w%201/steps?n=2 {"page":"1"}
        -> success s1=success
    "#]]);
}
