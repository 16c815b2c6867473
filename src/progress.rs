//! How far long work is, on standard error: a bar on a terminal, a line every so often
//! elsewhere. What takes no time shows nothing.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// Drawn so often in a second, at the most.
const DRAWN: u8 = 20;

/// The progress of one piece of work.
#[derive(Debug)]
pub(crate) struct Progress {
    what: String,
    bar: Option<ProgressBar>,
    told: Instant,
}

impl Progress {
    /// Of what `what` says.
    pub(crate) fn of(what: String) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let target = ProgressDrawTarget::stderr_with_hz(DRAWN);
            let bar = ProgressBar::with_draw_target(None, target);
            let style = ProgressStyle::with_template(
                "{msg} [{bar:30}] {pos}/{len} ({percent} %), {eta} left",
            );
            // The usual look does, should the template not be one.
            bar.set_style(style.map_or_else(
                |_| ProgressStyle::default_bar(),
                |style| style.progress_chars("=> "),
            ));
            bar.set_message(what.clone());
            bar
        });
        Self {
            what,
            bar,
            told: Instant::now(),
        }
    }

    /// So much of so much is done.
    pub(crate) fn is_at(&mut self, done: u64, of: u64) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(of);
                bar.set_position(done);
            }
            None if self.told.elapsed() >= LINE_INTERVAL => {
                eprintln!("{}: {done} of {of}", self.what);
                self.told = Instant::now();
            }
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
