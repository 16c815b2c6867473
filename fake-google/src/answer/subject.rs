//! What a text is about: what to look for, which tools it names, which keys it wants.

use super::ask::Ask;
use super::instance::Subject;
use crate::json::Json;

/// No word that a text is about is longer.
pub(crate) const WORD_CHARS: usize = 200;

/// What results of tools ask for in a next step: those that say to call something. Nothing when none does.
pub(crate) fn next_step(ask: &Ask<'_>) -> Option<String> {
    let told = ask.results();
    let steps: Vec<&str> = told
        .iter()
        .filter_map(|(_, result)| {
            let said = result
                .get("output")
                .or_else(|| result.get("result"))
                .and_then(Json::as_str)?;
            squash(said)
                .split(' ')
                .any(|word| word == "call")
                .then_some(said)
        })
        .collect();
    (!steps.is_empty()).then(|| steps.join(" "))
}

/// Lower case, with everything that is not a letter or digit as one blank.
pub(crate) fn squash(text: &str) -> String {
    let mut squashed = String::with_capacity(text.len());
    let mut before = ' ';
    for letter in text.chars() {
        let hump = letter.is_uppercase() && before.is_lowercase();
        if hump || (!letter.is_alphanumeric() && !squashed.ends_with(' ')) {
            squashed.push(' ');
        }
        if letter.is_alphanumeric() {
            squashed.extend(letter.to_lowercase());
        }
        before = letter;
    }
    squashed.trim().to_owned()
}

/// What a text is about: what it quotes, else its last word with a capital that does not begin it, else its last word;
/// and its first number.
pub(crate) fn subject(text: &str) -> Subject {
    let words = || {
        text.split_whitespace()
            .map(|word| word.trim_matches(|letter: char| !letter.is_alphanumeric()))
    };
    let proper = || {
        words()
            .skip(1)
            .filter(|word| word.chars().next().is_some_and(char::is_uppercase))
            .last()
    };
    let word = quoted(text, '"')
        .chain(quoted(text, '\''))
        .next()
        .or_else(proper)
        .or_else(|| words().rfind(|word| !word.is_empty()))
        .unwrap_or_default();
    let number = text
        .split(|letter: char| !letter.is_alphanumeric() && !matches!(letter, '_' | '.' | '-'))
        .map(|word| word.trim_end_matches(['.', '-']))
        .filter(|word| word.contains(|letter: char| letter.is_ascii_digit()))
        .find_map(|word| word.parse::<f64>().ok())
        .filter(|number| number.is_finite());
    Subject {
        word: word.chars().take(WORD_CHARS).collect(),
        number,
    }
}

/// The keys that an object should have: what is quoted by a text that speaks of keys.
pub(crate) fn keys(text: &str) -> Vec<&str> {
    if !squash(text).split(' ').any(|word| word == "keys") {
        return Vec::new();
    }
    quoted(text, '\'').chain(quoted(text, '"')).collect()
}

/// What stands between two quotes; an apostrophe within a word is none.
fn quoted(text: &str, quote: char) -> impl Iterator<Item = &str> {
    let opens = move |at: usize| {
        let before = text[..at].chars().next_back();
        quote == '"' || before.is_none_or(|letter| !letter.is_alphanumeric())
    };
    let closes = move |at: usize| {
        let after = text[at + quote.len_utf8()..].chars().next();
        quote == '"' || after.is_none_or(|letter| !letter.is_alphanumeric())
    };
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let open = from + text[from..].find(quote)?;
            from = open + quote.len_utf8();
            if !opens(open) {
                continue;
            }
            let mut ends = text[from..].match_indices(quote).map(|(at, _)| from + at);
            let close = ends.find(|at| closes(*at))?;
            let inner = &text[from..close];
            from = close + quote.len_utf8();
            if !inner.is_empty() {
                return Some(inner);
            }
        }
    })
}
