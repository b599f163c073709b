//! What the commands print with `--json`, held against docs/output.schema.json.

use crate::support::api::{Body, FakeApi, completed, ok, processing, short_story};
use crate::support::files::Files;
use crate::support::free_port;
use crate::support::program::{Ended, farspan};
use crate::support::receiver::Receiver;
use boon::{Compiler, Schemas};
use serde_json::{Value, json};

/// What was printed, once it is as the definition of this name says.
#[track_caller]
fn printed(text: &str, definition: &str) -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/output.schema.json");
    let document = std::fs::read_to_string(path).expect("the schema");
    let document = serde_json::from_str(&document).expect("JSON");
    let value: Value = serde_json::from_str(text).unwrap_or_else(|why| panic!("{why}: {text}"));
    let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
    let url = "http://farspan.test/output.schema.json";
    compiler.add_resource(url, document).expect("a document");
    let schema = compiler.compile(&format!("{url}#/$defs/{definition}"), &mut schemas);
    if let Err(wrong) = schemas.validate(&value, schema.expect("a schema")) {
        panic!("{wrong}\n{text}");
    }
    value
}

#[track_caller]
fn stdout(ended: Ended, code: i32) -> String {
    assert_eq!(ended.code(), Some(code), "{ended:?}");
    ended.stdout
}

#[test]
fn check_prints_what_it_tried_and_the_mistakes() {
    let (api, receiver) = (FakeApi::start(), Receiver::start());
    receiver.relaxed();
    let check = farspan(&["check", "--json"])
        .env("FARSPAN_API_BASE_URL", api.base_url())
        .env("FARSPAN_STATE", "none")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.server.url());
    // Nothing could start a workflow.
    let checked = printed(&stdout(check.output(), 1), "check");
    assert_eq!(checked["ok"], false);
    let tried = checked["tried"].as_array().unwrap();
    let of = |what: &str| {
        let is_it = |one: &&Value| one["what"].as_str().unwrap().starts_with(what);
        tried
            .iter()
            .find(is_it)
            .unwrap_or_else(|| panic!("{what}: {checked}"))
    };
    assert_eq!(of("monitor default, API ")["ok"], true);
    assert_eq!(of("collector ")["ok"], true);
    assert_eq!(of("start events")["ok"], false);

    let offline = check
        .clone()
        .with_arguments(&["check", "--offline", "--json"]);
    let checked = printed(&stdout(offline.output(), 0), "check");
    assert_eq!(checked, json!({"ok": true, "mistakes": [], "tried": []}));

    let wrong = check.env("FARSPAN_POLL_INTERVAL", "soon").output();
    wrong.assert_says("FARSPAN_POLL_INTERVAL");
    let checked = printed(&stdout(wrong, 2), "check");
    assert_eq!(checked["mistakes"][0]["place"], "FARSPAN_POLL_INTERVAL");
}

#[test]
fn config_prints_each_value_with_its_origin_and_no_secret() {
    let files = Files::new();
    let token = "t0k3n-that-is-secret";
    files.write("token", token);
    let url = format!("https://{}.example.com/api", "long".repeat(20));
    let file = json!({
        "api": {"base_url": url, "token_file": "token"},
        "monitors": [{"name": "builds", "preset": "buildbot", "service": {"name": "ci"}}],
    });
    let file = files.write("farspan.json", file.to_string());
    let config = farspan(&["config", "--json", "-c", &file]).env("FARSPAN_POLL_INTERVAL", "7s");
    let text = stdout(config.output(), 0);
    assert!(!text.contains(token), "{text}");
    let shown = printed(&text, "config");
    let of = |shown: &Value, name: &str| {
        let mut settings = shown["settings"].as_array().unwrap().iter();
        settings.find(|setting| setting["name"] == name).cloned()
    };
    let setting = |name, key, value: Value, origin, place: Value| json!({"name": name, "key": key, "value": value, "origin": origin, "place": place});
    let base_url = setting(
        "FARSPAN_API_BASE_URL",
        "api.base_url",
        json!(url),
        "file",
        json!(format!("{file}: api.base_url")),
    );
    let interval = setting(
        "FARSPAN_POLL_INTERVAL",
        "poll.interval",
        json!("7s"),
        "environment",
        json!("FARSPAN_POLL_INTERVAL"),
    );
    let timeout = setting(
        "FARSPAN_POLL_TIMEOUT",
        "poll.timeout",
        json!("24h"),
        "default",
        Value::Null,
    );
    let unset = setting(
        "FARSPAN_REDIS_URL",
        "redis.url",
        Value::Null,
        "default",
        Value::Null,
    );
    for wanted in [&base_url, &interval, &timeout, &unset] {
        let found = of(&shown, wanted["name"].as_str().unwrap());
        assert_eq!(found.as_ref(), Some(wanted));
    }
    let monitor = &shown["monitors"][0];
    assert_eq!(monitor["preset"], "buildbot");
    assert_eq!(monitor["place"], format!("{file}: monitors[0]"));
    assert!(monitor["keys"].get("statuses").is_some(), "{monitor}");

    let changed = config.with_arguments(&["config", "--json", "--changed", "--config", &file]);
    let shown = printed(&stdout(changed.output(), 0), "config");
    assert_eq!(of(&shown, "FARSPAN_POLL_INTERVAL"), Some(interval));
    assert_eq!(of(&shown, "FARSPAN_POLL_TIMEOUT"), None);
    let keys = shown["monitors"][0]["keys"].as_object().unwrap();
    assert_eq!(keys["service"], json!({"name": "ci"}));
    assert!(!keys.contains_key("statuses"), "{keys:?}");
}

#[test]
fn config_shows_only_what_differs_if_it_is_asked_to() {
    let changed = farspan(&["config", "--changed"]).without("FARSPAN_ADMIN_LISTEN");
    let text = stdout(changed.output(), 0);
    assert_eq!(text, "every setting has its default\n");
    // One of these two has its default after all.
    let changed = changed
        .env("FARSPAN_POLLERS", "4")
        .env("FARSPAN_POLL_INTERVAL", "10s");
    let text = stdout(changed.output(), 0);
    assert_eq!(text, "FARSPAN_POLLERS  4  env FARSPAN_POLLERS\n");
}

#[test]
fn probe_prints_the_snapshot_and_the_trace() {
    let files = Files::new();
    let body = files.write("done.json", completed("704c").json().to_string());
    let text = stdout(farspan(&["probe", "--json", "--body", &body]).output(), 0);
    let report = printed(&text, "probe");
    assert_eq!(report["fits"], true);
    assert_eq!(report["snapshot"]["state"], "success");
    assert_eq!(report["workflow_id"], "704c");
    let stages = report["snapshot"]["stages"].as_array().unwrap();
    assert_eq!(stages[0]["kind"], "DataLoader");
    assert_eq!(
        report["trace"]["spans"].as_array().unwrap().len(),
        stages.len() + 1
    );

    // What still runs has no end and no result.
    let body = files.write("open.json", processing("704c").json().to_string());
    let text = stdout(farspan(&["probe", "--json", "--body", &body]).output(), 0);
    let root = printed(&text, "probe")["trace"]["spans"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    assert_eq!(
        (&root["end"], &root["error"]),
        (&Value::Null, &Value::Null),
        "{root}"
    );
    assert!(
        !root["attributes"].to_string().contains("timeout"),
        "{root}"
    );

    let body = files.write("odd.json", "[1, 2]");
    let text = stdout(farspan(&["probe", "--json", "--body", &body]).output(), 1);
    let report = printed(&text, "probe");
    assert_eq!(report["fits"], false);
    assert!(
        !report["failures"].as_array().unwrap().is_empty(),
        "{report}"
    );

    let dead = format!("http://127.0.0.1:{}", free_port());
    let call = farspan(&["probe", "--json", "7"]).env("FARSPAN_API_BASE_URL", dead);
    let report = printed(&stdout(call.output(), 1), "probe");
    assert_eq!(report["requests"][0]["status"], Value::Null);
    assert_eq!(report["snapshot"], Value::Null);
}

#[test]
fn trace_prints_a_line_for_each_thing_that_happens() {
    let api = FakeApi::start();
    api.script("good", short_story("good"));
    let failed = Body::new("bad", "Failed")
        .start("2024-07-05T06:57:56Z")
        .end("2024-07-05T06:58:56Z")
        .error("disk full");
    api.script("bad", [ok(&failed.json())]);
    let call = farspan(&["trace", "--json", "good", "bad"])
        .env("FARSPAN_API_BASE_URL", api.base_url())
        .env("FARSPAN_POLL_INTERVAL", "50ms")
        .env("OTEL_TRACES_EXPORTER", "none");
    let text = stdout(call.output(), 1);
    let lines: Vec<Value> = text.lines().map(|line| printed(line, "trace")).collect();
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).count();
    assert_eq!(
        (of("watching"), of("trace"), of("end")),
        (2, 2, 1),
        "{text}"
    );
    let end = lines.last().unwrap();
    assert_eq!(
        (&end["event"], &end["succeeded"], &end["failed"]),
        (&json!("end"), &json!(1), &json!(1))
    );
    let is_root = |span: &&Value| span["parent_span_id"].is_null();
    let roots = lines
        .iter()
        .filter(|line| line["event"] == "trace")
        .map(|line| {
            let spans = line["spans"].as_array().unwrap();
            spans.iter().find(is_root).expect("a root").clone()
        });
    let errors: Vec<Value> = roots.map(|root| root["error"].clone()).collect();
    assert!(
        errors.contains(&json!("disk full")) && errors.contains(&Value::Null),
        "{text}"
    );
    let changes = lines.iter().filter(|line| line["event"] == "status");
    let stages: Vec<&Value> = changes.map(|line| &line["stage"]).collect();
    assert!(
        stages.contains(&&json!("DataLoader")) && stages.contains(&&Value::Null),
        "{text}"
    );
}
