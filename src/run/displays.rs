//! What the console, the demo and onlookers see of the loop.

use super::{Onlooker, Sight};
use crate::core::span::Span;
use crossbeam_channel::{Sender, TrySendError};
use std::sync::Arc;

/// The ways to everything that shows.
#[derive(Default)]
pub(super) struct Displays {
    spans: Vec<Sender<Arc<Span>>>,
    /// Finished spans for which a channel had no room. They are exported all the same.
    missed: u64,
    onlooker: Option<Onlooker>,
}

impl Displays {
    pub(super) fn new(spans: Vec<Sender<Arc<Span>>>, onlooker: Option<Onlooker>) -> Self {
        Displays {
            spans,
            missed: 0,
            onlooker,
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
