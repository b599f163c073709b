//! `farspan check`: the configuration is valid; now, does everything it names answer?
//!
//! A line for each thing that was tried, with the key that names it and what could help. Nothing is left behind: no span,
//! no stream, no directory.

use crate::api::exchange::PathTold;
use crate::api::poller;
#[cfg(feature = "redis")]
use crate::config::Redis;
use crate::config::monitor::{MonitorConfig, ReceiverConfig};
use crate::config::{CollectorConfig, Config, Errors, Secret, StateConfig};
use crate::core::Answer;
use crate::core::limits;
use crate::core::poll_failure::{PollFailure, PollFailureReason as Reason};
use crate::core::time::Wall;
use crate::deliver::export::no_answer;
#[cfg(feature = "redis")]
use crate::deliver::notify::RedisReceiver;
use crate::http::client::{self, Network, Timeouts, Trust};
#[cfg(feature = "redis")]
use crate::intake;
use crate::intake::discovery::RunList;
#[cfg(feature = "redis")]
use crate::intake::redis::Subscription;
use crate::mapping::definition::Method;
use crate::mapping::template::Variables;
use crate::os::clock;
#[cfg(feature = "redis")]
use crate::redis_client;
use crate::run;
use crate::syntax::mend::value_of;
use crate::syntax::text::escape;
use crate::syntax::values::redacted_url;
use crate::terminal::console::say;
use serde_json::{Value, json};
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use ureq::Body;
use ureq::http::{Response, Uri, header};

const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    read: Duration::from_secs(10),
    total: Duration::from_secs(10),
};

/// How one thing went: what was found, or what is wrong and what could help.
type Tried = Result<String, String>;

/// Tries each endpoint of a valid configuration and says how it went: a line each, or one JSON object at the end. Fails
/// if one did not answer. With `offline` nothing is tried.
pub fn run(config: &Config, offline: bool, json: bool) -> ExitCode {
    let mut results = Results {
        json: json.then(Vec::new),
        all_well: true,
    };
    if !json {
        say("ok    configuration");
    }
    if !offline {
        try_all(config, &mut results);
    }
    if let Some(tried) = results.json {
        say(&format!(
            "{:#}",
            json!({"ok": results.all_well, "mistakes": [], "tried": tried})
        ));
    }
    if results.all_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What `farspan check --json` prints of a configuration with mistakes: the definition `check` in
/// `docs/output.schema.json`.
pub fn mistakes_json(errors: &Errors) -> Value {
    let mistakes: Vec<Value> = errors
        .iter()
        .map(|mistake| json!({"place": mistake.place.to_string(), "what": mistake.what}))
        .collect();
    json!({"ok": false, "mistakes": mistakes, "tried": []})
}

/// How each thing went.
struct Results {
    /// What was tried, until all of it is printed. `None`: each is printed at once, as a line.
    json: Option<Vec<Value>>,
    all_well: bool,
}

impl Results {
    fn add(&mut self, what: &str, tried: Tried) {
        let is_well = tried.is_ok();
        self.all_well &= is_well;
        let word = if is_well { "ok  " } else { "FAIL" };
        self.print(word, what, &tried.unwrap_or_else(|trouble| trouble));
    }

    /// Adds what may be wrong with a thing that answers. It fails nothing.
    fn doubt(&mut self, what: &str, doubt: &str) {
        self.print("WARN", what, doubt);
    }

    fn print(&mut self, word: &str, what: &str, text: &str) {
        match &mut self.json {
            Some(all) => all.push(json!({"what": what, "ok": word != "FAIL", "text": text})),
            None => say(&format!("{word}  {what}: {text}")),
        }
    }
}

fn try_all(config: &Config, results: &mut Results) {
    let network = match Network::start(config.proxies.clone()) {
        Ok(network) => network,
        Err(trouble) => return results.add("network", Err(trouble)),
    };
    try_monitors(config, &network, results);
    #[cfg(feature = "redis")]
    if let Some(redis) = &config.redis {
        try_redis(config, redis, results);
    }
    if let Some(missing) = run::source_missing(config, false)
        && config.monitors.iter().all(|m| m.discovery.is_none())
    {
        results.add("start events", Err(missing.to_owned()));
    }
    try_collectors(config, &network, results);
    #[cfg_attr(not(feature = "admin"), expect(unused_variables))]
    let is_running = match &config.state {
        StateConfig::File(directory) => {
            let looked = look_at(directory, config.state_bytes_max);
            let is_running = looked.as_ref().is_ok_and(|(_, is_running)| *is_running);
            let what = format!("state {}", directory.display());
            results.add(&what, looked.map(|(found, _)| found));
            is_running
        }
        // It is in the Redis above, or nowhere.
        StateConfig::Redis { .. } | StateConfig::None => false,
    };
    #[cfg(feature = "admin")]
    if let Some(admin) = &config.admin {
        let what = format!("admin endpoint {}", admin.listen);
        let tried = match crate::admin::bind(&admin.listen) {
            Ok(_) => Ok("is free".to_owned()),
            Err(error) if is_running && error.kind() == std::io::ErrorKind::AddrInUse => {
                Ok("is in use, as the state is: a farspan is running".to_owned())
            }
            Err(error) => Err(format!(
                "{error}; set FARSPAN_ADMIN_LISTEN (admin.listen) to another address, or none"
            )),
        };
        results.add(&what, tried);
    }
}

fn try_collectors(config: &Config, network: &Network, results: &mut Results) {
    if config.export.otlp.is_none() {
        results.add("collector", Ok("none is set".to_owned()));
    }
    let export = &config.export;
    let metrics = config.metrics.otlp.as_ref().map(|it| &it.collector);
    for (what, collector) in [
        ("collector", export.otlp.as_ref()),
        ("collector of log records", export.logs.as_ref()),
        ("collector of metrics", metrics),
    ] {
        if let Some(collector) = collector {
            let what = format!("{what} {}", redacted_url(&collector.endpoint));
            results.add(&what, ask_collector(collector, network));
        }
    }
}

fn try_monitors(config: &Config, network: &Network, results: &mut Results) {
    for monitor in &config.monitors {
        let what = format!("monitor {}, API {}", monitor.name, monitor.api.base_url);
        match ask_api(monitor, network) {
            Ok(ApiFound { answer, doubt }) => {
                results.add(&what, Ok(answer));
                if let Some(doubt) = doubt {
                    results.doubt(&what, &doubt);
                }
            }
            Err(trouble) => results.add(&what, Err(trouble)),
        }
        if let Some(discovery) = &monitor.discovery {
            let what = format!("monitor {}, discovery", monitor.name);
            results.add(&what, ask_discovery(monitor, discovery, network));
        }
        if let Some(ReceiverConfig::Http { url, .. }) = &monitor.finished {
            let place = ReceiverConfig::redacted(url);
            let what = format!("monitor {}, finished events to {place}", monitor.name);
            results.add(&what, ask_receiver(url, network));
        }
    }
}

/// What an API answered that has let farspan in.
struct ApiFound {
    answer: String,
    /// Why it may be no API.
    doubt: Option<String>,
}

/// Polls after a workflow that there is not, as `farspan run` would: that is what its credentials have to let in.
fn ask_api(monitor: &MonitorConfig, network: &Network) -> Result<ApiFound, String> {
    let pattern = monitor.mapping.definition().id.as_ref();
    let id = pattern.map_or_else(|| "farspan-check".to_owned(), |pattern| pattern.example());
    let target = run::target(monitor, network)?;
    let probed = poller::probe(&target, &run::trust(monitor), network, &id)?;
    let last = probed.exchanges.last();
    let status = last.and_then(|exchange| exchange.status);
    let status = status.map_or("an answer".to_owned(), |status| format!("HTTP {status}"));
    let reachable = ApiFound {
        answer: format!("answers ({status} to the invented id {id})"),
        doubt: match probed.path {
            PathTold::Doubtful(why) => Some(why),
            PathTold::Known(_) | PathTold::Nothing => None,
        },
    };
    match probed.polled.answer {
        Answer::Snapshot { .. } | Answer::NotFound => Ok(reachable),
        Answer::Failed(failure) | Answer::Partial { failure, .. } => match failure.reason {
            // It has let us in, and knows no such workflow.
            Reason::Status | Reason::Shape | Reason::TooManyRequests => Ok(reachable),
            _ => Err(remedied(monitor, &failure)),
        },
    }
}

/// What went wrong with an API, and which key could mend it.
fn remedied(monitor: &MonitorConfig, failure: &PollFailure) -> String {
    format!(
        "{}: {}{}",
        failure.reason.as_str(),
        escape(&failure.detail),
        monitor.api_keys().remedy(failure.reason)
    )
}

/// A GET, because a POST would tell it that a workflow has finished. What it answers to that says nothing.
fn ask_receiver(url: &str, network: &Network) -> Tried {
    let status = ask(url, std::iter::empty(), &Trust::default(), network);
    let status = status.map_err(|error| {
        let why = client::told(&error);
        format!("no answer: {why}; is finished.url right, and does a server listen there?")
    })?;
    Ok(format!("reachable (HTTP {status} to a GET)"))
}

/// Requests the first page of the list, and looks for the runs and their ids in it.
fn ask_discovery(monitor: &MonitorConfig, discovery: &RunList, network: &Network) -> Tried {
    let (url, body) = first_page(monitor, discovery, network)?;
    let json = value_of(&body)
        .map_err(|_| format!("{url}: the answer is not JSON; is discovery.request.path right?"))?;
    let list = discovery.runs.to_string();
    let Some(runs) = json.pointer(&list).and_then(|list| list.as_array()) else {
        let members = json.as_object().into_iter().flatten();
        let keys: Vec<String> = members.map(|(key, _)| escape(key)).collect();
        let keys = if keys.is_empty() {
            "no keys".to_owned()
        } else {
            keys.join(", ")
        };
        return Err(format!(
            "{url}: discovery.runs: no array at \"{list}\"; the answer has {keys}"
        ));
    };
    let without_id = runs.iter().filter(|run| {
        let mut ids = discovery.id.iter();
        ids.any(|(_, pointer)| run.pointer(&pointer.to_string()).is_none())
    });
    match without_id.count() {
        0 => Ok(format!("{} runs on the first page", runs.len())),
        without => Err(format!(
            "{url}: discovery.id: leads nowhere in {without} of {} runs",
            runs.len()
        )),
    }
}

/// The URL of the first page, and its body.
fn first_page(
    monitor: &MonitorConfig,
    discovery: &RunList,
    network: &Network,
) -> Result<(String, Vec<u8>), String> {
    let variables = since(discovery.lookback);
    let mut url = monitor.api.base_url.clone();
    let rendered = discovery.request.path.render(&variables, &mut url);
    rendered.map_err(|why| format!("discovery.request.path: {why}"))?;
    let response = send(monitor, discovery, network, (&url, &variables))?;
    let status = response.status().as_u16();
    match status {
        200..=299 => {}
        401 | 403 => {
            let key = monitor.credential_key();
            return Err(format!(
                "{url}: HTTP {status}; is {key} right, and may it see the list?"
            ));
        }
        404 => return Err(format!("{url}: HTTP 404; is discovery.request.path right?")),
        _ => return Err(format!("{url}: HTTP {status}")),
    }
    let reader = response.into_body().into_reader();
    let mut body = Vec::new();
    (reader.take(limits::BODY_BYTES_MAX))
        .read_to_end(&mut body)
        .map_err(|error| format!("{url}: the answer broke off: {}", client::told_io(&error)))?;
    Ok((url, body))
}

fn send(
    monitor: &MonitorConfig,
    discovery: &RunList,
    network: &Network,
    (url, variables): (&str, &Variables<'_>),
) -> Result<Response<Body>, String> {
    let target = run::target(monitor, network)?;
    let agent = client::agent(TIMEOUTS, url, &run::trust(monitor), network)?;
    let credential = target.api.credentials.header();
    let credential = credential.map_err(|failure| remedied(monitor, &failure))?;
    let headers = || target.api.headers.iter().chain(&credential);
    let response = match discovery.request.method {
        Method::Get => {
            let mut request = agent.get(url).header(header::ACCEPT, "application/json");
            for (name, value) in headers() {
                request = request.header(name, value);
            }
            request.call()
        }
        Method::Post => {
            let body = discovery.request.body.as_ref();
            let body = body.map(|body| body.render(variables)).transpose();
            let body = body.map_err(|why| format!("discovery.request.body: {why}"))?;
            let body = body.map_or(String::new(), |json| json.to_string());
            let mut request = agent.post(url).content_type("application/json");
            for (name, value) in headers() {
                request = request.header(name, value);
            }
            request.send(body)
        }
    };
    response.map_err(|error| {
        let failure = PollFailure {
            reason: client::reason_of(&error),
            detail: client::told(&error).into(),
            retry_after: None,
        };
        format!("{url}: {}", remedied(monitor, &failure))
    })
}

/// The variables of a listing that goes back this far.
fn since(lookback: Duration) -> Variables<'static> {
    let now = clock::now().wall.as_unix_ns();
    let lookback = i64::try_from(lookback.as_nanos()).unwrap_or(i64::MAX);
    let since = Wall::from_unix_ns(now.saturating_sub(lookback));
    let since_ms = since.as_unix_ns() / 1_000_000;
    let mut variables = Variables::default();
    variables.set("since", &since.to_string());
    variables.set("since_epoch", &(since_ms / 1000).to_string());
    variables.set("since_epoch_ms", &since_ms.to_string());
    variables
}

#[cfg(feature = "redis")]
fn try_redis(config: &Config, redis: &Redis, results: &mut Results) {
    let streams = config
        .monitors
        .iter()
        .filter_map(|m| m.events.redis_stream.as_ref());
    let keeps = redis.stream.is_some()
        || streams.count() > 0
        || matches!(config.state, StateConfig::Redis { .. });
    let pinged = intake::redis::ping(redis.url.expose(), keeps);
    let is_there = pinged.is_ok();
    results.add(
        "Redis",
        pinged.map_err(|why| {
            let is_tls = redis.url.expose().starts_with("rediss:");
            let tls = if is_tls {
                ", and does it speak TLS (rediss:// and not redis://)"
            } else {
                ""
            };
            format!("{why}; is FARSPAN_REDIS_URL (redis.url) right{tls}?")
        }),
    );
    if !is_there {
        return;
    }
    let url = redis.url.expose();
    for Subscription { channel, .. } in run::subscriptions(config, redis) {
        let key = key_of(config, "channel", |monitor| {
            monitor.events.redis_channel.as_ref() == Some(&channel)
        });
        let tried = intake::redis::try_to_subscribe(url, &channel)
            .map(|()| "may be subscribed to".to_owned())
            .map_err(|why| format!("{why}; {key}"));
        results.add(&format!("channel {}", escape(&channel)), tried);
    }
    for stream in run::streams(config, redis) {
        let key = key_of(config, "stream", |monitor| {
            monitor.events.redis_stream.as_ref() == Some(&stream.key)
        });
        let tried = look_at_stream(url, &stream.key, &key).and_then(|found| {
            let allowed = stream.ask_rights();
            allowed.map_or_else(|why| Err(format!("{why}; {key}")), |()| Ok(found))
        });
        results.add(&format!("stream {}", escape(&stream.key)), tried);
    }
    for monitor in &config.monitors {
        let (kind, name) = match &monitor.finished {
            Some(ReceiverConfig::RedisChannel(channel)) => ("channel", channel),
            Some(ReceiverConfig::RedisStream { key, .. }) => ("stream", key),
            Some(ReceiverConfig::Http { .. }) | None => continue,
        };
        let key = format!("finished.redis_{kind} of monitor {}", monitor.name);
        let found = if kind == "stream" {
            look_at_stream(url, name, &key)
        } else {
            Ok("may be published to".to_owned())
        };
        let tried = found.and_then(|found| {
            let allowed = RedisReceiver::new(url, name.clone(), (kind == "stream").then_some(0));
            let allowed = allowed.and_then(|it| it.ask_rights());
            allowed.map_or_else(|why| Err(format!("{why}; {key}")), |()| Ok(found))
        });
        results.add(&format!("{kind} {}", escape(name)), tried);
    }
}

/// The key of a channel or a stream: that of the monitor that has it, else the common one.
#[cfg(feature = "redis")]
fn key_of(config: &Config, kind: &str, has_it: impl Fn(&MonitorConfig) -> bool) -> String {
    match config.monitors.iter().find(|monitor| has_it(monitor)) {
        Some(monitor) => format!("events.redis_{kind} of monitor {}", monitor.name),
        None => format!("FARSPAN_REDIS_{} (redis.{kind})", kind.to_uppercase()),
    }
}

#[cfg(feature = "redis")]
fn look_at_stream(url: &str, stream: &str, key: &str) -> Tried {
    let client = redis::Client::open(url).map_err(|e| redis_client::told(&e))?;
    let kind = redis_client::connect(&client, TIMEOUTS.connect)
        .and_then(|mut it| redis::cmd("TYPE").arg(stream).query::<String>(&mut it));
    match kind.as_deref() {
        Ok("stream") => Ok("is a stream".to_owned()),
        Ok("none") => Ok("is not there yet".to_owned()),
        Ok(other) => Err(format!(
            "is a {other} and no stream; {key} has to name another key"
        )),
        // Whether it may be read is asked next.
        Err(error) if redis_client::is_refusal(error) => Ok("may be used".to_owned()),
        Err(error) => Err(format!("{}; {key}", redis_client::told(error))),
    }
}

/// Whether the state can be kept there, and whether a farspan does already.
fn look_at(directory: &Path, bytes_max: u64) -> Result<(String, bool), String> {
    const REMEDY: &str = "set FARSPAN_STATE_DIR (state_dir) to a directory that farspan may write to, or FARSPAN_STATE to none";
    // What is missing would be made.
    let existing = directory
        .ancestors()
        .find(|path| path.as_os_str().is_empty() || path.exists());
    let existing = existing
        .filter(|path| !path.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let trace = existing.join(format!(".farspan-check-{}", std::process::id()));
    let written = fs::File::create_new(&trace).and_then(|_| fs::remove_file(&trace));
    written.map_err(|error| format!("{}: {error}; {REMEDY}", existing.display()))?;
    if existing != directory && directory != Path::new(".") && !directory.exists() {
        return Ok(("is not there yet and can be made".to_owned(), false));
    }
    #[cfg(feature = "file")]
    {
        let found = crate::store::file::StateFile::look(directory).map_err(|e| e.to_string())?;
        let told = match found {
            crate::store::file::FileState::Absent => {
                "is writable, and holds nothing yet".to_owned()
            }
            crate::store::file::FileState::Held => "is in use: a farspan is running".to_owned(),
            crate::store::file::FileState::Free { bytes } => {
                format!("is writable; its file has {bytes} bytes of {bytes_max} at most")
            }
        };
        Ok((told, matches!(found, crate::store::file::FileState::Held)))
    }
    #[cfg(not(feature = "file"))]
    {
        let _ = bytes_max;
        Err("needs a farspan that was built with the feature 'file'".to_owned())
    }
}

fn ask_collector(otlp: &CollectorConfig, network: &Network) -> Result<String, String> {
    let headers = otlp.headers.iter();
    let headers =
        headers.map(|(name, value): &(String, Secret)| (&**name, value.expose().to_owned()));
    // A GET, because the specification forbids an empty export and a real one would leave a span behind.
    let status = ask(
        &otlp.endpoint,
        headers,
        &run::collector_trust(otlp),
        network,
    );
    let port = otlp.endpoint.parse().ok().and_then(|it: Uri| it.port_u16());
    let keys = &otlp.keys;
    let status = status.map_err(|error| {
        let why = no_answer(&error, port);
        format!("no answer: {why}; {}", keys.is_it())
    })?;
    let endpoint = keys.endpoint;
    match status {
        401 | 403 => Err(format!("HTTP {status}; is {} right?", keys.headers)),
        404 => Err(format!("HTTP 404; is the path of {endpoint} right?")),
        500.. => Err(format!("HTTP {status} to a GET; {}", keys.is_it())),
        _ => Ok(format!("reachable (HTTP {status} to a GET)")),
    }
}

fn ask<'h>(
    url: &str,
    headers: impl Iterator<Item = (&'h str, String)>,
    trust: &Trust,
    network: &Network,
) -> Result<u16, ureq::Error> {
    let agent = client::agent(TIMEOUTS, url, trust, network);
    let agent = agent.map_err(|why| ureq::Error::Other(why.into()))?;
    let mut request = agent.get(url);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.call().map(|response| response.status().as_u16())
}
