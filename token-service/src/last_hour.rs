//! How often a project was asked in the last hour, and how often in vain. Pure.

use jiff::Timestamp;

/// An hour in pieces: the oldest is forgotten when a new one begins.
const PIECES: usize = 12;
const PIECE_SECONDS: i64 = 300;

/// Counts of the last hour, to five minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LastHour {
    /// Which piece of time the last count was in.
    newest: i64,
    pieces: [Counts; PIECES],
}

/// Attempts, and those of them that were no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) requests: u32,
    pub(crate) errors: u32,
}

impl LastHour {
    pub(crate) fn count(&mut self, failed: bool, now: Timestamp) {
        self.advance(now);
        let piece = &mut self.pieces[index(self.newest)];
        piece.requests = piece.requests.saturating_add(1);
        piece.errors = piece.errors.saturating_add(u32::from(failed));
    }

    pub(crate) fn sum(mut self, now: Timestamp) -> Counts {
        self.advance(now);
        self.pieces
            .iter()
            .fold(Counts::default(), |sum, piece| Counts {
                requests: sum.requests.saturating_add(piece.requests),
                errors: sum.errors.saturating_add(piece.errors),
            })
    }

    fn advance(&mut self, now: Timestamp) {
        let present = now.as_second().div_euclid(PIECE_SECONDS);
        // A clock that was set back counts on in the newest piece.
        if present > self.newest {
            let passed = usize::try_from(present - self.newest).unwrap_or(PIECES);
            for offset in 0..passed.min(PIECES) {
                self.pieces[index(present - i64::try_from(offset).unwrap_or(0))] =
                    Counts::default();
            }
            self.newest = present;
        }
    }
}

fn index(piece: i64) -> usize {
    usize::try_from(piece).unwrap_or(0) % PIECES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn sum(hour: LastHour, seconds: i64) -> (u32, u32) {
        let counts = hour.sum(at(seconds));
        (counts.requests, counts.errors)
    }

    #[test]
    fn counts_an_hour_and_forgets_what_is_older() {
        let mut hour = LastHour::default();
        assert_eq!(sum(hour, 0), (0, 0));
        hour.count(false, at(0));
        hour.count(true, at(1));
        hour.count(true, at(1800));
        assert_eq!(sum(hour, 1800), (3, 2));
        assert_eq!(sum(hour, 3300), (3, 2));
        assert_eq!(sum(hour, 3900), (1, 1));
        assert_eq!(sum(hour, 100_000), (0, 0));
        hour.count(false, at(100_000));
        assert_eq!(sum(hour, 100_000), (1, 0));
    }

    #[test]
    fn a_clock_that_is_set_back_loses_no_count() {
        let mut hour = LastHour::default();
        hour.count(false, at(7200));
        hour.count(true, at(3600));
        assert_eq!(sum(hour, 3600), (2, 1));
        assert_eq!(sum(hour, 7200), (2, 1));
    }
}
