//! End to end: the built binary between a real redis-server, a status API and an OTLP/HTTP receiver.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "a test may fail loudly, and its support may offer more than is used today"
)]

#[path = "../support/mod.rs"]
mod support;

mod api_faults;
mod burst;
mod carriers;
mod chaos;
mod collector;
mod commands;
mod durable;
mod fleet;
mod intake;
mod living;
mod programs;
mod selftest;
mod settings;
mod stopping;
mod stories;
mod streams;
mod tls;
