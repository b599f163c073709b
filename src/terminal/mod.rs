//! Text for a terminal: spans as they end ([`console`]), a whole trace ([`waterfall`]), the lines of both ([`line`]), and
//! how far a command has come (`progress`).

pub mod console;
pub mod line;
#[cfg(feature = "demo")]
pub(crate) mod progress;
pub mod waterfall;
