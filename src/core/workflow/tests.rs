//! The spans that answers produce, as text in and text out.
//!
//! A line of a script is an answer: when it came, the workflow, and each stage after its path; `timeout` and `gone` in
//! place of the workflow abandon the watch, and `vanished` ends it because its API is gone. A path is
//! `path#attempt^parent`. Something's progress is `Status,start..end,q queued,!error,@url,key:value`, all but the status
//! optional; times are seconds. `#2` after a workflow's status is the attempt that the answer is about.

use super::*;
use crate::ids::{SpanId, SpanShows};
use crate::snapshot::{Progress, StageSnapshot};
use crate::span::SpanStatus;
use expect_test::{Expect, expect};

mod early;

const EPOCH_NS: i64 = 1_720_000_000_000_000_000;

fn wall(seconds: &str) -> Wall {
    let seconds: f64 = seconds.parse().unwrap();
    Wall::from_unix_ns(EPOCH_NS + (seconds * 1e7).round() as i64 * 100)
}

fn seconds(wall: Wall) -> f64 {
    (wall.as_unix_ns() - EPOCH_NS) as f64 / 1e9
}

fn naming() -> Naming {
    Naming::new("risk", "Workflow", SpanLimits::default())
}

fn event() -> StartEvent {
    StartEvent {
        submitted_at: Some(wall("-1")),
        ..StartEvent::new(0, "w1")
    }
}

fn progress(text: &str) -> Progress {
    let mut fields = text.split(',');
    let status = fields.next().unwrap();
    let state = match status {
        "Null" => State::Pending,
        "Initializing" | "Processing" => State::Running,
        "Completed" => State::Ended(Outcome::Success),
        "Failed" => State::Ended(Outcome::Failure),
        "Cancelled" => State::Ended(Outcome::Cancellation),
        "Skipped" => State::Ended(Outcome::Skip),
        other => panic!("{other}"),
    };
    let mut progress = Progress {
        status: (status != "Null").then(|| status.into()),
        state,
        ..Progress::default()
    };
    for field in fields {
        if let Some(error) = field.strip_prefix('!') {
            progress.error = Some(error.into());
        } else if let Some(queued) = field.strip_prefix('q') {
            progress.queued = Some(wall(queued));
        } else if let Some((start, end)) = field.split_once("..") {
            progress.start = (!start.is_empty()).then(|| wall(start));
            progress.end = (!end.is_empty()).then(|| wall(end));
        }
    }
    progress
}

fn snapshot<'a>(workflow: &str, stages: impl Iterator<Item = &'a str>) -> Snapshot {
    let stages = stages.map(|stage| {
        let (path, text) = stage.split_once('=').unwrap();
        let (path, parent) = match path.split_once('^') {
            Some((path, parent)) => (path, Some(parent.into())),
            None => (path, None),
        };
        let (path, attempt) = path.split_once('#').unwrap_or((path, "1"));
        let (url, attributes) = url_and_attributes(text);
        StageSnapshot {
            path: path.into(),
            parent,
            attempt: attempt.parse().unwrap(),
            kind: path.rsplit('/').next().unwrap().into(),
            id: None,
            url,
            attributes,
            progress: progress(text),
        }
    });
    let (url, attributes) = url_and_attributes(workflow);
    let attempt = workflow.split(',').find_map(|f| f.strip_prefix('#'));
    Snapshot {
        workflow_id: None,
        progress: progress(workflow),
        attempt: attempt.map(|attempt| attempt.parse().unwrap()),
        url,
        attributes,
        stages: stages.collect(),
    }
}

fn url_and_attributes(text: &str) -> (Option<Box<str>>, event::Attributes) {
    let fields = || text.split(',').filter(|field| !field.starts_with('!'));
    let url = fields().find_map(|field| field.strip_prefix('@'));
    let attributes = fields().filter(|field| !field.starts_with('@'));
    let attributes = attributes.filter_map(|field| field.split_once(':'));
    let attributes = attributes.map(|(key, value)| (key.into(), value.into()));
    (url.map(Box::from), attributes.collect())
}

/// Each span, with the time of the answer that finished it.
fn run(event: StartEvent, naming: &Naming, script: &str) -> Vec<(f64, Span)> {
    let received_at = wall("0");
    let mut workflow = Workflow::new(event, naming, &Sampler::default(), received_at);
    let mut finished: Vec<(f64, Span)> = Vec::new();
    let (mut restarted_spans, mut stored) = (Vec::new(), Vec::new());
    let mut ended = false;
    let vanishes = script.contains("vanished");
    for line in script.lines().map(str::trim).filter(|l| !l.is_empty()) {
        assert!(!ended, "the watch ended before {line}");
        let mut words = line.split_whitespace();
        let at = wall(words.next().unwrap());
        let mut spans = Vec::new();
        if vanishes {
            // As the core does when the API does not answer any more.
            workflow.touch();
        }
        let mut restarted = restarted(&mut workflow, &mut stored);
        let own = words.next().unwrap();
        let rest: Vec<&str> = words.collect();
        for (workflow, spans) in [
            (&mut workflow, &mut spans),
            (&mut restarted, &mut restarted_spans),
        ] {
            let why = match own {
                "timeout" => Some(Abandoned::TimedOut),
                "gone" => Some(Abandoned::NotFound),
                _ => None,
            };
            if let Some(why) = why {
                workflow.abandon(why, at, naming, spans);
                ended = true;
            } else if own == "vanished" {
                workflow.vanish(at, naming, spans);
                ended = true;
            } else {
                if vanishes {
                    workflow.set_answered(at);
                }
                let snapshot = snapshot(own, rest.iter().copied());
                ended = workflow.observe(snapshot, at, naming, spans, &mut Vec::new())
                    != Verdict::Watching;
            }
            workflow.check_invariants();
        }
        assert_eq!(spans, restarted_spans, "a restart changes nothing");
        restarted_spans.clear();
        finished.extend(spans.into_iter().map(|span| (seconds(at), span)));
    }
    assert!(ended, "the watch goes on");
    hold(&finished, &workflow.run(naming).span_id(None));
    finished
}

/// The workflow as its record has it, which is written where the workflow says that it has changed.
fn restarted(workflow: &mut Workflow, stored: &mut Vec<u8>) -> Workflow {
    if workflow.take_changed() {
        *stored = record::encode("risk", wall("3600"), workflow);
    }
    // What is not counted yet is never stored.
    workflow.take_ended();
    let restarted = record::decode(stored).unwrap().workflow;
    assert_eq!(format!("{restarted:?}"), format!("{workflow:?}"));
    restarted
}

/// What holds of every trace.
fn hold(finished: &[(f64, Span)], root_id: &SpanId) {
    let find = |id: SpanId| finished.iter().position(|(_, s)| s.span_id == id);
    for (place, (_, span)) in finished.iter().enumerate() {
        assert!(span.start <= span.end, "{span:?}");
        assert!(span.events.is_sorted_by_key(|e| e.time), "{span:?}");
        assert!(span.events.iter().all(|e| e.time <= span.end), "{span:?}");
        let same = |other: &&(f64, Span)| other.1.span_id == span.span_id;
        assert_eq!(finished.iter().filter(same).count(), 1, "{span:?}");
        assert!(find(*root_id).is_some(), "a trace has a root");
        if span.span_id != *root_id {
            let parent = find(span.parent.unwrap().span_id).expect("the parent is there");
            assert!(parent > place, "children before parents");
            let (_, parent) = &finished[parent];
            assert!(parent.start <= span.start && span.end <= parent.end);
        }
        for link in &span.links {
            let own = !link.remote && link.context.trace_id == span.trace_id;
            assert!(!own || find(link.context.span_id).is_some(), "{span:?}");
        }
    }
}

fn render(finished: &[(f64, Span)]) -> String {
    let mut text = String::new();
    let Some((_, root)) = finished.last() else {
        return text;
    };
    let label = |span: &Span| {
        let attempt = span.attributes.iter().find(|(key, _)| **key == *"attempt");
        match attempt {
            Some((_, Value::Int(attempt))) => format!("{}#{attempt}", span.name),
            _ => span.name.to_string(),
        }
    };
    let find = |id| finished.iter().find(|(_, span)| span.span_id == id);
    for (at, span) in finished {
        let parent = span
            .parent
            .filter(|p| !p.remote && p.span_id != root.span_id);
        let parent = parent.and_then(|p| find(p.span_id));
        let parent = parent.map_or("".into(), |(_, parent)| format!(" in {}", label(parent)));
        let links = span
            .links
            .iter()
            .map(|link| match find(link.context.span_id) {
                Some((_, other)) => format!(" after {}", label(other)),
                None => format!(" after {} {}", link.context.trace_id, link.context.span_id),
            });
        let links: String = links.collect();
        let status = match &span.status {
            SpanStatus::Unset => "unset".into(),
            SpanStatus::Ok => "ok".into(),
            SpanStatus::Error(message) => format!("error {message:?}"),
        };
        let (name, start, end) = (label(span), seconds(span.start), seconds(span.end));
        text += &format!("@{at} {name}{parent}{links} {start}..{end} {status}");
        for (key, value) in &span.attributes {
            let key = match &**key {
                "error.type" => "type",
                "farspan.incomplete" => "incomplete",
                "farspan.gone" => "gone",
                key if key.ends_with(".result") => "result",
                _ => continue,
            };
            match value {
                Value::Str(value) => text += &format!(" {key}={value}"),
                other => text += &format!(" {key}={other:?}"),
            }
        }
        text += " |";
        for event in &span.events {
            text += &format!(" {} {}", event.name, seconds(event.time));
        }
        text += "\n";
    }
    text
}

fn check(script: &str, expected: &Expect) {
    check_of(event(), &naming(), script, expected);
}

fn check_of(event: StartEvent, naming: &Naming, script: &str, expected: &Expect) {
    expected.assert_eq(&render(&run(event, naming, script)));
}

#[test]
fn success() {
    check(
        "5  Initializing,0..  Load=Initializing,1..  Run=Null
         15 Processing,0..    Load=Completed,1..12.5 Run=Processing,13..
         25 Processing,0..    Load=Completed,1..12.5 Run=Processing,13..
         35 Completed,0..31   Load=Completed,1..12.5 Run=Completed,13..30",
        &expect![[r#"
            @15 Load 1..12.5 ok result=success | Initializing 5 Completed 12.5
            @35 Run 13..30 ok result=success | Processing 15 Completed 30
            @35 Workflow 0..31 ok result=success | Submitted -1 Initializing 5 Processing 15 Completed 31
        "#]],
    );
}

/// However often an answer names a stage, it is one answer: two more are waited for.
#[test]
fn a_stage_named_again_and_again_settles_no_sooner() {
    let stages = "Load=Completed ".repeat(300);
    check(
        &format!(
            "5 Processing,0.. {stages}\n 15 Processing,0.. {stages}\n 25 Processing,0.. {stages}\n 35 Completed,0..31"
        ),
        &expect![[r#"
            @25 Load 5..5 ok result=success | Completed 5
            @35 Workflow 0..31 ok result=success | Submitted -1 Processing 5 Completed 31
        "#]],
    );
}

#[test]
fn a_stage_fails() {
    check(
        "5  Processing,0..   Load=Processing,1..           Run=Null
         15 Failed,0..11,!Entity_failed:_Load Load=Failed,1..10,!no_rows Run=Null",
        &expect![[r#"
            @15 Load 1..10 error "no_rows" result=failure type=Failed | Processing 5 Failed 10
            @15 Workflow 0..11 error "Entity_failed:_Load" result=failure type=Failed | Submitted -1 Processing 5 Failed 11
        "#]],
    );
}

#[test]
fn a_failure_without_a_message() {
    check(
        "5  Failed,0..4",
        &expect![[r#"
        @5 Workflow 0..4 error "" result=failure type=Failed | Submitted -1 Failed 4
    "#]],
    );
}

#[test]
fn everything_a_span_says_about_its_run() {
    let mut event = event();
    event.attributes = Box::new([
        ("desk".into(), "rates".into()),
        ("workflowId".into(), "another".into()),
        ("desk".into(), "credit".into()),
        ("rows".into(), Value::Int(7)),
    ]);
    let mut text = String::new();
    for (_, span) in run(
        event,
        &naming(),
        "5 Completed,0..3 Load=Completed,1..2.0000001",
    ) {
        text += &format!("{} {} {}\n", span.name, span.trace_id, span.span_id);
        for (key, value) in &span.attributes {
            text += &format!("  {key}: {value:?}\n");
        }
    }
    expect![[r#"
        Load 2ace0327c6e57223b4a83b5638847b3e aee865d5e82848cb
          type: Str("Load")
          startTime: Str("2024-07-03T09:46:41Z")
          endTime: Str("2024-07-03T09:46:42.0000001Z")
          workflowId: Str("w1")
          cicd.pipeline.name: Str("Workflow")
          cicd.pipeline.run.id: Str("w1")
          cicd.pipeline.task.name: Str("Load")
          cicd.pipeline.task.run.id: Str("Load")
          cicd.pipeline.task.run.result: Str("success")
        Workflow 2ace0327c6e57223b4a83b5638847b3e 0e5af02cabf3881f
          workflowId: Str("w1")
          cicd.pipeline.name: Str("Workflow")
          cicd.pipeline.run.id: Str("w1")
          startTime: Str("2024-07-03T09:46:40Z")
          endTime: Str("2024-07-03T09:46:43Z")
          cicd.pipeline.result: Str("success")
          desk: Str("rates")
          rows: Int(7)
    "#]]
    .assert_eq(&text);
}

#[test]
fn end_times_that_are_late_are_waited_for() {
    check(
        "5  Processing,0.. Load=Processing,1..
         15 Processing,0.. Load=Completed,1..
         25 Processing,0.. Load=Completed,1..14
         35 Completed,0..  Load=Completed,1..14
         45 Completed,0..34 Load=Completed,1..14",
        &expect![[r#"
            @25 Load 1..14 ok result=success | Processing 5 Completed 14
            @45 Workflow 0..34 ok result=success | Submitted -1 Processing 5 Completed 34
        "#]],
    );
}

#[test]
fn times_that_never_come_are_those_seen() {
    check(
        "5  Processing Load=Processing
         15 Processing Load=Completed
         25 Processing Load=Completed
         35 Completed  Load=Completed
         45 Completed  Load=Completed
         55 Completed  Load=Completed",
        &expect![[r#"
            @35 Load 5..15 ok result=success | Processing 5 Completed 15
            @55 Workflow -1..35 ok result=success | Submitted -1 Processing 5 Completed 35
        "#]],
    );
}

#[test]
fn seen_only_at_the_end_without_times() {
    check(
        "15 Completed Load=Completed
         25 Completed Load=Completed
         35 Completed Load=Completed",
        &expect![[r#"
            @35 Load 15..15 ok result=success | Completed 15
            @35 Workflow -1..15 ok result=success | Submitted -1 Completed 15
        "#]],
    );
}

#[test]
fn an_end_before_the_start_is_the_start() {
    check(
        "5 Completed,3..-62000 Load=Completed,4..-62000",
        &expect![[r#"
            @5 Load 4..4 ok result=success | Completed 4
            @5 Workflow 3..4 ok result=success | Submitted -1 Completed 4
        "#]],
    );
}

/// A nonsensical end of the workflow says nothing about its stages.
#[test]
fn an_end_before_the_start_does_not_squeeze_the_stages() {
    check(
        "45 Completed,3..-62000 Load=Completed,4..40",
        &expect![[r#"
            @45 Load 4..40 ok result=success | Completed 40
            @45 Workflow 3..40 ok result=success | Submitted -1 Completed 40
        "#]],
    );
}

#[test]
fn the_last_word_before_a_span_is_finished_counts() {
    check(
        "5  Processing,0..  Load=Processing,3..99
         15 Processing,1..  Load=Processing,2..
         25 Processing,0.5.. Load=Completed,1..20
         35 Completed,0.25..30 Load=Completed,-7..300",
        &expect![[r#"
            @25 Load 1..20 ok result=success | Processing 5 Completed 20
            @35 Workflow 0.25..30 ok result=success | Submitted -1 Processing 5 Completed 30
        "#]],
    );
}

/// When it was first seen is no news about the workflow's end.
#[test]
fn what_is_seen_after_the_end_without_times_is_within_it() {
    let naming = Naming {
        skipped: true,
        ..naming()
    };
    check_of(
        event(),
        &naming,
        "5  Processing,0..
         15 Completed,0..12 a=Skipped b=Completed
         25 Completed,0..12
         35 Completed,0..12",
        &expect![[r#"
            @15 a 12..12 unset result=skip | Skipped 12
            @35 b 12..12 ok result=success | Completed 12
            @35 Workflow 0..12 ok result=success | Submitted -1 Processing 5 Completed 12
        "#]],
    );
}

#[test]
fn what_was_told_once_is_kept() {
    check(
        "5  Processing,0.. Load=Processing,1..
         15 Processing     Load=Failed,..12,!no_rows
         25 Failed,..14,!Load_failed",
        &expect![[r#"
            @15 Load 1..12 error "no_rows" result=failure type=Failed | Processing 5 Failed 12
            @25 Workflow 0..14 error "Load_failed" result=failure type=Failed | Submitted -1 Processing 5 Failed 14
        "#]],
    );
    check(
        "5  Completed,0.. Load=Completed,..4
         15 Completed,..6 Load=Completed,1..",
        &expect![[r#"
            @15 Load 1..4 ok result=success | Completed 4
            @15 Workflow 0..6 ok result=success | Submitted -1 Completed 5
        "#]],
    );
}

#[test]
fn stages_lie_within_the_workflow() {
    check(
        "5  Processing,10.. Load=Processing,1..
         15 Completed,10..20 Load=Completed,1..30 Run=Completed,25..40",
        &expect![[r#"
            @15 Load 10..20 ok result=success | Processing 10 Completed 15
            @15 Run 25..25 ok result=success | Completed 25
            @15 Workflow 10..25 ok result=success | Submitted -1 Processing 10 Completed 15
        "#]],
    );
}

#[test]
fn the_workflow_holds_stages_that_were_finished_before_it() {
    check(
        "5  Processing      Load=Completed,1..4
         15 Processing      Load=Completed,1..4 Run=Completed,5..30
         25 Completed,2..20 Load=Completed,1..4 Run=Completed,5..30",
        &expect![[r#"
            @5 Load 1..4 ok result=success | Completed 4
            @15 Run 5..30 ok result=success | Completed 15
            @25 Workflow 1..30 ok result=success | Submitted -1 Processing 5 Completed 25
        "#]],
    );
}

#[test]
fn a_stage_that_disappears_ends_with_the_workflow() {
    check(
        "5  Processing,0.. Load=Processing,1.. Run=Completed,1..
         15 Processing,0..
         25 Completed,0..20
         35 Completed,0..20
         45 Completed,0..20",
        &expect![[r#"
            @45 Load 1..20 unset incomplete=Bool(true) | Processing 5
            @45 Run 1..5 ok result=success | Completed 5
            @45 Workflow 0..20 ok result=success | Submitted -1 Processing 5 Completed 20
        "#]],
    );
}

#[test]
fn a_stage_that_ran_and_is_then_said_not_to_have_started_is_not_forgotten() {
    check(
        "
        10 Processing,0.. A=Processing,1..
        20 Failed,0..19 A=Null
        30 Failed,0..19 A=Null
        40 Failed,0..19 A=Null
        ",
        &expect![[r#"
            @40 A 1..19 unset incomplete=Bool(true) | Processing 10
            @40 Workflow 0..19 error "" result=failure type=Failed | Submitted -1 Processing 10 Failed 19
        "#]],
    );
}

#[test]
fn a_stage_that_comes_back_is_the_same() {
    check(
        "5  Processing,0.. Load=Processing,1..
         15 Processing,0.. Run=Processing,2..
         25 Completed,0..20 Run=Completed,2..18 Load=Completed,1..19",
        &expect![[r#"
            @25 Load 1..19 ok result=success | Processing 5 Completed 19
            @25 Run 2..18 ok result=success | Processing 15 Completed 18
            @25 Workflow 0..20 ok result=success | Submitted -1 Processing 5 Completed 20
        "#]],
    );
}

#[test]
fn a_stage_left_open_is_waited_for_and_then_ends_with_the_workflow() {
    check(
        "5  Processing,0.. Load=Processing,1..
         15 Completed,0..12 Load=Processing,1..
         25 Completed,0..12 Load=Processing,1..
         35 Completed,0..12 Load=Processing,1..",
        &expect![[r#"
            @35 Load 1..12 unset incomplete=Bool(true) | Processing 5
            @35 Workflow 0..12 ok result=success | Submitted -1 Processing 5 Completed 12
        "#]],
    );
}

#[test]
fn a_stage_left_open_may_still_end() {
    check(
        "15 Completed,0..12 Load=Processing,1..
         25 Completed,0..12 Load=Completed,1..11",
        &expect![[r#"
            @25 Load 1..11 ok result=success | Processing 11 Completed 11
            @25 Workflow 0..12 ok result=success | Submitted -1 Completed 12
        "#]],
    );
}

/// After a success a stage that has not started is an answer that lags; after a failure it never will.
#[test]
fn a_pending_stage_never_gets_a_span() {
    check(
        "15 Completed,0..12 Load=Null
         25 Completed,0..12 Load=Null
         35 Completed,0..12 Load=Null",
        &expect![[r#"
            @35 Workflow 0..12 ok result=success | Submitted -1 Completed 12
        "#]],
    );
    check(
        "15 Failed,0..12 Load=Null Run=Null,3..4",
        &expect![[r#"
        @15 Workflow 0..12 error "" result=failure type=Failed | Submitted -1 Failed 12
    "#]],
    );
    check(
        "15 Processing,0.. Load=Null
         25 timeout",
        &expect![[r#"
            @25 Workflow 0..25 error "Monitor timed out" result=timeout type=timeout | Submitted -1 Processing 15
        "#]],
    );
}

#[test]
fn a_skipped_stage_gets_no_span_and_is_not_waited_for() {
    check(
        "15 Completed,0..12 Load=Completed,1..11 Run=Skipped",
        &expect![[r#"
            @15 Load 1..11 ok result=success | Completed 11
            @15 Workflow 0..12 ok result=success | Submitted -1 Completed 12
        "#]],
    );
    check(
        "15 Completed,0..12 Load=Skipped,5..5",
        &expect![[r#"
        @15 Workflow 0..12 ok result=success | Submitted -1 Completed 12
    "#]],
    );
}

#[test]
fn skipped_and_cancelled_workflows() {
    check(
        "5 Skipped,1..1",
        &expect![[r#"
        @5 Workflow 1..1 unset result=skip | Submitted -1 Skipped 1
    "#]],
    );
    check(
        "5 Processing,1.. Load=Processing,1..
         15 Cancelled,1..8,!by_hand Load=Cancelled,1..7,!by_hand",
        &expect![[r#"
            @15 Load 1..7 unset result=cancellation | Processing 5 Cancelled 7
            @15 Workflow 1..8 unset result=cancellation | Submitted -1 Processing 5 Cancelled 8
        "#]],
    );
}

#[test]
fn a_skipped_workflow_without_times_has_no_length() {
    check(
        "5 Skipped",
        &expect![[r#"
        @5 Workflow -1..-1 unset result=skip | Submitted -1 Skipped -1
    "#]],
    );
    check(
        "5 Null,q2\n 15 Skipped,q2",
        &expect![[r#"
        @15 Workflow 2..2 unset result=skip | Submitted -1 Skipped 2
    "#]],
    );
    check(
        "5 Skipped,3..",
        &expect![[r#"
        @5 Workflow 3..3 unset result=skip | Submitted -1 Skipped 3
    "#]],
    );
    check(
        "5 Skipped,..4",
        &expect![[r#"
        @5 Workflow 4..4 unset result=skip | Submitted -1 Skipped 4
    "#]],
    );
    check(
        "5 Skipped,3..4 Load=Skipped",
        &expect![[r#"
        @5 Workflow 3..4 unset result=skip | Submitted -1 Skipped 4
    "#]],
    );
    // It ran.
    check(
        "5 Processing\n 15 Skipped,1..",
        &expect![[r#"
        @15 Workflow 1..15 unset result=skip | Submitted -1 Processing 5 Skipped 15
    "#]],
    );
}

#[test]
fn the_timeout_ends_what_is_open() {
    check(
        "5 Processing,0.. Load=Completed,1..4 Run=Processing,4.. Out=Null Late=Completed,2..
         90 timeout",
        &expect![[r#"
            @5 Load 1..4 ok result=success | Completed 4
            @90 Run 4..90 error "Monitor timed out" result=timeout type=timeout | Processing 5
            @90 Late 2..5 ok result=success | Completed 5
            @90 Workflow 0..90 error "Monitor timed out" result=timeout type=timeout | Submitted -1 Processing 5
        "#]],
    );
    check(
        "90 timeout",
        &expect![[r#"
        @90 Workflow -1..90 error "Monitor timed out" result=timeout type=timeout | Submitted -1
    "#]],
    );
}

#[test]
fn not_found() {
    check(
        "60 gone",
        &expect![[r#"
        @60 Workflow -1..60 error "Workflow not found" result=error type=not_found | Submitted -1
    "#]],
    );
    check(
        "5 Processing,0.. Load=Processing,1..
         90 gone",
        &expect![[r#"
            @90 Load 1..90 error "Workflow not found" result=error type=not_found incomplete=Bool(true) | Processing 5
            @90 Workflow 0..90 error "Workflow not found" result=error type=not_found | Submitted -1 Processing 5
        "#]],
    );
}

/// An API may forget a workflow as soon as it has ended, while farspan still waits for a stage.
#[test]
fn a_workflow_known_to_have_ended_is_not_said_to_have_timed_out_or_been_lost() {
    check(
        "15 Completed,0..12 Load=Processing,1..
         90 gone",
        &expect![[r#"
            @90 Load 1..12 unset incomplete=Bool(true) | Processing 12
            @90 Workflow 0..12 ok result=success | Submitted -1 Completed 12
        "#]],
    );
    check(
        "15 Failed,0..12,!no_rows Load=Failed,1..
         90 timeout",
        &expect![[r#"
            @90 Load 1..12 error "" result=failure type=Failed | Failed 12
            @90 Workflow 0..12 error "no_rows" result=failure type=Failed | Submitted -1 Failed 12
        "#]],
    );
}

#[test]
fn unsampled() {
    let mut event = event();
    event.parent = parent("00", None);
    check_of(
        event,
        &naming(),
        "5  Processing,0.. Load=Completed,1..4
         15 Completed,0..12 Load=Completed,1..4 Run=Completed,4..11",
        &expect![[""]],
    );
}

fn parent(flags: &str, state: Option<&str>) -> Option<Box<TraceContext>> {
    let parent = format!("00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-{flags}");
    Some(Box::new(TraceContext::from_w3c(&parent, state).unwrap()))
}

#[test]
fn the_submitters_context_is_carried_on() {
    let contexts = |flags, state| {
        let mut event = event();
        event.parent = parent(flags, state);
        let mut text = String::new();
        for (_, span) in run(event, &naming(), "5 Completed,0..4 Load=Completed,1..4") {
            let parent = span.parent.unwrap();
            text += &format!(
                "{} {} {:02x} {:?}\n  {} {}\n",
                span.name,
                span.trace_id,
                span.trace_flags,
                span.trace_state,
                parent.span_id,
                if parent.remote { "remote" } else { "own" },
            );
        }
        text
    };
    expect![[r#"
        Load 55319d0c4a44a2cc3ef02e43117528cb 01 Some("vendor=1")
          9dcb1756cf0daf84 own
        Workflow 55319d0c4a44a2cc3ef02e43117528cb 01 Some("vendor=1")
          b87e9a101a090735 remote
    "#]]
    .assert_eq(&contexts("01", Some("vendor=1")));
    expect![[r#"
        Load 55319d0c4a44a2cc3ef02e43117528cb 03 None
          9dcb1756cf0daf84 own
        Workflow 55319d0c4a44a2cc3ef02e43117528cb 03 None
          b87e9a101a090735 remote
    "#]]
    .assert_eq(&contexts("ff", None));
}

#[test]
fn a_status_that_goes_backwards_before_the_end() {
    check(
        "5  Processing,0.. Load=Processing,1..
         15 Completed,0..12 Load=Processing,1..
         25 Processing,0.. Load=Processing,1..
         35 Completed,0..32 Load=Processing,1..
         45 Completed,0..32 Load=Processing,1..
         55 Completed,0..32 Load=Completed,1..31",
        &expect![[r#"
            @55 Load 1..31 ok result=success | Processing 5 Completed 31
            @55 Workflow 0..32 ok result=success | Submitted -1 Processing 5 Completed 15 Processing 25 Completed 32
        "#]],
    );
    check(
        "5  Processing,0.. Load=Completed
         15 Processing,0.. Load=Processing,1..
         25 Completed,0..32 Load=Completed,1..31",
        &expect![[r#"
            @25 Load 1..31 ok result=success | Completed 5 Processing 15 Completed 25
            @25 Workflow 0..32 ok result=success | Submitted -1 Processing 5 Completed 25
        "#]],
    );
}

#[test]
fn events_lie_within_their_span_and_in_order() {
    // The answers come long after what they tell of; then the clock is set back.
    check(
        "50 Initializing,0..  Load=Initializing,1..
         60 Processing,0..    Load=Processing,1..
         -9 Completed,0..55   Load=Completed,1..52",
        &expect![[r#"
            @-9 Load 1..52 ok result=success | Initializing 50 Processing 52 Completed 52
            @-9 Workflow 0..55 ok result=success | Submitted -1 Initializing 50 Processing 55 Completed 55
        "#]],
    );
    check(
        "-50 Processing,0..   Load=Processing,1..
         60 Completed,0..55   Load=Completed,1..52",
        &expect![[r#"
            @60 Load 1..52 ok result=success | Processing 1 Completed 52
            @60 Workflow 0..55 ok result=success | Submitted -1 Processing 0 Completed 55
        "#]],
    );
}

#[test]
fn submitted_stands_where_it_belongs() {
    for (submitted, expected) in [
        (
            "-100",
            expect![[r#"
            @15 Workflow 0..12 ok result=success | Submitted -100 Processing 5 Completed 12
        "#]],
        ),
        (
            "7",
            expect![[r#"
            @15 Workflow 0..12 ok result=success | Processing 5 Submitted 7 Completed 12
        "#]],
        ),
        (
            "700",
            expect![[r#"
            @15 Workflow 0..12 ok result=success | Processing 5 Submitted 12 Completed 12
        "#]],
        ),
    ] {
        let mut event = event();
        event.submitted_at = Some(wall(submitted));
        check_of(
            event,
            &naming(),
            "5  Processing,0..
             15 Completed,0..12",
            &expected,
        );
    }
    let mut event = event();
    event.submitted_at = None;
    check_of(
        event,
        &naming(),
        "5 Processing
         15 timeout",
        &expect![[r#"
            @15 Workflow 0..15 error "Monitor timed out" result=timeout type=timeout | Processing 5
        "#]],
    );
}

#[test]
fn limits_cut_off_and_count() {
    let mut naming = naming();
    naming.limits.attributes = 4;
    naming.limits.events = 2;
    naming.limits.attribute_value_chars = 3;
    let mut event = event();
    event.workflow_id = "ääää".into();
    event.attributes = Box::new([("desk".into(), "rates".into())]);
    let mut text = String::new();
    for (_, span) in run(
        event,
        &naming,
        "5  Initializing,0..  Load=Initializing,1..
         15 Processing,0..    Load=Processing,1..
         25 Initializing,0..  Load=Initializing,1..
         35 Completed,0..32   Load=Completed,1..31",
    ) {
        let events: Vec<_> = span.events.iter().map(|e| &e.name).collect();
        text += &format!("{} {:?}", span.name, span.attributes);
        text += &format!(" -{}", span.dropped_attributes);
        text += &format!(" {events:?} -{}\n", span.dropped_events);
    }
    expect![[r#"
        Load [("type", Str("Loa")), ("startTime", Str("202")), ("endTime", Str("202")), ("workflowId", Str("äää"))] -5 ["Initializing", "Processing"] -2
        Workflow [("workflowId", Str("äää")), ("cicd.pipeline.name", Str("Wor")), ("cicd.pipeline.run.id", Str("äää")), ("startTime", Str("202"))] -3 ["Submitted", "Initializing"] -3
    "#]].assert_eq(&text);
}

#[test]
fn long_messages_are_cut_between_characters() {
    let long = "ä".repeat(limits::ATTRIBUTE_BYTES_MAX);
    let script = format!("5 Failed,0..4,!x{long} Load=Failed,1..3,!{long}");
    for (_, span) in run(event(), &naming(), &script) {
        let SpanStatus::Error(message) = span.status else {
            panic!("{:?}", span.status);
        };
        let full = limits::ATTRIBUTE_BYTES_MAX - usize::from(message.starts_with('x'));
        assert!(message.len() == full || message.len() == limits::ATTRIBUTE_BYTES_MAX);
        assert!(message.ends_with('ä'));
    }
}

#[test]
fn stages_beyond_the_bound_are_left_out() {
    let stages: Vec<String> = (0..limits::STAGES_MAX + 2)
        .map(|n| format!("s{n}=Completed,1..2"))
        .collect();
    let script = format!("5 Completed,0..4 {}", stages.join(" "));
    let spans = run_unchecked(&script);
    assert_eq!(spans, limits::STAGES_MAX + 1);
}

#[test]
fn stages_nest() {
    check(
        "5  Processing,0.. job=Processing,1.. job/a^job=Completed,1..3 job/b^job=Processing,3.. job/b/x^job/b=Completed,3..4
         15 Processing,0.. job=Completed,1..12 job/b^job=Completed,3..11 job/b/x^job/b=Completed,3..4
         25 Completed,0..20",
        &expect![[r#"
            @5 a in job 1..3 ok result=success | Completed 3
            @5 x in b 3..4 ok result=success | Completed 4
            @15 b in job 3..11 ok result=success | Processing 5 Completed 11
            @15 job 1..12 ok result=success | Processing 5 Completed 12
            @25 Workflow 0..20 ok result=success | Submitted -1 Processing 5 Completed 20
        "#]],
    );
}

#[test]
fn a_stage_with_an_unknown_parent_is_part_of_the_workflow() {
    check(
        "5 Completed,0..20 job/a^job=Completed,1..3 b^b=Completed,2..3",
        &expect![[r#"
            @5 a 1..3 ok result=success | Completed 3
            @5 b 2..3 ok result=success | Completed 3
            @5 Workflow 0..20 ok result=success | Submitted -1 Completed 5
        "#]],
    );
}

/// Whichever of them comes first in the answer is above the others.
#[test]
fn rings_of_parents_are_cut() {
    check(
        "5 Completed,0..20 a^b=Completed,1..9 b^c=Completed,2..8 c^a=Completed,3..7",
        &expect![[r#"
            @5 b in c 3..7 ok result=success | Completed 5
            @5 c in a 3..7 ok result=success | Completed 5
            @5 a 1..9 ok result=success | Completed 5
            @5 Workflow 0..20 ok result=success | Submitted -1 Completed 5
        "#]],
    );
    check(
        "5 Processing,0.. a#1^b=Completed,1..9 a#2^b=Processing,2.. b#1=Processing,1.. b#2^a=Completed,2..8
         15 Completed,0..20 a#2^b=Completed,2..13 b#1=Completed,1..14",
        &expect![[r#"
            @5 a in b 1..9 ok result=success | Completed 5
            @5 b#2 in a#2 after b 2..8 ok result=success | Completed 5
            @15 a#2 after a 2..13 ok result=success | Processing 5 Completed 13
            @15 b 1..14 ok result=success | Processing 5 Completed 14
            @15 Workflow 0..20 ok result=success | Submitted -1 Processing 5 Completed 15
        "#]],
    );
}

/// Its second attempt, which is listed first, opens it before it is read itself.
#[test]
fn a_stage_that_only_waited_gets_the_parent_of_the_first_answer_that_says_more() {
    check(
        "5  Processing,0.. job=Processing,1.. load=Null
         15 Completed,0..20 job=Completed,1..12 load#2^job=Completed,5..9 load#1^job=Failed,2..4",
        &expect![[r#"
            @15 load in job 2..4 error "" result=failure type=Failed | Failed 4
            @15 load#2 in job after load 5..9 ok result=success | Completed 9
            @15 job 1..12 ok result=success | Processing 5 Completed 12
            @15 Workflow 0..20 ok result=success | Submitted -1 Processing 5 Completed 15
        "#]],
    );
}

#[test]
fn the_order_of_the_answer_does_not_matter() {
    check(
        "5  Processing,0.. job/b/x^job/b=Processing,3.. job/b^job=Processing,3.. job=Processing,1..
         15 Completed,0..20 job=Completed,1..12 job/b/x^job/b=Completed,3..4 job/b^job=Completed,3..11",
        &expect![[r#"
            @15 x in b 3..4 ok result=success | Processing 4 Completed 4
            @15 b in job 3..11 ok result=success | Processing 5 Completed 11
            @15 job 1..12 ok result=success | Processing 5 Completed 12
            @15 Workflow 0..20 ok result=success | Submitted -1 Processing 5 Completed 15
        "#]],
    );
}

#[test]
fn nested_stages_lie_within_all_that_they_are_part_of() {
    check(
        "5 Completed,5..50 job=Completed,10..20 job/a^job=Completed,1..30 job/a/x^job/a=Completed,2..60",
        &expect![[r#"
            @5 x in a 10..20 ok result=success | Completed 10
            @5 a in job 10..20 ok result=success | Completed 10
            @5 job 10..20 ok result=success | Completed 10
            @5 Workflow 5..50 ok result=success | Submitted -1 Completed 5
        "#]],
    );
    check(
        "5  Processing job=Processing job/a^job=Completed,1..4
         15 Completed,0..20 job=Completed,2..3",
        &expect![[r#"
            @5 a in job 1..4 ok result=success | Completed 4
            @15 job 1..4 ok result=success | Processing 4 Completed 4
            @15 Workflow 0..20 ok result=success | Submitted -1 Processing 5 Completed 15
        "#]],
    );
}

#[test]
fn a_stage_waits_for_what_is_part_of_it() {
    check(
        "5  Processing,0.. job=Processing,1..  job/a^job=Processing,2.. job/b^job=Null
         15 Processing,0.. job=Completed,1..12 job/a^job=Processing,2.. job/b^job=Null
         25 Processing,0.. job=Completed,1..12 job/a^job=Completed,2..11 job/b^job=Processing,11..
         35 Completed,0..31 job=Completed,1..12 job/b^job=Completed,11..12",
        &expect![[r#"
            @25 a in job 2..11 ok result=success | Processing 5 Completed 11
            @35 b in job 11..12 ok result=success | Processing 12 Completed 12
            @35 job 1..12 ok result=success | Processing 5 Completed 12
            @35 Workflow 0..31 ok result=success | Submitted -1 Processing 5 Completed 31
        "#]],
    );
}

#[test]
fn a_stage_ends_what_is_left_open_in_it() {
    check(
        "5  Processing,0.. job=Processing,1..  job/a^job=Processing,2.. job/a/x^job/a=Processing,2.. job/b^job=Null
         15 Processing,0.. job=Completed,1..12 job/a^job=Processing,2.. job/a/x^job/a=Processing,2.. job/b^job=Null
         25 Processing,0.. job=Completed,1..12 job/a^job=Processing,2..
         35 Processing,0.. job=Completed,1..12 job/a^job=Processing,2..
         45 Processing,0.. job/b^job=Completed,40..44
         55 Completed,0..50",
        &expect![[r#"
            @35 x in a 2..12 unset incomplete=Bool(true) | Processing 5
            @35 a in job 2..12 unset incomplete=Bool(true) | Processing 5
            @35 job 1..12 ok result=success | Processing 5 Completed 12
            @45 b 40..44 ok result=success | Completed 44
            @55 Workflow 0..50 ok result=success | Submitted -1 Processing 5 Completed 50
        "#]],
    );
}

#[test]
fn a_stage_that_succeeded_waits_for_what_has_not_begun() {
    check(
        "5  Processing,0.. job=Completed,1..4 job/a^job=Null
         15 Processing,0.. job=Completed,1..4 job/a^job=Processing,2..
         25 Completed,0..20 job/a^job=Completed,2..3",
        &expect![[r#"
            @25 a in job 2..3 ok result=success | Processing 3 Completed 3
            @25 job 1..4 ok result=success | Completed 4
            @25 Workflow 0..20 ok result=success | Submitted -1 Processing 5 Completed 20
        "#]],
    );
}

/// Also through a stage that nothing is said of.
#[test]
fn a_stage_waits_for_what_runs_far_below() {
    check(
        "5  Processing,0.. job=Processing,1.. group^job=Null step^group=Processing,2..
         15 Processing,0.. job=Failed,1..9 step^group=Processing,2..
         25 Completed,0..20 job=Failed,1..9 step^group=Failed,2..8
         35 Completed,0..20
         45 Completed,0..20",
        &expect![[r#"
            @25 step in group 2..8 error "" result=failure type=Failed | Processing 5 Failed 8
            @45 group in job 2..8 unset incomplete=Bool(true) |
            @45 job 1..9 error "" result=failure type=Failed | Processing 5 Failed 9
            @45 Workflow 0..20 ok result=success | Submitted -1 Processing 5 Completed 20
        "#]],
    );
}

/// It goes up to whatever is still open.
#[test]
fn what_has_not_begun_outlives_what_it_is_part_of() {
    check(
        "5  Processing,0.. job=Processing,1.. job/g^job=Failed,1..3 job/g/a^job/g=Null
         15 Processing,0.. job/g/a^job/g=Completed,8..9
         25 Completed,0..20 job=Completed,1..12",
        &expect![[r#"
            @5 g in job 1..3 error "" result=failure type=Failed | Failed 3
            @15 a in job 8..9 ok result=success | Completed 9
            @25 job 1..12 ok result=success | Processing 5 Completed 12
            @25 Workflow 0..20 ok result=success | Submitted -1 Processing 5 Completed 20
        "#]],
    );
    check(
        "5  Processing,0.. job=Failed,1..4 job/g^job=Failed,1..3 job/g/a^job/g=Null
         15 Completed,0..20 job/g/a^job/g=Completed,8..9",
        &expect![[r#"
            @5 g in job 1..3 error "" result=failure type=Failed | Failed 3
            @5 job 1..4 error "" result=failure type=Failed | Failed 4
            @15 a 8..9 ok result=success | Completed 9
            @15 Workflow 0..20 ok result=success | Submitted -1 Processing 5 Completed 15
        "#]],
    );
}

/// The first answer has all that is known of it.
#[test]
fn a_stage_that_others_are_part_of_has_its_name_at_once() {
    check(
        "5 Processing,0.. x/job=Null x/job/a^x/job=Completed,2..3
         9 gone",
        &expect![[r#"
            @5 a in job 2..3 ok result=success | Completed 3
            @9 job 2..3 error "Workflow not found" result=error type=not_found incomplete=Bool(true) |
            @9 Workflow 0..9 error "Workflow not found" result=error type=not_found | Submitted -1 Processing 5
        "#]],
    );
}

/// After a failure what has not begun never does, or not within the failed stage.
#[test]
fn a_failed_stage_waits_only_for_what_runs() {
    check(
        "5  Processing,0.. job=Processing,1..  job/b^job=Null
         15 Processing,0.. job=Failed,1..12 job/b^job=Null
         25 Processing,0.. job=Failed,1..12 job/b^job=Processing,20..
         35 Completed,0..50 job/b^job=Completed,20..22",
        &expect![[r#"
            @15 job 1..12 error "" result=failure type=Failed | Processing 5 Failed 12
            @35 b 20..22 ok result=success | Processing 22 Completed 22
            @35 Workflow 0..50 ok result=success | Submitted -1 Processing 5 Completed 35
        "#]],
    );
}

#[test]
fn what_is_news_within_a_finished_stage_is_part_of_the_workflow() {
    check(
        "5  Processing,0.. job=Completed,1..4
         15 Completed,0..50 job=Completed,1..4 job/a^job=Completed,2..8",
        &expect![[r#"
            @5 job 1..4 ok result=success | Completed 4
            @15 a 2..8 ok result=success | Completed 8
            @15 Workflow 0..50 ok result=success | Submitted -1 Processing 5 Completed 15
        "#]],
    );
}

/// What is part of the trace needs its parent there, whatever is said of that one.
#[test]
fn a_stage_gets_a_span_for_what_is_within_it() {
    check(
        "5  Processing,0.. job=Null  job/a^job=Completed,2..3 gate=Null gate/a^gate=Completed,4..5
         15 Completed,0..50 job=Null gate=Skipped
         25 Completed,0..50 job=Null gate=Skipped
         35 Completed,0..50 job=Null gate=Skipped",
        &expect![[r#"
            @5 a in job 2..3 ok result=success | Completed 3
            @5 a in gate 4..5 ok result=success | Completed 5
            @15 gate 4..5 unset result=skip | Skipped 5
            @35 job 2..3 unset incomplete=Bool(true) |
            @35 Workflow 0..50 ok result=success | Submitted -1 Processing 5 Completed 15
        "#]],
    );
}

#[test]
fn the_timeout_ends_nested_stages_from_below() {
    check(
        "5 Processing,0.. job=Processing,1.. job/a^job=Processing,2.. job/b^job=Null
         90 timeout",
        &expect![[r#"
            @90 a in job 2..90 error "Monitor timed out" result=timeout type=timeout | Processing 5
            @90 job 1..90 error "Monitor timed out" result=timeout type=timeout | Processing 5
            @90 Workflow 0..90 error "Monitor timed out" result=timeout type=timeout | Submitted -1 Processing 5
        "#]],
    );
}

#[test]
fn beyond_its_depth_a_stage_is_part_of_the_workflow() {
    let mut script = String::from("5 Completed,0..20 s0=Completed,1..9");
    for depth in 1..=limits::STAGE_DEPTH_MAX + 1 {
        script += &format!(" s{depth}^s{}=Completed,1..9", depth - 1);
    }
    let finished = run(event(), &naming(), &script);
    let root_id = finished.last().unwrap().1.span_id;
    let of_root = |(_, span): &&(f64, Span)| span.parent.is_some_and(|p| p.span_id == root_id);
    let names: Vec<_> = finished
        .iter()
        .filter(of_root)
        .map(|(_, s)| &*s.name)
        .collect();
    assert_eq!(names, [&format!("s{}", limits::STAGE_DEPTH_MAX + 1), "s0"]);
}

#[test]
fn an_attempt_is_a_span_of_its_own() {
    check(
        "5  Processing,0.. Run#1=Processing,1..
         15 Processing,0.. Run#1=Failed,1..12,!no_rows Run#2=Processing,13..
         25 Completed,0..24 Run#2=Completed,13..23",
        &expect![[r#"
            @15 Run 1..12 error "no_rows" result=failure type=Failed | Processing 5 Failed 12
            @25 Run#2 after Run 13..23 ok result=success | Processing 15 Completed 23
            @25 Workflow 0..24 ok result=success | Submitted -1 Processing 5 Completed 24
        "#]],
    );
}

/// The ids of first attempts are what they were before there were others.
#[test]
fn an_attempt_is_part_of_the_id() {
    let finished = run(
        event(),
        &naming(),
        "5 Completed,0..24 Run#1=Failed,1..2 Run#2=Completed,3..4",
    );
    let expected = [("Run", 1), ("Run", 2)].map(|stage| {
        let version = run_version_of(&event(), &naming());
        let trace_id = TraceId::of_run("risk", "w1", version);
        SpanId::of_span(
            trace_id,
            "risk",
            "w1",
            version,
            Some(stage),
            SpanShows::Work,
        )
    });
    assert_eq!([finished[0].1.span_id, finished[1].1.span_id], expected);
    let task_run_id = |place: usize| {
        let (_, span) = &finished[place];
        let id = (span.attributes.iter()).find(|(key, _)| **key == *"cicd.pipeline.task.run.id");
        id.map(|(_, value)| value.clone())
    };
    assert_eq!(task_run_id(0), Some("Run".into()));
    assert_eq!(task_run_id(1), Some("Run#2".into()));
    assert_eq!(finished[1].1.links[0].context.span_id, expected[0]);
    assert_eq!(
        finished[1].1.links[0].context.trace_id,
        finished[1].1.trace_id
    );
}

#[test]
fn an_attempt_whose_end_was_not_seen_ends_before_the_next() {
    // Nothing more is said of it; the next one's start is its end. Its error text was there while it ran.
    check(
        "5  Processing,0.. Run#1=Processing,1..,!None
         15 Processing,0.. Run#2=Processing,13..
         25 Processing,0.. Run#2=Processing,13..
         35 Processing,0.. Run#2=Processing,13..
         45 Completed,0..44 Run#2=Completed,13..43",
        &expect![[r#"
            @35 Run 1..13 error "Superseded by a later attempt" result=failure type=superseded | Processing 5
            @45 Run#2 after Run 13..43 ok result=success | Processing 15 Completed 43
            @45 Workflow 0..44 ok result=success | Submitted -1 Processing 5 Completed 44
        "#]],
    );
    // The next one was skipped without times, and is heard of late: the one after it began before that.
    check(
        "5  Processing,0.. Run#1=Processing,1..
         95 Processing,0.. Run#2=Skipped
         96 Completed,0..44 Run#3=Completed,13..43
         97 Completed,0..44 Run#3=Completed,13..43",
        &expect![[r#"
            @96 Run#3 after Run 13..43 ok result=success | Completed 43
            @97 Run 1..13 error "Superseded by a later attempt" result=failure type=superseded | Processing 5
            @97 Workflow 0..44 ok result=success | Submitted -1 Processing 5 Completed 44
        "#]],
    );
    // Its times come late, as with a list of tries.
    check(
        "5  Processing,0.. Run#1=Processing,1..
         15 Processing,0.. Run#2=Processing,13..
         25 Completed,0..24 Run#1=Failed,1..9,!no_rows Run#2=Completed,13..23",
        &expect![[r#"
            @25 Run 1..9 error "no_rows" result=failure type=Failed | Processing 5 Failed 9
            @25 Run#2 after Run 13..23 ok result=success | Processing 15 Completed 23
            @25 Workflow 0..24 ok result=success | Submitted -1 Processing 5 Completed 24
        "#]],
    );
    // It was reported ended, and never when.
    check(
        "5  Processing,0.. Run#1=Processing,1..
         15 Processing,0.. Run#1=Failed,1..,!no_rows
         25 Processing,0.. Run#2=Processing,q20,21..
         35 Completed,0..34 Run#2=Completed,21..33",
        &expect![[r#"
            @35 Run 1..15 error "no_rows" result=failure type=Failed | Processing 5 Failed 15
            @35 Run#2 after Run 21..33 ok result=success | Processing 25 Completed 33
            @35 Workflow 0..34 ok result=success | Submitted -1 Processing 5 Completed 34
        "#]],
    );
}

/// Some systems run a second attempt beside the first.
#[test]
fn attempts_at_one_time_are_none_too_many() {
    check(
        "5  Processing,0.. Run#0=Processing,1..
         15 Processing,0.. Run#0=Processing,1.. Run#1=Processing,13..
         25 Processing,0.. Run#0=Processing,1.. Run#1=Processing,13..
         35 Processing,0.. Run#0=Processing,1.. Run#1=Processing,13..
         45 Completed,0..44 Run#0=Completed,1..43 Run#1=Cancelled,13..42",
        &expect![[r#"
            @45 Run#0 1..43 ok result=success | Processing 5 Completed 43
            @45 Run after Run#0 13..42 unset result=cancellation | Processing 15 Cancelled 42
            @45 Workflow 0..44 ok result=success | Submitted -1 Processing 5 Completed 44
        "#]],
    );
}

#[test]
fn an_attempt_follows_the_latest_one_before_it_that_has_a_span() {
    check(
        "5 Processing,0.. Run#4=Completed,8..9 Run#1=Failed,1..2 Run#3=Failed,5..6
         15 Completed,0..12",
        &expect![[r#"
            @5 Run#4 after Run#3 8..9 ok result=success | Completed 8
            @5 Run 1..2 error "" result=failure type=Failed | Failed 2
            @5 Run#3 after Run 5..6 error "" result=failure type=Failed | Failed 5
            @15 Workflow 0..12 ok result=success | Submitted -1 Processing 5 Completed 12
        "#]],
    );
    check(
        "5  Processing,0.. Run#1=Null Other#1=Skipped
         15 Processing,0.. Run#2=Completed,3..4 Other#2=Completed,3..4
         25 Processing,0..
         35 Completed,0..12",
        &expect![[r#"
            @15 Run#2 3..4 ok result=success | Completed 4
            @15 Other#2 3..4 ok result=success | Completed 4
            @35 Workflow 0..12 ok result=success | Submitted -1 Processing 5 Completed 12
        "#]],
    );
}

#[test]
fn attempts_at_a_stage_with_stages() {
    check(
        "5  Processing,0.. job#1=Processing,1.. job/a#1^job=Processing,2..
         15 Processing,0.. job#1=Failed,1..9 job/a#1^job=Failed,2..8 job#2=Processing,11.. job/a#2^job=Failed,11..12 job/a#3^job=Processing,12..
         25 Completed,0..24 job#2=Completed,11..23 job/a#3^job=Completed,12..20",
        &expect![[r#"
            @15 a in job 2..8 error "" result=failure type=Failed | Processing 5 Failed 8
            @15 a#2 in job#2 after a 11..12 error "" result=failure type=Failed | Failed 12
            @15 job 1..9 error "" result=failure type=Failed | Processing 5 Failed 9
            @25 a#3 in job#2 after a#2 12..20 ok result=success | Processing 15 Completed 20
            @25 job#2 after job 11..23 ok result=success | Processing 15 Completed 23
            @25 Workflow 0..24 ok result=success | Submitted -1 Processing 5 Completed 24
        "#]],
    );
}

/// The one before may have been skipped, or have no status of its own.
#[test]
fn an_attempt_follows_past_those_that_have_no_span() {
    check(
        "5  Processing,0.. Run#1=Failed,1..2
         15 Processing,0.. Run#1=Failed,1..2 Run#2=Skipped,3..4
         25 Completed,0..12 Run#1=Failed,1..2 Run#2=Skipped,3..4 Run#3=Completed,5..6",
        &expect![[r#"
            @5 Run 1..2 error "" result=failure type=Failed | Failed 2
            @25 Run#3 after Run 5..6 ok result=success | Completed 6
            @25 Workflow 0..12 ok result=success | Submitted -1 Processing 5 Completed 12
        "#]],
    );
    // Whatever their order in the answer.
    check(
        "5  Completed,0..12 Run#3=Completed,5..6 Run#2=Skipped,3..4 Run#1=Failed,1..2",
        &expect![[r#"
            @5 Run#3 after Run 5..6 ok result=success | Completed 5
            @5 Run 1..2 error "" result=failure type=Failed | Failed 2
            @5 Workflow 0..12 ok result=success | Submitted -1 Completed 5
        "#]],
    );
    check(
        "5  Processing,0.. job#1=Null job/a#1^job=Processing,1..
         15 Completed,0..12 job#2=Completed,5..9 job/a#1^job=Completed,1..4
         25 Completed,0..12
         35 Completed,0..12",
        &expect![[r#"
            @15 a in job 1..4 ok result=success | Processing 4 Completed 4
            @15 job#2 after job 5..9 ok result=success | Completed 9
            @35 job 1..4 error "Superseded by a later attempt" result=failure type=superseded |
            @35 Workflow 0..12 ok result=success | Submitted -1 Processing 5 Completed 12
        "#]],
    );
}

#[test]
fn attempts_beyond_the_bound_are_left_out() {
    let most = limits::STAGE_ATTEMPTS_MAX;
    let stages: Vec<String> = (1..=most + 2)
        .map(|n| format!("s#{n}=Failed,1..2"))
        .collect();
    let script = format!("5 Completed,0..4 {} t=Completed,1..2", stages.join(" "));
    assert_eq!(run_unchecked(&script), most + 2);
}

#[test]
fn a_run_follows_the_attempt_before() {
    let mut event = event();
    event.attempt = Some(1);
    let first = run(event.clone(), &naming(), "5 Completed,0..4");
    event.attempt = Some(2);
    let second = run(event.clone(), &naming(), "5 Completed,0..4");
    let (first, second) = (&first[0].1, &second[0].1);
    assert!(first.links.is_empty());
    let [link] = &second.links[..] else {
        panic!("{:?}", second.links);
    };
    assert_eq!(link.context.trace_id, first.trace_id);
    assert_eq!(link.context.span_id, first.span_id);
    assert_ne!(second.trace_id, first.trace_id);
    let is_attempt =
        |(key, value): &(Box<str>, Value)| **key == *"attempt" && *value == Value::Int(2);
    assert!(second.attributes.iter().any(is_attempt));
    // The trace of the attempt before is not known.
    event.parent = parent("01", None);
    assert!(
        run(event, &naming(), "5 Completed,0..4")[0]
            .1
            .links
            .is_empty()
    );
}

#[test]
fn an_attempt_before_that_was_not_recorded_is_not_linked() {
    let mut event = event();
    event.attempt = Some(2);
    let never = Sampler::TraceIdRatio(0.0);
    let workflow = Workflow::new(event.clone(), &naming(), &never, wall("0"));
    assert!(workflow.extra.is_none());
    let workflow = Workflow::new(event, &naming(), &Sampler::default(), wall("0"));
    assert!(workflow.extra.unwrap().follows);
}

#[test]
fn the_answers_attempt_decides_where_the_event_named_one() {
    let mut event = event();
    event.attempt = Some(2);
    // The first answer lags, and the last one is about an attempt that began at 21.
    check_of(
        event.clone(),
        &naming(),
        "5  Failed,#1,0..4    Load=Failed,1..3
         15 Processing,#2,6.. Load=Processing,7..
         25 Processing,#3,21.. Load=Processing,22..",
        &expect![[r#"
            @25 Load 7..21 error "Superseded by a later attempt" result=error type=superseded incomplete=Bool(true) | Processing 15
            @25 Workflow#2 after d14698bf438b1734f11939691f217529 a718edbead5125aa 6..21 error "Superseded by a later attempt" result=error type=superseded | Submitted -1 Processing 15
        "#]],
    );
    // It had ended, and only had to settle.
    check_of(
        event,
        &naming(),
        "5  Completed,#2,0..4 Load=Processing,1..
         15 Processing,#3,9..",
        &expect![[r#"
            @15 Load 1..4 unset incomplete=Bool(true) | Processing 4
            @15 Workflow#2 after d14698bf438b1734f11939691f217529 a718edbead5125aa 0..4 ok result=success | Submitted -1 Completed 4
        "#]],
    );
    check(
        "5  Processing,#1,0..
         15 Completed,#2,6..12",
        &expect![[r#"
            @15 Workflow#2 6..12 ok result=success | Submitted -1 Processing 6 Completed 12
        "#]],
    );
}

#[test]
fn the_submitters_context_is_used_as_asked() {
    let told = |context, flags| {
        let mut event = event();
        event.parent = parent(flags, Some("vendor=1"));
        let naming = Naming {
            context,
            ..naming()
        };
        let mut text = String::new();
        for (_, span) in run(event, &naming, "5 Completed,0..4 Load=Completed,1..4") {
            text += &format!(
                "{} {} {:02x} {:?} {:?}\n  {:?}\n",
                span.name,
                span.trace_id,
                span.trace_flags,
                span.trace_state,
                span.parent,
                span.links
            );
        }
        text
    };
    expect![[r#"
        Load 2ace0327c6e57223b4a83b5638847b3e 01 None Some(Parent { span_id: SpanId(0e5af02cabf3881f), remote: false })
          []
        Workflow 2ace0327c6e57223b4a83b5638847b3e 01 None None
          [Link { context: TraceContext { trace_id: TraceId(55319d0c4a44a2cc3ef02e43117528cb), span_id: SpanId(b87e9a101a090735), trace_flags: 3, trace_state: Some("vendor=1") }, remote: true }]
    "#]].assert_eq(&told(ContextUse::Link, "03"));
    expect![[r#"
        Load 2ace0327c6e57223b4a83b5638847b3e 01 None Some(Parent { span_id: SpanId(0e5af02cabf3881f), remote: false })
          []
        Workflow 2ace0327c6e57223b4a83b5638847b3e 01 None None
          []
    "#]].assert_eq(&told(ContextUse::Ignore, "03"));
    // The submitter does not record its trace: with a trace of its own that does not count.
    assert_eq!(told(ContextUse::Parent, "00"), "");
    assert_ne!(told(ContextUse::Link, "00"), "");
    assert_ne!(told(ContextUse::Ignore, "00"), "");
}

/// What an answer no longer tells is kept, and a new value counts.
#[test]
fn urls_and_attributes_of_the_answers() {
    let mut event = event();
    event.attributes = Box::new([
        ("desk".into(), "rates".into()),
        ("b".into(), "event".into()),
    ]);
    let mut text = String::new();
    for (_, span) in run(
        event,
        &naming(),
        "5  Processing,0..,q-2,@http://w,b:1,endTime:no Load=Processing,1..,@http://l,pool:small,type:no,rows:1
         15 Processing,0..,#3,b:2,c:3 Load=Processing,1..,q0.5,pool:large,id:no
         21 Processing,0..,c:4 Load=Processing,1..
         22 Processing,0.. Load=Processing,1..
         23 Processing,0.. Load=Processing,1..,pool:huge
         24 Processing,0.. Load=Processing,1..
         35 Completed,0..3 Load=Completed,1..2",
    ) {
        text += &format!("{} {}\n", span.name, seconds(span.start));
        for (key, value) in &span.attributes {
            text += &format!("  {key}: {value:?}\n");
        }
    }
    expect![[r#"
        Load 1
          type: Str("Load")
          queuedTime: Str("2024-07-03T09:46:40.5Z")
          startTime: Str("2024-07-03T09:46:41Z")
          endTime: Str("2024-07-03T09:46:42Z")
          workflowId: Str("w1")
          cicd.pipeline.name: Str("Workflow")
          cicd.pipeline.run.id: Str("w1")
          cicd.pipeline.task.name: Str("Load")
          cicd.pipeline.task.run.id: Str("Load")
          cicd.pipeline.task.run.url.full: Str("http://l")
          cicd.pipeline.task.run.result: Str("success")
          pool: Str("huge")
          rows: Str("1")
        Workflow 0
          workflowId: Str("w1")
          cicd.pipeline.name: Str("Workflow")
          cicd.pipeline.run.id: Str("w1")
          queuedTime: Str("2024-07-03T09:46:38Z")
          startTime: Str("2024-07-03T09:46:40Z")
          endTime: Str("2024-07-03T09:46:43Z")
          cicd.pipeline.run.url.full: Str("http://w")
          attempt: Int(3)
          cicd.pipeline.result: Str("success")
          b: Str("2")
          c: Str("4")
          desk: Str("rates")
    "#]]
    .assert_eq(&text);
}

#[test]
fn attributes_beyond_the_bounds_are_counted() {
    let pairs =
        |n: usize, value: &str| -> String { (0..n).map(|n| format!(",k{n}:{value}")).collect() };
    let many = limits::ANSWERED_ATTRIBUTES_MAX + 3;
    let script = format!("5 Completed,0..4 Load=Completed,1..2{}", pairs(many, "v"));
    let finished = run(event(), &naming(), &script);
    assert_eq!(finished[0].1.dropped_attributes, 3);
    // So many stages that their attributes have no room.
    let value = "x".repeat(2 * limits::ATTRIBUTE_BYTES_MAX);
    let stages = limits::ANSWERED_ATTRIBUTE_BYTES_MAX / (32 * limits::ATTRIBUTE_BYTES_MAX) + 1;
    let script: String = (0..stages)
        .map(|n| format!(" s{n}=Processing,1..{}", pairs(32, &value)))
        .collect();
    let mut workflow = Workflow::new(event(), &naming(), &Sampler::default(), wall("0"));
    for _ in 0..2 {
        let snapshot = snapshot("Processing,0..", script.split_whitespace());
        workflow.observe(
            snapshot,
            wall("5"),
            &naming(),
            &mut Vec::new(),
            &mut Vec::new(),
        );
        let kept = limits::ANSWERED_ATTRIBUTE_BYTES_MAX - workflow.attribute_room();
        assert!(kept > limits::ANSWERED_ATTRIBUTE_BYTES_MAX / 100 * 99);
    }
    let mut spans = Vec::new();
    workflow.abandon(Abandoned::TimedOut, wall("9"), &naming(), &mut spans);
    let dropped: u32 = spans.iter().map(|span| span.dropped_attributes).sum();
    let kept: usize = (spans.iter())
        .map(|s| {
            s.attributes
                .iter()
                .filter(|(key, _)| key.starts_with('k'))
                .count()
        })
        .sum();
    assert_eq!(kept + dropped as usize, 32 * stages);
    assert!(dropped > 0);
}

#[test]
fn the_wait_for_a_start_is_a_span_where_asked_for() {
    let script = "5  Processing,0..,q-3 job=Processing,4..,q1 job/a^job=Completed,6..7,q2 Run=Completed,1..2,q3
                  15 Completed,0..14 job=Completed,4..12,q1";
    check(
        script,
        &expect![[r#"
        @5 a in job 6..7 ok result=success | Completed 6
        @5 Run 1..2 ok result=success | Completed 2
        @15 job 4..12 ok result=success | Processing 5 Completed 12
        @15 Workflow 0..14 ok result=success | Submitted -1 Processing 5 Completed 14
    "#]],
    );
    let naming = Naming {
        queued: true,
        ..naming()
    };
    check_of(
        event(),
        &naming,
        script,
        &expect![[r#"
            @5 a queued in a 2..6 unset |
            @5 a in job 2..7 ok result=success | Completed 5
            @5 Run 1..2 ok result=success | Completed 2
            @15 job queued in job 1..4 unset |
            @15 job 1..12 ok result=success | Processing 5 Completed 12
            @15 Workflow queued -3..0 unset |
            @15 Workflow -3..14 ok result=success | Submitted -1 Processing 5 Completed 14
        "#]],
    );
}

#[test]
fn skipped_stages_are_there_where_asked_for() {
    let naming = Naming {
        skipped: true,
        ..naming()
    };
    check_of(
        event(),
        &naming,
        "5  Processing,0.. a=Skipped b=Skipped,3.. c=Skipped,..4 d=Skipped,3..4
         15 Completed,0..12",
        &expect![[r#"
            @5 a 5..5 unset result=skip | Skipped 5
            @5 b 3..3 unset result=skip | Skipped 3
            @5 c 4..4 unset result=skip | Skipped 4
            @5 d 3..4 unset result=skip | Skipped 4
            @15 Workflow 0..12 ok result=success | Submitted -1 Processing 5 Completed 12
        "#]],
    );
}

#[test]
fn success_is_unset_where_asked_for() {
    let naming = Naming {
        ok: false,
        ..naming()
    };
    check_of(
        event(),
        &naming,
        "5 Completed,0..3 Load=Completed,1..2 Run=Failed,1..2",
        &expect![[r#"
            @5 Load 1..2 unset result=success | Completed 2
            @5 Run 1..2 error "" result=failure type=Failed | Failed 2
            @5 Workflow 0..3 unset result=success | Submitted -1 Completed 3
        "#]],
    );
}

#[test]
fn links_beyond_the_limit_are_counted() {
    let mut naming = naming();
    naming.limits.links = 1;
    naming.context = ContextUse::Link;
    let mut event = event();
    event.parent = parent("01", None);
    event.attempt = Some(2);
    let finished = run(event, &naming, "5 Completed,0..3");
    let span = &finished[0].1;
    assert_eq!((span.links.len(), span.dropped_links), (1, 1));
    assert!(span.links[0].remote);
}

/// However often they change, what waits for their spans has an end, and nothing is forgotten silently.
#[test]
fn changes_of_status_beyond_the_bound_are_counted() {
    let mut naming = naming();
    naming.limits.events = usize::MAX;
    let mut workflow = Workflow::new(event(), &naming, &Sampler::default(), wall("0"));
    let stages: Vec<String> = (0..300).map(|n| format!("s{n}")).collect();
    let rounds = limits::OBSERVED_EVENTS_MAX / stages.len() + 5;
    let mut spans = Vec::new();
    for round in 0..rounds {
        let status = ["Initializing", "Processing"][round % 2];
        let told: Vec<String> = stages.iter().map(|s| format!("{s}={status}")).collect();
        let snapshot = snapshot("Processing", told.iter().map(String::as_str));
        workflow.observe(snapshot, wall("5"), &naming, &mut spans, &mut Vec::new());
    }
    assert_eq!(
        workflow.observed.events.len() + workflow.stages.events(),
        limits::OBSERVED_EVENTS_MAX
    );
    workflow.abandon(Abandoned::TimedOut, wall("9"), &naming, &mut spans);
    let dropped: u32 = spans.iter().map(|span| span.dropped_events).sum();
    let told = rounds * stages.len() + 1;
    assert_eq!(dropped as usize, told - limits::OBSERVED_EVENTS_MAX);
}

#[test]
fn names_types_and_statuses_are_in_memory_once_for_all_workflows() {
    let naming = naming();
    let mut shared = SharedTexts::default();
    let mut texts = || {
        let mut workflow = Workflow::new(event(), &naming, &Sampler::default(), wall("0"));
        let stages = [
            "x/a=Processing",
            "x/b=Completed",
            "y/a=Processing",
            "c=Null",
        ];
        let told = snapshot("Processing", stages.into_iter());
        workflow.observe(told, wall("5"), &naming, &mut Vec::new(), &mut Vec::new());
        workflow.share_texts(&mut shared);
        let Workflow {
            observed, stages, ..
        } = workflow;
        let open: Vec<_> = stages.all.iter().filter_map(|it| it.open.clone()).collect();
        let mut texts: Vec<Arc<str>> = stages.all.into_iter().map(|stage| stage.path).collect();
        texts.extend(open.iter().filter_map(|it| it.kind.clone()));
        let of_stages = open.into_iter().map(|it| it.observed);
        for observed in of_stages.chain([observed]) {
            texts.extend(observed.events.into_iter().map(|event| event.name));
        }
        texts
    };
    let (first, second) = (texts(), texts());
    assert_eq!(first, second);
    assert_eq!(first.len(), 11, "{first:?}");
    for (one, other) in first.iter().zip(&second) {
        assert!(Arc::ptr_eq(one, other), "{one}");
    }
}

/// How many spans a script of one line gives.
fn run_unchecked(line: &str) -> usize {
    let naming = naming();
    let mut workflow = Workflow::new(event(), &naming, &Sampler::default(), wall("0"));
    let mut words = line.split_whitespace().skip(1);
    let own = words.next().unwrap();
    let mut spans = Vec::new();
    workflow.observe(
        snapshot(own, words),
        wall("5"),
        &naming,
        &mut spans,
        &mut Vec::new(),
    );
    workflow.check_invariants();
    spans.len()
}

fn any_time(u: &mut arbtest::arbitrary::Unstructured<'_>) -> arbtest::arbitrary::Result<Wall> {
    Ok(match u.int_in_range(0..=9)? {
        0 => Wall::from_unix_ns(i64::MIN),
        1 => Wall::from_unix_ns(i64::MAX),
        2 => Wall::from_unix_ns(0),
        _ => Wall::from_unix_ns(EPOCH_NS + u.int_in_range(-20..=20)? * 1_000_000_000),
    })
}

fn any_progress(
    u: &mut arbtest::arbitrary::Unstructured<'_>,
) -> arbtest::arbitrary::Result<Progress> {
    let word = *u.choose(&[
        "Null",
        "Initializing",
        "Processing",
        "Processing",
        "Completed",
        "Failed",
        "Cancelled",
        "Skipped",
    ])?;
    let mut progress = progress(word);
    if u.arbitrary()? {
        progress.start = Some(any_time(u)?);
    }
    if u.arbitrary()? {
        progress.end = Some(any_time(u)?);
    }
    if u.int_in_range(0..=3)? == 0 {
        progress.queued = Some(any_time(u)?);
    }
    Ok(progress)
}

fn any_attributes(
    u: &mut arbtest::arbitrary::Unstructured<'_>,
) -> arbtest::arbitrary::Result<event::Attributes> {
    let mut all = Vec::new();
    for key in ["x", "y"] {
        if u.int_in_range(0..=3)? == 0 {
            all.push((key.into(), Value::Int(u.int_in_range(0..=2)?)));
        }
    }
    Ok(all.into())
}

/// However an API contradicts itself, a watch that ends leaves one trace that is whole.
#[test]
fn whatever_the_answers_the_trace_is_whole() {
    arbtest::arbtest(|u| {
        let naming = Naming {
            ok: u.arbitrary()?,
            skipped: u.arbitrary()?,
            queued: u.arbitrary()?,
            ..naming()
        };
        let mut event = event();
        event.attempt = *u.choose(&[None, Some(1), Some(2)])?;
        event.submitted_at = u.arbitrary::<bool>()?.then_some(any_time(u)?);
        let mut workflow = Workflow::new(event, &naming, &Sampler::default(), any_time(u)?);
        let (mut spans, mut ended, mut stored) = (Vec::new(), false, Vec::new());
        for _ in 0..u.int_in_range(0..=12)? {
            let mut snapshot = Snapshot {
                progress: any_progress(u)?,
                ..Snapshot::default()
            };
            snapshot.attempt = *u.choose(&[None, None, None, Some(1), Some(2)])?;
            snapshot.attributes = any_attributes(u)?;
            for _ in 0..u.int_in_range(0..=8)? {
                let paths = ["a", "b", "c", "d", "e"];
                let path = u.choose(&paths)?;
                let parent = u.arbitrary::<bool>()?.then_some(u.choose(&paths)?);
                snapshot.stages.push(StageSnapshot {
                    path: (*path).into(),
                    parent: parent.map(|&parent| parent.into()),
                    attempt: u.int_in_range(0..=3)?,
                    kind: (*path).into(),
                    attributes: any_attributes(u)?,
                    progress: any_progress(u)?,
                    ..StageSnapshot::default()
                });
            }
            let at = any_time(u)?;
            let mut again = restarted(&mut workflow, &mut stored);
            let mut spans_again = spans.clone();
            again.observe(
                snapshot.clone(),
                at,
                &naming,
                &mut spans_again,
                &mut Vec::new(),
            );
            let verdict = workflow.observe(snapshot, at, &naming, &mut spans, &mut Vec::new());
            assert_eq!(spans, spans_again, "a restart changes nothing");
            workflow.check_invariants();
            ended = verdict != Verdict::Watching;
            if ended {
                break;
            }
        }
        if !ended {
            let why = *u.choose(&[Abandoned::TimedOut, Abandoned::NotFound])?;
            let at = any_time(u)?;
            let mut again = restarted(&mut workflow, &mut stored);
            let mut spans_again = spans.clone();
            again.abandon(why, at, &naming, &mut spans_again);
            workflow.abandon(why, at, &naming, &mut spans);
            assert_eq!(spans, spans_again, "a restart changes nothing");
        }
        let finished: Vec<_> = spans.into_iter().map(|span| (0.0, span)).collect();
        hold(&finished, &workflow.run(&naming).span_id(None));
        Ok(())
    })
    .budget_ms(1_000);
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let bytes = (0..hex.len()).step_by(2);
    bytes
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn an_api_that_goes_away_ends_its_workflow_as_it_was_seen() {
    check(
        "5  Processing,0.. a=Completed,1..3 b=Completed,2..4.5
         15 vanished",
        &expect![[r#"
            @5 a 1..3 ok result=success | Completed 3
            @5 b 2..4.5 ok result=success | Completed 4.5
            @15 Workflow 0..4.5 ok result=success gone=Bool(true) | Submitted -1 Processing 4.5
        "#]],
    );
    // What was seen to run went on until then at least.
    check(
        "5  Processing,0.. a=Completed,1..3 b=Processing,4..
         15 Processing,0.. a=Completed,1..3 b=Processing,4..
         95 vanished",
        &expect![[r#"
            @5 a 1..3 ok result=success | Completed 3
            @95 b 4..15 unset incomplete=Bool(true) | Processing 5
            @95 Workflow 0..15 ok result=success gone=Bool(true) | Submitted -1 Processing 5
        "#]],
    );
    // Nothing is known but that it ran.
    check(
        "5  Processing a=Null
         15 Processing a=Null
         95 vanished",
        &expect![[r#"
            @95 Workflow -1..15 ok result=success gone=Bool(true) | Submitted -1 Processing 5
        "#]],
    );
    // It had ended, and only settled.
    check(
        "5  Failed,0..,!why a=Processing,1..
         15 vanished",
        &expect![[r#"
            @15 a 1..5 unset incomplete=Bool(true) | Processing 5
            @15 Workflow 0..5 error "why" result=failure type=Failed | Submitted -1 Failed 5
        "#]],
    );
}

#[test]
fn an_api_that_goes_away_after_a_failure() {
    // Long ago, so its span is finished.
    check(
        "5  Processing,0.. a=Failed,1..3
         15 Processing,0.. a=Failed,1..3 b=Processing,6..
         95 vanished",
        &expect![[r#"
            @5 a 1..3 error "" result=failure type=Failed | Failed 3
            @95 b 6..15 unset incomplete=Bool(true) | Processing 15
            @95 Workflow 0..15 error "A stage failed" result=failure type=stage_failed gone=Bool(true) | Submitted -1 Processing 5
        "#]],
    );
    // Just now.
    check(
        "5  Processing,0.. a=Failed,1..
         95 vanished",
        &expect![[r#"
            @95 a 1..5 error "" result=failure type=Failed | Failed 5
            @95 Workflow 0..5 error "A stage failed" result=failure type=stage_failed gone=Bool(true) | Submitted -1 Processing 5
        "#]],
    );
    // The latest attempt did better.
    check(
        "5  Processing,0.. a=Failed,1..3
         15 Processing,0.. a=Failed,1..3 a#2=Completed,4..6
         95 vanished",
        &expect![[r#"
            @5 a 1..3 error "" result=failure type=Failed | Failed 3
            @15 a#2 after a 4..6 ok result=success | Completed 6
            @95 Workflow 0..6 ok result=success gone=Bool(true) | Submitted -1 Processing 5
        "#]],
    );
    // What failed is part of something that did not.
    check(
        "5  Processing,0.. a=Processing,1.. a/1^a=Failed,1..2
         15 Processing,0.. a=Completed,1..8 a/1^a=Failed,1..2
         95 vanished",
        &expect![[r#"
            @5 1 in a 1..2 error "" result=failure type=Failed | Failed 2
            @15 a 1..8 ok result=success | Processing 5 Completed 8
            @95 Workflow 0..8 ok result=success gone=Bool(true) | Submitted -1 Processing 5
        "#]],
    );
}

/// Such bytes will be in users' stores: fields may be added, and these stay as they are.
#[test]
fn the_form_of_a_record_never_changes() {
    let mut event = event();
    event.attempt = Some(2);
    event.parent = parent("01", None);
    let naming = Naming {
        context: ContextUse::Link,
        ..naming()
    };
    let mut workflow = Workflow::new(event, &naming, &Sampler::default(), wall("0"));
    for line in [
        "Processing,#2,0..,q-2,@//w,b:1 job#1=Processing,1..,q0.5,@//j,pool:small job/a^job=Completed,2..3 gate=Skipped",
        "Completed,#2,0.. job#2=Processing,9.. job/b#2^job=Completed,10..",
    ] {
        let mut words = line.split_whitespace();
        let snapshot = snapshot(words.next().unwrap(), words);
        workflow.observe(
            snapshot,
            wall("5"),
            &naming,
            &mut Vec::new(),
            &mut Vec::new(),
        );
    }
    let hex = |workflow: &Workflow| -> String {
        let bytes = record::encode("risk", wall("3600"), workflow);
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    };
    let written = hex(&workflow);
    expect!["01040277310601020801010908003611dae2aade170a080000ac15e3aade170d5201010202080000ac15e3aade17040800f2b13fe4aade17050800f2b13fe4aade1706251200f2b13fe4aade1750726f63657373696e671100f2b13fe4aade17436f6d706c657465642008006c769ee2aade170ea4027a01036a6f6202010105700336010101020800ca4651e3aade17040800f2b13fe4aade1706131200f2b13fe4aade1750726f63657373696e67200800657933e3aade170401010501012208001a1d2ee5aade1723010124100094e18ce3aade17005e7cc8e3aade1725032f2f6a260c0b04706f6f6c73736d616c6c0d01056a6f622f610201010301010c0104676174650201010301023d01036a6f620201020533032c0101010208001a1d2ee5aade17040800f2b13fe4aade1706131200f2b13fe4aade1750726f63657373696e6705010121004f01056a6f622f6202010205430101620335010102020800e4b769e5aade17040800f2b13fe4aade17050800f2b13fe4aade1706121100f2b13fe4aade17436f6d706c657465640401010501012001030f0101201955319d0c4a44a2cc3ef02e43117528cbb87e9a101a0907350121010122010223032f2f772405040162733101047269736b020800a0644629aede170310d58649d10343e263006eebbd19654d0f"].assert_eq(&written);
    let record = record::decode(&bytes_of(&written)).unwrap();
    assert_eq!((&*record.monitor, record.deadline), ("risk", wall("3600")));
    assert_eq!(hex(&record.workflow), written);
}
