//! farspan gives distributed traces to work in systems that you cannot instrument.
//!
//! It hears that a workflow has started, polls the system's status API until the workflow ends, and exports what it
//! saw as one OpenTelemetry trace. This library is farspan inside another program: start with [`Watcher`].
//!
//! What is listed here is the face, and SemVer holds for it. The feature `internals` makes all else public for farspan's
//! own tests: it promises nothing, and no other program turns it on.
#![cfg_attr(
    not(feature = "internals"),
    allow(unreachable_pub, reason = "the same items are public with the feature")
)]
#![cfg_attr(
    not(all(
        feature = "admin",
        feature = "demo",
        feature = "file",
        feature = "redis",
        feature = "tls"
    )),
    allow(
        dead_code,
        unused_imports,
        reason = "the full build says what is not used"
    )
)]

mod dispatch;
mod embed;

// What is not the face is public for tests, benches and fuzz targets alone.

#[cfg(not(feature = "internals"))]
mod admin;
#[cfg(feature = "internals")]
pub mod admin;
#[cfg(not(feature = "internals"))]
mod api;
#[cfg(feature = "internals")]
pub mod api;
#[cfg(not(feature = "internals"))]
mod cli;
#[cfg(feature = "internals")]
pub mod cli;
#[cfg(not(feature = "internals"))]
mod command;
#[cfg(feature = "internals")]
pub mod command;
#[cfg(not(feature = "internals"))]
mod config;
#[cfg(feature = "internals")]
pub mod config;
#[cfg(not(feature = "internals"))]
mod deliver;
#[cfg(feature = "internals")]
pub mod deliver;
#[cfg(all(feature = "demo", not(feature = "internals")))]
mod demo;
#[cfg(all(feature = "demo", feature = "internals"))]
pub mod demo;
#[cfg(not(feature = "internals"))]
mod features;
#[cfg(feature = "internals")]
pub mod features;
#[cfg(not(feature = "internals"))]
mod http;
#[cfg(feature = "internals")]
pub mod http;
#[cfg(not(feature = "internals"))]
mod intake;
#[cfg(feature = "internals")]
pub mod intake;
#[cfg(not(feature = "internals"))]
mod metrics;
#[cfg(feature = "internals")]
pub mod metrics;
#[cfg(not(feature = "internals"))]
mod os;
#[cfg(feature = "internals")]
pub mod os;
#[cfg(all(feature = "redis", not(feature = "internals")))]
mod redis_client;
#[cfg(all(feature = "redis", feature = "internals"))]
pub mod redis_client;
#[cfg(not(feature = "internals"))]
mod run;
#[cfg(feature = "internals")]
pub mod run;
#[cfg(not(feature = "internals"))]
mod store;
#[cfg(feature = "internals")]
pub mod store;
#[cfg(not(feature = "internals"))]
mod terminal;
#[cfg(feature = "internals")]
pub mod terminal;

#[cfg(feature = "internals")]
pub use {farspan_core as core, farspan_mapping as mapping, farspan_syntax as syntax};
#[cfg(not(feature = "internals"))]
use {farspan_core as core, farspan_mapping as mapping, farspan_syntax as syntax};

#[doc(hidden)]
pub use dispatch::main;
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
pub(crate) const TARGET: &str = env!("FARSPAN_BUILD_TARGET");
/// The commit of the sources. A debug build does not know it, nor one whose sources have none.
pub(crate) const COMMIT: Option<&str> = option_env!("FARSPAN_BUILD_COMMIT");
