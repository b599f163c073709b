//! What a seed stands for: the settings, the true course of the workflows, and all faults.

use crate::random::Random;
use farspan::core::event::{StartEvent, Value};
use farspan::core::ids::{SpanId, TraceContext, TraceId};
use farspan::core::outbox::BatchPolicy;
use farspan::core::outcome::Outcome;
use farspan::core::sampler::{Sampler, SpanLimits};
use farspan::core::span::Service;
use farspan::core::time::Wall;
use farspan::core::workflow::{Naming, StatusEvents};
use farspan::core::{Adaptive, Monitor, Pace, Settings};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1000 * MS;
pub const MINUTE: u64 = 60 * SECOND;
pub const HOUR: u64 = 60 * MINUTE;

/// The reading of the monotonic clock when a simulation begins. Workflows may have started before it.
pub const BEGIN: u64 = 24 * HOUR;
/// The reading of a correct wall clock when the monotonic clock is at zero.
pub const EPOCH_NS: i64 = 1_720_000_000_000_000_000;
/// About how many polls a simulation makes, so that all cost about the same.
const POLLS: u64 = 1500;

pub struct Scenario {
    pub settings: Settings,
    pub hosts: Vec<Host>,
    pub plans: Vec<Plan>,
    /// When each start event arrives, and of which workflow; some arrive twice.
    pub events: Vec<(u64, usize)>,
    pub faults: Faults,
    pub collector: CollectorFaults,
    /// From this time on there are no faults.
    pub faults_end: u64,
    /// When farspan gets SIGTERM, if it does.
    pub drain_at: Option<u64>,
    /// From when on farspan's wall clock is wrong, and by how much.
    pub wall_steps: Vec<(u64, i64)>,
    /// How late the loop may be.
    pub lag_max: u64,
    /// How long a turn of the loop may last. Its changes share a commit.
    pub turn_max: u64,
    /// When farspan ends and starts again, if it does.
    pub crashes: Vec<Crash>,
    /// The store fails every commit within these times.
    pub store_outages: Vec<(u64, u64)>,
    /// When the configuration is reloaded, and the pace of each monitor from then on.
    pub reloads: Vec<(u64, Vec<Pace>)>,
    pub seed: u64,
}

/// An end of farspan: a crash or a stop.
#[derive(Clone, Copy)]
pub struct Crash {
    pub at: u64,
    /// From this time on it happens as soon as farspan is at `at`.
    pub point: CrashPoint,
    /// The time until the next start.
    pub down: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    Anywhere,
    /// Changes wait for their commit.
    BeforeCommit,
    /// They are committed; a batch is ready and not sent.
    AfterCommit,
    /// The batch is sent; its outcome has not arrived.
    BatchInFlight,
    /// The outcome has arrived; the deletion is not committed.
    BeforeDeletion,
    /// SIGTERM.
    Stop,
}

const CRASH_POINTS: [CrashPoint; 6] = [
    CrashPoint::Anywhere,
    CrashPoint::BeforeCommit,
    CrashPoint::AfterCommit,
    CrashPoint::BatchInFlight,
    CrashPoint::BeforeDeletion,
    CrashPoint::Stop,
];

/// A monitored API.
pub struct Host {
    /// How far its clock is ahead.
    pub skew_ns: i64,
    pub latency_min: u64,
    pub latency_max: u64,
    /// It gives no answers within these times.
    pub outages: Vec<(u64, u64)>,
    /// After this many answers within a minute it asks for a pause.
    pub rate_max: Option<u64>,
    /// How many requests a poll of it takes.
    pub requests_max: u32,
}

/// Probabilities, for each poll.
pub struct Faults {
    pub timeout: f64,
    pub server_error: f64,
    pub too_many_requests: f64,
    pub unauthorized: f64,
    pub garbage: f64,
    pub refused: f64,
    pub not_found: f64,
    pub stale: f64,
    pub doubled: f64,
    pub late: f64,
    pub dateless: f64,
    pub retry_after_max: u64,
    pub stale_max: u64,
    pub poll_timeout: u64,
}

/// Probabilities, for each batch.
pub struct CollectorFaults {
    pub latency_max: u64,
    pub outages: Vec<(u64, u64)>,
    pub retry: f64,
    /// The collector has the batch, and its acknowledgement is lost.
    pub unacknowledged: f64,
    pub rejected: f64,
    pub partial: f64,
    pub doubled: f64,
    pub retry_after: f64,
    /// The largest batch that the collector accepts.
    pub spans_max: usize,
}

/// The true course of a workflow, in monotonic time, and how its API reports it.
pub struct Plan {
    pub event: StartEvent,
    pub monitor: usize,
    pub host: usize,
    /// From when on the API knows the workflow.
    pub known_at: u64,
    pub exists: bool,
    /// The next attempt, whose answers replace its own.
    pub later: Option<usize>,
    /// The attempt in its answers.
    pub tells_attempt: Option<u32>,
    pub queued: Option<u64>,
    pub course: Course,
    pub stages: Vec<StagePlan>,
    pub tells_ids: bool,
    /// Whether answers have stages that have not started.
    pub tells_pending: bool,
    pub distortion: Option<Distortion>,
}

/// Path and number of an attempt at a stage.
pub type Key = (Box<str>, u32);

pub struct StagePlan {
    pub key: Key,
    /// The path of its parent. `None`: the workflow.
    pub parent: Option<Key>,
    /// From when on it waits for its start.
    pub queued: Option<u64>,
    /// `None`: it never starts.
    pub course: Option<Course>,
    /// Whether answers have only its name and its children.
    pub is_group: bool,
    /// Whether it was skipped and has no times.
    pub is_timeless: bool,
    /// The time from which and until which answers have it.
    pub told: (u64, u64),
}

impl StagePlan {
    pub fn name(&self) -> &str {
        self.key.0.rsplit('/').next().unwrap_or_default()
    }
}

#[derive(Clone, Copy)]
pub struct Course {
    pub start: u64,
    pub end: u64,
    pub outcome: Outcome,
}

/// An error in the answers about a workflow, until it heals.
#[derive(Clone, Copy)]
pub struct Distortion {
    pub kind: DistortionKind,
    pub heals_at: u64,
    /// The index of the stage, for errors about one stage.
    pub stage: usize,
    pub shift_ns: i64,
}

#[derive(Clone, Copy, PartialEq)]
pub enum DistortionKind {
    NoStart,
    NoEnd,
    NoTimes,
    StageWithoutEnd,
    WrongTimes,
    EndBeforeStart,
    StageOutside,
    StageLeftOpen,
    StageVanishes,
    Flaps,
    StageFlaps,
    Lost,
    /// The stage is missing from now on.
    StageGone,
    /// Stages with children are missing at first.
    ParentsLate,
    /// The parents of stages are missing at first.
    ParentsUntold,
    /// A stage gets another parent later.
    ParentsChange,
    /// Stages with children end while the children go on.
    ParentsEndEarly,
    /// A stage has very many attempts.
    Attempts,
}

const DISTORTIONS: [DistortionKind; 18] = [
    DistortionKind::NoStart,
    DistortionKind::NoEnd,
    DistortionKind::NoTimes,
    DistortionKind::StageWithoutEnd,
    DistortionKind::WrongTimes,
    DistortionKind::EndBeforeStart,
    DistortionKind::StageOutside,
    DistortionKind::StageLeftOpen,
    DistortionKind::StageVanishes,
    DistortionKind::Flaps,
    DistortionKind::StageFlaps,
    DistortionKind::Lost,
    DistortionKind::StageGone,
    DistortionKind::ParentsLate,
    DistortionKind::ParentsUntold,
    DistortionKind::ParentsChange,
    DistortionKind::ParentsEndEarly,
    DistortionKind::Attempts,
];

impl Scenario {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let r = &mut random;
        let quiet = r.chance(0.15);
        // Polls outrun the pollers; the answers' slowness bounds their number.
        let saturated = r.chance(0.1);
        let duration = if saturated {
            r.between(20 * MINUTE, HOUR)
        } else {
            r.magnitude(10 * MINUTE, 12 * HOUR)
        };
        let workflows = r.magnitude(1, 200);
        let mut interval = r.magnitude(2 * SECOND, 5 * MINUTE);
        if !saturated {
            interval = interval.max(workflows * duration / POLLS);
        }
        let host = |r: &mut Random| host(r, duration, saturated);
        let hosts: Vec<Host> = (0..r.between(1, 3)).map(|_| host(r)).collect();
        let monitors = (0..r.between(1, 3)).map(|n| {
            let mut monitor = monitor(r, n, hosts.len(), interval, duration);
            vary(r, &mut monitor.pace);
            if r.chance(0.2) {
                // From far too few for that many workflows to more than enough.
                let most = hosts[usize::from(monitor.host)].requests_max;
                let needed = workflows * u64::from(most) * SECOND;
                let rate = needed as f64 / interval as f64 * r.magnitude(10, 1000) as f64 / 100.0;
                monitor.requests_per_second = Some(rate);
            }
            monitor
        });
        let settings = Settings {
            monitors: monitors.collect(),
            pollers: r.between(1, if saturated { 3 } else { 16 }) as usize,
            workflows_max: 1000,
            sampler: sampler(r),
            batch: batch_policy(r),
            stores: true,
            state_bytes_max: u64::MAX,
            exports: true,
            exports_logs: true,
            buckets: Arc::default(),
            seed: r.next(),
        };
        let arrival = if r.chance(0.5) { SECOND } else { duration };
        let distorted = r.probability(0.6);
        let mut parent = None;
        let mut plans = Vec::new();
        let mut events = Vec::new();
        let doubled = r.probability(0.3);
        for n in 0..workflows as usize {
            let at = BEGIN + r.between(0, arrival);
            let place = plans.len();
            let attempts = plan(r, n, at, duration, &settings, &mut parent, distorted, quiet);
            plans.extend(linked(attempts, place, |at, place| {
                events.push((at, place));
                while r.chance(doubled) {
                    // Runs are remembered for an hour.
                    events.push((at + r.between(0, HOUR), place));
                }
            }));
        }
        let horizon = arrival + duration;
        let faults_end = BEGIN + horizon * r.between(30, 120) / 100;
        let mut scenario = Scenario {
            faults: faults(r),
            collector: collector_faults(r, settings.batch.spans_max, horizon),
            settings,
            hosts,
            plans,
            events,
            faults_end,
            drain_at: (r.chance(0.1)).then(|| BEGIN + r.between(0, horizon)),
            wall_steps: wall_steps(r, horizon),
            lag_max: if r.chance(0.5) { 0 } else { 50 * MS },
            turn_max: if r.chance(0.5) { 0 } else { 250 * MS },
            crashes: crashes(r, faults_end),
            store_outages: windows(r, horizon),
            reloads: Vec::new(),
            seed,
        };
        scenario.reloads = reloads(r, &scenario.settings.monitors, horizon);
        if quiet {
            scenario.faults_end = 0;
            scenario.crashes.clear();
        } else if r.chance(0.3) {
            // More than the finished runs alone, which go by their age.
            scenario.settings.state_bytes_max = r.magnitude(8_000, 100_000);
        }
        scenario
    }

    /// The first attempt at each workflow.
    pub fn firsts(&self) -> BTreeMap<Box<str>, usize> {
        let mut firsts = BTreeMap::new();
        for (place, plan) in self.plans.iter().enumerate() {
            firsts
                .entry(plan.event.workflow_id.clone())
                .or_insert(place);
        }
        firsts
    }

    /// How wrong farspan's wall clock is at this time.
    pub fn wall_offset(&self, at: u64) -> i64 {
        let passed = self.wall_steps.iter().rev().find(|(from, _)| *from <= at);
        passed.map_or(0, |(_, offset)| *offset)
    }
}

pub fn host(r: &mut Random, duration: u64, saturated: bool) -> Host {
    let latency_min = if saturated {
        r.magnitude(2 * SECOND, 20 * SECOND)
    } else {
        r.magnitude(MS / 20, SECOND)
    };
    let skew_ns = if r.chance(0.5) {
        0
    } else {
        r.between(0, 6 * HOUR) as i64 - 3 * HOUR as i64
    };
    Host {
        skew_ns,
        latency_min,
        latency_max: latency_min
            + if r.chance(0.3) {
                // So quick that its polls go in company.
                r.magnitude(1, MS)
            } else {
                r.magnitude(1, 3 * SECOND)
            },
        outages: windows(r, duration),
        rate_max: (r.chance(0.1)).then(|| r.between(2, 60)),
        requests_max: if r.chance(0.5) {
            1
        } else {
            r.between(1, 5) as u32
        },
    }
}

fn windows(r: &mut Random, within: u64) -> Vec<(u64, u64)> {
    let count = if r.chance(0.7) { 0 } else { r.between(1, 3) };
    let window = |_| {
        let from = BEGIN + r.between(0, within);
        (from, from + r.magnitude(SECOND, HOUR))
    };
    (0..count).map(window).collect()
}

pub fn monitor(r: &mut Random, n: u64, hosts: usize, interval: u64, duration: u64) -> Monitor {
    let timeout = match r.between(0, 3) {
        0 => duration / 2 + MINUTE,
        1 => 24 * HOUR,
        _ => 2 * duration + HOUR,
    };
    Monitor {
        naming: Naming {
            service: n.is_multiple_of(2).then(|| service(n)),
            notifies: r.chance(0.5),
            skipped: r.chance(0.3),
            queued: r.chance(0.4),
            started: r.chance(0.3),
            status_events: [StatusEvents::Span, StatusEvents::Log, StatusEvents::Both][r.index(3)],
            ..Naming::new(&format!("monitor {n}"), "Workflow", SpanLimits::default())
        },
        host: r.index(hosts) as u16,
        pace: Pace::new(
            Duration::from_nanos(r.between(0, 30 * SECOND)),
            Duration::from_nanos(interval * r.between(100, 200) / 100),
            Duration::from_nanos(timeout),
        ),
        requests_per_second: None,
        send_traceparent: r.chance(0.5),
    }
}

/// Intervals that are not always the same. None is much shorter, that would be as many polls more.
fn vary(r: &mut Random, pace: &mut Pace) {
    let percent = |r: &mut Random, of: Duration| of * r.magnitude(80, 1000) as u32 / 100;
    if r.chance(0.3) {
        for status in ["PROCESSING", "initializing", "Ended"] {
            if r.chance(0.5) {
                let interval = percent(r, pace.interval);
                pace.interval_by_status.push((status.into(), interval));
            }
        }
    }
    if r.chance(0.3) {
        let min = percent(r, pace.interval);
        pace.adaptive = Some(Adaptive {
            share: r.between(1, 1000) as f64 / 1000.0,
            min,
            max: min + percent(r, pace.interval),
        });
    }
}

fn service(n: u64) -> Arc<Service> {
    Arc::new(Service {
        monitor: format!("monitor {n}").into(),
        name: "service".into(),
    })
}

fn sampler(r: &mut Random) -> Sampler {
    match r.between(0, 3) {
        0 => Sampler::AlwaysOn,
        1 => Sampler::ParentBased(Box::new(Sampler::TraceIdRatio(0.7))),
        _ => Sampler::default(),
    }
}

pub fn batch_policy(r: &mut Random) -> BatchPolicy {
    let spans_max = r.magnitude(1, 128) as usize;
    BatchPolicy {
        schedule_delay: Duration::from_nanos(r.magnitude(MS, 30 * SECOND)),
        spans_max,
        queue_max: spans_max + r.magnitude(1, 1000) as usize,
    }
}

fn faults(r: &mut Random) -> Faults {
    Faults {
        timeout: r.probability(0.2),
        server_error: r.probability(0.3),
        too_many_requests: r.probability(0.05),
        unauthorized: r.probability(0.1),
        garbage: r.probability(0.1),
        refused: r.probability(0.2),
        not_found: r.probability(0.4),
        stale: r.probability(0.3),
        doubled: r.probability(0.3),
        late: r.probability(0.3),
        dateless: r.probability(1.0),
        retry_after_max: r.magnitude(SECOND, 2 * HOUR),
        stale_max: r.magnitude(SECOND, HOUR),
        poll_timeout: r.between(5, 60) * SECOND,
    }
}

pub fn collector_faults(r: &mut Random, spans_max: usize, horizon: u64) -> CollectorFaults {
    CollectorFaults {
        latency_max: r.magnitude(MS, 30 * SECOND),
        outages: windows(r, horizon),
        retry: r.probability(0.5),
        unacknowledged: r.probability(0.3),
        rejected: r.probability(0.1),
        partial: r.probability(0.2),
        doubled: r.probability(0.3),
        retry_after: r.probability(1.0),
        spans_max: if r.chance(0.7) {
            usize::MAX
        } else {
            r.between(0, spans_max as u64) as usize
        },
    }
}

fn crashes(r: &mut Random, before: u64) -> Vec<Crash> {
    let count = if r.chance(0.4) { 0 } else { r.magnitude(1, 20) };
    let crash = |_| Crash {
        at: r.between(BEGIN, before),
        point: CRASH_POINTS[r.index(CRASH_POINTS.len())],
        down: r.magnitude(MS, 2 * HOUR),
    };
    (0..count).map(crash).collect()
}

fn reloads(r: &mut Random, monitors: &[Monitor], horizon: u64) -> Vec<(u64, Vec<Pace>)> {
    let count = if r.chance(0.6) { 0 } else { r.between(1, 6) };
    let percent =
        |r: &mut Random, of: Duration, least, most| of * r.magnitude(least, most) as u32 / 100;
    let reload = |_| {
        let paces = monitors.iter().map(|monitor| {
            let mut pace = Pace::new(
                Duration::from_nanos(r.between(0, 2 * MINUTE)),
                // Much shorter would be as many polls more.
                percent(r, monitor.pace.interval, 50, 1000),
                percent(r, monitor.pace.timeout, 20, 150),
            );
            vary(r, &mut pace);
            pace
        });
        let paces = paces.collect();
        (BEGIN + r.between(0, horizon * 3 / 2), paces)
    };
    (0..count).map(reload).collect()
}

fn wall_steps(r: &mut Random, horizon: u64) -> Vec<(u64, i64)> {
    if r.chance(0.6) {
        return Vec::new();
    }
    let step = |_| {
        let offset = r.magnitude(SECOND, 5 * HOUR) as i64;
        let offset = if r.chance(0.5) { offset } else { -offset };
        (BEGIN + r.between(0, horizon), offset)
    };
    let mut steps: Vec<(u64, i64)> = (0..4).map(step).collect();
    steps.sort_unstable();
    steps
}

/// A workflow with one or several attempts: each attempt, and when its start event arrives.
#[expect(clippy::too_many_arguments, reason = "each is one thing that is so")]
pub fn plan(
    r: &mut Random,
    n: usize,
    event_at: u64,
    duration: u64,
    settings: &Settings,
    parent: &mut Option<Box<TraceContext>>,
    distorted: f64,
    quiet: bool,
) -> Vec<(u64, Plan)> {
    let monitor = r.index(settings.monitors.len());
    let exists = quiet || !r.chance(0.02);
    let attempts = if r.chance(0.1) { r.between(2, 3) } else { 1 };
    let (mut plans, mut at) = (Vec::new(), event_at);
    for attempt in 1..=attempts as u32 {
        let (queued, course, stages) = course(r, at, duration);
        if r.chance(0.3) {
            *parent = r.chance(0.6).then(|| context(r));
        }
        let submitted = EPOCH_NS + (at - r.between(0, MINUTE)) as i64;
        let event = StartEvent {
            submitted_at: r.chance(0.7).then_some(Wall::from_unix_ns(submitted)),
            attempt: match attempts {
                1 => r.chance(0.2).then(|| r.between(1, 3) as u32),
                _ => Some(attempt),
            },
            parent: parent.clone(),
            attributes: Box::new([("desk".into(), Value::Int(n as i64))]),
            ..StartEvent::new(monitor as u16, &format!("workflow {n}"))
        };
        let distortion = Distortion {
            kind: DISTORTIONS[r.index(DISTORTIONS.len())],
            heals_at: if r.chance(0.5) {
                course.end + r.magnitude(SECOND, HOUR)
            } else {
                u64::MAX
            },
            stage: r.index(stages.len().max(1)),
            shift_ns: r.between(0, 10 * HOUR) as i64 - 5 * HOUR as i64,
        };
        let lag = r.chance(0.3).then(|| r.between(0, 50 * SECOND));
        let tells_attempt = attempts > 1 || r.chance(0.3);
        // Some start events arrive before those of earlier attempts.
        let late = (attempt < attempts as u32 && r.chance(0.1)).then(|| r.between(0, duration));
        let end = course.end.max(at);
        let plan = Plan {
            known_at: at + lag.unwrap_or(0),
            exists,
            later: None,
            tells_attempt: tells_attempt.then(|| event.attempt.unwrap_or(attempt)),
            event,
            monitor,
            host: usize::from(settings.monitors[monitor].host),
            queued,
            course,
            stages,
            tells_ids: r.chance(0.7),
            tells_pending: r.chance(0.7),
            distortion: (!quiet && r.chance(distorted)).then_some(distortion),
        };
        plans.push((at + late.unwrap_or(0), plan));
        at = end + r.between(0, duration / 4);
    }
    plans
}

/// Links the attempts at a workflow that follow one another from `place` on.
pub fn linked(
    attempts: Vec<(u64, Plan)>,
    place: usize,
    mut announce: impl FnMut(u64, usize),
) -> Vec<Plan> {
    let last = place + attempts.len() - 1;
    let link = |(place, (at, mut plan)): (usize, (u64, Plan))| {
        plan.later = (place < last).then_some(place + 1);
        announce(at, place);
        plan
    };
    (place..).zip(attempts).map(link).collect()
}

/// APIs report tenths of microseconds.
fn tick(at: u64) -> u64 {
    at / 100 * 100
}

fn course(r: &mut Random, event_at: u64, duration: u64) -> (Option<u64>, Course, Vec<StagePlan>) {
    let start = tick(event_at + r.between(0, MINUTE) - r.between(0, MINUTE));
    let queued = r.chance(0.4).then(|| tick(start - r.between(0, MINUTE)));
    let mut layout = Layout {
        stages: Vec::new(),
        keeps_attempts: r.chance(0.6),
        r,
    };
    let top = Above {
        key: None,
        level: 0,
        attempt: 1,
        is_numbered: false,
        start,
        told_from: 0,
    };
    let (end, outcome) = layout.parts(&top, duration);
    let r = layout.r;
    let rest = if layout.stages.is_empty() {
        duration
    } else {
        5 * SECOND
    };
    let course = Course {
        start,
        end: tick(end + r.between(0, rest)),
        outcome,
    };
    (queued, course, layout.stages)
}

/// Levels of stages.
const LEVELS: u32 = 3;

struct Layout<'a> {
    r: &'a mut Random,
    stages: Vec<StagePlan>,
    /// Whether answers have earlier attempts too.
    keeps_attempts: bool,
}

/// The parent within which stages are laid out.
struct Above {
    key: Option<Key>,
    level: u32,
    attempt: u32,
    /// Whether the attempts of its children have its attempt's number.
    is_numbered: bool,
    start: u64,
    told_from: u64,
}

impl Layout<'_> {
    /// When the last child ends, and the outcome.
    fn parts(&mut self, above: &Above, duration: u64) -> (u64, Outcome) {
        let count = match above.level {
            0 => self.r.between(0, 6),
            _ => self.r.between(0, 3),
        };
        let parallel = self.r.chance(0.3);
        let (mut end, mut outcome) = (above.start, Outcome::Success);
        for n in 0..count {
            let path = match &above.key {
                None => format!("stage {n}"),
                Some((path, _)) => format!("{path}/part {n}"),
            };
            if outcome != Outcome::Success {
                self.never(&path, above);
                continue;
            }
            let from = if parallel { above.start } else { end };
            let (ended, how) = self.stage(&path, above, from, 2 * duration / count);
            end = end.max(ended);
            if !matches!(how, Outcome::Success | Outcome::Skip) {
                outcome = how;
            }
        }
        (end, outcome)
    }

    /// A stage that never starts; nor do its children.
    fn never(&mut self, path: &str, above: &Above) {
        let key: Key = (path.into(), above.attempt);
        self.stages.push(StagePlan {
            key: key.clone(),
            parent: above.key.clone(),
            queued: None,
            course: None,
            is_group: false,
            is_timeless: false,
            told: (above.told_from, u64::MAX),
        });
        if above.level + 1 < LEVELS && self.r.chance(0.2) {
            let within = Above {
                key: Some(key),
                level: above.level + 1,
                ..*above
            };
            self.never(&format!("{path}/part 0"), &within);
        }
    }

    /// Lays out all attempts at a stage. Returns when the last one ends, and its outcome.
    fn stage(&mut self, path: &str, above: &Above, from: u64, longest: u64) -> (u64, Outcome) {
        let attempts = if !above.is_numbered && self.r.chance(0.15) {
            self.r.between(2, 3)
        } else {
            1
        };
        let has_parts = above.level + 1 < LEVELS && self.r.chance(0.35);
        let is_group = has_parts && attempts == 1 && self.r.chance(0.2);
        let (mut at, mut outcome) = (from, Outcome::Success);
        let mut firsts = Vec::new();
        for n in 0..attempts {
            let r = &mut *self.r;
            let attempt = above.attempt + n as u32;
            let queued = tick(at + r.between(0, 5 * SECOND));
            let queued = (r.chance(0.4) && !is_group).then_some(queued);
            let start = tick(queued.unwrap_or(at) + r.between(0, 10 * SECOND));
            let length = r.between(0, longest / attempts);
            let since = if n == 0 { above.start } else { at };
            let told_from = if n == 0 && r.chance(0.6) {
                above.told_from
            } else {
                r.between(since, queued.unwrap_or(start))
                    .max(above.told_from)
            };
            let place = self.stages.len();
            firsts.push((place, queued.unwrap_or(start)));
            let key: Key = (path.into(), attempt);
            self.stages.push(StagePlan {
                key: key.clone(),
                parent: above.key.clone(),
                queued,
                course: None,
                is_group,
                is_timeless: false,
                told: (told_from, u64::MAX),
            });
            let (mut end, mut how) = (start, Outcome::Success);
            if has_parts {
                let within = Above {
                    key: Some(key),
                    level: above.level + 1,
                    attempt,
                    is_numbered: above.is_numbered || attempts > 1,
                    start,
                    told_from,
                };
                (end, how) = self.parts(&within, length / 2);
            }
            let r = &mut *self.r;
            let has_grown = self.stages.len() > place + 1;
            let rest = if has_grown { 5 * SECOND } else { length };
            if !is_group {
                end = tick(end + r.between(0, rest));
            }
            let is_last = n + 1 == attempts;
            if how == Outcome::Success && !is_group {
                how = match r.between(0, 19) {
                    0 | 1 => Outcome::Failure,
                    2 => Outcome::Cancellation,
                    3 if !has_grown => Outcome::Skip,
                    4..=15 if !is_last => Outcome::Failure,
                    _ => Outcome::Success,
                };
            }
            let stage = &mut self.stages[place];
            stage.is_timeless = how == Outcome::Skip && r.chance(0.5);
            stage.course = Some(Course {
                start,
                end,
                outcome: how,
            });
            (at, outcome) = (end, how);
        }
        if !self.keeps_attempts {
            for pair in firsts.windows(2) {
                let [(place, _), (next, until)] = *pair else {
                    continue;
                };
                for stage in &mut self.stages[place..next] {
                    stage.told.1 = stage.told.1.min(until);
                }
            }
        }
        (at, outcome)
    }
}

fn context(r: &mut Random) -> Box<TraceContext> {
    let id = u128::from(r.next()) << 64 | u128::from(r.next() | 1);
    Box::new(TraceContext {
        trace_id: TraceId::from_bytes(id.to_be_bytes()).expect("not zero"),
        span_id: SpanId::from_bytes((r.next() | 1).to_be_bytes()).expect("not zero"),
        trace_flags: r.between(0, 3) as u8,
        trace_state: r.chance(0.5).then(|| "vendor=1".into()),
    })
}
