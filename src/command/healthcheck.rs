//! `farspan healthcheck`: asks the farspan on this host whether it is alive, or whether it can do its work. For containers
//! without a shell.

use crate::config::AdminTarget;
use crate::http::client::{self, Network, Timeouts, Trust};
use crate::syntax::text::escape;
use std::time::Duration;

/// Docker and Kubernetes wait longer, or are told to.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(1),
    read: Duration::from_secs(2),
    total: Duration::from_secs(2),
};
const BODY_BYTES_MAX: u64 = 64 * 1024;

/// Asks `/healthz`, or `/readyz` if `asks_ready`. Neither needs the token.
///
/// # Errors
/// What the answer says is wrong, or why there is none.
pub fn run(target: AdminTarget, asks_ready: bool) -> Result<String, String> {
    let AdminTarget { url, proxies, .. } = target;
    let path = if asks_ready { "/readyz" } else { "/healthz" };
    let network = Network::start(proxies)?;
    let agent = client::agent(TIMEOUTS, &url, &Trust::default(), &network)?;
    let answer = agent.get(format!("{url}{path}")).call();
    let mut answer = answer.map_err(|error| {
        format!("{url} does not answer ({error}): is farspan running, and is that its FARSPAN_ADMIN_LISTEN?")
    })?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(BODY_BYTES_MAX);
    let body = body.read_to_vec();
    let body = body.map_err(|error| format!("the answer of {url} broke off: {error}"))?;
    let lines = String::from_utf8_lossy(&body);
    let lines: Vec<String> = lines.lines().map(escape).collect();
    if status == 200 {
        Ok(lines.join("\n") + "\n")
    } else {
        let lines = lines.join("; ");
        Err(format!("{url}{path} answers {status}: {lines}"))
    }
}
