//! What models of one kind want and others do not: of thinking, tools and signatures.

use serde_json::{Value, json};
use translate::{
    chat::request::{self, Options},
    error::InvalidRequest,
    gemini::model::Dialect,
};

use crate::requests::{chat, lowered};

fn with(model: &str, more: Value) -> Value {
    let mut body = chat(json!([{"role": "user", "content": "x"}]));
    body["model"] = model.into();
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    body
}

fn ignored(body: &Value) -> Vec<String> {
    let body = body.to_string();
    request::parse(&request::document(&body).unwrap(), &Options::default())
        .unwrap()
        .ignored
}

fn refused(body: &Value) -> InvalidRequest {
    request::parse(
        &request::document(&body.to_string()).unwrap(),
        &Options::default(),
    )
    .unwrap_err()
}

fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}}])
}

fn call(id: &str, more: Value) -> Value {
    let mut call =
        json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let more = more.as_object().unwrap().clone();
    call.as_object_mut().unwrap().extend(more);
    call
}

#[test]
fn how_much_to_think_is_named_where_it_goes_nowhere() {
    const THINKS: &str = "claude-opus-4-6-thinking";
    for (model, more, named) in [
        (THINKS, json!({"reasoning_effort": "low"}), None),
        (THINKS, json!({"reasoning_effort": "none"}), None),
        // Claude thinks 1,024 tokens at least, below its limit, or not at all.
        (
            THINKS,
            json!({"reasoning_effort": "low", "max_tokens": 1024}),
            Some("reasoning_effort"),
        ),
        (
            THINKS,
            json!({"google": {"thinking_config": {"thinking_budget": 500}}}),
            Some("google.thinking_config.thinking_budget"),
        ),
        (
            "claude-sonnet-4-6",
            json!({"reasoning_effort": "low"}),
            Some("reasoning_effort"),
        ),
        (
            "gpt-oss-120b-medium",
            json!({"reasoning_effort": "none"}),
            Some("reasoning_effort"),
        ),
        (
            "gemini-2.5-flash-image",
            json!({"reasoning_effort": "none"}),
            Some("reasoning_effort"),
        ),
        ("gemini-3-flash", json!({"reasoning_effort": "none"}), None),
    ] {
        let body = with(model, more);
        let names = ignored(&body);
        assert_eq!(names.first().map(String::as_str), named, "{body}");
        let sent = lowered(&body, Dialect::CodeAssist);
        let config = &sent["generationConfig"]["thinkingConfig"];
        assert!(config.is_null() || named.is_none(), "{body}: {config}");
    }
}

#[test]
fn claude_is_not_asked_to_think_on_without_its_thoughts_and_that_is_named() {
    let mut body = with(
        "claude-opus-4-6-thinking",
        json!({"reasoning_effort": "low"}),
    );
    body["messages"] = json!([{"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [call("a", json!({}))]}, {"role": "tool", "tool_call_id": "a", "content": "1"}]);
    assert_eq!(ignored(&body), ["reasoning_effort"]);
    let options = Options {
        strict_params: true,
        ..Options::default()
    };
    let error =
        request::parse(&request::document(&body.to_string()).unwrap(), &options).unwrap_err();
    assert_eq!(error.param.as_deref(), Some("reasoning_effort"));
}

#[test]
fn claude_is_held_to_schemas_whenever_it_may_choose() {
    for choice in [json!(null), json!("auto")] {
        let body = with(
            "claude-sonnet-4-6",
            json!({"tools": tools(), "tool_choice": choice}),
        );
        assert_eq!(
            lowered(&body, Dialect::CodeAssist)["toolConfig"],
            json!({"functionCallingConfig": {"mode": "VALIDATED"}})
        );
    }
}

#[test]
fn models_that_call_what_they_must_not_are_not_told_of_it() {
    for (model, is_told) in [
        ("gemini-2.0-flash", false),
        ("gemini-2.5-pro", false),
        ("gemini-3-flash", true),
    ] {
        let mut body = with(model, json!({"tools": tools(), "tool_choice": "none"}));
        let sent = lowered(&body, Dialect::Vertex);
        assert_eq!(sent.get("tools").is_some(), is_told, "{model}");
        assert_eq!(sent.get("toolConfig").is_some(), is_told, "{model}");
        // The history speaks of them.
        body["messages"] = json!([{"role": "user", "content": "x"},
            {"role": "assistant", "tool_calls": [call("a", json!({}))]}, {"role": "tool", "tool_call_id": "a", "content": "1"}]);
        let sent = lowered(&body, Dialect::Vertex);
        assert_eq!(sent["toolConfig"]["functionCallingConfig"]["mode"], "NONE");
        assert!(sent.get("tools").is_some());
    }
    // Google's own tools stay.
    let both = json!({"tools": [tools()[0], {"type": "web_search"}], "tool_choice": "none"});
    assert_eq!(
        lowered(&with("gemini-2.5-pro", both), Dialect::Vertex)["tools"],
        json!([{"googleSearch": {}}])
    );
}

#[test]
fn the_first_call_of_a_turn_has_a_signature_whatever_else_has_one() {
    let mut body = with("gemini-3-flash", json!({}));
    let google =
        |signature: &str| json!({"extra_content": {"google": {"thought_signature": signature}}});
    let mut said = json!({"role": "assistant", "content": "I look.", "tool_calls": [call("a", json!({})), call("b", json!({}))]});
    said["extra_content"] = google("QUJD")["extra_content"].clone();
    body["messages"] = json!([{"role": "user", "content": "x"}, said]);
    let parts = lowered(&body, Dialect::GeminiApi)["contents"][1]["parts"].clone();
    let signatures: Vec<&Value> = (0..3).map(|at| &parts[at]["thoughtSignature"]).collect();
    assert_eq!(
        signatures,
        [
            &json!("QUJD"),
            &json!("skip_thought_signature_validator"),
            &Value::Null
        ]
    );
    // A client may have lost that of the first alone.
    body["messages"][1]["tool_calls"][1] = call("b", google("REVG"));
    let parts = lowered(&body, Dialect::GeminiApi)["contents"][1]["parts"].clone();
    let signatures: Vec<&Value> = (0..3).map(|at| &parts[at]["thoughtSignature"]).collect();
    assert_eq!(
        signatures,
        [
            &json!("QUJD"),
            &json!("skip_thought_signature_validator"),
            &json!("REVG")
        ]
    );
}

#[test]
fn one_signature_on_a_text_and_an_image_is_sent_once() {
    let mut body = with("gemini-3-pro-image", json!({}));
    let google = json!({"google": {"thought_signature": "QUJD"}});
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}, "extra_content": google});
    body["messages"] = json!([{"role": "user", "content": "x"},
        {"role": "assistant", "content": "Here.", "extra_content": google, "images": [image]},
        {"role": "user", "content": "y"}]);
    let sent = lowered(&body, Dialect::GeminiApi).to_string();
    assert_eq!(
        sent.matches("\"thoughtSignature\":\"QUJD\"").count(),
        1,
        "{sent}"
    );
}

#[test]
fn what_is_no_penalty_is_refused_and_what_is_one_named() {
    for name in ["presence_penalty", "frequency_penalty"] {
        for wrong in [json!(2.5), json!(-3), json!("high"), json!(true)] {
            let error = refused(&with("gemini-3-flash", json!({name: wrong})));
            assert_eq!(error.param.as_deref(), Some(name));
        }
        for right in [json!(2), json!(-2.0), json!(0.1)] {
            assert_eq!(
                ignored(&with("gemini-3-flash", json!({name: right}))),
                [name]
            );
        }
        for nothing in [json!(0), json!(0.0), json!(null)] {
            let body = with("gemini-3-flash", json!({name: nothing}));
            assert_eq!(ignored(&body), [""; 0]);
        }
    }
}

#[test]
fn as_many_tools_can_be_allowed_as_there_can_be() {
    let allowed = |count: usize| {
        let tool = json!({"type": "function", "function": {"name": "f"}});
        let list = vec![tool; count];
        let choice =
            json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": list}});
        with(
            "gemini-3-flash",
            json!({"tools": tools(), "tool_choice": choice}),
        )
    };
    assert_eq!(ignored(&allowed(512)), [""; 0]);
    let error = refused(&allowed(513));
    assert_eq!(
        error.param.as_deref(),
        Some("tool_choice.allowed_tools.tools")
    );
}

/// The signatures of the model's turn for blocks of thoughts that came with it.
fn signed(model: &str, blocks: Value) -> Vec<Value> {
    let mut body = with(model, json!({}));
    let mut said =
        json!({"role": "assistant", "content": "I look.", "tool_calls": [call("a", json!({}))]});
    let key = if blocks[0].get("thinking").is_some() || blocks[0]["type"] == "redacted_thinking" {
        "thinking_blocks"
    } else {
        "reasoning_details"
    };
    said[key] = blocks;
    body["messages"] = json!([{"role": "user", "content": "x"}, said]);
    let sent = lowered(&body, Dialect::CodeAssist);
    let parts = sent["contents"][1]["parts"].as_array().unwrap();
    parts
        .iter()
        .map(|part| part["thoughtSignature"].clone())
        .collect()
}

#[test]
fn signatures_of_other_makers_are_nobodys() {
    const DUMMY: &str = "skip_thought_signature_validator";
    let unsigned = [Value::Null, json!(DUMMY)];
    for blocks in [
        json!([{"type": "redacted_thinking", "data": "QUJD"}]),
        json!([{"type": "thinking", "thinking": "Hm.", "signature": "QUJD"}]),
        json!([{"type": "reasoning.encrypted", "data": "QUJD", "format": "anthropic-claude-v1"}]),
        json!([{"type": "reasoning.text", "text": "Hm.", "signature": "QUJD", "format": "anthropic-claude-v1"}]),
        json!([{"type": "reasoning.encrypted", "data": "QUJD", "id": "a", "format": "openai-responses-v1"}]),
    ] {
        assert_eq!(
            signed("gemini-3-flash", blocks.clone()),
            unsigned,
            "{blocks}"
        );
    }
    let claude = "claude-opus-4-6-thinking";
    let thought = |format: Value| json!([{"type": "reasoning.text", "text": "Hm.", "signature": "QUJD", "format": format}]);
    assert_eq!(
        signed(claude, thought(json!("anthropic-claude-v1"))),
        [json!("QUJD"), Value::Null, Value::Null]
    );
    assert_eq!(
        signed(claude, thought(json!("google-gemini-v1"))),
        [Value::Null, Value::Null]
    );
}

#[test]
fn signatures_come_back_with_what_other_gateways_say_of_them() {
    for (blocks, expected) in [
        (
            json!([{"type": "reasoning.text", "text": "Hm.", "signature": "QUJD", "format": "google-gemini-v1"}]),
            [Value::Null, json!("QUJD")],
        ),
        // LiteLLM has the part that was signed in place of a thought.
        (
            json!([{"type": "thinking", "thinking": "{\"text\": \"I look.\"}", "signature": "QUJD"},
                {"type": "thinking", "thinking": "{\"functionCall\": {\"name\": \"f\"}}", "signature": "REVG"}]),
            [json!("QUJD"), json!("REVG")],
        ),
    ] {
        assert_eq!(
            signed("gemini-3-flash", blocks.clone()),
            expected,
            "{blocks}"
        );
    }
}
