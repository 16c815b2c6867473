//! The credential of a request: one, of a kind that fits what else the request says.

use crate::{
    credential::{Credential, Kind},
    pool::Pool,
    project::Upstream,
    rpc::check::Check,
};

/// The one credential that a request has to carry. `None` when something is wrong.
pub(super) fn given_credential(
    pool: &Pool,
    check: &mut Check,
    secrets: [(Kind, String); 3],
) -> Option<Credential> {
    let mut given = secrets.into_iter().filter(|(_, secret)| !secret.is_empty());
    let Some((kind, secret)) = given.next() else {
        check.wrong(
            "refresh_token",
            "is missing, and so are service_account_key and api_key; one of the three is required",
        );
        return None;
    };
    if let Some((other, _)) = given.next() {
        check.wrong(
            other.name(),
            format!("is given beside {}; give one of them", kind.name()),
        );
        return None;
    }
    match kind {
        Kind::RefreshToken => check.secret(kind.name(), &secret),
        Kind::ServiceAccountKey => {}
        Kind::ApiKey => match not_an_api_key(&secret) {
            Some(problem) => check.wrong(kind.name(), problem),
            None => check.secret(kind.name(), &secret),
        },
    }
    let checked = Credential::of(kind, secret.into()).and_then(|credential| {
        if let Credential::ServiceAccountKey(key) = &credential {
            pool.oauth.check_key(key)?;
        }
        Ok(credential)
    });
    checked
        .map_err(|error| check.wrong(kind.name(), error.to_string()))
        .ok()
}

pub(super) fn check_client(check: &mut Check, kind: Option<Kind>) {
    if let Some(kind @ (Kind::ServiceAccountKey | Kind::ApiKey)) = kind {
        check.wrong(
            "project.oauth_client_id",
            format!("is for refresh tokens; {} has none", article(kind)),
        );
    }
}

pub(super) fn check_upstream(check: &mut Check, kind: Option<Kind>, upstream: Upstream) {
    if let Some(kind) = kind.filter(|kind| !kind.serves(upstream)) {
        check.wrong("project.upstream", kind.refuses(upstream));
    }
}

fn article(kind: Kind) -> String {
    let article = if kind == Kind::ApiKey { "an" } else { "a" };
    format!("{article} {}", kind.words())
}

/// What a text is that stands where an API key belongs. They have no fixed form, but what
/// other credentials look like is known.
fn not_an_api_key(text: &str) -> Option<&'static str> {
    if text.starts_with('{') {
        Some("is JSON, not an API key; a service-account key goes as service_account_key")
    } else if text.starts_with("1//") {
        Some("is a refresh token, not an API key")
    } else if text.starts_with("ya29.") {
        Some("is an access token, which ends within the hour, not an API key")
    } else {
        None
    }
}
