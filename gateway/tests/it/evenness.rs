//! Every project gets its share, at any speed.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use crate::support::{Setup, World, hello};

/// max − min ≤ 1 + 2 × gateways, over any run without cooldowns.
fn assert_even(world: &World, requests: u64) {
    let asked: Vec<u64> = ["p1", "p2", "p3"].iter().map(|p| world.asked(p)).collect();
    assert_eq!(asked.iter().sum::<u64>(), requests, "{asked:?}");
    let bound = 1 + 2 * world.gateways.len() as u64;
    let spread = asked.iter().max().unwrap() - asked.iter().min().unwrap();
    assert!(spread <= bound, "{asked:?}: {spread} > {bound}");
}

async fn three_gateways() -> World {
    let setup = Setup {
        gateways: 3,
        ..Setup::default()
    };
    setup.start().await
}

#[tokio::test]
async fn one_by_one_is_exactly_round_robin() {
    let world = Setup::default().start().await;
    for _ in 0..9 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    let sequence = world.google.fake().counters().project_sequence;
    assert_eq!(
        sequence,
        ["p1", "p2", "p3", "p1", "p2", "p3", "p1", "p2", "p3"]
    );
}

#[tokio::test]
async fn at_full_speed_over_two_gateways_beside_an_idle_one() {
    let world = three_gateways().await;
    let body = hello();
    let statuses: Vec<u16> = stream::iter(0..600)
        .map(|n| {
            let (world, body) = (&world, &body);
            async move { world.chat_on(n % 2, body).await.status }
        })
        .buffer_unordered(40)
        .collect()
        .await;
    assert!(statuses.iter().all(|status| *status == 200));
    assert_even(&world, 600);
}

#[tokio::test]
async fn at_one_request_every_seven_seconds() {
    let world = three_gateways().await;
    for n in 0..600 {
        assert_eq!(world.chat_on(n % 2, &hello()).await.status, 200);
        world.clock.advance(Duration::from_secs(7));
        world.google.fake().advance(Duration::from_secs(7));
    }
    assert_even(&world, 600);
}

#[tokio::test]
async fn a_burst_on_a_cold_gateway_is_even_too() {
    let world = Setup::default().start().await;
    let body = hello();
    let statuses: Vec<u16> = stream::iter(0..200)
        .map(|_| async { world.chat(&body).await.status })
        .buffer_unordered(200)
        .collect()
        .await;
    assert!(statuses.iter().all(|status| *status == 200));
    assert_even(&world, 200);
}

#[tokio::test]
async fn an_idle_gateway_draws_no_turns() {
    let world = three_gateways().await;
    for n in 1..=2 {
        for path in ["/readyz", "/livez", "/health"] {
            let answer = world.client.get(world.url(n, path)).send().await.unwrap();
            assert_eq!(answer.status(), 200);
        }
    }
    for _ in 0..6 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    let sequence = world.google.fake().counters().project_sequence;
    assert_eq!(sequence, ["p1", "p2", "p3", "p1", "p2", "p3"]);
}
