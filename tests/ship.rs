//! The static binaries, each in a root directory with nothing but itself, the names of hosts and the authorities that it
//! trusts: `tests/deploy/static`, after `tests/deploy/binaries` has built them.
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

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use support::api::{FakeApi, completed, processing, short_story};
use support::folder::Folder;
use support::program::{Call, Farspan, program};
use support::receiver::Receiver;
use support::reported::assert_as_reported;
use support::spans::assert_whole;
use support::tls::TlsWay;
use support::{SOON, eventually};

const FULL: &str = "farspan";
const SMALLEST: &str = "farspan-small";

/// A root directory for one program.
struct Bare {
    root: Folder,
}

impl Bare {
    fn with(binary: &str) -> Self {
        let root = Folder::new();
        let built = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("target/ship")
            .join(binary);
        fs::copy(&built, root.path().join("farspan")).unwrap_or_else(|error| {
            panic!("{}: {error}: run tests/deploy/binaries", built.display())
        });
        let bare = Bare { root };
        bare.write("etc/hosts", "127.0.0.1 localhost api.test\n");
        bare.write("etc/resolv.conf", "nameserver 127.0.0.1\n");
        bare
    }

    fn write(&self, path: &str, text: &str) {
        let path: PathBuf = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The only authority that the program finds, where every Debian has its authorities.
    fn trust(&self, certificate: &Path) {
        let certificate = fs::read_to_string(certificate).unwrap();
        self.write("etc/ssl/certs/ca-certificates.crt", &certificate);
    }

    fn call(&self, arguments: &[&str]) -> Call {
        let root = self.root.path().to_str().unwrap();
        let call = program("/farspan", arguments).by(&["chroot", root]);
        if rustix::process::geteuid().is_root() {
            call
        } else {
            call.under(&["unshare", "--map-root-user"])
        }
    }

    /// `farspan run` in a hurry, with the start events on its standard input.
    fn watch(&self, api: &str, receiver: &Receiver) -> Call {
        self.call(&["run", "--events", "-"])
            .env("FARSPAN_API_BASE_URL", api)
            .env("FARSPAN_POLL_INITIAL_DELAY", "10ms")
            .env("FARSPAN_POLL_INTERVAL", "20ms")
            .env("FARSPAN_STATE", "none")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.server.url())
            .env("OTEL_BSP_SCHEDULE_DELAY", "20")
            .with_stdin()
    }
}

#[test]
fn the_full_one_runs_its_demo_to_the_end() {
    let bare = Bare::with(FULL);
    let version = bare.call(&["--version"]).output();
    assert_eq!(version.code(), Some(0), "{version:?}");
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    assert!(version.stdout.contains(&target), "{}", version.stdout);
    let demo = bare.call(&["demo", "--workflows", "2", "--speed", "36000"]);
    let ended = demo.output();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    for part in [
        "\n2 of 2 workflows traced; ",
        "\n2 traces have each stage and each time as the API has them.\n",
    ] {
        assert!(ended.stdout.contains(part), "{}", ended.stdout);
    }
}

#[test]
fn the_full_one_watches_over_https() {
    let (api, receiver) = (FakeApi::start(), Receiver::start());
    api.script("w", short_story("w"));
    let base = api.base_url();
    let plain = base.strip_prefix("http://127.0.0.1:").unwrap();
    let (port, path) = plain.split_once('/').unwrap();
    let way = TlsWay::to(port.parse().unwrap());
    let bare = Bare::with(FULL);
    bare.trust(&way.certificate);
    let url = format!("https://api.test:{}/{path}", way.port);
    let farspan = bare.watch(&url, &receiver).start();
    assert_traced(farspan, &receiver, &completed("w").json());
}

#[test]
fn the_smallest_one_watches() {
    let (api, receiver) = (FakeApi::start(), Receiver::start());
    api.script("w", short_story("w"));
    let bare = Bare::with(SMALLEST);
    let version = bare.call(&["--version"]).output();
    assert!(version.stdout.contains("features none"), "{version:?}");
    let farspan = bare.watch(&api.base_url(), &receiver).start();
    assert_traced(farspan, &receiver, &completed("w").json());
}

/// From a line of standard input to the trace, which has every time and status of `told`, the API's last answer.
#[track_caller]
fn assert_traced(mut farspan: Farspan, receiver: &Receiver, told: &Value) {
    farspan.write("{\"WorkflowId\": \"w\"}\n");
    eventually("the trace", SOON, || {
        if receiver.has_root("w") {
            Ok(())
        } else {
            Err(farspan.stderr())
        }
    });
    farspan.end_input();
    let ended = farspan.wait(SOON);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    receiver.assert_each_span_once();
    let mut traces = assert_whole(&receiver.spans());
    assert_as_reported(&traces.remove("w").unwrap(), told);
    assert!(traces.is_empty(), "only that workflow was traced");
}

/// What is in memory while it watches, in KiB: with ten workflows less than 3 MB.
#[test]
fn the_smallest_one_is_small_in_memory() {
    for (workflows, pollers, kib_max) in [(10, 2, 2_929), (500, 16, 5_000)] {
        let (api, receiver) = (FakeApi::start(), Receiver::start());
        let ids: Vec<String> = (0..workflows).map(|number| format!("w{number}")).collect();
        for id in &ids {
            let body = processing(id);
            api.decide(id, move |_, _| body.reply());
        }
        let bare = Bare::with(SMALLEST);
        let mut farspan = bare
            .watch(&api.base_url(), &receiver)
            .env("FARSPAN_POLLERS", pollers)
            .env("FARSPAN_POLL_INTERVAL", "1s")
            .start();
        for id in &ids {
            farspan.write(format!("{{\"WorkflowId\": \"{id}\"}}\n"));
        }
        eventually("five polls of each", SOON, || {
            ids.iter().all(|id| api.polls(id) >= 5)
        });
        let (kib, threads) = (farspan.memory_kib("VmRSS"), farspan.memory_kib("Threads"));
        eprintln!("    {workflows} workflows, {pollers} pollers: RSS {kib} KiB, {threads} threads");
        assert!(kib <= kib_max, "{kib} KiB of at most {kib_max}");
        farspan.kill();
    }
}
