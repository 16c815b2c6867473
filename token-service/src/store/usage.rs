//! The ledger in the database: what is asked of it, and what it answers.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::FromRow;

use crate::{
    ledger::{HOUR_MS, Used},
    store::milliseconds,
};

/// Reports that gateways may still repeat.
pub(super) const REPEATED_WITHIN_MS: i64 = HOUR_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Rows of one answer.
pub(crate) const MAX_ROWS: usize = 10_000;

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

impl Query {
    /// How long a row's span of time is; 0: a row is about all of it.
    pub(super) fn span(&self) -> i64 {
        match self.by.time {
            None => 0,
            Some(Span::Hour) => HOUR_MS,
            Some(Span::Day) => DAY_MS,
        }
    }

    /// The beginning of the first hour.
    pub(super) fn first_hour(&self) -> i64 {
        let since = self.since.as_millisecond();
        since - since.rem_euclid(HOUR_MS)
    }
}

/// A row of sums.
#[derive(Debug, FromRow)]
pub(super) struct SumRow {
    begins: i64,
    by_key: String,
    by_project: String,
    by_model: String,
    attempts: i64,
    answers: i64,
    cancelled: i64,
    prompt_tokens: i64,
    cached_tokens: i64,
    completion_tokens: i64,
    reasoning_tokens: i64,
    first_event_ms: i64,
    duration_ms: i64,
}

impl SumRow {
    pub(super) fn usage(self, timed: bool) -> UsageRow {
        let count = |value: i64| u64::try_from(value).unwrap_or_default();
        let begins = Timestamp::from_millisecond(self.begins).ok();
        UsageRow {
            begins: begins.filter(|_| timed),
            api_key_name: self.by_key,
            project: self.by_project,
            model: self.by_model,
            used: Used {
                attempts: count(self.attempts),
                answers: count(self.answers),
                cancelled: count(self.cancelled),
                prompt_tokens: count(self.prompt_tokens),
                cached_tokens: count(self.cached_tokens),
                completion_tokens: count(self.completion_tokens),
                reasoning_tokens: count(self.reasoning_tokens),
                first_event: Duration::from_millis(count(self.first_event_ms)),
                duration: Duration::from_millis(count(self.duration_ms)),
            },
        }
    }
}

/// As the columns of `usage` have it, from `attempts` to `duration_ms`.
pub(super) fn columns(used: &Used) -> [i64; 9] {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    [
        number(used.attempts),
        number(used.answers),
        number(used.cancelled),
        number(used.prompt_tokens),
        number(used.cached_tokens),
        number(used.completion_tokens),
        number(used.reasoning_tokens),
        milliseconds(used.first_event),
        milliseconds(used.duration),
    ]
}

/// The reports that are named by their ids, 16 bytes each.
pub(super) fn id_bytes(id: u128) -> [u8; 16] {
    id.to_le_bytes()
}
