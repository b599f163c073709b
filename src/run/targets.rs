//! From the configuration's monitors to what pollers ask, and to what the core knows of each.

use crate::config::monitors::{self, Monitor};
use crate::config::{Config, Pem};
use crate::core::workflow::{ContextUse, Naming};
use crate::core::{self, Adaptive, Pace};
use crate::credentials::{Auth, Credentials, Secret, SecretSource};
use crate::http::{NameCache, Trust};
use crate::poller::Target;
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
fn target(monitor: &Monitor, names: &NameCache) -> Result<Target, String> {
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
    Ok(Target {
        base_url: monitor.api.base_url.clone(),
        headers: headers.collect::<Result<_, _>>()?,
        credentials: Credentials::new(auth(&monitor.api.auth), &trust(monitor), names)?,
        mapping: monitor.mapping.clone(),
    })
}

/// Whom the API's certificate is checked against, and who farspan is to it.
pub(super) fn trust(monitor: &Monitor) -> Trust {
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
            pace: pace(monitor),
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
    config.monitors.iter().map(pace).collect()
}

fn pace(monitor: &Monitor) -> Pace {
    let poll = &monitor.poll;
    Pace {
        initial_delay: poll.initial_delay,
        interval: poll.interval,
        timeout: poll.timeout,
        interval_by_status: poll.interval_by_status.clone(),
        adaptive: poll.adaptive.map(|adaptive| Adaptive {
            share: adaptive.share,
            min: adaptive.min,
            max: adaptive.max,
        }),
        gone_after: poll.gone_after,
    }
}

fn naming(monitor: &Monitor, config: &Config) -> Naming {
    let spans = &monitor.spans;
    Naming {
        ok: spans.status_ok,
        skipped: spans.skipped,
        queued: spans.queued,
        context: match monitor.context.used_as {
            monitors::ContextUse::Parent => ContextUse::Parent,
            monitors::ContextUse::Link => ContextUse::Link,
            monitors::ContextUse::Ignore => ContextUse::Ignore,
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

fn auth(auth: &monitors::Auth) -> Auth {
    match auth {
        monitors::Auth::None => Auth::None,
        monitors::Auth::Bearer(token) => Auth::Bearer(secret(token)),
        monitors::Auth::Basic { username, password } => Auth::Basic {
            username: username.clone(),
            password: secret(password),
        },
        monitors::Auth::Header { name, value } => Auth::Header {
            name: name.clone(),
            value: secret(value),
        },
        monitors::Auth::OAuth2 {
            token_url,
            client_id,
            client_secret,
            scope,
        } => Auth::OAuth2 {
            token_url: token_url.clone(),
            client_id: client_id.clone(),
            client_secret: secret(client_secret),
            scope: scope.clone(),
        },
        monitors::Auth::Login {
            url,
            body,
            token,
            expires_in,
            lifetime,
        } => Auth::Login {
            url: url.clone(),
            body: match body {
                monitors::LoginBody::Given(body) => SecretSource::Given(Secret::new(body.expose())),
                monitors::LoginBody::File(path) => SecretSource::File(path.clone()),
            },
            token: token.clone(),
            expires_in: expires_in.clone(),
            lifetime: *lifetime,
        },
    }
}

fn secret(source: &monitors::SecretSource) -> SecretSource {
    match source {
        monitors::SecretSource::Given(secret) => SecretSource::Given(Secret::new(secret.expose())),
        monitors::SecretSource::File(path) => SecretSource::File(path.clone()),
    }
}
