//! What Google's answers tell, piece by piece.

use std::borrow::Cow;

use super::{
    finish::FinishReason, grounding::Citation, logprobs::Logprobs, response::FunctionCall,
    usage::UsageMetadata,
};
use crate::json::{JsonStr, Raw};

/// Something that an answer tells.
#[derive(Debug)]
pub enum Event<'a> {
    /// A candidate is there, whatever it holds.
    Candidate {
        /// Its index.
        index: u32,
    },
    /// How likely the tokens of what comes next were.
    Logprobs {
        /// Of which candidate.
        index: u32,
        /// The tokens.
        logprobs: Logprobs<'a>,
    },
    /// A part begins, of whatever kind.
    Part {
        /// Of which candidate.
        index: u32,
        /// What kind.
        kind: PartKind,
    },
    /// A piece of the answer's text.
    Text {
        /// Of which candidate.
        index: u32,
        /// The text, maybe empty.
        text: JsonStr<'a>,
        /// The thought signature that rides on it.
        signature: Option<JsonStr<'a>>,
    },
    /// A piece of a thought summary.
    Thought {
        /// Of which candidate.
        index: u32,
        /// The text, maybe empty.
        text: JsonStr<'a>,
        /// The signature of the thought, with which Claude has it back.
        signature: Option<JsonStr<'a>>,
    },
    /// A function call, or a piece of one.
    Call {
        /// Of which candidate.
        index: u32,
        /// The call.
        call: FunctionCall<'a>,
        /// The thought signature that rides on it.
        signature: Option<JsonStr<'a>>,
    },
    /// Media in base64.
    Media {
        /// Of which candidate.
        index: u32,
        /// Its MIME type.
        mime: JsonStr<'a>,
        /// Its bytes in base64.
        data: JsonStr<'a>,
        /// The thought signature that rides on it.
        signature: Option<JsonStr<'a>>,
    },
    /// Media at an address.
    File {
        /// Of which candidate.
        index: u32,
        /// Where it is.
        uri: JsonStr<'a>,
        /// The thought signature that rides on it.
        signature: Option<JsonStr<'a>>,
    },
    /// Code that the model ran at Google.
    Code {
        /// Of which candidate.
        index: u32,
        /// `PYTHON`, mostly.
        language: Option<JsonStr<'a>>,
        /// The program.
        code: JsonStr<'a>,
        /// The thought signature that rides on it.
        signature: Option<JsonStr<'a>>,
    },
    /// What that code printed.
    CodeOutput {
        /// Of which candidate.
        index: u32,
        /// The text.
        output: JsonStr<'a>,
        /// The thought signature that rides on it.
        signature: Option<JsonStr<'a>>,
    },
    /// A source that the answer rests on.
    Cited {
        /// Of which candidate.
        index: u32,
        /// The source.
        citation: Citation<'a>,
    },
    /// Metadata of the answer's sources, as Google tells it.
    Metadata {
        /// Of which candidate.
        index: u32,
        /// What it is about.
        about: Metadata,
        /// An object with something in it.
        raw: Raw<'a>,
    },
    /// A candidate ended. May come more than once; the last counts.
    Finish {
        /// Which candidate.
        index: u32,
        /// Why.
        reason: FinishReason,
        /// Google's words on it.
        message: Option<JsonStr<'a>>,
    },
    /// Token counts so far.
    Usage(&'a UsageMetadata),
    /// The prompt was refused.
    Blocked {
        /// Google's reason.
        reason: Option<Cow<'a, str>>,
        /// Google's words, on Vertex.
        message: Option<Cow<'a, str>>,
    },
}

impl Event<'_> {
    /// The candidate that it is about; `None`: the whole answer.
    #[must_use]
    pub fn candidate(&self) -> Option<u32> {
        match self {
            Self::Candidate { index }
            | Self::Logprobs { index, .. }
            | Self::Part { index, .. }
            | Self::Text { index, .. }
            | Self::Thought { index, .. }
            | Self::Call { index, .. }
            | Self::Media { index, .. }
            | Self::File { index, .. }
            | Self::Code { index, .. }
            | Self::CodeOutput { index, .. }
            | Self::Cited { index, .. }
            | Self::Metadata { index, .. }
            | Self::Finish { index, .. } => Some(*index),
            Self::Usage(_) | Self::Blocked { .. } => None,
        }
    }
}

/// What kind a part is of, as far as it matters where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// The answer's text.
    Text,
    /// A thought.
    Thought,
    /// Anything else, which comes whole.
    Other,
}

/// What metadata is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metadata {
    /// `groundingMetadata`: searches and their results.
    Grounding,
    /// `urlContextMetadata`: the pages that the model has read.
    UrlContext,
}
