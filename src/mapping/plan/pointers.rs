//! The pointers of a definition, put into the tries of their requests.

use super::{
    ANY, ListId, NodeId, PlannedFields, PlannedList, PlannedRequest, PlannedSlot, Planner, SlotId,
    SlotKind, Slots, TrieId, TrieNode, place_of_request, readable,
};
use crate::definition::{Definition, Fields, Pages, Pointers, StageList};
use farspan_core::limits;
use farspan_syntax::json::DUPLICATE;
use farspan_syntax::mistake::Path;
use farspan_syntax::pointer::{Pointer, TOKENS_MAX};

/// Pointers of one definition.
const POINTERS_MAX: usize = 1024;
/// Lists of one definition.
const LISTS_MAX: usize = 64;
/// The longest cursor.
const CURSOR_BYTES_MAX: usize = 4096;

impl Planner {
    fn node(&mut self, depth: usize) -> TrieId {
        self.nodes.push(TrieNode {
            depth,
            ..TrieNode::default()
        });
        self.nodes.len() - 1
    }

    pub(super) fn walk(&mut self, from: TrieId, pointer: &Pointer) -> TrieId {
        let mut at = from;
        for token in pointer.tokens() {
            at = match self.nodes[at].children.get(token) {
                Some(next) => *next,
                None => {
                    let next = self.node(self.nodes[at].depth + 1);
                    self.nodes[at].children.insert(token.into(), next);
                    next
                }
            };
        }
        at
    }

    pub(super) fn add_requests(&mut self, definition: &Definition) {
        let named = definition.requests.iter();
        let main = [("", &definition.request)];
        let all = main.into_iter().chain(named.map(|(name, r)| (&**name, r)));
        for (name, request) in all {
            let place = place_of_request(name);
            if self.requests.iter().any(|known| *known.name == *name) {
                self.mistake(&place, "a request needs a name that no other has");
            }
            let start = self.node(0);
            self.requests.push(PlannedRequest {
                name: name.into(),
                request: request.clone(),
                for_each: None,
                // For now the place in the trie.
                start: start as NodeId,
                root: None,
                total: 0..0,
                next: 0..0,
            });
        }
    }

    fn slots(
        &mut self,
        place: &Path,
        pointers: &[Pointer],
        kind: SlotKind,
        (at, before, list): (TrieId, &Pointer, Option<ListId>),
    ) -> Slots {
        let first = self.slots.len();
        if first + pointers.len() > POINTERS_MAX {
            self.mistake(place, format!("more than {POINTERS_MAX} pointers in all"));
            return 0..0;
        }
        for pointer in pointers {
            let node = self.walk(at, pointer);
            if self.nodes[node].depth > TOKENS_MAX {
                self.mistake(place, format!("deeper than {TOKENS_MAX} steps"));
            }
            let slot = self.slots.len() as SlotId;
            self.nodes[node].slots.push(slot);
            if kind == SlotKind::Ids {
                let element = self.node(self.nodes[node].depth + 1);
                self.nodes[element].slots.push(slot);
                self.nodes[node].any.push((element, None));
            }
            self.slots.push(PlannedSlot {
                kind,
                pointer: readable(&before.join(pointer)),
                place: place.clone(),
                list,
                has_inner: kind == SlotKind::Ids || pointers.iter().any(|p| p.is_within(pointer)),
            });
        }
        first as SlotId..self.slots.len() as SlotId
    }

    pub(super) fn fields(
        &mut self,
        place: &Path,
        fields: &Fields,
        at: TrieId,
        before: &Pointer,
        list: Option<ListId>,
    ) -> PlannedFields {
        let mut slots = |name: &str, pointers: &Pointers, kind| {
            self.slots(&place.then(name), pointers, kind, (at, before, list))
        };
        let text = |bytes_max| SlotKind::Text { bytes_max };
        let planned = PlannedFields {
            id: slots("id", &fields.id, text(limits::WORKFLOW_ID_BYTES_MAX)),
            status: slots("status", &fields.status, SlotKind::Status),
            queued: slots("queued", &fields.queued, SlotKind::Time),
            start: slots("start", &fields.start, SlotKind::Time),
            end: slots("end", &fields.end, SlotKind::Time),
            error: slots("error", &fields.error, text(limits::ATTRIBUTE_BYTES_MAX)),
            attempt: slots("attempt", &fields.attempt, SlotKind::Attempt),
            first_attempt: i64::from(fields.first_attempt.unwrap_or(1)),
            url: slots("url", &fields.url, text(limits::ATTRIBUTE_BYTES_MAX)),
            complete: slots("complete", &fields.complete, SlotKind::Truth),
            attributes: Vec::new(),
        };
        let place = place.then("attributes");
        if fields.attributes.len() > limits::EVENT_ATTRIBUTES_MAX {
            let max = limits::EVENT_ATTRIBUTES_MAX;
            self.mistake(&place, format!("more than {max} attributes"));
        }
        let mut attributes = Vec::new();
        for (name, pointers) in &fields.attributes {
            let place = place.then(name);
            if !(1..=limits::NAME_BYTES_MAX).contains(&name.len()) {
                let max = limits::NAME_BYTES_MAX;
                self.mistake(&place, format!("a name has 1 to {max} bytes"));
            }
            if attributes.iter().any(|(known, _)| known == name) {
                self.mistake(&place, DUPLICATE);
            }
            let context = (at, before, list);
            let slots = self.slots(&place, pointers, SlotKind::Attribute, context);
            attributes.push((name.clone(), slots));
        }
        PlannedFields {
            attributes,
            ..planned
        }
    }

    /// `number` is its place among its siblings.
    pub(super) fn list(
        &mut self,
        place: &Path,
        list: &StageList,
        outer: Option<ListId>,
        number: usize,
    ) {
        if self.lists.len() >= LISTS_MAX {
            self.mistake(place, format!("more than {LISTS_MAX} lists of stages"));
            return;
        }
        let id = self.lists.len() as ListId;
        let named = |known: &PlannedList| known.name.is_some() && known.name == list.name;
        if self.lists.iter().any(named) {
            let what = "another list has this name";
            self.mistake(&place.then("name"), what);
        }
        let (request, start, before) = self.start_of(place, list, outer);
        let pointer = before.join(&list.list);
        let at = self.walk(start, &list.list);
        let element = self.node(self.nodes[at].depth + 1);
        self.nodes[at].any.push((element, Some(id)));
        self.lists.push(PlannedList {
            name: list.name.clone(),
            place: place.clone(),
            pointer: readable(&pointer),
            request,
            outer,
            namespace: id,
            prefix: (number > 0).then(|| match &list.name {
                Some(name) => format!("~{name}").into(),
                None => format!("~{}", number + 1).into(),
            }),
            fields: PlannedFields::default(),
            kind: 0..0,
            key: 0..0,
            number_by: 0..0,
            except: Vec::new(),
            parent: 0..0,
            parent_list: None,
            child_ids: 0..0,
            child_list: None,
            is_claimed: false,
            is_asked_for: false,
            slots: 0..0,
        });
        let before = pointer.join(&Pointer::of(&[ANY]));
        self.list_slots(place, list, id, (element, &before));
        let stages = place.then("stages");
        for (number, inner) in list.stages.iter().enumerate() {
            self.list(&stages.at(number), inner, Some(id), number);
        }
    }

    /// The request whose answer has a list, and where the pointer to the list begins, in the trie and for people.
    fn start_of(
        &mut self,
        place: &Path,
        list: &StageList,
        outer: Option<ListId>,
    ) -> (usize, TrieId, Pointer) {
        if let (Some(outer), None) = (outer, &list.from) {
            let (start, before) = self.elements_of(outer);
            return (self.lists[usize::from(outer)].request, start, before);
        }
        let wanted = list.from.as_deref().unwrap_or_default();
        let request = self.requests.iter().position(|r| *r.name == *wanted);
        if request.is_none() {
            let what = format!("there is no request {wanted:?} among \"requests\"");
            self.mistake(&place.then("from"), what);
        }
        let request = request.unwrap_or_default();
        let start = self.requests[request].start as TrieId;
        (request, start, Pointer::default())
    }

    /// The slots of an element of a list.
    fn list_slots(
        &mut self,
        place: &Path,
        list: &StageList,
        id: ListId,
        (element, before): (TrieId, &Pointer),
    ) {
        let first = self.slots.len() as SlotId;
        let fields = self.fields(place, &list.fields, element, before, Some(id));
        let context = (element, before, Some(id));
        let name = SlotKind::Text {
            bytes_max: limits::NAME_BYTES_MAX,
        };
        // A key is what an id is made of: it is not cut.
        let key = SlotKind::Text {
            bytes_max: limits::ATTRIBUTE_BYTES_MAX,
        };
        let kind = self.slots(&place.then("kind"), &list.kind, name, context);
        let keys = self.slots(&place.then("key"), &list.key, key, context);
        let number_by = self.slots(
            &place.then("number_attempts_by"),
            &list.number_attempts_by,
            SlotKind::Order,
            context,
        );
        let except = list.except.iter().map(|(pointer, values)| {
            let place = place.then("except").then(&pointer.to_string());
            let pointer = std::slice::from_ref(pointer);
            (self.slots(&place, pointer, name, context), values.clone())
        });
        let except = except.collect();
        let parent = list.parent.as_ref().map(|parent| &parent.key);
        let parent = self.slots(
            &place.then("parent"),
            parent.map_or(&[][..], |pointers| pointers),
            key,
            context,
        );
        let ids = list.children.as_ref().map(|c| std::slice::from_ref(&c.ids));
        let child_ids = self.slots(
            &place.then("children").then("ids"),
            ids.unwrap_or_default(),
            SlotKind::Ids,
            context,
        );
        let planned = &mut self.lists[usize::from(id)];
        planned.fields = fields;
        (planned.kind, planned.key) = (kind, keys);
        (planned.number_by, planned.parent) = (number_by, parent);
        planned.child_ids = child_ids;
        planned.except = except;
        planned.slots = first..self.slots.len() as SlotId;
    }

    /// Where an element of a list begins, in the trie and for people.
    fn elements_of(&self, list: ListId) -> (TrieId, Pointer) {
        let mut any = self.nodes.iter().flat_map(|node| &node.any);
        let element = any.find(|(_, of)| *of == Some(list));
        let pointer = &self.lists[usize::from(list)].pointer;
        // What was written by `readable` is a pointer.
        let pointer = Pointer::parse(pointer).unwrap_or_default();
        let at = element.map_or(0, |(node, _)| *node);
        (at, pointer.join(&Pointer::of(&[ANY])))
    }

    pub(super) fn add_pages(&mut self) {
        for number in 0..self.requests.len() {
            let planned = &self.requests[number];
            let place = place_of_request(&planned.name).then("pages");
            let (start, pages) = (planned.start as TrieId, planned.request.pages.clone());
            let Some(pages) = pages else { continue };
            let context = (start, &Pointer::default(), None);
            match &pages {
                Pages::Offset { total, .. } | Pages::Page { total, .. } => {
                    let total = total.as_slice();
                    let place = place.then("total");
                    let total = self.slots(&place, total, SlotKind::Total, context);
                    self.requests[number].total = total;
                    if !self.lists.iter().any(|list| list.request == number) {
                        self.mistake(&place, "no list of stages is in its answer");
                    }
                }
                Pages::Cursor { next, .. } => {
                    let kind = SlotKind::Text {
                        bytes_max: CURSOR_BYTES_MAX,
                    };
                    let next = std::slice::from_ref(next);
                    let next = self.slots(&place.then("next"), next, kind, context);
                    self.requests[number].next = next;
                }
                Pages::Link => {}
            }
        }
    }
}
