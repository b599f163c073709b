//! The monitors of the configuration file: which systems are watched, how they are asked, and what their answers mean.
//!
//! A monitor may name a preset, which is a monitor too; what the monitor says itself is merged over it, as RFC 7396
//! merges. What neither says are the settings for all (`poll.interval` and so on).
//!
//! An event is for the monitor that it names. One that names none is for the monitor whose own channel or stream it came
//! from; else for the only one that has neither, nor discovery.

use super::json::{Node, Object, kind_of, merge};
use super::otel::{self, PemKind};
use super::values::{self, Reason, shown};
use super::{Api, Pem, Poll, Redis, Secret};
use crate::api::credentials::{Auth, SecretSource};
use crate::core::snapshot::{Outcome, State};
use crate::core::workflow::ContextUse;
use crate::core::{Adaptive, Pace};
use crate::mapping::Mapping;
use crate::mapping::definition::{
    Children, Definition, Fields, Meaning, Method, Mistake, Pages, Parent, Request, Stages,
    TimeFormat, Times, UnknownStatus, UnsetTime, WorkflowFields,
};
use crate::mapping::pointer::Pointer;
use crate::mapping::template::{BodyTemplate, IdPattern, Template, push_segment};
use crate::os::files;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use ureq::http::{HeaderName, HeaderValue};

/// One system that is watched.
#[derive(Clone, Debug)]
pub struct Monitor {
    /// Unique; part of every id.
    pub name: String,
    /// Where and how to ask.
    pub api: MonitorApi,
    /// Where its start events come from, beside the sources for all.
    pub events: Events,
    /// When to ask.
    pub poll: Pace,
    /// What to ask, and what the answers mean.
    pub mapping: Arc<Mapping>,
    /// What its spans are like.
    pub spans: Spans,
    /// What is different in its resource.
    pub service: Service,
    /// What becomes of the submitter's trace context.
    pub context: Context,
    /// How runs are found that nobody announces.
    pub discovery: Option<Discovery>,
    /// Who is told when a workflow has finished.
    pub finished: Option<Finished>,
    pub(super) written: Written,
}

impl Monitor {
    /// What does not go with the settings' Redis.
    pub(super) fn mistakes_of_redis(&self, redis: Option<&Redis>) -> Vec<String> {
        let (channel, stream) = (&self.events.redis_channel, &self.events.redis_stream);
        let (finished_channel, finished_stream) = match &self.finished {
            Some(Finished::RedisChannel(channel)) => (Some(channel), None),
            Some(Finished::RedisStream { key, .. }) => (None, Some(key)),
            _ => (None, None),
        };
        let keys = [
            ("events.redis_channel", channel.as_ref()),
            ("events.redis_stream", stream.as_ref()),
            ("finished.redis_channel", finished_channel),
            ("finished.redis_stream", finished_stream),
        ];
        let set = keys
            .into_iter()
            .filter_map(|(key, name)| Some((key, name?)));
        let mistakes = set.filter_map(|(key, name)| {
            let Some(redis) = redis else {
                let what = " needs FARSPAN_REDIS_URL (redis.url), which is not set";
                return Some(format!("{}.{key}{what}", self.written.place));
            };
            let of_settings = match key.ends_with("channel") {
                true => (*name == redis.channel).then_some("redis.channel"),
                false => (Some(name) == redis.stream.as_ref()).then_some("redis.stream"),
            };
            let what = match key.starts_with("events.") {
                true => "which is for all monitors; leave it out",
                false => "where it would be taken for a start",
            };
            let what = format!(": is {}, {what}", of_settings?);
            Some(format!("{}.{key}{what}", self.written.place))
        });
        mistakes.collect()
    }

    /// The key that says where its API is, for people.
    pub fn base_url_key(&self) -> String {
        let api = self.written.members.get("api");
        match api.is_some_and(|api| api.get("base_url").is_some()) {
            true => format!("{}.api.base_url", self.written.place),
            false => "FARSPAN_API_BASE_URL (api.base_url)".to_owned(),
        }
    }

    /// The key that says who farspan is to its API, for people.
    pub fn credential_key(&self) -> String {
        let given = |key: &str, source: &SecretSource| match source {
            SecretSource::Given(_) => key.to_owned(),
            SecretSource::File(..) => format!("{key}_file"),
        };
        let key = match &self.api.auth {
            Auth::None => String::new(),
            Auth::Bearer(token) => given(".token", token),
            Auth::Basic { password, .. } => given(".password", password),
            Auth::Header { value, .. } => given(".value", value),
            Auth::OAuth2 { client_secret, .. } => given(".client_secret", client_secret),
            Auth::Login { body, .. } => match body {
                SecretSource::Given(_) => ".body".to_owned(),
                SecretSource::File(..) => ".body_file".to_owned(),
            },
        };
        let api = self.written.members.get("api");
        let is_own = api.is_some_and(|api| api.get("auth").is_some());
        let of_settings = match &self.api.auth {
            // By a setting, or one of systemd's credentials.
            Auth::Bearer(SecretSource::File(path, _)) => {
                let path = path.to_string_lossy();
                format!("FARSPAN_API_TOKEN (api.token) in '{}'", shown(&path))
            }
            _ => "FARSPAN_API_TOKEN (api.token)".to_owned(),
        };
        match self.written.place.as_str() {
            place if is_own => format!("{place}.api.auth{key}"),
            "" => of_settings,
            place if self.api.auth == Auth::None => format!("{place}.api.auth"),
            place => format!("{of_settings}, which {place} takes over,"),
        }
    }

    /// For the log: `monitors[0] (airflow)`.
    pub(super) fn title(&self) -> String {
        let place = self.written.place.rsplit(": ").next();
        place.unwrap_or_default().to_owned()
    }

    /// Takes over what can change while farspan runs: when to ask, and secrets. Says what is otherwise, and whether it
    /// is in force.
    pub(super) fn take_over(&mut self, newer: &Monitor) -> Vec<(String, bool)> {
        let title = newer.title();
        let mut told = Vec::new();
        let (old, new) = (&self.written.members, &newer.written.members);
        let mut keys: Vec<_> = old.keys().chain(new.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            match key.as_str() {
                "poll" => {
                    let changed = changes(old.get(key), new.get(key));
                    told.extend(changed.map(|what| (format!("{title}.poll.{what}"), true)));
                }
                "api" => {
                    let is_same = self.api.base_url == newer.api.base_url;
                    let changed = changes_of_api(old.get(key), new.get(key));
                    let changed = changed.into_iter();
                    let changed = changed.map(|(what, is_secret)| {
                        (format!("{title}.api.{what}"), is_secret && is_same)
                    });
                    told.extend(changed);
                }
                // Neither changes anything by itself.
                "preset" | "description" | "$schema" => {}
                _ if old.get(key) == new.get(key) => {}
                _ => told.push((format!("{title}.{key} is otherwise"), false)),
            }
        }
        for (key, old, new) in [
            (
                "certificate_file",
                &self.api.certificate,
                &newer.api.certificate,
            ),
            (
                "client_certificate_file",
                &self.api.client_certificate,
                &newer.api.client_certificate,
            ),
            (
                "client_key_file",
                &self.api.client_key,
                &newer.api.client_key,
            ),
        ] {
            let bytes = |pem: &Option<Pem>| pem.as_ref().map(|pem| pem.bytes.clone());
            let path = |pem: &Option<Pem>| pem.as_ref().map(|pem| pem.path.clone());
            if path(old) == path(new) && bytes(old) != bytes(new) {
                told.push((format!("{title}.api.{key} holds another one"), false));
            }
        }
        self.poll = newer.poll.clone();
        match newer.written.members.get("poll") {
            Some(poll) => drop(self.written.members.insert("poll".to_owned(), poll.clone())),
            None => drop(self.written.members.remove("poll")),
        }
        let auth = |monitor: &Monitor| monitor.written.members.get("api")?.get("auth").cloned();
        let (old, new) = (auth(self), auth(newer));
        // A secret goes to nobody but the API that it was given for.
        let is_same_api = self.api.base_url == newer.api.base_url;
        if is_same_api && old.as_ref().map(redacted_auth) == new.as_ref().map(redacted_auth) {
            // Of one that says nothing it is that of the settings.
            self.api.auth = newer.api.auth.clone();
            let own = self
                .written
                .members
                .get_mut("api")
                .and_then(|api| api.get_mut("auth"));
            if let (Some(own), Some(new)) = (own, new) {
                *own = new;
            }
        }
        told
    }
}

/// The members of an object that are otherwise, with both values.
fn changes<'v>(
    old: Option<&'v Value>,
    new: Option<&'v Value>,
) -> impl Iterator<Item = String> + use<'v> {
    let members = |value: Option<&'v Value>| value.and_then(Value::as_object);
    let (old, new) = (members(old), members(new));
    let mut keys: Vec<_> = old.into_iter().chain(new).flat_map(Map::keys).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter().filter_map(move |key| {
        let value = |members: Option<&'v Map<String, Value>>| members.and_then(|m| m.get(key));
        let shown = |value: Option<&Value>| value.map_or("unset".to_owned(), Value::to_string);
        let (old, new) = (value(old), value(new));
        (old != new).then(|| format!("{key}: {}, before {}", shown(new), shown(old)))
    })
}

/// The same of an API, without its secrets: whether a secret is all that is otherwise is said beside it.
fn changes_of_api(old: Option<&Value>, new: Option<&Value>) -> Vec<(String, bool)> {
    let empty = Map::new();
    let members =
        |value: Option<&'_ Value>| value.and_then(Value::as_object).unwrap_or(&empty).clone();
    let (old, new) = (members(old), members(new));
    let mut keys: Vec<_> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    let mut told = Vec::new();
    for key in keys {
        let (old, new) = (old.get(key), new.get(key));
        if old == new {
            continue;
        }
        let is_secret = key == "auth" && old.map(redacted_auth) == new.map(redacted_auth);
        told.push(match is_secret {
            true => ("auth has another secret".to_owned(), true),
            false => (format!("{key} is otherwise"), false),
        });
    }
    told
}

fn redacted_auth(auth: &Value) -> Value {
    let mut auth = auth.clone();
    for key in ["token", "password", "value", "client_secret", "body"] {
        // In a login `token` is a pointer into the answer.
        let is_login = auth.get("type").is_some_and(|kind| kind == "login");
        if let Some(secret) = auth.get_mut(key).filter(|_| !(is_login && key == "token")) {
            *secret = Value::from("(redacted)");
        }
    }
    auth
}

/// As `farspan config` shows it: what it says itself and what its preset says, without secrets.
impl fmt::Display for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Written {
            place,
            preset,
            members,
        } = &self.written;
        write!(f, "monitor {}", self.name)?;
        if let Some(preset) = preset {
            write!(f, ", preset {preset}")?;
        }
        match place.as_str() {
            "" => writeln!(f, "  default")?,
            place => {
                let name = format!(" ({})", self.name);
                writeln!(f, "  {}", place.strip_suffix(&name).unwrap_or(place))?;
            }
        }
        let mut members = members.clone();
        members.retain(|key, _| !matches!(&**key, "name" | "preset" | "description" | "$schema"));
        if let Some(finished) = members.get_mut("finished") {
            if let Some(auth) = finished.get_mut("auth") {
                *auth = redacted_auth(auth);
            }
            if let Some(url) = finished.get_mut("url") {
                *url = values::redacted_url(url.as_str().unwrap_or_default()).into();
            }
        }
        let mut group = |key: &str, fill: &dyn Fn(&mut Map<String, Value>)| {
            let group = members.entry(key).or_insert(Value::Null);
            if !group.is_object() {
                *group = Value::Object(Map::new());
            }
            group.as_object_mut().into_iter().for_each(fill);
        };
        group("api", &|api| {
            if let Some(auth) = api.get_mut("auth") {
                *auth = redacted_auth(auth);
            }
            let headers = api.get_mut("headers").and_then(Value::as_object_mut);
            for header in headers.into_iter().flat_map(Map::values_mut) {
                *header = Value::from("(redacted)");
            }
            api.insert("base_url".to_owned(), self.api.base_url.as_str().into());
        });
        // What the settings say for it.
        group("poll", &|poll| {
            for (key, duration) in [
                ("initial_delay", self.poll.initial_delay),
                ("interval", self.poll.interval),
                ("timeout", self.poll.timeout),
            ] {
                let default = || Value::from(format!("{duration:?}"));
                poll.entry(key).or_insert_with(default);
            }
        });
        for (key, value) in members {
            writeln!(f, "  {key}: {value}")?;
        }
        Ok(())
    }
}

/// A monitor as it stands in the file, over its preset.
#[derive(Clone)]
pub(super) struct Written {
    /// `farspan.json: monitors[0] (airflow)`; empty where the file has no monitors.
    pub(super) place: String,
    pub(super) preset: Option<String>,
    /// With its secrets.
    pub(super) members: Map<String, Value>,
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

/// Where and how to ask.
#[derive(Clone, Debug)]
pub struct MonitorApi {
    /// Absolute, http or https, without a slash at its end.
    pub base_url: String,
    /// Sent with every request: lower-case names, each once.
    pub headers: Vec<(String, Secret)>,
    /// Who farspan is to it.
    pub auth: Auth,
    /// The roots to check its certificate against, in the place of the system's.
    pub certificate: Option<Pem>,
    /// farspan's own certificate chain; there if and only if `client_key` is.
    pub client_certificate: Option<Pem>,
    /// The key to `client_certificate`.
    pub client_key: Option<Pem>,
    /// Requests to this host at most, from this farspan.
    pub requests_per_second: Option<f64>,
    /// Whether polls carry the workflow's `traceparent`.
    pub send_traceparent: bool,
}

/// Where start events come from, beside the sources for all, and where they have what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Events {
    /// A pub/sub channel of the configured Redis.
    pub redis_channel: Option<String>,
    /// A stream of the configured Redis.
    pub redis_stream: Option<String>,
    /// Where an event has the id, or its parts by their names in the id's pattern. Empty: where all events have it.
    pub id: Vec<(Box<str>, Pointer)>,
    /// Where it has the time of submission.
    pub submitted_at: Option<Pointer>,
    /// Where it has the trace context.
    pub context: Option<Pointer>,
}

/// What spans are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spans {
    /// What a workflow's span is called.
    pub workflow: String,
    /// Whether the status of a success is Ok; else it is Unset, as the CI/CD conventions have it.
    pub status_ok: bool,
    /// Whether skipped stages have spans.
    pub skipped: bool,
    /// Whether time in a queue is a span.
    pub queued: bool,
}

/// What is different in the resource of a monitor's spans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// `service.name`.
    pub name: Option<String>,
    /// `service.namespace`.
    pub namespace: Option<String>,
    /// Others.
    pub attributes: Vec<(String, String)>,
}

/// What becomes of the submitter's trace context.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Its use.
    pub used_as: ContextUse,
    /// The keys of baggage that become attributes.
    pub baggage: Vec<String>,
}

/// A list of runs that is asked for those that are new.
#[derive(Clone, Debug, PartialEq)]
pub struct Discovery {
    /// The list; `{since}`, `{since_epoch}` and `{since_epoch_ms}` are the time from which on runs are wanted.
    pub request: Request,
    /// Where the answer has the array.
    pub list: Pointer,
    /// Where an element has the id, or its parts by their names in the id's pattern.
    pub id: Vec<(Box<str>, Pointer)>,
    /// Where it has the time of submission.
    pub submitted_at: Vec<Pointer>,
    /// Where it has the attempt.
    pub attempt: Vec<Pointer>,
    /// Only elements that have one of these values there.
    pub only: Vec<(Pointer, Vec<Box<str>>)>,
    /// How often to ask.
    pub interval: Duration,
    /// How far back.
    pub lookback: Duration,
}

/// Where it is told that a workflow has finished.
#[derive(Clone, Debug, PartialEq)]
pub enum Finished {
    /// A pub/sub channel of the configured Redis.
    RedisChannel(String),
    /// A stream of the configured Redis.
    RedisStream {
        /// Which.
        key: String,
        /// About how many entries it may have.
        length_max: u32,
    },
    /// A POST.
    Http {
        /// Where to: absolute, http or https.
        url: String,
        /// Who farspan is to it.
        auth: Auth,
    },
}

impl Finished {
    /// A URL without what may be secret in it.
    pub fn redacted(url: &str) -> String {
        values::redacted_url(url)
    }
}

/// The presets by name, in the order of the documentation.
pub const PRESETS: &[(&str, &str)] = &[
    ("farspan", include_str!("../../presets/farspan.json")),
    ("airflow", include_str!("../../presets/airflow.json")),
    (
        "argo-workflows",
        include_str!("../../presets/argo-workflows.json"),
    ),
    ("buildbot", include_str!("../../presets/buildbot.json")),
    ("databricks", include_str!("../../presets/databricks.json")),
    (
        "github-actions",
        include_str!("../../presets/github-actions.json"),
    ),
    ("gitlab", include_str!("../../presets/gitlab.json")),
    ("spark", include_str!("../../presets/spark.json")),
];

/// What the monitor of a configuration without any is called.
pub const ONLY_NAME: &str = "default";

/// The one monitor of a configuration without any: the original's API, as the settings for all have it.
pub(super) fn default() -> Node {
    let text = |text: &str| Node::Text(text.to_owned());
    let members = [("name", ONLY_NAME), ("preset", "farspan")];
    let members = members.map(|(key, value)| (key.to_owned(), text(value)));
    Node::List(vec![Node::Group(members.into())])
}

/// What monitors have where they say nothing.
pub(super) struct ForAll<'a> {
    pub(super) api: Option<&'a Api>,
    pub(super) poll: Poll,
    pub(super) credentials: Option<&'a Path>,
}

/// The enabled monitors of the file, and all mistakes in all of them.
pub(super) fn read(node: Node, place: &str, for_all: &ForAll<'_>) -> (Vec<Monitor>, Vec<String>) {
    let mistakes = RefCell::default();
    let mut monitors: Vec<Monitor> = Vec::new();
    let is_in_file = !place.is_empty();
    match node.into_value(place, &mistakes) {
        Value::Array(values) if values.len() > MONITORS_MAX => {
            let error = format!("{place}: more than {MONITORS_MAX} monitors");
            mistakes.borrow_mut().push(error);
        }
        Value::Array(values) => {
            let mut names = Vec::new();
            for (index, value) in values.into_iter().enumerate() {
                let mut place = format!("{place}[{index}]");
                if let Some(Value::String(name)) = value.get("name") {
                    if is_in_file && monitor_name(name).is_ok() {
                        let _ = write!(place, " ({name})");
                    }
                    if names.contains(name) {
                        let error = format!("{place}.name: '{}' stands there twice", shown(name));
                        mistakes.borrow_mut().push(error);
                    }
                    names.push(name.clone());
                }
                let (preset, value) = match over_preset(value) {
                    Ok(merged) => merged,
                    Err(value) => {
                        let mut mistakes = mistakes.borrow_mut();
                        mistakes.push(unknown_preset(&value, &place));
                        mistakes.extend(mistakes_over_any(&value, &place, for_all));
                        continue;
                    }
                };
                let Some(object) = Object::of(&value, place.clone(), &mistakes) else {
                    continue;
                };
                let written = Written {
                    place: if is_in_file { place } else { String::new() },
                    preset,
                    members: value.as_object().cloned().unwrap_or_default(),
                };
                monitors.extend(monitor(&object, written, for_all, &mistakes));
                object.close();
            }
            tell_sharing(&monitors, &mistakes);
        }
        other => {
            let error = format!(
                "{place}: is {}, must be an array of objects",
                kind_of(&other)
            );
            mistakes.borrow_mut().push(error);
        }
    }
    (monitors, mistakes.into_inner())
}

/// Beyond this somebody generates them, and wants several farspans.
const MONITORS_MAX: usize = 256;

/// A channel or a stream says which monitor its events are for.
fn tell_sharing(monitors: &[Monitor], mistakes: &RefCell<Vec<String>>) {
    for key in ["redis_channel", "redis_stream"] {
        let source = |monitor: &Monitor| match key {
            "redis_channel" => monitor.events.redis_channel.clone(),
            _ => monitor.events.redis_stream.clone(),
        };
        let finished = |monitor: &Monitor| match (&monitor.finished, key) {
            (Some(Finished::RedisChannel(name)), "redis_channel") => Some(name.clone()),
            (Some(Finished::RedisStream { key, .. }), "redis_stream") => Some(key.clone()),
            _ => None,
        };
        for (number, monitor) in monitors.iter().enumerate() {
            let tell = |place: &str, other: Option<&Monitor>, what: &str| {
                if let Some(Monitor { name, .. }) = other {
                    let place = format!("{}.{place}.{key}", monitor.written.place);
                    let error = format!("{place}: is that of '{name}'; {what}");
                    mistakes.borrow_mut().push(error);
                }
            };
            let is_of = |name: Option<String>, of: &[Monitor]| -> Option<usize> {
                of.iter()
                    .position(|other| name.is_some() && source(other) == name)
            };
            let before = is_of(source(monitor), &monitors[..number]);
            let what = "leave it out in both, and let events name their monitor";
            tell("events", before.map(|n| &monitors[n]), what);
            let starts = is_of(finished(monitor), monitors);
            let what = "it would be taken for a start";
            tell("finished", starts.map(|n| &monitors[n]), what);
        }
    }
}

/// The monitor of events that name none and come from a source for all.
pub fn default_of(monitors: &[Monitor]) -> Option<usize> {
    match without_source(monitors).as_slice() {
        [one] => Some(*one),
        [] if monitors.len() == 1 => Some(0),
        _ => None,
    }
}

/// Those that hear of workflows only from the sources for all.
pub(super) fn without_source(monitors: &[Monitor]) -> Vec<usize> {
    let has_none = |monitor: &Monitor| {
        let Events {
            redis_channel,
            redis_stream,
            ..
        } = &monitor.events;
        redis_channel.is_none() && redis_stream.is_none() && monitor.discovery.is_none()
    };
    let numbered = monitors.iter().enumerate();
    numbered
        .filter(|(_, monitor)| has_none(monitor))
        .map(|(number, _)| number)
        .collect()
}

fn unknown_preset(monitor: &Value, place: &str) -> String {
    let names: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
    let name = monitor.get("preset").map(Value::to_string);
    format!(
        "{place}.preset: {} is unknown; there are {}",
        shown(&name.unwrap_or_default()),
        names.join(", ")
    )
}

/// What is wrong with a monitor whichever preset it is over: what is its own mistake, and nothing that a preset would
/// say for it.
fn mistakes_over_any(monitor: &Value, place: &str, for_all: &ForAll<'_>) -> Vec<String> {
    let over = |preset: &str| {
        let mut value = monitor.clone();
        value["preset"] = preset.into();
        let mistakes = RefCell::default();
        if let Ok((preset, value)) = over_preset(value)
            && let Some(object) = Object::of(&value, place.to_owned(), &mistakes)
        {
            let written = Written {
                place: place.to_owned(),
                preset,
                members: Map::new(),
            };
            let _ = self::monitor(&object, written, for_all, &mistakes);
            object.close();
        }
        mistakes.into_inner()
    };
    let mut all = PRESETS.iter().map(|(name, _)| over(name));
    let mut common = all.next().unwrap_or_default();
    for mistakes in all {
        common.retain(|mistake| mistakes.contains(mistake));
    }
    common
}

/// The preset's name, and the monitor merged over it. The monitor as it was where nobody knows that preset.
fn over_preset(value: Value) -> Result<(Option<String>, Value), Value> {
    let Some(name) = value.get("preset").filter(|name| !name.is_null()) else {
        return Ok((None, value));
    };
    let known = PRESETS.iter().find(|(known, _)| name == known);
    let Some((name, text)) = known else {
        return Err(value);
    };
    #[expect(clippy::expect_used, reason = "a test reads them all")]
    let mut merged: Value = serde_json::from_str(text).expect("a preset is JSON");
    // One way to authenticate is not mixed with another.
    let kind = value.pointer("/api/auth/type");
    if kind.is_some()
        && kind != merged.pointer("/api/auth/type")
        && let Some(api) = merged.get_mut("api").and_then(Value::as_object_mut)
    {
        api.remove("auth");
    }
    merge(&mut merged, value);
    Ok((Some((*name).to_owned()), merged))
}

/// `None` where it is not enabled, or where something is wrong with it.
fn monitor(
    object: &Object<'_>,
    written: Written,
    for_all: &ForAll<'_>,
    mistakes: &RefCell<Vec<String>>,
) -> Option<Monitor> {
    let before = mistakes.borrow().len();
    let _ = (
        object.value("preset"),
        object.value("$schema"),
        object.value("description"),
    );
    let enabled = object.flag("enabled").unwrap_or(true);
    let name = object.required("name", monitor_name);
    let definition = definition(object);
    let ids: Vec<Box<str>> = match &definition.id {
        Some(pattern) => pattern.names().map(Into::into).collect(),
        None => Vec::new(),
    };
    let api = api(object, for_all);
    let events = events(object, &ids);
    let mut poll = poll(object, for_all.poll);
    let words = poll.interval_by_status.iter();
    let poll_words = PollWords {
        statuses: words.map(|(word, _)| word.clone()).collect(),
        may_go: poll.gone_after.is_some(),
    };
    // The core knows a status by its name.
    for (word, _) in &mut poll.interval_by_status {
        let mut names = definition.status_names.iter();
        if let Some((_, name)) = names.find(|(known, _)| known.eq_ignore_ascii_case(word)) {
            *word = name.clone();
        }
    }
    let spans = spans(object);
    let service = service(object);
    let context = context(object);
    let discovery = discovery(object, &ids);
    let finished = finished(object, for_all.credentials);
    let mapping = compile(definition, poll_words, object.place(), before, mistakes);
    Some(Monitor {
        name: name?,
        mapping: mapping.filter(|_| enabled)?,
        api,
        events,
        poll,
        spans,
        service,
        context,
        discovery,
        finished,
        written,
    })
}

/// What `poll` says of statuses.
struct PollWords {
    /// As they are written.
    statuses: Vec<Box<str>>,
    /// Whether an API that is gone has ended its workflow.
    may_go: bool,
}

/// The mistakes that only the whole definition shows. What follows from one that is told already is not told.
fn compile(
    definition: Definition,
    poll: PollWords,
    place: &str,
    before: usize,
    mistakes: &RefCell<Vec<String>>,
) -> Option<Arc<Mapping>> {
    let told = mistakes.borrow_mut().split_off(before);
    let places = told.iter().filter_map(|told| {
        let within = told.strip_prefix(place)?;
        within.split(": ").next()
    });
    let places: Vec<_> = places.collect();
    let is_told = |at: &str| {
        let mut places = places.iter();
        places.any(|told| within(at, told) || within(told, at))
    };
    let mut found = contradictions(&definition, &poll, &is_told);
    let mapping = Mapping::compile(definition);
    let mapping = mapping.map_err(|mut more| found.append(&mut more)).ok();
    let new = found
        .into_iter()
        .map(|Mistake { place, what }| (dotted(&place), what));
    let new: Vec<_> = new
        .filter(|(at, _)| !is_told(at))
        .map(|(at, what)| format!("{place}{at}: {what}"))
        .collect();
    let is_sound = new.is_empty();
    let mut mistakes = mistakes.borrow_mut();
    mistakes.extend(told);
    mistakes.extend(new);
    mapping.filter(|_| is_sound).map(Arc::new)
}

/// What could be read, and would not do what anybody wants. `is_told` of a place that something is wrong with it.
fn contradictions(
    definition: &Definition,
    poll: &PollWords,
    is_told: &dyn Fn(&str) -> bool,
) -> Vec<Mistake> {
    let mut found = Vec::new();
    let mut tell = |place: &str, what: String| {
        let place = place.to_owned();
        found.push(Mistake { place, what });
    };
    let Definition {
        request,
        workflow,
        statuses,
        status_names,
        ..
    } = definition;
    let in_body = request.body.iter().flat_map(BodyTemplate::names);
    if request.path.names().count() + in_body.count() == 0 && !is_told(".request") {
        let what = "names neither {id} nor a part of it, so that the answer is the same for all workflows; write \
                    /runs/{id}";
        tell("/request/path", what.to_owned());
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
    let what_ends = [".workflow", ".unknown_status", ".poll.gone"];
    // That there are none, and that nothing is read as one, are mistakes of their own.
    if !ends
        && !statuses.is_empty()
        && !fields.status.is_empty()
        && !what_ends.into_iter().any(is_told)
    {
        let what = "no word means an end (success, failure, error, timeout, cancellation or skip), and there is no \
                    workflow.complete: no workflow would ever end";
        tell("/statuses", what.to_owned());
    }
    let names = status_names.iter().map(|(_, name)| &**name);
    let known = statuses.iter().map(|(word, _)| &**word).chain(names);
    // In whichever case.
    let known: Vec<String> = known.map(str::to_lowercase).collect();
    for word in &poll.statuses {
        let lower = word.to_lowercase();
        if known.contains(&lower) || known.is_empty() || is_told(".statuses") {
            continue;
        }
        let meant = values::nearest(&lower, known.iter().map(String::as_str));
        let remedy = match meant {
            Some(meant) => format!("did you mean '{}'?", shown(meant)),
            None => "say there what it means".to_owned(),
        };
        let what = format!("is not among the statuses; {remedy}");
        let word = word.replace('~', "~0").replace('/', "~1");
        tell(&format!("/poll/interval_by_status/{word}"), what);
    }
    found
}

/// Whether one place is the other or in it.
fn within(place: &str, outer: &str) -> bool {
    let rest = place.strip_prefix(outer);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// A JSON Pointer as the places of the file are written.
fn dotted(pointer: &str) -> String {
    let mut dotted = String::new();
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        match token.bytes().all(|b| b.is_ascii_digit()) {
            true => dotted.extend(["[", &token, "]"]),
            false => dotted.extend([".", &token]),
        }
    }
    dotted
}

fn monitor_name(text: &str) -> Result<String, Reason> {
    const BYTES_MAX: usize = 64;
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    match text.len() {
        1..=BYTES_MAX if text.bytes().all(fits) => Ok(text.to_owned()),
        _ => Err(format!("must be 1 to {BYTES_MAX} of A-Z a-z 0-9 _ - .").into()),
    }
}

fn api(monitor: &Object<'_>, for_all: &ForAll<'_>) -> MonitorApi {
    let mut read = MonitorApi {
        base_url: for_all
            .api
            .map(|api| api.base_url.clone())
            .unwrap_or_default(),
        headers: Vec::new(),
        auth: match for_all.api.and_then(|api| api.token.clone()) {
            Some(token) => Auth::Bearer(token),
            None => Auth::None,
        },
        certificate: None,
        client_certificate: None,
        client_key: None,
        requests_per_second: None,
        send_traceparent: false,
    };
    let Some(api) = monitor.object("api") else {
        if read.base_url.is_empty() {
            monitor.mistake(
                "api",
                "is missing; it says where to ask: {\"base_url\": ..}",
            );
        }
        return read;
    };
    let own_base = api.has("base_url");
    if let Some(base_url) = api.parsed_url("base_url", |text| {
        values::base_url(text, INSTEAD_OF_USERINFO)
    }) {
        // A token goes to nobody but the API that it was given for.
        read.auth = Auth::None;
        read.base_url = base_url;
    } else if !own_base && read.base_url.is_empty() {
        api.mistake("base_url", "is missing; write http://host:port/path");
    }
    for (name, value) in api.entries("headers") {
        let told = |what: &dyn fmt::Display| api.mistake(&format!("headers.{name}"), what);
        let Some(value) = value.as_str() else {
            told(&format!("is {}, must be a string", kind_of(value)));
            continue;
        };
        match (header_name(name), header_value(value)) {
            (Ok(name), Ok(value)) => read.headers.push((name, value)),
            (Err(reason), _) => told(&reason),
            (_, Err(reason)) => told(&format!("the value {reason}")),
        }
    }
    if let Some(auth) = api.object("auth") {
        read.auth =
            authentication(&auth, &read.base_url, for_all.credentials).unwrap_or(Auth::None);
        auth.close();
    }
    read.certificate = pem(&api, "certificate_file", PemKind::Certificate);
    read.client_certificate = pem(&api, "client_certificate_file", PemKind::Certificate);
    read.client_key = pem(&api, "client_key_file", PemKind::Key);
    if api.has("client_certificate_file") != api.has("client_key_file") {
        api.mistaken("client_certificate_file and client_key_file go together; one is missing");
    }
    read.requests_per_second = api.number("requests_per_second", 0.001..=100_000.0);
    read.send_traceparent = api.flag("send_traceparent").unwrap_or(false);
    api.close();
    read
}

fn authentication(auth: &Object<'_>, base_url: &str, credentials: Option<&Path>) -> Option<Auth> {
    let as_it_is = |key, key_file| secret(auth, key, key_file, values::token, credentials);
    let encoded = |key, key_file| secret(auth, key, key_file, values::password, credentials);
    let kind = auth.required("type", |text| {
        let kinds = ["none", "bearer", "basic", "header", "oauth2", "login"];
        values::one_of(text, &kinds.map(|kind| (kind, kind)))
    })?;
    match kind {
        "bearer" => as_it_is("token", "token_file").map(Auth::Bearer),
        "basic" => {
            let username = auth.required("username", |text| match text.contains(':') {
                true => Err("has a colon, which RFC 7617 does not allow".into()),
                false => values::label(text),
            });
            let password = encoded("password", "password_file");
            Some(Auth::Basic {
                username: username?,
                password: password?,
            })
        }
        "header" => {
            let name = auth.required("name", header_name);
            let value = as_it_is("value", "value_file");
            Some(Auth::Header {
                name: name?,
                value: value?,
            })
        }
        "oauth2" => {
            let token_url = auth.required_url("token_url", url);
            let client_id = auth.required("client_id", values::label);
            let client_secret = encoded("client_secret", "client_secret_file");
            let scope = auth.parsed("scope", values::label);
            Some(Auth::OAuth2 {
                token_url: token_url?,
                client_id: client_id?,
                client_secret: client_secret?,
                scope,
            })
        }
        "login" => login(auth, base_url, credentials),
        _ => Some(Auth::None),
    }
}

fn login(auth: &Object<'_>, base_url: &str, credentials: Option<&Path>) -> Option<Auth> {
    let url = auth.required_url("url", |text| match text.strip_prefix('/') {
        // That there is no base is told where it is missing.
        Some(_) if base_url.is_empty() => Ok(String::new()),
        Some(path) => url(&format!("{base_url}/{path}")),
        None => url(text),
    });
    let body = login_body(auth, credentials);
    if !auth.has("token") {
        let what = "is missing: a JSON Pointer to the token in the answer";
        auth.mistake("token", what);
    }
    let token = auth.pointer("token");
    let expires_in = auth.pointer("expires_in");
    let lifetime = auth.parsed("lifetime", |text| {
        duration(text, Duration::from_secs(10), "it may be 10s to 10000d")
    });
    Some(Auth::Login {
        url: url?,
        body: body?,
        token: token?,
        expires_in,
        lifetime: lifetime.unwrap_or(Duration::from_secs(3600)),
    })
}

fn secret(
    object: &Object<'_>,
    key: &'static str,
    key_file: &'static str,
    parse: fn(&str) -> Result<String, Reason>,
    credentials: Option<&Path>,
) -> Option<SecretSource> {
    match (object.has(key), object.has(key_file)) {
        (true, true) => {
            object.mistake(
                key,
                format_args!("{key_file} is set too; one of them must go"),
            );
            None
        }
        (false, false) => {
            object.mistake(
                key,
                format_args!("is missing; or {key_file}, which names a file"),
            );
            None
        }
        (true, false) => {
            let text = object.text(key)?;
            match parse(text) {
                Ok(secret) => Some(SecretSource::Given(Secret::new(secret))),
                Err(reason) => {
                    object.mistake(key, format_args!("the value {reason}"));
                    None
                }
            }
        }
        (false, true) => {
            let (path, text) = file_of(object, key_file, credentials)?;
            match parse(&text) {
                Ok(secret) => Some(SecretSource::File(path, Secret::new(secret))),
                Err(reason) => {
                    object.mistake(key_file, format_args!("the value in it {reason}"));
                    None
                }
            }
        }
    }
}

/// A file of a secret that can be read now, and what is in it.
fn file_of(
    object: &Object<'_>,
    key: &'static str,
    credentials: Option<&Path>,
) -> Option<(PathBuf, String)> {
    const CREDENTIALS: &str = "$CREDENTIALS_DIRECTORY/";
    let text = object.text(key)?;
    let path = match text.strip_prefix(CREDENTIALS) {
        None => PathBuf::from(text),
        Some(name) => match credentials {
            Some(directory) => directory.join(name),
            None => {
                object.mistake(key, "CREDENTIALS_DIRECTORY is not set; systemd sets it");
                return None;
            }
        },
    };
    match files::read_secret(&path) {
        Ok(text) => Some((path, text)),
        Err(reason) => {
            object.mistake(key, format_args!("'{}' {reason}", shown(text)));
            None
        }
    }
}

fn login_body(auth: &Object<'_>, credentials: Option<&Path>) -> Option<SecretSource> {
    match (auth.value("body"), auth.has("body_file")) {
        (Some(_), true) => {
            auth.mistake("body", "body_file is set too; one of them must go");
            None
        }
        (Some(body), false) => Some(SecretSource::Given(Secret::new(body.to_string()))),
        (None, true) => {
            let (path, text) = file_of(auth, "body_file", credentials)?;
            Some(SecretSource::File(path, Secret::new(text)))
        }
        (None, false) => {
            auth.mistake(
                "body",
                "is missing; or body_file, which names a file of JSON",
            );
            None
        }
    }
}

fn header_name(text: &str) -> Result<String, Reason> {
    /// What requests say themselves.
    const OURS: &[&str] = &["connection", "content-length", "host", "transfer-encoding"];
    let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| "is no header's name")?;
    match OURS.contains(&name.as_str()) {
        true => Err("is a header that farspan sets".into()),
        false => Ok(name.as_str().to_owned()),
    }
}

fn header_value(text: &str) -> Result<Secret, Reason> {
    HeaderValue::from_str(text).map_err(|_| "cannot stand in a header")?;
    Ok(Secret::new(text))
}

const INSTEAD_OF_USERINFO: &str = "api.auth is the place for it";

fn url(text: &str) -> Result<String, Reason> {
    let _ = values::http_url(text, INSTEAD_OF_USERINFO)?;
    Ok(text.to_owned())
}

fn pem(api: &Object<'_>, key: &'static str, kind: PemKind) -> Option<Pem> {
    let text = api.text(key)?;
    let read = files::read(Path::new(text));
    let checked = read.and_then(|bytes| match otel::check_pem(&bytes, kind) {
        Ok(()) => Ok(bytes),
        Err(reason) => Err(reason.into()),
    });
    match checked {
        Ok(bytes) => Some(Pem {
            path: PathBuf::from(text),
            bytes,
        }),
        Err(reason) => {
            api.mistake(key, format_args!("'{}' {reason}", shown(text)));
            None
        }
    }
}

fn events(monitor: &Object<'_>, ids: &[Box<str>]) -> Events {
    let Some(events) = monitor.object("events") else {
        return Events::default();
    };
    let read = Events {
        redis_channel: events.parsed("redis_channel", values::label),
        redis_stream: events.parsed("redis_stream", values::label),
        id: id_pointers(&events, ids),
        submitted_at: events.pointer("submitted_at"),
        context: events.pointer("context"),
    };
    events.close();
    read
}

/// Where the id is: one pointer, or one for each part of its pattern.
fn id_pointers(object: &Object<'_>, ids: &[Box<str>]) -> Vec<(Box<str>, Pointer)> {
    match object.value("id") {
        None => Vec::new(),
        Some(Value::String(_)) => {
            let pointer = object.pointer("id");
            pointer
                .map(|pointer| ("id".into(), pointer))
                .into_iter()
                .collect()
        }
        Some(_) => {
            let parts = object.parsed_entries("id", |text| {
                Pointer::parse(text).map_err(|what| said_of(text, &what))
            });
            for (name, _) in &parts {
                if !ids.contains(name) {
                    let what = format_args!("the id's pattern has no part {{{name}}}");
                    object.mistake("id", what);
                }
            }
            for id in ids {
                if !parts.iter().any(|(name, _)| name == id) {
                    let what = format_args!("does not say where the part {{{id}}} is");
                    object.mistake("id", what);
                }
            }
            parts
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);
const MOMENT: Duration = Duration::from_millis(10);

fn duration(text: &str, least: Duration, bounds: &str) -> Result<Duration, Reason> {
    values::duration_within(text, least..=DAY * 10_000, bounds)
}

fn interval(text: &str) -> Result<Duration, Reason> {
    values::duration_within(text, MOMENT..=DAY, "it may be 10ms to 24h")
}

fn poll(monitor: &Object<'_>, for_all: Poll) -> Pace {
    let mut read = Pace {
        initial_delay: for_all.initial_delay,
        interval: for_all.interval,
        timeout: for_all.timeout,
        interval_by_status: Vec::new(),
        adaptive: None,
        gone_after: None,
    };
    let Some(poll) = monitor.object("poll") else {
        return read;
    };
    let initial_delay = poll.parsed("initial_delay", |text| {
        values::duration_within(text, Duration::ZERO..=DAY, "it may be 0s to 24h")
    });
    read.initial_delay = initial_delay.unwrap_or(read.initial_delay);
    read.interval = poll.parsed("interval", interval).unwrap_or(read.interval);
    let timeout = poll.parsed("timeout", |text| {
        duration(text, MOMENT, "it may be 10ms to 10000d")
    });
    read.timeout = timeout.unwrap_or(read.timeout);
    read.interval_by_status = poll.parsed_entries("interval_by_status", interval);
    if let Some(adaptive) = poll.object("adaptive") {
        let share = adaptive.number("share", 0.001..=1.0).unwrap_or(0.05);
        let min = adaptive.parsed("min", interval).unwrap_or(read.interval);
        let max = adaptive.parsed("max", interval).unwrap_or(DAY);
        if min > max {
            adaptive.mistaken("min is longer than max");
        }
        adaptive.close();
        read.adaptive = Some(Adaptive { share, min, max });
    }
    if let Some(gone) = poll.object("gone") {
        read.gone_after = gone.required("after", |text| {
            duration(text, Duration::ZERO, "it may be 0s to 10000d")
        });
        gone.close();
    }
    poll.close();
    read
}

fn definition(monitor: &Object<'_>) -> Definition {
    let id = monitor.parsed("id", |text| {
        IdPattern::parse(text).map_err(|what| said_of(text, &what))
    });
    let mut requests = Vec::new();
    for (name, value) in monitor.entries("requests") {
        let object = monitor.entry("requests", name, value);
        requests.extend(object.map(|object| (Box::from(name), request(object, &[]))));
    }
    let main = match monitor.object("request") {
        Some(object) => request(object, &[]),
        None => {
            monitor.mistake(
                "request",
                "is missing: {\"path\": \"/runs/{id}\"}, or name a preset",
            );
            Request::default()
        }
    };
    let workflow = match monitor.object("workflow") {
        Some(object) => {
            let read = WorkflowFields {
                root: object.pointer("root").unwrap_or_default(),
                fields: fields(&object),
            };
            object.close();
            read
        }
        None => {
            monitor.mistake(
                "workflow",
                "is missing: {\"status\": \"/state\", ..}, or name a preset",
            );
            WorkflowFields::default()
        }
    };
    let stages = monitor.objects("stages").into_iter().map(stages).collect();
    let statuses = monitor.parsed_entries("statuses", meaning);
    let status_names = monitor.parsed_entries("status_names", |name| {
        values::label(name).map(String::into_boxed_str)
    });
    let unknown_status = monitor.parsed("unknown_status", |text| match text {
        "fail" => Ok(UnknownStatus::Refused),
        text => match meaning(text) {
            Ok(Meaning::State(state)) => Ok(UnknownStatus::Means(state)),
            _ => Err(format!("is unknown; write fail, {STATES}").into()),
        },
    });
    Definition {
        id,
        request: main,
        requests,
        workflow,
        stages,
        statuses,
        status_names,
        unknown_status: unknown_status.unwrap_or_default(),
        times: times(monitor),
    }
}

/// A mistake without the text that it is about, which stands before it already.
fn said_of(text: &str, what: &str) -> Reason {
    let what = what.strip_prefix(&format!("{text:?} ")).unwrap_or(what);
    Reason::from(what.to_owned())
}

/// `parameters` stand in the path for good.
fn request(object: Object<'_>, parameters: &[(Box<str>, String)]) -> Request {
    let method = object.parsed("method", |text| {
        values::one_of(text, &[("GET", Method::Get), ("POST", Method::Post)])
    });
    let path = object.required("path", |text| {
        let mut text = text.to_owned();
        for (name, value) in parameters {
            let mut segment = String::new();
            push_segment(&mut segment, value);
            text = text.replace(&format!("{{{name}}}"), &segment);
        }
        Template::parse(&text).map_err(|what| said_of(&text, &what))
    });
    let body = object.value("body").cloned().map(BodyTemplate::new);
    let read = Request {
        method: method.unwrap_or_default(),
        path: path.unwrap_or_default(),
        body,
        pages: object.object("pages").and_then(pages),
        for_each: object.text("for_each").map(Into::into),
        when_attempt_above: object.integer("when_attempt_above", 0..=u32::MAX),
    };
    object.close();
    read
}

fn pages(object: Object<'_>) -> Option<Pages> {
    #[derive(Clone, Copy)]
    enum By {
        Offset,
        Page,
        Cursor,
        Link,
    }
    let word = |key: &'static str, default: &str| -> Box<str> {
        object
            .parsed(key, values::label)
            .unwrap_or_else(|| default.to_owned())
            .into()
    };
    let size = || object.integer("size", 1..=10_000).unwrap_or(100);
    let by = object.required("by", |text| {
        let ways = [
            ("offset", By::Offset),
            ("page", By::Page),
            ("cursor", By::Cursor),
            ("link", By::Link),
        ];
        values::one_of(text, &ways)
    })?;
    let pages = match by {
        By::Offset => Pages::Offset {
            offset: word("offset", "offset"),
            limit: word("limit", "limit"),
            size: size(),
            total: object.pointer("total"),
        },
        By::Page => Pages::Page {
            page: word("page", "page"),
            limit: word("limit", "per_page"),
            size: size(),
            first: object.integer("first", 0..=1).unwrap_or(1),
            total: object.pointer("total"),
        },
        By::Cursor => Pages::Cursor {
            param: word("param", "page_token"),
            next: object.pointer("next").or_else(|| {
                object.mistake(
                    "next",
                    "is missing: a JSON Pointer to the next page's token",
                );
                None
            })?,
        },
        By::Link => Pages::Link,
    };
    object.close();
    Some(pages)
}

fn fields(object: &Object<'_>) -> Fields {
    let attributes = object.entries("attributes").into_iter();
    let attributes = attributes.map(|(name, value)| {
        let pointers = object.pointers_in(&format!("attributes.{name}"), value);
        (Box::from(name), pointers)
    });
    Fields {
        id: object.pointers("id"),
        status: object.pointers("status"),
        queued: object.pointers("queued"),
        start: object.pointers("start"),
        end: object.pointers("end"),
        error: object.pointers("error"),
        attempt: object.pointers("attempt"),
        first_attempt: object.integer("first_attempt", 0..=1),
        url: object.pointers("url"),
        complete: object.pointers("complete"),
        attributes: attributes.collect(),
    }
}

fn stages(object: Object<'_>) -> Stages {
    let name = |key| object.parsed(key, values::label).map(Into::into);
    let list = object.pointer("list").or_else(|| {
        if !object.has("list") {
            object.mistake(
                "list",
                "is missing: a JSON Pointer to the array or object of stages",
            );
        }
        None
    });
    let parent = object.object("parent").map(|parent| {
        let read = Parent {
            key: parent.pointers("key"),
            list: parent.parsed("list", values::label).map(Into::into),
        };
        parent.close();
        read
    });
    let children = object.object("children").and_then(|children| {
        let list = children.required("list", values::label);
        let ids = children.pointer("ids");
        if ids.is_none() {
            children.mistaken("says not where the ids are: \"ids\": a JSON Pointer to an array");
        }
        children.close();
        Some(Children {
            list: list?.into(),
            ids: ids?,
        })
    });
    let read = Stages {
        name: name("name"),
        from: name("from"),
        list: list.unwrap_or_default(),
        kind: object.pointers("kind"),
        key: object.pointers("key"),
        fields: fields(&object),
        except: values_at(&object, "except"),
        number_attempts_by: object.pointers("number_attempts_by"),
        parent,
        children,
        stages: object.objects("stages").into_iter().map(stages).collect(),
    };
    object.close();
    read
}

const STATES: &str =
    "pending, running, success, failure, error, timeout, cancellation, skip or unset";

fn meaning(text: &str) -> Result<Meaning, Reason> {
    let ended = |outcome| Ok(Meaning::State(State::Ended(outcome)));
    match text {
        "pending" => Ok(Meaning::State(State::Pending)),
        "running" => Ok(Meaning::State(State::Running)),
        "success" => ended(Outcome::Success),
        "failure" => ended(Outcome::Failure),
        "error" => ended(Outcome::Error),
        "timeout" => ended(Outcome::Timeout),
        "cancellation" => ended(Outcome::Cancellation),
        "skip" => ended(Outcome::Skip),
        "unset" => Ok(Meaning::Unset),
        _ => Err(format!("is unknown; write {STATES}").into()),
    }
}

fn times(monitor: &Object<'_>) -> Times {
    let mut times = Times::default();
    let Some(object) = monitor.object("times") else {
        return times;
    };
    let format = object.parsed("format", |text| {
        let formats = [
            ("auto", TimeFormat::Auto),
            ("rfc3339", TimeFormat::Rfc3339),
            ("epoch_s", TimeFormat::EpochSeconds),
            ("epoch_ms", TimeFormat::EpochMillis),
            ("epoch_us", TimeFormat::EpochMicros),
            ("epoch_ns", TimeFormat::EpochNanos),
        ];
        values::one_of(text, &formats)
    });
    times.format = format.unwrap_or_default();
    match object.value("unset") {
        None => {}
        Some(Value::Array(values)) => {
            times.unset.clear();
            for value in values {
                match (value.as_i64(), value.as_str()) {
                    (Some(number), _) => times.unset.push(UnsetTime::Number(number)),
                    (_, Some(text)) if !text.is_empty() => {
                        times.unset.push(UnsetTime::Text(text.into()));
                    }
                    _ => object.mistake("unset", "each must be a whole number or a string"),
                }
            }
        }
        Some(_) => object.mistake("unset", "must be an array of numbers and strings"),
    }
    object.close();
    times
}

fn spans(monitor: &Object<'_>) -> Spans {
    let mut read = Spans {
        workflow: "Workflow".to_owned(),
        status_ok: true,
        skipped: false,
        queued: false,
    };
    let Some(spans) = monitor.object("spans") else {
        return read;
    };
    read.workflow = spans
        .parsed("workflow", values::label)
        .unwrap_or(read.workflow);
    let status_ok = spans.parsed("status_ok", |text| {
        values::one_of(text, &[("ok", true), ("unset", false)])
    });
    read.status_ok = status_ok.unwrap_or(true);
    read.skipped = spans.flag("skipped").unwrap_or(false);
    read.queued = spans.flag("queued").unwrap_or(false);
    spans.close();
    read
}

fn service(monitor: &Object<'_>) -> Service {
    let Some(service) = monitor.object("service") else {
        return Service::default();
    };
    let attributes = service
        .parsed_entries("attributes", values::label)
        .into_iter();
    let read = Service {
        name: service.parsed("name", values::label),
        namespace: service.parsed("namespace", values::label),
        attributes: attributes
            .map(|(name, value)| (name.into(), value))
            .collect(),
    };
    service.close();
    read
}

fn context(monitor: &Object<'_>) -> Context {
    let Some(context) = monitor.object("trace_context") else {
        return Context::default();
    };
    let used_as = context.parsed("use", |text| {
        let uses = [
            ("parent", ContextUse::Parent),
            ("link", ContextUse::Link),
            ("ignore", ContextUse::Ignore),
        ];
        values::one_of(text, &uses)
    });
    let read = Context {
        used_as: used_as.unwrap_or_default(),
        baggage: context.texts("baggage", values::label),
    };
    context.close();
    read
}

/// Pointers, each with a value or several.
fn values_at(object: &Object<'_>, key: &'static str) -> Vec<(Pointer, Vec<Box<str>>)> {
    let mut all = Vec::new();
    for (pointer, value) in object.entries(key) {
        let key = format!("{key}.{pointer}");
        let values = match value {
            Value::Array(values) => values.as_slice(),
            value => std::slice::from_ref(value),
        };
        let texts = values.iter().map(|value| match value {
            Value::String(text) => Some(text.as_str().into()),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string().into()),
            _ => None,
        });
        match (Pointer::parse(pointer), texts.collect()) {
            (Ok(pointer), Some(texts)) => all.push((pointer, texts)),
            (Err(what), _) => object.mistake(&key, what),
            (_, None) => object.mistake(&key, "must be a string, or an array of them"),
        }
    }
    all
}

fn discovery(monitor: &Object<'_>, ids: &[Box<str>]) -> Option<Discovery> {
    let discovery = monitor.object("discovery")?;
    let enabled = discovery.flag("enabled").unwrap_or(true);
    let parameters = discovery.parsed_entries("parameters", values::label);
    let asked = discovery.object("request");
    if asked.is_none() {
        discovery.mistake("request", "is missing: {\"path\": \"/runs?since={since}\"}");
    }
    let request = asked
        .map(|asked| request(asked, &parameters))
        .unwrap_or_default();
    if enabled {
        check_discovery(&discovery, &request);
    }
    let id = id_pointers(&discovery, ids);
    if !discovery.has("id") {
        discovery.mistake(
            "id",
            "is missing: a JSON Pointer to a run's id in its element",
        );
    }
    if !discovery.has("list") {
        discovery.mistake("list", "is missing: a JSON Pointer to the array of runs");
    }
    let read = Discovery {
        request,
        list: discovery.pointer("list").unwrap_or_default(),
        id,
        submitted_at: discovery.pointers("submitted_at"),
        attempt: discovery.pointers("attempt"),
        only: values_at(&discovery, "only"),
        interval: discovery
            .parsed("interval", interval)
            .unwrap_or(Duration::from_secs(30)),
        lookback: discovery
            .parsed("lookback", |text| {
                duration(text, Duration::ZERO, "it may be 0s to 10000d")
            })
            .unwrap_or(Duration::from_secs(3600)),
    };
    discovery.close();
    enabled.then_some(read)
}

/// Nothing is known yet but the time.
fn check_discovery(discovery: &Object<'_>, request: &Request) {
    const KNOWN: [&str; 3] = ["since", "since_epoch", "since_epoch_ms"];
    let in_path = request
        .path
        .names()
        .map(|name| ("request.path", name.to_owned()));
    let in_body = request.body.iter().flat_map(BodyTemplate::names);
    let in_body = in_body.map(|name| ("request.body", name));
    for (key, name) in in_path.chain(in_body) {
        if KNOWN.contains(&name.as_str()) {
            continue;
        }
        let mut what = format!("{{{name}}} is not known; there are {}", KNOWN.join(", "));
        if key == "request.path" {
            let _ = write!(
                what,
                ", or \"parameters\": {{\"{name}\": \"..\"}} beside the request"
            );
        }
        discovery.mistake(key, what);
    }
    if request.for_each.is_some() || request.when_attempt_above.is_some() {
        discovery.mistake("request.for_each", "a discovery asks once");
    }
}

fn finished(monitor: &Object<'_>, credentials: Option<&Path>) -> Option<Finished> {
    let object = monitor.object("finished")?;
    let (has_stream, has_url) = (object.has("redis_stream"), object.has("url"));
    let channel = object.parsed("redis_channel", values::label);
    let stream = object.parsed("redis_stream", values::label);
    let length_max = object.integer("redis_stream_maxlen", 1..=u32::MAX);
    let url = object.parsed_url("url", |text| {
        values::http_url(text, "finished.auth is the place for it").map(|_| text.to_owned())
    });
    let auth = object.object("auth").map(|auth| {
        let read = authentication(&auth, "", credentials).unwrap_or(Auth::None);
        auth.close();
        read
    });
    if length_max.is_some() && !has_stream {
        object.mistake("redis_stream_maxlen", "is for a redis_stream");
    }
    if auth.is_some() && !has_url {
        object.mistake("auth", "is for a url");
    }
    if let Some(Auth::Login { url, .. }) = &auth
        && url.is_empty()
    {
        object.mistake("auth.url", "must begin with http:// or https://");
    }
    let ways = [
        channel.map(Finished::RedisChannel),
        stream.map(|key| Finished::RedisStream {
            key,
            length_max: length_max.unwrap_or(FINISHED_STREAM_LENGTH_MAX),
        }),
        url.map(|url| Finished::Http {
            url,
            auth: auth.unwrap_or(Auth::None),
        }),
    ];
    let mut ways = ways.into_iter().flatten();
    let way = ways.next();
    if way.is_none() || ways.next().is_some() {
        object.mistaken("says one of redis_channel, redis_stream and url");
    }
    object.close();
    way
}

/// Nobody may ever read it.
const FINISHED_STREAM_LENGTH_MAX: u32 = 100_000;

#[cfg(test)]
#[cfg(all(feature = "redis", feature = "tls"))]
mod tests;
