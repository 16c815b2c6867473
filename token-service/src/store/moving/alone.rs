//! A database that nobody else uses, as one of the two of a move.

use std::{path::Path, sync::Arc};

use sqlx::{
    Connection as _, PgConnection, Sqlite as SqliteDialect, SqlitePool, pool::PoolConnection,
};

use super::{MOVED, MOVED_HOURS, MOVING, MoveError};
use crate::{
    config::{Database, Servers},
    seal::Keyring,
    store::{
        StoreError,
        postgres::{self, Postgres},
        sqlite::{self, Locked, MIGRATIONS},
        tables::{Row, TABLES, Table},
    },
};

/// One of the two.
pub(super) struct Alone {
    /// As operators see it.
    name: String,
    open: Open,
}

enum Open {
    Sqlite {
        lock: (Option<sqlite::Lock>, SqlitePool),
        connection: PoolConnection<SqliteDialect>,
    },
    Postgres(Box<PgConnection>),
}

impl Alone {
    /// Opens what is to be moved. It is brought up to date when an older version has made it, since
    /// it is read as this one knows it, and stays as it is otherwise.
    pub(super) async fn source(database: &Database) -> Result<Self, MoveError> {
        let was_opened = match database {
            Database::Postgres(servers) => postgres::was_opened(servers).await?,
            Database::Sqlite(path) => path.exists() && sqlite::was_opened(database).await?,
            Database::Memory => false,
        };
        if was_opened {
            Ok(Self::open(database).await?)
        } else {
            Err(MoveError::NoSource(database.to_string()))
        }
    }

    /// Opens what is to be filled, and makes it when it is not there.
    pub(super) async fn target(database: &Database) -> Result<Self, StoreError> {
        let mut target = Self::open(database).await?;
        if let Open::Sqlite { .. } = target.open {
            target.run("PRAGMA journal_mode = WAL").await?;
        }
        Ok(target)
    }

    async fn open(database: &Database) -> Result<Self, StoreError> {
        let open = match database {
            Database::Postgres(servers) => Open::Postgres(Box::new(alone(servers).await?)),
            database => {
                let (lock, pool, path): Locked = sqlite::connect(database).await?;
                let mut connection = pool.acquire().await?;
                sqlite::check_ours(&mut connection, &path).await?;
                sqlite::check_version(&mut connection, &path).await?;
                drop(connection);
                MIGRATIONS.run(&pool).await.map_err(StoreError::Migration)?;
                Open::Sqlite {
                    connection: pool.acquire().await?,
                    lock: (lock, pool),
                }
            }
        };
        Ok(Self {
            name: database.to_string(),
            open,
        })
    }

    /// Whether `other` is this database, by another name.
    pub(super) async fn is_also(&mut self, other: &Database) -> Result<bool, StoreError> {
        let same = match (&mut self.open, other) {
            (Open::Postgres(connection), Database::Postgres(servers)) => {
                postgres::is_same(servers, connection).await
            }
            (Open::Sqlite { .. }, Database::Sqlite(path)) => {
                Ok(are_one_file(Path::new(&self.name), path))
            }
            _ => Ok(false),
        };
        self.named(same)
    }

    /// Whether nobody has begun to use it meanwhile.
    ///
    /// # Errors
    /// Somebody has.
    pub(super) async fn is_still_alone(&mut self) -> Result<(), StoreError> {
        let alone = match &mut self.open {
            // Its lock is held.
            Open::Sqlite { .. } => Ok(()),
            Open::Postgres(connection) => postgres::nobody_else(connection).await,
        };
        self.named(alone)
    }

    /// Names the server in an error that is about it.
    fn named<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        done.map_err(|error| error.of_server(&self.name))
    }

    pub(super) async fn begin(&mut self) -> Result<(), StoreError> {
        match &mut self.open {
            Open::Sqlite { connection, .. } => sqlite::begin(connection).await,
            Open::Postgres(_) => self.run("BEGIN").await,
        }
    }

    pub(super) async fn commit(&mut self) -> Result<(), StoreError> {
        self.run("COMMIT").await
    }

    async fn run(&mut self, statement: &'static str) -> Result<(), StoreError> {
        let run = match &mut self.open {
            Open::Sqlite { connection, .. } => {
                let run = sqlx::query(statement).execute(&mut **connection);
                run.await.map(drop)
            }
            Open::Postgres(connection) => {
                let run = sqlx::query(statement).execute(&mut **connection);
                run.await.map(drop)
            }
        };
        self.named(run.map_err(StoreError::from))
    }

    pub(super) async fn read(
        &mut self,
        table: &Table,
        hour: Option<i64>,
    ) -> Result<Vec<Row>, StoreError> {
        let read = match &mut self.open {
            Open::Sqlite { connection, .. } => sqlite::copies::read(connection, table, hour).await,
            Open::Postgres(connection) => postgres::copies::read(connection, table, hour).await,
        };
        self.named(read)
    }

    pub(super) async fn write(&mut self, table: &Table, rows: &[Row]) -> Result<(), StoreError> {
        let written = match &mut self.open {
            Open::Sqlite { connection, .. } => sqlite::copies::write(connection, table, rows).await,
            Open::Postgres(connection) => postgres::copies::write(connection, table, rows).await,
        };
        self.named(written)
    }

    pub(super) async fn clear(&mut self, table: &Table) -> Result<(), StoreError> {
        let cleared = match &mut self.open {
            Open::Sqlite { connection, .. } => sqlite::copies::clear(connection, table).await,
            Open::Postgres(connection) => postgres::copies::clear(connection, table).await,
        };
        self.named(cleared)
    }

    pub(super) async fn hours(&mut self, from: i64) -> Result<Vec<i64>, StoreError> {
        let hours = match &mut self.open {
            Open::Sqlite { connection, .. } => sqlite::copies::hours(connection, from).await,
            Open::Postgres(connection) => postgres::copies::hours(connection, from).await,
        };
        self.named(hours)
    }

    pub(super) async fn reports(&mut self) -> Result<Vec<(u128, i64)>, StoreError> {
        let reports = match &mut self.open {
            Open::Sqlite { connection, .. } => sqlite::copies::reports(connection).await,
            Open::Postgres(connection) => postgres::copies::reports(connection).await,
        };
        self.named(reports)
    }

    pub(super) async fn put_reports(&mut self, reports: &[(u128, i64)]) -> Result<(), StoreError> {
        let put = match &mut self.open {
            Open::Sqlite { connection, .. } => {
                sqlite::copies::put_reports(connection, reports).await
            }
            Open::Postgres(connection) => postgres::copies::put_reports(connection, reports).await,
        };
        self.named(put)
    }

    /// Removes the ledger from an hour on.
    pub(super) async fn clear_hours(&mut self, from: i64) -> Result<(), StoreError> {
        const CLEAR: &str = "DELETE FROM usage WHERE hour >= $1";
        let cleared = match &mut self.open {
            Open::Sqlite { connection, .. } => {
                let clear = sqlx::query(CLEAR).bind(from).execute(&mut **connection);
                clear.await.map(drop)
            }
            Open::Postgres(connection) => {
                let clear = sqlx::query(CLEAR).bind(from).execute(&mut **connection);
                clear.await.map(drop)
            }
        };
        self.named(cleared.map_err(StoreError::from))
    }

    /// A row of `meta` about moves.
    pub(super) async fn note(&mut self, key: &str) -> Result<Option<String>, StoreError> {
        const READ: &str = "SELECT value FROM meta WHERE key = $1";
        let value: Result<Option<Vec<u8>>, sqlx::Error> = match &mut self.open {
            Open::Sqlite { connection, .. } => {
                let read = sqlx::query_scalar(READ).bind(key);
                read.fetch_optional(&mut **connection).await
            }
            Open::Postgres(connection) => {
                let read = sqlx::query_scalar(READ).bind(key);
                read.fetch_optional(&mut **connection).await
            }
        };
        let value = self.named(value.map_err(StoreError::from))?;
        Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    pub(super) async fn put_note(&mut self, key: &str, value: &str) -> Result<(), StoreError> {
        const PUT: &str = "INSERT INTO meta (key, value) VALUES ($1, $2)
                           ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        let put = match &mut self.open {
            Open::Sqlite { connection, .. } => {
                let put = sqlx::query(PUT).bind(key).bind(value.as_bytes());
                put.execute(&mut **connection).await.map(drop)
            }
            Open::Postgres(connection) => {
                let put = sqlx::query(PUT).bind(key).bind(value.as_bytes());
                put.execute(&mut **connection).await.map(drop)
            }
        };
        self.named(put.map_err(StoreError::from))
    }

    pub(super) async fn remove_note(&mut self, key: &str) -> Result<(), StoreError> {
        const REMOVE: &str = "DELETE FROM meta WHERE key = $1";
        let removed = match &mut self.open {
            Open::Sqlite { connection, .. } => {
                let remove = sqlx::query(REMOVE).bind(key).execute(&mut **connection);
                remove.await.map(drop)
            }
            Open::Postgres(connection) => {
                let remove = sqlx::query(REMOVE).bind(key).execute(&mut **connection);
                remove.await.map(drop)
            }
        };
        self.named(removed.map_err(StoreError::from))
    }

    /// Whether nothing would be overwritten. What tells by which key it was opened is no loss.
    pub(super) async fn is_empty(&mut self) -> Result<bool, StoreError> {
        for table in TABLES.iter().filter(|table| table.name != "meta") {
            if !self.read(table, None).await?.is_empty() {
                return Ok(false);
            }
        }
        Ok(self.hours(i64::MIN).await?.is_empty())
    }

    pub(super) async fn empty(&mut self) -> Result<(), StoreError> {
        self.begin().await?;
        self.remove_notes().await?;
        self.clear_hours(i64::MIN).await?;
        for table in TABLES.iter().rev() {
            self.clear(table).await?;
        }
        self.put_reports(&[]).await?;
        self.commit().await
    }

    /// Has it serve: neither a move to it nor one from it, of before, is remembered.
    pub(super) async fn forget_moves(&mut self) -> Result<(), StoreError> {
        self.begin().await?;
        self.remove_notes().await?;
        self.commit().await
    }

    async fn remove_notes(&mut self) -> Result<(), StoreError> {
        for note in [MOVING, MOVED_HOURS, MOVED] {
            self.remove_note(note).await?;
        }
        Ok(())
    }

    pub(super) async fn close(self) -> Result<(), StoreError> {
        match self.open {
            Open::Sqlite {
                connection,
                lock: (lock, pool),
            } => {
                drop(connection);
                pool.close().await;
                drop(lock);
                Ok(())
            }
            Open::Postgres(connection) => Ok(connection.close().await?),
        }
    }
}

async fn alone(servers: &Servers) -> Result<PgConnection, StoreError> {
    // A key is not needed: sealed values go as they are.
    let no_key = Keyring::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let no_key = no_key.map_err(|_| StoreError::Busy)?;
    let database = Postgres::open_alone(servers, Arc::new(no_key)).await?;
    let connection = database.own_alone().await;
    database.close_alone().await;
    connection.map_err(|error| error.of_server(database.name()))
}

/// Whether two names are of one file, be it by a link.
fn are_one_file(one: &Path, other: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let id = |path: &Path| path.metadata().map(|file| (file.dev(), file.ino()));
        matches!((id(one), id(other)), (Ok(one), Ok(other)) if one == other)
    }
    #[cfg(not(unix))]
    {
        let whole = |path: &Path| path.canonicalize();
        matches!((whole(one), whole(other)), (Ok(one), Ok(other)) if one == other)
    }
}
