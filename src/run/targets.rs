//! From the configuration's monitors to what pollers ask, and to what the core knows of each.

use super::services;
use crate::api::credentials::Credentials;
use crate::api::exchange::{self, Api};
use crate::api::poller::Target;
use crate::config::monitors::{self, Finished, Monitor};
use crate::config::{Config, Pem, Redis};
use crate::core::ids::RunsBy;
use crate::core::workflow::Naming;
use crate::core::{self, Pace};
use crate::deliver::notify;
use crate::http::client::{self, NameCache, Trust};
use std::collections::HashSet;
use std::sync::Arc;
use ureq::http::{HeaderName, HeaderValue, Uri};

/// What pollers ask, in the order of the monitors.
pub(super) fn targets(config: &Config, names: &NameCache) -> Result<Vec<Arc<Target>>, String> {
    let targets = config.monitors.iter().map(|monitor| {
        let target = target(monitor, names);
        let named = |trouble| format!("monitor {}: {trouble}", monitor.name);
        target.map(Arc::new).map_err(named)
    });
    targets.collect()
}

/// What pollers ask of one monitor.
///
/// # Errors
/// A text that says what is wrong with its headers or its trust.
pub fn target(monitor: &Monitor, names: &NameCache) -> Result<Target, String> {
    Ok(Target {
        api: api(monitor, names)?.into(),
        mapping: monitor.mapping.clone(),
    })
}

/// Whom to ask about the workflows of one monitor.
pub(super) fn api(monitor: &Monitor, names: &NameCache) -> Result<Api, String> {
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
    Ok(Api {
        base_url: monitor.api.base_url.clone(),
        headers: headers.collect::<Result<_, _>>()?,
        credentials: Credentials::new(monitor.api.auth.clone(), &trust(monitor), names)?,
    })
}

/// Who is told of the finished workflows of one monitor.
pub(super) fn receiver(
    monitor: &Monitor,
    redis: Option<&Redis>,
    names: &NameCache,
) -> Result<Option<notify::Way>, String> {
    let Some(finished) = &monitor.finished else {
        return Ok(None);
    };
    #[cfg(feature = "redis")]
    let to_redis = |name: &String, length_max| {
        let redis = redis.ok_or("finished: FARSPAN_REDIS_URL (redis.url) is not set")?;
        let way = notify::RedisWay::new(redis.url.expose(), name.clone(), length_max);
        way.map(|way| notify::Way::Redis(Box::new(way)))
    };
    Ok(Some(match finished {
        #[cfg(feature = "redis")]
        Finished::RedisChannel(channel) => to_redis(channel, None)?,
        #[cfg(feature = "redis")]
        Finished::RedisStream { key, length_max } => to_redis(key, Some(*length_max))?,
        #[cfg(not(feature = "redis"))]
        Finished::RedisChannel(_) | Finished::RedisStream { .. } => {
            let _ = redis;
            return Err("finished: built without the feature `redis`".to_owned());
        }
        Finished::Http { url, auth } => {
            let trust = Trust::default();
            notify::Way::Http(Box::new(notify::HttpWay {
                agent: client::agent(exchange::TIMEOUTS, url, &trust, names)?,
                api: Api {
                    base_url: url.clone(),
                    headers: Vec::new(),
                    credentials: Credentials::new(auth.clone(), &trust, names)?,
                },
            }))
        }
    }))
}

/// Whom the API's certificate is checked against, and who farspan is to it.
pub fn trust(monitor: &Monitor) -> Trust {
    let pem = |pem: &Option<Pem>| pem.as_ref().map(|pem| pem.bytes.clone());
    let chain = pem(&monitor.api.client_certificate);
    Trust {
        authorities: pem(&monitor.api.certificate),
        identity: chain.zip(pem(&monitor.api.client_key)),
    }
}

/// What the core is to know of each.
pub(super) fn monitors(config: &Config) -> Vec<core::Monitor> {
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
            // There are far fewer.
            host: u16::try_from(host).unwrap_or(u16::MAX),
            pace: monitor.poll.clone(),
            requests_per_second: monitor.api.requests_per_second,
            send_traceparent: monitor.api.send_traceparent,
        }
    });
    monitors.collect()
}

/// How many different hosts are asked.
pub(super) fn hosts(config: &Config) -> usize {
    let hosts: HashSet<String> = (config.monitors.iter())
        .map(|monitor| host(&monitor.api.base_url))
        .collect();
    hosts.len()
}

/// What the log calls the API of each.
pub(super) fn apis(config: &Config) -> Vec<String> {
    let title = |monitor: &Monitor| match &*monitor.name {
        monitors::ONLY_NAME => "the API".to_owned(),
        name => format!("the API of monitor {name}"),
    };
    config.monitors.iter().map(title).collect()
}

/// How each is polled, as far as that can change.
pub(super) fn paces(config: &Config) -> Vec<Pace> {
    config.monitors.iter().map(|m| m.poll.clone()).collect()
}

/// What the spans of one monitor are like.
pub fn naming(monitor: &Monitor, config: &Config) -> Naming {
    let spans = &monitor.spans;
    Naming {
        ok: spans.status_ok,
        skipped: spans.skipped,
        queued: spans.queued,
        context: monitor.context.used_as,
        service: services::service(config, monitor),
        notifies: monitor.finished.is_some(),
        // What is listed may be announced too.
        runs_by: match monitor.discovery {
            Some(_) => RunsBy::Attempt,
            None => RunsBy::Event,
        },
        ..Naming::new(&monitor.name, &spans.workflow, config.trace.limits)
    }
}

/// What pauses together: the scheme, the host and the port.
fn host(base_url: &str) -> String {
    let uri: Option<Uri> = base_url.parse().ok();
    let scheme = uri.as_ref().and_then(Uri::scheme_str).unwrap_or_default();
    let authority = uri.as_ref().and_then(Uri::authority);
    let authority = authority.map(|a| a.as_str()).unwrap_or_default();
    format!("{scheme}://{authority}").to_ascii_lowercase()
}
