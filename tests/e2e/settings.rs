//! The standard `OTEL_*` variables, as they show on the wire.

use crate::support::api::short_story;
use crate::support::rig::Rig;
use crate::support::spans::hex;
use crate::support::{SOON, eventually, within};
use serde_json::json;

#[test]
fn the_resource_says_who_watched() {
    let rig = Rig::new();
    rig.api.script("plain", short_story("plain"));
    let farspan = rig.start();
    rig.submit("plain");
    let resource = rig.trace("plain").root.resource;
    assert_eq!(resource["service.name"], "farspan");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    for key in ["service.instance.id", "host.name"] {
        assert!(
            resource.get(key).is_some_and(|value| !value.is_empty()),
            "{key}"
        );
    }
    farspan.stop();

    rig.api.script("named", short_story("named"));
    let call = rig.call().env("OTEL_SERVICE_NAME", "risk-watch").env(
        "OTEL_RESOURCE_ATTRIBUTES",
        "service.name=loses,service.namespace=risk%20engine,deployment.environment.name=test",
    );
    let _farspan = rig.start_call(&call);
    rig.submit("named");
    let resource = rig.trace("named").root.resource;
    assert_eq!(resource["service.name"], "risk-watch");
    assert_eq!(resource["service.namespace"], "risk engine");
    assert_eq!(resource["deployment.environment.name"], "test");
}

#[test]
fn gzip_and_headers_are_sent_when_asked_for() {
    let rig = Rig::new();
    rig.api.script("zipped", short_story("zipped"));
    let call = rig
        .call()
        .env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        .env(
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer%20abc,x-tenant=risk",
        );
    let _farspan = rig.start_call(&call);
    rig.submit("zipped");
    rig.trace("zipped");
    for export in rig.receiver.exports() {
        assert_eq!(export.http.header("Content-Encoding"), Some("gzip"));
        assert_eq!(export.http.header("Authorization"), Some("Bearer abc"));
        assert_eq!(export.http.header("X-Tenant"), Some("risk"));
    }
}

#[test]
fn without_being_asked_nothing_is_compressed() {
    let rig = Rig::new();
    rig.api.script("plain", short_story("plain"));
    let _farspan = rig.start();
    rig.submit("plain");
    rig.trace("plain");
    assert_eq!(
        rig.receiver.exports()[0].http.header("Content-Encoding"),
        None
    );
}

#[test]
fn the_endpoint_for_traces_is_taken_as_it_is() {
    for path in ["/otlp/in", "/v1/traces", "/"] {
        let rig = Rig::new();
        rig.receiver.any_path();
        rig.api.script("pathed", short_story("pathed"));
        let endpoint = format!("{}{path}", rig.receiver.server.url());
        let call = rig
            .call()
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1/unused")
            .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint);
        let _farspan = rig.start_call(&call);
        rig.submit("pathed");
        rig.trace("pathed");
        assert_eq!(rig.receiver.exports()[0].http.target, path);
    }
}

#[test]
fn the_base_endpoint_may_have_a_path() {
    let rig = Rig::new();
    rig.receiver.any_path();
    rig.api.script("based", short_story("based"));
    let endpoint = format!("{}/otlp/", rig.receiver.server.url());
    let call = rig.call().env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    let _farspan = rig.start_call(&call);
    rig.submit("based");
    rig.trace("based");
    assert_eq!(rig.receiver.exports()[0].http.target, "/otlp/v1/traces");
}

#[test]
fn what_the_submitter_does_not_sample_is_not_exported() {
    let rig = Rig::new();
    let trace_id = "55319d0c4a44a2cc3ef02e43117528cb";
    let parent = |flags: &str| format!("00-{trace_id}-b87e9a101a090735-{flags}");
    for id in ["unsampled", "sampled", "random"] {
        rig.api.script(id, short_story(id));
    }
    let farspan = rig.start();
    for (id, flags) in [("unsampled", "00"), ("sampled", "01"), ("random", "03")] {
        rig.publish(&json!({"WorkflowId": id, "traceparent": parent(flags)}));
    }
    let sampled = rig.trace("sampled");
    assert_eq!(sampled.root.span.flags, 0x301);
    assert_eq!(hex(&sampled.root.span.trace_id), trace_id);
    let random = rig.trace("random");
    assert_eq!(
        random.root.span.flags, 0x303,
        "the random flag is passed on"
    );
    assert_eq!(random.stages[0].span.flags, 0x103);
    farspan.stop();
    let spans = rig.receiver.spans();
    assert!(spans.iter().all(|span| span.workflow_id() != "unsampled"));
}

#[test]
fn always_on_samples_what_the_submitter_did_not() {
    let rig = Rig::new();
    rig.api.script("all", short_story("all"));
    let call = rig.call().env("OTEL_TRACES_SAMPLER", "always_on");
    let _farspan = rig.start_call(&call);
    let parent = "00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-00";
    rig.publish(&json!({"WorkflowId": "all", "traceparent": parent}));
    rig.trace("all");
}

#[test]
fn tracing_can_be_switched_off() {
    for (key, value) in [
        ("OTEL_TRACES_SAMPLER", "always_off"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_SDK_DISABLED", "true"),
    ] {
        let rig = Rig::new();
        rig.api.script("silent", short_story("silent"));
        let farspan = rig.start_call(&rig.call().env(key, value));
        rig.submit("silent");
        // Whether it is watched at all is farspan's affair; if so, to its end.
        let _ = within(SOON / 20, || rig.api.told_all("silent"));
        farspan.stop();
        assert!(rig.receiver.server.requests().is_empty(), "{key}={value}");
    }
}

#[test]
fn the_log_may_be_json() {
    let rig = Rig::new();
    rig.api.script("logged", short_story("logged"));
    let farspan = rig.start_call(&rig.call().env("FARSPAN_LOG_FORMAT", "json"));
    rig.submit("logged");
    rig.trace("logged");
    let log = farspan.stop().stderr;
    assert!(!log.is_empty(), "something is said at level debug");
    for line in log.lines() {
        let read: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(read.is_ok_and(|value| value.is_object()), "{line}");
    }
}

#[test]
fn nonsense_in_a_standard_variable_is_warned_of_and_ignored() {
    let rig = Rig::new();
    rig.api.script("robust", short_story("robust"));
    let call = rig
        .call()
        .env("OTEL_BSP_MAX_QUEUE_SIZE", "many")
        .env("OTEL_TRACES_SAMPLER", "sometimes")
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")
        .env("OTEL_SERVICE_NAME", "");
    let farspan = rig.start_call(&call);
    rig.submit("robust");
    let trace = rig.trace("robust");
    assert_eq!(
        trace.root.resource["service.name"], "farspan",
        "empty is unset"
    );
    for key in [
        "OTEL_BSP_MAX_QUEUE_SIZE",
        "OTEL_TRACES_SAMPLER",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
    ] {
        eventually("a warning", SOON, || {
            if farspan.stderr().contains(key) {
                Ok(())
            } else {
                Err(format!("{key} not in {}", farspan.stderr()))
            }
        });
    }
}
