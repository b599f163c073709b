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

/// Declares each room twice: public for tests, benches and fuzz targets, and private for all else. It has the name and the
/// form of the macro of the crate `cfg-if`, because rustfmt looks for the files of modules in no other macro.
macro_rules! cfg_if {
    (if #[cfg($is_public:meta)] { $($(#[$of:meta])* mod $room:ident;)* }) => { $(
        $(#[$of])*
        #[cfg($is_public)]
        pub mod $room;
        $(#[$of])*
        #[cfg(not($is_public))]
        mod $room;
    )* };
}

cfg_if! {
    if #[cfg(feature = "internals")] {
        mod admin;
        mod api;
        mod cli;
        mod command;
        mod config;
        mod deliver;
        #[cfg(feature = "demo")]
        mod demo;
        mod features;
        mod http;
        mod intake;
        mod metrics;
        mod os;
        #[cfg(feature = "redis")]
        mod redis_client;
        mod run;
        mod store;
        mod terminal;
    }
}

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
