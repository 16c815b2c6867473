//! The token endpoint's errors: plain OAuth JSON, not Google's usual envelope.

use crate::config::InvalidGrant;
use crate::json::{Json, object};

/// Why a grant was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OAuthError {
    Revoked,
    BadRequest,
    MalformedCode,
    AccountDeleted,
    InvalidRapt,
    RedirectUriMismatch,
    CodeVerifierMissing,
    CodeVerifierWrong,
    ClientIdMissing,
    ClientNotFound,
    ClientSecretMissing,
    ClientUnauthorized,
    UnauthorizedClient,
    UnsupportedGrantType,
    InvalidRequest,
    InvalidToken,
    BadAssertion,
    BadSignature,
    BadAudience,
    AssertionTime,
    InvalidScope,
    RobotNotFound,
    RobotDisabled,
}

impl OAuthError {
    /// Status and body.
    pub(crate) fn answer(self) -> (u16, Json) {
        let (status, error, description) = match self {
            Self::Revoked => (400, "invalid_grant", "Token has been expired or revoked."),
            Self::BadRequest => (400, "invalid_grant", "Bad Request"),
            Self::MalformedCode => (400, "invalid_grant", "Malformed auth code."),
            Self::AccountDeleted => (400, "invalid_grant", "Account has been deleted"),
            Self::InvalidRapt => (400, "invalid_grant", "reauth related error (invalid_rapt)"),
            Self::RedirectUriMismatch => (400, "redirect_uri_mismatch", "Bad Request"),
            Self::CodeVerifierMissing => (400, "invalid_grant", "Missing code verifier."),
            Self::CodeVerifierWrong => (400, "invalid_grant", "Invalid code verifier."),
            Self::ClientIdMissing => (
                400,
                "invalid_request",
                "Could not determine client ID from request.",
            ),
            Self::ClientNotFound => (401, "invalid_client", "The OAuth client was not found."),
            Self::ClientSecretMissing => (400, "invalid_request", "client_secret is missing."),
            Self::ClientUnauthorized => (401, "invalid_client", "Unauthorized"),
            Self::UnauthorizedClient => (401, "unauthorized_client", "Unauthorized"),
            Self::UnsupportedGrantType => (400, "unsupported_grant_type", "Invalid grant_type"),
            Self::InvalidRequest => (
                400,
                "invalid_request",
                "Required parameter is missing: grant_type",
            ),
            Self::InvalidToken => (400, "invalid_token", "Invalid Value"),
            Self::BadAssertion => (400, "invalid_grant", "Bad Request"),
            Self::BadSignature => (400, "invalid_grant", "Invalid JWT Signature."),
            Self::BadAudience => (
                400,
                "invalid_grant",
                "Invalid JWT: Failed audience check. The right audience is https://oauth2.googleapis.com/token",
            ),
            Self::AssertionTime => (
                400,
                "invalid_grant",
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check \
                 your iat and exp values in the JWT claim.",
            ),
            Self::InvalidScope => (
                400,
                "invalid_scope",
                "Invalid OAuth scope or ID token audience provided.",
            ),
            Self::RobotNotFound => (400, "invalid_grant", "Invalid grant: account not found"),
            Self::RobotDisabled => (400, "invalid_grant", "Robot is disabled."),
        };
        let mut body = object! { "error": error, "error_description": description };
        if self == Self::InvalidRapt {
            body.set("error_subtype", "invalid_rapt");
        }
        (status, body)
    }
}

impl From<InvalidGrant> for OAuthError {
    fn from(refusal: InvalidGrant) -> Self {
        match refusal {
            InvalidGrant::Revoked => Self::Revoked,
            InvalidGrant::BadRequest => Self::BadRequest,
            InvalidGrant::AccountDeleted => Self::AccountDeleted,
            InvalidGrant::InvalidRapt => Self::InvalidRapt,
        }
    }
}
