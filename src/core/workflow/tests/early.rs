//! What is shown before a span is finished: starts and status events.

use super::*;
use crate::log_record::{LogRecord, Severity};

/// What each answer shows early, as text. The workflow is restarted before each answer.
fn shown(naming: &Naming, answers: &[&str]) -> String {
    let mut workflow = Workflow::new(event(), naming, &Sampler::default(), wall("0"));
    let (mut text, mut stored) = (String::new(), Vec::new());
    for (n, answer) in answers.iter().enumerate() {
        let mut words = answer.split_whitespace();
        let own = words.next().unwrap();
        let (mut spans, mut log_records) = (Vec::new(), Vec::new());
        workflow = restarted(&mut workflow, &mut stored);
        let at = wall(&(10 * (n + 1)).to_string());
        let snapshot = snapshot(own, words);
        workflow.observe(snapshot, at, naming, &mut spans, &mut log_records);
        workflow.check_invariants();
        text += &format!("{}: {answer}\n", seconds(at));
        let root = workflow.run(naming).span_id(None);
        for span in spans.iter().filter(|span| span.shows_start()) {
            assert_eq!(span.parent.map(|it| it.span_id), Some(root));
            assert_eq!(span.start, span.end);
            text += &format!("  {} at {}\n", span.name, seconds(span.start));
        }
        for record in &log_records {
            text += &format!("  {}\n", line(record));
        }
        for span in spans.iter().filter(|span| !span.shows_start()) {
            let names: Vec<&str> = span.events.iter().map(|event| &*event.name).collect();
            text += &format!("  span {} with {}\n", span.name, names.join(", "));
        }
    }
    text
}

fn line(record: &LogRecord) -> String {
    let failed = if record.severity == Severity::Error {
        "! "
    } else {
        ""
    };
    format!("{failed}{} at {}", record.body, seconds(record.time))
}

const ANSWERS: [&str; 5] = [
    "Null",
    "Processing,3.. a=Processing,5..,q4 b=Null",
    "Processing,3.. a=Processing,5.. b=Processing,40..",
    "Processing,3.. a=Failed,5..21,!no_such_file b=Completed,22..25",
    "Failed,3..26,!a_failed a=Failed,5..21 b=Completed,22..25",
];

#[test]
fn starts_are_shown_once_and_never_under_the_id_of_the_final_span() {
    let naming = Naming {
        started: true,
        ..naming()
    };
    // A start that is still to come is that of the answer.
    expect![[r#"
        10: Null
        20: Processing,3.. a=Processing,5..,q4 b=Null
          Workflow started at 3
          a started at 5
        30: Processing,3.. a=Processing,5.. b=Processing,40..
          b started at 30
        40: Processing,3.. a=Failed,5..21,!no_such_file b=Completed,22..25
          span a with Processing, Failed
          span b with Processing, Completed
        50: Failed,3..26,!a_failed a=Failed,5..21 b=Completed,22..25
          span Workflow with Submitted, Processing, Failed
    "#]]
    .assert_eq(&shown(&naming, &ANSWERS));
}

#[test]
fn status_events_go_where_the_monitor_wants_them() {
    let of = |status_events| Naming {
        status_events,
        ..naming()
    };
    expect![[r#"
        10: Null
        20: Processing,3.. a=Processing,5..,q4 b=Null
          Workflow: Processing at 20
          a: Processing at 20
        30: Processing,3.. a=Processing,5.. b=Processing,40..
          b: Processing at 30
        40: Processing,3.. a=Failed,5..21,!no_such_file b=Completed,22..25
          ! a: Failed: no_such_file at 40
          b: Completed at 40
          span a with 
          span b with 
        50: Failed,3..26,!a_failed a=Failed,5..21 b=Completed,22..25
          ! Workflow: Failed: a_failed at 50
          span Workflow with Submitted
    "#]]
    .assert_eq(&shown(&of(StatusEvents::Log), &ANSWERS));
    let both = shown(&of(StatusEvents::Both), &ANSWERS);
    let spans = shown(&of(StatusEvents::Span), &ANSWERS);
    assert!(!spans.contains(" at "), "{spans}");
    let of_spans = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.contains("span "));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(of_spans(&both), of_spans(&spans));
    assert_eq!(both.matches(" at ").count(), 6);
}

#[test]
fn a_log_record_carries_what_identifies_its_run_and_its_span() {
    let naming = Naming {
        status_events: StatusEvents::Log,
        started: true,
        ..naming()
    };
    let mut workflow = Workflow::new(event(), &naming, &Sampler::default(), wall("0"));
    let (mut spans, mut log_records) = (Vec::new(), Vec::new());
    let answer = snapshot("Processing,3..", ["a#2=Failed,5..21"].into_iter());
    workflow.observe(answer, wall("10"), &naming, &mut spans, &mut log_records);
    let run = workflow.run(&naming);
    let [own, stage] = &*log_records else {
        panic!("{log_records:?}");
    };
    assert_eq!(
        (own.trace_id, own.span_id),
        (run.trace_id, run.span_id(None))
    );
    assert_eq!(stage.span_id, run.span_id(Some(("a", 2))));
    let text = |attributes: &[(Box<str>, Value)]| -> String {
        let texts = attributes
            .iter()
            .map(|(key, value)| format!("{key}={value:?}\n"));
        texts.collect()
    };
    expect![[r#"
        type=Str("a")
        workflowId=Str("w1")
        cicd.pipeline.name=Str("Workflow")
        cicd.pipeline.run.id=Str("w1")
        cicd.pipeline.task.name=Str("a")
        cicd.pipeline.task.run.id=Str("a#2")
        attempt=Int(2)
        farspan.status=Str("Failed")
        cicd.pipeline.task.run.result=Str("failure")
        error.type=Str("Failed")
    "#]]
    .assert_eq(&text(&stage.attributes));
    let started = spans.iter().find(|span| span.shows_start()).unwrap();
    expect![[r#"
        workflowId=Str("w1")
        cicd.pipeline.name=Str("Workflow")
        cicd.pipeline.run.id=Str("w1")
        farspan.started=Bool(true)
        startTime=Str("2024-07-03T09:46:43Z")
    "#]]
    .assert_eq(&text(&started.attributes));
}

#[test]
fn an_unsampled_run_shows_nothing() {
    let naming = Naming {
        status_events: StatusEvents::Both,
        started: true,
        ..naming()
    };
    let event = StartEvent {
        sampling: Sampling::Dropped,
        ..event()
    };
    let mut workflow = Workflow::new(event, &naming, &Sampler::default(), wall("0"));
    let (mut spans, mut log_records) = (Vec::new(), Vec::new());
    let answer = snapshot("Processing,3..", ["a=Processing,5.."].into_iter());
    workflow.observe(answer, wall("10"), &naming, &mut spans, &mut log_records);
    assert!(spans.is_empty() && log_records.is_empty());
}
