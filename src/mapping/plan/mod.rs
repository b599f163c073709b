//! A definition compiled: all its pointers as one automaton, which reads a body in one pass.
//!
//! Each pointer is a path in a trie of its request; a list of stages is a step that any element takes. A pointer may
//! lead into a list (`/jobs/0/url`), and then a value is at two places of the trie at once. So the nodes of the plan are
//! sets of places of the trie, made beforehand: a reader is always at one node.

mod automaton;
mod pointers;
mod references;

use super::definition::{Definition, Meaning, Request, UnknownStatus, WorkflowFields};
use farspan_syntax::mistake::{Mistake, Path, Place};
use farspan_syntax::pointer::Pointer;
use std::collections::BTreeMap;
use std::ops::Range;

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
    pub(super) nodes: Vec<PlanNode>,
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
    /// Whether the field has another pointer, which leads into this one's value.
    pub(super) has_inner: bool,
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
pub(super) struct PlanNode {
    pub(super) members: Box<[Member]>,
    /// Where any other element leads.
    pub(super) other: Option<NodeId>,
    /// The lists whose elements the elements of this value are.
    pub(super) lists: Box<[ListId]>,
    /// What this value is taken for.
    pub(super) slots: Box<[SlotId]>,
    /// Whether a number there is a time to the nanosecond, which no double holds.
    pub(super) is_exact: bool,
    /// From the answer's beginning, for people.
    pub(super) pointer: Box<str>,
}

impl PlanNode {
    /// Whether what it names is within an array or an object.
    fn is_inner(&self) -> bool {
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
    let at = planner.walk(main_start as TrieId, &main.root);
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
    let nodes = planner.nodes_of(&definition);
    let plain = planner.lists.len() <= 1 && planner.lists.iter().all(|list| list.key.len() <= 1);
    let order = planner.order();
    let Planner {
        requests,
        mut lists,
        slots,
        mut mistakes,
        ..
    } = planner;
    if !mistakes.is_empty() {
        mistakes.sort_unstable();
        mistakes.dedup();
        let placed = |(path, what)| Mistake {
            place: Place::default().join(&path),
            what,
        };
        return Err(mistakes.into_iter().map(placed).collect());
    }
    // Only the lists refer to a request by its number now.
    for list in &mut lists {
        let place = order.iter().position(|number| *number == list.request);
        list.request = place.unwrap_or_default();
    }
    let mut unordered: Vec<_> = requests.into_iter().map(Some).collect();
    let ordered = order.iter().filter_map(|number| unordered[*number].take());
    let mut requests: Vec<PlannedRequest> = ordered.collect();
    for main in requests.iter_mut().take(1) {
        main.root = automaton::root_of(&nodes, main.start, &definition.workflow.root);
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
/// A pointer for people; the document itself has a name too.
fn readable(pointer: &Pointer) -> Box<str> {
    pointer.to_string().into()
}

pub(super) fn place_of_request(name: &str) -> Path {
    match name {
        "" => Path::default().then("request"),
        name => Path::default().then("requests").then(name),
    }
}

impl Plan {
    /// What a word for a status means. `None`: the definition does not have it.
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

    pub(super) fn is_unset_text(&self, text: &str) -> bool {
        let mut unset = self.definition.unset_texts.iter();
        unset.any(|unset| **unset == *text)
    }

    pub(super) fn unknown_status(&self) -> UnknownStatus {
        self.definition.unknown_status
    }
}
