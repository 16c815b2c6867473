//! A request as the model reads it.

use std::collections::HashSet;

use crate::json::Json;

/// The parts of a request that decide the answer. Reads what is there and passes over what is not.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    request: &'a Json,
}

/// A function that the model may call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool<'a> {
    pub(crate) name: &'a str,
    pub(crate) schema: Option<&'a Json>,
}

/// `functionCallingConfig.mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Auto,
    Any,
    None,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(request: &'a Json) -> Self {
        Self { request }
    }

    fn contents(&self) -> &'a [Json] {
        self.request
            .get("contents")
            .map(Json::items)
            .unwrap_or_default()
    }

    /// The parts of the last turn.
    pub(crate) fn last_parts(&self) -> &'a [Json] {
        self.contents()
            .last()
            .and_then(|content| content.get("parts"))
            .map(Json::items)
            .unwrap_or_default()
    }

    /// What the user said last, in the last turn or before.
    pub(crate) fn last_text(&self) -> String {
        let user = |content: &&Json| content.get("role").and_then(Json::as_str) != Some("model");
        self.contents()
            .iter()
            .rev()
            .filter(user)
            .map(text_of)
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    }

    /// What the user says in the very last turn.
    pub(crate) fn text_of_last_turn(&self) -> String {
        self.contents()
            .last()
            .filter(|content| content.get("role").and_then(Json::as_str) != Some("model"))
            .map(text_of)
            .unwrap_or_default()
    }

    /// Names and results of the functions that the last turn answers for.
    pub(crate) fn results(&self) -> Vec<(&'a str, &'a Json)> {
        self.last_parts()
            .iter()
            .filter_map(|part| part.either("functionResponse", "function_response"))
            .filter_map(|response| {
                Some((response.get("name")?.as_str()?, response.get("response")?))
            })
            .collect()
    }

    /// How many media the last turn brings.
    pub(crate) fn media(&self) -> usize {
        let medium = |part: &&Json| {
            part.either("inlineData", "inline_data")
                .or_else(|| part.either("fileData", "file_data"))
                .is_some()
        };
        self.last_parts().iter().filter(medium).count()
    }

    /// The functions that are declared and allowed.
    pub(crate) fn tools(&self) -> Vec<Tool<'a>> {
        let declared = self
            .request
            .get("tools")
            .map(Json::items)
            .unwrap_or_default()
            .iter()
            .filter_map(|tool| tool.either("functionDeclarations", "function_declarations"))
            .flat_map(Json::items)
            .filter_map(|declaration| {
                Some(Tool {
                    name: declaration.get("name")?.as_str()?,
                    schema: declaration.get("parameters").or_else(|| {
                        declaration.either("parametersJsonSchema", "parameters_json_schema")
                    }),
                })
            });
        let allowed: HashSet<&str> = self
            .calling()
            .and_then(|config| config.either("allowedFunctionNames", "allowed_function_names"))
            .map(Json::items)
            .unwrap_or_default()
            .iter()
            .filter_map(Json::as_str)
            .collect();
        declared
            .filter(|tool| allowed.is_empty() || allowed.contains(tool.name))
            .collect()
    }

    fn calling(&self) -> Option<&'a Json> {
        self.request
            .either("toolConfig", "tool_config")?
            .either("functionCallingConfig", "function_calling_config")
    }

    pub(crate) fn mode(&self) -> Mode {
        match self.calling().and_then(|config| config.get("mode")) {
            Some(Json::String(mode)) if mode.eq_ignore_ascii_case("ANY") => Mode::Any,
            Some(Json::String(mode)) if mode.eq_ignore_ascii_case("NONE") => Mode::None,
            Some(mode) if mode.as_u64() == Some(2) => Mode::Any,
            Some(mode) if mode.as_u64() == Some(3) => Mode::None,
            _ => Mode::Auto,
        }
    }

    /// A field of `generationConfig`.
    pub(crate) fn setting(&self, camel: &str, snake: &str) -> Option<&'a Json> {
        self.request
            .either("generationConfig", "generation_config")?
            .either(camel, snake)
    }

    fn thinking(&self) -> Option<&'a Json> {
        self.setting("thinkingConfig", "thinking_config")
    }

    pub(crate) fn includes_thoughts(&self) -> bool {
        self.thinking()
            .and_then(|config| config.either("includeThoughts", "include_thoughts"))
            .and_then(Json::as_bool)
            .unwrap_or(false)
    }

    pub(crate) fn thinking_is_off(&self) -> bool {
        self.thinking()
            .and_then(|config| config.either("thinkingBudget", "thinking_budget"))
            .and_then(Json::as_f64)
            .is_some_and(|budget| budget == 0.0)
    }

    /// The schema that the answer has to fit, in either dialect.
    pub(crate) fn response_schema(&self) -> Option<&'a Json> {
        self.setting("responseSchema", "response_schema")
            .or_else(|| self.setting("responseJsonSchema", "response_json_schema"))
            .or_else(|| self.setting("_responseJsonSchema", "_response_json_schema"))
    }

    pub(crate) fn response_mime_type(&self) -> &'a str {
        self.setting("responseMimeType", "response_mime_type")
            .and_then(Json::as_str)
            .unwrap_or("text/plain")
    }

    /// Whether the answer may hold `IMAGE` or `AUDIO`; `number` is its number in the proto.
    pub(crate) fn wants(&self, modality: &str, number: u64) -> bool {
        self.setting("responseModalities", "response_modalities")
            .map(Json::items)
            .unwrap_or_default()
            .iter()
            .any(|wanted| {
                wanted
                    .as_str()
                    .is_some_and(|name| name.eq_ignore_ascii_case(modality))
                    || wanted.as_u64() == Some(number)
            })
    }

    /// Whether one of Google's own tools may be used.
    pub(crate) fn may_use(&self, camel: &str, snake: &str) -> bool {
        let tools = self
            .request
            .get("tools")
            .map(Json::items)
            .unwrap_or_default();
        tools.iter().any(|tool| tool.either(camel, snake).is_some())
    }

    pub(crate) fn max_output_tokens(&self) -> Option<u64> {
        self.setting("maxOutputTokens", "max_output_tokens")
            .and_then(Json::as_u64)
            .filter(|tokens| *tokens > 0)
    }

    pub(crate) fn stop_sequences(&self) -> Vec<&'a str> {
        self.setting("stopSequences", "stop_sequences")
            .map(Json::items)
            .unwrap_or_default()
            .iter()
            .filter_map(Json::as_str)
            .collect()
    }

    pub(crate) fn candidate_count(&self) -> u64 {
        self.setting("candidateCount", "candidate_count")
            .and_then(Json::as_u64)
            .unwrap_or(1)
            .max(1)
    }

    /// How many alternatives to tell of each token; nothing when log probabilities were not asked for.
    pub(crate) fn logprobs(&self) -> Option<u64> {
        self.setting("responseLogprobs", "response_logprobs")
            .and_then(Json::as_bool)
            .filter(|wanted| *wanted)?;
        Some(
            self.setting("logprobs", "logprobs")
                .and_then(Json::as_u64)
                .unwrap_or(0),
        )
    }

    pub(crate) fn prompt_tokens(&self) -> u64 {
        super::tokens::prompt(self.request)
    }

    pub(crate) fn uses_cache(&self) -> bool {
        self.request
            .either("cachedContent", "cached_content")
            .is_some_and(|name| !name.is_empty())
    }
}

fn text_of(content: &Json) -> String {
    let parts = content.get("parts").map(Json::items).unwrap_or_default();
    let spoken = parts
        .iter()
        .filter(|part| part.get("thought").and_then(Json::as_bool) != Some(true));
    let texts: Vec<&str> = spoken
        .filter_map(|part| part.get("text")?.as_str())
        .collect();
    texts.join("\n").trim().to_owned()
}
