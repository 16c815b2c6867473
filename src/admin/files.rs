//! Reads what commands are given as files, or as `-` on standard input. Secrets come
//! this way only: arguments show in the list of processes and in the shell's history. Writes
//! what commands make, whole or not at all.

use std::{
    fmt,
    io::{self, IsTerminal as _, Read as _, Write as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use antigravity_runtime::secret;
use secrecy::SecretString;
use tempfile::NamedTempFile;

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

/// A file that is being made beside its place (mode 0600), so that a full disk costs no older
/// one. Gone when it is not kept.
#[derive(Debug)]
pub(crate) struct Draft {
    file: NamedTempFile,
    path: PathBuf,
    replace: bool,
    bytes: u64,
}

impl Draft {
    /// Begins the file that is to be at `path`.
    ///
    /// # Errors
    /// A file that is there and is not to be replaced, and a folder that cannot be written.
    pub(crate) fn beside(path: &Path, replace: bool) -> Result<Self, Failure> {
        if path.exists() && !replace {
            return Err(Failure::Usage(format!(
                "{} is there already; give another name, or --force to replace it",
                path.display()
            )));
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let file = NamedTempFile::new_in(folder).map_err(|source| not_written(path, source))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            replace,
            bytes: 0,
        })
    }

    /// Goes on with it.
    ///
    /// # Errors
    /// As the system says.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.bytes += bytes.len() as u64;
        let written = self.file.write_all(bytes);
        written.map_err(|source| not_written(&self.path, source))
    }

    /// It is whole: puts it into its place, and tells how long it is.
    ///
    /// # Errors
    /// As the system says.
    pub(crate) fn keep(self) -> Result<u64, Failure> {
        let Self {
            file,
            path,
            replace,
            bytes,
        } = self;
        let synced = file.as_file().sync_all();
        let kept = synced.and_then(|()| {
            if replace {
                file.persist(&path)?;
            } else {
                file.persist_noclobber(&path)?;
            }
            secret::sync_folder(&path)
        });
        kept.map_err(|source| not_written(&path, source))?;
        Ok(bytes)
    }
}

fn not_written(path: &Path, source: io::Error) -> Failure {
    Failure::File {
        action: "write",
        path: path.to_owned(),
        source,
    }
}
