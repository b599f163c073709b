//! A start event as bytes: JSON in, [`StartEvent`] out.
//!
//! Names are matched without regard to case and underscores, so `WorkflowId`, `workflowId` and `workflow_id` are one
//! name. Only the id has to be right: whatever else is not is left out and told, and the workflow is traced.
//!
//! Pure: no I/O.

use crate::core::event::{Attributes, StartEvent, Value};
use crate::core::ids::TraceContext;
use crate::core::limits;
use crate::core::time::Wall;
use crate::core::workflow::cut;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value as Json;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// A message that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// What it says.
    pub event: StartEvent,
    /// The first thing in it that was wrong and was left out.
    pub oddity: Option<&'static str>,
}

/// Why a message is no start event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// More than [`limits::EVENT_BYTES_MAX`].
    TooLong,
    /// Not JSON: the parser's words.
    NotJson(Box<str>),
    /// JSON, but no object.
    NotAnObject,
    /// No id in it.
    NoId,
    /// An id that is neither a text nor a whole number.
    IdOfWrongType,
    /// An empty id.
    EmptyId,
    /// More than [`limits::WORKFLOW_ID_BYTES_MAX`].
    IdTooLong,
}

impl Malformed {
    /// The kind, as a word for logs and labels.
    pub fn reason(&self) -> &'static str {
        match self {
            Malformed::TooLong => "too_long",
            Malformed::NotJson(_) => "not_json",
            Malformed::NotAnObject => "not_an_object",
            Malformed::NoId => "no_id",
            Malformed::IdOfWrongType => "id_of_wrong_type",
            Malformed::EmptyId => "empty_id",
            Malformed::IdTooLong => "id_too_long",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::TooLong => write!(f, "longer than {} bytes", limits::EVENT_BYTES_MAX),
            Malformed::NotJson(why) => write!(f, "not JSON: {why}"),
            Malformed::NotAnObject => f.write_str("not a JSON object"),
            Malformed::NoId => f.write_str("no WorkflowId"),
            Malformed::IdOfWrongType => {
                f.write_str("WorkflowId is neither a text nor a whole number")
            }
            Malformed::EmptyId => f.write_str("WorkflowId is empty"),
            Malformed::IdTooLong => {
                write!(
                    f,
                    "WorkflowId is longer than {} bytes",
                    limits::WORKFLOW_ID_BYTES_MAX
                )
            }
        }
    }
}

/// Reads a message for a monitor. `read_parent`: whether a trace context in it counts.
///
/// # Errors
/// Why the message is no start event.
pub fn read(bytes: &[u8], monitor: u16, read_parent: bool) -> Result<Message, Malformed> {
    if bytes.len() > limits::EVENT_BYTES_MAX {
        return Err(Malformed::TooLong);
    }
    // A byte order mark may be ignored, says RFC 8259 section 8.1, and .NET likes to write one.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let fields: Fields<'_> = serde_json::from_slice(bytes).map_err(|e| match e.is_data() {
        true => Malformed::NotAnObject,
        false => not_json(&e),
    })?;
    let raw = |name: &str| {
        let place = NAMES.iter().position(|known| *known == name);
        place.and_then(|place| fields.0[place])
    };
    // What no type can hold (1e999, or a depth beyond reason) is of the wrong type for all of them.
    let field = |name: &str| {
        let value = raw(name)?.get();
        Some(serde_json::from_str(value).unwrap_or(Json::Bool(false)))
    };
    let id = raw("workflowid").ok_or(Malformed::NoId)?;
    let workflow_id = read_id(&serde_json::from_str(id.get()).map_err(|e| not_json(&e))?)?;
    let mut oddity = None;
    let mut odd = |what| {
        oddity.get_or_insert(what);
    };
    let submitted_at = field("submittedat").and_then(|value| {
        let time = read_time(&value);
        if time.is_none() {
            odd("SubmittedAt is not a time");
        }
        time
    });
    let attempt = field("attempt").and_then(|value| {
        let attempt = value.as_u64().and_then(|number| number.try_into().ok());
        if attempt.is_none() {
            odd("Attempt is not a small whole number");
        }
        attempt
    });
    let parent = field("traceparent")
        .filter(|_| read_parent)
        .and_then(|value| {
            let state = field("tracestate");
            let state = state.as_ref().and_then(Json::as_str);
            let parent = value
                .as_str()
                .and_then(|text| TraceContext::from_w3c(text, state));
            if parent.is_none() {
                odd("traceparent is not a W3C trace context");
            }
            parent.map(Box::new)
        });
    let attributes = match field("attributes") {
        None => Box::default(),
        Some(Json::Object(object)) => {
            let (attributes, all) = read_attributes(&object);
            if !all {
                odd("attributes holds something that is no scalar, or too much");
            }
            attributes
        }
        Some(_) => {
            odd("attributes is not an object, or not one that can be read");
            Box::default()
        }
    };
    let event = StartEvent {
        monitor,
        workflow_id,
        submitted_at,
        attempt,
        parent,
        attributes,
        source: None,
    };
    Ok(Message { event, oddity })
}

/// The names of an event's fields, without underscores and capitals.
const NAMES: [&str; 6] = [
    "workflowid",
    "submittedat",
    "attempt",
    "traceparent",
    "tracestate",
    "attributes",
];

fn not_json(error: &serde_json::Error) -> Malformed {
    Malformed::NotJson(cut(&error.to_string(), limits::NAME_BYTES_MAX).into())
}

/// The values of [`NAMES`] as they stand, the first that is not null of each. Whatever else an event holds is skipped,
/// not built: it may be of any depth.
struct Fields<'a>([Option<&'a RawValue>; NAMES.len()]);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a start event: an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Fields([const { None }; NAMES.len()]);
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    match NAMES.iter().position(|name| is_named(&key, name)) {
                        Some(place) => {
                            let value = map.next_value::<&RawValue>()?;
                            let known = &mut fields.0[place];
                            *known = known.or((value.get() != "null").then_some(value));
                        }
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(fields)
            }
        }

        json.deserialize_map(Object)
    }
}

/// Reads the fields of a stream's entry: the field `message`, which holds a message, or else the fields themselves.
///
/// # Errors
/// Why they are no start event.
pub fn read_fields(
    fields: &[(Vec<u8>, Vec<u8>)],
    monitor: u16,
    read_parent: bool,
) -> Result<Message, Malformed> {
    let message = fields.iter().find(|(name, _)| name == b"message");
    if let Some((_, message)) = message {
        return read(message, monitor, read_parent);
    }
    let length: usize = fields.iter().map(|(k, v)| k.len() + v.len()).sum();
    if length > limits::EVENT_BYTES_MAX {
        return Err(Malformed::TooLong);
    }
    let text =
        |bytes| std::str::from_utf8(bytes).map_err(|e| Malformed::NotJson(e.to_string().into()));
    let mut object = serde_json::Map::new();
    for (name, value) in fields {
        let (name, value) = (text(name)?, text(value)?);
        // All fields of an entry are text. What has to be something else is written as JSON; an id never has to.
        let json = match serde_json::from_str(value) {
            Ok(json @ (Json::Number(_) | Json::Object(_) | Json::Null))
                if !is_named(name, "workflowid") =>
            {
                json
            }
            _ => Json::String(value.to_owned()),
        };
        object.insert(name.to_owned(), json);
    }
    read(
        Json::Object(object).to_string().as_bytes(),
        monitor,
        read_parent,
    )
}

fn is_named(key: &str, name: &str) -> bool {
    let letters = key.bytes().filter(|b| *b != b'_');
    letters.map(|b| b.to_ascii_lowercase()).eq(name.bytes())
}

fn read_id(value: &Json) -> Result<Box<str>, Malformed> {
    let id: Box<str> = match value {
        Json::String(text) => text.as_str().into(),
        Json::Number(number) if !number.is_f64() => number.to_string().into(),
        _ => return Err(Malformed::IdOfWrongType),
    };
    match id.len() {
        0 => Err(Malformed::EmptyId),
        1..=limits::WORKFLOW_ID_BYTES_MAX => Ok(id),
        _ => Err(Malformed::IdTooLong),
    }
}

fn read_time(value: &Json) -> Option<Wall> {
    match value {
        Json::String(text) => {
            let number = || text.parse().ok().and_then(Wall::from_epoch_integer);
            Wall::parse_rfc3339(text).or_else(number)
        }
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Wall::from_epoch_integer(whole),
            None => number.as_f64().and_then(Wall::from_epoch_number),
        },
        _ => None,
    }
}

/// The attributes that can be one, and whether that is all of them.
fn read_attributes(object: &serde_json::Map<String, Json>) -> (Attributes, bool) {
    let scalar = |value: &Json| match value {
        Json::String(text) => Some(Value::from(cut(text, limits::ATTRIBUTE_BYTES_MAX))),
        Json::Bool(truth) => Some(Value::Bool(*truth)),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Some(Value::Int(whole)),
            None => number.as_f64().map(Value::Float),
        },
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    };
    let fits = |key: &str| !key.is_empty() && key.len() <= limits::NAME_BYTES_MAX;
    let attributes: Attributes = object
        .iter()
        .filter(|(key, _)| fits(key))
        .filter_map(|(key, value)| Some((key.as_str().into(), scalar(value)?)))
        .take(limits::EVENT_ATTRIBUTES_MAX)
        .collect();
    let all = attributes.len() == object.values().filter(|v| !v.is_null()).count();
    (attributes, all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(message: &str, expected: Expect) {
        let text = match read(message.as_bytes(), 0, true) {
            Ok(Message { event, oddity }) => {
                let StartEvent {
                    workflow_id,
                    submitted_at,
                    attempt,
                    parent,
                    attributes,
                    ..
                } = event;
                let submitted = submitted_at.map_or("-".into(), |t| t.to_string());
                let parent = parent.map(|p| (p.span_id.to_string(), p.trace_state));
                format!(
                    "{workflow_id:?} {submitted} {attempt:?} {parent:?} {attributes:?} {oddity:?}"
                )
            }
            Err(malformed) => format!("{}: {malformed}", malformed.reason()),
        };
        expected.assert_eq(&text);
    }

    #[test]
    fn an_event_as_the_original_publishes_it() {
        check(
            r#"{"WorkflowId": "3e2fef36-109f-4f99-af10-bc7670b4f997",
                "SubmittedAt": "2024-07-05T06:57:51.0737407Z", "MessageType": "event.workflow.started",
                "CorrelationId": "0f8fad5b-d9cb-469f-a165-70867728950e", "Timestamp": "2024-07-05T06:57:52Z",
                "traceparent": "00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-01"}"#,
            expect![[
                r#""3e2fef36-109f-4f99-af10-bc7670b4f997" 2024-07-05T06:57:51.0737407Z None Some(("b87e9a101a090735", None)) [] None"#
            ]],
        );
    }

    #[test]
    fn names_in_every_spelling() {
        check(
            r#"{"workflow_id": 7, "submitted_at": 1720162671000, "attempt": 2,
                "TRACEPARENT": "00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-01", "traceState": "a=1",
                "attributes": {"team": "risk", "n": 3, "x": 0.5, "dry": false, "gone": null}}"#,
            expect![[
                r#""7" 2024-07-05T06:57:51Z Some(2) Some(("b87e9a101a090735", Some("a=1"))) [("dry", Bool(false)), ("n", Int(3)), ("team", Str("risk")), ("x", Float(0.5))] None"#
            ]],
        );
        check(
            r#"{"workflowId": "a/b", "submittedAt": "1720162671"}"#,
            expect![[r#""a/b" 2024-07-05T06:57:51Z None None [] None"#]],
        );
    }

    #[test]
    fn what_is_wrong_beside_the_id_is_left_out_and_told() {
        check(
            r#"{"WorkflowId": "w", "SubmittedAt": "soon"}"#,
            expect![[r#""w" - None None [] Some("SubmittedAt is not a time")"#]],
        );
        check(
            r#"{"WorkflowId": "w", "SubmittedAt": null, "traceparent": "00-0-0-0"}"#,
            expect![[r#""w" - None None [] Some("traceparent is not a W3C trace context")"#]],
        );
        check(
            r#"{"WorkflowId": "w", "attributes": {"a": [1], "b": 2}, "Attempt": -1}"#,
            expect![[
                r#""w" - None None [("b", Int(2))] Some("Attempt is not a small whole number")"#
            ]],
        );
    }

    #[test]
    fn what_no_type_can_hold_is_left_out_like_what_is_of_the_wrong_one() {
        let deep = format!("{}1{}", r#"{"a":"#.repeat(5000), "}".repeat(5000));
        for value in ["1e999", "\"\\ud800\"", &deep] {
            for (name, oddity) in [
                ("SubmittedAt", "SubmittedAt is not a time"),
                ("Attempt", "Attempt is not a small whole number"),
                ("traceparent", "traceparent is not a W3C trace context"),
                (
                    "attributes",
                    "attributes is not an object, or not one that can be read",
                ),
            ] {
                let event = format!(r#"{{"WorkflowId": "w", "{name}": {value}}}"#);
                let read = read(event.as_bytes(), 0, true).unwrap();
                assert_eq!(read.oddity, Some(oddity), "{value}");
            }
            let id = format!(r#"{{"WorkflowId": {value}}}"#);
            let read = read(id.as_bytes(), 0, true);
            assert!(matches!(read, Err(Malformed::NotJson(_))), "{read:?}");
        }
    }

    #[test]
    fn what_is_no_event_says_why() {
        check(
            "",
            expect!["not_json: not JSON: EOF while parsing a value at line 1 column 0"],
        );
        check("[1]", expect!["not_an_object: not a JSON object"]);
        check("{}", expect!["no_id: no WorkflowId"]);
        check(r#"{"WorkflowId": null}"#, expect!["no_id: no WorkflowId"]);
        check(
            r#"{"WorkflowId": ""}"#,
            expect!["empty_id: WorkflowId is empty"],
        );
        check(
            r#"{"WorkflowId": 1.5}"#,
            expect!["id_of_wrong_type: WorkflowId is neither a text nor a whole number"],
        );
        check(
            r#"{"WorkflowId": ["w"]}"#,
            expect!["id_of_wrong_type: WorkflowId is neither a text nor a whole number"],
        );
        check(
            &format!(r#"{{"WorkflowId": "{}"}}"#, "w".repeat(513)),
            expect!["id_too_long: WorkflowId is longer than 512 bytes"],
        );
        check(
            &" ".repeat(65_537),
            expect!["too_long: longer than 65536 bytes"],
        );
        let digits = "9".repeat(60_000);
        let digits = read(format!(r#"{{"WorkflowId": {digits}}}"#).as_bytes(), 0, true);
        assert!(matches!(
            digits,
            Err(Malformed::NotJson(_) | Malformed::IdOfWrongType)
        ));
        let deep = format!(r#"{{"WorkflowId": {}"#, "[".repeat(60_000));
        let deep = read(deep.as_bytes(), 0, true);
        assert!(matches!(deep, Err(Malformed::NotJson(_))));
        let not_utf8 = read(b"{\"WorkflowId\": \"\xff\"}", 0, true);
        assert!(matches!(not_utf8, Err(Malformed::NotJson(_))));
    }

    #[test]
    fn unknown_fields_are_ignored_whatever_they_are() {
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        let event =
            format!(r#"{{"x": {deep}, "y": 1e400, "WorkflowId": "w", "z": {{"WorkflowId": 1}}}}"#);
        let read = read(event.as_bytes(), 0, true).unwrap();
        assert_eq!(&*read.event.workflow_id, "w");
    }

    #[test]
    fn a_byte_order_mark_is_ignored() {
        check(
            "\u{feff}{\"WorkflowId\": \"w\"}",
            expect![[r#""w" - None None [] None"#]],
        );
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        const EVENT: &[u8] =
            br#"{"WorkflowId": "w", "SubmittedAt": 1720162671.5, "attributes": {"a": 1}}"#;
        arbtest::arbtest(|u| {
            let mut bytes = EVENT.to_vec();
            for _ in 0..u.int_in_range(0..=3)? {
                let at = u.choose_index(bytes.len())?;
                bytes[at] = u.arbitrary()?;
            }
            if let Ok(message) = read(&bytes, 0, true) {
                let len = message.event.workflow_id.len();
                assert!((1..=limits::WORKFLOW_ID_BYTES_MAX).contains(&len));
            }
            Ok(())
        });
    }
}
