//! What a definition refers to by name: its lists, requests, words and variables.

use super::{ListId, Planner, SlotKind, place_of_request};
use crate::definition::{Definition, Meaning, Method, ParentLink, StageList};
use crate::template::{BodyTemplate, Template};
use farspan_syntax::mistake::Path;
use farspan_syntax::pointer::index;
use std::collections::{BTreeSet, HashMap};

impl Planner {
    /// What refers to something else by name.
    pub(super) fn connect(&mut self, definition: &Definition) {
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
        stages: &StageList,
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
        if let Some(ParentLink { key, list }) = &stages.parent {
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

    pub(super) fn check_words(&mut self, definition: &Definition) {
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

    pub(super) fn check_templates(&mut self, definition: &Definition) {
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
                (true, Some(keys)) => {
                    let parts = match keys - 1 {
                        0 => "{stage.key.0}".to_owned(),
                        last => format!("{{stage.key.0}} to {{stage.key.{last}}}"),
                    };
                    format!(
                        "{{{name}}} is not known: there are {{stage.key}}, {parts}, {{stage.id}}, {{stage.name}} and {{stage.attempt}}"
                    )
                }
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
    pub(super) fn order(&mut self) -> Vec<usize> {
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
fn pair<'d>(place: &Path, stages: &'d [StageList], pairs: &mut Vec<(Path, &'d StageList)>) {
    for (number, list) in stages.iter().enumerate() {
        let place = place.at(number);
        pairs.push((place.clone(), list));
        pair(&place.then("stages"), &list.stages, pairs);
    }
}
