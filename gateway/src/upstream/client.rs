//! HTTP connections to Google.
//!
//! One HTTP/2 client puts everything on one connection, which takes about a hundred
//! streams; a thousand would queue. So there are several, and each request takes the
//! first with room that does not seem to have died.

use std::{
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use antigravity_runtime::tls::{self, CaFileError};
use rustls::ClientConfig;
use rustls_platform_verifier::Verifier;

use crate::config::{Timeouts, Upstreams};

/// Streams that a connection takes before another is used.
const STREAMS: usize = 80;
const LANES: usize = 16;
/// What Google may send ahead on each stream, for clients that read slowly. Together they
/// are the connection's, so that none takes what another needs.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = STREAMS as u32 * STREAM_WINDOW;
/// Hosts whose connections are told apart. Those that share a row only blur each other.
const HOSTS: usize = 8;
/// So much silence of its streams, added up, makes a connection one that may have died. A
/// model that thinks is silent too, so it is only passed over.
const SILENCE: Duration = Duration::from_secs(10);
/// However many streams there are, so long a silence is nothing.
const BREATH: Duration = Duration::from_millis(250);

/// Why there can be no connections.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file of `UPSTREAM_CA_FILE`.
    #[error("UPSTREAM_CA_FILE: {0}")]
    CaFile(#[from] CaFileError),
    /// The system's certificates, or one of the file's.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A client cannot be built.
    #[error("cannot set up the HTTP client: {0}")]
    Build(#[from] reqwest::Error),
}

/// Connections to Google.
#[derive(Clone, Debug)]
pub struct HttpClient(Arc<Lanes>);

/// Each client has one HTTP/2 connection to each host.
#[derive(Debug)]
struct Lanes {
    clients: Vec<reqwest::Client>,
    /// Of each host, the connections in the order of the clients.
    connections: Vec<[Connection; LANES]>,
    started: Instant,
}

/// What is known of a connection. Milliseconds are counted from the start.
#[derive(Debug, Default)]
struct Connection {
    running: AtomicUsize,
    /// When something last came, or its first stream began.
    heard: AtomicU64,
}

/// A connection, and a stream's place on it until this is dropped.
#[derive(Debug)]
pub struct Place {
    lanes: Arc<Lanes>,
    host: usize,
    lane: usize,
}

impl Place {
    /// The client to send with.
    #[must_use]
    pub fn client(&self) -> &reqwest::Client {
        &self.lanes.clients[self.lane]
    }

    /// Notes that something came.
    pub fn heard(&self) {
        let (heard, now) = (&self.connection().heard, self.lanes.now());
        // Others read it; it is written once a millisecond at most.
        if heard.load(Ordering::Relaxed) != now {
            heard.store(now, Ordering::Relaxed);
        }
    }

    fn connection(&self) -> &Connection {
        &self.lanes.connections[self.host][self.lane]
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connection().running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl HttpClient {
    /// Sets TLS up; connects to nobody yet.
    ///
    /// # Errors
    /// A file of certificates that cannot be used, or a system without any.
    pub fn new(upstreams: &Upstreams, timeouts: &Timeouts) -> Result<Self, ClientError> {
        let tls = tls_config(upstreams)?;
        let client = || {
            reqwest::Client::builder()
                .user_agent(concat!("antigravity-gateway/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(timeouts.connect)
                .redirect(reqwest::redirect::Policy::none())
                .tcp_nodelay(true)
                .http2_keep_alive_interval(timeouts.ping)
                .http2_keep_alive_timeout(timeouts.pong)
                .http2_initial_stream_window_size(STREAM_WINDOW)
                .http2_initial_connection_window_size(CONNECTION_WINDOW)
                .pool_idle_timeout(Duration::from_secs(90))
                .pool_max_idle_per_host(256)
                .tls_backend_preconfigured(tls.clone())
                .build()
        };
        Ok(Self(Arc::new(Lanes {
            clients: (0..LANES).map(|_| client()).collect::<Result<_, _>>()?,
            connections: std::iter::repeat_with(Default::default)
                .take(HOSTS)
                .collect(),
            started: Instant::now(),
        })))
    }

    /// A place for a request to `url`.
    #[must_use]
    pub fn place(&self, url: &str) -> Place {
        let lanes = &self.0;
        let host = row(url);
        let now = lanes.now();
        let lane = choose(&lanes.connections[host], now);
        let connection = &lanes.connections[host][lane];
        if connection.running.load(Ordering::Relaxed) == 0 {
            connection.heard.store(now, Ordering::Relaxed);
        }
        connection.running.fetch_add(1, Ordering::Relaxed);
        Place {
            lanes: Arc::clone(lanes),
            host,
            lane,
        }
    }
}

impl Lanes {
    fn now(&self) -> u64 {
        // Enough for half a billion years.
        self.started.elapsed().as_millis() as u64
    }
}

impl Connection {
    fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Whether it has been silent for longer than so many streams usually are all at once.
    fn seems_dead(&self, now: u64) -> bool {
        let silent = Duration::from_millis(now.saturating_sub(self.heard.load(Ordering::Relaxed)));
        let streams = u32::try_from(self.running()).unwrap_or(u32::MAX);
        silent >= BREATH && silent.saturating_mul(streams) >= SILENCE
    }
}

/// The first connection with room that seems alive, else the least busy of those that do,
/// else the one that was heard last.
fn choose(connections: &[Connection], now: u64) -> usize {
    let alive = || (0..connections.len()).filter(|at| !connections[*at].seems_dead(now));
    alive()
        .find(|at| connections[*at].running() < STREAMS)
        .or_else(|| alive().min_by_key(|at| connections[*at].running()))
        .or_else(|| {
            (0..connections.len()).max_by_key(|at| connections[*at].heard.load(Ordering::Relaxed))
        })
        .unwrap_or(0)
}

/// Where the connections to a URL's host are noted.
fn row(url: &str) -> usize {
    let host = url.split('/').nth(2).unwrap_or_default();
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(host);
    hash as usize % HOSTS
}

/// The system's certificates, read once, and the operator's.
fn tls_config(upstreams: &Upstreams) -> Result<ClientConfig, ClientError> {
    tls::install_crypto_provider();
    let extra = match &upstreams.ca_file {
        Some(path) => tls::read_ca_file(path)?,
        None => Vec::new(),
    };
    let builder = ClientConfig::builder();
    let provider = Arc::clone(builder.crypto_provider());
    let verifier = Verifier::new_with_extra_roots(extra, provider)?;
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 100_000;

    fn connection(running: usize, silent: u64) -> Connection {
        Connection {
            running: running.into(),
            heard: (NOW - silent).into(),
        }
    }

    #[test]
    fn the_first_with_room_that_seems_alive() {
        let chosen = |connections: &[(usize, u64)]| {
            let connections: Vec<_> = connections
                .iter()
                .map(|(running, silent)| connection(*running, *silent))
                .collect();
            choose(&connections, NOW)
        };
        assert_eq!(chosen(&[(79, 0), (0, 0)]), 0);
        assert_eq!(chosen(&[(80, 0), (0, 0)]), 1);
        // The more streams, the sooner their silence says something.
        assert_eq!(chosen(&[(1, 9_999), (0, 0)]), 0);
        assert_eq!(chosen(&[(1, 10_000), (0, 0)]), 1);
        assert_eq!(chosen(&[(40, 249), (0, 0)]), 0);
        assert_eq!(chosen(&[(40, 250), (0, 0)]), 1);
        assert_eq!(chosen(&[(79, 249), (0, 0)]), 0);
        // Rest is no silence.
        assert_eq!(chosen(&[(0, 90_000), (0, 0)]), 0);
        assert_eq!(chosen(&[(90, 0), (85, 0), (1, 20_000)]), 1);
        assert_eq!(chosen(&[(5, 30_000), (5, 20_000), (5, 25_000)]), 1);
    }

    #[test]
    fn hosts_are_told_apart_by_their_names() {
        let gemini = "https://generativelanguage.googleapis.com";
        assert_eq!(row(gemini), row(&format!("{gemini}/v1beta/models/m:x")));
        assert_ne!(
            row(gemini),
            row("https://cloudcode-pa.googleapis.com/v1internal:x")
        );
    }
}
