//! What the store costs: two watchers hear the same burst, one of them keeps its state, and the CPU time of each tells.
//!
//! ```text
//! cargo bench --bench store
//! FARSPAN_BENCH_WORKFLOWS=500 FARSPAN_BENCH_SECONDS=120 FARSPAN_BENCH_SPEED=100 cargo bench --bench store
//! ```
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "a measurement stands on what the tests stand on"
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
    let receivers = [Receiver::start(), Receiver::start()];
    let watchers = [watch("none", &receivers[0]), watch("file", &receivers[1])];
    redis.await_subscribers(CHANNEL, 2);
    let before = watchers.each_ref().map(|watcher| watcher.cpu_ticks());
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
    let after = watchers.each_ref().map(|watcher| watcher.cpu_ticks());
    let kinds = ["none", "file"];
    for index in 0..2 {
        let ((user, system), (user_before, system_before)) = (after[index], before[index]);
        let (user, system) = (user - user_before, system - system_before);
        println!(
            "FARSPAN_STATE={}: {} ms CPU in {seconds} s ({} user, {} system), {} KiB at most, {} spans delivered",
            kinds[index],
            (user + system) * 10,
            user * 10,
            system * 10,
            watchers[index].memory_kib("VmHWM"),
            receivers[index].spans().len()
        );
    }
    let sum = |index: usize| {
        let ((user, system), (user_before, system_before)) = (after[index], before[index]);
        (user + system - user_before - system_before) as f64
    };
    println!("the store adds {:.1}%", (sum(1) / sum(0) - 1.0) * 100.0);
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().expect(variable),
        Err(_) => default,
    }
}
