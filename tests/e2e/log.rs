//! The log, as an operator and a log collector read it.

use crate::support::api::{short_story, status};
use crate::support::http::{Reply, Server};
use crate::support::monitored::Monitored;
use crate::support::program::lines_about;
use crate::support::rig::Rig;
use crate::support::spans::hex;
use crate::support::{SOON, eventually, free_port};
use serde_json::{Value, json};

#[test]
fn the_end_of_a_run_is_one_line_that_says_how_it_went() {
    let rig = Rig::new();
    let call = rig.call().env("FARSPAN_LOG", "info");
    let farspan = rig.start_call(&call.env("FARSPAN_LOG_FORMAT", "json"));
    rig.api.script("w 1", short_story("w 1"));
    rig.submit("w 1");
    let trace = rig.trace("w 1");
    let log = farspan.stop().stderr;
    let lines = log.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        line
    });
    let about: Vec<Value> = lines.filter(|line| line["workflow_id"] == "w 1").collect();
    let [ended] = &*about else {
        panic!("{} lines about it: {log}", about.len());
    };
    let took = (trace.root.end() - trace.root.start()) as f64 / 1e9;
    assert_eq!(ended["level"], "info");
    assert_eq!(ended["message"], "workflow ended");
    assert_eq!(
        (&ended["monitor"], &ended["name"]),
        (&"default".into(), &"Workflow".into())
    );
    assert_eq!(ended["result"], "success");
    assert!(
        (ended["duration_s"].as_f64().unwrap() - took).abs() < 1e-3,
        "{ended}: {took}"
    );
    assert_eq!(ended["trace_id"], hex(&trace.root.span.trace_id));
}

/// `JOURNAL_STREAM` names the device and the inode of the stream that systemd has connected to the journal.
#[test]
fn lines_for_the_journal_begin_with_their_priority() {
    const NAMED: &str = r#"JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec "$@""#;
    const ANOTHER: &str = r#"JOURNAL_STREAM=1:2 exec "$@""#;
    for (script, is_journal) in [(NAMED, true), (ANOTHER, false)] {
        let rig = Rig::new();
        let farspan = rig.start_call(&rig.call().by(&["sh", "-c", script, "sh"]));
        rig.api.script("w", [status(401)]);
        rig.submit("w");
        farspan.await_log("refuses the credentials");
        let log = farspan.stop().stderr;
        for line in log.lines() {
            let levels = [("ERROR", 3), ("WARN", 4), ("INFO", 6), ("DEBUG", 7)];
            let has_priority = levels
                .iter()
                .any(|(level, priority)| line.starts_with(&format!("<{priority}>{level}")));
            assert_eq!(has_priority, is_journal, "{line}");
        }
    }
}

#[test]
fn a_refusal_is_one_line_however_many_workflows_it_meets() {
    let refusals: [(&str, Reply); 3] = [
        ("refuses the credentials", status(403)),
        ("cannot be polled (status)", status(418)),
        ("cannot be polled (server_error)", status(500)),
    ];
    for (said, refusal) in refusals {
        let rig = Rig::new();
        let farspan = rig.start();
        let ids: Vec<String> = (0..100).map(|n| format!("w{n}")).collect();
        for id in &ids {
            rig.api.script(id, [refusal.clone()]);
            rig.submit(id);
        }
        eventually("all are refused", SOON, || {
            ids.iter().all(|id| rig.api.polls(id) >= 1)
        });
        let log = farspan.stop().stderr;
        assert_eq!(lines_about(&log, "default", said), 1, "{log}");
    }
}

/// A line about trouble says where the request went, and which of the user's keys to look at.
#[test]
fn trouble_is_named_with_its_url_and_the_key_that_could_mend_it() {
    let closed = format!("http://127.0.0.1:{}", free_port());
    let monitor = |name: &str, api: Value| {
        json!({"name": name, "api": api, "request": {"path": "/{id}"}, "workflow": {"status": "/state"},
            "statuses": {"DONE": "success"}})
    };
    let refusing = Server::start(|_| status(401));
    let it = Monitored::by(json!([
        monitor("closed", json!({"base_url": closed})),
        monitor("refusing", json!({"base_url": refusing.url()})),
    ]));
    let collector = format!("{closed}/v1/traces");
    let call = it.call.clone();
    let call = call.env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &collector);
    let farspan = it.rig.start_call(&call);
    farspan.await_log(&format!("spans go to {collector}"));
    it.rig
        .publish(&json!({"WorkflowId": "a", "monitor": "closed"}));
    it.rig
        .publish(&json!({"WorkflowId": "b", "monitor": "refusing"}));
    farspan.await_log(&format!(
        "Connection refused (os error 111), at {closed}; farspan keeps trying; is "
    ));
    farspan.await_log("monitors[0] (closed).api.base_url right, and does a server listen there?");
    // A monitor with its own URL never sends the token of the settings.
    farspan.await_log("HTTP 401 Unauthorized; farspan keeps trying; is ");
    farspan.await_log("monitors[1] (refusing).api.auth right?");
    farspan.stop();

    let ended = call.clone().with_arguments(&["check"]).output();
    let unset = call
        .without("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        .without("OTEL_EXPORTER_OTLP_ENDPOINT")
        .with_arguments(&["check"])
        .output();
    for (told, part) in [
        (
            &ended,
            "; is OTEL_EXPORTER_OTLP_TRACES_ENDPOINT the collector's URL?",
        ),
        (
            &unset,
            "OTEL_EXPORTER_OTLP_ENDPOINT is not set: set it to the collector's URL, or OTEL_TRACES_EXPORTER to none",
        ),
    ] {
        assert!(told.stdout.contains(part), "{part}: {}", told.stdout);
    }
}
