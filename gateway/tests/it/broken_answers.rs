//! Answers of Google's that are none, or not whole: what can be mended is asked anew,
//! what cannot is told as what it is, and nothing of it as a clean end.

use std::time::Duration;

use fake_google::{Action, Fault};
use serde_json::{Value, json};

use crate::support::{Setup, World, hello, with};

fn candidate(text: &str) -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}}]})
}

fn ended(reason: &str) -> Value {
    json!({"candidates": [{"finishReason": reason, "finishMessage": "Because."}],
        "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}})
}

async fn world() -> World {
    let setup = Setup {
        environment: vec![("MAX_ATTEMPTS", "2".to_owned())],
        ..Setup::projects(&[("p1", "gemini"), ("p2", "gemini"), ("p3", "gemini")])
    };
    setup.start().await
}

fn sends(body: String) -> Fault {
    Fault::once(Action::Raw {
        status: 200,
        content_type: "text/event-stream".to_owned(),
        body,
    })
}

fn events(documents: &[Value]) -> String {
    documents
        .iter()
        .map(|document| format!("data: {document}\r\n\r\n"))
        .collect()
}

#[tokio::test]
async fn a_call_that_came_out_wrong_is_asked_for_again() {
    let world = world().await;
    let fake = world.google.fake();
    for reason in [
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "MALFORMED_RESPONSE",
    ] {
        for stream in [false, true] {
            let body = with(hello(), "stream", json!(stream));
            fake.script(Fault::once(Action::Finish {
                reason: reason.to_owned(),
            }));
            let answer = world.chat(&body).await;
            let said = if stream {
                answer.streamed()
            } else {
                answer.content()
            };
            assert!(said.contains("Hello"), "{reason}: {}", answer.body);
            for _ in 0..2 {
                fake.script(Fault::once(Action::Answer {
                    chunks: vec![ended(reason)],
                }));
            }
            let answer = world.chat(&body).await;
            assert_eq!(answer.status, 502, "{reason}: {}", answer.body);
            let error = &answer.json()["error"];
            assert_eq!(error["code"], "upstream_invalid_response");
            let message = error["message"].as_str().unwrap();
            assert!(
                message.contains(reason) && message.contains("Because."),
                "{message}"
            );
        }
    }
}

#[tokio::test]
async fn what_was_told_before_stays_and_the_break_is_told() {
    let mut setup = Setup::projects(&[("p1", "gemini"), ("p2", "antigravity")]);
    setup.google.event_delay = Duration::from_millis(50);
    let world = setup.start().await;
    let call = json!({"candidates": [{"content": {"parts": [{"functionCall": {}}]}, "finishReason": "STOP"}]});
    for (what, last) in [
        ("a broken call", ended("UNEXPECTED_TOOL_CALL")),
        (
            "an error",
            json!({"error": {"code": 503, "message": "The model is overloaded."}}),
        ),
        ("an error in a word", json!({"error": "overloaded"})),
        ("no end", candidate("")),
        ("no object", json!(5)),
        ("a call without a name", call),
    ] {
        let chunks = vec![candidate("Let me see."), last];
        let fault = Fault::once(Action::Answer { chunks });
        world.google.fake().script(fault);
        let answer = world.chat(&with(hello(), "stream", json!(true))).await;
        let (chunks, done) = answer.chunks();
        assert_eq!(answer.status, 200, "{what}: {}", answer.body);
        assert!(!done, "{what}: {}", answer.body);
        let ends = chunks
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str());
        assert_eq!(ends.count(), 0, "{what}: {}", answer.body);
        let (error, told) = chunks.split_last().unwrap();
        assert!(error["error"]["message"].is_string(), "{what}: {error}");
        let told: String = told
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
            .collect();
        assert_eq!(told, "Let me see.", "{what}");
    }
}

#[tokio::test]
async fn what_is_no_stream_is_no_answer() {
    let world = world().await;
    let fake = world.google.fake();
    let error = json!({"error": {"code": 503, "message": "The model is overloaded."}});
    let text = events(&[candidate("Let me see.")]);
    for body in [
        format!("{text}{error:#}\r\n"),
        format!("{text}{}", json!([error])),
        format!("{text}data: {{\"candidates\": [{{\"con"),
        format!("{text}data: <html>\r\n\r\n"),
        format!("{text}Internal error\r\n"),
        "<html><title>Oops</title></html>".to_owned(),
        String::new(),
    ] {
        fake.script(sends(body.clone()));
        fake.script(sends(body.clone()));
        let answer = world.chat(&with(hello(), "stream", json!(true))).await;
        // In one read nothing was told before it broke; in two, it is told after the text.
        if answer.status == 200 {
            let (chunks, done) = answer.chunks();
            assert!(!done, "{body}: {}", answer.body);
            assert!(
                chunks.last().unwrap()["error"]["message"].is_string(),
                "{body}"
            );
        } else {
            assert!(answer.status >= 500, "{body}: {}", answer.body);
        }
        fake.clear_script();
    }
}

#[tokio::test]
async fn a_reason_of_googles_is_one_of_openais() {
    let world = world().await;
    let fake = world.google.fake();
    for (reason, told) in [
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("MODEL_ARMOR", "content_filter"),
        ("OTHER", "stop"),
        ("OF_TOMORROW", "stop"),
    ] {
        let chunks = vec![candidate("So far"), ended(reason)];
        fake.script(Fault::once(Action::Answer { chunks }));
        let answer = world.chat(&with(hello(), "stream", json!(true))).await;
        assert_eq!(answer.streamed(), "So far");
        let (chunks, done) = answer.chunks();
        let last = &chunks.last().unwrap()["choices"][0];
        assert!(done);
        assert_eq!(last["finish_reason"], told);
        assert_eq!(last["native_finish_reason"], reason);
    }
}

#[tokio::test]
async fn a_call_that_the_limit_cut_off_is_not_to_be_made() {
    let world = world().await;
    let call = json!({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]}}]});
    let chunks = vec![call, ended("MAX_TOKENS")];
    world
        .google
        .fake()
        .script(Fault::once(Action::Answer { chunks }));
    let (chunks, done) = world
        .chat(&with(hello(), "stream", json!(true)))
        .await
        .chunks();
    assert!(done);
    assert_eq!(
        chunks[1]["choices"][0]["delta"]["tool_calls"][0]["index"],
        0
    );
    assert_eq!(
        chunks.last().unwrap()["choices"][0]["finish_reason"],
        "length"
    );
}

#[tokio::test]
async fn sources_are_told_with_places_in_characters() {
    let world = world().await;
    let mut last = candidate("Genève is big.");
    last["candidates"][0]["finishReason"] = json!("STOP");
    last["candidates"][0]["groundingMetadata"] = json!({
        "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}],
        "groundingSupports": [{"segment": {"endIndex": 14 + "Zürich is big. ".len(), "startIndex": "Zürich is big. ".len()}, "groundingChunkIndices": [0]}],
    });
    let chunks = vec![candidate("Zürich is big. "), last];
    for stream in [false, true] {
        world.google.fake().script(Fault::once(Action::Answer {
            chunks: chunks.clone(),
        }));
        let answer = world.chat(&with(hello(), "stream", json!(stream))).await;
        let annotation = if stream {
            answer.chunks().0.last().unwrap()["choices"][0]["delta"]["annotations"][0].clone()
        } else {
            answer.json()["choices"][0]["message"]["annotations"][0].clone()
        };
        // 14 bytes are 13 characters.
        assert_eq!(
            annotation,
            json!({"type": "url_citation", "url_citation":
            {"start_index": 15, "end_index": 28, "url": "https://a", "title": "A"}}),
            "{}",
            answer.body
        );
    }
}

#[tokio::test]
async fn the_head_of_an_answer_buys_no_time_for_the_rest() {
    let setup = Setup {
        environment: vec![
            ("MAX_ATTEMPTS", "1".to_owned()),
            ("FIRST_BYTE_TIMEOUT", "1s".to_owned()),
        ],
        ..Setup::projects(&[("p1", "gemini")])
    };
    let world = setup.start().await;
    world.google.fake().script(Fault::once(Action::Delay {
        before_commit_ms: 0,
        before_headers_ms: 700,
        before_first_event_ms: 700,
        between_events_ms: 0,
    }));
    let answer = world.chat(&with(hello(), "stream", json!(true))).await;
    assert_eq!(answer.status, 504, "{}", answer.body);
}

#[tokio::test]
async fn a_client_that_google_does_not_want_is_told_so() {
    let old = "This version of Antigravity is no longer supported. Please update to receive the \
               latest features!";
    let setup = Setup {
        environment: vec![("MAX_ATTEMPTS", "1".to_owned())],
        ..Setup::projects(&[("p1", "antigravity")])
    };
    let world = setup.start().await;
    let fake = world.google.fake();
    let mut end = candidate("");
    end["candidates"][0]["finishReason"] = json!("STOP");
    for cuts in [vec![], vec![3], vec![3, 60], (1..old.len()).collect()] {
        for stream in [false, true] {
            let bounds: Vec<usize> = [0]
                .into_iter()
                .chain(cuts.clone())
                .chain([old.len()])
                .collect();
            let pieces = bounds.windows(2).map(|at| candidate(&old[at[0]..at[1]]));
            let chunks = pieces.chain([end.clone()]).collect();
            fake.script(Fault::once(Action::Answer { chunks }));
            let answer = world.chat(&with(hello(), "stream", json!(stream))).await;
            // A first word that was told already commits the status: then it is an error event.
            if stream && answer.status == 200 {
                assert!(cuts.first().is_some_and(|cut| *cut < 27), "{}", answer.body);
                assert!(
                    answer.body.contains("client_unsupported"),
                    "{}",
                    answer.body
                );
                assert!(!answer.body.contains("[DONE]"), "{}", answer.body);
                continue;
            }
            assert_eq!(answer.status, 502, "{}", answer.body);
            assert_eq!(answer.json()["error"]["code"], "client_unsupported");
        }
    }
    // What only begins like it is a text like any other.
    for said in ["This", "This version of", "This versions", &old[..60]] {
        for stream in [false, true] {
            let chunks = vec![candidate(said), end.clone()];
            fake.script(Fault::once(Action::Answer { chunks }));
            let answer = world.chat(&with(hello(), "stream", json!(stream))).await;
            let told = if stream {
                answer.streamed()
            } else {
                answer.content()
            };
            assert_eq!(told, said, "{}", answer.body);
        }
    }
}
