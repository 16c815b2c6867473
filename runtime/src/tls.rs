//! TLS: the one crypto provider of the process, extra certificate authorities, and both
//! ends of a connection whose certificates come from files that change while it runs.

mod acceptor;
mod connector;
mod identity;

use std::{
    io,
    path::{Path, PathBuf},
};

use rustls_pki_types::{CertificateDer, pem::PemObject as _};

pub use self::{
    acceptor::{Acceptor, Clients, ServerFiles},
    connector::{ClientFiles, Connector, connection_failure, demands_certificate},
};

/// Makes ring the process's crypto provider. Called by each `serve`; only the first
/// call does something.
pub fn install_crypto_provider() {
    // An error says that a provider is installed already: this one, as the tree has no other.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Why a file of certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaFileError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds no PEM certificate.
    #[error("{} holds no certificate in PEM form", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// The certificates of a PEM file.
///
/// # Errors
/// A file that cannot be read, or that holds none.
pub fn read_ca_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, CaFileError> {
    let pem = std::fs::read(path).map_err(|source| CaFileError::Io {
        path: path.to_owned(),
        source,
    })?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .unwrap_or_default();
    if certificates.is_empty() {
        return Err(CaFileError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(certificates)
}
