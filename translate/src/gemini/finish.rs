//! Why a candidate ended.

use std::borrow::Cow;

/// A `finishReason`, as far as it matters to an OpenAI client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// `STOP`.
    Stop,
    /// `MAX_TOKENS`.
    MaxTokens,
    /// The content was filtered: `SAFETY`, `RECITATION` and their like.
    Filtered,
    /// The model failed to produce a valid answer: `MALFORMED_FUNCTION_CALL`,
    /// `UNEXPECTED_TOOL_CALL`, `MALFORMED_RESPONSE`.
    Broken,
    /// Any other reason, those that Google adds tomorrow included.
    Other,
}

/// A finish reason beside Google's name for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishReason {
    /// What it means here.
    pub finish: Finish,
    /// What Google calls it.
    pub native: Cow<'static, str>,
}

/// Google's names, at their numbers: some clients of Google ask for enums as numbers.
const NAMES: [&str; 12] = [
    "FINISH_REASON_UNSPECIFIED",
    "STOP",
    "MAX_TOKENS",
    "SAFETY",
    "RECITATION",
    "OTHER",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MALFORMED_FUNCTION_CALL",
    "IMAGE_SAFETY",
];

impl FinishReason {
    /// The reason of this name; `None` for the unspecified one, which is no reason.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let finish = match name {
            "" | "FINISH_REASON_UNSPECIFIED" => return None,
            "STOP" => Finish::Stop,
            "MAX_TOKENS" => Finish::MaxTokens,
            "SAFETY"
            | "RECITATION"
            | "LANGUAGE"
            | "BLOCKLIST"
            | "PROHIBITED_CONTENT"
            | "SPII"
            | "IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "IMAGE_RECITATION"
            | "MODEL_ARMOR" => Finish::Filtered,
            "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" | "MALFORMED_RESPONSE" => {
                Finish::Broken
            }
            _ => Finish::Other,
        };
        let native = match NAMES.iter().find(|known| **known == name) {
            Some(known) => Cow::Borrowed(*known),
            None => Cow::Owned(name.to_owned()),
        };
        Some(Self { finish, native })
    }

    /// The reason of this number in Google's proto.
    #[must_use]
    pub fn numbered(number: u64) -> Option<Self> {
        let name = usize::try_from(number)
            .ok()
            .and_then(|number| NAMES.get(number));
        Self::named(name.unwrap_or(&"OTHER"))
    }
}
