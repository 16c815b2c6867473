//! A database that lacks a refresh: another server has taken the place of the primary, without what
//! that had last. With rotation the refresh token there is one that Google has replaced, and takes
//! no more; what is in memory is stored again before it is lost to all.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use secrecy::{ExposeSecret as _, SecretString};

use super::Unstored;
use crate::{
    credential::Credential,
    pool::{Member, State},
    project::ProjectId,
    store::{Lease, ProjectRecord},
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
        };
        self.unstored = Some(match self.unstored.take() {
            // What Google has returned since is newer still.
            Some(newer) if newer.generation == again.generation => newer.in_place_of(again),
            _ => again,
        });
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
