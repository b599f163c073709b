//! Looks at runs: copies for viewers, made at the moment of the question.

use super::{
    ChangedRuns, Held, LastPoll, MonitorState, NextPoll, Overview, PollResult, RunDetail, RunState,
    RunSummary, Waits,
};
use crate::ids::{RunKey, TraceId};
use crate::snapshot::State;
use crate::time::{Mono, Now, Wall};
use crate::watch::{Phase, Watch};
use crate::workflow::Glance;
use crate::{Core, limits};

/// Which run is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunQuestion {
    /// Its key, if the text is one.
    pub run: Option<RunKey>,
    /// Its trace, if the text is a trace id.
    pub trace: Option<TraceId>,
    /// Its workflow id.
    pub workflow_id: Box<str>,
    /// The index of its monitor, if it was named.
    pub monitor: Option<u16>,
}

impl Core {
    /// What is the same for all runs now.
    pub fn overview(&self, now: Now) -> Overview {
        let refused: Vec<u16> = self.monitors_refused().collect();
        let monitors = (0..self.settings.monitors.len() as u16).map(|monitor| MonitorState {
            paused_until: (self.hosts.paused_until(monitor))
                .filter(|until| now.mono < *until)
                .map(|until| wall_of(until, now)),
            refuses_credentials: refused.contains(&monitor),
        });
        Overview {
            version: self.views.version,
            live: self.table.len(),
            ended: self.views.kept.len(),
            held: self.held(),
            monitors: monitors.collect(),
        }
    }

    /// The run that is meant: of several the live one, else the one that ended last.
    pub fn look_at(&self, question: &RunQuestion, now: Now) -> Option<RunDetail> {
        let run = self.find(question)?;
        let summary = self.summary_of(run, now)?;
        let kept = &self.views.kept;
        let finished = kept.spans(run).to_vec();
        let Some(watch) = self
            .table
            .slot_of(run)
            .and_then(|slot| self.table.get(slot))
        else {
            return Some(RunDetail {
                summary,
                finished,
                has_all_spans: kept.has_all_spans(run),
                stages: kept.left_out(run).to_vec(),
                left_out: 0,
                events: Vec::new(),
                attributes: Vec::new(),
            });
        };
        let naming = &self.monitor(watch.monitor).naming;
        let look = (watch.workflow).look(naming, watch.has_all_spans, limits::VIEW_STAGES_MAX);
        Some(RunDetail {
            summary,
            finished,
            has_all_spans: watch.has_all_spans,
            stages: look.stages,
            left_out: look.left_out,
            events: look.events,
            attributes: look.attributes,
        })
    }

    /// What has changed since a version.
    pub fn changed_runs(&self, since: u64, now: Now) -> ChangedRuns {
        let views = &self.views;
        let mut answer = ChangedRuns {
            overview: self.overview(now),
            reset: true,
            runs: Vec::new(),
            gone: Vec::new(),
        };
        let known = views.first_version.max(views.gone_forgotten)..=views.version;
        if !known.contains(&since) {
            return answer;
        }
        let walked = views.order.since(since).take(limits::VIEW_CHANGES_MAX + 1);
        let live =
            walked.filter_map(|(version, slot)| Some((version, self.table.get(slot)?.run())));
        let mut changes: Vec<(u64, RunKey)> = live.collect();
        if changes.len() > limits::VIEW_CHANGES_MAX {
            return answer;
        }
        answer.reset = false;
        changes.extend(views.kept.since(since).take(limits::VIEW_RUNS_MAX));
        changes.sort_unstable();
        let (mut bytes, mut stages) = (0, 0);
        let mut left = changes.into_iter().peekable();
        while let Some((version, run)) = left.next() {
            let Some(summary) = self.summary_of(run, now) else {
                continue;
            };
            bytes += summary.bytes();
            stages += summary.stages.total();
            answer.runs.push(summary);
            let is_full = answer.runs.len() == limits::VIEW_RUNS_MAX
                || bytes > limits::VIEW_COPY_BYTES_MAX
                || stages > limits::VIEW_STAGES_COUNTED_MAX;
            if is_full && left.peek().is_some() {
                answer.overview.version = version;
                break;
            }
        }
        let until = answer.overview.version;
        let gone = views.gone.iter();
        let gone = gone.filter(|(version, _)| (since + 1..=until).contains(version));
        let is_gone =
            |run: &RunKey| self.table.slot_of(*run).is_none() && views.kept.get(*run).is_none();
        answer.gone = gone.map(|(_, run)| *run).filter(is_gone).collect();
        answer
    }

    /// The version of the last change.
    pub fn view_version(&self) -> u64 {
        self.views.version
    }

    /// A run in short.
    pub(super) fn summary_of(&self, run: RunKey, now: Now) -> Option<RunSummary> {
        let Some(slot) = self.table.slot_of(run) else {
            return self.views.kept.get(run).cloned();
        };
        let watch = self.table.get(slot)?;
        let mut summary = self.summary(watch, run);
        summary.next_poll = Some(NextPoll {
            at: wall_of(watch.due(), now),
            why: self.waits(watch, now),
        });
        summary.version = self.views.order.version_of(slot);
        Some(summary)
    }

    /// A run in short, without its next poll.
    pub(crate) fn summary(&self, watch: &Watch, run: RunKey) -> RunSummary {
        let workflow = &watch.workflow;
        let glance = workflow.glance();
        let naming = &self.monitor(watch.monitor).naming;
        RunSummary {
            run,
            workflow_id: workflow.id().clone(),
            monitor: watch.monitor,
            attempt: glance.attempt,
            state: state_of(&glance),
            status: glance.status.into(),
            result: glance.result,
            error: glance.error.map(Into::into),
            received: glance.received,
            queued: glance.queued,
            started: glance.started,
            ended: glance.ended,
            stages: workflow.count_stages(),
            last_poll: watch.last_poll(),
            next_poll: None,
            trace_id: workflow.trace_id(),
            root_span_id: workflow.root_span_id(naming),
            sampled: workflow.is_sampled(),
            exported: false,
            version: 0,
        }
    }

    /// Why no workflow is polled, if none is.
    pub(crate) fn held(&self) -> Option<Held> {
        if self.draining {
            Some(Held::Stopping)
        } else if self.store_troubled {
            Some(Held::StoreTroubled)
        } else if self.polls_held() {
            Some(Held::OutboxFull)
        } else {
            None
        }
    }

    fn find(&self, question: &RunQuestion) -> Option<RunKey> {
        let is_meant = |monitor: u16| question.monitor.is_none_or(|it| it == monitor);
        if let Some(run) = question.run
            && let live = self
                .table
                .slot_of(run)
                .and_then(|slot| self.table.get(slot))
            && let monitor = live.map(|watch| watch.monitor)
            && let Some(monitor) = monitor.or_else(|| Some(self.views.kept.get(run)?.monitor))
            && is_meant(monitor)
        {
            return Some(run);
        }
        let id = &*question.workflow_id;
        let monitors = (0..).zip(&self.settings.monitors);
        let keys = monitors
            .filter(|(index, _)| is_meant(*index))
            .map(|(_, monitor)| RunKey::of(&monitor.naming.monitor, id));
        let mut watches = keys.filter_map(|key| self.table.watch_of(key));
        if let Some(watch) = watches.next() {
            return Some(watch.run());
        }
        let is_it = |run: &&RunSummary| {
            let is_named = *run.workflow_id == *id || Some(run.trace_id) == question.trace;
            is_named && is_meant(run.monitor)
        };
        let live = || {
            let trace = question.trace?;
            let mut watches = self.table.iter().map(|(_, watch)| watch);
            let watch = watches.find(|it| it.workflow.trace_id() == trace && is_meant(it.monitor));
            watch.map(Watch::run)
        };
        let ended = || self.views.kept.latest().find(is_it).map(|run| run.run);
        live().or_else(ended)
    }

    /// Why the next poll of a watch does not go now, or comes later than its pace says.
    fn waits(&self, watch: &Watch, now: Now) -> Option<Waits> {
        if let Some(held) = self.held() {
            return match watch.phase {
                Phase::InFlight { .. } => Some(Waits::UnderWay),
                Phase::Waiting { .. } | Phase::Ready { .. } => Some(Waits::Held(held)),
            };
        }
        let paused_until = self.hosts.paused_until(watch.monitor);
        let is_paused = paused_until.is_some_and(|until| now.mono < until);
        match watch.phase {
            Phase::InFlight { .. } => Some(Waits::UnderWay),
            Phase::Ready { .. } if is_paused => Some(Waits::HostPaused),
            Phase::Ready { .. } if !self.hosts.has_rate(watch.monitor, now.mono) => {
                Some(Waits::Rate)
            }
            Phase::Ready { .. } => Some(Waits::NoPollerFree),
            Phase::Waiting { due, .. } if is_paused && paused_until.is_some_and(|it| it <= due) => {
                Some(Waits::HostPaused)
            }
            Phase::Waiting { .. } if watch.failures > 0 => Some(Waits::Backoff),
            Phase::Waiting { .. } => None,
        }
    }
}

/// The state of a run that is watched, or was until now.
pub(super) fn state_of(glance: &Glance<'_>) -> RunState {
    match glance.state {
        _ if glance.is_over => RunState::Ended,
        State::Pending => RunState::Waiting,
        // Some of its times or stages have to settle.
        State::Running | State::Ended(_) => RunState::Running,
    }
}

/// What our wall clock shows, or has shown, at that time.
pub(super) fn wall_of(at: Mono, now: Now) -> Wall {
    now.wall + at.since(now.mono) - now.mono.since(at)
}

impl Watch {
    /// The last poll that came back.
    fn last_poll(&self) -> Option<LastPoll> {
        (self.polled != PollResult::None).then(|| LastPoll {
            at: self.polled_at,
            result: self.polled,
            error: (self.trouble.as_ref()).map(|failure| failure.detail.clone()),
        })
    }
}
