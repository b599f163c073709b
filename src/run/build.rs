//! From the configuration to the parts that run: every translation, in one file.
//!
//! Pure but for the parts' own constructors (a TLS identity is parsed, a Redis URL is checked): no thread starts here
//! and nothing is sent. [`start`](super::start) starts the threads.

use super::report::MonitorNames;
use super::resource;
#[cfg(feature = "admin")]
use crate::admin::runs::{ViewedConfig, ViewedMonitor};
use crate::api::credentials::Credentials;
use crate::api::exchange::{self, Api};
use crate::api::poller::Target;
use crate::config::monitor::{self, MonitorConfig, ReceiverConfig};
use crate::config::{self, Config, Pem, Redis};
use crate::core::ids::RunIdentity;
use crate::core::turn::TurnPolicy;
use crate::core::workflow::Naming;
use crate::core::{self, Pace, Settings, limits};
use crate::deliver::export::Destination;
use crate::deliver::export_log::ExportLog;
use crate::deliver::metrics::MetricsDestination;
use crate::deliver::notify;
use crate::deliver::otlp::Resources;
use crate::deliver::refused::RefusedPlace;
use crate::http::client::{self, Network, Trust};
use crate::intake::discovery::Discovery;
use crate::intake::message::{Dialect, Dialects};
#[cfg(feature = "redis")]
use crate::intake::redis::Subscription;
#[cfg(feature = "redis")]
use crate::intake::stream::Stream;
#[cfg(feature = "redis")]
use crate::redis_client;
use std::sync::Arc;
use std::time::Duration;
use ureq::http::{HeaderName, HeaderValue, Uri};

/// What watches, delivers and stores.
pub(super) struct Parts {
    pub(super) settings: Settings,
    /// In the order of the monitors, as all lists here.
    pub(super) targets: Vec<Arc<Target>>,
    /// The base URL of each API, and the certificates that are trusted there.
    pub(super) apis: Vec<(String, Trust)>,
    /// What the log calls each monitor and its workflows.
    pub(super) names: Vec<MonitorNames>,
    /// `None`: spans are not sent to a collector.
    pub(super) destination: Option<Destination>,
    /// `None`: there are no log records.
    pub(super) log_destination: Option<Destination>,
    pub(super) resources: Resources,
    pub(super) refused: RefusedPlace,
    /// `None` where a monitor sends no finished events.
    pub(super) receivers: Vec<Option<notify::EventReceiver>>,
    /// How long a finished run is remembered at least.
    pub(super) finished_kept: Duration,
    pub(super) turn: TurnPolicy,
}

impl Parts {
    /// `export_log` remembers the requests to the collector, and `seed` makes the jitter of pauses differ between processes.
    ///
    /// # Errors
    /// A text that names the monitor and says which of its settings cannot be used.
    pub(super) fn of(
        config: &Config,
        network: &Network,
        export_log: &ExportLog,
        seed: u64,
    ) -> Result<Self, String> {
        let redis = config.redis.as_ref();
        let destination = |otlp: &config::CollectorConfig| {
            destination(otlp, config.export.attempt_max, export_log.clone())
        };
        Ok(Parts {
            settings: settings(config, seed),
            targets: targets(config, network)?,
            apis: (config.monitors.iter())
                .map(|monitor| (monitor.api.base_url.clone(), trust(monitor)))
                .collect(),
            names: (config.monitors.iter()).map(MonitorNames::new).collect(),
            destination: config.export.otlp.as_ref().map(destination),
            log_destination: config.export.logs.as_ref().map(destination),
            resources: resource::resources(config),
            refused: refused_place(config)?,
            receivers: (config.monitors.iter())
                .map(|monitor| in_monitor(monitor, receiver(monitor, redis, network)))
                .collect::<Result<_, _>>()?,
            finished_kept: listed_for(config),
            turn: turn(config),
        })
    }
}

/// Where start events come from, apart from standard input and the admin endpoint.
pub(super) struct Sources {
    #[cfg(feature = "redis")]
    pub(super) subscriptions: Vec<Subscription>,
    #[cfg(feature = "redis")]
    pub(super) streams: Vec<Stream>,
    pub(super) discoveries: Vec<DiscoveryPart>,
}

/// The discovery of one monitor.
pub(super) struct DiscoveryPart {
    pub(super) discovery: Discovery,
    pub(super) api: Api,
    pub(super) trust: Trust,
}

impl Sources {
    /// # Errors
    /// A text that names the monitor and says which of its settings cannot be used.
    pub(super) fn of(config: &Config, network: &Network) -> Result<Self, String> {
        Ok(Sources {
            #[cfg(feature = "redis")]
            subscriptions: (config.redis.as_ref())
                .map(|redis| subscriptions(config, redis))
                .unwrap_or_default(),
            #[cfg(feature = "redis")]
            streams: (config.redis.as_ref())
                .map(|redis| streams(config, redis))
                .unwrap_or_default(),
            discoveries: discoveries(config, network)?,
        })
    }
}

/// What viewers see of the configuration.
#[cfg(feature = "admin")]
pub(super) fn viewed(config: &Config) -> ViewedConfig {
    let monitors = config.monitors.iter().map(|monitor| ViewedMonitor {
        name: monitor.name.clone(),
        workflow: monitor.spans.workflow.clone(),
        url: crate::syntax::values::redacted_url(&monitor.api.base_url),
    });
    ViewedConfig {
        monitors: monitors.collect(),
        trace_url: (config.admin.as_ref()).and_then(|admin| admin.trace_url.clone()),
    }
}

/// What pollers ask, in the order of the monitors.
///
/// # Errors
/// As [`target`], with the monitor's name.
pub(super) fn targets(config: &Config, network: &Network) -> Result<Vec<Arc<Target>>, String> {
    (config.monitors.iter())
        .map(|monitor| in_monitor(monitor, target(monitor, network)).map(Arc::new))
        .collect()
}

/// What pollers ask of one monitor's API.
///
/// # Errors
/// A text that says which header or certificate cannot be used.
pub fn target(monitor: &MonitorConfig, network: &Network) -> Result<Target, String> {
    Ok(Target {
        api: api(monitor, network)?.into(),
        mapping: monitor.mapping.clone(),
    })
}

/// How the core names and shapes the spans of one monitor.
pub fn naming(monitor: &MonitorConfig, config: &Config) -> Naming {
    let spans = &monitor.spans;
    Naming {
        ok: spans.status_ok,
        skipped: spans.skipped,
        queued: spans.queued,
        context: monitor.context.used_as,
        service: resource::service(config, monitor),
        notifies: monitor.finished.is_some(),
        started: spans.started,
        status_events: spans.status_events,
        // A run that is listed may be announced too.
        run_identity: match monitor.discovery {
            Some(_) => RunIdentity::Attempt,
            None => RunIdentity::Event,
        },
        ..Naming::new(&monitor.name, &spans.workflow, config.trace.limits)
    }
}

/// Where what was refused for good is kept: with the state.
///
/// # Errors
/// What is wrong with the URL of Redis.
pub fn refused_place(config: &Config) -> Result<RefusedPlace, String> {
    match &config.state {
        config::StateConfig::None => Ok(RefusedPlace::Nowhere),
        config::StateConfig::File(directory) => Ok(RefusedPlace::in_directory(directory)),
        #[cfg(feature = "redis")]
        config::StateConfig::Redis { lease } => {
            let redis = config
                .redis
                .as_ref()
                .ok_or("FARSPAN_REDIS_URL is not set")?;
            let fleet = fleet(config, redis, *lease);
            let client = redis::Client::open(&*fleet.url).map_err(|e| redis_client::told(&e))?;
            let client = Box::new(client);
            let key = format!("{}refused", fleet.prefix());
            Ok(RefusedPlace::Redis { client, key })
        }
        #[cfg(not(feature = "redis"))]
        config::StateConfig::Redis { .. } => Err("built without the feature 'redis'".into()),
    }
}

/// The certificates for one monitor's API.
pub fn trust(monitor: &MonitorConfig) -> Trust {
    let api = &monitor.api;
    trust_of(&api.certificate, &api.client_certificate, &api.client_key)
}

/// The certificates for the collector.
pub fn collector_trust(otlp: &config::CollectorConfig) -> Trust {
    trust_of(
        &otlp.certificate,
        &otlp.client_certificate,
        &otlp.client_key,
    )
}

fn trust_of(authorities: &Option<Pem>, chain: &Option<Pem>, key: &Option<Pem>) -> Trust {
    let bytes = |pem: &Option<Pem>| pem.as_ref().map(|pem| pem.bytes.clone());
    Trust {
        authorities: bytes(authorities),
        identity: bytes(chain).zip(bytes(key)),
    }
}

/// The pace of each monitor: the part of a configuration that a reload hands to the core.
pub(super) fn paces(config: &Config) -> Vec<Pace> {
    config.monitors.iter().map(|m| m.poll.clone()).collect()
}

/// How messages of the sources for all monitors are read.
pub(super) fn reading(config: &Config) -> Dialects {
    let numbered = config.monitors.iter().zip(0_u16..);
    let dialects = numbered.map(|(monitor, number)| Dialect {
        monitor: number,
        name: monitor.name.as_str().into(),
        baggage: (monitor.context.baggage.iter())
            .map(|key| key.as_str().into())
            .collect(),
        ids: monitor.mapping.ids().clone(),
        id: monitor.events.id.clone(),
        submitted_at: monitor.events.submitted_at.clone(),
        context: monitor.events.context.clone(),
        times: monitor.mapping.definition().times.of_events(),
    });
    Dialects {
        formats: config.trace.formats,
        monitors: dialects.collect(),
        default: monitor::default_of(&config.monitors),
    }
}

/// How long after its start a discovery may still list a run.
fn listed_for(config: &Config) -> Duration {
    let discoveries = config.monitors.iter().filter_map(|m| m.discovery.as_ref());
    let longest = discoveries.map(|it| it.lookback + it.interval).max();
    longest.unwrap_or_default()
}

/// The fleet that this instance is a member of.
#[cfg(feature = "redis")]
pub(super) fn fleet(config: &Config, redis: &Redis, lease: Duration) -> crate::store::fleet::Fleet {
    let attribute = |name: &str| {
        let mut resource = config.resource.iter();
        let found = resource.find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone())
    };
    crate::store::fleet::Fleet {
        url: redis.url.expose().to_owned(),
        namespace: attribute(resource::NAMESPACE),
        service: attribute(resource::NAME).unwrap_or_default(),
        instance: config.instance.clone(),
        lease,
        listed_for: listed_for(config),
    }
}

fn settings(config: &Config, seed: u64) -> Settings {
    let monitors = monitors(config);
    Settings {
        pollers: config.poll.pollers,
        monitors,
        workflows_max: config.workflows_max,
        sampler: config.trace.sampler.clone(),
        batch: config.export.batch,
        stores: config.state != config::StateConfig::None,
        state_bytes_max: config.state_bytes_max,
        exports: config.export.otlp.is_some(),
        exports_logs: config.export.logs.is_some(),
        buckets: config.metrics.buckets.clone(),
        seed,
    }
}

fn turn(config: &Config) -> TurnPolicy {
    let polls = config.monitors.iter().map(|monitor| &monitor.poll);
    let first_poll = polls.map(|pace| pace.initial_delay).min();
    TurnPolicy {
        stores: config.state != config::StateConfig::None,
        commit_delay: limits::COMMIT_DELAY,
        events_wait: first_poll
            .is_none_or(|delay| delay >= limits::COMMIT_DELAY + limits::COMMIT_PATIENCE),
    }
}

fn monitors(config: &Config) -> Vec<core::Monitor> {
    let mut hosts: Vec<String> = Vec::new();
    let monitors = config.monitors.iter().map(|monitor| {
        let name = host(&monitor.api.base_url);
        let known = hosts.iter().position(|known| *known == name);
        let host = known.unwrap_or_else(|| {
            hosts.push(name);
            hosts.len() - 1
        });
        core::Monitor {
            naming: naming(monitor, config),
            // The configuration allows far fewer monitors.
            host: u16::try_from(host).unwrap_or(u16::MAX),
            pace: monitor.poll.clone(),
            requests_per_second: monitor.api.requests_per_second,
            send_traceparent: monitor.api.send_traceparent,
        }
    });
    monitors.collect()
}

/// The scheme, the name and the port.
fn host(base_url: &str) -> String {
    let uri: Option<Uri> = base_url.parse().ok();
    let scheme = uri.as_ref().and_then(Uri::scheme_str).unwrap_or_default();
    let authority = uri.as_ref().and_then(Uri::authority);
    let authority = authority.map(|a| a.as_str()).unwrap_or_default();
    format!("{scheme}://{authority}").to_ascii_lowercase()
}

fn in_monitor<T>(monitor: &MonitorConfig, built: Result<T, String>) -> Result<T, String> {
    built.map_err(|trouble| format!("monitor {}: {trouble}", monitor.name))
}

fn api(monitor: &MonitorConfig, network: &Network) -> Result<Api, String> {
    let headers = monitor.api.headers.iter().map(|(name, value)| {
        let name = HeaderName::try_from(name);
        let value = HeaderValue::try_from(value.expose());
        match (name, value) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(true);
                Ok((name, value))
            }
            _ => Err("a header that cannot be sent".to_owned()),
        }
    });
    Ok(Api::new(
        monitor.api.base_url.clone(),
        headers.collect::<Result<_, _>>()?,
        Credentials::new(monitor.api.auth.clone(), &trust(monitor), network)?,
    ))
}

fn destination(
    otlp: &config::CollectorConfig,
    attempt_max: Duration,
    log: ExportLog,
) -> Destination {
    Destination {
        endpoint: otlp.endpoint.clone(),
        headers: (otlp.headers.iter())
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect(),
        timeout: otlp.timeout.min(attempt_max),
        gzip: otlp.compression == config::Compression::Gzip,
        trust: collector_trust(otlp),
        log,
        keys: otlp.keys,
    }
}

/// Where the metrics go, if a collector gets them.
pub(super) fn metrics_destination(config: &Config) -> Option<MetricsDestination> {
    let it = config.metrics.otlp.as_ref()?;
    Some(MetricsDestination {
        collector: destination(&it.collector, it.attempt_max, ExportLog::default()),
        resource: config.resource.clone(),
        interval: it.interval,
    })
}

fn receiver(
    monitor: &MonitorConfig,
    redis: Option<&Redis>,
    network: &Network,
) -> Result<Option<notify::EventReceiver>, String> {
    let Some(finished) = &monitor.finished else {
        return Ok(None);
    };
    #[cfg(feature = "redis")]
    let to_redis = |name: &String, length_max| {
        let redis = redis.ok_or("finished: FARSPAN_REDIS_URL (redis.url) is not set")?;
        let receiver = notify::RedisReceiver::new(redis.url.expose(), name.clone(), length_max);
        receiver.map(|receiver| notify::EventReceiver::Redis(Box::new(receiver)))
    };
    Ok(Some(match finished {
        #[cfg(feature = "redis")]
        ReceiverConfig::RedisChannel(channel) => to_redis(channel, None)?,
        #[cfg(feature = "redis")]
        ReceiverConfig::RedisStream { key, length_max } => to_redis(key, Some(*length_max))?,
        #[cfg(not(feature = "redis"))]
        ReceiverConfig::RedisChannel(_) | ReceiverConfig::RedisStream { .. } => {
            let _ = redis;
            return Err("finished: built without the feature 'redis'".to_owned());
        }
        ReceiverConfig::Http { url, auth } => {
            let trust = Trust::default();
            notify::EventReceiver::Http(Box::new(notify::HttpReceiver {
                agent: client::agent(exchange::TIMEOUTS, url, &trust, network)?,
                api: Api::new(
                    url.clone(),
                    Vec::new(),
                    Credentials::new(auth.clone(), &trust, network)?,
                ),
            }))
        }
    }))
}

/// The common channel, and each monitor's own.
#[cfg(feature = "redis")]
pub fn subscriptions(config: &Config, redis: &Redis) -> Vec<Subscription> {
    let for_all = reading(config);
    let subscription = |channel: &String, dialects| Subscription {
        url: redis.url.expose().to_owned(),
        channel: channel.clone(),
        dialects,
    };
    let common = subscription(&redis.channel, for_all.clone());
    let own = (config.monitors.iter().enumerate()).filter_map(|(monitor, it)| {
        let channel = it.events.redis_channel.as_ref()?;
        Some(subscription(channel, for_one(&for_all, monitor)))
    });
    std::iter::once(common).chain(own).collect()
}

/// The common stream, if there is one, and each monitor's own.
#[cfg(feature = "redis")]
pub fn streams(config: &Config, redis: &Redis) -> Vec<Stream> {
    let for_all = reading(config);
    let stream = |key: &String, is_named, dialects| Stream {
        url: redis.url.expose().to_owned(),
        key: key.clone(),
        consumer: config.instance.clone(),
        dialects,
        is_named,
        lease: match config.state {
            config::StateConfig::Redis { lease } => Some(lease),
            _ => None,
        },
        length_max: redis.stream_length_max,
    };
    let common = (redis.stream.iter()).map(|key| stream(key, false, for_all.clone()));
    let own = (config.monitors.iter().enumerate()).filter_map(|(monitor, it)| {
        let key = it.events.redis_stream.as_ref()?;
        Some(stream(key, true, for_one(&for_all, monitor)))
    });
    common.chain(own).collect()
}

/// As `for_all`, but an event that names no monitor is for this one.
#[cfg(feature = "redis")]
fn for_one(for_all: &Dialects, monitor: usize) -> Dialects {
    Dialects {
        default: Some(monitor),
        ..for_all.clone()
    }
}

fn discoveries(config: &Config, network: &Network) -> Result<Vec<DiscoveryPart>, String> {
    let mut parts = Vec::new();
    for (monitor, number) in config.monitors.iter().zip(0_u16..) {
        let Some(list) = &monitor.discovery else {
            continue;
        };
        let definition = monitor.mapping.definition();
        parts.push(DiscoveryPart {
            discovery: Discovery {
                monitor: number,
                name: monitor.name.as_str().into(),
                ids: monitor.mapping.ids().clone(),
                list: list.clone(),
                first_attempt: definition.workflow.fields.first_attempt,
                times: definition.times.clone(),
            },
            api: in_monitor(monitor, api(monitor, network))?,
            trust: trust(monitor),
        });
    }
    Ok(parts)
}
