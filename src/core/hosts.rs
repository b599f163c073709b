//! Hosts: which of them is asked next, and when.
//!
//! ```text
//! queue    -> ready   -> (a free poller, the pause, the rate) -> next_poll -> sent -> under way -> back
//! list_due -> waiting -> (the pause, the rate)                -> next_list -> list_done
//! ```
//!
//! A host's rate, pause, clock and share of the pollers belong to all monitors that ask it. A poller gets a group of
//! polls of one host. Here a poll is the slot and generation of its watch. This file knows neither watches nor workflows.

use super::backoff::Jitter;
use super::give_back::GiveBack;
use super::listing::Lists;
use super::poll_failure::PollFailureReason;
use super::pollers::{Latency, PollerStates};
use super::rate::{Estimate, REQUEST, Rate};
use super::time::{Mono, Wall};
use super::trouble::{OddityNews, SAME_TROUBLE_NOTED_EVERY, TroubleNews};
use super::{Monitor, Pace};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(super) struct Hosts {
    hosts: Vec<Host>,
    /// In the order of the configuration.
    monitors: Vec<HostUser>,
    pollers: PollerStates,
    /// The group that gets further polls.
    group: Option<OpenGroup>,
    /// By slot and generation.
    under_way: HashMap<(u32, u32), UnderWay>,
    /// Of these, the polls whose watch is gone.
    orphans: usize,
    gate: Gate,
}

/// Which requests may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Polls and listings.
    Open,
    /// Listings alone.
    NoPolls,
    /// Nothing.
    Shut,
}

/// What to do about a poll that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PollTurn {
    /// Send it, and call [`Hosts::sent`].
    Send {
        /// Its watch.
        slot: u32,
    },
    /// The host is paused until then.
    Defer {
        /// Its watch.
        slot: u32,
        /// When the pause ends.
        until: Mono,
    },
}

/// A group of polls that goes to a poller.
#[derive(Clone, Copy, Debug)]
struct OpenGroup {
    host: usize,
    poller: u16,
    /// How many more polls it may get.
    places: usize,
}

#[derive(Debug, Default)]
struct Host {
    /// Slots whose poll is due, and since when; the most overdue first.
    ready: VecDeque<(u32, Mono)>,
    /// How many pollers have polls of it.
    pollers: usize,
    latency: Latency,
    lists: Lists,
    rate: Option<Rate>,
    paused_until: Option<Mono>,
    /// When the host asked for a pause last.
    pause_asked: Option<Mono>,
    /// How far its clock was ahead of ours at its last answer with a date.
    skew_ns: i64,
    trouble: TroubleNews,
}

/// What one monitor asks of its host.
#[derive(Debug)]
struct HostUser {
    host: u16,
    interval: Duration,
    pause_max: Duration,
    /// How many requests its polls need.
    estimate: Estimate,
    trouble: TroubleNews,
    oddities: OddityNews,
}

#[derive(Debug)]
struct UnderWay {
    monitor: u16,
    poller: u16,
    /// What was taken off the host's rate for it.
    expected: u32,
    orphaned: bool,
}

impl Hosts {
    /// The hosts of these monitors, asked by so many pollers.
    pub(super) fn new(monitors: &[Monitor], pollers: usize, now: Mono) -> Self {
        let count = monitors.iter().map(|m| m.host + 1).max().unwrap_or(0);
        let host = |index| {
            let users = monitors.iter().filter(|m| m.host == index);
            let slowest = users
                .filter_map(|m| m.requests_per_second)
                .min_by(f64::total_cmp);
            Host {
                rate: slowest.map(|rate| Rate::new(rate, now)),
                ..Host::default()
            }
        };
        let user = |monitor: &Monitor| HostUser {
            host: monitor.host,
            interval: monitor.pace.interval,
            pause_max: monitor.pace.pause_max,
            estimate: Estimate::default(),
            trouble: TroubleNews::default(),
            oddities: OddityNews::default(),
        };
        Hosts {
            hosts: (0..count).map(host).collect(),
            monitors: monitors.iter().map(user).collect(),
            pollers: PollerStates::new(pollers),
            group: None,
            under_way: HashMap::new(),
            orphans: 0,
            gate: Gate::Open,
        }
    }

    /// What may be sent from now on.
    pub(super) fn set_gate(&mut self, gate: Gate) {
        self.gate = gate;
    }

    /// The intervals of a new configuration, in the order of the monitors.
    pub(super) fn set_paces(&mut self, paces: &[Pace]) {
        for (user, pace) in self.monitors.iter_mut().zip(paces) {
            user.interval = pace.interval;
            user.pause_max = pace.pause_max;
        }
    }

    /// A poll has become due.
    pub(super) fn queue(&mut self, slot: u32, monitor: u16, due: Mono) {
        self.host_mut(monitor).ready.push_back((slot, due));
    }

    /// A poll that no poller has begun goes back to where it came from, the front of its queue.
    pub(super) fn queue_first(&mut self, slot: u32, monitor: u16, due: Mono) {
        self.host_mut(monitor).ready.push_front((slot, due));
    }

    /// Takes polls that are due out of the queues: their watches are gone.
    pub(super) fn withdraw(&mut self, is_gone: impl Fn(u32) -> bool) {
        for host in &mut self.hosts {
            host.ready.retain(|(slot, _)| !is_gone(*slot));
            host.ready.give_back();
        }
    }

    /// The watch of a poll that is under way is gone. Its poller stays busy until the poll comes back.
    pub(super) fn orphan(&mut self, slot: u32, generation: u32) {
        if let Some(poll) = self.under_way.get_mut(&(slot, generation))
            && !std::mem::replace(&mut poll.orphaned, true)
        {
            self.orphans += 1;
        }
    }

    /// Takes the next due poll out of its queue, if it may go or its host is paused: the next one for the group that is
    /// open, else of the host with the fewest pollers the most overdue.
    pub(super) fn next_poll(&mut self, now: Mono) -> Option<PollTurn> {
        let index = match self.group.filter(|group| self.takes_more(*group, now)) {
            Some(group) => group.host,
            None => self.next_host(now)?,
        };
        let host = &mut self.hosts[index];
        let (slot, _) = host.ready.pop_front()?;
        host.ready.give_back();
        let pause = host.paused_until.filter(|until| now < *until);
        Some(match pause {
            Some(until) => PollTurn::Defer { slot, until },
            None => PollTurn::Send { slot },
        })
    }

    /// A poll goes to a poller, whose index this returns. Polls that follow one another to the same poller are one group,
    /// until [`close_group`](Self::close_group).
    pub(super) fn sent(&mut self, slot: u32, generation: u32, monitor: u16, now: Mono) -> u16 {
        let expected = self.monitors[usize::from(monitor)].estimate.expected();
        let index = usize::from(self.monitors[usize::from(monitor)].host);
        let poller = self.place_in_group(index);
        let host = &mut self.hosts[index];
        host.paused_until = None;
        host.lists.poll_sent();
        if let Some(rate) = &mut host.rate {
            rate.take(expected, now);
        }
        let poll = UnderWay {
            monitor,
            poller,
            expected,
            orphaned: false,
        };
        self.pollers.add(poller);
        self.under_way.insert((slot, generation), poll);
        poller
    }

    /// Whether polls of a monitor go to a poller in groups, as far as is known.
    pub(super) fn makes_groups(&self, monitor: u16) -> bool {
        self.host(monitor).group_size() > 1
    }

    /// The group that was filled last is complete.
    pub(super) fn close_group(&mut self) {
        self.group = None;
    }

    /// The poller has its group now.
    pub(super) fn group_begun(&mut self, poller: u16, now: Mono) {
        self.pollers.begun(poller, now);
    }

    /// The next poller that is stuck in its group. The polls that it has not begun are to be taken back.
    pub(super) fn next_stuck(&mut self, now: Mono) -> Option<u16> {
        let (poller, host) = self.pollers.next_overdue(now)?;
        self.hosts[host].latency.overrun();
        Some(poller)
    }

    /// A poll has come back from its poller, after so many requests. False: its watch is gone, or it was not under way.
    pub(super) fn back(&mut self, slot: u32, generation: u32, requests: u32) -> bool {
        let Some(poll) = self.under_way.remove(&(slot, generation)) else {
            return false;
        };
        self.orphans -= usize::from(poll.orphaned);
        if let Some(host) = self.pollers.returned(poll.poller) {
            self.hosts[host].pollers -= 1;
        }
        if let Some(rate) = &mut self.host_mut(poll.monitor).rate {
            rate.correct(poll.expected, requests);
        }
        !poll.orphaned
    }

    /// A poll of this monitor's host took so long.
    pub(super) fn learn_latency(&mut self, monitor: u16, took: Duration) {
        self.host_mut(monitor).latency.learn(took);
    }

    /// So many requests made an answer of this monitor: the next poll is expected to need as many.
    pub(super) fn learn_requests(&mut self, monitor: u16, requests: u32) {
        self.monitors[usize::from(monitor)].estimate.learn(requests);
    }

    /// A discovery wants to make a listing request. One of each monitor waits at most.
    pub(super) fn list_due(&mut self, monitor: u16, now: Mono) {
        self.host_mut(monitor).lists.push(monitor, now);
    }

    /// A listing has been made, with so many requests.
    pub(super) fn list_done(&mut self, monitor: u16, requests: u32) {
        if let Some(rate) = &mut self.host_mut(monitor).rate {
            rate.correct(REQUEST, requests);
        }
    }

    /// The next monitor whose discovery may make its request.
    pub(super) fn next_list(&mut self, now: Mono, jitter: &mut Jitter) -> Option<u16> {
        if self.gate == Gate::Shut {
            return None;
        }
        (0..self.hosts.len()).find_map(|host| {
            self.defer_lists(host, now, jitter);
            self.next_list_of(host, now)
        })
    }

    /// A host asked for a pause. Returns the pause if the host was not paused before, and whether it is worth a line: a
    /// host that asks for one with each answer is noted once.
    pub(super) fn pause(
        &mut self,
        monitor: u16,
        asked: Duration,
        now: Mono,
    ) -> Option<(Duration, bool)> {
        let pause = asked.min(self.monitors[usize::from(monitor)].pause_max);
        if pause.is_zero() {
            return None;
        }
        let host = self.host_mut(monitor);
        let begins = host.paused_until.is_none_or(|known| known < now);
        let until = now + pause;
        host.paused_until = Some(host.paused_until.map_or(until, |known| known.max(until)));
        let before = host.pause_asked.replace(now);
        let is_news = before.is_none_or(|at| now.since(at) >= SAME_TROUBLE_NOTED_EVERY);
        begins.then_some((pause, is_news))
    }

    /// Until when a monitor's host asked to be left alone. That may be over.
    pub(super) fn paused_until(&self, monitor: u16) -> Option<Mono> {
        self.host(monitor).paused_until
    }

    /// Whether the rate of a monitor's host lets a poll go.
    pub(super) fn has_rate(&self, monitor: u16, now: Mono) -> bool {
        self.host(monitor).has_rate(now)
    }

    /// What the clock of a monitor's host shows at `wall` of ours.
    pub(super) fn clock(&self, monitor: u16, wall: Wall) -> Wall {
        wall.shifted(self.host(monitor).skew_ns)
    }

    /// How far the clock of a monitor's host is ahead of ours.
    pub(super) fn set_skew(&mut self, monitor: u16, skew_ns: i64) {
        self.host_mut(monitor).skew_ns = skew_ns;
    }

    /// A poll has failed. Whether that is worth a note.
    pub(super) fn failure_is_news(
        &mut self,
        monitor: u16,
        reason: PollFailureReason,
        now: Mono,
    ) -> bool {
        let trouble = if reason.is_of_host() {
            &mut self.host_mut(monitor).trouble
        } else {
            &mut self.monitors[usize::from(monitor)].trouble
        };
        trouble.is_news(reason, now)
    }

    /// The monitors whose API refuses their credentials.
    pub(super) fn refusing_credentials(&self) -> impl Iterator<Item = u16> {
        let monitors = (0..).zip(&self.monitors);
        let refused = monitors.filter(|(_, monitor)| monitor.trouble.refuses_credentials());
        refused.map(|(index, _)| index)
    }

    /// A poll was answered. Whether that ends trouble that was noted.
    pub(super) fn answer_is_news(&mut self, monitor: u16) -> bool {
        let own = self.monitors[usize::from(monitor)].trouble.ends();
        self.host_mut(monitor).trouble.ends() || own
    }

    /// An answer held something odd. Whether that is worth a note.
    pub(super) fn oddity_is_news(&mut self, monitor: u16, what: &str) -> bool {
        let user = &mut self.monitors[usize::from(monitor)];
        user.oddities.is_news(what)
    }

    /// When a request that waits may be sent, or a poller is stuck, if nothing else happens before.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        let polls = self
            .hosts_with_pollers()
            .filter_map(|(_, host)| Some(host.rate.as_ref()?.has_some_at()));
        let lists = self.hosts.iter().filter_map(|host| {
            let due = host.lists.first_due()?;
            let rate = host.rate.as_ref();
            Some(rate.map_or(due, |rate| due.max(rate.has_some_at())))
        });
        let lists = lists.filter(|_| self.gate != Gate::Shut);
        let stuck = self.pollers.next_deadline();
        polls.chain(lists).chain(stuck).min()
    }

    /// Polls that are due and wait for a poller.
    pub(super) fn ready(&self) -> usize {
        self.hosts.iter().map(|host| host.ready.len()).sum()
    }

    /// Polls under way whose watch is there.
    pub(super) fn in_flight(&self) -> usize {
        self.under_way.len() - self.orphans
    }

    /// Polls under way whose watch is gone.
    #[cfg(test)]
    pub(super) fn orphans(&self) -> usize {
        self.orphans
    }

    /// The slots in a host's queue, in order.
    #[cfg(test)]
    pub(super) fn ready_slots(&self, host: usize) -> Vec<u32> {
        self.hosts[host]
            .ready
            .iter()
            .map(|(slot, _)| *slot)
            .collect()
    }

    /// Holds what must always be true.
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.pollers.polls(), self.under_way.len());
        let busy = self.pollers.len() - self.pollers.free();
        let by_host = self.hosts.iter().map(|host| host.pollers);
        assert_eq!(by_host.sum::<usize>(), busy);
        for (index, host) in self.hosts.iter().enumerate() {
            assert_eq!(host.pollers, self.pollers.of_host(index));
        }
        let orphans = self.under_way.values().filter(|poll| poll.orphaned);
        assert_eq!(orphans.count(), self.orphans);
        assert!(
            self.hosts.len() > self.pollers.len() || self.pollers.free() >= self.idle_hosts(),
            "each host has a poller"
        );
    }

    fn host(&self, monitor: u16) -> &Host {
        let host = self.monitors[usize::from(monitor)].host;
        &self.hosts[usize::from(host)]
    }

    fn host_mut(&mut self, monitor: u16) -> &mut Host {
        let host = self.monitors[usize::from(monitor)].host;
        &mut self.hosts[usize::from(host)]
    }

    /// Of the hosts whose next poll may go, or that are paused: the one with the fewest pollers.
    fn next_host(&self, now: Mono) -> Option<usize> {
        let hosts = self.hosts_with_pollers();
        let hosts = hosts.filter(|(_, host)| host.is_paused(now) || host.has_rate(now));
        let (index, _) = hosts
            .min_by_key(|(_, host)| (host.pollers, host.ready.front().map(|(_, due)| *due)))?;
        Some(index)
    }

    /// Whether the group gets another poll.
    fn takes_more(&self, group: OpenGroup, now: Mono) -> bool {
        let host = &self.hosts[group.host];
        let is_open = self.gate == Gate::Open && !host.is_paused(now);
        group.places > 0 && !host.ready.is_empty() && is_open
    }

    /// The poller of the group that is open, or of a new one.
    fn place_in_group(&mut self, host: usize) -> u16 {
        if let Some(group) = &mut self.group
            && group.host == host
            && group.places > 0
        {
            group.places -= 1;
            return group.poller;
        }
        // `hosts_with_pollers` has said that one is free.
        let poller = self.pollers.take(host).unwrap_or_default();
        self.hosts[host].pollers += 1;
        self.group = Some(OpenGroup {
            host,
            poller,
            places: self.hosts[host].group_size() - 1,
        });
        poller
    }

    /// The hosts with due polls for which there is a poller. A host whose answers take long must not have all pollers:
    /// with several hosts, each host keeps one for itself, and a quarter is for the others.
    fn hosts_with_pollers(&self) -> impl Iterator<Item = (usize, &Host)> {
        let (pollers, hosts) = (self.pollers.len(), self.hosts.len());
        let free = if self.gate == Gate::Open {
            self.pollers.free()
        } else {
            0
        };
        let share_max = if hosts > 1 {
            pollers.saturating_sub((hosts - 1).max(pollers / 4)).max(1)
        } else {
            pollers
        };
        let idle = if free > 0 && hosts > 1 {
            self.idle_hosts()
        } else {
            0
        };
        let has_poller = move |host: &Host| match host.pollers {
            0 => free > 0,
            busy => busy < share_max && free > idle,
        };
        let all = self.hosts.iter().enumerate();
        all.filter(move |(_, host)| !host.ready.is_empty() && has_poller(host))
    }

    fn idle_hosts(&self) -> usize {
        self.hosts.iter().filter(|host| host.pollers == 0).count()
    }

    /// Defers listings behind the host's pause, at random like its polls: a host that answers a few requests and then
    /// asks for the next pause would otherwise answer listings alone.
    fn defer_lists(&mut self, host: usize, now: Mono, jitter: &mut Jitter) {
        let host = &mut self.hosts[host];
        if let Some(until) = host.paused_until.filter(|until| now < *until) {
            for listing in host.lists.due_mut(now) {
                let interval = self.monitors[usize::from(listing.monitor)].interval;
                listing.due = until + jitter.up_to(interval.min(until.since(now)));
            }
        }
    }

    /// The listing that a host is asked for next, if one may go. Where polls wait for the same rate they take turns.
    fn next_list_of(&mut self, index: usize, now: Mono) -> Option<u16> {
        let host = &self.hosts[index];
        host.lists.first_due().filter(|due| *due <= now)?;
        if let Some(rate) = &host.rate {
            let mut polled = self.hosts_with_pollers();
            let is_polls_turn = host.lists.sent_last() && polled.any(|(polled, _)| polled == index);
            if is_polls_turn || !rate.has_some(now) {
                return None;
            }
        }
        let host = &mut self.hosts[index];
        let monitor = host.lists.take_due(now)?;
        if let Some(rate) = &mut host.rate {
            rate.take(REQUEST, now);
        }
        Some(monitor)
    }
}

impl Host {
    /// How many polls make a group. With a rate each poll goes alone: one that waits behind another would be sent later
    /// than the rate was charged for it.
    fn group_size(&self) -> usize {
        match self.rate {
            Some(_) => 1,
            None => self.latency.group_size(),
        }
    }

    fn has_rate(&self, now: Mono) -> bool {
        self.rate.as_ref().is_none_or(|rate| rate.has_some(now))
    }

    fn is_paused(&self, now: Mono) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::SpanLimits;
    use crate::workflow::Naming;

    fn secs(secs: u64) -> Mono {
        Mono::from_duration(Duration::from_secs(secs))
    }

    /// Monitors by their hosts, with a rate.
    fn hosts_of(monitors: &[(u16, Option<f64>)], pollers: usize) -> Hosts {
        let second = Duration::from_secs(1);
        let monitor = |(host, requests_per_second): &(u16, Option<f64>)| Monitor {
            naming: Naming::new("m", "Workflow", SpanLimits::default()),
            host: *host,
            pace: Pace::new(second, second * 10, second * 3600),
            requests_per_second: *requests_per_second,
            send_traceparent: false,
        };
        let monitors: Vec<Monitor> = monitors.iter().map(monitor).collect();
        Hosts::new(&monitors, pollers, secs(0))
    }

    /// Sends what may be sent: the slots.
    fn send_all(hosts: &mut Hosts, monitor_of: impl Fn(u32) -> u16, now: Mono) -> Vec<u32> {
        let mut sent = Vec::new();
        while let Some(turn) = hosts.next_poll(now) {
            hosts.check_invariants();
            if let PollTurn::Send { slot } = turn {
                hosts.sent(slot, 1, monitor_of(slot), now);
                sent.push(slot);
            }
        }
        hosts.check_invariants();
        sent
    }

    #[test]
    fn a_slow_host_leaves_a_poller_to_each_other_host() {
        let mut hosts = hosts_of(&[(0, None), (1, None), (2, None)], 4);
        for slot in 0..10 {
            hosts.queue(slot, 0, secs(1));
        }
        assert_eq!(send_all(&mut hosts, |_| 0, secs(1)), [0, 1]);
        hosts.queue(20, 1, secs(1));
        hosts.queue(30, 2, secs(1));
        let other = |slot| (slot / 10) as u16 - 1;
        assert_eq!(send_all(&mut hosts, other, secs(1)), [20, 30]);
        assert!(hosts.back(20, 1, 1) && !hosts.back(20, 1, 1));
        assert_eq!(hosts.in_flight(), 3);
        assert!(hosts.next_poll(secs(1)).is_none(), "its poller is for it");
    }

    #[test]
    fn the_poll_of_a_watch_that_is_gone_keeps_its_poller_busy() {
        let mut hosts = hosts_of(&[(0, None)], 1);
        hosts.queue(1, 0, secs(1));
        hosts.queue(2, 0, secs(1));
        assert_eq!(send_all(&mut hosts, |_| 0, secs(1)), [1]);
        hosts.orphan(1, 1);
        hosts.orphan(1, 1);
        assert_eq!((hosts.in_flight(), hosts.orphans()), (0, 1));
        assert_eq!(hosts.next_poll(secs(1)), None);
        assert!(!hosts.back(1, 1, 1), "its watch is gone");
        assert_eq!(send_all(&mut hosts, |_| 0, secs(1)), [2]);
    }

    #[test]
    fn a_gate_holds_polls_alone_or_everything() {
        let mut hosts = hosts_of(&[(0, None)], 4);
        let mut jitter = Jitter::new(1);
        hosts.queue(1, 0, secs(1));
        hosts.list_due(0, secs(1));
        hosts.set_gate(Gate::Shut);
        assert_eq!(hosts.next_poll(secs(1)), None);
        assert_eq!(hosts.next_list(secs(1), &mut jitter), None);
        assert_eq!(hosts.next_deadline(), None);
        hosts.set_gate(Gate::NoPolls);
        assert_eq!(hosts.next_poll(secs(1)), None);
        assert_eq!(hosts.next_list(secs(1), &mut jitter), Some(0));
        hosts.set_gate(Gate::Open);
        assert_eq!(send_all(&mut hosts, |_| 0, secs(1)), [1]);
    }

    #[test]
    fn a_pause_defers_polls_and_listings() {
        let mut hosts = hosts_of(&[(0, None), (0, None)], 4);
        let mut jitter = Jitter::new(1);
        hosts.queue(1, 0, secs(1));
        hosts.list_due(0, secs(1));
        let minute = Duration::from_secs(60);
        assert_eq!(hosts.pause(1, Duration::ZERO, secs(1)), None, "no pause");
        assert_eq!(hosts.pause(1, minute, secs(1)), Some((minute, true)));
        assert_eq!(hosts.pause(0, minute / 2, secs(1)), None, "it is paused");
        let (slot, until) = (1, secs(61));
        assert_eq!(
            hosts.next_poll(secs(1)),
            Some(PollTurn::Defer { slot, until })
        );
        assert_eq!(hosts.next_list(secs(1), &mut jitter), None);
        let due = hosts.next_deadline().unwrap();
        assert!(due >= until && due <= secs(71), "{due:?}");
        assert_eq!(hosts.next_list(due, &mut jitter), Some(0));
    }

    #[test]
    fn polls_and_listings_share_a_rate_in_turn() {
        let mut hosts = hosts_of(&[(0, Some(1.0))], 8);
        let mut jitter = Jitter::new(1);
        let mut order = String::new();
        for second in 10..16 {
            hosts.queue(second, 0, secs(10));
            hosts.list_due(0, secs(10));
            let now = secs(second.into());
            if hosts.next_list(now, &mut jitter).is_some() {
                order.push('L');
            }
            order.extend(send_all(&mut hosts, |_| 0, now).iter().map(|_| 'P'));
        }
        assert_eq!(order, "LPLPLP");
    }

    #[test]
    fn a_host_that_asks_for_a_pause_with_each_answer_is_news_once() {
        let mut hosts = hosts_of(&[(0, None)], 4);
        let second = Duration::from_secs(1);
        let news = (1..600).filter(|at| {
            let paused = hosts.pause(0, second, secs(2 * at));
            paused == Some((second, true))
        });
        assert_eq!(news.count(), 1);
        let hour = Duration::from_secs(3600);
        let later = hosts.pause(0, hour * 24, secs(5000));
        assert_eq!(
            later,
            Some((hour, true)),
            "and no pause is longer than an hour"
        );
    }

    /// Every poll that is queued is in exactly one place until it is back, withdrawn or deferred.
    #[test]
    fn no_poll_is_lost_or_sent_twice() {
        arbtest::arbtest(|u| {
            let monitors = [(0, None), (1, Some(5.0)), (0, None), (2, None)];
            let mut hosts = hosts_of(&monitors, u.int_in_range(1..=6)?);
            let (mut now, mut next) = (secs(1), 0_u32);
            let (mut ready, mut under_way) = (Vec::new(), Vec::new());
            for _ in 0..u.int_in_range(0..=100)? {
                match u.int_in_range(0..=4)? {
                    0 => {
                        let monitor = u.int_in_range(0..=3)?;
                        hosts.queue(next, monitor, now);
                        ready.push((next, monitor));
                        next += 1;
                    }
                    1 => {
                        if let Some(turn) = hosts.next_poll(now) {
                            let (PollTurn::Send { slot } | PollTurn::Defer { slot, .. }) = turn;
                            let place = ready.iter().position(|(it, _)| *it == slot).unwrap();
                            let (_, monitor) = ready.remove(place);
                            if let PollTurn::Send { .. } = turn {
                                hosts.sent(slot, 7, monitor, now);
                                under_way.push((slot, true));
                            }
                        }
                    }
                    2 if !under_way.is_empty() => {
                        let place = u.choose_index(under_way.len())?;
                        let (slot, watched) = under_way.remove(place);
                        assert_eq!(hosts.back(slot, 7, u.int_in_range(0..=9)?), watched);
                    }
                    3 if !under_way.is_empty() => {
                        let place = u.choose_index(under_way.len())?;
                        under_way[place].1 = false;
                        hosts.orphan(under_way[place].0, 7);
                    }
                    _ => {
                        let monitor = u.int_in_range(0..=3)?;
                        hosts.pause(monitor, Duration::from_secs(u.int_in_range(0..=2)?), now);
                        now = now + Duration::from_millis(u.int_in_range(0..=1500)?);
                    }
                }
                hosts.check_invariants();
                assert_eq!(hosts.ready(), ready.len());
                let watched = under_way.iter().filter(|(_, watched)| *watched);
                assert_eq!(hosts.in_flight(), watched.count());
            }
            Ok(())
        });
    }
}
