//! The models that this Google serves, where, and what each can do.

use serde::{Deserialize, Serialize};

/// One of Google's three ways in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Upstream {
    /// Cloud Code Assist, `/v1internal:*`.
    CodeAssist,
    /// The Gemini API, `/v1beta/models/*`.
    Gemini,
    /// Vertex AI, `/v1/projects/*/locations/*/publishers/google/models/*`.
    Vertex,
}

/// Models that share a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// Google's own models.
    Gemini,
    /// Claude and GPT models.
    ThirdParty,
}

/// A model.
#[derive(Clone, Debug)]
pub struct Model {
    /// The bare id, as paths and bodies name it.
    pub id: String,
    /// The name that lists show.
    pub display_name: String,
    /// Where it is served.
    pub upstreams: Vec<Upstream>,
    /// Tokens that a prompt may have.
    pub input_token_limit: u64,
    /// Tokens that an answer may have.
    pub output_token_limit: u64,
    /// What it makes.
    pub kind: Kind,
    /// Left of its Code Assist quota in lists, 0 to 1; 0 is left out of the JSON, as proto3 does.
    pub remaining_fraction: f64,
    /// Whether lists should not show it to people (completion models).
    pub hidden: bool,
}

/// What a model makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text, after thinking.
    Thinking,
    /// Text, without thinking.
    Plain,
    /// Text and images.
    Image,
    /// Embeddings.
    Embedding,
}

impl Model {
    /// A thinking model with the usual limits of a Gemini.
    pub fn new(id: &str, display_name: &str, upstreams: &[Upstream]) -> Self {
        Self {
            id: id.to_owned(),
            display_name: display_name.to_owned(),
            upstreams: upstreams.to_vec(),
            input_token_limit: 1_048_576,
            output_token_limit: 65_536,
            kind: Kind::Thinking,
            remaining_fraction: 1.0,
            hidden: false,
        }
    }

    /// A model that is in no list: what its name tells about it.
    pub(crate) fn unlisted(id: &str) -> Self {
        let mut model = Self::new(
            id,
            id,
            &[Upstream::CodeAssist, Upstream::Gemini, Upstream::Vertex],
        );
        if id.contains("embedding") {
            model.kind = Kind::Embedding;
        } else if id.contains("image") {
            model.kind = Kind::Image;
        } else if id.starts_with("gemini-1")
            || id.starts_with("gemini-2.0")
            || id.starts_with("gpt-")
        {
            model.kind = Kind::Plain;
        }
        model
    }

    /// The quota that it draws on.
    pub fn group(&self) -> Group {
        if self.family() == Family::Gemini {
            Group::Gemini
        } else {
            Group::ThirdParty
        }
    }

    pub(crate) fn family(&self) -> Family {
        if self.id.starts_with("claude") {
            Family::Claude
        } else if self.id.starts_with("gpt") {
            Family::Gpt
        } else {
            Family::Gemini
        }
    }

    /// Gemini 3 and later, which check thought signatures.
    pub(crate) fn checks_signatures(&self) -> bool {
        is_gemini_3(&self.id)
    }

    pub(crate) fn thinks(&self) -> bool {
        matches!(self.kind, Kind::Thinking | Kind::Image)
    }
}

/// Whether the name is of Gemini 3 or later.
pub(crate) fn is_gemini_3(id: &str) -> bool {
    id.starts_with("gemini-3")
}

/// Whose model it is: decides the form of ids and of some errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Gemini,
    Claude,
    Gpt,
}

/// A small selection of what Google lists, different on each upstream.
pub(crate) fn default_models() -> Vec<Model> {
    use Upstream::{CodeAssist, Gemini, Vertex};
    let everywhere = [CodeAssist, Gemini, Vertex];
    let official = [Gemini, Vertex];
    let mut models = vec![
        Model::new("gemini-2.5-pro", "Gemini 2.5 Pro", &everywhere),
        Model::new("gemini-2.5-flash", "Gemini 2.5 Flash", &everywhere),
        Model::new(
            "gemini-2.5-flash-lite",
            "Gemini 2.5 Flash-Lite",
            &everywhere,
        ),
        Model::new("gemini-2.0-flash", "Gemini 2.0 Flash", &official),
        Model::new("gemini-3-pro-preview", "Gemini 3 Pro Preview", &official),
        Model::new(
            "gemini-3-flash-preview",
            "Gemini 3 Flash Preview",
            &official,
        ),
        Model::new(
            "gemini-3.1-pro-preview",
            "Gemini 3.1 Pro Preview",
            &official,
        ),
        Model::new("gemini-3-flash", "Gemini 3 Flash", &[CodeAssist]),
        Model::new(
            "gemini-3.1-flash-lite",
            "Gemini 3.1 Flash-Lite",
            &everywhere,
        ),
        Model::new("gemini-3.1-pro-low", "Gemini 3.1 Pro (Low)", &[CodeAssist]),
        Model::new(
            "gemini-3.1-pro-high",
            "Gemini 3.1 Pro (High)",
            &[CodeAssist],
        ),
        Model::new(
            "gemini-3.8-flash-high",
            "Gemini 3.8 Flash (High)",
            &[CodeAssist],
        ),
        Model::new("gemini-3.8-flash-tiered", "Gemini 3.8 Flash", &[CodeAssist]),
        Model::new(
            "gemini-2.5-flash-image",
            "Gemini 2.5 Flash Image",
            &official,
        ),
        Model::new(
            "gemini-3.1-flash-image",
            "Gemini 3.1 Flash Image",
            &everywhere,
        ),
        Model::new("claude-sonnet-4-6", "Claude Sonnet 4.6", &[CodeAssist]),
        Model::new(
            "claude-opus-4-6-thinking",
            "Claude Opus 4.6 (Thinking)",
            &[CodeAssist],
        ),
        Model::new(
            "gpt-oss-120b-medium",
            "GPT-OSS 120B (Medium)",
            &[CodeAssist],
        ),
        Model::new("gemini-embedding-001", "Gemini Embedding 001", &official),
        Model::new("chat_20706", "", &[CodeAssist]),
        Model::new("tab_flash_lite_preview", "", &[CodeAssist]),
    ];
    for model in &mut models {
        match model.id.as_str() {
            "gemini-2.0-flash" => {
                model.kind = Kind::Plain;
                model.output_token_limit = 8_192;
            }
            "gemini-2.5-flash-image" | "gemini-3.1-flash-image" => {
                model.kind = Kind::Image;
                model.input_token_limit = 65_536;
                model.output_token_limit = 32_768;
            }
            "gemini-embedding-001" => {
                model.kind = Kind::Embedding;
                model.input_token_limit = 2_048;
                model.output_token_limit = 1;
            }
            "claude-sonnet-4-6" => {
                model.kind = Kind::Plain;
                model.input_token_limit = 200_000;
                model.output_token_limit = 64_000;
            }
            "claude-opus-4-6-thinking" => {
                model.input_token_limit = 200_000;
                model.output_token_limit = 64_000;
                model.remaining_fraction = 0.0;
            }
            "gpt-oss-120b-medium" => {
                model.kind = Kind::Plain;
                model.input_token_limit = 114_000;
                model.output_token_limit = 32_768;
            }
            "chat_20706" | "tab_flash_lite_preview" => {
                model.kind = Kind::Plain;
                model.hidden = true;
            }
            "gemini-3.8-flash-high" => model.remaining_fraction = 0.782_987_5,
            _ => {}
        }
    }
    models
}
