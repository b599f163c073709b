//! The table of settings, and how a value is found for each: the environment beats the file, the file the default.

use super::json::Node;
use super::values::{self, Reason, redacted_url, shown};
use super::{Environment, Errors, Secret};
use crate::api::credentials::SecretSource;
use crate::os::files;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

/// One setting, as its parser, its help and `farspan config` know it.
struct Setting {
    /// The variables of the environment, the stronger ones first. The last one is the setting's name.
    env: &'static [&'static str],
    /// Its place in the configuration file.
    key: Option<&'static str>,
    /// As it would be written; empty: none.
    default: &'static str,
    /// One line.
    about: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Number,
    /// A number of bytes, or a text with a unit.
    Size,
    /// Never shown.
    Secret,
    /// Shown without what it keeps secret.
    SecretUrl,
}

impl Setting {
    fn name(&self) -> &'static str {
        self.env.last().copied().unwrap_or_default()
    }

    /// A value as it may be shown.
    fn redacted(&self, text: &str) -> String {
        match self.kind {
            Kind::Secret => "(redacted)".to_owned(),
            Kind::SecretUrl => shown(&redacted_url(text)),
            Kind::Text | Kind::Number | Kind::Size => shown(text),
        }
    }
}

const fn both(
    env: &'static [&'static str],
    key: &'static str,
    default: &'static str,
    kind: Kind,
    about: &'static str,
) -> Setting {
    Setting {
        env,
        key: Some(key),
        default,
        about,
        kind,
    }
}

const fn env(
    env: &'static [&'static str],
    default: &'static str,
    kind: Kind,
    about: &'static str,
) -> Setting {
    Setting {
        env,
        key: None,
        default,
        about,
        kind,
    }
}

/// Where the admin endpoint is, unless told otherwise.
const ADMIN_LISTEN: &str = if cfg!(feature = "admin") {
    "127.0.0.1:9464"
} else {
    "none"
};

#[rustfmt::skip]
const SETTINGS: &[Setting] = &[
    env(&["FARSPAN_CONFIG"], "", Kind::Text, "The configuration file, JSON; the option --config beats it"),
    both(&["FARSPAN_API_BASE_URL"], "api.base_url", "", Kind::SecretUrl, "The status API: http://host:port/path; needed to run"),
    both(&["FARSPAN_API_TOKEN"], "api.token", "", Kind::Secret, "Sent to the API as a bearer token"),
    both(&["FARSPAN_API_TOKEN_FILE"], "api.token_file", "", Kind::Text, "The file that holds the token, read again when it changes; else $CREDENTIALS_DIRECTORY/api-token, where it is"),
    both(&["FARSPAN_REDIS_URL"], "redis.url", "", Kind::SecretUrl, "redis://, rediss:// or unix://; unset: no Redis"),
    both(&["FARSPAN_REDIS_URL_FILE"], "redis.url_file", "", Kind::Text, "The file that holds that URL; else $CREDENTIALS_DIRECTORY/redis-url, where it is"),
    both(&["FARSPAN_REDIS_CHANNEL"], "redis.channel", "event.workflow.started", Kind::Text, "The pub/sub channel of the start events"),
    both(&["FARSPAN_REDIS_STREAM"], "redis.stream", "", Kind::Text, "A stream of start events, read beside the channel; unset: the channel alone"),
    both(&["FARSPAN_REDIS_STREAM_MAXLEN"], "redis.stream_maxlen", "", Kind::Number, "Entries of it to keep; what is not acknowledged always stays; unset: all"),
    both(&["FARSPAN_POLL_INITIAL_DELAY"], "poll.initial_delay", "5s", Kind::Text, "From the start event to the first poll"),
    both(&["FARSPAN_POLL_INTERVAL"], "poll.interval", "10s", Kind::Text, "From one poll of a workflow to the next"),
    both(&["FARSPAN_POLL_TIMEOUT"], "poll.timeout", "24h", Kind::Text, "How long a workflow is watched at most"),
    both(&["FARSPAN_POLLERS"], "poll.pollers", "16", Kind::Number, "Threads that poll; at least workflows x latency / interval"),
    both(&["FARSPAN_WORKFLOWS_MAX"], "workflows_max", "100000", Kind::Number, "Workflows under watch at once; further start events wait where they come from"),
    both(&["FARSPAN_INSTANCE"], "instance", "", Kind::Text, "service.instance.id, and the name in a fleet; the host's name by default"),
    both(&["FARSPAN_LOG"], "log.level", "info", Kind::Text, "error, warn, info, debug or trace"),
    both(&["FARSPAN_LOG_FORMAT"], "log.format", "text", Kind::Text, "text or json"),
    both(&["FARSPAN_STATE"], "state", if cfg!(feature = "file") { "file" } else { "none" }, Kind::Text, "Where what must survive a restart is kept: file, redis (for a fleet); none keeps nothing"),
    both(&["FARSPAN_STATE_DIR"], "state_dir", "", Kind::Text, "The directory of that file; else $STATE_DIRECTORY, else ./farspan-state"),
    both(&["FARSPAN_STATE_MAX_BYTES"], "state_max_bytes", "1GiB", Kind::Size, "With so much kept, new workflows wait until others end; bytes, KiB, MiB or GiB"),
    both(&["FARSPAN_LEASE"], "lease", "30s", Kind::Text, "With FARSPAN_STATE=redis: an instance silent for so long loses its work to the others"),
    both(&["FARSPAN_ADMIN_LISTEN"], "admin.listen", ADMIN_LISTEN, Kind::Text, "Where the admin endpoint listens, host:port; none: nowhere"),
    both(&["FARSPAN_ADMIN_TOKEN"], "admin.token", "", Kind::Secret, "The bearer token it asks for; needed where others than this host reach it"),
    both(&["FARSPAN_ADMIN_TOKEN_FILE"], "admin.token_file", "", Kind::Text, "The file that holds it; else $CREDENTIALS_DIRECTORY/admin-token, where it is"),
    env(&["OTEL_SDK_DISABLED"], "false", Kind::Text, "true: no spans are exported"),
    env(&["OTEL_TRACES_EXPORTER"], "otlp", Kind::Text, "otlp, console, both with a comma, or none"),
    env(&["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"], "http://localhost:4318", Kind::SecretUrl, "The collector; v1/traces is appended, but not to the TRACES one"),
    env(&["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"], "http/protobuf", Kind::Text, "http/protobuf is the only one here"),
    env(&["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"], "", Kind::Secret, "key=value,key=value with percent-encoded values"),
    env(&["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"], "10000", Kind::Text, "One attempt at an export at most, in ms"),
    env(&["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"], "none", Kind::Text, "gzip or none"),
    env(&["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"], "", Kind::Text, "The PEM file with the roots that the collector's certificate is checked against"),
    env(&["OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"], "", Kind::Text, "The PEM file with farspan's own certificate"),
    env(&["OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY"], "", Kind::Text, "The PEM file with the key to it"),
    env(&["OTEL_BSP_SCHEDULE_DELAY"], "5000", Kind::Text, "A span waits so long for others at most, in ms"),
    env(&["OTEL_BSP_EXPORT_TIMEOUT"], "30000", Kind::Text, "One export at most, in ms"),
    env(&["OTEL_BSP_MAX_QUEUE_SIZE"], "", Kind::Text, "Spans that may wait; by default their bytes are bounded, and polls wait for room"),
    env(&["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"], "512", Kind::Text, "Spans in one export"),
    env(&["OTEL_SERVICE_NAME"], "", Kind::Text, "service.name; farspan by default"),
    env(&["OTEL_RESOURCE_ATTRIBUTES"], "", Kind::Text, "key=value,key=value with percent-encoded values"),
    env(&["OTEL_TRACES_SAMPLER"], "parentbased_always_on", Kind::Text, "[parentbased_]always_on, always_off or traceidratio"),
    env(&["OTEL_TRACES_SAMPLER_ARG"], "1.0", Kind::Text, "The ratio, 0 to 1"),
    env(&["OTEL_PROPAGATORS"], "", Kind::Text, "Trace contexts that are read: tracecontext, baggage, b3, jaeger, datadog, honeycomb, xray; unset: all of them"),
    env(&["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"], "128", Kind::Text, "Attributes of a span"),
    env(&["OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"], "2048", Kind::Text, "Characters of an attribute"),
    env(&["OTEL_SPAN_EVENT_COUNT_LIMIT"], "128", Kind::Text, "Events of a span"),
    env(&["OTEL_SPAN_LINK_COUNT_LIMIT"], "128", Kind::Text, "Links of a span"),
    env(&["OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT"], "128", Kind::Text, "Accepted; farspan's events have no attributes"),
    env(&["OTEL_LINK_ATTRIBUTE_COUNT_LIMIT"], "128", Kind::Text, "Accepted; farspan's links have no attributes"),
];

/// What a reload takes anew. Everything else has become threads, connections and files by then.
const RELOADED: &[&str] = &[
    "FARSPAN_API_TOKEN",
    "FARSPAN_API_TOKEN_FILE",
    "FARSPAN_POLL_INITIAL_DELAY",
    "FARSPAN_POLL_INTERVAL",
    "FARSPAN_POLL_TIMEOUT",
    "FARSPAN_LOG",
];

/// The one key of the file that is no setting.
const MONITORS: &str = "monitors";

/// All settings, for `farspan help settings`.
pub(crate) fn help() -> String {
    let mut text = String::from(
        "farspan's settings: the variable of the environment, (its key in the configuration file), [its default].\n\
         The environment beats the file. An empty variable is an unset one. A duration is 500ms, 5s, 10m or 12h.\n",
    );
    for setting in SETTINGS.iter().filter(|setting| !setting.about.is_empty()) {
        let _ = write!(text, "\n{}", setting.name());
        if let Some(key) = setting.key {
            let _ = write!(text, " ({key})");
        }
        if !setting.default.is_empty() {
            let _ = write!(text, " [{}]", setting.default);
        }
        let _ = writeln!(text, "\n    {}", setting.about);
        if let [stronger, _] = setting.env {
            let _ = writeln!(text, "    {stronger} beats it");
        }
        if RELOADED.contains(&setting.name()) {
            text.push_str("    A reload (SIGHUP) takes it anew\n");
        }
    }
    text
}

/// The keys of the file, with their defaults and what they are about.
#[cfg(all(test, feature = "redis", feature = "tls"))]
pub(super) fn keys() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let keyed = SETTINGS.iter();
    keyed.filter_map(|setting| Some((setting.key?, setting.default, setting.about)))
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Origin {
    Env(&'static str),
    /// The file and the key.
    Key(String, &'static str),
    /// A file that holds nothing but this value.
    SecretFile(String),
    Option(&'static str),
    Default,
}

/// As `farspan config` says it.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Env(name) => write!(f, "env {name}"),
            Origin::Key(file, key) => write!(f, "{file}: {key}"),
            Origin::SecretFile(path) => write!(f, "file {path}"),
            Origin::Option(name) => write!(f, "option {name}"),
            Origin::Default => write!(f, "default"),
        }
    }
}

impl Origin {
    /// As an error says it.
    pub(super) fn place(&self) -> String {
        match self {
            Origin::Env(name) => (*name).to_owned(),
            other => other.to_string(),
        }
    }
}

/// A value as it was written.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// A line of `farspan config`, redacted.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) origin: Origin,
    /// As it was written, or what the file that it names holds; empty: nothing. To be compared, never to be shown.
    written: Secret,
}

impl Row {
    /// The setting's name and its key in the file.
    pub(super) fn title(&self) -> String {
        match setting(self.name).key {
            Some(key) => format!("{} ({key})", self.name),
            None => self.name.to_owned(),
        }
    }

    /// Whether it says the same as another row of its setting, wherever the value came from.
    pub(super) fn is_same(&self, other: &Row) -> bool {
        self.value == other.value && self.written == other.written
    }

    /// Whether a reload takes it anew.
    pub(super) fn is_reloaded(&self) -> bool {
        RELOADED.contains(&self.name)
    }
}

/// Finds values and gathers what is wrong with them.
pub(super) struct Resolver<'a> {
    env: &'a Environment,
    file: BTreeMap<&'static str, Found>,
    /// The file's monitors, and the place of them.
    monitors: Option<(String, Node)>,
    rows: Vec<Row>,
    pub(super) errors: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl<'a> Resolver<'a> {
    /// Reads the file and looks through the names of the environment.
    pub(super) fn new(env: &'a Environment, file: Option<&Path>) -> Self {
        let mut resolver = Resolver {
            env,
            file: BTreeMap::new(),
            monitors: None,
            rows: Vec::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
        };
        resolver.check_environment();
        if let Some(path) = file {
            let path_shown = shown(&path.to_string_lossy());
            resolver.show("FARSPAN_CONFIG", path_shown, Origin::Option("--config"));
            resolver.read_file(path);
        } else if let Some(path) = resolver.take("FARSPAN_CONFIG") {
            resolver.read_file(Path::new(&path.text));
        }
        resolver
    }

    /// The file's monitors as they stand there, and their place.
    pub(super) fn take_monitors(&mut self) -> Option<(String, Node)> {
        self.monitors.take()
    }

    /// Whether the file has monitors.
    pub(super) fn has_monitors(&self) -> bool {
        self.monitors.is_some()
    }

    /// What was gathered: the rows of `farspan config` and the warnings, or all mistakes.
    pub(super) fn finish(self) -> Result<(Vec<Row>, Vec<String>), Errors> {
        if !self.errors.is_empty() {
            return Err(Errors(self.errors));
        }
        let mut rows = self.rows;
        let place = |row: &Row| {
            SETTINGS
                .iter()
                .position(|setting| setting.name() == row.name)
        };
        rows.sort_by_key(place);
        Ok((rows, self.warnings))
    }

    /// The value of a setting as it was written, its default if it was not. The name is the setting's last variable.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Found> {
        let found = self
            .written(name)
            .into_iter()
            .next()
            .or_else(|| default(name));
        self.show_found(name, found.as_ref());
        found
    }

    /// A setting whose mistakes are errors.
    pub(super) fn strict<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Option<T> {
        let found = self.take(name)?;
        match parse(&found.text) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.error(name, &found, &reason);
                None
            }
        }
    }

    /// A setting whose mistakes are ignored and warned of, as the OpenTelemetry specification asks: the next weaker
    /// value holds. <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>
    pub(super) fn lenient<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Option<T> {
        for found in self.written(name).into_iter().chain(default(name)) {
            match parse(&found.text) {
                Ok(value) => {
                    self.show_found(name, Some(&found));
                    return Some(value);
                }
                Err(reason) => {
                    let place = found.origin.place();
                    let value = setting(name).redacted(&found.text);
                    self.warnings
                        .push(format!("{place}: '{value}' {reason}; it is ignored"));
                }
            }
        }
        self.show_found(name, None);
        None
    }

    /// A secret that stands in one setting, or in the file that another one names, or in the credential that systemd
    /// hands over. The environment beats the file here too.
    pub(super) fn secret(
        &mut self,
        name: &'static str,
        file_name: &'static str,
        credential: &str,
        parse: impl Fn(&str) -> Result<String, Reason>,
    ) -> Option<Secret> {
        let found = self.secret_and_file(name, file_name, credential, parse);
        found.map(|(secret, _)| secret)
    }

    /// The same of one that is to be read again when its file has changed.
    pub(super) fn secret_source(
        &mut self,
        name: &'static str,
        file_name: &'static str,
        credential: &str,
        parse: impl Fn(&str) -> Result<String, Reason>,
    ) -> Option<SecretSource> {
        match self.secret_and_file(name, file_name, credential, parse)? {
            (secret, Some(path)) => Some(SecretSource::File(path, secret)),
            (secret, None) => Some(SecretSource::Given(secret)),
        }
    }

    /// The secret, and the file that it is in, where it is in one.
    fn secret_and_file(
        &mut self,
        name: &'static str,
        file_name: &'static str,
        credential: &str,
        parse: impl Fn(&str) -> Result<String, Reason>,
    ) -> Option<(Secret, Option<PathBuf>)> {
        let direct = self.take(name);
        let by_file = self.take(file_name);
        let (found, file) = match (direct, by_file) {
            (Some(direct), Some(by_file)) => {
                let both_env = [&direct, &by_file].map(|it| matches!(it.origin, Origin::Env(_)));
                if both_env[0] == both_env[1] {
                    let (one, other) = (direct.origin.place(), by_file.origin.place());
                    self.errors
                        .push(format!("{one}: {other} is set too; one of them must go"));
                    return None;
                }
                if both_env[0] {
                    (direct, None)
                } else {
                    self.secret_file(&by_file)?
                }
            }
            (Some(direct), None) => (direct, None),
            (None, Some(by_file)) => self.secret_file(&by_file)?,
            (None, None) => self.credential(credential)?,
        };
        self.show_found(name, Some(&found));
        match parse(&found.text) {
            Ok(secret) => Some((Secret::new(secret), file)),
            Err(reason) => {
                self.error(name, &found, &reason);
                None
            }
        }
    }

    /// The file that a setting names, whole.
    pub(super) fn bytes_of(&mut self, name: &'static str) -> Option<(Found, Vec<u8>)> {
        let found = self.take(name)?;
        match files::read(Path::new(&found.text)) {
            Ok(bytes) => {
                self.set_written(name, &String::from_utf8_lossy(&bytes));
                Some((found, bytes))
            }
            Err(reason) => {
                self.error(name, &found, &reason);
                None
            }
        }
    }

    /// A mistake in a value that was found.
    pub(super) fn error(&mut self, name: &'static str, found: &Found, reason: &str) {
        let place = found.origin.place();
        self.errors.push(match setting(name).kind {
            Kind::Secret => format!("{place}: the value {reason}"),
            _ => format!(
                "{place}: '{}' {reason}",
                setting(name).redacted(&found.text)
            ),
        });
    }

    /// A mistake in the value that is in force.
    pub(super) fn error_in(&mut self, name: &'static str, reason: &str) {
        if let Some(row) = self.rows.iter().find(|row| row.name == name) {
            self.errors
                .push(format!("{}: '{}' {reason}", row.origin.place(), row.value));
        }
    }

    /// Where the value in force came from, once it was asked for.
    pub(super) fn origin_of(&self, name: &str) -> Option<&Origin> {
        self.rows
            .iter()
            .find(|row| row.name == name)
            .map(|row| &row.origin)
    }

    /// Puts a value into `farspan config`, in the place of the one that was written.
    pub(super) fn show(&mut self, name: &'static str, value: String, origin: Origin) {
        let before = self.rows.iter().position(|row| row.name == name);
        let written = before.map(|at| self.rows.swap_remove(at).written);
        self.rows.push(Row {
            name,
            value,
            origin,
            written: written.unwrap_or(Secret::new("")),
        });
    }

    fn set_written(&mut self, name: &'static str, text: &str) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.name == name) {
            row.written = Secret::new(text);
        }
    }

    fn show_found(&mut self, name: &'static str, found: Option<&Found>) {
        match found {
            Some(found) => {
                let value = setting(name).redacted(&found.text);
                self.show(name, value, found.origin.clone());
                self.set_written(name, &found.text);
            }
            None => {
                self.show(name, "(unset)".to_owned(), Origin::Default);
                self.set_written(name, "");
            }
        }
    }

    /// What was written for a setting, the strongest first.
    fn written(&self, name: &'static str) -> Vec<Found> {
        let setting = setting(name);
        let mut written = Vec::new();
        for name in setting.env {
            if let Some(text) = self.env.text(name) {
                // A secret is taken as it is, so that a stray line break in it is found and said.
                let text = if setting.kind == Kind::Secret {
                    text
                } else {
                    text.trim()
                };
                written.push(Found {
                    text: text.to_owned(),
                    origin: Origin::Env(name),
                });
            }
        }
        written.extend(setting.key.and_then(|key| self.file.get(key)).cloned());
        written
    }

    fn check_environment(&mut self) {
        let known = || {
            SETTINGS
                .iter()
                .flat_map(|setting| setting.env.iter().copied())
        };
        for (name, value) in self.env.iter() {
            let is_known = known().any(|known| known == name);
            if is_known && value.is_none() {
                self.errors.push(format!("{name}: the value is not UTF-8"));
            }
            let Some(short) = name.strip_prefix("FARSPAN_").filter(|_| !is_known) else {
                continue;
            };
            if is_service_link(name, value.unwrap_or_default()) {
                continue;
            }
            let known = known().filter_map(|known| known.strip_prefix("FARSPAN_"));
            let meant = values::nearest(short, known).map(|meant| format!("FARSPAN_{meant}"));
            self.errors.push(unknown(&shown(name), "setting", meant));
        }
    }

    fn secret_file(&mut self, by_file: &Found) -> Option<(Found, Option<PathBuf>)> {
        let path = PathBuf::from(&by_file.text);
        match files::read_secret(&path) {
            Ok(text) => {
                let origin = Origin::SecretFile(shown(&by_file.text));
                Some((Found { text, origin }, Some(path)))
            }
            Err(reason) => {
                let (place, path) = (by_file.origin.place(), shown(&by_file.text));
                self.errors.push(format!("{place}: '{path}' {reason}"));
                None
            }
        }
    }

    fn credential(&mut self, credential: &str) -> Option<(Found, Option<PathBuf>)> {
        let path = Path::new(self.env.text("CREDENTIALS_DIRECTORY")?).join(credential);
        if !path.exists() {
            return None;
        }
        let shown_path = shown(&path.to_string_lossy());
        match files::read_secret(&path) {
            Ok(text) => {
                let origin = Origin::SecretFile(shown_path);
                Some((Found { text, origin }, Some(path)))
            }
            Err(reason) => {
                self.errors
                    .push(format!("$CREDENTIALS_DIRECTORY: '{shown_path}' {reason}"));
                None
            }
        }
    }

    fn read_file(&mut self, path: &Path) {
        let name = shown(&path.to_string_lossy());
        let bytes = match files::read(path) {
            Ok(bytes) => bytes,
            Err(reason) => return self.errors.push(format!("{name}: {reason}")),
        };
        match serde_json::from_slice(&bytes) {
            Ok(Node::Group(entries)) => self.read_group(&name, "", entries),
            Ok(_) => self.errors.push(format!("{name}: is not a JSON object")),
            // serde_json's own text ends with line and column.
            Err(error) => self.errors.push(format!("{name}: is not JSON: {error}")),
        }
    }

    fn read_group(&mut self, file: &str, group: &str, entries: Vec<(String, Node)>) {
        let known_keys = || SETTINGS.iter().filter_map(|setting| setting.key);
        let mut seen = Vec::new();
        for (entry, node) in entries {
            let dotted = entry.contains('.');
            let path = if group.is_empty() {
                entry
            } else {
                format!("{group}.{entry}")
            };
            let place = format!("{file}: {}", shown(&path));
            if seen.contains(&path) {
                self.errors.push(format!("{place}: stands there twice"));
            }
            if path == "$schema" || path == MONITORS {
                if path == MONITORS {
                    self.monitors = Some((place, node));
                }
                seen.push(path);
                continue;
            }
            let setting = SETTINGS.iter().find(|setting| setting.key == Some(&path));
            let is_group = known_keys().any(|key| {
                key.strip_prefix(path.as_str())
                    .is_some_and(|rest| rest.starts_with('.'))
            });
            match (setting, node) {
                (Some(setting), node) if !dotted => {
                    self.read_value(file, &place, setting, node);
                }
                (None, Node::Group(entries)) if is_group => {
                    self.read_group(file, &path, entries);
                }
                (None, _) if is_group => self.errors.push(format!("{place}: must be an object")),
                (Some(_), _) => {
                    self.errors
                        .push(format!("{place}: write the groups as nested objects"));
                }
                (None, _) => {
                    let groups = known_keys().filter_map(|key| key.split('.').next());
                    let known = known_keys().chain(groups).chain([MONITORS]);
                    let meant = values::nearest(&path, known);
                    let meant = meant.map(str::to_owned);
                    self.errors.push(unknown(&place, "key", meant));
                }
            }
            seen.push(path);
        }
    }

    fn read_value(&mut self, file: &str, place: &str, setting: &'static Setting, node: Node) {
        let Some(key) = setting.key else { return };
        let text = match (setting.kind, node) {
            (Kind::Number | Kind::Size, Node::Number(number)) => number.to_string(),
            (kind, Node::Text(text)) if kind != Kind::Number => text,
            (kind, other) => {
                let right = match (kind, setting.default) {
                    (Kind::Number, default) => format!("a number, such as {default}"),
                    (_, "") => "a string".to_owned(),
                    (_, default) => format!("a string, such as \"{default}\""),
                };
                let error = format!("{place}: is {}, must be {right}", other.kind());
                return self.errors.push(error);
            }
        };
        let origin = Origin::Key(file.to_owned(), key);
        self.file.insert(key, Found { text, origin });
    }
}

/// Kubernetes sets `FARSPAN_SERVICE_HOST`, `FARSPAN_PORT_9464_TCP` and the like where a service is named farspan.
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>
fn is_service_link(name: &str, value: &str) -> bool {
    let is_url = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    let has_port_number = name
        .split_once("_PORT_")
        .is_some_and(|(_, rest)| rest.starts_with(|char: char| char.is_ascii_digit()));
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT") && is_url
        || has_port_number
}

fn unknown(place: &str, what: &str, meant: Option<String>) -> String {
    match meant {
        Some(meant) => format!("{place}: no such {what}; did you mean '{meant}'?"),
        None => format!("{place}: no such {what}; see 'farspan help settings'"),
    }
}

#[expect(
    clippy::expect_used,
    reason = "every name is a literal, and every test of `Config` asks for all of them"
)]
fn setting(name: &str) -> &'static Setting {
    SETTINGS
        .iter()
        .find(|setting| setting.name() == name)
        .expect("a setting of the table")
}

fn default(name: &str) -> Option<Found> {
    let text = setting(name).default;
    (!text.is_empty()).then(|| Found {
        text: text.to_owned(),
        origin: Origin::Default,
    })
}
