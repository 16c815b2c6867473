//! The log line of each request.

use std::sync::{Mutex, OnceLock};

use fake_google::{Action, ErrorName, Fault};
use serde_json::{Value, json};
use tracing_subscriber::{filter::LevelFilter, fmt::MakeWriter, layer::SubscriberExt as _};

use crate::support::{API_KEY, MODEL, Setup, World, error, eventually, hello, with};

/// The lines of all tests in this process; each looks for those of its own requests.
#[derive(Default)]
pub(crate) struct Kept(Mutex<Vec<u8>>);

pub(crate) struct Line<'k>(&'k Kept);

impl std::io::Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'k> MakeWriter<'k> for &'static Kept {
    type Writer = Line<'k>;

    fn make_writer(&'k self) -> Line<'k> {
        Line(self)
    }
}

impl Kept {
    pub(crate) fn start() -> &'static Self {
        static KEPT: OnceLock<Kept> = OnceLock::new();
        static LOGGING: OnceLock<()> = OnceLock::new();
        let kept = KEPT.get_or_init(Self::default);
        LOGGING.get_or_init(|| {
            let lines = tracing_subscriber::fmt::layer()
                .with_writer(kept)
                .json()
                .flatten_event(true);
            let subscriber = tracing_subscriber::registry()
                .with(LevelFilter::INFO)
                .with(lines);
            tracing::subscriber::set_global_default(subscriber).unwrap();
        });
        kept
    }

    pub(crate) fn all(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn find(&self, id: &str) -> Vec<Value> {
        let lines = self.all();
        let lines = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        lines
            .filter(|line: &Value| line["message"] == "request" && line["request_id"] == id)
            .collect()
    }

    /// The one line of a request.
    pub(crate) async fn of(&self, id: &str) -> Value {
        eventually("the line of the request", || !self.find(id).is_empty()).await;
        let mut lines = self.find(id);
        assert_eq!(lines.len(), 1);
        lines.remove(0)
    }
}

/// A request with an id of its own.
fn ask(world: &World, id: &str, body: &Value) -> reqwest::RequestBuilder {
    let request = world.client.post(world.url(0, "/v1/chat/completions"));
    let request = request.bearer_auth(API_KEY).header("x-request-id", id);
    request.body(body.to_string())
}

#[tokio::test]
async fn each_request_has_one_line_that_tells_what_it_came_to() {
    let kept = Kept::start();
    let world = Setup::projects(&[("p1", "antigravity")]).start().await;

    let answer = world.chat(&hello()).await;
    let line = kept.of(answer.header("x-request-id").unwrap()).await;
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

    let answer = world.chat(&with(hello(), "stream", json!(true))).await;
    let line = kept.of(answer.header("x-request-id").unwrap()).await;
    assert_eq!(
        (&line["stream"], &line["outcome"]),
        (&true.into(), &"ok".into())
    );
    assert_eq!(line["completion_tokens"], usage["completion_tokens"]);

    assert!(line.get("retries").is_none(), "{line}");
    assert!(line.get("trace_id").is_none(), "{line}");

    let answer = world.chat(&json!({"model": MODEL})).await;
    let line = kept.of(answer.header("x-request-id").unwrap()).await;
    assert_eq!(line["status"], 400);
    assert_eq!(line["outcome"], "missing_required_parameter");
    assert_eq!(line["attempts"], 0);

    let answer = world.get("/v1/nothing").await;
    let line = kept.of(answer.header("x-request-id").unwrap()).await;
    assert_eq!(
        (&line["status"], &line["path"]),
        (&404.into(), &"/v1/nothing".into())
    );

    // A probe has none, and no line has the key, the prompt or the answer.
    let probe = world.get("/livez").await;
    let answer = world.get("/v1/models").await;
    let line = kept.of(answer.header("x-request-id").unwrap()).await;
    assert_eq!(line["path"], "/v1/models");
    let probe = probe.header("x-request-id").unwrap();
    assert_eq!(kept.find(probe), Vec::<Value>::new());
    for secret in [API_KEY, "Hello", "ya29."] {
        assert!(!kept.all().contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn a_line_tells_why_others_were_asked() {
    let kept = Kept::start();
    let world = Setup::default().start().await;
    let fake = world.google.fake();
    fake.script(Fault::once(error(ErrorName::RateLimited, Some(60.0))));
    fake.script(Fault::once(error(ErrorName::TermsOfService, None)));
    let answer = world.chat(&hello()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let line = kept.of(answer.header("x-request-id").unwrap()).await;
    assert_eq!(line["attempts"], 3);
    assert_eq!(line["retries"], "rate_limited,suspended");
}

#[tokio::test]
async fn streams_that_break_or_are_left_say_so() {
    let kept = Kept::start();
    let world = Setup::projects(&[("p1", "antigravity")]).start().await;
    let fake = world.google.fake();
    let streamed = with(hello(), "stream", json!(true));
    fake.script(Fault::once(Action::Delay {
        before_commit_ms: 0,
        before_headers_ms: 0,
        before_first_event_ms: 0,
        between_events_ms: 50,
    }));
    fake.script(Fault::once(Action::Close { after_events: 1 }));
    let response = ask(&world, "it-breaks", &streamed).send().await.unwrap();
    response.bytes().await.unwrap();
    let line = kept.of("it-breaks").await;
    assert_eq!(
        (&line["status"], &line["outcome"]),
        (&200.into(), &"upstream_unreachable".into())
    );

    fake.script(Fault::once(Action::Stall { after_events: 1 }));
    let mut response = ask(&world, "it-is-left", &streamed).send().await.unwrap();
    response.chunk().await.unwrap();
    drop(response);
    let line = kept.of("it-is-left").await;
    assert_eq!(
        (&line["status"], &line["outcome"]),
        (&200.into(), &"cancelled".into())
    );

    // Away before there is an answer.
    fake.script(Fault::once(Action::Hold {
        gate: "shut".into(),
        point: fake_google::HoldPoint::default(),
    }));
    let asked = ask(&world, "it-has-no-answer", &hello());
    let asked = asked.timeout(std::time::Duration::from_millis(300)).send();
    assert!(asked.await.is_err());
    let line = kept.of("it-has-no-answer").await;
    assert_eq!(
        (&line["status"], &line["outcome"]),
        (&499.into(), &"cancelled".into())
    );
}

#[tokio::test]
async fn a_flood_of_bad_keys_does_not_flood_the_log() {
    const FLOOD: usize = 400;
    let kept = Kept::start();
    let admin_address = fake_google::unused_address().unwrap();
    let setup = Setup {
        environment: vec![("ADMIN_LISTEN", admin_address.to_string())],
        ..Setup::projects(&[("p1", "antigravity")])
    };
    let world = setup.start().await;
    let url = world.url(0, "/v1/chat/completions");
    for nth in 0..FLOOD {
        let request = world.client.post(&url).bearer_auth("sk-of-nobody");
        let request = request.header("x-request-id", format!("flood-{nth}"));
        let answer = request.body(hello().to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 401);
    }
    // Who has a key has his line all the same.
    let answer = ask(&world, "in-the-flood", &hello()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    kept.of("in-the-flood").await;

    let told_together = || -> u64 {
        let all = kept.all();
        let lines = all
            .lines()
            .filter(|line| line.contains("many requests without"));
        let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|line| line["requests"].as_u64().unwrap()).sum()
    };
    let own = || kept.all().matches("\"request_id\":\"flood-").count();
    eventually("the others are told together", || {
        own() + usize::try_from(told_together()).unwrap() == FLOOD
    })
    .await;
    assert!(own() >= 100 && own() < FLOOD * 3 / 4, "{}", own());
    let metrics = world.client.get(format!("http://{admin_address}/metrics"));
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    let counted = format!("antigravity_gateway_requests_without_key_total {FLOOD}\n");
    assert!(metrics.contains(&counted), "{metrics}");
}

#[tokio::test]
async fn what_google_says_of_a_request_is_for_its_client_alone() {
    let kept = Kept::start();
    let setup = Setup {
        environment: vec![("KEEPALIVE_INTERVAL", "30ms".to_owned())],
        ..Setup::projects(&[("p1", "gemini")])
    };
    let world = setup.start().await;
    let fake = world.google.fake();
    let quoted = "planted words of a prompt";
    let said = json!({"error": {"code": 400, "status": "INVALID_ARGUMENT",
        "message": format!("Invalid value at 'contents' ({quoted})")}});
    // Silent for long enough that the stream has begun.
    fake.script(Fault::once(Action::Delay {
        before_commit_ms: 0,
        before_headers_ms: 200,
        before_first_event_ms: 0,
        between_events_ms: 0,
    }));
    fake.script(Fault::once(Action::Raw {
        status: 400,
        content_type: "application/json".to_owned(),
        body: said.to_string(),
    }));
    let streamed = with(hello(), "stream", json!(true));
    let response = ask(&world, "it-quotes", &streamed).send().await.unwrap();
    let told = response.text().await.unwrap();
    assert!(told.contains(quoted), "{told}");
    let line = kept.of("it-quotes").await;
    assert_eq!(line["status"], 200);
    assert!(!kept.all().contains(quoted));
}

#[tokio::test]
async fn a_method_of_any_length_has_a_short_line() {
    let kept = Kept::start();
    let world = Setup::default().start().await;
    let method = reqwest::Method::from_bytes(&[b'M'; 50_000]).unwrap();
    let request = world.client.request(method, world.url(0, "/v1/models"));
    let answer = request
        .bearer_auth(API_KEY)
        .header("x-request-id", "a-long-method")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 405);
    assert!(answer.text().await.unwrap().len() < 4096);
    let line = kept.of("a-long-method").await;
    assert_eq!(line["method"], "_OTHER");
}
