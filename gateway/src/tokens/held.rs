//! What is in hand: turns in their order, tokens by project, who rests, who is
//! refused. No I/O; the time is passed in.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use antigravity_proto::{
    model_group,
    v1::{self, Upstream},
};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

/// A token is not used in its last seconds: it has to live until Google looks at it.
const EXPIRY_MARGIN: SignedDuration = SignedDuration::from_secs(30);
/// Turns older than this go back with the next call.
const STALE: Duration = Duration::from_secs(5);
/// Turns are drawn for so long ahead, at the present rate.
const AHEAD: Duration = Duration::from_millis(500);
/// Turns drawn at least, so that a small pool is known from the first draw on.
const MIN_SLICE: u32 = 4;
/// Turns drawn at most.
const MAX_SLICE: u32 = 128;
/// While the token-service answers, a project that it has not dealt for so long is not
/// used without a turn: it may have been taken out of the rotation.
const KNOWN: Duration = Duration::from_secs(30);
/// A refused token is tried again after this, at the earliest.
const REFUSED: Duration = Duration::from_secs(60);
/// Queues that nobody asked for so long are given up.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// The time, both ways.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) wall: Timestamp,
    pub(super) instant: Instant,
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
    /// Secret.
    pub access_token: SecretString,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Names the token in reports.
    pub fingerprint: Arc<str>,
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
    fn is_usable(&self, now: Timestamp) -> bool {
        self.expires_at.duration_since(now) > EXPIRY_MARGIN
    }
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
pub(super) enum Trust {
    /// Those of projects that were dealt lately, or all when the service is away.
    Known,
    /// All.
    Any,
}

/// For whom turns are held: a set of upstreams and a quota group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Empty: any.
    pub(super) upstreams: Vec<Upstream>,
    group: String,
}

impl Key {
    pub(super) fn of(upstreams: &[Upstream], model: &str, pool: &[Upstream]) -> Self {
        let mut upstreams = upstreams.to_vec();
        upstreams.sort_unstable();
        let effective = if upstreams.is_empty() {
            pool
        } else {
            &upstreams
        };
        let group = match effective {
            [only] => model_group(*only, model),
            _ => model,
        };
        Self {
            group: group.to_owned(),
            upstreams,
        }
    }

    /// Whatever upstream.
    pub(super) fn any() -> Self {
        Self {
            upstreams: Vec::new(),
            group: String::new(),
        }
    }

    fn has(&self, upstream: Upstream) -> bool {
        self.upstreams.is_empty() || self.upstreams.contains(&upstream)
    }
}

#[derive(Debug)]
struct HeldTurn {
    id: String,
    project: Arc<str>,
    drawn: Instant,
}

#[derive(Debug)]
struct Queue {
    turns: VecDeque<HeldTurn>,
    /// Requests that went without a turn, by project: the next turns settle them.
    owed: HashMap<Arc<str>, u32>,
    refilling: bool,
    slice: u32,
    asked: Instant,
    /// Since when requests are counted, and how many came.
    counting: (Instant, u32),
}

impl Queue {
    fn new(now: Instant) -> Self {
        Self {
            turns: VecDeque::new(),
            owed: HashMap::new(),
            refilling: false,
            slice: MIN_SLICE,
            asked: now,
            counting: (now, 0),
        }
    }

    fn is_low(&self) -> bool {
        self.turns.len() * 2 <= self.slice as usize
    }
}

/// Everything in hand.
#[derive(Debug, Default)]
pub(super) struct Held {
    tokens: HashMap<Arc<str>, Arc<Token>>,
    dealt: HashMap<Arc<str>, Instant>,
    /// When each project was last used, as a count.
    used: HashMap<Arc<str>, u64>,
    uses: u64,
    queues: HashMap<Key, Queue>,
    /// By project and group.
    cooling: HashMap<(Arc<str>, String), Timestamp>,
    /// Fingerprints that Google refused, by project.
    refused: HashMap<Arc<str>, (Arc<str>, Instant)>,
    returns: Vec<String>,
    away: bool,
    pub(super) pool_upstreams: Vec<Upstream>,
}

impl Held {
    pub(super) fn has_usable(&self, now: Timestamp) -> bool {
        self.tokens.values().any(|token| token.is_usable(now))
    }

    pub(super) fn any_of(&self, upstream: Upstream, now: Timestamp) -> Option<Arc<Token>> {
        self.tokens
            .values()
            .filter(|token| token.upstream == upstream && token.is_usable(now))
            .filter(|token| !self.is_refused(token))
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

    fn is_refused(&self, token: &Token) -> bool {
        self.refused
            .get(&token.project)
            .is_some_and(|(fingerprint, _)| *fingerprint == token.fingerprint)
    }

    fn rests(&self, token: &Token, model: &str, now: Timestamp) -> bool {
        let group = model_group(token.upstream, model).to_owned();
        self.cooling
            .get(&(Arc::clone(&token.project), group))
            .is_some_and(|until| *until > now)
    }

    /// The token of a project if it can be used for this model now.
    fn usable(&self, project: &Arc<str>, model: &str, now: Timestamp) -> Option<&Arc<Token>> {
        self.tokens
            .get(project)
            .filter(|token| token.is_usable(now))
            .filter(|token| !self.is_refused(token) && !self.rests(token, model, now))
    }

    /// Projects that the service would deal and that cannot be used here.
    pub(super) fn unusable(&mut self, key: &Key, model: &str, now: Now) -> HashSet<Arc<str>> {
        self.refused
            .retain(|_, (_, since)| now.instant.duration_since(*since) < REFUSED);
        self.cooling.retain(|_, until| *until > now.wall);
        self.tokens.retain(|_, token| token.expires_at > now.wall);
        let tokens = &self.tokens;
        self.dealt.retain(|project, _| tokens.contains_key(project));
        self.used.retain(|project, _| tokens.contains_key(project));
        self.tokens
            .values()
            .filter(|token| key.has(token.upstream))
            .filter(|token| self.is_refused(token) || self.rests(token, model, now.wall))
            .map(|token| Arc::clone(&token.project))
            .collect()
    }

    /// The next turn that a request can use, else a token without one.
    pub(super) fn take(
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
        queue.asked = now.instant;
        queue.counting.1 = queue.counting.1.saturating_add(1);
        let lease = self.take_turn(&mut queue, model, exclude, now).or_else(|| {
            let token = self.without_turn(key, model, exclude, trust, now)?;
            *queue.owed.entry(Arc::clone(&token.project)).or_default() += 1;
            Some(Lease {
                token,
                turn_id: None,
            })
        });
        self.queues.insert(key.clone(), queue);
        if let Some(lease) = &lease {
            self.uses += 1;
            self.used
                .insert(Arc::clone(&lease.token.project), self.uses);
        }
        lease
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
            let token = self.usable(&turn.project, model, now.wall).cloned();
            let turn = queue.turns.remove(at)?;
            match token {
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
        trust: Trust,
        now: Now,
    ) -> Option<Arc<Token>> {
        let is_trusted = |project: &Arc<str>| {
            trust == Trust::Any
                || self.away
                || self
                    .dealt
                    .get(project)
                    .is_some_and(|at| now.instant.duration_since(*at) < KNOWN)
        };
        self.tokens
            .values()
            .filter(|token| key.has(token.upstream) && !exclude.contains(&token.project))
            .filter(|token| is_trusted(&token.project))
            .filter(|token| self.usable(&token.project, model, now.wall).is_some())
            .min_by_key(|token| (self.used.get(&token.project), &token.project))
            .cloned()
    }

    /// Whether a token is in hand that could serve, dealt lately or not.
    pub(super) fn has_any(
        &self,
        key: &Key,
        model: &str,
        exclude: &HashSet<Arc<str>>,
        now: Now,
    ) -> bool {
        self.without_turn(key, model, exclude, Trust::Any, now)
            .is_some()
    }

    /// Whether the caller shall draw turns for this queue now.
    pub(super) fn begin_refill(&mut self, key: &Key) -> bool {
        let Some(queue) = self.queues.get_mut(key) else {
            return false;
        };
        let now = queue.asked;
        let stale = queue
            .turns
            .front()
            .is_some_and(|turn| now.duration_since(turn.drawn) > STALE);
        let begins = !queue.refilling && (queue.is_low() || stale);
        queue.refilling |= begins;
        begins
    }

    pub(super) fn end_refill(&mut self, key: &Key) {
        if let Some(queue) = self.queues.get_mut(key) {
            queue.refilling = false;
        }
    }

    /// How many turns to draw, and which go back.
    pub(super) fn order(&mut self, key: &Key, waiting: usize, now: Now) -> (u32, Vec<String>) {
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
        let queue = self
            .queues
            .entry(key.clone())
            .or_insert_with(|| Queue::new(now.instant));
        let (since, asked) = queue.counting;
        let elapsed = now.instant.duration_since(since).max(AHEAD);
        let ahead = f64::from(asked) * AHEAD.as_secs_f64() / elapsed.as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between zero and the requests of half a second"
        )]
        let ahead = ahead.ceil() as u32;
        queue.slice = ahead.clamp(MIN_SLICE, MAX_SLICE);
        if elapsed > AHEAD {
            queue.counting = (now.instant, 0);
        }
        let owed: u32 = queue.owed.values().sum();
        let waiting = u32::try_from(waiting).unwrap_or(MAX_SLICE);
        let held = u32::try_from(queue.turns.len()).unwrap_or(MAX_SLICE);
        let wanted = queue.slice.saturating_sub(held).max(waiting) + owed;
        (wanted.clamp(1, 256), returned)
    }

    pub(super) fn learn_pool(&mut self, response: &v1::AcquireTokensResponse) {
        self.pool_upstreams = response
            .pool_upstreams
            .iter()
            .filter_map(|upstream| Upstream::try_from(*upstream).ok())
            .collect();
    }

    /// Takes in what was dealt; the projects, for which turns came.
    pub(super) fn add(
        &mut self,
        key: &Key,
        response: v1::AcquireTokensResponse,
        now: Now,
    ) -> Vec<Arc<str>> {
        self.away = false;
        self.learn_pool(&response);
        let mut dealt = Vec::new();
        for turn in response.turns {
            let Some(token) = turn.token.and_then(|token| self.learn(token)) else {
                continue;
            };
            self.dealt.insert(Arc::clone(&token.project), now.instant);
            let queue = self
                .queues
                .entry(key.clone())
                .or_insert_with(|| Queue::new(now.instant));
            dealt.push(Arc::clone(&token.project));
            match queue.owed.get_mut(&token.project) {
                Some(owed) if *owed > 0 => {
                    *owed -= 1;
                    if *owed == 0 {
                        queue.owed.remove(&token.project);
                    }
                }
                _ => queue.turns.push_back(HeldTurn {
                    id: turn.turn_id,
                    project: Arc::clone(&token.project),
                    drawn: now.instant,
                }),
            }
        }
        dealt
    }

    /// Keeps a token, unless a fresher one of its project is in hand; the one that is kept.
    pub(super) fn learn(&mut self, token: v1::AccessToken) -> Option<Arc<Token>> {
        let upstream = token.upstream();
        let expires_at = token
            .expires_at
            .and_then(|at| Timestamp::new(at.seconds, at.nanos).ok())?;
        let project: Arc<str> = token.project_id.into();
        if let Some(known) = self.tokens.get(&project)
            && known.expires_at > expires_at
            && !self.is_refused(known)
        {
            return Some(Arc::clone(known));
        }
        let token = Arc::new(Token {
            project: Arc::clone(&project),
            google_project_id: token.google_project_id,
            upstream,
            location: token.location,
            access_token: token.access_token.into(),
            expires_at,
            fingerprint: token.fingerprint.into(),
        });
        self.tokens.insert(project, Arc::clone(&token));
        Some(token)
    }

    /// Notes that the token-service does not answer: what it has dealt is used on, and
    /// the turns that were to go back wait.
    pub(super) fn disconnected(&mut self, returned: Vec<String>) {
        self.away = true;
        self.returns.extend(returned);
        // They are stale by the time that it is back.
        self.returns.truncate(1024);
    }

    /// Notes that Google refused a token. A newer one of its project that is in hand
    /// already, if any.
    pub(super) fn refuse(&mut self, refused: &Token, now: Now) -> Option<Arc<Token>> {
        if let Some(newer) = self.tokens.get(&refused.project)
            && newer.fingerprint != refused.fingerprint
            && newer.is_usable(now.wall)
            && !self.is_refused(newer)
        {
            return Some(Arc::clone(newer));
        }
        let entry = (Arc::clone(&refused.fingerprint), now.instant);
        self.refused.insert(Arc::clone(&refused.project), entry);
        None
    }

    pub(super) fn cool(&mut self, token: &Token, model: &str, until: Timestamp) {
        let group = model_group(token.upstream, model).to_owned();
        let rest = self
            .cooling
            .entry((Arc::clone(&token.project), group))
            .or_insert(until);
        *rest = until.max(*rest);
    }

    pub(super) fn earliest_end(&self, key: &Key, model: &str, now: Timestamp) -> Option<Timestamp> {
        self.tokens
            .values()
            .filter(|token| key.has(token.upstream))
            .filter_map(|token| {
                let group = model_group(token.upstream, model).to_owned();
                self.cooling.get(&(Arc::clone(&token.project), group))
            })
            .filter(|until| **until > now)
            .min()
            .copied()
    }

    pub(super) fn drain(&mut self) -> Vec<String> {
        let mut returned = std::mem::take(&mut self.returns);
        for queue in self.queues.values_mut() {
            returned.extend(queue.turns.drain(..).map(|turn| turn.id));
        }
        returned
    }
}
