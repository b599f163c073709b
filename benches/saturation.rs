//! Requests a second when polls are always due: `farspan run` with 16 pollers against wrk with 16 connections, in turns
//! against one nginx. And how late polls are of an API that takes 200 ms.
//!
//! ```text
//! FARSPAN_BENCH_BEFORE=/path/to/farspan cargo bench --bench saturation   # another build beside it, in turns
//! ```
#![allow(
    clippy::restriction,
    clippy::disallowed_methods,
    reason = "a bench may fail loudly"
)]

#[path = "../tests/support/mod.rs"]
mod servers;
mod support;

use servers::free_port;
use servers::program::{farspan, program};
use servers::redis::{CHANNEL, RedisServer};
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Nginx, cpu_of, median, row};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(4);
const WARM_UP: Duration = Duration::from_millis(1500);
const SLOW: Duration = Duration::from_secs(32);
/// With the interval, more polls than can be made: one is always due.
const WORKFLOWS: usize = 4_000;

fn main() {
    let nginx = Nginx::start();
    let redis = RedisServer::start();
    let own = env!("CARGO_BIN_EXE_farspan").to_owned();
    let before = std::env::var("FARSPAN_BENCH_BEFORE").ok();
    let binaries: Vec<&String> = std::iter::once(&own).chain(&before).collect();
    let mut wrk = vec![];
    let mut rounds = vec![vec![]; binaries.len()];
    for _ in 0..ROUNDS {
        let by_wrk = wrk_rate(&nginx);
        wrk.push(by_wrk);
        for (binary, rounds) in binaries.iter().zip(&mut rounds) {
            let (by_us, us) = farspan_rate(binary, &nginx, &redis);
            rounds.push([by_us, by_us / by_wrk, us]);
        }
    }
    let wrk = median(wrk);
    let figures = rounds.iter().map(|rounds| {
        let of = |index: usize| median(rounds.iter().map(|round| round[index]).collect());
        let (ours, share, cpu_us) = (of(0), of(1), of(2));
        format!("{share:.2} x: {ours:.0}/s, wrk {wrk:.0}/s; {cpu_us:.1} us CPU a poll")
    });
    row(
        "saturated: requests a second, 16 pollers, against wrk with 16 connections",
        ">= 0.5 x",
        figures.collect::<Vec<_>>().join("; before "),
    );
    let lateness = binaries
        .iter()
        .map(|binary| lateness_of_slow(binary, &redis));
    row(
        "an API that takes 200 ms, 500 workflows, 10 s: lateness",
        "",
        lateness.collect::<Vec<_>>().join("; before "),
    );
}

fn wrk_rate(nginx: &Nginx) -> f64 {
    let seconds = ROUND.as_secs().to_string();
    let output = Command::new("wrk")
        .args(["-t1", "-c16", "-d", &seconds])
        .arg(format!("{}/workflows/workflow-0", nginx.base_url()))
        .output();
    let output = output.unwrap_or_else(|error| {
        panic!("wrk: {error}; install it with `apt-get install wrk`, or run benches/run")
    });
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        !text.contains("Non-2xx") && !text.contains("errors"),
        "{text}"
    );
    let rate = text.lines().find_map(|l| l.strip_prefix("Requests/sec:"));
    rate.expect("wrk's report").trim().parse().expect("a rate")
}

/// Polls a second, and the microseconds of CPU that each cost.
fn farspan_rate(binary: &str, nginx: &Nginx, redis: &RedisServer) -> (f64, f64) {
    let watcher = program(binary, &["run"])
        .env("FARSPAN_API_BASE_URL", nginx.base_url())
        .env("FARSPAN_REDIS_URL", redis.url())
        .env("FARSPAN_POLL_INITIAL_DELAY", "0s")
        .env("FARSPAN_POLL_INTERVAL", "10ms")
        .env("FARSPAN_POLLERS", "16")
        .env("FARSPAN_STATE", "none")
        .env("FARSPAN_ADMIN_LISTEN", "none")
        .env("OTEL_TRACES_EXPORTER", "none")
        .start();
    redis.await_subscribers(CHANNEL, 1);
    let events: Vec<String> = (0..WORKFLOWS)
        .map(|number| format!(r#"{{"WorkflowId":"workflow-{number}"}}"#))
        .collect();
    redis.publish_all(CHANNEL, events.iter().map(String::as_bytes));
    std::thread::sleep(WARM_UP);

    let (requests, cpu, start) = (nginx.requests(), cpu_of(watcher.id()), Instant::now());
    std::thread::sleep(ROUND);
    // Less the question itself.
    let answered = (nginx.requests() - requests - 1) as f64;
    let elapsed = start.elapsed().as_secs_f64();
    let cpu = (cpu_of(watcher.id()) - cpu).as_secs_f64();

    let ended = watcher.stop();
    let polls = ended.stderr.lines().find(|l| l.contains(" polls, "));
    let polls = polls.unwrap_or_else(|| panic!("no report: {}", ended.stderr));
    assert!(polls.contains(" polls, 0 failed"), "{polls}");
    eprintln!("saturation: {polls}");
    (answered / elapsed, cpu * 1e6 / answered)
}

/// As the report at the end has it.
fn lateness_of_slow(binary: &str, redis: &RedisServer) -> String {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let api = farspan(&[
        "api",
        "--listen",
        &address,
        "--latency",
        "200ms",
        "--speed",
        "0.01",
    ]);
    let api = api.start();
    let watcher = program(binary, &["run"])
        .env("FARSPAN_API_BASE_URL", format!("http://{address}"))
        .env("FARSPAN_REDIS_URL", redis.url())
        .env("FARSPAN_POLL_INITIAL_DELAY", "0s")
        .env("FARSPAN_POLL_INTERVAL", "10s")
        .env("FARSPAN_STATE", "none")
        .env("FARSPAN_ADMIN_LISTEN", "none")
        .env("OTEL_TRACES_EXPORTER", "none")
        .start();
    redis.await_subscribers(CHANNEL, 1);
    let events: Vec<String> = (0..500)
        .map(|number| format!(r#"{{"WorkflowId":"slow-{number}"}}"#))
        .collect();
    redis.publish_all(CHANNEL, events.iter().map(String::as_bytes));
    std::thread::sleep(SLOW);
    let ended = watcher.stop();
    api.stop();
    let (_, lateness) = ended.stderr.split_once("lateness ").expect("the report");
    let (lateness, _) = lateness.split_once("; latency").expect("the report's form");
    lateness.to_owned()
}
