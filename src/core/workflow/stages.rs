//! The stages of a workflow: which stage is part of which, and when each is finished.
//!
//! A stage is known by its path and its attempt. The first answer with it names its parent: another stage, or the
//! workflow. The children of a stage are finished before it, and lie within its times.

use super::observed::{EventRoom, Observation, Observed};
use super::spans::{AttributeList, Ending, ReportedKeys, Run, StageName, Unfinished, clamped};
use super::stage::{Fate, OpenStage, Stage, StageExtra};
use crate::ids::SpanId;
use crate::limits;
use crate::outcome::{Abandoned, Ended, Outcome};
use crate::shared_texts::SharedTexts;
use crate::snapshot::{Progress, StageView, Stages, State};
use crate::span::{Link, Parent, Span};
use crate::time::Wall;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

/// All stages of a workflow, in the order in which they were first seen.
#[derive(Clone, Debug, Default)]
pub(super) struct StageTree {
    pub(super) all: Vec<Stage>,
    /// The earliest start and the latest end of the finished spans that are children of the workflow's.
    pub(super) finished_within: Option<(Wall, Wall)>,
    /// What has ended and is not counted yet, the workflow itself too. It is never stored.
    pub(super) ended: Option<Box<EndedParts>>,
}

/// See [`StageTree::ended`].
#[derive(Clone, Debug, Default)]
pub(super) struct EndedParts(pub(super) Vec<Ended>);

/// What identifies an open stage, and what was seen of it.
#[derive(Clone, Copy)]
pub(super) struct StageSight<'a> {
    pub(super) name: StageName<'a>,
    pub(super) kind: &'a str,
    pub(super) id: Option<&'a str>,
    pub(super) observed: &'a Observed,
}

pub(super) const KEYS: ReportedKeys = ReportedKeys {
    url: "cicd.pipeline.task.run.url.full",
    result: "cicd.pipeline.task.run.result",
    is_taken: |key| matches!(key, "type" | "id"),
};

impl StageTree {
    /// Asserts what must always hold.
    pub(super) fn check_invariants(&self) {
        assert!(self.is_possible());
    }

    /// Whether the stages are as they can only be. A damaged record may contain anything.
    pub(super) fn is_possible(&self) -> bool {
        let is_in_order = |within: Option<(Wall, Wall)>| within.is_none_or(|(from, to)| from <= to);
        let is_possible = |stage: &Stage| {
            let settling = stage.open.as_ref().map_or(0, |open| open.settling);
            (stage.open.is_none() || !stage.is_finished())
                && (!stage.failed || stage.fate == Fate::Finished)
                && settling <= limits::SETTLE_POLLS
                && is_in_order(stage.extra().and_then(|extra| extra.within))
        };
        self.all.len() <= limits::STAGES_MAX
            && self.all.iter().all(is_possible)
            && is_in_order(self.finished_within)
            && (self.finished_within.is_none() || self.all.iter().any(Stage::is_finished))
            && self.is_tree()
    }

    /// Whether the parent of every open stage is open, and no stage is its own ancestor.
    fn is_tree(&self) -> bool {
        let count = self.all.len();
        let open = || self.all.iter().filter(|stage| stage.open.is_some());
        let extras = || open().filter_map(Stage::extra);
        extras().all(|extra| extra.previous.is_none_or(|place| (place as usize) < count))
            && open().filter_map(Stage::parent).all(|parent| {
                let parent = self.all.get(parent);
                parent.is_some_and(|parent| parent.open.is_some())
            })
            && (self.nested_bottom_up()).is_none_or(|order| order.len() == open().count())
    }

    /// Takes in the stages of an answer that was given at `at`; `room` is the bytes left for attributes and URLs. Adds
    /// to `news` what may be shown before the spans are finished, by the indexes of the stages. Returns whether this
    /// changed anything.
    pub(super) fn observe(
        &mut self,
        stages: &Stages,
        at: Wall,
        events: &mut EventRoom,
        room: &mut usize,
        news: &mut Vec<(usize, Observation)>,
    ) -> bool {
        let mut changed = false;
        // Most APIs keep the order from answer to answer: then the next stage follows the last one.
        let mut expected = 0;
        if self.all.is_empty() {
            self.all.reserve_exact(stages.len());
        }
        // A stage that only waits matters if it may have children or further attempts.
        let matters = |s: StageView<'_>| s.parent.is_some() || s.attempt != 1;
        let flat = !stages.iter().any(matters);
        let mut order: Option<StageOrder> = None;
        let mut new_parents = BTreeMap::new();
        for stage in stages {
            let here = self.all.get(expected);
            let index = match here {
                Some(s) if *s.path == *stage.path && s.attempt == stage.attempt => expected,
                _ => {
                    let order = order.get_or_insert_with(|| StageOrder::of(&self.all));
                    match self.find_or_add(&stage, at, order, &mut changed) {
                        Some(index) => index,
                        None => continue,
                    }
                }
            };
            expected = index + 1;
            let known = &mut self.all[index];
            if known.is_finished() {
                continue;
            }
            if !known.open.as_ref().is_some_and(|open| open.heard) {
                if flat && says_nothing(&stage) {
                    continue;
                }
                changed = true;
                if let Some(parent) = stage.parent {
                    new_parents.insert(index, parent.into());
                }
            }
            let known = known.open.get_or_insert_default();
            known.heard = true;
            let kind = Some(stage.kind).filter(|kind| *kind != stage.path);
            changed |= renew(&mut known.kind, kind);
            if stage.id.is_some() {
                changed |= renew(&mut known.id, stage.id);
            }
            let observation = known.observed.observe(stage.progress, at, events);
            changed |= observation.changed;
            if observation.is_news() {
                news.push((index, observation));
            }
            if stage.url.is_some() || !stage.attributes.is_empty() {
                let extra = known.extra.get_or_insert_default();
                changed |= extra.reported.observe(stage.url, stage.attributes, room);
            }
            known.answered = true;
        }
        if !new_parents.is_empty() {
            let order = order.unwrap_or_else(|| StageOrder::of(&self.all));
            self.hang_all(new_parents, &order);
        }
        changed
    }

    /// The names and statuses of the stages are in memory once.
    pub(super) fn share_texts(&mut self, texts: &mut SharedTexts) {
        for stage in &mut self.all {
            texts.share(&mut stage.path);
            if let Some(open) = &mut stage.open {
                open.observed.share_texts(texts);
                if let Some(kind) = &mut open.kind {
                    texts.share(kind);
                }
            }
        }
    }

    /// The index of a stage of the answer; a new stage is added. `None`: there are too many.
    fn find_or_add(
        &mut self,
        stage: &StageView<'_>,
        at: Wall,
        order: &mut StageOrder,
        changed: &mut bool,
    ) -> Option<usize> {
        let slot = match order.search(&self.all, stage.path, stage.attempt) {
            Ok(slot) => return Some(order.0[slot] as usize),
            Err(slot) => slot,
        };
        // The workflow's own span has this name.
        let is_workflow = stage.path.is_empty() && stage.attempt == 0;
        if self.all.len() >= limits::STAGES_MAX || is_workflow {
            return None;
        }
        let (before, after) = order.0.split_at(slot);
        let of_path = |index: &&u32| *self.all[**index as usize].path == *stage.path;
        let earlier = || before.iter().rev().take_while(of_path);
        let later = || after.iter().take_while(of_path);
        if earlier().count() + later().count() >= limits::STAGE_ATTEMPTS_MAX {
            return None;
        }
        let previous = earlier().next().copied();
        let before_previous: Vec<u32> = earlier().skip(1).copied().collect();
        let next = later().next().copied();
        let index = self.all.len() as u32;
        self.all.push(Stage {
            path: stage.path.into(),
            attempt: stage.attempt,
            fate: Fate::Unfinished,
            failed: false,
            open: None,
        });
        order.0.insert(slot, index);
        let began = stage.progress.queued.or(stage.progress.start);
        if let Some(previous) = previous {
            self.supersede(previous, index, began.unwrap_or(at));
            *changed = true;
        }
        // If the attempt after an earlier one had no times, this attempt bounds how long the earlier one lasted.
        for index in before_previous {
            let stage = &mut self.all[index as usize];
            let open = stage.open.as_deref().and_then(OpenStage::superseded);
            if let (Some(known), Some(began)) = (open, began)
                && began < known
            {
                stage.extra_mut().superseded = Some(began);
                *changed = true;
            }
        }
        if let Some(next) = next {
            let open = self.all[next as usize].open.as_ref();
            let began = open.and_then(|open| {
                let observed = &open.observed;
                (observed.queued().or(observed.start)).or(observed.started_seen)
            });
            self.supersede(index, next, began.unwrap_or(at));
            *changed = true;
        }
        Some(index as usize)
    }

    /// Records that the attempt `earlier` was followed by `later`, at `at` at the latest.
    fn supersede(&mut self, earlier: u32, later: u32, at: Wall) {
        let stage = &mut self.all[earlier as usize];
        if !stage.is_finished() {
            stage.extra_mut().superseded = Some(at);
        }
        let stage = &mut self.all[later as usize];
        if !stage.is_finished() {
            stage.extra_mut().previous = Some(earlier);
        }
    }

    /// Makes new stages children of their parents, parents before children.
    fn hang_all(&mut self, mut paths: BTreeMap<usize, Box<str>>, order: &StageOrder) {
        while let Some((index, path)) = paths.pop_first() {
            let mut branch = vec![(index, self.parent_of(index, &path, order))];
            while let Some((_, Some(parent))) = branch.last()
                && let Some((parent, path)) = paths.remove_entry(parent)
            {
                branch.push((parent, self.parent_of(parent, &path, order)));
            }
            while let Some((index, parent)) = branch.pop() {
                if let Some(parent) = parent {
                    self.hang(index, parent);
                }
            }
        }
    }

    /// The attempt with the same number at the stage with that path, else its latest attempt.
    fn parent_of(&self, index: usize, path: &str, order: &StageOrder) -> Option<usize> {
        let attempt = self.all[index].attempt;
        let found = (order.search(&self.all, path, attempt))
            .or_else(|_| order.search(&self.all, path, u32::MAX));
        let index = match found {
            Ok(slot) => order.0[slot],
            Err(slot) => *order.0[..slot].last()?,
        };
        (*self.all[index as usize].path == *path).then_some(index as usize)
    }

    /// Makes a stage a child of `parent`, unless that makes a ring or goes too deep, or the parent's span is finished:
    /// then it stays a child of the workflow.
    fn hang(&mut self, index: usize, parent: usize) {
        let mut above = Some(parent);
        for _ in 0..limits::STAGE_DEPTH_MAX {
            match above {
                Some(stage) if stage == index => return,
                Some(stage) => above = self.all[stage].parent(),
                None => break,
            }
        }
        if above.is_none() && !self.all[parent].is_finished() {
            self.all[parent].open.get_or_insert_default();
            self.all[index].extra_mut().parent = Some(parent as u32);
        }
    }

    /// The open stages, children before their parents.
    fn bottom_up(&self) -> Vec<usize> {
        let is_open = |index: &usize| self.all[*index].open.is_some();
        let any_order = || (0..self.all.len()).filter(is_open).collect();
        self.nested_bottom_up().unwrap_or_else(any_order)
    }

    /// The same where an open stage is part of another one. `None`: in any order each stage is before its parent.
    fn nested_bottom_up(&self) -> Option<Vec<usize>> {
        let open = || (0..).zip(&self.all).filter(|(_, s)| s.open.is_some());
        if open().all(|(_, stage)| stage.parent().is_none()) {
            return None;
        }
        let mut within = vec![0_u32; self.all.len()];
        for parent in open().filter_map(|(_, stage)| stage.parent()) {
            within[parent] += 1;
        }
        let mut order: Vec<usize> = open()
            .map(|(index, _)| index)
            .filter(|index| within[*index] == 0)
            .collect();
        let mut next = 0;
        while let Some(index) = order.get(next) {
            next += 1;
            if let Some(parent) = self.all[*index].parent() {
                within[parent] -= 1;
                if within[parent] == 0 {
                    order.push(parent);
                }
            }
        }
        Some(order)
    }

    /// Finishes the stages that have ended and settled. Returns whether this changed anything.
    pub(super) fn finish_settled(&mut self, run: Run<'_>, spans: &mut Vec<Span>) -> bool {
        let mut changed = false;
        let mut within = BTreeMap::new();
        match self.nested_bottom_up() {
            None => {
                for index in 0..self.all.len() {
                    changed |= self.settle(index, &[], &mut within, run, spans);
                }
            }
            Some(order) => {
                for (position, &index) in order.iter().enumerate() {
                    changed |= self.settle(index, &order[..position], &mut within, run, spans);
                }
            }
        }
        changed
    }

    /// Finishes a stage if it is open, has ended and is settled. `before`: the stages that were settled before it.
    /// `within`: for each stage whether a child of it goes on, and whether a child has yet to start. Returns whether this
    /// changed anything.
    fn settle(
        &mut self,
        index: usize,
        before: &[usize],
        within: &mut BTreeMap<usize, (bool, bool)>,
        run: Run<'_>,
        spans: &mut Vec<Span>,
    ) -> bool {
        let (goes_on, to_come) = within.get(&index).copied().unwrap_or_default();
        let stage = &mut self.all[index];
        let parent = stage.parent();
        let Some(open) = &mut stage.open else {
            return false;
        };
        let answered = std::mem::take(&mut open.answered);
        let superseded = open.superseded().is_some();
        let ended = match open.observed.state {
            State::Ended(outcome) => Some(outcome),
            // Some systems make several attempts at one time.
            State::Running if answered => None,
            State::Running | State::Pending => superseded.then_some(Outcome::Failure),
        };
        let settled = ended.is_some_and(|outcome| {
            // A skipped stage has no times and needs none.
            let complete = open.observed.has_times() || outcome == Outcome::Skip;
            complete && !goes_on && !(to_come && outcome == Outcome::Success)
        });
        let settling = match (ended, settled) {
            (Some(_), false) => open.settling + u8::from(answered || superseded),
            _ => 0,
        };
        let finished = settled || settling > limits::SETTLE_POLLS;
        if !finished {
            let changed = open.settling != settling;
            open.settling = settling;
            if let Some(parent) = parent {
                let within = within.entry(parent).or_default();
                if goes_on || open.takes_part() {
                    within.0 = true;
                } else {
                    within.1 = true;
                }
            }
            return changed;
        }
        let end = (open.observed).best_end(open.superseded().unwrap_or(run.received_at));
        let moved = (goes_on || to_come) && self.finish_children(index, before, end, run, spans);
        if moved && let Some(parent) = parent {
            within.entry(parent).or_default().1 = true;
        }
        self.finish_stage(index, end, None, run, spans);
        true
    }

    /// Finishes the open children of a stage that is about to be finished. Children that have not started move to the
    /// stage's own parent. Returns whether there were such.
    fn finish_children(
        &mut self,
        index: usize,
        before: &[usize],
        end: Wall,
        run: Run<'_>,
        spans: &mut Vec<Span>,
    ) -> bool {
        let up = self.all[index].extra().and_then(|extra| extra.parent);
        let mut closing = BTreeSet::from([index]);
        let mut inside = Vec::new();
        for &other in before.iter().rev() {
            let parent = self.all[other].parent();
            if parent.is_some_and(|parent| closing.contains(&parent)) {
                closing.insert(other);
                inside.push(other);
            }
        }
        for &other in inside.iter().rev() {
            let open = self.all[other].open.as_ref();
            if open.is_some_and(|open| open.takes_part()) {
                self.finish_stage(other, end, None, run, spans);
            }
        }
        let mut moved = false;
        for other in inside {
            let stage = &self.all[other];
            if let Some(parent) = stage.parent()
                && (parent == index || self.all[parent].is_finished())
            {
                self.all[other].extra_mut().parent = up;
                if let Some(open) = &mut self.all[other].open {
                    open.extra.take_if(|extra| **extra == StageExtra::default());
                }
                moved = true;
            }
        }
        moved
    }

    /// Finishes every open stage, because the workflow is about to be finished.
    pub(super) fn finish_open(
        &mut self,
        end: Wall,
        why: Option<Abandoned>,
        run: Run<'_>,
        spans: &mut Vec<Span>,
    ) {
        for index in self.bottom_up() {
            self.finish_stage(index, end, why, run, spans);
        }
    }

    /// Whether the latest attempt at a child of the workflow has failed, as far as is known.
    pub(super) fn has_failed(&self) -> bool {
        let mut latest: BTreeMap<&str, &Stage> = BTreeMap::new();
        for stage in &self.all {
            let known = latest.entry(&stage.path).or_insert(stage);
            if known.attempt < stage.attempt {
                *known = stage;
            }
        }
        let failed = |stage: &&Stage| match &stage.open {
            Some(open) => match open.observed.state {
                State::Ended(outcome) => stage.parent().is_none() && outcome.is_failure(),
                State::Pending | State::Running => false,
            },
            None => stage.failed,
        };
        latest.into_values().any(|stage| failed(&stage))
    }

    /// The latest reported end of a stage, unless a stage was last seen running.
    pub(super) fn latest_end(&self) -> Option<Wall> {
        let open = || self.all.iter().filter_map(|s| s.open.as_ref());
        if open().any(|open| open.observed.state == State::Running) {
            return None;
        }
        let ends = open().filter_map(|open| open.observed.plausible_end());
        let finished = self.finished_within.map(|(_, end)| end);
        ends.chain(finished).max()
    }

    /// Finishes an open stage: as it ended, or else at `end`.
    fn finish_stage(
        &mut self,
        index: usize,
        end: Wall,
        why: Option<Abandoned>,
        run: Run<'_>,
        spans: &mut Vec<Span>,
    ) {
        let Some(open) = &self.all[index].open else {
            return;
        };
        let Some(ending) = open.ending(end, why, run) else {
            self.all[index].finish(Fate::LeftOut);
            return;
        };
        let is_direct = self.all[index].parent().is_none();
        self.all[index].failed = is_direct && ending.outcome.is_some_and(Outcome::is_failure);
        if let Some(stage) = self.all[index].finish(Fate::Finished) {
            self.finish_span(index, stage, ending, run, spans);
        }
    }

    fn finish_span(
        &mut self,
        index: usize,
        stage: OpenStage,
        ending: Ending,
        run: Run<'_>,
        spans: &mut Vec<Span>,
    ) {
        let observed = stage.observed;
        let extra = stage.extra.map(|extra| *extra).unwrap_or_default();
        let parent = extra.parent.map(|parent| parent as usize);
        let (start, end) = self.times_of(&observed, &extra, ending.end, run);
        let queued = (observed.queued()).map(|queued| self.clamped_queued(parent, queued, run));
        let began = self.clamped_start(parent, &observed, ending.end, run);
        let wait = run.wait(queued, began.min(end));
        let start = wait.map_or(start, |(queued, _)| queued.min(start));
        self.widen_parent(parent, start, end);
        let path = &self.all[index].path;
        let kind = stage.kind.unwrap_or_else(|| path.clone());
        self.count(Ended {
            outcome: ending.outcome,
            error_type: ending.counted_error_type(),
            is_error: ending.outcome.is_some_and(Outcome::is_failure),
            waited: queued.map(|queued| began.min(end).since(queued)),
            ran: (observed.has_run() && observed.skipped_at(end).is_none())
                .then(|| end.since(began.min(end))),
            span_id: (run.is_sampled).then(|| run.span_id(Some(self.name_of(index)))),
            stage: Some(kind.clone()),
        });
        if !run.is_sampled {
            return;
        }
        let previous = extra.previous.map(|previous| previous as usize);
        let previous = previous.and_then(|previous| self.to_follow(index, previous, run));
        let link = previous.map(|previous| self.link_to(previous, run));
        let (path, attempt) = self.name_of(index);
        let mut attributes = AttributeList::new(&run.naming.limits);
        attributes.add("type", &*kind);
        attributes.add_some("id", stage.id.as_deref());
        attributes.add_times(&observed);
        run.add_to(&mut attributes);
        add_task(&mut attributes, &kind, stage.id.as_deref(), (path, attempt));
        let shown_attempt = Some(attempt).filter(|attempt| *attempt != 1);
        attributes.add_reported(&KEYS, extra.reported, shown_attempt, &ending);
        let parent = Parent {
            span_id: self.span_id_of(parent, run),
            remote: false,
        };
        let (events, dropped_events) = run.status_events(observed);
        let span = Unfinished {
            stage: Some((path, attempt)),
            parent: Some(parent),
            name: (*kind).into(),
            start,
            end,
            wait,
            status: ending.status,
            attributes,
            dropped_events,
            events: clamped(events, start, end),
            links: link.into_iter().collect(),
        };
        run.finish(span, spans);
    }

    /// What identifies a stage that is open, so that it can be shown before its span is finished.
    pub(super) fn sight_of(&self, index: usize) -> Option<StageSight<'_>> {
        let stage = self.all.get(index)?;
        let open = stage.open.as_ref()?;
        Some(StageSight {
            name: self.name_of(index),
            kind: open.kind.as_deref().unwrap_or(&stage.path),
            id: open.id.as_deref(),
            observed: &open.observed,
        })
    }

    /// The metrics count what has ended.
    pub(super) fn count(&mut self, ended: Ended) {
        self.ended.get_or_insert_default().0.push(ended);
    }

    /// The times of a finished child count for its parent, whose span there has to be from now on.
    fn widen_parent(&mut self, parent: Option<usize>, start: Wall, end: Wall) {
        match parent {
            Some(parent) => {
                let parent = self.all[parent].extra_mut();
                parent.within = Some(widened(parent.within, start, end));
                parent.promised = true;
            }
            None => self.finished_within = Some(widened(self.finished_within, start, end)),
        }
    }

    /// Start and end of a stage's span: within the known times of its ancestors, and around its children. Jaeger warns
    /// of a child outside its parent; the reported times are on the attributes.
    fn times_of(
        &self,
        observed: &Observed,
        extra: &StageExtra,
        end: Wall,
        run: Run<'_>,
    ) -> (Wall, Wall) {
        let parent = extra.parent.map(|parent| parent as usize);
        let start = self.clamped_start(parent, observed, end, run);
        let end = self.clamped_end(parent, end, run).max(start);
        match extra.within {
            None => (start, end),
            // Only its children have times.
            Some(within) if !observed.has_run() || observed.is_skipped_timelessly() => within,
            Some((first, last)) => (start.min(first), end.max(last)),
        }
    }

    fn clamped_start(
        &self,
        parent: Option<usize>,
        observed: &Observed,
        end: Wall,
        run: Run<'_>,
    ) -> Wall {
        let starts = self.ancestors(parent, run).filter_map(|above| above.start);
        let latest = starts.max();
        let start = observed.best_start(end);
        let start = latest.map_or(start, |latest| start.max(latest));
        match observed.start {
            Some(_) => start,
            // It started before it was first seen.
            None => self.clamped_end(parent, start, run),
        }
    }

    /// The queued time, not before the ancestors' spans begin. The span of an ancestor that was queued begins then.
    fn clamped_queued(&self, parent: Option<usize>, queued: Wall, run: Run<'_>) -> Wall {
        let begin = |above: &Observed| {
            let start = above.start?;
            Some(above.queued().map_or(start, |queued| queued.min(start)))
        };
        let latest = self.ancestors(parent, run).filter_map(begin).max();
        latest.map_or(queued, |latest| queued.max(latest))
    }

    fn clamped_end(&self, parent: Option<usize>, end: Wall, run: Run<'_>) -> Wall {
        let ends = self.ancestors(parent, run);
        let earliest = ends.filter_map(Observed::plausible_end).min();
        earliest.map_or(end, |earliest| end.min(earliest))
    }

    /// The progress of a stage's parent, of the parent's parent and so on, and of the workflow.
    fn ancestors<'a>(
        &'a self,
        parent: Option<usize>,
        run: Run<'a>,
    ) -> impl Iterator<Item = &'a Observed> {
        let mut above = parent;
        let stages = std::iter::from_fn(move || {
            let stage = &self.all[above?];
            above = stage.parent();
            stage.open.as_ref().map(|open| &open.observed)
        });
        stages.chain([run.observed])
    }

    /// The attempt before, or else the nearest earlier one, that has a span or will certainly get one.
    fn to_follow(&self, index: usize, previous: usize, run: Run<'_>) -> Option<usize> {
        let is_bound = |stage: &Stage| match &stage.open {
            Some(open) => open.is_bound(run.naming),
            None => stage.fate == Fate::Finished,
        };
        if is_bound(&self.all[previous]) {
            return Some(previous);
        }
        let Stage { path, attempt, .. } = &self.all[index];
        // A parent gets a span as soon as a child of it has one.
        let mut above = BTreeSet::new();
        for stage in self.all.iter().filter(|stage| is_bound(stage)) {
            let mut parent = stage.parent();
            while let Some(index) = parent.filter(|index| above.insert(*index)) {
                parent = self.all[index].parent();
            }
        }
        let is_earlier = |stage: &Stage| stage.attempt < *attempt && stage.path == *path;
        let earlier = (0..).zip(&self.all).filter(|(_, s)| is_earlier(s));
        let bound = earlier.filter(|(index, s)| is_bound(s) || above.contains(index));
        bound.max_by_key(|(_, s)| s.attempt).map(|(index, _)| index)
    }

    /// A link to the span of an earlier attempt, which must get one from now on.
    fn link_to(&mut self, index: usize, run: Run<'_>) -> Link {
        let stage = &mut self.all[index];
        if !stage.is_finished() {
            stage.extra_mut().promised = true;
        }
        Link {
            context: run.context(Some(self.name_of(index))),
            remote: false,
        }
    }

    fn name_of(&self, index: usize) -> StageName<'_> {
        let stage = &self.all[index];
        (&stage.path, stage.attempt)
    }

    /// The id of the span of a stage, or of the workflow's.
    fn span_id_of(&self, index: Option<usize>, run: Run<'_>) -> SpanId {
        run.span_id(index.map(|index| self.name_of(index)))
    }

    /// How many status events the open stages keep.
    pub(super) fn events(&self) -> usize {
        let open = self.all.iter().filter_map(|stage| stage.open.as_ref());
        open.map(|open| open.observed.events.len()).sum()
    }

    /// The bytes of the attributes and URLs that the open stages keep.
    pub(super) fn reported_bytes(&self) -> usize {
        let extras = self.all.iter().filter_map(Stage::extra);
        extras.map(|extra| extra.reported.bytes()).sum()
    }

    /// Whether no stage is expected to go on or to start after the workflow has ended so.
    pub(super) fn are_settled(&self, outcome: Outcome) -> bool {
        // After a failure the remaining stages never start. After a success a stage that has not started shows that the
        // answer lags.
        let takes_part = |stage: &Stage| stage.open.as_ref().is_some_and(|open| open.takes_part());
        let is_expected = |stage: &Stage| outcome == Outcome::Success || takes_part(stage);
        !(self.all.iter()).any(|stage| !stage.is_finished() && is_expected(stage))
    }
}

/// The indices of the stages in the order of path and attempt.
struct StageOrder(Vec<u32>);

impl StageOrder {
    fn of(stages: &[Stage]) -> Self {
        let key = |index: &u32| {
            let stage = &stages[*index as usize];
            (&*stage.path, stage.attempt)
        };
        let mut indices: Vec<u32> = (0..stages.len() as u32).collect();
        indices.sort_unstable_by(|one, other| key(one).cmp(&key(other)));
        StageOrder(indices)
    }

    /// The position of that stage in this order, or the one that it would have.
    fn search(&self, stages: &[Stage], path: &str, attempt: u32) -> Result<usize, usize> {
        self.0.binary_search_by(|index| {
            let stage = &stages[*index as usize];
            (&*stage.path, stage.attempt).cmp(&(path, attempt))
        })
    }
}

/// Puts the newer text in place. Returns whether it is another one.
/// The attributes that identify a stage within its run.
pub(super) fn add_task(
    attributes: &mut AttributeList<'_>,
    kind: &str,
    id: Option<&str>,
    (path, attempt): StageName<'_>,
) {
    attributes.add("cicd.pipeline.task.name", kind);
    // The convention wants it to be unique within the run.
    let run_id = match id {
        Some(id) => id.into(),
        None if attempt == 1 => path.into(),
        None => format!("{path}#{attempt}").into_boxed_str(),
    };
    attributes.add("cicd.pipeline.task.run.id", &*run_id);
}

fn renew<T>(known: &mut Option<T>, newer: Option<&str>) -> bool
where
    T: Deref<Target = str> + for<'a> From<&'a str>,
{
    let changed = known.as_deref() != newer;
    if changed {
        *known = newer.map(Into::into);
    }
    changed
}

/// Whether an answer says nothing about a stage but that there is one.
fn says_nothing(stage: &StageView<'_>) -> bool {
    let none = stage.id.is_none() && stage.url.is_none() && stage.attributes.is_empty();
    none && stage.progress == Progress::default()
}

fn widened(known: Option<(Wall, Wall)>, start: Wall, end: Wall) -> (Wall, Wall) {
    known.map_or((start, end), |(first, last)| {
        (first.min(start), last.max(end))
    })
}
