//! Which program a file is of, told by its shape. Names and structure are looked at, and
//! no secret.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::fields::Kind;

/// The files that are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Ours: `{"oauth_config": {...}, "projects": [...]}`.
    TokensFile,
    /// gcloud's `application_default_credentials.json`, or what Google's libraries write of
    /// a person's credentials.
    GcloudUser,
    /// A service account's key.
    ServiceAccountKey,
    /// `oauth_creds.json` of gemini-cli.
    GeminiCli,
    /// `antigravity-*.json` and `gemini-*.json` of CLIProxyAPI.
    CliProxyApi,
    /// Accounts of Antigravity-Manager.
    AntigravityManager,
    /// `antigravity-accounts.json` of opencode-antigravity-auth.
    OpencodeAntigravityAuth,
    /// `accounts.json` of antigravity2api.
    Antigravity2Api,
    /// `accounts.json` of antigravity-claude-proxy.
    AntigravityClaudeProxy,
}

impl Format {
    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TokensFile => "tokens file",
            Self::GcloudUser => "gcloud's credentials of a person",
            Self::ServiceAccountKey => "service-account key",
            Self::GeminiCli => "gemini-cli's oauth_creds.json",
            Self::CliProxyApi => "CLIProxyAPI's auth file",
            Self::AntigravityManager => "Antigravity-Manager's accounts",
            Self::OpencodeAntigravityAuth => "opencode-antigravity-auth's accounts",
            Self::Antigravity2Api => "antigravity2api's accounts",
            Self::AntigravityClaudeProxy => "antigravity-claude-proxy's accounts",
        }
    }
}

/// A file of none of the shapes, as far as it says what it is instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    OAuthClient,
    ManagerIndex,
    Shape,
}

/// The fields of an object by name; empty for anything else.
type Shape<'a> = BTreeMap<String, &'a RawValue>;

/// What `file` is, as far as its shape tells.
pub(super) fn recognise(file: &RawValue) -> Result<Format, Unknown> {
    match Kind::of(file) {
        Kind::Object => of_object(&shape(file)),
        Kind::List => of_accounts(&items(file), &Shape::new()),
        _ => Err(Unknown::Shape),
    }
}

fn of_object(top: &Shape<'_>) -> Result<Format, Unknown> {
    let has = |field: &str| top.contains_key(field);
    if has("projects") || has("oauth_config") || has("oauth_clients") {
        return Ok(Format::TokensFile);
    }
    match top.get("type").and_then(|kind| text(kind)).as_deref() {
        Some("service_account") => return Ok(Format::ServiceAccountKey),
        Some("authorized_user") => return Ok(Format::GcloudUser),
        Some("antigravity" | "gemini" | "gemini-cli") => return Ok(Format::CliProxyApi),
        // Another service's credentials, or another kind of Google's.
        Some(_) => return Err(Unknown::Shape),
        None => {}
    }
    if has("installed") || has("web") {
        return Err(Unknown::OAuthClient);
    }
    if let Some(accounts) = top.get("accounts").filter(|v| Kind::of(v) == Kind::List) {
        return of_accounts(&items(accounts), top);
    }
    if has("token") && Kind::of(top["token"]) == Kind::Object {
        return Ok(Format::AntigravityManager);
    }
    if has("refresh_token") && has("client_id") {
        return Ok(Format::GcloudUser);
    }
    if has("refresh_token") && (has("expiry_date") || has("scope") || has("id_token")) {
        return Ok(Format::GeminiCli);
    }
    if has("refresh_token") && has("email") {
        return Ok(Format::AntigravityManager);
    }
    Err(Unknown::Shape)
}

/// Of a list of accounts, by the first that has a refresh token. `top` is what is around it.
fn of_accounts(accounts: &[&RawValue], top: &Shape<'_>) -> Result<Format, Unknown> {
    let shapes: Vec<_> = accounts.iter().map(|account| shape(account)).collect();
    let any = |field: &str| shapes.iter().any(|shape| shape.contains_key(field));
    let around = |field: &str| top.contains_key(field);
    if any("refreshToken") {
        return Ok(
            if any("source") || around("settings") || !around("version") {
                Format::AntigravityClaudeProxy
            } else {
                Format::OpencodeAntigravityAuth
            },
        );
    }
    if any("token") {
        return Ok(Format::AntigravityManager);
    }
    if any("refresh_token") {
        let runs = any("enable") || any("timestamp") || any("expires_in");
        return Ok(if runs {
            Format::Antigravity2Api
        } else {
            Format::AntigravityManager
        });
    }
    if around("current_account_id") {
        return Err(Unknown::ManagerIndex);
    }
    Err(Unknown::Shape)
}

fn shape(value: &RawValue) -> Shape<'_> {
    serde_json::from_str(value.get()).unwrap_or_default()
}

fn items(value: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(value.get()).unwrap_or_default()
}

fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}
