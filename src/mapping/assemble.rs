//! What the answers of one poll said, put together.

use super::plan::{ListId, PlannedSlot};
use super::pointer::escaped;
use super::read::{Element, Found, Join, Order, Part, WorkflowPart, unescaped_key};
use super::template::Variables;
use super::{Mapping, Reading, Unreadable};
use crate::core::limits;
use crate::core::snapshot::{Snapshot, StageSnapshot, State};
use crate::core::workflow::cut;
use sha2::{Digest, Sha256};
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;

/// One poll: what its answers have said so far.
///
/// ```text
/// for request in 0..mapping.requests().len():
///     for (element, variables) in gather.each(request):
///         until the last page:
///             part = mapping.read_slice(request, body)
///             gather.put(element, part)
/// gather.finish()
/// ```
#[derive(Debug)]
pub struct Gather<'m> {
    mapping: &'m Mapping,
    variables: Variables,
    /// Of each request the elements that it is asked for, by their place in `stages`.
    asked: Vec<Vec<u32>>,
    workflow: Option<Box<WorkflowPart>>,
    stages: Vec<Gathered>,
    parts: u32,
    oddity: Option<Box<str>>,
    found: Found,
}

#[derive(Debug)]
struct Gathered {
    list: ListId,
    part: u32,
    /// The element that it is nested in, which stands before it.
    within: Option<u32>,
    stage: StageSnapshot,
    join: Option<Box<Join>>,
}

/// A pointer that led nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Where it stands in the definition.
    pub place: Box<str>,
    /// Where it leads, from the beginning of its answer; `*` is any element.
    pub pointer: Box<str>,
    /// The request whose answers do not have it; empty for the main one.
    pub request: Box<str>,
}

impl<'m> Gather<'m> {
    pub(super) fn new(mapping: &'m Mapping, variables: Variables) -> Self {
        Gather {
            mapping,
            variables,
            asked: vec![Vec::new(); mapping.plan.requests.len()],
            workflow: None,
            stages: Vec::new(),
            parts: 0,
            oddity: None,
            found: Found::default(),
        }
    }

    /// How often a request is to be made, and with which variables: once, or for each element that those before it have
    /// found.
    pub fn each(&mut self, request: usize) -> Vec<Variables> {
        let plan = &self.mapping.plan;
        let planned = &plan.requests[request];
        let Some(list) = planned.for_each else {
            return vec![self.variables.clone()];
        };
        let above = planned.request.when_attempt_above.unwrap_or(0);
        let mut known = HashSet::new();
        let mut asked = Vec::new();
        let mut each = Vec::new();
        let stages = self.stages.iter().zip(0..);
        for (Gathered { stage, join, .. }, number) in stages.filter(|(s, _)| s.list == list) {
            if stage.attempt.max(1) <= above || !known.insert(&*stage.path) {
                continue;
            }
            let key = join.as_ref().and_then(|join| join.key.as_deref());
            let key = key.unwrap_or(&stage.path);
            let mut variables = self.variables.clone();
            if plan.plain {
                variables.set("stage.key", key);
                variables.set("stage.key.0", key);
            } else {
                variables.set("stage.key", &unescaped_key(key));
                for (number, part) in key.split('/').enumerate() {
                    variables.set(&format!("stage.key.{number}"), &unescaped_key(part));
                }
            }
            variables.set("stage.id", stage.id.as_deref().unwrap_or_default());
            variables.set("stage.name", &stage.kind);
            variables.set("stage.attempt", &stage.attempt.max(1).to_string());
            asked.push(number);
            each.push(variables);
        }
        self.asked[request] = asked;
        each
    }

    /// Takes what a body said: the answer to its request for the `element`th of [`each`](Self::each). The pages of an
    /// answer follow one another.
    pub fn put(&mut self, element: usize, part: impl Into<Arc<Part>>) {
        let part = Arc::unwrap_or_clone(part.into());
        self.found.add(&part.found);
        if self.oddity.is_none() {
            self.oddity = part.oddity;
        }
        // Those of a later page may be but a frame around it.
        if self.workflow.is_none() {
            self.workflow = part.workflow;
        }
        let asked = self.asked[part.request].get(element).copied();
        self.stages.reserve(part.elements.len());
        for element in part.elements {
            self.add(element, asked);
        }
        self.parts += 1;
    }

    /// `within` is the place of the element that it is nested in.
    fn add(&mut self, element: Element, within: Option<u32>) {
        if self.stages.len() >= limits::STAGES_MAX {
            let max = limits::STAGES_MAX;
            self.odd(|| format!("more than {max} stages: only the first {max} are watched"));
            return;
        }
        let Element {
            list,
            mut stage,
            join,
            nested,
        } = element;
        let planned = &self.mapping.plan.lists[usize::from(list)];
        let within = within.filter(|_| planned.outer.is_some());
        let path = within.map(|within| &*self.stages[within as usize].stage.path);
        stage.path = joined(path, planned.prefix.as_deref(), stage.path);
        stage.parent = path.map(Into::into);
        let (part, place) = (self.parts, self.stages.len() as u32);
        self.stages.push(Gathered {
            list,
            part,
            within,
            stage,
            join,
        });
        for element in nested {
            self.add(element, Some(place));
        }
    }

    /// What all answers together said.
    ///
    /// # Errors
    /// There was no answer to the main request.
    pub fn finish(mut self) -> Result<Reading, Unreadable> {
        let Some(workflow) = self.workflow.take() else {
            return Err(Unreadable::shape("no answer"));
        };
        self.number_attempts();
        self.inherit_attempts();
        self.merge();
        let has_ended = matches!(workflow.progress.state, State::Ended(_));
        self.connect(has_ended);
        let stages = self.stages.into_iter().map(|gathered| gathered.stage);
        let WorkflowPart {
            id,
            progress,
            attempt,
            url,
            attributes,
        } = *workflow;
        Ok(Reading {
            snapshot: Snapshot {
                workflow_id: id.map(|id| whole_id(self.mapping, &self.variables, id)),
                progress,
                attempt,
                url,
                attributes,
                stages: stages.collect(),
            },
            oddity: self.oddity,
        })
    }

    /// The pointers that found nothing in any body so far, not even null. Of a list without elements it is not known.
    pub fn found_nothing(&self) -> Vec<Missing> {
        let plan = &self.mapping.plan;
        let request_of = |list: Option<ListId>| match list {
            Some(list) => plan.lists[usize::from(list)].request,
            None => 0,
        };
        let is_read = |list: Option<ListId>| {
            list.is_none_or(|list| self.found.element(plan, usize::from(list)))
        };
        let slots = plan.slots.iter().enumerate();
        let slots = slots.filter(|(number, slot)| is_read(slot.list) && !self.found.slot(*number));
        let page_of = |number: usize| {
            let of = |slots: &super::plan::Slots| slots.contains(&(number as u16));
            let mut requests = plan.requests.iter();
            requests.position(|r| of(&r.total) || of(&r.next))
        };
        let missing = |place: &str, pointer: &str, request: usize| Missing {
            place: place.into(),
            pointer: pointer.into(),
            request: plan.requests[request].name.clone(),
        };
        let slots = slots.map(|(number, slot): (usize, &PlannedSlot)| {
            let request = page_of(number).unwrap_or_else(|| request_of(slot.list));
            missing(&slot.place, &slot.pointer, request)
        });
        let lists = plan.lists.iter().enumerate();
        let lists = lists.filter(|(id, list)| is_read(list.outer) && !self.found.list(plan, *id));
        let lists = lists
            .map(|(_, list)| missing(&format!("{}/list", list.place), &list.pointer, list.request));
        slots.chain(lists).collect()
    }

    fn odd(&mut self, what: impl FnOnce() -> String) {
        self.oddity.get_or_insert_with(|| what().into());
    }

    /// Elements with one path and no attempt are attempts in the order that the list says.
    fn number_attempts(&mut self) {
        let numbered = |gathered: &Gathered| {
            let list = &self.mapping.plan.lists[usize::from(gathered.list)];
            !list.number_by.is_empty() && gathered.stage.attempt == 0
        };
        let stages = self.stages.iter().enumerate();
        let mut these: Vec<_> = stages
            .filter(|(_, g)| numbered(g))
            .map(|(n, _)| n)
            .collect();
        let order = |n: usize| match &self.stages[n].join {
            Some(join) => &join.order,
            None => &Order::Last,
        };
        these.sort_by(|&a, &b| {
            let paths = self.stages[a].stage.path.cmp(&self.stages[b].stage.path);
            paths.then_with(|| order(a).partial_cmp(order(b)).unwrap_or(Ordering::Equal))
        });
        let mut attempt = 0;
        for at in 0..these.len() {
            let same = at > 0 && {
                let path = |n: usize| &self.stages[these[n]].stage.path;
                path(at) == path(at - 1)
            };
            attempt = if same { attempt + 1 } else { 1 };
            self.stages[these[at]].stage.attempt = attempt;
        }
    }

    /// What is nested and has no attempt of its own is of that of the element around it: the steps of a job that is tried
    /// again are not those of the job that has failed.
    fn inherit_attempts(&mut self) {
        for number in 0..self.stages.len() {
            let Gathered { within, stage, .. } = &self.stages[number];
            if let Some(within) = within.filter(|_| stage.attempt == 0) {
                self.stages[number].stage.attempt = self.stages[within as usize].stage.attempt;
            }
        }
    }

    /// One of each path and attempt: the later one counts, for what it says.
    fn merge(&mut self) {
        for gathered in &mut self.stages {
            gathered.stage.attempt = gathered.stage.attempt.max(1);
        }
        let mut order: Vec<u32> = (0..self.stages.len() as u32).collect();
        let run = |n: &u32| {
            let stage = &self.stages[*n as usize].stage;
            (&stage.path, stage.attempt)
        };
        order.sort_by(|a, b| run(a).cmp(&run(b)));
        let twice: Vec<_> = order
            .windows(2)
            .filter(|two| run(&two[0]) == run(&two[1]))
            .map(|two| (two[0] as usize, two[1] as usize))
            .collect();
        if twice.is_empty() {
            return;
        }
        // Into the first of them, which are neighbours here and in order.
        let mut into = 0;
        let mut gone = HashSet::new();
        for (number, (earlier, later)) in twice.iter().enumerate() {
            if number == 0 || twice[number - 1].1 != *earlier {
                into = *earlier;
            }
            let newer = &mut self.stages[*later];
            let (stage, join) = (std::mem::take(&mut newer.stage), newer.join.take());
            if self.is_of_one_body(*earlier, *later) {
                self.tell_twice(&stage.path, *later);
                self.stages[into].stage = stage;
                self.stages[into].join = join;
            } else {
                let merged = &mut self.stages[into];
                merge_into(&mut merged.stage, stage);
                merged.join = join.or(merged.join.take());
            }
            gone.insert(*later);
        }
        let mut number = 0;
        self.stages.retain(|_| {
            number += 1;
            !gone.contains(&(number - 1))
        });
    }

    /// Two elements of one list in one body are not meant to be one.
    fn is_of_one_body(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.stages[a], &self.stages[b]);
        (a.list, a.part) == (b.list, b.part)
    }

    fn tell_twice(&mut self, path: &str, number: usize) {
        let list = usize::from(self.stages[number].list);
        let pointer = &self.mapping.plan.lists[list].pointer;
        self.odd(|| format!("two stages in {pointer} have the key {path:?}; one is left out"));
    }

    /// Parents, where elements name them or their children.
    fn connect(&mut self, has_ended: bool) {
        let plan = &self.mapping.plan;
        let joins = |list: &super::plan::PlannedList| {
            list.parent_list.is_some() || list.child_list.is_some()
        };
        if !plan.lists.iter().any(joins) {
            return;
        }
        let paths: HashMap<Box<str>, usize> = (0..self.stages.len())
            .rev()
            .map(|number| (self.stages[number].stage.path.clone(), number))
            .collect();
        let mut parents: Vec<Option<usize>> = vec![None; self.stages.len()];
        let mut lost = None;
        for (number, gathered) in self.stages.iter().enumerate() {
            let list = &plan.lists[usize::from(gathered.list)];
            let Some(join) = &gathered.join else { continue };
            for id in &join.child_ids {
                let child = list.child_list.map(|child| self.path_of_key(child, id));
                // Of two that claim it the first.
                if let Some(child) = child.and_then(|path| paths.get(&*path)) {
                    let parent = &mut parents[*child];
                    let first = paths.get(&gathered.stage.path).copied();
                    *parent = parent.or(first).filter(|parent| parent != child);
                }
            }
            if let (Some(of), Some(key)) = (list.parent_list, &join.parent) {
                match paths.get(&*self.path_of_key(of, key)) {
                    Some(parent) if *gathered.stage.path == *self.stages[*parent].stage.path => {}
                    Some(parent) => parents[number] = Some(*parent),
                    None => {
                        lost.get_or_insert_with(|| {
                            format!(
                                "a stage in {} names the parent {key:?}, which is not there",
                                list.pointer
                            )
                        });
                    }
                }
            }
        }
        if let Some(lost) = lost {
            self.odd(|| lost);
        }
        for (number, Gathered { stage, .. }) in self.stages.iter().enumerate() {
            let nested = stage.parent.as_ref().and_then(|path| paths.get(path));
            parents[number] = parents[number].or(nested.copied());
            // Further attempts have the parent of the first.
            let first = paths.get(&stage.path).copied();
            parents[number] = parents[number].or_else(|| parents[first?]);
        }
        let (depths, circles) = depths(&mut parents);
        if circles {
            self.odd(|| "stages are their own ancestors; some of them have no parent now".into());
        }
        let mut order: Vec<usize> = (0..self.stages.len()).collect();
        order.sort_by_key(|number| depths[*number]);
        let mut kept = vec![false; self.stages.len()];
        for number in &order {
            let gathered = &mut self.stages[*number];
            let list = &plan.lists[usize::from(gathered.list)];
            kept[*number] = match parents[*number] {
                Some(parent) => kept[parent],
                // It may have been seen before its parent was: the next answer tells.
                None => has_ended || !list.is_claimed,
            };
        }
        let mut stages: Vec<_> = std::mem::take(&mut self.stages)
            .into_iter()
            .map(Some)
            .collect();
        let paths: Vec<_> = stages
            .iter()
            .flatten()
            .map(|g| g.stage.path.clone())
            .collect();
        for number in order.into_iter().filter(|number| kept[*number]) {
            if let Some(mut gathered) = stages[number].take() {
                gathered.stage.parent = parents[number].map(|parent| paths[parent].clone());
                self.stages.push(gathered);
            }
        }
    }

    /// The path of the element of an outermost list that has this key.
    fn path_of_key(&self, list: ListId, key: &str) -> Box<str> {
        let key = match self.mapping.plan.plain {
            true => key.into(),
            false => escaped(key).into(),
        };
        let prefix = &self.mapping.plan.lists[usize::from(list)].prefix;
        joined(None, prefix.as_deref(), key)
    }
}

/// How far each is from its outermost ancestor, and whether there were circles, which are cut.
fn depths(parents: &mut [Option<usize>]) -> (Vec<u32>, bool) {
    const UNKNOWN: u32 = u32::MAX;
    const ON_THE_WAY: u32 = u32::MAX - 1;
    let mut depths = vec![UNKNOWN; parents.len()];
    let mut circles = false;
    let mut way = Vec::new();
    for from in 0..parents.len() {
        let mut at = from;
        let mut depth = loop {
            match depths[at] {
                UNKNOWN => {}
                ON_THE_WAY => {
                    // The last step closed it.
                    if let Some(last) = way.last() {
                        let last: &usize = last;
                        parents[*last] = None;
                    }
                    circles = true;
                    break 0;
                }
                known => break known + 1,
            }
            depths[at] = ON_THE_WAY;
            way.push(at);
            match parents[at] {
                Some(parent) => at = parent,
                None => break 0,
            }
        };
        for number in way.drain(..).rev() {
            depths[number] = depth;
            depth += 1;
        }
    }
    (depths, circles)
}

/// A path; one that is too long keeps its beginning and what tells it from others.
fn joined(within: Option<&str>, prefix: Option<&str>, key: Box<str>) -> Box<str> {
    let path = match (within, prefix) {
        (None, None) => key,
        (Some(within), None) => format!("{within}/{key}").into(),
        (None, Some(prefix)) => format!("{prefix}/{key}").into(),
        (Some(within), Some(prefix)) => format!("{within}/{prefix}/{key}").into(),
    };
    if path.len() <= limits::NAME_BYTES_MAX {
        return path;
    }
    const DIGEST_BYTES: usize = 8;
    let begin = cut(&path, limits::NAME_BYTES_MAX - 2 * DIGEST_BYTES - 1);
    let mut short = format!("{begin}~");
    for byte in Sha256::digest(path.as_bytes()).iter().take(DIGEST_BYTES) {
        // A String takes everything.
        let _ = write!(short, "{byte:02x}");
    }
    short.into()
}

/// What the newer one does not say, the older one did.
fn merge_into(older: &mut StageSnapshot, mut newer: StageSnapshot) {
    newer.id = newer.id.or(older.id.take());
    newer.url = newer.url.or(older.url.take());
    if newer.attributes.is_empty() {
        newer.attributes = std::mem::take(&mut older.attributes);
    }
    let (new, old) = (&mut newer.progress, &mut older.progress);
    new.queued = new.queued.or(old.queued);
    new.start = new.start.or(old.start);
    new.end = new.end.or(old.end);
    new.error = new.error.take().or(old.error.take());
    *older = newer;
}

/// The id as the event has it, where the API has but its last part.
fn whole_id(mapping: &Mapping, variables: &Variables, id: Box<str>) -> Box<str> {
    let last = mapping
        .plan
        .definition
        .id
        .as_ref()
        .map(|pattern| pattern.last());
    let is_last = last.is_some_and(|last| variables.get(last) == Some(&*id));
    match variables.get("id") {
        Some(whole) if is_last => whole.into(),
        _ => id,
    }
}
