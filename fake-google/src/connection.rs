//! The listener's side of a socket: what one connection can be made to do wrong (reset, cut, trickle, go away), and
//! the accept loop.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::fake::FakeGoogle;
use crate::router;
use crate::tls::Tls;

/// Serves `fake` on `listener` until `shutdown` is cancelled, then drops every connection.
///
/// HTTP/1.1 and HTTP/2 on one port, told apart by ALPN under TLS and by the first bytes without.
///
/// # Errors
/// When accepting fails for a reason that is not the one connection's.
pub async fn serve(
    fake: Arc<FakeGoogle>,
    listener: TcpListener,
    tls: Option<Tls>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let acceptor = tls.map(|tls| TlsAcceptor::from(tls.config()));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(converse(Arc::clone(&fake), stream, acceptor.clone()));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

async fn converse(fake: Arc<FakeGoogle>, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
    // Without it the kernel would hold back small events, and tests would measure that.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let connection = Arc::new(Connection::default());
    let _open = fake.count_connection();
    let socket = Socket {
        stream,
        connection: Arc::clone(&connection),
    };
    match acceptor {
        None => converse_http(fake, connection, socket).await,
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(socket).await {
                converse_http(fake, connection, stream).await;
            }
        }
    }
}

async fn converse_http<I>(fake: Arc<FakeGoogle>, connection: Arc<Connection>, io: I)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn({
        let connection = Arc::clone(&connection);
        move |request| router::answer(Arc::clone(&fake), Arc::clone(&connection), request)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Google allows about this many streams on a connection.
    builder.http2().max_concurrent_streams(100);
    let serving = builder.serve_connection(TokioIo::new(io), service);
    tokio::pin!(serving);
    let mut going_away = false;
    loop {
        tokio::select! {
            // How a client ends a connection is its own affair; what it missed is counted per answer.
            _ended = serving.as_mut() => return,
            () = connection.cut.cancelled() => return,
            () = connection.go_away.cancelled(), if !going_away => {
                going_away = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The switches of one connection.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    cut: CancellationToken,
    go_away: CancellationToken,
    reset: AtomicBool,
    trickle: AtomicBool,
}

impl Connection {
    /// Ends it at once, with a FIN.
    pub(crate) fn close(&self) {
        self.cut.cancel();
    }

    /// Ends it at once, with a RST.
    pub(crate) fn reset(&self) {
        self.reset.store(true, Ordering::Relaxed);
        self.cut.cancel();
    }

    /// Whether this side ended it.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.is_cancelled()
    }

    /// From now on every write is of one byte, or no longer.
    pub(crate) fn trickle(&self, on: bool) {
        self.trickle.store(on, Ordering::Relaxed);
    }

    /// Sends GOAWAY (HTTP/2) or `connection: close` (HTTP/1.1) and ends when the running requests are answered.
    pub(crate) fn go_away(&self) {
        self.go_away.cancel();
    }
}

struct Socket {
    stream: TcpStream,
    connection: Arc<Connection>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.connection.reset.load(Ordering::Relaxed) {
            // When it fails the client sees a FIN instead of a RST, and there is nobody to tell.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let buf = if self.connection.trickle.load(Ordering::Relaxed) {
            &buf[..buf.len().min(1)]
        } else {
            buf
        };
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
