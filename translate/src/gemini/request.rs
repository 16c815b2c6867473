//! A `GenerateContentRequest` before it is written, and how each API wants it written.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::model::{Dialect, Generation};
use crate::{
    json::{JsonStr, write_string},
    schema, signature,
};

/// One request in Gemini's terms, borrowed from the client's body.
#[derive(Debug, Default)]
pub struct Request<'a> {
    /// The system instruction, piece by piece.
    pub system: Vec<JsonStr<'a>>,
    /// The conversation.
    pub contents: Vec<Content<'a>>,
    /// Functions that the model may call.
    pub functions: Vec<Function<'a>>,
    /// Whether it must call one.
    pub calling: Option<Calling<'a>>,
    /// How to generate.
    pub config: GenerationConfig<'a>,
}

/// One turn of the conversation.
#[derive(Debug)]
pub struct Content<'a> {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub parts: Vec<Part<'a>>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The user, and functions that answer.
    User,
    /// The model.
    Model,
}

/// A piece of a turn.
#[derive(Debug)]
pub enum Part<'a> {
    /// Text as it came.
    Text {
        /// The token.
        text: JsonStr<'a>,
        /// The signature that Gemini gave it.
        signature: Option<Cow<'a, str>>,
    },
    /// A blank, where Gemini wants a turn and the client has nothing to say.
    Blank,
    /// A call that the model made.
    Call(Call<'a>),
    /// What the function answered.
    Answer(Answer<'a>),
    /// Media in base64.
    Inline {
        /// Its MIME type.
        mime: Cow<'a, str>,
        /// Its bytes in base64, never decoded here.
        data: Cow<'a, str>,
    },
}

/// A function call in the history.
#[derive(Debug)]
pub struct Call<'a> {
    /// Its id.
    pub id: Cow<'a, str>,
    /// The function.
    pub name: JsonStr<'a>,
    /// The arguments: a JSON object.
    pub args: Cow<'a, str>,
    /// The signature that Gemini gave it.
    pub signature: Option<Cow<'a, str>>,
}

/// A function's answer in the history.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The call's id.
    pub id: Cow<'a, str>,
    /// The function.
    pub name: JsonStr<'a>,
    /// The answer's text in its pieces; `None` when the client gave none.
    pub output: Option<Vec<JsonStr<'a>>>,
}

/// A function that the model may call.
#[derive(Debug)]
pub struct Function<'a> {
    /// Its name.
    pub name: JsonStr<'a>,
    /// What it does.
    pub description: Option<JsonStr<'a>>,
    /// JSON Schema of its arguments. `None`: it takes none.
    pub parameters: Option<&'a RawValue>,
}

/// `functionCallingConfig`.
#[derive(Debug)]
pub enum Calling<'a> {
    /// The model decides.
    Auto,
    /// It must not call.
    None,
    /// It must call one of these; empty: any.
    Any(Vec<JsonStr<'a>>),
}

/// How much to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// As little as the model can.
    None,
    /// Hardly.
    Minimal,
    /// A little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
}

/// What form the answer shall have.
#[derive(Clone, Copy, Debug)]
pub enum Format<'a> {
    /// Any JSON.
    Json,
    /// JSON of this JSON Schema.
    Schema(&'a RawValue),
}

/// `generationConfig`.
#[derive(Debug, Default)]
pub struct GenerationConfig<'a> {
    /// As the client wrote the number.
    pub temperature: Option<&'a RawValue>,
    /// As the client wrote the number.
    pub top_p: Option<&'a RawValue>,
    /// Thoughts included.
    pub max_output_tokens: Option<i64>,
    /// At most five.
    pub stop: Vec<JsonStr<'a>>,
    /// 32 bits are all that Gemini takes.
    pub seed: Option<i32>,
    /// Answers to generate.
    pub candidates: Option<i64>,
    /// How much to think.
    pub effort: Option<Effort>,
    /// What form the answer shall have.
    pub format: Option<Format<'a>>,
}

/// For whom a request is written.
#[derive(Clone, Copy, Debug)]
pub struct Target<'t> {
    /// The API.
    pub dialect: Dialect,
    /// The model id, without `models/`.
    pub model: &'t str,
}

impl Request<'_> {
    /// Appends the request as JSON.
    pub fn write(&self, target: Target<'_>, out: &mut Vec<u8>) {
        let generation = Generation::of(target.model);
        out.extend_from_slice(b"{\"contents\":[");
        for (at, content) in self.contents.iter().enumerate() {
            comma(at, out);
            content.write(target.dialect, generation, out);
        }
        out.push(b']');
        if !self.system.is_empty() {
            out.extend_from_slice(b",\"systemInstruction\":{\"parts\":[");
            for (at, text) in self.system.iter().enumerate() {
                comma(at, out);
                out.extend_from_slice(b"{\"text\":");
                out.extend_from_slice(text.token().as_bytes());
                out.push(b'}');
            }
            out.extend_from_slice(b"]}");
        }
        if !self.functions.is_empty() {
            out.extend_from_slice(b",\"tools\":[{\"functionDeclarations\":[");
            for (at, function) in self.functions.iter().enumerate() {
                comma(at, out);
                function.write(generation.takes_json_schema(target.dialect), out);
            }
            out.extend_from_slice(b"]}]");
        }
        if let Some(calling) = &self.calling {
            calling.write(out);
        }
        self.config.write(target, generation, out);
        out.push(b'}');
    }
}

fn comma(at: usize, out: &mut Vec<u8>) {
    if at > 0 {
        out.push(b',');
    }
}

impl Content<'_> {
    fn write(&self, dialect: Dialect, generation: Generation, out: &mut Vec<u8>) {
        out.extend_from_slice(match self.role {
            Role::User => b"{\"role\":\"user\",\"parts\":[",
            Role::Model => b"{\"role\":\"model\",\"parts\":[",
        });
        let signed = |part: &Part<'_>| match part {
            Part::Call(call) => call.signature.is_some(),
            Part::Text { signature, .. } => signature.is_some(),
            _ => false,
        };
        let mut dummy = generation.demands_signatures() && !self.parts.iter().any(signed);
        for (at, part) in self.parts.iter().enumerate() {
            comma(at, out);
            part.write(dialect, &mut dummy, out);
        }
        out.extend_from_slice(b"]}");
    }
}

impl Part<'_> {
    /// `dummy`: the next call is the first of its turn, and nothing in it is signed.
    fn write(&self, dialect: Dialect, dummy: &mut bool, out: &mut Vec<u8>) {
        // Vertex refuses ids of calls; the other two echo them.
        let with_id = dialect != Dialect::Vertex;
        match self {
            Self::Blank => out.extend_from_slice(b"{\"text\":\" \"}"),
            Self::Text { text, signature } => {
                out.extend_from_slice(b"{\"text\":");
                out.extend_from_slice(text.token().as_bytes());
                write_signature(signature.as_deref(), out);
                out.push(b'}');
            }
            Self::Call(call) => {
                out.extend_from_slice(b"{\"functionCall\":{\"name\":");
                out.extend_from_slice(call.name.token().as_bytes());
                out.extend_from_slice(b",\"args\":");
                out.extend_from_slice(call.args.as_bytes());
                write_id(with_id, &call.id, out);
                out.push(b'}');
                let needs_dummy = std::mem::take(dummy);
                let dummy = needs_dummy.then_some(signature::DUMMY);
                write_signature(call.signature.as_deref().or(dummy), out);
                out.push(b'}');
            }
            Self::Answer(answer) => {
                out.extend_from_slice(b"{\"functionResponse\":{\"name\":");
                out.extend_from_slice(answer.name.token().as_bytes());
                out.extend_from_slice(b",\"response\":{");
                if let Some(output) = &answer.output {
                    // Kept a text: as an object, Google would read its numbers as
                    // doubles and its `$ref` as references.
                    out.extend_from_slice(b"\"output\":\"");
                    for piece in output {
                        out.extend_from_slice(piece.escaped().as_bytes());
                    }
                    out.push(b'"');
                }
                out.push(b'}');
                write_id(with_id, &answer.id, out);
                out.extend_from_slice(b"}}");
            }
            Self::Inline { mime, data } => {
                out.extend_from_slice(b"{\"inlineData\":{\"mimeType\":");
                write_string(out, mime);
                out.extend_from_slice(b",\"data\":");
                write_string(out, data);
                out.extend_from_slice(b"}}");
            }
        }
    }
}

fn write_id(wanted: bool, id: &str, out: &mut Vec<u8>) {
    if wanted && !id.is_empty() {
        out.extend_from_slice(b",\"id\":");
        write_string(out, id);
    }
}

fn write_signature(signature: Option<&str>, out: &mut Vec<u8>) {
    if let Some(signature) = signature {
        out.extend_from_slice(b",\"thoughtSignature\":");
        write_string(out, &signature::normalized(signature));
    }
}

impl Function<'_> {
    fn write(&self, takes_json_schema: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"name\":");
        out.extend_from_slice(self.name.token().as_bytes());
        if let Some(description) = self.description {
            out.extend_from_slice(b",\"description\":");
            out.extend_from_slice(description.token().as_bytes());
        }
        if let Some(parameters) = self.parameters {
            if takes_json_schema {
                out.extend_from_slice(b",\"parametersJsonSchema\":");
                out.extend_from_slice(parameters.get().as_bytes());
            } else if let Some(converted) = schema::to_gemini(parameters) {
                out.extend_from_slice(b",\"parameters\":");
                out.extend_from_slice(converted.as_bytes());
            }
        }
        out.push(b'}');
    }
}

impl Calling<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"toolConfig\":{\"functionCallingConfig\":{\"mode\":");
        match self {
            Self::Auto => out.extend_from_slice(b"\"AUTO\""),
            Self::None => out.extend_from_slice(b"\"NONE\""),
            Self::Any(names) => {
                out.extend_from_slice(b"\"ANY\"");
                if !names.is_empty() {
                    out.extend_from_slice(b",\"allowedFunctionNames\":[");
                    for (at, name) in names.iter().enumerate() {
                        comma(at, out);
                        out.extend_from_slice(name.token().as_bytes());
                    }
                    out.push(b']');
                }
            }
        }
        out.extend_from_slice(b"}}");
    }
}

impl GenerationConfig<'_> {
    fn write(&self, target: Target<'_>, generation: Generation, out: &mut Vec<u8>) {
        let begin = out.len();
        let mut member = |name: &str, value: &[u8]| {
            out.push(b',');
            write_string(out, name);
            out.push(b':');
            out.extend_from_slice(value);
        };
        if let Some(temperature) = self.temperature {
            member("temperature", temperature.get().as_bytes());
        }
        if let Some(top_p) = self.top_p {
            member("topP", top_p.get().as_bytes());
        }
        if let Some(max) = self.max_output_tokens {
            member("maxOutputTokens", max.to_string().as_bytes());
        }
        if !self.stop.is_empty() {
            let tokens: Vec<&str> = self.stop.iter().map(|stop| stop.token()).collect();
            member(
                "stopSequences",
                format!("[{}]", tokens.join(",")).as_bytes(),
            );
        }
        if let Some(seed) = self.seed {
            member("seed", seed.to_string().as_bytes());
        }
        if let Some(candidates) = self.candidates {
            member("candidateCount", candidates.to_string().as_bytes());
        }
        if let Some(thinking) = self
            .effort
            .and_then(|effort| thinking_config(effort, generation, target.model))
        {
            member("thinkingConfig", thinking.as_bytes());
        }
        if let Some(format) = self.format {
            member("responseMimeType", b"\"application/json\"");
            if let Format::Schema(schema) = format {
                if generation.takes_json_schema(target.dialect) {
                    member("responseJsonSchema", schema.get().as_bytes());
                } else if let Some(converted) = schema::to_gemini(schema) {
                    member("responseSchema", converted.as_bytes());
                }
            }
        }
        if out.len() > begin {
            // Over the first member's comma.
            let members = out.split_off(begin + 1);
            out.extend_from_slice(b"\"generationConfig\":{");
            out.extend_from_slice(&members);
            out.push(b'}');
        }
    }
}

/// `thinkingConfig` for an effort; `None` when the model has no such setting.
///
/// The budgets are those of Google's own OpenAI endpoint. Not every model of the third
/// generation knows every level: only Flash has MINIMAL, and 3 Pro has no MEDIUM.
fn thinking_config(effort: Effort, generation: Generation, model: &str) -> Option<String> {
    let thoughts = match effort {
        Effort::None => "",
        _ => ",\"includeThoughts\":true",
    };
    match generation {
        Generation::Gemini3 => {
            let level = match effort {
                Effort::None | Effort::Minimal if model.contains("flash") => "MINIMAL",
                Effort::None | Effort::Minimal | Effort::Low => "LOW",
                Effort::Medium if model.starts_with("gemini-3-pro") => "HIGH",
                Effort::Medium => "MEDIUM",
                Effort::High => "HIGH",
            };
            Some(format!("{{\"thinkingLevel\":\"{level}\"{thoughts}}}"))
        }
        Generation::Gemini25 => {
            let budget = match effort {
                Effort::None if model.contains("pro") => 128,
                Effort::None => 0,
                Effort::Minimal | Effort::Low => 1024,
                Effort::Medium => 8192,
                Effort::High => 24576,
            };
            Some(format!("{{\"thinkingBudget\":{budget}{thoughts}}}"))
        }
        Generation::Claude => {
            let budget = match effort {
                Effort::None => return None,
                Effort::Minimal | Effort::Low => 1024,
                Effort::Medium => 8192,
                Effort::High => 24576,
            };
            Some(format!("{{\"thinkingBudget\":{budget}{thoughts}}}"))
        }
        Generation::Gemini2 | Generation::GptOss => None,
    }
}
