//! What media are, by their types, names and addresses.

use std::borrow::Cow;

/// Recordings that Gemini takes, by what `input_audio.format` and files call them:
/// <https://ai.google.dev/gemini-api/docs/audio#supported-formats>
pub(crate) const RECORDINGS: &[(&str, &str)] = &[
    ("wav", "audio/wav"),
    ("mp3", "audio/mpeg"),
    ("aac", "audio/aac"),
    ("aiff", "audio/aiff"),
    ("flac", "audio/flac"),
    ("ogg", "audio/ogg"),
];

/// The MIME type of a recording in this format.
pub(crate) fn recording(format: &str) -> Option<&'static str> {
    let known = RECORDINGS.iter().find(|(name, _)| *name == format);
    known.map(|(_, mime)| *mime)
}

/// Whether an address begins so, in capitals or not.
pub(crate) fn starts_with(url: &str, scheme: &str) -> bool {
    url.get(..scheme.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

/// What is between the scheme and the path of an address.
fn host(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    rest.split(['/', '?', '#']).next()
}

/// Whether an address is a film's on YouTube, which Gemini watches itself.
pub(crate) fn is_youtube(url: &str) -> bool {
    let is_web = starts_with(url, "https://") || starts_with(url, "http://");
    let hosts = [
        "youtube.com",
        "www.youtube.com",
        "m.youtube.com",
        "youtu.be",
    ];
    is_web
        && host(url).is_some_and(|host| hosts.iter().any(|known| host.eq_ignore_ascii_case(known)))
}

/// Whether Google reads the address itself: a bucket, or its Files API.
pub(crate) fn known_to_google(url: &str) -> bool {
    let files =
        starts_with(url, "https://generativelanguage.googleapis.com/") && url.contains("/files/");
    files || starts_with(url, "gs://")
}

/// The MIME type that a file's name tells.
#[must_use]
pub fn mime_of(name: &str) -> Option<&'static str> {
    let name = name.split(['?', '#']).next()?;
    let extension = name.rsplit_once('.')?.1.to_ascii_lowercase();
    Some(match &*extension {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "gif" => "image/gif",
        "pdf" => "application/pdf",
        "txt" | "md" | "log" => "text/plain",
        "html" | "htm" => "text/html",
        "css" => "text/css",
        "csv" => "text/csv",
        "xml" => "text/xml",
        "json" => "application/json",
        "mp4" => "video/mp4",
        "mov" => "video/mov",
        "mpeg" | "mpg" => "video/mpeg",
        "avi" => "video/avi",
        "webm" => "video/webm",
        "wmv" => "video/wmv",
        "flv" => "video/x-flv",
        "3gp" => "video/3gpp",
        format => return recording(format),
    })
}

/// A MIME type in the spelling that Google knows; `None`: it is none.
pub(crate) fn mime(text: &str) -> Option<Cow<'static, str>> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-' | '_');
    let whole = |part: &str| !part.is_empty() && part.chars().all(fits);
    let (kind, subtype) = text.split_once('/')?;
    if !whole(kind) || !whole(subtype) {
        return None;
    }
    let mime = text.to_ascii_lowercase();
    Some(match &*mime {
        "image/jpg" => "image/jpeg".into(),
        _ => mime.into(),
    })
}

/// Whether a MIME type, or the lack of one, says nothing of what the bytes are.
pub(crate) fn says_nothing(mime: &str) -> bool {
    matches!(
        mime,
        "" | "application/octet-stream" | "binary/octet-stream"
    )
}

/// Whether a MIME type is one of the documents that Gemini reads:
/// <https://ai.google.dev/gemini-api/docs/document-processing>.
#[must_use]
pub fn is_document(mime: &str) -> bool {
    mime.starts_with("text/") || matches!(mime, "application/pdf" | "application/json")
}
