//! The ledger in SQLite.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::{ConnectOptions as _, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{Sqlite, begin, end};
use crate::{
    config::Database,
    ledger::Entries,
    store::{
        StoreError, milliseconds,
        usage::{MAX_ROWS, Query, REPEATED_WITHIN_MS, SumRow, UsageRow, columns, id_bytes},
    },
};

const ID_BYTES: usize = 16;

impl Sqlite {
    /// Adds entries to the ledger, all or none.
    pub(crate) async fn commit_usage(
        &self,
        entries: &Entries,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut connection = self.connection.lock().await;
        begin(&mut connection).await?;
        let written = write(&mut connection, entries, now).await;
        end(&mut connection, written).await
    }

    /// Forgets what is older than is kept.
    pub(crate) async fn prune_usage(
        &self,
        retention: Duration,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let now = now.as_millisecond();
        let mut connection = self.connection.lock().await;
        begin(&mut connection).await?;
        let pruned = prune(&mut connection, retention, now).await;
        end(&mut connection, pruned).await
    }

    /// The reports that were counted of late, the oldest first.
    pub(crate) async fn counted_reports(&self) -> Result<Vec<u128>, StoreError> {
        let mut connection = self.connection.lock().await;
        let batches: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT ids FROM counted_reports ORDER BY at, rowid")
                .fetch_all(&mut *connection)
                .await?;
        let ids = batches.iter().flat_map(|batch| {
            let (ids, _) = batch.as_chunks::<ID_BYTES>();
            ids.iter().map(|id| u128::from_le_bytes(*id))
        });
        Ok(ids.collect())
    }

    /// Sums, as asked; one row more than [`MAX_ROWS`] when there are more.
    pub(crate) async fn usage(&self, query: &Query) -> Result<Vec<UsageRow>, StoreError> {
        let mut own = self.reader().await?;
        let mut shared = match own {
            Some(_) => None,
            None => Some(self.connection.lock().await),
        };
        let connection = match (&mut own, &mut shared) {
            (Some(own), _) => own,
            (None, Some(shared)) => &mut **shared,
            (None, None) => return Ok(Vec::new()),
        };
        let rows: Vec<SumRow> = sqlx::query_as(
            "SELECT CASE WHEN ?1 > 0 THEN hour - hour % ?1 ELSE 0 END AS begins,
                 CASE WHEN ?2 THEN api_key_name ELSE '' END AS by_key,
                 CASE WHEN ?3 THEN project_id ELSE '' END AS by_project,
                 CASE WHEN ?4 THEN model ELSE '' END AS by_model,
                 sum(attempts) AS attempts, sum(answers) AS answers, sum(cancelled) AS cancelled,
                 sum(prompt_tokens) AS prompt_tokens, sum(cached_tokens) AS cached_tokens,
                 sum(completion_tokens) AS completion_tokens,
                 sum(reasoning_tokens) AS reasoning_tokens,
                 sum(first_event_ms) AS first_event_ms, sum(duration_ms) AS duration_ms
             FROM usage
             WHERE hour >= ?5 AND hour < ?6 AND (?7 = '' OR api_key_name = ?7)
                 AND (?8 = '' OR project_id = ?8) AND (?9 = '' OR model = ?9)
             GROUP BY begins, by_key, by_project, by_model
             ORDER BY begins, by_key, by_project, by_model
             LIMIT ?10",
        )
        .bind(query.span())
        .bind(query.by.key)
        .bind(query.by.project)
        .bind(query.by.model)
        .bind(query.first_hour())
        .bind(query.until.as_millisecond())
        .bind(&query.api_key_name)
        .bind(&query.project)
        .bind(&query.model)
        .bind(i64::try_from(MAX_ROWS + 1).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?;
        let timed = query.span() > 0;
        Ok(rows.into_iter().map(|row| row.usage(timed)).collect())
    }

    /// A connection to read with, for as long as it may take: nobody who writes waits for it.
    /// `None`: a database in memory has but one.
    async fn reader(&self) -> Result<Option<SqliteConnection>, StoreError> {
        let Database::Sqlite(path) = &self.database else {
            return Ok(None);
        };
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        Ok(Some(options.connect().await?))
    }

    /// How far back the ledger goes.
    pub(crate) async fn oldest_usage(&self) -> Result<Option<Timestamp>, StoreError> {
        let mut connection = self.connection.lock().await;
        let oldest: Option<i64> = sqlx::query_scalar("SELECT min(hour) FROM usage")
            .fetch_one(&mut *connection)
            .await?;
        Ok(oldest.and_then(|hour| Timestamp::from_millisecond(hour).ok()))
    }
}

async fn write(
    connection: &mut SqliteConnection,
    entries: &Entries,
    now: Timestamp,
) -> Result<(), StoreError> {
    for (account, used) in entries.sums() {
        let query = sqlx::query(
            "INSERT INTO usage (hour, api_key_name, project_id, model, attempts, answers,
                 cancelled, prompt_tokens, cached_tokens, completion_tokens,
                 reasoning_tokens, first_event_ms, duration_ms)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (hour, api_key_name, project_id, model) DO UPDATE SET
                 attempts = attempts + excluded.attempts,
                 answers = answers + excluded.answers,
                 cancelled = cancelled + excluded.cancelled,
                 prompt_tokens = prompt_tokens + excluded.prompt_tokens,
                 cached_tokens = cached_tokens + excluded.cached_tokens,
                 completion_tokens = completion_tokens + excluded.completion_tokens,
                 reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
                 first_event_ms = first_event_ms + excluded.first_event_ms,
                 duration_ms = duration_ms + excluded.duration_ms",
        );
        let query = query
            .bind(account.hour)
            .bind(account.api_key_name)
            .bind(account.project)
            .bind(account.model);
        let query = columns(&used)
            .into_iter()
            .fold(query, |query, column| query.bind(column));
        query.execute(&mut *connection).await?;
    }
    let ids: Vec<u8> = entries.ids().flat_map(id_bytes).collect();
    sqlx::query("INSERT INTO counted_reports (at, ids) VALUES (?, ?)")
        .bind(now.as_millisecond())
        .bind(ids)
        .execute(&mut *connection)
        .await?;
    Ok(())
}

async fn prune(
    connection: &mut SqliteConnection,
    retention: Duration,
    now: i64,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM counted_reports WHERE at < ?")
        .bind(now.saturating_sub(REPEATED_WITHIN_MS))
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM usage WHERE hour < ?")
        .bind(now.saturating_sub(milliseconds(retention)))
        .execute(&mut *connection)
        .await?;
    Ok(())
}
