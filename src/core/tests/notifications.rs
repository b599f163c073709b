//! When a finished event is sent to its receiver.

use super::*;
use crate::finished::{Notification, NotifyTrouble};

fn announcing() -> Settings {
    let mut monitor = monitor(0);
    monitor.naming.notifies = true;
    settings(vec![monitor])
}

/// A workflow that a stream's entry has announced, and that has finished.
fn finished(settings: Settings) -> Rig {
    let mut rig = Rig::new(settings);
    rig.handle(from_entry("w"));
    rig.core.take_changes();
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, completed());
    rig
}

fn notified(rig: &mut Rig, trouble: Option<NotifyTrouble>) {
    let notify = rig.notified.remove(0);
    let runs = notify.notifications.iter().map(|it| it.run);
    rig.handle(Input::Notified(Notified {
        monitor: notify.monitor,
        batch: notify.batch,
        taken: match trouble {
            Some(_) => Vec::new(),
            None => runs.collect(),
        },
        refused: Vec::new(),
        trouble,
    }));
}

/// The receiver refuses the first event for good. Returns the event's run.
fn refused(rig: &mut Rig) -> RunKey {
    let notify = rig.notified.remove(0);
    let run = notify.notifications[0].run;
    rig.handle(Input::Notified(Notified {
        monitor: notify.monitor,
        batch: notify.batch,
        taken: Vec::new(),
        refused: vec![(run, "HTTP 400".into())],
        trouble: None,
    }));
    run
}

fn put(rig: &mut Rig) -> Notification {
    let mut changes = rig.core.take_changes().into_iter();
    let put = changes.find_map(|change| match change {
        Change::PutNotification(it) => Some(it),
        _ => None,
    });
    put.expect("it is to be stored")
}

#[test]
fn the_end_and_its_notification_are_one_commit() {
    let mut rig = finished(announcing());
    let [event] = rig.announced.as_slice() else {
        panic!("{:?}", rig.announced);
    };
    let span = rig.spans.last().unwrap();
    assert_eq!((&*event.monitor, &*event.workflow_id), ("monitor0", "w"));
    assert_eq!(event.context.span_id, span.span_id);
    assert_eq!(event.context.trace_id, span.trace_id);
    assert_eq!(
        (event.finish.start, event.finish.end),
        (span.start, span.end)
    );
    assert_eq!((event.outcome, event.abandoned), (Outcome::Success, None));
    let changes = rig.core.take_changes();
    let has = |wanted: fn(&Change) -> bool| changes.iter().filter(|c| wanted(c)).count();
    assert_eq!(has(|c| matches!(c, Change::RemoveWorkflow(_))), 1);
    assert_eq!(has(|c| matches!(c, Change::PutItem(_))), 1);
    assert_eq!(has(|c| matches!(c, Change::PutNotification(_))), 1);
    assert_eq!(rig.notified.len(), 1);
    assert_eq!(rig.core.notifications_waiting(), 1);
    assert!(
        rig.core
            .everything()
            .iter()
            .any(|c| matches!(c, Change::PutNotification(_)))
    );
}

#[test]
fn an_entry_waits_for_the_span_and_for_the_receiver() {
    for span_first in [true, false] {
        let mut rig = finished(announcing());
        if span_first {
            exported(&mut rig, delivered());
        } else {
            notified(&mut rig, None);
        }
        assert!(rig.settled.is_empty(), "the other one is on its way");
        if span_first {
            notified(&mut rig, None);
        } else {
            exported(&mut rig, delivered());
        }
        assert_eq!(rig.settled, ["acknowledge entry of w"]);
        let changes = rig.core.take_changes();
        assert!(
            changes
                .iter()
                .any(|c| matches!(c, Change::RemoveNotifications(gone) if gone.len() == 1))
        );
        assert_eq!(rig.core.notifications_waiting(), 0);
        assert_eq!(rig.core.counters().notifications_delivered, 1);
    }
}

#[test]
fn without_a_receiver_there_is_no_notification() {
    let mut rig = finished(settings(vec![monitor(0)]));
    assert!(rig.announced.is_empty() && rig.notified.is_empty());
    exported(&mut rig, delivered());
    assert_eq!(rig.settled, ["acknowledge entry of w"]);
}

#[test]
fn a_run_that_is_not_sampled_has_a_notification_too() {
    let mut rig = finished(Settings {
        sampler: Sampler::AlwaysOff,
        ..announcing()
    });
    assert!(rig.spans.is_empty());
    assert_eq!(rig.announced[0].context.trace_flags, 0);
    assert_eq!(
        rig.announced[0].finish.end,
        Wall::from_unix_ns(EPOCH_NS + 1)
    );
    notified(&mut rig, None);
    assert_eq!(rig.settled, ["acknowledge entry of w"]);
}

#[test]
fn what_was_given_up_says_so() {
    let mut rig = Rig::new(announcing());
    rig.start(0, "w");
    rig.answer_all(secs(3700.0), secs(0.1), &running());
    let event = &rig.announced[0];
    assert_eq!(event.outcome, Outcome::Timeout);
    assert_eq!(event.abandoned, Some(Abandoned::TimedOut));
    assert_eq!(&*event.finish.error, "Monitor timed out");
    assert_eq!(&*event.finish.error_type, "timeout");
}

#[test]
fn trouble_is_noted_once_and_so_is_its_end() {
    let trouble = || NotifyTrouble {
        reason: "no answer".into(),
        retry_after: None,
    };
    let mut rig = finished(announcing());
    rig.notes();
    for _ in 0..3 {
        notified(&mut rig, Some(trouble()));
        assert!(rig.notified.is_empty(), "not at once");
        rig.pass(secs(31.0));
    }
    notified(&mut rig, None);
    let notes = rig.notes();
    check(
        &notes,
        &expect![[r#"
            Receiver { monitor: 0, what: Troubled("no answer") }
            Receiver { monitor: 0, what: Troubled("no answer") }
            Receiver { monitor: 0, what: Recovered }
        "#]],
    );
}

#[test]
fn what_a_receiver_refuses_holds_up_nothing() {
    let mut rig = finished(announcing());
    rig.notes();
    let run = refused(&mut rig);
    assert_eq!(rig.core.notifications_waiting(), 0);
    assert_eq!(rig.core.counters().notifications_refused, 1);
    let note = Note::Receiver {
        monitor: 0,
        what: ReceiverNote::Refused {
            run,
            message: "HTTP 400".into(),
        },
    };
    assert_eq!(rig.notes(), [note]);
    // A receiver that refuses all events does not fill the log.
    rig.start(0, "v");
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, completed());
    rig.notes();
    refused(&mut rig);
    assert_eq!(rig.notes(), []);
    assert_eq!(rig.core.counters().notifications_refused, 2);
}

#[test]
fn what_was_stored_is_told_after_a_restart() {
    let mut rig = finished(announcing());
    let told = put(&mut rig);
    let stored = |it: &Notification| Stored {
        notifications: vec![it.clone()],
        finished: vec![(it.run, rig.now.wall)],
        ..Stored::default()
    };
    let mut next = Rig::new(announcing());
    next.core.restore(stored(&told), next.now);
    next.handle(Input::Tick);
    assert_eq!(next.notified[0].notifications, std::slice::from_ref(&told));
    // Its entry comes again, and waits to be acknowledged.
    next.handle(from_entry("w"));
    assert!(next.settled.is_empty() && next.core.watched() == 0);
    notified(&mut next, None);
    assert_eq!(next.settled, ["acknowledge entry of w"]);
    // Its receiver is not configured any more: it stays stored, and that is noted.
    let mut without = Rig::plain();
    without.core.restore(stored(&told), without.now);
    without.handle(Input::Tick);
    assert!(without.notified.is_empty());
    assert_eq!(without.core.notifications_waiting(), 0);
    let stranded = Note::State(StateNote::Stranded {
        monitor: "monitor0".into(),
        notifications: 1,
    });
    assert!(without.notes().contains(&stranded));
    let everything = without.core.everything();
    assert!(everything.contains(&Change::PutNotification(told)));
}

#[test]
fn a_run_of_another_instance_has_no_notification() {
    let mut rig = finished(announcing());
    let run = put(&mut rig).run;
    rig.handle(Input::Refused(vec![(run, Refusal::Elsewhere)]));
    assert_eq!(rig.core.notifications_waiting(), 0);
    assert_eq!(rig.settled, ["leave entry of w"]);
    // The answer to what was sent before is stale.
    notified(&mut rig, None);
    assert_eq!(rig.core.take_changes(), []);
    rig.start(0, "v");
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, completed());
    assert_eq!(rig.notified.len(), 1, "the next one goes");
}

fn large(monitor: &str, bytes: usize) -> Stored {
    let notification = Notification {
        sequence: 1,
        run: RunKey::from_bytes([7; 16]),
        monitor: monitor.into(),
        bytes: vec![0; bytes].into(),
    };
    Stored {
        notifications: vec![notification],
        ..Stored::default()
    }
}

#[test]
fn trouble_of_a_receiver_is_news_once_a_minute() {
    let trouble = |reason: &str| NotifyTrouble {
        reason: reason.into(),
        retry_after: None,
    };
    let mut rig = finished(announcing());
    rig.notes();
    let mut told = Vec::new();
    for reason in ["refused", "HTTP 401", "HTTP 401", "HTTP 401", "HTTP 401"] {
        notified(&mut rig, Some(trouble(reason)));
        told.push(rig.notes().len());
        rig.pass(secs(31.0));
    }
    assert_eq!(told, [1, 0, 1, 0, 1]);
}

#[test]
fn a_notification_without_a_receiver_holds_no_polls() {
    let mut rig = Rig::new(announcing());
    let gone = large("gone", limits::NOTIFICATIONS_BYTES_MAX);
    rig.core.restore(gone, rig.now);
    rig.start(0, "w");
    rig.pass(INTERVAL * 2);
    assert!(!rig.core.polls_held());
    assert_eq!(rig.polls().len(), 1);
}

/// Polls that the collector held go on, although a receiver is down.
#[test]
fn polls_that_waited_for_the_collector_do_not_wait_for_a_receiver() {
    let mut rig = Rig::new(announcing());
    let some = large("monitor0", limits::NOTIFICATIONS_BYTES_MAX / 4 * 3);
    rig.core.restore(some, rig.now);
    rig.start(0, "w");
    assert!(!rig.core.polls_held());
    let (_, poll) = rig.next_poll();
    // The outbox has room for 20 spans.
    rig.answer(&poll, answer_of(State::Running, 20));
    rig.handle(Input::Tick);
    assert!(rig.core.polls_held());
    for _ in 0..2 {
        exported(&mut rig, delivered());
    }
    assert!(!rig.core.polls_held());
}

#[test]
fn what_was_forgotten_on_its_way_says_nothing_of_its_receiver() {
    let trouble = NotifyTrouble {
        reason: "no answer".into(),
        retry_after: None,
    };
    let mut rig = finished(announcing());
    let run = put(&mut rig).run;
    notified(&mut rig, Some(trouble));
    rig.pass(secs(2.0));
    rig.handle(Input::Refused(vec![(run, Refusal::Elsewhere)]));
    rig.notes();
    rig.notified[0].notifications.clear();
    notified(&mut rig, None);
    assert_eq!(rig.notes(), []);
}

#[test]
fn a_receiver_that_takes_nothing_holds_the_polls_in_the_end() {
    let mut rig = finished(announcing());
    rig.start(0, "v");
    let note = |rig: &mut Rig| rig.notes().contains(&Note::PollsHeld(true));
    assert!(!note(&mut rig));
    let large = large("monitor0", limits::NOTIFICATIONS_BYTES_MAX);
    rig.core.restore(large, rig.now);
    rig.pass(INTERVAL * 3);
    assert!(note(&mut rig) && rig.polls().is_empty());
    notified(&mut rig, None);
    rig.handle(Input::Tick);
    notified(&mut rig, None);
    rig.pass(INTERVAL);
    assert_eq!(rig.polls().len(), 1);
}
