//! The questions of viewers to the loop. Each takes one answer, and is dropped without one when farspan stops before.

use crate::core::limits;
use crate::core::view::{ChangedRuns, ListQuestion, RunDetail, RunPage, RunQuestion};
use crate::os::clock;
use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded, never};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// One question, and where its answer goes.
#[derive(Debug)]
pub enum ViewQuestion {
    /// A page of runs.
    List(Box<ListQuestion>, Sender<RunPage>),
    /// One run; `None` if it is not known.
    Run(RunQuestion, Sender<Option<Box<RunDetail>>>),
    /// What has changed since this version.
    Changes(u64, Sender<ChangedRuns>),
    /// To hear of the next change.
    Await(ChangeAwaited),
    /// To get each run that ends from now on; answered once that is so.
    Follow(Follower, Sender<()>),
}

/// A viewer that waits for a change.
#[derive(Debug)]
pub struct ChangeAwaited {
    /// The version that the viewer knows.
    pub since: u64,
    /// How long it waits.
    pub within: Duration,
    /// Gets a message at the change.
    pub answer: Sender<()>,
    /// Dropped when the viewer waits no more.
    pub viewer: Weak<()>,
}

/// Gets the runs that end. What has no room is counted and not sent.
#[derive(Debug)]
pub struct Follower {
    ended: Sender<Arc<RunDetail>>,
    waiting: Arc<Backlog>,
}

/// The other end of a [`Follower`].
#[derive(Debug)]
pub struct Followed {
    ended: Receiver<Arc<RunDetail>>,
    waiting: Arc<Backlog>,
}

/// What a follower has not taken yet, and what it never gets.
#[derive(Debug, Default)]
struct Backlog {
    bytes: AtomicUsize,
    missed: AtomicU64,
}

impl Follower {
    /// Both ends.
    pub fn new() -> (Follower, Followed) {
        let (sent, ended) = bounded(limits::FOLLOWED_RUNS_MAX);
        let waiting = Arc::<Backlog>::default();
        let follower = Follower {
            ended: sent,
            waiting: waiting.clone(),
        };
        (follower, Followed { ended, waiting })
    }

    /// Whether the other end is there.
    pub fn is_followed(&self) -> bool {
        Arc::strong_count(&self.waiting) > 1
    }

    /// Sends a run that has ended; `None`: there was no room to keep it. False: the other end is gone.
    pub fn tell(&self, run: Option<&Arc<RunDetail>>) -> bool {
        let waiting = &self.waiting;
        let fits = waiting.bytes.load(Ordering::Relaxed) <= limits::FOLLOWED_BYTES_MAX;
        let Some(run) = run.filter(|_| fits) else {
            waiting.missed.fetch_add(1, Ordering::Relaxed);
            return true;
        };
        let bytes = run.bytes();
        waiting.bytes.fetch_add(bytes, Ordering::Relaxed);
        let sent = self.ended.try_send(run.clone());
        let Err(unsent) = sent else { return true };
        waiting.bytes.fetch_sub(bytes, Ordering::Relaxed);
        waiting.missed.fetch_add(1, Ordering::Relaxed);
        unsent.is_full()
    }
}

impl Followed {
    /// The next run that has ended. `Err(Timeout)`: none within this time; `Err(Disconnected)`: there will be none.
    pub fn next(&self, within: Option<Duration>) -> Result<Arc<RunDetail>, RecvTimeoutError> {
        let run = match within {
            Some(within) => self.ended.recv_timeout(within)?,
            None => (self.ended.recv()).map_err(|_| RecvTimeoutError::Disconnected)?,
        };
        self.waiting.bytes.fetch_sub(run.bytes(), Ordering::Relaxed);
        Ok(run)
    }

    /// How many runs there was no room for.
    pub fn missed(&self) -> u64 {
        self.waiting.missed.load(Ordering::Relaxed)
    }
}

/// Asks the loop.
#[derive(Clone, Debug)]
pub struct Asker {
    questions: Sender<ViewQuestion>,
}

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// There was no place for the question in time.
    Busy,
    /// The loop has not answered in time.
    Late,
    /// farspan is stopping.
    Stopping,
    /// farspan is stopping, or too many viewers wait.
    TurnedAway,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unanswered::Busy => "farspan is too busy",
            Unanswered::Late => "the loop has not answered in time",
            Unanswered::Stopping => "farspan is stopping",
            Unanswered::TurnedAway => "farspan is stopping, or too many viewers wait",
        })
    }
}

/// So long a question waits for the loop.
const PATIENCE: Duration = Duration::from_secs(5);
/// So often the wait for a change looks whether it is over.
const LOOKS_EVERY: Duration = Duration::from_secs(1);
/// Changes that come so soon after the first one share an answer.
const GATHERED: Duration = Duration::from_millis(100);

impl Asker {
    /// Asks by this channel.
    pub fn new(questions: Sender<ViewQuestion>) -> Self {
        Asker { questions }
    }

    /// The answer to the question that `question` makes.
    ///
    /// # Errors
    /// Why there is none.
    pub fn ask<T>(
        &self,
        question: impl FnOnce(Sender<T>) -> ViewQuestion,
    ) -> Result<T, Unanswered> {
        let (answer, answered) = bounded(1);
        self.send(question(answer))?;
        answered
            .recv_timeout(PATIENCE)
            .map_err(|error| match error {
                RecvTimeoutError::Timeout => Unanswered::Late,
                RecvTimeoutError::Disconnected => Unanswered::Stopping,
            })
    }

    /// Returns at a change after the version `since`, after `within`, or when `is_over`.
    ///
    /// # Errors
    /// Why it does not wait.
    pub fn wait_for_change(
        &self,
        since: u64,
        within: Duration,
        is_over: impl Fn() -> bool,
    ) -> Result<(), Unanswered> {
        let (answer, answered) = bounded(1);
        let viewer = Arc::new(());
        self.send(ViewQuestion::Await(ChangeAwaited {
            since,
            within,
            answer,
            viewer: Arc::downgrade(&viewer),
        }))?;
        let until = clock::now().mono + within;
        loop {
            let left = until.since(clock::now().mono);
            match answered.recv_timeout(left.min(LOOKS_EVERY)) {
                Ok(()) => {
                    let _ = never::<()>().recv_timeout(GATHERED);
                    return Ok(());
                }
                Err(RecvTimeoutError::Timeout) if left > LOOKS_EVERY && !is_over() => {}
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                // The loop holds only so many.
                Err(RecvTimeoutError::Disconnected) => return Err(Unanswered::TurnedAway),
            }
        }
    }

    fn send(&self, question: ViewQuestion) -> Result<(), Unanswered> {
        let sent = self.questions.send_timeout(question, PATIENCE);
        sent.map_err(|unsent| match unsent {
            SendTimeoutError::Timeout(_) => Unanswered::Busy,
            SendTimeoutError::Disconnected(_) => Unanswered::Stopping,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::{RunKey, SpanId, TraceId};
    use crate::core::time::Wall;
    use crate::core::view::{RunState, RunSummary, StageCounts};

    fn ended(number: u8, span_bytes: usize) -> Arc<RunDetail> {
        let summary = RunSummary {
            run: RunKey::from_bytes([number; 16]),
            workflow_id: "w".into(),
            monitor: 0,
            attempt: None,
            state: RunState::Ended,
            status: "Completed".into(),
            result: None,
            error: None,
            received: Wall::from_unix_ns(0),
            queued: None,
            started: None,
            ended: None,
            stages: StageCounts::default(),
            last_poll: None,
            next_poll: None,
            trace_id: TraceId::from_bytes([1; 16]).unwrap(),
            root_span_id: SpanId::from_bytes([1; 8]).unwrap(),
            sampled: true,
            exported: false,
            version: 1,
        };
        Arc::new(RunDetail {
            summary,
            finished: vec![vec![0; span_bytes].into()],
            has_all_spans: true,
            stages: Vec::new(),
            left_out: 0,
            events: Vec::new(),
            attributes: Vec::new(),
        })
    }

    #[test]
    fn a_follower_that_reads_nothing_holds_its_bytes_and_one_run_more_and_is_told_the_rest() {
        let (follower, followed) = Follower::new();
        let third = limits::FOLLOWED_BYTES_MAX / 3;
        for number in 0..6 {
            assert!(follower.tell(Some(&ended(number, third))));
        }
        // It had no room to be kept.
        assert!(follower.tell(None));
        assert_eq!(followed.missed(), 4);
        let read = || followed.next(Some(Duration::ZERO));
        for number in 0..3 {
            assert_eq!(*read().unwrap(), *ended(number, third));
        }
        assert_eq!(read(), Err(RecvTimeoutError::Timeout));
        // There is room again, for small ones by their number.
        let small = ended(7, 0);
        for _ in 0..=limits::FOLLOWED_RUNS_MAX {
            assert!(follower.tell(Some(&small)));
        }
        assert_eq!(followed.missed(), 5);
        assert!(follower.is_followed());
        drop(followed);
        assert!(!follower.is_followed() && !follower.tell(Some(&small)));
    }
}
