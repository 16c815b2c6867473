//! Requests: what is sent upstream for what the client said, on each of Google's APIs.

use proptest::prelude::*;
use serde_json::{Value, json};
use translate::{
    chat::request::{self, Options},
    gemini::{model::Dialect, request::Target},
};

pub(super) fn lowered(body: &Value, dialect: Dialect) -> Value {
    let body = body.to_string();
    let document = request::document(&body).unwrap();
    let request = request::parse(&document, &Options::default()).unwrap();
    let mut out = Vec::new();
    let model = request.upstream_model().to_owned();
    request.gemini.write(
        Target {
            dialect,
            model: &model,
        },
        &mut out,
    );
    serde_json::from_slice(&out).unwrap()
}

pub(super) fn chat(messages: Value) -> Value {
    json!({"model": "gemini-3-flash", "messages": messages})
}

#[test]
fn instructions_are_gathered_and_turns_of_one_side_are_one_turn() {
    let body = chat(json!([
        {"role": "system", "content": "A"},
        {"role": "user", "content": "1"},
        {"role": "user", "content": [{"type": "text", "text": "2"}, {"type": "text", "text": ""}]},
        {"role": "developer", "content": [{"type": "text", "text": "B"}, {"type": "text", "text": ""}]},
        {"role": "assistant", "content": "3", "refusal": null, "reasoning_content": "hm"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "user", "content": "4"},
    ]));
    let request = lowered(&body, Dialect::GeminiApi);
    assert_eq!(
        request["systemInstruction"],
        json!({"parts": [{"text": "A"}, {"text": "B"}]})
    );
    assert_eq!(
        request["contents"],
        json!([
            {"role": "user", "parts": [{"text": "1"}, {"text": "2"}, {"text": ""}]},
            {"role": "model", "parts": [{"text": "3"}, {"text": "no"}]},
            {"role": "user", "parts": [{"text": "4"}]},
        ])
    );
}

#[test]
fn somebody_always_begins() {
    let only_system = lowered(
        &chat(json!([{"role": "system", "content": "A"}])),
        Dialect::Vertex,
    );
    assert_eq!(
        only_system["contents"],
        json!([{"role": "user", "parts": [{"text": " "}]}])
    );
    let assistant_first = lowered(
        &chat(json!([{"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}])),
        Dialect::Vertex,
    );
    assert_eq!(
        assistant_first["contents"][0],
        json!({"role": "user", "parts": [{"text": " "}]})
    );
}

#[test]
fn results_come_in_the_order_of_the_calls_and_stand_alone() {
    let call = |id: &str, name: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": "{\"a\": 1}"}});
    let body = chat(json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": null, "tool_calls": [call("x", "f"), call("y", "g"), call("z", "h")]},
        {"role": "tool", "tool_call_id": "y", "content": [{"type": "text", "text": "two"}, {"type": "text", "text": "\n\"2\""}]},
        {"role": "tool", "tool_call_id": "x", "content": "{\"$ref\": 1e400}"},
        {"role": "user", "content": "and?"},
    ]));
    let request = lowered(&body, Dialect::CodeAssist);
    let answer = |id: &str, name: &str, response: Value| json!({"functionResponse": {"id": id, "name": name, "response": response}});
    assert_eq!(
        request["contents"][2],
        json!({"role": "user", "parts": [
            answer("x", "f", json!({"output": "{\"$ref\": 1e400}"})),
            answer("y", "g", json!({"output": "two\n\"2\""})),
            answer("z", "h", json!({})),
        ]})
    );
    assert_eq!(
        request["contents"][3],
        json!({"role": "user", "parts": [{"text": "and?"}]})
    );
    // Nothing is signed: the documented dummy, on the first call alone.
    let calls = request["contents"][1]["parts"].as_array().unwrap();
    assert_eq!(
        calls[0]["thoughtSignature"],
        "skip_thought_signature_validator"
    );
    assert!(calls[1].get("thoughtSignature").is_none());
    // Vertex takes no ids.
    let vertex = lowered(&body, Dialect::Vertex).to_string();
    assert!(!vertex.contains("\"id\""), "{vertex}");
}

#[test]
fn of_calls_with_one_id_the_last_open_one_is_answered() {
    let call = json!({"role": "assistant", "tool_calls": [{"id": "x", "function": {"name": "f"}}]});
    let older = json!({"role": "assistant", "function_call": {"name": "f", "arguments": ""}});
    let result = |text: &str| json!({"role": "tool", "tool_call_id": "x", "content": text});
    let function = |text: &str| json!({"role": "function", "name": "f", "content": text});
    let body = chat(json!([
        {"role": "user", "content": "go"},
        call, call, older, older,
        result("2"), function("4"), result("1"), function("3"),
    ]));
    let told: Vec<String> = lowered(&body, Dialect::Vertex)["contents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|content| &content["parts"][0]["functionResponse"]["response"]["output"])
        .filter_map(|output| Some(output.as_str()?.to_owned()))
        .collect();
    assert_eq!(told, ["1", "2", "3", "4"]);
    // Each is looked at once, however many there are.
    let mut messages = vec![json!({"role": "user", "content": "go"})];
    messages.extend(std::iter::repeat_n(call.clone(), 20_000));
    messages.extend(std::iter::repeat_n(result("x"), 20_000));
    let body = chat(messages.into()).to_string();
    assert!(request::parse(&request::document(&body).unwrap(), &Options::default()).is_ok());
    let again = chat(json!([call, result("1"), result("2")])).to_string();
    let refused =
        request::parse(&request::document(&again).unwrap(), &Options::default()).unwrap_err();
    assert!(refused.message.contains("already"), "{refused}");
}

#[test]
fn what_has_no_effect_beside_another_is_named() {
    let mut body = chat(
        json!([{"role": "user", "content": [{"type": "file", "file": {
        "file_data": "data:application/pdf;base64,QUJD", "file_id": "gs://a/b.pdf"}}]}]),
    );
    body["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
    body["tool_choice"] = "auto".into();
    body["function_call"] = "none".into();
    body["functions"] = json!([]);
    // However it is written.
    let body = body
        .to_string()
        .replace("\"functions\":[]", "\"functions\": [ ]");
    let document = request::document(&body).unwrap();
    let request = request::parse(&document, &Options::default()).unwrap();
    assert_eq!(
        request.ignored,
        ["function_call", "messages[].content[].file.file_id"]
    );
}

#[test]
fn what_google_takes_one_of_is_not_given_twice() {
    for (google, body, param) in [
        (
            json!({"thinking_config": {"thinking_level": "low", "thinkingLevel": "high"}}),
            json!({}),
            "extra_body.google.thinking_config.thinkingLevel",
        ),
        (
            json!({"thinking_config": {"thinking_budget": 1}}),
            json!({"google": {"thinking_config": {"thinking_budget": 2}}}),
            "google.thinking_config.thinking_budget",
        ),
        (
            json!({"thinking_config": {"include_thoughts": true}}),
            json!({"google": {"thinkingConfig": {"includeThoughts": false}}}),
            "google.thinkingConfig.includeThoughts",
        ),
        (
            json!({"safety_settings": []}),
            json!({"google": {"safetySettings": []}}),
            "google.safetySettings",
        ),
        (
            json!({"image_config": {}, "imageConfig": {}}),
            json!({}),
            "extra_body.google.imageConfig",
        ),
        (
            json!({"tools": [{"google_search": {"exclude_domains": ["a"]}}]}),
            json!({"tools": [{"googleSearch": {"excludeDomains": ["b"]}}]}),
            "tools[0].googleSearch",
        ),
    ] {
        let mut whole = chat(json!([{"role": "user", "content": "x"}]));
        whole["extra_body"] = json!({"google": google});
        whole
            .as_object_mut()
            .unwrap()
            .extend(body.as_object().unwrap().clone());
        let refused = request::parse(
            &request::document(&whole.to_string()).unwrap(),
            &Options::default(),
        )
        .unwrap_err();
        assert_eq!(refused.param.as_deref(), Some(param), "{refused}");
        assert!(refused.message.contains("twice"), "{refused}");
    }
    // A tool is one tool however often it is asked for.
    let mut body = chat(json!([{"role": "user", "content": "x"}]));
    body["web_search_options"] = json!({});
    body["tools"] =
        json!([{"type": "web_search"}, {"google_search": {"a": 1}}, {"google_search": {}}]);
    assert_eq!(
        lowered(&body, Dialect::Vertex)["tools"],
        json!([{"googleSearch": {"a": 1}}])
    );
}

#[test]
fn what_goes_nowhere_in_calls_and_images_is_named() {
    let mut body = chat(json!([
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [{"id": "a", "type": "function",
            "function": {"name": "f", "arguments": "{}", "parsed_arguments": {}}}],
            "images": [{"type": "image_url", "index": 0, "mood": "dark",
                "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
    ]));
    let named = |body: &Value| {
        let body = body.to_string();
        request::parse(&request::document(&body).unwrap(), &Options::default())
            .unwrap()
            .ignored
    };
    assert_eq!(
        named(&body),
        [
            "messages[].images[].image_url.detail",
            "messages[].images[].mood",
            "messages[].tool_calls[].function.parsed_arguments",
        ]
    );
    body["messages"] = json!([
        {"role": "user", "content": "x"},
        {"role": "assistant", "function_call": {"name": "f", "arguments": "{}", "id": 1}},
    ]);
    assert_eq!(named(&body), ["messages[].function_call.id"]);
}

#[test]
fn what_goes_on_as_it_came_is_nested_as_deep_as_google_takes_it() {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let said = |value: &str, args: &str| {
        let args = serde_json::to_string(args).unwrap();
        format!(
            r#"{{"model":"gemini-3-flash","google":{{"image_config":{value}}},"messages":[{{"role":"user","content":"x"}},
            {{"role":"assistant","tool_calls":[{{"id":"a","function":{{"name":"f","arguments":{args}}}}}]}}]}}"#
        )
    };
    for (body, param) in [
        (said(&nested(99), &nested(99)), None),
        (said(&nested(100), "{}"), Some("google.image_config")),
        (
            said("{}", &nested(100)),
            Some("messages[1].tool_calls[0].function.arguments"),
        ),
        (
            said("{}", &nested(1_000_000)),
            Some("messages[1].tool_calls[0].function.arguments"),
        ),
    ] {
        let document = request::document(&body).unwrap();
        match request::parse(&document, &Options::default()) {
            Ok(request) => {
                assert_eq!(param, None);
                let mut out = Vec::new();
                let model = "gemini-3-flash";
                let dialect = Dialect::Vertex;
                request.gemini.write(Target { dialect, model }, &mut out);
                assert!(serde_json::from_slice::<Value>(&out).is_ok());
            }
            Err(error) => {
                assert_eq!(error.param.as_deref(), param, "{error}");
                assert!(error.message.contains("levels deep"), "{error}");
            }
        }
    }
}

#[test]
fn of_millions_of_unknown_names_a_few_are_told() {
    let mut body = chat(json!([{"role": "user", "content": "x"}]));
    for nth in 0..5_000 {
        body["messages"][0][format!("x{nth}")] = 1.into();
    }
    let body = body.to_string();
    let document = request::document(&body).unwrap();
    let request = request::parse(&document, &Options::default()).unwrap();
    assert_eq!(request.ignored.len(), 512);
}

#[test]
fn a_cached_content_stands_alone() {
    for more in [
        json!({"messages": [{"role": "system", "content": "x"}]}),
        json!({"web_search_options": {}}),
        json!({"tools": [{"type": "function", "function": {"name": "f"}}]}),
    ] {
        let mut body = chat(json!([{"role": "user", "content": "x"}]));
        body["extra_body"] = json!({"google": {"cached_content": "cachedContents/a"}});
        assert!(
            request::parse(
                &request::document(&body.to_string()).unwrap(),
                &Options::default()
            )
            .is_ok()
        );
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let refused = request::parse(
            &request::document(&body.to_string()).unwrap(),
            &Options::default(),
        )
        .unwrap_err();
        assert_eq!(
            refused.param.as_deref(),
            Some("extra_body.google.cached_content")
        );
    }
}

#[test]
fn a_number_beyond_all_bounds_is_named_as_one() {
    for name in ["temperature", "top_p", "max_tokens", "seed"] {
        let body = format!(
            r#"{{"model":"gemini-3-flash","messages":[{{"role":"user","content":"x"}}],"{name}":1e400}}"#
        );
        let refused =
            request::parse(&request::document(&body).unwrap(), &Options::default()).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some(name));
        assert!(!refused.message.contains("surrogate"), "{refused}");
    }
}

#[test]
fn signatures_come_back_by_every_way() {
    let call = |extra: Value| {
        let mut call =
            json!({"id": "x", "type": "function", "function": {"name": "f", "arguments": ""}});
        call.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        chat(
            json!([{"role": "user", "content": "go"}, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "x", "content": ""}]),
        )
    };
    for extra in [
        json!({"extra_content": {"google": {"thought_signature": "QUJD+/8="}}}),
        json!({"provider_specific_fields": {"thought_signature": "QUJD+/8="}}),
        json!({"id": "x__thought__QUJD-_8"}),
    ] {
        let request = lowered(&call(extra.clone()), Dialect::GeminiApi);
        let part = &request["contents"][1]["parts"][0];
        assert_eq!(part["thoughtSignature"], "QUJD+/8=", "{extra}");
        assert_eq!(
            part["functionCall"],
            json!({"name": "f", "args": {}, "id": "x"}),
            "{extra}"
        );
        assert_eq!(
            request["contents"][2]["parts"][0]["functionResponse"]["id"],
            "x"
        );
    }
}

#[test]
fn settings_have_their_counterparts() {
    let mut body = chat(json!([{"role": "user", "content": "x"}]));
    let extra = json!({"temperature": 0.30, "top_p": 1, "max_tokens": 10, "max_completion_tokens": 20, "stop": "END", "seed": 7, "n": 2,
        "reasoning_effort": "low", "response_format": {"type": "json_object"}});
    body.as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    let request = lowered(&body, Dialect::GeminiApi);
    assert_eq!(
        request["generationConfig"],
        json!({"temperature": 0.30, "topP": 1, "maxOutputTokens": 20, "stopSequences": ["END"], "seed": 7,
        "candidateCount": 2, "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": true}, "responseMimeType": "application/json"})
    );
    body["model"] = "gemini-2.5-pro".into();
    body["reasoning_effort"] = "none".into();
    assert_eq!(
        lowered(&body, Dialect::Vertex)["generationConfig"]["thinkingConfig"],
        json!({"thinkingBudget": 128})
    );
    let plain = lowered(
        &chat(json!([{"role": "user", "content": "x"}])),
        Dialect::Vertex,
    );
    assert!(plain.get("generationConfig").is_none() && plain.get("toolConfig").is_none());
}

#[test]
fn tools_go_out_as_each_api_takes_them() {
    let schema = json!({"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "additionalProperties": false});
    let mut body = chat(json!([{"role": "user", "content": "x"}]));
    body["tools"] = json!([{"type": "function", "function": {"name": "f", "description": "d", "parameters": schema, "strict": true}},
        {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}}]);
    body["tool_choice"] = json!({"type": "function", "function": {"name": "f"}});
    let raw = lowered(&body, Dialect::GeminiApi);
    assert_eq!(
        raw["tools"],
        json!([{"functionDeclarations": [{"name": "f", "description": "d", "parametersJsonSchema": schema}, {"name": "g"}]}])
    );
    assert_eq!(
        raw["toolConfig"],
        json!({"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}})
    );
    let converted = lowered(&body, Dialect::CodeAssist);
    assert_eq!(
        converted["tools"][0]["functionDeclarations"][0]["parameters"],
        json!({"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": true}}})
    );
}

#[test]
fn the_last_of_repeated_members_counts() {
    let body =
        r#"{"model":"x","model":"gemini-3-flash","messages":[{"role":"user","content":"a"}]}"#;
    assert_eq!(
        request::parse(&request::document(body).unwrap(), &Options::default())
            .unwrap()
            .model,
        "gemini-3-flash"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn text_arrives_unchanged(texts in proptest::collection::vec(any::<String>(), 1..5), ascii: bool) {
        let messages: Vec<Value> = texts.iter().map(|text| json!({"role": "user", "content": text})).collect();
        let mut body = chat(messages.into()).to_string();
        if ascii {
            // As Python's json.dumps writes it.
            body = body.chars().flat_map(|c| if c.is_ascii() { vec![c] } else {
                let mut units = [0; 2];
                c.encode_utf16(&mut units).iter().flat_map(|unit| format!("\\u{unit:04x}").chars().collect::<Vec<_>>()).collect()
            }).collect();
        }
        let document = request::document(&body).unwrap();
        let request = request::parse(&document, &Options::default()).unwrap();
        let mut out = Vec::new();
        request.gemini.write(Target { dialect: Dialect::Vertex, model: "gemini-3-flash" }, &mut out);
        let sent: Value = serde_json::from_slice(&out).unwrap();
        let arrived: Vec<&str> = sent["contents"][0]["parts"].as_array().unwrap().iter().map(|part| part["text"].as_str().unwrap()).collect();
        prop_assert_eq!(arrived, texts);
    }

    #[test]
    fn any_bytes_are_refused_or_read_and_never_panic(body in "[\\[\\]{}\":,a-z0-9\\\\ud8]{0,60}") {
        if let Ok(document) = request::document(&body) {
            let _ = request::parse(&document, &Options::default());
        }
        let framed = format!(r#"{{"model":"m","messages":[{{"role":"user","content":{body}}}],"tools":{body}}}"#);
        if let Ok(document) = request::document(&framed) {
            let _ = request::parse(&document, &Options::default());
        }
    }
}
