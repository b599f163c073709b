//! Reads the monitors of the configuration file. All mistakes in all of them are found at once.

use super::auth::{Directories, authentication, header_name, header_value};
use super::contradictions::{PollWords, contradictions, report_sharing};
use super::presets::{OverPreset, PRESETS, default_monitors, over_preset};
use super::{
    Context, Events, MonitorApi, MonitorConfig, ReceiverConfig, ServiceConfig, Spans, Written,
};
use crate::api::credentials::Auth;
use crate::config::otel::{self, PemKind};
use crate::config::{DefaultApi, Pem, PollConfig, Secret};
use crate::core::workflow::{ContextUse, StatusEvents};
use crate::core::{Adaptive, Pace};
use crate::features::{self, Feature};
use crate::intake::discovery::RunList;
use crate::mapping::Mapping;
use crate::mapping::definition::{Definition, Request};
use crate::mapping::from_json;
use crate::mapping::template::BodyTemplate;
use crate::os::files;
use crate::syntax::json::{Object, WrittenJson, kind_of};
use crate::syntax::mistake::{Mistake, Mistakes, Path, Place, Within};
use crate::syntax::pointer::Pointer;
use crate::syntax::text::{escape, shown};
use crate::syntax::values::{self, Reason};
use serde_json::Value;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// The values that a monitor has where it sets none.
pub(in crate::config) struct Defaults<'a> {
    pub(in crate::config) api: Option<&'a DefaultApi>,
    pub(in crate::config) poll: PollConfig,
    pub(in crate::config) directories: Directories<'a>,
}

/// More monitors than this were made by a program, and want several farspans.
const MONITORS_MAX: usize = 256;

/// The enabled monitors of a file. `in_file` has the file's name and its `monitors`; without them there is one monitor,
/// which asks the settings' API.
pub(in crate::config) fn read(
    in_file: Option<(Arc<str>, WrittenJson)>,
    defaults: &Defaults<'_>,
    mistakes: &Mistakes,
) -> Vec<MonitorConfig> {
    let (file, node) = match in_file {
        Some((file, node)) => (Some(file), node),
        None => (None, default_monitors()),
    };
    let path = Path::of(&["monitors"]);
    let place = match &file {
        Some(file) => Place::in_file(file.clone(), path),
        None => Place::default().join(&path),
    };
    let mut monitors: Vec<MonitorConfig> = Vec::new();
    match node.into_value(&place, mistakes) {
        Value::Array(values) if values.len() > MONITORS_MAX => {
            mistakes.add(place, format_args!("more than {MONITORS_MAX} monitors"));
        }
        Value::Array(values) => {
            let mut names = Vec::new();
            for (index, value) in values.into_iter().enumerate() {
                let name = value.get("name").and_then(Value::as_str);
                let place = place_of(&file, index, name);
                if let Some(name) = name {
                    if names.iter().any(|known| known == name) {
                        let what = format!("'{}': another monitor has this name", shown(name));
                        mistakes.add(place.key("name"), what);
                    }
                    names.push(name.to_owned());
                }
                monitors.extend(over_its_preset(value, place, defaults, mistakes));
            }
            report_sharing(&monitors, mistakes);
        }
        other => {
            let what = format_args!("is {}, must be an array of objects", kind_of(&other));
            mistakes.add(place, what);
        }
    }
    monitors
}

fn place_of(file: &Option<Arc<str>>, index: usize, name: Option<&str>) -> Place {
    let name = name.filter(|name| file.is_some() && monitor_name(name).is_ok());
    Place {
        within: Within::Monitor {
            file: file.clone(),
            index,
            name: name.map(Into::into),
        },
        path: Path::default(),
    }
}

fn over_its_preset(
    value: Value,
    place: Place,
    defaults: &Defaults<'_>,
    mistakes: &Mistakes,
) -> Option<MonitorConfig> {
    match over_preset(value) {
        OverPreset::Merged(preset, value) => monitor(&value, preset, place, defaults, mistakes),
        OverPreset::Unknown(value) => {
            let names: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
            let preset = value.get("preset").map(Value::to_string);
            let preset = shown(&preset.unwrap_or_default());
            let what = format!("{preset} is unknown; there are {}", names.join(", "));
            mistakes.add(place.key("preset"), what);
            mistakes.extend(mistakes_over_any(&value, &place, defaults));
            None
        }
    }
}

/// The mistakes that a monitor has over each preset: they are its own, whichever preset is meant.
fn mistakes_over_any(value: &Value, place: &Place, defaults: &Defaults<'_>) -> Vec<Mistake> {
    let over = |preset: &str| {
        let mut value = value.clone();
        value["preset"] = preset.into();
        let mistakes = Mistakes::default();
        over_its_preset(value, place.clone(), defaults, &mistakes);
        mistakes.into_vec()
    };
    let mut all = PRESETS.iter().map(|(name, _)| over(name));
    let mut common = all.next().unwrap_or_default();
    for mistakes in all {
        common.retain(|mistake| mistakes.contains(mistake));
    }
    common
}

/// `None` where it is not enabled, or where it has a mistake.
fn monitor(
    value: &Value,
    preset: Option<String>,
    place: Place,
    defaults: &Defaults<'_>,
    mistakes: &Mistakes,
) -> Option<MonitorConfig> {
    let object = Object::of(value, place, mistakes)?;
    let before = mistakes.count();
    object.ignore(&["preset", "$schema", "description"]);
    let enabled = object.flag("enabled").unwrap_or(true);
    let name = object.required("name", monitor_name);
    let definition = from_json::definition(&object);
    let ids: Vec<Box<str>> = match &definition.id {
        Some(pattern) => pattern.names().map(Into::into).collect(),
        None => Vec::new(),
    };
    let api = api(&object, defaults);
    let events = events(&object, &ids);
    let mut poll = poll(&object, defaults.poll);
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
    let spans = spans(&object);
    let service = service(&object);
    let context = context(&object);
    let discovery = discovery(&object, &ids);
    let finished = finished(&object, defaults.directories);
    let mapping = compile(definition, &poll_words, &object, before);
    let written = Written {
        place: object.place().clone(),
        preset,
        members: value.as_object().cloned().unwrap_or_default(),
    };
    object.close();
    Some(MonitorConfig {
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

/// Finds the mistakes that only the whole definition shows. A consequence of a mistake that was found before, after the
/// first `before`, is not reported.
fn compile(
    definition: Definition,
    poll: &PollWords,
    monitor: &Object<'_>,
    before: usize,
) -> Option<Arc<Mapping>> {
    let mistakes = monitor.mistakes();
    let known = mistakes.split_off(before);
    let is_reported = |path: &Path| (known.iter()).any(|mistake| mistake.place.path.is_along(path));
    let mut found = contradictions(&definition, poll, &is_reported);
    let mapping = Mapping::compile(definition);
    let mapping = mapping.map_err(|more| {
        found.extend(more.into_iter().map(|it| (it.place.path, it.what)));
    });
    found.retain(|(path, _)| !is_reported(path));
    let is_sound = found.is_empty();
    mistakes.extend(known);
    for (path, what) in found {
        monitor.mistake_at(&path, what);
    }
    mapping.ok().filter(|_| is_sound).map(Arc::new)
}

pub(super) fn monitor_name(text: &str) -> Result<String, Reason> {
    const BYTES_MAX: usize = 64;
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    match text.len() {
        1..=BYTES_MAX if text.bytes().all(fits) => Ok(text.to_owned()),
        _ => Err(format!("must be 1 to {BYTES_MAX} of A-Z a-z 0-9 _ - .").into()),
    }
}

fn api(monitor: &Object<'_>, defaults: &Defaults<'_>) -> MonitorApi {
    let mut read = MonitorApi {
        base_url: defaults
            .api
            .map(|api| api.base_url.clone())
            .unwrap_or_default(),
        headers: Vec::new(),
        auth: match defaults.api.and_then(|api| api.token.clone()) {
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
            monitor.require("api", "; write {\"base_url\": \"http://host:port/path\"}");
        }
        return read;
    };
    let own_base = api.has("base_url");
    if let Some(base_url) = api.parsed_url("base_url", |text| {
        values::base_url(text, INSTEAD_OF_USERINFO)
    }) {
        // A token is sent only to the API that it was given for.
        read.auth = Auth::None;
        read.base_url = base_url;
    } else if !own_base && read.base_url.is_empty() {
        api.require("base_url", "; write http://host:port/path");
    }
    read.headers = headers(&api);
    if let Some(auth) = api.object("auth") {
        read.auth =
            authentication(&auth, &read.base_url, defaults.directories).unwrap_or(Auth::None);
        auth.close();
    }
    read.certificate = pem(
        &api,
        "certificate_file",
        PemKind::Certificate,
        defaults.directories,
    );
    read.client_certificate = pem(
        &api,
        "client_certificate_file",
        PemKind::Certificate,
        defaults.directories,
    );
    read.client_key = pem(&api, "client_key_file", PemKind::Key, defaults.directories);
    if api.has("client_certificate_file") != api.has("client_key_file") {
        api.mistaken("client_certificate_file and client_key_file go together; one is missing");
    }
    read.requests_per_second = api.number("requests_per_second", 0.001..=100_000.0);
    read.send_traceparent = api.flag("send_traceparent").unwrap_or(false);
    api.close();
    read
}

fn headers(api: &Object<'_>) -> Vec<(String, Secret)> {
    let mut headers = Vec::new();
    for (name, value) in api.entries("headers") {
        let path = Path::of(&["headers", name]);
        let Some(value) = value.as_str() else {
            let what = format_args!("is {}, must be a string", kind_of(value));
            api.mistake_at(&path, what);
            continue;
        };
        match (header_name(name), header_value(value)) {
            (Ok(name), Ok(value)) => headers.push((name, value)),
            (Err(reason), _) => api.mistake_at(&path, reason),
            (_, Err(reason)) => api.mistake_at(&path, format_args!("the value {reason}")),
        }
    }
    headers
}

pub(super) const INSTEAD_OF_USERINFO: &str = "write it in api.auth";

fn pem(
    api: &Object<'_>,
    key: &'static str,
    kind: PemKind,
    directories: Directories<'_>,
) -> Option<Pem> {
    let text = api.text(key)?;
    if let Some(missing) = features::missing(&[Feature::Tls]) {
        api.mistake(key, missing);
        return None;
    }
    let path = directories.path_of(text);
    let read = files::read(&path);
    let checked = read.and_then(|bytes| match otel::check_pem(&bytes, kind) {
        Ok(()) => Ok(bytes),
        Err(reason) => Err(reason.into()),
    });
    match checked {
        Ok(bytes) => Some(Pem { path, bytes }),
        Err(reason) => {
            let path = escape(&path.to_string_lossy());
            api.mistake(key, format_args!("'{path}' {reason}"));
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
            let parts = object.parsed_entries("id", Pointer::parse);
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

/// A duration up to 10,000 days.
pub(super) fn long_duration(text: &str, least: Duration, bounds: &str) -> Result<Duration, Reason> {
    values::duration_within(text, least..=DAY * 10_000, bounds)
}

fn interval(text: &str) -> Result<Duration, Reason> {
    values::duration_within(text, MOMENT..=DAY, "it may be 10ms to 24h")
}

fn poll(monitor: &Object<'_>, defaults: PollConfig) -> Pace {
    let mut read = Pace {
        initial_delay: defaults.initial_delay,
        spreads_first_polls: true,
        interval: defaults.interval,
        timeout: defaults.timeout,
        interval_by_status: Vec::new(),
        adaptive: None,
        gone_after: None,
        pause_max: crate::core::limits::RETRY_AFTER_MAX,
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
        long_duration(text, MOMENT, "it may be 10ms to 10000d")
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
            long_duration(text, Duration::ZERO, "it may be 0s to 10000d")
        });
        gone.close();
    }
    let pause_max = poll.parsed("pause_max", |text| {
        values::duration_within(text, Duration::from_secs(1)..=DAY, "it may be 1s to 24h")
    });
    read.pause_max = pause_max.unwrap_or(read.pause_max);
    poll.close();
    read
}

fn spans(monitor: &Object<'_>) -> Spans {
    let mut read = Spans {
        workflow: "Workflow".to_owned(),
        status_ok: true,
        skipped: false,
        queued: false,
        started: false,
        status_events: StatusEvents::Span,
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
    read.started = spans.flag("started").unwrap_or(false);
    let status_events = spans.parsed("status_events", |text| {
        let words = [
            ("span", StatusEvents::Span),
            ("log", StatusEvents::Log),
            ("both", StatusEvents::Both),
        ];
        values::one_of(text, &words)
    });
    read.status_events = status_events.unwrap_or_default();
    spans.close();
    read
}

fn service(monitor: &Object<'_>) -> ServiceConfig {
    let Some(service) = monitor.object("service") else {
        return ServiceConfig::default();
    };
    let attributes = service
        .parsed_entries("attributes", values::label)
        .into_iter();
    let read = ServiceConfig {
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

fn discovery(monitor: &Object<'_>, ids: &[Box<str>]) -> Option<RunList> {
    let discovery = monitor.object("discovery")?;
    let enabled = discovery.flag("enabled").unwrap_or(true);
    let parameters = discovery.parsed_entries("parameters", values::label);
    discovery.require("request", ": {\"path\": \"/runs?since={since}\"}");
    let request = discovery.object("request");
    let request = request.map(|request| from_json::request(request, &parameters));
    let request = request.unwrap_or_default();
    if enabled {
        check_discovery(&discovery, &request);
    }
    let id = id_pointers(&discovery, ids);
    discovery.require("id", ": a JSON Pointer to a run's id in its element");
    discovery.require("list", ": a JSON Pointer to the array of runs");
    let read = RunList {
        request,
        runs: discovery.pointer("list").unwrap_or_default(),
        id,
        submitted_at: discovery.pointers("submitted_at"),
        attempt: discovery.pointers("attempt"),
        only: discovery.values_at_pointers("only"),
        interval: discovery
            .parsed("interval", interval)
            .unwrap_or(Duration::from_secs(30)),
        lookback: discovery
            .parsed("lookback", |text| {
                long_duration(text, Duration::ZERO, "it may be 0s to 10000d")
            })
            .unwrap_or(Duration::from_secs(3600)),
    };
    discovery.close();
    enabled.then_some(read)
}

/// The templates of a discovery know only the time.
fn check_discovery(discovery: &Object<'_>, request: &Request) {
    const KNOWN: [&str; 3] = ["since", "since_epoch", "since_epoch_ms"];
    let in_path = request.path.names().map(|name| ("path", name.to_owned()));
    let in_body = request.body.iter().flat_map(BodyTemplate::names);
    let in_body = in_body.map(|name| ("body", name));
    for (key, name) in in_path.chain(in_body) {
        if KNOWN.contains(&name.as_str()) {
            continue;
        }
        let mut what = format!("{{{name}}} is not known; there are {}", KNOWN.join(", "));
        if key == "path" {
            let _ = write!(
                what,
                ", or \"parameters\": {{\"{name}\": \"..\"}} beside the request"
            );
        }
        discovery.mistake_at(&Path::of(&["request", key]), what);
    }
    if request.for_each.is_some() || request.when_attempt_above.is_some() {
        let path = Path::of(&["request", "for_each"]);
        discovery.mistake_at(&path, "a discovery asks once");
    }
}

fn finished(monitor: &Object<'_>, directories: Directories<'_>) -> Option<ReceiverConfig> {
    let object = monitor.object("finished")?;
    let (has_stream, has_url) = (object.has("redis_stream"), object.has("url"));
    let written = [object.has("redis_channel"), has_stream, has_url];
    let channel = object.parsed("redis_channel", values::label);
    let stream = object.parsed("redis_stream", values::label);
    let length_max = object.integer("redis_stream_maxlen", 1..=u32::MAX);
    let url = object.parsed_url("url", |text| {
        values::http_url(text, "write it in finished.auth").map(|_| text.to_owned())
    });
    let auth = object.object("auth").map(|auth| {
        let read = authentication(&auth, "", directories).unwrap_or(Auth::None);
        auth.close();
        read
    });
    if length_max.is_some() && !has_stream {
        object.mistake(
            "redis_stream_maxlen",
            "has a meaning only with redis_stream",
        );
    }
    if auth.is_some() && !has_url {
        object.mistake("auth", "has a meaning only with url");
    }
    if let Some(Auth::Login { url, .. }) = &auth
        && url.is_empty()
    {
        let path = Path::of(&["auth", "url"]);
        object.mistake_at(&path, "must begin with http:// or https://");
    }
    let ways = [
        channel.map(ReceiverConfig::RedisChannel),
        stream.map(|key| ReceiverConfig::RedisStream {
            key,
            length_max: length_max.unwrap_or(FINISHED_STREAM_LENGTH_MAX),
        }),
        url.map(|url| ReceiverConfig::Http {
            url,
            auth: auth.unwrap_or(Auth::None),
        }),
    ];
    // What is written and cannot be used has its own message.
    if written.into_iter().filter(|is_written| *is_written).count() != 1 {
        object.mistaken("must have one of redis_channel, redis_stream and url");
    }
    object.close();
    ways.into_iter().flatten().next()
}

/// The stream stays bounded even if no client reads it.
const FINISHED_STREAM_LENGTH_MAX: u32 = 100_000;
