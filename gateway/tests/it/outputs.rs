//! What a model tells beside text: speech, sources, code that it ran, probabilities.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::support::{Setup, hello, with};

fn asking(extra: &Value) -> Value {
    let mut body = hello();
    body.as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    body
}

/// The samples of the fake Google's speech.
fn samples() -> Vec<u8> {
    ["CwALABAADQA=", "FQASAA==", "AwAPAA0A"]
        .iter()
        .flat_map(|piece| STANDARD.decode(piece).unwrap())
        .collect()
}

#[tokio::test]
async fn speech_is_one_file_or_a_stream_of_samples() {
    let world = Setup::projects(&[("p1", "gemini")]).start().await;
    let speech = |format: &str| json!({"modalities": ["text", "audio"], "audio": {"voice": "Kore", "format": format}});
    let answer = world.chat(&asking(&speech("wav"))).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let message = &answer.json()["choices"][0]["message"];
    assert!(message["content"].is_null());
    let file = STANDARD
        .decode(message["audio"]["data"].as_str().unwrap())
        .unwrap();
    assert!(file.starts_with(b"RIFF") && file.ends_with(&samples()));
    assert!(message["audio"]["expires_at"].is_number());

    let answer = world
        .chat(&with(asking(&speech("pcm16")), "stream", json!(true)))
        .await;
    let (chunks, done) = answer.chunks();
    assert!(done, "{}", answer.body);
    let pieces = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["audio"]["data"].as_str());
    let told: Vec<u8> = pieces
        .flat_map(|piece| STANDARD.decode(piece).unwrap())
        .collect();
    assert_eq!(told, samples());
    let ids = chunks
        .iter()
        .filter(|chunk| chunk["choices"][0]["delta"]["audio"].get("id").is_some());
    assert_eq!(ids.count(), 1);
}

#[tokio::test]
async fn sources_stand_where_the_text_says_so() {
    for upstream in ["antigravity", "gemini", "vertex"] {
        let world = Setup::projects(&[("p1", upstream)]).start().await;
        let mut body = asking(&json!({"web_search_options": {}}));
        body["messages"][0]["content"] = json!("Grüße 😀 aus Zürich");
        let message = world.chat(&body).await.json()["choices"][0]["message"].clone();
        let content: Vec<char> = message["content"].as_str().unwrap().chars().collect();
        let annotations = message["annotations"].as_array().unwrap();
        assert_eq!(annotations.len(), 3, "{message}");
        for (annotation, begins) in annotations.iter().zip(["Hello!", "You", "You"]) {
            let citation = &annotation["url_citation"];
            let place = |key: &str| citation[key].as_u64().unwrap() as usize;
            let cited: String = content[place("start_index")..place("end_index")]
                .iter()
                .collect();
            assert!(cited.starts_with(begins), "{cited}");
        }
        let end = &annotations[2]["url_citation"]["end_index"];
        assert_eq!(*end, json!(content.len()), "{upstream}");
        let queries = &message["extra_content"]["google"]["grounding_metadata"]["webSearchQueries"];
        assert_eq!(*queries, json!(["hello"]));

        let answer = world.chat(&with(body, "stream", json!(true))).await;
        let (chunks, _) = answer.chunks();
        let told: Vec<&Value> = chunks
            .iter()
            .map(|chunk| &chunk["choices"][0]["delta"]["annotations"])
            .filter(|annotations| !annotations.is_null())
            .collect();
        assert_eq!(told, [&message["annotations"]], "{upstream}");
    }
}

#[tokio::test]
async fn code_and_what_it_printed_are_readable() {
    let world = Setup::projects(&[("p1", "gemini")]).start().await;
    let body = asking(&json!({"extra_body": {"google": {"tools": [{"code_execution": {}}]}}}));
    let answer = world.chat(&body).await;
    let content = answer.content();
    let code = "\n```python\nprint(\"café\")\n```\n\n```\ncafé\n```\n";
    assert!(
        content.starts_with(code) && content.contains("Hello"),
        "{content}"
    );
}

#[tokio::test]
async fn probabilities_come_with_their_tokens() {
    let world = Setup::projects(&[("p1", "vertex")]).start().await;
    let body = asking(&json!({"logprobs": true, "top_logprobs": 2}));
    let answer = world.chat(&body).await;
    let choice = &answer.json()["choices"][0];
    let tokens = |choice: &Value| -> Vec<Value> {
        let content = choice["logprobs"]["content"].as_array();
        content.into_iter().flatten().cloned().collect()
    };
    let all = tokens(choice);
    let text: String = all
        .iter()
        .map(|token| token["token"].as_str().unwrap())
        .collect();
    assert_eq!(text, answer.content());
    assert!(
        all.iter()
            .all(|token| token["top_logprobs"].as_array().unwrap().len() == 2)
    );
    let answer = world.chat(&with(body, "stream", json!(true))).await;
    for chunk in answer.chunks().0 {
        let choice = &chunk["choices"][0];
        let text: String = tokens(choice)
            .iter()
            .map(|token| token["token"].as_str().unwrap())
            .collect();
        assert_eq!(
            text,
            choice["delta"]["content"].as_str().unwrap_or_default()
        );
    }
}

#[tokio::test]
async fn claude_has_its_signed_thoughts_back() {
    let mut setup = Setup::projects(&[("p1", "antigravity")]);
    setup.google.keep_requests = 1;
    let world = setup.start().await;
    let tool = json!({"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}});
    let body = json!({"model": "claude-opus-4-6-thinking", "reasoning_effort": "low", "tools": [tool],
        "messages": [{"role": "user", "content": "Please call get_time"}]});
    let answer = world.chat(&body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let message = answer.json()["choices"][0]["message"].clone();
    let thought = &message["reasoning_details"][0];
    assert_eq!(thought["text"], message["reasoning_content"]);
    let result =
        json!({"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "noon"});
    let messages = json!([body["messages"][0], message, result]);
    let answer = world.chat(&with(body, "messages", messages)).await;
    assert!(answer.content().contains("noon"), "{}", answer.body);
    let requests = world.google.fake().requests();
    let sent = &requests.last().unwrap().body;
    let first = &sent["request"]["contents"][1]["parts"][0];
    assert_eq!(
        *first,
        json!({"thought": true, "text": thought["text"], "thoughtSignature": thought["signature"]})
    );
}
