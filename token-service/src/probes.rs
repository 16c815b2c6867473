//! The admin listener: what monitoring and orchestrators ask, over HTTP.

use std::{net::SocketAddr, sync::Arc};

use antigravity_runtime::{
    listener::{self, Limits},
    shutdown::Shutdown,
    tls,
};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{Error, config::Config, metrics::CONTENT_TYPE, serve::HANDSHAKE, waiting::Door};

/// What TLS may carry, the best first.
const HTTP: &[&[u8]] = &[b"h2", b"http/1.1"];

#[derive(Clone)]
struct Probed {
    door: Arc<Door>,
    /// The process ends.
    draining: CancellationToken,
}

/// Opens the listener, which speaks TLS where the gRPC listener does. Returns the tasks that
/// end with the service.
///
/// # Errors
/// An address or a certificate that cannot be used.
pub(crate) async fn open(
    address: SocketAddr,
    config: &Config,
    door: &Arc<Door>,
    shutdown: &Shutdown,
) -> Result<Vec<JoinHandle<()>>, Error> {
    let acceptor = match &config.tls {
        Some(files) => Some(tls::Acceptor::load(
            files.clone(),
            HTTP,
            HANDSHAKE,
            tls::Clients::Anybody,
        )?),
        None => None,
    };
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| Error::AdminListener { address, source })?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "the token-service's admin listener is open");
    }
    let probed = Probed {
        door: Arc::clone(door),
        draining: shutdown.drain.clone(),
    };
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(unknown)
        .with_state(probed);
    let watching = acceptor
        .clone()
        .map(|acceptor| tokio::spawn(acceptor.watch(shutdown.drain.clone())));
    // Of its own: what is asked here ends at once, and is not to end the calls that run.
    let ends = Shutdown {
        drain: shutdown.drain.clone(),
        abort: shutdown.abort.child_token(),
    };
    let serving = tokio::spawn(async move {
        let limits = Limits::default();
        if let Err(error) = listener::serve(listener, acceptor, router, limits, ends).await {
            tracing::error!(%error, "the admin listener broke");
        }
    });
    Ok(watching.into_iter().chain([serving]).collect())
}

const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

/// The process lives; depends on nothing.
async fn livez() -> impl IntoResponse {
    (JSON, r#"{"status":"ok"}"#)
}

/// Whether calls are served. What the database does not take at present is in memory, and is
/// no reason to be sent no calls.
async fn readyz(State(probed): State<Probed>) -> impl IntoResponse {
    if probed.draining.is_cancelled() {
        let body = r#"{"status":"shutting_down"}"#.to_owned();
        return (StatusCode::SERVICE_UNAVAILABLE, JSON, body);
    }
    let pool = match probed.door.pool() {
        Ok(pool) => pool,
        Err(why) => {
            let reason = format!("the database is waited for: {why}");
            let body = told("starting", &reason);
            return (StatusCode::SERVICE_UNAVAILABLE, JSON, body);
        }
    };
    let (is_behind, unreadable) = {
        let state = pool.state();
        let is_behind = state.ledger.is_behind || !state.unkept.is_empty();
        (is_behind, state.unreadable.clone())
    };
    let reason = if let Some(why) = pool.is_database_away() {
        format!("the database is away, and memory is served: {why}")
    } else if let Some(why) = pool.is_database_refusing() {
        format!("the database refuses what it is asked for, and memory is served: {why}")
    } else if let Some(why) = unreadable {
        format!("what another replica has stored cannot be read: {why}")
    } else if is_behind {
        "the database takes no writes; they are kept in memory and tried again every second"
            .to_owned()
    } else {
        return (StatusCode::OK, JSON, r#"{"status":"ok"}"#.to_owned());
    };
    (StatusCode::OK, JSON, told("degraded", &reason))
}

fn told(status: &str, reason: &str) -> String {
    serde_json::json!({"status": status, "reason": reason}).to_string()
}

/// What is counted, for Prometheus.
async fn metrics(State(probed): State<Probed>) -> impl IntoResponse {
    let Ok(pool) = probed.door.pool().cloned() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    // Of a large pool it takes milliseconds, for which no call is to wait.
    let text = tokio::task::spawn_blocking(move || pool.metrics_text());
    match text.await {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn unknown() -> impl IntoResponse {
    let body = r#"{"error":"there are /livez, /readyz and /metrics here"}"#;
    (StatusCode::NOT_FOUND, JSON, body)
}
