//! `farspan check`: the configuration is valid; now, does everything it names answer?

#[cfg(feature = "redis")]
use crate::config::State;
use crate::config::{Config, Otlp, Secret};
use crate::console::say;
use crate::http::{self, NameCache, Timeouts, Trust};
use crate::run;
use std::fmt::Display;
use std::process::ExitCode;
use std::time::Duration;
use ureq::http::header;

const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    read: Duration::from_secs(10),
    total: Duration::from_secs(10),
};

/// Tries each endpoint of a valid configuration and says how it went, a line each. Fails if one did not answer.
pub fn run(config: &Config, offline: bool) -> ExitCode {
    say("ok    configuration");
    if offline {
        return ExitCode::SUCCESS;
    }
    let mut all_well = true;
    let mut tell = |what: &str, tried: Result<String, String>| match tried {
        Ok(found) => say(&format!("ok    {what}: {found}")),
        Err(trouble) => {
            all_well = false;
            say(&format!("FAIL  {what}: {trouble}"));
        }
    };
    if let Some(api) = &config.api {
        let token = api.token.as_ref().map(|t| format!("Bearer {}", t.expose()));
        let what = format!("API {}", api.base_url);
        let headers = token
            .into_iter()
            .map(|t| (header::AUTHORIZATION.as_str(), t));
        let asked = ask(&api.base_url, headers, &Trust::default());
        tell(&what, asked.and_then(api_answered));
    }
    #[cfg(feature = "redis")]
    match &config.redis {
        Some(redis) => {
            let keeps = redis.stream.is_some() || matches!(config.state, State::Redis { .. });
            tell(
                "Redis",
                crate::intake::redis::ping(redis.url.expose(), keeps),
            );
        }
        None => tell(
            "Redis",
            Err("not set: nothing would tell farspan of workflows; set FARSPAN_REDIS_URL".into()),
        ),
    }
    match &config.export.otlp {
        Some(otlp) => tell(&format!("collector {}", otlp.endpoint), ask_collector(otlp)),
        None => say("ok    collector: none is set"),
    }
    match all_well {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn ask_collector(otlp: &Otlp) -> Result<String, String> {
    let headers = otlp.headers.iter();
    let headers =
        headers.map(|(name, value): &(String, Secret)| (&**name, value.expose().to_owned()));
    // A GET, because the specification forbids an empty export and a real one would leave a span behind.
    let status = ask(&otlp.endpoint, headers, &run::trust(otlp))?;
    match status {
        401 | 403 => Err(format!(
            "HTTP {status}; are OTEL_EXPORTER_OTLP_HEADERS right?"
        )),
        404 => Err("HTTP 404; is the path of the endpoint right?".into()),
        500.. => Err(format!("HTTP {status}")),
        _ => Ok(format!("reachable (HTTP {status} to a GET)")),
    }
}

fn api_answered(status: u16) -> Result<String, String> {
    match status {
        401 | 403 => Err(format!("HTTP {status}; is FARSPAN_API_TOKEN right?")),
        500.. => Err(format!("HTTP {status}")),
        _ => Ok(format!("reachable (HTTP {status} at its base)")),
    }
}

fn ask<'h>(
    url: &str,
    headers: impl Iterator<Item = (&'h str, String)>,
    trust: &Trust,
) -> Result<u16, String> {
    let agent = http::agent(TIMEOUTS, url, trust, &NameCache::default())?;
    let mut request = agent.get(url);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    match request.call() {
        Ok(response) => Ok(response.status().as_u16()),
        Err(error) => Err(trouble(&error)),
    }
}

fn trouble(error: &dyn Display) -> String {
    format!("no answer: {error}")
}
