//! What a form of the page sends.

use std::time::Duration;

use antigravity_runtime::secret;
use axum::{
    body::Body,
    http::{HeaderMap, Response, StatusCode, header},
};
use http_body_util::{BodyExt as _, Limited};
use secrecy::ExposeSecret as _;
use url::form_urlencoded;

use super::{message, session::Session};

/// The largest, in bytes; a token and a filter are far shorter.
const LARGEST: usize = 16 << 10;
/// For all of it to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Its fields. They may hold the operators' token, so there is no debug form of them.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads one.
    ///
    /// # Errors
    /// What the client is told: it is none, too long, or does not end.
    pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Self, Response<Body>> {
        let kind = headers.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(message(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Not a form",
                "This address takes the forms of the page \
                 (application/x-www-form-urlencoded), and nothing else.",
            ));
        }
        let whole = Limited::new(body, LARGEST).collect();
        match tokio::time::timeout(PATIENCE, whole).await {
            Ok(Ok(whole)) => {
                let bytes = whole.to_bytes();
                let fields = form_urlencoded::parse(&bytes).into_owned();
                Ok(Self(fields.collect()))
            }
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(message(
                StatusCode::PAYLOAD_TOO_LARGE,
                "Too much",
                "No form of the page is so long.",
            )),
            Ok(Err(_)) => Err(message(
                StatusCode::BAD_REQUEST,
                "Broken off",
                "The form did not arrive whole. Send it again.",
            )),
            Err(_) => Err(message(
                StatusCode::REQUEST_TIMEOUT,
                "Too slow",
                "The form did not arrive in time. Send it again.",
            )),
        }
    }

    /// A field; empty where it is not there.
    pub(super) fn field(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(field, _)| field == name);
        found.map_or("", |(_, value)| value)
    }

    /// Whether it is of a page that this session was shown.
    pub(super) fn is_of(&self, session: &Session) -> bool {
        secret::equal(self.field("csrf"), session.csrf.expose_secret())
    }
}

/// Told to whoever sends a form of another session, or of none.
pub(super) fn not_of_this_session() -> Response<Body> {
    message(
        StatusCode::FORBIDDEN,
        "Not of this session",
        "This form is not of your present session, and nothing was done. Open the page anew and \
         press the button there.",
    )
}
