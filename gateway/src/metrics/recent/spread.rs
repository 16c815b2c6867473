//! How long many things took, in a few counts: enough to tell percentiles to a tenth.

use std::time::Duration;

/// Four to an octave.
const PLACES: usize = 80;
/// The first place is for what took less than so many microseconds; a shift, as dividing costs.
const UNIT: u32 = 8;

/// Counts of durations up to 18 minutes, by their size; longer ones count as that.
#[derive(Clone, Debug)]
pub struct Spread([u32; PLACES]);

impl Default for Spread {
    fn default() -> Self {
        Self([0; PLACES])
    }
}

impl Spread {
    /// Counts one.
    pub fn count(&mut self, took: Duration) {
        let place = &mut self.0[place(took)];
        *place = place.saturating_add(1);
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        for (mine, others) in self.0.iter_mut().zip(other.0) {
            *mine = mine.saturating_add(others);
        }
    }

    /// How many were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().copied().map(u64::from).sum()
    }

    /// What `percent` of them took at most; `None`: there are none.
    #[must_use]
    pub fn percentile(&self, percent: u64) -> Option<Duration> {
        let total = self.total();
        // The nearest rank, from 1.
        let rank = (total * percent).div_ceil(100).max(1);
        let mut below = 0;
        for (place, count) in self.0.iter().copied().enumerate() {
            let count = u64::from(count);
            if below + count >= rank && count > 0 {
                let (from, to) = (begins(place), begins(place + 1));
                // In the middle of its share of the place.
                let share = (2 * (rank - below) - 1) as f64 / (2 * count) as f64;
                return Some(from + (to - from).mul_f64(share));
            }
            below += count;
        }
        None
    }
}

fn place(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    // Four more, so that the first four places are of one unit each.
    let units = (micros >> UNIT).saturating_add(4);
    let octave = units.ilog2();
    let quarter = (units >> (octave - 2)) & 3;
    // `octave` is 2 at least and 63 at most, `quarter` 3 at most.
    ((octave - 2) as usize * 4 + quarter as usize).min(PLACES - 1)
}

/// What is counted in a place takes so long at least.
fn begins(place: usize) -> Duration {
    let (octave, quarter) = (place / 4, place as u64 % 4);
    Duration::from_micros((((4 + quarter) << octave) - 4) << UNIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_where_they_begin() {
        for nth in 0..PLACES {
            assert_eq!(place(begins(nth)), nth);
            let last = begins(nth + 1) - Duration::from_nanos(1);
            assert_eq!(place(last), nth);
        }
        assert_eq!(place(Duration::MAX), PLACES - 1);
        assert!(begins(PLACES) > Duration::from_secs(18 * 60 - 60));
    }

    #[test]
    fn percentiles_are_right_to_a_tenth() {
        let mut spread = Spread::default();
        assert_eq!(spread.percentile(50), None);
        for ms in 1..=10_000 {
            spread.count(Duration::from_millis(ms));
        }
        assert_eq!(spread.total(), 10_000);
        for (percent, expected) in [(1, 0.1), (50, 5.0), (95, 9.5), (99, 9.9), (100, 10.0)] {
            let told = spread.percentile(percent).unwrap().as_secs_f64();
            assert!((told / expected - 1.0).abs() < 0.1, "{percent}: {told}");
        }
        let mut one = Spread::default();
        one.count(Duration::from_millis(800));
        for percent in [0, 50, 100] {
            let told = one.percentile(percent).unwrap().as_secs_f64();
            assert!((told / 0.8 - 1.0).abs() < 0.1, "{told}");
        }
        one.add(&spread);
        assert_eq!(one.total(), 10_001);
    }
}
