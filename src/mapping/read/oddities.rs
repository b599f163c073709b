//! What the reader of a body notes for people: oddities, and the keys that are there where nothing was found.

use super::super::oddity::{Oddity, OddityKind, named};
use super::super::plan::{ListId, NodeId, Plan, SlotId};
use farspan_core::limits::cut;
use farspan_syntax::text::escape_into;

/// The oddities of a body: the first one; or, for a probe, some of each slot.
pub(super) struct Oddities<'p> {
    pub(super) plan: &'p Plan,
    request: usize,
    noted: Vec<(Option<SlotId>, Oddity)>,
    wants_all: bool,
    /// For a probe: the first status for which a poll would refuse the answer.
    refused: Option<Oddity>,
}

impl<'p> Oddities<'p> {
    pub(super) fn new(plan: &'p Plan, request: usize, wants_all: bool) -> Self {
        Oddities {
            plan,
            request,
            noted: Vec::new(),
            wants_all,
            refused: None,
        }
    }

    /// Notes that the value of a slot is odd.
    pub(super) fn note(&mut self, slot: SlotId, kind: impl FnOnce() -> OddityKind) {
        self.add(Some(slot), |it| it.of_slot(slot, kind()));
    }

    /// Notes that an element of a list is odd.
    pub(super) fn note_element(&mut self, list: ListId, kind: impl FnOnce() -> OddityKind) {
        self.add(None, |it| it.of_list(list, kind()));
    }

    /// Notes what is odd about the whole answer.
    pub(super) fn note_answer(&mut self, kind: OddityKind) {
        self.add(None, |it| Oddity {
            request: it.name(),
            ..Oddity::of_all(kind)
        });
    }

    fn add(&mut self, slot: Option<SlotId>, oddity: impl FnOnce(&Self) -> Oddity) {
        // The values of one pointer may all be odd. The others shall be noted too.
        const SAME_MAX: usize = 5;
        let same = || self.noted.iter().filter(|(about, _)| *about == slot);
        let is_enough = if self.wants_all {
            same().count() >= SAME_MAX
        } else {
            !self.noted.is_empty()
        };
        if is_enough {
            return;
        }
        let oddity = oddity(self);
        if self.refused.as_ref() != Some(&oddity) && !same().any(|(_, known)| *known == oddity) {
            self.noted.push((slot, oddity));
        }
    }

    /// For a status for which the answer is refused.
    ///
    /// # Errors
    /// Why it is refused, unless all oddities are wanted.
    pub(super) fn refuse(&mut self, slot: SlotId, kind: OddityKind) -> Result<(), Box<str>> {
        let oddity = self.of_slot(slot, kind.clone());
        if !self.wants_all {
            return Err(oddity.text());
        }
        match &self.refused {
            None => self.refused = Some(oddity),
            Some(_) => self.note(slot, || kind),
        }
        Ok(())
    }

    pub(super) fn of_slot(&self, slot: SlotId, kind: OddityKind) -> Oddity {
        let slot = &self.plan.slots[usize::from(slot)];
        Oddity {
            request: self.name(),
            pointer: slot.pointer.clone(),
            place: Some(slot.place.clone()),
            kind,
        }
    }

    pub(super) fn of_list(&self, list: ListId, kind: OddityKind) -> Oddity {
        let list = &self.plan.lists[usize::from(list)];
        Oddity {
            request: self.name(),
            pointer: list.pointer.clone(),
            place: Some(list.place.then("list")),
            kind,
        }
    }

    /// A text about the answer, with the name of its request, where it has one.
    pub(super) fn named(&self, what: &str) -> String {
        match &*self.name() {
            "" => what.to_owned(),
            name => format!("{name}: {what}"),
        }
    }

    fn name(&self) -> Box<str> {
        self.plan.requests[self.request].name.clone()
    }

    pub(super) fn take_first(&mut self) -> Option<Box<Oddity>> {
        let mut noted = self.noted.drain(..);
        noted.next().map(|(_, oddity)| oddity.into())
    }

    pub(super) fn into_all(self) -> Vec<Oddity> {
        self.noted.into_iter().map(|(_, oddity)| oddity).collect()
    }
}

/// The first keys of the object that the workflow is in, or of the whole answer.
#[derive(Debug, Default)]
pub(super) struct SeenKeys {
    pub(super) keys: String,
    count: usize,
    /// The node of that object.
    pub(super) of: Option<NodeId>,
}

impl SeenKeys {
    const KEYS_MAX: usize = 12;

    pub(super) fn note(&mut self, key: &str, of: NodeId) {
        const KEY_BYTES_MAX: usize = 64;
        if self.of != Some(of) {
            self.clear();
            self.of = Some(of);
        }
        self.count += 1;
        if self.count > Self::KEYS_MAX {
            return;
        }
        if self.count > 1 {
            self.keys.push_str(", ");
        }
        escape_into(cut(key, KEY_BYTES_MAX), &mut self.keys);
    }

    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.count = 0;
        self.of = None;
    }

    pub(super) fn text(&self, plan: &Plan) -> String {
        let of = self.of.map_or("", |of| &plan.nodes[of as usize].pointer);
        format!("{} has {}", named(of), self.list())
    }

    /// The keys, and how many more there are.
    pub(super) fn list(&self) -> String {
        let more = match self.count.saturating_sub(Self::KEYS_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{}{more}", self.keys)
    }
}
