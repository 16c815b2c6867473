//! Refreshes ahead of need: when each token's turn is, spread so that there are no waves, and the
//! task that keeps to it.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Flight, hash, landed, spread};
use crate::{
    credential::Kind, oauth::USUAL_LIFETIME, pool::Pool, project::ProjectId, store::StoredToken,
};

/// Refreshes ahead of need begin so many margins before the end, at the latest.
const AHEAD: f64 = 1.1;
/// By how many margins their beginnings are spread, at the least.
const SPREAD: f64 = 0.5;
/// Those of a large pool are spread further, so that there are no more in a second, as far as a
/// third of the lifetime suffices.
const REFRESHES_A_SECOND: f64 = 4.0;
/// Replicas that share a database begin a refresh ahead of need within this.
const STAGGER: Duration = Duration::from_secs(5);
/// Refreshes ahead of need that run at once.
pub const BACKGROUND_REFRESHES: usize = 16;
/// The longest that the background task sleeps, in case the clock is set.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

impl Pool {
    /// Refreshes all projects ahead of need until `stop`, also those that nobody asked
    /// for lately.
    pub(crate) async fn refresh_ahead(self: Arc<Self>, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(BACKGROUND_REFRESHES));
        while !stop.is_cancelled() {
            let (due, sleep) = self.due_ahead();
            for id in due {
                let slot = tokio::select! {
                    slot = Arc::clone(&slots).acquire_owned() => slot,
                    () = stop.cancelled() => return,
                };
                let flight = self.refresh_if_still_due(&id);
                if let Some(flight) = flight {
                    self.tasks.spawn(async move {
                        // Its end is noted where it flies.
                        let _ = landed(flight).await;
                        drop(slot);
                    });
                }
            }
            tokio::select! {
                () = self.clock.sleep(sleep) => {}
                () = self.changed.notified() => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Starts a refresh unless what happened while others were refreshed speaks against it.
    fn refresh_if_still_due(self: &Arc<Self>, id: &ProjectId) -> Option<Flight> {
        let now = self.now();
        let mut state = self.state();
        let member = state.projects.get(id)?;
        let is_due = member.record.project.is_dealt()
            && !member.refused
            && !member.is_in_flight()
            && member.record.credential.kind() != Kind::ApiKey
            && !member.refreshed_lately(now)
            && member
                .record
                .token
                .as_ref()
                .is_none_or(|token| self.due_ahead_at(id, token, state.projects.len()) <= now)
            && state.may_refresh(member, now);
        if is_due {
            self.refresh(&mut state, id)
        } else {
            None
        }
    }

    /// When a token is refreshed ahead of need.
    fn due_ahead_at(&self, id: &ProjectId, token: &StoredToken, projects: usize) -> Timestamp {
        let lifetime = token.lifetime.unwrap_or(USUAL_LIFETIME);
        let ahead = ahead(
            id,
            token.expires_at,
            lifetime,
            self.refresh_margin,
            projects,
        );
        let due_at = token.expires_at.saturating_sub(ahead);
        let due_at = due_at.unwrap_or(Timestamp::MIN);
        if self.store.shared().is_none() {
            return due_at;
        }
        let staggered = due_at.saturating_add(stagger(&self.instance, id));
        staggered.unwrap_or(Timestamp::MAX)
    }

    /// Whose tokens are due for a refresh ahead of need, and how long until the next.
    fn due_ahead(&self) -> (Vec<ProjectId>, Duration) {
        let now = self.now();
        let state = self.state();
        let mut due = Vec::new();
        let mut sleep = LONGEST_SLEEP;
        for (id, member) in &state.projects {
            // A refused token is refreshed when somebody asks for it, an API key never.
            let needless = member.refused || member.record.credential.kind() == Kind::ApiKey;
            if !member.record.project.is_dealt() || needless || member.is_in_flight() {
                continue;
            }
            let Some(token) = &member.record.token else {
                if state.may_refresh(member, now) {
                    due.push(Arc::clone(id));
                } else if let Some(failure) = &member.failure {
                    sleep = sleep.min(failure.retry_in(now));
                }
                continue;
            };
            let due_at = self.due_ahead_at(id, token, state.projects.len());
            if due_at <= now && !member.refreshed_lately(now) {
                if state.may_refresh(member, now) {
                    due.push(Arc::clone(id));
                } else if let Some(failure) = &member.failure {
                    sleep = sleep.min(failure.retry_in(now));
                }
            } else {
                let left = Duration::try_from(due_at.duration_since(now)).unwrap_or_default();
                sleep = sleep.min(left);
            }
        }
        if self.store.shared().is_some() {
            // Replicas that begin at the same time do not all wait for the same few.
            due.sort_by_cached_key(|id| hash(&self.instance, i64::from(hash(id, 0))));
        }
        (due, sleep.max(Duration::from_millis(200)))
    }
}

/// How long before its end an access token is refreshed ahead of need, in a pool of so many
/// `projects`: other times for each, the same in each replica, and no more at once than the pool's
/// size asks for. Never less than 1.1 margins, nor more than two thirds of the lifetime.
#[must_use]
pub fn ahead(
    project: &str,
    expires_at: Timestamp,
    lifetime: Duration,
    margin: Duration,
    projects: usize,
) -> Duration {
    let margin = margin.min(lifetime / 4);
    let calm = Duration::from_secs_f64(projects as f64 / REFRESHES_A_SECOND);
    let width = margin.mul_f64(SPREAD).max(calm.min(lifetime / 3));
    let place = 1.0 - spread(project, expires_at.as_millisecond());
    margin.mul_f64(AHEAD) + width.mul_f64(place)
}

/// How much later a replica begins a refresh ahead of need than the first may: what another has
/// begun by then, it hears of.
#[must_use]
pub fn stagger(instance: &str, project: &str) -> Duration {
    STAGGER.mul_f64(spread(instance, i64::from(hash(project, 0))))
}
