//! The database: the one place with SQL. Holds secrets sealed; what it returns is
//! opened. One connection, as everything is read once, at the start.

mod backup;
mod lock;
mod open;
mod rows;
mod sealed;
mod usage;

use std::{path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::RwLock;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteQueryResult};
use tokio::sync::Mutex;

use self::lock::DatabaseLock;
pub(crate) use self::{
    backup::Draft,
    open::connect,
    sealed::forget,
    usage::{By, MAX_ROWS as MAX_USAGE_ROWS, Query as UsageQuery, Span, UsageRow},
};
use crate::{
    config::Database,
    credential::Credential,
    oauth::Credentials,
    project::{Project, ProjectId},
    seal::{Cell, Keyring, SealError},
    service_account::KeyError,
};

/// A project with its secrets.
#[derive(Clone, Debug)]
pub(crate) struct ProjectRecord {
    pub(crate) project: Project,
    pub(crate) credential: Credential,
    /// Drawn anew with each credential that an operator or an import sets.
    pub(crate) generation: i64,
    pub(crate) token: Option<StoredToken>,
}

/// An access token as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct StoredToken {
    pub(crate) secret: SecretString,
    pub(crate) expires_at: Timestamp,
    /// `None`: Google did not tell, as the token came from a file or an operator.
    pub(crate) lifetime: Option<Duration>,
    pub(crate) refreshed_at: Option<Timestamp>,
}

/// An OAuth client with its secret.
#[derive(Clone, Debug)]
pub(crate) struct ClientRecord {
    pub(crate) credentials: Credentials,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// Where a tokens file came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// `TOKENS_FILE`, read at the start.
    Start,
    /// An operator's call.
    Call,
}

/// What was last taken over from a tokens file for one OAuth client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientImportRecord {
    pub(crate) client_id: String,
    pub(crate) source: Source,
    pub(crate) fingerprint: String,
}

/// What was last taken over from a tokens file for one project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImportRecord {
    pub(crate) project_id: ProjectId,
    pub(crate) source: Source,
    pub(crate) google_project_id: String,
    pub(crate) refresh_token_fingerprint: String,
    pub(crate) fields_fingerprint: String,
}

/// All that is kept.
#[derive(Debug, Default)]
pub(crate) struct Everything {
    pub(crate) clients: Vec<ClientRecord>,
    pub(crate) projects: Vec<ProjectRecord>,
    pub(crate) imports: Vec<ImportRecord>,
    pub(crate) client_imports: Vec<ClientImportRecord>,
    /// The number of each project's last turn.
    pub(crate) places: Vec<(ProjectId, u64)>,
}

/// A change; several are made together or not at all.
#[derive(Debug)]
pub(crate) enum Change {
    PutClient(ClientRecord),
    DeleteClient(String),
    /// Creates the project or replaces all of it.
    PutProject(Box<ProjectRecord>),
    DeleteProject(ProjectId),
    PutImport(ImportRecord),
    PutClientImport(ClientImportRecord),
}

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file or its folder cannot be used.
    #[error("cannot use the database {}: {source}; check its folder and permissions", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process has the database.
    #[error(
        "the database {} is in use by the process {pid}; stop that one first",
        path.display()
    )]
    Locked {
        /// The database.
        path: PathBuf,
        /// The process, or `of unknown id`.
        pid: String,
    },
    /// The file belongs to another program.
    #[error(
        "{} is not a database of this program; point DATABASE_URL elsewhere",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged.
    #[error(
        "the database {} is damaged ({problem}); restore it from a backup, or move it away and \
         import the projects again",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        problem: String,
    },
    /// The file was made by a later version.
    #[error(
        "the database {} was made by a newer version of this program (migration {version}); run \
         that version, or restore a backup from before",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The migration that is not known here.
        version: i64,
    },
    /// The keys do not open the database.
    #[error(
        "the keys of {origin} do not open the database {}: {source}; set the key that it was \
         made with. Should that be lost: a sealed export can be imported into a new database, \
         and `antigravity-gateway keys reset` keeps this one without its secrets, each project \
         to be logged in again",
        path.display()
    )]
    WrongKey {
        /// The database.
        path: PathBuf,
        /// Where the keys come from.
        origin: String,
        /// Why.
        source: SealError,
    },
    /// One value cannot be opened.
    #[error("{column} of {row} in the table {table} cannot be opened: {source}")]
    Value {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's key.
        row: String,
        /// Why.
        source: SealError,
    },
    /// A credential that opens, and is none.
    #[error("the credential of {row} in the table projects {source}")]
    Credential {
        /// The row's key.
        row: String,
        /// Why.
        source: KeyError,
    },
    /// A value that this version does not know.
    #[error("{column} of {row} in the table {table} holds a value that is unknown")]
    Unknown {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's key.
        row: String,
    },
    /// Nothing has been lost.
    #[error(
        "the encryption key opens the database {}: nothing is lost, and nothing was reset",
        path.display()
    )]
    KeyOpens {
        /// The database.
        path: PathBuf,
    },
    /// A file that is to be restored is none, or cannot be used.
    #[error("the backup {0}")]
    NoBackup(String),
    /// No key opens what is to be restored.
    #[error(
        "the backup is sealed with the encryption key {key_id}, which is not here; give it with \
         the backup (restore --key-file FILE)"
    )]
    KeyOfBackup {
        /// The key's id.
        key_id: String,
    },
    /// A newer version made what is to be restored.
    #[error(
        "the backup was made by a newer version of this program (migration {version}); restore it \
         with that version"
    )]
    NewerBackup {
        /// The migration that is not known here.
        version: i64,
    },
    /// A migration failed.
    #[error("cannot bring the database up to date: {0}")]
    Migration(sqlx::migrate::MigrateError),
    /// Anything else that SQLite says.
    #[error("the database says: {0}")]
    Sqlite(#[from] sqlx::Error),
}

impl StoreError {
    /// Whether there is no room on the disk.
    pub(crate) fn is_full(&self) -> bool {
        const FULL: &str = "13";
        matches!(self, Self::Sqlite(sqlx::Error::Database(error)) if error.code().as_deref() == Some(FULL))
    }
}

/// The open database.
#[derive(Debug)]
pub(crate) struct Store {
    database: Database,
    connection: Mutex<SqliteConnection>,
    /// Read and replaced only by who has the connection, so that nothing is written with a key
    /// that has been replaced meanwhile.
    keys: RwLock<Arc<Keyring>>,
    /// Held for as long as the database is open. `None` in memory.
    _lock: Option<DatabaseLock>,
}

impl Store {
    /// Makes all of `changes`, or none.
    pub(crate) async fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.commit_telling(changes, &|_| {}).await
    }

    /// As [`Store::commit`], and tells after each change how many are written; they are
    /// made once it returns.
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
        let sealed = self.seal("projects", "access_token", project, &token.secret)?;
        let rotated = refresh_token
            .map(|secret| self.seal("projects", "refresh_token", project, secret))
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
        let (status, reason, url) = rows::status_columns(&project.status);
        let done: SqliteQueryResult = sqlx::query(
            "UPDATE projects SET status = ?, status_reason = ?, action_url = ? WHERE id = ?",
        )
        .bind(status)
        .bind(reason)
        .bind(url)
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

    /// Closes the database: the write-ahead log goes into the file.
    pub(crate) async fn close(self) -> Result<(), StoreError> {
        self.connection.into_inner().close().await?;
        Ok(())
    }

    /// The keys that secrets are sealed and opened with.
    pub(crate) fn keys(&self) -> Arc<Keyring> {
        Arc::clone(&self.keys.read())
    }

    fn seal(
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

    fn open_value(
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
async fn begin(connection: &mut SqliteConnection) -> Result<(), StoreError> {
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
async fn end<T>(
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

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Database;

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
        let store = Store::open(&Database::Memory, Arc::new(keys), "a test")
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
        let error = store.commit(&many).await.unwrap_err();
        assert!(error.is_full(), "{error}");
        assert!(store.load().await.unwrap().clients.is_empty());
        pages(1_000_000).await;
        store.commit(&many).await.unwrap();
        assert_eq!(store.load().await.unwrap().clients.len(), 100);
    }
}
