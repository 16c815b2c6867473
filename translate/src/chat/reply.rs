//! Renders Gemini's events as a chat completion, streamed or whole. Both shapes go
//! through the same deltas, so that folding the stream gives the whole answer.

use super::{
    choice::{Choice, Delta, write_finish},
    write::{self, ToolCall},
};
use crate::{
    gemini::{
        finish::Finish,
        response::{Event, FunctionCall, NotAnAnswer, Response},
        usage::{Usage, UsageTally},
    },
    json::{JsonStr, write_escaped, write_string},
    signature,
};

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
    /// Signatures ride in the ids of tool calls while the id has at most so many
    /// characters; 0: never.
    pub signature_id_limit: usize,
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
    /// The model failed to produce a valid answer; Google's name for how.
    Malformed(String),
}

/// An answer in the making.
#[derive(Debug)]
pub struct Reply {
    settings: Settings,
    /// What every chunk begins with.
    prefix: Vec<u8>,
    choices: Vec<Choice>,
    usage: UsageTally,
    blocked: Option<String>,
    /// Calls of all choices, for ids that are unique.
    calls: usize,
    seen_ids: Vec<String>,
}

impl Reply {
    /// An answer of which nothing is known yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let object = match settings.shape {
            Shape::Stream { .. } => "chat.completion.chunk",
            Shape::Object => "chat.completion",
        };
        let mut prefix = Vec::with_capacity(160);
        prefix.extend_from_slice(b"{\"id\":");
        write_string(&mut prefix, &settings.id);
        prefix.extend_from_slice(format!(",\"object\":\"{object}\"").as_bytes());
        prefix
            .extend_from_slice(format!(",\"created\":{},\"model\":", settings.created).as_bytes());
        write_string(&mut prefix, &settings.model);
        prefix.extend_from_slice(b",\"choices\":[");
        Self {
            settings,
            prefix,
            choices: Vec::new(),
            usage: UsageTally::default(),
            blocked: None,
            calls: 0,
            seen_ids: Vec::new(),
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
        let response = Response::parse(document, self.settings.wrapped)?;
        response.events(|event| self.event(event, out));
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Candidate { index } => {
                self.choice(index);
            }
            Event::Text {
                index,
                text,
                signature,
            } => {
                if let Some(signature) = signature {
                    self.choice(index).signature = Some(signature.text().into_owned());
                }
                if !text.is_empty() {
                    self.choice(index).spoke = true;
                    let text = crate::json::mend_surrogates(text.escaped());
                    self.delta(index, &Delta::Content(text.as_bytes()), out);
                }
            }
            Event::Thought { index, text } => {
                if !text.is_empty() {
                    self.choice(index).thought = true;
                    let text = crate::json::mend_surrogates(text.escaped());
                    self.delta(index, &Delta::Reasoning(text.as_bytes()), out);
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
            } => self.media(index, mime, data, signature, out),
            Event::Code {
                index,
                language,
                code,
                signature,
            } => {
                if let Some(signature) = signature {
                    self.choice(index).signature = Some(signature.text().into_owned());
                }
                let language = language.map(|name| name.text().to_ascii_lowercase());
                self.fenced(index, language.as_deref().unwrap_or_default(), code, out);
            }
            Event::CodeOutput { index, output } => self.fenced(index, "", output, out),
            Event::Finish { index, reason } => self.choice(index).finish = Some(reason),
            Event::Usage(usage) => self.usage.add(usage),
            Event::Blocked { reason, message } => {
                let why = match (message, reason) {
                    (Some(message), _) => message.into_owned(),
                    (None, Some(reason)) => reason.into_owned(),
                    (None, None) => String::new(),
                };
                self.blocked = Some(why);
            }
        }
    }

    fn choice(&mut self, index: u32) -> &mut Choice {
        let at = match self.choices.binary_search_by_key(&index, |c| c.index) {
            Ok(at) => at,
            Err(at) => {
                let choice = Choice {
                    index,
                    ..Choice::default()
                };
                self.choices.insert(at, choice);
                at
            }
        };
        &mut self.choices[at]
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
        let signature = signature.map(JsonStr::text);
        let id = self.call_id(call.id);
        let id = signature
            .as_deref()
            .and_then(|signature| {
                signature::attach(&id, signature, self.settings.signature_id_limit)
            })
            .unwrap_or(id);
        let call = ToolCall {
            id: &id,
            name,
            args: call.args.map_or("{}", |args| args.get()),
            signature: signature.as_deref(),
        };
        self.delta(index, &Delta::ToolCall(call), out);
        self.choice(index).calls += 1;
    }

    /// Google's id where it gives one that is new, else one of our own.
    fn call_id(&mut self, given: Option<JsonStr<'_>>) -> String {
        let given = given.map(|id| id.text().into_owned());
        let id = given
            .filter(|id| !id.is_empty() && !self.seen_ids.contains(id))
            .unwrap_or_else(|| {
                let root = self.settings.id.trim_start_matches("chatcmpl-");
                format!("call_{root}_{}", self.calls)
            });
        self.calls += 1;
        self.seen_ids.push(id.clone());
        id
    }

    fn media(
        &mut self,
        index: u32,
        mime: JsonStr<'_>,
        data: JsonStr<'_>,
        signature: Option<JsonStr<'_>>,
        out: &mut Vec<u8>,
    ) {
        let choice = self.choice(index);
        choice.showed = true;
        if let Some(signature) = signature {
            choice.signature = Some(signature.text().into_owned());
        }
        if mime.text().starts_with("audio/") {
            return self.delta(index, &Delta::Audio(data.escaped().as_bytes()), out);
        }
        let url = format!("data:{};base64,{}", mime.escaped(), data.escaped());
        let url = crate::json::mend_surrogates(&url);
        self.delta(index, &Delta::Image(url.as_bytes()), out);
    }

    /// Code and what it printed, as people read it.
    fn fenced(&mut self, index: u32, language: &str, text: JsonStr<'_>, out: &mut Vec<u8>) {
        self.choice(index).showed = true;
        let mut content = Vec::with_capacity(text.escaped().len() + 32);
        content.extend_from_slice(b"\\n```");
        write_escaped(&mut content, language);
        content.extend_from_slice(b"\\n");
        write::escaped(&mut content, text);
        if !text.escaped().ends_with("\\n") {
            content.extend_from_slice(b"\\n");
        }
        content.extend_from_slice(b"```\\n");
        self.delta(index, &Delta::Content(&content), out);
    }

    fn delta(&mut self, index: u32, delta: &Delta<'_>, out: &mut Vec<u8>) {
        let calls = self.choice(index).calls;
        match self.settings.shape {
            Shape::Object => self.choice(index).fold(delta),
            Shape::Stream { .. } => {
                self.begin(index, matches!(delta, Delta::ToolCall(_)), out);
                self.chunk(index, None, out, |out| delta.write(calls, out));
            }
        }
    }

    /// The first chunk of a choice, which tells the role.
    fn begin(&mut self, index: u32, calls: bool, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.choice(index).begun, true) {
            return;
        }
        let content: &[u8] = if calls { b"null" } else { b"\"\"" };
        self.chunk(index, None, out, |out| {
            out.extend_from_slice(b"\"role\":\"assistant\",\"content\":");
            out.extend_from_slice(content);
            out.extend_from_slice(b",\"refusal\":null");
        });
    }

    fn chunk(
        &self,
        index: u32,
        finish: Option<(&str, Option<&str>)>,
        out: &mut Vec<u8>,
        delta: impl FnOnce(&mut Vec<u8>),
    ) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(format!("{{\"index\":{index},\"delta\":{{").as_bytes());
        delta(out);
        out.extend_from_slice(b"},\"logprobs\":null,\"finish_reason\":");
        write_finish(finish, out);
        out.extend_from_slice(b"}]");
        if self.settings.shape
            == (Shape::Stream {
                include_usage: true,
            })
        {
            out.extend_from_slice(b",\"usage\":null");
        }
        out.extend_from_slice(b"}\n\n");
    }

    /// What the answer is worth, now that the upstream has ended. `framed`: its bytes say by
    /// themselves that they are all (a unary JSON document).
    #[must_use]
    pub fn verdict(&self, framed: bool) -> Verdict {
        if self.choices.is_empty() {
            return match self.blocked {
                Some(_) => Verdict::Whole,
                None => Verdict::NoCandidate,
            };
        }
        for choice in &self.choices {
            match &choice.finish {
                Some(reason) if reason.finish == Finish::Broken && choice.calls == 0 => {
                    return Verdict::Malformed(reason.native.clone().into_owned());
                }
                Some(_) => {}
                // A whole answer is whole by its framing, unless there is nothing in it.
                None if framed && !choice.is_empty() => {}
                None => return Verdict::Unfinished,
            }
        }
        let nothing = self.choices.iter().all(|choice| {
            choice.is_empty()
                && choice.finish.as_ref().map(|reason| reason.finish) == Some(Finish::Stop)
        });
        if nothing {
            Verdict::Empty
        } else {
            Verdict::Whole
        }
    }

    /// Appends the end of a whole answer.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        match self.settings.shape {
            Shape::Object => self.write_object(out),
            Shape::Stream { include_usage } => self.end_stream(include_usage, out),
        }
    }

    fn refusal(&self) -> Option<String> {
        let why = self.blocked.as_ref().filter(|_| self.choices.is_empty())?;
        Some(match why.as_str() {
            "" => "The prompt was blocked by Gemini.".to_owned(),
            why => format!("The prompt was blocked by Gemini: {why}"),
        })
    }

    fn end_stream(&mut self, include_usage: bool, out: &mut Vec<u8>) {
        if let Some(refusal) = self.refusal() {
            self.begin(0, false, out);
            self.chunk(0, None, out, |out| {
                out.extend_from_slice(b"\"refusal\":");
                write_string(out, &refusal);
            });
            self.chunk(0, Some(("content_filter", None)), out, |_| {});
        } else {
            let indexes: Vec<u32> = self.choices.iter().map(|choice| choice.index).collect();
            for index in indexes {
                self.begin(index, false, out);
                let choice = self.choice(index);
                let signature = choice.signature.take();
                let (finish, native) = choice.finish_reasons();
                self.chunk(index, Some((finish, native.as_deref())), out, |out| {
                    if let Some(signature) = &signature {
                        let from = out.len();
                        write::extra_content(out, signature);
                        out.remove(from);
                    }
                });
            }
        }
        if include_usage && let Some(usage) = self.usage() {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(&self.prefix);
            out.extend_from_slice(b"],\"usage\":");
            write::usage(out, &usage);
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn write_object(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix);
        if let Some(refusal) = self.refusal() {
            out.extend_from_slice(
                b"{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":null,\"refusal\":",
            );
            write_string(out, &refusal);
            out.extend_from_slice(b"},\"logprobs\":null,\"finish_reason\":");
            write_finish(Some(("content_filter", None)), out);
            out.push(b'}');
        }
        for (at, choice) in self.choices.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            choice.write(&self.settings.id, self.settings.created, out);
        }
        out.push(b']');
        if let Some(usage) = self.usage() {
            out.extend_from_slice(b",\"usage\":");
            write::usage(out, &usage);
        }
        out.push(b'}');
    }
}
