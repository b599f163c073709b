//! How often a poll allocates that finds nothing new, on its whole way: loop, poller, request, answer, mapping, loop.
//!
//! What is counted is the work of the whole process, so that this is a binary of its own with one test. The API is a
//! thread that allocates nothing for an answer.
#![allow(clippy::unwrap_used, missing_docs)]

use crossbeam_channel::bounded;
use farspan::config::{Config, PollConfig};
use farspan::core::event::StartEvent;
use farspan::os::environment::Environment;
use farspan::run;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Of one poll, in the default shape with three stages. 29 are those of ureq: for the URL, the headers of the request and
/// of the answer, the timeouts, the body and the connection's place in its pool.
const ALLOCATIONS_MAX: usize = 40;
const BYTES_MAX: usize = 5_120;

const POLLS: usize = 500;
/// The first ones make the stages, the connection and all buffers.
const WARM_UP: usize = 100;

const ANSWER: &str = concat!(
    "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Fri, 20 Nov 2026 09:56:02 GMT\r\n",
    "Content-Type: application/json\r\nContent-Length: 608\r\nConnection: keep-alive\r\n\r\n",
    r#"{"workflowId":"workflow-00","workflowStatus":"Processing","workflowStartTime":"2024-07-05T06:57:56.1234567Z","#,
    r#""isComplete":false,"workflowEntities":{"DataLoader":{"entityType":"DataLoader","#,
    r#""entityId":"9f623b49-7c11-4a3c-8a53-1d1a1b0d7f2e","entityStatus":"Completed","#,
    r#""entityStartTime":"2024-07-05T06:57:58.0000001Z","entityEndTime":"2024-07-05T07:01:02.7654321Z","isComplete":true},"#,
    r#""Processor":{"entityType":"Processor","entityId":"1be2a2bb-52a1-4c55-b4a4-6a8bb2f8e0c7","#,
    r#""entityStatus":"Processing","entityStartTime":"2024-07-05T07:01:03.1122334Z","isComplete":false},"#,
    r#""OutputGenerator":{"entityStatus":"Null"}}}"#
);

#[test]
fn a_poll_that_finds_nothing_new_allocates_little() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = bounded(1);
    let serving = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        (0..WARM_UP).for_each(|_| answer(&mut connection));
        let region = Region::new(ALLOCATOR);
        (0..POLLS).for_each(|_| answer(&mut connection));
        let counted = region.change();
        drop(stop);
        // The poll under way ends too.
        while try_answer(&mut connection) {}
        counted
    });
    watch(&base_url, stopped);
    let counted = serving.join().unwrap();
    let allocations = counted.allocations + counted.reallocations;
    let (allocations, bytes) = (allocations / POLLS, counted.bytes_allocated / POLLS);
    println!("a poll: {allocations} allocations, {bytes} bytes");
    assert!(allocations <= ALLOCATIONS_MAX, "{allocations} allocations");
    assert!(bytes <= BYTES_MAX, "{bytes} bytes");
}

/// Watches one workflow until it is stopped.
fn watch(base_url: &str, stopped: crossbeam_channel::Receiver<std::convert::Infallible>) {
    let mut config = Config::for_api(&Environment::default(), base_url).unwrap();
    config.admin = None;
    config.poll_at(PollConfig {
        pollers: 1,
        interval: Duration::from_millis(10),
        initial_delay: Duration::ZERO,
        ..config.poll
    });
    let (events, received) = bounded(1);
    let event = StartEvent::new(0, "workflow-00");
    events.send(event).unwrap();
    let endpoint = run::Endpoint::bind(&config).unwrap();
    let report = run::watch(&config, endpoint, received, stopped, Vec::new()).unwrap();
    assert_eq!(report.unfinished, 1);
    assert_eq!(report.counters.polls_failed().iter().sum::<u64>(), 0);
    assert!(report.counters.polls() >= (WARM_UP + POLLS) as u64);
}

fn answer(connection: &mut TcpStream) {
    assert!(try_answer(connection), "farspan has gone");
}

/// Reads a request and answers it. Returns whether there was one.
fn try_answer(connection: &mut TcpStream) -> bool {
    let mut request = [0; 4096];
    let mut length = 0;
    while !request[..length].ends_with(b"\r\n\r\n") {
        match connection.read(&mut request[length..]) {
            Ok(0) | Err(_) => return false,
            Ok(read) => length += read,
        }
    }
    connection.write_all(ANSWER.as_bytes()).is_ok()
}
