//! The collector, and what holds of whatever is sent to it.

use crate::random::Random;
use crate::scenario::{SECOND, Scenario};
use farspan::core::outbox::{Batch, ExportOutcome};
use farspan::core::span::Service;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// For spans, or for log records.
#[derive(Default)]
pub struct Collector {
    /// Every item that was made, in that order: its place is its sequence number.
    made: Vec<Item>,
    /// Of each item: whether it is acknowledged or refused for good.
    settled: Vec<bool>,
    pub rejected: u64,
    in_flight: Option<Batch>,
    /// What the next batch has to be, after a failure.
    expected_len: Option<usize>,
    not_before: u64,
    /// Times each item has arrived.
    arrived: Vec<u32>,
    /// Every item that was ever sent, by its id, through all of farspan's lives.
    sent: BTreeMap<Box<[u8]>, Arc<[u8]>>,
    /// What of the above farspan's store knows.
    stored: Mark,
}

/// A span or a log record that farspan has made.
pub struct Item {
    /// Two items with one id are one item.
    pub id: Box<[u8]>,
    pub service: Option<Arc<Service>>,
    pub bytes: Arc<[u8]>,
}

/// How many items are made, and which of them are settled.
pub type Mark = (usize, Vec<bool>);

/// What the collector says, and after how long.
pub struct Response {
    pub latency: u64,
    pub outcome: ExportOutcome,
    /// The same once more, so much later.
    pub again_after: Option<u64>,
}

impl Collector {
    /// From now on farspan has this item to deliver.
    pub fn expect(&mut self, item: Item) {
        let twin = self.made.iter().any(|known| known.id == item.id);
        assert!(!twin, "an item was made twice");
        self.made.push(item);
        self.arrived.push(0);
        self.settled.push(false);
    }

    pub fn waiting(&self) -> usize {
        self.settled
            .iter()
            .filter(|is_settled| !**is_settled)
            .count()
    }

    /// Whether every item has arrived, but for those that it refused.
    pub fn has_all(&self) -> bool {
        let missing = self.arrived.iter().filter(|times| **times == 0).count();
        missing as u64 <= self.rejected
    }

    /// What is finished and settled so far.
    pub fn mark(&self) -> Mark {
        (self.made.len(), self.settled.clone())
    }

    /// So much is in farspan's store.
    pub fn store(&mut self, mark: Mark) {
        self.stored = mark;
    }

    /// farspan is gone, and with it what its store does not have.
    pub fn forget(&mut self) {
        let (made, settled) = self.stored.clone();
        self.made.truncate(made);
        self.arrived.truncate(made);
        self.settled = settled;
        self.in_flight = None;
        (self.expected_len, self.not_before) = (None, 0);
    }

    pub fn is_idle(&self) -> bool {
        self.in_flight.is_none()
    }

    pub fn receive(
        &mut self,
        batch: Batch,
        scenario: &Scenario,
        now: u64,
        r: &mut Random,
    ) -> Response {
        assert!(self.in_flight.is_none(), "one batch at a time");
        assert!(!batch.items.is_empty());
        assert!(batch.items.len() <= scenario.settings.batch.spans_max);
        assert!(now >= self.not_before, "the collector asked for a pause");
        if let Some(expected) = self.expected_len {
            assert_eq!(batch.items.len(), expected, "a re-send is the same batch");
        }
        for (place, item) in self.places_of(&batch).into_iter().zip(&batch.items) {
            let made = &self.made[place];
            assert_eq!(
                made.bytes, item.bytes,
                "in the order of completion, unchanged"
            );
            assert!(place < self.stored.0, "sent before it is stored");
            let service = made.service.as_ref();
            assert_eq!(item.monitor, service.map(|s| s.monitor.clone()));
            let first = self.sent.entry(made.id.clone());
            let first = first.or_insert_with(|| item.bytes.clone());
            assert_eq!(*first, item.bytes, "an id with two contents");
        }
        assert!(batch.items.is_sorted_by(|a, b| a.sequence < b.sequence));
        let response = self.respond(&batch, scenario, now, r);
        self.in_flight = Some(batch);
        response
    }

    /// A batch is the first item that is not settled, and the next ones of its monitor.
    fn places_of(&self, batch: &Batch) -> Vec<usize> {
        let open = (0..self.made.len()).filter(|place| !self.settled[*place]);
        let monitor_at = |place: usize| {
            let service = self.made[place].service.as_ref();
            service.map(|service| service.monitor.clone())
        };
        let mut open = open.peekable();
        let first = open.peek().copied().map(monitor_at);
        let of_one = open.filter(|place| Some(monitor_at(*place)) == first);
        of_one.take(batch.items.len()).collect()
    }

    fn respond(
        &mut self,
        batch: &Batch,
        scenario: &Scenario,
        now: u64,
        r: &mut Random,
    ) -> Response {
        let faults = &scenario.collector;
        let mut response = Response {
            latency: r.between(0, faults.latency_max),
            outcome: ExportOutcome::Delivered {
                rejected: 0,
                message: "".into(),
            },
            again_after: None,
        };
        if now >= scenario.faults_end {
            self.take(batch);
            return response;
        }
        if r.chance(faults.doubled) {
            response.again_after = Some(r.between(0, 60 * SECOND));
        }
        let down = |(from, to): &(u64, u64)| (*from..*to).contains(&now);
        let asked = |r: &mut Random| Duration::from_nanos(r.between(0, 90 * SECOND));
        let retry_after = r.chance(faults.retry_after).then(|| asked(r));
        let retry = ExportOutcome::Retry {
            reason: "503".into(),
            retry_after,
        };
        let message = "";
        if faults.outages.iter().any(down) || r.chance(faults.retry) {
            response.outcome = retry;
        } else if batch.items.len() > faults.spans_max {
            let message = message.into();
            response.outcome = ExportOutcome::TooLarge { message };
        } else if r.chance(faults.rejected) {
            let message = message.into();
            response.outcome = ExportOutcome::Rejected { message };
        } else if r.chance(faults.unacknowledged) {
            self.take(batch);
            response.outcome = retry;
        } else {
            self.take(batch);
            if r.chance(faults.partial) {
                response.outcome = ExportOutcome::Delivered {
                    rejected: r.between(0, batch.items.len() as u64),
                    message: message.into(),
                };
            }
        }
        response
    }

    fn take(&mut self, batch: &Batch) {
        for place in self.places_of(batch) {
            self.arrived[place] += 1;
        }
    }

    /// The outcome reaches the core, for the first time or again.
    pub fn settle(&mut self, batch_id: u64, outcome: &ExportOutcome, now: u64) {
        let Some(batch) = self.in_flight.take_if(|b| b.id == batch_id) else {
            return;
        };
        let len = batch.items.len();
        (self.expected_len, self.not_before) = (None, 0);
        match outcome {
            ExportOutcome::Delivered { rejected, .. } => {
                self.settle_items(&batch);
                self.rejected += rejected;
            }
            ExportOutcome::TooLarge { .. } if len > 1 => self.expected_len = Some(len / 2),
            ExportOutcome::TooLarge { .. } | ExportOutcome::Rejected { .. } => {
                self.settle_items(&batch);
                self.rejected += len as u64;
            }
            ExportOutcome::Retry { retry_after, .. } => {
                self.expected_len = Some(len);
                let asked = retry_after.unwrap_or_default().as_nanos() as u64;
                self.not_before = now + asked.max(SECOND / 2);
            }
        }
    }

    fn settle_items(&mut self, batch: &Batch) {
        for place in self.places_of(batch) {
            self.settled[place] = true;
        }
    }
}
