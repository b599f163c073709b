//! How the core counts the runs under watch and what has ended.

use super::metrics::EndedRun;
use super::out::Decisions;
use super::time::{Mono, Now};
use super::watch::Watch;
use super::workflow::{Naming, Workflow};
use super::{Core, Stored};

impl Core {
    /// Goes on with the runs of an expired owner, which the store hands over.
    pub fn take_over(&mut self, claimed: Stored, now: Now) {
        let counters = &mut self.out.counters;
        counters.takeovers += u64::from(claimed.runs().next().is_some());
        counters.runs_taken_over += claimed.workflows.len() as u64;
        self.restore(claimed, now);
    }

    /// Polls that are due and wait for their host or for a poller.
    pub fn polls_waiting(&self) -> usize {
        self.hosts.ready()
    }

    /// The bytes of the spans that the collector has not acknowledged, and since when the first of
    /// them waits.
    pub fn outbox(&self) -> (usize, Option<Mono>) {
        (self.delivery.spans_bytes(), self.delivery.spans_since())
    }

    /// Puts a workflow under watch, where it is counted.
    pub(super) fn insert(&mut self, mut watch: Watch, due: Mono) -> u32 {
        let (monitor, workflow) = (watch.monitor, &watch.workflow);
        let naming = &self.settings.monitors[usize::from(monitor)].naming;
        let name = workflow.pipeline_name(naming);
        watch.counted = Some((self.out.counters.live).enter(monitor, name, workflow.state()));
        self.table.insert(watch, due)
    }

    /// Ends a watch, which is not counted any more.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Box<Watch>> {
        let watch = self.table.remove(slot)?;
        if let Some(counted) = watch.counted {
            self.out.counters.live.leave(counted);
        }
        Some(watch)
    }

    /// The record of a watch may have changed. Whether it has.
    pub(super) fn mark(&mut self, slot: u32) -> bool {
        let watch = self.table.get_mut(slot);
        let has_changed = watch.is_some_and(|watch| watch.workflow.take_changed());
        if has_changed && self.settings.stores {
            self.table.mark(slot);
        }
        has_changed
    }

    /// The answer may have changed the state of a watch, or its name: it is counted as what it is now.
    pub(super) fn count_again(&mut self, slot: u32) {
        let Some(watch) = self.table.get_mut(slot) else {
            return;
        };
        let (monitor, state) = (watch.monitor, watch.workflow.state());
        let naming = &self.settings.monitors[usize::from(monitor)].naming;
        let name = watch.workflow.pipeline_name(naming);
        let live = &mut self.out.counters.live;
        if live.as_counted(monitor, name, state).ok() == watch.counted {
            return;
        }
        if let Some(counted) = watch.counted {
            live.leave(counted);
        }
        watch.counted = Some(live.enter(monitor, name, state));
    }

    pub(super) fn check_live_runs(&self) {
        let live = &self.counters().live;
        assert_eq!(live.total(), self.table.len(), "each watch is counted once");
        for (_, watch) in self.table.iter() {
            let name = (watch.workflow).pipeline_name(&self.monitor(watch.monitor).naming);
            let counted = live.as_counted(watch.monitor, name, watch.workflow.state());
            assert_eq!(counted.ok(), watch.counted, "{}", watch.workflow.id());
        }
    }
}

/// Counts the run and the stages of it that have ended.
pub(super) fn count_ended(
    workflow: &mut Workflow,
    naming: &Naming,
    monitor: u16,
    now: Now,
    out: &mut Decisions,
) {
    let Some(ended) = workflow.take_ended() else {
        return;
    };
    let of = EndedRun {
        monitor,
        workflow: workflow.pipeline_name(naming).into(),
        trace_id: workflow.trace_id(),
    };
    for ended in ended {
        out.counters.count_ended(ended, &of, now.wall);
    }
}
