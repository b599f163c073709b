//! What lies between the loop and one poller: the polls that it has not begun, and the answers that it keeps until its
//! group of polls is done.
//!
//! The poller is woken once for a group, and the loop once for its answers. A thread that waits here does not spin.

use super::Ask;
use crate::core::{Answer, Poll, Polled};
use crate::os::threads::lock;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};

/// See the module.
#[derive(Debug, Default)]
pub struct PollerQueue {
    state: Mutex<QueueState>,
    /// The poller waits here for polls.
    has_more: Condvar,
}

/// What a poller brings when it has no more polls, or what is taken from it earlier.
#[derive(Debug, Default)]
pub struct PollerReport {
    /// In the order of the polls.
    pub answers: Vec<Polled>,
    /// Polls that it has not begun, in their order.
    pub not_begun: Vec<Poll>,
}

/// What a poller does next.
#[derive(Debug)]
pub(super) enum Work {
    Poll(Ask),
    /// Send this to the loop.
    Report(PollerReport),
    End,
}

#[derive(Debug, Default)]
struct QueueState {
    /// At most a group.
    polls: VecDeque<Ask>,
    answers: Vec<Polled>,
    is_closed: bool,
}

impl PollerQueue {
    /// Gives the poller a group of polls.
    pub fn give(&self, polls: impl Iterator<Item = Ask>) {
        lock(&self.state).polls.extend(polls);
        self.has_more.notify_one();
    }

    /// Takes what the poller has not begun, and the answers that it keeps. A poll that is under way goes on.
    pub fn take_back(&self) -> PollerReport {
        lock(&self.state).report()
    }

    /// The poller ends after the poll that is under way.
    pub fn close(&self) {
        lock(&self.state).is_closed = true;
        self.has_more.notify_one();
    }

    /// Takes the answer to the last poll, and waits for what is to be done next. If the host asks for a pause, its other
    /// polls are not sent.
    pub(super) fn next(&self, answer: Option<Polled>) -> Work {
        let mut state = lock(&self.state);
        let pauses = answer.as_ref().is_some_and(asks_for_pause);
        state.answers.extend(answer);
        if pauses {
            return Work::Report(state.report());
        }
        loop {
            if state.is_closed {
                return Work::End;
            }
            if let Some(ask) = state.polls.pop_front() {
                return Work::Poll(ask);
            }
            if !state.answers.is_empty() {
                return Work::Report(state.report());
            }
            state = (self.has_more.wait(state)).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }
}

impl QueueState {
    fn report(&mut self) -> PollerReport {
        PollerReport {
            answers: std::mem::take(&mut self.answers),
            not_begun: self.polls.drain(..).map(|ask| ask.poll).collect(),
        }
    }
}

fn asks_for_pause(polled: &Polled) -> bool {
    let failure = match &polled.answer {
        Answer::Failed(failure) | Answer::Partial { failure, .. } => failure.retry_after,
        Answer::Snapshot { .. } | Answer::NotFound => None,
    };
    polled.pause.or(failure).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::poller::Target;
    use crate::api::poller::tests::scripted_target;
    use crate::core::{PollFailure, PollFailureReason};
    use std::sync::Arc;
    use std::time::Duration;

    fn asks(slots: std::ops::Range<u32>, target: &Arc<Target>) -> impl Iterator<Item = Ask> {
        slots.map(|slot| Ask {
            poll: Poll {
                slot,
                generation: 1,
                monitor: 0,
                workflow_id: "w".into(),
                traceparent: None,
            },
            target: target.clone(),
        })
    }

    fn polled(slot: u32, answer: Answer) -> Polled {
        let now = crate::os::clock::now();
        Polled {
            slot,
            generation: 1,
            sent: now,
            received: now,
            date: None,
            requests: 1,
            not_modified: 0,
            pause: None,
            answer,
        }
    }

    fn slots(report: &PollerReport) -> (Vec<u32>, Vec<u32>) {
        let answers = report.answers.iter().map(|polled| polled.slot);
        let not_begun = report.not_begun.iter().map(|poll| poll.slot);
        (answers.collect(), not_begun.collect())
    }

    fn takes(queue: &PollerQueue, answer: Option<Polled>) -> u32 {
        match queue.next(answer) {
            Work::Poll(ask) => ask.poll.slot,
            other => panic!("a poll is there: {other:?}"),
        }
    }

    fn reports(queue: &PollerQueue, answer: Option<Polled>) -> (Vec<u32>, Vec<u32>) {
        match queue.next(answer) {
            Work::Report(report) => slots(&report),
            other => panic!("the group is done: {other:?}"),
        }
    }

    #[test]
    fn answers_come_together_when_the_group_is_done() {
        let (queue, target) = (PollerQueue::default(), Arc::new(scripted_target()));
        queue.give(asks(1..4, &target));
        assert_eq!(takes(&queue, None), 1);
        assert_eq!(takes(&queue, Some(polled(1, Answer::NotFound))), 2);
        assert_eq!(takes(&queue, Some(polled(2, Answer::NotFound))), 3);
        let report = reports(&queue, Some(polled(3, Answer::NotFound)));
        assert_eq!(report, (vec![1, 2, 3], vec![]));
    }

    #[test]
    fn what_is_taken_back_is_neither_polled_nor_reported_again() {
        let (queue, target) = (PollerQueue::default(), Arc::new(scripted_target()));
        queue.give(asks(1..5, &target));
        assert_eq!(takes(&queue, None), 1);
        assert_eq!(takes(&queue, Some(polled(1, Answer::NotFound))), 2);
        assert_eq!(slots(&queue.take_back()), (vec![1], vec![3, 4]));
        assert_eq!(slots(&queue.take_back()), (vec![], vec![]));
        let report = reports(&queue, Some(polled(2, Answer::NotFound)));
        assert_eq!(report, (vec![2], vec![]));
    }

    #[test]
    fn a_host_that_asks_for_a_pause_gets_no_further_poll_of_the_group() {
        let target = Arc::new(scripted_target());
        let failed = Answer::Failed(PollFailure {
            reason: PollFailureReason::TooManyRequests,
            detail: "".into(),
            retry_after: Some(Duration::from_secs(1)),
        });
        let paused = Polled {
            pause: Some(Duration::from_secs(1)),
            ..polled(1, Answer::NotFound)
        };
        for answer in [polled(1, failed), paused] {
            let queue = PollerQueue::default();
            queue.give(asks(1..4, &target));
            assert_eq!(takes(&queue, None), 1);
            assert_eq!(reports(&queue, Some(answer)), (vec![1], vec![2, 3]));
        }
    }

    #[test]
    fn a_closed_queue_ends_its_poller() {
        let (queue, target) = (
            Arc::new(PollerQueue::default()),
            Arc::new(scripted_target()),
        );
        let waits = std::thread::spawn({
            let queue = queue.clone();
            move || matches!(queue.next(None), Work::End)
        });
        queue.give(asks(0..0, &target));
        queue.close();
        assert!(waits.join().unwrap());
    }
}
