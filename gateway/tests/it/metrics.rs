//! `/metrics` of the gateway: its figures are what was done.

use std::{collections::BTreeMap, time::Duration};

use fake_google::{Action, ErrorName, Fault};
use serde_json::{Value, json};

use crate::support::{API_KEY, MODEL, Setup, World, error, hello, with};

/// What a scrape says, by name and labels.
struct Scrape(BTreeMap<String, f64>, String);

struct Scraped {
    world: World,
    admin: String,
}

impl Scraped {
    async fn start(setup: Setup) -> Self {
        let admin = fake_google::unused_address().unwrap().to_string();
        let mut setup = setup;
        setup.environment.push(("ADMIN_LISTEN", admin.clone()));
        Self {
            world: setup.start().await,
            admin,
        }
    }

    async fn text(&self) -> String {
        let url = format!("http://{}/metrics", self.admin);
        let answer = self.world.client.get(url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let kind = answer.headers()["content-type"].to_str().unwrap();
        assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
        answer.text().await.unwrap()
    }

    async fn scrape(&self) -> Scrape {
        let text = self.text().await;
        assert!(text.ends_with("# EOF\n"));
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let values = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        Scrape(values.collect(), text)
    }

    /// A scrape in which `name` has come to `value`: requests are counted when their answers
    /// are over, which is a moment after clients know.
    async fn until(&self, name: &str, labels: &[&str], value: f64) -> Scrape {
        for _ in 0..500 {
            let scrape = self.scrape().await;
            if scrape.sum(name, labels) == value {
                return scrape;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{name} {labels:?} is not {value}: {}", self.text().await);
    }
}

impl Scrape {
    /// The sum of the values of a metric whose labels are among others these.
    fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let all = self.0.iter().filter(|(series, _)| {
            let (metric, of) = series.split_once('{').unwrap_or((series, ""));
            metric == name && labels.iter().all(|label| of.contains(label))
        });
        all.map(|(_, value)| value).sum()
    }

    fn has(&self, name: &str, labels: &[&str], value: f64) {
        assert_eq!(
            self.sum(name, labels),
            value,
            "{name} {labels:?}: {}",
            self.1
        );
    }
}

fn streaming() -> Value {
    with(hello(), "stream", json!(true))
}

/// A stream of which the first piece has come; Google pauses between its events.
async fn begun_stream(it: &Scraped, between_events_ms: u64) -> reqwest::Response {
    let delay = Action::Delay {
        before_commit_ms: 0,
        before_headers_ms: 0,
        before_first_event_ms: 0,
        between_events_ms,
    };
    it.world.google.fake().script(Fault::once(delay));
    let request = it
        .world
        .client
        .post(it.world.url(0, "/v1/chat/completions"));
    let request = request.bearer_auth(API_KEY).body(streaming().to_string());
    let mut response = request.send().await.unwrap();
    response.chunk().await.unwrap();
    response
}

fn one(error: ErrorName) -> Fault {
    Fault::once(self::error(error, None))
}

const CHAT: &str = "surface=\"chat\"";

#[tokio::test]
async fn the_first_failure_is_a_rise_of_what_was_there_and_0() {
    let it = Scraped::start(Setup::projects(&[("p1", "gemini")])).await;
    let chats = "antigravity_gateway_chat_requests_total";
    // By then the admin listener is open.
    assert_eq!(it.world.get("/v1/models").await.status, 200);
    let text = it.text().await;
    for result in [
        "served",
        "failed",
        "limited",
        "refused",
        "without_key",
        "cancelled",
    ] {
        let line = format!("{chats}{{result=\"{result}\"}} 0\n");
        assert!(text.contains(&line), "{line} is not in {text}");
    }
    let world = &it.world;
    let fault = Fault {
        times: None,
        ..one(ErrorName::Internal)
    };
    world.google.fake().script(fault);
    assert!(world.chat(&hello()).await.status >= 500);
    it.until(chats, &["result=\"failed\""], 1.0).await;
}

#[tokio::test]
async fn figures_are_what_was_done() {
    let it = Scraped::start(Setup::projects(&[("p1", "gemini"), ("p2", "gemini")])).await;
    let world = &it.world;
    let chunk = |text: &str, tokens: u32| {
        json!({"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}}],
               "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": tokens,
                                 "thoughtsTokenCount": 2, "totalTokenCount": 9 + tokens}})
    };
    let mut last = chunk("two", 5);
    last["candidates"][0]["finishReason"] = "STOP".into();
    let answer = Action::Answer {
        chunks: vec![chunk("one", 3), last],
    };
    world.google.fake().script(Fault::once(answer).times(2));
    for _ in 0..2 {
        assert_eq!(world.chat(&streaming()).await.status, 200);
    }
    assert_eq!(world.chat(&hello()).await.status, 200);
    // Somebody else is asked, and that goes well.
    world.google.fake().script(one(ErrorName::Internal));
    assert_eq!(world.chat(&hello()).await.status, 200);
    assert_eq!(world.chat(&json!({"model": MODEL})).await.status, 400);
    let stranger = world.client.post(world.url(0, "/v1/chat/completions"));
    let stranger = stranger.bearer_auth("sk-planted-wrong").body("{}").send();
    assert_eq!(stranger.await.unwrap().status(), 401);
    assert_eq!(world.get("/v1/models").await.status, 200);
    assert_eq!(world.get("/v1/nothing").await.status, 404);

    let all = "antigravity_gateway_requests_total";
    let scrape = it.until(all, &[], 8.0).await;
    for (labels, count) in [
        (
            &["status=\"200\"", "outcome=\"ok\"", "key=\"tests\"", CHAT][..],
            4.0,
        ),
        (
            &[
                "status=\"400\"",
                "outcome=\"missing_required_parameter\"",
                "key=\"tests\"",
            ],
            1.0,
        ),
        (
            &[
                "status=\"401\"",
                "outcome=\"invalid_api_key\"",
                "key=\"\"",
                CHAT,
            ],
            1.0,
        ),
        (
            &["surface=\"models\"", "status=\"200\"", "key=\"tests\""],
            1.0,
        ),
        (&["surface=\"other\"", "outcome=\"unknown_url\""], 1.0),
    ] {
        scrape.has(all, labels, count);
    }
    scrape.has("antigravity_gateway_requests_in_flight", &[], 0.0);
    scrape.has("antigravity_gateway_streams_in_flight", &[], 0.0);
    scrape.has(
        "antigravity_gateway_retries_total",
        &["reason=\"upstream_error\""],
        1.0,
    );
    let attempts = "antigravity_gateway_upstream_attempts_total";
    scrape.has(attempts, &["outcome=\"ok\""], 4.0);
    scrape.has(attempts, &["outcome=\"upstream_error\""], 1.0);
    let overhead = "antigravity_gateway_overhead_seconds_count";
    scrape.has(overhead, &["part=\"request\""], 4.0);
    scrape.has(overhead, &["part=\"answer\""], 4.0);
    // Not the second attempt's, before which the request had been sent on.
    scrape.has(overhead, &["part=\"turn\""], 4.0);
    scrape.has(overhead, &["part=\"media\""], 0.0);
    let chats = "antigravity_gateway_chat_requests_total";
    for (result, count) in [
        ("served", 4.0),
        ("refused", 1.0),
        ("without_key", 1.0),
        ("failed", 0.0),
        ("limited", 0.0),
        ("cancelled", 0.0),
    ] {
        scrape.has(chats, &[&format!("result=\"{result}\"")], count);
    }

    let model = format!("gen_ai_request_model=\"{MODEL}\"");
    let labels = [
        "gen_ai_operation_name=\"chat\"",
        "gen_ai_provider_name=\"gcp.gemini\"",
        &model,
    ];
    let genai = |name: &str| format!("gen_ai_{name}_count");
    let served = genai("server_request_duration_seconds");
    scrape.has(&served, &labels, 4.0);
    scrape.has(&served, &["error_type=\"missing_required_parameter\""], 0.0);
    scrape.has(&genai("server_time_to_first_token_seconds"), &labels, 2.0);
    scrape.has(&genai("server_time_per_output_token_seconds"), &labels, 2.0);
    let operation = genai("client_operation_duration_seconds");
    scrape.has(&operation, &labels, 5.0);
    scrape.has(&operation, &["error_type=\"upstream_error\""], 1.0);
    let first = genai("client_operation_time_to_first_chunk_seconds");
    scrape.has(&first, &labels, 2.0);
    let each = genai("client_operation_time_per_output_chunk_seconds");
    scrape.has(&each, &labels, 2.0);
    scrape.has(&genai("client_token_usage"), &labels, 8.0);
    // What the fake Google makes up for whole answers is told to clients and here alike.
    let sum = |kind: &str| {
        let labels = [labels.as_slice(), &[kind]].concat();
        scrape.sum("gen_ai_client_token_usage_sum", &labels)
    };
    let by_key =
        |kind: &str| scrape.sum("antigravity_gateway_tokens_total", &["key=\"tests\"", kind]);
    let (input, output) = (
        sum("gen_ai_token_type=\"input\""),
        sum("gen_ai_token_type=\"output\""),
    );
    assert!(input > 14.0 && output > 14.0, "{}", scrape.1);
    assert_eq!(
        (by_key("type=\"prompt\""), by_key("type=\"completion\"")),
        (input, output)
    );
    assert!(
        !scrape.1.contains(API_KEY) && !scrape.1.contains("planted"),
        "{}",
        scrape.1
    );
}

#[tokio::test]
async fn a_stream_is_in_flight_until_its_client_hangs_up() {
    let it = Scraped::start(Setup::default()).await;
    let response = begun_stream(&it, 20_000).await;
    let streams = "antigravity_gateway_streams_in_flight";
    let scrape = it.until(streams, &[], 1.0).await;
    scrape.has("antigravity_gateway_requests_in_flight", &[], 1.0);
    drop(response);
    let scrape = it.until(streams, &[], 0.0).await;
    scrape.has("antigravity_gateway_hang_ups_total", &[], 1.0);
    scrape.has("antigravity_gateway_requests_in_flight", &[], 0.0);
    let ended = "gen_ai_server_request_duration_seconds_count";
    scrape.has(ended, &["error_type=\"cancelled\""], 1.0);
}

#[tokio::test]
async fn what_is_read_on_after_a_hang_up_is_counted() {
    let it = Scraped::start(Setup {
        environment: vec![("HANG_UP_DRAIN", "10s".to_owned())],
        ..Setup::default()
    })
    .await;
    drop(begun_stream(&it, 300).await);
    let drained = "antigravity_gateway_drained_answers_total";
    let scrape = it.until(drained, &["result=\"whole\""], 1.0).await;
    // It is the client's request that was broken off, and Google's answer that was whole.
    let attempts = "antigravity_gateway_upstream_attempts_total";
    scrape.has(attempts, &["outcome=\"ok\""], 1.0);
    it.until("antigravity_gateway_hang_ups_total", &[], 1.0)
        .await;
}

#[tokio::test]
async fn names_of_clients_do_not_fill_it() {
    let it = Scraped::start(Setup::projects(&[("p1", "gemini")])).await;
    let ask = async |number: usize, length: usize| {
        let name = format!("m{number}-{}", "x".repeat(length));
        it.world
            .chat(&with(hello(), "model", json!(name)))
            .await
            .status
    };
    // Such a name is refused, and is nowhere to be seen.
    assert_eq!(ask(0, 10_000).await, 400);
    for number in 0..150 {
        assert_eq!(ask(number, 200).await, 404);
    }
    let ended = "gen_ai_server_request_duration_seconds_count";
    let scrape = it.until(ended, &[], 150.0).await;
    scrape.has(ended, &["gen_ai_request_model=\"(other)\""], 50.0);
    let longest = scrape.1.lines().map(str::len).max().unwrap();
    assert!(longest < 600, "{longest}");
    // A model that there is has its place all the same.
    for _ in 0..2 {
        assert_eq!(it.world.chat(&hello()).await.status, 200);
    }
    let model = format!("gen_ai_request_model=\"{MODEL}\"");
    it.until(ended, &[&model], 1.0).await;
}

#[tokio::test]
async fn a_key_with_a_long_name_is_counted_under_its_beginning() {
    let long = "k".repeat(10_000);
    let keys = json!([{"name": long, "key": API_KEY}]).to_string();
    let it = Scraped::start(Setup {
        environment: vec![("API_KEYS", keys)],
        ..Setup::default()
    })
    .await;
    assert_eq!(it.world.chat(&hello()).await.status, 200);
    let name = format!("key=\"{}\"", "k".repeat(128));
    it.until("antigravity_gateway_requests_total", &[&name], 1.0)
        .await;
}

#[tokio::test]
async fn an_absent_token_service_is_told() {
    let mut it = Scraped::start(Setup::default()).await;
    assert_eq!(it.world.chat(&hello()).await.status, 200);
    let up = "antigravity_gateway_token_service_up";
    let scrape = it.until(up, &[], 1.0).await;
    let times = "antigravity_gateway_token_service_call_duration_seconds_count";
    assert!(scrape.sum(times, &["method=\"AcquireTokens\""]) >= 1.0);
    it.world.stop_tokens().await;
    assert_eq!(it.world.chat(&hello()).await.status, 200);
    let scrape = it.until(up, &[], 0.0).await;
    assert!(scrape.sum("antigravity_gateway_tokens_in_hand", &[]) >= 1.0);
}

#[tokio::test]
async fn the_trace_of_a_request_stands_beside_its_figures() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let it = Scraped::start(Setup {
        // Nobody is there, which is no matter.
        environment: vec![(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://127.0.0.1:9".to_owned(),
        )],
        ..Setup::default()
    })
    .await;
    let body = with(hello(), "stream", json!(true)).to_string();
    let request = it
        .world
        .client
        .post(it.world.url(0, "/v1/chat/completions"));
    let request = request.bearer_auth(API_KEY).body(body);
    let request = request.header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));
    let answer = request.send().await.unwrap();
    assert!(answer.text().await.unwrap().contains("[DONE]"));
    let beside = format!("# {{trace_id=\"{TRACE}\"}}");
    for _ in 0..500 {
        let text = it.text().await;
        let told = |name: &str| {
            text.lines()
                .any(|line| line.starts_with(name) && line.contains(&beside))
        };
        if told("gen_ai_server_request_duration_seconds_bucket")
            && told("gen_ai_client_operation_time_to_first_chunk_seconds_bucket")
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{}", it.text().await);
}
