//! A `GenerateContentRequest` before it is written: what was understood, not yet in the
//! words of one of Google's APIs.

use std::borrow::Cow;

use super::model::Dialect;
use crate::{
    json::{JsonStr, Raw},
    schema::Schema,
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
    /// Tools of Google's own that the model may use.
    pub google_tools: Vec<GoogleTool<'a>>,
    /// Whether it must call one.
    pub calling: Option<Calling<'a>>,
    /// How to generate.
    pub config: GenerationConfig<'a>,
    /// Members that go out as they came, such as `safetySettings`.
    pub verbatim: Vec<Verbatim<'a>>,
}

/// A member that goes out as it came, under its name in Google's JSON.
pub type Verbatim<'a> = (&'static str, Raw<'a>);

/// A tool that Google runs, such as `googleSearch`.
#[derive(Clone, Copy, Debug)]
pub struct GoogleTool<'a> {
    /// Its name in Google's JSON.
    pub name: &'static str,
    /// Its settings, an object; `None`: it has none.
    pub settings: Option<Raw<'a>>,
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
    /// A thought that the model signed. Only Claude wants it back.
    Thought {
        /// The token.
        text: JsonStr<'a>,
        /// Claude's own signature.
        signature: Cow<'a, str>,
    },
    /// An image, a recording, a film, a document.
    Media(Media<'a>),
}

/// An image, a recording, a film, a document.
#[derive(Clone, Debug)]
pub struct Media<'a> {
    /// Where its bytes are.
    pub source: Source<'a>,
    /// `videoMetadata`, as it came.
    pub video: Option<Raw<'a>>,
    /// The signature that Gemini gave it, when Gemini made it.
    pub signature: Option<Cow<'a, str>>,
}

/// Where the bytes of media are.
#[derive(Clone, Debug)]
pub enum Source<'a> {
    /// In the request.
    Inline {
        /// Their MIME type.
        mime: Cow<'a, str>,
        /// In base64, never decoded here.
        data: Cow<'a, str>,
    },
    /// Where Google reads them itself.
    File {
        /// Their MIME type; `None`: Google finds out.
        mime: Option<Cow<'a, str>>,
        /// A URI that Google knows.
        uri: Cow<'a, str>,
    },
    /// Somewhere in the Web: this one of the addresses to be fetched.
    Remote(usize),
}

/// A function call in the history.
#[derive(Debug)]
pub struct Call<'a> {
    /// Its id.
    pub id: Cow<'a, str>,
    /// The function, by the name that Gemini is told.
    pub name: Cow<'a, str>,
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
    /// The function, by the name that Gemini is told.
    pub name: Cow<'a, str>,
    /// The answer's text in its pieces; `None` when the client gave none.
    pub output: Option<Vec<JsonStr<'a>>>,
    /// What it showed besides.
    pub media: Vec<Media<'a>>,
}

/// A function that the model may call.
#[derive(Debug)]
pub struct Function<'a> {
    /// The name that Gemini is told.
    pub name: Cow<'a, str>,
    /// What it does.
    pub description: Option<JsonStr<'a>>,
    /// JSON Schema of its arguments. `None`: it takes none.
    pub parameters: Option<Schema<'a>>,
}

/// `functionCallingConfig`.
#[derive(Debug)]
pub struct Calling<'a> {
    /// Whether it must call.
    pub mode: Mode,
    /// Which ones it may call; empty: all.
    pub allowed: Vec<Cow<'a, str>>,
}

/// Whether the model must call a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The model decides.
    Auto,
    /// The model decides, and its calls are held to the schemas.
    Validated,
    /// It must not call.
    None,
    /// It must call.
    Any,
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

/// What was asked about thinking.
#[derive(Clone, Copy, Debug, Default)]
pub struct Thinking {
    /// How much, in OpenAI's words.
    pub effort: Option<Effort>,
    /// How much, in Gemini's: a level.
    pub level: Option<&'static str>,
    /// How much, in Gemini's: tokens.
    pub budget: Option<i64>,
    /// Whether to tell the thoughts.
    pub include_thoughts: Option<bool>,
}

/// What form the answer shall have.
#[derive(Clone, Copy, Debug)]
pub enum Format<'a> {
    /// Any JSON.
    Json,
    /// JSON of this JSON Schema.
    Schema(Schema<'a>),
}

/// `generationConfig`.
#[derive(Debug, Default)]
pub struct GenerationConfig<'a> {
    /// As the client wrote the number.
    pub temperature: Option<Raw<'a>>,
    /// As the client wrote the number.
    pub top_p: Option<Raw<'a>>,
    /// How many tokens are in the choice.
    pub top_k: Option<i64>,
    /// Thoughts included.
    pub max_output_tokens: Option<i64>,
    /// At most five.
    pub stop: Vec<JsonStr<'a>>,
    /// 32 bits are all that Gemini takes.
    pub seed: Option<i32>,
    /// Answers to generate.
    pub candidates: Option<i64>,
    /// How much to think.
    pub thinking: Thinking,
    /// What form the answer shall have.
    pub format: Option<Format<'a>>,
    /// Whether the probabilities of tokens are wanted, and how many alternatives of each.
    pub logprobs: Option<i64>,
    /// `responseModalities`; empty: what the model makes by itself.
    pub modalities: Vec<&'static str>,
    /// The voice that speaks, as Google names it.
    pub voice: Option<JsonStr<'a>>,
    /// How closely to look at images.
    pub resolution: Option<&'static str>,
    /// Settings that go out as they came, such as `imageConfig`.
    pub verbatim: Vec<Verbatim<'a>>,
}

/// For whom a request is written.
#[derive(Clone, Copy, Debug)]
pub struct Target<'t> {
    /// The API.
    pub dialect: Dialect,
    /// The model id, without `models/`.
    pub model: &'t str,
}

impl<'a> Request<'a> {
    /// Puts what was fetched where it belongs, one for each address.
    pub fn supply(&mut self, fetched: &'a [Fetched]) {
        for content in &mut self.contents {
            for part in &mut content.parts {
                let media = match part {
                    Part::Media(media) => std::slice::from_mut(media),
                    Part::Answer(answer) => &mut answer.media,
                    _ => continue,
                };
                for media in media {
                    if let Source::Remote(at) = media.source
                        && let Some(fetched) = fetched.get(at)
                    {
                        media.source = Source::Inline {
                            mime: Cow::Borrowed(&fetched.mime),
                            data: Cow::Borrowed(&fetched.data),
                        };
                    }
                }
            }
        }
    }
}

/// Media that were fetched from the Web.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Their MIME type.
    pub mime: String,
    /// Their bytes in base64.
    pub data: String,
}
