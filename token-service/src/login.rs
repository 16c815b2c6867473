//! Logins: the owner of an account consents in a browser, and its project is in the pool.
//!
//! Between beginning and end nothing is kept here: what the end has to know goes with the
//! caller, sealed ([`ticket`]), so that any replica can finish what another began, after a
//! restart as well.

mod answer;
mod discovery;
mod finish;
mod google;
mod keep;
mod proof;
mod ticket;

use std::{sync::Arc, time::Duration};

use antigravity_runtime::secret;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use url::Url;

pub(crate) use self::{
    answer::AnswerError,
    finish::{Done, Progress, Step},
};
use self::{google::Refusal, ticket::Ticket};
use crate::{
    admin::AdminError, config::Config, limits, pool::Pool, project::Upstream, seal::SealError,
};

/// How long a login may take: a code of Google's is good for as long.
const LIFETIME: SignedDuration = SignedDuration::from_mins(10);
/// How long Google may take to make an account ready.
const ONBOARDING: Duration = Duration::from_secs(60);

/// What every login is allowed to do.
const PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";
const EMAIL: &str = "https://www.googleapis.com/auth/userinfo.email";

/// Begins and finishes logins.
pub(crate) struct Logins {
    pub(crate) pool: Arc<Pool>,
    places: Places,
}

/// Where Google is.
pub(crate) struct Places {
    auth_url: String,
    userinfo_url: String,
    /// Hosts of the Cloud Code API, in the order of trying.
    antigravity: Vec<String>,
    gemini: String,
    vertex: Option<String>,
    /// Those that an operator adds.
    headers: HeaderMap,
}

/// What a login is to be; checked for its form by the caller.
#[derive(Debug, Default)]
pub(crate) struct Begin {
    pub(crate) oauth_client_id: Option<String>,
    pub(crate) upstream: Option<Upstream>,
    pub(crate) redirect_uri: String,
    pub(crate) id: Option<String>,
    pub(crate) google_project_id: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) display_name: Option<String>,
}

/// A login that waits for its owner.
pub(crate) struct Begun {
    pub(crate) authorization_url: String,
    pub(crate) login: String,
    pub(crate) expires_at: Timestamp,
}

/// Why a login does not go on. With any of these nothing was stored.
#[derive(Debug)]
pub(crate) enum LoginError {
    /// A field of the request, and what is wrong with it.
    Field(&'static str, String),
    /// What the browser came back with.
    Answer(AnswerError),
    /// Google refuses, or its answer cannot be used.
    Refused(Refused),
    /// Google does not answer.
    Unavailable(String),
    /// The pool.
    Admin(AdminError),
    /// The system has no randomness, or cannot seal.
    Seal(SealError),
    /// Nobody waits for the end any more.
    Gone,
}

/// A refusal for good, with what is to be done about it.
#[derive(Debug)]
pub(crate) struct Refused {
    /// For programs, such as `ACCESS_DENIED`.
    pub(crate) reason: String,
    /// For people, with the next step.
    pub(crate) message: String,
    /// What is to be opened, and its title.
    pub(crate) links: Vec<(String, String)>,
}

impl Refused {
    fn because(reason: &str, message: String) -> LoginError {
        LoginError::Refused(Self {
            reason: reason.to_owned(),
            message,
            links: Vec::new(),
        })
    }
}

impl From<AdminError> for LoginError {
    fn from(error: AdminError) -> Self {
        Self::Admin(error)
    }
}

impl From<Refusal> for LoginError {
    /// Of a call that is part of a login.
    fn from(refusal: Refusal) -> Self {
        if refusal.is_transient() {
            return Self::Unavailable(format!(
                "{refusal}; nothing was stored, and a new login may succeed"
            ));
        }
        let links = refusal.link.clone();
        let open = links.as_ref().map(|link| format!(" (see {link})"));
        Self::Refused(Refused {
            message: format!("{refusal}{}; nothing was stored", open.unwrap_or_default()),
            links: links
                .map(|link| ("Google says".to_owned(), link))
                .into_iter()
                .collect(),
            reason: refusal.reason,
        })
    }
}

impl Places {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            auth_url: config.oauth_auth_url.clone(),
            userinfo_url: config.oauth_userinfo_url.clone(),
            antigravity: config.antigravity_hosts.clone(),
            gemini: config.gemini_host.clone(),
            vertex: config.vertex_host.clone(),
            headers: config.upstream_headers.clone(),
        }
    }
}

/// What is asked for. Code Assist serves who has consented to all five; the Gemini API's own
/// scope is the one that its documentation names.
fn scopes(upstream: Upstream) -> &'static [&'static str] {
    match upstream {
        Upstream::Antigravity => &[
            PLATFORM,
            EMAIL,
            "https://www.googleapis.com/auth/userinfo.profile",
            "https://www.googleapis.com/auth/cclog",
            "https://www.googleapis.com/auth/experimentsandconfigs",
        ],
        Upstream::Gemini => &[
            PLATFORM,
            "https://www.googleapis.com/auth/generative-language.retriever",
            EMAIL,
        ],
        Upstream::Vertex => &[PLATFORM, EMAIL],
    }
}

impl Logins {
    pub(crate) fn new(pool: Arc<Pool>, places: Places) -> Self {
        Self { pool, places }
    }

    /// Makes the address where the owner consents. Changes nothing.
    pub(crate) fn begin(&self, begin: Begin) -> Result<Begun, LoginError> {
        let (ticket, hint) = self.ticket(begin)?;
        let challenge = Sha256::digest(ticket.verifier.expose_secret());
        let mut parameters = vec![
            ("client_id", ticket.client_id.clone()),
            ("redirect_uri", ticket.redirect_uri.clone()),
            ("response_type", "code".to_owned()),
            ("scope", scopes(ticket.upstream).join(" ")),
            ("state", ticket.state.expose_secret().to_owned()),
            // With both a refresh token comes, at repeated logins too.
            ("access_type", "offline".to_owned()),
            ("prompt", "consent".to_owned()),
            ("code_challenge", URL_SAFE_NO_PAD.encode(challenge)),
            ("code_challenge_method", "S256".to_owned()),
        ];
        parameters.extend(hint.map(|email| ("login_hint", email)));
        let url = Url::parse_with_params(&self.places.auth_url, parameters).map_err(|error| {
            Refused::because(
                "AUTH_URL",
                format!("OAUTH_AUTH_URL cannot be used: {error}"),
            )
        })?;
        Ok(Begun {
            authorization_url: url.into(),
            login: ticket
                .seal(&self.pool.store.keys())
                .map_err(LoginError::Seal)?,
            expires_at: ticket.expires_at,
        })
    }

    /// What the end has to know, and whom the consent page may propose.
    fn ticket(&self, begin: Begin) -> Result<(Ticket, Option<String>), LoginError> {
        if !is_redirect_uri(&begin.redirect_uri) {
            return Err(LoginError::Field(
                "redirect_uri",
                "is neither http on loopback, such as http://127.0.0.1:8085/oauth-callback, nor \
                 https"
                    .to_owned(),
            ));
        }
        let state = self.pool.state();
        let known = begin.id.as_deref().and_then(|id| state.projects.get(id));
        let known = known.map(|member| &member.record.project);
        let upstream = match (begin.upstream, known) {
            (Some(upstream), Some(known)) if known.upstream != upstream => {
                return Err(LoginError::Field(
                    "upstream",
                    format!(
                        "is {upstream}, and the project {} is on {}; leave it away, or give \
                         another id",
                        known.id, known.upstream
                    ),
                ));
            }
            (Some(upstream), _) => upstream,
            (None, Some(known)) => known.upstream,
            (None, None) => self.pool.default_upstream,
        };
        if upstream != Upstream::Vertex && begin.location.is_some() {
            return Err(LoginError::Field(
                "location",
                format!("is for the upstream vertex, not {upstream}"),
            ));
        }
        let google_project_id = match (begin.google_project_id, known) {
            (Some(given), _) => Some(given),
            (None, Some(known)) if upstream != Upstream::Antigravity => {
                Some(known.google_project_id.clone())
            }
            (None, _) if upstream != Upstream::Antigravity => {
                return Err(LoginError::Field(
                    "google_project_id",
                    format!(
                        "is missing: on {upstream} there is none to be found; give the id of the \
                         Google Cloud project whose API is enabled"
                    ),
                ));
            }
            (None, _) => None,
        };
        if let Some(wanted) = google_project_id.as_deref() {
            // What cannot be stored in the end is not begun.
            keep::target(&state, begin.id.as_deref(), wanted, upstream, None)?;
        }
        let client = begin
            .oauth_client_id
            .or_else(|| known.map(|known| known.oauth_client_id.clone()));
        let client_id = state.client_for(client).map_err(|error| match error {
            AdminError::ClientNotNamed(0) => LoginError::Field(
                "oauth_client_id",
                "is missing, and there is no OAuth client yet; add yours first (oauth-clients \
                 put, PutOAuthClient)"
                    .to_owned(),
            ),
            AdminError::ClientNotNamed(several) => LoginError::Field(
                "oauth_client_id",
                format!("is missing, and there are {several} OAuth clients; name one"),
            ),
            other => LoginError::Admin(other),
        })?;
        let hint = known.map(|known| known.display_name.clone());
        let now = self.pool.now();
        let ticket = Ticket {
            client_id,
            redirect_uri: begin.redirect_uri,
            state: random()?,
            verifier: random()?,
            upstream,
            expires_at: now.saturating_add(LIFETIME).unwrap_or(Timestamp::MAX),
            id: begin.id,
            google_project_id,
            location: begin.location,
            display_name: begin.display_name,
        };
        Ok((ticket, hint.filter(|name| limits::is_email(name))))
    }
}

fn random() -> Result<SecretString, LoginError> {
    secret::generate().map_err(|_| LoginError::Seal(SealError::NoRandomness))
}

/// Where a code may be sent: to this machine, or sealed by TLS.
fn is_redirect_uri(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else {
        return false;
    };
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let fits = url.scheme() == "https" || (url.scheme() == "http" && loopback);
    fits && text.len() <= 2048 && url.fragment().is_none() && limits::is_token(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_goes_to_this_machine_or_over_tls() {
        for fits in [
            "http://127.0.0.1:8085/oauth-callback",
            "http://localhost/",
            "http://[::1]:1/x?y=z",
            "https://example.com/callback",
        ] {
            assert!(is_redirect_uri(fits), "{fits}");
        }
        for wrong in [
            "",
            "127.0.0.1:8085",
            "http://example.com/",
            "http://localhost.example.com/",
            "http://10.0.0.1/",
            "https://example.com/#fragment",
            "javascript:alert(1)",
            "http://127.0.0.1/ x",
        ] {
            assert!(!is_redirect_uri(wrong), "{wrong}");
        }
    }
}
