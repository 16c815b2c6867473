//! Scripted faults: what breaks, when, for whom, how often.

use std::time::{Duration, Instant};

use fake_google::{
    Action, Config, Endpoint, ErrorForm, ErrorName, Fault, HoldPoint, StreamErrorForm, Upstream,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Google, parts, say, text, until};

const STREAM: &str = "streamGenerateContent?alt=sse";
const MODEL: &str = "gemini-2.5-flash";

async fn google_with(fault: Fault) -> Google {
    let google = Google::start(Config::default()).await;
    google.running.fake().script(fault);
    google
}

/// The inner responses of a streamed answer of Code Assist.
async fn stream(google: &Google) -> Vec<serde_json::Value> {
    let answer = google
        .code_assist(STREAM, MODEL, say("Tell me something nice today"))
        .await;
    answer
        .events()
        .iter()
        .map(|event| event["response"].clone())
        .collect()
}

#[tokio::test]
async fn faults_meet_whom_they_are_meant_for() {
    let google = Google::start(Config::default()).await;
    let error = Action::Error {
        error: ErrorName::Internal,
        form: ErrorForm::Object,
        retry_after: None,
    };
    let fake = google.running.fake();
    fake.script(
        Fault::once(error.clone())
            .model("gemini-2.5-pro")
            .upstream(Upstream::CodeAssist)
            .project("fake-project-1"),
    );
    fake.script(
        Fault::always(error.clone())
            .at(Endpoint::CountTokens)
            .times(2),
    );
    fake.script(
        Fault::always(error)
            .model("gemini-2.0-flash")
            .from_nth(2)
            .times(1),
    );
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(
            google
                .gemini("gemini-2.0-flash:generateContent", &say("Hi"))
                .await
                .status,
        );
    }
    assert_eq!(statuses, [200, 500, 200]);
    assert_eq!(
        google
            .gemini("gemini-2.5-pro:generateContent", &say("Hi"))
            .await
            .status,
        200
    );
    assert_eq!(
        google
            .code_assist("generateContent", "gemini-2.5-flash", say("Hi"))
            .await
            .status,
        200
    );
    assert_eq!(
        google
            .code_assist("generateContent", "gemini-2.5-pro", say("Hi"))
            .await
            .status,
        500
    );
    assert_eq!(
        google
            .code_assist("generateContent", "gemini-2.5-pro", say("Hi"))
            .await
            .status,
        200
    );
    for status in [500, 500, 200] {
        assert_eq!(
            google
                .gemini("gemini-2.5-pro:countTokens", &say("Hi"))
                .await
                .status,
            status
        );
    }
    assert_eq!(fake.counters().faults_fired, 4);
}

#[tokio::test]
async fn gates_hold_requests_until_they_are_opened() {
    let hold = |point| Action::Hold {
        gate: "g".into(),
        point,
    };
    let google =
        google_with(Fault::once(hold(HoldPoint::BeforeCommit)).at(Endpoint::OAuthToken)).await;
    let fake = google.running.fake();
    let first = "1//fake-refresh-token-1";
    let (answer, ()) = tokio::join!(google.refresh(first), async {
        fake.reached("g", 1).await;
        assert_eq!(
            (
                fake.counters().refreshes(first).calls,
                fake.counters().refreshes(first).granted
            ),
            (1, 0)
        );
        fake.release("g");
    });
    assert_eq!(answer.status, 200);
    fake.script(Fault::once(hold(HoldPoint::BeforeHeaders)).refresh_token(first));
    let (answer, ()) = tokio::join!(google.refresh(first), async {
        fake.reached("g", 1).await;
        assert_eq!(fake.counters().refreshes(first).granted, 2);
        fake.release("g");
    });
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn delays_lie_where_they_are_put() {
    let delay = Action::Delay {
        before_commit_ms: 0,
        before_headers_ms: 40,
        before_first_event_ms: 40,
        between_events_ms: 40,
    };
    let google = google_with(Fault::once(delay)).await;
    let token = google.token(1).await;
    let body = json!({ "project": "fake-project-1", "model": MODEL, "request": say("one two three four") });
    let begun = Instant::now();
    let url = google.url(&format!("/v1internal:{STREAM}"));
    let mut response = google
        .http
        .post(url)
        .bearer_auth(token)
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(40));
    let mut events = 0;
    while response.chunk().await.unwrap().is_some() {
        events += 1;
        assert!(begun.elapsed() >= Duration::from_millis(40 + 40 * events));
    }
    assert!(events >= 3);
}

#[tokio::test]
async fn connections_break_before_and_in_the_middle() {
    for action in [
        Action::Reset { after_events: 0 },
        Action::Close { after_events: 0 },
        Action::RefuseStream,
        Action::Reset { after_events: 2 },
        Action::Close { after_events: 2 },
        Action::ResetStream { after_events: 2 },
    ] {
        let google = google_with(Fault::once(action.clone())).await;
        let token = google.token(1).await;
        let body = json!({ "project": "fake-project-1", "model": MODEL, "request": say("one two three four") });
        let broken = google
            .try_post(&format!("/v1internal:{STREAM}"), &token, &body)
            .await;
        assert!(broken.is_err(), "{action:?}");
        assert_eq!(google.running.fake().counters().aborted, 0, "{action:?}");
        let again = google
            .try_post(&format!("/v1internal:{STREAM}"), &token, &body)
            .await;
        assert_eq!(again.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_reset_is_a_reset_and_a_close_is_not() {
    let google = google_with(Fault::once(Action::Reset { after_events: 1 })).await;
    let reset = google.raw(STREAM, MODEL, say("Hi")).await.unwrap_err();
    assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
    let google = google_with(Fault::once(Action::Close { after_events: 1 })).await;
    let closed = google.raw(STREAM, MODEL, say("Hi")).await.unwrap();
    assert_eq!(closed.matches("data: ").count(), 1);
    assert!(!closed.ends_with("0\r\n\r\n"));
    let google = google_with(Fault::once(Action::Close { after_events: 1 })).await;
    let half = google
        .raw("generateContent", MODEL, say("Hi"))
        .await
        .unwrap();
    assert!(half.contains("\"candidates\"") && !half.contains("\"traceId\""));
}

#[tokio::test]
async fn streams_end_without_an_end() {
    let google = google_with(Fault::once(Action::Truncate { after_events: 2 })).await;
    let events = stream(&google).await;
    assert_eq!(events.len(), 2);
    assert!(
        events
            .iter()
            .all(|event| event["candidates"][0].get("finishReason").is_none())
    );
    google.running.fake().script(Fault::once(Action::EmptyBody));
    let empty = google.code_assist(STREAM, MODEL, say("Hi")).await;
    assert_eq!(
        (empty.status, empty.body.as_str(), empty.content_type()),
        (200, "", "text/event-stream")
    );
}

#[tokio::test]
async fn a_stall_lasts_until_the_client_gives_up() {
    let google = google_with(Fault::once(Action::Stall { after_events: 1 })).await;
    let token = google.token(1).await;
    let body = json!({ "project": "fake-project-1", "model": MODEL, "request": say("Hi") });
    let url = google.url(&format!("/v1internal:{STREAM}"));
    let mut response = google
        .http
        .post(url)
        .bearer_auth(token)
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    assert!(
        response
            .chunk()
            .await
            .unwrap()
            .unwrap()
            .starts_with(b"data: ")
    );
    let fake = google.running.fake();
    assert_eq!((fake.counters().in_flight, fake.counters().aborted), (1, 0));
    drop(response);
    until(|| fake.counters().aborted == 1).await;
    assert_eq!(fake.counters().in_flight, 0);
}

#[tokio::test]
async fn errors_come_inside_streams_in_both_forms() {
    let error = |form| {
        Fault::once(Action::StreamError {
            error: ErrorName::Overloaded,
            after_events: 1,
            form,
        })
    };
    let google = google_with(error(StreamErrorForm::Raw)).await;
    let raw = google.code_assist(STREAM, MODEL, say("Hi")).await;
    assert_eq!(raw.status, 200);
    let (event, rest) = raw.body.split_once("\r\n\r\n").unwrap();
    assert!(event.starts_with("data: {"));
    assert!(rest.starts_with("{\n  \"error\": {\n    \"code\": 503,"));
    google.running.fake().script(error(StreamErrorForm::Event));
    let events = google.code_assist(STREAM, MODEL, say("Hi")).await.events();
    assert_eq!(events[1]["error"]["status"], "UNAVAILABLE");
    google.running.fake().script(error(StreamErrorForm::Raw));
    assert_eq!(
        google
            .code_assist("generateContent", MODEL, say("Hi"))
            .await
            .status,
        503
    );
}

#[tokio::test]
async fn answers_can_be_odd() {
    let google = Google::start(Config::default()).await;
    let ask = |action| {
        google.running.fake().script(Fault::once(action));
        stream(&google)
    };
    let last = |events: &[serde_json::Value]| events.last().unwrap()["candidates"][0].clone();

    let safety = ask(Action::Safety).await;
    assert_eq!(last(&safety)["finishReason"], "SAFETY");
    assert_eq!(last(&safety)["safetyRatings"][0]["blocked"], true);
    let said: String = safety.iter().map(text).collect();
    assert!(!said.is_empty() && !said.contains("today"));
    let blocked = ask(Action::PromptBlocked {
        reason: "PROHIBITED_CONTENT".into(),
    })
    .await;
    assert_eq!(
        blocked[0]["promptFeedback"]["blockReason"],
        "PROHIBITED_CONTENT"
    );
    assert!(blocked[0].get("candidates").is_none());
    let malformed = ask(Action::MalformedFunctionCall).await;
    assert_eq!(last(&malformed)["finishReason"], "MALFORMED_FUNCTION_CALL");
    assert!(
        last(&malformed)["finishMessage"]
            .as_str()
            .unwrap()
            .starts_with("Malformed function call: ")
    );
    let empty = ask(Action::EmptyStop).await;
    assert_eq!(last(&empty)["content"], json!({ "role": "model" }));
    assert_eq!(last(&empty)["finishReason"], "STOP");
    let recited = ask(Action::Finish {
        reason: "RECITATION".into(),
    })
    .await;
    assert_eq!(last(&recited)["finishReason"], "RECITATION");
    let late = ask(Action::UsageLast).await;
    assert!(late.last().unwrap().get("candidates").is_none());
    assert!(late.last().unwrap()["usageMetadata"]["totalTokenCount"].is_u64());
    assert!(late[late.len() - 2].get("usageMetadata").is_none());
    assert_eq!(
        late[late.len() - 2]["candidates"][0]["finishReason"],
        "STOP"
    );
    let twice = ask(Action::TwoStops).await;
    assert_eq!(
        twice
            .iter()
            .filter(|event| event["candidates"][0]["finishReason"] == "STOP")
            .count(),
        2
    );
    let old = ask(Action::OldClientText).await;
    assert!(
        old.iter()
            .map(text)
            .collect::<String>()
            .contains("no longer supported")
    );
    let said = ask(Action::Text {
        text: "As told.".into(),
    })
    .await;
    assert_eq!(said.iter().map(text).collect::<String>(), "As told.");
}

#[tokio::test]
async fn answers_can_be_given_word_for_word() {
    let chunk =
        |text: &str| json!({ "candidates": [{ "content": { "parts": [{ "text": text }] } }] });
    let mut end = chunk("b");
    end["candidates"][0]["finishReason"] = "OTHER".into();
    end["usageMetadata"] = json!({ "totalTokenCount": 3 });
    let action = Action::Answer {
        chunks: vec![chunk("a"), end],
    };
    let google = google_with(Fault::always(action).times(2)).await;
    let events = stream(&google).await;
    assert_eq!(events.len(), 2);
    assert_eq!(parts(&events[0])[0]["text"], "a");
    let unary = google
        .code_assist("generateContent", MODEL, say("Hi"))
        .await
        .json();
    assert_eq!(parts(&unary["response"])[0]["text"], "ab");
    assert_eq!(unary["response"]["candidates"][0]["finishReason"], "OTHER");
    assert_eq!(unary["response"]["usageMetadata"]["totalTokenCount"], 3);
}

#[tokio::test]
async fn one_byte_writes_change_no_byte() {
    let google = google_with(Fault::once(Action::OneByteWrites)).await;
    let slow = google.raw(STREAM, MODEL, say("Hi")).await.unwrap();
    assert!(slow.contains("\"finishReason\": \"STOP\"") && slow.ends_with("0\r\n\r\n"));
}

#[tokio::test]
async fn one_byte_writes_are_over_with_their_answer() {
    let google = google_with(Fault::once(Action::OneByteWrites)).await;
    let token = google.token(1).await;
    let body =
        json!({"project": "fake-project-1", "model": MODEL, "request": say("Hi")}).to_string();
    let request = format!(
        "POST /v1internal:generateContent HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut socket = TcpStream::connect(google.running.address()).await.unwrap();
    let mut bytes = [0; 4096];
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut slow = String::new();
    while !slow.ends_with("\n}\n") {
        let count = socket.read(&mut bytes).await.unwrap();
        slow.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
    assert!(slow.starts_with("HTTP/1.1 200"), "{slow}");
    socket.write_all(request.as_bytes()).await.unwrap();
    let count = socket.read(&mut bytes).await.unwrap();
    assert!(count > 50, "{count}");
}
