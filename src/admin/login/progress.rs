//! What a login is at: a line a step, and on a terminal a sign that it goes on.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle};

use crate::terminal;

const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const FRAME: Duration = Duration::from_millis(100);

/// What is shown now.
#[derive(Clone, Default)]
struct Shown {
    message: String,
    failed: bool,
}

/// Steps on standard error.
pub(super) struct Progress {
    steps: watch::Sender<Shown>,
    turning: Option<JoinHandle<()>>,
}

impl Progress {
    pub(super) fn start() -> Self {
        let (steps, seen) = watch::channel(Shown::default());
        let turning = io::stderr().is_terminal().then(|| tokio::spawn(turn(seen)));
        Self { steps, turning }
    }

    /// Goes on to a step.
    pub(super) fn step(&self, message: &str) {
        if self.turning.is_none() {
            terminal::note(message);
        }
        self.steps.send_replace(Shown {
            message: message.to_owned(),
            failed: false,
        });
    }

    /// Marks the last step.
    pub(super) async fn end(self, failed: bool) {
        self.steps.send_modify(|shown| shown.failed = failed);
        drop(self.steps);
        if let Some(turning) = self.turning {
            // It only draws.
            let _ = turning.await;
        }
    }
}

/// Draws until there are no more steps. Each is one line, what it counts included.
async fn turn(mut steps: watch::Receiver<Shown>) {
    let mut frames = FRAMES.iter().cycle();
    let mut before = Shown::default();
    let subject = |shown: &Shown| shown.message.split(',').next().map(str::to_owned);
    loop {
        let is_over = tokio::select! {
            changed = steps.changed() => changed.is_err(),
            () = tokio::time::sleep(FRAME) => false,
        };
        let now = steps.borrow_and_update().clone();
        if !before.message.is_empty() && (is_over || subject(&before) != subject(&now)) {
            draw(if now.failed { '✗' } else { '✓' }, &before.message, true);
        }
        if is_over {
            return;
        }
        if !now.message.is_empty() {
            draw(*frames.next().unwrap_or(&' '), &now.message, false);
        }
        before = now;
    }
}

fn draw(sign: char, message: &str, is_done: bool) {
    let end = if is_done { "\n" } else { "" };
    eprint!("\r\x1b[K{sign} {message}{end}");
    // A terminal that is gone needs no progress.
    let _ = io::stderr().flush();
}
