//! Laws, over answers of every kind: any split of the bytes tells the client the same,
//! folding the stream gives the whole answer, what the model said arrives as it was said,
//! and what broke is never told as whole.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use serde_json::{Value, json};
use translate::{
    chat::reply::{AskedFor, Reply, Settings, Shape, assemble},
    sse::Framing,
};

use crate::{
    fold::folded,
    played::{Played, STREAM, play, settings},
};

fn signed(mut part: Value, signature: Option<String>) -> Value {
    if let Some(signature) = signature {
        part["thoughtSignature"] = signature.into();
    }
    part
}

fn part() -> impl Strategy<Value = Value> {
    let signature = || proptest::option::of("[A-Za-z0-9+/]{8}");
    prop_oneof![
        4 => ("\\PC{0,20}|[\\x00-\\x1f\"\\\\😀]{0,6}", signature())
            .prop_map(|(text, s)| signed(json!({"text": text}), s)),
        2 => ("\\PC{0,12}", signature())
            .prop_map(|(text, s)| signed(json!({"thought": true, "text": text}), s)),
        2 => ("[a-z_]{1,8}", "\\PC{0,10}", any::<i64>(), signature()).prop_map(|(name, text, n, s)| {
            let args = json!({"a": text, "n": n, "deep": {"x": [null, true]}});
            signed(json!({"functionCall": {"name": name, "args": args}}), s)
        }),
        1 => Just(json!({"functionCall": {"name": "f", "id": "same"}})),
        1 => signature().prop_map(|s| {
            signed(json!({"inlineData": {"mimeType": "image/png", "data": "aGk="}}), s)
        }),
        1 => proptest::collection::vec(any::<u8>(), 0..8).prop_map(|bytes| {
            json!({"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": STANDARD.encode(bytes)}})
        }),
        1 => Just(json!({"fileData": {"mimeType": "image/png", "fileUri": "https://a/b"}})),
        1 => "[ -~]{0,20}".prop_map(|code| json!({"executableCode": {"language": "PYTHON", "code": code}})),
        1 => "[`\n -~]{0,20}".prop_map(|output| json!({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": output}})),
        1 => Just(json!({"tomorrow": {"x": 1}})),
        1 => Just(json!({})),
    ]
}

fn metadata() -> impl Strategy<Value = Value> {
    let segment = (0u64..40, 0u64..40, 0usize..3).prop_map(|(start, end, chunk)| {
        json!({"segment": {"startIndex": start, "endIndex": end}, "groundingChunkIndices": [chunk]})
    });
    let chunks =
        json!([{"web": {"uri": "https://a", "title": "A"}}, {"maps": {"uri": "https://b"}}]);
    prop_oneof![
        4 => Just(json!({})),
        1 => proptest::collection::vec(segment, 0..3).prop_map(move |supports| {
            json!({"groundingMetadata": {"groundingChunks": chunks, "groundingSupports": supports}})
        }),
        1 => Just(json!({"groundingMetadata": {}, "urlContextMetadata": {"urlMetadata": [{"retrievedUrl": "https://c"}]}})),
        1 => ("\\PC{0,3}", -9.0..0.0).prop_map(|(token, probability)| {
            let token = json!({"token": token, "logProbability": probability});
            json!({"logprobsResult": {"chosenCandidates": [token], "topCandidates": [{"candidates": [token]}]}})
        }),
    ]
}

fn documents() -> impl Strategy<Value = Vec<Value>> {
    let parts = proptest::collection::vec(part(), 0..4);
    let chunk = (0u32..2, parts, metadata()).prop_map(|(index, parts, metadata)| {
        let mut candidate = json!({"index": index, "content": {"role": "model", "parts": parts}});
        let members = metadata.as_object().unwrap().clone();
        candidate.as_object_mut().unwrap().extend(members);
        json!({"candidates": [candidate]})
    });
    let reasons = ["STOP", "MAX_TOKENS", "SAFETY", "OTHER", "NEW"];
    let chunks = proptest::collection::vec(chunk, 0..6);
    (
        chunks,
        proptest::sample::select(reasons.to_vec()),
        0u64..1000,
        0u64..1000,
    )
        .prop_map(|(mut chunks, reason, prompt, candidates)| {
            chunks.push(json!({"candidates": [
                {"index": 0, "finishReason": reason, "finishMessage": "why"},
                {"index": 1, "finishReason": "STOP"},
            ]}));
            if prompt > 100 {
                chunks.push(json!({"usageMetadata": {"promptTokenCount": prompt,
                    "candidatesTokenCount": candidates, "totalTokenCount": prompt + candidates}}));
            }
            chunks
        })
}

/// How the answers of streams are made.
fn made() -> impl Strategy<Value = Settings> {
    (any::<bool>(), any::<bool>(), any::<bool>(), 0usize..60).prop_map(
        |(first_call_only, legacy_functions, wrapped, signature_id_limit)| Settings {
            first_call_only: first_call_only || legacy_functions,
            legacy_functions,
            wrapped,
            signature_id_limit,
            ..settings(STREAM)
        },
    )
}

fn wire(documents: &[Value], newline: &str) -> Vec<u8> {
    documents
        .iter()
        .flat_map(|document| format!("data: {document}{newline}{newline}").into_bytes())
        .collect()
}

fn streamed(bytes: &[u8], splits: &[usize]) -> Played {
    play(bytes, splits, Framing::Sse, settings(STREAM))
}

fn whole(documents: &[Value]) -> Value {
    let bytes = wire(documents, "\n");
    play(&bytes, &[], Framing::Sse, settings(Shape::Object)).object()
}

fn parts_of<'d>(documents: &'d [Value], index: &Value) -> Vec<&'d Value> {
    documents
        .iter()
        .flat_map(|document| document["candidates"].as_array().into_iter().flatten())
        .filter(|candidate| candidate["index"] == *index)
        .flat_map(|candidate| {
            candidate["content"]["parts"]
                .as_array()
                .into_iter()
                .flatten()
        })
        .collect()
}

/// A stream has told what it holds no longer, so what is held stays small.
#[test]
fn a_stream_does_not_grow_with_its_text() {
    let held = |times: usize| {
        let mut reply = Reply::new(settings(STREAM));
        let mut told = Vec::new();
        for thought in [true, false] {
            for _ in 0..times {
                let part =
                    json!({"thought": thought, "text": "The quick brown fox, \n \"so to say\". "});
                let chunk = json!({"candidates": [{"content": {"parts": [part]}}]});
                reply.document(&chunk.to_string(), &mut told).unwrap();
            }
        }
        format!("{reply:?}").len()
    };
    assert!(held(10_000) < held(1) + 100, "{} bytes", held(10_000));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn any_split_tells_the_same(documents in documents(), splits in proptest::collection::vec(0usize..4000, 0..12), ends in proptest::sample::select(vec!["\n", "\r\n", "\r"])) {
        let bytes = wire(&documents, ends);
        let mut splits = splits;
        splits.sort_unstable();
        let at_once = streamed(&bytes, &[]);
        prop_assert!(at_once.is_success() && at_once.chunks().1);
        prop_assert_eq!(&streamed(&bytes, &splits), &at_once);
        let every: Vec<usize> = (0..bytes.len()).collect();
        prop_assert_eq!(&streamed(&bytes, &every), &at_once);
    }

    #[test]
    fn folding_the_stream_gives_the_whole_answer(documents in documents(), made in made()) {
        let wrapped: Vec<Value> = documents.iter().map(|document| json!({"response": document})).collect();
        let bytes = wire(if made.wrapped { &wrapped } else { &documents }, "\r\n");
        let (chunks, _) = play(&bytes, &[], Framing::Sse, made.clone()).chunks();
        let object = play(&bytes, &[], Framing::Sse, Settings { shape: Shape::Object, ..made }).object();
        prop_assert_eq!(folded(&chunks), object);
    }

    #[test]
    fn one_call_of_several_comes_to_the_same(documents in documents(), object: bool) {
        let shape = if object { Shape::Object } else { STREAM };
        let settings = Settings { choice: Some(AskedFor::All), ..settings(shape) };
        let mut reply = Reply::new(settings.clone());
        let mut told = Vec::new();
        for document in &documents {
            reply.document(&document.to_string(), &mut told).unwrap();
        }
        reply.finish(&mut told);
        let share = reply.share();
        prop_assert_eq!(share.missing(3).collect::<Vec<_>>(), vec![2]);
        told.extend(assemble(&settings, vec![share]));
        let alone = Settings { choice: None, ..settings };
        let alone = play(&wire(&documents, "\n"), &[], Framing::Sse, alone).told;
        prop_assert_eq!(String::from_utf8(told).unwrap(), alone);
    }

    #[test]
    fn what_the_model_said_arrives_as_it_was_said(documents in documents()) {
        let object = whole(&documents);
        let mut ids = BTreeSet::new();
        for choice in object["choices"].as_array().unwrap() {
            let (message, parts) = (&choice["message"], parts_of(&documents, &choice["index"]));
            let said = |thought: bool| -> String {
                parts.iter().filter(|part| (part["thought"] == true) == thought).filter_map(|part| part["text"].as_str()).collect()
            };
            prop_assert_eq!(message["reasoning_content"].as_str().unwrap_or_default(), said(true));
            let content = message["content"].as_str().unwrap_or_default();
            if parts.iter().any(|part| part.get("executableCode").is_some() || part.get("codeExecutionResult").is_some()) {
                let mut rest = content;
                for text in parts.iter().filter(|part| part["thought"] != true).filter_map(|part| part["text"].as_str()) {
                    rest = rest.split_once(text).map(|(_, rest)| rest).unwrap();
                }
            } else {
                prop_assert_eq!(content, said(false));
            }
            let calls: Vec<&Value> = message["tool_calls"].as_array().into_iter().flatten().collect();
            let told: Vec<Value> = calls.iter().map(|call| serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap()).collect();
            let called: Vec<Value> = parts.iter().filter_map(|part| part.get("functionCall")).map(|call| {
                call.get("args").cloned().unwrap_or_else(|| json!({}))
            }).collect();
            prop_assert_eq!(called, told);
            for call in calls {
                prop_assert!(ids.insert(call["id"].to_string()), "{}", call["id"]);
            }
            let pictures = parts.iter().filter(|part| part["inlineData"]["mimeType"] == "image/png" || part.get("fileData").is_some());
            prop_assert_eq!(message["images"].as_array().map_or(0, Vec::len), pictures.count());
            let samples: Vec<u8> = parts.iter().filter(|part| part["inlineData"]["mimeType"].as_str().is_some_and(|mime| mime.starts_with("audio")))
                .flat_map(|part| STANDARD.decode(part["inlineData"]["data"].as_str().unwrap()).unwrap()).collect();
            prop_assert_eq!(STANDARD.decode(message["audio"]["data"].as_str().unwrap_or_default()).unwrap(), samples);
        }
    }

    #[test]
    fn every_piece_of_speech_is_base64_by_itself(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 1..6)) {
        let parts: Vec<Value> = pieces.iter().map(|bytes| json!({"inlineData": {"mimeType": "audio/L16", "data": STANDARD.encode(bytes)}})).collect();
        let documents = [json!({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]})];
        let (chunks, _) = streamed(&wire(&documents, "\n"), &[]).chunks();
        let told: Vec<u8> = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["audio"]["data"].as_str())
            .flat_map(|data| STANDARD.decode(data).unwrap()).collect();
        prop_assert_eq!(told, pieces.concat());
    }

    #[test]
    fn sources_are_found_in_what_was_told(
        pieces in proptest::collection::vec(("[a-zé😀\"\n]{1,200}", proptest::option::of("[a-z😀`]{0,9}")), 1..6),
        from in 0.0..1.0_f64, to in 0.0..1.0_f64,
    ) {
        let parts: Vec<Value> = pieces.iter().flat_map(|(text, code)| {
            let code = code.as_ref().map(|code| json!({"executableCode": {"code": code}}));
            [Some(json!({"text": text})), code].into_iter().flatten()
        }).collect();
        let text: String = pieces.iter().map(|(text, _)| text.as_str()).collect();
        let length = text.chars().count() as f64;
        let (start, end) = (from * length, to * length);
        let (start, end) = (start.min(end) as usize, start.max(end) as usize + 1);
        let bytes = |chars: usize| text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at);
        let cited = &text[bytes(start)..bytes(end)];
        let mut segment = json!({"endIndex": bytes(end), "text": cited});
        if start > 0 {
            segment["startIndex"] = bytes(start).into();
        }
        let documents = [json!({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP", "groundingMetadata": {
            "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}],
            "groundingSupports": [{"segment": segment, "groundingChunkIndices": [0]}],
        }}]})];
        let object = whole(&documents);
        let message = &object["choices"][0]["message"];
        let citation = &message["annotations"][0]["url_citation"];
        let place = |key: &str| citation[key].as_u64().unwrap() as usize;
        let told: String = message["content"].as_str().unwrap().chars().skip(place("start_index")).take(place("end_index") - place("start_index")).collect();
        // Code may stand between the pieces that were cited.
        let mut rest = told.chars();
        prop_assert!(cited.chars().all(|wanted| rest.any(|c| c == wanted)), "{told:?} for {cited:?}");
        prop_assert!(told.starts_with(cited.chars().next().unwrap()) && told.ends_with(cited.chars().last().unwrap()));
        if pieces.iter().all(|(_, code)| code.is_none()) {
            prop_assert_eq!(told, cited);
        }
    }

    #[test]
    fn places_are_those_of_the_text_itself(
        pieces in proptest::collection::vec(("[a-z]{1,40}|[é😀天a]{0,9}|\\PC{1,20}", proptest::option::of("[a-z😀`]{0,9}")), 1..6),
        places in proptest::collection::vec((proptest::option::of(0usize..120), proptest::option::of(0usize..160)), 1..5),
        cuts in proptest::collection::vec(any::<bool>(), 6),
    ) {
        // Aside from the text, what is told of each piece of code.
        let fenced = |code: &str| {
            let object = whole(&[json!({"candidates": [{"content": {"parts": [{"executableCode": {"code": code}}]}, "finishReason": "STOP"}]})]);
            object["choices"][0]["message"]["content"].as_str().unwrap().chars().count()
        };
        let mut documents = vec![json!({"candidates": [{"content": {"parts": []}}]})];
        // For each byte of the text: which character of what is told it is of.
        let (mut told, mut owners) = (0, Vec::new());
        for ((text, code), cut) in pieces.iter().zip(&cuts) {
            for c in text.chars() {
                owners.extend(std::iter::repeat_n(told, c.len_utf8()));
                told += 1;
            }
            told += code.as_ref().map_or(0, |code| fenced(code));
            let code = code.as_ref().map(|code| json!({"executableCode": {"code": code}}));
            if *cut {
                documents.push(json!({"candidates": [{"content": {"parts": []}}]}));
            }
            let parts = documents.last_mut().unwrap()["candidates"][0]["content"]["parts"].as_array_mut().unwrap();
            parts.extend([Some(json!({"text": text})), code].into_iter().flatten());
        }
        let supports: Vec<Value> = places.iter().map(|(start, end)| {
            let mut segment = json!({});
            for (key, place) in [("startIndex", start), ("endIndex", end)] {
                if let Some(place) = place {
                    segment[key] = (*place).into();
                }
            }
            json!({"segment": segment, "groundingChunkIndices": [0]})
        }).collect();
        documents.push(json!({"candidates": [{"finishReason": "STOP", "groundingMetadata": {
            "groundingChunks": [{"web": {"uri": "https://a"}}], "groundingSupports": supports}}]}));
        // A byte inside of a character stands for its beginning, one beyond the end for the end.
        let floor = |byte: Option<usize>| {
            let text = pieces.iter().map(|(text, _)| text.as_str()).collect::<String>();
            text.floor_char_boundary(byte.unwrap_or(0))
        };
        let mut seen = BTreeSet::new();
        let expected: Vec<Value> = places.iter().filter(|place| seen.insert((place.0.unwrap_or(0), place.1.unwrap_or(0)))).filter_map(|(start, end)| {
            let (start, end) = (floor(*start), floor(*end));
            (start < end).then(|| json!([owners[start], owners[end - 1] + 1]))
        }).collect();
        let object = whole(&documents);
        let (chunks, _) = streamed(&wire(&documents, "\n"), &[]).chunks();
        let end = &chunks.iter().rev().find(|chunk| chunk["choices"][0]["finish_reason"].is_string()).unwrap()["choices"][0]["delta"];
        for message in [&object["choices"][0]["message"], end] {
            let told: Vec<Value> = message["annotations"].as_array().into_iter().flatten()
                .map(|annotation| json!([annotation["url_citation"]["start_index"], annotation["url_citation"]["end_index"]])).collect();
            prop_assert_eq!(&told, &expected);
        }
    }

    #[test]
    fn what_breaks_off_is_never_whole(documents in documents(), at in 0.0..1.0, wrapped: bool) {
        let last = documents.iter().position(|document| document["candidates"][0].get("finishReason").is_some()).unwrap();
        let documents = &documents[..=last];
        let bytes: Vec<u8> = if wrapped {
            let wrapped: Vec<Value> = documents.iter().map(|document| json!({"response": document, "traceId": "t"})).collect();
            wire(&wrapped, "\r\n")
        } else {
            wire(documents, "\r\n")
        };
        // Whole it is with the last brace; the blank line may be missing.
        let cut = (at * (bytes.len() - 5) as f64) as usize;
        for shape in [STREAM, Shape::Object] {
            let played = play(&bytes[..cut], &[], Framing::Sse, Settings { wrapped, ..settings(shape) });
            prop_assert!(!played.is_success(), "{}", played.told);
            prop_assert!(!played.told.contains("[DONE]") && !played.told.contains("\"finish_reason\":\""));
        }
    }

    #[test]
    fn an_error_is_never_lost(documents in documents(), at in 0.0..1.0, bare: bool, array: bool) {
        let at = (at * documents.len() as f64) as usize;
        let mut bytes = wire(&documents[..at], "\r\n");
        let error = json!({"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}});
        let error = if array { json!([error]) } else { error };
        let text = if bare { format!("{error:#}").replace('\n', "\r\n") } else { format!("data: {error}") };
        bytes.extend(text.as_bytes());
        bytes.extend(b"\r\n\r\n");
        bytes.extend(wire(&documents[at..], "\r\n"));
        prop_assert!(!streamed(&bytes, &[]).is_success());
    }

    #[test]
    fn no_bytes_are_too_strange(documents in documents(), changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
        let mut bytes = wire(&documents, "\r\n");
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for (shape, framing) in [(STREAM, Framing::Sse), (Shape::Object, Framing::Sse), (Shape::Object, Framing::Json)] {
            let played = play(&bytes, &[], framing, settings(shape));
            match shape {
                Shape::Stream { .. } => drop(played.chunks()),
                Shape::Object if played.is_success() => drop(played.object()),
                Shape::Object => {}
            }
        }
    }
}

#[test]
fn a_call_for_one_choice_tells_one_candidate() {
    let said = |index: u32, text: &str| json!({"index": index, "content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP"});
    let document = json!({"candidates": [said(0, "wanted"), said(1, "unwanted")]});
    let stream = format!("data: {document}\n\n");
    let settings = Settings {
        choice: Some(AskedFor::One(2)),
        ..settings(STREAM)
    };
    let played = play(stream.as_bytes(), &[], Framing::Sse, settings);
    assert!(played.told.contains("\"wanted\""), "{}", played.told);
    assert!(!played.told.contains("unwanted"), "{}", played.told);
    assert!(played.told.contains("\"index\":2"), "{}", played.told);
}

#[test]
fn a_first_word_that_a_refusal_begins_with_too_is_told_at_once() {
    let event = |text: &str| {
        let part = json!({"role": "model", "parts": [{"text": text}]});
        format!(
            "data: {}\n\n",
            json!({"response": {"candidates": [{"content": part}]}})
        )
    };
    let mut reply = Reply::new(Settings {
        wrapped: true,
        ..settings(STREAM)
    });
    let mut out = Vec::new();
    let mut tell = |text: &str, out: &mut Vec<u8>| {
        let event = event(text);
        reply.document(event.trim_start_matches("data: ").trim_end(), out)
    };
    assert!(tell("This", &mut out).is_ok());
    assert!(String::from_utf8_lossy(&out).contains("\"This\""));
    assert!(tell(" version of Antigravity is", &mut out).is_ok());
    assert!(!String::from_utf8_lossy(&out).contains("Antigravity"));
    let refused = tell(" no longer supported. Please update now", &mut out);
    assert!(refused.is_err(), "{}", String::from_utf8_lossy(&out));
}
