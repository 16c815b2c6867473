//! Plays bytes of an upstream as the gateway's relay does.

use bytes::Bytes;
use serde_json::Value;
use translate::{
    chat::{
        audio::AudioFormat,
        reply::{Reply, Settings, Shape, Verdict},
    },
    gemini::response::NotAnAnswer,
    sse::{EventBuffer, Framing, documents},
};

pub(crate) const STREAM: Shape = Shape::Stream {
    include_usage: true,
};

pub(crate) fn settings(shape: Shape) -> Settings {
    Settings {
        id: "chatcmpl-1".to_owned(),
        created: 1,
        model: "gemini-3-flash".to_owned(),
        shape,
        first_call_only: false,
        legacy_functions: false,
        names: translate::chat::names::Names::default(),
        signature_id_limit: 4096,
        audio: AudioFormat::Pcm16,
        choice: None,
        wrapped: false,
    }
}

/// What came of an answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Played {
    /// What the client was told.
    pub(crate) told: String,
    pub(crate) end: End,
}

#[derive(Debug, PartialEq)]
pub(crate) enum End {
    /// The upstream told an error, or something that is no answer.
    Broken(NotAnAnswer),
    /// The upstream ended.
    Ended(Verdict),
}

impl Played {
    pub(crate) fn is_success(&self) -> bool {
        matches!(self.end, End::Ended(Verdict::Whole | Verdict::Empty))
    }

    /// The chunks, and whether `[DONE]` came behind them.
    pub(crate) fn chunks(&self) -> (Vec<Value>, bool) {
        let mut events: Vec<&str> = self
            .told
            .split_terminator("\n\n")
            .map(|event| event.strip_prefix("data: ").unwrap())
            .collect();
        let done = events.pop_if(|event| *event == "[DONE]").is_some();
        let chunks = events.into_iter().map(|event| {
            assert!(!event.contains('\n'));
            serde_json::from_str(event).unwrap()
        });
        (chunks.collect(), done)
    }

    pub(crate) fn object(&self) -> Value {
        serde_json::from_str(&self.told).unwrap()
    }
}

/// Plays `bytes`, cut before each of `splits`.
pub(crate) fn play(bytes: &[u8], splits: &[usize], framing: Framing, settings: Settings) -> Played {
    let object = settings.shape == Shape::Object;
    let mut reply = Reply::new(settings);
    let mut buffer = EventBuffer::new(framing);
    let mut out = Vec::new();
    let mut from = 0;
    let mut broken = None;
    for end in splits.iter().copied().chain([bytes.len()]) {
        let end = end.clamp(from, bytes.len());
        buffer.push(&bytes[from..end]);
        from = end;
        while let Some(event) = buffer.next_event() {
            broken = broken.or_else(|| told(&mut reply, &event, framing, &mut out).err());
        }
    }
    if let Some(event) = buffer.last_event() {
        broken = broken.or_else(|| told(&mut reply, &event, framing, &mut out).err());
    }
    let end = match broken {
        Some(broken) => End::Broken(broken),
        None => End::Ended(reply.verdict(framing == Framing::Json)),
    };
    assert!(!object || out.is_empty(), "said before the end: {out:?}");
    let mut played = Played {
        told: String::new(),
        end,
    };
    if played.is_success() {
        reply.finish(&mut out);
    }
    played.told = String::from_utf8(out).unwrap();
    played
}

fn told(
    reply: &mut Reply,
    event: &Bytes,
    framing: Framing,
    out: &mut Vec<u8>,
) -> Result<(), NotAnAnswer> {
    let mut document = |document: &[u8]| reply.document(&String::from_utf8_lossy(document), out);
    match framing {
        Framing::Sse => documents(event).try_for_each(|each| document(&each)),
        Framing::Json => document(event),
    }
}
