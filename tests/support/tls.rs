//! A way over TLS to a plain server of this host: the certificate is made on the spot.

use super::folder::Folder;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

/// A certificate for `localhost` that vouches for itself, gone with the test.
pub struct Certificate {
    /// PEM: trust it, and its holder is trusted.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
    _folder: Folder,
}

impl Certificate {
    pub fn for_localhost() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost", "api.test"].map(str::to_owned))
            .unwrap();
        let folder = Folder::new();
        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        Certificate {
            certificate: write("certificate.pem", made.cert.pem()),
            key: write("key.pem", made.signing_key.serialize_pem()),
            _folder: folder,
        }
    }
}

/// Vouches for others.
pub struct Authority {
    issuer: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
    /// PEM.
    pub certificate: PathBuf,
    folder: Folder,
}

/// What an authority vouches for: PEM files, gone with the authority.
pub struct Vouched {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let issuer = rcgen::CertifiedIssuer::self_signed(params, key).unwrap();
        let folder = Folder::new();
        let certificate = folder.path().join("authority.pem");
        fs::write(&certificate, issuer.pem()).unwrap();
        Authority {
            issuer,
            certificate,
            folder,
        }
    }

    fn vouch(&self, name: &str) -> (rcgen::Certificate, rcgen::KeyPair) {
        let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate, key)
    }

    pub fn certificate(&self, name: &str) -> Vouched {
        let (certificate, key) = self.vouch(name);
        let write = |what: &str, text: String| {
            let path = self.folder.path().join(format!("{name}-{what}.pem"));
            fs::write(&path, text).unwrap();
            path
        };
        Vouched {
            certificate: write("certificate", certificate.pem()),
            key: write("key", key.serialize_pem()),
        }
    }
}

pub struct TlsWay {
    pub port: u16,
    /// PEM: trust it, and the way is trusted.
    pub certificate: PathBuf,
}

impl TlsWay {
    /// Leads to `port`. Its threads wait for connections until the test's process ends.
    pub fn to(port: u16) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost", "api.test"].map(str::to_owned))
            .unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        TlsWay::by(config, port, &made.cert.pem())
    }

    /// With a certificate of its own that is marked as an authority.
    pub fn as_authority(port: u16) -> Self {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        TlsWay::by(config, port, &certificate.pem())
    }

    /// With a certificate of `own`; only clients with a certificate of `clients` may connect.
    pub fn guarded(port: u16, own: &Authority, clients: &Authority) -> Self {
        let (certificate, key) = own.vouch("localhost");
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(clients.issuer.der().clone()).unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            provider.clone(),
        );
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        TlsWay::by(config, port, &own.issuer.pem())
    }

    fn by(config: rustls::ServerConfig, port: u16, pem: &str) -> Self {
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own_port = listener.local_addr().unwrap().port();
        let certificate = std::env::temp_dir().join(format!("farspan-test-{own_port}.pem"));
        fs::write(&certificate, pem).unwrap();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let config = config.clone();
                // A handshake that the client breaks off is part of the test.
                thread::spawn(move || lead(client, config, port));
            }
        });
        TlsWay {
            port: own_port,
            certificate,
        }
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }
}

impl Drop for TlsWay {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.certificate);
    }
}

/// Request by request, as one connection of a client that waits for each answer.
fn lead(client: TcpStream, config: Arc<rustls::ServerConfig>, port: u16) -> io::Result<()> {
    let session = rustls::ServerConnection::new(config).map_err(io::Error::other)?;
    let mut client = rustls::StreamOwned::new(session, client);
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    loop {
        let request = message(&mut client)?;
        server.write_all(&request)?;
        let answer = message(&mut server)?;
        client.write_all(&answer)?;
        client.flush()?;
    }
}

/// One HTTP message with its Content-Length.
fn message(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        if let Some(head) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
            let length = text.lines().find_map(|l| l.strip_prefix("content-length:"));
            let length: usize = length.map_or(0, |l| l.trim().parse().unwrap());
            if bytes.len() >= head + 4 + length {
                return Ok(bytes);
            }
        }
        match from.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&piece[..count]),
        }
    }
}
