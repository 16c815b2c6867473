//! Rows to records and back.

use std::{collections::BTreeMap, time::Duration};

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use super::{
    ClientImportRecord, ClientRecord, Everything, ImportRecord, ProjectRecord, Source, Store,
    StoreError, StoredToken, milliseconds,
};
use crate::{
    credential::{Credential, Kind},
    oauth::Credentials,
    project::{Cooldown, Project, ProjectId, Status},
};

impl Store {
    /// Reads and opens all that is kept.
    ///
    /// # Errors
    /// A value that cannot be opened or is unknown, named.
    pub(crate) async fn load(&self) -> Result<Everything, StoreError> {
        let mut connection = self.connection.lock().await;
        self.load_from(&mut connection).await
    }

    /// The same of any database that is sealed with these keys.
    pub(super) async fn load_from(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Everything, StoreError> {
        let mut everything = Everything::default();
        for row in sqlx::query("SELECT * FROM oauth_clients ORDER BY client_id")
            .fetch_all(&mut *connection)
            .await?
        {
            everything.clients.push(self.client(&row)?);
        }
        let mut cooldowns: BTreeMap<String, BTreeMap<String, Cooldown>> = BTreeMap::new();
        for row in sqlx::query("SELECT project_id, model_group, until FROM cooldowns")
            .fetch_all(&mut *connection)
            .await?
        {
            let until = time(row.try_get("until")?);
            cooldowns
                .entry(row.try_get("project_id")?)
                .or_default()
                .insert(row.try_get("model_group")?, Cooldown { until, strikes: 0 });
        }
        // Row by row: all rows of a large pool at once would be most of what this process ever
        // takes.
        let mut rows =
            sqlx::query("SELECT * FROM projects ORDER BY position").fetch(&mut *connection);
        while let Some(row) = rows.try_next().await? {
            let id: String = row.try_get("id")?;
            let resting = cooldowns.remove(&id).unwrap_or_default();
            everything.projects.push(self.project(&row, id, resting)?);
        }
        drop(rows);
        let mut rows = sqlx::query("SELECT * FROM imports").fetch(&mut *connection);
        while let Some(row) = rows.try_next().await? {
            everything.imports.push(ImportRecord {
                project_id: project_id(&row)?,
                source: source(&row, "imports", "project_id")?,
                google_project_id: row.try_get("google_project_id")?,
                refresh_token_fingerprint: row.try_get("refresh_token_fingerprint")?,
                fields_fingerprint: row.try_get("fields_fingerprint")?,
            });
        }
        drop(rows);
        for row in sqlx::query("SELECT * FROM client_imports")
            .fetch_all(&mut *connection)
            .await?
        {
            everything.client_imports.push(ClientImportRecord {
                client_id: row.try_get("client_id")?,
                source: source(&row, "client_imports", "client_id")?,
                fingerprint: row.try_get("fingerprint")?,
            });
        }
        for row in sqlx::query("SELECT project_id, place FROM rotation")
            .fetch_all(connection)
            .await?
        {
            let place: i64 = row.try_get("place")?;
            let place = u64::try_from(place).unwrap_or_default();
            everything.places.push((project_id(&row)?, place));
        }
        Ok(everything)
    }

    fn client(&self, row: &SqliteRow) -> Result<ClientRecord, StoreError> {
        let client_id: String = row.try_get("client_id")?;
        let sealed: Option<Vec<u8>> = row.try_get("client_secret_sealed")?;
        let client_secret = sealed
            .map(|sealed| self.open_value("oauth_clients", "client_secret", &client_id, &sealed))
            .transpose()?;
        Ok(ClientRecord {
            credentials: Credentials {
                client_id,
                client_secret,
                token_url: row.try_get("token_url")?,
            },
            created_at: time(row.try_get("created_at")?),
            updated_at: time(row.try_get("updated_at")?),
        })
    }

    fn project(
        &self,
        row: &SqliteRow,
        id: String,
        cooldowns: BTreeMap<String, Cooldown>,
    ) -> Result<ProjectRecord, StoreError> {
        let unknown = |column| StoreError::Unknown {
            table: "projects",
            column,
            row: id.clone(),
        };
        let status: &str = row.try_get("status")?;
        let reason: String = row.try_get("status_reason")?;
        let url: String = row.try_get("action_url")?;
        let status = match status {
            "active" => Status::Active,
            "needs_login" => Status::NeedsLogin { reason },
            "needs_validation" => Status::NeedsValidation { reason, url },
            "suspended" => Status::Suspended { reason, url },
            _ => return Err(unknown("status")),
        };
        let upstream: &str = row.try_get("upstream")?;
        let upstream = upstream.parse().map_err(|_| unknown("upstream"))?;
        let kind: &str = row.try_get("credential_kind")?;
        let kind: Kind = kind.parse().map_err(|_| unknown("credential_kind"))?;
        let sealed: Vec<u8> = row.try_get("refresh_token_sealed")?;
        let text = self.open_value("projects", kind.name(), &id, &sealed)?;
        let credential = Credential::of(kind, text).map_err(|source| StoreError::Credential {
            row: id.clone(),
            source,
        })?;
        let oauth_client_id: Option<String> = row.try_get("oauth_client_id")?;
        let token = self.token(row, &id)?;
        Ok(ProjectRecord {
            credential,
            generation: row.try_get("credential")?,
            token,
            project: Project {
                position: row.try_get("position")?,
                google_project_id: row.try_get("google_project_id")?,
                upstream,
                location: row.try_get("location")?,
                oauth_client_id: oauth_client_id.unwrap_or_default(),
                display_name: row.try_get("display_name")?,
                disabled: row.try_get("disabled")?,
                status,
                cooldowns,
                created_at: time(row.try_get("created_at")?),
                updated_at: time(row.try_get("updated_at")?),
                id: id.into(),
            },
        })
    }

    fn token(&self, row: &SqliteRow, id: &str) -> Result<Option<StoredToken>, StoreError> {
        let sealed: Option<Vec<u8>> = row.try_get("access_token_sealed")?;
        let expires_at: Option<i64> = row.try_get("access_token_expires_at")?;
        let (Some(sealed), Some(expires_at)) = (sealed, expires_at) else {
            return Ok(None);
        };
        let lifetime: Option<i64> = row.try_get("access_token_lifetime")?;
        let refreshed_at: Option<i64> = row.try_get("refreshed_at")?;
        Ok(Some(StoredToken {
            secret: self.open_value("projects", "access_token", id, &sealed)?,
            expires_at: time(expires_at),
            lifetime: lifetime.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0))),
            refreshed_at: refreshed_at.map(time),
        }))
    }

    pub(super) async fn put_client(
        &self,
        connection: &mut SqliteConnection,
        client: &ClientRecord,
    ) -> Result<(), StoreError> {
        let id = &client.credentials.client_id;
        let secret = client
            .credentials
            .client_secret
            .as_ref()
            .map(|secret| self.seal("oauth_clients", "client_secret", id, secret))
            .transpose()?;
        sqlx::query(
            "INSERT INTO oauth_clients (client_id, client_secret_sealed, token_url, created_at,
                 updated_at)
             VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (client_id) DO UPDATE SET
                 client_secret_sealed = excluded.client_secret_sealed,
                 token_url = excluded.token_url,
                 updated_at = excluded.updated_at",
        )
        .bind(id)
        .bind(secret)
        .bind(&client.credentials.token_url)
        .bind(client.created_at.as_millisecond())
        .bind(client.updated_at.as_millisecond())
        .execute(connection)
        .await?;
        Ok(())
    }

    pub(super) async fn put_project(
        &self,
        connection: &mut SqliteConnection,
        record: &ProjectRecord,
    ) -> Result<(), StoreError> {
        let project = &record.project;
        // The kind stands for the column: no credential opens as one of another kind.
        let kind = record.credential.kind().name();
        let credential = self.seal("projects", kind, &project.id, record.credential.text())?;
        let oauth_client_id = Some(&project.oauth_client_id).filter(|id| !id.is_empty());
        let token = record.token.as_ref();
        let access_token = token
            .map(|token| self.seal("projects", "access_token", &project.id, &token.secret))
            .transpose()?;
        let (status, reason, url) = status_columns(&project.status);
        sqlx::query(
            "INSERT INTO projects (id, position, google_project_id, upstream, location,
                 oauth_client_id, display_name, disabled, status, status_reason, action_url,
                 credential_kind, refresh_token_sealed, credential, access_token_sealed,
                 access_token_expires_at, access_token_lifetime, refreshed_at, created_at,
                 updated_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET
                 google_project_id = excluded.google_project_id,
                 upstream = excluded.upstream,
                 location = excluded.location,
                 oauth_client_id = excluded.oauth_client_id,
                 display_name = excluded.display_name,
                 disabled = excluded.disabled,
                 status = excluded.status,
                 status_reason = excluded.status_reason,
                 action_url = excluded.action_url,
                 credential_kind = excluded.credential_kind,
                 refresh_token_sealed = excluded.refresh_token_sealed,
                 credential = excluded.credential,
                 access_token_sealed = excluded.access_token_sealed,
                 access_token_expires_at = excluded.access_token_expires_at,
                 access_token_lifetime = excluded.access_token_lifetime,
                 refreshed_at = excluded.refreshed_at,
                 updated_at = excluded.updated_at",
        )
        .bind(&*project.id)
        .bind(project.position)
        .bind(&project.google_project_id)
        .bind(project.upstream.name())
        .bind(&project.location)
        .bind(oauth_client_id)
        .bind(&project.display_name)
        .bind(project.disabled)
        .bind(status)
        .bind(reason)
        .bind(url)
        .bind(kind)
        .bind(credential)
        .bind(record.generation)
        .bind(access_token)
        .bind(token.map(|token| token.expires_at.as_millisecond()))
        .bind(token.and_then(|token| token.lifetime).map(milliseconds))
        .bind(
            token
                .and_then(|token| token.refreshed_at)
                .map(|t| t.as_millisecond()),
        )
        .bind(project.created_at.as_millisecond())
        .bind(project.updated_at.as_millisecond())
        .execute(&mut *connection)
        .await?;
        self.put_cooldowns(connection, project).await
    }

    pub(super) async fn put_cooldowns(
        &self,
        connection: &mut SqliteConnection,
        project: &Project,
    ) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM cooldowns WHERE project_id = ?")
            .bind(&*project.id)
            .execute(&mut *connection)
            .await?;
        for (group, cooldown) in &project.cooldowns {
            sqlx::query("INSERT INTO cooldowns (project_id, model_group, until) VALUES (?, ?, ?)")
                .bind(&*project.id)
                .bind(group)
                .bind(cooldown.until.as_millisecond())
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }
}

pub(super) async fn put_import(
    connection: &mut SqliteConnection,
    import: &ImportRecord,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO imports (project_id, source, google_project_id, refresh_token_fingerprint,
             fields_fingerprint, imported_at)
         VALUES (?, ?, ?, ?, ?, unixepoch() * 1000)
         ON CONFLICT (project_id, source) DO UPDATE SET
             google_project_id = excluded.google_project_id,
             refresh_token_fingerprint = excluded.refresh_token_fingerprint,
             fields_fingerprint = excluded.fields_fingerprint,
             imported_at = excluded.imported_at",
    )
    .bind(&*import.project_id)
    .bind(source_name(import.source))
    .bind(&import.google_project_id)
    .bind(&import.refresh_token_fingerprint)
    .bind(&import.fields_fingerprint)
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn put_client_import(
    connection: &mut SqliteConnection,
    import: &ClientImportRecord,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO client_imports (client_id, source, fingerprint, imported_at)
         VALUES (?, ?, ?, unixepoch() * 1000)
         ON CONFLICT (client_id, source) DO UPDATE SET
             fingerprint = excluded.fingerprint,
             imported_at = excluded.imported_at",
    )
    .bind(&import.client_id)
    .bind(source_name(import.source))
    .bind(&import.fingerprint)
    .execute(connection)
    .await?;
    Ok(())
}

fn source_name(source: Source) -> &'static str {
    match source {
        Source::Start => "start",
        Source::Call => "call",
    }
}

fn source(row: &SqliteRow, table: &'static str, key: &str) -> Result<Source, StoreError> {
    match row.try_get("source")? {
        "start" => Ok(Source::Start),
        "call" => Ok(Source::Call),
        _ => Err(StoreError::Unknown {
            table,
            column: "source",
            row: row.try_get(key)?,
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

fn project_id(row: &SqliteRow) -> Result<ProjectId, sqlx::Error> {
    let id: &str = row.try_get("project_id")?;
    Ok(id.into())
}

/// A time out of jiff's range is none that we have written; the nearest one does.
fn time(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(if milliseconds < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}
