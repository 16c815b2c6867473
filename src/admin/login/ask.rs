//! What people type and paste. Lines are read by a thread of its own, as a read of a
//! terminal cannot be broken off: Ctrl-C and a deadline do not have to wait for it.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    thread,
    time::Duration,
};

use tokio::sync::mpsc;

use super::interrupted;
use crate::failure::Failure;

/// What was pasted in several lines arrives at once.
const TOGETHER: Duration = Duration::from_millis(100);

/// How a line is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Shown,
    /// A secret: a terminal does not show it.
    Hidden,
    /// Terminals and mail programs break long addresses: further lines belong to it.
    Pasted,
}

/// Standard input, line by line.
#[derive(Debug, Default)]
pub(super) struct Keyboard {
    lines: Option<mpsc::Receiver<io::Result<String>>>,
}

impl Keyboard {
    /// Asks for something that is not empty.
    ///
    /// # Errors
    /// Ctrl-C, and an input that ends.
    pub(super) async fn ask(&mut self, question: &str, line: Line) -> Result<String, Failure> {
        let lines = self.lines.get_or_insert_with(read_lines);
        let watched = io::stdin().is_terminal();
        let _hidden = (line == Line::Hidden).then(Hidden::new);
        loop {
            if watched {
                eprint!("{question}");
                io::stderr().flush()?;
            }
            let typed = tokio::select! {
                typed = lines.recv() => typed,
                () = interrupted() => {
                    eprintln!();
                    return Err(Failure::Interrupted);
                }
            };
            if watched && line == Line::Hidden {
                eprintln!();
            }
            let Some(typed) = typed else {
                let problem = "standard input ended before it was answered; nothing was stored";
                return Err(Failure::Found(problem.to_owned()));
            };
            let mut typed = typed?;
            if line == Line::Pasted {
                while let Ok(Some(more)) = tokio::time::timeout(TOGETHER, lines.recv()).await {
                    typed.push_str(&more?);
                }
            }
            let typed = typed.trim();
            if !typed.is_empty() {
                return Ok(typed.to_owned());
            }
        }
    }
}

fn read_lines() -> mpsc::Receiver<io::Result<String>> {
    let (sender, lines) = mpsc::channel(16);
    thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// While it lives the terminal shows nothing that is typed.
struct Hidden {
    #[cfg(unix)]
    before: Option<rustix::termios::Termios>,
}

impl Hidden {
    #[cfg(unix)]
    fn new() -> Self {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut silent = before.clone();
            silent.local_modes.remove(LocalModes::ECHO);
            // A terminal that does not obey shows what is typed, as it says.
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &silent);
        }
        Self { before }
    }

    #[cfg(not(unix))]
    fn new() -> Self {
        Self {}
    }
}

#[cfg(unix)]
impl Drop for Hidden {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}
