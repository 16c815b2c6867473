//! Folds a stream as OpenAI's SDKs do: texts are joined, numbers added, objects merged,
//! and elements of arrays merged by their `index`.

use serde_json::{Map, Value, json};

/// The whole answer that the chunks of a stream add up to.
pub(crate) fn folded(chunks: &[Value]) -> Value {
    let mut choices: Vec<Value> = Vec::new();
    let mut usage = Value::Null;
    for chunk in chunks {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        for key in ["id", "created", "model"] {
            assert_eq!(chunk[key], chunks[0][key], "{key} changes");
        }
        assert!(usage.is_null(), "usage comes last");
        if !chunk["usage"].is_null() {
            assert_eq!(chunk["choices"], json!([]));
            usage = chunk["usage"].clone();
        }
        for choice in chunk["choices"].as_array().unwrap() {
            add(&mut choices, choice);
        }
    }
    choices.sort_by_key(|choice| choice["index"].as_u64());
    for choice in &mut choices {
        assert!(choice["finish_reason"].is_string(), "{choice}");
        let calls = choice["message"].get_mut("tool_calls");
        let calls = calls.and_then(Value::as_array_mut).into_iter().flatten();
        for (at, call) in calls.enumerate() {
            let index = call.as_object_mut().unwrap().remove("index");
            assert_eq!(index, Some(json!(at)));
        }
    }
    let first = &chunks[0];
    json!({"id": first["id"], "object": "chat.completion", "created": first["created"],
        "model": first["model"], "choices": choices, "usage": usage})
}

fn add(choices: &mut Vec<Value>, choice: &Value) {
    let known = choices
        .iter_mut()
        .find(|known| known["index"] == choice["index"]);
    let Some(known) = known else {
        assert_eq!(choice["delta"]["role"], "assistant", "the role comes first");
        let mut choice = choice.as_object().unwrap().clone();
        let message = choice.remove("delta").unwrap();
        choice.insert("message".to_owned(), message);
        choices.push(choice.into());
        return;
    };
    assert!(known["finish_reason"].is_null(), "one end for each choice");
    let delta = choice["delta"].as_object().unwrap();
    assert!(!delta.contains_key("role"), "the role comes once");
    merge(known["message"].as_object_mut().unwrap(), delta);
    for key in [
        "finish_reason",
        "native_finish_reason",
        "native_finish_message",
    ] {
        if let Some(value) = choice.get(key) {
            known[key] = value.clone();
        }
    }
    if let Some(tokens) = choice["logprobs"]["content"].as_array() {
        if known["logprobs"].is_null() {
            known["logprobs"] = json!({"content": [], "refusal": null});
        }
        let content = known["logprobs"]["content"].as_array_mut().unwrap();
        content.extend(tokens.iter().cloned());
    }
}

fn merge(into: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (_, _) if key == "index" || key == "type" => {
                into.insert(key.clone(), value.clone());
            }
            (None | Some(Value::Null), _) => {
                into.insert(key.clone(), value.clone());
            }
            (Some(_), Value::Null) => {}
            (Some(Value::String(into)), Value::String(from)) => into.push_str(from),
            (Some(Value::Object(into)), Value::Object(from)) => merge(into, from),
            (Some(Value::Array(into)), Value::Array(from)) => {
                for element in from {
                    let at = element["index"].as_u64().unwrap() as usize;
                    match into.get_mut(at) {
                        Some(known) => {
                            merge(known.as_object_mut().unwrap(), element.as_object().unwrap());
                        }
                        None => into.push(element.clone()),
                    }
                }
            }
            (Some(known), value) => panic!("{key}: {known} and {value} do not add up"),
        }
    }
}
