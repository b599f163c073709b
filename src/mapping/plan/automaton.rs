//! The automaton: each set of places of the trie that a body can be at is a node.

use super::{
    ANY, Definition, Member, NodeId, PlanNode, Planner, SlotId, SlotKind, TrieId, readable,
};
use farspan_syntax::mistake::Path;
use farspan_syntax::pointer::{Pointer, index};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Nodes of one definition. A definition whose pointers do not lead into its lists has one for each step.
const NODES_MAX: usize = 16 * 1024;

impl Planner {
    /// The automaton: each reachable set of places in the trie is a node.
    pub(super) fn nodes_of(&mut self, definition: &Definition) -> Vec<PlanNode> {
        let mut nodes = self.nodes();
        if definition.times.are_numbers() {
            for node in &mut nodes {
                let is_time = |slot: &SlotId| self.slots[usize::from(*slot)].kind == SlotKind::Time;
                node.is_exact = !node.is_inner() && node.slots.iter().any(is_time);
            }
        }
        nodes
    }

    fn nodes(&mut self) -> Vec<PlanNode> {
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
        let mut planned: Vec<PlanNode> = Vec::new();
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
            planned.push(PlanNode {
                members,
                other,
                lists: lists.filter_map(|(_, list)| *list).collect(),
                slots: nodes.iter().flat_map(|n| n.slots.iter().copied()).collect(),
                is_exact: false,
                pointer: readable(&pointer),
            });
        }
        planned
    }
}

pub(super) fn root_of(nodes: &[PlanNode], start: NodeId, root: &Pointer) -> Option<NodeId> {
    let mut tokens = root.tokens().peekable();
    tokens.peek()?;
    tokens.try_fold(start, |at, token| {
        let mut members = nodes[at as usize].members.iter();
        Some(members.find(|member| *member.key == *token)?.to)
    })
}
