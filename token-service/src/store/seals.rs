//! Records to rows and back, whatever database the rows are of: secrets are sealed in rows, and
//! open in records.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::RwLock;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::FromRow;

use super::{
    ClientImportRecord, ClientRecord, ImportRecord, ProjectRecord, Source, StoreError, StoredToken,
    milliseconds, storable,
};
use crate::{
    credential::{Credential, Kind},
    oauth::Credentials,
    project::{Cooldown, Project, Status},
    seal::{Cell, Keyring},
};

/// A row of `oauth_clients`.
#[derive(Debug, FromRow)]
pub(super) struct ClientRow {
    pub(super) client_id: String,
    pub(super) client_secret_sealed: Option<Vec<u8>>,
    pub(super) token_url: Option<String>,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
}

/// A row of `projects`.
#[derive(Debug, FromRow)]
pub(super) struct ProjectRow {
    pub(super) id: String,
    pub(super) position: i64,
    pub(super) google_project_id: String,
    pub(super) upstream: String,
    pub(super) location: String,
    pub(super) oauth_client_id: Option<String>,
    pub(super) display_name: String,
    pub(super) disabled: bool,
    pub(super) status: String,
    pub(super) status_reason: String,
    pub(super) action_url: String,
    pub(super) credential_kind: String,
    pub(super) refresh_token_sealed: Vec<u8>,
    pub(super) credential: i64,
    pub(super) access_token_sealed: Option<Vec<u8>>,
    pub(super) access_token_expires_at: Option<i64>,
    pub(super) access_token_lifetime: Option<i64>,
    pub(super) refreshed_at: Option<i64>,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
}

/// A row of `cooldowns`.
#[derive(Debug, FromRow)]
pub(super) struct CooldownRow {
    project_id: String,
    model_group: String,
    until: i64,
}

/// A row of `imports`.
#[derive(Debug, FromRow)]
pub(super) struct ImportRow {
    project_id: String,
    source: String,
    google_project_id: String,
    refresh_token_fingerprint: String,
    fields_fingerprint: String,
}

/// A row of `client_imports`.
#[derive(Debug, FromRow)]
pub(super) struct ClientImportRow {
    client_id: String,
    source: String,
    fingerprint: String,
}

/// Binds the columns of a [`ProjectRow`], in their order.
macro_rules! bind_project {
    ($query:expr, $row:expr) => {
        $query
            .bind(&$row.id)
            .bind($row.position)
            .bind(&$row.google_project_id)
            .bind(&$row.upstream)
            .bind(&$row.location)
            .bind(&$row.oauth_client_id)
            .bind(&$row.display_name)
            .bind($row.disabled)
            .bind(&$row.status)
            .bind(&$row.status_reason)
            .bind(&$row.action_url)
            .bind(&$row.credential_kind)
            .bind(&$row.refresh_token_sealed)
            .bind($row.credential)
            .bind(&$row.access_token_sealed)
            .bind($row.access_token_expires_at)
            .bind($row.access_token_lifetime)
            .bind($row.refreshed_at)
            .bind($row.created_at)
            .bind($row.updated_at)
    };
}
pub(super) use bind_project;

/// Cooldowns by project, and by model group.
pub(super) type Cooldowns = BTreeMap<String, BTreeMap<String, Cooldown>>;

pub(super) fn cooldowns(rows: Vec<CooldownRow>) -> Cooldowns {
    let mut cooldowns = Cooldowns::new();
    for row in rows {
        let cooldown = Cooldown {
            until: time(row.until),
            strikes: 0,
        };
        let of_project = cooldowns.entry(row.project_id).or_default();
        of_project.insert(row.model_group, cooldown);
    }
    cooldowns
}

impl ImportRow {
    pub(super) fn record(self) -> Result<ImportRecord, StoreError> {
        Ok(ImportRecord {
            source: source(&self.source, "imports", &self.project_id)?,
            project_id: self.project_id.into(),
            google_project_id: self.google_project_id,
            refresh_token_fingerprint: self.refresh_token_fingerprint,
            fields_fingerprint: self.fields_fingerprint,
        })
    }
}

impl ClientImportRow {
    pub(super) fn record(self) -> Result<ClientImportRecord, StoreError> {
        Ok(ClientImportRecord {
            source: source(&self.source, "client_imports", &self.client_id)?,
            client_id: self.client_id,
            fingerprint: self.fingerprint,
        })
    }
}

/// Seals what is kept, and opens it again.
#[derive(Debug)]
pub(super) struct Seals {
    /// Replaced only by who writes, so that nothing is written with a key that has been replaced
    /// meanwhile.
    keys: RwLock<Arc<Keyring>>,
}

impl Seals {
    pub(super) fn new(keys: Arc<Keyring>) -> Self {
        Self {
            keys: RwLock::new(keys),
        }
    }

    pub(super) fn keys(&self) -> Arc<Keyring> {
        Arc::clone(&self.keys.read())
    }

    pub(super) fn replace(&self, keys: Arc<Keyring>) {
        *self.keys.write() = keys;
    }

    pub(super) fn seal(
        &self,
        table: &'static str,
        column: &'static str,
        row: &str,
        secret: &SecretString,
    ) -> Result<Vec<u8>, StoreError> {
        self.keys()
            .seal(Cell { table, column, row }, secret.expose_secret())
            .map_err(|source| StoreError::Value {
                table,
                column,
                row: row.to_owned(),
                source,
            })
    }

    fn open(
        &self,
        table: &'static str,
        column: &'static str,
        row: &str,
        sealed: &[u8],
    ) -> Result<SecretString, StoreError> {
        self.keys()
            .open(Cell { table, column, row }, sealed)
            .map_err(|source| StoreError::Value {
                table,
                column,
                row: row.to_owned(),
                source,
            })
    }

    pub(super) fn client(&self, row: ClientRow) -> Result<ClientRecord, StoreError> {
        let client_secret = row
            .client_secret_sealed
            .map(|sealed| self.open("oauth_clients", "client_secret", &row.client_id, &sealed))
            .transpose()?;
        Ok(ClientRecord {
            credentials: Credentials {
                client_id: row.client_id,
                client_secret,
                token_url: row.token_url,
            },
            created_at: time(row.created_at),
            updated_at: time(row.updated_at),
        })
    }

    pub(super) fn client_row(&self, client: &ClientRecord) -> Result<ClientRow, StoreError> {
        let Credentials {
            client_id,
            client_secret,
            token_url,
        } = &client.credentials;
        let client_secret_sealed = client_secret
            .as_ref()
            .map(|secret| self.seal("oauth_clients", "client_secret", client_id, secret))
            .transpose()?;
        Ok(ClientRow {
            client_id: client_id.clone(),
            client_secret_sealed,
            token_url: token_url.clone(),
            created_at: client.created_at.as_millisecond(),
            updated_at: client.updated_at.as_millisecond(),
        })
    }

    pub(super) fn project(
        &self,
        row: ProjectRow,
        cooldowns: BTreeMap<String, Cooldown>,
    ) -> Result<ProjectRecord, StoreError> {
        let id = &row.id;
        let unknown = |column| StoreError::Unknown {
            table: "projects",
            column,
            row: id.clone(),
        };
        let (reason, url) = (row.status_reason, row.action_url);
        let status = match row.status.as_str() {
            "active" => Status::Active,
            "needs_login" => Status::NeedsLogin { reason },
            "needs_validation" => Status::NeedsValidation { reason, url },
            "suspended" => Status::Suspended { reason, url },
            _ => return Err(unknown("status")),
        };
        let upstream = row.upstream.parse().map_err(|_| unknown("upstream"))?;
        let kind: Kind = row
            .credential_kind
            .parse()
            .map_err(|_| unknown("credential_kind"))?;
        let text = self.open("projects", kind.name(), id, &row.refresh_token_sealed)?;
        let credential = Credential::of(kind, text).map_err(|source| StoreError::Credential {
            row: id.clone(),
            source,
        })?;
        let token = match (row.access_token_sealed, row.access_token_expires_at) {
            (Some(sealed), Some(expires_at)) => Some(StoredToken {
                secret: self.open("projects", "access_token", id, &sealed)?,
                expires_at: time(expires_at),
                lifetime: row
                    .access_token_lifetime
                    .map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0))),
                refreshed_at: row.refreshed_at.map(time),
            }),
            _ => None,
        };
        Ok(ProjectRecord {
            credential,
            generation: row.credential,
            token,
            project: Project {
                position: row.position,
                google_project_id: row.google_project_id,
                upstream,
                location: row.location,
                oauth_client_id: row.oauth_client_id.unwrap_or_default(),
                display_name: row.display_name,
                disabled: row.disabled,
                status,
                cooldowns,
                created_at: time(row.created_at),
                updated_at: time(row.updated_at),
                id: row.id.into(),
            },
        })
    }

    pub(super) fn project_row(&self, record: &ProjectRecord) -> Result<ProjectRow, StoreError> {
        let project = &record.project;
        // The kind stands for the column: no credential opens as one of another kind.
        let kind = record.credential.kind().name();
        let token = record.token.as_ref();
        let access_token_sealed = token
            .map(|token| self.seal("projects", "access_token", &project.id, &token.secret))
            .transpose()?;
        let (status, reason, url) = status_columns(&project.status);
        let oauth_client_id = Some(&project.oauth_client_id).filter(|id| !id.is_empty());
        let refreshed_at = token.and_then(|token| token.refreshed_at);
        Ok(ProjectRow {
            id: project.id.to_string(),
            position: project.position,
            google_project_id: project.google_project_id.clone(),
            upstream: project.upstream.name().to_owned(),
            location: project.location.clone(),
            oauth_client_id: oauth_client_id.cloned(),
            display_name: storable(&project.display_name).into_owned(),
            disabled: project.disabled,
            status: status.to_owned(),
            status_reason: storable(reason).into_owned(),
            action_url: storable(url).into_owned(),
            credential_kind: kind.to_owned(),
            refresh_token_sealed: self.seal(
                "projects",
                kind,
                &project.id,
                record.credential.text(),
            )?,
            credential: record.generation,
            access_token_sealed,
            access_token_expires_at: token.map(|token| token.expires_at.as_millisecond()),
            access_token_lifetime: token.and_then(|token| token.lifetime).map(milliseconds),
            refreshed_at: refreshed_at.map(Timestamp::as_millisecond),
            created_at: project.created_at.as_millisecond(),
            updated_at: project.updated_at.as_millisecond(),
        })
    }
}

pub(super) fn source_name(source: Source) -> &'static str {
    match source {
        Source::Start => "start",
        Source::Call => "call",
    }
}

fn source(name: &str, table: &'static str, key: &str) -> Result<Source, StoreError> {
    match name {
        "start" => Ok(Source::Start),
        "call" => Ok(Source::Call),
        _ => Err(StoreError::Unknown {
            table,
            column: "source",
            row: key.to_owned(),
        }),
    }
}

/// The columns `status`, `status_reason` and `action_url`.
pub(super) fn status_columns(status: &Status) -> (&'static str, &str, &str) {
    match status {
        Status::Active => ("active", "", ""),
        Status::NeedsLogin { reason } => ("needs_login", reason, ""),
        Status::NeedsValidation { reason, url } => ("needs_validation", reason, url),
        Status::Suspended { reason, url } => ("suspended", reason, url),
    }
}

/// A time out of jiff's range is none that we have written; the nearest one does.
pub(super) fn time(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(if milliseconds < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}
