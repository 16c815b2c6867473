//! Content parts: texts, and media as data URLs that are taken apart and never decoded.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::request::{Ignored, read, text};
use crate::{
    error::InvalidRequest,
    gemini::request::Part,
    json::{self, JsonStr, Object, Path},
};

/// A text without a signature.
pub(super) fn plain(text: JsonStr<'_>) -> Part<'_> {
    Part::Text {
        text,
        signature: None,
    }
}

/// The `type` of a part.
pub(super) fn part_kind<'a>(
    part: &Object<'a>,
    path: &Path<'_>,
) -> Result<Cow<'a, str>, InvalidRequest> {
    let path = path.key("type");
    let kind = part
        .get("type")
        .ok_or_else(|| InvalidRequest::missing(&path))?;
    Ok(text(kind, &path)?.text())
}

/// The text that a part holds under `key`.
pub(super) fn member_text<'a>(
    object: &Object<'a>,
    path: &Path<'_>,
    key: &str,
) -> Result<JsonStr<'a>, InvalidRequest> {
    let path = path.key(key);
    let raw = object
        .get(key)
        .ok_or_else(|| InvalidRequest::missing(&path))?;
    text(raw, &path)
}

fn member_object<'a>(
    object: &Object<'a>,
    path: &Path<'_>,
    key: &str,
) -> Result<Object<'a>, InvalidRequest> {
    let path = path.key(key);
    let raw = object
        .get(key)
        .ok_or_else(|| InvalidRequest::missing(&path))?;
    read(raw, &path, json::object)
}

/// Names the members of a part that go nowhere.
pub(super) fn note_unknown(object: &Object<'_>, known: &[&str], ignored: &mut Ignored) {
    for (key, _) in object.iter().filter(|(key, _)| !known.contains(key)) {
        ignored.insert(format!("messages[].content[].{key}"));
    }
}

/// A part of a user's message.
pub(super) fn user_part<'a>(
    raw: &'a RawValue,
    path: &Path<'_>,
    ignored: &mut Ignored,
) -> Result<Part<'a>, InvalidRequest> {
    let part = read(raw, path, json::object)?;
    let kind = part_kind(&part, path)?;
    match &*kind {
        "text" => {
            note_unknown(&part, &["type", "text"], ignored);
            Ok(plain(member_text(&part, path, "text")?))
        }
        "image_url" => {
            note_unknown(&part, &["type", "image_url"], ignored);
            let image = member_object(&part, path, "image_url")?;
            note_unknown(&image, &["url"], ignored);
            let path = path.key("image_url");
            let url = member_text(&image, &path, "url")?;
            data_url(url, &path.key("url"))
        }
        "input_audio" => {
            note_unknown(&part, &["type", "input_audio"], ignored);
            let audio = member_object(&part, path, "input_audio")?;
            let path = path.key("input_audio");
            let format_path = path.key("format");
            let mime = match &*member_text(&audio, &path, "format")?.text() {
                "wav" => "audio/wav",
                "mp3" => "audio/mpeg",
                _ => {
                    return Err(InvalidRequest::value(
                        &format_path,
                        "supported values are 'wav' and 'mp3'.",
                    ));
                }
            };
            let data = member_text(&audio, &path, "data")?.text();
            inline(mime.into(), data, &path.key("data"))
        }
        "file" => {
            note_unknown(&part, &["type", "file"], ignored);
            let file = member_object(&part, path, "file")?;
            note_unknown(&file, &["file_data", "filename"], ignored);
            let path = path.key("file");
            if file.get("file_data").is_none() && file.get("file_id").is_some() {
                return Err(InvalidRequest::unsupported(
                    &path.key("file_id"),
                    "There is no file storage here; send the file as a data URL in 'file_data'.",
                ));
            }
            let data = member_text(&file, &path, "file_data")?;
            data_url(data, &path.key("file_data"))
        }
        _ => Err(InvalidRequest::unsupported(
            &path.key("type"),
            format!(
                "Parts of type '{kind}' are not served; 'text', 'image_url', 'input_audio' and \
                 'file' are."
            ),
        )),
    }
}

/// `data:<mime>[;parameter…];base64,<data>`, taken apart and never decoded.
fn data_url<'a>(url: JsonStr<'a>, path: &Path<'_>) -> Result<Part<'a>, InvalidRequest> {
    let url = url.text();
    let head_end = url.bytes().take(256).position(|byte| byte == b',');
    let is_data = url
        .get(..5)
        .is_some_and(|s| s.eq_ignore_ascii_case("data:"));
    if !is_data {
        return Err(InvalidRequest::unsupported(
            path,
            "Only data URLs (data:image/png;base64,…) are served; the gateway fetches nothing.",
        ));
    }
    let malformed = || {
        InvalidRequest::value(
            path,
            "it is not a data URL in base64, such as data:image/png;base64,iVBORw0….",
        )
    };
    let head_end = head_end.ok_or_else(malformed)?;
    let mut head = url[5..head_end].split(';');
    let mime = head.next().unwrap_or_default().trim().to_ascii_lowercase();
    let base64 = head.any(|parameter| parameter.trim().eq_ignore_ascii_case("base64"));
    let is_mime = mime
        .split_once('/')
        .is_some_and(|(kind, subtype)| !kind.is_empty() && !subtype.is_empty());
    if !base64 || !is_mime {
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
) -> Result<Part<'a>, InvalidRequest> {
    let bare = data.trim_end_matches('=');
    let is_base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_');
    if bare.is_empty() || bare.len() % 4 == 1 || !bare.bytes().all(is_base64) {
        return Err(InvalidRequest::value(path, "its data is not base64."));
    }
    Ok(Part::Inline { mime, data })
}
