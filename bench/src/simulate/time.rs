//! Virtual time: what happens when, in one order for one seed.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

/// Microseconds since the beginning.
pub(super) type Time = u64;

pub(super) const MILLISECOND: Time = 1_000;
pub(super) const SECOND: Time = 1_000 * MILLISECOND;

/// A duration of the services in virtual time.
pub(super) fn of(duration: std::time::Duration) -> Time {
    // None of theirs is longer than 500,000 years.
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What is to happen, the soonest first; what is to happen at one time, in the order in which
/// that was decided.
#[derive(Debug)]
pub(super) struct Events<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    decided: u64,
    now: Time,
}

#[derive(Debug)]
struct Entry<E> {
    at: Time,
    decided: u64,
    event: E,
}

impl<E> Events<E> {
    pub(super) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            decided: 0,
            now: 0,
        }
    }

    pub(super) fn now(&self) -> Time {
        self.now
    }

    pub(super) fn after(&mut self, delay: Time, event: E) {
        self.at(self.now + delay, event);
    }

    /// What is to happen in the past happens now.
    pub(super) fn at(&mut self, at: Time, event: E) {
        self.decided += 1;
        self.heap.push(Reverse(Entry {
            at: at.max(self.now),
            decided: self.decided,
            event,
        }));
    }

    /// Goes on to the next event before `end`.
    pub(super) fn next_before(&mut self, end: Time) -> Option<E> {
        if self.heap.peek().is_none_or(|Reverse(next)| next.at >= end) {
            self.now = end;
            return None;
        }
        let Reverse(next) = self.heap.pop()?;
        self.now = next.at;
        Some(next.event)
    }
}

impl<E> Entry<E> {
    fn place(&self) -> (Time, u64) {
        (self.at, self.decided)
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

/// A time that is seldom much longer than `mean` and never shorter than a quarter of it.
pub(super) fn about(random: &mut fastrand::Rng, mean: Time) -> Time {
    let least = mean / 4;
    least + exponential(random, mean - least)
}

/// As long as one waits for what comes by chance, once in `mean`.
pub(super) fn exponential(random: &mut fastrand::Rng, mean: Time) -> Time {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "times of a simulation are far from the limits"
    )]
    let time = (-(1.0 - random.f64()).ln() * mean as f64) as Time;
    time
}

/// The value that so many of a hundred do not exceed; 0 of none.
pub(super) fn percentile(values: &mut [u64], percent: usize) -> u64 {
    values.sort_unstable();
    let at = (values.len() * percent).div_ceil(100).saturating_sub(1);
    values.get(at).copied().unwrap_or(0)
}
