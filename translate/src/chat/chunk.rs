//! What stands around the choices of an answer, and around the deltas of its chunks.

use bytes::Bytes;

use super::{
    choice::Frame,
    reply::{AskedFor, Settings, Shape},
    write::{self, Ending},
};
use crate::{
    gemini::usage::Usage,
    json::{write_integer, write_string},
};

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
        out.extend_from_slice(b"{\"index\":");
        write_integer(out, self.index.into());
        out.extend_from_slice(b",\"delta\":{");
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

/// What one call came to, of an answer that several make.
#[derive(Clone, Debug, Default)]
pub struct Share {
    /// Its counts.
    pub usage: Usage,
    /// The indexes of its choices; beside each, in a whole answer, the choice.
    pub choices: Vec<(u32, Bytes)>,
    /// Google refused the prompt.
    pub blocked: bool,
}

impl Share {
    /// The choices that it leaves to be asked for, of so many. Who refuses a prompt refuses
    /// it again.
    pub fn missing(&self, wanted: u32) -> impl Iterator<Item = u32> {
        let wanted = if self.blocked { 0 } else { wanted };
        (0..wanted).filter(|index| self.choices.iter().all(|(told, _)| told != index))
    }
}

/// Puts together what several calls came to: the end of a stream whose chunks went out, or
/// the whole answer.
#[must_use]
pub fn assemble(settings: &Settings, shares: Vec<Share>) -> Vec<u8> {
    let prefix = settings.prefix();
    let mut out = Vec::new();
    let mut usage = Usage::default();
    let mut choices = Vec::new();
    for share in shares {
        usage += share.usage;
        choices.extend(share.choices);
    }
    if settings.shape == Shape::Object {
        choices.sort_by_key(|(index, _)| *index);
        out.extend_from_slice(&prefix);
        for (at, (_, choice)) in choices.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(choice);
        }
    }
    settings.finish(&prefix, Some(usage), &mut out);
    out
}

impl Settings {
    /// What every chunk, or the object, begins with: up to the bracket that opens its
    /// choices.
    pub(super) fn prefix(&self) -> Vec<u8> {
        let object = match self.shape {
            Shape::Stream { .. } => "chat.completion.chunk",
            Shape::Object => "chat.completion",
        };
        let mut prefix = Vec::with_capacity(160);
        prefix.extend_from_slice(b"{\"id\":");
        write_string(&mut prefix, &self.id);
        prefix.extend_from_slice(format!(",\"object\":\"{object}\"").as_bytes());
        prefix.extend_from_slice(format!(",\"created\":{},\"model\":", self.created).as_bytes());
        write_string(&mut prefix, &self.model);
        prefix.extend_from_slice(b",\"choices\":[");
        prefix
    }

    /// Appends what comes behind the choices. Clients rely on there being counts, also when
    /// Google told none.
    pub(super) fn finish(&self, prefix: &[u8], usage: Option<Usage>, out: &mut Vec<u8>) {
        let usage = usage.unwrap_or_default();
        match self.shape {
            Shape::Object => {
                out.extend_from_slice(b"],\"usage\":");
                write::usage(out, &usage);
                out.push(b'}');
            }
            Shape::Stream { include_usage } => {
                if include_usage {
                    out.extend_from_slice(b"data: ");
                    out.extend_from_slice(prefix);
                    out.extend_from_slice(b"],\"usage\":");
                    write::usage(out, &usage);
                    out.extend_from_slice(b"}\n\n");
                }
                out.extend_from_slice(b"data: [DONE]\n\n");
            }
        }
    }

    /// The client's index of the choice that Google tells as its candidate `index`.
    pub(super) fn index(&self, index: u32) -> u32 {
        match self.choice {
            Some(AskedFor::One(choice)) => choice,
            Some(AskedFor::All) | None => index,
        }
    }

    pub(super) fn frame(&self) -> Frame<'_> {
        Frame {
            id: &self.id,
            created: self.created,
            audio: self.audio,
        }
    }

    pub(super) fn chunk<'c>(&self, prefix: &'c [u8], index: u32) -> Chunk<'c> {
        Chunk {
            prefix,
            counted: self.shape
                == Shape::Stream {
                    include_usage: true,
                },
            index,
        }
    }
}

/// Appends `null`.
pub(super) fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(b"null");
}
