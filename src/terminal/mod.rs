//! Text for a terminal: spans as they end ([`console`]), and a whole trace ([`waterfall`]).

pub mod console;
pub mod waterfall;
