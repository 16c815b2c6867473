//! Reads a chat completions request and lowers it to Gemini's.

use std::{borrow::Cow, collections::BTreeSet};

use super::{
    audio::AudioFormat,
    fields::{self, Policy},
    google::Google,
    message,
    names::Names,
    settings,
    tools::{self, Tools},
};
use crate::{
    error::InvalidRequest,
    gemini::{
        model::{self, Dialect, Generation},
        request::{self as gemini, Effort, Target},
    },
    json::{self, Document, JsonStr, Object, Path, Raw, WrongType},
    schema,
};

/// How requests are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What `stream` is when the client does not say.
    pub default_stream: bool,
    /// Refuse what is otherwise ignored and named.
    pub strict_params: bool,
    /// Let in media that are addresses, to be fetched.
    pub fetch_remote_media: bool,
    /// Conversations stay with their projects, so that `prompt_cache_key` has its effect.
    pub affinity: bool,
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
    /// Whether calls are told as `function_call`, which was before `tool_calls`.
    pub legacy_functions: bool,
    /// How speech is handed out.
    pub audio: AudioFormat,
    /// Functions that go out under other names.
    pub names: Names,
    /// `prompt_cache_key`, where it has an effect.
    pub prompt_cache_key: Option<JsonStr<'a>>,
    /// Parameters that were ignored.
    pub ignored: Vec<String>,
    /// Addresses of media, to be fetched and supplied before the request is written.
    pub wanted: Vec<Wanted>,
    /// What Gemini is asked.
    pub gemini: gemini::Request<'a>,
}

impl<'a> Request<'a> {
    /// The texts that name the conversation: the same for each of its requests, as far as
    /// clients send its beginning again.
    pub fn conversation(&self) -> impl Iterator<Item = &'a str> + '_ {
        let key = self.prompt_cache_key;
        let first = self
            .gemini
            .contents
            .iter()
            .find(|content| content.role == gemini::Role::User);
        let said = first.into_iter().flat_map(|content| &content.parts);
        let beginning = self
            .gemini
            .system
            .iter()
            .copied()
            .chain(said.filter_map(|part| match part {
                gemini::Part::Text { text, .. } => Some(*text),
                _ => None,
            }))
            // A key says enough.
            .filter(move |_| key.is_none());
        let key = key.into_iter();
        key.chain(beginning).map(JsonStr::token)
    }
}

/// Media that are somewhere in the Web.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where.
    pub url: String,
    /// Where in the request it says so first, for complaints.
    pub path: String,
    /// How often it does: as often it stands in what is written.
    pub times: usize,
}

impl Request<'_> {
    /// The model id to ask upstream for.
    #[must_use]
    pub fn upstream_model(&self) -> &str {
        model::bare(&self.model)
    }

    /// Appends the request as Gemini's, in a dialect of its language.
    pub fn write(&self, dialect: Dialect, out: &mut Vec<u8>) {
        let target = Target {
            dialect,
            model: self.upstream_model(),
        };
        self.gemini.write(target, out);
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
#[derive(Debug, Default)]
pub(super) struct Ignored(BTreeSet<String>);

impl Ignored {
    /// More than any header takes; a hostile body may have millions.
    const MAX: usize = 512;

    pub(super) fn insert(&mut self, name: String) {
        if self.0.len() < Self::MAX {
            self.0.insert(name);
        }
    }
}

/// What is known and what is gathered while the messages are read.
pub(super) struct Reading<'r> {
    pub(super) generation: Generation,
    pub(super) names: &'r Names,
    pub(super) ignored: &'r mut Ignored,
    /// Whether addresses may be fetched.
    pub(super) fetches: bool,
    pub(super) wanted: Vec<Wanted>,
    /// How closely each image is to be looked at.
    pub(super) details: Vec<Option<&'static str>>,
}

impl Reading<'_> {
    /// Names the members that go nowhere.
    pub(super) fn note_unknown(&mut self, pattern: &str, object: &Object<'_>, known: &[&str]) {
        let is_known = |key: &str| known.contains(&key);
        for (key, _) in object.iter().filter(|(key, _)| !is_known(key)) {
            self.ignored.insert(format!("{pattern}.{key}"));
        }
    }
}

/// The value at `path`, read by `read`.
pub(super) fn read<'a, T>(
    raw: Raw<'a>,
    path: &Path<'_>,
    read: impl FnOnce(Raw<'a>) -> Result<T, WrongType>,
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

/// The member `key`, which has to be there, of an object; `path` is its own.
pub(super) fn member<'a, T>(
    object: &Object<'a>,
    path: &Path<'_>,
    key: &str,
    with: impl FnOnce(Raw<'a>) -> Result<T, WrongType>,
) -> Result<T, InvalidRequest> {
    let raw = object.get(key);
    read(
        raw.ok_or_else(|| InvalidRequest::missing(path))?,
        path,
        with,
    )
}

/// The `type` of an object.
pub(super) fn kind_of<'a>(
    object: &Object<'a>,
    path: &Path<'_>,
) -> Result<Cow<'a, str>, InvalidRequest> {
    let path = path.key("type");
    let kind = object
        .get("type")
        .ok_or_else(|| InvalidRequest::missing(&path))?;
    Ok(text(kind, &path)?.text())
}

/// The text at `path`, which has to be whole.
pub(super) fn text<'a>(raw: Raw<'a>, path: &Path<'_>) -> Result<JsonStr<'a>, InvalidRequest> {
    let text = read(raw, path, json::string)?;
    if text.has_lone_surrogate() {
        return Err(InvalidRequest::lone_surrogate(path));
    }
    Ok(text)
}

/// Raw JSON at `path` that goes on as it came: its texts have to be whole, and its depth usual.
pub(super) fn verbatim<'a>(raw: Raw<'a>, path: &Path<'_>) -> Result<Raw<'a>, InvalidRequest> {
    if raw.has_lone_surrogate() {
        return Err(InvalidRequest::lone_surrogate(path));
    }
    if raw.depth() > json::MAX_DEPTH {
        return Err(InvalidRequest::too_deep(path));
    }
    Ok(raw)
}

/// The JSON Schema at `path`.
pub(super) fn schema_at<'a>(
    raw: Raw<'a>,
    path: &Path<'_>,
) -> Result<schema::Schema<'a>, InvalidRequest> {
    schema::checked(raw).map_err(|fault| {
        let at = format!("{path}{}", fault.path);
        InvalidRequest::value(&Path::Root.key(&at), fault.why)
    })
}

/// Looks the body of `POST /v1/chat/completions` over, which a request borrows from.
///
/// # Errors
/// It is not JSON.
pub fn document(body: &str) -> Result<Document<'_>, InvalidRequest> {
    Document::read(body).map_err(|error| InvalidRequest::not_json(&error))
}

/// Reads the body of `POST /v1/chat/completions`.
///
/// # Errors
/// What is wrong with it, naming the parameter by its path.
pub fn parse<'a>(body: &'a Document<'a>, options: &Options) -> Result<Request<'a>, InvalidRequest> {
    let object = json::object(body.root()).map_err(|wrong| {
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
    let mut ignored = ignored(&object, options);
    let prompt_cache_key = match object.get(PROMPT_CACHE_KEY) {
        Some(key) if options.affinity => Some(text(key, &Path::Root.key(PROMPT_CACHE_KEY))?),
        _ => None,
    };
    let model = model_name(&object)?;
    let bare = model::bare(&model);
    let generation = Generation::of(bare);
    let mut google = Google::read(&object, &mut ignored)?;
    let Tools {
        functions,
        names,
        calling,
        legacy,
    } = tools::tools(&object, generation, &mut google, &mut ignored)?;
    let messages_path = Path::Root.key("messages");
    let messages = object
        .get("messages")
        .ok_or_else(|| InvalidRequest::missing(&messages_path))?;
    let mut reading = Reading {
        generation,
        names: &names,
        ignored: &mut ignored,
        fetches: options.fetch_remote_media,
        wanted: Vec::new(),
        details: Vec::new(),
    };
    let conversation = message::conversation(messages, &messages_path, &mut reading)?;
    let resolution = reading.resolution();
    let wanted = reading.wanted;
    let mut config = settings::generation_config(&object, bare, &mut google, &mut ignored)?;
    config.resolution = resolution.filter(|_| {
        let given = config.verbatim.iter();
        given.clone().all(|(name, _)| *name != "mediaResolution")
    });
    settings::penalties(&object)?;
    let audio = settings::audio_format(&object)?;
    let (stream, include_usage) = settings::stream(&object, options, &mut ignored)?;
    let parallel = Path::Root.key("parallel_tool_calls");
    let first_call_only = match object.get("parallel_tool_calls") {
        Some(raw) => !read(raw, &parallel, json::boolean)?,
        None => false,
    };
    let is_cached_alone =
        conversation.system.is_empty() && functions.is_empty() && google.tools.is_empty();
    if let Some(at) = google.cached_at.as_deref().filter(|_| !is_cached_alone) {
        return Err(InvalidRequest::value(
            &Path::Root.key(at),
            "a cached content holds the instructions and the tools; they cannot be given beside it.",
        ));
    }
    if stream && audio == AudioFormat::Wav {
        return Err(InvalidRequest::value(
            &Path::Root.key("audio.format"),
            "a stream's format is 'pcm16'.",
        ));
    }
    let gemini = gemini::Request {
        system: conversation.system,
        contents: conversation.contents,
        functions,
        calling,
        config,
        verbatim: std::mem::take(&mut google.request),
        google_tools: std::mem::take(&mut google.tools),
    };
    let thinks = gemini.config.thinking;
    if generation == Generation::Claude
        && (thinks.budget.is_some() || thinks.effort.is_some_and(|it| it != Effort::None))
        && gemini.has_lost_thoughts()
    {
        // It is not asked to think on.
        ignored.insert(settings::thinking_name(&google));
    }
    if options.strict_params
        && let Some(name) = ignored.0.first()
    {
        return Err(InvalidRequest::unsupported(
            &Path::Root.key(name),
            "This gateway has STRICT_PARAMS set and no counterpart for it.",
        ));
    }
    Ok(Request {
        stream,
        include_usage,
        first_call_only: first_call_only || legacy,
        legacy_functions: legacy,
        audio,
        prompt_cache_key,
        ignored: ignored.0.into_iter().collect(),
        wanted,
        gemini,
        names,
        model,
    })
}

/// The fields that are ignored.
fn ignored(object: &Object<'_>, options: &Options) -> Ignored {
    let mut ignored = Ignored::default();
    for (name, raw) in object.iter() {
        let is_used = options.affinity && name == PROMPT_CACHE_KEY;
        if !is_used
            && fields::policy(&name) == Policy::Ignored
            && !fields::asks_nothing(&name, raw.get())
        {
            ignored.insert(name.into_owned());
        }
    }
    ignored
}

const PROMPT_CACHE_KEY: &str = "prompt_cache_key";
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
