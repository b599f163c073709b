//! farspan to try out: the scripted external system, the load on it, and finished traces as text.
//!
//! The same pieces are the commands `api` and `load`, the demo in one process, and the tests' counterpart.

pub mod api;
pub mod load;
pub mod script;
pub mod show;

use crate::os::clock;
use crate::os::redaction::without_secrets;
use crate::syntax::text::escape;
use crate::terminal::console::say;
use std::io::{self, Write};

/// A seed that differs from run to run.
fn fresh_seed() -> u64 {
    let now = clock::now().wall.as_unix_ns() as u64;
    now ^ u64::from(std::process::id()).rotate_left(32)
}

/// One line on standard error, for what the user has to see whatever the log's level.
fn complain(line: &str) {
    let _ = writeln!(
        io::stderr().lock(),
        "farspan: {}",
        escape(&without_secrets(line))
    );
}
