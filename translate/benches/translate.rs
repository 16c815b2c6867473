//! How long a request takes to lower and an answer to render: `cargo bench -p translate`.

#![expect(
    clippy::unwrap_used,
    reason = "what is measured here is known to succeed; anything else ends it"
)]

#[path = "../tests/answers/code_assist.rs"]
mod code_assist;

use std::hint::black_box;

use bytes::Bytes;
use divan::{
    Bencher,
    counter::{BytesCount, ItemsCount},
};
use serde_json::{Value, json};
use translate::{
    chat::{
        reply::{Reply, Shape},
        request::{self, Options},
    },
    gemini::{model::Dialect, request::Target},
    sse::{EventBuffer, Framing, documents},
};

fn main() {
    divan::main();
}

fn conversation(messages: usize, bytes: usize) -> Value {
    // With escapes, as real text has them.
    let text = "He said \"no\",\nand wrote C:\\temp. ".repeat(bytes / messages / 33 + 1);
    let message = |nth: usize| {
        let role = ["user", "assistant"][nth % 2];
        json!({"role": role, "content": text})
    };
    let messages: Vec<Value> = (0..messages).map(message).collect();
    json!({"model": "gemini-2.5-flash", "messages": messages, "temperature": 0.7})
}

fn with_tools(mut body: Value) -> Value {
    let tool = |nth: usize| {
        json!({"type": "function", "function": {
            "name": format!("look_up_{nth}"),
            "description": "Looks an entry up.",
            "parameters": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "Whom to look for."},
                    "kind": {"type": "string", "enum": ["person", "place"]},
                    "limit": {"type": "integer", "minimum": 1},
                },
                "required": ["name"],
            },
        }})
    };
    body["tools"] = (0..20).map(tool).collect();
    body
}

/// The requests that are lowered.
#[derive(Clone, Copy, Debug)]
enum Asked {
    OneMessage,
    HundredKilobytes,
    OneMegabyte,
    TwentyTools,
}

const ASKED: [Asked; 4] = [
    Asked::OneMessage,
    Asked::HundredKilobytes,
    Asked::OneMegabyte,
    Asked::TwentyTools,
];

impl Asked {
    fn body(self) -> String {
        let body = match self {
            Self::OneMessage => conversation(1, 60),
            // An odd number, so that the user speaks last.
            Self::HundredKilobytes => conversation(61, 100_000),
            Self::OneMegabyte => conversation(61, 1_000_000),
            Self::TwentyTools => with_tools(conversation(1, 60)),
        };
        body.to_string()
    }
}

/// OpenAI's request, read and checked.
#[divan::bench(args = ASKED)]
fn read(bencher: Bencher<'_, '_>, asked: Asked) {
    let body = asked.body();
    let options = Options::default();
    bencher
        .counter(BytesCount::of_str(&body))
        .bench(|| request::parse(&request::document(black_box(&body)).unwrap(), &options).is_ok());
}

/// Google's request, written from one that was read.
#[divan::bench(args = ASKED)]
fn write(bencher: Bencher<'_, '_>, asked: Asked) {
    let body = asked.body();
    let document = request::document(&body).unwrap();
    let request = request::parse(&document, &Options::default()).unwrap();
    let target = Target {
        dialect: Dialect::CodeAssist,
        model: request.upstream_model(),
    };
    bencher.counter(BytesCount::of_str(&body)).bench(|| {
        let mut out = Vec::with_capacity(body.len() + 1024);
        request.gemini.write(target, &mut out);
        out
    });
}

/// An answer of so many events, as Code Assist streams it.
fn answer(events: usize) -> Vec<Bytes> {
    let event = |nth: usize| {
        let mut candidate = json!({"content": {"role": "model", "parts": [
            {"text": "Some twenty tokens of text, with \"quotes\" and a line's end,\nas answers have them. "}]}});
        if nth == events {
            candidate["finishReason"] = "STOP".into();
        }
        let document = json!({
            "response": {
                "candidates": [candidate],
                "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": nth * 20,
                    "totalTokenCount": 10 + nth * 20},
                "modelVersion": "gemini-2.5-flash",
                "responseId": "abcdefghijklmnopqrstuvw",
            },
            "traceId": "0123456789abcdef",
        });
        Bytes::from(format!("data: {document}\r\n\r\n"))
    };
    (1..=events).map(event).collect()
}

/// A whole answer through the parser of server-sent events and the renderer, an event a read.
fn render(bencher: Bencher<'_, '_>, events: usize, shape: Shape) {
    let answer = answer(events);
    bencher.counter(ItemsCount::new(events)).bench(|| {
        let mut input = EventBuffer::new(Framing::Sse);
        let mut reply = Reply::new(code_assist::settings(shape));
        let mut out = Vec::new();
        for bytes in &answer {
            input.push(black_box(bytes));
            while let Some(event) = input.next_event() {
                for document in documents(&event) {
                    let document = str::from_utf8(&document).unwrap();
                    reply.document(document, &mut out).unwrap();
                }
            }
        }
        reply.finish(&mut out);
        out
    });
}

/// An answer that is streamed on; items are events, whose cost does not depend on how many
/// came before.
#[divan::bench(args = [20, 200, 2000])]
fn stream(bencher: Bencher<'_, '_>, events: usize) {
    let shape = Shape::Stream {
        include_usage: true,
    };
    render(bencher, events, shape);
}

/// A streamed answer that is folded into one object.
#[divan::bench(args = [20, 200, 2000])]
fn object(bencher: Bencher<'_, '_>, events: usize) {
    render(bencher, events, Shape::Object);
}
