//! When a workflow is polled, and which polls go to which poller together.

use super::hosts::{Gate, PollTurn};
use super::note::ApiNote;
use super::outcome::Abandoned;
use super::pace;
use super::time::{Mono, Now, Wall};
use super::{Action, Answered, Core, Note, Pace, Poll, PollGroup};
use std::time::Duration;

impl Core {
    /// Polls that no poller has begun go back to where they came from, the first one to the very front.
    pub(super) fn recall(&mut self, polls: &[Poll]) {
        for poll in polls.iter().rev() {
            if self.hosts.back(poll.slot, poll.generation, 0)
                && let Some(watch) = self.table.recall(poll.slot)
            {
                (self.hosts).queue_first(poll.slot, watch.monitor, watch.due());
            }
        }
    }

    /// The next poll is due an interval after the last one was, so that polls keep their place between one another; but
    /// not right behind a slow one.
    pub(super) fn poll_again(&mut self, answered: Answered) {
        let Answered {
            slot, due, at, now, ..
        } = answered;
        if let Some(watch) = self.table.get(slot) {
            let interval = self.interval(watch, at);
            let next = (due + interval).max(now.mono + interval / 2);
            let due = self.in_company(watch.monitor, next, now.mono, interval);
            self.wait(slot, due, at, now);
        }
    }

    /// The next poll is not due before this pause is over.
    pub(super) fn wait_for(
        &mut self,
        slot: u32,
        pause: Duration,
        interval: Duration,
        at: Wall,
        now: Now,
    ) {
        let earliest = now.mono + pause;
        if let Some(watch) = self.table.get(slot) {
            let due = self.in_company(watch.monitor, earliest, earliest, interval);
            self.wait(slot, due, at, now);
        }
    }

    /// The next poll is due then. A timeout that has passed ends the watch.
    fn wait(&mut self, slot: u32, due: Mono, at: Wall, now: Now) {
        let deadline = self.table.get(slot).map(|watch| watch.deadline);
        if deadline.is_some_and(|deadline| now.mono >= deadline) {
            self.end_early(slot, Abandoned::TimedOut, at, now);
        } else {
            self.table.wait(slot, due);
            self.views.touch(slot);
        }
    }

    /// When a poll is due that is asked for then, and not before `earliest`: at a time at which others are due too, if
    /// their host is known to be so quick that they make a group.
    pub(super) fn in_company(
        &self,
        monitor: u16,
        asked: Mono,
        earliest: Mono,
        interval: Duration,
    ) -> Mono {
        if self.hosts.makes_groups(monitor) {
            pace::in_company(asked, earliest, interval, self.table.len())
        } else {
            asked.max(earliest)
        }
    }

    pub(super) fn change_paces(&mut self, paces: Vec<Pace>, now: Now) {
        self.hosts.set_paces(&paces);
        let monitors = self.settings.monitors.iter_mut().zip(paces);
        let timeouts_before: Vec<Duration> = monitors
            .map(|(monitor, pace)| std::mem::replace(&mut monitor.pace, pace).timeout)
            .collect();
        let slots: Vec<u32> = self.table.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let Some(watch) = self.table.get_mut(slot) else {
                continue;
            };
            let (number, index) = (watch.monitor, usize::from(watch.monitor));
            let Some(timeout_before) = timeouts_before.get(index) else {
                continue;
            };
            let monitor = &self.settings.monitors[index];
            let at = self.hosts.clock(watch.monitor, now.wall);
            if let Some(due) = watch.change_pace(*timeout_before, monitor, at, now.mono) {
                let interval = monitor.interval_of(&watch.workflow, at);
                let due = self.in_company(number, due, now.mono, interval);
                self.table.wait(slot, due);
            }
            self.mark(slot);
        }
    }

    /// Polls that have become due go into the queue of their host.
    pub(super) fn queue_due_polls(&mut self, now: Now) {
        for slot in self.table.collect_due(now.mono) {
            let Some(watch) = self.table.get(slot) else {
                continue;
            };
            if now.mono >= watch.deadline {
                self.time_out(slot, now);
            } else {
                self.hosts.queue(slot, watch.monitor, watch.due());
            }
        }
    }

    /// Hands polls that are due to free pollers. Listings go between them.
    pub(super) fn send_requests(&mut self, now: Now) {
        let was_held = self.polls_held();
        self.delivery.update_hold(&mut self.out);
        if self.polls_held() != was_held {
            self.views.touch_all();
        }
        self.hosts.set_gate(if self.draining {
            Gate::Shut
        } else if self.polls_held() || self.store_troubled {
            Gate::NoPolls
        } else {
            Gate::Open
        });
        while let Some(poller) = self.hosts.next_stuck(now.mono) {
            self.out.act(Action::Recall(poller));
        }
        let mut group: Option<PollGroup> = None;
        loop {
            while let Some(monitor) = self.hosts.next_list(now.mono, &mut self.jitter) {
                self.out.act(Action::List(monitor));
            }
            let Some(turn) = self.hosts.next_poll(now.mono) else {
                break;
            };
            let (PollTurn::Send { slot } | PollTurn::Defer { slot, .. }) = turn;
            let watch = self.table.get(slot);
            if watch.is_none_or(|watch| now.mono >= watch.deadline) {
                self.time_out(slot, now);
                continue;
            }
            match turn {
                PollTurn::Send { slot } => self.send_poll(slot, &mut group, now),
                PollTurn::Defer { slot, until } => self.defer_poll(slot, until, now),
            }
        }
        self.hosts.close_group();
        if let Some(group) = group {
            self.out.act(Action::Poll(group));
        }
    }

    /// Adds a poll to the group of its poller. A group is complete when a poll goes to another poller.
    fn send_poll(&mut self, slot: u32, group: &mut Option<PollGroup>, now: Now) {
        let generation = self.table.send(slot);
        let Some(watch) = self.table.get(slot) else {
            return;
        };
        let poller = (self.hosts).sent(slot, generation, watch.monitor, now.mono);
        let monitor = self.monitor(watch.monitor);
        let traceparent =
            (monitor.send_traceparent).then(|| watch.workflow.traceparent(&monitor.naming).into());
        let poll = Poll {
            slot,
            generation,
            monitor: watch.monitor,
            workflow_id: watch.workflow.id().clone(),
            traceparent,
        };
        match group {
            Some(open) if open.poller == poller => open.polls.push(poll),
            _ => {
                let polls = vec![poll];
                if let Some(complete) = group.replace(PollGroup { poller, polls }) {
                    self.out.act(Action::Poll(complete));
                }
            }
        }
    }

    /// A poll waits until its host's pause is over, and then for up to an interval, at random: a host that answers a few
    /// polls and then asks for a pause would otherwise answer the same few after each pause.
    fn defer_poll(&mut self, slot: u32, until: Mono, now: Now) {
        if let Some(watch) = self.table.get(slot) {
            let at = self.hosts.clock(watch.monitor, now.wall);
            let interval = self.interval(watch, at);
            let spread_max = interval.min(until.since(now.mono));
            let due = until + self.jitter.up_to(spread_max);
            let due = self.in_company(watch.monitor, due, until, interval);
            self.table.wait(slot, due);
            self.views.touch(slot);
        }
    }

    pub(super) fn pause_host(&mut self, monitor: u16, asked: Duration, now: Now) {
        if let Some((pause, is_news)) = self.hosts.pause(monitor, asked, now.mono) {
            self.views.touch_all();
            let what = ApiNote::Paused {
                asked,
                pause,
                is_news,
            };
            self.out.note(Note::Api { monitor, what });
        }
    }
}
