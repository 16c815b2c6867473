//! One connection: what it opens with, and how it is served until it ends.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::CONNECTION};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    time::{Duration, Instant, Sleep, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::{
    LAST_WORDS, LINGER, Limits, Serves,
    answer::{Answer, RequestBody, Streams},
    seats::{Order, Parking, Phase, Seat},
    socket::{Readable, Reread, Socket},
};
use crate::tls;

/// How long what a client still sends is read.
const LONGEST_LINGER: Duration = Duration::from_secs(30);
/// Between two looks at a connection that has sent the beginning of a preface.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// What HTTP/2 with prior knowledge begins with; no method of HTTP/1.1 does.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a TLS connection begins with: the record type of a handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// Sent to those who speak HTTP where TLS is spoken.
const USE_HTTPS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 38\r\n\r\n\
    This port speaks TLS: use https://...\n";

/// What a connection opens with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    Http1,
    Http2,
    Tls,
}

pub(super) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<Streams>,
    limits: Limits,
    tls: Option<Arc<tls::Acceptor>>,
    drain: CancellationToken,
    /// The listener is closed, and who is idle goes; before, it is to make room for others.
    everybody_leaves: AtomicBool,
}

impl Protocols {
    pub(super) fn new(
        limits: Limits,
        tls: Option<Arc<tls::Acceptor>>,
        drain: CancellationToken,
    ) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(256 * 1024);
        let mut http2 = http2::Builder::new(Streams {
            write_timeout: limits.write_timeout,
        });
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .max_header_list_size(64 * 1024)
            .max_concurrent_streams(1000);
        Self {
            http1,
            http2,
            limits,
            tls,
            drain,
            everybody_leaves: AtomicBool::new(false),
        }
    }

    /// From now on an order to leave is one to everybody.
    pub(super) fn everybody_leaves(&self) {
        self.everybody_leaves.store(true, Ordering::Release);
    }

    /// Serves a connection until it ends, or is ordered to.
    pub(super) async fn serve<S>(&self, tcp: TcpStream, service: S, seat: Arc<Seat>)
    where
        S: Serves,
    {
        // Not hyper-util's detection: it waits for the first bytes without a limit.
        let opening = unless_ordered(&seat, timeout(self.limits.header_timeout, opening(&tcp)));
        let Some(Ok(Some(opening))) = opening.await else {
            return;
        };
        let mut socket = Socket::new(tcp, Arc::clone(&seat), self.limits.write_timeout);
        // Each boxed, so that a connection takes no more room than what it has come to.
        match (opening, &self.tls) {
            (Opening::Tls, Some(acceptor)) => {
                Box::pin(self.tls(acceptor, socket, service, &seat)).await;
            }
            (_, Some(_)) => {
                let refusing = Box::pin(refuse(socket, USE_HTTPS));
                // The client may be gone, or not read: either way this was all.
                let _ = unless_ordered(&seat, refusing).await;
            }
            (Opening::Http2, None) => {
                Box::pin(self.http2(socket, service, &seat)).await;
            }
            (Opening::Http1 | Opening::Tls, None) => {
                socket.heads = true;
                Box::pin(self.http1(socket, service, &seat)).await;
            }
        }
    }

    async fn tls<S>(&self, acceptor: &tls::Acceptor, socket: Socket, service: S, seat: &Arc<Seat>)
    where
        S: Serves,
    {
        let from = socket.from();
        let accepting = Box::pin(acceptor.accept(socket, from));
        let Some(Some(mut stream)) = unless_ordered(seat, accepting).await else {
            return;
        };
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            Box::pin(self.http2(stream, service, seat)).await;
        } else {
            stream.get_mut().0.heads = true;
            Box::pin(self.http1(stream, service, seat)).await;
        }
    }

    async fn http2<I, S>(&self, io: I, service: S, seat: &Arc<Seat>)
    where
        I: AsyncRead + AsyncWrite + Unpin,
        S: Serves,
    {
        seat.enter(Phase::Idle);
        let (seated, drain) = (Arc::clone(seat), self.drain.clone());
        let service = service_fn(move |request| {
            if drain.is_cancelled() {
                // GOAWAY: this request is served, and the next one goes elsewhere.
                seated.order(Order::Leave);
            }
            respond(&service, request, &seated, None)
        });
        let connection = self.http2.serve_connection(TokioIo::new(io), service);
        let mut connection = std::pin::pin!(connection);
        let mut asked = false;
        let ended = poll_fn(|context| {
            if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                return Poll::Ready(ended);
            }
            if !asked && seat.ordered() >= Order::Leave {
                asked = true;
                connection.as_mut().graceful_shutdown();
                return connection.as_mut().poll(context);
            }
            Poll::Pending
        });
        log_end(ended.await);
    }

    /// Serves requests as long as they come; in between it keeps nothing but the connection.
    async fn http1<I, S>(&self, io: I, service: S, seat: &Arc<Seat>)
    where
        I: AsyncRead + AsyncWrite + Readable + Unpin,
        S: Serves,
    {
        let mut io = Reread {
            unread: Bytes::new(),
            io,
        };
        loop {
            // Boxed, so that nothing is left of it while the connection is idle.
            let Some(idle) = Box::pin(self.requests(io, service.clone(), seat)).await else {
                return;
            };
            io = idle;
            let readable = poll_fn(|context| io.io.poll_readable(context));
            if io.unread.is_empty() && unless_ordered(seat, readable).await.is_none() {
                return;
            }
        }
    }

    /// Whether a client may be asking again, when the process ends: it has just had an answer whose
    /// head did not tell that this was the last. Then the connection is kept for a moment more;
    /// closed at the answer's end it would be before the next request, which may be on its way.
    fn may_be_asking(
        &self,
        seat: &Seat,
        farewell: &mut Option<Pin<Box<Sleep>>>,
        context: &mut Context<'_>,
    ) -> bool {
        let moment = LINGER.min(self.limits.drain_delay);
        if !self.everybody_leaves.load(Ordering::Acquire) || moment.is_zero() {
            return false;
        }
        // It wakes its connection when it is over.
        if seat.is_running() {
            return true;
        }
        let left = moment.saturating_sub(seat.in_phase_for());
        if left.is_zero() {
            return false;
        }
        let timer = farewell.get_or_insert_with(|| Box::pin(sleep(left)));
        timer.as_mut().reset(Instant::now() + left);
        timer.as_mut().poll(context).is_pending()
    }

    /// Serves requests until the connection ends, or (then it is returned) has been idle for
    /// a while.
    async fn requests<I, S>(&self, io: Reread<I>, service: S, seat: &Arc<Seat>) -> Option<Reread<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
        S: Serves,
    {
        let seated = Arc::clone(seat);
        // Nothing in it is pinned, so that it can be taken apart when a head does not end.
        let drain = self.drain.clone();
        let service = service_fn(move |request| {
            Box::pin(respond(&service, request, &seated, Some(drain.clone())))
        });
        let mut connection = self.http1.serve_connection(TokioIo::new(io), service);
        seat.set_parking(Parking::Possible);
        let (mut asked, mut was_idle, mut farewell) = (false, false, None);
        let ended = poll_fn(|context| {
            // Nobody holds a request's body then: what is polled next sees its end.
            let park = !asked && seat.ordered() == Order::Stay && seat.is_to_park();
            if let Poll::Ready(ended) = connection.poll_without_shutdown(context) {
                return Poll::Ready(Ended::By(ended));
            }
            let order = seat.ordered();
            let head = seat.phase() == Phase::Head && !seat.is_running();
            if head && order >= Order::GiveUp {
                return Poll::Ready(Ended::SlowHead);
            }
            // What has begun to arrive is served.
            if !asked && !head && order >= Order::Leave {
                if order == Order::Leave && self.may_be_asking(seat, &mut farewell, context) {
                    return Poll::Pending;
                }
                asked = true;
                was_idle = !seat.is_running();
                Pin::new(&mut connection).graceful_shutdown();
                return connection.poll_without_shutdown(context).map(Ended::By);
            }
            if park && seat.is_to_park() {
                // hyper ends at once when it is between two requests, and only then.
                asked = true;
                Pin::new(&mut connection).graceful_shutdown();
                return match connection.poll_without_shutdown(context) {
                    Poll::Ready(Ok(())) => Poll::Ready(Ended::Idle),
                    ended => ended.map(Ended::By),
                };
            }
            Poll::Pending
        })
        .await;
        seat.set_parking(Parking::No);
        let mut head_timed_out = false;
        match ended {
            Ended::Idle => {
                let parts = connection.into_parts();
                let Reread { io, .. } = parts.io.into_inner();
                // Even of nothing hyper's buffer is kept with it.
                let unread = if parts.read_buf.is_empty() {
                    Bytes::new()
                } else {
                    parts.read_buf
                };
                return Some(Reread { unread, io });
            }
            Ended::SlowHead => head_timed_out = true,
            Ended::By(Err(error)) => {
                head_timed_out = error.is_timeout();
                log_end(Err(error));
            }
            Ended::By(Ok(())) => {}
        }
        if was_idle {
            return None;
        }
        let parts = connection.into_parts();
        let last = if head_timed_out && !parts.read_buf.is_empty() {
            self.limits.header_timeout_answer
        } else {
            b""
        };
        seat.enter(Phase::Silent);
        // The client may be gone, or not read: either way this was the last.
        let _ = refuse(parts.io.into_inner(), last).await;
        None
    }
}

/// Answers one request, which runs on its connection's seat until its answer is over. Over
/// HTTP/1.1, with `drain`, it is the connection's last one when the process ends or would leave
/// much of a body unread, and the client is told so, to ask nothing more here.
fn respond<S: Serves>(
    service: &S,
    request: Request<Incoming>,
    seat: &Arc<Seat>,
    drain: Option<CancellationToken>,
) -> impl Future<Output = Result<Response<Answer<S::Body>>, Infallible>> + Send + use<S> {
    let (running, service, in_pieces) = (seat.run(), service.clone(), drain.is_none());
    let request = request.map(|body| RequestBody::new(body, seat));
    let seat = Arc::clone(seat);
    async move {
        let mut answer = service.oneshot(request).await?;
        let unread = seat.take_unread();
        if drain.is_some_and(|drain| unread || drain.is_cancelled()) {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(CONNECTION, close);
        }
        Ok(answer.map(|body| Answer::new(body, in_pieces, running)))
    }
}

/// Why requests are no longer served on a connection of HTTP/1.1.
enum Ended {
    /// hyper is done with it.
    By(hyper::Result<()>),
    /// There have been none for a while.
    Idle,
    /// A head did not end, and others want in.
    SlowHead,
}

/// Goes on with `doing` until it is done, or until the connection is ordered to end.
async fn unless_ordered<T>(seat: &Seat, doing: impl Future<Output = T>) -> Option<T> {
    let mut doing = std::pin::pin!(doing);
    poll_fn(|context| match doing.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if seat.ordered() > Order::Stay => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Says the last words, and reads what the client still sends: closed with bytes unread, the
/// connection would be reset, and the answer with it.
async fn refuse<I>(mut io: I, last_words: &[u8]) -> io::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let closing = async {
        io.write_all(last_words).await?;
        io.shutdown().await
    };
    timeout(LAST_WORDS, closing).await??;
    let end = Instant::now() + LONGEST_LINGER;
    while Instant::now() < end
        && let Ok(Ok(1..)) = timeout(LAST_WORDS, poll_fn(|it| poll_discard(&mut io, it))).await
    {
    }
    Ok(())
}

/// Reads what has come, and tells how much that was. No connection keeps room for it: there
/// may be thousands that are refused and send nothing more.
fn poll_discard<I>(io: &mut I, context: &mut Context<'_>) -> Poll<io::Result<usize>>
where
    I: AsyncRead + Unpin,
{
    let mut discarded = [const { MaybeUninit::uninit() }; 64 * 1024];
    let mut discarded = ReadBuf::uninit(&mut discarded);
    ready!(Pin::new(io).poll_read(context, &mut discarded))?;
    Poll::Ready(Ok(discarded.filled().len()))
}

fn log_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}

/// What a connection opens with; `None` when it says nothing and closes.
async fn opening(stream: &TcpStream) -> Option<Opening> {
    let mut first = [0; HTTP2.len()];
    loop {
        let seen = stream.peek(&mut first).await.ok();
        let seen = seen.filter(|seen| *seen > 0)?;
        if first[0] == TLS_HANDSHAKE {
            return Some(Opening::Tls);
        }
        if !HTTP2.starts_with(&first[..seen]) {
            return Some(Opening::Http1);
        }
        if seen == HTTP2.len() {
            return Some(Opening::Http2);
        }
        // Bytes that were peeked at are there at once the next time too.
        sleep(LOOK_AGAIN).await;
    }
}
