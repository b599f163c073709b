//! The log, as an operator and a log collector read it.

use crate::support::api::{short_story, status};
use crate::support::http::Reply;
use crate::support::program::lines_about;
use crate::support::rig::Rig;
use crate::support::spans::hex;
use crate::support::{SOON, eventually};
use serde_json::Value;

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
