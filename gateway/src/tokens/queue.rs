//! Turns in their order, and how many of them are drawn ahead of need.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use antigravity_proto::{model_group, v1::Upstream};

/// Turns older than this go back with the next call.
pub(super) const STALE: Duration = Duration::from_secs(5);
/// Turns are drawn for so long ahead, at the present rate: long enough that a call
/// brings many, short enough that they are used before they are stale.
const AHEAD: Duration = Duration::from_secs(2);
/// The rate is looked at anew after this.
const COUNTING: Duration = Duration::from_millis(500);
/// Turns drawn at least, so that a small pool is known from the first draw on.
const MIN_SLICE: u32 = 4;
/// Turns drawn at most, as the contract limits it.
const MAX_SLICE: u32 = 256;

/// What is settled of a project's debts after the token-service was away.
const MAX_DEBT: u32 = 16;

/// For whom turns are held: a set of upstreams and a quota group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Empty: any.
    pub(super) upstreams: Vec<Upstream>,
    group: String,
}

impl Key {
    /// That of a request for `model` to some of `upstreams` (empty: any), in a pool with
    /// projects of the upstreams `pool`.
    #[must_use]
    pub fn of(upstreams: &[Upstream], model: &str, pool: &[Upstream]) -> Self {
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

    /// That of a call which is no turn, and asks no model: nothing is drawn ahead for those.
    pub(super) fn of_no_model(upstream: Upstream) -> Self {
        Self {
            upstreams: vec![upstream],
            group: String::new(),
        }
    }

    pub(super) fn is_of_no_model(&self) -> bool {
        self.group.is_empty()
    }

    /// Whatever upstream.
    pub(super) fn any() -> Self {
        Self {
            upstreams: Vec::new(),
            group: String::new(),
        }
    }

    pub(super) fn has(&self, upstream: Upstream) -> bool {
        self.upstreams.is_empty() || self.upstreams.contains(&upstream)
    }
}

#[derive(Debug)]
pub(super) struct HeldTurn {
    pub(super) id: String,
    pub(super) project: Arc<str>,
    pub(super) drawn: Instant,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) turns: VecDeque<HeldTurn>,
    /// Requests that went without a turn, by project: the next turns settle them.
    owed: HashMap<Arc<str>, u32>,
    /// When each project was dealt last. Of another queue's turns nothing follows: a project may
    /// rest for one group and be dealt for another.
    dealt: HashMap<Arc<str>, Instant>,
    pub(super) refilling: bool,
    slice: u32,
    pub(super) asked: Instant,
    /// Since when requests are counted, and how many came.
    counting: (Instant, u32),
}

impl Queue {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            turns: VecDeque::new(),
            owed: HashMap::new(),
            dealt: HashMap::new(),
            refilling: false,
            slice: MIN_SLICE,
            asked: now,
            counting: (now, 0),
        }
    }

    /// Notes a request.
    pub(super) fn ask(&mut self, now: Instant) {
        self.asked = now;
        self.counting.1 = self.counting.1.saturating_add(1);
    }

    /// Notes a request that went without a turn.
    pub(super) fn owe(&mut self, project: &Arc<str>) {
        *self.owed.entry(Arc::clone(project)).or_default() += 1;
    }

    /// Whether a project was dealt less than `span` ago.
    pub(super) fn was_dealt(&self, project: &str, span: Duration, now: Instant) -> bool {
        let dealt = self.dealt.get(project);
        dealt.is_some_and(|at| now.duration_since(*at) < span)
    }

    /// Forgets when projects were dealt that are gone.
    pub(super) fn forget_dealt(&mut self, is_gone: impl Fn(&Arc<str>) -> bool) {
        self.dealt.retain(|project, _| !is_gone(project));
    }

    /// Forgets what is owed to projects that are gone.
    pub(super) fn forget_debts(&mut self, is_gone: impl Fn(&Arc<str>) -> bool) {
        self.owed.retain(|project, _| !is_gone(project));
    }

    /// What was owed to all alike needs no turns: only the differences are to be settled.
    pub(super) fn even_out(&mut self) {
        let least = self.owed.values().min().copied().unwrap_or(0);
        self.owed.retain(|_, owed| {
            *owed = (*owed - least).min(MAX_DEBT);
            *owed > 0
        });
    }

    /// Whether more turns are to be drawn.
    pub(super) fn is_low(&self) -> bool {
        self.turns.len() * 2 <= self.slice as usize
    }

    /// Whether its oldest turn is to go back.
    pub(super) fn is_stale(&self) -> bool {
        let front = self.turns.front();
        front.is_some_and(|turn| self.asked.duration_since(turn.drawn) > STALE)
    }

    /// Takes a turn in, unless it settles what is owed.
    pub(super) fn push(&mut self, turn: HeldTurn) {
        self.dealt.insert(Arc::clone(&turn.project), turn.drawn);
        match self.owed.get_mut(&turn.project) {
            Some(owed) if *owed > 1 => *owed -= 1,
            Some(_) => {
                self.owed.remove(&turn.project);
            }
            None => self.turns.push_back(turn),
        }
    }

    /// How many turns to draw at the present rate.
    pub(super) fn order(&mut self, waiting: usize, now: Instant) -> u32 {
        let (since, asked) = self.counting;
        let elapsed = now.duration_since(since).max(COUNTING);
        let ahead = f64::from(asked) * AHEAD.as_secs_f64() / elapsed.as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between zero and the requests of two seconds"
        )]
        let ahead = ahead.ceil() as u32;
        self.slice = ahead.clamp(MIN_SLICE, MAX_SLICE);
        if elapsed > COUNTING {
            self.counting = (now, 0);
        }
        let owed: u32 = self.owed.values().sum();
        let waiting = u32::try_from(waiting).unwrap_or(MAX_SLICE);
        let held = u32::try_from(self.turns.len()).unwrap_or(MAX_SLICE);
        let wanted = self.slice.saturating_sub(held).max(waiting) + owed;
        wanted.clamp(1, MAX_SLICE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(project: &str) -> HeldTurn {
        HeldTurn {
            id: String::new(),
            project: project.into(),
            drawn: Instant::now(),
        }
    }

    #[test]
    fn debts_are_settled_by_turns_and_forgotten_with_their_projects() {
        let now = Instant::now();
        let mut queue = Queue::new(now);
        for _ in 0..1000 {
            queue.owe(&"gone".into());
        }
        queue.owe(&"here".into());
        assert_eq!(queue.order(0, now), MAX_SLICE);
        queue.forget_debts(|project| **project == *"gone");
        assert_eq!(queue.order(0, now), MIN_SLICE + 1);
        queue.push(turn("here"));
        assert!(queue.turns.is_empty(), "it settled a debt");
        queue.push(turn("here"));
        assert_eq!(queue.turns.len(), 1);
    }

    #[test]
    fn what_was_owed_to_all_alike_needs_no_turns() {
        let now = Instant::now();
        let mut queue = Queue::new(now);
        for _ in 0..60_000 {
            queue.owe(&"a".into());
            queue.owe(&"b".into());
        }
        queue.owe(&"b".into());
        queue.even_out();
        assert_eq!(queue.order(0, now), MIN_SLICE + 1);
        for _ in 0..60_000 {
            queue.owe(&"a".into());
        }
        queue.even_out();
        assert_eq!(queue.order(0, now), MIN_SLICE + MAX_DEBT);
    }
}
