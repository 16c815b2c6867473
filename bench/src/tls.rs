//! TLS to the fake Google, whose certificate authority is made anew at each start.

use std::path::Path;

use antigravity_runtime::tls::{install_crypto_provider, read_ca_file};
use rustls::{ClientConfig, RootCertStore};

/// A client that trusts the authority in `ca` and nobody else. Offers no protocol, which is
/// HTTP/1.1's way; whoever speaks HTTP/2 adds that.
pub(crate) fn trusting(ca: Option<&Path>) -> anyhow::Result<ClientConfig> {
    install_crypto_provider();
    let mut roots = RootCertStore::empty();
    if let Some(ca) = ca {
        for certificate in read_ca_file(ca)? {
            roots.add(certificate)?;
        }
    }
    Ok(ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth())
}
