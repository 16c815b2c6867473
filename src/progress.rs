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
    /// Drawn once something is known. `None` before, and without a terminal.
    bar: Option<ProgressBar>,
    told: Instant,
}

impl Progress {
    /// Of what `what` says.
    pub(crate) fn of(what: String) -> Self {
        Self {
            what,
            bar: None,
            told: Instant::now(),
        }
    }

    /// So much of so much is done.
    pub(crate) fn is_at(&mut self, done: u64, of: u64) {
        if std::io::stderr().is_terminal() {
            let what = &self.what;
            let bar = self.bar.get_or_insert_with(|| bar(what, of));
            bar.set_length(of);
            bar.set_position(done);
        } else if self.told.elapsed() >= LINE_INTERVAL {
            eprintln!("{}: {done} of {of}", self.what);
            self.told = Instant::now();
        }
    }
}

fn bar(what: &str, of: u64) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(DRAWN);
    let bar = ProgressBar::with_draw_target(Some(of), target);
    let template = "{msg} [{bar:30}] {pos}/{len} ({percent} %), {eta} left";
    // The usual look does, should the template not be one.
    let style = ProgressStyle::with_template(template).map_or_else(
        |_| ProgressStyle::default_bar(),
        |style| style.progress_chars("=> "),
    );
    bar.with_style(style).with_message(what.to_owned())
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
