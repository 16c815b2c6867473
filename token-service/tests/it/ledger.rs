//! Who used what: every report counts once, whatever happens between.

use std::time::Duration;

use antigravity_proto::v1::{
    self, Outcome, OutcomeReport, QueryUsageRequest, UsageRow, query_usage_request::Dimension,
};
use sqlx::Connection as _;
use tonic::{Code, Status};

use crate::{
    crashes::Process,
    support::{
        Bearer, Home, TokensClient, UsageClient, channel, eventually, google, report, tokens_json,
    },
};

const IDS: [&str; 3] = [
    "0189f7d2-0000-7000-8000-000000000001",
    "0189f7d2-0000-7000-8000-000000000002",
    // Not a UUID: an id is what a gateway makes it.
    "another id",
];

async fn tell(gateway: &mut TokensClient, reports: Vec<OutcomeReport>) -> (u32, u32) {
    let request = v1::ReportOutcomesRequest {
        reports,
        ..Default::default()
    };
    let answer = gateway.report_outcomes(request).await.unwrap().into_inner();
    (answer.counted, answer.repeated_reports)
}

async fn usage(client: &mut UsageClient, by: &[Dimension]) -> Vec<UsageRow> {
    query(client, by, QueryUsageRequest::default())
        .await
        .unwrap()
}

async fn query(
    client: &mut UsageClient,
    by: &[Dimension],
    request: QueryUsageRequest,
) -> Result<Vec<UsageRow>, Status> {
    let request = QueryUsageRequest {
        by: by.iter().map(|by| (*by).into()).collect(),
        ..request
    };
    Ok(client.query_usage(request).await?.into_inner().rows)
}

#[tokio::test]
async fn sums_are_what_was_told() {
    let google = google(2).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=2));
    let service = home.start().await;
    let (mut gateway, mut ledger) = (service.tokens().await, service.usage().await);
    assert_eq!(usage(&mut ledger, &[]).await, []);
    let failed = OutcomeReport {
        usage: None,
        ..report(IDS[1], Outcome::UpstreamError)
    };
    let left = OutcomeReport {
        api_key_name: "bob".to_owned(),
        project_id: "fake-project-2".to_owned(),
        model: "claude-opus-4-6".to_owned(),
        ..report(IDS[2], Outcome::Cancelled)
    };
    let reports = vec![report(IDS[0], Outcome::Ok), failed, left];
    assert_eq!(tell(&mut gateway, reports.clone()).await, (3, 0));
    assert_eq!(tell(&mut gateway, reports).await, (0, 3));
    let all = usage(&mut ledger, &[]).await;
    let [row] = &all[..] else { panic!("{all:?}") };
    assert_eq!((row.attempts, row.answers, row.cancelled), (3, 1, 1));
    assert_eq!((row.prompt_tokens, row.cached_tokens), (206, 80));
    assert_eq!((row.completion_tokens, row.reasoning_tokens), (50, 10));
    // Of what was answered whole.
    assert_eq!(row.first_event.unwrap().nanos, 200_000_000);
    assert_eq!(row.duration.unwrap().nanos, 900_000_000);
    assert_eq!((&*row.api_key_name, row.begins), ("", None));

    let by = [
        Dimension::Key,
        Dimension::Project,
        Dimension::Model,
        Dimension::Hour,
    ];
    let rows = usage(&mut ledger, &by).await;
    let told: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                &*row.api_key_name,
                &*row.project_id,
                &*row.model,
                row.attempts,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("ann", "fake-project-1", "gemini-2.5-flash", 2),
            ("bob", "fake-project-2", "claude-opus-4-6", 1)
        ]
    );
    let begins = rows[0].begins.unwrap();
    assert_eq!(begins.seconds % 3600, 0);
    let of_bob = QueryUsageRequest {
        api_key_name: "bob".to_owned(),
        ..Default::default()
    };
    let rows = query(&mut ledger, &[], of_bob).await.unwrap();
    assert_eq!(rows[0].attempts, 1);

    // Another hour, and the day that holds both.
    home.clock.advance(Duration::from_secs(3600));
    tell(&mut gateway, vec![report("later", Outcome::Ok)]).await;
    assert_eq!(usage(&mut ledger, &[Dimension::Hour]).await.len(), 2);
    let later = QueryUsageRequest {
        since: Some(prost_types::Timestamp {
            seconds: begins.seconds + 3600,
            nanos: 0,
        }),
        ..Default::default()
    };
    let rows = query(&mut ledger, &[Dimension::Day], later).await.unwrap();
    assert_eq!((rows.len(), rows[0].attempts), (1, 1));
    assert_eq!(rows[0].begins.unwrap().seconds % 86_400, 0);
    service.stop().await;
}

#[tokio::test]
async fn wrong_questions_are_told() {
    let google = google(1).await;
    let home = Home::new(&google);
    let service = home.start().await;
    let mut ledger = service.usage().await;
    for (by, field) in [
        (vec![Dimension::Unspecified], "by[0]"),
        (vec![Dimension::Key, Dimension::Key], "by[1]"),
        (vec![Dimension::Hour, Dimension::Day], "by[1]"),
    ] {
        let refused = query(&mut ledger, &by, QueryUsageRequest::default()).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with(field), "{refused}");
    }
    let nothing = QueryUsageRequest {
        until: Some(prost_types::Timestamp::default()),
        ..Default::default()
    };
    let refused = query(&mut ledger, &[], nothing).await.unwrap_err();
    assert!(refused.message().starts_with("until"), "{refused}");
    let channel = channel(service.address).await;
    let mut gateway = v1::usage_service_client::UsageServiceClient::with_interceptor(
        channel,
        Bearer(crate::support::GATEWAY_TOKEN.to_owned()),
    );
    let refused = gateway.query_usage(QueryUsageRequest::default()).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    service.stop().await;
}

#[tokio::test]
async fn it_is_kept_as_long_as_it_is_to_be() {
    let google = google(1).await;
    let home = Home::new(&google);
    let mut config = home.config();
    config.usage_retention = Duration::from_secs(48 * 3600);
    let service = crate::support::Service::start(config).await;
    let mut gateway = service.tokens().await;
    let mut ledger = service.usage().await;
    let since = Some(prost_types::Timestamp::default());
    let ever = || QueryUsageRequest {
        since,
        ..Default::default()
    };
    tell(&mut gateway, vec![report(IDS[0], Outcome::Ok)]).await;
    home.clock.advance(Duration::from_secs(47 * 3600));
    tell(&mut gateway, vec![report(IDS[1], Outcome::Ok)]).await;
    assert_eq!(
        query(&mut ledger, &[], ever()).await.unwrap()[0].attempts,
        2
    );
    home.clock.advance(Duration::from_secs(3 * 3600));
    eventually("the oldest hour is gone", async || {
        query(&mut ledger, &[], ever()).await.unwrap()[0].attempts == 1
    })
    .await;
    service.stop().await;
}

#[tokio::test]
async fn a_kill_loses_nothing_that_was_acknowledged_and_counts_nothing_twice() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let process = Process::start(&home);
    let mut gateway = process.tokens().await;
    let batch: Vec<_> = (0..500)
        .map(|number| report(&format!("report {number}"), Outcome::Ok))
        .collect();
    assert_eq!(tell(&mut gateway, batch.clone()).await, (500, 0));
    process.kill();
    // The gateway heard nothing, and tells it again.
    let process = Process::start(&home);
    let mut gateway = process.tokens().await;
    assert_eq!(tell(&mut gateway, batch).await, (0, 500));
    assert_eq!(
        tell(&mut gateway, vec![report("new", Outcome::Ok)]).await,
        (1, 0)
    );
    let rows = usage(&mut process.usage().await, &[]).await;
    assert_eq!((rows[0].attempts, rows[0].prompt_tokens), (501, 501 * 103));
    process.kill();
}

#[tokio::test]
async fn a_store_that_takes_nothing_for_a_while_makes_it_lag_and_not_wrong() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    tell(&mut gateway, vec![report(IDS[0], Outcome::Ok)]).await;
    let url = format!("sqlite://{}", home.database().display());
    let mut lock = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let held = lock.begin_with("BEGIN IMMEDIATE").await.unwrap();
    // Longer than the service waits for the database.
    let told = tokio::time::timeout(
        Duration::from_secs(20),
        tell(&mut gateway, vec![report(IDS[1], Outcome::Ok)]),
    );
    assert_eq!(told.await.unwrap(), (1, 0));
    held.rollback().await.unwrap();
    lock.close().await.unwrap();
    let mut ledger = service.usage().await;
    eventually("it has caught up", async || {
        usage(&mut ledger, &[]).await[0].attempts == 2
    })
    .await;
    assert_eq!(
        tell(&mut gateway, vec![report(IDS[1], Outcome::Ok)]).await,
        (0, 1)
    );
    service.stop().await;
}

#[tokio::test]
async fn absurd_figures_do_not_spoil_it() {
    let google = google(1).await;
    let home = Home::new(&google);
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    let absurd = |id: &str| {
        let mut report = report(id, Outcome::Ok);
        report.usage = Some(v1::Usage {
            prompt_tokens: u64::MAX,
            candidates_tokens: u64::MAX,
            ..Default::default()
        });
        report.duration = Some(prost_types::Duration {
            seconds: i64::MAX,
            nanos: -1,
        });
        report
    };
    let reports = (0..900).map(|number| absurd(&number.to_string())).collect();
    tell(&mut gateway, reports).await;
    let rows = usage(&mut service.usage().await, &[]).await;
    assert_eq!(rows[0].prompt_tokens, 900 * 1_000_000_000);
    service.stop().await;
}

/// Holds up every commit of a service, until it is let go.
async fn hold_commits(home: &Home) -> sqlx::SqliteConnection {
    let url = format!("sqlite://{}", home.database().display());
    let mut lock = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut lock)
        .await
        .unwrap();
    lock
}

#[tokio::test]
async fn who_asks_and_hangs_up_costs_the_ledger_nothing() {
    let google = google(1).await;
    let home = Home::new(&google);
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    tell(&mut gateway, vec![report(IDS[0], Outcome::Ok)]).await;
    let lock = hold_commits(&home).await;
    let mut others = gateway.clone();
    let told =
        tokio::spawn(async move { tell(&mut others, vec![report(IDS[1], Outcome::Ok)]).await });
    let mut ledger = service.usage().await;
    for _ in 0..5 {
        let asked = usage(&mut ledger, &[]);
        let _ = tokio::time::timeout(Duration::from_millis(100), asked).await;
    }
    lock.close().await.unwrap();
    assert_eq!(told.await.unwrap(), (1, 0));
    assert_eq!(usage(&mut ledger, &[]).await[0].attempts, 2);
    service.stop().await;
}

#[tokio::test]
async fn a_report_that_is_repeated_is_acknowledged_when_it_is_stored() {
    let google = google(1).await;
    let home = Home::new(&google);
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    tell(&mut gateway, vec![report(IDS[0], Outcome::Ok)]).await;
    let lock = hold_commits(&home).await;
    let patience = Duration::from_millis(300);
    for _ in 0..3 {
        let told = tell(&mut gateway, vec![report(IDS[1], Outcome::Ok)]);
        let told = tokio::time::timeout(patience, told).await;
        assert!(told.is_err(), "acknowledged, and not stored: {told:?}");
    }
    lock.close().await.unwrap();
    let again = tell(&mut gateway, vec![report(IDS[1], Outcome::Ok)]).await;
    assert_eq!(again, (0, 1));
    service.stop().await;
}
