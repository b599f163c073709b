//! Start events whose sender waits to hear that they are stored.

use crate::core::event::StartEvent;
use crossbeam_channel::{RecvTimeoutError, SendTimeoutError, Sender, bounded};
use std::fmt;
use std::time::Duration;

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

/// Why it is not known that events are stored. They may be sent again: an event that comes twice is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unaccepted {
    /// The loop did not take them in time.
    Busy,
    /// There is no room for more workflows now, or nothing can be stored.
    NoRoom,
    /// They could not be stored in time.
    Late,
    /// farspan is stopping, or has stopped.
    Stopping,
}

impl fmt::Display for Unaccepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unaccepted::Busy => "farspan is too busy",
            Unaccepted::NoRoom => "there is no room for more workflows now",
            Unaccepted::Late => "the events could not be stored in time",
            Unaccepted::Stopping => "farspan is stopping",
        })
    }
}

/// So long a sender waits for the loop to take its events.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);
/// So long it waits to hear that they are stored. A store in trouble is tried again each second.
const STORED_WITHIN: Duration = Duration::from_secs(10);

/// Hands these to the loop, and waits until they are stored.
///
/// # Errors
/// Why that is not known.
pub fn post(to: &Sender<Posted>, events: Vec<StartEvent>) -> Result<(), Unaccepted> {
    let (answer, answered) = bounded(1);
    match to.send_timeout(Posted { events, answer }, TAKEN_WITHIN) {
        Ok(()) => {}
        Err(SendTimeoutError::Timeout(_)) => return Err(Unaccepted::Busy),
        Err(SendTimeoutError::Disconnected(_)) => return Err(Unaccepted::Stopping),
    }
    match answered.recv_timeout(STORED_WITHIN) {
        Ok(Admission::Accepted) => Ok(()),
        Ok(Admission::NoRoom) => Err(Unaccepted::NoRoom),
        Err(RecvTimeoutError::Timeout) => Err(Unaccepted::Late),
        Err(RecvTimeoutError::Disconnected) => Err(Unaccepted::Stopping),
    }
}
