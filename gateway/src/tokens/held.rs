//! What is in hand: turns in their order, tokens by project, who rests, who is
//! refused. No I/O; the time is passed in.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use antigravity_proto::v1::{self, Scheme, Upstream};
use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};

use super::{
    queue::{HeldTurn, Key, Queue, STALE},
    rest::Rests,
};

/// A token is not used in its last seconds: it has to live until Google looks at it. A
/// quarter of what was left when it came, for those that live short.
const EXPIRY_MARGIN: SignedDuration = SignedDuration::from_secs(30);
/// While the token-service answers, a project that it has not dealt for a queue for so long is
/// not used there without a turn: it may have been taken out of the rotation, or rest.
pub const KNOWN: Duration = Duration::from_secs(30);
/// Turns that go back with one call.
const RETURNED: usize = 2048;
/// Queues that nobody asked for so long are given up.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// A token that a token-service that is away cannot follow up with is used to its end.
const LAST_SECOND: SignedDuration = SignedDuration::from_secs(1);

/// How long an API key is kept that is not dealt again: as long as access tokens live, so
/// that a removed project's is forgotten.
const KEY_KEPT: SignedDuration = SignedDuration::from_secs(3600);

/// The time, both ways.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// By the wall clock, as ends of tokens and rests are told.
    pub wall: Timestamp,
    /// By a clock that nobody sets, for intervals.
    pub instant: Instant,
}

/// An access token and where it may be used.
#[derive(Clone)]
pub struct Token {
    /// The project's id in the pool.
    pub project: Arc<str>,
    /// The project's id at Google.
    pub google_project_id: String,
    /// Which API serves it.
    pub upstream: Upstream,
    /// Vertex location.
    pub location: String,
    /// The access token or API key as requests carry it, secret; `None` when no header can
    /// carry it.
    pub authorization: Option<HeaderValue>,
    /// How requests show it.
    pub scheme: Scheme,
    /// When it ends. An API key does not by itself: until then it is kept without being
    /// dealt, while the token-service answers.
    pub expires_at: Timestamp,
    /// Names the token in reports.
    pub fingerprint: Arc<str>,
    /// Until when it is used while there may be a newer one.
    usable_until: Timestamp,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("project", &self.project)
            .field("upstream", &self.upstream)
            .field("expires_at", &self.expires_at)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// Whether it is an API key.
    #[must_use]
    /// What is shown to Google; secret. Empty when no header can carry it.
    pub(crate) fn secret(&self) -> &str {
        let header = self.authorization.as_ref();
        let shown = header.and_then(|header| header.to_str().ok());
        let shown = shown.unwrap_or_default();
        shown.strip_prefix("Bearer ").unwrap_or(shown)
    }

    /// Whether it is one.
    pub fn is_api_key(&self) -> bool {
        self.scheme == Scheme::ApiKey
    }
}

/// Made once for all the requests that carry it.
fn authorization(scheme: Scheme, access_token: &str) -> Option<HeaderValue> {
    let value = match scheme {
        Scheme::ApiKey => HeaderValue::from_str(access_token),
        Scheme::Bearer | Scheme::Unspecified => {
            HeaderValue::from_str(&format!("Bearer {access_token}"))
        }
    };
    let mut value = value.ok()?;
    // Its `Debug` says so instead of it, and HTTP/2 does not index it.
    value.set_sensitive(true);
    Some(value)
}

/// A token for one request.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The token.
    pub token: Arc<Token>,
    /// The turn that it came with. `None`: the gateway went round by itself.
    pub turn_id: Option<String>,
}

/// Which tokens may be used without a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those of projects that were dealt lately, or all when the service is away.
    Known,
    /// All.
    Any,
}

/// Everything in hand.
#[derive(Debug, Default)]
pub struct Held {
    tokens: HashMap<Arc<str>, Arc<Token>>,
    /// When each project was last used, as a count.
    used: HashMap<Arc<str>, u64>,
    uses: u64,
    /// In an order, so that the same calls come to the same.
    queues: BTreeMap<Key, Queue>,
    pub(super) rests: Rests,
    returns: Vec<String>,
    away: bool,
    pub(super) pool_upstreams: Vec<Upstream>,
}

impl Held {
    /// How many tokens in hand have not ended.
    #[must_use]
    pub fn count(&self, now: Timestamp) -> usize {
        let lives = |token: &&Arc<Token>| self.lives(token, now);
        self.tokens.values().filter(lives).count()
    }

    fn lives(&self, token: &Token, now: Timestamp) -> bool {
        if self.away {
            token.is_api_key() || token.expires_at.duration_since(now) > LAST_SECOND
        } else {
            token.usable_until > now
        }
    }

    pub(super) fn any_of(&self, upstream: Upstream, now: Timestamp) -> Option<Arc<Token>> {
        self.tokens
            .values()
            .filter(|token| token.upstream == upstream && self.lives(token, now))
            .filter(|token| !self.rests.is_refused(token))
            .filter(|token| !self.rests.is_turned_away(&token.project))
            .max_by_key(|token| token.expires_at)
            .cloned()
    }

    pub(super) fn projects_of(&self, upstream: Upstream) -> Vec<Arc<str>> {
        self.tokens
            .values()
            .filter(|token| token.upstream == upstream)
            .map(|token| Arc::clone(&token.project))
            .collect()
    }

    /// Puts a turn back that was taken and not used.
    pub(super) fn put_back(&mut self, lease: Lease, now: Now) {
        let project = lease.token.project.clone();
        let Some(turn) = lease.turn_id else { return };
        let turn = HeldTurn {
            id: turn,
            project,
            drawn: now.instant,
        };
        // Into the queue that serves any request, if there is one, else to the service.
        let any = self
            .queues
            .iter_mut()
            .find(|(key, _)| key.upstreams.is_empty());
        match any {
            Some((_, queue)) => queue.turns.push_front(turn),
            None => self.returns.push(turn.id),
        }
    }

    /// The token of a project if it can be used for this model now.
    fn usable(&self, project: &Arc<str>, model: &str, now: Timestamp) -> Option<&Arc<Token>> {
        self.tokens
            .get(project)
            .filter(|token| self.lives(token, now) && !self.rests.bar(token, model, now))
    }

    /// Projects that the service would deal and that cannot be used here.
    pub fn unusable(&mut self, key: &Key, model: &str, now: Now) -> HashSet<Arc<str>> {
        self.rests.expire(now, self.away);
        // A key is good for as long as nobody says otherwise.
        self.tokens
            .retain(|_, token| token.expires_at > now.wall || token.is_api_key());
        let tokens = &self.tokens;
        for queue in self.queues.values_mut() {
            queue.forget_dealt(|project| !tokens.contains_key(project));
        }
        self.used.retain(|project, _| tokens.contains_key(project));
        self.tokens
            .values()
            .filter(|token| key.has(token.upstream))
            .filter(|token| self.rests.bar(token, model, now.wall))
            .map(|token| &token.project)
            .chain(self.rests.turned_away())
            .cloned()
            .collect()
    }

    /// The next turn that a request can use, else a token without one.
    pub fn take(
        &mut self,
        key: &Key,
        model: &str,
        exclude: &HashSet<Arc<str>>,
        trust: Trust,
        now: Now,
    ) -> Option<Lease> {
        let mut queue = self
            .queues
            .remove(key)
            .unwrap_or_else(|| Queue::new(now.instant));
        queue.ask(now.instant);
        let lease = self.take_turn(&mut queue, model, exclude, now).or_else(|| {
            let any = trust == Trust::Any || self.away;
            let known = |project: &Arc<str>| any || queue.was_dealt(project, KNOWN, now.instant);
            let token = self.without_turn(key, model, exclude, now, known)?;
            queue.owe(&token.project);
            Some(Lease {
                token,
                turn_id: None,
            })
        });
        self.queues.insert(key.clone(), queue);
        if let Some(lease) = &lease {
            self.note_use(&lease.token.project);
        }
        lease
    }

    pub(super) fn note_use(&mut self, project: &Arc<str>) {
        self.uses += 1;
        self.used.insert(Arc::clone(project), self.uses);
    }

    pub(super) fn queue(&mut self, key: &Key, now: Now) -> &mut Queue {
        self.queues
            .entry(key.clone())
            .or_insert_with(|| Queue::new(now.instant))
    }

    fn take_turn(
        &mut self,
        queue: &mut Queue,
        model: &str,
        exclude: &HashSet<Arc<str>>,
        now: Now,
    ) -> Option<Lease> {
        let mut at = 0;
        while let Some(turn) = queue.turns.get(at) {
            if exclude.contains(&turn.project) {
                at += 1;
                continue;
            }
            // Of a turn of long ago nobody knows whether its project is still dealt.
            let is_known = self.away || now.instant.duration_since(turn.drawn) < KNOWN;
            let token = self.usable(&turn.project, model, now.wall).cloned();
            let turn = queue.turns.remove(at)?;
            match token.filter(|_| is_known) {
                Some(token) => {
                    return Some(Lease {
                        token,
                        turn_id: Some(turn.id),
                    });
                }
                None => self.returns.push(turn.id),
            }
        }
        None
    }

    /// The token to use without a turn: the one that was used longest ago.
    fn without_turn(
        &self,
        key: &Key,
        model: &str,
        exclude: &HashSet<Arc<str>>,
        now: Now,
        is_known: impl Fn(&Arc<str>) -> bool,
    ) -> Option<Arc<Token>> {
        self.candidates(key, model, exclude, now)
            .filter(|token| is_known(&token.project))
            .min_by_key(|token| {
                let last = self.rests.is_denied(&token.project, now.instant);
                (last, self.used.get(&token.project), &token.project)
            })
            .cloned()
    }

    /// Whether every upstream that could serve rests as a whole.
    pub(super) fn is_shut_out(&self, key: &Key, now: Timestamp) -> bool {
        let mut upstreams = self
            .pool_upstreams
            .iter()
            .filter(|up| key.has(**up))
            .peekable();
        upstreams.peek().is_some() && upstreams.all(|up| self.rests.upstream_rests(*up, now))
    }

    /// The tokens in hand that could serve.
    pub(super) fn candidates(
        &self,
        key: &Key,
        model: &str,
        exclude: &HashSet<Arc<str>>,
        now: Now,
    ) -> impl Iterator<Item = &Arc<Token>> {
        self.tokens
            .values()
            .filter(|token| key.has(token.upstream) && !exclude.contains(&token.project))
            .filter(move |token| self.usable(&token.project, model, now.wall).is_some())
    }

    /// Whether a project was dealt for `key` lately, or nobody can be asked.
    pub(super) fn is_known(&self, key: &Key, project: &str, now: Now) -> bool {
        let queue = self.queues.get(key);
        self.away || queue.is_some_and(|queue| queue.was_dealt(project, KNOWN, now.instant))
    }

    /// Forgets a project that the service does not deal any more.
    pub(super) fn forget(&mut self, project: &str) {
        self.tokens.remove(project);
    }

    /// Whether a token is in hand that could serve, dealt lately or not.
    #[must_use]
    pub fn has_any(&self, key: &Key, model: &str, exclude: &HashSet<Arc<str>>, now: Now) -> bool {
        self.without_turn(key, model, exclude, now, |_| true)
            .is_some()
    }

    /// Whether the caller shall draw turns for this queue now.
    pub fn begin_refill(&mut self, key: &Key) -> bool {
        let Some(queue) = self.queues.get_mut(key) else {
            return false;
        };
        if key.is_of_no_model() {
            return false;
        }
        let begins = !queue.refilling && (queue.is_low() || queue.is_stale());
        queue.refilling |= begins;
        begins
    }

    /// Notes that the draw which [`Held::begin_refill`] asked for has ended.
    pub fn end_refill(&mut self, key: &Key) {
        if let Some(queue) = self.queues.get_mut(key) {
            queue.refilling = false;
        }
    }

    /// How many turns to draw, and which go back.
    pub fn order(&mut self, key: &Key, waiting: usize, now: Now) -> (u32, Vec<String>) {
        let mut returned = std::mem::take(&mut self.returns);
        self.queues.retain(|other, queue| {
            let forgotten = now.instant.duration_since(queue.asked) > FORGOTTEN;
            if forgotten && other != key {
                returned.extend(queue.turns.drain(..).map(|turn| turn.id));
            }
            !forgotten || other == key
        });
        for queue in self.queues.values_mut() {
            while let Some(turn) = queue.turns.front()
                && now.instant.duration_since(turn.drawn) > STALE
            {
                returned.extend(queue.turns.pop_front().map(|turn| turn.id));
            }
        }
        let rest = returned.split_off(returned.len().min(RETURNED));
        self.returns.extend(rest);
        let tokens = &self.tokens;
        for queue in self.queues.values_mut() {
            queue.forget_debts(|project| !tokens.contains_key(project));
        }
        let count = if key.is_of_no_model() {
            1
        } else {
            self.queue(key, now).order(waiting, now.instant)
        };
        (count, returned)
    }

    pub(super) fn learn_pool(&mut self, response: &v1::AcquireTokensResponse) {
        self.pool_upstreams = response
            .pool_upstreams
            .iter()
            .filter_map(|upstream| Upstream::try_from(*upstream).ok())
            .collect();
    }

    /// Takes in what was dealt; the projects, for which turns came.
    pub fn add(
        &mut self,
        key: &Key,
        response: v1::AcquireTokensResponse,
        now: Now,
    ) -> Vec<Arc<str>> {
        self.connected(now);
        self.tokens.retain(|_, token| token.expires_at > now.wall);
        self.learn_pool(&response);
        for token in response.tokens {
            self.learn(token, now);
        }
        let mut dealt = Vec::new();
        for turn in response.turns {
            let Some(token) = turn.token.and_then(|token| self.learn(token, now)) else {
                continue;
            };
            dealt.push(Arc::clone(&token.project));
            self.queue(key, now).push(HeldTurn {
                id: turn.turn_id,
                project: Arc::clone(&token.project),
                drawn: now.instant,
            });
        }
        dealt
    }

    /// The token-service deals nobody but maybe those that it was asked not to: what was dealt
    /// before is no longer to be gone on with.
    pub(super) fn nobody_is_dealt(&mut self, key: &Key, exclude: &HashSet<Arc<str>>) {
        if let Some(queue) = self.queues.get_mut(key) {
            queue.forget_dealt(|project| !exclude.contains(project));
        }
    }

    /// Keeps a token, unless a fresher one of its project is in hand; the one that is kept.
    pub(super) fn learn(&mut self, token: v1::AccessToken, now: Now) -> Option<Arc<Token>> {
        let upstream = token.upstream();
        // One that is not known is to be shown in a way that is not known here.
        let scheme = Scheme::try_from(token.scheme).ok()?;
        let expires_at = match token.expires_at {
            Some(at) => Timestamp::new(at.seconds, at.nanos).ok()?,
            None if scheme == Scheme::ApiKey => now.wall.saturating_add(KEY_KEPT).ok()?,
            None => return None,
        };
        let project: Arc<str> = token.project_id.into();
        if let Some(known) = self.tokens.get(&project)
            && !self.rests.is_refused(known)
            && known.usable_until > now.wall
            // What is dealt is the project's present key; the one in hand may be older.
            && !known.is_api_key()
            && scheme != Scheme::ApiKey
            && (known.expires_at > expires_at || *known.fingerprint == *token.fingerprint)
        {
            return Some(Arc::clone(known));
        }
        let left = expires_at.duration_since(now.wall);
        let margin = EXPIRY_MARGIN.min(left.max(SignedDuration::ZERO) / 4);
        let token = Arc::new(Token {
            project: Arc::clone(&project),
            google_project_id: token.google_project_id,
            upstream,
            location: token.location,
            authorization: authorization(scheme, &token.access_token),
            scheme,
            expires_at,
            fingerprint: token.fingerprint.into(),
            usable_until: expires_at.saturating_sub(margin).unwrap_or(expires_at),
        });
        self.tokens.insert(project, Arc::clone(&token));
        Some(token)
    }

    /// Notes that the token-service does not answer: what it has dealt is used on, and
    /// the turns that were to go back wait.
    pub fn disconnected(&mut self, returned: Vec<String>) {
        self.away = true;
        self.returns.extend(returned);
        // They are stale by the time that it is back.
        self.returns.truncate(1024);
    }

    /// Notes that the token-service answers.
    pub(super) fn connected(&mut self, now: Now) {
        if std::mem::take(&mut self.away) {
            self.rests.reconnected(now.instant);
            for queue in self.queues.values_mut() {
                queue.even_out();
            }
        }
    }

    /// Lets a project rest for a model's group until `until`, on the turns in hand too.
    pub fn cool(&mut self, token: &Token, model: &str, until: Timestamp, now: Now) {
        self.rests.cool(token, model, until, now.instant);
    }

    /// Notes that Google refused a token. A newer one of its project that is in hand
    /// already, if any.
    pub(super) fn refuse(&mut self, refused: &Token, now: Now) -> Option<Arc<Token>> {
        if let Some(newer) = self.tokens.get(&refused.project)
            && newer.fingerprint != refused.fingerprint
            && self.lives(newer, now.wall)
            && !self.rests.is_refused(newer)
        {
            return Some(Arc::clone(newer));
        }
        self.rests.refuse(refused, now.instant);
        None
    }

    /// Notes that Google turned a project's account away: what is in hand of it is not
    /// used, and turns of it that come in the next seconds neither.
    pub(super) fn turn_away(&mut self, project: &Arc<str>, now: Now) {
        self.rests.turn_away(project, now.instant);
        self.give_up(project);
        self.tokens.remove(project);
    }

    /// Notes that Google denies a project its service: what is in hand of it is used when
    /// nobody else can serve.
    pub(super) fn deny(&mut self, project: &Arc<str>, now: Now) {
        self.rests.deny(project, now.instant);
        self.give_up(project);
    }

    /// Gives the turns of a project back.
    fn give_up(&mut self, project: &Arc<str>) {
        for queue in self.queues.values_mut() {
            let returns = &mut self.returns;
            queue.turns.retain_mut(|turn| {
                let stays = turn.project != *project;
                if !stays {
                    returns.push(std::mem::take(&mut turn.id));
                }
                stays
            });
        }
    }

    pub(super) fn earliest_end(&self, key: &Key, model: &str, now: Timestamp) -> Option<Timestamp> {
        self.tokens
            .values()
            .filter(|token| key.has(token.upstream))
            .filter_map(|token| self.rests.until(token, model))
            .filter(|until| *until > now)
            .min()
    }

    pub(super) fn drain(&mut self) -> Vec<String> {
        let mut returned = std::mem::take(&mut self.returns);
        for queue in self.queues.values_mut() {
            returned.extend(queue.turns.drain(..).map(|turn| turn.id));
        }
        returned
    }
}

#[cfg(test)]
mod tests;
