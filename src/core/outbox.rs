//! An outbox: finished spans, or log records, that the collector has not acknowledged.
//!
//! ```text
//! push -> waiting -> batch in flight -> delivered
//!            ^            |   |
//!            +-- retry ---+   +-> refused for good
//! ```
//!
//! There is an outbox for each [`Signal`], so that a collector that takes one of them alone holds up nothing. The items
//! leave in one lane, in the order in which they were made; a batch takes the items of one monitor out of
//! that order, because a request has one resource. No item is dropped because there are too many:
//! when an outbox is full, the core stops polling.

use super::backoff::Jitter;
use super::ids::RunKey;
use super::lane::{Lane, LaneItem, Sequence};
use super::limits;
use super::time::Mono;
use std::sync::Arc;
use std::time::Duration;

/// What an item is to OpenTelemetry. Each kind has its own URL at the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// Finished spans.
    Traces,
    /// Log records of status events.
    Logs,
}

impl Signal {
    /// The items in words.
    pub fn items(self) -> &'static str {
        match self {
            Signal::Traces => "spans",
            Signal::Logs => "log records",
        }
    }
}

/// A finished span or a log record, encoded for OTLP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxItem {
    /// Which of the two.
    pub signal: Signal,
    /// Its place in the order of its outbox. It is part of its key in the store.
    pub sequence: u64,
    /// The run it belongs to.
    pub run: RunKey,
    /// The monitor whose resource it is exported with. `None`: farspan's own resource.
    pub monitor: Option<Arc<str>>,
    /// One `Span` or one `LogRecord` of OTLP. It never changes.
    pub bytes: Arc<[u8]>,
}

impl LaneItem for OutboxItem {
    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn run(&self) -> RunKey {
        self.run
    }

    fn stored_bytes(&self) -> usize {
        let named = |monitor: &Arc<str>| monitor.len() + limits::STORED_SEQUENCE_BYTES;
        self.bytes.len() + self.monitor.as_ref().map_or(0, named)
    }
}

/// Items that go to the collector in one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The outbox that it comes from.
    pub signal: Signal,
    /// Its number. Each outbox counts for itself.
    pub id: u64,
    /// Not empty, of one monitor or of monitors without a resource of their own, in the order of their outbox.
    pub items: Vec<OutboxItem>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportOutcome {
    /// The collector has it, and dropped `rejected` items of it (OTLP partial success).
    Delivered {
        /// How many items the collector dropped.
        rejected: u64,
        /// The collector's reason or warning; may be empty.
        message: Box<str>,
    },
    /// The request was too large for the collector (413).
    TooLarge {
        /// The collector's answer, or what is wrong.
        message: Box<str>,
    },
    /// The collector will never take this batch.
    Rejected {
        /// The collector's answer, or what is wrong.
        message: Box<str>,
    },
    /// The collector may take it later.
    Retry {
        /// What went wrong.
        reason: Box<str>,
        /// The pause that the collector asks for.
        retry_after: Option<Duration>,
    },
}

/// How the export of a batch has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// [`Batch::signal`].
    pub signal: Signal,
    /// [`Batch::id`].
    pub batch: u64,
    /// How it has ended.
    pub outcome: ExportOutcome,
}

/// When batches are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPolicy {
    /// How long an item waits for others to share its request.
    pub schedule_delay: Duration,
    /// Items in one request, at least 1.
    pub spans_max: usize,
    /// With so many items in an outbox polls wait.
    pub queue_max: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Outbox {
    signal: Signal,
    policy: BatchPolicy,
    lane: Lane<OutboxItem>,
    sequence: Sequence,
    /// Items in one request: halved by a 413, grows again with each delivery.
    spans_max: usize,
}

impl Outbox {
    /// An empty one, whose items are numbered from `first_sequence`.
    pub(super) fn new(signal: Signal, policy: BatchPolicy, first_sequence: u64) -> Self {
        Outbox {
            signal,
            policy,
            lane: Lane::new(),
            sequence: Sequence::from(first_sequence),
            spans_max: policy.spans_max,
        }
    }

    /// Takes an encoded item, and gives it its place.
    pub(super) fn push(
        &mut self,
        run: RunKey,
        monitor: Option<Arc<str>>,
        bytes: Arc<[u8]>,
        now: Mono,
    ) -> OutboxItem {
        let item = OutboxItem {
            signal: self.signal,
            sequence: self.sequence.next(),
            run,
            monitor,
            bytes,
        };
        self.restore(item.clone(), now);
        item
    }

    /// Takes an item that was stored, by an earlier start or another instance, to its place in the order.
    pub(super) fn restore(&mut self, item: OutboxItem, now: Mono) {
        self.sequence.seen(item.sequence);
        self.lane.insert(item, now);
    }

    /// Forgets the items of runs that another instance owns, those of a batch with the exporter too: their new owner
    /// sends the same bytes.
    pub(super) fn forget(&mut self, is_lost: impl Fn(RunKey) -> bool) {
        self.lane.forget(is_lost);
        self.lane.end_empty_batch();
    }

    /// All items, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &OutboxItem> {
        self.lane.iter()
    }

    /// How many items there are.
    pub(super) fn len(&self) -> usize {
        self.lane.len()
    }

    /// Their bytes, as they are stored.
    pub(super) fn bytes(&self) -> usize {
        self.lane.bytes()
    }

    /// How many spans are with the exporter, or go again as one batch.
    pub(super) fn batch_len(&self) -> usize {
        self.lane.batch_len()
    }

    /// Since when the first span waits.
    pub(super) fn first_since(&self) -> Option<Mono> {
        self.lane.first_since()
    }

    /// Whether so much waits that nothing should be added.
    pub(super) fn is_full(&self) -> bool {
        self.bytes() >= limits::OUTBOX_BYTES_MAX || self.len() >= self.policy.queue_max
    }

    /// Whether enough has gone for polls to go on: well below full, or they would stop and go with every batch.
    pub(super) fn has_room_again(&self) -> bool {
        self.bytes() <= limits::OUTBOX_BYTES_MAX / 2 && self.len() <= self.policy.queue_max / 2
    }

    /// Whether the last attempt to deliver failed.
    pub(super) fn is_failing(&self) -> bool {
        self.lane.failures() > 0
    }

    /// The batch that is due, if one is. `hurry`: wait for no other items, and between two attempts for no longer than
    /// after the first failure, unless the collector asked for it.
    pub(super) fn next_batch(&mut self, now: Mono, hurry: bool) -> Option<Batch> {
        let (policy, spans_max) = (self.policy, self.spans_max);
        let new_len = |lane: &mut Lane<OutboxItem>| {
            let is_due = |since: Mono| {
                hurry
                    || lane.len() >= spans_max
                    || lane.bytes() >= limits::BATCH_BYTES_MAX
                    || now >= since + policy.schedule_delay
            };
            if lane.first_since().is_some_and(is_due) {
                let count = lane.bring_forward(spans_max, |a, b| a.monitor == b.monitor);
                front_len(lane, count)
            } else {
                0
            }
        };
        let (id, items) = self.lane.next(now, hurry, new_len)?;
        let signal = self.signal;
        Some(Batch { signal, id, items })
    }

    /// When [`next_batch`](Self::next_batch) has something next, as far as is known now.
    pub(super) fn next_deadline(&self, hurry: bool) -> Option<Mono> {
        if self.lane.is_in_flight() {
            return None;
        }
        self.lane
            .again_at(hurry)
            .or_else(|| Some(self.lane.first_since()? + self.policy.schedule_delay))
    }

    /// Takes in what became of a batch. Returns the items that the collector has, or will never take; none when they go
    /// again. `None`: no such batch is in flight.
    pub(super) fn settle(
        &mut self,
        batch: u64,
        outcome: &ExportOutcome,
        now: Mono,
        jitter: &mut Jitter,
    ) -> Option<Vec<OutboxItem>> {
        let len = self.lane.end_batch(batch)?;
        match outcome {
            ExportOutcome::TooLarge { .. } if len > 1 => {
                self.spans_max = len / 2;
                self.lane.shorten(len / 2, now);
                return Some(Vec::new());
            }
            ExportOutcome::Retry { retry_after, .. } => {
                self.lane.failed(len, *retry_after, now, jitter);
                return Some(Vec::new());
            }
            ExportOutcome::TooLarge { .. } | ExportOutcome::Rejected { .. } => {}
            ExportOutcome::Delivered { .. } => {
                // Slowly: a collector whose limit stays would otherwise refuse every second request.
                let growth = (self.policy.spans_max / 32).max(1);
                self.spans_max = (self.spans_max + growth).min(self.policy.spans_max);
            }
        }
        self.lane.succeeded();
        Some(self.lane.take(len, |_| true))
    }

    /// Holds what must always be true.
    pub(super) fn check_invariants(&self) {
        self.lane.check_invariants();
        assert!(self.lane.batch_len() <= self.policy.spans_max);
        assert!(self.spans_max >= 1 && self.spans_max <= self.policy.spans_max);
    }
}

/// How many of the first `count` items make a batch: as many as its bytes allow. An item larger than a batch may be goes
/// alone.
fn front_len(lane: &Lane<OutboxItem>, count: usize) -> usize {
    let mut bytes = 0;
    let fits = lane.iter().take(count).take_while(|span| {
        bytes += span.bytes.len();
        bytes <= limits::BATCH_BYTES_MAX
    });
    fits.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: BatchPolicy = BatchPolicy {
        schedule_delay: Duration::from_secs(5),
        spans_max: 4,
        queue_max: 100,
    };

    fn run() -> RunKey {
        RunKey::from_bytes([7; 16])
    }

    fn secs(secs: u64) -> Mono {
        Mono::from_duration(Duration::from_secs(secs))
    }

    fn outbox_of(count: u64) -> Outbox {
        let mut outbox = Outbox::new(Signal::Traces, POLICY, 0);
        for n in 0..count {
            outbox.push(run(), None, Arc::from(n.to_be_bytes()), secs(0));
        }
        outbox
    }

    fn sequences(spans: &[OutboxItem]) -> Vec<u64> {
        spans.iter().map(|s| s.sequence).collect()
    }

    fn settle(
        outbox: &mut Outbox,
        batch: &Batch,
        outcome: ExportOutcome,
        now: Mono,
    ) -> Vec<OutboxItem> {
        let settled = outbox.settle(batch.id, &outcome, now, &mut Jitter::new(0));
        outbox.check_invariants();
        settled.unwrap()
    }

    fn delivered() -> ExportOutcome {
        ExportOutcome::Delivered {
            rejected: 0,
            message: "".into(),
        }
    }

    fn retry(retry_after: Option<Duration>) -> ExportOutcome {
        ExportOutcome::Retry {
            reason: "503".into(),
            retry_after,
        }
    }

    /// A request has one resource, and a monitor may have its own.
    #[test]
    fn a_batch_has_the_spans_of_one_monitor() {
        let mut outbox = Outbox::new(Signal::Traces, POLICY, 0);
        let monitors = [
            None,
            Some("a"),
            None,
            Some("b"),
            Some("a"),
            None,
            None,
            None,
        ];
        for monitor in monitors {
            outbox.push(run(), monitor.map(Arc::from), Arc::from([0]), secs(0));
        }
        let mut next = |outcome: &ExportOutcome, now| {
            let batch = outbox.next_batch(now, true).unwrap();
            settle(&mut outbox, &batch, outcome.clone(), now);
            sequences(&batch.items)
        };
        assert_eq!(next(&delivered(), secs(0)), [0, 2, 5, 6]);
        assert_eq!(next(&retry(None), secs(0)), [1, 4]);
        assert_eq!(
            next(&delivered(), secs(9)),
            [1, 4],
            "it goes again as it was"
        );
        assert_eq!(next(&delivered(), secs(9)), [3]);
        assert_eq!(next(&delivered(), secs(9)), [7]);
        assert_eq!(outbox.len(), 0);
    }

    /// Two instances number their spans alike, and one takes over what the other had.
    #[test]
    fn spans_of_two_runs_may_have_the_same_number() {
        let mut outbox = outbox_of(2);
        let other = OutboxItem {
            signal: Signal::Traces,
            sequence: 1,
            run: RunKey::from_bytes([8; 16]),
            monitor: None,
            bytes: Arc::from([8]),
        };
        outbox.restore(other.clone(), secs(0));
        outbox.check_invariants();
        let batch = outbox.next_batch(secs(5), false).unwrap();
        assert_eq!(sequences(&batch.items), [0, 1, 1]);
        assert_eq!(batch.items[2], other);
        settle(&mut outbox, &batch, delivered(), secs(5));
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn a_span_waits_for_company_but_not_long() {
        let mut outbox = outbox_of(1);
        assert_eq!(outbox.next_deadline(false), Some(secs(5)));
        assert_eq!(outbox.next_batch(secs(4), false), None);
        let batch = outbox.next_batch(secs(5), false).unwrap();
        assert_eq!(sequences(&batch.items), [0]);
        assert_eq!(outbox.next_batch(secs(9), true), None, "one at a time");
    }

    #[test]
    fn a_full_batch_goes_at_once_and_in_order() {
        let mut outbox = outbox_of(5);
        let first = outbox.next_batch(secs(0), false).unwrap();
        assert_eq!(sequences(&first.items), [0, 1, 2, 3]);
        settle(&mut outbox, &first, delivered(), secs(1));
        assert_eq!(outbox.next_batch(secs(1), false), None);
        assert_eq!(
            sequences(&outbox.next_batch(secs(1), true).unwrap().items),
            [4]
        );
    }

    #[test]
    fn a_retry_is_the_same_batch_and_waits() {
        let mut outbox = outbox_of(2);
        let first = outbox.next_batch(secs(5), false).unwrap();
        settle(&mut outbox, &first, retry(None), secs(6));
        outbox.push(run(), None, Arc::from([7]), secs(6));
        assert_eq!(outbox.next_batch(secs(6), true), None);
        let at = outbox.next_deadline(false).unwrap();
        assert!(at > secs(6) && at <= secs(7));
        let again = outbox.next_batch(at, false).unwrap();
        assert_eq!(again.items, first.items, "what came since does not join");
        settle(
            &mut outbox,
            &again,
            retry(Some(Duration::from_secs(90))),
            at,
        );
        assert_eq!(
            outbox.next_deadline(false),
            Some(at + Duration::from_secs(90))
        );
    }

    #[test]
    fn what_another_left_finds_its_place_and_a_batch_stays_as_it_is() {
        let mut outbox = Outbox::new(Signal::Traces, POLICY, 100);
        for n in 0..4_u64 {
            outbox.push(run(), None, Arc::from(n.to_be_bytes()), secs(0));
        }
        let batch = outbox.next_batch(secs(0), false).unwrap();
        for sequence in [50, 200, 7] {
            let bytes = Arc::from([1]);
            let run = RunKey::from_bytes([8; 16]);
            let span = OutboxItem {
                signal: Signal::Traces,
                sequence,
                run,
                monitor: None,
                bytes,
            };
            outbox.restore(span, secs(1));
            outbox.check_invariants();
        }
        let message = "413".into();
        settle(
            &mut outbox,
            &batch,
            ExportOutcome::TooLarge { message },
            secs(1),
        );
        let half = outbox.next_batch(secs(1), false).unwrap();
        assert_eq!(sequences(&half.items), [100, 101]);
        settle(&mut outbox, &half, delivered(), secs(1));
        let rest: Vec<u64> = outbox.iter().map(|span| span.sequence).collect();
        assert_eq!(rest, [7, 50, 102, 103, 200]);
        outbox.forget(|lost| lost == run());
        outbox.check_invariants();
        assert_eq!((outbox.len(), outbox.bytes()), (3, 3));
        assert!(outbox.push(run(), None, Arc::from([2]), secs(1)).sequence > 200);
    }

    #[test]
    fn too_large_is_halved_until_it_fits_or_stands_alone() {
        let mut outbox = outbox_of(4);
        let large = || ExportOutcome::TooLarge {
            message: "413".into(),
        };
        let four = outbox.next_batch(secs(0), false).unwrap();
        assert_eq!(settle(&mut outbox, &four, large(), secs(0)), []);
        let two = outbox.next_batch(secs(0), false).unwrap();
        assert_eq!(sequences(&two.items), [0, 1]);
        settle(&mut outbox, &two, large(), secs(0));
        let one = outbox.next_batch(secs(0), false).unwrap();
        assert_eq!(sequences(&one.items), [0]);
        let refused = settle(&mut outbox, &one, large(), secs(0));
        assert_eq!(sequences(&refused), [0]);
        let next = outbox.next_batch(secs(0), false).unwrap();
        assert_eq!(sequences(&next.items), [1]);
        settle(&mut outbox, &next, delivered(), secs(0));
        let next = outbox.next_batch(secs(0), true).unwrap();
        assert_eq!(sequences(&next.items), [2, 3], "and it grows again");
    }

    #[test]
    fn what_is_rejected_holds_up_nothing() {
        let mut outbox = outbox_of(5);
        let first = outbox.next_batch(secs(0), false).unwrap();
        let outcome = ExportOutcome::Rejected {
            message: "400".into(),
        };
        assert_eq!(settle(&mut outbox, &first, outcome, secs(0)).len(), 4);
        assert_eq!(
            sequences(&outbox.next_batch(secs(0), true).unwrap().items),
            [4]
        );
    }

    #[test]
    fn an_outcome_of_another_batch_is_stale() {
        let mut outbox = outbox_of(1);
        let batch = outbox.next_batch(secs(0), true).unwrap();
        settle(&mut outbox, &batch, retry(None), secs(0));
        let late = outbox.settle(batch.id, &delivered(), secs(0), &mut Jitter::new(0));
        assert_eq!(late, None);
        assert_eq!(outbox.len(), 1);
    }

    #[test]
    fn batches_are_bounded_in_bytes() {
        let mut outbox = outbox_of(0);
        for _ in 0..3 {
            outbox.push(
                run(),
                None,
                vec![0; limits::BATCH_BYTES_MAX / 2 + 1].into(),
                secs(0),
            );
        }
        assert_eq!(outbox.next_batch(secs(0), false).unwrap().items.len(), 1);
    }

    /// Whatever the collector does, every span is delivered or refused once, in order.
    #[test]
    fn nothing_is_lost_doubled_or_reordered() {
        arbtest::arbtest(|u| {
            let mut outbox = outbox_of(0);
            let (mut pushed, mut now, mut done) = (0, 0, Vec::new());
            for _ in 0..u.int_in_range(0..=100)? {
                now += u.int_in_range(0..=20)?;
                for _ in 0..u.int_in_range(0..=6)? {
                    outbox.push(
                        run(),
                        None,
                        vec![0; u.int_in_range(0..=9)?].into(),
                        secs(now),
                    );
                    pushed += 1;
                }
                let Some(batch) = outbox.next_batch(secs(now), u.arbitrary()?) else {
                    continue;
                };
                let outcome = match u.int_in_range(0..=3)? {
                    0 => delivered(),
                    1 => retry(None),
                    2 => ExportOutcome::TooLarge { message: "".into() },
                    _ => ExportOutcome::Rejected { message: "".into() },
                };
                done.extend(settle(&mut outbox, &batch, outcome, secs(now)));
            }
            while outbox.len() > 0 {
                now += 100;
                let batch = outbox.next_batch(secs(now), true).unwrap();
                done.extend(settle(&mut outbox, &batch, delivered(), secs(now)));
            }
            assert_eq!(sequences(&done), (0..pushed).collect::<Vec<u64>>());
            Ok(())
        });
    }
}
