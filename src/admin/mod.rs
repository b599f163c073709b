//! The admin endpoint: what farspan answers over HTTP, and what it asks the loop for that.
//!
//! ```text
//! request ──▶ endpoint (token, host, route) ──▶ runs ──ViewQuestion──▶ the loop
//!                                                │  ◀──a bounded copy──┘
//!                                                └──▶ JSON
//! ```

#[cfg(feature = "admin")]
mod endpoint;
#[cfg(feature = "admin")]
pub mod exports;
#[cfg(feature = "admin")]
pub mod page;
#[cfg(feature = "admin")]
mod parameters;
pub mod question;
#[cfg(feature = "admin")]
mod run_json;
#[cfg(feature = "admin")]
pub mod runs;

#[cfg(feature = "admin")]
pub use endpoint::{Route, bind, start};
