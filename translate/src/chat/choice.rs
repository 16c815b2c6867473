//! One choice of an answer: the pieces that it is told in, and what they add up to.

use super::{
    annotations::{Citations, Said},
    audio::{self, AudioFormat, Joint},
    chunk::{Chunk, null},
    logprobs::Logprobs,
    write::{self, Ending, Members, ToolCall},
};
use crate::{
    gemini::{event::Metadata, finish::FinishReason, partial::PartialCall},
    json::write_string,
};

/// What is known of one choice so far. What only a whole answer needs, a stream leaves
/// empty.
#[derive(Debug, Default)]
pub(super) struct Choice {
    pub(super) index: u32,
    begun: bool,
    /// The role was told with a content that is not null.
    contentful: bool,
    pub(super) calls: u32,
    /// The call that comes in pieces.
    pub(super) calling: Option<PartialCall>,
    pub(super) finish: Option<FinishReason>,
    pub(super) finish_message: Option<String>,
    pub(super) signature: Option<String>,
    pub(super) said: Said,
    pub(super) citations: Citations,
    /// What it begins with, escaped, and is not told yet.
    pub(super) held: String,
    /// What it begins with, escaped, as long as that may be no model's; told or not.
    pub(super) beginning: String,
    /// In a stream, those that no chunk has told yet.
    pub(super) logprobs: Logprobs,
    /// The content, escaped.
    content: String,
    has_thought: bool,
    /// The thoughts, escaped.
    reasoning: String,
    /// Those that may yet be signed, which is until something else is said.
    unsigned: String,
    grounding: Option<String>,
    url_context: Option<String>,
    details: List,
    tool_calls: List,
    /// `function_call`, in place of `tool_calls`.
    function_call: Option<Vec<u8>>,
    images: List,
    audio: Audio,
}

/// The choices of an answer, by their index.
#[derive(Debug, Default)]
pub(super) struct Choices {
    pub(super) all: Vec<Choice>,
}

impl Choices {
    /// The choice of this index, which may be new.
    pub(super) fn at(&mut self, index: u32) -> &mut Choice {
        // Mostly none is missing before it.
        let place = index as usize;
        if self
            .all
            .get(place)
            .is_some_and(|choice| choice.index == index)
        {
            return &mut self.all[place];
        }
        let at = match self.all.binary_search_by_key(&index, |choice| choice.index) {
            Ok(at) => at,
            Err(at) => {
                let choice = Choice {
                    index,
                    ..Choice::default()
                };
                self.all.insert(at, choice);
                at
            }
        };
        &mut self.all[at]
    }
}

/// Elements of an array, separated by commas.
#[derive(Debug, Default)]
struct List {
    count: usize,
    elements: Vec<u8>,
}

impl List {
    fn next(&mut self) -> &mut Vec<u8> {
        if !self.elements.is_empty() {
            self.elements.push(b',');
        }
        &mut self.elements
    }
}

#[derive(Debug, Default)]
struct Audio {
    begun: bool,
    joint: Joint,
    /// Samples a second, when they are bare samples.
    rate: Option<u32>,
    data: String,
}

/// A piece of a choice, in OpenAI's terms. Texts are escaped already.
pub(super) enum Delta<'d> {
    /// The model's text.
    Text(&'d str),
    /// What is told beside it, as people read it.
    Aside(&'d str),
    /// A thought.
    Reasoning(&'d str),
    /// The signature of the thoughts before it.
    Signed(&'d str),
    ToolCall(ToolCall<'d>),
    /// A call as it was told before there were tools.
    FunctionCall(ToolCall<'d>),
    /// A URL, mostly one that holds all of it.
    Image(&'d str),
    /// Base64.
    Audio {
        data: &'d str,
        mime: &'d str,
    },
}

/// What the answer as a whole is told with.
#[derive(Clone, Copy)]
pub(super) struct Frame<'f> {
    pub(super) id: &'f str,
    pub(super) created: i64,
    pub(super) audio: AudioFormat,
}

impl Delta<'_> {
    /// About how many bytes it is.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(text)
            | Self::Aside(text)
            | Self::Reasoning(text)
            | Self::Signed(text)
            | Self::Image(text)
            | Self::Audio { data: text, .. } => text.len(),
            Self::ToolCall(call) | Self::FunctionCall(call) => call.args.len(),
        }
    }

    /// Whether a choice that begins so begins with its content.
    pub(super) fn is_content(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Aside(_))
    }
}

impl Choice {
    /// Whether there is nothing for the client.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.has_told_nothing()
    }

    /// Whether the client has been told nothing.
    pub(super) fn has_told_nothing(&self) -> bool {
        self.said.is_empty()
            && !self.has_thought
            && self.calls == 0
            && self.images.count == 0
            && !self.audio.begun
    }

    /// Whether `content` is null: something else stands in its place.
    pub(super) fn is_contentless(&self) -> bool {
        self.said.is_empty() && (self.calls > 0 || self.audio.begun)
    }

    pub(super) fn ending(&self) -> Ending<'_> {
        let reason = self.finish.as_ref();
        let told = write::finish_reason(reason.map(|reason| reason.finish), self.calls > 0);
        Ending {
            reason: match self.function_call {
                Some(_) if told == "tool_calls" => "function_call",
                _ => told,
            },
            native: reason.map(|reason| &*reason.native),
            message: self.finish_message.as_deref(),
        }
    }

    pub(super) fn metadata(&mut self, about: Metadata, raw: &str) {
        // A line break between tokens would end the line of a stream's event.
        let raw = crate::json::mend_surrogates(raw).replace(['\n', '\r'], " ");
        match about {
            Metadata::Grounding => self.grounding = Some(raw),
            Metadata::UrlContext => self.url_context = Some(raw),
        }
    }

    /// Appends the first chunk of the choice, which tells the role, unless it was told.
    pub(super) fn begin(&mut self, chunk: &Chunk<'_>, contentful: bool, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        self.contentful = contentful;
        let role = |out: &mut Vec<u8>| {
            let mut members = Members::new(out);
            write_string(members.key("role"), "assistant");
            let content: &[u8] = if contentful { b"\"\"" } else { b"null" };
            members.key("content").extend_from_slice(content);
            null(members.key("refusal"));
        };
        chunk.write(out, role, null, None);
    }

    /// Takes a piece and appends it as a stream's `delta` has it.
    pub(super) fn tell(&mut self, delta: &Delta<'_>, frame: Frame<'_>, out: &mut Vec<u8>) {
        self.think(delta);
        let mut members = Members::new(out);
        match delta {
            Delta::Text(text) => {
                self.said.text(text);
                write::quoted(members.key("content"), text);
            }
            Delta::Aside(text) => {
                self.said.aside(text);
                write::quoted(members.key("content"), text);
            }
            Delta::Reasoning(text) => write::quoted(members.key("reasoning_content"), text),
            Delta::Signed(signature) => {
                let out = members.key("reasoning_details");
                out.push(b'[');
                self.detail(signature, out);
                out.push(b']');
            }
            Delta::ToolCall(call) => {
                let out = members.key("tool_calls");
                out.extend_from_slice(format!("[{{\"index\":{},", self.calls).as_bytes());
                call.write(out);
                out.extend_from_slice(b"}]");
                self.calls += 1;
            }
            Delta::FunctionCall(call) => {
                self.function_call = Some(Vec::new());
                call.write_function(members.key("function_call"));
                self.calls += 1;
            }
            Delta::Image(url) => {
                let out = members.key("images");
                out.push(b'[');
                write_image(self.images.count, url, out);
                out.push(b']');
                self.images.count += 1;
            }
            Delta::Audio { data, mime } => {
                let first = !std::mem::replace(&mut self.audio.begun, true);
                let data = self.audio.piece(data, mime);
                let mut members = Members::new({
                    let out = members.key("audio");
                    out.push(b'{');
                    out
                });
                if first {
                    write_string(members.key("id"), &audio_id(frame, self.index));
                    write_string(members.key("transcript"), "");
                }
                write_string(members.key("data"), &data);
                out.push(b'}');
            }
        }
    }

    /// Takes a piece for the whole answer.
    pub(super) fn fold(&mut self, delta: &Delta<'_>) {
        self.think(delta);
        match delta {
            Delta::Text(text) => {
                self.said.text(text);
                self.content.push_str(text);
            }
            Delta::Aside(text) => {
                self.said.aside(text);
                self.content.push_str(text);
            }
            Delta::Reasoning(text) => self.reasoning.push_str(text),
            Delta::Signed(signature) => {
                let mut details = std::mem::take(&mut self.details.elements);
                if !details.is_empty() {
                    details.push(b',');
                }
                self.detail(signature, &mut details);
                self.details.elements = details;
            }
            Delta::ToolCall(call) => {
                let out = self.tool_calls.next();
                out.push(b'{');
                call.write(out);
                out.push(b'}');
                self.calls += 1;
            }
            Delta::FunctionCall(call) => {
                call.write_function(self.function_call.insert(Vec::new()));
                self.calls += 1;
            }
            Delta::Image(url) => {
                let count = self.images.count;
                write_image(count, url, self.images.next());
                self.images.count += 1;
            }
            Delta::Audio { data, mime } => {
                self.audio.begun = true;
                let data = self.audio.piece(data, mime);
                self.audio.data.push_str(&data);
            }
        }
    }

    /// Keeps what a signature may be of.
    fn think(&mut self, delta: &Delta<'_>) {
        match delta {
            Delta::Reasoning(text) => {
                self.has_thought = true;
                self.unsigned.push_str(text);
            }
            Delta::Signed(_) => {}
            _ => self.unsigned = String::new(),
        }
    }

    /// Appends the thoughts since the last signature, with theirs, in the form in which
    /// OpenRouter's clients send them back.
    fn detail(&mut self, signature: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"type\":\"reasoning.text\",\"text\":");
        write::quoted(out, &std::mem::take(&mut self.unsigned));
        write::key(out, "signature");
        write_string(out, signature);
        write::key(out, "index");
        out.extend_from_slice(self.details.count.to_string().as_bytes());
        out.push(b'}');
        self.details.count += 1;
    }

    /// Appends the `delta` of a stream's last chunk: what is known only at the end.
    pub(super) fn tell_end(&self, frame: Frame<'_>, out: &mut Vec<u8>) {
        let mut members = Members::new(out);
        if !self.contentful && self.said.is_empty() && !self.is_contentless() {
            write_string(members.key("content"), "");
        }
        if self.audio.begun {
            let out = members.key("audio");
            out.extend_from_slice(b"{\"data\":");
            write_string(out, &self.audio.joint.end());
            out.extend_from_slice(format!(",\"expires_at\":{}}}", frame.created).as_bytes());
        }
        self.write_sources(&mut members);
    }

    /// Appends the choice of a whole answer.
    pub(super) fn write(&mut self, frame: Frame<'_>, out: &mut Vec<u8>) {
        let begin = format!("{{\"index\":{},\"message\":{{", self.index);
        out.extend_from_slice(begin.as_bytes());
        let mut members = Members::new(out);
        write_string(members.key("role"), "assistant");
        if self.is_contentless() {
            null(members.key("content"));
        } else {
            write::quoted(members.key("content"), &self.content);
        }
        null(members.key("refusal"));
        if !self.reasoning.is_empty() {
            write::quoted(members.key("reasoning_content"), &self.reasoning);
        }
        for (name, list) in [
            ("reasoning_details", &self.details),
            ("tool_calls", &self.tool_calls),
            ("images", &self.images),
        ] {
            if !list.elements.is_empty() {
                let out = members.key(name);
                out.push(b'[');
                out.extend_from_slice(&list.elements);
                out.push(b']');
            }
        }
        if let Some(call) = &self.function_call {
            members.key("function_call").extend_from_slice(call);
        }
        if self.audio.begun {
            let data = self.audio.whole(frame.audio);
            let out = members.key("audio");
            out.push(b'{');
            let mut members = Members::new(out);
            write_string(members.key("id"), &audio_id(frame, self.index));
            write_string(members.key("transcript"), "");
            write_string(members.key("data"), &data);
            let expires = frame.created.to_string();
            members
                .key("expires_at")
                .extend_from_slice(expires.as_bytes());
            out.push(b'}');
        }
        self.write_sources(&mut Members::more(out));
        out.push(b'}');
        write::key(out, "logprobs");
        self.logprobs.write(out);
        write::key(out, "finish_reason");
        self.ending().write(out);
        out.push(b'}');
    }

    /// Appends what the answer rests on, and what Google alone knows of.
    fn write_sources(&self, members: &mut Members<'_>) {
        let mut annotations = Vec::new();
        self.citations.write(&self.said, &mut annotations);
        if !annotations.is_empty() {
            let out = members.key("annotations");
            out.push(b'[');
            out.extend_from_slice(&annotations);
            out.push(b']');
        }
        if self.signature.is_none() && self.grounding.is_none() && self.url_context.is_none() {
            return;
        }
        let out = members.key("extra_content");
        out.extend_from_slice(b"{\"google\":{");
        let mut google = Members::new(out);
        if let Some(signature) = &self.signature {
            write_string(google.key("thought_signature"), signature);
        }
        for (name, raw) in [
            ("grounding_metadata", &self.grounding),
            ("url_context_metadata", &self.url_context),
        ] {
            if let Some(raw) = raw {
                google.key(name).extend_from_slice(raw.as_bytes());
            }
        }
        out.extend_from_slice(b"}}");
    }
}

impl Audio {
    fn piece(&mut self, data: &str, mime: &str) -> String {
        self.rate = audio::sample_rate(mime);
        // What is no base64 is the client's to find out.
        self.joint.push(data).unwrap_or_else(|| data.to_owned())
    }

    fn whole(&mut self, format: AudioFormat) -> String {
        let end = self.joint.end();
        self.data.push_str(&end);
        match (format, self.rate) {
            (AudioFormat::Wav, Some(rate)) => audio::wav_header(rate, &self.data) + &self.data,
            _ => std::mem::take(&mut self.data),
        }
    }
}

fn audio_id(frame: Frame<'_>, index: u32) -> String {
    format!("audio-{}-{index}", frame.id)
}

fn write_image(index: usize, url: &str, out: &mut Vec<u8>) {
    let begin = format!("{{\"type\":\"image_url\",\"index\":{index},\"image_url\":{{\"url\":");
    out.extend_from_slice(begin.as_bytes());
    write::quoted(out, url);
    out.extend_from_slice(b"}}");
}
