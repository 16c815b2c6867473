//! Google as far as the protocol notices: who runs into a limit, and how long others go on
//! asking him.

use std::collections::HashMap;

use super::time::{self, Time};

/// The models that clients ask for, one of each quota group.
pub(super) const MODELS: [&str; 2] = ["gemini-3-pro", "claude-sonnet-4-5"];

/// A project and which of [`MODELS`].
pub(super) type Quota = (usize, usize);

/// Whose quota is used up, and since when that is known.
#[derive(Debug, Default)]
pub(super) struct Google {
    used_up: HashMap<Quota, Limit>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Limit {
    /// When the first 429 reached a gateway.
    told: Option<Time>,
    /// When somebody asked the project the last time after that.
    asked: Option<Time>,
    /// When the last replica knew of it.
    known: Option<Time>,
    refused: u64,
}

/// How a cooldown was obeyed; times from the first 429 on, in microseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Obedience {
    /// Cooldowns that somebody ran into.
    pub(crate) count: usize,
    /// Until the last replica knew: the median, the 99th percentile and the longest.
    pub(crate) known: [Time; 3],
    /// Until the last request was sent to the project.
    pub(crate) asked: [Time; 3],
    /// Requests of a cooldown that were refused, on average: each was tried elsewhere.
    pub(crate) refused: f64,
}

impl Google {
    pub(super) fn use_up(&mut self, quota: Quota) {
        self.used_up.entry(quota).or_default();
    }

    /// A request; whether it is refused.
    pub(super) fn asked(&mut self, quota: Quota, now: Time) -> bool {
        let Some(limit) = self.used_up.get_mut(&quota) else {
            return false;
        };
        limit.refused += 1;
        if limit.told.is_some() {
            limit.asked = Some(now);
        }
        true
    }

    /// A 429 reached a gateway.
    pub(super) fn told(&mut self, quota: Quota, now: Time) {
        if let Some(limit) = self.used_up.get_mut(&quota) {
            limit.told.get_or_insert(now);
        }
    }

    /// A replica knows of it now.
    pub(super) fn known(&mut self, quota: Quota, now: Time) {
        if let Some(limit) = self.used_up.get_mut(&quota) {
            limit.known = Some(now);
        }
    }

    /// How all cooldowns were obeyed.
    pub(super) fn obedience(&self) -> Obedience {
        let met = || self.used_up.values().filter(|limit| limit.told.is_some());
        let since_told = |then: fn(&Limit) -> Option<Time>| {
            let mut times: Vec<_> = met()
                .map(|limit| then(limit).zip(limit.told))
                .map(|times| times.map_or(0, |(then, told)| then.saturating_sub(told)))
                .collect();
            [50, 99, 100].map(|percent| time::percentile(&mut times, percent))
        };
        let count = met().count();
        #[expect(clippy::cast_precision_loss, reason = "counts of a simulation")]
        let refused = met().map(|limit| limit.refused).sum::<u64>() as f64 / count.max(1) as f64;
        Obedience {
            count,
            known: since_told(|limit| limit.known),
            asked: since_told(|limit| limit.asked),
            refused,
        }
    }
}
