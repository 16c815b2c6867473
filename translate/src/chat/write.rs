//! How pieces of OpenAI's answers are written as JSON.

use crate::{
    gemini::{finish::Finish, usage::Usage},
    json::{JsonStr, mend_surrogates, write_escaped, write_string},
};

/// Appends the inside of a text token; half pairs of surrogates become U+FFFD.
pub(super) fn escaped(out: &mut Vec<u8>, text: JsonStr<'_>) {
    out.extend_from_slice(mend_surrogates(text.escaped()).as_bytes());
}

/// Appends a text token with its quotes.
pub(super) fn token(out: &mut Vec<u8>, text: JsonStr<'_>) {
    out.push(b'"');
    escaped(out, text);
    out.push(b'"');
}

/// Appends `usage` as OpenAI has it.
pub(super) fn usage(out: &mut Vec<u8>, usage: &Usage) {
    let text = format!(
        concat!(
            "{{\"prompt_tokens\":{},\"completion_tokens\":{},\"total_tokens\":{},",
            "\"prompt_tokens_details\":{{\"cached_tokens\":{},\"audio_tokens\":{}}},",
            "\"completion_tokens_details\":{{\"reasoning_tokens\":{},\"audio_tokens\":{},",
            "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}}}"
        ),
        usage.prompt_tokens(),
        usage.completion_tokens(),
        usage.total_tokens(),
        usage.cached,
        usage.prompt_audio,
        usage.thoughts,
        usage.candidates_audio,
    );
    out.extend_from_slice(text.as_bytes());
}

/// Appends `,"extra_content":{"google":{"thought_signature":…}}`.
pub(super) fn extra_content(out: &mut Vec<u8>, signature: &str) {
    out.extend_from_slice(b",\"extra_content\":{\"google\":{\"thought_signature\":");
    write_string(out, signature);
    out.extend_from_slice(b"}}");
}

/// A tool call, all but the braces: OpenAI's stream puts an index before it.
pub(super) struct ToolCall<'c> {
    pub(super) id: &'c str,
    pub(super) name: JsonStr<'c>,
    /// A JSON object, as Google wrote it.
    pub(super) args: &'c str,
    pub(super) signature: Option<&'c str>,
}

impl ToolCall<'_> {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"id\":");
        write_string(out, self.id);
        out.extend_from_slice(b",\"type\":\"function\",\"function\":{\"name\":");
        token(out, self.name);
        out.extend_from_slice(b",\"arguments\":\"");
        write_escaped(out, &mend_surrogates(self.args));
        out.extend_from_slice(b"\"}");
        if let Some(signature) = self.signature {
            extra_content(out, signature);
        }
    }
}

/// OpenAI's `finish_reason`.
pub(super) fn finish_reason(finish: Option<Finish>, called: bool) -> &'static str {
    match finish {
        Some(Finish::MaxTokens) => "length",
        Some(Finish::Filtered) => "content_filter",
        Some(Finish::Stop | Finish::Broken | Finish::Other) | None if called => "tool_calls",
        Some(Finish::Stop | Finish::Broken | Finish::Other) | None => "stop",
    }
}
