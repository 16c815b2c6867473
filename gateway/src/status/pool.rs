//! What the token-service tells of the pool and of the ledger, asked for once for all who look at
//! the same moment.

use std::{sync::Arc, time::Duration};

use antigravity_proto::v1::{Project, QueryUsageRequest, UsageRow, query_usage_request::Dimension};
use antigravity_runtime::{clock::Clock, secret::Digest};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};

use crate::tokens::{Operator, OperatorError, Tokens};

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
    /// By model, those first that took most requests.
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
    let usage = |by: Dimension| QueryUsageRequest {
        since: since.as_ref().ok().map(|since| prost_types::Timestamp {
            seconds: since.as_second(),
            nanos: 0,
        }),
        by: vec![by.into()],
        ..Default::default()
    };
    let (by_hour, by_model) = (usage(Dimension::Hour), usage(Dimension::Model));
    let (projects, hours, models) = tokio::join!(
        operator.projects(MOST),
        operator.usage(&by_hour),
        operator.usage(&by_model),
    );
    let (projects, in_all) = projects?;
    let ledger = hours.and_then(|hours| {
        let mut models = models?.rows;
        models.sort_by(|a, b| (b.attempts, &a.model).cmp(&(a.attempts, &b.model)));
        Ok(Ledger {
            hours: hours.rows,
            models,
        })
    });
    Ok(Told {
        projects,
        in_all,
        ledger,
    })
}
