//! The time, and a way for tests to move it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

/// Where a service reads the time. Clones share one clock.
#[derive(Clone, Debug)]
pub struct Clock {
    /// How far a test has moved it. `None`: the system's clock, which nobody moves.
    offset: Option<Arc<watch::Sender<Offset>>>,
}

/// How far a test has moved a clock.
#[derive(Clone, Copy, Debug, Default)]
struct Offset {
    passed: Duration,
    /// Beside that, of the wall clock alone.
    set: SignedDuration,
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self { offset: None }
    }

    /// A clock that starts at the system's time and can be moved ahead.
    #[must_use]
    pub fn movable() -> Self {
        Self {
            offset: Some(Arc::new(watch::Sender::new(Offset::default()))),
        }
    }

    /// Moves a [`Clock::movable`] ahead and wakes whoever sleeps on it. Does
    /// nothing to the system's clock.
    pub fn advance(&self, by: Duration) {
        if let Some(offset) = &self.offset {
            offset.send_modify(|offset| offset.passed += by);
        }
    }

    /// Sets the wall clock of a [`Clock::movable`] as an operator does: no time passes.
    pub fn set(&self, by: SignedDuration) {
        if let Some(offset) = &self.offset {
            offset.send_modify(|offset| offset.set += by);
        }
    }

    fn offset(&self) -> Offset {
        let offset = self.offset.as_ref();
        offset.map_or_else(Offset::default, |offset| *offset.borrow())
    }

    /// The wall-clock time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let Offset { passed, set } = self.offset();
        let offset = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        Timestamp::now()
            .saturating_add(offset.saturating_add(set))
            .unwrap_or(Timestamp::MAX)
    }

    /// Monotonic time, for measuring intervals.
    #[must_use]
    pub fn instant(&self) -> Instant {
        Instant::now() + self.offset().passed
    }

    /// Sleeps until this clock has gone on by `duration`.
    pub async fn sleep(&self, duration: Duration) {
        let Some(offset) = &self.offset else {
            return tokio::time::sleep(duration).await;
        };
        let end = self.instant() + duration;
        let mut moved = offset.subscribe();
        loop {
            let left = end.saturating_duration_since(self.instant());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => return,
                // The sender lives in `self`, so this cannot fail.
                _ = moved.changed() => {}
            }
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn advancing_wakes_sleepers() {
        let clock = Clock::movable();
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(Duration::from_secs(3600)).await }
        });
        tokio::task::yield_now().await;
        let before = clock.now();
        clock.advance(Duration::from_secs(3600));
        assert!(sleeper.await.is_ok());
        assert!(clock.now().duration_since(before) >= SignedDuration::from_hours(1));
    }
}
