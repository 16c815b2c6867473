//! What keeps one client from the others: requests at once, and pages of others.

use fake_google::{Action, Fault, HoldPoint};
use reqwest::Method;
use serde_json::json;

use crate::support::{API_KEY, Setup, World, eventually, hello, with};

fn limited(environment: Vec<(&'static str, String)>) -> Setup {
    Setup {
        environment,
        ..Setup::projects(&[("p1", "antigravity"), ("p2", "antigravity")])
    }
}

fn send(world: &World, key: &str, stream: bool) -> tokio::task::JoinHandle<reqwest::Response> {
    let request = world.client.post(world.url(0, "/v1/chat/completions"));
    let body = with(hello(), "stream", json!(stream)).to_string();
    let request = request.bearer_auth(key).body(body);
    tokio::spawn(async move { request.send().await.unwrap() })
}

async fn waiting(world: &World, requests: u64) {
    let asked = || world.asked("p1") + world.asked("p2");
    eventually("Google is asked", || asked() == requests).await;
}

#[tokio::test]
async fn a_key_has_so_many_requests_at_once_and_its_answers_say_so() {
    let keys = format!("tests={API_KEY},other=sk-of-another");
    let world = limited(vec![
        ("MAX_CONCURRENT_REQUESTS_PER_KEY", "2".to_owned()),
        ("API_KEYS", keys),
    ])
    .start()
    .await;
    let answer = world.chat(&hello()).await;
    let limits = |name: &str| answer.header(&format!("x-ratelimit-{name}-requests"));
    assert_eq!(
        [limits("limit"), limits("remaining"), limits("reset")],
        [Some("2"), Some("1"), Some("0s")]
    );
    let hold = Action::Hold {
        gate: "shut".into(),
        point: HoldPoint::default(),
    };
    world.google.fake().script(Fault::once(hold).times(2));
    let running = [false, true].map(|stream| send(&world, API_KEY, stream));
    waiting(&world, 3).await;
    let refused = world.chat(&hello()).await;
    assert_eq!(refused.status, 429, "{}", refused.body);
    let error = &refused.json()["error"];
    assert_eq!(error["code"], "rate_limit_exceeded");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("MAX_CONCURRENT_REQUESTS_PER_KEY"),
        "{message}"
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.header("x-ratelimit-remaining-requests"), Some("0"));
    // Another key is another's affair.
    let request = world.client.post(world.url(0, "/v1/chat/completions"));
    let request = request
        .bearer_auth("sk-of-another")
        .body(hello().to_string());
    assert_eq!(request.send().await.unwrap().status(), 200);

    world.google.fake().release("shut");
    for answer in running {
        assert!(answer.await.unwrap().bytes().await.is_ok());
    }
    assert_eq!(world.chat(&hello()).await.status, 200);
}

#[tokio::test]
async fn a_stream_holds_its_place_until_it_ends_or_its_client_goes() {
    let world = limited(vec![("MAX_CONCURRENT_REQUESTS", "1".to_owned())])
        .start()
        .await;
    world
        .google
        .fake()
        .script(Fault::once(Action::Stall { after_events: 1 }));
    let request = world.client.post(world.url(0, "/v1/chat/completions"));
    let body = with(hello(), "stream", json!(true)).to_string();
    let mut stream = request
        .bearer_auth(API_KEY)
        .body(body)
        .send()
        .await
        .unwrap();
    stream.chunk().await.unwrap();
    let refused = world.chat(&hello()).await;
    assert_eq!(refused.status, 429);
    assert!(refused.body.contains("of all clients"), "{}", refused.body);
    assert_eq!(refused.header("x-ratelimit-limit-requests"), None);
    // What is not a chat is served.
    assert_eq!(world.get("/v1/models").await.status, 200);
    drop(stream);
    let fake = world.google.fake();
    eventually("the stream is over", || fake.counters().aborted > 0).await;
    assert_eq!(world.chat(&hello()).await.status, 200);
}

#[tokio::test]
async fn pages_of_named_origins_may_ask_and_others_may_not() {
    let world = limited(vec![("CORS_ALLOW_ORIGINS", "https://a.example".to_owned())])
        .start()
        .await;
    let url = world.url(0, "/v1/chat/completions");
    let preflight = |origin: &'static str| {
        world
            .client
            .request(Method::OPTIONS, &url)
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,x-stainless-os",
            )
            .send()
    };
    let allowed = preflight("https://a.example").await.unwrap();
    assert_eq!(allowed.status(), 200);
    let told = |name: &str| allowed.headers().get(name).and_then(|it| it.to_str().ok());
    assert_eq!(
        told("access-control-allow-origin"),
        Some("https://a.example")
    );
    let headers = told("access-control-allow-headers").unwrap();
    assert!(headers.contains("x-stainless-os"), "{headers}");
    let other = preflight("https://b.example").await.unwrap();
    assert_eq!(other.headers().get("access-control-allow-origin"), None);

    // Errors are read by pages too.
    let request = world
        .client
        .post(&url)
        .header("origin", "https://a.example");
    let answer = request.body("{}").send().await.unwrap();
    assert_eq!(answer.status(), 401);
    let headers = answer.headers();
    assert_eq!(headers["access-control-allow-origin"], "https://a.example");
    let exposed = headers["access-control-expose-headers"].to_str().unwrap();
    assert!(exposed.contains("x-request-id"), "{exposed}");
}

#[tokio::test]
async fn without_origins_no_page_is_told_anything() {
    let world = Setup::default().start().await;
    let request = world.client.post(world.url(0, "/v1/chat/completions"));
    let request = request
        .bearer_auth(API_KEY)
        .header("origin", "https://a.example");
    let answer = request.body(hello().to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers().get("access-control-allow-origin"), None);
}
