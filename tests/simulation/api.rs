//! The monitored API: what it answers about a workflow at a time, and how a poll of it goes.

use crate::random::Random;
use crate::scenario::{
    Course, Distortion, DistortionKind, EPOCH_NS, Host, Key, MINUTE, Plan, SECOND, Scenario,
    StagePlan,
};
use farspan::core::limits;
use farspan::core::snapshot::{Outcome, Progress, Snapshot, StageSnapshot, State};
use farspan::core::time::Wall;
use farspan::core::{Answer, PollFailure, PollFailureReason};
use std::time::Duration;

/// The result of a poll.
pub struct Reply {
    pub answer: Answer,
    pub requests: u32,
    /// The time of the answer by the API's clock.
    pub date: Option<Wall>,
    pub latency: u64,
    /// After how long the same answer arrives a second time.
    pub again_after: Option<u64>,
    /// For a poll that timed out: its answer, and after how long it arrives.
    pub late: Option<(u64, Answer)>,
}

/// One attempt at a stage in an answer.
#[derive(Clone)]
pub struct ToldStage {
    pub key: Key,
    pub parent: Option<Box<str>>,
    pub kind: Box<str>,
    pub id: Option<Box<str>>,
    pub progress: Progress,
}

/// Makes the core's snapshot of an answer. Nothing else does.
pub fn snapshot(
    workflow_id: Option<Box<str>>,
    attempt: Option<u32>,
    progress: Progress,
    stages: Vec<ToldStage>,
) -> Snapshot {
    let stage = |told: ToldStage| StageSnapshot {
        path: told.key.0,
        attempt: told.key.1,
        parent: told.parent,
        kind: told.kind,
        id: told.id,
        progress: told.progress,
        ..StageSnapshot::default()
    };
    Snapshot {
        workflow_id,
        attempt,
        progress,
        stages: stages.into_iter().map(stage).collect(),
        ..Snapshot::default()
    }
}

/// Reads the stages of a snapshot. Nothing else does.
pub fn told(snapshot: &Snapshot) -> impl Iterator<Item = ToldStage> {
    snapshot.stages.iter().map(|stage| ToldStage {
        key: (stage.path.into(), stage.attempt),
        parent: stage.parent.map(Into::into),
        kind: stage.kind.into(),
        id: stage.id.map(Into::into),
        progress: stage.progress.into(),
    })
}

/// The wall clock of an API, `skew_ns` ahead.
pub fn wall(at: u64, ahead_ns: i64) -> Wall {
    Wall::from_unix_ns(EPOCH_NS + at as i64 + ahead_ns)
}

/// Counts the answers of one host within the present minute.
#[derive(Default)]
pub struct Rate {
    minute: u64,
    answers: u64,
}

pub fn reply(
    scenario: &Scenario,
    plan: usize,
    rate: &mut Rate,
    sent: u64,
    r: &mut Random,
) -> Reply {
    let host = &scenario.hosts[scenario.plans[plan].host];
    let faults = &scenario.faults;
    let faulty = sent < scenario.faults_end;
    let latency = r.between(host.latency_min, host.latency_max);
    let served = sent + latency / 2;
    let mut reply = Reply {
        answer: answer(scenario, plan, served, faulty),
        requests: match host.requests_max {
            1 => 1,
            most => r.between(1, most.into()) as u32,
        },
        date: Some(date(host, served)),
        latency,
        again_after: None,
        late: None,
    };
    if !faulty {
        return reply;
    }
    if r.chance(faults.doubled) {
        reply.again_after = Some(r.between(0, 5 * MINUTE));
    }
    if r.chance(faults.dateless) {
        reply.date = None;
    }
    if r.chance(faults.stale) {
        let then = served.saturating_sub(r.between(0, faults.stale_max));
        reply.answer = answer(scenario, plan, then, faulty);
    }
    let out = |(from, to): &(u64, u64)| (*from..*to).contains(&sent);
    let pause = |r: &mut Random| Duration::from_nanos(r.between(0, faults.retry_after_max));
    if host.outages.iter().any(out) || r.chance(faults.timeout) {
        let answer = std::mem::replace(&mut reply.answer, failed(PollFailureReason::Timeout, None));
        if r.chance(faults.late) {
            reply.late = Some((r.between(0, 2 * MINUTE), answer));
        }
        reply.latency = faults.poll_timeout;
        reply.date = None;
    } else if over(rate, host, sent) {
        let asked = Duration::from_nanos(MINUTE - sent % MINUTE);
        reply.answer = failed(PollFailureReason::TooManyRequests, Some(asked));
    } else if r.chance(faults.too_many_requests) {
        let asked = r.chance(0.8).then(|| pause(r));
        reply.answer = failed(PollFailureReason::TooManyRequests, asked);
    } else if r.chance(faults.server_error) {
        let asked = r.chance(0.05).then(|| pause(r));
        reply.answer = failed(PollFailureReason::ServerError, asked);
    } else if r.chance(faults.unauthorized) {
        reply.answer = failed(PollFailureReason::Unauthorized, None);
    } else if r.chance(faults.garbage) {
        reply.answer = failed(PollFailureReason::Garbage, None);
    } else if r.chance(faults.refused) {
        reply.answer = failed(PollFailureReason::Connect, None);
        reply.date = None;
    } else if r.chance(faults.not_found) {
        reply.answer = Answer::NotFound;
    }
    reply
}

fn over(rate: &mut Rate, host: &Host, sent: u64) -> bool {
    if rate.minute != sent / MINUTE {
        *rate = Rate {
            minute: sent / MINUTE,
            answers: 0,
        };
    }
    rate.answers += 1;
    host.rate_max.is_some_and(|most| rate.answers > most)
}

fn date(host: &Host, at: u64) -> Wall {
    let ns = wall(at, host.skew_ns).as_unix_ns();
    let second = SECOND as i64;
    Wall::from_unix_ns(ns.div_euclid(second) * second)
}

fn failed(reason: PollFailureReason, retry_after: Option<Duration>) -> Answer {
    Answer::Failed(PollFailure {
        reason,
        detail: "".into(),
        retry_after,
    })
}

/// The answer is about the latest attempt that the API knows, whichever was polled. `plan` is the first attempt.
fn answer(scenario: &Scenario, plan: usize, at: u64, faulty: bool) -> Answer {
    let mut plan = &scenario.plans[plan];
    while let Some(later) = plan.later.map(|later| &scenario.plans[later])
        && later.known_at <= at
    {
        plan = later;
    }
    let host = &scenario.hosts[plan.host];
    let distortion = plan.distortion.filter(|d| at < d.heals_at);
    let lost = distortion.is_some_and(|d| d.kind == DistortionKind::Lost);
    if !plan.exists || at < plan.known_at || (lost && at >= plan.course.end) {
        return Answer::NotFound;
    }
    let mut own = if at < plan.course.start {
        waiting(plan.queued, at, host)
    } else {
        progress(plan.course, plan.queued, at, host)
    };
    let mut stages: Vec<ToldStage> = Vec::new();
    for stage in &plan.stages {
        let (from, until) = stage.told;
        let began = stage.course.is_some_and(|course| course.start <= at);
        let is_news = plan.tells_pending || began || stage.queued.is_some_and(|q| q <= at);
        if (from..until).contains(&at) && is_news {
            stages.push(stage_of(plan, stage, at, host));
        }
    }
    if (at / MINUTE).is_multiple_of(3) {
        stages.reverse();
    }
    if let Some(distortion) = distortion {
        distort(plan, distortion, faulty, at, &mut own, &mut stages);
    }
    let id = Some(plan.event.workflow_id.clone());
    Answer::Snapshot {
        snapshot: Box::new(snapshot(id, plan.tells_attempt, own, stages)),
        oddity: None,
    }
}

fn stage_of(plan: &Plan, stage: &StagePlan, at: u64, host: &Host) -> ToldStage {
    let (path, attempt) = &stage.key;
    let course = stage.course.filter(|course| course.start <= at);
    let progress = match course {
        _ if stage.is_group => Progress::default(),
        None => waiting(stage.queued, at, host),
        Some(course) if stage.is_timeless => Progress {
            status: Some("Skipped".into()),
            state: State::Ended(course.outcome),
            ..Progress::default()
        },
        Some(course) => progress(course, stage.queued, at, host),
    };
    ToldStage {
        key: stage.key.clone(),
        parent: stage.parent.as_ref().map(|(path, _)| path.clone()),
        kind: stage.name().into(),
        id: plan.tells_ids.then(|| format!("{path} {attempt}").into()),
        progress,
    }
}

/// The progress of something that has not started.
fn waiting(queued: Option<u64>, at: u64, host: &Host) -> Progress {
    match queued.filter(|queued| *queued <= at) {
        None => Progress::default(),
        Some(queued) => Progress {
            status: Some("Queued".into()),
            queued: Some(wall(queued, host.skew_ns)),
            ..Progress::default()
        },
    }
}

/// The progress of something that has started.
fn progress(course: Course, queued: Option<u64>, at: u64, host: &Host) -> Progress {
    let clock = |at| Some(wall(at, host.skew_ns));
    let running = Progress {
        status: Some("Initializing".into()),
        state: State::Running,
        queued: queued.and_then(clock),
        start: clock(course.start),
        ..Progress::default()
    };
    if at < course.start + SECOND {
        running
    } else if at < course.end {
        Progress {
            status: Some("Processing".into()),
            ..running
        }
    } else {
        Progress {
            status: Some("Ended".into()),
            state: State::Ended(course.outcome),
            end: clock(course.end),
            error: (course.outcome != Outcome::Success).then(|| "it failed".into()),
            ..running
        }
    }
}

fn distort(
    plan: &Plan,
    distortion: Distortion,
    faulty: bool,
    at: u64,
    own: &mut Progress,
    stages: &mut Vec<ToldStage>,
) {
    let has_parts = |stage: &ToldStage| {
        plan.stages
            .iter()
            .any(|s| s.parent.as_ref() == Some(&stage.key))
    };
    let is_first = at < plan.course.start + distortion.shift_ns.unsigned_abs() / 8;
    let shift = |time: &mut Option<Wall>| *time = time.map(|t| t.shifted(distortion.shift_ns));
    let index = distortion.stage % stages.len().max(1);
    let stage = stages.get_mut(index).map(|s| &mut s.progress);
    match distortion.kind {
        DistortionKind::NoStart => own.start = None,
        DistortionKind::NoEnd => own.end = None,
        DistortionKind::NoTimes => {
            for progress in stages.iter_mut().map(|s| &mut s.progress).chain([own]) {
                (progress.start, progress.end) = (None, None);
            }
        }
        DistortionKind::WrongTimes => {
            shift(&mut own.start);
            shift(&mut own.end);
        }
        DistortionKind::EndBeforeStart => {
            own.end = own.start.map(|s| s.shifted(-distortion.shift_ns.abs()));
        }
        DistortionKind::Flaps if faulty && (at / MINUTE).is_multiple_of(2) => {
            *own = Progress::default()
        }
        DistortionKind::Flaps | DistortionKind::Lost => {}
        DistortionKind::ParentsLate if is_first => stages.retain(|s| !has_parts(s)),
        DistortionKind::ParentsUntold if is_first => {
            stages.iter_mut().for_each(|stage| stage.parent = None);
        }
        DistortionKind::ParentsLate | DistortionKind::ParentsUntold => {}
        DistortionKind::ParentsChange if !is_first => {
            let other = plan.stages.first().map(|stage| stage.key.0.clone());
            // A stage is never its own parent.
            for stage in stages.iter_mut().filter(|stage| stage.key.0.contains('/')) {
                stage.parent.clone_from(&other);
            }
        }
        DistortionKind::ParentsChange => {}
        DistortionKind::ParentsEndEarly => {
            let running = |s: &&mut ToldStage| s.progress.state == State::Running && has_parts(s);
            for stage in stages.iter_mut().filter(running) {
                let progress = &mut stage.progress;
                progress.status = Some("Ended".into());
                progress.state = State::Ended(match distortion.shift_ns % 2 {
                    0 => Outcome::Success,
                    _ => Outcome::Failure,
                });
                progress.end = progress.start.map(|start| start.shifted(SECOND as i64));
            }
        }
        DistortionKind::StageGone => {
            let stage = plan.stages.get(distortion.stage);
            if let Some(stage) = stage.filter(|_| !is_first) {
                stages.retain(|told| told.key != stage.key);
            }
        }
        DistortionKind::Attempts => {
            let ended = stages
                .iter()
                .find(|s| matches!(s.progress.state, State::Ended(_)));
            let many = many_attempts(distortion);
            if let Some(stage) = ended.cloned() {
                stages.extend(many.map(|attempt| ToldStage {
                    key: (stage.key.0.clone(), attempt),
                    id: None,
                    ..stage.clone()
                }));
            }
        }
        DistortionKind::StageWithoutEnd => stage.map_or((), |s| s.end = None),
        DistortionKind::StageOutside => stage.map_or((), |s| {
            shift(&mut s.start);
            shift(&mut s.end);
        }),
        DistortionKind::StageLeftOpen => stage.map_or((), |s| {
            if s.state != State::Pending {
                s.state = State::Running;
                s.end = None;
            }
        }),
        DistortionKind::StageVanishes => {
            if !stages.is_empty() && (at / MINUTE).is_multiple_of(2) {
                stages.remove(index);
            }
        }
        DistortionKind::StageFlaps => {
            if let Some(stage) = stage
                && (at / MINUTE).is_multiple_of(2)
            {
                *stage = Progress::default();
            }
        }
    }
}

/// The numbers of additional attempts, of which there may be too many.
pub fn many_attempts(distortion: Distortion) -> std::ops::Range<u32> {
    let shift = distortion.shift_ns.unsigned_abs();
    let most = if shift.is_multiple_of(5) {
        limits::STAGE_ATTEMPTS_MAX as u64 + 20
    } else {
        10
    };
    10..10 + (shift % most) as u32
}
