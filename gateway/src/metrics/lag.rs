//! Whether the gateway gets the processor: a task that is due ten times a second notes how late it
//! runs. Where all threads of the runtime are busy, or the machine gives them no time, it is late,
//! and so is everything that requests do.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Metrics;

/// Seldom enough to cost nothing; often enough that a percentile over a minute means something.
const EVERY: Duration = Duration::from_millis(100);
/// In seconds. A timer is due within a millisecond or two; the limit of a container's processor
/// time makes it wait for up to a tenth of a second.
pub(super) const BUCKETS: [f64; 10] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Notes it until `ended`.
pub(crate) async fn watch_lag(metrics: Metrics, ended: CancellationToken) {
    loop {
        let due = Instant::now() + EVERY;
        tokio::select! {
            () = tokio::time::sleep_until(due) => metrics.ran_late(due.elapsed()),
            () = ended.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the histogram says of these, such as its `_count`.
    fn noted<const N: usize>(metrics: &Metrics, names: [&str; N]) -> [f64; N] {
        // A text is told again for a while.
        std::thread::sleep(Duration::from_millis(110));
        let text = metrics.text(|| super::super::Elsewhere {
            tokens_in_hand: 0,
            lost_spans: 0,
            lost_entries: 0,
        });
        let text = std::str::from_utf8(&text).unwrap().to_owned();
        names.map(|of| {
            let name = format!("antigravity_gateway_runtime_lag_seconds{of} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&name));
            line.unwrap().parse().unwrap()
        })
    }

    #[tokio::test]
    async fn a_runtime_that_is_held_up_is_late() {
        let metrics = Metrics::default();
        let ended = CancellationToken::new();
        let watched = tokio::spawn(watch_lag(metrics.clone(), ended.clone()));
        tokio::time::sleep(Duration::from_millis(20)).await;
        // This is the runtime's only thread.
        std::thread::sleep(Duration::from_millis(600));
        tokio::time::sleep(Duration::from_millis(20)).await;
        ended.cancel();
        watched.await.unwrap();
        let [count, sum] = noted(&metrics, ["_count", "_sum"]);
        assert!(count >= 1.0 && (0.4..5.0).contains(&sum), "{count} {sum}");
    }

    #[tokio::test]
    async fn a_runtime_with_nothing_to_do_is_not() {
        let metrics = Metrics::default();
        let ended = CancellationToken::new();
        let watched = tokio::spawn(watch_lag(metrics.clone(), ended.clone()));
        tokio::time::sleep(Duration::from_millis(550)).await;
        ended.cancel();
        watched.await.unwrap();
        let [count, prompt] = noted(&metrics, ["_count", "_bucket{le=\"0.05\"}"]);
        // A machine that does much else may hold some of them up.
        assert!(count >= 2.0 && prompt >= 1.0, "{prompt} of {count}");
    }
}
