//! Reads a chat completions request and lowers it to Gemini's.

use std::{borrow::Cow, collections::BTreeSet};

use serde_json::value::RawValue;

use super::{
    fields::{self, Policy},
    message, tools,
};
use crate::{
    error::InvalidRequest,
    gemini::{
        model,
        request::{self as gemini, Effort, Format},
    },
    json::{self, JsonStr, Object, Path, WrongType},
};

/// How requests are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What `stream` is when the client does not say.
    pub default_stream: bool,
    /// Refuse what is otherwise ignored and named.
    pub strict_params: bool,
}

/// A request that was read and found valid, in Gemini's terms.
#[derive(Debug)]
pub struct Request<'a> {
    /// The model as the client named it.
    pub model: Cow<'a, str>,
    /// Whether the answer is a stream.
    pub stream: bool,
    /// Whether a stream ends with its usage.
    pub include_usage: bool,
    /// Whether only the first function call is handed out.
    pub first_call_only: bool,
    /// Parameters that were ignored.
    pub ignored: Vec<String>,
    /// What Gemini is asked.
    pub gemini: gemini::Request<'a>,
}

impl Request<'_> {
    /// The model id to ask upstream for.
    #[must_use]
    pub fn upstream_model(&self) -> &str {
        model::bare(&self.model)
    }

    /// How many choices the answer shall have.
    #[must_use]
    pub fn choices(&self) -> u32 {
        let wanted = self.gemini.config.candidates.unwrap_or(1);
        u32::try_from(wanted).unwrap_or(1)
    }

    /// Asks for one choice, of several that are asked for one by one.
    pub fn ask_for_one(&mut self) {
        self.gemini.config.candidates = None;
    }
}

/// Names of ignored parameters, each once, `messages[].name` for what repeats.
pub(super) type Ignored = BTreeSet<String>;

/// The value at `path`, read by `read`.
pub(super) fn read<'a, T>(
    raw: &'a RawValue,
    path: &Path<'_>,
    read: impl FnOnce(&'a RawValue) -> Result<T, WrongType>,
) -> Result<T, InvalidRequest> {
    read(raw).map_err(|wrong| {
        if wrong.expected == wrong.found {
            // Right but for a name in it that is no text.
            InvalidRequest::lone_surrogate(path)
        } else {
            InvalidRequest::wrong_type(path, wrong)
        }
    })
}

/// The text at `path`, which has to be whole.
pub(super) fn text<'a>(raw: &'a RawValue, path: &Path<'_>) -> Result<JsonStr<'a>, InvalidRequest> {
    let text = read(raw, path, json::string)?;
    if text.has_lone_surrogate() {
        return Err(InvalidRequest::lone_surrogate(path));
    }
    Ok(text)
}

/// Raw JSON at `path` that goes on as it came, whose texts have to be whole.
pub(super) fn verbatim<'a>(
    raw: &'a RawValue,
    path: &Path<'_>,
) -> Result<&'a RawValue, InvalidRequest> {
    if json::has_lone_surrogate(raw.get()) {
        return Err(InvalidRequest::lone_surrogate(path));
    }
    Ok(raw)
}

/// Reads the body of `POST /v1/chat/completions`.
///
/// # Errors
/// What is wrong with it, naming the parameter by its path.
pub fn parse<'a>(body: &'a str, options: &Options) -> Result<Request<'a>, InvalidRequest> {
    let raw: &RawValue = serde_json::from_str(body).map_err(|e| InvalidRequest::not_json(&e))?;
    let object = json::object(raw).map_err(|wrong| {
        if wrong.expected == wrong.found {
            return InvalidRequest::nameless_surrogate();
        }
        InvalidRequest {
            message: format!(
                "Invalid body: expected {}, but got {} instead.",
                wrong.expected, wrong.found
            ),
            param: None,
            code: crate::error::Code::InvalidType,
        }
    })?;
    let mut ignored = Ignored::new();
    for (name, raw) in object.iter() {
        match fields::policy(name) {
            Policy::Mapped => {}
            Policy::Ignored if name == "parallel_tool_calls" && raw.get() == "true" => {}
            Policy::Ignored => {
                ignored.insert(name.to_owned());
            }
            Policy::Refused(_) if fields::asks_nothing(name, raw.get()) => {}
            Policy::Refused(why) => {
                return Err(InvalidRequest::unsupported(&Path::Root.key(name), why));
            }
        }
    }
    let model = model_name(&object)?;
    let messages_path = Path::Root.key("messages");
    let messages = object
        .get("messages")
        .ok_or_else(|| InvalidRequest::missing(&messages_path))?;
    let conversation = message::conversation(messages, &messages_path, &mut ignored)?;
    let functions = tools::functions(&object, &mut ignored)?;
    let calling = tools::calling(&object, &functions)?;
    let config = generation_config(&object)?;
    let (stream, include_usage) = stream(&object, options, &mut ignored)?;
    let parallel = Path::Root.key("parallel_tool_calls");
    let first_call_only = match object.get("parallel_tool_calls") {
        Some(raw) => !read(raw, &parallel, json::boolean)?,
        None => false,
    };
    if options.strict_params
        && let Some(name) = ignored.first()
    {
        return Err(InvalidRequest::unsupported(
            &Path::Root.key(name),
            "This gateway has STRICT_PARAMS set and no counterpart for it.",
        ));
    }
    Ok(Request {
        model,
        stream,
        include_usage,
        first_call_only,
        ignored: ignored.into_iter().collect(),
        gemini: gemini::Request {
            system: conversation.system,
            contents: conversation.contents,
            functions,
            calling,
            config,
        },
    })
}

/// The longest model name that is looked at; Google's have less than 100 characters.
const MAX_MODEL_LENGTH: usize = 256;

fn model_name<'a>(object: &Object<'a>) -> Result<Cow<'a, str>, InvalidRequest> {
    let path = Path::Root.key("model");
    let raw = object
        .get("model")
        .ok_or_else(|| InvalidRequest::missing(&path))?;
    let name = text(raw, &path)?.text();
    let bare = model::bare(&name);
    let fits =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | ':' | '/');
    // The name becomes a part of a URL's path upstream.
    if bare.is_empty()
        || bare.len() > MAX_MODEL_LENGTH
        || !bare.chars().all(fits)
        || bare
            .split('/')
            .any(|part| part.is_empty() || part.starts_with('.'))
    {
        return Err(InvalidRequest::value(
            &path,
            "it is not a model name; GET /v1/models lists the models.",
        ));
    }
    Ok(name)
}

fn stream(
    object: &Object<'_>,
    options: &Options,
    ignored: &mut Ignored,
) -> Result<(bool, bool), InvalidRequest> {
    let stream = match object.get("stream") {
        Some(raw) => read(raw, &Path::Root.key("stream"), json::boolean)?,
        None => options.default_stream,
    };
    let path = Path::Root.key("stream_options");
    let Some(raw) = object.get("stream_options") else {
        return Ok((stream, false));
    };
    let settings = read(raw, &path, json::object)?;
    if !stream {
        return Err(InvalidRequest::value(
            &path,
            "it is only allowed when 'stream' is true.",
        ));
    }
    let mut include_usage = false;
    for (name, raw) in settings.iter() {
        let path = path.key(name);
        match name {
            "include_usage" => include_usage = read(raw, &path, json::boolean)?,
            _ => {
                ignored.insert(path.to_string());
            }
        }
    }
    Ok((stream, include_usage))
}

fn generation_config<'a>(
    object: &Object<'a>,
) -> Result<gemini::GenerationConfig<'a>, InvalidRequest> {
    let max_output_tokens = match bounded(object, "max_completion_tokens", 1, i32::MAX.into())? {
        Some(max) => Some(max),
        None => bounded(object, "max_tokens", 1, i32::MAX.into())?,
    };
    Ok(gemini::GenerationConfig {
        temperature: number(object, "temperature", 2.0)?,
        top_p: number(object, "top_p", 1.0)?,
        max_output_tokens,
        stop: stop(object)?,
        seed: seed(object)?,
        candidates: bounded(object, "n", 1, 8)?.filter(|n| *n > 1),
        effort: effort(object)?,
        format: format(object)?,
    })
}

fn number<'a>(
    object: &Object<'a>,
    name: &str,
    max: f64,
) -> Result<Option<&'a RawValue>, InvalidRequest> {
    let path = Path::Root.key(name);
    let Some(raw) = object.get(name) else {
        return Ok(None);
    };
    let value = read(raw, &path, json::number)?;
    if !(0.0..=max).contains(&value) {
        return Err(InvalidRequest::value(
            &path,
            format!("expected a number from 0 to {max}, but got {raw} instead."),
        ));
    }
    Ok(Some(raw))
}

fn bounded(
    object: &Object<'_>,
    name: &str,
    min: i64,
    max: i64,
) -> Result<Option<i64>, InvalidRequest> {
    let path = Path::Root.key(name);
    let Some(raw) = object.get(name) else {
        return Ok(None);
    };
    let value = read(raw, &path, json::integer)?;
    if !(min..=max).contains(&value) {
        return Err(InvalidRequest::value(
            &path,
            format!("expected an integer from {min} to {max}, but got {raw} instead."),
        ));
    }
    Ok(Some(value))
}

/// Gemini takes 32 bits where OpenAI takes 64; what matters is that one seed always
/// gives the same other one.
fn seed(object: &Object<'_>) -> Result<Option<i32>, InvalidRequest> {
    let Some(raw) = object.get("seed") else {
        return Ok(None);
    };
    let seed = read(raw, &Path::Root.key("seed"), json::integer)?;
    #[expect(clippy::cast_possible_truncation, reason = "the low half is the seed")]
    Ok(Some(i32::try_from(seed).unwrap_or(seed as i32)))
}

/// As many as Gemini takes; OpenAI takes four.
const MAX_STOPS: usize = 5;

fn stop<'a>(object: &Object<'a>) -> Result<Vec<JsonStr<'a>>, InvalidRequest> {
    let path = Path::Root.key("stop");
    let Some(raw) = object.get("stop") else {
        return Ok(Vec::new());
    };
    let checked = |raw, path: &Path<'_>| {
        let stop = text(raw, path)?;
        if stop.is_empty() {
            return Err(InvalidRequest::value(path, "it must not be empty."));
        }
        Ok(stop)
    };
    if json::string(raw).is_ok() {
        return Ok(vec![checked(raw, &path)?]);
    }
    let all = json::array(raw).map_err(|wrong| {
        let expected = "a string or an array of strings";
        InvalidRequest::wrong_type(&path, WrongType { expected, ..wrong })
    })?;
    if all.len() > MAX_STOPS {
        return Err(InvalidRequest::value(
            &path,
            format!(
                "expected at most {MAX_STOPS} sequences, but got {}.",
                all.len()
            ),
        ));
    }
    all.into_iter()
        .enumerate()
        .map(|(at, raw)| checked(raw, &path.index(at)))
        .collect()
}

fn effort(object: &Object<'_>) -> Result<Option<Effort>, InvalidRequest> {
    let path = Path::Root.key("reasoning_effort");
    let Some(raw) = object.get("reasoning_effort") else {
        return Ok(None);
    };
    let effort = match &*text(raw, &path)?.text() {
        "none" => Effort::None,
        "minimal" => Effort::Minimal,
        "low" => Effort::Low,
        "medium" => Effort::Medium,
        "high" | "xhigh" | "max" => Effort::High,
        _ => {
            return Err(InvalidRequest::value(
                &path,
                "supported values are 'none', 'minimal', 'low', 'medium', 'high' and 'xhigh'.",
            ));
        }
    };
    Ok(Some(effort))
}

fn format<'a>(object: &Object<'a>) -> Result<Option<Format<'a>>, InvalidRequest> {
    let path = Path::Root.key("response_format");
    let Some(raw) = object.get("response_format") else {
        return Ok(None);
    };
    let format = read(raw, &path, json::object)?;
    let kind_path = path.key("type");
    let kind = format
        .get("type")
        .ok_or_else(|| InvalidRequest::missing(&kind_path))?;
    match &*text(kind, &kind_path)?.text() {
        "text" => Ok(None),
        "json_object" => Ok(Some(Format::Json)),
        "json_schema" => {
            let path = path.key("json_schema");
            let raw = format
                .get("json_schema")
                .ok_or_else(|| InvalidRequest::missing(&path))?;
            let wrapper = read(raw, &path, json::object)?;
            let path = path.key("schema");
            match wrapper.get("schema") {
                Some(schema) => {
                    read(schema, &path, json::object)?;
                    Ok(Some(Format::Schema(verbatim(schema, &path)?)))
                }
                None => Ok(Some(Format::Json)),
            }
        }
        _ => Err(InvalidRequest::value(
            &kind_path,
            "supported values are 'text', 'json_object' and 'json_schema'.",
        )),
    }
}
