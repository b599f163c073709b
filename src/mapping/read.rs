//! One body read, as a stream, into what the plan names.

use super::definition::{Meaning, UnknownStatus};
use super::plan::{
    ListId, Plan, PlannedFields, PlannedList, SlotId, SlotKind, Slots, State as Place, StateId,
};
use super::pointer::escaped;
use super::time_format::Told;
use super::{Oddity, Unreadable};
use crate::core::event::{Attributes, Value};
use crate::core::limits;
use crate::core::snapshot::{Outcome, Progress, StageSnapshot, State};
use crate::core::time::Wall;
use crate::core::workflow::cut;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// What one body said.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub(super) request: usize,
    pub(super) page: Page,
    /// Of the main request's answer.
    pub(super) workflow: Option<Box<WorkflowPart>>,
    /// Elements of the outermost lists in it.
    pub(super) elements: Vec<Element>,
    pub(super) oddity: Option<Box<str>>,
    pub(super) found: Found,
}

impl Part {
    /// What a body says of those that follow it.
    pub fn page(&self) -> &Page {
        &self.page
    }
}

/// What a body says of those that follow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Elements of stages in it.
    pub elements: usize,
    /// What to ask for the next page with.
    pub next: Option<Box<str>>,
    /// Elements in all pages together.
    pub total: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct WorkflowPart {
    pub(super) id: Option<Box<str>>,
    pub(super) progress: Progress,
    pub(super) attempt: Option<u32>,
    pub(super) url: Option<Box<str>>,
    pub(super) attributes: Attributes,
}

/// One of a list. Its path is its key, its attempt 0 where there is none.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Element {
    pub(super) list: ListId,
    pub(super) stage: StageSnapshot,
    pub(super) join: Option<Box<Join>>,
    pub(super) nested: Vec<Element>,
}

/// What connects an element with others.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Join {
    /// The parent's key.
    pub(super) parent: Option<Box<str>>,
    /// The children's keys.
    pub(super) child_ids: Vec<Box<str>>,
    /// Its place among the attempts of its key.
    pub(super) order: Order,
    /// Its own key.
    pub(super) key: Option<Box<str>>,
}

/// What attempts are numbered by. One that has nothing is yet to come.
#[derive(Clone, Debug, Default, PartialEq, PartialOrd)]
pub(super) enum Order {
    Number(f64),
    At(Wall),
    Text(Box<str>),
    #[default]
    Last,
}

/// Which pointers led somewhere: a bit for each slot, and two for each list (there; with elements).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    bits: Box<[u64]>,
}

impl Found {
    fn new(plan: &Plan) -> Self {
        let bits = plan.slots.len() + 2 * plan.lists.len();
        Found {
            bits: vec![0; bits.div_ceil(64)].into(),
        }
    }

    fn set(&mut self, bit: usize) {
        self.bits[bit / 64] |= 1 << (bit % 64);
    }

    fn has(&self, bit: usize) -> bool {
        self.bits
            .get(bit / 64)
            .is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    pub(super) fn slot(&self, slot: usize) -> bool {
        self.has(slot)
    }

    pub(super) fn list(&self, plan: &Plan, list: usize) -> bool {
        self.has(plan.slots.len() + 2 * list)
    }

    pub(super) fn element(&self, plan: &Plan, list: usize) -> bool {
        self.has(plan.slots.len() + 2 * list + 1)
    }

    pub(super) fn add(&mut self, other: &Found) {
        if self.bits.is_empty() {
            self.bits = vec![0; other.bits.len()].into();
        }
        for (word, more) in self.bits.iter_mut().zip(&other.bits) {
            *word |= more;
        }
    }
}

pub(super) fn read<'de, R: serde_json::de::Read<'de>>(
    plan: &Plan,
    request: usize,
    mut json: serde_json::Deserializer<R>,
) -> Result<Part, Unreadable> {
    let mut reader = Reader::new(plan, request);
    let state = plan.requests[request].start;
    let seed = At {
        reader: &mut reader,
        state,
    };
    let was = seed.deserialize(&mut json).map_err(Unreadable::of)?;
    json.end().map_err(Unreadable::of)?;
    reader.finish(was)
}

/// Everything that is odd in a body, up to where it is of another shape. What a poll would refuse for its status is odd.
pub(super) fn oddities<'de, R: serde_json::de::Read<'de>>(
    plan: &Plan,
    request: usize,
    mut json: serde_json::Deserializer<R>,
) -> Vec<Oddity> {
    let mut reader = Reader::new(plan, request);
    reader.tells_all = true;
    let state = plan.requests[request].start;
    let seed = At {
        reader: &mut reader,
        state,
    };
    if seed.deserialize(&mut json).is_ok() && request == 0 {
        drop(reader.workflow());
    }
    let place = |slot: SlotId| plan.slots[usize::from(slot)].place.clone();
    let told = reader.oddities.into_iter().map(|(slot, what)| Oddity {
        place: slot.map(place),
        what,
    });
    told.collect()
}

/// A JSON value as far as it can be a field.
#[derive(Clone, Copy)]
enum Scalar<'v> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'v str),
}

impl Scalar<'_> {
    /// `None`: there is nothing.
    fn text(&self, bytes_max: usize) -> Option<Box<str>> {
        match self {
            Scalar::Null => None,
            Scalar::Bool(truth) => Some(truth.to_string().into()),
            Scalar::Int(number) => Some(number.to_string().into()),
            Scalar::Float(number) => Some(number.to_string().into()),
            Scalar::Text("") => None,
            Scalar::Text(text) => Some(cut(text, bytes_max).into()),
        }
    }

    fn whole(&self) -> Option<i64> {
        match self {
            Scalar::Int(number) => Some(*number),
            Scalar::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
                Some(*number as i64)
            }
            Scalar::Text(text) => text.parse().ok(),
            _ => None,
        }
    }
}

/// What a slot holds while its object is read.
#[derive(Clone, Debug, Default)]
enum Taken {
    /// Nothing, null, or something that is as good as nothing.
    #[default]
    Unset,
    Text(Box<str>),
    Int(i64),
    Float(f64),
    Bool(bool),
    Time(Wall),
    Ids(Vec<Box<str>>),
}

/// The kind of a value that was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Was {
    Null,
    Scalar,
    Array,
    Object,
}

struct Reader<'p> {
    plan: &'p Plan,
    request: usize,
    taken: Vec<Taken>,
    /// Of each list the key that the element at hand has in its object.
    keys: Vec<Option<String>>,
    /// The key at hand.
    key: String,
    /// Elements whose outer element is not read to its end.
    elements: Vec<Element>,
    /// Elements and children's keys that are kept.
    kept: usize,
    /// Elements seen, by list.
    seen: Vec<usize>,
    found: Found,
    /// The first; or all, with the slots that they are about.
    oddities: Vec<(Option<SlotId>, Box<str>)>,
    tells_all: bool,
}

impl<'p> Reader<'p> {
    fn new(plan: &'p Plan, request: usize) -> Self {
        Reader {
            plan,
            request,
            taken: vec![Taken::Unset; plan.slots.len()],
            keys: vec![None; plan.lists.len()],
            key: String::new(),
            elements: Vec::new(),
            kept: 0,
            seen: vec![0; plan.lists.len()],
            found: Found::new(plan),
            oddities: Vec::new(),
            tells_all: false,
        }
    }

    fn finish(mut self, was: Was) -> Result<Part, Unreadable> {
        let plan = self.plan;
        let planned = &plan.requests[self.request];
        let shape = |what: String| Err(Unreadable::shape(&self.told(&what)));
        if self.request == 0 && !self.found_any() {
            let of_main = |slot: &&super::plan::PlannedSlot| slot.list.is_none();
            let slots = plan.slots.iter().filter(of_main).map(|slot| &*slot.pointer);
            let lists = plan.lists.iter().filter(|list| list.request == 0);
            let wanted: Vec<_> = slots.chain(lists.map(|list| &*list.pointer)).collect();
            let it = match was {
                Was::Null => "null",
                Was::Scalar => "a single value",
                Was::Array => "an array",
                Was::Object => "an object",
            };
            return shape(format!(
                "{it} with nothing of what is looked for: {}",
                wanted.join(", ")
            ));
        }
        let start = &plan.states[planned.start as usize];
        match was {
            Was::Null | Was::Object => {}
            Was::Scalar if !start.slots.is_empty() => {}
            Was::Array if takes_arrays(start) => {}
            Was::Scalar => return shape("neither an array nor an object".into()),
            Was::Array => return shape("an array, not an object".into()),
        }
        let seen = plan.lists.iter().zip(&self.seen);
        let outermost = seen.filter(|(list, _)| plan.is_outermost(list));
        let page = Page {
            elements: outermost.map(|(_, seen)| *seen).max().unwrap_or(0),
            next: self.text(&planned.next),
            total: match self.first(&planned.total) {
                Some(Taken::Int(total)) => u64::try_from(total).ok(),
                _ => None,
            },
        };
        let workflow = match self.request {
            0 => Some(self.workflow().map_err(|e| Unreadable::shape(&e))?.into()),
            _ => None,
        };
        Ok(Part {
            request: self.request,
            page,
            workflow,
            elements: self.elements,
            oddity: self.oddities.into_iter().next().map(|(_, what)| what),
            found: self.found,
        })
    }

    /// Whether any pointer led somewhere, but for those that are about pages.
    fn found_any(&self) -> bool {
        let plan = self.plan;
        let pages = &plan.requests[self.request];
        let about_pages = |slot: &usize| {
            [&pages.total, &pages.next]
                .iter()
                .any(|slots| slots.contains(&(*slot as SlotId)))
        };
        let mut slots = (0..plan.slots.len()).filter(|slot| !about_pages(slot));
        slots.any(|slot| self.found.slot(slot))
            || (0..plan.lists.len()).any(|list| self.found.list(plan, list))
    }

    fn odd(&mut self, what: impl FnOnce() -> String) {
        self.note(None, what);
    }

    fn odd_slot(&mut self, slot: SlotId, what: impl FnOnce(&str) -> String) {
        let pointer = named(&self.plan.slots[usize::from(slot)].pointer);
        self.note(Some(slot), || what(pointer));
    }

    fn note(&mut self, slot: Option<SlotId>, what: impl FnOnce() -> String) {
        // One pointer's values may all be odd, and hide nothing else.
        const SAME_MAX: usize = 5;
        let same = || self.oddities.iter().filter(|(about, _)| *about == slot);
        let is_told = match self.tells_all {
            true => same().count() >= SAME_MAX,
            false => !self.oddities.is_empty(),
        };
        if is_told {
            return;
        }
        let what = self.told(&what()).into();
        if !same().any(|(_, told)| *told == what) {
            self.oddities.push((slot, what));
        }
    }

    /// With the answer's name, where it has one.
    fn told(&self, what: &str) -> String {
        let text = match &*self.plan.requests[self.request].name {
            "" => what.to_owned(),
            name => format!("{name}: {what}"),
        };
        cut(&text, 2 * limits::NAME_BYTES_MAX).to_owned()
    }

    fn scalar(&mut self, state: &Place, value: Scalar<'_>) -> Result<(), String> {
        for slot in &state.slots {
            self.found.set(usize::from(*slot));
            self.take(*slot, value);
        }
        if !state.lists.is_empty() {
            if !matches!(value, Scalar::Null) {
                let pointer = named(&state.pointer);
                return Err(self.told(&format!("{pointer} is neither an array nor an object")));
            }
            self.found_lists(state);
        }
        Ok(())
    }

    fn found_lists(&mut self, state: &Place) {
        for list in &state.lists {
            self.found
                .set(self.plan.slots.len() + 2 * usize::from(*list));
        }
    }

    /// An array or an object, before its elements.
    fn inner(&mut self, state: &Place) -> Result<(), String> {
        self.found_lists(state);
        for slot in &state.slots {
            self.found.set(usize::from(*slot));
            let kind = self.plan.slots[usize::from(*slot)].kind;
            self.taken[usize::from(*slot)] = Taken::Unset;
            // A pointer with less preference, or to the elements, may lead into it.
            if state.is_inner() {
                continue;
            }
            if kind == SlotKind::Status {
                let pointer = named(&self.plan.slots[usize::from(*slot)].pointer);
                return Err(self.told(&format!("{pointer} is not a text")));
            }
            self.odd_slot(*slot, |p| format!("{p} is neither a text nor a number"));
        }
        Ok(())
    }

    fn take(&mut self, slot: SlotId, value: Scalar<'_>) {
        let place = usize::from(slot);
        let text = |bytes_max| value.text(bytes_max).map_or(Taken::Unset, Taken::Text);
        let taken = match self.plan.slots[place].kind {
            SlotKind::Text { bytes_max } => text(bytes_max),
            SlotKind::Status => text(limits::NAME_BYTES_MAX),
            SlotKind::Time => self.time(slot, value),
            SlotKind::Truth => match value {
                Scalar::Bool(truth) => Taken::Bool(truth),
                Scalar::Null => Taken::Unset,
                _ => {
                    self.odd_slot(slot, |p| format!("{p} is neither true nor false"));
                    Taken::Unset
                }
            },
            SlotKind::Attempt | SlotKind::Total => match (value, value.whole()) {
                (_, Some(number)) => Taken::Int(number),
                (Scalar::Null | Scalar::Text(""), None) => Taken::Unset,
                (_, None) => {
                    self.odd_slot(slot, |p| {
                        format!("{p} is not a whole number: {}", found(value))
                    });
                    Taken::Unset
                }
            },
            SlotKind::Attribute => match value {
                Scalar::Null => Taken::Unset,
                Scalar::Bool(truth) => Taken::Bool(truth),
                Scalar::Int(number) => Taken::Int(number),
                Scalar::Float(number) => Taken::Float(number),
                Scalar::Text(_) => text(limits::ATTRIBUTE_BYTES_MAX),
            },
            SlotKind::Order => match value {
                Scalar::Int(number) => Taken::Float(number as f64),
                Scalar::Float(number) => Taken::Float(number),
                Scalar::Text(text) => match self.plan.definition.times.of_text(text) {
                    Told::At(time) => Taken::Time(time),
                    Told::Unset => Taken::Unset,
                    Told::Nonsense => Taken::Text(cut(text, limits::NAME_BYTES_MAX).into()),
                },
                Scalar::Null | Scalar::Bool(_) => Taken::Unset,
            },
            SlotKind::Ids => return self.take_id(place, value),
        };
        self.taken[place] = taken;
    }

    fn take_id(&mut self, place: usize, value: Scalar<'_>) {
        let Some(id) = value.text(limits::ATTRIBUTE_BYTES_MAX) else {
            return;
        };
        if self.is_full() {
            self.overflow();
            return;
        }
        self.kept += 1;
        match &mut self.taken[place] {
            Taken::Ids(ids) => ids.push(id),
            taken => *taken = Taken::Ids(vec![id]),
        }
    }

    fn time(&mut self, slot: SlotId, value: Scalar<'_>) -> Taken {
        let times = &self.plan.definition.times;
        let told = match value {
            Scalar::Null => Told::Unset,
            Scalar::Text(text) => times.of_text(text),
            Scalar::Int(number) => times.of_int(number),
            Scalar::Float(number) => times.of_float(number),
            Scalar::Bool(_) => Told::Nonsense,
        };
        match told {
            Told::At(time) => Taken::Time(time),
            Told::Unset => Taken::Unset,
            Told::Nonsense => {
                self.odd_slot(slot, |p| format!("{p} is not a time: {}", found(value)));
                Taken::Unset
            }
        }
    }

    /// The first that there is, taken out.
    fn first(&mut self, slots: &Slots) -> Option<Taken> {
        let all = &mut self.taken[usize::from(slots.start)..usize::from(slots.end)];
        let set = all.iter_mut().find(|taken| !matches!(taken, Taken::Unset));
        set.map(std::mem::take)
    }

    fn text(&mut self, slots: &Slots) -> Option<Box<str>> {
        match self.first(slots) {
            Some(Taken::Text(text)) => Some(text),
            _ => None,
        }
    }

    fn wall(&mut self, slots: &Slots) -> Option<Wall> {
        match self.first(slots) {
            Some(Taken::Time(time)) => Some(time),
            _ => None,
        }
    }

    /// As the definition counts, from 1 on.
    fn attempt(&mut self, fields: &PlannedFields) -> Option<u32> {
        match self.first(&fields.attempt) {
            Some(Taken::Int(number)) => {
                let from_one = number
                    .saturating_sub(fields.first_attempt)
                    .saturating_add(1);
                Some(u32::try_from(from_one.max(1)).unwrap_or(u32::MAX))
            }
            _ => None,
        }
    }

    fn attributes(&mut self, fields: &PlannedFields) -> Attributes {
        let mut attributes = Vec::new();
        for (name, slots) in &fields.attributes {
            let value = match self.first(slots) {
                Some(Taken::Text(text)) => Value::Str(text),
                Some(Taken::Int(number)) => Value::Int(number),
                Some(Taken::Float(number)) => Value::Float(number),
                Some(Taken::Bool(truth)) => Value::Bool(truth),
                _ => continue,
            };
            attributes.push((name.clone(), value));
        }
        attributes.into()
    }

    fn workflow(&mut self) -> Result<WorkflowPart, String> {
        let fields = &self.plan.workflow;
        Ok(WorkflowPart {
            id: self.text(&fields.id),
            progress: self.progress(fields)?,
            attempt: self.attempt(fields),
            url: self.text(&fields.url),
            attributes: self.attributes(fields),
        })
    }

    fn progress(&mut self, fields: &PlannedFields) -> Result<Progress, String> {
        let (status, state) = self.status(fields)?;
        let (start, end) = (self.wall(&fields.start), self.wall(&fields.end));
        let error = self.text(&fields.error);
        let is_complete = matches!(self.first(&fields.complete), Some(Taken::Bool(true)));
        // Complete, and no status that says how.
        let is_complete = is_complete && (state == State::Running || end.is_some());
        let state = match (state, &error) {
            (State::Ended(_), _) => state,
            (_, Some(_)) if is_complete => State::Ended(Outcome::Failure),
            (_, None) if is_complete => State::Ended(Outcome::Success),
            _ => state,
        };
        Ok(Progress {
            status,
            state,
            queued: self.wall(&fields.queued),
            start,
            end,
            error,
        })
    }

    fn status(&mut self, fields: &PlannedFields) -> Result<(Option<Box<str>>, State), String> {
        for slot in fields.status.clone() {
            let taken = std::mem::take(&mut self.taken[usize::from(slot)]);
            let Taken::Text(word) = taken else { continue };
            let state = match self.plan.meaning(&word) {
                Some(Meaning::State(state)) => state,
                Some(Meaning::Unset) => continue,
                None => {
                    let unknown = |p: &str| format!("{p}: unknown status {:?}", cut(&word, 64));
                    match self.plan.unknown_status() {
                        UnknownStatus::Refused if self.tells_all => {
                            self.odd_slot(slot, unknown);
                            State::Running
                        }
                        UnknownStatus::Refused => {
                            let pointer = named(&self.plan.slots[usize::from(slot)].pointer);
                            return Err(self.told(&unknown(pointer)));
                        }
                        UnknownStatus::Means(state) => {
                            self.odd_slot(slot, unknown);
                            state
                        }
                    }
                }
            };
            return Ok((Some(word), state));
        }
        Ok((None, State::Pending))
    }

    fn is_full(&self) -> bool {
        self.kept >= limits::STAGES_MAX
    }

    fn overflow(&mut self) {
        let max = limits::STAGES_MAX;
        self.odd(|| format!("more than {max} stages: only the first {max} are watched"));
    }

    /// An element of these lists begins.
    fn begin(&mut self, lists: &[ListId], is_keyed: bool) {
        for list in lists {
            let id = usize::from(*list);
            let slots = &self.plan.lists[id].slots;
            self.taken[usize::from(slots.start)..usize::from(slots.end)].fill(Taken::Unset);
            if is_keyed {
                let key = self.keys[id].get_or_insert_default();
                key.clear();
                key.push_str(&self.key);
            } else {
                self.keys[id] = None;
            }
        }
    }

    /// It ends; what was gathered since `mark` is within it.
    fn end(
        &mut self,
        lists: &[ListId],
        place: &Place,
        was: Was,
        mark: usize,
    ) -> Result<(), String> {
        for list in lists {
            let planned = &self.plan.lists[usize::from(*list)];
            let is_stage = match was {
                Was::Object => true,
                Was::Null => false,
                Was::Array => takes_arrays(place),
                Was::Scalar => place.slots.iter().any(|slot| planned.slots.contains(slot)),
            };
            if was == Was::Null {
                continue;
            }
            if !is_stage {
                let pointer = named(&planned.pointer);
                let what = format!("what is in {pointer} is neither an object nor null");
                return Err(self.told(&what));
            }
            let element = self.element(*list, mark)?;
            self.elements.extend(element);
        }
        Ok(())
    }

    fn element(&mut self, list: ListId, mark: usize) -> Result<Option<Element>, String> {
        let planned = &self.plan.lists[usize::from(list)];
        let bit = self.plan.slots.len() + 2 * usize::from(list) + 1;
        self.found.set(bit);
        // Others may be of a list over the same elements.
        let within = |e: &mut Element| self.plan.lists[usize::from(e.list)].outer == Some(list);
        let nested: Vec<_> = match self.elements.len() > mark {
            true => self.elements.extract_if(mark.., within).collect(),
            false => Vec::new(),
        };
        let mut except = planned.except.iter();
        let is_excepted = except.any(|(slots, values)| {
            let text = self.text(slots);
            text.is_some_and(|text| values.contains(&text))
        });
        if is_excepted {
            self.kept -= nested.len();
            return Ok(None);
        }
        let id = self.text(&planned.fields.id);
        let Some(key) = self.element_key(list, planned, id.as_deref()) else {
            let pointer = named(&planned.pointer);
            self.odd(|| format!("what is in {pointer} has no key and no id; left out"));
            self.kept -= nested.len();
            return Ok(None);
        };
        if self.is_full() {
            self.overflow();
            return Ok(None);
        }
        self.kept += 1;
        let kind = self.text(&planned.kind).unwrap_or_else(|| {
            let name = match &self.keys[usize::from(list)] {
                Some(key) => Cow::Borrowed(&**key),
                None if self.plan.plain => Cow::Borrowed(&*key),
                None => Cow::Owned(unescaped_key(&key)),
            };
            match cut(&name, limits::NAME_BYTES_MAX) {
                "" => key.clone(),
                name => name.into(),
            }
        });
        let progress = self.progress(&planned.fields)?;
        let join = self.join(planned, &key);
        Ok(Some(Element {
            list,
            stage: StageSnapshot {
                path: key,
                parent: None,
                attempt: self.attempt(&planned.fields).unwrap_or(0),
                kind,
                id,
                url: self.text(&planned.fields.url),
                attributes: self.attributes(&planned.fields),
                progress,
            },
            join,
            nested,
        }))
    }

    /// The parts of its key, so joined that no two keys are one; where there is one list with keys of one part, as it is.
    fn element_key(
        &mut self,
        list: ListId,
        planned: &PlannedList,
        id: Option<&str>,
    ) -> Option<Box<str>> {
        let plain = self.plan.plain;
        let joined = |key: &str| match plain || !key.contains(['~', '/']) {
            true => key.into(),
            false => escaped(key).into(),
        };
        if planned.key.is_empty() {
            let key = match &self.keys[usize::from(list)] {
                Some(key) => cut(key, limits::ATTRIBUTE_BYTES_MAX),
                None => id?,
            };
            return (!key.is_empty()).then(|| joined(key));
        }
        let mut whole: Option<Box<str>> = None;
        for slot in planned.key.clone() {
            let part = match std::mem::take(&mut self.taken[usize::from(slot)]) {
                Taken::Text(part) => part,
                _ => Box::default(),
            };
            whole = Some(match whole {
                None if part.is_empty() => return None,
                None if plain => part,
                None => joined(&part),
                Some(before) => format!("{before}/{}", joined(&part)).into(),
            });
        }
        whole
    }

    fn join(&mut self, planned: &PlannedList, key: &str) -> Option<Box<Join>> {
        let is_asked_for = planned.is_asked_for;
        let has_joins = is_asked_for
            || !planned.number_by.is_empty()
            || !planned.parent.is_empty()
            || !planned.child_ids.is_empty();
        has_joins.then(|| {
            let join = Join {
                parent: self.text(&planned.parent),
                child_ids: match self.first(&planned.child_ids) {
                    Some(Taken::Ids(ids)) => ids,
                    _ => Vec::new(),
                },
                order: match self.first(&planned.number_by) {
                    Some(Taken::Float(number)) => Order::Number(number),
                    Some(Taken::Time(time)) => Order::At(time),
                    Some(Taken::Text(text)) => Order::Text(text),
                    _ => Order::Last,
                },
                key: is_asked_for.then(|| key.into()),
            };
            join.into()
        })
    }
}

/// A pointer for people.
fn named(pointer: &str) -> &str {
    match pointer {
        "" => "the answer",
        pointer => pointer,
    }
}

/// A value for people.
fn found(value: Scalar<'_>) -> String {
    format!("{:?}", value.text(64).unwrap_or_default())
}

/// The inverse of what [`Reader::element_key`] does, with a slash between its parts.
pub(super) fn unescaped_key(key: &str) -> String {
    key.replace("~1", "/").replace("~0", "~")
}

fn takes_arrays(state: &Place) -> bool {
    state.other.is_some() || state.members.iter().any(|m| m.index.is_some())
}

/// A value at a place.
struct At<'r, 'p> {
    reader: &'r mut Reader<'p>,
    state: StateId,
}

impl<'p> At<'_, 'p> {
    fn place(&self) -> &'p Place {
        &self.reader.plan.states[self.state as usize]
    }

    fn scalar<E: de::Error>(self, value: Scalar<'_>) -> Result<Was, E> {
        let place = self.place();
        self.reader.scalar(place, value).map_err(E::custom)?;
        Ok(match value {
            Scalar::Null => Was::Null,
            _ => Was::Scalar,
        })
    }
}

impl<'de> DeserializeSeed<'de> for At<'_, '_> {
    type Value = Was;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Was, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_, '_> {
    type Value = Was;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Was, E> {
        self.scalar(Scalar::Null)
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Was, E> {
        self.scalar(Scalar::Bool(truth))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Was, E> {
        self.scalar(Scalar::Int(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Was, E> {
        let whole = i64::try_from(number).map(Scalar::Int);
        self.scalar(whole.unwrap_or(Scalar::Float(number as f64)))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Was, E> {
        self.scalar(Scalar::Float(number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Was, E> {
        self.scalar(Scalar::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Was, A::Error> {
        let place = self.place();
        let Self { reader, .. } = self;
        reader.inner(place).map_err(de::Error::custom)?;
        for index in 0.. {
            let member = place.members.iter().find(|m| m.index == Some(index));
            let step = Step::of(place, member.map(|m| m.to), reader);
            let is_there = match step {
                Step::Past => seq.next_element::<IgnoredAny>()?.is_some(),
                Step::To(state) => seq
                    .next_element_seed(Inner {
                        reader,
                        lists: &place.lists,
                        state,
                        is_keyed: false,
                    })?
                    .is_some(),
            };
            if !is_there {
                break;
            }
            reader.count(place, step);
        }
        Ok(Was::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Was, A::Error> {
        let place = self.place();
        let Self { reader, .. } = self;
        reader.inner(place).map_err(de::Error::custom)?;
        loop {
            let key = Key {
                place,
                copy: (!place.lists.is_empty()).then_some(&mut reader.key),
            };
            let Some(member) = map.next_key_seed(key)? else {
                break;
            };
            let step = Step::of(place, member, reader);
            match step {
                Step::Past => drop(map.next_value::<IgnoredAny>()?),
                Step::To(state) => map.next_value_seed(Inner {
                    reader,
                    lists: &place.lists,
                    state,
                    is_keyed: true,
                })?,
            }
            reader.count(place, step);
        }
        Ok(Was::Object)
    }
}

/// What becomes of an element.
#[derive(Clone, Copy)]
enum Step {
    Past,
    To(StateId),
}

impl Step {
    fn of(place: &Place, member: Option<StateId>, reader: &Reader<'_>) -> Step {
        // Those that are not kept any more need not be looked at.
        let others_count = place.lists.is_empty() || !reader.is_full();
        let other = place.other.filter(|_| others_count);
        member.or(other).map_or(Step::Past, Step::To)
    }
}

impl Reader<'_> {
    /// An element was there.
    fn count(&mut self, place: &Place, step: Step) {
        for list in &place.lists {
            self.seen[usize::from(*list)] += 1;
            if let Step::Past = step {
                self.overflow();
            }
        }
    }
}

/// An element of an array or an object.
struct Inner<'r, 'p> {
    reader: &'r mut Reader<'p>,
    /// Of which it is one.
    lists: &'r [ListId],
    state: StateId,
    /// Whether it has a key in an object.
    is_keyed: bool,
}

impl<'de> DeserializeSeed<'de> for Inner<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        let Inner { reader, lists, .. } = self;
        let mark = reader.elements.len();
        reader.begin(lists, self.is_keyed);
        let at = At {
            reader,
            state: self.state,
        };
        let place = at.place();
        let was = json.deserialize_any(at)?;
        let ended = reader.end(lists, place, was, mark);
        ended.map_err(de::Error::custom)
    }
}

/// A key, matched with the members of a place.
struct Key<'k> {
    place: &'k Place,
    /// Where it is kept.
    copy: Option<&'k mut String>,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<StateId>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<StateId>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        if let Some(copy) = self.copy {
            copy.clear();
            copy.push_str(key);
        }
        let mut members = self.place.members.iter();
        Ok(members.find(|m| *m.key == *key).map(|m| m.to))
    }
}
