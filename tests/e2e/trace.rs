//! `farspan trace`: from the ids to the traces, and an exit code that says how it went.

use crate::support::SOON;
use crate::support::api::{Body, FakeApi, completed, ok, processing, short_story};
use crate::support::eventually;
use crate::support::free_port;
use crate::support::http::Answer;
use crate::support::program::{Call, farspan};
use crate::support::receiver::Receiver;

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
        ended
            .stdout
            .contains("the API gave no answer for 1s, given up"),
        "{}",
        ended.stdout
    );

    let dead = format!("http://127.0.0.1:{}", free_port());
    let ended = trace(&api, &["a", "--patience", "1s"])
        .env("FARSPAN_API_BASE_URL", dead)
        .output();
    assert_eq!(ended.code(), Some(2), "{ended:?}");
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
        assert!(ended.stderr.contains(said), "{ended:?}");
    }
    assert_eq!(api.server.requests().len(), 0);
}
