//! What a seed stands for in a fleet.

use crate::random::Random;
use crate::scenario::{self, BEGIN, CollectorFaults, Faults, HOUR, MINUTE, MS, SECOND, Scenario};
use farspan::core::Settings;
use std::time::Duration;

/// Polls that a run has about.
const POLLS: u64 = 250;

pub struct FleetScenario {
    pub base: Scenario,
    pub instances: usize,
    pub lease: Duration,
    /// Runs in one script.
    pub runs_max: usize,
    /// How long a call of the store is on its way, and its answer.
    pub call_latency_max: u64,
    pub has_stream: bool,
    pub has_channel: bool,
    /// An instance does not hear a message of the channel.
    pub deaf: f64,
    pub faults: Vec<(u64, Fault)>,
}

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// An instance ends there and starts again so much later, or never.
    Crash(usize, CrashPoint, Option<u64>),
    /// SIGTERM, and the next start.
    Stop(usize, Option<u64>),
    /// SIGSTOP, for so long.
    Freeze(usize, u64),
    /// Its machine sleeps: its monotonic clock stands still.
    Sleep(usize, u64),
    /// Redis is out of its reach.
    Cut(usize, u64),
    /// The so-manieth call from now on is made, and its answer lost: of the store, or of the stream.
    LoseAnswer(usize, u32, bool),
    /// The next claim that takes something is made, and its answer lost.
    LoseClaim(usize),
    /// The so-manieth script from now on is given up, and comes later.
    GiveUp(usize, u32),
    /// Redis loses everything.
    Flush,
}

/// Where a crash strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    Anywhere,
    BeforeCommit,
    /// A script has run, and its answer is not there yet.
    WithinCommit,
    AfterCommit,
    BatchInFlight,
    BeforeDeletion,
}

pub const CRASH_POINTS: [CrashPoint; 6] = [
    CrashPoint::Anywhere,
    CrashPoint::BeforeCommit,
    CrashPoint::WithinCommit,
    CrashPoint::AfterCommit,
    CrashPoint::BatchInFlight,
    CrashPoint::BeforeDeletion,
];

impl FleetScenario {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0xf1ee7);
        let r = &mut random;
        let duration = r.magnitude(MINUTE, 30 * MINUTE);
        let workflows = r.magnitude(1, 30);
        let interval = r
            .magnitude(SECOND, MINUTE)
            .max(workflows * duration / POLLS);
        let hosts = vec![scenario::host(r, duration, false)];
        let monitors = (0..r.between(1, 2)).map(|n| scenario::monitor(r, n, 1, interval, duration));
        let settings = Settings {
            monitors: monitors.collect(),
            pollers: r.between(2, 12) as usize,
            workflows_max: 1000,
            sampler: Default::default(),
            batch: scenario::batch_policy(r),
            stores: true,
            state_bytes_max: u64::MAX,
            exports: true,
            exports_logs: true,
            buckets: std::sync::Arc::default(),
            seed: 0,
        };
        // An instance is away for longer than a done run is remembered.
        let long = r.chance(0.04);
        let lease = match long {
            true => 30 * MINUTE,
            false => r.magnitude(6 * SECOND, MINUTE),
        };
        let arrival = if r.chance(0.5) { SECOND } else { duration };
        let horizon = arrival + duration + 3 * lease;
        let (mut plans, mut events, mut parent) = (Vec::new(), Vec::new(), None);
        let doubled = r.probability(0.4);
        for n in 0..workflows as usize {
            let at = BEGIN + r.between(0, arrival);
            let settings = &settings;
            let place = plans.len();
            let attempts = scenario::plan(r, n, at, duration, settings, &mut parent, 0.0, false);
            plans.extend(scenario::linked(attempts, place, |at, place| {
                events.push((at, place));
                while r.chance(doubled) {
                    events.push((at + r.between(0, 2 * horizon), place));
                }
            }));
        }
        let faults_end = BEGIN + horizon;
        let spans_max = settings.batch.spans_max;
        let base = Scenario {
            faults: api_faults(r),
            collector: CollectorFaults {
                rejected: 0.0,
                partial: 0.0,
                ..scenario::collector_faults(r, spans_max, horizon)
            },
            settings,
            hosts,
            plans,
            events,
            faults_end,
            drain_at: None,
            wall_steps: Vec::new(),
            lag_max: 0,
            turn_max: 0,
            crashes: Vec::new(),
            store_outages: Vec::new(),
            reloads: Vec::new(),
            seed,
        };
        let instances = r.between(2, 4) as usize;
        let source = r.between(0, 2);
        FleetScenario {
            instances,
            lease: Duration::from_nanos(lease),
            runs_max: r.magnitude(1, 64) as usize,
            call_latency_max: if r.chance(0.5) {
                0
            } else {
                r.magnitude(MS, SECOND)
            },
            has_stream: source != 0,
            has_channel: source != 1,
            deaf: r.probability(0.3),
            faults: faults(r, instances, lease, horizon, long),
            base,
        }
    }
}

/// What the API does wrong is the other simulation's.
fn api_faults(r: &mut Random) -> Faults {
    Faults {
        timeout: r.probability(0.1),
        server_error: r.probability(0.1),
        too_many_requests: 0.0,
        unauthorized: 0.0,
        garbage: 0.0,
        refused: r.probability(0.1),
        not_found: 0.0,
        stale: 0.0,
        doubled: r.probability(0.1),
        late: r.probability(0.3),
        dateless: 0.0,
        retry_after_max: MINUTE,
        stale_max: SECOND,
        poll_timeout: r.between(5, 30) * SECOND,
    }
}

fn faults(
    r: &mut Random,
    instances: usize,
    lease: u64,
    horizon: u64,
    long: bool,
) -> Vec<(u64, Fault)> {
    let count = if r.chance(0.05) {
        0
    } else {
        r.magnitude(1, 24)
    };
    let flushes = r.chance(0.4);
    let fault = |_| {
        let who = r.index(instances);
        // Shorter than a lease and longer, about as often.
        let silence = r.magnitude(lease / 10, 8 * lease);
        let down = (!r.chance(0.1)).then(|| r.magnitude(MS, 8 * lease));
        let fault = match r.between(0, 17) {
            0..=5 => Fault::Crash(who, CRASH_POINTS[r.index(CRASH_POINTS.len())], down),
            6 => Fault::Stop(who, down),
            7..=8 => Fault::Freeze(who, silence),
            9 => Fault::Sleep(who, silence),
            10..=12 => Fault::Cut(who, silence),
            13 if flushes => Fault::Flush,
            14 => Fault::LoseClaim(who),
            15..=16 => Fault::GiveUp(who, r.between(0, 5) as u32),
            _ => Fault::LoseAnswer(who, r.between(0, 5) as u32, r.chance(0.3)),
        };
        (BEGIN + r.between(0, horizon), fault)
    };
    let mut faults: Vec<(u64, Fault)> = (0..count).map(fault).collect();
    if r.chance(0.3) {
        // One comes back, and those who have taken its runs end.
        let (at, who) = (BEGIN + r.between(0, horizon), r.index(instances));
        let silence = r.between(lease, 4 * lease);
        let first = match r.chance(0.5) {
            true => Fault::Freeze(who, silence),
            false => Fault::Cut(who, silence),
        };
        faults.push((at, first));
        for other in (0..instances).filter(|other| *other != who) {
            let then = at + silence + r.between(0, lease);
            let down = Some(r.magnitude(lease, 8 * lease));
            faults.push((then, Fault::Crash(other, CrashPoint::Anywhere, down)));
        }
    }
    if long {
        let (who, silence) = (r.index(instances), 30 * HOUR);
        let fault = match r.chance(0.5) {
            true => Fault::Freeze(who, silence),
            false => Fault::Sleep(who, silence),
        };
        // While there is something to watch.
        let at = BEGIN + r.between(0, (horizon - 3 * lease) * 2 / 3);
        faults.push((at, fault));
    }
    faults
}
