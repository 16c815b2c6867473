//! All projects in memory: what the store keeps, and what only this process knows of
//! them. The database is written before memory changes, so that nothing is handed out
//! that a crash would lose.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use antigravity_runtime::{clock::Clock, secret::fingerprint};
use antigravity_traces::Traces;
use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, MutexGuard};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::{
    config::Config,
    credential::Credential,
    keys::KeyPlace,
    last_hour::LastHour,
    ledger::Ledger,
    metrics::{self, Metrics},
    oauth::OAuth,
    outcomes::SeenOutcomes,
    project::{Denial, ProjectId, Status, Upstream},
    quota::{self, Quota},
    refresh::{Failure, Flight, Replaced, Unstored},
    replicas::{Ahead, Trouble},
    rotation::Rotation,
    store::{
        ClientImportRecord, ClientRecord, Everything, ImportRecord, ProjectRecord, Restated, Store,
        StoredToken,
    },
};

/// Everything that the RPCs work on.
pub(crate) struct Pool {
    state: Mutex<State>,
    /// Held from reading memory over writing the store to changing memory, so that two
    /// changes of one project do not undo each other.
    pub(crate) writes: tokio::sync::Mutex<()>,
    /// Held while entries of the ledger are on their way to the store: who finds it free and the
    /// ledger empty knows that all is stored.
    pub(crate) ledger_writes: tokio::sync::Mutex<()>,
    pub(crate) usage_retention: Duration,
    pub(crate) store: Store,
    pub(crate) oauth: OAuth,
    pub(crate) clock: Clock,
    pub(crate) refresh_margin: Duration,
    pub(crate) default_upstream: Upstream,
    /// What goes on when its caller goes away, and what the shutdown waits for.
    pub(crate) tasks: TaskTracker,
    /// Something changed that may be due for a refresh.
    pub(crate) changed: Notify,
    /// It was looked for what other replicas have stored.
    pub(crate) followed: Notify,
    /// How far the database's clock is ahead of this machine's, in milliseconds.
    skew: AtomicI64,
    /// The order of the rotation could not be saved when it was tried last.
    places_behind: AtomicBool,
    /// Some project may be in another state.
    pub(crate) restated: Notify,
    /// Tells this process's turns from those of others.
    pub(crate) instance: String,
    pub(crate) key_place: KeyPlace,
    pub(crate) metrics: Metrics,
    pub(crate) traces: Traces,
}

pub(crate) struct State {
    /// Boxed, as nodes of the tree are half empty.
    pub(crate) projects: BTreeMap<ProjectId, Box<Member>>,
    pub(crate) clients: BTreeMap<String, Client>,
    /// What was last taken over for each project, from one source or both.
    pub(crate) imports: HashMap<ProjectId, Vec<ImportRecord>>,
    pub(crate) client_imports: Vec<ClientImportRecord>,
    pub(crate) rotation: Rotation,
    pub(crate) seen: SeenOutcomes,
    pub(crate) ledger: Ledger,
    /// Projects whose state is only in memory yet, and what of it is to be stored.
    pub(crate) pending: HashMap<ProjectId, Restated>,
    /// Projects whose state could not be stored when it was tried last.
    pub(crate) unkept: HashSet<ProjectId>,
    /// What operators have changed, and the database lacks.
    pub(crate) ahead: Ahead,
    /// Why something that another replica has stored cannot be read.
    pub(crate) unreadable: Option<String>,
    /// Why the database, which is there, refuses what replicas ask of it.
    pub(crate) trouble: Trouble,
    /// How many replicas share the database, this one included.
    pub(crate) replicas: usize,
    /// How many projects each upstream has, by [`Upstream::index`].
    population: [usize; 3],
}

/// A project and what this process knows of it.
pub(crate) struct Member {
    pub(crate) record: ProjectRecord,
    /// Of the access token, or the API key; empty without one.
    pub(crate) fingerprint: String,
    /// Google refused the access token before its time.
    pub(crate) refused: bool,
    pub(crate) flight: Option<Flight>,
    /// Of the last flight.
    pub(crate) flight_began: Option<Timestamp>,
    pub(crate) failure: Option<Failure>,
    /// The last refresh because Google refused a token.
    pub(crate) forced_at: Option<Timestamp>,
    pub(crate) dealt_at: Option<Timestamp>,
    /// When this process last set its credential: older reports are about another.
    pub(crate) credential_at: Option<Timestamp>,
    /// What Google returned to a refresh, as long as it could not be stored.
    pub(crate) unstored: Option<Unstored>,
    /// The refresh tokens that it had before.
    pub(crate) replaced: Replaced,
    pub(crate) denial: Option<Denial>,
    pub(crate) last_hour: LastHour,
    /// What Google last said of its quotas.
    pub(crate) quotas: Vec<Quota>,
    pub(crate) quota_asked: quota::Asked,
}

/// Whether a project is dealt, as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Active,
    CoolingDown,
    Denied,
    NeedsLogin,
    NeedsValidation,
    Suspended,
    Disabled,
}

impl Standing {
    pub(crate) const ALL: [Self; 7] = [
        Self::Active,
        Self::CoolingDown,
        Self::Denied,
        Self::NeedsLogin,
        Self::NeedsValidation,
        Self::Suspended,
        Self::Disabled,
    ];

    /// For logs and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::CoolingDown => "cooling_down",
            Self::Denied => "denied",
            Self::NeedsLogin => "needs_login",
            Self::NeedsValidation => "needs_validation",
            Self::Suspended => "suspended",
            Self::Disabled => "disabled",
        }
    }
}

/// An OAuth client and whether Google refuses it.
pub(crate) struct Client {
    pub(crate) record: ClientRecord,
    pub(crate) refusal: Option<Refusal>,
}

/// Google's refusal of an OAuth client.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) since: Timestamp,
    pub(crate) failure: Failure,
}

/// An access token and where it may be used.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) project: ProjectId,
    pub(crate) google_project_id: String,
    pub(crate) upstream: Upstream,
    pub(crate) location: String,
    pub(crate) secret: SecretString,
    /// `None`: it is an API key, which does not end by itself.
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) fingerprint: String,
}

impl Pool {
    /// With all that the store holds, and the reports that were counted of late.
    pub(crate) fn new(
        config: &Config,
        (store, everything, counted): (Store, Everything, Vec<u128>),
        oauth: OAuth,
        instance: String,
        key_place: KeyPlace,
        traces: Traces,
    ) -> Self {
        let mut state = State::of(everything);
        for id in counted {
            state.seen.remember(id);
        }
        Self {
            state: Mutex::new(state),
            writes: tokio::sync::Mutex::new(()),
            ledger_writes: tokio::sync::Mutex::new(()),
            usage_retention: config.usage_retention,
            store,
            oauth,
            clock: config.clock.clone(),
            refresh_margin: config.refresh_margin,
            default_upstream: config.default_upstream,
            tasks: TaskTracker::new(),
            changed: Notify::new(),
            followed: Notify::new(),
            skew: AtomicI64::new(0),
            places_behind: AtomicBool::new(false),
            restated: Notify::new(),
            instance,
            key_place,
            metrics: Metrics::default(),
            traces,
        }
    }

    /// The time, as exactly as the store keeps it; the database's where replicas share one.
    pub(crate) fn now(&self) -> Timestamp {
        let now = self.clock.now();
        let told = now.as_millisecond().saturating_add(self.skew());
        Timestamp::from_millisecond(told).unwrap_or(now)
    }

    pub(crate) fn skew(&self) -> i64 {
        self.skew.load(Ordering::Relaxed)
    }

    pub(crate) fn set_skew(&self, milliseconds: i64) {
        self.skew.store(milliseconds, Ordering::Relaxed);
    }

    /// Never held over an await.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Saves the order of the rotation as far as it changed.
    pub(crate) async fn save_places(&self) {
        let moved = self.state().rotation.take_moved();
        if moved.is_empty() {
            return;
        }
        if let Err(error) = self.store.commit_places(&moved).await {
            self.metrics.not_stored(metrics::Unstored::Rotation);
            if !self.places_behind.swap(true, Ordering::Relaxed) {
                tracing::error!(
                    %error,
                    "cannot save the order of the rotation; it is tried again every second"
                );
            }
            let projects = moved.into_iter().map(|(project, _)| project);
            self.state().rotation.mark_moved(projects);
        } else if self.places_behind.swap(false, Ordering::Relaxed) {
            tracing::info!("saved the order of the rotation");
        }
    }
}

impl State {
    /// All that is kept; of the rest this process knows nothing yet.
    pub(crate) fn of(everything: Everything) -> Self {
        let mut state = Self {
            projects: BTreeMap::new(),
            clients: BTreeMap::new(),
            imports: HashMap::new(),
            client_imports: everything.client_imports,
            rotation: Rotation::default(),
            seen: SeenOutcomes::default(),
            ledger: Ledger::default(),
            pending: HashMap::new(),
            unkept: HashSet::new(),
            ahead: Ahead::default(),
            unreadable: None,
            trouble: Trouble::default(),
            replicas: 1,
            population: [0; 3],
        };
        for record in everything.clients {
            state.put_client(record);
        }
        for import in everything.imports {
            state.put_import(import);
        }
        let places: HashMap<_, _> = everything.places.into_iter().collect();
        for record in everything.projects {
            let place = places.get(&record.project.id).copied().unwrap_or(0);
            state.insert(record, place);
        }
        state
    }

    /// Adds a project; `place` is the number of its last turn, 0 for none.
    pub(crate) fn insert(&mut self, record: ProjectRecord, place: u64) {
        let id = Arc::clone(&record.project.id);
        self.rotation.insert(&id, record.project.position, place);
        let mut member = Member {
            fingerprint: String::new(),
            refused: false,
            flight: None,
            flight_began: None,
            failure: None,
            forced_at: None,
            dealt_at: None,
            credential_at: None,
            unstored: None,
            replaced: Replaced::default(),
            denial: None,
            last_hour: LastHour::default(),
            quotas: Vec::new(),
            quota_asked: quota::Asked::default(),
            record,
        };
        member.name_token();
        self.population[member.record.project.upstream.index()] += 1;
        self.projects.insert(Arc::clone(&id), Box::new(member));
        self.refit(&id);
    }

    pub(crate) fn put_client(&mut self, record: ClientRecord) {
        let id = record.credentials.client_id.clone();
        self.clients.insert(
            id,
            Client {
                record,
                refusal: None,
            },
        );
    }

    pub(crate) fn put_import(&mut self, import: ImportRecord) {
        let imports = self
            .imports
            .entry(Arc::clone(&import.project_id))
            .or_default();
        imports.retain(|old| old.source != import.source);
        imports.push(import);
    }

    pub(crate) fn put_client_import(&mut self, import: ClientImportRecord) {
        self.client_imports
            .retain(|old| (&old.client_id, old.source) != (&import.client_id, import.source));
        self.client_imports.push(import);
    }

    pub(crate) fn remove(&mut self, id: &ProjectId) {
        if let Some(member) = self.projects.remove(id) {
            self.population[member.record.project.upstream.index()] -= 1;
        }
        self.rotation.remove(id);
        self.pending.remove(id);
        self.ahead.projects.remove(id);
    }

    /// Puts a project into the rotation or takes it out, as its state now says.
    pub(crate) fn refit(&mut self, id: &ProjectId) {
        if let Some(member) = self.projects.get(id) {
            let project = &member.record.project;
            let upstream = project.is_dealt().then_some(project.upstream);
            self.rotation.set(id, upstream);
            self.rotation.reconsider(id);
        }
    }

    /// Counts a project that moved from one upstream to another.
    pub(crate) fn recount(&mut self, from: Upstream, to: Upstream) {
        self.population[from.index()] -= 1;
        self.population[to.index()] += 1;
    }

    /// The upstreams that there are projects of.
    pub(crate) fn upstreams(&self) -> impl Iterator<Item = Upstream> {
        let population = self.population;
        Upstream::ALL
            .into_iter()
            .filter(move |upstream| population[upstream.index()] > 0)
    }

    /// For a new project: after all others.
    pub(crate) fn next_position(&self) -> i64 {
        self.projects
            .values()
            .map(|member| member.record.project.position)
            .max()
            .unwrap_or(0)
            + 1
    }
}

impl Member {
    /// Takes a new access token (or none) in.
    pub(crate) fn set_token(&mut self, token: Option<StoredToken>) {
        self.record.token = token;
        self.refused = false;
        self.name_token();
    }

    /// Whether a stored token is another than the one that is here.
    pub(crate) fn differs(&self, stored: Option<&StoredToken>) -> bool {
        let secret =
            |token: Option<&StoredToken>| token.map(|it| it.secret.expose_secret().to_owned());
        secret(self.record.token.as_ref()) != secret(stored)
    }

    fn name_token(&mut self) {
        self.fingerprint = self
            .to_hand_out()
            .map(|(secret, _)| fingerprint(secret.expose_secret()))
            .unwrap_or_default();
    }

    /// Whether it is dealt, and if not, why.
    pub(crate) fn state(&self, now: Timestamp) -> Standing {
        let project = &self.record.project;
        match &project.status {
            _ if project.disabled => Standing::Disabled,
            Status::NeedsLogin { .. } => Standing::NeedsLogin,
            Status::NeedsValidation { .. } => Standing::NeedsValidation,
            Status::Suspended { .. } => Standing::Suspended,
            Status::Active if self.is_denied(now) => Standing::Denied,
            Status::Active if project.is_cooling_wholly(now) => Standing::CoolingDown,
            Status::Active => Standing::Active,
        }
    }

    /// What led to its state, and the link to open.
    pub(crate) fn why(&self, now: Timestamp) -> (String, String) {
        match (&self.record.project.status, &self.denial) {
            (Status::Active, Some(denial)) if denial.until > now => (
                format!("Google denies its service ({})", denial.reason),
                denial.url.clone(),
            ),
            (status, _) => {
                let (reason, url) = status.explanation();
                (reason.to_owned(), url.to_owned())
            }
        }
    }

    /// Whether Google has denied its service a moment ago.
    pub(crate) fn is_denied(&self, now: Timestamp) -> bool {
        self.denial
            .as_ref()
            .is_some_and(|denial| denial.until > now)
    }

    /// What gateways get, and when it ends.
    fn to_hand_out(&self) -> Option<(&SecretString, Option<Timestamp>)> {
        match (&self.record.credential, &self.record.token) {
            (Credential::ApiKey(key), _) => Some((key, None)),
            (_, Some(token)) => Some((&token.secret, Some(token.expires_at))),
            (_, None) => None,
        }
    }

    /// The token to hand out. `None` when there is none.
    pub(crate) fn grant(&self) -> Option<Grant> {
        let (secret, expires_at) = self.to_hand_out()?;
        let project = &self.record.project;
        Some(Grant {
            project: Arc::clone(&project.id),
            google_project_id: project.google_project_id.clone(),
            upstream: project.upstream,
            location: project.location.clone(),
            secret: secret.clone(),
            expires_at,
            fingerprint: self.fingerprint.clone(),
        })
    }
}

/// Whether `now` is less than `span` after `then`. Not so when the clock was set back
/// behind `then`: nothing should wait for it to catch up.
pub(crate) fn within(now: Timestamp, then: Timestamp, span: Duration) -> bool {
    let passed = now.duration_since(then);
    let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
    !passed.is_negative() && passed < span
}
