//! Bytes: how events, arrays and errors look on the wire.

use fake_google::{Action, Config, ErrorForm, ErrorName, Fault};

use crate::support::{Google, say};

#[tokio::test]
async fn events_are_googles_to_the_byte() {
    let google = Google::start(Config::default()).await;
    let raw = google
        .raw(
            "streamGenerateContent?alt=sse",
            "gemini-2.5-flash",
            say("Hi"),
        )
        .await
        .unwrap();
    let (head, body) = raw.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: text/event-stream"));
    assert!(head.contains("transfer-encoding: chunked"));
    assert!(head.contains("server: ESF"));
    assert!(head.contains("x-cloudaicompanion-trace-id: "));
    assert!(body.contains("data: {\"response\": {\"candidates\": [{\"content\": {\"role\": \"model\",\"parts\": [{\"text\": \""));
    assert!(body.contains("\"metadata\": {}}\r\n\r\n"));
    assert!(!body.contains("[DONE]"));
    assert!(!body.contains("event:"));
    assert!(body.ends_with("0\r\n\r\n"));
}

#[tokio::test]
async fn without_alt_sse_a_stream_is_an_array() {
    let google = Google::start(Config::default()).await;
    let answer = google
        .gemini(
            "gemini-2.5-flash:streamGenerateContent",
            &say("Hello there, how are you?"),
        )
        .await;
    assert_eq!(answer.content_type(), "application/json; charset=UTF-8");
    assert!(answer.body.starts_with("[{\n  \"candidates\": ["));
    assert!(answer.body.contains("}\n,\r\n{"));
    assert!(answer.body.ends_with("}\n]"));
    assert!(answer.json().as_array().unwrap().len() > 2);
}

#[tokio::test]
async fn errors_take_the_form_of_their_url() {
    let google = Google::start(Config::default()).await;
    let unknown = "gemini-9:streamGenerateContent";
    let sse = google
        .gemini(&format!("{unknown}?alt=sse"), &say("Hi"))
        .await;
    assert_eq!((sse.status, sse.content_type()), (404, "text/event-stream"));
    assert_eq!(sse.json()["error"]["code"], 404);
    assert!(
        sse.body
            .starts_with("{\n  \"error\": {\n    \"code\": 404,")
    );
    let array = google.gemini(unknown, &say("Hi")).await;
    assert_eq!(array.json()[0]["error"]["code"], 404);

    let fake = google.running.fake();
    let scripted = |form| {
        Fault::once(Action::Error {
            error: ErrorName::Overloaded,
            form,
            retry_after: None,
        })
    };
    fake.script(scripted(ErrorForm::Array));
    let array = google
        .gemini("gemini-2.5-flash:generateContent", &say("Hi"))
        .await;
    assert_eq!(array.json()[0]["error"]["status"], "UNAVAILABLE");
    fake.script(scripted(ErrorForm::Nested));
    let nested = google
        .gemini("gemini-2.5-flash:generateContent", &say("Hi"))
        .await;
    let inner: serde_json::Value = serde_json::from_str(&nested.message()).unwrap();
    assert_eq!(
        inner["error"]["message"],
        "The model is overloaded. Please try again later."
    );
}

#[tokio::test]
async fn unary_answers_are_pretty_and_enveloped() {
    let google = Google::start(Config::default()).await;
    let answer = google
        .code_assist("generateContent", "gemini-2.5-pro", say("Hi"))
        .await;
    assert!(
        answer
            .body
            .starts_with("{\n  \"response\": {\n    \"candidates\": [")
    );
    let trace = answer.json()["traceId"].as_str().unwrap().to_owned();
    assert_eq!(
        answer.headers["x-cloudaicompanion-trace-id"],
        trace.as_str()
    );
    let unknown = google
        .http
        .get(google.url("/nowhere"))
        .send()
        .await
        .unwrap();
    assert_eq!(unknown.status(), 404);
    assert!(
        unknown
            .text()
            .await
            .unwrap()
            .contains("Error 404 (Not Found)!!1")
    );
}
