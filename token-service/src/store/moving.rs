//! Everything that a database holds, carried over to another: into a backup, out of one, and from
//! SQLite to PostgreSQL or back. A move can be killed at any point and goes on when it is asked for
//! again; until it has ended and been compared, the new database serves nobody, and the old one
//! keeps what it holds, and a mark that it was moved.

mod alone;

use std::{io, path::Path, time::Duration};

use sqlx::{AssertSqlSafe, Connection as _, SqlitePool};

use self::alone::Alone;
use super::{
    StoreError,
    postgres::{self, Postgres},
    sqlite::{self, Draft, MIGRATIONS, Restored},
    tables::{TABLES, USAGE, digest},
};
use crate::{config::Database, seal::Keyring};

/// The row of `meta` that says from where a database is filled.
pub(super) const MOVING: &str = "moving";
/// The row of `meta` that says to where a database has been moved.
pub(super) const MOVED: &str = "moved";
/// The row of `meta` with the first hour of the ledger that a move has not carried over.
const MOVED_HOURS: &str = "moving_hour";

/// A restore of a large pool takes no longer.
const RESTORED: Duration = Duration::from_secs(600);

/// What a move came to.
#[derive(Clone, Copy, Debug)]
pub struct Moved {
    /// Projects that were carried over.
    pub projects: usize,
    /// OAuth clients that were carried over.
    pub oauth_clients: usize,
    /// Rows of the ledger, this time and before.
    pub usage_rows: usize,
    /// Whether it went on where an earlier one had broken off.
    pub resumed: bool,
}

/// Why a database is not moved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    /// One of the two cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A database cannot be moved to itself, nor one in memory.
    #[error("name two databases, of which neither is in memory")]
    NotTwo,
    /// They are one.
    #[error("{from} and {to} are the same database; name another")]
    Same {
        /// The old database.
        from: String,
        /// The new database.
        to: String,
    },
    /// There is nothing to move.
    #[error("there is no database {0}")]
    NoSource(String),
    /// There is nothing to take back.
    #[error("the pool of {0} has not been moved; nothing was changed")]
    NotMoved(String),
    /// The new database is one already.
    #[error(
        "{0} holds projects, OAuth clients, a ledger or a record of imports of its own, which a \
         move would overwrite; name an empty database, or back it up and say --start-over, which \
         empties it"
    )]
    NotEmpty(String),
    /// A move from elsewhere has not ended.
    #[error(
        "{to} is being filled from {from}; finish that first, or say --start-over, which empties it"
    )]
    OtherMove {
        /// The new database.
        to: String,
        /// From where.
        from: String,
    },
    /// They are not the same at the end.
    #[error(
        "the table {0} is not the same in both databases; something else writes to one of them. \
         Stop it and run the same command again"
    )]
    Differs(&'static str),
}

/// Where a move is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Rows of a table, so many of so many.
    Copying(&'static str, usize, usize),
    /// The two are compared.
    Comparing(&'static str),
}

/// Refuses what is not to be served: `name`, with what it says of a move to it and of one from it.
pub(super) fn check(
    name: &str,
    moving: Option<String>,
    moved: Option<String>,
) -> Result<(), StoreError> {
    match (moving, moved) {
        (None, None) => Ok(()),
        (Some(to), _) => Err(StoreError::Moving {
            database: name.to_owned(),
            to,
        }),
        (None, Some(to)) => Err(StoreError::Moved {
            database: name.to_owned(),
            to,
        }),
    }
}

/// Moves all that `from` holds to `to`, which is to be empty, or to be filled by a move from there
/// that broke off. `start_over` empties it first. Nobody may use either meanwhile; afterwards
/// nobody is served from `from`.
///
/// # Errors
/// Nothing is lost: the old database keeps what it holds, and the same call goes on.
pub async fn migrate(
    from: &Database,
    to: &Database,
    start_over: bool,
    mut tell: impl FnMut(Step),
) -> Result<Moved, MoveError> {
    if from == to || [from, to].contains(&&Database::Memory) {
        return Err(MoveError::NotTwo);
    }
    let mut source = Alone::source(from).await?;
    if source.is_also(to).await? {
        return Err(MoveError::Same {
            from: from.to_string(),
            to: to.to_string(),
        });
    }
    check(&from.to_string(), source.note(MOVING).await?, None)?;
    let moved = source.note(MOVED).await?;
    if moved.as_ref().is_some_and(|moved| *moved != to.to_string()) {
        check(&from.to_string(), None, moved.clone())?;
    }
    let mut target = Alone::target(to).await?;
    let origin = format!("from {from}");
    let before = target.note(MOVING).await?;
    // Killed between its last two steps, a move has marked the old database already. Otherwise the
    // new one has served since, and is not emptied for what the old one still has.
    if before.as_ref() != Some(&origin) {
        check(&from.to_string(), None, moved)?;
    }
    let before = if start_over {
        target.empty().await?;
        None
    } else {
        before
    };
    let resumed = match before {
        Some(before) if before == origin => true,
        Some(before) => {
            return Err(MoveError::OtherMove {
                to: to.to_string(),
                from: before.trim_start_matches("from ").to_owned(),
            });
        }
        None if !target.is_empty().await? => return Err(MoveError::NotEmpty(to.to_string())),
        None => {
            target.put_note(MOVING, &origin).await?;
            false
        }
    };
    let [projects, oauth_clients] = copy_tables(&mut source, &mut target, &mut tell).await?;
    copy_ledger(&mut source, &mut target, &mut tell).await?;
    let usage_rows = compare(&mut source, &mut target, &mut tell).await?;
    source.is_still_alone().await?;
    // In this order, so that at no time both can serve.
    source.put_note(MOVED, &to.to_string()).await?;
    target.forget_moves().await?;
    target.close().await?;
    source.close().await?;
    Ok(Moved {
        projects,
        oauth_clients,
        usage_rows,
        resumed,
    })
}

/// Has a database serve again that was moved, as it was then: for when the new one is lost. Tells
/// to where it was moved.
///
/// # Errors
/// Nothing is changed then.
pub async fn take_back(database: &Database) -> Result<String, MoveError> {
    if *database == Database::Memory {
        return Err(MoveError::NoSource(database.to_string()));
    }
    let mut moved = Alone::source(database).await?;
    let Some(to) = moved.note(MOVED).await? else {
        return Err(MoveError::NotMoved(database.to_string()));
    };
    moved.remove_note(MOVED).await?;
    moved.close().await?;
    Ok(to)
}

/// All but the ledger, in one step: whatever an earlier move has left is replaced.
async fn copy_tables(
    source: &mut Alone,
    target: &mut Alone,
    tell: &mut impl FnMut(Step),
) -> Result<[usize; 2], MoveError> {
    let mut counts = [0; 2];
    target.begin().await?;
    for table in TABLES.iter().rev() {
        target.clear(table).await?;
    }
    for table in &TABLES {
        let rows = source.read(table, None).await?;
        match table.name {
            "projects" => counts[0] = rows.len(),
            "oauth_clients" => counts[1] = rows.len(),
            _ => {}
        }
        for (index, some) in rows.chunks(500).enumerate() {
            tell(Step::Copying(table.name, index * 500, rows.len()));
            target.write(table, some).await?;
        }
    }
    let reports = source.reports().await?;
    target.put_reports(&reports).await?;
    target.commit().await?;
    Ok(counts)
}

/// Hour by hour, from where an earlier move has got. The hours of before change no more, but for
/// the last: reports may have come to it since.
async fn copy_ledger(
    source: &mut Alone,
    target: &mut Alone,
    tell: &mut impl FnMut(Step),
) -> Result<(), MoveError> {
    let from = match target.note(MOVED_HOURS).await? {
        Some(hour) => hour.parse().unwrap_or(i64::MIN),
        None => i64::MIN,
    };
    target.clear_hours(from).await?;
    let hours = source.hours(from).await?;
    for (index, hour) in hours.iter().enumerate() {
        tell(Step::Copying(USAGE.name, index, hours.len()));
        let rows = source.read(&USAGE, Some(*hour)).await?;
        target.begin().await?;
        target.write(&USAGE, &rows).await?;
        target.put_note(MOVED_HOURS, &hour.to_string()).await?;
        target.commit().await?;
    }
    Ok(())
}

/// Compares the two, value by value; the rows of the ledger.
async fn compare(
    source: &mut Alone,
    target: &mut Alone,
    tell: &mut impl FnMut(Step),
) -> Result<usize, MoveError> {
    for table in &TABLES {
        tell(Step::Comparing(table.name));
        let rows = source.read(table, None).await?;
        if digest(&rows) != digest(&target.read(table, None).await?) {
            return Err(MoveError::Differs(table.name));
        }
    }
    tell(Step::Comparing(USAGE.name));
    let hours = source.hours(i64::MIN).await?;
    // What the source has forgotten since an earlier move began.
    if hours != target.hours(i64::MIN).await? {
        target.remove_note(MOVED_HOURS).await?;
        return Err(MoveError::Differs(USAGE.name));
    }
    let mut count = 0;
    for hour in hours {
        let rows = source.read(&USAGE, Some(hour)).await?;
        if digest(&rows) != digest(&target.read(&USAGE, Some(hour)).await?) {
            target.remove_note(MOVED_HOURS).await?;
            return Err(MoveError::Differs(USAGE.name));
        }
        count += rows.len();
    }
    if source.reports().await? != target.reports().await? {
        return Err(MoveError::Differs("counted_reports"));
    }
    Ok(count)
}

/// An empty draft, in the folder for temporary files, for its owner alone.
pub(super) fn draft() -> Result<Draft, StoreError> {
    sqlite::draft(&Database::Memory).map_err(temporary)
}

pub(super) fn temporary(source: io::Error) -> StoreError {
    StoreError::Temporary {
        path: std::env::temp_dir(),
        source,
    }
}

/// A copy of all that a PostgreSQL database holds, as of one moment, as a SQLite file.
pub(super) async fn back_up(database: &Postgres) -> Result<Draft, StoreError> {
    let draft = draft()?;
    let pool = sqlite::open_file(draft.path()).await?;
    let filled = fill(database, &pool).await;
    pool.close().await;
    filled.map_err(|error| error.of_server(database.name()))?;
    Ok(draft)
}

async fn fill(database: &Postgres, pool: &SqlitePool) -> Result<(), StoreError> {
    MIGRATIONS.run(pool).await.map_err(StoreError::Migration)?;
    let mut source = database.own().await?;
    sqlx::query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .execute(&mut source)
        .await?;
    postgres::check_known(&mut source, database.name()).await?;
    let mut connection = pool.acquire().await?;
    sqlite::begin(&mut connection).await?;
    for table in &TABLES {
        let rows = postgres::copies::read(&mut source, table, None).await?;
        sqlite::copies::write(&mut connection, table, &rows).await?;
    }
    for hour in postgres::copies::hours(&mut source, i64::MIN).await? {
        let rows = postgres::copies::read(&mut source, &USAGE, Some(hour)).await?;
        sqlite::copies::write(&mut connection, &USAGE, &rows).await?;
    }
    let reports = postgres::copies::reports(&mut source).await?;
    sqlite::copies::put_reports(&mut connection, &reports).await?;
    sqlite::end(&mut connection, Ok(())).await?;
    Ok(source.close().await?)
}

/// Replaces all that a PostgreSQL database holds with what a backup does.
pub(super) async fn restore<'s>(
    database: &'s Postgres,
    backup: &Path,
    others: Option<&Keyring>,
    own_endpoint: bool,
) -> Result<Restored<'s>, StoreError> {
    let own = database.clients().await?;
    let (everything, resealed) =
        sqlite::examine(backup, database.seals(), others, own_endpoint, &own).await?;
    let pool = sqlite::open_file(backup).await?;
    let restored = tokio::time::timeout(RESTORED, replace(database, &pool)).await;
    let restored = restored.unwrap_or(Err(StoreError::Busy));
    pool.close().await;
    restored?;
    Ok(Restored {
        everything,
        resealed,
        _connection: None,
    })
}

async fn replace(database: &Postgres, pool: &SqlitePool) -> Result<(), StoreError> {
    let mut source = pool.acquire().await?;
    let mut exclusive = database.exclusive().await?;
    let target = exclusive.connection();
    postgres::check_known(target, database.name()).await?;
    for statement in [
        // It takes as long as the ledger is large; the caller sees to an end.
        "SET LOCAL statement_timeout = 0",
        "SET LOCAL idle_in_transaction_session_timeout = 0",
        "DELETE FROM usage",
        "DELETE FROM refresh_leases",
    ] {
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut *target)
            .await?;
    }
    for table in TABLES.iter().rev() {
        postgres::copies::clear(target, table).await?;
    }
    for table in &TABLES {
        let rows = sqlite::copies::read(&mut source, table, None).await?;
        postgres::copies::write(target, table, &rows).await?;
    }
    for hour in sqlite::copies::hours(&mut source, i64::MIN).await? {
        let rows = sqlite::copies::read(&mut source, &USAGE, Some(hour)).await?;
        postgres::copies::write(target, &USAGE, &rows).await?;
    }
    let reports = sqlite::copies::reports(&mut source).await?;
    postgres::copies::put_reports(target, &reports).await?;
    exclusive.finish().await
}
