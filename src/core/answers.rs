//! Answers that have the workflow's state: whether it is this workflow's, what the API's clock shows, what follows.

use super::api::Polled;
use super::note::{ApiNote, Note};
use super::outcome::Abandoned;
use super::poll_failure::{PollFailure, PollFailureReason};
use super::snapshot::Snapshot;
use super::span::Span;
use super::view::PollResult;
use super::watch::{Silence, Watch};
use super::workflow::{Naming, Verdict, Workflow};
use super::{Answered, Core, limits};
use std::time::Duration;

/// The failure of an answer about another workflow than was asked for: its trace would be wrong, and could not be taken
/// back. Systems write one id with and without braces, hyphens and capitals.
pub fn about_another_workflow(snapshot: &Snapshot, asked: &str) -> Option<PollFailure> {
    let answered = snapshot.workflow_id.as_deref()?;
    let essence = |id: &str| -> Vec<char> {
        let essential = id.chars().filter(|c| c.is_alphanumeric());
        essential.flat_map(char::to_lowercase).collect()
    };
    let same = answered == asked || {
        let essence_asked = essence(asked);
        !essence_asked.is_empty() && essence(answered) == essence_asked
    };
    (!same).then(|| PollFailure {
        reason: PollFailureReason::OtherWorkflow,
        detail: format!("asked after {asked:?}, the answer is about {answered:?}").into(),
        retry_after: None,
    })
}

/// How far the API's clock is ahead of ours, by its `Date` header. The header has whole seconds: a clock that agrees
/// within one second counts as equal.
pub(super) fn skew_ns(polled: &Polled) -> Option<i64> {
    const SECOND_NS: i64 = 1_000_000_000;
    let date = polled.date?.as_unix_ns();
    // Our wall clock may have been set since the request was sent; the other one was not.
    let received = polled.received.wall.as_unix_ns();
    let latency = polled.received.mono.since(polled.sent.mono).as_nanos();
    let latency_ns = i64::try_from(latency).unwrap_or(i64::MAX);
    let least = date.saturating_sub(received);
    let most = least.saturating_add(SECOND_NS).saturating_add(latency_ns);
    if least <= 0 && most >= 0 {
        Some(0)
    } else {
        Some(least / 2 + most / 2)
    }
}

impl Core {
    /// An answer to all requests.
    pub(super) fn take_snapshot(
        &mut self,
        snapshot: Snapshot,
        oddity: Option<Box<str>>,
        answered: Answered,
    ) {
        let Some(watch) = self.table.get_mut(answered.slot) else {
            return;
        };
        if let Some(failure) = about_another_workflow(&snapshot, watch.workflow.id()) {
            return self.take_failure(failure, answered);
        }
        watch.answered();
        self.note_answer(answered.monitor);
        if let Some(what) = oddity {
            self.note_oddity(answered.monitor, what);
        }
        self.observe(snapshot, answered);
    }

    /// The answer of a workflow that has ended, without what a further request brings. That request may be answered the
    /// next time. If it fails for longer, it does not hide the end.
    pub(super) fn take_partial(
        &mut self,
        snapshot: Snapshot,
        failure: PollFailure,
        answered: Answered,
    ) {
        let Some(watch) = self.table.get_mut(answered.slot) else {
            return;
        };
        let is_other = about_another_workflow(&snapshot, watch.workflow.id()).is_some();
        if watch.failures < limits::PARTIAL_ANSWERS_REFUSED || is_other {
            return self.take_failure(failure, answered);
        }
        watch.failures = watch.failures.saturating_add(1);
        self.out.counters.monitor(answered.monitor).failed[failure.reason.index()] += 1;
        let what = format!(
            "{}: the workflow has ended, and its trace is without what this request brings",
            failure.detail
        );
        self.note_oddity(answered.monitor, what.into());
        if let Some(pause) = failure.retry_after {
            self.pause_host(answered.monitor, pause, answered.now);
        }
        self.observe(snapshot, answered);
    }

    /// The API did not know the workflow when it was asked; it may by now.
    pub(super) fn take_not_found(&mut self, answered: Answered) {
        self.note_answer(answered.monitor);
        self.out.counters.monitor(answered.monitor).not_found += 1;
        let Some(watch) = self.table.get_mut(answered.slot) else {
            return;
        };
        watch.polled(PollResult::NotFound, answered.now.wall);
        if watch.not_found(answered.asked) >= limits::NOT_FOUND_TOLERATED {
            let Answered { slot, at, now, .. } = answered;
            self.end_early(slot, Abandoned::NotFound, at, now);
        } else {
            self.poll_again(answered);
        }
    }

    pub(super) fn take_failure(&mut self, failure: PollFailure, answered: Answered) {
        let Answered {
            slot,
            monitor,
            at,
            now,
            ..
        } = answered;
        let reason = failure.reason;
        self.out.counters.monitor(monitor).failed[reason.index()] += 1;
        if self.hosts.failure_is_news(monitor, reason, now.mono) {
            let detail = failure.detail.clone();
            let what = ApiNote::Troubled { reason, detail };
            self.out.note(Note::Api { monitor, what });
        }
        if let Some(pause) = failure.retry_after {
            self.pause_host(monitor, pause, now);
        }
        let settings = &self.settings.monitors[usize::from(monitor)];
        let Some(watch) = self.table.get_mut(slot) else {
            return;
        };
        watch.failed(failure, now.wall);
        let interval = settings.interval_of(&watch.workflow, at);
        if reason == PollFailureReason::Connect
            && watch.workflow.was_seen()
            && let Some(after) = settings.pace.gone_after
        {
            return self.take_refused_connection(after, interval, answered);
        }
        watch.silence = Silence::None;
        let max = limits::BACKOFF_MAX.max(interval);
        // The first failure doubles the interval already, so that half of it taken off is still no less.
        let doubled = interval.saturating_mul(2);
        let pause = self.jitter.pause(doubled, max, watch.failures);
        self.wait_for(slot, pause.max(interval), interval, at, now);
    }

    /// A workflow whose API goes away with it may be going: it is polled at its normal interval. When connections were
    /// refused for long enough, it has ended.
    fn take_refused_connection(&mut self, after: Duration, interval: Duration, answered: Answered) {
        let Answered { slot, at, now, .. } = answered;
        let Some(watch) = self.table.get_mut(slot) else {
            return;
        };
        let lasted = watch.refused(answered.asked);
        if lasted >= after {
            let vanish = |workflow: &mut Workflow, naming: &Naming, spans: &mut Vec<Span>| {
                workflow.vanish(at, naming, spans)
            };
            if let Some(outcome) = self.change_workflow(slot, now, vanish) {
                self.out.counters.workflows_gone += 1;
                self.end(slot, (outcome, None), now);
            }
            return;
        }
        if lasted.is_zero() {
            // From now on its record has to have when it was last seen.
            watch.workflow.touch();
            self.mark(slot);
        }
        self.wait_for(slot, interval.min(after), interval, at, now);
    }

    fn note_oddity(&mut self, monitor: u16, what: Box<str>) {
        if self.hosts.oddity_is_news(monitor, &what) {
            let what = ApiNote::Odd(what);
            self.out.note(Note::Api { monitor, what });
        }
    }

    fn observe(&mut self, snapshot: Snapshot, answered: Answered) {
        let Answered {
            slot, monitor, at, ..
        } = answered;
        if self.is_forgotten(slot, &snapshot) {
            return self.leave_untraced(slot, answered.now);
        }
        let may_vanish = self.monitor(monitor).pace.gone_after.is_some();
        let mut log_records = Vec::new();
        let verdict = self.change_workflow(slot, answered.now, |workflow, naming, spans| {
            if may_vanish {
                workflow.set_answered(at);
            }
            workflow.observe(snapshot, at, naming, spans, &mut log_records)
        });
        if let Some(watch) = self.table.get(slot)
            && !log_records.is_empty()
        {
            let (run, now) = (watch.run(), answered.now.mono);
            (self.delivery).push_log_records(run, &log_records, now, &mut self.out);
        }
        let is_news = self.mark(slot);
        if let Some(watch) = self.table.get_mut(slot) {
            let result = if is_news {
                PollResult::News
            } else {
                PollResult::Unchanged
            };
            watch.polled(result, answered.now.wall);
        }
        if is_news && verdict == Some(Verdict::Watching) {
            self.count_again(slot);
            if let Some(watch) = self.table.get_mut(slot) {
                watch.workflow.share_texts(&mut self.texts);
            }
        }
        match verdict {
            Some(Verdict::Ended(outcome, why)) => self.end(slot, (outcome, why), answered.now),
            Some(Verdict::Watching) | None => self.poll_again(answered),
        }
    }

    /// Whether the first answer about a run says that it began before runs that were traced and forgotten.
    fn is_forgotten(&self, slot: u32, snapshot: &Snapshot) -> bool {
        let is_first = |watch: &Watch| !watch.workflow.was_seen();
        self.table.get(slot).is_some_and(is_first)
            && (snapshot.progress.start).is_some_and(|began| self.may_be_traced(began))
    }
}
