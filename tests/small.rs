//! The smallest build: `cargo test --no-default-features --test small`. It watches, and it speaks of nothing that it
//! lacks.
#![cfg(not(any(
    feature = "redis",
    feature = "tls",
    feature = "file",
    feature = "admin",
    feature = "demo"
)))]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    reason = "a test may fail loudly, and its support has more than is used here"
)]

mod support;

use support::api::{FakeApi, short_story};
use support::files::Files;
use support::program::{Call, farspan};
use support::receiver::Receiver;
use support::{SOON, eventually};

#[test]
fn it_watches_from_a_line_of_standard_input_to_the_trace() {
    let (api, receiver) = (FakeApi::start(), Receiver::start());
    api.script("small", short_story("small"));
    let mut farspan = farspan(&["run", "--events", "-"])
        .env("FARSPAN_API_BASE_URL", api.base_url())
        .env("FARSPAN_POLL_INITIAL_DELAY", "10ms")
        .env("FARSPAN_POLL_INTERVAL", "20ms")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.server.url())
        .env("OTEL_BSP_SCHEDULE_DELAY", "20")
        .env("OTEL_METRICS_EXPORTER", "otlp")
        .with_stdin()
        .start();
    farspan.write("{\"WorkflowId\": \"small\"}\n");
    eventually("the trace", SOON, || receiver.has_root("small"));
    farspan.end_input();
    let ended = farspan.wait(SOON);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    for lacking in ["REDIS", "ADMIN"] {
        assert!(!ended.stderr.contains(lacking), "{}", ended.stderr);
    }
    receiver.assert_each_span_once();
    assert_eq!(receiver.number("farspan.workflows.ended"), 1);
}

#[test]
fn its_help_lists_what_it_has() {
    let help = farspan(&["--help"]).output().stdout;
    for command in ["run", "check", "probe", "trace", "config"] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
    }
    for command in ["demo", "top", "refused", "healthcheck", "api", "load"] {
        assert!(!help.contains(&format!("\n  {command} ")), "{help}");
    }
    let settings = farspan(&["help", "settings"]).output().stdout;
    let config = farspan(&["config"]).output().stdout;
    for text in [&settings, &config] {
        assert!(text.contains("FARSPAN_POLL_INTERVAL"), "{text}");
        for lacking in ["REDIS", "ADMIN", "CERT", "STATE_DIR", "LEASE", "TRACE_URL"] {
            assert!(!text.contains(lacking), "{lacking}: {text}");
        }
    }
}

#[test]
fn a_command_that_it_lacks_names_the_feature() {
    for (line, features) in [
        ("demo", "feature 'demo'"),
        ("help api", "feature 'demo'"),
        ("load --help", "feature 'demo'"),
        ("top", "feature 'admin'"),
        ("healthcheck --ready", "feature 'admin'"),
        ("refused", "features 'file' and 'redis'"),
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let ended = farspan(&arguments).output();
        assert_eq!(ended.code(), Some(2), "{line}: {ended:?}");
        let told = format!("is not in this build: it was made without the {features}");
        assert!(ended.stderr.contains(&told), "{line}: {}", ended.stderr);
    }
}

fn run() -> Call {
    farspan(&["run"]).env("FARSPAN_API_BASE_URL", "http://127.0.0.1:1")
}

#[test]
fn a_setting_that_it_lacks_names_the_feature() {
    for (variable, value, feature) in [
        ("FARSPAN_REDIS_URL", "redis://cache", "redis"),
        ("FARSPAN_REDIS_STREAM", "events", "redis"),
        ("FARSPAN_STATE", "file", "file"),
        ("FARSPAN_STATE", "redis", "redis"),
        ("FARSPAN_STATE_DIR", "/var/lib/farspan", "file"),
        ("FARSPAN_LEASE", "30s", "redis"),
        ("FARSPAN_ADMIN_LISTEN", "127.0.0.1:9464", "admin"),
        ("FARSPAN_ADMIN_TOKEN", "t0k3n", "admin"),
        ("OTEL_METRICS_EXPORTER", "prometheus", "admin"),
        ("FARSPAN_API_BASE_URL", "https://api.example.com", "tls"),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "https://collector.example.com",
            "tls",
        ),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "ca.pem", "tls"),
        ("HTTP_PROXY", "https://proxy.example.com:3128", "tls"),
    ] {
        let ended = run().env(variable, value).output();
        assert_eq!(ended.code(), Some(2), "{variable}: {ended:?}");
        let mistakes: Vec<&str> = ended.stderr.lines().collect();
        let [mistake] = mistakes[..] else {
            panic!("{variable}: {}", ended.stderr);
        };
        let of = format!("farspan: {variable}: ");
        let named = format!("the feature '{feature}'");
        assert!(mistake.starts_with(&of), "{mistake}");
        assert!(mistake.contains(&named), "{mistake}");
    }
    let files = Files::new();
    for (keys, place) in [
        (r#""redis": {"url": "redis://cache"}"#, "redis.url"),
        (
            r#""monitors": [{"name": "a", "preset": "farspan", "events": {"redis_channel": "x"}}]"#,
            "monitors[0] (a).events.redis_channel",
        ),
        (
            r#""monitors": [{"name": "a", "preset": "farspan", "api": {"certificate_file": "ca.pem"}}]"#,
            "monitors[0] (a).api.certificate_file",
        ),
    ] {
        let file = files.write("farspan.json", format!("{{{keys}}}"));
        let ended = run().env("FARSPAN_CONFIG", file).output();
        let told = format!("{place}: is not in this build: it was made without the feature ");
        assert!(ended.stderr.contains(&told), "{place}: {}", ended.stderr);
    }
}

/// Variables for all programs of a host are no mistake where they have no effect, and `none` asks for nothing.
#[test]
fn what_asks_for_nothing_is_no_mistake() {
    let ended = farspan(&["config"])
        .env("FARSPAN_ADMIN_LISTEN", "none")
        .env("FARSPAN_STATE", "none")
        .env("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")
        .env("HTTPS_PROXY", "http://proxy.example.com:3128")
        .output();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
}

#[test]
fn what_it_advises_it_has() {
    let ended = run().output();
    assert_eq!(ended.code(), Some(2), "{ended:?}");
    assert!(ended.stderr.contains("use --events -"), "{}", ended.stderr);
    for lacking in ["REDIS", "ADMIN"] {
        assert!(!ended.stderr.contains(lacking), "{}", ended.stderr);
    }
}
