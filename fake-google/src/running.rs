//! A fake Google on a port of its own, for as long as a value lives.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::connection::serve;
use crate::fake::FakeGoogle;
use crate::tls::{Tls, TlsError};

/// Why it did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No port could be bound.
    #[error("cannot listen on a port of 127.0.0.1")]
    Listen(#[from] io::Error),
    /// No certificate could be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A fake Google that listens on a free port of 127.0.0.1 until this is dropped.
#[derive(Debug)]
pub struct Running {
    fake: Arc<FakeGoogle>,
    address: SocketAddr,
    tls: Option<Tls>,
    shutdown: CancellationToken,
    task: JoinHandle<io::Result<()>>,
}

impl Running {
    /// Starts a new one. Needs a Tokio runtime with its I/O and time drivers.
    ///
    /// # Errors
    /// When no port can be bound or no certificate made.
    pub async fn start(config: Config, https: bool) -> Result<Self, StartError> {
        Self::serving(FakeGoogle::new(config), https).await
    }

    /// Starts another front door to the state of `fake`: Google has several hosts.
    ///
    /// # Errors
    /// When no port can be bound or no certificate made.
    pub async fn serving(fake: Arc<FakeGoogle>, https: bool) -> Result<Self, StartError> {
        let tls = if https { Some(Tls::generate()?) } else { None };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve(
            Arc::clone(&fake),
            listener,
            tls.clone(),
            shutdown.clone(),
        ));
        Ok(Self {
            fake,
            address,
            tls,
            shutdown,
            task,
        })
    }

    /// `https://localhost:port` or `http://127.0.0.1:port`, without a slash at the end.
    pub fn base_url(&self) -> String {
        let port = self.address.port();
        if self.tls.is_some() {
            format!("https://localhost:{port}")
        } else {
            format!("http://127.0.0.1:{port}")
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The authority to trust; nothing without TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.tls.as_ref().map(Tls::ca_pem)
    }

    /// The state behind it.
    pub fn fake(&self) -> &Arc<FakeGoogle> {
        &self.fake
    }

    /// Stops listening, drops every connection and waits until the port is free.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        // Its only failure is the listener's, and the listener is gone either way.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
