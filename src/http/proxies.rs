//! Proxies: what `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy` say, as curl reads them.
//!
//! Pure: the configuration reads the variables.

use std::fmt;
use std::net::IpAddr;
use ureq::http::Uri;

/// The proxies for each scheme, and the hosts that are asked without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http://`.
    pub http: Option<Proxy>,
    /// For `https://`.
    pub https: Option<Proxy>,
    /// The hosts that are asked without a proxy.
    pub except: Exceptions,
}

/// A proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    settings: ureq::Proxy,
}

/// The hosts that are asked without a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exceptions(Vec<Exception>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Exception {
    hosts: HostPattern,
    /// `None`: every port.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    All,
    /// A domain and every name below it, in lower case.
    Domain(String),
    /// An address, and how many of its first bits count.
    Network(IpAddr, u32),
}

impl Proxies {
    /// The proxy for a request to `uri`. None for this host, whose loopback is not the proxy's; Go's clients have the
    /// same rule (<https://pkg.go.dev/net/http#ProxyFromEnvironment>). None for the proxies themselves.
    pub(super) fn proxy_for(&self, uri: &Uri) -> Option<&Proxy> {
        let proxy = match uri.scheme_str() {
            Some("http") => self.http.as_ref(),
            Some("https") => self.https.as_ref(),
            _ => None,
        }?;
        let host = bare_host(uri.host()?);
        let mut proxies = [&self.http, &self.https].into_iter().flatten();
        let is_direct = is_on_this_host(&host)
            || self.except.has(&host, port_of(uri))
            || proxies.any(|proxy| proxy.is_at(uri));
        (!is_direct).then_some(proxy)
    }
}

impl Proxy {
    /// A URL, or `host:port` of an HTTP proxy.
    ///
    /// # Errors
    /// A text that says what is wrong, without the URL's secrets.
    pub fn parse(text: &str) -> Result<Proxy, String> {
        const SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];
        let url = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let uri: Uri = url.parse().map_err(|_| "is not a URL")?;
        let scheme = uri.scheme_str().unwrap_or_default().to_ascii_lowercase();
        if !SCHEMES.contains(&&*scheme) {
            return Err(format!(
                "has the scheme {scheme}; farspan knows {}",
                SCHEMES.join(", ")
            ));
        }
        if scheme == "https" && cfg!(not(feature = "tls")) {
            return Err("needs a farspan that was built with the feature 'tls'".into());
        }
        let authority = uri.authority().ok_or("has no host")?;
        if authority.host().is_empty() {
            return Err("has no host".into());
        }
        let (_, place) = authority
            .as_str()
            .rsplit_once('@')
            .unwrap_or(("", authority.as_str()));
        if place != authority.host() && authority.port_u16().is_none_or(|port| port == 0) {
            return Err("has a port that is not a number from 1 to 65535".into());
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err("has a path".into());
        }
        let settings = ureq::Proxy::new(&url).map_err(|_| "has credentials that are not UTF-8")?;
        Ok(Proxy { settings })
    }

    /// As ureq's connectors take it.
    pub(super) fn settings(&self) -> &ureq::Proxy {
        &self.settings
    }

    pub(super) fn uri(&self) -> &Uri {
        self.settings.uri()
    }

    pub(super) fn port(&self) -> u16 {
        self.settings.port()
    }

    /// Whether it takes whole requests for `http://`, as an HTTP proxy does, instead of a tunnel.
    pub(super) fn is_http(&self) -> bool {
        use ureq::ProxyProtocol::{Http, Https};
        matches!(self.settings.protocol(), Http | Https)
    }

    /// Whether farspan looks the target's name up, and not the proxy.
    pub(super) fn looks_up_here(&self) -> bool {
        self.settings.resolve_target()
    }

    /// The name and the password for it, if there are any.
    pub(super) fn credentials(&self) -> Option<(&str, &str)> {
        let (name, password) = (self.settings.username(), self.settings.password());
        (name.is_some() || password.is_some())
            .then(|| (name.unwrap_or_default(), password.unwrap_or_default()))
    }

    fn is_at(&self, uri: &Uri) -> bool {
        let own = self.uri();
        let host = |uri: &Uri| uri.host().map(bare_host);
        own.scheme() == uri.scheme() && host(own) == host(uri) && self.port() == port_of(uri)
    }
}

/// Without its credentials.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.uri().scheme_str().unwrap_or_default();
        write!(f, "{scheme}://{}:{}", self.settings.host(), self.port())
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl Exceptions {
    /// Entries between commas or spaces: `*`, a domain with all names below it, an address, a network (`10.0.0.0/8`);
    /// all but the first and the last with a port if only that port is meant.
    ///
    /// # Errors
    /// A text that names the entry that is none of these.
    pub fn parse(text: &str) -> Result<Exceptions, String> {
        let entries = text.split([',', ' ', '\t']);
        let entries = entries.filter(|entry| !entry.is_empty());
        let exceptions = entries.map(|entry| {
            exception(entry).ok_or_else(|| {
                format!(
                    "has the entry {entry:?}, which is neither a domain, an address, a network as 10.0.0.0/8, nor *"
                )
            })
        });
        exceptions.collect::<Result<_, _>>().map(Exceptions)
    }

    fn has(&self, host: &str, port: u16) -> bool {
        let address: Option<IpAddr> = host.parse().ok();
        self.0.iter().any(|exception| {
            let is_host = match &exception.hosts {
                HostPattern::All => true,
                HostPattern::Domain(domain) => host
                    .strip_suffix(domain.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
                HostPattern::Network(network, bits) => {
                    address.is_some_and(|address| is_within(address, *network, *bits))
                }
            };
            is_host && exception.port.is_none_or(|wanted| wanted == port)
        })
    }
}

fn exception(entry: &str) -> Option<Exception> {
    let everywhere = |hosts| Some(Exception { hosts, port: None });
    if entry == "*" {
        return everywhere(HostPattern::All);
    }
    if let Some((network, bits)) = entry.split_once('/') {
        let network: IpAddr = bare_host(network).parse().ok()?;
        let bits = bits.parse().ok().filter(|bits| *bits <= bits_of(network))?;
        return everywhere(HostPattern::Network(network, bits));
    }
    let whole = |address: IpAddr| HostPattern::Network(address, bits_of(address));
    if let Ok(address) = bare_host(entry).parse() {
        return everywhere(whole(address));
    }
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (entry, None),
    };
    let host = bare_host(host);
    if let Ok(address) = host.parse() {
        let hosts = whole(address);
        return Some(Exception { hosts, port });
    }
    let domain = host.strip_prefix('*').unwrap_or(&host);
    let domain = domain.strip_prefix('.').unwrap_or(domain);
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) || byte >= 0x80;
    let hosts = HostPattern::Domain(domain.to_owned());
    (!domain.is_empty() && domain.bytes().all(is_name)).then_some(Exception { hosts, port })
}

fn bits_of(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn is_within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let differing = match (address.to_canonical(), network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => u128::from(one.to_bits() ^ other.to_bits()) << 96,
        (IpAddr::V6(one), IpAddr::V6(other)) => one.to_bits() ^ other.to_bits(),
        _ => return false,
    };
    differing.leading_zeros() >= bits
}

/// In lower case, without the brackets of an IPv6 address and without the dot of an absolute name.
fn bare_host(host: &str) -> String {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

fn is_on_this_host(host: &str) -> bool {
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

pub(super) fn port_of(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(match uri.scheme_str() {
        Some("https") => 443,
        Some("http") | None => 80,
        // Only proxies have other schemes.
        Some(_) => 1080,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_direct(no_proxy: &str, url: &str) -> bool {
        let proxies = Proxies {
            http: Some(Proxy::parse("proxy.test:3128").unwrap()),
            https: Some(Proxy::parse("socks5h://socks.test").unwrap()),
            except: Exceptions::parse(no_proxy).unwrap(),
        };
        proxies.proxy_for(&url.parse().unwrap()).is_none()
    }

    #[test]
    fn this_host_and_the_proxies_are_asked_without_a_proxy() {
        for (url, direct) in [
            ("http://localhost:4318/v1/traces", true),
            ("https://LocalHost", true),
            ("http://127.0.0.1:8080", true),
            ("http://127.8.9.10/x", true),
            ("http://[::1]:8080/base", true),
            ("http://PROXY.test:3128", true),
            ("socks5h://socks.test", true),
            ("http://proxy.test:3129", false),
            ("http://localhost.test", false),
            ("http://10.0.0.1", false),
            ("http://[fe80::1]:8080", false),
        ] {
            assert_eq!(is_direct("", url), direct, "{url}");
        }
    }

    #[test]
    fn exceptions_are_read_as_curl_reads_them() {
        for (no_proxy, url, direct) in [
            ("*", "http://api.test", true),
            ("api.test", "http://api.test:8080/x", true),
            ("api.test", "http://API.TEST", true),
            ("api.test", "http://api.test.", true),
            ("api.test.", "https://api.test", true),
            ("test", "https://api.test", true),
            (".test", "https://api.test", true),
            ("*.test", "https://api.test", true),
            (".test", "https://test", true),
            ("i.test", "https://api.test", false),
            ("other, api.test", "http://api.test", true),
            ("other api.test", "http://api.test", true),
            ("api.test:8080", "http://api.test:8080", true),
            ("api.test:8080", "http://api.test", false),
            ("api.test:443", "https://api.test", true),
            ("10.0.0.1", "http://10.0.0.1:80", true),
            ("10.0.0.1:81", "http://10.0.0.1:80", false),
            ("10.0.0.0/8", "http://10.255.0.1", true),
            ("10.0.0.0/8", "http://11.0.0.1", false),
            ("0.0.0.0/0", "http://11.0.0.1", true),
            ("10.0.0.0/8", "http://10.test", false),
            ("2001:db8::1", "http://[2001:db8::1]:8080", true),
            ("[2001:db8::1]", "http://[2001:db8::1]", true),
            ("[2001:db8::1]:81", "http://[2001:db8::1]:81", true),
            ("[2001:db8::1]:81", "http://[2001:db8::1]", false),
            ("2001:db8::/32", "http://[2001:db8:1::1]", true),
            ("2001:db8::/32", "http://[2001:db9::1]", false),
            ("::/0", "http://10.0.0.1", false),
        ] {
            assert_eq!(is_direct(no_proxy, url), direct, "{no_proxy}: {url}");
        }
    }

    #[test]
    fn what_is_no_exception_is_named() {
        for entry in [
            "10.0.0.0/33",
            "::/129",
            "api.test/x",
            "10.0.0.0/-1",
            "a*b",
            "http://api.test",
            "api.test:port",
            ".",
            ":80",
        ] {
            let refused = Exceptions::parse(&format!("api.test,{entry}")).unwrap_err();
            assert!(refused.contains(&format!("{entry:?}")), "{refused}");
        }
        assert_eq!(Exceptions::parse(" , ").unwrap(), Exceptions::default());
    }

    #[test]
    fn proxies_are_read_or_refused() {
        for (text, shown) in [
            ("proxy.test", "http://proxy.test:80"),
            ("proxy.test:3128", "http://proxy.test:3128"),
            ("u:p%40@proxy.test:3128", "http://proxy.test:3128"),
            ("http://u:p@proxy.test/", "http://proxy.test:80"),
            ("socks5h://[::1]", "socks5h://[::1]:1080"),
            ("SOCKS4://proxy.test:9", "socks4://proxy.test:9"),
        ] {
            let parsed = Proxy::parse(text).map(|proxy| proxy.to_string());
            assert_eq!(
                parsed.map(|p| p.to_ascii_lowercase()),
                Ok(shown.to_owned()),
                "{text}"
            );
        }
        for text in [
            "http://",
            "http://:3128",
            "http://proxy.test:99999",
            "http://proxy.test:0",
            "proxy.test:port",
            "http://proxy.test:",
            "ftp://proxy.test",
            "socks://proxy.test",
            "http//proxy.test",
            "http://s3cret@:1",
            "a b",
            "http://%ff:s3cret@proxy.test",
        ] {
            let refused = Proxy::parse(text).unwrap_err();
            assert!(!refused.contains("s3cret"), "{refused}");
        }
    }
}
