//! The standard `OTEL_*` variables. A mistake in one is a warning and the value is ignored, as the specification asks;
//! it is an error only where ignoring it would lose every span.
//!
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/> and
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>

use super::resolver::{Resolver, ValueOrigin};
use super::{CollectorConfig, Compression, Export, MetricsExport, Pem, Secret, Trace};
use crate::core::limits;
use crate::core::outbox::BatchPolicy;
use crate::core::sampler::{Sampler, SpanLimits};
use crate::deliver::export::CollectorKeys;
use crate::intake::carrier::Formats;
use crate::os::environment::Environment;
use crate::syntax::mistake::Place;
use crate::syntax::text::{percent_decoded, shown};
use crate::syntax::values::{self, Reason, http_url, integer, number, one_of};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use ureq::http::{HeaderName, HeaderValue};

const DAY_MS: u64 = 24 * 3600 * 1000;
const COUNT: RangeInclusive<u64> = 0..=u32::MAX as u64;
/// `OTEL_EXPORTER_OTLP_TIMEOUT=0` is "no limit"; this is as good.
const NO_LIMIT: Duration = Duration::from_secs(3600);

pub(super) fn export(resolver: &mut Resolver<'_>) -> Export {
    let batch = batch(resolver);
    let attempt_max = attempt_max(resolver, "OTEL_BSP_EXPORT_TIMEOUT");
    let is_disabled = is_disabled(resolver);
    let (mut otlp, mut console) = exporters(resolver);
    if is_disabled {
        resolver
            .warnings
            .push("OTEL_SDK_DISABLED: no spans are exported".to_owned());
        (otlp, console) = (false, false);
    }
    let otlp = otlp.then(|| self::otlp(resolver, &TRACES)).flatten();
    Export {
        otlp,
        logs: None,
        console,
        batch,
        attempt_max,
    }
}

/// The collector for the log records of status events, for monitors that have them.
pub(super) fn logs(resolver: &mut Resolver<'_>) -> Option<CollectorConfig> {
    let is_disabled = is_disabled(resolver);
    let exports = resolver.lenient("OTEL_LOGS_EXPORTER", |text| {
        one_of(
            text.to_ascii_lowercase().trim(),
            &[("otlp", true), ("none", false)],
        )
    });
    if is_disabled || exports == Some(false) {
        return None;
    }
    otlp(resolver, &LOGS)
}

/// Whether nothing is exported by the exporters of the specification.
pub(super) fn is_disabled(resolver: &mut Resolver<'_>) -> bool {
    let disabled = resolver.lenient("OTEL_SDK_DISABLED", |text| {
        one_of(text, &[("true", true), ("false", false)])
    });
    disabled == Some(true)
}

/// Where the metrics are sent, and when.
pub(super) fn metrics(resolver: &mut Resolver<'_>) -> Option<MetricsExport> {
    resolver.strict(
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        |text| match text.to_ascii_lowercase().as_str() {
            "cumulative" => Ok(()),
            _ => Err(ONLY_CUMULATIVE.into()),
        },
    );
    resolver.lenient(AGGREGATION, |text| {
        match text.to_ascii_lowercase().as_str() {
            "explicit_bucket_histogram" => Ok(()),
            _ => Err(ONLY_EXPLICIT.into()),
        }
    });
    let interval = resolver.lenient("OTEL_METRIC_EXPORT_INTERVAL", |text| {
        integer(text, 1..=DAY_MS).map(Duration::from_millis)
    });
    let attempt_max = attempt_max(resolver, "OTEL_METRIC_EXPORT_TIMEOUT");
    Some(MetricsExport {
        collector: otlp(resolver, &METRICS)?,
        interval: interval.unwrap_or_default(),
        attempt_max,
    })
}

/// Which measurements lead to a trace. farspan has one way, of which a setting that asks for another is told.
pub(super) fn exemplar_filter(resolver: &mut Resolver<'_>) {
    resolver.lenient("OTEL_METRICS_EXEMPLAR_FILTER", |text| {
        match text.to_ascii_lowercase().as_str() {
            "trace_based" => Ok(()),
            _ => Err(
                "is not supported: farspan's exemplars are spans that are sampled, trace_based"
                    .into(),
            ),
        }
    });
}

const AGGREGATION: &str = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION";
const ONLY_EXPLICIT: &str = "is not supported: farspan has explicit_bucket_histogram, with the buckets of FARSPAN_METRICS_BUCKETS";
const ONLY_CUMULATIVE: &str = "is not supported; write cumulative, and convert in the collector \
     (its processor cumulativetodelta) if your backend wants deltas";

/// The names of the settings of one signal's exporter.
struct SignalNames {
    endpoint: &'static str,
    /// The variable that has the whole URL.
    whole_endpoint: &'static str,
    path: &'static str,
    exporter: &'static str,
    protocol: &'static str,
    whole_protocol: &'static str,
    headers: &'static str,
    timeout: &'static str,
    compression: &'static str,
    certificate: &'static str,
    client_certificate: &'static str,
    client_key: &'static str,
}

const TRACES: SignalNames = SignalNames {
    endpoint: "OTEL_EXPORTER_OTLP_ENDPOINT",
    whole_endpoint: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    path: "v1/traces",
    exporter: "OTEL_TRACES_EXPORTER",
    protocol: "OTEL_EXPORTER_OTLP_PROTOCOL",
    whole_protocol: "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    headers: "OTEL_EXPORTER_OTLP_HEADERS",
    timeout: "OTEL_EXPORTER_OTLP_TIMEOUT",
    compression: "OTEL_EXPORTER_OTLP_COMPRESSION",
    certificate: "OTEL_EXPORTER_OTLP_CERTIFICATE",
    client_certificate: "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    client_key: "OTEL_EXPORTER_OTLP_CLIENT_KEY",
};

const LOGS: SignalNames = SignalNames {
    endpoint: "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
    whole_endpoint: "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
    path: "v1/logs",
    exporter: "OTEL_LOGS_EXPORTER",
    protocol: "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
    whole_protocol: "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
    headers: "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
    timeout: "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT",
    compression: "OTEL_EXPORTER_OTLP_LOGS_COMPRESSION",
    certificate: "OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE",
    client_certificate: "OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE",
    client_key: "OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY",
};

const METRICS: SignalNames = SignalNames {
    endpoint: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    whole_endpoint: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    path: "v1/metrics",
    exporter: "OTEL_METRICS_EXPORTER",
    protocol: "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    whole_protocol: "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    headers: "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
    timeout: "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
    compression: "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION",
    certificate: "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE",
    client_certificate: "OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE",
    client_key: "OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY",
};

pub(super) fn trace(resolver: &mut Resolver<'_>) -> Trace {
    let mut count = |name| {
        let count = resolver
            .lenient(name, |text| integer(text, COUNT))
            .unwrap_or_default();
        usize::try_from(count).unwrap_or(usize::MAX)
    };
    let mut limits = SpanLimits {
        attributes: count("OTEL_ATTRIBUTE_COUNT_LIMIT"),
        events: count("OTEL_SPAN_EVENT_COUNT_LIMIT"),
        links: count("OTEL_SPAN_LINK_COUNT_LIMIT"),
        attribute_value_chars: count("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
    };
    count("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT");
    count("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT");
    if limits.attribute_value_chars > limits::ATTRIBUTE_BYTES_MAX {
        limits.attribute_value_chars = limits::ATTRIBUTE_BYTES_MAX;
        let most = limits::ATTRIBUTE_BYTES_MAX;
        resolver.warnings.push(format!(
            "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT: farspan keeps {most} bytes of a value at most"
        ));
    }
    Trace {
        sampler: sampler(resolver),
        limits,
        formats: formats(resolver),
    }
}

/// The attributes of the resource: the well-known ones first, then the others as they were written.
pub(super) fn resource(
    resolver: &mut Resolver<'_>,
    env: &Environment,
    instance: &str,
) -> Vec<(String, String)> {
    let instance_is_set = resolver.origin_of("FARSPAN_INSTANCE") != Some(&ValueOrigin::Default);
    let mut given = resolver
        .lenient("OTEL_RESOURCE_ATTRIBUTES", resource_attributes)
        .unwrap_or_default();
    let mut take = |key: &str| {
        let index = given.iter().position(|(given, _)| given == key)?;
        Some(given.remove(index).1).filter(|value| !value.is_empty())
    };
    let (name, version) = (take("service.name"), take("service.version"));
    let (id, host) = (take("service.instance.id"), take("host.name"));

    let name = resolver
        .lenient("OTEL_SERVICE_NAME", |text| Ok(text.to_owned()))
        .or(name);
    let id = id.filter(|_| !instance_is_set);
    let mut resource = vec![
        (
            "service.name".to_owned(),
            name.unwrap_or_else(|| "farspan".to_owned()),
        ),
        (
            "service.version".to_owned(),
            version.unwrap_or_else(|| crate::VERSION.to_owned()),
        ),
        (
            "service.instance.id".to_owned(),
            id.unwrap_or_else(|| instance.to_owned()),
        ),
    ];
    let host = host.or_else(|| env.host_name().map(str::to_owned));
    resource.extend(host.map(|host| ("host.name".to_owned(), host)));
    resource.extend(given);
    resource
}

/// Which exporters: OTLP, console.
fn exporters(resolver: &mut Resolver<'_>) -> (bool, bool) {
    let (mut otlp, mut console, mut none) = (false, false, false);
    let Some(found) = resolver.take("OTEL_TRACES_EXPORTER") else {
        return (true, false);
    };
    for word in entries(&found.text) {
        match word.to_ascii_lowercase().as_str() {
            "otlp" => otlp = true,
            "console" => console = true,
            "none" => none = true,
            _ => resolver.warnings.push(format!(
                "OTEL_TRACES_EXPORTER: '{}' is unknown and ignored; farspan has otlp, console, none",
                shown(word)
            )),
        }
    }
    if !otlp && !console && !none {
        resolver.error(
            "OTEL_TRACES_EXPORTER",
            &found,
            "names no exporter; write otlp, console or none",
        );
    }
    if none && (otlp || console) {
        let warning = "OTEL_TRACES_EXPORTER: 'none' stands beside other exporters and is ignored";
        resolver.warnings.push(warning.to_owned());
    }
    (otlp, console)
}

fn otlp(resolver: &mut Resolver<'_>, names: &SignalNames) -> Option<CollectorConfig> {
    protocol(resolver, names);
    let endpoint = endpoint(resolver, names);
    let headers = headers(resolver, names.headers);
    let timeout = match resolver.lenient(names.timeout, milliseconds) {
        Some(Duration::ZERO) | None => NO_LIMIT,
        Some(timeout) => timeout.min(NO_LIMIT),
    };
    let compression = resolver.lenient(names.compression, |text| {
        one_of(
            text,
            &[("none", Compression::None), ("gzip", Compression::Gzip)],
        )
    });
    let certificate = pem(resolver, names.certificate, PemKind::Certificate);
    let client_certificate = pem(resolver, names.client_certificate, PemKind::Certificate);
    let client_key = pem(resolver, names.client_key, PemKind::Key);
    if resolver.mistakes.count() == 0 && client_certificate.is_some() != client_key.is_some() {
        let place = Place::named(names.client_certificate);
        let key = names.client_key;
        let what = format!("must be set together with {key}; one of the two is not set");
        resolver.mistakes.add(place, what);
    }
    Some(CollectorConfig {
        endpoint: endpoint?,
        headers,
        timeout,
        compression: compression.unwrap_or(Compression::None),
        certificate,
        client_certificate,
        client_key,
        keys: collector_keys(resolver, names),
    })
}

/// The variables that are set; else those for all signals.
fn collector_keys(resolver: &Resolver<'_>, names: &SignalNames) -> CollectorKeys {
    let set = |name| match resolver.origin_of(name) {
        Some(ValueOrigin::Env(variable)) => Some(*variable),
        _ => None,
    };
    let endpoint = set(names.endpoint);
    CollectorKeys {
        endpoint: endpoint.unwrap_or(TRACES.endpoint),
        is_set: endpoint.is_some(),
        headers: set(names.headers).unwrap_or(TRACES.headers),
        exporter: names.exporter,
    }
}

/// A known protocol that farspan does not speak is an error: the collector's port would be the wrong one too.
fn protocol(resolver: &mut Resolver<'_>, names: &SignalNames) {
    let spoken = resolver.lenient(names.protocol, |text| {
        match text.to_ascii_lowercase().as_str() {
            "grpc" | "http/json" => Ok(false),
            _ => one_of(text, &[("http/protobuf", true)]),
        }
    });
    if spoken == Some(false) {
        let (protocol, endpoint, path) = (names.whole_protocol, names.whole_endpoint, names.path);
        resolver.error_in(
            names.protocol,
            &format!(
                "is not spoken here; set {protocol}=http/protobuf, and {endpoint} to the collector's HTTP port, as in \
                 http://host:4318/{path}"
            ),
        );
    }
}

fn endpoint(resolver: &mut Resolver<'_>, names: &SignalNames) -> Option<String> {
    let (name, whole, path) = (names.endpoint, names.whole_endpoint, names.path);
    const GRPC_PORT: u16 = 4317;
    const USERINFO: &str = "write OTEL_EXPORTER_OTLP_HEADERS=authorization=Basic%20...";
    let uri = resolver.strict(name, |text| http_url(text, USERINFO))?;
    let origin = resolver.origin_of(name)?.clone();
    if uri.port_u16() == Some(GRPC_PORT) {
        let warning = format!(
            "{}: 4317 is most often the gRPC port; farspan speaks HTTP, 4318",
            origin.place()
        );
        resolver.warnings.push(warning);
    }
    let is_base = origin != ValueOrigin::Env(whole);
    let ends_in = format!("/{path}");
    if is_base && uri.path().trim_end_matches('/').ends_with(&ends_in) {
        resolver.warnings.push(format!(
            "{}: ends in {ends_in} already, and the specification appends it once more; leave it out here, or set \
             {whole} to the whole URL",
            origin.place()
        ));
    }
    let signal = if !is_base {
        ""
    } else if uri.path().ends_with('/') {
        path
    } else {
        &ends_in
    };
    let scheme = uri.scheme_str().unwrap_or("http");
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let query = uri
        .query()
        .map_or(String::new(), |query| format!("?{query}"));
    // An empty path reads as `/`.
    let endpoint = format!("{scheme}://{authority}{}{signal}{query}", uri.path());
    resolver.show(name, &values::redacted_url(&endpoint), origin);
    Some(endpoint)
}

/// `k=v,k=v`. <https://opentelemetry.io/docs/specs/otel/protocol/exporter/#specifying-headers-via-environment-variables>
fn headers(resolver: &mut Resolver<'_>, name: &'static str) -> Vec<(String, Secret)> {
    let mut headers: Vec<(String, Secret)> = Vec::new();
    let Some(found) = resolver.take(name) else {
        return headers;
    };
    for (index, entry) in entries(&found.text).enumerate() {
        match header(entry) {
            Ok((name, value)) => {
                headers.retain(|(earlier, _)| *earlier != name);
                headers.push((name, value));
            }
            Err(reason) => resolver.warnings.push(format!(
                "{}: entry {} {reason}; it is ignored",
                found.origin.place(),
                index + 1
            )),
        }
    }
    let names: Vec<_> = headers
        .iter()
        .map(|(name, _)| format!("{name}=(redacted)"))
        .collect();
    resolver.show(name, &names.join(","), found.origin);
    headers
}

fn header(entry: &str) -> Result<(String, Secret), Reason> {
    /// What the request itself says; a second word on it would break it.
    const OURS: &[&str] = &[
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "transfer-encoding",
    ];
    let (name, value) = entry.split_once('=').ok_or("is not key=value")?;
    let name = HeaderName::from_bytes(name.trim().as_bytes())
        .map_err(|_| "has a key that is no header's name")?;
    let value =
        percent_decoded(value.trim()).ok_or("has a value that is not percent-encoded UTF-8")?;
    if OURS.contains(&name.as_str()) {
        return Err(format!("names {name}, which farspan sets").into());
    }
    HeaderValue::from_str(&value).map_err(|_| "has a value that no header can have")?;
    Ok((name.as_str().to_owned(), Secret::new(value)))
}

#[derive(Clone, Copy)]
pub(super) enum PemKind {
    Certificate,
    Key,
}

pub(super) fn pem(resolver: &mut Resolver<'_>, name: &'static str, kind: PemKind) -> Option<Pem> {
    let (found, bytes) = resolver.bytes_of(name)?;
    if let Err(reason) = check_pem(&bytes, kind) {
        resolver.error(name, &found, reason);
        return None;
    }
    Some(Pem {
        path: PathBuf::from(found.text),
        bytes,
    })
}

#[cfg(feature = "tls")]
pub(super) fn check_pem(bytes: &[u8], kind: PemKind) -> Result<(), &'static str> {
    use ureq::tls::{Certificate, PrivateKey};
    match kind {
        PemKind::Certificate => Certificate::from_pem(bytes)
            .map(drop)
            .map_err(|_| "holds no PEM certificate"),
        PemKind::Key => PrivateKey::from_pem(bytes)
            .map(drop)
            .map_err(|_| "holds no PEM private key"),
    }
}

#[cfg(not(feature = "tls"))]
pub(super) fn check_pem(_: &[u8], _: PemKind) -> Result<(), &'static str> {
    Err("needs TLS, and this farspan was built without the feature 'tls'")
}

fn batch(resolver: &mut Resolver<'_>) -> BatchPolicy {
    const COUNT_FROM_1: RangeInclusive<u64> = 1..=u32::MAX as u64;
    let count = |text: &str| {
        integer(text, COUNT_FROM_1).map(|count| usize::try_from(count).unwrap_or(usize::MAX))
    };
    let max_queue_size = resolver.lenient("OTEL_BSP_MAX_QUEUE_SIZE", count);
    let mut batch = BatchPolicy {
        schedule_delay: resolver
            .lenient("OTEL_BSP_SCHEDULE_DELAY", milliseconds)
            .unwrap_or_default(),
        // Without a limit in number the bytes are limited: farspan never drops a span.
        queue_max: max_queue_size.unwrap_or(usize::MAX),
        spans_max: resolver
            .lenient("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", count)
            .unwrap_or(1),
    };
    if let Some(queue) = max_queue_size.filter(|queue| *queue < batch.spans_max) {
        batch.spans_max = queue;
        resolver.warnings.push(format!(
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE: cannot be above OTEL_BSP_MAX_QUEUE_SIZE; it is {queue} now"
        ));
    }
    batch
}

fn attempt_max(resolver: &mut Resolver<'_>, name: &'static str) -> Duration {
    match resolver.lenient(name, milliseconds) {
        Some(Duration::ZERO) | None => NO_LIMIT,
        Some(timeout) => timeout,
    }
}

fn sampler(resolver: &mut Resolver<'_>) -> Sampler {
    #[derive(Clone, Copy)]
    enum Root {
        On,
        Off,
        Ratio,
    }
    let (root, parent_based) = resolver
        .lenient("OTEL_TRACES_SAMPLER", |text| {
            one_of(
                text,
                &[
                    ("always_on", (Root::On, false)),
                    ("always_off", (Root::Off, false)),
                    ("traceidratio", (Root::Ratio, false)),
                    ("parentbased_always_on", (Root::On, true)),
                    ("parentbased_always_off", (Root::Off, true)),
                    ("parentbased_traceidratio", (Root::Ratio, true)),
                ],
            )
        })
        .unwrap_or((Root::On, true));
    let root = match root {
        Root::On => Sampler::AlwaysOn,
        Root::Off => Sampler::AlwaysOff,
        Root::Ratio => {
            let ratio = resolver.lenient("OTEL_TRACES_SAMPLER_ARG", |text| number(text, 0.0..=1.0));
            Sampler::TraceIdRatio(ratio.unwrap_or(1.0))
        }
    };
    if parent_based {
        Sampler::ParentBased(Box::new(root))
    } else {
        root
    }
}

/// Which trace contexts of a start event are read. Default: all.
fn formats(resolver: &mut Resolver<'_>) -> Formats {
    let Some(found) = resolver.take("OTEL_PROPAGATORS") else {
        return Formats::ALL;
    };
    let mut formats = Formats::NONE;
    for word in entries(&found.text) {
        let lower = word.to_ascii_lowercase();
        let known = Formats::WORDS.iter().find(|(known, _)| *known == lower);
        match known {
            Some((_, known)) => formats = formats.with(*known),
            None => {
                let words: Vec<&str> = Formats::WORDS.iter().map(|(word, _)| *word).collect();
                resolver.warnings.push(format!(
                    "OTEL_PROPAGATORS: '{}' is ignored; farspan reads {}",
                    shown(word),
                    words.join(", ")
                ));
            }
        }
    }
    formats
}

/// `key=value,key=value`. Any mistake voids the whole.
/// <https://opentelemetry.io/docs/specs/otel/resource/sdk/#specifying-resource-information-via-an-environment-variable>
fn resource_attributes(text: &str) -> Result<Vec<(String, String)>, Reason> {
    let mut attributes: Vec<(String, String)> = Vec::new();
    for entry in entries(text) {
        let (key, value) = entry.split_once('=').ok_or("is not key=value,key=value")?;
        let decoded = percent_decoded(key.trim()).zip(percent_decoded(value.trim()));
        let (key, value) = decoded.ok_or("is not percent-encoded UTF-8")?;
        if key.is_empty() {
            return Err("has an empty key".into());
        }
        attributes.retain(|(earlier, _)| *earlier != key);
        attributes.push((key.into_owned(), value.into_owned()));
    }
    Ok(attributes)
}

fn milliseconds(text: &str) -> Result<Duration, Reason> {
    integer(text, 0..=DAY_MS).map(Duration::from_millis)
}

pub(super) fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
}
