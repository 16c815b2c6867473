//! Which database: `DATABASE_URL`, read.

mod certificates;

use std::{
    fmt,
    num::NonZeroU16,
    path::{Path, PathBuf},
    str::FromStr,
};

use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// Where projects and tokens are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// SQLite in memory: gone with the process.
    Memory,
    /// A PostgreSQL database, which several token-services may share.
    Postgres(Servers),
}

impl Database {
    /// The folder for the secrets that belong to the database. `None`: they have no place beside
    /// it.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => match path.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => Some(folder),
                _ => Some(Path::new(".")),
            },
            Self::Memory | Self::Postgres(_) => None,
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Memory => f.write_str("the database in memory"),
            Self::Postgres(servers) => servers.fmt(f),
        }
    }
}

/// The servers of one PostgreSQL database: those that may be its primary, and how to log in.
#[derive(Clone)]
pub struct Servers {
    /// As they were written, with the password.
    urls: Vec<String>,
    /// As people may see it.
    shown: String,
}

impl Servers {
    /// How each of them is connected to, in the order of the URL.
    pub(crate) fn options(&self) -> Vec<PgConnectOptions> {
        let options = self.urls.iter().map(|url| url.parse());
        // Each was read once before.
        options.filter_map(Result::ok).collect()
    }
}

impl PartialEq for Servers {
    fn eq(&self, other: &Self) -> bool {
        self.urls == other.urls
    }
}

impl Eq for Servers {}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Servers({})", self.shown)
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// A text that names no database that can be used. Tells nothing of the text but the names of
/// parameters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// A parameter of a PostgreSQL URL that would have no effect.
    #[error(
        "has a parameter {name:?} that is not known here; there are sslmode, sslrootcert, \
         sslcert, sslkey, host, port, dbname, user, password, application_name and options"
    )]
    Parameter {
        /// Its name.
        name: String,
    },
    /// A PostgreSQL URL that cannot be read.
    #[error(
        "is not a PostgreSQL URL such as postgres://USER:PASSWORD@HOST:5432/DATABASE; characters \
         like @ and / in a password are written as %40 and %2F"
    )]
    Postgres,
    /// Such as the line break between two URLs.
    #[error("has a line break or another control character in it; it is one URL")]
    ControlCharacter,
    /// A `#`, which ends what is read of a URL.
    #[error("has a # in it; in a password it is written as %23")]
    NumberSign,
    /// A port that is no number, or too large.
    #[error("names a port that is none; it is a number from 1 to 65535")]
    Port,
    /// A parameter with a value that is none of its own.
    #[error("has a parameter {name} with a value that is none of its own: it is {expected}")]
    Value {
        /// Its name.
        name: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A file that a parameter names, and that cannot be used.
    #[error("names in {name} the file {}, which {problem}", path.display())]
    File {
        /// The parameter.
        name: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate of our own without its key, or the other way round.
    #[error("has {present} without {missing}: a certificate and its key go together")]
    Unpaired {
        /// The parameter that is there.
        present: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// Anything else.
    #[error(
        "is not a database URL such as sqlite://data/tokens.db or \
         postgres://USER:PASSWORD@HOST:5432/DATABASE"
    )]
    Malformed,
}

impl FromStr for Database {
    type Err = DatabaseError;

    fn from_str(text: &str) -> Result<Self, DatabaseError> {
        // Two of them, as two lines of a file, are no path: the second may have a password.
        if text.contains(char::is_control) {
            return Err(DatabaseError::ControlCharacter);
        }
        for scheme in ["postgres://", "postgresql://"] {
            if let Some(rest) = text.strip_prefix(scheme) {
                return servers(rest).map(Self::Postgres);
            }
        }
        let rest = text
            .strip_prefix("sqlite:")
            .ok_or(DatabaseError::Malformed)?;
        let path = rest.strip_prefix("//").unwrap_or(rest);
        let path = path.strip_suffix("?mode=rwc").unwrap_or(path);
        match path {
            ":memory:" => Ok(Self::Memory),
            "" => Err(DatabaseError::Malformed),
            path if path.contains('?') || path.ends_with('/') => Err(DatabaseError::Malformed),
            path => Ok(Self::Sqlite(path.into())),
        }
    }
}

/// Reads `USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE?PARAMETERS`, as libpq does.
fn servers(rest: &str) -> Result<Servers, DatabaseError> {
    const KNOWN: [&str; 15] = [
        "sslmode",
        "ssl-mode",
        "sslrootcert",
        "ssl-root-cert",
        "sslcert",
        "ssl-cert",
        "sslkey",
        "ssl-key",
        "host",
        "port",
        "dbname",
        "user",
        "password",
        "application_name",
        "options",
    ];
    // The rest would be taken for a fragment, and part of the password for the host, and shown.
    if rest.contains('#') {
        return Err(DatabaseError::NumberSign);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    // Of a password that was not encoded the rest would be taken for the database, and shown.
    if tail.contains('@') {
        return Err(DatabaseError::Postgres);
    }
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (format!("{login}@"), hosts),
        None => (String::new(), authority),
    };
    let mut urls = Vec::new();
    let mut shown = Vec::new();
    for host in hosts.split(',') {
        let url = format!("postgres://{login}{host}{tail}");
        let read: url::Url = url.parse().map_err(|error| match error {
            url::ParseError::InvalidPort => DatabaseError::Port,
            _ => DatabaseError::Postgres,
        })?;
        if read.port() == Some(0) {
            return Err(DatabaseError::Port);
        }
        for (name, value) in read.query_pairs() {
            if !KNOWN.contains(&&*name) {
                return Err(DatabaseError::Parameter {
                    name: name.into_owned(),
                });
            }
            check_value(&name, &value)?;
        }
        let options: PgConnectOptions = url.parse().map_err(|_| DatabaseError::Postgres)?;
        if urls.is_empty() {
            certificates::check(&read)?;
            let database = options.get_database().unwrap_or(options.get_username());
            shown.push(database.to_owned());
        }
        shown.push(match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        });
        urls.push(url);
    }
    let database = shown.remove(0);
    Ok(Servers {
        urls,
        shown: format!("postgres://{}/{database}", shown.join(",")),
    })
}

/// Of the parameters that have only some values.
fn check_value(name: &str, value: &str) -> Result<(), DatabaseError> {
    let (is_one, expected) = match name {
        "sslmode" | "ssl-mode" => (
            value.parse::<PgSslMode>().is_ok(),
            "disable, allow, prefer, require, verify-ca or verify-full",
        ),
        "port" => (
            value.parse::<NonZeroU16>().is_ok(),
            "a number from 1 to 65535",
        ),
        _ => return Ok(()),
    };
    if is_one {
        return Ok(());
    }
    Err(DatabaseError::Value {
        name: name.to_owned(),
        expected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases() {
        for (text, expected) in [
            ("sqlite://data/tokens.db", "data/tokens.db"),
            ("sqlite:///srv/t.db", "/srv/t.db"),
            ("sqlite:t.db?mode=rwc", "t.db"),
        ] {
            assert_eq!(text.parse(), Ok(Database::Sqlite(expected.into())));
        }
        assert_eq!("sqlite::memory:".parse(), Ok(Database::Memory));
        let bare = Database::Sqlite("a.db".into());
        assert_eq!(bare.folder(), Some(Path::new(".")));
        for wrong in [
            "",
            "data/tokens.db",
            "sqlite://",
            "sqlite://data/",
            "mysql://a/b",
        ] {
            assert_eq!(
                wrong.parse::<Database>(),
                Err(DatabaseError::Malformed),
                "{wrong}"
            );
        }
    }

    #[test]
    fn two_lines_are_no_path_and_are_not_shown() {
        let error = "sqlite://back.db\npostgres://ann:s3cret@db/x".parse::<Database>();
        let told = error.unwrap_err().to_string();
        assert!(
            told.contains("line break") && !told.contains("s3cret"),
            "{told}"
        );
    }

    #[test]
    fn postgres_urls_name_every_server_and_show_no_password() {
        let url = "postgresql://ann:s%40cret@db1:6432,db2/tokens?sslmode=require";
        let database: Database = url.parse().unwrap();
        assert_eq!(database.to_string(), "postgres://db1:6432,db2:5432/tokens");
        assert!(!format!("{database:?}").contains("cret"));
        let Database::Postgres(servers) = database else {
            panic!("not PostgreSQL");
        };
        let options = servers.options();
        let hosts: Vec<_> = options
            .iter()
            .map(|it| (it.get_host(), it.get_port()))
            .collect();
        assert_eq!(hosts, [("db1", 6432), ("db2", 5432)]);
        assert_eq!(options[1].get_username(), "ann");
        let socket: Database = "postgres:///tokens?host=/run/postgresql&user=ann"
            .parse()
            .unwrap();
        assert_eq!(socket.to_string(), "postgres:///run/postgresql/tokens");
    }

    #[test]
    fn postgres_urls_that_are_none_say_why_without_the_password() {
        let unknown = "postgres://ann:secret@db/tokens?sslmod=require".parse::<Database>();
        let error = unknown.unwrap_err().to_string();
        assert!(
            error.contains("\"sslmod\"") && !error.contains("secret"),
            "{error}"
        );
        for wrong in [
            "postgres://ann:12/secret@db/tokens",
            "postgres://ann:12?secret@db/tokens",
        ] {
            let error = wrong.parse::<Database>().unwrap_err();
            assert_eq!(error, DatabaseError::Postgres, "{wrong}");
        }
        for (wrong, part) in [
            ("postgres://ann:secret@db:port/tokens", "port"),
            ("postgres://ann:secret@db,db2:99999/tokens", "port"),
            ("postgres://ann:secret@db:0/tokens", "port"),
            ("postgres://ann:secret@db/tokens?port=99999", "port"),
            (
                "postgres://ann:secret@db/tokens?sslmode=perhaps",
                "sslmode with",
            ),
            // All of them would be looked up as hosts: what stands before the sign.
            ("postgres://ann:sec#ret@db/tokens", "%23"),
            ("postgres://ann:#secret@db/tokens", "%23"),
            ("postgres://db/tokens?password=sec#ret", "%23"),
        ] {
            let error = wrong.parse::<Database>().unwrap_err().to_string();
            assert!(error.contains(part), "{wrong}: {error}");
            assert!(!error.contains("sec"), "{error}");
        }
    }
}
