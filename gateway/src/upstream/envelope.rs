//! One Gemini request inside three envelopes: where it goes, what is around it, and
//! which headers go with it.

use antigravity_proto::v1::Upstream;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use translate::gemini::model::{Dialect, Generation, makes_images};

use super::pieces::Pieces;
use crate::{config::Upstreams, tokens::Token};

const USER_PROJECT: HeaderName = HeaderName::from_static("x-goog-user-project");
const API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

/// How an upstream wants Gemini's language written.
#[must_use]
pub fn dialect(upstream: Upstream) -> Dialect {
    match upstream {
        Upstream::Gemini => Dialect::GeminiApi,
        Upstream::Vertex => Dialect::Vertex,
        Upstream::Antigravity | Upstream::Unspecified => Dialect::CodeAssist,
    }
}

/// Whether a unary answer is better asked for as a stream and folded: Code Assist
/// serves Claude and image models so.
#[must_use]
pub fn streams_only(upstream: Upstream, model: &str) -> bool {
    upstream == Upstream::Antigravity
        && (Generation::of(model) == Generation::Claude || makes_images(model))
}

/// How many hosts serve an upstream.
#[must_use]
pub fn hosts(upstreams: &Upstreams, upstream: Upstream) -> usize {
    match upstream {
        Upstream::Antigravity => upstreams.antigravity.len(),
        Upstream::Gemini | Upstream::Vertex | Upstream::Unspecified => 1,
    }
}

/// Where a request to generate goes. `host` counts the hosts that were tried.
#[must_use]
pub fn url(upstreams: &Upstreams, token: &Token, model: &str, stream: bool, host: usize) -> String {
    let method = if stream {
        "streamGenerateContent?alt=sse"
    } else {
        "generateContent"
    };
    match token.upstream {
        Upstream::Gemini => format!("{}/v1beta/models/{model}:{method}", upstreams.gemini),
        Upstream::Vertex => format!(
            "{}/v1/projects/{}/locations/{}/publishers/google/models/{model}:{method}",
            vertex_host(upstreams, &token.location),
            percent_encoded(&token.google_project_id),
            percent_encoded(location(&token.location)),
        ),
        Upstream::Antigravity | Upstream::Unspecified => {
            format!("{}/v1internal:{method}", antigravity_host(upstreams, host))
        }
    }
}

/// A host of Code Assist; they are gone round.
#[must_use]
pub fn antigravity_host(upstreams: &Upstreams, host: usize) -> &str {
    let hosts = &upstreams.antigravity;
    hosts
        .get(host % hosts.len().max(1))
        .map_or("https://cloudcode-pa.googleapis.com", String::as_str)
}

fn location(location: &str) -> &str {
    if location.is_empty() {
        "global"
    } else {
        location
    }
}

/// Google's host of a location, unless one is configured.
#[must_use]
pub fn vertex_host(upstreams: &Upstreams, at: &str) -> String {
    if let Some(configured) = &upstreams.vertex {
        return configured.clone();
    }
    match location(at) {
        "global" => "https://aiplatform.googleapis.com".to_owned(),
        multi @ ("us" | "eu") => format!("https://aiplatform.{multi}.rep.googleapis.com"),
        region => format!(
            "https://{}-aiplatform.googleapis.com",
            percent_encoded(region)
        ),
    }
}

/// A piece of a path or a query in which nothing means something else.
#[must_use]
pub fn percent_encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The request with its envelope around it. `request_id` is unique per attempt.
#[must_use]
pub fn body(token: &Token, model: &str, request_id: &str, request: Bytes) -> Pieces {
    match token.upstream {
        Upstream::Gemini | Upstream::Vertex => Pieces::new([Bytes::new(), request, Bytes::new()]),
        Upstream::Antigravity | Upstream::Unspecified => {
            let kind = if makes_images(model) {
                "image_gen"
            } else {
                "agent"
            };
            let mut head = Vec::with_capacity(256);
            head.extend_from_slice(b"{\"project\":");
            translate::json::write_string(&mut head, &token.google_project_id);
            head.extend_from_slice(b",\"requestId\":");
            translate::json::write_string(&mut head, request_id);
            head.extend_from_slice(b",\"model\":");
            translate::json::write_string(&mut head, model);
            head.extend_from_slice(b",\"requestType\":");
            translate::json::write_string(&mut head, kind);
            head.extend_from_slice(b",\"request\":");
            Pieces::new([head.into(), request, Bytes::from_static(b"}")])
        }
    }
}

/// The headers of a request: the token, the project where the API wants it there, and
/// what the operator adds.
#[must_use]
pub fn headers(upstreams: &Upstreams, token: &Token) -> HeaderMap {
    let mut headers = upstreams.headers.clone();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    // Google refuses requests that show both, whoever put the other there.
    let (shown, other) = if token.is_api_key() {
        (API_KEY, header::AUTHORIZATION)
    } else {
        (header::AUTHORIZATION, API_KEY)
    };
    headers.remove(other);
    if let Some(value) = &token.authorization {
        headers.insert(shown, value.clone());
    }
    if token.is_api_key() {
        // A key belongs to a project, which pays.
        headers.remove(USER_PROJECT);
    // Code Assist refuses it: consumer projects do not have that API enabled.
    } else if token.upstream == Upstream::Gemini
        && let Ok(project) = HeaderValue::from_str(&token.google_project_id)
    {
        headers.insert(USER_PROJECT, project);
    }
    headers
}
