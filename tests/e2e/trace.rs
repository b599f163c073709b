//! `farspan trace`: from the ids to the traces, and an exit code that says how it went.

use crate::support::SOON;
use crate::support::api::{Body, FakeApi, completed, ok, processing, short_story};
use crate::support::eventually;
use crate::support::files::Files;
use crate::support::free_port;
use crate::support::http::{Answer, Server};
use crate::support::program::{Call, farspan};
use crate::support::receiver::Receiver;
use serde_json::json;

fn trace(api: &FakeApi, arguments: &[&str]) -> Call {
    farspan(&[&["trace"], arguments].concat())
        .env("FARSPAN_API_BASE_URL", api.base_url())
        .env("FARSPAN_POLL_INTERVAL", "50ms")
        .env("OTEL_TRACES_EXPORTER", "none")
}

fn failed(id: &str) -> Body {
    Body::new(id, "Failed")
        .start("2024-07-05T06:57:56Z")
        .end("2024-07-05T06:58:56Z")
        .error("Entity failed: DataLoader")
        .stage(
            "DataLoader",
            "Failed",
            "2024-07-05T06:57:57Z",
            "2024-07-05T06:58:50Z",
            "disk full",
        )
}

#[test]
fn all_that_succeed_are_code_0_and_their_traces_are_exported() {
    let (api, receiver) = (FakeApi::start(), Receiver::start());
    for id in ["a", "b"] {
        api.script(id, short_story(id));
    }
    let call = trace(&api, &["a", "b", "a"])
        .without("OTEL_TRACES_EXPORTER")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.server.url());
    let ended = call.output();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    for line in [
        "a: trace ",
        "Z  a: running (Processing)\n",
        "Z  a: DataLoader: running (Processing)\n",
        "Z  b: OutputGenerator: success (Completed)\n",
        "Workflow b  2h 02m 03s  ✓ ok\ntrace ",
        "2 succeeded, 0 failed, 0 could not be told; 8 spans delivered to http://",
    ] {
        assert!(
            ended.stdout.contains(line),
            "{line:?} is not in\n{}",
            ended.stdout
        );
    }
    assert_eq!(
        ended.stdout.matches("a: running (Processing)").count(),
        1,
        "once for each change"
    );
    assert!(
        !ended.stdout.contains('\x1b'),
        "no terminal: {}",
        ended.stdout
    );
    assert_eq!(receiver.spans().len(), 8);
}

#[test]
fn one_that_fails_is_code_1() {
    let api = FakeApi::start();
    api.script("good", short_story("good"));
    api.script("bad", [ok(&failed("bad").json())]);
    let ended = trace(&api, &["good", "bad"]).output();
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert!(
        ended.stdout.contains("✗ error: Entity failed: DataLoader"),
        "{}",
        ended.stdout
    );
    assert!(
        ended
            .stdout
            .contains("1 succeeded, 1 failed, 0 could not be told"),
        "{}",
        ended.stdout
    );
}

#[test]
fn what_cannot_be_told_is_code_2() {
    let api = FakeApi::start();
    api.script("endless", [processing("endless").reply()]);
    api.script("silent", [Answer::new(503).into()]);

    let ended = trace(&api, &["endless"])
        .env("FARSPAN_POLL_TIMEOUT", "300ms")
        .output();
    assert_eq!(ended.code(), Some(2), "{ended:?}");
    assert!(
        ended.stdout.contains("endless: Monitor timed out"),
        "{}",
        ended.stdout
    );

    let ended = trace(&api, &["silent", "--patience", "1s"]).output();
    assert_eq!(ended.code(), Some(2), "{ended:?}");
    assert!(
        ended.stdout.contains(
            "the API gave no usable answer for 1s, given up (HTTP 503 Service Unavailable)"
        ),
        "{}",
        ended.stdout
    );

    let dead = format!("http://127.0.0.1:{}", free_port());
    let ended = trace(&api, &["a", "--patience", "1s"])
        .env("FARSPAN_API_BASE_URL", dead)
        .output();
    assert_eq!(ended.code(), Some(2), "{ended:?}");
}

/// For an id that a person typed, the first poll is now, whatever pace the configuration has.
#[test]
fn the_first_poll_is_now() {
    let api = FakeApi::start();
    api.script("a", [completed("a").reply()]);
    let call = trace(&api, &["a"])
        .env("FARSPAN_POLL_INITIAL_DELAY", "1h")
        .env("FARSPAN_POLL_INTERVAL", "1h");
    let ended = call.start().wait(SOON);
    assert_eq!(ended.code(), Some(0), "{ended:?}");
}

/// The answers are about another workflow, as with a wrong `workflow.id`: nothing of them is shown, and patience ends.
#[test]
fn answers_that_farspan_refuses_are_no_answers() {
    let api = FakeApi::start();
    api.script("w2", [completed("other").reply()]);
    let call = trace(&api, &["w2", "--patience", "1s"]);
    let ended = call.start().wait(2 * SOON);
    assert_eq!(ended.code(), Some(2), "{ended:?}");
    assert!(!ended.stdout.contains("success"), "{}", ended.stdout);
    let said = "1 could not be told; the API gave no usable answer for 1s, given up";
    assert!(ended.stdout.contains(said), "{}", ended.stdout);
    let said = r#"asked after "w2", the answer is about "other""#;
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
}

#[test]
fn a_status_that_is_nowhere_is_said() {
    let api = Server::start(|_| {
        let run = r#"{"id": 7, "phase": "busy", "steps": [{"no": 1}]}"#;
        Answer::new(200).body("application/json", run).into()
    });
    let files = Files::new();
    let config = json!({"monitors": [{"name": "runs", "api": {"base_url": api.url()}, "request": {"path": "/{id}"},
        "workflow": {"id": "/id", "status": "/status"}, "stages": [{"list": "/steps", "key": "/no"}],
        "statuses": {"done": "success"}}]});
    let config = files.write("farspan.json", config.to_string());
    let ended = farspan(&["trace", "--config", &config, "7"])
        .env("FARSPAN_POLL_TIMEOUT", "1s")
        .env("FARSPAN_POLL_INTERVAL", "50ms")
        .env("OTEL_TRACES_EXPORTER", "none")
        .output();
    assert_eq!(ended.code(), Some(2), "{ended:?}");
    let said = "/status leads nowhere; the answer has id, phase, steps (workflow.status)";
    assert_eq!(ended.stderr.matches(said).count(), 1, "{ended:?}");
}

/// What the API does not know is waited for a minute, with and without others.
#[test]
fn what_is_not_found_is_code_2_unless_another_has_failed() {
    let api = FakeApi::start();
    api.script("good", short_story("good"));
    api.script("bad", [ok(&failed("bad").json())]);
    api.script("nowhere", [Answer::new(404).into()]);
    let cases = [
        (
            &["nowhere"][..],
            2,
            "0 succeeded, 0 failed, 1 could not be told",
        ),
        (
            &["good", "nowhere"],
            2,
            "1 succeeded, 0 failed, 1 could not be told",
        ),
        (
            &["nowhere", "bad", "good"],
            1,
            "1 succeeded, 1 failed, 1 could not be told",
        ),
    ];
    let running: Vec<_> = cases
        .iter()
        .map(|(ids, ..)| trace(&api, ids).env("FARSPAN_POLL_INTERVAL", "1s").start())
        .collect();
    for (running, (ids, code, said)) in running.into_iter().zip(cases) {
        let ended = running.wait(5 * SOON);
        assert_eq!(ended.code(), Some(code), "{ids:?}: {ended:?}");
        for line in [
            said,
            "Z  nowhere: the API does not know it\n",
            "nowhere: Workflow not found\n",
            "✗ error: Workflow not found",
        ] {
            assert!(
                ended.stdout.contains(line),
                "{ids:?}: {line:?} is not in\n{}",
                ended.stdout
            );
        }
        assert_eq!(
            ended.stdout.matches("does not know it").count(),
            1,
            "{}",
            ended.stdout
        );
    }
}

#[test]
fn what_cannot_be_told_beside_what_can() {
    let api = FakeApi::start();
    api.script("good", short_story("good"));
    api.script("bad", [ok(&failed("bad").json())]);
    api.script("endless", [processing("endless").reply()]);
    api.script("silent", [Answer::new(503).into()]);
    api.script("locked", [Answer::new(401).into()]);
    let cases = [
        (
            &["good", "endless"][..],
            2,
            "1 succeeded, 0 failed, 1 could not be told",
        ),
        (
            &["bad", "endless", "good"],
            1,
            "1 succeeded, 1 failed, 1 could not be told",
        ),
        (
            &["silent", "good"],
            2,
            "1 succeeded, 0 failed, 1 could not be told; the API gave no usable answer for 1s",
        ),
        (
            &["silent", "bad"],
            1,
            "0 succeeded, 1 failed, 1 could not be told; the API gave no usable answer for 1s",
        ),
        (
            &["locked"],
            2,
            "0 succeeded, 0 failed, 1 could not be told; the API gave no usable answer for 1s",
        ),
        (
            &["locked", "good"],
            2,
            "1 succeeded, 0 failed, 1 could not be told; the API gave no usable answer for 1s",
        ),
        (&["good"], 0, "1 succeeded, 0 failed, 0 could not be told"),
        (&["bad"], 1, "0 succeeded, 1 failed, 0 could not be told"),
    ];
    for (ids, code, said) in cases {
        let timeout = if ids.contains(&"endless") { "2s" } else { "1h" };
        let ended = trace(&api, &[ids, &["--patience", "1s"]].concat())
            .env("FARSPAN_POLL_TIMEOUT", timeout)
            .output();
        assert_eq!(ended.code(), Some(code), "{ids:?}: {ended:?}");
        assert!(ended.stdout.contains(said), "{ids:?}: {}", ended.stdout);
        let refused = ids.contains(&"locked");
        assert_eq!(
            ended.stderr.contains("HTTP 401"),
            refused,
            "{ids:?}: {}",
            ended.stderr
        );
    }
}

/// The command fails when all workflows succeeded but a trace could not be delivered.
#[test]
fn a_collector_that_refuses_is_code_2_unless_one_has_failed() {
    let (api, receiver) = (FakeApi::start(), Receiver::start());
    receiver.rule(|_| Some(Answer::new(400).into()));
    api.script("good", short_story("good"));
    api.script("bad", [ok(&failed("bad").json())]);
    for (id, code, spans) in [("good", 2, 4), ("bad", 1, 2)] {
        let ended = trace(&api, &[id])
            .without("OTEL_TRACES_EXPORTER")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.server.url())
            .output();
        assert_eq!(ended.code(), Some(code), "{ended:?}");
        let said = format!("the collector refused {spans} spans\n");
        ended.assert_says(&said);
        // It is of no interest to this command where start events come from.
        assert!(!ended.stderr.contains("FARSPAN_REDIS_URL"), "{ended:?}");
    }
}

#[test]
fn a_collector_that_takes_nothing_is_said() {
    let api = FakeApi::start();
    api.script("a", [completed("a").reply()]);
    let dead = format!("http://127.0.0.1:{}", free_port());
    let call = trace(&api, &["a"])
        .without("OTEL_TRACES_EXPORTER")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", dead);
    let ended = call.start().wait(SOON * 2);
    assert_eq!(ended.code(), Some(2), "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("the collector did not take 4 spans in time"),
        "{ended:?}"
    );
}

#[test]
fn an_interrupt_ends_it_politely() {
    let api = FakeApi::start();
    api.script("long", [processing("long").reply()]);
    let running = trace(&api, &["long"]).start();
    eventually("it is seen to run", SOON, || {
        running.stdout().contains("long: running")
    });
    running.signal("INT");
    let ended = running.wait(SOON);
    assert_eq!(ended.code(), Some(2), "{ended:?}");
    assert!(
        ended
            .stdout
            .contains("1 could not be told; interrupted before the end"),
        "{}",
        ended.stdout
    );
}

#[test]
fn what_is_wrong_with_the_command_line_is_code_2() {
    let api = FakeApi::start();
    for (arguments, said) in [
        (&[][..], "no ID"),
        (&["a", "--monitor", "x"], "no monitor 'x'"),
        (&["a", "--patience", "1"], "--patience"),
    ] {
        let ended = trace(&api, arguments).output();
        assert_eq!(ended.code(), Some(2), "{ended:?}");
        ended.assert_says(said);
    }
    assert_eq!(api.server.requests().len(), 0);
}

/// The interval is longer than the patience.
#[test]
fn patience_ends_when_it_says() {
    let ended = farspan(&["trace", "--patience", "1s", "w"])
        .env(
            "FARSPAN_API_BASE_URL",
            format!("http://127.0.0.1:{}", free_port()),
        )
        .env("FARSPAN_POLL_INTERVAL", "1h")
        .env("OTEL_TRACES_EXPORTER", "none")
        .start()
        .wait(2 * SOON);
    assert_eq!(ended.code(), Some(2), "{ended:?}");
    assert!(
        ended.stdout.contains("no usable answer for 1s"),
        "{ended:?}"
    );
}
