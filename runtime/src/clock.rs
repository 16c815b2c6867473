//! The time, and a way for tests to move it.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
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

    /// How far [`Clock::advance`] has moved it; nothing for the system's clock.
    #[must_use]
    pub fn advanced(&self) -> Duration {
        self.offset().passed
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

/// A deadline that moves on and on, as that of a stream with each of its pieces. The timer
/// behind it is set anew only when it goes off, not each time that the deadline moves.
pub struct Alarm {
    clock: Clock,
    timer: Option<Timer>,
}

struct Timer {
    at: Instant,
    sleep: Sleep,
}

enum Sleep {
    System(Pin<Box<tokio::time::Sleep>>),
    Movable(Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl Alarm {
    /// One on this clock, not set yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, timer: None }
    }

    /// Ready once it is `due` by the clock's [`Clock::instant`]; until then the task is woken
    /// in time.
    pub fn poll(&mut self, due: Instant, context: &mut Context<'_>) -> Poll<()> {
        let mut now = self.clock.instant();
        while now < due {
            let timer = match &mut self.timer {
                Some(timer) if timer.at <= due => timer,
                timer => timer.insert(Timer {
                    at: due,
                    sleep: Sleep::until(&self.clock, due, now),
                }),
            };
            match timer.sleep.poll(context) {
                Poll::Pending => return Poll::Pending,
                // It was set for an earlier time than is due by now.
                Poll::Ready(()) => self.timer = None,
            }
            now = self.clock.instant();
        }
        Poll::Ready(())
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.timer.as_ref().map(|timer| timer.at);
        f.debug_struct("Alarm").field("at", &at).finish()
    }
}

impl Sleep {
    fn until(clock: &Clock, due: Instant, now: Instant) -> Self {
        if clock.offset.is_none() {
            return Self::System(Box::pin(tokio::time::sleep_until(due.into())));
        }
        let clock = clock.clone();
        let left = due.duration_since(now);
        Self::Movable(Box::pin(async move { clock.sleep(left).await }))
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::System(sleep) => sleep.as_mut().poll(context),
            Self::Movable(sleep) => sleep.as_mut().poll(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_alarm_goes_off_when_it_is_due_and_not_when_it_was() {
        for clock in [Clock::system(), Clock::movable()] {
            let mut alarm = Alarm::new(clock.clone());
            let began = clock.instant();
            let first = began + Duration::from_millis(20);
            std::future::poll_fn(|context| {
                assert!(alarm.poll(first, context).is_pending());
                Poll::Ready(())
            })
            .await;
            let moved = began + Duration::from_millis(60);
            std::future::poll_fn(|context| alarm.poll(moved, context)).await;
            assert!(clock.instant() >= moved);
            // Earlier than what it was set for.
            let later = clock.instant() + Duration::from_secs(3600);
            let sooner = clock.instant() + Duration::from_millis(10);
            std::future::poll_fn(|context| {
                assert!(alarm.poll(later, context).is_pending());
                alarm.poll(sooner, context)
            })
            .await;
            assert!(clock.instant() < later);
        }
    }

    #[tokio::test]
    async fn moving_the_clock_sets_an_alarm_off() {
        let clock = Clock::movable();
        let mut alarm = Alarm::new(clock.clone());
        let due = clock.instant() + Duration::from_secs(3600);
        let waiter = tokio::spawn(std::future::poll_fn(move |context| {
            alarm.poll(due, context)
        }));
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(3600));
        assert!(waiter.await.is_ok());
    }

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
