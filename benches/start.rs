//! How long farspan takes to be there, and to be gone: the built binary, idle.
#![allow(
    clippy::restriction,
    clippy::disallowed_methods,
    reason = "a bench may fail loudly"
)]

#[path = "../tests/support/mod.rs"]
mod servers;
mod support;

use servers::redis::RedisServer;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{median, row};

const ROUNDS: usize = 21;
/// An idle farspan has run for a while.
const IDLE: Duration = Duration::from_millis(200);

fn main() {
    let redis = RedisServer::start();
    let (starts, ends): (Vec<f64>, Vec<f64>) = (0..ROUNDS).map(|_| round(&redis)).unzip();
    for (what, all) in [
        ("start to subscribed", starts),
        ("SIGTERM to exit when idle", ends),
    ] {
        let longest = all.iter().copied().fold(0.0, f64::max);
        let middle = median(all);
        let measured = format!("{middle:.1} ms, longest of {ROUNDS} {longest:.1} ms");
        row(what, "< 50 ms", measured);
    }
}

/// Milliseconds from the spawn to the log line, and from the signal to the exit.
fn round(redis: &RedisServer) -> (f64, f64) {
    let start = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_farspan"))
        .arg("run")
        .env_clear()
        .env("FARSPAN_API_BASE_URL", "http://127.0.0.1:9")
        .env("FARSPAN_REDIS_URL", redis.url())
        .env("FARSPAN_STATE", "none")
        .env("FARSPAN_ADMIN_LISTEN", "none")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("farspan starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let subscribed = |line: &String| line.contains("subscribed to");
    let said = lines.by_ref().map_while(Result::ok).any(|l| subscribed(&l));
    let started = start.elapsed();
    assert!(said, "it ended before it had subscribed");

    std::thread::sleep(IDLE);
    let pid = child.id().to_string();
    let start = Instant::now();
    // The other program's own start is within the figure.
    let killed = Command::new("kill").args(["-s", "TERM", &pid]).status();
    assert!(killed.expect("kill").success());
    let status = child.wait().expect("its end");
    let ended = start.elapsed();
    assert_eq!(status.code(), Some(0));
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(
        rest.iter().any(|l| l.contains("0 polls, 0 failed")),
        "{rest:?}"
    );
    (started.as_secs_f64() * 1e3, ended.as_secs_f64() * 1e3)
}
