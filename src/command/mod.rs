//! The commands that stand above the loop: `check`, `probe` and `trace`.

pub mod check;
pub mod probe;
pub mod trace;
