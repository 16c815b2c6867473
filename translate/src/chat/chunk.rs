//! What stands around the deltas of a stream.

use super::write::Ending;
use crate::json::write_string;

/// What every chunk of an answer, or the whole answer, begins with: up to the bracket that
/// opens its choices.
pub(super) fn prefix(object: &str, id: &str, created: i64, model: &str) -> Vec<u8> {
    let mut prefix = Vec::with_capacity(160);
    prefix.extend_from_slice(b"{\"id\":");
    write_string(&mut prefix, id);
    prefix.extend_from_slice(format!(",\"object\":\"{object}\"").as_bytes());
    prefix.extend_from_slice(format!(",\"created\":{created},\"model\":").as_bytes());
    write_string(&mut prefix, model);
    prefix.extend_from_slice(b",\"choices\":[");
    prefix
}

/// Writes a chunk of one choice.
pub(super) struct Chunk<'c> {
    pub(super) prefix: &'c [u8],
    /// The usage will be told at the end, so that it is null until then.
    pub(super) counted: bool,
    pub(super) index: u32,
}

impl Chunk<'_> {
    /// Appends it. `delta` appends the members of its delta, `logprobs` the value of its
    /// logprobs.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        delta: impl FnOnce(&mut Vec<u8>),
        logprobs: impl FnOnce(&mut Vec<u8>),
        ending: Option<&Ending<'_>>,
    ) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(self.prefix);
        out.extend_from_slice(format!("{{\"index\":{},\"delta\":{{", self.index).as_bytes());
        delta(out);
        out.extend_from_slice(b"},\"logprobs\":");
        logprobs(out);
        out.extend_from_slice(b",\"finish_reason\":");
        match ending {
            Some(ending) => ending.write(out),
            None => null(out),
        }
        out.extend_from_slice(b"}]");
        if self.counted {
            out.extend_from_slice(b",\"usage\":null");
        }
        out.extend_from_slice(b"}\n\n");
    }
}

/// Appends `null`.
pub(super) fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(b"null");
}
