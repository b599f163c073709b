//! The table of settings.

use crate::core::limits;
use crate::features::{self, Feature};
use crate::syntax::text::{escape, shown};
use crate::syntax::values::redacted_url;
use std::fmt::Write as _;

/// One setting, as its parser, its help and `farspan config` know it.
pub(super) struct Setting {
    name: &'static str,
    /// The variables of the environment, the stronger ones first.
    pub(super) env: &'static [&'static str],
    /// Its place in the configuration file.
    pub(super) key: Option<&'static str>,
    /// As it would be written; empty: none.
    pub(super) default: &'static str,
    /// One line.
    pub(super) about: &'static str,
    pub(super) kind: SettingKind,
    /// This build needs one of these for it; none: it is always there.
    needs: &'static [Feature],
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum SettingKind {
    Text,
    /// The name of a file or a directory. In the configuration file it is relative to that file's directory.
    Path,
    Duration,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A whole number within these bounds.
    Number(u32, u32),
    /// A number of bytes, or a text with a unit.
    Size,
    /// Never shown.
    Secret,
    /// Shown without what it keeps secret.
    SecretUrl,
}

impl Setting {
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    const fn needing(mut self, one_of: &'static [Feature]) -> Setting {
        self.needs = one_of;
        self
    }

    /// What to say of it where this build lacks the feature that it needs.
    pub(super) fn missing(&self) -> Option<String> {
        features::missing(self.needs)
    }

    /// Whether its variables are farspan's, and not those of many programs.
    pub(super) fn is_ours(&self) -> bool {
        self.name.starts_with("FARSPAN_") || self.name.starts_with("OTEL_")
    }

    /// A value without what is secret.
    pub(super) fn redacted(&self, text: &str) -> String {
        match self.kind {
            SettingKind::Secret => "(redacted)".to_owned(),
            SettingKind::SecretUrl => redacted_url(text),
            _ => text.to_owned(),
        }
    }

    /// Such a value as people read it. A path is shown whole.
    pub(super) fn shown(&self, redacted: &str) -> String {
        match self.kind {
            SettingKind::Path => escape(redacted),
            _ => shown(redacted),
        }
    }
}

const fn both(
    env: &'static [&'static str],
    key: &'static str,
    default: &'static str,
    kind: SettingKind,
    about: &'static str,
) -> Setting {
    Setting {
        key: Some(key),
        ..self::env(env, default, kind, about)
    }
}

const fn env(
    env: &'static [&'static str],
    default: &'static str,
    kind: SettingKind,
    about: &'static str,
) -> Setting {
    Setting {
        name: last(env),
        env,
        key: None,
        default,
        about,
        kind,
        needs: &[],
    }
}

/// Of the log records or the metrics. Its name is the stronger variable, because the weaker one is the name of that of the
/// spans.
const fn of_signal(
    env: &'static [&'static str],
    default: &'static str,
    kind: SettingKind,
    about: &'static str,
) -> Setting {
    Setting {
        name: env[0],
        ..self::env(env, default, kind, about)
    }
}

const fn last(names: &'static [&'static str]) -> &'static str {
    names[names.len() - 1]
}

/// Where the admin endpoint is, unless told otherwise.
const ADMIN_LISTEN: &str = if cfg!(feature = "admin") {
    "127.0.0.1:9464"
} else {
    "none"
};

/// Where the metrics are, unless told otherwise.
const METRICS_EXPORTER: &str = if cfg!(feature = "admin") {
    "prometheus"
} else {
    "none"
};

const ABOUT_METRICS_EXPORTER: &str = if cfg!(feature = "admin") {
    "prometheus (GET /metrics of the admin endpoint), otlp (to a collector), both with a comma, or none"
} else {
    "otlp (the metrics go to a collector) or none"
};

const ABOUT_STATE: &str = if cfg!(all(feature = "file", feature = "redis")) {
    "Where the state is stored, so that it survives a restart: file, redis (for a fleet), or none"
} else if cfg!(feature = "file") {
    "Where the state is stored, so that it survives a restart: file or none"
} else if cfg!(feature = "redis") {
    "Where the state is stored, so that it survives a restart: redis (for a fleet) or none"
} else {
    "Where the state is stored: this build has only none"
};

/// Where the state can be.
const STATES: &[&str] = if cfg!(all(feature = "file", feature = "redis")) {
    &["file", "redis", "none"]
} else if cfg!(feature = "file") {
    &["file", "none"]
} else if cfg!(feature = "redis") {
    &["redis", "none"]
} else {
    &["none"]
};

/// All settings, in the order of the documentation.
#[rustfmt::skip]
pub(super) const SETTINGS: &[Setting] = &[
    env(&["FARSPAN_CONFIG"], "", SettingKind::Path, "The configuration file, JSON. The option --config beats it"),
    both(&["FARSPAN_API_BASE_URL"], "api.base_url", "", SettingKind::SecretUrl, "The status API: http://host:port/path. Needed unless all monitors have their own"),
    both(&["FARSPAN_API_TOKEN"], "api.token", "", SettingKind::Secret, "Sent to the API as a bearer token"),
    both(&["FARSPAN_API_TOKEN_FILE"], "api.token_file", "", SettingKind::Path, "The file that holds the token, read again when it changes. Default: $CREDENTIALS_DIRECTORY/api-token"),
    both(&["FARSPAN_REDIS_URL"], "redis.url", "", SettingKind::SecretUrl, "redis://, rediss:// or unix://. Unset: no Redis").needing(&[Feature::Redis]),
    both(&["FARSPAN_REDIS_URL_FILE"], "redis.url_file", "", SettingKind::Path, "The file that holds the URL. Default: $CREDENTIALS_DIRECTORY/redis-url").needing(&[Feature::Redis]),
    both(&["FARSPAN_REDIS_CHANNEL"], "redis.channel", "event.workflow.started", SettingKind::Text, "The pub/sub channel of start events").needing(&[Feature::Redis]),
    both(&["FARSPAN_REDIS_STREAM"], "redis.stream", "", SettingKind::Text, "A stream of start events, read beside the channel by the group farspan. Unset: none").needing(&[Feature::Redis]),
    both(&["FARSPAN_REDIS_STREAM_MAXLEN"], "redis.stream_maxlen", "", SettingKind::Number(0, u32::MAX), "The stream is trimmed to this many entries. Entries that are not acknowledged stay. Unset: it is not trimmed").needing(&[Feature::Redis]),
    both(&["FARSPAN_POLL_INITIAL_DELAY"], "poll.initial_delay", "5s", SettingKind::Duration, "The time from the start event to the first poll. Up to one interval is added, to spread a burst"),
    both(&["FARSPAN_POLL_INTERVAL"], "poll.interval", "10s", SettingKind::Duration, "The time from one poll of a workflow to the next"),
    both(&["FARSPAN_POLL_TIMEOUT"], "poll.timeout", "24h", SettingKind::Duration, "How long a workflow is watched at most"),
    both(&["FARSPAN_POLLERS"], "poll.pollers", "16", SettingKind::Number(1, limits::POLLERS_MAX as u32), "The number of polls at one time; at least workflows x latency / interval"),
    both(&["FARSPAN_WORKFLOWS_MAX"], "workflows_max", "100000", SettingKind::Number(1, limits::WORKFLOWS_MAX as u32), "Workflows under watch at one time. Further start events wait in their source"),
    both(&["FARSPAN_INSTANCE"], "instance", "", SettingKind::Text, "service.instance.id, and the name in a fleet, where each instance needs its own. Default: the name of the host"),
    both(&["FARSPAN_LOG"], "log.level", "info", SettingKind::Words(&["error", "warn", "info", "debug", "trace"]), "The level of the log: error, warn, info, debug or trace"),
    both(&["FARSPAN_LOG_FORMAT"], "log.format", "text", SettingKind::Words(&["text", "json"]), "The format of the log: text or json"),
    both(&["FARSPAN_STATE"], "state", if cfg!(feature = "file") { "file" } else { "none" }, SettingKind::Words(STATES), ABOUT_STATE),
    both(&["FARSPAN_STATE_DIR"], "state_dir", "", SettingKind::Path, "The directory of the state file. Default: $STATE_DIRECTORY, else ./farspan-state").needing(&[Feature::File]),
    both(&["FARSPAN_STATE_MAX_BYTES"], "state_max_bytes", "1GiB", SettingKind::Size, "With this much state, new workflows wait until others end. Bytes, KiB, MiB or GiB; 1MiB or more").needing(&[Feature::File, Feature::Redis]),
    both(&["FARSPAN_LEASE"], "lease", "30s", SettingKind::Duration, "With FARSPAN_STATE=redis: an instance that is silent for this long loses its runs to the others; 1s to 1h").needing(&[Feature::Redis]),
    both(&["FARSPAN_ADMIN_LISTEN"], "admin.listen", ADMIN_LISTEN, SettingKind::Text, "Where the admin endpoint listens: host:port, or none").needing(&[Feature::Admin]),
    both(&["FARSPAN_ADMIN_TOKEN"], "admin.token", "", SettingKind::Secret, "The bearer token of the admin endpoint. Needed if other hosts can reach it").needing(&[Feature::Admin]),
    both(&["FARSPAN_ADMIN_TOKEN_FILE"], "admin.token_file", "", SettingKind::Path, "The file that holds the token. Default: $CREDENTIALS_DIRECTORY/admin-token").needing(&[Feature::Admin]),
    both(&["FARSPAN_TRACE_URL"], "trace_url", "", SettingKind::Text, "A trace's page in its backend, with {trace_id}, and {span_id} if it is needed. Viewers get the link").needing(&[Feature::Admin]),
    both(&["FARSPAN_METRICS_BUCKETS"], "metrics.buckets", super::metrics::BUCKETS, SettingKind::Text, "The buckets of the metrics that count how long workflows and stages took: durations that ascend, with commas"),
    env(&["http_proxy", "HTTP_PROXY"], "", SettingKind::SecretUrl, "The proxy for http:// URLs: http, https, socks4, socks4a, socks5 or socks5h. Not for this host"),
    env(&["https_proxy", "HTTPS_PROXY"], "", SettingKind::SecretUrl, "The proxy for https:// URLs").needing(&[Feature::Tls]),
    env(&["all_proxy", "ALL_PROXY"], "", SettingKind::SecretUrl, "The proxy where the variable for the scheme is not set"),
    env(&["no_proxy", "NO_PROXY"], "", SettingKind::Text, "Hosts asked without a proxy, with commas: domains, addresses, networks such as 10.0.0.0/8, or *"),
    env(&["SSL_CERT_FILE"], "", SettingKind::Path, "The PEM file with the authorities to trust, instead of the system's").needing(&[Feature::Tls]),
    env(&["SSL_CERT_DIR"], "", SettingKind::Text, "Directories with such files, with colons between them").needing(&[Feature::Tls]),
    env(&["OTEL_SDK_DISABLED"], "false", SettingKind::Text, "true: no spans, log records or metrics are sent to a collector"),
    env(&["OTEL_TRACES_EXPORTER"], "otlp", SettingKind::Text, "otlp, console, both with a comma, or none"),
    env(&["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"], "http://localhost:4318", SettingKind::SecretUrl, "The collector. v1/traces is appended, but not to the TRACES variable"),
    env(&["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"], "http/protobuf", SettingKind::Text, "farspan has http/protobuf only"),
    env(&["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"], "", SettingKind::Secret, "key=value,key=value with percent-encoded values"),
    env(&["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"], "10000", SettingKind::Text, "The longest time of one attempt at an export, in ms"),
    env(&["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"], "none", SettingKind::Text, "gzip or none"),
    env(&["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"], "", SettingKind::Path, "The PEM file with the root certificates that the collector's certificate is checked against").needing(&[Feature::Tls]),
    env(&["OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"], "", SettingKind::Path, "The PEM file with farspan's own certificate").needing(&[Feature::Tls]),
    env(&["OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY"], "", SettingKind::Path, "The PEM file with the key of that certificate").needing(&[Feature::Tls]),
    of_signal(&["OTEL_LOGS_EXPORTER"], "otlp", SettingKind::Text, "For monitors with spans.status_events log or both: otlp or none"),
    of_signal(&["OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"], "http://localhost:4318", SettingKind::SecretUrl, "The collector for log records. v1/logs is appended, but not to the LOGS variable"),
    of_signal(&["OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"], "http/protobuf", SettingKind::Text, "As for spans"),
    of_signal(&["OTEL_EXPORTER_OTLP_LOGS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"], "", SettingKind::Secret, "As for spans"),
    of_signal(&["OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"], "10000", SettingKind::Text, "As for spans"),
    of_signal(&["OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"], "none", SettingKind::Text, "As for spans"),
    of_signal(&["OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"], "", SettingKind::Path, "As for spans").needing(&[Feature::Tls]),
    of_signal(&["OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"], "", SettingKind::Path, "As for spans").needing(&[Feature::Tls]),
    of_signal(&["OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY"], "", SettingKind::Path, "As for spans").needing(&[Feature::Tls]),
    env(&["OTEL_METRICS_EXPORTER"], METRICS_EXPORTER, SettingKind::Text, ABOUT_METRICS_EXPORTER),
    of_signal(&["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"], "http://localhost:4318", SettingKind::SecretUrl, "The collector for metrics. v1/metrics is appended, but not to the METRICS variable"),
    of_signal(&["OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"], "http/protobuf", SettingKind::Text, "As for spans"),
    of_signal(&["OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"], "", SettingKind::Secret, "As for spans"),
    of_signal(&["OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"], "10000", SettingKind::Text, "As for spans"),
    of_signal(&["OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"], "none", SettingKind::Text, "As for spans"),
    of_signal(&["OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"], "", SettingKind::Path, "As for spans").needing(&[Feature::Tls]),
    of_signal(&["OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"], "", SettingKind::Path, "As for spans").needing(&[Feature::Tls]),
    of_signal(&["OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY"], "", SettingKind::Path, "As for spans").needing(&[Feature::Tls]),
    env(&["OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"], "cumulative", SettingKind::Text, "farspan has cumulative only"),
    env(&["OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"], "explicit_bucket_histogram", SettingKind::Text, "farspan has explicit_bucket_histogram only"),
    env(&["OTEL_METRICS_EXEMPLAR_FILTER"], "trace_based", SettingKind::Text, "farspan has trace_based only"),
    env(&["OTEL_METRIC_EXPORT_INTERVAL"], "60000", SettingKind::Text, "The time from one export of the metrics to the next, in ms"),
    env(&["OTEL_METRIC_EXPORT_TIMEOUT"], "30000", SettingKind::Text, "The longest time of one export of the metrics, in ms"),
    env(&["OTEL_BSP_SCHEDULE_DELAY"], "5000", SettingKind::Text, "The longest time that a span waits for others, in ms"),
    env(&["OTEL_BSP_EXPORT_TIMEOUT"], "30000", SettingKind::Text, "The longest time of one export, in ms"),
    env(&["OTEL_BSP_MAX_QUEUE_SIZE"], "", SettingKind::Text, "Spans that may wait. When the queue is full, polls wait; no span is dropped. Default: bounded by bytes"),
    env(&["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"], "512", SettingKind::Text, "Spans in one export"),
    env(&["OTEL_SERVICE_NAME"], "", SettingKind::Text, "service.name. Default: farspan"),
    env(&["OTEL_RESOURCE_ATTRIBUTES"], "", SettingKind::Text, "key=value,key=value with percent-encoded values"),
    env(&["OTEL_TRACES_SAMPLER"], "parentbased_always_on", SettingKind::Text, "[parentbased_]always_on, always_off or traceidratio. parentbased: the submitter's sampled flag decides"),
    env(&["OTEL_TRACES_SAMPLER_ARG"], "1.0", SettingKind::Text, "The ratio of traceidratio, 0 to 1"),
    env(&["OTEL_PROPAGATORS"], "", SettingKind::Text, "Formats of trace context: tracecontext, baggage, b3, jaeger, datadog, honeycomb, xray, or none. Default: all"),
    env(&["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"], "128", SettingKind::Text, "Attributes of a span at most"),
    env(&["OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"], "2048", SettingKind::Text, "Characters of an attribute at most"),
    env(&["OTEL_SPAN_EVENT_COUNT_LIMIT"], "128", SettingKind::Text, "Events of a span at most"),
    env(&["OTEL_SPAN_LINK_COUNT_LIMIT"], "128", SettingKind::Text, "Links of a span at most"),
    env(&["OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT"], "128", SettingKind::Text, "Accepted; farspan's events have no attributes"),
    env(&["OTEL_LINK_ATTRIBUTE_COUNT_LIMIT"], "128", SettingKind::Text, "Accepted; farspan's links have no attributes"),
];

/// The settings that a reload applies. The others need a restart.
pub(super) const RELOADED: &[&str] = &[
    "FARSPAN_API_TOKEN",
    "FARSPAN_API_TOKEN_FILE",
    "FARSPAN_POLL_INITIAL_DELAY",
    "FARSPAN_POLL_INTERVAL",
    "FARSPAN_POLL_TIMEOUT",
    "FARSPAN_LOG",
];

/// The key of the file that is not a setting.
pub(super) const MONITORS: &str = "monitors";

/// All settings, for `farspan help settings`.
pub(crate) fn help() -> String {
    let mut text = String::from(
        "farspan's settings: the environment variable, (its key in the configuration file), [its default].\n\
         The environment beats the file. An empty variable is an unset one. A duration is 500ms, 5s, 10m or 12h.\n",
    );
    for setting in SETTINGS.iter().filter(|it| it.missing().is_none()) {
        let _ = write!(text, "\n{}", setting.name());
        if let Some(key) = setting.key {
            let _ = write!(text, " ({key})");
        }
        if !setting.default.is_empty() {
            let _ = write!(text, " [{}]", setting.default);
        }
        let _ = writeln!(text, "\n    {}", setting.about);
        match setting.env {
            [stronger, _] if *stronger != setting.name() => {
                let _ = writeln!(text, "    {stronger} beats it");
            }
            [_, weaker] => {
                let _ = writeln!(text, "    Unset: {weaker}");
            }
            _ => {}
        }
        if RELOADED.contains(&setting.name()) {
            text.push_str("    A reload (SIGHUP) applies it\n");
        }
    }
    text
}

/// A setting, as a page describes it.
pub(crate) struct Described {
    pub(crate) name: &'static str,
    pub(crate) key: Option<&'static str>,
    pub(crate) default: &'static str,
    pub(crate) about: &'static str,
}

/// All settings that this build has.
pub(crate) fn settings() -> impl Iterator<Item = Described> {
    let there = SETTINGS.iter().filter(|it| it.missing().is_none());
    there.map(|setting| Described {
        name: setting.name(),
        key: setting.key,
        default: setting.default,
        about: setting.about,
    })
}

/// All settings as variables, each explained and commented out: for `farspan init` and for systemd/farspan.env.
pub(crate) fn environment_file() -> String {
    const WIDTH: usize = 100;
    let mut text = String::from(
        "# farspan's settings as variables, for systemd (EnvironmentFile=) and containers (docker run --env-file).\n\
         # Remove the # in front of a variable to set it: NAME=value, without quotation marks. What stands there now\n\
         # is its default. `farspan config` shows what is in force, `farspan check` tries it.\n",
    );
    for setting in SETTINGS.iter().filter(|it| it.missing().is_none()) {
        text.push('\n');
        let mut about = format!("{}.", setting.about);
        match setting.env {
            [stronger, _] if *stronger != setting.name() => {
                let _ = write!(about, " {stronger} beats it.");
            }
            [_, weaker] => {
                let _ = write!(about, " Unset: {weaker}.");
            }
            _ => {}
        }
        text.push('#');
        let mut column = 1;
        for word in about.split(' ') {
            if column + 1 + word.len() > WIDTH {
                text.push_str("\n#");
                column = 1;
            }
            let _ = write!(text, " {word}");
            column += 1 + word.len();
        }
        let _ = writeln!(text, "\n#{}={}", setting.name(), setting.default);
    }
    text
}

#[expect(
    clippy::expect_used,
    reason = "every name is a literal, and every test of `Config` asks for all of them"
)]
pub(super) fn setting(name: &str) -> &'static Setting {
    SETTINGS
        .iter()
        .find(|setting| setting.name() == name)
        .expect("a setting of the table")
}
