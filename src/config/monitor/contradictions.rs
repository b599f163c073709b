//! Mistakes that take several keys, or several monitors, to see.

use super::{MonitorConfig, ReceiverConfig};
use crate::config::Redis;
use crate::core::snapshot::State;
use crate::features::{self, Feature};
use crate::mapping::definition::{Definition, Meaning, UnknownStatus};
use crate::mapping::template::BodyTemplate;
use crate::syntax::mistake::{Mistake, Mistakes, Path};
use crate::syntax::text::shown;
use crate::syntax::values;

/// What `poll` has about statuses.
pub(super) struct PollWords {
    /// The statuses of `interval_by_status`, as they are written.
    pub(super) statuses: Vec<Box<str>>,
    /// Whether a workflow ends when its API is gone.
    pub(super) may_go: bool,
}

/// What can be read and cannot work. `is_reported` says whether a mistake was found at a path already.
pub(super) fn contradictions(
    definition: &Definition,
    poll: &PollWords,
    is_reported: &dyn Fn(&Path) -> bool,
) -> Vec<(Path, String)> {
    let mut found = Vec::new();
    let key = |key: &str| Path::of(&[key]);
    let Definition {
        request,
        workflow,
        statuses,
        status_names,
        ..
    } = definition;
    let in_body = request.body.iter().flat_map(BodyTemplate::names);
    if request.path.names().count() + in_body.count() == 0 && !is_reported(&key("request")) {
        let what = "names neither {id} nor a part of it, so that the answer is the same for all workflows; write \
                    /runs/{id}";
        found.push((Path::of(&["request", "path"]), what.to_owned()));
    }
    let fields = &workflow.fields;
    let is_end = |meaning: &Meaning| matches!(meaning, Meaning::State(State::Ended(_)));
    let ends = statuses.iter().any(|(_, meaning)| is_end(meaning))
        || matches!(
            definition.unknown_status,
            UnknownStatus::Means(State::Ended(_))
        )
        || !fields.complete.is_empty()
        || poll.may_go;
    let may_end = [
        key("workflow"),
        key("unknown_status"),
        Path::of(&["poll", "gone"]),
    ];
    // No statuses, and no status to read, are mistakes of their own.
    if !ends
        && !statuses.is_empty()
        && !fields.status.is_empty()
        && !may_end.iter().any(is_reported)
    {
        let what = "no word means an end (success, failure, error, timeout, cancellation or skip), and there is no \
                    workflow.complete: no workflow would ever end";
        found.push((key("statuses"), what.to_owned()));
    }
    let names = status_names.iter().map(|(_, name)| &**name);
    let known = statuses.iter().map(|(word, _)| &**word).chain(names);
    // Upper and lower case are one word.
    let known: Vec<String> = known.map(str::to_lowercase).collect();
    for word in &poll.statuses {
        let lower = word.to_lowercase();
        if known.contains(&lower) || known.is_empty() || is_reported(&key("statuses")) {
            continue;
        }
        let meant = values::nearest(&lower, known.iter().map(String::as_str));
        let remedy = match meant {
            Some(meant) => format!("did you mean '{}'?", shown(meant)),
            None => "add it there with its meaning".to_owned(),
        };
        let what = format!("is not among the statuses; {remedy}");
        found.push((Path::of(&["poll", "interval_by_status", word]), what));
    }
    found
}

impl MonitorConfig {
    /// The channels and streams that the settings' Redis does not allow.
    pub(in crate::config) fn mistakes_of_redis(&self, redis: Option<&Redis>) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        for (group, key, name) in self.redis_names() {
            let mut add = |what: String| {
                let place = self.written.place.key(group).key(key);
                mistakes.push(Mistake { place, what });
            };
            if let Some(missing) = features::missing(&[Feature::Redis]) {
                add(missing);
                continue;
            }
            let Some(redis) = redis else {
                add("needs FARSPAN_REDIS_URL (redis.url), which is not set".to_owned());
                continue;
            };
            let common = if key == "redis_channel" {
                (*name == redis.channel).then_some("redis.channel")
            } else {
                (Some(name) == redis.stream.as_ref()).then_some("redis.stream")
            };
            let why = if group == "events" {
                "which is for all monitors; leave it out"
            } else {
                "where it would be read as a start event"
            };
            if let Some(common) = common {
                add(format!("is {common}, {why}"));
            }
        }
        mistakes
    }

    /// Its channels and streams, with the keys that name them.
    fn redis_names(&self) -> Vec<(&'static str, &'static str, &String)> {
        let (channel, stream) = match &self.finished {
            Some(ReceiverConfig::RedisChannel(channel)) => (Some(channel), None),
            Some(ReceiverConfig::RedisStream { key, .. }) => (None, Some(key)),
            Some(ReceiverConfig::Http { .. }) | None => (None, None),
        };
        let events = &self.events;
        let names = [
            ("events", "redis_channel", events.redis_channel.as_ref()),
            ("events", "redis_stream", events.redis_stream.as_ref()),
            ("finished", "redis_channel", channel),
            ("finished", "redis_stream", stream),
        ];
        (names.into_iter())
            .filter_map(|(group, key, name)| Some((group, key, name?)))
            .collect()
    }
}

/// A channel or a stream is read for one monitor only, and finished events do not go where start events are read.
pub(super) fn report_sharing(monitors: &[MonitorConfig], mistakes: &Mistakes) {
    for (number, monitor) in monitors.iter().enumerate() {
        for (group, key, name) in monitor.redis_names() {
            let (others, why) = if group == "events" {
                let why = "leave it out in both, and let events name their monitor";
                (&monitors[..number], why)
            } else {
                (monitors, "it would be read as a start event")
            };
            let reads = |other: &MonitorConfig| {
                let mut names = other.redis_names().into_iter();
                names.any(|read| read == ("events", key, name))
            };
            if let Some(other) = others.iter().find(|other| reads(other)) {
                let place = monitor.written.place.key(group).key(key);
                let what = format!("is that of '{}'; {why}", other.name);
                mistakes.add(place, what);
            }
        }
    }
}
