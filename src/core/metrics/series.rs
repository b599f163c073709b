//! Numbers by labels whose values come from outside, and how long things took, with an exemplar in each bucket.

use crate::ids::{SpanId, TraceId};
use crate::limits;
use crate::outcome::Outcome;
use crate::time::Wall;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What stands for every name beyond the bound.
pub(super) const OTHER: &str = "other";

/// Labels of which some values come from outside.
pub trait OutsideLabels: Ord {
    /// The same, with `other` for each value from outside.
    fn without_names(self) -> Self;
}

/// A number for each combination of labels. With [`METRIC_SERIES_MAX`](limits::METRIC_SERIES_MAX) of them, a further
/// name counts as `other`.
#[derive(Clone, Debug)]
pub struct Series<K, V>(BTreeMap<K, V>);

impl<K, V> Default for Series<K, V> {
    fn default() -> Self {
        Series(BTreeMap::new())
    }
}

impl<K: OutsideLabels, V> Series<K, V> {
    /// In the order of the labels.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter()
    }

    /// The number with these labels.
    pub(super) fn entry(&mut self, labels: K, new: impl FnOnce() -> V) -> &mut V {
        let has_room = self.0.len() < limits::METRIC_SERIES_MAX || self.0.contains_key(&labels);
        let labels = if has_room {
            labels
        } else {
            labels.without_names()
        };
        self.0.entry(labels).or_insert_with(new)
    }
}

/// The labels of `cicd.pipeline.run.duration`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunLabels {
    /// The index of the monitor.
    pub monitor: u16,
    /// `cicd.pipeline.name`.
    pub workflow: Arc<str>,
    /// Whether this is the time before the start; else the time from start to end.
    pub is_wait: bool,
    /// `None` in the time before the start, unless the run never started.
    pub outcome: Option<Outcome>,
    /// `error.type` of a failure; else empty.
    pub error_type: Box<str>,
}

/// The labels of the durations of stages.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StageLabels {
    /// The index of the monitor.
    pub monitor: u16,
    /// `cicd.pipeline.name`.
    pub workflow: Arc<str>,
    /// The stage's type.
    pub stage: Box<str>,
    /// `None`: the workflow ended, and no answer said how the stage did.
    pub outcome: Option<Outcome>,
}

/// The labels of `cicd.pipeline.run.errors`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ErrorLabels {
    /// The index of the monitor.
    pub monitor: u16,
    /// `cicd.pipeline.name`.
    pub workflow: Arc<str>,
    /// `error.type`; may be empty.
    pub error_type: Box<str>,
}

impl OutsideLabels for RunLabels {
    fn without_names(self) -> Self {
        RunLabels {
            workflow: OTHER.into(),
            error_type: other_if_any(&self.error_type),
            ..self
        }
    }
}

impl OutsideLabels for StageLabels {
    fn without_names(self) -> Self {
        StageLabels {
            workflow: OTHER.into(),
            stage: OTHER.into(),
            ..self
        }
    }
}

impl OutsideLabels for ErrorLabels {
    fn without_names(self) -> Self {
        ErrorLabels {
            workflow: OTHER.into(),
            error_type: other_if_any(&self.error_type),
            ..self
        }
    }
}

fn other_if_any(name: &str) -> Box<str> {
    if name.is_empty() { "" } else { OTHER }.into()
}

/// How long things took, by bucket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durations {
    /// How many took at most each bound and longer than the bound before. The last one has no bound.
    pub counts: Vec<u64>,
    /// All durations together.
    pub sum: Duration,
    /// For each bucket the last one that fell into it and is sampled.
    pub exemplars: Vec<Option<Exemplar>>,
}

/// A span that took so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exemplar {
    /// Its trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    /// How long it took.
    pub duration: Duration,
    /// When farspan saw its end. The end that the API reports may be out of order, which Prometheus refuses.
    pub seen: Wall,
}

impl Durations {
    /// Nothing yet, in the buckets that end at `bounds`.
    pub fn new(bounds: &[Duration]) -> Self {
        Durations {
            counts: vec![0; bounds.len() + 1],
            sum: Duration::ZERO,
            exemplars: vec![None; bounds.len() + 1],
        }
    }

    /// Counts one duration, in the buckets that this was made with.
    pub fn record(&mut self, bounds: &[Duration], duration: Duration, exemplar: Option<Exemplar>) {
        let bucket = bounds.partition_point(|bound| *bound < duration);
        self.counts[bucket] += 1;
        self.sum = self.sum.saturating_add(duration);
        if exemplar.is_some() {
            self.exemplars[bucket] = exemplar;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str) -> StageLabels {
        StageLabels {
            monitor: 1,
            workflow: "Nightly".into(),
            stage: name.into(),
            outcome: Some(Outcome::Success),
        }
    }

    #[test]
    fn ten_thousand_names_are_a_bounded_number_of_series() {
        let mut series: Series<StageLabels, u64> = Series::default();
        for number in 0..10_000 {
            *series.entry(stage(&format!("stage {number}")), || 0) += 1;
        }
        let (max, all) = (limits::METRIC_SERIES_MAX, series.iter().count());
        assert_eq!(all, max + 1, "the first ones, and one for all others");
        let others = series.iter().find(|(labels, _)| &*labels.stage == OTHER);
        let (labels, count) = others.expect("there are others");
        assert_eq!((&*labels.workflow, labels.monitor), (OTHER, 1));
        assert_eq!(*count, 10_000 - max as u64, "none is lost");
        *series.entry(stage("stage 7"), || 0) += 1;
        assert_eq!(
            *series.entry(stage("stage 7"), || 0),
            2,
            "a known name counts"
        );
        // The workflow's name has no way round the bound either.
        let run = |number| ErrorLabels {
            monitor: 0,
            workflow: format!("workflow {number}").into(),
            error_type: format!("error {number}").into(),
        };
        let mut errors: Series<ErrorLabels, u64> = Series::default();
        for number in 0..10_000 {
            *errors.entry(run(number), || 0) += 1;
        }
        assert_eq!(errors.iter().count(), max + 1);
    }

    #[test]
    fn a_duration_is_in_the_bucket_that_it_does_not_exceed() {
        let bounds = [1, 5, 60].map(Duration::from_secs);
        let mut durations = Durations::new(&bounds);
        let exemplar = |seconds, id| Exemplar {
            trace_id: TraceId::from_bytes([id; 16]).unwrap(),
            span_id: SpanId::from_bytes([id; 8]).unwrap(),
            duration: Duration::from_secs(seconds),
            seen: Wall::from_unix_ns(i64::from(id)),
        };
        for (seconds, id) in [(0, 1), (1, 2), (2, 3), (5, 4), (61, 5)] {
            let duration = Duration::from_secs(seconds);
            durations.record(&bounds, duration, Some(exemplar(seconds, id)));
        }
        durations.record(&bounds, Duration::from_secs(61), None);
        assert_eq!(durations.counts, [2, 2, 0, 2]);
        assert_eq!(durations.sum, Duration::from_secs(130));
        let exemplars = [Some((1, 2)), Some((5, 4)), None, Some((61, 5))];
        let exemplars = exemplars.map(|it| it.map(|(seconds, id)| exemplar(seconds, id)));
        assert_eq!(
            durations.exemplars, exemplars,
            "the last one of each bucket"
        );
    }
}
