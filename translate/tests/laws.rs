//! Laws of the answer's rendering, over answers of every kind: any split of the bytes
//! tells the client the same, folding the stream gives the whole answer, and what the
//! model said arrives as it was said.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use translate::{
    chat::{
        audio::AudioFormat,
        reply::{Reply, Settings, Shape, Verdict},
    },
    sse::{EventBuffer, Framing, Payload, payload},
};

fn settings(shape: Shape) -> Settings {
    Settings {
        id: "chatcmpl-1".to_owned(),
        created: 1,
        model: "m".to_owned(),
        shape,
        first_call_only: false,
        signature_id_limit: 4096,
        audio: AudioFormat::Pcm16,
        wrapped: false,
    }
}

/// The chunks of a stream as the client parses them.
fn streamed(bytes: &[u8], splits: &[usize]) -> (Vec<Value>, bool) {
    let mut reply = Reply::new(settings(Shape::Stream {
        include_usage: true,
    }));
    let mut buffer = EventBuffer::new(Framing::Sse);
    let mut out = Vec::new();
    let mut from = 0;
    let ends = splits.iter().copied().chain([bytes.len()]);
    for end in ends {
        let end = end.clamp(from, bytes.len());
        buffer.push(&bytes[from..end]);
        from = end;
        while let Some(event) = buffer.next_event() {
            document(&mut reply, &event, &mut out);
        }
    }
    if let Some(event) = buffer.last_event() {
        document(&mut reply, &event, &mut out);
    }
    assert!(matches!(
        reply.verdict(false),
        Verdict::Whole | Verdict::Empty
    ));
    reply.finish(&mut out);
    let text = String::from_utf8(out).unwrap();
    let events: Vec<&str> = text
        .split("\n\n")
        .filter_map(|e| e.strip_prefix("data: "))
        .collect();
    let done = events.last() == Some(&"[DONE]");
    let chunks = events
        .iter()
        .filter(|e| **e != "[DONE]")
        .map(|e| serde_json::from_str(e).unwrap());
    (chunks.collect(), done)
}

fn document(reply: &mut Reply, event: &bytes::Bytes, out: &mut Vec<u8>) {
    if let Payload::Data(data) = payload(event) {
        reply
            .document(std::str::from_utf8(&data).unwrap(), out)
            .unwrap();
    }
}

/// The whole answer that the same documents make.
fn whole(documents: &[Value]) -> Value {
    let mut reply = Reply::new(settings(Shape::Object));
    let mut out = Vec::new();
    for document in documents {
        reply.document(&document.to_string(), &mut out).unwrap();
    }
    assert!(out.is_empty(), "a whole answer says nothing before its end");
    reply.finish(&mut out);
    serde_json::from_slice(&out).unwrap()
}

/// Folds a stream as OpenAI's SDKs do.
fn folded(chunks: &[Value]) -> Value {
    let mut choices: Map<String, Value> = Map::new();
    let mut usage = Value::Null;
    for chunk in chunks {
        if !chunk["usage"].is_null() {
            usage = chunk["usage"].clone();
        }
        for choice in chunk["choices"].as_array().unwrap() {
            let index = choice["index"].to_string();
            let entry = choices
                .entry(index)
                .or_insert_with(|| json!({"text": "", "reasoning": "", "calls": [], "images": 0}));
            let delta = &choice["delta"];
            for (from, to) in [("content", "text"), ("reasoning_content", "reasoning")] {
                if let Some(piece) = delta[from].as_str() {
                    let text = format!("{}{piece}", entry[to].as_str().unwrap());
                    entry[to] = text.into();
                }
            }
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                let calls = entry["calls"].as_array_mut().unwrap();
                assert_eq!(call["index"], calls.len(), "indexes are contiguous");
                let mut call = call.clone();
                call.as_object_mut().unwrap().remove("index");
                calls.push(call);
            }
            if let Some(images) = delta["images"].as_array() {
                entry["images"] = (entry["images"].as_u64().unwrap() + images.len() as u64).into();
            }
            for key in ["refusal", "extra_content"] {
                if !delta[key].is_null() {
                    entry[key] = delta[key].clone();
                }
            }
            for key in ["finish_reason", "native_finish_reason"] {
                if !choice[key].is_null() {
                    entry[key] = choice[key].clone();
                }
            }
        }
    }
    json!({"choices": choices, "usage": usage})
}

/// A whole answer in the shape of [`folded`].
fn flattened(object: &Value) -> Value {
    let mut choices = Map::new();
    for choice in object["choices"].as_array().unwrap() {
        let message = &choice["message"];
        let mut entry = json!({
            "text": message["content"].as_str().unwrap_or_default(),
            "reasoning": message["reasoning_content"].as_str().unwrap_or_default(),
            "calls": message.get("tool_calls").cloned().unwrap_or_else(|| json!([])),
            "images": message["images"].as_array().map_or(0, Vec::len),
        });
        for key in ["refusal", "extra_content"] {
            if !message[key].is_null() {
                entry[key] = message[key].clone();
            }
        }
        for key in ["finish_reason", "native_finish_reason"] {
            if !choice[key].is_null() {
                entry[key] = choice[key].clone();
            }
        }
        choices.insert(choice["index"].to_string(), entry);
    }
    json!({"choices": choices, "usage": object["usage"]})
}

fn part() -> impl Strategy<Value = Value> {
    let signature = proptest::option::of("[A-Za-z0-9+/]{8}");
    let signed = |mut part: Value, signature: Option<String>| {
        if let Some(signature) = signature {
            part["thoughtSignature"] = signature.into();
        }
        part
    };
    prop_oneof![
        4 => ("\\PC{0,20}|[\\x00-\\x1f\"\\\\😀]{0,6}", signature.clone()).prop_map(move |(text, s)| signed(json!({"text": text}), s)),
        2 => "\\PC{0,12}".prop_map(|text| json!({"thought": true, "text": text})),
        2 => ("[a-z_]{1,8}", "\\PC{0,10}", any::<i64>(), signature).prop_map(move |(name, text, n, s)| {
            signed(json!({"functionCall": {"name": name, "args": {"a": text, "n": n, "deep": {"x": [null, true]}}}}), s)
        }),
        1 => Just(json!({"functionCall": {"name": "f", "id": "same"}})),
        1 => Just(json!({"inlineData": {"mimeType": "image/png", "data": "aGk="}})),
        1 => "[ -~]{0,20}".prop_map(|code| json!({"executableCode": {"language": "PYTHON", "code": code}})),
        1 => Just(json!({"tomorrow": {"x": 1}})),
        1 => Just(json!({})),
    ]
}

fn documents() -> impl Strategy<Value = Vec<Value>> {
    let chunk = (0u32..2, proptest::collection::vec(part(), 0..4)).prop_map(|(index, parts)| {
        json!({"candidates": [{"index": index, "content": {"role": "model", "parts": parts}}]})
    });
    let reason = prop_oneof![
        Just("STOP"),
        Just("MAX_TOKENS"),
        Just("SAFETY"),
        Just("OTHER"),
        Just("NEW")
    ];
    (proptest::collection::vec(chunk, 0..6), reason, 0u64..1000, 0u64..1000).prop_map(|(mut chunks, reason, prompt, candidates)| {
        chunks.push(json!({"candidates": [{"index": 0, "finishReason": reason}, {"index": 1, "finishReason": "STOP"}]}));
        chunks.push(json!({"usageMetadata": {"promptTokenCount": prompt, "candidatesTokenCount": candidates, "totalTokenCount": prompt + candidates}}));
        chunks
    })
}

fn wire(documents: &[Value], newline: &str) -> Vec<u8> {
    documents
        .iter()
        .flat_map(|document| format!("data: {document}{newline}{newline}").into_bytes())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn any_split_tells_the_same(documents in documents(), splits in proptest::collection::vec(0usize..4000, 0..12), crlf: bool) {
        let bytes = wire(&documents, if crlf { "\r\n" } else { "\n" });
        let mut splits = splits;
        splits.sort_unstable();
        let (at_once, done) = streamed(&bytes, &[]);
        prop_assert!(done);
        prop_assert_eq!(&streamed(&bytes, &splits).0, &at_once);
        let every: Vec<usize> = (0..bytes.len()).collect();
        prop_assert_eq!(&streamed(&bytes, &every).0, &at_once);
    }

    #[test]
    fn folding_the_stream_gives_the_whole_answer(documents in documents()) {
        let (chunks, _) = streamed(&wire(&documents, "\r\n"), &[]);
        prop_assert_eq!(folded(&chunks), flattened(&whole(&documents)));
    }

    #[test]
    fn what_the_model_said_arrives_as_it_was_said(documents in documents()) {
        let object = whole(&documents);
        for choice in object["choices"].as_array().unwrap() {
            let parts: Vec<&Value> = documents.iter()
                .flat_map(|document| document["candidates"].as_array().into_iter().flatten())
                .filter(|candidate| candidate["index"] == choice["index"])
                .flat_map(|candidate| candidate["content"]["parts"].as_array().into_iter().flatten())
                .collect();
            if !parts.iter().any(|part| part.get("executableCode").is_some()) {
                let said: String = parts.iter().filter(|part| part["thought"] != true).filter_map(|part| part["text"].as_str()).collect();
                prop_assert_eq!(choice["message"]["content"].as_str().unwrap_or_default(), said);
            }
            let called: Vec<Value> = parts.iter().filter_map(|part| part.get("functionCall")).map(|call| {
                call.get("args").cloned().unwrap_or_else(|| json!({}))
            }).collect();
            let told: Vec<Value> = choice["message"]["tool_calls"].as_array().into_iter().flatten().map(|call| {
                serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap()
            }).collect();
            prop_assert_eq!(called, told);
        }
        let ids: Vec<&Value> = object["choices"].as_array().unwrap().iter().flat_map(|c| c["message"]["tool_calls"].as_array().into_iter().flatten()).map(|call| &call["id"]).collect();
        let unique: std::collections::BTreeSet<String> = ids.iter().map(|id| id.to_string()).collect();
        prop_assert_eq!(ids.len(), unique.len());
    }
}
