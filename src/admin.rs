//! The admin endpoint: what farspan answers over HTTP, and to which requests.
//!
//! If a token is configured, a request without it is answered with 401. If none is configured, the configuration allows
//! only a loopback address; requests that a browser sends for a web page are refused, because any page can send them.

use crate::http::server::{HttpRequest, Response, Server, Serving};
use sha2::{Digest, Sha256};
use std::io;
use std::time::Duration;

/// Answers the requests of one route.
pub type Handler = Box<dyn Fn(&HttpRequest) -> Response + Send + Sync>;

/// A path and its handler.
pub struct Route {
    /// The method; HEAD is answered as GET is.
    pub method: &'static str,
    /// The whole path.
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

/// Answers requests.
///
/// # Errors
/// When the thread cannot be started.
pub fn start(server: Server, token: Option<&str>, routes: Vec<Route>) -> io::Result<Serving> {
    let token = token.map(hash);
    let admin = AdminEndpoint { routes, token };
    server.start(move |request| admin.answer(request))
}

impl AdminEndpoint {
    fn answer(&self, request: &HttpRequest) -> Response {
        let there = || {
            self.routes
                .iter()
                .filter(|route| route.path == request.path)
        };
        if there().next().is_none() {
            return Response::text(404, "there is nothing here");
        }
        let method = match request.method.as_str() {
            "HEAD" => "GET",
            method => method,
        };
        let Some(route) = there().find(|route| route.method == method) else {
            let methods: Vec<&str> = there().map(|route| route.method).collect();
            return Response::text(405, "not this method").with_header("Allow", methods.join(", "));
        };
        match &self.token {
            _ if route.is_open => {}
            Some(token) if !brings(request, token) => {
                let response =
                    Response::text(401, "Authorization: Bearer <FARSPAN_ADMIN_TOKEN> is needed");
                return response.with_header("WWW-Authenticate", "Bearer");
            }
            None if method != "GET" && request.header("origin").is_some() => {
                return Response::text(403, "a browser needs a token: set FARSPAN_ADMIN_TOKEN");
            }
            _ => {}
        }
        let mut response = (route.handler)(request);
        // Without a token only this host can ask.
        response.is_trusted = self
            .token
            .as_ref()
            .is_none_or(|token| brings(request, token));
        response
    }
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
