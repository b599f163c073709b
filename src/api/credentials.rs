//! Credentials for an API: the header of each request, and the secret or the token in it.
//!
//! A secret in a file is read again when the file has changed. A token is requested by one thread at a time: before the
//! old one expires, and when the API refuses the old one.

use super::exchange::{Words, words_without};
use crate::core::limits;
use crate::core::limits::cut;
use crate::core::poll_failure::{PollFailure, PollFailureReason};
use crate::core::time::Mono;
use crate::http::client::{self, Network, Timeouts, Trust};
use crate::mapping::template::each_text;
use crate::os::clock;
use crate::os::files;
use crate::os::redaction::hide;
use crate::os::threads::lock;
use crate::syntax::mend::value_of;
use crate::syntax::pointer::Pointer;
use crate::syntax::text::segment;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use ureq::Agent;
use ureq::http::{HeaderName, HeaderValue, StatusCode, header};

/// A text that no log and no error may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps it.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself, for the one who sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

/// How farspan authenticates to an API.
#[derive(Clone, Debug, PartialEq)]
pub enum Auth {
    /// No credentials are sent.
    None,
    /// `Authorization: Bearer`, RFC 6750.
    Bearer(SecretSource),
    /// `Authorization: Basic`, RFC 7617.
    Basic {
        /// Without a colon.
        username: String,
        /// Its password.
        password: SecretSource,
    },
    /// A header of its own.
    Header {
        /// A header's name.
        name: String,
        /// Fit for a header.
        value: SecretSource,
    },
    /// Client credentials, RFC 6749 section 4.4.
    OAuth2 {
        /// The token endpoint.
        token_url: String,
        /// The client's id.
        client_id: String,
        /// Its secret.
        client_secret: SecretSource,
        /// The scopes, separated by spaces.
        scope: Option<String>,
    },
    /// A request whose answer holds a bearer token.
    Login {
        /// The whole URL.
        url: String,
        /// What to send: JSON.
        body: SecretSource,
        /// Where the answer has the token.
        token: Pointer,
        /// Where the answer has its lifetime in seconds.
        expires_in: Option<Pointer>,
        /// Its lifetime, where the answer does not say.
        lifetime: Duration,
    },
}

impl Auth {
    /// The URL of the token endpoint, if there is one.
    fn token_url(&self) -> Option<&str> {
        match self {
            Auth::OAuth2 { token_url: url, .. } | Auth::Login { url, .. } => Some(url),
            _ => None,
        }
    }
}

/// A secret that is given, or one in a file that is read again when it has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// This one.
    Given(Secret),
    /// The one in this file, without the white space around it, and what that was when the configuration was read.
    File(PathBuf, Secret),
}

/// How long a token request may take: less than [`PATIENCE`].
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(3),
    read: Duration::from_secs(4),
    total: Duration::from_secs(4),
};
/// For so long a poll waits for a token that another poll has asked for.
const PATIENCE: Duration = Duration::from_secs(5);
/// After a failure no thread asks for a token for so long.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// A file is looked at so often at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The lifetime of a token whose answer names none, which RFC 6749 section 5.1 allows.
const LIFETIME: Duration = Duration::from_secs(3600);
/// The answer to a token request: at most so long.
const BYTES_MAX: u64 = 64 * 1024;

/// The credentials of one monitor. All its pollers share them, so that one token serves all.
pub struct Credentials {
    auth: Auth,
    /// For token requests.
    agent: Option<Agent>,
    held: Mutex<Held>,
    /// Notified when a request for a token has ended.
    asked: Condvar,
}

/// Shows no secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("auth", &self.auth)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Held {
    header: Option<(HeaderName, HeaderValue)>,
    /// When a new token is requested.
    stale_at: Option<Mono>,
    /// When the token expires.
    expires_at: Option<Mono>,
    being_asked: bool,
    /// The last time that it could not be had, and why.
    failed: Option<(Mono, PollFailure)>,
    file: Option<FileVersion>,
}

/// What a file was like when it was looked at.
struct FileVersion {
    at: Mono,
    modified: Option<SystemTime>,
    bytes: u64,
    is_file: bool,
}

impl Credentials {
    /// `trust` and `names` are for token requests.
    ///
    /// # Errors
    /// A text that says what is wrong with the trust.
    pub fn new(auth: Auth, trust: &Trust, network: &Network) -> Result<Self, String> {
        let agent = match auth.token_url() {
            Some(url) => Some(client::agent(TIMEOUTS, url, trust, network)?),
            None => None,
        };
        Ok(Credentials {
            auth,
            agent,
            held: Mutex::default(),
            asked: Condvar::new(),
        })
    }

    /// The header of a request, if there is one.
    ///
    /// # Errors
    /// Why there is no secret or token now.
    pub fn header(&self) -> Result<Option<(HeaderName, HeaderValue)>, PollFailure> {
        match &self.auth {
            Auth::None => Ok(None),
            Auth::Bearer(secret) => {
                let bearer = |text: &str| value(&format!("Bearer {text}"));
                self.of_secret(secret, header::AUTHORIZATION, bearer)
            }
            Auth::Basic { username, password } => {
                let basic = |text: &str| {
                    let pair = STANDARD.encode(format!("{username}:{text}"));
                    value(&format!("Basic {pair}"))
                };
                self.of_secret(password, header::AUTHORIZATION, basic)
            }
            Auth::Header {
                name,
                value: secret,
            } => match HeaderName::try_from(name) {
                Ok(name) => self.of_secret(secret, name, value),
                Err(_) => Err(failure("the header's name is none")),
            },
            Auth::OAuth2 { .. } | Auth::Login { .. } => self.token(),
        }
    }

    /// The API refused a request with this header. Returns whether another header can be had at once.
    pub fn refused(&self, used: Option<&(HeaderName, HeaderValue)>) -> bool {
        let mut held = self.lock();
        match &self.auth {
            Auth::OAuth2 { .. } | Auth::Login { .. } => {
                // Another thread may have a new one already.
                if held.header.as_ref() == used {
                    held.header = None;
                }
                true
            }
            Auth::None => false,
            _ => {
                held.file = None;
                drop(held);
                self.header().is_ok_and(|now| now.as_ref() != used)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        lock(&self.held)
    }

    fn of_secret(
        &self,
        secret: &SecretSource,
        name: HeaderName,
        value: impl Fn(&str) -> Option<HeaderValue>,
    ) -> Result<Option<(HeaderName, HeaderValue)>, PollFailure> {
        let now = clock::now().mono;
        let mut held = self.lock();
        let looked = held.file.as_ref().map(|look| look.at);
        let is_fresh = match secret {
            SecretSource::Given(_) => true,
            SecretSource::File(..) => looked.is_some_and(|at| now.since(at) < LOOK_EVERY),
        };
        if is_fresh && held.header.is_some() {
            return Ok(held.header.clone());
        }
        let value = match secret {
            SecretSource::Given(secret) => value(secret.expose()),
            SecretSource::File(path, at_first) => {
                let look = look(path, now);
                let is_file = look.is_file;
                let same = held.file.as_ref().is_some_and(|before| {
                    before.modified == look.modified && before.bytes == look.bytes
                });
                held.file = Some(look);
                if same && held.header.is_some() {
                    return Ok(held.header.clone());
                }
                // A pipe may never say anything, and what it said once it does not say again.
                let read = is_file.then(|| files::read_secret(path).ok()).flatten();
                // The file is being replaced, or is gone: the secret that was in it may still be valid.
                let known = held.header.as_ref().map(|(_, value)| value.clone());
                let read = read.and_then(|text| value(&text));
                read.or(known).or_else(|| value(at_first.expose()))
            }
        };
        let value = value.ok_or_else(|| failure("the secret cannot stand in a header"))?;
        held.header = Some((name, value));
        Ok(held.header.clone())
    }

    /// A token that was asked for.
    fn token(&self) -> Result<Option<(HeaderName, HeaderValue)>, PollFailure> {
        let begun = clock::now().mono;
        let mut held = self.lock();
        loop {
            let now = clock::now().mono;
            let valid = held.expires_at.is_none_or(|at| now < at);
            let known = held.header.clone().filter(|_| valid);
            let stale = held.stale_at.is_some_and(|at| now >= at);
            let failed = held.failed.clone();
            let failed = failed.filter(|(at, _)| now.since(*at) < AGAIN_AFTER);
            match (known, failed) {
                (Some(known), _) if !stale || held.being_asked => return Ok(Some(known)),
                (Some(known), Some(_)) => return Ok(Some(known)),
                (None, Some((_, why))) => return Err(why),
                _ if !held.being_asked => break,
                _ => {}
            }
            let Some(left) = PATIENCE.checked_sub(now.since(begun)) else {
                return Err(failure("no token came in time"));
            };
            let waited = self.asked.wait_timeout(held, left);
            held = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        held.being_asked = true;
        drop(held);
        let asked = self.ask();
        let now = clock::now().mono;
        let mut held = self.lock();
        held.being_asked = false;
        let answer = match asked {
            Ok((token, lifetime)) => {
                held.failed = None;
                // A tenth of its lifetime before it expires, and early enough for a poll that is under way.
                held.stale_at = Some(
                    now + lifetime
                        .mul_f64(0.9)
                        .min(lifetime.saturating_sub(TIMEOUTS.total)),
                );
                held.expires_at = Some(now + lifetime);
                held.header = Some((header::AUTHORIZATION, token));
                Ok(held.header.clone())
            }
            Err(why) => {
                held.failed = Some((now, why.clone()));
                let valid = held.expires_at.is_some_and(|at| now < at);
                match held.header.clone().filter(|_| valid) {
                    Some(known) => Ok(Some(known)),
                    None => Err(why),
                }
            }
        };
        self.asked.notify_all();
        answer
    }

    /// Asks for a token. Returns its header value and its lifetime.
    fn ask(&self) -> Result<(HeaderValue, Duration), PollFailure> {
        let Some(agent) = &self.agent else {
            return Err(failure("no token endpoint is configured"));
        };
        let asked = TokenRequest::of(&self.auth)?;
        let request = agent.post(asked.url).content_type(asked.content_type);
        let mut request = request.header(header::ACCEPT, "application/json");
        if let Some(authorization) = asked.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let response = request.send(asked.body).map_err(|e| PollFailure {
            reason: client::reason_of(&e),
            ..failure(&client::told(&e))
        })?;
        let status = response.status();
        let mut answer = Vec::new();
        let reader = response.into_body().into_reader();
        let read = reader.take(BYTES_MAX).read_to_end(&mut answer);
        if !status.is_success() {
            return Err(failure_of_status(status, &answer, &asked.secrets));
        }
        read.map_err(|e| PollFailure {
            reason: client::reason_of_io(&e),
            ..failure(&client::told_io(&e))
        })?;
        // serde_json's text could quote the answer.
        let answer = value_of(&answer).map_err(|_| failure("the answer is not JSON"))?;
        let at = asked.token;
        let found = answer.pointer(&at).and_then(|token| token.as_str());
        let found = found.ok_or_else(|| failure(&format!("the answer has no token at {at}")))?;
        hide(found);
        let token = value(&format!("Bearer {found}"));
        let token = token.ok_or_else(|| failure("the token cannot stand in a header"))?;
        let seconds = asked.expires_in;
        let seconds = seconds.and_then(|at| answer.pointer(&at)?.as_f64());
        let seconds = seconds.filter(|seconds| (1.0..1e9).contains(seconds));
        let lifetime = seconds.map_or(asked.lifetime, Duration::from_secs_f64);
        Ok((token, lifetime))
    }
}

/// A request for a token, and where its answer has the token.
struct TokenRequest<'a> {
    url: &'a str,
    authorization: Option<HeaderValue>,
    content_type: &'static str,
    body: String,
    /// What no refusal may show.
    secrets: Vec<String>,
    token: String,
    /// Where the answer has the lifetime.
    expires_in: Option<String>,
    /// Where the answer names no lifetime.
    lifetime: Duration,
}

impl<'a> TokenRequest<'a> {
    fn of(auth: &'a Auth) -> Result<Self, PollFailure> {
        match auth {
            Auth::OAuth2 {
                token_url,
                client_id,
                client_secret,
                scope,
            } => {
                let secret = text_of(client_secret)?;
                // RFC 6749 section 2.3.1: encoded as in a form before it is encoded as base64.
                let pair = format!("{}:{}", segment(client_id), segment(&secret));
                let basic = value(&format!("Basic {}", STANDARD.encode(pair)));
                let basic = basic.ok_or_else(|| failure("the client's secret"))?;
                let mut body = "grant_type=client_credentials".to_owned();
                if let Some(scope) = scope {
                    body.push_str("&scope=");
                    body.push_str(&segment(scope));
                }
                Ok(TokenRequest {
                    url: token_url,
                    authorization: Some(basic),
                    content_type: "application/x-www-form-urlencoded",
                    body,
                    secrets: vec![secret],
                    token: "/access_token".to_owned(),
                    expires_in: Some("/expires_in".to_owned()),
                    lifetime: LIFETIME,
                })
            }
            Auth::Login {
                url,
                body,
                token,
                expires_in,
                lifetime,
            } => {
                let body = text_of(body)?;
                Ok(TokenRequest {
                    url,
                    authorization: None,
                    content_type: "application/json",
                    secrets: texts_in(&body),
                    body,
                    token: token.to_string(),
                    expires_in: expires_in.as_ref().map(Pointer::to_string),
                    lifetime: *lifetime,
                })
            }
            _ => Err(failure("nothing to ask for")),
        }
    }
}

fn failure(what: &str) -> PollFailure {
    let detail = format!("no token to show the API: {what}");
    PollFailure {
        reason: PollFailureReason::Unauthorized,
        detail: cut(&detail, limits::NAME_BYTES_MAX).into(),
        retry_after: None,
    }
}

fn failure_of_status(status: StatusCode, body: &[u8], secrets: &[String]) -> PollFailure {
    let reason = match status.as_u16() {
        429 => PollFailureReason::TooManyRequests,
        500.. => PollFailureReason::ServerError,
        _ => PollFailureReason::Unauthorized,
    };
    let words = Words(words_without(body, secrets.iter().map(String::as_str)));
    PollFailure {
        reason,
        ..failure(&format!("HTTP {status} to the request for one{words}"))
    }
}

/// The texts in a JSON document, any of which may be a secret.
fn texts_in(body: &str) -> Vec<String> {
    let mut texts = Vec::new();
    if let Ok(json) = serde_json::from_str(body) {
        each_text(&json, &mut |text| texts.push(text.to_owned()));
    }
    texts
}

fn value(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn text_of(secret: &SecretSource) -> Result<String, PollFailure> {
    match secret {
        SecretSource::Given(secret) => Ok(secret.expose().to_owned()),
        SecretSource::File(path, _) => read_secret(path),
    }
}

fn look(path: &Path, at: Mono) -> FileVersion {
    let metadata = fs::metadata(path).ok();
    FileVersion {
        at,
        modified: metadata.as_ref().and_then(|m| m.modified().ok()),
        is_file: metadata.as_ref().is_some_and(fs::Metadata::is_file),
        bytes: metadata.map_or(0, |m| m.len()),
    }
}

fn read_secret(path: &Path) -> Result<String, PollFailure> {
    let secret = files::read_secret(path);
    let secret = secret.map_err(|why| failure(&format!("'{}' {why}", path.display())))?;
    hide(&secret);
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::proxies::Proxies;

    fn credentials(auth: Auth) -> Credentials {
        Credentials::new(
            auth,
            &Trust::default(),
            &Network::start(Proxies::default()).unwrap(),
        )
        .unwrap()
    }

    fn shown(credentials: &Credentials) -> String {
        match credentials.header() {
            Ok(Some((name, value))) => format!("{name}: {}", value.to_str().unwrap()),
            Ok(None) => "none".to_owned(),
            Err(failure) => failure.detail.into(),
        }
    }

    fn given(text: &str) -> SecretSource {
        SecretSource::Given(Secret::new(text))
    }

    #[test]
    fn each_way_has_its_header() {
        assert_eq!(shown(&credentials(Auth::None)), "none");
        let bearer = credentials(Auth::Bearer(given("t0k")));
        assert_eq!(shown(&bearer), "authorization: Bearer t0k");
        let basic = credentials(Auth::Basic {
            username: "Aladdin".into(),
            password: given("open sesame"),
        });
        // RFC 7617 section 2.
        assert_eq!(
            shown(&basic),
            "authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
        let header = credentials(Auth::Header {
            name: "private-token".into(),
            value: given("x"),
        });
        assert_eq!(shown(&header), "private-token: x");
        assert!(!header.refused(header.header().unwrap().as_ref()));
        let text = format!("{bearer:?} {basic:?} {header:?}");
        assert!(!text.contains("t0k") && !text.contains("sesame"), "{text}");
    }

    #[test]
    fn a_file_that_has_changed_is_read_again_when_its_secret_is_refused() {
        let path = std::env::temp_dir().join(format!("farspan-secret-{}", std::process::id()));
        fs::write(&path, " one\n").unwrap();
        let source = SecretSource::File(path.clone(), Secret::new("at first"));
        let bearer = credentials(Auth::Bearer(source.clone()));
        assert_eq!(shown(&bearer), "authorization: Bearer one");
        let used = bearer.header().unwrap();
        assert!(!bearer.refused(used.as_ref()), "there is no other");
        fs::write(&path, "two, longer").unwrap();
        assert!(bearer.refused(used.as_ref()));
        assert_eq!(shown(&bearer), "authorization: Bearer two, longer");
        for no_secret in ["", "th\nree"] {
            fs::write(&path, no_secret).unwrap();
            assert!(!bearer.refused(bearer.header().unwrap().as_ref()));
            assert_eq!(
                shown(&bearer),
                "authorization: Bearer two, longer",
                "the last that was good"
            );
            let later = credentials(Auth::Bearer(source.clone()));
            assert_eq!(shown(&later), "authorization: Bearer at first");
        }
        fs::remove_file(&path).unwrap();
        let gone = credentials(Auth::Bearer(source));
        assert_eq!(shown(&gone), "authorization: Bearer at first");
        let never_any = SecretSource::File(path, Secret::new("o\nne"));
        let never_any = credentials(Auth::Bearer(never_any));
        assert!(shown(&never_any).starts_with("no token to show the API: "));
    }
}
