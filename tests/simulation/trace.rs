//! What a trace must be. It follows from the answers that arrived and from the true course, not from the core.

use crate::api::{self, ToldStage};
use crate::scenario::{Course, DistortionKind, Key, Plan, Scenario};
use farspan::core::event::Value;
use farspan::core::ids::{RunVersion, SpanId, SpanShows, TraceId};
use farspan::core::limits;
use farspan::core::snapshot::{Outcome, Progress, Snapshot, State};
use farspan::core::span::{Span, SpanStatus};
use farspan::core::workflow::{Naming, run_version_of};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a span stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Workflow,
    Stage(Key),
    /// The wait for the start of one of the above.
    Wait(Option<Key>),
    /// Shows that one of the above has started.
    Started(Option<Key>),
}

/// Every span that is possible, by its id.
pub fn parts(scenario: &Scenario) -> BTreeMap<SpanId, (usize, Part)> {
    let mut parts = BTreeMap::new();
    for (index, plan) in scenario.plans.iter().enumerate() {
        let ids = Ids::of(plan, scenario);
        let many = plan
            .distortion
            .filter(|d| d.kind == DistortionKind::Attempts);
        let more = many.iter().flat_map(|distortion| {
            let paths: BTreeSet<&str> = plan.stages.iter().map(|stage| &*stage.key.0).collect();
            let attempts = |path: &str| {
                let path: Box<str> = path.into();
                api::many_attempts(*distortion).map(move |attempt| (path.clone(), attempt))
            };
            paths.into_iter().flat_map(attempts)
        });
        let keys = plan
            .stages
            .iter()
            .map(|stage| stage.key.clone())
            .chain(more);
        let of_stages = keys.flat_map(|key| {
            [
                Part::Stage(key.clone()),
                Part::Wait(Some(key.clone())),
                Part::Started(Some(key)),
            ]
        });
        for part in [Part::Workflow, Part::Wait(None), Part::Started(None)]
            .into_iter()
            .chain(of_stages)
        {
            let twin = parts.insert(ids.span(&part), (index, part));
            assert_eq!(twin, None, "one id for two spans");
        }
    }
    parts
}

pub struct Ids<'a> {
    monitor: &'a str,
    workflow_id: &'a str,
    version: RunVersion,
    pub trace: TraceId,
}

impl<'a> Ids<'a> {
    pub fn of(plan: &'a Plan, scenario: &'a Scenario) -> Self {
        let naming = &scenario.settings.monitors[plan.monitor].naming;
        let (monitor, workflow_id) = (&*naming.monitor, &*plan.event.workflow_id);
        let version = run_version_of(&plan.event, naming);
        let trace = match &plan.event.parent {
            Some(parent) => parent.trace_id,
            None => TraceId::of_run(monitor, workflow_id, version),
        };
        Ids {
            monitor,
            workflow_id,
            version,
            trace,
        }
    }

    pub fn span(&self, part: &Part) -> SpanId {
        let (shows, key) = match part {
            Part::Workflow => (SpanShows::Work, None),
            Part::Stage(key) => (SpanShows::Work, Some(key)),
            Part::Wait(key) => (SpanShows::Wait, key.as_ref()),
            Part::Started(key) => (SpanShows::Start, key.as_ref()),
        };
        let (monitor, id) = (self.monitor, self.workflow_id);
        let stage = key.map(|(path, attempt)| (&**path, *attempt));
        SpanId::of_span(self.trace, monitor, id, self.version, stage, shows)
    }
}

pub fn sampled(plan: &Plan, scenario: &Scenario) -> bool {
    let parent = plan.event.parent.as_ref().map(|p| p.sampled());
    let sampler = &scenario.settings.sampler;
    sampler.sampled(Ids::of(plan, scenario).trace, parent)
}

/// The link of a workflow's span to the attempt before.
fn attempt_before(plan: &Plan, scenario: &Scenario) -> Option<(TraceId, SpanId)> {
    let before = plan.event.attempt.filter(|attempt| *attempt > 1)? - 1;
    let ids = Ids::of(plan, scenario);
    let version = RunVersion::Attempt(before);
    let trace = TraceId::of_run(ids.monitor, ids.workflow_id, version);
    let has_own = plan.event.parent.is_none();
    let is_there = has_own && scenario.settings.sampler.sampled(trace, None);
    let ids = Ids {
        version,
        trace,
        ..ids
    };
    is_there.then(|| (trace, ids.span(&Part::Workflow)))
}

fn has(span: &Span, key: &str) -> bool {
    span.attributes.iter().any(|(known, _)| **known == *key)
}

/// Asserts what holds for every span.
pub fn hold_span(span: &Span, part: &Part, plan: &Plan, scenario: &Scenario) {
    let ids = Ids::of(plan, scenario);
    assert_eq!(span.trace_id, ids.trace);
    assert!(span.start <= span.end, "{span:?}");
    assert!(span.events.is_sorted_by_key(|e| e.time), "{span:?}");
    for event in &span.events {
        let early = event.time < span.start && *event.name != *"Submitted";
        assert!(!early && event.time <= span.end, "{span:?}");
    }
    for (place, (key, _)) in span.attributes.iter().enumerate() {
        assert!(span.attributes[..place].iter().all(|(k, _)| k != key));
    }
    for key in ["workflowId", "cicd.pipeline.run.id", "cicd.pipeline.name"] {
        assert!(has(span, key), "{key}");
    }
    let parent = plan.event.parent.as_ref();
    assert_eq!(span.trace_state, parent.and_then(|p| p.trace_state.clone()));
    assert_eq!(span.trace_flags & 1, 1);
    assert_eq!(
        span.trace_flags & !1,
        parent.map_or(0, |p| p.trace_flags & 2)
    );
    let remote = span.parent.map(|parent| parent.remote);
    let links: Vec<_> = (span.links.iter())
        .map(|link| (link.context.trace_id, link.context.span_id))
        .collect();
    match part {
        Part::Workflow => {
            assert_eq!(span.parent.map(|p| p.span_id), parent.map(|p| p.span_id));
            assert_eq!(remote, parent.map(|_| true));
            let before = attempt_before(plan, scenario);
            assert_eq!(links, before.into_iter().collect::<Vec<_>>(), "{span:?}");
        }
        Part::Stage((path, attempt)) => {
            let kind = path.rsplit('/').next();
            assert_eq!(Some(&*span.name), kind);
            assert_eq!(remote, Some(false));
            let number = span.attributes.iter().find(|(key, _)| **key == *"attempt");
            let number = number.map(|(_, number)| number.clone());
            let told = (*attempt != 1).then(|| Value::Int((*attempt).into()));
            assert_eq!(number, told);
            assert!(links.len() <= 1);
            assert!(
                links.iter().all(|(trace, _)| *trace == ids.trace),
                "{span:?}"
            );
        }
        Part::Wait(key) => {
            let of = key.clone().map_or(Part::Workflow, Part::Stage);
            let of = ids.span(&of);
            assert_eq!(
                span.parent.map(|p| (p.span_id, p.remote)),
                Some((of, false))
            );
            assert!(links.is_empty() && span.events.is_empty());
            assert!(span.name.ends_with(" queued") && span.start < span.end);
        }
        Part::Started(_) => {
            let root = ids.span(&Part::Workflow);
            let parent = span.parent.map(|p| (p.span_id, p.remote));
            assert_eq!(parent, Some((root, false)));
            assert!(links.is_empty() && span.events.is_empty());
            assert!(span.name.ends_with(" started") && span.start == span.end);
        }
    }
}

/// The spans of one trace.
pub type Spans<'a> = BTreeMap<Part, &'a Span>;

/// Asserts what holds for every complete trace.
pub fn hold_whole(spans: &Spans<'_>, plan: &Plan, scenario: &Scenario) {
    let ids = Ids::of(plan, scenario);
    let naming = &scenario.settings.monitors[plan.monitor].naming;
    assert!(spans.contains_key(&Part::Workflow), "no root: {spans:?}");
    let by_id: BTreeMap<SpanId, &Part> = spans.iter().map(|(p, s)| (s.span_id, p)).collect();
    let mut runs = BTreeSet::new();
    for (part, span) in spans {
        assert_eq!(span.span_id, ids.span(part));
        if *part != Part::Workflow {
            let parent = span.parent.and_then(|parent| by_id.get(&parent.span_id));
            let parent = parent.unwrap_or_else(|| panic!("an orphan: {span:?}"));
            let around = spans[*parent];
            let within = around.start <= span.start && span.end <= around.end;
            // A later answer may correct a start that was shown.
            let may_be_corrected = matches!(part, Part::Started(_));
            assert!(within || may_be_corrected, "{span:?} outside {around:?}");
        }
        match part {
            Part::Wait(_) => assert!(
                naming.queued,
                "the monitor configures no such span: {span:?}"
            ),
            Part::Started(_) => assert!(naming.started, "it is not wanted: {span:?}"),
            Part::Stage((path, attempt)) => {
                let run =
                    (span.attributes.iter()).find(|(key, _)| **key == *"cicd.pipeline.task.run.id");
                let run = run.map(|(_, run)| format!("{run:?}"));
                assert!(runs.insert(run), "a run id twice: {span:?}");
                for link in &span.links {
                    let Some(Part::Stage((to, earlier))) = by_id.get(&link.context.span_id) else {
                        panic!("a link to nothing: {span:?}");
                    };
                    assert!(to == path && earlier < attempt, "{span:?}");
                }
                let is_needed = || {
                    let parents = spans
                        .values()
                        .any(|s| s.parent.is_some_and(|p| p.span_id == span.span_id));
                    let links = spans.values().flat_map(|s| &s.links);
                    parents
                        || links
                            .into_iter()
                            .any(|link| link.context.span_id == span.span_id)
                };
                let (_, value) = span
                    .attributes
                    .iter()
                    .find(|(key, _)| **key == *"cicd.pipeline.task.run.result")
                    .cloned()
                    .unzip();
                let skipped = value == Some(Value::from("skip"));
                assert!(
                    !skipped || naming.skipped || is_needed(),
                    "the monitor configures no such span: {span:?}"
                );
            }
            Part::Workflow => {}
        }
    }
}

/// Nothing was wrong with the answers, and it ended: the spans are the truth to the nanosecond.
pub fn hold_exact(spans: &Spans<'_>, plan: &Plan, scenario: &Scenario) {
    let naming = &scenario.settings.monitors[plan.monitor].naming;
    let clock = |at| api::wall(at, scenario.hosts[plan.host].skew_ns);
    // An answer that is late may tell of an earlier attempt after the span of a later one has left. Then its end is when
    // that was seen, and what it is part of reaches to there.
    let is_late = scenario.faults.stale > 0.0 && scenario.faults_end > 0;
    let superseded = (plan.stages.iter()).filter(|stage| stage.told.1 != u64::MAX);
    let superseded_ends: Vec<farspan::core::time::Wall> = superseded
        .filter_map(|stage| Some(spans.get(&Part::Stage(stage.key.clone()))?.end))
        .collect();
    let hold = |part: Part, span: &Span, course: Course, queued: Option<u64>| {
        let queued = queued.filter(|queued| naming.queued && *queued < course.start);
        let times = (clock(queued.unwrap_or(course.start)), clock(course.end));
        let (start, end) = (span.start.min(times.0), span.end.max(times.1));
        assert_eq!((span.start, span.end), (start, end), "{span:?}");
        // A change is seen a little later than it happened.
        let is_timeless = naming.skipped && plan.stages.iter().any(|stage| stage.is_timeless);
        let is_wider = is_timeless || is_late && superseded_ends.contains(&span.end);
        assert!(is_wider || times == (start, end), "{span:?}");
        let status = match course.outcome {
            Outcome::Success => SpanStatus::Ok,
            Outcome::Cancellation | Outcome::Skip => SpanStatus::Unset,
            _ => SpanStatus::Error("it failed".into()),
        };
        assert_eq!(span.status, status);
        assert!(!has(span, "farspan.incomplete"), "{span:?}");
        let wait = spans.get(&part).map(|wait| (wait.start, wait.end));
        let waited = queued.map(|queued| (clock(queued), clock(course.start)));
        assert_eq!(wait, waited, "{span:?}");
    };
    let root = spans[&Part::Workflow];
    hold(Part::Wait(None), root, plan.course, plan.queued);
    let ids = Ids::of(plan, scenario);
    for stage in &plan.stages {
        let key = &stage.key;
        let part = Part::Stage(key.clone());
        let span = spans.get(&part).copied();
        let is_last = stage.told.1 == u64::MAX;
        if let Some(span) = span {
            let parent = stage.parent.clone().map_or(Part::Workflow, Part::Stage);
            let parent = ids.span(&parent);
            assert_eq!(span.parent.map(|p| p.span_id), Some(parent), "{span:?}");
            let earlier = |(part, span): (&Part, &&Span)| match part {
                Part::Stage((path, n)) if *path == key.0 && *n < key.1 => Some((*n, span.span_id)),
                _ => None,
            };
            let earlier = spans.iter().filter_map(earlier).max().map(|(_, id)| id);
            let link = span.links.first().map(|link| link.context.span_id);
            assert!(link == earlier || is_late, "{key:?} of\n{}", shown(spans));
        }
        let within = || {
            let of = |s: &&&Span| {
                s.parent
                    .is_some_and(|p| Some(p.span_id) == span.map(|s| s.span_id))
            };
            let ends = spans.values().filter(of).map(|s| s.end).max();
            spans.values().filter(of).map(|s| s.start).min().zip(ends)
        };
        match (stage.course, span) {
            (None, None) => {}
            (None, span) => panic!("a span of what never began: {span:?}"),
            (Some(_), span) if stage.is_group => {
                let of_part = |s: &&crate::scenario::StagePlan| s.parent.as_ref() == Some(key);
                let mut parts = plan.stages.iter().filter(of_part);
                let known = parts.any(|s| spans.contains_key(&Part::Stage(s.key.clone())));
                assert_eq!(span.is_some(), known, "{key:?}");
                assert_eq!(span.map(|s| (s.start, s.end)), within());
            }
            (Some(course), span) if course.outcome == Outcome::Skip && !naming.skipped => {
                let span = span.filter(|_| is_last);
                assert!(span.is_none() || is_late, "{span:?}");
            }
            (Some(_), Some(span)) if stage.is_timeless => {
                assert_eq!(span.status, SpanStatus::Unset);
            }
            (Some(course), Some(span)) if is_last => {
                hold(Part::Wait(Some(key.clone())), span, course, stage.queued);
            }
            (Some(_), None) if is_last => panic!("{key:?} has no span"),
            // Whether an answer showed its end is chance.
            (Some(_), _) => {}
        }
    }
}

/// A trace as text, for people.
fn shown(spans: &Spans<'_>) -> String {
    let name = |id: Option<SpanId>| {
        let mut spans = spans.iter();
        let found = spans.find(|(_, span)| Some(span.span_id) == id);
        found.map_or(String::new(), |(part, _)| format!("{part:?}"))
    };
    let line = |(part, span): (&Part, &&Span)| {
        let parent = name(span.parent.map(|parent| parent.span_id));
        let after = name(span.links.first().map(|link| link.context.span_id));
        let events: Vec<&str> = span.events.iter().map(|event| &*event.name).collect();
        let (start, end) = (span.start, span.end);
        format!(
            "{part:?} in {parent} after {after}: {start}..{end} {:?} {events:?}\n",
            span.status
        )
    };
    spans.iter().map(line).collect()
}

/// What the answers about a workflow have said so far, and the spans made of them.
#[derive(Clone, Default)]
pub struct Told {
    workflow: Events,
    stages: BTreeMap<Key, ToldOf>,
    /// The spans in the order in which they were finished.
    spans: Vec<(Part, Arc<Span>)>,
    /// For a span of a later attempt: the earlier attempts that had a span by then, or were to get one.
    earlier: BTreeMap<Key, BTreeSet<u32>>,
}

type Events = Vec<Box<str>>;

/// What is known of one stage.
#[derive(Clone, Debug, Default)]
struct ToldOf {
    /// The parent in the first answer with it.
    hung: Option<Key>,
    /// Whether that answer said nothing else.
    is_vague: bool,
    events: Events,
    state: State,
    has_run: bool,
    was_skipped: bool,
    has_start: bool,
    has_end: bool,
    queued: bool,
    /// In how many answers in a row it had ended.
    over_for: u32,
    is_finished: bool,
}

impl ToldOf {
    fn is_complete(&self) -> bool {
        (self.has_start && self.has_end) || self.state == State::Ended(Outcome::Skip)
    }

    fn see(&mut self, progress: &Progress) {
        tell(&mut self.events, progress);
        self.state = progress.state;
        self.has_run |= progress.state != State::Pending;
        self.was_skipped |= progress.state == State::Ended(Outcome::Skip);
        self.has_start |= progress.start.is_some();
        self.has_end = match progress.state {
            State::Ended(_) => self.has_end || progress.end.is_some(),
            State::Pending | State::Running => false,
        };
        self.queued |= progress.queued.is_some();
    }
}

fn tell(events: &mut Events, progress: &Progress) {
    if let Some(status) = &progress.status
        && events.last() != Some(status)
    {
        events.push(status.clone());
    }
}

impl Told {
    /// The workflow's last status.
    pub fn status(&self) -> &str {
        self.workflow.last().map_or("", |status| status)
    }

    /// Takes in an answer.
    pub fn see(&mut self, snapshot: &Snapshot) {
        tell(&mut self.workflow, &snapshot.progress);
        let told: Vec<ToldStage> = api::told(snapshot).collect();
        let is_flat = told.iter().all(|s| s.parent.is_none() && s.key.1 == 1);
        let mut news = Vec::new();
        let mut here = BTreeSet::new();
        for stage in &told {
            let known = self.stages.get(&stage.key);
            let says_nothing = stage.id.is_none() && stage.progress == Progress::default();
            let is_vague = is_flat && says_nothing;
            let of_path = self.attempts(&stage.key.0).count();
            if known.is_none() && of_path >= limits::STAGE_ATTEMPTS_MAX {
                continue;
            }
            if known.is_none_or(|known| known.is_vague) {
                let of = self.stages.entry(stage.key.clone()).or_default();
                of.is_vague = is_vague;
                if !is_vague {
                    news.push(stage);
                }
            }
            let of = self.stages.entry(stage.key.clone()).or_default();
            if !of.is_finished {
                of.see(&stage.progress);
            }
            here.insert(&stage.key);
        }
        for stage in news {
            let parent = stage.parent.as_ref().and_then(|path| {
                let same = (path.clone(), stage.key.1);
                let known = self.stages.contains_key(&same).then_some(same);
                known.or_else(|| Some((path.clone(), self.attempts(path).max()?)))
            });
            let parent = parent.filter(|parent| !self.stages[parent].is_finished);
            let of = self.stages.get_mut(&stage.key).expect("it was just told");
            of.hung = parent;
        }
        // In the reverse order of path and attempt: later attempts come first.
        let mut later: Option<&Key> = None;
        for (key, of) in self.stages.iter_mut().rev() {
            let has_later = later.is_some_and(|later| later.0 == key.0);
            later = Some(key);
            let is_here = here.contains(&key);
            let runs = is_here && of.state == State::Running;
            let is_over = matches!(of.state, State::Ended(_)) || (has_later && !runs);
            if is_over {
                of.over_for += u32::from(is_here || has_later)
            } else {
                of.over_for = 0
            }
        }
    }

    /// The numbers of the known attempts at a stage.
    fn attempts(&self, path: &str) -> impl Iterator<Item = u32> {
        let from: Key = (path.into(), 0);
        let to: Key = (path.into(), u32::MAX);
        self.stages
            .range(from..=to)
            .map(|((_, attempt), _)| *attempt)
    }

    /// Its parent, the parent's parent and so on.
    fn above<'a>(&'a self, key: &Key) -> impl Iterator<Item = &'a Key> {
        let mut next = self.stages.get(key).and_then(|of| of.hung.as_ref());
        std::iter::from_fn(move || {
            let key = next?;
            next = self.stages.get(key).and_then(|of| of.hung.as_ref());
            Some(key)
        })
    }

    /// Whether it certainly gets a span: for itself, or for a child.
    fn takes_part(&self, key: &Key, naming: &Naming, ids: &Ids<'_>) -> bool {
        let runs = |of: &ToldOf| {
            let is_skipped = of.state == State::Ended(Outcome::Skip);
            of.has_run && (naming.skipped || !is_skipped)
        };
        let mut others = self.stages.iter();
        runs(&self.stages[key])
            || self.has_parts(ids.span(&Part::Stage(key.clone())))
            || others.any(|(other, of)| {
                runs(of) && !of.is_finished && self.above(other).any(|above| above == key)
            })
    }

    /// Whether spans are children of that one.
    pub fn has_parts(&self, id: SpanId) -> bool {
        let mut spans = self.spans.iter().map(|(_, span)| span);
        spans.any(|span| span.parent.is_some_and(|parent| parent.span_id == id))
    }

    pub fn spans(&self) -> Spans<'_> {
        let spans = self.spans.iter();
        spans.map(|(part, span)| (part.clone(), &**span)).collect()
    }

    pub fn has_root(&self) -> bool {
        self.spans.iter().any(|(part, _)| *part == Part::Workflow)
    }

    pub fn root(&self) -> Option<&Span> {
        let mut spans = self.spans.iter();
        spans
            .find(|(part, _)| *part == Part::Workflow)
            .map(|(_, span)| &**span)
    }

    /// Takes in a finished span. `is_hurried`: the whole workflow is finished at once.
    pub fn finish(
        &mut self,
        part: Part,
        span: &Span,
        logged: &[&str],
        is_hurried: bool,
        plan: &Plan,
        scenario: &Scenario,
    ) {
        let naming = &scenario.settings.monitors[plan.monitor].naming;
        let ids = &Ids::of(plan, scenario);
        assert!(!self.has_root(), "a span after its root: {span:?}");
        let twin = self.spans.iter().find(|(known, _)| *known == part);
        assert_eq!(twin, None, "two spans of one thing");
        if let Part::Stage(key) = &part {
            hold_told(&self.stages[key].events, span, logged, naming);
            self.hold_time(key, span, is_hurried);
            self.hold_nothing_left(key, span, naming, ids);
            let earlier = self.attempts(&key.0).filter(|attempt| *attempt < key.1);
            let took_part = earlier.filter(|n| self.takes_part(&(key.0.clone(), *n), naming, ids));
            let took_part = took_part.collect();
            self.earlier.insert(key.clone(), took_part);
            if let Some(of) = self.stages.get_mut(key) {
                of.is_finished = true;
            }
        }
        if part == Part::Workflow {
            hold_told(&self.workflow, span, logged, naming);
        }
        self.spans.push((part, Arc::new(span.clone())));
    }

    /// A stage was not finished while answers could still change it.
    fn hold_time(&self, key: &Key, span: &Span, is_hurried: bool) {
        let waited = |of: &ToldOf| of.over_for > u32::from(limits::SETTLE_POLLS);
        let of = &self.stages[key];
        let is_due = of.over_for > 0 && (of.is_complete() || waited(of));
        let mut above = self.above(key).map(|key| &self.stages[key]);
        assert!(
            is_hurried || is_due || above.any(waited),
            "there might still have been more of {key:?} {of:?} in {:?}: {span:?}",
            self.above(key)
                .map(|key| (key, &self.stages[key]))
                .collect::<Vec<_>>()
        );
    }

    /// Its children that have started were finished before it.
    fn hold_nothing_left(&self, key: &Key, span: &Span, naming: &Naming, ids: &Ids<'_>) {
        for (other, of) in &self.stages {
            let is_left = !of.is_finished && !of.was_skipped && other != key;
            let mut above = self.above(other);
            if is_left
                && above.find(|above| !self.stages[*above].is_finished) == Some(key)
                && self.takes_part(other, naming, ids)
            {
                panic!("{other:?} is left of it: {span:?}");
            }
        }
    }

    /// The root is finished, so all spans are.
    pub fn hold(&self, plan: &Plan, scenario: &Scenario) {
        let spans = self.spans();
        hold_whole(&spans, plan, scenario);
        let naming = &scenario.settings.monitors[plan.monitor].naming;
        let ids = Ids::of(plan, scenario);
        for (key, of) in &self.stages {
            self.hold_stage(key, of, &spans, naming, &ids);
        }
        for part in spans.keys() {
            if let Part::Wait(Some(key)) = part {
                assert!(self.stages[key].queued, "{key:?} never waited");
            }
            if let Part::Started(Some(key)) = part {
                assert!(self.stages[key].has_run, "{key:?} never started");
            }
        }
    }

    fn hold_stage(
        &self,
        key: &Key,
        of: &ToldOf,
        spans: &Spans<'_>,
        naming: &Naming,
        ids: &Ids<'_>,
    ) {
        let Some(span) = spans.get(&Part::Stage(key.clone())) else {
            let may_lack = of.was_skipped && !naming.skipped;
            assert!(!of.has_run || may_lack, "{key:?} has no span");
            return;
        };
        let is_parent = |s: &&Span| s.parent.is_some_and(|p| p.span_id == span.span_id);
        let has_parts = spans.values().copied().any(|s| is_parent(&s));
        assert!(of.has_run || has_parts, "it never began: {span:?}");
        // A finished or missing parent takes no new children.
        let order = |key: &Key| {
            let part = Part::Stage(key.clone());
            self.spans.iter().position(|(known, _)| *known == part)
        };
        let is_above = |above: &&Key| order(above).is_some_and(|place| Some(place) > order(key));
        let parent = self.above(key).find(is_above).cloned();
        let parent = ids.span(&parent.map_or(Part::Workflow, Part::Stage));
        let is_root = span
            .parent
            .is_some_and(|p| p.span_id == ids.span(&Part::Workflow));
        let is_unsure = is_root && (self.above(key)).any(|above| order(above).is_none());
        let right = span.parent.is_some_and(|p| p.span_id == parent);
        assert!(
            right || is_unsure,
            "{key:?}: {:?}, and not so: {span:?}",
            of.hung
        );
        let earlier = self.earlier.get(key).into_iter().flatten();
        let mut parts = earlier.map(|n| Part::Stage((key.0.clone(), *n))).rev();
        let told = parts.find_map(|part| spans.get(&part)).map(|s| s.span_id);
        let link = span.links.first().map(|link| link.context.span_id);
        assert_eq!(link, told, "the attempt before: {span:?}");
    }
}

/// Every change of status in an answer is once where the monitor wants it, on the span or in a log record, also across
/// restarts.
fn hold_told(told: &Events, span: &Span, logged: &[&str], naming: &Naming) {
    let names = span.events.iter().map(|event| &event.name);
    let names = names.filter(|name| ***name != *"Submitted");
    let room = farspan::core::sampler::SpanLimits::default().events;
    if !naming.status_events.are_on_span() {
        assert_eq!((names.count(), span.dropped_events), (0, 0), "{span:?}");
    } else if told.len() < room {
        assert!(
            names
                .map(|name| &**name)
                .eq(told.iter().map(|name| &**name)),
            "the answers had {told:?}, the span is {span:?}"
        );
    }
    if naming.status_events.are_logged() {
        let told = told.iter().map(|status| &**status);
        assert!(
            told.clone().eq(logged.iter().copied()),
            "the answers had {:?}, the log records {logged:?}",
            told.collect::<Vec<_>>()
        );
    } else {
        assert!(logged.is_empty(), "{logged:?}");
    }
}
