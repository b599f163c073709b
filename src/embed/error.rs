//! The one error of the face.

use crate::admin::question::Unanswered;
use crate::config::Errors;
use crate::intake::posted::Unaccepted;
use std::fmt;

/// Why a call of a [`Watcher`](crate::Watcher) or of its subscriptions did not do what it should.
///
/// Its text is for a person: it names what is wrong, with the setting and its place where one is, and what to do. A
/// program decides by the [`kind`](Self::kind).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    text: String,
}

/// The kinds of [`Error`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration has mistakes. The text has a line for each, with its place and what would be right.
    Configuration,
    /// A part cannot be started: the state is in use, or the system gives no thread or port.
    Start,
    /// The start event can never be accepted.
    Event,
    /// There is no room for more workflows now (`FARSPAN_WORKFLOWS_MAX`, `FARSPAN_STATE_MAX_BYTES`), or nothing can be
    /// stored. Submit the event again later.
    NoRoom,
    /// The watcher has too much to do to take the call. Try again.
    Busy,
    /// It was not heard in time that the events are stored. They may be: submit them again, an event that comes twice is
    /// one.
    NotStored,
    /// The watcher is stopping or has stopped.
    Stopped,
}

impl Error {
    pub(super) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        let text = text.into();
        Error { kind, text }
    }

    pub(super) fn stopped() -> Self {
        Unaccepted::Stopping.into()
    }

    pub(super) fn panicked() -> Self {
        let text =
            "the thread of the watcher has panicked; what was stored is whole: start it again";
        Error::new(ErrorKind::Stopped, text)
    }

    /// What kind of error it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

impl From<Errors> for Error {
    fn from(mistakes: Errors) -> Self {
        Error::new(ErrorKind::Configuration, mistakes.to_string())
    }
}

impl From<Unaccepted> for Error {
    fn from(why: Unaccepted) -> Self {
        let kind = match why {
            Unaccepted::Busy => ErrorKind::Busy,
            Unaccepted::NoRoom => ErrorKind::NoRoom,
            Unaccepted::Late => ErrorKind::NotStored,
            Unaccepted::Stopping => ErrorKind::Stopped,
        };
        Error::new(kind, why.to_string())
    }
}

impl From<Unanswered> for Error {
    fn from(why: Unanswered) -> Self {
        let kind = match why {
            Unanswered::Busy | Unanswered::Late => ErrorKind::Busy,
            Unanswered::Stopping | Unanswered::TurnedAway => ErrorKind::Stopped,
        };
        Error::new(kind, why.to_string())
    }
}
