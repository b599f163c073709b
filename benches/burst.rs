//! The run that farspan is made for: 500 workflows at once, polled every 10 s, each answer 200 ms away, all else by
//! default; real programs, a real Redis, and a receiver that looks closely.
#![allow(
    clippy::restriction,
    clippy::disallowed_methods,
    reason = "a bench may fail loudly"
)]

#[path = "../tests/support/mod.rs"]
mod servers;
mod support;

use servers::demo::{DemoApi, publish_load};
use servers::eventually;
use servers::folder::Folder;
use servers::program::farspan;
use servers::receiver::Receiver;
use servers::redis::{CHANNEL, RedisServer};
use servers::reported::{assert_as_reported, get};
use servers::spans::assert_whole;
use std::time::{Duration, Instant};
use support::{cpu_of, memory_of, row};

const WORKFLOWS: usize = 500;
/// The longest workflow, some 5 h, ends within a minute and a half.
const SPEED: &str = "240";
/// Fewer than the connections that the API takes at once.
const ASKED_TOGETHER: usize = 32;
const LONGEST: Duration = Duration::from_secs(180);

fn main() {
    let redis = RedisServer::start();
    let receiver = Receiver::start();
    let state = Folder::new();
    let api = DemoApi::logging("warn", &format!("--latency 200ms --speed {SPEED} --seed 7"));
    let watcher = farspan(&["run"])
        .env("FARSPAN_API_BASE_URL", api.base_url())
        .env("FARSPAN_REDIS_URL", redis.url())
        .env("FARSPAN_STATE_DIR", state.path().display())
        .env("FARSPAN_ADMIN_LISTEN", "none")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.server.url())
        .start();
    redis.await_subscribers(CHANNEL, 1);

    let (cpu, start) = (cpu_of(watcher.id()), Instant::now());
    let options = format!("--workflows {WORKFLOWS} --batch {WORKFLOWS} --spread 0s");
    publish_load(&redis, &options);
    eventually("every workflow's end", LONGEST, || {
        // The receiver decodes everything each time; once a second is enough on two cores.
        std::thread::sleep(Duration::from_secs(1));
        match receiver.count_roots(|_| true) {
            WORKFLOWS => Ok(()),
            roots => Err(format!("{roots} roots")),
        }
    });
    let cpu = (cpu_of(watcher.id()) - cpu).as_secs_f64() / start.elapsed().as_secs_f64();
    let peak = memory_of(watcher.id(), "VmHWM") as f64 / (1024.0 * 1024.0);
    let ended = watcher.stop();

    let traces = assert_whole(&receiver.spans());
    assert_eq!(traces.len(), WORKFLOWS);
    receiver.assert_each_span_once();
    // Each answer takes its 200 ms, and the API holds so many connections at once.
    let traces: Vec<_> = traces.into_iter().collect();
    for together in traces.chunks(ASKED_TOGETHER) {
        std::thread::scope(|scope| {
            for (id, trace) in together {
                let address = &api.address;
                scope.spawn(move || {
                    assert_as_reported(trace, &get(address, &format!("/workflows/{id}")));
                });
            }
        });
    }

    let report = ended.stderr.lines().find(|l| l.contains(" polls, "));
    let report = report.unwrap_or_else(|| panic!("no report: {}", ended.stderr));
    eprintln!("burst: {:.0?}: {report}", start.elapsed());
    assert!(report.contains(" polls, 0 failed"), "{report}");
    let (_, lateness) = report.split_once("lateness ").expect("the report's form");
    let (lateness, _) = lateness.split_once(';').expect("the report's form");
    row(
        "500 workflows at once, 10 s interval, 200 ms latency: lateness of a poll",
        "p99 < 100 ms",
        lateness,
    );
    row("… peak RSS", "< 12 MiB", format!("{peak:.1} MiB"));
    row("… CPU", "< 1% of one core", format!("{:.2}%", cpu * 100.0));
    row(
        "… whole traces with the API's times",
        "500",
        format!("{WORKFLOWS}"),
    );
}
