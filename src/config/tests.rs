use super::*;
use crate::os::environment::Environment;
use crate::os::files::tests::Folder;
use expect_test::{Expect, expect};
use std::ffi::OsString;

const API: (&str, &str) = ("FARSPAN_API_BASE_URL", "http://api.test");

fn environment(pairs: &[(&str, &str)]) -> Environment {
    Environment::from_pairs(pairs.iter().copied().chain([("HOSTNAME", "vm-1")]))
}

/// A name in the working directory, as an absolute path.
fn here(name: &str) -> String {
    let directory = std::env::current_dir().unwrap();
    directory.join(name).to_string_lossy().into_owned()
}

/// What `show` makes of the configuration, then the warnings; or the mistakes.
fn check(pairs: &[(&str, &str)], show: impl Fn(&Config) -> String, expected: Expect) {
    let text = match Config::load(&environment(pairs), None) {
        Ok(config) => format!(
            "{}\n{}",
            show(&config),
            [config.warnings.clone(), config.source_warnings.clone()]
                .concat()
                .join("\n")
        ),
        Err(errors) => errors.to_string(),
    };
    expected.assert_eq(text.trim_end());
}

/// The same with a file; shows its own lines of `farspan config`.
fn check_file(file: &str, pairs: &[(&str, &str)], expected: Expect) {
    let folder = Folder::with(&[("farspan.json", file)]);
    let path = folder.path().join("farspan.json");
    let text = match Config::load(&environment(pairs), Some(&path)) {
        Ok(config) => {
            let described = folder.shortened(&config.describe(false));
            let lines = described.lines().filter(|line| line.starts_with("FARSPAN"));
            // The columns depend on where the file lies.
            let lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
            lines
                .filter(|line| !line.ends_with(" default"))
                .collect::<Vec<_>>()
                .join("\n")
        }
        Err(errors) => folder.shortened(&errors.to_string()),
    };
    expected.assert_eq(&text);
}

#[test]
fn with_nothing_set() {
    // The columns depend on where this is.
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    check(
        &[],
        |config| {
            let text = config.describe(false).replace(&here(""), "/here/");
            text.lines().map(squeezed).collect::<Vec<_>>().join("\n")
        },
        expect![[r#"
            FARSPAN_CONFIG (unset) default
            FARSPAN_API_BASE_URL (unset) default
            FARSPAN_API_TOKEN (unset) default
            FARSPAN_API_TOKEN_FILE (unset) default
            FARSPAN_REDIS_URL (unset) default
            FARSPAN_REDIS_URL_FILE (unset) default
            FARSPAN_REDIS_CHANNEL event.workflow.started default
            FARSPAN_REDIS_STREAM (unset) default
            FARSPAN_REDIS_STREAM_MAXLEN (unset) default
            FARSPAN_POLL_INITIAL_DELAY 5s default
            FARSPAN_POLL_INTERVAL 10s default
            FARSPAN_POLL_TIMEOUT 24h default
            FARSPAN_POLLERS 16 default
            FARSPAN_WORKFLOWS_MAX 100000 default
            FARSPAN_INSTANCE vm-1 default
            FARSPAN_LOG info default
            FARSPAN_LOG_FORMAT text default
            FARSPAN_STATE file default
            FARSPAN_STATE_DIR /here/farspan-state default
            FARSPAN_STATE_MAX_BYTES 1GiB default
            FARSPAN_LEASE 30s default
            FARSPAN_ADMIN_LISTEN 127.0.0.1:9464 default
            FARSPAN_ADMIN_TOKEN (unset) default
            FARSPAN_ADMIN_TOKEN_FILE (unset) default
            FARSPAN_TRACE_URL (unset) default
            FARSPAN_METRICS_BUCKETS 1s,5s,15s,30s,1m,2m,5m,10m,20m,30m,45m,1h,90m,2h,3h,4h,6h,8h… default
            HTTP_PROXY (unset) default
            HTTPS_PROXY (unset) default
            ALL_PROXY (unset) default
            NO_PROXY (unset) default
            SSL_CERT_FILE (unset) default
            SSL_CERT_DIR (unset) default
            OTEL_SDK_DISABLED false default
            OTEL_TRACES_EXPORTER otlp default
            OTEL_EXPORTER_OTLP_ENDPOINT http://localhost:4318/v1/traces default
            OTEL_EXPORTER_OTLP_PROTOCOL http/protobuf default
            OTEL_EXPORTER_OTLP_HEADERS (unset) default
            OTEL_EXPORTER_OTLP_TIMEOUT 10000 default
            OTEL_EXPORTER_OTLP_COMPRESSION none default
            OTEL_EXPORTER_OTLP_CERTIFICATE (unset) default
            OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE (unset) default
            OTEL_EXPORTER_OTLP_CLIENT_KEY (unset) default
            OTEL_METRICS_EXPORTER prometheus default
            OTEL_METRICS_EXEMPLAR_FILTER trace_based default
            OTEL_BSP_SCHEDULE_DELAY 5000 default
            OTEL_BSP_EXPORT_TIMEOUT 30000 default
            OTEL_BSP_MAX_QUEUE_SIZE (unset) default
            OTEL_BSP_MAX_EXPORT_BATCH_SIZE 512 default
            OTEL_SERVICE_NAME (unset) default
            OTEL_RESOURCE_ATTRIBUTES (unset) default
            OTEL_TRACES_SAMPLER parentbased_always_on default
            OTEL_PROPAGATORS (unset) default
            OTEL_ATTRIBUTE_COUNT_LIMIT 128 default
            OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT 2048 default
            OTEL_SPAN_EVENT_COUNT_LIMIT 128 default
            OTEL_SPAN_LINK_COUNT_LIMIT 128 default
            OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT 128 default
            OTEL_LINK_ATTRIBUTE_COUNT_LIMIT 128 default

            resource
            service.name=farspan
            service.version=0.1.0
            service.instance.id=vm-1
            host.name=vm-1"#]],
    );
    check(
        &[],
        |config| format!("{:#?}", (&config.poll, &config.export, &config.trace)),
        expect![[r#"
            (
                PollConfig {
                    initial_delay: 5s,
                    interval: 10s,
                    timeout: 86400s,
                    pollers: 16,
                },
                Export {
                    otlp: Some(
                        CollectorConfig {
                            endpoint: "http://localhost:4318/v1/traces",
                            headers: [],
                            timeout: 10s,
                            compression: None,
                            certificate: None,
                            client_certificate: None,
                            client_key: None,
                            keys: CollectorKeys {
                                endpoint: "OTEL_EXPORTER_OTLP_ENDPOINT",
                                is_set: false,
                                headers: "OTEL_EXPORTER_OTLP_HEADERS",
                                exporter: "OTEL_TRACES_EXPORTER",
                            },
                        },
                    ),
                    logs: None,
                    console: false,
                    batch: BatchPolicy {
                        schedule_delay: 5s,
                        spans_max: 512,
                        queue_max: 18446744073709551615,
                    },
                    attempt_max: 30s,
                },
                Trace {
                    sampler: ParentBased(
                        AlwaysOn,
                    ),
                    limits: SpanLimits {
                        attributes: 128,
                        events: 128,
                        links: 128,
                        attribute_value_chars: 2048,
                    },
                    formats: all,
                },
            )"#]],
    );
}

#[test]
fn help_shows_names_keys_and_defaults() {
    let help = help();
    let part = |name: &str| {
        let from = help.find(name).unwrap();
        help[from..].split("\n\n").next().unwrap().to_owned()
    };
    let parts = ["FARSPAN_POLLERS", "OTEL_EXPORTER_OTLP_ENDPOINT"].map(part);
    expect![[r#"
        FARSPAN_POLLERS (poll.pollers) [16]
            The number of polls at one time; at least workflows x latency / interval
        OTEL_EXPORTER_OTLP_ENDPOINT [http://localhost:4318]
            The collector. v1/traces is appended, but not to the TRACES variable
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT beats it"#]]
    .assert_eq(&parts.join("\n"));
    assert!(help.lines().all(|line| line.chars().count() <= 120));
}

#[test]
fn the_environment_beats_the_file_beats_the_default() {
    check_file(
        r#"{"api": {"base_url": "http://file.test/", "token": "t0k3n"}, "log": {"level": "debug"},
            "redis": {"url": "redis://:pa55@cache/1"}, "poll": {"interval": "1m30s", "pollers": 4, "timeout": "1h"},
            "state": "none"}"#,
        &[
            ("FARSPAN_POLL_INTERVAL", "20s"),
            ("FARSPAN_POLL_TIMEOUT", ""),
            ("FARSPAN_LOG_FORMAT", "JSON"),
        ],
        expect![[r#"
            FARSPAN_CONFIG farspan.json option --config
            FARSPAN_API_BASE_URL http://file.test/ farspan.json: api.base_url
            FARSPAN_API_TOKEN (redacted) farspan.json: api.token
            FARSPAN_REDIS_URL redis://(redacted)@cache/1 farspan.json: redis.url
            FARSPAN_POLL_INTERVAL 20s env FARSPAN_POLL_INTERVAL
            FARSPAN_POLL_TIMEOUT 1h farspan.json: poll.timeout
            FARSPAN_POLLERS 4 farspan.json: poll.pollers
            FARSPAN_LOG debug farspan.json: log.level
            FARSPAN_LOG_FORMAT JSON env FARSPAN_LOG_FORMAT
            FARSPAN_STATE none farspan.json: state"#]],
    );
}

#[test]
fn mistakes_come_all_at_once() {
    check_file(
        r#"{"api": {"base_url": "http://me:pa55@file.test/", "token": 7}, "log": "debug", "polll": {"x": 1},
            "redis": {"url": "http://:pa55@cache/1", "chanel": "c"}, "poll": {"interval": 10, "pollers": "16",
            "timeout": null, "timeout": "1h", "initial_delay": ["5s"]}, "poll.interval": "5s", "state": "redis",
            "zebra": true}"#,
        &[
            ("FARSPAN_POLL_TIMOUT", "1h"),
            ("FARSPAN_XYZZY", "pa55"),
            ("FARSPAN_SERVICE_HOST", "10.0.0.1"),
            ("FARSPAN_SERVICE_PORT_HTTP", "9464"),
            ("FARSPAN_PORT", "tcp://10.0.0.1:9464"),
            ("FARSPAN_PORT_9464_TCP_ADDR", "10.0.0.1"),
            ("FARSPAN_ADMIN_PORT", "9464"),
            ("FARSPAN_LOG", "loud\nly"),
            ("FARSPAN_ADMIN_LISTEN", "9464"),
            ("FARSPAN_REDIS_STREAM", "events"),
            ("FARSPAN_STATE_DIR", "/var/lib/farspan"),
            ("FARSPAN_LEASE", "30s"),
            ("FARSPAN_STATE_MAX_BYTES", "1023KiB"),
            ("FARSPAN_ADMIN_TOKEN", "pa55"),
            ("STATE_DIRECTORY", "/var/lib/farspan"),
            ("FARSPAN_POLLERS", "1025"),
            ("FARSPAN_INSTANCE", "a\u{7}"),
        ],
        expect![[r#"
            FARSPAN_ADMIN_PORT: no such setting; see 'farspan help settings'
            FARSPAN_POLL_TIMOUT: no such setting; did you mean 'FARSPAN_POLL_TIMEOUT'?
            FARSPAN_XYZZY: no such setting; see 'farspan help settings'
            farspan.json: api.token: is a number, must be a string
            farspan.json: log: must be an object
            farspan.json: polll: no such key; did you mean 'poll'?
            farspan.json: redis.chanel: no such key; did you mean 'redis.channel'?
            farspan.json: poll.interval: is a number, must be a string, such as "10s"
            farspan.json: poll.pollers: is a string, must be a number, such as 16
            farspan.json: poll.timeout: is null, must be a string, such as "24h"
            farspan.json: poll.timeout: duplicate key: it is in this object twice
            farspan.json: poll.initial_delay: is an array, must be a string, such as "5s"
            farspan.json: poll.interval: write the groups as nested objects
            farspan.json: zebra: no such key; see 'farspan help settings'
            farspan.json: api.base_url: 'http://(redacted)@file.test/' must not have a user or password; write a token in FARSPAN_API_TOKEN
            farspan.json: redis.url: 'http://(redacted)@cache/1' must begin with redis://, rediss:// or unix://
            FARSPAN_POLLERS: '1025' is not a whole number from 1 to 1024
            FARSPAN_INSTANCE: 'a\u{7}' must be 1 to 256 bytes without control characters
            FARSPAN_LOG: 'loud\nly' is unknown; write error, warn, info, debug or trace
            FARSPAN_ADMIN_LISTEN: '9464' is not host:port
            FARSPAN_STATE_MAX_BYTES: '1023KiB' is out of range; it may be 1MiB or more"#]],
    );
}

/// Credentials that stand for the spans alone do not go along with the log records.
#[test]
fn log_records_have_a_collector_where_a_monitor_wants_them() {
    let file = |status_events: &str| {
        let monitor = format!(
            r#"{{"name": "m", "preset": "farspan", "spans": {{"status_events": "{status_events}"}}}}"#
        );
        format!(r#"{{"api": {{"base_url": "http://a"}}, "monitors": [{monitor}]}}"#)
    };
    let logs = |status_events: &str, pairs: &[(&str, &str)]| {
        let folder = Folder::with(&[("farspan.json", &file(status_events))]);
        let path = folder.path().join("farspan.json");
        let config = Config::load_to_watch(&environment(pairs), Some(&path)).unwrap();
        let warned = config
            .warnings
            .iter()
            .any(|it| it.contains("spans.status_events"));
        let shown = config.export.logs.map(|logs| {
            let headers = logs
                .headers
                .iter()
                .map(|(name, value)| format!(" {name}={}", value.expose()));
            logs.endpoint + &headers.collect::<String>()
        });
        format!("{} {warned}", shown.unwrap_or_default())
    };
    let (base, whole) = (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
    );
    let of_spans = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t/x"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "of=spans"),
    ];
    for (status_events, pairs, expected) in [
        ("span", &[][..], " false"),
        ("log", &[], "http://localhost:4318/v1/logs false"),
        (
            "both",
            &[(base, "http://c/otlp")],
            "http://c/otlp/v1/logs false",
        ),
        (
            "log",
            &[(base, "http://c"), (whole, "http://l/p")],
            "http://l/p false",
        ),
        ("log", &of_spans, "http://localhost:4318/v1/logs false"),
        (
            "log",
            &[("OTEL_EXPORTER_OTLP_HEADERS", "a=1"), of_spans[0]],
            "http://localhost:4318/v1/logs a=1 false",
        ),
        ("log", &[("OTEL_LOGS_EXPORTER", "none")], " true"),
        ("log", &[("OTEL_SDK_DISABLED", "true")], " true"),
    ] {
        assert_eq!(
            logs(status_events, pairs),
            expected,
            "{status_events} {pairs:?}"
        );
    }
}

#[test]
fn metrics_have_a_collector_where_they_are_asked_for() {
    let told = |pairs: &[(&str, &str)]| {
        let mut pairs = pairs.to_vec();
        pairs.push(API);
        let config = match Config::load(&environment(&pairs), None) {
            Ok(config) => config,
            Err(errors) => return errors.to_string(),
        };
        let served = if config.metrics.is_served {
            "served"
        } else {
            ""
        };
        let sent = config.metrics.otlp.map(|it| {
            let (collector, interval) = (it.collector, it.interval);
            format!(
                " {} headers {} each {interval:?} within {:?}",
                collector.endpoint,
                collector.headers.len(),
                it.attempt_max.min(collector.timeout)
            )
        });
        let warnings = config.warnings.join("; ");
        format!("{served}{} {warnings}", sent.unwrap_or_default())
    };
    let exporter = |name| ("OTEL_METRICS_EXPORTER", name);
    let own = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m/p");
    for (pairs, expected) in [
        (&[][..], "served "),
        (&[exporter("none")], " "),
        (
            &[exporter("otlp")],
            " http://localhost:4318/v1/metrics headers 0 each 60s within 10s ",
        ),
        (
            &[
                exporter("prometheus,otlp"),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c/otlp"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b=2"),
                ("OTEL_METRIC_EXPORT_TIMEOUT", "500"),
            ],
            "served http://c/otlp/v1/metrics headers 2 each 60s within 500ms ",
        ),
        (
            &[
                exporter("otlp"),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b=2"),
                own,
                ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x=1"),
                ("OTEL_METRIC_EXPORT_INTERVAL", "15000"),
            ],
            " http://m/p headers 1 each 15s within 10s ",
        ),
        (
            &[exporter("otlp"), ("OTEL_METRIC_EXPORT_INTERVAL", "0")],
            " http://localhost:4318/v1/metrics headers 0 each 60s within 10s \
             OTEL_METRIC_EXPORT_INTERVAL: '0' is not a whole number from 1 to 86400000; it is ignored",
        ),
        (
            &[
                exporter("otlp"),
                (
                    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
                    "base2_exponential_bucket_histogram",
                ),
                ("OTEL_METRICS_EXEMPLAR_FILTER", "always_off"),
            ],
            " http://localhost:4318/v1/metrics headers 0 each 60s within 10s \
             OTEL_METRICS_EXEMPLAR_FILTER: 'always_off' is not supported: farspan's exemplars are spans that are sampled, \
             trace_based; it is ignored; OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION: \
             'base2_exponential_bucket_histogram' is not supported: farspan has explicit_bucket_histogram, with the \
             buckets of FARSPAN_METRICS_BUCKETS; it is ignored",
        ),
        (
            &[exporter("otlp"), ("OTEL_SDK_DISABLED", "true")],
            " OTEL_SDK_DISABLED: no spans are exported",
        ),
        (
            &[exporter("prometheus"), ("FARSPAN_ADMIN_LISTEN", "none")],
            "OTEL_METRICS_EXPORTER: 'prometheus' needs the admin endpoint: set FARSPAN_ADMIN_LISTEN (admin.listen) to \
             an address, or write otlp or none",
        ),
        (&[("FARSPAN_ADMIN_LISTEN", "none")], "served "),
        (
            &[
                exporter("otlp"),
                ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc"),
            ],
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: 'grpc' is not spoken here; set \
             OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=http/protobuf, and OTEL_EXPORTER_OTLP_METRICS_ENDPOINT to the \
             collector's HTTP port, as in http://host:4318/v1/metrics",
        ),
    ] {
        assert_eq!(told(pairs), expected, "{pairs:?}");
    }
}

/// What `farspan config` shows of the headers of each signal.
#[test]
fn headers_of_each_signal_have_their_own_row() {
    let file = r#"{"api": {"base_url": "http://a"}, "monitors": [{"name": "m", "preset": "farspan",
        "spans": {"status_events": "log"}}]}"#;
    let folder = Folder::with(&[("farspan.json", file)]);
    let pairs = [
        ("OTEL_METRICS_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "of-all=pa55"),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "of-logs=pa55"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "of-metrics=pa55"),
    ];
    let path = folder.path().join("farspan.json");
    let described = Config::load(&environment(&pairs), Some(&path))
        .unwrap()
        .describe(false);
    let rows = described.lines().filter(|line| line.contains("_HEADERS"));
    let rows: Vec<Vec<&str>> = rows
        .map(|row| row.split_whitespace().take(2).collect())
        .collect();
    assert_eq!(
        rows,
        [
            ["OTEL_EXPORTER_OTLP_HEADERS", "of-all=(redacted)"],
            ["OTEL_EXPORTER_OTLP_LOGS_HEADERS", "of-logs=(redacted)"],
            [
                "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
                "of-metrics=(redacted)"
            ],
        ]
    );
}

#[test]
fn files_that_are_no_configuration() {
    check_file(
        "{\"api\": {\n  \"token\": \"pa55\",\n}}",
        &[],
        expect!["farspan.json: is not JSON: trailing comma at line 3 column 1"],
    );
    check_file("[1, 2]", &[], expect!["farspan.json: is not a JSON object"]);
    check_file(
        "",
        &[],
        expect!["farspan.json: is not JSON: EOF while parsing a value at line 1 column 0"],
    );
    check_file(
        r#"{"poll": 5, "api": {}}"#,
        &[],
        expect!["farspan.json: poll: must be an object"],
    );
    check(
        &[("FARSPAN_CONFIG", "/nonexistent/farspan.json")],
        |_| String::new(),
        expect![
            "/nonexistent/farspan.json: cannot be read: No such file or directory (os error 2)"
        ],
    );
}

#[test]
fn a_file_that_cannot_be_read_may_have_the_api() {
    for (file, wrong) in [("{", "is not JSON"), ("[]", "is not a JSON object")] {
        let folder = Folder::with(&[("farspan.json", file)]);
        let path = folder.path().join("farspan.json");
        let errors = Config::load_to_watch(&environment(&[]), Some(&path)).unwrap_err();
        let text = errors.to_string();
        assert!(text.contains(wrong) && text.lines().count() == 1, "{text}");
    }
}

#[test]
fn values_out_of_range() {
    check(
        &[
            ("FARSPAN_POLL_INTERVAL", "10"),
            ("FARSPAN_POLL_INITIAL_DELAY", "25h"),
            ("FARSPAN_POLL_TIMEOUT", "0s"),
            ("FARSPAN_POLLERS", "0"),
            ("FARSPAN_STATE", "file"),
            ("FARSPAN_API_BASE_URL", "http://me:pa55@api.test"),
            ("FARSPAN_API_TOKEN", "pa55\n"),
        ],
        |_| String::new(),
        expect![[r#"
            FARSPAN_API_BASE_URL: 'http://(redacted)@api.test' must not have a user or password; write a token in FARSPAN_API_TOKEN
            FARSPAN_API_TOKEN: the value has a line break or another control character within
            FARSPAN_POLL_INITIAL_DELAY: '25h' is out of range; it may be 0s to 24h
            FARSPAN_POLL_INTERVAL: '10' has no unit; write ms, s, m, h or d behind the number
            FARSPAN_POLL_TIMEOUT: '0s' is out of range; it may be 10ms to 10000d
            FARSPAN_POLLERS: '0' is not a whole number from 1 to 1024"#]],
    );
}

#[test]
fn only_the_watcher_needs_an_api() {
    let error = Config::load_to_watch(&environment(&[]), None).unwrap_err();
    expect!["FARSPAN_API_BASE_URL (api.base_url): is not set; write the status API's URL, http://host:port/path"].assert_eq(&error.to_string());
    let config = Config::load_to_watch(&environment(&[API]), None).unwrap();
    assert_eq!(config.api.unwrap().base_url, "http://api.test");
}

#[test]
fn secrets_from_files() {
    let folder = Folder::with(&[
        ("token", " t0k3n\n"),
        ("api-token", "cr3d"),
        ("redis-url", "redis://:pa55@cache\n"),
        ("empty", "\n"),
        ("two", "pa\nss"),
    ]);
    let token = |pairs: &[(&str, &str)]| {
        let pairs: Vec<_> = pairs.iter().copied().chain([API]).collect();
        let config = Config::load(&environment(&pairs), None);
        let secret = |secret: &Secret| secret.expose().to_owned();
        match config {
            Ok(config) => {
                let token = config.api.and_then(|api| api.token);
                let token = token.map(|token| match token {
                    SecretSource::Given(given) => secret(&given),
                    SecretSource::File(path, read) => {
                        folder.shortened(&format!("{} {}", path.display(), read.expose()))
                    }
                });
                format!(
                    "{token:?} {:?}",
                    config.redis.as_ref().map(|redis| secret(&redis.url))
                )
            }
            Err(errors) => folder.shortened(&errors.to_string()),
        }
    };
    let directory = folder.file("");
    let credentials = ("CREDENTIALS_DIRECTORY", directory.as_str());
    let file = folder.file("token");
    let file = ("FARSPAN_API_TOKEN_FILE", file.as_str());
    let direct = ("FARSPAN_API_TOKEN", "d1r3ct");
    let (empty, two, missing) = (
        folder.file("empty"),
        folder.file("two"),
        folder.file("missing"),
    );
    let lines = [
        token(&[]),
        token(&[file]),
        token(&[file, credentials]),
        token(&[credentials]),
        token(&[direct, credentials]),
        token(&[direct, file]),
        token(&[("FARSPAN_API_TOKEN_FILE", &empty)]),
        token(&[("FARSPAN_API_TOKEN_FILE", &two)]),
        token(&[("FARSPAN_API_TOKEN_FILE", &missing)]),
        token(&[("CREDENTIALS_DIRECTORY", "/nonexistent")]),
    ];
    expect![[r#"
        None None
        Some("token t0k3n") None
        Some("token t0k3n") Some("redis://:pa55@cache")
        Some("api-token cr3d") Some("redis://:pa55@cache")
        Some("d1r3ct") Some("redis://:pa55@cache")
        FARSPAN_API_TOKEN: FARSPAN_API_TOKEN_FILE is set too; remove one of the two
        FARSPAN_API_TOKEN_FILE: 'empty' is empty
        file two: the value has a line break or another control character within
        FARSPAN_API_TOKEN_FILE: 'missing' cannot be read: No such file or directory (os error 2)
        None None"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn a_relative_path_begins_at_the_directory_of_the_file_that_has_it() {
    let file = r#"{"state_dir": "state", "redis": {"url_file": "./secrets/redis"},
        "api": {"base_url": "http://a", "token_file": "secrets/token"},
        "admin": {"token_file": "/nonexistent/token"}}"#;
    let files = [
        ("secrets/token", "t0k3n"),
        ("secrets/redis", "redis://cache"),
        ("farspan.json", file),
    ];
    check_file(
        file,
        &[],
        expect![[r#"
            farspan.json: api.token_file: 'secrets/token' cannot be read: No such file or directory (os error 2)
            farspan.json: redis.url_file: 'secrets/redis' cannot be read: No such file or directory (os error 2)
            farspan.json: admin.token_file: '/nonexistent/token' cannot be read: No such file or directory (os error 2)"#]],
    );
    let folder = Folder::with(&files);
    let path = folder.path().join("farspan.json");
    let of_environment = [
        ("FARSPAN_ADMIN_TOKEN", "t0k3n"),
        ("FARSPAN_STATE_DIR", "beside/../state"),
    ];
    let config = Config::load(&environment(&of_environment), Some(&path)).unwrap();
    let described = folder.shortened(&config.describe(false));
    let lines = described
        .lines()
        .filter(|line| ["_FILE", "_DIR"].iter().any(|name| line.contains(name)));
    let lines: Vec<String> = lines
        .filter(|line| line.starts_with("FARSPAN"))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let shown = lines.join("\n").replace(&here(""), "/here/");
    expect![[r#"
        FARSPAN_API_TOKEN_FILE secrets/token farspan.json: api.token_file
        FARSPAN_REDIS_URL_FILE secrets/redis farspan.json: redis.url_file
        FARSPAN_STATE_DIR /here/beside/../state env FARSPAN_STATE_DIR
        FARSPAN_ADMIN_TOKEN_FILE /nonexistent/token farspan.json: admin.token_file"#]]
    .assert_eq(&shown);
}

#[test]
fn the_environment_beats_the_file_in_secrets_too() {
    check_file(
        r#"{"api": {"base_url": "http://a", "token_file": "/nonexistent/token"}}"#,
        &[("FARSPAN_API_TOKEN", "t0k3n")],
        expect![[r#"
            FARSPAN_CONFIG farspan.json option --config
            FARSPAN_API_BASE_URL http://a farspan.json: api.base_url
            FARSPAN_API_TOKEN (redacted) env FARSPAN_API_TOKEN
            FARSPAN_API_TOKEN_FILE /nonexistent/token farspan.json: api.token_file"#]],
    );
    check_file(
        r#"{"api": {"token": "a", "token_file": "b"}}"#,
        &[],
        expect![
            "farspan.json: api.token: farspan.json: api.token_file is set too; remove one of the two"
        ],
    );
}

#[test]
fn what_is_not_utf8_is_said() {
    use std::os::unix::ffi::OsStringExt as _;
    let bad = OsString::from_vec(b"caf\xe9".to_vec());
    let names = [
        "FARSPAN_INSTANCE",
        "OTEL_SERVICE_NAME",
        "FARSPAN_NONE",
        "LANG",
    ];
    let env = Environment::from_pairs(names.map(|name| (name, bad.clone())));
    expect![[r#"
        FARSPAN_INSTANCE: the value is not UTF-8
        FARSPAN_NONE: no such setting; see 'farspan help settings'
        OTEL_SERVICE_NAME: the value is not UTF-8"#]]
    .assert_eq(&Config::load(&env, None).unwrap_err().to_string());
}

#[test]
fn endpoints() {
    let mut lines = Vec::new();
    for (base, traces) in [
        ("", ""),
        ("http://c:4318", ""),
        ("http://c:4318/", ""),
        ("https://c/otlp", ""),
        ("http://c/otlp/?tenant=1", ""),
        ("http://c:4318", "http://t:4318"),
        ("", "http://t:4318/"),
        ("", "http://t/v1/traces"),
        ("", "http://t/else?x=y"),
        ("http://c:4317", ""),
        ("http://c/v1/traces", ""),
        ("http://c/v1/traces/", ""),
        ("c:4318", ""),
        ("grpc://c", ""),
        ("http://me:pa55@c", ""),
    ] {
        let pairs = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", base),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", traces),
        ];
        lines.push(match Config::load(&environment(&pairs), None) {
            Ok(config) => {
                let warnings = config.warnings.join(" ");
                format!(
                    "'{base}' '{traces}' = {} {warnings}",
                    config.export.otlp.unwrap().endpoint
                )
            }
            Err(errors) => errors.to_string(),
        });
    }
    expect![[r#"
        '' '' = http://localhost:4318/v1/traces 
        'http://c:4318' '' = http://c:4318/v1/traces 
        'http://c:4318/' '' = http://c:4318/v1/traces 
        'https://c/otlp' '' = https://c/otlp/v1/traces 
        'http://c/otlp/?tenant=1' '' = http://c/otlp/v1/traces?tenant=1 
        'http://c:4318' 'http://t:4318' = http://t:4318/ 
        '' 'http://t:4318/' = http://t:4318/ 
        '' 'http://t/v1/traces' = http://t/v1/traces 
        '' 'http://t/else?x=y' = http://t/else?x=y 
        'http://c:4317' '' = http://c:4317/v1/traces OTEL_EXPORTER_OTLP_ENDPOINT: 4317 is most often the gRPC port; farspan speaks HTTP, 4318
        'http://c/v1/traces' '' = http://c/v1/traces/v1/traces OTEL_EXPORTER_OTLP_ENDPOINT: ends in /v1/traces already, and the specification appends it once more; leave it out here, or set OTEL_EXPORTER_OTLP_TRACES_ENDPOINT to the whole URL
        'http://c/v1/traces/' '' = http://c/v1/traces/v1/traces OTEL_EXPORTER_OTLP_ENDPOINT: ends in /v1/traces already, and the specification appends it once more; leave it out here, or set OTEL_EXPORTER_OTLP_TRACES_ENDPOINT to the whole URL
        OTEL_EXPORTER_OTLP_ENDPOINT: 'c:4318' must begin with http:// or https://
        OTEL_EXPORTER_OTLP_ENDPOINT: 'grpc://c' must begin with http:// or https://
        OTEL_EXPORTER_OTLP_ENDPOINT: 'http://(redacted)@c' must not have a user or password; write OTEL_EXPORTER_OTLP_HEADERS=authorization=Basic%20..."#]].assert_eq(&lines.join("\n"));
}

#[test]
fn headers() {
    let show = |config: &Config| {
        let headers = &config.export.otlp.as_ref().unwrap().headers;
        let lines = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.expose()));
        lines.collect::<Vec<_>>().join("\n")
    };
    let all = "Authorization=Basic%20YTpi, x-a = 1 ,,X-A=2,tenant=a=b,nokey,=v,bad key=1,p=%zz,n=%0A,host=x,e=";
    check(
        &[("OTEL_EXPORTER_OTLP_HEADERS", all)],
        show,
        expect![[r#"
        authorization: Basic YTpi
        x-a: 2
        tenant: a=b
        e: 
        OTEL_EXPORTER_OTLP_HEADERS: entry 5 is not key=value; it is ignored
        OTEL_EXPORTER_OTLP_HEADERS: entry 6 has a key that is no header's name; it is ignored
        OTEL_EXPORTER_OTLP_HEADERS: entry 7 has a key that is no header's name; it is ignored
        OTEL_EXPORTER_OTLP_HEADERS: entry 8 has a value that is not percent-encoded UTF-8; it is ignored
        OTEL_EXPORTER_OTLP_HEADERS: entry 9 has a value that no header can have; it is ignored
        OTEL_EXPORTER_OTLP_HEADERS: entry 10 names host, which farspan sets; it is ignored"#]],
    );
    let pairs = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "b=2"),
    ];
    check(&pairs, show, expect!["b: 2"]);
    let described = Config::load(&environment(&pairs), None)
        .unwrap()
        .describe(false);
    let line = described
        .lines()
        .find(|line| line.contains("HEADERS"))
        .unwrap();
    expect!["OTEL_EXPORTER_OTLP_HEADERS             b=(redacted)                                                   env OTEL_EXPORTER_OTLP_TRACES_HEADERS"].assert_eq(line);
}

#[test]
fn resources() {
    let show = |config: &Config| {
        let lines = config
            .resource
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        lines.collect::<Vec<_>>().join("\n")
    };
    const NAME: &str = "OTEL_RESOURCE_ATTRIBUTES";
    let given =
        "service.namespace=risk%2Ceu,service.name=a,team=t1,team=t2,service.version=9,host.name=h";
    check(
        &[(NAME, given)],
        show,
        expect![[r#"
        service.name=a
        service.version=9
        service.instance.id=vm-1
        host.name=h
        service.namespace=risk,eu
        team=t2"#]],
    );
    check(
        &[(NAME, given), ("OTEL_SERVICE_NAME", "b")],
        show,
        expect![[r#"
        service.name=b
        service.version=9
        service.instance.id=vm-1
        host.name=h
        service.namespace=risk,eu
        team=t2"#]],
    );
    check(
        &[(NAME, "service.instance.id=7"), ("FARSPAN_INSTANCE", "i")],
        show,
        expect![[r#"
        service.name=farspan
        service.version=0.1.0
        service.instance.id=i
        host.name=vm-1"#]],
    );
    check(
        &[(NAME, "service.instance.id=7")],
        show,
        expect![[r#"
        service.name=farspan
        service.version=0.1.0
        service.instance.id=7
        host.name=vm-1"#]],
    );
    for void in ["a=1,b", "a=%zz", "a=1,=2"] {
        let config = Config::load(&environment(&[(NAME, void)]), None).unwrap();
        assert_eq!(config.resource.len(), 4, "{void}");
        assert_eq!(config.warnings.len(), 1, "{void}");
    }
}

/// A name of the standard that farspan does not read is no mistake, however near it is to another one.
#[test]
fn a_misspelt_name_of_otel_is_warned_of() {
    check(
        &[
            ("OTEL_EXPORTER_OLTP_ENDPOINT", "http://collector.test:4318"),
            ("OTEL_SERVICENAME", "prices"),
            ("OTEL_BLRP_SCHEDULE_DELAY", "1000"),
            (
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
                "http://collector.test:4318",
            ),
            ("OTEL_METRICS_EXPORTER", "otlp"),
            ("OTEL_EXPORTER_PROMETHEUS_PORT", "9464"),
            ("OTEL_PYTHON_LOG_LEVEL", "info"),
        ],
        |_| String::new(),
        expect![[r#"

            OTEL_EXPORTER_OLTP_ENDPOINT: no such setting, so it is ignored; did you mean 'OTEL_EXPORTER_OTLP_ENDPOINT'?
            OTEL_SERVICENAME: no such setting, so it is ignored; did you mean 'OTEL_SERVICE_NAME'?"#]],
    );
}

#[test]
fn what_is_wrong_in_otel_is_ignored_and_warned_of() {
    check(
        &[
            ("OTEL_SDK_DISABLED", "1"),
            ("OTEL_TRACES_EXPORTER", "otlp,zipkin,console,none"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "smoke"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "soon"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "99999999999999999999"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_TRACES_SAMPLER_ARG", "2"),
            ("OTEL_PROPAGATORS", "ottrace,tracecontext"),
            ("OTEL_SPAN_EVENT_COUNT_LIMIT", "many"),
            ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "7"),
            ("OTEL_ATTRIBUTE_COUNT_LIMIT", "9"),
            ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "4095"),
        ],
        |config| format!("{:?}\n{:?}", config.export, config.trace),
        expect![[r#"
            Export { otlp: Some(CollectorConfig { endpoint: "http://localhost:4318/v1/traces", headers: [], timeout: 2.5s, compression: None, certificate: None, client_certificate: None, client_key: None, keys: CollectorKeys { endpoint: "OTEL_EXPORTER_OTLP_ENDPOINT", is_set: false, headers: "OTEL_EXPORTER_OTLP_HEADERS", exporter: "OTEL_TRACES_EXPORTER" } }), logs: None, console: true, batch: BatchPolicy { schedule_delay: 5s, spans_max: 100, queue_max: 100 }, attempt_max: 30s }
            Trace { sampler: ParentBased(AlwaysOn), limits: SpanLimits { attributes: 7, events: 128, links: 128, attribute_value_chars: 2048 }, formats: {"tracecontext"} }
            OTEL_BSP_SCHEDULE_DELAY: '-1' is not a whole number from 0 to 86400000; it is ignored
            OTEL_BSP_MAX_EXPORT_BATCH_SIZE: cannot be above OTEL_BSP_MAX_QUEUE_SIZE; it is 100 now
            OTEL_BSP_EXPORT_TIMEOUT: '99999999999999999999' is not a whole number from 0 to 86400000; it is ignored
            OTEL_SDK_DISABLED: '1' is unknown; write true or false; it is ignored
            OTEL_TRACES_EXPORTER: 'zipkin' is unknown and ignored; farspan has otlp, console, none
            OTEL_TRACES_EXPORTER: 'none' stands beside other exporters and is ignored
            OTEL_EXPORTER_OTLP_PROTOCOL: 'smoke' is unknown; write http/protobuf; it is ignored
            OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: 'soon' is not a whole number from 0 to 86400000; it is ignored
            OTEL_EXPORTER_OTLP_COMPRESSION: 'zstd' is unknown; write none or gzip; it is ignored
            OTEL_SPAN_EVENT_COUNT_LIMIT: 'many' is not a whole number from 0 to 4294967295; it is ignored
            OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT: farspan keeps 2048 bytes of a value at most
            OTEL_TRACES_SAMPLER: 'jaeger_remote' is unknown; write always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off or parentbased_traceidratio; it is ignored
            OTEL_PROPAGATORS: 'ottrace' is ignored; farspan reads tracecontext, baggage, b3, b3multi, jaeger, datadog, honeycomb, xray, none"#]],
    );
}

#[test]
fn what_would_lose_every_span_is_an_error() {
    for (pairs, expected) in [
        (
            &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")][..],
            expect![
                "OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' is not spoken here; set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf, and OTEL_EXPORTER_OTLP_TRACES_ENDPOINT to the collector's HTTP port, as in http://host:4318/v1/traces"
            ],
        ),
        (
            &[("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json")],
            expect![
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'http/json' is not spoken here; set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf, and OTEL_EXPORTER_OTLP_TRACES_ENDPOINT to the collector's HTTP port, as in http://host:4318/v1/traces"
            ],
        ),
        (
            &[("OTEL_TRACES_EXPORTER", "zipkin")],
            expect![
                "OTEL_TRACES_EXPORTER: 'zipkin' names no exporter; write otlp, console or none"
            ],
        ),
        (
            &[("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nonexistent/ca.pem")],
            expect![
                "OTEL_EXPORTER_OTLP_CERTIFICATE: '/nonexistent/ca.pem' cannot be read: No such file or directory (os error 2)"
            ],
        ),
        (
            &[("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/proc/self/status")],
            expect!["OTEL_EXPORTER_OTLP_CLIENT_KEY: '/proc/self/status' holds no PEM private key"],
        ),
    ] {
        check(pairs, |_| String::new(), expected);
    }
}

#[test]
fn the_traces_protocol_beats_the_general_one() {
    let pairs = [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
    ];
    assert!(Config::load(&environment(&pairs), None).is_ok());
    let pairs = [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_TRACES_EXPORTER", "console"),
    ];
    assert!(Config::load(&environment(&pairs), None).is_ok());
}

#[cfg(feature = "tls")]
#[test]
fn certificates_are_read() {
    // The reader of PEM looks at the frame and the base64; rustls looks at the rest when it connects.
    let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let folder = Folder::with(&[("ca.pem", certificate), ("key.pem", key)]);
    let (certificate, key) = (folder.file("ca.pem"), folder.file("key.pem"));
    let client_certificate = (
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        certificate.as_str(),
    );
    let client_key = ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", key.as_str());
    let ca = ("OTEL_EXPORTER_OTLP_CERTIFICATE", certificate.as_str());
    let config = Config::load(&environment(&[ca, client_certificate, client_key]), None).unwrap();
    let otlp = config.export.otlp.unwrap();
    assert!(
        otlp.certificate.is_some()
            && otlp.client_certificate.is_some()
            && otlp.client_key.is_some()
    );
    check(
        &[client_certificate],
        |_| String::new(),
        expect![
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: must be set together with OTEL_EXPORTER_OTLP_CLIENT_KEY; one of the two is not set"
        ],
    );
    let wrong = ("OTEL_EXPORTER_OTLP_CERTIFICATE", key.as_str());
    let error = Config::load(&environment(&[wrong]), None).unwrap_err();
    expect!["OTEL_EXPORTER_OTLP_CERTIFICATE: 'key.pem' holds no PEM certificate"]
        .assert_eq(&folder.shortened(&error.to_string()));
}

#[test]
fn samplers_propagators_exporters() {
    let mut lines = Vec::new();
    for (name, value) in [
        ("OTEL_TRACES_SAMPLER", "always_on"),
        ("OTEL_TRACES_SAMPLER", "always_off"),
        ("OTEL_TRACES_SAMPLER", "traceidratio"),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_off"),
        ("OTEL_TRACES_SAMPLER", "ParentBased_TraceIdRatio"),
        ("OTEL_PROPAGATORS", "none"),
        ("OTEL_PROPAGATORS", "baggage"),
        ("OTEL_PROPAGATORS", "TraceContext, b3multi,ottrace"),
        ("OTEL_PROPAGATORS", "jaeger,xray,datadog,honeycomb"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_TRACES_EXPORTER", " console , otlp "),
        ("OTEL_SDK_DISABLED", "TRUE"),
        ("OTEL_SDK_DISABLED", "false"),
    ] {
        let pairs = [(name, value), ("OTEL_TRACES_SAMPLER_ARG", "0.25")];
        let config = Config::load(&environment(&pairs), None).unwrap();
        let (otlp, console) = (config.export.otlp.is_some(), config.export.console);
        let (sampler, formats) = (config.trace.sampler, config.trace.formats);
        lines.push(format!(
            "{name}={value}: {sampler:?}, {formats:?}, otlp {otlp}, console {console}"
        ));
    }
    expect![[r#"
        OTEL_TRACES_SAMPLER=always_on: AlwaysOn, all, otlp true, console false
        OTEL_TRACES_SAMPLER=always_off: AlwaysOff, all, otlp true, console false
        OTEL_TRACES_SAMPLER=traceidratio: TraceIdRatio(0.25), all, otlp true, console false
        OTEL_TRACES_SAMPLER=parentbased_always_off: ParentBased(AlwaysOff), all, otlp true, console false
        OTEL_TRACES_SAMPLER=ParentBased_TraceIdRatio: ParentBased(TraceIdRatio(0.25)), all, otlp true, console false
        OTEL_PROPAGATORS=none: ParentBased(AlwaysOn), {}, otlp true, console false
        OTEL_PROPAGATORS=baggage: ParentBased(AlwaysOn), {"baggage"}, otlp true, console false
        OTEL_PROPAGATORS=TraceContext, b3multi,ottrace: ParentBased(AlwaysOn), {"tracecontext", "b3"}, otlp true, console false
        OTEL_PROPAGATORS=jaeger,xray,datadog,honeycomb: ParentBased(AlwaysOn), {"jaeger", "datadog", "honeycomb", "xray"}, otlp true, console false
        OTEL_TRACES_EXPORTER=none: ParentBased(AlwaysOn), all, otlp false, console false
        OTEL_TRACES_EXPORTER= console , otlp : ParentBased(AlwaysOn), all, otlp true, console true
        OTEL_SDK_DISABLED=TRUE: ParentBased(AlwaysOn), all, otlp false, console false
        OTEL_SDK_DISABLED=false: ParentBased(AlwaysOn), all, otlp true, console false"#]].assert_eq(&lines.join("\n"));
}

#[test]
fn the_demo_heeds_only_otel_and_the_admin_endpoint() {
    let pairs = [
        ("FARSPAN_API_BASE_URL", "nonsense"),
        ("FARSPAN_XYZZY", "1"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ];
    let config = Config::for_api(&environment(&pairs), "http://127.0.0.1:1/").unwrap();
    assert!(config.export.otlp.is_none());
    assert_eq!(config.api.unwrap().base_url, "http://127.0.0.1:1");
    let monitors = config.monitors.iter();
    let monitors: Vec<_> = monitors.map(|m| (&*m.name, &*m.api.base_url)).collect();
    assert_eq!(monitors, [("default", "http://127.0.0.1:1")]);
    assert_eq!(config.admin.is_some(), cfg!(feature = "admin"));
    let pairs = [
        ("FARSPAN_ADMIN_LISTEN", "none"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t/x"),
    ];
    let config = Config::for_api(&environment(&pairs), "http://127.0.0.1:1").unwrap();
    assert_eq!(config.export.otlp.unwrap().endpoint, "http://t/x");
    assert!(config.admin.is_none());
}

#[test]
fn redis_for_the_load_generator() {
    let configured = [
        ("FARSPAN_REDIS_URL", "redis://configured"),
        ("FARSPAN_REDIS_CHANNEL", "c"),
    ];
    let mut lines = Vec::new();
    for (pairs, url, channel) in [
        (&[][..], None, None),
        (&configured[..], None, None),
        (&configured[..], Some("redis://option"), Some("o")),
        (&configured[..], Some("http://:pa55@option"), Some("")),
    ] {
        lines.push(match Redis::for_load(&environment(pairs), url, channel) {
            Ok(redis) => format!("{} {}", redis.url.expose(), redis.channel),
            Err(errors) => errors.to_string(),
        });
    }
    expect![[r#"
        redis://127.0.0.1:6379 event.workflow.started
        redis://configured c
        redis://option o
        --redis-url: the value must begin with redis://, rediss:// or unix://
        --channel: the value must be 1 to 256 bytes without control characters"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn debug_shows_no_secret() {
    let pairs = [
        API,
        ("FARSPAN_API_TOKEN", "pa55"),
        ("FARSPAN_REDIS_URL", "redis://:pa55@cache"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=pa55"),
    ];
    let config = Config::load(&environment(&pairs), None).unwrap();
    assert!(!format!("{config:?}{}", config.describe(false)).contains("pa55"));
}

/// Whoever can reach the endpoint can start traces.
#[test]
fn the_admin_endpoint_is_open_to_this_host_alone_unless_it_has_a_token() {
    for (listen, is_open) in [
        ("127.0.0.1:9464", false),
        ("127.8.9.10:1", false),
        ("[::1]:9464", false),
        ("LocalHost:9464", false),
        ("0.0.0.0:9464", true),
        ("[::]:9464", true),
        ("10.0.0.1:9464", true),
        ("localhost.test:9464", true),
        ("127.0.0.1.test:9464", true),
    ] {
        let pair = ("FARSPAN_ADMIN_LISTEN", listen);
        let without = Config::load(&environment(&[pair]), None);
        assert_eq!(without.is_err(), is_open, "{listen}");
        if let Err(errors) = without {
            let said = errors.to_string();
            assert!(said.contains("set FARSPAN_ADMIN_TOKEN"), "{said}");
        }
        let with = environment(&[pair, ("FARSPAN_ADMIN_TOKEN", "s3cret")]);
        let admin = Config::load(&with, None).unwrap().admin.unwrap();
        assert_eq!((admin.listen.as_str(), admin.is_asked_for), (listen, true));
        assert_eq!(admin.token.unwrap().expose(), "s3cret");
    }
    let none = environment(&[("FARSPAN_ADMIN_LISTEN", "none")]);
    assert!(Config::load(&none, None).unwrap().admin.is_none());
    let default = Config::load(&environment(&[]), None)
        .unwrap()
        .admin
        .unwrap();
    assert_eq!(
        (default.listen.as_str(), default.is_asked_for),
        ("127.0.0.1:9464", false)
    );
}

#[test]
fn the_page_of_a_trace_has_a_place_for_its_id() {
    let show = |config: &Config| format!("{:?}", config.admin.as_ref().unwrap().trace_url);
    const NAME: &str = "FARSPAN_TRACE_URL";
    let jaeger = "https://jaeger.test/trace/{trace_id}?uiFind={span_id}";
    check(
        &[API, (NAME, jaeger)],
        show,
        expect![[r#"Some("https://jaeger.test/trace/{trace_id}?uiFind={span_id}")"#]],
    );
    for (wrong, said) in [
        ("https://jaeger.test/trace/", "has no {trace_id}"),
        ("javascript:alert('{trace_id}')", "is not an http"),
        ("https://a b/{trace_id}", "has a space"),
    ] {
        let errors = Config::load(&environment(&[API, (NAME, wrong)]), None).unwrap_err();
        let errors = errors.to_string();
        assert!(errors.contains(NAME) && errors.contains(said), "{errors}");
    }
}

#[test]
fn what_the_state_may_take() {
    let show = |config: &Config| {
        let state = format!("{:?}", config.state).replace(&here(""), "/here/");
        format!("{state} {}", config.state_bytes_max)
    };
    let name = "FARSPAN_STATE_MAX_BYTES";
    check(
        &[API],
        show,
        expect![[r#"File("/here/farspan-state") 1073741824"#]],
    );
    check(
        &[API, (name, "64MiB")],
        show,
        expect![[r#"File("/here/farspan-state") 67108864"#]],
    );
    let nowhere = [API, ("FARSPAN_STATE", "none"), (name, "64MiB")];
    check(
        &nowhere,
        show,
        expect![[r#"
            None 67108864
            FARSPAN_STATE_MAX_BYTES: has no effect with FARSPAN_STATE=none"#]],
    );
    check(
        &[API, (name, "1GB")],
        show,
        expect![
            "FARSPAN_STATE_MAX_BYTES: '1GB' is not a size; write a number of bytes, or KiB, MiB or GiB behind it"
        ],
    );
    for value in ["2097152", "\"2MiB\""] {
        let file = format!(r#"{{"state_max_bytes": {value}}}"#);
        let folder = Folder::with(&[("farspan.json", &file)]);
        let path = folder.path().join("farspan.json");
        let config = Config::load(&environment(&[API]), Some(&path)).unwrap();
        assert_eq!(config.state_bytes_max, 2 << 20);
    }
}
