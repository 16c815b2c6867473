//! Renders Gemini's events as a chat completion, streamed or whole. Both shapes go
//! through the same deltas, so that folding the stream gives the whole answer.

use std::{borrow::Cow, collections::BTreeSet};

use bytes::Bytes;
use serde_json::value::RawValue;

pub use super::chunk::{Share, assemble};
use super::{
    audio::AudioFormat,
    choice::{Choice, Choices, Delta},
    chunk::null,
    names::Names,
    write::{self, Ending, Members, ToolCall},
};
use crate::{
    gemini::{
        finish::{Finish, FinishReason},
        response::{Event, FunctionCall, NotAnAnswer, Response},
        usage::{Usage, UsageTally},
    },
    json::{self, JsonStr, mend_surrogates, write_string},
    signature,
};

/// What Google calls a block that it gives no reason for.
const UNSPECIFIED_BLOCK: &str = "BLOCK_REASON_UNSPECIFIED";

/// How Code Assist begins to say, in the model's name, that it does not serve the gateway's
/// version. No model begins so.
const UNSUPPORTED_CLIENT: &str =
    "This version of Antigravity is no longer supported. Please update";

/// What a reply is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The answer's id, unique; also the root of the ids of tool calls.
    pub id: String,
    /// When it was made, in Unix seconds.
    pub created: i64,
    /// The model as the client named it.
    pub model: String,
    /// Streamed or whole.
    pub shape: Shape,
    /// Hand out the first tool call only (`parallel_tool_calls: false`).
    pub first_call_only: bool,
    /// Calls are told as `function_call`, to whom asked with `functions`.
    pub legacy_functions: bool,
    /// Functions that Gemini knows by other names.
    pub names: Names,
    /// Signatures ride in the ids of tool calls while the id has at most so many
    /// characters; 0: never.
    pub signature_id_limit: usize,
    /// How speech is handed out.
    pub audio: AudioFormat,
    /// Of an answer that several calls make: what this call is for. Then [`Reply::finish`]
    /// tells of its choices alone, [`Reply::share`] is what it came to, and [`assemble`]
    /// tells of the whole.
    pub choice: Option<AskedFor>,
    /// Whether the upstream wraps its documents in Code Assist's envelope.
    pub wrapped: bool,
}

/// How the client wants the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As server-sent events.
    Stream {
        /// With a last chunk that holds the usage.
        include_usage: bool,
    },
    /// As one object.
    Object,
}

/// What one of several calls is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedFor {
    /// Every choice, of which Google may give fewer.
    All,
    /// The choice of this index.
    One(u32),
}

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

/// Why the prompt was refused, as far as Google says.
#[derive(Debug)]
struct Block {
    reason: Option<String>,
    message: Option<String>,
}

/// An answer in the making.
#[derive(Debug)]
pub struct Reply {
    settings: Settings,
    /// What every chunk begins with.
    prefix: Vec<u8>,
    choices: Choices,
    usage: UsageTally,
    blocked: Option<Block>,
    /// What the model said in place of an answer.
    unsupported: Option<String>,
    /// Calls of all choices, for ids that are unique.
    calls: usize,
    seen_ids: BTreeSet<String>,
}

impl Reply {
    /// An answer of which nothing is known yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let prefix = settings.prefix();
        Self {
            settings,
            prefix,
            choices: Choices::default(),
            usage: UsageTally::default(),
            blocked: None,
            unsupported: None,
            calls: 0,
            seen_ids: BTreeSet::new(),
        }
    }

    /// The counts so far.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.usage.usage()
    }

    /// Takes one document of the upstream and appends what the client is told of it.
    ///
    /// # Errors
    /// The document is an error or no answer.
    pub fn document(&mut self, document: &str, out: &mut Vec<u8>) -> Result<(), NotAnAnswer> {
        if document.trim_start().starts_with('[') {
            return self.array(document, out);
        }
        self.response(document, out)
    }

    /// Without `alt=sse` Google streams an array, and its OpenAI endpoint tells errors in
    /// arrays of one.
    fn array(&mut self, document: &str, out: &mut Vec<u8>) -> Result<(), NotAnAnswer> {
        let documents: Vec<&RawValue> = serde_json::from_str(document)
            .map_err(|error| NotAnAnswer::Unreadable(error.to_string()))?;
        if documents.is_empty() {
            return Err(NotAnAnswer::Unreadable("it is an empty array".to_owned()));
        }
        for document in documents {
            self.response(document.get(), out)?;
        }
        Ok(())
    }

    fn response(&mut self, document: &str, out: &mut Vec<u8>) -> Result<(), NotAnAnswer> {
        let response = Response::parse(document, self.settings.wrapped)?;
        response.events(|event| self.event(event, out));
        match self.unsupported.take() {
            Some(said) => Err(NotAnAnswer::ClientUnsupported(said)),
            None => Ok(()),
        }
    }

    fn event(&mut self, event: Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Candidate { index } => self.choice(index).said.chunk(),
            Event::Logprobs { index, logprobs } => {
                self.choice(index).logprobs.add(&logprobs);
            }
            Event::Part { index, kind } => self.choice(index).said.part(kind),
            Event::Text {
                index,
                text,
                signature,
            } => {
                self.signed(index, signature);
                if !text.is_empty() {
                    self.text(index, &mend_surrogates(text.escaped()), out);
                }
            }
            Event::Thought {
                index,
                text,
                signature,
            } => {
                if !text.is_empty() {
                    let text = mend_surrogates(text.escaped());
                    self.delta(index, &Delta::Reasoning(&text), out);
                }
                if let Some(signature) = signature {
                    self.delta(index, &Delta::Signed(&signature.text()), out);
                }
            }
            Event::Call {
                index,
                call,
                signature,
            } => self.call(index, &call, signature, out),
            Event::Media {
                index,
                mime,
                data,
                signature,
            } => {
                self.signed(index, signature);
                self.media(index, mime, data, out);
            }
            Event::File {
                index,
                uri,
                signature,
            } => {
                self.signed(index, signature);
                let uri = mend_surrogates(uri.escaped());
                self.delta(index, &Delta::Image(&uri), out);
            }
            Event::Code {
                index,
                language,
                code,
                signature,
            } => {
                self.signed(index, signature);
                let language = language.map(|name| name.text().to_ascii_lowercase());
                self.fenced(index, language.as_deref().unwrap_or_default(), code, out);
            }
            Event::CodeOutput {
                index,
                output,
                signature,
            } => {
                self.signed(index, signature);
                self.fenced(index, "", output, out);
            }
            Event::Cited { index, citation } => self.choice(index).citations.add(citation),
            Event::Metadata { index, about, raw } => {
                self.choice(index).metadata(about, raw.get());
            }
            Event::Finish {
                index,
                reason,
                message,
            } => {
                let choice = self.choice(index);
                // Google also comments on what went well.
                choice.finish_message = message
                    .filter(|_| reason.finish != Finish::Stop)
                    .map(|message| message.text().into_owned());
                choice.finish = Some(reason);
            }
            Event::Usage(usage) => self.usage.add(usage),
            Event::Blocked { reason, message } => {
                let told = |text: Option<Cow<'_, str>>| {
                    text.filter(|text| !text.is_empty()).map(Cow::into_owned)
                };
                self.blocked = Some(Block {
                    reason: told(reason),
                    message: told(message),
                });
            }
        }
    }

    /// The model's text. How it begins is held back as long as it may be no model's.
    fn text(&mut self, index: u32, text: &str, out: &mut Vec<u8>) {
        let wrapped = self.settings.wrapped;
        let choice = self.choice(index);
        if !wrapped || !choice.has_told_nothing() {
            return self.delta(index, &Delta::Text(text), out);
        }
        choice.held.push_str(text);
        let held = &choice.held;
        if held.starts_with(UNSUPPORTED_CLIENT) {
            self.unsupported = Some(json::unescaped(held).into_owned());
        } else if !UNSUPPORTED_CLIENT.starts_with(held.as_str()) {
            self.tell_held(index, out);
        }
    }

    fn tell_held(&mut self, index: u32, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.choice(index).held);
        if !held.is_empty() {
            self.delta(index, &Delta::Text(&held), out);
        }
    }

    /// Keeps a signature that rides on something else than a call; the last is told.
    fn signed(&mut self, index: u32, signature: Option<JsonStr<'_>>) {
        if let Some(signature) = signature {
            self.choice(index).signature = Some(signature.text().into_owned());
        }
    }

    fn choice(&mut self, index: u32) -> &mut Choice {
        self.choices.at(self.settings.index(index))
    }

    fn call(
        &mut self,
        index: u32,
        call: &FunctionCall<'_>,
        signature: Option<JsonStr<'_>>,
        out: &mut Vec<u8>,
    ) {
        let Some(name) = call.name else { return };
        let first_only = self.settings.first_call_only;
        if first_only && self.choice(index).calls > 0 {
            return;
        }
        if self.settings.legacy_functions {
            self.signed(index, signature);
        }
        let signature = signature.map(JsonStr::text);
        let id = self.call_id(call.id);
        let id = signature
            .as_deref()
            .and_then(|signature| {
                signature::attach(&id, signature, self.settings.signature_id_limit)
            })
            .unwrap_or(id);
        let names = self.settings.names.clone();
        let name = name.text();
        let args = names.arguments(call.args.map_or("{}", |args| args.get()));
        let call = ToolCall {
            id: &id,
            name: names.client(&name),
            args: &args,
            signature: signature.as_deref(),
        };
        let delta = if self.settings.legacy_functions {
            Delta::FunctionCall(call)
        } else {
            Delta::ToolCall(call)
        };
        self.delta(index, &delta, out);
    }

    /// Google's id where it gives one that is new, else one of our own.
    fn call_id(&mut self, given: Option<JsonStr<'_>>) -> String {
        let given = given.map(|id| id.text().into_owned());
        let id = given
            .filter(|id| signature::can_carry(id) && !self.seen_ids.contains(id))
            .unwrap_or_else(|| {
                let root = self.settings.id.trim_start_matches("chatcmpl-");
                match self.settings.choice {
                    Some(AskedFor::One(choice)) => format!("call_{root}_{choice}_{}", self.calls),
                    Some(AskedFor::All) | None => format!("call_{root}_{}", self.calls),
                }
            });
        self.calls += 1;
        self.seen_ids.insert(id.clone());
        id
    }

    fn media(&mut self, index: u32, mime: JsonStr<'_>, data: JsonStr<'_>, out: &mut Vec<u8>) {
        if mime.text().starts_with("audio/") {
            let (data, mime) = (&data.text(), &mime.text());
            return self.delta(index, &Delta::Audio { data, mime }, out);
        }
        let url = format!("data:{};base64,{}", mime.escaped(), data.escaped());
        self.delta(index, &Delta::Image(&mend_surrogates(&url)), out);
    }

    /// Code and what it printed, as people read it.
    fn fenced(&mut self, index: u32, language: &str, text: JsonStr<'_>, out: &mut Vec<u8>) {
        // A fence is longer than any in the text.
        let ticks = text
            .text()
            .split(|c| c != '`')
            .map(str::len)
            .max()
            .unwrap_or(0);
        let fence = "`".repeat(ticks.max(2) + 1);
        let mut begin = Vec::new();
        json::write_escaped(&mut begin, language);
        let language = String::from_utf8_lossy(&begin);
        let mut content = format!("\\n{fence}{language}\\n");
        write::escaped(&mut content, text);
        if !text.text().ends_with('\n') {
            content.push_str("\\n");
        }
        content.push_str(&fence);
        content.push_str("\\n");
        self.delta(index, &Delta::Aside(&content), out);
    }

    fn delta(&mut self, index: u32, delta: &Delta<'_>, out: &mut Vec<u8>) {
        self.tell_held(index, out);
        let index = self.settings.index(index);
        let choice = self.choices.at(index);
        if self.settings.shape == Shape::Object {
            return choice.fold(delta);
        }
        let (chunk, frame) = (
            self.settings.chunk(&self.prefix, index),
            self.settings.frame(),
        );
        choice.begin(&chunk, delta.is_content(), out);
        let mut logprobs = std::mem::take(&mut choice.logprobs);
        chunk.write(
            out,
            |out| choice.tell(delta, frame, out),
            |out| logprobs.write(out),
            None,
        );
    }

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
