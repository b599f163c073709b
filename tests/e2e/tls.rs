//! https:// to the API and to the collector, rediss:// to Redis, trusted and not.

use crate::support::api::{completed, processing};
use crate::support::folder::Folder;
use crate::support::program::{Call, farspan};
use crate::support::proxy::Proxy;
use crate::support::redis::{CHANNEL, RedisServer};
use crate::support::rig::Rig;
use crate::support::tls::{Certificate, TlsWay};
use crate::support::{SOON, eventually};
use serde_json::json;
use std::fs;
use std::path::PathBuf;

#[test]
fn an_api_and_a_collector_behind_tls() {
    let rig = Rig::new();
    rig.api.script("secret", [completed("secret").reply()]);
    let api = TlsWay::to(port_of(&rig.api.base_url()));
    let collector = TlsWay::to(port_of(&rig.receiver.server.url()));
    let call = rig
        .call()
        .env("FARSPAN_API_BASE_URL", format!("{}/risk", api.url()))
        .env("SSL_CERT_FILE", api.certificate.display())
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
        .env(
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            collector.certificate.display(),
        );
    let farspan = rig.start_call(&call);
    rig.submit("secret");
    let trace = rig.trace("secret");
    assert_eq!(trace.stages.len(), 3);
    farspan.stop();
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused_and_logged() {
    let rig = Rig::new();
    rig.api.script("secret", [completed("secret").reply()]);
    let (api, other) = (TlsWay::to(port_of(&rig.api.base_url())), TlsWay::to(1));
    let call = rig
        .call()
        .env("FARSPAN_API_BASE_URL", format!("{}/risk", api.url()))
        .env("SSL_CERT_FILE", other.certificate.display());
    let farspan = rig.start_call(&call);
    rig.submit("secret");
    eventually("a word about the certificate", SOON, || {
        let log = farspan.stderr();
        if log.contains("cannot be polled (tls)") && log.contains("invalid peer certificate") {
            Ok(())
        } else {
            Err(log)
        }
    });
    assert_eq!(rig.api.polls("secret"), 0, "nothing was asked");
    farspan.stop();
}

/// As argo-server makes one for itself.
#[test]
fn a_server_that_is_its_own_authority_is_told_what_to_do() {
    let rig = Rig::new();
    let api = TlsWay::as_authority(port_of(&rig.api.base_url()));
    let call = rig
        .call()
        .env("FARSPAN_API_BASE_URL", format!("{}/risk", api.url()))
        .env("SSL_CERT_FILE", api.certificate.display());
    let farspan = rig.start_call(&call);
    rig.submit("w");
    farspan.await_log("cannot be polled (tls)");
    farspan.await_log("give the server a certificate of its own");
    farspan.stop();
}

#[test]
fn authorities_that_cannot_be_read_stop_farspan_at_its_start() {
    let folder = Folder::new();
    let empty = folder.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    let missing = folder.path().join("missing");
    for (variable, value, said) in [
        ("SSL_CERT_FILE", &missing, "No such file"),
        ("SSL_CERT_FILE", &empty, "holds no PEM certificate"),
        ("SSL_CERT_DIR", &missing, "names no directory"),
    ] {
        let ended = farspan(&["run"])
            .env("FARSPAN_API_BASE_URL", "https://api.test")
            .env(variable, value.display())
            .output();
        assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
        let mut lines = ended.stderr.lines().filter(|l| l.contains(variable));
        assert!(lines.any(|l| l.contains(said)), "{}", ended.stderr);
    }
}

#[test]
fn check_says_which_certificate_it_does_not_trust() {
    let rig = Rig::new();
    let collector = TlsWay::to(port_of(&rig.receiver.server.url()));
    let ended = farspan(&["check"])
        .env("FARSPAN_API_BASE_URL", rig.api.base_url())
        .env("FARSPAN_REDIS_URL", rig.redis.url())
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
        .output();
    assert_eq!(ended.code(), Some(1));
    assert!(ended.stdout.contains("UnknownIssuer"), "{}", ended.stdout);
}

const STREAM: &str = "workflows";

/// Redis behind TLS for the channel, the stream and the store at once.
fn behind_tls() -> (Rig, Call, PathBuf) {
    let mut rig = Rig::new();
    let certificate = Certificate::for_localhost();
    let trusted = certificate.certificate.clone();
    rig.redis = RedisServer::with_tls(certificate);
    let url = format!("rediss://localhost:{}", rig.redis.tls_port());
    let call = rig
        .call()
        .env("FARSPAN_REDIS_URL", url)
        .env("FARSPAN_REDIS_STREAM", STREAM)
        .env("FARSPAN_STATE", "redis")
        .env("FARSPAN_LEASE", "4s")
        .env("FARSPAN_INSTANCE", "one");
    (rig, call, trusted)
}

#[test]
fn redis_behind_tls_for_the_channel_the_stream_and_the_store() {
    let (mut rig, call, trusted) = behind_tls();
    let directory = Folder::new();
    let copy = directory.path().join("trusted.pem");
    fs::copy(trusted, &copy).unwrap();
    let farspan = rig.start_call(&call.env("SSL_CERT_FILE", copy.display()));
    rig.api.script("goes on", [processing("goes on").reply()]);
    rig.submit("goes on");
    eventually("a poll", SOON, || rig.api.polls("goes on") >= 1);
    for round in 0..2 {
        let (heard, read) = (format!("heard-{round}"), format!("read-{round}"));
        rig.api.script(&heard, [completed(&heard).reply()]);
        rig.api.script(&read, [completed(&read).reply()]);
        rig.submit(&heard);
        rig.redis
            .add(STREAM, &json!({ "WorkflowId": read }).to_string());
        rig.trace(&heard);
        rig.trace(&read);
        let clients: String = rig.redis.ask(&["CLIENT", "LIST"]);
        let door = format!("laddr=127.0.0.1:{} ", rig.redis.tls_port());
        let by_tls = clients.lines().filter(|c| c.contains(&door)).count();
        assert_eq!(by_tls, 3, "one connection each: {clients}");
        assert_eq!(clients.lines().count(), 4, "and the test's own: {clients}");
        if round == 0 {
            rig.redis.stop();
            // farspan has read it, for all its connections.
            fs::remove_file(&copy).unwrap();
            rig.redis.resume();
            rig.redis.await_subscribers(CHANNEL, 1);
        }
    }
    rig.api.script("goes on", [completed("goes on").reply()]);
    rig.trace("goes on");
    eventually("nothing is pending", SOON, || {
        rig.redis.pending(STREAM) == 0
    });
    farspan.stop();
    rig.receiver.assert_each_span_once();
}

#[test]
fn a_redis_with_a_certificate_of_an_unknown_authority_hears_nothing() {
    let (rig, call, trusted) = behind_tls();
    let (other, directory) = (Certificate::for_localhost(), Folder::new());
    let port = rig.redis.tls_port();
    let at = |host: &str| format!("rediss://:s3cret@{host}:{port}");
    let cases = [
        // Another certificate with the same subject.
        (at("localhost"), other.certificate.clone(), "BadSignature"),
        (at("127.0.0.1"), trusted.clone(), "not valid for name"),
    ];
    for (url, trusted, said) in cases {
        for state in ["file", "redis"] {
            let call = call.clone().env("FARSPAN_REDIS_URL", &url);
            let call = call
                .env("SSL_CERT_FILE", trusted.display())
                .env("FARSPAN_STATE", state)
                .env("FARSPAN_STATE_DIR", directory.path().display());
            let mut farspan = call.start();
            // The listener and the reader of the stream say so, and the store.
            for who in [
                "Redis at",
                "stream workflows on Redis",
                "the state cannot be",
            ] {
                if state == "file" && who.starts_with("the state") {
                    continue;
                }
                eventually(&format!("a word of {who}"), SOON, || {
                    let log = farspan.stderr();
                    let mut lines = log.lines().filter(|line| line.contains(who));
                    let told = |line: &str| line.contains(said) && line.contains("SSL_CERT_FILE");
                    if lines.any(told) { Ok(()) } else { Err(log) }
                });
            }
            assert!(farspan.is_running(), "it waits for better times");
            farspan.signal("TERM");
            let log = farspan.wait(SOON).stderr;
            assert!(!log.contains("s3cret"), "{log}");
        }
    }
    let checked = call
        .env("FARSPAN_REDIS_URL", at("localhost"))
        .env("SSL_CERT_FILE", other.certificate.display());
    rig.receiver.relaxed();
    let checked = checked.with_arguments(&["check"]).output();
    assert_eq!(checked.code(), Some(1));
    assert!(
        checked.stdout.contains("invalid peer certificate"),
        "{checked:?}"
    );
    assert!(!checked.stdout.contains("s3cret"), "{checked:?}");
    let commands: String = rig.redis.ask(&["INFO", "commandstats"]);
    for command in ["auth", "hello", "subscribe", "xgroup", "script", "client"] {
        let seen = commands.contains(&format!("cmdstat_{command}"));
        assert!(!seen, "{command} was sent to a stranger: {commands}");
    }
}

#[test]
fn a_redis_whose_tls_falls_silent_is_missed_and_found_again() {
    let (rig, call, trusted) = behind_tls();
    let proxy = Proxy::to(("127.0.0.1", rig.redis.tls_port()));
    proxy.black_hole();
    let farspan = call
        .env(
            "FARSPAN_REDIS_URL",
            format!("rediss://localhost:{}", proxy.port()),
        )
        .env("SSL_CERT_FILE", trusted.display())
        .start();
    for who in [
        "Redis at",
        "stream workflows on Redis",
        "the state cannot be",
    ] {
        eventually("it is said", SOON, || farspan.stderr().contains(who));
    }
    proxy.restore();
    rig.redis.await_subscribers(CHANNEL, 1);
    rig.api.script("w", [completed("w").reply()]);
    rig.submit("w");
    rig.trace("w");
    farspan.stop();
}

fn port_of(url: &str) -> u16 {
    let authority = url.split("://").nth(1).unwrap().split('/').next().unwrap();
    authority.rsplit(':').next().unwrap().parse().unwrap()
}
