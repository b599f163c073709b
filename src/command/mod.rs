//! The commands that stand above the loop: `check`, `probe`, `trace` and `refused`.

pub mod check;
pub mod probe;
pub mod refused;
pub mod trace;
