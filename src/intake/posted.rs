//! Start events whose sender waits to hear that they are stored.

use crate::core::event::StartEvent;
use crossbeam_channel::Sender;

/// Events that are accepted together or not at all.
#[derive(Debug)]
pub struct Posted {
    /// What was posted.
    pub events: Vec<StartEvent>,
    /// Takes one answer, and is dropped without one when farspan stops before.
    pub answer: Sender<Admission>,
}

/// What became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// They are stored, as far as there is a store: nothing but the end of their workflows takes them away any more.
    Accepted,
    /// There is no room now, or nothing can be stored.
    NoRoom,
}
