//! Which log lines are written, changed while the process runs.

use std::{io::IsTerminal as _, sync::Arc};

use parking_lot::Mutex;
use tracing_subscriber::{EnvFilter, Registry, reload};

use super::Level;
use crate::{
    config::{Environment, parsed},
    hangups::Hangups,
    variables::LOG_LEVEL,
};

/// Changes which lines are written. Clones share it.
#[derive(Clone, Debug)]
pub struct Levels {
    filter: reload::Handle<EnvFilter, Registry>,
    now: Arc<Mutex<Level>>,
}

impl Levels {
    pub(super) fn new(filter: reload::Handle<EnvFilter, Registry>, level: Level) -> Self {
        Self {
            filter,
            now: Arc::new(Mutex::new(level)),
        }
    }

    /// Reads `LOG_LEVEL` again from the `.env` file at each SIGHUP, for as long as the process
    /// runs. Who may send it a signal may change that file too. On a terminal SIGHUP says
    /// that the terminal was closed, which is to end the process as ever.
    pub fn follow(self, environment: Environment) {
        if std::io::stderr().is_terminal() {
            return;
        }
        tokio::spawn(async move {
            let mut hangups = Hangups::new();
            loop {
                hangups.next().await;
                self.read_again(&environment);
            }
        });
    }

    fn read_again(&self, environment: &Environment) {
        let read = environment
            .anew()
            .and_then(|anew| anew.required::<Level>(&LOG_LEVEL, parsed("a level or a filter")));
        let level = match read {
            Ok(level) => level,
            Err(error) => {
                tracing::warn!(%error, "the log level stays as it is");
                return;
            }
        };
        if *self.now.lock() == level {
            return;
        }
        // Told by whichever of the two would be seen.
        tracing::info!(LOG_LEVEL = level.asked(), "the log level is changed");
        if let Err(error) = self.filter.reload(EnvFilter::new(&level.0)) {
            tracing::warn!(%error, "the log level stays as it is");
            return;
        }
        tracing::info!(LOG_LEVEL = level.asked(), "the log level has changed");
        *self.now.lock() = level;
    }
}
