//! What is noted of several monitors of one host.

use super::*;

fn two_of_one_host() -> Rig {
    let mut monitors = vec![monitor(0), monitor(0)];
    monitors[1].naming.monitor = "same host".into();
    let mut rig = Rig::new(settings(monitors));
    for monitor in [0, 1] {
        rig.start(monitor, "w");
    }
    rig
}

/// Answers polls for so long, each monitor's in its own way. Returns what was noted.
fn noted(rig: &mut Rig, time: f64, answers: [&dyn Fn(usize) -> Answer; 2]) -> String {
    let (end, mut polls) = (rig.now.mono + secs(time), [0, 0]);
    while rig.now.mono < end {
        let (_, poll) = rig.next_poll();
        let of = usize::from(poll.monitor);
        rig.answer(&poll, answers[of](polls[of]));
        polls[of] += 1;
    }
    assert!(polls.iter().all(|count| *count > 2), "{polls:?}");
    let notes = rig.notes();
    notes.iter().map(|note| format!("{note:?}\n")).collect()
}

#[test]
fn what_is_a_monitors_own_trouble_is_news_of_each_and_what_is_their_hosts_once() {
    let of = |reason| move |_| failed(reason, None);
    for reason in PollFailureReason::ALL {
        let mut rig = two_of_one_host();
        let noted = noted(&mut rig, 50.0, [&of(reason), &of(reason)]);
        let expected = match reason {
            PollFailureReason::Connect
            | PollFailureReason::Timeout
            | PollFailureReason::Disconnected
            | PollFailureReason::Protocol
            | PollFailureReason::ServerError
            | PollFailureReason::TooManyRequests => 1,
            _ => 2,
        };
        assert_eq!(noted.lines().count(), expected, "{noted}");
    }
}

/// One token is wrong and the other is right: an answer to the one does not end the trouble of the other.
#[test]
fn a_monitor_that_is_answered_is_none_that_recovers() {
    let unauthorized = |_| failed(PollFailureReason::Unauthorized, None);
    let mut rig = two_of_one_host();
    let at_first = noted(&mut rig, 50.0, [&unauthorized, &|_| running()]);
    expect![[r#"
        Api { monitor: 0, what: Troubled { reason: Unauthorized, detail: "unauthorized" } }
    "#]]
    .assert_eq(&at_first);
    let then = noted(&mut rig, 50.0, [&|_| running(), &|_| running()]);
    expect![[r#"
        Api { monitor: 0, what: Recovered }
    "#]]
    .assert_eq(&then);
    let unreachable = |_| unreachable();
    let then = noted(&mut rig, 50.0, [&unreachable, &unreachable]);
    assert!(then.contains("Connect"), "{then}");
    let then = noted(&mut rig, 100.0, [&|_| running(), &unauthorized]);
    let recovered: Vec<_> = then
        .lines()
        .filter(|line| line.contains("Recovered"))
        .collect();
    assert_eq!(
        recovered,
        ["Api { monitor: 0, what: Recovered }"],
        "the host: {then}"
    );
}

fn odd(what: &str) -> Answer {
    let Answer::Snapshot { snapshot, .. } = running() else {
        unreachable!();
    };
    let oddity = Some(what.into());
    Answer::Snapshot { snapshot, oddity }
}

#[test]
fn an_oddity_is_noted_of_each_monitor() {
    let mut rig = two_of_one_host();
    let noted = noted(&mut rig, 100.0, [&|_| odd("odd"), &|_| odd("odd")]);
    let mut lines: Vec<_> = noted.lines().collect();
    lines.sort_unstable();
    let of = |monitor| format!("Api {{ monitor: {monitor}, what: Odd(\"odd\") }}");
    assert_eq!(lines, [of(0), of(1)]);
}

#[test]
fn one_monitor_does_not_use_up_the_oddities_of_another() {
    let mut rig = two_of_one_host();
    let text = noted(
        &mut rig,
        1500.0,
        [&|poll| odd(&format!("the {poll}th")), &|poll| match poll {
            ..120 => running(),
            _ => odd("at last"),
        }],
    );
    let of = |monitor: u16| {
        let start = format!("Api {{ monitor: {monitor}, what: Odd(");
        text.lines().filter(|line| line.starts_with(&start)).count()
    };
    assert_eq!((of(0), of(1)), (64, 1), "{text}");
}

/// A further request may fail for a while or for ever: the end is not hidden by it, and what it brings is waited for.
#[test]
fn an_end_without_a_further_answer_is_taken_at_the_third_poll() {
    let Answer::Snapshot { snapshot, .. } = completed() else {
        unreachable!()
    };
    let Answer::Failed(failure) = failed(PollFailureReason::Status, None) else {
        unreachable!()
    };
    let partial = Answer::Partial { snapshot, failure };
    let mut rig = Rig::plain();
    rig.start(0, "w");
    for watched in [1, 1, 0] {
        let (_, poll) = rig.next_poll();
        rig.answer(&poll, partial.clone());
        assert_eq!(rig.core.watched(), watched);
    }
    assert_eq!(&*rig.spans[0].name, "Workflow");
    assert_eq!(
        rig.core.counters().polls_failed()[PollFailureReason::Status.index()],
        3
    );
    let notes = format!("{:?}", rig.notes());
    let said = "status: the workflow has ended, and its trace is without what this request brings";
    assert_eq!(notes.matches(said).count(), 1, "{notes}");
}
