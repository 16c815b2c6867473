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
/// A project that was denied Google's service goes last for so long.
const DENIED: Duration = Duration::from_secs(30);
/// After this a rest is the token-service's alone: it was told of it.
const TOLD: Duration = Duration::from_secs(600);

/// Everything that keeps a token in hand from being used.
#[derive(Debug, Default)]
pub(super) struct Rests {
    /// By project; each with its quota groups.
    cooling: HashMap<Arc<str>, Vec<Rest>>,
    upstreams: HashMap<Upstream, Timestamp>,
    /// Fingerprints that Google refused, by project.
    refused: HashMap<Arc<str>, (Arc<str>, Instant)>,
    turned_away: HashMap<Arc<str>, Instant>,
    denied: HashMap<Arc<str>, Instant>,
}

#[derive(Debug)]
struct Rest {
    group: String,
    until: Timestamp,
    /// When Google said so.
    since: Instant,
}

impl Rests {
    /// Whether this token is not to be used for `model` now.
    pub(super) fn bar(&self, token: &Token, model: &str, now: Timestamp) -> bool {
        self.is_refused(token)
            || self.is_turned_away(&token.project)
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
            let rest = groups.iter().find(|rest| rest.group == group);
            rest.map(|rest| rest.until)
        });
        own.max(self.upstreams.get(&token.upstream).copied())
    }

    pub(super) fn cool(&mut self, token: &Token, model: &str, until: Timestamp, since: Instant) {
        let group = model_group(token.upstream, model);
        let groups = self.cooling.entry(Arc::clone(&token.project)).or_default();
        match groups.iter_mut().find(|rest| rest.group == group) {
            Some(rest) => {
                rest.until = until.max(rest.until);
                rest.since = since;
            }
            None => groups.push(Rest {
                group: group.to_owned(),
                until,
                since,
            }),
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

    pub(super) fn is_turned_away(&self, project: &str) -> bool {
        self.turned_away.contains_key(project)
    }

    /// Lets a project go last for a while.
    pub(super) fn deny(&mut self, project: &Arc<str>, now: Instant) {
        self.denied.insert(Arc::clone(project), now);
    }

    pub(super) fn is_denied(&self, project: &str, now: Instant) -> bool {
        let since = self.denied.get(project);
        since.is_some_and(|since| now.duration_since(*since) < DENIED)
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
        self.denied
            .retain(|_, since| now.instant.duration_since(*since) < DENIED);
        // The token-service knows how long a rest is, and whether an operator ended it.
        self.cooling.retain(|_, groups| {
            groups.retain(|rest| {
                let known_there = !away && now.instant.duration_since(rest.since) > TOLD;
                rest.until > now.wall && !known_there
            });
            !groups.is_empty()
        });
    }

    /// The token-service is back: it hears only now of those that were turned away.
    pub(super) fn reconnected(&mut self, now: Instant) {
        for since in self.turned_away.values_mut() {
            *since = now;
        }
        for rest in self.cooling.values_mut().flatten() {
            rest.since = now;
        }
    }
}
