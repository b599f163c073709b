//! Delivery: what leaves farspan. Spans go to the collector, finished events go to their receivers.

pub mod export;
pub mod notify;
pub mod otlp;
