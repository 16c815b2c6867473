//! Requests without a key of ours. Anybody can make as many as the network carries, so a few have
//! their lines in the log, and the others are counted and told together.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Lines that a quiet hour saves up.
const SAVED: u32 = 100;
/// A line more for each of these.
const EACH: Duration = Duration::from_millis(100);
/// Between two lines that tell of those without one.
const TOGETHER: Duration = Duration::from_secs(5);

/// Says which of them have lines.
#[derive(Debug)]
pub struct Strangers {
    metrics: Metrics,
    lines: Mutex<Lines>,
}

#[derive(Debug)]
struct Lines {
    left: u32,
    /// When `left` was last added to.
    since: Instant,
    untold: u64,
}

impl Strangers {
    /// Nobody has come yet.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            lines: Mutex::new(Lines {
                left: SAVED,
                since: Instant::now(),
                untold: 0,
            }),
        }
    }

    /// One was refused; whether it has a line of its own.
    pub(crate) fn refused(&self) -> bool {
        self.metrics.refused();
        let mut lines = self.lines.lock();
        let now = Instant::now();
        let saved = (now - lines.since).as_millis() / EACH.as_millis();
        if saved > 0 {
            let saved = u32::try_from(saved).unwrap_or(SAVED).min(SAVED);
            lines.left = (lines.left + saved).min(SAVED);
            lines.since = now;
        }
        if lines.left == 0 {
            lines.untold += 1;
            return false;
        }
        lines.left -= 1;
        true
    }

    /// Tells of those without a line until `ended`, and then of the last.
    pub(crate) async fn tell(self: Arc<Self>, ended: CancellationToken) {
        while ended
            .run_until_cancelled(tokio::time::sleep(TOGETHER))
            .await
            .is_some()
        {
            self.tell_untold();
        }
        self.tell_untold();
    }

    fn tell_untold(&self) {
        let untold = std::mem::take(&mut self.lines.lock().untold);
        if untold > 0 {
            tracing::warn!(
                requests = untold,
                "many requests without one of the keys; these were answered and have no lines of \
                 their own"
            );
        }
    }
}
