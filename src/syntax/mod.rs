//! How people write values for farspan: durations, URLs, JSON objects, JSON Pointers; and where a mistake in them is.
//!
//! Pure: no I/O. Nothing here knows a setting or a monitor's keys.

pub mod json;
pub mod mend;
pub mod mistake;
pub mod pointer;
pub mod text;
pub mod values;
