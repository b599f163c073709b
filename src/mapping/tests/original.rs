//! The default shape, as its readers have always had it.

use crate::*;
use expect_test::{Expect, expect};
use farspan_core::snapshot::Progress;
use farspan_core::time::Wall;

fn read_slice(body: &[u8]) -> Result<Reading, UnreadableBody> {
    let mapping = Mapping::original();
    mapping.reading("w", mapping.read_slice(0, body)?)
}

fn read_stream(body: impl io::Read) -> Result<Reading, UnreadableBody> {
    let mapping = Mapping::original();
    mapping.reading("w", mapping.read_stream(0, body)?)
}

fn check(body: &str, expected: Expect) {
    let told = read_slice(body.as_bytes());
    let streamed = read_stream(body.as_bytes());
    let text = |told: &Result<Reading, UnreadableBody>| match told {
        Ok(reading) => written(reading),
        Err(unreadable) => format!("{unreadable:?}"),
    };
    // The column may differ by one: a stream does not look ahead.
    let unplaced = |text: String| text.split(" at line").next().map(str::to_owned);
    assert_eq!(unplaced(text(&told)), unplaced(text(&streamed)));
    expected.assert_eq(&text(&told));
}

fn written(reading: &Reading) -> String {
    let progress = |p: Progress<&str>| {
        let time = |t: Option<Wall>| t.map_or("-".into(), |t| t.to_string());
        let (start, end) = (time(p.start), time(p.end));
        format!("{:?} {:?} {start} {end} {:?}", p.status, p.state, p.error)
    };
    let snapshot = &reading.snapshot;
    let mut text = format!(
        "{:?} {}",
        snapshot.workflow_id,
        progress(snapshot.progress.view())
    );
    for stage in &snapshot.stages {
        let (path, kind, id) = (&stage.path, &stage.kind, &stage.id);
        let progress = progress(stage.progress);
        text += &format!("\n  {path} {kind} {id:?} {progress}");
    }
    if let Some(oddity) = &reading.oddity {
        text += &format!("\n  odd: {oddity}");
    }
    text
}

/// As the original's API answers, with its keys in no order.
#[test]
fn the_original_body() {
    check(
        r#"{"workflowEntities": {"DataLoader": {"entityEndTime": "2024-07-05T07:01:02.7654321Z",
            "entityType": "DataLoader", "entityId": "9f623b49-7c11-4a3c-8a53-1d1a1b0d7f2e",
            "isComplete": true, "entityStatus": "Failed", "extra": {"deep": [1, {"x": null}]},
            "entityStartTime": "2024-07-05T06:57:58.0000001Z", "entityErrorMessage": "no such file"},
            "Processor": {"entityStatus": "Null"}, "OutputGenerator": null},
          "isComplete": true, "workflowErrorMessage": "Entity failed: DataLoader",
          "workflowStartTime": "2024-07-05T06:57:56.1234567Z", "version": 3,
          "workflowId": "704c0b60-30b6-4a94-bc2d-3b1c6c7d1d54", "workflowStatus": "Failed"}"#,
        expect![[r#"
            Some("704c0b60-30b6-4a94-bc2d-3b1c6c7d1d54") Some("Failed") Ended(Failure) 2024-07-05T06:57:56.1234567Z - Some("Entity failed: DataLoader")
              DataLoader DataLoader Some("9f623b49-7c11-4a3c-8a53-1d1a1b0d7f2e") Some("Failed") Ended(Failure) 2024-07-05T06:57:58.0000001Z 2024-07-05T07:01:02.7654321Z Some("no such file")
              Processor Processor None None Pending - - None"#]],
    );
}

#[test]
fn a_byte_order_mark_is_ignored() {
    let body = [
        farspan_syntax::text::BYTE_ORDER_MARK,
        br#"{"workflowStatus": "Failed"}"#,
    ]
    .concat();
    assert!(read_slice(&body).is_ok());
}

#[test]
fn what_is_absent_is_null() {
    check(
        r#"{"workflowId": 7}"#,
        expect![[r#"Some("7") None Pending - - None"#]],
    );
    check(
        r#"{"workflowStatus": null, "workflowEntities": null, "workflowStartTime": ""}"#,
        expect!["None None Pending - - None"],
    );
    check(
        r#"{"workflowStatus": "processing", "workflowStartTime": "0001-01-01T00:00:00"}"#,
        expect![[r#"None Some("processing") Running - - None"#]],
    );
}

#[test]
fn complete_without_a_status_that_says_how() {
    check(
        r#"{"workflowStatus": "Processing", "isComplete": true}"#,
        expect![[r#"None Some("Processing") Ended(Success) - - None"#]],
    );
    check(
        r#"{"isComplete": true, "workflowEndTime": 1720162671, "workflowErrorMessage": "lost"}"#,
        expect![[r#"None None Ended(Failure) - 2024-07-05T06:57:51Z Some("lost")"#]],
    );
    check(
        r#"{"workflowEntities": {"A": {"isComplete": true, "entityStatus": "Null"}}}"#,
        expect![[r#"
            None None Pending - - None
              A A None None Pending - - None"#]],
    );
}

#[test]
fn what_makes_no_sense_is_left_out_and_told() {
    check(
        r#"{"workflowStatus": "Paused", "workflowStartTime": "yesterday"}"#,
        expect![[r#"
            None Some("Paused") Running - - None
              odd: /workflowStartTime is not a time: "yesterday" (workflow.start)"#]],
    );
    check(
        r#"{"workflowStatus": "Failed", "workflowErrorMessage": {"code": 7}, "isComplete": "yes"}"#,
        expect![[r#"
            None Some("Failed") Ended(Failure) - - None
              odd: /workflowErrorMessage is an object, not a text or a number; it has code (workflow.error)"#]],
    );
}

#[test]
fn another_shape_is_refused() {
    check(
        "{}",
        expect![[
            r#"Shape("an object with nothing of what is looked for: /workflowId, /workflowStatus, /workflowStartTime, /workflowEndTime, /workflowErrorMessage, /isComplete, /workflowEntities")"#
        ]],
    );
    check(
        "[]",
        expect![[
            r#"Shape("an array with nothing of what is looked for: /workflowId, /workflowStatus, /workflowStartTime, /workflowEndTime, /workflowErrorMessage, /isComplete, /workflowEntities")"#
        ]],
    );
    check(
        "null",
        expect![[
            r#"Shape("null with nothing of what is looked for: /workflowId, /workflowStatus, /workflowStartTime, /workflowEndTime, /workflowErrorMessage, /isComplete, /workflowEntities")"#
        ]],
    );
    check(
        "\"Completed\"",
        expect![[
            r#"Shape("a single value with nothing of what is looked for: /workflowId, /workflowStatus, /workflowStartTime, /workflowEndTime, /workflowErrorMessage, /isComplete, /workflowEntities")"#
        ]],
    );
    check(
        r#"{"error": "gone"}"#,
        expect![[
            r#"Shape("an object with nothing of what is looked for: /workflowId, /workflowStatus, /workflowStartTime, /workflowEndTime, /workflowErrorMessage, /isComplete, /workflowEntities")"#
        ]],
    );
    check(
        r#"{"workflowStatus": {"x": 1}}"#,
        expect![[
            r#"Shape("/workflowStatus is an object, not a text; it has x (workflow.status) at line 1 column 27")"#
        ]],
    );
    check(
        r#"{"workflowEntities": [1]}"#,
        expect![[
            r#"Shape("what is in /workflowEntities is neither an object nor null: an element has to be an object with the fields of a stage (stages[0].list) at line 1 column 24")"#
        ]],
    );
    check(
        r#"{"workflowEntities": {"A": 1}}"#,
        expect![[
            r#"Shape("what is in /workflowEntities is neither an object nor null: an element has to be an object with the fields of a stage (stages[0].list) at line 1 column 29")"#
        ]],
    );
}

#[test]
fn what_is_not_json_is_garbage() {
    check(
        "",
        expect![[r#"Garbage("EOF while parsing a value at line 1 column 0")"#]],
    );
    check(
        "<html>",
        expect![[r#"Garbage("expected value at line 1 column 1")"#]],
    );
    check(
        r#"{"workflowStatus": "Comp"#,
        expect![[r#"Garbage("EOF while parsing a string at line 1 column 24")"#]],
    );
    check(
        r#"{"workflowStatus": "Failed"} trailing"#,
        expect![[r#"Garbage("trailing characters at line 1 column 30")"#]],
    );
    let deep = "[".repeat(100_000);
    let body = format!(r#"{{"workflowStatus": "Failed", "x": {deep}"#);
    let deep = read_slice(body.as_bytes());
    assert!(matches!(deep, Err(UnreadableBody::Garbage(_))));
    let not_utf8 = read_slice(b"\xff\xfe{\0\"\0x\0\"\0:\x001\0}\0");
    assert!(matches!(not_utf8, Err(UnreadableBody::Garbage(_))));
}

#[test]
fn texts_are_cut_to_their_bounds() {
    let long = "\u{e9}".repeat(100_000);
    let body = format!(r#"{{"workflowStatus": "{long}", "workflowErrorMessage": "{long}"}}"#);
    let progress = read_slice(body.as_bytes()).unwrap().snapshot.progress;
    assert_eq!(progress.status.unwrap().len(), limits::NAME_BYTES_MAX);
    assert_eq!(progress.error.unwrap().len(), limits::ATTRIBUTE_BYTES_MAX);
}

/// The model builds the whole value and looks things up in it.
#[test]
fn agrees_with_a_built_value_on_any_body() {
    arbtest::arbtest(|u| {
        let mut body = arbitrary_body(u)?;
        if u.ratio(1, 4)? {
            body.truncate(u.int_in_range(0..=body.len())?);
        }
        let streamed = read_stream(&body[..]);
        let sliced = read_slice(&body);
        assert_eq!(streamed.is_ok(), sliced.is_ok());
        let (Ok(reading), Ok(streamed)) = (sliced, streamed) else {
            return Ok(());
        };
        assert_eq!(reading, streamed);
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let status = value["workflowStatus"].as_str().filter(|s| *s != "Null");
        assert_eq!(reading.snapshot.progress.status.as_deref(), status);
        let stages = value["workflowEntities"].as_object().into_iter().flatten();
        let stages: Vec<_> = stages.filter(|(_, s)| !s.is_null()).collect();
        assert_eq!(reading.snapshot.stages.len(), stages.len());
        for stage in &reading.snapshot.stages {
            let built = value["workflowEntities"][stage.path]["entityStartTime"].as_str();
            let start = built.and_then(Wall::parse_rfc3339);
            assert_eq!(stage.progress.start, start);
        }
        Ok(())
    });
}

use arbtest::arbitrary::{Result as Arbitrary, Unstructured};

fn arbitrary_body(u: &mut Unstructured<'_>) -> Arbitrary<Vec<u8>> {
    const STATUSES: [&str; 6] = [
        "\"Null\"",
        "\"Initializing\"",
        "\"Completed\"",
        "\"Failed\"",
        "\"Odd\"",
        "null",
    ];
    const TIMES: [&str; 4] = [
        "\"2024-07-05T06:57:56.1234567Z\"",
        "\"soon\"",
        "null",
        "\"0001-01-01T00:00:00Z\"",
    ];
    let mut stages = Vec::new();
    for index in 0..u.int_in_range(0..=4)? {
        let (start, status) = (u.choose(&TIMES)?, u.choose(&STATUSES)?);
        let fields = format!(r#"{{"entityStartTime":{start},"x":{{}},"entityStatus":{status}}}"#);
        let stage = if u.ratio(1, 8)? { "null" } else { &fields };
        stages.push(format!(r#""s{index}":{stage}"#));
    }
    let mut members = [
        format!(r#""workflowStatus":{}"#, u.choose(&STATUSES)?),
        format!(r#""workflowStartTime":{}"#, u.choose(&TIMES)?),
        r#""extra":[{"workflowStatus":1},[]]"#.to_owned(),
        format!(r#""workflowEntities":{{{}}}"#, stages.join(",")),
    ];
    members.rotate_left(u.choose_index(4)?);
    Ok(format!("{{{}}}", members.join(",")).into_bytes())
}
