//! What a backend has of a run before the run ends: status events as log records, and spans that show a start.

use crate::support::api::{completed, processing};
use crate::support::files::Files;
use crate::support::folder::Folder;
use crate::support::http::{Answer, Request, Server, lock};
use crate::support::program::{Call, Farspan, farspan};
use crate::support::redis::CHANNEL;
use crate::support::rig::Rig;
use crate::support::spans::{Seen, hex};
use crate::support::{SOON, eventually};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

/// The collector's `/v1/logs`: answers with `status`, and keeps what it was sent.
struct LogReceiver {
    server: Server,
    status: Arc<AtomicU16>,
    /// Each record that was sent, and whether the answer was a success.
    records: Arc<Mutex<Vec<(LogRecord, bool)>>>,
}

impl LogReceiver {
    fn start(status: u16) -> Self {
        let status = Arc::new(AtomicU16::new(status));
        let records: Arc<Mutex<Vec<(LogRecord, bool)>>> = Arc::default();
        let server = {
            let (status, records) = (status.clone(), records.clone());
            Server::start(move |request: &Request| {
                let status = status.load(Ordering::SeqCst);
                let sent = read(request).into_iter();
                lock(&records).extend(sent.map(|record| (record, status == 200)));
                Answer::new(status).into()
            })
        };
        LogReceiver {
            server,
            status,
            records,
        }
    }

    fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn sent(&self) -> usize {
        lock(&self.records).len()
    }

    fn delivered(&self) -> Vec<LogRecord> {
        let records = lock(&self.records);
        let delivered = records.iter().filter(|(_, is_delivered)| *is_delivered);
        delivered.map(|(record, _)| record.clone()).collect()
    }
}

fn read(request: &Request) -> Vec<LogRecord> {
    assert_eq!((&*request.method, &*request.target), ("POST", "/v1/logs"));
    assert_eq!(
        request.header("Content-Type"),
        Some("application/x-protobuf")
    );
    assert_eq!(request.header("X-Scope-OrgID"), Some("logs"));
    assert_eq!(request.header("Content-Encoding"), Some("gzip"));
    let mut bytes = Vec::new();
    let mut gzip = flate2::read::GzDecoder::new(&*request.body);
    gzip.read_to_end(&mut bytes).expect("gzip");
    let sent = ExportLogsServiceRequest::decode(&*bytes).expect("protobuf");
    let [group] = &*sent.resource_logs else {
        panic!("{sent:?}");
    };
    let resource = group.resource.as_ref().expect("a resource");
    let name = resource
        .attributes
        .iter()
        .find(|it| it.key == "service.name");
    assert!(name.is_some(), "{resource:?}");
    let scopes = group.scope_logs.iter();
    scopes.flat_map(|scope| scope.log_records.clone()).collect()
}

fn text(record: &LogRecord, key: Option<&str>) -> String {
    let value = match key {
        None => record.body.as_ref(),
        Some(key) => (record.attributes.iter())
            .find(|it| it.key == key)
            .and_then(|it| it.value.as_ref()),
    };
    match value.and_then(|value| value.value.as_ref()) {
        Some(Any::StringValue(text)) => text.clone(),
        other => panic!("{key:?}: {other:?} in {record:?}"),
    }
}

fn call(rig: &Rig, files: &Files, directory: &Folder, spans: Value) -> Call {
    let monitor = json!({"name": "default", "preset": "farspan", "spans": spans,
        "api": {"base_url": rig.api.base_url()}});
    let file = files.write("farspan.json", json!({"monitors": [monitor]}).to_string());
    rig.call()
        .without("FARSPAN_API_BASE_URL")
        .env("FARSPAN_CONFIG", file)
        .env("FARSPAN_STATE", "file")
        .env("FARSPAN_STATE_DIR", directory.path().display())
}

fn with_logs(call: Call, logs: &LogReceiver) -> Call {
    call.env(
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        format!("{}/v1/logs", logs.server.url()),
    )
    .env("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x-scope-orgid=logs")
    .env("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "gzip")
}

#[track_caller]
fn restarted(rig: &Rig, call: &Call) -> Farspan {
    let farspan = call.start();
    rig.redis.await_subscribers(CHANNEL, 1);
    farspan
}

/// The workflow runs until the test lets it end.
fn until_let_go(rig: &Rig, id: &'static str) -> Arc<AtomicBool> {
    let ends = Arc::new(AtomicBool::new(false));
    let gate = ends.clone();
    rig.api.decide(id, move |_, _| {
        if gate.load(Ordering::SeqCst) {
            completed(id).reply()
        } else {
            processing(id).reply()
        }
    });
    ends
}

/// A collector that takes no log records holds up no span, and gets each record once, also through a kill.
#[test]
fn status_events_are_log_records_while_the_run_goes_on() {
    let (rig, files, directory) = (Rig::new(), Files::new(), Folder::new());
    let logs = LogReceiver::start(503);
    let call = call(&rig, &files, &directory, json!({"status_events": "both"}));
    let call = with_logs(call, &logs).env("OTEL_METRICS_EXPORTER", "otlp");
    let ends = until_let_go(&rig, "w");
    let farspan = rig.start_call(&call);
    rig.submit("w");
    eventually("records that are refused", SOON, || logs.sent() >= 4);
    let url = logs.server.url();
    farspan.await_log(&format!(
        "the collector accepts no log records: {url}/v1/logs: HTTP 503"
    ));
    farspan.kill();
    let refused: Vec<LogRecord> = lock(&logs.records)
        .iter()
        .map(|(it, _)| it.clone())
        .collect();
    let farspan = restarted(&rig, &call);
    logs.answers(200);
    eventually("two of them", SOON, || logs.delivered().len() == 2);
    for record in logs.delivered() {
        assert!(refused.contains(&record), "a re-send differs: {record:?}");
    }
    ends.store(true, Ordering::SeqCst);
    let trace = rig.trace("w");
    eventually("all of them", SOON, || logs.delivered().len() == 6);
    farspan.stop();
    // The counters begin at the start of a process.
    let counted = ["made", "delivered", "rejected"];
    let counted = counted.map(|it| rig.receiver.number(&format!("farspan.log_records.{it}")));
    assert_eq!(counted, [4, 6, 0]);
    assert_eq!(rig.receiver.number("farspan.outbox.log_records"), 0);
    let mut by_span: BTreeMap<Vec<u8>, Vec<String>> = BTreeMap::new();
    let delivered = logs.delivered();
    for record in &delivered {
        assert_eq!(record.trace_id, trace.root.span.trace_id);
        assert_eq!(text(record, Some("workflowId")), "w");
        assert_eq!(
            (record.severity_number, &*record.event_name),
            (9, "farspan.status")
        );
        let status = text(record, Some("farspan.status"));
        assert!(text(record, None).ends_with(&format!(": {status}")));
        by_span
            .entry(record.span_id.clone())
            .or_default()
            .push(status);
    }
    let statuses = |span: &Seen| {
        let statuses = by_span.get(&span.span.span_id).cloned();
        statuses.unwrap_or_else(|| panic!("none of {}", hex(&span.span.span_id)))
    };
    assert_eq!(statuses(&trace.root), ["Processing", "Completed"]);
    assert_eq!(
        statuses(trace.stage("DataLoader")),
        ["Processing", "Completed"]
    );
    assert_eq!(statuses(trace.stage("Processor")), ["Completed"]);
    let of_span = trace.root.event_names();
    assert!(
        of_span.ends_with(&["Processing", "Completed"]),
        "{of_span:?}"
    );
}

#[test]
fn what_a_collector_refuses_of_the_log_records_is_kept_and_the_spans_have_no_events() {
    let (rig, files, directory) = (Rig::new(), Files::new(), Folder::new());
    let logs = LogReceiver::start(400);
    let call = call(&rig, &files, &directory, json!({"status_events": "log"}));
    let call = with_logs(call, &logs);
    let farspan_ = rig.start_call(&call);
    rig.api.script("w", [completed("w").reply()]);
    rig.submit("w");
    let trace = rig.trace("w");
    assert!(trace.root.event_names().is_empty());
    farspan_.await_log("the collector refused 4 log records for good: HTTP 400");
    farspan_.stop();
    let kept = farspan(&["refused", "--json"])
        .env("FARSPAN_STATE_DIR", directory.path().display())
        .output();
    let out = kept.stdout;
    for said in [
        "4 log records: Workflow: Completed",
        "resourceLogs",
        &hex(&trace.root.span.trace_id),
    ] {
        assert!(out.contains(said), "{said}: {out}{}", kept.stderr);
    }
}

#[test]
fn a_start_is_a_span_of_its_own_that_leaves_at_once_and_once() {
    let (rig, files, directory) = (Rig::new(), Files::new(), Folder::new());
    let call = call(&rig, &files, &directory, json!({"started": true}));
    let ends = until_let_go(&rig, "w");
    let farspan = rig.start_call(&call);
    rig.submit("w");
    // A span whose acknowledgement was not stored yet is sent again, with the same bytes.
    let spans = || rig.receiver.distinct_spans();
    eventually("the starts", SOON, || spans().len() == 2);
    farspan.kill();
    let farspan = restarted(&rig, &call);
    let polls = rig.api.polls("w");
    eventually("it is polled again", SOON, || {
        rig.api.polls("w") >= polls + 3
    });
    assert_eq!(spans().len(), 2, "no others");
    ends.store(true, Ordering::SeqCst);
    eventually("the whole trace", SOON, || rig.receiver.has_root("w"));
    farspan.stop();
    rig.receiver.deliveries();
    let spans = spans();
    let root = spans.iter().find(|span| span.is_root()).expect("a root");
    let named = |name: &str| {
        let found = spans.iter().find(|span| span.span.name == name);
        found.unwrap_or_else(|| panic!("no {name}: {spans:?}"))
    };
    for (name, of) in [
        ("Workflow started", root),
        ("DataLoader started", named("DataLoader")),
    ] {
        let started = named(name);
        assert_eq!(started.attribute("farspan.started"), "true (bool)");
        assert_eq!(started.workflow_id(), "w");
        assert_eq!(started.span.trace_id, root.span.trace_id);
        assert_eq!(started.span.parent_span_id, root.span.span_id);
        assert_eq!((started.start(), started.end()), (of.start(), of.start()));
    }
    assert_eq!(
        spans.len(),
        6,
        "stages that were seen at their end alone need none: {spans:?}"
    );
}
