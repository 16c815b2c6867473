//! Which path is served by whom, and what the others are told.

use std::{panic::AssertUnwindSafe, sync::Arc};

use antigravity_traces::{Context, Kind, Span, Traces};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::Response,
    middleware::{self, Next},
    routing::{get, post},
};
use futures_util::FutureExt as _;

use super::{
    chat, health, models,
    respond::{self, ErrorCode, RequestId},
};
use crate::{
    config::Config,
    error::Error,
    limits::Limits,
    media::Fetcher,
    metrics::Metrics,
    models::Models,
    request_line::{CHAT, RequestLine},
    request_log::{Kept, RequestLog},
    status::{self, Status},
    strangers::Strangers,
    tokens::Tokens,
    upstream::{Upstream, drain::Drain},
};

/// What the handlers work with.
#[derive(Debug)]
pub struct Gateway {
    /// As it was read at the start.
    pub config: Config,
    /// Turns and access tokens.
    pub tokens: Arc<Tokens>,
    /// What can be asked for.
    pub models: Arc<Models>,
    /// Fetches media; `None`: nothing is fetched.
    pub media: Option<Fetcher>,
    /// How many requests run.
    pub limits: Limits,
    /// Google.
    pub upstream: Upstream,
    /// Where answers go whose client has hung up.
    pub drain: Drain,
    /// Who asks without a key.
    pub strangers: Arc<Strangers>,
    /// What is counted.
    pub metrics: Metrics,
    /// What begins spans.
    pub traces: Traces,
    /// Where requests are logged besides.
    pub request_log: RequestLog,
    /// How the process ends.
    pub shutdown: antigravity_runtime::shutdown::Shutdown,
}

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Which of our APIs a path belongs to; `None`: probes and scrapes, which come all the time and
/// tell nothing.
fn surface(path: &str) -> Option<&'static str> {
    match path {
        "/health" | "/livez" | "/readyz" | "/metrics" => None,
        "/v1/chat/completions" => Some(CHAT),
        "/v1/models" => Some("models"),
        path if path.starts_with("/v1/models/") => Some("models"),
        _ => Some("other"),
    }
}

const SERVED: &str = "POST /v1/chat/completions, GET /v1/models, GET /v1/models/{model}, \
                      GET /health, GET /livez and GET /readyz";

/// Everything that clients can ask.
pub fn router(gateway: Arc<Gateway>) -> Router {
    let cors = gateway.config.cors.layer();
    let router = Router::new()
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::show))
        .merge(health_routes())
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(unknown_path)
        .layer(middleware::from_fn_with_state(Arc::clone(&gateway), around))
        .with_state(gateway);
    match cors {
        Some(cors) => router.layer(cors),
        None => router,
    }
}

/// What the admin listener has: probes, scrapes, and the status page.
pub fn admin_router(gateway: Arc<Gateway>, status: Arc<Status>) -> Router {
    health_routes()
        .route("/metrics", get(health::metrics))
        .fallback(unknown_path)
        .layer(middleware::from_fn_with_state(Arc::clone(&gateway), around))
        .with_state(gateway)
        // What is around its requests is its own: they are no client's.
        .merge(status::router(Arc::clone(&status)))
        .layer(middleware::from_fn_with_state(status, status::by_our_name))
}

fn health_routes() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/health", get(health::health))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
}

async fn unknown_path(request: Request) -> Response<Body> {
    let error = Error::UnknownPath {
        method: beginning(request.method().as_str()),
        path: beginning(request.uri().path()),
        served: SERVED,
    };
    respond::error(&error, &request_id(&request))
}

/// Of what a client made up, as much as tells which it was.
fn beginning(text: &str) -> String {
    const LONGEST: usize = 1024;
    text[..text.floor_char_boundary(LONGEST)].to_owned()
}

async fn method_not_allowed(request: Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let allowed = if path == "/v1/chat/completions" {
        "POST"
    } else {
        "GET, HEAD"
    };
    let error = Error::MethodNotAllowed {
        method: beginning(request.method().as_str()),
        path,
        allowed,
    };
    respond::error(&error, &request_id(&request))
}

fn request_id(request: &Request) -> RequestId {
    // The layer around every route puts one there.
    request
        .extensions()
        .get()
        .cloned()
        .unwrap_or_else(|| RequestId(Arc::from("")))
}

/// What is around every request: its id, which its answer has as a header; a defect of ours
/// answers it with a 500 and harms no other; and while the process ends, its answer tells the
/// client to take the next request elsewhere. One layer, as each costs every request a few
/// allocations.
async fn around(
    State(gateway): State<Arc<Gateway>>,
    mut request: Request,
    next: Next,
) -> Response<Body> {
    let http1 = request.version() < axum::http::Version::HTTP_2;
    let (id, value) = RequestId::of(request.headers());
    let path = request.uri().path();
    let surface = surface(path);
    let span = if surface.is_none() || gateway.traces.is_off() {
        Span::default()
    } else {
        span(&gateway.traces, &request, &id)
    };
    let line = RequestLine::begin(
        Arc::clone(&id.0),
        request.method().clone(),
        path,
        surface,
        (&gateway.metrics, &gateway.strangers),
        span,
    );
    if gateway.request_log.is_on() && surface.is_some() {
        let forwarded_for = request.headers().get(FORWARDED_FOR);
        let forwarded_for = forwarded_for.and_then(|value| value.to_str().ok());
        line.keep_for(&gateway.request_log, forwarded_for);
    }
    let extensions = request.extensions_mut();
    extensions.insert(id.clone());
    extensions.insert(line.clone());
    let mut response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!(request_id = &*id.0, "a handler panicked");
            respond::error(&Error::Internal, &id)
        }
    };
    line.head(response.status());
    if let Some(ErrorCode(code)) = response.extensions().get() {
        line.failed(code);
    }
    if gateway.request_log.keeps_bodies() && surface.is_some() {
        response = response.map(|answer| Body::new(Kept::new(answer, line)));
    }
    let headers = response.headers_mut();
    if let Some(value) = value {
        headers.insert(respond::REQUEST_ID, value);
    }
    if http1 && gateway.shutdown.drain.is_cancelled() {
        let close = axum::http::HeaderValue::from_static("close");
        headers.insert(axum::http::header::CONNECTION, close);
    }
    response
}

/// As [`router`] has it. Not axum's `MatchedPath`, which costs every request something.
fn route(path: &str) -> Option<&'static str> {
    match path {
        "/v1/chat/completions" => Some("/v1/chat/completions"),
        "/v1/models" => Some("/v1/models"),
        _ => path.starts_with("/v1/models/").then_some("/v1/models/{id}"),
    }
}

/// The span of a client's request, in the client's trace if it says which.
fn span(traces: &Traces, request: &Request, id: &RequestId) -> Span {
    let asks = traces.asks_callers();
    let parent = asks
        .then(|| Context::of_headers(request.headers()))
        .flatten();
    let route = route(request.uri().path());
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "OPTIONS" | "PATCH") => known,
        // Clients name methods as they like.
        _ => "_OTHER",
    };
    let name = || match route {
        Some(route) => format!("{method} {route}").into(),
        None if method == "_OTHER" => "HTTP".into(),
        None => method.to_owned().into(),
    };
    let mut span = traces.begin_remote(Kind::Server, name, parent.as_ref());
    if span.is_recorded() {
        span.set("http.request.method", method);
        span.set("url.path", &*beginning(request.uri().path()));
        if let Some(route) = route {
            span.set("http.route", route);
        }
        let version = match request.version() {
            axum::http::Version::HTTP_2 => "2",
            axum::http::Version::HTTP_10 => "1.0",
            _ => "1.1",
        };
        span.set("network.protocol.version", version);
        span.set("antigravity.request.id", &*id.0);
    }
    span
}
