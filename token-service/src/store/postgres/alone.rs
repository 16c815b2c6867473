//! Opening a database for what nobody else may be at: a move, and giving its secrets up. No key
//! needs to open it.

use std::sync::Arc;

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{
    Known, Postgres, Servers,
    open::{MIGRATIONS, check_known, check_ours, check_version, meta, migration, nobody_else},
    servers::Purpose,
};
use crate::{
    config,
    seal::Keyring,
    store::{StoreError, moving::MOVING, sealed::KEY_CHECK},
};

impl Postgres {
    /// Opens the database of `servers`, and brings it up to date.
    ///
    /// # Errors
    /// As of [`Postgres::open`], and a database that a newer version has changed, or that somebody
    /// uses.
    pub(in crate::store) async fn open_alone(
        servers: &config::Servers,
        keys: Arc<Keyring>,
    ) -> Result<Self, StoreError> {
        let this = Self {
            servers: Servers::new(servers, 2),
            seals: super::Seals::new(keys),
            instance: String::new(),
            known: parking_lot::Mutex::new(Known::default()),
            backing_up: tokio::sync::Mutex::new(()),
        };
        this.servers.reach(Purpose::Opening).await?;
        let pool = this.servers.own_pool()?;
        let migrated = async {
            let mut connection = pool.acquire().await?;
            check_ours(&mut connection, this.name()).await?;
            check_version(&mut connection, this.name()).await?;
            check_known(&mut connection, this.name()).await?;
            drop(connection);
            MIGRATIONS.run(&pool).await.map_err(migration)?;
            let mut connection = pool.acquire().await?;
            nobody_else(&mut connection).await
        };
        let migrated = migrated.await;
        pool.close().await;
        migrated.map_err(|error: StoreError| error.of_server(this.name()))?;
        Ok(this)
    }
}

/// Whether a token-service has ever opened the database of `servers`, or a move has begun to fill
/// it. It stays as it is.
pub(in crate::store) async fn was_opened(servers: &config::Servers) -> Result<bool, StoreError> {
    let servers = Servers::new(servers, 2);
    servers.reach(Purpose::Opening).await?;
    let asked = async {
        let mut connection = servers.own().await?;
        check_ours(&mut connection, servers.name()).await?;
        let opened = meta(&mut connection, KEY_CHECK.row).await?;
        let moving = meta(&mut connection, MOVING).await?;
        connection.close().await?;
        Ok(opened.is_some() || moving.is_some())
    };
    let asked: Result<bool, StoreError> = asked.await;
    asked.map_err(|error| error.of_server(servers.name()))
}

/// Whether the database of `servers` is the one that `other` is connected to, whatever its host is
/// called: a lock that is taken in one of two is free in the other.
pub(in crate::store) async fn is_same(
    servers: &config::Servers,
    other: &mut PgConnection,
) -> Result<bool, StoreError> {
    let (lock, _) = Uuid::new_v4().as_u64_pair();
    let lock = lock.cast_signed();
    let servers = Servers::new(servers, 2);
    servers.reach(Purpose::Opening).await?;
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(lock)
        .execute(&mut *other)
        .await?;
    let asked = async {
        let mut connection = servers.own().await?;
        let is_free: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
            .bind(lock)
            .fetch_one(&mut connection)
            .await?;
        connection.close().await?;
        Ok(!is_free)
    };
    let asked: Result<bool, StoreError> = asked.await;
    sqlx::query("SELECT pg_advisory_unlock($1)")
        .bind(lock)
        .execute(other)
        .await?;
    asked.map_err(|error| error.of_server(servers.name()))
}
