//! A collector that is down for the whole of a burst of 500.

use crate::support::demo::{DemoApi, publish_load};
use crate::support::folder::Folder;
use crate::support::program::{Call, Farspan, farspan};
use crate::support::receiver::Receiver;
use crate::support::redis::{CHANNEL, RedisServer};
use crate::support::spans::assert_whole;
use crate::support::{SOON, eventually, free_port};
use serde_json::json;
use std::collections::HashSet;
use std::io::Write;

const WORKFLOWS: usize = 500;
/// A debug build without load takes about 20 MiB; the spans that wait are less than 2 MiB.
const MEMORY_KIB_MAX: u64 = 64 * 1024;

#[test]
fn a_collector_that_is_down_for_a_whole_burst_gets_everything_in_order() {
    a_burst(None);
}

#[test]
fn the_same_with_a_kill_before_it_is_back() {
    a_burst(Some(&Folder::new()));
}

fn a_burst(state: Option<&Folder>) {
    let redis = RedisServer::start();
    let mut receiver = Receiver::stopped();
    let api = DemoApi::start("--speed 7200 --seed 11");
    let admin = format!("127.0.0.1:{}", free_port());
    let mut call = farspan(&["run"])
        .env("FARSPAN_API_BASE_URL", api.base_url())
        .env("FARSPAN_REDIS_URL", redis.url())
        .env("FARSPAN_POLL_INITIAL_DELAY", "50ms")
        .env("FARSPAN_POLL_INTERVAL", "1s")
        .env("FARSPAN_STATE", "none")
        .env("FARSPAN_ADMIN_LISTEN", &admin)
        .env("FARSPAN_LOG", "debug")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.server.url())
        .env("OTEL_BSP_SCHEDULE_DELAY", "200");
    if let Some(folder) = state {
        call = call
            .env("FARSPAN_STATE", "file")
            .env("FARSPAN_STATE_DIR", folder.path().display());
    }
    let mut watcher = start(&call, &redis);
    publish_load(&redis, "--workflows 500 --batch 500 --spread 1s");
    eventually("every workflow's end", 4 * SOON, || {
        match ended(&watcher).len() {
            WORKFLOWS => Ok(()),
            count => Err(format!("{count} have ended")),
        }
    });
    let mut order = ended(&watcher);
    let mut memory_kib = watcher.memory_kib("VmHWM");
    assert!(receiver.exports().is_empty());
    if state.is_some() {
        // A posted event is answered with 202 when it is stored, and with it everything before.
        let event = json!({ "WorkflowId": "the last" }).to_string();
        let posted = ureq::post(format!("http://{admin}/api/workflows"))
            .header("content-type", "application/json")
            .send(event)
            .expect("an answer");
        assert_eq!(posted.status(), 202);
        order.push("the last".to_owned());
        watcher.kill();
        watcher = start(&call, &redis);
    }
    receiver.server.resume();
    eventually("everything", 2 * SOON, || {
        match receiver.count_roots(|_| true) {
            count if count == order.len() => Ok(()),
            count => Err(format!("{count} roots")),
        }
    });
    memory_kib = memory_kib.max(watcher.memory_kib("VmHWM"));
    watcher.stop();
    let spans = receiver.spans();
    assert_eq!(assert_whole(&spans).len(), order.len());
    receiver.assert_each_span_once();
    let roots = spans.iter().filter(|span| span.is_root());
    let delivered: Vec<String> = roots.map(|root| root.workflow_id()).collect();
    assert!(delivered == order, "in the order of completion");
    let _ = writeln!(
        std::io::stderr(),
        "a burst of {WORKFLOWS} with the collector down, {}: {} spans in order, {} KiB at most",
        if state.is_some() {
            "killed once"
        } else {
            "not killed"
        },
        spans.len(),
        memory_kib
    );
    assert!(memory_kib < MEMORY_KIB_MAX, "{memory_kib} KiB");
}

fn start(call: &Call, redis: &RedisServer) -> Farspan {
    let watcher = call.start();
    redis.await_subscribers(CHANNEL, 1);
    watcher
}

/// The workflows in the order in which farspan says that they have ended.
fn ended(watcher: &Farspan) -> Vec<String> {
    let log = watcher.stderr();
    let mut known = HashSet::new();
    log.lines()
        .filter(|line| line.contains(" workflow ended "))
        .filter_map(|line| Some(line.split_once(" workflow_id=")?.1))
        .filter_map(|rest| match rest.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next(),
            None => rest.split(' ').next(),
        })
        .filter(|id| known.insert(id.to_string()))
        .map(str::to_owned)
        .collect()
}
