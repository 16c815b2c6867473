//! Why a command fails: what happened, and what to do about it.

use std::{error::Error as _, io, net::SocketAddr, path::PathBuf};

use antigravity_runtime::{config::ConfigError, secret::SecretFileError};
use token_service::StoreError;

use crate::admin;

/// Why a command fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A configuration value.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address that is taken, or none of this machine's.
    #[error("cannot listen on {address} ({variables}): {source}; choose another address or port")]
    Listen {
        address: SocketAddr,
        variables: &'static str,
        source: io::Error,
    },
    /// A secret file beside the database.
    #[error(transparent)]
    SecretFile(#[from] SecretFileError),
    /// The secrets of the token-service.
    #[error(transparent)]
    Secrets(#[from] token_service::secrets::SecretsError),
    /// The token-service did not start, or broke.
    #[error(transparent)]
    TokenService(#[from] token_service::Error),
    /// The gateway did not start, or broke.
    #[error(transparent)]
    Gateway(#[from] gateway::ServeError),
    /// A service panicked.
    #[error("{service} broke off; its last log lines say why")]
    BrokenOff { service: &'static str },
    /// A service ended although nobody asked it to.
    #[error("{service} ended by itself; its last log lines say why")]
    Ended { service: &'static str },
    /// The token-service refuses, or is not there.
    #[error(transparent)]
    Admin(#[from] admin::client::Error),
    /// A service runs, and nothing tells which token it wants.
    #[error(
        "a token-service runs at {url}, and there is no admin token for it: set ADMIN_TOKEN or \
         ADMIN_TOKEN_FILE, or DATABASE_URL so that its admin_token is found ({} is not there)",
        path.display()
    )]
    NoAdminToken { url: String, path: PathBuf },
    /// There is neither a service nor a database.
    #[error(
        "no token-service answers at {address} (TOKEN_SERVICE_LISTEN), and DATABASE_URL names a \
         database in memory, which only its own process can open; start `antigravity-gateway \
         serve`, or set TOKEN_SERVICE_URL"
    )]
    NothingToOpen { address: SocketAddr },
    /// No service, and no database either.
    #[error(
        "no token-service runs on this machine, and there is no database {}; set DATABASE_URL to \
         where it is, or TOKEN_SERVICE_URL",
        path.display()
    )]
    NoDatabase { path: PathBuf },
    /// A file that cannot be imported.
    #[error("{file}: {problem} (nothing was imported)")]
    Import { file: String, problem: String },
    /// A file that cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// An argument that does not fit.
    #[error("{0}")]
    Usage(String),
    /// Something the command found wanting, which it has told already.
    #[error("{0}")]
    Found(String),
    /// What was pasted, or what the browser came back with.
    #[error("what came back from the browser {0}; nothing was stored")]
    Pasted(String),
    /// Ctrl-C.
    #[error("interrupted; nothing was stored")]
    Interrupted,
    /// A database is not moved.
    #[error(transparent)]
    Move(#[from] token_service::MoveError),
    /// Ctrl-C, while a database was moved.
    #[error("interrupted; the old database is as it was, and the same command goes on")]
    MoveInterrupted,
    /// No fake Google.
    #[error("cannot start fake-google: {0}")]
    FakeGoogle(#[from] fake_google::StartError),
    /// The system has no randomness, threads or temporary folder.
    #[error("the system does not cooperate: {0}")]
    System(#[from] io::Error),
    /// The demonstration's chat did not go through.
    #[error("the chat failed: {0}")]
    Chat(String),
    /// The gateway is not healthy.
    #[error("the gateway on {address} does not live: {source}")]
    GatewayHealth {
        address: SocketAddr,
        source: io::Error,
    },
    /// The token-service is not healthy.
    #[error("the token-service is not healthy: {0}")]
    TokenServiceHealth(#[from] token_service::HealthcheckError),
}

impl Failure {
    /// What the process exits with: 2 for configuration and usage, else 1.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Usage(_) => 2,
            // As of a process that SIGINT ended.
            Self::Interrupted | Self::MoveInterrupted => 130,
            // Not an address of this machine, so that waiting would not help.
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrNotAvailable => 2,
            Self::TokenService(error) => error.exit_code(),
            Self::Gateway(error) => error.exit_code(),
            _ => 1,
        }
    }

    /// The failure with its causes and the next step, as one paragraph.
    pub(crate) fn paragraph(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let more = error.to_string();
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
            cause = error.source();
        }
        if let Some(step) = self.next_step() {
            text = format!("{text}\n{step}");
        }
        text
    }

    fn next_step(&self) -> Option<&'static str> {
        match self {
            Self::TokenService(token_service::Error::Store(StoreError::Locked { .. })) => Some(
                "If that is a token-service to talk to, set TOKEN_SERVICE_URL to its address, \
                 such as http://127.0.0.1:50051.",
            ),
            _ => None,
        }
    }
}
