//! HTTP/1.1, on both sides: [`client`] has what every outgoing request shares, [`server`] is a small blocking server.

pub mod client;
mod connection;
mod names;
pub mod proxies;
#[cfg(any(feature = "admin", feature = "demo"))]
pub mod server;
mod tcp;
#[cfg(feature = "tls")]
mod tls;
