//! What becomes of a workflow: the trace table of the contract, row by row.

use crate::support::api::{
    Body, END, STAGES, START, completed, json_answer, ok, processing, short_story, status,
};
use crate::support::http::{Answer, Reply};
use crate::support::rig::Rig;
use crate::support::spans::{hex, trace_text};
use crate::support::{SOON, eventually, ns, wall_ns};
use expect_test::expect;
use serde_json::{Value, json};

const ID: &str = "3e2fef36-109f-4f99-af10-bc7670b4f997";
const TRACEPARENT: &str = "00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-01";

/// The message as the original publishes it, with what else it carries.
fn original_event() -> Value {
    json!({
        "WorkflowId": ID,
        "SubmittedAt": "2024-07-05T06:57:51.0737407Z",
        "MessageType": "event.workflow.started",
        "CorrelationId": "0d0ff2c4-1c5b-4ee7-9b1e-1f8a0a9d7c11",
        "Timestamp": "2024-07-05T06:57:51.0811223Z",
        "RetryCount": 0,
        "Headers": {"x-origin": ["scheduler", null]},
        "traceparent": TRACEPARENT,
        "tracestate": "vendor=opaque,other=1",
    })
}

/// The API's answers as the original gives them: every key there, `null` where there is nothing to say.
fn original_bodies() -> Vec<Value> {
    let entity = |kind: &str, status: &str, start: Value, end: Value| {
        json!({
            "entityType": kind,
            "entityId": if status == "Null" { Value::Null } else { json!(format!("{kind}-9f623b49")) },
            "entityStatus": status,
            "entityStartTime": start,
            "entityEndTime": end,
            "entityErrorMessage": null,
            "isComplete": status == "Completed",
        })
    };
    let body = |status: &str, start: Value, end: Value, entities: [Value; 3]| {
        let [loader, processor, output] = entities;
        json!({
            "workflowId": ID,
            "workflowStatus": status,
            "workflowStartTime": start,
            "workflowEndTime": end,
            "isComplete": status == "Completed",
            "workflowErrorMessage": null,
            "workflowEntities": {
                "DataLoader": loader, "Processor": processor, "OutputGenerator": output,
            },
        })
    };
    let none = |kind| entity(kind, "Null", Value::Null, Value::Null);
    let [loader, processor, output] = STAGES;
    let open =
        |stage: (&str, &str, &str), status| entity(stage.0, status, json!(stage.1), Value::Null);
    let done =
        |stage: (&str, &str, &str)| entity(stage.0, "Completed", json!(stage.1), json!(stage.2));
    let start = || json!(START);
    let none_of_three = || [none(loader.0), none(processor.0), none(output.0)];
    vec![
        body("Null", Value::Null, Value::Null, none_of_three()),
        body("Initializing", start(), Value::Null, none_of_three()),
        body(
            "Processing",
            start(),
            Value::Null,
            [
                open(loader, "Initializing"),
                none(processor.0),
                none(output.0),
            ],
        ),
        body(
            "Processing",
            start(),
            Value::Null,
            [
                open(loader, "Processing"),
                none(processor.0),
                none(output.0),
            ],
        ),
        body(
            "Processing",
            start(),
            Value::Null,
            [done(loader), open(processor, "Processing"), none(output.0)],
        ),
        body(
            "Processing",
            start(),
            Value::Null,
            [done(loader), done(processor), open(output, "Initializing")],
        ),
        body(
            "Completed",
            start(),
            json!(END),
            [done(loader), done(processor), done(output)],
        ),
    ]
}

/// The API gives no `Date` here and its times are long past, so every observed change is clamped to the span's end.
#[test]
fn a_workflow_as_the_original_has_it_becomes_this_trace() {
    let rig = Rig::new();
    rig.api.script(ID, original_bodies().iter().map(ok));
    let call = rig.call().env(
        "OTEL_RESOURCE_ATTRIBUTES",
        "service.namespace=risk,service.instance.id=one,host.name=vm1",
    );
    let farspan = rig.start_call(&call);
    rig.publish(&original_event());
    rig.trace(ID);
    farspan.stop();

    let expected = expect![[r#"
        resource
          host.name=vm1
          service.instance.id=one
          service.name=farspan
          service.namespace=risk
          service.version=<version>
        scope farspan <version>
        Workflow SPAN_KIND_INTERNAL
          trace: 55319d0c4a44a2cc3ef02e43117528cb
          parent: b87e9a101a090735
          flags: 0x301
          tracestate: vendor=opaque,other=1
          start: 2024-07-05T06:57:56.1234567Z
          end: 2024-07-05T09:00:00.0000001Z
          status: STATUS_CODE_OK
          attribute: cicd.pipeline.name=Workflow
          attribute: cicd.pipeline.result=success
          attribute: cicd.pipeline.run.id=3e2fef36-109f-4f99-af10-bc7670b4f997
          attribute: endTime=2024-07-05T09:00:00.0000001Z
          attribute: startTime=2024-07-05T06:57:56.1234567Z
          attribute: workflowId=3e2fef36-109f-4f99-af10-bc7670b4f997
          event: 2024-07-05T06:57:51.0737407Z Submitted
          event: 2024-07-05T09:00:00.0000001Z Initializing
          event: 2024-07-05T09:00:00.0000001Z Processing
          event: 2024-07-05T09:00:00.0000001Z Completed
        DataLoader SPAN_KIND_INTERNAL
          trace: 55319d0c4a44a2cc3ef02e43117528cb
          parent: Workflow
          flags: 0x101
          tracestate: vendor=opaque,other=1
          start: 2024-07-05T06:57:57.0000001Z
          end: 2024-07-05T07:01:00.7654321Z
          status: STATUS_CODE_OK
          attribute: cicd.pipeline.name=Workflow
          attribute: cicd.pipeline.run.id=3e2fef36-109f-4f99-af10-bc7670b4f997
          attribute: cicd.pipeline.task.name=DataLoader
          attribute: cicd.pipeline.task.run.id=DataLoader-9f623b49
          attribute: cicd.pipeline.task.run.result=success
          attribute: endTime=2024-07-05T07:01:00.7654321Z
          attribute: id=DataLoader-9f623b49
          attribute: startTime=2024-07-05T06:57:57.0000001Z
          attribute: type=DataLoader
          attribute: workflowId=3e2fef36-109f-4f99-af10-bc7670b4f997
          event: 2024-07-05T07:01:00.7654321Z Initializing
          event: 2024-07-05T07:01:00.7654321Z Processing
          event: 2024-07-05T07:01:00.7654321Z Completed
        Processor SPAN_KIND_INTERNAL
          trace: 55319d0c4a44a2cc3ef02e43117528cb
          parent: Workflow
          flags: 0x101
          tracestate: vendor=opaque,other=1
          start: 2024-07-05T07:01:01.1Z
          end: 2024-07-05T08:31:12.0000009Z
          status: STATUS_CODE_OK
          attribute: cicd.pipeline.name=Workflow
          attribute: cicd.pipeline.run.id=3e2fef36-109f-4f99-af10-bc7670b4f997
          attribute: cicd.pipeline.task.name=Processor
          attribute: cicd.pipeline.task.run.id=Processor-9f623b49
          attribute: cicd.pipeline.task.run.result=success
          attribute: endTime=2024-07-05T08:31:12.0000009Z
          attribute: id=Processor-9f623b49
          attribute: startTime=2024-07-05T07:01:01.1Z
          attribute: type=Processor
          attribute: workflowId=3e2fef36-109f-4f99-af10-bc7670b4f997
          event: 2024-07-05T08:31:12.0000009Z Processing
          event: 2024-07-05T08:31:12.0000009Z Completed
        OutputGenerator SPAN_KIND_INTERNAL
          trace: 55319d0c4a44a2cc3ef02e43117528cb
          parent: Workflow
          flags: 0x101
          tracestate: vendor=opaque,other=1
          start: 2024-07-05T08:31:13.5Z
          end: 2024-07-05T08:59:59.9999999Z
          status: STATUS_CODE_OK
          attribute: cicd.pipeline.name=Workflow
          attribute: cicd.pipeline.run.id=3e2fef36-109f-4f99-af10-bc7670b4f997
          attribute: cicd.pipeline.task.name=OutputGenerator
          attribute: cicd.pipeline.task.run.id=OutputGenerator-9f623b49
          attribute: cicd.pipeline.task.run.result=success
          attribute: endTime=2024-07-05T08:59:59.9999999Z
          attribute: id=OutputGenerator-9f623b49
          attribute: startTime=2024-07-05T08:31:13.5Z
          attribute: type=OutputGenerator
          attribute: workflowId=3e2fef36-109f-4f99-af10-bc7670b4f997
          event: 2024-07-05T08:59:59.9999999Z Initializing
          event: 2024-07-05T08:59:59.9999999Z Completed
    "#]];
    expected.assert_eq(&trace_text(&rig.receiver.spans()));
    rig.receiver.assert_each_span_once();
    rig.api.assert_nothing_stray();
    assert_eq!(
        rig.api.polls(ID),
        original_bodies().len(),
        "no poll after the end"
    );
}

#[test]
fn a_workflow_without_a_parent_gets_a_trace_of_its_own_and_always_the_same() {
    let rig = Rig::new();
    let mut ids = Vec::new();
    for _ in 0..2 {
        rig.api.script("alone", short_story("alone"));
        let farspan = rig.start();
        rig.submit("alone");
        eventually("the script's end", SOON, || rig.api.told_all("alone"));
        farspan.stop();
        let spans = rig.receiver.spans();
        let root = spans.iter().rfind(|span| span.is_root()).expect("a root");
        assert!(root.span.parent_span_id.is_empty());
        ids.push((hex(&root.span.trace_id), hex(&root.span.span_id)));
    }
    assert_eq!(ids[0], ids[1], "ids are computed, not drawn");
}

#[test]
fn a_stage_is_exported_when_it_ends() {
    let rig = Rig::new();
    let half = Body::new("half", "Processing").start(START).stage(
        STAGES[0].0,
        "Completed",
        STAGES[0].1,
        STAGES[0].2,
        "",
    );
    rig.api
        .script("half", [processing("half").reply(), half.reply()]);
    let _farspan = rig.start();
    rig.submit("half");
    let stage = eventually("the stage's span", SOON, || {
        rig.receiver.spans().into_iter().next()
    });
    assert_eq!(stage.span.name, "DataLoader");
    stage.assert_times(STAGES[0].1, STAGES[0].2);
    assert!(!rig.receiver.has_root("half"), "the workflow is not done");

    rig.api.script("half", [completed("half").reply()]);
    let trace = rig.trace("half");
    assert_eq!(
        trace.stage("DataLoader").bytes(),
        stage.bytes(),
        "sent once, and not again"
    );
}

/// With a `Date`, an observed change stands in the API's clock.
#[test]
fn observed_changes_are_put_into_the_clock_of_the_api() {
    let rig = Rig::new();
    let at = |body: &Body, date: &str| -> Reply {
        json_answer(&body.json()).header("Date", date).into()
    };
    rig.api.script(
        "dated",
        [
            at(&processing("dated"), "Fri, 05 Jul 2024 06:58:30 GMT"),
            at(&completed("dated"), "Fri, 05 Jul 2024 09:00:10 GMT"),
        ],
    );
    let _farspan = rig.start();
    rig.submit("dated");
    let trace = rig.trace("dated");
    // A `Date` has whole seconds, and the answer was on its way for a moment.
    let around = |time: &str| ns(time) - 2_000_000_000..=ns(time) + 4_000_000_000;
    for span in [&trace.root, trace.stage("DataLoader")] {
        let observed = span.event_time("Processing");
        assert!(
            around("2024-07-05T06:58:30Z").contains(&observed),
            "{span:?}"
        );
    }
    assert_eq!(trace.root.event_time("Completed"), ns(END), "clamped");
}

#[test]
fn the_attributes_of_the_event_go_onto_the_workflow() {
    let rig = Rig::new();
    rig.api.script("rich", short_story("rich"));
    let _farspan = rig.start();
    rig.publish(&json!({
        "WorkflowId": "rich",
        "attributes": {"desk": "rates", "trades": 17, "share": 0.5, "urgent": true},
    }));
    let trace = rig.trace("rich");
    assert_eq!(trace.root.attribute("desk"), "rates");
    assert_eq!(trace.root.attribute("trades"), "17 (int)");
    assert_eq!(trace.root.attribute("share"), "0.5 (double)");
    assert_eq!(trace.root.attribute("urgent"), "true (bool)");
}

#[test]
fn a_failed_stage_fails_the_workflow() {
    let rig = Rig::new();
    let failed = Body::new("bad", "Failed")
        .start(START)
        .end(END)
        .error("Entity failed: DataLoader")
        .stage(
            STAGES[0].0,
            "Failed",
            STAGES[0].1,
            STAGES[0].2,
            "Source is unreachable",
        )
        .stage("Processor", "Null", "", "", "")
        .stage("OutputGenerator", "Null", "", "", "");
    rig.api
        .script("bad", [processing("bad").reply(), failed.reply()]);
    let _farspan = rig.start();
    rig.submit("bad");
    let trace = rig.trace("bad");

    assert_eq!(trace.root.error(), Some("Entity failed: DataLoader"));
    assert_eq!(trace.root.attribute("cicd.pipeline.result"), "failure");
    assert!(!trace.root.attribute("error.type").is_empty());
    trace.root.assert_times(START, END);
    assert_eq!(trace.root.event_names(), ["Processing", "Failed"]);

    assert_eq!(trace.stage_names(), ["DataLoader"], "Null has no span");
    let stage = trace.stage("DataLoader");
    assert_eq!(stage.error(), Some("Source is unreachable"));
    assert_eq!(stage.attribute("cicd.pipeline.task.run.result"), "failure");
    assert!(!stage.attribute("error.type").is_empty());
    stage.assert_times(STAGES[0].1, STAGES[0].2);
    assert_eq!(stage.event_names(), ["Processing", "Failed"]);
}

#[test]
fn a_workflow_that_fails_by_itself_leaves_its_stages_ok() {
    let rig = Rig::new();
    let failed = Body::new("whole", "Failed")
        .start(START)
        .end(END)
        .error("Out of credit")
        .stage(STAGES[0].0, "Completed", STAGES[0].1, STAGES[0].2, "");
    rig.api.script("whole", [failed.reply()]);
    let _farspan = rig.start();
    rig.submit("whole");
    let trace = rig.trace("whole");
    assert_eq!(trace.root.error(), Some("Out of credit"));
    assert_eq!(trace.stage("DataLoader").error(), None);
}

#[test]
fn what_runs_too_long_times_out() {
    let rig = Rig::new();
    rig.api.script("slow", [processing("slow").reply()]);
    let farspan = rig.start_call(&rig.call().env("FARSPAN_POLL_TIMEOUT", "1s"));
    let before = wall_ns();
    rig.submit("slow");
    let trace = rig.trace("slow");
    let after = wall_ns();

    assert_eq!(trace.root.attribute("cicd.pipeline.result"), "timeout");
    let stage = trace.stage("DataLoader");
    assert_eq!(stage.attribute("cicd.pipeline.task.run.result"), "timeout");
    for span in [&trace.root, stage] {
        assert_eq!(span.error(), Some("Monitor timed out"));
        assert!((before..=after).contains(&span.end()), "ends now: {span:?}");
        assert_eq!(span.find("endTime"), None, "the API reported none");
    }
    assert_eq!(trace.root.start(), ns(START));
    assert_eq!(stage.start(), ns(STAGES[0].1));

    let polls = rig.api.polls("slow");
    farspan.stop();
    assert_eq!(rig.api.polls("slow"), polls, "no longer watched");
}

#[test]
fn a_workflow_that_could_not_be_polled_times_out_too() {
    let mut rig = Rig::new();
    rig.api.server.stop();
    let _farspan = rig.start_call(&rig.call().env("FARSPAN_POLL_TIMEOUT", "1s"));
    let before = wall_ns();
    rig.submit("unseen");
    let trace = rig.trace("unseen");
    assert_eq!(trace.root.error(), Some("Monitor timed out"));
    assert_eq!(trace.root.attribute("cicd.pipeline.result"), "timeout");
    assert!(trace.root.start() >= before, "nothing older was observed");
    assert!(trace.stages.is_empty());
}

#[test]
fn a_workflow_that_the_api_does_not_know_yet_is_waited_for() {
    let rig = Rig::new();
    let mut story = vec![status(404), status(404), status(404)];
    story.extend(short_story("late"));
    rig.api.script("late", story);
    rig.api.script("never", [status(404)]);
    let _farspan = rig.start();
    rig.submit("never");
    rig.submit("late");

    let trace = rig.trace("late");
    trace.root.assert_times(START, END);
    assert_eq!(trace.root.error(), None);
    eventually("a fifth poll of what is never found", SOON, || {
        rig.api.polls("never") >= 5
    });
    assert!(!rig.receiver.has_root("never"), "404 is tolerated 1 min");
}

/// The minute is a real one here, and it is counted from the event, or from the first 404 of what was found before.
#[test]
fn a_workflow_that_the_api_does_not_know_for_a_minute_is_given_up() {
    const SECOND_NS: u64 = 1_000_000_000;
    const MINUTE_NS: u64 = 60 * SECOND_NS;
    let rig = Rig::new();
    rig.api.script("never", [status(404)]);
    rig.api.decide("late", {
        let first = wall_ns();
        move |_, _| {
            if wall_ns() - first < 50 * SECOND_NS {
                status(404)
            } else {
                completed("late").reply()
            }
        }
    });
    let gone = [processing("gone").reply(), status(404)];
    rig.api.script("gone", gone);
    let call = rig.call().env("FARSPAN_POLL_INTERVAL", "500ms");
    let farspan = rig.start_call(&call);
    let submitted = wall_ns();
    for id in ["never", "late", "gone"] {
        rig.submit(id);
    }
    let minute = |from: u64, to: u64| {
        let after = to - from;
        let right = MINUTE_NS..MINUTE_NS + 8 * SECOND_NS;
        assert!(right.contains(&after), "{} ms", after / 1_000_000);
    };
    let trace = rig.trace_within("never", 3 * SOON);
    minute(submitted, trace.root.end());
    assert_eq!(trace.root.error(), Some("Workflow not found"));
    assert_eq!(trace.root.attribute("cicd.pipeline.result"), "error");
    assert_eq!(trace.root.attribute("error.type"), "not_found");
    assert!(trace.root.start() >= submitted, "nothing older is known");
    assert!(trace.stages.is_empty());

    let trace = rig.trace("late");
    trace.root.assert_times(START, END);
    assert_eq!(trace.root.error(), None);

    let trace = rig.trace("gone");
    // It counts from when farspan asked, a little before the API heard.
    let missed = rig.api.requests_for("gone")[1].at_wall_ns;
    minute(missed - SECOND_NS, trace.root.end());
    for span in [&trace.root, trace.stage("DataLoader")] {
        assert_eq!(span.error(), Some("Workflow not found"));
    }
    let polls = rig.api.polls("never");
    let log = farspan.stop().stderr;
    assert_eq!(rig.api.polls("never"), polls, "no longer watched");
    assert_eq!(log.matches("Workflow not found").count(), 2, "{log}");
    rig.receiver.assert_each_span_once();
}

/// What is asked after late has used up most of its minute.
#[test]
fn the_minute_of_what_is_not_found_begins_with_the_event() {
    let rig = Rig::new();
    rig.api.script("never", [status(404)]);
    let call = rig
        .call()
        .env("FARSPAN_POLL_INITIAL_DELAY", "50s")
        .env("FARSPAN_POLL_INTERVAL", "1s");
    let _farspan = rig.start_call(&call);
    let submitted = wall_ns();
    rig.submit("never");
    let trace = rig.trace_within("never", 3 * SOON);
    let first = rig.api.requests_for("never")[0].at_wall_ns - submitted;
    assert!(first >= 50_000_000_000, "{first} ns");
    let after = trace.root.end() - submitted;
    let right = 60_000_000_000..70_000_000_000;
    assert!(right.contains(&after), "{after} ns");
    assert_eq!(trace.root.error(), Some("Workflow not found"));
}

#[test]
fn a_stage_left_open_ends_with_its_workflow() {
    let rig = Rig::new();
    let body = Body::new("open", "Completed").start(START).end(END).stage(
        "DataLoader",
        "Processing",
        STAGES[0].1,
        "",
        "",
    );
    rig.api.script("open", [body.reply()]);
    let farspan = rig.start();
    rig.submit("open");
    let trace = rig.trace("open");
    let stage = trace.stage("DataLoader");
    assert_eq!(stage.attribute("farspan.incomplete"), "true (bool)");
    assert_eq!(stage.end(), ns(END));
    trace.root.assert_times(START, END);
    farspan.stop();
    assert_eq!(
        rig.api.polls("open"),
        3,
        "two more polls, then it is enough"
    );
}

#[test]
fn a_stage_that_ends_late_is_still_whole() {
    let rig = Rig::new();
    let early = Body::new("lag", "Completed").start(START).end(END).stage(
        "DataLoader",
        "Processing",
        STAGES[0].1,
        "",
        "",
    );
    rig.api
        .script("lag", [early.reply(), completed("lag").reply()]);
    let _farspan = rig.start();
    rig.submit("lag");
    let trace = rig.trace("lag");
    assert_eq!(trace.stages.len(), 3);
    let stage = trace.stage("DataLoader");
    stage.assert_times(STAGES[0].1, STAGES[0].2);
    assert_eq!(stage.find("farspan.incomplete"), None);
}

#[test]
fn impossible_times_never_make_an_impossible_span() {
    let rig = Rig::new();
    let backwards = Body::new("backwards", "Completed").start(END).end(START);
    rig.api.script("backwards", [backwards.reply()]);
    let timeless = Body::new("timeless", "Completed").stage("DataLoader", "Completed", "", "", "");
    rig.api.script("timeless", [timeless.reply()]);
    let year_one = "0001-01-01T00:00:00";
    let unset = Body::new("unset", "Completed")
        .start(year_one)
        .end(year_one)
        .stage("DataLoader", "Completed", year_one, year_one, "");
    rig.api.script("unset", [unset.reply()]);
    let _farspan = rig.start();
    let before = wall_ns();
    for id in ["backwards", "timeless", "unset"] {
        rig.submit(id);
    }

    let trace = rig.trace("backwards");
    assert_eq!(trace.root.start(), ns(END));
    assert_eq!(trace.root.end(), ns(END), "clamped to the start");
    for id in ["timeless", "unset"] {
        let trace = rig.trace(id);
        for span in [&trace.root, trace.stage("DataLoader")] {
            assert!(span.start() >= before - 1_000_000_000, "observed: {span:?}");
            assert_eq!(span.find("startTime"), None, "none was reported");
        }
    }
}

/// Times that come, go and change from answer to answer.
#[test]
fn of_times_that_change_the_best_are_kept() {
    let rig = Rig::new();
    let (stage_start, stage_end) = (STAGES[0].1, STAGES[0].2);
    let stage =
        |status, start, end| move |body: Body| body.stage("DataLoader", status, start, end, "");
    let told = stage("Processing", stage_start, "")(Body::new("w", "Processing").start(START));
    let silent = stage("Processing", "", "")(Body::new("w", "Processing"));
    let unset = "0001-01-01T00:00:00Z";
    let nonsense = stage("Processing", unset, unset)(Body::new("w", "Processing").start(unset));
    let ended = stage("Completed", "", stage_end)(Body::new("w", "Processing"));
    let other = stage("Completed", END, START)(Body::new("w", "Processing").start(END));
    let last = stage("Completed", "", "")(Body::new("w", "Completed").start(START).end(END));
    let story = [told, silent, nonsense, ended, other, last].map(|body| body.reply());
    rig.api.script("w", story);
    let farspan = rig.start();
    rig.submit("w");
    let trace = rig.trace("w");
    trace.root.assert_times(START, END);
    trace
        .stage("DataLoader")
        .assert_times(stage_start, stage_end);
    farspan.stop();
    rig.receiver.assert_each_span_once();
}

#[test]
fn two_stages_of_one_type_are_two_spans() {
    let rig = Rig::new();
    let mut body = completed("pair").json();
    let stages = body["workflowEntities"].as_object_mut().expect("an object");
    let mut second = stages["DataLoader"].clone();
    second["entityId"] = json!("DataLoader-2");
    stages.insert("DataLoader of the second file".into(), second);
    rig.api.script("pair", [ok(&body)]);
    let _farspan = rig.start();
    rig.submit("pair");
    let trace = rig.trace("pair");
    let names = ["DataLoader", "DataLoader", "OutputGenerator", "Processor"];
    assert_eq!(trace.stage_names(), names);
}

#[test]
fn an_answer_in_chunks_is_an_answer() {
    let rig = Rig::new();
    let body = json_answer(&completed("chunks").json());
    rig.api.script("chunks", [Reply::Chunked(body, 7)]);
    let bare = Answer::new(200).body("text/plain", completed("bare").json().to_string());
    rig.api.script("bare", [bare.into()]);
    let _farspan = rig.start();
    for id in ["chunks", "bare"] {
        rig.submit(id);
        rig.trace(id).root.assert_times(START, END);
    }
}
