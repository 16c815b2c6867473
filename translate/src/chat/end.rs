//! The end of an answer: what it is worth, and what is told of it only then.

use bytes::Bytes;

use super::{
    choice::Choice,
    chunk::{Share, null},
    reply::{Reply, Shape},
    write::{Ending, Members},
};
use crate::{
    gemini::finish::{Finish, FinishReason},
    json::write_string,
};

/// What Google calls a block that it gives no reason for.
const UNSPECIFIED_BLOCK: &str = "BLOCK_REASON_UNSPECIFIED";

/// What an answer is worth, once the upstream has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is whole.
    Whole,
    /// It is whole and holds nothing.
    Empty,
    /// It never said that it was finished.
    Unfinished,
    /// There was no candidate in it.
    NoCandidate,
    /// The model failed to produce a valid answer.
    Malformed {
        /// Google's name for how.
        reason: String,
        /// Google's words on it.
        message: Option<String>,
    },
}

impl Reply {
    /// What the answer is worth, now that the upstream has ended. `framed`: its bytes say by
    /// themselves that they are all (a unary JSON document).
    #[must_use]
    pub fn verdict(&self, framed: bool) -> Verdict {
        if self.choices.all.is_empty() {
            return match self.blocked {
                Some(_) => Verdict::Whole,
                None => Verdict::NoCandidate,
            };
        }
        for choice in &self.choices.all {
            // What a limit or a filter cut off is told as that, without the call.
            let ended = choice.finish.as_ref().map(|reason| reason.finish);
            let is_cut = matches!(ended, Some(Finish::MaxTokens | Finish::Filtered));
            if choice.calling.is_some() && !is_cut {
                return Verdict::Unfinished;
            }
            match &choice.finish {
                Some(reason) if reason.finish == Finish::Broken && choice.calls == 0 => {
                    return Verdict::Malformed {
                        reason: reason.native.clone().into_owned(),
                        message: choice.finish_message.clone(),
                    };
                }
                Some(_) => {}
                // Whoever looks at the prompt may be slower than the model.
                None if self.blocked.is_some() => {}
                // A whole answer is whole by its framing, unless there is nothing in it.
                None if framed && !choice.is_empty() => {}
                None => return Verdict::Unfinished,
            }
        }
        let nothing = self.choices.all.iter().all(|choice| {
            choice.is_empty()
                && choice.finish.as_ref().map(|reason| reason.finish) == Some(Finish::Stop)
        });
        if nothing {
            Verdict::Empty
        } else {
            Verdict::Whole
        }
    }

    /// Appends the end of a whole answer; of one that several calls make, the end of what
    /// this one has told.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let all: Vec<u32> = self.choices.all.iter().map(|choice| choice.index).collect();
        for index in all {
            self.tell_held(index, out);
        }
        self.end_blocked();
        let around = self.settings.choice.is_none();
        match self.settings.shape {
            Shape::Stream { .. } => self.end_choices(out),
            Shape::Object if !around => return,
            Shape::Object => {
                out.extend_from_slice(&self.prefix);
                for (at, (_, choice)) in self.written().iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(choice);
                }
            }
        }
        if around {
            self.settings.finish(&self.prefix, self.usage(), out);
        }
    }

    /// What this call came to, of an answer that several make, now that it is finished.
    pub fn share(&mut self) -> Share {
        let choices = match self.settings.shape {
            // All of it was told.
            _ if self.settings.choice.is_none() => Vec::new(),
            Shape::Object => self.written(),
            Shape::Stream { .. } => {
                let told = self.choices.all.iter();
                told.map(|choice| (choice.index, Bytes::new())).collect()
            }
        };
        Share {
            usage: self.usage().unwrap_or_default(),
            choices,
            blocked: self.blocked.is_some(),
        }
    }

    /// A choice that stopped because the prompt was refused ended for that reason.
    fn end_blocked(&mut self) {
        let Some(block) = &self.blocked else { return };
        let reason = block.reason.as_deref().unwrap_or(UNSPECIFIED_BLOCK);
        let unfinished = |choice: &&mut Choice| choice.finish.is_none();
        for choice in self.choices.all.iter_mut().filter(unfinished) {
            choice.finish = Some(FinishReason {
                finish: Finish::Filtered,
                native: reason.to_owned().into(),
            });
            choice.finish_message.clone_from(&block.message);
        }
    }

    fn refusal(&self) -> Option<String> {
        let block = self
            .blocked
            .as_ref()
            .filter(|_| self.choices.all.is_empty())?;
        Some(match block.message.as_ref().or(block.reason.as_ref()) {
            None => "The prompt was blocked by Gemini.".to_owned(),
            Some(why) => format!("The prompt was blocked by Gemini: {why}"),
        })
    }

    fn end_choices(&mut self, out: &mut Vec<u8>) {
        let frame = self.settings.frame();
        if let Some(refusal) = self.refusal() {
            let index = self.settings.index(0);
            let chunk = self.settings.chunk(&self.prefix, index);
            Choice::default().begin(&chunk, false, out);
            let told = |out: &mut Vec<u8>| write_string(Members::new(out).key("refusal"), &refusal);
            chunk.write(out, told, null, None);
            chunk.write(out, |_| {}, null, Some(&Ending::BLOCKED));
        }
        for choice in &mut self.choices.all {
            let chunk = self.settings.chunk(&self.prefix, choice.index);
            choice.begin(&chunk, choice.is_empty(), out);
            let mut logprobs = std::mem::take(&mut choice.logprobs);
            chunk.write(
                out,
                |out| choice.tell_end(frame, out),
                |out| logprobs.write(out),
                Some(&choice.ending()),
            );
        }
    }

    /// The choices of a whole answer, each beside its index.
    fn written(&mut self) -> Vec<(u32, Bytes)> {
        if let Some(refusal) = self.refusal() {
            let index = self.settings.index(0);
            let mut out = format!("{{\"index\":{index},\"message\":{{").into_bytes();
            let mut members = Members::new(&mut out);
            write_string(members.key("role"), "assistant");
            null(members.key("content"));
            write_string(members.key("refusal"), &refusal);
            out.extend_from_slice(b"},\"logprobs\":null,\"finish_reason\":");
            Ending::BLOCKED.write(&mut out);
            out.push(b'}');
            return vec![(index, out.into())];
        }
        let frame = self.settings.frame();
        let write = |choice: &mut Choice| {
            let mut out = Vec::new();
            choice.write(frame, &mut out);
            (choice.index, out.into())
        };
        self.choices.all.iter_mut().map(write).collect()
    }
}
