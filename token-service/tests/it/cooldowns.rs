//! What gateways report, and what that does to the rotation.

use std::time::Duration;

use antigravity_proto::v1::{self, Outcome, project::State};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{Home, Service, TokensClient, dealt, google, project, tokens_json, wanted};

fn report(id: &str, project: usize, outcome: Outcome) -> v1::OutcomeReport {
    v1::OutcomeReport {
        outcome_id: id.to_owned(),
        project_id: format!("fake-project-{project}"),
        outcome: outcome.into(),
        model: "gemini-3-pro-high".into(),
        ..Default::default()
    }
}

async fn send(client: &mut TokensClient, reports: Vec<v1::OutcomeReport>) -> (u32, u32) {
    let request = v1::ReportOutcomesRequest {
        reports,
        ..Default::default()
    };
    let answer = client.report_outcomes(request).await.unwrap().into_inner();
    (answer.counted, answer.repeated_reports)
}

fn for_model(count: u32, model: &str) -> v1::AcquireTokensRequest {
    v1::AcquireTokensRequest {
        model: model.into(),
        ..wanted(count)
    }
}

async fn start(home: &Home) -> (Service, TokensClient) {
    let service = home.start().await;
    let client = service.tokens().await;
    (service, client)
}

#[tokio::test]
async fn a_stated_limit_rests_one_model_group_until_its_end_and_over_a_restart() {
    let google = google(2).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=2));
    let (service, mut gateway) = start(&home).await;
    let end = home.clock.now().as_second() + 600;
    let mut limited = report("a", 1, Outcome::QuotaExhausted);
    limited.reset_at = Some(prost_types::Timestamp {
        seconds: end,
        nanos: 0,
    });
    assert_eq!(
        send(&mut gateway, vec![limited.clone(), limited]).await,
        (1, 1)
    );
    let gemini = for_model(4, "gemini-2.5-flash");
    assert_eq!(dealt(&mut gateway, gemini.clone()).await, "2 2 2 2");
    assert_eq!(
        dealt(&mut gateway, for_model(2, "claude-opus")).await,
        "1 2"
    );
    service.stop().await;

    let (service, mut gateway) = start(&home).await;
    assert_eq!(dealt(&mut gateway, gemini.clone()).await, "2 2 2 2");
    let shown = project(&mut service.projects().await, "fake-project-1").await;
    assert_eq!(shown.state(), State::Active);
    assert_eq!(shown.cooldowns[0].model_group, "gemini");
    assert_eq!(shown.cooldowns[0].until.unwrap().seconds, end);
    home.clock.advance(Duration::from_secs(601));
    assert_eq!(dealt(&mut gateway, gemini).await, "1 2 1 2");
    service.stop().await;
}

#[tokio::test]
async fn when_all_rest_the_earliest_end_is_told() {
    let google = google(2).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=2));
    let (service, mut gateway) = start(&home).await;
    let now = home.clock.now().as_second();
    let reports = [(1, 500), (2, 100)].map(|(project, seconds)| v1::OutcomeReport {
        reset_at: Some(prost_types::Timestamp {
            seconds: now + seconds,
            nanos: 0,
        }),
        ..report(&format!("r{project}"), project, Outcome::RateLimited)
    });
    send(&mut gateway, reports.into()).await;
    let refused = gateway
        .acquire_tokens(for_model(1, "gemini-3-pro"))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let retry = refused
        .get_details_retry_info()
        .unwrap()
        .retry_delay
        .unwrap();
    assert!((95..=100).contains(&retry.as_secs()), "{retry:?}");
    service.stop().await;
}

#[tokio::test]
async fn limits_without_an_end_grow_and_a_success_resets_them() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let (service, mut gateway) = start(&home).await;
    let mut number = 0;
    for rest in [30, 60] {
        number += 1;
        send(
            &mut gateway,
            vec![report(&number.to_string(), 1, Outcome::RateLimited)],
        )
        .await;
        home.clock.advance(Duration::from_secs(rest - 5));
        let request = for_model(1, "gemini-3-pro");
        assert!(gateway.acquire_tokens(request.clone()).await.is_err());
        home.clock.advance(Duration::from_secs(6));
        assert_eq!(dealt(&mut gateway, request).await, "1");
    }
    send(&mut gateway, vec![report("ok", 1, Outcome::Ok)]).await;
    send(&mut gateway, vec![report("again", 1, Outcome::RateLimited)]).await;
    home.clock.advance(Duration::from_secs(31));
    assert_eq!(dealt(&mut gateway, for_model(1, "gemini-3-pro")).await, "1");
    service.stop().await;
}

#[tokio::test]
async fn verdicts_on_the_account_take_it_out_until_the_operator_tries_again() {
    let google = google(3).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=3));
    let (service, mut gateway) = start(&home).await;
    let mut validation = report("v", 1, Outcome::ValidationRequired);
    validation.url = "https://accounts.example.com/verify".into();
    validation.reason = "VALIDATION_REQUIRED".into();
    let suspended = report("s", 2, Outcome::Suspended);
    let harmless = [
        Outcome::PermissionDenied,
        Outcome::Unauthenticated,
        Outcome::ModelCapacity,
        Outcome::UpstreamError,
        Outcome::Transport,
        Outcome::Cancelled,
        Outcome::InvalidRequest,
        Outcome::ClientUnsupported,
    ]
    .map(|outcome| report(outcome.as_str_name(), 3, outcome));
    let reports = [vec![validation, suspended], harmless.into()].concat();
    assert_eq!(send(&mut gateway, reports).await, (10, 0));
    assert_eq!(dealt(&mut gateway, wanted(2)).await, "3 3");
    service.stop().await;

    let (service, mut gateway) = start(&home).await;
    let mut admin = service.projects().await;
    let first = project(&mut admin, "fake-project-1").await;
    assert_eq!(first.state(), State::NeedsValidation);
    assert_eq!(first.action_url, "https://accounts.example.com/verify");
    let second = project(&mut admin, "fake-project-2").await;
    assert_eq!(second.state(), State::Suspended);
    let request = v1::RefreshProjectRequest { id: first.id };
    let tried = admin.refresh_project(request).await.unwrap().into_inner();
    assert_eq!(tried.state(), State::Active);
    assert_eq!(tried.action_url, "");
    assert_eq!(dealt(&mut gateway, wanted(2)).await, "1 3");
    service.stop().await;
}

#[tokio::test]
async fn a_report_without_its_ids_refuses_the_whole_batch() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let (service, mut gateway) = start(&home).await;
    let good = report("good", 1, Outcome::Ok);
    let reports = vec![good.clone(), v1::OutcomeReport::default()];
    let request = v1::ReportOutcomesRequest {
        reports,
        ..Default::default()
    };
    let refused = gateway.report_outcomes(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let violations = refused.get_details_bad_request().unwrap().field_violations;
    let fields: Vec<_> = violations.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, ["reports[1].outcome_id", "reports[1].project_id"]);
    assert_eq!(
        send(&mut gateway, vec![good]).await,
        (1, 0),
        "nothing was applied"
    );
    let of_nobody = report("x", 9, Outcome::RateLimited);
    assert_eq!(send(&mut gateway, vec![of_nobody]).await, (1, 0));
    service.stop().await;
}
