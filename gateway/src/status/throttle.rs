//! How often the operators' token may be guessed at.

use std::time::{Duration, Instant};

use antigravity_runtime::clock::Clock;
use parking_lot::Mutex;

/// Wrong tokens in a row.
const SAVED: u32 = 5;
/// And one more for each of these.
const EACH: Duration = Duration::from_secs(10);

/// Counts wrong tokens, whoever shows them: behind a proxy all come from one address, and who has
/// a network has any number of them.
#[derive(Debug)]
pub(super) struct Throttle {
    clock: Clock,
    tries: Mutex<Tries>,
}

#[derive(Debug)]
struct Tries {
    left: u32,
    /// Taken, and not known yet what comes of them.
    open: u32,
    /// When `left` was last added to.
    since: Instant,
}

/// There is no try left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// After so long there is one.
    pub(super) wait: Duration,
    /// Some are taken by tokens of which nobody knows yet whether they are wrong.
    pub(super) are_checked: bool,
}

/// One that was taken: of a wrong token, unless it is given back.
#[derive(Debug)]
pub(super) struct Try<'t> {
    throttle: &'t Throttle,
    was_wrong: bool,
}

impl Throttle {
    pub(super) fn new(clock: Clock) -> Self {
        let tries = Mutex::new(Tries {
            left: SAVED,
            open: 0,
            since: clock.instant(),
        });
        Self { clock, tries }
    }

    /// Takes a try, before it is known what comes of it: so many at once are no more than one
    /// after the other.
    ///
    /// # Errors
    /// There is none left; after how long there is.
    pub(super) fn take(&self) -> Result<Try<'_>, Refusal> {
        let now = self.clock.instant();
        let mut tries = self.tries.lock();
        let passed = now.saturating_duration_since(tries.since);
        let more = passed.as_secs() / EACH.as_secs();
        if more > 0 {
            let more = u32::try_from(more).unwrap_or(SAVED).min(SAVED);
            tries.left = (tries.left + more).min(SAVED);
            tries.since = if tries.left == SAVED {
                now
            } else {
                tries.since + EACH * more
            };
        }
        if tries.left == 0 {
            return Err(Refusal {
                wait: EACH.saturating_sub(now.saturating_duration_since(tries.since)),
                are_checked: tries.open > 0,
            });
        }
        if tries.left == SAVED {
            tries.since = now;
        }
        tries.left -= 1;
        tries.open += 1;
        Ok(Try {
            throttle: self,
            was_wrong: true,
        })
    }
}

impl Try<'_> {
    /// It was no wrong token.
    pub(super) fn give_back(mut self) {
        self.was_wrong = false;
    }
}

impl Drop for Try<'_> {
    fn drop(&mut self) {
        let mut tries = self.throttle.tries.lock();
        tries.open -= 1;
        if !self.was_wrong {
            tries.left = (tries.left + 1).min(SAVED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_and_then_one_each_ten_seconds() {
        let clock = Clock::movable();
        let throttle = Throttle::new(clock.clone());
        for _ in 0..SAVED {
            assert!(throttle.take().is_ok());
        }
        let Refusal { wait, are_checked } = throttle.take().unwrap_err();
        assert!(!are_checked, "all were wrong");
        assert!(wait <= EACH && wait > EACH / 2, "{wait:?}");
        clock.advance(wait + Duration::from_millis(1));
        assert!(throttle.take().is_ok());
        assert!(throttle.take().is_err());
        // A right token costs nothing.
        clock.advance(EACH);
        for _ in 0..100 {
            throttle.take().unwrap().give_back();
        }
        clock.advance(EACH * 1000);
        let tries = (0..100).filter(|_| throttle.take().is_ok()).count();
        assert_eq!(tries, SAVED as usize);
    }

    #[test]
    fn who_comes_while_others_are_checked_is_not_told_that_they_were_wrong() {
        let throttle = Throttle::new(Clock::movable());
        let open: Vec<_> = (0..SAVED).map(|_| throttle.take().unwrap()).collect();
        assert!(throttle.take().unwrap_err().are_checked);
        for open in open {
            open.give_back();
        }
        assert!(throttle.take().is_ok());
    }
}
