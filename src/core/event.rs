//! What the core is told when a workflow has started.

use super::ids::TraceContext;
use super::time::Wall;

/// "A workflow has started", whoever said so.
#[derive(Clone, Debug, PartialEq)]
pub struct StartEvent {
    /// The monitor that watches this workflow: an index into the configured monitors.
    pub monitor: u16,
    /// The workflow's id as its API knows it, 1 to [`WORKFLOW_ID_BYTES_MAX`](super::limits::WORKFLOW_ID_BYTES_MAX)
    /// bytes.
    pub workflow_id: Box<str>,
    /// When the workflow was submitted, where the event says so.
    pub submitted_at: Option<Wall>,
    /// Which attempt at the run this is, where the event says so.
    pub attempt: Option<u32>,
    /// The submitter's trace context.
    pub parent: Option<Box<TraceContext>>,
    /// Who decides whether the workflow is recorded.
    pub sampling: Sampling,
    /// What the submitter wants to see on the workflow's span.
    pub attributes: Attributes,
    /// What to acknowledge where the event came from, once all of the workflow's spans are delivered: a stream entry's
    /// id. `None`: the source keeps nothing.
    pub source: Option<Box<str>>,
}

/// What a submitter says about sampling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sampling {
    /// What the parent's sampled flag says; without a parent nothing.
    #[default]
    AsParent,
    /// Nothing, though there may be a parent: whoever reads it decides.
    Undecided,
    /// That it is not to be recorded, be there a parent or not.
    Dropped,
}

/// Attributes that do not change any more.
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
