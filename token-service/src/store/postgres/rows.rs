//! Rows read and written.

use sqlx::{FromRow, PgConnection};

use super::Postgres;
use crate::{
    project::{Project, ProjectId},
    store::{
        ClientImportRecord, ClientRecord, ImportRecord, ProjectRecord, StoreError,
        seals::{
            ClientImportRow, CooldownRow, ImportRow, ProjectRow, bind_project, cooldowns,
            source_name,
        },
    },
};

/// The columns of a table, as its row has them. Named one by one: a statement that was prepared
/// with all that there are fails once a newer version has added another.
macro_rules! columns {
    (projects) => {
        "id, position, google_project_id, upstream, location, oauth_client_id, display_name,
         disabled, status, status_reason, action_url, credential_kind, refresh_token_sealed,
         credential, access_token_sealed, access_token_expires_at, access_token_lifetime,
         refreshed_at, created_at, updated_at"
    };
    (oauth_clients) => {
        "client_id, client_secret_sealed, token_url, created_at, updated_at"
    };
    (cooldowns) => {
        "project_id, model_group, until"
    };
    (imports) => {
        "project_id, source, google_project_id, refresh_token_fingerprint, fields_fingerprint"
    };
    (client_imports) => {
        "client_id, source, fingerprint"
    };
}
pub(super) use columns;

/// A row of `projects`, and the transaction that changed it last.
#[derive(Debug, FromRow)]
pub(super) struct ChangedRow {
    #[sqlx(flatten)]
    pub(super) row: ProjectRow,
    pub(super) change: i64,
}

impl Postgres {
    /// A project, and its credential as it is stored.
    pub(super) async fn read_project(
        &self,
        connection: &mut PgConnection,
        project: &ProjectId,
    ) -> Result<Option<(ProjectRecord, Vec<u8>)>, StoreError> {
        let row: Option<ProjectRow> = sqlx::query_as(concat!(
            "SELECT ",
            columns!(projects),
            " FROM projects WHERE id = $1"
        ))
        .bind(&**project)
        .fetch_optional(&mut *connection)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let resting: Vec<CooldownRow> = sqlx::query_as(concat!(
            "SELECT ",
            columns!(cooldowns),
            " FROM cooldowns WHERE project_id = $1"
        ))
        .bind(&**project)
        .fetch_all(connection)
        .await?;
        let resting = cooldowns(resting).remove(&**project).unwrap_or_default();
        let sealed = row.refresh_token_sealed.clone();
        let record = self.seals.project(row, resting)?;
        Ok(Some((record, sealed)))
    }

    /// A project as it is stored, and its sealed refresh token.
    pub(crate) async fn stored(
        &self,
        project: &ProjectId,
    ) -> Result<Option<(ProjectRecord, Vec<u8>)>, StoreError> {
        self.servers
            .bounded(async {
                let mut lent = self.servers.lend().await?;
                let stored = self.read_project(&mut lent, project).await?;
                lent.done();
                Ok(stored)
            })
            .await
    }

    /// What was taken over from tokens files.
    pub(crate) async fn imports(
        &self,
    ) -> Result<(Vec<ImportRecord>, Vec<ClientImportRecord>), StoreError> {
        self.servers
            .bounded(async {
                let mut lent = self.servers.lend().await?;
                let read = read_imports(&mut lent).await?;
                lent.done();
                Ok(read)
            })
            .await
    }

    pub(super) async fn put_client(
        &self,
        connection: &mut PgConnection,
        client: &ClientRecord,
    ) -> Result<(), StoreError> {
        let row = self.seals.client_row(client)?;
        sqlx::query(
            "INSERT INTO oauth_clients (client_id, client_secret_sealed, token_url, created_at,
                 updated_at)
             VALUES ($1, $2, $3, $4, $5)
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

    /// Of a project whose credential stays what it was, secrets and status stay too: refreshes
    /// and reports of other replicas may have changed them meanwhile.
    pub(super) async fn put_project(
        &self,
        connection: &mut PgConnection,
        record: &ProjectRecord,
    ) -> Result<(), StoreError> {
        let row = self.seals.project_row(record)?;
        // Those of another upstream.
        sqlx::query(
            "DELETE FROM cooldowns USING projects
             WHERE project_id = $1 AND projects.id = project_id AND projects.upstream <> $2",
        )
        .bind(&row.id)
        .bind(&row.upstream)
        .execute(&mut *connection)
        .await?;
        let query = sqlx::query(
            "INSERT INTO projects AS old (id, position, google_project_id, upstream, location,
                 oauth_client_id, display_name, disabled, status, status_reason, action_url,
                 credential_kind, refresh_token_sealed, credential, access_token_sealed,
                 access_token_expires_at, access_token_lifetime, refreshed_at, created_at,
                 updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
                 $18, $19, $20)
             ON CONFLICT (id) DO UPDATE SET
                 google_project_id = excluded.google_project_id,
                 upstream = excluded.upstream,
                 location = excluded.location,
                 oauth_client_id = excluded.oauth_client_id,
                 display_name = excluded.display_name,
                 disabled = excluded.disabled,
                 updated_at = excluded.updated_at,
                 credential_kind = excluded.credential_kind,
                 credential = excluded.credential,
                 status = CASE WHEN old.credential = excluded.credential
                     THEN old.status ELSE excluded.status END,
                 status_reason = CASE WHEN old.credential = excluded.credential
                     THEN old.status_reason ELSE excluded.status_reason END,
                 action_url = CASE WHEN old.credential = excluded.credential
                     THEN old.action_url ELSE excluded.action_url END,
                 refresh_token_sealed = CASE WHEN old.credential = excluded.credential
                     THEN old.refresh_token_sealed ELSE excluded.refresh_token_sealed END,
                 access_token_sealed = CASE WHEN old.credential = excluded.credential
                     THEN old.access_token_sealed ELSE excluded.access_token_sealed END,
                 access_token_expires_at = CASE WHEN old.credential = excluded.credential
                     THEN old.access_token_expires_at ELSE excluded.access_token_expires_at END,
                 access_token_lifetime = CASE WHEN old.credential = excluded.credential
                     THEN old.access_token_lifetime ELSE excluded.access_token_lifetime END,
                 refreshed_at = CASE WHEN old.credential = excluded.credential
                     THEN old.refreshed_at ELSE excluded.refreshed_at END",
        );
        bind_project!(query, row).execute(&mut *connection).await?;
        self.put_cooldowns(connection, &record.project).await
    }

    /// The longest cooldown of a group that anybody knows holds.
    pub(super) async fn put_cooldowns(
        &self,
        connection: &mut PgConnection,
        project: &Project,
    ) -> Result<(), StoreError> {
        if project.cooldowns.is_empty() {
            return Ok(());
        }
        let groups: Vec<&str> = project.cooldowns.keys().map(String::as_str).collect();
        let ends: Vec<i64> = project
            .cooldowns
            .values()
            .map(|cooldown| cooldown.until.as_millisecond())
            .collect();
        sqlx::query(
            "INSERT INTO cooldowns AS known (project_id, model_group, until)
             SELECT $1, new.model_group, new.until
             FROM unnest($2::text[], $3::bigint[]) AS new (model_group, until)
             ON CONFLICT (project_id, model_group)
                 DO UPDATE SET until = greatest(known.until, excluded.until)",
        )
        .bind(&*project.id)
        .bind(groups)
        .bind(ends)
        .execute(connection)
        .await?;
        Ok(())
    }
}

pub(super) async fn read_imports(
    connection: &mut PgConnection,
) -> Result<(Vec<ImportRecord>, Vec<ClientImportRecord>), StoreError> {
    let imports: Vec<ImportRow> =
        sqlx::query_as(concat!("SELECT ", columns!(imports), " FROM imports"))
            .fetch_all(&mut *connection)
            .await?;
    let client_imports: Vec<ClientImportRow> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(client_imports),
        " FROM client_imports"
    ))
    .fetch_all(connection)
    .await?;
    Ok((
        imports
            .into_iter()
            .map(ImportRow::record)
            .collect::<Result<_, _>>()?,
        client_imports
            .into_iter()
            .map(ClientImportRow::record)
            .collect::<Result<_, _>>()?,
    ))
}

pub(super) async fn put_import(
    connection: &mut PgConnection,
    import: &ImportRecord,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO imports (project_id, source, google_project_id, refresh_token_fingerprint,
             fields_fingerprint, imported_at)
         VALUES ($1, $2, $3, $4, $5, (extract(epoch FROM now()) * 1000)::bigint)
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
    connection: &mut PgConnection,
    import: &ClientImportRecord,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO client_imports (client_id, source, fingerprint, imported_at)
         VALUES ($1, $2, $3, (extract(epoch FROM now()) * 1000)::bigint)
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
