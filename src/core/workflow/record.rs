//! The record of a watched workflow: everything that its spans are made of and that the API will not report again.
//!
//! A record is its version (one byte) and fields. A field is its number (one byte), the length of its value (LEB128) and
//! the value. A field without a value, or with an empty one, is left out.
//!
//! What holds for every change:
//! - A field keeps its number, its type and its meaning. The number of a removed field is not used again.
//! - A new fact is a new field. The version stays: an earlier farspan keeps a field that it does not know, of a workflow
//!   or an open stage, and writes it again.
//! - A change that an earlier farspan must not pass over is a new version; so is a new value of an enumeration. farspan
//!   refuses a record of a version that it does not know and leaves it alone.

use super::observed::{DroppedEvents, Observed, ObservedExtra};
use super::stage::{Fate, OpenStage, Stage, StageExtra};
use super::stages::StageTree;
use super::{Extra, Workflow};
use crate::event::{Attributes, Value};
use crate::ids::{RunIdentity, SpanId, TraceContext, TraceId};
use crate::limits;
use crate::snapshot::{Outcome, State};
use crate::span::SpanEvent;
use crate::time::Wall;
use std::fmt;
use std::sync::Arc;

/// A stored workflow.
#[derive(Clone, Debug)]
pub struct Record {
    /// The monitor's name.
    pub monitor: Box<str>,
    /// When the poll timeout ends the watch.
    pub deadline: Wall,
    /// The workflow.
    pub workflow: Workflow,
}

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// A later farspan wrote it, in this version.
    Newer(u8),
    /// It is damaged.
    Damaged,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Newer(version) => write!(
                f,
                "a later farspan wrote it (version {version}), start that one again"
            ),
            Unreadable::Damaged => f.write_str("it is damaged"),
        }
    }
}

/// The version that this farspan writes and reads.
pub const VERSION: u8 = 1;

/// The record of a workflow.
pub fn encode(monitor: &str, deadline: Wall, workflow: &Workflow) -> Vec<u8> {
    let mut to = Vec::with_capacity(512);
    to.push(VERSION);
    workflow.put_fields(&mut to);
    put_value(MONITOR, monitor.as_bytes(), &mut to);
    put_field(DEADLINE, &deadline, &mut to);
    // The last field is one that must be there, so that a record that was cut short is known as damaged.
    put_field(TRACE_ID, &workflow.trace_id, &mut to);
    to
}

/// Reads a record.
///
/// # Errors
/// A later farspan wrote the record, or it is damaged.
pub fn decode(bytes: &[u8]) -> Result<Record, Unreadable> {
    match bytes.split_first() {
        Some((&VERSION, fields)) => read_fields(fields).ok_or(Unreadable::Damaged),
        Some((&version, _)) if version > VERSION => Err(Unreadable::Newer(version)),
        _ => Err(Unreadable::Damaged),
    }
}

// The numbers of a workflow's fields are those below 32, see `message!`; those of `Extra` begin at 32.
const MONITOR: u8 = 1;
const DEADLINE: u8 = 2;
const TRACE_ID: u8 = 3;

fn read_fields(bytes: &[u8]) -> Option<Record> {
    let last = |wanted: u8| {
        let fields = SizedValues(bytes).fields().flatten();
        fields.filter(|(number, _)| *number == wanted).last()
    };
    let ((_, monitor), (_, deadline), (_, trace_id)) =
        (last(MONITOR)?, last(DEADLINE)?, last(TRACE_ID)?);
    let mut workflow = Workflow {
        id: Arc::default(),
        run_identity: RunIdentity::default(),
        attempt: None,
        trace_id: TraceId::read(trace_id)?,
        parent: None,
        sampled: false,
        submitted_at: None,
        received_at: Wall::from_unix_ns(0),
        attributes: Attributes::default(),
        source: None,
        observed: Observed::default(),
        stages: StageTree::default(),
        settling: 0,
        extra: None,
        changed: false,
    };
    for field in SizedValues(bytes).fields() {
        let (number, value) = field?;
        if number > TRACE_ID {
            workflow.take_field(number, value)?;
        }
    }
    let (monitor, deadline) = (Field::read(monitor)?, Wall::read(deadline)?);
    is_possible(&workflow).then_some(Record {
        monitor,
        deadline,
        workflow,
    })
}

/// Whether the workflow is within all bounds and its stages are as they can only be.
fn is_possible(workflow: &Workflow) -> bool {
    let own = workflow.extra.iter().map(|extra| &extra.reported);
    let of_stages = workflow.stages.all.iter().filter_map(Stage::extra);
    let mut reported = own.chain(of_stages.map(|extra| &extra.reported));
    (1..=limits::WORKFLOW_ID_BYTES_MAX).contains(&workflow.id.len())
        && workflow.attributes.len() <= limits::EVENT_ATTRIBUTES_MAX
        && reported.all(|it| it.attributes.len() <= limits::ANSWERED_ATTRIBUTES_MAX)
        && workflow.settling <= limits::SETTLE_POLLS
        && workflow.stages.is_possible()
}

/// A type that is stored as fields.
trait StoredFields {
    fn put_fields(&self, to: &mut Vec<u8>);

    /// `None`: the value is damaged.
    fn take_field(&mut self, number: u8, value: &[u8]) -> Option<()>;
}

/// The fields of a message and their numbers. The message in `rest` takes the fields with other numbers.
macro_rules! message {
    ($message:ident { $($number:literal: $($field:ident).+,)* rest: $rest:ident }) => {
        impl StoredFields for $message {
            fn put_fields(&self, to: &mut Vec<u8>) {
                $(put_field($number, &self.$($field).+, to);)*
                self.$rest.put_fields(to);
            }

            fn take_field(&mut self, number: u8, value: &[u8]) -> Option<()> {
                match number {
                    $($number => self.$($field).+ = Field::read(value)?,)*
                    _ => self.$rest.take_field(number, value)?,
                }
                Some(())
            }
        }
    };
}

message!(Workflow {
    4: id,
    5: run_identity,
    6: attempt,
    7: parent,
    8: sampled,
    9: submitted_at,
    10: received_at,
    11: attributes,
    12: source,
    13: observed,
    14: stages.all,
    15: settling,
    16: stages.finished_within,
    rest: extra
});

message!(Extra {
    32: submitter,
    33: follows,
    34: attempt,
    35: reported.url,
    36: reported.attributes,
    37: reported.dropped,
    38: answered_at,
    rest: unknown
});

message!(Observed {
    1: state,
    2: start,
    3: end,
    4: started_seen,
    5: ended_seen,
    6: events,
    rest: extra
});

message!(ObservedExtra {
    32: queued,
    33: error,
    34: dropped,
    rest: unknown
});

message!(OpenStage {
    1: kind,
    2: id,
    3: observed,
    4: settling,
    5: heard,
    rest: extra
});

message!(StageExtra {
    32: parent,
    33: previous,
    34: superseded,
    35: promised,
    36: within,
    37: reported.url,
    38: reported.attributes,
    39: reported.dropped,
    rest: unknown
});

/// Fields that a later farspan wrote and this one does not know.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Unknown(Box<[u8]>);

impl StoredFields for Unknown {
    fn put_fields(&self, to: &mut Vec<u8>) {
        to.extend(&self.0);
    }

    fn take_field(&mut self, number: u8, value: &[u8]) -> Option<()> {
        let mut all = self.0.to_vec();
        put_value(number, value, &mut all);
        // One that there is no room for is left out.
        if all.len() <= limits::UNKNOWN_FIELDS_BYTES_MAX {
            self.0 = all.into();
        }
        Some(())
    }
}

impl<T: StoredFields + Default> StoredFields for Option<Box<T>> {
    fn put_fields(&self, to: &mut Vec<u8>) {
        if let Some(rare) = self {
            rare.put_fields(to);
        }
    }

    fn take_field(&mut self, number: u8, value: &[u8]) -> Option<()> {
        self.get_or_insert_default().take_field(number, value)
    }
}

/// A type that is stored as the value of one field. An empty value stands for the type's default.
trait Field: Sized {
    fn put(&self, to: &mut Vec<u8>);

    /// `None`: the value is damaged.
    fn read(value: &[u8]) -> Option<Self>;

    /// Whether an empty value has a meaning of its own.
    fn is_kept_when_empty(&self) -> bool {
        false
    }
}

fn put_field<T: Field>(number: u8, field: &T, to: &mut Vec<u8>) {
    let before = to.len();
    to.push(number);
    let start = to.len();
    field.put(to);
    if to.len() == start && !field.is_kept_when_empty() {
        to.truncate(before);
    } else {
        insert_length(start, to);
    }
}

fn put_value(number: u8, value: &[u8], to: &mut Vec<u8>) {
    to.push(number);
    put_sized(to, |to| to.extend(value));
}

/// A value and its length before it.
fn put_sized(to: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    let start = to.len();
    put(to);
    insert_length(start, to);
}

/// Puts the length of everything from `start` before it.
fn insert_length(start: usize, to: &mut Vec<u8>) {
    let mut rest = to.len() - start;
    let length = std::iter::from_fn(|| {
        let byte = (rest & 0x7f) as u8;
        rest >>= 7;
        (rest > 0 || byte > 0).then_some(byte)
    });
    let mut length: Vec<u8> = length.collect();
    match length.split_last_mut() {
        Some((_, earlier)) => earlier.iter_mut().for_each(|byte| *byte |= 0x80),
        None => length.push(0),
    }
    to.splice(start..start, length);
}

/// SizedValues one after the other, each after its length. `None`: they are damaged.
struct SizedValues<'a>(&'a [u8]);

impl<'a> SizedValues<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn sized(&mut self) -> Option<&'a [u8]> {
        let mut length = 0;
        for shift in (0..u32::BITS).step_by(7) {
            let [byte] = self.take()?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                let (value, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                return Some(value);
            }
        }
        None
    }

    /// Each value, if it is preceded by the number of a field.
    fn fields(mut self) -> impl Iterator<Item = Option<(u8, &'a [u8])>> {
        std::iter::from_fn(move || {
            let (number, rest) = self.0.split_first()?;
            self.0 = rest;
            let value = self.sized();
            if value.is_none() {
                self.0 = &[];
            }
            Some(value.map(|value| (*number, value)))
        })
    }
}

/// A message as the value of a field.
macro_rules! message_field {
    ($($message:ident)*) => {$(
        impl Field for $message {
            fn put(&self, to: &mut Vec<u8>) {
                self.put_fields(to);
            }

            fn read(value: &[u8]) -> Option<Self> {
                let mut message = $message::default();
                for field in SizedValues(value).fields() {
                    let (number, value) = field?;
                    message.take_field(number, value)?;
                }
                Some(message)
            }
        }
    )*};
}

message_field!(Observed OpenStage Stage);

impl StoredFields for Stage {
    fn put_fields(&self, to: &mut Vec<u8>) {
        put_field(1, &self.path, to);
        put_field(2, &self.attempt, to);
        put_field(3, &self.fate, to);
        put_field(4, &self.failed, to);
        put_field(5, &self.open, to);
    }

    /// A field that is not known is skipped: most stages are finished, and keep nothing.
    fn take_field(&mut self, number: u8, value: &[u8]) -> Option<()> {
        match number {
            1 => self.path = Field::read(value)?,
            2 => self.attempt = Field::read(value)?,
            3 => self.fate = Field::read(value)?,
            4 => self.failed = Field::read(value)?,
            5 => self.open = Field::read(value)?,
            _ => {}
        }
        Some(())
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, to: &mut Vec<u8>) {
        if let Some(value) = self {
            value.put(to);
        }
    }

    fn read(value: &[u8]) -> Option<Self> {
        T::read(value).map(Some)
    }

    fn is_kept_when_empty(&self) -> bool {
        self.is_some()
    }
}

impl<T: Field> Field for Box<T> {
    fn put(&self, to: &mut Vec<u8>) {
        (**self).put(to);
    }

    fn read(value: &[u8]) -> Option<Self> {
        T::read(value).map(Box::new)
    }
}

impl<T: Field> Field for Vec<T> {
    fn put(&self, to: &mut Vec<u8>) {
        put_list(self, to);
    }

    fn read(value: &[u8]) -> Option<Self> {
        take_list(value)
    }
}

impl<T: Field> Field for Box<[T]> {
    fn put(&self, to: &mut Vec<u8>) {
        put_list(self, to);
    }

    fn read(value: &[u8]) -> Option<Self> {
        take_list(value).map(Into::into)
    }
}

fn put_list<T: Field>(list: &[T], to: &mut Vec<u8>) {
    for element in list {
        put_sized(to, |to| element.put(to));
    }
}

fn take_list<T: Field>(value: &[u8]) -> Option<Vec<T>> {
    /// An element may take much more room in memory than its bytes in a damaged record.
    const ELEMENTS_MAX: usize = 1 << 20;
    let mut from = SizedValues(value);
    let mut list = Vec::new();
    while !from.0.is_empty() {
        list.push(T::read(from.sized()?)?);
        if list.len() > ELEMENTS_MAX {
            return None;
        }
    }
    list.shrink_to_fit();
    Some(list)
}

/// Little-endian, without zeros at the end.
impl Field for u32 {
    fn put(&self, to: &mut Vec<u8>) {
        let bytes = self.to_le_bytes();
        let length = bytes.len() - self.leading_zeros() as usize / 8;
        to.extend(&bytes[..length]);
    }

    fn read(value: &[u8]) -> Option<Self> {
        let mut bytes = [0; 4];
        bytes.get_mut(..value.len())?.copy_from_slice(value);
        Some(u32::from_le_bytes(bytes))
    }
}

/// A type that is stored as a number.
macro_rules! number_field {
    ($($type:ty: $to_number:expr, $of_number:expr;)*) => {$(
        impl Field for $type {
            fn put(&self, to: &mut Vec<u8>) {
                let to_number: fn(&$type) -> u32 = $to_number;
                to_number(self).put(to);
            }

            fn read(value: &[u8]) -> Option<Self> {
                let of_number: fn(u32) -> Option<$type> = $of_number;
                of_number(u32::read(value)?)
            }
        }
    )*};
}

number_field!(
    u8: |number| u32::from(*number), |number| number.try_into().ok();
    bool: |truth| u32::from(*truth), |number| one_of(number, &[false, true]);
    RunIdentity: |identity| u32::from(*identity == RunIdentity::Attempt), |number| one_of(number, &IDENTITIES);
    State: |state| number_of(*state), |number| one_of(number, &STATES);
    Fate: |fate| *fate as u32, |number| one_of(number, &FATES);
);

// In the order of their numbers, the default first.
const IDENTITIES: [RunIdentity; 2] = [RunIdentity::Event, RunIdentity::Attempt];
const FATES: [Fate; 3] = [Fate::Unfinished, Fate::Finished, Fate::LeftOut];
const STATES: [State; 8] = [
    State::Pending,
    State::Running,
    State::Ended(Outcome::Success),
    State::Ended(Outcome::Failure),
    State::Ended(Outcome::Error),
    State::Ended(Outcome::Timeout),
    State::Ended(Outcome::Cancellation),
    State::Ended(Outcome::Skip),
];

fn number_of(state: State) -> u32 {
    match state {
        State::Pending => 0,
        State::Running => 1,
        State::Ended(Outcome::Success) => 2,
        State::Ended(Outcome::Failure) => 3,
        State::Ended(Outcome::Error) => 4,
        State::Ended(Outcome::Timeout) => 5,
        State::Ended(Outcome::Cancellation) => 6,
        State::Ended(Outcome::Skip) => 7,
    }
}

fn one_of<T: Copy>(number: u32, all: &[T]) -> Option<T> {
    all.get(number as usize).copied()
}

/// Nanoseconds since the Unix epoch, 8 bytes, little-endian.
impl Field for Wall {
    fn put(&self, to: &mut Vec<u8>) {
        to.extend(self.as_unix_ns().to_le_bytes());
    }

    fn read(value: &[u8]) -> Option<Self> {
        let bytes = value.try_into().ok()?;
        Some(Wall::from_unix_ns(i64::from_le_bytes(bytes)))
    }
}

impl Field for (Wall, Wall) {
    fn put(&self, to: &mut Vec<u8>) {
        self.0.put(to);
        self.1.put(to);
    }

    fn read(value: &[u8]) -> Option<Self> {
        let (first, second) = value.split_at_checked(8)?;
        Some((Wall::read(first)?, Wall::read(second)?))
    }
}

impl Field for Box<str> {
    fn put(&self, to: &mut Vec<u8>) {
        to.extend(self.as_bytes());
    }

    fn read(value: &[u8]) -> Option<Self> {
        std::str::from_utf8(value).ok().map(Box::from)
    }
}

impl Field for Arc<str> {
    fn put(&self, to: &mut Vec<u8>) {
        to.extend(self.as_bytes());
    }

    fn read(value: &[u8]) -> Option<Self> {
        std::str::from_utf8(value).ok().map(Arc::from)
    }
}

/// 16 bytes, big-endian.
impl Field for TraceId {
    fn put(&self, to: &mut Vec<u8>) {
        to.extend(self.to_bytes());
    }

    fn read(value: &[u8]) -> Option<Self> {
        TraceId::from_bytes(value.try_into().ok()?)
    }
}

/// Trace id, span id, flags, and the rest is the `tracestate`, which is never empty.
impl Field for TraceContext {
    fn put(&self, to: &mut Vec<u8>) {
        to.extend(self.trace_id.to_bytes());
        to.extend(self.span_id.to_bytes());
        to.push(self.trace_flags);
        to.extend(self.trace_state.iter().flat_map(|state| state.bytes()));
    }

    fn read(value: &[u8]) -> Option<Self> {
        let mut from = SizedValues(value);
        Some(TraceContext {
            trace_id: TraceId::from_bytes(from.take()?)?,
            span_id: SpanId::from_bytes(from.take()?)?,
            trace_flags: u8::from_le_bytes(from.take()?),
            trace_state: Some(Box::<str>::read(from.0)?).filter(|state| !state.is_empty()),
        })
    }
}

/// The key after its length, the type's letter, the value.
impl Field for (Box<str>, Value) {
    fn put(&self, to: &mut Vec<u8>) {
        let (key, value) = self;
        put_sized(to, |to| key.put(to));
        match value {
            Value::Str(text) => {
                to.push(b's');
                text.put(to);
            }
            Value::Int(number) => {
                to.push(b'i');
                to.extend(number.to_le_bytes());
            }
            Value::Float(number) => {
                to.push(b'f');
                to.extend(number.to_le_bytes());
            }
            Value::Bool(truth) => {
                to.push(b'b');
                truth.put(to);
            }
        }
    }

    fn read(value: &[u8]) -> Option<Self> {
        let mut from = SizedValues(value);
        let key = Box::read(from.sized()?)?;
        let value = match (from.take()?, from.0) {
            ([b's'], text) => Value::Str(Box::read(text)?),
            ([b'i'], number) => Value::Int(i64::from_le_bytes(number.try_into().ok()?)),
            ([b'f'], number) => Value::Float(f64::from_le_bytes(number.try_into().ok()?)),
            ([b'b'], truth) => Value::Bool(bool::read(truth)?),
            _ => return None,
        };
        Some((key, value))
    }
}

/// The time and the name.
impl Field for SpanEvent {
    fn put(&self, to: &mut Vec<u8>) {
        self.time.put(to);
        self.name.put(to);
    }

    fn read(value: &[u8]) -> Option<Self> {
        let (time, name) = value.split_at_checked(8)?;
        Some(SpanEvent {
            time: Wall::read(time)?,
            name: Arc::read(name)?,
        })
    }
}

/// The count, 4 bytes, and the name of the last one.
impl Field for DroppedEvents {
    fn put(&self, to: &mut Vec<u8>) {
        to.extend(self.count.to_le_bytes());
        self.last.put(to);
    }

    fn read(value: &[u8]) -> Option<Self> {
        let mut from = SizedValues(value);
        Some(DroppedEvents {
            count: u32::from_le_bytes(from.take()?),
            last: Box::read(from.0)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::StartEvent;
    use crate::sampler::{Sampler, SpanLimits};
    use crate::snapshot::{Progress, Snapshot, StageSnapshot};
    use crate::workflow::{ContextUse, Naming, Verdict};
    use arbtest::arbitrary::{Result as Arbitrary, Unstructured};

    fn arbitrary_workflow(u: &mut Unstructured<'_>) -> Arbitrary<Workflow> {
        let naming = Naming {
            skipped: u.arbitrary()?,
            run_identity: *u.choose(&[RunIdentity::Event, RunIdentity::Attempt])?,
            context: *u.choose(&[ContextUse::Parent, ContextUse::Link])?,
            ..Naming::new("default", "Workflow", SpanLimits::default())
        };
        let wall = |u: &mut Unstructured<'_>| Arbitrary::Ok(Wall::from_unix_ns(u.arbitrary()?));
        let parent = TraceContext::from_w3c(
            "00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-03",
            Some("a=1"),
        );
        let event = StartEvent {
            submitted_at: u.arbitrary::<bool>()?.then_some(wall(u)?),
            attempt: u.arbitrary()?,
            parent: parent
                .filter(|_| u.arbitrary().unwrap_or(false))
                .map(Box::new),
            attributes: [
                ("a".into(), Value::Int(u.arbitrary()?)),
                ("b".into(), Value::Bool(u.arbitrary()?)),
                ("c".into(), Value::Str(u.arbitrary::<&str>()?.into())),
                ("d".into(), Value::Float(0.25)),
            ]
            .into(),
            source: u.arbitrary::<Option<&str>>()?.map(Box::from),
            ..StartEvent::new(0, "w")
        };
        let mut workflow = Workflow::new(event, &naming, &Sampler::default(), wall(u)?);
        let progress = |u: &mut Unstructured<'_>| {
            let states = [
                State::Pending,
                State::Running,
                State::Ended(Outcome::Success),
                State::Ended(Outcome::Failure),
                State::Ended(Outcome::Cancellation),
                State::Ended(Outcome::Skip),
            ];
            Arbitrary::Ok(Progress {
                queued: u.arbitrary::<bool>()?.then_some(wall(u)?),
                status: u.arbitrary::<Option<&str>>()?.map(Box::from),
                state: *u.choose(&states)?,
                start: u.arbitrary::<bool>()?.then_some(wall(u)?),
                end: u.arbitrary::<bool>()?.then_some(wall(u)?),
                error: u.arbitrary::<Option<&str>>()?.map(Box::from),
            })
        };
        let attributes = |u: &mut Unstructured<'_>| {
            let one = ("e".into(), Value::Str(u.arbitrary::<&str>()?.into()));
            Arbitrary::Ok(Attributes::from_iter(u.arbitrary::<bool>()?.then_some(one)))
        };
        for _ in 0..u.int_in_range(0..=3)? {
            let mut stages = Vec::new();
            for _ in 0..u.int_in_range(0..=5)? {
                let path = |n: u8| Box::from(format!("s{n}"));
                let parent = u.arbitrary::<Option<u8>>()?;
                stages.push(StageSnapshot {
                    path: path(u.int_in_range(0..=3)?),
                    parent: parent.map(|n| path(n % 4)),
                    attempt: u.int_in_range(0..=2)?,
                    url: u.arbitrary::<Option<&str>>()?.map(Box::from),
                    attributes: attributes(u)?,
                    kind: u.arbitrary::<&str>()?.into(),
                    id: u.arbitrary::<Option<&str>>()?.map(Box::from),
                    progress: progress(u)?,
                });
            }
            let snapshot = Snapshot {
                workflow_id: None,
                progress: progress(u)?,
                attempt: u.arbitrary()?,
                url: u.arbitrary::<Option<&str>>()?.map(Box::from),
                attributes: attributes(u)?,
                stages: stages.into(),
            };
            let before = workflow.clone();
            if u.arbitrary()? {
                workflow.set_answered(wall(u)?);
            }
            let verdict = workflow.observe(
                snapshot,
                wall(u)?,
                &naming,
                &mut Vec::new(),
                &mut Vec::new(),
            );
            if verdict != Verdict::Watching {
                return Ok(before);
            }
        }
        let unknown = Unknown(field(200, b"of a later farspan").into());
        if u.arbitrary()? {
            workflow.extra.get_or_insert_default().unknown = unknown.clone();
        }
        if u.arbitrary()? {
            workflow.observed.extra.get_or_insert_default().unknown = unknown.clone();
        }
        let mut open = workflow
            .stages
            .all
            .iter_mut()
            .filter_map(|s| s.open.as_mut());
        if let Some(open) = open.next() {
            open.extra.get_or_insert_default().unknown = unknown;
        }
        Ok(workflow)
    }

    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_value(number, value, &mut bytes);
        bytes
    }

    /// Without what a record does not tell apart.
    fn normal(mut workflow: Workflow) -> String {
        workflow.take_changed();
        workflow.take_ended();
        workflow.extra = workflow.extra.filter(|extra| **extra != Extra::default());
        for open in workflow
            .stages
            .all
            .iter_mut()
            .filter_map(|s| s.open.as_mut())
        {
            let extra = open.extra.take();
            open.extra = extra.filter(|extra| **extra != StageExtra::default());
        }
        format!("{workflow:?}")
    }

    #[test]
    fn a_record_is_the_workflow() {
        arbtest::arbtest(|u| {
            let workflow = arbitrary_workflow(u)?;
            let deadline = Wall::from_unix_ns(u.arbitrary()?);
            let bytes = encode("default", deadline, &workflow);
            let record = decode(&bytes).expect("what was encoded is read");
            assert_eq!((&*record.monitor, record.deadline), ("default", deadline));
            assert_eq!(normal(record.workflow), normal(workflow));
            Ok(())
        });
    }

    #[test]
    fn fields_of_a_later_farspan_are_kept() {
        arbtest::arbtest(|u| {
            let workflow = arbitrary_workflow(u)?;
            let mut bytes = encode("default", Wall::from_unix_ns(0), &workflow);
            let value: [u8; 20] = u.arbitrary()?;
            let new = field(u.int_in_range(100..=255)?, &value);
            bytes.extend(&new);
            let read = decode(&bytes).expect("it is of the same version").workflow;
            let again = encode("default", Wall::from_unix_ns(0), &read);
            assert!(again.windows(new.len()).any(|part| part == new));
            Ok(())
        });
    }

    #[test]
    fn unknown_fields_have_a_bound() {
        let mut unknown = Unknown::default();
        for number in 100..=255 {
            unknown.take_field(number, &[7; 50]).unwrap();
        }
        assert!(unknown.0.len() <= limits::UNKNOWN_FIELDS_BYTES_MAX);
        assert!(unknown.0.len() > limits::UNKNOWN_FIELDS_BYTES_MAX - 52);
        let mut stage = Stage::default();
        assert_eq!(stage.take_field(100, b"skipped"), Some(()));
    }

    #[test]
    fn a_record_that_was_cut_short_is_damaged() {
        arbtest::arbtest(|u| {
            let bytes = encode("default", Wall::from_unix_ns(0), &arbitrary_workflow(u)?);
            let length = u.choose_index(bytes.len())?;
            assert_eq!(decode(&bytes[..length]).unwrap_err(), Unreadable::Damaged);
            Ok(())
        });
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        arbtest::arbtest(|u| {
            let bytes = [&[VERSION], u.arbitrary::<&[u8]>()?].concat();
            if let Ok(record) = decode(&bytes) {
                record.workflow.check_invariants();
            }
            Ok(())
        });
    }

    #[test]
    fn a_damaged_record_is_refused_and_never_panics() {
        arbtest::arbtest(|u| {
            let mut bytes = encode("default", Wall::from_unix_ns(0), &arbitrary_workflow(u)?);
            for _ in 0..u.int_in_range(1..=4)? {
                let at = u.choose_index(bytes.len())?;
                bytes[at] = u.arbitrary()?;
            }
            bytes.truncate(u.int_in_range(0..=bytes.len())?);
            if let Ok(record) = decode(&bytes) {
                let again = encode(&record.monitor, record.deadline, &record.workflow);
                assert!(decode(&again).is_ok());
                record.workflow.check_invariants();
            }
            Ok(())
        });
    }

    #[test]
    fn a_record_with_stages_that_are_part_of_nothing_or_of_themselves_is_refused() {
        let naming = Naming::new("default", "Workflow", SpanLimits::default());
        let event = StartEvent::new(0, "w");
        let now = Wall::from_unix_ns(0);
        let mut workflow = Workflow::new(event, &naming, &Sampler::default(), now);
        for (path, fate) in [
            ("a", Fate::Unfinished),
            ("b", Fate::Unfinished),
            ("c", Fate::Finished),
        ] {
            let open = (fate == Fate::Unfinished).then(Box::default);
            workflow.stages.all.push(Stage {
                path: path.into(),
                attempt: 1,
                fate,
                failed: false,
                open,
            });
        }
        let mut read = |of_a, of_b, previous| {
            for (stage, parent) in workflow.stages.all.iter_mut().zip([of_a, of_b]) {
                let open = stage.open.as_mut().expect("it is open");
                open.extra = Some(Box::new(StageExtra {
                    parent,
                    previous,
                    ..StageExtra::default()
                }));
            }
            decode(&encode("default", now, &workflow)).map(|_| ())
        };
        assert_eq!(read(Some(1), None, Some(2)), Ok(()));
        let damaged = Err(Unreadable::Damaged);
        assert_eq!(read(Some(1), Some(0), None), damaged);
        assert_eq!(read(Some(0), None, None), damaged);
        assert_eq!(read(None, Some(2), None), damaged, "that one is finished");
        assert_eq!(read(None, Some(3), None), damaged);
        assert_eq!(read(None, None, Some(3)), damaged);
    }

    #[test]
    fn what_a_later_version_wrote_is_left_alone() {
        let newer = [VERSION + 1, 0];
        assert_eq!(decode(&newer).unwrap_err(), Unreadable::Newer(VERSION + 1));
        assert_eq!(decode(&[]).unwrap_err(), Unreadable::Damaged);
        assert_eq!(decode(&[0]).unwrap_err(), Unreadable::Damaged);
    }
}
