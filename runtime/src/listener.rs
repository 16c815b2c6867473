//! The accept loop of our HTTP listeners.
//!
//! `axum::serve` sets no timer, so it has no header timeout, no cap on connections
//! and no bounded drain; this loop has the three.

use std::{convert::Infallible, future::poll_fn, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Service, ServiceExt as _};

use crate::shutdown::Shutdown;

/// What a listener grants its clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a whole request head, from the connection's or the last answer's end on.
    pub header_timeout: Duration,
    /// Sent over HTTP/1.1 to a client whose head has begun and does not end in time: a
    /// whole response.
    pub header_timeout_answer: &'static [u8],
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
            header_timeout_answer:
                b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
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
        + Unpin
        + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let protocols = Arc::new(Protocols::new(&limits));
    let slots = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    // Cancelled when the connections shall end with what they are at.
    let leaving = CancellationToken::new();
    let closing = async {
        shutdown.drain.cancelled().await;
        tokio::select! {
            () = sleep(limits.drain_delay) => {}
            () = shutdown.abort.cancelled() => {}
        }
    };
    let mut closing = std::pin::pin!(closing);
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
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
                (Err(_), _) => break,
            },
        };
        // Best effort: a socket that refuses it still works, with a delay.
        let _ = stream.set_nodelay(true);
        let (protocols, service) = (Arc::clone(&protocols), service.clone());
        let (leaving, abort) = (leaving.clone(), shutdown.abort.clone());
        connections.spawn(async move {
            let served = protocols.connection(stream, service, &leaving);
            let last_words = async {
                abort.cancelled().await;
                leaving.cancel();
                sleep(LAST_WORDS).await;
            };
            tokio::select! {
                () = served => {}
                () = last_words => {}
            }
            drop(slot);
        });
    }
    drop(listener);
    leaving.cancel();
    connections.close();
    tokio::select! {
        () = connections.wait() => return Ok(()),
        () = sleep(limits.drain_grace) => {
            tracing::warn!("drain time is over; ending the requests that still run");
            shutdown.abort.cancel();
        }
        () = shutdown.abort.cancelled() => {}
    }
    connections.wait().await;
    Ok(())
}

/// After the abort, for telling clients so; and after a last answer, for the client to send
/// on or to close.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long what a client still sends is read.
const LONGEST_LINGER: Duration = Duration::from_secs(30);
/// Between two looks at a connection that has sent the beginning of a preface.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// What HTTP/2 with prior knowledge begins with; no method of HTTP/1.1 does.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    header_timeout: Duration,
    header_timeout_answer: &'static [u8],
}

impl Protocols {
    fn new(limits: &Limits) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(256 * 1024);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .max_header_list_size(64 * 1024)
            .max_concurrent_streams(1000);
        Self {
            http1,
            http2,
            header_timeout: limits.header_timeout,
            header_timeout_answer: limits.header_timeout_answer,
        }
    }

    async fn connection<S, B>(&self, stream: TcpStream, service: S, leaving: &CancellationToken)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + Unpin
            + 'static,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        // Not hyper-util's detection: it waits for the first bytes without a limit.
        let opening = tokio::select! {
            opening = timeout(self.header_timeout, opening(&stream)) => opening,
            () = leaving.cancelled() => return,
        };
        match opening {
            Ok(Some(true)) => {
                let (io, service) = (TokioIo::new(stream), TowerToHyperService::new(service));
                let mut connection = std::pin::pin!(self.http2.serve_connection(io, service));
                tokio::select! {
                    ended = connection.as_mut() => log_end(ended),
                    () = leaving.cancelled() => {
                        connection.as_mut().graceful_shutdown();
                        log_end(connection.await);
                    }
                }
            }
            Ok(Some(false)) => self.http1(stream, service, leaving).await,
            Ok(None) | Err(_) => {}
        }
    }

    async fn http1<S, B>(&self, stream: TcpStream, service: S, leaving: &CancellationToken)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + Unpin
            + 'static,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        // Nothing in it is pinned, so that it can be taken apart when a head does not end.
        let service = service_fn(move |request| Box::pin(service.clone().oneshot(request)));
        let mut connection = self.http1.serve_connection(TokioIo::new(stream), service);
        let mut asked = false;
        let ended = loop {
            tokio::select! {
                ended = poll_fn(|context| connection.poll_without_shutdown(context)) => break ended,
                () = leaving.cancelled(), if !asked => {
                    asked = true;
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        let timed_out = ended.as_ref().is_err_and(hyper::Error::is_timeout);
        log_end(ended);
        let parts = connection.into_parts();
        let mut stream = parts.io.into_inner();
        let closing = async {
            if timed_out && !parts.read_buf.is_empty() {
                stream.write_all(self.header_timeout_answer).await?;
            }
            stream.shutdown().await?;
            Ok::<(), io::Error>(())
        };
        // The client may be gone, or not read: either way this was the last.
        if let Ok(Ok(())) = timeout(LAST_WORDS, closing).await {
            linger(stream).await;
        }
    }
}

/// Reads what the client still sends: closed with bytes unread, the connection would be
/// reset, and the answer with it.
async fn linger(mut stream: TcpStream) {
    let end = Instant::now() + LONGEST_LINGER;
    let mut discarded = vec![0; 16 * 1024];
    while Instant::now() < end
        && let Ok(Ok(1..)) = timeout(LAST_WORDS, stream.read(&mut discarded)).await
    {}
}

fn log_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}

/// Whether a connection opens with HTTP/2; `None` when it says nothing and closes.
async fn opening(stream: &TcpStream) -> Option<bool> {
    let mut first = [0; HTTP2.len()];
    loop {
        let seen = stream
            .peek(&mut first)
            .await
            .ok()
            .filter(|seen| *seen > 0)?;
        if !HTTP2.starts_with(&first[..seen]) {
            return Some(false);
        }
        if seen == HTTP2.len() {
            return Some(true);
        }
        // Bytes that were peeked at are there at once the next time too.
        sleep(LOOK_AGAIN).await;
    }
}

fn is_connection_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
