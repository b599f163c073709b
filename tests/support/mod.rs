//! What the end-to-end tests stand on: real programs, and servers that misbehave on purpose.
//!
//! Black box: nothing here imports farspan's library. The HTTP server is written apart from `src/` so that both cannot
//! be wrong in the same way.
#![allow(
    clippy::disallowed_methods,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "tests measure real time, and each uses a part of this; only `eventually` sleeps"
)]

pub mod api;
pub mod clock;
pub mod container;
#[cfg(feature = "redis")]
pub mod demo;
pub mod files;
pub mod folder;
pub mod http;
#[cfg(feature = "redis")]
pub mod monitored;
#[cfg(feature = "redis")]
pub mod old_redis;
pub mod playback;
pub mod program;
pub mod proxy;
pub mod receiver;
#[cfg(feature = "redis")]
pub mod redis;
pub mod reported;
#[cfg(feature = "redis")]
pub mod rig;
pub mod spans;
pub mod systemd;
pub mod terminal;
pub mod threads;
pub mod tls;
pub mod unit;

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Long enough for anything that should happen soon, on a machine that does something else as well.
pub const SOON: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);

/// What a condition may answer: `bool`, `Option`, or a `Result` whose error says how things stand.
pub trait Condition {
    type Value;
    fn met(self) -> Result<Self::Value, String>;
}

impl Condition for bool {
    type Value = ();
    fn met(self) -> Result<(), String> {
        self.then_some(()).ok_or_else(|| "not yet".into())
    }
}

impl<T> Condition for Option<T> {
    type Value = T;
    fn met(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing yet".into())
    }
}

impl<T> Condition for Result<T, String> {
    type Value = T;
    fn met(self) -> Result<T, String> {
        self
    }
}

/// Waits until `condition` holds; panics with `what` and the last state if it does not within `timeout`.
#[track_caller]
pub fn eventually<C: Condition>(
    what: &str,
    timeout: Duration,
    condition: impl FnMut() -> C,
) -> C::Value {
    match within(timeout, condition) {
        Ok(value) => value,
        Err(state) => panic!("not within {timeout:?}: {what}; last state: {state}"),
    }
}

/// Waits like `eventually` for something that may not happen; the error is the last state.
pub fn within<C: Condition>(
    timeout: Duration,
    mut condition: impl FnMut() -> C,
) -> Result<C::Value, String> {
    let start = Instant::now();
    loop {
        match condition().met() {
            Ok(value) => return Ok(value),
            Err(state) if start.elapsed() > timeout => return Err(state),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// Lets a time pass that chance has chosen: for chaos, never to wait for something.
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// A port without a listener. It is taken from below the range of outgoing connections, so that a server that stops and
/// comes back finds its port free.
pub fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two runs at once start at different places.
    let offset =
        u16::try_from(std::process::id().wrapping_mul(97) % u32::from(COUNT)).expect("below COUNT");
    (0..COUNT)
        .map(|_| {
            let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
            FIRST + (offset + step) % COUNT
        })
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("no free port")
}

/// Undoes percent-encoding; `None` where it is malformed or no UTF-8.
pub fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = tail;
            continue;
        }
        let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).ok()
}

/// The wall clock, in nanoseconds.
pub fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.expect("after 1970").as_nanos()).expect("before 2554")
}

/// The text of an RFC 3339 time as nanoseconds, read by jiff and not by farspan.
#[track_caller]
pub fn ns(rfc3339: &str) -> u64 {
    let timestamp: jiff::Timestamp = rfc3339
        .parse()
        .unwrap_or_else(|error| panic!("{rfc3339}: {error}"));
    u64::try_from(timestamp.as_nanosecond()).expect("after 1970")
}

/// Nanoseconds as RFC 3339.
pub fn rfc3339(ns: u64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(ns))
        .expect("a time jiff knows")
        .to_string()
}
