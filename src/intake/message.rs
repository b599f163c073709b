//! A start event as bytes: JSON in, [`StartEvent`] out.
//!
//! Names are matched without regard to case and underscores, so `WorkflowId`, `workflowId` and `workflow_id` are one
//! name. Only the id has to be right: whatever else is not is left out and told, and the workflow is traced.
//!
//! An event may come in a CloudEvent's envelope (`specversion`): then its `data` is the event, `subject` is the id where
//! the data has none, and `time` is the time of submission where the data says nothing of it.
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>
//!
//! An event is for the monitor that it names (`monitor`), else for the one that its source is for.
//!
//! A trace context is looked for from the inside out, and the first that is well-formed counts: where the configuration
//! points to; the event's own fields; its `carrier`, `traceContext` and `headers`; the envelope's attributes; and what
//! came beside the message, as an entry's other fields and a request's headers do.
//!
//! Pure: no I/O.

use super::carrier::{self, Carrier, Formats, Inherited};
use super::document::{Json, base64_decoded};
use crate::core::event::{StartEvent, Value};
use crate::core::limits;
use crate::core::limits::cut;
use crate::core::time::Wall;
use crate::mapping::definition::Times;
use crate::mapping::template::{IdRule, Variables, WrongId};
use crate::mapping::time_format::ParsedTime;
use crate::syntax::pointer::Pointer;
use crate::syntax::text::{shown, without_byte_order_mark};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// How the messages of one source are read.
#[derive(Clone, Debug, PartialEq)]
pub struct Dialects {
    /// The trace contexts that count.
    pub formats: Formats,
    /// Whose messages they may be.
    pub monitors: Arc<[Dialect]>,
    /// Whose they are that name none: an index into the monitors.
    pub default: Option<usize>,
}

/// How the messages for one monitor are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dialect {
    /// The monitor.
    pub monitor: u16,
    /// What a message calls it.
    pub name: Box<str>,
    /// Keys of the baggage that become attributes.
    pub baggage: Box<[Box<str>]>,
    /// Which ids the monitor can ask its API about.
    pub ids: IdRule,
    /// Where a message has the id, or its parts by their names in the pattern, before the usual places. The pointers lead
    /// into the whole message.
    pub id: Vec<(Box<str>, Pointer)>,
    /// Where the time of submission is.
    pub submitted_at: Option<Pointer>,
    /// Where the trace context is: an object, or a text that is one.
    pub context: Option<Pointer>,
    /// How a message writes times.
    pub times: Times,
}

impl Dialects {
    /// For one monitor, with everything in its usual place.
    #[cfg(feature = "internals")]
    pub fn new(monitor: u16, formats: Formats) -> Self {
        let dialect = Dialect {
            monitor,
            ..Dialect::default()
        };
        Dialects {
            formats,
            monitors: [dialect].into(),
            default: Some(0),
        }
    }

    /// Whether a field of this name may say something.
    fn wants(&self, key: &str) -> bool {
        let mut names = NAMES.iter().chain(&PLACES).chain(&ENVELOPE);
        let mut pointers = self.monitors.iter().flat_map(Dialect::pointers);
        names.any(|name| is_named(key, name))
            || carrier::is_key(key)
            || pointers.any(|pointer| pointer.tokens().next().is_none_or(|first| first == key))
    }

    /// Whose message it is.
    fn dialect(&self, named: Option<&str>) -> Result<&Dialect, Malformed> {
        match named {
            Some(name) => {
                let found = self.monitors.iter().find(|dialect| *dialect.name == *name);
                let named = || cut(name, limits::NAME_BYTES_MAX).into();
                found.ok_or_else(|| Malformed::UnknownMonitor(named()))
            }
            None => {
                let default = self.default.and_then(|index| self.monitors.get(index));
                default.ok_or(Malformed::NoMonitor)
            }
        }
    }
}

impl Dialect {
    fn pointers(&self) -> impl Iterator<Item = &Pointer> {
        let ids = self.id.iter().map(|(_, pointer)| pointer);
        ids.chain(&self.submitted_at).chain(&self.context)
    }
}

/// The id at these pointers, or what its pattern makes of the parts there. `None`: something is not there.
pub(super) fn id_at(
    pointers: &[(Box<str>, Pointer)],
    ids: &IdRule,
    json: &Json,
) -> Option<Result<Box<str>, Malformed>> {
    match pointers {
        [] => None,
        [(name, pointer)] if **name == *"id" => json.at(pointer).map(read_id),
        parts => {
            let mut variables = Variables::default();
            for (name, pointer) in parts {
                match read_id(json.at(pointer)?) {
                    Ok(part) => variables.set(name.to_string(), &part),
                    Err(malformed) => return Some(Err(malformed)),
                }
            }
            let whole = ids.pattern.as_ref()?.put_together(&variables);
            let whole = whole.ok_or(Malformed::IdNotOfParts);
            Some(whole.and_then(|id| read_id(&Json::Text(id))))
        }
    }
}

/// An id that the API can be asked about.
pub(super) fn fitting(id: Box<str>, ids: &IdRule) -> Result<Box<str>, Malformed> {
    match ids.variables(&id) {
        Ok(_) => Ok(id),
        Err(WrongId::NotOfParts) => Err(Malformed::IdNotOfParts),
        Err(why) => Err(Malformed::UnsafeId(shown(&id).into(), why)),
    }
}

/// What came with a message, outside of it.
#[derive(Clone, Debug, Default)]
pub struct Beside<'a> {
    /// Trace contexts, the more telling ones first.
    pub carriers: Vec<Carrier<'a>>,
    /// A CloudEvent's `subject`, where its attributes are not in the message.
    pub subject: Option<Cow<'a, str>>,
    /// The same for its `time`.
    pub time: Option<Cow<'a, str>>,
    /// The monitor that the message is for, where it does not say so itself.
    pub monitor: Option<Cow<'a, str>>,
}

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
    /// More than [`limits::EVENT_BYTES_MAX`], with the id if the beginning has it.
    TooLong(Option<Box<str>>),
    /// Not JSON: the parser's words.
    NotJson(Box<str>),
    /// JSON, but no object.
    NotAnObject,
    /// No id in it, with the names of the fields that it has.
    NoId(Box<str>),
    /// An id that is neither a text nor a whole number.
    IdOfWrongType,
    /// An empty id.
    EmptyId,
    /// More than [`limits::WORKFLOW_ID_BYTES_MAX`].
    IdTooLong,
    /// An id that the monitor's pattern does not make: its API could never be asked after it.
    IdNotOfParts,
    /// An id that could change the request that it is put into.
    UnsafeId(Box<str>, WrongId),
    /// For a monitor that there is not.
    UnknownMonitor(Box<str>),
    /// For no monitor, where there are several.
    NoMonitor,
}

impl Malformed {
    /// The kind, as a word for logs and labels.
    pub fn reason(&self) -> &'static str {
        match self {
            Malformed::TooLong(_) => "too_long",
            Malformed::NotJson(_) => "not_json",
            Malformed::NotAnObject => "not_an_object",
            Malformed::NoId(_) => "no_id",
            Malformed::IdOfWrongType => "id_of_wrong_type",
            Malformed::EmptyId => "empty_id",
            Malformed::IdTooLong => "id_too_long",
            Malformed::IdNotOfParts => "id_not_of_parts",
            Malformed::UnsafeId(..) => "unsafe_id",
            Malformed::UnknownMonitor(_) => "unknown_monitor",
            Malformed::NoMonitor => "no_monitor",
        }
    }

    /// An event without an id is told by the names of its first fields.
    fn with_fields_of(self, event: impl FnOnce() -> Option<Json>) -> Self {
        const FIELDS_MAX: usize = 5;
        const BYTES_MAX: usize = 200;
        if !matches!(self, Malformed::NoId(_)) {
            return self;
        }
        let Some(Json::Object(fields)) = event() else {
            return self;
        };
        let names = fields.iter().take(FIELDS_MAX);
        let names: Vec<String> = names.map(|(name, _)| shown(name)).collect();
        let names = names.join(", ");
        let first = cut(&names, BYTES_MAX);
        let more = if first.len() < names.len() {
            "..."
        } else if fields.len() > FIELDS_MAX {
            ", ..."
        } else {
            ""
        };
        Malformed::NoId(format!("{first}{more}").into())
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::TooLong(id) => {
                write!(f, "longer than {} bytes", limits::EVENT_BYTES_MAX)?;
                match id {
                    Some(id) => write!(f, "; its WorkflowId is {id:?}"),
                    None => f.write_str("; its beginning has no WorkflowId"),
                }
            }
            Malformed::NotJson(why) => write!(f, "not JSON: {why}"),
            Malformed::NotAnObject => f.write_str("not a JSON object"),
            Malformed::NoId(fields) if fields.is_empty() => f.write_str("no WorkflowId"),
            Malformed::NoId(fields) => write!(f, "no WorkflowId; the event has {fields}"),
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
            Malformed::IdNotOfParts => write!(f, "WorkflowId {}", WrongId::NotOfParts),
            Malformed::UnsafeId(id, why) => write!(f, "WorkflowId '{id}' {why}"),
            Malformed::UnknownMonitor(name) => write!(f, "there is no monitor {name:?}"),
            Malformed::NoMonitor => {
                f.write_str("it names no monitor, and none is there for such events")
            }
        }
    }
}

/// Reads a message.
///
/// # Errors
/// Why the message is no start event.
pub fn read(bytes: &[u8], dialects: &Dialects) -> Result<Message, Malformed> {
    read_beside(bytes, &Beside::default(), dialects)
}

/// Reads a message that something else came with.
///
/// # Errors
/// Why the message is no start event.
pub fn read_beside(
    bytes: &[u8],
    beside: &Beside<'_>,
    dialects: &Dialects,
) -> Result<Message, Malformed> {
    if bytes.len() > limits::EVENT_BYTES_MAX {
        return Err(too_long(bytes, beside, dialects));
    }
    let bytes = without_byte_order_mark(bytes);
    if bytes.is_empty() && beside.subject.is_some() {
        return read_json(&Json::Object(Vec::new()), beside, dialects);
    }
    let json = Json::parse_fields(bytes, &|key| dialects.wants(key)).map_err(|e| not_json(&e))?;
    // The fields that say nothing have not been read.
    let whole = || Json::parse(bytes).ok();
    read_json(&json, beside, dialects).map_err(|malformed| malformed.with_fields_of(whole))
}

/// Names what is longer than an event may be by its beginning.
pub fn too_long(bytes: &[u8], beside: &Beside<'_>, dialects: &Dialects) -> Malformed {
    let bytes = without_byte_order_mark(bytes);
    let json = Json::parse_beginning(bytes, &|key| dialects.wants(key));
    let read = read_json(&json, beside, dialects);
    Malformed::TooLong(read.ok().map(|message| message.event.workflow_id))
}

/// Reads an array of messages: all of them, or none.
///
/// # Errors
/// Why one is no start event, and which, counted from 0.
#[cfg(feature = "admin")]
pub fn read_all(
    bytes: &[u8],
    beside: &Beside<'_>,
    dialects: &Dialects,
) -> Result<Vec<Message>, (usize, Malformed)> {
    let jsons = Json::parse_all(without_byte_order_mark(bytes), &|key| dialects.wants(key));
    let jsons = jsons.map_err(|e| (0, not_json(&e)))?;
    let read = |(at, json)| read_json(json, beside, dialects).map_err(|malformed| (at, malformed));
    let messages: Result<_, _> = jsons.iter().enumerate().map(read).collect();
    messages.map_err(|(at, malformed): (usize, Malformed)| {
        let whole = || {
            let jsons = Json::parse_all(without_byte_order_mark(bytes), &|_| true).ok();
            jsons.and_then(|jsons| jsons.into_iter().nth(at))
        };
        (at, malformed.with_fields_of(whole))
    })
}

/// Reads the fields of a stream's entry: the field `message`, which holds a message, or else the fields themselves.
///
/// # Errors
/// Why they are no start event.
pub fn read_fields(
    fields: &[(Vec<u8>, Vec<u8>)],
    dialects: &Dialects,
) -> Result<Message, Malformed> {
    let length: usize = fields.iter().map(|(k, v)| k.len() + v.len()).sum();
    // What is longer was cut when it was read.
    let is_cut = length >= limits::ENTRY_BYTES_MAX;
    let message = fields.iter().find(|(name, _)| name == b"message");
    if let Some((_, message)) = message {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let others = || fields.iter().filter_map(|(k, v)| text(k).zip(text(v)));
        let monitor = others().find(|(name, _)| is_named(name, MONITOR));
        let beside = Beside {
            carriers: vec![Carrier::of(others())],
            monitor: monitor.map(|(_, name)| name.into()),
            ..Beside::default()
        };
        if is_cut {
            return Err(too_long(message, &beside, dialects));
        }
        return read_beside(message, &beside, dialects);
    }
    let text =
        |bytes| std::str::from_utf8(bytes).map_err(|e| Malformed::NotJson(e.to_string().into()));
    let mut entries: Vec<(Box<str>, Json)> = Vec::new();
    for (name, value) in fields {
        let (name, value) = (text(name)?, text(value)?);
        // All fields of an entry are text. What has to be something else is written as JSON; an id never has to, and
        // the digits of a trace id are no number.
        let is_text =
            is_named(name, "workflowid") || is_named(name, MONITOR) || carrier::is_key(name);
        let json = Json::parse(value.as_bytes()).ok().filter(|_| !is_text);
        let json = match json {
            Some(json @ (Json::Number(_) | Json::Object(_) | Json::Null)) => json,
            _ => Json::Text(value.into()),
        };
        entries.push((name.into(), json));
    }
    let entries = Json::Object(entries);
    let read = read_json(&entries, &Beside::default(), dialects);
    if length > limits::EVENT_BYTES_MAX {
        return Err(Malformed::TooLong(read.ok().map(|it| it.event.workflow_id)));
    }
    read.map_err(|malformed| malformed.with_fields_of(|| Some(entries)))
}

/// The names of an event's fields, in lower case without underscores.
const NAMES: [&str; 5] = [
    "workflowid",
    "submittedat",
    "attempt",
    "attributes",
    MONITOR,
];
/// The name of the field that names the monitor.
const MONITOR: &str = "monitor";
/// Where an event may have a trace context, beside its own fields.
const PLACES: [&str; 3] = ["carrier", "tracecontext", "headers"];
/// The attributes of a CloudEvent that count, and its data.
const ENVELOPE: [&str; 5] = ["specversion", "subject", "time", "data", "database64"];

fn is_named(key: &str, name: &str) -> bool {
    let letters = key.bytes().filter(|b| *b != b'_');
    letters.map(|b| b.to_ascii_lowercase()).eq(name.bytes())
}

fn not_json(error: &serde_json::Error) -> Malformed {
    if error.is_data() {
        return Malformed::NotAnObject;
    }
    let why = error.to_string();
    Malformed::NotJson(cut(&why, limits::NAME_BYTES_MAX).into())
}

/// The data of a CloudEvent, if `json` is one.
fn data_of(json: &Json) -> Option<Cow<'_, Json>> {
    const NOTHING: Json = Json::Null;
    let field = |name: &str| json.find(|key| is_named(key, name));
    field("specversion")?.text()?;
    // An event that says what it is needs no envelope.
    if field("workflowid").is_some() {
        return None;
    }
    if let Some(data) = field("data") {
        return Some(Cow::Borrowed(data));
    }
    let decoded = field("database64")
        .and_then(Json::text)
        .and_then(base64_decoded);
    let data = decoded.and_then(|bytes| Json::parse(without_byte_order_mark(&bytes)).ok());
    Some(Cow::Owned(data.unwrap_or(NOTHING)))
}

fn read_json(json: &Json, beside: &Beside<'_>, dialects: &Dialects) -> Result<Message, Malformed> {
    let data = data_of(json);
    let mut read = EventReader {
        json,
        event: data.as_deref().unwrap_or(json),
        is_cloud_event: data.is_some(),
        beside,
        oddity: None,
    };
    let dialect = dialects.dialect(read.monitor())?;
    let workflow_id = read.workflow_id(dialect)?;
    let submitted_at = read.submitted_at(dialect);
    let attempt = read.attempt();
    let mut attributes = read.attributes();
    let inherited = read.trace_context(dialect, dialects, &mut attributes);
    attributes.sort_by(|(a, _), (b, _)| a.cmp(b));
    let event = StartEvent {
        monitor: dialect.monitor,
        workflow_id,
        submitted_at,
        attempt,
        parent: inherited.parent.map(Box::new),
        sampling: inherited.sampling,
        attributes: attributes.into(),
        ..StartEvent::new(dialect.monitor, "")
    };
    Ok(Message {
        event,
        oddity: read.oddity,
    })
}

/// Reads the fields of a start event, and remembers the first oddity.
struct EventReader<'a> {
    /// The whole message.
    json: &'a Json,
    /// The event: the data of a CloudEvent, else the whole message.
    event: &'a Json,
    is_cloud_event: bool,
    beside: &'a Beside<'a>,
    oddity: Option<&'static str>,
}

impl<'a> EventReader<'a> {
    fn field(&self, name: &str) -> Option<&'a Json> {
        self.event.find(|key| is_named(key, name))
    }

    /// An attribute of the CloudEvent around the event.
    fn envelope(&self, name: &str) -> Option<&'a str> {
        let json = self.json;
        let field = self
            .is_cloud_event
            .then(|| json.find(|key| is_named(key, name)));
        field.flatten().and_then(Json::text)
    }

    fn odd(&mut self, what: &'static str) {
        self.oddity.get_or_insert(what);
    }

    fn monitor(&self) -> Option<&'a str> {
        match self.field(MONITOR) {
            // A name that is not a text is the name of no monitor.
            Some(name) => Some(name.text().unwrap_or_default()),
            None => self.envelope(MONITOR).or(self.beside.monitor.as_deref()),
        }
    }

    fn workflow_id(&self, dialect: &Dialect) -> Result<Box<str>, Malformed> {
        let subject = self.envelope("subject").or(self.beside.subject.as_deref());
        let ids = &dialect.ids;
        let pointed = id_at(&dialect.id, ids, self.json);
        let id = match (pointed, self.field("workflowid"), subject) {
            (Some(id), _, _) => id?,
            (None, Some(id), _) => read_id(id)?,
            (None, None, Some(subject)) => read_id(&Json::Text(subject.into()))?,
            (None, None, None) => return Err(Malformed::NoId(Box::default())),
        };
        fitting(id, ids)
    }

    fn submitted_at(&mut self, dialect: &Dialect) -> Option<Wall> {
        let pointer = dialect.submitted_at.as_ref();
        let pointed = pointer.and_then(|pointer| self.json.at(pointer));
        let mut parsed = ParsedTime::Unset;
        for value in [pointed, self.field("submittedat")].into_iter().flatten() {
            if parsed == ParsedTime::Unset {
                parsed = value.time(&dialect.times);
            }
        }
        if parsed == ParsedTime::Unset {
            let time = self.envelope("time").or(self.beside.time.as_deref());
            parsed = time.map_or(parsed, |time| dialect.times.of_text(time));
        }
        match parsed {
            ParsedTime::At(_) | ParsedTime::Unset => {}
            ParsedTime::Unlikely(_) => self.odd("SubmittedAt is before 1973 or after 2199"),
            ParsedTime::Nonsense => self.odd("SubmittedAt is not a time"),
        }
        parsed.time()
    }

    fn attempt(&mut self) -> Option<u32> {
        let number = match self.field("attempt")? {
            Json::Number(number) => number.as_u64(),
            _ => None,
        };
        let attempt = number.and_then(|number| number.try_into().ok());
        if attempt.is_none() {
            self.odd("Attempt is not a small whole number");
        }
        attempt
    }

    fn attributes(&mut self) -> Vec<(Box<str>, Value)> {
        match self.field("attributes") {
            None => Vec::new(),
            Some(Json::Object(entries)) => {
                let (attributes, all) = read_attributes(entries);
                let mended = |(_, value): &(_, Json)| matches!(value, Json::Mended(_));
                if !all {
                    self.odd("attributes holds something that is no scalar, or too much");
                }
                if entries.iter().any(mended) {
                    self.odd("attributes holds a text that is not all Unicode; U+FFFD stands for the rest");
                }
                attributes
            }
            Some(_) => {
                self.odd("attributes is not an object, or not one that can be read");
                Vec::new()
            }
        }
    }

    /// The trace context of the first carrier that has one. Ids that were hashed and baggage become attributes, as far as
    /// there is room.
    fn trace_context(
        &mut self,
        dialect: &Dialect,
        dialects: &Dialects,
        attributes: &mut Vec<(Box<str>, Value)>,
    ) -> Inherited {
        let pointed = dialect.context.as_ref();
        let pointed = pointed.and_then(|pointer| self.json.at(pointer));
        let mut carriers: Vec<Carrier<'_>> = pointed.and_then(carrier_in).into_iter().collect();
        carriers.extend(carriers_of(self.event));
        if self.is_cloud_event {
            carriers.extend(carriers_of(self.json));
        }
        let carriers = || carriers.iter().chain(&self.beside.carriers);
        let mut mistakes = Vec::new();
        let mut inherited = carriers().find_map(|carrier| {
            let (found, mistake) = carrier.read(dialects.formats);
            mistakes.extend(mistake);
            found
        });
        let mut add = |key: Box<str>, value: Box<str>| {
            let room = attributes.len() < limits::EVENT_ATTRIBUTES_MAX;
            if room && attributes.iter().all(|(known, _)| *known != key) {
                attributes.push((key, Value::Str(value)));
            }
        };
        let originals = inherited
            .iter_mut()
            .flat_map(|it| std::mem::take(&mut it.originals));
        for (name, original) in originals {
            add(name.into(), original);
        }
        if dialects.formats.has(Formats::BAGGAGE) {
            let baggage = carriers().find_map(|carrier| carrier.baggage(&dialect.baggage));
            for (key, value) in baggage.unwrap_or_default() {
                add(key, value);
            }
        }
        if let Some(mistake) = mistakes.first() {
            self.odd(mistake);
        }
        inherited.unwrap_or_default()
    }
}

/// An object's own fields, then the places in it.
fn carriers_of(object: &Json) -> impl Iterator<Item = Carrier<'_>> {
    let places = PLACES.iter().filter_map(|place| {
        let place = object.find(|key| is_named(key, place))?;
        carrier_in(place)
    });
    carrier_in(object).into_iter().chain(places)
}

/// What a place holds: an object with the formats' keys, a list of keys and values, or a text that is a whole context.
fn carrier_in(place: &Json) -> Option<Carrier<'_>> {
    match place {
        Json::Object(entries) => {
            let pairs = entries.iter().map(|(key, value)| (&**key, value));
            Some(carrier_of(pairs))
        }
        Json::Array(elements) => {
            // As kcat writes a message's headers: by turns.
            let turns = elements.chunks_exact(2);
            let turns = turns.filter_map(|pair| Some((pair[0].text()?, &pair[1])));
            let named = elements.iter().filter_map(|element| {
                let key = element.find(|key| is_named(key, "key") || is_named(key, "name"))?;
                Some((key.text()?, element.find(|key| is_named(key, "value"))?))
            });
            Some(carrier_of(turns.chain(named)))
        }
        Json::Text(text) => Carrier::of_text(text),
        _ => None,
    }
}

fn carrier_of<'a>(pairs: impl Iterator<Item = (&'a str, &'a Json)>) -> Carrier<'a> {
    let pairs = pairs.filter(|(key, value)| carrier::is_key(key) && **value != Json::Null);
    // What is no text is there all the same, and is malformed.
    Carrier::of(pairs.map(|(key, value)| (key, value.header().unwrap_or_default())))
}

fn read_id(value: &Json) -> Result<Box<str>, Malformed> {
    let id: Box<str> = match value {
        Json::Text(text) => text.clone(),
        Json::Number(number) if !number.is_f64() => number.to_string().into(),
        _ => return Err(Malformed::IdOfWrongType),
    };
    match id.len() {
        0 => Err(Malformed::EmptyId),
        1..=limits::WORKFLOW_ID_BYTES_MAX => Ok(id),
        _ => Err(Malformed::IdTooLong),
    }
}

/// The attributes that can be one, and whether that is all of them.
fn read_attributes(entries: &[(Box<str>, Json)]) -> (Vec<(Box<str>, Value)>, bool) {
    let scalar = |value: &Json| match value {
        Json::Text(text) | Json::Mended(text) => {
            Some(Value::from(cut(text, limits::ATTRIBUTE_BYTES_MAX)))
        }
        Json::Bool(truth) => Some(Value::Bool(*truth)),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Some(Value::Int(whole)),
            None => number.as_f64().map(Value::Float),
        },
        Json::Null | Json::Array(_) | Json::Object(_) | Json::Unreadable => None,
    };
    let fits = |key: &str| !key.is_empty() && key.len() <= limits::NAME_BYTES_MAX;
    let mut attributes: Vec<(Box<str>, Value)> = Vec::new();
    let mut all = true;
    for (key, value) in entries.iter().filter(|(_, value)| *value != Json::Null) {
        let value = scalar(value).filter(|_| fits(key));
        let is_new = attributes.iter().all(|(known, _)| known != key);
        match value {
            Some(value) if is_new && attributes.len() < limits::EVENT_ATTRIBUTES_MAX => {
                attributes.push((key.clone(), value));
            }
            _ => all = false,
        }
    }
    (attributes, all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::definition::Definition;
    use crate::mapping::template::IdPattern;
    use expect_test::{Expect, expect};

    fn all() -> Dialects {
        Dialects::new(0, Formats::ALL)
    }

    fn of(dialect: Dialect) -> Dialects {
        Dialects {
            monitors: [dialect].into(),
            ..all()
        }
    }

    fn pointer(text: &str) -> Pointer {
        Pointer::parse(text).unwrap()
    }

    fn check(message: &str, expected: Expect) {
        let text = match read(message.as_bytes(), &all()) {
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
            for name in ["SubmittedAt", "Attempt", "traceparent", "attributes"] {
                let event = format!(r#"{{"WorkflowId": "w", "{name}": {value}}}"#);
                let oddity = read(event.as_bytes(), &all()).unwrap().oddity.unwrap();
                assert!(oddity.starts_with(name), "{value:.20}: {oddity}");
            }
            let id = format!(r#"{{"WorkflowId": {value}}}"#);
            let read = read(id.as_bytes(), &all());
            assert_eq!(read, Err(Malformed::IdOfWrongType));
        }
    }

    #[test]
    fn a_value_that_cannot_be_decoded_costs_only_itself() {
        check(
            r#"{"WorkflowId": "w", "x\ud83d": 1, "attributes": {"text": "row 17: \ud83d", "large": 1e400, "b": 2, "k\ude00": 3}}"#,
            expect![[
                r#""w" - None None [("b", Int(2)), ("k�", Int(3)), ("text", Str("row 17: �"))] Some("attributes holds something that is no scalar, or too much")"#
            ]],
        );
        let latin = b"{\"WorkflowId\": \"w\", \"attributes\": {\"city\": \"Z\xfcrich\"}}";
        let Message { event, oddity } = read(latin, &all()).unwrap();
        assert_eq!(
            *event.attributes,
            [("city".into(), Value::from("Z\u{fffd}rich"))]
        );
        let said = "attributes holds a text that is not all Unicode; U+FFFD stands for the rest";
        assert_eq!(oddity, Some(said));
    }

    #[test]
    fn what_is_no_event_says_why() {
        check(
            "",
            expect!["not_json: not JSON: EOF while parsing a value at line 1 column 0"],
        );
        check("[1]", expect!["not_an_object: not a JSON object"]);
        check("{}", expect!["no_id: no WorkflowId"]);
        check(
            r#"{"id": "w", "state\u0007": 1}"#,
            expect![[r#"no_id: no WorkflowId; the event has id, state\u{7}"#]],
        );
        check(
            r#"{"WorkflowId": null}"#,
            expect!["no_id: no WorkflowId; the event has WorkflowId"],
        );
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
            &" ".repeat((1 << 20) + 1),
            expect!["too_long: longer than 1048576 bytes; its beginning has no WorkflowId"],
        );
        let long = |rest: &str| format!(r#"{{"id": 1, {rest}, "pad": "{}"}}"#, "x".repeat(1 << 20));
        check(
            &long(r#""WorkflowId": "w""#),
            expect![[r#"too_long: longer than 1048576 bytes; its WorkflowId is "w""#]],
        );
        let digits = "9".repeat(60_000);
        let digits = read(format!(r#"{{"WorkflowId": {digits}}}"#).as_bytes(), &all());
        assert!(matches!(
            digits,
            Err(Malformed::NotJson(_) | Malformed::IdOfWrongType)
        ));
        let deep = format!(r#"{{"WorkflowId": {}"#, "[".repeat(60_000));
        let deep = read(deep.as_bytes(), &all());
        assert!(matches!(deep, Err(Malformed::NotJson(_))));
        let not_utf8 = read(b"{\"WorkflowId\": \"\xff\"}", &all());
        assert_eq!(not_utf8, Err(Malformed::IdOfWrongType));
    }

    #[test]
    fn unknown_fields_are_ignored_whatever_they_are() {
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        let event =
            format!(r#"{{"x": {deep}, "y": 1e400, "WorkflowId": "w", "z": {{"WorkflowId": 1}}}}"#);
        let read = read(event.as_bytes(), &all()).unwrap();
        assert_eq!(&*read.event.workflow_id, "w");
    }

    #[test]
    fn a_byte_order_mark_is_ignored() {
        check(
            "\u{feff}{\"WorkflowId\": \"w\"}",
            expect![[r#""w" - None None [] None"#]],
        );
    }

    const W3C: &str = "00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-01";
    const B3: &str = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1";

    /// The span ids of the parents that these messages have.
    #[track_caller]
    fn parents(cases: &[(&str, &str)], dialects: &Dialects) {
        for (message, expected) in cases {
            let read = read(message.as_bytes(), dialects).unwrap();
            let parent = read.event.parent.map(|parent| parent.span_id.to_string());
            assert_eq!(parent.as_deref().unwrap_or("none"), *expected, "{message}");
            assert_eq!(read.oddity, None, "{message}");
        }
    }

    #[test]
    fn a_trace_context_in_every_place() {
        let w3c = format!(r#"{{"traceparent": "{W3C}"}}"#);
        let event = |rest: &str| format!(r#"{{"WorkflowId": "w", {rest}}}"#);
        let texts = [
            event(&format!(r#""traceparent": "{W3C}""#)),
            event(&format!(r#""carrier": {w3c}"#)),
            event(&format!(r#""traceContext": {w3c}"#)),
            event(&format!(r#""trace_context": "{W3C}""#)),
            event(&format!(
                r#""Headers": {{"TraceParent": ["{W3C}"], "accept": ["*/*"]}}"#
            )),
            event(&format!(r#""headers": {{"b3": "{B3}"}}, "carrier": {w3c}"#)),
            event(&format!(r#""headers": {w3c}, "b3": "{B3}""#)),
            event(&format!(
                r#""headers": ["x", "traceparent", "traceparent", "{W3C}", "b3"]"#
            )),
            event(&format!(
                r#""headers": [{{"key": "x"}}, {{"Key": "b3", "Value": "{B3}"}}]"#
            )),
            event(&format!(
                r#""headers": [{{"name": "TraceParent", "value": "{W3C}"}}]"#
            )),
            event(r#""carrier": "DHL", "headers": [1], "traceContext": null, "b3": null"#),
            event(r#""carrier": {"x-datadog-trace-id": 5, "x-datadog-parent-id": 6}"#),
        ];
        let [w3c, b3] = ["b87e9a101a090735", "e457b5a2e4d86bd1"];
        let expected = [
            w3c,
            w3c,
            w3c,
            w3c,
            w3c,
            w3c,
            b3,
            w3c,
            b3,
            w3c,
            "none",
            "0000000000000006",
        ];
        let cases: Vec<_> = texts.iter().map(String::as_str).zip(expected).collect();
        parents(&cases, &all());
        let cases: Vec<_> = cases.iter().map(|(text, _)| (*text, "none")).collect();
        parents(&cases, &Dialects::new(0, Formats::NONE));
    }

    #[test]
    fn pointers_come_before_the_usual_places() {
        let dialects = of(Dialect {
            id: vec![("id".into(), pointer("/run/ids/1"))],
            submitted_at: Some(pointer("/run/at")),
            context: Some(pointer("/run/trace")),
            ..Dialect::default()
        });
        let text = format!(
            r#"{{"WorkflowId": "w", "SubmittedAt": "2020-01-01T00:00:00Z", "b3": "{B3}",
                "run": {{"ids": ["a", 7], "at": 1720162671, "trace": {{"traceparent": "{W3C}"}}}}}}"#
        );
        let message = read(text.as_bytes(), &dialects).unwrap();
        let StartEvent {
            workflow_id,
            submitted_at,
            parent,
            ..
        } = message.event;
        assert_eq!(&*workflow_id, "7");
        assert_eq!(submitted_at.unwrap().to_string(), "2024-07-05T06:57:51Z");
        assert_eq!(parent.unwrap().span_id.to_string(), "b87e9a101a090735");
        // What a pointer does not find is looked for where it always is.
        let text = format!(r#"{{"WorkflowId": "w", "b3": "{B3}"}}"#);
        let message = read(text.as_bytes(), &dialects).unwrap();
        assert_eq!(&*message.event.workflow_id, "w");
        assert!(message.event.parent.is_some());
    }

    #[test]
    fn times_are_read_as_in_answers() {
        let told = |value: &str| {
            let text = format!(r#"{{"WorkflowId": "w", "SubmittedAt": {value}}}"#);
            let Message { event, oddity } = read(text.as_bytes(), &all()).unwrap();
            let time = event.submitted_at.map(|time| time.to_string());
            (time.unwrap_or_default(), oddity)
        };
        for value in [
            r#""2026-11-20 08:59:00 UTC""#,
            r#""2026-11-20T08:59:00GMT""#,
            r#""2026-11-20T08:59:00Z[UTC]""#,
            r#""Fri, 20 Nov 2026 08:59:00 GMT""#,
            r#""20261120T085900+0000""#,
            "1795165140",
            "1795165140000",
            "1795165140000000",
            "1795165140000000000",
            r#""1795165140.0""#,
        ] {
            assert_eq!(
                told(value),
                ("2026-11-20T08:59:00Z".into(), None),
                "{value}"
            );
        }
        for value in ["0", r#""0""#, "null", r#""""#, r#""1970-01-01T00:00:00Z""#] {
            assert_eq!(told(value), (String::new(), None), "{value}");
        }
        assert_eq!(
            told("12").1,
            Some("SubmittedAt is before 1973 or after 2199")
        );
        assert_eq!(told("true").1, Some("SubmittedAt is not a time"));
    }

    #[test]
    fn an_id_in_parts_is_put_together_by_the_monitors_pattern() {
        let dialects = of(Dialect {
            ids: IdRule::of(&Definition {
                id: Some(IdPattern::parse("{dag}/{run}").unwrap()),
                ..Definition::default()
            }),
            id: vec![
                ("dag".into(), pointer("/dag/name")),
                ("run".into(), pointer("/n")),
            ],
            ..Dialect::default()
        });
        let told = |text: &str| match read(text.as_bytes(), &dialects) {
            Ok(message) => message.event.workflow_id.into(),
            Err(malformed) => malformed.reason().to_owned(),
        };
        assert_eq!(told(r#"{"dag": {"name": "etl"}, "n": 7}"#), "etl/7");
        assert_eq!(told(r#"{"dag": {"name": "etl"}, "n": "a/b"}"#), "etl/a/b");
        // Taken apart again, these would be other runs.
        let another = r#"{"dag": {"name": "etl/x"}, "n": 7}"#;
        assert_eq!(told(another), "id_not_of_parts");
        assert_eq!(told(r#"{"dag": {"name": ""}, "n": 7}"#), "empty_id");
        assert_eq!(
            told(r#"{"dag": {"name": [1]}, "n": 7}"#),
            "id_of_wrong_type"
        );
        // A part that is not there: the whole id may be where it always is.
        assert_eq!(told(r#"{"n": 7, "WorkflowId": "etl/8"}"#), "etl/8");
        assert_eq!(told(r#"{"n": 7}"#), "no_id");
        assert_eq!(told(r#"{"WorkflowId": "no slash"}"#), "id_not_of_parts");
        let long = "x".repeat(limits::WORKFLOW_ID_BYTES_MAX);
        let long = format!(r#"{{"dag": {{"name": "{long}"}}, "n": 7}}"#);
        assert_eq!(told(&long), "id_too_long");
    }

    #[test]
    fn an_event_is_for_the_monitor_it_names_else_for_that_of_its_source() {
        let dialect = |monitor, name: &str, id: &str| Dialect {
            monitor,
            name: name.into(),
            id: vec![("id".into(), pointer(id))],
            ..Dialect::default()
        };
        let monitors = [dialect(0, "a", "/x"), dialect(1, "b", "/y")];
        let mut dialects = Dialects {
            monitors: monitors.into(),
            default: Some(1),
            ..all()
        };
        let told = |text: &str, dialects: &Dialects| match read(text.as_bytes(), dialects) {
            Ok(Message { event, .. }) => format!("{} {}", event.monitor, event.workflow_id),
            Err(malformed) => malformed.to_string(),
        };
        let both = |rest: &str| format!(r#"{{"x": "X", "y": "Y"{rest}}}"#);
        assert_eq!(told(&both(""), &dialects), "1 Y");
        assert_eq!(told(&both(r#", "monitor": null"#), &dialects), "1 Y");
        assert_eq!(told(&both(r#", "Monitor": "a""#), &dialects), "0 X");
        let unknown = r#"there is no monitor "c""#;
        assert_eq!(told(&both(r#", "monitor": "c""#), &dialects), unknown);
        let none = r#"there is no monitor """#;
        assert_eq!(told(&both(r#", "monitor": 7"#), &dialects), none);
        let enveloped = r#"{"specversion": "1.0", "monitor": "a", "x": "X", "data": {}}"#;
        assert_eq!(told(enveloped, &dialects), "0 X");
        let enveloped =
            r#"{"specversion": "1.0", "monitor": "a", "y": "Y", "data": {"monitor": "b"}}"#;
        assert_eq!(told(enveloped, &dialects), "1 Y");
        let fields = |pairs: &[(&str, &str)]| {
            let fields: Vec<_> = pairs
                .iter()
                .map(|(k, v)| (k.as_bytes().to_vec(), v.as_bytes().to_vec()))
                .collect();
            read_fields(&fields, &dialects).unwrap().event.monitor
        };
        assert_eq!(fields(&[("message", r#"{"x": "X"}"#), ("monitor", "a")]), 0);
        assert_eq!(fields(&[("WorkflowId", "w"), ("monitor", "a")]), 0);
        assert_eq!(fields(&[("WorkflowId", "w")]), 1);
        dialects.default = None;
        assert!(told(&both(""), &dialects).starts_with("it names no monitor"));
        assert_eq!(told(&both(r#", "monitor": "b""#), &dialects), "1 Y");
    }

    #[test]
    fn a_malformed_context_is_left_out_and_the_next_one_counts() {
        let text =
            format!(r#"{{"WorkflowId": "w", "b3": "x", "headers": {{"traceparent": "{W3C}"}}}}"#);
        let message = read(text.as_bytes(), &all()).unwrap();
        assert_eq!(message.oddity, Some("b3 is not a B3 trace context"));
        assert!(message.event.parent.is_some());
    }

    #[test]
    fn baggage_and_hashed_ids_become_attributes() {
        let dialects = of(Dialect {
            baggage: ["tenant".into(), "team".into()].into(),
            ..Dialect::default()
        });
        let text = r#"{"WorkflowId": "w", "attributes": {"team": "risk"}, "headers": {
            "baggage": "team=other,tenant=A%20B,secret=x", "x-honeycomb-trace": "1;trace_id=run 7,parent_id=c998e73e5420f609"}}"#;
        let attributes = read(text.as_bytes(), &dialects).unwrap().event.attributes;
        expect![[r#"[("honeycomb.trace_id", Str("run 7")), ("team", Str("risk")), ("tenant", Str("A B"))]"#]]
            .assert_eq(&format!("{attributes:?}"));
        let asked_for_none = read(text.as_bytes(), &all()).unwrap().event.attributes;
        assert_eq!(asked_for_none.len(), 2);
    }

    #[test]
    fn the_fields_of_an_event_without_an_id_take_little_room() {
        let fields = (0..9).map(|n| format!(r#""{n}{}": 1"#, "\u{200b}".repeat(80)));
        let event = format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
        let why = read(event.as_bytes(), &all()).unwrap_err();
        assert!(why.to_string().len() <= 240, "{why}");
        assert!(why.to_string().ends_with("..."), "{why}");
    }

    #[test]
    fn a_cloud_event() {
        // The specification's own example, with a subject and a trace.
        check(
            r#"{"specversion": "1.0", "type": "com.example.someevent", "source": "/mycontext", "id": "C234-1234-1234",
                "subject": "run-7", "time": "2018-04-05T17:31:00Z", "datacontenttype": "application/json",
                "traceparent": "00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-01", "tracestate": "a=1",
                "data": {"appinfoA": "abc", "appinfoB": 123, "appinfoC": true}}"#,
            expect![[
                r#""run-7" 2018-04-05T17:31:00Z None Some(("b87e9a101a090735", Some("a=1"))) [] None"#
            ]],
        );
        // What the data says counts before what the envelope says.
        check(
            r#"{"data": {"WorkflowId": 8, "SubmittedAt": "2024-07-05T06:57:51Z", "attributes": {"a": 1},
                "b3": "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1"}, "specversion": "1.0", "subject": "s",
                "traceparent": "00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-01", "time": "2018-04-05T17:31:00Z"}"#,
            expect![[
                r#""8" 2024-07-05T06:57:51Z None Some(("e457b5a2e4d86bd1", None)) [("a", Int(1))] None"#
            ]],
        );
        // {"WorkflowId": "w"} in base64.
        check(
            r#"{"specversion": "1.0", "data_base64": "eyJXb3JrZmxvd0lkIjogInciLCAiQXR0ZW1wdCI6IDN9"}"#,
            expect![[r#""w" - Some(3) None [] None"#]],
        );
        check(
            r#"{"specversion": "1.0", "id": "not the workflow's", "data": "text"}"#,
            expect!["no_id: no WorkflowId; the event has specversion, id, data"],
        );
        // Without an envelope a subject is not an id.
        check(
            r#"{"subject": "s", "time": "2018-04-05T17:31:00Z"}"#,
            expect!["no_id: no WorkflowId; the event has subject, time"],
        );
    }

    #[test]
    fn the_fields_of_an_entry() {
        let read = |fields: &[(&str, &str)]| {
            let fields: Vec<_> = fields
                .iter()
                .map(|(k, v)| (k.as_bytes().into(), v.as_bytes().into()))
                .collect();
            let Message { event, oddity } = read_fields(&fields, &all()).unwrap();
            let parent = event
                .parent
                .map(|p| format!("{} {}", p.trace_id, p.span_id));
            format!(
                "{} {:?} {} {oddity:?}",
                event.workflow_id,
                event.attempt,
                parent.unwrap_or_default()
            )
        };
        // Digits that JSON would take for a number, one of them beyond any.
        expect!["007 Some(2) 12345678901234567890123456789012 1234567e99999999 None"].assert_eq(
            &read(&[
                ("WorkflowId", "007"),
                ("Attempt", "2"),
                ("X-B3-TraceId", "12345678901234567890123456789012"),
                ("X-B3-SpanId", "1234567e99999999"),
            ]),
        );
        let message = r#"{"WorkflowId": "w"}"#;
        expect!["w None 55319d0c4a44a2cc3ef02e43117528cb b87e9a101a090735 None"]
            .assert_eq(&read(&[("traceparent", W3C), ("message", message)]));
        expect!["w None 80f198ee56343ba864fe8b2a57d3eff7 e457b5a2e4d86bd1 None"].assert_eq(&read(
            &[
                ("WorkflowId", "w"),
                ("headers", &format!(r#"{{"b3": "{B3}"}}"#)),
            ],
        ));
    }

    #[test]
    fn what_came_beside_a_message_counts_last() {
        let beside = Beside {
            carriers: vec![Carrier::of([("b3", B3)])],
            subject: Some("subject".into()),
            time: Some("2018-04-05T17:31:00Z".into()),
            monitor: None,
        };
        let told = |text: &str| {
            let event = read_beside(text.as_bytes(), &beside, &all()).unwrap().event;
            let submitted = event.submitted_at.unwrap();
            format!(
                "{} {submitted} {}",
                event.workflow_id,
                event.parent.unwrap().span_id
            )
        };
        assert_eq!(told(""), "subject 2018-04-05T17:31:00Z e457b5a2e4d86bd1");
        let text =
            format!(r#"{{"WorkflowId": "w", "SubmittedAt": 1720162671, "traceparent": "{W3C}"}}"#);
        assert_eq!(told(&text), "w 2024-07-05T06:57:51Z b87e9a101a090735");
    }

    #[cfg(feature = "admin")]
    #[test]
    fn many_in_an_array() {
        let read = |text: &str| {
            let messages = read_all(text.as_bytes(), &Beside::default(), &all());
            messages.map(|messages| {
                messages
                    .iter()
                    .map(|m| m.event.workflow_id.to_string())
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(
            read(r#" [{"WorkflowId": "a"}, {"specversion": "1.0", "subject": "b"}]"#).unwrap(),
            ["a", "b"]
        );
        assert!(read("[]").unwrap().is_empty());
        assert_eq!(
            read(r#"[{"WorkflowId": "a"}, {}]"#),
            Err((1, Malformed::NoId("".into())))
        );
        assert_eq!(
            read(r#"[{"WorkflowId": "a"}, 7]"#),
            Err((0, Malformed::NotAnObject))
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
            if let Ok(message) = read(&bytes, &all()) {
                let len = message.event.workflow_id.len();
                assert!((1..=limits::WORKFLOW_ID_BYTES_MAX).contains(&len));
            }
            Ok(())
        });
    }
}
