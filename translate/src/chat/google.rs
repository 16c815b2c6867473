//! What OpenAI has no words for and Gemini does: `extra_body.google`, as Google's own
//! OpenAI endpoint has it (<https://ai.google.dev/gemini-api/docs/openai>), and the tools
//! that Google runs itself.

use super::request::{Ignored, read, text, verbatim};
use crate::{
    error::InvalidRequest,
    gemini::{
        request::{GoogleTool, Thinking, Verbatim},
        settings::RETRIEVAL,
    },
    json::{self, Object, Path, Raw},
};

/// What was asked of Google alone.
#[derive(Debug, Default)]
pub(super) struct Google<'a> {
    pub(super) tools: Vec<GoogleTool<'a>>,
    pub(super) thinking: Thinking,
    /// Where a level or a budget was given.
    pub(super) amount_at: Option<String>,
    /// Where a cached content was given.
    pub(super) cached_at: Option<String>,
    /// Members of the request.
    pub(super) request: Vec<Verbatim<'a>>,
    /// Members of `generationConfig`.
    pub(super) config: Vec<Verbatim<'a>>,
}

/// Google's tools, by their names in Google's JSON.
const TOOLS: &[&str] = &[
    "googleSearch",
    "urlContext",
    "codeExecution",
    "googleMaps",
    "enterpriseWebSearch",
];

/// How tools of Google's own are called among `tools`.
pub(super) const TOOL_TYPES: &str =
    "'web_search', 'google_search', 'url_context', 'code_execution' and 'google_maps'";

/// Members that go out as they came: their name, Google's name, and whether they belong to
/// `generationConfig`.
const VERBATIM: &[(&str, &str, bool, json::Kind)] = &[
    ("cached_content", "cachedContent", false, json::Kind::String),
    ("image_config", "imageConfig", true, json::Kind::Object),
    ("labels", "labels", false, json::Kind::Object),
    (
        "media_resolution",
        "mediaResolution",
        true,
        json::Kind::String,
    ),
    ("retrieval_config", RETRIEVAL, false, json::Kind::Object),
    (
        "safety_settings",
        "safetySettings",
        false,
        json::Kind::Array,
    ),
    ("speech_config", "speechConfig", true, json::Kind::Object),
];

/// `googleSearch` of `google_search`.
fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        match c {
            '_' => upper = true,
            c if std::mem::take(&mut upper) => out.extend(c.to_uppercase()),
            c => out.push(c),
        }
    }
    out
}

impl<'a> Google<'a> {
    /// Reads `google`, `extra_body.google` and `web_search_options`.
    pub(super) fn read(object: &Object<'a>, ignored: &mut Ignored) -> Result<Self, InvalidRequest> {
        let mut google = Self::default();
        if let Some(raw) = object.get("web_search_options") {
            let path = Path::Root.key("web_search_options");
            for (key, _) in read(raw, &path, json::object)?.iter() {
                ignored.insert(path.key(&key).to_string());
            }
            google.add("googleSearch", None, &path)?;
        }
        // SDKs put what is in `extra_body` beside the other fields; some put it in twice.
        if let Some(raw) = object.get("extra_body") {
            let path = Path::Root.key("extra_body");
            for (key, raw) in read(raw, &path, json::object)?.iter() {
                let path = path.key(&key);
                if key == "google" {
                    google.members(raw, &path, ignored)?;
                } else {
                    ignored.insert(path.to_string());
                }
            }
        }
        if let Some(raw) = object.get("google") {
            google.members(raw, &Path::Root.key("google"), ignored)?;
        }
        Ok(google)
    }

    fn members(
        &mut self,
        raw: Raw<'a>,
        path: &Path<'_>,
        ignored: &mut Ignored,
    ) -> Result<(), InvalidRequest> {
        for (key, raw) in read(raw, path, json::object)?.iter() {
            let path = path.key(&key);
            match &*key {
                "thinking_config" | "thinkingConfig" => self.thinking(raw, &path, ignored)?,
                "tools" => self.listed(raw, &path, ignored)?,
                _ => {
                    let known = VERBATIM
                        .iter()
                        .find(|(snake, camel, ..)| key == *snake || key == *camel);
                    let Some((_, name, is_setting, kind)) = known else {
                        ignored.insert(path.to_string());
                        continue;
                    };
                    read(raw, &path, |raw| json::of_kind(raw, *kind))?;
                    let raw = verbatim(raw, &path)?;
                    let members = if *is_setting {
                        &mut self.config
                    } else {
                        &mut self.request
                    };
                    once(members.iter().any(|(other, _)| other == name), &path)?;
                    members.push((name, raw));
                    if *name == "cachedContent" {
                        self.cached_at = Some(path.to_string());
                    }
                }
            }
        }
        Ok(())
    }

    /// `thinking_config`, in Google's two spellings.
    fn thinking(
        &mut self,
        raw: Raw<'a>,
        path: &Path<'_>,
        ignored: &mut Ignored,
    ) -> Result<(), InvalidRequest> {
        for (key, raw) in read(raw, path, json::object)?.iter() {
            let at = path.key(&key);
            match &*key {
                "thinking_level" | "thinkingLevel" => {
                    let level = text(raw, &at)?.text().to_ascii_uppercase();
                    let known = ["MINIMAL", "LOW", "MEDIUM", "HIGH"];
                    let Some(level) = known.into_iter().find(|known| *known == level) else {
                        let why = "supported values are 'minimal', 'low', 'medium' and 'high'.";
                        return Err(InvalidRequest::value(&at, why));
                    };
                    once(self.thinking.level.is_some(), &at)?;
                    self.thinking.level = Some(level);
                    self.amount_at = Some(at.to_string());
                }
                "thinking_budget" | "thinkingBudget" => {
                    let budget = read(raw, &at, json::integer)?;
                    if !(-1..=i64::from(i32::MAX)).contains(&budget) {
                        let why =
                            "expected a number of tokens, 0 for none or -1 for the model's choice.";
                        return Err(InvalidRequest::value(&at, why));
                    }
                    once(self.thinking.budget.is_some(), &at)?;
                    self.thinking.budget = Some(budget);
                    self.amount_at = Some(at.to_string());
                }
                "include_thoughts" | "includeThoughts" => {
                    once(self.thinking.include_thoughts.is_some(), &at)?;
                    self.thinking.include_thoughts = Some(read(raw, &at, json::boolean)?);
                }
                _ => {
                    ignored.insert(at.to_string());
                }
            }
        }
        if self.thinking.level.is_some() && self.thinking.budget.is_some() {
            return Err(InvalidRequest::value(
                path,
                "'thinking_level' and 'thinking_budget' cannot both be given.",
            ));
        }
        Ok(())
    }

    /// `google.tools`: tools as Google's API lists them.
    fn listed(
        &mut self,
        raw: Raw<'a>,
        path: &Path<'_>,
        ignored: &mut Ignored,
    ) -> Result<(), InvalidRequest> {
        for (at, raw) in read(raw, path, json::array)?.into_iter().enumerate() {
            let path = path.index(at);
            let tool = read(raw, &path, json::object)?;
            if !self.tool(&tool, &path, ignored)? {
                return Err(InvalidRequest::unsupported(
                    &path,
                    "Of Google's own tools, google_search, url_context, code_execution, \
                     google_maps and enterprise_web_search are served; functions belong in 'tools'.",
                ));
            }
        }
        Ok(())
    }

    /// Takes a tool that is Google's own: `{"google_search": {}}`, as Google writes it, or
    /// `{"type": "web_search"}`, as OpenAI does.
    pub(super) fn tool(
        &mut self,
        tool: &Object<'a>,
        path: &Path<'_>,
        ignored: &mut Ignored,
    ) -> Result<bool, InvalidRequest> {
        if let Some(raw) = tool.get("type") {
            let kind = text(raw, &path.key("type"))?.text();
            let name = match &*kind {
                "function" | "custom" => return Ok(false),
                kind if kind.starts_with("web_search") => "googleSearch",
                "code_interpreter" => "codeExecution",
                kind => match TOOLS.iter().find(|name| **name == camel(kind)) {
                    Some(name) => name,
                    None => return Ok(false),
                },
            };
            for (key, _) in tool.iter().filter(|(key, _)| *key != "type") {
                ignored.insert(format!("tools[].{key}"));
            }
            self.add(name, None, path)?;
            return Ok(true);
        }
        let mut found = false;
        for (key, raw) in tool.iter() {
            let known = TOOLS.iter().find(|name| **name == camel(&key));
            let Some(name) = known else {
                return Ok(false);
            };
            let path = path.key(&key);
            let settings = read(raw, &path, json::object)?;
            let said = verbatim(raw, &path)?;
            self.add(name, Some(said).filter(|_| !settings.is_empty()), &path)?;
            found = true;
        }
        Ok(found)
    }

    fn add(
        &mut self,
        name: &'static str,
        settings: Option<Raw<'a>>,
        path: &Path<'_>,
    ) -> Result<(), InvalidRequest> {
        match self.tools.iter_mut().find(|tool| tool.name == name) {
            Some(tool) => {
                once(tool.settings.is_some() && settings.is_some(), path)?;
                tool.settings = tool.settings.or(settings);
            }
            None => self.tools.push(GoogleTool { name, settings }),
        }
        Ok(())
    }
}

/// What Google takes one of can be said in two spellings and two places: the second is refused,
/// since whichever counted, the other would be dropped.
fn once(is_given: bool, path: &Path<'_>) -> Result<(), InvalidRequest> {
    if is_given {
        return Err(InvalidRequest::value(path, "it is given twice."));
    }
    Ok(())
}
