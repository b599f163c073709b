//! farspan gives distributed traces to work that runs in somebody else's system.
//!
//! It hears that a workflow has started, polls the system's status API until the workflow ends, and exports what it
//! saw as one OpenTelemetry trace. `ARCHITECTURE.md` has the picture; the modules stand here in reading order, and
//! imports point one way only: `main -> run -> edges -> core`.

#[cfg(feature = "admin")]
pub mod admin;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod console;
pub mod core;
pub mod credentials;
#[cfg(feature = "demo")]
pub mod demo;
pub mod exchange;
pub mod export;
pub mod files;
pub mod http;
pub mod intake;
#[cfg(feature = "redis")]
pub mod link;
pub mod logging;
pub mod mapping;
pub mod notify;
pub mod otlp;
pub mod poller;
pub mod probe;
pub mod run;
#[cfg(any(feature = "admin", feature = "demo"))]
pub mod serve;
pub mod signals;
pub mod store;
pub mod systemd;
pub mod trace;
pub mod waterfall;

/// farspan's version, as `--version` and the instrumentation scope say it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
