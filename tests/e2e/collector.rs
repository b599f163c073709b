//! A collector in trouble: every span arrives once, or is set aside, and holds up nothing.

use crate::support::api::{FakeApi, completed, processing, short_story};
use crate::support::folder::Folder;
use crate::support::http::{Answer, Reply, Server};
use crate::support::program::farspan;
use crate::support::receiver::{accepted, partial, refusal};
use crate::support::rig::Rig;
use crate::support::spans::assert_whole;
use crate::support::{SOON, eventually, within};
use serde_json::Value;
use std::time::Duration;

/// Spans of the standard workflow.
const SPANS: usize = 4;

#[test]
fn a_collector_that_refuses_connections_gets_everything_once_it_is_up() {
    let mut rig = Rig::new();
    rig.receiver.server.stop();
    let ids = submit_many(&rig, 10);
    let farspan = rig.start();
    for id in &ids {
        rig.submit(id);
    }
    for id in &ids {
        eventually("the workflow's end", SOON, || rig.api.told_all(id));
    }
    // First a port that closes every connection, then one that answers.
    rig.receiver.server.refuse(true);
    rig.receiver.server.resume();
    eventually("attempts", SOON, || rig.receiver.server.connections() >= 1);
    rig.receiver.server.refuse(false);
    assert_all_once(&rig, farspan, &ids);
}

#[test]
fn a_collector_that_goes_away_and_comes_back_misses_nothing() {
    let mut rig = Rig::new();
    let ids = submit_many(&rig, 10);
    let farspan = rig.start();
    rig.submit(&ids[0]);
    rig.trace(&ids[0]);
    rig.receiver.server.stop();
    for id in &ids[1..] {
        rig.submit(id);
    }
    for id in &ids {
        eventually("the workflow's end", SOON, || rig.api.told_all(id));
    }
    rig.receiver.server.resume();
    assert_all_once(&rig, farspan, &ids);
}

#[test]
fn what_may_pass_is_tried_again_with_the_same_bytes() {
    let rig = Rig::new();
    let ids = submit_many(&rig, 3);
    let codes = [401, 403, 404, 408, 429, 500, 502, 503, 504];
    for code in codes {
        // Zero seconds: at once, so that the attempts take no minute of backoff.
        rig.receiver
            .next(Answer::new(code).header("Retry-After", 0));
    }
    let farspan = rig.start();
    for id in &ids {
        rig.submit(id);
    }
    assert_all_once(&rig, farspan, &ids);
    let refused = rig
        .receiver
        .exports()
        .iter()
        .filter(|e| !e.accepted)
        .count();
    assert_eq!(refused, codes.len(), "each of the answers was met once");
}

#[test]
fn retry_after_is_honoured() {
    let rig = Rig::new();
    let ids = submit_many(&rig, 3);
    rig.receiver.next(Answer::new(503).header("Retry-After", 3));
    let farspan = rig.start();
    rig.submit(&ids[0]);
    eventually("the first attempt", SOON, || {
        rig.receiver.exports().len() == 1
    });
    rig.submit(&ids[1]);
    rig.submit(&ids[2]);
    assert_all_once(&rig, farspan, &ids);

    let exports = rig.receiver.exports();
    let pause = exports[1].http.at - exports[0].http.at;
    assert!(pause >= Duration::from_millis(2950), "{pause:?}");
}

#[test]
fn a_rejected_batch_is_set_aside_and_holds_up_nothing() {
    for (code, state) in [(400, "file"), (422, "none"), (501, "redis")] {
        let (rig, folder) = (Rig::new(), Folder::new());
        rig.api.script("bad", short_story("bad"));
        rig.api.script("good", short_story("good"));
        rig.receiver.rule(move |export| {
            let why = "that span is from another planet";
            export.is_about("bad").then(|| refusal(code, why))
        });
        let call = rig.call().env("FARSPAN_STATE", state);
        let call = call.env("FARSPAN_STATE_DIR", folder.path().display());
        let farspan = rig.start_call(&call);
        rig.submit("bad");
        eventually("the refusal", SOON, || {
            let exports = rig.receiver.exports();
            let mut spans = exports.iter().flat_map(|export| &export.spans);
            spans.any(|span| span.is_root() && span.workflow_id() == "bad")
        });
        rig.submit("good");
        assert_eq!(rig.trace("good").stages.len(), SPANS - 1);

        let ended = farspan.stop();
        let said = ended.stderr.contains("that span is from another planet");
        assert!(said, "{code}: the reason is logged: {}", ended.stderr);
        let exports = rig.receiver.exports();
        let spans = exports.iter().flat_map(|export| &export.spans);
        let of_bad = spans.filter(|span| span.workflow_id() == "bad").count();
        assert_eq!(of_bad, SPANS, "{code}: each was sent, and none again");
        let shown = |arguments: &[&str]| call.clone().with_arguments(arguments).output();
        if state == "none" {
            assert!(ended.stderr.contains("not kept"), "{}", ended.stderr);
            assert_eq!(shown(&["refused"]).code(), Some(1));
            continue;
        }
        let whole = shown(&["refused", "--json"]).stdout;
        let lines = whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let lines: Vec<Value> = lines.collect();
        let kept = lines.iter().map(|line| {
            let spans = &line["content"]["resourceSpans"][0]["scopeSpans"][0]["spans"];
            spans.as_array().unwrap().len()
        });
        assert_eq!(kept.sum::<usize>(), SPANS, "{whole}");
        let told = shown(&["refused"]).stdout;
        assert_eq!(told.lines().count(), lines.len(), "{told}");
        let words = format!(
            "the collector refused {}",
            lines[0]["what"].as_str().unwrap()
        );
        assert!(
            told.contains(&words) && told.contains("from another planet"),
            "{told}"
        );
    }
}

#[test]
fn a_batch_that_is_too_large_is_split() {
    let rig = Rig::new();
    rig.receiver
        .rule(|export| (export.spans.len() > 1).then(|| Answer::new(413).into()));
    let ids: Vec<String> = (0..4).map(|n| format!("large-{n}")).collect();
    for id in &ids {
        rig.api.script(id, [completed(id).reply()]);
    }
    let farspan = rig.start_call(&rig.call().env("OTEL_BSP_SCHEDULE_DELAY", "500"));
    for id in &ids {
        rig.submit(id);
    }
    assert_all_once(&rig, farspan, &ids);
    let exports = rig.receiver.exports();
    assert!(
        exports.iter().any(|export| !export.accepted),
        "some were too large"
    );
}

#[test]
fn a_single_span_that_is_too_large_is_set_aside() {
    let rig = Rig::new();
    rig.receiver
        .rule(|export| export.is_about("giant").then(|| Answer::new(413).into()));
    rig.api.script("giant", [completed("giant").reply()]);
    rig.api.script("small", [completed("small").reply()]);
    let farspan = rig.start();
    rig.submit("giant");
    eventually("a batch that was too large", SOON, || {
        !rig.receiver.exports().is_empty()
    });
    rig.submit("small");
    rig.trace("small");
    farspan.stop();
    let exports = rig.receiver.exports();
    let alone = exports
        .iter()
        .filter(|export| export.is_about("giant") && export.spans.len() == 1);
    assert_eq!(alone.count(), SPANS, "each was tried alone, once");
}

#[test]
fn a_partial_success_is_a_success_that_is_told() {
    let rig = Rig::new();
    let ids = submit_many(&rig, 2);
    rig.receiver.next(partial(1, "one span was too old"));
    rig.receiver.next(partial(0, "only a warning"));
    let farspan = rig.start();
    for id in &ids {
        rig.submit(id);
    }
    for id in &ids {
        rig.trace(id);
    }
    let ended = farspan.stop();
    ended.assert_says("one span was too old");
    rig.receiver.assert_each_span_once();
}

#[test]
fn a_connection_that_breaks_after_the_request_means_the_same_bytes_again() {
    let rig = Rig::new();
    rig.api.script("cut", [completed("cut").reply()]);
    rig.receiver.next(Reply::Close);
    let farspan = rig.start();
    rig.submit("cut");
    assert_all_once(&rig, farspan, &["cut".to_owned()]);
    let exports = rig.receiver.exports();
    assert!(!exports[0].accepted && exports.len() >= 2);
    assert_eq!(exports[0].bytes, exports[1].bytes, "the whole request too");
}

#[test]
fn connections_that_are_reset_lose_nothing() {
    let rig = Rig::new();
    rig.receiver.server.reset(true);
    let ids = submit_many(&rig, 3);
    let farspan = rig.start();
    for id in &ids {
        rig.submit(id);
    }
    farspan.await_log("eset by peer");
    let before = rig.receiver.server.connections();
    eventually("it is tried again", SOON, || {
        rig.receiver.server.connections() > before
    });
    assert_eq!(rig.receiver.exports().len(), 0);
    rig.receiver.server.reset(false);
    assert_all_once(&rig, farspan, &ids);
}

#[test]
fn a_collector_that_is_slow_gets_everything_once() {
    let rig = Rig::new();
    let ids = submit_many(&rig, 5);
    rig.receiver.rule(|_| {
        Some(Reply::Late(
            Duration::from_millis(700),
            Box::new(accepted()),
        ))
    });
    let farspan = rig.start();
    for id in &ids {
        rig.submit(id);
    }
    assert_all_once(&rig, farspan, &ids);
    // One at a time: the next one waits for the answer.
    let exports = rig.receiver.exports();
    for pair in exports.windows(2) {
        let pause = pair[1].http.at - pair[0].http.at;
        assert!(pause >= Duration::from_millis(690), "{pause:?}");
    }
}

#[test]
fn garbage_for_an_answer_does_not_stop_the_export() {
    let rig = Rig::new();
    rig.api.script("first", [completed("first").reply()]);
    rig.api.script("second", [completed("second").reply()]);
    rig.receiver.next(Reply::Raw(b"what?\r\n\r\n".to_vec()));
    let mut farspan = rig.start();
    rig.submit("first");
    eventually("the first request", SOON, || {
        !rig.receiver.exports().is_empty()
    });
    rig.submit("second");
    rig.trace("second");
    assert!(farspan.is_running());
}

#[test]
fn a_collector_that_hangs_is_given_up_after_the_timeout() {
    let rig = Rig::new();
    let ids = submit_many(&rig, 2);
    rig.receiver.next(Reply::Hang);
    let call = rig.call().env("OTEL_EXPORTER_OTLP_TIMEOUT", "500");
    let farspan = rig.start_call(&call);
    for id in &ids {
        rig.submit(id);
    }
    assert_all_once(&rig, farspan, &ids);
}

#[test]
fn while_the_collector_is_down_polling_goes_on() {
    let rig = Rig::new();
    rig.receiver.rule(|_| Some(Answer::new(503).into()));
    rig.api.script("ends", short_story("ends"));
    rig.api.script("runs", [processing("runs").reply()]);
    let farspan = rig.start();
    rig.submit("ends");
    rig.submit("runs");
    eventually("a refused export", SOON, || {
        !rig.receiver.exports().is_empty()
    });
    let polls = rig.api.polls("runs");
    eventually("more polls", SOON, || rig.api.polls("runs") > polls + 10);
    rig.receiver.behave();
    rig.api.script("runs", [completed("runs").reply()]);
    assert_all_once(&rig, farspan, &["ends".to_owned(), "runs".to_owned()]);
}

#[test]
fn connections_are_kept_and_batches_are_filled() {
    let rig = Rig::new();
    let ids = submit_many(&rig, 20);
    let call = rig
        .call()
        .env("OTEL_BSP_SCHEDULE_DELAY", "1000")
        .env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "16");
    let farspan = rig.start_call(&call);
    for id in &ids {
        rig.submit(id);
    }
    assert_all_once(&rig, farspan, &ids);
    let exports = rig.receiver.exports();
    let largest = exports.iter().map(|export| export.spans.len()).max();
    assert_eq!(largest, Some(16), "full, and not more than full");
    assert_eq!(rig.receiver.server.connections(), 1, "keep-alive");
}

#[test]
fn a_stop_gives_up_a_collector_that_stays_down() {
    let mut rig = Rig::new();
    rig.receiver.server.stop();
    rig.api.script("lost", [completed("lost").reply()]);
    let call = rig.call().env("OTEL_BSP_EXPORT_TIMEOUT", "1000");
    let farspan = rig.start_call(&call);
    rig.submit("lost");
    eventually("the workflow's end", SOON, || rig.api.told_all("lost"));
    farspan.signal("TERM");
    // The flush has a deadline.
    farspan.wait(SOON);
}

#[test]
fn console_and_otlp_may_be_had_together() {
    let rig = Rig::new();
    let ids = submit_many(&rig, 1);
    let call = rig.call().env("OTEL_TRACES_EXPORTER", "otlp,console");
    let farspan = rig.start_call(&call);
    rig.submit(&ids[0]);
    rig.trace(&ids[0]);
    let shown = within(SOON, || {
        let out = farspan.stdout();
        out.contains("DataLoader") && out.contains("Workflow")
    });
    assert!(shown.is_ok(), "the console exporter prints finished spans");
    farspan.stop();
}

fn submit_many(rig: &Rig, count: usize) -> Vec<String> {
    let ids: Vec<String> = (0..count).map(|n| format!("workflow-{n}")).collect();
    for id in &ids {
        rig.api.script(id, short_story(id));
    }
    ids
}

/// Waits for the traces, stops farspan, and looks at all that was ever sent.
#[track_caller]
fn assert_all_once(rig: &Rig, farspan: crate::support::program::Farspan, ids: &[String]) {
    for id in ids {
        rig.trace(id);
    }
    farspan.stop();
    let traces = assert_whole(&rig.receiver.spans());
    assert_eq!(traces.len(), ids.len());
    for trace in traces.values() {
        assert_eq!(trace.stages.len(), SPANS - 1);
    }
    rig.receiver.assert_each_span_once();
}

/// A server of gRPC answers everything with its settings, a frame of HTTP/2, and closes.
/// <https://www.rfc-editor.org/rfc/rfc9113.html#name-settings>
#[test]
fn a_collector_that_speaks_grpc_is_named_as_such() {
    let settings = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00".to_vec();
    let grpc = Server::start(move |_| Reply::Raw(settings.clone()));
    let api = FakeApi::start();
    let said =
        "this looks like gRPC: farspan exports OTLP over HTTP, for which a collector has port 4318";

    let check = farspan(&["check"])
        .env("FARSPAN_API_BASE_URL", api.base_url())
        .env("FARSPAN_STATE", "none")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", grpc.url())
        .output();
    assert_eq!(check.code(), Some(1), "{check:?}");
    assert!(check.stdout.contains(said), "{}", check.stdout);

    let demo = farspan(&["demo", "--workflows", "1", "--speed", "36000"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", grpc.url())
        .start()
        .wait(2 * SOON);
    assert_eq!(demo.code(), Some(1), "{demo:?}");
    let line = format!(
        "the collector accepts no spans: {}/v1/traces: the server",
        grpc.url()
    );
    assert!(demo.stderr.contains(&line), "{}", demo.stderr);
    assert!(demo.stderr.contains(said), "{}", demo.stderr);
    assert!(demo.stdout.contains("0 spans delivered"), "{}", demo.stdout);
}

#[test]
fn a_demo_whose_spans_are_refused_has_failed() {
    for (code, said) in [
        (400, "the collector refused "),
        (
            404,
            "/v1/traces: HTTP 404 (is OTEL_EXPORTER_OTLP_ENDPOINT the collector's URL?)",
        ),
    ] {
        let refusing = Server::start(move |_| Answer::new(code).into());
        let demo = farspan(&["demo", "--workflows", "1", "--speed", "36000"])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", refusing.url())
            .start()
            .wait(2 * SOON);
        assert_eq!(demo.code(), Some(1), "{demo:?}");
        assert!(demo.stdout.contains("it did not take"), "{}", demo.stdout);
        assert!(demo.stderr.contains(said), "{}", demo.stderr);
    }
}
