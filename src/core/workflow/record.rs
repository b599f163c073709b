//! A watched workflow as bytes: everything its spans are made of that the API will not say again.
//!
//! The first byte is the version. **The rule of migration:** a field is never reinterpreted; a new one goes to the end
//! and makes a new version; `decode` reads every version that was ever released and `encode` writes the latest; a
//! version that is not known is refused, so that an older farspan leaves a newer one's records alone.
//!
//! Numbers are LEB128 (signed ones zigzagged), texts stand behind their length, an option behind a byte.

use super::stages::{Fate, OpenStage, Stage, StageExtra};
use super::{DroppedEvents, Extra, Seen, SeenExtra, Workflow};
use crate::core::event::{Attributes, Value};
use crate::core::ids::{RunIdentity, SpanId, TraceContext, TraceId};
use crate::core::limits;
use crate::core::snapshot::{Outcome, State};
use crate::core::span::SpanEvent;
use crate::core::time::Wall;
use std::fmt;

/// What a record says.
#[derive(Clone, Debug)]
pub struct Record {
    /// The monitor's name.
    pub monitor: Box<str>,
    /// When the poll timeout strikes.
    pub deadline: Wall,
    /// The workflow.
    pub workflow: Workflow,
}

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// A later farspan wrote it.
    Newer(u8),
    /// It is damaged.
    Damaged,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Newer(version) => write!(
                f,
                "a later farspan wrote it (version {version}), start that one again"
            ),
            Unreadable::Damaged => f.write_str("it is damaged"),
        }
    }
}

/// The version that [`encode`] writes, and the latest that [`decode`] reads.
pub const VERSION: u8 = 3;

/// The record of a workflow.
pub fn encode(monitor: &str, deadline: Wall, workflow: &Workflow) -> Vec<u8> {
    let mut to = Writer(Vec::with_capacity(512));
    to.0.push(VERSION);
    to.text(monitor);
    to.wall(deadline);
    to.text(&workflow.id);
    to.option(workflow.attempt, |to, attempt| to.number(attempt.into()));
    to.0.extend(workflow.trace_id.to_bytes());
    to.option(workflow.parent.as_deref(), Writer::context);
    to.bool(workflow.sampled);
    to.option(workflow.submitted_at, Writer::wall);
    to.wall(workflow.received_at);
    to.option(workflow.source.as_deref(), Writer::text);
    to.list(workflow.attributes.iter(), Writer::attribute);
    to.seen(&workflow.seen);
    to.list(workflow.stages.iter(), Writer::stage);
    to.option(workflow.finished_within, |to, (start, end)| {
        to.wall(start);
        to.wall(end);
    });
    to.version_2(workflow);
    to.version_3(workflow);
    to.0
}

/// Reads a record.
///
/// # Errors
/// Why it cannot be read.
pub fn decode(bytes: &[u8]) -> Result<Record, Unreadable> {
    match bytes.split_first() {
        Some((&version @ 1..=VERSION, rest)) => {
            Reader(rest).record(version).ok_or(Unreadable::Damaged)
        }
        Some((&version, _)) if version > VERSION => Err(Unreadable::Newer(version)),
        _ => Err(Unreadable::Damaged),
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn signed(&mut self, number: i64) {
        self.number((number << 1 ^ number >> 63) as u64);
    }

    fn wall(&mut self, wall: Wall) {
        self.signed(wall.as_unix_ns());
    }

    fn bool(&mut self, truth: bool) {
        self.0.push(u8::from(truth));
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend(text.as_bytes());
    }

    fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            put(self, value);
        }
    }

    fn list<T>(&mut self, all: impl ExactSizeIterator<Item = T>, put: impl Fn(&mut Self, T)) {
        self.number(all.len() as u64);
        for one in all {
            put(self, one);
        }
    }

    fn context(&mut self, context: &TraceContext) {
        self.0.extend(context.trace_id.to_bytes());
        self.0.extend(context.span_id.to_bytes());
        self.0.push(context.trace_flags);
        self.option(context.trace_state.as_deref(), Self::text);
    }

    fn attribute(&mut self, (key, value): &(Box<str>, Value)) {
        self.text(key);
        match value {
            Value::Str(text) => {
                self.0.push(0);
                self.text(text);
            }
            Value::Int(number) => {
                self.0.push(1);
                self.signed(*number);
            }
            Value::Float(number) => {
                self.0.push(2);
                self.0.extend(number.to_le_bytes());
            }
            Value::Bool(truth) => {
                self.0.push(3);
                self.bool(*truth);
            }
        }
    }

    fn stage(&mut self, stage: &Stage) {
        self.text(&stage.path);
        self.bool(stage.is_finished());
        self.option(stage.open.as_deref(), |to, open| {
            to.option(open.kind.as_deref(), Self::text);
            to.option(open.id.as_deref(), Self::text);
            to.seen(&open.seen);
        });
    }

    fn seen(&mut self, seen: &Seen) {
        self.0.push(match seen.state {
            State::Pending => 0,
            State::Running => 1,
            State::Ended(Outcome::Success) => 2,
            State::Ended(Outcome::Failure) => 3,
            State::Ended(Outcome::Error) => 4,
            State::Ended(Outcome::Timeout) => 5,
            State::Ended(Outcome::Cancellation) => 6,
            State::Ended(Outcome::Skip) => 7,
        });
        self.option(seen.start, Self::wall);
        self.option(seen.end, Self::wall);
        self.option(seen.error(), Self::text);
        self.option(seen.started_seen, Self::wall);
        self.option(seen.ended_seen, Self::wall);
        self.list(seen.events.iter(), |to, event| {
            to.wall(event.time);
            to.text(&event.name);
        });
        self.option(seen.dropped(), |to, dropped| {
            to.number(dropped.count.into());
            to.text(&dropped.last);
        });
    }

    /// What came with version 2. Of the stages only those that it says something about, behind their places.
    fn version_2(&mut self, workflow: &Workflow) {
        self.0.push(workflow.settling);
        self.option(workflow.seen.queued(), Self::wall);
        self.option(workflow.extra.as_deref(), |to, extra| {
            to.option(extra.submitter.as_ref(), Self::context);
            to.bool(extra.follows);
            to.option(extra.attempt, |to, attempt| to.number(attempt.into()));
            to.answered(extra.url.as_deref(), &extra.attributes);
            to.number(extra.dropped_attributes.into());
        });
        let more: Vec<_> = (0_u64..)
            .zip(&workflow.stages)
            .filter(|(_, stage)| has_more(stage))
            .collect();
        self.list(more.into_iter(), |to, (place, stage)| {
            to.number(place);
            to.number(stage.attempt.into());
            to.bool(stage.fate == Fate::LeftOut);
            to.option(stage.open.as_deref(), |to, open| {
                to.0.push(open.settling);
                to.option(open.seen.queued(), Self::wall);
                to.option(open.extra.as_deref(), Self::stage_extra);
            });
        });
        self.seen_before_end(workflow);
    }

    fn version_3(&mut self, workflow: &Workflow) {
        self.bool(workflow.run_identity == RunIdentity::Attempt);
    }

    /// What is left of an API that goes away with its workflow. The stages that have failed by their places.
    fn seen_before_end(&mut self, workflow: &Workflow) {
        let extra = workflow.extra.as_deref();
        self.option(extra.and_then(|extra| extra.answered_at), Self::wall);
        let failed = (0_u64..).zip(&workflow.stages).filter(|(_, s)| s.failed);
        let failed: Vec<u64> = failed.map(|(place, _)| place).collect();
        self.list(failed.into_iter(), Self::number);
    }

    fn stage_extra(&mut self, extra: &StageExtra) {
        self.option(extra.parent, |to, place| to.number(place.into()));
        self.option(extra.previous, |to, place| to.number(place.into()));
        self.option(extra.superseded, Self::wall);
        self.bool(extra.promised);
        self.option(extra.within, |to, (start, end)| {
            to.wall(start);
            to.wall(end);
        });
        self.answered(extra.url.as_deref(), &extra.attributes);
        self.number(extra.dropped_attributes.into());
    }

    fn answered(&mut self, url: Option<&str>, attributes: &Attributes) {
        self.option(url, Self::text);
        self.list(attributes.iter(), Self::attribute);
    }
}

fn has_more(stage: &Stage) -> bool {
    let open = stage.open.as_deref();
    stage.attempt != 1
        || stage.fate == Fate::LeftOut
        || open.is_some_and(|open| {
            open.settling > 0 || open.seen.queued().is_some() || open.extra.is_some()
        })
}

/// `None` everywhere: the bytes are damaged.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn record(mut self, version: u8) -> Option<Record> {
        let monitor = self.text()?;
        let deadline = self.wall()?;
        let id = self.text()?;
        if id.is_empty() || id.len() > limits::WORKFLOW_ID_BYTES_MAX {
            return None;
        }
        let mut workflow = Workflow {
            id: id.into(),
            run_identity: RunIdentity::Event,
            attempt: self.option(Self::small)?,
            trace_id: TraceId::from_bytes(self.array()?)?,
            parent: self.option(Self::context)?.map(Box::new),
            sampled: self.bool()?,
            submitted_at: self.option(Self::wall)?,
            received_at: self.wall()?,
            source: self.option(Self::text)?,
            attributes: self
                .list(limits::EVENT_ATTRIBUTES_MAX, Self::attribute)?
                .into(),
            seen: self.seen()?,
            stages: self.list(limits::STAGES_MAX, Self::stage)?,
            finished_within: self.option(|from| Some((from.wall()?, from.wall()?)))?,
            settling: 0,
            extra: None,
            changed: false,
        };
        if version >= 2 {
            self.version_2(&mut workflow)?;
        }
        if version >= 3 {
            self.version_3(&mut workflow)?;
        }
        let in_order = workflow
            .finished_within
            .is_none_or(|(start, end)| start <= end);
        let finished = workflow.stages.iter().any(Stage::is_finished);
        let whole =
            self.0.is_empty() && in_order && (workflow.finished_within.is_none() || finished);
        let whole = whole && workflow.is_tree();
        whole.then_some(Record {
            monitor,
            deadline,
            workflow,
        })
    }

    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn wall(&mut self) -> Option<Wall> {
        self.signed().map(Wall::from_unix_ns)
    }

    fn bool(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<Box<str>> {
        let length = self.number()?.try_into().ok()?;
        std::str::from_utf8(self.take(length)?).ok().map(Box::from)
    }

    fn option<T>(&mut self, take: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.bool()? {
            true => take(self).map(Some),
            false => Some(None),
        }
    }

    fn list<T>(&mut self, max: usize, take: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count: usize = self.number()?.try_into().ok()?;
        if count > max {
            return None;
        }
        (0..count).map(|_| take(self)).collect()
    }

    fn context(&mut self) -> Option<TraceContext> {
        Some(TraceContext {
            trace_id: TraceId::from_bytes(self.array()?)?,
            span_id: SpanId::from_bytes(self.array()?)?,
            trace_flags: self.byte()?,
            trace_state: self.option(Self::text)?,
        })
    }

    fn attribute(&mut self) -> Option<(Box<str>, Value)> {
        let key = self.text()?;
        let value = match self.byte()? {
            0 => Value::Str(self.text()?),
            1 => Value::Int(self.signed()?),
            2 => Value::Float(f64::from_le_bytes(self.array()?)),
            3 => Value::Bool(self.bool()?),
            _ => return None,
        };
        Some((key, value))
    }

    fn stage(&mut self) -> Option<Stage> {
        let path = self.text()?;
        let finished = self.bool()?;
        let open = self.option(|from| {
            Some(OpenStage {
                kind: from.option(Self::text)?,
                id: from.option(Self::text)?,
                seen: from.seen()?,
                answered: false,
                settling: 0,
                extra: None,
            })
        })?;
        let fate = match finished {
            true => Fate::Finished,
            false => Fate::Unfinished,
        };
        // What is finished keeps nothing open.
        (!finished || open.is_none()).then_some(Stage {
            path,
            attempt: 1,
            fate,
            failed: false,
            open: open.map(Box::new),
        })
    }

    fn seen(&mut self) -> Option<Seen> {
        // As many as any limit of a span's events lets gather.
        const EVENTS_MAX: usize = 1 << 20;
        let mut seen = Seen {
            state: match self.byte()? {
                0 => State::Pending,
                1 => State::Running,
                2 => State::Ended(Outcome::Success),
                3 => State::Ended(Outcome::Failure),
                4 => State::Ended(Outcome::Error),
                5 => State::Ended(Outcome::Timeout),
                6 => State::Ended(Outcome::Cancellation),
                7 => State::Ended(Outcome::Skip),
                _ => return None,
            },
            start: self.option(Self::wall)?,
            end: self.option(Self::wall)?,
            extra: self.option(Self::text)?.map(|error| {
                Box::new(SeenExtra {
                    error: Some(error),
                    ..SeenExtra::default()
                })
            }),
            started_seen: self.option(Self::wall)?,
            ended_seen: self.option(Self::wall)?,
            events: self.list(EVENTS_MAX, |from| {
                Some(SpanEvent {
                    time: from.wall()?,
                    name: from.text()?,
                })
            })?,
        };
        let dropped = self.option(|from| {
            Some(DroppedEvents {
                count: from.small()?,
                last: from.text()?,
            })
        })?;
        if dropped.is_some() {
            seen.extra.get_or_insert_default().dropped = dropped;
        }
        Some(seen)
    }

    fn version_2(&mut self, workflow: &mut Workflow) -> Option<()> {
        workflow.settling = self.settling()?;
        self.queued(&mut workflow.seen)?;
        let extra = self.option(|from| {
            Some(Extra {
                submitter: from.option(Self::context)?,
                follows: from.bool()?,
                attempt: from.option(Self::small)?,
                url: from.option(Self::text)?,
                attributes: from.answered_attributes()?,
                dropped_attributes: from.small()?,
                answered_at: None,
                finish: None,
            })
        })?;
        workflow.extra = extra.map(Box::new);
        let stages = &mut workflow.stages;
        for _ in 0..self.number()? {
            let place: usize = self.number()?.try_into().ok()?;
            let stage = stages.get_mut(place)?;
            stage.attempt = self.small()?;
            if self.bool()? {
                (stage.fate == Fate::Finished).then(|| stage.fate = Fate::LeftOut)?;
            }
            match (self.bool()?, &mut stage.open) {
                (true, Some(open)) => {
                    open.settling = self.settling()?;
                    self.queued(&mut open.seen)?;
                    open.extra = self.option(Self::stage_extra)?.map(Box::new);
                }
                (false, None) => {}
                _ => return None,
            }
        }
        self.seen_before_end(workflow)
    }

    fn version_3(&mut self, workflow: &mut Workflow) -> Option<()> {
        workflow.run_identity = match self.bool()? {
            true => RunIdentity::Attempt,
            false => RunIdentity::Event,
        };
        Some(())
    }

    fn seen_before_end(&mut self, workflow: &mut Workflow) -> Option<()> {
        let answered_at = self.option(Self::wall)?;
        if answered_at.is_some() {
            workflow.extra.get_or_insert_default().answered_at = answered_at;
        }
        for _ in 0..self.number()? {
            let place: usize = self.number()?.try_into().ok()?;
            let stage = workflow.stages.get_mut(place)?;
            // Only what has a span is known to have failed.
            (stage.fate == Fate::Finished).then(|| stage.failed = true)?;
        }
        Some(())
    }

    fn settling(&mut self) -> Option<u8> {
        self.byte().filter(|polls| *polls <= limits::SETTLE_POLLS)
    }

    fn queued(&mut self, seen: &mut Seen) -> Option<()> {
        let queued = self.option(Self::wall)?;
        if queued.is_some() {
            seen.extra.get_or_insert_default().queued = queued;
        }
        Some(())
    }

    fn stage_extra(&mut self) -> Option<StageExtra> {
        let extra = StageExtra {
            parent: self.option(Self::small)?,
            previous: self.option(Self::small)?,
            superseded: self.option(Self::wall)?,
            promised: self.bool()?,
            within: self.option(|from| Some((from.wall()?, from.wall()?)))?,
            url: self.option(Self::text)?,
            attributes: self.answered_attributes()?,
            dropped_attributes: self.small()?,
        };
        let in_order = extra.within.is_none_or(|(start, end)| start <= end);
        in_order.then_some(extra)
    }

    fn answered_attributes(&mut self) -> Option<Attributes> {
        let all = self.list(limits::ANSWERED_ATTRIBUTES_MAX, Self::attribute)?;
        Some(all.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::{Sampling, StartEvent};
    use crate::core::sampler::{Sampler, SpanLimits};
    use crate::core::snapshot::{Progress, Snapshot, StageSnapshot};
    use crate::core::workflow::{ContextUse, Naming, Verdict};
    use arbtest::arbitrary::{Result as Arbitrary, Unstructured};

    fn arbitrary_workflow(u: &mut Unstructured<'_>) -> Arbitrary<Workflow> {
        let naming = Naming {
            skipped: u.arbitrary()?,
            run_identity: *u.choose(&[RunIdentity::Event, RunIdentity::Attempt])?,
            context: *u.choose(&[ContextUse::Parent, ContextUse::Link])?,
            ..Naming::new("default", "Workflow", SpanLimits::default())
        };
        let wall = |u: &mut Unstructured<'_>| Arbitrary::Ok(Wall::from_unix_ns(u.arbitrary()?));
        let parent = TraceContext::from_w3c(
            "00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-03",
            Some("a=1"),
        );
        let event = StartEvent {
            monitor: 0,
            workflow_id: "w".into(),
            submitted_at: u.arbitrary::<bool>()?.then_some(wall(u)?),
            attempt: u.arbitrary()?,
            parent: parent
                .filter(|_| u.arbitrary().unwrap_or(false))
                .map(Box::new),
            sampling: Sampling::AsParent,
            attributes: [
                ("a".into(), Value::Int(u.arbitrary()?)),
                ("b".into(), Value::Bool(u.arbitrary()?)),
                ("c".into(), Value::Str(u.arbitrary::<&str>()?.into())),
                ("d".into(), Value::Float(0.25)),
            ]
            .into(),
            source: u.arbitrary::<Option<&str>>()?.map(Box::from),
        };
        let mut workflow = Workflow::new(event, &naming, &Sampler::default(), wall(u)?);
        let progress = |u: &mut Unstructured<'_>| {
            let states = [
                State::Pending,
                State::Running,
                State::Ended(Outcome::Success),
                State::Ended(Outcome::Failure),
                State::Ended(Outcome::Cancellation),
                State::Ended(Outcome::Skip),
            ];
            Arbitrary::Ok(Progress {
                queued: u.arbitrary::<bool>()?.then_some(wall(u)?),
                status: u.arbitrary::<Option<&str>>()?.map(Box::from),
                state: *u.choose(&states)?,
                start: u.arbitrary::<bool>()?.then_some(wall(u)?),
                end: u.arbitrary::<bool>()?.then_some(wall(u)?),
                error: u.arbitrary::<Option<&str>>()?.map(Box::from),
            })
        };
        let attributes = |u: &mut Unstructured<'_>| {
            let one = ("e".into(), Value::Str(u.arbitrary::<&str>()?.into()));
            Arbitrary::Ok(Attributes::from_iter(u.arbitrary::<bool>()?.then_some(one)))
        };
        for _ in 0..u.int_in_range(0..=3)? {
            let mut stages = Vec::new();
            for _ in 0..u.int_in_range(0..=5)? {
                let path = |n: u8| Box::from(format!("s{n}"));
                let parent = u.arbitrary::<Option<u8>>()?;
                stages.push(StageSnapshot {
                    path: path(u.int_in_range(0..=3)?),
                    parent: parent.map(|n| path(n % 4)),
                    attempt: u.int_in_range(0..=2)?,
                    url: u.arbitrary::<Option<&str>>()?.map(Box::from),
                    attributes: attributes(u)?,
                    kind: u.arbitrary::<&str>()?.into(),
                    id: u.arbitrary::<Option<&str>>()?.map(Box::from),
                    progress: progress(u)?,
                });
            }
            let snapshot = Snapshot {
                workflow_id: None,
                progress: progress(u)?,
                attempt: u.arbitrary()?,
                url: u.arbitrary::<Option<&str>>()?.map(Box::from),
                attributes: attributes(u)?,
                stages: stages.into(),
            };
            let before = workflow.clone();
            if u.arbitrary()? {
                workflow.set_answered(wall(u)?);
            }
            let verdict = workflow.observe(snapshot, wall(u)?, &naming, &mut Vec::new());
            if verdict != Verdict::Watching {
                return Ok(before);
            }
        }
        Ok(workflow)
    }

    #[test]
    fn a_record_is_the_workflow() {
        arbtest::arbtest(|u| {
            let workflow = arbitrary_workflow(u)?;
            let deadline = Wall::from_unix_ns(u.arbitrary()?);
            let bytes = encode("default", deadline, &workflow);
            let record = decode(&bytes).expect("what was encoded is read");
            assert_eq!((&*record.monitor, record.deadline), ("default", deadline));
            let unchanged = |mut workflow: Workflow| {
                workflow.take_changed();
                format!("{workflow:?}")
            };
            assert_eq!(unchanged(record.workflow), unchanged(workflow));
            Ok(())
        });
    }

    #[test]
    fn a_damaged_record_is_refused_and_never_panics() {
        arbtest::arbtest(|u| {
            let mut bytes = encode("default", Wall::from_unix_ns(0), &arbitrary_workflow(u)?);
            for _ in 0..u.int_in_range(1..=4)? {
                let at = u.choose_index(bytes.len())?;
                bytes[at] = u.arbitrary()?;
            }
            bytes.truncate(u.int_in_range(0..=bytes.len())?);
            if let Ok(record) = decode(&bytes) {
                let again = encode(&record.monitor, record.deadline, &record.workflow);
                assert!(decode(&again).is_ok());
                record.workflow.check_invariants();
            }
            Ok(())
        });
    }

    #[test]
    fn a_record_with_stages_that_are_part_of_nothing_or_of_themselves_is_refused() {
        let naming = Naming::new("default", "Workflow", SpanLimits::default());
        let event = StartEvent {
            monitor: 0,
            workflow_id: "w".into(),
            submitted_at: None,
            attempt: None,
            parent: None,
            sampling: Sampling::AsParent,
            attributes: Attributes::default(),
            source: None,
        };
        let now = Wall::from_unix_ns(0);
        let mut workflow = Workflow::new(event, &naming, &Sampler::default(), now);
        for (path, fate) in [
            ("a", Fate::Unfinished),
            ("b", Fate::Unfinished),
            ("c", Fate::Finished),
        ] {
            let open = (fate == Fate::Unfinished).then(Box::default);
            workflow.stages.push(Stage {
                path: path.into(),
                attempt: 1,
                fate,
                failed: false,
                open,
            });
        }
        let mut read = |of_a, of_b, previous| {
            for (stage, parent) in workflow.stages.iter_mut().zip([of_a, of_b]) {
                let open = stage.open.as_mut().expect("it is open");
                open.extra = Some(Box::new(StageExtra {
                    parent,
                    previous,
                    ..StageExtra::default()
                }));
            }
            decode(&encode("default", now, &workflow)).map(|_| ())
        };
        assert_eq!(read(Some(1), None, Some(2)), Ok(()));
        let damaged = Err(Unreadable::Damaged);
        assert_eq!(read(Some(1), Some(0), None), damaged);
        assert_eq!(read(Some(0), None, None), damaged);
        assert_eq!(read(None, Some(2), None), damaged, "that one is finished");
        assert_eq!(read(None, Some(3), None), damaged);
        assert_eq!(read(None, None, Some(3)), damaged);
    }

    #[test]
    fn what_a_later_version_wrote_is_left_alone() {
        let newer = [VERSION + 1, 0];
        assert_eq!(decode(&newer).unwrap_err(), Unreadable::Newer(VERSION + 1));
        assert_eq!(decode(&[]).unwrap_err(), Unreadable::Damaged);
        assert_eq!(decode(&[0]).unwrap_err(), Unreadable::Damaged);
    }
}
