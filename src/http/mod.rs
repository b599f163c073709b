//! HTTP/1.1, on both sides: [`client`] has what every outgoing request shares, [`server`] is a small blocking server.

pub mod client;
mod names;
#[cfg(any(feature = "admin", feature = "demo"))]
pub mod server;
