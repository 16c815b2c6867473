//! Why the service does not start or stops: which file, which variable, what to do.

use std::{io, net::SocketAddr, path::PathBuf};

use antigravity_runtime::{config::ConfigError, tls::CaFileError};

use antigravity_traces::CollectorError;

use crate::{secrets::SecretsError, store::StoreError, tokens_file::TokensFileError};

/// Why [`crate::serve()`] did not start, or stopped before it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration value.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The secrets beside the database.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The tokens file cannot be read.
    #[error(
        "cannot read {}: {source}; make it readable, or point TOKENS_FILE elsewhere",
        path.display()
    )]
    TokensFileUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The tokens file is not one.
    #[error("{} {source} (nothing was imported)", path.display())]
    TokensFile {
        /// The file.
        path: PathBuf,
        /// Which line, and why.
        source: TokensFileError,
    },
    /// The file of `UPSTREAM_CA_FILE`.
    #[error("UPSTREAM_CA_FILE: {0}")]
    CaFile(CaFileError),
    /// The HTTP client cannot be made.
    #[error("cannot set up the HTTP client: {0}")]
    HttpClient(reqwest::Error),
    /// The admin listener cannot be opened.
    #[error(
        "TOKEN_SERVICE_ADMIN_LISTEN: cannot listen on {address}: {source}; choose another \
         address or port"
    )]
    AdminListener {
        /// What was asked for.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Traces cannot be sent where they are to go.
    #[error(transparent)]
    Traces(#[from] CollectorError),
    /// The listener broke.
    #[error("the gRPC listener failed: {0}")]
    Listener(#[source] io::Error),
    /// The description of the contract is damaged, so that the build is.
    #[error("cannot set up server reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

impl Error {
    /// What the process should exit with: 2 for what the operator configured, else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Secrets(SecretsError::NotSet { .. })
            | Self::CaFile(_)
            | Self::Traces(CollectorError::Tls(_) | CollectorError::Address(_)) => 2,
            _ => 1,
        }
    }
}
