//! Reads what commands are given as files, or as `-` on standard input. Secrets come
//! this way only: arguments show in the list of processes and in the shell's history.

use std::{
    fmt,
    io::{self, IsTerminal as _, Read as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use secrecy::SecretString;

use crate::failure::Failure;

/// Longer than any secret we know.
const MAX_SECRET: u64 = 64 << 10;

/// A file, or standard input.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Stdin,
    File(PathBuf),
}

impl FromStr for Source {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "-" => Self::Stdin,
            path => Self::File(path.into()),
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl Source {
    /// What it holds.
    ///
    /// # Errors
    /// When it cannot be read, or holds more than `limit` bytes.
    pub(crate) fn read(&self, limit: u64) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let read = match self {
            Self::Stdin => io::stdin().lock().take(limit + 1).read_to_end(&mut bytes),
            Self::File(path) => std::fs::File::open(path)
                .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)),
        };
        read.map_err(|source| self.failure("read", source))?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
            let size = limit >> 10;
            let problem = format!("it holds more than {size} KiB");
            return Err(self.failure("read", io::Error::other(problem)));
        }
        Ok(bytes)
    }

    /// The secret that it holds; `what` names it for people.
    ///
    /// # Errors
    /// As [`Source::read`], and when it holds none.
    pub(crate) fn read_secret(&self, what: &str) -> Result<SecretString, Failure> {
        if matches!(self, Self::Stdin) && io::stdin().is_terminal() {
            eprintln!("{what} (it shows as it is typed; end with Enter and Ctrl-D):");
        }
        let bytes = self.read(MAX_SECRET)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| self.failure("use", io::Error::other("it is not UTF-8 text")))?;
        match text.trim() {
            "" => Err(self.failure("use", io::Error::other(format!("it holds no {what}")))),
            secret => Ok(secret.into()),
        }
    }

    fn failure(&self, action: &'static str, source: io::Error) -> Failure {
        let path = match self {
            Self::Stdin => Path::new("standard input"),
            Self::File(path) => path,
        };
        Failure::File {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
