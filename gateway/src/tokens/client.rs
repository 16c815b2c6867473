//! The gRPC client of the token-service.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use antigravity_proto::v1::{AcquireTokensRequest, AcquireTokensResponse, ReportOutcomesRequest};
use antigravity_runtime::{config::ConfigError, tls::Connector};
use antigravity_traces::{Context, Span, Traces, grpc};
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
};
use tonic_types::StatusExt as _;

use super::{endpoints::Endpoints, operator::Operator};
use crate::{error::Error, metrics::Metrics};

/// Longer than a refresh at the OAuth endpoint may take, which a call may wait for.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(40);
const REPORT_TIMEOUT: Duration = Duration::from_secs(10);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a readiness check waits for the probe.
const PROBE_PATIENCE: Duration = Duration::from_millis(300);
const ACQUIRE: &str = "antigravity.token.v1.TokenService/AcquireTokens";
const REPORT: &str = "antigravity.token.v1.TokenService/ReportOutcomes";

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// An address is none.
    #[error("TOKEN_SERVICE_URL {url:?} is not an address such as http://127.0.0.1:50051")]
    Url {
        /// What was given.
        url: String,
    },
    /// A file for TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] ConfigError),
    /// The token has characters that no header can carry.
    #[error("GATEWAY_TOKEN has characters that no header can carry")]
    Token,
}

/// Why the token-service handed out nothing.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The request excluded every project that could serve.
    AllExcluded,
    /// As the client is to be told.
    Told(Error),
}

impl Refusal {
    pub(super) fn is_away(&self) -> bool {
        matches!(self, Self::Told(Error::TokenServiceAway))
    }
}

/// Calls the token-service; connects by itself, again and again.
#[derive(Clone, Debug)]
pub struct Client {
    endpoints: Arc<Endpoints>,
    bearer: MetadataValue<Ascii>,
    gateway_id: String,
    traces: Traces,
    /// When it was last asked whether it answers, and whether it did.
    probed: Arc<Mutex<Option<(Instant, bool)>>>,
}

impl Client {
    /// A client of the service at `urls`, over `tls` where they say https; does not connect
    /// yet.
    ///
    /// # Errors
    /// An address, a file or a token that cannot be used.
    pub fn new(
        urls: &[String],
        tls: &Connector,
        token: &SecretString,
        metrics: Metrics,
        traces: Traces,
    ) -> Result<Self, ClientError> {
        if urls.iter().any(|url| url.starts_with("https://")) {
            tls.check()?;
        }
        let endpoints =
            Endpoints::new(urls, tls, metrics).map_err(|url| ClientError::Url { url })?;
        Ok(Self {
            endpoints: Arc::new(endpoints),
            bearer: bearer(token).ok_or(ClientError::Token)?,
            gateway_id: uuid::Uuid::new_v4().to_string(),
            traces,
            probed: Arc::default(),
        })
    }

    /// The same service for whoever shows an operator's token; `None`: it has characters that no
    /// header can carry.
    #[must_use]
    pub fn operator(&self, token: &SecretString) -> Option<Operator> {
        Some(Operator::new(Arc::clone(&self.endpoints), bearer(token)?))
    }

    fn request<T: Clone>(&self, message: &T, timeout: Duration, span: &Span) -> Request<T> {
        let mut request = Request::new(message.clone());
        request
            .metadata_mut()
            .insert("authorization", self.bearer.clone());
        request.set_timeout(timeout);
        grpc::send_along(span, request.metadata_mut());
        request
    }

    pub(super) async fn acquire(
        &self,
        request: AcquireTokensRequest,
        asked_in: Option<&Context>,
    ) -> Result<AcquireTokensResponse, Refusal> {
        let span = grpc::call(&self.traces, ACQUIRE, asked_in);
        let answer = self.acquire_within(request, ACQUIRE_TIMEOUT, span).await;
        answer.map_err(|status| refusal(&status))
    }

    async fn acquire_within(
        &self,
        mut request: AcquireTokensRequest,
        timeout: Duration,
        mut span: Span,
    ) -> Result<AcquireTokensResponse, Status> {
        request.gateway_id.clone_from(&self.gateway_id);
        let answer = self
            .endpoints
            .call("AcquireTokens", |mut client| {
                let call = self.request(&request, timeout, &span);
                async move { client.acquire_tokens(call).await }
            })
            .await;
        grpc::came_to(&mut span, code(&answer));
        answer
    }

    /// Hands reports in.
    ///
    /// # Errors
    /// As the service says; a transport failure is `UNAVAILABLE`.
    pub async fn report(&self, request: &mut ReportOutcomesRequest) -> Result<(), Status> {
        request.gateway_id.clone_from(&self.gateway_id);
        let mut span = grpc::call(&self.traces, REPORT, None);
        span.set("antigravity.reports", request.reports.len() as u64);
        let answer = self
            .endpoints
            .call("ReportOutcomes", |mut client| {
                let call = self.request(request, REPORT_TIMEOUT, &span);
                async move { client.report_outcomes(call).await }
            })
            .await;
        grpc::came_to(&mut span, code(&answer));
        answer.map(|_| ())
    }

    /// Whether the service answers. Whoever asks is told in good time, before a load balancer
    /// loses its patience, also when the service is silent.
    pub(super) async fn is_reachable(&self) -> bool {
        {
            let mut probed = self.probed.lock();
            let before = match *probed {
                Some((at, answered)) if at.elapsed() < PROBE_TIMEOUT => return answered,
                Some((_, answered)) => answered,
                None => false,
            };
            // Whoever asks meanwhile hears what was so before.
            *probed = Some((Instant::now(), before));
        }
        let this = self.clone();
        // To its end, whether or not somebody waits for it.
        let probe = tokio::spawn(async move { this.probe().await });
        matches!(
            tokio::time::timeout(PROBE_PATIENCE, probe).await,
            Ok(Ok(true))
        )
    }

    async fn probe(&self) -> bool {
        // No turn, nothing refreshed: the answer costs nothing.
        let nothing = AcquireTokensRequest {
            count: Some(0),
            ..Default::default()
        };
        // Of no request, and of no interest.
        let span = self.traces.unrecorded();
        let answered = match self.acquire_within(nothing, PROBE_TIMEOUT, span).await {
            Ok(_) => true,
            // An empty pool answers too.
            Err(status) => matches!(
                status.code(),
                Code::FailedPrecondition | Code::ResourceExhausted
            ),
        };
        *self.probed.lock() = Some((Instant::now(), answered));
        answered
    }
}

fn bearer(token: &SecretString) -> Option<MetadataValue<Ascii>> {
    let text = format!("Bearer {}", token.expose_secret());
    let mut bearer: MetadataValue<Ascii> = text.parse().ok()?;
    bearer.set_sensitive(true);
    Some(bearer)
}

fn code<T>(answer: &Result<T, Status>) -> Code {
    answer.as_ref().map_or_else(Status::code, |_| Code::Ok)
}

fn refusal(status: &Status) -> Refusal {
    let reason = status.get_details_error_info().map(|info| info.reason);
    let told = match status.code() {
        Code::FailedPrecondition => match reason.as_deref() {
            Some("ALL_EXCLUDED") => return Refusal::AllExcluded,
            Some("NO_PROJECTS") => Error::no_projects(),
            _ => Error::NoUsableProject {
                message: explained(reason.as_deref()).to_owned(),
            },
        },
        Code::ResourceExhausted => Error::RateLimited {
            message: "Every project that could serve this model rests, as Google asked.".to_owned(),
            retry_after: status
                .get_details_retry_info()
                .and_then(|info| info.retry_delay),
            quota: false,
        },
        // The service says so itself: it is there, and Google's OAuth endpoint is not.
        Code::Unavailable if reason.is_some() => Error::NoUsableProject {
            message: "The access tokens have expired and Google's OAuth endpoint does not \
                      refresh them; it is being tried again."
                .to_owned(),
        },
        Code::Unauthenticated | Code::PermissionDenied => {
            tracing::error!(
                "the token-service refuses this gateway's token: GATEWAY_TOKEN has to be the same \
                 on both sides"
            );
            Error::TokenServiceAway
        }
        code => {
            tracing::debug!(%code, said = status.message(), "the token-service does not answer");
            Error::TokenServiceAway
        }
    };
    Refusal::Told(told)
}

fn explained(reason: Option<&str>) -> &'static str {
    match reason {
        Some("ALL_DISABLED") => {
            "Every project that could serve this request is disabled. Enable one with \
             `antigravity-gateway projects enable`."
        }
        Some("NEEDS_LOGIN") => {
            "Google has revoked the logins of every project that could serve this request. \
             `antigravity-gateway projects list` tells what to do."
        }
        Some("OAUTH_CLIENT_INVALID") => {
            "Google refuses the OAuth client of every project that could serve this request. \
             Check its client id and secret."
        }
        _ => {
            "No Google project can serve this request now. `antigravity-gateway projects list` \
             tells why."
        }
    }
}
