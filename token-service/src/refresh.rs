//! Keeps access tokens fresh: when a refresh is due, one flight per project that all
//! callers share, and what its end means.

mod ahead;
mod lease;
mod replaced;

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::{Duration, Instant},
};

use antigravity_traces::{Context, Kind as SpanKind, Span, grpc};
use jiff::Timestamp;
use secrecy::SecretString;
use tokio::sync::watch;

pub use self::ahead::{BACKGROUND_REFRESHES, ahead, stagger};
use self::lease::Renewal;
pub(crate) use self::replaced::Replaced;
use crate::{
    credential::{Credential, Kind, Proof},
    metrics,
    oauth::{RefreshError, USUAL_LIFETIME},
    pool::{Grant, Member, Pool, Refusal, State, within},
    project::{ProjectId, Status},
    store::{Lease, Restated, StoreError, StoredToken},
};

/// After a refresh the token is handed out for as long, whatever its lifetime.
const REFRESH_PAUSE: Duration = Duration::from_secs(10);
/// Refreshes because Google refuses tokens, per project: a project that is refused for
/// another cause would be refreshed with every request.
const FORCED_PAUSE: Duration = Duration::from_secs(60);
const TRANSIENT_REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
const CONFIGURATION_REST: (Duration, Duration) =
    (Duration::from_secs(30), Duration::from_secs(600));
/// A disk that was full is written to again soon after there is room.
const STORE_REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// How long callers wait for a refresh while another project could serve them, or the
/// old token still can.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// A refresh that runs, and how it ended once it did.
pub(crate) type Flight = watch::Receiver<Option<Result<Grant, RefreshFailed>>>;

/// What Google returned, and could not be stored: asking again could not bring a rotated
/// refresh token back.
#[derive(Clone)]
pub(crate) struct Unstored {
    generation: i64,
    lease: Lease,
    token: StoredToken,
    rotated: Option<SecretString>,
    /// The refresh token that Google was asked with, and which `rotated` replaces.
    asked_with: Option<SecretString>,
}

/// How a refresh failed.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum RefreshFailed {
    /// Google's answer, or that there was none.
    #[error(transparent)]
    Refused(#[from] RefreshError),
    /// The project was changed or removed meanwhile: the answer is about another
    /// refresh token.
    #[error("the project was changed meanwhile; try again")]
    Superseded,
    /// The answer could not be kept, so it cannot be handed out.
    #[error("the new access token cannot be stored: {0}")]
    NotStored(String),
    /// The database cannot be asked whether another replica refreshes it, nor keep the answer.
    #[error("no access token is refreshed without the database: {0}")]
    DatabaseAway(String),
    /// Another replica has not come to an end with it.
    #[error("another token-service refreshes it, and has not ended yet; try again")]
    Elsewhere,
    /// The task broke off.
    #[error("the refresh broke off; try again")]
    BrokenOff,
}

impl RefreshFailed {
    /// In a word, for traces.
    fn kind(&self) -> &'static str {
        match self {
            Self::Refused(error) => error.kind(),
            Self::Superseded => "superseded",
            Self::NotStored(_) => "not_stored",
            Self::DatabaseAway(_) => "database_away",
            Self::Elsewhere => "elsewhere",
            Self::BrokenOff => "broken_off",
        }
    }
}

/// A failed refresh, remembered so that not every caller tries again.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    at: Timestamp,
    rest: Duration,
    strikes: u32,
    pub(crate) error: RefreshFailed,
}

/// What can be done with a project's token now.
pub(crate) enum Readiness {
    /// To be handed out as it is.
    Ready(Grant),
    /// To be refreshed first; `fallback` is still valid.
    Due { fallback: Option<Grant> },
    /// There is no usable token and no use in asking for one now.
    Unusable,
}

impl Failure {
    fn next(
        before: Option<&Self>,
        now: Timestamp,
        (first, longest): (Duration, Duration),
        error: RefreshFailed,
        salt: &str,
    ) -> Self {
        let strikes = before.map_or(0, |before| before.strikes.saturating_add(1));
        let rest = first.saturating_mul(1 << strikes.min(16)).min(longest);
        Self {
            at: now,
            rest: rest.mul_f64(0.8 + 0.4 * spread(salt, i64::from(strikes))),
            strikes,
            error,
        }
    }

    pub(crate) fn rests(&self, now: Timestamp) -> bool {
        within(now, self.at, self.rest)
    }

    /// Starts the rest anew: while it is tried again, nobody else does.
    fn extend(&mut self, now: Timestamp) {
        self.at = now;
    }

    /// How long until it is tried again.
    pub(crate) fn retry_in(&self, now: Timestamp) -> Duration {
        let passed = Duration::try_from(now.duration_since(self.at)).unwrap_or_default();
        self.rest.saturating_sub(passed)
    }
}

impl State {
    /// What can be done with `member`'s token at `now`.
    pub(crate) fn readiness(&self, member: &Member, now: Timestamp, margin: Duration) -> Readiness {
        let usable = member.grant().filter(|_| member.is_usable(now));
        match usable {
            Some(grant) if !member.is_due(now, margin) => Readiness::Ready(grant),
            Some(grant) if member.is_slow(now) => Readiness::Ready(grant),
            fallback if member.is_in_flight() => Readiness::Due { fallback },
            fallback if self.may_refresh(member, now) => Readiness::Due { fallback },
            Some(grant) => Readiness::Ready(grant),
            None => Readiness::Unusable,
        }
    }

    /// Whether there is, or soon will be, a token to hand out.
    pub(crate) fn can_serve(&self, member: &Member, now: Timestamp) -> bool {
        member.is_usable(now)
            || if member.is_in_flight() {
                !member.is_slow(now)
            } else {
                self.may_refresh(member, now)
            }
    }

    /// Whether nothing speaks against a refresh now.
    fn may_refresh(&self, member: &Member, now: Timestamp) -> bool {
        let failing = |failure: Option<&Failure>| failure.is_some_and(|f| f.rests(now));
        let client = self.clients.get(&member.record.project.oauth_client_id);
        let refusal = client.and_then(|client| client.refusal.as_ref());
        let forced_lately = member.refused
            && member
                .forced_at
                .is_some_and(|at| within(now, at, FORCED_PAUSE));
        member.record.credential.kind() != Kind::ApiKey
            && !failing(member.failure.as_ref())
            && !failing(refusal.map(|refusal| &refusal.failure))
            && !forced_lately
    }

    /// What its access tokens are asked for with. `None`: it needs none.
    fn proof(&self, member: &Member) -> Option<Proof> {
        match &member.record.credential {
            Credential::RefreshToken(refresh_token) => {
                let client = self.clients.get(&member.record.project.oauth_client_id)?;
                Some(Proof::RefreshToken {
                    client: client.record.credentials.clone(),
                    refresh_token: refresh_token.clone(),
                })
            }
            Credential::ServiceAccountKey(key) => Some(Proof::ServiceAccount(Arc::clone(key))),
            Credential::ApiKey(_) => None,
        }
    }
}

impl StoredToken {
    fn refreshed_lately(&self, now: Timestamp) -> bool {
        self.refreshed_at
            .is_some_and(|at| within(now, at, REFRESH_PAUSE))
    }

    /// Whether more than the refresh margin is left, or it was refreshed a moment ago.
    fn is_fresh(&self, now: Timestamp, margin: Duration) -> bool {
        let lifetime = self.lifetime.unwrap_or(USUAL_LIFETIME);
        let due = self.expires_at.saturating_sub(margin.min(lifetime / 4));
        self.refreshed_lately(now) || due.is_ok_and(|due| due > now)
    }
}

impl Member {
    fn refreshed_lately(&self, now: Timestamp) -> bool {
        let token = self.record.token.as_ref();
        token.is_some_and(|token| token.refreshed_lately(now))
    }

    pub(crate) fn is_usable(&self, now: Timestamp) -> bool {
        let unexpired = match &self.record.token {
            Some(token) => token.expires_at > now,
            None => self.record.credential.kind() == Kind::ApiKey,
        };
        !self.refused && (unexpired || self.refreshed_lately(now))
    }

    /// Whether what it is dealt with holds for longer than the refresh margin.
    pub(crate) fn is_fresh(&self, now: Timestamp, margin: Duration) -> bool {
        self.is_usable(now) && !self.is_due(now, margin)
    }

    /// Whether less than the refresh margin is left.
    fn is_due(&self, now: Timestamp, margin: Duration) -> bool {
        match &self.record.token {
            None => self.record.credential.kind() != Kind::ApiKey,
            Some(_) if self.refused => true,
            Some(token) => !token.is_fresh(now, margin),
        }
    }

    /// Whether callers have lost their patience with the refresh that runs.
    fn is_slow(&self, now: Timestamp) -> bool {
        self.is_in_flight()
            && self
                .flight_began
                .is_some_and(|began| !within(now, began, PATIENCE))
    }

    pub(crate) fn is_in_flight(&self) -> bool {
        // A flight whose task broke off has no sender any more.
        self.flight
            .as_ref()
            .is_some_and(|flight| flight.has_changed().is_ok())
    }
}

impl Pool {
    /// Joins the refresh of a project that runs, or starts one. `None` when there is no
    /// such project, or nothing to refresh.
    pub(crate) fn refresh(self: &Arc<Self>, state: &mut State, id: &ProjectId) -> Option<Flight> {
        let member = state.projects.get(id)?;
        if member.is_in_flight() {
            return member.flight.clone();
        }
        let proof = state.proof(member)?;
        let (sender, flight) = watch::channel(None);
        let member = state.projects.get_mut(id)?;
        let refused = state
            .clients
            .get_mut(proof.client_id())
            .and_then(|client| client.refusal.as_mut());
        if let Some(refusal) = refused {
            refusal.failure.extend(self.now());
        }
        member.flight = Some(flight.clone());
        member.flight_began = Some(self.now());
        let this = Arc::clone(self);
        let id = Arc::clone(id);
        let generation = member.record.generation;
        let known = member.fingerprint.clone();
        // In the trace of who asks first; the others share it.
        let asked_in = grpc::current();
        // Tracked, so that neither a caller that goes away nor a shutdown loses what
        // Google has already changed.
        self.tasks.spawn(async move {
            let result = this
                .fly(&id, generation, (proof, known), asked_in.as_ref())
                .await;
            sender.send_replace(Some(result));
        });
        Some(flight)
    }

    /// Tries again to store what Google returned and could not be stored, also of projects that
    /// nobody is dealt any more; those whose failure `rests` are left alone if that counts.
    pub(crate) fn store_unstored(self: &Arc<Self>, rests: bool) {
        let now = self.now();
        let mut state = self.state();
        let waiting = state.projects.iter().filter(|(_, member)| {
            let rests = rests && member.failure.as_ref().is_some_and(|it| it.rests(now));
            member.unstored.is_some() && !member.is_in_flight() && !rests
        });
        let waiting: Vec<_> = waiting.map(|(id, _)| Arc::clone(id)).collect();
        for id in waiting {
            self.refresh(&mut state, &id);
        }
    }

    async fn fly(
        &self,
        id: &ProjectId,
        generation: i64,
        (mut proof, known): (Proof, String),
        asked_in: Option<&Context>,
    ) -> Result<Grant, RefreshFailed> {
        let mut span = self.traces.begin(
            SpanKind::Internal,
            || "refresh access token".into(),
            asked_in,
        );
        span.set("antigravity.project.id", &**id);
        let began = self.now();
        let unstored = self.take_unstored(id, generation);
        let answer = match unstored {
            Some(unstored) => Ok(Renewal::Granted(unstored)),
            None => {
                self.renew(id, generation, (&mut proof, &known), &span)
                    .await
            }
        };
        let _writes = self.writes.lock().await;
        let result = match answer {
            Ok(Renewal::Granted(unstored)) => self.store_and_take_in(id, unstored).await,
            Ok(Renewal::Elsewhere(grant)) => Ok(grant),
            Err(failed) => Err(self.after_all(id, &proof, failed).await),
        };
        self.metrics.refreshed(&result);
        if let Err(failed) = &result {
            span.failed(failed.kind());
            self.note_failure(id, generation, proof.client_id(), began, failed)
                .await;
        }
        if let Some(member) = self.state().projects.get_mut(id) {
            member.flight = None;
        }
        self.changed.notify_one();
        self.restated.notify_one();
        result
    }

    fn take_unstored(&self, id: &ProjectId, generation: i64) -> Option<Unstored> {
        let mut state = self.state();
        let unstored = state.projects.get_mut(id)?.unstored.take();
        unstored.filter(|unstored| unstored.generation == generation)
    }

    async fn ask_google(
        &self,
        generation: i64,
        lease: &Lease,
        proof: &Proof,
        within: &Span,
    ) -> Result<Unstored, RefreshError> {
        let asked = Instant::now();
        let mut span = within.child(SpanKind::Client, || "POST".into());
        span.set("http.request.method", "POST");
        let granted = self.ask_for_token(proof).await;
        self.metrics.asked_for_refresh(asked.elapsed());
        if let Err(error) = &granted {
            span.failed(error.kind());
        }
        let (token, rotated) = granted?;
        drop(span);
        Ok(Unstored {
            generation,
            lease: lease.clone(),
            token,
            // What a service account is granted has no refresh token.
            rotated: rotated.filter(|_| matches!(proof, Proof::RefreshToken { .. })),
            asked_with: match proof {
                Proof::RefreshToken { refresh_token, .. } => Some(refresh_token.clone()),
                Proof::ServiceAccount(_) => None,
            },
        })
    }

    /// An access token, and the refresh token that replaces the old one, if any.
    pub(crate) async fn ask_for_token(
        &self,
        proof: &Proof,
    ) -> Result<(StoredToken, Option<SecretString>), RefreshError> {
        let began = self.now();
        // Google goes by the true time, whatever the database's clock says.
        let refreshed = self.oauth.grant(proof, self.clock.now()).await?;
        let token = StoredToken {
            expires_at: began
                .saturating_add(refreshed.lifetime)
                .unwrap_or(Timestamp::MAX),
            secret: refreshed.access_token,
            lifetime: Some(refreshed.lifetime),
            refreshed_at: Some(self.now()),
        };
        Ok((token, refreshed.refresh_token))
    }

    /// Stores what Google returned, and hands it out. The caller holds `writes`.
    async fn store_and_take_in(
        &self,
        id: &ProjectId,
        mut unstored: Unstored,
    ) -> Result<Grant, RefreshFailed> {
        let mut kept = self.keep(id, &unstored).await;
        if matches!(kept, Ok(false)) {
            kept = self.keep_late(id, &mut unstored).await;
        }
        match kept {
            Ok(true) => self.take_in(id, unstored.token, unstored.rotated),
            Ok(false) => self.overtaken(id, unstored.generation),
            Err(error) => {
                self.metrics.not_stored(metrics::Unstored::AccessToken);
                tracing::error!(
                    project = &**id,
                    %error,
                    "cannot store a new access token; it is kept in memory, and tried again"
                );
                if let Some(member) = self.state().projects.get_mut(id) {
                    let lacking = member.unstored.take();
                    let lacking = lacking.filter(|it| it.generation == unstored.generation);
                    member.unstored = Some(match lacking {
                        Some(lacking) => unstored.in_place_of(lacking),
                        None => unstored,
                    });
                }
                Err(RefreshFailed::NotStored(error.to_string()))
            }
        }
    }

    async fn keep(&self, id: &ProjectId, unstored: &Unstored) -> Result<bool, StoreError> {
        let Unstored {
            generation,
            lease,
            token,
            rotated,
            asked_with: _,
        } = unstored;
        self.store
            .commit_refresh(id, *generation, lease, token, rotated.as_ref())
            .await
    }

    /// Another replica was first, or the credential was set anew.
    fn overtaken(&self, id: &ProjectId, generation: i64) -> Result<Grant, RefreshFailed> {
        let state = self.state();
        let member = state.projects.get(id);
        let same = member.filter(|member| {
            self.store.shared().is_some()
                && member.record.generation == generation
                && member.is_usable(self.now())
        });
        same.and_then(|member| member.grant())
            .ok_or(RefreshFailed::Superseded)
    }

    fn take_in(
        &self,
        id: &ProjectId,
        token: StoredToken,
        rotated: Option<SecretString>,
    ) -> Result<Grant, RefreshFailed> {
        let mut state = self.state();
        let state = &mut *state;
        let member = state
            .projects
            .get_mut(id)
            .ok_or(RefreshFailed::Superseded)?;
        member.set_token(Some(token));
        if let Some(rotated) = rotated {
            member.put_credential(Credential::RefreshToken(rotated));
        }
        member.failure = None;
        let client = &member.record.project.oauth_client_id;
        if let Some(client) = state.clients.get_mut(client) {
            client.refusal = None;
        }
        tracing::debug!(
            project = &**id,
            fingerprint = member.fingerprint,
            "refreshed"
        );
        member.grant().ok_or(RefreshFailed::Superseded)
    }

    async fn note_failure(
        &self,
        id: &ProjectId,
        generation: i64,
        client_id: &str,
        began: Timestamp,
        failed: &RefreshFailed,
    ) {
        let now = self.now();
        let revoked = {
            let mut state = self.state();
            let state = &mut *state;
            let Some(member) = state
                .projects
                .get_mut(id)
                .filter(|member| member.record.generation == generation)
            else {
                return;
            };
            tracing::warn!(project = &**id, error = %failed, "cannot refresh an access token");
            let rest = match failed {
                RefreshFailed::Superseded => return,
                RefreshFailed::Refused(RefreshError::ClientMismatch(_)) => CONFIGURATION_REST,
                RefreshFailed::NotStored(_)
                | RefreshFailed::DatabaseAway(_)
                | RefreshFailed::Elsewhere => STORE_REST,
                _ => TRANSIENT_REST,
            };
            // It did not replace the refused token: the failure's own rest is enough.
            member.forced_at = None;
            let before = member.failure.as_ref();
            member.failure = Some(Failure::next(before, now, rest, failed.clone(), id));
            match failed {
                RefreshFailed::Refused(
                    RefreshError::Revoked(reason) | RefreshError::KeyRefused(reason),
                ) => {
                    member.record.project.status = Status::NeedsLogin {
                        reason: reason.clone(),
                    };
                    let status = Restated {
                        status: true,
                        ..Restated::default()
                    };
                    state.restate(id, status);
                    state.refit(id);
                    true
                }
                RefreshFailed::Refused(RefreshError::ClientRefused(_)) => {
                    if let Some(client) = state.clients.get_mut(client_id) {
                        let before = client.refusal.as_ref();
                        // The answers of refreshes that ran side by side are one refusal.
                        if before.is_some_and(|refusal| refusal.failure.at > began) {
                            return;
                        }
                        let failure = Failure::next(
                            before.map(|refusal| &refusal.failure),
                            now,
                            CONFIGURATION_REST,
                            failed.clone(),
                            client_id,
                        );
                        let since = before.map_or(now, |refusal| refusal.since);
                        client.refusal = Some(Refusal { since, failure });
                    }
                    false
                }
                _ => false,
            }
        };
        if revoked {
            self.keep_state(id).await;
        }
    }
}

/// How a refresh ended.
pub(crate) async fn landed(mut flight: Flight) -> Result<Grant, RefreshFailed> {
    match flight.wait_for(Option::is_some).await {
        Ok(result) => result.clone().unwrap_or(Err(RefreshFailed::BrokenOff)),
        Err(_) => Err(RefreshFailed::BrokenOff),
    }
}

/// Between 0 and 1, the same for the same input: spreads what would come at once.
fn spread(salt: &str, number: i64) -> f64 {
    f64::from(hash(salt, number)) / f64::from(u32::MAX)
}

fn hash(salt: &str, number: i64) -> u32 {
    let mut hasher = DefaultHasher::new();
    (salt, number).hash(&mut hasher);
    u32::try_from(hasher.finish() >> 32).unwrap_or(0)
}
