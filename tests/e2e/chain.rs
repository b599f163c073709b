//! `examples/chain`: the two programs, and between them a farspan with the configuration that stands beside them.

use crate::support::SOON;
use crate::support::demo::DemoApi;
use crate::support::program::{Call, farspan, program};
use crate::support::receiver::Receiver;
use crate::support::redis::RedisServer;
use crate::support::reported::{assert_as_reported, get};
use crate::support::spans::{Seen, assert_whole};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Builds the example, since only `cargo test` without `--test` has done so, into the place that farspan was built into.
#[track_caller]
pub fn built(example: &str) -> String {
    let programs = Path::new(env!("CARGO_BIN_EXE_farspan")).parent();
    let programs = programs.expect("a program's directory");
    let profile = match programs.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let mut cargo = Command::new(env!("CARGO"));
    // What cargo tells a test of its package would be new to the build scripts of others, which would run again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    let output = cargo
        .args(["build", "--frozen", "--message-format", "json"])
        .args(["--profile", profile, "--example", example, "--target-dir"])
        .arg(programs.parent().expect("a target directory"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let messages = String::from_utf8(output.stdout).expect("UTF-8");
    let messages = messages.lines().map(serde_json::from_str::<Value>);
    let executable = messages.map(Result::unwrap).find_map(|message| {
        let is_it = message["target"]["name"] == example;
        let executable = message["executable"].as_str().filter(|_| is_it)?;
        Some(executable.to_owned())
    });
    executable.unwrap_or_else(|| panic!("no executable of {example}: {stderr}"))
}

#[test]
fn one_trace_runs_from_the_submitter_through_the_workflow_into_the_consumer() {
    let (submitter, consumer) = (built("submitter"), built("consumer"));
    let redis = RedisServer::start();
    let receiver = Receiver::start();
    receiver.any_agent();
    let api = DemoApi::start("--speed 3600 --seed 7 --fail-rate 0");
    // Where the three find each other; everything else is as the example has it.
    let placed = |call: Call| {
        call.env("FARSPAN_API_BASE_URL", api.base_url())
            .env("FARSPAN_REDIS_URL", redis.url())
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.server.url())
    };
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/chain/farspan.json");
    let watcher = placed(farspan(&["run", "--config", file]))
        .env("FARSPAN_POLL_INTERVAL", "100ms")
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .start();
    let consumer = placed(program(&consumer, &[])).start();
    let submitted = placed(program(&submitter, &[])).output();
    assert_eq!(submitted.code(), Some(0), "{submitted:?}");
    let consumed = consumer.wait(2 * SOON);
    assert_eq!(consumed.code(), Some(0), "{consumed:?}");
    watcher.stop();

    let spans = receiver.spans();
    receiver.assert_each_span_once();
    let of_service = |name: &str| -> Vec<Seen> {
        let spans = spans
            .iter()
            .filter(|span| span.resource["service.name"] == name);
        spans.cloned().collect()
    };
    let (desk, engine, reports) = (
        of_service("desk"),
        of_service("risk-engine"),
        of_service("reports"),
    );
    assert_eq!((desk.len(), reports.len()), (1, 1), "{spans:#?}");
    assert_eq!(spans.len(), 2 + engine.len(), "{spans:#?}");
    let traces: BTreeSet<_> = spans.iter().map(|span| &span.span.trace_id).collect();
    assert_eq!(traces.len(), 1, "one trace: {spans:#?}");

    let (submit, report) = (&desk[0], &reports[0]);
    let id = submit.attribute("workflowId");
    let workflow = assert_whole(&engine).remove(&id).expect("its workflow");
    assert_as_reported(&workflow, &get(&api.address, &format!("/workflows/{id}")));
    assert_eq!(
        workflow.stage_names(),
        ["DataLoader", "OutputGenerator", "Processor"]
    );
    let root = &workflow.root;
    assert_eq!(submit.span.parent_span_id, [0; 0]);
    assert_eq!(root.span.parent_span_id, submit.span.span_id);
    assert_eq!(report.span.parent_span_id, root.span.span_id);
    assert!(
        root.is_root() && report.is_root(),
        "their parents are remote"
    );
    assert_eq!(submit.span.kind(), SpanKind::Producer);
    assert_eq!(report.span.kind(), SpanKind::Consumer);
    assert_eq!(report.attribute("workflowId"), id);
    assert_eq!(report.attribute("result"), "success");

    let pending = [
        "XPENDING",
        "event.workflow.finished",
        "reports",
        "-",
        "+",
        "9",
    ];
    assert_eq!(redis.ask::<Vec<redis::Value>>(&pending), []);
}
