//! The ledger in the database.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::{
    ConnectOptions as _, Row as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteRow},
};

use super::{Store, StoreError, begin, end, milliseconds};
use crate::{
    config::Database,
    ledger::{Entries, HOUR_MS, Used},
};

/// Reports that gateways may still repeat.
const REPEATED_WITHIN_MS: i64 = HOUR_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Rows of one answer.
pub(crate) const MAX_ROWS: usize = 10_000;
const ID_BYTES: usize = 16;

/// What a row of an answer is about.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct By {
    pub(crate) key: bool,
    pub(crate) project: bool,
    pub(crate) model: bool,
    pub(crate) time: Option<Span>,
}

/// A span of time that has a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Span {
    Hour,
    Day,
}

/// What is asked of the ledger; empty names are any.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) since: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) by: By,
    pub(crate) api_key_name: String,
    pub(crate) project: String,
    pub(crate) model: String,
}

/// Sums of what was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsageRow {
    pub(crate) begins: Option<Timestamp>,
    pub(crate) api_key_name: String,
    pub(crate) project: String,
    pub(crate) model: String,
    pub(crate) used: Used,
}

impl Store {
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
        let span = match query.by.time {
            None => 0,
            Some(Span::Hour) => HOUR_MS,
            Some(Span::Day) => DAY_MS,
        };
        let since = query.since.as_millisecond();
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
        let rows = sqlx::query(
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
        .bind(span)
        .bind(query.by.key)
        .bind(query.by.project)
        .bind(query.by.model)
        .bind(since - since.rem_euclid(HOUR_MS))
        .bind(query.until.as_millisecond())
        .bind(&query.api_key_name)
        .bind(&query.project)
        .bind(&query.model)
        .bind(i64::try_from(MAX_ROWS + 1).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?;
        rows.iter().map(|row| usage_row(row, span > 0)).collect()
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
    for (account, used) in &entries.sums {
        sqlx::query(
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
        )
        .bind(account.hour)
        .bind(&account.api_key_name)
        .bind(&account.project)
        .bind(&account.model)
        .bind(number(used.attempts))
        .bind(number(used.answers))
        .bind(number(used.cancelled))
        .bind(number(used.prompt_tokens))
        .bind(number(used.cached_tokens))
        .bind(number(used.completion_tokens))
        .bind(number(used.reasoning_tokens))
        .bind(milliseconds(used.first_event))
        .bind(milliseconds(used.duration))
        .execute(&mut *connection)
        .await?;
    }
    let ids: Vec<u8> = entries.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
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

fn usage_row(row: &SqliteRow, timed: bool) -> Result<UsageRow, StoreError> {
    let count = |column| -> Result<u64, sqlx::Error> {
        let value: i64 = row.try_get(column)?;
        Ok(u64::try_from(value).unwrap_or_default())
    };
    let begins: i64 = row.try_get("begins")?;
    Ok(UsageRow {
        begins: timed
            .then(|| Timestamp::from_millisecond(begins).ok())
            .flatten(),
        api_key_name: row.try_get("by_key")?,
        project: row.try_get("by_project")?,
        model: row.try_get("by_model")?,
        used: Used {
            attempts: count("attempts")?,
            answers: count("answers")?,
            cancelled: count("cancelled")?,
            prompt_tokens: count("prompt_tokens")?,
            cached_tokens: count("cached_tokens")?,
            completion_tokens: count("completion_tokens")?,
            reasoning_tokens: count("reasoning_tokens")?,
            first_event: Duration::from_millis(count("first_event_ms")?),
            duration: Duration::from_millis(count("duration_ms")?),
        },
    })
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
