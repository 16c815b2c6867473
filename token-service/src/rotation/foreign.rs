//! Turns that another rotation dealt and that come back here.

use std::{
    collections::{HashSet, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

/// Adopted turns that are remembered, so that a call that is repeated brings none back twice.
/// Gateways repeat within seconds.
const REMEMBERED: usize = 16_384;

/// A turn that another replica dealt, or this one before its restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ForeignTurn<'t> {
    /// Names the process that dealt it.
    pub instance: &'t str,
    /// Its number there.
    pub number: u64,
    /// Whose it is.
    pub project: &'t str,
}

/// The latest foreign turns that were adopted, each as a hash of 64 bits: that two of so few
/// have the same is not to be expected, and would cost one project one turn.
#[derive(Debug, Default)]
pub(super) struct Adopted {
    turns: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Adopted {
    /// Remembers a turn; `false` when it is remembered already.
    pub(super) fn remember(&mut self, turn: &ForeignTurn<'_>) -> bool {
        let mut hasher = DefaultHasher::new();
        turn.hash(&mut hasher);
        let turn = hasher.finish();
        if !self.turns.insert(turn) {
            return false;
        }
        self.order.push_back(turn);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.turns.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_a_bounded_number() {
        let mut adopted = Adopted::default();
        let turn = |number| ForeignTurn {
            instance: "elsewhere",
            number,
            project: "p",
        };
        assert!(adopted.remember(&turn(0)));
        assert!(!adopted.remember(&turn(0)));
        for number in 1..=REMEMBERED as u64 {
            assert!(adopted.remember(&turn(number)));
        }
        assert!(adopted.remember(&turn(0)), "forgotten by now");
        assert_eq!(adopted.turns.len(), REMEMBERED);
        assert_eq!(adopted.order.len(), REMEMBERED);
    }
}
