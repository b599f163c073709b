//! farspan gives distributed traces to work that runs in somebody else's system.
//!
//! It hears that a workflow has started, polls the system's status API until the workflow ends, and exports what it
//! saw as one OpenTelemetry trace. `ARCHITECTURE.md` has the picture; the modules stand here in reading order, and
//! imports point one way only: `main -> run -> edges -> core`.

pub mod clock;
pub mod core;
#[cfg(feature = "demo")]
pub mod demo;
pub mod export;
pub mod http;
pub mod mapping;
pub mod otlp;
pub mod poller;
#[cfg(feature = "demo")]
pub mod serve;
pub mod signals;
