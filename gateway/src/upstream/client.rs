//! HTTP connections to Google.
//!
//! One HTTP/2 client puts everything on one connection, which takes about a hundred
//! streams; a thousand would queue. So there are several, and each request takes the
//! one with the least to do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use antigravity_runtime::tls::{self, CaFileError};

use crate::config::{Timeouts, Upstreams};

/// Streams that a connection takes before another is used.
const STREAMS: usize = 80;
const LANES: usize = 16;
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Why there can be no connections.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file of `UPSTREAM_CA_FILE`.
    #[error("UPSTREAM_CA_FILE: {0}")]
    CaFile(#[from] CaFileError),
    /// TLS cannot be set up.
    #[error("cannot set up the HTTP client: {0}")]
    Build(#[from] reqwest::Error),
}

/// Connections to Google.
#[derive(Clone, Debug)]
pub struct HttpClient {
    lanes: Arc<[Lane]>,
}

#[derive(Debug)]
struct Lane {
    client: reqwest::Client,
    running: AtomicUsize,
}

/// A client, and its place among the lanes until this is dropped.
#[derive(Debug)]
pub struct Place {
    lanes: Arc<[Lane]>,
    at: usize,
}

impl Place {
    /// The client to send with.
    #[must_use]
    pub fn client(&self) -> &reqwest::Client {
        &self.lanes[self.at].client
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lanes[self.at].running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl HttpClient {
    /// Sets TLS up; connects to nobody yet.
    ///
    /// # Errors
    /// A file of certificates that cannot be used, or a system without any.
    pub fn new(upstreams: &Upstreams, timeouts: &Timeouts) -> Result<Self, ClientError> {
        tls::install_crypto_provider();
        let extra = match &upstreams.ca_file {
            Some(path) => tls::read_ca_file(path)?,
            None => Vec::new(),
        };
        let extra: Vec<reqwest::Certificate> = extra
            .iter()
            .map(|certificate| reqwest::Certificate::from_der(certificate))
            .collect::<Result<_, _>>()?;
        let lane = || -> Result<Lane, ClientError> {
            let client = reqwest::Client::builder()
                .user_agent(concat!("antigravity-gateway/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(timeouts.connect)
                .redirect(reqwest::redirect::Policy::none())
                .tcp_nodelay(true)
                .http2_keep_alive_interval(Duration::from_secs(20))
                .http2_keep_alive_timeout(Duration::from_secs(10))
                .http2_initial_stream_window_size(STREAM_WINDOW)
                .http2_initial_connection_window_size(CONNECTION_WINDOW)
                .pool_idle_timeout(Duration::from_secs(90))
                .pool_max_idle_per_host(256)
                .tls_certs_merge(extra.clone())
                .build()?;
            Ok(Lane {
                client,
                running: AtomicUsize::new(0),
            })
        };
        let lanes = (0..LANES).map(|_| lane()).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            lanes: lanes.into(),
        })
    }

    /// A place on the first connection with room, else on the least busy.
    #[must_use]
    pub fn place(&self) -> Place {
        let load = |at: &usize| self.lanes[*at].running.load(Ordering::Relaxed);
        let all = 0..self.lanes.len();
        let at = all
            .clone()
            .find(|at| load(at) < STREAMS)
            .or_else(|| all.min_by_key(load))
            .unwrap_or(0);
        self.lanes[at].running.fetch_add(1, Ordering::Relaxed);
        Place {
            lanes: Arc::clone(&self.lanes),
            at,
        }
    }
}

/// Whether a connection was closed under the request before Google took it up: a
/// GOAWAY, or a refused stream. Says nothing about the project.
#[must_use]
pub fn is_nobodys_fault(error: &reqwest::Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = source {
        if let Some(h2) = current.downcast_ref::<h2::Error>() {
            return h2.is_go_away() || h2.reason() == Some(h2::Reason::REFUSED_STREAM);
        }
        source = current.source();
    }
    false
}
