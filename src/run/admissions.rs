//! HTTP requests whose start events are not stored yet.

use crate::intake::posted::Admission;
use crossbeam_channel::Sender;
use std::collections::HashMap;

/// The clients that wait, by the number of their request. A client waits for its own answer, so the connections of the
/// admin endpoint bound how many there are.
#[derive(Default)]
pub(super) struct Admissions {
    waiting: HashMap<u64, Sender<Admission>>,
    /// How many requests there were.
    requests: u64,
}

impl Admissions {
    /// Returns the number of the request.
    pub(super) fn insert(&mut self, answer: Sender<Admission>) -> u64 {
        self.requests += 1;
        self.waiting.insert(self.requests, answer);
        self.requests
    }

    /// Answers that everything in this request is stored.
    pub(super) fn accept(&mut self, request: u64) {
        if let Some(answer) = self.waiting.remove(&request) {
            // The client may have gone.
            let _ = answer.try_send(Admission::Accepted);
        }
    }
}
