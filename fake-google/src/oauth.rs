//! Google's OAuth: the token endpoint, user info, token info and revocation.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Response;

use crate::accounts::{AccountId, ClientProof, Grant, SCOPES};
use crate::counters::fingerprint;
use crate::endpoint::Endpoint;
use crate::fake::FakeGoogle;
use crate::fault::{Action, Subject};
use crate::form::Form;
use crate::intervention::{Met, intervene};
use crate::json::{Json, object};
use crate::oauth_error::OAuthError;
use crate::reply::{self, Body};
use crate::router::Exchange;
use crate::service_accounts;
use crate::status::Status;

/// `POST /token`
pub(crate) async fn token(exchange: &Exchange, body: &[u8]) -> Result<Response<Body>, h2::Error> {
    let fake = &exchange.fake;
    let form = Form::parse(&String::from_utf8_lossy(body));
    let refresh_token = form.get("refresh_token").unwrap_or_default().to_owned();
    let assertion = (form.get("grant_type") == Some(service_accounts::GRANT))
        .then(|| form.get("assertion").unwrap_or_default());
    // A service account is counted by its address, as it has no refresh token.
    let refresh_token = match assertion {
        Some(assertion) => service_accounts::issuer(assertion).unwrap_or_default(),
        None => refresh_token,
    };
    let is_refresh = assertion.is_some() || form.get("grant_type") == Some("refresh_token");
    let refreshing = is_refresh.then(|| InFlight::begin(fake, &refresh_token));
    if refreshing.is_none() {
        fake.tally().oauth.total += 1;
    }
    let projects = {
        let ledger = fake.ledger();
        let account = match assertion {
            Some(_) => ledger.accounts.of_robot(&refresh_token),
            None => ledger.accounts.of_refresh_token(&refresh_token),
        };
        account
            .map(|id| ledger.accounts.holder(id).account.projects.clone())
            .unwrap_or_default()
    };
    let plan = fake.meet(&Subject {
        endpoint: Some(Endpoint::OAuthToken),
        projects: &projects,
        refresh_token: Some(&refresh_token),
        ..Subject::default()
    });
    let plan = match intervene(exchange, plan, "").await? {
        Met::Answered(response) => return Ok(response),
        Met::Goes(plan) => plan,
    };
    let granted = grant(fake, &form);
    if let (Ok(_), Some(refreshing)) = (&granted, &refreshing) {
        refreshing.granted(projects.first().map(AsRef::as_ref));
    }
    exchange.before_headers(&plan).await;
    match plan.action {
        Some(Action::Reset { .. }) => {
            exchange.connection.reset();
            return std::future::pending().await;
        }
        Some(Action::Close { .. }) => {
            exchange.connection.close();
            return std::future::pending().await;
        }
        Some(Action::Stall { .. }) => return std::future::pending().await,
        _ => {}
    }
    Ok(match granted {
        Ok(grant) if assertion.is_some() => {
            let expires_in = fake.config().expires_in.as_secs();
            let tokens = service_accounts::tokens(&grant.access_token, expires_in);
            reply::json(200, &tokens)
        }
        Ok(grant) => reply::json(200, &tokens(fake, &grant, refreshing.is_some())),
        Err(error) => refused(error),
    })
}

fn grant(fake: &FakeGoogle, form: &Form) -> Result<Grant, OAuthError> {
    let client = ClientProof {
        id: form.get("client_id").unwrap_or_default(),
        secret: form.get("client_secret").unwrap_or_default(),
    };
    let mut ledger = fake.ledger();
    let now = ledger.now();
    match form.get("grant_type") {
        Some("refresh_token") => {
            let token = form
                .get("refresh_token")
                .ok_or(OAuthError::InvalidRequest)?;
            ledger.accounts.refresh(token, &client, fake.config(), now)
        }
        Some("authorization_code") => {
            let code = form.get("code").ok_or(OAuthError::InvalidRequest)?;
            let redirect_uri = form.get("redirect_uri").unwrap_or_default();
            let verifier = form.get("code_verifier");
            ledger
                .accounts
                .exchange(code, redirect_uri, verifier, &client, fake.config(), now)
        }
        Some(service_accounts::GRANT) => {
            let assertion = form.get("assertion").ok_or(OAuthError::InvalidRequest)?;
            ledger.accounts.assert(assertion, fake.config(), now)
        }
        Some(_) => Err(OAuthError::UnsupportedGrantType),
        None => Err(OAuthError::InvalidRequest),
    }
}

fn tokens(fake: &FakeGoogle, grant: &Grant, refreshing: bool) -> Json {
    let mut tokens = object! {
        "access_token": &grant.access_token,
        "expires_in": fake.config().expires_in.as_secs(),
    };
    if let Some(refresh_token) = &grant.refresh_token {
        tokens.set("refresh_token", refresh_token);
    }
    tokens.set("scope", grant.scope.as_deref().unwrap_or(SCOPES));
    tokens.set("token_type", "Bearer");
    if !refreshing {
        tokens.set("id_token", id_token(fake, grant.account));
    }
    tokens
}

/// A JWT in form only: nobody signed it.
fn id_token(fake: &FakeGoogle, account: AccountId) -> String {
    let email = fake.ledger().accounts.holder(account).account.email();
    let part = |value: Json| URL_SAFE_NO_PAD.encode(value.to_line());
    let header = part(object! { "alg": "RS256", "kid": "fake", "typ": "JWT" });
    let claims = part(object! {
        "iss": "https://accounts.google.com",
        "sub": fingerprint(&email),
        "email": email,
        "email_verified": true,
    });
    format!(
        "{header}.{claims}.{}",
        URL_SAFE_NO_PAD.encode("not a signature")
    )
}

fn refused(error: OAuthError) -> Response<Body> {
    let (status, body) = error.answer();
    reply::json(status, &body)
}

/// `GET /oauth2/v2/userinfo`
pub(crate) fn user_info(fake: &FakeGoogle, access_token: Option<&str>) -> Response<Body> {
    let ledger = fake.ledger();
    let account =
        access_token.and_then(|token| ledger.accounts.of_access_token(token, ledger.now()));
    let Some(account) = account else {
        return reply::error(&Status::unauthenticated(
            "Request had invalid authentication credentials.",
        ));
    };
    let email = ledger.accounts.holder(account).account.email();
    let name = email.split('@').next().unwrap_or_default();
    reply::json(
        200,
        &object! {
            "id": u64::from_str_radix(&fingerprint(&email), 16).unwrap_or(1).to_string(),
            "email": &email,
            "verified_email": true,
            "name": name,
            "given_name": name,
            "family_name": "Fake",
            "picture": "https://lh3.googleusercontent.com/a/fake",
        },
    )
}

/// `GET /tokeninfo`
pub(crate) fn token_info(fake: &FakeGoogle, access_token: Option<&str>) -> Response<Body> {
    let ledger = fake.ledger();
    let now = ledger.now();
    let Some((token, account)) =
        access_token.and_then(|token| Some((token, ledger.accounts.of_access_token(token, now)?)))
    else {
        return refused(OAuthError::InvalidToken);
    };
    let account = &ledger.accounts.holder(account).account;
    reply::json(
        200,
        &object! {
            "azp": &account.client_id,
            "aud": &account.client_id,
            "scope": SCOPES,
            "expires_in": ledger.accounts.lifetime(token, now).to_string(),
            "email": account.email(),
            "email_verified": "true",
            "access_type": "offline",
        },
    )
}

/// `POST /revoke`
pub(crate) fn revoke(fake: &FakeGoogle, token: Option<&str>) -> Response<Body> {
    if token.is_some_and(|token| fake.revoke(token)) {
        reply::json(200, &object! {})
    } else {
        refused(OAuthError::InvalidToken)
    }
}

/// Counts a refresh as running while it lives.
struct InFlight {
    fake: Arc<FakeGoogle>,
    token: String,
}

impl InFlight {
    fn begin(fake: &Arc<FakeGoogle>, refresh_token: &str) -> Self {
        let token = fingerprint(refresh_token);
        let mut counters = fake.tally();
        counters.oauth.total += 1;
        let refreshes = counters
            .oauth
            .by_refresh_token
            .entry(token.clone())
            .or_default();
        refreshes.calls += 1;
        refreshes.in_flight += 1;
        refreshes.in_flight_max = refreshes.in_flight_max.max(refreshes.in_flight);
        Self {
            fake: Arc::clone(fake),
            token,
        }
    }

    fn granted(&self, project: Option<&str>) {
        let mut counters = self.fake.tally();
        let of_token = counters
            .oauth
            .by_refresh_token
            .entry(self.token.clone())
            .or_default();
        of_token.granted += 1;
        if let Some(project) = project {
            let of_project = counters.oauth.granted_by_project.entry(project.to_owned());
            *of_project.or_default() += 1;
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut counters = self.fake.tally();
        let refreshes = counters
            .oauth
            .by_refresh_token
            .entry(self.token.clone())
            .or_default();
        refreshes.in_flight = refreshes.in_flight.saturating_sub(1);
    }
}
