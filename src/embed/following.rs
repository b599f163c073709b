//! What a program hears of a watcher: pages of runs, their changes, and finished traces.

use super::{Error, FinishedTrace, RunSummary};
use crate::admin::question::{Asker, Followed, Unanswered, ViewQuestion};
use crate::core::limits;
use crate::core::time::Mono;
use crate::core::view::{ChangedRuns, Cursor, ListQuestion, RunPage, SortBy, StateFilter};
use crate::os::clock;
use crossbeam_channel::{RecvTimeoutError, never};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The names of the monitors.
type Names = Arc<[Box<str>]>;

/// The runs of a [`Watcher`](crate::Watcher), read page by page. After an error it ends.
#[must_use]
pub struct Runs {
    pages: RunPages,
    names: Names,
    read: VecDeque<RunSummary>,
}

/// What has changed about a run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// Its newest state.
    State(Box<RunSummary>),
    /// It is not kept any more: it has made room for others, or belongs to another instance now. This is its
    /// [`run`](RunSummary::run).
    Gone(String),
}

/// A subscription to the changes of runs. As an iterator it waits for each change, and ends when the watcher stops.
#[must_use]
pub struct Changes {
    asker: Asker,
    names: Names,
    /// The version of the last change that was asked for.
    since: u64,
    /// All runs, if so many had changed that they are told from the beginning.
    pages: Option<RunPages>,
    read: VecDeque<Change>,
}

/// A subscription to finished traces. As an iterator it waits for each trace, and ends when the watcher has stopped and all
/// are read.
#[must_use]
pub struct Traces {
    followed: Followed,
    names: Names,
}

/// So long one wait for a change is.
const WAIT: Duration = Duration::from_secs(25);
/// If too many wait already, it is asked again after this.
const ASKS_AGAIN: Duration = Duration::from_secs(1);

/// Where a list of all runs is.
struct RunPages {
    asker: Asker,
    after: Option<Cursor>,
    is_over: bool,
}

impl RunPages {
    fn new(asker: Asker) -> Self {
        RunPages {
            asker,
            after: None,
            is_over: false,
        }
    }

    /// The next page. After an error it is asked for again.
    fn next(&mut self) -> Result<Option<RunPage>, Unanswered> {
        if self.is_over {
            return Ok(None);
        }
        let question = ListQuestion {
            state: StateFilter::All,
            monitor: None,
            result: None,
            text: None,
            trace: None,
            sort: SortBy::Started,
            descending: true,
            limit: limits::VIEW_RUNS_MAX,
            after: self.after.clone(),
        };
        let page = (self.asker).ask(|to| ViewQuestion::List(Box::new(question), to))?;
        self.is_over = page.next.is_none();
        self.after.clone_from(&page.next);
        Ok(Some(page))
    }
}

impl Runs {
    pub(super) fn new(asker: Asker, names: Names) -> Self {
        Runs {
            pages: RunPages::new(asker),
            names,
            read: VecDeque::new(),
        }
    }
}

impl Iterator for Runs {
    type Item = Result<RunSummary, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.read.is_empty() {
            match self.pages.next() {
                Ok(page) => {
                    let names = &self.names;
                    let runs = page?.runs;
                    self.read = runs.iter().map(|run| RunSummary::of(run, names)).collect();
                }
                Err(why) => {
                    self.pages.is_over = true;
                    return Some(Err(why.into()));
                }
            }
        }
        self.read.pop_front().map(Ok)
    }
}

impl Changes {
    pub(super) fn new(asker: Asker, names: Names) -> Result<Self, Error> {
        let now = asker.ask(|to| ViewQuestion::Changes(0, to))?;
        Ok(Changes {
            asker,
            names,
            since: now.overview.version,
            pages: None,
            read: VecDeque::new(),
        })
    }

    /// The next change, for which it waits this long at most. `None`: there was none.
    ///
    /// # Errors
    /// [`ErrorKind::Stopped`](crate::ErrorKind::Stopped) when the watcher stops, or
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy).
    pub fn next_within(&mut self, within: Duration) -> Result<Option<Change>, Error> {
        self.next_until(clock::now().mono + within)
    }

    fn next_until(&mut self, until: Mono) -> Result<Option<Change>, Error> {
        loop {
            if self.read.is_empty() {
                self.ask()?;
            }
            if let Some(change) = self.read.pop_front() {
                return Ok(Some(change));
            }
            let left = until.since(clock::now().mono);
            if left.is_zero() {
                return Ok(None);
            }
            self.wait(left.min(WAIT))?;
        }
    }

    /// Reads what has changed meanwhile.
    fn ask(&mut self) -> Result<(), Error> {
        while let Some(pages) = &mut self.pages {
            match pages.next()? {
                Some(page) => {
                    let names = &self.names;
                    self.read = page.runs.iter().map(|run| state(run, names)).collect();
                    if !self.read.is_empty() {
                        return Ok(());
                    }
                }
                None => self.pages = None,
            }
        }
        let since = self.since;
        let changed = (self.asker).ask(|to| ViewQuestion::Changes(since, to))?;
        self.since = changed.overview.version;
        if changed.reset {
            self.pages = Some(RunPages::new(self.asker.clone()));
            return self.ask();
        }
        self.read = told(&changed, &self.names);
        Ok(())
    }

    fn wait(&mut self, within: Duration) -> Result<(), Error> {
        let waited = (self.asker).wait_for_change(self.since, within, || false);
        if waited.is_err() {
            // It stops, which this question tells, or too many wait already.
            self.ask()?;
            if self.read.is_empty() {
                let _ = never::<()>().recv_timeout(within.min(ASKS_AGAIN));
            }
        }
        Ok(())
    }
}

impl Iterator for Changes {
    type Item = Change;

    fn next(&mut self) -> Option<Change> {
        loop {
            match self.next_within(WAIT) {
                Ok(None) => {}
                Ok(change) => return change,
                Err(error) if error.kind() == super::ErrorKind::Busy => {}
                Err(_) => return None,
            }
        }
    }
}

fn state(run: &crate::core::view::RunSummary, names: &Names) -> Change {
    Change::State(Box::new(RunSummary::of(run, names)))
}

fn told(changed: &ChangedRuns, names: &Names) -> VecDeque<Change> {
    let states = changed.runs.iter().map(|run| state(run, names));
    let gone = changed.gone.iter().map(|run| Change::Gone(run.to_string()));
    states.chain(gone).collect()
}

impl Traces {
    pub(super) fn new(followed: Followed, names: Names) -> Self {
        Traces { followed, names }
    }

    /// The next trace, for which it waits this long at most. `None`: there was none.
    ///
    /// # Errors
    /// [`ErrorKind::Stopped`](crate::ErrorKind::Stopped) when the watcher has stopped and all are read.
    pub fn next_within(&mut self, within: Duration) -> Result<Option<FinishedTrace>, Error> {
        match self.followed.next(Some(within)) {
            Ok(run) => Ok(Some(FinishedTrace::of(&run, &self.names))),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Error::stopped()),
        }
    }

    /// How many traces found no room to wait. They were exported, and are never read here.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.followed.missed()
    }
}

impl Iterator for Traces {
    type Item = FinishedTrace;

    fn next(&mut self) -> Option<FinishedTrace> {
        let run = self.followed.next(None).ok()?;
        Some(FinishedTrace::of(&run, &self.names))
    }
}

impl fmt::Debug for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runs").finish_non_exhaustive()
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").finish_non_exhaustive()
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missed = self.missed();
        f.debug_struct("Traces")
            .field("missed", &missed)
            .finish_non_exhaustive()
    }
}
