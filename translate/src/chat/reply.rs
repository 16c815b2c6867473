//! Renders Gemini's events as a chat completion, streamed or whole. Both shapes go
//! through the same deltas, so that folding the stream gives the whole answer.

use std::{borrow::Cow, collections::BTreeSet};

use super::{
    audio::AudioFormat,
    choice::{Choice, Choices, Delta},
    names::Names,
    write::{self, ToolCall},
};
pub use super::{
    chunk::{Share, assemble},
    end::Verdict,
};
use crate::{
    gemini::{
        event::Event,
        finish::Finish,
        partial::{PartialCall, Unfit},
        response::{self, FunctionCall, NotAnAnswer},
        usage::{Usage, UsageTally},
    },
    json::{self, Array, Document, Index, JsonStr, Raw, mend_surrogates},
    signature,
};

/// How Code Assist begins to say, in the model's name, that it does not serve the gateway's
/// version. No model begins so.
const UNSUPPORTED_CLIENT: &str =
    "This version of Antigravity is no longer supported. Please update";

/// So much of it no model says. What is shorter is told at once: many answers begin with
/// "This".
const NO_MODELS_WORDS: usize = "This version of Antigravity".len();

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

/// Why the prompt was refused, as far as Google says.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
}

/// An answer in the making.
#[derive(Debug)]
pub struct Reply {
    pub(super) settings: Settings,
    /// What every chunk begins with.
    pub(super) prefix: Vec<u8>,
    pub(super) choices: Choices,
    usage: UsageTally,
    pub(super) blocked: Option<Block>,
    /// What an event told that is no answer.
    broken: Option<NotAnAnswer>,
    /// Calls of all choices, for ids that are unique.
    calls: usize,
    seen_ids: BTreeSet<String>,
    /// The room for the next document's.
    index: Index,
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
            broken: None,
            calls: 0,
            seen_ids: BTreeSet::new(),
            index: Index::default(),
        }
    }

    /// The counts so far.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.usage.usage()
    }

    /// In OpenAI's words, why each choice that has ended did.
    #[must_use]
    pub fn finish_reasons(&self) -> Vec<String> {
        let ended = self
            .choices
            .all
            .iter()
            .filter(|choice| choice.finish.is_some());
        ended
            .map(|choice| choice.ending().reason.to_owned())
            .collect()
    }

    /// Takes one document of the upstream and appends what the client is told of it.
    ///
    /// # Errors
    /// The document is an error or no answer.
    pub fn document(&mut self, document: &str, out: &mut Vec<u8>) -> Result<(), NotAnAnswer> {
        if !document.trim_start().starts_with(['{', '[']) {
            return Err(NotAnAnswer::Unreadable("it is no JSON object".to_owned()));
        }
        let document = Document::read_with(document, std::mem::take(&mut self.index))
            .map_err(|error| NotAnAnswer::Unreadable(error.to_string()))?;
        let taken = match document.root().as_array() {
            Some(documents) => self.array(documents, out),
            None => self.response(document.root(), out),
        };
        self.index = document.into_index();
        taken
    }

    /// Without `alt=sse` Google streams an array, and its OpenAI endpoint tells errors in
    /// arrays of one.
    fn array(&mut self, documents: Array<'_>, out: &mut Vec<u8>) -> Result<(), NotAnAnswer> {
        if documents.is_empty() {
            return Err(NotAnAnswer::Unreadable("it is an empty array".to_owned()));
        }
        for document in documents {
            self.response(document, out)?;
        }
        Ok(())
    }

    fn response(&mut self, document: Raw<'_>, out: &mut Vec<u8>) -> Result<(), NotAnAnswer> {
        let asked_for = self.settings.choice;
        let begin = out.len();
        let told = response::events(document, self.settings.wrapped, |event| {
            // A call for one choice is answered with one candidate: another's words are not
            // to be told as if they went on with it.
            let unasked = matches!(asked_for, Some(AskedFor::One(_)))
                && event.candidate().is_some_and(|candidate| candidate > 0);
            if !unasked {
                self.event(event, out);
            }
        });
        if told.is_err() {
            // Of what is no answer nothing is told.
            out.truncate(begin);
        }
        told?;
        self.broken.take().map_or(Ok(()), Err)
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
                    self.text(index, &text.mended(), out);
                }
            }
            Event::Thought {
                index,
                text,
                signature,
            } => {
                if !text.is_empty() {
                    let text = text.mended();
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
                let uri = uri.mended();
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

    /// The model's text. How it begins is held back when it is hardly a model's.
    fn text(&mut self, index: u32, text: &str, out: &mut Vec<u8>) {
        let wrapped = self.settings.wrapped;
        let choice = self.choice(index);
        // Nearly always it is seen at once, and nothing is kept.
        let is_models =
            || !UNSUPPORTED_CLIENT.starts_with(text) && !text.starts_with(UNSUPPORTED_CLIENT);
        let begins = choice.beginning.is_empty();
        if !wrapped || (begins && (!choice.has_told_nothing() || is_models())) {
            return self.delta(index, &Delta::Text(text), out);
        }
        if choice.beginning.is_empty()
            && !UNSUPPORTED_CLIENT.starts_with(text)
            && !text.starts_with(UNSUPPORTED_CLIENT)
        {
            return self.delta(index, &Delta::Text(text), out);
        }
        choice.held.push_str(text);
        choice.beginning.push_str(text);
        if choice.beginning.starts_with(UNSUPPORTED_CLIENT) {
            let said = json::unescaped(&choice.beginning).into_owned();
            self.broken = Some(NotAnAnswer::ClientUnsupported(said));
            return;
        }
        let is_model = !UNSUPPORTED_CLIENT.starts_with(choice.beginning.as_str());
        if is_model {
            choice.beginning = String::new();
        }
        if is_model || choice.beginning.len() < NO_MODELS_WORDS {
            self.tell_held(index, out);
        }
    }

    pub(super) fn tell_held(&mut self, index: u32, out: &mut Vec<u8>) {
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
        let choice = self.choice(index);
        let before = choice.calling.take();
        if before.is_none()
            && call.is_whole()
            && let Some(name) = call.name
        {
            let args = call.args.map_or("{}", Raw::get);
            let (id, signature) = (call.id.map(JsonStr::text), signature.map(JsonStr::text));
            let call = (id.map(Cow::into_owned), &*name.text(), args);
            return self.whole_call(index, call, signature, out);
        }
        let calling = match PartialCall::of(before, call, signature) {
            Ok(calling) if call.will_continue == Some(true) => {
                choice.calling = Some(calling);
                return;
            }
            calling => calling.and_then(|calling| Ok((calling.arguments.whole()?, calling))),
        };
        match calling {
            Ok((args, calling)) => {
                let signature = calling.signature.map(Cow::Owned);
                self.whole_call(index, (calling.id, &calling.name, &args), signature, out);
            }
            Err(Unfit) => self.broken = Some(NotAnAnswer::broken_call()),
        }
    }

    fn whole_call(
        &mut self,
        index: u32,
        (id, name, args): (Option<String>, &str, &str),
        signature: Option<Cow<'_, str>>,
        out: &mut Vec<u8>,
    ) {
        if self.settings.first_call_only && self.choice(index).calls > 0 {
            return;
        }
        if self.settings.legacy_functions
            && let Some(signature) = &signature
        {
            self.choice(index).signature = Some(signature.clone().into_owned());
        }
        let id = self.call_id(id);
        let id = signature
            .as_deref()
            .and_then(|signature| {
                signature::attach(&id, signature, self.settings.signature_id_limit)
            })
            .unwrap_or(id);
        let names = self.settings.names.clone();
        let args = names.arguments(args);
        let call = ToolCall {
            id: &id,
            name: names.client(name),
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
    fn call_id(&mut self, given: Option<String>) -> String {
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
        // Room for the chunk, and for one before it that tells the role.
        out.reserve(2 * (self.prefix.len() + 192) + delta.len());
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
}
