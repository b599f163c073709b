//! One body read, as a stream, into what the plan names.

use super::definition::{Meaning, Times, UnknownStatus};
use super::plan::{
    ListId, Plan, PlannedFields, PlannedList, SlotId, SlotKind, Slots, State as Place, StateId,
};
use super::time_format::Told;
use super::{Oddity, Unreadable};
use crate::core::event::{Attributes, Value};
use crate::core::limits;
use crate::core::pieces::{self, Pieces};
use crate::core::snapshot::{Mark, Outcome, Progress, StageSnapshot, Stages, State};
use crate::core::time::Wall;
use crate::syntax::pointer::escaped;
use crate::text::cut;
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
    /// The elements of its lists, each behind the one that it is nested in. Their paths are their keys, their attempts 0
    /// where there are none.
    pub(super) stages: Stages,
    /// What else there is to each of them.
    pub(super) elements: Pieces<Element>,
    pub(super) oddity: Option<Box<str>>,
    pub(super) found: Found,
    /// Where a list or the workflow's status led nowhere: what is there instead, for people.
    pub(super) there: Option<Box<str>>,
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

/// Beside a stage: where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Element {
    pub(super) list: ListId,
    /// The place of the element that it is nested in.
    pub(super) within: Option<pieces::Place>,
    pub(super) join: Option<Box<Join>>,
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

    /// Whether there is anything that may say how far the workflow is.
    pub(super) fn end_of_workflow(&self, plan: &Plan) -> bool {
        let fields = &plan.workflow;
        let mut slots = fields.status.clone().chain(fields.complete.clone());
        slots.any(|slot| self.slot(usize::from(slot)))
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
    reader.odd.tells_all = true;
    let state = plan.requests[request].start;
    let seed = At {
        reader: &mut reader,
        state,
    };
    if seed.deserialize(&mut json).is_ok() && request == 0 {
        drop(reader.workflow());
    }
    reader.odd.all().collect()
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
    fn text(&self, bytes_max: usize) -> Option<Cow<'_, str>> {
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
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Taken {
    /// Nothing, null, or something that is as good as nothing.
    #[default]
    Unset,
    /// The slot's text.
    Text,
    Int(i64),
    Float(f64),
    Bool(bool),
    Time(Wall),
    /// The slot's keys of children.
    Ids,
}

/// The kind of a value that was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Was {
    Null,
    Scalar,
    Array,
    Object,
}

/// For people.
impl fmt::Display for Was {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Was::Null => "null",
            Was::Scalar => "a single value",
            Was::Array => "an array",
            Was::Object => "an object",
        })
    }
}

struct Reader<'p> {
    plan: &'p Plan,
    request: usize,
    held: Held,
    /// The key at hand.
    key: String,
    /// What is kept, and as a blank what is not read to its end.
    stages: Stages,
    elements: Pieces<Element>,
    /// Of each list the place of the element at hand.
    open: Vec<usize>,
    /// Of each slot the keys of children.
    child_ids: Vec<Vec<Box<str>>>,
    /// How many of these are kept.
    child_ids_kept: usize,
    /// Elements seen, by list.
    seen: Vec<usize>,
    found: Found,
    there: There,
    odd: Odd<'p>,
}

/// The first keys of the object that the workflow is in, or of the whole answer.
#[derive(Default)]
struct There {
    keys: String,
    count: usize,
    /// Its state.
    of: Option<StateId>,
}

impl There {
    const KEYS_MAX: usize = 12;

    fn note(&mut self, key: &str, of: StateId) {
        const KEY_BYTES_MAX: usize = 64;
        if self.of != Some(of) {
            self.keys.clear();
            self.count = 0;
            self.of = Some(of);
        }
        self.count += 1;
        if self.count > Self::KEYS_MAX {
            return;
        }
        if self.count > 1 {
            self.keys.push_str(", ");
        }
        self.keys.extend(cut(key, KEY_BYTES_MAX).escape_debug());
    }

    fn told(&self, plan: &Plan) -> String {
        let of = self.of.map_or("", |of| &plan.states[of as usize].pointer);
        let more = match self.count.saturating_sub(Self::KEYS_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{} has {}{more}", named(of), self.keys)
    }
}

/// What the objects at hand say. It is overwritten from element to element, so that nothing is allocated for what is
/// only looked at.
struct Held {
    /// Of each slot what it holds.
    taken: Vec<Taken>,
    /// Of each slot the text, where it holds one.
    texts: Vec<String>,
    /// Of each list the key that the element at hand has in its object.
    keys: Vec<Option<String>>,
}

/// What in the body makes no sense: the first thing; or all of it, with the slots that it is about.
struct Odd<'p> {
    plan: &'p Plan,
    request: usize,
    noted: Vec<(Option<SlotId>, Box<str>)>,
    tells_all: bool,
}

impl<'p> Reader<'p> {
    fn new(plan: &'p Plan, request: usize) -> Self {
        let (slots, lists) = (plan.slots.len(), plan.lists.len());
        Reader {
            plan,
            request,
            held: Held {
                taken: vec![Taken::Unset; slots],
                texts: vec![String::new(); slots],
                keys: vec![None; lists],
            },
            key: String::new(),
            stages: Stages::default(),
            elements: Pieces::default(),
            open: vec![0; lists],
            child_ids: vec![Vec::new(); slots],
            child_ids_kept: 0,
            seen: vec![0; lists],
            found: Found::new(plan),
            there: There::default(),
            odd: Odd {
                plan,
                request,
                noted: Vec::new(),
                tells_all: false,
            },
        }
    }

    fn finish(mut self, was: Was) -> Result<Part, Unreadable> {
        let plan = self.plan;
        let planned = &plan.requests[self.request];
        let shape = |what: String| Err(Unreadable::shape(&self.odd.told(&what)));
        if self.request == 0 && !self.found_any() {
            let of_main = |slot: &&super::plan::PlannedSlot| slot.list.is_none();
            let slots = plan.slots.iter().filter(of_main).map(|slot| &*slot.pointer);
            let lists = plan.lists.iter().filter(|list| list.request == 0);
            let wanted: Vec<_> = slots.chain(lists.map(|list| &*list.pointer)).collect();
            return shape(format!(
                "{was} with nothing of what is looked for: {}",
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
            next: self.held.text(&planned.next).map(Into::into),
            total: match self.held.first(&planned.total) {
                Some((_, Taken::Int(total))) => u64::try_from(total).ok(),
                _ => None,
            },
        };
        let workflow = match self.request {
            0 => Some(self.workflow().map_err(|e| Unreadable::shape(&e))?.into()),
            _ => None,
        };
        Ok(Part {
            request: self.request,
            there: self.there(was),
            page,
            workflow,
            stages: self.stages,
            elements: self.elements,
            oddity: self.odd.first().map(|odd| {
                let told = odd.to_string();
                cut(&told, 3 * limits::NAME_BYTES_MAX).into()
            }),
            found: self.found,
        })
    }

    fn there(&self, was: Was) -> Option<Box<str>> {
        let mut lists = self.plan.outermost(self.request);
        let is_nowhere = lists.any(|list| !self.found.list(self.plan, usize::from(list)))
            || self.request == 0 && !self.found.end_of_workflow(self.plan);
        if !is_nowhere {
            return None;
        }
        match (was, self.there.keys.is_empty()) {
            (Was::Null, _) | (Was::Object, true) => None,
            (_, true) => Some(format!("the answer is {was}").into()),
            (_, false) => Some(self.there.told(self.plan).into()),
        }
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

    fn scalar(&mut self, state: &Place, value: Scalar<'_>) -> Result<(), String> {
        for slot in &state.slots {
            self.found.set(usize::from(*slot));
            self.take(*slot, value);
        }
        if !state.lists.is_empty() {
            if !matches!(value, Scalar::Null) {
                let pointer = named(&state.pointer);
                let what = format!("{pointer} is neither an array nor an object");
                let list = state
                    .lists
                    .first()
                    .map(|list| &self.plan.lists[usize::from(*list)]);
                let odd = Oddity {
                    place: list.map(|list| list.place.then("list")),
                    what: self.odd.told(&what).into(),
                };
                return Err(odd.to_string());
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
            self.held.taken[usize::from(*slot)] = Taken::Unset;
            // A pointer with less preference, or to the elements, may lead into it.
            if state.is_inner() {
                continue;
            }
            if kind == SlotKind::Status {
                let pointer = named(&self.plan.slots[usize::from(*slot)].pointer);
                let what = self.odd.told(&format!("{pointer} is not a text"));
                return Err(self.odd.of(Some(*slot), &what).to_string());
            }
            self.odd
                .slot(*slot, |p| format!("{p} is neither a text nor a number"));
        }
        Ok(())
    }

    fn take(&mut self, slot: SlotId, value: Scalar<'_>) {
        let place = usize::from(slot);
        let taken = match self.plan.slots[place].kind {
            SlotKind::Text { bytes_max } => self.held.write(place, value.text(bytes_max)),
            SlotKind::Status => self.held.write(place, value.text(limits::NAME_BYTES_MAX)),
            SlotKind::Time => self.time(slot, value),
            SlotKind::Truth => match value {
                Scalar::Bool(truth) => Taken::Bool(truth),
                Scalar::Null => Taken::Unset,
                _ => {
                    self.odd
                        .slot(slot, |p| format!("{p} is neither true nor false"));
                    Taken::Unset
                }
            },
            SlotKind::Attempt | SlotKind::Total => match (value, value.whole()) {
                (_, Some(number)) => Taken::Int(number),
                (Scalar::Null | Scalar::Text(""), None) => Taken::Unset,
                (_, None) => {
                    self.odd.slot(slot, |p| {
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
                Scalar::Text(_) => {
                    let text = value.text(limits::ATTRIBUTE_BYTES_MAX);
                    self.held.write(place, text)
                }
            },
            SlotKind::Order => match value {
                Scalar::Int(number) => Taken::Float(number as f64),
                Scalar::Float(number) => Taken::Float(number),
                Scalar::Text(text) => match self.plan.definition.times.of_text(text) {
                    Told::At(time) | Told::Unlikely(time) => Taken::Time(time),
                    Told::Unset => Taken::Unset,
                    Told::Nonsense => {
                        let text = cut(text, limits::NAME_BYTES_MAX);
                        self.held.write(place, Some(text.into()))
                    }
                },
                Scalar::Null | Scalar::Bool(_) => Taken::Unset,
            },
            SlotKind::Ids => return self.take_id(place, value),
        };
        self.held.taken[place] = taken;
    }

    fn take_id(&mut self, place: usize, value: Scalar<'_>) {
        let Some(id) = value.text(limits::ATTRIBUTE_BYTES_MAX) else {
            return;
        };
        if self.is_full() {
            self.overflow();
            return;
        }
        self.child_ids_kept += 1;
        let ids = &mut self.child_ids[place];
        if self.held.taken[place] != Taken::Ids {
            ids.clear();
        }
        ids.push(id.into());
        self.held.taken[place] = Taken::Ids;
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
            Told::Unlikely(time) => {
                self.odd.slot(slot, |p| {
                    let year = time.to_string();
                    let year = year.split_once('-').map_or("", |(year, _)| year);
                    let meant = meant(times, value);
                    format!("{p} is a time in {year}: {}{meant}", found(value))
                });
                Taken::Time(time)
            }
            Told::Unset => Taken::Unset,
            Told::Nonsense => {
                self.odd.slot(slot, |p| {
                    let meant = meant(times, value);
                    format!("{p} is not a time: {}{meant}", found(value))
                });
                Taken::Unset
            }
        }
    }

    fn workflow(&mut self) -> Result<WorkflowPart, String> {
        let fields = &self.plan.workflow;
        let status = self.held.status(fields, &mut self.odd)?;
        let held = &self.held;
        Ok(WorkflowPart {
            id: held.text(&fields.id).map(Into::into),
            progress: held.progress(self.plan, fields, status).into(),
            attempt: held.attempt(fields),
            url: held.text(&fields.url).map(Into::into),
            attributes: held.attributes(fields),
        })
    }

    fn is_full(&self) -> bool {
        self.stages.len() + self.child_ids_kept >= limits::STAGES_MAX
    }

    fn overflow(&mut self) {
        let max = limits::STAGES_MAX;
        self.odd
            .tell(|| format!("more than {max} stages: only the first {max} are watched"));
    }

    /// An element of these lists begins: it has its place before what is within it.
    fn begin(&mut self, lists: &[ListId], is_keyed: bool) -> Mark {
        let mark = self.stages.mark();
        for list in lists {
            let id = usize::from(*list);
            let planned = &self.plan.lists[id];
            self.held.forget(&planned.slots);
            let key = &mut self.held.keys[id];
            if is_keyed {
                let key = key.get_or_insert_default();
                key.clear();
                key.push_str(&self.key);
            } else {
                *key = None;
            }
            self.open[id] = self.stages.len();
            self.stages.push_blank();
            let outer = planned.outer.filter(|_| !self.plan.is_outermost(planned));
            self.elements.push(Element {
                list: *list,
                within: outer.map(|outer| pieces::Place::of(self.open[usize::from(outer)])),
                join: None,
            });
        }
        mark
    }

    /// It ends; what stands behind `mark` is within it.
    fn end(&mut self, lists: &[ListId], place: &Place, was: Was, mark: Mark) -> Result<(), String> {
        let mut left_out = Vec::new();
        for list in lists {
            let planned = &self.plan.lists[usize::from(*list)];
            let is_stage = match was {
                Was::Null => false,
                Was::Object => true,
                Was::Array => takes_arrays(place),
                Was::Scalar => place.slots.iter().any(|slot| planned.slots.contains(slot)),
            };
            if !is_stage && was != Was::Null {
                let pointer = named(&planned.pointer);
                let what = format!("what is in {pointer} is neither an object nor null");
                return Err(self.odd.told(&what));
            }
            if !is_stage || !self.element(*list)? {
                left_out.push(self.open[usize::from(*list)]);
            }
        }
        if !left_out.is_empty() {
            self.leave_out(&left_out, mark);
        }
        Ok(())
    }

    /// Takes these back, and what is nested in them. All stand behind `mark`.
    fn leave_out(&mut self, left_out: &[usize], mark: Mark) {
        let is_all = left_out.len() == self.stages.len() - mark.stages();
        let others = match is_all {
            true => Vec::new(),
            false => self.others(left_out, mark.stages()),
        };
        self.stages.truncate(mark);
        self.elements.truncate(mark.stages());
        for (stage, element) in others {
            self.stages.push(stage);
            self.elements.push(element);
        }
    }

    /// What stands from there on and is not nested in these: of a list over the same elements, or of one that they are
    /// not part of.
    fn others(&self, left_out: &[usize], from: usize) -> Vec<(StageSnapshot, Element)> {
        let mut others = Vec::new();
        // Where each comes to stand.
        let mut places: Vec<Option<usize>> = Vec::new();
        for place in from..self.stages.len() {
            let mut element = self.elements[place].clone();
            let within = element.within.map(pieces::Place::get);
            let stays = match within.and_then(|within| within.checked_sub(from)) {
                Some(within) => {
                    element.within = places[within].map(pieces::Place::of);
                    element.within.is_some()
                }
                None => !left_out.contains(&place),
            };
            places.push(stays.then_some(from + others.len()));
            if stays {
                others.push((self.stages.get(place).into(), element));
            }
        }
        others
    }

    /// What the element at hand says. Whether it is a stage.
    fn element(&mut self, list: ListId) -> Result<bool, String> {
        let planned = &self.plan.lists[usize::from(list)];
        let bit = self.plan.slots.len() + 2 * usize::from(list) + 1;
        self.found.set(bit);
        let (plan, held, odd) = (self.plan, &self.held, &mut self.odd);
        let mut except = planned.except.iter();
        let is_excepted = except.any(|(slots, values)| {
            let text = held.text(slots);
            text.is_some_and(|text| values.iter().any(|value| **value == *text))
        });
        if is_excepted {
            return Ok(false);
        }
        let Some(key) = held.element_key(list, planned, plan.plain) else {
            let pointer = named(&planned.pointer);
            odd.tell(|| format!("what is in {pointer} has no key and no id; left out"));
            return Ok(false);
        };
        let name;
        let kind = match held.text(&planned.kind) {
            Some(kind) => kind,
            None => {
                name = match &held.keys[usize::from(list)] {
                    Some(key) => Cow::Borrowed(&**key),
                    None if plan.plain => Cow::Borrowed(&*key),
                    None => unescaped_key(&key),
                };
                match cut(&name, limits::NAME_BYTES_MAX) {
                    "" => &key,
                    name => name,
                }
            }
        };
        let fields = &planned.fields;
        let status = held.status(fields, odd)?;
        let place = self.open[usize::from(list)];
        self.elements[place].join = held.join(planned, &key, &mut self.child_ids);
        self.stages.replace(
            place,
            StageSnapshot {
                path: &*key,
                parent: None,
                attempt: held.attempt(fields).unwrap_or(0),
                kind,
                id: held.text(&fields.id),
                url: held.text(&fields.url),
                attributes: held.attributes(fields),
                progress: held.progress(self.plan, fields, status),
            },
        );
        Ok(true)
    }
}

impl Held {
    fn forget(&mut self, slots: &Slots) {
        self.taken[usize::from(slots.start)..usize::from(slots.end)].fill(Taken::Unset);
    }

    fn write(&mut self, slot: usize, text: Option<Cow<'_, str>>) -> Taken {
        let Some(text) = text else {
            return Taken::Unset;
        };
        let held = &mut self.texts[slot];
        held.clear();
        held.push_str(&text);
        Taken::Text
    }

    /// The first that there is.
    fn first(&self, slots: &Slots) -> Option<(usize, Taken)> {
        let mut all = slots.clone().map(|slot| {
            let slot = usize::from(slot);
            (slot, self.taken[slot])
        });
        all.find(|(_, taken)| *taken != Taken::Unset)
    }

    fn text(&self, slots: &Slots) -> Option<&str> {
        match self.first(slots) {
            Some((slot, Taken::Text)) => Some(&self.texts[slot]),
            _ => None,
        }
    }

    fn wall(&self, slots: &Slots) -> Option<Wall> {
        match self.first(slots) {
            Some((_, Taken::Time(time))) => Some(time),
            _ => None,
        }
    }

    /// As the definition counts, from 1 on.
    fn attempt(&self, fields: &PlannedFields) -> Option<u32> {
        match self.first(&fields.attempt) {
            Some((_, Taken::Int(number))) => {
                let from_one = number
                    .saturating_sub(fields.first_attempt)
                    .saturating_add(1);
                Some(u32::try_from(from_one.max(1)).unwrap_or(u32::MAX))
            }
            _ => None,
        }
    }

    fn attributes(&self, fields: &PlannedFields) -> Attributes {
        let all = fields.attributes.iter();
        all.filter_map(|(name, slots)| {
            let value = match self.first(slots)? {
                (slot, Taken::Text) => Value::Str((*self.texts[slot]).into()),
                (_, Taken::Int(number)) => Value::Int(number),
                (_, Taken::Float(number)) => Value::Float(number),
                (_, Taken::Bool(truth)) => Value::Bool(truth),
                _ => return None,
            };
            Some((name.clone(), value))
        })
        .collect()
    }

    fn progress<'a>(
        &'a self,
        plan: &'a Plan,
        fields: &PlannedFields,
        (status, state): (Option<usize>, State),
    ) -> Progress<&'a str> {
        let (start, end) = (self.wall(&fields.start), self.wall(&fields.end));
        let error = self.text(&fields.error);
        let is_complete = matches!(self.first(&fields.complete), Some((_, Taken::Bool(true))));
        // Complete, and no status that says how.
        let is_complete = is_complete && (state == State::Running || end.is_some());
        let state = match (state, error) {
            (State::Ended(_), _) => state,
            (_, Some(_)) if is_complete => State::Ended(Outcome::Failure),
            (_, None) if is_complete => State::Ended(Outcome::Success),
            _ => state,
        };
        Progress {
            status: status.map(|slot| plan.status_name(&self.texts[slot])),
            state,
            queued: self.wall(&fields.queued),
            start,
            end,
            error,
        }
    }

    /// The slot of the word for a status, and what it means.
    fn status(
        &self,
        fields: &PlannedFields,
        odd: &mut Odd<'_>,
    ) -> Result<(Option<usize>, State), String> {
        for slot in fields.status.clone() {
            let place = usize::from(slot);
            if self.taken[place] != Taken::Text {
                continue;
            }
            let word = &self.texts[place];
            let state = match odd.plan.meaning(word) {
                Some(Meaning::State(state)) => state,
                Some(Meaning::Unset) => continue,
                None => {
                    let unknown = |p: &str| format!("{p}: unknown status {:?}", cut(word, 64));
                    match odd.plan.unknown_status() {
                        UnknownStatus::Refused if odd.tells_all => {
                            odd.slot(slot, unknown);
                            State::Running
                        }
                        UnknownStatus::Refused => {
                            let what = unknown(named(&odd.plan.slots[place].pointer));
                            return Err(odd.of(Some(slot), &odd.told(&what)).to_string());
                        }
                        UnknownStatus::Means(state) => {
                            odd.slot(slot, unknown);
                            state
                        }
                    }
                }
            };
            return Ok((Some(place), state));
        }
        Ok((None, State::Pending))
    }

    /// The parts of its key, so joined that no two keys are one; where there is one list with keys of one part, as it is.
    fn element_key(
        &self,
        list: ListId,
        planned: &PlannedList,
        plain: bool,
    ) -> Option<Cow<'_, str>> {
        fn joined(key: &str, plain: bool) -> Cow<'_, str> {
            match plain || !key.contains(['~', '/']) {
                true => key.into(),
                false => escaped(key).into(),
            }
        }
        if planned.key.is_empty() {
            let key = match &self.keys[usize::from(list)] {
                Some(key) => cut(key, limits::ATTRIBUTE_BYTES_MAX),
                None => self.text(&planned.fields.id)?,
            };
            return (!key.is_empty()).then(|| joined(key, plain));
        }
        let mut whole: Option<Cow<'_, str>> = None;
        for slot in planned.key.clone() {
            let part = self.text(&(slot..slot + 1)).unwrap_or_default();
            whole = Some(match whole {
                None if part.is_empty() => return None,
                None => joined(part, plain),
                Some(before) => format!("{before}/{}", joined(part, plain)).into(),
            });
        }
        whole
    }

    fn join(
        &self,
        planned: &PlannedList,
        key: &str,
        child_ids: &mut [Vec<Box<str>>],
    ) -> Option<Box<Join>> {
        let is_asked_for = planned.is_asked_for;
        let has_joins = is_asked_for
            || !planned.number_by.is_empty()
            || !planned.parent.is_empty()
            || !planned.child_ids.is_empty();
        has_joins.then(|| {
            let join = Join {
                parent: self.text(&planned.parent).map(Into::into),
                child_ids: match self.first(&planned.child_ids) {
                    Some((slot, Taken::Ids)) => std::mem::take(&mut child_ids[slot]),
                    _ => Vec::new(),
                },
                order: match self.first(&planned.number_by) {
                    Some((_, Taken::Float(number))) => Order::Number(number),
                    Some((_, Taken::Time(time))) => Order::At(time),
                    Some((slot, Taken::Text)) => Order::Text((*self.texts[slot]).into()),
                    _ => Order::Last,
                },
                key: is_asked_for.then(|| key.into()),
            };
            join.into()
        })
    }
}

impl Odd<'_> {
    fn tell(&mut self, what: impl FnOnce() -> String) {
        self.note(None, what);
    }

    fn slot(&mut self, slot: SlotId, what: impl FnOnce(&str) -> String) {
        let pointer = named(&self.plan.slots[usize::from(slot)].pointer);
        self.note(Some(slot), || what(pointer));
    }

    fn note(&mut self, slot: Option<SlotId>, what: impl FnOnce() -> String) {
        // One pointer's values may all be odd, and hide nothing else.
        const SAME_MAX: usize = 5;
        let same = || self.noted.iter().filter(|(about, _)| *about == slot);
        let is_told = match self.tells_all {
            true => same().count() >= SAME_MAX,
            false => !self.noted.is_empty(),
        };
        if is_told {
            return;
        }
        let what = self.told(&what()).into();
        if !same().any(|(_, told)| *told == what) {
            self.noted.push((slot, what));
        }
    }

    fn all(&self) -> impl Iterator<Item = Oddity> {
        let all = self.noted.iter();
        all.map(|(slot, what)| self.of(*slot, what))
    }

    fn first(&self) -> Option<Oddity> {
        self.all().next()
    }

    fn of(&self, slot: Option<SlotId>, what: &str) -> Oddity {
        let slot = slot.map(|slot| &self.plan.slots[usize::from(slot)]);
        Oddity {
            place: slot.map(|slot| slot.place.clone()),
            what: what.into(),
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
}

/// A pointer for people.
fn named(pointer: &str) -> &str {
    match pointer {
        "" => "the answer",
        pointer => pointer,
    }
}

/// What is wrong with such a time, perhaps.
fn meant(times: &Times, value: Scalar<'_>) -> String {
    let count = match value {
        Scalar::Int(count) => Some(count as f64),
        Scalar::Float(count) => Some(count),
        Scalar::Text(text) => text.trim_ascii().parse().ok(),
        Scalar::Null | Scalar::Bool(_) => None,
    };
    let format = count.and_then(|count| times.meant(count));
    format.map_or(String::new(), |format| format!("; is {format} meant?"))
}

/// A value for people.
fn found(value: Scalar<'_>) -> String {
    format!("{:?}", value.text(64).unwrap_or_default())
}

/// The inverse of what [`Reader::element_key`] does, with a slash between its parts.
pub(super) fn unescaped_key(key: &str) -> Cow<'_, str> {
    match key.contains('~') {
        true => key.replace("~1", "/").replace("~0", "~").into(),
        false => key.into(),
    }
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
        let Self { reader, state } = self;
        reader.inner(place).map_err(de::Error::custom)?;
        loop {
            let is_noted = reader.notes_keys_of(state);
            let key = Key {
                place,
                copy: (is_noted || !place.lists.is_empty()).then_some(&mut reader.key),
            };
            let Some(member) = map.next_key_seed(key)? else {
                break;
            };
            if is_noted {
                reader.there.note(&reader.key, state);
            }
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
    fn notes_keys_of(&self, state: StateId) -> bool {
        let planned = &self.plan.requests[self.request];
        if self.plan.absent_is_null {
            return false;
        }
        let is_root = planned.root == Some(state);
        is_root || planned.start == state && self.there.of.is_none_or(|of| of == state)
    }

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
        let mark = reader.begin(lists, self.is_keyed);
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
        // Most keys that are as long end otherwise, and need not be compared whole.
        let last = key.as_bytes().last();
        let is_key = |other: &str| other.as_bytes().last() == last && other == key;
        let mut members = self.place.members.iter();
        Ok(members.find(|m| is_key(&m.key)).map(|m| m.to))
    }
}
