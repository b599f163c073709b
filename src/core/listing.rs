//! Lists of runs that discoveries ask for: part of what their host is asked, and held up by what holds up its polls.
//!
//! ```text
//! Listing::Due -> (the host's pause, then its rate) -> Action::List -> the request -> Listing::Done
//! ```
//!
//! What is to be asked in a list, and when, is not decided here.

use super::rate::REQUEST;
use super::time::{Mono, Now};
use super::{Action, Core};
use std::collections::VecDeque;
use std::time::Duration;

/// What a discovery says about each of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// It has one to make, and waits for its [`Action::List`]. One at a time.
    Due {
        /// Whose discovery.
        monitor: u16,
    },
    /// It has made it.
    Done {
        /// Whose discovery.
        monitor: u16,
        /// How many requests it took, with those that were redirected.
        requests: u32,
        /// How long the host asks to be left alone.
        pause: Option<Duration>,
    },
}

/// The lists that a host is to be asked for: one of each monitor at most.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// In the order in which they came.
    waiting: VecDeque<Waiting>,
    /// Whether a list has gone since the last poll did.
    went_last: bool,
}

#[derive(Debug)]
struct Waiting {
    monitor: u16,
    due: Mono,
}

impl Lists {
    /// A poll has gone.
    pub(super) fn yielded(&mut self) {
        self.went_last = false;
    }

    /// When the first of them is due.
    fn first_due(&self) -> Option<Mono> {
        self.waiting.iter().map(|waiting| waiting.due).min()
    }

    /// Takes out the first to come of those that are due.
    fn pop(&mut self, now: Mono) -> Option<u16> {
        let place = self.waiting.iter().position(|it| it.due <= now)?;
        self.waiting.remove(place).map(|waiting| waiting.monitor)
    }
}

impl Core {
    pub(super) fn take_listing(&mut self, listing: Listing, now: Now) {
        let (Listing::Due { monitor } | Listing::Done { monitor, .. }) = listing;
        if usize::from(monitor) >= self.settings.monitors.len() {
            return;
        }
        match listing {
            Listing::Due { .. } => {
                let due = now.mono;
                let lists = &mut self.host_mut(monitor).lists;
                if !lists.waiting.iter().any(|it| it.monitor == monitor) {
                    lists.waiting.push_back(Waiting { monitor, due });
                }
            }
            Listing::Done {
                requests, pause, ..
            } => {
                if let Some(rate) = &mut self.host_mut(monitor).rate {
                    rate.correct(REQUEST, requests);
                }
                if let Some(pause) = pause {
                    self.pause_host(monitor, pause, now);
                }
            }
        }
    }

    /// Lets those lists go that may.
    pub(super) fn let_list(&mut self, now: Now) {
        if self.draining {
            return;
        }
        for host in 0..self.hosts.len() {
            self.put_lists_off(host, now);
            while let Some(monitor) = self.next_list(host, now.mono) {
                if let Some(rate) = &mut self.hosts[host].rate {
                    rate.take(REQUEST, now.mono);
                }
                self.hosts[host].lists.went_last = true;
                self.actions.push_back(Action::List(monitor));
            }
        }
    }

    /// Behind the host's pause, spread as its polls are: else a host that answers a few requests and then asks for the
    /// next pause would answer lists alone.
    fn put_lists_off(&mut self, host: usize, now: Now) {
        let Some(until) = self.hosts[host].paused_until else {
            return;
        };
        let waiting = self.hosts[host].lists.waiting.iter_mut();
        for it in waiting.filter(|it| it.due <= now.mono && now.mono < until) {
            let interval = self.settings.monitors[usize::from(it.monitor)]
                .pace
                .interval;
            let spread_max = interval.min(until.since(now.mono));
            it.due = until + self.jitter.up_to(spread_max);
        }
    }

    /// Which list goes next to a host, if one may. Where its polls wait for the same rate they take turns.
    fn next_list(&mut self, host: usize, now: Mono) -> Option<u16> {
        let it = &self.hosts[host];
        it.lists.first_due().filter(|due| *due <= now)?;
        if let Some(rate) = &it.rate {
            let mut polled = self.hosts_with_pollers();
            let is_polls_turn = it.lists.went_last && polled.any(|(index, _)| index == host);
            if is_polls_turn || !rate.has_some(now) {
                return None;
            }
        }
        self.hosts[host].lists.pop(now)
    }

    /// When the first list may go, if no poll goes before it.
    pub(super) fn next_list_due(&self) -> Option<Mono> {
        let hosts = self.hosts.iter().filter(|_| !self.draining);
        let due = hosts.filter_map(|host| {
            let due = host.lists.first_due()?;
            Some(match &host.rate {
                Some(rate) => due.max(rate.has_some_at()),
                None => due,
            })
        });
        due.min()
    }
}
