//! Deals turns: picks projects from the rotation, has their tokens refreshed where that
//! is due, and takes the next project when one cannot be refreshed.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    credential::Credential,
    oauth::{DEADLINE, RefreshError},
    pool::{Grant, Member, Pool, State},
    project::{ProjectId, Status, Upstream, model_group},
    refresh::{Flight, PATIENCE, Readiness, RefreshFailed, landed},
    rotation::{Dealt, Fit},
    store::Restated,
};

/// Which turns are wanted.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) count: usize,
    /// Empty: any.
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) model: String,
    pub(crate) exclude: HashSet<String>,
    pub(crate) prefer: Option<String>,
}

/// Why there is no turn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AcquireError {
    #[error("there is no project with such an upstream; add one")]
    NoProjects,
    #[error("every project that could serve was excluded")]
    AllExcluded,
    #[error("every project that could serve is disabled")]
    AllDisabled,
    #[error("every project that could serve needs its owner: see state_reason and action_url")]
    NeedsLogin,
    #[error("Google refuses the OAuth client of every project that could serve: {0}")]
    OAuthClientInvalid(String),
    #[error("every project that could serve is cooling down for {}s", retry_in.as_secs())]
    CoolingDown { retry_in: Duration },
    #[error("no access token can be refreshed at the moment: {0}")]
    Unavailable(String),
}

/// A dealt turn with its token.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) number: u64,
    pub(crate) grant: Grant,
}

/// A dealt turn whose token may still be under way.
struct Pending {
    dealt: Dealt,
    token: Token,
}

enum Token {
    Ready(Grant),
    Refreshing {
        flight: Flight,
        fallback: Option<Grant>,
    },
}

impl Pool {
    /// The next turns of the rotation, each with a fresh token.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        wanted: &Wanted,
    ) -> Result<Vec<Turn>, AcquireError> {
        let deadline = Instant::now() + DEADLINE;
        let mut turns = Vec::with_capacity(wanted.count);
        let mut given_up = HashSet::new();
        while turns.len() < wanted.count {
            let dealt = self.deal(wanted, wanted.count - turns.len(), &given_up);
            if dealt.is_empty() {
                break;
            }
            let others_wait = self.has_others(wanted, &dealt, &given_up);
            // Of all of them, whose refreshes run side by side: what is ready does not wait for each.
            let patient_until = Instant::now() + PATIENCE;
            for Pending {
                dealt,
                token: pending,
            } in dealt
            {
                let number = dealt.turn;
                let left = deadline.saturating_duration_since(Instant::now());
                let patience = if others_wait {
                    left.min(patient_until.saturating_duration_since(Instant::now()))
                } else {
                    left
                };
                match token(pending, patience).await {
                    Ok(grant) if self.is_dealt(&dealt.project) => {
                        self.metrics.dealt(grant.upstream);
                        turns.push(Turn { number, grant });
                    }
                    Err(RefreshFailed::Superseded) if !left.is_zero() => {
                        self.state().rotation.undo(&dealt);
                    }
                    Ok(_) | Err(_) => {
                        self.state().rotation.undo(&dealt);
                        given_up.insert(dealt.project);
                    }
                }
            }
        }
        if turns.is_empty() && wanted.count > 0 {
            return Err(self.why_none(wanted));
        }
        Ok(turns)
    }

    /// Deals, and starts the refreshes that are due. Projects whose token Google refuses
    /// again and again, that it denies its service, or whose refresh hangs, are dealt only
    /// when there is no other.
    fn deal(
        self: &Arc<Self>,
        wanted: &Wanted,
        count: usize,
        given_up: &HashSet<ProjectId>,
    ) -> Vec<Pending> {
        let now = self.now();
        let mut guard = self.state();
        let state = &mut *guard;
        let mut rotation = std::mem::take(&mut state.rotation);
        let mut dealt = self.deal_where(state, &mut rotation, wanted, count, |state, member| {
            !given_up.contains(&member.record.project.id)
                && !member.is_denied(now)
                && state.can_serve(member, now)
        });
        if dealt.is_empty() {
            dealt = self.deal_where(state, &mut rotation, wanted, count, |state, member| {
                let token = member.record.token.as_ref();
                let refused = member.refused && token.is_some_and(|t| t.expires_at > now);
                let denied = member.is_denied(now) && state.can_serve(member, now);
                let last_resort = refused || denied || member.is_in_flight();
                last_resort && !given_up.contains(&member.record.project.id)
            });
        }
        state.rotation = rotation;
        dealt
            .into_iter()
            .filter_map(|dealt| {
                let member = state.projects.get_mut(&dealt.project)?;
                member.dealt_at = Some(now);
                let member = state.projects.get(&dealt.project)?;
                let token = match state.readiness(member, now, self.refresh_margin) {
                    Readiness::Ready(grant) => Token::Ready(grant),
                    Readiness::Unusable => Token::Ready(member.grant()?),
                    Readiness::Due { fallback } => Token::Refreshing {
                        flight: self.refresh_due(state, &dealt.project, now)?,
                        fallback,
                    },
                };
                Some(Pending { dealt, token })
            })
            .collect()
    }

    fn deal_where(
        &self,
        state: &State,
        rotation: &mut crate::rotation::Rotation,
        wanted: &Wanted,
        count: usize,
        fits: impl Fn(&State, &Member) -> bool,
    ) -> Vec<Dealt> {
        let now = self.now();
        let candidates = Candidates::of(wanted);
        rotation.deal(
            count,
            candidates.upstreams,
            candidates.groups,
            wanted.prefer.as_deref(),
            now,
            |id| {
                let Some(member) = state.projects.get(id) else {
                    return Fit::Unwanted;
                };
                match candidates.cooling_until(member, now) {
                    // Gateways exclude whom they know to rest.
                    until @ Some(_) => Fit::Rests { until },
                    None if candidates.excludes(member) => Fit::Unwanted,
                    None if fits(state, member) => Fit::Fits,
                    None => Fit::Rests { until: None },
                }
            },
        )
    }

    /// Whether another project could have the turn of one that is slow to refresh.
    fn has_others(
        &self,
        wanted: &Wanted,
        dealt: &[Pending],
        given_up: &HashSet<ProjectId>,
    ) -> bool {
        if dealt
            .iter()
            .all(|pending| matches!(pending.token, Token::Ready(_)))
        {
            return false;
        }
        if dealt
            .iter()
            .any(|pending| pending.dealt.project != dealt[0].dealt.project)
        {
            return true;
        }
        let now = self.now();
        let candidates = Candidates::of(wanted);
        let state = self.state();
        state.projects.iter().any(|(id, member)| {
            !given_up.contains(id)
                && !dealt.iter().any(|pending| pending.dealt.project == *id)
                && member.record.project.is_dealt()
                && candidates
                    .upstreams
                    .contains(&member.record.project.upstream)
                && candidates.may_serve(member, now)
                && !member.is_denied(now)
                && state.can_serve(member, now)
        })
    }

    /// The tokens of up to `limit` projects that could be dealt now, those that have
    /// waited longest first. Deals nothing and refreshes nothing.
    pub(crate) fn tokens(&self, limit: usize, wanted: &Wanted) -> Vec<Grant> {
        let now = self.now();
        let guard = self.state();
        let state = &*guard;
        let candidates = Candidates::of(wanted);
        let ready = |id: &ProjectId| {
            let member = state.projects.get(id)?;
            let serves = candidates.may_serve(member, now) && !member.is_denied(now);
            match state.readiness(member, now, self.refresh_margin) {
                Readiness::Ready(grant) if serves => Some(grant),
                Readiness::Due { fallback } if serves => fallback,
                _ => None,
            }
        };
        let waiting = state
            .rotation
            .waiting(limit, candidates.upstreams, |id| ready(id).is_some());
        waiting.iter().filter_map(ready).collect()
    }

    fn is_dealt(&self, project: &ProjectId) -> bool {
        let state = self.state();
        let member = state.projects.get(project);
        member.is_some_and(|member| member.record.project.is_dealt())
    }

    fn why_none(&self, wanted: &Wanted) -> AcquireError {
        let now = self.now();
        let state = self.state();
        let candidates = Candidates::of(wanted);
        let mut any = false;
        let mut included = false;
        let mut excluded = false;
        let mut disabled = true;
        let mut reset: Option<Timestamp> = None;
        let mut transient = None;
        let mut client = None;
        for member in state.projects.values() {
            let project = &member.record.project;
            if !candidates.upstreams.contains(&project.upstream) {
                continue;
            }
            any = true;
            if candidates.exclude.contains(&*project.id) {
                excluded |= project.is_dealt();
                continue;
            }
            included = true;
            disabled &= project.disabled;
            if !project.is_dealt() {
                continue;
            }
            if let Some(until) = candidates.cooling_until(member, now) {
                reset = Some(reset.map_or(until, |reset| reset.min(until)));
                continue;
            }
            let refusal = state
                .clients
                .get(&project.oauth_client_id)
                .and_then(|client| client.refusal.as_ref());
            let failure = member
                .failure
                .as_ref()
                .or(refusal.map(|refusal| &refusal.failure));
            match failure.map(|failure| &failure.error) {
                Some(
                    error @ RefreshFailed::Refused(
                        RefreshError::ClientRefused(_) | RefreshError::ClientMismatch(_),
                    ),
                ) => client = Some(error.to_string()),
                Some(error) => transient = Some(error.to_string()),
                None => transient = Some("the refresh has not ended yet".to_owned()),
            }
        }
        if !any {
            AcquireError::NoProjects
        } else if !included {
            AcquireError::AllExcluded
        } else if let Some(problem) = transient {
            AcquireError::Unavailable(problem)
        } else if let Some(reset) = reset {
            let retry_in = Duration::try_from(reset.duration_since(now)).unwrap_or_default();
            AcquireError::CoolingDown { retry_in }
        } else if excluded {
            // The others could not serve anybody.
            AcquireError::AllExcluded
        } else if let Some(problem) = client {
            AcquireError::OAuthClientInvalid(problem)
        } else if disabled {
            AcquireError::AllDisabled
        } else {
            AcquireError::NeedsLogin
        }
    }

    /// Refreshes a project whose token `fingerprint` Google refused, once; the grant is
    /// the token that it has by then. The refused one is not dealt from now on. An API key
    /// that is refused has no successor.
    pub(crate) fn replace_refused(
        self: &Arc<Self>,
        project: &str,
        fingerprint: &str,
        reason: &str,
    ) -> Option<Replacement> {
        let now = self.now();
        let mut guard = self.state();
        let state = &mut *guard;
        let (id, member) = state.projects.get_key_value(project)?;
        if !member.record.project.is_dealt() {
            return None;
        }
        let id = Arc::clone(id);
        let member = state.projects.get_mut(&id)?;
        if let Credential::ApiKey(key) = &member.record.credential {
            if member.fingerprint == fingerprint {
                let reason = refused_key(key, reason);
                self.condemn(state, &id, reason);
                return None;
            }
        } else if member.fingerprint == fingerprint && !member.refused {
            member.refused = true;
            tracing::info!(project, fingerprint, "Google refused an access token");
        }
        let member = state.projects.get(&id)?;
        match state.readiness(member, now, self.refresh_margin) {
            Readiness::Ready(grant) => Some(Replacement::Ready(grant)),
            Readiness::Unusable => None,
            Readiness::Due { .. } => self.refresh_due(state, &id, now).map(Replacement::Flying),
        }
    }

    /// Takes a project out of the rotation whose API key Google refuses, for good.
    fn condemn(self: &Arc<Self>, state: &mut State, id: &ProjectId, reason: String) {
        let Some(member) = state.projects.get_mut(id) else {
            return;
        };
        tracing::warn!(project = &**id, reason, "Google refused an API key");
        member.record.project.status = Status::NeedsLogin { reason };
        let status = Restated {
            status: true,
            ..Restated::default()
        };
        state.restate(id, status);
        state.rotation.drop_returned(id);
        state.refit(id);
        let this = Arc::clone(self);
        let id = Arc::clone(id);
        self.tasks.spawn(async move {
            let _writes = this.writes.lock().await;
            this.keep_state(&id).await;
            this.restated.notify_one();
        });
    }

    /// Joins or starts a refresh, and notes when a refused token is its cause.
    fn refresh_due(
        self: &Arc<Self>,
        state: &mut State,
        id: &ProjectId,
        now: Timestamp,
    ) -> Option<Flight> {
        let member = state.projects.get_mut(id)?;
        if member.refused && !member.is_in_flight() {
            member.forced_at = Some(now);
        }
        self.refresh(state, id)
    }
}

/// What is told of an API key that Google refuses; `said` comes from a gateway.
fn refused_key(key: &SecretString, said: &str) -> String {
    const MAX_WORDS: usize = 200;
    let said = said.replace(key.expose_secret(), "[secret]");
    let said: String = said
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_WORDS)
        .collect();
    match said.trim() {
        "" => "Google refuses the API key".to_owned(),
        said => format!("Google refuses the API key: {said}"),
    }
}

/// The successor of a refused token, or the refresh that brings it.
pub(crate) enum Replacement {
    Ready(Grant),
    Flying(Flight),
}

impl Replacement {
    /// `None` when the refresh fails, or takes too long.
    pub(crate) async fn landed(self) -> Option<Grant> {
        match self {
            Self::Ready(grant) => Some(grant),
            Self::Flying(flight) => tokio::time::timeout(DEADLINE, landed(flight))
                .await
                .ok()?
                .ok(),
        }
    }
}

async fn token(token: Token, patience: Duration) -> Result<Grant, RefreshFailed> {
    match token {
        Token::Ready(grant) => Ok(grant),
        Token::Refreshing { flight, fallback } => {
            let result = match tokio::time::timeout(patience, landed(flight)).await {
                Ok(result) => result,
                Err(_) => Err(RefreshFailed::BrokenOff),
            };
            match (result, fallback) {
                (Ok(grant), _) => Ok(grant),
                (
                    Err(RefreshFailed::Refused(
                        refusal @ (RefreshError::Revoked(_) | RefreshError::KeyRefused(_)),
                    )),
                    _,
                ) => Err(refusal.into()),
                (Err(_), Some(fallback)) => Ok(fallback),
                (Err(failed), None) => Err(failed),
            }
        }
    }
}

/// The filters of a request, ready to be asked many times.
struct Candidates<'a> {
    upstreams: &'a [Upstream],
    exclude: &'a HashSet<String>,
    /// By [`Upstream::index`].
    groups: [&'a str; 3],
}

impl<'a> Candidates<'a> {
    fn of(wanted: &'a Wanted) -> Self {
        Self {
            upstreams: if wanted.upstreams.is_empty() {
                &Upstream::ALL
            } else {
                &wanted.upstreams
            },
            exclude: &wanted.exclude,
            groups: Upstream::ALL.map(|upstream| model_group(upstream, &wanted.model)),
        }
    }

    fn excludes(&self, member: &Member) -> bool {
        !self.exclude.is_empty() && self.exclude.contains(&*member.record.project.id)
    }

    fn cooling_until(&self, member: &Member, now: Timestamp) -> Option<Timestamp> {
        let project = &member.record.project;
        project.cooling_until(self.groups[project.upstream.index()], now)
    }

    fn may_serve(&self, member: &Member, now: Timestamp) -> bool {
        !self.excludes(member) && self.cooling_until(member, now).is_none()
    }
}

impl Status {
    /// Why the project is not dealt, and the link to open.
    pub(crate) fn explanation(&self) -> (&str, &str) {
        match self {
            Self::Active => ("", ""),
            Self::NeedsLogin { reason } => (reason, ""),
            Self::NeedsValidation { reason, url } | Self::Suspended { reason, url } => {
                (reason, url)
            }
        }
    }
}
