//! What is written beside the conversation: tools, which of them to call, and how to generate.

use super::{
    model::{Dialect, Generation},
    request::{Calling, Format, Function, GenerationConfig, GoogleTool, Mode, Part, Request},
    thinking,
    write::{Context, comma},
};
use crate::{json::write_string, schema};

/// The member of `toolConfig` that goes out as it came.
pub(crate) const RETRIEVAL: &str = "retrievalConfig";

impl Request<'_> {
    /// The functions that the model is told of. Up to 2.5 models call them though they must not,
    /// which ends an answer: they are told when the history speaks of them alone.
    fn told_functions(&self, context: Context<'_>) -> &[Function<'_>] {
        let mut parts = self.contents.iter().flat_map(|content| &content.parts);
        let must_not = self
            .calling
            .as_ref()
            .is_some_and(|it| it.mode == Mode::None);
        let would = matches!(
            context.generation,
            Generation::Gemini2 | Generation::Gemini25
        );
        if must_not && would && !parts.any(|part| matches!(part, Part::Call(_))) {
            return &[];
        }
        &self.functions
    }

    /// Appends `tools` and `toolConfig`.
    pub(super) fn write_tools(&self, context: Context<'_>, out: &mut Vec<u8>) {
        let functions = self.told_functions(context);
        if !functions.is_empty() || !self.google_tools.is_empty() {
            out.extend_from_slice(b",\"tools\":[");
            if !functions.is_empty() {
                out.extend_from_slice(b"{\"functionDeclarations\":[");
                for (at, function) in functions.iter().enumerate() {
                    comma(at, out);
                    function.write(functions.len(), context, out);
                }
                out.extend_from_slice(b"]}");
            }
            // Each of Google's tools in a tool of its own: together they are refused.
            for (at, tool) in self.google_tools.iter().enumerate() {
                comma(at + usize::from(!functions.is_empty()), out);
                tool.write(out);
            }
            out.push(b']');
        }
        let mut config: Vec<u8> = Vec::new();
        let is_claude = context.generation == Generation::Claude;
        match &self.calling {
            // As Google's own client asks Claude.
            None
            | Some(Calling {
                mode: Mode::Auto, ..
            }) if is_claude && !functions.is_empty() => {
                config.extend_from_slice(b",\"functionCallingConfig\":{\"mode\":\"VALIDATED\"}");
            }
            Some(calling) if !functions.is_empty() => calling.write(&mut config),
            _ => {}
        }
        let together = !functions.is_empty() && !self.google_tools.is_empty();
        if together
            && context.generation == Generation::Gemini3
            && context.dialect == Dialect::GeminiApi
        {
            config.extend_from_slice(b",\"includeServerSideToolInvocations\":true");
        }
        for (name, value) in self.verbatim.iter().filter(|(name, _)| *name == RETRIEVAL) {
            config.extend_from_slice(format!(",\"{name}\":{value}").as_bytes());
        }
        if let Some(members) = config.get(1..) {
            out.extend_from_slice(b",\"toolConfig\":{");
            out.extend_from_slice(members);
            out.push(b'}');
        }
    }
}

impl Function<'_> {
    /// `of`: how many there are.
    fn write(&self, of: usize, context: Context<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"name\":");
        write_string(out, &self.name);
        if let Some(description) = self.description {
            out.extend_from_slice(b",\"description\":");
            out.extend_from_slice(description.token().as_bytes());
        }
        let subset = schema::Subset::of(context.generation);
        let native = context.generation.takes_json_schema(context.dialect);
        match self.parameters {
            Some(parameters) if native && parameters.is_standard => {
                out.extend_from_slice(b",\"parametersJsonSchema\":");
                out.extend_from_slice(parameters.raw.get().as_bytes());
            }
            parameters => {
                let converted =
                    parameters.and_then(|schema| schema::arguments(schema.raw, subset, of));
                if let Some(converted) = converted.or_else(|| schema::nothing(subset)) {
                    out.extend_from_slice(b",\"parameters\":");
                    out.extend_from_slice(converted.as_bytes());
                }
            }
        }
        out.push(b'}');
    }
}

impl GoogleTool<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let settings = self.settings.map_or("{}", |settings| settings.get());
        out.extend_from_slice(format!("{{\"{}\":{settings}}}", self.name).as_bytes());
    }
}

impl Calling<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let mode = match self.mode {
            Mode::Auto => "AUTO",
            Mode::Validated => "VALIDATED",
            Mode::None => "NONE",
            Mode::Any => "ANY",
        };
        out.extend_from_slice(
            format!(",\"functionCallingConfig\":{{\"mode\":\"{mode}\"").as_bytes(),
        );
        if !self.allowed.is_empty() {
            out.extend_from_slice(b",\"allowedFunctionNames\":[");
            for (at, name) in self.allowed.iter().enumerate() {
                comma(at, out);
                write_string(out, name);
            }
            out.push(b']');
        }
        out.push(b'}');
    }
}

impl GenerationConfig<'_> {
    /// Appends `generationConfig`.
    pub(super) fn write(
        &self,
        context: Context<'_>,
        thinking: Option<thinking::Config>,
        out: &mut Vec<u8>,
    ) {
        let begin = out.len();
        let mut member = |name: &str, value: &str| {
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            out.extend_from_slice(value.as_bytes());
        };
        if let Some(temperature) = self.temperature {
            member("temperature", temperature.get());
        }
        if let Some(top_p) = self.top_p {
            member("topP", top_p.get());
        }
        if let Some(top_k) = self.top_k {
            member("topK", &top_k.to_string());
        }
        let least = thinking.as_ref().and_then(|thinking| thinking.least_output);
        if let Some(max) = self.max_output_tokens.or(least) {
            member("maxOutputTokens", &max.to_string());
        }
        if !self.stop.is_empty() {
            let tokens: Vec<&str> = self.stop.iter().map(|stop| stop.token()).collect();
            member("stopSequences", &format!("[{}]", tokens.join(",")));
        }
        if let Some(seed) = self.seed {
            member("seed", &seed.to_string());
        }
        if let Some(candidates) = self.candidates {
            member("candidateCount", &candidates.to_string());
        }
        if let Some(alternatives) = self.logprobs {
            member("responseLogprobs", "true");
            member("logprobs", &alternatives.to_string());
        }
        if let Some(thinking) = &thinking {
            member("thinkingConfig", &thinking.json);
        }
        if !self.modalities.is_empty() {
            member(
                "responseModalities",
                &format!("[\"{}\"]", self.modalities.join("\",\"")),
            );
        }
        if let Some(voice) = self.voice {
            let voice = voice.token();
            member(
                "speechConfig",
                &format!(
                    "{{\"voiceConfig\":{{\"prebuiltVoiceConfig\":{{\"voiceName\":{voice}}}}}}}"
                ),
            );
        }
        if let Some(resolution) = self.resolution {
            member("mediaResolution", &format!("\"{resolution}\""));
        }
        if let Some(format) = self.format {
            member("responseMimeType", "\"application/json\"");
            if let Format::Schema(schema) = format {
                let native = context.generation.takes_json_schema(context.dialect);
                if native && schema.is_standard {
                    member("responseJsonSchema", schema.raw.get());
                } else if let Some(converted) =
                    schema::answer(schema.raw, schema::Subset::of(context.generation))
                {
                    member("responseSchema", &converted);
                }
            }
        }
        for (name, value) in &self.verbatim {
            member(name, value.get());
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
