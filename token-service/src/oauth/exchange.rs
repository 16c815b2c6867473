//! `grant_type=authorization_code`: what a consent brings.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Credentials, OAuth, is_secret, is_transient, lifetime, told};
use crate::limits;

/// What is exchanged.
pub(crate) struct Exchange<'a> {
    pub(crate) code: &'a SecretString,
    /// The one that the consent was asked with.
    pub(crate) redirect_uri: &'a str,
    pub(crate) verifier: &'a SecretString,
}

/// What it brings.
pub(crate) struct Exchanged {
    pub(crate) access_token: SecretString,
    pub(crate) lifetime: Duration,
    pub(crate) refresh_token: Option<SecretString>,
    /// What was allowed. `None`: not told.
    pub(crate) scopes: Option<String>,
    /// The account's e-mail address, as far as the answer tells it.
    pub(crate) email: Option<String>,
}

/// Why it brings nothing. The reasons hold no secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ExchangeError {
    /// The code is used, old, or not one.
    Code(String),
    /// The OAuth client is refused.
    Client(String),
    /// The code was made for another OAuth client.
    OtherClient(String),
    /// The OAuth client does not have this redirect address.
    RedirectUri(String),
    /// Another refusal, which will not go away.
    Refused(String),
    /// No usable answer. It may be better next time.
    Transient(String),
}

#[derive(Deserialize)]
struct Success<'a> {
    access_token: String,
    #[serde(borrow, default)]
    expires_in: Option<&'a RawValue>,
    #[serde(default)]
    refresh_token: Option<String>,
    #[serde(default)]
    scope: Option<String>,
    #[serde(default)]
    id_token: Option<String>,
}

impl OAuth {
    /// Exchanges the code of a consent for tokens.
    pub(crate) async fn exchange(
        &self,
        client: &Credentials,
        exchange: &Exchange<'_>,
    ) -> Result<Exchanged, ExchangeError> {
        let form = vec![
            ("grant_type", "authorization_code"),
            ("code", exchange.code.expose_secret()),
            ("redirect_uri", exchange.redirect_uri),
            ("code_verifier", exchange.verifier.expose_secret()),
        ];
        let answer = self.ask(client, form).await;
        let (status, body) = answer.map_err(ExchangeError::Transient)?;
        let secret = client.client_secret.as_ref().map(|s| s.expose_secret());
        let secrets = [
            exchange.code.expose_secret(),
            exchange.verifier.expose_secret(),
            secret.unwrap_or_default(),
        ];
        read(status, &body, &secrets)
    }
}

fn read(status: StatusCode, body: &[u8], secrets: &[&str]) -> Result<Exchanged, ExchangeError> {
    if !status.is_success() {
        return Err(read_error(status, body, secrets));
    }
    let answer = serde_json::from_slice::<Success<'_>>(body).ok();
    let answer = answer.filter(|answer| is_secret(&answer.access_token));
    let answer = answer.ok_or_else(|| {
        ExchangeError::Transient(format!(
            "the token endpoint answered {status} without an access token"
        ))
    })?;
    let refresh_token = answer.refresh_token.filter(|token| is_secret(token));
    Ok(Exchanged {
        access_token: answer.access_token.into(),
        lifetime: lifetime(answer.expires_in),
        refresh_token: refresh_token.map(Into::into),
        scopes: answer.scope.filter(|scopes| !scopes.trim().is_empty()),
        email: answer.id_token.and_then(|token| email(&token)),
    })
}

fn read_error(status: StatusCode, body: &[u8], secrets: &[&str]) -> ExchangeError {
    let told = told(status, body, secrets);
    if is_transient(status) {
        ExchangeError::Transient(told.reason)
    } else if told.says("invalid_grant") {
        ExchangeError::Code(told.reason)
    } else if told.says("invalid_client") || told.description.contains("client_secret is missing") {
        ExchangeError::Client(told.reason)
    } else if told.says("unauthorized_client") {
        ExchangeError::OtherClient(told.reason)
    } else if told.says("redirect_uri_mismatch") {
        ExchangeError::RedirectUri(told.reason)
    } else if told.code.is_empty() {
        // No answer of an OAuth endpoint's.
        ExchangeError::Transient(told.reason)
    } else {
        ExchangeError::Refused(told.reason)
    }
}

/// The e-mail address of an id token. Its signature is not looked at: it came from Google
/// itself, and only names the account for people.
fn email(id_token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claims {
        email: String,
    }
    let claims = URL_SAFE_NO_PAD.decode(id_token.split('.').nth(1)?).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    limits::is_email(&claims.email).then_some(claims.email)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart_and_hold_no_secret() {
        type Make = fn(String) -> ExchangeError;
        let cases: [(u16, &str, Make); 9] = [
            (
                400,
                r#"{"error":"invalid_grant","error_description":"Malformed auth code."}"#,
                ExchangeError::Code,
            ),
            (
                400,
                r#"{"error":"invalid_grant","error_description":"planted"}"#,
                ExchangeError::Code,
            ),
            (401, r#"{"error":"invalid_client"}"#, ExchangeError::Client),
            (
                400,
                r#"{"error":"invalid_request","error_description":"client_secret is missing."}"#,
                ExchangeError::Client,
            ),
            (
                401,
                r#"{"error":"unauthorized_client"}"#,
                ExchangeError::OtherClient,
            ),
            (
                400,
                r#"{"error":"redirect_uri_mismatch"}"#,
                ExchangeError::RedirectUri,
            ),
            (400, r#"{"error":"invalid_scope"}"#, ExchangeError::Refused),
            (404, "<html>", ExchangeError::Transient),
            (
                503,
                r#"{"error":"invalid_grant"}"#,
                ExchangeError::Transient,
            ),
        ];
        for (status, body, make) in cases {
            let status = StatusCode::from_u16(status).unwrap();
            let error = read(status, body.as_bytes(), &["planted"]).err().unwrap();
            let expected = std::mem::discriminant(&make(String::new()));
            assert_eq!(
                std::mem::discriminant(&error),
                expected,
                "{body}: {error:?}"
            );
            assert!(!format!("{error:?}").contains("planted"));
        }
    }

    #[test]
    fn an_answer_is_read_with_tolerance() {
        for none in [
            "",
            "{}",
            "[]",
            r#"{"access_token":""}"#,
            r#"{"access_token":"a b"}"#,
        ] {
            assert!(
                read(StatusCode::OK, none.as_bytes(), &[]).is_err(),
                "{none}"
            );
        }
        let claims = URL_SAFE_NO_PAD.encode(r#"{"email":"a@example.com"}"#);
        let body = format!(
            r#"{{"access_token":"a","expires_in":"10","refresh_token":null,"scope":" ","id_token":"x.{claims}.y"}}"#
        );
        let read = read(StatusCode::OK, body.as_bytes(), &[]).unwrap();
        assert_eq!(read.lifetime.as_secs(), 10);
        assert!(read.refresh_token.is_none() && read.scopes.is_none());
        assert_eq!(read.email.as_deref(), Some("a@example.com"));
        for odd in ["", "x", "x.!.y", "x.e30.y"] {
            assert_eq!(email(odd), None);
        }
    }
}
