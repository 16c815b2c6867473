//! What a model's name tells about what it accepts.

/// Which of Google's APIs takes the request. They differ in small ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Cloud Code, `v1internal`: Vertex's types behind an envelope.
    CodeAssist,
    /// The public Gemini API.
    GeminiApi,
    /// Vertex AI.
    Vertex,
}

/// Which generation of models a name belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Generation {
    /// Gemini 1.0 to 2.0.
    Gemini2,
    /// Gemini 2.5: thinking is a budget.
    Gemini25,
    /// Gemini 3 and later, and every name that is not known: thinking is a level,
    /// and function calls carry thought signatures.
    Gemini3,
    /// Claude behind Code Assist.
    Claude,
    /// GPT-OSS behind Code Assist.
    GptOss,
}

impl Generation {
    /// The generation of a model id. Names that are not known count as the newest
    /// generation, so that tomorrow's model works today.
    #[must_use]
    pub fn of(model: &str) -> Self {
        let model = model.rsplit('/').next().unwrap_or(model);
        let old = [
            "gemini-1.",
            "gemini-2.0",
            "gemini-pro",
            "gemini-exp-",
            "learnlm-1.",
            "gemma-",
        ];
        if model.starts_with("claude") {
            Self::Claude
        } else if model.starts_with("gpt-oss") {
            Self::GptOss
        } else if model.starts_with("gemini-2.5") {
            Self::Gemini25
        } else if old.iter().any(|prefix| model.starts_with(prefix))
            && model != "gemini-pro-agent"
            && model != "gemini-pro-latest"
        {
            Self::Gemini2
        } else {
            Self::Gemini3
        }
    }

    /// Whether function declarations may carry plain JSON Schema
    /// (`parametersJsonSchema`, `responseJsonSchema`) on this API.
    #[must_use]
    pub fn takes_json_schema(self, dialect: Dialect) -> bool {
        match dialect {
            Dialect::GeminiApi | Dialect::Vertex => {
                matches!(self, Self::Gemini25 | Self::Gemini3)
            }
            // Clients of Code Assist convert; whether every model family behind it
            // takes JSON Schema is not known.
            Dialect::CodeAssist => false,
        }
    }

    /// Whether its parts have Gemini's signatures: others would refuse them.
    #[must_use]
    pub fn knows_signatures(self) -> bool {
        matches!(self, Self::Gemini25 | Self::Gemini3)
    }

    /// Whether a history needs thought signatures on its function calls.
    #[must_use]
    pub fn demands_signatures(self) -> bool {
        self == Self::Gemini3
    }
}

/// The model id without the prefixes that OpenAI clients of Google's own endpoints put before it.
#[must_use]
pub fn bare(model: &str) -> &str {
    let model = model.strip_prefix("models/").unwrap_or(model);
    model.strip_prefix("google/").unwrap_or(model)
}

/// Whether the model makes images.
#[must_use]
pub fn makes_images(model: &str) -> bool {
    model.contains("-image")
}

/// Whether the model answers in speech alone.
#[must_use]
pub fn speaks(model: &str) -> bool {
    model.contains("-tts")
}

/// Whether the model takes a system instruction; Gemma does not.
#[must_use]
pub fn takes_instructions(model: &str) -> bool {
    !model.starts_with("gemma-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations() {
        for (model, generation) in [
            ("gemini-1.5-pro-003", Generation::Gemini2),
            ("gemini-2.0-flash", Generation::Gemini2),
            ("gemini-2.5-flash-lite", Generation::Gemini25),
            ("models/gemini-2.5-pro", Generation::Gemini25),
            ("gemini-3.8-flash-high", Generation::Gemini3),
            ("gemini-pro-agent", Generation::Gemini3),
            ("tomorrow", Generation::Gemini3),
            ("claude-opus-4-6-thinking", Generation::Claude),
            ("gpt-oss-120b-medium", Generation::GptOss),
        ] {
            assert_eq!(Generation::of(model), generation, "{model}");
        }
        assert_eq!(bare("models/x"), "x");
        assert_eq!(bare("google/gemini-3"), "gemini-3");
    }
}
