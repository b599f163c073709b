//! docs/openapi.json against the running server: each answer that it lists is seen here, and is as it says.

use crate::carriers::Answer;
use crate::support::api::{completed, processing, status};
use crate::support::{SOON, eventually};
use crate::viewers::Viewed;
use boon::{Compiler, Schemas};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const EVENT: &str = r#"{"WorkflowId": "posted"}"#;

const EACH_ANSWER_HAS: [(&str, &str); 3] = [
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
];

/// docs/openapi.json, and which of its answers were seen.
struct Document {
    whole: Value,
    seen: BTreeSet<String>,
}

/// A method of a path.
#[derive(Clone, Debug)]
struct Operation {
    method: String,
    path: String,
    /// The keys of its answers.
    statuses: Vec<String>,
    needs_token: bool,
    parameters: Vec<Value>,
}

impl Document {
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
        let text = std::fs::read(path).expect("the document");
        let mut whole: Value = serde_json::from_slice(&text).expect("JSON");
        // What is answered is all in the document. A reader may find more in the answers of a later farspan.
        forbid_others(&mut whole["components"]["schemas"]);
        Document {
            whole,
            seen: BTreeSet::new(),
        }
    }

    fn operations(&self) -> Vec<Operation> {
        let paths = self.whole["paths"].as_object().expect("paths");
        let of_path = |(path, methods): (&String, &Value)| -> Vec<Operation> {
            let methods = methods.as_object().expect("methods").iter();
            let operation = |(method, it): (&String, &Value)| Operation {
                method: method.clone(),
                path: path.clone(),
                statuses: it["responses"]
                    .as_object()
                    .expect("answers")
                    .keys()
                    .cloned()
                    .collect(),
                needs_token: it["security"].as_array().is_none_or(|it| !it.is_empty()),
                parameters: it["parameters"].as_array().cloned().unwrap_or_default(),
            };
            methods.map(operation).collect()
        };
        paths.iter().flat_map(of_path).collect()
    }

    /// The answer of this status, and where it stands.
    fn response(&self, operation: &Operation, status: &str) -> Option<(String, &Value)> {
        let path = operation.path.replace('/', "~1");
        let at = format!("/paths/{path}/{}/responses/{status}", operation.method);
        let response = self.whole.pointer(&at)?;
        match response["$ref"].as_str() {
            Some(reference) => {
                let response = self.whole.pointer(&reference[1..]).expect("a response");
                Some((reference.to_owned(), response))
            }
            None => Some((format!("#{at}"), response)),
        }
    }

    /// Holds an answer against what the document says of this operation.
    #[track_caller]
    fn check(&mut self, operation: &Operation, answer: &Answer) {
        let status = answer.status.to_string();
        let Some((place, response)) = self.response(operation, &status) else {
            panic!("{operation:?} has no such answer: {answer:?}");
        };
        let header = |name: &str| {
            let lines = answer.head.lines().filter_map(|line| line.split_once(": "));
            let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
            found.next().map(|(_, value)| value.to_owned())
        };
        let media_type = header("content-type").expect("a media type");
        let media_type = media_type.split(';').next().expect("one").to_owned();
        assert!(
            response["content"][&media_type].is_object(),
            "{place} has no {media_type}: {answer:?}"
        );
        let documented = response["headers"].as_object();
        for name in documented.into_iter().flat_map(|headers| headers.keys()) {
            assert!(header(name).is_some(), "no {name}: {answer:?}");
        }
        // A body that is too long is refused before a route sees the request.
        if answer.status != 413 {
            for (name, value) in EACH_ANSWER_HAS {
                assert_eq!(header(name).as_deref(), Some(value), "{answer:?}");
            }
        }
        if media_type == "application/json" {
            self.check_json(&place, answer);
        }
        self.seen.insert(operation.answer(&status, &media_type));
    }

    #[track_caller]
    fn check_json(&self, place: &str, answer: &Answer) {
        let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
        compiler.enable_format_assertions();
        let url = "http://farspan.test/openapi.json";
        compiler
            .add_resource(url, self.whole.clone())
            .expect("a document");
        let schema = format!("{url}{place}/content/application~1json/schema");
        let schema = compiler.compile(&schema, &mut schemas).expect("a schema");
        if let Err(wrong) = schemas.validate(&answer.json(), schema) {
            panic!("{place}: {wrong}\n{}", answer.body);
        }
    }

    /// Each answer that it lists, once for each media type.
    fn answers(&self) -> BTreeSet<String> {
        let mut answers = BTreeSet::new();
        for operation in self.operations() {
            for status in &operation.statuses {
                let (_, response) = self.response(&operation, status).expect("it is listed");
                let media_types = response["content"].as_object().expect("contents").keys();
                answers.extend(media_types.map(|it| operation.answer(status, it)));
            }
        }
        answers
    }
}

impl Operation {
    fn answer(&self, status: &str, media_type: &str) -> String {
        format!("{} {} {status} {media_type}", self.method, self.path)
    }

    /// Asks for the run `runs` or posts an event; `rest` follows the path.
    #[track_caller]
    fn ask(&self, viewed: &Viewed, rest: &str, headers: &[(&str, &str)]) -> Answer {
        let method = self.method.to_uppercase();
        let target = self.path.replace("{run}", "runs") + rest;
        let body = if method == "POST" { EVENT } else { "" };
        viewed.door.ask(&method, &target, headers, body)
    }
}

fn forbid_others(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.get("properties").is_some_and(Value::is_object) {
                members.insert("additionalProperties".into(), json!(false));
            }
            members.values_mut().for_each(forbid_others);
        }
        Value::Array(items) => items.iter_mut().for_each(forbid_others),
        _ => {}
    }
}

#[test]
fn every_answer_is_as_the_document_says() {
    let mut document = Document::read();
    let viewed = Viewed::start();
    see_runs_of_all_kinds(&viewed, &mut document);
    see_what_is_posted(&viewed, &mut document);
    see_what_strangers_get(&viewed, &mut document);
    see_the_stop(viewed, &mut document);
    see_who_has_no_token(&mut document);
    assert_eq!(document.answers(), document.seen);
}

fn see_runs_of_all_kinds(viewed: &Viewed, document: &mut Document) {
    let hostile = "b c?#+<script>\"\u{202e}";
    for (id, replies) in [
        ("runs", vec![processing("runs").reply()]),
        ("ends", vec![completed("ends").error("").reply()]),
        ("fails", vec![status(500)]),
        (hostile, vec![processing(hostile).reply()]),
    ] {
        viewed.rig.api.script(id, replies);
        viewed.rig.submit(id);
    }
    viewed.rig.submit("missing");
    let hostile_path = "b%20c%3F%23+%3Cscript%3E%22%E2%80%AE";
    viewed.await_run("runs", |run| {
        run["state"] == "running" && run["last_poll"]["result"] == "unchanged"
    });
    viewed.await_run("ends", |run| run["trace"]["exported"] == true);
    viewed.await_run("fails", |run| run["last_poll"]["result"] == "server_error");
    viewed.await_run("missing", |run| run["last_poll"]["result"] == "not_found");
    let named = viewed.await_run(hostile_path, |run| run["state"] == "running");
    assert_eq!(named["workflow_id"], hostile);

    let run = viewed.get("/api/workflows/runs");
    let (key, trace) = (&run["run"], &run["trace"]["trace_id"]);
    let (key, trace) = (key.as_str().expect("a key"), trace.as_str().expect("an id"));
    let since = viewed.get("/api/changes")["version"].to_string();
    for operation in document.operations() {
        let targets: Vec<String> = match (&*operation.method, &*operation.path) {
            ("get", "/api/workflows") => ["", "?q=%ff", "?monitor=nobody's", "?after=x"]
                .map(|query| format!("/api/workflows{query}"))
                .into(),
            ("get", "/api/workflows/{run}") => [
                key,
                trace,
                "ends",
                "fails",
                "missing?monitor=default",
                hostile_path,
                "nothing",
                "%ff",
            ]
            .map(|run| format!("/api/workflows/{run}"))
            .into(),
            ("get", "/api/changes") => vec![
                "/api/changes".to_owned(),
                format!("/api/changes?since={since}&wait=1"),
            ],
            ("get", path) => vec![path.to_owned()],
            _ => continue,
        };
        for target in targets {
            let answer = viewed.door.ask("GET", &target, &[], "");
            document.check(&operation, &answer);
        }
        if operation.path == "/metrics" {
            let accept = ("Accept", "application/openmetrics-text;version=1.0.0");
            document.check(&operation, &operation.ask(viewed, "", &[accept]));
        }
        for parameter in &operation.parameters {
            see_parameter(viewed, document, &operation, parameter);
        }
    }
}

/// Each word and bound of a parameter is taken, and an empty value where it may be empty, and what is beyond is refused with the same words and bounds.
fn see_parameter(viewed: &Viewed, document: &mut Document, operation: &Operation, of: &Value) {
    let (name, schema) = (of["name"].as_str().expect("a name"), &of["schema"]);
    let mut ask = |value: &str, status: u16| {
        let answer = operation.ask(viewed, &format!("?{name}={value}"), &[]);
        document.check(operation, &answer);
        assert_eq!(answer.status, status, "{name}={value}: {answer:?}");
        answer.body
    };
    if of["allowEmptyValue"] == true {
        ask("", 200);
    }
    if let Some(words) = schema["enum"].as_array() {
        let words = words.iter().map(|word| word.as_str().expect("a word"));
        let words: BTreeSet<&str> = words.collect();
        for word in &words {
            ask(word, 200);
        }
        let refusal = ask("neither", 400);
        let (_, known) = refusal.split_once("one of ").expect(&refusal);
        let known = known.trim_end().trim_end_matches("\"}").split(", ");
        assert_eq!(words, known.collect(), "{name}");
    }
    if let Some(least) = schema["minimum"].as_u64() {
        ask(&least.to_string(), 200);
        let refusal = ask(&format!("{}", i128::from(least) - 1), 400);
        let most = schema["maximum"].as_u64();
        let bounds = format!("from {least} to {}", most.unwrap_or(u64::MAX));
        assert!(refusal.contains(&bounds), "{name}: {refusal}");
        if let Some(most) = most {
            ask(&most.to_string(), 200);
            ask(&(most + 1).to_string(), 400);
        }
    }
}

fn see_what_is_posted(viewed: &Viewed, document: &mut Document) {
    let mut operations = document.operations().into_iter();
    let post = operations.find(|it| it.method == "post").expect("one");
    let examples = &document.whole["paths"][&post.path]["post"]["requestBody"]["content"];
    for (media_type, content) in examples.as_object().expect("contents").clone() {
        let example = &content["example"];
        let body = example
            .as_str()
            .map_or_else(|| example.to_string(), str::to_owned);
        let answer = viewed.door.post(&[("Content-Type", &media_type)], &body);
        document.check(&post, &answer);
        assert_eq!(answer.status, 202, "{media_type}: {answer:?}");
    }
    for (body, status) in [
        (EVENT, 202),
        (&format!("[{EVENT}, {EVENT}]"), 202),
        ("[]x", 400),
        ("{}", 400),
        ("[]", 400),
        (&format!("[{EVENT}, {{}}]"), 400),
        (&" ".repeat((1 << 20) + 1), 413),
    ] {
        let answer = viewed.door.post(&[], body);
        document.check(&post, &answer);
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

/// Web pages of others, and pages whose name was made to point here.
fn see_what_strangers_get(viewed: &Viewed, document: &mut Document) {
    for operation in document.operations() {
        let elsewhere = operation.ask(viewed, "", &[("Origin", "http://evil.test")]);
        document.check(&operation, &elsewhere);
        let is_refused = elsewhere.status == 403;
        assert_eq!(is_refused, operation.needs_token, "{elsewhere:?}");
        let renamed = operation.ask(viewed, "", &[("Host", "evil.test")]);
        document.check(&operation, &renamed);
        assert_eq!(renamed.status, 403, "{renamed:?}");
    }
}

/// While farspan stops, which waits for the collector, the loop answers nothing.
fn see_the_stop(viewed: Viewed, document: &mut Document) {
    let receiver = &viewed.rig.receiver;
    receiver.rule(|_| Some(status(503)));
    viewed.rig.api.script("last", [completed("last").reply()]);
    viewed.rig.submit("last");
    eventually("its spans wait for the collector", SOON, || {
        receiver
            .exports()
            .iter()
            .any(|export| export.is_about("last"))
    });
    viewed.farspan.signal("TERM");
    viewed
        .farspan
        .await_log("spans and finished events to deliver");
    for operation in document.operations() {
        let answer = operation.ask(&viewed, "", &[]);
        document.check(&operation, &answer);
        let is_listed = operation.statuses.iter().any(|status| status == "503");
        assert_eq!(answer.status == 503, is_listed, "{operation:?}: {answer:?}");
    }
    receiver.behave();
    let ended = viewed.farspan.wait(SOON);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
}

fn see_who_has_no_token(document: &mut Document) {
    let viewed = Viewed::start_with(|call| call.env("FARSPAN_ADMIN_TOKEN", "open sesame"));
    for operation in document.operations() {
        for headers in [&[][..], &[("Authorization", "Bearer open")]] {
            let answer = operation.ask(&viewed, "", headers);
            document.check(&operation, &answer);
            let is_refused = answer.status == 401;
            assert_eq!(
                is_refused, operation.needs_token,
                "{operation:?}: {answer:?}"
            );
        }
        let token = [("Authorization", "Bearer open sesame")];
        let answer = operation.ask(&viewed, "", &token);
        document.check(&operation, &answer);
        assert!(![401, 403].contains(&answer.status), "{answer:?}");
    }
    viewed.farspan.stop();
}
