//! How many runs are under watch now, by monitor, workflow's name and state.

use super::series::OTHER;
use crate::limits;
use crate::snapshot::State;
use std::sync::Arc;

/// See the module. It follows each change: to count all watches for each question would hold the loop.
#[derive(Clone, Debug, Default)]
pub struct LiveRuns {
    all: Vec<LiveRunsOf>,
}

/// The runs of one workflow's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveRunsOf {
    /// The index of the monitor.
    pub monitor: u16,
    /// `cicd.pipeline.name`.
    pub workflow: Arc<str>,
    /// Those that wait for their start, those that run, and those that have ended and whose stages or times settle.
    pub counts: [u32; 3],
}

/// As what a watch is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    place: u16,
    state: u8,
}

impl LiveRuns {
    /// In the order in which they were first seen.
    pub fn iter(&self) -> impl Iterator<Item = &LiveRunsOf> {
        self.all.iter()
    }

    /// Counts a run from now on.
    pub fn enter(&mut self, monitor: u16, workflow: &str, state: State) -> Counted {
        let counted = self.as_counted(monitor, workflow, state);
        let counted = counted.unwrap_or_else(|workflow| {
            self.all.push(LiveRunsOf {
                monitor,
                workflow: workflow.into(),
                counts: [0; 3],
            });
            // `limits` keeps them few.
            let place = u16::try_from(self.all.len() - 1).unwrap_or(u16::MAX);
            let state = state_index(state);
            Counted { place, state }
        });
        *self.count_mut(counted) += 1;
        counted
    }

    /// Counts it no more.
    pub(crate) fn leave(&mut self, counted: Counted) {
        *self.count_mut(counted) -= 1;
    }

    /// As what a run would be counted; else the name that needs a place.
    pub(crate) fn as_counted<'a>(
        &self,
        monitor: u16,
        workflow: &'a str,
        state: State,
    ) -> Result<Counted, &'a str> {
        let find = |name: &str| {
            let mut all = self.all.iter();
            let place = all.position(|of| of.monitor == monitor && *of.workflow == *name)?;
            let (place, state) = (u16::try_from(place).ok()?, state_index(state));
            Some(Counted { place, state })
        };
        match find(workflow) {
            Some(counted) => Ok(counted),
            None if self.all.len() < limits::METRIC_SERIES_MAX => Err(workflow),
            None => find(OTHER).ok_or(OTHER),
        }
    }

    /// All of them.
    pub(crate) fn total(&self) -> usize {
        let counts = self.all.iter().flat_map(|of| of.counts);
        counts.map(|count| count as usize).sum()
    }

    fn count_mut(&mut self, Counted { place, state }: Counted) -> &mut u32 {
        &mut self.all[usize::from(place)].counts[usize::from(state)]
    }
}

fn state_index(state: State) -> u8 {
    match state {
        State::Pending => 0,
        State::Running => 1,
        State::Ended(_) => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_bound_count_together() {
        let mut live = LiveRuns::default();
        let counted: Vec<Counted> = (0..10_000)
            .map(|number| live.enter(0, &format!("workflow {number}"), State::Running))
            .collect();
        let other = live.enter(1, "workflow 1", State::Pending);
        assert_eq!(live.total(), 10_001);
        assert_eq!(
            live.iter().count(),
            limits::METRIC_SERIES_MAX + 2,
            "one place more for each monitor"
        );
        for counted in counted {
            live.leave(counted);
        }
        let left = live.iter().filter(|of| of.counts != [0; 3]);
        let left: Vec<_> = left
            .map(|of| (of.monitor, &*of.workflow, of.counts))
            .collect();
        assert_eq!(left, [(1, OTHER, [1, 0, 0])]);
        live.leave(other);
        assert_eq!(live.total(), 0);
    }
}
