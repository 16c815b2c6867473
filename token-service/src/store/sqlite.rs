//! SQLite, the database of one token-service. One connection, as everything is read once, at the
//! start.

mod backup;
pub(in crate::store) mod copies;
mod lock;
mod open;
mod rows;
mod sealed;
mod usage;

use secrecy::SecretString;
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteQueryResult};
use tokio::sync::Mutex;

pub(in crate::store) use self::lock::DatabaseLock as Lock;
use self::lock::DatabaseLock;
pub(crate) use self::{
    backup::{Draft, Restored},
    open::{Locked, connect},
    sealed::forget,
};
pub(in crate::store) use self::{
    backup::{draft, examine, open as open_file},
    open::{MIGRATIONS, check_ours, check_version, was_opened},
};
use super::{
    Change, StoreError, StoredToken, milliseconds,
    seals::{Seals, status_columns},
    storable,
};
use crate::{
    config::Database,
    project::{Project, ProjectId},
};

/// The open database.
#[derive(Debug)]
pub(crate) struct Sqlite {
    database: Database,
    connection: Mutex<SqliteConnection>,
    /// Replaced only by who has the connection.
    seals: Seals,
    /// Held for as long as the database is open. `None` in memory.
    _lock: Option<DatabaseLock>,
}

impl Sqlite {
    /// Makes all of `changes`, or none, and tells after each change how many are written; they
    /// are made once it returns.
    pub(crate) async fn commit_telling(
        &self,
        changes: &[Change],
        written: &(dyn Fn(usize) + Sync),
    ) -> Result<(), StoreError> {
        let mut connection = self.connection.lock().await;
        begin(&mut connection).await?;
        let written = self.write(&mut connection, changes, written).await;
        end(&mut connection, written).await
    }

    async fn write(
        &self,
        connection: &mut SqliteConnection,
        changes: &[Change],
        written: &(dyn Fn(usize) + Sync),
    ) -> Result<(), StoreError> {
        for (before, change) in changes.iter().enumerate() {
            match change {
                Change::PutClient(client) => self.put_client(connection, client).await?,
                Change::DeleteClient(id) => {
                    sqlx::query("DELETE FROM oauth_clients WHERE client_id = ?")
                        .bind(id)
                        .execute(&mut *connection)
                        .await?;
                }
                Change::PutProject(record) => self.put_project(connection, record).await?,
                Change::DeleteProject(id) => {
                    sqlx::query("DELETE FROM projects WHERE id = ?")
                        .bind(&**id)
                        .execute(&mut *connection)
                        .await?;
                }
                Change::PutImport(import) => rows::put_import(connection, import).await?,
                Change::PutClientImport(import) => {
                    rows::put_client_import(connection, import).await?;
                }
            }
            written(before + 1);
        }
        Ok(())
    }

    /// Keeps what a refresh brought, unless the project's credential was set anew
    /// since (or the project removed): then nothing is changed and it says `false`.
    pub(crate) async fn commit_refresh(
        &self,
        project: &ProjectId,
        generation: i64,
        token: &StoredToken,
        refresh_token: Option<&SecretString>,
    ) -> Result<bool, StoreError> {
        let mut connection = self.connection.lock().await;
        let sealed = self
            .seals
            .seal("projects", "access_token", project, &token.secret)?;
        let rotated = refresh_token
            .map(|secret| {
                self.seals
                    .seal("projects", "refresh_token", project, secret)
            })
            .transpose()?;
        // Not left to a transaction that a caller who went away has not ended.
        begin(&mut connection).await?;
        let done = sqlx::query(
            "UPDATE projects SET
                 access_token_sealed = ?, access_token_expires_at = ?,
                 access_token_lifetime = ?, refreshed_at = ?,
                 refresh_token_sealed = coalesce(?, refresh_token_sealed)
             WHERE id = ? AND credential = ?",
        )
        .bind(sealed)
        .bind(token.expires_at.as_millisecond())
        .bind(token.lifetime.map(milliseconds))
        .bind(token.refreshed_at.map(|time| time.as_millisecond()))
        .bind(rotated)
        .bind(&**project)
        .bind(generation)
        .execute(&mut *connection)
        .await;
        let kept = done.map(|done| done.rows_affected() == 1);
        end(&mut connection, kept.map_err(StoreError::from)).await
    }

    /// Keeps a project's status and cooldowns. Nothing when there is no such project.
    pub(crate) async fn commit_state(&self, project: &Project) -> Result<(), StoreError> {
        let mut connection = self.connection.lock().await;
        begin(&mut connection).await?;
        let written = self.write_state(&mut connection, project).await;
        end(&mut connection, written).await
    }

    async fn write_state(
        &self,
        connection: &mut SqliteConnection,
        project: &Project,
    ) -> Result<(), StoreError> {
        let (status, reason, url) = status_columns(&project.status);
        // As PostgreSQL would take them, where a move may bring them.
        let (reason, url) = (storable(reason), storable(url));
        let done: SqliteQueryResult = sqlx::query(
            "UPDATE projects SET status = ?, status_reason = ?, action_url = ? WHERE id = ?",
        )
        .bind(status)
        .bind(&*reason)
        .bind(&*url)
        .bind(&*project.id)
        .execute(&mut *connection)
        .await?;
        if done.rows_affected() == 1 {
            self.put_cooldowns(connection, project).await?;
        }
        Ok(())
    }

    /// Keeps the numbers of projects' last turns.
    pub(crate) async fn commit_places(
        &self,
        places: &[(ProjectId, u64)],
    ) -> Result<(), StoreError> {
        let mut connection = self.connection.lock().await;
        begin(&mut connection).await?;
        let written = write_places(&mut connection, places).await;
        end(&mut connection, written).await
    }

    /// The keys that secrets are sealed and opened with.
    pub(crate) fn keys(&self) -> std::sync::Arc<crate::seal::Keyring> {
        self.seals.keys()
    }

    /// Closes the database: the write-ahead log goes into the file.
    pub(crate) async fn close(self) -> Result<(), StoreError> {
        self.connection.into_inner().close().await?;
        Ok(())
    }
}

async fn write_places(
    connection: &mut SqliteConnection,
    places: &[(ProjectId, u64)],
) -> Result<(), StoreError> {
    for (project, place) in places {
        sqlx::query(
            "INSERT INTO rotation (project_id, place)
             SELECT id, ? FROM projects WHERE id = ?
             ON CONFLICT (project_id) DO UPDATE SET place = excluded.place",
        )
        .bind(i64::try_from(*place).unwrap_or(i64::MAX))
        .bind(&**project)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Begins a transaction. Not sqlx's own: on a full disk SQLite ends a transaction by
/// itself, and sqlx, which counts on its own rollback, would begin none any more.
pub(in crate::store) async fn begin(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    const BEGIN: &str = "BEGIN IMMEDIATE";
    let Err(error) = sqlx::query(BEGIN).execute(&mut *connection).await else {
        return Ok(());
    };
    let is_left = error.to_string().contains("within a transaction");
    if !is_left {
        return Err(error.into());
    }
    // What a caller that went away has left.
    sqlx::query("ROLLBACK").execute(&mut *connection).await?;
    sqlx::query(BEGIN).execute(&mut *connection).await?;
    Ok(())
}

/// Makes what was `written` since [`begin`] hold, or nothing of it.
pub(in crate::store) async fn end<T>(
    connection: &mut SqliteConnection,
    written: Result<T, StoreError>,
) -> Result<T, StoreError> {
    let ended = match written {
        Ok(done) => {
            let committed = sqlx::query("COMMIT").execute(&mut *connection).await;
            committed.map(|_| done).map_err(StoreError::from)
        }
        Err(error) => Err(error),
    };
    if ended.is_err() {
        // It fails where SQLite has rolled back by itself.
        let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
    }
    ended
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;
    use crate::{oauth::Credentials, seal::Keyring, store::ClientRecord};

    fn client(number: usize) -> Change {
        Change::PutClient(ClientRecord {
            credentials: Credentials {
                client_id: format!("client-{number}"),
                client_secret: Some("x".repeat(4000).into()),
                token_url: None,
            },
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        })
    }

    #[tokio::test]
    async fn a_disk_that_was_full_is_written_to_again() {
        let keys = Keyring::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
        let store = Sqlite::open(&Database::Memory, Arc::new(keys), "a test")
            .await
            .unwrap();
        let pages = async |limit: i64| {
            let mut connection = store.connection.lock().await;
            let pragma = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {limit}"));
            sqlx::raw_sql(pragma)
                .execute(&mut *connection)
                .await
                .unwrap();
        };
        // SQLite takes the present size for a lower limit.
        pages(1).await;
        let many: Vec<_> = (0..100).map(client).collect();
        let error = store.commit_telling(&many, &|_| {}).await.unwrap_err();
        assert!(error.is_full(), "{error}");
        assert!(store.load().await.unwrap().clients.is_empty());
        pages(1_000_000).await;
        store.commit_telling(&many, &|_| {}).await.unwrap();
        assert_eq!(store.load().await.unwrap().clients.len(), 100);
    }
}
