//! The credential files of other programs. What is public of their formats is in
//! docs/credentials.md; fields that mean nothing here are passed over without a word, as
//! the files are not ours. Their access tokens are left: a refresh shows whether the
//! account is good.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{Complaint, Entry, Fields, Format, Kind, Reader, TokensFileError};
use crate::{
    credential::{Credential, Kind as CredentialKind},
    limits,
    project::Upstream,
    service_account::ServiceAccountKey,
};

/// What an account of another program says.
#[derive(Default)]
struct Account {
    refresh_token: Option<String>,
    project: Option<String>,
    email: Option<String>,
    disabled: Option<bool>,
    /// Id and secret, where the file has them.
    client: Option<(String, Option<String>)>,
}

impl<'a> Reader<'a> {
    /// Reads a file of another program.
    pub(super) fn read_other(
        &mut self,
        whole: &'a RawValue,
        format: Format,
    ) -> Result<(), TokensFileError> {
        let accounts = match Kind::of(whole) {
            Kind::List => self.list(Some(whole), "the file")?,
            _ => match Fields::read(whole).and_then(|mut fields| fields.take("accounts")) {
                Some(accounts) => self.list(Some(accounts), "accounts")?,
                None => vec![whole],
            },
        };
        for account in accounts {
            let line = self.line(account);
            let taken = match format {
                Format::ServiceAccountKey => self.service_account(account, line),
                _ => self.account(account, format, line),
            };
            match taken.and_then(|entry| self.accept(entry)) {
                Ok(entry) => self.file.entries.push(entry),
                Err(complaint) => self.reject(line, String::new(), complaint),
            }
        }
        Ok(())
    }

    fn service_account(&self, value: &RawValue, line: u32) -> Result<Entry, Complaint> {
        let key =
            ServiceAccountKey::parse(value.get()).map_err(|error| Complaint::BadKey { error })?;
        let stated = self.hints.google_project_id.as_deref();
        let project = stated.unwrap_or(key.project_id()).to_owned();
        if project.is_empty() {
            return Err(Complaint::NoProject);
        }
        let kind = CredentialKind::ServiceAccountKey;
        let upstream = self.hints.stated_upstream;
        Ok(Entry {
            upstream: Some(
                upstream.unwrap_or_else(|| kind.upstream_or(self.hints.default_upstream)),
            ),
            ..entry(line, project, Credential::ServiceAccountKey(Arc::new(key)))
        })
    }

    fn account(
        &mut self,
        value: &'a RawValue,
        format: Format,
        line: u32,
    ) -> Result<Entry, Complaint> {
        let fields = Fields::read(value).ok_or_else(|| Complaint::NotAnObject {
            found: Kind::of(value).name(),
        })?;
        let account = read(fields, format)?;
        let packed = account.refresh_token.ok_or(Complaint::Missing {
            field: "refresh_token",
        })?;
        // Some pack the projects into the token: token|project|managed project.
        let mut parts = packed.split('|').map(str::trim);
        let refresh_token = parts.next().unwrap_or_default().to_owned();
        if refresh_token.is_empty() {
            return Err(Complaint::Missing {
                field: "refresh_token",
            });
        }
        let packed_project = parts.rfind(|part| !part.is_empty()).map(str::to_owned);
        let project = account
            .project
            .or(packed_project)
            .or_else(|| self.hints.google_project_id.clone())
            .ok_or(Complaint::NoProject)?;
        if limits::is_project_number(&project) {
            return Err(Complaint::ProjectNumber);
        }
        if !limits::is_id(&project) {
            return Err(Complaint::BadId {
                field: "project_id",
            });
        }
        let mut warnings = Vec::new();
        let oauth_client = account.client.map(|(client_id, secret)| {
            warnings.extend(self.register(line, &client_id, secret, None));
            client_id
        });
        let upstream = match format {
            // gcloud's consent is not for Code Assist.
            Format::GcloudUser => {
                CredentialKind::ServiceAccountKey.upstream_or(self.hints.default_upstream)
            }
            _ => Upstream::Antigravity,
        };
        let email = account.email.unwrap_or_default();
        Ok(Entry {
            upstream: Some(self.hints.stated_upstream.unwrap_or(upstream)),
            oauth_client,
            display_name: email.chars().take(limits::DISPLAY_NAME).collect(),
            disabled: account.disabled,
            warnings,
            ..entry(
                line,
                project,
                Credential::RefreshToken(refresh_token.into()),
            )
        })
    }
}

fn entry(line: u32, google_project_id: String, credential: Credential) -> Entry {
    Entry {
        line,
        id: None,
        google_project_id,
        upstream: None,
        location: String::new(),
        oauth_client: None,
        display_name: String::new(),
        disabled: None,
        credential,
        access_token: None,
        warnings: Vec::new(),
    }
}

fn read(mut fields: Fields<'_>, format: Format) -> Result<Account, Complaint> {
    let mut account = Account::default();
    match format {
        Format::TokensFile | Format::ServiceAccountKey => {}
        Format::GcloudUser => {
            account.refresh_token = fields.token("refresh_token")?;
            account.client = client(&mut fields)?;
            account.project = fields.text("quota_project_id")?;
            if account.project.is_none() {
                account.project = fields.text("project_id")?;
            }
            account.email = fields.text("account")?;
        }
        Format::GeminiCli => account.refresh_token = fields.token("refresh_token")?,
        Format::CliProxyApi | Format::AntigravityManager => {
            account.project = fields.text("project_id")?;
            account.email = fields.text("email")?;
            account.disabled = fields.boolean("disabled")?;
            match fields.take("token") {
                Some(token) if Kind::of(token) == Kind::Object => {
                    let mut token = Fields::read(token).unwrap_or_default();
                    account.refresh_token = token.token("refresh_token")?;
                    account.client = client(&mut token)?;
                    if account.project.is_none() {
                        account.project = token.text("project_id")?;
                    }
                }
                _ => account.refresh_token = fields.token("refresh_token")?,
            }
        }
        Format::Antigravity2Api => {
            account.refresh_token = fields.token("refresh_token")?;
            account.project = fields.text("projectId")?;
            if account.project.is_none() {
                account.project = fields.text("project_id")?;
            }
            account.email = fields.text("email")?;
            account.disabled = fields.boolean("enable")?.map(|enabled| !enabled);
        }
        Format::OpencodeAntigravityAuth | Format::AntigravityClaudeProxy => {
            account.refresh_token = fields.token("refreshToken")?;
            // What Google gave the account serves it; the other may be anybody's.
            account.project = fields.text("managedProjectId")?;
            if account.project.is_none() {
                account.project = fields.text("projectId")?;
            }
            account.email = fields.text("email")?;
            account.disabled = fields.boolean("enabled")?.map(|enabled| !enabled);
        }
    }
    Ok(account)
}

fn client(fields: &mut Fields<'_>) -> Result<Option<(String, Option<String>)>, Complaint> {
    let client_id = fields.token("client_id")?;
    let client_secret = fields.token("client_secret")?;
    Ok(client_id.map(|client_id| (client_id, client_secret)))
}
