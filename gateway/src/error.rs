//! Everything that can go wrong with a client's request, and the one place where it
//! gets its HTTP status and OpenAI's words.

use std::time::Duration;

use http::StatusCode;
use translate::error::InvalidRequest;

/// Why a request is not answered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The request is wrong in itself.
    #[error(transparent)]
    InvalidRequest(#[from] InvalidRequest),
    /// The body is not UTF-8.
    #[error("We could not parse the JSON body of your request: it is not valid UTF-8.")]
    InvalidUtf8,
    /// The body is larger than the limit.
    #[error("The body of your request is larger than the limit of {limit} bytes.")]
    BodyTooLarge {
        /// `MAX_BODY_BYTES`.
        limit: usize,
    },
    /// The body did not end in time.
    #[error("The body of your request did not arrive in time.")]
    BodyTimeout,
    /// The connection broke before the body was there.
    #[error("The body of your request broke off.")]
    BodyBroken,
    /// The body is compressed.
    #[error("Bodies with a Content-Encoding are not served; send the JSON as it is.")]
    CompressedBody,
    /// No API key was shown.
    #[error(
        "You didn't provide an API key. Provide your API key in an Authorization header using \
         Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
    )]
    MissingApiKey,
    /// The API key that was shown is none of ours.
    #[error("Incorrect API key provided. The keys of this gateway are set in its API_KEYS.")]
    WrongApiKey,
    /// There is no such path.
    #[error("Invalid URL ({method} {path}). This gateway serves {served}.")]
    UnknownPath {
        /// What the client asked with.
        method: String,
        /// What the client asked for.
        path: String,
        /// What there is.
        served: &'static str,
    },
    /// The path is there, the method is not.
    #[error("Not allowed to {method} on {path}. Allowed: {allowed}.")]
    MethodNotAllowed {
        /// What the client asked with.
        method: String,
        /// What the client asked for.
        path: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Nobody lists the model, or Google does not know it.
    #[error("{message}")]
    UnknownModel {
        /// In Google's words where it has some.
        message: String,
    },
    /// Google refused the request as wrong, in Google's words.
    #[error("{message}")]
    Refused {
        /// Google's text, which names the field.
        message: String,
        /// 400 or another 4xx.
        status: StatusCode,
    },
    /// Quota or rate: nothing can be had before `retry_after`.
    #[error("{message}")]
    RateLimited {
        /// What stands in the way.
        message: String,
        /// When it pays to come back. `None`: nobody said.
        retry_after: Option<Duration>,
        /// A window's quota is used up, rather than a short limit hit.
        quota: bool,
    },
    /// Projects there are, but none can be used.
    #[error("{message}")]
    NoUsableProject {
        /// Why, and what the operator can do.
        message: String,
    },
    /// The token-service cannot be asked, and no token is in hand.
    #[error(
        "The gateway has no access token in hand and cannot reach its token-service. Try again \
         in a moment."
    )]
    TokenServiceAway,
    /// Google refuses this client's version.
    #[error(
        "Google does not serve this version of the client on this upstream: {message} Use \
         projects of the upstreams 'gemini' or 'vertex'."
    )]
    ClientUnsupported {
        /// Google's words.
        message: String,
    },
    /// Google failed.
    #[error("{message}")]
    Upstream {
        /// Google's words.
        message: String,
        /// Google's status.
        status: StatusCode,
        /// When it says that it pays to come back.
        retry_after: Option<Duration>,
    },
    /// Google could not be reached, or the connection broke.
    #[error("The connection to Google broke before the answer was whole.")]
    Transport,
    /// Google did not answer in time.
    #[error("Google did not answer in time.")]
    Timeout,
    /// Google's answer is none.
    #[error("{message}")]
    InvalidAnswer {
        /// What is wrong with it.
        message: String,
    },
    /// The model failed to answer.
    #[error("The model did not produce a valid answer ({reason}).")]
    Malformed {
        /// Google's name for how.
        reason: String,
        /// Google's words on it. They repeat what the model wrote, so the client is told
        /// them and no log is.
        said: Option<String>,
    },
    /// Media are named by their addresses, and no more can be fetched at a time.
    #[error("The gateway is fetching too much for other requests. Try again in a moment.")]
    FetchingTooMuch,
    /// As many requests run as may.
    #[error(
        "{limit} requests {} run at once, which is the limit ({}). Try again in a moment.",
        if *.of_key { "of this API key" } else { "of all clients" },
        if *.of_key { "MAX_CONCURRENT_REQUESTS_PER_KEY" } else { "MAX_CONCURRENT_REQUESTS" }
    )]
    Busy {
        /// Of the client's key, rather than of all clients.
        of_key: bool,
        /// How many may.
        limit: usize,
    },
    /// The gateway is ending.
    #[error("The gateway is shutting down. Try again.")]
    ShuttingDown,
    /// A defect of ours.
    #[error("The gateway failed. The request id names this failure in its log.")]
    Internal,
}

impl Error {
    /// Its words, for a log. What is said of the request itself may quote the prompt, and is for
    /// the client alone.
    #[must_use]
    pub fn for_logs(&self) -> Option<String> {
        match self {
            Self::InvalidRequest(_) | Self::Refused { .. } => None,
            other => Some(other.to_string()),
        }
    }

    /// The pool is empty.
    #[must_use]
    pub fn no_projects() -> Self {
        Self::NoUsableProject {
            message: "The gateway has no Google project yet. Add one with `antigravity-gateway \
                      projects add` or `antigravity-gateway import data/tokens.json`."
                .to_owned(),
        }
    }

    /// The HTTP status. The one place where failures become HTTP.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::InvalidRequest(_) | Self::InvalidUtf8 | Self::BodyBroken => {
                StatusCode::BAD_REQUEST
            }
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::CompressedBody => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::MissingApiKey | Self::WrongApiKey => StatusCode::UNAUTHORIZED,
            Self::UnknownPath { .. } | Self::UnknownModel { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Refused { status, .. } => *status,
            Self::RateLimited { .. } | Self::Busy { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::NoUsableProject { .. }
            | Self::TokenServiceAway
            | Self::FetchingTooMuch
            | Self::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            // Other statuses of Google's would say something about the gateway's own
            // connection with the client.
            Self::Upstream { status, .. } => match status.as_u16() {
                500 | 503 | 504 => *status,
                _ => StatusCode::BAD_GATEWAY,
            },
            Self::ClientUnsupported { .. }
            | Self::Transport
            | Self::InvalidAnswer { .. }
            | Self::Malformed { .. } => StatusCode::BAD_GATEWAY,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether Google refused to give several candidates at once, in the words that its
    /// APIs have had for it.
    #[must_use]
    pub fn refuses_candidates(&self) -> bool {
        let Self::Refused { message, .. } = self else {
            return false;
        };
        [
            "Multiple candidates is not enabled",
            "candidateCount must be 1",
            "candidateCount value of",
            "Only one candidate can be specified",
        ]
        .iter()
        .any(|words| message.contains(words))
    }

    /// OpenAI's `error.type`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_)
            | Self::InvalidUtf8
            | Self::BodyTooLarge { .. }
            | Self::BodyTimeout
            | Self::BodyBroken
            | Self::CompressedBody
            | Self::MissingApiKey
            | Self::WrongApiKey
            | Self::UnknownPath { .. }
            | Self::MethodNotAllowed { .. }
            | Self::UnknownModel { .. }
            | Self::Refused { .. } => "invalid_request_error",
            Self::RateLimited { quota: true, .. } => "insufficient_quota",
            Self::RateLimited { .. } | Self::Busy { .. } => "rate_limit_error",
            Self::NoUsableProject { .. }
            | Self::TokenServiceAway
            | Self::ClientUnsupported { .. }
            | Self::Upstream { .. }
            | Self::Transport
            | Self::Timeout
            | Self::InvalidAnswer { .. }
            | Self::Malformed { .. }
            | Self::FetchingTooMuch
            | Self::ShuttingDown
            | Self::Internal => "server_error",
        }
    }

    /// OpenAI's `error.code`.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        Some(match self {
            Self::InvalidRequest(invalid) => invalid.code.as_str(),
            Self::InvalidUtf8 | Self::BodyBroken => "invalid_json",
            Self::BodyTooLarge { .. } => "request_too_large",
            Self::BodyTimeout => "request_timeout",
            Self::CompressedBody => "unsupported_media_type",
            Self::MissingApiKey | Self::WrongApiKey => "invalid_api_key",
            Self::UnknownPath { .. } => "unknown_url",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::UnknownModel { .. } => "model_not_found",
            Self::Refused { message, .. } if is_context_overflow(message) => {
                "context_length_exceeded"
            }
            Self::Refused { .. } => return None,
            Self::RateLimited { quota: true, .. } => "insufficient_quota",
            Self::RateLimited { .. } | Self::Busy { .. } => "rate_limit_exceeded",
            Self::NoUsableProject { .. } => "no_usable_project",
            Self::TokenServiceAway => "token_service_unavailable",
            Self::ClientUnsupported { .. } => "client_unsupported",
            Self::Upstream { .. } => "upstream_error",
            Self::Transport => "upstream_unreachable",
            Self::Timeout => "upstream_timeout",
            Self::InvalidAnswer { .. } | Self::Malformed { .. } => "upstream_invalid_response",
            Self::FetchingTooMuch => "overloaded",
            Self::ShuttingDown => "shutting_down",
            Self::Internal => "internal_error",
        })
    }

    /// What it is called in logs: its code, or its type when OpenAI has no code for it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.code().unwrap_or(self.kind())
    }

    /// OpenAI's `error.param`.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::InvalidRequest(invalid) => invalid.param.as_deref(),
            Self::UnknownModel { .. } => Some("model"),
            _ => None,
        }
    }

    /// When it pays to come back.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            // Clients wait for what they are told; without a word from Google, a little.
            Self::RateLimited { retry_after, .. } => {
                Some(retry_after.unwrap_or(Duration::from_secs(10)))
            }
            Self::Upstream { retry_after, .. } => *retry_after,
            Self::TokenServiceAway
            | Self::FetchingTooMuch
            | Self::Busy { .. }
            | Self::ShuttingDown => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// OpenAI's error object. A 5xx carries the request's id, and never internals.
    #[must_use]
    pub fn body(&self, request_id: &str) -> Vec<u8> {
        #[derive(serde::Serialize)]
        struct Body<'a> {
            error: Inner<'a>,
        }
        #[derive(serde::Serialize)]
        struct Inner<'a> {
            message: &'a str,
            r#type: &'a str,
            param: Option<&'a str>,
            code: Option<&'a str>,
        }
        let mut message = self.to_string();
        if let Self::Malformed {
            said: Some(said), ..
        } = self
        {
            message = format!("{message} Google says: {said}");
        }
        if self.status().is_server_error() {
            message = format!("{message} (request id {request_id})");
        }
        let body = Body {
            error: Inner {
                message: &message,
                r#type: self.kind(),
                param: self.param(),
                code: self.code(),
            },
        };
        // Texts alone always serialise.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

/// Google's words for a prompt that is too long, Claude's behind Code Assist included.
fn is_context_overflow(message: &str) -> bool {
    message.contains("exceeds the maximum number of tokens")
        || message.contains("prompt is too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_model_wrote_is_told_and_not_logged() {
        let error = Error::Malformed {
            reason: "MALFORMED_FUNCTION_CALL".to_owned(),
            said: Some("Malformed function call: pay(secret)".to_owned()),
        };
        assert!(!error.to_string().contains("secret"));
        let body = String::from_utf8(error.body("req_1")).expect("UTF-8");
        assert!(body.contains("(MALFORMED_FUNCTION_CALL). Google says: Malformed function call: pay(secret) (request id req_1)"), "{body}");
    }
}
