//! What polls cost at least: one thread, one connection, a request, its answer, and a sleep until the next is due.
#![allow(unreachable_pub, reason = "only one bench uses it")]

use crate::servers::threads::Thread;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A connection that stays open.
pub struct Bare {
    stream: TcpStream,
    host: String,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Bare {
    pub fn connect(base_url: &str) -> Self {
        let host = base_url.strip_prefix("http://").expect("a plain URL");
        let stream = TcpStream::connect(host).expect("the API");
        stream.set_nodelay(true).expect("a TCP connection");
        Bare {
            stream,
            host: host.to_owned(),
            request: Vec::new(),
            answer: vec![0; 16 * 1024],
        }
    }

    /// Asks for one workflow after another, `together` at a time, each `interval`, for `time`. Returns how many polls
    /// were made, and what this thread has used for them.
    pub fn poll(
        &mut self,
        workflows: usize,
        interval: Duration,
        together: usize,
        time: Duration,
    ) -> (u64, Thread) {
        let (before, start) = (Thread::own(), Instant::now());
        let between = interval.div_f64(workflows as f64);
        let mut polls = 0_u32;
        while start.elapsed() < time {
            // The last of them is due.
            let due = start + between * (polls + together as u32);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            for _ in 0..together {
                self.get(polls as usize % workflows);
                polls += 1;
            }
        }
        let now = Thread::own();
        let used = Thread {
            name: now.name,
            cpu: now.cpu - before.cpu,
            waits: now.waits - before.waits,
            preemptions: now.preemptions - before.preemptions,
        };
        (u64::from(polls), used)
    }

    fn get(&mut self, workflow: usize) {
        self.request.clear();
        let host = &self.host;
        write!(
            self.request,
            "GET /workflows/workflow-{workflow} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n\r\n"
        )
        .expect("a Vec takes it");
        self.stream.write_all(&self.request).expect("the API");
        let mut read = 0;
        while !is_whole(&self.answer[..read]) {
            let more = self.stream.read(&mut self.answer[read..]);
            let more = more.expect("the API answers");
            assert_ne!(more, 0, "the API has closed the connection");
            read += more;
        }
    }
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return false;
    };
    let head = std::str::from_utf8(&answer[..end]).expect("ASCII");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let length = head
        .lines()
        .find_map(|l| l.strip_prefix("Content-Length: "));
    let length: usize = length.expect("a length").parse().expect("a number");
    answer.len() == end + 4 + length
}
