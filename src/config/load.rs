//! From the environment and the file to a [`Config`].

use super::metrics;
use super::monitor::{self, Defaults, Directories, MonitorConfig};
use super::otel;
use super::redis_url;
use super::resolver::{Resolver, ValueOrigin, absolute};
use super::secrets::hide_secrets;
use super::{
    AdminConfig, AdminTarget, CollectorConfig, Config, DefaultApi, Errors, PollConfig, Redis,
    Secret, StateConfig,
};
use crate::core::limits;
use crate::http::proxies::{Exceptions, Proxies, Proxy};
use crate::os::environment::Environment;
use crate::os::logging::{self, Log, LogFormat};
use crate::os::redaction::hide;
use crate::syntax::mistake::{Mistake, Mistakes, Path, Place};
use crate::syntax::text::shown;
use crate::syntax::values;
use log::LevelFilter;
use std::borrow::Cow;
use std::path;
use std::time::Duration;

impl Config {
    /// Reads the configuration from the environment and from a file: this one, else the one in `FARSPAN_CONFIG`.
    pub fn load(env: &Environment, file: Option<&path::Path>) -> Result<Config, Errors> {
        Self::load_named(env, file, false)
    }

    /// As [`load`](Self::load). It is a mistake too that no API is set.
    pub fn load_to_watch(env: &Environment, file: Option<&path::Path>) -> Result<Config, Errors> {
        Self::load_named(env, file, true)
    }

    /// A file that lies there and is not read is worth a warning: `farspan init` has just written it.
    fn load_named(
        env: &Environment,
        file: Option<&path::Path>,
        needed: bool,
    ) -> Result<Config, Errors> {
        let mut config = load(Resolver::new(env, file), env, needed)?;
        if file.is_none() && env.text("FARSPAN_CONFIG").is_none() {
            let unread = unread_file(path::Path::new("."));
            config.warnings.extend(unread.map(str::to_owned));
        }
        Ok(config)
    }

    /// For a command that watches this API, as the demo does. Only the `OTEL_*` variables and those of the instance,
    /// the log and the admin endpoint are read. Spans are sent to a collector only if an endpoint is set, and no state is stored.
    pub fn for_api(env: &Environment, base_url: &str) -> Result<Config, Errors> {
        let has_endpoint = [
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        ]
        .iter()
        .any(|name| env.text(name).is_some());
        let env = env.only(|name| {
            let otlp = name.starts_with("OTEL_EXPORTER_OTLP_");
            let proxy = has_endpoint && name.to_ascii_lowercase().ends_with("_proxy");
            is_for_all_commands(name)
                || name.starts_with("FARSPAN_ADMIN_")
                || name == "FARSPAN_TRACE_URL"
                || proxy
                || name.starts_with("OTEL_") && (has_endpoint || !otlp)
        });
        let mut config = load(Resolver::new(&env, None), &env, false)?;
        let base_url = values::base_url(base_url, INSTEAD_OF_USERINFO).map_err(|reason| {
            Errors(vec![Mistake {
                place: Place::named("the API's URL"),
                what: format!("'{}' {reason}", shown(base_url)),
            }])
        })?;
        let api = DefaultApi {
            base_url,
            token: None,
        };
        let defaults = Defaults {
            api: Some(&api),
            poll: config.poll,
            directories: Directories::default(),
        };
        config.monitors = monitor::read(None, &defaults, &Mistakes::default());
        config.api = Some(api);
        config.state = StateConfig::None;
        if !has_endpoint {
            config.export.otlp = None;
        }
        Ok(config)
    }
}

impl Log {
    /// For the commands that read no other setting.
    pub fn load(env: &Environment) -> Result<Log, Errors> {
        let env = env.only(is_for_all_commands);
        Ok(load(Resolver::new(&env, None), &env, false)?.log)
    }

    /// For a command that prints a report: only warnings are logged, unless `FARSPAN_LOG` is set.
    pub fn load_quiet(env: &Environment) -> Result<Log, Errors> {
        let mut log = Log::load(env)?;
        if env.text("FARSPAN_LOG").is_none() {
            log.level = LevelFilter::Warn;
        }
        Ok(log)
    }
}

impl AdminTarget {
    /// The endpoint at this URL (`http://` may be left out), else the one that a farspan with these settings on this host
    /// has. Only the settings of the admin endpoint and of proxies are read.
    pub fn load(
        env: &Environment,
        file: Option<&path::Path>,
        url: Option<&str>,
    ) -> Result<AdminTarget, Errors> {
        let mut resolver = Resolver::new(env, file);
        let written = resolver
            .take("FARSPAN_ADMIN_LISTEN")
            .map(|found| found.text);
        let token = admin_token(&mut resolver);
        let proxies = proxies(&mut resolver);
        let (place, url) = match (url, written.as_deref()) {
            (Some(url), _) if url.contains("://") => ("--admin", Ok(url.to_owned())),
            (Some(address), _) => ("--admin", Ok(format!("http://{address}"))),
            (None, None | Some("none")) => {
                let remedy =
                    "is none: name the endpoint of a running farspan, --admin http://host:port";
                ("FARSPAN_ADMIN_LISTEN (admin.listen)", Err(remedy.into()))
            }
            (None, Some(listen)) => (
                "FARSPAN_ADMIN_LISTEN (admin.listen)",
                values::listen_address(listen).map(|listen| url_on_this_host(&listen)),
            ),
        };
        let url = url.and_then(|url| values::base_url(&url, INSTEAD_OF_ADMIN_USERINFO));
        let url = url.unwrap_or_else(|reason| {
            resolver.mistakes.add(Place::named(place), reason);
            String::new()
        });
        resolver.finish()?;
        if let Some(token) = &token {
            hide(token.expose());
        }
        Ok(AdminTarget {
            url,
            token,
            proxies,
        })
    }
}

/// An endpoint that listens on every address of this host is asked on the loopback address.
fn url_on_this_host(listen: &str) -> String {
    let (host, port) = listen.rsplit_once(':').unwrap_or((listen, ""));
    let host = match host {
        "0.0.0.0" | "*" => "127.0.0.1",
        "[::]" => "[::1]",
        host => host,
    };
    format!("http://{host}:{port}")
}

impl Redis {
    /// For the load generator: the Redis of its options, else the configured one, else the one on this host.
    pub fn for_load(
        env: &Environment,
        url: Option<&str>,
        channel: Option<&str>,
    ) -> Result<Redis, Errors> {
        const ON_THIS_HOST: &str = "redis://127.0.0.1:6379";
        let mut resolver = Resolver::new(env, None);
        let configured_url = redis_url(&mut resolver);
        let configured_channel = redis_channel(&mut resolver);
        let option = |name: &str, parsed: Result<String, values::Reason>| match parsed {
            Ok(text) => text,
            Err(reason) => {
                let what = format!("the value {reason}");
                resolver.mistakes.add(Place::named(name), what);
                String::new()
            }
        };
        let url = match url {
            Some(url) => Secret::new(option("--redis-url", redis_url::checked(url))),
            None => configured_url.unwrap_or_else(|| Secret::new(ON_THIS_HOST)),
        };
        let channel = match channel {
            Some(channel) => option("--channel", values::label(channel)),
            None => configured_channel,
        };
        resolver.finish()?;
        Ok(Redis {
            url,
            channel,
            stream: None,
            stream_length_max: None,
        })
    }
}

fn is_for_all_commands(name: &str) -> bool {
    [
        "FARSPAN_INSTANCE",
        "FARSPAN_LOG",
        "FARSPAN_LOG_FORMAT",
        "HOSTNAME",
        "JOURNAL_STREAM",
    ]
    .contains(&name)
}

pub(super) fn load(
    mut resolver: Resolver<'_>,
    env: &Environment,
    to_watch: bool,
) -> Result<Config, Errors> {
    let it = &mut resolver;
    let api = api(it, to_watch && !it.has_monitors());
    let (url, channel) = (redis_url(it), redis_channel(it));
    let poll = poll(it);
    let workflows_max = workflows_max(it);
    let instance = instance(it, env);
    let log = log(it, env);
    let mut export = otel::export(it);
    let resource = otel::resource(it, env, &instance);
    let trace = otel::trace(it);
    let state = state(it, env);
    let admin = admin(it);
    let metrics = metrics::metrics(it);
    let state_bytes_max = state_bytes_max(it, state != StateConfig::None);
    let proxies = proxies(it);
    check_authorities(it);
    let (stream, stream_length_max) = (redis_stream(it), redis_stream_length_max(it));
    if url.is_none() {
        require_redis(it, &state, stream.is_some());
    }
    let redis = url.map(|url| Redis {
        url,
        channel,
        stream,
        stream_length_max,
    });
    let monitors = monitors(it, env, api.as_ref(), poll, to_watch);
    export.logs = logs(it, &monitors, to_watch);
    let mistakes = monitors
        .iter()
        .flat_map(|monitor| monitor.mistakes_of_redis(redis.as_ref()));
    it.mistakes.extend(mistakes);
    let source_warnings = if to_watch {
        warnings_of(&monitors, redis.is_some() || admin.is_some())
    } else {
        Vec::new()
    };
    let (rows, warnings) = resolver.finish()?;
    let config = Config {
        api,
        monitors,
        state,
        state_bytes_max,
        redis,
        poll,
        workflows_max,
        export,
        trace,
        resource,
        log,
        admin,
        metrics,
        proxies,
        instance,
        warnings,
        source_warnings,
        rows,
    };
    hide_secrets(&config);
    Ok(config)
}

/// Where log records are sent, if a monitor wants any.
fn logs(
    it: &mut Resolver<'_>,
    monitors: &[MonitorConfig],
    to_watch: bool,
) -> Option<CollectorConfig> {
    let are_logged = |monitor: &MonitorConfig| monitor.spans.status_events.are_logged();
    if !monitors.iter().any(are_logged) {
        return None;
    }
    let logs = otel::logs(it);
    if to_watch && logs.is_none() {
        it.warnings.push(
            "spans.status_events: status events are not exported as log records, because OTEL_LOGS_EXPORTER or \
             OTEL_SDK_DISABLED says so"
                .to_owned(),
        );
    }
    logs
}

/// Without a URL of Redis: the mistakes of what needs one. A URL that is set and wrong has its own mistake.
fn require_redis(it: &mut Resolver<'_>, state: &StateConfig, has_stream: bool) {
    let names = ["FARSPAN_REDIS_URL", "FARSPAN_REDIS_URL_FILE"];
    if names.into_iter().any(|name| it.take(name).is_some()) {
        return;
    }
    let needs = |what: &str| {
        it.mistakes.add(
            Place::named(what),
            "needs FARSPAN_REDIS_URL (redis.url), which is not set",
        );
    };
    if matches!(state, StateConfig::Redis { .. }) {
        needs("FARSPAN_STATE (state)");
    }
    if has_stream {
        needs("FARSPAN_REDIS_STREAM (redis.stream)");
    }
}

/// Monitors that get no start events, or those of others.
fn warnings_of(monitors: &[MonitorConfig], has_source: bool) -> Vec<String> {
    let without = monitor::without_source(monitors);
    let mut warnings = Vec::new();
    if cfg!(feature = "redis") && !has_source && !without.is_empty() {
        let warning =
            "FARSPAN_REDIS_URL (redis.url): is not set; start events can come by --events - alone";
        warnings.push(warning.to_owned());
    }
    if without.len() > 1 {
        let names: Vec<_> = without.iter().map(|n| &*monitors[*n].name).collect();
        warnings.push(format!(
            "the monitors {} have no events.redis_channel, events.redis_stream or discovery: they get only \
             events that name their monitor",
            names.join(", ")
        ));
    }
    warnings
}

/// The monitors of the file. A file without any has one, which asks the settings' API.
fn monitors(
    resolver: &mut Resolver<'_>,
    env: &Environment,
    api: Option<&DefaultApi>,
    poll: PollConfig,
    to_watch: bool,
) -> Vec<MonitorConfig> {
    let in_file = resolver.take_monitors();
    if in_file.is_none() && api.is_none() {
        // The missing API is a mistake already, where it matters.
        return Vec::new();
    }
    let list =
        (in_file.as_ref()).map(|(file, _)| Place::in_file(file.clone(), Path::of(&["monitors"])));
    let directory = resolver.directory().map(path::Path::to_owned);
    let defaults = Defaults {
        api,
        poll,
        directories: Directories {
            of_file: directory.as_deref(),
            of_credentials: env.text("CREDENTIALS_DIRECTORY").map(path::Path::new),
        },
    };
    let before = resolver.mistakes.count();
    let monitors = monitor::read(in_file, &defaults, &resolver.mistakes);
    let has_none = monitors.is_empty() && resolver.mistakes.count() == before;
    if let Some(list) = list.filter(|_| has_none && to_watch) {
        let what = "none is enabled; there is nothing to watch";
        resolver.mistakes.add(list, what);
    }
    monitors
}

const INSTEAD_OF_ADMIN_USERINFO: &str = "write the token in FARSPAN_ADMIN_TOKEN";
const INSTEAD_OF_USERINFO: &str = "write a token in FARSPAN_API_TOKEN";

/// Says that a configuration in this directory is not read, because nothing names it.
fn unread_file(directory: &path::Path) -> Option<&'static str> {
    directory.join("farspan.json").is_file().then_some(
        "farspan.json is in this directory, and is read only if it is named: --config farspan.json, or FARSPAN_CONFIG",
    )
}

fn api(resolver: &mut Resolver<'_>, needed: bool) -> Option<DefaultApi> {
    const NAME: &str = "FARSPAN_API_BASE_URL";
    // A file that cannot be read may have it.
    if needed && resolver.take(NAME).is_none() && !resolver.is_file_unread {
        let unread = if resolver.has_file() {
            None
        } else {
            unread_file(path::Path::new("."))
        };
        let unread = unread.map_or(String::new(), |unread| format!("; {unread}"));
        let what = format!("is not set; write the status API's URL, http://host:port/path{unread}");
        resolver
            .mistakes
            .add(Place::named(format!("{NAME} (api.base_url)")), what);
    }
    let base_url = resolver.strict(NAME, |text| values::base_url(text, INSTEAD_OF_USERINFO));
    let token = resolver.secret_source(
        "FARSPAN_API_TOKEN",
        "FARSPAN_API_TOKEN_FILE",
        "api-token",
        values::token,
    );
    Some(DefaultApi {
        base_url: base_url?,
        token,
    })
}

fn admin(resolver: &mut Resolver<'_>) -> Option<AdminConfig> {
    const NAME: &str = "FARSPAN_ADMIN_LISTEN";
    let listen = resolver.strict(NAME, |text| match text {
        "none" => Ok(None),
        text => values::listen_address(text).map(Some),
    });
    let token = admin_token(resolver);
    let trace_url = resolver.strict("FARSPAN_TRACE_URL", values::trace_url);
    let listen = listen.flatten()?;
    if token.is_none() && !values::is_this_host(&listen) {
        resolver.error_in(
            NAME,
            "can be reached from other hosts: set FARSPAN_ADMIN_TOKEN, or listen on 127.0.0.1",
        );
    }
    Some(AdminConfig {
        listen,
        token,
        trace_url,
        is_asked_for: resolver.origin_of(NAME) != Some(&ValueOrigin::Default),
    })
}

fn admin_token(resolver: &mut Resolver<'_>) -> Option<Secret> {
    resolver.secret(
        "FARSPAN_ADMIN_TOKEN",
        "FARSPAN_ADMIN_TOKEN_FILE",
        "admin-token",
        values::token,
    )
}

fn proxies(resolver: &mut Resolver<'_>) -> Proxies {
    let parse = |text: &str| Proxy::parse(text).map_err(Cow::from);
    let http = resolver.strict("HTTP_PROXY", parse);
    let https = resolver.strict("HTTPS_PROXY", parse);
    let all = resolver.strict("ALL_PROXY", parse);
    let except = resolver.strict("NO_PROXY", |text| {
        Exceptions::parse(text).map_err(Cow::from)
    });
    Proxies {
        http: http.or_else(|| all.clone()),
        https: https.or(all),
        except: except.unwrap_or_default(),
    }
}

/// The system's authorities are read from these where they are set, at the first connection with TLS. What is not there
/// would mean Mozilla's.
fn check_authorities(resolver: &mut Resolver<'_>) {
    if cfg!(feature = "tls") {
        otel::pem(resolver, "SSL_CERT_FILE", otel::PemKind::Certificate);
    }
    resolver.strict("SSL_CERT_DIR", |text| {
        let mut directories = std::env::split_paths(text);
        if directories.any(|directory| std::fs::read_dir(directory).is_ok()) {
            Ok(())
        } else {
            Err("names no directory that can be read".into())
        }
    });
}

fn redis_url(resolver: &mut Resolver<'_>) -> Option<Secret> {
    resolver.secret(
        "FARSPAN_REDIS_URL",
        "FARSPAN_REDIS_URL_FILE",
        "redis-url",
        redis_url::checked,
    )
}

fn redis_channel(resolver: &mut Resolver<'_>) -> String {
    resolver
        .strict("FARSPAN_REDIS_CHANNEL", values::label)
        .unwrap_or_default()
}

fn redis_stream(resolver: &mut Resolver<'_>) -> Option<String> {
    resolver.strict("FARSPAN_REDIS_STREAM", values::label)
}

fn redis_stream_length_max(resolver: &mut Resolver<'_>) -> Option<u64> {
    resolver
        .number("FARSPAN_REDIS_STREAM_MAXLEN")
        .map(u64::from)
}

fn poll(resolver: &mut Resolver<'_>) -> PollConfig {
    const MOMENT: Duration = Duration::from_millis(10);
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let mut duration = |name, least: Duration, most: Duration, bounds| {
        let found = resolver.strict(name, |text| {
            values::duration_within(text, least..=most, bounds)
        });
        found.unwrap_or_default()
    };
    let initial_delay = duration(
        "FARSPAN_POLL_INITIAL_DELAY",
        Duration::ZERO,
        DAY,
        "it may be 0s to 24h",
    );
    let interval = duration(
        "FARSPAN_POLL_INTERVAL",
        MOMENT,
        DAY,
        "it may be 10ms to 24h",
    );
    let timeout = duration(
        "FARSPAN_POLL_TIMEOUT",
        MOMENT,
        DAY * 10_000,
        "it may be 10ms to 10000d",
    );
    let pollers = resolver.number("FARSPAN_POLLERS").unwrap_or_default() as usize;
    PollConfig {
        initial_delay,
        interval,
        timeout,
        pollers,
    }
}

fn workflows_max(resolver: &mut Resolver<'_>) -> usize {
    resolver.number("FARSPAN_WORKFLOWS_MAX").unwrap_or_default() as usize
}

fn state(resolver: &mut Resolver<'_>, env: &Environment) -> StateConfig {
    const DIRECTORY: &str = "FARSPAN_STATE_DIR";
    let kept = resolver.strict("FARSPAN_STATE", |text| match text {
        "file" if cfg!(not(feature = "file")) => {
            Err("needs a farspan that was built with the feature 'file'".into())
        }
        "redis" if cfg!(not(feature = "redis")) => {
            Err("needs a farspan that was built with the feature 'redis'".into())
        }
        text => values::one_of(
            text,
            &[
                ("file", StateKind::File),
                ("redis", StateKind::Redis),
                ("none", StateKind::Nowhere),
            ],
        ),
    });
    let lease = lease(resolver, kept == Some(StateKind::Redis));
    let written = resolver.take(DIRECTORY).map(|found| found.text);
    // A unit with several state directories has them here, separated by colons.
    let of_systemd = || {
        env.text("STATE_DIRECTORY")?
            .split(':')
            .next()
            .map(str::to_owned)
    };
    let directory = written.unwrap_or_else(|| {
        let (directory, origin) = match of_systemd() {
            Some(directory) => (directory, ValueOrigin::Env("STATE_DIRECTORY")),
            None => ("./farspan-state".to_owned(), ValueOrigin::Default),
        };
        let directory = absolute(&directory);
        resolver.show(DIRECTORY, &directory, origin);
        directory
    });
    match kept {
        Some(StateKind::File) => StateConfig::File(directory.into()),
        Some(StateKind::Redis) => StateConfig::Redis { lease },
        Some(StateKind::Nowhere) | None => StateConfig::None,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum StateKind {
    File,
    Redis,
    Nowhere,
}

fn lease(resolver: &mut Resolver<'_>, counts: bool) -> Duration {
    const NAME: &str = "FARSPAN_LEASE";
    let within = Duration::from_secs(1)..=Duration::from_secs(3600);
    let written = resolver.take(NAME);
    if let Some(written) =
        written.filter(|written| !counts && written.origin != ValueOrigin::Default)
    {
        resolver.warnings.push(format!(
            "{}: has an effect only with FARSPAN_STATE=redis",
            written.origin.place()
        ));
    }
    let lease = resolver.strict(NAME, |text| {
        values::duration_within(text, within.clone(), "it may be 1s to 1h")
    });
    lease.unwrap_or_default()
}

fn state_bytes_max(resolver: &mut Resolver<'_>, counts: bool) -> u64 {
    const NAME: &str = "FARSPAN_STATE_MAX_BYTES";
    let written = resolver.take(NAME);
    if let Some(written) =
        written.filter(|written| !counts && written.origin != ValueOrigin::Default)
    {
        resolver.warnings.push(format!(
            "{}: has no effect with FARSPAN_STATE=none",
            written.origin.place()
        ));
    }
    let least = limits::STATE_BYTES_LEAST;
    let parse = |text: &str| values::bytes_within(text, least..=u64::MAX, "it may be 1MiB or more");
    resolver.strict(NAME, parse).unwrap_or_default()
}

fn instance(resolver: &mut Resolver<'_>, env: &Environment) -> String {
    const NAME: &str = "FARSPAN_INSTANCE";
    resolver.strict(NAME, values::label).unwrap_or_else(|| {
        let host_name = env.host_name().unwrap_or("unknown");
        resolver.show(NAME, host_name, ValueOrigin::Default);
        host_name.to_owned()
    })
}

fn log(resolver: &mut Resolver<'_>, env: &Environment) -> Log {
    let level = resolver.strict("FARSPAN_LOG", |text| {
        let levels = [
            ("error", LevelFilter::Error),
            ("warn", LevelFilter::Warn),
            ("info", LevelFilter::Info),
            ("debug", LevelFilter::Debug),
            ("trace", LevelFilter::Trace),
        ];
        values::one_of(text, &levels)
    });
    let format = resolver.strict("FARSPAN_LOG_FORMAT", |text| {
        values::one_of(
            text,
            &[("text", LogFormat::Text), ("json", LogFormat::Json)],
        )
    });
    Log {
        level: level.unwrap_or(LevelFilter::Info),
        format: format.unwrap_or(LogFormat::Text),
        is_for_journal: logging::is_journal(env.text("JOURNAL_STREAM")),
    }
}
