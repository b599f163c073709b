//! An exchange with a monitored API: one request with its credentials, the redirects on its host, and the answer or the
//! reason why there is none; and the pages of a long answer.
//!
//! Out of scope: which requests a poll needs, what a body means, and when the next request is sent.

mod exchanges;
mod pages;
mod redirect;
mod unknown_path;

pub use exchanges::{Exchange, Exchanges};
pub use pages::{PAGES_MAX, Paging};
pub use unknown_path::{PathDoubt, PathTold, path_told};

use crate::api::credentials::Credentials;
use crate::core::limits;
use crate::core::limits::cut;
use crate::core::time::Wall;
use crate::core::{PollFailure, PollFailureReason};
use crate::http::client::{self, Timeouts};
use crate::mapping::definition::{Method, Request};
use crate::mapping::refusals::{Refusals, words_of};
use crate::mapping::template::{Unfilled, Variables};
use crate::os::clock;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use exchanges::note_headers;
use redirect::{REDIRECTS_MAX, is_redirect, same_host_redirect};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read as _};
use std::time::Duration;
use ureq::http::{HeaderName, HeaderValue, Response, StatusCode, Uri, header};
use ureq::{Agent, Body, RequestBuilder};

/// A monitored API.
#[derive(Debug)]
pub struct Api {
    /// Without a slash at its end.
    pub base_url: String,
    /// Sent with every request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How farspan authenticates.
    pub credentials: Credentials,
    /// Whether its server knows the path.
    pub path_doubt: PathDoubt,
    /// `Accept` and `User-Agent`, unless `headers` has its own.
    defaults: Vec<(HeaderName, HeaderValue)>,
    /// The base URL, and the header `Host` of requests to it. ureq would write both texts again for each request.
    host: Option<(Uri, HeaderValue)>,
}

/// How long a request may take.
pub const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    read: Duration::from_secs(20),
    total: Duration::from_secs(30),
};

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The agent that keeps the connection.
    pub agent: &'a Agent,
    /// The API.
    pub api: &'a Api,
    /// The key of the request in the configuration, for errors; `None` for the main request.
    pub title: Option<&'a str>,
    /// The header `traceparent`.
    pub traceparent: Option<&'a str>,
    /// The header `tracestate`.
    pub tracestate: Option<&'a str>,
    /// The body of a POST. `None`: it is a GET.
    pub body: Option<&'a [u8]>,
    /// How the API refuses, beside the statuses of HTTP.
    pub refusals: Option<&'a Refusals>,
    /// The headers of a conditional request.
    pub conditions: &'a [(HeaderName, HeaderValue)],
}

/// What came back.
#[derive(Debug)]
pub enum Reply {
    /// An answer.
    Found(Response<Body>),
    /// "304 Not Modified", to a request with conditions.
    Unchanged,
    /// "404 Not Found".
    NotFound,
}

/// What the requests of one poll have brought besides their answers.
#[derive(Debug, Default)]
pub struct Tally {
    /// The number of requests, with those that were redirected.
    pub requests: u32,
    /// How many of them were answered with "304 Not Modified".
    pub not_modified: u32,
    /// The API's clock.
    pub date: Option<Wall>,
    /// The pause that the host asked for with an answer.
    pub pause: Option<Duration>,
    /// The status of the last answer.
    pub status: Option<StatusCode>,
    /// For a probe: all requests and answers.
    pub exchanges: Option<Exchanges>,
}

impl Api {
    /// The API at this base URL.
    pub fn new(
        base_url: String,
        headers: Vec<(HeaderName, HeaderValue)>,
        credentials: Credentials,
    ) -> Self {
        const DEFAULTS: [(HeaderName, HeaderValue); 2] = [
            (header::ACCEPT, HeaderValue::from_static("application/json")),
            (
                header::USER_AGENT,
                HeaderValue::from_static(client::USER_AGENT),
            ),
        ];
        let has = |wanted: &HeaderName| headers.iter().any(|(name, _)| name == wanted);
        let mut defaults = Vec::from(DEFAULTS);
        defaults.retain(|(name, _)| !has(name));
        let with_host = |url: Uri| client::host(&url).map(|host| (url, host));
        Api {
            host: base_url.parse().ok().and_then(with_host),
            base_url,
            headers,
            credentials,
            path_doubt: PathDoubt::default(),
            defaults,
        }
    }

    /// The header `Host` of a request to this URL, if that is one of this API.
    fn host(&self, url: &Uri) -> Option<&HeaderValue> {
        let (base, host) = self.host.as_ref()?;
        let is_of_base = base.scheme() == url.scheme() && base.authority() == url.authority();
        is_of_base.then_some(host)
    }
}

impl<'a> Asking<'a> {
    /// A GET of the main request, without a trace context and without conditions.
    pub fn plain(agent: &'a Agent, api: &'a Api) -> Self {
        Asking {
            agent,
            api,
            title: None,
            traceparent: None,
            tracestate: None,
            body: None,
            refusals: None,
            conditions: &[],
        }
    }

    /// Sends the request, and once more with newer credentials if the API refuses the first ones.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn ask(&self, url: &str, tally: &mut Tally) -> Result<Reply, PollFailure> {
        let credentials = &self.api.credentials;
        let mut again = true;
        loop {
            let credential = credentials.header()?;
            let response = self.send(url, credential.as_ref(), tally)?;
            tally.date = client::date(response.headers());
            let status = response.status();
            tally.status = Some(status);
            let now = clock::now().wall;
            let limited = client::rate_limit(response.headers(), now);
            if status.is_success() {
                tally.pause = tally.pause.max(limited);
                return Ok(Reply::Found(response));
            }
            let pause = client::retry_after(response.headers(), now).or(limited);
            let body = tally.refusal(response);
            let is_not_found = |refusals: &Refusals| refusals.is_not_found(status.as_u16(), &body);
            if self.refusals.is_some_and(is_not_found) {
                return Ok(Reply::NotFound);
            }
            match status.as_u16() {
                304 if !self.conditions.is_empty() => {
                    tally.pause = tally.pause.max(limited);
                    return Ok(Reply::Unchanged);
                }
                404 => {
                    self.api.path_doubt.note(url, &body);
                    return Ok(Reply::NotFound);
                }
                401 | 403 if pause.is_none() => {
                    let another = credentials.refused(credential.as_ref());
                    if another && std::mem::take(&mut again) {
                        continue;
                    }
                }
                _ => {}
            }
            return Err(self.refusal(status, pause, credential.as_ref(), &body));
        }
    }

    fn send(
        &self,
        url: &str,
        credential: Option<&(HeaderName, HeaderValue)>,
        tally: &mut Tally,
    ) -> Result<Response<Body>, PollFailure> {
        let mut url = Cow::Borrowed(url);
        for _ in 0..=REDIRECTS_MAX {
            tally.requests += 1;
            let mut exchange = tally.exchanges.as_ref().map(|_| Exchange::new(self, &url));
            let response = match self.body {
                None => {
                    let request = self.with_headers(self.agent.get(&*url), credential);
                    note_headers(&mut exchange, &request);
                    request.call()
                }
                Some(body) => {
                    let request = self.with_headers(self.agent.post(&*url), credential);
                    let request = request.content_type("application/json");
                    note_headers(&mut exchange, &request);
                    request.send(body)
                }
            };
            if let (Some(exchanges), Some(exchange)) = (&mut tally.exchanges, exchange) {
                exchanges.add(exchange, response.as_ref().ok());
            }
            let response = response.map_err(|e| failure_of(&e))?;
            if !is_redirect(response.status()) {
                return Ok(response);
            }
            let to = same_host_redirect(&url, response.headers());
            tally.let_go(response);
            url = to
                .map_err(|why| failure(PollFailureReason::Redirect, &why))?
                .into();
        }
        let why = format!("more than {REDIRECTS_MAX} redirects");
        Err(failure(PollFailureReason::Redirect, &why))
    }

    fn with_headers<B>(
        &self,
        mut request: RequestBuilder<B>,
        credential: Option<&(HeaderName, HeaderValue)>,
    ) -> RequestBuilder<B> {
        let api = self.api;
        let host = request.uri_ref().and_then(|url| api.host(url));
        // If the URL is none there are no headers, and the request fails when it is sent.
        if let Some(headers) = request.headers_mut() {
            if let Some(host) = host {
                headers.append(header::HOST, host.clone());
            }
            let all = self.conditions.iter().chain(&api.headers);
            for (name, value) in all.chain(&api.defaults).chain(credential) {
                headers.append(name, value.clone());
            }
        }
        if let Some(traceparent) = self.traceparent {
            request = request.header("traceparent", traceparent);
        }
        if let Some(tracestate) = self.tracestate {
            request = request.header("tracestate", tracestate);
        }
        request
    }

    /// The failure that a status means.
    fn refusal(
        &self,
        status: StatusCode,
        pause: Option<Duration>,
        credential: Option<&(HeaderName, HeaderValue)>,
        body: &[u8],
    ) -> PollFailure {
        let reason = match status.as_u16() {
            // GitHub says of a budget that is spent, and of its secondary limits, that it is forbidden.
            403 if pause.is_some() => PollFailureReason::TooManyRequests,
            401 | 403 => PollFailureReason::Unauthorized,
            408 => PollFailureReason::Timeout,
            429 => PollFailureReason::TooManyRequests,
            500..=599 => PollFailureReason::ServerError,
            _ => PollFailureReason::Status,
        };
        let may_ask_for_pause = matches!(status.as_u16(), 403 | 429 | 503);
        let title = self.title.map(|title| format!("{title}: "));
        let headers = self.api.headers.iter().chain(credential);
        let secrets = headers.filter_map(|(_, value)| value.to_str().ok());
        let words = Words(words_without(body, secrets));
        let detail = format!("{}HTTP {status}{words}", title.unwrap_or_default());
        PollFailure {
            retry_after: pause.filter(|_| may_ask_for_pause),
            ..failure(reason, &detail)
        }
    }
}

/// The API's words, if it has any, behind what is said of them.
#[derive(Debug)]
pub(super) struct Words(pub(super) String);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, ": \"{}\"", self.0)
    }
}

/// What a refusal says. An API may repeat what it was sent: these secrets, or the headers that have them, are not shown.
pub(in crate::api) fn words_without<'a>(
    body: &[u8],
    secrets: impl Iterator<Item = &'a str>,
) -> String {
    const SECRET_BYTES_MIN: usize = 4;
    let mut hidden = Vec::new();
    for secret in secrets {
        hidden.push(secret.strip_prefix("Bearer ").unwrap_or(secret).to_owned());
        if let Some(pair) = secret.strip_prefix("Basic ") {
            let decoded = STANDARD.decode(pair).unwrap_or_default();
            let decoded = String::from_utf8_lossy(&decoded).into_owned();
            hidden.push(pair.to_owned());
            hidden.extend(
                decoded
                    .split_once(':')
                    .map(|(_, password)| password.to_owned()),
            );
        }
    }
    let without = |text: String| {
        let long = hidden
            .iter()
            .filter(|secret| secret.len() >= SECRET_BYTES_MIN);
        long.fold(text, |text, secret| {
            text.replace(secret.as_str(), "(redacted)")
        })
    };
    // Before the words are cut, and once more because JSON can escape any letter.
    let body = without(String::from_utf8_lossy(body).into_owned());
    without(words_of(body.as_bytes()))
}

impl Tally {
    /// Reads the rest of a short answer that is not used, so that the next request finds the connection open. Where
    /// that fails, the next one finds it closed.
    pub fn let_go(&mut self, response: Response<Body>) {
        drop(self.refusal(response));
    }

    /// The body of a refusal, as far as it comes.
    fn refusal(&mut self, response: Response<Body>) -> Vec<u8> {
        const BYTES_MAX: u64 = 16 * 1024;
        let mut body = Vec::new();
        let reader = response.into_body().into_reader();
        let _ = reader.take(BYTES_MAX).read_to_end(&mut body);
        if let Some(exchanges) = &mut self.exchanges {
            exchanges.read(&body);
        }
        body
    }
}

/// What one request sends, with the values of its variables and without the parameters of a page.
#[derive(Debug)]
pub struct Filled {
    /// The URL.
    pub url: String,
    /// Whether it is a POST.
    pub is_post: bool,
    /// The body of a POST, if it has one.
    pub body: Option<Value>,
}

impl Filled {
    /// Fills in the variables of a request. The URL is written into the text `url`, which may be that of an earlier one.
    ///
    /// # Errors
    /// The key of the request that has the variable, and why it cannot be filled in.
    pub fn new(
        api: &Api,
        request: &Request,
        variables: &Variables<'_>,
        mut url: String,
    ) -> Result<Self, (&'static str, Unfilled)> {
        url.clear();
        url.push_str(&api.base_url);
        let rendered = request.path.render(variables, &mut url);
        rendered.map_err(|why| ("path", why))?;
        let body = request.body.as_ref().map(|body| body.render(variables));
        Ok(Filled {
            url,
            is_post: request.method == Method::Post || body.is_some(),
            body: body.transpose().map_err(|why| ("body", why))?,
        })
    }
}

/// A request that cannot be made. `title` is its key in the configuration.
pub fn failure_of_variable(title: &str, (key, why): (&str, Unfilled)) -> PollFailure {
    failure(PollFailureReason::Shape, &format!("{title}.{key}: {why}"))
}

/// A failure with this detail, cut to its bound.
pub fn failure(reason: PollFailureReason, detail: &str) -> PollFailure {
    PollFailure {
        reason,
        detail: cut(detail, limits::NAME_BYTES_MAX).into(),
        retry_after: None,
    }
}

/// The failure of a request without an answer.
pub fn failure_of(error: &ureq::Error) -> PollFailure {
    failure(client::reason_of(error), &client::told(error))
}

/// The failure of a body that was not read to its end.
pub fn failure_of_io(error: &io::Error) -> PollFailure {
    failure(client::reason_of_io(error), &client::told_io(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::credentials::Auth;
    use crate::http::client::{Network, Trust};
    use crate::http::proxies::Proxies;

    /// The headers of a request to `url`.
    fn sent(own: &[(HeaderName, HeaderValue)], url: &str) -> Vec<String> {
        let network = Network::start(Proxies::default()).unwrap();
        let credentials = Credentials::new(Auth::None, &Trust::default(), &network).unwrap();
        let api = Api::new("http://api:8080/base".into(), own.into(), credentials);
        let agent = Agent::new_with_defaults();
        let asking = Asking::plain(&agent, &api);
        let request = asking.with_headers(asking.agent.get(url), None);
        let headers = request.headers_ref().unwrap().iter();
        let mut sent: Vec<String> = headers
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        sent.sort();
        sent
    }

    #[test]
    fn a_request_has_the_host_of_its_url_and_the_headers_of_the_api() {
        let accept = "accept: application/json";
        let agent = format!("user-agent: {}", client::USER_AGENT);
        let host = "host: api:8080";
        let url = "http://api:8080/base/runs/1";
        assert_eq!(sent(&[], url), [accept, host, &agent]);
        let own = [(header::USER_AGENT, HeaderValue::from_static("x"))];
        assert_eq!(sent(&own, url), [accept, host, "user-agent: x"]);
        // After a redirect: ureq writes the host of this URL.
        for url in ["https://api:8080/base/runs/1", "http://api/base/runs/1"] {
            assert_eq!(sent(&[], url), [accept, &agent]);
        }
    }
}
