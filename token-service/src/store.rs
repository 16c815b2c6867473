//! The database: the one place with SQL. Holds secrets sealed; what it returns is opened.
//!
//! SQLite is one token-service's own; what it writes, nobody else has changed. PostgreSQL is
//! shared: others refresh and change projects too, so that a refresh is under a lease, a change of
//! operators under a lock, and what others changed is read again.

mod facade;
mod moving;
mod postgres;
mod sealed;
mod seals;
mod sqlite;
mod tables;
mod usage;

use std::{borrow::Cow, path::PathBuf, time::Duration};

use jiff::Timestamp;
use secrecy::SecretString;
use sqlx::postgres::PgDatabaseError;

pub use self::moving::{MoveError, Moved, Step, migrate, take_back};
pub(crate) use self::{
    facade::{Exclusive, Forgotten, Restated, Store, forget},
    postgres::{Delta, HEARTBEAT, Lease, News, Taken},
    sqlite::Draft,
    usage::{By, MAX_ROWS as MAX_USAGE_ROWS, Query as UsageQuery, Span, UsageRow},
};
use crate::{
    credential::Credential,
    oauth::Credentials,
    project::{Project, ProjectId},
    seal::SealError,
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
    /// The folder for temporary files cannot be used.
    #[error(
        "cannot make a file in {}, where copies of the database are made: {source}; TMPDIR names \
         another folder",
        path.display()
    )]
    Temporary {
        /// The folder.
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
         that version, or restore a backup from before into a new database",
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
    /// A PostgreSQL server cannot be reached, or does not answer.
    #[error("PostgreSQL at {server} cannot be used at present: {problem}")]
    Away {
        /// Which.
        server: String,
        /// Why.
        problem: String,
    },
    /// A PostgreSQL server takes no writes.
    #[error(
        "PostgreSQL at {server} is a standby, which takes no writes: name the primary in \
         DATABASE_URL, or all that may become it (postgres://USER@HOST1,HOST2/DATABASE)"
    )]
    ReadOnly {
        /// Which.
        server: String,
    },
    /// A PostgreSQL server that could take writes, and is told not to.
    #[error(
        "PostgreSQL at {server} is the primary, and is set to take no writes: see \
         default_transaction_read_only of the server, the database and the role"
    )]
    Unwritable {
        /// Which.
        server: String,
    },
    /// A PostgreSQL server lets nobody in who comes as the URL says.
    #[error(
        "PostgreSQL at {server} refuses the connection: {problem}; check the user, the password \
         and the database that the URL names"
    )]
    LogIn {
        /// Which.
        server: String,
        /// What it says.
        problem: String,
    },
    /// Others keep PostgreSQL busy.
    #[error("the database is busy; try again")]
    Busy,
    /// The same, as PostgreSQL says it: of a lock or a statement that took too long.
    #[error("the database is busy ({0}); try again")]
    Waited(String),
    /// Another server has taken the place of the primary, without what that had last.
    #[error("the database lacks what was changed here last; that is stored again first")]
    Lacking,
    /// A PostgreSQL server of a version that is too old.
    #[error("PostgreSQL {version} is too old; version 13 or later is needed")]
    OldServer {
        /// Its major version.
        version: i32,
    },
    /// The database is on its way to another place.
    #[error(
        "the database {database} is being moved ({to}); finish that first: `antigravity-gateway \
         migrate` with the same addresses goes on where it broke off"
    )]
    Moving {
        /// Which.
        database: String,
        /// From where, or to where.
        to: String,
    },
    /// The database is of before a move.
    #[error(
        "the pool of {database} has been moved to {to}: set DATABASE_URL to that. What is here is \
         of before, and Google may have rotated its refresh tokens since. `antigravity-gateway \
         migrate --from env:NEW --to env:OLD --start-over`, with the URLs of both in those variables, \
         moves back what is there; if that is lost, `antigravity-gateway migrate --take-back` has this \
         one serve again as it was"
    )]
    Moved {
        /// Which.
        database: String,
        /// To where.
        to: String,
    },
    /// A token-service uses the database.
    #[error(
        "the token-service {instance} on {host} uses the database (it was seen {seconds} s ago); \
         stop it first, or wait until {limit} s have passed if it was killed"
    )]
    InUse {
        /// What it calls itself.
        instance: String,
        /// Where it runs.
        host: String,
        /// When it was last seen.
        seconds: i64,
        /// After so many it is taken for gone.
        limit: i64,
    },
    /// Another token-service seals with another key.
    #[error(
        "the token-service {instance} on {host} does not seal with the encryption key {key_id}: \
         give it to all behind the present one, then to all before it, and rotate again"
    )]
    KeyNotEverywhere {
        /// What it calls itself.
        instance: String,
        /// Where it runs.
        host: String,
        /// The key.
        key_id: String,
    },
    /// Anything else that the database says.
    #[error("the database says: {}", said(.0))]
    Database(sqlx::Error),
}

/// Without the line of PostgreSQL's source, which is not one of anything here.
fn said(error: &sqlx::Error) -> Cow<'_, str> {
    match error.as_database_error() {
        Some(said) => Cow::Borrowed(said.message()),
        None => Cow::Owned(error.to_string()),
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let away = |problem: String| Self::Away {
            server: String::new(),
            problem,
        };
        match &error {
            sqlx::Error::Io(source) => away(source.to_string()),
            sqlx::Error::Tls(source) => away(format!("TLS: {source}")),
            sqlx::Error::Protocol(problem) => away(problem.clone()),
            sqlx::Error::PoolTimedOut => away("it takes no connection in time".to_owned()),
            sqlx::Error::PoolClosed => away("the connection was lost".to_owned()),
            sqlx::Error::Database(said) => match said.try_downcast_ref::<PgDatabaseError>() {
                Some(said) => match said.code() {
                    // Read-only transactions: it was the primary.
                    "25006" => Self::ReadOnly {
                        server: String::new(),
                    },
                    // Statements and locks that took too long, deadlocks, serialization.
                    "57014" | "55P03" | "40P01" | "40001" => {
                        Self::Waited(said.message().to_owned())
                    }
                    // It stops, starts, has no room, or has ended an idle transaction.
                    code if code.starts_with("57P")
                        || code.starts_with("08")
                        || code == "53300"
                        || code == "25P03" =>
                    {
                        away(said.message().to_owned())
                    }
                    _ => Self::Database(error),
                },
                None => Self::Database(error),
            },
            _ => Self::Database(error),
        }
    }
}

impl StoreError {
    /// Whether there is no room on the disk.
    pub(crate) fn is_full(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else {
            return false;
        };
        // SQLite's code, and PostgreSQL's.
        matches!(error.code().as_deref(), Some("13" | "53100"))
    }

    /// Whether it goes by, without anybody changing anything here.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Away { .. }
                | Self::ReadOnly { .. }
                | Self::Unwritable { .. }
                | Self::Busy
                | Self::Lacking
                | Self::Waited(_)
        )
    }

    /// The same for whoever asks next, of what goes by.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::ReadOnly { server } => Self::ReadOnly {
                server: server.clone(),
            },
            Self::Unwritable { server } => Self::Unwritable {
                server: server.clone(),
            },
            Self::Away { server, problem } => Self::Away {
                server: server.clone(),
                problem: problem.clone(),
            },
            other => Self::Away {
                server: String::new(),
                problem: other.to_string(),
            },
        }
    }

    /// The same, of a connection that was asked for.
    pub(crate) fn of_log_in(self) -> Self {
        match self {
            Self::Database(error) if error.as_database_error().is_some() => Self::LogIn {
                server: String::new(),
                problem: said(&error).into_owned(),
            },
            other => other,
        }
    }

    /// Names the server that it is about.
    pub(crate) fn of_server(mut self, name: &str) -> Self {
        if let Self::Away { server, .. } | Self::ReadOnly { server } | Self::LogIn { server, .. } =
            &mut self
            && server.is_empty()
        {
            name.clone_into(server);
        }
        self
    }
}

/// A text as both databases take it: PostgreSQL has no NUL in texts.
pub(crate) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The versions of migrations, and the beginnings of their checksums.
#[cfg(test)]
fn checksums(migrator: &sqlx::migrate::Migrator) -> Vec<(i64, String)> {
    use std::fmt::Write as _;
    let hex = |migration: &sqlx::migrate::Migration| {
        migration
            .checksum
            .iter()
            .take(16)
            .fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            })
    };
    migrator.iter().map(|it| (it.version, hex(it))).collect()
}
