//! How pieces of OpenAI's answers are written as JSON.

use crate::{
    gemini::{finish::Finish, usage::Usage},
    json::{JsonStr, mend_surrogates, write_escaped, write_string},
};

/// Appends the inside of a text token; half pairs of surrogates become U+FFFD.
pub(super) fn escaped(out: &mut String, text: JsonStr<'_>) {
    out.push_str(&text.mended());
}

/// Appends a text token with its quotes.
pub(super) fn token(out: &mut Vec<u8>, text: JsonStr<'_>) {
    quoted(out, &text.mended());
}

/// Appends text that is escaped already, in quotes.
pub(super) fn quoted(out: &mut Vec<u8>, escaped: &str) {
    out.push(b'"');
    out.extend_from_slice(escaped.as_bytes());
    out.push(b'"');
}

/// Appends `,"name":`.
pub(super) fn key(out: &mut Vec<u8>, name: &str) {
    out.push(b',');
    write_string(out, name);
    out.push(b':');
}

/// Writes the members of an object, with commas between them.
pub(super) struct Members<'o> {
    out: &'o mut Vec<u8>,
    begun: bool,
}

impl<'o> Members<'o> {
    /// Of an object that has none yet.
    pub(super) fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, begun: false }
    }

    /// Of an object that has some.
    pub(super) fn more(out: &'o mut Vec<u8>) -> Self {
        Self { out, begun: true }
    }

    /// Begins a member, whose name needs no escape; its value is to be appended.
    pub(super) fn key(&mut self, name: &str) -> &mut Vec<u8> {
        if std::mem::replace(&mut self.begun, true) {
            self.out.push(b',');
        }
        quoted(self.out, name);
        self.out.push(b':');
        self.out
    }
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

/// A tool call, all but the braces: OpenAI's stream puts an index before it.
pub(super) struct ToolCall<'c> {
    pub(super) id: &'c str,
    pub(super) name: &'c str,
    /// A JSON object, as Google wrote it.
    pub(super) args: &'c str,
    pub(super) signature: Option<&'c str>,
}

impl ToolCall<'_> {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"id\":");
        write_string(out, self.id);
        out.extend_from_slice(b",\"type\":\"function\",\"function\":");
        self.write_function(out);
        if let Some(signature) = self.signature {
            key(out, "extra_content");
            out.extend_from_slice(b"{\"google\":{\"thought_signature\":");
            write_string(out, signature);
            out.extend_from_slice(b"}}");
        }
    }
}

impl ToolCall<'_> {
    /// Appends the function alone, which is all that `function_call` has.
    pub(super) fn write_function(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"name\":");
        write_string(out, self.name);
        out.extend_from_slice(b",\"arguments\":\"");
        write_escaped(out, &mend_surrogates(self.args));
        out.extend_from_slice(b"\"}");
    }
}

/// Why a choice ended, as the client is told.
pub(super) struct Ending<'e> {
    /// OpenAI's word.
    pub(super) reason: &'static str,
    /// Google's.
    pub(super) native: Option<&'e str>,
    /// Google's sentence.
    pub(super) message: Option<&'e str>,
}

impl Ending<'_> {
    /// A prompt that was blocked.
    pub(super) const BLOCKED: Self = Self {
        reason: "content_filter",
        native: None,
        message: None,
    };

    /// Appends the value of `finish_reason`, and Google's own beside it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_string(out, self.reason);
        for (name, value) in [
            ("native_finish_reason", self.native),
            ("native_finish_message", self.message),
        ] {
            if let Some(value) = value {
                key(out, name);
                write_string(out, value);
            }
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
