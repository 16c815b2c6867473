//! What Google refuses, in its own words.

use fake_google::Config;
use serde_json::{Value, json};

use crate::support::{Answer, Google, say};

/// A good request with `change` made to it, on the Gemini API.
async fn changed(google: &Google, model: &str, change: impl FnOnce(&mut Value)) -> Answer {
    let mut request = say("Hi");
    change(&mut request);
    google
        .gemini(&format!("{model}:generateContent"), &request)
        .await
}

fn call(name: &str) -> Value {
    json!({ "role": "model", "parts": [{ "functionCall": { "name": name, "args": {} } }] })
}

fn response(name: &str) -> Value {
    json!({ "role": "user", "parts": [{ "functionResponse": { "name": name, "response": { "result": "ok" } } }] })
}

fn tool(parameters: Value) -> Value {
    json!([{ "functionDeclarations": [{ "name": "f", "parameters": parameters }] }])
}

#[tokio::test]
async fn unknown_fields_are_all_named_with_their_paths() {
    let google = Google::start(Config::default()).await;
    let schema = json!({
        "type": "OBJECT",
        "properties": { "a": { "type": "STRING" }, "b": { "type": "STRING", "const": "x" } },
    });
    let mut request = say("Hi");
    request["tools"] = tool(schema);
    request["tools"][0]["functionDeclarations"][0]["strict"] = true.into();
    let answer = google
        .code_assist("generateContent", "gemini-2.5-pro", request.clone())
        .await;
    assert_eq!(answer.status, 400);
    let const_line = "Invalid JSON payload received. Unknown name \"const\" at \
                      'request.tools[0].function_declarations[0].parameters.properties[1].value': Cannot find field.";
    let strict_line = "Invalid JSON payload received. Unknown name \"strict\" at \
                       'request.tools[0].function_declarations[0]': Cannot find field.";
    let message = answer.message();
    let mut lines: Vec<&str> = message.split('\n').collect();
    lines.sort_unstable();
    assert_eq!(lines, [const_line, strict_line]);
    let violations = answer.json()["error"]["details"][0]["fieldViolations"].clone();
    let of_const = violations
        .as_array()
        .unwrap()
        .iter()
        .find(|violation| violation["description"] == const_line);
    assert_eq!(
        of_const.unwrap()["field"],
        "request.tools[0].function_declarations[0].parameters.properties[1].value"
    );
    // The Gemini API has no envelope, and the field is not there either.
    let answer = google
        .gemini("gemini-2.5-pro:generateContent", &request)
        .await;
    assert!(
        answer
            .message()
            .contains("at 'tools[0].function_declarations[0]'")
    );
    let answer = changed(&google, "gemini-2.5-pro", |request| {
        request["messages"] = json!([]);
    })
    .await;
    assert_eq!(
        answer.message(),
        "Invalid JSON payload received. Unknown name \"messages\": Cannot find field."
    );
}

#[tokio::test]
async fn values_of_a_wrong_type_are_refused() {
    let google = Google::start(Config::default()).await;
    let cases: [(&str, Value, &str); 7] = [
        (
            "systemInstruction",
            json!("be brief"),
            "Invalid value at 'system_instruction' (type.googleapis.com/google.ai.generativelanguage.v1beta.Content), \"be brief\"",
        ),
        (
            "systemInstruction",
            json!([]),
            "Unknown name \"system_instruction\": Proto field is not repeating, cannot start list.",
        ),
        (
            "generationConfig",
            json!({ "temperature": "hot" }),
            "Invalid value at 'generation_config.temperature' (TYPE_FLOAT), \"hot\"",
        ),
        (
            "generationConfig",
            json!({ "seed": 2_147_483_648_u64 }),
            "Invalid value at 'generation_config.seed' (TYPE_INT32), 2147483648",
        ),
        (
            "toolConfig",
            json!({ "functionCallingConfig": { "mode": "SOMETIMES" } }),
            "FunctionCallingConfig.Mode), \"SOMETIMES\"",
        ),
        (
            "contents",
            json!([{ "role": "user", "parts": [{ "inlineData": { "mimeType": "image/png", "data": "!!" } }] }]),
            "(TYPE_BYTES), Base64 decoding failed for \"!!\"",
        ),
        (
            "contents",
            json!([{ "role": "user", "parts": [{ "text": "a", "inlineData": { "mimeType": "a/b", "data": "AAAA" } }] }]),
            "oneof field 'data' is already set",
        ),
    ];
    for (field, value, expected) in cases {
        let answer = changed(&google, "gemini-2.5-pro", |request| {
            request[field] = value;
        })
        .await;
        assert_eq!(answer.status, 400);
        assert!(answer.message().contains(expected), "{}", answer.message());
    }
    let broken = google
        .http
        .post(google.url("/v1internal:generateContent"))
        .body("{\"a\":")
        .send()
        .await
        .unwrap();
    assert_eq!(broken.status(), 400);
    assert!(
        broken
            .text()
            .await
            .unwrap()
            .contains("Invalid JSON payload received.")
    );
}

#[tokio::test]
async fn both_spellings_and_enum_cases_are_taken() {
    let google = Google::start(Config::default()).await;
    let request = json!({
        "contents": [{ "role": "user", "parts": [{ "text": "Hi" }, { "inline_data": { "mime_type": "image/png", "data": "ab-_" } }] }],
        "system_instruction": { "parts": [{ "text": "Be brief." }] },
        "generation_config": { "max_output_tokens": "100", "stop_sequences": [] },
        "tools": [{ "function_declarations": [{ "name": "f", "parameters": { "type": "object", "properties": {} } }] }],
        "sessionId": "-1",
    });
    assert_eq!(
        google
            .code_assist("generateContent", "gemini-2.5-pro", request)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn calls_and_responses_have_to_pair_up() {
    let google = Google::start(Config::default()).await;
    let user = || say("Hi")["contents"][0].clone();
    let count = "Please ensure that the number of function response parts is equal to the number of function call parts \
                 of the function call turn.";
    let call_order = "Please ensure that function call turn comes immediately after a user turn or after a function \
                      response turn.";
    let response_order =
        "Please ensure that function response turn comes immediately after a function call turn.";
    let mut two = call("f");
    two["parts"]
        .as_array_mut()
        .unwrap()
        .push(call("g")["parts"][0].clone());
    let said = json!({ "role": "model", "parts": [{ "text": "So." }] });
    let cases = [
        (json!([user(), call("f"), response("f"), user()]), None),
        (
            json!([user(), call("f"), response("f"), call("g"), response("g")]),
            None,
        ),
        (json!([user(), call("f"), user()]), None),
        (json!([user(), two, response("f")]), Some(count)),
        (json!([user(), call("f"), response("g")]), Some(count)),
        (json!([user(), call("f")]), Some(count)),
        (json!([call("f"), response("f")]), Some(call_order)),
        (
            json!([user(), said, call("f"), response("f")]),
            Some(call_order),
        ),
        (json!([user(), response("f")]), Some(response_order)),
    ];
    for (contents, refusal) in cases {
        let answer = changed(&google, "gemini-2.5-pro", |request| {
            request["contents"] = contents;
        })
        .await;
        match refusal {
            None => assert_eq!(answer.status, 200, "{}", answer.body),
            Some(message) => assert_eq!((answer.status, answer.message().as_str()), (400, message)),
        }
    }
    for role in ["model", "function"] {
        let answer = changed(&google, "gemini-2.5-pro", |request| {
            let mut answered = response("f");
            answered["role"] = role.into();
            let mut contents = vec![user(), call("f"), answered];
            if role == "model" {
                contents.push(user());
            }
            request["contents"] = contents.into();
        })
        .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

#[tokio::test]
async fn empty_and_ill_placed_things_are_refused() {
    let google = Google::start(Config::default()).await;
    let cases: Vec<(&str, Value, &str)> = vec![
        ("contents", json!([]), "contents is not specified"),
        (
            "contents",
            json!([{ "role": "user", "parts": [] }]),
            "contents.parts must not be empty",
        ),
        (
            "contents",
            json!([{ "role": "user", "parts": [{}] }]),
            "required oneof field 'data' must have one initialized field",
        ),
        (
            "contents",
            json!([{ "role": "assistant", "parts": [{ "text": "Hi" }] }]),
            "Please use a valid role: user, model.",
        ),
        (
            "systemInstruction",
            json!({ "parts": [] }),
            "must not be empty",
        ),
        (
            "tools",
            json!([{ "functionDeclarations": [{ "name": "1f" }] }]),
            "Invalid function name.",
        ),
        (
            "tools",
            tool(json!({ "type": "STRING" })),
            "should be of type OBJECT",
        ),
        (
            "tools",
            tool(json!({ "type": "OBJECT", "required": ["x"] })),
            "required[0]: property is not defined",
        ),
        (
            "tools",
            tool(json!({ "type": "OBJECT", "properties": { "a": { "type": "ARRAY" } } })),
            "properties[a].items: missing field",
        ),
        (
            "toolConfig",
            json!({ "functionCallingConfig": { "mode": "ANY" } }),
            "without function_declarations",
        ),
        (
            "generationConfig",
            json!({ "temperature": 2.1 }),
            "temperature must be in the range",
        ),
        (
            "generationConfig",
            json!({ "presencePenalty": 1 }),
            "Penalty is not enabled for models/gemini-2.5-pro",
        ),
        (
            "generationConfig",
            json!({ "stopSequences": ["a", "b", "c", "d", "e", "f"] }),
            "at most 5",
        ),
        (
            "generationConfig",
            json!({ "responseSchema": { "type": "STRING" } }),
            "only allowed with response_mime_type",
        ),
        (
            "generationConfig",
            json!({ "thinkingConfig": { "thinkingBudget": 0 } }),
            "Budget 0 is invalid. This model only works in thinking mode.",
        ),
        (
            "generationConfig",
            json!({ "thinkingConfig": { "thinkingLevel": "LOW" } }),
            "Thinking level is not supported",
        ),
        ("cachedContent", json!("cachedContents/x"), ""),
    ];
    for (field, value, expected) in cases {
        let answer = changed(&google, "gemini-2.5-pro", |request| request[field] = value).await;
        if expected.is_empty() {
            assert_eq!(answer.status, 200, "{}", answer.body);
        } else {
            assert_eq!(answer.status, 400, "{expected}");
            assert!(answer.message().contains(expected), "{}", answer.message());
        }
    }
}

#[tokio::test]
async fn formats_and_tools_mix_only_where_models_can() {
    let google = Google::start(Config::default()).await;
    let json_and_functions = |request: &mut Value| {
        request["tools"] = tool(json!({ "type": "OBJECT" }));
        request["generationConfig"] = json!({ "responseMimeType": "application/json" });
    };
    let refused = changed(&google, "gemini-2.5-pro", json_and_functions).await;
    assert_eq!(
        refused.message(),
        "Function calling with a response mime type: 'application/json' is unsupported"
    );
    assert_eq!(
        changed(&google, "gemini-3-pro-preview", json_and_functions)
            .await
            .status,
        200
    );
    let search_and_functions = |request: &mut Value| {
        request["tools"] =
            json!([{ "googleSearch": {} }, { "functionDeclarations": [{ "name": "f" }] }]);
    };
    let refused = changed(&google, "gemini-2.5-pro", search_and_functions).await;
    assert_eq!(
        refused.message(),
        "Tool use with function calling is unsupported"
    );
    let refused = changed(&google, "gemini-3-pro-preview", search_and_functions).await;
    assert!(
        refused
            .message()
            .contains("include_server_side_tool_invocations")
    );
    let refused = google.code_assist("generateContent", "gemini-2.5-pro", {
        let mut request = say("Hi");
        request["generationConfig"] = json!({ "thinkingConfig": { "thinkingBudget": 0 } });
        request
    });
    assert!(
        refused
            .await
            .message()
            .contains("does not support setting thinking_budget to 0")
    );
}

#[tokio::test]
async fn claude_refuses_in_anthropics_words() {
    let google = Google::start(Config::default()).await;
    let prefill = json!({ "contents": [
        { "role": "user", "parts": [{ "text": "Hi" }] },
        { "role": "model", "parts": [{ "text": "I think" }] },
    ] });
    let answer = google
        .code_assist("generateContent", "claude-sonnet-4-6", prefill)
        .await;
    let inner: Value = serde_json::from_str(&answer.message()).unwrap();
    assert_eq!(inner["error"]["type"], "invalid_request_error");
    assert!(
        inner["error"]["message"]
            .as_str()
            .unwrap()
            .contains("does not support assistant message prefill")
    );
    let long = google
        .code_assist(
            "generateContent",
            "claude-sonnet-4-6",
            say(&vec!["word"; 200_001].join(" ")),
        )
        .await;
    assert!(
        long.message()
            .contains("prompt is too long: 200001 tokens > 200000 maximum")
    );
}

#[tokio::test]
async fn prompts_that_are_too_long_are_counted_out() {
    let google = Google::start(Config::default()).await;
    let answer = google
        .gemini(
            "gemini-2.5-flash-image:generateContent",
            &say(&vec!["word"; 70_000].join(" ")),
        )
        .await;
    assert_eq!(
        answer.message(),
        "The input token count (70000) exceeds the maximum number of tokens allowed (65536)."
    );
}
