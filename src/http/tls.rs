//! Which certificates TLS trusts, and which it shows.

use super::client::Trust;
use crate::os::certificates;
use std::sync::{Arc, OnceLock};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

/// The system's roots, read when they are first needed. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct SystemRoots(Arc<OnceLock<RootCerts>>);

/// The TLS settings of an agent, made at its first connection with TLS: a URL of `http://` may lead to one of
/// `https://`, and the system's roots are 200 KB.
#[derive(Debug)]
pub(super) struct Lazy {
    /// `None`: the system's.
    authorities: Option<RootCerts>,
    identity: Option<ClientCert>,
    system: SystemRoots,
}

impl Lazy {
    pub(super) fn new(trust: &Trust, system: &SystemRoots) -> Result<Self, String> {
        let authorities = match &trust.authorities {
            Some(pem) => Some(RootCerts::from(certificates_in(pem)?)),
            None => None,
        };
        let identity = match &trust.identity {
            Some((chain, key)) => {
                let key = PrivateKey::from_pem(key).map_err(|e| format!("private key: {e}"))?;
                Some(ClientCert::new_with_certs(&certificates_in(chain)?, key))
            }
            None => None,
        };
        Ok(Lazy {
            authorities,
            identity,
            system: system.clone(),
        })
    }

    /// What the system trusts, without a certificate to show.
    pub(super) fn system(system: &SystemRoots) -> Self {
        Lazy {
            authorities: None,
            identity: None,
            system: system.clone(),
        }
    }

    pub(super) fn config(&self) -> TlsConfig {
        let roots = self.authorities.clone();
        let roots = roots.unwrap_or_else(|| self.system.0.get_or_init(system_roots).clone());
        let builder = TlsConfig::builder().root_certs(roots);
        builder.client_cert(self.identity.clone()).build()
    }
}

fn certificates_in(pem: &[u8]) -> Result<Vec<Certificate<'static>>, String> {
    let mut certificates = Vec::new();
    for item in parse_pem(pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(format!("not PEM: {error}")),
        }
    }
    if certificates.is_empty() {
        return Err("no certificate in it".into());
    }
    Ok(certificates)
}

fn system_roots() -> RootCerts {
    match certificates::of_system() {
        Ok([]) => RootCerts::WebPki,
        Ok(found) => RootCerts::from(found.iter().map(|der| Certificate::from_der(der))),
        Err(found) if found.certs.is_empty() => RootCerts::WebPki,
        Err(found) => {
            let found = found.certs.iter();
            RootCerts::from(found.map(|der| Certificate::from_der(der).to_owned()))
        }
    }
}
