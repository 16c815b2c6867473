//! In and out: the operators' token, which the token-service judges, for a cookie.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Status,
    form::{self, Form},
    message, see_other,
    session::LIFE,
    throttle::Refusal,
};
use crate::tokens::operator::OperatorError;

/// Told to whoever has a cookie of a session that is over.
pub(super) const ENDED: &str = "Your session has ended. Sign in again.";
/// Told when the token-service has another token by now.
pub(super) const NO_LONGER: &str = "The token-service no longer takes the token of your session. \
                                    Sign in with the present one.";

/// `POST /login`.
pub(super) async fn login(
    State(status): State<Arc<Status>>,
    headers: HeaderMap,
    body: Body,
) -> Response<Body> {
    let form = match Form::read(&headers, body).await {
        Ok(form) => form,
        Err(told) => return told,
    };
    let token = form.field("token").trim();
    if token.is_empty() {
        return super::form(StatusCode::BAD_REQUEST, "Give the operators' token.");
    }
    let attempt = match status.throttle.take() {
        Ok(attempt) => attempt,
        Err(refusal) => return refused(refusal),
    };
    let token = SecretString::from(token);
    let checked = match status.pool.operator(&token) {
        Ok(operator) => operator.check().await,
        Err(error) => Err(error),
    };
    match checked {
        Ok(()) => {
            attempt.give_back();
            begin(&status, &headers, token)
        }
        Err(OperatorError::WrongToken) => {
            tracing::warn!("a login at the status page was refused: a wrong token");
            super::form(
                StatusCode::UNAUTHORIZED,
                "This is not the operators' token. It is ADMIN_TOKEN of the token-service, or in \
                 admin_token beside its database.",
            )
        }
        Err(OperatorError::GatewayToken) => {
            tracing::warn!("a login at the status page was refused: the gateways' token");
            super::form(
                StatusCode::UNAUTHORIZED,
                "This is GATEWAY_TOKEN, the gateways'. The operators' is ADMIN_TOKEN of the \
                 token-service, or in admin_token beside its database.",
            )
        }
        Err(error) => {
            // It says nothing about the token.
            attempt.give_back();
            let told = format!(
                "The token cannot be checked now: {error}. Look whether the token-service runs, \
                 and try again."
            );
            super::form(StatusCode::SERVICE_UNAVAILABLE, &told)
        }
    }
}

/// What is told to whoever comes while no token is looked at.
fn refused(refusal: Refusal) -> Response<Body> {
    let Refusal { wait, are_checked } = refusal;
    // Rounded up: whoever comes a moment early is refused again.
    let seconds = wait.as_secs() + 1;
    // Anybody can make as many as the network carries: those that were looked at have lines.
    tracing::debug!(
        are_checked,
        "a login at the status page was refused: too many at once, or too many wrong tokens"
    );
    let why = if are_checked {
        "As many tokens as may be at once are being checked, and the token-service has not \
         answered yet."
    } else {
        "There were too many wrong tokens."
    };
    let told = format!("{why} Try again in {seconds} s.");
    let mut response = super::form(StatusCode::TOO_MANY_REQUESTS, &told);
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// `GET /login`, where a browser is after a token that was refused: the form is at `/`.
pub(super) async fn back() -> Response<Body> {
    see_other("", None)
}

fn begin(status: &Status, headers: &HeaderMap, token: SecretString) -> Response<Body> {
    for before in status.shown(headers) {
        status.sessions.end(before);
    }
    let cookie = status.sessions.begin(token).and_then(|id| {
        let cookie = cookie(status, headers, id.expose_secret(), LIFE.as_secs());
        cookie.map_err(std::io::Error::other)
    });
    match cookie {
        Ok(cookie) => {
            tracing::info!("somebody signed in at the status page");
            let mut response = see_other("", None);
            response.headers_mut().insert(header::SET_COOKIE, cookie);
            response
        }
        Err(error) => {
            tracing::error!(%error, "no session can be made");
            message(
                StatusCode::INTERNAL_SERVER_ERROR,
                "No session",
                "The gateway cannot make a session; its log says why.",
            )
        }
    }
}

/// `POST /logout`.
pub(super) async fn logout(
    State(status): State<Arc<Status>>,
    headers: HeaderMap,
    body: Body,
) -> Response<Body> {
    let form = match Form::read(&headers, body).await {
        Ok(form) => form,
        Err(told) => return told,
    };
    if let Some((shown, session)) = status.session(&headers) {
        if !form.is_of(&session) {
            return form::not_of_this_session();
        }
        status.sessions.end(&shown);
    }
    let mut response = see_other("", None);
    if let Ok(cookie) = cookie(&status, &headers, "", 0) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// For this host alone, never told to a script, and sent along by no page but ours.
fn cookie(
    status: &Status,
    headers: &HeaderMap,
    id: &str,
    seconds: u64,
) -> Result<HeaderValue, header::InvalidHeaderValue> {
    // A proxy may speak TLS for us; who makes that up loses no more than his own cookie.
    let in_front = headers.get("x-forwarded-proto");
    let tls = status.tls || in_front.is_some_and(|protocol| protocol == "https");
    let secure = if tls { "; Secure" } else { "" };
    let text = format!(
        "{}={id}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}",
        status.cookie
    );
    let mut cookie = HeaderValue::from_str(&text)?;
    cookie.set_sensitive(true);
    Ok(cookie)
}
