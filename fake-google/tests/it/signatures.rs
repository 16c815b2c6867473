//! Thought signatures: demanded, verified, counted.

use fake_google::Config;
use serde_json::{Value, json};

use crate::support::{Google, parts, say};

const GEMINI_3: &str = "gemini-3-pro-preview";

fn asking_for_weather() -> Value {
    let mut request = say("What is the weather in Paris?");
    let parameters = json!({ "type": "OBJECT", "properties": { "city": { "type": "STRING" } }, "required": ["city"] });
    request["tools"] =
        json!([{ "functionDeclarations": [{ "name": "get_weather", "parameters": parameters }] }]);
    request
}

/// The request that follows when the call of `answer` was made, with `signature` in place of its own.
fn followed_up(answer: &Value, signature: Option<Value>) -> Value {
    let mut request = asking_for_weather();
    let mut call = parts(answer)[0].clone();
    match signature {
        Some(Value::Null) => drop(call.as_object_mut().unwrap().remove("thoughtSignature")),
        Some(signature) => call["thoughtSignature"] = signature,
        None => {}
    }
    let name = call["functionCall"]["name"].clone();
    let contents = request["contents"].as_array_mut().unwrap();
    contents.push(json!({ "role": "model", "parts": [call] }));
    contents.push(json!({ "role": "user", "parts": [{ "functionResponse": { "name": name, "response": { "sky": "blue" } } }] }));
    request
}

#[tokio::test]
async fn gemini_3_demands_the_signature_that_it_issued() {
    let google = Google::start(Config::default()).await;
    let verb = format!("{GEMINI_3}:generateContent");
    let first = google.gemini(&verb, &asking_for_weather()).await.json();
    assert!(parts(&first)[0]["thoughtSignature"].is_string());
    assert_eq!(
        google
            .gemini(&verb, &followed_up(&first, None))
            .await
            .status,
        200
    );

    // Another fake Google issued it: the key is the same.
    let elsewhere = Google::start(Config::default()).await;
    assert_eq!(
        elsewhere
            .gemini(&verb, &followed_up(&first, None))
            .await
            .status,
        200
    );

    let missing = google
        .gemini(&verb, &followed_up(&first, Some(Value::Null)))
        .await;
    assert_eq!(missing.status, 400);
    assert_eq!(
        missing.message(),
        "Function call is missing a thought_signature in functionCall parts. This is required for tools to work \
         correctly, and missing thought_signature may lead to degraded model performance. Additional data, function \
         call `default_api:get_weather` , position 2. Please refer to \
         https://ai.google.dev/gemini-api/docs/thought-signatures for more details."
    );
    let foreign = google
        .gemini(&verb, &followed_up(&first, Some("EjQKMgEM".into())))
        .await;
    assert_eq!(
        (foreign.status, foreign.message().as_str()),
        (400, "Corrupted thought signature.")
    );
    for dummy in [
        "skip_thought_signature_validator",
        "context_engineering_is_the_way_to_go",
        "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=",
    ] {
        assert_eq!(
            google
                .gemini(&verb, &followed_up(&first, Some(dummy.into())))
                .await
                .status,
            200
        );
    }
    let seen = google.running.fake().counters().signatures;
    assert_eq!(seen.issued, 1);
    assert_eq!(
        (seen.real, seen.dummy, seen.corrupt, seen.missing),
        (1, 3, 1, 1)
    );

    let lenient = Google::start(Config {
        accept_any_signature: true,
        ..Config::default()
    })
    .await;
    assert_eq!(
        lenient
            .gemini(&verb, &followed_up(&first, Some("EjQKMgEM".into())))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn older_turns_and_older_models_need_none() {
    let google = Google::start(Config::default()).await;
    let first = google
        .gemini(
            &format!("{GEMINI_3}:generateContent"),
            &asking_for_weather(),
        )
        .await
        .json();
    let mut unsigned = followed_up(&first, Some(Value::Null));
    assert_eq!(
        google
            .gemini("gemini-2.5-pro:generateContent", &unsigned)
            .await
            .status,
        200
    );
    unsigned["contents"]
        .as_array_mut()
        .unwrap()
        .push(say("Thanks!")["contents"][0].clone());
    assert_eq!(
        google
            .gemini(&format!("{GEMINI_3}:generateContent"), &unsigned)
            .await
            .status,
        200
    );
    let token = google.token(1).await;
    let path = format!(
        "/v1/projects/fake-project-1/locations/global/publishers/google/models/{GEMINI_3}:generateContent"
    );
    let vertex = google
        .post(&path, &token, &followed_up(&first, Some(Value::Null)))
        .await;
    assert!(vertex.message().starts_with(
        "Unable to submit request because function call `get_weather` in the 2. content block is missing a \
         `thought_signature`."
    ));
}

#[tokio::test]
async fn of_parallel_calls_the_first_is_signed() {
    let google = Google::start(Config::default()).await;
    let mut request = say("Use get_weather and get_time for Paris.");
    request["tools"] =
        json!([{ "functionDeclarations": [{ "name": "get_weather" }, { "name": "get_time" }] }]);
    let answer = google
        .gemini(
            &format!("{GEMINI_3}:streamGenerateContent?alt=sse"),
            &request,
        )
        .await;
    let calls: Vec<Value> = answer
        .events()
        .iter()
        .flat_map(|event| parts(event).clone())
        .filter(|part| part.get("functionCall").is_some())
        .collect();
    assert_eq!(calls.len(), 2);
    assert!(
        calls[0].get("thoughtSignature").is_some() && calls[1].get("thoughtSignature").is_none()
    );
    assert_ne!(
        calls[0]["functionCall"]["id"],
        calls[1]["functionCall"]["id"]
    );

    let said = google
        .gemini(
            &format!("{GEMINI_3}:streamGenerateContent?alt=sse"),
            &say("Hello"),
        )
        .await
        .events();
    let last = parts(said.last().unwrap()).last().unwrap().clone();
    assert_eq!(last["text"], "");
    assert!(last["thoughtSignature"].is_string());
}
