//! Who has shown the operators' token: sessions, in the memory of this process alone.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use antigravity_runtime::{
    clock::Clock,
    secret::{self, Digest},
};
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;

/// A session ends so long after its login.
pub(super) const LIFE: Duration = Duration::from_secs(12 * 60 * 60);
/// And when nothing was asked for so long; a page that is open and seen asks.
const IDLE: Duration = Duration::from_secs(60 * 60);
/// Sessions at once. For another, the one that was idle for longest ends.
const MOST: usize = 32;
/// Between two looks for sessions that are over, whose tokens are not to stay in memory.
const LOOK: Duration = Duration::from_secs(60);

/// What the page says once, after something was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) text: String,
    pub(super) went_well: bool,
}

/// A session as its requests see it.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// What its forms send along, which no other page can know.
    pub(super) csrf: SecretString,
    /// The operators' token.
    pub(super) token: SecretString,
}

#[derive(Debug)]
struct Kept {
    /// Of what the cookie has, so that comparing does not tell it.
    id: Digest,
    session: Session,
    began: Instant,
    used: Instant,
    notice: Option<Notice>,
}

/// All of them. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Sessions {
    kept: Arc<Mutex<Vec<Kept>>>,
    clock: Clock,
}

impl Sessions {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            kept: Arc::default(),
            clock,
        }
    }

    /// Begins one; returns what its cookie has.
    pub(super) fn begin(&self, token: SecretString) -> io::Result<SecretString> {
        let id = secret::generate()?;
        let csrf = secret::generate()?;
        let now = self.clock.instant();
        let mut kept = self.living(now);
        if kept.len() >= MOST
            && let Some(oldest) = (0..kept.len()).min_by_key(|at| kept[*at].used)
        {
            kept.swap_remove(oldest);
        }
        kept.push(Kept {
            id: Digest::of(id.expose_secret()),
            session: Session { csrf, token },
            began: now,
            used: now,
            notice: None,
        });
        Ok(id)
    }

    /// The session of a cookie, which is used by that.
    pub(super) fn of(&self, shown: &str) -> Option<Session> {
        self.with(shown, |kept| kept.session.clone())
    }

    /// Ends one.
    pub(super) fn end(&self, shown: &str) {
        let shown = Digest::of(shown);
        self.kept.lock().retain(|kept| !kept.id.is(&shown));
    }

    /// Leaves something to be told with the next page.
    pub(super) fn notify(&self, shown: &str, notice: Notice) {
        self.with(shown, |kept| kept.notice = Some(notice));
    }

    /// What is to be told, once.
    pub(super) fn notice(&self, shown: &str) -> Option<Notice> {
        self.with(shown, |kept| kept.notice.take()).flatten()
    }

    fn with<T>(&self, shown: &str, then: impl FnOnce(&mut Kept) -> T) -> Option<T> {
        let shown = Digest::of(shown);
        let now = self.clock.instant();
        let mut kept = self.living(now);
        // All are compared, so that the time does not tell which one it is.
        let mut found = None;
        for kept in kept.iter_mut() {
            if kept.id.is(&shown) {
                found = Some(kept);
            }
        }
        let found = found?;
        found.used = now;
        Some(then(found))
    }

    /// Those that are not over.
    fn living(&self, now: Instant) -> parking_lot::MutexGuard<'_, Vec<Kept>> {
        let mut kept = self.kept.lock();
        kept.retain(|kept| {
            now.saturating_duration_since(kept.began) < LIFE
                && now.saturating_duration_since(kept.used) < IDLE
        });
        kept
    }

    /// Forgets those that are over, until `ended`.
    pub(super) async fn forget(self, ended: CancellationToken) {
        let look = || tokio::time::sleep(LOOK);
        while ended.run_until_cancelled(look()).await.is_some() {
            drop(self.living(self.clock.instant()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(sessions: &Sessions) -> String {
        let id = sessions.begin("planted-admin-token".into()).unwrap();
        id.expose_secret().to_owned()
    }

    #[test]
    fn end_when_they_are_idle_or_old() {
        let clock = Clock::movable();
        let sessions = Sessions::new(clock.clone());
        let id = begin(&sessions);
        assert!(sessions.of(&id).is_some());
        assert!(sessions.of("another").is_none() && sessions.of("").is_none());
        clock.advance(IDLE - Duration::from_secs(1));
        assert!(sessions.of(&id).is_some());
        clock.advance(IDLE);
        assert!(sessions.of(&id).is_none());

        let id = begin(&sessions);
        for _ in 0..24 {
            assert!(sessions.of(&id).is_some());
            clock.advance(LIFE / 24);
        }
        assert!(sessions.of(&id).is_none(), "however busy it was");
        assert!(sessions.kept.lock().is_empty());
    }

    #[test]
    fn are_few_and_the_longest_idle_makes_room() {
        let clock = Clock::movable();
        let sessions = Sessions::new(clock.clone());
        let first = begin(&sessions);
        let mut ids = Vec::new();
        for _ in 1..MOST {
            clock.advance(Duration::from_secs(1));
            ids.push(begin(&sessions));
        }
        clock.advance(Duration::from_secs(1));
        assert!(sessions.of(&first).is_some());
        ids.push(begin(&sessions));
        assert_eq!(sessions.kept.lock().len(), MOST);
        assert!(sessions.of(&first).is_some(), "it was in use");
        assert!(sessions.of(&ids[0]).is_none());
        sessions.end(&first);
        assert!(sessions.of(&first).is_none());
    }

    #[test]
    fn tell_a_notice_once_and_no_secret_ever() {
        let sessions = Sessions::new(Clock::system());
        let id = begin(&sessions);
        let notice = Notice {
            text: "p1 is disabled".to_owned(),
            went_well: true,
        };
        sessions.notify(&id, notice.clone());
        assert_eq!(sessions.notice(&id), Some(notice));
        assert_eq!(sessions.notice(&id), None);
        let debug = format!("{sessions:?} {:?}", sessions.of(&id));
        let csrf = sessions.of(&id).unwrap().csrf;
        for secret in ["planted", csrf.expose_secret(), &id] {
            assert!(!debug.contains(secret), "{debug}");
        }
    }
}
