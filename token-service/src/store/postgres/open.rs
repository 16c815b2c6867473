//! Opening a database: made when it is empty, refused and left alone when it is not ours, too new
//! for this version, on its way elsewhere, or sealed with other keys.

use std::{path::PathBuf, sync::Arc, time::Duration};

use sqlx::{
    PgConnection, PgPool,
    migrate::{MigrateError, Migrator},
};

use super::{Known, Postgres, Servers, servers::Purpose};
use crate::{
    config,
    seal::Keyring,
    store::{
        StoreError,
        moving::{self, MOVED, MOVING},
        sealed::KEY_CHECK,
        seals::Seals,
    },
};

/// Every published migration. They are frozen; a test compares their checksums. Those that a
/// newer version has made are no reason to stop: it says itself whom it can live with.
pub(in crate::store) static MIGRATIONS: Migrator = Migrator {
    ignore_missing: true,
    ..sqlx::migrate!("../migrations/postgres")
};
/// Opening a database, and bringing it up to date, takes no longer.
const OPENED: Duration = Duration::from_secs(60);
/// The advisory lock of those who open the database.
const OPENING: i64 = super::CHANGES + 1;
/// The row of `meta` that names the first schema that can still be worked with.
const COMPATIBLE_WITH: &str = "compatible_with";

impl Postgres {
    /// Opens the database of `servers` with `keys`, which come from `origin`.
    ///
    /// # Errors
    /// As the module says; nothing is changed then. And a server that cannot be reached, or takes
    /// no writes, which may pass.
    pub(crate) async fn open(
        servers: &config::Servers,
        connections: u32,
        keys: Arc<Keyring>,
        origin: &str,
        instance: &str,
    ) -> Result<Self, StoreError> {
        let this = Self {
            servers: Servers::new(servers, connections),
            seals: Seals::new(Arc::clone(&keys)),
            instance: instance.to_owned(),
            known: parking_lot::Mutex::new(Known::default()),
            backing_up: tokio::sync::Mutex::new(()),
        };
        this.servers.reach(Purpose::Opening).await?;
        let name = this.servers.name().to_owned();
        let pool = this.servers.own_pool()?;
        let prepared = tokio::time::timeout(OPENED, prepare(&pool, &name, &keys, origin)).await;
        let prepared = prepared.unwrap_or(Err(StoreError::Busy));
        // What does not end in time is ended by the server.
        let _ = tokio::time::timeout(OPENED, pool.close()).await;
        prepared.map_err(|error| error.of_server(&name))?;
        Ok(this)
    }
}

/// What goes by by itself is told as that.
pub(super) fn migration(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            match StoreError::from(error) {
                StoreError::Database(error) => StoreError::Migration(error.into()),
                passing => passing,
            }
        }
        error => StoreError::Migration(error),
    }
}

async fn prepare(
    pool: &PgPool,
    name: &str,
    keys: &Keyring,
    origin: &str,
) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await?;
    // One replica at a time, so that none sees a database that another is making. Held until the
    // pool's only connection closes.
    lock(&mut connection).await?;
    check_ours(&mut connection, name).await?;
    check_version(&mut connection, name).await?;
    check_keys(&mut connection, keys, origin, name).await?;
    drop(connection);
    MIGRATIONS.run(pool).await.map_err(migration)?;
    let mut connection = pool.acquire().await?;
    check_moving(&mut connection, name).await?;
    keep_key_check(&mut connection, keys, origin, name).await?;
    // Of two that start at once with other keys, one has not sealed it.
    check_keys(&mut connection, keys, origin, name).await
}

/// Only reads.
pub(super) async fn check_ours(
    connection: &mut PgConnection,
    name: &str,
) -> Result<(), StoreError> {
    let (ours, begun, others): (bool, bool, bool) = sqlx::query_as(
        "SELECT to_regclass('_sqlx_migrations') IS NOT NULL AND to_regclass('meta') IS NOT NULL,
             to_regclass('_sqlx_migrations') IS NOT NULL,
             to_regclass('meta') IS NOT NULL OR to_regclass('projects') IS NOT NULL
                 OR to_regclass('usage') IS NOT NULL",
    )
    .fetch_one(&mut *connection)
    .await?;
    let foreign = || StoreError::Foreign {
        path: PathBuf::from(name),
    };
    if !ours {
        // Whoever makes it may be killed between the list of migrations and the first of them.
        let is_listed = begun
            && sqlx::query_scalar("SELECT count(*) > 0 FROM _sqlx_migrations")
                .fetch_one(&mut *connection)
                .await?;
        return if others || is_listed {
            Err(foreign())
        } else {
            Ok(())
        };
    }
    let first: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT checksum FROM _sqlx_migrations WHERE version = 1")
            .fetch_optional(connection)
            .await?;
    let expected = MIGRATIONS.iter().next().map(|it| it.checksum.to_vec());
    if first == expected {
        Ok(())
    } else {
        Err(foreign())
    }
}

/// Only reads.
pub(super) async fn check_version(
    connection: &mut PgConnection,
    name: &str,
) -> Result<(), StoreError> {
    let Some(value) = meta(connection, COMPATIBLE_WITH).await? else {
        return Ok(());
    };
    let Ok(first) = String::from_utf8_lossy(&value).parse() else {
        return Err(StoreError::Corrupt {
            path: PathBuf::from(name),
            problem: format!("{COMPATIBLE_WITH} in the table meta is no number"),
        });
    };
    not_newer(first, name)
}

/// As [`check_version`], of what goes by the tables as this version knows them: what a newer one
/// has added would be left out, even where both can work side by side.
pub(in crate::store) async fn check_known(
    connection: &mut PgConnection,
    name: &str,
) -> Result<(), StoreError> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(());
    }
    let latest: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
        .fetch_one(connection)
        .await?;
    not_newer(latest.unwrap_or_default(), name)
}

fn not_newer(version: i64, name: &str) -> Result<(), StoreError> {
    let latest = MIGRATIONS.iter().map(|migration| migration.version).max();
    if latest.unwrap_or_default() >= version {
        Ok(())
    } else {
        Err(StoreError::Newer {
            path: PathBuf::from(name),
            version,
        })
    }
}

/// Only reads.
async fn check_keys(
    connection: &mut PgConnection,
    keys: &Keyring,
    origin: &str,
    name: &str,
) -> Result<(), StoreError> {
    let stored = meta(connection, KEY_CHECK.row).await?;
    match stored.map(|sealed| keys.open(KEY_CHECK, &sealed)) {
        None | Some(Ok(_)) => Ok(()),
        Some(Err(source)) => Err(StoreError::WrongKey {
            path: PathBuf::from(name),
            origin: origin.to_owned(),
            source,
        }),
    }
}

pub(super) async fn check_moving(
    connection: &mut PgConnection,
    name: &str,
) -> Result<(), StoreError> {
    let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
    let moving = meta(connection, MOVING).await?.map(text);
    let moved = meta(connection, MOVED).await?.map(text);
    moving::check(name, moving, moved)
}

/// Seals what [`check_keys`] tries to open from now on, in a new database.
async fn keep_key_check(
    connection: &mut PgConnection,
    keys: &Keyring,
    origin: &str,
    name: &str,
) -> Result<(), StoreError> {
    let sealed = keys
        .seal(KEY_CHECK, "opened")
        .map_err(|source| StoreError::WrongKey {
            path: PathBuf::from(name),
            origin: origin.to_owned(),
            source,
        })?;
    sqlx::query("INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING")
        .bind(KEY_CHECK.row)
        .bind(sealed)
        .execute(connection)
        .await?;
    Ok(())
}

/// Waits until nobody else opens the database; held as long as the connection.
pub(super) async fn lock(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("SET lock_timeout = '20s'")
        .execute(&mut *connection)
        .await?;
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(OPENING)
        .execute(connection)
        .await?;
    Ok(())
}

/// No token-service uses the database.
pub(in crate::store) async fn nobody_else(connection: &mut PgConnection) -> Result<(), StoreError> {
    let other: Option<(String, String, i64)> = sqlx::query_as(
        "SELECT instance, host, extract(epoch FROM now() - seen_at)::bigint FROM replicas
         WHERE seen_at > now() - $1 ORDER BY seen_at DESC LIMIT 1",
    )
    .bind(super::follow::interval(super::follow::GONE))
    .fetch_optional(connection)
    .await?;
    match other {
        None => Ok(()),
        Some((instance, host, seconds)) => Err(StoreError::InUse {
            instance,
            host,
            seconds,
            limit: i64::try_from(super::follow::GONE.as_secs()).unwrap_or(i64::MAX),
        }),
    }
}

pub(super) async fn meta(
    connection: &mut PgConnection,
    row: &str,
) -> Result<Option<Vec<u8>>, StoreError> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('meta') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(None);
    }
    let value = sqlx::query_scalar("SELECT value FROM meta WHERE key = $1")
        .bind(row)
        .fetch_optional(connection)
        .await?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_migrations_are_frozen() {
        let published = crate::store::checksums(&MIGRATIONS);
        assert_eq!(
            published,
            PUBLISHED.map(|(version, it)| (version, it.to_owned()))
        );
        let versions = |migrator: &Migrator| -> Vec<i64> {
            migrator.iter().map(|migration| migration.version).collect()
        };
        // What is numbered alike is about the same.
        assert_eq!(
            versions(&MIGRATIONS),
            versions(&crate::store::sqlite::MIGRATIONS)
        );
    }

    const PUBLISHED: [(i64, &str); 3] = [
        (1, "2b64de08c635f1f14e6aa5e3f44d6162"),
        (2, "abeae352abedda0040b31cca6731040c"),
        (3, "8872877cfc1cff2c45a1be003fc78ebd"),
    ];
}
