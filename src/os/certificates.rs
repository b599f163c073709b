//! The certificate authorities that the system trusts.

use rustls::pki_types::CertificateDer;
use rustls_native_certs::{CertificateResult, load_native_certs};
use std::sync::OnceLock;

/// The system's certificates, for all connections with TLS. They are read when they are first needed, and again at the
/// next call if some of them cannot be read.
///
/// `SSL_CERT_FILE` and `SSL_CERT_DIR` count; in a container `FROM scratch` they, or the file copied into it, are all
/// there is.
///
/// # Errors
/// Some cannot be read: the others, and why.
pub fn of_system() -> Result<&'static [CertificateDer<'static>], CertificateResult> {
    static READ: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    if let Some(read) = READ.get() {
        return Ok(read);
    }
    let found = load_native_certs();
    if found.errors.is_empty() {
        Ok(READ.get_or_init(|| found.certs))
    } else {
        Err(found)
    }
}
