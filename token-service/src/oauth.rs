//! Google's OAuth token endpoint: the one place that knows how a refresh is asked for
//! and what its answers mean.

mod exchange;

use std::time::Duration;

use antigravity_runtime::tls;
use jiff::Timestamp;
use reqwest::{StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::value::RawValue;

pub(crate) use self::exchange::{Exchange, ExchangeError, Exchanged};
use crate::{
    config::Config,
    credential::Proof,
    error::Error,
    limits,
    service_account::{GOOGLE_TOKEN_URL, KeyError, ServiceAccountKey},
};

/// For a whole refresh, from the first byte of the connection to the last of the answer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Answers are below 4 KiB; a larger one is none of the endpoint's.
const MAX_ANSWER: usize = 256 * 1024;
/// What Google's tokens live when an answer does not say.
pub(crate) const USUAL_LIFETIME: Duration = Duration::from_secs(3600);
/// No access token of Google's lives longer.
const MAX_LIFETIME: Duration = Duration::from_secs(86_400);
const MAX_REASON: usize = 200;

/// An OAuth client, as it is needed for a refresh.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) client_id: String,
    pub(crate) client_secret: Option<SecretString>,
    pub(crate) token_url: Option<String>,
}

/// What a refresh brings.
#[derive(Debug)]
pub(crate) struct Refreshed {
    pub(crate) access_token: SecretString,
    pub(crate) lifetime: Duration,
    /// Replaces the old one. `None`: the old one stays.
    pub(crate) refresh_token: Option<SecretString>,
}

/// Why a refresh brings nothing. The reasons hold no secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RefreshError {
    /// The refresh token is refused for good.
    #[error("Google refuses the refresh token: {0}")]
    Revoked(String),
    /// The service-account key is refused for good.
    #[error("Google refuses the service-account key: {0}")]
    KeyRefused(String),
    /// The OAuth client is refused: no project of it can be refreshed.
    #[error("Google refuses the OAuth client: {0}")]
    ClientRefused(String),
    /// The OAuth client is another one than the refresh token was made with.
    #[error("Google refuses the OAuth client for this refresh token: {0}")]
    ClientMismatch(String),
    /// No usable answer. It may be better next time.
    #[error("{0}")]
    Transient(String),
}

impl RefreshError {
    /// In a word, for traces.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Revoked(_) => "revoked",
            Self::KeyRefused(_) => "key_refused",
            Self::ClientRefused(_) => "client_refused",
            Self::ClientMismatch(_) => "client_mismatch",
            Self::Transient(_) => "transient",
        }
    }
}

/// The client of the token endpoint. One for the process, so that connections are
/// reused.
#[derive(Clone, Debug)]
pub(crate) struct OAuth {
    http: reqwest::Client,
    token_url: Option<String>,
}

impl OAuth {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let mut builder = reqwest::Client::builder()
            // A redirect would carry the refresh token to wherever it points.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(config.connect_timeout)
            .timeout(DEADLINE)
            .user_agent(concat!("antigravity-gateway/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &config.upstream_ca_file {
            let certificates = tls::read_ca_file(path).map_err(Error::CaFile)?;
            let certificates = certificates
                .iter()
                .map(|certificate| reqwest::Certificate::from_der(certificate))
                .collect::<Result<Vec<_>, _>>()
                .map_err(Error::HttpClient)?;
            builder = builder.tls_certs_merge(certificates);
        }
        Ok(Self {
            http: builder.build().map_err(Error::HttpClient)?,
            token_url: config.oauth_token_url.clone(),
        })
    }

    /// Whether `OAUTH_TOKEN_URL` says where all clients refresh.
    pub(crate) fn has_own_endpoint(&self) -> bool {
        self.token_url.is_some()
    }

    /// The connections to Google that this client has.
    pub(crate) fn http(&self) -> reqwest::Client {
        self.http.clone()
    }

    /// Asks for a new access token.
    pub(crate) async fn grant(
        &self,
        proof: &Proof,
        now: Timestamp,
    ) -> Result<Refreshed, RefreshError> {
        match proof {
            Proof::RefreshToken {
                client,
                refresh_token,
            } => self.refresh(client, refresh_token).await,
            Proof::ServiceAccount(key) => self.assert(key, now).await,
        }
    }

    /// Whether a key's assertions may go where it says.
    pub(crate) fn check_key(&self, key: &ServiceAccountKey) -> Result<(), KeyError> {
        key.check_token_uri(self.token_url.as_deref())
    }

    async fn assert(
        &self,
        key: &ServiceAccountKey,
        now: Timestamp,
    ) -> Result<Refreshed, RefreshError> {
        let transient = |text: String| RefreshError::Transient(text);
        self.check_key(key)
            .map_err(|error| transient(format!("the service-account key {error}")))?;
        let assertion = key
            .assertion(now)
            .ok_or_else(|| transient("the system has no randomness".to_owned()))?;
        let url = self.token_url.as_deref().unwrap_or(key.token_uri());
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", assertion.expose_secret()),
        ];
        let answer = self.post(url, &form).await;
        let (status, body) = answer.map_err(transient)?;
        read_answer(status, &body, &[assertion.expose_secret()]).map_err(|error| match error {
            // Google says invalid_grant of clocks too: no reason to condemn the key.
            RefreshError::Revoked(reason) if is_about_time(&reason) => transient(format!(
                "Google finds the time of the assertion wrong ({reason}); set this machine's clock"
            )),
            RefreshError::Revoked(reason)
            | RefreshError::ClientRefused(reason)
            | RefreshError::ClientMismatch(reason) => RefreshError::KeyRefused(reason),
            other => other,
        })
    }

    async fn refresh(
        &self,
        client: &Credentials,
        refresh_token: &SecretString,
    ) -> Result<Refreshed, RefreshError> {
        let form = vec![
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token.expose_secret()),
        ];
        let answer = self.ask(client, form).await;
        let (status, body) = answer.map_err(RefreshError::Transient)?;
        let secret = client.client_secret.as_ref().map(|s| s.expose_secret());
        let secrets = [Some(refresh_token.expose_secret()), secret];
        read_answer(status, &body, &secrets.map(Option::unwrap_or_default))
    }

    /// Posts a grant as `client`, and reads the whole answer.
    async fn ask(
        &self,
        client: &Credentials,
        mut form: Vec<(&str, &str)>,
    ) -> Result<(StatusCode, Vec<u8>), String> {
        let url = self
            .token_url
            .as_deref()
            .or(client.token_url.as_deref())
            .unwrap_or(GOOGLE_TOKEN_URL);
        form.push(("client_id", client.client_id.as_str()));
        let secret = client.client_secret.as_ref().map(|s| s.expose_secret());
        form.extend(secret.map(|secret| ("client_secret", secret)));
        self.post(url, &form).await
    }

    /// Posts a form, and reads the whole answer.
    async fn post(
        &self,
        url: &str,
        form: &[(&str, &str)],
    ) -> Result<(StatusCode, Vec<u8>), String> {
        let mut answer = self
            .http
            .post(url)
            .header(header::ACCEPT, "application/json")
            .form(form)
            .send()
            .await
            .map_err(describe)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(describe)? {
            body.extend_from_slice(&piece);
            if body.len() > MAX_ANSWER {
                return Err(format!(
                    "the token endpoint's answer ({status}) is too large"
                ));
            }
        }
        Ok((status, body))
    }
}

/// "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable
/// timeframe. Check your iat and exp values in the JWT claim."
fn is_about_time(reason: &str) -> bool {
    reason.contains("reasonable timeframe") || reason.contains("iat and exp")
}

/// The causes of a transport error without the URL, which may hold credentials.
fn describe(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "the token endpoint did not answer in time".to_owned();
    }
    let error = error.without_url();
    let mut text = "the token endpoint cannot be reached".to_owned();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text.chars().take(MAX_REASON).collect()
}

#[derive(Deserialize)]
struct Success<'a> {
    #[serde(default)]
    access_token: Option<String>,
    #[serde(borrow, default)]
    expires_in: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refresh_token: Option<&'a RawValue>,
}

fn read_answer(
    status: StatusCode,
    body: &[u8],
    secrets: &[&str],
) -> Result<Refreshed, RefreshError> {
    if !status.is_success() {
        return Err(read_error(status, body, secrets));
    }
    let unusable = || {
        RefreshError::Transient(format!(
            "the token endpoint answered {status} without an access token"
        ))
    };
    let answer: Success<'_> = serde_json::from_slice(body).map_err(|_| unusable())?;
    let access_token = answer
        .access_token
        .filter(|token| is_secret(token))
        .ok_or_else(unusable)?;
    let refresh_token = answer
        .refresh_token
        .and_then(|raw| serde_json::from_str::<String>(raw.get()).ok())
        .filter(|token| is_secret(token));
    Ok(Refreshed {
        access_token: access_token.into(),
        lifetime: lifetime(answer.expires_in),
        refresh_token: refresh_token.map(Into::into),
    })
}

fn is_secret(text: &str) -> bool {
    !text.is_empty() && text.len() <= limits::SECRET && limits::is_token(text)
}

/// `expires_in` is a number of seconds, from some servers as text.
fn lifetime(expires_in: Option<&RawValue>) -> Duration {
    expires_in
        .map(|raw| raw.get().trim_matches('"'))
        .and_then(|text| text.parse::<f64>().ok())
        .filter(|seconds| !seconds.is_nan())
        .map_or(USUAL_LIFETIME, |seconds| {
            Duration::from_secs_f64(seconds.clamp(0.0, MAX_LIFETIME.as_secs_f64()))
        })
}

/// The shapes of error bodies: OAuth's own (RFC 6749, 5.2), and Google's API errors,
/// which may come in a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Failure {
    List(Vec<Self>),
    Api { error: ApiError },
    OAuth(OAuthError),
}

#[derive(Deserialize)]
struct OAuthError {
    error: String,
    #[serde(default)]
    error_description: Option<String>,
    #[serde(default)]
    error_subtype: Option<String>,
}

#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

/// What an error says.
struct Told {
    code: String,
    description: String,
    /// For people.
    reason: String,
}

impl Told {
    /// Whether it is the OAuth error `code`; in an API error that stands in the message,
    /// if at all.
    fn says(&self, code: &str) -> bool {
        self.code.eq_ignore_ascii_case(code) || self.description.starts_with(code)
    }
}

fn told(status: StatusCode, body: &[u8], secrets: &[&str]) -> Told {
    let mut failure = serde_json::from_slice(body).ok();
    while let Some(Failure::List(list)) = failure {
        failure = list.into_iter().next();
    }
    let (code, description) = match failure {
        Some(Failure::OAuth(error)) => {
            let details = [error.error_subtype, error.error_description];
            let details: Vec<_> = details.into_iter().flatten().collect();
            (error.error, details.join(": "))
        }
        Some(Failure::Api { error }) => (
            error.status.unwrap_or_default(),
            error.message.unwrap_or_default(),
        ),
        Some(Failure::List(_)) | None => (String::new(), String::new()),
    };
    let reason = reason(status, &code, &description, secrets);
    Told {
        code,
        description,
        reason,
    }
}

/// Whether an answer may be another one next time.
fn is_transient(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

fn read_error(status: StatusCode, body: &[u8], secrets: &[&str]) -> RefreshError {
    let told = told(status, body, secrets);
    if is_transient(status) {
        RefreshError::Transient(told.reason)
    } else if told.says("invalid_grant") {
        RefreshError::Revoked(told.reason)
    } else if told.says("invalid_client") || told.description.contains("client_secret is missing") {
        RefreshError::ClientRefused(told.reason)
    } else if told.says("unauthorized_client") {
        RefreshError::ClientMismatch(told.reason)
    } else {
        RefreshError::Transient(told.reason)
    }
}

/// What is told of an error: the endpoint's words, short, on one line, and without the
/// secrets that were sent to it, should it repeat them.
fn reason(status: StatusCode, code: &str, description: &str, secrets: &[&str]) -> String {
    let mut text = match (code, description) {
        ("", "") => return format!("the token endpoint answered {status}"),
        ("", words) | (words, "") => words.to_owned(),
        (code, description) => format!("{code}: {description}"),
    };
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "[secret]");
    }
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_REASON)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Result<Refreshed, RefreshError> {
        let status = StatusCode::from_u16(status).unwrap();
        read_answer(status, body.as_bytes(), &["planted"])
    }

    #[test]
    fn refusals_are_told_apart() {
        type Make = fn(String) -> RefreshError;
        let cases: [(u16, &str, Make); 13] = [
            (
                400,
                r#"{"error":"invalid_grant","error_description":"Token has been expired or revoked."}"#,
                RefreshError::Revoked,
            ),
            (
                400,
                r#"{"error":"invalid_grant","error_subtype":"invalid_rapt"}"#,
                RefreshError::Revoked,
            ),
            (
                400,
                r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"invalid_grant: Bad Request"}}"#,
                RefreshError::Revoked,
            ),
            (400, r#"[{"error":"invalid_grant"}]"#, RefreshError::Revoked),
            (
                401,
                r#"{"error":"invalid_client","error_description":"Unauthorized"}"#,
                RefreshError::ClientRefused,
            ),
            (
                400,
                r#"{"error":"invalid_request","error_description":"client_secret is missing."}"#,
                RefreshError::ClientRefused,
            ),
            (
                401,
                r#"{"error":"unauthorized_client"}"#,
                RefreshError::ClientMismatch,
            ),
            (
                400,
                r#"{"error":"invalid_request"}"#,
                RefreshError::Transient,
            ),
            (503, r#"{"error":"invalid_grant"}"#, RefreshError::Transient),
            (429, "{}", RefreshError::Transient),
            (500, "<html>sorry</html>", RefreshError::Transient),
            (302, "", RefreshError::Transient),
            (401, "[]", RefreshError::Transient),
        ];
        for (status, body, make) in cases {
            let error = answer(status, body).unwrap_err();
            assert_eq!(
                std::mem::discriminant(&error),
                std::mem::discriminant(&make(String::new())),
                "{status} {body}: {error:?}"
            );
        }
    }

    #[test]
    fn a_success_without_a_usable_token_is_transient() {
        for body in [
            "",
            "null",
            "<html>",
            "{}",
            r#"{"access_token":""}"#,
            r#"{"access_token":null}"#,
            r#"{"access_token":7}"#,
            r#"{"access_token":"a\nb"}"#,
        ] {
            let error = answer(200, body).unwrap_err();
            assert!(matches!(error, RefreshError::Transient(_)), "{body}");
        }
    }

    #[test]
    fn lifetimes_are_read_with_tolerance() {
        for (expires_in, seconds) in [
            ("3599", 3599),
            (r#""3599""#, 3599),
            ("3599.0", 3599),
            ("0", 0),
            ("-5", 0),
            ("1e300", 86_400),
            ("null", 3600),
            ("{}", 3600),
        ] {
            let body = format!(r#"{{"access_token":"a","expires_in":{expires_in}}}"#);
            let refreshed = answer(200, &body).unwrap();
            assert_eq!(refreshed.lifetime.as_secs(), seconds, "{expires_in}");
        }
        let bare = answer(200, r#"{"access_token":"a","refresh_token":""}"#).unwrap();
        assert_eq!(bare.lifetime, USUAL_LIFETIME);
        assert!(bare.refresh_token.is_none());
    }

    #[test]
    fn words_of_the_endpoint_tell_no_secret() {
        let body = r#"{"error":"invalid_grant","error_description":"bad\ntoken planted"}"#;
        let error = answer(400, body).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Google refuses the refresh token: invalid_grant: bad token [secret]"
        );
    }
}
