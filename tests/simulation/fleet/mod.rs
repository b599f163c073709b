//! Several cores in a world made up from a seed: one Redis, one collector, one API, and everything that happens to a
//! fleet. Each instance is a core with its side of the store and of the stream as they are in `src`; Redis is what the
//! scripts make of it.
//!
//! Safety, at every step: a span id has one content at the collector; what is exported is stored, and stored as its
//! sender's. Liveness, when the faults are over: every workflow that was accepted is one whole trace, nothing is
//! pending, and no expired owner owns a run.

mod instance;
mod member;
mod reader;
mod redis;
mod scenario;
mod tally;
mod wire;
mod world;

pub use scenario::FleetScenario;
pub use tally::FleetTally;
pub use world::run;
