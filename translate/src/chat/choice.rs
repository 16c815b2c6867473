//! One choice of an answer: the pieces that it is told in, and what they add up to.

use super::write::{self, ToolCall};
use crate::{gemini::finish::FinishReason, json::write_string};

/// What is known of one choice so far; the buffers are used for whole answers only.
#[derive(Debug, Default)]
pub(super) struct Choice {
    pub(super) index: u32,
    pub(super) begun: bool,
    pub(super) calls: u32,
    pub(super) spoke: bool,
    pub(super) showed: bool,
    pub(super) thought: bool,
    pub(super) finish: Option<FinishReason>,
    pub(super) signature: Option<String>,
    pub(super) content: Vec<u8>,
    pub(super) reasoning: Vec<u8>,
    pub(super) tool_calls: Vec<u8>,
    pub(super) images: Vec<u8>,
    pub(super) audio: Vec<u8>,
}

/// A piece of a choice, in OpenAI's terms. Texts are escaped already.
pub(super) enum Delta<'d> {
    Content(&'d [u8]),
    Reasoning(&'d [u8]),
    ToolCall(ToolCall<'d>),
    /// A whole data URL.
    Image(&'d [u8]),
    /// Base64.
    Audio(&'d [u8]),
}

/// Appends `finish_reason`'s value, and Google's own beside it.
pub(super) fn write_finish(finish: Option<(&str, Option<&str>)>, out: &mut Vec<u8>) {
    let Some((finish, native)) = finish else {
        out.extend_from_slice(b"null");
        return;
    };
    write_string(out, finish);
    if let Some(native) = native {
        out.extend_from_slice(b",\"native_finish_reason\":");
        write_string(out, native);
    }
}

impl Delta<'_> {
    pub(super) fn write(&self, calls: u32, out: &mut Vec<u8>) {
        let quoted = |key: &[u8], text: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(key);
            out.extend_from_slice(text);
            out.push(b'"');
        };
        match self {
            Self::Content(text) => quoted(b"\"content\":\"", text, out),
            Self::Reasoning(text) => quoted(b"\"reasoning_content\":\"", text, out),
            Self::ToolCall(call) => {
                out.extend_from_slice(format!("\"tool_calls\":[{{\"index\":{calls},").as_bytes());
                call.write(out);
                out.extend_from_slice(b"}]");
            }
            Self::Image(url) => {
                quoted(
                    b"\"images\":[{\"type\":\"image_url\",\"index\":0,\"image_url\":{\"url\":\"",
                    url,
                    out,
                );
                out.extend_from_slice(b"}}]");
            }
            Self::Audio(data) => {
                quoted(b"\"audio\":{\"data\":\"", data, out);
                out.push(b'}');
            }
        }
    }
}

impl Choice {
    pub(super) fn is_empty(&self) -> bool {
        !(self.spoke || self.showed || self.thought || self.calls > 0)
    }

    pub(super) fn finish_reasons(&self) -> (&'static str, Option<String>) {
        let reason = self.finish.as_ref();
        let finish = write::finish_reason(reason.map(|reason| reason.finish), self.calls > 0);
        (
            finish,
            reason.map(|reason| reason.native.clone().into_owned()),
        )
    }

    pub(super) fn fold(&mut self, delta: &Delta<'_>) {
        match delta {
            Delta::Content(text) => self.content.extend_from_slice(text),
            Delta::Reasoning(text) => self.reasoning.extend_from_slice(text),
            Delta::ToolCall(call) => {
                let between: &[u8] = if self.tool_calls.is_empty() {
                    b"{"
                } else {
                    b",{"
                };
                self.tool_calls.extend_from_slice(between);
                call.write(&mut self.tool_calls);
                self.tool_calls.push(b'}');
            }
            Delta::Image(url) => {
                if !self.images.is_empty() {
                    self.images.push(b',');
                }
                self.images.extend_from_slice(
                    b"{\"type\":\"image_url\",\"index\":0,\"image_url\":{\"url\":\"",
                );
                self.images.extend_from_slice(url);
                self.images.extend_from_slice(b"\"}}");
            }
            Delta::Audio(data) => self.audio.extend_from_slice(data),
        }
    }

    pub(super) fn write(&self, id: &str, created: i64, out: &mut Vec<u8>) {
        out.extend_from_slice(
            format!(
                "{{\"index\":{},\"message\":{{\"role\":\"assistant\",\"content\":",
                self.index
            )
            .as_bytes(),
        );
        let has_other = self.calls > 0 || !self.audio.is_empty();
        if self.content.is_empty() && has_other {
            out.extend_from_slice(b"null");
        } else {
            out.push(b'"');
            out.extend_from_slice(&self.content);
            out.push(b'"');
        }
        out.extend_from_slice(b",\"refusal\":null");
        if !self.reasoning.is_empty() {
            out.extend_from_slice(b",\"reasoning_content\":\"");
            out.extend_from_slice(&self.reasoning);
            out.push(b'"');
        }
        if !self.tool_calls.is_empty() {
            out.extend_from_slice(b",\"tool_calls\":[");
            out.extend_from_slice(&self.tool_calls);
            out.push(b']');
        }
        if !self.images.is_empty() {
            out.extend_from_slice(b",\"images\":[");
            out.extend_from_slice(&self.images);
            out.push(b']');
        }
        if !self.audio.is_empty() {
            out.extend_from_slice(b",\"audio\":{\"id\":");
            write_string(out, &format!("audio-{id}"));
            out.extend_from_slice(format!(",\"expires_at\":{created},\"data\":\"").as_bytes());
            out.extend_from_slice(&self.audio);
            out.extend_from_slice(b"\",\"transcript\":\"\"}");
        }
        if let Some(signature) = &self.signature {
            write::extra_content(out, signature);
        }
        out.extend_from_slice(b"},\"logprobs\":null,\"finish_reason\":");
        let (finish, native) = self.finish_reasons();
        write_finish(Some((finish, native.as_deref())), out);
        out.push(b'}');
    }
}
