//! Answers that nobody sane sends: whatever they are, they take no more time than their
//! bytes are worth.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use translate::{chat::reply::Shape, sse::Framing};

use crate::played::{End, Played, STREAM, play, settings};

/// Far more than any of these takes, and far less than if each byte were looked at for each.
const ENOUGH: Duration = Duration::from_secs(20);

fn timed(what: &str, bytes: &[u8]) -> Played {
    let mut last = None;
    for shape in [STREAM, Shape::Object] {
        let begun = Instant::now();
        let played = play(bytes, &[], Framing::Sse, settings(shape));
        let took = begun.elapsed();
        println!("{what}: {} KiB in {took:?}", bytes.len() >> 10);
        assert!(took < ENOUGH, "{what} took {took:?}");
        last = Some(played);
    }
    last.unwrap()
}

fn event(document: &Value) -> Vec<u8> {
    format!("data: {document}\r\n\r\n").into_bytes()
}

fn candidates(all: impl Iterator<Item = Value>) -> Vec<u8> {
    event(&json!({"candidates": all.collect::<Vec<_>>()}))
}

#[test]
fn a_large_event_in_small_pieces() {
    for filler in ["\r\nx:", "\nid:1", "\r\n:", "data: \r\n"] {
        let mut bytes = b"data: {".to_vec();
        bytes.extend(filler.repeat(1 << 20).into_bytes());
        let splits: Vec<usize> = (0..bytes.len()).step_by(7).collect();
        let begun = Instant::now();
        play(&bytes, &splits, Framing::Sse, settings(STREAM));
        assert!(begun.elapsed() < ENOUGH, "{filler:?} {:?}", begun.elapsed());
    }
}

#[test]
fn many_blank_lines() {
    for filler in ["\n", "\r", "\r\n", "\n\r", "data:\n\n", ": hi\r\r"] {
        timed(filler, filler.repeat(1 << 20).as_bytes());
    }
}

#[test]
fn many_candidates() {
    let many = (0..200_000).rev().map(|index| json!({"index": index}));
    let played = timed("candidates", &candidates(many));
    assert!(matches!(played.end, End::Broken(_)), "{:?}", played.end);
    let same = (0..200_000).map(|_| json!({"content": {"parts": [{"text": "a"}]}}));
    timed("chunks of one candidate", &candidates(same));
}

#[test]
fn many_parts() {
    let part = |part: Value| {
        let parts: Vec<Value> = std::iter::repeat_n(part, 100_000).collect();
        candidates(std::iter::once(
            json!({"content": {"parts": parts}, "finishReason": "STOP"}),
        ))
    };
    for (what, one) in [
        ("empty", json!({})),
        ("text", json!({"text": "é\n"})),
        ("thoughts", json!({"text": "a", "thought": true})),
        (
            "signed thoughts",
            json!({"text": "a", "thought": true, "thoughtSignature": "QUJD"}),
        ),
        (
            "calls",
            json!({"functionCall": {"name": "f", "id": "same"}, "thoughtSignature": "QUJD"}),
        ),
        ("code", json!({"executableCode": {"code": "```"}})),
        (
            "images",
            json!({"inlineData": {"mimeType": "image/png", "data": "AAAA"}}),
        ),
        (
            "speech",
            json!({"inlineData": {"mimeType": "audio/L16", "data": "AA=="}}),
        ),
    ] {
        timed(what, &part(one));
    }
}

#[test]
fn many_sources() {
    let text = "é天a".repeat(50_000);
    let chunk = json!({"web": {"uri": "https://a", "title": "A"}});
    let support = |at: usize| {
        json!({"segment": {"startIndex": at, "endIndex": at + 100, "partIndex": at % 3, "text": "x"},
            "groundingChunkIndices": [0, 1, 2, 3]})
    };
    let chunks: Vec<Value> = std::iter::repeat_n(chunk, 4).collect();
    let metadata = json!({"groundingChunks": chunks,
        "groundingSupports": (0..50_000).map(support).collect::<Vec<_>>()});
    let one = json!({"content": {"parts": [{"text": text}]}, "finishReason": "STOP",
        "groundingMetadata": metadata});
    timed("sources", &candidates(std::iter::once(one.clone())));
    // A stream may tell them with every chunk.
    let small = json!({"candidates": [{"content": {"parts": [{"text": "a"}]}, "groundingMetadata": {
        "groundingChunks": [{"web": {"uri": "https://a"}}],
        "groundingSupports": (0..20).map(support).collect::<Vec<_>>()}}]});
    let mut bytes = event(&small).repeat(5_000);
    bytes.extend(candidates(std::iter::once(json!({"finishReason": "STOP"}))));
    timed("sources told again", &bytes);
}

#[test]
fn large_texts() {
    for (what, text) in [
        ("half surrogates", "\\ud800".repeat(1 << 17)),
        ("escapes", "\\\\\\n\\u00e9".repeat(1 << 17)),
        ("backticks", "`".repeat(1 << 20)),
        ("astral", "😀".repeat(1 << 18)),
        ("base64", "A".repeat(4 << 20)),
    ] {
        for part in ["text", "code", "data", "name", "args"] {
            let part = match part {
                "text" => format!(r#"{{"text":"{text}"}}"#),
                "code" => format!(r#"{{"executableCode":{{"code":"{text}"}}}}"#),
                "data" => {
                    format!(r#"{{"inlineData":{{"mimeType":"image/png","data":"{text}"}}}}"#)
                }
                "name" => format!(r#"{{"functionCall":{{"name":"{text}"}}}}"#),
                _ => format!(r#"{{"functionCall":{{"name":"f","args":{{"{text}":"{text}"}}}}}}"#),
            };
            let document = format!(
                r#"{{"candidates":[{{"content":{{"parts":[{part}]}},"finishReason":"STOP"}}]}}"#
            );
            let played = timed(what, format!("data: {document}\r\n\r\n").as_bytes());
            assert!(played.is_success());
        }
    }
}
