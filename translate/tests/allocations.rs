//! What is allocated grows as what is read does, and no faster: not with the length of a text
//! but for the one copy that is written, and not with how many events came before.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "answers/code_assist.rs"]
mod code_assist;

use allocation_counter::{AllocationInfo, measure};
use bytes::Bytes;
use serde_json::{Value, json};
use translate::{
    chat::{
        reply::{Reply, Shape},
        request::{self, Options},
    },
    gemini::{model::Dialect, request::Target},
    sse::{EventBuffer, Framing, documents},
};

/// Text as people write it, of about so many bytes: with escapes, and not in ASCII alone.
fn text(bytes: usize) -> String {
    let sentence = "He said \"no\",\nand wrote C:\\temp – für alle.\t";
    sentence.repeat(bytes / sentence.len() + 1)
}

fn conversation(messages: usize, bytes: usize) -> Value {
    let text = text(bytes / messages);
    let message = |nth: usize| {
        let role = ["user", "assistant"][nth % 2];
        json!({"role": role, "content": text})
    };
    let messages: Vec<Value> = (0..messages).map(message).collect();
    json!({"model": "gemini-2.5-flash", "messages": messages, "temperature": 0.7})
}

fn with_tools(mut body: Value, tools: usize, bytes: usize) -> Value {
    let tool = |nth: usize| {
        json!({"type": "function", "function": {
            "name": format!("look_up_{nth}"),
            "description": text(bytes),
            "parameters": {"type": "object", "required": ["name"], "properties": {
                "name": {"type": "string", "description": text(bytes)},
                "kind": {"type": "string", "enum": ["person", "place"]},
                "limit": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}}}}})
    };
    body["tools"] = (0..tools).map(tool).collect();
    body
}

/// What it takes to read a request and to write Google's.
fn lowering(body: &str) -> AllocationInfo {
    measure(|| {
        let document = request::document(body).unwrap();
        let request = request::parse(&document, &Options::default()).unwrap();
        let mut out = Vec::with_capacity(body.len() + 1024);
        let model = request.upstream_model();
        let dialect = Dialect::CodeAssist;
        request.gemini.write(Target { dialect, model }, &mut out);
        assert!(out.len() > body.len() / 2);
    })
}

#[test]
fn a_text_is_copied_once_however_long_it_is() {
    let of = |bytes: usize| {
        let body = conversation(61, bytes).to_string();
        (lowering(&body), body.len() as u64)
    };
    let (least, _) = of(10_000);
    for bytes in [100_000, 400_000, 1_600_000] {
        let (more, length) = of(bytes);
        assert_eq!(more.count_total, least.count_total, "{bytes}");
        let most = length + length / 10 + 40_000;
        assert!(more.bytes_total <= most, "{} > {most}", more.bytes_total);
        assert!(more.bytes_max <= most, "{} > {most}", more.bytes_max);
    }
}

#[test]
fn a_message_takes_as_much_however_many_there_are() {
    let of = |messages: usize| lowering(&conversation(messages, messages * 100).to_string());
    let (few, some, many) = (of(101), of(401), of(1601));
    let counts = [
        some.count_total - few.count_total,
        many.count_total - some.count_total,
    ];
    assert!(counts[0] <= 300 * 5, "{counts:?}");
    assert!(counts[1] <= counts[0] * 4 + 20, "{counts:?}");
    let bytes = [
        some.bytes_total - few.bytes_total,
        many.bytes_total - some.bytes_total,
    ];
    // Lists grow by doubling.
    assert!(bytes[1] <= bytes[0] * 6, "{bytes:?}");
}

#[test]
fn a_tool_takes_as_much_however_many_there_are_and_however_much_is_said_of_it() {
    let of = |tools: usize, bytes: usize| {
        let body = with_tools(conversation(1, 10), tools, bytes).to_string();
        (lowering(&body), body.len() as u64)
    };
    let [(few, _), (some, _), (many, _)] = [8, 32, 128].map(|tools| of(tools, 10));
    let counts = [
        some.count_total - few.count_total,
        many.count_total - some.count_total,
    ];
    assert!(counts[0] <= 24 * 60, "{counts:?}");
    assert!(counts[1] <= counts[0] * 4 + 40, "{counts:?}");
    // A text in a schema is unescaped, written, and put where it belongs, in lists that double.
    let ((short, least), (long, most)) = (of(8, 1_000), of(8, 64_000));
    let (bytes, more) = (long.bytes_total - short.bytes_total, most - least);
    assert!(bytes <= 5 * more, "{bytes} for {more}");
    assert!(long.count_total <= short.count_total + 8 * 8 * 3);
}

const STREAM: Shape = Shape::Stream {
    include_usage: true,
};

fn reply(shape: Shape) -> Reply {
    Reply::new(code_assist::settings(shape))
}

fn event(nth: usize, bytes: usize) -> String {
    // Of a text that is no ASCII its widths are kept: see the test of its own.
    let part = json!({"text": text(bytes).replace(['–', 'ü'], "-")});
    let document = json!({
        "response": {
            "candidates": [{"content": {"role": "model", "parts": [part]}}],
            "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": nth * 20,
                "totalTokenCount": 10 + nth * 20},
            "modelVersion": "gemini-2.5-flash",
        },
        "traceId": "0123456789abcdef",
    });
    document.to_string()
}

/// What it takes to tell so many events, each in an output of its own.
fn told(reply: &mut Reply, events: &[String]) -> AllocationInfo {
    measure(|| {
        for event in events {
            let mut out = Vec::new();
            reply.document(event, &mut out).unwrap();
        }
    })
}

#[test]
fn an_event_takes_as_much_however_many_came_before() {
    let events: Vec<String> = (1..=100).map(|nth| event(nth, 80)).collect();
    let mut reply = reply(STREAM);
    told(&mut reply, &events);
    let early = told(&mut reply, &events);
    assert!(early.count_total <= 100, "{early:?}");
    let mut held = 0;
    for _ in 0..100 {
        let late = told(&mut reply, &events);
        assert!(late.count_total <= early.count_total, "{late:?}");
        assert!(late.bytes_total <= early.bytes_total, "{late:?}");
        held += late.bytes_current;
    }
    assert_eq!(held, 0);
}

#[test]
fn of_a_text_a_stream_keeps_a_small_part() {
    let document =
        json!({"response": {"candidates": [{"content": {"parts": [{"text": text(80)}]}}]}});
    let events = vec![document.to_string(); 10_000];
    let mut reply = reply(STREAM);
    let info = told(&mut reply, &events);
    assert!(info.bytes_current < 10_000 * 80 / 4, "{info:?}");
    assert!(info.count_total < 10_000 + 60, "{info:?}");
}

#[test]
fn an_event_is_copied_once_however_long_it_is() {
    for bytes in [1_000, 64_000, 1_000_000] {
        let event = event(1, bytes);
        let mut reply = reply(STREAM);
        let first = told(&mut reply, std::slice::from_ref(&event));
        let info = told(&mut reply, std::slice::from_ref(&event));
        let length = event.len() as u64;
        assert!(
            first.bytes_total <= length + length / 10 + 10_000,
            "{first:?}"
        );
        assert!(first.bytes_current < 10_000, "{first:?}");
        let most = length + length / 10 + 1_000;
        assert!(info.bytes_total <= most, "{info:?} of {length}");
        assert_eq!(info.count_total, 1, "{info:?}");
    }
}

#[test]
fn a_folded_answer_takes_as_much_as_it_holds() {
    let of = |events: usize| {
        let events: Vec<String> = (1..=events).map(|nth| event(nth, 80)).collect();
        let mut reply = reply(Shape::Object);
        let mut info = told(&mut reply, &events);
        info += measure(|| reply.finish(&mut Vec::new()));
        info
    };
    let (some, many) = (of(500), of(2_000));
    assert!(some.count_total <= 100, "{some:?}");
    assert!(many.count_total <= some.count_total + 20, "{many:?}");
    assert!(
        many.bytes_total <= some.bytes_total * 5,
        "{some:?} {many:?}"
    );
}

#[test]
fn an_event_is_cut_out_of_what_is_read_without_a_copy_for_each_before() {
    let of = |events: usize, bytes: usize| {
        let read: Bytes = format!("data: {}\r\n\r\n", event(1, bytes)).into();
        let mut seen = 0;
        let info = measure(|| {
            let mut input = EventBuffer::new(Framing::Sse);
            for _ in 0..events {
                input.push(&read);
                while let Some(event) = input.next_event() {
                    seen += documents(&event).count();
                }
            }
        });
        assert_eq!(seen, events);
        (info, read.len() as u64)
    };
    // What an event was cut out of takes in the next one.
    let ((some, _), (many, _)) = (of(500, 80), of(2_000, 80));
    assert!(some.count_total <= 4, "{some:?}");
    assert_eq!(many.bytes_total, some.bytes_total);
    let (large, length) = of(10, 1_000_000);
    assert!(large.bytes_total <= length + 1_000, "{large:?} of {length}");
}
