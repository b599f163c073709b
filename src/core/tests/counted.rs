//! What the metrics count.

use super::*;
use crate::event::{Origin, Value};
use crate::metrics::{Counters, EventFate};
use crate::outcome::Outcome;

fn at(seconds: i64) -> Option<Wall> {
    Some(Wall::from_unix_ns(EPOCH_NS + seconds * 1_000_000_000))
}

fn progress(state: State, [queued, start, end]: [Option<Wall>; 3]) -> Progress {
    Progress {
        status: Some(state.as_str().into()),
        state,
        queued,
        start,
        end,
        ..Progress::default()
    }
}

fn answer(run: Progress, stages: &[(&str, Progress)]) -> Answer {
    let stages = stages.iter().map(|(kind, progress)| StageSnapshot {
        path: (*kind).into(),
        kind: (*kind).into(),
        progress: progress.clone(),
        ..StageSnapshot::default()
    });
    Answer::Snapshot {
        snapshot: Box::new(Snapshot {
            progress: run,
            stages: stages.collect(),
            attributes: vec![("cicd.pipeline.name".into(), Value::from("Nightly"))].into(),
            ..Snapshot::default()
        }),
        oddity: None,
    }
}

fn rig() -> Rig {
    Rig::new(Settings {
        buckets: [10, 100].map(Duration::from_secs).into(),
        ..settings(vec![monitor(0), monitor(1)])
    })
}

fn live(rig: &Rig) -> Vec<(u16, String, [u32; 3])> {
    let live = rig.core.counters().live.iter();
    live.map(|of| (of.monitor, of.workflow.to_string(), of.counts))
        .collect()
}

/// Durations and errors, a line each.
fn told(counters: &Counters) -> String {
    let mut text = String::new();
    let mut tell = |what: String, durations: &metrics::Durations| {
        let exemplars = durations.exemplars.iter().flatten();
        let exemplars: Vec<_> = exemplars.map(|it| it.duration).collect();
        text += &format!("{what} {:?} {exemplars:?}\n", durations.counts);
    };
    for (of, durations) in counters.took.runs.iter() {
        let state = if of.is_wait { "waited" } else { "ran" };
        let outcome = of.outcome.map_or("-", Outcome::as_str);
        let what = format!("{} {state} {outcome} {:?}", of.workflow, of.error_type);
        tell(what, durations);
    }
    for (kind, series) in [
        ("ran", &counters.took.stages),
        ("waited", &counters.took.stage_waits),
    ] {
        for (of, durations) in series.iter() {
            let outcome = of.outcome.map_or("-", Outcome::as_str);
            tell(
                format!("{}/{} {kind} {outcome}", of.workflow, of.stage),
                durations,
            );
        }
    }
    for (of, count) in counters.errors.iter() {
        text += &format!("{} error {:?} {count}\n", of.workflow, of.error_type);
    }
    text
}

#[test]
fn a_run_counts_where_it_stands_and_in_the_end_how_long_it_took() {
    let mut rig = rig();
    rig.start(0, "w");
    assert_eq!(live(&rig), [(0, "Workflow".into(), [1, 0, 0])]);
    let (_, poll) = rig.next_poll();
    let running = progress(State::Running, [at(-20), at(0), None]);
    let stage = |state, times| [("Load", progress(state, times))];
    rig.answer(
        &poll,
        answer(
            running.clone(),
            &stage(State::Running, [at(0), at(3), None]),
        ),
    );
    // Its name came with the answer.
    let of_name = |counts| {
        [
            (0, "Workflow".into(), [0; 3]),
            (0, "Nightly".to_owned(), counts),
        ]
    };
    assert_eq!(live(&rig), of_name([0, 1, 0]));
    let (_, poll) = rig.next_poll();
    let failed = State::Ended(Outcome::Failure);
    rig.answer(
        &poll,
        answer(running, &stage(failed, [at(0), at(3), at(103)])),
    );
    expect![[r#"
        Nightly/Load ran failure [0, 1, 0] [100s]
        Nightly/Load waited failure [1, 0, 0] [3s]
        Nightly error "failure" 1
    "#]]
    .assert_eq(&told(rig.core.counters()));
    let (_, poll) = rig.next_poll();
    // Without an end it settles for two polls.
    let ended = progress(failed, [at(-20), at(0), None]);
    let stages = stage(failed, [at(0), at(3), at(103)]);
    rig.answer(&poll, answer(ended, &stages));
    assert_eq!(live(&rig), of_name([0, 0, 1]));
    let (_, poll) = rig.next_poll();
    let ended = progress(failed, [at(-20), at(0), at(101)]);
    rig.answer(&poll, answer(ended, &stages));
    assert_eq!(live(&rig), of_name([0; 3]));
    // The failure of the stage is that of the run too: it counts once.
    expect![[r#"
        Nightly ran failure "failure" [0, 0, 1] [103s]
        Nightly waited - "" [0, 1, 0] [20s]
        Nightly/Load ran failure [0, 1, 0] [100s]
        Nightly/Load waited failure [1, 0, 0] [3s]
        Nightly error "failure" 1
    "#]]
    .assert_eq(&told(rig.core.counters()));
}

#[test]
fn a_run_that_never_starts_counts_by_its_wait() {
    let mut rig = rig();
    rig.start(1, "w");
    while rig.core.watched() > 0 {
        let (_, poll) = rig.next_poll();
        rig.answer(&poll, Answer::NotFound);
    }
    let counters = rig.core.counters();
    expect![[r#"
        Workflow waited error "not_found" [0, 1, 0] [64.248s]
        Workflow error "not_found" 1
    "#]]
    .assert_eq(&told(counters));
    assert_eq!(counters.monitors[1].not_found, counters.monitors[1].polls);
    assert_eq!(counters.monitors[0].polls, 0, "the other monitor");
}

#[test]
fn a_run_that_is_not_sampled_counts_without_an_exemplar() {
    let mut rig = Rig::new(Settings {
        sampler: Sampler::AlwaysOff,
        buckets: [10].map(Duration::from_secs).into(),
        ..settings(vec![monitor(0)])
    });
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    let ended = progress(State::Ended(Outcome::Success), [None, at(0), at(5)]);
    rig.answer(&poll, answer(ended.clone(), &[("Load", ended)]));
    expect![[r#"
        Nightly ran success "" [1, 0] []
        Nightly/Load ran success [1, 0] []
    "#]]
    .assert_eq(&told(rig.core.counters()));
    assert!(rig.spans.is_empty());
}

#[test]
fn events_count_by_their_source_and_requests_by_what_they_saved() {
    let mut rig = rig();
    for origin in [Origin::Stream, Origin::Http] {
        let event = StartEvent {
            origin,
            ..event(0, "w")
        };
        rig.handle(Input::Started(event));
    }
    rig.handle(Input::Started(event(9, "no such monitor")));
    let events = &rig.core.counters().events;
    assert_eq!(events.of(Origin::Stream, EventFate::Accepted), 1);
    assert_eq!(events.of(Origin::Http, EventFate::Duplicate), 1);
    assert_eq!(events.of(Origin::Command, EventFate::Shed), 1);
    let (_, poll) = rig.next_poll();
    rig.handle(Input::Polled(Polled {
        slot: poll.slot,
        generation: poll.generation,
        sent: rig.now,
        received: rig.now,
        date: None,
        requests: 3,
        not_modified: 2,
        pause: None,
        answer: running(),
    }));
    let counted = &rig.core.counters().monitors[0];
    assert_eq!((counted.requests, counted.not_modified), (3, 2));
}
