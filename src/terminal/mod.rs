//! Text for a terminal: spans as they end ([`console`]), a whole trace ([`waterfall`]), and the lines of both ([`line`]).

pub mod console;
pub mod line;
pub mod waterfall;
