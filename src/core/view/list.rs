//! A page of runs, found in steps: each looks at so few runs that the loop goes on in between.

use super::{Overview, RunPage, RunState, RunSummary, look};
use crate::ids::{RunKey, TraceId};
use crate::outcome::Outcome;
use crate::time::{Now, Wall};
use crate::watch::Watch;
use crate::{Core, limits};
use std::collections::{BinaryHeap, HashSet};

/// Which runs, in which order.
#[derive(Clone, Debug, PartialEq)]
pub struct ListQuestion {
    /// In which state.
    pub state: StateFilter,
    /// Of which monitor, by its index.
    pub monitor: Option<u16>,
    /// With which result.
    pub result: Option<Outcome>,
    /// A text that the workflow's id, its status, its error or the name of its monitor has in it, in any case of ASCII
    /// letters.
    pub text: Option<Box<str>>,
    /// The trace of the run. A text that is a trace id is that, too.
    pub trace: Option<TraceId>,
    /// The order.
    pub sort: SortBy,
    /// Whether the order is turned round.
    pub descending: bool,
    /// The most runs on the page, 1 to [`VIEW_RUNS_MAX`](limits::VIEW_RUNS_MAX).
    pub limit: usize,
    /// Where the page begins. `None`: it is the first one.
    pub after: Option<Cursor>,
}

/// In which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StateFilter {
    /// In any.
    #[default]
    All,
    /// Under watch.
    Live,
    /// In this one.
    Only(RunState),
}

/// What runs are sorted by. Runs that are equal in this are in the order of their keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortBy {
    /// The start, else the arrival of the start event.
    #[default]
    Started,
    /// How long it has run, or did.
    Duration,
    /// The monitor, and the workflow's id.
    Name,
    /// Running, waiting, ended with failure, ended otherwise.
    State,
    /// When it is polled next. Those that are not polled any more come last.
    NextPoll,
}

/// A place between two runs of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Cursor {
    /// When the first page was asked for: all pages compare durations at that time.
    pub at: Wall,
    /// What the run before it is sorted by.
    pub key: SortKey,
    /// The run before it.
    pub run: RunKey,
}

/// What a run is sorted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SortKey {
    /// Counts first.
    pub number: i64,
    /// Counts where the numbers are equal.
    pub text: Box<str>,
}

/// See the module.
#[derive(Debug)]
pub struct ListJob {
    question: ListQuestion,
    overview: Overview,
    at: Wall,
    /// The place of each monitor in the order of their names.
    ranks: Vec<i64>,
    step: ListStep,
    matching: usize,
    /// The best matches so far; the last of them in the order is at the top.
    best: BinaryHeap<Match>,
}

#[derive(Debug)]
enum ListStep {
    /// The next slot to look at.
    Live(u32),
    Ended,
    Copying(Copies),
}

#[derive(Debug, Default)]
struct Copies {
    /// The last one first.
    left: Vec<Match>,
    /// The last one that was copied.
    last: Option<Match>,
    runs: Vec<RunSummary>,
    bytes: usize,
    /// Whether there is another page.
    has_more: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Match {
    key: SortKey,
    run: RunKey,
    descending: bool,
}

/// Slots that one step looks at.
const SLOTS_AT_ONCE: u32 = 2048;
/// Summaries that one step copies, and the stages that are counted for them.
const COPIES_AT_ONCE: usize = 128;
const STAGES_AT_ONCE: usize = 20_000;

impl Ord for Match {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let order = (&self.key, self.run).cmp(&(&other.key, other.run));
        if self.descending {
            order.reverse()
        } else {
            order
        }
    }
}

impl PartialOrd for Match {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Core {
    /// Begins to look for a page of runs.
    pub fn begin_list(&self, question: ListQuestion, now: Now) -> ListJob {
        ListJob {
            overview: self.overview(now),
            at: question.after.as_ref().map_or(now.wall, |cursor| cursor.at),
            question,
            ranks: self.ranks(),
            step: ListStep::Live(0),
            matching: 0,
            best: BinaryHeap::new(),
        }
    }

    /// Goes a step on. `None`: there are more steps to take.
    pub fn go_on_with_list(&self, job: &mut ListJob, now: Now) -> Option<RunPage> {
        match &mut job.step {
            ListStep::Live(from) => {
                let (from, to) = (*from, from.saturating_add(SLOTS_AT_ONCE));
                job.step = if to < self.table.slots_len() {
                    ListStep::Live(to)
                } else {
                    ListStep::Ended
                };
                for slot in from..to {
                    if let Some(watch) = self.table.get(slot) {
                        job.offer_live(self, watch, now);
                    }
                }
                None
            }
            // After the live runs: a run that ends in between is found twice rather than not at all.
            ListStep::Ended => {
                for summary in self.views.kept.latest() {
                    job.offer_ended(self, summary);
                }
                job.begin_copying();
                None
            }
            ListStep::Copying(copies) => {
                let state = job.question.state;
                let is_done = copies.copy_some(state, self, now);
                is_done.then(|| job.page())
            }
        }
    }

    fn ranks(&self) -> Vec<i64> {
        let names = |index: &usize| {
            let naming = &self.settings.monitors[*index].naming;
            (&*naming.workflow, &*naming.monitor)
        };
        let mut order: Vec<usize> = (0..self.settings.monitors.len()).collect();
        order.sort_unstable_by(|one, other| names(one).cmp(&names(other)));
        let mut ranks = vec![0; order.len()];
        for (rank, index) in (0..).zip(order) {
            ranks[index] = rank;
        }
        ranks
    }
}

impl ListJob {
    fn offer_live(&mut self, core: &Core, watch: &Watch, now: Now) {
        let glance = watch.workflow.glance();
        let state = look::state_of(&glance);
        let question = &self.question;
        let is_wanted = match question.state {
            StateFilter::All | StateFilter::Live => true,
            StateFilter::Only(only) => only == state,
        };
        let has_result = question.result.is_none_or(|it| glance.result == Some(it));
        let of_monitor = question.monitor.is_none_or(|it| it == watch.monitor);
        if !(is_wanted && has_result && of_monitor) {
            return;
        }
        let id = watch.workflow.id();
        let seen = Searched {
            id,
            monitor: watch.monitor,
            trace_id: watch.workflow.trace_id(),
            texts: [glance.status, glance.error.unwrap_or_default()],
        };
        if !self.has_text(core, &seen) {
            return;
        }
        let started = glance.started;
        let (number, text) = match self.question.sort {
            SortBy::Started => (ns(started.unwrap_or(glance.received)), ""),
            SortBy::Duration => (lasted(started, self.at), ""),
            SortBy::Name => (self.rank(watch.monitor), &**id),
            SortBy::State => (rank_of(state, None), ""),
            SortBy::NextPoll => (ns(look::wall_of(watch.due(), now)), ""),
        };
        self.offer(number, text, || watch.run());
    }

    fn offer_ended(&mut self, core: &Core, run: &RunSummary) {
        let question = &self.question;
        let is_wanted = match question.state {
            StateFilter::All => true,
            StateFilter::Live => false,
            StateFilter::Only(only) => only == RunState::Ended,
        };
        let has_result = question.result.is_none_or(|it| run.result == Some(it));
        let of_monitor = question.monitor.is_none_or(|it| it == run.monitor);
        if !(is_wanted && has_result && of_monitor) {
            return;
        }
        let seen = Searched {
            id: &run.workflow_id,
            monitor: run.monitor,
            trace_id: run.trace_id,
            texts: [&run.status, run.error.as_deref().unwrap_or_default()],
        };
        if !self.has_text(core, &seen) {
            return;
        }
        let (number, text) = match self.question.sort {
            SortBy::Started => (ns(run.started.unwrap_or(run.received)), ""),
            SortBy::Duration => (lasted(run.started, run.ended.unwrap_or(self.at)), ""),
            SortBy::Name => (self.rank(run.monitor), &*run.workflow_id),
            SortBy::State => (rank_of(RunState::Ended, run.result), ""),
            SortBy::NextPoll => (i64::MAX, ""),
        };
        self.offer(number, text, || run.run);
    }

    fn rank(&self, monitor: u16) -> i64 {
        self.ranks
            .get(usize::from(monitor))
            .copied()
            .unwrap_or_default()
    }

    fn has_text(&self, core: &Core, seen: &Searched<'_>) -> bool {
        let Some(wanted) = self.question.text.as_deref() else {
            return true;
        };
        let naming = &core.monitor(seen.monitor).naming;
        let names = [seen.id, &naming.monitor, &naming.workflow];
        self.question.trace == Some(seen.trace_id)
            || (names.into_iter().chain(seen.texts)).any(|text| contains(text, wanted))
    }

    /// Takes a match in, if it is on the page as far as is known now.
    fn offer(&mut self, number: i64, text: &str, run: impl Fn() -> RunKey) {
        self.matching += 1;
        let order = |key: &SortKey, other: RunKey| {
            let order = (number, text).cmp(&(key.number, &*key.text));
            let order = order.then_with(|| run().cmp(&other));
            if self.question.descending {
                order.reverse()
            } else {
                order
            }
        };
        let before = self.question.after.as_ref();
        if before.is_some_and(|cursor| order(&cursor.key, cursor.run).is_le()) {
            return;
        }
        // One more than the page has, to know whether there is another page.
        if self.best.len() > self.question.limit {
            let worst = self.best.peek();
            if worst.is_some_and(|worst| order(&worst.key, worst.run).is_ge()) {
                return;
            }
            self.best.pop();
        }
        let text = text.into();
        self.best.push(Match {
            key: SortKey { number, text },
            run: run(),
            descending: self.question.descending,
        });
    }

    fn begin_copying(&mut self) {
        let mut left = std::mem::take(&mut self.best).into_sorted_vec();
        let has_more = left.len() > self.question.limit;
        let mut known = HashSet::new();
        left.retain(|found| known.insert(found.run));
        left.truncate(self.question.limit);
        left.reverse();
        self.step = ListStep::Copying(Copies {
            left,
            has_more,
            ..Copies::default()
        });
    }

    fn page(&mut self) -> RunPage {
        let copies = match &mut self.step {
            ListStep::Copying(copies) => std::mem::take(copies),
            ListStep::Live(_) | ListStep::Ended => Copies::default(),
        };
        let last = copies.last.filter(|_| copies.has_more);
        RunPage {
            overview: self.overview.clone(),
            matching: self.matching,
            runs: copies.runs,
            next: last.map(|Match { key, run, .. }| Cursor {
                at: self.at,
                key,
                run,
            }),
        }
    }
}

impl Copies {
    /// Whether all are copied for which there is room.
    fn copy_some(&mut self, state: StateFilter, core: &Core, now: Now) -> bool {
        let mut stages = 0;
        for _ in 0..COPIES_AT_ONCE {
            let Some(found) = self.left.pop() else {
                return true;
            };
            // A run that has ended since may not be wanted any more, and one that was kept may be forgotten.
            let summary = core.summary_of(found.run, now);
            let is_wanted =
                |it: &RunSummary| state != StateFilter::Live || it.state != RunState::Ended;
            let summary = summary.filter(is_wanted);
            if let Some(summary) = summary {
                self.bytes += summary.bytes();
                stages += summary.stages.total();
                self.runs.push(summary);
            }
            self.last = Some(found);
            if self.bytes > limits::VIEW_COPY_BYTES_MAX && !self.left.is_empty() {
                self.has_more = true;
                self.left.clear();
                return true;
            }
            if stages > STAGES_AT_ONCE {
                break;
            }
        }
        self.left.is_empty()
    }
}

/// What a text is looked for in.
struct Searched<'a> {
    id: &'a str,
    monitor: u16,
    trace_id: TraceId,
    texts: [&'a str; 2],
}

fn ns(at: Wall) -> i64 {
    at.as_unix_ns()
}

fn lasted(from: Option<Wall>, to: Wall) -> i64 {
    let lasted = from.map(|from| to.since(from)).unwrap_or_default();
    i64::try_from(lasted.as_nanos()).unwrap_or(i64::MAX)
}

fn rank_of(state: RunState, result: Option<Outcome>) -> i64 {
    match state {
        RunState::Running => 0,
        RunState::Waiting => 1,
        RunState::Ended if result.is_some_and(Outcome::is_failure) => 2,
        RunState::Ended => 3,
    }
}

/// Whether a text has another one in it, in any case of ASCII letters.
fn contains(text: &str, wanted: &str) -> bool {
    let (text, wanted) = (text.as_bytes(), wanted.as_bytes());
    wanted.is_empty() || (text.windows(wanted.len())).any(|part| part.eq_ignore_ascii_case(wanted))
}
