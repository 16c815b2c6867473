//! The log line of each request.

use std::sync::{Arc, Mutex};

use fake_google::{Action, Fault};
use serde_json::{Value, json};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt as _};

use crate::support::{API_KEY, MODEL, Setup, eventually, hello, with};

/// The lines of this thread's services, which run on it.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Kept {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Kept {
    fn start() -> (Self, DefaultGuard) {
        let kept = Self::default();
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(kept.clone())
            .json()
            .flatten_event(true);
        let subscriber = tracing_subscriber::registry().with(lines);
        (kept, tracing::subscriber::set_default(subscriber))
    }

    fn all(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn requests(&self) -> Vec<Value> {
        let lines = self.all();
        let lines = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        lines
            .filter(|line: &Value| line["message"] == "request")
            .collect()
    }

    async fn last_of(&self, count: usize) -> Value {
        eventually("the line of the request", || self.requests().len() == count).await;
        self.requests().pop().unwrap()
    }
}

#[tokio::test]
async fn each_request_has_one_line_that_tells_what_it_came_to() {
    let (kept, _guard) = Kept::start();
    let world = Setup::projects(&[("p1", "antigravity")]).start().await;

    let answer = world.chat(&hello()).await;
    let line = kept.last_of(1).await;
    let id = answer.header("x-request-id").unwrap();
    assert_eq!(line["request_id"], id);
    assert_eq!(
        (&line["status"], &line["outcome"]),
        (&200.into(), &"ok".into())
    );
    assert_eq!(line["model"], MODEL);
    assert_eq!(line["stream"], false);
    assert_eq!(line["attempts"], 1);
    assert!(
        line["key"].is_string() && line["project"].is_string(),
        "{line}"
    );
    let usage = &answer.json()["usage"];
    assert_eq!(line["prompt_tokens"], usage["prompt_tokens"]);
    assert_eq!(line["completion_tokens"], usage["completion_tokens"]);
    let (head, total) = (line["head_ms"].as_f64(), line["total_ms"].as_f64());
    assert!(0.0 < head.unwrap() && head <= total, "{line}");

    world.chat(&with(hello(), "stream", json!(true))).await;
    let line = kept.last_of(2).await;
    assert_eq!(
        (&line["stream"], &line["outcome"]),
        (&true.into(), &"ok".into())
    );
    assert_eq!(line["completion_tokens"], usage["completion_tokens"]);

    world.chat(&json!({"model": MODEL})).await;
    let line = kept.last_of(3).await;
    assert_eq!(line["status"], 400);
    assert_eq!(line["outcome"], "missing_required_parameter");
    assert_eq!(line["attempts"], 0);

    world.get("/v1/nothing").await;
    let line = kept.last_of(4).await;
    assert_eq!(line["status"], 404);
    assert_eq!(line["path"], "/v1/nothing");

    // A probe has none, and no line has the key, the prompt or the answer.
    world.get("/livez").await;
    world.get("/v1/models").await;
    let line = kept.last_of(5).await;
    assert_eq!(line["path"], "/v1/models");
    for secret in [API_KEY, "Hello", "ya29."] {
        assert!(!kept.all().contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn streams_that_break_or_are_left_say_so() {
    let (kept, _guard) = Kept::start();
    let world = Setup::projects(&[("p1", "antigravity")]).start().await;
    let fake = world.google.fake();
    fake.script(Fault::once(Action::Delay {
        before_commit_ms: 0,
        before_headers_ms: 0,
        before_first_event_ms: 0,
        between_events_ms: 50,
    }));
    fake.script(Fault::once(Action::Close { after_events: 1 }));
    world.chat(&with(hello(), "stream", json!(true))).await;
    let line = kept.last_of(1).await;
    assert_eq!(line["status"], 200);
    assert_eq!(line["outcome"], "upstream_unreachable");

    fake.script(Fault::once(Action::Stall { after_events: 1 }));
    let mut response = world
        .client
        .post(world.url(0, "/v1/chat/completions"))
        .bearer_auth(API_KEY)
        .body(with(hello(), "stream", json!(true)).to_string())
        .send()
        .await
        .unwrap();
    response.chunk().await.unwrap();
    drop(response);
    let line = kept.last_of(2).await;
    assert_eq!(
        (&line["status"], &line["outcome"]),
        (&200.into(), &"cancelled".into())
    );

    // Away before there is an answer.
    fake.script(Fault::once(Action::Hold {
        gate: "shut".into(),
        point: fake_google::HoldPoint::default(),
    }));
    let asked = world
        .client
        .post(world.url(0, "/v1/chat/completions"))
        .bearer_auth(API_KEY)
        .body(hello().to_string())
        .timeout(std::time::Duration::from_millis(300))
        .send();
    assert!(asked.await.is_err());
    let line = kept.last_of(3).await;
    assert_eq!(
        (&line["status"], &line["outcome"]),
        (&499.into(), &"cancelled".into())
    );
}
