//! A database that lacks a refresh: another server has taken the place of the primary, without what
//! that had last. With rotation the refresh token there is one that Google has replaced, and takes
//! no more; what is in memory is stored again before it is lost to all.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use secrecy::{ExposeSecret as _, SecretString};

use super::{RefreshFailed, Unstored};
use crate::{
    credential::{Credential, Proof},
    oauth::RefreshError,
    pool::{Member, Pool, State},
    project::ProjectId,
    store::{Lease, ProjectRecord, StoreError},
};

/// So many of a project are known again. A server that lags by more lacks hours.
const KEPT: usize = 8;

/// The refresh tokens that a project had before the present one, hashed. One of them is never the
/// newer one, whatever clocks, fences and transaction numbers of the database say.
#[derive(Debug, Default)]
pub(crate) struct Replaced(Vec<u64>);

impl Replaced {
    fn put(&mut self, secret: &SecretString) {
        if self.0.len() == KEPT {
            self.0.remove(0);
        }
        self.0.push(hash(secret));
    }

    fn has(&self, secret: &SecretString) -> bool {
        !self.0.is_empty() && self.0.contains(&hash(secret))
    }
}

fn hash(secret: &SecretString) -> u64 {
    let mut hasher = DefaultHasher::new();
    secret.expose_secret().hash(&mut hasher);
    hasher.finish()
}

impl Unstored {
    /// Whether it came for the refresh token that is stored, or for a later one of `member`.
    fn replaces(&self, stored: &ProjectRecord, member: &Member) -> bool {
        let Credential::RefreshToken(theirs) = &stored.credential else {
            return false;
        };
        let asked_with = self.asked_with.as_ref().map(SecretString::expose_secret);
        asked_with == Some(theirs.expose_secret()) || member.replaced.has(theirs)
    }

    /// This is newer than what is in memory, which the database lacks too.
    pub(super) fn in_place_of(self, lacking: Self) -> Self {
        Self {
            lease: lacking.lease,
            // Only with one is it stored without a lease.
            rotated: self.rotated.or(lacking.rotated),
            ..self
        }
    }
}

impl Member {
    /// Takes a credential in that is of the same generation.
    pub(crate) fn put_credential(&mut self, credential: Credential) {
        if let (Credential::RefreshToken(before), Credential::RefreshToken(after)) =
            (&self.record.credential, &credential)
            && before.expose_secret() != after.expose_secret()
        {
            self.replaced.put(before);
        }
        self.record.credential = credential;
    }

    /// What of a record of the same generation is older than what is here: it is to be stored
    /// again, as long as the refresh token of `stored` is what the database has. Tokens that
    /// differ under one refresh token are compared by their times, if it `is_another` server:
    /// either would do.
    pub(crate) fn is_lacked_by(&self, stored: &ProjectRecord, is_another: bool) -> bool {
        let (Credential::RefreshToken(mine), Credential::RefreshToken(theirs), Some(token)) = (
            &self.record.credential,
            &stored.credential,
            &self.record.token,
        ) else {
            return false;
        };
        let theirs_at = stored.token.as_ref().and_then(|token| token.refreshed_at);
        self.replaced.has(theirs)
            || is_another
                && mine.expose_secret() == theirs.expose_secret()
                && token.refreshed_at > theirs_at
    }

    /// Whether a record of the same generation has a newer refresh token than what is here, which a
    /// verdict about the one here says nothing of.
    pub(crate) fn has_older_credential_than(&self, stored: &ProjectRecord) -> bool {
        match (&self.record.credential, &stored.credential) {
            (Credential::RefreshToken(mine), Credential::RefreshToken(theirs)) => {
                mine.expose_secret() != theirs.expose_secret() && !self.replaced.has(theirs)
            }
            _ => false,
        }
    }

    /// Has what is here stored in the place of what `late` says is stored.
    pub(crate) fn store_again(&mut self, late: Lease) {
        let (Credential::RefreshToken(refresh_token), Some(token)) =
            (&self.record.credential, &self.record.token)
        else {
            return;
        };
        let again = Unstored {
            generation: self.record.generation,
            lease: late,
            token: token.clone(),
            rotated: Some(refresh_token.clone()),
            asked_with: None,
        };
        self.unstored = Some(match self.unstored.take() {
            // What Google has returned since is newer still.
            Some(newer) if newer.generation == again.generation => newer.in_place_of(again),
            _ => again,
        });
    }
}

impl Pool {
    /// Keeps what its lease does not hold for any more: the database may be another one, which lacks
    /// what this was refreshed with, or the same refresh token has been sealed anew. `false`: what
    /// is stored is newer. The caller holds `writes`.
    pub(super) async fn keep_late(
        &self,
        id: &ProjectId,
        unstored: &mut Unstored,
    ) -> Result<bool, StoreError> {
        self.take_over().await?;
        if let Some(lacking) = self.take_unstored(id, unstored.generation) {
            *unstored = unstored.clone().in_place_of(lacking);
            if self.keep(id, unstored).await? {
                return Ok(true);
            }
        }
        let Some(database) = self.store.shared() else {
            return Ok(false);
        };
        let stored = database.stored(id).await?;
        let stored = stored.filter(|(stored, _)| stored.generation == unstored.generation);
        {
            let state = self.state();
            let member = state.projects.get(id);
            let Some(member) = member.filter(|it| it.record.generation == unstored.generation)
            else {
                return Ok(false);
            };
            match &stored {
                Some((stored, _)) if !unstored.replaces(stored, member) => return Ok(false),
                Some(_) => {}
                None if state.ahead.projects.contains(id) => return Err(StoreError::Lacking),
                None => return Ok(false),
            }
        }
        let Some((_, sealed)) = stored else {
            return Ok(false);
        };
        unstored.lease = Lease::late(sealed);
        self.keep(id, unstored).await
    }

    /// A refusal counts as long as its refresh token is the one in use: another may have come in its
    /// place while this waited to be told. The caller holds `writes`.
    pub(super) async fn after_all(
        &self,
        id: &ProjectId,
        proof: &Proof,
        failed: RefreshFailed,
    ) -> RefreshFailed {
        let (
            RefreshFailed::Refused(RefreshError::Revoked(_)),
            Proof::RefreshToken { refresh_token, .. },
        ) = (&failed, proof)
        else {
            return failed;
        };
        if let Err(error) = self.take_over().await {
            return RefreshFailed::DatabaseAway(error.to_string());
        }
        let state = self.state();
        let in_use = state.projects.get(id).map(|it| &it.record.credential);
        match in_use {
            Some(Credential::RefreshToken(in_use))
                if in_use.expose_secret() == refresh_token.expose_secret() =>
            {
                failed
            }
            _ => RefreshFailed::Elsewhere,
        }
    }
}

impl State {
    /// What is to be stored before Google is asked, as `stored`, under `lease`, has a refresh
    /// token that was replaced here.
    pub(super) fn lacked_by(
        &mut self,
        id: &ProjectId,
        stored: &ProjectRecord,
        lease: &Lease,
    ) -> Option<Unstored> {
        let member = self.projects.get_mut(id)?;
        let same = member.record.generation == stored.generation;
        if !same || !member.is_lacked_by(stored, false) {
            return None;
        }
        member.store_again(lease.clone().given_up());
        member.unstored.take()
    }
}
