//! A workflow's stages: what the answers say of them, what they are part of, and when each is finished.
//!
//! A stage is told from others by its path and its attempt. It belongs to the stage that the first answer with it names
//! as its parent, or to the workflow. Whatever is part of something is finished before it, and lies within its times.

use super::record::Unknown;
use super::{Attributes, Ending, EventRoom, Naming, Seen, Workflow, merge, status_of};
use crate::core::event;
use crate::core::ids::{SpanId, TraceContext};
use crate::core::limits;
use crate::core::outcome::Abandoned;
use crate::core::snapshot::{Outcome, Progress, StageView, Stages, State};
use crate::core::span::{Link, Parent, Span, SpanStatus};
use crate::core::time::Wall;
use std::collections::{BTreeMap, BTreeSet};

/// One attempt at a stage. Small where there is nothing to know: most stages of most workflows wait, or are finished.
#[derive(Clone, Debug, Default)]
pub(super) struct Stage {
    pub(super) path: Box<str>,
    pub(super) attempt: u32,
    pub(super) fate: Fate,
    /// It is finished, has failed, and was part of nothing but the workflow.
    pub(super) failed: bool,
    /// From the first word about it to its end.
    pub(super) open: Option<Box<OpenStage>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its span, if it gets one, is not finished.
    #[default]
    Unfinished,
    /// It has a span.
    Finished,
    /// It has none.
    LeftOut,
}

#[derive(Clone, Debug, Default)]
pub(super) struct OpenStage {
    /// Where it is not the path.
    pub(super) kind: Option<Box<str>>,
    pub(super) id: Option<Box<str>>,
    pub(super) seen: Seen,
    /// Whether the answer at hand names it. A flag, because it may do so again and again.
    pub(super) answered: bool,
    /// Answers since it ended that have not told its times, or that something within it goes on.
    pub(super) settling: u8,
    pub(super) extra: Option<Box<StageExtra>>,
}

/// What few stages have.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct StageExtra {
    /// The place of the stage that it is part of. That one is open.
    pub(super) parent: Option<u32>,
    /// The place of the attempt before.
    pub(super) previous: Option<u32>,
    /// When it ended at the latest, because of a later attempt.
    pub(super) superseded: Option<Wall>,
    /// A span that is finished refers to this one's, so there has to be one.
    pub(super) promised: bool,
    /// Earliest start and latest end of the spans within it that are finished.
    pub(super) within: Option<(Wall, Wall)>,
    pub(super) url: Option<Box<str>>,
    pub(super) attributes: event::Attributes,
    pub(super) dropped_attributes: u32,
    pub(super) unknown: Unknown,
}

/// The places of the stages in the order of path and attempt.
struct Places(Vec<u32>);

impl Places {
    fn of(stages: &[Stage]) -> Self {
        let key = |place: &u32| {
            let stage = &stages[*place as usize];
            (&*stage.path, stage.attempt)
        };
        let mut places: Vec<u32> = (0..stages.len() as u32).collect();
        places.sort_unstable_by(|one, other| key(one).cmp(&key(other)));
        Places(places)
    }

    /// Where in this order that stage is, or would be.
    fn search(&self, stages: &[Stage], path: &str, attempt: u32) -> Result<usize, usize> {
        self.0.binary_search_by(|place| {
            let stage = &stages[*place as usize];
            (&*stage.path, stage.attempt).cmp(&(path, attempt))
        })
    }
}

impl Stage {
    pub(super) fn is_finished(&self) -> bool {
        self.fate != Fate::Unfinished
    }

    /// The place of the stage that it is part of.
    pub(super) fn parent(&self) -> Option<usize> {
        let parent = self.open.as_ref()?.extra.as_ref()?.parent?;
        Some(parent as usize)
    }

    pub(super) fn extra(&self) -> Option<&StageExtra> {
        self.open.as_ref()?.extra.as_deref()
    }

    fn extra_mut(&mut self) -> &mut StageExtra {
        let open = self.open.get_or_insert_default();
        open.extra.get_or_insert_default()
    }

    /// Keeps only what tells it from its siblings, and gives the rest away.
    fn finish(&mut self, fate: Fate) -> Option<OpenStage> {
        self.fate = fate;
        self.open.take().map(|open| *open)
    }
}

impl OpenStage {
    /// Whether it has a part in the trace: it ran, or something that has one says so.
    pub(super) fn takes_part(&self) -> bool {
        self.seen.has_run() || self.extra.as_ref().is_some_and(|extra| extra.promised)
    }

    /// Whether it gets a span whatever comes.
    fn is_bound(&self, naming: &Naming) -> bool {
        let is_skipped = self.seen.state == State::Ended(Outcome::Skip);
        match is_skipped && !naming.skipped {
            true => self.extra.as_ref().is_some_and(|extra| extra.promised),
            false => self.takes_part(),
        }
    }

    fn superseded(&self) -> Option<Wall> {
        self.extra.as_ref()?.superseded
    }
}

impl Workflow {
    /// Holds what must always be true of the stages.
    pub(super) fn check_stages(&self) {
        assert!(self.is_tree());
        for stage in &self.stages {
            assert!(stage.open.is_none() || !stage.is_finished());
            if let Some((start, end)) = stage.extra().and_then(|extra| extra.within) {
                assert!(start <= end);
            }
        }
    }

    /// Whether every open stage is part of an open one or of the workflow, and of nothing that is part of it. A record
    /// that is damaged may say anything.
    pub(super) fn is_tree(&self) -> bool {
        let count = self.stages.len();
        let open = || self.stages.iter().filter(|stage| stage.open.is_some());
        let extras = || open().filter_map(Stage::extra);
        extras().all(|extra| extra.previous.is_none_or(|place| (place as usize) < count))
            && open().filter_map(Stage::parent).all(|parent| {
                let parent = self.stages.get(parent);
                parent.is_some_and(|parent| parent.open.is_some())
            })
            && self.bottom_up().len() == open().count()
    }

    pub(super) fn observe_stages(
        &mut self,
        stages: &Stages,
        at: Wall,
        events: &mut EventRoom,
        room: &mut usize,
    ) {
        // Most APIs keep the order from answer to answer: then the next is where the last one was.
        let mut expected = 0;
        if self.stages.is_empty() {
            self.stages.reserve_exact(stages.len());
        }
        // What only waits is of interest where others may be part of it, or come after it.
        let told_apart = |s: StageView<'_>| s.parent.is_some() || s.attempt != 1;
        let flat = !stages.iter().any(told_apart);
        let mut places: Option<Places> = None;
        let mut to_hang = BTreeMap::new();
        for stage in stages {
            let known_before = self.stages.len();
            let here = self.stages.get(expected);
            let index = match here {
                Some(s) if *s.path == *stage.path && s.attempt == stage.attempt => expected,
                _ => {
                    let places = places.get_or_insert_with(|| Places::of(&self.stages));
                    match self.place(&stage, at, places) {
                        Some(index) => index,
                        None => continue,
                    }
                }
            };
            expected = index + 1;
            let known = &mut self.stages[index];
            if known.is_finished() {
                continue;
            }
            // Another attempt at it may have opened it before its own first word.
            if known.open.is_none() || index >= known_before {
                if flat && says_nothing(&stage) {
                    continue;
                }
                self.changed = true;
                if let Some(parent) = stage.parent {
                    to_hang.insert(index, parent.into());
                }
            }
            let known = known.open.get_or_insert_default();
            let kind = Some(stage.kind).filter(|kind| *kind != stage.path);
            self.changed |= renew(&mut known.kind, kind);
            if stage.id.is_some() {
                self.changed |= renew(&mut known.id, stage.id);
            }
            self.changed |= known.seen.observe(stage.progress, at, events);
            if stage.url.is_some() || !stage.attributes.is_empty() {
                let extra = known.extra.get_or_insert_default();
                self.changed |= merge(
                    (stage.url, stage.attributes),
                    (&mut extra.url, &mut extra.attributes),
                    &mut extra.dropped_attributes,
                    room,
                );
            }
            known.answered = true;
        }
        if !to_hang.is_empty() {
            let places = places.unwrap_or_else(|| Places::of(&self.stages));
            self.hang_all(to_hang, &places);
        }
    }

    /// Where a stage of the answer stands; at the end, if it is news. `None`: it is one too many.
    fn place(&mut self, stage: &StageView<'_>, at: Wall, places: &mut Places) -> Option<usize> {
        let slot = match places.search(&self.stages, stage.path, stage.attempt) {
            Ok(slot) => return Some(places.0[slot] as usize),
            Err(slot) => slot,
        };
        // The workflow's own span has this name.
        let is_workflow = stage.path.is_empty() && stage.attempt == 0;
        if self.stages.len() >= limits::STAGES_MAX || is_workflow {
            return None;
        }
        let (before, behind) = places.0.split_at(slot);
        let of_path = |place: &&u32| *self.stages[**place as usize].path == *stage.path;
        let earlier = || before.iter().rev().take_while(of_path);
        let later = || behind.iter().take_while(of_path);
        if earlier().count() + later().count() >= limits::STAGE_ATTEMPTS_MAX {
            return None;
        }
        let previous = earlier().next().copied();
        let long_gone: Vec<u32> = earlier().skip(1).copied().collect();
        let next = later().next().copied();
        let place = self.stages.len() as u32;
        self.stages.push(Stage {
            path: stage.path.into(),
            attempt: stage.attempt,
            fate: Fate::Unfinished,
            failed: false,
            open: None,
        });
        places.0.insert(slot, place);
        let began = stage.progress.queued.or(stage.progress.start);
        if let Some(previous) = previous {
            self.supersede(previous, place, began.unwrap_or(at));
        }
        // Where the attempt behind one had no times, this one may say how long it lasted at most.
        for gone in long_gone {
            let stage = &mut self.stages[gone as usize];
            let open = stage.open.as_deref().and_then(OpenStage::superseded);
            if let (Some(known), Some(began)) = (open, began)
                && began < known
            {
                stage.extra_mut().superseded = Some(began);
                self.changed = true;
            }
        }
        if let Some(next) = next {
            let open = self.stages[next as usize].open.as_ref();
            let seen = open.map(|open| &open.seen);
            let began = seen.and_then(|seen| seen.queued().or(seen.start).or(seen.started_seen));
            self.supersede(place, next, began.unwrap_or(at));
        }
        Some(place as usize)
    }

    fn supersede(&mut self, earlier: u32, later: u32, at: Wall) {
        self.changed = true;
        let stage = &mut self.stages[earlier as usize];
        if !stage.is_finished() {
            stage.extra_mut().superseded = Some(at);
        }
        let stage = &mut self.stages[later as usize];
        if !stage.is_finished() {
            stage.extra_mut().previous = Some(earlier);
        }
    }

    /// Puts stages that are news where they belong, what is above before what is below.
    fn hang_all(&mut self, mut paths: BTreeMap<usize, Box<str>>, places: &Places) {
        while let Some((index, path)) = paths.pop_first() {
            let mut branch = vec![(index, self.parent_of(index, &path, places))];
            while let Some((_, Some(parent))) = branch.last()
                && let Some((parent, path)) = paths.remove_entry(parent)
            {
                branch.push((parent, self.parent_of(parent, &path, places)));
            }
            while let Some((index, parent)) = branch.pop() {
                if let Some(parent) = parent {
                    self.hang(index, parent);
                }
            }
        }
    }

    /// The attempt of the same number at the stage of that path, else its latest one.
    fn parent_of(&self, index: usize, path: &str, places: &Places) -> Option<usize> {
        let attempt = self.stages[index].attempt;
        let found = (places.search(&self.stages, path, attempt))
            .or_else(|_| places.search(&self.stages, path, u32::MAX));
        let place = match found {
            Ok(slot) => places.0[slot],
            Err(slot) => *places.0[..slot].last()?,
        };
        (*self.stages[place as usize].path == *path).then_some(place as usize)
    }

    /// Unless that makes a ring or goes too deep, or the parent's span has left: then it stays with the workflow.
    fn hang(&mut self, index: usize, parent: usize) {
        let mut above = Some(parent);
        for _ in 0..limits::STAGE_DEPTH_MAX {
            match above {
                Some(stage) if stage == index => return,
                Some(stage) => above = self.stages[stage].parent(),
                None => break,
            }
        }
        if above.is_none() && !self.stages[parent].is_finished() {
            self.stages[parent].open.get_or_insert_default();
            self.stages[index].extra_mut().parent = Some(parent as u32);
        }
    }

    /// The open stages, whatever is within a stage before it.
    fn bottom_up(&self) -> Vec<usize> {
        let open = || (0..).zip(&self.stages).filter(|(_, s)| s.open.is_some());
        if open().all(|(_, stage)| stage.parent().is_none()) {
            return open().map(|(index, _)| index).collect();
        }
        let mut within = vec![0_u32; self.stages.len()];
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
            if let Some(parent) = self.stages[*index].parent() {
                within[parent] -= 1;
                if within[parent] == 0 {
                    order.push(parent);
                }
            }
        }
        order
    }

    /// Finishes the stages that have ended and of which nothing more is to be expected.
    pub(super) fn finish_stages(&mut self, naming: &Naming, spans: &mut Vec<Span>) {
        let order = self.bottom_up();
        // Of each stage, whether something within it goes on, and whether something has yet to begin.
        let mut within: BTreeMap<usize, (bool, bool)> = BTreeMap::new();
        for (place, &index) in order.iter().enumerate() {
            let (goes_on, to_come) = within.get(&index).copied().unwrap_or_default();
            let stage = &mut self.stages[index];
            let parent = stage.parent();
            let Some(open) = &mut stage.open else {
                continue;
            };
            let answered = std::mem::take(&mut open.answered);
            let superseded = open.superseded().is_some();
            let ended = match open.seen.state {
                State::Ended(outcome) => Some(outcome),
                // Attempts at one time, as some systems make them, are none too many.
                State::Running if answered => None,
                State::Running | State::Pending => superseded.then_some(Outcome::Failure),
            };
            let settled = ended.is_some_and(|outcome| {
                // What never ran has no times, and gets no span that would need them.
                let complete = open.seen.has_times() || outcome == Outcome::Skip;
                complete && !goes_on && !(to_come && outcome == Outcome::Success)
            });
            let settling = match (ended, settled) {
                (Some(_), false) => open.settling + u8::from(answered || superseded),
                _ => 0,
            };
            let finished = settled || settling > limits::SETTLE_POLLS;
            self.changed |= open.settling != settling;
            if !finished {
                open.settling = settling;
                if let Some(parent) = parent {
                    let within = within.entry(parent).or_default();
                    match goes_on || open.takes_part() {
                        true => within.0 = true,
                        false => within.1 = true,
                    }
                }
                continue;
            }
            // A stage that has ended was seen so.
            let end = open
                .seen
                .best_end(open.superseded().unwrap_or(self.received_at));
            let moved = (goes_on || to_come)
                && self.finish_within(index, &order[..place], end, naming, spans);
            if moved && let Some(parent) = parent {
                within.entry(parent).or_default().1 = true;
            }
            self.finish_stage(index, end, None, naming, spans);
        }
    }

    /// Finishes what is open within a stage, because the stage is to be; what has not begun goes to the stage's own
    /// parent: whether something does.
    fn finish_within(
        &mut self,
        index: usize,
        before: &[usize],
        end: Wall,
        naming: &Naming,
        spans: &mut Vec<Span>,
    ) -> bool {
        let up = self.stages[index].extra().and_then(|extra| extra.parent);
        let mut closing = BTreeSet::from([index]);
        let mut inside = Vec::new();
        for &other in before.iter().rev() {
            let parent = self.stages[other].parent();
            if parent.is_some_and(|parent| closing.contains(&parent)) {
                closing.insert(other);
                inside.push(other);
            }
        }
        for &other in inside.iter().rev() {
            let open = self.stages[other].open.as_ref();
            if open.is_some_and(|open| open.takes_part()) {
                self.finish_stage(other, end, None, naming, spans);
            }
        }
        let mut moved = false;
        for other in inside {
            let stage = &self.stages[other];
            if let Some(parent) = stage.parent()
                && (parent == index || self.stages[parent].is_finished())
            {
                self.stages[other].extra_mut().parent = up;
                if let Some(open) = &mut self.stages[other].open {
                    open.extra.take_if(|extra| **extra == StageExtra::default());
                }
                moved = true;
            }
        }
        moved
    }

    /// Finishes every stage that is not, because the workflow is.
    pub(super) fn finish_open_stages(
        &mut self,
        end: Wall,
        why: Option<Abandoned>,
        naming: &Naming,
        spans: &mut Vec<Span>,
    ) {
        for index in self.bottom_up() {
            self.finish_stage(index, end, why, naming, spans);
        }
    }

    /// Whether the latest attempt at a stage that is part of nothing but the workflow has failed, as far as it was seen.
    pub(super) fn has_failed_stage(&self) -> bool {
        let mut latest: BTreeMap<&str, &Stage> = BTreeMap::new();
        for stage in &self.stages {
            let known = latest.entry(&stage.path).or_insert(stage);
            if known.attempt < stage.attempt {
                *known = stage;
            }
        }
        let failed = |stage: &&Stage| match &stage.open {
            Some(open) => match open.seen.state {
                State::Ended(outcome) => stage.parent().is_none() && outcome.is_failure(),
                State::Pending | State::Running => false,
            },
            None => stage.failed,
        };
        latest.into_values().any(|stage| failed(&stage))
    }

    /// The latest end that was reported of a stage, unless one was seen to go on.
    pub(super) fn latest_stage_end(&self) -> Option<Wall> {
        let open = || self.stages.iter().filter_map(|s| s.open.as_ref());
        let runs = |seen: &Seen| seen.state == State::Running;
        if open().any(|open| runs(&open.seen)) {
            return None;
        }
        let ends = open().filter_map(|open| open.seen.plausible_end());
        let finished = self.finished_within.map(|(_, end)| end);
        ends.chain(finished).max()
    }

    /// Finishes an open stage: as it ended, or else at `end`.
    fn finish_stage(
        &mut self,
        index: usize,
        end: Wall,
        why: Option<Abandoned>,
        naming: &Naming,
        spans: &mut Vec<Span>,
    ) {
        self.changed = true;
        let Some(open) = &self.stages[index].open else {
            return;
        };
        let seen = &open.seen;
        let promised = open.extra.as_ref().is_some_and(|extra| extra.promised);
        let message = seen.error().unwrap_or_default();
        let error_type;
        let ending = match (seen.state, open.superseded()) {
            (State::Ended(Outcome::Skip), _) if !naming.skipped && !promised => None,
            (State::Ended(outcome), superseded) => {
                error_type = seen.status().to_owned();
                let seen_at = seen.ended_seen.or(superseded).unwrap_or(self.received_at);
                let end = match (outcome, seen.start, seen.end) {
                    // It never ran, and took no time.
                    (Outcome::Skip, Some(start), None) if seen.started_seen == seen.ended_seen => {
                        start
                    }
                    _ => seen.best_end(seen_at),
                };
                Some(Ending {
                    end,
                    status: status_of(outcome, message, naming),
                    outcome: Some(outcome),
                    error_type: &error_type,
                    incomplete: false,
                    gone: false,
                })
            }
            _ if !open.takes_part() => None,
            (_, Some(superseded)) => {
                let message = seen.error().unwrap_or(Abandoned::Superseded.message());
                Some(Ending {
                    end: seen.best_end(superseded),
                    status: status_of(Outcome::Failure, message, naming),
                    outcome: Some(Outcome::Failure),
                    error_type: Abandoned::Superseded.error_type(),
                    incomplete: false,
                    gone: false,
                })
            }
            (_, None) => Some(Ending {
                end,
                status: match why {
                    Some(why) => SpanStatus::Error(why.message().into()),
                    None => SpanStatus::Unset,
                },
                outcome: why.map(Abandoned::outcome),
                error_type: why.map_or("", Abandoned::error_type),
                incomplete: why != Some(Abandoned::TimedOut),
                gone: false,
            }),
        };
        let Some(ending) = ending else {
            self.stages[index].finish(Fate::LeftOut);
            return;
        };
        let is_direct = self.stages[index].parent().is_none();
        self.stages[index].failed = is_direct && ending.outcome.is_some_and(Outcome::is_failure);
        if let Some(stage) = self.stages[index].finish(Fate::Finished) {
            self.push_stage(index, stage, ending, naming, spans);
        }
    }

    fn push_stage(
        &mut self,
        index: usize,
        stage: OpenStage,
        ending: Ending<'_>,
        naming: &Naming,
        spans: &mut Vec<Span>,
    ) {
        let OpenStage {
            kind,
            id,
            seen,
            extra,
            ..
        } = stage;
        let extra = extra.map(|extra| *extra).unwrap_or_default();
        let parent = extra.parent.map(|parent| parent as usize);
        let (start, end) = self.times_of(&seen, &extra, ending.end);
        let queued = seen.queued().filter(|_| naming.queued);
        let queued = queued.map(|queued| self.clamped_queued(parent, queued));
        let began = self.clamped_start(parent, &seen, ending.end);
        let wait = queued.map(|queued| (queued, began.min(end)));
        let wait = wait.filter(|(queued, began)| queued < began);
        let start = wait.map_or(start, |(queued, _)| queued.min(start));
        match parent {
            Some(parent) => {
                let above = self.stages[parent].extra_mut();
                above.within = Some(widened(above.within, start, end));
                above.promised = true;
            }
            None => self.finished_within = Some(widened(self.finished_within, start, end)),
        }
        if !self.sampled {
            return;
        }
        let previous = extra.previous.map(|previous| previous as usize);
        let previous = previous.and_then(|previous| self.to_follow(index, previous, naming));
        let link = previous.map(|previous| self.link_to(previous, naming));
        let Stage { path, attempt, .. } = &self.stages[index];
        let kind = kind.unwrap_or_else(|| path.clone());
        let name = (&**path, *attempt);
        let parent_id = match parent {
            Some(parent) => self.stage_span_id(parent, naming),
            None => self.span_id(naming),
        };
        let span_id = self.stage_span_id(index, naming);
        let mut attributes = Attributes::new(&naming.limits);
        attributes.add("type", &*kind);
        attributes.add_some("id", id.as_deref());
        attributes.add_times(&seen);
        self.add_run(&mut attributes, naming);
        attributes.add("cicd.pipeline.task.name", &*kind);
        // The convention wants it to be unique within the run.
        let task_run_id = match id {
            Some(id) => id,
            None if *attempt == 1 => path.clone(),
            None => format!("{path}#{attempt}").into(),
        };
        attributes.add("cicd.pipeline.task.run.id", &*task_run_id);
        attributes.add_some("cicd.pipeline.task.run.url.full", extra.url.as_deref());
        if *attempt != 1 {
            attributes.add("attempt", event::Value::Int((*attempt).into()));
        }
        let result = ending.outcome.map(Outcome::as_str);
        attributes.add_some("cicd.pipeline.task.run.result", result);
        attributes.add_ending(&ending);
        attributes.add_all(extra.attributes, |key| matches!(key, "type" | "id"));
        attributes.dropped += extra.dropped_attributes;
        let (attributes, dropped_attributes) = attributes.finish();
        let (links, dropped_links) = limited(link.into_iter().collect(), naming);
        if let Some(wait) = wait {
            spans.push(self.wait_span(&kind, wait, Some(name), span_id, naming));
        }
        spans.push(Span {
            trace_id: self.trace_id,
            span_id,
            parent: Some(Parent {
                span_id: parent_id,
                remote: false,
            }),
            trace_flags: self.trace_flags(),
            trace_state: self.trace_state(),
            name: kind,
            start,
            end,
            status: ending.status,
            attributes,
            dropped_attributes,
            dropped_events: seen.dropped_events(),
            events: super::clamped(seen.events, start, end),
            links,
            dropped_links,
            service: naming.service.clone(),
        });
    }

    /// Start and end of a stage's span: within what is known of everything that it is part of, and around what is part
    /// of it. Jaeger warns of a child outside its parent; the reported times stay on the attributes.
    fn times_of(&self, seen: &Seen, extra: &StageExtra, end: Wall) -> (Wall, Wall) {
        let parent = extra.parent.map(|parent| parent as usize);
        let start = self.clamped_start(parent, seen, end);
        let end = self.clamped_end(parent, end).max(start);
        match extra.within {
            None => (start, end),
            // All that is known of it.
            Some(within) if !seen.has_run() || seen.is_skipped_timelessly() => within,
            Some((first, last)) => (start.min(first), end.max(last)),
        }
    }

    fn clamped_start(&self, parent: Option<usize>, seen: &Seen, end: Wall) -> Wall {
        let latest = self.around(parent).filter_map(|seen| seen.start).max();
        let start = seen.best_start(end);
        let start = latest.map_or(start, |latest| start.max(latest));
        match seen.start {
            Some(_) => start,
            // It was only seen later than it was.
            None => self.clamped_end(parent, start),
        }
    }

    /// As for a start; but the span of what was queued itself begins there.
    fn clamped_queued(&self, parent: Option<usize>, queued: Wall) -> Wall {
        let from = |seen: &Seen| {
            let start = seen.start?;
            Some(seen.queued().map_or(start, |queued| queued.min(start)))
        };
        let latest = self.around(parent).filter_map(from).max();
        latest.map_or(queued, |latest| queued.max(latest))
    }

    fn clamped_end(&self, parent: Option<usize>, end: Wall) -> Wall {
        let earliest = self.around(parent).filter_map(Seen::plausible_end).min();
        earliest.map_or(end, |earliest| end.min(earliest))
    }

    /// All that a stage with this parent is part of.
    fn around(&self, parent: Option<usize>) -> impl Iterator<Item = &Seen> {
        let mut above = parent;
        let stages = std::iter::from_fn(move || {
            let stage = &self.stages[above?];
            above = stage.parent();
            stage.open.as_ref().map(|open| &open.seen)
        });
        stages.chain([&self.seen])
    }

    /// The attempt before, or else the nearest earlier one, that has a span or is now bound to get one.
    fn to_follow(&self, index: usize, previous: usize, naming: &Naming) -> Option<usize> {
        let is_bound = |stage: &Stage| match &stage.open {
            Some(open) => open.is_bound(naming),
            None => stage.fate == Fate::Finished,
        };
        if is_bound(&self.stages[previous]) {
            return Some(previous);
        }
        let Stage { path, attempt, .. } = &self.stages[index];
        // What others are part of gets a span with the first of theirs.
        let mut above = BTreeSet::new();
        for stage in self.stages.iter().filter(|stage| is_bound(stage)) {
            let mut parent = stage.parent();
            while let Some(place) = parent.filter(|place| above.insert(*place)) {
                parent = self.stages[place].parent();
            }
        }
        let is_earlier = |stage: &Stage| stage.attempt < *attempt && stage.path == *path;
        let earlier = (0..).zip(&self.stages).filter(|(_, s)| is_earlier(s));
        let bound = earlier.filter(|(place, s)| is_bound(s) || above.contains(place));
        bound.max_by_key(|(_, s)| s.attempt).map(|(place, _)| place)
    }

    /// A link to the span of an earlier attempt, which there has to be from now on.
    fn link_to(&mut self, index: usize, naming: &Naming) -> Link {
        let stage = &mut self.stages[index];
        if !stage.is_finished() {
            stage.extra_mut().promised = true;
        }
        Link {
            context: TraceContext {
                trace_id: self.trace_id,
                span_id: self.stage_span_id(index, naming),
                trace_flags: self.trace_flags(),
                trace_state: self.trace_state(),
            },
            remote: false,
        }
    }

    fn stage_span_id(&self, index: usize, naming: &Naming) -> SpanId {
        let Stage { path, attempt, .. } = &self.stages[index];
        let (trace_id, version) = (self.trace_id, self.version());
        let stage = Some((&**path, *attempt));
        SpanId::of_span(trace_id, &naming.monitor, &self.id, version, stage)
    }
}

/// Whether the newer text is another one.
fn renew(known: &mut Option<Box<str>>, newer: Option<&str>) -> bool {
    let changed = known.as_deref() != newer;
    if changed {
        *known = newer.map(Into::into);
    }
    changed
}

/// What waits for its turn.
fn says_nothing(stage: &StageView<'_>) -> bool {
    let none = stage.id.is_none() && stage.url.is_none() && stage.attributes.is_empty();
    none && stage.progress == Progress::default()
}

fn widened(known: Option<(Wall, Wall)>, start: Wall, end: Wall) -> (Wall, Wall) {
    known.map_or((start, end), |(first, last)| {
        (first.min(start), last.max(end))
    })
}

/// As many links as a span may have, and how many more there would be.
pub(super) fn limited(mut links: Vec<Link>, naming: &Naming) -> (Vec<Link>, u32) {
    let dropped = links.len().saturating_sub(naming.limits.links);
    links.truncate(naming.limits.links);
    (links, dropped as u32)
}
