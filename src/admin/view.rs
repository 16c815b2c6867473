//! The contract's messages as `--json` shows them: snake_case, RFC 3339 times, `null`
//! for what is not there. Scripts rely on these shapes: fields are added, never changed.

use antigravity_proto::v1::{
    self,
    import_projects_response::{self, Format},
    project::{Credential, State},
};
use jiff::Timestamp;
use serde::Serialize;

use super::client::upstream_name;
use crate::terminal;

/// A project.
#[derive(Debug, Serialize)]
pub(crate) struct Project {
    pub(crate) id: String,
    pub(crate) google_project_id: Option<String>,
    pub(crate) upstream: &'static str,
    pub(crate) location: Option<String>,
    /// `refresh_token`, `service_account_key` or `api_key`.
    pub(crate) credential: &'static str,
    pub(crate) account: Option<String>,
    pub(crate) oauth_client_id: Option<String>,
    pub(crate) display_name: Option<String>,
    pub(crate) disabled: bool,
    pub(crate) state: &'static str,
    pub(crate) state_reason: Option<String>,
    pub(crate) action_url: Option<String>,
    pub(crate) cooldowns: Vec<Cooldown>,
    pub(crate) token_expires_at: Option<Timestamp>,
    pub(crate) token_fingerprint: Option<String>,
    pub(crate) refreshed_at: Option<Timestamp>,
    pub(crate) refresh_error: Option<String>,
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) updated_at: Option<Timestamp>,
    pub(crate) last_dealt_at: Option<Timestamp>,
    pub(crate) requests_last_hour: u64,
    pub(crate) errors_last_hour: u64,
    pub(crate) quotas: Vec<Quota>,
}

/// What is left of a quota.
#[derive(Debug, Serialize)]
pub(crate) struct Quota {
    pub(crate) model_group: String,
    pub(crate) window: String,
    /// From 0 to 1.
    pub(crate) remaining_fraction: f64,
    pub(crate) reset_at: Option<Timestamp>,
    pub(crate) observed_at: Option<Timestamp>,
}

/// A rest that Google asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Cooldown {
    /// `null`: the whole project.
    pub(crate) model_group: Option<String>,
    pub(crate) until: Option<Timestamp>,
}

impl From<v1::Project> for Project {
    fn from(project: v1::Project) -> Self {
        let state = state_name(project.state());
        let credential = credential_name(project.credential());
        Self {
            id: project.id,
            google_project_id: present(project.google_project_id),
            upstream: upstream_name(project.upstream),
            location: present(project.location),
            credential,
            account: present(project.account),
            oauth_client_id: present(project.oauth_client_id),
            display_name: present(project.display_name),
            disabled: project.disabled,
            state,
            state_reason: present(project.state_reason),
            action_url: present(project.action_url),
            cooldowns: project
                .cooldowns
                .into_iter()
                .map(|cooldown| Cooldown {
                    model_group: present(cooldown.model_group),
                    until: time(cooldown.until),
                })
                .collect(),
            token_expires_at: time(project.token_expires_at),
            token_fingerprint: present(project.token_fingerprint),
            refreshed_at: time(project.refreshed_at),
            refresh_error: present(project.refresh_error),
            created_at: time(project.created_at),
            updated_at: time(project.updated_at),
            last_dealt_at: time(project.last_dealt_at),
            requests_last_hour: project.requests_last_hour,
            errors_last_hour: project.errors_last_hour,
            quotas: project
                .quotas
                .into_iter()
                .map(|quota| Quota {
                    model_group: quota.model_group,
                    window: quota.window,
                    remaining_fraction: quota.remaining_fraction,
                    reset_at: time(quota.reset_at),
                    observed_at: time(quota.observed_at),
                })
                .collect(),
        }
    }
}

/// An OAuth client, without its secret.
#[derive(Debug, Serialize)]
pub(crate) struct OAuthClient {
    pub(crate) client_id: String,
    pub(crate) token_url: Option<String>,
    pub(crate) has_secret: bool,
    pub(crate) projects: u32,
    pub(crate) refused_since: Option<Timestamp>,
}

impl From<v1::OAuthClient> for OAuthClient {
    fn from(client: v1::OAuthClient) -> Self {
        Self {
            client_id: client.client_id,
            token_url: present(client.token_url),
            has_secret: client.has_secret,
            projects: client.projects,
            refused_since: time(client.refused_since),
        }
    }
}

/// What became of one entry of an import.
#[derive(Debug, Serialize)]
pub(crate) struct Imported {
    pub(crate) file: String,
    pub(crate) line: u32,
    /// `null`: a remark about the file, or an entry without an id.
    pub(crate) id: Option<String>,
    pub(crate) result: &'static str,
    pub(crate) message: Option<String>,
}

impl Imported {
    pub(crate) fn of(file: &str, entry: v1::ImportProjectsResponse) -> Self {
        use import_projects_response::Result as Shown;
        let result = match entry.result() {
            Shown::Unspecified => "unspecified",
            Shown::Created => "created",
            Shown::Updated => "updated",
            Shown::Unchanged => "unchanged",
            Shown::Rejected => "rejected",
        };
        Self {
            file: file.to_owned(),
            line: entry.line,
            id: present(entry.id),
            result,
            message: present(entry.message),
        }
    }
}

fn credential_name(credential: Credential) -> &'static str {
    match credential {
        // A service from before there were others.
        Credential::Unspecified | Credential::RefreshToken => "refresh_token",
        Credential::ServiceAccountKey => "service_account_key",
        Credential::ApiKey => "api_key",
    }
}

/// A file that was recognised, for people.
pub(crate) fn format_name(format: Format) -> &'static str {
    match format {
        Format::Unspecified => "file",
        Format::TokensFile => "tokens file",
        Format::SealedExport => "sealed export",
        Format::GcloudUser => "gcloud's credentials of a person",
        Format::ServiceAccountKey => "service-account key",
        Format::GeminiCli => "gemini-cli's oauth_creds.json",
        Format::CliProxyApi => "CLIProxyAPI's auth file",
        Format::AntigravityManager => "Antigravity-Manager's accounts",
        Format::OpencodeAntigravityAuth => "opencode-antigravity-auth's accounts",
        Format::Antigravity2api => "antigravity2api's accounts",
        Format::AntigravityClaudeProxy => "antigravity-claude-proxy's accounts",
    }
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Unspecified => "unspecified",
        State::Active => "active",
        State::CoolingDown => "cooling_down",
        State::NeedsLogin => "needs_login",
        State::NeedsValidation => "needs_validation",
        State::Suspended => "suspended",
        State::Disabled => "disabled",
        State::Denied => "denied",
    }
}

fn present(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn time(time: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    let time = time?;
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// Prints `value` as JSON for scripts.
pub(crate) fn print_json<T: Serialize>(value: &T) -> Result<(), crate::failure::Failure> {
    let text = serde_json::to_string_pretty(value).map_err(std::io::Error::from)?;
    terminal::line(text);
    Ok(())
}
