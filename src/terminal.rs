//! What people read on standard output. A reader that goes away, as in `… | head`, is
//! no failure.

use std::{
    borrow::Cow,
    io::{self, IsTerminal as _, Write as _},
};

use antigravity_runtime::showable;

/// Writes `text` and a line's end.
pub(crate) fn line(text: impl AsRef<str>) {
    piece(&format!("{}\n", text.as_ref()));
}

/// Writes `text` at once, without a line's end.
pub(crate) fn piece(text: &str) {
    let text = harmless(text);
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => {
            eprintln!("error: cannot write to standard output: {error}");
            std::process::exit(1);
        }
    }
}

/// `1 project`, `2 projects`.
pub(crate) fn counted(count: impl Into<u64>, what: &str) -> String {
    match count.into() {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// Tells something beside the result: a line on standard error.
pub(crate) fn note(text: impl AsRef<str>) {
    eprintln!("{}", harmless(text.as_ref()));
}

/// The text without what would steer a terminal, colours excepted: names and reasons come
/// from elsewhere.
fn harmless(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(steers) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let colour = rest.strip_prefix("\u{1b}[").and_then(|sequence| {
            let end = sequence.find(|c: char| !c.is_ascii_digit() && c != ';')?;
            sequence[end..].starts_with('m').then_some(end + 3)
        });
        let taken = match colour {
            Some(length) => {
                out.push_str(&rest[..length]);
                length
            }
            None => {
                out.push('\u{fffd}');
                rest.chars().next().map_or(0, char::len_utf8)
            }
        };
        rest = &rest[taken..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The text without what would steer a terminal or turn round what stands beside it, colours
/// included: where the text of others stands among our own.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    let steers = |c: char| !showable::is_showable(c);
    if text.contains(steers) {
        Cow::Owned(text.replace(steers, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Whether a person reads standard output.
pub(crate) fn is_watched() -> bool {
    io::stdout().is_terminal()
}

/// Whether colours are wanted there: a terminal, and no `NO_COLOR`.
pub(crate) fn has_colour() -> bool {
    is_watched() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_pass_and_nothing_else_steers() {
        for (text, expected) in [
            ("plain é 😀\n", "plain é 😀\n"),
            ("\u{1b}[31mred\u{1b}[0m", "\u{1b}[31mred\u{1b}[0m"),
            ("a\u{1b}[2Jb\u{7}c", "a\u{fffd}[2Jb\u{fffd}c"),
            ("\u{1b}", "\u{fffd}"),
            ("\u{9b}31m", "\u{fffd}31m"),
        ] {
            assert_eq!(harmless(text), expected);
        }
    }

    #[test]
    fn of_others_not_even_colours_pass() {
        for (text, expected) in [
            ("plain é 😀", "plain é 😀"),
            ("\u{1b}[31mred", "\u{fffd}[31mred"),
            ("a\nb\u{202e}c", "a\u{fffd}b\u{fffd}c"),
        ] {
            assert_eq!(plain(text), expected);
        }
    }
}
