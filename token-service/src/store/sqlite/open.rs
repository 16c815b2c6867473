//! Opening a database: made when it is missing, refused and left alone when it is not
//! ours, damaged, too new, in use, or sealed with other keys.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use antigravity_runtime::secret::create_folder;
use sqlx::{
    SqliteConnection, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::Mutex;

use super::{DatabaseLock, Seals, Sqlite, StoreError, backup};
use crate::{
    config::Database,
    seal::Keyring,
    store::{
        moving::{self, MOVED, MOVING},
        sealed::KEY_CHECK,
    },
};

/// Every published migration. They are frozen; a test compares their checksums.
pub(in crate::store) static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite");
/// `PRAGMA application_id` of our files, set by the first migration.
const APPLICATION_ID: i64 = 0x4147_544b;
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";

impl Sqlite {
    /// Opens `database` with `keys`, which come from `keys_origin`.
    ///
    /// # Errors
    /// As the module says; nothing is changed then.
    pub(crate) async fn open(
        database: &Database,
        keys: Arc<Keyring>,
        keys_origin: &str,
    ) -> Result<Self, StoreError> {
        let (lock, pool, path) = connect(database).await?;
        if let Err(error) = prepare(&pool, &path, &keys, keys_origin).await {
            // Has SQLite put away the files that it made beside the database to read it.
            pool.close().await;
            return Err(error);
        }
        let connection = pool.acquire().await?.detach();
        Ok(Self {
            database: database.clone(),
            connection: Mutex::new(connection),
            seals: Seals::new(keys),
            _lock: lock,
        })
    }
}

/// A database that this process has, and nobody else.
pub(crate) type Locked = (Option<DatabaseLock>, SqlitePool, PathBuf);

/// Connects under the database's lock; the file is made when it is missing. A pool only until
/// the database is open: the migrator borrows a lone connection in a way that no spawned task
/// can hold.
pub(crate) async fn connect(database: &Database) -> Result<Locked, StoreError> {
    let (lock, options) = match database {
        // By its name, which is the default. SQLite would open what is attached with the flag of
        // `in_memory` too: backups would be written nowhere, and read as empty.
        Database::Memory | Database::Postgres(_) => (None, SqliteConnectOptions::new()),
        Database::Sqlite(path) => {
            let folder = database.folder().unwrap_or(Path::new("."));
            let lock = create_folder(folder)
                .map_err(|source| file_error(path, source))
                .and_then(|()| DatabaseLock::take(path))?;
            backup::sweep(path);
            prepare_file(path)?;
            (Some(lock), SqliteConnectOptions::new().filename(path))
        }
    };
    let path = match database {
        Database::Sqlite(path) => path.clone(),
        Database::Memory | Database::Postgres(_) => PathBuf::from(":memory:"),
    };
    let options = options
        .foreign_keys(true)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
        .pragma("secure_delete", "ON");
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await
        .map_err(|error| broken(&path, error))?;
    Ok((lock, pool, path))
}

/// Whether a token-service has ever opened the file, or a move has begun to fill it. It stays as
/// it is.
pub(in crate::store) async fn was_opened(database: &Database) -> Result<bool, StoreError> {
    let (_lock, pool, path) = connect(database).await?;
    let asked = async {
        let mut connection = pool.acquire().await?;
        check_ours(&mut connection, &path).await?;
        if !has_table(&mut connection, KEY_CHECK.table).await? {
            return Ok(false);
        }
        let rows = "SELECT count(*) > 0 FROM meta WHERE key IN (?, ?)";
        let rows = sqlx::query_scalar(rows).bind(KEY_CHECK.row).bind(MOVING);
        Ok(rows.fetch_one(&mut *connection).await?)
    };
    let asked = asked.await;
    pool.close().await;
    asked
}

/// As [`prepare`], of a database that no key needs to open.
pub(super) async fn prepare_forgetting(pool: &SqlitePool, path: &Path) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await?;
    check_ours(&mut connection, path).await?;
    check_version(&mut connection, path).await?;
    drop(connection);
    MIGRATIONS.run(pool).await.map_err(StoreError::Migration)
}

async fn prepare(
    pool: &SqlitePool,
    path: &Path,
    keys: &Keyring,
    keys_origin: &str,
) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await?;
    check_ours(&mut connection, path)
        .await
        .map_err(|error| match error {
            StoreError::Database(error) => broken(path, error),
            other => other,
        })?;
    check_version(&mut connection, path).await?;
    check_keys(&mut connection, keys, keys_origin, path).await?;
    sqlx::query("PRAGMA journal_mode = WAL")
        .execute(&mut *connection)
        .await
        .map_err(|error| broken(path, error))?;
    drop(connection);
    MIGRATIONS.run(pool).await.map_err(StoreError::Migration)?;
    let mut connection = pool.acquire().await?;
    check_moving(&mut connection, path).await?;
    keep_key_check(&mut connection, keys, keys_origin, path).await
}

/// Only reads.
async fn check_moving(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let mut read = [None, None];
    for (value, key) in read.iter_mut().zip([MOVING, MOVED]) {
        let stored: Option<Vec<u8>> = sqlx::query_scalar("SELECT value FROM meta WHERE key = ?")
            .bind(key)
            .fetch_optional(&mut *connection)
            .await?;
        *value = stored.map(|value| String::from_utf8_lossy(&value).into_owned());
    }
    let [moving, moved] = read;
    moving::check(&path.display().to_string(), moving, moved)
}

/// Makes the file, for its owner alone, or looks whether it is a SQLite file.
fn prepare_file(path: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(file_error(path, source)),
    }
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(SQLITE_MAGIC.len() as u64).read_to_end(&mut head))
        .map_err(|source| file_error(path, source))?;
    if head.is_empty() || head == SQLITE_MAGIC {
        Ok(())
    } else {
        Err(StoreError::Foreign {
            path: path.to_owned(),
        })
    }
}

/// Only reads.
pub(in crate::store) async fn check_ours(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(), StoreError> {
    let application: i64 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(&mut *connection)
        .await?;
    let objects: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *connection)
        .await?;
    if objects > 0 && application != APPLICATION_ID {
        return Err(StoreError::Foreign {
            path: path.to_owned(),
        });
    }
    let check: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(&mut *connection)
        .await?;
    if check != "ok" {
        return Err(StoreError::Corrupt {
            path: path.to_owned(),
            problem: check,
        });
    }
    Ok(())
}

/// Only reads.
pub(in crate::store) async fn check_version(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(), StoreError> {
    if !has_table(connection, "_sqlx_migrations").await? {
        return Ok(());
    }
    let version: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
        .fetch_one(connection)
        .await?;
    match version {
        Some(version) if !MIGRATIONS.version_exists(version) => Err(StoreError::Newer {
            path: path.to_owned(),
            version,
        }),
        _ => Ok(()),
    }
}

/// Only reads.
pub(super) async fn check_keys(
    connection: &mut SqliteConnection,
    keys: &Keyring,
    origin: &str,
    path: &Path,
) -> Result<(), StoreError> {
    if !has_table(connection, KEY_CHECK.table).await? {
        return Ok(());
    }
    let stored: Option<Vec<u8>> = sqlx::query_scalar("SELECT value FROM meta WHERE key = ?")
        .bind(KEY_CHECK.row)
        .fetch_optional(connection)
        .await?;
    match stored.map(|sealed| keys.open(KEY_CHECK, &sealed)) {
        None | Some(Ok(_)) => Ok(()),
        Some(Err(source)) => Err(StoreError::WrongKey {
            path: path.to_owned(),
            origin: origin.to_owned(),
            source,
        }),
    }
}

/// Seals what [`check_keys`] tries to open from now on, in a new database.
async fn keep_key_check(
    connection: &mut SqliteConnection,
    keys: &Keyring,
    origin: &str,
    path: &Path,
) -> Result<(), StoreError> {
    let sealed = keys
        .seal(KEY_CHECK, "opened")
        .map_err(|source| StoreError::WrongKey {
            path: path.to_owned(),
            origin: origin.to_owned(),
            source,
        })?;
    sqlx::query("INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING")
        .bind(KEY_CHECK.row)
        .bind(sealed)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn has_table(
    connection: &mut SqliteConnection,
    name: &str,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?")
        .bind(name)
        .fetch_one(connection)
        .await
}

fn file_error(path: &Path, source: io::Error) -> StoreError {
    StoreError::File {
        path: path.to_owned(),
        source,
    }
}

/// Tells a damaged file from other failures of the first statements.
fn broken(path: &Path, error: sqlx::Error) -> StoreError {
    const CORRUPT: u32 = 11;
    const NOT_A_DATABASE: u32 = 26;
    let code = error
        .as_database_error()
        .and_then(|error| error.code()?.parse::<u32>().ok())
        // Extended codes carry the primary one in their low byte.
        .map(|code| code & 0xff);
    match code {
        Some(CORRUPT | NOT_A_DATABASE) => StoreError::Corrupt {
            path: path.to_owned(),
            problem: error.to_string(),
        },
        _ => StoreError::Database(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_migrations_are_frozen() {
        let published = crate::store::checksums(&MIGRATIONS);
        let expected = [
            (1, "362d9b45c7d94d03b84be8036407566f"),
            (2, "46c66dd3637d4c75fc8701a8866bf698"),
            (3, "6dbe172d93099fa9426d2dd5172c8046"),
        ]
        .map(|(version, checksum)| (version, checksum.to_owned()));
        assert_eq!(published, expected);
    }
}
