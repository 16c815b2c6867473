//! Whole tables read and written.

use sqlx::{
    AssertSqlSafe, PgConnection, Postgres as Dialect, QueryBuilder, Row as _, postgres::PgRow,
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
    connection: &mut PgConnection,
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

fn value_row(table: &Table, row: &PgRow) -> Result<Row, sqlx::Error> {
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
    connection: &mut PgConnection,
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
    connection: &mut PgConnection,
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
    connection: &mut PgConnection,
    from: i64,
) -> Result<Vec<i64>, StoreError> {
    let hours =
        sqlx::query_scalar("SELECT DISTINCT hour FROM usage WHERE hour >= $1 ORDER BY hour");
    Ok(hours.bind(from).fetch_all(connection).await?)
}

/// The reports that were counted, and when.
pub(in crate::store) async fn reports(
    connection: &mut PgConnection,
) -> Result<Vec<(u128, i64)>, StoreError> {
    let rows: Vec<(Vec<u8>, i64)> = sqlx::query_as("SELECT id, at FROM counted_reports")
        .fetch_all(connection)
        .await?;
    let mut reports: Vec<(u128, i64)> = rows
        .iter()
        .filter_map(|(id, at)| Some((super::usage::number(id)?, *at)))
        .collect();
    reports.sort_unstable();
    Ok(reports)
}

/// Has these reports in the place of those that were counted.
pub(in crate::store) async fn put_reports(
    connection: &mut PgConnection,
    reports: &[(u128, i64)],
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM counted_reports")
        .execute(&mut *connection)
        .await?;
    let ids: Vec<Vec<u8>> = reports
        .iter()
        .map(|(id, _)| id_bytes(*id).to_vec())
        .collect();
    let times: Vec<i64> = reports.iter().map(|(_, at)| *at).collect();
    sqlx::query(
        "INSERT INTO counted_reports (id, at) SELECT * FROM unnest($1::bytea[], $2::bigint[])",
    )
    .bind(ids)
    .bind(times)
    .execute(connection)
    .await?;
    Ok(())
}
