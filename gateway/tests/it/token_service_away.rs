//! Gateways shrug when the token-service is away: what is in hand is used until it
//! expires, and no request waits for it meanwhile.

use std::time::{Duration, Instant};

use fake_google::{ErrorName, Fault};
use serde_json::json;
use sqlx::Connection as _;
use tokio::net::TcpListener;

use crate::{
    request_lines::Kept,
    support::{API_KEY, Setup, World, error, eventually, hello},
};

async fn warm() -> World {
    let world = Setup::default().start().await;
    for _ in 0..6 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    world
}

#[tokio::test]
async fn tokens_in_hand_serve_until_they_expire_and_then_it_is_said() {
    let mut world = warm().await;
    world.stop_tokens().await;
    for _ in 0..30 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    for project in ["p1", "p2", "p3"] {
        assert!(
            world.asked(project) >= 10,
            "round-robin over what is in hand"
        );
    }
    let ready = world
        .client
        .get(world.url(0, "/readyz"))
        .send()
        .await
        .unwrap();
    assert_eq!(ready.status(), 200);
    assert!(ready.text().await.unwrap().contains("degraded"));

    world.clock.advance(Duration::from_secs(3600));
    world.google.fake().advance(Duration::from_secs(3600));
    let answer = world.chat(&hello()).await;
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].clone()),
        (503, json!("token_service_unavailable"))
    );
    assert!(answer.header("retry-after").is_some());
    let ready = world
        .client
        .get(world.url(0, "/readyz"))
        .send()
        .await
        .unwrap();
    assert_eq!(ready.status(), 503);

    world.restart_tokens().await;
    let began = Instant::now();
    while world.chat(&hello()).await.status != 200 {
        assert!(began.elapsed() < Duration::from_secs(20), "recovers");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_gateway_that_was_never_asked_serves_its_first_request_without_a_token_service() {
    let mut world = Setup::default().start().await;
    eventually("the pool has tokens", || {
        ["p1", "p2", "p3"].iter().all(|p| world.refreshes(p) == 1)
    })
    .await;
    // By then it has asked for them.
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.stop_tokens().await;
    for _ in 0..6 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    for project in ["p1", "p2", "p3"] {
        assert_eq!(world.asked(project), 2, "round-robin over all");
    }
}

#[tokio::test]
async fn without_a_token_in_hand_a_restart_is_waited_for() {
    let mut world = Setup {
        gateways: 0,
        ..Setup::default()
    }
    .start()
    .await;
    eventually("the pool has tokens", || world.refreshes("p1") == 1).await;
    world.stop_tokens().await;
    world.add_gateway().await;
    let request = tokio::spawn({
        let request = world
            .client
            .post(world.url(0, "/v1/chat/completions"))
            .bearer_auth(API_KEY)
            .header("content-type", "application/json")
            .body(hello().to_string());
        async move {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        }
    });
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(!request.is_finished(), "it waits");
    world.restart_tokens().await;
    let (status, body) = request.await.unwrap();
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn short_lived_tokens_serve_and_are_used_to_their_end_when_the_service_is_away() {
    let mut world = Setup {
        google: fake_google::Config {
            expires_in: Duration::from_secs(60),
            ..fake_google::Config::default()
        },
        ..Setup::default()
    }
    .start()
    .await;
    for _ in 0..40 {
        let answer = world.chat(&hello()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        world.clock.advance(Duration::from_secs(5));
        world.google.fake().advance(Duration::from_secs(5));
    }
    // Fresh ones for all.
    world.clock.advance(Duration::from_secs(60));
    world.google.fake().advance(Duration::from_secs(60));
    for _ in 0..6 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    world.stop_tokens().await;
    for _ in 0..5 {
        world.clock.advance(Duration::from_secs(11));
        world.google.fake().advance(Duration::from_secs(11));
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    world.clock.advance(Duration::from_secs(11));
    world.google.fake().advance(Duration::from_secs(11));
    let answer = world.chat(&hello()).await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert_eq!(
        answer.json()["error"]["code"],
        json!("token_service_unavailable")
    );
}

#[tokio::test]
async fn a_gateway_that_ends_meanwhile_tells_how_many_reports_are_lost() {
    let kept = Kept::start();
    let mut world = warm().await;
    // Until those of before are with it.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    world.stop_tokens().await;
    for _ in 0..11 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    world.end_gateways().await;
    let lines = kept.all();
    let lost = lines.lines().any(|line| {
        line.contains("did not take the last reports of outcomes")
            && line.contains("\"reports\":11,")
    });
    assert!(lost, "{lines}");
}

#[tokio::test]
async fn several_addresses_share_the_calls_and_a_dead_one_costs_nothing() {
    let address = fake_google::unused_address().unwrap();
    let mut world = Setup {
        gateways: 0,
        ..Setup::default()
    }
    .start()
    .await;
    let both = format!("http://{address},http://{}", world.token_address());
    world.set("TOKEN_SERVICE_URL", both);
    world.add_gateway().await;
    for _ in 0..30 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    world.stop_tokens().await;
    for _ in 0..6 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
}

#[tokio::test]
async fn a_stated_rest_is_obeyed_and_told_later_while_the_service_is_away() {
    let mut world = warm().await;
    world.stop_tokens().await;
    world
        .google
        .fake()
        .script(Fault::once(error(ErrorName::QuotaExhausted, Some(3600.0))).project("p1"));
    let before = world.asked("p1");
    for _ in 0..30 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    assert_eq!(world.asked("p1"), before + 1, "it rests here");
    world.restart_tokens().await;
    for _ in 0..500 {
        if !world.project("p1").await.cooldowns.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the token-service was not told");
}

#[tokio::test]
async fn no_request_waits_for_a_token_service_that_hangs() {
    let mut world = warm().await;
    world.stop_tokens().await;
    // Somebody who takes connections and never says a word.
    let address = world.token_address();
    let mute = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let holding = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = mute.accept().await {
            held.push(stream);
        }
    });
    for _ in 0..40 {
        let began = Instant::now();
        assert_eq!(world.chat(&hello()).await.status, 200);
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
    }
    holding.abort();
}

#[tokio::test]
async fn secrets_stay_out_of_answers_and_debug() {
    let world = warm().await;
    world.google.fake().revoke("1//planted-p1");
    let mut told = String::new();
    for body in [hello(), json!({}), json!({"model": "x", "messages": 1})] {
        let answer = world.chat(&body).await;
        told.push_str(&format!("{answer:?}"));
    }
    for planted in [
        "planted-api-key",
        "planted-gateway-token",
        "planted-admin-token",
        "1//planted",
        "ya29.",
        fake_google::CLIENT_SECRET,
    ] {
        assert!(!told.contains(planted), "{planted}: {told}");
    }
}

#[tokio::test]
async fn the_database_is_not_on_the_request_path() {
    let mut world = warm().await;
    let path = world.folder.path().join("data/tokens.db");
    let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite://{}", path.display()))
        .await
        .unwrap();
    // Whoever wants to write now waits.
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut connection)
        .await
        .unwrap();
    world.add_gateway().await;
    for n in 0..30 {
        let began = Instant::now();
        assert_eq!(world.chat_on(n % 2, &hello()).await.status, 200);
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
    }
    sqlx::query("ROLLBACK")
        .execute(&mut connection)
        .await
        .unwrap();
}

#[tokio::test]
async fn readiness_is_told_in_time_when_the_token_service_is_silent() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let setup = Setup {
        gateways: 0,
        ..Setup::default()
    };
    let mut world = setup.start().await;
    world.set("TOKEN_SERVICE_URL", url);
    world.add_gateway().await;
    for _ in 0..3 {
        let began = Instant::now();
        let answer = world.get("/readyz").await;
        assert_eq!(answer.status, 503, "{}", answer.body);
        let took = began.elapsed();
        assert!(took < Duration::from_millis(800), "{took:?}");
    }
    drop(silent);
}
