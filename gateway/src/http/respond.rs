//! Answers: OpenAI's errors, JSON, and the headers that every answer has.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Response, header},
};
use bytes::Bytes;
use uuid::Uuid;

use crate::{error::Error, limits::Standing, new_id};

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const IGNORED_PARAMS: HeaderName = HeaderName::from_static("x-ignored-params");
/// What a client gets whose request's head does not end; the listener sends it, since
/// there is no request to answer yet.
pub(super) const HEAD_TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
    Content-Type: application/json\r\nContent-Length: 144\r\nConnection: close\r\n\r\n\
    {\"error\":{\"message\":\"The headers of your request did not arrive in time.\",\
    \"type\":\"invalid_request_error\",\"param\":null,\"code\":\"request_timeout\"}}";
/// How a key stands to its limit of requests at once, under OpenAI's names.
pub(super) const RATE_LIMITS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
pub(super) const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// The id of a request: the client's where it has a sane one, else a new one.
#[derive(Clone, Debug)]
pub(super) struct RequestId(pub(super) Arc<str>);

impl RequestId {
    /// The id, and the header with it.
    pub(super) fn of(headers: &HeaderMap) -> (Self, Option<HeaderValue>) {
        let sane =
            |id: &[u8]| !id.is_empty() && id.len() <= 128 && id.iter().all(u8::is_ascii_graphic);
        let given = headers.get(REQUEST_ID).filter(|id| sane(id.as_bytes()));
        if let Some(value) = given
            && let Ok(id) = value.to_str()
        {
            return (Self(id.into()), Some(value.clone()));
        }
        let mut hex = Uuid::encode_buffer();
        let id = format!("req_{}", new_id().simple().encode_lower(&mut hex));
        // An id is graphic ASCII, so it is a header's value.
        let value = HeaderValue::from_str(&id).ok();
        (Self(id.into()), value)
    }
}

/// In an answer's extensions: the code of the error that it tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct ErrorCode(pub(super) &'static str);

/// An error as OpenAI writes it.
pub(super) fn error(error: &Error, request_id: &RequestId) -> Response<Body> {
    if error.status().is_server_error() {
        tracing::warn!(
            request_id = &*request_id.0,
            code = error.code(),
            error = error.for_logs(),
            "request failed"
        );
    } else {
        tracing::debug!(
            request_id = &*request_id.0,
            code = error.code(),
            error = error.for_logs(),
            "request refused"
        );
    }
    let mut response = json(error.body(&request_id.0).into());
    *response.status_mut() = error.status();
    response.extensions_mut().insert(ErrorCode(error.name()));
    let headers = response.headers_mut();
    if let Some(after) = error.retry_after() {
        // Rounded up: whoever comes a moment early is refused again.
        let seconds = after.as_millis().div_ceil(1000).max(1);
        headers.insert(
            header::RETRY_AFTER,
            HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)),
        );
        headers.insert(
            RETRY_AFTER_MS,
            HeaderValue::from(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        );
    }
    if let Error::Busy {
        of_key: true,
        limit,
    } = *error
    {
        let remaining = 0;
        standing(headers, Standing { limit, remaining });
    }
    if let Error::MethodNotAllowed { allowed, .. } = error {
        headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
    }
    if matches!(error, Error::MissingApiKey | Error::WrongApiKey) {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if matches!(error, Error::BodyTooLarge { .. } | Error::BodyTimeout) {
        // What is left of the body is not read.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Tells a client how its key stands. A place is free when a request ends, which nobody knows;
/// a second is what it is told to wait when there is none.
pub(super) fn standing(headers: &mut HeaderMap, standing: Standing) {
    let Standing { limit, remaining } = standing;
    let reset = HeaderValue::from_static(if remaining == 0 { "1s" } else { "0s" });
    let values = [
        HeaderValue::from(limit),
        HeaderValue::from(remaining),
        reset,
    ];
    headers.extend(RATE_LIMITS.into_iter().zip(values));
}

/// A JSON answer.
pub(super) fn json(body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// The start of a stream of server-sent events.
pub(super) fn event_stream(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // nginx would otherwise hold events back.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}
