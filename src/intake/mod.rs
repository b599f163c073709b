//! The intake: where "a workflow has started" is heard, and how it is read.
//!
//! Every source reads into the same [`StartEvent`](crate::core::event::StartEvent)s and hands them to the loop over
//! one bounded channel; when the loop has no room, the channel fills and the source waits.

pub mod carrier;
#[cfg(feature = "redis")]
pub mod connecting;
pub mod discovery;
mod document;
pub mod entries;
#[cfg(feature = "admin")]
pub mod http;
pub mod lines;
mod list;
mod malformed_log;
pub mod message;
pub mod posted;
#[cfg(feature = "redis")]
pub mod redis;
pub mod source_state;
#[cfg(feature = "redis")]
pub mod stream;

pub use malformed_log::malformed;
