//! A copy of the database while it is in use, and the way back: all of what it holds, in one
//! transaction.

use std::{
    io,
    path::{Path, PathBuf},
};

use antigravity_runtime::secret;
use sqlx::{
    AssertSqlSafe, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};
use tempfile::NamedTempFile;
use tokio::sync::MutexGuard;

use super::{
    Seals, Sqlite, StoreError, begin, connect, end,
    open::{MIGRATIONS, check_ours, check_version, has_table},
    rows, sealed,
};
use crate::{
    config::Database,
    limits,
    oauth::Credentials,
    seal::{Keyring, SealError},
    service_account::GOOGLE_TOKEN_URL,
    store::{
        ClientRecord, Everything,
        moving::{MOVED, MOVING, temporary},
        sealed::KEY_CHECK,
    },
};

/// A file that is gone when this is dropped: a backup on its way.
pub(crate) type Draft = NamedTempFile;

/// Ends the names of drafts, which begin with a dot and the database's.
const DRAFT: &str = ".part";

/// Makes an empty draft beside the database, for its owner alone (mode 0600).
pub(in crate::store) fn draft(database: &Database) -> io::Result<Draft> {
    let mut builder = tempfile::Builder::new();
    builder.suffix(DRAFT);
    match database {
        Database::Sqlite(path) => {
            let folder = database.folder().unwrap_or(Path::new("."));
            builder.prefix(&draft_prefix(path)).tempfile_in(folder)
        }
        Database::Memory | Database::Postgres(_) => builder.tempfile(),
    }
}

fn draft_prefix(database: &Path) -> String {
    let name = database.file_name().unwrap_or_default();
    format!(".{}-", name.to_string_lossy())
}

/// Removes drafts of databases and of key files that a process left which was killed. Only by who
/// holds the lock: nobody else makes any.
pub(super) fn sweep(database: &Path) {
    let folder = match database.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let prefix = draft_prefix(database);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_of_keys = name.starts_with("encryption.") && secret::is_draft(&name);
        if is_of_keys || name.starts_with(&prefix) && name.contains(DRAFT) {
            // The next start tries again.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// What was restored. Nobody writes to the database until this is dropped: memory is to follow
/// first.
pub(crate) struct Restored<'s> {
    pub(crate) everything: Everything,
    pub(crate) resealed: u32,
    /// `None`: others write to it too.
    pub(in crate::store) _connection: Option<MutexGuard<'s, SqliteConnection>>,
}

impl Sqlite {
    /// An empty draft beside this database.
    pub(crate) fn draft(&self) -> Result<Draft, StoreError> {
        draft(&self.database).map_err(|source| match &self.database {
            Database::Sqlite(path) => StoreError::File {
                path: path.clone(),
                source,
            },
            Database::Memory | Database::Postgres(_) => temporary(source),
        })
    }

    /// A copy of all that is kept, as of one moment.
    pub(crate) async fn back_up(&self) -> Result<Draft, StoreError> {
        let draft = self.draft()?;
        let mut connection = self.connection.lock().await;
        sqlx::query("VACUUM INTO ?")
            .bind(name_of(draft.path())?)
            .execute(&mut *connection)
            .await?;
        Ok(draft)
    }

    /// Replaces all that is kept with what a backup holds. Its secrets are opened with the
    /// store's keys and `others`, and sealed with the store's first. With an `own_endpoint` all
    /// clients refresh there, whatever the backup says.
    ///
    /// # Errors
    /// Nothing is changed then.
    pub(crate) async fn restore(
        &self,
        backup: &Path,
        others: Option<&Keyring>,
        own_endpoint: bool,
    ) -> Result<Restored<'_>, StoreError> {
        let name = name_of(backup)?;
        let own = self.load().await?.clients;
        let (everything, resealed) =
            examine(backup, &self.seals, others, own_endpoint, &own).await?;
        let mut connection = self.connection.lock().await;
        sqlx::query("ATTACH ? AS backup")
            .bind(name)
            .execute(&mut *connection)
            .await?;
        let replaced = replace(&mut connection).await;
        // It is gone with the connection at the latest.
        let _ = sqlx::query("DETACH backup").execute(&mut *connection).await;
        replaced?;
        Ok(Restored {
            everything,
            resealed,
            _connection: Some(connection),
        })
    }
}

/// Brings a backup to what today's databases are like, in version and keys, and reads it. `own`
/// are the OAuth clients that the database has which it is for.
///
/// # Errors
/// It is none, or cannot be taken over.
pub(in crate::store) async fn examine(
    backup: &Path,
    seals: &Seals,
    others: Option<&Keyring>,
    own_endpoint: bool,
    own: &[ClientRecord],
) -> Result<(Everything, u32), StoreError> {
    let pool = open(backup).await?;
    let examined = examine_in(&pool, backup, seals, others).await;
    pool.close().await;
    let (everything, resealed) = examined?;
    check(&everything, own_endpoint, own)?;
    Ok((everything, resealed))
}

async fn examine_in(
    pool: &SqlitePool,
    path: &Path,
    seals: &Seals,
    others: Option<&Keyring>,
) -> Result<(Everything, u32), StoreError> {
    let mut connection = pool.acquire().await?;
    check_ours(&mut connection, path)
        .await
        .map_err(not_a_backup)?;
    check_version(&mut connection, path)
        .await
        .map_err(not_a_backup)?;
    if !has_table(&mut connection, KEY_CHECK.table).await? {
        return Err(StoreError::NoBackup("holds nothing".to_owned()));
    }
    drop(connection);
    let migrated = MIGRATIONS.run(pool).await;
    migrated.map_err(|error| StoreError::NoBackup(format!("cannot be read ({error})")))?;
    forget_moves(pool).await?;
    let own = seals.keys();
    let keys = others.map_or_else(|| own.and(&own), |others| own.and(others));
    let mut connection = pool.acquire().await?;
    begin(&mut connection).await?;
    let resealed = sealed::reseal(&mut connection, &keys).await;
    let resealed = end(&mut connection, resealed.map_err(not_a_backup)).await?;
    let everything = rows::load(seals, &mut connection)
        .await
        .map_err(not_a_backup)?;
    let is_whole = shape(&mut connection).await.map_err(not_a_backup)? == shape_of_new().await?;
    let broken: Option<String> =
        sqlx::query_scalar("SELECT \"table\" FROM pragma_foreign_key_check")
            .fetch_optional(&mut *connection)
            .await?;
    if !is_whole || broken.is_some() {
        return Err(StoreError::NoBackup(
            "is damaged: what is in it does not belong together".to_owned(),
        ));
    }
    Ok((everything, resealed))
}

/// A file that was kept when its pool moved elsewhere is a backup of that time; half of a move is
/// none.
async fn forget_moves(pool: &SqlitePool) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await?;
    let is_half: bool = sqlx::query_scalar("SELECT count(*) > 0 FROM meta WHERE key = ?")
        .bind(MOVING)
        .fetch_one(&mut *connection)
        .await?;
    if is_half {
        return Err(StoreError::NoBackup(
            "is a database that a move has not filled whole".to_owned(),
        ));
    }
    sqlx::query("DELETE FROM meta WHERE key = ?")
        .bind(MOVED)
        .execute(&mut *connection)
        .await?;
    Ok(())
}

/// What stands in the clear is as trustworthy as whoever could write the file: refresh tokens
/// are not sent where it alone says.
fn check(
    everything: &Everything,
    own_endpoint: bool,
    own: &[ClientRecord],
) -> Result<(), StoreError> {
    for client in &everything.clients {
        let Credentials {
            client_id,
            token_url: Some(url),
            ..
        } = &client.credentials
        else {
            continue;
        };
        let known = own.iter().any(|own| {
            own.credentials.client_id == *client_id
                && own.credentials.token_url.as_ref() == Some(url)
        });
        if !own_endpoint && !known && url != GOOGLE_TOKEN_URL {
            return Err(StoreError::NoBackup(format!(
                "sends the refresh tokens of the OAuth client {client_id} to {url:?}; if that is \
                 right, add the client first (oauth-clients put {client_id} --token-url URL), or \
                 set OAUTH_TOKEN_URL"
            )));
        }
    }
    for record in &everything.projects {
        let project = &record.project;
        let fits = limits::is_id(&project.id)
            && (project.google_project_id.is_empty() || limits::is_id(&project.google_project_id))
            && crate::tokens_file::is_location(&project.location);
        if !fits {
            return Err(StoreError::NoBackup(format!(
                "is damaged: the project {:?} has a name that none can have",
                project.id
            )));
        }
    }
    Ok(())
}

/// The shape of a database that is made today.
async fn shape_of_new() -> Result<Vec<String>, StoreError> {
    let (_lock, pool, _path) = connect(&Database::Memory).await?;
    let migrated = MIGRATIONS.run(&pool).await.map_err(StoreError::Migration);
    let shape = match migrated {
        Ok(()) => shape(&mut *pool.acquire().await?).await,
        Err(error) => Err(error),
    };
    pool.close().await;
    shape
}

/// What there is in a database, as it was made.
async fn shape(connection: &mut SqliteConnection) -> Result<Vec<String>, StoreError> {
    let made = sqlx::query_scalar(
        "SELECT sql FROM main.sqlite_schema WHERE sql IS NOT NULL AND name <> '_sqlx_migrations'
         ORDER BY type, name",
    );
    Ok(made.fetch_all(connection).await?)
}

/// Opens a file that is to be read or filled, alone.
pub(in crate::store) async fn open(path: &Path) -> Result<SqlitePool, StoreError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        // No file beside it that would have to go along.
        .journal_mode(SqliteJournalMode::Memory);
    SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await
        .map_err(|error| StoreError::NoBackup(format!("is damaged, or no database ({error})")))
}

/// Both have the same version, so that their columns are the same.
async fn replace(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    begin(connection).await?;
    let replaced = replace_all(connection).await;
    end(connection, replaced).await
}

async fn replace_all(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query("PRAGMA defer_foreign_keys = ON")
        .execute(&mut *connection)
        .await?;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM main.sqlite_schema
         WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
             AND name <> '_sqlx_migrations'",
    )
    .fetch_all(&mut *connection)
    .await?;
    // The names are those of our own migrations.
    for table in &tables {
        sqlx::query(AssertSqlSafe(format!("DELETE FROM main.\"{table}\"")))
            .execute(&mut *connection)
            .await?;
    }
    for table in &tables {
        sqlx::query(AssertSqlSafe(format!(
            "INSERT INTO main.\"{table}\" SELECT * FROM backup.\"{table}\""
        )))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

fn name_of(path: &Path) -> Result<&str, StoreError> {
    path.to_str().ok_or_else(|| StoreError::File {
        path: PathBuf::from(path),
        source: io::Error::new(io::ErrorKind::InvalidInput, "its name is not UTF-8"),
    })
}

/// What is wrong with a backup, without its name: the one it has is of no use to anybody.
fn not_a_backup(error: StoreError) -> StoreError {
    match error {
        StoreError::Foreign { .. } => {
            StoreError::NoBackup("is no backup of this program".to_owned())
        }
        StoreError::Corrupt { problem, .. } => {
            StoreError::NoBackup(format!("is damaged ({problem})"))
        }
        StoreError::Newer { version, .. } => StoreError::NewerBackup { version },
        StoreError::Value {
            source: SealError::UnknownKey { key_id },
            ..
        } => StoreError::KeyOfBackup { key_id },
        error @ (StoreError::Value { .. } | StoreError::Unknown { .. }) => {
            StoreError::NoBackup(format!("is damaged: {error}"))
        }
        StoreError::Database(error) => {
            StoreError::NoBackup(format!("is damaged, or none ({error})"))
        }
        error => error,
    }
}
