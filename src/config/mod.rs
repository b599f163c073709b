//! File and environment in, one checked [`Config`] out, or every mistake at once.
//!
//! Nothing here reads the process's environment but [`Environment::of_process`], and nothing in farspan reads it but
//! this module. Two libraries do: ureq looks for a proxy, rustls-native-certs for `SSL_CERT_FILE` and `SSL_CERT_DIR`.

mod json;
pub mod monitors;
mod otel;
mod reload;
mod settings;
pub(crate) mod values;

use crate::api::credentials::SecretSource;
use crate::core::limits;
use crate::core::sampler::{Sampler, SpanLimits};
use crate::intake::carrier::Formats;
use log::LevelFilter;
use monitors::{ForAll, Monitor};
use settings::{Origin, Resolver, Row};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use crate::api::credentials::Secret;
pub use reload::{Change, Source};
pub(crate) use settings::help;

/// Everything that farspan was told, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The status API of every monitor that names none.
    pub api: Option<Api>,
    /// What is watched, at least one after [`Config::load_to_watch`].
    pub monitors: Vec<Monitor>,
    /// Where start events come from, if from Redis.
    pub redis: Option<Redis>,
    /// When and how much to poll.
    pub poll: Poll,
    /// Workflows under watch at once, 1 to [`WORKFLOWS_MAX`](limits::WORKFLOWS_MAX).
    pub workflows_max: usize,
    /// Where spans go.
    pub export: Export,
    /// Which traces are recorded, and how much of them.
    pub trace: Trace,
    /// The attributes of the resource; keys are unique, `service.name` is there.
    pub resource: Vec<(String, String)>,
    /// What is logged.
    pub log: Log,
    /// Where what must survive a restart is kept.
    pub state: State,
    /// What is answered over HTTP, and where, if anything is.
    pub admin: Option<Admin>,
    /// From how many bytes there on new workflows wait; 1 MiB or more.
    pub state_bytes_max: u64,
    /// The name of this farspan among others.
    pub instance: String,
    /// What was ignored, and why; to be logged.
    pub warnings: Vec<String>,
    rows: Vec<Row>,
}

/// The status API.
#[derive(Clone, Debug)]
pub struct Api {
    /// Absolute, http or https, without a slash at its end: `http://host:8080/base`.
    pub base_url: String,
    /// Goes behind `Authorization: Bearer `; fit for a header.
    pub token: Option<SecretSource>,
}

/// The Redis that start events come from.
#[derive(Clone, Debug)]
pub struct Redis {
    /// `redis://`, `rediss://` or `unix://`; the Redis client takes it.
    pub url: Secret,
    /// The pub/sub channel.
    pub channel: String,
    /// The stream, if there is one.
    pub stream: Option<String>,
    /// Entries of the stream to keep. `None`: nothing is trimmed.
    pub stream_length_max: Option<u64>,
}

/// The admin endpoint.
#[derive(Clone, Debug)]
pub struct Admin {
    /// `host:port`. Without a token it is this host's alone.
    pub listen: String,
    /// What whoever calls has to bring.
    pub token: Option<Secret>,
    /// Whether somebody wrote where it is to listen.
    pub is_asked_for: bool,
}

/// When and how much to poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll {
    /// From the start event to the first poll; up to 24 h.
    pub initial_delay: Duration,
    /// From one poll of a workflow to the next; 10 ms to 24 h.
    pub interval: Duration,
    /// How long a workflow is watched at most; 10 ms to 10,000 days.
    pub timeout: Duration,
    /// Threads that poll, 1 to [`POLLERS_MAX`](limits::POLLERS_MAX).
    pub pollers: usize,
}

/// Where spans go. With neither exporter they go nowhere.
#[derive(Clone, Debug)]
pub struct Export {
    /// To a collector.
    pub otlp: Option<Otlp>,
    /// To standard output, for people.
    pub console: bool,
    /// How spans are put together.
    pub batch: Batch,
}

/// OTLP over HTTP, protobuf. <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>
#[derive(Clone, Debug)]
pub struct Otlp {
    /// The whole URL, with its path.
    pub endpoint: String,
    /// Lower-case names, each once; both fit for HTTP. The headers that farspan sets itself are not among them.
    pub headers: Vec<(String, Secret)>,
    /// One attempt at most; never zero, at most an hour.
    pub timeout: Duration,
    /// Of the request's body.
    pub compression: Compression,
    /// The roots to check the collector's certificate against, in the place of the system's.
    pub certificate: Option<Pem>,
    /// farspan's own certificate chain; there if and only if `client_key` is.
    pub client_certificate: Option<Pem>,
    /// The key to `client_certificate`.
    pub client_key: Option<Pem>,
}

/// How a request's body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// It is not.
    None,
    /// gzip.
    Gzip,
}

/// How spans are put together for an export (`OTEL_BSP_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// How long a span waits for others; may be zero.
    pub schedule_delay: Duration,
    /// One export at most, with all its attempts of one go; never zero.
    pub export_timeout: Duration,
    /// Spans that may wait, 1 or more. `None`: their bytes are bounded instead, for farspan never drops a span.
    pub max_queue_size: Option<usize>,
    /// Spans in one export, 1 or more, and no more than may wait.
    pub max_export_batch_size: usize,
}

/// Which traces are recorded, and how much of them.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Which.
    pub sampler: Sampler,
    /// How much.
    pub limits: SpanLimits,
    /// The trace contexts of start events that are read (`OTEL_PROPAGATORS`).
    pub formats: Formats,
}

/// Where what must survive a restart is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nowhere.
    None,
    /// In a file in this directory.
    File(PathBuf),
    /// In [`Config::redis`], which is there then, shared with the other instances of a fleet.
    Redis {
        /// An instance that is silent for so long loses its work to the others; 1 s to 1 h.
        lease: Duration,
    },
}

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// This and what is graver.
    pub level: LevelFilter,
    /// How.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A file in PEM form, read at the start.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// Where it was read.
    pub path: PathBuf,
    /// At least one item of the right kind is in it.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({})", self.path.display())
    }
}

/// All that is wrong with a configuration, a line each, each with its place and what would be right. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(Vec<String>);

impl Errors {
    /// The mistakes.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Errors {}

/// Environment variables, the empty ones left out. Those of the process, or any others.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `None`: the value is not UTF-8.
    variables: BTreeMap<String, Option<String>>,
    kernel_host_name: Option<String>,
}

impl Environment {
    /// The process's own, and the host's name.
    pub fn of_process() -> Self {
        let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        Environment {
            kernel_host_name: host_name.map(|name| name.trim().to_owned()),
            ..Environment::from_pairs(std::env::vars_os())
        }
    }

    /// These variables, and no name for the host but `HOSTNAME`.
    pub fn from_pairs<N: Into<OsString>, V: Into<OsString>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut variables = BTreeMap::new();
        for (name, value) in pairs {
            let (name, value) = (name.into(), value.into());
            if !value.is_empty() {
                variables.insert(
                    name.to_string_lossy().into_owned(),
                    value.into_string().ok(),
                );
            }
        }
        Environment {
            variables,
            kernel_host_name: None,
        }
    }

    /// Only the variables whose names are wanted.
    fn only(&self, wanted: impl Fn(&str) -> bool) -> Self {
        let mut environment = self.clone();
        environment.variables.retain(|name, _| wanted(name));
        environment
    }

    fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// The value of a variable that is set, not empty and UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.variables.get(name)?.as_deref()
    }

    fn host_name(&self) -> Option<&str> {
        let kernel = self
            .kernel_host_name
            .as_deref()
            .filter(|name| !name.is_empty());
        kernel.or_else(|| self.text("HOSTNAME"))
    }
}

impl Config {
    /// Reads the configuration from the environment and from a file: this one, else the one in `FARSPAN_CONFIG`.
    pub fn load(env: &Environment, file: Option<&Path>) -> Result<Config, Errors> {
        load(env, file, false)
    }

    /// The same; that the API is not set is a mistake too.
    pub fn load_to_watch(env: &Environment, file: Option<&Path>) -> Result<Config, Errors> {
        load(env, file, true)
    }

    /// For a watcher of this API, which no configuration names, as in the demo. Only the `OTEL_*` variables, the
    /// instance and the log's are heeded; spans go to a collector only if an endpoint is set, and nothing is kept.
    pub fn for_api(env: &Environment, base_url: &str) -> Result<Config, Errors> {
        let has_endpoint = [
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        ]
        .iter()
        .any(|name| env.text(name).is_some());
        let env = env.only(|name| {
            let otlp = name.starts_with("OTEL_EXPORTER_OTLP_");
            is_for_all_commands(name) || name.starts_with("OTEL_") && (has_endpoint || !otlp)
        });
        let mut config = load(&env, None, false)?;
        let base_url = values::base_url(base_url, INSTEAD_OF_USERINFO)
            .map_err(|reason| Errors(vec![format!("'{}' {reason}", values::shown(base_url))]))?;
        let api = Api {
            base_url,
            token: None,
        };
        let for_all = ForAll {
            api: Some(&api),
            poll: config.poll,
            credentials: None,
        };
        (config.monitors, _) = monitors::read(monitors::default(), "", &for_all);
        config.api = Some(api);
        config.state = State::None;
        config.admin = None;
        if !has_endpoint {
            config.export.otlp = None;
        }
        Ok(config)
    }

    /// All monitors are polled so, whatever was configured; for those that watch what no configuration names.
    pub fn poll_at(&mut self, poll: Poll) {
        self.poll = poll;
        for monitor in &mut self.monitors {
            monitor.poll.initial_delay = poll.initial_delay;
            monitor.poll.interval = poll.interval;
            monitor.poll.timeout = poll.timeout;
        }
    }

    /// The place of the monitor of this name; without a name, of the only one.
    ///
    /// # Errors
    /// There is none, or it has to be said which.
    pub fn monitor(&self, name: Option<&str>) -> Result<usize, String> {
        let names: Vec<&str> = self.monitors.iter().map(|m| &*m.name).collect();
        match (name, names.len()) {
            (None, 1) => Ok(0),
            (None, 0) => Err("no monitor is configured".to_owned()),
            (None, _) => Err(format!("--monitor: say which: {}", names.join(", "))),
            (Some(name), _) => names
                .iter()
                .position(|known| *known == name)
                .ok_or_else(|| {
                    let known = names.join(", ");
                    let name = values::shown(name);
                    format!("--monitor: no monitor '{name}' is enabled; there are: {known}")
                }),
        }
    }

    /// `farspan config`: every setting, its value without secrets, and where the value came from; and the monitors, over
    /// their presets.
    pub fn describe(&self) -> String {
        let mut lines: Vec<[String; 3]> = Vec::new();
        for row in &self.rows {
            lines.push([
                row.name.to_owned(),
                row.value.clone(),
                row.origin.to_string(),
            ]);
        }
        let width = |column: usize| {
            let widths = lines.iter().map(|line| line[column].chars().count());
            widths.max().unwrap_or_default()
        };
        let (names, values) = (width(0), width(1));
        let mut text = String::new();
        for [name, value, origin] in &lines {
            let _ = writeln!(text, "{name:names$}  {value:values$}  {origin}");
        }
        text.push_str("\nresource\n");
        for (key, value) in &self.resource {
            let _ = writeln!(text, "  {}={}", values::shown(key), values::shown(value));
        }
        for monitor in &self.monitors {
            let _ = write!(text, "\n{monitor}");
        }
        text
    }
}

impl Log {
    /// For the commands that have no other configuration.
    pub fn load(env: &Environment) -> Result<Log, Errors> {
        Ok(load(&env.only(is_for_all_commands), None, false)?.log)
    }

    /// The same for a command that speaks for itself: only warnings, unless more is asked for.
    pub fn load_quiet(env: &Environment) -> Result<Log, Errors> {
        let mut log = Log::load(env)?;
        if env.text("FARSPAN_LOG").is_none() {
            log.level = LevelFilter::Warn;
        }
        Ok(log)
    }
}

impl Redis {
    /// For the load generator: what its options say, else the configuration's Redis, else the one on this host.
    pub fn for_load(
        env: &Environment,
        url: Option<&str>,
        channel: Option<&str>,
    ) -> Result<Redis, Errors> {
        const ON_THIS_HOST: &str = "redis://127.0.0.1:6379";
        let mut resolver = Resolver::new(env, None);
        let configured_url = redis_url(&mut resolver);
        let configured_channel = redis_channel(&mut resolver);
        let mut option = |name: &str, parsed: Result<String, values::Reason>| match parsed {
            Ok(text) => text,
            Err(reason) => {
                resolver.errors.push(format!("{name}: the value {reason}"));
                String::new()
            }
        };
        let url = match url {
            Some(url) => Secret::new(option("--redis-url", values::redis_url(url))),
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
    ]
    .contains(&name)
}

fn load(env: &Environment, file: Option<&Path>, to_watch: bool) -> Result<Config, Errors> {
    let mut resolver = Resolver::new(env, file);
    let it = &mut resolver;
    let api = api(it, to_watch && !it.has_monitors());
    let (url, channel) = (redis_url(it), redis_channel(it));
    let poll = poll(it);
    let workflows_max = workflows_max(it);
    let instance = instance(it, env);
    let log = log(it);
    let export = otel::export(it);
    let resource = otel::resource(it, env, &instance);
    let trace = otel::trace(it);
    let state = state(it, env);
    let admin = admin(it);
    let state_bytes_max = state_bytes_max(it, state != State::None);
    let (stream, stream_length_max) = (redis_stream(it), redis_stream_length_max(it));
    let unset = |it: &mut Resolver<'_>| {
        let names = ["FARSPAN_REDIS_URL", "FARSPAN_REDIS_URL_FILE"];
        names.into_iter().all(|name| it.take(name).is_none())
    };
    if url.is_none() && unset(it) {
        let needs = |it: &mut Resolver<'_>, what: &str| {
            let error = format!("{what} needs FARSPAN_REDIS_URL (redis.url), which is not set");
            it.errors.push(error);
        };
        if matches!(state, State::Redis { .. }) {
            needs(it, "FARSPAN_STATE (state): redis");
        }
        if stream.is_some() {
            needs(it, "FARSPAN_REDIS_STREAM (redis.stream):");
        }
    }
    let redis = url.map(|url| Redis {
        url,
        channel,
        stream,
        stream_length_max,
    });
    let monitors = monitors(it, env, api.as_ref(), poll, to_watch);
    let mistakes = monitors
        .iter()
        .flat_map(|monitor| monitor.mistakes_of_redis(redis.as_ref()));
    it.errors.extend(mistakes);
    if to_watch {
        let warnings = warnings_of(&monitors, redis.is_some() || admin.is_some());
        it.warnings.extend(warnings);
    }
    let (rows, warnings) = resolver.finish()?;
    Ok(Config {
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
        instance,
        warnings,
        rows,
    })
}

/// Who hears of no workflow, and who of others'.
fn warnings_of(monitors: &[Monitor], has_source: bool) -> Vec<String> {
    let without = monitors::without_source(monitors);
    let mut warnings = Vec::new();
    if !has_source && !without.is_empty() {
        let warning =
            "FARSPAN_REDIS_URL (redis.url): is not set; start events can come by --events - alone";
        warnings.push(warning.to_owned());
    }
    if without.len() > 1 {
        let names: Vec<_> = without.iter().map(|n| &*monitors[*n].name).collect();
        warnings.push(format!(
            "the monitors {} have no events.redis_channel, events.redis_stream or discovery: they hear only of \
             events that name their monitor",
            names.join(", ")
        ));
    }
    warnings
}

/// Those of the file; without any, one that is all settings.
fn monitors(
    resolver: &mut Resolver<'_>,
    env: &Environment,
    api: Option<&Api>,
    poll: Poll,
    to_watch: bool,
) -> Vec<Monitor> {
    let in_file = resolver.take_monitors();
    if in_file.is_none() && api.is_none() {
        // That is said already where it matters.
        return Vec::new();
    }
    let is_in_file = in_file.is_some();
    let (place, node) = in_file.unwrap_or_else(|| (String::new(), monitors::default()));
    let for_all = ForAll {
        api,
        poll,
        credentials: env.text("CREDENTIALS_DIRECTORY").map(Path::new),
    };
    let (monitors, mistakes) = monitors::read(node, &place, &for_all);
    let none = monitors.is_empty() && mistakes.is_empty();
    resolver.errors.extend(mistakes);
    if none && is_in_file && to_watch {
        let error = format!("{place}: none is enabled; there is nothing to watch");
        resolver.errors.push(error);
    }
    monitors
}

const INSTEAD_OF_USERINFO: &str = "give a token in FARSPAN_API_TOKEN";

fn api(resolver: &mut Resolver<'_>, needed: bool) -> Option<Api> {
    const NAME: &str = "FARSPAN_API_BASE_URL";
    if needed && resolver.take(NAME).is_none() {
        let error = format!(
            "{NAME} (api.base_url): is not set; write the status API's URL, http://host:port/path"
        );
        resolver.errors.push(error);
    }
    let base_url = resolver.strict(NAME, |text| values::base_url(text, INSTEAD_OF_USERINFO));
    let token = resolver.secret_source(
        "FARSPAN_API_TOKEN",
        "FARSPAN_API_TOKEN_FILE",
        "api-token",
        values::token,
    );
    Some(Api {
        base_url: base_url?,
        token,
    })
}

fn admin(resolver: &mut Resolver<'_>) -> Option<Admin> {
    const NAME: &str = "FARSPAN_ADMIN_LISTEN";
    let listen = resolver.strict(NAME, |text| match text {
        "none" => Ok(None),
        _ if cfg!(not(feature = "admin")) => {
            Err("needs a farspan that was built with the feature `admin`; set none".into())
        }
        text => values::listen_address(text).map(Some),
    });
    let token = resolver.secret(
        "FARSPAN_ADMIN_TOKEN",
        "FARSPAN_ADMIN_TOKEN_FILE",
        "admin-token",
        values::token,
    );
    let listen = listen.flatten()?;
    if token.is_none() && !values::is_this_host(&listen) {
        resolver.error_in(
            NAME,
            "is open to others than this host: set FARSPAN_ADMIN_TOKEN, or listen on 127.0.0.1",
        );
    }
    Some(Admin {
        listen,
        token,
        is_asked_for: resolver.origin_of(NAME) != Some(&Origin::Default),
    })
}

fn redis_url(resolver: &mut Resolver<'_>) -> Option<Secret> {
    resolver.secret(
        "FARSPAN_REDIS_URL",
        "FARSPAN_REDIS_URL_FILE",
        "redis-url",
        values::redis_url,
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
    resolver.strict("FARSPAN_REDIS_STREAM_MAXLEN", |text| {
        values::integer(text, 0..=u64::from(u32::MAX))
    })
}

fn poll(resolver: &mut Resolver<'_>) -> Poll {
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
    let most = limits::POLLERS_MAX as u64;
    let pollers = resolver.strict("FARSPAN_POLLERS", |text| values::integer(text, 1..=most));
    let pollers = usize::try_from(pollers.unwrap_or_default()).unwrap_or_default();
    Poll {
        initial_delay,
        interval,
        timeout,
        pollers,
    }
}

fn workflows_max(resolver: &mut Resolver<'_>) -> usize {
    let most = limits::WORKFLOWS_MAX as u64;
    let found = resolver.strict("FARSPAN_WORKFLOWS_MAX", |text| {
        values::integer(text, 1..=most)
    });
    usize::try_from(found.unwrap_or_default()).unwrap_or_default()
}

fn state(resolver: &mut Resolver<'_>, env: &Environment) -> State {
    const DIRECTORY: &str = "FARSPAN_STATE_DIR";
    let kept = resolver.strict("FARSPAN_STATE", |text| match text {
        "file" if cfg!(not(feature = "file")) => {
            Err("needs a farspan that was built with the feature `file`".into())
        }
        "redis" if cfg!(not(feature = "redis")) => {
            Err("needs a farspan that was built with the feature `redis`".into())
        }
        text => values::one_of(
            text,
            &[
                ("file", Kept::File),
                ("redis", Kept::Redis),
                ("none", Kept::Nowhere),
            ],
        ),
    });
    let lease = lease(resolver, kept == Some(Kept::Redis));
    let written = resolver.take(DIRECTORY).map(|found| found.text);
    // systemd names several, separated by colons, where the unit does.
    let of_systemd = || {
        env.text("STATE_DIRECTORY")?
            .split(':')
            .next()
            .map(str::to_owned)
    };
    let directory = written.unwrap_or_else(|| {
        let (directory, origin) = match of_systemd() {
            Some(directory) => (directory, Origin::Env("STATE_DIRECTORY")),
            None => ("./farspan-state".to_owned(), Origin::Default),
        };
        resolver.show(DIRECTORY, values::shown(&directory), origin);
        directory
    });
    match kept {
        Some(Kept::File) => State::File(directory.into()),
        Some(Kept::Redis) => State::Redis { lease },
        Some(Kept::Nowhere) | None => State::None,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kept {
    File,
    Redis,
    Nowhere,
}

fn lease(resolver: &mut Resolver<'_>, counts: bool) -> Duration {
    const NAME: &str = "FARSPAN_LEASE";
    let within = Duration::from_secs(1)..=Duration::from_secs(3600);
    let written = resolver.take(NAME);
    if let Some(written) = written.filter(|written| !counts && written.origin != Origin::Default) {
        resolver.warnings.push(format!(
            "{}: counts only with FARSPAN_STATE=redis",
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
    if let Some(written) = written.filter(|written| !counts && written.origin != Origin::Default) {
        resolver.warnings.push(format!(
            "{}: counts for nothing with FARSPAN_STATE=none",
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
        resolver.show(NAME, values::shown(host_name), Origin::Default);
        host_name.to_owned()
    })
}

fn log(resolver: &mut Resolver<'_>) -> Log {
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
    }
}

#[cfg(test)]
#[cfg(all(feature = "admin", feature = "redis", feature = "tls"))]
mod tests;
