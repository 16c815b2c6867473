//! Turns and access tokens in hand, drawn from the token-service ahead of need.
//!
//! A request waits for the token-service only when no usable token is in hand (and a tenth
//! of a second when what is in hand was not dealt lately). When
//! its turns are used up before new ones came, the gateway goes round over the tokens
//! that it has and settles with the next turns that it draws, so that every project
//! still gets its share.

mod affinity;
mod ahead;
mod client;
mod endpoints;
mod held;
pub mod operator;
mod queue;
mod replicas;
mod rest;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use antigravity_proto::v1::{self, Upstream};
use antigravity_runtime::clock::Clock;
use antigravity_traces::Context;
use jiff::Timestamp;
use parking_lot::Mutex;
use secrecy::SecretString;

use self::client::Refusal;
pub use self::{
    affinity::Conversation,
    client::{Client, ClientError},
    endpoints::BACKOFF,
    held::{Held, KNOWN, Lease, Now, Token, Trust},
    queue::Key,
};
use crate::error::Error;

/// What a request needs a token for.
#[derive(Clone, Debug)]
pub struct Want<'w> {
    /// The model to be asked.
    pub model: &'w str,
    /// Upstreams that list it; empty: any.
    pub upstreams: &'w [Upstream],
    /// Projects that this request does not want (again).
    pub exclude: &'w HashSet<Arc<str>>,
    /// What it goes on with, if its project is to be the same again.
    pub conversation: Option<Conversation>,
    /// Where it is in its trace.
    pub asked_in: Option<&'w Context>,
}

/// Why no token can be had.
#[derive(Debug)]
pub enum AcquireError {
    /// Every project that could serve was excluded by the request.
    AllExcluded,
    /// As the client is to be told.
    Refused(Error),
}

impl From<Refusal> for AcquireError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::AllExcluded => Self::AllExcluded,
            Refusal::Told(error) => Self::Refused(error),
        }
    }
}

impl AcquireError {
    fn is_away(&self) -> bool {
        matches!(self, Self::Refused(Error::TokenServiceAway))
    }
}

/// How long the token-service is waited for when there is a token in hand.
pub const ASKING: Duration = Duration::from_millis(100);

/// How long a request waits for a token-service that is away when there is no token in
/// hand: as long as a restart takes.
const RESTARTING: Duration = Duration::from_secs(2);

/// The gateway's side of the rotation.
#[derive(Debug)]
pub struct Tokens {
    client: Client,
    held: Mutex<Held>,
    /// One draw at a time for each queue, so that those who wait share it.
    drawing: Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>,
    waiting: AtomicUsize,
    clock: Clock,
}

impl Tokens {
    /// Nothing in hand yet.
    #[must_use]
    pub fn new(client: Client, clock: Clock) -> Self {
        Self {
            client,
            held: Mutex::default(),
            drawing: Mutex::default(),
            waiting: AtomicUsize::new(0),
            clock,
        }
    }

    /// How many usable tokens are in hand.
    #[must_use]
    pub fn in_hand(&self) -> usize {
        self.held.lock().count(self.clock.now())
    }

    /// Whether an unexpired token is in hand.
    #[must_use]
    pub fn has_usable(&self) -> bool {
        self.in_hand() > 0
    }

    /// Whether the token-service answers; asked of it at most once a second.
    pub async fn is_reachable(&self) -> bool {
        self.client.is_reachable().await
    }

    /// The token-service for whoever shows an operator's token; `None`: no header can carry it.
    #[must_use]
    pub fn operator(&self, token: &SecretString) -> Option<operator::Operator> {
        self.client.operator(token)
    }

    /// The upstreams that the pool has projects of; empty: not known yet.
    #[must_use]
    pub fn pool_upstreams(&self) -> Vec<Upstream> {
        self.held.lock().pool_upstreams.clone()
    }

    /// The next turn for a request, or a token without one.
    ///
    /// # Errors
    /// No project can serve, and why.
    pub async fn acquire(self: &Arc<Self>, want: &Want<'_>) -> Result<Lease, AcquireError> {
        let key = Key::of(want.upstreams, want.model, &self.held.lock().pool_upstreams);
        if let Some(conversation) = want.conversation
            && let Some(lease) = self.acquire_preferred(conversation, &key, want).await
        {
            return Ok(lease);
        }
        self.acquire_from(&key, want).await
    }

    /// The next turn that is held for `key`.
    async fn acquire_from(
        self: &Arc<Self>,
        key: &Key,
        want: &Want<'_>,
    ) -> Result<Lease, AcquireError> {
        if let Some(lease) = self.take(key, want, Trust::Known) {
            return Ok(lease);
        }
        let now = self.now();
        let fallback = self.held.lock().has_any(key, want.model, want.exclude, now);
        if !fallback {
            return self.wait_for_service(key, want).await;
        }
        let drawn = self.wait_for_turn(key, want);
        // There is a token in hand that was not dealt lately: its project may have been taken
        // out of the rotation, so the service is asked, but not waited for.
        match tokio::time::timeout(ASKING, drawn).await {
            Ok(Ok(lease)) => Ok(lease),
            Ok(Err(error)) if !error.is_away() => Err(error),
            Ok(Err(_)) | Err(_) => match self.take(key, want, Trust::Any) {
                Some(lease) => Ok(lease),
                None => self.wait_for_service(key, want).await,
            },
        }
    }

    /// Waits for a turn, as there is nothing in hand to go on with.
    async fn wait_for_service(
        self: &Arc<Self>,
        key: &Key,
        want: &Want<'_>,
    ) -> Result<Lease, AcquireError> {
        wait_out_a_restart(|| self.wait_for_turn(key, want)).await
    }

    async fn wait_for_turn(
        self: &Arc<Self>,
        key: &Key,
        want: &Want<'_>,
    ) -> Result<Lease, AcquireError> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = scopeguard(&self.waiting);
        if self.held.lock().is_shut_out(key, self.clock.now()) {
            return Err(AcquireError::Refused(self.resting(key, want.model)));
        }
        // A turn may come that cannot be used here, such as one of a project whose token
        // Google has just refused; the service learns which, and deals another.
        let mut unwanted = want.exclude.clone();
        for _ in 0..4 {
            let guard = self.drawing_of(key).lock_owned().await;
            if let Some(lease) = self.take(key, want, Trust::Known) {
                return Ok(lease);
            }
            unwanted.extend(self.held.lock().unusable(key, want.model, self.now()));
            let waiting = self.waiting.load(Ordering::Relaxed);
            let drawn = self
                .draw_apart(key, want, &unwanted, waiting, None, guard)
                .await;
            let projects = match drawn {
                Ok(projects) => projects,
                Err(Refusal::AllExcluded) if want.exclude.is_empty() => {
                    // What excludes them all are this gateway's own cooldowns.
                    return Err(AcquireError::Refused(self.resting(key, want.model)));
                }
                Err(refusal) => return Err(refusal.into()),
            };
            if let Some(lease) = self.take(key, want, Trust::Known) {
                return Ok(lease);
            }
            unwanted.extend(projects);
        }
        Err(AcquireError::AllExcluded)
    }

    /// Draws in a task of its own: a client that goes away meanwhile loses no turns.
    async fn draw_apart(
        self: &Arc<Self>,
        key: &Key,
        want: &Want<'_>,
        exclude: &HashSet<Arc<str>>,
        waiting: usize,
        prefer: Option<Arc<str>>,
        guard: tokio::sync::OwnedMutexGuard<()>,
    ) -> Result<Vec<Arc<str>>, Refusal> {
        let this = Arc::clone(self);
        let (key, model, exclude) = (key.clone(), want.model.to_owned(), exclude.clone());
        let asked_in = want.asked_in.cloned();
        let draw = async move {
            // Held as long as the draw runs, whoever waits for it.
            let _guard = guard;
            let asked_in = asked_in.as_ref();
            this.draw(&key, &model, &exclude, waiting, prefer, asked_in)
                .await
        };
        tokio::spawn(draw)
            .await
            .unwrap_or(Err(Refusal::Told(Error::Internal)))
    }

    fn drawing_of(&self, key: &Key) -> Arc<tokio::sync::Mutex<()>> {
        let mut drawing = self.drawing.lock();
        // Clients name models as they like: what nobody draws for is forgotten.
        drawing.retain(|other, lock| other == key || Arc::strong_count(lock) > 1);
        Arc::clone(drawing.entry(key.clone()).or_default())
    }

    fn now(&self) -> Now {
        Now {
            wall: self.clock.now(),
            instant: self.clock.instant(),
        }
    }

    fn take(self: &Arc<Self>, key: &Key, want: &Want<'_>, trust: Trust) -> Option<Lease> {
        let (lease, low) = {
            let mut held = self.held.lock();
            let lease = held.take(key, want.model, want.exclude, trust, self.now());
            let low = lease.is_some() && held.begin_refill(key);
            (lease, low)
        };
        self.refill(low, key, want.model);
        lease
    }

    /// Draws turns ahead, off the request's path: its turn is in hand already.
    fn refill(self: &Arc<Self>, low: bool, key: &Key, model: &str) {
        if !low {
            return;
        }
        let this = Arc::clone(self);
        let (key, model) = (key.clone(), model.to_owned());
        tokio::spawn(async move {
            let unusable = this.held.lock().unusable(&key, &model, this.now());
            let drawn = this.draw(&key, &model, &unusable, 0, None, None).await;
            this.held.lock().end_refill(&key);
            if let Err(refusal) = drawn {
                tracing::debug!(?refusal, "no turns to hold ahead");
            }
        });
    }

    /// Draws turns into `key`'s queue; the projects that were dealt.
    async fn draw(
        &self,
        key: &Key,
        model: &str,
        exclude: &HashSet<Arc<str>>,
        waiting: usize,
        prefer: Option<Arc<str>>,
        asked_in: Option<&Context>,
    ) -> Result<Vec<Arc<str>>, Refusal> {
        let (count, returned_turns) = self.held.lock().order(key, waiting, self.now());
        let request = v1::AcquireTokensRequest {
            count: Some(count),
            upstreams: key.upstreams.iter().map(|u| i32::from(*u)).collect(),
            model: model.to_owned(),
            exclude_project_ids: exclude.iter().map(|id| id.to_string()).collect(),
            returned_turns: returned_turns.clone(),
            prefer_project_id: prefer.map(|id| id.to_string()).unwrap_or_default(),
            ..Default::default()
        };
        let answer = self.client.acquire(request, asked_in).await;
        let mut held = self.held.lock();
        match answer {
            Ok(response) => Ok(held.add(key, response, self.now())),
            Err(refusal) => {
                if refusal.is_away() {
                    held.disconnected(returned_turns);
                } else {
                    held.nobody_is_dealt(key, exclude);
                }
                Err(refusal)
            }
        }
    }

    /// A fresh token for a project whose token Google has refused with what it `said`;
    /// `None` when there is none to be had now.
    pub async fn replace(
        &self,
        refused: &Token,
        said: &str,
        asked_in: Option<&Context>,
    ) -> Option<Arc<Token>> {
        if let Some(newer) = self.held.lock().refuse(refused, self.now()) {
            return Some(newer);
        }
        let request = v1::AcquireTokensRequest {
            count: Some(0),
            rejected: vec![v1::RejectedToken {
                project_id: refused.project.to_string(),
                fingerprint: refused.fingerprint.to_string(),
                reason: said.to_owned(),
            }],
            ..Default::default()
        };
        let response = self.client.acquire(request, asked_in).await.ok()?;
        let mut held = self.held.lock();
        let now = self.now();
        let successor = response
            .refreshed
            .into_iter()
            .filter(|token| token.fingerprint != *refused.fingerprint)
            .find_map(|token| held.learn(token, now))
            .filter(|token| token.project == refused.project);
        if successor.is_none() && refused.is_api_key() {
            // The service will not deal it again. What it deals next of the project is another.
            held.forget(&refused.project);
        }
        successor
    }

    /// Lets a project rest for a model's group until `until`, from now on and on this
    /// gateway's own turns too.
    pub fn cool(&self, token: &Token, model: &str, until: Timestamp) {
        let now = self.now();
        self.held.lock().cool(token, model, until, now);
    }

    /// Lets every project of an upstream rest on this gateway.
    pub fn cool_upstream(&self, upstream: Upstream, until: Timestamp) {
        self.held.lock().rests.cool_upstream(upstream, until);
    }

    /// Google turned the account of a project away: it is asked nothing more until the
    /// token-service, which is told, deals it again.
    pub fn turn_away(&self, token: &Token) {
        self.held.lock().turn_away(&token.project, self.now());
    }

    /// Google denies a project its service: others serve instead where there are any.
    pub fn deny(&self, token: &Token) {
        self.held.lock().deny(&token.project, self.now());
    }

    /// How long until the first project that rests for this model may be asked again.
    #[must_use]
    pub fn earliest_end(&self, model: &str) -> Option<Duration> {
        let now = self.clock.now();
        let until = self.held.lock().earliest_end(&Key::any(), model, now)?;
        Duration::try_from(until.duration_since(now)).ok()
    }

    /// What to tell when all projects rest.
    fn resting(&self, key: &Key, model: &str) -> Error {
        let now = self.clock.now();
        let until = self.held.lock().earliest_end(key, model, now);
        match until {
            Some(until) => Error::RateLimited {
                message: "Every project that could serve this model rests, as Google asked."
                    .to_owned(),
                retry_after: Duration::try_from(until.duration_since(now)).ok(),
                quota: false,
            },
            None => Error::NoUsableProject {
                message: "Google turns away every project that could serve this request. \
                          `antigravity-gateway projects list` tells why."
                    .to_owned(),
            },
        }
    }

    /// The projects in hand of one upstream.
    #[must_use]
    pub fn projects_of(&self, upstream: Upstream) -> Vec<Arc<str>> {
        self.held.lock().projects_of(upstream)
    }
}

/// Tries again while the token-service is away, for as long as a restart takes: there is
/// nothing in hand to go on with.
async fn wait_out_a_restart<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, AcquireError>
where
    F: Future<Output = Result<T, AcquireError>>,
{
    let began = Instant::now();
    loop {
        match attempt().await {
            Err(error) if error.is_away() && began.elapsed() < RESTARTING => {
                tokio::time::sleep(ASKING).await;
            }
            result => return result,
        }
    }
}

/// Counts one down when it goes out of scope.
fn scopeguard(counter: &AtomicUsize) -> impl Drop + '_ {
    struct Guard<'c>(&'c AtomicUsize);
    impl Drop for Guard<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    Guard(counter)
}
