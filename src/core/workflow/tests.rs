//! What a workflow makes of its answers, as text in and text out.
//!
//! A line of a script is an answer: when it came, the workflow, and each stage behind its path; `timeout` and `gone` in
//! place of the workflow abandon the watch. Something's progress is `Status,start..end,!error`, all but the status
//! optional; times are seconds.

use super::*;
use expect_test::{Expect, expect};

const EPOCH_NS: i64 = 1_720_000_000_000_000_000;

fn wall(seconds: &str) -> Wall {
    let seconds: f64 = seconds.parse().unwrap();
    Wall::from_unix_ns(EPOCH_NS + (seconds * 1e7).round() as i64 * 100)
}

fn seconds(wall: Wall) -> f64 {
    (wall.as_unix_ns() - EPOCH_NS) as f64 / 1e9
}

fn naming() -> Naming {
    Naming {
        monitor: "risk".into(),
        workflow: "Workflow".into(),
        limits: SpanLimits::default(),
    }
}

fn event() -> StartEvent {
    StartEvent {
        monitor: 0,
        workflow_id: "w1".into(),
        submitted_at: Some(wall("-1")),
        attempt: None,
        parent: None,
        sampling: Sampling::AsParent,
        attributes: Box::default(),
        source: None,
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
        } else {
            let (start, end) = field.split_once("..").unwrap();
            progress.start = (!start.is_empty()).then(|| wall(start));
            progress.end = (!end.is_empty()).then(|| wall(end));
        }
    }
    progress
}

fn snapshot<'a>(workflow: &str, stages: impl Iterator<Item = &'a str>) -> Snapshot {
    let stages = stages.map(|stage| {
        let (path, text) = stage.split_once('=').unwrap();
        StageSnapshot {
            path: path.into(),
            kind: path.into(),
            id: None,
            progress: progress(text),
        }
    });
    Snapshot {
        workflow_id: None,
        progress: progress(workflow),
        stages: stages.collect(),
    }
}

/// Each span behind the time of the answer that finished it.
fn run(event: StartEvent, naming: &Naming, script: &str) -> Vec<(f64, Span)> {
    let received_at = wall("0");
    let mut workflow = Workflow::new(event, naming, &Sampler::default(), received_at);
    let mut finished: Vec<(f64, Span)> = Vec::new();
    let mut ended = false;
    for line in script.lines().map(str::trim).filter(|l| !l.is_empty()) {
        assert!(!ended, "the watch ended before {line}");
        let mut words = line.split_whitespace();
        let at = wall(words.next().unwrap());
        let mut spans = Vec::new();
        match words.next().unwrap() {
            "timeout" => {
                workflow.abandon(Abandoned::TimedOut, at, naming, &mut spans);
                ended = true;
            }
            "gone" => {
                workflow.abandon(Abandoned::NotFound, at, naming, &mut spans);
                ended = true;
            }
            own => {
                let verdict = workflow.observe(snapshot(own, words), at, naming, &mut spans);
                ended = verdict != Verdict::Watching;
            }
        }
        workflow.check_invariants();
        finished.extend(spans.into_iter().map(|span| (seconds(at), span)));
    }
    assert!(ended, "the watch goes on");
    hold(&finished, &workflow.span_id(naming));
    finished
}

/// What holds of every trace.
fn hold(finished: &[(f64, Span)], root_id: &SpanId) {
    let root = finished.iter().find(|(_, span)| span.span_id == *root_id);
    for (_, span) in finished {
        assert!(span.start <= span.end, "{span:?}");
        assert!(span.events.is_sorted_by_key(|e| e.time), "{span:?}");
        assert!(span.events.iter().all(|e| e.time <= span.end), "{span:?}");
        let same = |other: &&(f64, Span)| other.1.span_id == span.span_id;
        assert_eq!(finished.iter().filter(same).count(), 1, "{span:?}");
        let (_, root) = root.expect("a trace has a root");
        if span.span_id != *root_id {
            assert_eq!(span.parent.unwrap().span_id, *root_id);
            assert!(root.start <= span.start && span.end <= root.end);
        }
    }
}

fn render(finished: &[(f64, Span)]) -> String {
    let mut text = String::new();
    for (at, span) in finished {
        let status = match &span.status {
            SpanStatus::Unset => "unset".into(),
            SpanStatus::Ok => "ok".into(),
            SpanStatus::Error(message) => format!("error {message:?}"),
        };
        let (name, start, end) = (&span.name, seconds(span.start), seconds(span.end));
        text += &format!("@{at} {name} {start}..{end} {status}");
        for (key, value) in &span.attributes {
            let key = match &**key {
                "error.type" => "type",
                "farspan.incomplete" => "incomplete",
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
        workflow.observe(snapshot, wall("5"), &naming, &mut spans);
    }
    assert_eq!(workflow.observed_events(), limits::OBSERVED_EVENTS_MAX);
    workflow.abandon(Abandoned::TimedOut, wall("9"), &naming, &mut spans);
    let dropped: u32 = spans.iter().map(|span| span.dropped_events).sum();
    let told = rounds * stages.len() + 1;
    assert_eq!(dropped as usize, told - limits::OBSERVED_EVENTS_MAX);
}

/// How many spans a script of one line gives.
fn run_unchecked(line: &str) -> usize {
    let naming = naming();
    let mut workflow = Workflow::new(event(), &naming, &Sampler::default(), wall("0"));
    let mut words = line.split_whitespace().skip(1);
    let own = words.next().unwrap();
    let mut spans = Vec::new();
    workflow.observe(snapshot(own, words), wall("5"), &naming, &mut spans);
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
    Ok(progress)
}

/// However an API contradicts itself, a watch that ends leaves one trace that is whole.
#[test]
fn whatever_the_answers_the_trace_is_whole() {
    let naming = naming();
    arbtest::arbtest(|u| {
        let mut event = event();
        event.submitted_at = u.arbitrary::<bool>()?.then_some(any_time(u)?);
        let mut workflow = Workflow::new(event, &naming, &Sampler::default(), any_time(u)?);
        let (mut spans, mut ended) = (Vec::new(), false);
        for _ in 0..u.int_in_range(0..=12)? {
            let mut snapshot = Snapshot {
                progress: any_progress(u)?,
                ..Snapshot::default()
            };
            for _ in 0..u.int_in_range(0..=4)? {
                let path = u.choose(&["a", "b", "c"])?;
                snapshot.stages.push(StageSnapshot {
                    path: (*path).into(),
                    kind: (*path).into(),
                    id: None,
                    progress: any_progress(u)?,
                });
            }
            let verdict = workflow.observe(snapshot, any_time(u)?, &naming, &mut spans);
            workflow.check_invariants();
            ended = verdict != Verdict::Watching;
            if ended {
                break;
            }
        }
        if !ended {
            let why = *u.choose(&[Abandoned::TimedOut, Abandoned::NotFound])?;
            workflow.abandon(why, any_time(u)?, &naming, &mut spans);
        }
        let finished: Vec<_> = spans.into_iter().map(|span| (0.0, span)).collect();
        hold(&finished, &workflow.span_id(&naming));
        Ok(())
    });
}
