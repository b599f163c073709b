//! What answers have said so far: the progress of a workflow or a stage, its URL and its attributes.

use super::record::Unknown;
use super::spans::shortened;
use crate::event::{self, Value};
use crate::limits;
use crate::limits::cut;
use crate::outcome::Outcome;
use crate::shared_texts::SharedTexts;
use crate::snapshot::{Progress, State};
use crate::span::SpanEvent;
use crate::time::Wall;

/// What the answers so far have said of a workflow's or a stage's progress.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    pub(super) state: State,
    pub(super) start: Option<Wall>,
    pub(super) end: Option<Wall>,
    /// When it was first seen running or ended.
    pub(super) started_seen: Option<Wall>,
    /// When it was first seen ended.
    pub(super) ended_seen: Option<Wall>,
    /// The status events. The name of the last one is the status, unless `dropped` has a later one.
    pub(super) events: Vec<SpanEvent>,
    pub(super) extra: Option<Box<ObservedExtra>>,
}

/// The parts of an [`Observed`] that few have.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ObservedExtra {
    pub(super) queued: Option<Wall>,
    pub(super) error: Option<Box<str>>,
    pub(super) dropped: Option<DroppedEvents>,
    pub(super) unknown: Unknown,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct DroppedEvents {
    pub(super) count: u32,
    pub(super) last: Box<str>,
}

/// URL and attributes as the answers have them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reported {
    pub(super) url: Option<Box<str>>,
    pub(super) attributes: event::Attributes,
    /// The most attributes of one answer that there was no room for.
    pub(super) dropped: u32,
}

/// How many more status events are kept.
pub(super) struct EventRoom {
    /// Of one span, in all.
    pub(super) of_span: usize,
    /// Of the workflow and its stages together, from now on.
    pub(super) of_workflow: usize,
}

/// What an answer has changed in an [`Observed`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Observation {
    /// Whether anything has changed.
    pub(super) changed: bool,
    /// When the status changed, if it did.
    pub(super) new_status_at: Option<Wall>,
    /// Whether it was seen running for the first time.
    pub(super) has_started: bool,
}

impl Observation {
    /// Whether it may be shown before the span is finished.
    pub(super) fn is_news(&self) -> bool {
        self.new_status_at.is_some() || self.has_started
    }
}

impl Observed {
    /// Takes in the progress of an answer that was given at `at`.
    pub(super) fn observe(
        &mut self,
        progress: Progress<&str>,
        at: Wall,
        room: &mut EventRoom,
    ) -> Observation {
        let facts = |seen: &Observed| {
            (
                (seen.state, seen.start, seen.end),
                (seen.started_seen, seen.ended_seen, seen.queued()),
                (seen.events.len(), seen.dropped_events()),
            )
        };
        let before = facts(self);
        let mut new_status_at = None;
        if let Some(status) = progress.status
            && status != self.status()
        {
            // The observer's clock may have been set back.
            let time = self.events.last().map_or(at, |last| at.max(last.time));
            new_status_at = Some(time);
            if self.events.len() < room.of_span && room.of_workflow > 0 {
                room.of_workflow -= 1;
                // There are few, and they are kept for long: room for more would be wasted.
                self.events.reserve_exact(1);
                self.events.push(SpanEvent {
                    time,
                    name: status.into(),
                });
            } else {
                let count = self.dropped_events().saturating_add(1);
                let last = status.into();
                self.extra.get_or_insert_default().dropped = Some(DroppedEvents { count, last });
            }
        }
        let has_started = progress.state == State::Running && self.started_seen.is_none();
        self.state = progress.state;
        if self.state != State::Pending {
            self.started_seen.get_or_insert(at);
        }
        if let State::Ended(_) = self.state {
            self.ended_seen.get_or_insert(at);
        } else {
            self.ended_seen = None;
        }
        self.start = progress.start.or(self.start);
        // An end that is reported while it still runs is an estimate.
        self.end = match self.state {
            State::Ended(_) => progress.end.or(self.end),
            State::Pending | State::Running => None,
        };
        if progress.queued.is_some() {
            self.extra.get_or_insert_default().queued = progress.queued;
        }
        let has_new_error = progress.error.is_some() && progress.error != self.error();
        if has_new_error {
            self.extra.get_or_insert_default().error = progress.error.map(Into::into);
        }
        Observation {
            changed: has_new_error || facts(self) != before,
            new_status_at,
            has_started,
        }
    }

    /// Its statuses are in memory once.
    pub(super) fn share_texts(&mut self, texts: &mut SharedTexts) {
        for event in &mut self.events {
            texts.share(&mut event.name);
        }
    }

    /// The API's latest status; empty before the first.
    pub(super) fn status(&self) -> &str {
        match (self.dropped(), self.events.last()) {
            (Some(dropped), _) => &dropped.last,
            (None, Some(event)) => &event.name,
            (None, None) => "",
        }
    }

    pub(super) fn dropped_events(&self) -> u32 {
        self.dropped().map_or(0, |dropped| dropped.count)
    }

    pub(super) fn dropped(&self) -> Option<&DroppedEvents> {
        self.extra.as_ref()?.dropped.as_ref()
    }

    pub(super) fn queued(&self) -> Option<Wall> {
        self.extra.as_ref()?.queued
    }

    pub(super) fn error(&self) -> Option<&str> {
        self.extra.as_ref()?.error.as_deref()
    }

    pub(super) fn is_skipped_timelessly(&self) -> bool {
        let timeless = self.start.is_none() && self.end.is_none();
        timeless && self.state == State::Ended(Outcome::Skip)
    }

    /// The reported end of what has ended. An end before the start is an error of the API and says nothing.
    pub(super) fn plausible_end(&self) -> Option<Wall> {
        let State::Ended(_) = self.state else {
            return None;
        };
        self.end
            .filter(|end| self.start.is_none_or(|start| start <= *end))
    }

    /// Whether it was ever seen running, even if a later answer says otherwise.
    pub(super) fn has_run(&self) -> bool {
        self.started_seen.is_some()
    }

    pub(super) fn has_times(&self) -> bool {
        self.start.is_some() && self.end.is_some()
    }

    /// The one moment of what was skipped before it ran, where its API does not report both times: a reported one, else
    /// `otherwise`.
    pub(super) fn skipped_at(&self, otherwise: Wall) -> Option<Wall> {
        let never_ran = self.started_seen == self.ended_seen;
        let is_skipped = self.state == State::Ended(Outcome::Skip) && never_ran;
        let reported = self.start.or(self.end).or(self.queued());
        (is_skipped && !self.has_times()).then(|| reported.unwrap_or(otherwise))
    }

    /// The reported end, else the first time it was seen to have ended, else `seen`. Never before the start.
    pub(super) fn best_end(&self, seen: Wall) -> Wall {
        let end = self.end.unwrap_or(self.ended_seen.unwrap_or(seen));
        self.start.map_or(end, |start| end.max(start))
    }

    /// The reported start, else the first time it was seen running, but not after the end.
    pub(super) fn best_start(&self, end: Wall) -> Wall {
        self.start
            .unwrap_or_else(|| self.started_seen.unwrap_or(end).min(end))
    }
}

impl Reported {
    /// Takes in the URL and the attributes of an answer. What it does not name stays as it was, and what there is no
    /// room for is left out; `room` is in bytes. Returns whether this changed anything.
    pub(super) fn observe(
        &mut self,
        url: Option<&str>,
        attributes: &[(Box<str>, Value)],
        room: &mut usize,
    ) -> bool {
        let has_new_url = self.observe_url(url, room);
        if *attributes == *self.attributes {
            return has_new_url;
        }
        let mut changed = has_new_url;
        let mut all = std::mem::take(&mut self.attributes).into_vec();
        let mut dropped = 0;
        for (key, value) in attributes.iter().cloned() {
            let value = match value {
                Value::Str(text) => Value::Str(shortened(text, limits::ATTRIBUTE_BYTES_MAX)),
                other => other,
            };
            let known = all.iter().position(|(known, _)| *known == key);
            let before = known.map_or(0, |index| attribute_bytes(&all[index]));
            let attribute = (key, value);
            let bytes = attribute_bytes(&attribute);
            let is_one_too_many = known.is_none() && all.len() >= limits::ANSWERED_ATTRIBUTES_MAX;
            if bytes > *room + before || is_one_too_many {
                dropped += 1;
                continue;
            }
            match known {
                Some(index) if all[index] == attribute => continue,
                Some(index) => all[index] = attribute,
                None => all.push(attribute),
            }
            *room = *room + before - bytes;
            changed = true;
        }
        changed |= self.dropped < dropped;
        self.dropped = self.dropped.max(dropped);
        self.attributes = all.into();
        changed
    }

    fn observe_url(&mut self, url: Option<&str>, room: &mut usize) -> bool {
        let Some(url) = url.map(|url| cut(url, limits::ATTRIBUTE_BYTES_MAX)) else {
            return false;
        };
        let before = self.url.as_ref().map_or(0, |url| url.len());
        if url.len() > *room + before || Some(url) == self.url.as_deref() {
            return false;
        }
        *room = *room + before - url.len();
        self.url = Some(url.into());
        true
    }

    /// The bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        let attributes = self.attributes.iter().map(attribute_bytes);
        self.url.as_ref().map_or(0, |url| url.len()) + attributes.sum::<usize>()
    }
}

fn attribute_bytes((key, value): &(Box<str>, Value)) -> usize {
    let value = match value {
        Value::Str(text) => text.len(),
        Value::Int(_) | Value::Float(_) | Value::Bool(_) => size_of::<Value>(),
    };
    // The record also has their lengths and the type of the value.
    8 + key.len() + value
}
