//! The mapping: the answers of any status API in, a [`Snapshot`] out.
//!
//! ```text
//! Definition -> Mapping; each poll: Mapping -> Gather; each body -> Part -> Gather; Gather -> Reading
//! ```
//!
//! A body is read as a stream into only what the definition names; the rest is skipped, not built, so that a large body
//! costs its bytes and no memory. What is there but makes no sense (a time that is none, a status nobody knows) is
//! left out and told as an *oddity*; a body of another shape is refused.
//!
//! Pure: no I/O of its own.

mod assemble;
pub mod definition;
mod plan;
pub mod pointer;
mod read;
pub mod template;
mod time_format;

pub use assemble::{Gather, Missing};
pub use read::{Page, Part};

use crate::core::limits;
use crate::core::snapshot::Snapshot;
use crate::core::workflow::cut;
use definition::{Definition, Mistake, Request};
use plan::Plan;
use std::io;
use template::Variables;

/// What the answers of a poll said.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The workflow's state.
    pub snapshot: Snapshot,
    /// The first thing in the answers that was not understood and was left out.
    pub oddity: Option<Box<str>>,
}

/// Why a body says nothing.
#[derive(Debug)]
pub enum Unreadable {
    /// It could not be read to its end.
    Io(io::Error),
    /// It is not JSON.
    Garbage(Box<str>),
    /// It is JSON, of another shape than the mapping's.
    Shape(Box<str>),
}

impl Unreadable {
    fn of(error: serde_json::Error) -> Self {
        // The text may quote the body.
        let text = error.to_string();
        let text = || cut(&text, limits::NAME_BYTES_MAX).into();
        match error.classify() {
            serde_json::error::Category::Io => Unreadable::Io(error.into()),
            serde_json::error::Category::Data => Unreadable::Shape(text()),
            serde_json::error::Category::Syntax | serde_json::error::Category::Eof => {
                Unreadable::Garbage(text())
            }
        }
    }

    fn shape(what: &str) -> Self {
        Unreadable::Shape(cut(what, limits::NAME_BYTES_MAX).into())
    }
}

/// May be ignored, says RFC 8259 section 8.1, and .NET likes to write one. A stream is to begin behind it.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How one monitor's API is asked and understood. Does not change, so that pollers share it.
#[derive(Debug)]
pub struct Mapping {
    plan: Plan,
}

impl Mapping {
    /// Makes a mapping of its definition.
    ///
    /// # Errors
    /// All mistakes in it, in the order of their places.
    pub fn compile(definition: Definition) -> Result<Self, Vec<Mistake>> {
        let plan = plan::plan(definition)?;
        Ok(Mapping { plan })
    }

    /// That of the default shape, which is the original's API.
    pub fn original() -> Self {
        #[expect(clippy::expect_used, reason = "a test compiles it")]
        Mapping::compile(Definition::original()).expect("it has no mistakes")
    }

    /// What it was made of.
    pub fn definition(&self) -> &Definition {
        &self.plan.definition
    }

    /// The requests of a poll with their names, in the order in which they are to be made; the first is the main one, whose
    /// name is empty.
    pub fn requests(&self) -> impl ExactSizeIterator<Item = (&str, &Request)> {
        let requests = self.plan.requests.iter();
        requests.map(|planned| (&*planned.name, &planned.request))
    }

    /// A poll for this workflow. `None` where its id does not look as the definition says.
    pub fn gather(&self, workflow_id: &str) -> Option<Gather<'_>> {
        let mut variables = Variables::default();
        let pattern = self.plan.definition.id.as_ref();
        let fits = pattern.is_none_or(|pattern| pattern.take_apart(workflow_id, &mut variables));
        variables.set("id", workflow_id);
        fits.then(|| Gather::new(self, variables))
    }

    /// Reads the whole body of an answer to the request of this number.
    ///
    /// # Errors
    /// As [`Unreadable`] says; never [`Unreadable::Io`].
    pub fn read_slice(&self, request: usize, body: &[u8]) -> Result<Part, Unreadable> {
        let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
        let json = serde_json::Deserializer::from_slice(body);
        read::read(&self.plan, request, json)
    }

    /// Reads a body as it arrives.
    ///
    /// # Errors
    /// As [`Unreadable`] says.
    pub fn read_stream(&self, request: usize, body: impl io::Read) -> Result<Part, Unreadable> {
        let json = serde_json::Deserializer::from_reader(body);
        read::read(&self.plan, request, json)
    }

    /// What one body says, where there is one request.
    ///
    /// # Errors
    /// The id does not look as the definition says.
    pub fn reading(&self, workflow_id: &str, part: Part) -> Result<Reading, Unreadable> {
        let Some(mut gather) = self.gather(workflow_id) else {
            return Err(Unreadable::shape(
                "the id is not made of the parts it is to have",
            ));
        };
        gather.put(0, part);
        gather.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::snapshot::Progress;
    use crate::core::time::Wall;
    use expect_test::{Expect, expect};

    fn read_slice(body: &[u8]) -> Result<Reading, Unreadable> {
        let mapping = Mapping::original();
        mapping.reading("w", mapping.read_slice(0, body)?)
    }

    fn read_stream(body: impl io::Read) -> Result<Reading, Unreadable> {
        let mapping = Mapping::original();
        mapping.reading("w", mapping.read_stream(0, body)?)
    }

    fn check(body: &str, expected: Expect) {
        let told = read_slice(body.as_bytes());
        let streamed = read_stream(body.as_bytes());
        let text = |told: &Result<Reading, Unreadable>| match told {
            Ok(reading) => written(reading),
            Err(unreadable) => format!("{unreadable:?}"),
        };
        // The column may differ by one: a stream does not look ahead.
        let unplaced = |text: String| text.split(" at line").next().map(str::to_owned);
        assert_eq!(unplaced(text(&told)), unplaced(text(&streamed)));
        expected.assert_eq(&text(&told));
    }

    fn written(reading: &Reading) -> String {
        let progress = |p: &Progress| {
            let time = |t: Option<Wall>| t.map_or("-".into(), |t| t.to_string());
            let (start, end) = (time(p.start), time(p.end));
            format!("{:?} {:?} {start} {end} {:?}", p.status, p.state, p.error)
        };
        let snapshot = &reading.snapshot;
        let mut text = format!(
            "{:?} {}",
            snapshot.workflow_id,
            progress(&snapshot.progress)
        );
        for stage in &snapshot.stages {
            let (path, kind, id) = (&stage.path, &stage.kind, &stage.id);
            let progress = progress(&stage.progress);
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
        let body = [BYTE_ORDER_MARK, br#"{"workflowStatus": "Failed"}"#].concat();
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
                  odd: /workflowStartTime is not a time: "yesterday""#]],
        );
        check(
            r#"{"workflowStatus": "Failed", "workflowErrorMessage": {"code": 7}, "isComplete": "yes"}"#,
            expect![[r#"
                None Some("Failed") Ended(Failure) - - None
                  odd: /workflowErrorMessage is neither a text nor a number"#]],
        );
    }

    #[test]
    fn another_shape_is_refused() {
        check(
            "{}",
            expect![[r#"Shape("an object with nothing of what is looked for: /workflowId, /workflowStatus, /workflowStartTime, /workflowEndTime, /workflowErrorMessage, /isComplete, /workflowEntities")"#]],
        );
        check(
            "[]",
            expect![[r#"Shape("an array with nothing of what is looked for: /workflowId, /workflowStatus, /workflowStartTime, /workflowEndTime, /workflowErrorMessage, /isComplete, /workflowEntities")"#]],
        );
        check(
            "null",
            expect![[r#"Shape("null with nothing of what is looked for: /workflowId, /workflowStatus, /workflowStartTime, /workflowEndTime, /workflowErrorMessage, /isComplete, /workflowEntities")"#]],
        );
        check(
            "\"Completed\"",
            expect![[r#"Shape("a single value with nothing of what is looked for: /workflowId, /workflowStatus, /workflowStartTime, /workflowEndTime, /workflowErrorMessage, /isComplete, /workflowEntities")"#]],
        );
        check(
            r#"{"error": "gone"}"#,
            expect![[r#"Shape("an object with nothing of what is looked for: /workflowId, /workflowStatus, /workflowStartTime, /workflowEndTime, /workflowErrorMessage, /isComplete, /workflowEntities")"#]],
        );
        check(
            r#"{"workflowStatus": {"x": 1}}"#,
            expect![[r#"Shape("/workflowStatus is not a text at line 1 column 20")"#]],
        );
        check(
            r#"{"workflowEntities": [1]}"#,
            expect![[
                r#"Shape("what is in /workflowEntities is neither an object nor null at line 1 column 24")"#
            ]],
        );
        check(
            r#"{"workflowEntities": {"A": 1}}"#,
            expect![[
                r#"Shape("what is in /workflowEntities is neither an object nor null at line 1 column 29")"#
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
        assert!(matches!(deep, Err(Unreadable::Garbage(_))));
        let not_utf8 = read_slice(b"{\"workflowStatus\": \"\xff\xfe\"}");
        assert!(matches!(not_utf8, Err(Unreadable::Garbage(_))));
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
                let built = value["workflowEntities"][&*stage.path]["entityStartTime"].as_str();
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
            let fields =
                format!(r#"{{"entityStartTime":{start},"x":{{}},"entityStatus":{status}}}"#);
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
}
