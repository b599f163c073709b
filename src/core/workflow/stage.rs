//! One attempt at a stage: what is kept of it from its first answer to its span.

use super::Naming;
use super::observed::{Observed, Reported};
use super::record::Unknown;
use super::spans::{Ending, Run};
use crate::outcome::{Abandoned, Outcome};
use crate::snapshot::State;
use crate::time::Wall;
use std::sync::Arc;

/// One attempt at a stage. It is small while it waits and when it is finished, as most stages of most workflows are.
#[derive(Clone, Debug, Default)]
pub(super) struct Stage {
    pub(super) path: Arc<str>,
    pub(super) attempt: u32,
    pub(super) fate: Fate,
    /// Whether it is finished, has failed, and was part of the workflow itself.
    pub(super) failed: bool,
    /// From the first answer that says something about it to its end.
    pub(super) open: Option<Box<OpenStage>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its span, if it gets one, is not finished.
    #[default]
    Unfinished,
    /// It has a span.
    Finished,
    /// It gets no span.
    LeftOut,
}

#[derive(Clone, Debug, Default)]
pub(super) struct OpenStage {
    /// The stage's type, if it is not the path.
    pub(super) kind: Option<Arc<str>>,
    pub(super) id: Option<Box<str>>,
    pub(super) observed: Observed,
    /// Whether an answer has said something about it. Children and other attempts open a stage before that.
    pub(super) heard: bool,
    /// Whether the present answer names it. A flag, because an answer may name it several times.
    pub(super) answered: bool,
    /// Answers since it ended in which its times were missing, or something within it went on.
    pub(super) settling: u8,
    pub(super) extra: Option<Box<StageExtra>>,
}

/// What few stages have.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct StageExtra {
    /// The index of the stage that it is part of, which is open.
    pub(super) parent: Option<u32>,
    /// The index of the attempt before.
    pub(super) previous: Option<u32>,
    /// Its latest possible end, known from a later attempt.
    pub(super) superseded: Option<Wall>,
    /// Whether a finished span refers to its span, so that it must get one.
    pub(super) promised: bool,
    /// Earliest start and latest end of the spans within it that are finished.
    pub(super) within: Option<(Wall, Wall)>,
    pub(super) reported: Reported,
    pub(super) unknown: Unknown,
}

impl Stage {
    pub(super) fn is_finished(&self) -> bool {
        self.fate != Fate::Unfinished
    }

    /// The index of the stage that it is part of.
    pub(super) fn parent(&self) -> Option<usize> {
        let parent = self.open.as_ref()?.extra.as_ref()?.parent?;
        Some(parent as usize)
    }

    pub(super) fn extra(&self) -> Option<&StageExtra> {
        self.open.as_ref()?.extra.as_deref()
    }

    pub(super) fn extra_mut(&mut self) -> &mut StageExtra {
        let open = self.open.get_or_insert_default();
        open.extra.get_or_insert_default()
    }

    /// Keeps its path and attempt and returns the rest.
    pub(super) fn finish(&mut self, fate: Fate) -> Option<OpenStage> {
        self.fate = fate;
        self.open.take().map(|open| *open)
    }
}

impl OpenStage {
    /// Whether it belongs in the trace: it ran, or a finished span refers to it.
    pub(super) fn takes_part(&self) -> bool {
        self.observed.has_run() || self.is_promised()
    }

    /// Whether it gets a span in any case.
    pub(super) fn is_bound(&self, naming: &Naming) -> bool {
        let is_skipped = self.observed.state == State::Ended(Outcome::Skip);
        if is_skipped && !naming.skipped {
            self.is_promised()
        } else {
            self.takes_part()
        }
    }

    pub(super) fn is_promised(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.promised)
    }

    pub(super) fn superseded(&self) -> Option<Wall> {
        self.extra.as_ref()?.superseded
    }

    /// How a stage ended: as it was seen to, or else at `end`. `None`: it gets no span.
    pub(super) fn ending(&self, end: Wall, why: Option<Abandoned>, run: Run<'_>) -> Option<Ending> {
        let (naming, observed) = (run.naming, &self.observed);
        let message = observed.error();
        match (observed.state, self.superseded()) {
            (State::Ended(Outcome::Skip), _) if !naming.skipped && !self.is_promised() => None,
            (State::Ended(outcome), superseded) => {
                let seen_at = (observed.ended_seen.or(superseded)).unwrap_or(run.received_at);
                let seen_end = observed.best_end(seen_at);
                let end = observed.skipped_at(seen_end).unwrap_or(seen_end);
                let message = message.unwrap_or_default();
                Some(Ending::new(
                    end,
                    outcome,
                    message,
                    observed.status(),
                    naming,
                ))
            }
            _ if !self.takes_part() => None,
            (_, Some(superseded)) => {
                let why = Abandoned::Superseded;
                let end = observed.best_end(superseded);
                Some(Ending::new(
                    end,
                    Outcome::Failure,
                    why.message(),
                    why.error_type(),
                    naming,
                ))
            }
            (_, None) => Some(Ending {
                incomplete: why != Some(Abandoned::TimedOut),
                ..Ending::open(end, why)
            }),
        }
    }
}
