//! The collector, over gRPC or over HTTP.

use std::{io, time::Duration};

use antigravity_runtime::{config::ConfigError, tls::Connector};
use http::{HeaderMap, Uri, header};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use tokio::net::TcpStream;
use tonic::{
    Code, Request,
    metadata::MetadataMap,
    transport::{Channel, Endpoint},
};

use crate::{
    otlp::{
        collector::trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_client::TraceServiceClient,
        },
        common::v1::InstrumentationScope,
        resource::v1::Resource,
        trace::v1::{ResourceSpans, ScopeSpans, Span},
    },
    settings::{Protocol, Settings},
    span::attribute,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A longer answer is none.
const MAX_ANSWER: usize = 64 << 10;
/// Characters of a collector's words that are told.
const MAX_SAID: usize = 256;

/// Why spans were not taken.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// They may be the next time.
    Passing(String),
    /// They will not be.
    Final(String),
}

/// Where spans are sent.
#[derive(Debug)]
pub(crate) struct Collector {
    endpoint: String,
    headers: HeaderMap,
    resource: Resource,
    scope: InstrumentationScope,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Grpc(Channel),
    Http {
        client: reqwest::Client,
        url: String,
    },
}

/// Why there can be no collector.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// A file for TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] ConfigError),
    /// Its address is none.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT {0:?} is not an address such as http://127.0.0.1:4318")]
    Address(String),
    /// No connections can be made.
    #[error("cannot set up the connection to the collector: {0}")]
    Client(#[source] reqwest::Error),
}

impl Collector {
    pub(crate) fn new(
        settings: &Settings,
        service: &'static str,
        instance: &str,
    ) -> Result<Self, CollectorError> {
        let endpoint = settings.endpoint.clone();
        let is_tls = endpoint.starts_with("https://");
        if is_tls {
            settings.tls.check()?;
        }
        let way = match settings.protocol {
            Protocol::Grpc => Way::Grpc(channel(&endpoint, &settings.tls)?),
            Protocol::Http => {
                let builder = reqwest::Client::builder()
                    // A redirect would carry the headers to wherever it points.
                    .redirect(reqwest::redirect::Policy::none())
                    .connect_timeout(CONNECT_TIMEOUT);
                let builder = if is_tls {
                    let config = settings.tls.config(&[b"h2", b"http/1.1"])?;
                    builder.tls_backend_preconfigured(config)
                } else {
                    builder
                };
                Way::Http {
                    client: builder.build().map_err(CollectorError::Client)?,
                    url: format!("{endpoint}/v1/traces"),
                }
            }
        };
        let version = env!("CARGO_PKG_VERSION");
        let name = settings.service_name.as_deref().unwrap_or(service);
        Ok(Self {
            endpoint,
            headers: settings.headers.clone(),
            resource: Resource {
                attributes: vec![
                    attribute("service.name", name),
                    attribute("service.version", version),
                    attribute("service.instance.id", instance),
                ],
                ..Default::default()
            },
            scope: InstrumentationScope {
                name: "antigravity-gateway".to_owned(),
                version: version.to_owned(),
                ..Default::default()
            },
            way,
        })
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Sends spans; how many of them the collector rejects.
    pub(crate) async fn send(&self, spans: &[Span]) -> Result<u64, Refusal> {
        let message = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpans {
                    scope: Some(self.scope.clone()),
                    spans: spans.to_vec(),
                    ..Default::default()
                }],
                ..Default::default()
            }],
        };
        let answer = match &self.way {
            Way::Grpc(channel) => self.send_grpc(channel, message).await?,
            Way::Http { client, url } => self.send_http(client, url, &message).await?,
        };
        let partial = answer.partial_success.unwrap_or_default();
        Ok(u64::try_from(partial.rejected_spans).unwrap_or(0))
    }

    async fn send_grpc(
        &self,
        channel: &Channel,
        message: ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, Refusal> {
        let mut request = Request::new(message);
        *request.metadata_mut() = MetadataMap::from_headers(self.headers.clone());
        let mut client = TraceServiceClient::new(channel.clone());
        match client.export(request).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => {
                let said = bounded(status.message());
                let why = format!("{:?}: {said}", status.code());
                Err(match status.code() {
                    Code::Cancelled
                    | Code::DeadlineExceeded
                    | Code::Aborted
                    | Code::OutOfRange
                    | Code::Unavailable
                    | Code::ResourceExhausted
                    | Code::DataLoss
                    // What tonic says of a connection that broke.
                    | Code::Unknown => Refusal::Passing(why),
                    _ => Refusal::Final(why),
                })
            }
        }
    }

    async fn send_http(
        &self,
        client: &reqwest::Client,
        url: &str,
        message: &ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, Refusal> {
        let no_answer = |error: reqwest::Error| {
            let error = error.without_url();
            let source = std::error::Error::source(&error).map(ToString::to_string);
            Refusal::Passing(bounded(&source.unwrap_or_else(|| error.to_string())))
        };
        let mut answer = client
            .post(url)
            .headers(self.headers.clone())
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .body(message.encode_to_vec())
            .send()
            .await
            .map_err(no_answer)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(no_answer)? {
            body.extend_from_slice(&piece);
            if body.len() > MAX_ANSWER {
                break;
            }
        }
        if status.is_success() {
            return Ok(ExportTraceServiceResponse::decode(&body[..]).unwrap_or_default());
        }
        let why = format!("it answers {status}");
        Err(match status.as_u16() {
            429 | 502 | 503 | 504 => Refusal::Passing(why),
            _ => Refusal::Final(why),
        })
    }
}

fn channel(endpoint: &str, tls: &Connector) -> Result<Channel, CollectorError> {
    let wrong = || CollectorError::Address(endpoint.to_owned());
    let uri: Uri = endpoint.parse().map_err(|_| wrong())?;
    let host = uri.host().ok_or_else(wrong)?.to_owned();
    let is_tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let authority = format!("{host}:{port}");
    // Of a name without TLS even where there is: our own connector does the handshake.
    let address = Endpoint::from_shared(format!("http://{authority}"))
        .map_err(|_| wrong())?
        .origin(uri)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(Duration::from_secs(30));
    let tls = is_tls.then(|| tls.clone());
    let connect = tower::service_fn(move |_| {
        let (authority, host, tls) = (authority.clone(), host.clone(), tls.clone());
        async move {
            let stream = TcpStream::connect(&authority).await?;
            let stream: Box<dyn Stream> = match tls {
                Some(tls) => Box::new(tls.connect(&host, &[b"h2"], stream).await?),
                None => Box::new(stream),
            };
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    Ok(address.connect_with_connector_lazy(connect))
}

/// A connection, with or without TLS.
trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Stream for S {}

fn bounded(text: &str) -> String {
    text.chars().take(MAX_SAID).collect()
}
