//! Sealing all of a SQLite database anew, and doing without what no key opens.

use std::{collections::BTreeMap, sync::Arc};

use sqlx::SqliteConnection;

use super::{
    Sqlite, begin, end,
    open::{Locked, check_keys, prepare_forgetting},
};
use crate::{
    seal::Keyring,
    store::{
        StoreError,
        sealed::{COLUMNS, Column, FORGET, FORGET_KINDS, Sealed},
    },
};

async fn values(
    connection: &mut SqliteConnection,
    column: &Column,
) -> Result<Vec<Sealed>, sqlx::Error> {
    sqlx::query_as(column.select).fetch_all(connection).await
}

async fn put(
    connection: &mut SqliteConnection,
    column: &Column,
    row: &str,
    value: Vec<u8>,
) -> Result<(), sqlx::Error> {
    let update = sqlx::query(column.update).bind(value).bind(row);
    update.execute(connection).await?;
    Ok(())
}

impl Sqlite {
    /// How many values each key has sealed, by its id.
    pub(crate) async fn sealed_values(&self) -> Result<BTreeMap<String, u32>, StoreError> {
        let mut connection = self.connection.lock().await;
        let mut counts = BTreeMap::new();
        for column in &COLUMNS {
            for (_, value, _) in values(&mut connection, column).await? {
                let id = Keyring::id_of(&value).unwrap_or_default();
                *counts.entry(id).or_default() += 1;
            }
        }
        Ok(counts)
    }

    /// Seals everything with the first of these keys, which open everything; from now on they
    /// are the store's. Tells how many values were sealed anew.
    pub(crate) async fn reseal(&self, keys: Arc<Keyring>) -> Result<u32, StoreError> {
        let mut connection = self.connection.lock().await;
        begin(&mut connection).await?;
        let resealed = reseal(&mut connection, &keys).await;
        let resealed = end(&mut connection, resealed).await?;
        self.seals.replace(keys);
        Ok(resealed)
    }

    /// From now on these keys are the store's; what is kept is sealed with the first of them.
    pub(crate) async fn use_keys(&self, keys: Arc<Keyring>) {
        let _connection = self.connection.lock().await;
        self.seals.replace(keys);
    }
}

/// Opens every value, and seals those anew that the first key has not sealed.
pub(super) async fn reseal(
    connection: &mut SqliteConnection,
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

async fn opens_all(connection: &mut SqliteConnection, keys: &Keyring) -> Result<bool, StoreError> {
    for column in &COLUMNS {
        for sealed in values(&mut *connection, column).await? {
            if keys.open(column.cell(&sealed), &sealed.1).is_err() {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// What a database without its key still tells.
pub(crate) async fn forget(
    (_lock, pool, path): Locked,
    keys: &Keyring,
) -> Result<(u32, u32), StoreError> {
    let done = forget_in(&pool, &path, keys).await;
    pool.close().await;
    done
}

async fn forget_in(
    pool: &sqlx::SqlitePool,
    path: &std::path::Path,
    keys: &Keyring,
) -> Result<(u32, u32), StoreError> {
    prepare_forgetting(pool, path).await?;
    let mut connection = pool.acquire().await?;
    if check_keys(&mut connection, keys, "", path).await.is_ok()
        && opens_all(&mut connection, keys).await?
    {
        return Err(StoreError::KeyOpens {
            path: path.to_owned(),
        });
    }
    begin(&mut connection).await?;
    let forgotten = forget_all(&mut connection, keys).await;
    end(&mut connection, forgotten).await
}

async fn forget_all(
    connection: &mut SqliteConnection,
    keys: &Keyring,
) -> Result<(u32, u32), StoreError> {
    sqlx::query(FORGET_KINDS).execute(&mut *connection).await?;
    let mut counts = [0; COLUMNS.len()];
    for (count, column) in counts.iter_mut().zip(&COLUMNS) {
        for sealed in values(&mut *connection, column).await? {
            *count += 1;
            let nothing = column.nothing(&sealed, keys)?;
            put(&mut *connection, column, &sealed.0, nothing).await?;
        }
    }
    for query in FORGET {
        sqlx::query(query).execute(&mut *connection).await?;
    }
    let [_, clients, projects, _] = counts;
    Ok((projects, clients))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Database, store::sqlite::connect};

    /// A column that is sealed and not in the list would be lost with the old key.
    #[tokio::test]
    async fn every_sealed_column_is_in_the_list() {
        let (_lock, pool, path) = connect(&Database::Memory).await.unwrap();
        prepare_forgetting(&pool, &path).await.unwrap();
        let mut connection = pool.acquire().await.unwrap();
        let columns: Vec<(String, String)> = sqlx::query_as(
            "SELECT tables.name, columns.name
             FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns
             WHERE tables.type = 'table' AND columns.name LIKE '%\\_sealed' ESCAPE '\\'",
        )
        .fetch_all(&mut *connection)
        .await
        .unwrap();
        assert_eq!(columns.len(), COLUMNS.len() - 1, "{columns:?}");
        for (table, column) in columns {
            let listed = COLUMNS
                .iter()
                .any(|listed| listed.table == table && column == format!("{}_sealed", listed.name));
            assert!(listed, "{table}.{column}");
        }
    }
}
