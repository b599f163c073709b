//! farspan gives distributed traces to work in systems that you cannot instrument.
//!
//! It hears that a workflow has started, polls the system's status API until the workflow ends, and exports what it
//! saw as one OpenTelemetry trace. `ARCHITECTURE.md` has the picture and says which room imports which.

pub mod admin;
pub mod api;
pub mod cli;
pub mod command;
pub mod config;
pub mod core;
pub mod deliver;
#[cfg(feature = "demo")]
pub mod demo;
mod embed;
pub mod features;
pub mod http;
pub mod intake;
pub mod mapping;
pub mod metrics;
pub mod os;
#[cfg(feature = "redis")]
pub mod redis_client;
pub mod run;
pub mod store;
pub mod syntax;
pub mod terminal;
pub mod text;

pub use embed::{
    Accepted, Change, Changes, Configuration, Error, ErrorKind, FinishedTrace, Link, Outcome,
    RunState, RunSummary, Runs, Span, SpanEvent, SpanId, SpanStatus, StageCounts, StartEvent,
    Stopped, TraceId, Traces, Value, Watcher, redacted,
};

/// The page about it, whose examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/embedding.md")]
struct Page;

/// farspan's version, as `--version` and the instrumentation scope say it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The platform that this build is for, as Rust names it.
pub const TARGET: &str = env!("FARSPAN_BUILD_TARGET");
/// The commit of the sources. A debug build does not know it, nor one whose sources have none.
pub const COMMIT: Option<&str> = option_env!("FARSPAN_BUILD_COMMIT");
