//! What the store costs: three watchers hear the same burst; one keeps nothing, one a file, one its state in Redis, and
//! the CPU time of each tells. Then, for as long again, what the file costs the disk: commits, bytes and, if there is
//! strace, calls that wait for the disk.
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

use std::path::Path;
use std::process::{Command, Stdio};
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
    let period = Duration::from_secs(seconds);
    println!(
        "FARSPAN_STATE=file: {}",
        on_disk(watchers[1].id(), state.path(), period)
    );
}

/// What a process with its state in this directory writes in `period`, told for a minute.
fn on_disk(pid: u32, directory: &Path, period: Duration) -> String {
    let before = (commits(directory), written(pid));
    let syncs = syncs_of(pid, period);
    let minutes = period.as_secs_f64() / 60.0;
    let a_minute = |count: u64| count as f64 / minutes;
    let syncs = match syncs {
        Ok(count) => format!("{:.1} fsyncs", a_minute(count)),
        Err(why) => format!("fsyncs not counted: {why}"),
    };
    format!(
        "{:.1} commits, {syncs}, {:.0} KiB to the disk a minute",
        a_minute(commits(directory) - before.0),
        a_minute(written(pid) - before.1) / 1024.0,
    )
}

/// The number of the last commit: it stands beside the file, twice.
fn commits(directory: &Path) -> u64 {
    let mark = std::fs::read_to_string(directory.join("farspan.commits")).expect("a first commit");
    let number = mark.split_whitespace().next();
    number.expect("a number").parse().expect("a number")
}

/// Bytes that the process has had the disk write so far. Those for a file system in memory do not count.
fn written(pid: u32) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).expect("a running process");
    let bytes = io.lines().find_map(|l| l.strip_prefix("write_bytes: "));
    bytes.expect("proc(5)").parse().expect("a number")
}

/// Counts for so long the calls that wait until the disk has what was written.
fn syncs_of(pid: u32, period: Duration) -> Result<u64, String> {
    let strace = Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-e",
            "trace=fsync,fdatasync",
            "-p",
            &pid.to_string(),
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    pause(period);
    let strace = strace.map_err(|error| format!("strace: {error}"))?;
    let told = Command::new("kill")
        .args(["-s", "INT", &strace.id().to_string()])
        .status();
    assert!(
        told.expect("kill").success(),
        "strace runs until it is told to end"
    );
    let output = strace
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    let lines = String::from_utf8_lossy(&output.stderr).into_owned();
    if let Some(trouble) = lines.lines().find(|l| l.starts_with("strace:")) {
        return Err(trouble.to_owned());
    }
    // Of a call that another thread's interrupts, one of two lines has the result.
    Ok(lines.lines().filter(|l| l.contains(" = ")).count() as u64)
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().expect(variable),
        Err(_) => default,
    }
}
