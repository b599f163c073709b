//! Answers the questions of viewers with copies of what the core has. The loop never waits for a viewer.

use super::Loop;
use crate::admin::question::{ChangeAwaited, ViewQuestion};
use crate::core::Core;
use crate::core::time::{Mono, Now};
use crate::core::view::{ListJob, RunPage};
use crate::os::clock;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::VecDeque;

/// Questions that wait for the loop.
const QUESTIONS_MAX: usize = 16;
/// Lists that are being made, and viewers that wait for a change. One more is turned away.
const LISTS_MAX: usize = 16;
const VIEWERS_MAX: usize = 32;

/// What viewers wait for.
#[derive(Default)]
pub(super) struct Viewing {
    lists: VecDeque<(ListJob, Sender<RunPage>)>,
    /// Each with the time until which it waits.
    viewers: Vec<(ChangeAwaited, Mono)>,
}

/// The two ends of the channel to the loop.
pub(super) fn channel() -> (Sender<ViewQuestion>, Receiver<ViewQuestion>) {
    bounded(QUESTIONS_MAX)
}

impl Viewing {
    /// Whether a list is not whole yet, for which the loop goes on at once.
    pub(super) fn is_listing(&self) -> bool {
        !self.lists.is_empty()
    }

    /// At the stop: every viewer that waits is let go.
    pub(super) fn end(&mut self) {
        *self = Viewing::default();
    }

    /// Goes on with one list, and wakes the viewers for whom there is a change.
    fn go_on(&mut self, core: &Core, now: Now) {
        if let Some((mut job, answer)) = self.lists.pop_front() {
            match core.go_on_with_list(&mut job, now) {
                // Who asked may have gone.
                Some(page) => drop(answer.try_send(page)),
                None => self.lists.push_back((job, answer)),
            }
        }
        if !self.viewers.is_empty() {
            let version = core.view_version();
            self.viewers.retain(|(awaited, _)| {
                let waits = awaited.since == version;
                if !waits {
                    let _ = awaited.answer.try_send(());
                }
                waits
            });
        }
    }
}

impl Loop {
    /// Takes a question. Each answer has a place in its channel, and who asked may have gone.
    pub(super) fn answer(&mut self, question: ViewQuestion) {
        let now = clock::now();
        match question {
            ViewQuestion::List(question, answer) => {
                if self.viewing.lists.len() < LISTS_MAX {
                    let job = self.core.begin_list(*question, now);
                    self.viewing.lists.push_back((job, answer));
                }
            }
            ViewQuestion::Run(question, answer) => {
                let found = self.core.look_at(&question, now);
                let _ = answer.try_send(found.map(Box::new));
            }
            ViewQuestion::Changes(since, answer) => {
                let _ = answer.try_send(self.core.changed_runs(since, now));
            }
            ViewQuestion::Follow(follower, answer) => {
                if self.displays.follow(follower) {
                    let _ = answer.try_send(());
                }
            }
            ViewQuestion::Await(awaited) => {
                let viewers = &mut self.viewing.viewers;
                viewers.retain(|(it, until)| now.mono < *until && it.viewer.strong_count() > 0);
                if viewers.len() < VIEWERS_MAX {
                    let until = now.mono + awaited.within;
                    viewers.push((awaited, until));
                }
            }
        }
    }

    /// Does what is left to do for viewers.
    pub(super) fn serve_viewers(&mut self) {
        if self.viewing.is_listing() || !self.viewing.viewers.is_empty() {
            self.viewing.go_on(&self.core, clock::now());
        }
    }
}
