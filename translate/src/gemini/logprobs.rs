//! How likely the model thought its tokens (`logprobsResult`).

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::serial::JsonStr;

/// A `logprobsResult`: the tokens of an answer, or of a chunk of it.
// https://ai.google.dev/api/generate-content#LogprobsResult
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Logprobs<'a> {
    #[serde(borrow)]
    chosen_candidates: Option<Vec<Option<Token<'a>>>>,
    #[serde(borrow)]
    top_candidates: Option<Vec<Option<TopCandidates<'a>>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TopCandidates<'a> {
    #[serde(borrow)]
    candidates: Option<Vec<Option<Token<'a>>>>,
}

/// A token that was chosen, or that might have been.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Token<'a> {
    /// Its text.
    #[serde(borrow)]
    pub token: Option<JsonStr<'a>>,
    /// A number; proto3's JSON writes the infinite ones as text, and leaves out 0.
    #[serde(borrow)]
    pub log_probability: Option<&'a RawValue>,
}

impl<'a> Logprobs<'a> {
    /// The chosen tokens in their order, each with those that might have been in its place,
    /// of which there may be none.
    pub fn tokens(&self) -> impl Iterator<Item = (Token<'a>, impl Iterator<Item = Token<'a>>)> {
        let tops = self.top_candidates.as_deref().unwrap_or_default();
        let chosen = self.chosen_candidates.iter().flatten();
        chosen.enumerate().map(|(at, token)| {
            let top = tops.get(at).and_then(Option::as_ref);
            let top = top.and_then(|top| top.candidates.as_ref());
            let all = top.into_iter().flatten().flatten().copied();
            (token.unwrap_or_default(), all)
        })
    }
}
