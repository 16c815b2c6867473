//! A client's socket: tells its seat what is read, and ends a write that makes no progress.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

use tokio_rustls::server::TlsStream;

use super::seats::Seat;

/// How long something has made no progress. Costs nothing while it does: the one timer is
/// made when it stops for the first time, and armed anew only after it has fired.
#[derive(Debug)]
pub(super) struct Stall {
    limit: Duration,
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            since: None,
            timer: None,
        }
    }

    fn is_stopped(&self) -> bool {
        self.since.is_some()
    }

    pub(super) fn progresses(&mut self) {
        self.since = None;
    }

    /// It makes no progress now. Ready when it has not for too long.
    pub(super) fn poll_too_long(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let end = *self.since.get_or_insert_with(Instant::now) + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
        loop {
            ready!(timer.as_mut().poll(context));
            if Instant::now() >= end {
                return Poll::Ready(());
            }
            // It was armed for an earlier stop.
            timer.as_mut().reset(end);
        }
    }
}

/// After so many reads it is the others' turn. Eight kilobytes hold hundreds of frames of
/// HTTP/2, and who sends nothing but those without an end would have a core to himself for
/// milliseconds each time.
const READS_IN_A_ROW: u8 = 8;

/// A TCP connection with a client.
#[derive(Debug)]
pub(super) struct Socket {
    tcp: TcpStream,
    seat: Arc<Seat>,
    writes: Stall,
    /// Reads in a row that had something.
    reads: u8,
    /// Whether what is read may be the head of a request, as over HTTP/1.1.
    pub(super) heads: bool,
}

impl Socket {
    pub(super) fn new(tcp: TcpStream, seat: Arc<Seat>, write_timeout: Duration) -> Self {
        Self {
            tcp,
            seat,
            writes: Stall::new(write_timeout),
            reads: 0,
            heads: false,
        }
    }

    /// Who is on the other side.
    pub(super) fn from(&self) -> Option<SocketAddr> {
        self.tcp.peer_addr().ok()
    }

    fn written(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            if self.writes.is_stopped() {
                self.writes.progresses();
                self.seat.set_blocked(false);
            }
            return written;
        }
        self.seat.set_blocked(true);
        ready!(self.writes.poll_too_long(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client does not read its answer",
        )))
    }
}

/// A connection whose next bytes can be waited for without a buffer for them.
pub(super) trait Readable {
    /// Ready when there may be something to read, the end included.
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()>;
}

impl Readable for Socket {
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        // What is wrong the next read tells.
        self.tcp.poll_read_ready(context).map(|_| ())
    }
}

impl Readable for TlsStream<Socket> {
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        self.get_ref().0.poll_readable(context)
    }
}

/// A connection of which something was read already.
#[derive(Debug)]
pub(super) struct Reread<I> {
    pub(super) unread: Bytes,
    pub(super) io: I,
}

impl<I: AsyncRead + Unpin> AsyncRead for Reread<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.io).poll_read(context, buffer);
        }
        let length = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Reread<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.reads == READS_IN_A_ROW {
            self.reads = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.tcp).poll_read(context, buffer);
        self.reads = if read.is_ready() { self.reads + 1 } else { 0 };
        if self.heads && buffer.filled().len() > before {
            self.seat.reads();
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write_vectored(context, slices);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}
