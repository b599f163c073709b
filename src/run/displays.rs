//! What the console, the demo, followers and onlookers see of the loop.

use super::{Loop, Onlooker, Sight};
use crate::admin::question::Follower;
use crate::core::ids::RunKey;
use crate::core::span::Span;
use crate::core::view::RunQuestion;
use crate::os::clock;
use crossbeam_channel::{Sender, TrySendError};
use std::sync::Arc;

/// The ways to everything that shows.
#[derive(Default)]
pub(super) struct Displays {
    spans: Vec<Sender<Arc<Span>>>,
    /// Finished spans for which a channel had no room. They are exported all the same.
    missed: u64,
    onlooker: Option<Onlooker>,
    followers: Vec<Follower>,
}

/// One more is turned away.
const FOLLOWERS_MAX: usize = 32;

impl Loop {
    /// A run has ended: every follower gets a copy.
    pub(super) fn tell_followers(&mut self, run: RunKey) {
        if self.displays.followers.is_empty() {
            return;
        }
        let question = RunQuestion {
            run: Some(run),
            trace: None,
            workflow_id: "".into(),
            monitor: None,
        };
        let detail = self.core.look_at(&question, clock::now()).map(Arc::new);
        (self.displays.followers).retain(|follower| follower.tell(detail.as_ref()));
    }
}

impl Displays {
    /// Takes one more follower, if there is room. Returns whether there was.
    pub(super) fn follow(&mut self, follower: Follower) -> bool {
        self.followers.retain(Follower::is_followed);
        let has_room = self.followers.len() < FOLLOWERS_MAX;
        if has_room {
            self.followers.push(follower);
        }
        has_room
    }

    pub(super) fn new(spans: Vec<Sender<Arc<Span>>>, onlooker: Option<Onlooker>) -> Self {
        Displays {
            spans,
            missed: 0,
            onlooker,
            followers: Vec::new(),
        }
    }

    pub(super) fn see(&mut self, sight: Sight<'_>) {
        if let Some(onlooker) = &mut self.onlooker {
            onlooker(sight);
        }
    }

    /// Shows a finished span.
    pub(super) fn show(&mut self, span: Span) {
        self.see(Sight::Finished(&span));
        let span = Arc::new(span);
        for spans in &self.spans {
            if let Err(TrySendError::Full(_)) = spans.try_send(span.clone()) {
                self.missed += 1;
                if self.missed.is_power_of_two() {
                    let missed = self.missed;
                    log::warn!("the console is too slow: {missed} spans not shown so far");
                }
            }
        }
    }
}
