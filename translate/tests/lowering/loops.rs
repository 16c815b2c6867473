//! Agent loops without a memory: what an answer tells comes back with the next request as
//! Google said it.

use serde_json::{Value, json};
use translate::{
    chat::{
        reply::{Reply, Settings, Shape},
        request::{self, Options},
    },
    gemini::{model::Dialect, request::Target},
};

/// The message that a client is told for an answer of these parts to its request.
fn told(body: &Value, parts: &Value) -> (Value, String) {
    let body = body.to_string();
    let document = request::document(&body).unwrap();
    let request = request::parse(&document, &Options::default()).unwrap();
    let mut reply = Reply::new(Settings {
        id: "chatcmpl-1".to_owned(),
        created: 1,
        model: request.model.clone().into_owned(),
        shape: Shape::Object,
        first_call_only: request.first_call_only,
        legacy_functions: request.legacy_functions,
        names: request.names.clone(),
        signature_id_limit: 4096,
        audio: request.audio,
        choice: None,
        wrapped: false,
    });
    let mut out = Vec::new();
    let document = json!({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]});
    reply.document(&document.to_string(), &mut out).unwrap();
    reply.finish(&mut out);
    let answer: Value = serde_json::from_slice(&out).unwrap();
    let choice = &answer["choices"][0];
    (
        choice["message"].clone(),
        choice["finish_reason"].as_str().unwrap().to_owned(),
    )
}

/// What Google is sent as the model's turn.
fn sent(body: &Value, dialect: Dialect) -> Value {
    let body = body.to_string();
    let document = request::document(&body).unwrap();
    let request = request::parse(&document, &Options::default()).unwrap();
    let mut out = Vec::new();
    let model = request.upstream_model();
    request.gemini.write(Target { dialect, model }, &mut out);
    let sent: Value = serde_json::from_slice(&out).unwrap();
    sent["contents"][1]["parts"].clone()
}

fn body(model: &str, function: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "go"}], "tools": [{"type": "function", "function": {
        "name": function, "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}}]})
}

/// The next request: the answer as the client keeps it, and the functions' answers.
fn next(mut body: Value, message: Value) -> Value {
    let calls: Vec<Value> = message["tool_calls"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(message);
    for call in calls {
        messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "1"}));
    }
    body
}

/// As SDKs do that know OpenAI's fields alone.
fn without_unknown_fields(mut message: Value) -> Value {
    let object = message.as_object_mut().unwrap();
    object.retain(|key, _| {
        ["role", "content", "refusal", "tool_calls", "function_call"].contains(&&**key)
    });
    for call in message["tool_calls"].as_array_mut().into_iter().flatten() {
        call.as_object_mut()
            .unwrap()
            .retain(|key, _| ["id", "type", "function"].contains(&&**key));
    }
    message
}

#[test]
fn names_and_signatures_come_back_to_google_as_they_were() {
    let body = body("gemini-3-flash", "größe/messen");
    let upstream = {
        let text = body.to_string();
        let document = request::document(&text).unwrap();
        let request = request::parse(&document, &Options::default()).unwrap();
        request.gemini.functions[0].name.clone().into_owned()
    };
    assert!(upstream.is_ascii());
    let parts = json!([
        {"functionCall": {"name": upstream, "args": {"a": 1}, "id": "x1"}, "thoughtSignature": "Ep5F+/Ctx/=="},
        {"functionCall": {"name": upstream, "args": {"a": 2}, "id": "x2"}},
    ]);
    let (message, finish) = told(&body, &parts);
    assert_eq!(finish, "tool_calls");
    assert_eq!(message["tool_calls"][1]["function"]["name"], "größe/messen");
    for kept in [message.clone(), without_unknown_fields(message)] {
        assert_eq!(sent(&next(body.clone(), kept), Dialect::GeminiApi), parts);
    }
}

#[test]
fn whoever_asks_with_functions_is_told_a_function_call() {
    let mut body = body("gemini-3-flash", "f");
    body["functions"] = json!([body["tools"][0]["function"]]);
    body.as_object_mut().unwrap().remove("tools");
    let parts = json!([{"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "QUJD"}, {"functionCall": {"name": "f", "args": {}}}]);
    let (message, finish) = told(&body, &parts);
    assert_eq!(finish, "function_call");
    assert_eq!(
        message["function_call"],
        json!({"name": "f", "arguments": "{\"a\":1}"})
    );
    assert!(message.get("tool_calls").is_none() && message["content"].is_null());
    let mut next = next(body, message);
    let answer = json!({"role": "function", "name": "f", "content": "1"});
    next["messages"].as_array_mut().unwrap().push(answer);
    assert_eq!(
        sent(&next, Dialect::GeminiApi),
        json!([{"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "QUJD"}])
    );
}

#[test]
fn claude_gets_its_thoughts_back_and_the_client_no_placeholder() {
    let mut body = body("claude-opus-4-6-thinking", "fs.read");
    body["reasoning_effort"] = "low".into();
    let thought = json!([
        {"thought": true, "text": "Hm."},
        {"thought": true, "text": "", "thoughtSignature": "RXhhbXBsZQ=="},
        {"functionCall": {"name": "fs_read_d154e2a4", "args": {"a": 1, "_placeholder": true}, "id": "toolu_1"}},
    ]);
    let (message, _) = told(&body, &thought);
    assert_eq!(
        message["tool_calls"][0]["function"],
        json!({"name": "fs.read", "arguments": "{\"a\":1}"})
    );
    assert_eq!(
        sent(&next(body, message), Dialect::CodeAssist),
        json!([
            {"thought": true, "text": "Hm.", "thoughtSignature": "RXhhbXBsZQ=="},
            {"functionCall": {"name": "fs_read_d154e2a4", "args": {"a": 1}, "id": "toolu_1"}},
        ])
    );
}
