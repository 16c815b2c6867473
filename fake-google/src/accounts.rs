//! Who may do what: refresh tokens, access tokens and authorization codes. Time is passed in; nothing here waits.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::config::{Account, Config};
use crate::oauth_error::OAuthError;
use crate::service_accounts::{self, Robot, RobotState, ServiceAccount};

/// The scopes that Antigravity asks for.
pub(crate) const SCOPES: &str = "https://www.googleapis.com/auth/cloud-platform \
    https://www.googleapis.com/auth/userinfo.email https://www.googleapis.com/auth/userinfo.profile \
    https://www.googleapis.com/auth/cclog https://www.googleapis.com/auth/experimentsandconfigs";

/// Authorization codes are good for this long.
const CODE_LIFETIME: Duration = Duration::from_secs(600);

/// The place of an account in [`Accounts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AccountId(usize);

/// An account with what happened to it.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) account: Account,
    /// Made up for an unknown refresh token: it may use whatever project it names.
    pub(crate) any_project: bool,
    pub(crate) onboarded: bool,
}

impl Holder {
    pub(crate) fn may_use(&self, project: &str) -> bool {
        self.any_project || self.account.projects.iter().any(|own| own == project)
    }

    pub(crate) fn project(&self) -> &str {
        self.account
            .projects
            .first()
            .map_or("fake-project", String::as_str)
    }
}

struct Refresh {
    account: AccountId,
    dead: bool,
    /// The token that this one replaces, alive until this one is first used.
    replaces: Option<String>,
}

#[derive(Debug)]
struct Access {
    account: AccountId,
    expires: SystemTime,
    refused: bool,
}

struct Code {
    account: AccountId,
    client_id: String,
    redirect_uri: String,
    challenge: Option<Challenge>,
    scope: String,
    offline: bool,
    expires: SystemTime,
}

/// What an authorize request asks for.
pub(crate) struct Consent<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) redirect_uri: &'a str,
    pub(crate) challenge: Option<Challenge>,
    pub(crate) scope: &'a str,
    /// `access_type=offline`: the exchange brings a refresh token.
    pub(crate) offline: bool,
}

/// PKCE: what the authorize request announced.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Plain(String),
    S256(String),
}

impl Challenge {
    fn is_met_by(&self, verifier: &str) -> bool {
        match self {
            Self::Plain(challenge) => challenge == verifier,
            Self::S256(challenge) => *challenge == URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)),
        }
    }
}

/// What a grant hands out.
pub(crate) struct Grant {
    pub(crate) account: AccountId,
    pub(crate) access_token: String,
    pub(crate) refresh_token: Option<String>,
    /// Of a consent. `None`: all that there are.
    pub(crate) scope: Option<String>,
}

/// The two halves of what a client proves itself with.
pub(crate) struct ClientProof<'a> {
    pub(crate) id: &'a str,
    pub(crate) secret: &'a str,
}

/// Every account and every token.
#[derive(Default)]
pub(crate) struct Accounts {
    holders: Vec<Holder>,
    refresh: HashMap<String, Refresh>,
    access: HashMap<String, Access>,
    codes: HashMap<String, Code>,
    robots: Vec<Robot>,
    /// API keys that were deleted.
    dead_keys: HashSet<String>,
}

impl Accounts {
    pub(crate) fn add_robot(&mut self, robot: ServiceAccount) {
        let id = AccountId(self.holders.len());
        self.holders.push(Holder {
            account: Account {
                client_id: String::new(),
                client_secret: String::new(),
                projects: robot.projects,
                email: robot.client_email.clone(),
                ..Account::new("", "")
            },
            any_project: false,
            onboarded: true,
        });
        self.robots
            .retain(|old| old.client_email != robot.client_email);
        self.robots.push(Robot {
            client_email: robot.client_email,
            account: id,
            state: RobotState::Enabled,
        });
    }

    /// The JWT-bearer grant.
    pub(crate) fn assert(
        &mut self,
        assertion: &str,
        config: &Config,
        now: SystemTime,
    ) -> Result<Grant, OAuthError> {
        let account = service_accounts::verify(&self.robots, assertion, now)?;
        Ok(Grant {
            account,
            access_token: self.issue(account, config, now),
            refresh_token: None,
            scope: None,
        })
    }

    /// The account of a service account.
    pub(crate) fn of_robot(&self, client_email: &str) -> Option<AccountId> {
        let mut robots = self.robots.iter();
        let robot = robots.find(|robot| robot.client_email == client_email)?;
        Some(robot.account)
    }

    /// Changes what becomes of a service account's assertions. False when it is unknown.
    pub(crate) fn set_robot(&mut self, client_email: &str, state: RobotState) -> bool {
        let mut robots = self.robots.iter_mut();
        let Some(robot) = robots.find(|robot| robot.client_email == client_email) else {
            return false;
        };
        robot.state = state;
        let account = robot.account;
        if state != RobotState::Enabled {
            self.refuse_access_tokens(account);
        }
        true
    }

    pub(crate) fn delete_key(&mut self, key: &str) {
        self.dead_keys.insert(key.to_owned());
    }

    pub(crate) fn is_deleted(&self, key: &str) -> bool {
        self.dead_keys.contains(key)
    }

    pub(crate) fn add(&mut self, account: Account) -> AccountId {
        let id = AccountId(self.holders.len());
        let refresh = Refresh {
            account: id,
            dead: false,
            replaces: None,
        };
        self.refresh.insert(account.refresh_token.clone(), refresh);
        self.holders.push(Holder {
            account,
            any_project: false,
            onboarded: false,
        });
        id
    }

    pub(crate) fn holder(&self, id: AccountId) -> &Holder {
        &self.holders[id.0]
    }

    pub(crate) fn onboard(&mut self, id: AccountId) {
        self.holders[id.0].onboarded = true;
    }

    /// Whose refresh token it is, dead or alive.
    pub(crate) fn of_refresh_token(&self, token: &str) -> Option<AccountId> {
        self.refresh.get(token).map(|refresh| refresh.account)
    }

    /// Whose access token it is, if it is still good.
    pub(crate) fn of_access_token(&self, token: &str, now: SystemTime) -> Option<AccountId> {
        self.access
            .get(token)
            .filter(|access| !access.refused && access.expires > now)
            .map(|access| access.account)
    }

    /// Seconds that an access token is still good for.
    pub(crate) fn lifetime(&self, token: &str, now: SystemTime) -> u64 {
        self.access
            .get(token)
            .and_then(|access| access.expires.duration_since(now).ok())
            .map_or(0, |left| left.as_secs())
    }

    /// `grant_type=refresh_token`
    pub(crate) fn refresh(
        &mut self,
        token: &str,
        client: &ClientProof<'_>,
        config: &Config,
        now: SystemTime,
    ) -> Result<Grant, OAuthError> {
        if !self.refresh.contains_key(token)
            && config
                .any_refresh_token_with_prefix
                .as_ref()
                .is_some_and(|prefix| token.starts_with(prefix.as_str()))
        {
            let mut account = Account::new(token, "fake-project");
            account.client_id = client.id.to_owned();
            account.client_secret = client.secret.to_owned();
            let id = self.add(account);
            self.holders[id.0].any_project = true;
        }
        self.check_client(client)?;
        let refresh = self.refresh.get(token).ok_or(OAuthError::BadRequest)?;
        let (id, dead) = (refresh.account, refresh.dead);
        let account = &self.holders[id.0].account;
        if account.client_id != client.id {
            return Err(OAuthError::UnauthorizedClient);
        }
        if dead {
            return Err(OAuthError::Revoked);
        }
        if let Some(refusal) = account.invalid_grant {
            return Err(refusal.into());
        }
        let replaced = self
            .refresh
            .get_mut(token)
            .and_then(|refresh| refresh.replaces.take());
        if let Some(old) = replaced.and_then(|old| self.refresh.get_mut(&old)) {
            old.dead = true;
        }
        let refresh_token = config.rotate_refresh_tokens.then(|| {
            let new = new_refresh_token();
            let replaces = Some(token.to_owned());
            self.refresh.insert(
                new.clone(),
                Refresh {
                    account: id,
                    dead: false,
                    replaces,
                },
            );
            new
        });
        Ok(Grant {
            account: id,
            access_token: self.issue(id, config, now),
            refresh_token,
            scope: None,
        })
    }

    /// Google checks the client before the grant: id, then secret.
    fn check_client(&self, client: &ClientProof<'_>) -> Result<(), OAuthError> {
        if client.id.is_empty() {
            return Err(OAuthError::ClientIdMissing);
        }
        let mut of_client = self
            .holders
            .iter()
            .filter(|holder| holder.account.client_id == client.id)
            .peekable();
        if of_client.peek().is_none() {
            return Err(OAuthError::ClientNotFound);
        }
        if client.secret.is_empty() {
            return Err(OAuthError::ClientSecretMissing);
        }
        if of_client.all(|holder| holder.account.client_secret != client.secret) {
            return Err(OAuthError::ClientUnauthorized);
        }
        Ok(())
    }

    /// The e-mail addresses of the accounts that a client may ask for consent.
    pub(crate) fn of_client(&self, client_id: &str) -> Vec<String> {
        let holders = self.holders.iter();
        holders
            .filter(|holder| holder.account.client_id == client_id)
            .map(|holder| holder.account.email())
            .collect()
    }

    /// The account of that e-mail address consents. Hands out a code.
    pub(crate) fn authorize(
        &mut self,
        email: &str,
        consent: Consent<'_>,
        now: SystemTime,
    ) -> Option<String> {
        let account = self.holders.iter().position(|holder| {
            holder.account.client_id == consent.client_id && holder.account.email() == email
        })?;
        let code = format!("4/0A{}", random());
        self.codes.insert(
            code.clone(),
            Code {
                account: AccountId(account),
                client_id: consent.client_id.to_owned(),
                redirect_uri: consent.redirect_uri.to_owned(),
                challenge: consent.challenge,
                scope: consent.scope.to_owned(),
                offline: consent.offline,
                expires: now + CODE_LIFETIME,
            },
        );
        Some(code)
    }

    /// `grant_type=authorization_code`. A code is good once, whatever comes of it.
    pub(crate) fn exchange(
        &mut self,
        code: &str,
        redirect_uri: &str,
        verifier: Option<&str>,
        client: &ClientProof<'_>,
        config: &Config,
        now: SystemTime,
    ) -> Result<Grant, OAuthError> {
        self.check_client(client)?;
        let code = self
            .codes
            .remove(code)
            .filter(|code| code.expires > now)
            .ok_or(OAuthError::MalformedCode)?;
        if code.client_id != client.id {
            return Err(OAuthError::UnauthorizedClient);
        }
        if code.redirect_uri != redirect_uri {
            return Err(OAuthError::RedirectUriMismatch);
        }
        match (&code.challenge, verifier) {
            (None, _) => {}
            (Some(_), None) => return Err(OAuthError::CodeVerifierMissing),
            (Some(challenge), Some(verifier)) if challenge.is_met_by(verifier) => {}
            (Some(_), Some(_)) => return Err(OAuthError::CodeVerifierWrong),
        }
        let id = code.account;
        let granted = code.offline && !self.holders[id.0].account.withholds_refresh_token;
        let refresh_token = granted.then(new_refresh_token);
        if let Some(refresh_token) = &refresh_token {
            self.refresh.insert(
                refresh_token.clone(),
                Refresh {
                    account: id,
                    dead: false,
                    replaces: None,
                },
            );
        }
        Ok(Grant {
            account: id,
            access_token: self.issue(id, config, now),
            refresh_token,
            scope: Some(code.scope),
        })
    }

    fn issue(&mut self, account: AccountId, config: &Config, now: SystemTime) -> String {
        self.access.retain(|_, access| access.expires > now);
        let token = format!("ya29.a0A{}", random());
        self.access.insert(
            token.clone(),
            Access {
                account,
                expires: now + config.expires_in,
                refused: false,
            },
        );
        token
    }

    /// Ends a refresh token and every access token of its account, or one access token. False when it is unknown.
    pub(crate) fn revoke(&mut self, token: &str) -> bool {
        if let Some(refresh) = self.refresh.get_mut(token) {
            refresh.dead = true;
            let account = refresh.account;
            self.refuse_access_tokens(account);
            return true;
        }
        self.access.remove(token).is_some()
    }

    /// The account with this refresh token or this project.
    pub(crate) fn find(&self, refresh_token_or_project: &str) -> Option<AccountId> {
        self.of_refresh_token(refresh_token_or_project).or_else(|| {
            let owns = |holder: &Holder| {
                holder
                    .account
                    .projects
                    .iter()
                    .any(|own| own == refresh_token_or_project)
            };
            self.holders.iter().position(owns).map(AccountId)
        })
    }

    /// Refuses the access tokens of the account with this refresh token or this project, though they have not expired.
    pub(crate) fn invalidate(&mut self, refresh_token_or_project: &str) -> bool {
        let account = self.find(refresh_token_or_project);
        if let Some(account) = account {
            self.refuse_access_tokens(account);
        }
        account.is_some()
    }

    fn refuse_access_tokens(&mut self, account: AccountId) {
        for access in self
            .access
            .values_mut()
            .filter(|access| access.account == account)
        {
            access.refused = true;
        }
    }
}

fn new_refresh_token() -> String {
    format!("1//0g{}", random())
}

/// 32 random bytes in base64url.
pub(crate) fn random() -> String {
    let bytes = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
    URL_SAFE_NO_PAD.encode(bytes)
}
