//! The external system: what it says of a workflow at a time, and what becomes of a poll.

use crate::random::Random;
use crate::scenario::{
    Course, Distortion, DistortionKind, EPOCH_NS, Host, MINUTE, Plan, SECOND, Scenario, StagePlan,
};
use farspan::core::snapshot::{Outcome, Progress, Snapshot, StageSnapshot, State};
use farspan::core::time::Wall;
use farspan::core::{Answer, PollFailure, PollFailureReason};
use std::time::Duration;

/// What a poll brings.
pub struct Reply {
    pub answer: Answer,
    pub requests: u32,
    /// By the API's clock.
    pub date: Option<Wall>,
    pub latency: u64,
    /// The same once more, so much later.
    pub again_after: Option<u64>,
    /// What it would have been, so much later, where it was too late.
    pub late: Option<(u64, Answer)>,
}

/// A wall clock that is so far ahead.
pub fn wall(at: u64, ahead_ns: i64) -> Wall {
    Wall::from_unix_ns(EPOCH_NS + at as i64 + ahead_ns)
}

/// Answers of one host within the minute under way.
#[derive(Default)]
pub struct Rate {
    minute: u64,
    answers: u64,
}

pub fn reply(
    scenario: &Scenario,
    plan: &Plan,
    rate: &mut Rate,
    sent: u64,
    r: &mut Random,
) -> Reply {
    let host = &scenario.hosts[plan.host];
    let faults = &scenario.faults;
    let faulty = sent < scenario.faults_end;
    let latency = r.between(host.latency_min, host.latency_max);
    let served = sent + latency / 2;
    let mut reply = Reply {
        answer: answer(plan, host, served, faulty),
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
        reply.answer = answer(plan, host, then, faulty);
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

fn answer(plan: &Plan, host: &Host, at: u64, faulty: bool) -> Answer {
    let distortion = plan.distortion.filter(|d| at < d.heals_at);
    let lost = distortion.is_some_and(|d| d.kind == DistortionKind::Lost);
    if !plan.exists || at < plan.known_at || (lost && at >= plan.course.end) {
        return Answer::NotFound;
    }
    let mut progress = progress(Some(plan.course), at, host);
    let mut stages: Vec<StageSnapshot> = Vec::new();
    for stage in &plan.stages {
        let seen = stage_of(stage, at, host);
        if plan.tells_pending || seen.progress.state != State::Pending {
            stages.push(seen);
        }
    }
    if (at / MINUTE).is_multiple_of(3) {
        stages.reverse();
    }
    if let Some(distortion) = distortion {
        distort(distortion, faulty, at, &mut progress, &mut stages);
    }
    let snapshot = Snapshot {
        workflow_id: Some(plan.event.workflow_id.clone()),
        progress,
        stages: stages.into(),
        ..Snapshot::default()
    };
    Answer::Snapshot {
        snapshot: Box::new(snapshot),
        oddity: None,
    }
}

fn stage_of(stage: &StagePlan, at: u64, host: &Host) -> StageSnapshot {
    StageSnapshot {
        path: stage.path.as_str().into(),
        kind: stage.path.as_str().into(),
        id: Some("id".into()),
        progress: progress(stage.course, at, host),
        ..StageSnapshot::default()
    }
}

fn progress(course: Option<Course>, at: u64, host: &Host) -> Progress {
    let Some(course) = course.filter(|c| c.start <= at) else {
        return Progress::default();
    };
    let clock = |at| Some(wall(at, host.skew_ns));
    let running = Progress {
        status: Some("Initializing".into()),
        state: State::Running,
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
    distortion: Distortion,
    faulty: bool,
    at: u64,
    own: &mut Progress,
    stages: &mut Vec<StageSnapshot>,
) {
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
