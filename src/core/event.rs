//! Start events: the messages that a workflow has started.

use super::ids::TraceContext;
use super::time::Wall;

/// A workflow has started.
#[derive(Clone, Debug, PartialEq)]
pub struct StartEvent {
    /// The monitor that watches this workflow: an index into the configured monitors.
    pub monitor: u16,
    /// The workflow's id as its API knows it, 1 to [`WORKFLOW_ID_BYTES_MAX`](super::limits::WORKFLOW_ID_BYTES_MAX)
    /// bytes.
    pub workflow_id: Box<str>,
    /// The submission time, if the event has one.
    pub submitted_at: Option<Wall>,
    /// The attempt at the run, if the event has one.
    pub attempt: Option<u32>,
    /// The submitter's trace context.
    pub parent: Option<Box<TraceContext>>,
    /// What decides whether the workflow is sampled.
    pub sampling: Sampling,
    /// Further attributes of the workflow's span.
    pub attributes: Attributes,
    /// Where it comes from.
    pub origin: Origin,
    /// The stream entry to acknowledge when all spans of the workflow are delivered. `None`: the source needs no
    /// acknowledgement.
    pub source: Option<Box<str>>,
}

impl StartEvent {
    /// The event that has only an id.
    pub fn new(monitor: u16, workflow_id: &str) -> StartEvent {
        StartEvent {
            monitor,
            workflow_id: workflow_id.into(),
            submitted_at: None,
            attempt: None,
            parent: None,
            sampling: Sampling::default(),
            attributes: Box::default(),
            origin: Origin::default(),
            source: None,
        }
    }
}

/// The kinds of sources of start events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// A pub/sub channel of Redis.
    Channel,
    /// A stream of Redis.
    Stream,
    /// `POST /api/workflows`.
    Http,
    /// Standard input.
    Stdin,
    /// A list of runs.
    Discovery,
    /// The program that embeds farspan.
    Program,
    /// The command line.
    #[default]
    Command,
}

impl Origin {
    /// All of them, in the order of their counts.
    pub const ALL: [Origin; 7] = [
        Origin::Channel,
        Origin::Stream,
        Origin::Http,
        Origin::Stdin,
        Origin::Discovery,
        Origin::Program,
        Origin::Command,
    ];

    /// The word for labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Channel => "channel",
            Origin::Stream => "stream",
            Origin::Http => "http",
            Origin::Stdin => "stdin",
            Origin::Discovery => "discovery",
            Origin::Program => "program",
            Origin::Command => "command",
        }
    }
}

/// What a start event says about sampling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sampling {
    /// The sampled flag of the parent decides; without a parent the sampler does.
    #[default]
    AsParent,
    /// The sampler decides, even if there is a parent.
    Undecided,
    /// The workflow is not sampled.
    Dropped,
}

/// Attributes in their final form.
pub type Attributes = Box<[(Box<str>, Value)]>;

/// A scalar attribute value, as OpenTelemetry knows them.
/// <https://opentelemetry.io/docs/specs/otel/common/#attribute>
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Str(Box<str>),
    /// A whole number.
    Int(i64),
    /// A number with a fraction. Never NaN or infinite where it came from JSON.
    Float(f64),
    /// A truth value.
    Bool(bool),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Str(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Str(text.into())
    }
}
