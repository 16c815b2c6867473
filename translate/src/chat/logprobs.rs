//! Google's `logprobsResult` as OpenAI's `logprobs`.

use super::{chunk::null, write};
use crate::{
    gemini::logprobs::{self as gemini, Token},
    json::{self, JsonStr},
};

/// What OpenAI says of a token that is as good as impossible.
const IMPOSSIBLE: &str = "-9999.0";

/// How likely a choice's tokens were, as far as they were told.
#[derive(Debug, Default)]
pub(super) struct Logprobs {
    /// The elements of `content`, separated by commas.
    content: Vec<u8>,
}

impl Logprobs {
    pub(super) fn add(&mut self, logprobs: &gemini::Logprobs<'_>) {
        let out = &mut self.content;
        for (token, top) in logprobs.tokens() {
            if !out.is_empty() {
                out.push(b',');
            }
            write_token(&token, out);
            out.extend_from_slice(b",\"top_logprobs\":[");
            for (at, token) in top.enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_token(&token, out);
                out.push(b'}');
            }
            out.extend_from_slice(b"]}");
        }
    }

    /// Appends the value of `logprobs`.
    pub(super) fn write(&mut self, out: &mut Vec<u8>) {
        if self.content.is_empty() {
            return null(out);
        }
        out.extend_from_slice(b"{\"content\":[");
        out.append(&mut self.content);
        out.extend_from_slice(b"],\"refusal\":null}");
    }
}

/// Appends a token, all but its closing brace.
fn write_token(token: &Token<'_>, out: &mut Vec<u8>) {
    let text = token.token.unwrap_or(JsonStr::EMPTY);
    out.extend_from_slice(b"{\"token\":");
    write::token(out, text);
    write::key(out, "logprob");
    out.extend_from_slice(match token.log_probability {
        None => b"0.0",
        Some(raw) if json::number(raw).is_ok_and(f64::is_finite) => raw.get().as_bytes(),
        Some(_) => IMPOSSIBLE.as_bytes(),
    });
    write::key(out, "bytes");
    out.push(b'[');
    for (at, byte) in text.text().bytes().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(byte.to_string().as_bytes());
    }
    out.push(b']');
}
