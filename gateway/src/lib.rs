//! The gateway: serves the OpenAI HTTP API and answers with Gemini.
//!
//! In reading order: [`config`] and [`api_keys`], [`http`] the edge, [`tokens`] the
//! rotation's near side, [`media`] the rest of the Web, [`upstream`] Google, [`models`] who knows what, [`outcomes`]
//! what the token-service is told, [`metrics`] what is counted, [`request_line`] and [`request_log`] what is
//! logged, [`strangers`] whose lines are left out, [`status`] the operators' page, [`error`] how
//! failures become HTTP.

pub mod api_keys;
pub mod config;
pub mod error;
pub mod health;
pub mod http;
pub mod limits;
pub mod media;
pub mod metrics;
pub mod models;
pub mod outcomes;
pub mod request_line;
pub mod request_log;
pub mod status;
pub mod strangers;
pub mod tokens;
pub mod upstream;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use antigravity_runtime::{
    config::ConfigError,
    descriptors,
    listener::{self, Limits},
    random,
    shutdown::Shutdown,
    tls,
};
use antigravity_traces::{CollectorError, Traces};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::Config,
    http::Gateway,
    media::Fetcher,
    metrics::Metrics,
    models::Models,
    outcomes::Outcomes,
    request_log::RequestLog,
    status::Status,
    strangers::Strangers,
    tokens::{Client, Tokens},
    upstream::{Upstream, client::HttpClient, drain::Drain},
};

/// An id of its own for whatever is told apart: a request, an attempt, an answer.
fn new_id() -> uuid::Uuid {
    uuid::Builder::from_random_bytes(random::id_bytes()).into_uuid()
}

/// How long the token-service may take to accept the turns in hand when the gateway ends.
const GIVE_BACK: Duration = Duration::from_secs(3);

/// Why the gateway does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A file that a variable names cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The token-service's address or the gateway's token cannot be used.
    #[error(transparent)]
    TokenService(#[from] tokens::ClientError),
    /// Traces cannot be sent where they are to go.
    #[error(transparent)]
    Traces(#[from] CollectorError),
    /// No connections to Google can be made.
    #[error(transparent)]
    HttpClient(#[from] upstream::client::ClientError),
    /// No media can be fetched.
    #[error("FETCH_REMOTE_MEDIA: cannot set up the HTTP client: {0}")]
    Media(#[source] reqwest::Error),
    /// The admin listener cannot be opened.
    #[error("ADMIN_LISTEN: cannot listen on {address}: {source}")]
    AdminListener {
        /// What was asked for.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The listener broke.
    #[error("the listener broke: {0}")]
    Listener(#[from] io::Error),
}

impl ServeError {
    /// What the process should exit with: 2 for what the operator configured, else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::TokenService(tokens::ClientError::Tls(_))
            | Self::Traces(CollectorError::Tls(_) | CollectorError::Address(_)) => 2,
            _ => 1,
        }
    }
}

/// What TLS may carry to clients, the best first.
const HTTP: &[&[u8]] = &[b"h2", b"http/1.1"];

/// Serves clients on `listener` until `shutdown`, then lets running requests finish
/// within the configured grace.
///
/// # Errors
/// A configuration that cannot be used, or a listener that breaks.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    let metrics = Metrics::default();
    tls::install_crypto_provider();
    let acceptor = match &config.tls {
        Some(files) => Some(tls::Acceptor::load(
            files.clone(),
            HTTP,
            config.timeouts.body,
            tls::Clients::Anybody,
        )?),
        None => None,
    };
    if config.token_service_tls.has_files()
        && config
            .token_service_urls
            .iter()
            .all(|url| url.starts_with("http://"))
    {
        tracing::warn!(
            "TOKEN_SERVICE_URL says http://, so that tokens are sent in the clear, and the files \
             for TLS with the token-service have no effect"
        );
    }
    let traces = Traces::start(config.traces.as_ref(), "antigravity-gateway")?;
    let request_log = RequestLog::start(config.request_log.as_ref());
    let client = Client::new(
        &config.token_service_urls,
        &config.token_service_tls,
        &config.gateway_token,
        metrics.clone(),
        traces.clone(),
    )?;
    let http_client = HttpClient::new(&config.upstreams, &config.timeouts)?;
    let tokens = Arc::new(Tokens::new(client.clone(), config.clock.clone()));
    let models = Arc::new(Models::new(
        Arc::clone(&tokens),
        http_client.clone(),
        config.upstreams.clone(),
        config.clock.clone(),
    ));
    let (outcomes, reports) = Outcomes::new(metrics.clone());
    let upstream = Upstream::new(
        http_client,
        &config,
        Arc::clone(&tokens),
        Arc::clone(&models),
        outcomes,
    );
    let limits = Limits {
        connections: connections(descriptors::raise_limit()),
        write_timeout: config.timeouts.write,
        drain_delay: config.shutdown_delay,
        drain_grace: config.shutdown_grace,
        header_timeout: config.timeouts.body,
        header_timeout_answer: http::HEAD_TIMEOUT,
        ..Limits::default()
    };
    let admin = match config.admin_listen {
        Some(address) => Some(
            TcpListener::bind(address)
                .await
                .map_err(|source| ServeError::AdminListener { address, source })?,
        ),
        None => None,
    };
    let (affinity, most) = (config.affinity, config.most);
    let drain = Drain::new(config.hang_up_drain, config.clock.clone(), metrics.clone());
    let media = config
        .requests
        .fetch_remote_media
        .then(|| Fetcher::new(config.media_guard, config.max_body_bytes))
        .transpose()
        .map_err(ServeError::Media)?;
    let gateway = Arc::new(Gateway {
        config,
        media,
        limits: limits::Limits::new(most),
        tokens: Arc::clone(&tokens),
        models,
        upstream,
        drain: drain.clone(),
        strangers: Arc::new(Strangers::new(metrics.clone())),
        metrics,
        traces: traces.clone(),
        request_log: request_log.clone(),
        shutdown: shutdown.clone(),
    });

    let background = TaskTracker::new();
    let ended = CancellationToken::new();
    background.spawn(outcomes::run(client, reports, ended.clone()));
    background.spawn(metrics::watch_lag(gateway.metrics.clone(), ended.clone()));
    background.spawn({
        let (tokens, ended) = (Arc::clone(&tokens), ended.clone());
        // Conversations find their projects among those in hand.
        let every = affinity.then_some(Duration::from_secs(60));
        async move { tokens.keep_in_hand(every, ended).await }
    });
    background.spawn(Arc::clone(&gateway.strangers).tell(ended.clone()));
    if let Some(acceptor) = &acceptor {
        background.spawn(Arc::clone(acceptor).watch(ended.clone()));
    }
    if let Some(admin) = admin {
        let address = admin.local_addr()?;
        tracing::info!(%address, "the admin listener is open");
        let status = Status::new(Arc::clone(&gateway), address, acceptor.is_some());
        background.spawn(Arc::clone(&status).forget(ended.clone()));
        let router = http::admin_router(Arc::clone(&gateway), status);
        background.spawn(listener::serve(
            admin,
            acceptor.clone(),
            router,
            limits,
            shutdown.clone(),
        ));
    }
    tracing::info!(address = %listener.local_addr()?, "the gateway listens");
    let abort = shutdown.abort.clone();
    let served = listener::serve(listener, acceptor, http::router(gateway), limits, shutdown).await;
    // Before the last reports are sent, of which these make some.
    drain.end().await;
    // Turns that do not get back are dealt again after a while all the same.
    tokio::select! {
        _ = tokio::time::timeout(GIVE_BACK, tokens.give_back()) => {}
        () = abort.cancelled() => {}
    }
    ended.cancel();
    background.close();
    let last = async {
        background.wait().await;
        request_log.end().await;
        traces.end().await;
    };
    tokio::select! {
        () = last => {}
        () = abort.cancelled() => {}
    }
    Ok(served?)
}

/// How many clients may be connected when there may be so many descriptors, of which a
/// client's request may take a second one for its connection to Google.
fn connections(descriptors: Option<u64>) -> usize {
    let wanted = Limits::default().connections;
    let possible = descriptors.map_or(wanted, |limit| {
        usize::try_from(limit / 2).unwrap_or(wanted).max(1)
    });
    if possible < wanted {
        tracing::info!(
            descriptors,
            connections = possible,
            "fewer clients can be connected at once than usual: the limit of open files is low \
             (ulimit -n)"
        );
    }
    possible.min(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_descriptors_make_few_connections() {
        assert_eq!(connections(None), 10_000);
        assert_eq!(connections(Some(1 << 20)), 10_000);
        assert_eq!(connections(Some(1024)), 512);
        assert_eq!(connections(Some(1)), 1);
    }
}
