//! Content parts: texts, and media as data URLs that are taken apart and never decoded, or
//! as addresses.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::request::{Reading, Wanted, kind_of, member, read, text, verbatim};
use crate::{
    error::InvalidRequest,
    gemini::request::{Media, Part, Source},
    json::{self, JsonStr, Object, Path, WrongType},
    media::{is_mime, is_youtube, known_to_google, mime_of, starts_with},
};

/// A text without a signature.
pub(super) fn plain(text: JsonStr<'_>) -> Part<'_> {
    Part::Text {
        text,
        signature: None,
    }
}

/// The elements of `content` that is no text.
pub(super) fn array_of_parts<'a>(
    raw: &'a RawValue,
    path: &Path<'_>,
) -> Result<Vec<&'a RawValue>, InvalidRequest> {
    json::array(raw).map_err(|wrong| {
        let expected = "a string or an array of content parts";
        InvalidRequest::wrong_type(path, WrongType { expected, ..wrong })
    })
}

/// A part of a message: a text, which may be one of a refusal, or media.
pub(super) enum Piece<'a> {
    Text(JsonStr<'a>),
    Media(Media<'a>),
}

/// The texts and the media of a message; `None` when it has no content.
pub(super) fn pieces<'a>(
    message: &Object<'a>,
    path: &Path<'_>,
    reading: &mut Reading<'_>,
) -> Result<Option<Vec<Piece<'a>>>, InvalidRequest> {
    let path = path.key("content");
    let Some(raw) = message.get("content") else {
        return Ok(None);
    };
    if json::string(raw).is_ok() {
        return Ok(Some(vec![Piece::Text(text(raw, &path)?)]));
    }
    let parts = array_of_parts(raw, &path)?;
    let parts = parts.into_iter().enumerate();
    parts
        .map(|(at, raw)| piece(raw, &path.index(at), reading))
        .collect::<Result<_, _>>()
        .map(Some)
}

/// The texts of a message that holds nothing else; `None` when it has no content.
pub(super) fn texts<'a>(
    message: &Object<'a>,
    path: &Path<'_>,
    reading: &mut Reading<'_>,
) -> Result<Option<Vec<JsonStr<'a>>>, InvalidRequest> {
    let content = path.key("content");
    // Said before the media are looked at, which may be addresses.
    let parts = message.get("content").and_then(|raw| json::array(raw).ok());
    for (at, raw) in parts.into_iter().flatten().enumerate() {
        if let Some(kind) = media_kind(raw) {
            return Err(InvalidRequest::unsupported(
                &content.index(at).key("type"),
                format!("Parts of type '{kind}' are not served in this message; 'text' is."),
            ));
        }
    }
    let Some(pieces) = pieces(message, path, reading)? else {
        return Ok(None);
    };
    let texts = pieces.into_iter().filter_map(|piece| match piece {
        Piece::Text(text) => Some(text),
        Piece::Media(_) => None,
    });
    Ok(Some(texts.collect()))
}

/// The type of a part that is media.
fn media_kind(raw: &RawValue) -> Option<Cow<'_, str>> {
    let part = json::object(raw).ok()?;
    let kind = json::string(part.get("type")?).ok()?.text();
    matches!(&*kind, "image_url" | "input_audio" | "file" | "video_url").then_some(kind)
}

fn piece<'a>(
    raw: &'a RawValue,
    path: &Path<'_>,
    reading: &mut Reading<'_>,
) -> Result<Piece<'a>, InvalidRequest> {
    let part = read(raw, path, json::object)?;
    let kind = kind_of(&part, path)?;
    let known: &[&str] = match &*kind {
        "text" => &["type", "text"],
        "refusal" => &["type", "refusal"],
        "image_url" => &["type", "image_url"],
        "input_audio" => &["type", "input_audio"],
        "file" => &["type", "file", "video_metadata"],
        "video_url" => &["type", "video_url", "video_metadata"],
        _ => {
            return Err(InvalidRequest::unsupported(
                &path.key("type"),
                format!(
                    "Parts of type '{kind}' are not served; 'text', 'image_url', 'input_audio', \
                     'file' and 'video_url' are."
                ),
            ));
        }
    };
    reading.note_unknown("messages[].content[]", &part, known);
    let source = match &*kind {
        "text" | "refusal" => {
            let text = member(&part, &path.key(&kind), &kind, json::string)?;
            let path = path.key(&kind);
            return Ok(Piece::Text(whole(text, &path)?));
        }
        "image_url" => image(&part, path, reading)?,
        "input_audio" => audio(&part, path, reading)?,
        "file" => file(&part, path, reading)?,
        _ => addressed(&part, path, "video_url", &["url", "format"], reading)?,
    };
    let video = part
        .get("video_metadata")
        .map(|raw| {
            let path = path.key("video_metadata");
            read(raw, &path, |raw| json::of_kind(raw, json::Kind::Object))?;
            verbatim(raw, &path)
        })
        .transpose()?;
    Ok(Piece::Media(Media {
        source,
        video,
        signature: None,
    }))
}

fn whole<'a>(text: JsonStr<'a>, path: &Path<'_>) -> Result<JsonStr<'a>, InvalidRequest> {
    if text.has_lone_surrogate() {
        return Err(InvalidRequest::lone_surrogate(path));
    }
    Ok(text)
}

fn image<'a>(
    part: &Object<'a>,
    path: &Path<'_>,
    reading: &mut Reading<'_>,
) -> Result<Source<'a>, InvalidRequest> {
    let at = path.key("image_url");
    let detail = part
        .get("image_url")
        .and_then(|raw| json::object(raw).ok())
        .and_then(|image| image.get("detail"));
    let detail = detail
        .map(|raw| Ok(text(raw, &at.key("detail"))?.text()))
        .transpose()?;
    reading.detail(detail.as_deref(), &at.key("detail"))?;
    addressed(
        part,
        path,
        "image_url",
        &["url", "detail", "format"],
        reading,
    )
}

/// `{"url": …}` or the URL alone, under `key`.
fn addressed<'a>(
    part: &Object<'a>,
    path: &Path<'_>,
    key: &str,
    known: &[&str],
    reading: &mut Reading<'_>,
) -> Result<Source<'a>, InvalidRequest> {
    let path = path.key(key);
    let raw = part
        .get(key)
        .ok_or_else(|| InvalidRequest::missing(&path))?;
    if json::string(raw).is_ok() {
        return source(text(raw, &path)?, None, &path, reading);
    }
    let media = read(raw, &path, json::object)?;
    reading.note_unknown(&format!("messages[].content[].{key}"), &media, known);
    let at = path.key("url");
    let url = whole(member(&media, &at, "url", json::string)?, &at)?;
    source(url, hint(&media, &path)?, &at, reading)
}

/// The MIME type that the client says media have, where an address does not tell.
fn hint<'a>(media: &Object<'a>, path: &Path<'_>) -> Result<Option<Cow<'a, str>>, InvalidRequest> {
    let Some(raw) = media.get("format") else {
        return Ok(None);
    };
    let path = path.key("format");
    let mime = text(raw, &path)?.text();
    if !is_mime(&mime) {
        let why = "expected a MIME type, such as 'image/png'.";
        return Err(InvalidRequest::value(&path, why));
    }
    Ok(Some(mime))
}

fn audio<'a>(
    part: &Object<'a>,
    path: &Path<'_>,
    reading: &mut Reading<'_>,
) -> Result<Source<'a>, InvalidRequest> {
    let path = path.key("input_audio");
    let audio = member(part, &path, "input_audio", json::object)?;
    reading.note_unknown(
        "messages[].content[].input_audio",
        &audio,
        &["data", "format"],
    );
    let format_path = path.key("format");
    // What Gemini takes: https://ai.google.dev/gemini-api/docs/audio#supported-formats
    let mime = match &*member(&audio, &format_path, "format", json::string)?.text() {
        "wav" => "audio/wav",
        "mp3" => "audio/mpeg",
        "aac" => "audio/aac",
        "aiff" => "audio/aiff",
        "flac" => "audio/flac",
        "ogg" => "audio/ogg",
        _ => {
            return Err(InvalidRequest::value(
                &format_path,
                "supported values are 'wav', 'mp3', 'aac', 'aiff', 'flac' and 'ogg'.",
            ));
        }
    };
    let at = path.key("data");
    let data = whole(member(&audio, &at, "data", json::string)?, &at)?.text();
    inline(mime.into(), data, &at)
}

fn file<'a>(
    part: &Object<'a>,
    path: &Path<'_>,
    reading: &mut Reading<'_>,
) -> Result<Source<'a>, InvalidRequest> {
    let path = path.key("file");
    let file = member(part, &path, "file", json::object)?;
    reading.note_unknown(
        "messages[].content[].file",
        &file,
        &["file_data", "file_id", "format"],
    );
    let hint = hint(&file, &path)?;
    if let Some(raw) = file.get("file_data") {
        if file.get("file_id").is_some() {
            reading
                .ignored
                .insert("messages[].content[].file.file_id".to_owned());
        }
        let at = path.key("file_data");
        let data = text(raw, &at)?;
        if data.escaped().contains(':') {
            return source(data, hint, &at, reading);
        }
        // OpenAI's own documentation has it both ways: as a data URL, and bare.
        let name = file.get("filename").and_then(|raw| json::string(raw).ok());
        let name = name.map(JsonStr::text);
        let mime = hint.or_else(|| mime_of(name.as_deref()?).map(Cow::Borrowed));
        let mime = mime.ok_or_else(|| {
            InvalidRequest::value(
                &at,
                "it is not a data URL, and 'filename' does not tell what it is; send it as \
                 data:application/pdf;base64,JVBERi0….",
            )
        })?;
        return inline(mime, data.text(), &at);
    }
    let at = path.key("file_id");
    let Some(raw) = file.get("file_id") else {
        return Err(InvalidRequest::missing(&path.key("file_data")));
    };
    let id = text(raw, &at)?;
    if known_to_google(&id.text()) {
        return source(id, hint, &at, reading);
    }
    Err(InvalidRequest::unsupported(
        &at,
        "There is no file storage here; send the file as a data URL in 'file_data', or a URI of \
         Google's (gs://…, https://generativelanguage.googleapis.com/v1beta/files/…).",
    ))
}

/// Media from a data URL or an address.
fn source<'a>(
    url: JsonStr<'a>,
    hint: Option<Cow<'a, str>>,
    path: &Path<'_>,
    reading: &mut Reading<'_>,
) -> Result<Source<'a>, InvalidRequest> {
    let url = url.text();
    if starts_with(&url, "data:") {
        return data_url(url, path);
    }
    if is_youtube(&url) {
        return Ok(Source::File {
            mime: Some("video/mp4".into()),
            uri: url,
        });
    }
    if known_to_google(&url) {
        let mime = hint.or_else(|| mime_of(&url).map(Cow::Borrowed));
        if mime.is_none() && starts_with(&url, "gs://") {
            return Err(InvalidRequest::value(
                path,
                "its name does not tell what it is; add the MIME type as 'format' beside it.",
            ));
        }
        return Ok(Source::File { mime, uri: url });
    }
    if !starts_with(&url, "http://") && !starts_with(&url, "https://") {
        return Err(InvalidRequest::value(
            path,
            "expected a data URL, such as data:image/png;base64,iVBORw0…, or an address that \
             begins with https://.",
        ));
    }
    if !reading.fetches {
        return Err(InvalidRequest::unsupported(
            path,
            "This gateway fetches no addresses (FETCH_REMOTE_MEDIA is off): send a data URL, such \
             as data:image/png;base64,iVBORw0….",
        ));
    }
    reading.want(url, path).map(Source::Remote)
}

impl Reading<'_> {
    /// Most of different addresses in one request.
    const MAX_WANTED: usize = 32;

    fn want(&mut self, url: Cow<'_, str>, path: &Path<'_>) -> Result<usize, InvalidRequest> {
        if let Some(at) = self.wanted.iter().position(|wanted| wanted.url == url) {
            self.wanted[at].times += 1;
            return Ok(at);
        }
        if self.wanted.len() >= Self::MAX_WANTED {
            let why = format!(
                "expected at most {} addresses in a request.",
                Self::MAX_WANTED
            );
            return Err(InvalidRequest::value(path, why));
        }
        self.wanted.push(Wanted {
            url: url.into_owned(),
            path: path.to_string(),
            times: 1,
        });
        Ok(self.wanted.len() - 1)
    }

    /// Takes note of how closely an image is to be looked at.
    fn detail(&mut self, detail: Option<&str>, path: &Path<'_>) -> Result<(), InvalidRequest> {
        let level = match detail {
            None | Some("auto") => None,
            Some("low") => Some("MEDIA_RESOLUTION_LOW"),
            Some("medium") => Some("MEDIA_RESOLUTION_MEDIUM"),
            Some("high" | "original" | "ultra_high") => Some("MEDIA_RESOLUTION_HIGH"),
            Some(_) => {
                return Err(InvalidRequest::value(
                    path,
                    "supported values are 'auto', 'low', 'medium' and 'high'.",
                ));
            }
        };
        self.details.push(level);
        Ok(())
    }

    /// How closely to look at all images: Gemini has one setting for a request. The closest
    /// that was asked for counts, and less than usual only where all ask for it.
    pub(super) fn resolution(&mut self) -> Option<&'static str> {
        let asks = |level| self.details.contains(&Some(level));
        let low = "MEDIA_RESOLUTION_LOW";
        if asks("MEDIA_RESOLUTION_HIGH") {
            return Some("MEDIA_RESOLUTION_HIGH");
        }
        if asks("MEDIA_RESOLUTION_MEDIUM") {
            return Some("MEDIA_RESOLUTION_MEDIUM");
        }
        if !asks(low) {
            return None;
        }
        if self.details.iter().all(|level| *level == Some(low)) {
            return Some(low);
        }
        self.ignored
            .insert("messages[].content[].image_url.detail".to_owned());
        None
    }
}

/// `data:<mime>[;parameter…];base64,<data>`, taken apart and never decoded.
pub(super) fn data_url<'a>(
    url: Cow<'a, str>,
    path: &Path<'_>,
) -> Result<Source<'a>, InvalidRequest> {
    let malformed = || {
        InvalidRequest::value(
            path,
            "it is not a data URL in base64, such as data:image/png;base64,iVBORw0….",
        )
    };
    let head_end = url.bytes().take(256).position(|byte| byte == b',');
    let head_end = head_end.ok_or_else(malformed)?;
    let mut head = url[5..head_end].split(';');
    let mime = head.next().unwrap_or_default().trim().to_ascii_lowercase();
    let base64 = head.any(|parameter| parameter.trim().eq_ignore_ascii_case("base64"));
    if !base64 || !is_mime(&mime) {
        return Err(malformed());
    }
    let mime = if mime == "image/jpg" {
        "image/jpeg".into()
    } else {
        mime.into()
    };
    let data = match url {
        Cow::Borrowed(url) => Cow::Borrowed(&url[head_end + 1..]),
        Cow::Owned(url) => Cow::Owned(url[head_end + 1..].to_owned()),
    };
    inline(mime, data, path)
}

fn inline<'a>(
    mime: Cow<'a, str>,
    data: Cow<'a, str>,
    path: &Path<'_>,
) -> Result<Source<'a>, InvalidRequest> {
    let bare = data.trim_end_matches('=');
    let is_base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_');
    let padding = data.len() - bare.len();
    if bare.is_empty() || bare.len() % 4 == 1 || padding > 2 || !bare.bytes().all(is_base64) {
        return Err(InvalidRequest::value(path, "its data is not base64."));
    }
    Ok(Source::Inline { mime, data })
}
