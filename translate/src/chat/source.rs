//! Where media are: data URLs, which are taken apart and never decoded, and addresses.

use std::borrow::Cow;

use super::{
    part::whole,
    request::{Reading, Wanted, member, read, text},
};
use crate::{
    error::InvalidRequest,
    gemini::request::Source,
    json::{self, JsonStr, Object, Path},
    media::{self, is_youtube, known_to_google, mime_of, starts_with},
};

pub(super) fn image<'a>(
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
    addressed(part, path, "image_url", &["url", "detail"], reading)
}

/// `{"url": …}` or the URL alone, under `key`. `known`: its members but for the type.
pub(super) fn addressed<'a>(
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
    let pattern = format!("messages[].content[].{key}");
    reading.note_unknown(&pattern, &media, &[known, TYPE_NAMES].concat());
    let at = path.key("url");
    let url = whole(member(&media, &at, "url", json::string)?, &at)?;
    source(url, told_type(&media, &path, &pattern)?, &at, reading)
}

/// How clients of other gateways call the type of what they send beside it.
const TYPE_NAMES: &[&str] = &["format", "mime_type", "content_type"];

/// The MIME type that the client says media have, where an address does not tell.
struct Told<'a, 'p> {
    mime: Cow<'a, str>,
    path: Path<'p>,
    /// As it is named where it has no effect.
    name: String,
}

fn told_type<'a, 'p>(
    media: &Object<'a>,
    path: &'p Path<'p>,
    pattern: &str,
) -> Result<Option<Told<'a, 'p>>, InvalidRequest> {
    let mut told: Option<Told<'a, 'p>> = None;
    for name in TYPE_NAMES {
        let Some(raw) = media.get(name) else { continue };
        let path = path.key(name);
        let mime = text(raw, &path)?.text();
        let Some(mime) = media::mime(&mime) else {
            let why = "expected a MIME type, such as 'image/png'.";
            return Err(InvalidRequest::value(&path, why));
        };
        if told.as_ref().is_some_and(|told| told.mime != mime) {
            let why = "another type is told beside it.";
            return Err(InvalidRequest::value(&path, why));
        }
        let name = format!("{pattern}.{name}");
        told = Some(Told { mime, path, name });
    }
    Ok(told)
}

pub(super) fn audio<'a>(
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
    let format = member(&audio, &format_path, "format", json::string)?.text();
    let mime = media::recording(&format).ok_or_else(|| {
        let known: Vec<&str> = media::RECORDINGS.iter().map(|(name, _)| *name).collect();
        let why = format!("supported values are '{}'.", known.join("', '"));
        InvalidRequest::value(&format_path, why)
    })?;
    let at = path.key("data");
    let data = whole(member(&audio, &at, "data", json::string)?, &at)?.text();
    inline(mime.into(), data, &at)
}

pub(super) fn file<'a>(
    part: &Object<'a>,
    path: &Path<'_>,
    reading: &mut Reading<'_>,
) -> Result<Source<'a>, InvalidRequest> {
    let path = path.key("file");
    let file = member(part, &path, "file", json::object)?;
    let pattern = "messages[].content[].file";
    let told = told_type(&file, &path, pattern)?;
    let name = file.get("filename").and_then(|raw| json::string(raw).ok());
    let by_name = name.and_then(|name| mime_of(&name.text()));
    let data = file.get("file_data");
    let data = data
        .map(|raw| text(raw, &path.key("file_data")))
        .transpose()?;
    // A name that says what the file is has its effect.
    let is_heeded = told.is_none()
        && by_name.is_some()
        && data.is_some_and(|data| says_nothing(data.escaped()));
    let heeded: &[&str] = if is_heeded { &["filename"] } else { &[] };
    let known = [&["file_data", "file_id"], TYPE_NAMES, heeded].concat();
    reading.note_unknown(pattern, &file, &known);
    if let Some(data) = data {
        if file.get("file_id").is_some() {
            reading.ignored.insert(format!("{pattern}.file_id"));
        }
        let at = path.key("file_data");
        if starts_with(data.escaped(), "data:") {
            return given(data.text(), told, by_name.map(Cow::Borrowed), &at);
        }
        if data.escaped().contains(':') {
            return source(data, told, &at, reading);
        }
        // OpenAI's own documentation has it both ways: as a data URL, and bare.
        let mime = told.map(|told| told.mime).or(by_name.map(Cow::Borrowed));
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
        return source(id, told, &at, reading);
    }
    Err(InvalidRequest::unsupported(
        &at,
        "There is no file storage here; send the file as a data URL in 'file_data', or a URI of \
         Google's (gs://…, https://generativelanguage.googleapis.com/v1beta/files/…).",
    ))
}

/// Whether file data tell no type: bare base64, or a data URL without one.
fn says_nothing(data: &str) -> bool {
    let Some(head) = data
        .get(..5)
        .filter(|head| head.eq_ignore_ascii_case("data:"))
    else {
        return !data.contains(':');
    };
    let rest = &data[head.len()..];
    let mime = rest.split([';', ',']).next().unwrap_or_default();
    media::says_nothing(&mime.trim().to_ascii_lowercase())
}

/// Media in a data URL, whose type may be told beside it: where the URL tells none, and not
/// another one where it does.
fn given<'a>(
    url: Cow<'a, str>,
    told: Option<Told<'a, '_>>,
    by_name: Option<Cow<'a, str>>,
    path: &Path<'_>,
) -> Result<Source<'a>, InvalidRequest> {
    let beside = told.as_ref().map(|told| told.mime.clone()).or(by_name);
    let source = data_url(url, beside, path)?;
    if let (Some(told), Source::Inline { mime, .. }) = (told, &source)
        && told.mime != *mime
    {
        let why = format!("the data URL beside it says that it is '{mime}'.");
        return Err(InvalidRequest::value(&told.path, why));
    }
    Ok(source)
}

/// Media from a data URL or an address.
fn source<'a>(
    url: JsonStr<'a>,
    told: Option<Told<'a, '_>>,
    path: &Path<'_>,
    reading: &mut Reading<'_>,
) -> Result<Source<'a>, InvalidRequest> {
    let url = url.text();
    if starts_with(&url, "data:") {
        return given(url, told, None, path);
    }
    if is_youtube(&url) {
        let mime = told.map_or("video/mp4".into(), |told| told.mime);
        return Ok(Source::File {
            mime: Some(mime),
            uri: url,
        });
    }
    if known_to_google(&url) {
        let mime = told.map(|told| told.mime);
        let mime = mime.or_else(|| mime_of(&url).map(Cow::Borrowed));
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
    if let Some(told) = told {
        // Whoever serves the file says what it is.
        reading.ignored.insert(told.name);
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

/// `data:<mime>[;parameter…];base64,<data>`, taken apart and never decoded. `beside`: the
/// type that is told beside it.
pub(super) fn data_url<'a>(
    url: Cow<'a, str>,
    beside: Option<Cow<'a, str>>,
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
    let mime = head.next().unwrap_or_default().trim();
    let base64 = head.any(|parameter| parameter.trim().eq_ignore_ascii_case("base64"));
    let mime = match beside {
        Some(beside) if media::says_nothing(&mime.to_ascii_lowercase()) => Some(beside),
        _ => media::mime(mime),
    };
    let mime = mime.filter(|_| base64).ok_or_else(malformed)?;
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
