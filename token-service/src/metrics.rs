//! What the service counts, for Prometheus at `/metrics` of the admin listener.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Metric, Registry},
};

use crate::{
    ledger::Used,
    oauth::RefreshError,
    pool::{Pool, Standing, State},
    project::Upstream,
    refresh::RefreshFailed,
};

/// The content type of [`Pool::metrics_text`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A text is told again for so long: whoever asks more often gets what the last one got.
const FRESH: Duration = Duration::from_millis(100);
/// A pool of more projects is told of in sums alone.
const PROJECTS: usize = 200;
/// Model groups are models on some upstreams, and clients name models.
const GROUPS: usize = 200;
const LONGEST_GROUP: usize = 128;
const REFRESH: [f64; 10] = [0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 6.0, 12.0, 30.0];
const RPC: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 40.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: &'static str,
    upstream: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Project {
    project: Arc<str>,
    upstream: &'static str,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProjectState {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Group {
    model_group: String,
    upstream: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Dealt {
    upstream: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Result {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tokens {
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct What {
    what: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rpc {
    method: Arc<str>,
    code: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;

/// All of them.
pub(crate) struct Metrics {
    registry: Registry,
    projects: Family<InState, Gauge>,
    project_state: Family<Project, Gauge>,
    fresh: Family<Dealt, Gauge>,
    resting: Family<Group, Gauge>,
    refused_clients: Gauge,
    refreshes: Family<Outcome, Counter>,
    refresh_time: Histogram,
    expires_in: Family<ProjectState, Seconds>,
    age: Family<ProjectState, Seconds>,
    project_expires_in: Family<Project, Seconds>,
    turns: [Counter; 3],
    reports: Family<Result, Counter>,
    ledger_behind: Gauge,
    database_up: Gauge,
    replicas: Gauge,
    clock_skew: Seconds,
    ledger_attempts: Counter,
    ledger_answers: Counter,
    ledger_tokens: Family<Tokens, Counter>,
    store_errors: Family<What, Counter>,
    rpcs: Family<Rpc, Histogram, fn() -> Histogram>,
    told: Mutex<Option<(Instant, Bytes)>>,
}

/// What could not be stored.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unstored {
    Ledger,
    States,
    Rotation,
    AccessToken,
}

impl Unstored {
    const ALL: [Self; 4] = [
        Self::Ledger,
        Self::States,
        Self::Rotation,
        Self::AccessToken,
    ];

    fn label(self) -> What {
        let what = match self {
            Self::Ledger => "ledger",
            Self::States => "states",
            Self::Rotation => "rotation",
            Self::AccessToken => "access_token",
        };
        What { what }
    }
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
        let mut registry = Registry::with_prefix("antigravity_token_service");
        let ours = &mut registry;
        let turns: Family<Dealt, Counter> = register(
            ours,
            "turns_dealt",
            "Turns that were dealt",
            Family::default(),
        );
        let turns = Upstream::ALL.map(|upstream| {
            let upstream = upstream.name();
            turns.get_or_create_owned(&Dealt { upstream })
        });
        let started: Seconds = register(
            ours,
            "start_time_seconds",
            "When the service started, in seconds since 1970",
            Seconds::default(),
        );
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        started.set(now.as_secs_f64());
        ours.register(
            "build",
            "Which service this is",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let this = Self {
            projects: register(
                ours,
                "projects",
                "Projects, by whether they are dealt and if not why",
                Family::default(),
            ),
            project_state: register(
                ours,
                "project_state",
                "Each project with its state, in a pool of 200 at the most",
                Family::default(),
            ),
            fresh: register(
                ours,
                "projects_fresh",
                "Projects in the rotation whose credential holds for longer than REFRESH_MARGIN",
                Family::default(),
            ),
            resting: register(
                ours,
                "cooldowns",
                "Projects in the rotation that rest for a model group, or for all",
                Family::default(),
            ),
            refused_clients: register(
                ours,
                "oauth_clients_refused",
                "OAuth clients that Google refuses, so that no project of theirs is refreshed",
                Gauge::default(),
            ),
            refreshes: register(
                ours,
                "refreshes",
                "Refreshes of access tokens, by how they ended",
                Family::default(),
            ),
            refresh_time: register(
                ours,
                "refresh_duration_seconds",
                "How long the OAuth endpoint takes for a refresh, whatever its answer",
                Histogram::new(REFRESH),
            ),
            expires_in: register(
                ours,
                "access_token_expires_in_seconds",
                "Until the first access token of the projects in a state ends; below 0: since",
                Family::default(),
            ),
            age: register(
                ours,
                "access_token_age_seconds",
                "Since the oldest access token of the projects in a state was refreshed",
                Family::default(),
            ),
            project_expires_in: register(
                ours,
                "project_access_token_expires_in_seconds",
                "Until the access token of each project ends, in a pool of 200 at the most",
                Family::default(),
            ),
            turns,
            reports: register(
                ours,
                "reports",
                "Reports of outcomes, counted or known already",
                Family::default(),
            ),
            database_up: register(
                ours,
                "database_up",
                "Whether the database answers, and does what it is asked; otherwise memory is served",
                Gauge::default(),
            ),
            replicas: register(
                ours,
                "replicas",
                "How many token-services share the database, this one included",
                Gauge::default(),
            ),
            clock_skew: register(
                ours,
                "clock_skew_seconds",
                "How far the database's clock is ahead of this machine's, which is made up for",
                Gauge::default(),
            ),
            ledger_behind: register(
                ours,
                "ledger_behind",
                "Whether the ledger holds what the database did not take",
                Gauge::default(),
            ),
            ledger_attempts: register(
                ours,
                "ledger_attempts",
                "Requests to Google that this process wrote into the ledger",
                Counter::default(),
            ),
            ledger_answers: register(
                ours,
                "ledger_answers",
                "Whole answers that this process wrote into the ledger",
                Counter::default(),
            ),
            ledger_tokens: register(
                ours,
                "ledger_tokens",
                "Tokens that this process wrote into the ledger",
                Family::default(),
            ),
            store_errors: register(
                ours,
                "store_errors",
                "Writes that the database did not take, and that are tried again",
                Family::default(),
            ),
            rpcs: register(
                ours,
                "rpc_duration_seconds",
                "Calls, by how they ended",
                Family::new_with_constructor(|| Histogram::new(RPC)),
            ),
            told: Mutex::default(),
            registry,
        };
        // So that they are there from the start: the first of them is to be seen as a rise.
        for outcome in REFRESHES {
            drop(this.refreshes.get_or_create_owned(&Outcome { outcome }));
        }
        for what in Unstored::ALL {
            drop(this.store_errors.get_or_create_owned(&what.label()));
        }
        for result in ["counted", "repeated"] {
            drop(this.reports.get_or_create_owned(&Result { result }));
        }
        this
    }
}

/// How a refresh can end.
const REFRESHES: [&str; 9] = [
    "ok",
    "revoked",
    "key_refused",
    "client_refused",
    "client_mismatch",
    "unavailable",
    "not_stored",
    "elsewhere",
    "superseded",
];

impl Metrics {
    /// The OAuth endpoint has answered, or has not.
    pub(crate) fn asked_for_refresh(&self, took: Duration) {
        self.refresh_time.observe(took.as_secs_f64());
    }

    /// A refresh has ended.
    pub(crate) fn refreshed<T>(&self, ended: &std::result::Result<T, RefreshFailed>) {
        let outcome = match ended {
            Ok(_) => "ok",
            Err(RefreshFailed::Refused(RefreshError::Revoked(_))) => "revoked",
            Err(RefreshFailed::Refused(RefreshError::KeyRefused(_))) => "key_refused",
            Err(RefreshFailed::Refused(RefreshError::ClientRefused(_))) => "client_refused",
            Err(RefreshFailed::Refused(RefreshError::ClientMismatch(_))) => "client_mismatch",
            Err(RefreshFailed::Refused(RefreshError::Transient(_)) | RefreshFailed::BrokenOff) => {
                "unavailable"
            }
            Err(RefreshFailed::NotStored(_) | RefreshFailed::DatabaseAway(_)) => "not_stored",
            Err(RefreshFailed::Elsewhere) => "elsewhere",
            Err(RefreshFailed::Superseded) => "superseded",
        };
        self.refreshes.get_or_create(&Outcome { outcome }).inc();
    }

    /// A turn was dealt.
    pub(crate) fn dealt(&self, upstream: Upstream) {
        self.turns[upstream.index()].inc();
    }

    /// Reports have come.
    pub(crate) fn reported(&self, counted: u32, repeated: u32) {
        for (result, count) in [("counted", counted), ("repeated", repeated)] {
            let reports = self.reports.get_or_create(&Result { result });
            reports.inc_by(count.into());
        }
    }

    /// So much is in the ledger's store.
    pub(crate) fn kept(&self, used: &Used) {
        self.ledger_attempts.inc_by(used.attempts);
        self.ledger_answers.inc_by(used.answers);
        for (r#type, count) in [
            ("prompt", used.prompt_tokens),
            ("cached", used.cached_tokens),
            ("completion", used.completion_tokens),
            ("reasoning", used.reasoning_tokens),
        ] {
            self.ledger_tokens
                .get_or_create(&Tokens { r#type })
                .inc_by(count);
        }
    }

    /// The database did not take something.
    pub(crate) fn not_stored(&self, what: Unstored) {
        self.store_errors.get_or_create(&what.label()).inc();
    }

    /// A call has ended.
    pub(crate) fn called(&self, method: &Arc<str>, code: &'static str, took: Duration) {
        let method = Arc::clone(method);
        let rpc = self.rpcs.get_or_create(&Rpc { method, code });
        rpc.observe(took.as_secs_f64());
    }

    fn look_at(&self, state: &State, now: Timestamp, margin: Duration) {
        self.ledger_behind.set(state.ledger.is_behind.into());
        self.replicas
            .set(state.replicas.try_into().unwrap_or(i64::MAX));
        let refused = state
            .clients
            .values()
            .filter(|client| client.refusal.is_some());
        self.refused_clients
            .set(refused.count().try_into().unwrap_or(i64::MAX));
        for upstream in Upstream::ALL {
            for standing in Standing::ALL {
                let (state, upstream) = (standing.name(), upstream.name());
                self.projects
                    .get_or_create(&InState { state, upstream })
                    .set(0);
            }
            let upstream = upstream.name();
            self.fresh.get_or_create(&Dealt { upstream }).set(0);
        }
        let each = state.projects.len() <= PROJECTS;
        let mut resting = BTreeMap::<(&'static str, &str), i64>::new();
        let mut tokens = BTreeMap::<&'static str, (f64, f64)>::new();
        self.project_state.clear();
        self.project_expires_in.clear();
        self.expires_in.clear();
        self.age.clear();
        for (id, member) in &state.projects {
            let project = &member.record.project;
            let standing = member.state(now);
            let (state, upstream) = (standing.name(), project.upstream.name());
            self.projects
                .get_or_create(&InState { state, upstream })
                .inc();
            if matches!(standing, Standing::Active | Standing::CoolingDown)
                && member.is_fresh(now, margin)
            {
                self.fresh.get_or_create(&Dealt { upstream }).inc();
            }
            match standing {
                Standing::CoolingDown => *resting.entry((upstream, "")).or_default() += 1,
                Standing::Active => {
                    for (group, cooldown) in &project.cooldowns {
                        if cooldown.until > now {
                            *resting.entry((upstream, group)).or_default() += 1;
                        }
                    }
                }
                // It would not be dealt either when it did not rest.
                _ => {}
            }
            let labels = Project {
                project: Arc::clone(id),
                upstream,
                state,
            };
            if each {
                self.project_state.get_or_create(&labels).set(1);
            }
            let Some(token) = &member.record.token else {
                continue;
            };
            let left = token.expires_at.duration_since(now).as_secs_f64();
            if each {
                self.project_expires_in.get_or_create(&labels).set(left);
            }
            let age = token
                .refreshed_at
                .map(|at| now.duration_since(at).as_secs_f64());
            let (first, oldest) = tokens.entry(state).or_insert((f64::INFINITY, 0.0));
            *first = first.min(left);
            *oldest = oldest.max(age.unwrap_or(0.0));
        }
        for (state, (first, oldest)) in tokens {
            let labels = ProjectState { state };
            self.expires_in.get_or_create(&labels).set(first);
            self.age.get_or_create(&labels).set(oldest);
        }
        self.rests(resting);
    }

    fn rests(&self, resting: BTreeMap<(&'static str, &str), i64>) {
        self.resting.clear();
        // There is always one of each, so that a sum over all is 0 and not absent.
        for upstream in Upstream::ALL {
            let all = Group {
                model_group: "(all)".to_owned(),
                upstream: upstream.name(),
            };
            self.resting.get_or_create(&all).set(0);
        }
        for (number, ((upstream, group), projects)) in resting.into_iter().enumerate() {
            let model_group = match group {
                // It is the whole project that rests.
                "" => "(all)",
                _ if number >= GROUPS => "(other)",
                group => &group[..group.floor_char_boundary(LONGEST_GROUP)],
            };
            let model_group = model_group.to_owned();
            let group = Group {
                model_group,
                upstream,
            };
            let resting = self.resting.get_or_create_owned(&group);
            resting.inc_by(projects);
        }
    }
}

impl Pool {
    /// All of them in the text format of OpenMetrics.
    pub(crate) fn metrics_text(&self) -> Bytes {
        let metrics = &self.metrics;
        // Held while the text is written, so that it is written once.
        let mut told = metrics.told.lock();
        if let Some((at, text)) = &*told
            && at.elapsed() < FRESH
        {
            return text.clone();
        }
        metrics.look_at(&self.state(), self.now(), self.refresh_margin);
        metrics.database_up.set(self.is_database_up().into());
        metrics.clock_skew.set(self.skew() as f64 / 1000.0);
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &metrics.registry);
        let text = Bytes::from(text);
        *told = Some((Instant::now(), text.clone()));
        text
    }
}
