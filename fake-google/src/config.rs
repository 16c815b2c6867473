//! What a fake Google can be told before it starts: accounts, keys, models, and how it behaves.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::catalogue::{Model, default_models};
use crate::service_accounts::ServiceAccount;

/// The OAuth client that [`Account::numbered`] uses. Not a real one.
pub const CLIENT_ID: &str = "fake-client.apps.googleusercontent.com";
/// The secret of [`CLIENT_ID`]. Not a real one.
pub const CLIENT_SECRET: &str = "fake-client-secret";
/// The API key that [`Config::default`] accepts.
pub const API_KEY: &str = "AIzaFakeGoogleApiKey";

/// How a fake Google behaves. `Default` is three accounts, one API key and every model, with nothing going wrong.
#[derive(Clone)]
pub struct Config {
    /// Who may sign in. More can be added while it runs.
    pub accounts: Vec<Account>,
    /// A refresh token that starts with this is an account of its own, made when it is first seen, whatever client
    /// presents it and whatever project it names.
    pub any_refresh_token_with_prefix: Option<String>,
    /// Keys that `x-goog-api-key` and `?key=` may carry.
    pub api_keys: Vec<String>,
    /// Service accounts, which sign in with assertions.
    pub service_accounts: Vec<ServiceAccount>,
    /// The models, with the upstreams that serve each.
    pub models: Vec<Model>,
    /// Lifetime of an access token; `expires_in` says it in whole seconds. Google's is 3599 s.
    pub expires_in: Duration,
    /// Whether each refresh hands out a new refresh token. The old one is honoured until the new one is first used.
    pub rotate_refresh_tokens: bool,
    /// Take any thought signature for real. Off, only signatures that a fake Google issued and the documented dummies pass.
    pub accept_any_signature: bool,
    /// Serve models that are not in `models`, as far as their names tell what they are.
    pub accept_any_model: bool,
    /// Whether `presencePenalty` and `frequencyPenalty` are enabled; otherwise they are refused as most models refuse them.
    pub penalties: bool,
    /// Whether `responseLogprobs` is enabled.
    pub logprobs: bool,
    /// The largest `candidateCount` that is answered.
    pub max_candidates: u32,
    /// How many events the text of a streamed answer is spread over, at most.
    pub text_chunks: usize,
    /// Time before the first event of a stream, or before a unary answer.
    pub first_event_delay: Duration,
    /// Time between two events of a stream.
    pub event_delay: Duration,
    /// Answer every `generateContent` and `streamGenerateContent` with the same bytes, made once: neither checked nor
    /// counted, nor met by faults. For load tests; `text_chunks` and the delays hold.
    pub prepared: bool,
    /// The addresses that consent may send browsers back to, as a client of the type "Web application" has them.
    /// Nothing: any port of loopback, as for "Desktop app".
    pub redirect_uris: Option<Vec<String>>,
    /// How often an onboarding operation answers `done: false` before it is done.
    pub onboarding_polls: u32,
    /// Requests that each (account, model group) may make per window; nothing means no limit.
    pub quota: Option<Quota>,
    /// How many of the newest requests to a model's methods are kept for [`FakeGoogle::requests`](crate::FakeGoogle::requests).
    pub keep_requests: usize,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("accounts", &self.accounts)
            .field("models", &self.models.len())
            .field("expires_in", &self.expires_in)
            .field("rotate_refresh_tokens", &self.rotate_refresh_tokens)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// The default with accounts 1 to `accounts`, as [`Account::numbered`] makes them.
    pub fn with_accounts(accounts: usize) -> Self {
        Self {
            accounts: (1..=accounts).map(Account::numbered).collect(),
            ..Self::default()
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            accounts: (1..=3).map(Account::numbered).collect(),
            any_refresh_token_with_prefix: None,
            api_keys: vec![API_KEY.to_owned()],
            service_accounts: Vec::new(),
            models: default_models(),
            expires_in: Duration::from_secs(3599),
            rotate_refresh_tokens: false,
            accept_any_signature: false,
            accept_any_model: false,
            penalties: false,
            logprobs: true,
            max_candidates: 8,
            text_chunks: 4,
            first_event_delay: Duration::ZERO,
            event_delay: Duration::ZERO,
            prepared: false,
            redirect_uris: None,
            onboarding_polls: 1,
            quota: None,
            keep_requests: 0,
        }
    }
}

/// A limit of requests in a window that starts with the first of them.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// Requests in one window.
    pub requests: u64,
    /// Length of the window.
    pub window: Duration,
}

/// Somebody who has signed in once: the refresh token, the client that minted it, and the projects it may use.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// The refresh token.
    pub refresh_token: String,
    /// The OAuth client that minted the refresh token; others get `unauthorized_client`.
    #[serde(default = "client_id")]
    pub client_id: String,
    /// That client's secret.
    #[serde(default = "client_secret")]
    pub client_secret: String,
    /// Google projects that this account may use; the first is its Code Assist project.
    pub projects: Vec<String>,
    /// What `userinfo` says; made from the first project when empty.
    #[serde(default)]
    pub email: String,
    /// What `loadCodeAssist` answers.
    #[serde(default)]
    pub discovery: Discovery,
    /// Makes every refresh fail with this `invalid_grant`.
    #[serde(default)]
    pub invalid_grant: Option<InvalidGrant>,
    /// Consents bring no refresh token, as those that Google takes for repeated.
    #[serde(default)]
    pub withholds_refresh_token: bool,
}

fn client_id() -> String {
    CLIENT_ID.to_owned()
}

fn client_secret() -> String {
    CLIENT_SECRET.to_owned()
}

impl Account {
    /// An account of the default client that may use one project.
    pub fn new(refresh_token: impl Into<String>, project: impl Into<String>) -> Self {
        Self {
            refresh_token: refresh_token.into(),
            client_id: client_id(),
            client_secret: client_secret(),
            projects: vec![project.into()],
            email: String::new(),
            discovery: Discovery::default(),
            invalid_grant: None,
            withholds_refresh_token: false,
        }
    }

    /// Account number `n`: refresh token `1//fake-refresh-token-n`, project `fake-project-n`.
    pub fn numbered(n: usize) -> Self {
        Self::new(
            format!("1//fake-refresh-token-{n}"),
            format!("fake-project-{n}"),
        )
    }

    pub(crate) fn email(&self) -> String {
        if self.email.is_empty() {
            let name = self.projects.first().map_or("nobody", String::as_str);
            format!("{name}@example.com")
        } else {
            self.email.clone()
        }
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("projects", &self.projects)
            .field("discovery", &self.discovery)
            .field("invalid_grant", &self.invalid_grant)
            .finish_non_exhaustive()
    }
}

/// What `loadCodeAssist` tells about an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Discovery {
    /// `cloudaicompanionProject` is a string.
    #[default]
    StringProject,
    /// `cloudaicompanionProject` is an object with an `id`.
    ObjectProject,
    /// No tier and no project until `onboardUser` is done.
    NotOnboarded,
    /// No tier; the only one that is allowed wants a project of the user's own.
    OwnProject,
    /// No tier; `ineligibleTiers` asks for the account to be validated.
    ValidationRequired,
    /// No tier; `ineligibleTiers` names the location.
    UnsupportedLocation,
}

/// Google's ways of saying `invalid_grant`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InvalidGrant {
    /// `Token has been expired or revoked.`
    Revoked,
    /// `Bad Request`: a malformed token.
    BadRequest,
    /// `Account has been deleted`
    AccountDeleted,
    /// `reauth related error (invalid_rapt)`, with its `error_subtype`.
    InvalidRapt,
}
