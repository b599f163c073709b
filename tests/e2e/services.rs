//! Whose spans are whose: a monitor's `service` is the resource of its spans, whatever happens to them on their way.

use crate::support::api::{completed, processing, short_story};
use crate::support::files::Files;
use crate::support::folder::Folder;
use crate::support::http::Answer;
use crate::support::program::Call;
use crate::support::receiver::{Export, Receiver};
use crate::support::redis::CHANNEL;
use crate::support::rig::Rig;
use crate::support::spans::{Seen, assert_whole};
use crate::support::{SOON, eventually};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

/// Each workflow is called after its monitor, so that it can be told whose its spans are to be.
const MONITORS: [&str; 4] = ["plain", "etl", "ci", "ci-too"];

fn service_of(monitor: &str) -> Value {
    match monitor {
        "etl" => json!({ "name": "etl", "namespace": "data",
            "attributes": { "team": "risk", "deployment.environment.name": "production" } }),
        "ci" | "ci-too" => json!({ "name": "ci" }),
        _ => json!({}),
    }
}

fn file(rig: &Rig, files: &Files, monitors: &[&str]) -> String {
    let monitors = monitors.iter().map(|name| {
        json!({ "name": name, "preset": "farspan", "service": service_of(name),
            "api": { "base_url": rig.api.base_url() } })
    });
    let monitors: Vec<Value> = monitors.collect();
    files.write("farspan.json", json!({ "monitors": monitors }).to_string())
}

fn call(rig: &Rig, files: &Files) -> Call {
    rig.call()
        .without("FARSPAN_API_BASE_URL")
        .env("FARSPAN_CONFIG", file(rig, files, &MONITORS))
        .env("FARSPAN_INSTANCE", "one")
        .env("OTEL_RESOURCE_ATTRIBUTES", "team=platform,region=eu")
}

fn event(id: &str) -> Value {
    json!({ "WorkflowId": id, "Monitor": id })
}

/// What a span's resource says, as far as monitors differ in it.
fn said(span: &Seen) -> String {
    let keys = [
        "service.name",
        "service.namespace",
        "team",
        "region",
        "deployment.environment.name",
    ];
    let said = keys.map(|key| span.resource.get(key).map_or("-", |value| value));
    said.join(" ")
}

const PLAIN: &str = "farspan - platform eu -";

#[track_caller]
fn assert_resources(spans: &[Seen]) {
    for trace in assert_whole(spans).values() {
        for span in trace.stages.iter().chain([&trace.root]) {
            let expected = match trace.root.workflow_id().as_str() {
                "etl" => "etl data risk eu production",
                "ci" | "ci-too" => "ci - platform eu -",
                _ => PLAIN,
            };
            assert_eq!(said(span), expected, "{span:?}");
        }
    }
}

/// Each span's resource in all requests, those that were refused too, but for who sent it; more than one is a mistake.
#[track_caller]
fn resources_sent(receiver: &Receiver) -> HashMap<Vec<u8>, BTreeMap<String, String>> {
    let mut sent: HashMap<Vec<u8>, BTreeMap<String, String>> = HashMap::new();
    for span in receiver.exports().into_iter().flat_map(|e| e.spans) {
        let mut resource = span.resource;
        resource.remove("service.instance.id");
        let id = span.span.span_id;
        let first = sent.entry(id).or_insert_with(|| resource.clone());
        assert_eq!(*first, resource, "a re-send has another resource");
    }
    sent
}

/// The `service.name`s of a request's resources in their order, and how many spans each has.
fn grouped(export: &Export) -> Vec<(String, usize)> {
    let request = ExportTraceServiceRequest::decode(&*export.bytes).unwrap();
    let groups = request.resource_spans.iter().map(|group| {
        let alone = ExportTraceServiceRequest {
            resource_spans: vec![group.clone()],
        };
        let spans = crate::support::spans::seen(&alone);
        (spans[0].resource["service.name"].clone(), spans.len())
    });
    groups.collect()
}

#[test]
fn each_span_has_its_monitors_resource() {
    let (rig, files) = (Rig::new(), Files::new());
    let farspan = rig.start_call(&call(&rig, &files).env("OTEL_TRACES_EXPORTER", "otlp,console"));
    for id in MONITORS {
        rig.api.script(id, short_story(id));
        rig.publish(&event(id));
    }
    eventually("all", SOON, || rig.receiver.spans().len() == 16);
    assert_resources(&rig.receiver.spans());
    let shown = farspan.stop().stdout;
    for (service, count) in [("service data/etl\n", 4), ("service ci\n", 8)] {
        assert_eq!(shown.matches(service).count(), count, "{shown}");
    }
    assert_eq!(shown.matches("service ").count(), 12, "{shown}");
}

#[test]
fn killed_while_the_collector_is_down_each_span_keeps_its_resource() {
    let (rig, files, directory) = (Rig::new(), Files::new(), Folder::new());
    rig.receiver.rule(|_| Some(Answer::new(503).into()));
    rig.api.script("plain", [processing("plain").reply()]);
    let call = call(&rig, &files)
        .env("FARSPAN_STATE", "file")
        .env("FARSPAN_STATE_DIR", directory.path().display());
    let farspan = rig.start_call(&call);
    for id in ["etl", "ci", "ci-too"] {
        rig.api.script(id, short_story(id));
        rig.publish(&event(id));
    }
    rig.publish(&event("plain"));
    eventually("three ends", SOON, || {
        ["etl", "ci", "ci-too"]
            .iter()
            .all(|id| rig.api.told_all(id))
    });
    // The commit of what was polled before them is behind two more polls.
    let polls = rig.api.polls("plain");
    eventually("a refused export and two more polls", SOON, || {
        !rig.receiver.exports().is_empty() && rig.api.polls("plain") >= polls + 2
    });
    farspan.kill();

    let refused = rig.receiver.exports().len();
    rig.api.script("plain", [completed("plain").reply()]);
    // The configuration has its monitor no more, and its spans are still sent.
    file(&rig, &files, &["plain", "etl", "ci"]);
    rig.receiver.behave();
    let farspan = rig.start_call(&call);
    eventually("everything", SOON, || rig.receiver.spans().len() == 16);
    rig.receiver.assert_each_span_once();
    let exports = rig.receiver.exports();
    let mut services = Vec::new();
    for export in &exports[refused..] {
        let [(service, count)] = &grouped(export)[..] else {
            panic!("a request has one resource");
        };
        services.push((service.clone(), *count));
    }
    let sent = |service: &str| {
        let counts = services.iter().filter(|(name, _)| name == service);
        counts.map(|(_, count)| count).sum::<usize>()
    };
    assert_eq!((sent("ci"), sent("etl"), sent("farspan")), (4, 4, 8));
    let (gone, spans): (Vec<Seen>, Vec<Seen>) = rig
        .receiver
        .spans()
        .into_iter()
        .partition(|span| span.attribute("workflowId") == "ci-too");
    assert_resources(&spans);
    assert_eq!((gone.len(), spans.len()), (4, 12));
    assert!(gone.iter().all(|span| said(span) == PLAIN), "{gone:?}");
    farspan.stop();
}

#[test]
fn who_takes_over_sends_each_span_under_its_resource() {
    let (rig, files) = (Rig::new(), Files::new());
    rig.receiver.rule(|_| Some(Answer::new(503).into()));
    let call = call(&rig, &files)
        .env("FARSPAN_STATE", "redis")
        .env("FARSPAN_LEASE", "2s");
    let first = rig.start_call(&call);
    for id in MONITORS {
        rig.api.script(id, short_story(id));
        rig.publish(&event(id));
    }
    eventually("all are stored", SOON, || {
        let keys: Vec<String> = rig.redis.ask(&["KEYS", "farspan:*:run:*"]);
        let fields = keys
            .iter()
            .flat_map(|key| -> Vec<String> { rig.redis.ask(&["HKEYS", key]) });
        let spans: Vec<String> = fields.filter(|field| field.starts_with("s:")).collect();
        let named = |monitor: &str| spans.iter().filter(|s| s.ends_with(monitor)).count();
        match (spans.len(), named(":etl"), named(":ci"), named(":ci-too")) {
            (16, 4, 4, 4) if !rig.receiver.exports().is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    first.kill();
    let second = call.env("FARSPAN_INSTANCE", "two").start();
    rig.redis.await_subscribers(CHANNEL, 1);
    rig.receiver.behave();
    eventually("everything", 2 * SOON, || rig.receiver.spans().len() == 16);
    rig.receiver.assert_each_span_once();
    assert_resources(&rig.receiver.spans());
    assert_eq!(resources_sent(&rig.receiver).len(), 16);
    eventually("nothing is stored", SOON, || {
        let keys: Vec<String> = rig.redis.ask(&["KEYS", "farspan:*:run:*"]);
        keys.is_empty()
    });
    second.stop();
}
