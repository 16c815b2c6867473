//! Whatever an upstream sends, the client is told JSON, the same however the bytes were
//! split, and `[DONE]` only of what ended well.

use serde_json::Value;
use translate::{
    chat::{
        audio::AudioFormat,
        reply::{Reply, Settings, Shape, Verdict},
    },
    sse::{EventBuffer, Framing, documents},
};

/// The first byte holds the settings, the second the length of the pieces; the rest is
/// what the upstream sends.
pub(crate) fn check(data: &[u8]) {
    let [flags, length, upstream @ ..] = data else {
        return;
    };
    let flag = |bit: u8| flags >> bit & 1 == 1;
    let shape = if flag(0) {
        Shape::Object
    } else {
        Shape::Stream {
            include_usage: flag(1),
        }
    };
    let settings = Settings {
        id: "chatcmpl-1".to_owned(),
        created: 1,
        model: "m".to_owned(),
        shape,
        first_call_only: flag(2),
        legacy_functions: false,
        names: translate::chat::names::Names::default(),
        signature_id_limit: if flag(3) { 4096 } else { 0 },
        audio: if flag(4) {
            AudioFormat::Wav
        } else {
            AudioFormat::Pcm16
        },
        choice: None,
        wrapped: flag(5),
    };
    let framing = if flag(6) { Framing::Json } else { Framing::Sse };
    let (told, well) = told(upstream, upstream.len().max(1), framing, settings.clone());
    let length = usize::from(*length).max(1);
    let again = self::told(upstream, length, framing, settings);
    assert_eq!((&told, well), (&again.0, again.1));
    match shape {
        Shape::Object if well => drop(json(&told)),
        Shape::Object => assert_eq!(told, ""),
        Shape::Stream { .. } => {
            let mut done = false;
            for event in told.split_terminator("\n\n") {
                assert!(!done, "something behind [DONE]");
                let event = event.strip_prefix("data: ");
                done = event == Some("[DONE]");
                if !done {
                    json(event.unwrap_or_default());
                }
            }
            assert_eq!(done, well);
        }
    }
}

fn json(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => panic!("{error}: {text}"),
    }
}

/// What the client is told, and whether it ended well.
fn told(upstream: &[u8], length: usize, framing: Framing, settings: Settings) -> (String, bool) {
    let mut reply = Reply::new(settings);
    let mut buffer = EventBuffer::new(framing);
    let mut out = Vec::new();
    let mut well = true;
    let mut tell = |event: &bytes::Bytes, reply: &mut Reply, out: &mut Vec<u8>| {
        let mut document = |document: &[u8]| {
            well = well
                && reply
                    .document(&String::from_utf8_lossy(document), out)
                    .is_ok();
        };
        match framing {
            Framing::Sse => documents(event).for_each(|each| document(&each)),
            Framing::Json => document(event),
        }
    };
    for piece in upstream.chunks(length) {
        buffer.push(piece);
        while let Some(event) = buffer.next_event() {
            tell(&event, &mut reply, &mut out);
        }
    }
    if let Some(event) = buffer.last_event() {
        tell(&event, &mut reply, &mut out);
    }
    let verdict = reply.verdict(framing == Framing::Json);
    well = well && matches!(verdict, Verdict::Whole | Verdict::Empty);
    if well {
        reply.finish(&mut out);
    }
    (String::from_utf8(out).unwrap_or_default(), well)
}
