//! Listings share the rate and the pause of their host with polls.

use super::*;

/// Two monitors of one host and one of another.
fn monitors(requests_per_second: Option<f64>) -> Rig {
    let mut monitors = vec![monitor(0), monitor(0), monitor(1)];
    monitors[1].naming.monitor = "same host".into();
    monitors[0].requests_per_second = requests_per_second;
    Rig::new(settings(monitors))
}

fn due(monitor: u16) -> Input {
    Input::Listing(Listing::Due { monitor })
}

fn done(monitor: u16, requests: u32, pause: Option<f64>) -> Input {
    Input::Listing(Listing::Done {
        monitor,
        requests,
        pause: pause.map(secs),
    })
}

/// Answers all polls for so long, while these discoveries always want another listing. Returns when polls and listings
/// were sent.
fn busy(rig: &mut Rig, listing: &[u16], requests: u32, time: f64) -> (Vec<Mono>, Vec<(Mono, u16)>) {
    let (end, mut polls, mut lists) = (rig.now.mono + secs(time), Vec::new(), Vec::new());
    for monitor in listing {
        rig.handle(due(*monitor));
    }
    loop {
        for (at, monitor) in std::mem::take(&mut rig.lists) {
            lists.push((at, monitor));
            assert!(lists.len() < 10_000, "lists cost nothing");
            rig.handle(done(monitor, requests, None));
            rig.handle(due(monitor));
        }
        for (at, poll) in rig.polls() {
            polls.push(at);
            rig.answer(&poll, running());
        }
        if !(rig.lists.is_empty() && rig.polls.is_empty()) {
            continue;
        }
        let next = rig.core.next_deadline().expect("a list is due");
        if next > end {
            return (polls, lists);
        }
        assert!(next > rig.now.mono, "the core asks for the past");
        rig.step_to(next);
        rig.handle(Input::Tick);
    }
}

#[test]
fn lists_and_polls_take_turns_at_the_rate_of_their_host() {
    let mut rig = monitors(Some(2.0));
    for n in 0..100 {
        rig.start(0, &format!("w{n}"));
    }
    rig.pass(secs(16.0));
    let (polls, lists) = busy(&mut rig, &[0, 1], 1, 300.0);
    // 2 a second, those of a full bucket, and those that were under way.
    let all = polls.len() + lists.len();
    assert!((600..=606).contains(&all), "{all}");
    assert!(polls.len().abs_diff(lists.len()) <= 3, "{}", polls.len());
    let of_first = lists.iter().filter(|(_, monitor)| *monitor == 0).count();
    assert!(of_first.abs_diff(lists.len() / 2) <= 2, "{of_first}");
}

#[test]
fn where_no_poll_waits_lists_have_all_of_the_rate_and_redirects_are_requests() {
    for requests in [1, 3] {
        let mut rig = monitors(Some(2.0));
        let (_, lists) = busy(&mut rig, &[1], requests, 300.0);
        let expected = 600 / requests as usize;
        assert!(lists.len().abs_diff(expected) <= 3, "{}", lists.len());
    }
}

/// The collector may be away for long: then no poll is sent, and listings go on.
#[test]
fn polls_that_are_held_hold_no_list() {
    let mut rig = monitors(Some(2.0));
    for n in 0..10 {
        rig.start(0, &format!("w{n}"));
    }
    rig.handle(Input::StoreTroubled(true));
    rig.pass(secs(16.0));
    let (polls, lists) = busy(&mut rig, &[0], 1, 10.0);
    assert!(
        polls.is_empty() && (20..=23).contains(&lists.len()),
        "{}",
        lists.len()
    );
}

#[test]
fn a_host_without_a_rate_is_asked_at_once() {
    let mut rig = monitors(None);
    for monitor in [0, 1, 2] {
        rig.handle(due(monitor));
    }
    let now = rig.now.mono;
    assert_eq!(rig.lists, [(now, 0), (now, 1), (now, 2)]);
}

#[test]
fn a_pause_that_a_list_is_asked_for_holds_its_hosts_polls() {
    let mut rig = monitors(None);
    for monitor in [0, 1, 2] {
        rig.start(monitor, "w");
    }
    rig.handle(due(0));
    rig.handle(done(0, 1, Some(60.0)));
    let notes = rig.notes();
    check(
        &notes,
        &expect![[r#"
            Api { monitor: 0, what: Paused { asked: 60s, pause: 60s, is_news: true } }
        "#]],
    );
    rig.pass(secs(59.0));
    let polled: Vec<u16> = rig.polls().iter().map(|(_, poll)| poll.monitor).collect();
    assert!(
        !polled.is_empty() && polled.iter().all(|monitor| *monitor == 2),
        "{polled:?}"
    );
    rig.pass(secs(12.0));
    let polled: Vec<u16> = rig.polls().iter().map(|(_, poll)| poll.monitor).collect();
    assert!(polled.contains(&0) && polled.contains(&1), "{polled:?}");
}

/// Listings that wait for the end of a pause are spread over an interval, as polls are.
#[test]
fn a_pause_that_a_poll_is_asked_for_holds_its_hosts_lists() {
    let mut rig = monitors(None);
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    let until = rig.now.mono + secs(60.0);
    rig.answer(
        &poll,
        failed(PollFailureReason::TooManyRequests, Some(60.0)),
    );
    for monitor in [0, 1, 2] {
        rig.handle(due(monitor));
    }
    assert_eq!(rig.lists, [(rig.now.mono, 2)], "the other host's");
    rig.lists.clear();
    rig.pass(secs(90.0));
    assert_eq!(rig.lists.len(), 2);
    for (at, _) in &rig.lists {
        assert!((until..=until + INTERVAL).contains(at), "{at:?}");
    }
    assert!(rig.lists[0].0 != rig.lists[1].0, "not together");
}

#[test]
fn who_asks_twice_or_is_not_there_counts_for_nothing() {
    let mut rig = monitors(Some(0.1));
    rig.handle(due(0));
    assert_eq!(std::mem::take(&mut rig.lists).len(), 1);
    rig.handle(due(0));
    rig.handle(due(0));
    rig.handle(due(77));
    rig.handle(done(77, 1, Some(3600.0)));
    rig.pass(secs(100.0));
    assert_eq!(rig.lists.len(), 1);
    rig.pass(secs(100.0));
    assert_eq!(rig.lists.len(), 1);
}

#[test]
fn at_the_stop_no_list_is_requested_or_waited_for() {
    let mut rig = monitors(Some(0.1));
    rig.handle(due(0));
    rig.handle(due(1));
    rig.lists.clear();
    rig.handle(Input::Drain);
    assert_eq!(rig.core.next_deadline(), None);
    rig.pass(secs(100.0));
    rig.handle(due(0));
    assert_eq!(rig.lists, []);
}
