//! The mapping: a status body in, a [`Snapshot`] out.
//!
//! The body is read as a stream into only what the mapping names; the rest is skipped, not built, so that a large body
//! costs its bytes and no memory. What is there but makes no sense (a time that is none, a status nobody knows) is
//! left out and told as an *oddity*; a body of another shape is refused.
//!
//! Pure: no I/O of its own.

use crate::core::limits;
use crate::core::snapshot::{Outcome, Progress, Snapshot, StageSnapshot, State};
use crate::core::time::Wall;
use crate::core::workflow::cut;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::io;

/// What a body said.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The workflow's state.
    pub snapshot: Snapshot,
    /// The first thing in the body that was not understood and was left out.
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

/// May be ignored, says RFC 8259 section 8.1, and .NET likes to write one. A stream is to begin behind it.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads a whole body.
///
/// # Errors
/// As [`Unreadable`] says; never [`Unreadable::Io`].
pub fn read_slice(body: &[u8]) -> Result<Reading, Unreadable> {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    read(serde_json::Deserializer::from_slice(body))
}

/// Reads a body as it arrives.
///
/// # Errors
/// As [`Unreadable`] says.
pub fn read_stream(body: impl io::Read) -> Result<Reading, Unreadable> {
    read(serde_json::Deserializer::from_reader(body))
}

fn read<'de, R: serde_json::de::Read<'de>>(
    mut json: serde_json::Deserializer<R>,
) -> Result<Reading, Unreadable> {
    let mut oddity = None;
    let workflow = Workflow {
        oddity: &mut oddity,
    };
    let snapshot = workflow.deserialize(&mut json).map_err(unreadable)?;
    json.end().map_err(unreadable)?;
    Ok(Reading { snapshot, oddity })
}

fn unreadable(error: serde_json::Error) -> Unreadable {
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

/// The names that one level of the default shape uses.
struct Names {
    id: &'static str,
    status: &'static str,
    start: &'static str,
    end: &'static str,
    error: &'static str,
}

const WORKFLOW: Names = Names {
    id: "workflowId",
    status: "workflowStatus",
    start: "workflowStartTime",
    end: "workflowEndTime",
    error: "workflowErrorMessage",
};
const STAGE: Names = Names {
    id: "entityId",
    status: "entityStatus",
    start: "entityStartTime",
    end: "entityEndTime",
    error: "entityErrorMessage",
};
const IS_COMPLETE: &str = "isComplete";
const STAGES: &str = "workflowEntities";
const STAGE_KIND: &str = "entityType";

fn state_of(status: &str) -> Option<State> {
    const TABLE: [(&str, State); 5] = [
        ("Null", State::Pending),
        ("Initializing", State::Running),
        ("Processing", State::Running),
        ("Completed", State::Ended(Outcome::Success)),
        ("Failed", State::Ended(Outcome::Failure)),
    ];
    let mut known = TABLE.iter();
    Some(known.find(|(word, _)| word.eq_ignore_ascii_case(status))?.1)
}

type Oddity = Option<Box<str>>;

/// The workflow: an object with [`WORKFLOW`]'s names.
struct Workflow<'o> {
    oddity: &'o mut Oddity,
}

impl<'de> DeserializeSeed<'de> for Workflow<'_> {
    type Value = Snapshot;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Snapshot, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Workflow<'_> {
    type Value = Snapshot;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with workflowStatus and workflowEntities")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Snapshot, A::Error> {
        let mut fields = Fields::default();
        let mut stages = Vec::new();
        let mut any = false;
        while let Some(key) = map.next_key_seed(Key(&[&WORKFLOW], &[IS_COMPLETE, STAGES]))? {
            any |= key.is_some();
            match key {
                Some(STAGES) => map.next_value_seed(Stages {
                    stages: &mut stages,
                    oddity: self.oddity,
                })?,
                Some(key) => fields.take(&WORKFLOW, key, &mut map, self.oddity)?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if !any {
            return Err(de::Error::custom("no workflowStatus, no workflowEntities"));
        }
        Ok(Snapshot {
            workflow_id: fields.id.take(),
            progress: fields.progress(self.oddity),
            stages,
            ..Snapshot::default()
        })
    }
}

/// The stages: an object keyed by their paths, or null.
struct Stages<'o> {
    stages: &'o mut Vec<StageSnapshot>,
    oddity: &'o mut Oddity,
}

impl<'de> DeserializeSeed<'de> for Stages<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Stages<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of stages by name, in workflowEntities")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(path) = map.next_key::<Cow<'de, str>>()? {
            if path.is_empty() || path.len() > limits::NAME_BYTES_MAX {
                return Err(de::Error::custom("a stage's name is empty or too long"));
            }
            if self.stages.len() >= limits::STAGES_MAX {
                return Err(de::Error::custom(format_args!(
                    "more than {} stages",
                    limits::STAGES_MAX
                )));
            }
            let stage = Stage {
                path: &path,
                oddity: self.oddity,
            };
            self.stages.extend(map.next_value_seed(stage)?);
        }
        Ok(())
    }
}

/// One stage: an object with [`STAGE`]'s names, or null.
struct Stage<'o> {
    path: &'o str,
    oddity: &'o mut Oddity,
}

impl<'de> DeserializeSeed<'de> for Stage<'_> {
    type Value = Option<StageSnapshot>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Stage<'_> {
    type Value = Option<StageSnapshot>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a stage: an object with entityStatus")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        let mut kind = None;
        while let Some(key) = map.next_key_seed(Key(&[&STAGE], &[IS_COMPLETE, STAGE_KIND]))? {
            match key {
                Some(STAGE_KIND) => kind = map.next_value_seed(Scalar)?.into_name(),
                Some(key) => fields.take(&STAGE, key, &mut map, self.oddity)?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(StageSnapshot {
            path: self.path.into(),
            kind: kind.unwrap_or_else(|| self.path.into()),
            id: fields.id.take(),
            progress: fields.progress(self.oddity),
            ..StageSnapshot::default()
        }))
    }
}

/// A key that is one of those wanted, or `None`.
struct Key<'k>(&'k [&'static Names], &'k [&'static str]);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        let named = self.0.iter();
        let named = named.flat_map(|n| [n.id, n.status, n.start, n.end, n.error]);
        let mut wanted = named.chain(self.1.iter().copied());
        Ok(wanted.find(|wanted| *wanted == key))
    }
}

/// What a workflow and a stage have in common.
#[derive(Default)]
struct Fields {
    id: Option<Box<str>>,
    status: Option<Box<str>>,
    start: Option<Wall>,
    end: Option<Wall>,
    error: Option<Box<str>>,
    is_complete: bool,
}

impl Fields {
    fn take<'de, A: MapAccess<'de>>(
        &mut self,
        names: &Names,
        key: &'static str,
        map: &mut A,
        oddity: &mut Oddity,
    ) -> Result<(), A::Error> {
        let value = map.next_value_seed(Scalar)?;
        if let Value::Other = value {
            if key == names.status {
                return Err(de::Error::custom(format_args!("{key} is not a text")));
            }
            odd(oddity, || format!("{key} is neither a text nor a number"));
            return Ok(());
        }
        match key {
            _ if key == names.id => self.id = value.into_text(limits::WORKFLOW_ID_BYTES_MAX),
            _ if key == names.status => self.status = value.into_name(),
            _ if key == names.start => self.start = value.into_time(key, oddity),
            _ if key == names.end => self.end = value.into_time(key, oddity),
            _ if key == names.error => self.error = value.into_text(limits::ATTRIBUTE_BYTES_MAX),
            IS_COMPLETE => match value {
                Value::Bool(truth) => self.is_complete = truth,
                Value::Null => {}
                _ => odd(oddity, || format!("{key} is neither true nor false")),
            },
            _ => {}
        }
        Ok(())
    }

    fn progress(self, oddity: &mut Oddity) -> Progress {
        let state = match self.status.as_deref().map(|s| (s, state_of(s))) {
            None => State::Pending,
            Some((_, Some(state))) => state,
            Some((status, None)) => {
                odd(oddity, || format!("unknown status {:?}", cut(status, 64)));
                State::Running
            }
        };
        // Complete, and no status that says how.
        let complete = self.is_complete && (state == State::Running || self.end.is_some());
        let state = match (state, &self.error) {
            (State::Pending | State::Running, Some(_)) if complete => {
                State::Ended(Outcome::Failure)
            }
            (State::Pending | State::Running, None) if complete => State::Ended(Outcome::Success),
            _ => state,
        };
        Progress {
            // "Null" is the word for no status.
            status: self.status.filter(|s| !s.eq_ignore_ascii_case("Null")),
            state,
            start: self.start,
            end: self.end,
            error: self.error,
            ..Progress::default()
        }
    }
}

/// A JSON value as far as it can be a field.
enum Value<'de> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'de, str>),
    /// An array or an object, skipped.
    Other,
}

impl Value<'_> {
    fn into_text(self, bytes_max: usize) -> Option<Box<str>> {
        match self {
            Value::Null | Value::Other => None,
            Value::Bool(truth) => Some(truth.to_string().into()),
            Value::Int(number) => Some(number.to_string().into()),
            Value::Float(number) => Some(number.to_string().into()),
            Value::Text(text) if text.is_empty() => None,
            Value::Text(text) => Some(cut(&text, bytes_max).into()),
        }
    }

    fn into_name(self) -> Option<Box<str>> {
        self.into_text(limits::NAME_BYTES_MAX)
    }

    fn into_time(self, key: &str, oddity: &mut Oddity) -> Option<Wall> {
        let time = match &self {
            Value::Null => return None,
            // .NET's unset time.
            Value::Text(text) if text.is_empty() || text.starts_with("0001-01-01") => return None,
            Value::Text(text) => Wall::parse_rfc3339(text),
            Value::Int(number) => Wall::from_epoch_integer(*number),
            Value::Float(number) => Wall::from_epoch_number(*number),
            Value::Bool(_) | Value::Other => None,
        };
        if time.is_none() {
            let found = self.into_text(64).unwrap_or_default();
            odd(oddity, || format!("{key} is not a time: {found:?}"));
        }
        time
    }
}

fn odd(oddity: &mut Oddity, what: impl FnOnce() -> String) {
    oddity.get_or_insert_with(|| what().into());
}

/// Reads any value; arrays and objects are skipped.
struct Scalar;

impl<'de> DeserializeSeed<'de> for Scalar {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value<'de>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Scalar {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value<'de>, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value<'de>, E> {
        let whole = i64::try_from(number).map(Value::Int);
        Ok(whole.unwrap_or(Value::Float(number as f64)))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value<'de>, E> {
        Ok(Value::Float(number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

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
                  odd: workflowStartTime is not a time: "yesterday""#]],
        );
        check(
            r#"{"workflowStatus": "Failed", "workflowErrorMessage": {"code": 7}, "isComplete": "yes"}"#,
            expect![[r#"
                None Some("Failed") Ended(Failure) - - None
                  odd: workflowErrorMessage is neither a text nor a number"#]],
        );
    }

    #[test]
    fn another_shape_is_refused() {
        check(
            "{}",
            expect![[r#"Shape("no workflowStatus, no workflowEntities at line 1 column 2")"#]],
        );
        check(
            "[]",
            expect![[
                r#"Shape("invalid type: sequence, expected an object with workflowStatus and workflowEntities at line 1 column 0")"#
            ]],
        );
        check(
            "null",
            expect![[
                r#"Shape("invalid type: null, expected an object with workflowStatus and workflowEntities at line 1 column 4")"#
            ]],
        );
        check(
            "\"Completed\"",
            expect![[
                r#"Shape("invalid type: string \"Completed\", expected an object with workflowStatus and workflowEntities at line 1 column 11")"#
            ]],
        );
        check(
            r#"{"error": "gone"}"#,
            expect![[r#"Shape("no workflowStatus, no workflowEntities at line 1 column 17")"#]],
        );
        check(
            r#"{"workflowStatus": {"x": 1}}"#,
            expect![[r#"Shape("workflowStatus is not a text at line 1 column 28")"#]],
        );
        check(
            r#"{"workflowEntities": [1]}"#,
            expect![[
                r#"Shape("invalid type: sequence, expected an object of stages by name, in workflowEntities at line 1 column 22")"#
            ]],
        );
        check(
            r#"{"workflowEntities": {"A": 1}}"#,
            expect![[
                r#"Shape("invalid type: integer `1`, expected a stage: an object with entityStatus at line 1 column 28")"#
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
