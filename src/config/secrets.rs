//! Every secret of a configuration is made known to the filter of outputs.

use super::Config;
use super::monitor::{MonitorConfig, ReceiverConfig};
use crate::api::credentials::{Auth, SecretSource};
use crate::os::redaction::{hide, hide_in_query, is_name_of_secret};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

pub(super) fn hide_secrets(config: &Config) {
    if let Some(token) = config.api.as_ref().and_then(|api| api.token.as_ref()) {
        hide_source(token);
    }
    if let Some(token) = config.admin.as_ref().and_then(|admin| admin.token.as_ref()) {
        hide(token.expose());
    }
    if let Some(redis) = &config.redis {
        hide_in_redis_url(redis.url.expose());
    }
    let export = &config.export;
    let metrics = config.metrics.otlp.as_ref().map(|it| &it.collector);
    for otlp in export.otlp.iter().chain(&export.logs).chain(metrics) {
        hide_in_query(&otlp.endpoint);
        for (name, value) in &otlp.headers {
            hide_header(name, value.expose());
        }
    }
    config.monitors.iter().for_each(hide_in_monitor);
}

fn hide_in_monitor(monitor: &MonitorConfig) {
    for (name, value) in &monitor.api.headers {
        hide_header(name, value.expose());
    }
    hide_auth(&monitor.api.auth);
    if let Some(ReceiverConfig::Http { auth, .. }) = &monitor.finished {
        hide_auth(auth);
    }
    for (key, value) in monitor.members() {
        let holds_requests = matches!(&**key, "request" | "requests" | "discovery");
        hide_in_json(key, value, holds_requests);
    }
}

/// The queries of all URLs and paths, and with `by_name` what a key says is secret.
fn hide_in_json(key: &str, value: &Value, by_name: bool) {
    match value {
        Value::String(text) => {
            hide_in_query(text);
            // A key of a mapping leads to something.
            if by_name && is_name_of_secret(key) && !text.starts_with('/') && !text.contains('{') {
                hide(text);
            }
        }
        Value::Array(elements) => {
            elements
                .iter()
                .for_each(|value| hide_in_json(key, value, by_name));
        }
        Value::Object(members) => {
            members
                .iter()
                .for_each(|(key, value)| hide_in_json(key, value, by_name));
        }
        _ => {}
    }
}

fn hide_auth(auth: &Auth) {
    match auth {
        Auth::None => {}
        Auth::Bearer(token) => hide_source(token),
        Auth::Basic { username, password } => {
            hide_source(password);
            hide(&STANDARD.encode(format!("{username}:{}", text_of(password))));
        }
        Auth::Header { value, .. } => hide_source(value),
        Auth::OAuth2 {
            token_url,
            client_secret,
            ..
        } => {
            hide_in_query(token_url);
            hide_source(client_secret);
        }
        Auth::Login { url, body, .. } => {
            hide_in_query(url);
            hide_source(body);
            if let Ok(body) = serde_json::from_str(text_of(body)) {
                hide_in_json("", &body, true);
            }
        }
    }
}

fn hide_source(secret: &SecretSource) {
    hide(text_of(secret));
}

fn text_of(secret: &SecretSource) -> &str {
    let (SecretSource::Given(secret) | SecretSource::File(_, secret)) = secret;
    secret.expose()
}

/// `Bearer TOKEN` with and without its scheme. Other headers than those for credentials are no secret.
fn hide_header(name: &str, value: &str) {
    if is_name_of_secret(name) {
        hide(value);
        value.split_whitespace().skip(1).for_each(hide);
    }
}

fn hide_in_redis_url(url: &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    if let Some((userinfo, _)) = rest.rsplit_once('@') {
        hide(userinfo);
        hide(
            userinfo
                .split_once(':')
                .map_or("", |(_, password)| password),
        );
    }
    hide_in_query(url);
}
