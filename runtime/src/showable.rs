//! Text of others that is shown among our own.

/// Whether a character can stand beside others as it is: it neither steers a terminal nor turns
/// round what follows (Unicode's embeddings, overrides and isolates).
#[must_use]
pub fn is_showable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::is_showable;

    #[test]
    fn names_of_all_languages_are_and_what_steers_is_not() {
        for name in ["Zoë", "עברית", "日本語 2", "🙂\u{200d}🙂", "a\u{200f}b"] {
            assert!(name.chars().all(is_showable), "{name}");
        }
        for c in ['\u{1b}', '\n', '\u{9b}', '\u{202e}', '\u{2066}', '\u{2069}'] {
            assert!(!is_showable(c), "{c:?}");
        }
    }
}
