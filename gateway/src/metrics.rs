//! What the gateway counts, for Prometheus at `/metrics` of the admin listener.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use antigravity_proto::v1::Outcome;
use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    method: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempt {
    outcome: &'static str,
}

/// All of them. Clones share their values.
#[derive(Clone)]
pub struct Metrics(Arc<Values>);

struct Values {
    registry: Registry,
    calls: Family<Call, Counter>,
    up: Gauge,
    away: Mutex<Option<Instant>>,
    away_seconds: Gauge<f64, std::sync::atomic::AtomicU64>,
    tokens: Gauge,
    queued: Gauge,
    dropped: Counter,
    attempts: Family<Attempt, Counter>,
    refused: Counter,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("antigravity_gateway");
        let calls = Family::<Call, Counter>::default();
        let up = Gauge::default();
        let away_seconds = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
        let tokens = Gauge::default();
        let queued = Gauge::default();
        let dropped = Counter::default();
        let attempts = Family::<Attempt, Counter>::default();
        let refused = Counter::default();
        registry.register(
            "token_service_calls",
            "Calls of the token-service",
            calls.clone(),
        );
        registry.register(
            "token_service_up",
            "Whether the token-service answered the last call",
            up.clone(),
        );
        registry.register(
            "token_service_away_seconds",
            "For how long the token-service has not answered",
            away_seconds.clone(),
        );
        registry.register(
            "tokens_in_hand",
            "Projects whose access token is in hand and has not ended",
            tokens.clone(),
        );
        registry.register(
            "outcomes_queued",
            "Reports of outcomes that wait for the token-service",
            queued.clone(),
        );
        registry.register(
            "outcomes_dropped",
            "Reports of outcomes that were dropped because too many waited",
            dropped.clone(),
        );
        registry.register(
            "upstream_attempts",
            "Requests to Google, by what came of them",
            attempts.clone(),
        );
        registry.register(
            "requests_without_key",
            "Requests that showed none of the keys",
            refused.clone(),
        );
        Self(Arc::new(Values {
            registry,
            calls,
            up,
            away: Mutex::new(None),
            away_seconds,
            tokens,
            queued,
            dropped,
            attempts,
            refused,
        }))
    }
}

impl Metrics {
    /// Counts a call of the token-service.
    pub fn token_service_call(&self, method: &'static str, answered: bool) {
        let result = if answered { "answered" } else { "away" };
        self.0.calls.get_or_create(&Call { method, result }).inc();
    }

    /// Notes whether the token-service answers.
    pub fn token_service_answers(&self, answers: bool) {
        self.0.up.set(i64::from(answers));
        let mut away = self.0.away.lock();
        *away = match *away {
            _ if answers => None,
            None => Some(Instant::now()),
            since => since,
        };
    }

    /// Notes how many reports wait.
    pub fn outcomes_queued(&self, queued: usize) {
        self.0.queued.set(i64::try_from(queued).unwrap_or(i64::MAX));
    }

    /// Counts a dropped report; how many there are now.
    pub fn outcome_dropped(&self) -> u64 {
        self.0.dropped.inc() + 1
    }

    /// Counts an attempt.
    pub fn attempt(&self, outcome: Outcome) {
        let name = outcome.as_str_name().trim_start_matches("OUTCOME_");
        self.0
            .attempts
            .get_or_create(&Attempt { outcome: name })
            .inc();
    }

    /// Counts a request without a key.
    pub fn refused(&self) {
        self.0.refused.inc();
    }

    /// All of them in the text format of OpenMetrics.
    #[must_use]
    pub fn text(&self, tokens_in_hand: usize) -> String {
        let values = &self.0;
        values
            .tokens
            .set(i64::try_from(tokens_in_hand).unwrap_or(i64::MAX));
        let away = values
            .away
            .lock()
            .map_or(Duration::ZERO, |since| since.elapsed());
        values.away_seconds.set(away.as_secs_f64());
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &values.registry);
        text
    }
}
