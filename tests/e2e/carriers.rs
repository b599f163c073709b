//! Where an event may come from and how it may say whose part its workflow is: every format of a trace context, standard
//! input, and requests.

use crate::support::api::{END, START, completed, processing, short_story};
use crate::support::folder::Folder;
use crate::support::http::Reply;
use crate::support::program::{Call, Farspan, farspan};
use crate::support::redis::CHANNEL;
use crate::support::rig::Rig;
use crate::support::spans::{Trace, hex};
use crate::support::{SOON, eventually, free_port};
use serde_json::{Map, Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A format: what it is called, its keys and values, the trace and the span they name, and how it says "not sampled".
pub struct Format {
    pub name: &'static str,
    pub keys: &'static [(&'static str, &'static str)],
    pub trace: &'static str,
    pub span: &'static str,
    pub unsampled: &'static [(&'static str, &'static str)],
}

pub const FORMATS: [Format; 7] = [
    Format {
        name: "w3c",
        keys: &[
            (
                "traceparent",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            ),
            ("tracestate", "rojo=00f067aa0ba902b7"),
        ],
        trace: "4bf92f3577b34da6a3ce929d0e0e4736",
        span: "00f067aa0ba902b7",
        unsampled: &[(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
        )],
    },
    Format {
        name: "b3",
        keys: &[(
            "b3",
            "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90",
        )],
        trace: "80f198ee56343ba864fe8b2a57d3eff7",
        span: "e457b5a2e4d86bd1",
        unsampled: &[("b3", "0")],
    },
    Format {
        name: "b3multi",
        keys: &[
            ("X-B3-TraceId", "463ac35c9f6413ad"),
            ("X-B3-SpanId", "a2fb4a1d1a96d312"),
            ("X-B3-Sampled", "1"),
        ],
        trace: "0000000000000000463ac35c9f6413ad",
        span: "a2fb4a1d1a96d312",
        unsampled: &[
            ("X-B3-TraceId", "463ac35c9f6413ad"),
            ("X-B3-SpanId", "a2fb4a1d1a96d312"),
            ("X-B3-Sampled", "0"),
        ],
    },
    Format {
        name: "jaeger",
        keys: &[("uber-trace-id", "3bd7a6bd2c6fc7a7:5d8f2c1c0a3b9e1:0:1")],
        trace: "00000000000000003bd7a6bd2c6fc7a7",
        span: "05d8f2c1c0a3b9e1",
        unsampled: &[("uber-trace-id", "3bd7a6bd2c6fc7a7:5d8f2c1c0a3b9e1:0:0")],
    },
    Format {
        name: "datadog",
        keys: &[
            ("x-datadog-trace-id", "1234567890123456789"),
            ("x-datadog-parent-id", "9876543210987654321"),
            ("x-datadog-sampling-priority", "1"),
            ("x-datadog-tags", "_dd.p.tid=640cfd8d00000000"),
        ],
        trace: "640cfd8d00000000112210f47de98115",
        span: "891087b8e3b70cb1",
        unsampled: &[
            ("x-datadog-trace-id", "1234567890123456789"),
            ("x-datadog-parent-id", "9876543210987654321"),
            ("x-datadog-sampling-priority", "0"),
        ],
    },
    Format {
        name: "honeycomb",
        keys: &[(
            "X-Honeycomb-Trace",
            "1;trace_id=weekly run,parent_id=c998e73e5420f609,dataset=a%2Cb,context=e30=",
        )],
        // The first half of what sha256sum says of "weekly run".
        trace: "4a5e4984e90c886bb773297c22f1b085",
        span: "c998e73e5420f609",
        // It passes on nothing that is not recorded.
        unsampled: &[("b3", "0")],
    },
    Format {
        name: "xray",
        keys: &[(
            "X-Amzn-Trace-Id",
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
        )],
        trace: "5759e988bd862e3fe1be46a994272793",
        span: "53995c3f42cd8ad8",
        unsampled: &[(
            "X-Amzn-Trace-Id",
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0",
        )],
    },
];

impl Format {
    pub fn object(&self) -> Value {
        object(self.keys)
    }

    #[track_caller]
    pub fn assert_parent_of(&self, trace: &Trace) {
        let root = &trace.root;
        assert_eq!(hex(&root.span.trace_id), self.trace, "{}", self.name);
        assert_eq!(hex(&root.span.parent_span_id), self.span, "{}", self.name);
        root.assert_times(START, END);
        let original = root.find("honeycomb.trace_id");
        let expected = (self.name == "honeycomb").then(|| "weekly run".to_owned());
        assert_eq!(original, expected, "{}", self.name);
        let state = if self.name == "w3c" {
            "rojo=00f067aa0ba902b7"
        } else {
            ""
        };
        assert_eq!(root.span.trace_state, state);
    }
}

pub fn object(pairs: &[(&str, &str)]) -> Value {
    let pairs = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)));
    Value::Object(pairs.collect::<Map<_, _>>())
}

pub fn with(mut event: Value, fields: &Value) -> Value {
    let fields = fields.as_object().expect("an object").clone();
    event.as_object_mut().expect("an object").extend(fields);
    event
}

/// At top level and in upper case, under each of the names, and in a CloudEvent's envelope.
#[test]
fn every_format_in_every_place_of_a_published_event() {
    let rig = Rig::new();
    let farspan = rig.start();
    for format in &FORMATS {
        let event = |place: &str| json!({ "WorkflowId": format!("{}-{place}", format.name) });
        let shouted = format.keys.iter();
        let shouted: Vec<_> = shouted
            .map(|(key, value)| (key.to_uppercase().replace('-', "_"), *value))
            .collect();
        let shouted: Vec<_> = shouted
            .iter()
            .map(|(key, value)| (key.as_str(), *value))
            .collect();
        let events = [
            ("top", with(event("top"), &format.object())),
            ("upper", with(event("upper"), &object(&shouted))),
            (
                "carrier",
                with(event("carrier"), &json!({ "carrier": format.object() })),
            ),
            (
                "context",
                with(
                    event("context"),
                    &json!({ "trace_context": format.object() }),
                ),
            ),
            (
                "headers",
                with(event("headers"), &json!({ "headers": format.object() })),
            ),
            (
                "envelope",
                with(
                    json!({ "specversion": "1.0", "data": event("envelope") }),
                    &format.object(),
                ),
            ),
        ];
        for (place, event) in &events {
            let id = format!("{}-{place}", format.name);
            rig.api.script(&id, short_story(&id));
            rig.publish(event);
        }
        for (place, _) in &events {
            format.assert_parent_of(&rig.trace(&format!("{}-{place}", format.name)));
        }
    }
    let ended = farspan.stop();
    assert!(!ended.stderr.contains("malformed"), "{}", ended.stderr);
}

#[test]
fn every_format_as_the_fields_of_an_entry() {
    const STREAM: &str = "workflows";
    let rig = Rig::new();
    let farspan = rig.start_call(&rig.call().env("FARSPAN_REDIS_STREAM", STREAM));
    for format in &FORMATS {
        let (bare, beside) = (
            format!("{}-bare", format.name),
            format!("{}-beside", format.name),
        );
        let message = json!({ "WorkflowId": beside }).to_string();
        for (id, named) in [
            (&bare, ("WorkflowId", bare.as_str())),
            (&beside, ("message", message.as_str())),
        ] {
            rig.api.script(id, short_story(id));
            let mut words = vec!["XADD", STREAM, "*", named.0, named.1];
            words.extend(format.keys.iter().flat_map(|(key, value)| [*key, *value]));
            let _: String = rig.redis.ask(&words);
        }
        format.assert_parent_of(&rig.trace(&bare));
        format.assert_parent_of(&rig.trace(&beside));
    }
    farspan.stop();
}

#[test]
fn every_format_as_the_headers_of_a_request() {
    let (rig, door) = (Rig::new(), Door::new());
    let farspan = door.start(&rig.call());
    for format in &FORMATS {
        let id = format!("{}-header", format.name);
        rig.api.script(&id, short_story(&id));
        let answer = door.post(format.keys, &json!({ "WorkflowId": id }).to_string());
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_eq!(answer.json(), json!({ "workflowId": id, "accepted": true }));
        format.assert_parent_of(&rig.trace(&id));
    }
    farspan.stop();
}

#[test]
fn what_the_submitter_does_not_sample_is_watched_and_not_exported() {
    let rig = Rig::new();
    let farspan = rig.start();
    for format in &FORMATS {
        let id = format!("{}-unsampled", format.name);
        rig.api.script(&id, short_story(&id));
        rig.publish(&with(
            json!({ "WorkflowId": id }),
            &object(format.unsampled),
        ));
    }
    for format in &FORMATS {
        let id = format!("{}-unsampled", format.name);
        eventually(&id, SOON, || rig.api.told_all(&id));
    }
    rig.api.script("sampled", short_story("sampled"));
    rig.submit("sampled");
    rig.trace("sampled");
    let ended = farspan.stop();
    ended.assert_says("8 workflows ended");
    assert!(
        rig.receiver
            .spans()
            .iter()
            .all(|span| span.workflow_id() == "sampled")
    );
}

/// Where the submitter leaves the decision to others, the sampler takes it as for a trace of our own.
#[test]
fn a_decision_that_was_deferred_is_the_samplers() {
    let rig = Rig::new();
    let deferred =
        json!({ "WorkflowId": "w", "b3": "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1" });
    rig.api.script("w", short_story("w"));
    let farspan = rig.start();
    rig.publish(&deferred);
    let trace = rig.trace("w");
    assert_eq!(hex(&trace.root.span.parent_span_id), "e457b5a2e4d86bd1");
    farspan.stop();
    let spans = rig.receiver.spans().len();
    rig.api.script("w", short_story("w"));
    let farspan = rig.start_call(
        &rig.call()
            .env("OTEL_TRACES_SAMPLER", "parentbased_always_off"),
    );
    rig.publish(&deferred);
    eventually("all was told", SOON, || rig.api.told_all("w"));
    farspan.stop();
    assert_eq!(rig.receiver.spans().len(), spans);
}

#[test]
fn what_is_malformed_is_said_and_the_workflow_traced_as_its_own() {
    let rig = Rig::new();
    let farspan = rig.start();
    let malformed = [
        (
            "w3c",
            json!({ "headers": { "traceparent": "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01" } }),
        ),
        (
            "b3",
            json!({ "carrier": { "b3": "0000000000000000-00f067aa0ba902b7-1" } }),
        ),
        ("b3multi", json!({ "X-B3-TraceId": "463ac35c9f6413ad" })),
        ("jaeger", json!({ "uber-trace-id": ":::" })),
        (
            "datadog",
            json!({ "x-datadog-trace-id": "18446744073709551616", "x-datadog-parent-id": 1 }),
        ),
        ("honeycomb", json!({ "traceContext": "1;trace_id=a" })),
        (
            "xray",
            json!({ "headers": { "X-Amzn-Trace-Id": ["Root=1-0-0;Parent=0"] } }),
        ),
        (
            "nothing",
            json!({ "carrier": "DHL", "headers": [[]], "traceContext": { "traceparent": null } }),
        ),
    ];
    for (id, fields) in &malformed {
        rig.api.script(id, short_story(id));
        rig.publish(&with(json!({ "WorkflowId": id }), fields));
    }
    for (id, _) in &malformed {
        let root = rig.trace(id).root;
        assert!(root.span.parent_span_id.is_empty(), "{id}");
    }
    let ended = farspan.stop();
    for said in [
        "traceparent is not a W3C",
        "b3 is not",
        "X-B3-* is not",
        "uber-trace-id is not",
        "x-datadog-* is not",
        "X-Honeycomb-Trace is not",
        "X-Amzn-Trace-Id is not",
    ] {
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("\"nothing\": "), "{}", ended.stderr);
}

#[test]
fn propagators_that_are_named_are_the_only_ones() {
    let rig = Rig::new();
    let farspan = rig.start_call(&rig.call().env("OTEL_PROPAGATORS", "b3,jaeger"));
    for format in &FORMATS {
        rig.api.script(format.name, short_story(format.name));
        rig.publish(&with(
            json!({ "WorkflowId": format.name }),
            &format.object(),
        ));
    }
    for format in &FORMATS {
        let trace = rig.trace(format.name);
        match format.name {
            "b3" | "b3multi" | "jaeger" => format.assert_parent_of(&trace),
            _ => assert!(trace.root.span.parent_span_id.is_empty(), "{}", format.name),
        }
    }
    farspan.stop();
}

/// The admin endpoint of a farspan, to knock at.
pub struct Door {
    pub address: String,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Door {
    pub fn new() -> Self {
        Door {
            address: format!("127.0.0.1:{}", free_port()),
        }
    }

    /// Starts a farspan behind it and waits until it answers.
    #[track_caller]
    pub fn start(&self, call: &Call) -> Farspan {
        let farspan = call
            .clone()
            .env("FARSPAN_ADMIN_LISTEN", &self.address)
            .start();
        eventually("it listens", SOON, || {
            TcpStream::connect(&self.address).map_err(|e| e.to_string())
        });
        farspan
    }

    #[track_caller]
    pub fn post(&self, headers: &[(&str, &str)], body: &str) -> Answer {
        self.ask("POST", "/api/workflows", headers, body)
    }

    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if headers.iter().all(|(name, _)| *name != "Host") {
            request += &format!("Host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        // It may have answered before it has read everything.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Answer {
            status: status.expect("a status"),
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }
}

/// Without Redis.
fn posted_to(rig: &Rig) -> Call {
    rig.call().without("FARSPAN_REDIS_URL")
}

#[test]
fn an_event_that_was_posted_is_traced_and_a_duplicate_is_one() {
    let (rig, door) = (Rig::new(), Door::new());
    rig.api.script("w", short_story("w"));
    let farspan = door.start(&posted_to(&rig));
    let event =
        json!({ "workflow_id": "w", "attributes": { "desk": "rates" }, "SubmittedAt": "soon" });
    for _ in 0..2 {
        let answer = door.post(&[("Content-Type", "application/json")], &event.to_string());
        assert_eq!(answer.status, 202);
        let said =
            json!({ "workflowId": "w", "accepted": true, "ignored": "SubmittedAt is not a time" });
        assert_eq!(answer.json(), said);
    }
    assert_eq!(rig.trace("w").root.attribute("desk"), "rates");
    farspan.stop();
    rig.receiver.assert_each_span_once();
}

#[test]
fn many_events_in_one_request_and_all_or_none_of_them() {
    let (rig, door) = (Rig::new(), Door::new());
    let farspan = door.start(&posted_to(&rig));
    for id in ["a", "b", "c", "d"] {
        rig.api.script(id, short_story(id));
    }
    let answer = door.post(&[], r#" [{"WorkflowId": "a"}, {"WorkflowId": "b"}]"#);
    assert_eq!(answer.status, 202);
    let said =
        json!([{ "workflowId": "a", "accepted": true }, { "workflowId": "b", "accepted": true }]);
    assert_eq!(answer.json(), said);
    let lines = "{\"WorkflowId\": \"c\"}\r\n\n{\"WorkflowId\": \"d\"}";
    let answer = door.post(&[("Content-Type", "application/x-ndjson")], lines);
    assert_eq!(
        (answer.status, answer.json().as_array().map(Vec::len)),
        (202, Some(2))
    );
    for id in ["a", "b", "c", "d"] {
        rig.trace(id);
    }
    let answer = door.post(&[], r#"[{"WorkflowId": "stray"}, {"WorkflowId": ""}]"#);
    assert_eq!(answer.status, 400);
    let said = json!({ "error": "WorkflowId is empty", "reason": "empty_id", "event": 1 });
    assert_eq!(answer.json(), said);
    let lines = "{\"WorkflowId\": \"stray\"}\nno JSON";
    let answer = door.post(&[("Content-Type", "application/x-ndjson")], lines);
    assert_eq!((answer.status, &answer.json()["event"]), (400, &json!(1)));
    farspan.stop();
    rig.api.assert_nothing_stray();
}

/// <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>
#[test]
fn cloud_events_in_all_three_modes() {
    let (rig, door) = (Rig::new(), Door::new());
    let farspan = door.start(&posted_to(&rig));
    let w3c = &FORMATS[0];
    let ids = [
        "structured",
        "batched",
        "also batched",
        "binary",
        "only a subject ü",
    ];
    for id in ids {
        rig.api.script(id, short_story(id));
    }
    let envelope = |subject: &str, rest: Value| {
        let envelope = json!({ "specversion": "1.0", "type": "started", "source": "/engine", "id": "1", "subject": subject });
        with(with(envelope, &rest), &w3c.object())
    };
    let structured = envelope("nobody", json!({ "data": { "WorkflowId": "structured" } }));
    let answer = door.post(
        &[(
            "Content-Type",
            "application/cloudevents+json; charset=UTF-8",
        )],
        &structured.to_string(),
    );
    assert_eq!(
        (answer.status, &answer.json()["workflowId"]),
        (202, &json!("structured"))
    );
    let batch = json!([
        envelope("batched", json!({})),
        envelope("also batched", json!({ "data": 7 }))
    ]);
    let answer = door.post(
        &[("Content-Type", "application/cloudevents-batch+json")],
        &batch.to_string(),
    );
    assert_eq!(
        (answer.status, &answer.json()[1]["workflowId"]),
        (202, &json!("also batched"))
    );
    let mut headers = vec![
        ("ce-specversion", "1.0"),
        ("ce-type", "started"),
        ("ce-source", "/engine"),
        ("ce-id", "2"),
        ("CE-Subject", "only%20a%20subject%20%C3%BC"),
        ("ce-time", "2024-07-05T06:57:51Z"),
        ("ce-traceparent", w3c.keys[0].1),
        ("ce-tracestate", w3c.keys[1].1),
        // Of the way here, and not of the event.
        (
            "traceparent",
            "00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-01",
        ),
    ];
    headers.push(("Content-Type", "application/json"));
    let answer = door.post(&headers, r#"{"WorkflowId": "binary"}"#);
    assert_eq!(
        (answer.status, &answer.json()["workflowId"]),
        (202, &json!("binary"))
    );
    headers.pop();
    headers.push(("Content-Type", "image/png"));
    let answer = door.post(&headers, "not a picture");
    assert_eq!(
        (answer.status, &answer.json()["workflowId"]),
        (202, &json!("only a subject ü"))
    );
    for id in ids {
        w3c.assert_parent_of(&rig.trace(id));
    }
    farspan.stop();
}

#[test]
fn what_is_no_event_hears_why() {
    let (rig, door) = (Rig::new(), Door::new());
    let mut farspan = door.start(&posted_to(&rig));
    let long = format!(
        r#"{{"WorkflowId": "stray", "pad": "{}"}}"#,
        "x".repeat(1 << 20)
    );
    for (method, path, body, status, said) in [
        ("POST", "/api/workflows", "", 400, "not_json"),
        ("POST", "/api/workflows", "no JSON", 400, "not_json"),
        ("POST", "/api/workflows", "{}", 400, "no_id"),
        ("POST", "/api/workflows", "[]", 400, "no event"),
        ("POST", "/api/workflows", "[{}", 400, "not_json"),
        ("POST", "/api/workflows", "7", 400, "not_an_object"),
        (
            "POST",
            "/api/workflows",
            r#"{"WorkflowId": 1.5}"#,
            400,
            "id_of_wrong_type",
        ),
        ("POST", "/api/workflows", &long, 413, "too large"),
        ("PUT", "/api/workflows", "", 405, "method"),
        ("POST", "/api/workflow", "{}", 404, "nothing"),
        ("GET", "/nothing", "", 404, "nothing"),
    ] {
        let answer = door.ask(method, path, &[], body);
        assert_eq!(
            answer.status, status,
            "{method} {path} {body:.80}: {answer:?}"
        );
        assert!(
            answer.body.contains(said),
            "{method} {path} {body:.80}: {answer:?}"
        );
    }
    let answer = door.ask("PUT", "/api/workflows", &[], "");
    assert!(answer.head.contains("allow: get, post"), "{answer:?}");
    // Any page that a browser shows may try that.
    let answer = door.post(
        &[("Origin", "https://page.test")],
        r#"{"WorkflowId": "stray"}"#,
    );
    assert_eq!(answer.status, 403);
    assert!(farspan.is_running());
    let ended = farspan.stop();
    rig.api.assert_nothing_stray();
    // The log says it as well, each kind once.
    let said = ended.stderr.matches("malformed start event").count();
    assert_eq!(said, 4, "{}", ended.stderr);
}

#[test]
fn with_a_token_a_request_without_it_is_refused() {
    let (rig, door) = (Rig::new(), Door::new());
    rig.api.script("w", short_story("w"));
    let call = posted_to(&rig).env("FARSPAN_ADMIN_TOKEN", "s3cret");
    let farspan = door.start(&call);
    let (good, stray) = (r#"{"WorkflowId": "w"}"#, r#"{"WorkflowId": "stray"}"#);
    for headers in [
        &[][..],
        &[("Authorization", "")],
        &[("Authorization", "Bearer")],
        &[("Authorization", "Bearer s3cre")],
        &[("Authorization", "Bearer s3cret1")],
        &[("Authorization", "Basic s3cret")],
        &[("X-Token", "s3cret")],
    ] {
        let answer = door.post(headers, stray);
        assert_eq!(answer.status, 401, "{headers:?}");
        assert!(
            answer.head.contains("www-authenticate: bearer"),
            "{answer:?}"
        );
    }
    let answer = door.post(
        &[
            ("Authorization", "bearer s3cret"),
            ("Origin", "https://page.test"),
        ],
        good,
    );
    assert_eq!(answer.status, 202);
    rig.trace("w");
    let ended = farspan.stop();
    assert!(!ended.stderr.contains("s3cret"), "{}", ended.stderr);
    rig.api.assert_nothing_stray();
}

#[test]
fn a_door_that_cannot_be_had_is_a_clear_error() {
    let (rig, door) = (Rig::new(), Door::new());
    let farspan = door.start(&posted_to(&rig));
    let second = posted_to(&rig)
        .env("FARSPAN_ADMIN_LISTEN", &door.address)
        .output();
    assert_eq!(second.code(), Some(1));
    let said = format!(
        "FARSPAN_ADMIN_LISTEN: cannot listen on {}: Address already in use",
        door.address
    );
    assert!(second.stderr.contains(&said), "{}", second.stderr);
    let open = posted_to(&rig)
        .env("FARSPAN_ADMIN_LISTEN", "0.0.0.0:0")
        .output();
    assert_eq!(open.code(), Some(2));
    open.assert_says("set FARSPAN_ADMIN_TOKEN");
    let none = posted_to(&rig).output();
    assert_eq!(none.code(), Some(2));
    for source in ["FARSPAN_REDIS_URL", "FARSPAN_ADMIN_LISTEN", "--events -"] {
        assert!(none.stderr.contains(source), "{}", none.stderr);
    }
    farspan.stop();
}

/// Accepted means stored, also where an event would else wait for others to share its commit.
#[test]
fn killed_right_after_it_said_yes_it_traces_what_was_posted() {
    let (rig, door) = (Rig::new(), Door::new());
    let folder = Folder::new();
    let call = posted_to(&rig)
        .env("FARSPAN_STATE", "file")
        .env("FARSPAN_STATE_DIR", folder.path().display())
        .env("FARSPAN_POLL_INITIAL_DELAY", "30s");
    let ids: Vec<String> = (0..10).map(|n| format!("w{n}")).collect();
    for id in &ids {
        rig.api.script(id, short_story(id));
        let farspan = door.start(&call);
        let answer = door.post(&[], &json!({ "WorkflowId": id }).to_string());
        farspan.signal("KILL");
        assert_eq!(answer.status, 202, "{answer:?}");
        farspan.wait(SOON);
    }
    let farspan = door.start(&call);
    for id in &ids {
        rig.trace(id);
    }
    farspan.stop();
    rig.receiver.assert_each_span_once();
}

#[test]
fn an_event_posted_during_a_stop_is_refused_for_now() {
    let (rig, door) = (Rig::new(), Door::new());
    let late = Reply::Late(Duration::from_secs(3), Box::new(processing("slow").reply()));
    rig.api.script("slow", [late]);
    let farspan = door.start(&posted_to(&rig));
    assert_eq!(door.post(&[], r#"{"WorkflowId": "slow"}"#).status, 202);
    eventually("its poll is under way", SOON, || rig.api.polls("slow") == 1);
    farspan.signal("TERM");
    farspan.await_log("waiting for");
    let answer = door.post(&[], r#"{"WorkflowId": "stray"}"#);
    assert_eq!(answer.status, 503);
    assert!(answer.head.contains("retry-after: "), "{answer:?}");
    assert!(answer.body.contains("stopping"), "{answer:?}");
    assert!(
        !farspan.stderr().contains("no polls under way any more"),
        "it was told at once: {}",
        farspan.stderr()
    );
    assert_eq!(farspan.wait(SOON).code(), Some(0));
    rig.api.assert_nothing_stray();
}

/// Many at once, from many: none is lost.
#[test]
fn a_burst_of_requests_is_traced_whole() {
    let (rig, door) = (Rig::new(), Door::new());
    let folder = Folder::new();
    let call = posted_to(&rig)
        .env("FARSPAN_STATE", "file")
        .env("FARSPAN_STATE_DIR", folder.path().display());
    let farspan = door.start(&call);
    let ids: Vec<String> = (0..200).map(|n| format!("w{n}")).collect();
    for id in &ids {
        rig.api.script(id, [completed(id).reply()]);
    }
    std::thread::scope(|scope| {
        for some in ids.chunks(20) {
            let door = &door;
            scope.spawn(move || {
                for id in some {
                    let answer = door.post(&[], &json!({ "WorkflowId": id }).to_string());
                    assert_eq!(answer.status, 202, "{answer:?}");
                }
            });
        }
    });
    for id in &ids {
        rig.trace(id);
    }
    farspan.stop();
    rig.receiver.assert_each_span_once();
}

/// Reads events from standard input; no Redis, no admin endpoint.
pub fn piped_into(rig: &Rig) -> Call {
    let mut call = farspan(&["run", "--events", "-"]).with_stdin();
    for (key, value) in [
        ("FARSPAN_API_BASE_URL", rig.api.base_url()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", rig.receiver.server.url()),
        ("FARSPAN_POLL_INITIAL_DELAY", "10ms".into()),
        ("FARSPAN_POLL_INTERVAL", "50ms".into()),
        ("FARSPAN_STATE", "none".into()),
        ("OTEL_BSP_SCHEDULE_DELAY", "50".into()),
    ] {
        call = call.env(key, value);
    }
    call
}

#[test]
fn lines_of_standard_input_are_events_and_their_end_is_the_end() {
    let rig = Rig::new();
    for id in ["a", "b", "c"] {
        rig.api.script(id, short_story(id));
    }
    let mut farspan = piped_into(&rig).start();
    let event = |id: &str| with(json!({ "WorkflowId": id }), &FORMATS[0].object()).to_string();
    farspan.write(event("a") + "\r\n\n");
    farspan.write("no JSON\n{}\n[]\n\u{0}\u{7}\n");
    farspan.write(
        [
            b"{\"WorkflowId\": \"stray\xff\"}\n".as_slice(),
            &[0xff; 100],
            b"\n",
        ]
        .concat(),
    );
    farspan.write(vec![b'x'; 8 << 20]);
    // Not too much of it was kept: the line has no end yet.
    let kib = farspan.memory_kib("VmRSS");
    assert!(kib < 40 << 10, "{kib} KiB");
    farspan.write("\n".to_owned() + &event("b") + "\n");
    FORMATS[0].assert_parent_of(&rig.trace("a"));
    FORMATS[0].assert_parent_of(&rig.trace("b"));
    assert!(farspan.is_running(), "its input is open");
    farspan.write(event("c"));
    farspan.end_input();
    let ended = farspan.wait(SOON);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    FORMATS[0].assert_parent_of(&rig.trace("c"));
    let said = "standard input has ended: 3 events, 7 malformed lines";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    ended.assert_says("longer than 1048576 bytes");
    rig.api.assert_nothing_stray();
}

#[test]
fn a_signal_ends_one_whose_standard_input_is_silent() {
    let rig = Rig::new();
    rig.api.script("w", [processing("w").reply()]);
    let mut farspan = piped_into(&rig).start();
    farspan.write("{\"WorkflowId\": \"w\"}\n{\"Work");
    eventually("it is watched", SOON, || rig.api.polls("w") > 0);
    farspan.stop();
}

/// Events are posted as long as standard input is open. Redis is a source that lasts longer than it.
#[test]
fn with_redis_it_outlives_its_standard_input() {
    let (rig, door) = (Rig::new(), Door::new());
    rig.api.script("posted", short_story("posted"));
    rig.api.script("published", short_story("published"));
    let mut farspan = door.start(&piped_into(&rig));
    assert_eq!(door.post(&[], r#"{"WorkflowId": "posted"}"#).status, 202);
    farspan.end_input();
    let ended = farspan.wait(SOON);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    rig.trace("posted");
    let mut farspan = piped_into(&rig)
        .env("FARSPAN_REDIS_URL", rig.redis.url())
        .start();
    farspan.end_input();
    farspan.await_log("farspan goes on when it has ended");
    farspan.await_log("standard input has ended");
    rig.redis.await_subscribers(CHANNEL, 1);
    rig.submit("published");
    rig.trace("published");
    farspan.stop();
}

/// What is written faster than it can be taken waits in the pipe, and all of it is traced.
#[test]
fn a_file_of_thousands_is_traced_whole() {
    let rig = Rig::new();
    let ids: Vec<String> = (0..3000).map(|n| format!("w{n}")).collect();
    let mut lines = String::new();
    for id in &ids {
        rig.api.script(id, [completed(id).reply()]);
        lines += &(json!({ "WorkflowId": id }).to_string() + "\n");
    }
    let mut farspan = piped_into(&rig).start();
    farspan.write(lines);
    farspan.end_input();
    let ended = farspan.wait(4 * SOON);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert_eq!(rig.receiver.count_roots(|_| true), ids.len());
}
