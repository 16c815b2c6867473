//! The end of a login, step by step. Until it is stored it can be broken off at any point,
//! and has changed nothing.

use antigravity_runtime::random;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{
    EMAIL, LoginError, Logins, PLATFORM, Refused,
    answer::{self, Answer},
    discovery::discover,
    google::Caller,
    keep::LoggedIn,
    proof::prove,
    ticket::Ticket,
};
use crate::{
    admin::AdminError,
    ledger::Used,
    limits,
    oauth::{Exchange, ExchangeError, Exchanged},
    outcomes::Report,
    pool::Grant,
    project::{ProjectId, Upstream},
    store::StoredToken,
};

/// What a login is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Exchanging,
    Discovering,
    Onboarding,
    Storing,
    Proving,
}

/// What a caller is told meanwhile.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) step: Step,
    pub(crate) message: String,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) project: ProjectId,
    pub(crate) created: bool,
    pub(crate) account: Option<String>,
    pub(crate) proof_model: String,
    pub(crate) proof_error: Option<String>,
}

/// Who waits for it.
pub(super) struct Told(mpsc::Sender<Progress>);

impl Told {
    pub(super) async fn step(&self, step: Step, message: &str) -> Result<(), LoginError> {
        let message = message.to_owned();
        let sent = self.0.send(Progress { step, message }).await;
        sent.map_err(|_| LoginError::Gone)
    }
}

/// A login whose owner has consented.
pub(crate) struct Finish {
    ticket: Ticket,
    code: SecretString,
}

impl Logins {
    /// Takes the answer of the browser in, as far as that can be judged here.
    pub(crate) fn answered(&self, login: &str, answer: &str) -> Result<Finish, LoginError> {
        let ticket = Ticket::open(&self.pool.store.keys(), login).ok_or_else(|| {
            LoginError::Field(
                "login",
                "is none that this service has begun, or its encryption key has changed; begin \
                 anew"
                    .to_owned(),
            )
        })?;
        if self.pool.now() >= ticket.expires_at {
            return Err(Refused::because(
                "LOGIN_EXPIRED",
                "the login was begun more than ten minutes ago, and its code is no longer good; \
                 nothing was stored. Log in again"
                    .to_owned(),
            ));
        }
        match answer::read(answer, ticket.state.expose_secret()).map_err(LoginError::Answer)? {
            Answer::Code(code) => Ok(Finish { ticket, code }),
            Answer::Refusal(error) if error == "access_denied" => Err(Refused::because(
                "ACCESS_DENIED",
                "consent was denied in the browser; nothing was stored. Log in again, and allow \
                 it. (While the OAuth client's consent screen is in testing, Google denies all \
                 but its test users: add the account there)"
                    .to_owned(),
            )),
            Answer::Refusal(error) => Err(Refused::because(
                &error.to_ascii_uppercase(),
                format!(
                    "Google sent the browser back with the error {error}; nothing was stored. \
                     Begin anew"
                ),
            )),
        }
    }

    /// Goes through with it, and tells `progress` what it is at.
    pub(crate) async fn finish(
        &self,
        finish: Finish,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Done, LoginError> {
        let gone = progress.clone();
        let told = Told(progress);
        let Finish { ticket, code } = finish;
        let (login, account) = tokio::select! {
            prepared = self.prepare(ticket, code, &told) => prepared?,
            // Nobody would learn of it.
            () = gone.closed() => return Err(LoginError::Gone),
        };
        told.step(Step::Storing, "storing the project").await?;
        let (grant, created) = self.pool.log_in(login).await?;
        tracing::info!(
            project = &*grant.project,
            upstream = grant.upstream.name(),
            created,
            "an account has logged in"
        );
        // It is stored, whether or not somebody is there to hear it.
        let _ = told
            .step(Step::Proving, "proving it with a real call")
            .await;
        let (proof_model, proof_error) = self.proven(&grant).await;
        Ok(Done {
            project: grant.project,
            created,
            account,
            proof_model,
            proof_error,
        })
    }

    /// Everything before the pool is touched.
    async fn prepare(
        &self,
        ticket: Ticket,
        code: SecretString,
        told: &Told,
    ) -> Result<(LoggedIn, Option<String>), LoginError> {
        told.step(Step::Exchanging, "exchanging the code for tokens")
            .await?;
        let began = self.pool.now();
        let exchanged = self.exchange(&ticket, &code).await?;
        let refresh_token = checked(&exchanged, &ticket.client_id)?;
        let http = self.pool.oauth.http();
        let caller = Caller {
            http: &http,
            token: &exchanged.access_token,
            headers: &self.places.headers,
            user_project: None,
        };
        let account = match exchanged.email {
            Some(email) => Some(email),
            None => self.email(&caller).await,
        };
        let google_project_id = match (ticket.upstream, ticket.google_project_id) {
            (Upstream::Antigravity, wanted) => {
                told.step(Step::Discovering, "asking Google for the account's project")
                    .await?;
                let hosts = &self.places.antigravity;
                let found = discover(&caller, hosts, wanted.as_deref(), told).await?;
                if wanted.is_none() {
                    self.same_project(ticket.id.as_deref(), &found, account.as_deref())?;
                }
                found
            }
            (_, Some(given)) => given,
            (upstream, None) => {
                // A ticket of a version that did not ask for it.
                return Err(Refused::because(
                    "PROJECT_REQUIRED",
                    format!("on {upstream} a Google project has to be named; begin anew"),
                ));
            }
        };
        let lifetime = exchanged.lifetime;
        let login = LoggedIn {
            id: ticket.id,
            google_project_id,
            upstream: ticket.upstream,
            location: ticket.location,
            oauth_client_id: ticket.client_id,
            display_name: ticket.display_name,
            account: account.clone(),
            refresh_token,
            token: StoredToken {
                secret: exchanged.access_token,
                expires_at: began.saturating_add(lifetime).unwrap_or(Timestamp::MAX),
                lifetime: Some(lifetime),
                refreshed_at: Some(self.pool.now()),
            },
        };
        Ok((login, account))
    }

    async fn exchange(
        &self,
        ticket: &Ticket,
        code: &SecretString,
    ) -> Result<Exchanged, LoginError> {
        let client_id = &ticket.client_id;
        let client = {
            let state = self.pool.state();
            let client = state.clients.get(client_id);
            client.map(|client| client.record.credentials.clone())
        };
        let client = client.ok_or_else(|| AdminError::NoSuchClient(client_id.clone()))?;
        let exchange = Exchange {
            code,
            redirect_uri: &ticket.redirect_uri,
            verifier: &ticket.verifier,
        };
        let exchanged = self.pool.oauth.exchange(&client, &exchange).await;
        exchanged.map_err(|error| refused(error, ticket))
    }

    /// The account's e-mail address, when Google tells it.
    async fn email(&self, caller: &Caller<'_>) -> Option<String> {
        let user: Value = match caller.get(&self.places.userinfo_url).await {
            Ok(user) => user,
            Err(refusal) => {
                tracing::debug!(%refusal, "the account's e-mail address cannot be had");
                return None;
            }
        };
        let email = user["email"].as_str()?;
        limits::is_email(email).then(|| email.to_owned())
    }

    /// A project's new login has to be of the account that it had: another account would be
    /// refused its Google project.
    fn same_project(
        &self,
        id: Option<&str>,
        found: &str,
        account: Option<&str>,
    ) -> Result<(), LoginError> {
        let state = self.pool.state();
        let Some(member) = id.and_then(|id| state.projects.get(id)) else {
            return Ok(());
        };
        let project = &member.record.project;
        if project.google_project_id == found {
            return Ok(());
        }
        Err(Refused::because(
            "OTHER_ACCOUNT",
            format!(
                "{} has the Google project {found}, and {} of the pool is {}: that is another \
                 account; nothing was stored. Log in again and choose the other account, leave \
                 --id away for a project of its own, or say --project {} to have this account \
                 use that one",
                account.unwrap_or("this account"),
                project.id,
                project.google_project_id,
                project.google_project_id,
            ),
        ))
    }

    /// Asks Google something, and puts the project into the state that the answer calls for.
    async fn proven(&self, grant: &Grant) -> (String, Option<String>) {
        let started_at = self.pool.now();
        let http = self.pool.oauth.http();
        let proof = prove(&http, &self.places, grant).await;
        if let Some(error) = &proof.error {
            tracing::warn!(
                project = &*grant.project,
                model = proof.model,
                error,
                "the first call with a new login failed"
            );
        }
        let report = Report {
            id: u128::from_be_bytes(random::id_bytes()),
            // No client's key: so the ledger tells who asked.
            api_key_name: "(login)".to_owned(),
            used: Used {
                attempts: 1,
                answers: proof.error.is_none().into(),
                ..Used::default()
            },
            project: grant.project.to_string(),
            turn: None,
            answer: proof.verdict,
            model: proof.model.clone(),
            started_at: Some(started_at),
            failed: proof.error.is_some(),
        };
        self.pool.report(vec![report]).await;
        (proof.model, proof.error)
    }
}

/// The refresh token, when all that is needed was allowed.
fn checked(exchanged: &Exchanged, client_id: &str) -> Result<SecretString, LoginError> {
    let scopes = exchanged.scopes.as_deref();
    let allowed = |scope: &str| scopes.is_none_or(|all| all.split_whitespace().any(|s| s == scope));
    if !allowed(PLATFORM) {
        return Err(Refused::because(
            "SCOPE_MISSING",
            format!(
                "the consent leaves out {PLATFORM}, without which Gemini cannot be asked; nothing \
                 was stored. Log in again, and tick every box"
            ),
        ));
    }
    if !allowed(EMAIL) {
        tracing::debug!("the account is not to be named");
    }
    exchanged.refresh_token.clone().ok_or_else(|| {
        LoginError::Refused(Refused {
            reason: "NO_REFRESH_TOKEN".to_owned(),
            message: format!(
                "Google returned no refresh token, without which the login would end within the \
                 hour; nothing was stored. Remove the access of the OAuth client {client_id} at \
                 {CONNECTIONS} as the account's owner, then log in again"
            ),
            links: vec![(
                "Third-party access of the account".to_owned(),
                CONNECTIONS.to_owned(),
            )],
        })
    })
}

const CONNECTIONS: &str = "https://myaccount.google.com/connections";
const CONSOLE: &str = "https://console.cloud.google.com/auth/clients";

fn refused(error: ExchangeError, ticket: &Ticket) -> LoginError {
    let client = &ticket.client_id;
    let (reason, message) = match error {
        ExchangeError::Code(told) => (
            "INVALID_GRANT",
            format!(
                "Google does not take the code ({told}): it was used already, is older than ten \
                 minutes, or belongs to another login; nothing was stored. Log in again"
            ),
        ),
        ExchangeError::Client(told) => (
            "INVALID_CLIENT",
            format!(
                "Google refuses the OAuth client {client} ({told}); nothing was stored. Store its \
                 right secret with `antigravity-gateway oauth-clients put {client} --secret-file \
                 FILE` (see {CONSOLE}), then log in again"
            ),
        ),
        ExchangeError::OtherClient(told) => (
            "UNAUTHORIZED_CLIENT",
            format!(
                "the code was made for another OAuth client than {client} ({told}); nothing was \
                 stored. Log in again, with the address of this login"
            ),
        ),
        ExchangeError::RedirectUri(told) => (
            "REDIRECT_URI_MISMATCH",
            format!(
                "the OAuth client {client} does not know the redirect address {} ({told}); nothing \
                 was stored. Use one of the type \"Desktop app\", which takes any port of this \
                 machine, or add the address to it (see {CONSOLE})",
                ticket.redirect_uri
            ),
        ),
        ExchangeError::Refused(told) => (
            "REFUSED",
            format!("Google refuses the exchange of the code: {told}; nothing was stored"),
        ),
        ExchangeError::Transient(told) => {
            return LoginError::Unavailable(format!("{told}; nothing was stored. Log in again"));
        }
    };
    let has_link = message.contains(CONSOLE);
    let console = has_link.then(|| {
        (
            "OAuth clients in the console".to_owned(),
            CONSOLE.to_owned(),
        )
    });
    LoginError::Refused(Refused {
        reason: reason.to_owned(),
        message,
        links: console.into_iter().collect(),
    })
}
