//! One client: a connection that is kept, and requests on it whose answers are read to
//! their end.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// Longer than any answer here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// As much of an answer's end as is kept to look for its mark.
const TAIL: usize = 1024;

/// Where requests go.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    /// For HTTPS, as `localhost`.
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
}

/// A request, and how its answer has to end.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) door: Door,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) end_mark: &'static str,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection(SendRequest<Full<Bytes>>);

/// An answer that came whole.
#[derive(Debug)]
pub(crate) struct Answer {
    /// From sending to the first byte of the body.
    pub(crate) first_byte: Duration,
    pub(crate) total: Duration,
    /// The longest time between two reads of the body.
    pub(crate) longest_gap: Duration,
    /// What was read, when it was to be kept; else nothing.
    pub(crate) body: Vec<u8>,
}

impl Door {
    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        let stream = tokio::time::timeout(PATIENCE, TcpStream::connect(self.address))
            .await?
            .with_context(|| format!("cannot connect to {}", self.address))?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Connection::over(stream).await,
            Some(tls) => {
                let name = ServerName::try_from("localhost")?;
                let connector = TlsConnector::from(Arc::clone(tls));
                Connection::over(connector.connect(name, stream).await?).await
            }
        }
    }
}

impl Connection {
    async fn over<I>(io: I) -> anyhow::Result<Self>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = handshake(TokioIo::new(io)).await?;
        // What breaks it is told to the request that is running.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self(sender))
    }

    /// Sends the request and reads the answer to its end; a whole one with the mark, or an
    /// error.
    pub(crate) async fn call(&mut self, call: &Call, keep: bool) -> anyhow::Result<Answer> {
        tokio::time::timeout(PATIENCE, self.exchange(call, keep))
            .await
            .context("no whole answer within a minute")?
    }

    async fn exchange(&mut self, call: &Call, keep: bool) -> anyhow::Result<Answer> {
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = call.path.parse()?;
        request.headers_mut().clone_from(&call.headers);
        let began = Instant::now();
        self.0.ready().await?;
        let response = self.0.send_request(request).await?;
        let status = response.status();
        let mut body = response.into_body();
        let mut first_byte = None;
        let mut longest_gap = Duration::ZERO;
        let mut heard = began;
        let mut kept = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            let now = Instant::now();
            match first_byte {
                None => first_byte = Some(now - began),
                Some(_) => longest_gap = longest_gap.max(now - heard),
            }
            heard = now;
            if !keep && kept.len() + data.len() > TAIL {
                let from = (kept.len() + data.len()).saturating_sub(TAIL);
                kept.drain(..from.min(kept.len()));
                kept.extend_from_slice(&data[data.len().saturating_sub(TAIL)..]);
            } else {
                kept.extend_from_slice(&data);
            }
        }
        let total = began.elapsed();
        let tail = String::from_utf8_lossy(&kept[kept.len().saturating_sub(TAIL)..]);
        if !status.is_success() {
            bail!("status {status}: {tail}");
        }
        if !tail.contains(call.end_mark) {
            bail!("the answer does not end with {}: {tail}", call.end_mark);
        }
        Ok(Answer {
            first_byte: first_byte.unwrap_or(total),
            total,
            longest_gap,
            body: if keep { kept } else { Vec::new() },
        })
    }
}

/// The headers that every request has.
pub(crate) fn headers(bearer: Option<&str>) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, "localhost".parse()?);
    headers.insert(header::CONTENT_TYPE, "application/json".parse()?);
    if let Some(bearer) = bearer {
        headers.insert(header::AUTHORIZATION, format!("Bearer {bearer}").parse()?);
    }
    Ok(headers)
}
