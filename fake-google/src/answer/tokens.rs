//! A tokenizer of sorts: a token is up to four characters of a word with the blanks before it.

use crate::json::Json;

/// Characters of one token, blanks aside.
const TOKEN_CHARS: usize = 4;
/// What an image or any other medium counts, as Gemini counts a small image.
pub(crate) const MEDIUM: u64 = 258;
/// What an image that was made counts.
pub(crate) const IMAGE_OUTPUT: u64 = 1290;
/// What a piece of speech counts.
pub(crate) const SPEECH_OUTPUT: u64 = 4;

/// The tokens of a text; joined they are the text.
pub(crate) fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut chars = 0;
    for (at, letter) in text.char_indices() {
        let ends = chars > 0 && (letter.is_whitespace() || chars == TOKEN_CHARS);
        if ends {
            pieces.push(&text[start..at]);
            start = at;
            chars = 0;
        }
        if !letter.is_whitespace() {
            chars += 1;
        }
    }
    if start < text.len() {
        pieces.push(&text[start..]);
    }
    pieces
}

/// How many tokens a text has.
pub(crate) fn count(text: &str) -> u64 {
    pieces(text).len() as u64
}

/// How many tokens a prompt has: every string in it, in tokens, and every medium.
pub(crate) fn prompt(request: &Json) -> u64 {
    [
        "contents",
        "content",
        "systemInstruction",
        "system_instruction",
        "tools",
    ]
    .iter()
    .filter_map(|field| request.get(field))
    .map(value)
    .sum()
}

fn value(json: &Json) -> u64 {
    match json {
        Json::String(text) => count(text),
        Json::Array(items) => items.iter().map(value).sum(),
        Json::Object(fields) => fields
            .iter()
            .map(|(name, field)| match name.as_str() {
                "inlineData" | "inline_data" | "fileData" | "file_data" => MEDIUM,
                "role" | "mimeType" | "mime_type" | "thoughtSignature" | "thought_signature" => 0,
                _ => value(field),
            })
            .sum(),
        Json::Number(_) => 1,
        Json::Null | Json::Bool(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::pieces;

    #[test]
    fn pieces_join_to_the_text() {
        for text in ["", " ", "Hello, wörld  and\nmore ", "abcdefghij"] {
            assert_eq!(pieces(text).concat(), text);
        }
        assert_eq!(pieces("Hello you"), ["Hell", "o", " you"]);
    }
}
