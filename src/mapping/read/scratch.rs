//! The values of the objects that are being read, and what they make of a workflow or a stage.

use super::super::definition::{Meaning, UnknownStatus};
use super::super::oddity::OddityKind;
use super::super::plan::{ListId, Plan, PlannedFields, PlannedList, Slots};
use super::oddities::Oddities;
use super::{Links, Order};
use farspan_core::event::{Attributes, Value};
use farspan_core::limits;
use farspan_core::limits::cut;
use farspan_core::snapshot::{Outcome, Progress, State};
use farspan_core::time::Wall;
use farspan_syntax::pointer::escaped;
use std::borrow::Cow;

/// A single JSON value.
#[derive(Clone, Copy)]
pub(super) enum Scalar<'v> {
    Null,
    Bool(bool),
    Int(i64),
    /// Beyond what `Int` holds, as some APIs have ids.
    Large(u64),
    Float(f64),
    /// A number as it is written.
    Decimal(&'v str),
    Text(&'v str),
}

impl Scalar<'_> {
    /// As a text, cut. `None` for null and for an empty text.
    pub(super) fn text(&self, bytes_max: usize) -> Option<Cow<'_, str>> {
        match self {
            Scalar::Null => None,
            Scalar::Bool(truth) => Some(truth.to_string().into()),
            Scalar::Int(number) => Some(number.to_string().into()),
            Scalar::Large(number) => Some(number.to_string().into()),
            Scalar::Float(number) => Some(number.to_string().into()),
            Scalar::Decimal(number) => Some(cut(number, bytes_max).into()),
            Scalar::Text("") => None,
            Scalar::Text(text) => Some(cut(text, bytes_max).into()),
        }
    }

    pub(super) fn whole(&self) -> Option<i64> {
        match self {
            Scalar::Int(number) => Some(*number),
            Scalar::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
                Some(*number as i64)
            }
            Scalar::Decimal(number) => Scalar::Float(number.parse().ok()?).whole(),
            Scalar::Text(text) => text.parse().ok(),
            _ => None,
        }
    }
}

/// What a slot holds while its object is read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum SlotValue {
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

/// The values of the objects that are being read. It is overwritten from element to element, so that nothing is
/// allocated for a value that is not kept.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Of each slot what it holds.
    pub(super) taken: Vec<SlotValue>,
    /// Of each slot the text, where it holds one.
    pub(super) texts: Vec<String>,
    /// Of each list the key that the element at hand has in its object.
    pub(super) keys: Vec<ElementKey>,
}

/// The key that an element has in its object; an element of an array has none.
#[derive(Debug, Default)]
pub(super) struct ElementKey {
    is_there: bool,
    text: String,
}

impl ElementKey {
    pub(super) fn get(&self) -> Option<&str> {
        self.is_there.then_some(&*self.text)
    }

    pub(super) fn set(&mut self, key: Option<&str>) {
        self.is_there = key.is_some();
        self.text.clear();
        self.text.push_str(key.unwrap_or_default());
    }
}

impl Scratch {
    /// Has a place for each of these.
    pub(super) fn prepare(&mut self, slots: usize, lists: usize) {
        self.taken.resize(slots, SlotValue::Unset);
        self.texts.resize_with(slots, String::new);
        self.keys.resize_with(lists, ElementKey::default);
    }

    /// Forgets all values and keeps the room for them, of a key up to so many bytes.
    pub(super) fn clear(&mut self, key_bytes: usize) {
        self.taken.clear();
        for key in &mut self.keys {
            key.set(None);
            key.text.shrink_to(key_bytes);
        }
    }

    pub(super) fn forget(&mut self, slots: &Slots) {
        self.taken[usize::from(slots.start)..usize::from(slots.end)].fill(SlotValue::Unset);
    }

    pub(super) fn write(&mut self, slot: usize, text: Option<Cow<'_, str>>) -> SlotValue {
        let Some(text) = text else {
            return SlotValue::Unset;
        };
        let held = &mut self.texts[slot];
        held.clear();
        held.push_str(&text);
        SlotValue::Text
    }

    /// The first that there is.
    pub(super) fn first(&self, slots: &Slots) -> Option<(usize, SlotValue)> {
        let mut all = slots.clone().map(|slot| {
            let slot = usize::from(slot);
            (slot, self.taken[slot])
        });
        all.find(|(_, taken)| *taken != SlotValue::Unset)
    }

    pub(super) fn text(&self, slots: &Slots) -> Option<&str> {
        match self.first(slots) {
            Some((slot, SlotValue::Text)) => Some(&self.texts[slot]),
            _ => None,
        }
    }

    fn wall(&self, slots: &Slots) -> Option<Wall> {
        match self.first(slots) {
            Some((_, SlotValue::Time(time))) => Some(time),
            _ => None,
        }
    }

    /// As the definition counts, from 1 on.
    pub(super) fn attempt(&self, fields: &PlannedFields) -> Option<u32> {
        match self.first(&fields.attempt) {
            Some((_, SlotValue::Int(number))) => {
                let from_one = number
                    .saturating_sub(fields.first_attempt)
                    .saturating_add(1);
                Some(u32::try_from(from_one.max(1)).unwrap_or(u32::MAX))
            }
            _ => None,
        }
    }

    pub(super) fn attributes(&self, fields: &PlannedFields) -> Attributes {
        let all = fields.attributes.iter();
        all.filter_map(|(name, slots)| {
            let value = match self.first(slots)? {
                (slot, SlotValue::Text) => Value::Str((*self.texts[slot]).into()),
                (_, SlotValue::Int(number)) => Value::Int(number),
                (_, SlotValue::Float(number)) => Value::Float(number),
                (_, SlotValue::Bool(truth)) => Value::Bool(truth),
                _ => return None,
            };
            Some((name.clone(), value))
        })
        .collect()
    }

    pub(super) fn progress<'a>(
        &'a self,
        plan: &'a Plan,
        fields: &PlannedFields,
        (status, state): (Option<usize>, State),
    ) -> Progress<&'a str> {
        let (start, end) = (self.wall(&fields.start), self.wall(&fields.end));
        let error = self.text(&fields.error);
        let is_complete = matches!(
            self.first(&fields.complete),
            Some((_, SlotValue::Bool(true)))
        );
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
    pub(super) fn status(
        &self,
        fields: &PlannedFields,
        odd: &mut Oddities<'_>,
    ) -> Result<(Option<usize>, State), Box<str>> {
        for slot in fields.status.clone() {
            let place = usize::from(slot);
            if self.taken[place] != SlotValue::Text {
                continue;
            }
            let word = &self.texts[place];
            let unknown = || OddityKind::UnknownStatus(cut(word, 64).into());
            let state = match (odd.plan.meaning(word), odd.plan.unknown_status()) {
                (Some(Meaning::State(state)), _) => state,
                (Some(Meaning::Unset), _) => continue,
                (None, UnknownStatus::Means(state)) => {
                    odd.note(slot, unknown);
                    state
                }
                (None, UnknownStatus::Unset) => {
                    odd.note(slot, unknown);
                    continue;
                }
                (None, UnknownStatus::Refused) => {
                    odd.refuse(slot, unknown())?;
                    State::Running
                }
            };
            return Ok((Some(place), state));
        }
        Ok((None, State::Pending))
    }

    /// The parts of its key, so joined that no two keys are one; where there is one list with keys of one part, as it is.
    pub(super) fn element_key(
        &self,
        list: ListId,
        planned: &PlannedList,
        plain: bool,
    ) -> Option<Cow<'_, str>> {
        fn joined(key: &str, plain: bool) -> Cow<'_, str> {
            if plain || !key.contains(['~', '/']) {
                key.into()
            } else {
                escaped(key).into()
            }
        }
        if planned.key.is_empty() {
            let key = match self.keys[usize::from(list)].get() {
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

    pub(super) fn links(
        &self,
        planned: &PlannedList,
        key: &str,
        child_ids: &mut [Vec<Box<str>>],
    ) -> Option<Box<Links>> {
        let is_asked_for = planned.is_asked_for;
        let has_links = is_asked_for
            || !planned.number_by.is_empty()
            || !planned.parent.is_empty()
            || !planned.child_ids.is_empty();
        has_links.then(|| {
            let links = Links {
                parent: self.text(&planned.parent).map(Into::into),
                child_ids: match self.first(&planned.child_ids) {
                    Some((slot, SlotValue::Ids)) => std::mem::take(&mut child_ids[slot]),
                    _ => Vec::new(),
                },
                order: match self.first(&planned.number_by) {
                    Some((_, SlotValue::Float(number))) => Order::Number(number),
                    Some((_, SlotValue::Time(time))) => Order::At(time),
                    Some((slot, SlotValue::Text)) => Order::Text((*self.texts[slot]).into()),
                    _ => Order::Last,
                },
                key: is_asked_for.then(|| key.into()),
            };
            links.into()
        })
    }
}
