//! A definition compiled: all its pointers as one automaton, which reads a body in one pass.
//!
//! Each pointer is a path in a trie of its request; a list of stages is a step that any element takes. A pointer may
//! lead into a list (`/jobs/0/url`), and then a value is at two places of the trie at once. So the nodes of the plan are
//! sets of places of the trie, made beforehand: a reader is always at one node.

use super::definition::{
    Definition, Fields, Meaning, Method, Pages, Parent, Pointers, Request, Stages, UnknownStatus,
    WorkflowFields,
};
use super::template::{BodyTemplate, Template};
use crate::core::limits;
use crate::syntax::json::DUPLICATE;
use crate::syntax::mistake::{Mistake, Path, Place};
use crate::syntax::pointer::{Pointer, TOKENS_MAX, index};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

/// Pointers of one definition.
const POINTERS_MAX: usize = 1024;
/// Lists of one definition.
const LISTS_MAX: usize = 64;
/// Nodes of one definition. A definition whose pointers do not lead into its lists has one for each step.
const NODES_MAX: usize = 16 * 1024;

pub(super) type NodeId = u32;
pub(super) type ListId = u16;
pub(super) type SlotId = u16;
/// The pointers of one field, in order of preference.
pub(super) type Slots = Range<SlotId>;

/// What the reader needs of a definition.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) definition: Definition,
    /// The definition's requests in the order in which they are to be asked; the main one first.
    pub(super) requests: Vec<PlannedRequest>,
    pub(super) workflow: PlannedFields,
    pub(super) lists: Vec<PlannedList>,
    pub(super) slots: Vec<PlannedSlot>,
    pub(super) nodes: Vec<Node>,
    /// Whether paths are keys as they are: there is one list, whose keys are one text each.
    pub(super) plain: bool,
    /// Whether an answer may lack a status and stages: in the default shape what is absent is null.
    pub(super) absent_is_null: bool,
}

#[derive(Debug)]
pub(super) struct PlannedRequest {
    pub(super) name: Box<str>,
    pub(super) request: Request,
    /// The list whose elements it is for.
    pub(super) for_each: Option<ListId>,
    /// Where its answer begins.
    pub(super) start: NodeId,
    /// Where the workflow is in it, if not there.
    pub(super) root: Option<NodeId>,
    pub(super) total: Slots,
    pub(super) next: Slots,
}

#[derive(Debug, Default)]
pub(super) struct PlannedFields {
    pub(super) id: Slots,
    pub(super) status: Slots,
    pub(super) queued: Slots,
    pub(super) start: Slots,
    pub(super) end: Slots,
    pub(super) error: Slots,
    pub(super) attempt: Slots,
    pub(super) first_attempt: i64,
    pub(super) url: Slots,
    pub(super) complete: Slots,
    pub(super) attributes: Vec<(Box<str>, Slots)>,
}

#[derive(Debug)]
pub(super) struct PlannedList {
    pub(super) name: Option<Box<str>>,
    /// Its place in the definition.
    pub(super) place: Path,
    /// From the answer's beginning, for people.
    pub(super) pointer: Box<str>,
    /// The request whose answer has it.
    pub(super) request: usize,
    /// The list whose elements it is within.
    pub(super) outer: Option<ListId>,
    /// The list whose namespace its keys are in: its own, or that of which it has further attempts.
    pub(super) namespace: ListId,
    /// What stands before its keys, to tell them from those of other lists.
    pub(super) prefix: Option<Box<str>>,
    pub(super) fields: PlannedFields,
    pub(super) kind: Slots,
    pub(super) key: Slots,
    pub(super) number_by: Slots,
    /// Where an element that is no stage has one of these values.
    pub(super) except: Vec<(Slots, Vec<Box<str>>)>,
    pub(super) parent: Slots,
    pub(super) parent_list: Option<ListId>,
    pub(super) child_ids: Slots,
    pub(super) child_list: Option<ListId>,
    /// Another list's elements name their children in this one.
    pub(super) is_claimed: bool,
    /// A request is asked for each of its elements.
    pub(super) is_asked_for: bool,
    /// All slots of an element.
    pub(super) slots: Slots,
}

/// A pointer, and what its value is taken for.
#[derive(Debug)]
pub(super) struct PlannedSlot {
    pub(super) kind: SlotKind,
    /// From the answer's beginning, for people.
    pub(super) pointer: Box<str>,
    /// The field's place in the definition.
    pub(super) place: Path,
    /// The list that it is in.
    pub(super) list: Option<ListId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotKind {
    Text {
        bytes_max: usize,
    },
    Status,
    Time,
    Truth,
    Attempt,
    Attribute,
    /// What attempts are numbered by.
    Order,
    /// The keys of children.
    Ids,
    /// How many elements there are.
    Total,
}

/// Where a value is.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) members: Box<[Member]>,
    /// Where any other element leads.
    pub(super) other: Option<NodeId>,
    /// The lists whose elements the elements of this value are.
    pub(super) lists: Box<[ListId]>,
    /// What this value is taken for.
    pub(super) slots: Box<[SlotId]>,
    /// From the answer's beginning, for people.
    pub(super) pointer: Box<str>,
}

impl Node {
    /// Whether what it names is within an array or an object.
    pub(super) fn is_inner(&self) -> bool {
        !self.members.is_empty() || self.other.is_some()
    }
}

/// A step that a pointer takes.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) key: Box<str>,
    /// In an array.
    pub(super) index: Option<usize>,
    pub(super) to: NodeId,
}

pub(super) fn plan(definition: Definition) -> Result<Plan, Vec<Mistake>> {
    let mut planner = Planner::default();
    planner.add_requests(&definition);
    let main = &definition.workflow;
    let main_start = planner.requests[0].start;
    let place = Path::default().then("workflow");
    let at = planner.go(main_start, &main.root);
    let workflow = planner.fields(&place, &main.fields, at, &main.root, None);
    if main.fields.status.is_empty() && main.fields.complete.is_empty() {
        planner.mistake(
            &place.then("status"),
            "nothing says when a workflow has ended",
        );
    }
    if (main.starts_with_stages || main.ends_with_stages) && definition.stages.is_empty() {
        planner.mistake(
            &place.then("times_of_stages"),
            "there are no stages: add stages, or remove it",
        );
    }
    let stages = Path::default().then("stages");
    for (number, list) in definition.stages.iter().enumerate() {
        planner.list(&stages.at(number), list, None, number);
    }
    planner.add_pages();
    planner.check_words(&definition);
    planner.connect(&definition);
    planner.check_templates(&definition);
    let nodes = planner.nodes();
    let plain = planner.lists.len() <= 1 && planner.lists.iter().all(|list| list.key.len() <= 1);
    let order = planner.order();
    let Planner {
        mut requests,
        lists,
        slots,
        mut mistakes,
        ..
    } = planner;
    if !mistakes.is_empty() {
        mistakes.sort();
        mistakes.dedup();
        let at = |path: &Path| Place::default().join(path);
        let mistakes = mistakes.into_iter();
        return Err(mistakes
            .map(|(path, what)| Mistake {
                place: at(&path),
                what,
            })
            .collect());
    }
    // Nobody refers to a request by its number any more but the lists.
    let mut lists = lists;
    for list in &mut lists {
        list.request = order
            .iter()
            .position(|number| *number == list.request)
            .unwrap_or_default();
    }
    let mut requests: Vec<_> = requests.drain(..).map(Some).collect();
    let mut requests: Vec<PlannedRequest> = order
        .iter()
        .filter_map(|number| requests[*number].take())
        .collect();
    for main in requests.iter_mut().take(1) {
        main.root = root_of(&nodes, main.start, &definition.workflow.root);
    }
    Ok(Plan {
        absent_is_null: is_as_original(&definition),
        definition,
        requests,
        workflow,
        lists,
        slots,
        nodes,
        plain,
    })
}

type TrieId = usize;

/// A place in the trie of one request.
#[derive(Debug, Default)]
struct TrieNode {
    children: BTreeMap<Box<str>, TrieId>,
    /// Where each element leads, and of which list it is one.
    any: Vec<(TrieId, Option<ListId>)>,
    slots: Vec<SlotId>,
    depth: usize,
}

#[derive(Default)]
struct Planner {
    nodes: Vec<TrieNode>,
    requests: Vec<PlannedRequest>,
    lists: Vec<PlannedList>,
    slots: Vec<PlannedSlot>,
    mistakes: Vec<(Path, String)>,
}

impl Planner {
    fn mistake(&mut self, place: &Path, what: impl Into<String>) {
        self.mistakes.push((place.clone(), what.into()));
    }

    fn node(&mut self, depth: usize) -> TrieId {
        self.nodes.push(TrieNode {
            depth,
            ..TrieNode::default()
        });
        self.nodes.len() - 1
    }

    fn go(&mut self, from: NodeId, pointer: &Pointer) -> TrieId {
        self.walk(from as TrieId, pointer)
    }

    fn walk(&mut self, from: TrieId, pointer: &Pointer) -> TrieId {
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

    fn add_requests(&mut self, definition: &Definition) {
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
            });
        }
        first as SlotId..self.slots.len() as SlotId
    }

    fn fields(
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
    fn list(&mut self, place: &Path, list: &Stages, outer: Option<ListId>, number: usize) {
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
        list: &Stages,
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
        list: &Stages,
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

    fn add_pages(&mut self) {
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

    /// What refers to something else by name.
    fn connect(&mut self, definition: &Definition) {
        let named: HashMap<Box<str>, ListId> = self
            .lists
            .iter()
            .zip(0..)
            .filter_map(|(list, id)| Some((list.name.clone()?, id)))
            .collect();
        for number in 0..self.requests.len() {
            let planned = &self.requests[number];
            let place = place_of_request(&planned.name);
            let above = planned.request.when_attempt_above;
            let Some(name) = planned.request.for_each.clone() else {
                if above.is_some() {
                    let what = "has a meaning only with for_each";
                    self.mistake(&place.then("when_attempt_above"), what);
                }
                if number > 0 && !self.lists.iter().any(|list| list.request == number) {
                    self.mistake(&place, "no list of stages is in its answer");
                }
                continue;
            };
            if number == 0 {
                self.mistake(&place.then("for_each"), "the main request is asked once");
                continue;
            }
            if !self.lists.iter().any(|list| list.request == number) {
                self.mistake(&place, "no list of stages is in its answer");
            }
            match named.get(&name) {
                Some(list) => {
                    self.requests[number].for_each = Some(*list);
                    self.lists[usize::from(*list)].is_asked_for = true;
                    let attempt = &self.lists[usize::from(*list)].fields.attempt;
                    if above.is_some() && attempt.is_empty() {
                        let what = format!("the elements of {name:?} have no attempt");
                        self.mistake(&place.then("when_attempt_above"), what);
                    }
                }
                None => {
                    let what = format!("no list of stages has the name {name:?}");
                    self.mistake(&place.then("for_each"), what);
                }
            }
        }
        let mut pairs = Vec::new();
        let stages = Path::default().then("stages");
        pair(&stages, &definition.stages, &mut pairs);
        for (id, (place, stages)) in pairs.into_iter().enumerate() {
            self.connect_list(&place, id, stages, &named);
        }
    }

    fn connect_list(
        &mut self,
        place: &Path,
        id: usize,
        stages: &Stages,
        named: &HashMap<Box<str>, ListId>,
    ) {
        let Some(list) = self.lists.get(id) else {
            return;
        };
        let for_each = self.requests[list.request].for_each;
        let by_itself = stages.from.is_some();
        match (list.outer, for_each) {
            (Some(outer), of) if by_itself && of != Some(outer) => {
                let what =
                    "a list within a list comes from a request for each element of the outer one";
                self.mistake(&place.then("from"), what);
            }
            // Further attempts of what it is asked for.
            (None, Some(of)) => {
                let of = &self.lists[usize::from(of)];
                let (namespace, prefix) = (of.namespace, of.prefix.clone());
                if of.outer.is_some() {
                    let what = "a request for each element of an inner list belongs into that list's stages";
                    self.mistake(&place.then("from"), what);
                }
                let list = &mut self.lists[id];
                (list.namespace, list.prefix) = (namespace, prefix);
            }
            _ => {}
        }
        let find = |planner: &mut Planner, place: Path, name: &str| {
            let found = named.get(name).copied();
            if found.is_none() {
                let what = format!("no list of stages has the name {name:?}");
                planner.mistake(&place, what);
            }
            found
        };
        if let Some(Parent { key, list }) = &stages.parent {
            if key.is_empty() {
                self.mistake(&place.then("parent").then("key"), "leads nowhere");
            }
            let parent_list = match list {
                None => Some(id as ListId),
                Some(name) => find(self, place.then("parent").then("list"), name),
            };
            self.outermost(&place.then("parent").then("list"), parent_list);
            self.lists[id].parent_list = parent_list;
        }
        if let Some(children) = &stages.children {
            let place = place.then("children").then("list");
            let child_list = find(self, place.clone(), &children.list);
            self.outermost(&place, child_list);
            self.lists[id].child_list = child_list;
            if let Some(child) = child_list.filter(|child| usize::from(*child) != id) {
                self.lists[usize::from(child)].is_claimed = true;
            }
        }
    }

    /// A key alone leads to an element only there.
    fn outermost(&mut self, place: &Path, list: Option<ListId>) {
        if list.is_some_and(|list| self.lists[usize::from(list)].outer.is_some()) {
            self.mistake(place, "that list is within the elements of another");
        }
    }

    fn check_words(&mut self, definition: &Definition) {
        let place = Path::default().then("statuses");
        let any = self.slots.iter().any(|s| s.kind == SlotKind::Status);
        if any && definition.statuses.is_empty() {
            self.mistake(&place, "is empty, so that no status means anything");
        }
        let mut known: HashMap<String, Meaning> = HashMap::new();
        for (word, meaning) in &definition.statuses {
            let before = known.insert(word.to_ascii_lowercase(), *meaning);
            if before.is_some_and(|before| before != *meaning) {
                let what = "has two meanings: upper and lower case are one word";
                self.mistake(&place.then(word), what);
            }
        }
        let place = Path::default().then("status_names");
        for (word, _) in &definition.status_names {
            if !known.contains_key(&word.to_ascii_lowercase()) {
                self.mistake(&place.then(word), "is not among the statuses");
            }
        }
    }

    fn check_templates(&mut self, definition: &Definition) {
        let known = known_names(definition);
        for number in 0..self.requests.len() {
            let planned = &self.requests[number];
            let place = place_of_request(&planned.name);
            let request = planned.request.clone();
            let keys = planned.for_each.map(|list| {
                let list = &self.lists[usize::from(list)];
                list.key.len().max(1)
            });
            let is_known = |name: &str| match name.strip_prefix("stage.") {
                None => known.contains(name),
                // Of which list is another mistake.
                Some(_) if keys.is_none() => request.for_each.is_some(),
                Some("key" | "id" | "name" | "attempt") => true,
                Some(part) => {
                    let part = part.strip_prefix("key.").and_then(index);
                    part.zip(keys).is_some_and(|(part, keys)| part < keys)
                }
            };
            let unknown = |name: &str| match (name.starts_with("stage."), keys) {
                (true, None) => format!("{{{name}}} is known only beside for_each"),
                (true, Some(keys)) => format!(
                    "{{{name}}} is not known: there are {{stage.key}}, {{stage.key.0}} to {{stage.key.{}}}, {{stage.id}}, {{stage.name}} and {{stage.attempt}}",
                    keys - 1
                ),
                (false, _) => {
                    let known: Vec<_> = known.iter().map(|name| format!("{{{name}}}")).collect();
                    format!("{{{name}}} is not known: there is {}", known.join(", "))
                }
            };
            if request.path == Template::default() {
                self.mistake(&place.then("path"), "is missing");
            }
            if definition.id_always_has_a_slash() && request.path.names_in_path().any(|n| n == "id")
            {
                let what = "{id} always has a slash, because the monitor's \"id\" has one; name its parts here, or set \"slashes_in_ids\": true";
                self.mistake(&place.then("path"), what);
            }
            for name in request.path.names().filter(|name| !is_known(name)) {
                self.mistake(&place.then("path"), unknown(name));
            }
            let in_language = request
                .body
                .iter()
                .flat_map(BodyTemplate::names_in_language);
            let in_language: BTreeSet<_> = in_language.collect();
            for name in &in_language {
                self.mistake(&place.then("body"), in_braces(name));
            }
            let names = request.body.iter().flat_map(BodyTemplate::names);
            for name in names.filter(|name| !is_known(name) && !in_language.contains(name)) {
                self.mistake(&place.then("body"), unknown(&name));
            }
            if request.body.is_some() && request.method == Method::Get {
                self.mistake(&place.then("body"), "a GET has none; \"method\": \"POST\"");
            }
        }
    }

    /// Each request behind the one whose answer has the list that it is for.
    fn order(&mut self) -> Vec<usize> {
        let mut order: Vec<usize> = Vec::new();
        loop {
            let before = order.len();
            for (number, planned) in self.requests.iter().enumerate() {
                let needed = planned
                    .for_each
                    .map(|list| self.lists[usize::from(list)].request);
                let ready = needed.is_none_or(|needed| order.contains(&needed));
                if ready && !order.contains(&number) {
                    order.push(number);
                }
            }
            if order.len() == before {
                break;
            }
        }
        for number in 0..self.requests.len() {
            if !order.contains(&number) {
                let place = place_of_request(&self.requests[number].name).then("for_each");
                self.mistake(&place, "needs an answer that needs its own");
            }
        }
        order
    }

    /// The automaton: each reachable set of places in the trie is a node.
    fn nodes(&mut self) -> Vec<Node> {
        let mut known: HashMap<BTreeSet<TrieId>, NodeId> = HashMap::new();
        let mut sets: Vec<(BTreeSet<TrieId>, Pointer)> = Vec::new();
        let mut enter = |set: BTreeSet<TrieId>, pointer: Pointer, sets: &mut Vec<_>| {
            *known.entry(set.clone()).or_insert_with(|| {
                sets.push((set, pointer));
                (sets.len() - 1) as NodeId
            })
        };
        for planned in &mut self.requests {
            let start = BTreeSet::from([planned.start as TrieId]);
            planned.start = enter(start, Pointer::default(), &mut sets);
        }
        let mut planned: Vec<Node> = Vec::new();
        while planned.len() < sets.len() {
            if sets.len() > NODES_MAX {
                let place = Path::default().then("stages");
                self.mistake(&place, "pointers lead into each other's lists too often");
                break;
            }
            let (set, pointer) = sets[planned.len()].clone();
            let nodes: Vec<_> = set.iter().map(|node| &self.nodes[*node]).collect();
            let any: BTreeSet<_> = nodes.iter().flat_map(|n| &n.any).map(|(n, _)| *n).collect();
            let mut tokens: BTreeMap<&str, BTreeSet<TrieId>> = BTreeMap::new();
            for node in &nodes {
                for (token, to) in &node.children {
                    tokens
                        .entry(token)
                        .or_insert_with(|| any.clone())
                        .insert(*to);
                }
            }
            let step = |token: &str| pointer.join(&Pointer::of(&[token]));
            let members = tokens.into_iter().map(|(token, set)| Member {
                key: token.into(),
                index: index(token),
                to: enter(set, step(token), &mut sets),
            });
            let members = members.collect();
            let other = (!any.is_empty()).then(|| enter(any, step(ANY), &mut sets));
            let lists = nodes.iter().flat_map(|node| &node.any);
            planned.push(Node {
                members,
                other,
                lists: lists.filter_map(|(_, list)| *list).collect(),
                slots: nodes.iter().flat_map(|n| n.slots.iter().copied()).collect(),
                pointer: readable(&pointer),
            });
        }
        planned
    }
}

fn root_of(nodes: &[Node], start: NodeId, root: &Pointer) -> Option<NodeId> {
    let mut tokens = root.tokens().peekable();
    tokens.peek()?;
    tokens.try_fold(start, |at, token| {
        let mut members = nodes[at as usize].members.iter();
        Some(members.find(|member| *member.key == *token)?.to)
    })
}

/// Whether its workflow's end is where the default shape has it.
fn is_as_original(definition: &Definition) -> bool {
    let original = Definition::original().workflow;
    let WorkflowFields { root, fields, .. } = &definition.workflow;
    *root == original.root
        && fields.status == original.fields.status
        && fields.complete == original.fields.complete
}

/// How any element is written for people.
const ANY: &str = "*";
/// The longest cursor.
const CURSOR_BYTES_MAX: usize = 4096;

/// A pointer for people; the document itself has a name too.
fn readable(pointer: &Pointer) -> Box<str> {
    pointer.to_string().into()
}

fn place_of_request(name: &str) -> Path {
    match name {
        "" => Path::default().then("request"),
        name => Path::default().then("requests").then(name),
    }
}

/// A variable within the braces of a language: a value could end its text, and a field is not meant as a variable.
fn in_braces(name: &str) -> String {
    format!(
        "{{{name}}} stands in a text with braces, as GraphQL has them: for a field write {{ {name} }}; for the value write $name there, and beside \"query\" write \"variables\": {{\"name\": \"{{{name}}}\"}}"
    )
}

fn known_names(definition: &Definition) -> BTreeSet<&str> {
    let parts = definition.id.iter().flat_map(|pattern| pattern.names());
    parts.chain(["id"]).collect()
}

/// All lists in the order in which they were planned.
fn pair<'d>(place: &Path, stages: &'d [Stages], pairs: &mut Vec<(Path, &'d Stages)>) {
    for (number, list) in stages.iter().enumerate() {
        let place = place.at(number);
        pairs.push((place.clone(), list));
        pair(&place.then("stages"), &list.stages, pairs);
    }
}

impl Plan {
    /// What a word for a status means. `None`: nobody knows.
    pub(super) fn meaning(&self, status: &str) -> Option<Meaning> {
        let mut statuses = self.definition.statuses.iter();
        let known = statuses.find(|(word, _)| word.eq_ignore_ascii_case(status));
        known.map(|(_, meaning)| *meaning)
    }

    /// What a word for a status is called.
    pub(super) fn status_name<'a>(&'a self, status: &'a str) -> &'a str {
        let mut names = self.definition.status_names.iter();
        let named = names.find(|(word, _)| word.eq_ignore_ascii_case(status));
        named.map_or(status, |(_, name)| name)
    }

    /// Whether its elements are not within those of another list of the same answer.
    pub(super) fn is_outermost(&self, list: &PlannedList) -> bool {
        let outer = list.outer.map(|outer| &self.lists[usize::from(outer)]);
        outer.is_none_or(|outer| outer.request != list.request)
    }

    /// The lists that an answer to this request has by itself.
    pub(super) fn outermost(&self, request: usize) -> impl Iterator<Item = ListId> {
        let lists = self.lists.iter().zip(0..);
        let of_it = move |list: &PlannedList| list.request == request && self.is_outermost(list);
        lists.filter(move |(list, _)| of_it(list)).map(|(_, id)| id)
    }

    pub(super) fn unknown_status(&self) -> UnknownStatus {
        self.definition.unknown_status
    }
}
