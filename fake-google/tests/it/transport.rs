//! HTTP versions, TLS, connections, shutdown.

use fake_google::{API_KEY, Action, Config, FakeGoogle, Fault, Running};
use reqwest::Version;

use crate::support::{Google, client, read, say, until};

const PATH: &str = "/v1beta/models/gemini-2.5-flash:generateContent";

fn ask(http: &reqwest::Client, running: &Running) -> reqwest::RequestBuilder {
    http.post(format!("{}{PATH}", running.base_url()))
        .header("x-goog-api-key", API_KEY)
        .body(say("Hi").to_string())
}

#[tokio::test]
async fn https_is_http2_with_its_own_authority() {
    let running = Running::start(Config::default(), true).await.unwrap();
    assert!(running.base_url().starts_with("https://localhost:"));
    let trusting = client(running.ca_pem()).build().unwrap();
    let response = ask(&trusting, &running).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.version()),
        (200, Version::HTTP_2)
    );
    let one = client(running.ca_pem()).http1_only().build().unwrap();
    assert_eq!(
        ask(&one, &running).send().await.unwrap().version(),
        Version::HTTP_11
    );
    let by_address = format!("https://127.0.0.1:{}{PATH}", running.address().port());
    assert_eq!(trusting.get(by_address).send().await.unwrap().status(), 404);
    let suspicious = client(None).build().unwrap();
    assert!(ask(&suspicious, &running).send().await.is_err());
    let counters = running.fake().counters();
    assert_eq!(
        (
            counters.connections.http1_requests,
            counters.connections.http2_requests
        ),
        (1, 2)
    );
}

#[tokio::test]
async fn http2_works_in_the_clear() {
    let running = Running::start(Config::default(), false).await.unwrap();
    let http = client(None).http2_prior_knowledge().build().unwrap();
    let response = ask(&http, &running).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.version()),
        (200, Version::HTTP_2)
    );
}

#[tokio::test]
async fn http2_streams_are_refused_reset_and_sent_away() {
    let running = Running::start(Config::default(), false).await.unwrap();
    let http = client(None)
        .http2_prior_knowledge()
        .retry(reqwest::retry::never())
        .build()
        .unwrap();
    let fake = running.fake();
    let accepted = || fake.counters().connections.accepted;
    assert_eq!(read(ask(&http, &running)).await.unwrap().status, 200);
    fake.script(Fault::once(Action::RefuseStream));
    let refused = ask(&http, &running).send().await.unwrap_err();
    assert!(
        format!("{refused:?}").contains("REFUSED_STREAM"),
        "{refused:?}"
    );
    fake.script(Fault::once(Action::ResetStream { after_events: 1 }));
    let reset = read(ask(&http, &running)).await.unwrap_err();
    assert!(format!("{reset:?}").contains("INTERNAL_ERROR"), "{reset:?}");
    // Both were the stream's affair and not the connection's.
    assert_eq!(accepted(), 1);
    fake.script(Fault::once(Action::GoAway));
    assert_eq!(read(ask(&http, &running)).await.unwrap().status, 200);
    until(|| fake.counters().connections.open == 0).await;
    assert_eq!(read(ask(&http, &running)).await.unwrap().status, 200);
    assert_eq!(accepted(), 2);
}

#[tokio::test]
async fn two_doors_lead_to_one_google() {
    let fake = FakeGoogle::new(Config::default());
    let one = Running::serving(fake.clone(), false).await.unwrap();
    let other = Running::serving(fake.clone(), false).await.unwrap();
    let http = client(None).build().unwrap();
    for running in [&one, &other] {
        assert_eq!(read(ask(&http, running)).await.unwrap().status, 200);
    }
    assert_eq!(fake.counters().generations(), 2);
}

#[tokio::test]
async fn stopping_frees_the_port() {
    let google = Google::start(Config::default()).await;
    let address = google.running.address();
    google
        .gemini("gemini-2.5-flash:generateContent", &say("Hi"))
        .await;
    let fake = google.running.fake().clone();
    google.running.stop().await;
    assert_eq!(fake.counters().connections.open, 0);
    tokio::net::TcpListener::bind(address).await.unwrap();
}
