//! How to generate: sampling, limits, thinking, and the form of the answer.

use super::{
    audio::AudioFormat,
    google::Google,
    request::{Ignored, Options, kind_of, member, read, schema_at, text, verbatim},
};
use crate::{
    error::InvalidRequest,
    gemini::{
        model,
        request::{Effort, Format, GenerationConfig, Thinking},
        thinking,
    },
    json::{self, JsonStr, Object, Path, Raw, WrongType},
};

/// Reads `stream` and `stream_options`.
pub(super) fn stream(
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
        let why = "it is only allowed when 'stream' is true.";
        return Err(InvalidRequest::value(&path, why));
    }
    let mut include_usage = false;
    for (name, raw) in settings.iter() {
        let path = path.key(&name);
        match &*name {
            "include_usage" => include_usage = read(raw, &path, json::boolean)?,
            "include_obfuscation" if raw.get() == "false" => {}
            _ => {
                ignored.insert(path.to_string());
            }
        }
    }
    Ok((stream, include_usage))
}

/// Reads what becomes `generationConfig`. `model` is its bare name.
pub(super) fn generation_config<'a>(
    object: &Object<'a>,
    model: &str,
    google: &mut Google<'a>,
    ignored: &mut Ignored,
) -> Result<GenerationConfig<'a>, InvalidRequest> {
    let max = bounded(object, "max_completion_tokens", 1, i32::MAX.into())?;
    let older_max = bounded(object, "max_tokens", 1, i32::MAX.into())?;
    if max.is_some() && older_max.is_some() && max != older_max {
        ignored.insert("max_tokens".to_owned());
    }
    let thinking = thinking_of(object, model, max.or(older_max), google, ignored)?;
    let modalities = modalities(object, model)?;
    let speaks = modalities.contains(&"AUDIO");
    Ok(GenerationConfig {
        temperature: number(object, "temperature", "temperature", 2.0)?,
        top_p: number(object, "top_p", "topP", 1.0)?,
        top_k: bounded(object, "top_k", 1, 1000)?,
        max_output_tokens: max.or(older_max),
        stop: stop(object)?,
        seed: seed(object, ignored)?,
        candidates: bounded(object, "n", 1, 8)?.filter(|n| *n > 1),
        thinking,
        format: format(object, ignored)?,
        logprobs: logprobs(object)?,
        voice: voice(object, speaks, google, ignored)?,
        modalities,
        resolution: None,
        verbatim: std::mem::take(&mut google.config),
    })
}

/// A number from 0 to `max`. What is out of range is refused in the words that Google has
/// for it, which some clients know, and without asking Google.
fn number<'a>(
    object: &Object<'a>,
    name: &str,
    google: &str,
    max: f64,
) -> Result<Option<Raw<'a>>, InvalidRequest> {
    let path = Path::Root.key(name);
    let Some(raw) = object.get(name) else {
        return Ok(None);
    };
    let value = read(raw, &path, json::number)?;
    if !(0.0..=max).contains(&value) {
        return Err(InvalidRequest::value(
            &path,
            format!(
                "Unable to submit request because it has a {google} value of {raw} but the \
                 supported range is from 0 to {max}. Update the value and try again."
            ),
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

/// Looks over the penalties, which go nowhere: what OpenAI would refuse is no penalty.
pub(super) fn penalties(object: &Object<'_>) -> Result<(), InvalidRequest> {
    for name in ["frequency_penalty", "presence_penalty"] {
        let Some(raw) = object.get(name) else {
            continue;
        };
        let path = Path::Root.key(name);
        if !(-2.0..=2.0).contains(&read(raw, &path, json::number)?) {
            let why = format!("expected a number from -2 to 2, but got {raw} instead.");
            return Err(InvalidRequest::value(&path, why));
        }
    }
    Ok(())
}

/// Gemini takes 32 bits where OpenAI takes 64; what matters is that one seed always
/// gives the same other one. Since two seeds may give the same, that is named.
fn seed(object: &Object<'_>, ignored: &mut Ignored) -> Result<Option<i32>, InvalidRequest> {
    let Some(raw) = object.get("seed") else {
        return Ok(None);
    };
    let seed = read(raw, &Path::Root.key("seed"), json::integer)?;
    if let Ok(seed) = i32::try_from(seed) {
        return Ok(Some(seed));
    }
    ignored.insert("seed".to_owned());
    #[expect(clippy::cast_possible_truncation, reason = "both halves count")]
    Ok(Some((seed ^ (seed >> 32)) as i32))
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

/// Whether the probabilities of tokens are wanted, and how many alternatives of each.
fn logprobs(object: &Object<'_>) -> Result<Option<i64>, InvalidRequest> {
    let wanted = match object.get("logprobs") {
        Some(raw) => read(raw, &Path::Root.key("logprobs"), json::boolean)?,
        None => false,
    };
    let alternatives = bounded(object, "top_logprobs", 0, 20)?;
    match alternatives {
        Some(1..) if !wanted => Err(InvalidRequest::value(
            &Path::Root.key("top_logprobs"),
            "it is only allowed when 'logprobs' is true.",
        )),
        _ => Ok(wanted.then(|| alternatives.unwrap_or(0))),
    }
}

/// How much to think, in OpenAI's words or in Google's.
fn thinking_of(
    object: &Object<'_>,
    model: &str,
    max_output: Option<i64>,
    google: &Google<'_>,
    ignored: &mut Ignored,
) -> Result<Thinking, InvalidRequest> {
    let effort = effort(object, ignored)?;
    if effort.is_some()
        && let Some(at) = &google.amount_at
    {
        return Err(InvalidRequest::value(
            &Path::Root.key("reasoning_effort"),
            format!("'{at}' says how much to think already; give one of them."),
        ));
    }
    let asked = Thinking {
        effort,
        ..google.thinking
    };
    if thinking::goes_nowhere(&asked, model, max_output) {
        ignored.insert(thinking_name(google));
    }
    Ok(asked)
}

/// Where it was said how much to think.
pub(super) fn thinking_name(google: &Google<'_>) -> String {
    let name = google.amount_at.as_deref();
    name.unwrap_or("reasoning_effort").to_owned()
}

fn effort(object: &Object<'_>, ignored: &mut Ignored) -> Result<Option<Effort>, InvalidRequest> {
    let path = Path::Root.key("reasoning_effort");
    let Some(raw) = object.get("reasoning_effort") else {
        return Ok(None);
    };
    let word = if json::string(raw).is_err() && json::object(raw).is_ok() {
        // As the Agents SDK sends it to gateways: {"effort": …, "summary": …}.
        let reasoning = read(raw, &path, json::object)?;
        for (key, _) in reasoning.iter().filter(|(key, _)| *key != "effort") {
            ignored.insert(path.key(&key).to_string());
        }
        match reasoning.get("effort") {
            Some(raw) => text(raw, &path.key("effort"))?,
            None => return Ok(None),
        }
    } else {
        text(raw, &path)?
    };
    let effort = match &*word.text() {
        "none" => Effort::None,
        "minimal" => Effort::Minimal,
        "low" => Effort::Low,
        "medium" => Effort::Medium,
        "high" | "xhigh" | "max" => Effort::High,
        _ => {
            return Err(InvalidRequest::value(
                &path,
                "supported values are 'none', 'minimal', 'low', 'medium', 'high', 'xhigh' and \
                 'max'.",
            ));
        }
    };
    Ok(Some(effort))
}

/// What the answer is made of.
fn modalities(object: &Object<'_>, model: &str) -> Result<Vec<&'static str>, InvalidRequest> {
    let path = Path::Root.key("modalities");
    let Some(raw) = object.get("modalities") else {
        // Models that only speak refuse to be asked for text, which is what is meant when
        // nothing is said.
        return Ok(if model::speaks(model) {
            vec!["AUDIO"]
        } else {
            Vec::new()
        });
    };
    let mut modalities = Vec::new();
    for (at, raw) in read(raw, &path, json::array)?.into_iter().enumerate() {
        let path = path.index(at);
        let modality = match &*text(raw, &path)?.text() {
            "text" => "TEXT",
            "image" => "IMAGE",
            "audio" => "AUDIO",
            _ => {
                let why = "supported values are 'text', 'image' and 'audio'.";
                return Err(InvalidRequest::value(&path, why));
            }
        };
        if !modalities.contains(&modality) {
            modalities.push(modality);
        }
    }
    if modalities.contains(&"AUDIO") {
        if modalities.contains(&"IMAGE") {
            let why = "'image' and 'audio' cannot be had in one answer.";
            return Err(InvalidRequest::value(&path, why));
        }
        // OpenAI's audio comes with its transcript; Gemini's comes alone.
        return Ok(vec!["AUDIO"]);
    }
    if modalities == ["TEXT"] {
        modalities.clear();
    }
    Ok(modalities)
}

/// OpenAI's voices, which nobody else has.
const OPENAI_VOICES: &[&str] = &[
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage",
    "shimmer", "verse",
];

/// How speech is handed out. Gemini gives samples of 16 bits, and nothing is coded anew.
pub(super) fn audio_format(object: &Object<'_>) -> Result<AudioFormat, InvalidRequest> {
    let path = Path::Root.key("audio");
    let Some(raw) = object.get("audio") else {
        return Ok(AudioFormat::default());
    };
    let at = path.key("format");
    let Some(format) = read(raw, &path, json::object)?.get("format") else {
        return Ok(AudioFormat::default());
    };
    match &*text(format, &at)?.text() {
        "pcm16" => Ok(AudioFormat::Pcm16),
        "wav" => Ok(AudioFormat::Wav),
        _ => Err(InvalidRequest::value(
            &at,
            "supported values are 'wav' and 'pcm16'.",
        )),
    }
}

/// The voice of `audio`.
fn voice<'a>(
    object: &Object<'a>,
    speaks: bool,
    google: &Google<'_>,
    ignored: &mut Ignored,
) -> Result<Option<JsonStr<'a>>, InvalidRequest> {
    let path = Path::Root.key("audio");
    let Some(raw) = object.get("audio") else {
        return Ok(None);
    };
    let audio = read(raw, &path, json::object)?;
    if !speaks {
        let why = "it is only allowed when 'modalities' has 'audio'.";
        return Err(InvalidRequest::value(&path, why));
    }
    for (key, _) in audio.iter() {
        if !matches!(&*key, "voice" | "format") {
            ignored.insert(path.key(&key).to_string());
        }
    }
    let at = path.key("voice");
    let Some(raw) = audio.get("voice") else {
        return Ok(None);
    };
    let voice = if json::string(raw).is_ok() {
        text(raw, &at)?
    } else {
        let id = at.key("id");
        text(member(&read(raw, &at, json::object)?, &id, "id", Ok)?, &id)?
    };
    let is_openai = OPENAI_VOICES.contains(&&*voice.text());
    let is_said = google
        .config
        .iter()
        .any(|(name, _)| *name == "speechConfig");
    if is_openai || is_said {
        ignored.insert(at.to_string());
        return Ok(None);
    }
    Ok(Some(voice))
}

fn format<'a>(
    object: &Object<'a>,
    ignored: &mut Ignored,
) -> Result<Option<Format<'a>>, InvalidRequest> {
    let path = Path::Root.key("response_format");
    let Some(raw) = object.get("response_format") else {
        return Ok(None);
    };
    let format = read(raw, &path, json::object)?;
    match &*kind_of(&format, &path)? {
        "text" => Ok(None),
        "json_object" => Ok(Some(Format::Json)),
        "json_schema" => {
            let path = path.key("json_schema");
            let wrapper = member(&format, &path, "json_schema", json::object)?;
            for (key, _) in wrapper.iter() {
                // The name is a label, and Gemini holds to every schema strictly.
                if !matches!(&*key, "name" | "schema" | "strict") {
                    ignored.insert(path.key(&key).to_string());
                }
            }
            let path = path.key("schema");
            match wrapper.get("schema") {
                Some(schema) => {
                    read(schema, &path, json::object)?;
                    verbatim(schema, &path)?;
                    Ok(Some(Format::Schema(schema_at(schema, &path)?)))
                }
                None => Ok(Some(Format::Json)),
            }
        }
        _ => Err(InvalidRequest::value(
            &path.key("type"),
            "supported values are 'text', 'json_object' and 'json_schema'.",
        )),
    }
}
