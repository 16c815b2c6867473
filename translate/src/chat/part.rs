//! Content parts: texts and media.

use std::borrow::Cow;

use super::{
    request::{Reading, kind_of, member, read, text, verbatim},
    source::{addressed, audio, file, image},
};
use crate::{
    error::InvalidRequest,
    gemini::request::{Media, Part},
    json::{self, Array, JsonStr, Object, Path, Raw, WrongType},
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
    raw: Raw<'a>,
    path: &Path<'_>,
) -> Result<Array<'a>, InvalidRequest> {
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
fn media_kind(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    let part = json::object(raw).ok()?;
    let kind = json::string(part.get("type")?).ok()?.text();
    matches!(&*kind, "image_url" | "input_audio" | "file" | "video_url").then_some(kind)
}

fn piece<'a>(
    raw: Raw<'a>,
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
        _ => addressed(&part, path, "video_url", &["url"], reading)?,
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

/// The text at `path`, which has to be whole.
pub(super) fn whole<'a>(text: JsonStr<'a>, path: &Path<'_>) -> Result<JsonStr<'a>, InvalidRequest> {
    if text.has_lone_surrogate() {
        return Err(InvalidRequest::lone_surrogate(path));
    }
    Ok(text)
}
