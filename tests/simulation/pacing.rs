//! Who waits for whom: hosts that are slow, and hosts that are to be asked only so often, with pollers for all of them.

use crate::api::{self, ToldStage};
use crate::encoders::ENCODERS;
use crate::random::Random;
use crate::scenario::{EPOCH_NS, MINUTE, MS, SECOND};
use farspan::core::event::StartEvent;
use farspan::core::ids::RunKey;
use farspan::core::outbox::BatchPolicy;
use farspan::core::sampler::{Sampler, SpanLimits};
use farspan::core::snapshot::{Outcome, Progress, State};
use farspan::core::time::{Mono, Now, Wall};
use farspan::core::workflow::Naming;
use farspan::core::{
    Action, Answer, Change, Core, Input, Monitor, Note, Pace, Poll, PollFailure, PollFailureReason,
    Polled, RunNote, Settings, Stored, limits,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

const INTERVAL: u64 = 10 * SECOND;

/// A monitor with a host of its own.
struct Api {
    workflows: usize,
    latency: u64,
    requests: u32,
    rate: Option<f64>,
    /// Each poll of so many hangs. 0: none does.
    hangs_each: usize,
}

impl Api {
    /// Whether its polls go together.
    fn makes_groups(&self) -> bool {
        self.rate.is_none() && self.latency * 2 <= limits::GROUP_TIME.as_nanos() as u64
    }

    /// How long a poll takes.
    fn takes(&self, number: usize) -> u64 {
        if self.hangs_each > 0 && number.is_multiple_of(self.hangs_each) {
            10 * SECOND
        } else {
            self.latency
        }
    }
}

struct Asked {
    at: u64,
    /// After it was due.
    late: u64,
    /// How much earlier or later than without a grid.
    moved: u64,
    api: usize,
}

fn settings(apis: &[Api], pollers: usize) -> Settings {
    let monitor = |(host, api): (u16, &Api)| Monitor {
        naming: Naming::new(
            &format!("monitor {host}"),
            "Workflow",
            SpanLimits::default(),
        ),
        host,
        pace: Pace::new(
            Duration::ZERO,
            Duration::from_nanos(INTERVAL),
            Duration::from_nanos(24 * 60 * MINUTE),
        ),
        requests_per_second: api.rate,
        send_traceparent: false,
    };
    Settings {
        monitors: (0..).zip(apis).map(monitor).collect(),
        pollers,
        workflows_max: 10_000,
        sampler: Sampler::default(),
        batch: BatchPolicy {
            schedule_delay: Duration::from_secs(1),
            spans_max: 512,
            queue_max: usize::MAX,
        },
        stores: true,
        state_bytes_max: u64::MAX,
        exports: false,
        exports_logs: false,
        buckets: std::sync::Arc::default(),
        seed: 1,
    }
}

fn now_at(at: u64) -> Now {
    Now {
        mono: Mono::from_ns(at),
        wall: Wall::from_unix_ns(EPOCH_NS + at as i64),
    }
}

fn event(monitor: usize, id: &str) -> StartEvent {
    StartEvent::new(monitor as u16, id)
}

fn snapshot(progress: Progress, stages: Vec<ToldStage>) -> Answer {
    Answer::Snapshot {
        snapshot: Box::new(api::snapshot(None, None, progress, stages)),
        oddity: None,
    }
}

fn running(start: u64) -> Progress {
    Progress {
        status: Some("Running".into()),
        state: State::Running,
        start: Some(now_at(start).wall),
        ..Progress::default()
    }
}

fn answered(poll: &Poll, sent: u64, received: u64, requests: u32, answer: Answer) -> Input {
    Input::Polled(Polled {
        slot: poll.slot,
        generation: poll.generation,
        sent: now_at(sent),
        received: now_at(received),
        date: None,
        requests,
        not_modified: 0,
        pause: None,
        answer,
    })
}

/// Every poll of so long a time, how late it was, and of whom.
fn run(apis: &[Api], pollers: usize, until: u64) -> Vec<Asked> {
    let mut core = Core::new(settings(apis, pollers), ENCODERS, now_at(0));
    let mut answers = BinaryHeap::new();
    let mut due = BTreeMap::new();
    let (mut asked, mut begins, mut reports, mut now) = (Vec::new(), Vec::new(), Vec::new(), 0_u64);
    let most = apis.iter().map(|api| api.workflows).max().unwrap_or(0);
    for n in 0..most {
        for (index, _) in (0..).zip(apis).filter(|(_, api)| n < api.workflows) {
            let event = event(index, &format!("{index}/{n}"));
            let key = RunKey::of(&format!("monitor {index}"), &event.workflow_id);
            let asked_for = key.spread() % INTERVAL;
            // How quick the API is shows only later.
            let times = Times {
                asked_for,
                due: asked_for,
            };
            due.insert(event.workflow_id.clone(), times);
            core.handle(Input::Started(event), now_at(0));
        }
    }
    let mut workers: Vec<Worker> = (0..pollers).map(|_| Worker::default()).collect();
    loop {
        while let Some(action) = core.next_action() {
            match action {
                Action::Poll(group) => {
                    core.group_begun(group.poller, now_at(now).mono);
                    let worker = &mut workers[usize::from(group.poller)];
                    assert!(worker.under_way.is_none() && worker.not_begun.is_empty());
                    worker.not_begun.extend(group.polls);
                    begins.push(group.poller);
                }
                Action::Recall(poller) => {
                    let worker = &mut workers[usize::from(poller)];
                    let not_begun = std::mem::take(&mut worker.not_begun).into();
                    core.handle(Input::Recalled(not_begun), now_at(now));
                    reports.push(poller);
                }
                _ => {}
            }
        }
        if let Some(poller) = begins.pop() {
            let worker = &mut workers[usize::from(poller)];
            match worker.not_begun.pop_front() {
                Some(poll) => {
                    let api = usize::from(poll.monitor);
                    let Times { asked_for, due } = due[&*poll.workflow_id];
                    asked.push(Asked {
                        at: now,
                        late: now.saturating_sub(due),
                        moved: now.abs_diff(asked_for),
                        api,
                    });
                    let takes = apis[api].takes(asked.len());
                    answers.push(Reverse((now + takes, poller)));
                    worker.under_way = Some((poll, now));
                }
                None => reports.push(poller),
            }
            continue;
        }
        if let Some(poller) = reports.pop() {
            for (poll, sent, received) in std::mem::take(&mut workers[usize::from(poller)].kept) {
                let known = due.get_mut(&*poll.workflow_id).expect("it is watched");
                let asked_for = (known.due + INTERVAL).max(now + INTERVAL / 2);
                let api = &apis[usize::from(poll.monitor)];
                let due = if api.makes_groups() {
                    on_grid(asked_for)
                } else {
                    asked_for
                };
                *known = Times { asked_for, due };
                let requests = api.requests;
                let answer = snapshot(running(0), Vec::new());
                let input = answered(&poll, sent, received, requests, answer);
                core.handle(input, now_at(now));
            }
            continue;
        }
        let answer = answers.peek().map(|Reverse((at, _))| *at);
        let deadline = core.next_deadline().map(Mono::as_ns);
        assert!(
            deadline.is_none_or(|at| at > now),
            "the core asks for the past"
        );
        let next = answer.into_iter().chain(deadline).min();
        now = next.expect("somebody is watched");
        if now > until {
            return asked;
        }
        if answer == Some(now)
            && deadline != Some(now)
            && let Some(Reverse((_, poller))) = answers.pop()
        {
            let worker = &mut workers[usize::from(poller)];
            let (poll, sent) = worker.under_way.take().expect("it was asked");
            worker.kept.push((poll, sent, now));
            begins.push(poller);
        } else {
            core.handle(Input::Tick, now_at(now));
        }
    }
}

/// When the next poll of a workflow is asked for, and when it is due.
struct Times {
    asked_for: u64,
    due: u64,
}

/// A poller: it sends its polls one after another, and reports the answers together.
#[derive(Default)]
struct Worker {
    not_begun: VecDeque<Poll>,
    under_way: Option<(Poll, u64)>,
    /// With when they were sent and answered.
    kept: Vec<(Poll, u64, u64)>,
}

/// Where polls of [`INTERVAL`] are due: at the nearest point of the grid.
fn on_grid(at: u64) -> u64 {
    let shift = limits::GRID_SHIFT_MAX.as_nanos() as u64;
    (at.saturating_sub(shift)).next_multiple_of(limits::GRID_MAX.as_nanos() as u64)
}

fn p99(asked: &[Asked], api: usize) -> Duration {
    let of_api = asked.iter().filter(|asked| asked.api == api);
    p99_of(of_api.map(|asked| asked.late).collect())
}

fn p99_of(mut times: Vec<u64>) -> Duration {
    times.sort_unstable();
    Duration::from_nanos(times[times.len() * 99 / 100])
}

/// The first polls are sent when they are asked for, the second ones are moved to the grid, and the later ones stay there.
#[test]
fn the_grid_moves_a_poll_by_a_tenth_of_a_second_at_most() {
    let api = Api {
        workflows: 500,
        latency: MS,
        requests: 1,
        rate: None,
        hangs_each: 0,
    };
    let asked = run(&[api], 16, 10 * MINUTE);
    let (first, later) = asked.split_at(500);
    let (second, later) = later.split_at(500);
    let moved = |asked: &[Asked]| p99_of(asked.iter().map(|asked| asked.moved).collect());
    let (shift, late) = (limits::GRID_SHIFT_MAX, Duration::from_millis(20));
    assert!(moved(first) <= late);
    assert!(moved(second) > shift / 2, "they go together");
    assert!(moved(second) <= shift + late);
    assert!(moved(later) <= late);
    assert!(p99(&asked, 0) <= Duration::from_millis(20));
}

/// What waits behind the poll that hangs is taken back.
#[test]
fn a_poll_that_hangs_holds_up_no_other_of_its_host() {
    let api = Api {
        workflows: 1000,
        latency: MS / 2,
        requests: 1,
        rate: None,
        hangs_each: 500,
    };
    let asked = run(&[api], 16, 30 * MINUTE);
    let late = p99(&asked, 0);
    assert!(late <= Duration::from_millis(40), "{late:?}");
    assert!(asked.len() as u64 >= 1000 * 29 * MINUTE / INTERVAL);
}

#[test]
fn an_api_that_hangs_makes_no_other_wait() {
    let hangs = || Api {
        workflows: 500,
        latency: 30 * SECOND,
        requests: 1,
        rate: None,
        hangs_each: 0,
    };
    let answers = |latency| Api {
        workflows: 200,
        latency,
        requests: 1,
        rate: None,
        hangs_each: 0,
    };
    for (apis, pollers, most) in [
        (vec![hangs(), answers(20 * MS)], 16, 100 * MS),
        // As busy as the one poller that is its own can be.
        (vec![hangs(), answers(40 * MS)], 2, 2 * SECOND),
        (vec![hangs(), hangs(), answers(20 * MS)], 16, SECOND),
        // More than one poller can do.
        (vec![hangs(), answers(150 * MS)], 16, SECOND),
    ] {
        let asked = run(&apis, pollers, 30 * MINUTE);
        let last = apis.len() - 1;
        let late = p99(&asked, last);
        assert!(
            late <= Duration::from_nanos(most),
            "{late:?} of {most} ns, {pollers} pollers"
        );
        let polls = asked.iter().filter(|asked| asked.api == last).count();
        assert!(polls as u64 >= 200 * 29 * MINUTE / INTERVAL, "{polls}");
    }
}

/// Over any window: the rate, a burst, and what one poll more costs; more only until what a poll needs is known.
#[test]
fn no_host_is_asked_more_often_than_its_rate_allows() {
    for seed in 0..40 {
        let mut r = Random::new(seed);
        let mut apis: Vec<Api> = (0..r.between(1, 3))
            .map(|_| Api {
                workflows: r.between(1, 60) as usize,
                latency: r.magnitude(MS, 5 * SECOND),
                requests: if r.chance(0.5) {
                    1
                } else {
                    r.between(1, 6) as u32
                },
                rate: r.chance(0.7).then(|| r.magnitude(1, 1000) as f64 / 50.0),
                hangs_each: 0,
            })
            .collect();
        apis.push(Api {
            workflows: 10,
            latency: MS,
            requests: 1,
            rate: None,
            hangs_each: 0,
        });
        let pollers = r.between(apis.len() as u64, 16) as usize;
        let asked = run(&apis, pollers, 5 * MINUTE);
        for (index, api) in apis.iter().enumerate() {
            let times: Vec<u64> = asked
                .iter()
                .filter(|a| a.api == index)
                .map(|a| a.at)
                .collect();
            assert!(!times.is_empty(), "seed {seed}: it starves");
            let Some(rate) = api.rate else {
                continue;
            };
            let one = f64::from(api.requests);
            let learning = match api.requests {
                1 => 0,
                _ => asked
                    .iter()
                    .take_while(|a| a.at < times[0] + api.latency)
                    .count(),
            };
            let unknown = (learning.min(pollers) as f64) * (one - 1.0);
            for (first, from) in times.iter().enumerate() {
                for (last, to) in times.iter().enumerate().skip(first) {
                    let window = (to - from) as f64 / SECOND as f64;
                    let requests = (last - first + 1) as f64 * one;
                    let most = rate * window + rate.max(1.0) + one + unknown;
                    assert!(requests <= most + 1e-3, "seed {seed}: {requests} of {most}");
                }
            }
            // And no less, where there is more to ask than that.
            let demand = api.workflows as f64 * one / (INTERVAL as f64 / SECOND as f64);
            let can = demand
                .min(rate)
                .min(one * SECOND as f64 / api.latency as f64);
            let did = times.len() as f64 * one / 300.0;
            assert!(did >= 0.6 * can - 0.05, "seed {seed}: {did}/s of {can}/s");
        }
    }
}

/// A driver's own API: it is there while its workflow is. farspan ends and starts again meanwhile.
#[test]
fn a_workflow_that_takes_its_api_along_ends_as_it_was_seen() {
    for seed in 0..200 {
        let mut r = Random::new(seed);
        let after = r.magnitude(SECOND, 5 * MINUTE);
        let interval = r.magnitude(SECOND, MINUTE);
        let api = Api {
            workflows: 1,
            latency: MS,
            requests: 1,
            rate: None,
            hangs_each: 0,
        };
        let mut settings = settings(&[api], 4);
        settings.monitors[0].pace.interval = Duration::from_nanos(interval);
        settings.monitors[0].pace.gone_after = Some(Duration::from_nanos(after));
        let (start, end) = (MINUTE, MINUTE + r.magnitude(2 * interval, 60 * MINUTE));
        let stage_end = start + r.between(1, end - start);
        let fails = r.chance(0.5);
        let restart_at = r.chance(0.5).then(|| r.between(start, end + after));
        let (mut restart, mut refused_at) = (restart_at, u64::MAX);
        let mut core = Core::new(settings.clone(), ENCODERS, now_at(0));
        let mut stored: BTreeMap<RunKey, Vec<u8>> = BTreeMap::new();
        let (mut now, mut open, mut spans, mut outcome) = (0, None, Vec::new(), None);
        let mut last_seen = None;
        core.handle(Input::Started(event(0, "w")), now_at(0));
        while outcome.is_none() {
            while let Some(action) = core.next_action() {
                match action {
                    Action::Poll(group) => {
                        open = group.polls.into_iter().next().map(|poll| (poll, now))
                    }
                    Action::Finished(span) => spans.push(*span),
                    Action::Note(Note::Run {
                        what: RunNote::Ended { outcome: how, .. },
                        ..
                    }) => outcome = Some(how),
                    _ => {}
                }
            }
            for change in core.take_changes() {
                match change {
                    Change::PutWorkflow { run, record } => drop(stored.insert(run, record)),
                    Change::RemoveWorkflow(run) => drop(stored.remove(&run)),
                    _ => {}
                }
            }
            if outcome.is_some() {
                break;
            }
            let deadline = core.next_deadline().map(Mono::as_ns);
            let answer = open.as_ref().map(|(_, sent)| sent + MS);
            now = deadline
                .into_iter()
                .chain(answer)
                .min()
                .expect("it is watched");
            if restart.take_if(|at| *at <= now).is_some() {
                core = Core::new(settings.clone(), ENCODERS, now_at(now));
                let workflows = stored.clone().into_iter().collect();
                core.restore(
                    Stored {
                        workflows,
                        ..Stored::default()
                    },
                    now_at(now),
                );
                open = None;
                core.handle(Input::Tick, now_at(now));
                continue;
            }
            let Some((poll, sent)) = open.take_if(|(_, sent)| *sent + MS == now) else {
                core.handle(Input::Tick, now_at(now));
                continue;
            };
            let answer = if now < start {
                Answer::NotFound
            } else if now < end {
                last_seen = Some(now);
                snapshot(running(start), vec![stage(start, stage_end, fails, now)])
            } else {
                refused_at = refused_at.min(now);
                Answer::Failed(PollFailure {
                    reason: PollFailureReason::Connect,
                    detail: "refused".into(),
                    retry_after: None,
                })
            };
            core.handle(answered(&poll, sent, now, 1, answer), now_at(now));
        }
        let Some(last_seen) = last_seen else {
            continue;
        };
        let root = spans.last().expect("it has a span");
        let gone = root
            .attributes
            .iter()
            .any(|(key, _)| **key == *"farspan.gone");
        assert!(gone, "seed {seed}: {root:?}");
        // Once more after a restart, and each time no later than twice.
        let most = end + interval + 2 * (2 * after + interval) + SECOND;
        assert!(
            now >= end + after.min(MS) && now <= most,
            "seed {seed}: {} s",
            now / SECOND
        );
        let saw_end = last_seen >= stage_end;
        let expected = if fails && saw_end {
            Outcome::Failure
        } else {
            Outcome::Success
        };
        assert_eq!(outcome, Some(expected), "seed {seed}");
        // When it was seen to run is in no record before the API is gone.
        let is_forgotten = restart_at.is_some_and(|at| (last_seen..refused_at).contains(&at));
        if is_forgotten && !saw_end {
            assert!(root.end <= now_at(last_seen).wall, "seed {seed}");
        } else {
            let end = if saw_end { stage_end } else { last_seen };
            assert_eq!(root.end, now_at(end).wall, "seed {seed}");
        }
        let incomplete = |key: &str| key == "farspan.incomplete";
        let stage = &spans[0];
        let is_open = stage.attributes.iter().any(|(key, _)| incomplete(key));
        assert_eq!(is_open, !saw_end, "seed {seed}");
    }
}

fn stage(start: u64, end: u64, fails: bool, at: u64) -> ToldStage {
    let ended = at >= end;
    let outcome = if fails {
        Outcome::Failure
    } else {
        Outcome::Success
    };
    ToldStage {
        key: ("job".into(), 1),
        parent: None,
        kind: "job".into(),
        id: None,
        progress: Progress {
            status: Some(if ended { "Ended" } else { "Running" }.into()),
            state: if ended {
                State::Ended(outcome)
            } else {
                State::Running
            },
            start: Some(now_at(start).wall),
            end: ended.then(|| now_at(end).wall),
            ..Progress::default()
        },
    }
}
