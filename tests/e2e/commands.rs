//! The commands that end by themselves, and how they say what is wrong.

use crate::support::free_port;
use crate::support::program::{Call, Ended, farspan};
use crate::support::rig::Rig;

fn run() -> Call {
    farspan(&["run"])
        .env("FARSPAN_API_BASE_URL", "http://127.0.0.1:1")
        .env("FARSPAN_STATE", "none")
        .env("FARSPAN_ADMIN_LISTEN", "none")
}

#[test]
fn a_wrong_configuration_is_code_2_and_says_where() {
    let cases = [
        (
            run().without("FARSPAN_API_BASE_URL"),
            "FARSPAN_API_BASE_URL",
        ),
        (
            run().env("FARSPAN_API_BASE_URL", "not a url"),
            "FARSPAN_API_BASE_URL",
        ),
        (
            run().env("FARSPAN_API_BASE_URL", "ftp://example.com"),
            "FARSPAN_API_BASE_URL",
        ),
        (
            run().env("FARSPAN_POLL_INTERVAL", "soon"),
            "FARSPAN_POLL_INTERVAL",
        ),
        (
            run().env("FARSPAN_POLL_INTERVAL", "10"),
            "FARSPAN_POLL_INTERVAL",
        ),
        (
            run().env("FARSPAN_POLL_INTERVAL", "-5s"),
            "FARSPAN_POLL_INTERVAL",
        ),
        (
            run().env("FARSPAN_POLL_TIMEOUT", "0s"),
            "FARSPAN_POLL_TIMEOUT",
        ),
        (run().env("FARSPAN_POLLERS", "0"), "FARSPAN_POLLERS"),
        (run().env("FARSPAN_POLLERS", "some"), "FARSPAN_POLLERS"),
        (
            run().env("FARSPAN_REDIS_URL", "http://127.0.0.1"),
            "FARSPAN_REDIS_URL",
        ),
        (run().env("FARSPAN_LOG", "loud"), "FARSPAN_LOG"),
        (run().env("FARSPAN_LOG_FORMAT", "xml"), "FARSPAN_LOG_FORMAT"),
        (run().env("FARSPAN_STATE", "stone"), "FARSPAN_STATE"),
        (
            run().env("FARSPAN_API_TOKEN_FILE", "/nonexistent/token"),
            "FARSPAN_API_TOKEN_FILE",
        ),
        (
            run().env("FARSPAN_POLL_INTERVALL", "10s"),
            "FARSPAN_POLL_INTERVALL",
        ),
    ];
    for (call, variable) in cases {
        let ended = call.output();
        assert_eq!(ended.code(), Some(2), "{variable}: {ended:?}");
        assert!(ended.stderr.contains(variable), "{variable}: {ended:?}");
        assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    }
}

#[test]
fn every_mistake_is_named_at_once() {
    let ended = run()
        .env("FARSPAN_POLL_INTERVAL", "soon")
        .env("FARSPAN_POLLERS", "some")
        .output();
    assert_eq!(ended.code(), Some(2));
    for variable in ["FARSPAN_POLL_INTERVAL", "FARSPAN_POLLERS"] {
        assert!(ended.stderr.contains(variable), "{ended:?}");
    }
}

/// Code 2 is what tells systemd that starting again mends nothing.
#[test]
fn a_run_that_nobody_would_tell_of_workflows_is_code_2() {
    let ended = run().without("FARSPAN_REDIS_URL").output();
    assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("FARSPAN_REDIS_URL"),
        "{}",
        ended.stderr
    );
}

#[test]
fn wrong_usage_is_code_2() {
    let calls: [&[&str]; 6] = [
        &["fly"],
        &["run", "--fast"],
        &["run", "extra"],
        &["--nonsense"],
        &["run", "--config"],
        &["demo", "--workflows", "many"],
    ];
    for arguments in calls {
        let ended = farspan(arguments)
            .env("FARSPAN_API_BASE_URL", "http://127.0.0.1:1")
            .output();
        assert_eq!(ended.code(), Some(2), "{arguments:?}: {ended:?}");
        assert!(!ended.stderr.is_empty(), "{arguments:?}: it says why");
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
}

#[test]
fn version_and_help_are_told() {
    let ended = farspan(&["--version"]).output();
    assert_eq!(ended.code(), Some(0));
    assert!(
        ended.stdout.contains(env!("CARGO_PKG_VERSION")),
        "{ended:?}"
    );

    let ended = farspan(&["--help"]).output();
    assert_eq!(ended.code(), Some(0));
    for command in ["run", "demo", "check", "config", "api", "load"] {
        assert!(ended.stdout.contains(command), "{command}: {ended:?}");
    }
    assert_eq!(ended.stderr, "");
}

#[test]
fn config_shows_everything_but_secrets() {
    let ended = farspan(&["config"])
        .env("FARSPAN_API_BASE_URL", "https://risk.example.com/api")
        .env("FARSPAN_API_TOKEN", "s3cret-token")
        .env(
            "FARSPAN_REDIS_URL",
            "redis://user:hunter2@redis.example.com:6379",
        )
        .env("FARSPAN_POLL_INTERVAL", "7s")
        .env(
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer%20qwerty",
        )
        .output();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    let shown = [
        "https://risk.example.com/api",
        "redis.example.com",
        "FARSPAN_POLL_INTERVAL",
        "7s",
    ];
    for text in shown {
        assert!(ended.stdout.contains(text), "{text}: {}", ended.stdout);
    }
    for secret in ["s3cret-token", "hunter2", "qwerty"] {
        let output = format!("{}{}", ended.stdout, ended.stderr);
        assert!(!output.contains(secret), "{secret}: {output}");
    }
}

#[test]
fn check_tries_every_endpoint() {
    let rig = Rig::new();
    rig.receiver.relaxed();
    let check = |change: &dyn Fn(Call) -> Call| -> Ended {
        let call = farspan(&["check"])
            .env("FARSPAN_API_BASE_URL", rig.api.base_url())
            .env("FARSPAN_REDIS_URL", rig.redis.url())
            .env("FARSPAN_STATE", "none")
            .env("FARSPAN_ADMIN_LISTEN", "none")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", rig.receiver.server.url());
        change(call).output()
    };
    let ended = check(&|call| call);
    assert_eq!(ended.code(), Some(0), "{ended:?}");

    for (key, scheme) in [
        ("FARSPAN_API_BASE_URL", "http"),
        ("FARSPAN_REDIS_URL", "redis"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http"),
    ] {
        let dead = format!("127.0.0.1:{}", free_port());
        let ended = check(&|call| call.env(key, format!("{scheme}://{dead}")));
        assert_eq!(ended.code(), Some(1), "{key}: {ended:?}");
        let output = format!("{}{}", ended.stdout, ended.stderr);
        assert!(
            output.contains(&dead),
            "it names the dead endpoint: {output}"
        );
    }

    let ended = check(&|call| call.env("FARSPAN_POLLERS", "none"));
    assert_eq!(ended.code(), Some(2), "{ended:?}");
}
