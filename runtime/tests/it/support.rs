//! A listener with a service that answers by path, and clients that speak bytes.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use antigravity_runtime::{
    listener::{Limits, RequestBody, serve},
    shutdown::Shutdown,
    tls::Acceptor,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    pub(crate) task: JoinHandle<std::io::Result<()>>,
    /// Says so of every answer that was dropped before its end.
    pub(crate) dropped: mpsc::Receiver<()>,
}

/// What a test waits for at most.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

impl Server {
    pub(crate) async fn start(limits: Limits) -> Self {
        Self::with_tls(limits, None).await
    }

    pub(crate) async fn with_tls(limits: Limits, tls: Option<Arc<Acceptor>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let (tell, dropped) = mpsc::channel(64);
        let service = tower::service_fn(move |request: Request<RequestBody>| {
            let tell = tell.clone();
            async move { Ok::<_, Infallible>(answer(request, tell).await) }
        });
        let task = tokio::spawn(serve(listener, tls, service, limits, shutdown.clone()));
        Self {
            address,
            shutdown,
            task,
            dropped,
        }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Asks on a connection of its own, and returns the status line.
    pub(crate) async fn ask(&self, path: &str) -> String {
        let mut stream = self.connect().await;
        get(&mut stream, path).await
    }
}

/// `/endless` never stops; `/slow` takes a while; `/stream` begins, and takes a while to end;
/// `/unread` does not look at the body;
/// everything else answers the method, the
/// path and the body.
async fn answer(request: Request<RequestBody>, tell: mpsc::Sender<()>) -> Response<Words> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let words = match path.as_str() {
        "/endless" => Words {
            left: None,
            tell: Some(tell),
            pause: None,
        },
        "/stream" => Words {
            left: Some("begun\n".into()),
            tell: None,
            pause: Some(Box::pin(tokio::time::sleep(Duration::from_millis(600)))),
        },
        "/unread" => Words {
            left: Some("unread\n".into()),
            tell: None,
            pause: None,
        },
        _ => {
            let body = body.collect().await.map(|body| body.to_bytes());
            if path == "/slow" {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            let body = body.unwrap_or_default();
            let text = format!(
                "{} {path} {}\n",
                parts.method,
                String::from_utf8_lossy(&body)
            );
            Words {
                left: Some(text.into()),
                tell: None,
                pause: None,
            }
        }
    };
    Response::new(words)
}

/// A body of one text, or one that never ends.
pub(crate) struct Words {
    left: Option<Bytes>,
    tell: Option<mpsc::Sender<()>>,
    /// Before its end.
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Drop for Words {
    fn drop(&mut self) {
        if let Some(tell) = &self.tell {
            // Nobody may be listening any more.
            let _ = tell.try_send(());
        }
    }
}

impl Body for Words {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.tell.is_some() {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(
                &[b'x'; 32 * 1024],
            )))));
        }
        if let Some(left) = self.left.take() {
            return Poll::Ready(Some(Ok(Frame::data(left))));
        }
        if let Some(pause) = &mut self.pause {
            std::task::ready!(pause.as_mut().poll(context));
        }
        Poll::Ready(None)
    }
}

/// Asks on `stream`, and returns what came with the first read of the answer.
pub(crate) async fn get(stream: &mut TcpStream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    some(stream).await
}

/// What comes next.
pub(crate) async fn some(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut read = vec![0; 4096];
    let length = timeout(PATIENCE, stream.read(&mut read)).await.unwrap();
    String::from_utf8_lossy(&read[..length.unwrap_or(0)]).into_owned()
}

/// Everything until the other side closes, or resets.
pub(crate) async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut read = Vec::new();
    let reading = timeout(PATIENCE, stream.read_to_end(&mut read)).await;
    // A reset is an end as well.
    let _ = reading.unwrap();
    String::from_utf8_lossy(&read).into_owned()
}
