//! Whole tables read and written.

use sqlx::{
    AssertSqlSafe, QueryBuilder, Row as _, Sqlite as Dialect, SqliteConnection, sqlite::SqliteRow,
};

use crate::store::{
    StoreError,
    tables::{Kind, Row, Table, Value},
    usage::id_bytes,
};

/// Values that one statement binds at most.
const BOUND: usize = 30_000;

/// A table's rows; of the ledger those of an hour.
pub(in crate::store) async fn read(
    connection: &mut SqliteConnection,
    table: &Table,
    hour: Option<i64>,
) -> Result<Vec<Row>, StoreError> {
    // The names are those of our own tables.
    let query = sqlx::query(AssertSqlSafe(table.select()));
    let query = match hour {
        Some(hour) => query.bind(hour),
        None => query,
    };
    let rows = query.fetch_all(connection).await?;
    let mut rows = rows
        .iter()
        .map(|row| value_row(table, row))
        .collect::<Result<Vec<_>, _>>()?;
    table.sort(&mut rows);
    Ok(rows)
}

fn value_row(table: &Table, row: &SqliteRow) -> Result<Row, sqlx::Error> {
    let columns = table.columns.iter().enumerate();
    columns
        .map(|(index, (_, kind))| {
            Ok(match kind {
                Kind::Text => Value::Text(row.try_get(index)?),
                Kind::Number => Value::Number(row.try_get(index)?),
                Kind::Bytes => Value::Bytes(row.try_get(index)?),
                Kind::Truth => Value::Truth(row.try_get(index)?),
            })
        })
        .collect()
}

/// Adds rows to a table that has none of them.
pub(in crate::store) async fn write(
    connection: &mut SqliteConnection,
    table: &Table,
    rows: &[Row],
) -> Result<(), StoreError> {
    for some in rows.chunks(BOUND / table.columns.len()) {
        let into = format!("INSERT INTO {} ({}) ", table.name, table.names());
        let mut query = QueryBuilder::<Dialect>::new(into);
        query.push_values(some, |mut values, row| {
            for value in row {
                match value {
                    Value::Text(text) => values.push_bind(text.clone()),
                    Value::Number(number) => values.push_bind(*number),
                    Value::Bytes(bytes) => values.push_bind(bytes.clone()),
                    Value::Truth(truth) => values.push_bind(*truth),
                };
            }
        });
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// Removes the rows that [`read`] would read.
pub(in crate::store) async fn clear(
    connection: &mut SqliteConnection,
    table: &Table,
) -> Result<(), StoreError> {
    let statement = format!("DELETE FROM {} WHERE {}", table.name, table.only);
    sqlx::query(AssertSqlSafe(statement))
        .execute(connection)
        .await?;
    Ok(())
}

/// The hours that the ledger has, from one on.
pub(in crate::store) async fn hours(
    connection: &mut SqliteConnection,
    from: i64,
) -> Result<Vec<i64>, StoreError> {
    let hours = sqlx::query_scalar("SELECT DISTINCT hour FROM usage WHERE hour >= ? ORDER BY hour");
    Ok(hours.bind(from).fetch_all(connection).await?)
}

/// The reports that were counted, and when.
pub(in crate::store) async fn reports(
    connection: &mut SqliteConnection,
) -> Result<Vec<(u128, i64)>, StoreError> {
    let batches: Vec<(i64, Vec<u8>)> = sqlx::query_as("SELECT at, ids FROM counted_reports")
        .fetch_all(connection)
        .await?;
    let mut reports: Vec<(u128, i64)> = batches
        .iter()
        .flat_map(|(at, ids)| {
            let (ids, _) = ids.as_chunks::<16>();
            ids.iter().map(|id| (u128::from_le_bytes(*id), *at))
        })
        .collect();
    reports.sort_unstable();
    reports.dedup_by_key(|(id, _)| *id);
    Ok(reports)
}

/// Has these reports in the place of those that were counted.
pub(in crate::store) async fn put_reports(
    connection: &mut SqliteConnection,
    reports: &[(u128, i64)],
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM counted_reports")
        .execute(&mut *connection)
        .await?;
    let mut reports = reports.to_vec();
    reports.sort_unstable_by_key(|(id, at)| (*at, *id));
    for batch in reports.chunk_by(|(_, a), (_, b)| a == b) {
        let ids: Vec<u8> = batch.iter().flat_map(|(id, _)| id_bytes(*id)).collect();
        sqlx::query("INSERT INTO counted_reports (at, ids) VALUES (?, ?)")
            .bind(batch[0].1)
            .bind(ids)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
