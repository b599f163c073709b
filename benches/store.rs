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

use std::time::Duration;
use support::demo::{DemoApi, publish_load};
use support::folder::Folder;
use support::pause;
use support::program::farspan;
use support::receiver::Receiver;
use support::redis::{CHANNEL, RedisServer};

fn main() {
    let workflows = number("FARSPAN_BENCH_WORKFLOWS", 500);
    let seconds = number("FARSPAN_BENCH_SECONDS", 120);
    let speed = number("FARSPAN_BENCH_SPEED", 100);
    // `cargo test --all-targets` runs benches too, to see that they do.
    let is_bench = std::env::args().any(|a| a == "--bench");
    let (workflows, seconds) = if is_bench {
        (workflows, seconds)
    } else {
        (5, 1)
    };
    let (redis, state) = (RedisServer::start(), Folder::new());
    let api = DemoApi::logging(
        "error",
        &format!("--speed {speed} --latency 200ms --seed 1"),
    );
    let watch = |kind: &str, receiver: &Receiver| {
        farspan(&["run"])
            .env("FARSPAN_API_BASE_URL", api.base_url())
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
    let options = format!("--workflows {workflows} --batch {workflows} --seed 1");
    publish_load(&redis, &options);
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
