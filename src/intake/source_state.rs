//! Whether a source hears start events.

use std::sync::Arc;

/// The state of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceState {
    /// What the log calls the source, such as `channel event.workflow.started`.
    pub source: Arc<str>,
    /// Why it hears nothing now; `None`: it hears.
    pub trouble: Option<Box<str>>,
}
