//! Who is not to be asked now: projects that rest as Google said, tokens that it refused,
//! accounts that it turned away, upstreams whose front door is shut. No I/O; the time is
//! passed in.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use antigravity_proto::{model_group, v1::Upstream};
use jiff::Timestamp;

use super::held::{Now, Token};

/// A refused token is tried again after this, at the earliest.
const REFUSED: Duration = Duration::from_secs(60);
/// By then the token-service has been told of an account that was turned away, and deals
/// it no more, or again.
const TURNED_AWAY: Duration = Duration::from_secs(30);

/// Everything that keeps a token in hand from being used.
#[derive(Debug, Default)]
pub(super) struct Rests {
    /// By project; each with its quota groups.
    cooling: HashMap<Arc<str>, Vec<(String, Timestamp)>>,
    upstreams: HashMap<Upstream, Timestamp>,
    /// Fingerprints that Google refused, by project.
    refused: HashMap<Arc<str>, (Arc<str>, Instant)>,
    turned_away: HashMap<Arc<str>, Instant>,
}

impl Rests {
    /// Whether this token is not to be used for `model` now.
    pub(super) fn bar(&self, token: &Token, model: &str, now: Timestamp) -> bool {
        self.is_refused(token)
            || self.turned_away.contains_key(&token.project)
            || self.until(token, model).is_some_and(|until| until > now)
    }

    pub(super) fn is_refused(&self, token: &Token) -> bool {
        self.refused
            .get(&token.project)
            .is_some_and(|(fingerprint, _)| *fingerprint == token.fingerprint)
    }

    /// When the rest of a project for a model ends, or ended.
    pub(super) fn until(&self, token: &Token, model: &str) -> Option<Timestamp> {
        let own = self.cooling.get(&token.project).and_then(|groups| {
            let group = model_group(token.upstream, model);
            let rest = groups.iter().find(|(resting, _)| resting == group);
            rest.map(|(_, until)| *until)
        });
        own.max(self.upstreams.get(&token.upstream).copied())
    }

    pub(super) fn cool(&mut self, token: &Token, model: &str, until: Timestamp) {
        let group = model_group(token.upstream, model);
        let groups = self.cooling.entry(Arc::clone(&token.project)).or_default();
        match groups.iter_mut().find(|(resting, _)| resting == group) {
            Some((_, rest)) => *rest = until.max(*rest),
            None => groups.push((group.to_owned(), until)),
        }
    }

    /// Lets all projects of an upstream rest.
    pub(super) fn cool_upstream(&mut self, upstream: Upstream, until: Timestamp) {
        let rest = self.upstreams.entry(upstream).or_insert(until);
        *rest = until.max(*rest);
    }

    pub(super) fn upstream_rests(&self, upstream: Upstream, now: Timestamp) -> bool {
        self.upstreams
            .get(&upstream)
            .is_some_and(|until| *until > now)
    }

    pub(super) fn refuse(&mut self, token: &Token, now: Instant) {
        let entry = (Arc::clone(&token.fingerprint), now);
        self.refused.insert(Arc::clone(&token.project), entry);
    }

    pub(super) fn turn_away(&mut self, project: &Arc<str>, now: Instant) {
        self.turned_away.insert(Arc::clone(project), now);
    }

    pub(super) fn turned_away(&self) -> impl Iterator<Item = &Arc<str>> {
        self.turned_away.keys()
    }

    /// Drops what is over. While the token-service is away nobody tells it of those that
    /// were turned away, so they stay away.
    pub(super) fn expire(&mut self, now: Now, away: bool) {
        self.refused
            .retain(|_, (_, since)| now.instant.duration_since(*since) < REFUSED);
        self.turned_away
            .retain(|_, since| away || now.instant.duration_since(*since) < TURNED_AWAY);
        self.upstreams.retain(|_, until| *until > now.wall);
        self.cooling.retain(|_, groups| {
            groups.retain(|(_, until)| *until > now.wall);
            !groups.is_empty()
        });
    }

    /// The token-service is back: it hears only now of those that were turned away.
    pub(super) fn reconnected(&mut self, now: Instant) {
        for since in self.turned_away.values_mut() {
            *since = now;
        }
    }
}
