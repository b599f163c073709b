//! What the store costs: three watchers hear the same burst; one keeps nothing, one a file, one its state in Redis, and
//! the CPU time of each tells.
//!
//! ```text
//! cargo bench --bench store
//! FARSPAN_BENCH_WORKFLOWS=500 FARSPAN_BENCH_SECONDS=150 FARSPAN_BENCH_SPEED=1 cargo bench --bench store  # as in real life
//! ```
#![allow(
    clippy::restriction,
    clippy::disallowed_methods,
    reason = "a bench may fail loudly"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::net::TcpStream;
use std::time::Duration;
use support::folder::Folder;
use support::program::farspan;
use support::receiver::Receiver;
use support::redis::{CHANNEL, RedisServer};
use support::{SOON, eventually, free_port, pause};

fn main() {
    let workflows = number("FARSPAN_BENCH_WORKFLOWS", 500);
    let seconds = number("FARSPAN_BENCH_SECONDS", 120);
    let speed = number("FARSPAN_BENCH_SPEED", 100);
    // `cargo test --all-targets` runs benches too, to see that they do.
    let (workflows, seconds) = match std::env::args().any(|a| a == "--bench") {
        true => (workflows, seconds),
        false => (5, 1),
    };
    let (redis, state) = (RedisServer::start(), Folder::new());
    let address = format!("127.0.0.1:{}", free_port());
    let speed = speed.to_string();
    let _api = farspan(&[
        "api",
        "--listen",
        &address,
        "--speed",
        &speed,
        "--latency",
        "200ms",
        "--seed",
        "1",
    ])
    .env("FARSPAN_LOG", "error")
    .start();
    eventually("the API listens", SOON, || {
        TcpStream::connect(&address).map_err(|error| error.to_string())
    });
    let watch = |kind: &str, receiver: &Receiver| {
        farspan(&["run"])
            .env("FARSPAN_API_BASE_URL", format!("http://{address}"))
            .env("FARSPAN_REDIS_URL", redis.url())
            .env("FARSPAN_STATE", kind)
            .env("FARSPAN_STATE_DIR", state.path().display())
            .env("FARSPAN_ADMIN_LISTEN", "none")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.server.url())
            .start()
    };
    let kinds = ["none", "file", "redis"];
    let receivers = kinds.map(|_| Receiver::start());
    let watchers: [_; 3] = std::array::from_fn(|index| watch(kinds[index], &receivers[index]));
    redis.await_subscribers(CHANNEL, kinds.len());
    let ticks = || {
        watchers.each_ref().map(|watcher| {
            let (user, system) = watcher.cpu_ticks();
            user + system
        })
    };
    let before = ticks();
    let count = workflows.to_string();
    let load = farspan(&[
        "load",
        "--workflows",
        &count,
        "--batch",
        &count,
        "--seed",
        "1",
    ])
    .env("FARSPAN_REDIS_URL", redis.url())
    .start();
    load.wait(SOON);
    pause(Duration::from_secs(seconds));
    let after = ticks();
    let used: [u64; 3] = std::array::from_fn(|index| after[index] - before[index]);
    for (index, kind) in kinds.iter().enumerate() {
        let added = used[index] as f64 / used[0] as f64 - 1.0;
        println!(
            "FARSPAN_STATE={kind}: {} ms CPU in {seconds} s, {:+.1}%, {} KiB at most, {} spans delivered",
            used[index] * 10,
            added * 100.0,
            watchers[index].memory_kib("VmHWM"),
            receivers[index].spans().len()
        );
    }
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().expect(variable),
        Err(_) => default,
    }
}
