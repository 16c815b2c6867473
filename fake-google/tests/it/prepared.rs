//! Answers that are made once.

use std::time::{Duration, Instant};

use fake_google::Config;
use serde_json::Value;

use crate::support::{Google, say, text};

const STREAM: &str = "gemini-2.5-flash:streamGenerateContent?alt=sse";

fn prepared() -> Config {
    Config {
        prepared: true,
        text_chunks: 20,
        ..Config::default()
    }
}

#[tokio::test]
async fn whoever_asks_gets_the_same_bytes() {
    let google = Google::start(prepared()).await;
    let first = google.gemini(STREAM, &say("Hello")).await;
    let events = first.events();
    assert_eq!(events.len(), 20);
    let finished = |event: &&Value| event["candidates"][0].get("finishReason").is_some();
    assert_eq!(events.iter().filter(finished).count(), 1);
    assert!(
        events
            .iter()
            .all(|event| event["usageMetadata"].is_object())
    );
    assert_eq!(
        google.gemini(STREAM, &say("Something else")).await.body,
        first.body
    );

    let whole = google
        .gemini("gemini-2.5-flash:generateContent", &say("Hello"))
        .await
        .json();
    let streamed: String = events.iter().map(text).collect();
    assert_eq!(text(&whole), streamed);
    let array = google
        .gemini("gemini-2.5-flash:streamGenerateContent", &say("Hello"))
        .await
        .json();
    assert_eq!(array, Value::Array(events));
}

#[tokio::test]
async fn code_assist_has_its_envelope_and_tokens_are_real() {
    let google = Google::start(prepared()).await;
    let answer = google
        .code_assist("generateContent", "gemini-2.5-flash", say("Hello"))
        .await
        .json();
    assert!(!text(&answer["response"]).is_empty());
    assert_eq!(google.refresh("1//nobody").await.status, 400);
    assert_eq!(google.running.fake().counters().generations(), 0);
}

#[tokio::test]
async fn events_come_in_their_time() {
    let google = Google::start(Config {
        text_chunks: 50,
        event_delay: Duration::from_millis(2),
        ..prepared()
    })
    .await;
    let began = Instant::now();
    assert_eq!(
        google.gemini(STREAM, &say("Hello")).await.events().len(),
        50
    );
    assert!(began.elapsed() >= Duration::from_millis(98));
}
