//! An upstream that says nothing for long: the client's connection is kept by comments, and
//! whatever comes then is told as what it is.

use std::time::Duration;

use fake_google::{Action, ErrorName, Fault};
use serde_json::{Value, json};

use crate::support::{API_KEY, Answer, Setup, World, error, hello, with};

const COMMENT: &str = ": keep-alive\n\n";

async fn world(projects: &[(&'static str, &'static str)]) -> World {
    let world = Setup::projects(projects).start().await;
    // Nothing of what follows is about the first connections.
    assert_eq!(world.chat(&hello()).await.status, 200);
    world
}

/// The first request waits at a gate; then that happens.
fn silent(world: &World, then: Option<Action>) {
    let fake = world.google.fake();
    let hold = Action::Hold {
        gate: "silence".to_owned(),
        point: fake_google::HoldPoint::default(),
    };
    fake.script(Fault::once(hold));
    if let Some(action) = then {
        fake.script(Fault::once(action));
    }
}

fn ask(world: &World) -> tokio::task::JoinHandle<reqwest::Response> {
    let body = with(hello(), "stream", json!(true)).to_string();
    let request = world.client.post(world.url(0, "/v1/chat/completions"));
    let sent = request.bearer_auth(API_KEY).body(body).send();
    tokio::spawn(async { sent.await.unwrap() })
}

async fn asked(world: &World) {
    world.google.fake().reached("silence", 1).await;
}

async fn comment(response: &mut reqwest::Response) {
    let chunk = response.chunk().await.unwrap().unwrap();
    assert_eq!(std::str::from_utf8(&chunk).unwrap(), COMMENT);
}

/// Forty seconds of silence, and what the client is told after its two comments.
async fn after_forty_seconds(world: &World) -> String {
    let request = ask(world);
    asked(world).await;
    world.clock.advance(Duration::from_secs(14));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!request.is_finished(), "told before its time");
    world.clock.advance(Duration::from_secs(1));
    let mut response = request.await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["content-type"],
        "text/event-stream; charset=utf-8"
    );
    comment(&mut response).await;
    world.clock.advance(Duration::from_secs(15));
    comment(&mut response).await;
    world.clock.advance(Duration::from_secs(10));
    world.google.fake().release("silence");
    response.text().await.unwrap()
}

/// One second of it, and the answer.
async fn after_a_second(world: &World) -> Answer {
    let request = ask(world);
    asked(world).await;
    world.clock.advance(Duration::from_secs(1));
    world.google.fake().release("silence");
    Answer::of(request.await.unwrap()).await
}

/// The one event of a stream that is an error.
fn the_error(told: &str) -> Value {
    let event = told.strip_prefix("data: ").unwrap();
    let event = event.strip_suffix("\n\n").unwrap();
    assert!(
        !event.contains("\n\n"),
        "an error is the last event: {told}"
    );
    let event: Value = serde_json::from_str(event).unwrap();
    event["error"].clone()
}

#[tokio::test]
async fn then_a_limit() {
    let world = world(&[("p1", "antigravity")]).await;
    let limit = || Some(error(ErrorName::QuotaExhausted, Some(100.0)));
    silent(&world, limit());
    let told = the_error(&after_forty_seconds(&world).await);
    assert_eq!(told["code"], "insufficient_quota", "{told}");
    // It rests as long as Google said.
    world.clock.advance(Duration::from_secs(101));
    silent(&world, limit());
    let answer = after_a_second(&world).await;
    assert_eq!(answer.status, 429, "{}", answer.body);
    let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((90..=100).contains(&after), "{after}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json()["error"]["code"], "insufficient_quota");
}

#[tokio::test]
async fn then_an_error_of_googles() {
    let world = Setup {
        environment: vec![("MAX_ATTEMPTS", "1".to_owned())],
        ..Setup::projects(&[("p1", "antigravity")])
    };
    let world = world.start().await;
    let broken = || Some(error(ErrorName::Internal, None));
    silent(&world, broken());
    let told = the_error(&after_forty_seconds(&world).await);
    assert_eq!(told["type"], "server_error", "{told}");
    silent(&world, broken());
    let answer = after_a_second(&world).await;
    assert!((500..=504).contains(&answer.status), "{}", answer.body);
    assert_eq!(answer.json()["error"]["type"], "server_error");
}

#[tokio::test]
async fn then_an_answer_of_another_project() {
    let world = world(&[("p1", "antigravity"), ("p2", "antigravity")]).await;
    let limit = || Some(error(ErrorName::QuotaExhausted, Some(5.0)));
    silent(&world, limit());
    let told = after_forty_seconds(&world).await;
    assert!(told.ends_with("data: [DONE]\n\n"), "{told}");
    assert!(told.contains("Hello") && !told.contains("error"), "{told}");
    world.clock.advance(Duration::from_secs(6));
    silent(&world, limit());
    let answer = after_a_second(&world).await;
    let (_, done) = answer.chunks();
    assert!(
        done && answer.streamed().contains("Hello"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn a_whole_answer_has_its_real_status_however_late() {
    let world = world(&[("p1", "antigravity")]).await;
    silent(&world, Some(error(ErrorName::QuotaExhausted, Some(100.0))));
    let body = hello().to_string();
    let request = world.client.post(world.url(0, "/v1/chat/completions"));
    let sent = request.bearer_auth(API_KEY).body(body).send();
    let sent = tokio::spawn(async { sent.await.unwrap() });
    asked(&world).await;
    world.clock.advance(Duration::from_secs(40));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!sent.is_finished());
    world.google.fake().release("silence");
    let answer = Answer::of(sent.await.unwrap()).await;
    assert_eq!(answer.status, 429, "{}", answer.body);
    assert!(answer.header("retry-after").is_some());
}
