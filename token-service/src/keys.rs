//! The keys that seal what is kept: which there are, a new one in the place of the old, and
//! what is left when one is lost. And backups, which open with the keys of their time alone.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use antigravity_runtime::secret::{self, SecretFileError};
use secrecy::ExposeSecret as _;

use crate::{
    Error,
    config::{Config, Database},
    pool::{Pool, State},
    seal::{KeyError, Keyring, SealError},
    secrets::{ENCRYPTION_KEY, SecretsError},
    store::{self, Draft, StoreError, forget},
};

/// Keys that seal nothing any more are kept beside the one that does: backups of before need
/// them.
const RETIRED: &str = "encryption.key.retired";

/// Where the keys come from.
#[derive(Clone, Debug)]
pub(crate) struct KeyPlace {
    /// For people.
    pub(crate) origin: String,
    /// The file that is ours to write; `None`: the operator keeps them, or nobody does.
    pub(crate) file: Option<PathBuf>,
}

/// A key, as operators see it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KeyView {
    pub(crate) id: String,
    pub(crate) seals: bool,
    pub(crate) available: bool,
    pub(crate) values: u32,
}

/// What a rotation came to.
#[derive(Debug)]
pub(crate) struct Rotated {
    pub(crate) key_id: String,
    pub(crate) resealed: u32,
    pub(crate) retired: Vec<String>,
    pub(crate) retired_to: Option<PathBuf>,
}

/// What a restore came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RestoredCounts {
    pub(crate) projects: usize,
    pub(crate) clients: usize,
    pub(crate) replaced_projects: usize,
    pub(crate) resealed: u32,
}

/// Why the keys stay as they are, or a backup is not made or taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    #[error(
        "everything is sealed with the first key of ENCRYPTION_KEY already; put a new key before \
         it (`openssl rand -base64 32`), restart, and rotate again"
    )]
    NothingToDo,
    #[error("the key file cannot be written: {0}")]
    File(#[from] io::Error),
    #[error(transparent)]
    SecretFile(#[from] SecretFileError),
    #[error("{} {source}; restore it, or move it away", path.display())]
    Retired { path: PathBuf, source: KeyError },
    #[error("no new key can be made: {0}")]
    NoRandomness(SealError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the change broke off")]
    BrokenOff,
}

impl Pool {
    /// The keys that there are, and those that would be needed.
    pub(crate) async fn keys(&self) -> Result<Vec<KeyView>, StoreError> {
        let mut counts = self.store.sealed_values().await?;
        let keys = self.store.keys();
        let first = keys.sealing_key_id();
        let mut views: Vec<_> = keys
            .ids()
            .map(|id| KeyView {
                seals: id == first,
                available: true,
                values: counts.remove(&id).unwrap_or_default(),
                id,
            })
            .collect();
        views.extend(unavailable(counts));
        Ok(views)
    }

    /// Seals everything with a new key; or, where the operator keeps the keys, with the first
    /// of them.
    pub(crate) async fn rotate_key(self: &Arc<Self>) -> Result<Rotated, KeysError> {
        self.to_its_end(|this| async move {
            let _writes = this.writes.lock().await;
            let before = this.store.keys();
            match (&this.key_place.file, this.key_place.origin.as_str()) {
                (Some(file), _) => {
                    let keys = before.with_a_new_key().map_err(KeysError::NoRandomness)?;
                    this.rotate_file(file, keys).await
                }
                // Kept nowhere, and gone with the process.
                (None, "") => {
                    let keys = before.with_a_new_key().map_err(KeysError::NoRandomness)?;
                    let resealed = this.store.reseal(Arc::new(keys)).await?;
                    Ok(this.rotated(resealed, None))
                }
                (None, _) => {
                    let resealed = this.store.reseal(before).await?;
                    let rotated = this.rotated(resealed, None);
                    if resealed == 0 && rotated.retired.is_empty() {
                        return Err(KeysError::NothingToDo);
                    }
                    Ok(rotated)
                }
            }
        })
        .await
    }

    /// At each moment the file holds a key that opens everything in the database.
    async fn rotate_file(&self, file: &Path, keys: Keyring) -> Result<Rotated, KeysError> {
        let (first, retired) = keys.split();
        let retired_to = file.with_file_name(RETIRED);
        // Whatever can fail does so before anything has changed.
        let kept = read_retired(&retired_to)?;
        if let Some(retired) = retired {
            let all = kept.map_or_else(|| retired.and(&retired), |kept| retired.and(&kept));
            write(&retired_to, &all)?;
        }
        write(file, &keys)?;
        let resealed = self.store.reseal(Arc::new(keys)).await?;
        let rotated = self.rotated(resealed, Some(retired_to));
        write(file, &first)?;
        self.store.use_keys(Arc::new(first)).await;
        Ok(rotated)
    }

    fn rotated(&self, resealed: u32, retired_to: Option<PathBuf>) -> Rotated {
        let keys = self.store.keys();
        Rotated {
            key_id: keys.sealing_key_id(),
            resealed,
            retired: keys.ids().skip(1).collect(),
            retired_to,
        }
    }

    /// A copy of all that is kept, up to the last turn.
    pub(crate) async fn back_up(self: &Arc<Self>) -> Result<Draft, KeysError> {
        if self.store.shared().is_some() {
            self.save_places().await;
            self.keep_states().await;
            self.store_usage().await;
            // Nobody else waits for it: it ends with its caller.
            return Ok(self.store.back_up().await?);
        }
        self.to_its_end(|this| async move {
            this.save_places().await;
            this.keep_states().await;
            this.store_usage().await;
            Ok(this.store.back_up().await?)
        })
        .await
    }

    /// Replaces everything with what a backup holds, opened with these keys besides our own.
    pub(crate) async fn restore(
        self: &Arc<Self>,
        backup: Draft,
        keys: Option<Keyring>,
    ) -> Result<RestoredCounts, KeysError> {
        self.to_its_end(|this| async move {
            let _writes = this.writes.lock().await;
            let retired = match &this.key_place.file {
                Some(file) => read_retired(&file.with_file_name(RETIRED))?,
                None => None,
            };
            let keys = match (keys, retired) {
                (Some(keys), Some(retired)) => Some(keys.and(&retired)),
                (keys, retired) => keys.or(retired),
            };
            let own_endpoint = this.oauth.has_own_endpoint();
            let restored = this
                .store
                .restore(backup.path(), keys.as_ref(), own_endpoint)
                .await?;
            let mut new = State::of(restored.everything);
            let mut state = this.state();
            // A report that was counted is not to count again.
            new.seen = std::mem::take(&mut state.seen);
            new.ledger = std::mem::take(&mut state.ledger);
            new.rotation.number_after(&state.rotation);
            let before = std::mem::replace(&mut *state, new);
            Ok(RestoredCounts {
                projects: state.projects.len(),
                clients: state.clients.len(),
                replaced_projects: before.projects.len(),
                resealed: restored.resealed,
            })
        })
        .await
    }

    /// Runs a change to its end, whether or not its caller waits for it.
    async fn to_its_end<T, F>(
        self: &Arc<Self>,
        change: impl FnOnce(Arc<Self>) -> F,
    ) -> Result<T, KeysError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, KeysError>> + Send + 'static,
    {
        let done = self.tasks.spawn(change(Arc::clone(self))).await;
        self.changed.notify_one();
        self.restated.notify_one();
        done.unwrap_or(Err(KeysError::BrokenOff))
    }
}

fn unavailable(counts: BTreeMap<String, u32>) -> impl Iterator<Item = KeyView> {
    counts.into_iter().map(|(id, values)| KeyView {
        id,
        seals: false,
        available: false,
        values,
    })
}

fn write(file: &Path, keys: &Keyring) -> io::Result<()> {
    let text = format!("{}\n", keys.to_text().expose_secret());
    secret::replace(file, text.as_bytes())
}

fn read_retired(path: &Path) -> Result<Option<Keyring>, KeysError> {
    let Some(text) = secret::read(path)? else {
        return Ok(None);
    };
    let keys = Keyring::parse(text.expose_secret()).map_err(|source| KeysError::Retired {
        path: path.to_owned(),
        source,
    })?;
    Ok(Some(keys))
}

/// What was given up with a lost key.
#[derive(Clone, Copy, Debug)]
pub struct Forgotten {
    /// Projects that have to be logged in again.
    pub projects: u32,
    /// OAuth clients whose secrets have to be set again.
    pub oauth_clients: u32,
}

/// Gives up the secrets of a database whose key is lost, and keeps the rest: each project is
/// to be logged in again. The key of the configuration seals from now on, or a new one where
/// none is set and none is kept.
///
/// # Errors
/// A database that is in use, is not ours, cannot be written, or that the key opens.
pub async fn forget_secrets(config: &Config) -> Result<Forgotten, Error> {
    if let Database::Sqlite(path) = &config.database
        && !path.exists()
    {
        return Err(StoreError::File {
            path: path.clone(),
            source: io::ErrorKind::NotFound.into(),
        }
        .into());
    }
    // Before a key is made: a service that runs has its own.
    let taken = store::Forgotten::take(&config.database).await?;
    let keys = match (&config.encryption_keys, config.database.folder()) {
        (Some(keys), _) => Arc::clone(keys),
        (None, Some(folder)) => {
            let path = folder.join(ENCRYPTION_KEY);
            // Written before anything is given up.
            let file =
                secret::read_or_create(&path, secret::generate).map_err(SecretsError::File)?;
            let keys = Keyring::parse(file.secret.expose_secret())
                .map_err(|source| SecretsError::Key { path, source })?;
            Arc::new(keys)
        }
        (None, None) => {
            return Ok(Forgotten {
                projects: 0,
                oauth_clients: 0,
            });
        }
    };
    let (projects, oauth_clients) = forget(taken, &keys).await?;
    Ok(Forgotten {
        projects,
        oauth_clients,
    })
}
