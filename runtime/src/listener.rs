//! The accept loop of our HTTP listeners.
//!
//! `axum::serve` sets no timer, so it has no header timeout, no cap on connections
//! and no bounded drain; this loop has the three. A listener that is full shows those out
//! that have been idle for longest (`seats`), and a client that does not read its answer
//! does not keep it (`socket`, `answer`).

mod answer;
mod protocols;
mod seats;
mod socket;

use std::{convert::Infallible, future::poll_fn, io, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};
use tokio_util::task::TaskTracker;
use tower::Service;

pub use self::answer::RequestBody;
use self::{
    protocols::Protocols,
    seats::{Order, Seats, Taken},
};
use crate::{shutdown::Shutdown, tls};

/// What a listener grants its clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a whole request head, from the connection's or the last answer's end on; for a
    /// TLS handshake likewise.
    pub header_timeout: Duration,
    /// Sent over HTTP/1.1 to a client whose head has begun and does not end in time: a
    /// whole response.
    pub header_timeout_answer: &'static [u8],
    /// For a client to take something of its answer.
    pub write_timeout: Duration,
    /// How long a connection is kept that has been answered and has nothing to ask.
    pub idle_timeout: Duration,
    /// Connections at once. For somebody new the longest idle ones are closed; while all
    /// are busy, more wait in the system's backlog.
    pub connections: usize,
    /// How long the listener stays open after it was asked to drain, so that load
    /// balancers see the failing readiness check first. Idle connections stay for a moment
    /// more, since a request can be on its way on each.
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
            write_timeout: Duration::from_secs(30),
            // Longer than load balancers keep theirs, 600 s at most: who closes first never
            // meets a request that is on its way.
            idle_timeout: Duration::from_secs(620),
            connections: 10_000,
            drain_delay: Duration::ZERO,
            drain_grace: Duration::from_secs(10),
        }
    }
}

/// What answers requests: any service of HTTP that does not fail, such as axum's router.
pub trait Serves:
    Service<Request<RequestBody>, Response = Response<Self::Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Unpin
    + 'static
{
    /// The body of its answers.
    type Body: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static;
}

impl<S, B> Serves for S
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Unpin
        + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static,
{
    type Body = B;
}

/// Serves HTTP/1.1 and HTTP/2 until `shutdown`, then drains: in the clear, where HTTP/2 goes
/// by prior knowledge, or over TLS.
///
/// # Errors
/// When the listener itself breaks; a broken connection is not an error.
pub async fn serve<S>(
    listener: TcpListener,
    tls: Option<Arc<tls::Acceptor>>,
    service: S,
    limits: Limits,
    shutdown: Shutdown,
) -> io::Result<()>
where
    S: Serves,
{
    let protocols = Arc::new(Protocols::new(limits, tls, shutdown.drain.clone()));
    let seats = Arc::new(Seats::new(limits.connections));
    let connections = TaskTracker::new();
    let closing = async {
        shutdown.drain.cancelled().await;
        tokio::select! {
            () = sleep(limits.drain_delay) => {}
            () = shutdown.abort.cancelled() => {}
        }
    };
    let mut closing = std::pin::pin!(closing);
    let seat = |stream: TcpStream, taken| {
        // Best effort: a socket that refuses it still works, with a delay.
        let _ = stream.set_nodelay(true);
        let (protocols, service) = (Arc::clone(&protocols), service.clone());
        connections.spawn(attend(protocols, stream, service, taken));
    };
    let mut last = Vec::new();
    let mut looks = interval(LOOK_FOR_IDLE);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let stream = tokio::select! {
            () = &mut closing => break,
            _ = looks.tick() => {
                seats.look(limits.idle_timeout);
                continue;
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) if is_connection_error(&error) => continue,
                Err(error) => {
                    // Out of file descriptors, most likely: they come back when connections end.
                    tracing::error!(%error, "cannot accept a connection");
                    seats.make_room();
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        tokio::select! {
            () = &mut closing => {
                last.push(stream);
                break;
            }
            taken = seats.take() => seat(stream, taken),
        }
    }
    let closed = Instant::now();
    last.extend(close(listener, limits.connections));
    let lingering = async {
        for stream in last {
            seat(stream, seats.take().await);
        }
        connections.close();
        connections.wait().await;
    };
    tokio::select! {
        // First those who are left, however short the time is.
        biased;
        () = lingering => return Ok(()),
        () = sleep_until(closed + LINGER.min(limits.drain_delay)) => {}
        () = shutdown.abort.cancelled() => {}
    }
    protocols.everybody_leaves();
    seats.order_all(Order::Leave);
    connections.close();
    tokio::select! {
        () = connections.wait() => return Ok(()),
        () = sleep_until(closed + limits.drain_grace) => {
            tracing::warn!("drain time is over; ending the requests that still run");
            shutdown.abort.cancel();
        }
        () = shutdown.abort.cancelled() => {}
    }
    // Late requests too are to find their connections closing.
    if timeout(LAST_WORDS, connections.wait()).await.is_err() {
        seats.order_all(Order::End);
        connections.wait().await;
    }
    Ok(())
}

/// How long idle connections outlive the listener. A load balancer that is refused on a new
/// one sends nothing more on those that it keeps, so that they can be closed without
/// meeting a request on its way.
const LINGER: Duration = Duration::from_secs(1);
/// After the abort, for telling clients so; and after a last answer, for the client to send
/// on or to close.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Between two looks for connections that have been idle for too long.
const LOOK_FOR_IDLE: Duration = Duration::from_secs(1);

/// Closes the listener. Returns who has connected until then, and may have asked already: left
/// in its queue they would be reset.
fn close(listener: TcpListener, most: usize) -> Vec<TcpStream> {
    let mut connected = Vec::new();
    let Ok(listener) = listener.into_std() else {
        return connected;
    };
    while connected.len() < most {
        match listener.accept() {
            Ok((stream, _)) => {
                let stream = stream.set_nonblocking(true).map(|()| stream);
                connected.extend(stream.and_then(TcpStream::from_std));
            }
            Err(error) if is_connection_error(&error) => {}
            // Nobody else, as a rule.
            Err(_) => break,
        }
    }
    connected
}

/// Serves one connection, and hears what the listener orders.
async fn attend<S>(protocols: Arc<Protocols>, stream: TcpStream, service: S, taken: Taken)
where
    S: Serves,
{
    let seat = &taken.seat;
    let mut serving = std::pin::pin!(protocols.serve(stream, service, Arc::clone(seat)));
    poll_fn(|context| {
        // Before the order is looked at, so that none is missed.
        seat.listen(context.waker());
        if seat.ordered() == Order::End {
            return Poll::Ready(());
        }
        serving.as_mut().poll(context)
    })
    .await;
}

fn is_connection_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
