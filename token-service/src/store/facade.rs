//! The store as the pool sees it, whichever database it is.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;
use secrecy::SecretString;

use super::{
    Change, ClientImportRecord, Everything, ImportRecord, StoreError, StoredToken, UsageQuery,
    UsageRow, moving,
    postgres::{self, Lease, Postgres, Taken},
    sqlite::{self, Draft, Restored, Sqlite},
};
use crate::{
    config::{Config, Database},
    ledger::Entries,
    project::{Project, ProjectId},
    seal::Keyring,
};

/// The open database.
#[derive(Debug)]
pub(crate) enum Store {
    /// This process's own.
    Sqlite(Box<Sqlite>),
    /// Shared with other replicas.
    Postgres(Box<Postgres>),
}

/// A change of what operators see, which no other replica makes at the same time.
#[derive(Debug)]
pub(crate) struct Exclusive(Option<postgres::Exclusive>);

/// What of a project's state is to be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Restated {
    /// Its status.
    pub(crate) status: bool,
    /// That none of its cooldowns of before holds.
    pub(crate) cleared: bool,
}

impl Store {
    /// Opens the configured database with `keys`, which come from `origin`.
    ///
    /// # Errors
    /// It cannot be used; nothing is changed then.
    pub(crate) async fn open(
        config: &Config,
        keys: Arc<Keyring>,
        origin: &str,
        instance: &str,
    ) -> Result<Self, StoreError> {
        match &config.database {
            Database::Postgres(servers) => {
                let connections = config.database_connections;
                let database = Postgres::open(servers, connections, keys, origin, instance).await?;
                Ok(Self::Postgres(Box::new(database)))
            }
            database => {
                let database = Sqlite::open(database, keys, origin).await?;
                Ok(Self::Sqlite(Box::new(database)))
            }
        }
    }

    /// The database, if other replicas share it.
    pub(crate) fn shared(&self) -> Option<&Postgres> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(database) => Some(database),
        }
    }

    /// Reads and opens all that is kept.
    pub(crate) async fn load(&self) -> Result<Everything, StoreError> {
        match self {
            Self::Sqlite(database) => database.load().await,
            Self::Postgres(database) => database.load().await,
        }
    }

    /// What was taken over from tokens files, as far as others may have changed it.
    pub(crate) async fn others_imports(
        &self,
    ) -> Result<Option<(Vec<ImportRecord>, Vec<ClientImportRecord>)>, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(database) => database.imports().await.map(Some),
        }
    }

    /// Begins a change of what operators see.
    pub(crate) async fn exclusive(&self) -> Result<Exclusive, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(Exclusive(None)),
            Self::Postgres(database) => database.exclusive().await.map(Some).map(Exclusive),
        }
    }

    /// Makes all of `changes`, or none, and tells after each change how many are written; they
    /// are made once it returns.
    pub(crate) async fn commit(
        &self,
        exclusive: Exclusive,
        changes: &[Change],
        written: &(dyn Fn(usize) + Sync),
    ) -> Result<(), StoreError> {
        match (self, exclusive) {
            (Self::Postgres(database), Exclusive(Some(exclusive))) => {
                database.commit(exclusive, changes, written).await
            }
            (Self::Postgres(database), Exclusive(None)) => {
                let exclusive = database.exclusive().await?;
                database.commit(exclusive, changes, written).await
            }
            (Self::Sqlite(database), _) => database.commit_telling(changes, written).await,
        }
    }

    /// The right to refresh a project's token.
    pub(crate) async fn take_lease(
        &self,
        project: &ProjectId,
        generation: i64,
    ) -> Result<Taken, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(Taken::Mine(Lease::sole(), None)),
            Self::Postgres(database) => database.take_lease(project, generation).await,
        }
    }

    /// Lets others refresh the project, as this replica did not; `false` when another holder has
    /// taken the lease since.
    ///
    /// # Errors
    /// The lease is left to end by itself.
    pub(crate) async fn end_lease(
        &self,
        project: &ProjectId,
        lease: &Lease,
    ) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(true),
            Self::Postgres(database) => database.end_lease(project, lease).await,
        }
    }

    /// Keeps what a refresh brought; `false` when the project's credential was set anew since, it
    /// was removed, or another replica has taken the lease: then nothing is changed.
    pub(crate) async fn commit_refresh(
        &self,
        project: &ProjectId,
        generation: i64,
        lease: &Lease,
        token: &StoredToken,
        refresh_token: Option<&SecretString>,
    ) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite(database) => {
                database
                    .commit_refresh(project, generation, token, refresh_token)
                    .await
            }
            Self::Postgres(database) => {
                database
                    .commit_refresh(project, generation, lease, token, refresh_token)
                    .await
            }
        }
    }

    /// Keeps a project's status and cooldowns. Nothing when there is no such project.
    pub(crate) async fn commit_state(
        &self,
        project: &Project,
        generation: i64,
        restated: Restated,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(database) => database.commit_state(project).await,
            Self::Postgres(database) => {
                database
                    .commit_state(project, generation, restated, now)
                    .await
            }
        }
    }

    /// Keeps the numbers of projects' last turns.
    pub(crate) async fn commit_places(
        &self,
        places: &[(ProjectId, u64)],
    ) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(database) => database.commit_places(places).await,
            Self::Postgres(database) => database.commit_places(places).await,
        }
    }

    /// Adds entries to the ledger, all or none.
    pub(crate) async fn commit_usage(
        &self,
        entries: &Entries,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(database) => database.commit_usage(entries, now).await,
            Self::Postgres(database) => database.commit_usage(entries, now).await,
        }
    }

    /// Forgets what is older than is kept.
    pub(crate) async fn prune_usage(
        &self,
        retention: Duration,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(database) => database.prune_usage(retention, now).await,
            Self::Postgres(database) => database.prune_usage(retention, now).await,
        }
    }

    /// The reports that were counted of late, the oldest first.
    pub(crate) async fn counted_reports(&self) -> Result<Vec<u128>, StoreError> {
        match self {
            Self::Sqlite(database) => database.counted_reports().await,
            Self::Postgres(database) => database.counted_reports().await,
        }
    }

    /// Sums, as asked; one row more than `MAX_USAGE_ROWS` when there are more.
    pub(crate) async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        match self {
            Self::Sqlite(database) => database.usage(query).await,
            Self::Postgres(database) => database.usage(query).await,
        }
    }

    /// How far back the ledger goes.
    pub(crate) async fn oldest_usage(&self) -> Result<Option<Timestamp>, StoreError> {
        match self {
            Self::Sqlite(database) => database.oldest_usage().await,
            Self::Postgres(database) => database.oldest_usage().await,
        }
    }

    /// The keys that secrets are sealed and opened with.
    pub(crate) fn keys(&self) -> Arc<Keyring> {
        match self {
            Self::Sqlite(database) => database.keys(),
            Self::Postgres(database) => database.keys(),
        }
    }

    /// How many values each key has sealed, by its id.
    pub(crate) async fn sealed_values(&self) -> Result<BTreeMap<String, u32>, StoreError> {
        match self {
            Self::Sqlite(database) => database.sealed_values().await,
            Self::Postgres(database) => database.sealed_values().await,
        }
    }

    /// Seals everything with the first of these keys, which open everything; from now on they
    /// are the store's. Tells how many values were sealed anew.
    pub(crate) async fn reseal(&self, keys: Arc<Keyring>) -> Result<u32, StoreError> {
        match self {
            Self::Sqlite(database) => database.reseal(keys).await,
            Self::Postgres(database) => {
                let exclusive = database.exclusive().await?;
                database.reseal(exclusive, keys).await
            }
        }
    }

    /// From now on these keys are the store's; what is kept is sealed with the first of them.
    pub(crate) async fn use_keys(&self, keys: Arc<Keyring>) {
        match self {
            Self::Sqlite(database) => database.use_keys(keys).await,
            Self::Postgres(database) => database.use_keys(keys),
        }
    }

    /// An empty draft, beside the database if that is a file.
    pub(crate) fn draft(&self) -> Result<Draft, StoreError> {
        match self {
            Self::Sqlite(database) => database.draft(),
            Self::Postgres(_) => moving::draft(),
        }
    }

    /// A copy of all that is kept, as of one moment: a SQLite file, of whichever database.
    pub(crate) async fn back_up(&self) -> Result<Draft, StoreError> {
        match self {
            Self::Sqlite(database) => database.back_up().await,
            Self::Postgres(database) => {
                // Each has a connection of its own, beside those that are granted.
                let _one = database.one_backup().await;
                moving::back_up(database).await
            }
        }
    }

    /// Replaces all that is kept with what a backup holds. Its secrets are opened with the
    /// store's keys and `others`, and sealed with the store's first. With an `own_endpoint` all
    /// clients refresh there, whatever the backup says.
    ///
    /// # Errors
    /// Nothing is changed then.
    pub(crate) async fn restore(
        &self,
        backup: &Path,
        others: Option<&Keyring>,
        own_endpoint: bool,
    ) -> Result<Restored<'_>, StoreError> {
        match self {
            Self::Sqlite(database) => database.restore(backup, others, own_endpoint).await,
            Self::Postgres(database) => {
                moving::restore(database, backup, others, own_endpoint).await
            }
        }
    }

    /// Closes the database.
    pub(crate) async fn close(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(database) => database.close().await,
            Self::Postgres(database) => {
                database.close().await;
                Ok(())
            }
        }
    }
}

/// A database that is to lose its secrets, which nobody else uses.
#[derive(Debug)]
pub(crate) enum Forgotten {
    Sqlite(sqlite::Locked),
    Postgres(crate::config::Servers),
}

impl Forgotten {
    /// Takes the database.
    pub(crate) async fn take(database: &Database) -> Result<Self, StoreError> {
        match database {
            Database::Postgres(servers) => Ok(Self::Postgres(servers.clone())),
            database => sqlite::connect(database).await.map(Self::Sqlite),
        }
    }
}

/// Gives the secrets of a database up, and keeps the rest. The numbers of projects and of OAuth
/// clients.
pub(crate) async fn forget(
    taken: Forgotten,
    keys: &Arc<Keyring>,
) -> Result<(u32, u32), StoreError> {
    match taken {
        Forgotten::Sqlite(locked) => sqlite::forget(locked, keys).await,
        Forgotten::Postgres(servers) => postgres::forget(&servers, Arc::clone(keys)).await,
    }
}
