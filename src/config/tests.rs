use super::*;
use expect_test::{Expect, expect};
use std::sync::atomic::{AtomicU32, Ordering};

const API: (&str, &str) = ("FARSPAN_API_BASE_URL", "http://api.test");

fn environment(pairs: &[(&str, &str)]) -> Environment {
    Environment::from_pairs(pairs.iter().copied().chain([("HOSTNAME", "vm-1")]))
}

/// A file with a short name in a directory of its own; `text` is cut down to the name in what a test shows.
struct Scratch(PathBuf);

impl Scratch {
    fn new(files: &[(&str, &str)]) -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("fs{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        for (name, text) in files {
            std::fs::write(directory.join(name), text).unwrap();
        }
        Scratch(directory)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    fn shortened(&self, text: &str) -> String {
        text.replace(&self.path(""), "")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What `show` makes of the configuration, then the warnings; or the mistakes.
fn check(pairs: &[(&str, &str)], show: impl Fn(&Config) -> String, expected: Expect) {
    let text = match Config::load(&environment(pairs), None) {
        Ok(config) => format!("{}\n{}", show(&config), config.warnings.join("\n")),
        Err(errors) => errors.to_string(),
    };
    expected.assert_eq(text.trim_end());
}

/// The same with a file; shows its own lines of `farspan config`.
fn check_file(file: &str, pairs: &[(&str, &str)], expected: Expect) {
    let scratch = Scratch::new(&[("farspan.json", file)]);
    let path = PathBuf::from(scratch.path("farspan.json"));
    let text = match Config::load(&environment(pairs), Some(&path)) {
        Ok(config) => {
            let described = scratch.shortened(&config.describe());
            let lines = described.lines().filter(|line| line.starts_with("FARSPAN"));
            // The columns depend on where the file lies.
            let lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
            lines.filter(|line| !line.ends_with(" default")).collect::<Vec<_>>().join("\n")
        }
        Err(errors) => scratch.shortened(&errors.to_string()),
    };
    expected.assert_eq(&text);
}

#[test]
fn with_nothing_set() {
    check(&[], |config| config.describe(), expect![[""]]);
    check(&[], |config| format!("{:#?}", (&config.poll, &config.export, &config.trace)), expect![[""]]);
}

#[test]
fn all_settings_have_help() {
    expect![[""]].assert_eq(&help());
}

#[test]
fn the_environment_beats_the_file_beats_the_default() {
    check_file(
        r#"{"api": {"base_url": "http://file.test/", "token": "t0k3n"}, "log": {"level": "debug"},
            "redis": {"url": "redis://:pa55@cache/1"}, "poll": {"interval": "1m30s", "pollers": 4, "timeout": "1h"},
            "state": "none"}"#,
        &[("FARSPAN_POLL_INTERVAL", "20s"), ("FARSPAN_POLL_TIMEOUT", ""), ("FARSPAN_LOG_FORMAT", "JSON")],
        expect![[""]],
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
            ("FARSPAN_LOG", "loud\nly"),
            ("FARSPAN_ADMIN_LISTEN", "127.0.0.1:9464"),
            ("FARSPAN_REDIS_STREAM", "events"),
            ("FARSPAN_STATE_DIR", "/var/lib/farspan"),
            ("FARSPAN_LEASE", "30s"),
            ("FARSPAN_ADMIN_TOKEN", "pa55"),
            ("STATE_DIRECTORY", "/var/lib/farspan"),
            ("FARSPAN_POLLERS", "1025"),
            ("FARSPAN_INSTANCE", "a\u{7}"),
        ],
        expect![[""]],
    );
}

#[test]
fn files_that_are_no_configuration() {
    check_file("{\"api\": {\n  \"token\": \"pa55\",\n}}", &[], expect![[""]]);
    check_file("[1, 2]", &[], expect![[""]]);
    check_file("", &[], expect![[""]]);
    check_file(r#"{"poll": 5, "api": {}}"#, &[], expect![[""]]);
    check(&[("FARSPAN_CONFIG", "/nonexistent/farspan.json")], |_| String::new(), expect![[""]]);
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
        expect![[""]],
    );
}

#[test]
fn only_the_watcher_needs_an_api() {
    let error = Config::load_to_watch(&environment(&[]), None).unwrap_err();
    expect![[""]].assert_eq(&error.to_string());
    let config = Config::load_to_watch(&environment(&[API]), None).unwrap();
    assert_eq!(config.api.unwrap().base_url, "http://api.test");
}

#[test]
fn secrets_from_files() {
    let scratch = Scratch::new(&[
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
                let token = config.api.and_then(|api| api.token.as_ref().map(secret));
                format!("{token:?} {:?}", config.redis.as_ref().map(|redis| secret(&redis.url)))
            }
            Err(errors) => scratch.shortened(&errors.to_string()),
        }
    };
    let directory = scratch.path("");
    let credentials = ("CREDENTIALS_DIRECTORY", directory.as_str());
    let file = scratch.path("token");
    let file = ("FARSPAN_API_TOKEN_FILE", file.as_str());
    let direct = ("FARSPAN_API_TOKEN", "d1r3ct");
    let (empty, two, missing) = (scratch.path("empty"), scratch.path("two"), scratch.path("missing"));
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
    expect![[""]].assert_eq(&lines.join("\n"));
}

#[test]
fn the_environment_beats_the_file_in_secrets_too() {
    check_file(
        r#"{"api": {"base_url": "http://a", "token_file": "/nonexistent/token"}}"#,
        &[("FARSPAN_API_TOKEN", "t0k3n")],
        expect![[""]],
    );
    check_file(r#"{"api": {"token": "a", "token_file": "b"}}"#, &[], expect![[""]]);
}

#[test]
fn what_is_not_utf8_is_said() {
    use std::os::unix::ffi::OsStringExt as _;
    let bad = OsString::from_vec(b"caf\xe9".to_vec());
    let names = ["FARSPAN_INSTANCE", "OTEL_SERVICE_NAME", "FARSPAN_NONE", "LANG"];
    let env = Environment::from_pairs(names.map(|name| (name, bad.clone())));
    expect![[""]].assert_eq(&Config::load(&env, None).unwrap_err().to_string());
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
                format!("'{base}' '{traces}' = {} {warnings}", config.export.otlp.unwrap().endpoint)
            }
            Err(errors) => errors.to_string(),
        });
    }
    expect![[""]].assert_eq(&lines.join("\n"));
}

#[test]
fn headers() {
    let show = |config: &Config| {
        let headers = &config.export.otlp.as_ref().unwrap().headers;
        let lines = headers.iter().map(|(name, value)| format!("{name}: {}", value.expose()));
        lines.collect::<Vec<_>>().join("\n")
    };
    let all = "Authorization=Basic%20YTpi, x-a = 1 ,,X-A=2,tenant=a=b,nokey,=v,bad key=1,p=%zz,n=%0A,host=x,e=";
    check(&[("OTEL_EXPORTER_OTLP_HEADERS", all)], show, expect![[""]]);
    let pairs = [("OTEL_EXPORTER_OTLP_HEADERS", "a=1"), ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "b=2")];
    check(&pairs, show, expect![[""]]);
    let described = Config::load(&environment(&pairs), None).unwrap().describe();
    let line = described.lines().find(|line| line.contains("HEADERS")).unwrap();
    expect![[""]].assert_eq(line);
}

#[test]
fn resources() {
    let show = |config: &Config| {
        let lines = config.resource.iter().map(|(key, value)| format!("{key}={value}"));
        lines.collect::<Vec<_>>().join("\n")
    };
    const NAME: &str = "OTEL_RESOURCE_ATTRIBUTES";
    let given = "service.namespace=risk%2Ceu,service.name=a,team=t1,team=t2,service.version=9,host.name=h";
    check(&[(NAME, given)], show, expect![[""]]);
    check(&[(NAME, given), ("OTEL_SERVICE_NAME", "b")], show, expect![[""]]);
    check(&[(NAME, "service.instance.id=7"), ("FARSPAN_INSTANCE", "i")], show, expect![[""]]);
    check(&[(NAME, "service.instance.id=7")], show, expect![[""]]);
    for void in ["a=1,b", "a=%zz", "a=1,=2"] {
        let config = Config::load(&environment(&[(NAME, void)]), None).unwrap();
        assert_eq!(config.resource.len(), 4, "{void}");
        assert_eq!(config.warnings.len(), 1, "{void}");
    }
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
            ("OTEL_PROPAGATORS", "b3,tracecontext"),
            ("OTEL_SPAN_EVENT_COUNT_LIMIT", "many"),
            ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "7"),
            ("OTEL_ATTRIBUTE_COUNT_LIMIT", "9"),
            ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "4095"),
        ],
        |config| format!("{:?}\n{:?}", config.export, config.trace),
        expect![[""]],
    );
}

#[test]
fn what_would_lose_every_span_is_an_error() {
    for (pairs, expected) in [
        (&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")][..], expect![[""]]),
        (&[("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json")], expect![[""]]),
        (&[("OTEL_TRACES_EXPORTER", "zipkin")], expect![[""]]),
        (&[("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nonexistent/ca.pem")], expect![[""]]),
        (&[("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/proc/self/status")], expect![[""]]),
    ] {
        check(pairs, |_| String::new(), expected);
    }
}

#[test]
fn the_traces_protocol_beats_the_general_one() {
    let pairs =
        [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")];
    assert!(Config::load(&environment(&pairs), None).is_ok());
    let pairs = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_TRACES_EXPORTER", "console")];
    assert!(Config::load(&environment(&pairs), None).is_ok());
}

#[cfg(feature = "tls")]
#[test]
fn certificates_are_read() {
    // The reader of PEM looks at the frame and the base64; rustls looks at the rest when it connects.
    let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let scratch = Scratch::new(&[("ca.pem", certificate), ("key.pem", key)]);
    let (certificate, key) = (scratch.path("ca.pem"), scratch.path("key.pem"));
    let client_certificate = ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificate.as_str());
    let client_key = ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", key.as_str());
    let ca = ("OTEL_EXPORTER_OTLP_CERTIFICATE", certificate.as_str());
    let config = Config::load(&environment(&[ca, client_certificate, client_key]), None).unwrap();
    let otlp = config.export.otlp.unwrap();
    assert!(otlp.certificate.is_some() && otlp.client_certificate.is_some() && otlp.client_key.is_some());
    check(&[client_certificate], |_| String::new(), expect![[""]]);
    let wrong = ("OTEL_EXPORTER_OTLP_CERTIFICATE", key.as_str());
    let error = Config::load(&environment(&[wrong]), None).unwrap_err();
    expect![[""]].assert_eq(&scratch.shortened(&error.to_string()));
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
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_TRACES_EXPORTER", " console , otlp "),
        ("OTEL_SDK_DISABLED", "TRUE"),
        ("OTEL_SDK_DISABLED", "false"),
    ] {
        let pairs = [(name, value), ("OTEL_TRACES_SAMPLER_ARG", "0.25")];
        let config = Config::load(&environment(&pairs), None).unwrap();
        let (otlp, console) = (config.export.otlp.is_some(), config.export.console);
        let (sampler, read_parent) = (config.trace.sampler, config.trace.read_parent);
        lines.push(format!("{name}={value}: {sampler:?}, parent {read_parent}, otlp {otlp}, console {console}"));
    }
    expect![[""]].assert_eq(&lines.join("\n"));
}

#[test]
fn the_demo_heeds_only_otel() {
    let pairs = [("FARSPAN_API_BASE_URL", "nonsense"), ("FARSPAN_XYZZY", "1"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    let config = Config::for_api(&environment(&pairs), "http://127.0.0.1:1/").unwrap();
    assert!(config.export.otlp.is_none());
    assert_eq!(config.api.unwrap().base_url, "http://127.0.0.1:1");
    let pairs = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t/x")];
    let config = Config::for_api(&environment(&pairs), "http://127.0.0.1:1").unwrap();
    assert_eq!(config.export.otlp.unwrap().endpoint, "http://t/x");
}

#[test]
fn redis_for_the_load_generator() {
    let configured = [("FARSPAN_REDIS_URL", "redis://configured"), ("FARSPAN_REDIS_CHANNEL", "c")];
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
    expect![[""]].assert_eq(&lines.join("\n"));
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
    assert!(!format!("{config:?}{}", config.describe()).contains("pa55"));
}
