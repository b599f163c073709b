//! Oddities: what an answer has that the mapping did not understand and went on without.

use super::template::Unfilled;
use farspan_core::limits;
use farspan_core::limits::cut;
use farspan_syntax::mistake::Path;
use std::fmt;

/// Something in an answer that the mapping did not understand and went on without.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Oddity {
    /// The request whose answer it is in. Empty: the main one, or none alone.
    pub request: Box<str>,
    /// The pointer that led there. Empty: the answer itself.
    pub pointer: Box<str>,
    /// The key that has this pointer, where it is about one.
    pub place: Option<Path>,
    /// What was not understood.
    pub kind: OddityKind,
}

/// What was not understood about a value, a stage, or all stages. Texts from the answer are cut.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OddityKind {
    /// A text, of which U+FFFD stands in the place of what is no character.
    NotUnicode(Box<str>),
    /// A number that is too large, or `NaN`.
    NotHeld,
    /// An array or an object in the place of a single value.
    NotSingle {
        /// Which of the two.
        found: &'static str,
        /// What it should be.
        wanted: &'static str,
        /// What may be meant.
        hint: Box<str>,
    },
    /// Neither true nor false.
    NotBoolean,
    /// This is not a whole number.
    NotWhole(Box<str>),
    /// This is not a time.
    NotTime {
        /// The value.
        found: Box<str>,
        /// The format by which it would be a likely time.
        meant: Option<&'static str>,
    },
    /// This is a time when no workflow was running.
    UnlikelyTime {
        /// Its year.
        year: Box<str>,
        /// The value.
        found: Box<str>,
        /// The format by which it would be a likely time.
        meant: Option<&'static str>,
    },
    /// A status that the monitor's statuses do not have.
    UnknownStatus(Box<str>),
    /// A single value in the place of a list.
    NotList,
    /// An element of a list that is neither an object nor null.
    NotStage,
    /// An element of a list without a key and an id.
    NoKey,
    /// More stages than this.
    TooManyStages(usize),
    /// Two stages of one answer have this key.
    DuplicateKey(Box<str>),
    /// A stage names this parent, which is not there.
    LostParent(Box<str>),
    /// A stage names a child that is not there.
    LostChild {
        /// The child's key.
        id: Box<str>,
        /// The list that should have it, for people.
        children: Box<str>,
    },
    /// Stages that are their own ancestors.
    Circle,
    /// Pointers that lead nowhere.
    Nowhere {
        /// How many pointers.
        count: usize,
        /// What the answer has instead.
        there: Box<str>,
    },
    /// A request for each element, of which only the first ones were made.
    TooManyRequests {
        /// The request's name.
        name: Box<str>,
        /// How many were made.
        made: usize,
        /// How many elements there are.
        elements: usize,
    },
    /// A request that was not made for an element, because of its fields.
    NotRequested {
        /// The request's name.
        name: Box<str>,
        /// Which field, and why.
        why: Unfilled,
    },
    /// HTTP 404 to the request of this name: there is nothing yet.
    NotFound(Box<str>),
    /// A link to the next page on another host. Its path was requested from the host that was asked.
    LinkElsewhere {
        /// The key of the request.
        request: Box<str>,
        /// Scheme, host and port in the link.
        host: Box<str>,
    },
    /// More pages than were requested.
    TooManyPages {
        /// The key of the request.
        request: Box<str>,
        /// How many were requested.
        made: usize,
    },
}

impl Oddity {
    /// About no answer alone.
    pub fn of_all(kind: OddityKind) -> Oddity {
        Oddity {
            request: "".into(),
            pointer: "".into(),
            place: None,
            kind,
        }
    }

    /// For the log, cut to a bound.
    pub fn text(&self) -> Box<str> {
        cut(&self.to_string(), 3 * limits::NAME_BYTES_MAX).into()
    }
}

/// What was found, with its pointer, and the key that has the pointer.
impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.request.is_empty() {
            write!(f, "{}: ", self.request)?;
        }
        self.write_kind(f)?;
        if let OddityKind::NotTime {
            meant: Some(meant), ..
        }
        | OddityKind::UnlikelyTime {
            meant: Some(meant), ..
        } = &self.kind
        {
            write!(f, "; is {meant} meant?")?;
        }
        match &self.place {
            Some(place) => write!(f, " ({place})"),
            None => Ok(()),
        }
    }
}

impl Oddity {
    // One arm for each kind, however many there are.
    fn write_kind(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pointer = named(&self.pointer);
        match &self.kind {
            OddityKind::NotUnicode(text) => write!(
                f,
                "{pointer} is not all Unicode, U+FFFD stands for the rest: {text:?}"
            ),
            OddityKind::NotHeld => {
                write!(f, "{pointer} is not a number that can be held; left out")
            }
            OddityKind::NotSingle {
                found,
                wanted,
                hint,
            } => write!(f, "{pointer} is {found}, not {wanted}{hint}"),
            OddityKind::NotBoolean => write!(f, "{pointer} is neither true nor false"),
            OddityKind::NotWhole(found) => write!(f, "{pointer} is not a whole number: {found:?}"),
            OddityKind::NotTime { found, .. } => write!(f, "{pointer} is not a time: {found:?}"),
            OddityKind::UnlikelyTime { year, found, .. } => {
                write!(f, "{pointer} is a time in {year}: {found:?}")
            }
            OddityKind::UnknownStatus(word) => write!(f, "{pointer}: unknown status {word:?}"),
            OddityKind::NotList => write!(f, "{pointer} is neither an array nor an object"),
            OddityKind::NotStage => {
                write!(
                    f,
                    "what is in {pointer} is neither an object nor null: an element has to be an object with the fields of a stage"
                )
            }
            OddityKind::NoKey => write!(f, "what is in {pointer} has no key and no id; left out"),
            OddityKind::TooManyStages(most) => {
                write!(
                    f,
                    "more than {most} stages: only the first {most} are watched"
                )
            }
            OddityKind::DuplicateKey(key) => {
                write!(
                    f,
                    "two stages in {pointer} have the key {key:?}; one is left out"
                )
            }
            OddityKind::LostParent(key) => write!(
                f,
                "a stage in {pointer} names the parent {key:?}, which is not there"
            ),
            OddityKind::LostChild { id, children } => {
                write!(f, "{pointer} has {id:?}, which is no key in {children}")
            }
            OddityKind::Circle => {
                f.write_str("stages are their own ancestors; some of them have no parent now")
            }
            OddityKind::Nowhere { count: 1, there } => {
                write!(f, "{pointer} leads nowhere; {there}")
            }
            OddityKind::Nowhere { there, .. } => write!(f, "{pointer} lead nowhere; {there}"),
            OddityKind::TooManyRequests {
                name,
                made,
                elements,
            } => write!(f, "requests.{name}: only the first {made} of {elements}"),
            OddityKind::NotRequested { name, why } => {
                write!(f, "requests.{name}: not made for an element: {why}")
            }
            OddityKind::NotFound(name) => {
                write!(
                    f,
                    "requests.{name}: HTTP 404, which counts as nothing there yet"
                )
            }
            OddityKind::LinkElsewhere { request, host } => write!(
                f,
                "{request}: the next page is on {host}; its path is followed on the host of api.base_url"
            ),
            OddityKind::TooManyPages { request, made } => {
                write!(f, "{request}: more than {made} pages, the rest is left out")
            }
        }
    }
}

/// A pointer for people.
pub(super) fn named(pointer: &str) -> &str {
    if pointer.is_empty() {
        "the answer"
    } else {
        pointer
    }
}
