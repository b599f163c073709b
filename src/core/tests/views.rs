//! What viewers see: pages, changes, and what is kept of runs that have ended.

use super::*;
use crate::view::{
    Cursor, Held, ListQuestion, PollResult, RunDetail, RunPage, RunQuestion, RunState, RunSummary,
    SortBy, StateFilter, Waits,
};
use std::collections::{BTreeMap, BTreeSet};

const KEPT: usize = 1024 * 1024;

fn viewed(settings: Settings) -> Rig {
    let mut rig = Rig::new(settings);
    rig.core.keep_views(KEPT);
    rig
}

fn everything() -> ListQuestion {
    ListQuestion {
        state: StateFilter::All,
        monitor: None,
        result: None,
        text: None,
        trace: None,
        sort: SortBy::Started,
        descending: false,
        limit: 1000,
        after: None,
    }
}

impl Rig {
    fn list(&self, question: ListQuestion) -> RunPage {
        let mut job = self.core.begin_list(question, self.now);
        loop {
            if let Some(page) = self.core.go_on_with_list(&mut job, self.now) {
                return page;
            }
        }
    }

    fn all(&self) -> Vec<RunSummary> {
        let page = self.list(everything());
        assert_eq!((page.next, page.matching), (None, page.runs.len()));
        page.runs
    }

    fn only(&self) -> RunSummary {
        let mut all = self.all();
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    fn detail(&self, workflow_id: &str) -> RunDetail {
        let question = RunQuestion {
            run: None,
            trace: None,
            workflow_id: workflow_id.into(),
            monitor: None,
        };
        self.core.look_at(&question, self.now).expect("it is shown")
    }

    fn deliver_all(&mut self) {
        while self.core.spans_waiting() > 0 {
            self.pass(secs(6.0));
            for (_, batch) in std::mem::take(&mut self.batches) {
                self.handle(Input::Exported(Exported {
                    signal: batch.signal,
                    batch: batch.id,
                    outcome: delivered(),
                }));
            }
        }
    }
}

#[test]
fn a_run_is_seen_from_its_event_to_its_delivery() {
    let mut rig = viewed(settings(vec![monitor(0)]));
    rig.start(0, "w");
    let seen = rig.only();
    assert_eq!(
        (seen.state, seen.last_poll, seen.result),
        (RunState::Waiting, None, None)
    );
    let (_, poll) = rig.next_poll();
    assert_eq!(
        rig.only().next_poll.map(|poll| poll.why),
        Some(Some(Waits::UnderWay))
    );
    rig.answer(&poll, answer_of(State::Running, 2));
    let seen = rig.only();
    let last = seen.last_poll.map(|poll| (poll.at, poll.result));
    assert_eq!(last, Some((rig.now.wall, PollResult::News)));
    assert_eq!((seen.state, seen.stages.ended), (RunState::Running, 2));
    assert_eq!(rig.detail("w").finished.len(), 2);

    let (_, poll) = rig.next_poll();
    rig.answer(&poll, answer_of(State::Running, 2));
    let last = rig.only().last_poll.map(|poll| poll.result);
    assert_eq!(last, Some(PollResult::Unchanged));

    let (_, poll) = rig.next_poll();
    rig.answer(&poll, answer_of(State::Ended(Outcome::Success), 2));
    let seen = rig.only();
    assert_eq!(
        (seen.state, seen.result, &*seen.status, seen.next_poll),
        (RunState::Ended, Some(Outcome::Success), "Status", None)
    );
    assert!(!seen.exported);
    assert_eq!(rig.detail("w").finished.len(), 3, "with the workflow's own");
    rig.deliver_all();
    assert!(rig.only().exported);
}

#[test]
fn a_poll_says_why_it_waits() {
    let mut settings = settings(vec![monitor(0)]);
    settings.pollers = 1;
    let mut rig = viewed(settings);
    rig.start(0, "w");
    rig.start(0, "x");
    let why = |rig: &Rig, id: &str| rig.detail(id).summary.next_poll.and_then(|poll| poll.why);
    assert_eq!(why(&rig, "w"), None);
    rig.pass(secs(15.0));
    let waits: BTreeSet<_> = ["w", "x"].map(|id| format!("{:?}", why(&rig, id))).into();
    assert_eq!(
        waits,
        ["Some(NoPollerFree)", "Some(UnderWay)"]
            .map(String::from)
            .into()
    );

    let (_, poll) = rig.next_poll();
    rig.answer(&poll, unreachable());
    assert_eq!(why(&rig, &poll.workflow_id), Some(Waits::Backoff));
    let trouble = rig.detail(&poll.workflow_id).summary.last_poll.unwrap();
    assert_eq!(trouble.error.as_deref(), Some("connect"));

    let (_, poll) = rig.next_poll();
    rig.answer(
        &poll,
        failed(PollFailureReason::TooManyRequests, Some(600.0)),
    );
    rig.pass(secs(60.0));
    assert_eq!(why(&rig, "w"), Some(Waits::HostPaused));
    let paused = rig.core.overview(rig.now).monitors[0].paused_until;
    assert!(paused.is_some_and(|until| until > rig.now.wall));
    rig.handle(Input::StoreTroubled(true));
    assert_eq!(why(&rig, "x"), Some(Waits::Held(Held::StoreTroubled)));
}

#[test]
fn a_question_filters_and_sorts() {
    let mut rig = viewed(settings(vec![monitor(0), monitor(1)]));
    for (monitor, id) in [(1, "b"), (0, "a"), (0, "C")] {
        rig.start(monitor, id);
        rig.pass(secs(0.1));
    }
    rig.pass(secs(15.0));
    for (_, poll) in rig.polls() {
        if *poll.workflow_id == *"a" {
            rig.answer(&poll, completed());
        }
    }
    let ids = |question: ListQuestion| -> String {
        let runs = rig.list(question).runs;
        runs.iter().map(|run| &*run.workflow_id).collect()
    };
    assert_eq!(
        ids(ListQuestion {
            state: StateFilter::Live,
            ..everything()
        }),
        "bC"
    );
    let ended = StateFilter::Only(RunState::Ended);
    assert_eq!(
        ids(ListQuestion {
            state: ended,
            ..everything()
        }),
        "a"
    );
    assert_eq!(
        ids(ListQuestion {
            monitor: Some(1),
            ..everything()
        }),
        "b"
    );
    let success = Some(Outcome::Success);
    assert_eq!(
        ids(ListQuestion {
            result: success,
            ..everything()
        }),
        "a"
    );
    let text = |text: &str| ListQuestion {
        text: Some(text.into()),
        ..everything()
    };
    assert_eq!(ids(text("c")), "C");
    assert_eq!(ids(text("MONITOR1")), "b");
    assert_eq!(ids(text("no such")), "");
    let by = |sort, descending| ListQuestion {
        sort,
        descending,
        ..everything()
    };
    assert_eq!(ids(by(SortBy::Name, false)), "Cab");
    assert_eq!(ids(by(SortBy::Name, true)), "baC");
    assert_eq!(ids(by(SortBy::Duration, true)).chars().next(), Some('a'));
    assert_eq!(ids(by(SortBy::NextPoll, false)).chars().last(), Some('a'));
    assert!(ids(by(SortBy::State, false)).ends_with('a'));
}

#[test]
fn page_after_page_has_every_run_once_while_runs_end() {
    const RUNS: usize = 500;
    for (sort, descending) in [(SortBy::Started, true), (SortBy::Name, false)] {
        let mut settings = settings(vec![monitor(0)]);
        (settings.pollers, settings.workflows_max, settings.stores) = (RUNS, RUNS, false);
        settings.batch.queue_max = usize::MAX;
        let mut rig = viewed(settings);
        rig.core.keep_views(64 * KEPT);
        for n in 0..RUNS {
            rig.start(0, &format!("w{n}"));
        }
        rig.pass(secs(15.1));
        let mut polls = rig.polls();
        assert_eq!(polls.len(), RUNS);
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let question = ListQuestion {
                sort,
                descending,
                limit: 100,
                after,
                ..everything()
            };
            let mut job = rig.core.begin_list(question, rig.now);
            let page = loop {
                for (_, poll) in polls.drain(polls.len().saturating_sub(7)..) {
                    rig.answer(&poll, completed());
                }
                if let Some(page) = rig.core.go_on_with_list(&mut job, rig.now) {
                    break page;
                }
            };
            assert!(page.runs.len() <= 100);
            seen.extend(page.runs.into_iter().map(|run| run.workflow_id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), RUNS);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), RUNS);
        assert!(
            rig.core.overview(rig.now).ended > 100,
            "runs have ended meanwhile"
        );
    }
}

#[test]
fn a_place_in_a_list_is_one_of_the_order() {
    let mut rig = viewed(settings(vec![monitor(0)]));
    rig.start(0, "a");
    rig.start(0, "b");
    let question = |after: Option<Cursor>| ListQuestion {
        sort: SortBy::Name,
        limit: 1,
        after,
        ..everything()
    };
    let first = rig.list(question(None));
    assert_eq!((first.matching, &*first.runs[0].workflow_id), (2, "a"));
    let second = rig.list(question(first.next));
    assert_eq!((&*second.runs[0].workflow_id, second.next), ("b", None));
}

#[test]
fn what_is_kept_of_ended_runs_has_a_bound() {
    let mut rig = viewed(settings(vec![monitor(0)]));
    rig.core.keep_views(20_000);
    let begin = rig.core.view_version();
    for n in 0..100 {
        rig.start(0, &format!("w{n}"));
        let (_, poll) = rig.next_poll();
        rig.answer(&poll, answer_of(State::Ended(Outcome::Success), 3));
        rig.deliver_all();
        assert!(rig.core.views.kept_bytes() <= 20_000);
    }
    let left = rig.all();
    assert!((2..20).contains(&left.len()), "{}", left.len());
    let newest: Vec<String> = (100 - left.len()..100).map(|n| format!("w{n}")).collect();
    let ids: Vec<&str> = left.iter().map(|run| &*run.workflow_id).collect();
    assert_eq!(
        ids.iter().collect::<BTreeSet<_>>(),
        newest
            .iter()
            .map(|it| &**it)
            .collect::<BTreeSet<_>>()
            .iter()
            .collect()
    );
    let changed = rig.core.changed_runs(begin, rig.now);
    assert_eq!((changed.reset, changed.runs.len()), (false, left.len()));
    assert_eq!(changed.gone.len(), 100 - left.len());
}

/// The finished spans of many live runs leave room for the runs that end.
#[test]
fn a_run_that_ends_among_many_live_ones_is_kept() {
    const LIVE: usize = 200;
    let mut settings = settings(vec![monitor(0)]);
    (settings.pollers, settings.workflows_max, settings.stores) = (LIVE, LIVE, false);
    settings.batch.queue_max = usize::MAX;
    let mut rig = viewed(settings);
    rig.core.keep_views(20_000);
    (0..LIVE).for_each(|n| rig.start(0, &format!("w{n}")));
    for _ in 0..LIVE {
        let (_, poll) = rig.next_poll();
        rig.answer(&poll, answer_of(State::Running, 2));
    }
    rig.deliver_all();
    // Of those whose spans had no room.
    let polls: Vec<_> = (0..LIVE).map(|_| rig.next_poll().1).collect();
    for poll in &polls[LIVE - 10..] {
        rig.answer(poll, answer_of(State::Ended(Outcome::Success), 2));
    }
    let ended = rig.list(ListQuestion {
        state: StateFilter::Only(RunState::Ended),
        ..everything()
    });
    assert!(ended.runs.len() > 3, "{}", ended.runs.len());
    assert!(rig.core.views.kept_bytes() <= 20_000);
}

/// The finished stages of a live run are shown though there is no room for their spans.
#[test]
fn a_stage_whose_span_is_not_kept_is_still_named() {
    let mut rig = viewed(settings(vec![monitor(0)]));
    rig.core.keep_views(100);
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, answer_of(State::Running, 2));
    let seen = rig.detail("w");
    assert!(seen.finished.is_empty());
    let stages: Vec<_> = (seen.stages.iter())
        .map(|it| (&*it.name, it.state, it.started))
        .collect();
    assert_eq!(
        stages,
        [("0", RunState::Ended, None), ("1", RunState::Ended, None)]
    );
}

/// It has no span, and the workflow is not watched any more.
#[test]
fn a_skipped_stage_of_an_ended_run_is_still_named_if_there_is_room() {
    let with_skipped = |count: usize| {
        let mut answer = answer_of(State::Ended(Outcome::Success), 1);
        if let Answer::Snapshot { snapshot, .. } = &mut answer {
            for n in 1..=count {
                let skipped: StageSnapshot = StageSnapshot {
                    path: format!("{n}").into(),
                    progress: Progress {
                        state: State::Ended(Outcome::Skip),
                        ..Progress::default()
                    },
                    ..StageSnapshot::default()
                };
                snapshot.stages.push(skipped);
            }
        }
        answer
    };
    let mut rig = viewed(settings(vec![monitor(0)]));
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, with_skipped(2));
    let seen = rig.detail("w");
    assert_eq!(seen.finished.len(), 2, "a stage and the workflow");
    let stages: Vec<_> = (seen.stages.iter())
        .map(|it| (&*it.name, it.state, it.result))
        .collect();
    let skipped = |name| (name, RunState::Ended, Some(Outcome::Skip));
    assert_eq!(stages, [skipped("1"), skipped("2")]);

    let mut rig = viewed(settings(vec![monitor(0)]));
    rig.core.keep_views(20_000);
    rig.start(0, "w");
    let (_, poll) = rig.next_poll();
    rig.answer(&poll, with_skipped(200));
    assert_eq!((rig.all().len(), rig.core.views.kept_bytes()), (0, 0));
}

#[test]
fn a_version_that_is_not_known_begins_again() {
    let mut rig = viewed(settings(vec![monitor(0)]));
    rig.start(0, "w");
    let version = rig.core.view_version();
    assert!(!rig.core.changed_runs(version, rig.now).reset);
    assert!(rig.core.changed_runs(version + 1, rig.now).reset);
    assert!(rig.core.changed_runs(0, rig.now).reset);
    let later = Rig::new(settings(Vec::new())).core.view_version();
    assert!(
        later >= 1_720_000_000_000_000,
        "it counts from the start of the process"
    );
}

/// Whatever happens, who applies the changes sees what a new viewer sees.
#[test]
fn changes_bring_a_viewer_to_the_present() {
    arbtest::arbtest(|u| {
        let mut settings = settings(vec![monitor(0), monitor(1)]);
        settings.batch.queue_max = 4;
        let mut rig = viewed(settings);
        rig.core.keep_views(u.int_in_range(500..=6000)?);
        let mut shown: BTreeMap<RunKey, RunSummary> = BTreeMap::new();
        let mut since = 0;
        for _ in 0..u.int_in_range(1..=60)? {
            let pick =
                |u: &mut arbtest::arbitrary::Unstructured<'_>, len: usize| u.choose_index(len);
            match u.int_in_range(0..=9)? {
                0..=2 => rig.start(
                    u.int_in_range(0..=1)?,
                    &format!("w{}", u.int_in_range(0..=9)?),
                ),
                3..=6 if !rig.polls.is_empty() => {
                    let place = pick(u, rig.polls.len())?;
                    let (_, poll) = rig.polls.remove(place);
                    let answer = match u.int_in_range(0..=4)? {
                        0 => completed(),
                        1 => unreachable(),
                        2 => Answer::NotFound,
                        3 => failed(PollFailureReason::TooManyRequests, Some(30.0)),
                        _ => answer_of(State::Running, u.int_in_range(0..=3)?),
                    };
                    rig.answer(&poll, answer);
                }
                7 => rig.deliver_all(),
                8 => {
                    let all = rig.all();
                    if !all.is_empty() {
                        let run = all[pick(u, all.len())?].run;
                        rig.handle(Input::Refused(vec![(run, Refusal::Elsewhere)]));
                    }
                }
                _ => rig.pass(secs(f64::from(u.int_in_range(0..=20)?))),
            }
            if u.ratio(1, 3)? {
                continue;
            }
            loop {
                let changed = rig.core.changed_runs(since, rig.now);
                if changed.reset {
                    let page = rig.list(everything());
                    since = page.overview.version;
                    shown = page.runs.into_iter().map(|run| (run.run, run)).collect();
                    break;
                }
                for run in changed.gone {
                    shown.remove(&run);
                }
                shown.extend(changed.runs.into_iter().map(|run| (run.run, run)));
                if std::mem::replace(&mut since, changed.overview.version) == since {
                    break;
                }
            }
            let plain = |run: &RunSummary| {
                let mut run = run.clone();
                if let Some(poll) = &mut run.next_poll {
                    poll.why = None;
                }
                run
            };
            let present: Vec<RunSummary> = rig.all().iter().map(plain).collect();
            let present: BTreeMap<RunKey, RunSummary> =
                present.into_iter().map(|run| (run.run, run)).collect();
            let shown: BTreeMap<RunKey, RunSummary> =
                shown.values().map(|run| (run.run, plain(run))).collect();
            assert_eq!(shown, present);
        }
        Ok(())
    });
}
