//! What Google answers: a `GenerateContentResponse`, borrowed, as events.
//!
//! Every field may be missing or null, parts of kinds that are not known are
//! passed over, and a document that is none of Google's is an error, never an
//! empty answer.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    event::{Event, Metadata, PartKind},
    finish::FinishReason,
    grounding,
    usage::UsageMetadata,
};
use crate::serial::{self as json, JsonStr};

/// The most choices that OpenAI has; Google gives eight.
const MAX_CANDIDATES: u32 = 128;

/// A `functionCall` part.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionCall<'a> {
    /// Google's id of the call, where it gives one.
    #[serde(borrow, default)]
    pub id: Option<JsonStr<'a>>,
    /// The function's name.
    #[serde(borrow, default)]
    pub name: Option<JsonStr<'a>>,
    /// The arguments, an object. Absent: none.
    #[serde(borrow, default)]
    pub args: Option<&'a RawValue>,
    /// More of it is to come.
    #[serde(default)]
    pub will_continue: Option<bool>,
    /// Pieces of the arguments.
    #[serde(borrow, default)]
    pub partial_args: Option<&'a RawValue>,
}

impl<'a> FunctionCall<'a> {
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
            !args.get().starts_with('{')
                || !self.is_whole() && !json::object(args).is_ok_and(|args| args.is_empty())
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

/// One document of an answer.
#[derive(Debug)]
pub struct Response<'a>(Wire<'a>);

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Wire<'a> {
    #[serde(borrow)]
    candidates: Option<Vec<Option<Candidate<'a>>>>,
    #[serde(borrow)]
    prompt_feedback: Option<PromptFeedback<'a>>,
    usage_metadata: Option<UsageMetadata>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    response: Option<Wire<'a>>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Candidate<'a> {
    index: Option<u32>,
    #[serde(borrow)]
    content: Option<Content<'a>>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    finish_message: Option<&'a RawValue>,
    #[serde(borrow)]
    logprobs_result: Option<&'a RawValue>,
    #[serde(borrow)]
    grounding_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    url_context_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    citation_metadata: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Content<'a> {
    #[serde(borrow)]
    parts: Option<Vec<Option<Part<'a>>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<JsonStr<'a>>,
    thought: Option<bool>,
    #[serde(borrow, alias = "thought_signature")]
    thought_signature: Option<JsonStr<'a>>,
    #[serde(borrow, alias = "function_call")]
    function_call: Option<FunctionCall<'a>>,
    #[serde(borrow, alias = "inline_data")]
    inline_data: Option<Blob<'a>>,
    #[serde(borrow, alias = "file_data")]
    file_data: Option<FileData<'a>>,
    #[serde(borrow, alias = "executable_code")]
    executable_code: Option<ExecutableCode<'a>>,
    #[serde(borrow, alias = "code_execution_result")]
    code_execution_result: Option<CodeExecutionResult<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Blob<'a> {
    #[serde(borrow, alias = "mime_type")]
    mime_type: Option<JsonStr<'a>>,
    #[serde(borrow)]
    data: Option<JsonStr<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FileData<'a> {
    #[serde(borrow, alias = "file_uri")]
    file_uri: Option<JsonStr<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ExecutableCode<'a> {
    #[serde(borrow)]
    language: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<JsonStr<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CodeExecutionResult<'a> {
    #[serde(borrow)]
    outcome: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<JsonStr<'a>>,
}

impl<'a> CodeExecutionResult<'a> {
    /// What it printed; where it failed without a word, how.
    fn told(&self) -> Option<JsonStr<'a>> {
        let printed = self.output.filter(|output| !output.is_empty());
        let failed = || {
            let outcome = json::string(self.outcome?).ok()?;
            (outcome.escaped() != "OUTCOME_OK").then_some(outcome)
        };
        printed.or_else(failed).or(self.output)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PromptFeedback<'a> {
    #[serde(borrow)]
    block_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    block_reason_message: Option<JsonStr<'a>>,
}

impl<'a> Response<'a> {
    /// Reads a document; `wrapped` says that it stands in Code Assist's envelope
    /// (`{"response": …, "traceId": …}`).
    ///
    /// # Errors
    /// An error object, or anything that is no answer.
    pub fn parse(document: &'a str, wrapped: bool) -> Result<Self, NotAnAnswer> {
        let unreadable = |error: serde_json::Error| NotAnAnswer::Unreadable(error.to_string());
        if !document.trim_start().starts_with('{') {
            return Err(NotAnAnswer::Unreadable("it is no JSON object".to_owned()));
        }
        let wire: Wire<'a> = if wrapped {
            let envelope: Envelope<'a> = serde_json::from_str(document).map_err(unreadable)?;
            match envelope {
                Envelope {
                    error: Some(error), ..
                } => return Err(NotAnAnswer::Error(error.get().to_owned())),
                Envelope {
                    response: Some(wire),
                    ..
                } => wire,
                // Some answers come without their envelope.
                Envelope { .. } => serde_json::from_str(document).map_err(unreadable)?,
            }
        } else {
            serde_json::from_str(document).map_err(unreadable)?
        };
        if let Some(error) = wire.error {
            return Err(NotAnAnswer::Error(error.get().to_owned()));
        }
        let this = Self(wire);
        if this
            .candidates()
            .any(|candidate| candidate.index() >= MAX_CANDIDATES)
        {
            return Err(NotAnAnswer::Unreadable(
                "it has more candidates than anybody asks for".to_owned(),
            ));
        }
        let broken = |part: &Part<'_>| part.function_call.is_some_and(|call| call.is_broken());
        if this
            .candidates()
            .any(|candidate| candidate.parts().any(broken))
        {
            return Err(NotAnAnswer::broken_call());
        }
        Ok(this)
    }

    fn candidates(&self) -> impl Iterator<Item = &Candidate<'a>> {
        self.0.candidates.iter().flatten().flatten()
    }

    /// Hands out its events in order.
    pub fn events(&self, mut each: impl FnMut(Event<'_>)) {
        let wire = &self.0;
        for candidate in self.candidates() {
            candidate.events(&mut each);
        }
        if let Some(usage) = &wire.usage_metadata {
            each(Event::Usage(usage));
        }
        if let Some(feedback) = &wire.prompt_feedback
            && (feedback.block_reason.is_some() || feedback.block_reason_message.is_some())
        {
            each(Event::Blocked {
                reason: feedback.block_reason.map(|raw| match json::string(raw) {
                    Ok(name) => name.text(),
                    Err(_) => raw.get().into(),
                }),
                message: feedback.block_reason_message.map(JsonStr::text),
            });
        }
    }
}

fn finish_reason(raw: &RawValue) -> Option<FinishReason> {
    match json::string(raw) {
        Ok(name) => FinishReason::named(&name.text()),
        Err(_) => json::integer(raw)
            .ok()
            .and_then(|number| u64::try_from(number).ok())
            .and_then(FinishReason::numbered),
    }
}

impl<'a> Candidate<'a> {
    fn index(&self) -> u32 {
        self.index.unwrap_or(0)
    }

    fn parts(&self) -> impl Iterator<Item = &Part<'a>> {
        let parts = self.content.iter().flat_map(|content| &content.parts);
        parts.flatten().flatten()
    }

    fn events(&self, each: &mut impl FnMut(Event<'_>)) {
        let index = self.index();
        each(Event::Candidate { index });
        // Before the text that they belong to, which they are told with.
        if let Some(raw) = self.logprobs_result
            && let Ok(logprobs) = serde_json::from_str(raw.get())
        {
            each(Event::Logprobs { index, logprobs });
        }
        for part in self.parts() {
            let kind = part.kind();
            each(Event::Part { index, kind });
            part.events(index, each);
        }
        for (about, raw) in [
            (Metadata::Grounding, self.grounding_metadata),
            (Metadata::UrlContext, self.url_context_metadata),
        ] {
            // Chunks before the one that has it carry an empty object.
            if let Some(raw) = raw.filter(|raw| json::object(raw).is_ok_and(|it| !it.is_empty())) {
                each(Event::Metadata { index, about, raw });
            }
        }
        if let Some(raw) = self.grounding_metadata {
            grounding::grounded(raw, |citation| each(Event::Cited { index, citation }));
        }
        if let Some(raw) = self.citation_metadata {
            grounding::recited(raw, |citation| each(Event::Cited { index, citation }));
        }
        if let Some(reason) = self.finish_reason.and_then(finish_reason) {
            let message = self.finish_message.and_then(|raw| json::string(raw).ok());
            each(Event::Finish {
                index,
                reason,
                message,
            });
        }
    }
}

impl Part<'_> {
    fn kind(&self) -> PartKind {
        if self.thought == Some(true) {
            PartKind::Thought
        } else if self.text.is_some() {
            PartKind::Text
        } else {
            PartKind::Other
        }
    }

    fn events(&self, index: u32, each: &mut impl FnMut(Event<'_>)) {
        let signature = self
            .thought_signature
            .filter(|signature| !signature.is_empty());
        if let Some(call) = self.function_call {
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
        if self.thought == Some(true) {
            if self.text.is_some() || signature.is_some() {
                each(Event::Thought {
                    index,
                    text: self.text.unwrap_or(JsonStr::EMPTY),
                    signature,
                });
            }
            return;
        }
        if let Some(blob) = &self.inline_data
            && let (Some(mime), Some(data)) = (blob.mime_type, blob.data)
        {
            each(Event::Media {
                index,
                mime,
                data,
                signature,
            });
        } else if let Some(program) = &self.executable_code
            && let Some(code) = program.code
        {
            each(Event::Code {
                index,
                language: program.language.and_then(|raw| json::string(raw).ok()),
                code,
                signature,
            });
        } else if let Some(result) = &self.code_execution_result
            && let Some(output) = result.told()
        {
            each(Event::CodeOutput {
                index,
                output,
                signature,
            });
        } else if let Some(file) = &self.file_data
            && let Some(uri) = file.file_uri
        {
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

    fn told(document: &str, wrapped: bool) -> Result<Vec<String>, NotAnAnswer> {
        let mut events = Vec::new();
        Response::parse(document, wrapped)?.events(|event| {
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
        });
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
