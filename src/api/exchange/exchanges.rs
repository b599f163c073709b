//! What a probe shows of a poll: each request as it was sent, and its answer.

use super::Asking;
use crate::core::time::Mono;
use crate::os::clock;
use std::time::Duration;
use ureq::http::Response;

/// One request and its answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The request's name in the mapping; empty for the main one.
    pub request: Box<str>,
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The whole URL.
    pub url: String,
    /// The headers that were set, `None` where the value is a secret.
    pub headers: Vec<(String, Option<String>)>,
    /// The body that was sent.
    pub sent: Option<Vec<u8>>,
    /// The answer's status, if there was an answer.
    pub status: Option<u16>,
    /// From the request to the head of the answer.
    pub took: Duration,
    /// The length of the answer's body, as far as it was read.
    pub bytes: usize,
    /// The answer's body; empty if there is none, or if the bound for all bodies is reached.
    pub body: Vec<u8>,
    begun: Mono,
}

/// All bodies that are kept of one poll.
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The requests of one poll, in their order.
#[derive(Debug, Default)]
pub struct Exchanges {
    /// Each request, also those that were redirected or made again.
    pub all: Vec<Exchange>,
    kept_bytes: usize,
}

impl Exchange {
    pub(super) fn new(asking: &Asking<'_>, url: &str) -> Self {
        let title = asking.title.unwrap_or_default();
        Exchange {
            request: title.strip_prefix("requests.").unwrap_or(title).into(),
            method: asking.body.map_or("GET", |_| "POST"),
            url: url.to_owned(),
            headers: Vec::new(),
            sent: asking.body.map(<[u8]>::to_vec),
            status: None,
            took: Duration::ZERO,
            bytes: 0,
            body: Vec::new(),
            begun: clock::now().mono,
        }
    }
}

/// Notes the headers that the request sends.
pub(super) fn note_headers<B>(exchange: &mut Option<Exchange>, request: &ureq::RequestBuilder<B>) {
    let (Some(exchange), Some(headers)) = (exchange, request.headers_ref()) else {
        return;
    };
    let headers = headers.iter().map(|(name, value)| {
        let shown = value.to_str().ok().filter(|_| !value.is_sensitive());
        (name.to_string(), shown.map(str::to_owned))
    });
    exchange.headers = headers.collect();
}

impl Exchanges {
    pub(super) fn add(&mut self, mut exchange: Exchange, response: Option<&Response<ureq::Body>>) {
        exchange.took = clock::now().mono.since(exchange.begun);
        exchange.status = response.map(|response| response.status().as_u16());
        self.all.push(exchange);
    }

    /// Keeps the body of the last answer.
    pub fn read(&mut self, body: &[u8]) {
        let Some(exchange) = self.all.last_mut() else {
            return;
        };
        exchange.bytes = body.len();
        if self.kept_bytes + body.len() <= KEPT_BYTES_MAX {
            self.kept_bytes += body.len();
            exchange.body = body.to_vec();
        }
    }
}
