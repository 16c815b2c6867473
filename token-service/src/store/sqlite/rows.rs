//! All that is kept, read at the start, and rows written.

use futures_util::TryStreamExt as _;
use sqlx::SqliteConnection;

use super::Sqlite;
use crate::{
    project::Project,
    store::{
        ClientImportRecord, ClientRecord, Everything, ImportRecord, ProjectRecord, StoreError,
        seals::{
            ClientImportRow, ClientRow, CooldownRow, ImportRow, ProjectRow, Seals, bind_project,
            cooldowns, source_name,
        },
    },
};

impl Sqlite {
    /// Reads and opens all that is kept.
    ///
    /// # Errors
    /// A value that cannot be opened or is unknown, named.
    pub(crate) async fn load(&self) -> Result<Everything, StoreError> {
        let mut connection = self.connection.lock().await;
        load(&self.seals, &mut connection).await
    }

    pub(super) async fn put_client(
        &self,
        connection: &mut SqliteConnection,
        client: &ClientRecord,
    ) -> Result<(), StoreError> {
        let row: ClientRow = self.seals.client_row(client)?;
        sqlx::query(
            "INSERT INTO oauth_clients (client_id, client_secret_sealed, token_url, created_at,
                 updated_at)
             VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (client_id) DO UPDATE SET
                 client_secret_sealed = excluded.client_secret_sealed,
                 token_url = excluded.token_url,
                 updated_at = excluded.updated_at",
        )
        .bind(row.client_id)
        .bind(row.client_secret_sealed)
        .bind(row.token_url)
        .bind(row.created_at)
        .bind(row.updated_at)
        .execute(connection)
        .await?;
        Ok(())
    }

    pub(super) async fn put_project(
        &self,
        connection: &mut SqliteConnection,
        record: &ProjectRecord,
    ) -> Result<(), StoreError> {
        let row = self.seals.project_row(record)?;
        let query = sqlx::query(
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
        );
        bind_project!(query, row).execute(&mut *connection).await?;
        self.put_cooldowns(connection, &record.project).await
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

/// The same of any database that is sealed with these keys.
pub(super) async fn load(
    seals: &Seals,
    connection: &mut SqliteConnection,
) -> Result<Everything, StoreError> {
    let mut everything = Everything::default();
    let clients = sqlx::query_as("SELECT * FROM oauth_clients ORDER BY client_id");
    for row in clients.fetch_all(&mut *connection).await? {
        everything.clients.push(seals.client(row)?);
    }
    let resting: Vec<CooldownRow> = sqlx::query_as("SELECT * FROM cooldowns")
        .fetch_all(&mut *connection)
        .await?;
    let mut resting = cooldowns(resting);
    // Row by row: all rows of a large pool at once would be most of what this process ever takes.
    let mut rows = sqlx::query_as::<_, ProjectRow>("SELECT * FROM projects ORDER BY position")
        .fetch(&mut *connection);
    while let Some(row) = rows.try_next().await? {
        let resting = resting.remove(&row.id).unwrap_or_default();
        everything.projects.push(seals.project(row, resting)?);
    }
    drop(rows);
    let mut rows = sqlx::query_as::<_, ImportRow>("SELECT * FROM imports").fetch(&mut *connection);
    while let Some(row) = rows.try_next().await? {
        everything.imports.push(row.record()?);
    }
    drop(rows);
    let client_imports: Vec<ClientImportRow> = sqlx::query_as("SELECT * FROM client_imports")
        .fetch_all(&mut *connection)
        .await?;
    for row in client_imports {
        everything.client_imports.push(row.record()?);
    }
    let places: Vec<(String, i64)> = sqlx::query_as("SELECT project_id, place FROM rotation")
        .fetch_all(connection)
        .await?;
    for (project, place) in places {
        let place = u64::try_from(place).unwrap_or_default();
        everything.places.push((project.into(), place));
    }
    Ok(everything)
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
