//! One body read, as a stream, into what the plan names.

mod oddities;
mod scratch;
mod visitor;

use super::UnreadableBody;
use super::definition::Times;
use super::oddity::{Oddity, OddityKind};
use super::plan::{ListId, NodeId, Plan, PlanNode, PlannedSlot, SlotId, SlotKind};
use super::time_format::ParsedTime;
use farspan_core::event::Attributes;
use farspan_core::limits;
use farspan_core::limits::cut;
use farspan_core::pieces::{self, Pieces};
use farspan_core::snapshot::{Mark, Progress, StageSnapshot, Stages};
use farspan_core::time::Wall;
use farspan_syntax::mend::mended_text;
use farspan_syntax::pointer::unescaped;
use oddities::{Oddities, SeenKeys};
use scratch::{Scalar, Scratch, SlotValue};
use serde::de::DeserializeSeed;
use std::borrow::Cow;
use std::fmt;
use visitor::ValueVisitor;

/// What one body said.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub(super) request: usize,
    pub(super) page: Page,
    /// Of the main request's answer.
    pub(super) workflow: Option<WorkflowPart>,
    /// The elements of its lists, each behind the one that it is nested in. Their paths are their keys, their attempts 0
    /// where there are none.
    pub(super) stages: Stages,
    /// What else there is to each of them.
    pub(super) elements: Pieces<Element>,
    pub(super) oddity: Option<Box<Oddity>>,
    pub(super) found: Matches,
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
    /// Whether its kind is what it says, and not its key.
    pub(super) has_kind: bool,
    /// The place of the element that it is nested in.
    pub(super) within: Option<pieces::Index>,
    pub(super) links: Option<Box<Links>>,
}

/// What connects an element with others.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Links {
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
pub(super) struct Matches {
    first: u64,
    /// Those that a large mapping has besides.
    more: Box<[u64]>,
}

impl Matches {
    fn new(plan: &Plan) -> Self {
        let bits = plan.slots.len() + 2 * plan.lists.len();
        let more = bits.saturating_sub(64).div_ceil(64);
        Matches {
            first: 0,
            more: vec![0; more].into(),
        }
    }

    fn set(&mut self, bit: usize) {
        match bit / 64 {
            0 => self.first |= 1 << bit,
            word => self.more[word - 1] |= 1 << (bit % 64),
        }
    }

    fn has(&self, bit: usize) -> bool {
        let word = match bit / 64 {
            0 => Some(&self.first),
            word => self.more.get(word - 1),
        };
        word.is_some_and(|word| word >> (bit % 64) & 1 == 1)
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

    pub(super) fn add(&mut self, other: Matches) {
        self.first |= other.first;
        if self.more.is_empty() {
            self.more = other.more;
            return;
        }
        for (word, more) in self.more.iter_mut().zip(other.more) {
            *word |= more;
        }
    }
}

pub(super) fn read<'de, R: serde_json::de::Read<'de>>(
    plan: &Plan,
    request: usize,
    mut json: serde_json::Deserializer<R>,
    buffers: &mut ReadBuffers,
) -> Result<Part, UnreadableBody> {
    let mut reader = Reader::new(plan, request, false, std::mem::take(buffers));
    let visitor = ValueVisitor {
        node: plan.requests[request].start,
        reader: &mut reader,
    };
    let kind = visitor.deserialize(&mut json);
    let kind = kind.and_then(|kind| json.end().map(|()| kind));
    let part = kind.map_err(UnreadableBody::of);
    let part = part.and_then(|kind| reader.finish(kind));
    *buffers = reader.into_buffers();
    part
}

/// All oddities in a body, up to where it is of another shape. A status for which a poll refuses the answer is one too,
/// but for the first: the poll reports it.
pub(super) fn oddities<'de, R: serde_json::de::Read<'de>>(
    plan: &Plan,
    request: usize,
    mut json: serde_json::Deserializer<R>,
) -> Vec<Oddity> {
    let mut reader = Reader::new(plan, request, true, ReadBuffers::default());
    let visitor = ValueVisitor {
        node: plan.requests[request].start,
        reader: &mut reader,
    };
    if visitor.deserialize(&mut json).is_ok() && request == 0 {
        drop(reader.workflow());
    }
    reader.odd.into_all()
}

/// The kind of a value that was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum JsonKind {
    Null,
    Scalar,
    Array,
    Object,
}

/// For people.
impl fmt::Display for JsonKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JsonKind::Null => "null",
            JsonKind::Scalar => "a single value",
            JsonKind::Array => "an array",
            JsonKind::Object => "an object",
        })
    }
}

/// How much of a value an oddity shows.
const FOUND_BYTES_MAX: usize = 64;

/// What a reader keeps for the next body, so that it allocates nothing for what it does not keep of a body.
#[derive(Debug, Default)]
pub struct ReadBuffers {
    held: Scratch,
    key: String,
    open: Vec<usize>,
    child_ids: Vec<Vec<Box<str>>>,
    seen: Vec<usize>,
    there: SeenKeys,
}

struct Reader<'p> {
    plan: &'p Plan,
    request: usize,
    held: Scratch,
    /// The key at hand.
    key: String,
    /// The stages that are kept. An element that is not read to its end is a blank.
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
    found: Matches,
    there: SeenKeys,
    odd: Oddities<'p>,
}

impl<'p> Reader<'p> {
    fn new(plan: &'p Plan, request: usize, wants_all: bool, buffers: ReadBuffers) -> Self {
        let (slots, lists) = (plan.slots.len(), plan.lists.len());
        let ReadBuffers {
            mut held,
            key,
            mut open,
            mut child_ids,
            mut seen,
            there,
        } = buffers;
        held.prepare(slots, lists);
        open.resize(lists, 0);
        child_ids.resize_with(slots, Vec::new);
        seen.resize(lists, 0);
        Reader {
            plan,
            request,
            held,
            key,
            stages: Stages::default(),
            elements: Pieces::default(),
            open,
            child_ids,
            child_ids_kept: 0,
            seen,
            found: Matches::new(plan),
            there,
            odd: Oddities::new(plan, request, wants_all),
        }
    }

    /// Its buffers, emptied.
    fn into_buffers(self) -> ReadBuffers {
        /// A key in a body may be as long as the body.
        const KEY_BYTES_KEPT: usize = 1024;
        let Reader {
            mut held,
            mut key,
            mut open,
            mut child_ids,
            mut seen,
            mut there,
            ..
        } = self;
        held.clear(KEY_BYTES_KEPT);
        key.clear();
        key.shrink_to(KEY_BYTES_KEPT);
        open.clear();
        child_ids.clear();
        seen.clear();
        there.clear();
        ReadBuffers {
            held,
            key,
            open,
            child_ids,
            seen,
            there,
        }
    }

    fn finish(&mut self, was: JsonKind) -> Result<Part, UnreadableBody> {
        let plan = self.plan;
        let planned = &plan.requests[self.request];
        let shape = |what: String| Err(UnreadableBody::shape(&self.odd.named(&what)));
        if self.request == 0 && !self.found_any() {
            let of_main = |slot: &&PlannedSlot| slot.list.is_none();
            let slots = plan.slots.iter().filter(of_main);
            let slots = slots.map(|slot| &*slot.pointer);
            let lists = plan.lists.iter().filter(|list| list.request == 0);
            let wanted: Vec<_> = slots.chain(lists.map(|list| &*list.pointer)).collect();
            return shape(format!(
                "{was} with nothing of what is looked for: {}",
                wanted.join(", ")
            ));
        }
        let start = &plan.nodes[planned.start as usize];
        match was {
            JsonKind::Null | JsonKind::Object => {}
            JsonKind::Scalar if !start.slots.is_empty() => {}
            JsonKind::Array if takes_arrays(start) => {}
            JsonKind::Scalar => return shape("neither an array nor an object".into()),
            JsonKind::Array => return shape("an array, not an object".into()),
        }
        let seen = plan.lists.iter().zip(&self.seen);
        let outermost = seen.filter(|(list, _)| plan.is_outermost(list));
        let page = Page {
            elements: outermost.map(|(_, seen)| *seen).max().unwrap_or(0),
            next: self.held.text(&planned.next).map(Into::into),
            total: match self.held.first(&planned.total) {
                Some((_, SlotValue::Int(total))) => u64::try_from(total).ok(),
                _ => None,
            },
        };
        let workflow = match self.request {
            0 => Some(self.workflow().map_err(|e| UnreadableBody::shape(&e))?),
            _ => None,
        };
        Ok(Part {
            request: self.request,
            there: self.there(was),
            page,
            workflow,
            stages: std::mem::take(&mut self.stages),
            elements: std::mem::take(&mut self.elements),
            oddity: self.odd.take_first(),
            found: std::mem::take(&mut self.found),
        })
    }

    fn there(&self, was: JsonKind) -> Option<Box<str>> {
        let mut lists = self.plan.outermost(self.request);
        let is_nowhere = lists.any(|list| !self.found.list(self.plan, usize::from(list)))
            || self.request == 0 && !self.found.end_of_workflow(self.plan);
        if !is_nowhere {
            return None;
        }
        match (was, self.there.keys.is_empty()) {
            (JsonKind::Null, _) | (JsonKind::Object, true) => None,
            (_, true) => Some(format!("the answer is {was}").into()),
            (_, false) => Some(self.there.text(self.plan).into()),
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

    fn scalar(&mut self, state: &PlanNode, value: Scalar<'_>) -> Result<(), Box<str>> {
        for slot in &state.slots {
            self.found.set(usize::from(*slot));
            self.take(*slot, value);
        }
        if let Some(list) = state.lists.first() {
            if !matches!(value, Scalar::Null) {
                return Err(self.odd.of_list(*list, OddityKind::NotList).text());
            }
            self.found_lists(state);
        }
        Ok(())
    }

    fn found_lists(&mut self, state: &PlanNode) {
        for list in &state.lists {
            self.found
                .set(self.plan.slots.len() + 2 * usize::from(*list));
        }
    }

    /// An array or an object, before its elements. Whether it stands in the place of a single value.
    fn inner(&mut self, state: &PlanNode) -> bool {
        self.found_lists(state);
        let mut is_odd = false;
        for slot in &state.slots {
            let slot = usize::from(*slot);
            self.found.set(slot);
            self.held.taken[slot] = SlotValue::Unset;
            is_odd |= !self.plan.slots[slot].has_inner;
        }
        is_odd
    }

    /// Such an array or object, behind its elements.
    fn not_single(
        &mut self,
        state: &PlanNode,
        found: &'static str,
        hint: &str,
    ) -> Result<(), Box<str>> {
        for slot in &state.slots {
            let planned = &self.plan.slots[usize::from(*slot)];
            let odd = |wanted| OddityKind::NotSingle {
                found,
                wanted,
                hint: hint.into(),
            };
            match planned.kind {
                _ if planned.has_inner => {}
                SlotKind::Status => return Err(self.odd.of_slot(*slot, odd("a text")).text()),
                _ => self.odd.note(*slot, || odd("a text or a number")),
            }
        }
        Ok(())
    }

    /// A text or a number was not as JSON has it.
    fn note_mended(&mut self, state: &PlanNode, text: &str) {
        for slot in &state.slots {
            self.odd.note(*slot, || mended(text));
        }
    }

    /// The key at hand may have marks.
    fn mend_key(&mut self, state: &PlanNode) {
        let Some(key) = mended_text(&self.key) else {
            return;
        };
        if let Some(list) = state.lists.first() {
            self.odd.note_element(*list, || mended(&key));
        }
        self.key = key;
    }

    fn take(&mut self, slot: SlotId, value: Scalar<'_>) {
        let place = usize::from(slot);
        let taken = match self.plan.slots[place].kind {
            SlotKind::Text { .. } | SlotKind::Attribute if matches!(value, Scalar::Text(text) if self.plan.is_unset_text(text)) => {
                SlotValue::Unset
            }
            SlotKind::Text { bytes_max } => self.held.write(place, value.text(bytes_max)),
            SlotKind::Status => self.held.write(place, value.text(limits::NAME_BYTES_MAX)),
            SlotKind::Time => self.time(slot, value),
            SlotKind::Truth => match value {
                Scalar::Bool(truth) => SlotValue::Bool(truth),
                Scalar::Null => SlotValue::Unset,
                _ => {
                    self.odd.note(slot, || OddityKind::NotBoolean);
                    SlotValue::Unset
                }
            },
            SlotKind::Attempt | SlotKind::Total => match (value, value.whole()) {
                (_, Some(number)) => SlotValue::Int(number),
                (Scalar::Null | Scalar::Text(""), None) => SlotValue::Unset,
                (_, None) => {
                    self.odd.note(slot, || OddityKind::NotWhole(found(value)));
                    SlotValue::Unset
                }
            },
            SlotKind::Attribute => match value {
                Scalar::Null => SlotValue::Unset,
                Scalar::Bool(truth) => SlotValue::Bool(truth),
                Scalar::Int(number) => SlotValue::Int(number),
                Scalar::Large(number) => SlotValue::Float(number as f64),
                Scalar::Float(number) => SlotValue::Float(number),
                Scalar::Decimal(number) => {
                    rounded(number).map_or(SlotValue::Unset, SlotValue::Float)
                }
                Scalar::Text(_) => {
                    let text = value.text(limits::ATTRIBUTE_BYTES_MAX);
                    self.held.write(place, text)
                }
            },
            SlotKind::Order => match value {
                Scalar::Int(number) => SlotValue::Float(number as f64),
                Scalar::Large(number) => SlotValue::Float(number as f64),
                Scalar::Float(number) => SlotValue::Float(number),
                Scalar::Decimal(number) => {
                    rounded(number).map_or(SlotValue::Unset, SlotValue::Float)
                }
                Scalar::Text(text) => match self.plan.definition.times.of_text(text) {
                    ParsedTime::At(time) | ParsedTime::Unlikely(time) => SlotValue::Time(time),
                    ParsedTime::Unset => SlotValue::Unset,
                    ParsedTime::Nonsense => {
                        let text = cut(text, limits::NAME_BYTES_MAX);
                        self.held.write(place, Some(text.into()))
                    }
                },
                Scalar::Null | Scalar::Bool(_) => SlotValue::Unset,
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
        if self.held.taken[place] != SlotValue::Ids {
            ids.clear();
        }
        ids.push(id.into());
        self.held.taken[place] = SlotValue::Ids;
    }

    fn time(&mut self, slot: SlotId, value: Scalar<'_>) -> SlotValue {
        let times = &self.plan.definition.times;
        let told = match value {
            Scalar::Null => ParsedTime::Unset,
            Scalar::Decimal(text) | Scalar::Text(text) => times.of_text(text),
            Scalar::Int(number) => times.of_int(number),
            Scalar::Float(number) => times.of_float(number),
            Scalar::Bool(_) | Scalar::Large(_) => ParsedTime::Nonsense,
        };
        match told {
            ParsedTime::At(time) => SlotValue::Time(time),
            ParsedTime::Unlikely(time) => {
                self.odd.note(slot, || OddityKind::UnlikelyTime {
                    year: (time.to_string().split('-').next().unwrap_or_default()).into(),
                    found: found(value),
                    meant: meant(times, value),
                });
                SlotValue::Time(time)
            }
            ParsedTime::Unset => SlotValue::Unset,
            ParsedTime::Nonsense => {
                self.odd.note(slot, || OddityKind::NotTime {
                    found: found(value),
                    meant: meant(times, value),
                });
                SlotValue::Unset
            }
        }
    }

    fn workflow(&mut self) -> Result<WorkflowPart, Box<str>> {
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
        self.odd
            .note_answer(OddityKind::TooManyStages(limits::STAGES_MAX));
    }

    /// An element of these lists begins: it has its place before what is within it.
    fn begin(&mut self, lists: &[ListId], is_keyed: bool) -> Mark {
        let mark = self.stages.mark();
        for list in lists {
            let id = usize::from(*list);
            let planned = &self.plan.lists[id];
            self.held.forget(&planned.slots);
            let key = is_keyed.then_some(&*self.key);
            self.held.keys[id].set(key);
            self.open[id] = self.stages.len();
            self.stages.push_blank();
            let outer = planned.outer.filter(|_| !self.plan.is_outermost(planned));
            self.elements.push(Element {
                list: *list,
                has_kind: false,
                within: outer.map(|outer| pieces::Index::of(self.open[usize::from(outer)])),
                links: None,
            });
        }
        mark
    }

    /// It ends; what stands behind `mark` is within it.
    fn end(
        &mut self,
        lists: &[ListId],
        place: &PlanNode,
        was: JsonKind,
        mark: Mark,
    ) -> Result<(), Box<str>> {
        let mut left_out = Vec::new();
        for list in lists {
            let planned = &self.plan.lists[usize::from(*list)];
            let is_stage = match was {
                JsonKind::Null => false,
                JsonKind::Object => true,
                JsonKind::Array => takes_arrays(place),
                JsonKind::Scalar => place.slots.iter().any(|slot| planned.slots.contains(slot)),
            };
            if !is_stage && was != JsonKind::Null {
                return Err(self.odd.of_list(*list, OddityKind::NotStage).text());
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
        let others = if is_all {
            Vec::new()
        } else {
            self.others(left_out, mark.stages())
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
            let within = element.within.map(pieces::Index::get);
            let stays = match within.and_then(|within| within.checked_sub(from)) {
                Some(within) => {
                    element.within = places[within].map(pieces::Index::of);
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
    fn element(&mut self, list: ListId) -> Result<bool, Box<str>> {
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
            odd.note_element(list, || OddityKind::NoKey);
            return Ok(false);
        };
        let name;
        let kind = match held.text(&planned.kind) {
            Some(kind) => kind,
            None => {
                name = match held.keys[usize::from(list)].get() {
                    Some(key) => Cow::Borrowed(key),
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
        self.elements[place].has_kind = held.text(&planned.kind).is_some();
        self.elements[place].links = held.links(planned, &key, &mut self.child_ids);
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

    fn notes_keys_of(&self, node: NodeId) -> bool {
        let planned = &self.plan.requests[self.request];
        if self.plan.absent_is_null {
            return false;
        }
        let is_root = planned.root == Some(node);
        is_root || planned.start == node && self.there.of.is_none_or(|of| of == node)
    }

    /// An element was there.
    fn count(&mut self, at: &PlanNode, is_skipped: bool) {
        for list in &at.lists {
            self.seen[usize::from(*list)] += 1;
            if is_skipped {
                self.overflow();
            }
        }
    }
}

/// The double that is nearest to a number as it is written. `None`: it is beyond all doubles.
fn rounded(number: &str) -> Option<f64> {
    number
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
}

/// The format by which a value would be a likely time.
fn meant(times: &Times, value: Scalar<'_>) -> Option<&'static str> {
    let count = match value {
        Scalar::Int(count) => Some(count as f64),
        Scalar::Large(count) => Some(count as f64),
        Scalar::Float(count) => Some(count),
        Scalar::Decimal(text) | Scalar::Text(text) => text.trim_ascii().parse().ok(),
        Scalar::Null | Scalar::Bool(_) => None,
    };
    count.and_then(|count| times.meant(count))
}

/// A value for an oddity.
fn found(value: Scalar<'_>) -> Box<str> {
    value.text(FOUND_BYTES_MAX).unwrap_or_default().into()
}

fn mended(text: &str) -> OddityKind {
    match text {
        "" => OddityKind::NotHeld,
        text => OddityKind::NotUnicode(cut(text, FOUND_BYTES_MAX).into()),
    }
}

/// The key of an element as the API has it, with a slash between its parts.
pub(super) fn unescaped_key(key: &str) -> Cow<'_, str> {
    unescaped(key).map_or(key.into(), |key| key.into_string().into())
}

fn takes_arrays(state: &PlanNode) -> bool {
    state.other.is_some() || state.members.iter().any(|m| m.index.is_some())
}
