//! The accept loop of our HTTP listeners.
//!
//! `axum::serve` sets no timer, so it has no header timeout, no cap on connections
//! and no bounded drain; this loop has the three.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore};
use tower::Service;

use crate::shutdown::Shutdown;

/// What a listener grants its clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a whole request head, from the connection's or the last answer's end on.
    pub header_timeout: Duration,
    /// Connections at once; more wait in the system's backlog.
    pub connections: usize,
    /// How long the listener stays open after it was asked to drain, so that load
    /// balancers see the failing readiness check first.
    pub drain_delay: Duration,
    /// How long running requests may go on after that.
    pub drain_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            connections: 10_000,
            drain_delay: Duration::ZERO,
            drain_grace: Duration::from_secs(10),
        }
    }
}

/// Serves HTTP/1.1 and HTTP/2 (prior knowledge) until `shutdown`, then drains.
///
/// # Errors
/// When the listener itself breaks; a broken connection is not an error.
pub async fn serve<S, B>(
    listener: TcpListener,
    service: S,
    limits: Limits,
    shutdown: Shutdown,
) -> io::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(256 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .max_header_list_size(64 * 1024)
        .max_concurrent_streams(1000);
    let slots = Arc::new(Semaphore::new(limits.connections));
    let connections = GracefulShutdown::new();
    let closing = async {
        shutdown.drain.cancelled().await;
        tokio::select! {
            () = tokio::time::sleep(limits.drain_delay) => {}
            () = shutdown.abort.cancelled() => {}
        }
    };
    tokio::pin!(closing);
    loop {
        let slot = Arc::clone(&slots).acquire_owned();
        let (stream, slot) = tokio::select! {
            () = &mut closing => break,
            accepted = async { (slot.await, listener.accept().await) } => match accepted {
                (Ok(slot), Ok((stream, _))) => (stream, slot),
                (_, Err(error)) if is_connection_error(&error) => continue,
                (_, Err(error)) => {
                    // Out of file descriptors, most likely: they come back when connections end.
                    tracing::error!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
                (Err(_), _) => break,
            },
        };
        // Best effort: a socket that refuses it still works, with a delay.
        let _ = stream.set_nodelay(true);
        let connection = builder
            .serve_connection(
                TokioIo::new(stream),
                TowerToHyperService::new(service.clone()),
            )
            .into_owned();
        let connection = connections.watch(connection);
        let abort = shutdown.abort.clone();
        tokio::spawn(async move {
            tokio::select! {
                result = connection => {
                    if let Err(error) = result {
                        tracing::debug!(error = &*error, "connection ended early");
                    }
                }
                () = abort.cancelled() => {}
            }
            drop(slot);
        });
    }
    drop(listener);
    tokio::select! {
        () = connections.shutdown() => {}
        () = tokio::time::sleep(limits.drain_grace) => {
            tracing::warn!("drain time is over; ending the requests that still run");
            shutdown.abort.cancel();
        }
        () = shutdown.abort.cancelled() => {}
    }
    Ok(())
}

fn is_connection_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
