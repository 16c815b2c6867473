//! Media: what becomes of data URLs and addresses, and who says what they are.

use serde_json::{Value, json};
use translate::{
    chat::request::{self, Options},
    error::InvalidRequest,
    gemini::model::Dialect,
};

use crate::requests::{chat, lowered};

fn said(part: Value) -> Value {
    chat(json!([{"role": "user", "content": [part]}]))
}

/// What Google is sent for a part.
fn sent(part: Value) -> Value {
    lowered(&said(part), Dialect::Vertex)["contents"][0]["parts"][0].clone()
}

fn ignored(part: Value) -> Vec<String> {
    let options = Options {
        fetch_remote_media: true,
        ..Options::default()
    };
    let body = said(part).to_string();
    request::parse(&request::document(&body).unwrap(), &options)
        .unwrap()
        .ignored
}

fn refused(part: Value) -> InvalidRequest {
    let body = said(part).to_string();
    request::parse(&request::document(&body).unwrap(), &Options::default()).unwrap_err()
}

#[test]
fn media_is_passed_on_undecoded() {
    let body = chat(json!([{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "data:image/jpg;charset=x;base64,QUJD"}},
        {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "mp3"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QUI="}},
    ]}]));
    let inline = |mime: &str, data: &str| json!({"inlineData": {"mimeType": mime, "data": data}});
    assert_eq!(
        lowered(&body, Dialect::Vertex)["contents"][0]["parts"],
        json!([
            inline("image/jpeg", "QUJD"),
            inline("audio/mpeg", "QUJD"),
            inline("application/pdf", "QUI="),
            {"text": " "}
        ])
    );
}

#[test]
fn an_address_counts_as_often_as_it_is_named() {
    let image = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let body = chat(json!([{"role": "user", "content": [
        image("https://a.test/1"), image("https://a.test/2"), image("https://a.test/1")]}]));
    let body = body.to_string();
    let options = Options {
        fetch_remote_media: true,
        ..Options::default()
    };
    let document = request::document(&body).unwrap();
    let request = request::parse(&document, &options).unwrap();
    let times: Vec<usize> = request.wanted.iter().map(|wanted| wanted.times).collect();
    assert_eq!(times, [2, 1]);
}

#[test]
fn a_type_beside_a_data_url_has_its_say() {
    let image = |mime: &str, beside: Value| {
        let mut image = json!({"url": format!("data:{mime};base64,QUJD")});
        image
            .as_object_mut()
            .unwrap()
            .extend(beside.as_object().unwrap().clone());
        json!({"type": "image_url", "image_url": image})
    };
    let inline = |mime: &str| json!({"inlineData": {"mimeType": mime, "data": "QUJD"}});
    // The URL tells none: it is told beside it.
    for unsaid in ["", "application/octet-stream"] {
        for name in ["format", "mime_type", "content_type"] {
            let told = image(unsaid, json!({name: "image/WebP"}));
            assert_eq!(sent(told.clone()), inline("image/webp"));
            assert_eq!(ignored(told), [""; 0]);
        }
    }
    // Twice the same, in two spellings.
    assert_eq!(
        sent(image("image/jpg", json!({"format": "image/jpeg"}))),
        inline("image/jpeg")
    );
    // They contradict each other.
    let error = refused(image("image/png", json!({"format": "image/webp"})));
    assert_eq!(
        error.param.as_deref(),
        Some("messages[0].content[0].image_url.format")
    );
    assert!(error.message.contains("'image/png'"), "{error}");
    let error = refused(image(
        "image/png",
        json!({"format": "image/png", "mime_type": "image/gif"}),
    ));
    assert_eq!(
        error.param.as_deref(),
        Some("messages[0].content[0].image_url.mime_type")
    );
    let error = refused(image("image/png", json!({"format": "png"})));
    assert_eq!(
        error.param.as_deref(),
        Some("messages[0].content[0].image_url.format")
    );
    // Nobody tells.
    let error = refused(image("", json!({})));
    assert_eq!(
        error.param.as_deref(),
        Some("messages[0].content[0].image_url.url")
    );
}

#[test]
fn a_file_is_what_it_says_what_is_told_beside_it_or_what_its_name_tells() {
    let file = |file: Value| json!({"type": "file", "file": file});
    let inline = |mime: &str| json!({"inlineData": {"mimeType": mime, "data": "QUJD"}});
    let unsaid = "data:application/octet-stream;base64,QUJD";
    for (said, mime) in [
        (
            json!({"file_data": unsaid, "filename": "a.csv"}),
            "text/csv",
        ),
        (
            json!({"file_data": unsaid, "filename": "a.csv", "format": "text/plain"}),
            "text/plain",
        ),
        (
            json!({"file_data": "data:application/pdf;base64,QUJD", "filename": "a.csv"}),
            "application/pdf",
        ),
        (
            json!({"file_data": "QUJD", "filename": "a.bin", "format": "application/pdf"}),
            "application/pdf",
        ),
        // Nothing tells: Google says what it makes of it.
        (json!({"file_data": unsaid}), "application/octet-stream"),
    ] {
        assert_eq!(sent(file(said.clone())), inline(mime), "{said}");
    }
    // A name that has its effect is not named as ignored.
    for (said, is_heeded) in [
        (json!({"file_data": unsaid, "filename": "a.csv"}), true),
        (json!({"file_data": "QUJD", "filename": "a.csv"}), true),
        (
            json!({"file_data": unsaid, "filename": "a.csv", "format": "text/plain"}),
            false,
        ),
        (json!({"file_data": unsaid, "filename": "a.bin"}), false),
        (
            json!({"file_data": "data:application/pdf;base64,QUJD", "filename": "a.csv"}),
            false,
        ),
    ] {
        let named = ignored(file(said.clone()));
        assert_eq!(named.is_empty(), is_heeded, "{said}: {named:?}");
    }
    let error = refused(file(
        json!({"file_data": "data:application/pdf;base64,QUJD", "format": "text/plain"}),
    ));
    assert_eq!(
        error.param.as_deref(),
        Some("messages[0].content[0].file.format")
    );
    let error = refused(file(json!({"file_data": "QUJD", "filename": "a"})));
    assert_eq!(
        error.param.as_deref(),
        Some("messages[0].content[0].file.file_data")
    );
}

#[test]
fn a_type_beside_an_address_is_googles_to_heed_or_named() {
    let video =
        |url: &str| json!({"type": "video_url", "video_url": {"url": url, "format": "video/webm"}});
    for url in ["gs://bucket/film", "https://youtu.be/x"] {
        assert_eq!(
            sent(video(url)),
            json!({"fileData": {"fileUri": url, "mimeType": "video/webm"}})
        );
        assert_eq!(ignored(video(url)), [""; 0]);
    }
    // Whoever serves the file says what it is.
    assert_eq!(
        ignored(video("https://example.com/film")),
        ["messages[].content[].video_url.format"]
    );
}

#[test]
fn recordings_are_called_alike_everywhere() {
    for (format, mime) in [
        ("wav", "audio/wav"),
        ("mp3", "audio/mpeg"),
        ("aac", "audio/aac"),
        ("aiff", "audio/aiff"),
        ("flac", "audio/flac"),
        ("ogg", "audio/ogg"),
    ] {
        let recording =
            json!({"type": "input_audio", "input_audio": {"data": "QUJD", "format": format}});
        assert_eq!(sent(recording)["inlineData"]["mimeType"], mime);
        let name = format!("gs://bucket/a.{format}");
        let file = json!({"type": "file", "file": {"file_id": name}});
        assert_eq!(sent(file)["fileData"]["mimeType"], mime);
    }
    let error =
        refused(json!({"type": "input_audio", "input_audio": {"data": "QUJD", "format": "amr"}}));
    assert_eq!(
        error.param.as_deref(),
        Some("messages[0].content[0].input_audio.format")
    );
    assert!(error.message.contains("'wav', 'mp3'"), "{error}");
}
