//! The times between the events of streams. There are a great many of them, so each stream keeps
//! its own, which costs no lock, and adds them to all others' at its end.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};

/// Upper bounds in milliseconds, as the conventions have them in seconds.
const BOUNDS: [u64; 14] = [
    10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10_240, 20_480, 40_960, 81_920,
];

/// Of one stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gaps {
    /// By bucket; the last has no bound.
    counts: [u32; BOUNDS.len() + 1],
    sum: Duration,
}

impl Gaps {
    /// Adds one.
    pub fn add(&mut self, gap: Duration) {
        let within = |bound: &u64| gap <= Duration::from_millis(*bound);
        // Most are short, so that this is over soon.
        let bucket = BOUNDS.iter().position(within).unwrap_or(BOUNDS.len());
        self.counts[bucket] = self.counts[bucket].saturating_add(1);
        self.sum = self.sum.saturating_add(gap);
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }
}

/// Of all streams. Clones share their values.
#[derive(Clone, Debug, Default)]
pub(super) struct AllGaps(Arc<Mutex<Sums>>);

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    counts: [u64; BOUNDS.len() + 1],
    sum: f64,
}

impl AllGaps {
    pub(super) fn add(&self, gaps: &Gaps) {
        let mut sums = self.0.lock();
        for (sum, count) in sums.counts.iter_mut().zip(gaps.counts) {
            *sum += u64::from(count);
        }
        sums.sum += gaps.sum.as_secs_f64();
    }
}

impl TypedMetric for AllGaps {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for AllGaps {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let Sums { counts, sum } = *self.0.lock();
        let bounds = BOUNDS.iter().map(|bound| *bound as f64 / 1000.0);
        let buckets: Vec<_> = bounds.chain([f64::INFINITY]).zip(counts).collect();
        let count = counts.iter().sum();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;

    #[test]
    fn adds_up_as_a_histogram_does() {
        let all = AllGaps::default();
        let mut registry = Registry::default();
        registry.register("gap", "A gap", all.clone());
        for _ in 0..2 {
            let mut gaps = Gaps::default();
            assert!(gaps.is_empty());
            for ms in [0, 10, 11, 500, 100_000] {
                gaps.add(Duration::from_millis(ms));
            }
            assert!(!gaps.is_empty());
            all.add(&gaps);
        }
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "# TYPE gap histogram",
            "gap_sum 201.042",
            "gap_count 10",
            "gap_bucket{le=\"0.01\"} 4",
            "gap_bucket{le=\"0.02\"} 6",
            "gap_bucket{le=\"0.32\"} 6",
            "gap_bucket{le=\"0.64\"} 8",
            "gap_bucket{le=\"81.92\"} 8",
            "gap_bucket{le=\"+Inf\"} 10",
        ] {
            assert!(text.lines().any(|told| told == line), "{line}: {text}");
        }
    }
}
