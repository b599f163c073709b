//! The monitored APIs: how farspan authenticates to them, sends them requests, and polls them.

pub mod credentials;
pub mod exchange;
pub mod poller;
