//! Who has refused to give several candidates at once, so that nobody is asked in vain for
//! each request that wants some.

use std::time::{Duration, Instant};

use antigravity_proto::v1::Upstream as Kind;
use antigravity_runtime::clock::Clock;
use parking_lot::Mutex;

/// Google may enable candidates for a model that had none.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);
/// Far more models than there are: clients name them.
const MOST: usize = 256;

/// Upstreams and their models that refused lately.
#[derive(Debug)]
pub(super) struct Refusals {
    /// The oldest first.
    known: Mutex<Vec<Refusal>>,
    clock: Clock,
}

#[derive(Debug)]
struct Refusal {
    upstream: Kind,
    model: String,
    at: Instant,
}

impl Refusals {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            known: Mutex::default(),
            clock,
        }
    }

    /// An upstream refused just now.
    pub(super) fn note(&self, upstream: Kind, model: &str) {
        let at = self.clock.instant();
        let mut known = self.known.lock();
        known.retain(|it| {
            (it.upstream, &*it.model) != (upstream, model) && at.duration_since(it.at) < REMEMBERED
        });
        if known.len() == MOST {
            known.remove(0);
        }
        known.push(Refusal {
            upstream,
            model: model.to_owned(),
            at,
        });
    }

    /// Whether any of these upstreams has refused lately. One of them is enough: whose turn
    /// it will be is not known before it is taken.
    pub(super) fn by_any(&self, upstreams: &[Kind], model: &str) -> bool {
        let now = self.clock.instant();
        self.known.lock().iter().any(|it| {
            it.model == model
                && upstreams.contains(&it.upstream)
                && now.duration_since(it.at) < REMEMBERED
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_has_an_end() {
        let clock = Clock::movable();
        let refusals = Refusals::new(clock.clone());
        refusals.note(Kind::Gemini, "a");
        assert!(refusals.by_any(&[Kind::Gemini], "a"));
        assert!(!refusals.by_any(&[Kind::Gemini], "b"));
        assert!(refusals.by_any(&[Kind::Vertex, Kind::Gemini], "a"));
        assert!(!refusals.by_any(&[Kind::Vertex], "a"));
        assert!(!refusals.by_any(&[], "a"));
        for nth in 0..2 * MOST {
            refusals.note(Kind::Gemini, "a");
            refusals.note(Kind::Vertex, &nth.to_string());
        }
        assert_eq!(refusals.known.lock().len(), MOST);
        assert!(refusals.by_any(&[Kind::Gemini], "a"));
        clock.advance(REMEMBERED);
        assert!(!refusals.by_any(&[Kind::Gemini], "a"));
    }
}
