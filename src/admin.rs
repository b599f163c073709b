//! The admin endpoint: what farspan answers over HTTP, and whom.
//!
//! With a token, a request without it is answered with 401. Without one it listens to this host alone, as the configuration
//! sees to; and what a browser sends for a page is refused, for any page can send something to this host.

use crate::http::server::{Request, Response, Server, Serving};
use sha2::{Digest, Sha256};
use std::io;

/// Answers one kind of request.
pub type Handler = Box<dyn Fn(&Request) -> Response + Send + Sync>;

/// A path and what it answers.
pub struct Route {
    /// The method; HEAD is answered as GET is.
    pub method: &'static str,
    /// The whole path.
    pub path: &'static str,
    /// Whether it takes no token: it tells nothing and changes nothing.
    pub is_open: bool,
    /// What answers.
    pub handler: Handler,
}

struct Admin {
    routes: Vec<Route>,
    /// The hash of the token.
    token: Option<[u8; 32]>,
}

/// Connections at once.
const CONNECTIONS_MAX: usize = 64;

/// Listens there; does not answer yet.
///
/// # Errors
/// The address is taken, or not ours to take.
pub fn bind(address: &str) -> io::Result<Server> {
    Ok(Server::bind(address)?.with_connections(CONNECTIONS_MAX))
}

/// Answers from now on.
///
/// # Errors
/// There is no thread to be had.
pub fn start(server: Server, token: Option<&str>, routes: Vec<Route>) -> io::Result<Serving> {
    let token = token.map(hash);
    let admin = Admin { routes, token };
    server.start(move |request| admin.answer(request))
}

impl Admin {
    fn answer(&self, request: &Request) -> Response {
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
        (route.handler)(request)
    }
}

fn brings(request: &Request, token: &[u8; 32]) -> bool {
    let header = request.header("authorization").unwrap_or_default();
    let Some((scheme, brought)) = header.split_once(' ') else {
        return false;
    };
    // Of hashes, and to the end: how long it takes says nothing of the token.
    let different = hash(brought.trim())
        .iter()
        .zip(token)
        .fold(0, |all, (a, b)| all | (a ^ b));
    scheme.eq_ignore_ascii_case("bearer") && different == 0
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
