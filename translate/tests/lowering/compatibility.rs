//! `docs/openai-compatibility.md` against OpenAI's published fields and against what the
//! code does with each of them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use translate::{
    chat::{
        fields::{FIELDS, Policy},
        request::{self, Options},
    },
    error::InvalidRequest,
};

const DOCUMENT: &str = include_str!("../../../docs/openai-compatibility.md");
const PUBLISHED: &str = include_str!("../openai_fields.txt");

/// The rows of the table below a heading: what becomes of each field.
fn rows(heading: &str) -> BTreeMap<&'static str, &'static str> {
    let section = DOCUMENT
        .split("\n## ")
        .find(|section| section.starts_with(heading))
        .unwrap();
    let rows = section.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        Some((cells.next()?.trim_end_matches('`'), cells.next()?))
    });
    let listed: Vec<_> = rows.collect();
    let count = listed.len();
    let rows: BTreeMap<_, _> = listed.into_iter().collect();
    assert_eq!(rows.len(), count, "a field stands there twice");
    rows
}

/// A request that has the field, with a value that says something.
fn with(field: &str) -> Value {
    let function = json!({"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}, "strict": true});
    let mut body =
        json!({"model": "gemini-3-flash", "messages": [{"role": "user", "content": "x"}]});
    let part = |part: Value| json!([{"role": "user", "content": [part]}]);
    let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"google": {"thought_signature": "QUJD"}}});
    let after = |mut message: Value, answer: Value| {
        message["role"] = "assistant".into();
        json!([{"role": "user", "content": "x"}, message, answer])
    };
    let top = field.split(['.', '[']).next().unwrap();
    match field {
        _ if field.starts_with("messages[].content[].file") => {
            body["messages"] = match field {
                "messages[].content[].file.file_id" => {
                    part(json!({"type": "file", "file": {"file_id": "gs://b/a.pdf"}}))
                }
                "messages[].content[].file.filename" => part(
                    json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"}}),
                ),
                "messages[].content[].file.format" => part(
                    json!({"type": "file", "file": {"format": "application/pdf", "file_data": "QUJD"}}),
                ),
                _ => part(
                    json!({"type": "file", "file": {"file_data": "data:application/pdf;base64,QUJD"}}),
                ),
            }
        }
        _ if field.starts_with("messages[].content[].image_url") => {
            body["messages"] = part(
                json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "high", "format": "image/png"}}),
            );
        }
        _ if field.starts_with("messages[].content[].input_audio") => {
            body["messages"] = part(
                json!({"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}}),
            );
        }
        "messages[].content[].video_url" => {
            body["messages"] = part(
                json!({"type": "video_url", "video_url": {"url": "https://youtu.be/x"}, "video_metadata": {"fps": 1}}),
            );
        }
        "messages[].content[].prompt_cache_breakpoint" => {
            body["messages"] =
                part(json!({"type": "text", "text": "x", "prompt_cache_breakpoint": {}}));
        }
        "messages[].content[].refusal" => {
            body["messages"] = after(
                json!({"content": [{"type": "refusal", "refusal": "no"}]}),
                json!({"role": "user", "content": "y"}),
            );
        }
        _ if field.starts_with("messages[].content[]") => {
            body["messages"] = part(json!({"type": "text", "text": "x"}));
        }
        _ if field.starts_with("messages[].audio") => {
            body["messages"] = after(
                json!({"content": "x", "audio": {"id": "a"}}),
                json!({"role": "user", "content": "y"}),
            );
        }
        "messages[].images" => {
            body["messages"] = after(
                json!({"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}]}),
                json!({"role": "user", "content": "y"}),
            );
        }
        "messages[].name" => body["messages"][0]["name"] = "ann".into(),
        "messages[].refusal" => {
            body["messages"] = after(
                json!({"refusal": "no"}),
                json!({"role": "user", "content": "y"}),
            );
        }
        _ if field.starts_with("messages[].function_call") => {
            body["messages"] = after(
                json!({"function_call": {"name": "f", "arguments": "{}"}}),
                json!({"role": "function", "name": "f", "content": "1"}),
            );
        }
        _ if field.starts_with("messages[].tool_calls[].custom") => {
            body["messages"] = after(
                json!({"tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}}]}),
                json!({"role": "tool", "tool_call_id": "a", "content": "1"}),
            );
        }
        _ if field.starts_with("messages[].tool_call")
            || field == "messages[].reasoning_details" =>
        {
            let message = json!({"tool_calls": [call], "reasoning_details": [{"type": "reasoning.encrypted", "data": "QUJD", "id": "a"}]});
            body["messages"] = after(
                message,
                json!({"role": "tool", "tool_call_id": "a", "content": "1"}),
            );
        }
        _ if top == "messages" || top == "model" => {}
        _ if top == "audio" => {
            body["modalities"] = json!(["audio"]);
            let voice = if field == "audio.voice.id" {
                json!({"id": "Kore"})
            } else {
                json!("Kore")
            };
            body["audio"] = json!({"voice": voice, "format": "wav"});
        }
        _ if top == "functions" || top == "function_call" => {
            let mut function = function;
            function.as_object_mut().unwrap().remove("strict");
            body["functions"] = json!([function]);
            body["function_call"] = json!({"name": "f"});
        }
        _ if field.starts_with("tools[].custom") => {
            body["tools"] = json!([{"type": "custom", "custom": {"name": "f"}}]);
        }
        _ if top == "tools" || top == "tool_choice" => {
            body["tools"] = json!([{"type": "function", "function": function}]);
            if field.starts_with("tool_choice.allowed") {
                body["tool_choice"] = json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]}});
            } else if field.starts_with("tool_choice.custom") {
                body["tool_choice"] = json!({"type": "custom", "custom": {"name": "f"}});
            } else if top == "tool_choice" {
                body["tool_choice"] = json!({"type": "function", "function": {"name": "f"}});
            }
        }
        "response_format.json_schema.description" => {
            body["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "n", "description": "d", "schema": {"type": "object"}}});
        }
        _ if top == "response_format" => {
            body["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": {"type": "object", "properties": {"a": {}}}}});
        }
        "stream_options.include_obfuscation" => {
            body["stream"] = true.into();
            body["stream_options"] = json!({"include_obfuscation": true});
        }
        _ if top == "stream_options" => {
            body["stream"] = true.into();
            body["stream_options"] = json!({"include_usage": true});
        }
        "google.thinking_config" => {
            body["google"] = json!({"thinking_config": {"thinking_level": "low"}});
        }
        "google.tools" => body["google"] = json!({"tools": [{"google_search": {}}]}),
        "google.cached_content" | "google.media_resolution" => {
            body["google"] = json!({field.trim_start_matches("google."): "x"});
        }
        "google.safety_settings" => body["google"] = json!({"safety_settings": []}),
        _ if top == "google" => {
            body["google"] = json!({field.trim_start_matches("google"): {}, "speech_config": {}, "image_config": {}, "labels": {}, "retrieval_config": {}});
        }
        "extra_body" => {
            body["extra_body"] = json!({"google": {"thinking_config": {"include_thoughts": true}}});
        }
        "top_logprobs" => {
            body["logprobs"] = true.into();
            body["top_logprobs"] = 2.into();
        }
        "logprobs" | "stream" | "store" => body[field] = true.into(),
        "parallel_tool_calls" => body[field] = false.into(),
        "modalities" => body[field] = json!(["text", "image"]),
        "reasoning_effort" => body[field] = "low".into(),
        "stop" => body[field] = "END".into(),
        "n" | "seed" | "top_k" | "max_tokens" | "max_completion_tokens" => body[field] = 2.into(),
        "temperature" | "top_p" | "frequency_penalty" | "presence_penalty" => {
            body[field] = 0.5.into();
        }
        "web_search_options" => body[field] = json!({}),
        "metadata" | "logit_bias" | "moderation" | "prediction" | "prompt_cache_options" => {
            body[field] = json!({"a": "b"});
        }
        "prompt_cache_key"
        | "prompt_cache_retention"
        | "safety_identifier"
        | "service_tier"
        | "user"
        | "verbosity" => body[field] = "x".into(),
        _ => panic!("no request is known that has {field}"),
    }
    body
}

fn read(body: &Value, strict_params: bool) -> Result<Vec<String>, InvalidRequest> {
    let options = Options {
        strict_params,
        ..Options::default()
    };
    request::parse(&request::document(&body.to_string()).unwrap(), &options)
        .map(|request| request.ignored)
}

#[test]
fn the_code_does_what_the_table_says() {
    let mut rows = rows("OpenAI's fields");
    rows.extend(self::rows("Beyond OpenAI"));
    for (field, policy) in rows {
        let body = with(field);
        let read = read(&body, false);
        // What is inside of something ignored goes with it.
        let is_named = |ignored: &[String]| {
            ignored
                .iter()
                .any(|name| field == name || field.starts_with(&format!("{name}.")))
        };
        match (policy, read) {
            ("mapped", Ok(ignored)) => {
                assert!(!is_named(&ignored), "{field}: {ignored:?}");
                let unnamed = ["messages[].content[].file.filename".to_owned()];
                assert!(
                    ignored
                        .iter()
                        .all(|name| unnamed.contains(name) || !field.starts_with(name.as_str())),
                    "{field}: {ignored:?}"
                );
            }
            ("ignored", Ok(ignored)) => {
                assert!(is_named(&ignored), "{field}: {ignored:?}");
                let refused = self::read(&body, true).unwrap_err();
                assert_eq!(
                    refused.param.as_deref(),
                    ignored.first().map(String::as_str)
                );
            }
            ("refused", Err(error)) => {
                let param = error
                    .param
                    .unwrap()
                    .replace("[0]", "[]")
                    .replace("[1]", "[]");
                let owner = param.trim_end_matches("type");
                assert!(field.starts_with(owner), "{field}: {param}");
            }
            (policy, read) => panic!("{field} is {policy}: {read:?}"),
        }
    }
}

#[test]
fn the_table_has_openais_fields_and_no_others() {
    let rows = rows("OpenAI's fields");
    let listed: Vec<&str> = rows.keys().copied().collect();
    let mut published: Vec<&str> = PUBLISHED.lines().collect();
    published.sort_unstable();
    assert_eq!(listed, published);
    let mut top: Vec<&str> = rows
        .keys()
        .copied()
        .filter(|field| !field.contains(['.', '[']))
        .collect();
    let beyond = self::rows("Beyond OpenAI");
    top.extend(beyond.keys().filter(|field| !field.contains(['.', '['])));
    top.sort_unstable();
    let coded: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
    assert_eq!(coded, top);
    for (name, policy) in FIELDS {
        let told = rows.get(name).or_else(|| beyond.get(name)).unwrap();
        let expected = match policy {
            Policy::Mapped => "mapped",
            Policy::Ignored => "ignored",
        };
        assert_eq!(*told, expected, "{name}");
    }
}
