//! The way to a token-service: in the clear, or over TLS.

use std::{io, time::Duration};

use antigravity_runtime::tls::Connector;
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tonic::transport::{Channel, Endpoint};
use tower::{Service, service_fn};

use super::client::Error;

/// A service on the same machine answers much faster.
const CONNECT: Duration = Duration::from_secs(5);

/// How a service is reached.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    url: String,
    endpoint: Endpoint,
    host: String,
    /// `host:port`.
    authority: String,
    tls: Option<Connector>,
}

impl Route {
    /// To the service at `url`, with `tls` where that says https.
    ///
    /// # Errors
    /// Text that is no URL.
    pub(crate) fn to(url: &str, tls: Connector) -> Result<Self, Error> {
        let wrong = || Error::Url {
            url: url.to_owned(),
        };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let host = uri.host().ok_or_else(wrong)?.to_owned();
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let authority = format!("{host}:{port}");
        // Of a name without TLS even where there is: our own connector does the handshake.
        let endpoint = Endpoint::from_shared(format!("http://{authority}"))
            .map_err(|_| wrong())?
            .origin(uri)
            .connect_timeout(CONNECT);
        Ok(Self {
            url: url.to_owned(),
            endpoint,
            host,
            authority,
            tls: is_tls.then_some(tls),
        })
    }

    /// Connects now.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) async fn now(self) -> Result<Channel, Error> {
        let (endpoint, url) = (self.endpoint.clone(), self.url.clone());
        let connected = endpoint.connect_with_connector(self.connector()).await;
        connected.map_err(|source| Error::Unreachable { url, source })
    }

    /// Connects with the first call.
    pub(crate) fn lazily(self) -> Channel {
        let endpoint = self.endpoint.clone();
        endpoint.connect_with_connector_lazy(self.connector())
    }

    fn connector(
        self,
    ) -> impl Service<Uri, Response = TokioIo<Box<dyn Io>>, Error = io::Error, Future: Send>
    + Send
    + 'static {
        service_fn(move |_| {
            let this = self.clone();
            async move {
                let stream = TcpStream::connect(&this.authority).await?;
                stream.set_nodelay(true)?;
                let stream: Box<dyn Io> = match &this.tls {
                    Some(tls) => Box::new(tls.connect(&this.host, &[b"h2"], stream).await?),
                    None => Box::new(stream),
                };
                Ok(TokioIo::new(stream))
            }
        })
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}
