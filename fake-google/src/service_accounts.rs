//! Service accounts: their keys, and the assertions (RFC 7523) that are signed with them.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rsa::KeyPair;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;

use crate::accounts::AccountId;
use crate::json::{Json, object};
use crate::oauth_error::OAuthError;

/// What the JWT-bearer grant is called.
pub(crate) const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The key of every service account here, made for it and good nowhere else.
const PRIVATE_KEY: &str = include_str!("keys/service_account.pem");
/// The name of [`PRIVATE_KEY`].
const KEY_ID: &str = "fa4e0000000000000000000000000000000000001";
/// Google's own token endpoint, which a key names wherever it is used.
const GOOGLE_TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
/// The longest that an assertion may be good for.
const LONGEST: Duration = Duration::from_secs(3600);
/// How far clocks may be apart.
const SKEW: Duration = Duration::from_secs(300);

/// A service account with its one key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceAccount {
    /// Its e-mail address.
    pub client_email: String,
    /// Google projects that it may use; its key names the first.
    pub projects: Vec<String>,
}

impl ServiceAccount {
    /// A service account of one project.
    pub fn of_project(project: &str) -> Self {
        Self {
            client_email: format!("robot@{project}.iam.gserviceaccount.com"),
            projects: vec![project.to_owned()],
        }
    }

    /// Its key as Google's file holds it, for the token endpoint `token_uri`.
    pub fn key_file(&self, token_uri: &str) -> String {
        object! {
            "type": "service_account",
            "project_id": self.projects.first().cloned().unwrap_or_default(),
            "private_key_id": KEY_ID,
            "private_key": PRIVATE_KEY,
            "client_email": &self.client_email,
            "client_id": "100000000000000000001",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": token_uri,
            "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
            "universe_domain": "googleapis.com",
        }
        .to_line()
    }
}

/// A service account that Google knows.
pub(crate) struct Robot {
    pub(crate) client_email: String,
    pub(crate) account: AccountId,
    pub(crate) state: RobotState,
}

/// Whether its assertions are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RobotState {
    Enabled,
    /// Its key was deleted.
    KeyDeleted,
    Disabled,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    #[serde(default)]
    scope: String,
    aud: String,
    iat: u64,
    exp: u64,
}

/// Whose assertion a text says it is, signed or not.
pub(crate) fn issuer(assertion: &str) -> Option<String> {
    let claims = assertion.split('.').nth(1)?;
    let claims: Claims = part(claims)?;
    Some(claims.iss)
}

/// The account that an assertion proves to be.
pub(crate) fn verify(
    robots: &[Robot],
    assertion: &str,
    now: SystemTime,
) -> Result<AccountId, OAuthError> {
    let mut parts = assertion.split('.');
    let (Some(header), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(OAuthError::BadAssertion);
    };
    let read: Header = part(header).ok_or(OAuthError::BadAssertion)?;
    let told: Claims = part(claims).ok_or(OAuthError::BadAssertion)?;
    let robot = robots
        .iter()
        .find(|robot| robot.client_email == told.iss)
        .ok_or(OAuthError::RobotNotFound)?;
    let signed = format!("{header}.{claims}");
    let is_signed = URL_SAFE_NO_PAD
        .decode(signature)
        .is_ok_and(|signature| is_signature(signed.as_bytes(), &signature));
    if read.alg != "RS256"
        || read.kid != KEY_ID
        || !is_signed
        || robot.state == RobotState::KeyDeleted
    {
        return Err(OAuthError::BadSignature);
    }
    let googles = told.aud == GOOGLE_TOKEN_URL || told.aud.ends_with("/token");
    if !googles {
        return Err(OAuthError::BadAudience);
    }
    let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
    let (issued, ends) = (at(told.iat), at(told.exp));
    let is_short = ends
        .duration_since(issued)
        .is_ok_and(|lifetime| lifetime <= LONGEST);
    if !is_short || issued > now + SKEW || ends + SKEW < now {
        return Err(OAuthError::AssertionTime);
    }
    if told.scope.is_empty() {
        return Err(OAuthError::InvalidScope);
    }
    if robot.state == RobotState::Disabled {
        return Err(OAuthError::RobotDisabled);
    }
    Ok(robot.account)
}

fn part<T: serde::de::DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

fn is_signature(signed: &[u8], signature: &[u8]) -> bool {
    let pair = PrivatePkcs8KeyDer::from_pem_slice(PRIVATE_KEY.as_bytes())
        .ok()
        .and_then(|der| KeyPair::from_pkcs8(der.secret_pkcs8_der()).ok());
    pair.is_some_and(|pair| {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public().as_ref())
            .verify(signed, signature)
            .is_ok()
    })
}

impl fmt::Debug for Robot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Robot")
            .field("client_email", &self.client_email)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// What a service account is granted: no refresh token, no scope, no identity.
pub(crate) fn tokens(access_token: &str, expires_in: u64) -> Json {
    object! {
        "access_token": access_token,
        "expires_in": expires_in,
        "token_type": "Bearer",
    }
}
