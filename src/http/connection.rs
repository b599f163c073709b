//! Connections: directly, through a proxy, with TLS; and when one is used again.
//!
//! ureq's own connectors lead through proxies and speak TLS. ureq has one proxy for an agent; here each URL has its way.

use super::client::{Network, Timeouts, told};
use super::proxies::Proxy;
use super::tcp::TcpConnector;
#[cfg(feature = "tls")]
use super::tls;
use crate::os::clock;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::Resolver as _;
#[cfg(feature = "tls")]
use ureq::unversioned::transport::RustlsConnector;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, NextTimeout, SocksConnector,
    Transport,
};

/// The settings of an agent, and those of a connection that goes through `proxy`.
pub(super) fn settings(
    timeouts: Timeouts,
    proxy: Option<&Proxy>,
) -> ureq::config::ConfigBuilder<ureq::typestate::AgentScope> {
    // ureq's 128 KiB each would be most of the memory of a pool of pollers.
    const BUFFER_BYTES: usize = 16 * 1024;
    // Longer than the default interval, or every poll would open a connection.
    const IDLE: Duration = Duration::from_secs(90);
    Config::builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(super::client::USER_AGENT)
        .input_buffer_size(BUFFER_BYTES)
        .output_buffer_size(BUFFER_BYTES)
        // Less than the buffer: a longer head would look like the end of the connection.
        .max_response_header_size(BUFFER_BYTES - 1)
        .max_idle_connections(4)
        .max_idle_connections_per_host(1)
        .max_idle_age(IDLE)
        .timeout_resolve(Some(timeouts.connect))
        .timeout_connect(Some(timeouts.connect))
        .timeout_per_read(Some(timeouts.read))
        .timeout_per_write(Some(timeouts.read))
        .timeout_global(Some(timeouts.total))
        .proxy(proxy.map(|proxy| proxy.settings().clone()))
}

/// Makes the connections of one agent.
#[derive(Debug)]
pub(super) struct Connections {
    network: Network,
    to_targets: Opener,
    /// Proxies are trusted as the system says, whatever the certificates of the API are.
    to_proxies: Arc<Opener>,
}

/// ureq's connectors with our settings, and our TCP.
#[derive(Debug)]
struct Opener {
    timeouts: Timeouts,
    #[cfg(feature = "tls")]
    tls: tls::Lazy,
    by_socks: SocksConnector,
    by_tunnel: ConnectProxyConnector,
    #[cfg(feature = "tls")]
    with_tls: RustlsConnector,
}

impl Connections {
    pub(super) fn new(
        network: &Network,
        timeouts: Timeouts,
        #[cfg(feature = "tls")] tls: tls::Lazy,
    ) -> Self {
        let opener = |#[cfg(feature = "tls")] tls| Opener {
            timeouts,
            #[cfg(feature = "tls")]
            tls,
            by_socks: SocksConnector::default(),
            by_tunnel: ConnectProxyConnector::default(),
            #[cfg(feature = "tls")]
            with_tls: RustlsConnector::default(),
        };
        Connections {
            network: network.clone(),
            to_targets: opener(
                #[cfg(feature = "tls")]
                tls,
            ),
            to_proxies: Arc::new(opener(
                #[cfg(feature = "tls")]
                tls::Lazy::system(network.roots()),
            )),
        }
    }

    /// The details with the addresses, and with the time that is left for the connection.
    fn looked_up<'a>(
        &'a self,
        details: &ConnectionDetails<'a>,
    ) -> Result<ConnectionDetails<'a>, ureq::Error> {
        let begun = clock::now().mono;
        let mut timeout = details.timeout;
        let addrs = (self.network).resolve(details.uri, details.config, timeout)?;
        let took = clock::now().mono.since(begun);
        timeout.after = timeout.after.saturating_sub(took).into();
        Ok(ConnectionDetails {
            addrs,
            timeout,
            resolver: &self.network,
            ..with(details, details.uri, details.config)
        })
    }

    /// A way through the proxy to `details.uri`.
    fn open_through(
        &self,
        proxy: &Proxy,
        details: &ConnectionDetails<'_>,
    ) -> Result<Box<dyn Transport>, ureq::Error> {
        if proxy.is_http() && !details.needs_tls() {
            let to_proxy = with(details, proxy.uri(), details.config);
            let transport = self.to_proxies.open(&to_proxy, None)?;
            return Ok(Box::new(ByProxy::new(transport, details.uri, proxy)));
        }
        // A tunnel: ureq calls `run_connector` for the connection to the proxy.
        let to_proxies = self.to_proxies.clone();
        let details = ConnectionDetails {
            run_connector: Arc::new(move |details| to_proxies.open(details, None)),
            ..with(details, details.uri, details.config)
        };
        self.to_targets.open(&details, Some(proxy))
    }
}

impl Opener {
    fn open(
        &self,
        details: &ConnectionDetails<'_>,
        proxy: Option<&Proxy>,
    ) -> Result<Box<dyn Transport>, ureq::Error> {
        let config = settings(self.timeouts, proxy);
        #[cfg(feature = "tls")]
        let config = if details.needs_tls() {
            config.tls_config(self.tls.config())
        } else {
            config
        };
        let config = config.build();
        let details = with(details, details.uri, &config);
        // Each leaves alone what the one before it has opened.
        let opened = self.by_socks.connect(&details, None::<()>)?;
        let opened = self.by_tunnel.connect(&details, opened)?;
        let opened = TcpConnector.connect(&details, opened)?;
        #[cfg(feature = "tls")]
        let opened = self.with_tls.connect(&details, opened)?;
        let opened = opened.ok_or(ureq::Error::ConnectionFailed)?;
        Ok(Box::new(opened))
    }
}

impl Connector for Connections {
    type Out = ProbedConnection;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<ProbedConnection>, ureq::Error> {
        let details = &self.looked_up(details)?;
        let transport = match self.network.proxies().proxy_for(details.uri) {
            None => self.to_targets.open(details, None),
            Some(proxy) => (self.open_through(proxy, details)).map_err(|e| through(proxy, e)),
        };
        let transport = transport.map_err(explained)?;
        Ok(Some(ProbedConnection::new(transport)))
    }
}

fn with<'a>(
    details: &ConnectionDetails<'a>,
    uri: &'a Uri,
    config: &'a Config,
) -> ConnectionDetails<'a> {
    ConnectionDetails {
        uri,
        addrs: details.addrs.clone(),
        config,
        request_level: details.request_level,
        resolver: details.resolver,
        now: details.now,
        timeout: details.timeout,
        current_time: details.current_time.clone(),
        run_connector: details.run_connector.clone(),
        register_shutdown: details.register_shutdown.clone(),
    }
}

/// The error with the proxy's name. What TLS says is about the host behind it.
pub(super) fn through(proxy: &Proxy, error: ureq::Error) -> ureq::Error {
    match error {
        ureq::Error::Io(error) if error.kind() != io::ErrorKind::InvalidData => {
            io::Error::new(error.kind(), format!("proxy {proxy}: {error}")).into()
        }
        ureq::Error::ConnectProxyFailed(why) => {
            ureq::Error::ConnectProxyFailed(format!("proxy {proxy}: {why}"))
        }
        error => error,
    }
}

/// The error with what to do, where rustls gives only its name.
fn explained(error: ureq::Error) -> ureq::Error {
    let text = told(&error);
    if !text.contains("CaUsedAsEndEntity") {
        return error;
    }
    let remedy = "the server shows the certificate of an authority (CA:TRUE), which TLS does not accept for a server; \
                  give the server a certificate of its own, signed by an authority, and name the authority's \
                  certificate in certificate_file or SSL_CERT_FILE (argo-server: --tls-certificate-secret-name)";
    io::Error::new(io::ErrorKind::InvalidData, format!("{text}: {remedy}")).into()
}

/// A connection to an HTTP proxy. Each request is sent with its whole URL (RFC 9112, 3.2.2): a tunnel, which is ureq's
/// only way, is refused by most proxies for other ports than 443.
#[derive(Debug)]
struct ByProxy {
    transport: Box<dyn Transport>,
    /// `http://host:port`.
    origin: String,
    /// The proxy's header with its line end; empty without credentials.
    authorization: ProxyPassword,
    /// Whether the next bytes are the start of a request.
    is_at_start: bool,
}

/// Not shown.
struct ProxyPassword(String);

impl std::fmt::Debug for ProxyPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(redacted)")
    }
}

impl ByProxy {
    fn new(transport: Box<dyn Transport>, target: &Uri, proxy: &Proxy) -> Self {
        let host = target.host().unwrap_or_default();
        let port = target.port_u16().map(|port| format!(":{port}"));
        let authorization = proxy.credentials().map(|(name, password)| {
            let pair = BASE64_STANDARD.encode(format!("{name}:{password}"));
            format!("Proxy-Authorization: Basic {pair}\r\n")
        });
        ByProxy {
            transport,
            origin: format!("http://{host}{}", port.unwrap_or_default()),
            authorization: ProxyPassword(authorization.unwrap_or_default()),
            is_at_start: true,
        }
    }
}

/// The first bytes of a request with its whole URL, and with another header after the first line. ureq writes the first
/// line in one piece.
fn in_absolute_form(bytes: &[u8], origin: &str, header: &str) -> Vec<u8> {
    let target = bytes.iter().position(|byte| *byte == b' ');
    let target = target.map_or(0, |space| space + 1);
    let line = bytes.windows(2).position(|pair| pair == b"\r\n");
    let line = line.map_or(bytes.len(), |end| end + 2).max(target);
    [
        &bytes[..target],
        origin.as_bytes(),
        &bytes[target..line],
        header.as_bytes(),
        &bytes[line..],
    ]
    .concat()
}

impl Transport for ByProxy {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if !std::mem::take(&mut self.is_at_start) {
            return self.transport.transmit_output(amount, timeout);
        }
        let output = &self.transport.buffers().output()[..amount];
        let bytes = in_absolute_form(output, &self.origin, &self.authorization.0);
        let piece_bytes = self.transport.buffers().output().len();
        for piece in bytes.chunks(piece_bytes) {
            self.transport.buffers().output()[..piece.len()].copy_from_slice(piece);
            self.transport.transmit_output(piece.len(), timeout)?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.is_at_start = true;
        self.transport.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.transport.is_open()
    }

    fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }
}

/// A connection that is used again only if it holds no byte that no request asked for: these would be taken for the
/// answer to the next request.
///
/// ureq probes a connection that goes into its pool, and again when it leaves the pool. Only the second probe counts,
/// because bytes may come in between.
#[derive(Debug)]
pub(super) struct ProbedConnection {
    transport: Box<dyn Transport>,
    /// Whether a request was sent since the last probe. Then the next probe is the one before the pool.
    was_used: bool,
    /// Whether the last read filled the buffer. Then TLS may hold bytes that a probe of the socket does not see.
    was_filled: bool,
}

impl ProbedConnection {
    pub(super) fn new(transport: Box<dyn Transport>) -> Self {
        ProbedConnection {
            transport,
            was_used: false,
            was_filled: false,
        }
    }
}

impl Transport for ProbedConnection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.was_used = true;
        self.transport.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let is_read = self.transport.await_input(timeout)?;
        self.was_filled = self.transport.buffers().input_append_buf().is_empty();
        Ok(is_read)
    }

    fn is_open(&mut self) -> bool {
        if !self.transport.buffers().input().is_empty() || (self.was_filled && self.is_tls()) {
            return false;
        }
        std::mem::take(&mut self.was_used) || self.transport.is_open()
    }

    fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }
}
