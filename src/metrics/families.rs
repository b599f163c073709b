//! Fills the table of metrics with the numbers of one moment.

use super::Numbers;
use super::table::{self, Metric};
use crate::core::PollFailureReason;
use crate::core::event::Origin;
use crate::core::lateness::Histogram;
use crate::core::metrics::{
    Durations, EventFate, Exemplar, ExportResult, MonitorCounters, StageLabels,
};
use crate::core::outcome::Outcome;
use crate::core::time::Wall;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// One metric with its values.
#[derive(Clone, Debug)]
pub struct Family {
    /// Which metric it is.
    pub metric: &'static Metric,
    /// From when on a counter counts.
    pub since: Wall,
    /// Not empty.
    pub points: Vec<Point>,
}

/// One value.
#[derive(Clone, Debug)]
pub struct Point {
    /// Names and values; none is empty.
    pub labels: Vec<(&'static str, Box<str>)>,
    /// The value.
    pub value: PointValue,
}

/// What a value may be.
#[derive(Clone, Debug)]
pub enum PointValue {
    /// A whole number.
    Whole(u64),
    /// A number with a fraction.
    Number(f64),
    /// Durations in buckets.
    Histogram(HistogramPoint),
}

/// Durations in buckets.
#[derive(Clone, Debug)]
pub struct HistogramPoint {
    /// The upper bounds of the buckets, in seconds.
    pub bounds: Arc<[f64]>,
    /// How many are in each bucket alone. One more than there are bounds: the last bucket has none.
    pub counts: Vec<u64>,
    /// All durations together.
    pub sum: Duration,
    /// For each bucket, or none at all.
    pub exemplars: Vec<Option<Exemplar>>,
}

/// The buckets of what takes milliseconds rather than hours: each bound has two digits, as [`Histogram`] wants it.
const QUICK_MS: [u64; 16] = [
    1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 120_000,
];

/// All metrics that have a value, in the order of the table.
pub fn families(numbers: &Numbers) -> Vec<Family> {
    let mut families = Families {
        since: numbers.since,
        all: Vec::with_capacity(table::METRICS.len()),
    };
    runs(numbers, &mut families);
    workflows(numbers, &mut families);
    polls(numbers, &mut families);
    exports(numbers, &mut families);
    store(numbers, &mut families);
    process(numbers, &mut families);
    families.all
}

struct Families {
    since: Wall,
    all: Vec<Family>,
}

impl Families {
    fn put(&mut self, metric: &'static Metric, points: impl IntoIterator<Item = Point>) {
        let points: Vec<Point> = points.into_iter().collect();
        if !points.is_empty() {
            let since = self.since;
            self.all.push(Family {
                metric,
                since,
                points,
            });
        }
    }

    fn put_one(&mut self, metric: &'static Metric, number: u64) {
        self.put(metric, [whole(Vec::new(), number)]);
    }

    /// One value for each result, which is the only label.
    fn put_by_result(
        &mut self,
        metric: &'static Metric,
        results: impl IntoIterator<Item = (&'static str, u64)>,
    ) {
        let point = |(result, count): (&str, _)| whole(labels(metric, [result.into()]), count);
        self.put(metric, results.into_iter().map(point));
    }

    fn put_number(&mut self, metric: &'static Metric, number: f64) {
        let labels = Vec::new();
        let value = PointValue::Number(number);
        self.put(metric, [Point { labels, value }]);
    }
}

type Labels = Vec<(&'static str, Box<str>)>;

fn whole(labels: Labels, number: u64) -> Point {
    Point {
        labels,
        value: PointValue::Whole(number),
    }
}

/// The labels of a metric with these values. An empty value is left out.
fn labels<const N: usize>(metric: &Metric, values: [Cow<'_, str>; N]) -> Labels {
    debug_assert_eq!(metric.labels.len(), N, "{}", metric.otlp);
    let pairs = metric.labels.iter().copied().zip(values);
    pairs
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name, value.into()))
        .collect()
}

fn monitor(numbers: &Numbers, monitor: u16) -> Cow<'_, str> {
    let name = numbers.monitors.get(usize::from(monitor));
    name.map_or("", |name| &**name).into()
}

fn runs(numbers: &Numbers, families: &mut Families) {
    let (counters, took) = (&numbers.counters, &numbers.counters.took);
    let bounds: Arc<[f64]> = took.bounds.iter().map(Duration::as_secs_f64).collect();
    let metric = &table::RUN_DURATION;
    families.put(
        metric,
        took.runs.iter().map(|(of, durations)| {
            let state = if of.is_wait { "pending" } else { "executing" };
            let values = [
                monitor(numbers, of.monitor),
                (*of.workflow).into(),
                state.into(),
                of.outcome.map_or("", Outcome::as_str).into(),
                (*of.error_type).into(),
            ];
            histogram(labels(metric, values), &bounds, durations)
        }),
    );
    let metric = &table::RUN_ACTIVE;
    families.put(
        metric,
        counters.live.iter().flat_map(|of| {
            let states = ["pending", "executing", "finalizing"];
            states.into_iter().zip(of.counts).map(|(state, count)| {
                let name = (*of.workflow).into();
                let values = [monitor(numbers, of.monitor), name, state.into()];
                whole(labels(metric, values), count.into())
            })
        }),
    );
    let metric = &table::RUN_ERRORS;
    families.put(
        metric,
        counters.errors.iter().map(|(of, count)| {
            let (name, error) = ((*of.workflow).into(), (*of.error_type).into());
            let values = [monitor(numbers, of.monitor), name, error];
            whole(labels(metric, values), *count)
        }),
    );
    let metric = &table::SYSTEM_ERRORS;
    let failures = each_monitor(numbers).flat_map(|(name, it)| {
        failures(it).map(move |(reason, count)| {
            let values = [name.into(), "api".into(), reason.into()];
            whole(labels(metric, values), count)
        })
    });
    families.put(metric, failures);
    let stages = [
        (&table::STAGE_DURATION, &took.stages),
        (&table::STAGE_QUEUE_DURATION, &took.stage_waits),
    ];
    for (metric, series) in stages {
        let stage = |(of, durations): (&StageLabels, &Arc<Durations>)| {
            let values = [
                monitor(numbers, of.monitor),
                (*of.workflow).into(),
                (*of.stage).into(),
                of.outcome.map_or("unknown", Outcome::as_str).into(),
            ];
            histogram(labels(metric, values), &bounds, durations)
        };
        families.put(metric, series.iter().map(stage));
    }
}

fn workflows(numbers: &Numbers, families: &mut Families) {
    let counters = &numbers.counters;
    let metric = &table::WORKFLOWS;
    let by_state = (0..)
        .zip(numbers.monitors.iter())
        .flat_map(|(index, name)| {
            let of_monitor = counters.live.iter().filter(move |of| of.monitor == index);
            let counts = of_monitor.fold([0_u64; 3], |mut sums, of| {
                for (sum, count) in sums.iter_mut().zip(of.counts) {
                    *sum += u64::from(count);
                }
                sums
            });
            let states = ["waiting", "running", "ended"].into_iter().zip(counts);
            states.map(|(state, count)| {
                let values = [(**name).into(), state.into()];
                whole(labels(metric, values), count)
            })
        });
    families.put(metric, by_state);
    families.put_one(&table::WORKFLOWS_MAX, numbers.workflows_max as u64);
    families.put_one(&table::WORKFLOWS_ENDED, counters.workflows_ended);
    let metric = &table::START_EVENTS;
    let events = Origin::ALL.into_iter().zip(numbers.malformed);
    let events = events.flat_map(|(origin, malformed)| {
        let fates = EventFate::ALL.into_iter();
        let fates = fates.map(move |fate| (fate.as_str(), counters.events.of(origin, fate)));
        let all = fates.chain([("malformed", malformed)]);
        all.map(move |(fate, count)| {
            let values = [origin.as_str().into(), fate.into()];
            whole(labels(metric, values), count)
        })
    });
    families.put(metric, events);
    families.put_one(&table::RUNS_REFUSED, counters.runs_refused);
    let metric = &table::SOURCE_CONNECTED;
    families.put(
        metric,
        numbers
            .sources
            .iter()
            .map(|(source, hears)| whole(labels(metric, [(**source).into()]), u64::from(*hears))),
    );
}

type HistogramOf = fn(&MonitorCounters) -> &Histogram;
type CountOf = fn(&MonitorCounters) -> u64;

fn polls(numbers: &Numbers, families: &mut Families) {
    let metric = &table::POLLS;
    let results = each_monitor(numbers).flat_map(|(name, it)| {
        let failed: u64 = it.failed.iter().sum();
        let ok = it.polls.saturating_sub(it.not_found + failed);
        let results = [("ok", ok), ("not_found", it.not_found)];
        results
            .into_iter()
            .chain(failures(it))
            .map(|(result, count)| whole(labels(metric, [name.into(), result.into()]), count))
    });
    families.put(metric, results);
    let quick: [(&Metric, HistogramOf); 2] = [
        (&table::POLL_LATENCY, |it| &it.latency),
        (&table::POLL_LATENESS, |it| &it.lateness),
    ];
    for (metric, histogram_of) in quick {
        let points = each_monitor(numbers)
            .map(|(name, it)| quick_histogram(labels(metric, [name.into()]), histogram_of(it)));
        families.put(metric, points);
    }
    let requests: [(&Metric, CountOf); 2] = [
        (&table::REQUESTS, |it| it.requests),
        (&table::NOT_MODIFIED, |it| it.not_modified),
    ];
    for (metric, count_of) in requests {
        let points = each_monitor(numbers)
            .map(|(name, it)| whole(labels(metric, [name.into()]), count_of(it)));
        families.put(metric, points);
    }
    families.put_one(&table::POLLS_IN_FLIGHT, numbers.polls_in_flight as u64);
    families.put_one(&table::POLLS_WAITING, numbers.polls_waiting as u64);
    families.put_one(&table::POLLS_HELD, u64::from(numbers.polls_held));
    families.put_one(&table::ANSWERS_STALE, numbers.counters.answers_stale);
    let metric = &table::API_REFUSES;
    let refuses = (0..).zip(numbers.monitors.iter()).map(|(index, name)| {
        let refuses = numbers.refused.contains(&index);
        whole(labels(metric, [(**name).into()]), u64::from(refuses))
    });
    families.put(metric, refuses);
}

fn exports(numbers: &Numbers, families: &mut Families) {
    let (counters, outbox) = (&numbers.counters, &numbers.outbox);
    families.put_one(&table::OUTBOX_SPANS, outbox.spans as u64);
    families.put_one(&table::OUTBOX_BYTES, outbox.bytes as u64);
    families.put_number(&table::OUTBOX_OLDEST, outbox.oldest.as_secs_f64());
    families.put_one(&table::OUTBOX_LOG_RECORDS, outbox.log_records as u64);
    families.put_one(&table::SPANS_FINISHED, counters.spans_finished);
    families.put_one(&table::SPANS_DELIVERED, counters.spans_delivered);
    families.put_one(&table::SPANS_REJECTED, counters.spans_rejected);
    families.put_one(&table::SPANS_SENT_AGAIN, counters.spans_sent_again);
    families.put_one(&table::LOG_RECORDS_MADE, counters.log_records_made);
    let delivered = counters.log_records_delivered;
    families.put_one(&table::LOG_RECORDS_DELIVERED, delivered);
    families.put_one(&table::LOG_RECORDS_REJECTED, counters.log_records_rejected);
    let results = ExportResult::ALL.map(ExportResult::as_str).into_iter();
    families.put_by_result(&table::EXPORTS, results.zip(counters.exports));
    let results = [
        ("delivered", counters.notifications_delivered),
        ("refused", counters.notifications_refused),
    ];
    families.put_by_result(&table::FINISHED_EVENTS, results);
    let waiting = numbers.finished_events_waiting as u64;
    families.put_one(&table::FINISHED_EVENTS_WAITING, waiting);
}

fn store(numbers: &Numbers, families: &mut Families) {
    let counters = &numbers.counters;
    if let Some(store) = &numbers.store {
        let commits = &store.commits;
        let results = [("stored", commits.stored), ("failed", commits.failed)];
        families.put_by_result(&table::STORE_COMMITS, results);
        let duration = quick_histogram(Vec::new(), &commits.duration);
        families.put(&table::STORE_COMMIT_DURATION, [duration]);
        families.put_one(&table::STORE_CHANGES, commits.changes);
        families.put_one(&table::STORE_WRITTEN, commits.bytes);
        families.put_one(&table::STORE_BYTES, counters.state_bytes);
        families.put_one(&table::STORE_MAX_BYTES, store.bytes_max);
        families.put_one(&table::STORE_FULL, u64::from(store.is_full));
        families.put_one(&table::STORE_TROUBLED, u64::from(store.is_troubled));
    }
    if let Some(fleet) = &numbers.fleet {
        families.put_one(&table::LEASE_HELD, u64::from(fleet.is_held));
        families.put_one(&table::LEASE_LAPSES, fleet.lapses);
        families.put_one(&table::TAKEOVERS, counters.takeovers);
        families.put_one(&table::RUNS_TAKEN_OVER, counters.runs_taken_over);
    }
}

fn process(numbers: &Numbers, families: &mut Families) {
    let metric = &table::BUILD_INFO;
    let version = labels(metric, [crate::VERSION.into()]);
    families.put(metric, [whole(version, 1)]);
    let process = &numbers.process;
    if let Some(cpu) = process.cpu {
        families.put_number(&table::PROCESS_CPU, cpu.as_secs_f64());
    }
    for (metric, number) in [
        (&table::PROCESS_RESIDENT, process.resident_bytes),
        (&table::PROCESS_VIRTUAL, process.virtual_bytes),
        (&table::PROCESS_OPEN_FDS, process.open_fds),
        (&table::PROCESS_MAX_FDS, process.max_fds),
        (&table::PROCESS_THREADS, process.threads),
    ] {
        if let Some(number) = number {
            families.put_one(metric, number);
        }
    }
    let start_ms = numbers.since.as_unix_ns() / 1_000_000;
    families.put_number(&table::PROCESS_START, start_ms as f64 / 1000.0);
}

fn each_monitor(numbers: &Numbers) -> impl Iterator<Item = (&str, &MonitorCounters)> {
    let names = numbers.monitors.iter().map(|name| &**name);
    names.zip(&numbers.counters.monitors)
}

/// The reasons for which polls have failed.
fn failures(it: &MonitorCounters) -> impl Iterator<Item = (&'static str, u64)> + use<> {
    let all = PollFailureReason::ALL.into_iter().zip(it.failed);
    all.filter(|(_, count)| *count > 0)
        .map(|(reason, count)| (reason.as_str(), count))
}

fn histogram(labels: Labels, bounds: &Arc<[f64]>, durations: &Durations) -> Point {
    Point {
        labels,
        value: PointValue::Histogram(HistogramPoint {
            bounds: bounds.clone(),
            counts: durations.counts.clone(),
            sum: durations.sum,
            exemplars: durations.exemplars.clone(),
        }),
    }
}

fn quick_histogram(labels: Labels, histogram: &Histogram) -> Point {
    let bounds = QUICK_MS.map(Duration::from_millis);
    let mut before = 0;
    let up_to = bounds.iter().map(|bound| histogram.up_to(*bound));
    let counts = up_to.chain([histogram.total()]).map(|count| {
        let here = count - before;
        before = count;
        here
    });
    Point {
        labels,
        value: PointValue::Histogram(HistogramPoint {
            counts: counts.collect(),
            bounds: bounds.iter().map(Duration::as_secs_f64).collect(),
            sum: histogram.sum(),
            exemplars: Vec::new(),
        }),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
