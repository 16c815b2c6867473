//! What becomes of each field of OpenAI's request. Nothing is dropped silently: a
//! field is mapped, or ignored and named in `x-ignored-params`; a value of a mapped one
//! that has no counterpart is refused.

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It has its counterpart in Gemini's request, or steers the answer.
    Mapped,
    /// It has no counterpart and the answer is right without it: named in
    /// `x-ignored-params`, and refused when `STRICT_PARAMS` is set.
    Ignored,
}

/// Every field of OpenAI's published `CreateChatCompletionRequest`, and those of Google's
/// own OpenAI endpoint.
pub const FIELDS: &[(&str, Policy)] = &[
    ("audio", Policy::Mapped),
    ("extra_body", Policy::Mapped),
    ("frequency_penalty", Policy::Ignored),
    ("function_call", Policy::Mapped),
    ("functions", Policy::Mapped),
    ("google", Policy::Mapped),
    ("logit_bias", Policy::Ignored),
    ("logprobs", Policy::Mapped),
    ("max_completion_tokens", Policy::Mapped),
    ("max_tokens", Policy::Mapped),
    ("messages", Policy::Mapped),
    ("metadata", Policy::Ignored),
    ("modalities", Policy::Mapped),
    ("model", Policy::Mapped),
    ("moderation", Policy::Ignored),
    ("n", Policy::Mapped),
    // Gemini has no such switch: false lets the first call through, which is not
    // quite what the client asked for, so it is named as well.
    ("parallel_tool_calls", Policy::Ignored),
    ("prediction", Policy::Ignored),
    ("presence_penalty", Policy::Ignored),
    ("prompt_cache_key", Policy::Ignored),
    ("prompt_cache_options", Policy::Ignored),
    ("prompt_cache_retention", Policy::Ignored),
    ("reasoning_effort", Policy::Mapped),
    ("response_format", Policy::Mapped),
    ("safety_identifier", Policy::Ignored),
    ("seed", Policy::Mapped),
    ("service_tier", Policy::Ignored),
    ("stop", Policy::Mapped),
    ("store", Policy::Ignored),
    ("stream", Policy::Mapped),
    ("stream_options", Policy::Mapped),
    ("temperature", Policy::Mapped),
    ("tool_choice", Policy::Mapped),
    ("tools", Policy::Mapped),
    ("top_k", Policy::Mapped),
    ("top_logprobs", Policy::Mapped),
    ("top_p", Policy::Mapped),
    ("user", Policy::Ignored),
    ("verbosity", Policy::Ignored),
    ("web_search_options", Policy::Mapped),
];

/// What becomes of the field of this name. Fields that OpenAI does not have are
/// ignored and named.
#[must_use]
pub fn policy(name: &str) -> Policy {
    FIELDS
        .iter()
        .find(|(known, _)| *known == name)
        .map_or(Policy::Ignored, |(_, policy)| *policy)
}

/// Whether an ignored field has a value that asks for nothing, or for what is done anyway,
/// as SDKs send it: that is not worth a name.
#[must_use]
pub fn asks_nothing(name: &str, raw: &str) -> bool {
    match name {
        "frequency_penalty" | "presence_penalty" => raw.parse() == Ok(0.0),
        "logit_bias" | "metadata" => raw.trim_matches(['{', '}']).trim().is_empty(),
        "parallel_tool_calls" => raw == "true",
        "service_tier" => matches!(raw, "\"auto\"" | "\"default\""),
        "store" => raw == "false",
        "verbosity" => raw == "\"medium\"",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_without_repetition() {
        assert!(FIELDS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn unknown_fields_are_ignored_and_named() {
        assert_eq!(policy("tomorrow"), Policy::Ignored);
        assert!(asks_nothing("logit_bias", "{ }"));
        assert!(asks_nothing("presence_penalty", "0.0"));
        assert!(!asks_nothing("frequency_penalty", "0.1"));
        assert!(!asks_nothing("logit_bias", "{\"1\":2}"));
    }
}
