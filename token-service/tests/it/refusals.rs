//! Access tokens that Google refuses before their time.

use std::time::Duration;

use antigravity_proto::v1;
use fake_google::Fault;
use tokio::task::JoinSet;

use crate::support::{
    Home, TokensClient, at_refresh, dealt, fake, google, one_token, raw, refreshes, tokens_json,
    wanted,
};

async fn rejecting(
    client: &mut TokensClient,
    token: &v1::AccessToken,
) -> v1::AcquireTokensResponse {
    let request = v1::AcquireTokensRequest {
        rejected: vec![v1::RejectedToken {
            project_id: token.project_id.clone(),
            fingerprint: token.fingerprint.clone(),
            ..Default::default()
        }],
        ..wanted(0)
    };
    client.acquire_tokens(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn one_refused_token_costs_one_refresh() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    let refused = one_token(&mut gateway).await;
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let (mut gateway, refused) = (gateway.clone(), refused.clone());
        calls.spawn(async move { rejecting(&mut gateway, &refused).await });
    }
    let answers = calls.join_all().await;
    for answer in &answers {
        assert_eq!(answer.refreshed, answers[0].refreshed);
        assert_ne!(answer.refreshed[0].fingerprint, refused.fingerprint);
    }
    let late = rejecting(&mut gateway, &refused).await;
    assert_eq!(late.refreshed, answers[0].refreshed);
    assert_eq!(refreshes(google.fake(), 1), 2);
    service.stop().await;
}

#[tokio::test]
async fn a_refused_token_is_not_dealt_by_the_call_that_refuses_it() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    let refused = one_token(&mut gateway).await;
    let request = v1::AcquireTokensRequest {
        rejected: vec![v1::RejectedToken {
            project_id: refused.project_id.clone(),
            fingerprint: refused.fingerprint.clone(),
            ..Default::default()
        }],
        ..wanted(1)
    };
    let answer = gateway.acquire_tokens(request).await.unwrap().into_inner();
    assert_eq!(answer.turns[0].token.as_ref(), answer.refreshed.first());
    assert_ne!(answer.refreshed[0].fingerprint, refused.fingerprint);
    service.stop().await;
}

#[tokio::test]
async fn a_project_that_is_refused_for_ever_is_refreshed_once_a_minute() {
    let google = google(2).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=2));
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    let mut refused = one_token(&mut gateway).await;
    assert_eq!(refused.project_id, "fake-project-1");
    let started = refreshes(google.fake(), 1);
    for round in 1..=3 {
        let answer = rejecting(&mut gateway, &refused).await;
        refused = answer.refreshed[0].clone();
        for _ in 0..5 {
            assert!(rejecting(&mut gateway, &refused).await.refreshed.is_empty());
        }
        assert_eq!(refreshes(google.fake(), 1), started + round);
        assert_eq!(dealt(&mut gateway, wanted(3)).await, "2 2 2");
        home.clock.advance(Duration::from_secs(61));
    }
    service.stop().await;
}

#[tokio::test]
async fn a_failed_refresh_of_a_refused_token_does_not_cost_the_minute() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    let refused = one_token(&mut gateway).await;
    fake(&google).script(Fault {
        times: Some(1),
        ..at_refresh(1, raw(503, ""))
    });
    assert!(rejecting(&mut gateway, &refused).await.refreshed.is_empty());
    home.clock.advance(Duration::from_secs(2));
    let replaced = rejecting(&mut gateway, &refused).await.refreshed;
    assert_ne!(replaced[0].fingerprint, refused.fingerprint);
    service.stop().await;
}

#[tokio::test]
async fn the_refused_token_of_the_only_project_is_better_than_none() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    let first = one_token(&mut gateway).await;
    let second = rejecting(&mut gateway, &first).await.refreshed.remove(0);
    assert!(rejecting(&mut gateway, &second).await.refreshed.is_empty());
    assert_eq!(one_token(&mut gateway).await, second);
    service.stop().await;
}
