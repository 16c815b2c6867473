//! When tokens are refreshed, how often, and what a failed refresh means.

use std::time::Duration;

use antigravity_proto::v1::{
    self,
    project::{RefreshFault, State},
};
use fake_google::{Account, Action, CLIENT_SECRET, Fault, InvalidGrant};
use serde_json::json;
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{
    Home, Service, at_refresh, dealt, entry, eventually, fake, google, google_with, one_token,
    project, raw, refreshes, rotating_google, tokens_json, tokens_json_of, wanted,
};

fn delayed(milliseconds: u64) -> Action {
    Action::Delay {
        before_commit_ms: milliseconds,
        before_headers_ms: 0,
        before_first_event_ms: 0,
        between_events_ms: 0,
    }
}

#[tokio::test]
async fn two_hundred_callers_of_an_expired_token_share_one_refresh() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    fake(&google).script(at_refresh(1, delayed(200)));
    let service = home.start().await;
    let gateway = service.tokens().await;
    let mut calls = JoinSet::new();
    for _ in 0..200 {
        let mut gateway = gateway.clone();
        calls.spawn(async move { one_token(&mut gateway).await.access_token });
    }
    let tokens = calls.join_all().await;
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert_eq!(refreshes(google.fake(), 1), 1);
    service.stop().await;
}

#[tokio::test]
async fn a_token_with_four_of_sixty_minutes_left_is_refreshed_first() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    let first = one_token(&mut gateway).await;
    // Far enough from the margin that the background task does not run ahead of us.
    home.clock.advance(Duration::from_secs(50 * 60));
    assert_eq!(one_token(&mut gateway).await.fingerprint, first.fingerprint);
    home.clock.advance(Duration::from_secs(6 * 60));
    let second = one_token(&mut gateway).await;
    assert_ne!(second.fingerprint, first.fingerprint);
    let left = second.expires_at.unwrap().seconds - home.clock.now().as_second();
    assert!(left > 58 * 60, "{left} s left");
    assert_eq!(refreshes(google.fake(), 1), 2);
    service.stop().await;
}

#[tokio::test]
async fn an_imported_token_is_used_while_it_is_fresh_and_refreshed_before_its_end() {
    let google = google(2).await;
    let home = Home::new(&google);
    let now = home.clock.now().as_second();
    let (mut fresh, mut ending) = (entry(1), entry(2));
    fresh["access_token"] = json!("ya29.imported");
    fresh["expires_at"] = json!(now + 3000);
    ending["access_token"] = json!("ya29.ending");
    ending["expires_at"] = json!(now + 240);
    home.write_tokens(&tokens_json_of([fresh, ending]));
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    assert_eq!(one_token(&mut gateway).await.access_token, "ya29.imported");
    assert_ne!(one_token(&mut gateway).await.access_token, "ya29.ending");
    assert_eq!(refreshes(google.fake(), 1), 0);
    assert_eq!(refreshes(google.fake(), 2), 1);
    service.stop().await;
}

#[tokio::test]
async fn refreshes_ahead_for_projects_that_nobody_asks_for() {
    let google = google(2).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=2));
    let service = home.start().await;
    let fake = fake(&google);
    let mut admin = service.projects().await;
    for id in ["fake-project-1", "fake-project-2"] {
        eventually("it is refreshed", async || {
            project(&mut admin, id).await.refreshed_at.is_some()
        })
        .await;
    }
    assert_eq!((refreshes(&fake, 1), refreshes(&fake, 2)), (1, 1));
    // Five minutes and some seconds are left: callers would still get the old tokens.
    home.clock.advance(Duration::from_secs(54 * 60 + 45));
    eventually("both are refreshed again", async || {
        refreshes(&fake, 1) == 2 && refreshes(&fake, 2) == 2
    })
    .await;
    service.stop().await;
}

#[tokio::test]
async fn a_restart_needs_no_refresh() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let before = one_token(&mut service.tokens().await).await;
    service.stop().await;
    let service = home.start().await;
    let after = one_token(&mut service.tokens().await).await;
    assert_eq!(before, after);
    assert_eq!(refreshes(google.fake(), 1), 1);
    service.stop().await;
}

#[tokio::test]
async fn a_short_lived_token_is_handed_out_and_not_refreshed_with_every_call() {
    let google = google_with(fake_google::Config {
        expires_in: Duration::from_secs(1),
        ..fake_google::Config::with_accounts(1)
    })
    .await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    let first = one_token(&mut gateway).await;
    home.clock.advance(Duration::from_secs(5));
    assert_eq!(one_token(&mut gateway).await, first);
    assert_eq!(refreshes(google.fake(), 1), 1);
    home.clock.advance(Duration::from_secs(6));
    assert_ne!(one_token(&mut gateway).await, first);
    service.stop().await;
}

#[tokio::test]
async fn a_project_that_cannot_be_refreshed_is_skipped() {
    let google = google(3).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=3));
    fake(&google).script(at_refresh(1, raw(503, "<html>")));
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    assert_eq!(dealt(&mut gateway, wanted(4)).await, "2 3 2 3");
    let shown = project(&mut service.projects().await, "fake-project-1").await;
    assert_eq!(shown.state(), State::Active);
    assert!(
        shown.refresh_error.contains("503"),
        "{}",
        shown.refresh_error
    );
    assert_eq!(shown.refresh_fault(), RefreshFault::Passing);
    assert_eq!(shown.state_cause.as_deref(), Some(""));
    service.stop().await;
}

#[tokio::test]
async fn a_valid_token_is_served_while_refreshes_fail() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    let first = one_token(&mut gateway).await;
    fake(&google).script(at_refresh(1, raw(500, "")));
    home.clock.advance(Duration::from_secs(57 * 60));
    for _ in 0..3 {
        assert_eq!(one_token(&mut gateway).await, first);
    }
    home.clock.advance(Duration::from_secs(5 * 60));
    let refused = gateway.acquire_tokens(wanted(1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let calls = refreshes(google.fake(), 1);
    for _ in 0..10 {
        gateway.acquire_tokens(wanted(1)).await.unwrap_err();
    }
    assert!(
        refreshes(google.fake(), 1) <= calls + 1,
        "failures are remembered"
    );
    fake(&google).clear_script();
    home.clock.advance(Duration::from_secs(6 * 60));
    assert_ne!(one_token(&mut gateway).await, first);
    service.stop().await;
}

#[tokio::test]
async fn a_revoked_refresh_token_needs_a_login_until_another_is_set() {
    let mut config = fake_google::Config::with_accounts(2);
    config.accounts[0].invalid_grant = Some(InvalidGrant::Revoked);
    let google = google_with(config).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    let refused = gateway.acquire_tokens(wanted(1)).await.unwrap_err();
    let info = refused.get_details_error_info().unwrap();
    assert_eq!(info.reason, "NEEDS_LOGIN");
    service.stop().await;

    let service = home.start().await;
    let mut admin = service.projects().await;
    let shown = project(&mut admin, "fake-project-1").await;
    assert_eq!(shown.state(), State::NeedsLogin, "it is kept");
    assert!(
        shown.state_reason.contains("invalid_grant"),
        "{}",
        shown.state_reason
    );
    let advice = shown.state_reason.strip_prefix(shown.state_cause());
    assert!(advice.unwrap().starts_with("; log in again"), "{advice:?}");
    assert_eq!(refreshes(google.fake(), 1), 1);
    let request = v1::RefreshProjectRequest {
        id: shown.id.clone(),
    };
    let refused = admin.refresh_project(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let other = Account::numbered(2).refresh_token;
    let renewed = crate::support::update(&mut admin, shown, &other, &["refresh_token"])
        .await
        .unwrap();
    assert_eq!(renewed.state(), State::Active);
    assert_eq!(dealt(&mut service.tokens().await, wanted(1)).await, "1");
    service.stop().await;
}

#[tokio::test]
async fn a_refused_client_condemns_no_project_and_is_tried_again_once_changed() {
    let google = google(2).await;
    let home = Home::new(&google);
    let mut file = tokens_json(1..=2);
    file["oauth_config"]["client_secret"] = json!("another-secret");
    home.write_tokens(&file);
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    let refused = gateway.acquire_tokens(wanted(1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let info = refused.get_details_error_info().unwrap();
    assert_eq!(info.reason, "OAUTH_CLIENT_INVALID");
    let mut admin = service.projects().await;
    let shown = project(&mut admin, "fake-project-1").await;
    assert_eq!(shown.state(), State::Active);
    assert_eq!(shown.refresh_fault(), RefreshFault::OauthClient);
    let clients = admin
        .list_o_auth_clients(v1::ListOAuthClientsRequest {})
        .await
        .unwrap()
        .into_inner()
        .clients;
    assert!(clients[0].refused_since.is_some() && clients[0].retry_in.is_some());
    let put = v1::PutOAuthClientRequest {
        client: Some(clients[0].clone()),
        client_secret: CLIENT_SECRET.into(),
    };
    let client = admin.put_o_auth_client(put).await.unwrap().into_inner();
    assert!(client.refused_since.is_none());
    assert_eq!(dealt(&mut gateway, wanted(2)).await, "1 2");
    service.stop().await;
}

#[tokio::test]
async fn a_rotated_refresh_token_replaces_the_old_one() {
    let google = rotating_google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    one_token(&mut service.tokens().await).await;
    for _ in 0..3 {
        home.clock.advance(Duration::from_secs(3700));
        one_token(&mut service.tokens().await).await;
    }
    assert_eq!(refreshes(google.fake(), 1), 1, "the first one is used once");
    service.stop().await;
    home.clock.advance(Duration::from_secs(3700));
    let service = home.start().await;
    one_token(&mut service.tokens().await).await;
    service.stop().await;
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_cancel_the_refresh() {
    let google = rotating_google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    fake(&google).script(at_refresh(1, delayed(300)));
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    let call = gateway.acquire_tokens(wanted(1));
    assert!(
        tokio::time::timeout(Duration::from_millis(50), call)
            .await
            .is_err()
    );
    one_token(&mut gateway).await;
    assert_eq!(refreshes(google.fake(), 1), 1);
    service.stop().await;
}

#[tokio::test]
async fn a_shutdown_waits_for_the_refresh_that_runs() {
    let google = rotating_google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    fake(&google).script(Fault {
        times: Some(1),
        ..at_refresh(1, delayed(300))
    });
    let service = home.start().await;
    let fake = fake(&google);
    eventually("the refresh runs", async || refreshes(&fake, 1) == 1).await;
    service.stop().await;
    let service = home.start().await;
    one_token(&mut service.tokens().await).await;
    assert_eq!(refreshes(&fake, 1), 1, "what it brought was kept");
    service.stop().await;
}

#[tokio::test]
async fn a_slow_refresh_does_not_hold_up_a_call_that_another_project_can_serve() {
    let google = google(2).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=2));
    fake(&google).script(at_refresh(1, delayed(60_000)));
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    let began = std::time::Instant::now();
    assert_eq!(dealt(&mut gateway, wanted(1)).await, "2");
    assert!(began.elapsed() < Duration::from_secs(10));
    let began = std::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(dealt(&mut gateway, wanted(1)).await, "2");
    }
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "the wait was paid once"
    );
    let aborted = tokio::time::timeout(Duration::from_secs(20), service.stop());
    aborted.await.unwrap();
}

#[tokio::test]
async fn slow_refreshes_are_waited_for_together() {
    let google = google(5).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=5));
    for number in 1..=4 {
        fake(&google).script(at_refresh(number, delayed(60_000)));
    }
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    let began = std::time::Instant::now();
    assert_eq!(dealt(&mut gateway, wanted(5)).await, "5 5 5 5 5");
    // Not three seconds for each.
    assert!(began.elapsed() < Duration::from_secs(9));
    let aborted = tokio::time::timeout(Duration::from_secs(20), service.stop());
    aborted.await.unwrap();
}

#[tokio::test]
async fn the_files_token_url_is_used_unless_one_is_configured() {
    let google = google(1).await;
    let home = Home::new(&google);
    let mut file = tokens_json([1]);
    file["oauth_config"]["token_url"] = json!(home.token_url);
    home.write_tokens(&file);
    let mut config = home.config();
    config.oauth_token_url = None;
    let service = Service::start(config).await;
    one_token(&mut service.tokens().await).await;
    service.stop().await;

    home.clock.advance(Duration::from_secs(3700));
    let mut config = home.config();
    config.oauth_token_url = Some("http://127.0.0.1:9/token".into());
    let service = Service::start(config).await;
    let refused = service.tokens().await.acquire_tokens(wanted(1)).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unavailable);
    service.stop().await;
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_when_it_is_named() {
    let google = fake_google::Running::start(fake_google::Config::with_accounts(1), true)
        .await
        .unwrap();
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let refused = service.tokens().await.acquire_tokens(wanted(1)).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unavailable);
    service.stop().await;

    let authority = home.path("ca.pem");
    std::fs::write(&authority, google.ca_pem().unwrap()).unwrap();
    let mut config = home.config();
    config.upstream_ca_file = Some(authority);
    let service = Service::start(config).await;
    one_token(&mut service.tokens().await).await;
    service.stop().await;
}

#[tokio::test]
async fn a_database_in_memory_serves_as_well() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let mut config = home.config();
    config.database = token_service::config::Database::Memory;
    let service = Service::start(config).await;
    one_token(&mut service.tokens().await).await;
    service.stop().await;
    assert!(!home.path("data").exists());
}
