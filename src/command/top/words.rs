//! What the admin endpoint answers, as far as `top` shows it. Unknown keys are ignored, and an absent one is no mistake.

use crate::core::time::Wall;
use crate::syntax::text::escape;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::time::Duration;

/// A page of `GET /api/workflows`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RunsPage {
    #[serde(deserialize_with = "time")]
    pub(super) now: Option<Wall>,
    pub(super) version: u64,
    pub(super) live: u64,
    pub(super) ended: u64,
    /// Why no workflow is polled at all.
    pub(super) held: Option<String>,
    pub(super) workflows: Vec<Summary>,
    pub(super) next: Option<String>,
}

/// `GET /api/changes`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Changes {
    #[serde(deserialize_with = "time")]
    pub(super) now: Option<Wall>,
    pub(super) version: u64,
    /// The changes since the version asked for are not known: everything has to be listed again.
    pub(super) reset: bool,
    pub(super) live: u64,
    pub(super) ended: u64,
    pub(super) held: Option<String>,
    pub(super) workflows: Vec<Summary>,
    pub(super) gone: Vec<String>,
}

/// One run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Summary {
    /// Its key, as long as farspan remembers it.
    pub(super) run: String,
    pub(super) workflow_id: String,
    pub(super) monitor: String,
    pub(super) name: String,
    pub(super) state: StateWord,
    pub(super) status: Option<String>,
    pub(super) result: Option<String>,
    pub(super) error: Option<String>,
    #[serde(deserialize_with = "time")]
    pub(super) received: Option<Wall>,
    #[serde(deserialize_with = "time")]
    pub(super) queued: Option<Wall>,
    #[serde(deserialize_with = "time")]
    pub(super) started: Option<Wall>,
    #[serde(deserialize_with = "time")]
    pub(super) ended: Option<Wall>,
    pub(super) stages: StageTally,
    pub(super) last_poll: Option<LastPollWords>,
    pub(super) next_poll: Option<NextPollWords>,
    pub(super) trace: TraceOfRun,
}

/// What a run or a stage does.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub(super) enum StateWord {
    Waiting,
    Ended,
    #[default]
    #[serde(other)]
    Running,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct StageTally {
    pub(super) total: u64,
    pub(super) ended: u64,
    pub(super) failed: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LastPollWords {
    #[serde(deserialize_with = "time")]
    pub(super) at: Option<Wall>,
    pub(super) result: String,
    pub(super) error: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NextPollWords {
    #[serde(deserialize_with = "time")]
    pub(super) at: Option<Wall>,
    /// Why it has to wait.
    pub(super) why: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TraceOfRun {
    pub(super) trace_id: String,
    pub(super) root_span_id: String,
    pub(super) sampled: bool,
    pub(super) exported: bool,
    pub(super) url: Option<String>,
}

/// `GET /api/workflows/{run}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Details {
    #[serde(flatten)]
    pub(super) summary: Summary,
    pub(super) spans: Vec<StageDetails>,
    pub(super) events: Vec<Event>,
    pub(super) attributes: BTreeMap<String, serde_json::Value>,
    /// Stages that are not among the spans, because they are too many.
    pub(super) left_out: u64,
}

/// The span of one attempt of a stage, which may not have ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StageDetails {
    pub(super) id: String,
    pub(super) parent: Option<String>,
    pub(super) name: String,
    pub(super) state: StateWord,
    pub(super) status: Option<String>,
    pub(super) result: Option<String>,
    pub(super) attempt: u64,
    #[serde(deserialize_with = "time")]
    pub(super) queued: Option<Wall>,
    #[serde(deserialize_with = "time")]
    pub(super) started: Option<Wall>,
    #[serde(deserialize_with = "time")]
    pub(super) ended: Option<Wall>,
    pub(super) error: Option<String>,
    pub(super) attributes: BTreeMap<String, serde_json::Value>,
    pub(super) events: Vec<Event>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    #[serde(deserialize_with = "time")]
    pub(super) at: Option<Wall>,
    pub(super) name: String,
}

impl LastPollWords {
    /// What went wrong, escaped.
    pub(super) fn trouble(&self) -> Option<String> {
        match (&self.error, self.result.as_str()) {
            (Some(error), _) => Some(escape(error)),
            (None, "ok" | "unchanged" | "") => None,
            (None, result) => Some(escape(&result.replace('_', " "))),
        }
    }
}

impl StateWord {
    /// The state in one word: of what has ended, its result.
    pub(super) fn word(self, result: Option<&str>) -> &str {
        match self {
            StateWord::Waiting => "waiting",
            StateWord::Running => "running",
            StateWord::Ended => result.unwrap_or("ended"),
        }
    }
}

impl Summary {
    /// When it began: its start, else when it was queued, else when farspan heard of it.
    pub(super) fn begun(&self) -> Option<Wall> {
        self.started.or(self.queued).or(self.received)
    }

    /// How long it has run until `now`, or ran in all.
    pub(super) fn duration(&self, now: Wall) -> Option<Duration> {
        let end = match self.state {
            StateWord::Ended => self.ended?,
            _ => now,
        };
        Some(end.since(self.begun()?))
    }
}

/// A time that cannot be read is an unknown one.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Wall>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.and_then(|text| Wall::parse_rfc3339(&text)))
}
