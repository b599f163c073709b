//! The pollers: a fixed pool of threads, each with an agent for each API and its open connection.
//!
//! ```text
//! Poll -> GET {base}/workflows/{id} -> redirects on the same host -> mapping -> Polled
//! ```
//!
//! A poller knows nothing of workflows: it asks what it is told to and answers with what it got. Every answer carries
//! the poll's generation. Nothing here decides when to ask again.

use crate::clock;
use crate::core::limits;
use crate::core::workflow::cut;
use crate::core::{Answer, Poll, PollFailure, PollFailureReason, Polled};
use crate::http::{self, NameCache, Timeouts, Trust};
use crate::mapping::template::push_segment;
use crate::mapping::{self, Mapping, Reading, Unreadable};
use crossbeam_channel::{Receiver, Sender};
use std::io::{self, Read};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use ureq::Agent;
use ureq::http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, header};

/// An API to ask.
#[derive(Clone, Debug)]
pub struct Target {
    base_url: String,
    authorization: Option<HeaderValue>,
}

impl Target {
    /// `base_url` without a slash at its end; `token` goes with every request as a bearer token.
    ///
    /// # Errors
    /// A token that cannot stand in a header.
    pub fn new(base_url: &str, token: Option<&str>) -> Result<Self, String> {
        let authorization = match token {
            None => None,
            Some(token) => {
                let value = HeaderValue::try_from(format!("Bearer {token}"));
                let mut value = value.map_err(|_| "the token holds control characters")?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Target {
            base_url: base_url.trim_end_matches('/').to_owned(),
            authorization,
        })
    }

    /// Without a slash at its end.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    fn url(&self, workflow_id: &str) -> String {
        let mut url = String::with_capacity(self.base_url.len() + 11 + 3 * workflow_id.len());
        url.push_str(&self.base_url);
        url.push_str("/workflows/");
        push_segment(&mut url, workflow_id);
        url
    }
}

/// A poll and whom to ask. The target travels with each poll, so that a token that was read anew is sent with every
/// poll from then on, and pollers share nothing that could change under them.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What to ask after.
    pub poll: Poll,
    /// The API of the poll's monitor.
    pub target: Arc<Target>,
}

/// How long a poll may take.
pub const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    read: Duration::from_secs(20),
    total: Duration::from_secs(30),
};

/// The pool. Its threads end when the channel of polls is closed, and are joined when it is dropped.
#[derive(Debug)]
pub struct Pollers {
    threads: Vec<JoinHandle<()>>,
}

impl Pollers {
    /// Starts `count` pollers that take polls from `polls` and answer on `answers`. `base_urls` are the
    /// monitors' APIs, in the order of the monitors: they stay, whatever else of a target changes.
    ///
    /// # Errors
    /// A text that says what is wrong with the trust, or that there is no thread to be had.
    pub fn start(
        count: usize,
        base_urls: &[String],
        trust: &Trust,
        polls: &Receiver<Ask>,
        answers: &Sender<Polled>,
    ) -> Result<Self, String> {
        const STACK_BYTES: usize = 256 * 1024;
        let names = NameCache::default();
        let mapping = Arc::new(Mapping::original());
        let mut threads = Vec::with_capacity(count);
        for number in 0..count {
            let agent = |url: &String| http::agent(TIMEOUTS, url, trust, &names);
            let mut poller = Poller {
                agents: base_urls.iter().map(agent).collect::<Result<_, _>>()?,
                names: names.clone(),
                mapping: mapping.clone(),
                body: Vec::new(),
            };
            let (polls, answers) = (polls.clone(), answers.clone());
            let thread = std::thread::Builder::new()
                .name(format!("poller-{number}"))
                .stack_size(STACK_BYTES)
                .spawn(move || {
                    for Ask { poll, target } in polls {
                        if answers.send(poller.poll(&poll, &target)).is_err() {
                            break;
                        }
                    }
                });
            threads.push(thread.map_err(|e| format!("cannot start poller {number}: {e}"))?);
        }
        Ok(Pollers { threads })
    }
}

impl Drop for Pollers {
    fn drop(&mut self) {
        for thread in self.threads.drain(..) {
            // A poller that panicked has said so on standard error.
            drop(thread.join());
        }
    }
}

struct Poller {
    /// One for each target.
    agents: Vec<Agent>,
    names: NameCache,
    mapping: Arc<Mapping>,
    /// Reused from poll to poll.
    body: Vec<u8>,
}

/// Redirects followed for one poll.
const REDIRECTS_MAX: usize = 5;
/// A body up to this size is read whole and parsed from memory, which is faster; a larger one is parsed as it comes.
const WHOLE_BODY_BYTES: usize = 64 * 1024;

impl Poller {
    fn poll(&mut self, poll: &Poll, target: &Target) -> Polled {
        let sent = clock::now();
        let (answer, date) = match self.ask(poll, target) {
            Ok((answer, date)) => (answer, date),
            Err(failure) => {
                if failure.reason == PollFailureReason::Connect {
                    self.names.forget();
                }
                (Answer::Failed(failure), None)
            }
        };
        Polled {
            slot: poll.slot,
            generation: poll.generation,
            sent,
            received: clock::now(),
            date,
            answer,
        }
    }

    fn ask(
        &mut self,
        poll: &Poll,
        target: &Target,
    ) -> Result<(Answer, Option<crate::core::time::Wall>), PollFailure> {
        let agent = &self.agents[poll.monitor as usize];
        let mut url = target.url(&poll.workflow_id);
        for _ in 0..=REDIRECTS_MAX {
            let mut request = agent.get(&url).header(header::ACCEPT, "application/json");
            if let Some(authorization) = &target.authorization {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let response = request.call().map_err(|e| failure_of(&e))?;
            if !is_redirect(response.status()) {
                let date = http::date(response.headers());
                return Ok((self.read(response, &poll.workflow_id)?, date));
            }
            let to = same_host_redirect(&url, response.headers());
            url = to.map_err(|why| failure(PollFailureReason::Redirect, &why))?;
        }
        let why = format!("more than {REDIRECTS_MAX} redirects");
        Err(failure(PollFailureReason::Redirect, &why))
    }

    fn read(
        &mut self,
        response: Response<ureq::Body>,
        workflow_id: &str,
    ) -> Result<Answer, PollFailure> {
        let status = response.status();
        let reason = match status.as_u16() {
            200..=299 => return self.read_body(response, workflow_id),
            404 => return Ok(Answer::NotFound),
            401 | 403 => PollFailureReason::Unauthorized,
            429 => PollFailureReason::TooManyRequests,
            500..=599 => PollFailureReason::ServerError,
            _ => PollFailureReason::Status,
        };
        let asks_for_peace = matches!(status.as_u16(), 429 | 503);
        let retry_after = http::retry_after(response.headers(), clock::now().wall);
        Err(PollFailure {
            retry_after: retry_after.filter(|_| asks_for_peace),
            ..failure(reason, &format!("HTTP {status}"))
        })
    }

    fn read_body(
        &mut self,
        response: Response<ureq::Body>,
        workflow_id: &str,
    ) -> Result<Answer, PollFailure> {
        let body = response.into_body().into_with_config();
        let mut body = body.limit(limits::BODY_BYTES_MAX).reader();
        self.body.clear();
        let whole = (&mut body).take(WHOLE_BODY_BYTES as u64 + 1);
        let read = { whole }.read_to_end(&mut self.body);
        read.map_err(|e| failure_of_io(&e))?;
        let part = if self.body.len() <= WHOLE_BODY_BYTES {
            self.mapping.read_slice(0, &self.body)
        } else {
            let rest = io::BufReader::with_capacity(WHOLE_BODY_BYTES, body);
            let begun = &self.body[..];
            let begun = begun
                .strip_prefix(mapping::BYTE_ORDER_MARK)
                .unwrap_or(begun);
            self.mapping.read_stream(0, begun.chain(rest))
        };
        match part.and_then(|part| self.mapping.reading(workflow_id, part)) {
            Ok(Reading { snapshot, oddity }) => Ok(Answer::Snapshot {
                snapshot: Box::new(snapshot),
                oddity,
            }),
            Err(Unreadable::Io(error)) => Err(failure_of_io(&error)),
            Err(Unreadable::Garbage(what)) => Err(failure(PollFailureReason::Garbage, &what)),
            Err(Unreadable::Shape(what)) => Err(failure(PollFailureReason::Shape, &what)),
        }
    }
}

fn failure(reason: PollFailureReason, detail: &str) -> PollFailure {
    PollFailure {
        reason,
        detail: cut(detail, limits::NAME_BYTES_MAX).into(),
        retry_after: None,
    }
}

fn failure_of(error: &ureq::Error) -> PollFailure {
    failure(http::reason_of(error), &error.to_string())
}

fn failure_of_io(error: &io::Error) -> PollFailure {
    failure(http::reason_of_io(error), &error.to_string())
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Where a redirect leads, if it stays on its host: the same host and port, or the same host's way from http to https.
fn same_host_redirect(from: &str, headers: &HeaderMap) -> Result<String, String> {
    let location = headers.get(header::LOCATION);
    let location = location.ok_or("a redirect without a Location")?;
    let location = location
        .to_str()
        .map_err(|_| "a Location that is no text")?;
    let location = location.split('#').next().unwrap_or_default();
    let base: Uri = from.parse().map_err(|_| "its own URL")?;
    let url =
        resolve(&base, location).ok_or_else(|| format!("a Location that is no URL: {location}"))?;
    let to: Uri = url
        .parse()
        .map_err(|_| format!("a Location that is no URL: {location}"))?;
    let port = |uri: &Uri| match (uri.port_u16(), uri.scheme_str()) {
        (Some(port), _) => port,
        (None, Some("https")) => 443,
        (None, _) => 80,
    };
    let host = |uri: &Uri| uri.host().unwrap_or_default().to_ascii_lowercase();
    let same = to.scheme() == base.scheme() && port(&to) == port(&base);
    let upgrade = (port(&base), port(&to)) == (80, 443) && to.scheme_str() == Some("https");
    if host(&to) == host(&base) && (same || upgrade) {
        Ok(url)
    } else {
        Err(format!("a redirect to another host: {}", host(&to)))
    }
}

/// RFC 3986 section 5.2, for the references that servers send.
fn resolve(base: &Uri, reference: &str) -> Option<String> {
    let scheme = base.scheme_str()?;
    let authority = base.authority()?;
    if reference.starts_with("http://") || reference.starts_with("https://") {
        return Some(reference.to_owned());
    }
    if reference.starts_with("//") {
        return Some(format!("{scheme}:{reference}"));
    }
    let path = match reference {
        "" => return None,
        _ if reference.starts_with('/') => reference.to_owned(),
        _ if reference.starts_with('?') => format!("{}{reference}", base.path()),
        _ => {
            let (directory, _) = base.path().rsplit_once('/')?;
            format!("{directory}/{reference}")
        }
    };
    Some(format!("{scheme}://{authority}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_segment_whatever_it_is() {
        let target = Target::new("http://api/v1/", None).unwrap();
        for (id, url) in [
            ("704c0b60-30b6", "http://api/v1/workflows/704c0b60-30b6"),
            ("../../x?y#z", "http://api/v1/workflows/..%2F..%2Fx%3Fy%23z"),
            (".", "http://api/v1/workflows/%2E"),
            ("..", "http://api/v1/workflows/%2E%2E"),
            ("...", "http://api/v1/workflows/..."),
            ("a b%2Fü\n", "http://api/v1/workflows/a%20b%252F%C3%BC%0A"),
        ] {
            assert_eq!(target.url(id), url);
        }
    }

    #[test]
    fn any_id_survives_its_url() {
        arbtest::arbtest(|u| {
            let id: &str = u.arbitrary()?;
            let url = Target::new("http://api", None).unwrap().url(id);
            let segment = url.strip_prefix("http://api/workflows/").unwrap();
            assert!(!segment.contains(['/', '?', '#', ' ']) && url.is_ascii());
            assert!(!matches!(segment, "." | ".."));
            let uri: Uri = url.parse().unwrap();
            assert_eq!(uri.path().rsplit_once('/').unwrap().1, segment);
            let mut bytes = Vec::new();
            let mut rest = segment.bytes();
            while let Some(byte) = rest.next() {
                bytes.push(match byte {
                    b'%' => {
                        let hex = [rest.next().unwrap(), rest.next().unwrap()];
                        u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap()
                    }
                    byte => byte,
                });
            }
            assert_eq!(bytes, id.as_bytes());
            Ok(())
        });
    }

    #[test]
    fn redirects_stay_on_their_host() {
        let followed = |from: &str, location: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::LOCATION, location.parse().unwrap());
            same_host_redirect(from, &headers)
        };
        let from = "http://api:8080/v1/workflows/7";
        for (location, to) in [
            ("/v2/workflows/7", "http://api:8080/v2/workflows/7"),
            ("8", "http://api:8080/v1/workflows/8"),
            ("?again=1", "http://api:8080/v1/workflows/7?again=1"),
            ("//API:8080/x#part", "http://API:8080/x"),
            ("http://api:8080/y", "http://api:8080/y"),
        ] {
            assert_eq!(followed(from, location).as_deref(), Ok(to), "{location}");
        }
        let upgraded = followed("http://api/x", "https://api/x");
        assert_eq!(upgraded.as_deref(), Ok("https://api/x"));
        for elsewhere in [
            "http://evil/x",
            "http://api:9090/x",
            "https://api:8080/x",
            "//evil/x",
            "http://api:8080@evil/x",
            "https://api/x",
            "ftp://api:8080/x",
            "",
        ] {
            let led = followed(from, elsewhere);
            // What is no absolute URL of ours is a path on the same host, which is harmless.
            assert!(
                led.as_ref()
                    .map_or(true, |url| url.starts_with("http://api:8080/")),
                "{elsewhere}: {led:?}"
            );
        }
        assert!(
            followed("https://api/x", "http://api/x").is_err(),
            "no way back to http"
        );
    }
}
