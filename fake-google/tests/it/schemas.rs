//! Schemas that a model would never come to an end with, and those that Vertex AI alone refuses.

use std::time::{Duration, Instant};

use fake_google::Config;
use serde_json::{Map, Value, json};

use crate::support::{Google, say};

const MODEL: &str = "gemini-2.5-pro";

fn answer_of(schema: &Value) -> Value {
    let mut request = say("Hi");
    request["generationConfig"] =
        json!({ "responseMimeType": "application/json", "responseJsonSchema": schema });
    request
}

fn arguments_of(schema: &Value) -> Value {
    let mut request = say("Please call f.");
    let function = json!({ "name": "f", "parametersJsonSchema": schema });
    request["tools"] = json!([{ "functionDeclarations": [function] }]);
    request
}

/// A schema nested so deep, each level made of the one below by `around`.
fn nested(depth: usize, around: impl Fn(Value) -> Value) -> Value {
    (0..depth).fold(json!({ "type": "string" }), |inner, _| around(inner))
}

#[tokio::test]
async fn what_would_make_too_much_is_refused_at_once() {
    let google = Google::start(Config::default()).await;
    let own = json!({ "$ref": "#" });
    let names = ["a", "b", "c", "d", "e"];
    let all: Map<String, Value> = names
        .map(|name| (name.to_owned(), own.clone()))
        .into_iter()
        .collect();
    let many = json!({ "type": "object", "properties": all, "required": names });
    let nulls = vec![json!({ "type": "null" }); 20_000];
    let mut choices = nulls;
    choices.push(
        json!({ "type": "object", "properties": { "a": own, "b": own }, "required": ["a", "b"] }),
    );
    for schema in [
        many,
        json!({ "allOf": [own, own, own] }),
        json!({ "type": "object", "properties": { "p": { "anyOf": choices } }, "required": ["p"] }),
        json!({ "type": "array", "items": own, "minItems": 100 }),
        json!({ "type": "array", "prefixItems": [own, own, own] }),
        nested(
            20,
            |inner| json!({ "type": "array", "items": inner, "minItems": 100 }),
        ),
        json!({ "type": "array", "minItems": 100, "items": { "type": "array", "minItems": 100,
            "items": { "type": "string", "minLength": 10_000 } } }),
        json!({ "type": "array", "minItems": 100, "items": { "const": "x".repeat(1 << 20) } }),
    ] {
        for request in [answer_of(&schema), arguments_of(&schema)] {
            let begin = Instant::now();
            let answer = google
                .gemini(&format!("{MODEL}:generateContent"), &request)
                .await;
            assert_eq!(
                answer.status,
                400,
                "{:.200} {}",
                schema.to_string(),
                answer.body
            );
            assert!(
                answer.message().contains("too many states"),
                "{}",
                answer.body
            );
            assert_eq!(answer.json()["error"]["status"], "INVALID_ARGUMENT");
            assert!(
                begin.elapsed() < Duration::from_secs(60),
                "{:?}",
                begin.elapsed()
            );
        }
    }
}

#[tokio::test]
async fn what_is_large_and_comes_to_an_end_is_served() {
    let google = Google::start(Config::default()).await;
    let wide: Map<String, Value> = (0..500)
        .map(|nth| (format!("p{nth}"), json!({ "type": "string" })))
        .collect();
    let node = json!({ "type": "object", "properties": { "next": { "$ref": "#/$defs/N" }, "v": { "type": "integer" } }, "required": ["v"] });
    for schema in [
        json!({ "type": "object", "properties": wide }),
        json!({ "$ref": "#/$defs/N", "$defs": { "N": node } }),
        nested(
            30,
            |inner| json!({ "type": "object", "properties": { "a": inner } }),
        ),
    ] {
        for request in [answer_of(&schema), arguments_of(&schema)] {
            let answer = google
                .gemini(&format!("{MODEL}:generateContent"), &request)
                .await;
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
    }
}

#[tokio::test]
async fn the_names_above_a_schema_are_not_written_for_each_of_its_properties() {
    let google = Google::start(Config::default()).await;
    let wide: Map<String, Value> = (0..100_000)
        .map(|nth| (format!("p{nth}"), json!({ "type": "STRING" })))
        .collect();
    let inner = json!({ "type": "OBJECT", "properties": wide });
    let parameters = json!({ "type": "OBJECT", "properties": { "n".repeat(4 << 20): inner } });
    let mut request = say("Hi");
    request["tools"] =
        json!([{ "functionDeclarations": [{ "name": "f", "parameters": parameters }] }]);
    let begin = Instant::now();
    let answer = google
        .gemini(&format!("{MODEL}:generateContent"), &request)
        .await;
    assert!(
        begin.elapsed() < Duration::from_secs(60),
        "{:?}",
        begin.elapsed()
    );
    assert!(
        answer.message().contains("too many states"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn of_many_unknown_fields_some_are_told() {
    let google = Google::start(Config::default()).await;
    let mut request = say("Hi");
    for nth in 0..100_000 {
        request[format!("x{nth}")] = 1.into();
    }
    let answer = google
        .gemini(&format!("{MODEL}:generateContent"), &request)
        .await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.message().lines().count(), 1_000);
}

#[tokio::test]
async fn vertex_takes_nothing_beside_any_of() {
    let google = Google::start(Config::default()).await;
    let token = google.token(1).await;
    let vertex = format!(
        "/v1/projects/fake-project-1/locations/global/publishers/google/models/{MODEL}:generateContent"
    );
    let either = json!([{ "type": "STRING" }, { "type": "INTEGER" }]);
    for (schema, is_alone) in [
        (json!({ "anyOf": either }), true),
        (json!({ "anyOf": either, "description": null }), true),
        (json!({ "anyOf": either, "description": "d" }), false),
        (json!({ "any_of": either, "nullable": true }), false),
    ] {
        let parameters = json!({ "type": "OBJECT", "properties": { "a": schema } });
        let mut request = say("Hi");
        request["tools"] =
            json!([{ "functionDeclarations": [{ "name": "f", "parameters": parameters }] }]);
        let answer = google
            .gemini(&format!("{MODEL}:generateContent"), &request)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        for answer in [
            google
                .code_assist("generateContent", MODEL, request.clone())
                .await,
            google.post(&vertex, &token, &request).await,
        ] {
            let expected = if is_alone { 200 } else { 400 };
            assert_eq!(answer.status, expected, "{schema} {}", answer.body);
            assert!(is_alone || answer.message().contains("alongside any_of"));
        }
    }
}

#[tokio::test]
async fn there_are_at_most_512_functions() {
    let google = Google::start(Config::default()).await;
    for (count, status) in [(512, 200), (513, 400)] {
        let declared: Vec<Value> = (0..count)
            .map(|nth| json!({ "name": format!("f{nth}") }))
            .collect();
        let mut request = say("Hi");
        request["tools"] = json!([{ "functionDeclarations": declared }]);
        let answer = google
            .gemini(&format!("{MODEL}:generateContent"), &request)
            .await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
}
