//! Which requests are answered.
//!
//! If a token is configured, a request without it is answered with 401. If none is configured, the configuration allows
//! only a loopback address; requests that a browser sends for a web page are refused, because any page can send them.

use crate::http::server::{HttpRequest, Response, Server, Serving};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// Answers the requests of one route.
type Handler = Box<dyn Fn(&HttpRequest) -> Response + Send + Sync>;

/// A path and its handler.
pub struct Route {
    /// The method; HEAD is answered as GET is.
    pub method: &'static str,
    /// The whole path. A last segment in braces stands for any one segment.
    pub path: &'static str,
    /// Whether it needs no token, because it shows no data and changes nothing.
    pub is_open: bool,
    /// Makes the answer.
    pub handler: Handler,
}

struct AdminEndpoint {
    routes: Vec<Route>,
    /// The SHA-256 of the configured token.
    token: Option<[u8; 32]>,
    /// The host that it listens on, as it was configured.
    host: String,
}

/// How many connections are served at once, and how many of them one address may have.
const CONNECTIONS_MAX: usize = 64;
const CONNECTIONS_OF_ADDRESS_MAX: usize = 48;
/// How long a connection may be idle before it has brought the token.
const STRANGER_IDLE: Duration = Duration::from_secs(5);

/// Listens on `address`, without answering yet.
///
/// # Errors
/// When the address does not resolve, is taken, or is not permitted.
pub fn bind(address: &str) -> io::Result<Server> {
    let server = Server::bind(address)?.with_connections(CONNECTIONS_MAX);
    Ok(server.with_strangers(CONNECTIONS_OF_ADDRESS_MAX, STRANGER_IDLE))
}

/// Answers requests. `listen`: where it listens, as it was configured.
///
/// # Errors
/// When the thread cannot be started.
pub fn start(
    server: Server,
    listen: &str,
    token: Option<&str>,
    routes: Vec<Route>,
) -> io::Result<Serving> {
    let admin = AdminEndpoint {
        routes,
        token: token.map(hash),
        host: without_port(listen).to_owned(),
    };
    server.start(move |request| admin.answer(request))
}

impl AdminEndpoint {
    fn answer(&self, request: &HttpRequest) -> Response {
        let mut response = match self.route(request) {
            Ok(route) => (route.handler)(request),
            Err(response) => response,
        };
        // Without a token only this host can ask.
        response.is_trusted = self
            .token
            .as_ref()
            .is_none_or(|token| brings(request, token));
        response
            .with_header("Cache-Control", "no-store")
            .with_header("Referrer-Policy", "no-referrer")
            .with_header("X-Content-Type-Options", "nosniff")
    }

    /// The route of a request that may have an answer. Otherwise the refusal.
    fn route(&self, request: &HttpRequest) -> Result<&Route, Response> {
        if self.token.is_none() && !self.is_asked_for_by_name(request) {
            let why = "the header Host does not name this host: ask for localhost, or set FARSPAN_ADMIN_TOKEN";
            return Err(refusal(request, 403, why));
        }
        let there = || {
            let routes = self.routes.iter();
            routes.filter(|route| is_path_of(route.path, &request.path))
        };
        if there().next().is_none() {
            return Err(refusal(
                request,
                404,
                "there is nothing here; the page is at /, start events are posted to /api/workflows",
            ));
        }
        let method = match request.method.as_str() {
            "HEAD" => "GET",
            method => method,
        };
        let Some(route) = there().find(|route| route.method == method) else {
            let methods: Vec<&str> = there().map(|route| route.method).collect();
            let response = refusal(request, 405, "not this method");
            return Err(response.with_header("Allow", methods.join(", ")));
        };
        match &self.token {
            _ if route.is_open => Ok(route),
            Some(token) if !brings(request, token) => {
                let why = "Authorization: Bearer <FARSPAN_ADMIN_TOKEN> is needed";
                Err(refusal(request, 401, why).with_header("WWW-Authenticate", "Bearer"))
            }
            None if comes_from_elsewhere(request, method) => {
                let why = "a browser needs a token: set FARSPAN_ADMIN_TOKEN";
                Err(refusal(request, 403, why))
            }
            _ => Ok(route),
        }
    }

    /// Whether `Host` is this host's. A web page whose name was made to point here (DNS rebinding) has its own name there.
    fn is_asked_for_by_name(&self, request: &HttpRequest) -> bool {
        let Some(host) = request.header("host") else {
            // HTTP/1.0, which no browser speaks.
            return true;
        };
        let host = without_port(host).to_ascii_lowercase();
        let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
        host == "localhost"
            || host.ends_with(".localhost")
            || host.parse().is_ok_and(is_loopback)
            || host.eq_ignore_ascii_case(&self.host)
    }
}

/// Whether a web page of another origin has sent this, or any page one that may change something.
fn comes_from_elsewhere(request: &HttpRequest, method: &str) -> bool {
    let Some(origin) = request.header("origin") else {
        return false;
    };
    let (_, authority) = origin.split_once("://").unwrap_or(("", origin));
    method != "GET" || request.header("host") != Some(authority)
}

/// The host of `host:port`, without the brackets of an IPv6 address.
fn without_port(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    }
}

/// As JSON where the answers are JSON.
fn refusal(request: &HttpRequest, status: u16, why: &str) -> Response {
    if request.path.starts_with("/api/") {
        Response::json(status, json!({ "error": why }).to_string() + "\n")
    } else {
        Response::text(status, why)
    }
}

fn is_path_of(route: &str, path: &str) -> bool {
    let of_any = || {
        let (folder, last) = route.rsplit_once('/')?;
        let segment = path.strip_prefix(folder)?.strip_prefix('/')?;
        Some(last.starts_with('{') && !segment.is_empty() && !segment.contains('/'))
    };
    route == path || of_any() == Some(true)
}

fn brings(request: &HttpRequest, token: &[u8; 32]) -> bool {
    let header = request.header("authorization").unwrap_or_default();
    let Some((scheme, brought)) = header.split_once(' ') else {
        return false;
    };
    // Hashes are compared, and all of their bytes: the time that this takes tells nothing about the token.
    let different = hash(brought.trim())
        .iter()
        .zip(token)
        .fold(0, |all, (a, b)| all | (a ^ b));
    scheme.eq_ignore_ascii_case("bearer") && different == 0
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
