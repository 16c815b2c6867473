//! Whether the process lives, and whether it should get requests.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Extension, State},
    http::{HeaderValue, Response, StatusCode, header},
};

use super::{
    Gateway,
    respond::{self, RequestId},
};
use crate::{
    error::Error,
    metrics::{self, Elsewhere},
};

/// What is counted, for Prometheus.
pub(super) async fn metrics(
    State(gateway): State<Arc<Gateway>>,
    Extension(id): Extension<RequestId>,
) -> Response<Body> {
    let text = tokio::task::spawn_blocking(move || {
        // Of a great many models it takes milliseconds, for which no stream is to wait.
        gateway.metrics.text(|| Elsewhere {
            tokens_in_hand: gateway.tokens.in_hand(),
            lost_spans: gateway.traces.lost(),
            lost_entries: gateway.request_log.lost(),
        })
    });
    let Ok(text) = text.await else {
        return respond::error(&Error::Internal, &id);
    };
    let mut response = Response::new(text.into());
    let kind = HeaderValue::from_static(metrics::CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// For older clients: the process answers.
pub(super) async fn health() -> Response<Body> {
    respond::json(br#"{"status":"ok"}"#.as_slice().into())
}

/// The process lives; depends on nothing.
pub(super) async fn livez() -> Response<Body> {
    respond::json(br#"{"status":"ok"}"#.as_slice().into())
}

/// Whether requests can be served: an unexpired token is in hand, or the token-service
/// answers (an empty pool included, which it explains better than a failing probe).
pub(super) async fn readyz(State(gateway): State<Arc<Gateway>>) -> Response<Body> {
    let (status, body): (_, &[u8]) = if gateway.shutdown.drain.is_cancelled() {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            br#"{"status":"shutting_down"}"#,
        )
    } else if gateway.tokens.is_reachable().await {
        (StatusCode::OK, br#"{"status":"ok"}"#)
    } else if gateway.tokens.has_usable() {
        (
            StatusCode::OK,
            br#"{"status":"degraded","reason":"the token-service does not answer; tokens in hand are used"}"#,
        )
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            br#"{"status":"unavailable","reason":"the token-service does not answer and no access token is in hand"}"#,
        )
    };
    let mut response = respond::json(body.into());
    *response.status_mut() = status;
    response
}
