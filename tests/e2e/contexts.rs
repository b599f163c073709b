//! Wherever a trace context may stand, however its monitor uses it, and the baggage beside it.

use super::carriers::{Door, FORMATS, Format, object, piped_into, with};
use crate::support::api::short_story;
use crate::support::files::Files;
use crate::support::program::{Call, Farspan};
use crate::support::rig::Rig;
use crate::support::spans::hex;
use crate::support::{SOON, eventually};
use serde_json::{Value, json};

const STREAM: &str = "workflows";

/// With these monitors, all of which ask the rig's API.
fn call(rig: &Rig, files: &Files, call: Call, monitors: Value) -> Call {
    let mut monitors = monitors;
    for monitor in monitors.as_array_mut().expect("a list") {
        monitor["preset"] = json!("farspan");
        monitor["api"] = json!({ "base_url": rig.api.base_url() });
    }
    let config = json!({ "monitors": monitors }).to_string();
    call.env("FARSPAN_CONFIG", files.write("farspan.json", config))
        .without("FARSPAN_API_BASE_URL")
}

/// A whole context in one text, where the format needs but one key; `tracestate` has no place in it.
fn texts() -> impl Iterator<Item = (&'static Format, &'static str)> {
    let one = |format: &&Format| format.keys.len() == 1 || format.name == "w3c";
    FORMATS
        .iter()
        .filter(one)
        .map(|format| (format, format.keys[0].1))
}

/// As an object, as headers in a list, and as a text.
#[test]
fn every_format_where_a_pointer_leads() {
    let (rig, files) = (Rig::new(), Files::new());
    let monitors = json!([{ "name": "m", "events": { "context": "/meta/0/trace" } }]);
    let farspan = rig.start_call(&call(&rig, &files, rig.call(), monitors));
    let event = |id: &str, context: Value| {
        // The usual field has another trace's context.
        let other = "00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-01";
        json!({ "WorkflowId": id, "traceparent": other, "meta": [{ "trace": context }] })
    };
    for format in &FORMATS {
        let pairs = format.keys.iter();
        let pairs: Vec<Value> = pairs
            .map(|(key, value)| json!({ "key": key, "value": value }))
            .collect();
        for (place, context) in [("object", format.object()), ("list", json!(pairs))] {
            let id = format!("{}-{place}", format.name);
            rig.api.script(&id, short_story(&id));
            rig.publish(&event(&id, context));
            format.assert_parent_of(&rig.trace(&id));
        }
    }
    for (format, text) in texts() {
        let id = format!("{}-text", format.name);
        rig.api.script(&id, short_story(&id));
        rig.publish(&event(&id, json!(text)));
        let root = rig.trace(&id).root.span;
        assert_eq!(
            (hex(&root.trace_id), hex(&root.parent_span_id)),
            (format.trace.into(), format.span.into()),
            "{id}"
        );
    }
    farspan.stop();
}

#[test]
fn a_whole_context_in_one_text_under_each_name() {
    let rig = Rig::new();
    let farspan = rig.start();
    assert_eq!(texts().count(), 5);
    for (format, text) in texts() {
        for name in ["carrier", "traceContext", "trace_context", "headers"] {
            let id = format!("{}-{name}", format.name);
            rig.api.script(&id, short_story(&id));
            rig.publish(&with(json!({ "WorkflowId": id }), &json!({ name: text })));
            let root = rig.trace(&id).root.span;
            assert_eq!(
                (hex(&root.trace_id), hex(&root.parent_span_id)),
                (format.trace.into(), format.span.into()),
                "{id}"
            );
        }
    }
    farspan.stop();
}

#[test]
fn every_format_on_standard_input() {
    let rig = Rig::new();
    let mut farspan = piped_into(&rig).start();
    for format in &FORMATS {
        let id = format!("{}-line", format.name);
        rig.api.script(&id, short_story(&id));
        let event = json!({ "WorkflowId": id, "traceContext": format.object() });
        farspan.write(format!("{event}\n"));
    }
    for format in &FORMATS {
        format.assert_parent_of(&rig.trace(&format!("{}-line", format.name)));
    }
    farspan.stop();
}

/// Its submitter's child, and then its submitter decides whether it is sampled; or a trace of its own, whatever the submitter
/// decided.
#[test]
fn every_format_as_parent_as_link_and_ignored() {
    let (rig, files) = (Rig::new(), Files::new());
    let uses = ["parent", "link", "ignore"];
    let monitors = uses.map(|use_| json!({ "name": use_, "trace_context": { "use": use_ } }));
    let farspan = rig.start_call(&call(&rig, &files, rig.call(), json!(monitors)));
    for use_ in uses {
        for format in &FORMATS {
            for (is_sampled, keys) in [(true, format.keys), (false, format.unsampled)] {
                let id = format!("{}-{use_}-{is_sampled}", format.name);
                rig.api.script(&id, short_story(&id));
                rig.publish(&with(
                    json!({ "WorkflowId": id, "monitor": use_ }),
                    &object(keys),
                ));
                if use_ == "parent" && !is_sampled {
                    eventually(&id, SOON, || rig.api.told_all(&id));
                    continue;
                }
                let root = rig.trace(&id).root;
                // Datadog's upper half is a tag of its own, which "unsampled" leaves out.
                let lower = |trace: &str| trace[16..].to_owned();
                let links = root.span.links.iter();
                let links: Vec<_> = links
                    .map(|link| (lower(&hex(&link.trace_id)), hex(&link.span_id)))
                    .collect();
                if use_ == "parent" {
                    format.assert_parent_of(&rig.trace(&id));
                    assert_eq!(links, [], "{id}");
                    continue;
                }
                assert!(root.span.parent_span_id.is_empty(), "{id}");
                assert_ne!(hex(&root.span.trace_id), format.trace, "{id}");
                // A lone "0" belongs to no trace.
                let names_a_span = keys[0] != ("b3", "0");
                let linked = (use_ == "link" && names_a_span)
                    .then(|| (lower(format.trace), format.span.to_owned()));
                assert_eq!(links, Vec::from_iter(linked), "{id}");
            }
        }
    }
    farspan.stop();
    let spans = rig.receiver.spans();
    assert!(
        spans
            .iter()
            .all(|span| !span.workflow_id().ends_with("-parent-false"))
    );
    rig.receiver.assert_each_span_once();
}

fn baggage_call(rig: &Rig, files: &Files, plain: Call) -> Call {
    let monitors = json!([{ "name": "m", "trace_context": { "baggage": ["tenant", "team"] }, "events": { "context": "/meta" } }]);
    call(rig, files, plain, monitors)
}

const BAGGAGE: &str = "tenant=A%20B;ttl=7, team = risk ,secret=x";

#[track_caller]
fn assert_baggage(rig: &Rig, id: &str) {
    let root = rig.trace(id).root;
    assert_eq!(root.attribute("tenant"), "A B", "{id}");
    assert_eq!(root.attribute("team"), "risk", "{id}");
    assert_eq!(root.find("secret"), None, "{id}");
}

/// With and without a trace context, wherever one may stand; what the event says itself comes first.
#[test]
fn baggage_from_every_source_becomes_the_attributes_that_are_asked_for() {
    let (rig, files, door) = (Rig::new(), Files::new(), Door::new());
    let plain = rig
        .call()
        .with_arguments(&["run", "--events", "-"])
        .with_stdin();
    let call = baggage_call(&rig, &files, plain.env("FARSPAN_REDIS_STREAM", STREAM));
    let mut farspan: Farspan = door.start(&call);
    rig.redis
        .await_subscribers(crate::support::redis::CHANNEL, 1);
    let carrier = json!({ "BAGGAGE": BAGGAGE });
    let pairs = json!([{ "key": "baggage", "value": BAGGAGE }]);
    let places = [
        ("top", carrier.clone()),
        ("carrier", json!({ "carrier": carrier })),
        ("context", json!({ "traceContext": carrier })),
        ("headers", json!({ "headers": pairs })),
        ("pointer", json!({ "meta": carrier })),
        ("beside", with(FORMATS[0].object(), &carrier)),
        ("b3", with(FORMATS[1].object(), &carrier)),
        (
            "envelope",
            json!({ "specversion": "1.0", "subject": "envelope", "baggage": BAGGAGE, "data": {} }),
        ),
    ];
    for (id, fields) in &places {
        rig.api.script(id, short_story(id));
        rig.publish(&with(json!({ "WorkflowId": id }), fields));
    }
    for (id, _) in &places {
        assert_baggage(&rig, id);
    }
    for id in ["field", "line", "header", "binary", "own"] {
        rig.api.script(id, short_story(id));
    }
    let _: String = rig.redis.ask(&[
        "XADD",
        STREAM,
        "*",
        "WorkflowId",
        "field",
        "baggage",
        BAGGAGE,
    ]);
    farspan.write(with(json!({ "WorkflowId": "line" }), &carrier).to_string() + "\n");
    let posted = |headers: &[(&str, &str)], id: &str| {
        let answer = door.post(headers, &json!({ "WorkflowId": id }).to_string());
        assert_eq!(answer.status, 202, "{answer:?}");
    };
    posted(
        &[
            ("Baggage", "tenant=A%20B"),
            ("Baggage", "team=risk,secret=x"),
        ],
        "header",
    );
    // An attribute of an event over HTTP is encoded once more.
    let encoded = BAGGAGE.replace('%', "%25");
    posted(
        &[
            ("ce-specversion", "1.0"),
            ("ce-id", "1"),
            ("ce-baggage", &encoded),
        ],
        "binary",
    );
    for id in ["field", "line", "header", "binary"] {
        assert_baggage(&rig, id);
    }
    rig.publish(
        &json!({ "WorkflowId": "own", "attributes": { "team": "credit" }, "baggage": BAGGAGE }),
    );
    let root = rig.trace("own").root;
    assert_eq!(
        (root.attribute("team"), root.attribute("tenant")),
        ("credit".into(), "A B".into())
    );
    farspan.stop();
}

#[test]
fn baggage_is_read_only_where_a_propagator_reads_it() {
    for (propagators, is_read) in [
        ("tracecontext,baggage", true),
        ("tracecontext", false),
        ("none", false),
    ] {
        let (rig, files) = (Rig::new(), Files::new());
        rig.api.script("w", short_story("w"));
        let call = baggage_call(
            &rig,
            &files,
            rig.call().env("OTEL_PROPAGATORS", propagators),
        );
        let farspan = rig.start_call(&call);
        rig.publish(&with(
            json!({ "WorkflowId": "w", "baggage": BAGGAGE }),
            &FORMATS[0].object(),
        ));
        let root = rig.trace("w").root;
        assert_eq!(
            root.find("tenant"),
            is_read.then(|| "A B".to_owned()),
            "{propagators}"
        );
        assert_eq!(root.span.parent_span_id.is_empty(), propagators == "none");
        farspan.stop();
    }
}

/// What a bridge to Kafka makes of a message (`kcat -J`, whose headers are one flat list, and `jq`): the event, and the headers
/// beside it, if there are any.
#[test]
fn lines_as_a_bridge_writes_them() {
    let rig = Rig::new();
    let mut farspan = piped_into(&rig).start();
    let flat: Vec<&str> = ["message-id", "7"]
        .into_iter()
        .chain(
            FORMATS[0]
                .keys
                .iter()
                .flat_map(|(key, value)| [*key, *value]),
        )
        .collect();
    let lines = [
        ("flat", json!(flat)),
        (
            "named",
            with(json!({ "message-id": "7" }), &FORMATS[0].object()),
        ),
        ("none", Value::Null),
        ("empty", json!([])),
    ];
    for (id, headers) in &lines {
        rig.api.script(id, short_story(id));
        farspan.write(json!({ "WorkflowId": id, "headers": headers }).to_string() + "\n");
    }
    for id in ["flat", "named"] {
        FORMATS[0].assert_parent_of(&rig.trace(id));
    }
    for id in ["none", "empty"] {
        assert!(rig.trace(id).root.span.parent_span_id.is_empty(), "{id}");
    }
    let log = farspan.stop().stderr;
    assert!(!log.contains("malformed"), "{log}");
}

/// Of workflows without a submitter, and of those whose submitter was sampled: how many are exported.
#[test]
fn the_sampler_of_the_environment_is_honoured() {
    const EACH: usize = 40;
    let (all, none, some) = (EACH..=EACH, 0..=0, EACH / 5..=EACH * 4 / 5);
    for (sampler, argument, own, inherited) in [
        ("always_on", "", &all, &all),
        ("always_off", "", &none, &none),
        ("traceidratio", "0", &none, &none),
        ("traceidratio", "0.5", &some, &some),
        ("parentbased_always_off", "", &none, &all),
        ("parentbased_traceidratio", "0.5", &some, &all),
        ("parentbased_traceidratio", "1", &all, &all),
    ] {
        let rig = Rig::new();
        let call = rig.call().env("OTEL_TRACES_SAMPLER", sampler);
        let call = match argument {
            "" => call,
            ratio => call.env("OTEL_TRACES_SAMPLER_ARG", ratio),
        };
        let farspan = rig.start_call(&call);
        let ids = |kind: &str| {
            (0..EACH)
                .map(|number| format!("{kind}-{number}"))
                .collect::<Vec<_>>()
        };
        for (number, (own, inherited)) in ids("own").into_iter().zip(ids("inherited")).enumerate() {
            rig.api.script(&own, short_story(&own));
            rig.api.script(&inherited, short_story(&inherited));
            rig.submit(&own);
            // What a ratio looks at is the end of the trace's id.
            let trace = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let parent = format!("00-4bf92f3577b34da6{trace:016x}-00f067aa0ba902b7-01");
            rig.publish(&json!({ "WorkflowId": inherited, "traceparent": parent }));
        }
        for id in ids("own").iter().chain(&ids("inherited")) {
            eventually(id, SOON, || rig.api.told_all(id));
        }
        // What has ended leaves with the stop.
        let log = farspan.stop().stderr;
        assert!(
            log.contains(&format!("{} workflows ended", 2 * EACH)),
            "{log}"
        );
        let roots = |kind: &str| {
            rig.receiver
                .count_roots(|root| root.workflow_id().starts_with(kind))
        };
        assert!(
            own.contains(&roots("own-")),
            "{sampler} {argument}: {} of its own",
            roots("own-")
        );
        assert!(
            inherited.contains(&roots("inherited-")),
            "{sampler} {argument}: {} inherited",
            roots("inherited-")
        );
    }
}
