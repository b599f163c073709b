//! From the configuration's monitors to what pollers ask, and to what the core knows of each.

use crate::config::monitors::{self, Monitor};
use crate::config::{Config, Pem};
use crate::core::workflow::Naming;
use crate::core::{self, Pace};
use crate::credentials::{Auth, Credentials, Secret, SecretSource};
use crate::http::{NameCache, Trust};
use crate::poller::Target;
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
            naming: Naming::new(&monitor.name, &monitor.spans.workflow, config.trace.limits),
            host: u16::try_from(host).unwrap_or(u16::MAX),
            initial_delay: monitor.poll.initial_delay,
            interval: monitor.poll.interval,
            timeout: monitor.poll.timeout,
        }
    });
    monitors.collect()
}

/// How each is polled, as far as that can change.
pub(super) fn paces(config: &Config) -> Vec<Pace> {
    let monitors = config.monitors.iter();
    let pace = |monitor: &Monitor| Pace {
        initial_delay: monitor.poll.initial_delay,
        interval: monitor.poll.interval,
        timeout: monitor.poll.timeout,
    };
    monitors.map(pace).collect()
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
