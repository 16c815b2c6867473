//! A gateway: what it holds is the real [`Held`]; here is what `gateway::tokens` does around
//! it with tasks and timers, as steps between events.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use antigravity_proto::v1::{self, Upstream};
use gateway::{
    outcomes::BATCH,
    tokens::{BACKOFF, Held, Key, Lease, Now, Trust},
};
use jiff::{SignedDuration, Timestamp};

use super::{
    google::{MODELS, Quota},
    replica::Wanted,
    time::{self, Time},
};

/// A client's request, or another attempt of it.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) number: u64,
    pub(super) model: usize,
    pub(super) exclude: Arc<HashSet<Arc<str>>>,
}

/// A call of AcquireTokens that is to be made.
#[derive(Clone, Debug)]
pub(super) struct Draw {
    pub(super) wanted: Wanted,
    /// Ahead of need, with nobody waiting.
    pub(super) ahead: bool,
    /// Replicas that are to be tried, in this order.
    pub(super) places: VecDeque<usize>,
}

/// What a step comes to.
#[derive(Debug)]
pub(super) enum Deed {
    Send(Request, Lease),
    Draw(Draw),
    /// It waits for a turn; `true`: only for a moment, as there is a token in hand.
    Wait(Request, bool),
    /// Nobody can serve it.
    Fail,
}

#[derive(Debug)]
pub(super) struct Gateway {
    held: Held,
    keys: [Key; 2],
    waiting: [VecDeque<Request>; 2],
    drawing: [bool; 2],
    began: Instant,
    /// By replica: until when it is left alone, and how often it failed in a row.
    failing: Vec<(Time, u32)>,
    next: usize,
    pub(super) is_alive: bool,
    pub(super) reports: Reports,
}

/// What is to be reported.
#[derive(Debug, Default)]
pub(super) struct Reports {
    used: VecDeque<String>,
    limited: Vec<Quota>,
    /// A call is under way.
    pub(super) sending: bool,
    /// When the next is due.
    pub(super) due: Option<Time>,
}

impl Reports {
    pub(super) fn add(&mut self, turn: Option<String>, limited: Option<Quota>) {
        self.used.push_back(turn.unwrap_or_default());
        self.limited.extend(limited);
    }

    pub(super) fn is_full(&self) -> bool {
        self.used.len() >= BATCH
    }

    /// Whether somebody is to rest of whom nobody was told.
    pub(super) fn is_urgent(&self) -> bool {
        !self.limited.is_empty()
    }

    pub(super) fn batch(&mut self) -> (Vec<String>, Vec<Quota>) {
        let count = self.used.len().min(BATCH);
        (
            self.used.drain(..count).collect(),
            std::mem::take(&mut self.limited),
        )
    }
}

impl Gateway {
    pub(super) fn new(replicas: usize, next: usize, began: Instant) -> Self {
        let key = |model| Key::of(&[], model, &[Upstream::Antigravity]);
        Self {
            held: Held::default(),
            keys: MODELS.map(key),
            waiting: Default::default(),
            drawing: [false; 2],
            began,
            failing: vec![(0, 0); replicas],
            next,
            is_alive: true,
            reports: Reports::default(),
        }
    }

    fn now(&self, now: Time) -> Now {
        let passed = Duration::from_micros(now);
        let wall = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        Now {
            wall: Timestamp::UNIX_EPOCH
                .saturating_add(wall)
                .unwrap_or(Timestamp::MAX),
            instant: self.began + passed,
        }
    }

    fn take(&mut self, request: &Request, trust: Trust, now: Time) -> Option<(Lease, bool)> {
        let at = self.now(now);
        let key = &self.keys[request.model];
        let model = MODELS[request.model];
        let lease = self.held.take(key, model, &request.exclude, trust, at)?;
        Some((lease, self.held.begin_refill(key)))
    }

    fn serve(&mut self, request: Request, trust: Trust, now: Time) -> Result<Vec<Deed>, Request> {
        let Some((lease, low)) = self.take(&request, trust, now) else {
            return Err(request);
        };
        let model = request.model;
        let mut deeds = vec![Deed::Send(request, lease)];
        if low {
            let at = self.now(now);
            let unusable = self.held.unusable(&self.keys[model], MODELS[model], at);
            deeds.push(Deed::Draw(self.draw(model, unusable, 0, true, now)));
        }
        Ok(deeds)
    }

    /// A request comes.
    pub(super) fn ask(&mut self, request: Request, now: Time) -> Vec<Deed> {
        let request = match self.serve(request, Trust::Known, now) {
            Ok(deeds) => return deeds,
            Err(request) => request,
        };
        let at = self.now(now);
        let key = &self.keys[request.model];
        let model = request.model;
        let fallback = self.held.has_any(key, MODELS[model], &request.exclude, at);
        self.waiting[model].push_back(request.clone());
        let mut deeds = vec![Deed::Wait(request, fallback)];
        deeds.extend(self.draw_for_waiting(model, now));
        deeds
    }

    /// A request has waited for as long as one does that could go without a turn.
    pub(super) fn lose_patience(&mut self, model: usize, number: u64, now: Time) -> Vec<Deed> {
        let waiting = &mut self.waiting[model];
        let Some(at) = waiting.iter().position(|request| request.number == number) else {
            return Vec::new();
        };
        let Some(request) = waiting.remove(at) else {
            return Vec::new();
        };
        self.serve(request, Trust::Any, now)
            .unwrap_or_else(|request| {
                self.waiting[model].push_back(request);
                Vec::new()
            })
    }

    fn draw_for_waiting(&mut self, model: usize, now: Time) -> Option<Deed> {
        let first = self.waiting[model].front()?;
        if std::mem::replace(&mut self.drawing[model], true) {
            return None;
        }
        let mut unwanted = (*first.exclude).clone();
        let at = self.now(now);
        unwanted.extend(self.held.unusable(&self.keys[model], MODELS[model], at));
        let waiting = self.waiting[model].len();
        Some(Deed::Draw(self.draw(model, unwanted, waiting, false, now)))
    }

    fn draw(
        &mut self,
        model: usize,
        exclude: HashSet<Arc<str>>,
        waiting: usize,
        ahead: bool,
        now: Time,
    ) -> Draw {
        let at = self.now(now);
        let (count, returned) = self.held.order(&self.keys[model], waiting, at);
        Draw {
            wanted: Wanted {
                count,
                model,
                exclude: Arc::new(exclude),
                returned,
            },
            ahead,
            places: self.places(now),
        }
    }

    /// The replicas that a call tries, going round.
    pub(super) fn places(&mut self, now: Time) -> VecDeque<usize> {
        let failing = self.failing.iter().enumerate();
        let mut places: VecDeque<_> = failing
            .filter(|(_, (until, _))| *until <= now)
            .map(|(replica, _)| replica)
            .collect();
        if !places.is_empty() {
            let first = self.next % places.len();
            self.next = self.next.wrapping_add(1);
            places.rotate_left(first);
        }
        places
    }

    /// A replica does not answer.
    pub(super) fn failed(&mut self, replica: usize, now: Time) {
        let (until, strikes) = &mut self.failing[replica];
        let (first, longest) = BACKOFF;
        let rest = first.saturating_mul(1 << (*strikes).min(10)).min(longest);
        *until = now + time::of(rest);
        *strikes += 1;
    }

    pub(super) fn answered(&mut self, replica: usize) {
        self.failing[replica] = (0, 0);
    }

    /// A draw has ended; `None`: nobody answered.
    pub(super) fn drawn(
        &mut self,
        draw: Draw,
        turns: Option<Vec<v1::Turn>>,
        now: Time,
    ) -> Vec<Deed> {
        let model = draw.wanted.model;
        let at = self.now(now);
        let key = &self.keys[model];
        let refused = turns.as_ref().is_some_and(Vec::is_empty);
        match turns {
            Some(turns) => {
                let response = v1::AcquireTokensResponse {
                    turns,
                    pool_upstreams: vec![Upstream::Antigravity.into()],
                    ..Default::default()
                };
                self.held.add(key, response, at);
            }
            None => self.held.disconnected(draw.wanted.returned),
        }
        if draw.ahead {
            self.held.end_refill(key);
            return Vec::new();
        }
        self.drawing[model] = false;
        let mut deeds = Vec::new();
        for request in std::mem::take(&mut self.waiting[model]) {
            match self.serve(request, Trust::Known, now) {
                Ok(done) => deeds.extend(done),
                Err(_) if refused => deeds.push(Deed::Fail),
                Err(request) => self.waiting[model].push_back(request),
            }
        }
        deeds.extend(self.draw_for_waiting(model, now));
        deeds
    }

    /// Google says that a project is to rest.
    pub(super) fn cool(&mut self, lease: &Lease, model: usize, now: Time) {
        let at = self.now(now);
        let until = at
            .wall
            .saturating_add(SignedDuration::from_hours(5))
            .unwrap_or(Timestamp::MAX);
        self.held.cool(&lease.token, MODELS[model], until, at);
    }
}
