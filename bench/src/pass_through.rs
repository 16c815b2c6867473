//! The reference: a reverse proxy that looks at no body. What it costs is what it costs to
//! be in between at all; everything is told as a multiple of it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Context as _;
use http::{Request, Response, Uri, header, uri::Authority};
use http_body_util::{Either, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::{TcpListener, TcpStream};

use crate::tls;

/// Connections of clients that share an HTTP/2 connection to the upstream, which takes a
/// hundred streams.
const SHARE: usize = 100;

/// What `pass-through` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where requests go: http://HOST:PORT or https://HOST:PORT.
    #[arg(long, value_name = "URL")]
    to: Uri,
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Certificate authority to trust, PEM; for https.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

type Upstream = Client<HttpsConnector<HttpConnector>, Incoming>;
type Answer = Response<Either<Incoming, Empty<bytes::Bytes>>>;

/// Where requests go, and the clients that take them there.
struct Target {
    scheme: http::uri::Scheme,
    authority: Authority,
    lanes: Vec<Lane>,
}

/// One client, and how many connections use it.
struct Lane {
    client: Upstream,
    used: AtomicUsize,
}

/// Serves until the process is ended. The first line that it prints is its URL.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    println!("http://{}", listener.local_addr()?);
    serve(listener, &arguments.to, arguments.ca.as_deref()).await
}

/// Passes on what comes in at `listener`, for ever.
pub(crate) async fn serve(
    listener: TcpListener,
    to: &Uri,
    ca: Option<&Path>,
) -> anyhow::Result<()> {
    let target = Arc::new(Target::new(to, ca)?);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        tokio::spawn(converse(stream, Arc::clone(&target)));
    }
}

impl Target {
    fn new(to: &Uri, ca: Option<&Path>) -> anyhow::Result<Self> {
        let (Some(scheme), Some(authority)) = (to.scheme(), to.authority()) else {
            anyhow::bail!("{to} is no URL such as http://127.0.0.1:9100");
        };
        let roots = tls::trusting(ca)?;
        // Over plain HTTP/1.1 a client has a connection for each request, and one is enough.
        let lanes = if *scheme == http::uri::Scheme::HTTPS {
            32
        } else {
            1
        };
        let lane = || {
            let mut tcp = HttpConnector::new();
            tcp.set_nodelay(true);
            tcp.enforce_http(false);
            let connector = HttpsConnectorBuilder::new()
                .with_tls_config(roots.clone())
                .https_or_http()
                .enable_http1()
                .enable_http2()
                .wrap_connector(tcp);
            Lane {
                client: Client::builder(TokioExecutor::new())
                    .pool_max_idle_per_host(4096)
                    .build(connector),
                used: AtomicUsize::new(0),
            }
        };
        Ok(Self {
            scheme: scheme.clone(),
            authority: authority.clone(),
            lanes: (0..lanes).map(|_| lane()).collect(),
        })
    }

    /// The first lane with room; the last one when none has any.
    fn lane(&self) -> &Lane {
        let last = self.lanes.len() - 1;
        let room = |lane: &&Lane| lane.used.load(Ordering::Relaxed) < SHARE;
        self.lanes.iter().find(room).unwrap_or(&self.lanes[last])
    }

    async fn pass(&self, lane: &Lane, mut request: Request<Incoming>) -> hyper::Result<Answer> {
        let path = request.uri().path_and_query().cloned();
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = path.or_else(|| "/".parse().ok());
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        // The client's own, or none over HTTP/2.
        request.headers_mut().remove(header::HOST);
        request.headers_mut().remove(header::CONNECTION);
        *request.version_mut() = http::Version::HTTP_11;
        match lane.client.request(request).await {
            Ok(mut answer) => {
                *answer.version_mut() = http::Version::HTTP_11;
                Ok(answer.map(Either::Left))
            }
            Err(error) => {
                eprintln!("pass-through: {error:?}");
                let mut answer = Response::new(Either::Right(Empty::new()));
                *answer.status_mut() = http::StatusCode::BAD_GATEWAY;
                Ok(answer)
            }
        }
    }
}

async fn converse(stream: TcpStream, target: Arc<Target>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let lane = target.lane();
    lane.used.fetch_add(1, Ordering::Relaxed);
    let service = service_fn(|request| target.pass(lane, request));
    // How a client ends a connection is its own affair.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    lane.used.fetch_sub(1, Ordering::Relaxed);
}
