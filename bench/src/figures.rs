//! What repetitions add up to: medians, and ratios within one repetition, since machines
//! are noisier between repetitions than within one.

use std::{collections::HashMap, fmt};

use crate::{load::Told, process::Memory, rig::Target, workload::Workload};

/// All that was told of one workload.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) workload: &'static Workload,
    /// By repetition.
    pub(crate) told: Vec<HashMap<Target, Told>>,
    pub(crate) memory: Memories,
    /// How many streams lived at once.
    pub(crate) streams: Option<usize>,
}

/// Memory in MiB, of one rig from its start to its end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memories {
    pub(crate) gateway: Life,
    pub(crate) pass_through: Life,
    pub(crate) token_service: Life,
}

/// Of one process: before the load, at most, and after it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Life {
    pub(crate) idle: f64,
    pub(crate) peak: f64,
    pub(crate) settled: f64,
}

impl Life {
    pub(crate) fn between(before: Memory, after: Memory) -> Self {
        Self {
            idle: before.now,
            peak: after.peak,
            settled: after.now,
        }
    }
}

/// Some values of the same thing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    /// Of values that are numbers; nothing when there is none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values
            .into_iter()
            .filter(|value| value.is_finite())
            .collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        };
        Some(Self {
            median,
            least,
            most,
        })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2}–{:.2})", self.median, self.least, self.most)
    }
}

impl Figures {
    /// One figure of a target over all repetitions.
    pub(crate) fn of(&self, target: Target, figure: fn(&Told) -> f64) -> Option<Spread> {
        let told = self
            .told
            .iter()
            .filter_map(|repetition| repetition.get(&target));
        Spread::of(told.map(figure))
    }

    /// The figure of `target` as a multiple of `base`'s in the same repetition.
    pub(crate) fn ratio(
        &self,
        target: Target,
        base: Target,
        figure: fn(&Told) -> f64,
    ) -> Option<Spread> {
        self.pairs(target, base, |one, other| figure(one) / figure(other))
    }

    /// By how much the figure of `target` is above `base`'s in the same repetition.
    pub(crate) fn added(
        &self,
        target: Target,
        base: Target,
        figure: fn(&Told) -> f64,
    ) -> Option<Spread> {
        self.pairs(target, base, |one, other| figure(one) - figure(other))
    }

    /// What two gateways carry with a core each, as a multiple of what one carries with one: a
    /// core has room for as many requests as its seconds have in them.
    pub(crate) fn carried_by_two(&self) -> Option<Spread> {
        self.pairs(Target::Ours, Target::Two, |one, two| {
            2.0 * one.cpu / two.cpu
        })
    }

    fn pairs(
        &self,
        target: Target,
        base: Target,
        compare: impl Fn(&Told, &Told) -> f64,
    ) -> Option<Spread> {
        let pair = |repetition: &HashMap<Target, Told>| {
            Some(compare(repetition.get(&target)?, repetition.get(&base)?))
        };
        Spread::of(self.told.iter().filter_map(pair))
    }

    /// Requests that failed, over all, and one's reason.
    pub(crate) fn failures(&self) -> Option<String> {
        let all = || self.told.iter().flatten();
        let count: usize = all().map(|(_, told)| told.failures).sum();
        let (target, told) = all().find(|(_, told)| told.failures > 0)?;
        let reason = told.failure.as_deref().unwrap_or_default();
        Some(format!("{count} requests failed; {target:?}: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_spreads() {
        assert!(Spread::of([f64::NAN]).is_none());
        let odd = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!(odd.to_string(), "2.00 (1.00–3.00)");
        let even = Spread::of([4.0, 1.0, f64::INFINITY, 2.0, 3.0]).unwrap();
        assert_eq!(even.to_string(), "2.50 (1.00–4.00)");
    }
}
