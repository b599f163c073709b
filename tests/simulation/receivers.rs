//! Who is told of finished workflows, and what holds of whatever they are told.

use crate::encoders::ENCODERS;
use crate::random::Random;
use crate::scenario::{SECOND, Scenario};
use farspan::core::finished::{FinishedEvent, Notified, Notify, NotifyTrouble};
use farspan::core::ids::RunKey;
use farspan::core::limits;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

type Announced = (RunKey, Arc<[u8]>);

#[derive(Default)]
pub struct Receivers {
    /// What farspan has to tell, in the order in which the workflows finished, by monitor.
    announced: BTreeMap<u16, Vec<Announced>>,
    /// What is done with.
    settled: BTreeSet<RunKey>,
    /// What of the two farspan's store knows.
    stored: Mark,
    /// What each receiver has heard, through all of farspan's lives.
    heard: BTreeMap<RunKey, Arc<[u8]>>,
    pub refused: u64,
    /// Times that somebody was told again what he had heard.
    pub again: u64,
    in_flight: BTreeMap<u16, Notify>,
    not_before: BTreeMap<u16, u64>,
}

/// The runs whose finished events farspan has to deliver, and those that are settled.
pub type Mark = (BTreeSet<RunKey>, BTreeSet<RunKey>);

/// What a receiver says, and after how long.
pub struct Response {
    pub latency: u64,
    pub notified: Notified,
    /// The same once more, so much later.
    pub again_after: Option<u64>,
}

impl Receivers {
    /// From now on farspan has this event to deliver.
    pub fn expect(&mut self, monitor: u16, event: &FinishedEvent) {
        let bytes = (ENCODERS.finished_event)(event);
        let announced = self.announced.entry(monitor).or_default();
        let is_known = announced.iter().any(|(run, _)| *run == event.run);
        assert!(!is_known, "a run has finished twice");
        announced.push((event.run, bytes));
    }

    pub fn waiting(&self) -> usize {
        self.announced.values().map(Vec::len).sum::<usize>() - self.settled.len()
    }

    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Whether everybody has heard everything, but for what was refused.
    pub fn have_all(&self) -> bool {
        let all = self.announced.values().flatten();
        let unheard = all.filter(|(run, _)| !self.heard.contains_key(run)).count();
        unheard as u64 <= self.refused
    }

    /// Whether somebody is told of this run's end.
    pub fn is_announced(&self, run: RunKey) -> bool {
        let mut all = self.announced.values().flatten();
        all.any(|(known, _)| *known == run)
    }

    /// What is announced and settled so far.
    pub fn mark(&self) -> Mark {
        let announced = self.announced.values().flatten();
        let announced = announced.map(|(run, _)| *run);
        (announced.collect(), self.settled.clone())
    }

    /// So much is in farspan's store.
    pub fn store(&mut self, mark: Mark) {
        self.stored = mark;
    }

    /// farspan is gone, and with it what its store does not have.
    pub fn forget(&mut self) {
        let (announced, settled) = &self.stored;
        for all in self.announced.values_mut() {
            all.retain(|(run, _)| announced.contains(run));
        }
        self.settled.clone_from(settled);
        self.in_flight.clear();
        self.not_before.clear();
    }

    pub fn receive(
        &mut self,
        notify: Notify,
        scenario: &Scenario,
        now: u64,
        r: &mut Random,
    ) -> Response {
        let monitor = notify.monitor;
        assert!(!self.in_flight.contains_key(&monitor), "one at a time");
        assert!(!notify.notifications.is_empty());
        assert!(notify.notifications.len() <= limits::NOTIFICATIONS_AT_ONCE);
        let not_before = self.not_before.get(&monitor);
        assert!(
            not_before.is_none_or(|at| now >= *at),
            "it asked for a pause"
        );
        let open = self.announced.get(&monitor).into_iter().flatten();
        let open = open.filter(|(run, _)| !self.settled.contains(run));
        for ((run, bytes), told) in open.zip(&notify.notifications) {
            assert_eq!((*run, bytes), (told.run, &told.bytes), "in their order");
            assert!(self.stored.0.contains(run), "told before it is stored");
        }
        let response = self.respond(&notify, scenario, now, r);
        self.in_flight.insert(monitor, notify);
        response
    }

    fn respond(
        &mut self,
        notify: &Notify,
        scenario: &Scenario,
        now: u64,
        r: &mut Random,
    ) -> Response {
        let faults = &scenario.collector;
        let faulty = now < scenario.faults_end;
        let down = |(from, to): &(u64, u64)| (*from..*to).contains(&now);
        let mut notified = Notified {
            monitor: notify.monitor,
            batch: notify.batch,
            taken: Vec::new(),
            refused: Vec::new(),
            trouble: None,
        };
        for told in &notify.notifications {
            if faulty && (faults.outages.iter().any(down) || r.chance(faults.retry)) {
                if r.chance(faults.unacknowledged) {
                    self.hear(told.run, &told.bytes);
                }
                let asked = |r: &mut Random| Duration::from_nanos(r.between(0, 90 * SECOND));
                notified.trouble = Some(NotifyTrouble {
                    reason: "503".into(),
                    retry_after: r.chance(faults.retry_after).then(|| asked(r)),
                });
                break;
            }
            if faulty && r.chance(faults.rejected) {
                notified.refused.push((told.run, "400".into()));
            } else {
                self.hear(told.run, &told.bytes);
                notified.taken.push(told.run);
            }
        }
        Response {
            latency: r.between(0, faults.latency_max),
            notified,
            again_after: (faulty && r.chance(faults.doubled)).then(|| r.between(0, 60 * SECOND)),
        }
    }

    fn hear(&mut self, run: RunKey, bytes: &Arc<[u8]>) {
        if let Some(known) = self.heard.insert(run, bytes.clone()) {
            assert_eq!(known, *bytes, "a run with two ends");
            self.again += 1;
        }
    }

    /// The outcome reaches the core, for the first time or again.
    pub fn settle(&mut self, notified: &Notified, now: u64) {
        let monitor = notified.monitor;
        let is_it = |notify: &Notify| notify.batch == notified.batch;
        if !self.in_flight.get(&monitor).is_some_and(is_it) {
            return;
        }
        self.in_flight.remove(&monitor);
        self.not_before.remove(&monitor);
        let refused = notified.refused.iter().map(|(run, _)| *run);
        self.refused += refused.len() as u64;
        self.settled
            .extend(notified.taken.iter().copied().chain(refused));
        if let Some(trouble) = &notified.trouble {
            let asked = trouble.retry_after.unwrap_or_default().as_nanos() as u64;
            self.not_before.insert(monitor, now + asked.max(SECOND / 2));
        }
    }
}
