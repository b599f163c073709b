//! The monitors of the configuration file: which systems are watched, how they are asked, and what their answers mean.
//!
//! A monitor may name a preset, which is a monitor too; what the monitor says itself is merged over it, as RFC 7396
//! merges. What neither says are the settings for all (`poll.interval` and so on).

use super::json::{Node, Object, merge};
use super::otel::{self, PemKind};
use super::values::{self, Reason, shown};
use super::{Api, Pem, Poll, Secret};
use crate::core::snapshot::{Outcome, State};
use crate::mapping::definition::{
    Children, Definition, Fields, Meaning, Method, Mistake, Pages, Parent, Request, Stages,
    TimeFormat, Times, UnknownStatus, UnsetTime, WorkflowFields,
};
use crate::mapping::pointer::Pointer;
use crate::mapping::template::{BodyTemplate, IdPattern, Template};
use serde_json::Value;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
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
    pub poll: MonitorPoll,
    /// What to ask, and what the answers mean.
    pub definition: Definition,
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

/// Who farspan is to an API.
#[derive(Clone, Debug, PartialEq)]
pub enum Auth {
    /// Nobody.
    None,
    /// `Authorization: Bearer`, RFC 6750.
    Bearer(SecretSource),
    /// `Authorization: Basic`, RFC 7617.
    Basic {
        /// Without a colon.
        username: String,
        /// Its password.
        password: SecretSource,
    },
    /// A header of its own.
    Header {
        /// Lower case.
        name: String,
        /// Fit for a header.
        value: SecretSource,
    },
    /// Client credentials, RFC 6749 section 4.4.
    OAuth2 {
        /// Whom to ask for a token.
        token_url: String,
        /// Who asks.
        client_id: String,
        /// Its secret.
        client_secret: SecretSource,
        /// What for.
        scope: Option<String>,
    },
    /// A request whose answer holds a bearer token.
    Login {
        /// Whom to ask, whole.
        url: String,
        /// What to send: JSON.
        body: LoginBody,
        /// Where the answer has the token.
        token: Pointer,
        /// Where the answer has its lifetime in seconds.
        expires_in: Option<Pointer>,
        /// Its lifetime, where the answer does not say.
        lifetime: Duration,
    },
}

/// A secret that is given, or one in a file that is read again when it has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// This one.
    Given(Secret),
    /// The one in this file, without the white space around it.
    File(PathBuf),
}

/// What to send for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginBody {
    /// This JSON.
    Given(Secret),
    /// What is in this file.
    File(PathBuf),
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

/// When to ask.
#[derive(Clone, Debug, PartialEq)]
pub struct MonitorPoll {
    /// As in [`Poll`].
    pub initial_delay: Duration,
    /// As in [`Poll`].
    pub interval: Duration,
    /// As in [`Poll`].
    pub timeout: Duration,
    /// In the place of the interval while the workflow has such a status.
    pub interval_by_status: Vec<(Box<str>, Duration)>,
    /// In the place of the interval otherwise.
    pub adaptive: Option<Adaptive>,
    /// For so long connections may be refused that were not before; then the workflow has ended.
    pub gone_after: Option<Duration>,
}

/// An interval that grows with the workflow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adaptive {
    /// This share of what has passed since the start, above 0, at most 1.
    pub share: f64,
    /// But no less.
    pub min: Duration,
    /// And no more.
    pub max: Duration,
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

/// How the submitter's trace context is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContextUse {
    /// The workflow's span is its child.
    #[default]
    Parent,
    /// The workflow has a trace of its own, with a link to it.
    Link,
    /// Not at all.
    Ignore,
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
    pub only: Vec<(Pointer, Vec<String>)>,
    /// How often to ask.
    pub interval: Duration,
    /// How far back.
    pub lookback: Duration,
}

/// Where it is told that a workflow has finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finished {
    /// A pub/sub channel of the configured Redis.
    RedisChannel(String),
    /// A stream of the configured Redis.
    RedisStream(String),
    /// A POST.
    Http(String),
}

/// The presets by name, in the order of the documentation.
pub const PRESETS: &[(&str, &str)] = &[("farspan", include_str!("../../presets/farspan.json"))];

/// The one monitor of a configuration without any: the original's API, as the settings for all have it.
pub(super) fn default() -> Node {
    let text = |text: &str| Node::Text(text.to_owned());
    let members = [("name", "default"), ("preset", "farspan")];
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
    match node.into_value(place, &mistakes) {
        Value::Array(values) if values.len() > MONITORS_MAX => {
            let error = format!("{place}: more than {MONITORS_MAX} monitors");
            mistakes.borrow_mut().push(error);
        }
        Value::Array(values) => {
            let mut names = Vec::new();
            for (index, value) in values.into_iter().enumerate() {
                let place = format!("{place}[{index}]");
                let Some(value) = over_preset(value, &place, &mistakes) else {
                    continue;
                };
                let Some(object) = Object::of(&value, place.clone(), &mistakes) else {
                    continue;
                };
                let (enabled, monitor) = monitor(object, for_all, &mistakes);
                let Some(monitor) = monitor else { continue };
                if names.contains(&monitor.name) {
                    let error = format!("{place}.name: '{}' stands there twice", monitor.name);
                    mistakes.borrow_mut().push(error);
                }
                names.push(monitor.name.clone());
                monitors.extend(enabled.then_some(monitor));
            }
        }
        _ => mistakes
            .borrow_mut()
            .push(format!("{place}: must be an array of objects")),
    }
    (monitors, mistakes.into_inner())
}

/// Beyond this somebody generates them, and wants several farspans.
const MONITORS_MAX: usize = 256;

fn over_preset(value: Value, place: &str, mistakes: &RefCell<Vec<String>>) -> Option<Value> {
    let Some(name) = value.get("preset").filter(|name| !name.is_null()) else {
        return Some(value);
    };
    let known = PRESETS.iter().find(|(known, _)| name == known);
    let Some((_, text)) = known else {
        let names: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
        let error = format!(
            "{place}.preset: {} is unknown; there are {}",
            shown(&name.to_string()),
            names.join(", ")
        );
        mistakes.borrow_mut().push(error);
        return None;
    };
    let mut merged: Value = match serde_json::from_str(text) {
        Ok(preset) => preset,
        Err(error) => {
            let error = format!("{place}.preset: is broken: {error}");
            mistakes.borrow_mut().push(error);
            return None;
        }
    };
    // One way to authenticate is not mixed with another.
    if value.pointer("/api/auth/type").is_some()
        && let Some(api) = merged.get_mut("api").and_then(Value::as_object_mut)
    {
        api.remove("auth");
    }
    merge(&mut merged, value);
    Some(merged)
}

fn monitor(
    object: Object<'_>,
    for_all: &ForAll<'_>,
    mistakes: &RefCell<Vec<String>>,
) -> (bool, Option<Monitor>) {
    let _ = (
        object.value("preset"),
        object.value("$schema"),
        object.value("description"),
    );
    let enabled = object.flag("enabled").unwrap_or(true);
    let name = object.required("name", monitor_name);
    let definition = definition(&object);
    let ids: Vec<Box<str>> = match &definition.id {
        Some(pattern) => pattern.names().map(Into::into).collect(),
        None => Vec::new(),
    };
    let _ = |mistake: Mistake| {
        let Mistake { place, what } = mistake;
        let error = format!("{}{}: {what}", object.place(), dotted(&place));
        mistakes.borrow_mut().push(error);
    };
    let monitor = Monitor {
        name: name.clone().unwrap_or_default(),
        api: api(&object, for_all),
        events: events(&object, &ids),
        poll: poll(&object, for_all.poll),
        spans: spans(&object),
        service: service(&object),
        context: context(&object),
        discovery: discovery(&object, &ids),
        finished: finished(&object),
        definition,
    };
    object.close();
    (enabled, name.map(|_| monitor))
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
            Some(token) => Auth::Bearer(SecretSource::Given(token)),
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
    if let Some(base_url) = api.parsed("base_url", values::base_url) {
        // A token goes to nobody but the API that it was given for.
        read.auth = Auth::None;
        read.base_url = base_url;
    } else if !own_base && read.base_url.is_empty() {
        api.mistake("base_url", "is missing; write http://host:port/path");
    }
    for (name, value) in api.parsed_entries("headers", header_value) {
        match header_name(&name) {
            Ok(name) => read.headers.push((name, value)),
            Err(reason) => api.mistake("headers", format_args!("'{}' {reason}", shown(&name))),
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
    let secret = |key, key_file| secret(auth, key, key_file, credentials);
    let kind = auth.required("type", |text| {
        let kinds = ["none", "bearer", "basic", "header", "oauth2", "login"];
        values::one_of(text, &kinds.map(|kind| (kind, kind)))
    })?;
    Some(match kind {
        "bearer" => Auth::Bearer(secret("token", "token_file")?),
        "basic" => Auth::Basic {
            username: auth.required("username", |text| match text.contains(':') {
                true => Err("has a colon, which RFC 7617 does not allow".into()),
                false => values::label(text),
            })?,
            password: secret("password", "password_file")?,
        },
        "header" => Auth::Header {
            name: auth.required("name", header_name)?,
            value: secret("value", "value_file")?,
        },
        "oauth2" => Auth::OAuth2 {
            token_url: auth.required("token_url", url)?,
            client_id: auth.required("client_id", values::label)?,
            client_secret: secret("client_secret", "client_secret_file")?,
            scope: auth.parsed("scope", values::label),
        },
        "login" => Auth::Login {
            url: auth.required("url", |text| match text.strip_prefix('/') {
                Some(path) => url(&format!("{base_url}/{path}")),
                None => url(text),
            })?,
            body: login_body(auth, credentials)?,
            token: auth.pointer("token").or_else(|| {
                auth.mistake(
                    "token",
                    "is missing: a JSON Pointer to the token in the answer",
                );
                None
            })?,
            expires_in: auth.pointer("expires_in"),
            lifetime: auth
                .parsed("lifetime", |text| {
                    duration(text, Duration::from_secs(10), "it may be 10s to 10000d")
                })
                .unwrap_or(Duration::from_secs(3600)),
        },
        _ => Auth::None,
    })
}

fn secret(
    object: &Object<'_>,
    key: &'static str,
    key_file: &'static str,
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
            match values::token(text) {
                Ok(secret) => Some(SecretSource::Given(Secret::new(secret))),
                Err(reason) => {
                    object.mistake(key, format_args!("the value {reason}"));
                    None
                }
            }
        }
        (false, true) => {
            let path = file_of(object, key_file, credentials)?;
            Some(SecretSource::File(path))
        }
    }
}

/// A file that can be read now.
fn file_of(object: &Object<'_>, key: &'static str, credentials: Option<&Path>) -> Option<PathBuf> {
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
    match super::settings::read_bounded(&path) {
        Ok(_) => Some(path),
        Err(reason) => {
            object.mistake(key, format_args!("'{}' {reason}", shown(text)));
            None
        }
    }
}

fn login_body(auth: &Object<'_>, credentials: Option<&Path>) -> Option<LoginBody> {
    match (auth.value("body"), auth.has("body_file")) {
        (Some(_), true) => {
            auth.mistake("body", "body_file is set too; one of them must go");
            None
        }
        (Some(body), false) => Some(LoginBody::Given(Secret::new(body.to_string()))),
        (None, true) => Some(LoginBody::File(file_of(auth, "body_file", credentials)?)),
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

fn url(text: &str) -> Result<String, Reason> {
    let _ = values::http_url(text, "api.auth")?;
    Ok(text.to_owned())
}

fn pem(api: &Object<'_>, key: &'static str, kind: PemKind) -> Option<Pem> {
    let text = api.text(key)?;
    let read = super::settings::read_bounded(Path::new(text));
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
            let parts =
                object.parsed_entries("id", |text| Pointer::parse(text).map_err(Reason::from));
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

fn poll(monitor: &Object<'_>, for_all: Poll) -> MonitorPoll {
    let mut read = MonitorPoll {
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
        let share = adaptive.number("share", 0.0..=1.0).unwrap_or(0.05);
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
    let id = monitor.parsed("id", |text| IdPattern::parse(text).map_err(Reason::from));
    let mut requests = Vec::new();
    for (name, value) in monitor.entries("requests") {
        let object = monitor.entry("requests", name, value);
        requests.extend(object.map(|object| (Box::from(name), request(object))));
    }
    let main = match monitor.object("request") {
        Some(object) => request(object),
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
    if statuses.is_empty() && !workflow.fields.status.is_empty() {
        monitor.mistake(
            "statuses",
            "is missing: {\"<status>\": \"running\" or \"success\" ..}",
        );
    }
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
        unknown_status: unknown_status.unwrap_or_default(),
        times: times(monitor),
    }
}

fn request(object: Object<'_>) -> Request {
    let method = object.parsed("method", |text| {
        values::one_of(text, &[("GET", Method::Get), ("POST", Method::Post)])
    });
    let path = object.required("path", |text| Template::parse(text).map_err(Reason::from));
    let body = object.value("body").cloned().map(BodyTemplate::new);
    if body.is_some() && method != Some(Method::Post) {
        object.mistake("body", "goes with \"method\": \"POST\" only");
    }
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

fn discovery(monitor: &Object<'_>, ids: &[Box<str>]) -> Option<Discovery> {
    let discovery = monitor.object("discovery")?;
    let request = discovery.object("request").map(request);
    if request.is_none() {
        discovery.mistaken("does not say what to ask: \"request\": {\"path\": ..}");
    }
    let mut only = Vec::new();
    for (pointer, value) in discovery.entries("only") {
        let key = format!("only.{pointer}");
        match Pointer::parse(pointer) {
            Err(what) => discovery.mistake(&key, what),
            Ok(pointer) => {
                let values = match value {
                    Value::Array(values) => values.as_slice(),
                    value => std::slice::from_ref(value),
                };
                let texts = values.iter().map(|value| match value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                });
                only.push((pointer, texts.collect()));
            }
        }
    }
    let id = id_pointers(&discovery, ids);
    if id.is_empty() {
        discovery.mistake(
            "id",
            "is missing: a JSON Pointer to a run's id in its element",
        );
    }
    let read = Discovery {
        request: request.unwrap_or_default(),
        list: discovery.pointer("list").unwrap_or_default(),
        id,
        submitted_at: discovery.pointers("submitted_at"),
        attempt: discovery.pointers("attempt"),
        only,
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
    Some(read)
}

fn finished(monitor: &Object<'_>) -> Option<Finished> {
    let object = monitor.object("finished")?;
    let ways = [
        object
            .parsed("redis_channel", values::label)
            .map(Finished::RedisChannel),
        object
            .parsed("redis_stream", values::label)
            .map(Finished::RedisStream),
        object.parsed("url", url).map(Finished::Http),
    ];
    let mut ways = ways.into_iter().flatten();
    let way = ways.next();
    if way.is_none() || ways.next().is_some() {
        object.mistaken("says one of redis_channel, redis_stream and url");
    }
    object.close();
    way
}
