//! A refresh among replicas: who has the project's lease asks Google, the others wait for what it
//! brings.

use std::{sync::Arc, time::Duration};

use antigravity_traces::Span;
use secrecy::ExposeSecret as _;
use tokio::time::Instant;

use super::{RefreshFailed, Unstored};
use crate::{
    credential::{Credential, Proof},
    oauth::RefreshError,
    pool::{Grant, Pool},
    project::ProjectId,
    store::{Lease, ProjectRecord, Taken},
};

/// How long a replica waits for another's refresh: longer than the lease of one that died.
const ELSEWHERE: Duration = Duration::from_secs(50);
/// While it waits, the lease is asked for again after this, should no news come.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// What a refresh came to.
pub(super) enum Renewal {
    /// Google granted a token, which is to be stored.
    Granted(Unstored),
    /// Another replica has refreshed it.
    Elsewhere(Grant),
}

impl Pool {
    /// Asks Google, when no other replica does. `known` is the fingerprint of the token that is to
    /// be replaced; `proof` becomes what Google was asked with.
    pub(super) async fn renew(
        &self,
        id: &ProjectId,
        generation: i64,
        (proof, known): (&mut Proof, &str),
        span: &Span,
    ) -> Result<Renewal, RefreshFailed> {
        let began = Instant::now();
        loop {
            let followed = self.followed.notified();
            let taken = self.store.take_lease(id, generation).await;
            match taken.map_err(|error| RefreshFailed::DatabaseAway(error.to_string()))? {
                Taken::Gone => {
                    self.look_again().await;
                    // A database that lacks the credential of memory gets it first.
                    return Err(if self.has_generation(id, generation) {
                        RefreshFailed::Elsewhere
                    } else {
                        RefreshFailed::Superseded
                    });
                }
                Taken::Mine(lease, stored) => {
                    let stored = stored.as_deref();
                    let lacked =
                        stored.and_then(|stored| self.state().lacked_by(id, stored, &lease));
                    if let Some(lacked) = lacked {
                        let _ = self.store.end_lease(id, &lease).await;
                        return Ok(Renewal::Granted(lacked));
                    }
                    if stored.is_some_and(|stored| self.is_renewed(stored, known)) {
                        // What cannot be ended now ends by itself.
                        let _ = self.store.end_lease(id, &lease).await;
                        self.look_again().await;
                        let renewed = self.fingerprint_of(id) != known;
                        let grant = self.grant_of(id).filter(|_| renewed);
                        return grant
                            .map(Renewal::Elsewhere)
                            .ok_or(RefreshFailed::Elsewhere);
                    }
                    // This process was stopped in between: another may have it by now.
                    if !lease.is_long_enough() {
                        let _ = self.store.end_lease(id, &lease).await;
                        continue;
                    }
                    if let Some(stored) = stored {
                        *proof = as_stored(proof, stored);
                    }
                    let asked = self.ask_google(generation, &lease, proof, span).await;
                    return match asked {
                        Ok(unstored) => Ok(Renewal::Granted(unstored)),
                        Err(error) => self.refused(id, &lease, (proof, known), error).await,
                    };
                }
                Taken::Another => {}
            }
            let _ = tokio::time::timeout(ASK_AGAIN, followed).await;
            if self.fingerprint_of(id) != known
                && let Some(grant) = self.grant_of(id)
            {
                return Ok(Renewal::Elsewhere(grant));
            }
            if began.elapsed() > ELSEWHERE {
                return Err(RefreshFailed::Elsewhere);
            }
        }
    }

    /// A refusal is about the refresh token that this replica knew. When another has taken the
    /// lease since, that one may have been rotated, and the refusal means nothing.
    async fn refused(
        &self,
        id: &ProjectId,
        lease: &Lease,
        (proof, known): (&Proof, &str),
        error: RefreshError,
    ) -> Result<Renewal, RefreshFailed> {
        match self.store.end_lease(id, lease).await {
            Ok(true) if self.is_stored(id, proof).await => Err(error.into()),
            Ok(_) => {
                self.look_again().await;
                let renewed = self.fingerprint_of(id) != known;
                let grant = self.grant_of(id).filter(|_| renewed);
                grant
                    .map(Renewal::Elsewhere)
                    .ok_or(RefreshFailed::Elsewhere)
            }
            Err(error) => Err(RefreshFailed::DatabaseAway(error.to_string())),
        }
    }

    /// Whether what Google was asked with is what is stored. Another replica may have kept a
    /// rotated one late.
    async fn is_stored(&self, id: &ProjectId, proof: &Proof) -> bool {
        let (Some(database), Proof::RefreshToken { refresh_token, .. }) =
            (self.store.shared(), proof)
        else {
            return true;
        };
        match database.stored(id).await {
            Ok(Some((stored, _))) => {
                stored.credential.text().expose_secret() == refresh_token.expose_secret()
            }
            Ok(None) | Err(_) => false,
        }
    }

    /// Whether what is stored is another token than the one that is known here, and fresh.
    fn is_renewed(&self, stored: &ProjectRecord, known: &str) -> bool {
        let Some(token) = &stored.token else {
            return false;
        };
        let fingerprint = antigravity_runtime::secret::fingerprint(token.secret.expose_secret());
        fingerprint != known && token.is_fresh(self.now(), self.refresh_margin)
    }

    pub(super) async fn look_again(&self) {
        let _writes = self.writes.lock().await;
        self.look_while_writing().await;
    }

    /// The caller holds `writes`.
    async fn look_while_writing(&self) {
        if let Err(error) = self.take_over().await {
            tracing::debug!(%error, "cannot look for what another replica has stored");
        }
    }

    fn has_generation(&self, id: &ProjectId, generation: i64) -> bool {
        let state = self.state();
        let member = state.projects.get(id);
        member.is_some_and(|it| it.record.generation == generation)
    }

    fn fingerprint_of(&self, id: &ProjectId) -> String {
        let state = self.state();
        let member = state.projects.get(id);
        member.map(|it| it.fingerprint.clone()).unwrap_or_default()
    }

    pub(super) fn grant_of(&self, id: &ProjectId) -> Option<Grant> {
        let state = self.state();
        state.projects.get(id)?.grant()
    }
}

/// The refresh token that is stored may have been rotated by another replica.
fn as_stored(proof: &Proof, stored: &ProjectRecord) -> Proof {
    match (proof, &stored.credential) {
        (Proof::RefreshToken { client, .. }, Credential::RefreshToken(refresh_token)) => {
            Proof::RefreshToken {
                client: client.clone(),
                refresh_token: refresh_token.clone(),
            }
        }
        (_, Credential::ServiceAccountKey(key)) => Proof::ServiceAccount(Arc::clone(key)),
        _ => proof.clone(),
    }
}
