//! The secrets that the service makes for itself: where they are kept and how they
//! come to be.

use std::{io, path::PathBuf, sync::Arc};

use antigravity_runtime::{
    secret::{self, SecretFileError},
    variables::GATEWAY_TOKEN_FILE,
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    config::{Config, Database},
    seal::{KeyError, Keyring},
};

/// What protects the service and its database.
#[derive(Debug)]
pub struct Secrets {
    /// Bearer token of the gateways.
    pub gateway_token: SecretString,
    /// Bearer token of operators.
    pub admin_token: SecretString,
    /// The keys that seal secrets at rest.
    pub encryption_keys: Arc<Keyring>,
    /// Where [`Secrets::encryption_keys`] come from, for people.
    pub encryption_keys_origin: String,
    /// The file that they are kept in by this service; `None`: the operator keeps them, or
    /// nobody does.
    pub encryption_key_file: Option<PathBuf>,
    /// The files that this call made.
    pub created: Vec<PathBuf>,
}

/// Why the secrets cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// The key file holds something else.
    #[error("{} {source}; restore the key that the database was made with", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// There is a database, but no key to open it.
    #[error(
        "there is a database, {}, but no key for it: restore {}, or set ENCRYPTION_KEY. Should \
         the key be lost: a sealed export can be imported into a new database, and \
         `antigravity-gateway keys reset` keeps this one without its secrets, each project to \
         be logged in again",
        database.display(), key.display()
    )]
    KeyGone {
        /// The database.
        database: PathBuf,
        /// Where its key belongs.
        key: PathBuf,
    },
    /// Several share the database, so that no secret can be made beside it.
    #[error(
        "{name} has to be set with a PostgreSQL database, the same for every token-service (and \
         GATEWAY_TOKEN for every gateway): {make}"
    )]
    NotSet {
        /// The variable.
        name: &'static str,
        /// How to make one.
        make: &'static str,
    },
    /// The system has no randomness.
    #[error("cannot make a secret: {0}")]
    Randomness(io::Error),
}

/// The file of the operators' token, beside the database.
pub const ADMIN_TOKEN: &str = "admin_token";
/// The file of the key that seals secrets, beside the database.
pub const ENCRYPTION_KEY: &str = "encryption.key";

impl Secrets {
    /// The secrets of the configuration; those that are not set are read from their
    /// files beside the database, or made there. With a database in memory they are
    /// made for this process only.
    ///
    /// # Errors
    /// Files that cannot be read, written or understood, and a database whose key is
    /// not there.
    pub fn load_or_create(config: &Config) -> Result<Self, SecretsError> {
        let mut created = Vec::new();
        check_set(config)?;
        // The key first: a database that has lost it should leave no trace of a start.
        let (encryption_keys, encryption_keys_origin) = match &config.encryption_keys {
            Some(keys) => (Arc::clone(keys), "ENCRYPTION_KEY".to_owned()),
            None => encryption_keys(config, &mut created)?,
        };
        let mut token = |set: &Option<SecretString>, name: &str| match set {
            Some(token) => Ok(token.clone()),
            None => own_secret(config, name, &mut created),
        };
        Ok(Self {
            gateway_token: token(&config.gateway_token, GATEWAY_TOKEN_FILE)?,
            admin_token: token(&config.admin_token, ADMIN_TOKEN)?,
            encryption_keys,
            encryption_keys_origin,
            encryption_key_file: match &config.encryption_keys {
                Some(_) => None,
                None => Self::encryption_key_path(config),
            },
            created,
        })
    }

    /// Where the encryption key is kept when it is not set; `None` with a database in memory.
    #[must_use]
    pub fn encryption_key_path(config: &Config) -> Option<PathBuf> {
        Some(config.database.folder()?.join(ENCRYPTION_KEY))
    }

    /// Where the operators' token is kept when it is not set; `None` with a database in
    /// memory.
    #[must_use]
    pub fn admin_token_path(config: &Config) -> Option<PathBuf> {
        Some(config.database.folder()?.join(ADMIN_TOKEN))
    }
}

fn check_set(config: &Config) -> Result<(), SecretsError> {
    const TOKEN: &str = "`openssl rand -hex 32`";
    if !matches!(config.database, Database::Postgres(_)) {
        return Ok(());
    }
    for (name, is_set, make) in [
        (
            "ENCRYPTION_KEY",
            config.encryption_keys.is_some(),
            "`openssl rand -base64 32`",
        ),
        ("GATEWAY_TOKEN", config.gateway_token.is_some(), TOKEN),
        ("ADMIN_TOKEN", config.admin_token.is_some(), TOKEN),
    ] {
        if !is_set {
            return Err(SecretsError::NotSet { name, make });
        }
    }
    Ok(())
}

fn encryption_keys(
    config: &Config,
    created: &mut Vec<PathBuf>,
) -> Result<(Arc<Keyring>, String), SecretsError> {
    if let (Database::Sqlite(database), Some(folder)) = (&config.database, config.database.folder())
    {
        let key = folder.join(ENCRYPTION_KEY);
        let has_rows = std::fs::metadata(database).is_ok_and(|file| file.len() > 0);
        if has_rows && !key.exists() {
            return Err(SecretsError::KeyGone {
                database: database.clone(),
                key,
            });
        }
    }
    let text = own_secret(config, ENCRYPTION_KEY, created)?;
    let path = config
        .database
        .folder()
        .map(|folder| folder.join(ENCRYPTION_KEY))
        .unwrap_or_default();
    let keys = Keyring::parse(text.expose_secret()).map_err(|source| SecretsError::Key {
        path: path.clone(),
        source,
    })?;
    Ok((Arc::new(keys), path.display().to_string()))
}

fn own_secret(
    config: &Config,
    name: &str,
    created: &mut Vec<PathBuf>,
) -> Result<SecretString, SecretsError> {
    let Some(folder) = config.database.folder() else {
        return secret::generate().map_err(SecretsError::Randomness);
    };
    let file = secret::read_or_create(&folder.join(name), secret::generate)?;
    if file.created {
        created.push(file.path);
    }
    Ok(file.secret)
}
