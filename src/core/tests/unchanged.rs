//! What polls without news write: nothing.

use super::*;

/// Of several polls in a row, the changes that each left for the store.
fn stored_by(rig: &mut Rig, answers: impl IntoIterator<Item = Answer>) -> Vec<Vec<Change>> {
    let answered = answers.into_iter().map(|answer| {
        let (_, poll) = rig.next_poll();
        rig.answer(&poll, answer);
        rig.core.take_changes()
    });
    answered.collect()
}

#[test]
fn an_answer_that_says_the_same_again_is_not_stored() {
    for goes_away in [false, true] {
        let mut plain = monitor(0);
        plain.pace.timeout = secs(1e6);
        plain.pace.gone_after = goes_away.then_some(secs(60.0));
        let mut rig = Rig::new(settings(vec![plain]));
        rig.start(0, "w");
        rig.core.take_changes();
        let same = answer_of(State::Running, 4);
        let first = stored_by(&mut rig, [same.clone()]);
        assert!(!first[0].is_empty(), "the first answer is news");
        // An hour and more, in which farspan's own upkeep comes by as well.
        for stored in stored_by(&mut rig, std::iter::repeat_n(same, 500)) {
            assert_eq!(stored, [], "the API goes away: {goes_away}");
        }
        assert!(rig.now.mono > mono(3600.0));
        let news = stored_by(&mut rig, [answer_of(State::Running, 5)]);
        assert!(!news[0].is_empty(), "a stage more is news");
    }
}

#[test]
fn a_poll_that_fails_or_finds_nothing_is_not_stored() {
    let mut rig = Rig::plain();
    rig.start(0, "w");
    rig.core.take_changes();
    for stored in stored_by(
        &mut rig,
        [Answer::NotFound, Answer::NotFound, Answer::NotFound],
    ) {
        assert_eq!(stored, []);
    }
    for reason in PollFailureReason::ALL {
        let mut rig = Rig::plain();
        rig.start(0, "w");
        let (_, poll) = rig.next_poll();
        rig.answer(&poll, running());
        rig.core.take_changes();
        let failures = std::iter::repeat_n(failed(reason, None), 20);
        for stored in stored_by(&mut rig, failures) {
            assert_eq!(stored, [], "{reason:?}");
        }
    }
}
