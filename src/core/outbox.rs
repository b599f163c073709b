//! The outbox: finished spans on their way to the collector.
//!
//! ```text
//! push -> waiting -> batch in flight -> delivered
//!            ^            |   |
//!            +-- retry ---+   +-> set aside (the collector will never take it)
//! ```
//!
//! Spans leave in the order in which they were finished, one batch at a time. A batch is the front of the queue and
//! stays there until the collector has acknowledged it, so a re-send is the same spans, encoded once, byte for byte.
//! Nothing is ever dropped: when the outbox is full, the core stops polling.

use super::backoff::{Again, Jitter};
use super::ids::RunKey;
use super::limits;
use super::time::Mono;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A finished span as it goes onto the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedSpan {
    /// Its place in the order of completion; also its name where it is stored.
    pub sequence: u64,
    /// The run it belongs to.
    pub run: RunKey,
    /// The monitor under whose resource it goes; none: under the process's.
    pub monitor: Option<Arc<str>>,
    /// The encoded span. It never changes.
    pub bytes: Arc<[u8]>,
}

impl EncodedSpan {
    /// What it takes where it is stored, beside [`limits::STORED_KEYS_BYTES`].
    pub fn stored_bytes(&self) -> usize {
        let named = |monitor: &Arc<str>| monitor.len() + limits::STORED_SEQUENCE_BYTES;
        self.bytes.len() + self.monitor.as_ref().map_or(0, named)
    }
}

/// Spans that go to the collector in one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Which batch an [`ExportOutcome`] speaks of.
    pub id: u64,
    /// Not empty, in the order of completion.
    pub spans: Vec<EncodedSpan>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportOutcome {
    /// The collector has it; `rejected` spans of it were thrown away there (OTLP partial success), with a message.
    Delivered {
        /// Spans the collector took and threw away.
        rejected: u64,
        /// The collector's reason or warning; may be empty.
        message: Box<str>,
    },
    /// The request was too large for the collector (413).
    TooLarge {
        /// What it said.
        message: Box<str>,
    },
    /// The collector will never take this batch.
    Rejected {
        /// What it said.
        message: Box<str>,
    },
    /// It may take it later.
    Retry {
        /// What went wrong.
        reason: Box<str>,
        /// When the collector wants to be asked again.
        retry_after: Option<Duration>,
    },
}

/// When batches are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPolicy {
    /// How long a span waits for company.
    pub schedule_delay: Duration,
    /// Spans in one request, at least 1.
    pub spans_max: usize,
    /// Spans that may wait before polls do.
    pub queue_max: usize,
}

/// What an outcome came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// These may be forgotten.
    Delivered(Vec<EncodedSpan>),
    /// These were set aside.
    SetAside(Vec<EncodedSpan>),
    /// The batch is halved and goes again.
    Split,
    /// It goes again after this pause.
    Later(Duration),
    /// The outcome was of no batch in flight.
    Stale,
}

/// See the module.
#[derive(Debug)]
pub struct Outbox {
    policy: BatchPolicy,
    queue: VecDeque<Waiting>,
    bytes: usize,
    next_sequence: u64,
    next_batch: u64,
    state: State,
    /// Halved by a 413, grows again with each delivery.
    spans_max: usize,
    failures: u32,
    set_aside: VecDeque<EncodedSpan>,
}

#[derive(Debug)]
struct Waiting {
    span: EncodedSpan,
    since: Mono,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Idle,
    /// The first `len` spans are with the exporter.
    InFlight {
        batch: u64,
        len: usize,
    },
    /// The first `len` spans go again.
    Again {
        len: usize,
        again: Again,
    },
}

impl Outbox {
    /// An empty one, whose spans are numbered from `first_sequence`.
    pub fn new(policy: BatchPolicy, first_sequence: u64) -> Self {
        Outbox {
            policy,
            queue: VecDeque::new(),
            bytes: 0,
            next_sequence: first_sequence,
            next_batch: 0,
            state: State::Idle,
            spans_max: policy.spans_max,
            failures: 0,
            set_aside: VecDeque::new(),
        }
    }

    /// Takes a finished span, encoded, and gives it its place.
    pub fn push(
        &mut self,
        run: RunKey,
        monitor: Option<Arc<str>>,
        bytes: Arc<[u8]>,
        now: Mono,
    ) -> EncodedSpan {
        let sequence = self.next_sequence;
        let span = EncodedSpan {
            sequence,
            run,
            monitor,
            bytes,
        };
        self.restore(span.clone(), now);
        span
    }

    /// Takes a span that was stored, by an earlier run or another instance, to its place in the order.
    pub fn restore(&mut self, span: EncodedSpan, now: Mono) {
        self.next_sequence = self.next_sequence.max(span.sequence.saturating_add(1));
        self.bytes += span.stored_bytes();
        // A batch that was made stays as it is.
        let batch = self.batch_len();
        let mut place = self.queue.len();
        while place > batch && self.queue[place - 1].span.sequence > span.sequence {
            place -= 1;
        }
        self.queue.insert(place, Waiting { span, since: now });
    }

    /// Forgets the spans of runs that are another's now. A batch with the exporter is less these: they are the same
    /// bytes wherever they come from, and nothing is said here of what becomes of them.
    pub fn forget(&mut self, is_lost: impl Fn(RunKey) -> bool) {
        let batch = self.batch_len();
        let lost = |w: &Waiting| is_lost(w.span.run);
        let kept = batch - self.queue.iter().take(batch).filter(|w| lost(w)).count();
        self.queue.retain(|w| !lost(w));
        self.bytes = self.queue.iter().map(|w| w.span.stored_bytes()).sum();
        self.state = match self.state {
            State::InFlight { batch, .. } if kept > 0 => State::InFlight { batch, len: kept },
            State::Again { again, .. } if kept > 0 => State::Again { len: kept, again },
            _ => State::Idle,
        };
    }

    /// All that is not acknowledged, in its order.
    pub fn iter(&self) -> impl Iterator<Item = &EncodedSpan> {
        self.queue.iter().map(|w| &w.span)
    }

    /// Spans not yet acknowledged.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether everything was acknowledged.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes not yet acknowledged, as they are stored.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether so much waits that nothing should be added.
    pub fn is_full(&self) -> bool {
        self.bytes >= limits::OUTBOX_BYTES_MAX || self.queue.len() >= self.policy.queue_max
    }

    /// Whether enough has gone for polls to go on: well below full, or they would stop and go with every batch.
    pub fn has_room_again(&self) -> bool {
        self.bytes <= limits::OUTBOX_BYTES_MAX / 2 && self.queue.len() <= self.policy.queue_max / 2
    }

    /// Attempts in a row that failed.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The spans that the collector refused for good, the latest [`limits::SET_ASIDE_MAX`] of them.
    pub fn set_aside(&self) -> impl ExactSizeIterator<Item = &EncodedSpan> {
        self.set_aside.iter()
    }

    /// The batch that is due, if one is. `hurry`: do not wait for company, and for no longer between two attempts
    /// than after the first failure, unless the collector asked for it.
    pub fn next_batch(&mut self, now: Mono, hurry: bool) -> Option<Batch> {
        let len = match self.state {
            State::InFlight { .. } => return None,
            State::Again { again, .. } if now < again.at(hurry) => return None,
            State::Again { len, .. } => len,
            State::Idle if self.due(now, hurry) => self.front_len(),
            State::Idle => return None,
        };
        let id = self.next_batch;
        self.next_batch += 1;
        self.state = State::InFlight { batch: id, len };
        let spans = self.queue.iter().take(len).map(|w| w.span.clone());
        Some(Batch {
            id,
            spans: spans.collect(),
        })
    }

    /// When [`next_batch`](Self::next_batch) has something next, as far as is known now.
    pub fn next_deadline(&self, hurry: bool) -> Option<Mono> {
        match self.state {
            State::InFlight { .. } => None,
            State::Again { again, .. } => Some(again.at(hurry)),
            State::Idle => Some(self.queue.front()?.since + self.policy.schedule_delay),
        }
    }

    /// Takes in what became of a batch.
    pub fn settle(
        &mut self,
        batch: u64,
        outcome: &ExportOutcome,
        now: Mono,
        jitter: &mut Jitter,
    ) -> Settled {
        let len = match self.state {
            State::InFlight { batch: id, len } if id == batch => len,
            _ => return Settled::Stale,
        };
        self.state = State::Idle;
        match outcome {
            ExportOutcome::Delivered { .. } => {
                self.failures = 0;
                // Slowly: a collector whose limit stays would else refuse every second request.
                let growth = (self.policy.spans_max / 32).max(1);
                self.spans_max = (self.spans_max + growth).min(self.policy.spans_max);
                Settled::Delivered(self.take_front(len))
            }
            ExportOutcome::TooLarge { .. } if len > 1 => {
                self.spans_max = len / 2;
                // What was restored meanwhile stands behind the whole batch.
                let behind = &mut self.queue.make_contiguous()[len / 2..];
                behind.sort_by_key(|waiting| waiting.span.sequence);
                self.state = State::Again {
                    len: len / 2,
                    again: Again::at_once(now),
                };
                Settled::Split
            }
            ExportOutcome::TooLarge { .. } | ExportOutcome::Rejected { .. } => {
                self.failures = 0;
                let spans = self.take_front(len);
                self.set_aside.extend(spans.iter().cloned());
                let excess = self.set_aside.len().saturating_sub(limits::SET_ASIDE_MAX);
                self.set_aside.drain(..excess);
                Settled::SetAside(spans)
            }
            ExportOutcome::Retry { retry_after, .. } => {
                self.failures = self.failures.saturating_add(1);
                let again = Again::after(*retry_after, self.failures, now, jitter);
                self.state = State::Again { len, again };
                Settled::Later(again.at(false).since(now))
            }
        }
    }

    /// Holds what must always be true.
    pub fn check_invariants(&self) {
        let bytes: usize = self.queue.iter().map(|w| w.span.stored_bytes()).sum();
        assert_eq!(bytes, self.bytes, "the bytes are counted");
        let batch = self.batch_len();
        let sequences = || self.iter().map(|span| span.sequence);
        // Two instances may have given the same number, to spans of two runs.
        let in_order = |(a, b): (u64, u64)| a <= b;
        let mut behind = sequences().skip(batch).zip(sequences().skip(batch + 1));
        assert!(behind.all(in_order));
        if let State::InFlight { len, .. } | State::Again { len, .. } = self.state {
            assert!(len >= 1 && len <= self.queue.len(), "a batch is the front");
            assert!(len <= self.policy.spans_max);
        }
        assert!(self.spans_max >= 1 && self.spans_max <= self.policy.spans_max);
        assert!(self.set_aside.len() <= limits::SET_ASIDE_MAX);
    }

    /// Spans at the front that are a batch already.
    fn batch_len(&self) -> usize {
        match self.state {
            State::Idle => 0,
            State::InFlight { len, .. } | State::Again { len, .. } => len,
        }
    }

    fn due(&self, now: Mono, hurry: bool) -> bool {
        let Some(first) = self.queue.front() else {
            return false;
        };
        hurry
            || self.queue.len() >= self.spans_max
            || self.bytes >= limits::BATCH_BYTES_MAX
            || now >= first.since + self.policy.schedule_delay
    }

    fn front_len(&self) -> usize {
        let mut bytes = 0;
        let fits = self.queue.iter().take(self.spans_max).take_while(|w| {
            bytes += w.span.bytes.len();
            bytes <= limits::BATCH_BYTES_MAX
        });
        // A span larger than a batch may be goes alone.
        fits.count().max(1)
    }

    fn take_front(&mut self, len: usize) -> Vec<EncodedSpan> {
        let spans: Vec<EncodedSpan> = self.queue.drain(..len).map(|w| w.span).collect();
        self.bytes -= spans.iter().map(EncodedSpan::stored_bytes).sum::<usize>();
        spans
    }
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
        let mut outbox = Outbox::new(POLICY, 0);
        for n in 0..count {
            outbox.push(run(), None, Arc::from(n.to_be_bytes()), secs(0));
        }
        outbox
    }

    fn sequences(spans: &[EncodedSpan]) -> Vec<u64> {
        spans.iter().map(|s| s.sequence).collect()
    }

    fn settle(outbox: &mut Outbox, batch: &Batch, outcome: ExportOutcome, now: Mono) -> Settled {
        let settled = outbox.settle(batch.id, &outcome, now, &mut Jitter::new(0));
        outbox.check_invariants();
        settled
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

    /// Two instances number their spans alike, and one takes over what the other had.
    #[test]
    fn spans_of_two_runs_may_have_the_same_number() {
        let mut outbox = outbox_of(2);
        let other = EncodedSpan {
            sequence: 1,
            run: RunKey::from_bytes([8; 16]),
            monitor: None,
            bytes: Arc::from([8]),
        };
        outbox.restore(other.clone(), secs(0));
        outbox.check_invariants();
        let batch = outbox.next_batch(secs(5), false).unwrap();
        assert_eq!(sequences(&batch.spans), [0, 1, 1]);
        assert_eq!(batch.spans[2], other);
        settle(&mut outbox, &batch, delivered(), secs(5));
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_span_waits_for_company_but_not_long() {
        let mut outbox = outbox_of(1);
        assert_eq!(outbox.next_deadline(false), Some(secs(5)));
        assert_eq!(outbox.next_batch(secs(4), false), None);
        let batch = outbox.next_batch(secs(5), false).unwrap();
        assert_eq!(sequences(&batch.spans), [0]);
        assert_eq!(outbox.next_batch(secs(9), true), None, "one at a time");
    }

    #[test]
    fn a_full_batch_goes_at_once_and_in_order() {
        let mut outbox = outbox_of(5);
        let first = outbox.next_batch(secs(0), false).unwrap();
        assert_eq!(sequences(&first.spans), [0, 1, 2, 3]);
        settle(&mut outbox, &first, delivered(), secs(1));
        assert_eq!(outbox.next_batch(secs(1), false), None);
        assert_eq!(
            sequences(&outbox.next_batch(secs(1), true).unwrap().spans),
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
        assert_eq!(again.spans, first.spans, "what came since does not join");
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
        let mut outbox = Outbox::new(POLICY, 100);
        for n in 0..4_u64 {
            outbox.push(run(), None, Arc::from(n.to_be_bytes()), secs(0));
        }
        let batch = outbox.next_batch(secs(0), false).unwrap();
        for sequence in [50, 200, 7] {
            let bytes = Arc::from([1]);
            let run = RunKey::from_bytes([8; 16]);
            let span = EncodedSpan {
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
        assert_eq!(sequences(&half.spans), [100, 101]);
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
        assert_eq!(settle(&mut outbox, &four, large(), secs(0)), Settled::Split);
        let two = outbox.next_batch(secs(0), false).unwrap();
        assert_eq!(sequences(&two.spans), [0, 1]);
        settle(&mut outbox, &two, large(), secs(0));
        let one = outbox.next_batch(secs(0), false).unwrap();
        assert_eq!(sequences(&one.spans), [0]);
        let aside = settle(&mut outbox, &one, large(), secs(0));
        assert!(matches!(aside, Settled::SetAside(spans) if sequences(&spans) == [0]));
        let next = outbox.next_batch(secs(0), false).unwrap();
        assert_eq!(sequences(&next.spans), [1]);
        settle(&mut outbox, &next, delivered(), secs(0));
        let next = outbox.next_batch(secs(0), true).unwrap();
        assert_eq!(sequences(&next.spans), [2, 3], "and it grows again");
    }

    #[test]
    fn what_is_rejected_holds_up_nothing() {
        let mut outbox = outbox_of(5);
        let first = outbox.next_batch(secs(0), false).unwrap();
        let outcome = ExportOutcome::Rejected {
            message: "400".into(),
        };
        settle(&mut outbox, &first, outcome, secs(0));
        assert_eq!(outbox.set_aside().len(), 4);
        assert_eq!(
            sequences(&outbox.next_batch(secs(0), true).unwrap().spans),
            [4]
        );
    }

    #[test]
    fn an_outcome_of_another_batch_is_stale() {
        let mut outbox = outbox_of(1);
        let batch = outbox.next_batch(secs(0), true).unwrap();
        settle(&mut outbox, &batch, retry(None), secs(0));
        assert_eq!(
            settle(&mut outbox, &batch, delivered(), secs(0)),
            Settled::Stale
        );
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
        assert_eq!(outbox.next_batch(secs(0), false).unwrap().spans.len(), 1);
    }

    /// Whatever the collector does, every span is delivered once or set aside once, in order.
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
                match settle(&mut outbox, &batch, outcome, secs(now)) {
                    Settled::Delivered(spans) | Settled::SetAside(spans) => done.extend(spans),
                    Settled::Split | Settled::Later(_) => {}
                    Settled::Stale => panic!("it was in flight"),
                }
            }
            while !outbox.is_empty() {
                now += 100;
                let batch = outbox.next_batch(secs(now), true).unwrap();
                match settle(&mut outbox, &batch, delivered(), secs(now)) {
                    Settled::Delivered(spans) => done.extend(spans),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(sequences(&done), (0..pushed).collect::<Vec<u64>>());
            Ok(())
        });
    }
}
