//! A run that is announced in several ways is one run.

use super::*;
use ids::RunIdentity;

fn settings_by(run_identity: RunIdentity) -> Settings {
    let mut monitor = monitor(0);
    monitor.naming.run_identity = run_identity;
    settings(vec![monitor])
}

/// What a start event from Redis says, and what a listing says: `(attempt, SubmittedAt so many seconds ago)`.
type Announced = (Option<u32>, Option<i64>);

const EVENT: Announced = (None, Some(3));
const LISTED: Announced = (Some(1), Some(4));

fn announced((attempt, submitted_at): Announced) -> StartEvent {
    StartEvent {
        attempt,
        submitted_at: submitted_at.map(|s| Wall::from_unix_ns(EPOCH_NS - s * 1_000_000_000)),
        ..event(0, "w")
    }
}

fn start(rig: &mut Rig, how: Announced) {
    rig.handle(Input::Started(announced(how)));
}

fn finish(rig: &mut Rig) {
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, completed());
    rig.handle(Input::Tick);
}

/// The roots that were finished: trace id, and the time of `Submitted`.
fn roots(rig: &Rig) -> Vec<(ids::TraceId, Option<i64>)> {
    let roots = rig.spans.iter().filter(|span| *span.name == *"Workflow");
    let submitted = |span: &Span| {
        let event = span.events.iter().find(|e| *e.name == *"Submitted")?;
        Some((EPOCH_NS - event.time.as_unix_ns()) / 1_000_000_000)
    };
    roots.map(|root| (root.trace_id, submitted(root))).collect()
}

/// A restart with what was stored.
fn restart(rig: &mut Rig, settings: &Settings, stored: &mut Stored) {
    for change in rig.core.take_changes() {
        match change {
            Change::PutWorkflow { run, record } => {
                stored.workflows.retain(|(known, _)| *known != run);
                stored.workflows.push((run, record));
            }
            Change::RemoveWorkflow(run) => stored.workflows.retain(|(known, _)| *known != run),
            Change::PutFinished(run, at) => stored.finished.push((run, at)),
            _ => {}
        }
    }
    let spans = std::mem::take(&mut rig.spans);
    let now = rig.now;
    *rig = Rig::new(settings.clone());
    rig.now = now;
    rig.core = Core::new(settings.clone(), ENCODERS, now);
    rig.spans = spans;
    rig.core.restore(stored.clone(), now);
    rig.handle(Input::Tick);
}

#[test]
fn an_event_and_a_list_announce_one_run_in_any_order_and_across_restarts() {
    let settings = settings_by(RunIdentity::Attempt);
    let mut ids = Vec::new();
    let ways = [
        EVENT,
        LISTED,
        (None, None),
        (Some(1), None),
        (Some(0), Some(3)),
        (None, Some(4)),
    ];
    for (first, second) in ways.iter().flat_map(|a| ways.map(|b| (*a, b))) {
        for restarts in [false, true] {
            let mut rig = Rig::new(settings.clone());
            let mut stored = Stored::default();
            let mut again = |rig: &mut Rig| {
                if restarts {
                    restart(rig, &settings, &mut stored);
                }
            };
            start(&mut rig, first);
            start(&mut rig, second);
            again(&mut rig);
            start(&mut rig, second);
            start(&mut rig, first);
            finish(&mut rig);
            again(&mut rig);
            start(&mut rig, first);
            start(&mut rig, second);
            assert_eq!(rig.core.watched(), 0, "{first:?} {second:?} {restarts}");
            let roots = roots(&rig);
            assert_eq!(roots.len(), 1);
            ids.push(roots[0].0);
            // The trace has what either source knows.
            assert_eq!(roots[0].1, first.1.or(second.1), "{first:?} {second:?}");
        }
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "whoever announces it, it is the same trace");
}

/// One instance hears the event, another finds the run in a list. It is one run: the store refuses it to one of them.
#[test]
fn instances_that_hear_of_a_run_in_different_ways_claim_the_same() {
    let claimed = |run_identity, how| {
        let mut rig = Rig::new(settings_by(run_identity));
        start(&mut rig, how);
        runs_of(&rig)
    };
    assert_eq!(
        claimed(RunIdentity::Attempt, EVENT),
        claimed(RunIdentity::Attempt, LISTED)
    );
    assert_ne!(
        claimed(RunIdentity::Event, EVENT),
        claimed(RunIdentity::Event, LISTED)
    );
}

#[test]
fn a_later_attempt_that_is_listed_ends_the_watch_of_an_event_that_named_none() {
    for restarts in [false, true] {
        let settings = settings_by(RunIdentity::Attempt);
        let mut rig = Rig::new(settings.clone());
        start(&mut rig, EVENT);
        if restarts {
            restart(&mut rig, &settings, &mut Stored::default());
        }
        start(&mut rig, (Some(2), Some(9)));
        assert_eq!(rig.core.counters().workflows_superseded, 1);
        for late in [EVENT, LISTED, (Some(2), Some(9))] {
            start(&mut rig, late);
        }
        assert_eq!(rig.core.watched(), 1);
        finish(&mut rig);
        start(&mut rig, EVENT);
        let [(first, _), (second, Some(9))] = roots(&rig)[..] else {
            panic!("{:?}", roots(&rig));
        };
        assert_ne!(first, second);
        // The second follows the first, whose trace has no number in its ids.
        let link = &rig.spans.last().expect("a root").links[0];
        assert_eq!({ link.context.trace_id }, first);
        assert_eq!(link.context.span_id, rig.spans[0].span_id);
    }
}

/// Two instances watched one each, and a third takes over both.
#[test]
fn of_an_attempt_without_a_number_and_a_later_one_that_are_restored_the_first_ends() {
    let settings = settings_by(RunIdentity::Attempt);
    let stored = |how| {
        let mut rig = Rig::new(settings.clone());
        start(&mut rig, how);
        match rig.core.take_changes().remove(0) {
            Change::PutWorkflow { run, record } => (run, record),
            other => panic!("{other:?}"),
        }
    };
    let (first, second) = (stored(EVENT), stored((Some(2), None)));
    for order in [[&first, &second], [&second, &first]] {
        let mut rig = Rig::new(settings.clone());
        let stored = Stored {
            workflows: order.map(Clone::clone).into(),
            ..Stored::default()
        };
        rig.core.restore(stored, rig.now);
        rig.handle(Input::Tick);
        assert_eq!(runs_of(&rig), [second.0]);
        assert_eq!(rig.core.counters().workflows_superseded, 1);
    }
}

/// An event named no attempt, and a listing did: from then on an answer about a later attempt ends the watch.
#[test]
fn what_a_second_announcement_knows_of_the_attempt_counts() {
    let answer = |attempt| {
        let mut answer = running();
        if let Answer::Snapshot { snapshot, .. } = &mut answer {
            snapshot.attempt = Some(attempt);
        }
        answer
    };
    let mut rig = Rig::new(settings_by(RunIdentity::Attempt));
    start(&mut rig, EVENT);
    for (about, listed, ended) in [(2, None, 0), (1, Some(LISTED), 0), (2, None, 1)] {
        if let Some(listed) = listed {
            start(&mut rig, listed);
        }
        let (_, poll) = rig.next_poll();
        rig.answer(&poll, answer(about));
        assert_eq!(rig.core.counters().workflows_ended, ended);
    }
}

/// A discovery was added to the configuration: watched runs keep their ids, and finished runs are not traced again.
#[test]
fn a_run_from_before_a_discovery_was_added_stays_the_same_run() {
    let (before, settings) = (
        settings_by(RunIdentity::Event),
        settings_by(RunIdentity::Attempt),
    );
    for is_over in [false, true] {
        for how in [EVENT, LISTED, (None, None)] {
            let mut rig = Rig::new(before.clone());
            start(&mut rig, how);
            if is_over {
                finish(&mut rig);
            }
            let ids = runs_of(&rig);
            restart(&mut rig, &settings, &mut Stored::default());
            start(&mut rig, how);
            assert_eq!(runs_of(&rig), ids);
            if !is_over {
                start(&mut rig, EVENT);
                start(&mut rig, LISTED);
                assert_eq!(runs_of(&rig), ids);
                finish(&mut rig);
            }
            assert_eq!(roots(&rig).len(), 1);
            assert_eq!(rig.core.watched(), 0);
        }
    }
}
