//! Conversations that stay with their projects.

use std::{collections::HashSet, time::Duration};

use fake_google::{ErrorName, Fault};
use serde_json::{Value, json};

use crate::support::{Setup, World, error, hello, with};

async fn start(gateways: usize) -> World {
    let mut world = Setup {
        gateways: 0,
        environment: vec![("AFFINITY", "true".to_owned())],
        ..Setup::default()
    }
    .start()
    .await;
    for _ in 0..gateways {
        world.add_gateway().await;
    }
    // By then the gateways have all tokens in hand.
    tokio::time::sleep(Duration::from_secs(2)).await;
    world
}

/// The request of a conversation's turn: it begins as all of its requests do.
fn said(conversation: usize, turn: usize) -> Value {
    let mut messages = vec![
        json!({"role": "system", "content": "Be brief."}),
        json!({"role": "user", "content": format!("Conversation {conversation}")}),
    ];
    for turn in 0..turn {
        messages.push(json!({"role": "assistant", "content": "Yes?"}));
        messages.push(json!({"role": "user", "content": format!("Question {turn}")}));
    }
    with(hello(), "messages", Value::Array(messages))
}

/// Asks, and tells which project answered.
async fn served_by(world: &World, gateway: usize, body: &Value) -> String {
    let answer = world.chat_on(gateway, body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let counters = world.google.fake().counters();
    counters.project_sequence.last().unwrap().clone()
}

#[tokio::test]
async fn a_conversation_stays_with_its_project_on_every_gateway() {
    let world = start(2).await;
    let mut used = HashSet::new();
    for conversation in 0..16 {
        let first = served_by(&world, 0, &said(conversation, 0)).await;
        for turn in 1..5 {
            let next = served_by(&world, turn % 2, &said(conversation, turn)).await;
            assert_eq!(next, first, "{conversation}, turn {turn}");
        }
        used.insert(first);
    }
    assert_eq!(used.len(), 3, "conversations are spread");
}

#[tokio::test]
async fn a_key_names_the_conversation_and_is_not_ignored() {
    let world = start(1).await;
    let keyed = |n: usize| with(said(n, 0), "prompt_cache_key", json!("mine"));
    let first = served_by(&world, 0, &keyed(0)).await;
    for n in 1..10 {
        assert_eq!(served_by(&world, 0, &keyed(n)).await, first);
    }
    let answer = world.chat(&keyed(0)).await;
    assert_eq!(answer.header("x-ignored-params"), None);
    let wrong = world
        .chat(&with(hello(), "prompt_cache_key", json!(1)))
        .await;
    assert_eq!(wrong.status, 400);
    assert_eq!(wrong.json()["error"]["param"], "prompt_cache_key");
}

#[tokio::test]
async fn a_conversation_is_found_again_after_a_pause() {
    let world = start(1).await;
    let first = served_by(&world, 0, &said(0, 0)).await;
    for turn in 1..5 {
        world.clock.advance(Duration::from_secs(100));
        assert_eq!(served_by(&world, 0, &said(0, turn)).await, first);
    }
}

#[tokio::test]
async fn it_moves_while_its_project_rests_and_comes_back() {
    let world = start(1).await;
    let home = served_by(&world, 0, &said(0, 0)).await;
    let rests = error(ErrorName::QuotaExhausted, Some(600.0));
    world
        .google
        .fake()
        .script(Fault::once(rests).project(&home));
    let away = served_by(&world, 0, &said(0, 1)).await;
    assert_ne!(away, home);
    for turn in 2..5 {
        assert_eq!(served_by(&world, 0, &said(0, turn)).await, away);
    }
    world.clock.advance(Duration::from_secs(601));
    for turn in 5..8 {
        assert_eq!(served_by(&world, 0, &said(0, turn)).await, home);
    }
}

#[tokio::test]
async fn it_moves_when_its_project_leaves_the_rotation() {
    let world = start(1).await;
    let home = served_by(&world, 0, &said(0, 0)).await;
    world.set_disabled(&home, true).await;
    // What was dealt before may be used for as long as this.
    world.clock.advance(Duration::from_secs(31));
    let away = served_by(&world, 0, &said(0, 1)).await;
    assert_ne!(away, home);
    let before = world.asked(&home);
    for turn in 2..12 {
        assert_eq!(served_by(&world, 0, &said(0, turn)).await, away);
    }
    assert_eq!(world.asked(&home), before);
}
