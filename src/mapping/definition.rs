//! What a monitor says about its API, as plain values: where to ask, and where in the answers to find what.
//!
//! [`Mapping::compile`](super::Mapping::compile) makes a mapping of it and finds the mistakes that take more than one
//! value to see. What a single text holds (a pointer, a template) is parsed before, by the reader of the text.

use super::refusals::Refusals;
use super::template::{BodyTemplate, IdPattern, Template};
use farspan_core::snapshot::{Outcome, State};
use farspan_syntax::pointer::Pointer;

/// One monitor's API.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definition {
    /// What an id is made of, so that templates can name its parts: `{dag_id}/{dag_run_id}`.
    pub id: Option<IdPattern>,
    /// Whether the values in a request's path may have slashes, ids and stage keys alike. They never have segments `..`.
    pub slashes_in_ids: bool,
    /// What to ask for the workflow itself.
    pub request: Request,
    /// What else to ask, by name.
    pub requests: Vec<(Box<str>, Request)>,
    /// How the API refuses, beside the statuses of HTTP.
    pub refusals: Refusals,
    /// The workflow's own fields, in the answer to [`request`](Self::request).
    pub workflow: WorkflowFields,
    /// The lists of stages.
    pub stages: Vec<StageList>,
    /// What the API's words for a status mean; upper and lower case are one. Where a status is absent, the work is
    /// pending.
    pub statuses: Vec<(Box<str>, Meaning)>,
    /// What some of these words are called where people read them: an API's `0` says nothing to them.
    pub status_names: Vec<(Box<str>, Box<str>)>,
    /// What a word means that is not among them.
    pub unknown_status: UnknownStatus,
    /// Texts that stand where there is no value, such as `None`. They hold for all texts but statuses and times.
    pub unset_texts: Vec<Box<str>>,
    /// How times are written.
    pub times: Times,
}

impl Definition {
    /// Whether no id can stand in a path as a whole.
    pub(super) fn id_always_has_a_slash(&self) -> bool {
        let example = self.id.as_ref().map(IdPattern::example);
        !self.slashes_in_ids && example.is_some_and(|example| example.contains('/'))
    }

    /// The default shape: the original's API.
    pub fn original() -> Self {
        let at = |key: &str| vec![Pointer::of(&[key])];
        let fields = |level: &str| Fields {
            id: at(&format!("{level}Id")),
            status: at(&format!("{level}Status")),
            start: at(&format!("{level}StartTime")),
            end: at(&format!("{level}EndTime")),
            error: at(&format!("{level}ErrorMessage")),
            complete: at("isComplete"),
            ..Fields::default()
        };
        let statuses = [
            ("Null", Meaning::Unset),
            ("Initializing", Meaning::State(State::Running)),
            ("Processing", Meaning::State(State::Running)),
            ("Completed", Meaning::State(State::Ended(Outcome::Success))),
            ("Failed", Meaning::State(State::Ended(Outcome::Failure))),
        ];
        Definition {
            request: Request {
                // A test renders it.
                path: Template::parse("/workflows/{id}").unwrap_or_default(),
                ..Request::default()
            },
            workflow: WorkflowFields {
                root: Pointer::default(),
                fields: fields("workflow"),
                ..WorkflowFields::default()
            },
            stages: vec![StageList {
                list: Pointer::of(&["workflowEntities"]),
                kind: at("entityType"),
                fields: fields("entity"),
                ..StageList::default()
            }],
            statuses: statuses
                .map(|(word, meaning)| (word.into(), meaning))
                .into(),
            ..Definition::default()
        }
    }
}

/// One request of a poll.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// How to ask.
    pub method: Method,
    /// Behind the base URL: path and query.
    pub path: Template,
    /// What to send.
    pub body: Option<BodyTemplate>,
    /// How to ask for the rest of a long answer.
    pub pages: Option<Pages>,
    /// Asked once for each element of the list of this name; its fields are variables of the templates:
    /// `{stage.key}`, `{stage.key.0}` for the first of several pointers, `{stage.id}`, `{stage.name}`,
    /// `{stage.attempt}`.
    pub for_each: Option<Box<str>>,
    /// Only for those elements whose attempt is above this.
    pub when_attempt_above: Option<u32>,
}

/// An HTTP method that asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    #[default]
    Get,
    /// `POST`, of APIs that are queried that way.
    Post,
}

/// How a long answer goes on.
#[derive(Clone, Debug, PartialEq)]
pub enum Pages {
    /// By how many elements to leave out.
    Offset {
        /// The parameter for them.
        offset: Box<str>,
        /// The parameter for the size of a page.
        limit: Box<str>,
        /// Elements of a page.
        size: u32,
        /// Where the answer says how many there are. Without it a page that is not full is the last.
        total: Option<Pointer>,
    },
    /// By the number of the page.
    Page {
        /// The parameter for it.
        page: Box<str>,
        /// The parameter for the size of a page.
        limit: Box<str>,
        /// Elements of a page.
        size: u32,
        /// The number of the first page.
        first: u32,
        /// Where the answer says how many elements there are.
        total: Option<Pointer>,
    },
    /// By a text of the answer before.
    Cursor {
        /// The parameter for it.
        param: Box<str>,
        /// Where the answer has it; none, null or empty on the last page.
        next: Pointer,
    },
    /// By `Link: <...>; rel="next"`.
    Link,
}

/// Where one thing is to be found: pointers in order of preference. The first counts that leads to something which is
/// neither null nor unset. None at all: the API does not say.
pub type Pointers = Vec<Pointer>;

/// What a workflow and a stage have in common.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields {
    /// The API's id for it.
    pub id: Pointers,
    /// The word for how far it is.
    pub status: Pointers,
    /// When it was queued.
    pub queued: Pointers,
    /// When it started.
    pub start: Pointers,
    /// When it ended.
    pub end: Pointers,
    /// What went wrong, in the API's words.
    pub error: Pointers,
    /// Which attempt at it this is.
    pub attempt: Pointers,
    /// The number that the API gives to the first attempt; 1 where this is `None`. Below it counts as the first.
    pub first_attempt: Option<u32>,
    /// A page for people about it.
    pub url: Pointers,
    /// `true` once it is complete, for APIs whose status does not say how: failed where there is an error text.
    pub complete: Pointers,
    /// What else is to stand on its span, by the attribute's name.
    pub attributes: Vec<(Box<str>, Pointers)>,
}

/// The workflow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkflowFields {
    /// Where in the answer it is; its fields' pointers begin there.
    pub root: Pointer,
    /// Its fields.
    pub fields: Fields,
    /// Whether it starts with the first of its stages; its own start counts where no stage has one.
    pub starts_with_stages: bool,
    /// Whether it ends with the last of its stages; its own end counts where no stage has one.
    pub ends_with_stages: bool,
}

/// A list of stages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageList {
    /// What others call the list.
    pub name: Option<Box<str>>,
    /// The request whose answer has it, by name; the main one where this is `None`. Of a list within a list's elements:
    /// the same answer where this is `None`, else a request for each element of the outer list.
    pub from: Option<Box<str>>,
    /// Where it is: an array of objects, or an object of them.
    pub list: Pointer,
    /// What names the span; else the key in the object, else [`key`](Self::key).
    pub kind: Pointers,
    /// What tells a stage from its siblings, each part behind the other; else the key in the object, else the id.
    pub key: Vec<Pointer>,
    /// Its fields.
    pub fields: Fields,
    /// No stage is an element that has one of these values there.
    pub except: Vec<(Pointer, Vec<Box<str>>)>,
    /// Elements with one key and no attempt are attempts in the order of this: a time, a number or a text.
    pub number_attempts_by: Pointers,
    /// Where an element names its parent.
    pub parent: Option<ParentLink>,
    /// Where an element names its children.
    pub children: Option<ChildLinks>,
    /// Lists within each element.
    pub stages: Vec<StageList>,
}

/// Where an element names its parent.
#[derive(Clone, Debug, PartialEq)]
pub struct ParentLink {
    /// Leads to the parent's key.
    pub key: Pointers,
    /// The list that the parent is in, by name; this one where it is `None`.
    pub list: Option<Box<str>>,
}

/// Where an element names its children.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildLinks {
    /// The list that they are in, by name.
    pub list: Box<str>,
    /// Leads to an array of their keys.
    pub ids: Pointer,
}

/// What a word for a status means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// How far it is.
    State(State),
    /// As if there were none.
    Unset,
}

/// What becomes of a word that the table does not have. Either way it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownStatus {
    /// It means this.
    Means(State),
    /// As if there were none: the next pointer counts.
    Unset,
    /// The answer is refused.
    Refused,
}

impl Default for UnknownStatus {
    fn default() -> Self {
        UnknownStatus::Means(State::Running)
    }
}

/// How an API writes times.
#[derive(Clone, Debug, PartialEq)]
pub struct Times {
    /// What a time looks like.
    pub format: TimeFormat,
    /// What stands where there is no time yet, beside null, an empty text and .NET's `0001-01-01`.
    pub unset: Vec<UnsetTime>,
    /// Seconds east of UTC of a time that is written without an offset.
    pub offset_s: i32,
}

impl Times {
    /// Whether they are counts since 1970 and nothing else.
    pub fn are_numbers(&self) -> bool {
        !matches!(self.format, TimeFormat::Auto | TimeFormat::Rfc3339)
    }
}

impl Default for Times {
    fn default() -> Self {
        let texts = ["1969-12-31", "1970-01-01T00:00:00"];
        let texts = texts.map(|text| UnsetTime::Text(text.into()));
        Times {
            format: TimeFormat::Auto,
            unset: [0, -1]
                .map(UnsetTime::Number)
                .into_iter()
                .chain(texts)
                .collect(),
            offset_s: 0,
        }
    }
}

/// What a time looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeFormat {
    /// A text as for `Rfc3339`; of a number its size tells the unit.
    #[default]
    Auto,
    /// `2024-07-05T06:57:51.0737407Z`, with any offset, none, or `GMT`. Also RFC 1123 and ISO 8601's basic format.
    Rfc3339,
    /// Seconds since 1970, whole or with a fraction.
    EpochSeconds,
    /// Milliseconds since 1970.
    EpochMillis,
    /// Microseconds since 1970.
    EpochMicros,
    /// Nanoseconds since 1970.
    EpochNanos,
}

/// A value that stands for no time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnsetTime {
    /// This number, also as a text.
    Number(i64),
    /// Any text that begins so.
    Text(Box<str>),
}
