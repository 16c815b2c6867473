//! The ledger in PostgreSQL.

use std::{collections::HashSet, time::Duration};

use jiff::Timestamp;
use sqlx::PgConnection;

use super::Postgres;
use crate::{
    ledger::Entries,
    outcomes::REMEMBERED,
    store::{
        StoreError, milliseconds,
        usage::{MAX_ROWS, Query, REPEATED_WITHIN_MS, SumRow, UsageRow, columns, id_bytes},
    },
};

/// Cooldowns that ended so long ago tell nothing any more.
const COOLDOWNS_KEPT_MS: i64 = 86_400_000;

impl Postgres {
    /// Adds entries to the ledger, all or none, but for the reports that another replica has
    /// counted.
    pub(crate) async fn commit_usage(
        &self,
        entries: &Entries,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.servers
            .bounded(async {
                let mut lent = self.servers.lend().await?;
                sqlx::query("BEGIN").execute(&mut *lent).await?;
                write(&mut lent, entries, now).await?;
                sqlx::query("COMMIT").execute(&mut *lent).await?;
                lent.done();
                Ok(())
            })
            .await
    }

    /// Forgets what is older than is kept.
    pub(crate) async fn prune_usage(
        &self,
        retention: Duration,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for (query, kept) in [
            ("DELETE FROM cooldowns WHERE until < $1", COOLDOWNS_KEPT_MS),
            // In pieces: hours of reports after a time in which nobody did, or months when less is
            // kept from now on, would take longer than a statement may.
            (
                "DELETE FROM counted_reports
                 WHERE at < LEAST($1, (SELECT min(at) FROM counted_reports) + 60000)",
                REPEATED_WITHIN_MS,
            ),
            (
                "DELETE FROM usage WHERE hour < LEAST($1, (SELECT min(hour) FROM usage) + 86400000)",
                milliseconds(retention),
            ),
        ] {
            let before = now.as_millisecond().saturating_sub(kept);
            while self.remove(query, before).await? > 0 {}
        }
        Ok(())
    }

    async fn remove(&self, query: &'static str, before: i64) -> Result<u64, StoreError> {
        self.servers
            .bounded(async {
                let mut lent = self.servers.lend().await?;
                let removed = sqlx::query(query).bind(before).execute(&mut *lent).await?;
                lent.done();
                Ok(removed.rows_affected())
            })
            .await
    }

    /// The reports that were counted of late, the oldest first.
    pub(crate) async fn counted_reports(&self) -> Result<Vec<u128>, StoreError> {
        self.servers
            .bounded(async {
                let mut lent = self.servers.lend().await?;
                let ids: Vec<Vec<u8>> = sqlx::query_scalar(
                    "SELECT id FROM (
                         SELECT id, at FROM counted_reports ORDER BY at DESC LIMIT $1
                     ) AS latest ORDER BY at",
                )
                .bind(i64::try_from(REMEMBERED).unwrap_or(i64::MAX))
                .fetch_all(&mut *lent)
                .await?;
                lent.done();
                Ok(ids.iter().filter_map(|id| number(id)).collect())
            })
            .await
    }

    /// Sums, as asked; one row more than [`MAX_ROWS`] when there are more.
    pub(crate) async fn usage(&self, query: &Query) -> Result<Vec<UsageRow>, StoreError> {
        self.servers
            .bounded(async {
                let mut lent = self.servers.lend().await?;
                let rows: Vec<SumRow> = sqlx::query_as(
                    "SELECT * FROM (SELECT CASE WHEN $1 > 0 THEN hour - hour % $1 ELSE 0 END AS begins,
                         CASE WHEN $2 THEN api_key_name ELSE '' END AS by_key,
                         CASE WHEN $3 THEN project_id ELSE '' END AS by_project,
                         CASE WHEN $4 THEN model ELSE '' END AS by_model,
                         sum(attempts)::bigint AS attempts, sum(answers)::bigint AS answers,
                         sum(cancelled)::bigint AS cancelled,
                         sum(prompt_tokens)::bigint AS prompt_tokens,
                         sum(cached_tokens)::bigint AS cached_tokens,
                         sum(completion_tokens)::bigint AS completion_tokens,
                         sum(reasoning_tokens)::bigint AS reasoning_tokens,
                         sum(first_event_ms)::bigint AS first_event_ms,
                         sum(duration_ms)::bigint AS duration_ms
                     FROM usage
                     WHERE hour >= $5 AND hour < $6 AND ($7 = '' OR api_key_name = $7)
                         AND ($8 = '' OR project_id = $8) AND ($9 = '' OR model = $9)
                     GROUP BY begins, by_key, by_project, by_model) AS sums
                     ORDER BY begins, by_key COLLATE \"C\", by_project COLLATE \"C\",
                         by_model COLLATE \"C\"
                     LIMIT $10",
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
                .fetch_all(&mut *lent)
                .await?;
                lent.done();
                let timed = query.span() > 0;
                Ok(rows.into_iter().map(|row| row.usage(timed)).collect())
            })
            .await
    }

    /// How far back the ledger goes.
    pub(crate) async fn oldest_usage(&self) -> Result<Option<Timestamp>, StoreError> {
        self.servers
            .bounded(async {
                let mut lent = self.servers.lend().await?;
                let oldest: Option<i64> = sqlx::query_scalar("SELECT min(hour) FROM usage")
                    .fetch_one(&mut *lent)
                    .await?;
                lent.done();
                Ok(oldest.and_then(|hour| Timestamp::from_millisecond(hour).ok()))
            })
            .await
    }
}

async fn write(
    connection: &mut PgConnection,
    entries: &Entries,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut ids: Vec<Vec<u8>> = entries.ids().map(|id| id_bytes(id).to_vec()).collect();
    // In one order for all, so that no two wait for each other.
    ids.sort_unstable();
    ids.dedup();
    let new: Vec<Vec<u8>> = sqlx::query_scalar(
        "INSERT INTO counted_reports (id, at) SELECT id, $2 FROM unnest($1::bytea[]) AS id
         ON CONFLICT (id) DO NOTHING RETURNING id",
    )
    .bind(&ids)
    .bind(now.as_millisecond())
    .fetch_all(&mut *connection)
    .await?;
    let new: HashSet<u128> = new.iter().filter_map(|id| number(id)).collect();
    let counted: HashSet<u128> = entries.ids().filter(|id| !new.contains(id)).collect();
    let sums = entries.sums_without(&counted);
    let mut numbers: [Vec<i64>; 9] = Default::default();
    for used in sums.values() {
        for (column, number) in numbers.iter_mut().zip(columns(used)) {
            column.push(number);
        }
    }
    let texts = |text: fn(&crate::ledger::Account) -> &str| -> Vec<&str> {
        sums.keys().map(text).collect()
    };
    let query = sqlx::query(
        "INSERT INTO usage AS known (hour, api_key_name, project_id, model, attempts, answers,
             cancelled, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens,
             first_event_ms, duration_ms)
         SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[],
             $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[],
             $12::bigint[], $13::bigint[])
         ON CONFLICT (hour, api_key_name, project_id, model) DO UPDATE SET
             attempts = known.attempts + excluded.attempts,
             answers = known.answers + excluded.answers,
             cancelled = known.cancelled + excluded.cancelled,
             prompt_tokens = known.prompt_tokens + excluded.prompt_tokens,
             cached_tokens = known.cached_tokens + excluded.cached_tokens,
             completion_tokens = known.completion_tokens + excluded.completion_tokens,
             reasoning_tokens = known.reasoning_tokens + excluded.reasoning_tokens,
             first_event_ms = known.first_event_ms + excluded.first_event_ms,
             duration_ms = known.duration_ms + excluded.duration_ms",
    )
    .bind(sums.keys().map(|account| account.hour).collect::<Vec<_>>())
    .bind(texts(|account| &account.api_key_name))
    .bind(texts(|account| &account.project))
    .bind(texts(|account| &account.model));
    let query = numbers
        .into_iter()
        .fold(query, |query, column| query.bind(column));
    query.execute(connection).await?;
    Ok(())
}

pub(super) fn number(id: &[u8]) -> Option<u128> {
    id.try_into().ok().map(u128::from_le_bytes)
}
