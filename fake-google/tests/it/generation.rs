//! Answers: what is said, called, counted.

use fake_google::{API_KEY, Config};
use serde_json::{Value, json};

use crate::support::{Google, parts, read, say, text};

const FLASH: &str = "gemini-2.5-flash:generateContent";

#[tokio::test]
async fn all_upstreams_say_the_same_in_their_own_way() {
    let google = Google::start(Config::default()).await;
    let expected = "Hello! You said: How are you?";
    let assist = google
        .code_assist("generateContent", "gemini-2.5-flash", say("How are you?"))
        .await
        .json();
    assert_eq!(text(&assist["response"]), expected);
    let gemini = google.gemini(FLASH, &say("How are you?")).await.json();
    assert_eq!(text(&gemini), expected);
    assert_eq!(gemini["modelVersion"], "gemini-2.5-flash");
    let token = google.token(1).await;
    let path = "/v1/projects/fake-project-1/locations/us-central1/publishers/google/models/gemini-2.5-flash:generateContent";
    let vertex = google.post(path, &token, &say("How are you?")).await.json();
    assert_eq!(text(&vertex), expected);
    assert_eq!(vertex["usageMetadata"]["trafficType"], "ON_DEMAND");
    assert!(vertex["createTime"].is_string());
    let express = google.url("/v1/publishers/google/models/gemini-2.5-flash:generateContent");
    let express = google
        .http
        .post(express)
        .header("x-goog-api-key", API_KEY)
        .body(say("Hi").to_string());
    assert_eq!(read(express).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_stream_adds_up_to_the_unary_answer() {
    let google = Google::start(Config::default()).await;
    let mut request = say("Tell me about the sea, the wind and the sand.");
    request["generationConfig"] = json!({ "thinkingConfig": { "includeThoughts": true } });
    let unary = google.gemini(FLASH, &request).await.json();
    let events = google
        .gemini("gemini-2.5-flash:streamGenerateContent?alt=sse", &request)
        .await
        .events();
    assert!(events.len() > 3);
    assert_eq!(parts(&events[0])[0]["thought"], true);
    let streamed: String = events.iter().map(text).collect();
    assert_eq!(streamed, text(&unary));
    let usage = &events.last().unwrap()["usageMetadata"];
    assert_eq!(usage, &unary["usageMetadata"]);
    let count = |name: &str| usage[name].as_u64().unwrap();
    assert_eq!(
        count("totalTokenCount"),
        count("promptTokenCount") + count("candidatesTokenCount") + count("thoughtsTokenCount")
    );
    let finished: Vec<&Value> = events
        .iter()
        .filter(|event| event["candidates"][0].get("finishReason").is_some())
        .collect();
    assert_eq!(finished.len(), 1);
    assert_eq!(
        events.last().unwrap()["candidates"][0]["finishReason"],
        "STOP"
    );
    let first_id = &events[0]["responseId"];
    assert!(events.iter().all(|event| &event["responseId"] == first_id));
}

#[tokio::test]
async fn limits_and_stops_are_kept() {
    let google = Google::start(Config::default()).await;
    let mut request = say("one two three four five");
    request["generationConfig"] =
        json!({ "maxOutputTokens": 5, "thinkingConfig": { "thinkingBudget": 0 } });
    let cut = google.gemini(FLASH, &request).await.json();
    assert_eq!(cut["candidates"][0]["finishReason"], "MAX_TOKENS");
    assert_eq!(cut["usageMetadata"]["candidatesTokenCount"], 5);
    assert_eq!(text(&cut), "Hello! You said:");
    // Thinking counts, and comes first.
    request["generationConfig"] = json!({ "maxOutputTokens": 5 });
    let thought = google.gemini(FLASH, &request).await.json();
    assert_eq!(thought["candidates"][0]["finishReason"], "MAX_TOKENS");
    assert_eq!(text_or_nothing(&thought), "");
    request["generationConfig"] = json!({ "stopSequences": ["four", "three"] });
    let stopped = google.gemini(FLASH, &request).await.json();
    assert_eq!(text(&stopped), "Hello! You said: one two ");
    assert_eq!(stopped["candidates"][0]["finishReason"], "STOP");
}

fn text_or_nothing(response: &Value) -> String {
    let parts = response["candidates"][0]["content"]["parts"].as_array();
    parts
        .into_iter()
        .flatten()
        .filter_map(|part| part["text"].as_str())
        .collect()
}

#[tokio::test]
async fn several_candidates_and_log_probabilities_on_request() {
    let google = Google::start(Config::default()).await;
    let mut request = say("Hi");
    request["generationConfig"] =
        json!({ "candidateCount": 2, "responseLogprobs": true, "logprobs": 2 });
    let answer = google.gemini(FLASH, &request).await.json();
    assert_eq!(answer["candidates"].as_array().unwrap().len(), 2);
    assert_eq!(answer["candidates"][1]["index"], 1);
    assert_ne!(
        parts(&answer)[0],
        answer["candidates"][1]["content"]["parts"][0]
    );
    let result = &answer["candidates"][0]["logprobsResult"];
    let chosen = result["chosenCandidates"].as_array().unwrap();
    let tokens: String = chosen
        .iter()
        .map(|token| token["token"].as_str().unwrap())
        .collect();
    assert_eq!(tokens, text(&answer));
    assert_eq!(
        result["topCandidates"][0]["candidates"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let events = google
        .gemini("gemini-2.5-flash:streamGenerateContent?alt=sse", &request)
        .await
        .events();
    let indices: Vec<u64> = events
        .iter()
        .map(|event| event["candidates"][0]["index"].as_u64().unwrap())
        .collect();
    assert_eq!(indices[..4], [0, 1, 0, 1]);
}

fn weather_tool(schema_field: &str) -> Value {
    json!([{ "functionDeclarations": [
        { "name": "get_weather", "description": "d", schema_field: {
            "type": "object",
            "properties": {
                "city": { "type": "string" },
                "days": { "type": "integer", "minimum": 10, "maximum": 14 },
                "unit": { "type": "string", "enum": ["celsius", "fahrenheit"] },
                "at": { "type": "array", "items": { "type": "number" }, "minItems": 2 },
                "unwanted": { "type": "string" },
            },
            "required": ["city", "days", "unit", "at"],
        } },
        { "name": "list_files", "description": "d" },
    ] }])
}

#[tokio::test]
async fn tools_are_called_with_arguments_that_fit_their_schema() {
    let google = Google::start(Config::default()).await;
    for field in ["parameters", "parametersJsonSchema"] {
        let mut request = say("What is the weather in Paris?");
        request["tools"] = weather_tool(field);
        let answer = google.gemini(FLASH, &request).await.json();
        let call = &parts(&answer)[0]["functionCall"];
        assert_eq!(call["name"], "get_weather");
        let args = json!({ "city": "Paris", "days": 10, "unit": "celsius", "at": [7.5, 7.5] });
        assert_eq!(call["args"], args);
        assert!(call.get("id").is_none());
        assert_eq!(answer["candidates"][0]["finishReason"], "STOP");
    }
    let ask = |said: &'static str, config: Value| {
        let google = &google;
        async move {
            let mut request = say(said);
            request["tools"] = weather_tool("parameters");
            request["toolConfig"] = json!({ "functionCallingConfig": config });
            let answer = google
                .code_assist("generateContent", "gemini-2.5-pro", request)
                .await
                .json();
            let called: Vec<String> = parts(&answer["response"])
                .iter()
                .filter_map(|part| part["functionCall"]["name"].as_str())
                .map(str::to_owned)
                .collect();
            called
        }
    };
    assert!(ask("Hello!", json!({ "mode": "AUTO" })).await.is_empty());
    assert!(
        ask("What is the weather?", json!({ "mode": "NONE" }))
            .await
            .is_empty()
    );
    assert_eq!(
        ask("Hello!", json!({ "mode": "ANY" })).await,
        ["get_weather"]
    );
    let allowed = json!({ "mode": "ANY", "allowedFunctionNames": ["list_files"] });
    assert_eq!(ask("Hello!", allowed).await, ["list_files"]);
    assert_eq!(
        ask("Call list_files, then getWeather.", json!({})).await,
        ["get_weather", "list_files"]
    );
}

#[tokio::test]
async fn results_of_tools_are_told_and_not_asked_for_again() {
    let google = Google::start(Config::default()).await;
    let mut request = say("What is the weather in Paris?");
    request["tools"] = weather_tool("parameters");
    let contents = request["contents"].as_array_mut().unwrap();
    contents.push(json!({ "role": "model", "parts": [{ "functionCall": { "name": "get_weather", "args": {} } }] }));
    contents.push(json!({ "role": "user", "parts": [{ "functionResponse": { "name": "get_weather", "response": { "sky": "blue" } } }] }));
    let answer = google.gemini(FLASH, &request).await.json();
    assert_eq!(
        text(&answer),
        "Here is what I found: get_weather says {\"sky\": \"blue\"}."
    );
}

#[tokio::test]
async fn a_result_can_ask_for_another_call() {
    let google = Google::start(Config::default()).await;
    let mut request = say("What is the weather in Paris?");
    request["tools"] = weather_tool("parameters");
    let contents = request["contents"].as_array_mut().unwrap();
    contents.push(json!({ "role": "model", "parts": [{ "functionCall": { "name": "get_weather", "args": {} } }] }));
    contents.push(json!({ "role": "user", "parts": [{ "functionResponse": { "name": "get_weather", "response": { "output": "Cloudy. Call list_files to see more." } } }] }));
    let answer = google.gemini(FLASH, &request).await.json();
    assert_eq!(parts(&answer)[0]["functionCall"]["name"], "list_files");
}

#[tokio::test]
async fn arguments_are_what_the_text_says() {
    let google = Google::start(Config::default()).await;
    let ask = |said: &'static str| {
        let google = &google;
        async move {
            let mut request = say(said);
            request["tools"] = json!([{ "functionDeclarations": [{ "name": "greet", "description": "d", "parameters": {
                "type": "object",
                "properties": { "name": { "type": "string" }, "times": { "type": "integer" } },
            } }] }]);
            let answer = google.gemini(FLASH, &request).await.json();
            parts(&answer)[0]["functionCall"]["args"].clone()
        }
    };
    assert_eq!(
        ask("Let's greet '\u{4f60}\u{597d}' (Hello) 3 times").await,
        json!({ "name": "\u{4f60}\u{597d}", "times": 3 })
    );
    assert_eq!(
        ask("It's time to greet Ann, isn't it?").await,
        json!({ "name": "Ann", "times": 7 })
    );
    assert_eq!(
        ask("greet(-12.)").await,
        json!({ "name": "greet(-12", "times": -12 })
    );
    let mut request = say("A joke, please, with 'setup' and 'punchline' keys.");
    request["generationConfig"] = json!({ "responseMimeType": "application/json" });
    let answer = text(&google.gemini(FLASH, &request).await.json());
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let keys: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["setup", "punchline"]);
}

#[tokio::test]
async fn json_answers_fit_their_schema() {
    let google = Google::start(Config::default()).await;
    let ask = |config: Value| {
        let google = &google;
        async move {
            let mut request = say("Give me a recipe for soup.");
            request["generationConfig"] = config;
            text(&google.gemini(FLASH, &request).await.json())
        }
    };
    let json_type = "application/json";
    let gemini = json!({ "type": "OBJECT", "properties": {
        "name": { "type": "STRING" }, "stars": { "type": "INTEGER", "maximum": 5 }, "ok": { "type": "BOOLEAN" },
    }, "required": ["stars", "ok"] });
    let answer = ask(json!({ "responseMimeType": json_type, "responseSchema": gemini })).await;
    assert_eq!(
        serde_json::from_str::<Value>(&answer).unwrap(),
        json!({ "stars": 5, "ok": true })
    );
    let constant = json!({ "type": "object", "properties": { "none": { "const": null } }, "required": ["none"] });
    let answer =
        ask(json!({ "responseMimeType": json_type, "responseJsonSchema": constant })).await;
    assert_eq!(answer, "{\"none\": null}");
    let json_schema = json!({
        "$defs": { "step": { "type": "object", "properties": { "do": { "const": "stir" }, "next": { "anyOf": [{ "type": "null" }, { "$ref": "#/$defs/step" }] } }, "required": ["do"] } },
        "type": "object",
        "properties": { "steps": { "type": "array", "items": { "$ref": "#/$defs/step" }, "minItems": 1 }, "when": { "type": ["null", "string"], "format": "date" } },
        "required": ["steps", "when"],
        "additionalProperties": false,
    });
    let answer =
        ask(json!({ "responseMimeType": json_type, "responseJsonSchema": json_schema })).await;
    let expected = json!({ "steps": [{ "do": "stir" }], "when": "2026-01-31" });
    assert_eq!(serde_json::from_str::<Value>(&answer).unwrap(), expected);
    let bare = ask(json!({ "responseMimeType": json_type })).await;
    assert!(serde_json::from_str::<Value>(&bare).unwrap().is_object());
    let choice = json!({ "type": "STRING", "enum": ["hot", "cold"] });
    assert_eq!(
        ask(json!({ "responseMimeType": "text/x.enum", "responseSchema": choice })).await,
        "hot"
    );
}

#[tokio::test]
async fn image_models_draw_when_asked() {
    let google = Google::start(Config::default()).await;
    let mut request = say("Draw a boat.");
    request["generationConfig"] = json!({ "responseModalities": ["TEXT", "IMAGE"] });
    let answer = google
        .gemini("gemini-2.5-flash-image:generateContent", &request)
        .await
        .json();
    let image = parts(&answer)
        .iter()
        .find(|part| part.get("inlineData").is_some())
        .unwrap();
    assert_eq!(image["inlineData"]["mimeType"], "image/png");
    assert!(
        image["inlineData"]["data"]
            .as_str()
            .unwrap()
            .starts_with("iVBORw0KGgo")
    );
    assert!(image["thoughtSignature"].is_string());
    assert_eq!(
        answer["usageMetadata"]["candidatesTokensDetails"][0]["tokenCount"],
        1290
    );
}

#[tokio::test]
async fn speech_comes_in_pieces_when_asked() {
    let google = Google::start(Config::default()).await;
    let mut request = say("Say cheerfully: hello!");
    request["generationConfig"] = json!({ "responseModalities": ["AUDIO"] });
    let answer = google
        .gemini("gemini-2.5-flash:generateContent", &request)
        .await
        .json();
    let speech: Vec<&str> = parts(&answer)
        .iter()
        .filter_map(|part| part["inlineData"]["data"].as_str())
        .collect();
    assert_eq!(speech.len(), 3, "{answer}");
    assert!(speech[0].ends_with('='));
    assert_eq!(
        answer["usageMetadata"]["candidatesTokensDetails"],
        json!([{ "modality": "AUDIO", "tokenCount": 12 }])
    );
}

#[tokio::test]
async fn a_search_has_sources_with_places_in_bytes() {
    let google = Google::start(Config::default()).await;
    let mut request = say("Gr\u{fc}\u{df}e aus Z\u{fc}rich");
    request["tools"] = json!([{ "googleSearch": {} }]);
    let answer = google
        .gemini("gemini-2.5-flash:generateContent", &request)
        .await
        .json();
    let text: String = parts(&answer)
        .iter()
        .filter_map(|part| part["text"].as_str())
        .collect();
    let grounding = &answer["candidates"][0]["groundingMetadata"];
    for support in grounding["groundingSupports"].as_array().unwrap() {
        let segment = &support["segment"];
        let place = |key: &str| segment[key].as_u64().unwrap_or(0) as usize;
        assert_eq!(
            text[place("startIndex")..place("endIndex")],
            *segment["text"].as_str().unwrap()
        );
    }
    assert!(
        grounding["groundingSupports"][0]["segment"]
            .get("startIndex")
            .is_none()
    );
}

#[tokio::test]
async fn code_goes_before_the_words() {
    let google = Google::start(Config::default()).await;
    let mut request = say("Compute.");
    request["tools"] = json!([{ "codeExecution": {} }]);
    let answer = google
        .gemini("gemini-2.5-flash:generateContent", &request)
        .await
        .json();
    let parts = parts(&answer);
    assert_eq!(parts[0]["executableCode"]["language"], "PYTHON");
    assert_eq!(parts[1]["codeExecutionResult"]["outcome"], "OUTCOME_OK");
    assert!(parts[2]["text"].is_string());
}

#[tokio::test]
async fn claude_and_gpt_speak_on_code_assist_only() {
    let google = Google::start(Config::default()).await;
    let mut request = say("Use get_weather.");
    request["tools"] = weather_tool("parameters");
    let claude = google
        .code_assist("generateContent", "claude-sonnet-4-6", request)
        .await
        .json();
    let response = &claude["response"];
    assert!(
        response["responseId"]
            .as_str()
            .unwrap()
            .starts_with("msg_vrtx_")
    );
    assert!(
        parts(response)[0]["functionCall"]["id"]
            .as_str()
            .unwrap()
            .starts_with("toolu_vrtx_01")
    );
    assert!(
        response["usageMetadata"]
            .get("thoughtsTokenCount")
            .is_none()
    );
    assert_eq!(
        google
            .gemini("claude-sonnet-4-6:generateContent", &say("Hi"))
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn tokens_are_counted_and_texts_embedded() {
    let google = Google::start(Config::default()).await;
    let token = google.token(1).await;
    let gemini = google
        .gemini("gemini-2.5-flash:countTokens", &say("Hello you there"))
        .await
        .json();
    assert_eq!(gemini["totalTokens"], 5);
    let nested = json!({ "generateContentRequest": { "model": "models/gemini-2.5-flash", "contents": say("Hello you there")["contents"], "systemInstruction": { "parts": [{ "text": "Well." }] } } });
    assert_eq!(
        google
            .gemini("gemini-2.5-flash:countTokens", &nested)
            .await
            .json()["totalTokens"],
        7
    );
    let request = json!({ "request": { "model": "models/gemini-2.5-pro", "contents": say("Hello you there")["contents"] } });
    let assist = google
        .post("/v1internal:countTokens", &token, &request)
        .await
        .json();
    assert_eq!(assist, json!({ "totalTokens": 5 }));

    let embed = |text: &str| json!({ "content": { "parts": [{ "text": text }] }, "outputDimensionality": 768 });
    let vector = google
        .gemini("gemini-embedding-001:embedContent", &embed("red boats"))
        .await
        .json();
    let vector: Vec<f64> = serde_json::from_value(vector["embedding"]["values"].clone()).unwrap();
    assert_eq!(vector.len(), 768);
    assert!((vector.iter().map(|value| value * value).sum::<f64>() - 1.0).abs() < 1e-6);
    let entry = |text: &str| {
        let mut entry = embed(text);
        entry["model"] = "models/gemini-embedding-001".into();
        entry
    };
    let batch = json!({ "requests": [entry("red boats"), entry("blue boats")] });
    let batch = google
        .gemini("gemini-embedding-001:batchEmbedContents", &batch)
        .await
        .json();
    let first: Vec<f64> = serde_json::from_value(batch["embeddings"][0]["values"].clone()).unwrap();
    assert_eq!(first, vector);
    assert_ne!(batch["embeddings"][0], batch["embeddings"][1]);
    assert_eq!(
        google
            .gemini("gemini-embedding-001:generateContent", &say("Hi"))
            .await
            .status,
        404
    );
}
