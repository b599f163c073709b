//! What every HTTP request of farspan has in common: the agent, its name cache, its trust, and the headers that say
//! when to come back.
//!
//! In scope: outgoing, blocking requests over ureq. Out of scope: what is asked for, and what an answer means.

use super::connection::{Connections, settings, through};
use super::names::Names;
use super::proxies::{Proxies, port_of};
#[cfg(feature = "tls")]
use super::tls::{self, SystemRoots};
use crate::core::PollFailureReason;
use crate::core::time::Wall;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::config::Config;
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// `User-Agent` of everything but exports.
pub const USER_AGENT: &str = concat!("farspan/", env!("CARGO_PKG_VERSION"));

/// How long a request may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// To look up the name and to connect.
    pub connect: Duration,
    /// From one byte to the next.
    pub read: Duration,
    /// For all of it.
    pub total: Duration,
}

/// Which certificate authorities TLS trusts, and which certificate it shows.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// PEM: the only certificate authorities to trust. `None`: those of the system, or Mozilla's if the system has none.
    pub authorities: Option<Vec<u8>>,
    /// PEM: the certificate chain to show, and its private key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// An agent for `url` and what else is on its host. It keeps its connections, follows no redirect, and takes every
/// status for an answer.
///
/// # Errors
/// A text that says what is wrong with the PEM in `trust`.
pub fn agent(
    timeouts: Timeouts,
    url: &str,
    trust: &Trust,
    network: &Network,
) -> Result<Agent, String> {
    if cfg!(not(feature = "tls")) && url.starts_with("https://") {
        return Err("https:// needs a farspan that was built with the feature 'tls'".into());
    }
    #[cfg(not(feature = "tls"))]
    let Trust { .. } = trust;
    let connections = Connections::new(
        network,
        timeouts,
        #[cfg(feature = "tls")]
        tls::Lazy::new(trust, &network.roots)?,
    );
    let config = settings(timeouts, None).build();
    Ok(Agent::with_parts(config, connections, NotYet))
}

/// Looks no name up: ureq asks for each request, and a connection that is open needs no address. [`Connections`] looks
/// the name up when it opens one.
#[derive(Debug)]
pub(super) struct NotYet;

impl Resolver for NotYet {
    fn resolve(
        &self,
        _: &Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}

/// How many addresses of a host are tried: ureq holds no more.
const ADDRESSES_MAX: usize = 16;

/// What all HTTP clients of farspan share: addresses, proxies, and the certificates that the system trusts. Clones share
/// it too.
#[derive(Clone, Debug)]
pub struct Network {
    names: Names,
    proxies: Arc<Proxies>,
    #[cfg(feature = "tls")]
    roots: SystemRoots,
}

impl Network {
    /// Starts the threads that look names up.
    ///
    /// # Errors
    /// A text that says that a thread cannot be started.
    pub fn start(proxies: Proxies) -> Result<Network, String> {
        let names = Names::start();
        let names = names.map_err(|e| format!("cannot start a thread that looks up names: {e}"))?;
        Ok(Network {
            names,
            proxies: proxies.into(),
            #[cfg(feature = "tls")]
            roots: SystemRoots::default(),
        })
    }

    /// Forgets every address: a connection has failed, and the host may have moved.
    pub fn forget_names(&self) {
        self.names.forget();
    }

    #[cfg(test)]
    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    pub(super) fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    #[cfg(feature = "tls")]
    pub(super) fn roots(&self) -> &SystemRoots {
        &self.roots
    }
}

impl Resolver for Network {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        // A proxy looks the target's name up itself.
        let proxy = self.proxies.proxy_for(uri);
        let proxy = proxy.filter(|proxy| !proxy.looks_up_here());
        let (uri, port) = match proxy {
            Some(proxy) => (proxy.uri(), proxy.port()),
            None => (uri, port_of(uri)),
        };
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let found = self.names.addresses(host, port, *timeout.after);
        let found = found.map_err(|error| match (error.kind(), proxy) {
            (io::ErrorKind::TimedOut, _) => ureq::Error::Timeout(timeout.reason),
            (_, Some(proxy)) => through(proxy, error.into()),
            (_, None) => error.into(),
        })?;
        let mut addresses = self.empty();
        // In the order that the system prefers.
        for address in found.into_iter().take(ADDRESSES_MAX) {
            addresses.push(address);
        }
        Ok(addresses)
    }
}

/// The header `Host` for this URL: with its port, unless that is the usual one.
/// <https://www.rfc-editor.org/rfc/rfc9110.html#name-host-and-authority>
pub fn host(url: &Uri) -> Option<HeaderValue> {
    let (host, port) = (url.host()?, url.port_u16());
    let usual = match url.scheme_str()? {
        "https" => 443,
        _ => 80,
    };
    match port.filter(|port| *port != usual) {
        Some(port) => HeaderValue::from_str(&format!("{host}:{port}")),
        None => HeaderValue::from_str(host),
    }
    .ok()
}

/// Why a request has no answer, for a person.
pub fn told(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => told_io(error),
        ureq::Error::Protocol(_) if speaks_no_http(error) => {
            "the server does not speak HTTP/1.1: does the URL \
             lack https://, or is this the port of another protocol, such as gRPC?"
                .to_owned()
        }
        ureq::Error::Protocol(error) => format!("not HTTP as it should be: {error}"),
        #[cfg(feature = "tls")]
        ureq::Error::Rustls(error) => told_tls(error),
        error => error.to_string(),
    }
}

/// Why a body could not be read to its end, for a person. ureq wraps its own errors in an I/O error.
pub fn told_io(error: &io::Error) -> String {
    if let Some(inner) = error.get_ref().and_then(|it| it.downcast_ref()) {
        return told(inner);
    }
    #[cfg(feature = "tls")]
    if let Some(inner) = error.get_ref().and_then(|it| it.downcast_ref()) {
        return told_tls(inner);
    }
    error.to_string()
}

#[cfg(feature = "tls")]
fn told_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidMessage(_) => {
            "the server does not speak TLS: is it one for http:// and not for https://?".to_owned()
        }
        error => error.to_string(),
    }
}

/// Whether the other side has answered with something that is not HTTP/1.1, such as a frame of HTTP/2.
pub fn speaks_no_http(error: &ureq::Error) -> bool {
    // The type is of a crate that ureq keeps to itself. These are the words of httparse.
    matches!(error, ureq::Error::Protocol(error) if error.to_string().contains("invalid HTTP version"))
}

/// The reason why a request failed.
pub fn reason_of(error: &ureq::Error) -> PollFailureReason {
    match error {
        ureq::Error::Timeout(_) => PollFailureReason::Timeout,
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => PollFailureReason::Connect,
        ureq::Error::ConnectProxyFailed(_) => PollFailureReason::Connect,
        ureq::Error::Io(error) => reason_of_io(error),
        #[cfg(feature = "tls")]
        ureq::Error::Rustls(rustls::Error::InvalidMessage(_)) => PollFailureReason::Protocol,
        #[cfg(feature = "tls")]
        ureq::Error::Rustls(_) | ureq::Error::Pem(_) => PollFailureReason::Tls,
        ureq::Error::Tls(_) | ureq::Error::TlsRequired => PollFailureReason::Tls,
        ureq::Error::BodyExceedsLimit(_) | ureq::Error::LargeResponseHeader(..) => {
            PollFailureReason::TooLarge
        }
        _ => PollFailureReason::Protocol,
    }
}

/// The reason why a body could not be read. ureq wraps its own errors in an I/O error.
pub fn reason_of_io(error: &io::Error) -> PollFailureReason {
    use io::ErrorKind;
    if let Some(inner) = error.get_ref().and_then(|e| e.downcast_ref()) {
        return reason_of(inner);
    }
    #[cfg(feature = "tls")]
    if let Some(rustls::Error::InvalidMessage(_)) = error.get_ref().and_then(|e| e.downcast_ref()) {
        return PollFailureReason::Protocol;
    }
    match error.kind() {
        ErrorKind::ConnectionRefused
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::AddrNotAvailable
        | ErrorKind::NotFound => PollFailureReason::Connect,
        ErrorKind::TimedOut | ErrorKind::WouldBlock => PollFailureReason::Timeout,
        // rustls speaks of a broken handshake in these words.
        ErrorKind::InvalidData => PollFailureReason::Tls,
        _ => PollFailureReason::Disconnected,
    }
}

/// For how long an answer asks to send no more requests. `now` is ours; a date is compared with the answer's own.
/// <https://www.rfc-editor.org/rfc/rfc9110.html#name-retry-after>
pub fn retry_after(headers: &HeaderMap, now: Wall) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let clock = date(headers).unwrap_or(now);
    parse_date(text).map(|at| at.since(clock))
}

/// How long to pause a host whose budget of requests is spent: `X-RateLimit-Remaining: 0` and the like, with the
/// time of the next budget. GitHub and GitLab write seconds since 1970, the IETF's draft and others seconds from now.
/// <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>,
/// <https://docs.gitlab.com/administration/settings/user_and_ip_rate_limits/#response-headers>
pub fn rate_limit(headers: &HeaderMap, now: Wall) -> Option<Duration> {
    /// The names of what is left and of when there is more again.
    const FAMILIES: [(HeaderName, HeaderName); 3] = [
        (
            HeaderName::from_static("x-ratelimit-remaining"),
            HeaderName::from_static("x-ratelimit-reset"),
        ),
        (
            HeaderName::from_static("ratelimit-remaining"),
            HeaderName::from_static("ratelimit-reset"),
        ),
        (
            HeaderName::from_static("x-rate-limit-remaining"),
            HeaderName::from_static("x-rate-limit-reset"),
        ),
    ];
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    FAMILIES.iter().find_map(|(remaining, reset)| {
        let is_spent = text(remaining)?.parse::<u64>().ok()? == 0;
        let reset = text(reset).filter(|_| is_spent)?;
        until(reset, date(headers).unwrap_or(now))
    })
}

/// The time until a budget's reset: a date, seconds from now, or a time since 1970, whose unit is the one that brings it
/// nearest to now.
fn until(reset: &str, clock: Wall) -> Option<Duration> {
    /// In seconds since 1970, later than this is a time, and not a number of seconds from now.
    const A_TIME: u64 = 1_000_000_000;
    const SECOND_NS: u64 = 1_000_000_000;
    const YEAR_NS: i128 = 366 * 24 * 3600 * SECOND_NS as i128;
    let Ok(number) = reset.parse::<u64>() else {
        let at = parse_date(reset).or_else(|| Wall::parse_rfc3339(reset))?;
        return Some(at.since(clock));
    };
    if number < A_TIME {
        return Some(Duration::from_secs(number));
    }
    let units_ns = [SECOND_NS, 1_000_000, 1_000, 1];
    let away_ns = units_ns.map(|unit_ns| {
        // The time is cut to its unit, and the clock to its second.
        let at = (i128::from(number) + 1) * i128::from(unit_ns);
        at - i128::from(clock.as_unix_ns())
    });
    let nearest = away_ns.into_iter().min_by_key(|away| away.abs())?;
    if nearest.abs() > YEAR_NS {
        return None;
    }
    Some(Duration::from_nanos(u64::try_from(nearest).unwrap_or(0)))
}

/// The answer's `Date`.
/// <https://www.rfc-editor.org/rfc/rfc9110.html#name-date>
pub fn date(headers: &HeaderMap) -> Option<Wall> {
    parse_date(headers.get(header::DATE)?.to_str().ok()?)
}

/// `Fri, 20 Nov 2026 09:56:02 GMT`; the two forms that RFC 9110 calls obsolete are not read.
fn parse_date(text: &str) -> Option<Wall> {
    let timestamp = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let ns = i64::try_from(timestamp.as_nanosecond()).ok()?;
    Some(Wall::from_unix_ns(ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::bounded;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    fn asked(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, value.parse().unwrap());
        let now = Wall::parse_rfc3339("2026-11-20T09:56:00.5Z").unwrap();
        retry_after(&headers, now)
    }

    #[test]
    fn a_host_has_its_port_unless_that_is_the_usual_one() {
        for (url, expected) in [
            ("http://a.test/x", "a.test"),
            ("http://a.test:80/x", "a.test"),
            ("http://a.test:443/x", "a.test:443"),
            ("https://me:pw@a.test:443", "a.test"),
            ("https://[::1]:8443/x?y", "[::1]:8443"),
        ] {
            assert_eq!(host(&url.parse().unwrap()).unwrap(), expected, "{url}");
        }
        assert_eq!(host(&"/x".parse().unwrap()), None);
    }

    #[test]
    fn retry_after_in_both_forms() {
        assert_eq!(asked("120"), Some(Duration::from_secs(120)));
        assert_eq!(asked(" 0 "), Some(Duration::ZERO));
        let date = asked("Fri, 20 Nov 2026 09:56:02 GMT");
        assert_eq!(date, Some(Duration::from_millis(1500)));
        let past = asked("Fri, 20 Nov 2020 09:56:02 GMT");
        assert_eq!(past, Some(Duration::ZERO));
        for nonsense in [
            "",
            "soon",
            "-1",
            "1.5",
            "99999999999999999999999",
            "2026-11-20",
        ] {
            assert_eq!(asked(nonsense), None, "{nonsense}");
        }
    }

    /// Each as the reset of a spent budget, without a `Date` and with one that is ten minutes behind our clock.
    #[test]
    fn a_reset_has_the_unit_that_brings_it_nearest_to_the_apis_clock() {
        let now = Wall::parse_rfc3339("2026-11-20T10:06:00Z").unwrap();
        let pause = |reset: &str, with_date: bool| {
            let mut headers = HeaderMap::new();
            headers.insert("x-ratelimit-remaining", "0".parse().unwrap());
            headers.insert("x-ratelimit-reset", reset.parse().unwrap());
            if with_date {
                let date = "Fri, 20 Nov 2026 09:56:00 GMT";
                headers.insert(header::DATE, date.parse().unwrap());
            }
            rate_limit(&headers, now).map(|pause| pause.as_secs())
        };
        let at = now.as_unix_ns() / 1_000_000_000 + 90;
        for (reset, ours, theirs) in [
            (at.to_string(), Some(91), Some(691)),
            (format!("{at}000"), Some(90), Some(690)),
            (format!("{at}000000"), Some(90), Some(690)),
            (format!("{at}000000000"), Some(90), Some(690)),
            (
                "Fri, 20 Nov 2026 10:07:30 GMT".to_owned(),
                Some(90),
                Some(690),
            ),
            ("2026-11-20T10:07:30Z".to_owned(), Some(90), Some(690)),
            ((at - 1000).to_string(), Some(0), Some(0)),
            ("30".to_owned(), Some(30), Some(30)),
            ("0".to_owned(), Some(0), Some(0)),
            (u64::MAX.to_string(), None, None),
            ("9999999999".to_owned(), None, None),
            ("-1".to_owned(), None, None),
            ("soon".to_owned(), None, None),
        ] {
            assert_eq!(pause(&reset, false), ours, "{reset}");
            assert_eq!(pause(&reset, true), theirs, "{reset}, by the API's clock");
        }
    }

    #[test]
    fn a_budget_that_is_spent_says_until_when() {
        let now = Wall::parse_rfc3339("2026-11-20T09:56:00.5Z").unwrap();
        let pause = |pairs: &[(&'static str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| {
                let name = HeaderName::from_static(name);
                (name, value.parse().unwrap())
            });
            rate_limit(&pairs.collect(), now).map(|pause| pause.as_secs())
        };
        let at = (now.as_unix_ns() / 1_000_000_000 + 90).to_string();
        let github = |remaining| {
            [
                ("x-ratelimit-remaining", remaining),
                ("x-ratelimit-reset", &*at),
            ]
        };
        assert_eq!(pause(&github("0")), Some(90));
        assert_eq!(pause(&github("1")), None);
        assert_eq!(
            pause(&[("ratelimit-remaining", "0"), ("ratelimit-reset", "30")]),
            Some(30)
        );
        assert_eq!(
            pause(&[("x-rate-limit-remaining", "0"), ("x-rate-limit-reset", "1")]),
            Some(1)
        );
        assert_eq!(pause(&[("ratelimit-remaining", "0")]), None);
        assert_eq!(
            pause(&[("ratelimit-remaining", "-1"), ("ratelimit-reset", "x")]),
            None
        );
    }

    #[test]
    fn a_request_on_an_open_connection_looks_no_name_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            answer(&mut stream, "first");
            answer(&mut stream, "second");
        });
        let seconds = Duration::from_secs(10);
        let timeouts = Timeouts {
            connect: seconds,
            read: seconds,
            total: seconds,
        };
        let network = Network::start(Proxies::default()).unwrap();
        let agent = agent(timeouts, &url, &Trust::default(), &network).unwrap();
        let ask = || agent.get(&url).call().unwrap().body_mut().read_to_string();
        assert_eq!(ask().unwrap(), "first");
        assert_eq!(network.names().count(), 1);
        network.forget_names();
        assert_eq!(ask().unwrap(), "second");
        assert_eq!(network.names().count(), 0);
        serving.join().unwrap();
    }

    /// An upstream that answers twice: the second answer comes when the first one has been read.
    #[test]
    fn an_answer_that_nothing_asked_for_is_not_taken_for_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (is_read, read) = bounded::<()>(0);
        let (is_sent, sent) = bounded::<()>(0);
        let serving = std::thread::spawn(move || {
            let (mut first, _) = listener.accept().unwrap();
            answer(&mut first, "first");
            read.recv().unwrap();
            first.write_all(&whole("stray")).unwrap();
            is_sent.send(()).unwrap();
            let (mut second, _) = listener.accept().unwrap();
            answer(&mut second, "second");
        });
        let seconds = Duration::from_secs(10);
        let timeouts = Timeouts {
            connect: seconds,
            read: seconds,
            total: seconds,
        };
        let agent = agent(
            timeouts,
            &url,
            &Trust::default(),
            &Network::start(Proxies::default()).unwrap(),
        )
        .unwrap();
        let ask = || agent.get(&url).call().unwrap().body_mut().read_to_string();
        assert_eq!(ask().unwrap(), "first");
        is_read.send(()).unwrap();
        sent.recv().unwrap();
        assert_eq!(ask().unwrap(), "second");
        serving.join().unwrap();
    }

    /// Reads a request and answers it.
    fn answer(stream: &mut TcpStream, body: &str) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        stream.write_all(&whole(body)).unwrap();
    }

    fn whole(body: &str) -> Vec<u8> {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    #[test]
    fn a_head_that_is_too_long_is_said_to_be() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nX-Long: {}", "x".repeat(17 * 1024));
            // The client may have gone.
            let _ = stream.write_all(head.as_bytes());
        });
        let seconds = Duration::from_secs(10);
        let timeouts = Timeouts {
            connect: seconds,
            read: seconds,
            total: seconds,
        };
        let network = Network::start(Proxies::default()).unwrap();
        let agent = agent(timeouts, &url, &Trust::default(), &network).unwrap();
        let error = agent.get(&url).call().unwrap_err();
        assert_eq!(reason_of(&error), PollFailureReason::TooLarge, "{error}");
        serving.join().unwrap();
    }

    #[test]
    fn any_header_is_read_or_refused() {
        arbtest::arbtest(|u| {
            let mut text = *b"Fri, 20 Nov 2026 09:56:02 GMT";
            for _ in 0..u.int_in_range(0..=4)? {
                let at = u.choose_index(text.len())?;
                text[at] = u.int_in_range(0x20..=0x7e)?;
            }
            asked(std::str::from_utf8(&text).unwrap());
            Ok(())
        });
    }
}
