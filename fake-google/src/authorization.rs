//! Who is calling, and whether they may use the Google project that they name.

use crate::accounts::AccountId;
use crate::catalogue::Upstream;
use crate::json::Json;
use crate::router::Exchange;
use crate::status::Status;

/// The project that every API key belongs to.
const KEY_PROJECT: &str = "fake-api-key-project";

/// Somebody that Google knows.
#[derive(Clone)]
pub(crate) enum Caller {
    Account(AccountId, String),
    Key(String),
}

impl Caller {
    /// What identifies the caller in counters, fingerprinted there.
    pub(crate) fn secret(&self) -> &str {
        match self {
            Self::Account(_, secret) | Self::Key(secret) => secret,
        }
    }
}

impl Exchange {
    fn api_key(&self) -> Option<&str> {
        self.header("x-goog-api-key")
            .or_else(|| self.query.get("key"))
    }

    /// The projects of whoever holds the bearer token, or nothing.
    pub(crate) fn projects_of_caller(&self) -> Vec<String> {
        let ledger = self.fake.ledger();
        let account = self
            .bearer()
            .and_then(|token| ledger.accounts.of_access_token(token, ledger.now()));
        account
            .map(|id| ledger.accounts.holder(id).account.projects.clone())
            .unwrap_or_default()
    }

    /// Checks the credentials.
    pub(crate) fn caller(&self) -> Result<Caller, Status> {
        let keys_are_taken = self.route.upstream == Some(Upstream::Gemini)
            || (self.route.upstream == Some(Upstream::Vertex) && self.route.project.is_none());
        let context = self.context("");
        match (self.bearer(), self.api_key().filter(|_| keys_are_taken)) {
            (Some(_), Some(_)) => Err(Status::invalid_argument(
                "API key and OAuth credentials cannot be sent with the same request.",
            )),
            (None, Some(key))
                if self.fake.config().api_keys.iter().any(|known| known == key)
                    && !self.fake.ledger().accounts.is_deleted(key) =>
            {
                Ok(Caller::Key(key.to_owned()))
            }
            (None, Some(_)) => Err(context.api_key_invalid()),
            (Some(token), None) => {
                let ledger = self.fake.ledger();
                ledger
                    .accounts
                    .of_access_token(token, ledger.now())
                    .map(|account| Caller::Account(account, token.to_owned()))
                    .ok_or_else(|| context.unauthenticated())
            }
            (None, None) if self.route.upstream == Some(Upstream::Gemini) => {
                Err(Status::permission_denied(
                    "Method doesn't allow unregistered callers (callers without established identity). Please use API \
                     Key or other form of API consumer identity to call this API.",
                ))
            }
            (None, None) => Err(context.credentials_missing()),
        }
    }

    /// Finds out which Google project the request is for. `body` is what Code Assist names it in.
    pub(crate) fn name_project(&mut self, body: &Json) {
        let named = match self.route.upstream {
            Some(Upstream::CodeAssist) => body
                .get("project")
                .and_then(Json::as_str)
                .map(str::to_owned),
            Some(Upstream::Vertex) => self.route.project.clone(),
            Some(Upstream::Gemini) | None => self.header("x-goog-user-project").map(str::to_owned),
        };
        match named {
            Some(named) => self.project = named,
            // A key belongs to a project, and its requests count there.
            None if self.api_key().is_some() => KEY_PROJECT.clone_into(&mut self.project),
            None => {}
        }
    }

    /// Whether the caller may use the project that the request is for.
    pub(crate) fn check_project(
        &self,
        caller: &Caller,
        required: bool,
        model: &str,
    ) -> Result<(), Status> {
        let Caller::Account(account, _) = caller else {
            return Ok(());
        };
        let context = self.context(model);
        let may_use = self
            .fake
            .ledger()
            .accounts
            .holder(*account)
            .may_use(&self.project);
        match self.route.upstream {
            // Consumer projects do not have the API enabled, so that naming one for billing is what fails.
            Some(Upstream::CodeAssist) if self.header("x-goog-user-project").is_some() => {
                Err(context.service_disabled())
            }
            Some(Upstream::CodeAssist) if self.project.is_empty() => {
                if required {
                    Err(Status::invalid_argument(
                        "Invalid project resource name projects/",
                    ))
                } else {
                    Ok(())
                }
            }
            Some(Upstream::CodeAssist) if !may_use => Err(context.consumer_invalid()),
            Some(Upstream::Gemini) if self.project.is_empty() => Err(context.service_disabled()),
            Some(Upstream::Gemini) if !may_use => Err(context.consumer_invalid()),
            Some(Upstream::Vertex) if !may_use => Err(context.iam_permission_denied()),
            _ => Ok(()),
        }
    }
}
