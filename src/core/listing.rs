//! Listing requests that wait for their host: one of each monitor at most.
//!
//! Out of scope: which list a discovery requests, and how often.

use super::time::Mono;
use std::collections::VecDeque;

/// The listings that wait for one host.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// In the order in which they came.
    waiting: VecDeque<WaitingList>,
    /// Whether a listing has gone since the last poll did.
    sent_last: bool,
}

#[derive(Debug)]
pub(super) struct WaitingList {
    pub(super) monitor: u16,
    pub(super) due: Mono,
}

impl Lists {
    /// A monitor's listing is due. If one of it waits already, that one stays.
    pub(super) fn push(&mut self, monitor: u16, due: Mono) {
        if !self.waiting.iter().any(|it| it.monitor == monitor) {
            self.waiting.push_back(WaitingList { monitor, due });
        }
    }

    /// A poll was sent.
    pub(super) fn poll_sent(&mut self) {
        self.sent_last = false;
    }

    /// Whether the last request to the host was a listing.
    pub(super) fn sent_last(&self) -> bool {
        self.sent_last
    }

    /// When the first listing is due.
    pub(super) fn first_due(&self) -> Option<Mono> {
        self.waiting.iter().map(|it| it.due).min()
    }

    /// The listings that are due.
    pub(super) fn due_mut(&mut self, now: Mono) -> impl Iterator<Item = &mut WaitingList> {
        self.waiting.iter_mut().filter(move |it| it.due <= now)
    }

    /// Takes out the due listing that came first: it is sent.
    pub(super) fn take_due(&mut self, now: Mono) -> Option<u16> {
        let place = self.waiting.iter().position(|it| it.due <= now)?;
        self.sent_last = true;
        self.waiting.remove(place).map(|it| it.monitor)
    }
}
