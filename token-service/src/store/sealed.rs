//! The sealed values of a database, wherever they stand: which key has sealed each, and
//! sealing all of them anew.

use std::{collections::BTreeMap, sync::Arc};

use secrecy::ExposeSecret as _;
use sqlx::{Row as _, SqliteConnection};

use super::{
    Store, StoreError, begin, end,
    open::{KEY_CHECK, Locked, check_keys, prepare_forgetting},
};
use crate::seal::{Cell, Keyring, SealError};

/// A column of sealed values. A test holds the list against the schema.
struct Column {
    /// As values are bound to it.
    table: &'static str,
    name: &'static str,
    /// Row and value, and the name that the value is bound to.
    select: &'static str,
    update: &'static str,
}

/// A sealed value.
struct Sealed {
    row: String,
    value: Vec<u8>,
    /// What it is: its column, or the kind of credential that the column holds.
    name: String,
}

const COLUMNS: [Column; 4] = [
    Column {
        table: KEY_CHECK.table,
        name: KEY_CHECK.column,
        select: "SELECT key, value, 'value' FROM meta WHERE key = 'key_check'",
        update: "UPDATE meta SET value = ? WHERE key = ?",
    },
    Column {
        table: "oauth_clients",
        name: "client_secret",
        select: "SELECT client_id, client_secret_sealed, 'client_secret' FROM oauth_clients
                 WHERE client_secret_sealed IS NOT NULL",
        update: "UPDATE oauth_clients SET client_secret_sealed = ? WHERE client_id = ?",
    },
    Column {
        table: "projects",
        name: "refresh_token",
        select: "SELECT id, refresh_token_sealed, credential_kind FROM projects
                 WHERE refresh_token_sealed IS NOT NULL",
        update: "UPDATE projects SET refresh_token_sealed = ? WHERE id = ?",
    },
    Column {
        table: "projects",
        name: "access_token",
        select: "SELECT id, access_token_sealed, 'access_token' FROM projects
                 WHERE access_token_sealed IS NOT NULL",
        update: "UPDATE projects SET access_token_sealed = ? WHERE id = ?",
    },
];

impl Column {
    async fn values(&self, connection: &mut SqliteConnection) -> Result<Vec<Sealed>, sqlx::Error> {
        let rows = sqlx::query(self.select).fetch_all(connection).await?;
        rows.into_iter()
            .map(|row| {
                Ok(Sealed {
                    row: row.try_get(0)?,
                    value: row.try_get(1)?,
                    name: row.try_get(2)?,
                })
            })
            .collect()
    }

    async fn put(
        &self,
        connection: &mut SqliteConnection,
        row: &str,
        value: Vec<u8>,
    ) -> Result<(), sqlx::Error> {
        let update = sqlx::query(self.update).bind(value).bind(row);
        update.execute(connection).await?;
        Ok(())
    }

    fn cell<'a>(&self, sealed: &'a Sealed) -> Cell<'a> {
        Cell {
            table: self.table,
            column: &sealed.name,
            row: &sealed.row,
        }
    }

    fn unusable(&self, row: &str, source: SealError) -> StoreError {
        StoreError::Value {
            table: self.table,
            column: self.name,
            row: row.to_owned(),
            source,
        }
    }
}

impl Store {
    /// How many values each key has sealed, by its id.
    pub(crate) async fn sealed_values(&self) -> Result<BTreeMap<String, u32>, StoreError> {
        let mut connection = self.connection.lock().await;
        let mut counts = BTreeMap::new();
        for column in &COLUMNS {
            for sealed in column.values(&mut connection).await? {
                let id = Keyring::id_of(&sealed.value).unwrap_or_default();
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
        *self.keys.write() = keys;
        Ok(resealed)
    }

    /// From now on these keys are the store's; what is kept is sealed with the first of them.
    pub(crate) async fn use_keys(&self, keys: Arc<Keyring>) {
        let _connection = self.connection.lock().await;
        *self.keys.write() = keys;
    }
}

/// Opens every value, and seals those anew that the first key has not sealed.
pub(super) async fn reseal(
    connection: &mut SqliteConnection,
    keys: &Keyring,
) -> Result<u32, StoreError> {
    let mut resealed = 0;
    let first = keys.sealing_key_id();
    for column in &COLUMNS {
        for sealed in column.values(&mut *connection).await? {
            let cell = column.cell(&sealed);
            let anew = keys.open(cell, &sealed.value).and_then(|secret| {
                if Keyring::id_of(&sealed.value).as_ref() == Some(&first) {
                    Ok(None)
                } else {
                    keys.seal(cell, secret.expose_secret()).map(Some)
                }
            });
            let anew = anew.map_err(|source| column.unusable(&sealed.row, source))?;
            if let Some(anew) = anew {
                column.put(&mut *connection, &sealed.row, anew).await?;
                resealed += 1;
            }
        }
    }
    Ok(resealed)
}

async fn opens_all(connection: &mut SqliteConnection, keys: &Keyring) -> Result<bool, StoreError> {
    for column in &COLUMNS {
        for sealed in column.values(&mut *connection).await? {
            if keys.open(column.cell(&sealed), &sealed.value).is_err() {
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
    // Nothing is no service-account key, and is a refresh token that is worth nothing.
    sqlx::query(
        "UPDATE projects SET credential_kind = 'refresh_token'
         WHERE credential_kind = 'service_account_key'",
    )
    .execute(&mut *connection)
    .await?;
    let mut counts = [0; COLUMNS.len()];
    for (count, column) in counts.iter_mut().zip(&COLUMNS) {
        for sealed in column.values(&mut *connection).await? {
            *count += 1;
            let nothing = keys.seal(column.cell(&sealed), "");
            let nothing = nothing.map_err(|source| column.unusable(&sealed.row, source))?;
            column.put(&mut *connection, &sealed.row, nothing).await?;
        }
    }
    for query in [
        "UPDATE oauth_clients SET client_secret_sealed = NULL",
        "UPDATE projects SET access_token_sealed = NULL, access_token_expires_at = NULL,
             access_token_lifetime = NULL, refreshed_at = NULL, status = 'needs_login',
             status_reason = 'the encryption key was lost', action_url = ''",
        // What was imported before is no longer here, so that the same file may bring it again.
        "DELETE FROM imports",
        "DELETE FROM client_imports",
    ] {
        sqlx::query(query).execute(&mut *connection).await?;
    }
    let [_, clients, projects, _] = counts;
    Ok((projects, clients))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Database, store::connect};

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
