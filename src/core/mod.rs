//! The pure core: every decision farspan takes, and nothing else.
//!
//! Pure: no clock, no I/O, no channels, no threads, no serde. Time comes in as an argument, trouble comes in as an
//! [`Input`], what is to be done goes out as an [`Action`]; nothing here fails, blocks or looks anything up.

pub mod event;
pub mod ids;
pub mod limits;
pub mod sampler;
pub mod snapshot;
pub mod span;
pub mod time;
