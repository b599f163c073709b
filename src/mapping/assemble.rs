//! What the answers of one poll said, put together.

use super::oddity::{Oddity, OddityKind, named};
use super::plan::{ListId, Plan, PlannedList, PlannedSlot, place_of_request};
use super::read::{Element, Links, Matches, Order, Part, WorkflowPart, unescaped_key};
use super::template::Variables;
use super::{Mapping, Reading, UnreadableBody};
use farspan_core::limits;
use farspan_core::limits::cut;
use farspan_core::pieces::{Index, Pieces};
use farspan_core::snapshot::{
    Outcome, Progress, Snapshot, StageSnapshot, StageView, Stages, State,
};
use farspan_syntax::mistake::Path;
use farspan_syntax::pointer::{Pointer, escaped};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::mem::discriminant;

/// One poll: what its answers have said so far.
///
/// ```text
/// for request in 0..mapping.requests().len():
///     for (element, variables) in gather.each(request), or once with gather.variables():
///         until the last page:
///             part = mapping.read_slice(request, body)
///             gather.put(element, part)
/// gather.finish()
/// ```
#[derive(Debug)]
pub struct Gather<'m> {
    mapping: &'m Mapping,
    variables: Variables<'m>,
    /// Of each request for elements these elements, by their place in `stages`.
    asked: Vec<(usize, Vec<Index>)>,
    workflow: Option<WorkflowPart>,
    /// Each behind the one that it is nested in.
    stages: Stages,
    /// What else there is to each of them.
    elements: Pieces<Element>,
    /// Where those of each body but the first begin.
    bodies: Vec<usize>,
    /// The first one.
    oddity: Option<Box<Oddity>>,
    /// For a probe: the oddities that only show when the answers are put together.
    together: Option<Vec<Oddity>>,
    found: Matches,
    /// What the answer to a request has, where it is not all that was looked for.
    there: Vec<(usize, Box<str>)>,
}

/// Oddities of one kind that a probe reports.
const SAME_MAX: usize = 5;

/// A pointer that led nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Where it stands in the definition.
    pub place: Path,
    /// Where it leads, from the beginning of its answer; `*` is any element.
    pub pointer: Box<str>,
    /// The request whose answers do not have it; empty for the main one.
    pub request: Box<str>,
}

impl<'m> Gather<'m> {
    pub(super) fn new(mapping: &'m Mapping, variables: Variables<'m>) -> Self {
        Gather {
            mapping,
            variables,
            asked: Vec::new(),
            workflow: None,
            stages: Stages::default(),
            elements: Pieces::default(),
            bodies: Vec::new(),
            oddity: None,
            together: None,
            found: Matches::default(),
            there: Vec::new(),
        }
    }

    /// For a probe: gathers the oddities that only show when the answers are put together.
    pub fn gather_oddities(&mut self) {
        self.together.get_or_insert_default();
    }

    /// The variables of a request for each element that the requests before it have found. `None`: it is made once, with
    /// [`variables`](Self::variables).
    pub fn each(&mut self, request: usize) -> Option<Vec<Variables<'m>>> {
        let plan = &self.mapping.plan;
        let planned = &plan.requests[request];
        let list = planned.for_each?;
        let above = planned.request.when_attempt_above.unwrap_or(0);
        let mut known = HashSet::new();
        let mut asked = Vec::new();
        let mut each = Vec::new();
        let elements = self.elements.iter().enumerate();
        for (place, element) in elements.filter(|(_, element)| element.list == list) {
            let stage = self.stages.get(place);
            if stage.attempt.max(1) <= above || !known.insert(stage.path) {
                continue;
            }
            let key = element
                .links
                .as_ref()
                .and_then(|links| links.key.as_deref());
            let key = key.unwrap_or(stage.path);
            let mut variables = self.variables.clone();
            if plan.plain {
                variables.set("stage.key", key);
                variables.set("stage.key.0", key);
            } else {
                variables.set("stage.key", &unescaped_key(key));
                for (number, part) in key.split('/').enumerate() {
                    variables.set(format!("stage.key.{number}"), &unescaped_key(part));
                }
            }
            variables.set("stage.id", stage.id.unwrap_or_default());
            variables.set("stage.name", stage.kind);
            variables.set("stage.attempt", &stage.attempt.max(1).to_string());
            asked.push(Index::of(place));
            each.push(variables);
        }
        self.asked.push((request, asked));
        Some(each)
    }

    /// The variables of a request that is made once.
    pub fn variables(&self) -> &Variables<'m> {
        &self.variables
    }

    fn there_of(&self, request: usize) -> Option<&str> {
        let mut there = self.there.iter();
        Some(&*there.find(|(of, _)| *of == request)?.1)
    }

    /// Takes what a body said: the answer to its request for the `element`th of [`each`](Self::each). The pages of an
    /// answer follow one another.
    pub fn put(&mut self, element: usize, part: Part) {
        self.found.add(part.found);
        if self.oddity.is_none() {
            self.oddity = part.oddity;
        }
        if let Some(there) = part.there
            && self.there_of(part.request).is_none()
        {
            self.there.push((part.request, there));
        }
        // Those of a later page may be but a frame around it.
        if self.workflow.is_none() {
            self.workflow = part.workflow;
        }
        let mut asked = self.asked.iter();
        let asked = asked.rfind(|(request, _)| *request == part.request);
        let asked = asked.and_then(|(_, elements)| elements.get(element).copied());
        let from = self.stages.len();
        self.take(part.stages, part.elements, asked);
        if from > 0 {
            self.bodies.push(from);
        }
        for place in from..self.stages.len() {
            self.put_in_its_place(place);
        }
    }

    /// `asked`: the place of the element that they were asked for.
    fn take(&mut self, mut stages: Stages, elements: Pieces<Element>, asked: Option<Index>) {
        let from = self.stages.len();
        let room = limits::STAGES_MAX - from;
        if stages.len() > room {
            let max = limits::STAGES_MAX;
            self.odd(|| Oddity::of_all(OddityKind::TooManyStages(max)));
            stages.arrange(0..room);
        }
        self.stages.append(stages);
        if from == 0 {
            self.elements = elements;
            self.elements.truncate(room);
            return;
        }
        for mut element in elements.into_iter().take(room) {
            let planned = &self.mapping.plan.lists[usize::from(element.list)];
            element.within = match element.within {
                Some(within) => Some(Index::of(from + within.get())),
                None => asked.filter(|_| planned.outer.is_some()),
            };
            self.elements.push(element);
        }
    }

    /// Behind the path of the element that it is nested in, which has its own already.
    fn put_in_its_place(&mut self, place: usize) {
        let Element { list, within, .. } = &self.elements[place];
        let prefix = self.mapping.plan.lists[usize::from(*list)]
            .prefix
            .as_deref();
        let within = within.map(Index::get);
        let outer = within.map(|within| self.stages.run(within).0);
        let (key, _) = self.stages.run(place);
        if let Cow::Owned(path) = joined(outer, prefix, key) {
            self.stages.set_path(place, &path);
        }
        if within.is_some() {
            self.stages.set_parent(place, within);
        }
    }

    /// What all answers together said.
    ///
    /// # Errors
    /// There was no answer to the main request.
    pub fn finish(mut self) -> Result<Reading, UnreadableBody> {
        let Some(workflow) = self.workflow.take() else {
            return Err(UnreadableBody::shape("no answer"));
        };
        self.number_attempts();
        self.inherit_attempts();
        self.merge();
        let has_ended = matches!(workflow.progress.state, State::Ended(_));
        self.connect(has_ended);
        self.note_nowhere(&workflow.progress);
        let WorkflowPart {
            id,
            mut progress,
            attempt,
            url,
            attributes,
        } = workflow;
        self.take_times_of_stages(&mut progress);
        Ok(Reading {
            snapshot: Snapshot {
                workflow_id: id.map(|id| whole_id(self.mapping, &self.variables, id)),
                progress,
                attempt,
                url,
                attributes,
                stages: self.stages,
            },
            oddity: self.oddity.map(|oddity| oddity.text()),
            together: self.together.unwrap_or_default(),
        })
    }

    /// The start of the first stage that has begun, and the end of the last one, where the definition asks for them.
    fn take_times_of_stages(&self, progress: &mut Progress) {
        let workflow = &self.mapping.plan.definition.workflow;
        if workflow.starts_with_stages {
            let has_begun = |stage: &StageView<'_>| stage.progress.state != State::Pending;
            let begun = self.stages.iter().filter(has_begun);
            progress.start = begun
                .filter_map(|stage| stage.progress.start)
                .min()
                .or(progress.start);
        }
        if workflow.ends_with_stages && matches!(progress.state, State::Ended(_)) {
            let has_ended = |stage: &StageView<'_>| matches!(stage.progress.state, State::Ended(_));
            let ended = self.stages.iter().filter(has_ended);
            progress.end = ended
                .filter_map(|stage| stage.progress.end)
                .max()
                .or(progress.end);
        }
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
        let missing = |place: Path, pointer: &str, request: usize| Missing {
            place,
            pointer: pointer.into(),
            request: plan.requests[request].name.clone(),
        };
        let slots = slots.map(|(number, slot): (usize, &PlannedSlot)| {
            let request = page_of(number).unwrap_or_else(|| request_of(slot.list));
            missing(slot.place.clone(), &slot.pointer, request)
        });
        let lists = plan.lists.iter().enumerate();
        let lists = lists.filter(|(id, list)| is_read(list.outer) && !self.found.list(plan, *id));
        let lists =
            lists.map(|(_, list)| missing(list.place.then("list"), &list.pointer, list.request));
        slots.chain(lists).collect()
    }

    /// What led nowhere though it ought to be there by now. Some APIs leave out what they have nothing for yet: a status
    /// may come with the first stage or time, and stages until the workflow has succeeded.
    fn note_nowhere(&mut self, progress: &Progress) {
        let plan = &self.mapping.plan;
        if plan.absent_is_null || self.there.is_empty() {
            return;
        }
        let fields = &plan.workflow;
        let has_begun = progress.start.is_some() || !self.stages.is_empty() || self.is_bare();
        // Whether it is complete may be told when it is.
        let is_due = progress.end.is_some() || has_begun && !fields.status.is_empty();
        if is_due && !self.found.end_of_workflow(plan) {
            let slots = fields.status.clone().chain(fields.complete.clone());
            let slots: Vec<_> = slots.map(|slot| &plan.slots[usize::from(slot)]).collect();
            let mut pointers: Vec<&str> = slots.iter().map(|slot| &*slot.pointer).collect();
            let mut known = HashSet::new();
            pointers.retain(|pointer| known.insert(*pointer));
            let place = slots.first().map(|slot| slot.place.clone());
            let odd = self.nowhere(place.unwrap_or_default(), &pointers, 0);
            // Nothing else that is odd is as bad.
            if let Some(odd) = odd {
                self.oddity = None;
                self.odd(|| odd);
            }
        }
        let mut nowhere = Vec::new();
        for request in 0..plan.requests.len() {
            let is_due = match (request, progress.state) {
                (0, State::Ended(outcome)) => outcome == Outcome::Success,
                (0, _) | (_, State::Pending) => false,
                (_, State::Running | State::Ended(_)) => true,
            };
            let lists = plan.outermost(request).map(usize::from);
            for list in lists.filter(|list| is_due && !self.found.list(plan, *list)) {
                nowhere.extend(self.list_nowhere(&plan.lists[list]));
            }
        }
        for odd in nowhere {
            self.odd(|| odd);
        }
    }

    /// Whether the answers have no more of the workflow than what does not change.
    fn is_bare(&self) -> bool {
        let plan = &self.mapping.plan;
        let fields = &plan.workflow;
        let times = [&fields.queued, &fields.start, &fields.end];
        let mut times = times.into_iter().flat_map(Clone::clone);
        !times.any(|slot| self.found.slot(usize::from(slot)))
            && !(0..plan.lists.len()).any(|list| self.found.list(plan, list))
    }

    fn list_nowhere(&self, list: &PlannedList) -> Option<Oddity> {
        let place = list.place.then("list");
        let mut odd = self.nowhere(place, &[&list.pointer], list.request)?;
        let has_root = self.mapping.plan.definition.workflow.root != Pointer::default();
        if list.request == 0
            && has_root
            && let OddityKind::Nowhere { there, .. } = &mut odd.kind
        {
            let rule = "a list begins at the answer, not at workflow.root";
            *there = format!("{there}; {rule}").into();
        }
        Some(odd)
    }

    /// `None` where the request was not answered.
    fn nowhere(&self, place: Path, pointers: &[&str], request: usize) -> Option<Oddity> {
        Some(Oddity {
            request: self.mapping.plan.requests[request].name.clone(),
            pointer: cut(&pointers.join(", "), limits::NAME_BYTES_MAX).into(),
            place: Some(place),
            kind: OddityKind::Nowhere {
                count: pointers.len(),
                there: self.there_of(request)?.into(),
            },
        })
    }

    fn odd(&mut self, oddity: impl FnOnce() -> Oddity) {
        if self.together.is_none() && self.oddity.is_some() {
            return;
        }
        let oddity = oddity();
        if let Some(together) = &mut self.together {
            let kind = discriminant(&oddity.kind);
            let same = together.iter().filter(|it| discriminant(&it.kind) == kind);
            if same.count() >= SAME_MAX {
                return;
            }
            if !together.contains(&oddity) {
                together.push(oddity.clone());
            }
        }
        self.oddity.get_or_insert_with(|| oddity.into());
    }

    /// Elements with one path and no attempt are attempts in the order that the list says.
    fn number_attempts(&mut self) {
        let mut numbered: Vec<usize> = Vec::new();
        for (place, element) in self.elements.iter().enumerate() {
            let list = &self.mapping.plan.lists[usize::from(element.list)];
            if !list.number_by.is_empty() && self.stages.run(place).1 == 0 {
                numbered.push(place);
            }
        }
        let path = |place: usize| self.stages.run(place).0;
        let order = |place: usize| match &self.elements[place].links {
            Some(links) => &links.order,
            None => &Order::Last,
        };
        numbered.sort_unstable_by(|&a, &b| {
            let orders = || order(a).partial_cmp(order(b)).unwrap_or(Ordering::Equal);
            path(a).cmp(path(b)).then_with(orders).then(a.cmp(&b))
        });
        let mut attempt = 0;
        for (number, &place) in numbered.iter().enumerate() {
            let before = number.checked_sub(1).map(|before| numbered[before]);
            let path = |place: usize| self.stages.run(place).0;
            let before = before.filter(|before| path(*before) == path(place));
            attempt = match before {
                Some(before) if self.is_on_two_pages(before, place) => attempt,
                Some(_) => attempt + 1,
                None => 1,
            };
            self.stages.set_attempt(place, attempt);
        }
    }

    /// Whether these are one attempt: a list that grew at its beginning while its pages were asked for has its last
    /// element of a page on the next one too.
    fn is_on_two_pages(&self, a: usize, b: usize) -> bool {
        let order = |place: usize| Some(&self.elements[place].links.as_ref()?.order);
        let id = |place: usize| self.stages.get(place).id;
        let is_numbered = order(a).is_some_and(|order| *order != Order::Last);
        is_numbered && order(a) == order(b) && id(a) == id(b) && !self.is_of_one_body(a, b)
    }

    /// What is nested and has no attempt of its own is of that of the element around it: the steps of a job that is tried
    /// again are not those of the job that has failed. An element with no attempt around it is the first.
    fn inherit_attempts(&mut self) {
        for (place, element) in self.elements.iter().enumerate() {
            if self.stages.run(place).1 == 0 {
                let within = element.within.map(|within| self.stages.run(within.get()).1);
                self.stages.set_attempt(place, within.unwrap_or(1));
            }
        }
    }

    /// One of each path and attempt: the later one counts, for what it says.
    fn merge(&mut self) {
        /// So many are compared with each other, for they are quicker compared than sorted.
        const FEW: usize = 8;
        let run = |place: &usize| self.stages.run(*place);
        let mut places = 1..self.stages.len();
        if places.all(|place| run(&(place - 1)) < run(&place)) {
            return;
        }
        let is_new = |place: usize| (0..place).all(|before| run(&before) != run(&place));
        if self.stages.len() <= FEW && (0..self.stages.len()).all(is_new) {
            return;
        }
        let mut order: Vec<usize> = (0..self.stages.len()).collect();
        order.sort_unstable_by(|a, b| run(a).cmp(&run(b)).then(a.cmp(b)));
        let neighbours = order.windows(2).map(|two| (two[0], two[1]));
        let twice: Vec<_> = neighbours.filter(|(a, b)| run(a) == run(b)).collect();
        if twice.is_empty() {
            return;
        }
        // Into the first of them, which are neighbours here and in order.
        let mut into = 0;
        let mut is_gone = vec![false; self.stages.len()];
        for (number, &(earlier, later)) in twice.iter().enumerate() {
            if number == 0 || twice[number - 1].1 != earlier {
                into = earlier;
            }
            let newer: StageSnapshot = self.stages.get(later).into();
            let links = self.elements[later].links.take();
            if self.is_of_one_body(earlier, later) {
                self.note_duplicate(&newer.path, later);
                self.stages.replace(into, newer);
                self.elements[into].links = links;
            } else {
                let has_kind = self.elements[later].has_kind;
                let merged = merged(self.stages.get(into), newer, has_kind);
                self.stages.replace(into, merged);
                let element = &mut self.elements[into];
                element.has_kind |= has_kind;
                element.links = merged_links(element.links.take(), links);
            }
            is_gone[later] = true;
        }
        let stays = |place: &usize| !is_gone[*place];
        self.stages.arrange((0..is_gone.len()).filter(stays));
        let elements = std::mem::take(&mut self.elements).into_iter().enumerate();
        let elements = elements.filter(|(place, _)| stays(place));
        self.elements = elements.map(|(_, element)| element).collect();
    }

    /// Two elements of one list in one body are not meant to be one.
    fn is_of_one_body(&self, a: usize, b: usize) -> bool {
        let of = |place: usize| {
            let body = self.bodies.partition_point(|from| *from <= place);
            (self.elements[place].list, body)
        };
        of(a) == of(b)
    }

    fn note_duplicate(&mut self, path: &str, number: usize) {
        let list = &self.mapping.plan.lists[usize::from(self.elements[number].list)];
        self.odd(|| {
            of_list(
                &self.mapping.plan,
                list,
                OddityKind::DuplicateKey(path.into()),
            )
        });
    }

    /// Gives stages their parents, where elements name them or their children.
    fn connect(&mut self, has_ended: bool) {
        let lists = &self.mapping.plan.lists;
        let connects = |list: &PlannedList| list.parent_list.is_some() || list.child_list.is_some();
        if !lists.iter().any(connects) {
            return;
        }
        let (mut parents, oddities) = self.named_parents(has_ended);
        let (depths, has_circle) = depths(&mut parents);
        for oddity in oddities {
            self.odd(|| oddity);
        }
        if has_circle {
            self.odd(|| Oddity::of_all(OddityKind::Circle));
        }
        let mut order: Vec<usize> = (0..parents.len()).collect();
        order.sort_unstable_by_key(|number| (depths[*number], *number));
        let mut is_kept = vec![false; parents.len()];
        for number in &order {
            is_kept[*number] = match parents[*number] {
                Some(parent) => is_kept[parent],
                // Its parent may not have been there yet when it was listed: the next answer has both.
                None => has_ended || !self.list_of(*number).is_claimed,
            };
        }
        for (number, parent) in parents.into_iter().enumerate() {
            self.stages.set_parent(number, parent);
        }
        self.stages
            .arrange(order.into_iter().filter(|number| is_kept[*number]));
    }

    /// Of each stage its parent: the one that it names, that names it, or that it is nested in.
    fn named_parents(&self, has_ended: bool) -> (Vec<Option<usize>>, Vec<Oddity>) {
        let path = |place: usize| self.stages.run(place).0;
        let places = (0..self.stages.len()).rev();
        let firsts: HashMap<&str, usize> = places.map(|n| (path(n), n)).collect();
        let mut parents: Vec<Option<usize>> = vec![None; self.stages.len()];
        let most = if self.together.is_some() { SAME_MAX } else { 1 };
        let (mut lost, mut childless) = (Vec::new(), Vec::new());
        for (number, element) in self.elements.iter().enumerate() {
            let list = self.list_of(number);
            let Some(links) = &element.links else {
                continue;
            };
            let children = list.child_list.into_iter();
            for (children, id) in
                children.flat_map(|c| links.child_ids.iter().map(move |id| (c, id)))
            {
                let child = firsts.get(&*self.path_of_key(children, id));
                // While the workflow runs, the child may still come.
                let is_lost = child.is_none() && has_ended && self.is_whole(children);
                if is_lost && childless.len() < most {
                    let oddity = self.lost_child(list, id, children);
                    if !childless.contains(&oddity) {
                        childless.push(oddity);
                    }
                }
                // Of two stages that name it as their child, the first is the parent.
                if let Some(child) = child {
                    let first = firsts.get(path(number)).copied();
                    let parent = &mut parents[*child];
                    *parent = parent.or(first).filter(|parent| parent != child);
                }
            }
            let (Some(of), Some(key)) = (list.parent_list, &links.parent) else {
                continue;
            };
            match firsts.get(&*self.path_of_key(of, key)) {
                Some(parent) if path(number) == path(*parent) => {}
                Some(parent) => parents[number] = Some(*parent),
                None if lost.len() < most => {
                    let key = cut(key, limits::NAME_BYTES_MAX).into();
                    let oddity = of_list(&self.mapping.plan, list, OddityKind::LostParent(key));
                    if !lost.contains(&oddity) {
                        lost.push(oddity);
                    }
                }
                None => {}
            }
        }
        for (number, stage) in self.stages.iter().enumerate() {
            let nested = stage.parent.and_then(|path| firsts.get(path));
            parents[number] = parents[number].or(nested.copied());
            // Further attempts have the parent of the first.
            let first = firsts.get(stage.path).copied();
            parents[number] = parents[number].or_else(|| parents[first?]);
        }
        lost.append(&mut childless);
        (parents, lost)
    }

    fn lost_child(&self, list: &PlannedList, id: &str, children: ListId) -> Oddity {
        let plan = &self.mapping.plan;
        let ids = &plan.slots[usize::from(list.child_ids.start)];
        let children = &plan.lists[usize::from(children)];
        let mut where_to = named(&children.pointer).to_owned();
        if children.request != list.request {
            let request = place_of_request(&plan.requests[children.request].name);
            let _ = write!(where_to, " of {request}");
        }
        Oddity {
            request: plan.requests[list.request].name.clone(),
            pointer: ids.pointer.clone(),
            place: Some(ids.place.clone()),
            kind: OddityKind::LostChild {
                id: cut(id, limits::NAME_BYTES_MAX).into(),
                children: where_to.into(),
            },
        }
    }

    fn list_of(&self, number: usize) -> &PlannedList {
        &self.mapping.plan.lists[usize::from(self.elements[number].list)]
    }

    /// Whether all its elements are stages that were kept.
    fn is_whole(&self, list: ListId) -> bool {
        let plan = &self.mapping.plan;
        let except = &plan.lists[usize::from(list)].except;
        let is_there = self.found.list(plan, usize::from(list));
        is_there && except.is_empty() && self.stages.len() < limits::STAGES_MAX
    }

    /// The path of the element of an outermost list that has this key.
    fn path_of_key(&self, list: ListId, key: &str) -> String {
        let key = if self.mapping.plan.plain {
            key.into()
        } else {
            escaped(key)
        };
        let prefix = &self.mapping.plan.lists[usize::from(list)].prefix;
        joined(None, prefix.as_deref(), &key).into_owned()
    }
}

fn of_list(plan: &Plan, list: &PlannedList, kind: OddityKind) -> Oddity {
    Oddity {
        request: plan.requests[list.request].name.clone(),
        pointer: list.pointer.clone(),
        place: Some(list.place.then("list")),
        kind,
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
fn joined<'k>(within: Option<&str>, prefix: Option<&str>, key: &'k str) -> Cow<'k, str> {
    let path: Cow<'_, str> = match (within, prefix) {
        (None, None) => key.into(),
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

/// What the newer one does not say, the older one did. `has_kind`: the newer one says its kind.
fn merged(older: StageView<'_>, newer: StageSnapshot, has_kind: bool) -> StageSnapshot {
    let (new, old) = (newer.progress, older.progress);
    let says_nothing = new.status.is_none() && new.state == State::Pending;
    let (status, state) = if says_nothing {
        (old.status.map(Into::into), old.state)
    } else {
        (new.status, new.state)
    };
    let is_newer = |name: &str| newer.attributes.iter().any(|(known, _)| **known == *name);
    let kept = older.attributes.iter().filter(|(name, _)| !is_newer(name));
    let attributes = newer.attributes.iter().chain(kept).cloned();
    StageSnapshot {
        kind: if has_kind {
            newer.kind
        } else {
            older.kind.into()
        },
        parent: newer.parent.or(older.parent.map(Into::into)),
        id: newer.id.or(older.id.map(Into::into)),
        url: newer.url.or(older.url.map(Into::into)),
        attributes: attributes.take(limits::EVENT_ATTRIBUTES_MAX).collect(),
        progress: Progress {
            status,
            state,
            queued: new.queued.or(old.queued),
            start: new.start.or(old.start),
            end: new.end.or(old.end),
            error: new.error.or(old.error.map(Into::into)),
        },
        path: newer.path,
        attempt: newer.attempt,
    }
}

fn merged_links(older: Option<Box<Links>>, newer: Option<Box<Links>>) -> Option<Box<Links>> {
    let (older, mut newer) = match (older, newer) {
        (Some(older), Some(newer)) => (older, newer),
        (older, newer) => return newer.or(older),
    };
    newer.parent = newer.parent.or(older.parent);
    newer.key = newer.key.or(older.key);
    if newer.child_ids.is_empty() {
        newer.child_ids = older.child_ids;
    }
    if newer.order == Order::Last {
        newer.order = older.order;
    }
    Some(newer)
}

/// The id as the event has it, where the API has but its last part.
fn whole_id(mapping: &Mapping, variables: &Variables<'_>, id: Box<str>) -> Box<str> {
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
