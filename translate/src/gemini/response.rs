//! What Google answers: a `GenerateContentResponse`, borrowed, as events.
//!
//! Every field may be missing or null, parts of kinds that are not known are
//! passed over, and a document that is none of Google's is an error, never an
//! empty answer.

use super::{
    event::{Event, Metadata, PartKind},
    finish::FinishReason,
    grounding,
    logprobs::Logprobs,
    usage::UsageMetadata,
};
use crate::json::{self, Array, JsonStr, Object, Raw, WrongType};

/// The most choices that OpenAI has; Google gives eight.
const MAX_CANDIDATES: u32 = 128;

/// A `functionCall` part.
#[derive(Clone, Copy, Debug, Default)]
pub struct FunctionCall<'a> {
    /// Google's id of the call, where it gives one.
    pub id: Option<JsonStr<'a>>,
    /// The function's name.
    pub name: Option<JsonStr<'a>>,
    /// The arguments, an object. Absent: none.
    pub args: Option<Raw<'a>>,
    /// More of it is to come.
    pub will_continue: Option<bool>,
    /// Pieces of the arguments.
    pub partial_args: Option<Raw<'a>>,
}

impl<'a> FunctionCall<'a> {
    fn read(raw: Raw<'a>) -> Result<Self, WrongType> {
        let mut call = Self::default();
        for (name, raw) in json::object(raw)?.iter() {
            match &*name {
                "id" => call.id = Some(json::string(raw)?),
                "name" => call.name = Some(json::string(raw)?),
                "args" => call.args = Some(raw),
                "willContinue" => call.will_continue = Some(json::boolean(raw)?),
                "partialArgs" => call.partial_args = Some(raw),
                _ => {}
            }
        }
        Ok(call)
    }

    /// The function's name, where it is told.
    #[must_use]
    pub fn named(&self) -> Option<JsonStr<'a>> {
        self.name.filter(|name| !name.is_empty())
    }

    /// Whether it is all of a call.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.named().is_some() && self.will_continue != Some(true) && self.partial_args.is_none()
    }

    /// Whether its arguments are no object, or an object where there ought to be pieces.
    fn is_broken(&self) -> bool {
        self.args.is_some_and(|args| {
            args.as_object()
                .is_none_or(|args| !self.is_whole() && !args.is_empty())
        })
    }
}

/// A document that is no answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAnswer {
    /// Google's error object, as it came: `{"error": …}`'s inner object.
    #[error("the upstream told an error instead of an answer")]
    Error(String),
    /// Code Assist's refusal of the gateway's version, which it tells as if the model had
    /// said it.
    #[error("the upstream does not serve this client's version")]
    ClientUnsupported(String),
    /// Not JSON, or JSON of another shape.
    #[error("the upstream sent something that is no answer: {0}")]
    Unreadable(String),
}

impl NotAnAnswer {
    /// A client would act on what is there of it.
    pub(crate) fn broken_call() -> Self {
        Self::Unreadable(
            "it has a function call without a name or without whole arguments".to_owned(),
        )
    }
}

impl From<WrongType> for NotAnAnswer {
    fn from(wrong: WrongType) -> Self {
        let WrongType { expected, found } = wrong;
        Self::Unreadable(format!("where {expected} should be it has {found}"))
    }
}

/// What is known of a candidate but for what it says.
#[derive(Debug, Default)]
struct Candidate<'a> {
    index: u32,
    parts: Option<Array<'a>>,
    finish_reason: Option<Raw<'a>>,
    finish_message: Option<Raw<'a>>,
    logprobs: Option<Raw<'a>>,
    grounding: Option<Raw<'a>>,
    url_context: Option<Raw<'a>>,
    citations: Option<Raw<'a>>,
}

#[derive(Debug, Default)]
struct Part<'a> {
    text: Option<JsonStr<'a>>,
    thought: bool,
    signature: Option<JsonStr<'a>>,
    call: Option<FunctionCall<'a>>,
    inline_data: Blob<'a>,
    file_uri: Option<JsonStr<'a>>,
    program: Program<'a>,
    result: ProgramResult<'a>,
}

#[derive(Debug, Default)]
struct Blob<'a> {
    mime: Option<JsonStr<'a>>,
    data: Option<JsonStr<'a>>,
}

/// `executableCode`
#[derive(Debug, Default)]
struct Program<'a> {
    language: Option<JsonStr<'a>>,
    code: Option<JsonStr<'a>>,
}

/// `codeExecutionResult`
#[derive(Debug, Default)]
struct ProgramResult<'a> {
    outcome: Option<JsonStr<'a>>,
    output: Option<JsonStr<'a>>,
}

#[derive(Debug, Default)]
struct PromptFeedback<'a> {
    reason: Option<Raw<'a>>,
    message: Option<JsonStr<'a>>,
}

/// Hands out the events of one document of an answer in their order; `wrapped` says that it
/// stands in Code Assist's envelope (`{"response": …, "traceId": …}`).
///
/// # Errors
/// An error object, or anything that is no answer. Events before that may have been handed out.
pub fn events(
    document: Raw<'_>,
    wrapped: bool,
    mut each: impl FnMut(Event<'_>),
) -> Result<(), NotAnAnswer> {
    let Some(document) = document.as_object() else {
        return Err(NotAnAnswer::Unreadable("it is no JSON object".to_owned()));
    };
    let response = Response::read(document, wrapped)?;
    for raw in elements(response.candidates) {
        Candidate::read(raw)?.events(&mut each)?;
    }
    if let Some(usage) = response.usage {
        each(Event::Usage(&UsageMetadata::read(usage)?));
    }
    if let Some(feedback) = response.feedback {
        let PromptFeedback { reason, message } = PromptFeedback::read(feedback)?;
        if reason.is_some() || message.is_some() {
            each(Event::Blocked {
                reason: reason.map(|raw| match raw.as_string() {
                    Some(name) => name.text(),
                    None => raw.get().into(),
                }),
                message: message.map(JsonStr::text),
            });
        }
    }
    Ok(())
}

/// The parts of a document.
#[derive(Debug, Default)]
struct Response<'a> {
    candidates: Option<Array<'a>>,
    usage: Option<Raw<'a>>,
    feedback: Option<Raw<'a>>,
}

impl<'a> Response<'a> {
    fn read(object: Object<'a>, wrapped: bool) -> Result<Self, NotAnAnswer> {
        let mut this = Self::default();
        let mut inner = None;
        for (name, raw) in object.iter() {
            match &*name {
                "candidates" => this.candidates = Some(json::array(raw)?),
                "usageMetadata" => this.usage = Some(raw),
                "promptFeedback" => this.feedback = Some(raw),
                "error" => return Err(NotAnAnswer::Error(raw.get().to_owned())),
                "response" if wrapped => inner = Some(json::object(raw)?),
                _ => {}
            }
        }
        // Some answers come without their envelope.
        inner.map_or(Ok(this), |inner| Self::read(inner, false))
    }
}

/// The elements of a list that are not `null`.
fn elements(list: Option<Array<'_>>) -> impl Iterator<Item = Raw<'_>> {
    let all = list.into_iter().flatten();
    all.filter(|raw| !raw.is_null())
}

impl<'a> PromptFeedback<'a> {
    fn read(raw: Raw<'a>) -> Result<Self, WrongType> {
        let mut this = Self::default();
        for (name, raw) in json::object(raw)?.iter() {
            match &*name {
                "blockReason" => this.reason = Some(raw),
                "blockReasonMessage" => this.message = Some(json::string(raw)?),
                _ => {}
            }
        }
        Ok(this)
    }
}

impl<'a> ProgramResult<'a> {
    /// What it printed; where it failed without a word, how.
    fn told(&self) -> Option<JsonStr<'a>> {
        let printed = self.output.filter(|output| !output.is_empty());
        let failed = self
            .outcome
            .filter(|outcome| outcome.escaped() != "OUTCOME_OK");
        printed.or(failed).or(self.output)
    }
}

fn finish_reason(raw: Raw<'_>) -> Option<FinishReason> {
    match raw.as_string() {
        Some(name) => FinishReason::named(&name.text()),
        None => json::integer(raw)
            .ok()
            .and_then(|number| u64::try_from(number).ok())
            .and_then(FinishReason::numbered),
    }
}

impl<'a> Candidate<'a> {
    fn read(raw: Raw<'a>) -> Result<Self, WrongType> {
        let mut this = Self::default();
        for (name, raw) in json::object(raw)?.iter() {
            match &*name {
                "index" => {
                    this.index = raw.get().parse().map_err(|_| WrongType {
                        expected: "an index",
                        found: raw.kind().name(),
                    })?;
                }
                "content" => {
                    let parts = json::object(raw)?.get("parts");
                    this.parts = parts.map(json::array).transpose()?;
                }
                "finishReason" => this.finish_reason = Some(raw),
                "finishMessage" => this.finish_message = Some(raw),
                "logprobsResult" => this.logprobs = Some(raw),
                "groundingMetadata" => this.grounding = Some(raw),
                "urlContextMetadata" => this.url_context = Some(raw),
                "citationMetadata" => this.citations = Some(raw),
                _ => {}
            }
        }
        Ok(this)
    }

    fn events(&self, each: &mut impl FnMut(Event<'_>)) -> Result<(), NotAnAnswer> {
        let index = self.index;
        if index >= MAX_CANDIDATES {
            return Err(NotAnAnswer::Unreadable(
                "it has more candidates than anybody asks for".to_owned(),
            ));
        }
        each(Event::Candidate { index });
        // Before the text that they belong to, which they are told with.
        if let Some(logprobs) = self.logprobs.and_then(Logprobs::read) {
            each(Event::Logprobs { index, logprobs });
        }
        for raw in elements(self.parts) {
            let part = Part::read(raw)?;
            if part.call.is_some_and(|call| call.is_broken()) {
                return Err(NotAnAnswer::broken_call());
            }
            let kind = part.kind();
            each(Event::Part { index, kind });
            part.events(index, each);
        }
        for (about, raw) in [
            (Metadata::Grounding, self.grounding),
            (Metadata::UrlContext, self.url_context),
        ] {
            // Chunks before the one that has it carry an empty object.
            if let Some(raw) = raw
                && raw.as_object().is_some_and(|object| !object.is_empty())
            {
                each(Event::Metadata { index, about, raw });
            }
        }
        if let Some(raw) = self.grounding {
            grounding::grounded(raw, |citation| each(Event::Cited { index, citation }));
        }
        if let Some(raw) = self.citations {
            grounding::recited(raw, |citation| each(Event::Cited { index, citation }));
        }
        if let Some(reason) = self.finish_reason.and_then(finish_reason) {
            let message = self.finish_message.and_then(Raw::as_string);
            each(Event::Finish {
                index,
                reason,
                message,
            });
        }
        Ok(())
    }
}

impl<'a> Part<'a> {
    fn read(raw: Raw<'a>) -> Result<Self, WrongType> {
        let mut this = Self::default();
        for (name, raw) in json::object(raw)?.iter() {
            match &*name {
                "text" => this.text = Some(json::string(raw)?),
                "thought" => this.thought = json::boolean(raw)?,
                "thoughtSignature" | "thought_signature" => {
                    this.signature = Some(json::string(raw)?).filter(|it| !it.is_empty());
                }
                "functionCall" | "function_call" => this.call = Some(FunctionCall::read(raw)?),
                "inlineData" | "inline_data" => {
                    for (name, raw) in json::object(raw)?.iter() {
                        match &*name {
                            "mimeType" | "mime_type" => {
                                this.inline_data.mime = Some(json::string(raw)?);
                            }
                            "data" => this.inline_data.data = Some(json::string(raw)?),
                            _ => {}
                        }
                    }
                }
                "fileData" | "file_data" => {
                    let file = json::object(raw)?;
                    let uri = file.get("fileUri").or_else(|| file.get("file_uri"));
                    this.file_uri = uri.map(json::string).transpose()?;
                }
                "executableCode" | "executable_code" => {
                    let program = json::object(raw)?;
                    this.program.language = program.get("language").and_then(Raw::as_string);
                    this.program.code = program.get("code").map(json::string).transpose()?;
                }
                "codeExecutionResult" | "code_execution_result" => {
                    let result = json::object(raw)?;
                    this.result.outcome = result.get("outcome").and_then(Raw::as_string);
                    this.result.output = result.get("output").map(json::string).transpose()?;
                }
                _ => {}
            }
        }
        Ok(this)
    }

    fn kind(&self) -> PartKind {
        if self.thought {
            PartKind::Thought
        } else if self.text.is_some() {
            PartKind::Text
        } else {
            PartKind::Other
        }
    }

    fn events(&self, index: u32, each: &mut impl FnMut(Event<'_>)) {
        let signature = self.signature;
        if let Some(call) = self.call {
            // One part is one thing, but what else is there is not lost.
            let beside = Self {
                text: self.text,
                thought: self.thought,
                ..Self::default()
            };
            beside.events(index, each);
            each(Event::Call {
                index,
                call,
                signature,
            });
            return;
        }
        if self.thought {
            if self.text.is_some() || signature.is_some() {
                each(Event::Thought {
                    index,
                    text: self.text.unwrap_or(JsonStr::EMPTY),
                    signature,
                });
            }
            return;
        }
        if let (Some(mime), Some(data)) = (self.inline_data.mime, self.inline_data.data) {
            each(Event::Media {
                index,
                mime,
                data,
                signature,
            });
        } else if let Some(code) = self.program.code {
            each(Event::Code {
                index,
                language: self.program.language,
                code,
                signature,
            });
        } else if let Some(output) = self.result.told() {
            each(Event::CodeOutput {
                index,
                output,
                signature,
            });
        } else if let Some(uri) = self.file_uri {
            each(Event::File {
                index,
                uri,
                signature,
            });
        } else if let Some(text) = self.text {
            each(Event::Text {
                index,
                text,
                signature,
            });
        } else if signature.is_some() {
            // A part with a signature alone.
            each(Event::Text {
                index,
                text: JsonStr::EMPTY,
                signature,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Document;

    fn told(document: &str, wrapped: bool) -> Result<Vec<String>, NotAnAnswer> {
        let mut events = Vec::new();
        let document =
            Document::read(document).map_err(|error| NotAnAnswer::Unreadable(error.to_string()))?;
        super::events(document.root(), wrapped, |event| {
            events.push(match event {
                Event::Text { text, .. } => format!("text {}", text.text()),
                Event::Call { call, .. } => {
                    format!("call {}", call.name.map_or("".into(), JsonStr::text))
                }
                Event::Finish { reason, .. } => format!("finish {}", reason.native),
                Event::Blocked { reason, .. } => format!("blocked {reason:?}"),
                Event::Part { .. } => return,
                other => format!("{other:?}").chars().take(8).collect(),
            });
        })?;
        Ok(events)
    }

    #[test]
    fn odd_but_real_shapes() {
        for (document, expected) in [
            (
                r#"{"candidates":[{"content":{},"finishReason":"STOP"}]}"#,
                vec!["Candidat", "finish STOP"],
            ),
            (
                r#"{"candidates":[null,{"content":{"parts":[{}, null, {"novelty":{"a":1}}, {"text":"a"}]},"finishReason":1}]}"#,
                vec!["Candidat", "text a", "finish STOP"],
            ),
            (
                r#"{"candidates":[{"content":null,"finishReason":"FINISH_REASON_UNSPECIFIED"}],"promptFeedback":{"safetyRatings":[]}}"#,
                vec!["Candidat"],
            ),
            (
                r#"{"candidates":[],"promptFeedback":{"blockReasonMessage":"no"}}"#,
                vec!["blocked None"],
            ),
            (
                r#"{"candidates":[{"finishReason":"NEW_ONE"}]}"#,
                vec!["Candidat", "finish NEW_ONE"],
            ),
        ] {
            assert_eq!(
                told(document, false).expect("an answer"),
                expected,
                "{document}"
            );
        }
    }

    #[test]
    fn envelopes_and_errors() {
        let inner = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#;
        let wrapped = format!(r#"{{"response": {inner},"traceId": "1"}}"#);
        assert_eq!(told(&wrapped, true), told(inner, false));
        assert_eq!(told(inner, true), told(inner, false));
        let error = r#"{"error":{"code":503}}"#;
        for wrapped in [true, false] {
            assert_eq!(
                told(error, wrapped),
                Err(NotAnAnswer::Error(r#"{"code":503}"#.to_owned()))
            );
            for junk in ["", "[1]", "<html>", "{\"candidates\":5}", "null", "{"] {
                assert!(matches!(
                    told(junk, wrapped),
                    Err(NotAnAnswer::Unreadable(_))
                ));
            }
        }
    }
}
