//! Secrets: made, compared, named and kept in files, never told.

use std::{
    fmt::{self, Write as _},
    fs::OpenOptions,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The first 16 hex digits of the SHA-256: names a secret in reports and logs.
#[must_use]
pub fn fingerprint(secret: &str) -> String {
    hex_digest(secret, 8)
}

/// The first `bytes` bytes of the SHA-256 in hex.
#[must_use]
pub fn hex_digest(secret: &str, bytes: usize) -> String {
    let digest = Sha256::digest(secret.as_bytes());
    digest
        .iter()
        .take(bytes)
        .fold(String::new(), |mut hex, byte| {
            // Writing to a String does not fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// The SHA-256 of a secret: what is kept of one that is only compared. Of one length, so that
/// comparing does not tell the secret's.
#[derive(Clone)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `secret`.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Whether both are of one secret, in a time that does not tell where they differ.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

/// Whether two secrets are the same, in a time that does not tell where they differ.
#[must_use]
pub fn equal(a: &str, b: &str) -> bool {
    Digest::of(a).is(&Digest::of(b))
}

/// 32 random bytes as 43 characters that are safe in headers, URLs and shells.
///
/// # Errors
/// When the system has no randomness.
pub fn generate() -> io::Result<SecretString> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes).into())
}

/// A secret in a file of its own.
#[derive(Debug)]
pub struct SecretFile {
    /// The secret.
    pub secret: SecretString,
    /// Where it is kept.
    pub path: PathBuf,
    /// Whether this call made it.
    pub created: bool,
}

/// Why a secret file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The file cannot be read or written.
    #[error("cannot use the secret file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is there and holds nothing.
    #[error(
        "the secret file {} is empty; restore it, or delete it to have a new secret made if \
         nothing depends on the old one",
        path.display()
    )]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the secret that `path` keeps; when there is none, makes it with `make`
/// in a file that only its owner can read (mode 0600), folders included (0700).
///
/// # Errors
/// A file that cannot be read or written, and one that is empty.
pub fn read_or_create(
    path: &Path,
    make: impl FnOnce() -> io::Result<SecretString>,
) -> Result<SecretFile, SecretFileError> {
    let io_error = |source| SecretFileError::Io {
        path: path.to_owned(),
        source,
    };
    if let Some(secret) = read(path)? {
        return Ok(SecretFile {
            secret,
            path: path.to_owned(),
            created: false,
        });
    }
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        create_folder(folder).map_err(io_error)?;
    }
    let secret = make().map_err(io_error)?;
    // Written whole beside its place and linked there, so that of two processes that
    // start at once one wins and neither reads half a secret.
    let draft = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = private_file(&draft).map_err(io_error)?;
    let written = file
        .write_all(format!("{}\n", secret.expose_secret()).as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| match std::fs::hard_link(&draft, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
            Ok(()) => Ok(true),
        });
    let removed = std::fs::remove_file(&draft);
    let created = written.map_err(io_error)?;
    removed.map_err(io_error)?;
    if created {
        return Ok(SecretFile {
            secret,
            path: path.to_owned(),
            created,
        });
    }
    let secret = read(path)?.ok_or_else(|| io_error(io::ErrorKind::NotFound.into()))?;
    Ok(SecretFile {
        secret,
        path: path.to_owned(),
        created: false,
    })
}

/// Ends, with the process's number, the name of a file that [`replace`] is about to put into
/// its place.
const DRAFT: &str = "draft-";

/// Whether a name is that of a file that [`replace`] did not put into its place: its process was
/// killed.
#[must_use]
pub fn is_draft(name: &str) -> bool {
    let extension = name.rsplit('.').next().unwrap_or_default();
    let number = extension.strip_prefix(DRAFT);
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

/// Makes `path` hold exactly `bytes`, readable by its owner alone (mode 0600). A reader
/// sees the old file or the new one, never a part.
///
/// # Errors
/// As the system says.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension(format!("{DRAFT}{}", std::process::id()));
    // One that was left by a process of the same number may be readable by others.
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private_file(&draft)?;
    let replaced = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&draft, path))
        .and_then(|()| sync_folder(path));
    if replaced.is_err() {
        // The failure to write is what is told.
        let _ = std::fs::remove_file(&draft);
    }
    replaced
}

/// Has the name of a new file outlive a loss of power, as its content does.
///
/// # Errors
/// As the system says.
pub fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Elsewhere folders cannot be opened, and need not be.
    if cfg!(unix) {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// The secret that `path` keeps; `None` when there is no such file.
///
/// # Errors
/// A file that cannot be read, and one that is empty.
pub fn read(path: &Path) -> Result<Option<SecretString>, SecretFileError> {
    let mut text = String::new();
    match std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)) {
        Ok(_) if text.trim().is_empty() => Err(SecretFileError::Empty {
            path: path.to_owned(),
        }),
        Ok(_) => Ok(Some(text.trim().into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SecretFileError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Makes a folder and those above it; new ones can be entered by their owner alone.
///
/// # Errors
/// As the system says.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn private_file(path: &Path) -> io::Result<std::fs::File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/api_key");
        let first = read_or_create(&path, generate).expect("made");
        let second = read_or_create(&path, generate).expect("read");
        assert!(first.created && !second.created);
        assert!(equal(
            first.secret.expose_secret(),
            second.secret.expose_secret()
        ));
        assert_eq!(first.secret.expose_secret().len(), 43);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&path)
                .expect("there")
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert!(!format!("{first:?}").contains(first.secret.expose_secret()));
    }

    #[test]
    fn a_file_is_replaced_whole_and_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens.json");
        std::fs::write(&path, "old and open").expect("written");
        replace(&path, b"new").expect("replaced");
        assert_eq!(std::fs::read(&path).expect("read"), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).expect("read").count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&path)
                .expect("there")
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert!(replace(folder.path(), b"x").is_err(), "a folder stays");
        assert!(replace(&folder.path().join("no/such"), b"x").is_err());
    }

    #[test]
    fn an_empty_file_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(&path, "\n").expect("written");
        assert!(matches!(
            read_or_create(&path, generate),
            Err(SecretFileError::Empty { .. })
        ));
    }

    #[test]
    fn names_and_compares() {
        assert_eq!(fingerprint("abc"), "ba7816bf8f01cfea");
        assert!(equal("a", "a") && !equal("a", "b") && !equal("a", "aa"));
    }
}
