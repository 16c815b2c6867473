//! What people read on standard output. A reader that goes away, as in `… | head`, is
//! no failure.

use std::io::{self, IsTerminal as _, Write as _};

/// Writes `text` and a line's end.
pub(crate) fn line(text: impl AsRef<str>) {
    piece(&format!("{}\n", text.as_ref()));
}

/// Writes `text` at once, without a line's end.
pub(crate) fn piece(text: &str) {
    let mut out = io::stdout().lock();
    // Nobody is left to be told.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Whether a person reads standard output.
pub(crate) fn is_watched() -> bool {
    io::stdout().is_terminal()
}

/// Whether colours are wanted there: a terminal, and no `NO_COLOR`.
pub(crate) fn has_colour() -> bool {
    is_watched() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}
