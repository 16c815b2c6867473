//! The last hours of this process, for those who look at it without a Prometheus: chat requests by
//! the minute, and those that failed. Bounded, in memory, and gone with the process.
//!
//! Requests without one of our keys are not here: whoever sends them is not to push out what
//! others need to see.

mod failures;
mod minutes;
mod spread;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::Mutex;
use translate::gemini::usage::Usage;

use self::{failures::Failures, minutes::Minutes};

pub use self::{
    failures::{Failure, Fault},
    minutes::{MINUTES, Minute},
    spread::Spread,
};

/// A chat request that is over.
#[derive(Clone, Copy, Debug)]
pub struct Chat<'a> {
    /// As its client was told.
    pub request_id: &'a Arc<str>,
    /// Which model was asked for, as the client wrote it; shortened.
    pub model: Option<&'a str>,
    /// The status of its answer.
    pub status: u16,
    /// `ok`, `cancelled`, or what the client was told.
    pub outcome: &'static str,
    /// From its head to the end of its answer.
    pub duration: Duration,
    /// To the first piece, of a stream.
    pub first_piece: Option<Duration>,
    /// What it took.
    pub usage: Option<Usage>,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    ToAnAnswer,
    ToNothing(Fault),
    ClientLeft,
}

impl Chat<'_> {
    fn came(&self) -> Came {
        match (self.outcome, self.status) {
            ("ok", _) => Came::ToAnAnswer,
            ("cancelled", _) => Came::ClientLeft,
            // Too many requests are the pool's trouble as much as the client's.
            (_, 400..=428 | 430..=499) => Came::ToNothing(Fault::Clients),
            // A stream that broke has begun with 200.
            _ => Came::ToNothing(Fault::Ours),
        }
    }
}

/// All of it.
#[derive(Debug, Default)]
pub struct Recent {
    minutes: Mutex<Minutes>,
    failures: Mutex<Failures>,
}

impl Recent {
    /// A chat request is over.
    pub fn ended(&self, chat: &Chat<'_>, now: Timestamp) {
        let came = chat.came();
        self.minutes.lock().count(chat, came, now);
        if let Came::ToNothing(fault) = came {
            self.failures.lock().keep(chat, fault, now);
        }
    }

    /// The minutes up to now, the present one last: as many as there are, [`MINUTES`] at most.
    /// Those in which nothing ended are there too.
    #[must_use]
    pub fn minutes(&self, now: Timestamp) -> Vec<Minute> {
        self.minutes.lock().until(now)
    }

    /// The last failures, the newest first.
    #[must_use]
    pub fn failures(&self) -> Vec<Failure> {
        self.failures.lock().newest_first()
    }
}
