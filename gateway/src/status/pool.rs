//! What the token-service tells of the pool and of the ledger, asked for once for all who look at
//! the same moment.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use antigravity_proto::v1::{Project, QueryUsageRequest, UsageRow, query_usage_request::Dimension};
use antigravity_runtime::{clock::Clock, secret::Digest};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};

use crate::tokens::{
    Tokens,
    operator::{Operator, OperatorError},
};

/// For so long what was told is told again.
const FRESH: Duration = Duration::from_secs(2);
/// For all of it. Whoever looks at a page is not to wait for longer.
const PATIENCE: Duration = Duration::from_secs(6);
/// Projects that are looked at.
const MOST: usize = 50_000;
/// Hours of the ledger, the present one included.
pub(super) const HOURS: usize = 24;

/// What is known of it all.
#[derive(Debug)]
pub(super) struct Told {
    /// In the order of their ids.
    pub(super) projects: Vec<Project>,
    /// How many there are, which may be more.
    pub(super) in_all: u32,
    /// The ledger, which may fail where the pool is well.
    pub(super) ledger: Result<Ledger, OperatorError>,
}

/// What the ledger tells of the last hours.
#[derive(Debug)]
pub(super) struct Ledger {
    /// By the hour, in their order; those without a request are not there.
    pub(super) hours: Vec<UsageRow>,
    /// By model, those first that took most requests; none where there are too many.
    pub(super) models: Vec<UsageRow>,
}

#[derive(Debug)]
struct Known {
    at: std::time::Instant,
    /// Whose token it was told to.
    told_to: Digest,
    answer: Result<Arc<Told>, OperatorError>,
}

/// Asks, and remembers for a moment.
#[derive(Debug)]
pub(super) struct Pool {
    tokens: Arc<Tokens>,
    clock: Clock,
    known: tokio::sync::Mutex<Option<Known>>,
}

impl Pool {
    pub(super) fn new(tokens: Arc<Tokens>, clock: Clock) -> Self {
        Self {
            tokens,
            clock,
            known: tokio::sync::Mutex::default(),
        }
    }

    /// The service for whoever shows this token.
    ///
    /// # Errors
    /// No header can carry it, so that it is none of ours.
    pub(super) fn operator(&self, token: &SecretString) -> Result<Operator, OperatorError> {
        self.tokens.operator(token).ok_or(OperatorError::WrongToken)
    }

    /// What there is to tell to whoever has this token.
    ///
    /// # Errors
    /// The token-service does not answer, or not to that token.
    pub(super) async fn ask(&self, token: &SecretString) -> Result<Arc<Told>, OperatorError> {
        let asker = Digest::of(token.expose_secret());
        // Held while it is asked: whoever comes meanwhile is told the same.
        let mut known = self.known.lock().await;
        let now = self.clock.instant();
        if let Some(known) = &*known
            && known.told_to.is(&asker)
            && now.saturating_duration_since(known.at) < FRESH
        {
            return known.answer.clone();
        }
        let operator = self.operator(token)?;
        let asked = tokio::time::timeout(PATIENCE, ask(&operator, self.clock.now())).await;
        let answer = asked
            .unwrap_or_else(|_| Err(OperatorError::Away("it took too long".to_owned())))
            .map(Arc::new);
        *known = Some(Known {
            at: self.clock.instant(),
            told_to: asker,
            answer: answer.clone(),
        });
        answer
    }

    /// Something was changed: what is known is old.
    pub(super) async fn forget(&self) {
        *self.known.lock().await = None;
    }
}

async fn ask(operator: &Operator, now: Timestamp) -> Result<Told, OperatorError> {
    let hours = i64::try_from(HOURS).unwrap_or(i64::MAX) - 1;
    let since = now.saturating_sub(SignedDuration::from_hours(hours));
    let usage = |by: &[Dimension]| QueryUsageRequest {
        since: since.as_ref().ok().map(|since| prost_types::Timestamp {
            seconds: since.as_second(),
            nanos: 0,
        }),
        by: by.iter().map(|by| (*by).into()).collect(),
        ..Default::default()
    };
    let by_both = usage(&[Dimension::Hour, Dimension::Model]);
    let (projects, rows) = tokio::join!(operator.projects(MOST), operator.usage(&by_both));
    let (projects, in_all) = projects?;
    let ledger = match rows {
        // One answer for both, so that they agree.
        Ok(both) => Ok(Ledger::of(both.rows)),
        // Clients have named more models than it tells at once.
        Err(OperatorError::Refused(_)) => {
            let hours = operator.usage(&usage(&[Dimension::Hour])).await;
            hours.map(|hours| Ledger {
                hours: hours.rows,
                models: Vec::new(),
            })
        }
        Err(error) => Err(error),
    };
    Ok(Told {
        projects,
        in_all,
        ledger,
    })
}

impl Ledger {
    /// Of rows by hour and model.
    fn of(rows: Vec<UsageRow>) -> Self {
        let mut hours = BTreeMap::new();
        let mut models = BTreeMap::new();
        for row in rows {
            let begins = row.begins;
            let hour = hours
                .entry(begins.map(|at| at.seconds))
                .or_insert_with(|| UsageRow {
                    begins,
                    ..UsageRow::default()
                });
            add(hour, &row);
            let model = models.entry(row.model.clone()).or_insert_with(|| UsageRow {
                model: row.model.clone(),
                ..UsageRow::default()
            });
            add(model, &row);
        }
        let mut models: Vec<_> = models.into_values().collect();
        models.sort_by(|a, b| (b.attempts, &a.model).cmp(&(a.attempts, &b.model)));
        Self {
            hours: hours.into_values().collect(),
            models,
        }
    }
}

fn add(sum: &mut UsageRow, row: &UsageRow) {
    for (sum, more) in [
        (&mut sum.attempts, row.attempts),
        (&mut sum.answers, row.answers),
        (&mut sum.cancelled, row.cancelled),
        (&mut sum.prompt_tokens, row.prompt_tokens),
        (&mut sum.cached_tokens, row.cached_tokens),
        (&mut sum.completion_tokens, row.completion_tokens),
        (&mut sum.reasoning_tokens, row.reasoning_tokens),
    ] {
        *sum = sum.saturating_add(more);
    }
    for (sum, more) in [
        (&mut sum.first_event, row.first_event),
        (&mut sum.duration, row.duration),
    ] {
        let time = |time: Option<prost_types::Duration>| -> Duration {
            time.and_then(|time| time.try_into().ok())
                .unwrap_or_default()
        };
        *sum = time(*sum).saturating_add(time(more)).try_into().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_and_models_are_sums_of_the_same() {
        let row = |hour: i64, model: &str, attempts| UsageRow {
            begins: Some(prost_types::Timestamp {
                seconds: hour * 3600,
                nanos: 0,
            }),
            model: model.to_owned(),
            attempts,
            answers: attempts - 1,
            prompt_tokens: 10 * attempts,
            duration: Some(prost_types::Duration {
                seconds: 1,
                nanos: 700_000_000,
            }),
            ..UsageRow::default()
        };
        let told = Ledger::of(vec![
            row(1, "flash", 5),
            row(1, "pro", 2),
            row(2, "flash", 1),
            row(2, "pro", 9),
        ]);
        let hours: Vec<_> = told
            .hours
            .iter()
            .map(|row| (row.attempts, row.answers))
            .collect();
        assert_eq!(hours, [(7, 5), (10, 8)]);
        assert_eq!(told.hours[0].begins.unwrap().seconds, 3600);
        let models = told.models.iter();
        let models: Vec<_> = models
            .map(|row| (&*row.model, row.attempts, row.prompt_tokens))
            .collect();
        assert_eq!(models, [("pro", 11, 110), ("flash", 6, 60)]);
        let duration = told.models[0].duration.unwrap();
        assert_eq!((duration.seconds, duration.nanos), (3, 400_000_000));
    }
}
