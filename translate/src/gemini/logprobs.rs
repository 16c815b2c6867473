//! How likely the model thought its tokens (`logprobsResult`).

use crate::json::{Array, JsonStr, Object, Raw};

/// A `logprobsResult`: the tokens of an answer, or of a chunk of it.
// https://ai.google.dev/api/generate-content#LogprobsResult
#[derive(Clone, Copy, Debug)]
pub struct Logprobs<'a> {
    chosen: Option<Array<'a>>,
    top: Option<Array<'a>>,
}

/// A token that was chosen, or that might have been.
#[derive(Clone, Copy, Debug, Default)]
pub struct Token<'a> {
    /// Its text.
    pub token: Option<JsonStr<'a>>,
    /// A number; proto3's JSON writes the infinite ones as text, and leaves out 0.
    pub log_probability: Option<Raw<'a>>,
}

impl<'a> Logprobs<'a> {
    /// `None`: it is none.
    pub(super) fn read(raw: Raw<'a>) -> Option<Self> {
        let object = raw.as_object()?;
        let list = |name: &str| object.get(name).and_then(Raw::as_array);
        Some(Self {
            chosen: list("chosenCandidates"),
            top: list("topCandidates"),
        })
    }

    /// The chosen tokens in their order, each with those that might have been in its place,
    /// of which there may be none.
    pub fn tokens(&self) -> impl Iterator<Item = (Token<'a>, impl Iterator<Item = Token<'a>>)> {
        let mut tops = self.top.into_iter().flatten();
        let chosen = self.chosen.into_iter().flatten();
        chosen.map(move |raw| {
            let token = raw.as_object().map(Token::read).unwrap_or_default();
            let top = tops.next().and_then(Raw::as_object);
            let top = top.and_then(|top| top.get("candidates")?.as_array());
            let all = top.into_iter().flatten().filter_map(Raw::as_object);
            (token, all.map(Token::read))
        })
    }
}

impl<'a> Token<'a> {
    fn read(object: Object<'a>) -> Self {
        Self {
            token: object.get("token").and_then(Raw::as_string),
            log_probability: object.get("logProbability"),
        }
    }
}
