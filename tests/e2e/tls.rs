//! https:// to the API and to the collector, trusted and not.

use crate::support::api::completed;
use crate::support::program::farspan;
use crate::support::rig::Rig;
use crate::support::tls::TlsWay;
use crate::support::{SOON, eventually};

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
fn a_certificate_that_nobody_vouches_for_is_refused_and_said() {
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
        match log.contains("trouble (tls)") && log.contains("invalid peer certificate") {
            true => Ok(()),
            false => Err(log),
        }
    });
    assert_eq!(rig.api.polls("secret"), 0, "nothing was asked");
    farspan.stop();
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

fn port_of(url: &str) -> u16 {
    let authority = url.split("://").nth(1).unwrap().split('/').next().unwrap();
    authority.rsplit(':').next().unwrap().parse().unwrap()
}
