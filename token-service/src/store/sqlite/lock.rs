//! One process per database file: a lock beside it that names its holder.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use super::StoreError;

/// Held until it is dropped, at the latest until the process ends.
#[derive(Debug)]
pub(crate) struct DatabaseLock {
    _file: File,
}

impl DatabaseLock {
    /// Takes the lock of `database`.
    ///
    /// # Errors
    /// When another process has it, and when the lock file cannot be used.
    pub(super) fn take(database: &Path) -> Result<Self, StoreError> {
        // Beside the file itself, whatever links lead to it.
        let file = database
            .canonicalize()
            .unwrap_or_else(|_| database.to_owned());
        let path = lock_path(&file);
        let unusable = |source| StoreError::File {
            path: path.clone(),
            source,
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let read = file.read_to_string(&mut pid);
                let known = read.is_ok() && !pid.trim().is_empty();
                return Err(StoreError::Locked {
                    path: database.to_owned(),
                    pid: if known { pid.trim() } else { "of unknown id" }.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(unusable)?;
        Ok(Self { _file: file })
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}
