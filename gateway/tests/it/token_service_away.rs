//! Gateways shrug when the token-service is away: what is in hand is used until it
//! expires, and no request waits for it meanwhile.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::Connection as _;
use tokio::net::TcpListener;

use crate::support::{Setup, World, hello};

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
