//! Sealing all of the database anew, and doing without what no key opens.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use sqlx::PgConnection;

use super::{Exclusive, Postgres, follow};
use crate::{
    config,
    seal::Keyring,
    store::{
        StoreError,
        sealed::{COLUMNS, Column, FORGET, FORGET_KINDS, Sealed},
    },
};

/// Sealing all of a large pool anew takes no longer.
const RESEALED: Duration = Duration::from_secs(120);

async fn values(
    connection: &mut PgConnection,
    column: &Column,
) -> Result<Vec<Sealed>, sqlx::Error> {
    sqlx::query_as(column.select).fetch_all(connection).await
}

async fn put(
    connection: &mut PgConnection,
    column: &Column,
    row: &str,
    value: Vec<u8>,
) -> Result<(), sqlx::Error> {
    let update = sqlx::query(column.update).bind(value).bind(row);
    update.execute(connection).await?;
    Ok(())
}

impl Postgres {
    /// How many values each key has sealed, by its id.
    pub(crate) async fn sealed_values(&self) -> Result<BTreeMap<String, u32>, StoreError> {
        self.servers
            .bounded(async {
                let mut lent = self.servers.lend().await?;
                let mut counts = BTreeMap::new();
                for column in &COLUMNS {
                    for (_, value, _) in values(&mut lent, column).await? {
                        let id = Keyring::id_of(&value).unwrap_or_default();
                        *counts.entry(id).or_default() += 1;
                    }
                }
                lent.done();
                Ok(counts)
            })
            .await
    }

    /// Seals everything with the first of these keys, which open everything; from now on they
    /// are the store's. Tells how many values were sealed anew. Refused while another replica
    /// seals with another key: that one could not be given up.
    pub(crate) async fn reseal(
        &self,
        exclusive: Exclusive,
        keys: Arc<Keyring>,
    ) -> Result<u32, StoreError> {
        let Exclusive { mut lent } = exclusive;
        let resealed = async {
            self.check_others(&mut lent, &keys.sealing_key_id()).await?;
            // A refresh that comes in between would be overwritten with the token of before.
            sqlx::query("LOCK TABLE projects, oauth_clients IN SHARE ROW EXCLUSIVE MODE")
                .execute(&mut *lent)
                .await?;
            let resealed = reseal(&mut lent, &keys).await?;
            sqlx::query("COMMIT").execute(&mut *lent).await?;
            Ok(resealed)
        };
        let resealed = match tokio::time::timeout(RESEALED, resealed).await {
            Ok(resealed) => self.servers.told(resealed)?,
            Err(_) => return Err(StoreError::Busy),
        };
        lent.done();
        self.seals.replace(keys);
        Ok(resealed)
    }

    async fn check_others(
        &self,
        connection: &mut PgConnection,
        key_id: &str,
    ) -> Result<(), StoreError> {
        let lacking: Option<(String, String)> = sqlx::query_as(
            "SELECT instance, host FROM replicas
             WHERE seen_at > now() - $1 AND instance <> $2 AND split_part(key_ids, ',', 1) <> $3
             LIMIT 1",
        )
        .bind(follow::interval(follow::GONE))
        .bind(&self.instance)
        .bind(key_id)
        .fetch_optional(connection)
        .await?;
        match lacking {
            None => Ok(()),
            Some((instance, host)) => Err(StoreError::KeyNotEverywhere {
                instance,
                host,
                key_id: key_id.to_owned(),
            }),
        }
    }

    /// From now on these keys are the store's.
    pub(crate) fn use_keys(&self, keys: Arc<Keyring>) {
        self.seals.replace(keys);
    }
}

/// Opens every value, and seals those anew that the first key has not sealed.
pub(super) async fn reseal(
    connection: &mut PgConnection,
    keys: &Keyring,
) -> Result<u32, StoreError> {
    let mut resealed = 0;
    for column in &COLUMNS {
        for sealed in values(&mut *connection, column).await? {
            if let Some(anew) = column.anew(&sealed, keys)? {
                put(&mut *connection, column, &sealed.0, anew).await?;
                resealed += 1;
            }
        }
    }
    Ok(resealed)
}

/// What a database without its key still tells: gives the secrets up, and keeps the rest. The
/// numbers of projects and of OAuth clients.
pub(crate) async fn forget(
    servers: &config::Servers,
    keys: Arc<Keyring>,
) -> Result<(u32, u32), StoreError> {
    let database = Postgres::open_alone(servers, Arc::clone(&keys)).await?;
    let forgotten = async {
        let mut connection = database.own_alone().await?;
        sqlx::query("BEGIN").execute(&mut connection).await?;
        let mut opens_all = true;
        for column in &COLUMNS {
            for sealed in values(&mut connection, column).await? {
                opens_all &= keys.open(column.cell(&sealed), &sealed.1).is_ok();
            }
        }
        if opens_all {
            return Err(StoreError::KeyOpens {
                path: PathBuf::from(database.name()),
            });
        }
        sqlx::query(FORGET_KINDS).execute(&mut connection).await?;
        let mut counts = [0; COLUMNS.len()];
        for (count, column) in counts.iter_mut().zip(&COLUMNS) {
            for sealed in values(&mut connection, column).await? {
                *count += 1;
                let nothing = column.nothing(&sealed, &keys)?;
                put(&mut connection, column, &sealed.0, nothing).await?;
            }
        }
        for query in FORGET {
            sqlx::query(query).execute(&mut connection).await?;
        }
        sqlx::query("COMMIT").execute(&mut connection).await?;
        let [_, clients, projects, _] = counts;
        Ok((projects, clients))
    };
    let forgotten = forgotten.await;
    database.servers.close().await;
    forgotten
}
