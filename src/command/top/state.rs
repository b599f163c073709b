//! What `top` knows and shows, and what each key does to it. Pure: no clock, no terminal, no request.

use super::client::{Heard, RUNS_MAX};
use super::keys::Key;
use super::words::{Changes, Details, RunsPage, StateWord, Summary};
use crate::core::time::{Now, Wall};
use std::collections::HashMap;
use std::time::Duration;

/// Bytes of a filter at most.
const FILTER_BYTES_MAX: usize = 200;

/// Everything that is shown.
#[derive(Debug, Default)]
pub(super) struct Top {
    pub(super) url: String,
    pub(super) link: Connection,
    pub(super) live: u64,
    pub(super) ended: u64,
    /// Why farspan polls no workflow at all.
    pub(super) held: Option<String>,
    runs: HashMap<String, Summary>,
    /// The keys of the runs that are shown, in their order.
    order: Vec<String>,
    /// farspan's clock less ours.
    skew_ns: i64,
    pub(super) filter: String,
    pub(super) is_typing: bool,
    pub(super) shown: RunFilter,
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    /// In the table: the first row stays selected. In a run: what runs last stays in sight.
    pub(super) follows: bool,
    selected: Option<String>,
    /// The row of the selected run.
    pub(super) row: usize,
    /// The first row in sight.
    pub(super) top_row: usize,
    pub(super) open: Option<Open>,
    pub(super) has_help: bool,
    /// Rows that fit on a page, for the keys that turn pages.
    pub(super) page_rows: usize,
}

/// The connection to farspan.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// When it last answered.
    pub(super) heard: Option<Now>,
    /// Since when it does not, why, and when it is asked again.
    pub(super) lost: Option<(Now, String, Duration)>,
}

/// Which runs are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum RunFilter {
    #[default]
    All,
    Live,
    Ended,
    Failed,
}

/// The order of the table. Each begins with what is looked for most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// The newest first.
    #[default]
    Started,
    /// The longest first.
    Duration,
    /// By name and id.
    Workflow,
    /// What runs, then what waits, then what has ended.
    State,
    /// What is polled next.
    NextPoll,
}

/// The run that is open.
#[derive(Debug, Default)]
pub(super) struct Open {
    pub(super) run: String,
    pub(super) details: Option<Box<Details>>,
    pub(super) trouble: Option<String>,
    /// The selected row: 0 is the workflow, then its stages as the view orders them.
    pub(super) row: usize,
    pub(super) top_row: usize,
    /// How many rows there are.
    pub(super) rows: usize,
}

/// What the terminal cannot do by itself.
#[derive(Debug, PartialEq)]
pub(super) enum Wish {
    /// The details of this run.
    Details(String),
    Quit,
}

impl Top {
    pub(super) fn new(url: &str) -> Top {
        Top {
            url: url.to_owned(),
            page_rows: 1,
            ..Top::default()
        }
    }

    /// The time on farspan's clock.
    pub(super) fn farspans(&self, now: Now) -> Wall {
        now.wall.shifted(self.skew_ns)
    }

    /// The runs that are shown.
    pub(super) fn rows(&self) -> impl ExactSizeIterator<Item = &Summary> {
        self.order.iter().map(|run| &self.runs[run])
    }

    /// How many runs are known, shown or not.
    pub(super) fn known(&self) -> usize {
        self.runs.len()
    }

    /// A run by its key.
    pub(super) fn run(&self, run: &str) -> Option<&Summary> {
        self.runs.get(run)
    }

    /// Takes what the client has heard.
    pub(super) fn hear(&mut self, heard: Heard, now: Now) -> Option<Wish> {
        match heard {
            Heard::Listed(listing) => self.listed(*listing, now),
            Heard::Changed(changes) => self.changed(*changes, now),
            Heard::Lost(error, wait) => {
                let since = self.link.lost.take().map_or(now, |(since, ..)| since);
                self.link.lost = Some((since, error, wait));
                None
            }
            Heard::Detailed(run, details) => {
                self.detailed(&run, details);
                None
            }
        }
    }

    fn listed(&mut self, listing: RunsPage, now: Now) -> Option<Wish> {
        self.heard(listing.now, now);
        (self.live, self.ended, self.held) = (listing.live, listing.ended, listing.held);
        let runs = listing.workflows.into_iter();
        self.runs = runs.map(|run| (run.run.clone(), run)).collect();
        self.arrange(now);
        // What has changed meanwhile is not known.
        self.open
            .as_ref()
            .map(|open| Wish::Details(open.run.clone()))
    }

    fn changed(&mut self, changes: Changes, now: Now) -> Option<Wish> {
        self.heard(changes.now, now);
        if changes.reset {
            return None;
        }
        (self.live, self.ended, self.held) = (changes.live, changes.ended, changes.held);
        let open = self.open.as_ref().map(|open| open.run.clone());
        let open = open.filter(|open| changes.workflows.iter().any(|run| run.run == *open));
        for run in changes.gone {
            self.runs.remove(&run);
        }
        for run in changes.workflows {
            if self.runs.len() < RUNS_MAX || self.runs.contains_key(&run.run) {
                self.runs.insert(run.run.clone(), run);
            }
        }
        self.arrange(now);
        open.map(Wish::Details)
    }

    fn heard(&mut self, farspans: Option<Wall>, now: Now) {
        self.link = Connection {
            heard: Some(now),
            lost: None,
        };
        if let Some(farspans) = farspans {
            self.skew_ns = farspans.as_unix_ns().saturating_sub(now.wall.as_unix_ns());
        }
    }

    fn detailed(&mut self, run: &str, details: Result<Box<Details>, String>) {
        let Some(open) = self.open.as_mut().filter(|open| open.run == run) else {
            return;
        };
        match details {
            Ok(details) => {
                open.details = Some(details);
                open.trouble = None;
            }
            Err(trouble) => open.trouble = Some(trouble),
        }
    }

    /// Filters and sorts. The selected run stays selected as long as it is shown.
    fn arrange(&mut self, now: Now) {
        let now = self.farspans(now);
        let words: Vec<String> = self
            .filter
            .split_whitespace()
            .map(str::to_lowercase)
            .collect();
        let mut shown: Vec<&Summary> = self
            .runs
            .values()
            .filter(|run| self.shown.has(run) && words.iter().all(|word| matches(run, word)))
            .collect();
        self.sort.apply(&mut shown, now);
        if self.is_reversed {
            shown.reverse();
        }
        let order: Vec<String> = shown.into_iter().map(|run| run.run.clone()).collect();
        self.order = order;
        let selected = self.selected.take().filter(|_| !self.follows);
        let row = selected.and_then(|run| self.order.iter().position(|other| *other == run));
        let row = row.unwrap_or(if self.follows { 0 } else { self.row });
        self.select(row);
    }

    fn select(&mut self, row: usize) {
        self.row = row.min(self.order.len().saturating_sub(1));
        self.selected = self.order.get(self.row).cloned();
    }

    /// What a key does.
    pub(super) fn press(&mut self, key: Key, now: Now) -> Option<Wish> {
        if self.has_help {
            self.has_help = false;
            return (key == Key::Char('q')).then_some(Wish::Quit);
        }
        if self.is_typing {
            self.type_filter(key, now);
            return None;
        }
        match key {
            Key::Char('q') => return Some(Wish::Quit),
            Key::Char('?') | Key::Char('h') => self.has_help = true,
            Key::Char('f') => {
                self.follows = !self.follows;
                self.arrange(now);
            }
            Key::Escape if self.open.is_some() => self.open = None,
            Key::Escape => {
                self.filter.clear();
                self.arrange(now);
            }
            Key::Enter if self.open.is_none() => return self.open_selected(),
            Key::Char(_) if self.open.is_none() => self.change_table(key, now),
            _ => {}
        }
        self.step(key);
        None
    }

    fn open_selected(&mut self) -> Option<Wish> {
        let run = self.selected.clone()?;
        self.open = Some(Open {
            run: run.clone(),
            rows: 1,
            ..Open::default()
        });
        Some(Wish::Details(run))
    }

    fn change_table(&mut self, key: Key, now: Now) {
        match key {
            Key::Char('/') => self.is_typing = true,
            Key::Char('s') => self.sort = self.sort.next(),
            Key::Char('r') => self.is_reversed = !self.is_reversed,
            Key::Char('t') => self.shown = self.shown.next(),
            _ => return,
        }
        self.arrange(now);
    }

    fn type_filter(&mut self, key: Key, now: Now) {
        match key {
            Key::Enter => self.is_typing = false,
            Key::Escape => {
                self.is_typing = false;
                self.filter.clear();
            }
            Key::Backspace => drop(self.filter.pop()),
            Key::Char(c) | Key::Pasted(c) if self.filter.len() < FILTER_BYTES_MAX => {
                self.filter.push(c);
            }
            key => return self.step(key),
        }
        self.arrange(now);
    }

    /// Moves the selection of what is shown.
    fn step(&mut self, key: Key) {
        let page = self.page_rows.max(1);
        let (row, rows) = match &self.open {
            Some(open) => (open.row, open.rows),
            None => (self.row, self.order.len()),
        };
        let last = rows.saturating_sub(1);
        let moved = match key {
            Key::Up | Key::Char('k') => row.saturating_sub(1),
            Key::Down | Key::Char('j') => (row + 1).min(last),
            Key::PageUp => row.saturating_sub(page),
            Key::PageDown | Key::Char(' ') => (row + page).min(last),
            Key::Home | Key::Char('g') => 0,
            Key::End | Key::Char('G') => last,
            _ => return,
        };
        // Who moves does not follow.
        self.follows = false;
        match &mut self.open {
            Some(open) => open.row = moved,
            None => self.select(moved),
        }
    }
}

/// The first row in sight, so that the selected one is: as few rows are moved as possible.
pub(super) fn scrolled(top_row: usize, row: usize, rows: usize, height: usize) -> usize {
    let least = (row + 1).saturating_sub(height);
    let most = row.min(rows.saturating_sub(height));
    top_row.clamp(least.min(most), most)
}

impl RunFilter {
    fn next(self) -> RunFilter {
        match self {
            RunFilter::All => RunFilter::Live,
            RunFilter::Live => RunFilter::Ended,
            RunFilter::Ended => RunFilter::Failed,
            RunFilter::Failed => RunFilter::All,
        }
    }

    fn has(self, run: &Summary) -> bool {
        match self {
            RunFilter::All => true,
            RunFilter::Live => run.state != StateWord::Ended,
            RunFilter::Ended => run.state == StateWord::Ended,
            RunFilter::Failed => run.has_failed(),
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            RunFilter::All => "all",
            RunFilter::Live => "live",
            RunFilter::Ended => "ended",
            RunFilter::Failed => "failed",
        }
    }
}

impl Sort {
    fn next(self) -> Sort {
        match self {
            Sort::Started => Sort::Duration,
            Sort::Duration => Sort::Workflow,
            Sort::Workflow => Sort::State,
            Sort::State => Sort::NextPoll,
            Sort::NextPoll => Sort::Started,
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Sort::Started => "start",
            Sort::Duration => "duration",
            Sort::Workflow => "workflow",
            Sort::State => "state",
            Sort::NextPoll => "next poll",
        }
    }

    /// Runs that are equal otherwise stand in the order of their keys, so that none jumps.
    fn apply(self, runs: &mut [&Summary], now: Wall) {
        use std::cmp::Reverse;
        match self {
            Sort::Started => runs.sort_unstable_by_key(|run| (Reverse(run.begun()), &run.run)),
            Sort::Duration => {
                runs.sort_unstable_by_key(|run| (Reverse(run.duration(now)), &run.run))
            }
            Sort::Workflow => {
                runs.sort_unstable_by(|a, b| a.by_name().cmp(&b.by_name()));
            }
            Sort::State => {
                let rank = |run: &Summary| match run.state {
                    StateWord::Running => 0,
                    StateWord::Waiting => 1,
                    StateWord::Ended => 2,
                };
                runs.sort_unstable_by_key(|run| (rank(run), Reverse(run.begun()), &run.run));
            }
            Sort::NextPoll => runs.sort_unstable_by_key(|run| {
                let at = run.next_poll.as_ref().and_then(|poll| poll.at);
                (at.is_none(), at, &run.run)
            }),
        }
    }
}

impl Summary {
    fn by_name(&self) -> (&str, &str, &str) {
        (&self.name, &self.workflow_id, &self.run)
    }

    /// Whether it has ended, and badly.
    pub(super) fn has_failed(&self) -> bool {
        let is_good = |result: &str| matches!(result, "success" | "skip");
        self.state == StateWord::Ended && !self.result.as_deref().is_some_and(is_good)
    }

    /// Its state in one word: of a run that has ended, how.
    pub(super) fn word(&self) -> &str {
        self.state.word(self.result.as_deref())
    }
}

/// Whether a word, in small letters, is in what the table shows of a run.
fn matches(run: &Summary, word: &str) -> bool {
    let texts = [
        Some(run.workflow_id.as_str()),
        Some(&run.monitor),
        Some(&run.name),
        Some(run.word()),
        Some(&run.trace.trace_id),
        run.status.as_deref(),
        run.error.as_deref(),
    ];
    let mut texts = texts.into_iter().flatten();
    texts.any(|text| text.to_lowercase().contains(word))
}
