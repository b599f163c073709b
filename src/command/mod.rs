//! The commands that stand above the loop: `check`, `probe`, `trace`, `refused` and `top`.

pub mod check;
mod happening;
#[cfg(feature = "admin")]
pub mod healthcheck;
pub mod init;
mod json;
pub mod probe;
pub mod refused;
#[cfg(feature = "admin")]
pub mod top;
pub mod trace;
