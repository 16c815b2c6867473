//! What the gateway counts, for Prometheus at `/metrics` of the admin listener.

mod gaps;
mod genai;
mod lag;
mod names;
mod recent;

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant, SystemTime},
};

use antigravity_proto::v1::{Outcome, Upstream};
use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Metric, Registry},
};
use translate::gemini::usage::Usage;

use self::{genai::GenAi, names::Names};
use crate::request_line::CHAT;

pub use self::{
    gaps::Gaps,
    genai::{Series, Served},
    recent::{Chat, Failure, Fault, MINUTES, Minute, Recent, Spread},
};
pub(crate) use self::{genai::Provider, lag::watch_lag};

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A text is told again for so long: whoever asks more often gets what the last one got.
const FRESH: Duration = Duration::from_millis(100);
/// Keys that have labels of their own.
const KEYS: usize = 1000;
/// From microseconds, which is what the gateway takes of its own, to what a machine that has too
/// much to do takes.
const OVERHEAD: [f64; 12] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5,
];
const CALL: [f64; 11] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 40.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    method: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Method {
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempted {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Result {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Part {
    part: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    surface: &'static str,
    status: u16,
    outcome: &'static str,
    key: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Chats {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tokens {
    key: Arc<str>,
    r#type: &'static str,
}

/// All of them. Clones share their values.
#[derive(Clone)]
pub struct Metrics(Arc<Values>);

struct Values {
    registry: Registry,
    genai: GenAi,
    keys: Names<Arc<str>>,
    requests: Family<Request, Counter>,
    chats: Family<Chats, Counter>,
    requests_in_flight: Gauge,
    streams_in_flight: Gauge,
    overhead: [Histogram; 4],
    lag: Histogram,
    retries: Family<Reason, Counter>,
    attempts: Family<Attempted, Counter>,
    hang_ups: Counter,
    drained: Family<Result, Counter>,
    used: Family<Tokens, Counter>,
    calls: Family<Call, Counter>,
    call_time: Family<Method, Histogram>,
    up: Gauge,
    away: Mutex<Option<Instant>>,
    away_seconds: Gauge<f64, AtomicU64>,
    tokens: Gauge,
    queued: Gauge,
    dropped: Counter,
    refused: Counter,
    lost_spans: Counter,
    lost_entries: Counter,
    recent: Recent,
    began: Instant,
    told: Mutex<Option<(Instant, Bytes)>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn register<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let genai = GenAi::register(&mut registry);
        let ours = registry.sub_registry_with_prefix("antigravity_gateway");
        let requests = register(
            ours,
            "requests",
            "Requests of clients that are over, by what came of them",
            Family::<Request, Counter>::default(),
        );
        let chats = register(
            ours,
            "chat_requests",
            "Chat requests that are over, by what came of them in one word",
            Family::<Chats, Counter>::default(),
        );
        let requests_in_flight = register(
            ours,
            "requests_in_flight",
            "Requests of clients that are not over",
            Gauge::default(),
        );
        let streams_in_flight = register(
            ours,
            "streams_in_flight",
            "Streams that clients read",
            Gauge::default(),
        );
        let overhead = register(
            ours,
            "overhead_seconds",
            "The gateway's own time: from a request's last byte to its sending to Google, what of \
             that it waited for a turn and for media, and from the bytes that make the first piece \
             of an answer to that piece",
            Family::<Part, Histogram>::new_with_constructor(|| Histogram::new(OVERHEAD)),
        );
        let lag = register(
            ours,
            "runtime_lag_seconds",
            "How much later than due a task runs, which is tried ten times a second",
            Histogram::new(lag::BUCKETS),
        );
        let retries = register(
            ours,
            "retries",
            "Requests to Google that were made because the one before came to nothing",
            Family::<Reason, Counter>::default(),
        );
        let attempts = register(
            ours,
            "upstream_attempts",
            "Requests to Google, by what came of them",
            Family::<Attempted, Counter>::default(),
        );
        let refused = register(
            ours,
            "requests_without_key",
            "Requests that showed none of the keys",
            Counter::default(),
        );
        let hang_ups = register(
            ours,
            "hang_ups",
            "Requests whose client went away before the end of the answer",
            Counter::default(),
        );
        let drained = register(
            ours,
            "drained_answers",
            "Answers that were read on after their client had hung up",
            Family::<Result, Counter>::default(),
        );
        let used = register(
            ours,
            "tokens",
            "Tokens that requests to Google took, by the client's key",
            Family::<Tokens, Counter>::default(),
        );
        let calls = register(
            ours,
            "token_service_calls",
            "Calls of the token-service",
            Family::<Call, Counter>::default(),
        );
        let call_time = register(
            ours,
            "token_service_call_duration_seconds",
            "How long calls of the token-service take",
            Family::<Method, Histogram>::new_with_constructor(|| Histogram::new(CALL)),
        );
        let up = register(
            ours,
            "token_service_up",
            "Whether the token-service answered the last call",
            Gauge::default(),
        );
        let away_seconds = register(
            ours,
            "token_service_away_seconds",
            "For how long the token-service has not answered",
            Gauge::<f64, AtomicU64>::default(),
        );
        let tokens = register(
            ours,
            "tokens_in_hand",
            "Projects whose access token is in hand and has not ended",
            Gauge::default(),
        );
        let queued = register(
            ours,
            "outcomes_queued",
            "Reports of outcomes that wait for the token-service",
            Gauge::default(),
        );
        let dropped = register(
            ours,
            "outcomes_dropped",
            "Reports of outcomes that were dropped because too many waited",
            Counter::default(),
        );
        let lost_spans = register(
            ours,
            "spans_lost",
            "Spans that did not get to the collector",
            Counter::default(),
        );
        let lost_entries = register(
            ours,
            "request_log_lost",
            "Requests that REQUEST_LOG lacks, as it could not be written, or not fast enough",
            Counter::default(),
        );
        let started = register(
            ours,
            "start_time_seconds",
            "When the gateway started, in seconds since 1970",
            Gauge::<f64, AtomicU64>::default(),
        );
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        started.set(now.as_secs_f64());
        ours.register(
            "build",
            "Which gateway this is",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        // So that they are there from the start: what is absent raises no alert.
        for outcome in [Outcome::Ok, Outcome::UpstreamError, Outcome::Transport] {
            drop(attempts.get_or_create_owned(&Attempted {
                outcome: outcome_name(outcome),
            }));
        }
        let overhead = ["request", "turn", "media", "answer"]
            .map(|part| overhead.get_or_create_owned(&Part { part }));
        for result in CHATS {
            drop(chats.get_or_create_owned(&Chats { result }));
        }
        Self(Arc::new(Values {
            registry,
            genai,
            keys: Names::new(|other| other),
            requests,
            chats,
            requests_in_flight,
            streams_in_flight,
            overhead,
            lag,
            retries,
            attempts,
            hang_ups,
            drained,
            used,
            calls,
            call_time,
            up,
            away: Mutex::new(None),
            away_seconds,
            tokens,
            queued,
            dropped,
            refused,
            lost_spans,
            lost_entries,
            recent: Recent::default(),
            began: Instant::now(),
            told: Mutex::default(),
        }))
    }
}

/// What can come of a chat request.
const CHATS: [&str; 6] = [
    "served",
    "failed",
    "limited",
    "refused",
    "without_key",
    "cancelled",
];

/// How a client's request ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// Which of our APIs was asked.
    pub surface: &'static str,
    /// The status of its answer.
    pub status: u16,
    /// `ok`, `cancelled`, or what the client was told.
    pub outcome: &'static str,
    /// Whose it was; `None`: nobody's whom we know.
    pub key: Option<&'a str>,
}

impl Ended<'_> {
    /// In one of few words, so that all are there from the start: the first error of a kind is a
    /// rise of what was 0, which an alert sees.
    fn result(&self) -> &'static str {
        match (self.outcome, self.status) {
            (_, ..500) if self.key.is_none() => "without_key",
            ("cancelled", _) => "cancelled",
            ("ok", _) => "served",
            // A stream that has begun has its 200 already.
            (_, 429) | ("insufficient_quota" | "rate_limit_exceeded", 200) => "limited",
            (_, 200 | 500..) => "failed",
            _ => "refused",
        }
    }
}

impl Metrics {
    /// A client's request begins.
    pub fn request_begins(&self) {
        self.0.requests_in_flight.inc();
    }

    /// It is over.
    pub fn request_ends(&self, ended: &Ended<'_>) {
        self.0.requests_in_flight.dec();
        if ended.outcome == "cancelled" {
            self.0.hang_ups.inc();
        }
        if ended.surface == CHAT {
            let result = ended.result();
            self.0.chats.get_or_create(&Chats { result }).inc();
        }
        let request = Request {
            surface: ended.surface,
            status: ended.status,
            outcome: ended.outcome,
            key: self.key(ended.key.unwrap_or_default()),
        };
        self.0.requests.get_or_create(&request).inc();
    }

    fn key(&self, name: &str) -> Arc<str> {
        Arc::clone(&self.0.keys.get(name, KEYS, |name| name))
    }

    /// A client reads a stream, until what this returns is dropped.
    #[must_use]
    pub fn stream(&self) -> InFlight {
        self.0.streams_in_flight.inc();
        InFlight(self.0.streams_in_flight.clone())
    }

    /// A request that had come is sent on, after so long.
    pub fn sent_after(&self, overhead: Duration) {
        self.0.overhead[0].observe(overhead.as_secs_f64());
    }

    /// A request that is not sent on yet has a turn, after so long.
    pub fn turn_after(&self, waited: Duration) {
        self.0.overhead[1].observe(waited.as_secs_f64());
    }

    /// The media that a request names are fetched, or cannot be, after so long.
    pub fn media_after(&self, fetching: Duration) {
        self.0.overhead[2].observe(fetching.as_secs_f64());
    }

    /// What had come of an answer is told, after so long.
    pub fn told_after(&self, overhead: Duration) {
        self.0.overhead[3].observe(overhead.as_secs_f64());
    }

    /// A task ran so much later than it was due.
    fn ran_late(&self, lag: Duration) {
        self.0.lag.observe(lag.as_secs_f64());
    }

    /// The metrics of a model that is asked for.
    #[must_use]
    pub fn model(&self, model: &str, upstream: Upstream) -> Arc<Series> {
        self.0.genai.of(model, upstream)
    }

    /// Google has answered for a model.
    pub fn model_exists(&self, model: &str, series: &Series) {
        self.0.genai.exists(model, series);
    }

    /// Google is asked again, as nothing came of the time before.
    pub fn retry(&self, reason: &'static str) {
        self.0.retries.get_or_create(&Reason { reason }).inc();
    }

    /// An answer was read on after a hang-up; what became of it.
    pub fn drained(&self, result: &'static str) {
        self.0.drained.get_or_create(&Result { result }).inc();
    }

    /// Counts what a key has used.
    pub fn used(&self, key: &str, usage: Usage) {
        let key = self.key(key);
        for (r#type, count) in [
            ("prompt", usage.prompt_tokens()),
            ("cached", usage.cached),
            ("completion", usage.completion_tokens()),
            ("reasoning", usage.thoughts),
        ] {
            let key = Arc::clone(&key);
            let tokens = Tokens { key, r#type };
            self.0.used.get_or_create(&tokens).inc_by(count);
        }
    }

    /// Counts a call of the token-service.
    pub fn token_service_call(&self, method: &'static str, answered: bool, took: Duration) {
        let result = if answered { "answered" } else { "away" };
        self.0.calls.get_or_create(&Call { method, result }).inc();
        let times = self.0.call_time.get_or_create(&Method { method });
        times.observe(took.as_secs_f64());
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
        let outcome = outcome_name(outcome);
        self.0.attempts.get_or_create(&Attempted { outcome }).inc();
    }

    /// Counts a request without a key.
    pub fn refused(&self) {
        self.0.refused.inc();
    }

    /// The last hours of this process.
    #[must_use]
    pub fn recent(&self) -> &Recent {
        &self.0.recent
    }

    /// How things stand now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let values = &self.0;
        let count = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or_default();
        Standing {
            up_for: values.began.elapsed(),
            requests_in_flight: count(&values.requests_in_flight),
            streams_in_flight: count(&values.streams_in_flight),
            away_for: values.away.lock().map(|since| since.elapsed()),
            reports_queued: count(&values.queued),
            reports_dropped: values.dropped.get(),
            requests_without_key: values.refused.get(),
        }
    }

    /// All of them in the text format of OpenMetrics.
    #[must_use]
    pub fn text(&self, elsewhere: impl FnOnce() -> Elsewhere) -> Bytes {
        let values = &self.0;
        // Held while the text is written, so that it is written once.
        let mut told = values.told.lock();
        if let Some((at, text)) = &*told
            && at.elapsed() < FRESH
        {
            return text.clone();
        }
        let elsewhere = elsewhere();
        let tokens = i64::try_from(elsewhere.tokens_in_hand);
        values.tokens.set(tokens.unwrap_or(i64::MAX));
        for (counter, counted) in [
            (&values.lost_spans, elsewhere.lost_spans),
            (&values.lost_entries, elsewhere.lost_entries),
        ] {
            counter.inc_by(counted.saturating_sub(counter.get()));
        }
        let away = values
            .away
            .lock()
            .map_or(Duration::ZERO, |since| since.elapsed());
        values.away_seconds.set(away.as_secs_f64());
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &values.registry);
        let text = Bytes::from(text);
        *told = Some((Instant::now(), text.clone()));
        text
    }
}

/// How things stand at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// For how long this process has run.
    pub up_for: Duration,
    /// Requests of clients that are not over.
    pub requests_in_flight: u64,
    /// Streams that clients read.
    pub streams_in_flight: u64,
    /// For how long the token-service has not answered; `None`: it does, or was not asked yet.
    pub away_for: Option<Duration>,
    /// Reports of outcomes that wait for the token-service.
    pub reports_queued: u64,
    /// Reports that were dropped since the start.
    pub reports_dropped: u64,
    /// Requests that showed none of the keys since the start.
    pub requests_without_key: u64,
}

/// What others count.
#[derive(Clone, Copy, Debug)]
pub struct Elsewhere {
    /// Projects whose access token is in hand.
    pub tokens_in_hand: usize,
    /// Spans that have not got to the collector.
    pub lost_spans: u64,
    /// Entries that the request log lacks.
    pub lost_entries: u64,
}

/// As it is in labels, logs and traces: the contract's name, without its prefix.
#[must_use]
pub fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Unspecified => "unspecified",
        Outcome::Ok => "ok",
        Outcome::Unauthenticated => "unauthenticated",
        Outcome::RateLimited => "rate_limited",
        Outcome::QuotaExhausted => "quota_exhausted",
        Outcome::ModelCapacity => "model_capacity",
        Outcome::ValidationRequired => "validation_required",
        Outcome::Suspended => "suspended",
        Outcome::PermissionDenied => "permission_denied",
        Outcome::ClientUnsupported => "client_unsupported",
        Outcome::InvalidRequest => "invalid_request",
        Outcome::UpstreamError => "upstream_error",
        Outcome::Transport => "transport",
        Outcome::Cancelled => "cancelled",
    }
}

/// Counted while it is there.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
